//! A modulus of the faulty form is marked, its neighbours are not.

use super::{is_marked, is_power, is_prime};

#[test]
fn primes_and_powers_are_what_they_are() {
    let primes: Vec<u32> = (2..30).filter(|number| is_prime(*number)).collect();
    assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
    // 65537 is 10 modulo 11, whose powers are 1 and 10.
    let powers: Vec<u32> = (0..11).filter(|number| is_power(*number, 11)).collect();
    assert_eq!(powers, [1, 10]);
}

#[test]
fn powers_of_the_generator_are_marked() {
    // One is a power of 65537 modulo every prime, and so are 65537 and its square.
    for marked in [&[1][..], &[1, 0, 1], &[1, 0, 2, 0, 1]] {
        assert!(is_marked(marked), "{marked:?}");
    }
    for sound in [&[2][..], &[3], &[1, 0, 3], &[1, 0, 2, 0, 3], &[0xaf; 256], &[0x55; 512]] {
        assert!(!is_marked(sound), "{sound:?}");
    }
}
