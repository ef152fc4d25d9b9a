//! The exchange with the MCP server behind the gate (stage 10).
//!
//! Owns the connections, the choice among endpoints, the request's head on that side and the reading of answers. Sends
//! what the permit's [`Forward`] holds and nothing else of the client's. Never sends a call twice: only a head that could
//! not be written whole on a pooled connection is tried again, and only an endpoint that took no connection is passed
//! over, since no server has acted on either.

use std::net::SocketAddr;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use portcullis_core::config::{CredentialKind, Endpoint, Limits, Upstream};
use portcullis_core::denial::DenyReason;
use portcullis_core::gate::{Forward, Outcome};
use portcullis_core::session::Keeper;
use zeroize::Zeroizing;

use crate::clock;
use crate::egress::{Passed, SESSION};
use endpoint::{As, EndpointState, Leave};

pub(crate) mod endpoint;
mod own;
pub(crate) mod probe;
mod strict;

/// How long an unused connection is kept: Node closes its side after 5 s, and a call may not be sent again.
const IDLE_DEADLINE: Duration = Duration::from_secs(4);
/// How long one address has to take a connection, TLS included, before the next is tried.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Unused connections kept, all servers together.
const POOL_CONNECTIONS_MAX: usize = 1_024;
/// Pooled connections tried for one call before it fails.
const POOLED_ATTEMPTS_MAX: usize = 3;
/// Interim heads (RFC 9110 section 15.2) that are passed over before one answer.
const INTERIM_HEADS_MAX: usize = 8;
/// Streams on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: usize = 100;
/// Bytes reserved at once for an answer.
const ANSWER_RESERVE_BYTES: usize = 64 * 1024;

