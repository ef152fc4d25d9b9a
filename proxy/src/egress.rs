//! What goes out to a client: heads and bodies of answers (stage 14).
//!
//! Owns the header fields of our answers: an allow-list, so that nothing else of an upstream's head leaves. Never
//! decides what is sent, and knows no refusal: those are `respond`'s.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE,
    HeaderName, RETRY_AFTER, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderValue, Version};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use portcullis_core::head::end_to_end;
use portcullis_core::record_id::RecordId;

use crate::respond::record_id_name;

/// The client does not take the answer any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ClientLost;

/// Which browser pages may read the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers {
    /// The page's origin, when it is an allowed one.
    pub(crate) origin: Option<HeaderValue>,
}

/// The field that names a session, on both sides.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// What a page may read of the head of an answer.
const EXPOSED: &str =
    "www-authenticate, dpop-nonce, mcp-session-id, portcullis-record-id, mcp-protocol-version, retry-after";

/// What of an upstream's head may leave, beside its session and the type of its body, which are the gate's to say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passed {
    /// How it may be kept; `None` for not at all.
    caching: Option<HeaderValue>,
    further: Vec<(HeaderName, HeaderValue)>,
}

impl Passed {
    /// Picks it; `further` are the fields of the configuration. What is not [`end_to_end`] is left out.
    pub(crate) fn of(headers: &HeaderMap, further: &[HeaderName]) -> Self {
        let names = std::iter::once(&RETRY_AFTER).chain(further);
        Self {
            caching: end_to_end(headers, &CACHE_CONTROL)
                .filter(|value| is_private(value))
                .cloned(),
            further: names
                .filter_map(|name| Some((name.clone(), end_to_end(headers, name)?.clone())))
                .collect(),
        }
    }

    fn write(&self, header: &mut ResponseHeader) -> Option<()> {
        if let Some(caching) = &self.caching {
            header.insert_header(CACHE_CONTROL, caching.clone()).ok()?;
        }
        for (name, value) in &self.further {
            header.insert_header(name.clone(), value.clone()).ok()?;
        }
        Some(())
    }
}

/// Whether no shared cache may keep the answer (RFC 9111 section 3): it was judged for one caller.
fn is_private(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    let mut directives = text.split(',').map(str::trim);
    let names = |name: &str| {
        let name = name.to_owned();
        move |directive: &str| directive.eq_ignore_ascii_case(&name)
    };
    let kept = directives.clone().any(names("no-store")) || directives.clone().any(names("private"));
    kept && !directives.any(names("public"))
}

/// What every judged answer carries beside its body.
#[derive(Clone, Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) record_id: RecordId,
    /// The session, as the gate lets the client know it.
    pub(crate) session: Option<HeaderValue>,
    pub(crate) passed: &'a Passed,
    pub(crate) readers: &'a Readers,
    /// When the request began to arrive, in ticks.
    pub(crate) began_ns: u64,
}

impl Judged<'_> {
    fn write(&self, header: &mut ResponseHeader) -> Option<()> {
        let mut buffer = [0; 36];
        let record_id = HeaderValue::from_str(self.record_id.encode(&mut buffer)).ok()?;
        header.insert_header(record_id_name(), record_id).ok()?;
        if let Some(session) = &self.session {
            header.insert_header(SESSION, session.clone()).ok()?;
        }
        self.passed.write(header)
    }
}

/// The head of an answer of ours with a body of known length; `None` only for a status that is none.
pub(crate) fn head(
    status: u16,
    media_type: &'static str,
    body_bytes: usize,
    readers: &Readers,
) -> Option<ResponseHeader> {
    let mut header = bare_head(status, readers)?;
    header
        .insert_header(CONTENT_TYPE, HeaderValue::from_static(media_type))
        .ok()?;
    header
        .insert_header(CONTENT_LENGTH, HeaderValue::from(body_bytes))
        .ok()?;
    Some(header)
}

/// The head of an answer without a body.
pub(crate) fn empty_head(status: u16, readers: &Readers) -> Option<ResponseHeader> {
    let mut header = bare_head(status, readers)?;
    if status != 204 {
        header.insert_header(CONTENT_LENGTH, HeaderValue::from(0)).ok()?;
    }
    Some(header)
}

fn bare_head(status: u16, readers: &Readers) -> Option<ResponseHeader> {
    let mut header = ResponseHeader::build_no_case(status, Some(10)).ok()?;
    header
        .insert_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .ok()?;
    if let Some(origin) = &readers.origin {
        header.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()).ok()?;
        let exposed = HeaderValue::from_static(EXPOSED);
        header.insert_header(ACCESS_CONTROL_EXPOSE_HEADERS, exposed).ok()?;
        header.insert_header(VARY, HeaderValue::from_static("origin")).ok()?;
    }
    Some(header)
}

/// Writes a head and the whole body.
///
/// # Errors
/// [`ClientLost`] when the client does not take it.
pub(crate) async fn write_whole(
    session: &mut ServerSession,
    header: ResponseHeader,
    body: Bytes,
) -> Result<(), ClientLost> {
    session
        .write_response_header(Box::new(header))
        .await
        .or(Err(ClientLost))?;
    session.write_response_body(body, true).await.or(Err(ClientLost))
}

/// Writes a judged JSON answer.
///
/// # Errors
/// [`ClientLost`] when the client does not take it.
pub(crate) async fn json(
    session: &mut ServerSession,
    status: u16,
    body: Bytes,
    judged: &Judged<'_>,
) -> Result<(), ClientLost> {
    let mut header = head(status, "application/json", body.len(), judged.readers).ok_or(ClientLost)?;
    judged.write(&mut header).ok_or(ClientLost)?;
    write_whole(session, header, body).await
}

/// Writes a judged answer that is a status alone.
///
/// # Errors
/// [`ClientLost`] when the client does not take it.
pub(crate) async fn empty(session: &mut ServerSession, status: u16, judged: &Judged<'_>) -> Result<(), ClientLost> {
    let mut header = empty_head(status, judged.readers).ok_or(ClientLost)?;
    judged.write(&mut header).ok_or(ClientLost)?;
    write_whole(session, header, Bytes::new()).await
}

/// Writes the head of a judged event stream.
///
/// # Errors
/// [`ClientLost`] when the client does not take it.
pub(crate) async fn open_stream(session: &mut ServerSession, judged: &Judged<'_>) -> Result<(), ClientLost> {
    let header = stream_head(session.req_header().version, judged).ok_or(ClientLost)?;
    session
        .write_response_header(Box::new(header))
        .await
        .or(Err(ClientLost))
}

fn stream_head(version: Version, judged: &Judged<'_>) -> Option<ResponseHeader> {
    let mut header = bare_head(200, judged.readers)?;
    header
        .insert_header(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))
        .ok()?;
    header
        .insert_header("x-accel-buffering", HeaderValue::from_static("no"))
        .ok()?;
    if version == Version::HTTP_11 {
        header
            .insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))
            .ok()?;
    }
    judged.write(&mut header)?;
    Some(header)
}

/// Writes a piece of an open stream; the last one ends it.
///
/// # Errors
/// [`ClientLost`] when the client does not take it within the write deadline.
pub(crate) async fn piece(session: &mut ServerSession, bytes: Bytes, last: bool) -> Result<(), ClientLost> {
    session.write_response_body(bytes, last).await.or(Err(ClientLost))
}

#[cfg(test)]
mod tests;
