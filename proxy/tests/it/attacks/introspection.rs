//! Rows A9 and A10 of the fault matrix where the issuer is asked about tokens, and the bound on tokens that fail.
//!
//! Owns the tests of what counts as an answer. Real answers of a real issuer stand in `oidc`.

use std::cell::Cell;
use std::time::Duration;

use portcullis_fixtures::issuer::{Behaviour, now_s};
use portcullis_fixtures::keys::base64url;
use serde_json::{Value, json};

use super::{RATE, Refusal, Trial, echo, refusal};
use crate::gate::{Gate, RESOURCE, until};

const UNUSABLE: Refusal = refusal(503, 50_301, "introspection_unavailable");

/// A trial of a gate that asks its issuer about opaque tokens, with these further lines of `limits`.
fn asking(limits: &str) -> Trial {
    let gate = Gate::start_changed(|_, text| {
        // Any file with a secret will do; this one is there.
        let asked = "    introspection: {client_id: gate, client_secret_file: credential.txt}\nservers:";
        let text = text.replacen("servers:", asked, 1);
        let text = text.replacen("limits:", &format!("{RATE}\nlimits:"), 1);
        format!("{text}{limits}")
    });
    Trial::of(gate)
}

/// Questions that the issuer has seen.
fn questions(trial: &Trial) -> usize {
    trial.gate.issuer.capture().count_of("POST", "/introspect")
}

/// Only a whole answer of status 200 that says `active: true` lets a call through; without an answer the token is neither
/// good nor bad.
#[test]
fn a9_what_is_no_answer() {
    let trial = asking("  introspection_deadline: 500ms\n");
    let claims: Value = serde_json::from_str(&trial.alice().claims_json()).unwrap();
    let saying = |active: Value| {
        let mut said = claims.clone();
        said["active"] = active;
        said.to_string()
    };
    let with_status = |status, headers: &[(&str, &str)]| Behaviour::Canned {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: saying(json!(true)).into_bytes(),
    };
    let elsewhere = trial.gate.issuer.jwks_uri();
    for (name, behaviour) in [
        ("500 with a good body", with_status(500, &[])),
        ("503 with a good body", with_status(503, &[])),
        (
            "401 with a good body",
            with_status(401, &[("www-authenticate", "Basic")]),
        ),
        ("201 with a good body", with_status(201, &[])),
        (
            "a redirect with a good body",
            with_status(302, &[("location", &elsewhere)]),
        ),
        (
            "a redirect that keeps the method",
            with_status(307, &[("location", &elsewhere)]),
        ),
        ("nothing", Behaviour::body("")),
        ("a page", Behaviour::body("<!doctype html><title>Sign in</title>")),
        ("half an answer", Behaviour::body(&saying(json!(true)).as_bytes()[..40])),
        ("two answers", Behaviour::body(saying(json!(true)).repeat(2))),
        (
            "an answer in an array",
            Behaviour::body(format!("[{}]", saying(json!(true)))),
        ),
        ("the word", Behaviour::body("true")),
        ("`active` twice", Behaviour::body("{\"active\":false,\"active\":true}")),
        ("no `active`", Behaviour::body(claims.to_string())),
        ("`active` as text", Behaviour::body(saying(json!("true")))),
        ("`active` as a number", Behaviour::body(saying(json!(1)))),
        ("`active` as null", Behaviour::body(saying(Value::Null))),
        (
            "`Active`",
            Behaviour::body(claims.to_string().replacen('{', "{\"Active\":true,", 1)),
        ),
        ("a flood", Behaviour::Flood(200_000_000)),
        ("a late answer", Behaviour::Late(Duration::from_secs(60))),
        ("a dripping answer", Behaviour::Drip(Duration::from_millis(50))),
    ] {
        let ends_late = matches!(behaviour, Behaviour::Late(_) | Behaviour::Drip(_));
        trial.gate.issuer.answer_introspection(behaviour);
        let token = trial.gate.issuer.opaque(&trial.alice());
        trial.keep_secret(&token);
        let before = questions(&trial);
        trial.refused(name, &echo().bearer(&token), UNUSABLE);
        assert_eq!(questions(&trial), before + 1, "{name}");
        // Nothing of it is remembered, for better or worse.
        trial.gate.issuer.answer_introspection(Behaviour::Right);
        if ends_late {
            // The question may be out for a moment longer than who asked it first, and is then everybody's.
            until(|| {
                let status = trial.gate.call(&echo().bearer(&token)).status;
                trial.note(u64::from(status == 200), UNUSABLE.reason, u64::from(status != 200));
                status == 200
            });
        }
        trial.accepted_token(name, &token);
    }
    trial.finish();
}

