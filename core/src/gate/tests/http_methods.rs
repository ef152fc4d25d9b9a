//! GET and DELETE of the legacy era: judged, recorded and forwarded as the calls that they stand for.

use bytes::Bytes;
use http::Method;
use portcullis_fixtures::calls::{Call, LEGACY_VERSION};
use portcullis_fixtures::persona::{ALICE, BOB};
use serde_json::{Value, json as value};

use super::stage::*;
use crate::denial::DenyReason;
use crate::gate::{Answer, Forward, Outcome, Release, Ticket};

const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
const FAILED: &str = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no"}}"#;

/// A request without a body in this session.
fn bare(method: Method, session: Option<&str>) -> Request {
    let call = Call::post(String::new()).header("mcp-protocol-version", LEGACY_VERSION);
    let mut request = Request::by(&ALICE, &call);
    request.method = method;
    request.headers.remove("content-type");
    if let Some(session) = session {
        request.add("mcp-session-id", session);
    }
    request
}

fn names(forward: &Forward) -> Vec<(&str, &str)> {
    let headers = forward.headers.iter();
    headers
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect()
}

/// The stream of a GET.
fn listening(stage: &Stage) -> Ticket<'_> {
    let session = stage.session(&ALICE, "upstream-session");
    let (_, mut ticket) = stage.forward(&bare(Method::GET, Some(&session))).unwrap();
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    ticket
}

#[test]
fn a_get_opens_a_stream_in_its_session() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let session = stage.session(&ALICE, "upstream-session");
    let mut request = bare(Method::GET, Some(&session));
    request.set("accept", "text/event-stream");
    let (forward, mut ticket) = stage.forward(&request).unwrap();
    assert_eq!((&forward.method, forward.body.len()), (&Method::GET, 0));
    assert_eq!(
        names(&forward),
        [
            ("accept", "text/event-stream"),
            ("mcp-protocol-version", LEGACY_VERSION),
            ("mcp-session-id", "upstream-session"),
        ]
    );
    let record = stage.last();
    assert_eq!(
        (&record["method"], &record["decision"], &record["protocol"]),
        (&value!("http/listen"), &value!("allow"), &value!(LEGACY_VERSION))
    );
    assert!(record["session"].is_string());
    assert!(ticket.expects_stream() && ticket.listens());
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    assert_eq!(body_of(&stage.review(&mut ticket, message(CHANGED))), CHANGED);
    assert_eq!(stage.last()["message"], "notifications/tools/list_changed");
    let asks = r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#;
    assert_eq!(body_of(&stage.review(&mut ticket, message(asks))), asks);
    ticket.close(Outcome::Ended, NOW);
    let close = stage.last();
    assert_eq!(
        (&close["phase"], &close["outcome"], &close["totals"]["messages"]),
        (&value!("close"), &value!("reviewed"), &value!(2))
    );
}

#[test]
fn no_answer_travels_on_the_stream_of_a_get() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let mut ticket = listening(&stage);
    for stray in [RESULT, FAILED, "hello", r#"{"jsonrpc":"2.0","id":1}"#, "[]"] {
        assert!(
            matches!(stage.review(&mut ticket, message(stray)), Release::Dropped),
            "{stray}"
        );
        assert_eq!(stage.last()["reason"], "answer_invalid", "{stray}");
        assert!(!ticket.answered(), "{stray}");
    }
    assert_eq!(body_of(&stage.review(&mut ticket, message(CHANGED))), CHANGED);
}

#[test]
fn a_get_is_answered_by_a_stream_or_a_status() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let failed = Some(DenyReason::UpstreamFailed);
    for (status, refused) in [
        (405, None),
        (404, None),
        (400, None),
        (200, failed),
        (202, failed),
        (500, failed),
    ] {
        for body in [Answer::Empty { status }, json(status, FAILED)] {
            let (_, mut ticket) = stage.forward(&bare(Method::GET, None)).unwrap();
            match (stage.review(&mut ticket, body), refused) {
                (Release::Empty { status: sent }, None) => assert_eq!(sent, status),
                (Release::Withheld(denial), Some(reason)) => assert_eq!(denial.reason, reason, "{status}"),
                (release, _) => panic!("{status}: {release:?}"),
            }
        }
    }
}

