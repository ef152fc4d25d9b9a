//! Stages 11 to 14 of a stream: its opening, its messages, its end, and exchanges that end otherwise.

use portcullis_fixtures::calls::Era;
use portcullis_fixtures::persona::ALICE;
use serde_json::{Value, json as value};

use super::stage::*;
use crate::audit::AuditSettings;
use crate::denial::DenyReason;
use crate::gate::{Answer, Outcome, Release, Ticket};

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hello"}]}}"#;
const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
const SAMPLING: &str = r#"{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}"#;

/// A stage that lets everything pass, and a stream on it.
fn streaming(stage: &Stage) -> Ticket<'_> {
    let mut ticket = stage.ticket();
    let opened = ticket.open(200, NOW).unwrap();
    assert!(matches!(stage.released(opened), Release::Empty { status: 200 }));
    ticket
}

/// Phase, number and outcome of every record of an exchange after its first.
fn trail(stage: &Stage) -> Vec<(String, Value, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let records = stage.records();
    let first = &records[0]["record_id"];
    assert!(records.iter().all(|record| record["record_id"] == *first));
    records
        .iter()
        .skip(1)
        .map(|record| (text(&record["phase"]), record["part"].clone(), text(&record["outcome"])))
        .collect()
}

fn step(phase: &str, part: impl Into<Value>, outcome: &str) -> (String, Value, String) {
    (phase.to_owned(), part.into(), outcome.to_owned())
}

#[test]
fn a_stream_is_opened_numbered_and_closed_on_record() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let mut ticket = streaming(&stage);
    let release = stage.review(&mut ticket, message(PROGRESS));
    assert_eq!(body_of(&release), PROGRESS);
    assert!(!ticket.answered());
    assert!(matches!(stage.review(&mut ticket, message(SAMPLING)), Release::Dropped));
    assert_eq!(stage.last()["reason"], "answer_withheld");
    assert_eq!(stage.last()["decision"], "deny");
    assert!(!ticket.answered());
    assert_eq!(body_of(&stage.review(&mut ticket, message(RESULT))), RESULT);
    assert!(ticket.answered());
    // The client has its answer: a second one is kept back without a second error.
    assert!(matches!(stage.review(&mut ticket, message(RESULT)), Release::Dropped));
    assert_eq!(stage.last()["reason"], "answer_invalid");
    ticket.close(Outcome::Ended, NOW);
    assert_eq!(
        trail(&stage),
        [
            step("open", Value::Null, "-"),
            step("part", 0, "reviewed"),
            step("part", 1, "withheld"),
            step("part", 2, "reviewed"),
            step("part", 3, "withheld"),
            step("close", Value::Null, "reviewed"),
        ]
    );
    assert_eq!(
        stage.last()["totals"],
        value!({"messages": 4, "redactions": 0, "withheld": 2})
    );
}

#[test]
fn a_message_that_is_no_message_ends_the_stream_with_a_refusal() {
    for (name, data) in [
        ("no JSON", "hello".to_owned()),
        ("a batch", format!("[{RESULT}]")),
        ("an answer without a result", r#"{"jsonrpc":"2.0","id":1}"#.to_owned()),
    ] {
        let stage = Stage::deciding(ALLOW, ALLOW);
        let mut ticket = streaming(&stage);
        let release = stage.review(&mut ticket, message(&data));
        let Release::Withheld(denial) = release else {
            panic!("{name}: {release:?}");
        };
        assert_eq!(denial.reason, DenyReason::AnswerInvalid, "{name}");
        assert_eq!(denial.request_id.as_deref(), Some("1"), "{name}");
        assert!(ticket.answered(), "{name}: nothing more is owed");
    }
}

/// E3: what answers nobody on this stream goes nowhere, and what is owed may still come.
#[test]
fn a_response_to_no_request_of_the_stream_is_dropped_and_the_stream_goes_on() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let mut ticket = streaming(&stage);
    for stray in [
        RESULT.replace("\"id\":1", "\"id\":2"),
        RESULT.replace("\"id\":1", "\"id\":\"1\""),
        RESULT.replace("\"id\":1", "\"id\":null"),
        r#"{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"no"}}"#.to_owned(),
    ] {
        assert!(matches!(stage.review(&mut ticket, message(&stray)), Release::Dropped));
        let record = stage.last();
        assert_eq!(
            (&record["outcome"], &record["reason"], &record["message"]),
            (&value!("withheld"), &value!("answer_invalid"), &Value::Null)
        );
        assert!(!ticket.answered());
    }
    assert_eq!(body_of(&stage.review(&mut ticket, message(RESULT))), RESULT);
    let second = RESULT.replace("hello", "other");
    assert!(matches!(stage.review(&mut ticket, message(&second)), Release::Dropped));
    // As a whole answer it is withheld: nothing else would come.
    let mut whole = stage.ticket();
    let release = stage.review(&mut whole, json(200, &RESULT.replace("\"id\":1", "\"id\":2")));
    assert_eq!(withheld(&release), DenyReason::AnswerInvalid);
}

