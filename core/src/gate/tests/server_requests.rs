//! What a server asks a client: on a stream of the legacy era, or within a result of the modern one; and what the client
//! answers.

use std::sync::Barrier;

use bytes::Bytes;
use portcullis_fixtures::calls::{Call, Era, LEGACY_VERSION};
use portcullis_fixtures::persona::{ALICE, BOB, Persona};
use serde_json::{Value, json as value};

use super::super::*;
use super::stage::*;
use crate::audit::AuditSettings;
use crate::gate::awaited::{Asked, AwaitedAnswers};
use crate::gate::{Release, Ticket};
use crate::rpc::{Id, Method};

const SAMPLING: &str = r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"say"}}],"maxTokens":5}}"#;
const SAMPLED: &str = r#"{"role":"assistant","content":{"type":"text","text":"said"},"model":"m"}"#;
const ELICITATION: &str = r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}}}}}"#;
const ELICITED: &str = r#"{"action":"accept","content":{"name":"jo"}}"#;
const ROOTS: &str = r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#;
const LISTED: &str = r#"{"roots":[{"uri":"file:///home/jo"}]}"#;

/// A persona's call, answered with a stream.
fn streaming<'g>(stage: &'g Stage, request: &Request) -> Ticket<'g> {
    let mut ticket = stage.forward(request).unwrap().1;
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    ticket
}

/// A persona's answer to request 7 of the server.
fn answer(persona: &Persona, result: &str) -> Request {
    let body = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
    Request::by(
        persona,
        &Call::post(body).header("mcp-protocol-version", LEGACY_VERSION),
    )
}

#[test]
fn what_a_server_asks_is_judged_awaited_and_answered_once() {
    for (asks, method, answered, wrong) in [
        (SAMPLING, "sampling/createMessage", SAMPLED, ELICITED),
        (ELICITATION, "elicitation/create", ELICITED, LISTED),
        (ROOTS, "roots/list", LISTED, "{}"),
    ] {
        let stage = Stage::deciding(ALLOW, ALLOW);
        let mut ticket = streaming(&stage, &Request::read());
        assert_eq!(body_of(&stage.review(&mut ticket, message(asks))), asks);
        let part = stage.last();
        assert_eq!((&part["phase"], &part["message"]), (&value!("part"), &value!(method)));
        assert!(!ticket.answered());
        // What another request would be answered with is no answer to this one, and takes nothing.
        let denial = stage.record(&answer(&ALICE, wrong)).unwrap_err();
        assert_eq!(denial.reason, DenyReason::RpcInvalid, "{method}");
        assert_eq!(
            denial.operator,
            "the client's answer does not have the form of its request"
        );
        let right = answer(&ALICE, answered);
        let (forward, _ticket) = stage.forward(&right).unwrap();
        assert_eq!(forward.body, right.body);
        assert_eq!(stage.last()["method"], format!("response/{method}"));
        assert_eq!(
            stage.record(&right).unwrap_err().reason,
            DenyReason::RpcInvalid,
            "twice"
        );
    }
}

#[test]
fn a_human_has_ten_minutes_and_a_program_one() {
    for (asks, seconds) in [(SAMPLING, 600), (ELICITATION, 600), (ROOTS, 60)] {
        let stage = Stage::deciding(ALLOW, ALLOW);
        let mut ticket = streaming(&stage, &Request::read());
        stage.review(&mut ticket, message(asks));
        let id = Id::Integer(7);
        let awaited = |after: u64| {
            let at = UnixTime::from_secs(NOW_S + after);
            stage.gate.awaited.find(&ticket.case.asked(&id), at).is_some()
        };
        assert_eq!((awaited(seconds - 1), awaited(seconds)), (true, false), "{asks}");
    }
}

#[test]
fn the_policy_sees_what_is_asked_and_what_is_answered() {
    let asked = r#"decision := {"allow": allowed, "rule": "r", "reason": "no"}
default allowed := false
allowed if input.response.kind == "result"
allowed if {
    input.response.kind == "request"
    input.response.method == "elicitation/create"
    input.response.content.message == "who?"
}"#;
    let answered = r#"decision := {"allow": allowed, "rule": "r", "reason": "no"}
default allowed := false
allowed if input.request.method == "tools/call"
allowed if {
    input.request.method == "response/elicitation/create"
    input.request.input_responses.answer.content.name == "jo"
}"#;
    let stage = Stage::deciding(answered, asked);
    let mut ticket = streaming(&stage, &Request::read());
    for other in [
        SAMPLING.to_owned(),
        ROOTS.to_owned(),
        ELICITATION.replace("who?", "your password?"),
    ] {
        assert!(matches!(stage.review(&mut ticket, message(&other)), Release::Dropped));
        assert_eq!(stage.last()["reason"], "answer_withheld");
    }
    assert_eq!(body_of(&stage.review(&mut ticket, message(ELICITATION))), ELICITATION);
    let denial = stage
        .record(&answer(&ALICE, &ELICITED.replace("jo", "mallory")))
        .unwrap_err();
    assert_eq!(denial.reason, DenyReason::PolicyDenied);
    // A refusal has no answer to look at.
    let mut refusal = answer(&ALICE, "{}");
    refusal.body = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#);
    assert_eq!(stage.record(&refusal).unwrap_err().reason, DenyReason::PolicyDenied);
    drop(stage.record(&answer(&ALICE, ELICITED)).unwrap());
}

