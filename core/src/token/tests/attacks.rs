//! Named attacks on JWT verifiers; each entry names the faults it stands for.

use portcullis_fixtures::keys::{self, Algorithm as Signing, Key, base64url};
use portcullis_fixtures::token::compact;
use serde_json::json;

use super::{ISSUER, NOW, RESOURCE, World, entry, good, key_set, parts};
use crate::crypto::Algorithm;
use crate::denial::DenyReason;

const CLAIMS: Result<(), DenyReason> = Err(DenyReason::TokenClaims);
const MALFORMED: Result<(), DenyReason> = Err(DenyReason::TokenMalformed);
const SIGNATURE: Result<(), DenyReason> = Err(DenyReason::TokenSignature);

fn of_keys(keys: &[&Key]) -> World {
    let mut every = parts(ISSUER);
    every.algorithms = Algorithm::ALL.to_vec();
    World::of(vec![entry(every, keys)])
}

/// CVE-2015-9235, CVE-2020-28042: no algorithm, no signature.
#[test]
fn unsigned_tokens_are_refused() {
    let world = World::new();
    let token = good().sign(keys::ed25519());
    let (input, signature) = token.rsplit_once('.').unwrap();
    world.check(&good().unsigned(), MALFORMED);
    world.check(
        &format!("{}{signature}", good().unsigned()),
        Err(DenyReason::TokenAlgorithm),
    );
    world.check(&format!("{input}."), MALFORMED);
    world.check(input, MALFORMED);
    world.check(&format!("{input}.{}", base64url(&[0; 64])), SIGNATURE);
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "EdDSA ", "eddsa", "Ed448"] {
        world.check(
            &good().header("alg", alg).sign(keys::ed25519()),
            Err(DenyReason::TokenAlgorithm),
        );
    }
    for alg in [json!(["EdDSA"]), json!(1), json!({})] {
        world.check(&good().header("alg", alg).sign(keys::ed25519()), MALFORMED);
    }
}

/// CVE-2016-5431, CVE-2016-10555, CVE-2022-29217, CVE-2023-48223, CVE-2024-33663, CVE-2024-54150, CVE-2026-34950: the
/// public key taken for an HMAC secret, and one kind of key for another.
#[test]
fn an_algorithm_is_the_keys_own() {
    let all = [keys::ed25519(), keys::es256(), keys::es384(), keys::rsa()];
    let world = of_keys(&all);
    for key in all {
        let public = key.jwk();
        let secrets = ["n", "x", "y", "e"].map(|name| public[name].as_str().unwrap_or_default().to_owned());
        for secret in secrets.iter().chain([&public.to_string(), &keys::jwks(&[key])]) {
            let forged = good().sign_hmac(key.kid(), secret.as_bytes());
            world.check(&forged, Err(DenyReason::TokenAlgorithm));
        }
        for other in Signing::ALL {
            let own = Algorithm::from_name(key.algorithm().as_str()).unwrap().key_kind();
            let kind = Algorithm::from_name(other.as_str()).unwrap().key_kind();
            let relabelled = good().header("alg", other.as_str()).sign(key);
            let expected = match other {
                _ if other == key.algorithm() => Ok(()),
                _ if kind == own => SIGNATURE,
                _ => Err(DenyReason::TokenAlgorithm),
            };
            world.check(&relabelled, expected);
        }
    }
}

/// CVE-2018-0114: a key that the token brings along. It is not read, so a token that is good without it is good.
#[test]
fn keys_in_the_token_are_not_heard() {
    let world = World::new();
    let own = Key::new_ed25519("ed-1");
    let stranger = Key::new_ed25519("stranger");
    for (name, value) in [
        ("jwk", own.jwk()),
        ("jku", json!("https://attacker.example/keys")),
        ("x5u", json!("https://attacker.example/chain")),
        ("x5c", json!([base64url(b"chain")])),
    ] {
        world.check(&good().header(name, value.clone()).sign(&own), SIGNATURE);
        let unknown = Err(DenyReason::TokenKeyUnknown);
        world.check(&good().header(name, value.clone()).sign(&stranger), unknown);
        world.check(&good().header(name, value).sign(keys::ed25519()), Ok(()));
    }
}

