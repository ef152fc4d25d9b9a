//! Whole documents: JWS and JWE in their forms, JWK sets, and the JWKs of key agreements.

use portcullis_core::Algorithm;
use portcullis_core::jwks::{JwksLimits, KeySet};
use portcullis_core::time::UnixTime;
use portcullis_core::token::raw;
use serde_json::{Value, json};

use super::{Expected, Tally};

/// Runs one group of JWS, JWE or JWK sets.
pub(super) fn json_web(group: &Value) -> Tally {
    let mut tally = Tally::default();
    for case in group["tests"].as_array().unwrap() {
        let keys = |name: &str| [&case[name], &group[name]].into_iter().find_map(key_set);
        let (public, private) = (keys("public").or_else(|| keys("jwk")), keys("private"));
        let (token, encrypted) = match (&case["jws"], &case["jwe"]) {
            (Value::Null, Value::Null) => (String::new(), false),
            (Value::Null, jwe) => (text(jwe), true),
            (jws, _) => (text(jws), false),
        };
        let verify = |keys: &Option<KeySet>| {
            keys.as_ref()
                .is_some_and(|keys| raw::verify(&token, keys, &Algorithm::ALL).is_ok())
        };
        let has_secret = group["public"].is_null() && case["public"].is_null();
        let outside = if encrypted {
            Some("it is a JWE, and no JWS")
        } else if has_secret {
            Some("its key is symmetric or private, and none of those verifies here")
        } else {
            None
        };
        // Whoever has the private half may have signed: a set that shows it is not believed either.
        tally.count(case, verify(&public) || verify(&private), outside);
        assert!(!verify(&private), "a private or symmetric key verified: {case}");
    }
    tally
}

/// Runs one group of a key agreement: what is no public key there is none here.
pub(super) fn agreement(group: &Value) -> Tally {
    let mut tally = Tally::default();
    for case in group["tests"].as_array().unwrap() {
        assert!(key_set(&case["private"]).is_none(), "a private key was taken: {case}");
        let taken = key_set(&case["public"]).is_some();
        let curve = case["public"]["crv"].as_str().unwrap_or_default();
        let of_group = group["curve"].as_str().is_some_and(|named| named == curve);
        let supported = matches!(curve, "P-256" | "P-384");
        match (Expected::of(case), taken) {
            // Another curve than the partner's does no harm to a key that stands for itself.
            (Expected::Invalid, true) if !of_group && supported => {
                tally.cases += 1;
                tally.except("accepted: a good key of another curve, wrong for this agreement alone");
            }
            (Expected::Valid, false) if !supported => tally.count(case, false, Some("the curve does not sign here")),
            _ => tally.count(case, taken, None),
        }
    }
    tally
}

/// The usable keys of a JWK or of a set of them.
fn key_set(value: &Value) -> Option<KeySet> {
    let limits = JwksLimits {
        bytes_max: 65_536,
        keys_max: 100,
    };
    let set = match value {
        Value::Object(members) if members.contains_key("keys") => value.clone(),
        Value::Object(_) => json!({ "keys": [value] }),
        _ => return None,
    };
    KeySet::parse(set.to_string().as_bytes(), &limits, UnixTime::default()).ok()
}

/// A token as it would be sent: another serialization is its JSON.
fn text(token: &Value) -> String {
    token.as_str().map_or_else(|| token.to_string(), str::to_owned)
}
