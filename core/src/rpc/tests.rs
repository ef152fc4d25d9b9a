//! Calls, answers and streams: one table for each rule, each accepted case with refused neighbours.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;
use crate::json::{Limits, Scratch};

use super::{Call, CallLimits, Expected, ProtocolVersion, read_call};

mod answer;
mod call;
mod differential;
mod era;
mod params;
mod folds;
mod forms;
mod reply;
mod stream;
mod strict;
mod subscription;

const JSON: Limits = Limits {
    depth: 64,
    members: 10_000,
};
const LIMITS: CallLimits = CallLimits {
    json: JSON,
    tool_name_bytes_max: 128,
};

/// Reads `body` under `headers` and passes the outcome on.
fn reading<T>(headers: &[(&str, &str)], body: &[u8], see: impl FnOnce(Result<Call<'_>, Denial>) -> T) -> T {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let head = RequestHead {
        method: &Method::POST,
        path: "/mcp",
        query: None,
        host: "localhost",
        headers: &map,
        client_ip: [127, 0, 0, 1].into(),
        certificate: None,
    };
    see(read_call(&head, body, &mut Scratch::default(), LIMITS))
}

/// The reason `body` is refused for, `None` when it is not.
fn refusal(headers: &[(&str, &str)], body: &str) -> Option<DenyReason> {
    reading(headers, body.as_bytes(), |call| call.err().map(|denial| denial.reason))
}

fn expected(headers: &[(&str, &str)], body: &str) -> Expected {
    reading(headers, body.as_bytes(), |call| call.unwrap().expected())
}

#[test]
fn names_read_back() {
    for version in ProtocolVersion::ALL {
        assert_eq!(ProtocolVersion::parse(version.as_str()), Some(version));
    }
    assert!(ProtocolVersion::ALL.is_sorted());
    for method in super::Method::messages() {
        assert_eq!(super::Method::parse(method.as_str()), Some(method));
        assert_eq!(method.is_notification(), method.as_str().starts_with("notifications/"));
        assert_ne!(method.is_notification(), method.is_answered());
    }
    for text in ["", "2024-11-05", "2026-07-28 ", "Ping", "response/ping", "tools/call "] {
        assert_eq!(
            (ProtocolVersion::parse(text), super::Method::parse(text)),
            (None, None),
            "{text}"
        );
    }
}
