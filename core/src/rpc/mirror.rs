//! The headers that repeat parts of the body: `Mcp-Method`, `Mcp-Name`, `Mcp-Param-*` (MCP 2026-07-28, streamable HTTP).
//!
//! Owns their comparison with the body. A header is never trusted in place of the body: the upstream may route by one
//! and act on the other, so both must say the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderName;

use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;

use super::message::Context;
use super::{Method, ProtocolVersion};

mod params;

pub use params::ParamFault;
pub(crate) use params::{ParamHeader, compare as compare_params, is_param, read_schema};

/// `MCP-Protocol-Version`
pub(super) static PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Session-Id`
pub(super) static SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
static METHOD: HeaderName = HeaderName::from_static("mcp-method");
static NAME: HeaderName = HeaderName::from_static("mcp-name");
const PARAM_PREFIX: &str = "mcp-param-";

/// Checks `Mcp-Method` against the body's method (`None` for an answer, which has none to repeat), and that no
/// `Mcp-Param-*` stands beside anything but a tool's call: which argument such a header repeats says the tool's schema,
/// by which [`compare_params`] judges it.
pub(super) fn method(
    head: &RequestHead<'_>,
    version: ProtocolVersion,
    method: Option<&str>,
    context: Context<'_>,
) -> Result<(), Denial> {
    if method != Some(Method::ToolsCall.as_str()) && params::present(head) {
        return Err(context.deny(
            DenyReason::HeaderMismatch,
            "a parameter header stands at what calls no tool",
        ));
    }
    match head.single(&METHOD) {
        Ok(Some(value)) if Some(value) == method => Ok(()),
        Ok(None) if !version.is_modern() => Ok(()),
        Ok(None) => Err(context.deny(DenyReason::HeaderMismatch, "the method header is missing")),
        Ok(Some(_)) => Err(context.deny(DenyReason::HeaderMismatch, "the method header differs from the body")),
        Err(_) => Err(context.deny(DenyReason::HeaderMismatch, "the method header is repeated or not ascii")),
    }
}

/// Checks `Mcp-Name` against what the call names; `None` when the method has no name to repeat.
pub(super) fn name(
    head: &RequestHead<'_>,
    version: ProtocolVersion,
    named: Option<&str>,
    context: Context<'_>,
) -> Result<(), Denial> {
    match (head.single(&NAME), named) {
        (Ok(Some(value)), Some(named)) if says(value, named) => Ok(()),
        (Ok(None), None) => Ok(()),
        (Ok(None), Some(_)) if !version.is_modern() => Ok(()),
        (Ok(None), Some(_)) => Err(context.deny(DenyReason::HeaderMismatch, "the name header is missing")),
        (Ok(Some(_)), _) => Err(context.deny(DenyReason::HeaderMismatch, "the name header differs from the body")),
        (Err(_), _) => Err(context.deny(DenyReason::HeaderMismatch, "the name header is repeated or not ascii")),
    }
}

/// Whether a header's value stands for `text`: literally, or as `=?base64?..?=` in canonical base64. A value that
/// looks like the second form is never taken literally, and one that is too long for `text` is never decoded.
fn says(value: &str, text: &str) -> bool {
    let encoded = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    match encoded {
        None => value == text,
        Some(encoded) if encoded.len() != text.len().div_ceil(3).saturating_mul(4) => false,
        Some(encoded) => STANDARD.decode(encoded).is_ok_and(|decoded| decoded == text.as_bytes()),
    }
}
