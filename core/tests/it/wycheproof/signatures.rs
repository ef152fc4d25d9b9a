//! Signatures over messages: ECDSA, EdDSA, RSASSA.

use portcullis_core::jwks::{JwksLimits, KeySet, KeySetError, SkipReason};
use portcullis_core::time::UnixTime;
use portcullis_core::token::raw;
use portcullis_core::{Algorithm, PublicKeyError};
use portcullis_fixtures::keys::base64url;
use serde_json::{Value, json};

use super::{Expected, Family, Tally};

/// Runs the cases of one group.
pub(super) fn run(family: Family, group: &Value) -> Tally {
    let mut tally = Tally::default();
    let profile = profile(family, group);
    let keys = Keys::of(family, group);
    let (algorithm, outside) = match (&profile, &keys.unusable) {
        (Ok(algorithm), None) => (Some(*algorithm), None),
        (Ok(_), Some(reason)) => (None, Some(reason.as_str())),
        (Err(reason), _) => (None, Some(reason.as_str())),
    };
    for case in group["tests"].as_array().unwrap() {
        let (message, signature) = (hex(&case["msg"]), hex(&case["sig"]));
        let Some(algorithm) = algorithm else {
            let accepted = algorithms(family)
                .iter()
                .any(|algorithm| keys.any_accepts(*algorithm, &message, &signature));
            if accepted && is_of_other_parameters(case) {
                tally.cases += 1;
                tally.except("accepted: a good signature of ours, wrong for the group's hash or salt length alone");
                continue;
            }
            tally.count(case, accepted, outside);
            continue;
        };
        if family != (Family::Ecdsa { der: true }) {
            let accepted = keys.agree(algorithm, &message, &signature, case);
            tally.count(case, accepted, None);
            continue;
        }
        // No JWS signature is DER, so none may pass as it is. Its numbers are judged too, in the form of a JWS.
        assert!(!keys.any_accepts(algorithm, &message, &signature), "{case}");
        match fixed(&signature, coordinate_length(algorithm)) {
            Some(fixed) => tally.count(case, keys.agree(algorithm, &message, &fixed, case), None),
            None => {
                assert_ne!(Expected::of(case), Expected::Valid, "strict DER was not read: {case}");
                tally.count(case, false, Some("the signature is not strict DER"));
            }
        }
    }
    tally
}

/// Whether a case of a group that is not ours is invalid only because it has other parameters than the group, which may
/// be ours.
fn is_of_other_parameters(case: &Value) -> bool {
    let flags = case["flags"].as_array();
    let other_hash = flags.is_some_and(|flags| flags.iter().any(|flag| flag == "WrongHash"));
    let other_salt = case["comment"]
        .as_str()
        .is_some_and(|comment| comment.starts_with("s_len changed to "));
    Expected::of(case) == Expected::Invalid && (other_hash || other_salt)
}

/// The JWS algorithm of a group, or why none of ours is.
fn profile(family: Family, group: &Value) -> Result<Algorithm, String> {
    let hash = group["sha"].as_str().unwrap_or_default();
    let by_hash = |names: [Algorithm; 3]| match hash {
        "SHA-256" => Ok(names[0]),
        "SHA-384" => Ok(names[1]),
        "SHA-512" => Ok(names[2]),
        _ => Err(format!("no JWS algorithm has RSA with {hash}")),
    };
    match family {
        Family::Ecdsa { .. } => match (curve(group), hash) {
            ("secp256r1" | "P-256", "SHA-256") => Ok(Algorithm::Es256),
            ("secp384r1" | "P-384", "SHA-384") => Ok(Algorithm::Es384),
            ("secp521r1" | "P-521", "SHA-512") => Err("ES512 is not supported: ring has no P-521".to_owned()),
            ("secp256k1", "SHA-256") => Err("ES256K is not supported: ring has no secp256k1".to_owned()),
            (curve, hash) => Err(format!("no JWS algorithm has ECDSA over {curve} with {hash}")),
        },
        Family::Eddsa => match curve(group) {
            "edwards25519" | "Ed25519" => Ok(Algorithm::EdDSA),
            curve => Err(format!("EdDSA over {curve} is not supported: ring has Ed25519 alone")),
        },
        Family::Pkcs1 => by_hash([Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512]),
        Family::Pss => {
            let length = match hash {
                "SHA-256" => 32,
                "SHA-384" => 48,
                "SHA-512" => 64,
                _ => 0,
            };
            let same = group["mgf"] == "MGF1" && group["mgfSha"] == hash && group["sLen"] == length;
            match by_hash([Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512]) {
                Ok(_) if !same => {
                    Err("JWS has PSS with MGF1 over the same hash, and a salt of its length, alone".to_owned())
                }
                judged => judged,
            }
        }
        Family::Jwk | Family::Jws => Err(format!("{family:?} has no messages")),
    }
}