/// Why an exchange failed, in words for the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// The answer is not one that can be judged.
    #[error("{0}")]
    AnswerInvalid(&'static str),
    /// The answer exceeds its limit.
    #[error("the upstream's answer exceeds its byte limit")]
    AnswerTooLarge,
    /// The upstream got nothing of the call, answered that it failed, or broke off within its answer.
    #[error("{0}")]
    Failed(&'static str),
    /// The call was sent and no answer came: nobody knows whether the upstream has acted.
    #[error("{0}")]
    Lost(&'static str),
    /// The same, because the time was up.
    #[error("{0}")]
    Silent(&'static str),
    /// The upstream did not take the call, or did not end its answer, in time.
    #[error("{0}")]
    TimedOut(&'static str),
}

impl UpstreamError {
    /// The reason for the client and the line for the operator.
    pub(crate) const fn parts(self) -> (DenyReason, &'static str) {
        match self {
            Self::AnswerInvalid(operator) => (DenyReason::AnswerInvalid, operator),
            Self::AnswerTooLarge => (
                DenyReason::AnswerTooLarge,
                "the upstream's answer exceeds its byte limit",
            ),
            Self::Failed(operator) | Self::Lost(operator) => (DenyReason::UpstreamFailed, operator),
            Self::Silent(operator) | Self::TimedOut(operator) => (DenyReason::UpstreamTimeout, operator),
        }
    }

    /// What the record says of the call.
    pub(crate) const fn outcome(self) -> Outcome {
        match self {
            Self::Lost(_) | Self::Silent(_) => Outcome::Unknown,
            Self::AnswerInvalid(_) | Self::AnswerTooLarge | Self::Failed(_) | Self::TimedOut(_) => {
                Outcome::UpstreamFailed
            }
        }
    }
}

/// In which form an answer comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// As a status alone.
    Empty,
    /// As one JSON document.
    Json,
    /// As an event stream.
    Stream,
}

/// All upstreams' connections.
pub(crate) struct Upstreams {
    connector: Connector,
    /// For connections that carry no call and are kept by nobody.
    probes: TransportConnector,
}

/// An exchange whose answer's head has come.
pub(crate) struct Exchange {
    session: HttpSession,
    peer: HttpPeer,
    /// Who answers.
    pub(crate) keeper: Keeper,
    pub(crate) status: u16,
    pub(crate) form: Form,
    /// The session that the head names; empty when it names several.
    pub(crate) session_id: Option<HeaderValue>,
    pub(crate) passed: Passed,
}

impl Upstreams {
    /// Connections that trust the authorities of their endpoint, or the system's where it has none of its own.
    pub(crate) fn new() -> Self {
        let options = ConnectorOptions::new(POOL_CONNECTIONS_MAX);
        Self {
            connector: Connector::new(Some(options.clone())),
            probes: TransportConnector::new(Some(options)),
        }
    }

    /// Sends the call and waits for the answer's head. `made` is the value of a credential that is made for the call.
    ///
    /// # Errors
    /// [`UpstreamError`] when there is no head in time, or one that cannot be judged.
    pub(crate) async fn send(
        &self,
        forward: &Forward,
        made: Option<HeaderValue>,
        limits: &Limits,
    ) -> Result<Exchange, UpstreamError> {
        let sent = AtomicBool::new(false);
        let exchange = self.exchange(forward, made, limits.header_bytes_max, &sent);
        match tokio::time::timeout(limits.upstream_first_byte_deadline, exchange).await {
            Ok(exchange) => exchange,
            Err(_) if sent.into_inner() => {
                Err(UpstreamError::Silent("the upstream did not answer within its deadline"))
            }
            Err(_) => Err(UpstreamError::TimedOut(
                "the upstream did not take the call within its deadline",
            )),
        }
    }

    /// Keeps the connection for a further call, if the answer was read to its end.
    pub(crate) async fn release(&self, mut exchange: Exchange) {
        if exchange.session.response_done() {
            let Exchange { session, peer, .. } = exchange;
            self.connector
                .release_http_session(session, &peer, Some(IDLE_DEADLINE))
                .await;
        }
    }

    /// `sent` is set before anything is sent that the upstream could act on.
    async fn exchange(
        &self,
        forward: &Forward,
        made: Option<HeaderValue>,
        head_bytes_max: usize,
        sent: &AtomicBool,
    ) -> Result<Exchange, UpstreamError> {
        let (mut session, peer, keeper) = self.begin(forward, made, sent).await?;
        let broke_off = |_| UpstreamError::Lost("the upstream broke off while the call was sent");
        if !forward.body.is_empty() {
            session
                .write_request_body(forward.body.clone(), true)
                .await
                .map_err(broke_off)?;
        }
        session.finish_request_body().await.map_err(broke_off)?;
        let (status, form, session_id, passed) = answer_head(&mut session, forward, head_bytes_max).await?;
        Ok(Exchange {
            session,
            peer,
            keeper,
            status,
            form,
            session_id,
            passed,
        })
    }

    /// Connects and writes the head.
    async fn begin(
        &self,
        forward: &Forward,
        made: Option<HeaderValue>,
        sent: &AtomicBool,
    ) -> Result<(HttpSession, HttpPeer, Keeper), UpstreamError> {
        for _ in 0..POOLED_ATTEMPTS_MAX {
            let Connected {
                mut session,
                peer,
                pooled,
                endpoint,
                address,
            } = self.connect(forward).await?;
            let head = request_head(forward, endpoint, made.clone())
                .ok_or(UpstreamError::Failed("the upstream's path or credential is no header"))?;
            if let Some(state) = EndpointState::of(endpoint) {
                state.health.called();
            }
            sent.store(true, Ordering::Relaxed);
            match session.write_request_header(Box::new(head)).await {
                Ok(()) => {
                    let keeper = Keeper {
                        endpoint: endpoint.id,
                        address,
                    };
                    return Ok((session, peer, keeper));
                }
                // The head was not whole and the body had not begun: nobody can have acted on it.
                Err(_) if pooled => sent.store(false, Ordering::Relaxed),
                Err(_) => break,
            }
        }
        Err(UpstreamError::Failed("the upstream did not take the call"))
    }

    /// A connection to who keeps the call's session, or to the next endpoint that is well.
    async fn connect<'f>(&self, forward: &'f Forward) -> Result<Connected<'f>, UpstreamError> {
        let upstream = forward.upstream();
        if let Some(keeper) = forward.keeper {
            let (endpoint, address) = upstream
                .keeper(keeper)
                .ok_or(UpstreamError::Failed("the endpoint that keeps the session is gone"))?;
            return self
                .reach(endpoint, address, turn(upstream))
                .await
                .ok_or(UpstreamError::Failed(
                    "the endpoint that keeps the session takes no connection",
                ));
        }
        let (turn, count) = (turn(upstream), upstream.endpoints.len());
        let first = turn.checked_rem(count).unwrap_or_default();
        for endpoint in upstream.endpoints.iter().cycle().skip(first).take(count) {
            let turn = turn.checked_div(count).unwrap_or_default();
            if let Some(connected) = self.reach(endpoint, None, turn).await {
                return Ok(connected);
            }
        }
        Err(UpstreamError::Failed("no endpoint of the upstream takes a connection"))
    }

    /// A connection to this address of the endpoint, or to one of all, tried in turn; `None` at once while the endpoint is
    /// put aside.
    async fn reach<'e>(&self, endpoint: &'e Endpoint, only: Option<SocketAddr>, turn: usize) -> Option<Connected<'e>> {
        let state = EndpointState::of(endpoint);
        let leave = match state {
            Some(state) => state.leave(clock::ticks_ns())?,
            None => Leave::Well,
        };
        let addresses = only.as_ref().map_or(&*endpoint.addresses, slice::from_ref);
        let first = turn.checked_rem(addresses.len()).unwrap_or_default();
        let mut reason = String::from("its name has no address");
        for address in addresses.iter().cycle().skip(first).take(addresses.len()) {
            let peer = endpoint::peer(endpoint, *address, As::Gate);
            match self.connector.get_http_session(&peer).await {
                Ok((session, pooled)) => {
                    if let Some(state) = state.filter(|state| !state.is_judged_by_page()) {
                        probe::note_recovered(state);
                    }
                    return Some(Connected {
                        session,
                        peer,
                        pooled,
                        endpoint,
                        address: *address,
                    });
                }
                Err(error) => reason = probe::reason_of(&error),
            }
        }
        // One address of several says nothing of the others.
        let is_whole = only.is_none() || endpoint.addresses.len() <= 1;
        if let Some(state) = state.filter(|_| is_whole)
            && state.health.failed(leave, clock::ticks_ns(), state.aside_max())
        {
            probe::tell_aside(state, &reason);
        }
        None
    }
}

