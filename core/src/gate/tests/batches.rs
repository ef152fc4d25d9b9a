//! Batches of 2025-03-26: all of one is judged, or none of it is forwarded; what comes back goes to what it answers.

use bytes::Bytes;
use portcullis_fixtures::calls::Call;
use portcullis_fixtures::persona::{ALICE, BOB, Persona};
use serde_json::{Value, json as value};

use super::super::*;
use super::stage::*;
use crate::config::{CredentialGroup, Credentials};
use crate::gate::{Answer, Outcome, Release, Ticket};
use crate::limit::Rate;

mod answers;

const LIST: &str = "salesforce.opportunity.list";
const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
const ASKED: &str = r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#;

fn open_stage() -> Stage {
    Stage::deciding(ALLOW, ALLOW)
}

/// A call of a tool, with blanks that show that the very bytes are forwarded.
fn call(id: &str, tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id}, "method":"tools/call","params":{{"name":"{tool}","arguments":{OWN_ACCOUNT}}}}}"#
    )
}

fn read(id: &str) -> String {
    call(id, READ)
}

fn ping(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)
}

fn result(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id}, "result":{{"content":[]}}}}"#)
}

/// A persona's request of this body, which names no version.
fn body(persona: &Persona, body: &str) -> Request {
    Request::by(persona, &Call::post(body.to_owned()))
}

fn batch(elements: &[String]) -> Request {
    body(&ALICE, &format!(" [ {} ]\n", elements.join(" , ")))
}

/// The ticket of a batch that is allowed.
#[track_caller]
fn ticket<'g>(stage: &'g Stage, elements: &[String]) -> Ticket<'g> {
    stage.forward(&batch(elements)).unwrap().1
}

/// The same, answered with a stream.
fn streaming<'g>(stage: &'g Stage, elements: &[String]) -> Ticket<'g> {
    let mut ticket = ticket(stage, elements);
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    ticket
}

/// What leaves of an array, message by message: its bytes, or the reason and the id of the refusal.
#[track_caller]
fn parts(release: &Release) -> Vec<String> {
    let Release::Batch { status: 200, parts } = release else {
        panic!("{release:?} is no batch");
    };
    let told = |part: &Release| match part {
        Release::Withheld(denial) => format!("{} {:?}", denial.reason.code(), denial.request_id),
        part => body_of(part).to_owned(),
    };
    parts.iter().map(told).collect()
}

/// Method, decision or outcome, and reason of every record.
fn trail(stage: &Stage) -> Vec<[String; 4]> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |record: &Value| {
        let outcome = if record["phase"] == "request" {
            "decision"
        } else {
            "outcome"
        };
        ["phase", "method", outcome, "reason"].map(|member| text(&record[member]))
    };
    stage.records().iter().map(line).collect()
}

fn line(phase: &str, method: &str, outcome: &str, reason: &str) -> [String; 4] {
    [phase, method, outcome, reason].map(str::to_owned)
}

/// Checks that a batch is refused for this reason, and how many of its elements were allowed before: each is closed as
/// not forwarded.
#[track_caller]
fn refused(stage: &Stage, name: &str, request: &Request, reason: DenyReason, allowed: usize) -> Denial {
    let before = stage.records().len();
    let denial = stage.record(request).expect_err(name);
    assert_eq!(denial.reason, reason, "{name}");
    let records = stage.records();
    let records = &records[before..];
    let of = |phase: &str, member: &str, value: &str| {
        records
            .iter()
            .filter(|record| record["phase"] == phase && record[member] == value)
            .count()
    };
    assert_eq!(of("request", "decision", "allow"), allowed, "{name}");
    assert_eq!(of("request", "decision", "deny"), 1, "{name}: one refusal on record");
    assert_eq!(of("close", "outcome", "not_forwarded"), allowed, "{name}");
    assert_eq!(records.len(), 2 * allowed + 1, "{name}");
    let deny = records.iter().find(|record| record["decision"] == "deny").unwrap();
    assert_eq!(deny["record_id"], denial.record_id.unwrap().to_string(), "{name}");
    denial
}

