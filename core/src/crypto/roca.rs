//! RSA keys of a faulty generator (ROCA, CVE-2017-15361): their modulus betrays them, and their factors too.
//!
//! Owns the test of Nemec, Sys, Svenda, Klinec and Matyas (The Return of Coppersmith's Attack, section 4): the primes
//! were powers of 65537 modulo the product of the smallest primes, so the modulus is one modulo each of them. Never
//! factors anything.

/// Whether the modulus, big-endian, is a power of 65537 modulo each of the small primes; another modulus is so by
/// chance once in 2^100 or less. Costs a microsecond for a sound key.
pub(super) fn is_marked(modulus: &[u8]) -> bool {
    (3..=PRIME_MAX)
        .filter(|number| is_prime(*number))
        .all(|prime| is_power(remainder(modulus, prime), prime))
}

fn is_prime(number: u32) -> bool {
    (2..number)
        .take_while(|factor| factor.saturating_mul(*factor) <= number)
        .all(|factor| !is_multiple(number, factor))
}

fn is_multiple(number: u32, factor: u32) -> bool {
    number.checked_rem(factor) == Some(0)
}

/// Below 2^16 for every prime below that, so nothing overflows.
fn remainder(modulus: &[u8], prime: u32) -> u32 {
    modulus.iter().fold(0, |rest, byte| {
        ((rest << 8) | u32::from(*byte)).checked_rem(prime).unwrap_or_default()
    })
}

fn is_power(number: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 0..prime {
        if power == number {
            return true;
        }
        power = GENERATOR.saturating_mul(power).checked_rem(prime).unwrap_or_default();
    }
    false
}

const GENERATOR: u32 = 65_537;
/// The largest prime of the generator's product for moduli of 1984 to 3936 bits; larger moduli have more primes.
const PRIME_MAX: u32 = 701;

#[cfg(test)]
mod tests;
