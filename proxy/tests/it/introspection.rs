//! Tokens that the issuer is asked about, through the built gate: opaque ones, and the issuer in all its moods.

use std::thread;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::introspector::{Introspector, Mood};
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::persona::ALICE;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::gate::{CONFIG, Gate, RESOURCE, is_allow, until};

const OPAQUE: &str = "0pAque-t0ken-of-alice";
const SECRET: &str = "s3cret-of-the-gate";

/// A gate whose issuer is asked, and the endpoint.
fn start(limits: &str, credentials: &str) -> (Gate, Introspector) {
    let asked = Introspector::start().unwrap();
    let mut gate = Gate::start(limits);
    gate.terminate();
    gate.wait();
    let path = gate.path(CONFIG);
    let config = std::fs::read_to_string(&path).unwrap();
    let introspection = format!(
        "    danger_allow_private_addresses: true\n    introspection: {{url: {}, client_id: gate-1, {credentials}}}\n",
        asked.url()
    );
    let config = config.replacen("    danger_allow_private_addresses: true\n", &introspection, 1);
    std::fs::write(path, config).unwrap();
    std::fs::write(gate.path("secret.txt"), format!("{SECRET}\n")).unwrap();
    std::fs::write(gate.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    gate.restart();
    (gate, asked)
}

fn secret(limits: &str) -> (Gate, Introspector) {
    start(limits, "client_secret_file: secret.txt")
}

/// What the issuer knows of Alice's token.
fn active(gate: &Gate) -> Value {
    let claims: Value = serde_json::from_str(
        &portcullis_fixtures::token::TokenBuilder::for_persona(&ALICE, gate.issuer.url(), RESOURCE, now_s())
            .expires(now_s() + 600)
            .claims_json(),
    )
    .unwrap();
    let mut answer = claims;
    answer["active"] = json!(true);
    answer
}

fn call(token: &str) -> Call {
    Call::tools_call(Era::Modern, 1, "demo.echo", "{}").bearer(token)
}

#[test]
fn an_opaque_token_passes_by_its_issuers_word_and_is_asked_about_once() {
    let (gate, asked) = secret("");
    asked.set(OPAQUE, active(&gate));
    asked.set_mood(Mood::Waits);
    // All who bring the token wait for one question.
    let statuses: Vec<u16> = thread::scope(|scope| {
        let calls: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| gate.call(&call(OPAQUE)).status))
            .collect();
        until(|| asked.capture().count() > 0);
        asked.set_mood(Mood::Answers);
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 16]);
    let asked_early = asked.capture().count();
    assert!(asked_early <= 2, "{asked_early} questions about one token");
    assert_eq!(gate.call(&call(OPAQUE)).status, 200);
    assert_eq!(asked.capture().count(), asked_early, "it is remembered");
    let question = asked.capture().last().unwrap();
    assert_eq!(question.header("accept"), Some("application/json"));
    let basic = question.header("authorization").unwrap().to_owned();
    assert!(basic.starts_with("Basic "), "the gate proves itself");
    let form = String::from_utf8(question.body.to_vec()).unwrap();
    assert_eq!(form, format!("token={OPAQUE}&token_type_hint=access_token"));
    let records = gate.tail();
    let allow = records.iter().find(|record| is_allow(record)).unwrap();
    assert_eq!(allow["token"]["kind"], "opaque");
    assert!(
        allow["token"]["revocation"].as_str().unwrap().starts_with("20"),
        "{allow}"
    );
    assert_eq!(allow["subject"]["id"], ALICE.subject);
    for secret in [OPAQUE, SECRET, &basic] {
        assert!(!gate.log().contains(secret), "a secret stands in the log");
    }
}

#[test]
fn a9_an_issuer_that_does_not_say_so_allows_nothing() {
    let (gate, asked) = secret("  introspection_deadline: 400ms\n  introspection_refused_cached: 1ms");
    let good = active(&gate).to_string();
    let refused = |token: &str, status: u16, what: &str| {
        let answer = gate.call(&call(token));
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.header("retry-after").is_some(), status == 503, "{what}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{what}");
    };
    for (what, status, body) in [
        ("500 with a good body", 500, good.as_str()),
        ("404", 404, &good),
        ("a redirect", 302, &good),
        ("garbage", 200, "<html>"),
        ("nothing", 200, ""),
        ("a string", 200, r#"{"active":"true"}"#),
        ("half an answer", 200, &good[..good.len() / 2]),
        ("an endless answer", 200, &" ".repeat(200_000)),
    ] {
        asked.set_mood(Mood::Says(status, body.to_owned()));
        refused(OPAQUE, 503, what);
    }
    asked.set_mood(Mood::Waits);
    refused(OPAQUE, 503, "slow");
    asked.set_mood(Mood::Answers);
    refused(OPAQUE, 401, "unknown");
    assert_eq!(gate.upstream.capture().count(), 0, "the upstream saw nothing");
    // And once it says so, the token passes.
    asked.set(OPAQUE, active(&gate));
    until(|| gate.call(&call(OPAQUE)).status == 200);
    gate.terminate();
    let (_, records) = gate.records();
    for reason in ["introspection_unavailable", "token_inactive"] {
        assert!(records.contains(&format!("\"{reason}\"")), "{reason} is recorded");
    }
}

#[test]
fn a_token_that_was_revoked_is_refused_within_the_time_of_an_answer() {
    let (gate, asked) = secret("  introspection_cached_max: 1s");
    asked.set(OPAQUE, active(&gate));
    assert_eq!(gate.call(&call(OPAQUE)).status, 200);
    asked.set(OPAQUE, json!({"active": false}));
    until(|| gate.call(&call(OPAQUE)).status == 401);
    // An issuer that is gone does not bring it back.
    drop(asked);
    assert_ne!(gate.call(&call(OPAQUE)).status, 200);
}

#[test]
fn the_gate_proves_itself_by_a_signed_assertion() {
    let (gate, asked) = start("", "private_key_file: key.pem, key_id: k-1");
    asked.set(OPAQUE, active(&gate));
    assert_eq!(gate.call(&call(OPAQUE)).status, 200);
    let question = asked.capture().last().unwrap();
    assert_eq!(question.header("authorization"), None);
    let form = String::from_utf8(question.body.to_vec()).unwrap();
    assert!(
        form.contains("&client_id=gate-1&client_assertion_type=urn%3Aietf"),
        "{form}"
    );
    let assertion = form.split_once("&client_assertion=").unwrap().1;
    assert_eq!(assertion.split('.').count(), 3);
    assert!(!gate.log().contains(assertion));
    // A JWT of the same issuer needs no question.
    let questions = asked.capture().count();
    assert_eq!(gate.call(&call(&gate.token(&ALICE))).status, 200);
    assert_eq!(asked.capture().count(), questions);
}
