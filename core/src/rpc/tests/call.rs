//! Bodies of the legacy era, where no header is needed.

use crate::denial::DenyReason;
use crate::rpc::{IdKind, Method, ProtocolVersion};

use super::{reading, refusal};

const PLAIN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"a":1}}}"#;

#[test]
fn a_call_borrows_its_body() {
    let body = PLAIN.as_bytes().to_vec();
    reading(&[("mcp-session-id", "s-1")], &body, |call| {
        let call = call.unwrap();
        assert_eq!(
            (call.method(), call.version()),
            (Method::ToolsCall, ProtocolVersion::V2025_03_26)
        );
        assert_eq!(
            (call.tool(), call.arguments().map_or("", |node| node.raw())),
            (Some("read"), r#"{"a":1}"#)
        );
        assert_eq!(call.arguments().unwrap().member("a").unwrap().as_u64(), Some(1));
        assert_eq!((call.session(), call.trace_parent()), (Some("s-1"), None));
        let id = call.id().unwrap();
        assert_eq!((id.raw(), id.kind().as_str()), ("1", "integer"));
        for part in [
            call.tool().unwrap(),
            call.arguments().map_or("", |node| node.raw()),
            id.raw(),
        ] {
            assert!(body.as_ptr_range().contains(&part.as_ptr()), "{part} is a copy");
        }
    });
}

/// Bodies that need no header, and why they are refused.
const MESSAGES: &[(&str, Option<DenyReason>)] = &[
    (PLAIN, None),
    (
        r#" {"params":{"name":"x"},"method":"tools/call","id":"","jsonrpc":"2.0"} "#,
        None,
    ),
    (r#"{"jsonrpc":"2.0","id":-7,"method":"ping"}"#, None),
    (r#"{"jsonrpc":"2.0","id":"null","method":"ping","params":{}}"#, None),
    (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, None),
    (
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        None,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"","_meta":{"progressToken":1}}}"#,
        None,
    ),
    ("", Some(DenyReason::JsonMalformed)),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#,
        Some(DenyReason::JsonMalformed),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"\u0000":1}}"#,
        Some(DenyReason::JsonMalformed),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}"#,
        Some(DenyReason::JsonAmbiguous),
    ),
    (
        r#"{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}"#,
        Some(DenyReason::JsonAmbiguous),
    ),
    // Batches, wherever they begin (N3).
    ("[]", Some(DenyReason::RpcInvalid)),
    (
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"  [[{"jsonrpc":"2.0","id":1,"method":"ping"}]]"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"[{"jsonrpc":"2.0","method":"notifications/initialized"},{"jsonrpc":"2.0","id":1,"method":"tools/call"}]"#,
        Some(DenyReason::RpcInvalid),
    ),
    (r#""tools/call""#, Some(DenyReason::RpcInvalid)),
    ("null", Some(DenyReason::RpcInvalid)),
    ("{}", Some(DenyReason::RpcInvalid)),
    (r#"{"id":1,"method":"ping"}"#, Some(DenyReason::RpcInvalid)),
    (
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (r#"{"jsonrpc":"2.0","id":1}"#, Some(DenyReason::RpcInvalid)),
    (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, Some(DenyReason::RpcInvalid)),
    (
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":-0,"method":"ping"}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (r#"{"jsonrpc":"2.0","method":"ping"}"#, Some(DenyReason::RpcInvalid)),
    (
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#,
        Some(DenyReason::RpcInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":[]}}"#,
        Some(DenyReason::ParamsInvalid),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"Ping"}"#,
        Some(DenyReason::MethodUnsupported),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///x"}}"#,
        None,
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/write","params":{"uri":"file:///x"}}"#,
        Some(DenyReason::MethodUnsupported),
    ),
    (
        r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"x"}}"#,
        Some(DenyReason::MethodUnsupported),
    ),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call ","params":{"name":"x"}}"#,
        Some(DenyReason::MethodUnsupported),
    ),
    (
        r#"{"jsonrpc":"2.0","method":"notifications/message"}"#,
        Some(DenyReason::MethodUnsupported),
    ),
];

#[test]
fn only_one_well_formed_message_passes() {
    for (body, reason) in MESSAGES {
        assert_eq!(refusal(&[], body), *reason, "{body}");
    }
}

#[test]
fn a_tool_call_names_one_tool() {
    let call = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let long = |bytes: usize| format!(r#"{{"name":"{}"}}"#, "x".repeat(bytes));
    let accepted = [
        r#"{"name":"a","arguments":{},"_meta":{}}"#,
        r#"{"n\u0061me":"a"}"#,
        r#"{"name":" padded é "}"#,
        r#"{"name":"a","arguments":{"Name":1,"METHOD":[],"\u0130d":0}}"#,
        &long(128),
    ];
    for params in accepted {
        assert_eq!(refusal(&[], &call(params)), None, "{params}");
    }
    let refused = [
        "{}",
        r#"{"name":""}"#,
        r#"{"name":1}"#,
        r#"{"name":null}"#,
        r#"{"name":"a","arguments":null}"#,
        r#"{"name":"a","arguments":[]}"#,
        r#"{"name":"a","arguments":"{}"}"#,
        r#"{"name":"a","task":{"ttl":1}}"#,
        r#"{"name":"a","inputResponses":{}}"#,
        r#"{"name":"a","requestState":""}"#,
        r#"{"name":"a","vendor":1}"#,
        &long(129),
    ];
    for params in refused {
        assert_eq!(refusal(&[], &call(params)), Some(DenyReason::ParamsInvalid), "{params}");
    }
    let missing = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
    assert_eq!(refusal(&[], missing), Some(DenyReason::ParamsInvalid));
}

/// GHSA-4gph-2hhr-5mwg, CVE-2026-27896: readers that fold keys see another call than those that do not.
#[test]
fn near_misses_of_protocol_keys_are_ambiguous() {
    let bodies = [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","METHOD":"tools/call","params":{"name":"rm"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":{"name":"rm"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","paramſ":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}}"#,
        r#"{"jsonrpc":"2.0","\u0130d":1,"method":"ping"}"#,
        r#"{"JsonRpc":"2.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"rm"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","argumentſ":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","tas\u212a":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_Meta":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"Cursor":"1"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"IO.modelcontextprotocol/protocolversion":""}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressTo\u212aen":1}}}"#,
    ];
    for body in bodies {
        assert_eq!(refusal(&[], body), Some(DenyReason::JsonAmbiguous), "{body}");
    }
    let similar =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"1","_meta":{"names":1,"a/Name2":1}}}"#;
    assert_eq!(refusal(&[], similar), None);
    let unknown = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"names":1}}"#;
    assert_eq!(refusal(&[], unknown), Some(DenyReason::ParamsInvalid));
}

