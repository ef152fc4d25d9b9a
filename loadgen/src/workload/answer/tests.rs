//! Every kind of answer, with the neighbours that must not pass for it.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::super::Outcome::{
    self, Allowed, AllowedUnexpectedly, Denied, DeniedUnexpectedly, ProtocolError, Throttled, ToolError,
    Unauthenticated, Unavailable,
};
use super::super::{Expect, Expected};
use super::judge;
use crate::connect::Answer;

const OK: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#;
const POLICY: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":40301,"message":"no"}}"#;

fn check(status: u16, content_type: &'static str, body: &str, expect: Expect, outcome: Outcome) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let answer = Answer {
        status,
        headers,
        body: Bytes::copy_from_slice(body.as_bytes()),
        finished: Instant::now(),
    };
    let found = judge(Expected { id: 7, expect }, &answer);
    assert_eq!(found, outcome, "{status} {content_type} {body:?} {expect:?}");
}

#[test]
fn statuses_beside_what_was_expected() {
    let cases = [
        (200, OK, [Allowed, AllowedUnexpectedly, AllowedUnexpectedly]),
        (200, POLICY, [DeniedUnexpectedly, Denied, DeniedUnexpectedly]),
        (403, POLICY, [DeniedUnexpectedly, Denied, DeniedUnexpectedly]),
        (403, "", [DeniedUnexpectedly, Denied, DeniedUnexpectedly]),
        (401, POLICY, [Unauthenticated, Unauthenticated, Denied]),
        (401, "", [Unauthenticated, Unauthenticated, Denied]),
        (429, POLICY, [Throttled; 3]),
        (500, POLICY, [Unavailable; 3]),
        (503, OK, [Unavailable; 3]),
        (599, "", [Unavailable; 3]),
        (202, "", [ProtocolError; 3]),
        (201, OK, [ProtocolError; 3]),
        (302, "", [ProtocolError; 3]),
        (400, POLICY, [ProtocolError; 3]),
        (404, POLICY, [ProtocolError; 3]),
    ];
    for (status, body, outcomes) in cases {
        let expects = [Expect::Result, Expect::Refused, Expect::Unauthenticated];
        for (expect, outcome) in expects.into_iter().zip(outcomes) {
            check(status, "application/json", body, expect, outcome);
        }
    }
}

#[test]
fn json_bodies() {
    let of = |members: &str| format!("{{\"jsonrpc\":\"2.0\",{members}}}");
    let cases = [
        (of(r#""id":7,"result":{}"#), Allowed),
        (of(r#""id":7,"result":{"isError":false}"#), Allowed),
        (of(r#""id":7,"result":{"isError":true}"#), ToolError),
        (of(r#""id":7,"error":{"code":40302,"message":""}"#), DeniedUnexpectedly),
        (of(r#""id":7,"error":{"code":-32001,"message":""}"#), DeniedUnexpectedly),
        (of(r#""id":7,"error":{"code":-32002,"message":""}"#), ProtocolError),
        (of(r#""id":7,"error":{"code":40303,"message":""}"#), ProtocolError),
        (of(r#""id":7,"error":{"code":-32602,"message":""}"#), ProtocolError),
        (of(r#""id":7,"error":{}"#), ProtocolError),
        (of(r#""id":8,"result":{}"#), ProtocolError),
        (of(r#""id":"7","result":{}"#), ProtocolError),
        (of(r#""id":7.5,"result":{}"#), ProtocolError),
        (of(r#""id":-7,"result":{}"#), ProtocolError),
        (of(r#""id":null,"result":{}"#), ProtocolError),
        (of(r#""result":{}"#), ProtocolError),
        (of(r#""id":7,"id":7,"result":{}"#), ProtocolError),
        (of(r#""id":7,"result":null"#), ProtocolError),
        (of(r#""id":7,"result":{"isError":"no"}"#), ProtocolError),
        (of(r#""id":7"#), ProtocolError),
        (of(r#""id":7,"method":"ping","result":{}"#), ProtocolError),
        (of(r#""id":7,"result":{},"error":{"code":40301}"#), ProtocolError),
        (r#"{"id":7,"result":{}}"#.to_owned(), ProtocolError),
        (r#"{"jsonrpc":"1.0","id":7,"result":{}}"#.to_owned(), ProtocolError),
        (format!("[{OK}]"), ProtocolError),
        (format!("{OK} x"), ProtocolError),
        (OK.strip_suffix('}').unwrap().to_owned(), ProtocolError),
        (String::new(), ProtocolError),
    ];
    for (body, outcome) in cases {
        check(200, "application/json", &body, Expect::Result, outcome);
    }
}

#[test]
fn refusals_of_another_request_count_for_nobody() {
    let cases = [
        (r#"{"jsonrpc":"2.0","id":7,"error":{"code":40301}}"#, Denied),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":40301}}"#, Denied),
        (r#"{"jsonrpc":"2.0","error":{"code":-1}}"#, Denied),
        ("forbidden", Denied),
        (r#"{"jsonrpc":"2.0","id":8,"error":{"code":40301}}"#, ProtocolError),
        (r#"{"jsonrpc":"2.0","id":"7","error":{"code":40301}}"#, ProtocolError),
    ];
    for (body, outcome) in cases {
        check(403, "application/json", body, Expect::Refused, outcome);
    }
}

#[test]
fn streams() {
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
    let asked = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
    let foreign = r#"{"jsonrpc":"2.0","id":8,"result":{}}"#;
    let failed = r#"{"jsonrpc":"2.0","id":7,"result":{"isError":true}}"#;
    let (first, second) = OK.split_at(9);
    let cases = [
        (format!("event: message\ndata: {OK}\n\n"), Allowed),
        (
            format!("id: 0\r\ndata: \r\n\r\n: c\r\n\r\ndata: {progress}\r\n\r\ndata: {OK}\r\n\r\n"),
            Allowed,
        ),
        (format!("data: {asked}\n\ndata: {OK}\n\n"), Allowed),
        // A message over two lines of data, broken where JSON allows a blank.
        (
            OK.replacen(",\"id\"", ",\ndata: \"id\"", 1).replacen('{', "data: {", 1) + "\n\n",
            Allowed,
        ),
        (format!("data: {failed}\n\n"), ToolError),
        (format!("data: {POLICY}\n\n"), DeniedUnexpectedly),
        (format!("data: {first}\ndata: {second}\n\n"), ProtocolError),
        (format!("data: {OK}\n"), ProtocolError),
        (format!("event: other\ndata: {OK}\n\n"), ProtocolError),
        (format!("data: {foreign}\n\ndata: {OK}\n\n"), ProtocolError),
        (format!("data: {OK}\n\ndata: {OK}\n\n"), ProtocolError),
        (format!("data: {progress}\n\n"), ProtocolError),
        (format!("data: x\n\ndata: {OK}\n\n"), ProtocolError),
        (OK.to_owned(), ProtocolError),
        (String::new(), ProtocolError),
    ];
    for (body, outcome) in cases {
        check(200, "text/event-stream", &body, Expect::Result, outcome);
    }
    let stream = format!("data: {OK}\n\n");
    check(
        200,
        "Text/Event-Stream; charset=utf-8",
        &stream,
        Expect::Result,
        Allowed,
    );
    check(200, "text/event-streams", &stream, Expect::Result, ProtocolError);
    check(200, "application/json", &stream, Expect::Result, ProtocolError);
    check(200, "text/event-stream", &stream, Expect::Refused, AllowedUnexpectedly);
}
