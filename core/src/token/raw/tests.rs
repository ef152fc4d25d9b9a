//! A signature alone: what stands, its refused neighbours, and what is shown of tokens that nobody vouches for.

use portcullis_fixtures::keys::{self, Algorithm as Signing, Key, base64url};
use portcullis_fixtures::token::compact;

use super::{Unverified, danger_decode_unverified, verify, verify_message};
use crate::crypto::Algorithm;
use crate::denial::DenyReason;
use crate::jwks::{JwksLimits, KeySet};
use crate::time::UnixTime;

fn key_set(keys: &[&Key]) -> KeySet {
    let limits = JwksLimits {
        bytes_max: 65_536,
        keys_max: 10,
    };
    KeySet::parse(keys::jwks(keys).as_bytes(), &limits, UnixTime::default()).unwrap()
}

fn all() -> KeySet {
    key_set(&[keys::ed25519(), keys::es256(), keys::es384(), keys::rsa()])
}

fn header(algorithm: Signing, kid: &str) -> String {
    format!(r#"{{"alg":"{}","kid":"{kid}"}}"#, algorithm.as_str())
}

#[track_caller]
fn check(token: &str, keys: &KeySet, expected: Result<(), DenyReason>) {
    let judged = verify(token, keys, &Algorithm::ALL);
    assert_eq!(judged.map(|_| ()).map_err(|denial| denial.reason), expected, "{token}");
}

#[test]
fn any_payload_stands_under_its_own_key() {
    let keys = all();
    for signing in Signing::ALL {
        let key = signing.key();
        for payload in ["", "foo", "{}", "\u{0}", r#"{"exp":1}"#] {
            let token = compact(&header(signing, key.kid()), payload, key, signing);
            let verified = verify(&token, &keys, &Algorithm::ALL).unwrap();
            assert_eq!(verified.algorithm.name(), signing.as_str());
            assert_eq!(verified.kid.as_deref(), Some(key.kid()));
            let others: Vec<Algorithm> = Algorithm::ALL
                .into_iter()
                .filter(|other| *other != verified.algorithm)
                .collect();
            let refused = verify(&token, &keys, &others).map_err(|denial| denial.reason);
            assert_eq!(refused.err(), Some(DenyReason::TokenAlgorithm));
            let (input, signature) = token.rsplit_once('.').unwrap();
            check(
                &format!("{input}AAAA.{signature}"),
                &keys,
                Err(DenyReason::TokenSignature),
            );
            check(&format!("{input}."), &keys, Err(DenyReason::TokenMalformed));
        }
    }
}

#[test]
fn the_form_is_as_strict_as_the_roads() {
    let keys = all();
    let sign = |header: &str| compact(header, "foo", keys::ed25519(), Signing::EdDsa);
    check(&sign(r#"{"alg":"EdDSA","kid":"ed-1"}"#), &keys, Ok(()));
    check(&sign(r#"{"alg":"EdDSA"}"#), &keys, Ok(()));
    for malformed in [
        r#"{"alg":"EdDSA","alg":"EdDSA","kid":"ed-1"}"#,
        r#"{"alg":"EdDSA","kid":"ed-1","crit":["b64"],"b64":false}"#,
        r#"{"alg":"EdDSA","kid":"ed-1","crit":["exp"],"exp":1}"#,
        r#"{"alg":"EdDSA","kid":1}"#,
        r#"{"kid":"ed-1"}"#,
        "[]",
        "x",
    ] {
        check(&sign(malformed), &keys, Err(DenyReason::TokenMalformed));
    }
    let good = sign(r#"{"alg":"EdDSA","kid":"ed-1"}"#);
    for malformed in [
        "",
        ".",
        "..",
        "foo",
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{good} "),
    ] {
        check(malformed, &keys, Err(DenyReason::TokenMalformed));
    }
    check(
        &sign(r#"{"alg":"EdDSA","kid":"es-1"}"#),
        &keys,
        Err(DenyReason::TokenAlgorithm),
    );
    check(
        &sign(r#"{"alg":"EdDSA","kid":"ed-2"}"#),
        &keys,
        Err(DenyReason::TokenKeyUnknown),
    );
    check(
        &sign(r#"{"alg":"ES256","kid":"es-1"}"#),
        &keys,
        Err(DenyReason::TokenSignature),
    );
}

#[test]
fn algorithms_that_are_not_here_are_refused_by_name() {
    let keys = all();
    for name in [
        "ES512",
        "ES256K",
        "ML-DSA-44",
        "ML-DSA-65",
        "ML-DSA-87",
        "Ed25519",
        "HS256",
        "none",
    ] {
        let header = format!(r#"{{"alg":"{name}","kid":"ed-1"}}"#);
        let token = compact(&header, "foo", keys::ed25519(), Signing::EdDsa);
        let denial = verify(&token, &keys, &Algorithm::ALL).unwrap_err();
        assert_eq!(denial.reason, DenyReason::TokenAlgorithm);
        let named = if name == "HS256" { "HMAC" } else { name };
        assert!(denial.operator.contains(named), "{name}: {}", denial.operator);
    }
}

#[test]
fn a_message_stands_under_the_one_key_that_fits() {
    let key = keys::es256();
    let signature = key.sign(Signing::Es256, b"message");
    let judge = |keys: &KeySet, message: &[u8]| {
        verify_message(keys, Algorithm::Es256, message, &signature).map_err(|denial| denial.reason)
    };
    assert_eq!(judge(&all(), b"message"), Ok(()));
    assert_eq!(judge(&all(), b"messagf"), Err(DenyReason::TokenSignature));
    assert_eq!(
        judge(&key_set(&[keys::rsa()]), b"message"),
        Err(DenyReason::TokenKeyUnknown)
    );
    let two = key_set(&[key, &Key::new_es256("other")]);
    assert_eq!(judge(&two, b"message"), Err(DenyReason::TokenKeyUnknown));
}

#[test]
fn unverified_tokens_are_shown_or_said_to_be_unreadable() {
    let part = |text: &str| base64url(text.as_bytes());
    let shown = |token: &str| danger_decode_unverified(token).map_err(|denial| denial.operator);
    let (header, claims) = (part(r#"{"alg":"none"}"#), part(r#"{"sub":"a"}"#));
    let expected = |signed| {
        Ok(Unverified {
            header: r#"{"alg":"none"}"#.to_owned(),
            claims: r#"{"sub":"a"}"#.to_owned(),
            signed,
        })
    };
    assert_eq!(shown(&format!("{header}.{claims}.AAAA")), expected(true));
    assert_eq!(shown(&format!("{header}.{claims}.")), expected(false));
    assert_eq!(shown(&format!("{header}.{claims}")), expected(false));
    let twice = part(r#"{"sub":"a","sub":"b"}"#);
    for (token, told) in [
        (format!("{header}.{twice}.AAAA"), "the claims have a member twice"),
        (format!("{twice}.{claims}.AAAA"), "the header has a member twice"),
        (format!("{header}.{}.AAAA", part("[]")), "the claims are no JSON object"),
        (format!("{header}.AAAA.AAAA"), "the claims are not strict JSON"),
        (
            format!("{header}.{claims}=.AAAA"),
            "a part of the token is not strict base64url",
        ),
        ("a.b.c.d".to_owned(), "the token has not three parts"),
    ] {
        assert_eq!(shown(&token), Err(told));
    }
    assert!(shown("a.b.c.d.e").unwrap_err().contains("JWE"));
    assert!(shown("2YotnFZFEjr1zCsicMWpAA").unwrap_err().contains("opaque"));
}
