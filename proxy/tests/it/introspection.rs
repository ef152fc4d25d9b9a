//! Tokens that the issuer is asked about, through the built gate: one question a token, and how the gate proves itself.
//!
//! What counts as an answer stands in `attacks::introspection`, real answers of a real issuer in `oidc`.

use std::thread;
use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::issuer::{Behaviour, now_s};
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::token::TokenBuilder;
use rcgen::KeyPair;

use crate::gate::{CREDENTIAL, Gate, RESOURCE, is_allow, until};

/// A gate that asks its issuer with these credentials, and an opaque token of Alice's.
fn start(limits: &str, credentials: &str) -> (Gate, String) {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    let gate = Gate::start_changed_in(folder, |_, text| {
        let asked = format!("    introspection: {{client_id: gate-1, {credentials}}}\nservers:");
        format!("{}{limits}", text.replacen("servers:", &asked, 1))
    });
    let claims = TokenBuilder::for_persona(&ALICE, gate.issuer.url(), RESOURCE, now_s());
    let token = gate.issuer.opaque(&claims);
    (gate, token)
}

/// Any file with a secret will do; this one is there.
const SECRET: &str = "client_secret_file: credential.txt";

fn call(token: &str) -> Call {
    Call::tools_call(Era::Modern, 1, "demo.echo", "{}").bearer(token)
}

fn questions(gate: &Gate) -> usize {
    gate.issuer.capture().count_of("POST", "/introspect")
}

#[test]
fn an_opaque_token_passes_by_its_issuers_word_and_is_asked_about_once() {
    const CALLERS: usize = 16;
    let (gate, token) = start("  introspection_deadline: 20s\n", SECRET);
    gate.issuer
        .answer_introspection(Behaviour::Late(Duration::from_millis(300)));
    // All who bring the token meanwhile wait for one question.
    let statuses: Vec<u16> = thread::scope(|scope| {
        let calls: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(|| gate.call(&call(&token)).status))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; CALLERS]);
    // Who came between the answer and its being remembered has asked once more.
    let asked = questions(&gate);
    assert!(asked < CALLERS, "{asked} questions about one token");
    assert_eq!(gate.call(&call(&token)).status, 200);
    assert_eq!(questions(&gate), asked, "it is remembered");
    let question = gate.issuer.capture().last().unwrap();
    assert_eq!(question.header("accept"), Some("application/json"));
    let basic = question.header("authorization").unwrap().to_owned();
    assert!(basic.starts_with("Basic "), "the gate proves itself");
    let form = String::from_utf8(question.body.to_vec()).unwrap();
    assert_eq!(form, format!("token={token}&token_type_hint=access_token"));
    let records = gate.tail();
    let allow = records.iter().find(|record| is_allow(record)).unwrap();
    assert_eq!(allow["token"]["kind"], "opaque");
    assert!(
        allow["token"]["revocation"].as_str().unwrap().starts_with("20"),
        "{allow}"
    );
    assert_eq!(allow["subject"]["id"], ALICE.subject);
    for secret in [&token, CREDENTIAL, &basic] {
        assert!(!gate.log().contains(secret), "a secret stands in the log");
    }
}

#[test]
fn a_token_that_was_revoked_is_refused_within_the_time_of_an_answer() {
    let (gate, token) = start("  introspection_cached_max: 1s\n", SECRET);
    assert_eq!(gate.call(&call(&token)).status, 200);
    gate.issuer.revoke(&token);
    until(|| gate.call(&call(&token)).status == 401);
    // An issuer that is gone does not bring it back.
    gate.issuer.set_down(true);
    assert_ne!(gate.call(&call(&token)).status, 200);
}

#[test]
fn the_gate_proves_itself_by_a_signed_assertion() {
    let (gate, token) = start("", "private_key_file: key.pem, key_id: k-1");
    assert_eq!(gate.call(&call(&token)).status, 200);
    let question = gate.issuer.capture().last().unwrap();
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
    let asked = questions(&gate);
    assert_eq!(gate.call(&call(&gate.token(&ALICE))).status, 200);
    assert_eq!(questions(&gate), asked);
}

#[test]
fn a_jwt_is_asked_about_too_where_its_revocation_is_learnt_so() {
    let (gate, _) = start("", &format!("{SECRET}}}\n    revocation: introspect # {{"));
    let token = gate.token(&ALICE);
    // The dev issuer does not know its JWTs as active: the signature alone does not help.
    let refused = gate.call(&call(&token));
    assert_eq!(refused.status, 401, "{}", refused.text());
    assert_eq!(questions(&gate), 1);
    gate.issuer.answer_introspection(Behaviour::body(r#"{"active":true}"#));
    let other = gate.token(&ALICE);
    assert_eq!(gate.call(&call(&other)).status, 200);
    let records = gate.tail();
    let allow = records.iter().find(|record| is_allow(record)).unwrap();
    assert_eq!(allow["token"]["kind"], "jwt");
    assert!(allow["token"]["revocation"].as_str().unwrap().starts_with("20"));
    assert_eq!(gate.upstream.capture().count(), 1, "the refused call did not arrive");
}