#[test]
fn a_delete_ends_its_session_with_the_upstreams_status() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let session = stage.session(&ALICE, "upstream-session");
    for (status, sent) in [(200, 200), (202, 202), (204, 204), (404, 404), (405, 405)] {
        let (forward, mut ticket) = stage.forward(&bare(Method::DELETE, Some(&session))).unwrap();
        assert_eq!(forward.method, Method::DELETE);
        assert_eq!(
            names(&forward),
            [
                ("mcp-protocol-version", LEGACY_VERSION),
                ("mcp-session-id", "upstream-session"),
            ]
        );
        assert_eq!(stage.last()["method"], "http/terminate");
        assert!(!ticket.expects_stream());
        let release = stage.review(&mut ticket, Answer::Empty { status });
        assert!(
            matches!(release, Release::Empty { status } if status == sent),
            "{status}"
        );
    }
    let (_, mut ticket) = stage.forward(&bare(Method::DELETE, Some(&session))).unwrap();
    assert_eq!(
        withheld(&stage.review(&mut ticket, Answer::Empty { status: 500 })),
        DenyReason::UpstreamFailed
    );
}

#[test]
fn what_is_no_get_or_delete_is_refused_on_record() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let own = stage.session(&ALICE, "upstream-session");
    let foreign = stage.session(&BOB, "of-bob");
    type Change = fn(&mut Request);
    let cases: &[(&str, Method, Option<&str>, Change, DenyReason)] = &[
        (
            "resumed",
            Method::GET,
            Some(&own),
            |r| r.add("last-event-id", "4"),
            DenyReason::ResumptionRefused,
        ),
        (
            "resumed without a session",
            Method::GET,
            None,
            |r| r.add("last-event-id", ""),
            DenyReason::ResumptionRefused,
        ),
        (
            "modern",
            Method::GET,
            None,
            |r| r.set("mcp-protocol-version", "2026-07-28"),
            DenyReason::HttpMethod,
        ),
        (
            "modern",
            Method::DELETE,
            Some(&own),
            |r| r.set("mcp-protocol-version", "2026-07-28"),
            DenyReason::HttpMethod,
        ),
        (
            "later still",
            Method::GET,
            None,
            |r| r.set("mcp-protocol-version", "2027-01-01"),
            DenyReason::HttpMethod,
        ),
        (
            "of old",
            Method::GET,
            None,
            |r| r.set("mcp-protocol-version", "2024-11-05"),
            DenyReason::VersionUnsupported,
        ),
        (
            "two versions",
            Method::GET,
            None,
            |r| r.add("mcp-protocol-version", "2025-06-18"),
            DenyReason::HeaderMismatch,
        ),
        (
            "a method",
            Method::GET,
            None,
            |r| r.add("mcp-method", "ping"),
            DenyReason::HeaderMismatch,
        ),
        (
            "a name",
            Method::DELETE,
            Some(&own),
            |r| r.add("mcp-name", "x"),
            DenyReason::HeaderMismatch,
        ),
        (
            "a body",
            Method::GET,
            None,
            |r| r.body = Bytes::from_static(b"{}"),
            DenyReason::RpcInvalid,
        ),
        (
            "a body",
            Method::DELETE,
            Some(&own),
            |r| r.body = Bytes::from_static(b" "),
            DenyReason::RpcInvalid,
        ),
        (
            "no session to end",
            Method::DELETE,
            None,
            |_| {},
            DenyReason::RpcInvalid,
        ),
        (
            "another's session",
            Method::GET,
            Some(&foreign),
            |_| {},
            DenyReason::SessionUnknown,
        ),
        (
            "another's session",
            Method::DELETE,
            Some(&foreign),
            |_| {},
            DenyReason::SessionUnknown,
        ),
        (
            "two sessions",
            Method::GET,
            Some(&own),
            |r| r.add("mcp-session-id", "x"),
            DenyReason::HeadMalformed,
        ),
    ];
    for (name, method, session, change, reason) in cases {
        let mut request = bare(method.clone(), *session);
        change(&mut request);
        let denial = stage.record(&request).expect_err(name);
        assert_eq!(denial.reason, *reason, "{name}");
        assert_eq!(denial.modern, *reason == DenyReason::HttpMethod, "{name}");
        let record = stage.last();
        assert_eq!(record["record_id"], denial.record_id.unwrap().to_string(), "{name}");
        assert_eq!(
            (&record["decision"], &record["reason"]),
            (&value!("deny"), &Value::from(reason.code()))
        );
    }
    let by_policy = r#"decision := {"allow": input.request.method != "http/listen", "rule": "r", "reason": "no"}"#;
    let stage = Stage::deciding(by_policy, ALLOW);
    let denial = stage.record(&bare(Method::GET, None)).unwrap_err();
    assert_eq!(denial.reason, DenyReason::PolicyDenied);
    let session = stage.session(&ALICE, "upstream-session");
    drop(stage.record(&bare(Method::DELETE, Some(&session))).unwrap());
}
