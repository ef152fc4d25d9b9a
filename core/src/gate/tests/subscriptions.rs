//! Streams of the modern era: those that answer a call, and what may not stand on them.

use portcullis_fixtures::calls::Era;
use portcullis_fixtures::persona::ALICE;
use serde_json::Value;

use super::stage::*;
use crate::gate::Release;

#[test]
fn a_stream_of_a_call_carries_what_belongs_to_the_call() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let (_, mut ticket) = stage.forward(&Request::by(&ALICE, &read_call(Era::Modern))).unwrap();
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    for (data, passes) in [
        (
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
            true,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#,
            true,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
            false,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#,
            false,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{}}}"#,
            false,
        ),
        (r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#, false),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, false),
    ] {
        match stage.review(&mut ticket, message(data)) {
            Release::Pass { body, .. } => assert!(passes && body == data, "{data}"),
            Release::Dropped => assert!(!passes && stage.last()["reason"] == "answer_withheld", "{data}"),
            other => panic!("{data}: {other:?}"),
        }
    }
    assert_eq!(
        stage.last()["message"],
        Value::Null,
        "what has no row in this era has no name either"
    );
}

#[test]
fn a_resource_that_the_caller_may_not_read_is_not_told_of() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let mut ticket = stage.ticket();
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#;
    assert!(matches!(stage.review(&mut ticket, message(updated)), Release::Dropped));
    let record = stage.last();
    assert_eq!(
        (&record["reason"], &record["message"]),
        (&"answer_withheld".into(), &"notifications/resources/updated".into())
    );
    assert!(!record.to_string().contains("file:///a"));
}
