//! Known answers, refused neighbours, and the vectors of project Wycheproof.

use std::path::PathBuf;

use serde_json::Value;

use super::{
    Algorithm, KeyKind, MacKey, PublicKey, PublicKeyError, Sha256, decode_base64url, encode_base64url, hex, sha256,
    write_hex,
};

#[test]
fn algorithm_names_are_exact() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        assert_eq!(Algorithm::from_name(&algorithm.name().to_lowercase()), None);
    }
    for name in [
        "", "none", "None", "NONE", "HS256", "HS384", "ES512", "ES256K", "RS256 ", "RS1",
    ] {
        assert_eq!(Algorithm::from_name(name), None, "{name}");
    }
}

#[test]
fn base64url_has_one_spelling() {
    let check = |text: &str, expected: Option<&[u8]>| {
        let mut out = b"kept".to_vec();
        let decoded = decode_base64url(text.as_bytes(), &mut out).is_ok();
        assert_eq!(decoded, expected.is_some(), "{text}");
        assert_eq!(out, [b"kept", expected.unwrap_or_default()].concat(), "{text}");
    };
    check("", Some(b""));
    check("Zg", Some(b"f"));
    check("Zm8", Some(b"fo"));
    check("Zm9v", Some(b"foo"));
    check("-_8", Some(&[0xfb, 0xff]));
    for refused in [
        "Z", "Zh", "Zm9", "Zg==", "Zm8=", "+/8", "Zm 9v", "Zm9v\n", "Zm9v.", "Zm9vZ",
    ] {
        check(refused, None);
    }
    assert_eq!(encode_base64url(&[0xfb, 0xff]), "-_8");
}

#[test]
fn digests_and_codes_match_their_standards() {
    // FIPS 180-4's example, and test case 2 of RFC 4231 with its key padded by zeros, which HMAC does itself.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex(&sha256(b"abc")), abc);
    let mut parts = Sha256::default();
    parts.update(b"a");
    parts.update(b"bc");
    assert_eq!(hex(&parts.finish()), abc);
    let mut secret = [0; 32];
    secret[..4].copy_from_slice(b"Jefe");
    let key = MacKey::new(secret);
    assert_eq!(
        hex(&key.mac(b"what do ya want for nothing?")),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    assert_eq!(format!("{key:?}"), "MacKey(..)");
    let mut out = Vec::new();
    write_hex(&mut out, &[0x00, 0x9a, 0xff]);
    assert_eq!(out, b"009aff");
}

#[test]
fn framed_parts_do_not_collide() {
    let key = MacKey::new([7; 32]);
    let lists: [&[&[u8]]; 6] = [&[b"ab"], &[b"a", b"b"], &[b"", b"ab"], &[b"ab", b""], &[], &[b""]];
    for (place, left) in lists.iter().enumerate() {
        for right in &lists[place + 1..] {
            assert_ne!(key.mac_framed(left), key.mac_framed(right), "{left:?} {right:?}");
        }
    }
    assert_ne!(key.mac_framed(&[b"ab"]), MacKey::new([8; 32]).mac_framed(&[b"ab"]));
    let digest = |parts: &[&[u8]]| {
        let mut digest = Sha256::default();
        parts.iter().for_each(|part| digest.update_framed(part));
        digest.finish()
    };
    assert_ne!(digest(&[b"ab"]), digest(&[b"a", b"b"]));
}

#[test]
fn key_material_is_vetted() {
    let modulus = |octets: usize, first: u8, last: u8| {
        let mut n = vec![0x55; octets];
        n[0] = first;
        n[octets - 1] = last;
        n
    };
    let check = |n: &[u8], e: &[u8], expected: Result<KeyKind, PublicKeyError>| {
        assert_eq!(
            PublicKey::rsa(n, e).map(|key| key.kind()),
            expected,
            "{} {e:?}",
            n.len()
        );
    };
    let good = modulus(256, 0x80, 1);
    let e = [1, 0, 1];
    check(&good, &e, Ok(KeyKind::Rsa));
    check(&modulus(1024, 0x80, 1), &e, Ok(KeyKind::Rsa));
    for bad in [
        modulus(256, 0x7f, 1),
        modulus(256, 0x80, 2),
        modulus(257, 0, 1),
        modulus(128, 0x80, 1),
        modulus(1025, 1, 1),
        vec![],
    ] {
        check(&bad, &e, Err(PublicKeyError::RsaModulus));
    }
    check(&good, &[1, 0xff, 0xff, 0xff, 0xff], Ok(KeyKind::Rsa));
    for bad in [
        &[][..],
        &[1],
        &[3],
        &[0xff, 0xff],
        &[1, 0, 0],
        &[0, 1, 0, 1],
        &[2, 0, 0, 0, 1],
    ] {
        check(&good, bad, Err(PublicKeyError::RsaExponent));
    }
    let length = PublicKeyError::CoordinateLength;
    assert!(PublicKey::p256(&[1; 32], &[1; 32]).is_ok());
    assert!(PublicKey::p384(&[1; 48], &[1; 48]).is_ok());
    assert!(PublicKey::ed25519(&[1; 32]).is_ok());
    assert_eq!(PublicKey::p256(&[1; 31], &[1; 32]).err(), Some(length));
    assert_eq!(PublicKey::p256(&[1; 32], &[1; 33]).err(), Some(length));
    assert_eq!(PublicKey::p384(&[1; 32], &[1; 32]).err(), Some(length));
    assert_eq!(PublicKey::ed25519(&[1; 31]).err(), Some(length));
}

/// A folder of `../shared/corpora`, or `None` (with a line) where the corpora are not laid out.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test is its own embedder"
)]
fn corpus(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("PORTCULLIS_CORPORA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "no corpus {folder}: set PORTCULLIS_CORPORA"
    );
    println!("no corpus {folder}: skipped");
    None
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn unhex(digits: &str) -> Vec<u8> {
    let even = digits.as_bytes().chunks_exact(2);
    even.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The key of a Wycheproof group, from the raw numbers, with the leading zero of a signed integer taken off.
fn wycheproof_key(group: &Value) -> Result<PublicKey, PublicKeyError> {
    let key = &group["publicKey"];
    let number = |name: &str| {
        let bytes = unhex(text(key, name));
        bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>()
    };
    let coordinate = |name: &str, length: usize| {
        let bytes = number(name);
        [vec![0; length - bytes.len()], bytes].concat()
    };
    match text(key, "curve") {
        "secp256r1" => PublicKey::p256(&coordinate("wx", 32), &coordinate("wy", 32)),
        "secp384r1" => PublicKey::p384(&coordinate("wx", 48), &coordinate("wy", 48)),
        "edwards25519" => PublicKey::ed25519(&unhex(text(key, "pk"))),
        "" => PublicKey::rsa(&number("modulus"), &number("publicExponent")),
        other => panic!("{other}"),
    }
}

/// Every vector of `file` has the verdict that Wycheproof gives it; returns how many were judged.
fn check_wycheproof(folder: &std::path::Path, file: &str, algorithm: Algorithm) -> usize {
    let bytes = std::fs::File::open(folder.join(file)).unwrap();
    let vectors: Value = serde_json::from_reader(std::io::BufReader::new(bytes)).unwrap();
    let mut judged = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = match wycheproof_key(group) {
            Ok(key) => key,
            // Wycheproof also has keys with the exponent 3, which are not taken here.
            Err(error) => {
                assert_eq!(error, PublicKeyError::RsaExponent, "{file}");
                continue;
            }
        };
        for test in group["tests"].as_array().unwrap() {
            let verified = key.verify(algorithm, &unhex(text(test, "msg")), &unhex(text(test, "sig")));
            let valid = match text(test, "result") {
                "valid" => true,
                "invalid" => false,
                // Old encodings (PKCS#1 without the NULL) that RFC 8017 lets verifiers refuse: refused.
                _ => false,
            };
            assert_eq!(verified.is_ok(), valid, "{file} {} {}", test["tcId"], test["comment"]);
            for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                if valid && other.key_kind() != algorithm.key_kind() {
                    let refused = key.verify(other, &unhex(text(test, "msg")), &unhex(text(test, "sig")));
                    assert!(refused.is_err(), "{file} {other:?}");
                }
            }
            judged += 1;
        }
    }
    judged
}

