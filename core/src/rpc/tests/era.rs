//! Versions, and headers that must say what the body says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::denial::DenyReason;
use crate::rpc::{Method, ProtocolVersion};

use super::{reading, refusal};

const VERSION: &str = "mcp-protocol-version";
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// Headers, a body, and what is to come of them.
struct Case<'t, T>(&'t [(&'t str, &'t str)], &'t str, T);

fn modern(method: &str, params: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}{comma}{META}}}}}"#)
}

#[test]
fn the_version_is_agreed_on() {
    use ProtocolVersion::{V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let stating = |version: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":{version}}}}}}}"#
        )
    };
    let list = modern("tools/list", "");
    let table: &[Case<'_, Result<ProtocolVersion, DenyReason>>] = &[
        Case(&[], ping, Ok(V2025_03_26)),
        Case(&[(VERSION, "2025-03-26")], ping, Ok(V2025_03_26)),
        Case(&[(VERSION, " 2025-06-18\t")], ping, Ok(V2025_06_18)),
        Case(&[(VERSION, "2025-11-25")], ping, Ok(V2025_11_25)),
        Case(&[(VERSION, "2025-11-25")], &stating(r#""2025-11-25""#), Ok(V2025_11_25)),
        Case(
            &[(VERSION, "2026-07-28"), ("mcp-method", "tools/list")],
            &list,
            Ok(V2026_07_28),
        ),
        Case(&[(VERSION, "2024-11-05")], ping, Err(DenyReason::VersionUnsupported)),
        Case(&[(VERSION, "2027-01-01")], ping, Err(DenyReason::VersionUnsupported)),
        Case(&[(VERSION, "")], ping, Err(DenyReason::VersionUnsupported)),
        Case(
            &[(VERSION, "2025-11-25, 2025-11-25")],
            ping,
            Err(DenyReason::VersionUnsupported),
        ),
        Case(
            &[(VERSION, "2025-11-25"), (VERSION, "2025-11-25")],
            ping,
            Err(DenyReason::HeaderMismatch),
        ),
        Case(&[(VERSION, "é")], ping, Err(DenyReason::HeaderMismatch)),
        Case(
            &[(VERSION, "2025-11-25")],
            &stating(r#""2025-06-18""#),
            Err(DenyReason::HeaderMismatch),
        ),
        Case(&[(VERSION, "2025-11-25")], &list, Err(DenyReason::HeaderMismatch)),
        Case(&[], &list, Err(DenyReason::HeaderMismatch)),
        Case(&[], &stating(r#""2025-03-26""#), Err(DenyReason::HeaderMismatch)),
        Case(&[], &stating("1"), Err(DenyReason::ParamsInvalid)),
        Case(
            &[(VERSION, "2026-07-28"), ("mcp-method", "ping")],
            &stating(r#""2025-11-25""#),
            Err(DenyReason::HeaderMismatch),
        ),
        Case(
            &[(VERSION, "2026-07-28"), ("mcp-method", "ping")],
            ping,
            Err(DenyReason::ParamsInvalid),
        ),
    ];
    agree(table);
}

#[track_caller]
fn agree(table: &[Case<'_, Result<ProtocolVersion, DenyReason>>]) {
    for Case(headers, body, expected) in table {
        let seen = reading(headers, body.as_bytes(), |call| {
            call.map(|call| call.version()).map_err(|denial| denial.reason)
        });
        assert_eq!(seen, *expected, "{headers:?} {body}");
    }
}

#[test]
fn a_refused_version_is_told_again_where_it_fits() {
    let stating = |version: &str| {
        let meta = format!(r#"{{"io.modelcontextprotocol/protocolVersion":"{version}"}}"#);
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{{"_meta":{meta}}}}}"#)
    };
    let long = "2".repeat(100);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (version, body, told, modern) in [
        ("v999.0.0", stating("v999.0.0"), Some("v999.0.0"), true),
        (long.as_str(), stating(&long), None, true),
        // A header alone is what an older client sends.
        ("2024-11-05", ping.to_owned(), Some("2024-11-05"), false),
        // Another reason to refuse tells nothing.
        ("v999.0.0", "{".to_owned(), None, false),
    ] {
        reading(&[(VERSION, version)], body.as_bytes(), |call| {
            let denial = call.unwrap_err();
            assert_eq!(
                (denial.requested_version.as_deref(), denial.modern),
                (told, modern),
                "{version}"
            );
        });
    }
}

#[test]
fn initialize_negotiates() {
    use ProtocolVersion::{V2025_06_18, V2025_11_25};
    let offering = |version: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":{version}}}}}"#)
    };
    let table: &[Case<'_, Result<ProtocolVersion, DenyReason>>] = &[
        Case(&[], &offering(r#""2025-06-18""#), Ok(V2025_06_18)),
        Case(
            &[(VERSION, "2025-06-18")],
            &offering(r#""2025-11-25""#),
            Ok(V2025_11_25),
        ),
        Case(&[], &offering(r#""2024-11-05""#), Ok(V2025_11_25)),
        Case(&[], &offering(r#""2026-07-28""#), Ok(V2025_11_25)),
        Case(&[], &offering("1"), Err(DenyReason::ParamsInvalid)),
        Case(
            &[],
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#,
            Err(DenyReason::ParamsInvalid),
        ),
        Case(
            &[(VERSION, "2024-11-05")],
            &offering(r#""2024-11-05""#),
            Err(DenyReason::VersionUnsupported),
        ),
    ];
    agree(table);
}

/// Parameters with which each method may be called, and what `Mcp-Name` then repeats.
pub(super) fn sample(method: Method) -> (&'static str, Option<&'static str>) {
    match method {
        Method::CompletionComplete => (
            r#""ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":""}"#,
            None,
        ),
        Method::Initialize => (r#""protocolVersion":"2025-11-25""#, None),
        Method::LoggingSetLevel => (r#""level":"info""#, None),
        Method::NotificationCancelled => (r#""requestId":1"#, None),
        Method::NotificationProgress => (r#""progressToken":"t","progress":0.5"#, None),
        Method::PromptsGet | Method::ToolsCall => (r#""name":"x""#, Some("x")),
        Method::ResourcesRead => (r#""uri":"file:///x""#, Some("file:///x")),
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => (r#""uri":"file:///x""#, None),
        Method::SubscriptionsListen => (r#""notifications":{}"#, None),
        Method::TasksCancel | Method::TasksGet | Method::TasksResult => (r#""taskId":"x""#, Some("x")),
        Method::TasksUpdate => (r#""taskId":"x","inputResponses":{}"#, Some("x")),
        _ => ("", None),
    }
}

#[test]
fn each_era_has_its_methods() {
    use ProtocolVersion::{V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};
    for method in Method::messages() {
        let id = if method.is_notification() { "" } else { r#""id":1,"# };
        let text = method.as_str();
        let (params, name) = sample(method);
        let comma = if params.is_empty() { "" } else { "," };
        for version in ProtocolVersion::ALL {
            let meta = if version.is_modern() { META } else { r#""_meta":{}"# };
            let body = format!(r#"{{"jsonrpc":"2.0",{id}"method":"{text}","params":{{{params}{comma}{meta}}}}}"#);
            let mut headers = vec![(VERSION, version.as_str()), ("mcp-method", text)];
            headers.extend(name.map(|name| ("mcp-name", name)));
            let reason = (!method.exists_in(version)).then_some(DenyReason::MethodUnsupported);
            // What `initialize` is read by stands in its body.
            if method != Method::Initialize || version.is_modern() {
                assert_eq!(refusal(&headers, &body), reason, "{text} in {version:?}");
            }
        }
    }
    let in_eras = |method: Method| ProtocolVersion::ALL.map(|version| method.exists_in(version));
    assert_eq!(
        [V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28],
        ProtocolVersion::ALL
    );
    for (method, eras) in [
        (Method::CompletionComplete, [true, true, true, true]),
        (Method::Initialize, [true, true, true, false]),
        (Method::LoggingSetLevel, [true, true, true, false]),
        (Method::Ping, [true, true, true, false]),
        (Method::PromptsGet, [true, true, true, true]),
        (Method::ResourcesSubscribe, [true, true, true, false]),
        (Method::ServerDiscover, [false, false, false, true]),
        (Method::SubscriptionsListen, [false, false, false, true]),
        (Method::TasksGet, [false, false, true, true]),
        (Method::TasksList, [false, false, true, false]),
        (Method::TasksResult, [false, false, true, false]),
        (Method::TasksUpdate, [false, false, false, true]),
        (Method::ToolsCall, [true, true, true, true]),
    ] {
        assert_eq!(in_eras(method), eras, "{method:?}");
    }
}

#[test]
fn names_are_repeated_by_a_header_where_the_protocol_says_so() {
    for method in Method::messages().filter(|method| method.exists_in(ProtocolVersion::V2026_07_28)) {
        let (params, name) = sample(method);
        let (text, body) = (method.as_str(), modern(method.as_str(), params));
        let refused = |value: Option<&str>| {
            let mut headers = vec![(VERSION, "2026-07-28"), ("mcp-method", text)];
            headers.extend(value.map(|value| ("mcp-name", value)));
            refusal(&headers, &body)
        };
        let mismatch = Some(DenyReason::HeaderMismatch);
        assert_eq!(refused(name), None, "{text}");
        for wrong in [
            "y",
            "",
            "X",
            "=?base64?eQ==?=",
            "=?base64?eA?=",
            "=?base64?eB==?=",
            "=?base64??=",
        ] {
            assert_eq!(refused(Some(wrong)), mismatch, "{text} {wrong:?}");
        }
        match name {
            None => assert_eq!(refused(Some("x")), mismatch, "{text}"),
            Some(name) => {
                assert_eq!(refused(None), mismatch, "{text}");
                let encoded = format!("=?base64?{}?=", STANDARD.encode(name));
                assert_eq!(refused(Some(&encoded)), None, "{text}");
                // Over-long: it is not even decoded.
                let long = format!("=?base64?{}?=", STANDARD.encode(name.repeat(9_000)));
                assert_eq!(refused(Some(&long)), mismatch, "{text}");
            }
        }
    }
    // The legacy era has no such header; one that is there says the same.
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///x"}}"#;
    for (value, reason) in [("file:///x", None), ("file:///y", Some(DenyReason::HeaderMismatch))] {
        assert_eq!(refusal(&[("mcp-name", value)], body), reason, "{value}");
    }
}

#[test]
fn modern_requests_bring_their_meta_and_no_session() {
    let headers = [
        (VERSION, "2026-07-28"),
        ("mcp-method", "server/discover"),
        ("mcp-session-id", "not\tread"),
    ];
    let body = modern("server/discover", "");
    reading(&headers, body.as_bytes(), |call| {
        assert_eq!(call.unwrap().session(), None)
    });
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    for capabilities in ["", r#","io.modelcontextprotocol/clientCapabilities":[]"#] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{{"_meta":{{{version}{capabilities}}}}}}}"#
        );
        reading(&headers, body.as_bytes(), |call| {
            let denial = call.unwrap_err();
            assert_eq!((denial.reason, denial.modern), (DenyReason::ParamsInvalid, true));
            assert_eq!(denial.request_id.as_deref(), Some("1"));
        });
    }
}

#[test]
fn mirrored_headers_say_what_the_body_says() {
    let call = modern("tools/call", r#""name":"read ü""#);
    let list = modern("tools/list", "");
    let with = |method: &'static str, name: &'static str| {
        let mut headers = vec![(VERSION, "2026-07-28")];
        headers.extend(
            [("mcp-method", method), ("mcp-name", name)]
                .into_iter()
                .filter(|(_, value)| !value.is_empty()),
        );
        headers
    };
    // "cmVhZCDDvA==" is "read ü".
    assert_eq!(refusal(&with("tools/call", "=?base64?cmVhZCDDvA==?="), &call), None);
    let accepted = modern("tools/call", r#""name":"read""#);
    for name in ["read", "=?base64?cmVhZA==?="] {
        assert_eq!(refusal(&with("tools/call", name), &accepted), None, "{name}");
    }
    let literal = modern("tools/call", r#""name":"=?base64?cmVhZA==?=""#);
    assert_eq!(
        refusal(&with("tools/call", "=?base64?PT9iYXNlNjQ/Y21WaFpBPT0/PQ==?="), &literal),
        None
    );
    assert_eq!(refusal(&with("tools/list", ""), &list), None);
    let mismatches = [
        (with("tools/list", "read"), &accepted),
        (with("TOOLS/CALL", "read"), &accepted),
        (with("", "read"), &accepted),
        (with("tools/call", ""), &accepted),
        (with("tools/call", "Read"), &accepted),
        (with("tools/call", "write"), &accepted),
        (with("tools/call", "=?base64?cmVhZA?="), &accepted),
        (with("tools/call", "=?base64?cmVhZB==?="), &accepted),
        (with("tools/call", "=?base64?cmVh ZA==?="), &accepted),
        (with("tools/call", "=?base64?d3JpdGU=?="), &accepted),
        (with("tools/call", "=?BASE64?cmVhZA==?="), &accepted),
        (with("tools/call", "=?base64?cmVhZA==?="), &literal),
        (with("tools/call", "read \u{fc}"), &call),
        (with("tools/list", "read"), &list),
    ];
    for (headers, body) in &mismatches {
        assert_eq!(
            refusal(headers, body),
            Some(DenyReason::HeaderMismatch),
            "{headers:?} {body}"
        );
    }
    for name in ["mcp-method", "mcp-name"] {
        let mut headers = with("tools/call", "read");
        headers.push((name, if name == "mcp-method" { "tools/call" } else { "read" }));
        assert_eq!(refusal(&headers, &accepted), Some(DenyReason::HeaderMismatch), "{name}");
    }
    // What repeats an argument is judged by the tool's schema; what calls no tool has none.
    let (mut call, mut other) = (with("tools/call", "read"), with("tools/list", ""));
    call.push(("mcp-param-region", "eu"));
    other.push(("mcp-param-region", "eu"));
    assert_eq!(refusal(&call, &accepted), None);
    assert_eq!(refusal(&other, &list), Some(DenyReason::HeaderMismatch));
}

#[test]
fn legacy_headers_may_be_absent_but_not_differ() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read"}}"#;
    let table: &[(&[(&str, &str)], bool)] = &[
        (&[], true),
        (&[("mcp-method", "tools/call")], true),
        (&[("mcp-method", "tools/call"), ("mcp-name", "read")], true),
        (&[("mcp-method", "tools/list")], false),
        (&[("mcp-name", "write")], false),
        (&[("mcp-name", "")], false),
        (&[("mcp-param-x", "1")], true),
    ];
    for (headers, accepted) in table {
        let reason = (!accepted).then_some(DenyReason::HeaderMismatch);
        assert_eq!(refusal(headers, body), reason, "{headers:?}");
    }
}

#[test]
fn a_version_that_is_refused_is_echoed_as_a_plain_word_alone() {
    for (claimed, echoed) in [
        ("2024-11-05", true),
        ("2027-01-01", true),
        ("1", true),
        ("2024-11-05 ", true),
        ("2024-11-05, 2025-11-25", false),
        ("<b>4-11-05", false),
        ("", false),
    ] {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let requested = reading(&[(VERSION, claimed)], ping.as_bytes(), |call| {
            call.unwrap_err().requested_version
        });
        assert_eq!(requested.as_deref(), echoed.then(|| claimed.trim()), "{claimed}");
    }
}

#[test]
fn a_refusal_knows_its_era() {
    let list = modern("tools/list", "");
    let table: &[Case<'_, bool>] = &[
        Case(&[(VERSION, "2026-07-28")], "{", true),
        Case(&[(VERSION, "2027-12-31")], "{}", true),
        Case(&[(VERSION, "2025-11-25")], "{}", false),
        Case(&[(VERSION, "9999")], "{}", false),
        Case(&[(VERSION, "x026-07-28")], "{}", false),
        Case(&[], "{}", false),
        Case(&[], &list, true),
        Case(&[(VERSION, "2026-07-28")], &list, true),
    ];
    for Case(headers, body, modern) in table {
        reading(headers, body.as_bytes(), |call| {
            assert_eq!(call.unwrap_err().modern, *modern, "{headers:?} {body}")
        });
    }
}
