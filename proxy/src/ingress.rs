//! What comes in from a client: the head, checked on its raw bytes, and the body, bounded (stages 1 and 5).
//!
//! Owns the checks that Pingora leaves to us: one framing, limits and total deadlines (RFC 9112), and who is believed
//! about where a request came from. Never answers, and never prints what it read: a malformed head may hold a token.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Version};
use pingora_core::ErrorType;
use pingora_core::protocols::http::ServerSession;
use portcullis_core::config::Limits;
use portcullis_core::denial::{Denial, DenyReason};
use portcullis_core::gate::Gate;
use portcullis_core::head::{ClientCertificate, RequestHead};

use crate::clock;
use crate::trust::PeerChain;

mod farewell;
mod forwarded;
mod frames;
mod framing;
mod guard;
mod hop;

use forwarded::Origin;
pub(crate) use forwarded::{Family, TrustedProxies};
pub(crate) use guard::Guarded;
pub(crate) use hop::{CertificateForm, Hop, TrustedHops};

/// What is read from a client that was refused before its body had ended, so that it can read the answer: many write
/// their whole body before they look at one.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long that may take.
const LINGER_DEADLINE: Duration = Duration::from_secs(2);
/// The same after a head that could not be read, where bytes come one by one.
const LINGER_HEAD_BYTES_MAX: usize = 1024 * 1024;
/// How long that may take.
const LINGER_HEAD_DEADLINE: Duration = Duration::from_millis(500);
/// Bytes reserved at once for a body of unknown or larger length.
const BODY_RESERVE_BYTES: usize = 64 * 1024;
/// What the HTTP parser says of more fields than it has room for.
const PARSER_TOO_MANY_FIELDS: &str = "too many headers";

/// A request's head, owned: it outlives the reading of the body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) version: Version,
    query: Option<String>,
    pub(crate) host: String,
    client_ip: IpAddr,
    in_the_clear: bool,
    certificate: Option<ClientCertificate>,
    framing: Framing,
}

/// How the body is delimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Framing {
    /// By chunks, or by the end of an HTTP/2 stream.
    Open,
    /// By its declared length.
    Length(u64),
}

/// Why nothing could be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The client has gone; nobody is there to answer.
    Gone,
    /// The client is there and is refused.
    Refused(Denial),
}

impl Head {
    /// The head as the core judges it.
    pub(crate) fn view(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            host: &self.host,
            headers: &self.headers,
            client_ip: self.client_ip,
            certificate: self.certificate.as_ref(),
        }
    }

    /// The token of the one `Authorization` field, whatever its scheme; the core has verified it.
    pub(crate) fn token(&self) -> Option<&str> {
        let value = self.headers.get(AUTHORIZATION)?.to_str().ok()?;
        Some(value.trim().split_once(' ')?.1.trim())
    }

    /// Whether the client waits for `100 Continue` before it sends its body (RFC 9110 section 10.1.1).
    fn expects_continue(&self) -> bool {
        self.version == Version::HTTP_11 && self.headers.contains_key(EXPECT)
    }

    /// Whether a trusted proxy says that the client came to it without TLS.
    pub(crate) fn came_in_the_clear(&self) -> bool {
        self.in_the_clear
    }
}

/// Waits for the head of the next request.
///
/// # Errors
/// [`ReadError::Gone`] when the client leaves between requests; a refusal when what it sent is no head.
pub(crate) async fn await_head(session: &mut ServerSession) -> Result<(), ReadError> {
    Guarded::head_comes(session);
    let read = session.read_request().await;
    let failure = Guarded::failure(session);
    match (read, failure) {
        (Ok(true), _) => {
            Guarded::head_came(session);
            Ok(())
        }
        (Ok(false), guard::Failure::Other) => Err(ReadError::Gone),
        (_, guard::Failure::TimedOut) => Err(ReadError::Refused(Denial::new(
            DenyReason::BodyTimeout,
            "the head did not arrive within its deadline",
        ))),
        (_, guard::Failure::TooLarge(complaint)) => Err(too_large(complaint)),
        (_, guard::Failure::Malformed(complaint)) => Err(ReadError::Refused(malformed(complaint))),
        (Err(error), guard::Failure::Other) => {
            // The error carries up to 2,048 bytes of the head: only the parser's own words are looked at.
            match error.root_cause().to_string() == PARSER_TOO_MANY_FIELDS {
                true => Err(too_large("the head has more fields than the parser takes")),
                false => Err(ReadError::Refused(malformed("the head is not HTTP"))),
            }
        }
    }
}

/// Counts the refusal of a head that nobody could read, by its peer alone.
pub(crate) fn count_unread(gate: &Gate, session: &ServerSession, denial: Denial) -> Denial {
    let (method, headers) = (Method::GET, HeaderMap::new());
    let head = RequestHead {
        method: &method,
        path: "",
        query: None,
        host: "",
        headers: &headers,
        client_ip: peer_ip(session),
        certificate: None,
    };
    gate.begin(clock::now()).refuse(&head, denial)
}