/// A connection that took nothing of the call yet.
struct Connected<'e> {
    session: HttpSession,
    peer: HttpPeer,
    /// Whether it has served before.
    pooled: bool,
    endpoint: &'e Endpoint,
    address: SocketAddr,
}

/// The next number of the server's round.
fn turn(upstream: &Upstream) -> usize {
    let first = upstream.endpoints.first().and_then(EndpointState::of);
    first.map(|state| state.health.turn()).unwrap_or_default()
}

impl Exchange {
    /// Reads a JSON answer to its end.
    ///
    /// # Errors
    /// [`UpstreamError`] when it is too large, late or torn.
    pub(crate) async fn whole(&mut self, limits: &Limits) -> Result<Bytes, UpstreamError> {
        let read = async {
            let Some(first) = self.piece().await? else {
                return Ok(Bytes::new());
            };
            let Some(second) = self.piece().await? else {
                return within(first, limits.answer_bytes_max);
            };
            let mut answer = BytesMut::with_capacity(ANSWER_RESERVE_BYTES);
            answer.extend_from_slice(&first);
            let mut next = Some(second);
            while let Some(piece) = next {
                answer.extend_from_slice(&piece);
                if limits.answer_bytes_max < answer.len() {
                    return Err(UpstreamError::AnswerTooLarge);
                }
                next = self.piece().await?;
            }
            within(answer.freeze(), limits.answer_bytes_max)
        };
        match tokio::time::timeout(limits.upstream_first_byte_deadline, read).await {
            Ok(answer) => answer,
            Err(_) => Err(UpstreamError::TimedOut(
                "the upstream did not end its answer within its deadline",
            )),
        }
    }