#[test]
fn what_cannot_be_redacted_is_not_asked() {
    // The sample policy redacts the answers of this tool.
    let stage = Stage::new();
    let mut ticket = streaming(&stage, &Request::read());
    for asks in [SAMPLING, ELICITATION] {
        assert!(matches!(stage.review(&mut ticket, message(asks)), Release::Dropped));
        assert_eq!(stage.last()["reason"], "answer_withheld");
    }
    assert_eq!(body_of(&stage.review(&mut ticket, message(ROOTS))), ROOTS);
}

#[test]
fn an_answer_that_went_nowhere_can_be_given_again() {
    let stage = Stage::with(Setup {
        policy: policy_of(ALLOW, ALLOW),
        audit: AuditSettings {
            queue_records: 2,
            ..AuditSettings::default()
        },
        ..Setup::default()
    });
    let mut ticket = streaming(&stage, &Request::read());
    stage.review(&mut ticket, message(ROOTS));
    // Two calls of others fill the queue.
    let others = [(); 2].map(|()| stage.record(&Request::read()).unwrap());
    let denial = stage.record(&answer(&ALICE, LISTED)).unwrap_err();
    assert_eq!((denial.reason, denial.record_id), (DenyReason::AuditUnavailable, None));
    assert_eq!(stage.gate.awaited.len(), (1, 1));
    stage.write();
    for other in others {
        drop(other.permit(stage.gate.durable()).unwrap());
        stage.write();
    }
    // Given up while its record is on its way, and permitted but not sent.
    let recorded = stage.record(&answer(&ALICE, LISTED)).unwrap();
    assert_eq!(stage.gate.awaited.len(), (0, 0));
    assert_eq!(recorded.give_up(NOW).reason, DenyReason::AuditUnavailable);
    assert_eq!(stage.gate.awaited.len(), (1, 1));
    stage.write();
    let recorded = stage.record(&answer(&ALICE, LISTED)).unwrap();
    stage.write();
    drop(recorded.permit(stage.gate.durable()).unwrap());
    stage.write();
    assert_eq!(stage.gate.awaited.len(), (1, 1));
    let (_, ticket) = stage.forward(&answer(&ALICE, LISTED)).unwrap();
    drop(ticket);
    assert_eq!(stage.gate.awaited.len(), (0, 0), "what has gone is gone");
}

