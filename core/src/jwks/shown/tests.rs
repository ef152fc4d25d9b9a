//! Thumbprints against the examples of the RFCs, and keys that are none.

use portcullis_fixtures::keys;
use serde_json::{Value, json};

use super::ShownKey;
use crate::crypto::{Algorithm, encode_base64url};
use crate::json;
use crate::jwks::SkipReason;

fn read(key: &Value) -> Result<ShownKey, SkipReason> {
    let limits = json::Limits { depth: 8, members: 100 };
    let (text, mut scratch) = (key.to_string(), json::Scratch::default());
    let document = json::parse(text.as_bytes(), &mut scratch, limits).unwrap();
    ShownKey::read(document.root())
}

fn thumbprint(key: &Value) -> Result<String, SkipReason> {
    read(key).map(|key| encode_base64url(key.thumbprint()))
}

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    // RFC 9449 section 4.1 (the key) and 6.1 (its thumbprint).
    let key = json!({
        "kty": "EC", "crv": "P-256",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    });
    assert_eq!(thumbprint(&key).unwrap(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    // RFC 8037 appendix A.3.
    let key = json!({"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(thumbprint(&key).unwrap(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    // RFC 7638 section 3.1.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3\
             oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA\
             ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-\
             kEgU8awapJzKnqDKgw";
    let key = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
    assert_eq!(thumbprint(&key).unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn only_what_makes_the_key_makes_its_thumbprint() {
    let bare = |mut key: Value| {
        key.as_object_mut()
            .unwrap()
            .retain(|name, _| ["crv", "e", "kty", "n", "x", "y"].contains(&name.as_str()));
        key
    };
    let all = [keys::es256(), keys::es384(), keys::ed25519(), keys::rsa()];
    for key in all {
        assert_eq!(thumbprint(&key.jwk()), thumbprint(&bare(key.jwk())));
    }
    let mut prints: Vec<String> = all.iter().map(|key| thumbprint(&key.jwk()).unwrap()).collect();
    prints.sort_unstable();
    prints.dedup();
    assert_eq!(prints.len(), all.len());
}

#[test]
fn what_no_set_would_use_is_not_read() {
    let with = |name: &str, value: Value| {
        let mut key = keys::es256().jwk();
        key[name] = value;
        key
    };
    for (key, expected) in [
        (with("d", json!("AA")), SkipReason::Private),
        (with("k", json!("AA")), SkipReason::Private),
        (with("kty", json!("oct")), SkipReason::Symmetric),
        (json!({"kty": "oct", "k": "AAAA"}), SkipReason::Symmetric),
        (with("use", json!("enc")), SkipReason::Use),
        (with("key_ops", json!(["sign"])), SkipReason::Operations),
        (with("alg", json!("HS256")), SkipReason::Algorithm),
        (with("alg", json!("ES384")), SkipReason::Algorithm),
        (with("crv", json!("P-521")), SkipReason::Kind),
        (with("x", json!(7)), SkipReason::Field),
        (json!([]), SkipReason::Field),
        (json!("key"), SkipReason::Field),
        (json!({}), SkipReason::Field),
    ] {
        assert_eq!(read(&key).map(|_| ()), Err(expected), "{key}");
    }
}

#[test]
fn a_key_verifies_with_its_own_algorithms_alone() {
    use portcullis_fixtures::keys::Algorithm as Signing;
    for signing in Signing::ALL {
        let signature = signing.key().sign(signing, b"message");
        let key = read(&signing.key().jwk()).unwrap();
        for algorithm in Algorithm::ALL {
            let verified = key.verify(algorithm, b"message", &signature).is_ok();
            assert_eq!(
                verified,
                algorithm.name() == signing.as_str(),
                "{algorithm:?} {signing:?}"
            );
        }
        let own = Algorithm::from_name(signing.as_str()).unwrap();
        assert!(key.verify(own, b"another", &signature).is_err());
    }
    let mut pinned = keys::rsa().jwk();
    pinned["alg"] = json!("RS256");
    let pinned = read(&pinned).unwrap();
    let signature = keys::rsa().sign(Signing::Rs512, b"message");
    assert!(pinned.verify(Algorithm::Rs512, b"message", &signature).is_err());
}
