//! What a client asks for by an HTTP method alone: GET opens a stream for messages of the server, DELETE ends a session
//! (MCP 2025-03-26 to 2025-11-25, streamable HTTP).
//!
//! Owns [`read_http`]. The modern era has neither. Nothing is resumed: what the client has seen of a stream that broke off
//! nobody can tell, and its records are closed.

use http::HeaderName;

use super::message::Context;
use super::{Call, Method, ProtocolVersion, call, mirror};
use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;

/// The field by which a client says what it has seen of a stream.
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Reads a GET or DELETE as the call that it stands for.
///
/// # Errors
/// [`DenyReason::HttpMethod`] in the modern era and for other methods; [`DenyReason::ResumptionRefused`] for a stream that
/// is to go on; [`DenyReason::RpcInvalid`] for one with a body, and for a DELETE of no session;
/// [`DenyReason::HeaderMismatch`], [`DenyReason::HeadMalformed`] and [`DenyReason::VersionUnsupported`] as for a call.
pub(crate) fn read_http<'b>(head: &RequestHead<'b>, body: &[u8]) -> Result<Call<'b>, Denial> {
    let context = Context {
        modern: false,
        id: None,
    };
    let version = match head.single(&mirror::PROTOCOL_VERSION) {
        Ok(None) => ProtocolVersion::V2025_03_26,
        Ok(Some(text)) if ProtocolVersion::claims_modern(text) => return Err(not_of_this_era()),
        Ok(Some(text)) => call::legacy(text, context)?,
        Err(_) => {
            return Err(context.deny(
                DenyReason::HeaderMismatch,
                "the version header is repeated or not ascii",
            ));
        }
    };
    let method = match *head.method {
        http::Method::GET => Method::HttpListen,
        http::Method::DELETE => Method::HttpTerminate,
        _ => return Err(not_of_this_era()),
    };
    mirror::method(head, version, None, context)?;
    mirror::name(head, version, None, context)?;
    let session = call::session(head, context)?;
    if head.headers.contains_key(&LAST_EVENT_ID) {
        return Err(context.deny(
            DenyReason::ResumptionRefused,
            "the request would have a stream go on where it broke off",
        ));
    }
    if !body.is_empty() {
        return Err(context.deny(DenyReason::RpcInvalid, "a request without a call has a body"));
    }
    if method == Method::HttpTerminate && session.is_none() {
        return Err(context.deny(DenyReason::RpcInvalid, "the request ends a session and names none"));
    }
    Ok(Call::bare(version, method, session))
}

#[cold]
fn not_of_this_era() -> Denial {
    let mut denial = Denial::new(DenyReason::HttpMethod, "the era has no other method than POST");
    denial.modern = true;
    denial
}
