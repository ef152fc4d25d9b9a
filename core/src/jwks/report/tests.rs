//! Reports agree with what a key set keeps, and tell nothing of secrets.

use portcullis_fixtures::keys::{self, Key};
use serde_json::{Value, json};

use crate::jwks::{JwksLimits, KeyReport, KeySet, KeySetError, SkipReason};
use crate::time::UnixTime;

const LIMITS: JwksLimits = JwksLimits {
    bytes_max: 64 * 1024,
    keys_max: 100,
};

fn report(keys: &[Value]) -> Vec<KeyReport> {
    let text = json!({ "keys": keys }).to_string();
    let reports = KeySet::report(text.as_bytes(), &LIMITS).unwrap();
    // What is told is what is done.
    let mut told: Vec<SkipReason> = reports.iter().filter_map(|report| report.verdict.err()).collect();
    let (usable, mut done) = match KeySet::parse(text.as_bytes(), &LIMITS, UnixTime::default()) {
        Ok(set) => (set.len(), set.skip_reasons().to_vec()),
        Err(KeySetError::NoneUsable(_)) => (0, told.clone()),
        Err(error) => panic!("{error}"),
    };
    told.sort_unstable_by_key(|reason| format!("{reason:?}"));
    done.sort_unstable_by_key(|reason| format!("{reason:?}"));
    assert_eq!(told, done);
    assert_eq!(usable + told.len(), keys.len());
    reports
}

fn with(key: &Key, name: &str, value: impl Into<Value>) -> Value {
    let mut jwk = key.jwk();
    jwk[name] = value.into();
    jwk
}

#[test]
fn verdicts_are_told_in_the_order_of_the_document() {
    let (first, second) = (Key::new_ed25519("twice"), Key::new_ed25519("twice"));
    let zoo = [
        keys::rsa().jwk(),
        with(keys::es256(), "use", "enc"),
        first.jwk(),
        json!({"kty": "oct", "k": "c2VjcmV0LXNlY3JldA", "kid": "hmac"}),
        second.jwk(),
        keys::es384().jwk(),
        keys::es384().jwk(),
        with(keys::ed25519(), "d", "c2VjcmV0"),
        with(keys::es256(), "crv", "P-521"),
        with(keys::es256(), "x", keys::es256().jwk()["y"].clone()),
        json!(7),
    ];
    let verdicts: Vec<_> = report(&zoo).into_iter().map(|report| report.verdict).collect();
    let off_curve = SkipReason::Material(crate::crypto::PublicKeyError::NotOnCurve);
    assert_eq!(
        verdicts,
        [
            Ok(()),
            Err(SkipReason::Use),
            Err(SkipReason::Duplicate),
            Err(SkipReason::Symmetric),
            Err(SkipReason::Duplicate),
            Ok(()),
            Err(SkipReason::Duplicate),
            Err(SkipReason::Private),
            Err(SkipReason::Kind),
            Err(off_curve),
            Err(SkipReason::Field),
        ]
    );
}

#[test]
fn sizes_and_thumbprints_are_those_of_public_keys() {
    let told = report(&[
        keys::rsa().jwk(),
        keys::es384().jwk(),
        keys::ed25519().jwk(),
        json!({"kty": "oct", "k": "c2VjcmV0LXNlY3JldA", "kid": "hmac"}),
        with(keys::ed25519(), "d", "c2VjcmV0"),
    ]);
    let bits: Vec<_> = told.iter().map(|report| report.bits).collect();
    assert_eq!(bits, [Some(2048), Some(384), Some(256), None, None]);
    assert!(told[..3].iter().all(|report| report.thumbprint.is_some()));
    assert!(told[3..].iter().all(|report| report.thumbprint.is_none()));
    assert!(!format!("{told:?}").contains("c2VjcmV0"));
    assert_eq!(told[0].kid.as_deref(), Some("rsa-1"));
}

/// The example of RFC 7638 section 3.1.
#[test]
fn the_thumbprint_is_the_standards() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4\
             n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0z\
             gdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF\
             Cur-kEgU8awapJzKnqDKgw";
    let told = report(&[json!({"kty": "RSA", "e": "AQAB", "n": n, "alg": "RS256", "kid": "2011-04-29"})]);
    let thumbprint = told[0].thumbprint.as_deref();
    assert_eq!(thumbprint, Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
}
