//! From how many places one token is used: an estimate in one word.
//!
//! Owns [`Sources`], a bitmap for linear counting (Whang, Vander-Zanden and Taylor 1990): each place sets one of 64 bits,
//! and the number of places is told from the bits that are still clear. Takes no lock, and writes only when a bit is
//! new. Never keeps an address, and never decides anything.

use std::sync::atomic::{AtomicU64, Ordering};

/// `64 ln(64 / clear)`, rounded, by the number of bits that are set. All set tells no more than "at least that many".
const ESTIMATES: [u16; 65] = [
    0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 15, 16, 17, 18, 20, 21, 23, 24, 25, 27, 28, 30, 32, 33, 35, 37, 39, 40,
    42, 44, 46, 48, 51, 53, 55, 58, 60, 63, 65, 68, 71, 74, 78, 81, 85, 89, 93, 97, 102, 107, 113, 119, 126, 133, 142,
    151, 163, 177, 196, 222, 266, 266,
];

/// The places that one token was used from.
#[derive(Debug, Default)]
pub(crate) struct Sources(AtomicU64);

/// What a new place made of the estimate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Grown {
    /// The estimate before.
    pub(crate) before: u16,
    /// The estimate since.
    pub(crate) after: u16,
}

impl Sources {
    /// Notes a use from the place with this keyed hash; `None` when its bit was set already.
    pub(crate) fn note(&self, hash: u64) -> Option<Grown> {
        let bit = 1_u64.rotate_left(u32::try_from(hash % 64).unwrap_or(0));
        if self.0.load(Ordering::Relaxed) & bit != 0 {
            return None;
        }
        let before = self.0.fetch_or(bit, Ordering::Relaxed);
        // Another thread may have been first.
        (before & bit == 0).then(|| Grown {
            before: estimate(before),
            after: estimate(before | bit),
        })
    }

    /// Takes over what was seen of the same token before it was verified anew.
    pub(super) fn join(&self, earlier: &Self) {
        self.0.fetch_or(earlier.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// How many places there are: exact for one, some 12 percent off at sixteen, and at most 266.
    pub(crate) fn estimate(&self) -> u16 {
        estimate(self.0.load(Ordering::Relaxed))
    }
}

fn estimate(bits: u64) -> u16 {
    let set = usize::try_from(bits.count_ones()).unwrap_or(0);
    ESTIMATES.get(set).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::*;

    #[test]
    fn one_place_is_one_however_often_it_comes_and_many_are_told_apart() {
        let sources = Sources::default();
        assert_eq!(sources.estimate(), 0);
        assert_eq!(sources.note(7), Some(Grown { before: 0, after: 1 }));
        for _ in 0..1_000 {
            assert_eq!(sources.note(7), None);
        }
        assert_eq!(sources.estimate(), 1);
        assert_eq!(sources.note(64 + 8), Some(Grown { before: 1, after: 2 }));
        assert_eq!(sources.note(8), None);
        for hash in 0..64 {
            sources.note(hash);
        }
        assert_eq!(sources.estimate(), 266);
    }

    #[test]
    fn the_estimate_is_near_the_truth_on_average() {
        for (places, off_max) in [(2_u64, 0.2), (4, 0.3), (16, 1.0), (64, 4.0)] {
            let mut sum = 0;
            for _ in 0..2_000 {
                let (hasher, sources) = (RandomState::new(), Sources::default());
                for place in 0..places {
                    sources.note(hasher.hash_one(place));
                }
                sum += u64::from(sources.estimate());
            }
            let off = (sum as f64 / 2_000.0 - places as f64).abs();
            assert!(off < off_max, "{places}: off by {off}");
        }
    }
}