/// Unknown critical extensions (RFC 7515 section 4.1.11), which a known library let pass.
#[test]
fn critical_extensions_are_refused() {
    let world = World::new();
    for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!("b64"), json!(null)] {
        let header = json!({"alg": "EdDSA", "kid": "ed-1", "typ": "at+jwt", "b64": true, "crit": crit});
        let token = compact(
            &header.to_string(),
            &good().claims_json(),
            keys::ed25519(),
            Signing::EdDsa,
        );
        world.check(&token, MALFORMED);
    }
}

/// CVE-2022-21449: ES256 with r or s zero; and signatures of other forms and lengths.
#[test]
fn degenerate_signatures_are_refused() {
    let world = of_keys(&[keys::es256()]);
    let token = good().sign(keys::es256());
    world.check(&token, Ok(()));
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut genuine = Vec::new();
    crate::crypto::decode_base64url(signature.as_bytes(), &mut genuine).unwrap();
    let (r, s) = genuine.split_at(32);
    for signature in [
        vec![0; 64],
        [&[0; 32], s].concat(),
        [r, &[0; 32]].concat(),
        [s, r].concat(),
        [r, s, &[0]].concat(),
        [&[0], r, s].concat(),
        genuine[..63].to_vec(),
        vec![0xff; 64],
        vec![0x30, 6, 2, 1, 0, 2, 1, 0],
    ] {
        world.check(&format!("{input}.{}", base64url(&signature)), SIGNATURE);
    }
}

/// Padded and non-canonical base64url, white space, more or fewer parts.
#[test]
fn a_token_has_one_spelling() {
    let world = World::new();
    let token = good().sign(keys::ed25519());
    world.check(&token, Ok(()));
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    // 64 bytes leave four unused bits in the last character: `A` becomes `B` and so on.
    let last = char::from(signature.as_bytes()[signature.len() - 1] + 1);
    let stray = format!("{}{last}", signature.strip_suffix(|_: char| true).unwrap());
    for spelling in [
        format!("{input}.{stray}"),
        format!("{token}=="),
        format!("{token}.{signature}"),
        format!(".{token}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{input}+.{signature}"),
        format!("{header}.{signature}"),
        "a.b.c".to_owned(),
        "..".to_owned(),
        "x".to_owned(),
    ] {
        world.check(&spelling, MALFORMED);
    }
    for spelling in [format!("{token} "), format!("{header}=.{payload}.{signature}")] {
        world.check(&spelling, Err(DenyReason::CredentialScheme));
    }
    let long = good().claim("x", "x".repeat(4_096)).sign(keys::ed25519());
    world.check(&long, Err(DenyReason::TokenTooLarge));
}

/// Duplicate members: two readers, two tokens.
#[test]
fn duplicate_members_are_refused() {
    let world = World::new();
    let claims = good().claims_json();
    let body = claims.strip_prefix('{').unwrap();
    let header = r#"{"alg":"EdDSA","kid":"ed-1","typ":"at+jwt"}"#;
    let sign = |header: &str, claims: &str| compact(header, claims, keys::ed25519(), Signing::EdDsa);
    world.check(&sign(header, &claims), Ok(()));
    for twice in [
        r#""sub":"mallory","#,
        r#""\u0073ub":"mallory","#,
        r#""exp":1,"#,
        r#""x":{"a":1,"a":2},"#,
        r#""\u0000":1,"#,
    ] {
        world.check(&sign(header, &format!("{{{twice}{body}")), MALFORMED);
    }
    for header in [
        r#"{"alg":"none","alg":"EdDSA","kid":"ed-1","typ":"at+jwt"}"#,
        r#"{"alg":"EdDSA","kid":"ed-1","kid":"ed-2","typ":"at+jwt"}"#,
        r#"{"alg":"EdDSA","kid":"ed-1","typ":"at+jwt"}{}"#,
        r#"{"alg":"EdDSA","kid":7,"typ":"at+jwt"}"#,
        r#"{"kid":"ed-1","typ":"at+jwt"}"#,
        r#"["EdDSA"]"#,
        "",
    ] {
        world.check(&sign(header, &claims), MALFORMED);
    }
    for claims in ["[]", "null", "\"x\"", "{}"] {
        world.check(&sign(header, claims), CLAIMS);
    }
}