    /// Reads the next piece, `None` at the end. Not to be cancelled and then called again.
    ///
    /// # Errors
    /// [`UpstreamError::Failed`] when the answer breaks off.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        match self.session.read_response_body().await {
            Ok(piece) => Ok(piece),
            Err(_) => Err(UpstreamError::Failed("the upstream broke off within its answer")),
        }
    }
}

fn within(answer: Bytes, bytes_max: usize) -> Result<Bytes, UpstreamError> {
    match answer.len() <= bytes_max {
        true => Ok(answer),
        false => Err(UpstreamError::AnswerTooLarge),
    }
}

/// A token as the value of `header`: as a bearer token in `Authorization` (RFC 6750 section 2.1), bare in any other.
pub(crate) fn bearer(header: &HeaderName, token: &str) -> Option<HeaderValue> {
    let mut value = match *header == AUTHORIZATION {
        true => HeaderValue::from_str(&Zeroizing::new(format!("Bearer {token}"))).ok()?,
        false => HeaderValue::from_str(token).ok()?,
    };
    value.set_sensitive(true);
    Some(value)
}

/// The head of the call: the permit's headers, and ours over them. `None` also without the credential that the record
/// names.
fn request_head(forward: &Forward, endpoint: &Endpoint, made: Option<HeaderValue>) -> Option<RequestHeader> {
    let fields = forward.headers.len().saturating_add(3);
    let mut head =
        RequestHeader::build_no_case(forward.method.as_str(), endpoint.path.as_bytes(), Some(fields)).ok()?;
    for (name, value) in &forward.headers {
        head.append_header(name.clone(), value.clone()).ok()?;
    }
    head.insert_header(HOST, HeaderValue::from_str(&endpoint.authority).ok()?)
        .ok()?;
    if forward.method == Method::POST {
        head.insert_header(CONTENT_LENGTH, HeaderValue::from(forward.body.len()))
            .ok()?;
    }
    if let Some(credential) = &forward.credential {
        let mut value = match &credential.kind {
            CredentialKind::Static { value, .. } => HeaderValue::from_str(value).ok()?,
            CredentialKind::Assertion(_) | CredentialKind::Exchange(_) => made?,
        };
        value.set_sensitive(true);
        head.insert_header(credential.header.clone(), value).ok()?;
    }
    Some(head)
}

/// Reads one head; `true` when it is the answer's own and no interim one before it. `None` when the upstream broke off.
///
/// Pingora reads the head of HTTP/2 once, past interim ones, and panics when it is asked again.
async fn read_head(session: &mut HttpSession) -> Option<bool> {
    session.read_response_header().await.ok()?;
    let status = session.response_header()?.status;
    let is_last = session.as_http2().is_some() || status == StatusCode::SWITCHING_PROTOCOLS;
    Some(!status.is_informational() || is_last)
}

/// Reads heads up to the answer's own, unlooked at. `None` when it does not come.
async fn skip_interim_heads(session: &mut HttpSession) -> Option<()> {
    for _ in 0..INTERIM_HEADS_MAX {
        if read_head(session).await? {
            return Some(());
        }
    }
    None
}

/// Reads the answer's head, past interim ones.
async fn answer_head(
    session: &mut HttpSession,
    forward: &Forward,
    bytes_max: usize,
) -> Result<(u16, Form, Option<HeaderValue>, Passed), UpstreamError> {
    for _ in 0..INTERIM_HEADS_MAX {
        let is_own = read_head(session).await;
        let (Some(is_own), Some(head)) = (is_own, session.response_header()) else {
            return Err(UpstreamError::Lost("the upstream closed without an answer"));
        };
        match session.as_http1() {
            Some(http1) => strict::check(&http1.get_headers_raw_bytes(), bytes_max),
            None => strict::check_fields(&head.headers, bytes_max),
        }
        .map_err(UpstreamError::AnswerInvalid)?;
        if is_own {
            return Ok((
                head.status.as_u16(),
                form_of(head.status, &head.headers, forward.expects_body)?,
                session_id(&head.headers),
                Passed::of(&head.headers, &forward.upstream().forward_headers.response),
            ));
        }
    }
    Err(UpstreamError::Lost("the upstream sent interim heads without an answer"))
}

