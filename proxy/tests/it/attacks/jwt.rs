//! The named faults of JWT libraries.
//!
//! Owns one test a fault, each with its neighbours on both sides.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_fixtures::issuer::{Issuer, IssuerSettings, now_s};
use portcullis_fixtures::keys::{self, Algorithm, Key, base64url};
use portcullis_fixtures::token::compact;
use serde_json::{Value, json};

use super::{Trial, forms};

/// The order of P-256: as `r` or `s` the same as zero.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The keys that the issuer publishes.
fn published() -> [&'static Key; 3] {
    [keys::es256(), keys::ed25519(), keys::rsa()]
}

/// The signing input and the signature of a token.
fn split(token: &str) -> (&str, &str) {
    token.rsplit_once('.').unwrap()
}

fn bytes(signature: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(signature).unwrap()
}

/// Tokens of Alice that take the public half of `key` for an HMAC secret, in every form that `wanted` picks.
fn check_key_as_hmac_secret(key: &Key, wanted: impl Fn(&str) -> bool) {
    let trial = Trial::start("");
    let mut tried = 0;
    for (form, secret) in forms::of(&key.jwk()).into_iter().filter(|(form, _)| wanted(form)) {
        for alg in ["HS256", "HS384", "HS512"] {
            let forged = trial.alice().header("alg", alg).sign_hmac(key.kid(), &secret);
            trial.refused_token(&format!("{alg} with {form}"), &forged, "token_algorithm");
            tried += 1;
        }
        // The same tag under the key's own algorithm: no signature of it.
        let own = trial.alice().header("alg", key.algorithm().as_str());
        trial.refused_token(
            &format!("{} with {form}", key.algorithm().as_str()),
            &own.sign_hmac(key.kid(), &secret),
            "token_signature",
        );
    }
    assert!(0 < tried, "no form was tried");
    trial.accepted_token("signed by the private half", &trial.alice().sign(key));
    trial.finish();
}

/// No algorithm, hence no signature; in the first libraries the token had the last word.
#[test]
fn cve_2015_9235_alg_none() {
    let trial = Trial::start("");
    let good = trial.good();
    let (_, signature) = split(&good);
    trial.refused_token("unsigned", &trial.alice().unsigned(), "token_malformed");
    let signed = format!("{}{signature}", trial.alice().unsigned());
    trial.refused_token("with another token's signature", &signed, "token_algorithm");
    for alg in ["none", "None", "NONE", "nOnE", "none ", ""] {
        let token = trial.gate.issuer.sign(&trial.alice().header("alg", alg));
        trial.refused_token(
            &format!("alg `{alg}` over a right signature"),
            &token,
            "token_algorithm",
        );
        let (input, _) = split(&token);
        trial.refused_token(&format!("alg `{alg}`"), &format!("{input}."), "token_malformed");
    }
    for alg in [json!(["none"]), json!(false), json!(0), json!({})] {
        let token = trial.gate.issuer.sign(&trial.alice().header("alg", alg.clone()));
        trial.refused_token(&format!("alg {alg}"), &token, "token_malformed");
    }
    trial.accepted_token("as it is", &good);
    trial.finish();
}

#[test]
fn cve_2016_5431_and_2016_10555_rs256_key_as_hmac_secret() {
    check_key_as_hmac_secret(keys::rsa(), |form| {
        !form.contains("PEM") || form.ends_with("as written")
    });
}

/// Keys of other kinds than the library's deny list knew: OpenSSH's form of Ed25519.
#[test]
fn cve_2022_29217_other_key_kinds_as_hmac_secret() {
    check_key_as_hmac_secret(keys::ed25519(), |_| true);
}

/// ECDSA keys, in OpenSSH's form and in DER.
#[test]
fn cve_2024_33663_ecdsa_key_as_hmac_secret() {
    check_key_as_hmac_secret(keys::es256(), |_| true);
}

/// One fault mended three times: a public key was told from a secret by how its text begins.
#[test]
fn cve_2023_48223_cve_2026_34950_ghsa_ww5h_9m49_7xx4_pem_spellings_as_hmac_secret() {
    check_key_as_hmac_secret(keys::rsa(), |form| form.contains("PEM"));
}

