//! Connections that carry no call: whether an endpoint is well, and what it says to a stranger.
//!
//! Owns what is told of an endpoint's changes, and how it is asked. Never shows a credential, nor anything of a client's;
//! a stranger's question is made without the gate's certificate too. Bounded in time and bytes; keeps no connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::ErrorType;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_http::RequestHeader;
use portcullis_core::config::Endpoint;

use super::endpoint::{As, EndpointState, peer};
use super::{CONNECT_DEADLINE, INTERIM_HEADS_MAX, Upstreams, skip_interim_heads};
use crate::egress::SESSION;

/// Bytes of an answer to a stranger that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What an endpoint said to a stranger.
#[derive(Debug)]
pub(crate) struct Told {
    /// The status.
    pub(crate) status: u16,
    /// Whether it did what was asked: a result, or a stream of events.
    pub(crate) serves: bool,
    /// The session that it opened.
    pub(crate) session: Option<HeaderValue>,
}

/// A question of a stranger.
pub(crate) struct Question<'q> {
    /// The HTTP method.
    pub(crate) method: &'static str,
    /// Fields beside the framing and the media types.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub(crate) body: &'q str,
}

impl Upstreams {
    /// Connects, with TLS where the endpoint has it, and asks for a page where one is named: a status of 2xx is well.
    ///
    /// # Errors
    /// Why not, for the operator.
    pub(crate) async fn check(&self, endpoint: &Endpoint, path: Option<&str>) -> Result<(), String> {
        let mut reason = String::from("it has no address");
        for address in &endpoint.addresses {
            let mut peer = peer(endpoint, *address, As::Gate);
            if path.is_some() {
                peer.options.alpn = ALPN::H1;
            }
            let stream = match self.probes.new_stream(&peer).await {
                Ok(stream) => stream,
                Err(error) => {
                    reason = reason_of(&error);
                    continue;
                }
            };
            let Some(path) = path else {
                return Ok(());
            };
            let page = page(HttpSession::new(stream), endpoint, path);
            match tokio::time::timeout(CONNECT_DEADLINE, page).await {
                Ok(Ok(status)) if (200..300).contains(&status) => return Ok(()),
                Ok(Ok(status)) => reason = format!("the status of its page is {status}"),
                Ok(Err(error)) => reason = error,
                Err(_) => reason = String::from("its page did not come in time"),
            }
        }
        Err(reason)
    }

    /// Asks as a stranger does, who has neither a credential nor a certificate.
    ///
    /// # Errors
    /// Why there was no answer, for the operator.
    pub(crate) async fn ask(
        &self,
        endpoint: &Endpoint,
        question: &Question<'_>,
        deadline: Duration,
    ) -> Result<Told, String> {
        let mut reason = String::from("it has no address");
        for address in &endpoint.addresses {
            let peer = peer(endpoint, *address, As::Stranger);
            let asked = async {
                let (mut session, _) = self
                    .connector
                    .get_http_session(&peer)
                    .await
                    .map_err(|error| reason_of(&error))?;
                let head = head(endpoint, question).ok_or("the question is no HTTP request")?;
                let broke_off = |_| String::from("it broke off");
                session.write_request_header(Box::new(head)).await.map_err(broke_off)?;
                let body = Bytes::copy_from_slice(question.body.as_bytes());
                session.write_request_body(body, true).await.map_err(broke_off)?;
                session.finish_request_body().await.map_err(broke_off)?;
                skip_interim_heads(&mut session).await.ok_or("it broke off")?;
                let answer = session.response_header().ok_or("it broke off")?;
                let (status, opened) = (answer.status, answer.headers.get(SESSION).cloned());
                let stream = answer.headers.get(CONTENT_TYPE).is_some_and(is_event_stream);
                let mut body = BytesMut::new();
                while !stream
                    && status == StatusCode::OK
                    && body.len() < ANSWER_BYTES_MAX
                    && let Some(piece) = session.read_response_body().await.map_err(broke_off)?
                {
                    body.extend_from_slice(&piece);
                }
                Ok(Told {
                    status: status.as_u16(),
                    serves: status == StatusCode::OK && (stream || is_result(&body)),
                    session: opened,
                })
            };
            match tokio::time::timeout(deadline, asked).await {
                Ok(Ok(told)) => return Ok(told),
                Ok(Err(error)) => reason = error,
                Err(_) => reason = String::from("it did not answer in time"),
            }
        }
        Err(reason)
    }
}

/// Whether a JSON body is anything but an error of JSON-RPC: what is not understood counts as served.
fn is_result(body: &[u8]) -> bool {
    let message: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    message.is_none_or(|message| message.get("error").is_none())
}

fn is_event_stream(value: &HeaderValue) -> bool {
    let media_type = value.to_str().unwrap_or_default().split(';').next();
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("text/event-stream"))
}

fn head(endpoint: &Endpoint, question: &Question<'_>) -> Option<RequestHeader> {
    let mut head = RequestHeader::build_no_case(question.method, endpoint.path.as_bytes(), Some(8)).ok()?;
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    head.insert_header(ACCEPT, accept).ok()?;
    head.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .ok()?;
    for (name, value) in &question.headers {
        head.insert_header(name.clone(), value.clone()).ok()?;
    }
    head.insert_header(HOST, HeaderValue::from_str(&endpoint.authority).ok()?)
        .ok()?;
    head.insert_header(CONTENT_LENGTH, HeaderValue::from(question.body.len()))
        .ok()?;
    Some(head)
}

/// The status of a page.
async fn page(mut session: HttpSession, endpoint: &Endpoint, path: &str) -> Result<u16, String> {
    let built = RequestHeader::build_no_case("GET", path.as_bytes(), Some(1));
    let mut head = built.map_err(|_| String::from("its page has no path"))?;
    let host = HeaderValue::from_str(&endpoint.authority).map_err(|_| String::from("its authority is no host"))?;
    let broke_off = |_| String::from("it broke off instead of its page");
    head.insert_header(HOST, host).map_err(broke_off)?;
    session.write_request_header(Box::new(head)).await.map_err(broke_off)?;
    for _ in 0..INTERIM_HEADS_MAX {
        session.read_response().await.map_err(broke_off)?;
        let status = session.get_status().unwrap_or(StatusCode::SWITCHING_PROTOCOLS);
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(status.as_u16());
        }
    }
    Err(String::from("it sent interim heads without its page"))
}

/// Why no connection came about, in words for the operator. Tells nothing that was sent: nothing was.
pub(super) fn reason_of(error: &pingora_core::Error) -> String {
    let kind = match error.root_etype() {
        ErrorType::ConnectRefused => "the connection was refused",
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => "the connection did not come about in time",
        ErrorType::ConnectNoRoute => "there is no route to it",
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => {
            let cause = error.root_cause().to_string();
            return format!("TLS failed: {}", cause.lines().next().unwrap_or_default().trim());
        }
        other => return format!("the connection failed ({})", other.as_str()),
    };
    kind.to_owned()
}

/// Tells that calls go past an endpoint now.
#[cold]
pub(crate) fn tell_aside(state: &EndpointState, reason: &str) {
    tracing::warn!(
        server = &*state.server,
        endpoint = &*state.label,
        reason,
        "an endpoint is put aside"
    );
}

/// Notes that an endpoint takes connections, and tells it when that is news.
pub(crate) fn note_recovered(state: &EndpointState) {
    if state.health.recovered() {
        tracing::info!(
            server = &*state.server,
            endpoint = &*state.label,
            "an endpoint serves again"
        );
    }
}
