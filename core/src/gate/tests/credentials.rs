//! Which credential a call is made with, what it needs, and what stands on record of it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::persona::{AGENT_FOR_ALICE, ALICE, BOB, Persona};
use serde_json::Value;
use serde_json::json as value;

use super::stage::{ALLOW, ISSUER, NOW, NOW_S, READ, Request, Setup, Stage, policy_of, read_call, secret, token};
use crate::assertion::AssertionTerms;
use crate::config::{CredentialGroup, CredentialKind, Credentials, UpstreamCredential};
use crate::denial::DenyReason;
use crate::exchange::{ExchangeError, ExchangeRequest, ExchangeTerms};
use crate::gate::{Needed, Permit};

const ECHO: &str = "demo.echo";
const LIST: &str = "salesforce.opportunity.list";

fn exchange(issuer: &str) -> UpstreamCredential {
    let terms = ExchangeTerms {
        issuer: Arc::from(issuer),
        source: Arc::from("as"),
        audience: Some(Arc::from("crm")),
        resource: None,
        scopes: None,
        actor_token: Some(AssertionTerms {
            issuer: Arc::from("https://gate.example"),
            audience: Arc::from(issuer),
            lifetime: Duration::from_secs(60),
        }),
    };
    UpstreamCredential {
        label: Arc::from("crm-exchange"),
        header: HeaderName::from_static("authorization"),
        kind: CredentialKind::Exchange(terms),
    }
}

fn assertion() -> UpstreamCredential {
    let terms = AssertionTerms {
        issuer: Arc::from("https://gate.example"),
        audience: Arc::from("crm-backend"),
        lifetime: Duration::from_secs(60),
    };
    UpstreamCredential {
        label: Arc::from("crm-assertion"),
        header: HeaderName::from_static("authorization"),
        kind: CredentialKind::Assertion(terms),
    }
}

/// A stage whose calls of [`READ`] are made with `read`, of [`LIST`] with nothing, and all others with a secret.
fn stage(read: UpstreamCredential) -> Stage {
    let groups = vec![
        CredentialGroup {
            tools: vec![READ.into()],
            credential: Some(read),
        },
        CredentialGroup {
            tools: vec![LIST.into()],
            credential: None,
        },
    ];
    Stage::with(Setup {
        policy: policy_of(ALLOW, ALLOW),
        credentials: Credentials::new(Some(secret("crm-secret", "the-upstream-secret")), groups).unwrap(),
        ..Setup::default()
    })
}

fn permit<'s>(stage: &'s Stage, request: &Request) -> Permit<'s> {
    let recorded = stage.record(request).unwrap();
    stage.write();
    recorded.permit(stage.gate.durable()).unwrap()
}

#[test]
fn the_tool_chooses_the_credential_and_the_record_names_it() {
    let stage = stage(assertion());
    let shown = |label: &str, kind: &str| value!({"label": label, "kind": kind});
    for (call, expected) in [
        (read_call(Era::Legacy), shown("crm-assertion", "assertion")),
        (
            Call::tools_call(Era::Legacy, 1, ECHO, "{}"),
            shown("crm-secret", "static"),
        ),
        (Call::tools_call(Era::Legacy, 1, LIST, "{}"), Value::Null),
        (Call::ping(1), shown("crm-secret", "static")),
    ] {
        let (forward, ticket) = stage.forward(&Request::by(&ALICE, &call)).unwrap();
        let label = forward.credential.as_ref().map(|credential| value!(&*credential.label));
        assert_eq!(
            label.unwrap_or_default(),
            expected.get("label").cloned().unwrap_or_default()
        );
        let record = stage.last();
        assert_eq!(
            record["upstream"],
            value!({"name": "crm-upstream", "credential": expected}),
            "{record}"
        );
        drop(ticket);
    }
    // Nothing is shown for what is refused.
    let refused = Request::by(
        &ALICE,
        &Call::tools_call(Era::Legacy, 1, "salesforce.account.delete", "{}"),
    );
    assert!(stage.record(&refused).is_err());
    assert_eq!(stage.last()["upstream"]["credential"], Value::Null);
    let log = stage.log().concat();
    assert!(!log.contains("the-upstream-secret"));
}

