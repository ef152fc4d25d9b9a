//! Whether the numbers of a key are a point of its curve (SEC 1 section 3.2.2.1, RFC 8032 section 5.1.3).
//!
//! Owns the arithmetic for that, slow and simple, on public numbers alone: nothing here runs in constant time, and
//! nothing here signs, verifies or multiplies a point. Called when a key set is loaded, never for a token.

use std::cmp::Ordering;
use std::mem;

/// A number below 2^384, its least significant limb first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Number([u64; 6]);

/// Integers modulo a prime; every number that goes in is below it.
struct Field(Number);

/// Whether these coordinates are a point of P-256 (SP 800-186 section 3.2.1.3). Costs some 10 us.
pub(super) fn is_on_p256(x: &[u8], y: &[u8]) -> bool {
    is_on_weierstrass(P256_PRIME, P256_B, x, y)
}

/// Whether these coordinates are a point of P-384 (SP 800-186 section 3.2.1.4). Costs some 20 us.
pub(super) fn is_on_p384(x: &[u8], y: &[u8]) -> bool {
    is_on_weierstrass(P384_PRIME, P384_B, x, y)
}

/// Whether this is the one spelling of a point of edwards25519 that is not of small order: under such a key some
/// signatures stand for every message. Costs some 20 us.
pub(super) fn is_on_ed25519(encoded: &[u8; 32]) -> bool {
    let mut bytes = *encoded;
    bytes.reverse();
    // The top bit is the sign of x.
    bytes[0] &= 0x7f;
    let y = Number::from_be(&bytes);
    let field = Field(ED25519_PRIME);
    if !y.is_below(&ED25519_PRIME) || ED25519_SMALL_ORDER.contains(&y) {
        return false;
    }
    // x^2 = (y^2 - 1) / (d y^2 + 1): it has a root just when numerator times denominator is a square.
    let square = field.multiply(y, y);
    let numerator = field.subtract(square, Number::ONE);
    let denominator = field.add(field.multiply(ED25519_D, square), Number::ONE);
    field.is_square(field.multiply(numerator, denominator))
}

/// Whether y^2 = x^3 - 3x + b, for coordinates below the prime.
fn is_on_weierstrass(prime: Number, b: Number, x: &[u8], y: &[u8]) -> bool {
    let (x, y) = (Number::from_be(x), Number::from_be(y));
    if !x.is_below(&prime) || !y.is_below(&prime) {
        return false;
    }
    let field = Field(prime);
    let factor = field.subtract(field.multiply(x, x), Number::THREE);
    field.multiply(y, y) == field.add(field.multiply(x, factor), b)
}

impl Number {
    const ONE: Self = Self([1, 0, 0, 0, 0, 0]);
    const THREE: Self = Self([3, 0, 0, 0, 0, 0]);
    const ZERO: Self = Self([0; 6]);

    /// A big-endian number of at most 48 bytes.
    fn from_be(bytes: &[u8]) -> Self {
        let mut limbs = [0; 6];
        for (limb, chunk) in limbs.iter_mut().zip(bytes.rchunks(8)) {
            *limb = chunk.iter().fold(0, |limb, byte| (limb << 8) | u64::from(*byte));
        }
        Self(limbs)
    }

    fn is_below(&self, other: &Self) -> bool {
        self.0.iter().rev().cmp(other.0.iter().rev()) == Ordering::Less
    }

    fn is_even(&self) -> bool {
        self.low(1) == 0
    }

    /// The bits of the lowest limb under this mask.
    fn low(&self, mask: u64) -> u64 {
        let [low, ..] = self.0;
        low & mask
    }

    /// The sum, and whether it is 2^384 or more.
    fn plus(self, other: Self) -> (Self, bool) {
        let mut carry = false;
        let mut sum = self;
        for (limb, addend) in sum.0.iter_mut().zip(other.0) {
            let (partial, first) = limb.overflowing_add(addend);
            let (whole, second) = partial.overflowing_add(u64::from(carry));
            *limb = whole;
            carry = first || second;
        }
        (sum, carry)
    }

    /// The difference modulo 2^384.
    fn minus(self, other: Self) -> Self {
        let mut borrow = false;
        let mut difference = self;
        for (limb, subtrahend) in difference.0.iter_mut().zip(other.0) {
            let (partial, first) = limb.overflowing_sub(subtrahend);
            let (whole, second) = partial.overflowing_sub(u64::from(borrow));
            *limb = whole;
            borrow = first || second;
        }
        difference
    }

