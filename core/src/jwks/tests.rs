//! Which keys of a set are used, and which key a token gets.

use super::{FindError, JwksLimits, KeySet, KeySetError, SkipReason};
use crate::crypto::{Algorithm, PublicKeyError, encode_base64url};
use crate::json::ParseError;
use crate::time::UnixTime;

const LIMITS: JwksLimits = JwksLimits {
    bytes_max: 64 * 1024,
    keys_max: 8,
};

fn number(octets: usize, fill: u8) -> String {
    encode_base64url(&vec![fill; octets])
}

/// An RSA key of 2048 bits; what `members` says comes in front.
fn rsa(members: &str) -> String {
    format!(r#"{{{members}"kty":"RSA","n":"{}","e":"AQAB"}}"#, number(256, 0xaf))
}

fn p256(members: &str) -> String {
    // The generator of the curve.
    let (x, y) = (
        "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
        "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
    );
    format!(r#"{{{members}"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#)
}

/// An Ed25519 key, one for each number below 10; most of these numbers are no points.
fn ed25519(members: &str, which: usize) -> String {
    let fill = [1, 3, 6, 9, 10, 11, 12, 16, 17, 19][which];
    format!(r#"{{{members}"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, number(32, fill))
}

fn parse(keys: &[String]) -> Result<KeySet, KeySetError> {
    let text = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    KeySet::parse(text.as_bytes(), &LIMITS, UnixTime::from_secs(1))
}

#[test]
fn each_key_is_vetted_by_itself() {
    let check = |key: String, expected: Option<SkipReason>| {
        let good = ed25519(r#""kid":"good","#, 9);
        let set = parse(&[key.clone(), good]).unwrap();
        assert_eq!(set.skip_reasons().first().copied(), expected, "{key}");
        assert_eq!(set.skipped(), usize::from(expected.is_some()), "{key}");
        assert_eq!(set.len(), 2 - set.skipped(), "{key}");
        assert!(set.find(Some("good"), Algorithm::EdDSA).is_ok(), "{key}");
        let alone = parse(std::slice::from_ref(&key)).map(|set| set.len());
        assert_eq!(
            alone,
            if expected.is_some() {
                Err(KeySetError::NoneUsable(1))
            } else {
                Ok(1)
            },
            "{key}"
        );
    };
    for members in [
        "",
        r#""kid":"a","#,
        r#""use":"sig","#,
        r#""key_ops":["verify"],"#,
        r#""key_ops":["sign","verify"],"#,
        r#""x5c":["AAAA"],"x5t":"x","x5u":"https://elsewhere.example","#,
        r#""anything":{"else":[1,2.5]},"#,
    ] {
        check(rsa(members), None);
        check(p256(members), None);
        check(ed25519(members, 8), None);
    }
    check(rsa(r#""alg":"PS512","#), None);
    check(p256(r#""alg":"ES256","#), None);
    check(ed25519(r#""alg":"EdDSA","#, 8), None);
    for (members, reason) in [
        (r#""use":"enc","#, SkipReason::Use),
        (r#""use":["sig"],"#, SkipReason::Field),
        (r#""key_ops":["sign"],"#, SkipReason::Operations),
        (r#""key_ops":[],"#, SkipReason::Operations),
        (r#""key_ops":"verify","#, SkipReason::Operations),
        (r#""key_ops":[1],"#, SkipReason::Field),
        (r#""alg":"none","#, SkipReason::Algorithm),
        (r#""alg":"HS256","#, SkipReason::Algorithm),
        (r#""alg":"RSA-OAEP","#, SkipReason::Algorithm),
        (r#""alg":"ES384","#, SkipReason::Algorithm),
        (r#""alg":7,"#, SkipReason::Field),
        (r#""kid":7,"#, SkipReason::Field),
        (r#""kid":"","#, SkipReason::Field),
        (r#""d":"AAAA","#, SkipReason::Private),
        (r#""k":"AAAA","#, SkipReason::Private),
    ] {
        check(rsa(members), Some(reason));
        check(p256(members), Some(reason));
        check(ed25519(members, 8), Some(reason));
    }
}

#[test]
fn key_material_and_kinds_are_vetted() {
    let check = |key: &str, expected: SkipReason| {
        let set = parse(&[key.to_owned(), ed25519("", 9)]).unwrap();
        assert_eq!(set.skip_reasons(), [expected], "{key}");
    };
    let short = number(128, 0xaf);
    let good = number(256, 0xaf);
    let length = SkipReason::Material(PublicKeyError::CoordinateLength);
    check(
        &format!(r#"{{"kty":"RSA","n":"{short}","e":"AQAB"}}"#),
        SkipReason::Material(PublicKeyError::RsaModulus),
    );
    check(
        &format!(r#"{{"kty":"RSA","n":"{good}","e":"Aw"}}"#),
        SkipReason::Material(PublicKeyError::RsaExponent),
    );
    check(
        &format!(r#"{{"kty":"RSA","n":"{good}=","e":"AQAB"}}"#),
        SkipReason::Field,
    );
    check(&format!(r#"{{"kty":"RSA","n":"{good}"}}"#), SkipReason::Field);
    check(&format!(r#"{{"kty":"RSA","n":"{good}","e":65537}}"#), SkipReason::Field);
    check(r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#, length);
    check(r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#, length);
    let off = SkipReason::Material(PublicKeyError::NotOnCurve);
    let (x, y) = (number(32, 7), number(48, 7));
    check(&format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}"#), off);
    check(&format!(r#"{{"kty":"EC","crv":"P-384","x":"{y}","y":"{y}"}}"#), off);
    check(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#), off);
    check(
        &format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, number(32, 0)),
        off,
    );
    check(r#"{"kty":"OKP","crv":"Ed448","x":"AAAA"}"#, SkipReason::Kind);
    check(r#"{"kty":"OKP","crv":"X25519","x":"AAAA"}"#, SkipReason::Kind);
    check(r#"{"kty":"EC","crv":"P-521","x":"AAAA","y":"AAAA"}"#, SkipReason::Kind);
    check(
        r#"{"kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA"}"#,
        SkipReason::Kind,
    );
    check(r#"{"kty":"EC","x":"AAAA","y":"AAAA"}"#, SkipReason::Kind);
    check(r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}"#, SkipReason::Kind);
    check(r#"{"kty":"oct","k":"AAAA","alg":"HS256"}"#, SkipReason::Symmetric);
    check(r#"{"kty":"rsa"}"#, SkipReason::Kind);
    check(r#"{"kty":null}"#, SkipReason::Field);
    check("{}", SkipReason::Field);
    check("null", SkipReason::Field);
    check("[]", SkipReason::Field);
}

#[test]
fn documents_are_bounded_and_strict() {
    let check = |text: &str, expected: KeySetError| {
        let parsed = KeySet::parse(text.as_bytes(), &LIMITS, UnixTime::default());
        assert_eq!(parsed.err(), Some(expected), "{text:.40}");
    };
    check("", KeySetError::Malformed(ParseError::Malformed));
    check("<html>", KeySetError::Malformed(ParseError::Malformed));
    check(r#"{"keys":[]}x"#, KeySetError::Malformed(ParseError::Malformed));
    check(
        r#"{"keys":[],"keys":[]}"#,
        KeySetError::Malformed(ParseError::KeyDuplicate),
    );
    check(
        r#"{"keys":[{"kty":"RSA","kty":"oct"}]}"#,
        KeySetError::Malformed(ParseError::KeyDuplicate),
    );
    check("[]", KeySetError::NoKeys);
    check("{}", KeySetError::NoKeys);
    check(r#"{"keys":{}}"#, KeySetError::NoKeys);
    check(r#"{"Keys":[]}"#, KeySetError::NoKeys);
    check(r#"{"keys":[]}"#, KeySetError::NoneUsable(0));
    let many = |count: usize| vec![ed25519("", 9); count];
    assert_eq!(parse(&many(8)).map(|set| set.len()), Ok(1));
    assert_eq!(parse(&many(9)).err(), Some(KeySetError::TooManyKeys(8)));
    let padded = |spaces: usize| format!("{}{}", " ".repeat(spaces), r#"{"keys":[]}"#);
    check(&padded(LIMITS.bytes_max - 11), KeySetError::NoneUsable(0));
    check(&padded(LIMITS.bytes_max - 10), KeySetError::TooLarge(LIMITS.bytes_max));
}

#[test]
fn a_key_serves_only_its_kid_and_algorithm() {
    let set = parse(&[
        rsa(r#""kid":"r","#),
        rsa(r#""kid":"p","alg":"PS256","#),
        p256(r#""kid":"e","#),
        ed25519("", 9),
    ])
    .unwrap();
    for (kid, algorithm, expected) in [
        (Some("r"), Algorithm::Rs256, None),
        (Some("r"), Algorithm::Ps512, None),
        (Some("r"), Algorithm::Es256, Some(FindError::Algorithm)),
        (Some("p"), Algorithm::Ps256, None),
        (Some("p"), Algorithm::Rs256, Some(FindError::Algorithm)),
        (Some("p"), Algorithm::Ps384, Some(FindError::Algorithm)),
        (Some("e"), Algorithm::Es256, None),
        (Some("e"), Algorithm::Es384, Some(FindError::Algorithm)),
        (Some("E"), Algorithm::Es256, Some(FindError::Unknown)),
        (Some(""), Algorithm::EdDSA, Some(FindError::Unknown)),
        (Some("x"), Algorithm::Rs256, Some(FindError::Unknown)),
        (None, Algorithm::Es256, None),
        (None, Algorithm::EdDSA, None),
        (None, Algorithm::Rs256, None),
        (None, Algorithm::Ps256, Some(FindError::Ambiguous)),
        (None, Algorithm::Es384, Some(FindError::Unknown)),
    ] {
        assert_eq!(set.find(kid, algorithm).err(), expected, "{kid:?} {algorithm:?}");
    }
}

#[test]
fn a_kid_that_means_two_keys_means_none() {
    let check = |keys: &[String], usable: usize, skipped: usize| {
        let set = parse(&[keys, &[p256(r#""kid":"good","#)]].concat()).unwrap();
        assert_eq!((set.len(), set.skipped()), (usable, skipped), "{keys:?}");
        assert!(set.find(Some("good"), Algorithm::Es256).is_ok(), "{keys:?}");
    };
    let same = r#""kid":"k","#;
    let rs256 = r#""kid":"k","alg":"RS256","#;
    check(&[ed25519(same, 1), ed25519(same, 2)], 1, 2);
    check(&[ed25519(same, 1), ed25519(same, 2), ed25519(same, 3)], 1, 3);
    check(&[ed25519(same, 1), ed25519(same, 1)], 2, 1);
    check(&[ed25519(same, 1), rsa(same)], 3, 0);
    check(&[rsa(rs256), rsa(same)], 1, 2);
    check(&[rsa(rs256), rsa(r#""kid":"k","alg":"PS256","#)], 3, 0);
    check(&[ed25519("", 1), ed25519("", 2)], 3, 0);
}

#[test]
fn the_generation_tells_key_sets_apart() {
    let generation = |keys: &[String]| parse(keys).unwrap().generation();
    let (a, b) = (ed25519(r#""kid":"a","#, 1), p256(r#""kid":"b","#));
    let both = generation(&[a.clone(), b.clone()]);
    assert_eq!(both, generation(&[b.clone(), a.clone()]));
    assert_eq!(both, generation(&[a.clone(), b.clone(), r#"{"kty":"oct"}"#.to_owned()]));
    for other in [
        ed25519(r#""kid":"a","#, 2),
        ed25519(r#""kid":"c","#, 1),
        ed25519(r#""kid":"a","alg":"EdDSA","#, 1),
    ] {
        assert_ne!(both, generation(&[other.clone(), b.clone()]), "{other}");
        assert_ne!(both, generation(&[a.clone(), b.clone(), other.clone()]), "{other}");
    }
    for alone in [a, b] {
        assert_ne!(both, generation(&[alone]));
    }
}
