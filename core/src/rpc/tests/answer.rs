//! A client's answers to requests of a server.

use crate::denial::DenyReason;
use crate::rpc::{Id, Method, ProtocolVersion, RequestId};

use super::{reading, refusal};

const VERSION: &str = "mcp-protocol-version";

#[test]
fn an_answer_has_the_form_of_its_request() {
    let rpc = Some(DenyReason::RpcInvalid);
    let ambiguous = Some(DenyReason::JsonAmbiguous);
    let table = [
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, None),
        (r#"{"result":{"_meta":{"x":1}},"id":"a","jsonrpc":"2.0"}"#, None),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","data":[1]}}"#,
            None,
        ),
        // What it is the answer to is not known yet.
        (r#"{"jsonrpc":"2.0","id":1,"result":{"x":1}}"#, None),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":1}}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1,"result":[]}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, rpc),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
            rpc,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"extra":1}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"method":"ping"}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"method":null}"#, rpc),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"response/ping"}"#,
            Some(DenyReason::MethodUnsupported),
        ),
        (r#"{"jsonrpc":"2.0","result":{}}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":null,"result":{}}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1.0,"result":{}}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":-0,"result":{}}"#, rpc),
        (r#"{"jsonrpc":"1.0","id":1,"result":{}}"#, rpc),
        (r#"{"id":1,"result":{}}"#, rpc),
        (r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1,"error":null}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","x":1}}"#, rpc),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"Error":{}}"#, ambiguous),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"_Meta":{}}}"#, ambiguous),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","Code":2}}"#,
            ambiguous,
        ),
    ];
    for (body, expected) in table {
        assert_eq!(refusal(&[], body), expected, "{body}");
    }
}

/// Whether `result` is what the request asks for that is answered as `method`.
fn answers(method: Method, result: &str) -> bool {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
    reading(&[], body.as_bytes(), |call| match call.unwrap().answering(method) {
        Ok(call) => {
            assert_eq!(call.method(), method);
            assert_eq!(call.answer().map(|answer| answer.raw()), Some(result));
            true
        }
        Err(denial) => {
            assert_eq!((denial.reason, denial.request_id), (DenyReason::RpcInvalid, None));
            false
        }
    })
}

#[test]
fn an_answer_is_what_its_request_asks_for() {
    let (elicited, sampled) = (Method::ResponseElicitation, Method::ResponseSampling);
    let table = [
        (Method::ResponsePing, "{}", true),
        (Method::ResponsePing, r#"{"_meta":{}}"#, true),
        (Method::ResponsePing, r#"{"x":1}"#, false),
        (Method::ResponseRoots, r#"{"roots":[]}"#, true),
        (
            Method::ResponseRoots,
            r#"{"roots":[{"uri":"file:///home/a","name":"a","_meta":{}}]}"#,
            true,
        ),
        (Method::ResponseRoots, "{}", false),
        (Method::ResponseRoots, r#"{"roots":{}}"#, false),
        (Method::ResponseRoots, r#"{"roots":["file:///a"]}"#, false),
        (Method::ResponseRoots, r#"{"roots":[{"name":"a"}]}"#, false),
        (
            Method::ResponseRoots,
            r#"{"roots":[{"uri":"https://a.example"}]}"#,
            false,
        ),
        (Method::ResponseRoots, r#"{"roots":[],"x":1}"#, false),
        (elicited, r#"{"action":"decline"}"#, true),
        (elicited, r#"{"action":"cancel","content":{}}"#, true),
        (
            elicited,
            r#"{"action":"accept","content":{"a":"b","c":1.5,"d":true,"e":["f"]}}"#,
            true,
        ),
        (elicited, r#"{"action":"accept"}"#, true),
        (elicited, r#"{"action":"accept","content":{"a":{"b":1}}}"#, false),
        (elicited, r#"{"action":"accept","content":{"a":[1]}}"#, false),
        (elicited, r#"{"action":"accept","content":[]}"#, false),
        (elicited, r#"{"action":"accept","content":null}"#, false),
        (elicited, r#"{"action":"decline","content":{"a":"b"}}"#, false),
        (elicited, r#"{"action":"Accept"}"#, false),
        (elicited, r#"{"content":{}}"#, false),
        (elicited, r#"{"action":"accept","x":1}"#, false),
        (
            sampled,
            r#"{"role":"assistant","content":{"type":"text","text":"hi"},"model":"m","stopReason":"endTurn"}"#,
            true,
        ),
        (
            sampled,
            r#"{"role":"assistant","content":[{"type":"tool_use","name":"t","id":"1","input":{}}],"model":"m"}"#,
            true,
        ),
        (
            sampled,
            r#"{"role":"system","content":{"type":"text"},"model":"m"}"#,
            false,
        ),
        (
            sampled,
            r#"{"role":"assistant","content":{"text":"hi"},"model":"m"}"#,
            false,
        ),
        (sampled, r#"{"role":"assistant","content":"hi","model":"m"}"#, false),
        (sampled, r#"{"role":"assistant","content":{"type":"text"}}"#, false),
        (
            sampled,
            r#"{"role":"assistant","content":{"type":"text"},"model":1}"#,
            false,
        ),
        (sampled, r#"{"action":"accept"}"#, false),
        (Method::ToolsCall, "{}", false),
    ];
    for (method, result, good) in table {
        assert_eq!(answers(method, result), good, "{} {result}", method.as_str());
    }
    // Whatever was asked may be refused.
    let refusal = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"user rejected"}}"#;
    reading(&[], refusal, |call| {
        let call = call.unwrap().answering(Method::ResponseSampling).unwrap();
        assert!(call.answer().is_none() && call.method() == Method::ResponseSampling);
    });
}

#[test]
fn an_answer_asks_nothing_and_is_of_the_legacy_era() {
    let body = br#"{"jsonrpc":"2.0","id":"\u0061","result":{}}"#;
    reading(&[(VERSION, "2025-06-18"), ("mcp-session-id", "s")], body, |call| {
        let call = call.unwrap();
        assert_eq!(call.method(), Method::ResponsePing);
        assert_eq!(call.version(), ProtocolVersion::V2025_06_18);
        assert!(call.id().is_none() && call.tool().is_none() && call.expected().id_raw().is_none());
        assert_eq!(call.answers().map(RequestId::value), Some(Id::String("a".into())));
        assert_eq!(call.session(), Some("s"));
    });
    let mismatch = DenyReason::HeaderMismatch;
    let table: &[(&[(&str, &str)], DenyReason)] = &[
        (&[(VERSION, "2026-07-28")], DenyReason::RpcInvalid),
        (&[(VERSION, "2027-01-01")], DenyReason::RpcInvalid),
        (&[(VERSION, "2024-11-05")], DenyReason::VersionUnsupported),
        (&[(VERSION, "2025-06-18"), (VERSION, "2025-06-18")], mismatch),
        (&[("mcp-method", "ping")], mismatch),
        (&[("mcp-method", "response/ping")], mismatch),
        (&[("mcp-method", "")], mismatch),
        (&[("mcp-name", "ping")], mismatch),
        (&[("mcp-param-x", "1")], mismatch),
        (&[("mcp-session-id", "a b")], DenyReason::HeadMalformed),
    ];
    for (headers, reason) in table {
        reading(headers, body, |call| {
            let denial = call.unwrap_err();
            assert_eq!(denial.reason, *reason, "{headers:?}");
            // In the legacy era a refusal of an answer names no id: that would answer a call of the client's.
            assert!(denial.modern || denial.request_id.is_none(), "{headers:?}");
        });
    }
}
