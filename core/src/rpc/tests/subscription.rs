//! Streams of `subscriptions/listen`: what each may carry, and when.

use crate::json::{self, Scratch};
use crate::rpc::subscription::{StreamError, Subscription};
use crate::rpc::{Expected, ServerMethod};

use super::{JSON, expected};

const BODY: &str = r#"{"jsonrpc":"2.0","id":"s1","method":"subscriptions/listen","params":{"notifications":
    {"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["file:///a","db://x/"]}}}"#;

fn id() -> Expected {
    expected(&[], r#"{"jsonrpc":"2.0","id":"s1","method":"ping"}"#)
}

/// What becomes of a message with these parameters beside its subscription's id.
fn sent(subscription: &mut Subscription, method: &str, of: &str, members: &str) -> Result<(), StreamError> {
    let params = format!(r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{of}}}{members}}}"#);
    let method = ServerMethod::find(method).unwrap().method;
    let mut scratch = Scratch::default();
    let params = json::parse(params.as_bytes(), &mut scratch, JSON).unwrap().root();
    subscription.check(method, Some(params), &id())?;
    subscription.passed(method, Some(params));
    Ok(())
}

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const TOOLS: &str = "notifications/tools/list_changed";
const UPDATED: &str = "notifications/resources/updated";
const OWN: &str = r#""s1""#;

fn acknowledged(honoured: &str) -> Subscription {
    let mut subscription = Subscription::of(BODY.as_bytes(), JSON);
    let honoured = format!(r#","notifications":{honoured}"#);
    assert_eq!(sent(&mut subscription, ACKNOWLEDGED, OWN, &honoured), Ok(()));
    subscription
}

#[test]
fn the_acknowledgement_comes_first_and_once() {
    let mut subscription = Subscription::of(BODY.as_bytes(), JSON);
    for (method, members) in [(TOOLS, ""), ("notifications/cancelled", r#","requestId":"s1""#)] {
        assert_eq!(sent(&mut subscription, method, OWN, members), Err(StreamError::Order));
    }
    for of in [r#""s2""#, "1", "null"] {
        let early = sent(&mut subscription, ACKNOWLEDGED, of, r#","notifications":{}"#);
        assert_eq!(early, Err(StreamError::Foreign), "{of}");
    }
    for wider in [
        r#"{"promptsListChanged":true}"#,
        r#"{"resourcesListChanged":true}"#,
        r#"{"resourceSubscriptions":["file:///b"]}"#,
        r#"{"taskIds":["t"]}"#,
    ] {
        let told = sent(
            &mut subscription,
            ACKNOWLEDGED,
            OWN,
            &format!(r#","notifications":{wider}"#),
        );
        assert_eq!(told, Err(StreamError::Widened), "{wider}");
    }
    let mut subscription = acknowledged("{}");
    let again = sent(&mut subscription, ACKNOWLEDGED, OWN, r#","notifications":{}"#);
    assert_eq!(again, Err(StreamError::Order));
}

#[test]
fn only_what_was_asked_for_and_acknowledged_passes() {
    let whole = r#"{"toolsListChanged":true,"resourceSubscriptions":["file:///a","db://x/"]}"#;
    let table = [
        (whole, TOOLS, "", true),
        (whole, "notifications/prompts/list_changed", "", false),
        (whole, "notifications/resources/list_changed", "", false),
        (whole, UPDATED, r#","uri":"file:///a""#, true),
        (whole, UPDATED, r#","uri":"file:///a/b""#, true),
        (whole, UPDATED, r#","uri":"file:///ab""#, false),
        (whole, UPDATED, r#","uri":"file:///""#, false),
        (whole, UPDATED, r#","uri":"db://x/1""#, true),
        (whole, UPDATED, r#","uri":"db://y/1""#, false),
        (whole, "notifications/cancelled", r#","requestId":"s1""#, true),
        (whole, "notifications/cancelled", r#","requestId":"s2""#, false),
        (whole, "notifications/tasks", r#","taskId":"t""#, false),
        (whole, "notifications/progress", r#","progress":1"#, false),
        (whole, "notifications/message", r#","data":1"#, false),
        ("{}", TOOLS, "", false),
        (r#"{"toolsListChanged":false}"#, TOOLS, "", false),
        (
            r#"{"resourceSubscriptions":["file:///a"]}"#,
            UPDATED,
            r#","uri":"db://x/1""#,
            false,
        ),
    ];
    for (honoured, method, members, passes) in table {
        let mut subscription = acknowledged(honoured);
        let expected = if passes { Ok(()) } else { Err(StreamError::NotAsked) };
        assert_eq!(
            sent(&mut subscription, method, OWN, members),
            expected,
            "{honoured} {method} {members}"
        );
        assert_eq!(
            sent(&mut subscription, method, r#""other""#, members),
            Err(StreamError::Foreign),
            "{method}"
        );
    }
}
