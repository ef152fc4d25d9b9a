//! The dice of a load: a stream of numbers that depends on the seed and the number of a call alone.
//!
//! Owns [`Draw`], SplitMix64 (Steele, Lea, Flood 2014). Never reads a clock or the system's randomness: it decides
//! what is called, never anything that must be hard to guess.

/// The odd constant of SplitMix64: 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The draws of one call.
#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    /// The draws of call `number` under `seed`.
    pub(super) const fn of(seed: u64, number: u64) -> Self {
        // Mixed once, so that neighbouring numbers do not walk through the same states.
        Self(mix(seed.wrapping_add(number.wrapping_add(1).wrapping_mul(GOLDEN))))
    }

    /// 64 even bits.
    pub(super) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number from 0 up to, but not, 1.
    pub(super) fn share(&mut self) -> f64 {
        // 53 bits are what a double holds exactly.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// `bits` as a number below `bound`; 0 when the bound is 0. The bias is below `bound` / 2^64.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the product's upper half lies below the bound"
)]
pub(super) const fn below(bits: u64, bound: usize) -> usize {
    ((bits as u128 * bound as u128) >> 64) as usize
}

const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Draw, below};

    #[test]
    fn draws_depend_on_seed_and_number_alone() {
        let bits = |seed, number| {
            let mut draw = Draw::of(seed, number);
            [draw.bits(), draw.bits(), draw.bits()]
        };
        assert_eq!(bits(7, 3), bits(7, 3));
        assert_ne!(bits(7, 3), bits(7, 4));
        assert_ne!(bits(7, 3), bits(8, 3));
        // The state of one call must not be the next state of its neighbour.
        assert_ne!(bits(7, 3)[1], bits(7, 4)[0]);
    }

    #[test]
    fn shares_and_bounds_are_even() {
        let mut counts = [0_u32; 3];
        let mut sum = 0.0;
        for number in 0..30_000 {
            let mut draw = Draw::of(1, number);
            let share = draw.share();
            assert!((0.0..1.0).contains(&share));
            sum += share;
            counts[below(draw.bits(), 3)] += 1;
        }
        assert!((sum / 30_000.0 - 0.5).abs() < 0.01, "{sum}");
        for count in counts {
            assert!((9_500..10_500).contains(&count), "{counts:?}");
        }
        assert_eq!(below(u64::MAX, 0), 0);
        assert_eq!((below(0, 3), below(u64::MAX, 3)), (0, 2));
    }
}