/// The algorithms of a family: none of them may take a signature of a group that is not of our profile.
const fn algorithms(family: Family) -> &'static [Algorithm] {
    match family {
        Family::Ecdsa { .. } => &[Algorithm::Es256, Algorithm::Es384],
        Family::Eddsa => &[Algorithm::EdDSA],
        Family::Pkcs1 => &[Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512],
        Family::Pss => &[Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512],
        Family::Jwk | Family::Jws => &[],
    }
}

fn curve(group: &Value) -> &str {
    numbers(group)["curve"].as_str().unwrap_or_default()
}

/// The key of a group in numbers; older files name it otherwise.
fn numbers(group: &Value) -> &Value {
    let named = ["publicKey", "key", "privateKey"];
    named
        .iter()
        .map(|name| &group[*name])
        .find(|value| value.is_object())
        .unwrap_or(group)
}

/// The keys of a group, in each form in which it gives them.
struct Keys {
    sets: Vec<KeySet>,
    /// Why a key of a known algorithm is not used.
    unusable: Option<String>,
}

impl Keys {
    fn of(family: Family, group: &Value) -> Self {
        let mut keys = Self {
            sets: Vec::new(),
            unusable: None,
        };
        for name in ["privateKeyJwk", "keyJwk", "jwk"] {
            let private = group[name].get("d").is_some();
            assert!(!private || parse(&group[name]).is_err(), "a private key was taken");
        }
        let built = built(family, group);
        let given = ["publicKeyJwk", "keyJwk", "jwk"].map(|name| &group[name]);
        let given = given
            .into_iter()
            .filter(|jwk| jwk.is_object() && jwk.get("d").is_none());
        for jwk in built.iter().chain(given) {
            match parse(jwk) {
                Ok(set) => keys.sets.push(set),
                Err(reason) => {
                    check_reason(family, group, reason);
                    keys.unusable = Some(reason.to_string());
                }
            }
        }
        keys
    }

    fn any_accepts(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.sets
            .iter()
            .any(|set| raw::verify_message(set, algorithm, message, signature).is_ok())
    }

    /// The verdict, which is the same whatever form the key came in.
    #[track_caller]
    fn agree(&self, algorithm: Algorithm, message: &[u8], signature: &[u8], case: &Value) -> bool {
        let judge = |set| raw::verify_message(set, algorithm, message, signature).is_ok();
        let accepted = self.sets.iter().filter(|set| judge(set)).count();
        assert!(
            !self.sets.is_empty() && (accepted == 0 || accepted == self.sets.len()),
            "{case}"
        );
        accepted > 0
    }
}

/// Only these reasons may keep a key of the families from being used, and only where they hold.
fn check_reason(family: Family, group: &Value, reason: SkipReason) {
    let big_endian = |name: &str| {
        let bytes = hex(&numbers(group)[name]);
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        bytes[first..].to_vec()
    };
    let bits = |bytes: &[u8]| {
        bytes
            .first()
            .map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize)
    };
    let holds = match (family, reason) {
        (Family::Pkcs1 | Family::Pss, SkipReason::Material(PublicKeyError::RsaModulus)) => {
            !(2048..=8192).contains(&bits(&big_endian(modulus_name(group))))
        }
        (Family::Pkcs1 | Family::Pss, SkipReason::Material(PublicKeyError::RsaExponent)) => {
            !(17..=33).contains(&bits(&big_endian(exponent_name(group))))
        }
        // RSA over hashes that no JWS has, or a curve that is not here.
        (Family::Pkcs1 | Family::Pss, SkipReason::Algorithm)
        | (Family::Ecdsa { .. } | Family::Eddsa, SkipReason::Kind) => profile(family, group).is_err(),
        // A point that must not be taken is what such a group is for.
        (Family::Ecdsa { .. } | Family::Eddsa, SkipReason::Material(_)) => group["tests"]
            .as_array()
            .unwrap()
            .iter()
            .all(|case| Expected::of(case) != Expected::Valid),
        _ => false,
    };
    assert!(holds, "the key of a group is not used: {reason}: {}", numbers(group));
}

fn modulus_name(group: &Value) -> &'static str {
    if numbers(group)["modulus"].is_string() {
        "modulus"
    } else {
        "n"
    }
}

fn exponent_name(group: &Value) -> &'static str {
    if numbers(group)["publicExponent"].is_string() {
        "publicExponent"
    } else {
        "e"
    }
}