#[test]
fn a_modern_server_asks_within_its_result() {
    let requests = r#"{"who":{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}}}"#;
    let result =
        |members: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{ "resultType":"input_required",{members}}}}}"#);
    let whole = result(&format!(r#""inputRequests":{requests},"requestState":"st\u0061te""#));
    let call = Request::by(&ALICE, &read_call(Era::Modern));
    let seen = r#"decision := {"allow": allowed, "rule": "r", "reason": "no"}
default allowed := false
allowed if {
    input.response.kind == "input_required"
    input.response.content.who.params.message == "who?"
}"#;
    let stage = Stage::deciding(ALLOW, seen);
    let (_, mut ticket) = stage.forward(&call).unwrap();
    let release = stage.review(&mut ticket, json(200, &whole));
    assert!(matches!(release, Release::Pass { status: 200, .. }));
    assert_eq!(body_of(&release), whole);
    assert!(ticket.answered());
    let digest = stage.last()["request_state_digest"].clone();
    let escaped = whole.replace("st\\u0061te", "state");
    assert_ne!(escaped, whole);
    let (_, mut ticket) = stage.forward(&call).unwrap();
    stage.review(&mut ticket, json(200, &escaped));
    assert_eq!(stage.last()["request_state_digest"], digest, "of what it says, not how");
    let (_, mut ticket) = stage.forward(&call).unwrap();
    stage.review(&mut ticket, json(200, &whole.replace("st\\", "xt\\")));
    assert_ne!(stage.last()["request_state_digest"], digest);
    for other in [
        whole.replace("who?", "your password?"),
        result(r#""requestState":"state""#),
    ] {
        let (_, mut ticket) = stage.forward(&call).unwrap();
        let release = stage.review(&mut ticket, json(200, &other));
        assert_eq!(withheld(&release), DenyReason::AnswerWithheld);
        assert_eq!(stage.last()["request_state_digest"], Value::Null);
    }
    // What the sample policy would redact cannot be redacted here.
    let stage = Stage::new();
    let (_, mut ticket) = stage.forward(&call).unwrap();
    assert_eq!(
        withheld(&stage.review(&mut ticket, json(200, &whole))),
        DenyReason::AnswerWithheld
    );
    // And a legacy server has no such result.
    let stage = Stage::deciding(ALLOW, ALLOW);
    let mut ticket = stage.ticket();
    assert_eq!(
        withheld(&stage.review(&mut ticket, json(200, &whole))),
        DenyReason::AnswerInvalid
    );
}

#[test]
fn capabilities_that_cannot_be_inspected_are_struck() {
    let initialized =
        |capabilities: &str| INITIALIZED.replace(r#""capabilities":{}"#, &format!(r#""capabilities":{capabilities}"#));
    let stage = Stage::deciding(ALLOW, ALLOW);
    for (said, left) in [
        ("{}", "{}"),
        (
            r#"{ "tools":{"listChanged":true}, "prompts":{},"resources":{"subscribe":true},"logging":{},"completions":{} }"#,
            r#"{ "tools":{"listChanged":true}, "prompts":{},"resources":{"subscribe":true},"logging":{},"completions":{} }"#,
        ),
        (r#"{"experimental":{"x":{}},"tools":{}}"#, r#"{"tools":{}}"#),
        (r#"{"tools":{},"other":{}}"#, r#"{"tools":{}}"#),
        (r#"{"experimental":{},"other":{}}"#, "{}"),
        (r#"{"extensions":{"com.example/x":{}}}"#, r#"{"extensions":{}}"#),
    ] {
        let (_, mut ticket) = stage.forward(&Request::by(&ALICE, &Call::initialize(1))).unwrap();
        let release = stage.review(&mut ticket, json(200, &initialized(said)));
        assert_eq!(body_of(&release), initialized(left), "{said}");
        assert_eq!(matches!(release, Release::Redacted { .. }), said != left, "{said}");
    }
    let (_, mut ticket) = stage.forward(&Request::by(&ALICE, &Call::initialize(1))).unwrap();
    let folded = initialized(r#"{"Tools":{}}"#);
    assert_eq!(
        withheld(&stage.review(&mut ticket, json(200, &folded))),
        DenyReason::AnswerInvalid
    );
    let discovered = |members: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"supportedVersions":["2026-07-28"],{members}}}}}"#)
    };
    let said = discovered(
        r#""capabilities":{"extensions":{"com.example/x":{}},"tools":{}},"ttlMs":999999999,"cacheScope":"public""#,
    );
    // The token lasts for five minutes.
    let left = discovered(r#""capabilities":{"extensions":{},"tools":{}},"ttlMs":300000,"cacheScope":"private""#);
    let (_, mut ticket) = stage.forward(&Request::by(&ALICE, &Call::discover(1))).unwrap();
    assert_eq!(body_of(&stage.review(&mut ticket, json(200, &said))), left);
}

/// C11: many callers with one id at once, each of whom the server asks something under one id as well.
#[test]
fn answers_of_callers_with_the_same_ids_never_cross() {
    const ROUNDS: usize = 5_000;
    const CALLERS: u8 = 4;
    let table = AwaitedAnswers::default();
    let server = Arc::from("crm");
    let id = Id::Integer(1);
    let barrier = Barrier::new(usize::from(CALLERS));
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (table, server, id, barrier) = (&table, &server, &id, &barrier);
            scope.spawn(move || {
                let principal_id = [caller; 32];
                let asked = Asked {
                    principal_id: &principal_id,
                    server,
                    session: None,
                    id,
                };
                // Each is asked something else, so that a crossed answer would show.
                let method = match caller % 3 {
                    0 => Method::ResponsePing,
                    1 => Method::ResponseRoots,
                    _ => Method::ResponseSampling,
                };
                barrier.wait();
                for _ in 0..ROUNDS {
                    assert!(table.enter(&asked, method, NOW));
                    assert_eq!(table.find(&asked, NOW), Some(method));
                    let taken = table.take(&asked, NOW).unwrap();
                    assert_eq!(taken.method(), method);
                    assert!(table.take(&asked, NOW).is_none());
                }
            });
        }
    });
    assert_eq!(table.len(), (0, 0));
    // The same through the gate: two callers ask by one id, and each gets its own.
    let stage = Stage::deciding(ALLOW, ALLOW);
    let mut of_alice = streaming(&stage, &Request::by(&ALICE, &read_call(Era::Legacy)));
    let mut of_bob = streaming(&stage, &Request::by(&BOB, &read_call(Era::Legacy)));
    assert_eq!(body_of(&stage.review(&mut of_alice, message(ROOTS))), ROOTS);
    assert_eq!(body_of(&stage.review(&mut of_bob, message(ELICITATION))), ELICITATION);
    assert_eq!(
        stage.record(&answer(&BOB, LISTED)).unwrap_err().reason,
        DenyReason::RpcInvalid
    );
    assert_eq!(
        stage.record(&answer(&ALICE, ELICITED)).unwrap_err().reason,
        DenyReason::RpcInvalid
    );
    drop(stage.forward(&answer(&BOB, ELICITED)).unwrap());
    drop(stage.forward(&answer(&ALICE, LISTED)).unwrap());
}