/// The token's `alg` alone chose how its key was used.
#[test]
fn cve_2024_54150_the_key_chooses_the_algorithm() {
    let trial = Trial::start("");
    for key in published() {
        trial.accepted_token(key.kid(), &trial.alice().sign(key));
        for other in Algorithm::ALL {
            let relabelled = trial.alice().header("alg", other.as_str()).sign(key);
            let name = format!("{} as {}", key.kid(), other.as_str());
            match (other == key.algorithm(), other.key().kid() == key.kid()) {
                (true, _) => trial.accepted_token(&name, &relabelled),
                (false, true) => drop(trial.refused_token(&name, &relabelled, "token_signature")),
                (false, false) => drop(trial.refused_token(&name, &relabelled, "token_algorithm")),
            }
        }
        for alg in [
            "HS256",
            "ES256K",
            "ES512",
            "ML-DSA-44",
            "RS256 ",
            "rs256",
            "Ed25519",
            "RSA-OAEP",
        ] {
            let relabelled = trial.alice().header("alg", alg).sign(key);
            trial.refused_token(&format!("{} as {alg}", key.kid()), &relabelled, "token_algorithm");
        }
    }
    trial.finish();
}

/// A key that the token brings along, or says where to fetch: it is not read, and nobody is asked for it.
#[test]
fn cve_2018_0114_embedded_jwk() {
    let trial = Trial::start("");
    let attacker = Issuer::start(IssuerSettings::default()).unwrap();
    let (same_kid, stranger) = (Key::new_es256("es-1"), Key::new_es256("stranger"));
    let chain = json!([URL_SAFE_NO_PAD.encode(b"no certificate")]);
    let members = |key: &Key| {
        [
            ("jwk", key.jwk()),
            ("jku", json!(attacker.jwks_uri())),
            ("x5u", json!(attacker.jwks_uri())),
            ("x5c", chain.clone()),
            ("x5t", json!("AAAA")),
        ]
    };
    for (name, value) in members(&same_kid) {
        let token = trial.alice().header(name, value).sign(&same_kid);
        trial.refused_token(&format!("{name} under a published kid"), &token, "token_signature");
    }
    for (name, value) in members(&stranger) {
        let token = trial.alice().header(name, value.clone());
        trial.refused_token(
            &format!("{name} under its own kid"),
            &token.sign(&stranger),
            "token_key_unknown",
        );
        let nameless = json!({"alg": "ES256", "typ": "at+jwt", name: value});
        let claims = token.claims_json();
        let nameless = compact(&nameless.to_string(), &claims, &stranger, Algorithm::Es256);
        trial.refused_token(&format!("{name} without a kid"), &nameless, "token_signature");
        trial.accepted_token(&format!("{name} that nobody reads"), &token.sign(keys::es256()));
    }
    assert_eq!(attacker.capture().count(), 0, "the attacker was asked for keys");
    trial.finish();
}