/// When the head that has arrived began to, in ticks: waiting for it is no part of the request. Now, where several
/// requests share the connection and nobody can tell.
pub(crate) fn head_began_ns(session: &ServerSession) -> u64 {
    Guarded::head_began_ns(session).unwrap_or_else(clock::ticks_ns)
}

/// Checks the head that has arrived and takes what the core needs of it.
///
/// # Errors
/// [`DenyReason::HeadMalformed`] or [`DenyReason::HeadTooLarge`].
pub(crate) fn take_head(session: &ServerSession, limits: &Limits, hops: &TrustedHops) -> Result<Head, Denial> {
    let header = session.req_header();
    if limits.headers_max < header.headers.len() {
        return Err(Denial::new(DenyReason::HeadTooLarge, "the head has too many fields"));
    }
    let framing = framing_of(&header.headers)?;
    let authority = header.uri.authority().filter(|_| session.is_http2());
    let host = host_of(&header.headers, authority.map(|authority| authority.as_str()))?;
    let peer = peer_ip(session);
    let Origin {
        client_ip,
        host: told,
        in_the_clear,
    } = hops.origin(peer, &header.headers)?;
    let host = told.unwrap_or(host);
    let certificate = certificate_of(session, hops)?;
    Ok(Head {
        method: header.method.clone(),
        path: header.uri.path().to_owned(),
        headers: header.headers.clone(),
        version: header.version,
        query: header.uri.query().map(str::to_owned),
        host: host.to_owned(),
        client_ip,
        in_the_clear,
        certificate,
        framing,
    })
}

/// The client's certificate as it is trusted now: that of the peer, or what a trusted hop tells.
///
/// # Errors
/// [`DenyReason::HeadMalformed`] when a hop tells two, or one that is none.
pub(crate) fn certificate_of(session: &ServerSession, hops: &TrustedHops) -> Result<Option<ClientCertificate>, Denial> {
    let headers = &session.req_header().headers;
    hops.certificate(peer_ip(session), headers, || own_certificate(session))
}

fn peer_ip(session: &ServerSession) -> IpAddr {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip())
}

/// The certificate that the peer has shown on its connection, as it is trusted now.
fn own_certificate(session: &ServerSession) -> Option<ClientCertificate> {
    let digest = session.digest().and_then(|digest| digest.ssl_digest.as_ref())?;
    if let Some(chain) = digest.extension.get::<PeerChain>() {
        return Some(chain.certificate(clock::now()));
    }
    // The chain is kept with every connection that has one; without it nothing can be judged.
    digest
        .cert_digest
        .as_slice()
        .try_into()
        .ok()
        .map(|sha256| ClientCertificate {
            sha256,
            identity: None,
            refused: Some("the chain of the client's certificate was not kept"),
        })
}

/// The host that is asked for, empty when none is: by `:authority`, else by `Host`. Two that differ are none, for two
/// readers could take either (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
fn host_of<'h>(headers: &'h HeaderMap, authority: Option<&'h str>) -> Result<&'h str, Denial> {
    let mut fields = headers.get_all(HOST).iter();
    match (authority, fields.next(), fields.next()) {
        (_, _, Some(_)) => Err(malformed("the head has more than one `Host`")),
        (Some(authority), Some(field), None) if !field.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            Err(malformed("`:authority` and `Host` differ"))
        }
        (Some(authority), _, None) => Ok(authority),
        (None, field, None) => Ok(field.and_then(|field| field.to_str().ok()).unwrap_or_default()),
    }
}

/// How the body is delimited; anything that two readers could read in two ways is malformed.
fn framing_of(headers: &HeaderMap) -> Result<Framing, Denial> {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (encodings.next(), encodings.next(), lengths.next(), lengths.next()) {
        (None, None, None, None) => Ok(Framing::Open),
        (Some(encoding), None, None, None) if encoding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Framing::Open),
        (None, None, Some(length), None) => {
            let digits = length
                .to_str()
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            match digits.and_then(|text| text.parse().ok()) {
                Some(length) => Ok(Framing::Length(length)),
                None => Err(malformed("the content length is no number")),
            }
        }
        _ => Err(malformed("the body is delimited in an unknown way or more than once")),
    }
}

/// Reads the whole body, or refuses it before more than the limit is held.
///
/// Asks for the body with `100 Continue` when the client waits for that, so call it after authentication only.
///
/// # Errors
/// [`DenyReason::BodyTooLarge`], [`DenyReason::BodyTimeout`], [`DenyReason::HeadMalformed`] for a body that breaks
/// its framing; [`ReadError::Gone`] when the client left.
pub(crate) async fn read_body(session: &mut ServerSession, head: &Head, limits: &Limits) -> Result<Bytes, ReadError> {
    if let Framing::Length(declared) = head.framing
        && u64::try_from(limits.body_bytes_max).unwrap_or(u64::MAX) < declared
    {
        return Err(body_too_large());
    }
    if head.expects_continue() && !session.is_body_done() && session.write_continue_response().await.is_err() {
        return Err(ReadError::Gone);
    }
    let read = read_to_end(session, head.framing, limits.body_bytes_max);
    match tokio::time::timeout(limits.body_deadline, read).await {
        Ok(read) => read,
        Err(_) => Err(ReadError::Refused(Denial::new(
            DenyReason::BodyTimeout,
            "the body did not arrive within its deadline",
        ))),
    }
}

