//! Requests of a server on a stream, and the one answer that each may get.

use std::time::Duration;

use bytes::Bytes;
use portcullis_fixtures::calls::{Call, Era, LEGACY_VERSION, MODERN_VERSION};
use portcullis_fixtures::persona::{ALICE, BOB, Persona};
use serde_json::Value;

use super::super::*;
use super::stage::*;
use crate::gate::awaited::{Asked, AwaitedAnswers};
use crate::gate::{Answer, Release, Ticket};
use crate::rpc::{Id, Method};

const DENY: &str = r#"decision := {"allow": false, "rule": "none", "reason": "no"}"#;

fn open_stage() -> Stage {
    Stage::deciding(ALLOW, ALLOW)
}

fn ping(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)
}

/// A persona's call, answered with a stream.
fn streaming<'g>(stage: &'g Stage, request: &Request) -> Ticket<'g> {
    let mut ticket = stage.forward(request).unwrap().1;
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    ticket
}

/// The server asks a persona with this id.
#[track_caller]
fn asked(stage: &Stage, id: &str) {
    let mut ticket = streaming(stage, &Request::read());
    let ping = ping(id);
    assert_eq!(body_of(&stage.review(&mut ticket, message(&ping))), ping);
}

/// A persona's answer with this id.
fn answer(persona: &Persona, id: &str) -> Request {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
    let call = Call::post(body).header("mcp-protocol-version", LEGACY_VERSION);
    Request::by(persona, &call)
}

/// Checks that an answer is refused as one that nobody awaits, on record.
#[track_caller]
fn refused(stage: &Stage, name: &str, request: &Request, now: UnixTime) {
    let denial = stage.record_at(request, now).expect_err(name);
    assert_eq!(denial.reason, DenyReason::RpcInvalid, "{name}");
    assert!(denial.operator.starts_with("the answer is to no request"), "{name}");
    assert_eq!(denial.request_id, None, "{name}");
    let record = stage.last();
    assert_eq!(record["record_id"], denial.record_id.unwrap().to_string(), "{name}");
    assert_eq!(
        (&record["decision"], &record["reason"], &record["method"]),
        (
            &Value::from("deny"),
            &Value::from("rpc_invalid"),
            // What is answered by it nobody can tell.
            &Value::Null
        ),
        "{name}"
    );
}

/// Checks that the server's message is kept back in silence, on record.
#[track_caller]
fn dropped(stage: &Stage, name: &str, ticket: &mut Ticket<'_>, data: &str) {
    assert!(
        matches!(stage.review(ticket, message(data)), Release::Dropped),
        "{name}"
    );
    let record = stage.last();
    assert_eq!(
        (&record["phase"], &record["decision"], &record["reason"]),
        (
            &Value::from("part"),
            &Value::from("deny"),
            &Value::from("answer_withheld")
        ),
        "{name}"
    );
}

#[test]
fn a_ping_of_the_server_is_answered_once() {
    for (id, body) in [
        ("7", r#"{"jsonrpc":"2.0","id":7,"result":{}}"#),
        (r#""ab""#, r#"{"jsonrpc":"2.0","id":"\u0061b","result":{}}"#),
        (
            "0",
            r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"no"}}"#,
        ),
    ] {
        let stage = open_stage();
        asked(&stage, id);
        let parts: Vec<Value> = stage.records().into_iter().filter(|r| r["phase"] == "part").collect();
        assert_eq!((parts.len(), &parts[0]["outcome"]), (1, &Value::from("reviewed")));
        let mut right = answer(&ALICE, id);
        right.body = Bytes::from(body);
        let (forward, mut ticket) = stage.forward(&right).unwrap();
        assert_eq!(forward.body, body);
        let permitted = stage.last();
        assert_eq!(
            (&permitted["decision"], &permitted["method"]),
            (&Value::from("allow"), &Value::from("response/ping"))
        );
        refused(&stage, "twice", &right, NOW);
        let release = stage.review(&mut ticket, Answer::Empty { status: 202 });
        assert!(matches!(release, Release::Empty { status: 202 }));
        assert_eq!(stage.gate.awaited.len(), (0, 0));
    }
}

#[test]
fn whatever_the_upstream_says_to_an_answer_is_not_passed_on() {
    let stage = open_stage();
    asked(&stage, "7");
    let mut ticket = stage.forward(&answer(&ALICE, "7")).unwrap().1;
    let said = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
    let release = stage.review(&mut ticket, json(200, said));
    assert!(matches!(release, Release::Empty { status: 202 }));
    asked(&stage, "7");
    let mut ticket = streaming(&stage, &answer(&ALICE, "7"));
    assert!(!ticket.expects_stream());
    assert!(matches!(stage.review(&mut ticket, message(said)), Release::Dropped));
    assert_eq!(stage.last()["reason"], "answer_invalid");
}