/// A key set of this one key, or why the key is not used.
fn parse(jwk: &Value) -> Result<KeySet, SkipReason> {
    let limits = JwksLimits {
        bytes_max: 65_536,
        keys_max: 1,
    };
    let text = json!({ "keys": [jwk] }).to_string();
    match KeySet::parse(text.as_bytes(), &limits, UnixTime::default()) {
        Ok(set) => Ok(set),
        Err(KeySetError::NoneUsable(1)) => Err(KeySet::report(text.as_bytes(), &limits).unwrap()[0]
            .verdict
            .unwrap_err()),
        Err(error) => panic!("{error}: {text}"),
    }
}

/// The JWK of the key's numbers, when there are numbers.
fn built(family: Family, group: &Value) -> Option<Value> {
    let numbers = numbers(group);
    let unsigned = |value: &Value, length: usize| {
        let bytes = hex(value);
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        let bare = &bytes[first..];
        let padding = vec![0; length.saturating_sub(bare.len())];
        base64url(&[&padding, bare].concat())
    };
    match family {
        Family::Ecdsa { .. } => {
            let (name, length) = match curve(group) {
                "secp256r1" | "P-256" => ("P-256", 32),
                "secp384r1" | "P-384" => ("P-384", 48),
                "secp521r1" | "P-521" => ("P-521", 66),
                other => (other, 0),
            };
            let (x, y) = (unsigned(&numbers["wx"], length), unsigned(&numbers["wy"], length));
            Some(json!({"kty": "EC", "crv": name, "x": x, "y": y}))
        }
        Family::Eddsa => {
            let name = match curve(group) {
                "edwards25519" => "Ed25519",
                other => other,
            };
            Some(json!({"kty": "OKP", "crv": name, "x": base64url(&hex(&numbers["pk"]))}))
        }
        Family::Pkcs1 | Family::Pss => {
            let (n, e) = (&numbers[modulus_name(group)], &numbers[exponent_name(group)]);
            Some(json!({"kty": "RSA", "n": unsigned(n, 0), "e": unsigned(e, 0)}))
        }
        Family::Jwk | Family::Jws => None,
    }
}

const fn coordinate_length(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Es384 => 48,
        _ => 32,
    }
}

/// `r || s` of a signature in DER (SEC 1 section C.8), when it is DER in its one form and the numbers fit.
fn fixed(der: &[u8], length: usize) -> Option<Vec<u8>> {
    let (body, rest) = element(der, 0x30)?;
    let (r, rest_of_body) = element(body, 0x02)?;
    let (s, end) = element(rest_of_body, 0x02)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let mut fixed = Vec::new();
    for number in [r, s] {
        let bare = match number {
            [] => return None,
            [first, ..] if first & 0x80 != 0 => return None,
            [0, second, ..] if second & 0x80 == 0 => return None,
            [0, bare @ ..] => bare,
            bare => bare,
        };
        fixed.resize(fixed.len() + length.checked_sub(bare.len())?, 0);
        fixed.extend_from_slice(bare);
    }
    Some(fixed)
}

/// The content of one DER element of this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [first, length, rest @ ..] if *first == tag && *length < 0x80 => (usize::from(*length), rest),
        [first, 0x81, length, rest @ ..] if *first == tag && 0x80 <= *length => (usize::from(*length), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default();
    assert!(text.len().is_multiple_of(2), "{text}");
    let digits = |place: usize| u8::from_str_radix(text.get(place..place + 2).unwrap(), 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn der_is_read_in_its_one_form() {
    let short = |der: &[u8]| fixed(der, 2);
    assert_eq!(short(&[0x30, 6, 2, 1, 1, 2, 1, 2]), Some(vec![0, 1, 0, 2]));
    assert_eq!(
        short(&[0x30, 8, 2, 2, 0, 0x80, 2, 2, 0x7f, 1]),
        Some(vec![0, 0x80, 0x7f, 1])
    );
    for refused in [
        &[][..],
        &[0x31, 6, 2, 1, 1, 2, 1, 2],
        &[0x30, 6, 2, 1, 1, 2, 1],
        &[0x30, 6, 2, 1, 1, 2, 1, 2, 0],
        &[0x30, 7, 2, 1, 1, 2, 1, 2, 0],
        &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 2],
        &[0x30, 7, 2, 2, 0, 1, 2, 1, 2],
        &[0x30, 6, 2, 1, 0x80, 2, 1, 2],
        &[0x30, 5, 2, 0, 2, 1, 2],
        &[0x30, 8, 2, 3, 1, 0, 0, 2, 1, 2],
    ] {
        assert_eq!(short(refused), None, "{refused:x?}");
    }
}