async fn read_to_end(session: &mut ServerSession, framing: Framing, bytes_max: usize) -> Result<Bytes, ReadError> {
    let Some(first) = next_piece(session).await? else {
        return body_of(Bytes::new(), framing);
    };
    if bytes_max < first.len() {
        return Err(body_too_large());
    }
    let Some(second) = next_piece(session).await? else {
        // The whole body in one read: no copy.
        return body_of(first, framing);
    };
    let declared = match framing {
        Framing::Length(declared) => usize::try_from(declared).unwrap_or(usize::MAX),
        Framing::Open => BODY_RESERVE_BYTES,
    };
    let mut body = BytesMut::with_capacity(declared.min(BODY_RESERVE_BYTES));
    body.extend_from_slice(&first);
    let mut piece = Some(second);
    while let Some(bytes) = piece {
        if bytes_max.saturating_sub(body.len()) < bytes.len() {
            return Err(body_too_large());
        }
        body.extend_from_slice(&bytes);
        piece = next_piece(session).await?;
    }
    body_of(body.freeze(), framing)
}

/// The body, if it is as long as was declared: HTTP/1 cannot end otherwise, an HTTP/2 stream could.
fn body_of(body: Bytes, framing: Framing) -> Result<Bytes, ReadError> {
    match framing {
        Framing::Length(declared) if u64::try_from(body.len()) != Ok(declared) => {
            Err(ReadError::Refused(malformed("the body is not as long as declared")))
        }
        _ => Ok(body),
    }
}

async fn next_piece(session: &mut ServerSession) -> Result<Option<Bytes>, ReadError> {
    match session.read_request_body().await {
        // Trailers stand behind the data: the stream has more, but no more of that.
        Ok(None) if session.is_http2() && !session.is_body_done() => {
            Err(ReadError::Refused(malformed("trailers follow the body")))
        }
        Ok(piece) => Ok(piece),
        // Torn off, unless the wrapper says otherwise: the refusal may find nobody.
        Err(_) => Err(ReadError::Refused(malformed(match Guarded::failure(session) {
            guard::Failure::Malformed(complaint) => complaint,
            _ => "the body breaks off",
        }))),
    }
}

/// Returns when the client has gone, or has sent what must not come before its answer.
pub(crate) async fn gone(session: &mut ServerSession) {
    // Ok is never returned once the body has ended, and an error tells nothing more than that the client is lost.
    let _ = session.read_body_or_idle(true).await;
}

/// Whether the request was read to its end, and nothing came of it that has no reading.
pub(crate) fn is_whole(session: &mut ServerSession) -> bool {
    session.is_body_done() && Guarded::failure(session) == guard::Failure::Other
}

/// Reads on for a moment after a refusal: closing with unread bytes would reset the connection, and the client
/// would lose the answer. The connection is closed afterwards.
pub(crate) async fn linger(session: &mut ServerSession) {
    if Guarded::failure(session) == guard::Failure::Other {
        let drain = async {
            let mut seen = 0_usize;
            while let Ok(Some(piece)) = session.read_request_body().await {
                seen = seen.saturating_add(piece.len());
                if LINGER_BYTES_MAX < seen {
                    return;
                }
            }
        };
        // However much was read, the client has had its moment.
        let _ = tokio::time::timeout(LINGER_DEADLINE, drain).await;
    } else {
        drain_bytes(session).await;
    }
    close(session).await;
}

/// The same after a head that could not be read, when there is no body to speak of: Pingora would panic.
pub(crate) async fn linger_without_head(session: &mut ServerSession) {
    Guarded::head_came(session);
    drain_bytes(session).await;
    close(session).await;
}

/// Reads what has no reading, and drops it.
async fn drain_bytes(session: &mut ServerSession) {
    let drain = async {
        for _ in 0..LINGER_HEAD_BYTES_MAX {
            // One byte is read at a time; this error says that there was one.
            match session.read_body_or_idle(true).await {
                Err(error) if *error.etype() == ErrorType::ConnectError => {}
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_HEAD_DEADLINE, drain).await;
}

/// Ends an HTTP/1 connection; an HTTP/2 stream has ended with its answer, and shutting it down would reset it.
async fn close(session: &mut ServerSession) {
    if !session.is_http2() {
        session.shutdown().await;
    }
}

#[cold]
#[inline(never)]
fn malformed(operator: &'static str) -> Denial {
    Denial::new(DenyReason::HeadMalformed, operator)
}

#[cold]
#[inline(never)]
fn too_large(operator: &'static str) -> ReadError {
    ReadError::Refused(Denial::new(DenyReason::HeadTooLarge, operator))
}

#[cold]
#[inline(never)]
fn body_too_large() -> ReadError {
    ReadError::Refused(Denial::new(DenyReason::BodyTooLarge, "the body exceeds its byte limit"))
}

#[cfg(test)]
mod tests;