/// E5: what cannot be judged any more after the head has left is withheld, and nothing of it passes.
#[test]
fn a_review_that_fails_within_a_stream_withholds_the_rest() {
    let failing = r#"decision := {"allow": input.response.content.progress == 1, "rule": "r", "reason": "r"}"#;
    let stage = Stage::deciding(ALLOW, failing);
    let mut ticket = streaming(&stage);
    assert_eq!(body_of(&stage.review(&mut ticket, message(PROGRESS))), PROGRESS);
    // The same rule is undefined for the answer.
    assert_eq!(
        withheld(&stage.review(&mut ticket, message(RESULT))),
        DenyReason::PolicyFailed
    );
    assert_eq!(stage.last()["reason"], "policy_failed");
    assert!(ticket.answered());
}

#[test]
fn messages_are_judged_one_by_one() {
    let stage = Stage::new();
    let mut ticket = streaming(&stage);
    // The tool's obligations cannot be met in free text, and what has none needs them not.
    for worded in [
        PROGRESS.replace("\"progress\":1", "\"progress\":1,\"message\":\"jo@example.org\""),
        PROGRESS.replace("\"progressToken\":1", "\"progressToken\":\"jo\""),
        PROGRESS.replace("{\"progressToken\"", "{\"_meta\":{},\"progressToken\""),
    ] {
        assert!(matches!(stage.review(&mut ticket, message(&worded)), Release::Dropped));
        assert_eq!(stage.last()["reason"], "answer_withheld");
        assert_eq!(stage.last()["message"], "notifications/progress");
    }
    assert_eq!(body_of(&stage.review(&mut ticket, message(PROGRESS))), PROGRESS);
    let secret = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"structuredContent":{"internal_note":"x"}}}"#;
    let release = stage.review(&mut ticket, message(secret));
    assert!(matches!(release, Release::Redacted { status: 200, .. }));
    assert!(!body_of(&release).contains("internal_note"));
    ticket.close(Outcome::Ended, NOW);
    assert_eq!(
        stage.last()["totals"],
        value!({"messages": 5, "redactions": 1, "withheld": 3})
    );
}

#[test]
fn an_exchange_is_closed_by_exactly_one_record() {
    type End = fn(Ticket<'_>);
    let ends: &[(&str, End, &str)] = &[
        (
            "the client has gone",
            |ticket| ticket.close(Outcome::ClientGone, NOW),
            "client_gone",
        ),
        (
            "the upstream has failed",
            |ticket| ticket.close(Outcome::UpstreamFailed, NOW),
            "upstream_failed",
        ),
        (
            "it has expired",
            |ticket| ticket.close(Outcome::Expired, NOW),
            "expired",
        ),
        ("nobody knows", |ticket| ticket.close(Outcome::Unknown, NOW), "unknown"),
        ("it is dropped", |ticket| drop(ticket), "unknown"),
        (
            "an end without an answer",
            |ticket| ticket.close(Outcome::Ended, NOW),
            "unknown",
        ),
    ];
    for (name, end, outcome) in ends {
        let stage = Stage::new();
        end(stage.ticket());
        assert_eq!(trail(&stage), [step("close", Value::Null, outcome)], "{name}");
        assert_eq!(stage.last()["totals"], Value::Null, "{name}");
        let streamed = Stage::new();
        end(streaming(&streamed));
        let outcome = if name.starts_with("an end") {
            "reviewed"
        } else {
            outcome
        };
        let expected = [step("open", Value::Null, "-"), step("close", Value::Null, outcome)];
        assert_eq!(trail(&streamed), expected, "{name}");
    }
    // A reviewed answer closes its exchange itself; what is asked of the ticket after that is refused.
    let stage = Stage::new();
    let mut ticket = stage.ticket();
    stage.review(&mut ticket, Answer::Empty { status: 404 });
    let denial = stage.review_unrecorded(&mut ticket, json(200, RESULT));
    assert_eq!(denial.reason, DenyReason::AnswerInvalid);
    assert!(ticket.open(200, NOW).is_err());
    ticket.close(Outcome::Ended, NOW);
    assert_eq!(trail(&stage), [step("response", Value::Null, "reviewed")]);
}

#[test]
fn an_answer_without_a_durable_record_does_not_leave() {
    let stage = Stage::with(Setup {
        audit: AuditSettings {
            queue_records: 2,
            ..AuditSettings::default()
        },
        ..Setup::default()
    });
    let mut ticket = stage.ticket();
    // Two calls of others fill the queue while the upstream answers.
    let others = [(); 2].map(|()| stage.record(&Request::read()).unwrap());
    let denial = stage.review_unrecorded(&mut ticket, Answer::Empty { status: 404 });
    assert_eq!(
        (denial.reason, denial.retry_after_s),
        (DenyReason::AuditUnavailable, Some(1))
    );
    let id = ticket.record_id().to_string();
    stage.write();
    // The review is not on record, so its end is not `reviewed`.
    ticket.close(Outcome::Ended, NOW);
    let last = stage.last();
    assert_eq!(
        (&last["record_id"], &last["outcome"]),
        (&value!(id), &value!("unknown"))
    );
    for other in others {
        drop(other.permit(stage.gate.durable()).unwrap());
        stage.write();
    }
}

#[test]
fn a_ticket_knows_when_its_token_ends() {
    let stage = Stage::new();
    let ticket = stage.forward(&Request::by(&ALICE, &read_call(Era::Modern))).unwrap().1;
    // With the leeway of 60 s, by which the token would still be accepted, and the grace of 60 s.
    assert_eq!(ticket.expires(NOW).secs(), NOW_S + 420);
}
