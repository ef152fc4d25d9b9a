//! Points that lie on their curve, and their refused neighbours.

use portcullis_fixtures::keys::Key;

use super::{is_on_ed25519, is_on_p256, is_on_p384};
use crate::crypto::decode_base64url;

fn number(key: &Key, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    decode_base64url(key.jwk()[name].as_str().unwrap().as_bytes(), &mut bytes).unwrap();
    bytes
}

#[test]
fn points_of_real_keys_lie_on_their_curves() {
    for _ in 0..10 {
        for (key, is_on) in [
            (Key::new_es256("k"), is_on_p256 as fn(&[u8], &[u8]) -> bool),
            (Key::new_es384("k"), is_on_p384),
        ] {
            let (x, y) = (number(&key, "x"), number(&key, "y"));
            assert!(is_on(&x, &y));
            for place in [0, x.len() / 2, x.len() - 1] {
                let mut other = x.clone();
                other[place] ^= 1;
                assert!(!is_on(&other, &y) && !is_on(&x, &other), "{place}");
                let mut other = y.clone();
                other[place] ^= 1;
                assert!(!is_on(&x, &other), "{place}");
            }
            assert!(!is_on(&vec![0; x.len()], &vec![0; x.len()]));
            assert!(!is_on(&vec![0xff; x.len()], &y));
        }
        let encoded = number(&Key::new_ed25519("k"), "x").try_into().unwrap();
        assert!(is_on_ed25519(&encoded));
    }
}

#[test]
fn half_of_all_numbers_are_points_of_edwards25519() {
    // Counted with another implementation.
    let points: Vec<u8> = (0..60).filter(|fill| is_on_ed25519(&[*fill; 32])).collect();
    let expected = [
        1, 3, 6, 9, 10, 11, 12, 16, 17, 19, 22, 23, 25, 26, 29, 32, 34, 35, 36, 37, 40, 42, 44, 46, 47, 50, 51, 53, 54,
        58,
    ];
    assert_eq!(points, expected);
}

#[test]
fn small_and_double_spellings_of_edwards25519_are_refused() {
    let little = |low: u8, rest: u8, top: u8| {
        let mut bytes = [rest; 32];
        bytes[0] = low;
        bytes[31] = top;
        bytes
    };
    let of_order_eight = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    for mut small in [
        little(0, 0, 0),
        little(1, 0, 0),
        // -1, and the numbers from the prime on: 0 and 1 in another spelling.
        little(0xec, 0xff, 0x7f),
        little(0xed, 0xff, 0x7f),
        little(0xee, 0xff, 0x7f),
        little(0xff, 0xff, 0x7f),
    ]
    .into_iter()
    .chain(of_order_eight)
    {
        assert!(!is_on_ed25519(&small), "{small:x?}");
        small[31] ^= 0x80;
        assert!(!is_on_ed25519(&small), "{small:x?}");
    }
    // The base point, y = 4/5.
    let mut base = [0x66; 32];
    base[0] = 0x58;
    assert!(is_on_ed25519(&base));
}