/// The session that a head names; empty when it names several, since then it names none.
fn session_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(SESSION).iter();
    match (values.next(), values.next()) {
        (first, None) => first.cloned(),
        (_, Some(_)) => Some(HeaderValue::from_static("")),
    }
}

/// In which form the answer comes, when it is one that can be judged.
///
/// Where no body matters, only the status is looked at, and whatever comes with it stays unread.
fn form_of(status: StatusCode, headers: &HeaderMap, expects_body: bool) -> Result<Form, UpstreamError> {
    if status.is_informational() || status.is_redirection() {
        return Err(UpstreamError::Failed("the upstream switches protocols or redirects"));
    }
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        // Passed on, it would send the client to an authorization server that is not to blame.
        return Err(UpstreamError::Failed("the upstream refuses the gate's credential"));
    }
    if !expects_body {
        return Ok(Form::Empty);
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(UpstreamError::AnswerInvalid(
            "the upstream's answer has a content coding",
        ));
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let media_type = match (types.next(), types.next()) {
        (None, _) => "",
        (Some(value), None) => value.to_str().unwrap_or("?").split(';').next().unwrap_or("").trim(),
        (Some(_), Some(_)) => "?",
    };
    if media_type.eq_ignore_ascii_case("application/json") && status != StatusCode::ACCEPTED {
        return Ok(Form::Json);
    }
    if media_type.eq_ignore_ascii_case("text/event-stream") && status == StatusCode::OK {
        return Ok(Form::Stream);
    }
    match status {
        StatusCode::OK if !media_type.is_empty() => Err(UpstreamError::AnswerInvalid(
            "the upstream's answer is neither JSON nor an event stream",
        )),
        _ if status.is_server_error() => Err(UpstreamError::Failed("the upstream answered with a server error")),
        _ => Ok(Form::Empty),
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, UpstreamError, form_of};
    use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
    use http::{HeaderMap, HeaderValue, StatusCode};

    fn form(status: u16, types: &[&'static str]) -> Result<Form, UpstreamError> {
        let mut headers = HeaderMap::new();
        for value in types {
            headers.append(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        form_of(StatusCode::from_u16(status).unwrap(), &headers, true)
    }

    #[test]
    fn only_answers_that_can_be_judged_have_a_form() {
        let json = "application/json";
        let stream = "text/event-stream";
        let accepted = [
            (200, vec![json], Form::Json),
            (200, vec!["Application/JSON; charset=utf-8"], Form::Json),
            (400, vec![json], Form::Json),
            (500, vec![json], Form::Json),
            (200, vec![stream], Form::Stream),
            (200, vec!["text/event-stream; charset=utf-8"], Form::Stream),
            (202, vec![], Form::Empty),
            (202, vec![json], Form::Empty),
            (404, vec![], Form::Empty),
            (404, vec!["text/plain"], Form::Empty),
            (200, vec![], Form::Empty),
        ];
        for (status, types, expected) in accepted {
            assert_eq!(form(status, &types), Ok(expected), "{status} {types:?}");
        }
        let refused = [
            (101, vec![]),
            (200, vec!["text/html"]),
            (200, vec![json, stream]),
            (200, vec!["application/jsonx"]),
            (301, vec![json]),
            (401, vec![json]),
            (403, vec![]),
            (500, vec![]),
            (503, vec!["text/html"]),
        ];
        for (status, types) in refused {
            assert!(form(status, &types).is_err(), "{status} {types:?}");
        }
        let encoded = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static(json)),
            (CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        assert!(form_of(StatusCode::OK, &encoded, true).is_err());
        // To what asks for no answer, a status alone comes back.
        for (status, media_type) in [(200, stream), (202, json), (200, "text/html"), (500, "text/html")] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                form_of(status, &headers, false),
                Ok(Form::Empty),
                "{status} {media_type}"
            );
        }
        for status in [StatusCode::FOUND, StatusCode::FORBIDDEN] {
            assert!(form_of(status, &HeaderMap::new(), false).is_err(), "{status}");
        }
    }
}