/// The issuer's word, and what is checked beside it.
#[test]
fn a9_what_an_answer_says() {
    let trial = asking("  introspection_refused_cached: 1ms\n");
    let now = now_s();
    let opaque = |name: &str, value: Value| {
        let token = trial
            .gate
            .issuer
            .opaque(&trial.alice().claim("iat", now - 7_200).claim(name, value));
        trial.keep_secret(&token);
        token
    };
    for (name, value, reason) in [
        ("exp", json!(now - 3_600), "token_expired"),
        ("exp", json!("never"), "token_claims"),
        ("nbf", json!(now + 3_600), "token_not_yet_valid"),
        ("aud", json!("http://gate.test/other/mcp"), "token_audience"),
        ("sub", json!(["alice"]), "token_claims"),
        ("scope", json!(7), "token_claims"),
    ] {
        trial.refused_token(&format!("{name} {value}"), &opaque(name, value.clone()), reason);
    }
    let strangers = opaque("iss", json!("https://attacker.example"));
    trial.refused("another issuer", &echo().bearer(&strangers), UNUSABLE);
    trial.refused_token("made up", "opaque-of-nobody-2718281828", "token_inactive");
    let token = trial.gate.issuer.opaque(&trial.alice());
    trial.accepted_token("as it is", &token);
    trial.gate.issuer.revoke(&token);
    trial.accepted_token("within the time of the answer", &token);
    trial.finish();
}

/// An answer serves for its time, and not a moment longer when the issuer is gone or the token is revoked.
#[test]
fn a9_issuer_down_and_token_revoked() {
    let trial = asking("  introspection_cached_max: 1s\n  introspection_refused_cached: 1ms\n");
    let token = trial.gate.issuer.opaque(&trial.alice().claim("aud", json!([RESOURCE])));
    trial.keep_secret(&token);
    let end = |ending: u16, reason: &'static str| {
        let served = Cell::new(0);
        until(|| {
            let answer = trial.gate.call(&echo().bearer(&token));
            assert!([200, ending].contains(&answer.status), "{}", answer.text());
            served.set(served.get() + u64::from(answer.status == 200));
            answer.status == ending
        });
        trial.note(served.get(), reason, 1);
    };
    trial.accepted_token("asked", &token);
    let asked = questions(&trial);
    trial.accepted_token("remembered", &token);
    assert_eq!(questions(&trial), asked);
    trial.gate.issuer.set_down(true);
    end(503, "introspection_unavailable");
    trial.refused("the issuer is down", &echo().bearer(&token), UNUSABLE);
    trial.gate.issuer.set_down(false);
    trial.accepted_token("the issuer is back", &token);
    trial.gate.issuer.revoke(&token);
    end(401, "token_inactive");
    trial.refused_token("revoked", &token, "token_inactive");
    trial.finish();
}

/// What was said of one token says nothing of another one that looks like it.
#[test]
fn a10_an_answer_is_about_one_token_alone() {
    let trial = asking("");
    let known = trial.gate.issuer.opaque(&trial.alice());
    trial.keep_secret(&known);
    trial.accepted_token("asked", &known);
    let (start, last) = known.split_at(known.len() - 1);
    let other = if last == "A" { "B" } else { "A" };
    for (name, token) in [
        ("another last letter", format!("{start}{other}")),
        ("one letter less", start.to_owned()),
        ("one letter more", format!("{known}A")),
        ("another case", known.to_ascii_uppercase()),
        ("padded", format!("{known}=")),
    ] {
        let before = questions(&trial);
        trial.refused_token(name, &token, "token_inactive");
        assert_eq!(questions(&trial), before + 1, "{name}: nobody was asked");
        trial.refused_token(name, &token, "token_inactive");
        assert_eq!(questions(&trial), before + 1, "{name}: the refusal was not remembered");
    }
    trial.accepted_token("remembered", &known);
    trial.finish();
}

/// A source whose tokens fail is not verified for a while; whom the gate knows already is served all the same.
#[test]
fn a7_failed_signature_flood() {
    let trial = Trial::start("  failed_tokens_per_second: 1\n  failed_tokens_burst: 5\n");
    let known = trial.good();
    trial.accepted_token("verified", &known);
    let (input, _) = known.rsplit_once('.').unwrap();
    let failed = Cell::new(0);
    until(|| {
        let forged = format!("{input}.{}", base64url(&[0x5a; 64]));
        let status = trial.gate.call(&echo().bearer(&forged)).status;
        failed.set(failed.get() + u64::from(status == 401));
        status == 429
    });
    assert!(5 <= failed.get(), "{} failed", failed.get());
    trial.note(0, "token_signature", failed.get());
    trial.note(0, "verification_limited", 1);
    trial.accepted_token("remembered", &known);
    until(|| {
        let answer = trial.gate.call(&echo().bearer(&trial.good()));
        trial.note(
            u64::from(answer.status == 200),
            "verification_limited",
            u64::from(answer.status == 429),
        );
        answer.status == 200
    });
    trial.accepted_token("once the source has waited", &trial.good());
    trial.finish();
}
