//! Answers, each read for one call.

use crate::json::{ParseError, Scratch};
use crate::rpc::reply::ReplyError;
use crate::rpc::{Expected, Reply, read_reply};

use super::{JSON, expected};

fn call(id: &str, method: &str) -> Expected {
    let params = if method == "tools/call" {
        r#","params":{"name":"x"}"#
    } else {
        ""
    };
    expected(
        &[],
        &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"{params}}}"#),
    )
}

/// What the answer is, in one word, or why it is none.
fn seen(body: &str, expected: &Expected) -> Result<&'static str, ReplyError> {
    read_reply(body.as_bytes(), &mut Scratch::default(), JSON, expected).map(|reply| match reply {
        Reply::Error { document, error } => {
            assert_eq!((document.text(), error.member("code").is_some()), (body, true));
            "error"
        }
        Reply::InputRequired { .. } => "input",
        Reply::Notification { .. } => "notification",
        Reply::Request { .. } => "request",
        Reply::Result { document, result } => {
            assert_eq!(document.root().member("result").unwrap().span(), result.span());
            "result"
        }
        Reply::Unjudged => "unjudged",
    })
}

/// Messages for the call with id 1, and what they are.
const MESSAGES: &[(&str, Result<&str, ReplyError>)] = &[
    (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Ok("result")),
    (
        r#"{"result":{"resultType":"complete","_meta":{"x":1}},"id":1,"jsonrpc":"2.0"}"#,
        Ok("result"),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#,
        Ok("error"),
    ),
    (
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no session"}}"#,
        Ok("error"),
    ),
    (
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"no session","data":[]}}"#,
        Ok("error"),
    ),
    (
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":0.5}}"#,
        Ok("notification"),
    ),
    (
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        Ok("notification"),
    ),
    (r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#, Ok("request")),
    (
        r#"{"jsonrpc":"2.0","id":-7,"method":"ping","params":{}}"#,
        Ok("request"),
    ),
    (
        r#"{"jsonrpc":"2.0","id":0,"method":"ping","params":{"_meta":{"x":1}}}"#,
        Ok("request"),
    ),
    (
        r#"{"jsonrpc":"2.0","id":0,"method":"ping","params":{"x":1}}"#,
        Ok("unjudged"),
    ),
    (r#"{"jsonrpc":"2.0","method":"ping"}"#, Ok("unjudged")),
    (r#"{"jsonrpc":"2.0","id":0,"method":"Ping"}"#, Ok("unjudged")),
    (r#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#, Ok("request")),
    (
        r#"{"jsonrpc":"2.0","id":0,"method":"roots/list","params":{"x":1}}"#,
        Ok("unjudged"),
    ),
    (r#"{"jsonrpc":"2.0","id":0,"method":"tools/call"}"#, Ok("unjudged")),
    (r#"{"jsonrpc":"2.0","method":"roots/list"}"#, Ok("unjudged")),
    (
        r#"{"jsonrpc":"2.0","id":0,"method":"ping","params":{"_Meta":{}}}"#,
        Err(ReplyError::KeyFolded),
    ),
    (r#"{"jsonrpc":"2.0","method":"notifications/other"}"#, Ok("unjudged")),
    (r#"{"jsonrpc":"2.0","method":"anything/else"}"#, Ok("unjudged")),
    (
        r#"{"jsonrpc":"2.0","method":"notifications/progress "}"#,
        Ok("unjudged"),
    ),
    ("", Err(ReplyError::Malformed(ParseError::Malformed))),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}"#,
        Err(ReplyError::Malformed(ParseError::KeyDuplicate)),
    ),
    (r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#, Err(ReplyError::NotRpc)),
    ("null", Err(ReplyError::NotRpc)),
    ("{}", Err(ReplyError::NotRpc)),
    (r#"{"jsonrpc":"2.0","id":1}"#, Err(ReplyError::NotRpc)),
    (r#"{"id":1,"result":{}}"#, Err(ReplyError::NotRpc)),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
        Err(ReplyError::NotRpc),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{},"method":"ping"}"#,
        Err(ReplyError::NotRpc),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{},"extra":0}"#,
        Err(ReplyError::NotRpc),
    ),
    (
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        Err(ReplyError::NotRpc),
    ),
    (
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":[]}"#,
        Err(ReplyError::NotRpc),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":""}}"#,
        Err(ReplyError::NotRpc),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#,
        Err(ReplyError::NotRpc),
    ),
    (r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#, Err(ReplyError::NotRpc)),
    (r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, Err(ReplyError::IdMismatch)),
    (r#"{"jsonrpc":"2.0","id":"1","result":{}}"#, Err(ReplyError::IdMismatch)),
    (r#"{"jsonrpc":"2.0","id":1.0,"result":{}}"#, Err(ReplyError::IdMismatch)),
    (
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        Err(ReplyError::IdMismatch),
    ),
    (r#"{"jsonrpc":"2.0","result":{}}"#, Err(ReplyError::IdMismatch)),
    (
        r#"{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":""}}"#,
        Err(ReplyError::IdMismatch),
    ),
    (r#"{"jsonrpc":"2.0","id":1,"Result":{}}"#, Err(ReplyError::KeyFolded)),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{},"reſult":{}}"#,
        Err(ReplyError::KeyFolded),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{"Content":[]}}"#,
        Err(ReplyError::KeyFolded),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"TraceParent":""}}}"#,
        Err(ReplyError::KeyFolded),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","Data":1}}"#,
        Err(ReplyError::KeyFolded),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
        Err(ReplyError::ResultInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
        Err(ReplyError::ResultInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":1}}"#,
        Err(ReplyError::ResultInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required"}}"#,
        Err(ReplyError::ResultTypeUnknown),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task"}}"#,
        Err(ReplyError::ResultTypeUnknown),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"Complete"}}"#,
        Err(ReplyError::ResultTypeUnknown),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":null}}"#,
        Err(ReplyError::ResultTypeUnknown),
    ),
];

#[test]
fn an_answer_is_one_message_for_its_call() {
    let ping = call("1", "ping");
    for (body, verdict) in MESSAGES {
        assert_eq!(seen(body, &ping), *verdict, "{body}");
    }
}

#[test]
fn ids_match_by_value() {
    let escaped = call(r#""a\u0062""#, "ping");
    assert_eq!(escaped.id_raw(), Some(r#""a\u0062""#));
    let answer = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
    assert_eq!(seen(&answer(r#""ab""#), &escaped), Ok("result"));
    assert_eq!(seen(&answer(r#""\u0061b""#), &escaped), Ok("result"));
    assert_eq!(seen(&answer(r#""AB""#), &escaped), Err(ReplyError::IdMismatch));
    let notified = expected(&[], r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(notified.id_raw(), None);
    for id in ["1", "\"\"", "null"] {
        assert_eq!(seen(&answer(id), &notified), Err(ReplyError::IdMismatch), "{id}");
    }
}

#[test]
fn results_have_the_form_of_their_method() {
    let table: &[(&str, &str, Result<&str, ReplyError>)] = &[
        (
            "tools/call",
            r#"{"content":[{"type":"text","text":"{}"}],"isError":true}"#,
            Ok("result"),
        ),
        ("tools/call", r#"{"structuredContent":[1]}"#, Ok("result")),
        ("tools/call", r#"{"content":{}}"#, Err(ReplyError::ResultInvalid)),
        ("tools/call", r#"{"content":["text"]}"#, Err(ReplyError::ResultInvalid)),
        (
            "tools/call",
            r#"{"content":[{"text":"x"}]}"#,
            Err(ReplyError::ResultInvalid),
        ),
        (
            "tools/call",
            r#"{"content":[],"isError":"true"}"#,
            Err(ReplyError::ResultInvalid),
        ),
        (
            "tools/call",
            r#"{"content":[{"type":"text","text":"a","Text":"b"}]}"#,
            Err(ReplyError::KeyFolded),
        ),
        ("tools/list", r#"{"tools":[]}"#, Ok("result")),
        (
            "tools/list",
            r#"{"tools":[{"name":"a","inputSchema":{"Name":1}}],"nextCursor":""}"#,
            Ok("result"),
        ),
        ("tools/list", "{}", Err(ReplyError::ResultInvalid)),
        ("tools/list", r#"{"tools":{}}"#, Err(ReplyError::ResultInvalid)),
        ("tools/list", r#"{"tools":[1]}"#, Err(ReplyError::ResultInvalid)),
        (
            "tools/list",
            r#"{"tools":[{"name":1}]}"#,
            Err(ReplyError::ResultInvalid),
        ),
        (
            "tools/list",
            r#"{"tools":[{"name":"a","Name":"b"}]}"#,
            Err(ReplyError::KeyFolded),
        ),
        ("ping", r#"{"_meta":{}}"#, Ok("result")),
        ("ping", r#"{"tools":1}"#, Err(ReplyError::ResultInvalid)),
    ];
    for (method, result, verdict) in table {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        assert_eq!(seen(&body, &call("1", method)), *verdict, "{method} {result}");
    }
}
