//! The headers that a client would send with a body, derived from the body: for whoever looks at a body alone.
//!
//! Owns nothing of a judgement: what is derived is compared with the body as any client's headers are, and a body that
//! cannot be read derives none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::keys::META_VERSION;
use super::method::Names;
use super::{Method, ProtocolVersion};
use crate::json::{self, Node, Scratch};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The headers for `body`: the version that its `_meta` names, else `otherwise`, and in the modern era what repeats its
/// method and name (MCP 2026-07-28, streamable HTTP).
pub(crate) fn headers_of(
    body: &[u8],
    otherwise: ProtocolVersion,
    scratch: &mut Scratch,
    limits: json::Limits,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(VERSION, HeaderValue::from_static(otherwise.as_str()));
    let Ok(document) = json::parse(body, scratch, limits) else {
        return headers;
    };
    let root = document.root();
    let params = root.member("params");
    let stated = params.and_then(|params| params.member("_meta")?.member(META_VERSION)?.as_str());
    if let Some(value) = stated.and_then(|stated| HeaderValue::from_str(stated).ok()) {
        headers.insert(VERSION, value);
    }
    if !stated.is_some_and(ProtocolVersion::claims_modern) {
        return headers;
    }
    let Some(method) = root.member("method").and_then(Node::as_str) else {
        return headers;
    };
    if let Ok(value) = HeaderValue::from_str(method) {
        headers.insert(METHOD, value);
    }
    let named = Method::parse(method).and_then(name_of);
    let named = named.and_then(|key| params?.member(key)?.as_str());
    // The encoded form says any name exactly.
    if let Some(name) = named
        && let Ok(value) = HeaderValue::from_str(&format!("=?base64?{}?=", STANDARD.encode(name)))
    {
        headers.insert(NAME, value);
    }
    headers
}

/// The parameter that `Mcp-Name` repeats.
fn name_of(method: Method) -> Option<&'static str> {
    match method.row().names {
        Names::Prompt | Names::Tool => Some("name"),
        Names::Resource if method == Method::ResourcesRead => Some("uri"),
        Names::Task => Some("taskId"),
        Names::Nothing | Names::Reference | Names::Resource | Names::Subscriptions => None,
    }
}