#[test]
fn a_refusal_carries_the_id_it_could_read() {
    let table: &[(&str, Option<&str>)] = &[
        (r#"{"jsonrpc":"2.0","id":"a\u0062","method":"x"}"#, Some(r#""a\u0062""#)),
        (r#"{"id":7}"#, Some("7")),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}"#, Some("7")),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, None),
        (r#"{"jsonrpc":"2.0","method":"x"}"#, None),
        (r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#, None),
        (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#, None),
    ];
    for (body, id) in table {
        reading(&[], body.as_bytes(), |call| {
            assert_eq!(call.unwrap_err().request_id.as_deref(), *id, "{body}")
        });
    }
}

#[test]
fn session_and_trace_come_in_one_form() {
    let body = |meta: &str| format!(r#"{{"jsonrpc":"2.0","id":"q","method":"ping","params":{{"_meta":{meta}}}}}"#);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traces: &[(&str, Option<&str>)] = &[
        (trace, Some(trace)),
        ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", None),
        ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
        ("", None),
    ];
    for (text, seen) in traces {
        let body = body(&format!(r#"{{"traceparent":"{text}"}}"#));
        reading(&[], body.as_bytes(), |call| {
            let call = call.unwrap();
            assert_eq!(
                (call.trace_parent(), call.id().unwrap().kind()),
                (*seen, IdKind::String)
            );
        });
    }
    reading(&[], body(r#"{"traceparent":1}"#).as_bytes(), |call| {
        assert_eq!(call.unwrap().trace_parent(), None)
    });
    let body = body("{}");
    assert_eq!(refusal(&[("mcp-session-id", "!~")], &body), None);
    for broken in [
        &[("mcp-session-id", "")][..],
        &[("mcp-session-id", "a b")],
        &[("mcp-session-id", "é")],
    ] {
        assert_eq!(refusal(broken, &body), Some(DenyReason::HeadMalformed), "{broken:?}");
    }
    let twice = [("mcp-session-id", "a"), ("mcp-session-id", "a")];
    assert_eq!(refusal(&twice, &body), Some(DenyReason::HeadMalformed));
}