/// An error that tells the right signature makes the verifier a signer.
#[test]
fn cve_2019_7644_no_correct_signature_in_errors() {
    let trial = Trial::start("");
    for key in published() {
        let mallory = trial.alice().subject("mallory").sign(key);
        let (input, correct) = split(&mallory);
        // RSA and Ed25519 sign a text in one way alone; whoever tells a signature tells this one.
        trial.keep_secret(correct);
        trial.keep_secret(&hex(&bytes(correct)));
        let other = trial.alice().sign(key);
        let forged = format!("{input}.{}", split(&other).1);
        let answer = trial.refused_token(key.kid(), &forged, "token_signature");
        let text = answer.text();
        assert!(!text.contains("expected") && !text.contains("signature"), "{text}");
    }
    trial.accepted_token("as it is", &trial.good());
    trial.finish();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A signature of nothing, or of nulls.
#[test]
fn cve_2020_28042_null_signature() {
    let trial = Trial::start("");
    for key in published() {
        let token = trial.alice().sign(key);
        let (input, signature) = split(&token);
        let length = bytes(signature).len();
        trial.refused_token("no signature", &format!("{input}."), "token_malformed");
        trial.refused_token("no third part", input, "token_malformed");
        for (name, null) in [
            ("one null", vec![0]),
            ("nulls", vec![0; length]),
            ("ones", vec![0xff; length]),
            ("the word", b"null".to_vec()),
        ] {
            let forged = format!("{input}.{}", base64url(&null));
            trial.refused_token(&format!("{} with {name}", key.kid()), &forged, "token_signature");
        }
        trial.accepted_token(key.kid(), &token);
    }
    trial.finish();
}

/// ES256 with `r` or `s` zero, or what is zero in the field.
#[test]
fn cve_2022_21449_es256_zero_signature() {
    let trial = Trial::start("");
    let token = trial.alice().sign(keys::es256());
    let (input, signature) = split(&token);
    let genuine = bytes(signature);
    let (r, s) = genuine.split_at(32);
    let (zero, order) = ([0; 32], P256_ORDER);
    let mut one = zero;
    one[31] = 1;
    for (name, forged) in [
        ("r and s zero", [zero, zero].concat()),
        ("r zero", [&zero, s].concat()),
        ("s zero", [r, &zero].concat()),
        ("r and s the order", [order, order].concat()),
        ("r the order", [&order, s].concat()),
        ("s the order", [r, &order].concat()),
        ("r and s one", [one, one].concat()),
        ("r and s exchanged", [s, r].concat()),
        ("zeros in DER", vec![0x30, 6, 2, 1, 0, 2, 1, 0]),
        ("too long", [&genuine[..], &[0]].concat()),
        ("too short", genuine[..63].to_vec()),
    ] {
        trial.refused_token(name, &format!("{input}.{}", base64url(&forged)), "token_signature");
    }
    trial.accepted_token("as it is", &token);
    trial.finish();
}

/// `iss` compared as a part of the accepted one, or taken from an array.
#[test]
fn cve_2024_53861_cve_2025_30144_issuer_compare() {
    let trial = Trial::start("");
    let issuer = trial.gate.issuer.url().to_owned();
    let sign = |iss: Value| trial.gate.issuer.sign(&trial.alice().claim("iss", iss));
    let (less, _) = issuer.split_at(issuer.len() - 1);
    for iss in [
        "http".to_owned(),
        less.to_owned(),
        String::new(),
        format!("{issuer}/"),
        format!("{issuer}0"),
        format!("{issuer}@attacker.example"),
        format!("{issuer},https://attacker.example"),
        format!("{issuer} "),
        format!("{issuer}\0"),
        issuer.replace("http://", "HTTP://"),
        issuer.replace("127.0.0.1", "localhost"),
        "https://attacker.example".to_owned(),
    ] {
        trial.refused_token(&format!("{iss:?}"), &sign(json!(iss)), "token_issuer");
    }
    for iss in [
        json!([issuer]),
        json!([issuer, "https://attacker.example"]),
        json!(["https://attacker.example", issuer]),
        json!({ issuer.clone(): true }),
        json!(null),
        json!(true),
        json!(7),
    ] {
        trial.refused_token(&iss.to_string(), &sign(iss.clone()), "token_claims");
    }
    let nameless = trial.gate.issuer.sign(&trial.alice().without("iss"));
    trial.refused_token("no issuer", &nameless, "token_claims");
    trial.accepted_token("as it is", &trial.good());
    trial.finish();
}

/// A cache of verified tokens whose key is less than the whole token.
#[test]
fn cve_2026_35039_cache_key() {
    let trial = Trial::start("");
    let known = trial.good();
    trial.accepted_token("verified", &known);
    trial.accepted_token("remembered", &known);
    let (input, signature) = split(&known);
    let (header, payload) = input.split_once('.').unwrap();
    let mallory = trial.alice().subject("bob").sign(keys::es256());
    let (other_input, other_signature) = split(&mallory);
    let (_, other_payload) = other_input.split_once('.').unwrap();
    for (name, forged) in [
        ("another signature", format!("{input}.{other_signature}")),
        ("another payload", format!("{header}.{other_payload}.{signature}")),
        (
            "a payload cut short",
            format!("{header}.{}.{signature}", payload.split_at(payload.len() - 4).0),
        ),
    ] {
        let reason = if name.ends_with("short") {
            "token_malformed"
        } else {
            "token_signature"
        };
        trial.refused_token(name, &forged, reason);
    }
    let twin = json!({"alg": "ES256", "kid": "es-1", "typ": "at+jwt", "x": "same claims, another header"});
    let twin = format!("{}.{payload}.{signature}", base64url(twin.to_string().as_bytes()));
    trial.refused_token("another header", &twin, "token_signature");
    trial.accepted_token("still remembered", &known);
    trial.finish();
}

/// A time that is no number was taken for an absent one, and not checked.
#[test]
fn cve_2026_25537_string_exp() {
    let trial = Trial::start("");
    let now = now_s();
    let past = now - 7_200;
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!((now + 300).to_string()),
            json!(past.to_string()),
            json!(""),
            json!("never"),
            json!("2038-01-19T03:14:07Z"),
        ] {
            let token = trial.gate.issuer.sign(&trial.alice().claim(name, value.clone()));
            trial.refused_token(&format!("{name} {value}"), &token, "token_claims");
        }
    }
    let expired = trial
        .gate
        .issuer
        .sign(&trial.alice().claim("iat", past).expires(past + 60));
    trial.refused_token("expired", &expired, "token_expired");
    let early = trial
        .gate
        .issuer
        .sign(&trial.alice().claim("nbf", now + 3_600).expires(now + 7_200));
    trial.refused_token("not valid yet", &early, "token_not_yet_valid");
    let timely = trial
        .gate
        .issuer
        .sign(&trial.alice().claim("nbf", now).claim("iat", now).expires(now + 300));
    trial.accepted_token("numbers", &timely);
    trial.finish();
}