fn claims(stage: &Stage, persona: &Persona) -> Value {
    let permit = permit(stage, &Request::by(persona, &read_call(Era::Legacy)));
    let record_id = stage.last()["record_id"].clone();
    match permit.needs(NOW).unwrap() {
        Some(Needed::Assertion(claims)) => {
            let claims: Value = serde_json::from_str(&claims).unwrap();
            assert_eq!(claims["jti"], record_id);
            claims
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_assertion_says_who_calls_for_whom_and_with_which_scopes() {
    let stage = stage(assertion());
    let mut alice = claims(&stage, &ALICE);
    alice.as_object_mut().unwrap().remove("jti");
    assert_eq!(
        alice,
        value!({
            "iss": "https://gate.example", "sub": "alice", "aud": "crm-backend", "client_id": "desktop",
            "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "alice"}, "tenant": "acme",
            // Those of the tool; the token has more.
            "scope": "salesforce:read", "iat": NOW_S, "exp": NOW_S + 60,
        })
    );
    let agent = claims(&stage, &AGENT_FOR_ALICE);
    assert_eq!(agent["sub"], "alice");
    assert_eq!(agent["act"], value!({"sub": "agent-1", "iss": ISSUER}));
}

fn exchanged(stage: &Stage, persona: &Persona) -> Box<ExchangeRequest> {
    match permit(stage, &Request::by(persona, &read_call(Era::Legacy)))
        .needs(NOW)
        .unwrap()
    {
        Some(Needed::Exchange(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_exchange_is_of_one_token_for_one_tools_scopes() {
    let stage = stage(exchange(ISSUER));
    let alice = exchanged(&stage, &ALICE);
    let text = token(&ALICE).sign(portcullis_fixtures::keys::es256());
    // Only the token that was verified goes into the question, whoever builds it.
    assert_eq!(alice.form(&text, None), Err(ExchangeError::TokenForeign));
    assert_eq!(alice.actor_claims(), None, "nobody acts for her");
    let agent = exchanged(&stage, &AGENT_FOR_ALICE);
    let actor: Value = serde_json::from_str(agent.actor_claims().unwrap()).unwrap();
    assert_eq!((&actor["sub"], &actor["aud"]), (&value!("agent-1"), &value!(ISSUER)));
    assert_ne!(alice.key(), agent.key());
    assert_ne!(alice.key(), exchanged(&stage, &BOB).key());
}

#[test]
fn one_token_is_exchanged_once_for_one_tool() {
    let stage = stage(exchange(ISSUER));
    let request = Request::by(&ALICE, &read_call(Era::Legacy));
    let key = |request: &Request| match permit(&stage, request).needs(NOW).unwrap() {
        Some(Needed::Exchange(request)) => request.key(),
        other => panic!("{other:?}"),
    };
    assert_eq!(key(&request), key(&request));
    let text = request.headers["authorization"]
        .to_str()
        .unwrap()
        .trim_start_matches("Bearer ");
    let Some(Needed::Exchange(exchange)) = permit(&stage, &request).needs(NOW).unwrap() else {
        panic!()
    };
    let form = exchange.form(text, None).unwrap();
    assert!(form.contains("&audience=crm&scope=salesforce%3Aread"), "{}", *form);
    assert!(!form.contains("repo"), "the token has it, the tool does not need it");
}

#[test]
fn a_token_of_another_issuer_is_not_shown_to_the_one_that_exchanges() {
    let stage = stage(exchange("https://other.example"));
    let permit = permit(&stage, &Request::by(&ALICE, &read_call(Era::Legacy)));
    let error = permit.needs(NOW).unwrap_err();
    assert_eq!(error, ExchangeError::IssuerForeign);
    let denial = permit.withhold(error.operator(), NOW);
    assert_eq!(denial.reason, DenyReason::UpstreamCredentialUnavailable);
    assert_eq!(denial.retry_after_s, Some(1));
    assert!(denial.record_id.is_some() && denial.request_id.is_some());
    let record = stage.last();
    assert_eq!(
        (&record["phase"], &record["outcome"]),
        (&value!("close"), &value!("not_forwarded")),
        "{record}"
    );
    // Its neighbour needs no exchange.
    assert!(
        stage
            .forward(&Request::by(&ALICE, &Call::tools_call(Era::Legacy, 1, ECHO, "{}")))
            .is_ok()
    );
}