/// CVE-2026-25537: a claim of the wrong type taken for an absent one.
#[test]
fn a_claim_of_the_wrong_type_is_not_an_absent_claim() {
    let world = World::new();
    let wrong = [
        json!("1800000000"),
        json!(1_800_000_100.5),
        json!(1.8e9),
        json!(-1),
        json!(null),
        json!([NOW]),
        json!({}),
        json!(true),
    ];
    for name in ["exp", "nbf", "iat", "auth_time"] {
        for value in &wrong {
            let mut change = json!({});
            change[name] = value.clone();
            world.claims(change, CLAIMS);
        }
        for value in [json!(1e30), json!(1_u64 << 53), json!(u64::MAX)] {
            let mut change = json!({});
            change[name] = value;
            world.claims(change, MALFORMED);
        }
    }
    for aud in [
        json!(7),
        json!({}),
        json!([]),
        json!(null),
        json!(""),
        json!([RESOURCE, 7]),
        json!([RESOURCE, ""]),
    ] {
        world.claims(json!({ "aud": aud }), CLAIMS);
    }
    world.check(&good().without("aud").sign(keys::ed25519()), CLAIMS);
    world.check(&good().without("sub").sign(keys::ed25519()), CLAIMS);
}

/// CVE-2024-53861, CVE-2025-30144: `iss` as a part, as an array, as something else.
#[test]
fn an_issuer_is_one_string() {
    let world = World::new();
    for iss in [
        json!([ISSUER]),
        json!([ISSUER, "https://attacker.example"]),
        json!({}),
        json!(7),
        json!(null),
    ] {
        world.claims(json!({ "iss": iss }), CLAIMS);
    }
    for iss in [
        "https",
        "https://as.example/t,https://attacker.example",
        "https://as.example/t\0",
    ] {
        world.claims(json!({ "iss": iss }), Err(DenyReason::TokenIssuer));
    }
    world.check(&good().without("iss").sign(keys::ed25519()), CLAIMS);
}

/// CVE-2026-35039: a cache keyed on less than the whole token.
#[test]
fn the_cache_knows_the_signature_too() {
    let world = World::new();
    let token = good().sign(keys::ed25519());
    world.check(&token, Ok(()));
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut other = signature.to_owned();
    other.replace_range(..1, if other.starts_with('A') { "B" } else { "A" });
    world.check(&format!("{input}.{other}"), SIGNATURE);
    let mallory = good().subject("mallory").sign(keys::ed25519());
    let (mallory, _) = mallory.rsplit_once('.').unwrap();
    world.check(&format!("{mallory}.{signature}"), SIGNATURE);
    world.check(&token, Ok(()));
}

/// Two issuers with one `kid` (agentgateway#3609): each token by its own issuer's key, no other.
#[test]
fn issuers_do_not_share_keys() {
    let (a, b) = (Key::new_ed25519("k"), Key::new_ed25519("k"));
    let other = "https://other.example";
    let mut world = World::of(vec![entry(parts(ISSUER), &[&a]), entry(parts(other), &[&b])]);
    for _ in 0..2 {
        world.check(&good().sign(&a), Ok(()));
        world.check(&good().sign(&b), SIGNATURE);
        world.check(&good().claim("iss", other).sign(&b), Ok(()));
        world.check(&good().claim("iss", other).sign(&a), SIGNATURE);
        world.accepted.reverse();
    }
    world.accepted.pop();
    world.check(&good().claim("iss", other).sign(&b), Err(DenyReason::TokenIssuer));
}

/// Rotation, unknown and missing `kid`, and keys that are not there: no key stands in for another.
#[test]
fn keys_rotate_and_none_stands_in() {
    let (old, new) = (Key::new_ed25519("old"), Key::new_ed25519("new"));
    let unknown = Err(DenyReason::TokenKeyUnknown);
    let mut world = of_keys(&[&old]);
    world.check(&good().sign(&old), Ok(()));
    world.check(&good().sign(&new), unknown);
    world.check(&good().header("kid", "").sign(&old), unknown);
    world.accepted[0].keys = Some(key_set(&[&old, &new], NOW));
    let tokens = [good().sign(&old), good().sign(&new)];
    tokens.iter().for_each(|token| world.check(token, Ok(())));
    world.accepted[0].keys = Some(key_set(&[&new], NOW));
    world.check(&tokens[0], unknown);
    world.check(&tokens[1], Ok(()));

    let nameless = |key: &Key| {
        let header = json!({"alg": "EdDSA", "typ": "at+jwt"}).to_string();
        compact(&header, &good().claims_json(), key, Signing::EdDsa)
    };
    world.check(&nameless(&new), Ok(()));
    world.check(&nameless(&old), SIGNATURE);
    world.accepted[0].keys = Some(key_set(&[&old, &new], NOW));
    world.check(&nameless(&new), unknown);
}