#[test]
fn signatures_have_the_verdicts_of_wycheproof() {
    let Some(folder) = corpus("wycheproof") else {
        return;
    };
    for (file, algorithm, count) in [
        ("ecdsa_secp256r1_sha256_p1363_test.json", Algorithm::Es256, 262),
        ("ecdsa_secp384r1_sha384_p1363_test.json", Algorithm::Es384, 280),
        ("ed25519_test.json", Algorithm::EdDSA, 151),
        ("rsa_pss_2048_sha256_mgf1_32_test.json", Algorithm::Ps256, 108),
        ("rsa_pss_4096_sha384_mgf1_48_test.json", Algorithm::Ps384, 141),
        ("rsa_pss_4096_sha512_mgf1_64_test.json", Algorithm::Ps512, 179),
        ("rsa_signature_2048_sha256_test.json", Algorithm::Rs256, 257),
        ("rsa_signature_3072_sha384_test.json", Algorithm::Rs384, 259),
        ("rsa_signature_4096_sha512_test.json", Algorithm::Rs512, 259),
    ] {
        assert_eq!(check_wycheproof(&folder, file, algorithm), count, "{file}");
    }
}

#[test]
fn a_der_signature_is_no_jws_signature() {
    let Some(folder) = corpus("wycheproof") else {
        return;
    };
    let file = std::fs::File::open(folder.join("ecdsa_secp256r1_sha256_test.json")).unwrap();
    let vectors: Value = serde_json::from_reader(std::io::BufReader::new(file)).unwrap();
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = wycheproof_key(group).unwrap();
        for test in group["tests"].as_array().unwrap() {
            let verified = key.verify(Algorithm::Es256, &unhex(text(test, "msg")), &unhex(text(test, "sig")));
            assert!(verified.is_err(), "{}", test["tcId"]);
        }
    }
}