#[test]
fn a_batch_is_forwarded_whole_and_each_element_is_on_record() {
    let stage = open_stage();
    let request = batch(&[read("1"), NOTE.to_owned(), ping(r#""1""#)]);
    let (forward, ticket) = stage.forward(&request).unwrap();
    assert_eq!(forward.body, request.body, "the very bytes, white space included");
    let records = stage.records();
    let facts = |record: &Value| {
        (
            record["method"].clone(),
            record["tool"].clone(),
            record["batch"].clone(),
        )
    };
    let first = records[0]["record_id"].clone();
    let place = |index: u64| value!({"first": first, "index": index, "size": 3});
    assert_eq!(
        records.iter().map(facts).collect::<Vec<_>>(),
        [
            (value!("tools/call"), value!(READ), place(0)),
            (value!("notifications/initialized"), Value::Null, place(1)),
            (value!("ping"), Value::Null, place(2)),
        ]
    );
    let mut ids: Vec<String> = records.iter().map(|record| record["record_id"].to_string()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each has a record of its own");
    assert_eq!(first, ticket.record_id().to_string());
    drop(ticket);
    let mut closed: Vec<[String; 4]> = trail(&stage).split_off(3);
    closed.sort();
    let methods = ["notifications/initialized", "ping", "tools/call"];
    assert_eq!(closed, methods.map(|method| line("close", method, "unknown", "-")));
}

#[test]
fn any_refused_element_refuses_all() {
    // Bob may not read Alice's account; `other.tool` has no row.
    for (name, elements, reason, allowed, id) in [
        ("allowed and unmapped", vec![read("1"), call("2", "other.tool")], DenyReason::ToolUnmapped, 1, Some("2")),
        ("unmapped and allowed", vec![call("1", "other.tool"), read("2")], DenyReason::ToolUnmapped, 0, Some("1")),
        (
            "a notification and a refused call",
            vec![NOTE.to_owned(), call(r#""x""#, "other.tool")],
            DenyReason::ToolUnmapped,
            1,
            Some(r#""x""#),
        ),
        (
            "an unknown method",
            vec![ping("1"), r#"{"jsonrpc":"2.0","id":2,"method":"other"}"#.to_owned()],
            DenyReason::MethodUnsupported,
            1,
            Some("2"),
        ),
        (
            "a duplicate key",
            vec![ping("1"), r#"{"jsonrpc":"2.0","id":2,"id":3,"method":"ping"}"#.to_owned()],
            DenyReason::JsonAmbiguous,
            0,
            None,
        ),
        (
            "a folded key",
            vec![ping("1"), r#"{"jsonrpc":"2.0","id":2,"Method":"x","method":"ping"}"#.to_owned()],
            DenyReason::JsonAmbiguous,
            1,
            Some("2"),
        ),
        (
            "an answer to nothing",
            vec![ping("1"), r#"{"jsonrpc":"2.0","id":9,"result":{}}"#.to_owned()],
            DenyReason::RpcInvalid,
            1,
            None,
        ),
        (
            "a modern element",
            vec![
                ping("1"),
                r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#
                    .to_owned(),
            ],
            DenyReason::HeaderMismatch,
            1,
            Some("2"),
        ),
    ] {
        let stage = open_stage();
        let denial = refused(&stage, name, &batch(&elements), reason, allowed);
        assert_eq!(denial.request_id.as_deref(), id, "{name}");
    }
    // By the policy: Bob's first element is allowed, Alice's account is not his.
    let stage = Stage::new();
    let elements = format!("[{},{}]", ping("1"), read("2"));
    refused(
        &stage,
        "the policy",
        &body(&BOB, &elements),
        DenyReason::PolicyDenied,
        1,
    );
    assert!(
        stage.record(&body(&ALICE, &elements)).is_ok(),
        "the same is allowed to her"
    );
}

#[test]
fn a_batch_without_the_form_of_one_is_refused_before_its_elements() {
    let of = |count: usize| (0..count).map(|id| ping(&id.to_string())).collect::<Vec<_>>().join(",");
    let initialize = Call::initialize(7).body;
    for (name, text) in [
        ("empty", "[]".to_owned()),
        ("empty with blanks", " \t\r\n[ ] ".to_owned()),
        ("nested", format!("[[{}]]", ping("1"))),
        (
            "nested behind an allowed one",
            format!("[{},[{}]]", ping("1"), ping("2")),
        ),
        ("a bare value", format!("[{},7]", ping("1"))),
        ("a null", "[null]".to_owned()),
        ("65 elements", format!("[{}]", of(65))),
        ("initialize", format!("[{initialize}]")),
        (
            "initialize behind an allowed one",
            format!("[{},{initialize}]", ping("1")),
        ),
        ("the same id", format!("[{},{}]", ping("1"), read("1"))),
        (
            "the same id, escaped",
            format!("[{},{}]", ping(r#""a""#), ping(r#""\u0061""#)),
        ),
    ] {
        let stage = open_stage();
        let denial = refused(&stage, name, &body(&ALICE, &text), DenyReason::RpcInvalid, 0);
        assert_eq!(denial.request_id, None, "{name}");
        assert_eq!(stage.last()["method"], Value::Null, "{name}");
    }
    for (name, text) in [
        ("trailing bytes", format!("[{}]x", ping("1"))),
        ("two documents", format!("[{}][{}]", ping("1"), ping("2"))),
        ("cut off", format!("[{}", ping("1"))),
        ("a trailing comma", format!("[{},]", ping("1"))),
    ] {
        let stage = open_stage();
        refused(&stage, name, &body(&ALICE, &text), DenyReason::JsonMalformed, 0);
    }
    let stage = open_stage();
    for (name, text) in [
        ("64 elements", format!("[{}]", of(64))),
        ("one element", format!("\n[{}]", ping("1"))),
        ("an integer and a string", format!("[{},{}]", ping("1"), ping(r#""1""#))),
    ] {
        assert!(stage.record(&body(&ALICE, &text)).is_ok(), "{name}");
    }
}

#[test]
fn only_the_version_that_has_batches_may_send_one() {
    let text = format!("[{}]", ping("1"));
    let with = |version: &str| {
        let call = Call::post(text.clone()).header("mcp-protocol-version", version);
        Request::by(&ALICE, &call)
    };
    let stage = open_stage();
    assert!(stage.record(&body(&ALICE, &text)).is_ok(), "no version is 2025-03-26");
    assert!(stage.record(&with("2025-03-26")).is_ok());
    for version in ["2025-06-18", "2025-11-25", "2026-07-28", "2024-11-05"] {
        refused(&stage, version, &with(version), DenyReason::RpcInvalid, 0);
    }
    let mut twice = with("2025-03-26");
    twice.add("mcp-protocol-version", "2025-03-26");
    refused(&stage, "two versions", &twice, DenyReason::RpcInvalid, 0);
}

#[test]
fn each_element_counts_towards_the_rate() {
    let stage = || {
        Stage::with(Setup {
            policy: policy_of(ALLOW, ALLOW),
            rate: Rate {
                per_second: 1,
                burst: 3,
            },
            ..Setup::default()
        })
    };
    let of = |count: u32| batch(&(0..count).map(|id| ping(&id.to_string())).collect::<Vec<_>>());
    assert!(stage().record(&of(3)).is_ok());
    let limited = stage();
    let denial = limited.record(&of(4)).unwrap_err();
    assert_eq!(
        (denial.reason, denial.retry_after_s),
        (DenyReason::RateLimited, Some(2))
    );
    let spent = stage();
    assert!(spent.record(&of(2)).is_ok());
    assert_eq!(spent.record(&of(2)).unwrap_err().reason, DenyReason::RateLimited);
}

#[test]
fn a_batch_goes_with_one_credential() {
    let groups = vec![CredentialGroup {
        tools: vec![LIST.into()],
        credential: Some(secret("list-secret", "another")),
    }];
    let stage = Stage::with(Setup {
        policy: policy_of(ALLOW, ALLOW),
        credentials: Credentials::new(Some(secret("crm-secret", "the-upstream-secret")), groups).unwrap(),
        ..Setup::default()
    });
    for alike in [[read("1"), ping("2")], [call("1", LIST), call("2", LIST)]] {
        assert!(stage.record(&batch(&alike)).is_ok());
    }
    for different in [[read("1"), call("2", LIST)], [call("1", LIST), ping("2")]] {
        refused(
            &stage,
            "another credential",
            &batch(&different),
            DenyReason::RpcInvalid,
            1,
        );
    }
}

#[test]
fn an_answer_to_the_server_is_awaited_again_when_its_batch_is_refused() {
    let stage = open_stage();
    let mut stream = streaming(&stage, &[read("1")]);
    assert_eq!(body_of(&stage.review(&mut stream, message(ASKED))), ASKED);
    let answer = r#"{"jsonrpc":"2.0","id":"s","result":{}}"#;
    let with = |other: &str| body(&ALICE, &format!("[{answer},{other}]"));
    refused(
        &stage,
        "beside a refused one",
        &with(&call("1", "other.tool")),
        DenyReason::ToolUnmapped,
        1,
    );
    refused(&stage, "twice in one batch", &with(answer), DenyReason::RpcInvalid, 0);
    let (_, mut ticket) = stage.forward(&with(NOTE)).unwrap();
    let release = stage.review(&mut ticket, Answer::Empty { status: 202 });
    assert!(matches!(release, Release::Empty { status: 202 }));
    refused(&stage, "once more", &with(NOTE), DenyReason::RpcInvalid, 0);
}

#[test]
fn a_batch_without_requests_is_answered_by_a_status() {
    let stage = open_stage();
    let notes = [NOTE.to_owned(), NOTE.to_owned()];
    for answer in [Answer::Empty { status: 202 }, json(200, "[]"), json(200, "whatever")] {
        let mut ticket = ticket(&stage, &notes);
        assert!(ticket.answered());
        let before = stage.records().len();
        let release = stage.review(&mut ticket, answer);
        assert!(matches!(release, Release::Empty { status: 202 }), "{release:?}");
        ticket.close(Outcome::Ended, NOW);
        let expected = [(); 2].map(|()| line("response", "notifications/initialized", "reviewed", "-"));
        assert_eq!(trail(&stage)[before..], expected);
    }
    let mut failed = ticket(&stage, &notes);
    let release = stage.review(&mut failed, Answer::Empty { status: 500 });
    assert_eq!(withheld(&release), DenyReason::UpstreamFailed);
}

#[test]
fn a_batch_that_goes_nowhere_closes_each_of_its_pairs() {
    let stage = open_stage();
    let elements = [read("1"), NOTE.to_owned()];
    let given_up = stage.record(&batch(&elements)).unwrap().give_up(NOW);
    assert_eq!(
        (given_up.reason, given_up.request_id),
        (DenyReason::AuditUnavailable, None)
    );
    let recorded = stage.record(&batch(&elements)).unwrap();
    stage.write();
    drop(recorded.permit(stage.gate.durable()).unwrap());
    ticket(&stage, &elements).close(Outcome::ClientGone, NOW);
    let closes: Vec<String> = trail(&stage)
        .into_iter()
        .filter(|line| line[0] == "close")
        .map(|line| line[2].clone())
        .collect();
    assert_eq!(
        closes,
        [
            "not_forwarded",
            "not_forwarded",
            "not_forwarded",
            "not_forwarded",
            "client_gone",
            "client_gone"
        ]
    );
}

#[test]
fn a_session_holds_for_every_element() {
    let stage = open_stage();
    let session = stage.session(&ALICE, "upstream-1");
    let mut request = batch(&[read("1"), ping("2")]);
    request.add("mcp-session-id", &session);
    let (forward, mut ticket) = stage.forward(&request).unwrap();
    let sent = forward.headers.iter().find(|(name, _)| name == "mcp-session-id");
    assert_eq!(sent.map(|(_, value)| value.to_str().unwrap()), Some("upstream-1"));
    ticket.upstream_session(KEEPER, b"upstream-1");
    assert_eq!(ticket.session_for_client().unwrap().to_str().unwrap(), session);
    let mut foreign = Request::by(&BOB, &Call::post(String::new()));
    foreign.body = Bytes::from(format!("[{}]", ping("1")));
    foreign.add("mcp-session-id", &session);
    refused(&stage, "another's session", &foreign, DenyReason::SessionUnknown, 0);
}
