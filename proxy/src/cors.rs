//! Browser pages: which origins may read an answer, and what a preflight is told (Fetch standard, section 3.2).
//!
//! Owns the rule that only a configured origin gets CORS headers. Never lets a request through: a preflight says
//! what a page may try, the gate judges what it then sends.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::{HeaderValue, Method};
use pingora_http::ResponseHeader;
use portcullis_core::config::Server;
use portcullis_core::gate::Snapshot;

use crate::egress::{self, Readers};
use crate::ingress::Head;

/// The fields that MCP clients send beside the simple ones.
const ALLOWED_HEADERS: &str = "authorization, content-type, dpop, mcp-protocol-version, mcp-session-id, \
                               mcp-method, mcp-name, last-event-id";
/// What the names of fields begin with that carry a tool's parameters (MCP 2026-07-28).
const PARAMETER: &str = "mcp-param-";
/// Such fields that a page may ask for at once.
const PARAMETERS_MAX: usize = 32;
/// Bytes of such a name.
const PARAMETER_BYTES_MAX: usize = 128;
/// Seconds for which a browser may remember a preflight.
const MAX_AGE_S: &str = "600";

/// Who may read the answer to this request: the page at its one origin, when the server allows that.
pub(crate) fn readers(snapshot: &Snapshot, server: Option<&Server>, head: &Head) -> Readers {
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return Readers::default();
    };
    let server = server.or_else(|| snapshot.server_at(&head.path, &head.host).map(|server| &**server));
    let allowed = match (server, origin.to_str()) {
        (Some(server), Ok(text)) => server.accepts_origin(text),
        _ => false,
    };
    Readers {
        origin: allowed.then(|| origin.clone()),
    }
}

/// Whether the request asks what a page may send.
pub(crate) fn is_preflight(head: &Head) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of an allowed origin; `None` for any other.
pub(crate) fn preflight(readers: &Readers, head: &Head, methods: &'static str) -> Option<ResponseHeader> {
    readers.origin.as_ref()?;
    let mut header = egress::empty_head(204, readers)?;
    let fields = [
        (ACCESS_CONTROL_ALLOW_METHODS, methods),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
        (VARY, "origin, access-control-request-headers"),
    ];
    for (name, value) in fields {
        header.insert_header(name, HeaderValue::from_static(value)).ok()?;
    }
    let mut allowed = String::from(ALLOWED_HEADERS);
    for name in parameters(head) {
        allowed.push_str(", ");
        allowed.push_str(name.as_str());
    }
    let allowed = HeaderValue::from_str(&allowed).ok()?;
    header.insert_header(ACCESS_CONTROL_ALLOW_HEADERS, allowed).ok()?;
    Some(header)
}

/// The fields of tools' parameters that a page asks for: each tool has its own, so they are allowed by their form.
fn parameters(head: &Head) -> impl Iterator<Item = HeaderName> {
    let lists = head.headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = lists.flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    names
        .map(<[u8]>::trim_ascii)
        .filter(|name| name.len() <= PARAMETER_BYTES_MAX)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| {
            name.as_str()
                .strip_prefix(PARAMETER)
                .is_some_and(|rest| !rest.is_empty())
        })
        .take(PARAMETERS_MAX)
}
