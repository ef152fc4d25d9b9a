//! The fifth class of faults: which key verifies which token (N5).
//!
//! Owns the tests of key selection; the rotation of keys stands with rows A5 and A6 of the fault matrix.

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::issuer::{Behaviour, Issuer, IssuerSettings, now_s};
use portcullis_fixtures::keys::{self, Algorithm, Key, base64url};
use portcullis_fixtures::token::{TokenBuilder, compact};
use serde_json::{Value, json};

use super::{TOOL, Trial, echo, faults, refusal};
use crate::gate::{Gate, RESOURCE, until};

/// A call that needs no person: it shows that a token was taken, whoever issued it.
fn discover() -> Call {
    Call::discover(1)
}

/// Two issuers whose keys have one `kid`: no token is verified by the other's key.
#[test]
fn n5_two_issuers_with_one_kid() {
    let other = Issuer::start(IssuerSettings::default()).unwrap();
    let (first_key, other_key) = (Key::new_es256("one-kid"), Key::new_es256("one-kid"));
    other.answer_keys(Behaviour::body(keys::jwks(&[&other_key])));
    let gate = Gate::start_changed(|issuer, text| {
        issuer.answer_keys(Behaviour::body(keys::jwks(&[&first_key])));
        let second = format!(
            "  - issuer: {}\n    danger_allow_private_addresses: true\nservers:",
            other.url()
        );
        let text = text.replacen("servers:", &second, 1);
        text.replacen(
            &format!("issuers: [{}]", issuer.url()),
            &format!("issuers: [{}, {}]", issuer.url(), other.url()),
            1,
        )
    });
    until(|| 2 <= gate.logged("keys fetched").len());
    let trial = Trial::of(gate);
    let first = trial.alice();
    let second = TokenBuilder::new(other.url(), RESOURCE, now_s());
    trial.accepted(
        "the first's by its own key",
        &discover().bearer(&first.sign(&first_key)),
    );
    trial.accepted(
        "the other's by its own key",
        &discover().bearer(&second.sign(&other_key)),
    );
    trial.refused_token(
        "the first's by the other's key",
        &first.sign(&other_key),
        "token_signature",
    );
    trial.refused_token(
        "the other's by the first's key",
        &second.sign(&first_key),
        "token_signature",
    );
    let third = first.claim("iss", "https://attacker.example");
    trial.refused_token("a third's by the first's key", &third.sign(&first_key), "token_issuer");
    trial.finish();
}

/// CVE-2026-31837: while there are no keys, there is no key; nothing stands in.
#[test]
fn n5_cve_2026_31837_no_default_key() {
    let limits = "  unknown_kid_interval: 1ms\n  unknown_kid_wait: 10s\n  fetch_deadline: 500ms";
    let trial = Trial::of(Gate::start_keyless(limits, |issuer| {
        issuer.answer_keys(Behaviour::body(""));
    }));
    let elsewhere = Issuer::start(IssuerSettings::default()).unwrap();
    let unusable = refusal(503, 50_301, "keys_unavailable");
    let made_up = Key::new_rsa("default", 2048);
    let tokens = [
        trial.good(),
        trial.alice().sign(&made_up),
        compact(
            r#"{"alg":"RS256","typ":"at+jwt"}"#,
            &trial.alice().claims_json(),
            &made_up,
            Algorithm::Rs256,
        ),
    ];
    for (name, answer, _) in faults::broken_key_sets(&elsewhere) {
        trial.gate.issuer.answer_keys(answer);
        for token in &tokens {
            trial.refused(name, &echo().bearer(token), unusable);
        }
    }
    let unsigned = trial.alice().unsigned();
    trial.refused_token("no signature", &unsigned, "token_malformed");
    assert_eq!(elsewhere.capture().count(), 0, "a redirect was followed");
    trial.gate.issuer.answer_keys(Behaviour::Right);
    trial.accepted_token("with keys", &tokens[0]);
    trial.refused_token("a key that nobody published", &tokens[1], "token_key_unknown");
    trial.finish();
}

/// Keys that cannot be used are left out and counted; the good ones serve on, and none is used as what it is not.
#[test]
fn n5_one_bad_key_does_not_take_the_set_along() {
    let (good, enc, twin) = (Key::new_es256("good"), Key::new_es256("enc"), Key::new_es256("twin"));
    let (other_twin, nameless) = (Key::new_es256("twin"), Key::new_ed25519("nameless"));
    let with = |key: &Key, name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    };
    let mut no_kid = nameless.jwk();
    no_kid.as_object_mut().unwrap().remove("kid");
    let small = json!({"kty": "RSA", "kid": "small", "use": "sig", "n": base64url(&[0xaf; 128]), "e": "AQAB"});
    let set = json!({"keys": [
        with(&enc, "use", json!("enc")),
        {"kty": "oct", "kid": "oct", "k": base64url(b"a shared secret of thirty-two by"), "alg": "HS256"},
        {"kty": "AKP", "kid": "unknown", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kty": "EC", "kid": "curve", "crv": "secp256k1", "x": "AAAA", "y": "AAAA"},
        with(&enc, "d", json!("AAAA")),
        small,
        twin.jwk(),
        other_twin.jwk(),
        null,
        "key",
        no_kid,
        good.jwk(),
    ]});
    let gate = Gate::start_changed(|issuer, text| {
        issuer.answer_keys(Behaviour::body(set.to_string()));
        text
    });
    let trial = Trial::of(gate);
    let fetched = trial.gate.logged("keys fetched");
    let [fetched] = &fetched[..] else { panic!("{fetched:?}") };
    assert_eq!(
        (&fetched["keys"], &fetched["skipped"]),
        (&json!(2), &json!(10)),
        "{fetched}"
    );
    for (name, key) in [
        ("for encryption", &enc),
        ("one of two", &twin),
        ("the other of two", &other_twin),
    ] {
        trial.refused_token(name, &trial.alice().sign(key), "token_key_unknown");
    }
    let shared = trial.alice().sign_hmac("oct", b"a shared secret of thirty-two by");
    trial.refused_token("symmetric", &shared, "token_algorithm");
    let named = trial.alice().sign(&nameless);
    trial.refused_token("a key without a name, by name", &named, "token_key_unknown");
    let unnamed = compact(
        r#"{"alg":"EdDSA","typ":"at+jwt"}"#,
        &trial.alice().claims_json(),
        &nameless,
        Algorithm::EdDsa,
    );
    trial.accepted_token("a key without a name", &unnamed);
    let call = Call::tools_call(Era::Modern, 7, TOOL, "{}").bearer(&trial.alice().sign(&good));
    trial.accepted("the good key", &call);
    trial.finish();
}