#[test]
fn an_answer_that_is_not_awaited_is_refused() {
    let stage = open_stage();
    refused(&stage, "never asked", &answer(&ALICE, "7"), NOW);
    asked(&stage, "7");
    let late = NOW.after(Duration::from_mins(1));
    refused(&stage, "late", &answer(&ALICE, "7"), late);
    refused(&stage, "another principal", &answer(&BOB, "7"), NOW);
    refused(&stage, "another id", &answer(&ALICE, "8"), NOW);
    refused(&stage, "another type of id", &answer(&ALICE, r#""7""#), NOW);
    let session = stage.session(&ALICE, "upstream-session");
    let mut within = answer(&ALICE, "7");
    within.add("mcp-session-id", &session);
    refused(&stage, "another session", &within, NOW);
    let mut modern = answer(&ALICE, "7");
    modern.set("mcp-protocol-version", MODERN_VERSION);
    let denial = stage.record(&modern).unwrap_err();
    assert_eq!(
        (denial.reason, denial.operator),
        (DenyReason::RpcInvalid, "the body answers a request of the server")
    );
    assert_eq!(stage.last()["reason"], "rpc_invalid");
    // None of these has taken it, and just before its end it still passes.
    let before = NOW.after(Duration::from_secs(59));
    drop(stage.record_at(&answer(&ALICE, "7"), before).unwrap());
    assert_eq!(stage.last()["method"], "response/ping");
}

#[test]
fn an_answer_comes_in_the_session_in_which_it_was_asked_for() {
    let stage = open_stage();
    let session = stage.session(&ALICE, "upstream-session");
    let mut call = Request::read();
    call.add("mcp-session-id", &session);
    let mut ticket = streaming(&stage, &call);
    stage.review(&mut ticket, message(&ping("1")));
    refused(&stage, "outside of the session", &answer(&ALICE, "1"), NOW);
    let mut foreign = answer(&ALICE, "1");
    foreign.add("mcp-session-id", &stage.session(&ALICE, "another"));
    refused(&stage, "another session", &foreign, NOW);
    let mut right = answer(&ALICE, "1");
    right.add("mcp-session-id", &session);
    let (forward, _ticket) = stage.forward(&right).unwrap();
    assert!(forward.headers.iter().any(|(_, value)| value == "upstream-session"));
}

#[test]
fn an_answer_that_the_policy_denies_may_come_again() {
    let denying = r#"decision := {"allow": input.request.method != "response/ping", "rule": "r", "reason": "no"}"#;
    let stage = Stage::deciding(denying, ALLOW);
    asked(&stage, "7");
    for _ in 0..2 {
        let denial = stage.record(&answer(&ALICE, "7")).unwrap_err();
        assert_eq!(denial.reason, DenyReason::PolicyDenied);
        assert_eq!(stage.last()["method"], "response/ping");
    }
    assert_eq!(stage.gate.awaited.len(), (1, 1));
    // The sample policy allows it.
    let stage = Stage::new();
    asked(&stage, "7");
    let _passes = stage.forward(&answer(&ALICE, "7")).unwrap();
    assert_eq!(stage.last()["rule"], "protocol");
}

#[test]
fn what_else_a_server_asks_is_dropped() {
    let stage = open_stage();
    let mut ticket = streaming(&stage, &Request::read());
    for (name, data) in [
        (
            "sampling",
            r#"{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}"#.to_owned(),
        ),
        (
            "a ping that says more",
            r#"{"jsonrpc":"2.0","id":9,"method":"ping","params":{"x":1}}"#.to_owned(),
        ),
        ("an id that is too long", ping(&format!(r#""{}""#, "a".repeat(257)))),
    ] {
        dropped(&stage, name, &mut ticket, &data);
    }
    assert_eq!(stage.gate.awaited.len(), (0, 0));
    refused(&stage, "the answer to sampling", &answer(&ALICE, "9"), NOW);

    let mut modern = streaming(&stage, &Request::by(&ALICE, &read_call(Era::Modern)));
    dropped(&stage, "the modern era", &mut modern, &ping("7"));
    let mut opening = streaming(&stage, &Request::by(&ALICE, &Call::initialize(1)));
    dropped(&stage, "before the session", &mut opening, &ping("7"));
    let mut whole = stage.ticket();
    let release = stage.review(&mut whole, json(200, &ping("7")));
    assert_eq!(withheld(&release), DenyReason::AnswerInvalid, "outside of a stream");
    refused(&stage, "none of these was asked", &answer(&ALICE, "7"), NOW);

    let asked_policy = r#"decision := {"allow": input.response.kind != "request", "rule": "r", "reason": "no"}"#;
    for rules in [DENY, asked_policy] {
        let stage = Stage::deciding(ALLOW, rules);
        let mut ticket = streaming(&stage, &Request::read());
        dropped(&stage, "the policy denies", &mut ticket, &ping("7"));
        refused(&stage, "never asked", &answer(&ALICE, "7"), NOW);
    }
    // The sample policy redacts: what says nothing has nothing to redact.
    let stage = Stage::new();
    asked(&stage, "7");
    let mut ticket = streaming(&stage, &Request::read());
    let saying = r#"{"jsonrpc":"2.0","id":8,"method":"ping","params":{"_meta":{"x":1}}}"#;
    dropped(&stage, "free text", &mut ticket, saying);
}

#[test]
fn a_full_table_drops_what_the_server_asks() {
    let mut stage = open_stage();
    stage.gate.awaited = AwaitedAnswers::new(1);
    asked(&stage, "1");
    let mut ticket = streaming(&stage, &Request::read());
    dropped(&stage, "full", &mut ticket, &ping("2"));
    refused(&stage, "never asked", &answer(&ALICE, "2"), NOW);
    drop(stage.forward(&answer(&ALICE, "1")).unwrap());
    asked(&stage, "2");
    // What has expired makes room.
    let later = NOW.after(Duration::from_mins(1));
    let mut ticket = streaming(&stage, &Request::read());
    let release = stage.review_at(&mut ticket, message(&ping("3")), later);
    assert_eq!(body_of(&release), ping("3"));
    assert_eq!(stage.gate.awaited.len(), (1, 1));

    let stage = open_stage();
    let mut ticket = streaming(&stage, &Request::read());
    for id in 0..64 {
        assert_eq!(
            body_of(&stage.review(&mut ticket, message(&ping(&id.to_string())))),
            ping(&id.to_string())
        );
    }
    dropped(&stage, "the principal's part is full", &mut ticket, &ping("64"));
    let mut of_bob = streaming(&stage, &Request::by(&BOB, &Call::ping(1)));
    assert_eq!(body_of(&stage.review(&mut of_bob, message(&ping("64")))), ping("64"));
    drop(stage.forward(&answer(&ALICE, "5")).unwrap());
    dropped(&stage, "awaited already", &mut ticket, &ping("6"));
    assert_eq!(body_of(&stage.review(&mut ticket, message(&ping("64")))), ping("64"));
}

#[test]
fn the_table_keeps_servers_apart_and_counts_what_it_holds() {
    let table = AwaitedAnswers::new(2);
    let (crm, files) = (Arc::from("crm"), Arc::from("files"));
    let (one, text) = (Id::Integer(1), Id::String("1".into()));
    let asked = Asked {
        principal_id: &[1; 32],
        server: &crm,
        session: None,
        id: &one,
    };
    assert!(table.enter(&asked, Method::ResponsePing, NOW));
    assert!(!table.enter(&asked, Method::ResponsePing, NOW), "awaited already");
    for (name, other) in [
        (
            "server",
            Asked {
                server: &files,
                ..asked
            },
        ),
        (
            "principal",
            Asked {
                principal_id: &[2; 32],
                ..asked
            },
        ),
        (
            "session",
            Asked {
                session: Some(&[1; 32]),
                ..asked
            },
        ),
        ("id", Asked { id: &text, ..asked }),
    ] {
        assert_eq!(table.find(&other, NOW), None, "{name}");
        assert!(table.take(&other, NOW).is_none(), "{name}");
    }
    assert_eq!(table.find(&asked, NOW), Some(Method::ResponsePing));
    let second = Asked { id: &text, ..asked };
    assert!(table.enter(&second, Method::ResponsePing, NOW));
    let third = Asked {
        principal_id: &[3; 32],
        ..asked
    };
    assert!(!table.enter(&third, Method::ResponsePing, NOW), "full");
    assert_eq!(table.len(), (2, 1));
    assert_eq!(
        table.take(&asked, NOW).map(|taken| taken.method()),
        Some(Method::ResponsePing)
    );
    assert!(table.take(&asked, NOW).is_none(), "twice");
    assert_eq!(table.len(), (1, 1));
    let later = NOW.after(Duration::from_mins(1));
    assert!(table.take(&second, later).is_none(), "late");
    for principal_id in [[4; 32], [5; 32]] {
        let asked = Asked {
            principal_id: &principal_id,
            ..asked
        };
        assert!(
            table.enter(&asked, Method::ResponsePing, later),
            "what has expired makes room"
        );
    }
    assert_eq!(table.len(), (2, 2));
}
