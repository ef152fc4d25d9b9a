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
        (r#"{"jsonrpc":"2.0","id":1,"result":{"x":1}}"#, rpc),
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