    fn halved(self) -> Self {
        let mut above = 0;
        let mut half = self;
        for limb in half.0.iter_mut().rev() {
            let low = *limb & 1;
            *limb = (*limb >> 1) | (above << 63);
            above = low;
        }
        half
    }
}

impl Field {
    fn add(&self, left: Number, right: Number) -> Number {
        let (sum, carry) = left.plus(right);
        if carry || !sum.is_below(&self.0) {
            sum.minus(self.0)
        } else {
            sum
        }
    }

    fn subtract(&self, left: Number, right: Number) -> Number {
        if left.is_below(&right) {
            left.minus(right).plus(self.0).0
        } else {
            left.minus(right)
        }
    }

    /// Doubles and adds, from the highest bit of `right`.
    fn multiply(&self, left: Number, right: Number) -> Number {
        let limbs = right.0.iter().rev().skip_while(|limb| **limb == 0);
        let bits = limbs.flat_map(|limb| (0..64).rev().map(move |place| (limb >> place) & 1 == 1));
        bits.fold(Number::ZERO, |product, bit| {
            let doubled = self.add(product, product);
            if bit { self.add(doubled, left) } else { doubled }
        })
    }

    /// Whether the number has a root, zero included: its Jacobi symbol is not -1 (binary algorithm).
    fn is_square(&self, number: Number) -> bool {
        let (mut upper, mut lower, mut negative) = (number, self.0, false);
        while upper != Number::ZERO {
            while upper.is_even() {
                upper = upper.halved();
                negative ^= matches!(lower.low(7), 3 | 5);
            }
            if upper.is_below(&lower) {
                mem::swap(&mut upper, &mut lower);
                negative ^= upper.low(3) == 3 && lower.low(3) == 3;
            }
            upper = upper.minus(lower);
        }
        !negative
    }
}

const P256_PRIME: Number = Number([
    0xffff_ffff_ffff_ffff,
    0x0000_0000_ffff_ffff,
    0,
    0xffff_ffff_0000_0001,
    0,
    0,
]);
const P256_B: Number = Number([
    0x3bce_3c3e_27d2_604b,
    0x651d_06b0_cc53_b0f6,
    0xb3eb_bd55_7698_86bc,
    0x5ac6_35d8_aa3a_93e7,
    0,
    0,
]);
const P384_PRIME: Number = Number([
    0x0000_0000_ffff_ffff,
    0xffff_ffff_0000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
]);
const P384_B: Number = Number([
    0x2a85_c8ed_d3ec_2aef,
    0xc656_398d_8a2e_d19d,
    0x0314_088f_5013_875a,
    0x181d_9c6e_fe81_4112,
    0x988e_056b_e3f8_2d19,
    0xb331_2fa7_e23e_e7e4,
]);
const ED25519_PRIME: Number = Number([
    0xffff_ffff_ffff_ffed,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0,
    0,
]);
const ED25519_D: Number = Number([
    0x75eb_4dca_1359_78a3,
    0x0070_0a4d_4141_d8ab,
    0x8cc7_4079_7779_e898,
    0x5203_6cee_2b6f_fe73,
    0,
    0,
]);
/// The y of the points whose order divides 8: 0, 1, -1 and the two of order 8.
const ED25519_SMALL_ORDER: [Number; 5] = [
    Number::ZERO,
    Number::ONE,
    Number([
        0xffff_ffff_ffff_ffec,
        0xffff_ffff_ffff_ffff,
        0xffff_ffff_ffff_ffff,
        0x7fff_ffff_ffff_ffff,
        0,
        0,
    ]),
    Number([
        0xb027_b2c2_8f95_e826,
        0xf098_eff2_89f4_c345,
        0x3933_c6d3_05ac_dfd5,
        0x05fc_536d_8802_38b1,
        0,
        0,
    ]),
    Number([
        0x4fd8_4d3d_706a_17c7,
        0x0f67_100d_760b_3cba,
        0xc6cc_392c_fa53_202a,
        0x7a03_ac92_77fd_c74e,
        0,
        0,
    ]),
];

#[cfg(test)]
mod tests;
