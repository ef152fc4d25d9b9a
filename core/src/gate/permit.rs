//! From the record to the upstream: stages 9 and 10.
//!
//! Owns [`Recorded`], [`Permit`] and [`Forward`]. Their constructors are private to the gate, and each is spent by
//! value: what was not recorded durably cannot be forwarded, and nothing is forwarded twice.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::batch::Batch;
use super::case::{Case, Session};
use super::ticket::Ticket;
use crate::assertion;
use crate::audit::{self, Durable, Position};
use crate::config::{CredentialKind, Server, Upstream, UpstreamCredential};
use crate::denial::{Denial, DenyReason};
use crate::exchange::{ExchangeError, ExchangeRequest};
use crate::head::end_to_end;
use crate::record_id::RecordId;
use crate::rpc::{self, Method, Target};
use crate::session::Keeper;
use crate::stages::Stage;
use crate::time::UnixTime;

/// An allowed request whose record was handed over and is not yet known to be durable.
#[derive(Debug)]
#[must_use = "an allowed request is permitted or given up"]
pub struct Recorded<'g> {
    /// Closes the pair of records wherever this road ends.
    ticket: Ticket<'g>,
    position: Position,
}

impl<'g> Recorded<'g> {
    pub(super) fn new(case: Case<'g>, position: Position) -> Self {
        Self {
            ticket: Ticket::new(case),
            position,
        }
    }

    /// The allowed elements of a batch as one request, whose bytes are `whole`; `None` when there are none.
    pub(super) fn joined(allowed: Vec<Self>, whole: Bytes) -> Option<Self> {
        let mut elements = allowed.into_iter();
        let mut lead = elements.next()?;
        let mut batch = Batch {
            whole,
            further: Vec::with_capacity(elements.len()),
            judged_ns: 0,
        };
        for Self { mut ticket, position } in elements {
            batch.judged_ns = batch.judged_ns.saturating_add(ticket.stages_ns());
            ticket.count_no_more();
            batch.further.push(ticket);
            lead.position = lead.position.max(position);
        }
        // The others were judged in between.
        lead.ticket.case.laps.skip(lead.ticket.case.gate.ticks.now_ns());
        lead.ticket.batch = Some(Box::new(batch));
        Some(lead)
    }

    pub(super) const fn ticket(&self) -> &Ticket<'g> {
        &self.ticket
    }

    /// Where the record stands in the log: of a batch the last one.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The id of the record.
    pub fn record_id(&self) -> RecordId {
        self.ticket.record_id()
    }

    /// The permit to forward, once the record is durable; the only maker of a [`Permit`].
    ///
    /// # Errors
    /// Gives itself back while the record is not durable: wait with [`Durable::register`] or [`Durable::wait`]. The
    /// watermark of another log proves nothing about this record, so it gives itself back for that too.
    #[expect(clippy::result_large_err, reason = "the error is the value itself, to go on with")]
    pub fn permit(mut self, durable: &Durable) -> Result<Permit<'g>, Self> {
        let own = std::ptr::eq(durable, self.ticket.case.gate.durable());
        if own && durable.reached(self.position) {
            self.ticket.case.end(Stage::Record);
            Ok(Permit { ticket: self.ticket })
        } else {
            Err(self)
        }
    }

    /// The log did not take the record in time: closes the pair and gives the refusal for the client.
    #[cold]
    pub fn give_up(self, now: UnixTime) -> Denial {
        let Self { mut ticket, .. } = self;
        ticket.case.end(Stage::Record);
        ticket.close_once(audit::Outcome::NotForwarded, now);
        ticket.failed(
            DenyReason::AuditUnavailable,
            "the record was not durable within its deadline",
        )
    }
}

/// Proof of a durable allow. Spending it is the only way to the upstream; dropped, it closes its pair of records.
#[derive(Debug)]
#[must_use = "a permit is spent"]
pub struct Permit<'g> {
    ticket: Ticket<'g>,
}

/// What must be made or got before a permitted call can go.
#[derive(Debug)]
pub enum Needed {
    /// An assertion of these claims (a JSON object), signed by the gate.
    Assertion(String),
    /// A token in exchange for the client's.
    Exchange(Box<ExchangeRequest>),
}

impl<'g> Permit<'g> {
    /// What the upstream is shown, as the record says; `None` for nothing.
    pub fn credential(&self) -> Option<&UpstreamCredential> {
        self.ticket.case.credential.as_deref()
    }

    /// What the call's credential needs; `None` when it is at hand, or none is shown.
    ///
    /// # Errors
    /// [`ExchangeError`] when the caller has nothing that could be exchanged: go on with [`Self::withhold`].
    pub fn needs(&self, now: UnixTime) -> Result<Option<Needed>, ExchangeError> {
        let case = &self.ticket.case;
        let Some(credential) = &case.credential else {
            return Ok(None);
        };
        let required = self.required();
        let (principal, record_id) = (&case.principal, case.record_id);
        match &credential.kind {
            CredentialKind::Static { .. } => Ok(None),
            CredentialKind::Assertion(terms) => {
                let claims = assertion::claims(terms, principal, &required, record_id, now);
                Ok(Some(Needed::Assertion(claims)))
            }
            CredentialKind::Exchange(terms) => {
                let limits = case.snapshot.limits().exchange_limits();
                let request = ExchangeRequest::new(terms, principal, &required, limits, record_id, now)?;
                Ok(Some(Needed::Exchange(Box::new(request))))
            }
        }
    }

    /// The scopes of the tool, of a batch those of each one's, sorted.
    fn required(&self) -> Cow<'_, [Box<str>]> {
        let of = |case: &'_ Case<'g>| -> Vec<Box<str>> { required(case).to_vec() };
        match &self.ticket.batch {
            None => Cow::Borrowed(required(&self.ticket.case)),
            Some(batch) => {
                let further = batch.further.iter().flat_map(|ticket| of(&ticket.case));
                let scopes: BTreeSet<Box<str>> = of(&self.ticket.case).into_iter().chain(further).collect();
                Cow::Owned(scopes.into_iter().collect())
            }
        }
    }

    /// Checks once more that the caller may call, after a wait for what [`Self::needs`] has named.
    ///
    /// # Errors
    /// The refusal of a caller who was revoked, or whose proof has expired meanwhile; the pair is closed as not forwarded.
    pub fn still_holds(self, now: UnixTime) -> Result<Self, Denial> {
        let case = &self.ticket.case;
        match case.check_proof(now).and_then(|()| case.check_revocation(now)) {
            Ok(()) => Ok(self),
            Err(refusal) => {
                let Self { mut ticket } = self;
                ticket.close_once(audit::Outcome::NotForwarded, now);
                let mut denial = ticket.failed(refusal.reason, refusal.operator);
                denial.challenge = refusal.challenge;
                Err(denial)
            }
        }
    }

    /// The call's credential cannot be had: closes the pair as not forwarded and gives the refusal for the client.
    #[cold]
    pub fn withhold(self, operator: &'static str, now: UnixTime) -> Denial {
        let Self { mut ticket } = self;
        ticket.close_once(audit::Outcome::NotForwarded, now);
        ticket
            .failed(DenyReason::UpstreamCredentialUnavailable, operator)
            .with_retry_after_s(CREDENTIAL_RETRY_AFTER_S)
    }

    /// The same where no later try can do better, such as for a caller without a token: no time to come back is named.
    #[cold]
    pub fn withhold_for_good(self, operator: &'static str, now: UnixTime) -> Denial {
        let mut denial = self.withhold(operator, now);
        denial.retry_after_s = None;
        denial
    }

    /// What goes upstream, and the ticket for what comes back.
    pub fn spend(self) -> (Forward, Ticket<'g>) {
        let case = &self.ticket.case;
        let forward = Forward {
            method: match case.call.as_ref().map(|call| call.method) {
                Some(Method::HttpListen) => http::Method::GET,
                Some(Method::HttpTerminate) => http::Method::DELETE,
                Some(_) | None => http::Method::POST,
            },
            expects_body: self.ticket.expects_stream(),
            body: match &self.ticket.batch {
                Some(batch) => batch.whole.clone(),
                None => case.body.clone(),
            },
            server: Arc::clone(&case.server),
            headers: case.forward_headers.clone(),
            keeper: case.session.as_ref().map(|session| session.keeper),
            credential: case.credential.clone(),
            record_id: case.record_id,
        };
        (forward, self.ticket.forwarded())
    }
}

/// Fields that repeat what stands in a body: a GET has none.
const OF_THE_BODY: [HeaderName; 2] = [
    HeaderName::from_static("mcp-method"),
    HeaderName::from_static("mcp-name"),
];

/// The field by which the gate says what it has seen of a stream; a client's own never crosses.
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What has the upstream go on with the stream that answers a call of the legacy era, behind the event of this id; `None`
/// for an id that is no header value.
pub(super) fn resumption(case: &Case<'_>, last_event_id: &str) -> Option<Forward> {
    let visible = last_event_id.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let last = HeaderValue::from_str(last_event_id).ok().filter(|_| visible)?;
    let mut headers = case.forward_headers.clone();
    headers.retain(|(name, _)| *name != ACCEPT && *name != CONTENT_TYPE && !OF_THE_BODY.contains(name));
    headers.push((ACCEPT, HeaderValue::from_static("text/event-stream")));
    headers.push((LAST_EVENT_ID.clone(), last));
    Some(Forward {
        method: http::Method::GET,
        expects_body: true,
        body: Bytes::new(),
        server: Arc::clone(&case.server),
        headers,
        keeper: case.session.as_ref().map(|session| session.keeper),
        credential: case.credential.clone(),
        record_id: case.record_id,
    })
}

/// The scopes of the tool that a request names.
fn required<'c>(case: &'c Case<'_>) -> &'c [Box<str>] {
    let named = case.call.as_ref().map_or(Target::Nothing, |call| call.named.target());
    case.server.required(named).unwrap_or_default()
}

/// What goes upstream: a POST of exactly `body`, or another method without one, with exactly `headers`, beside the framing, the host and the
/// upstream's credential. Nothing else of the client's head goes along, least of all its token.
pub struct Forward {
    /// The HTTP method that was judged.
    pub method: http::Method,
    /// Whether the answer may have a body that matters; else only its status does (MCP streamable HTTP).
    pub expects_body: bool,
    /// The very bytes that were judged.
    pub body: Bytes,
    /// The server the call is for.
    pub server: Arc<Server>,
    /// The client's fields that cross, as it sent them, and two of the gate's own; the session by the upstream's own name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who keeps the call's session: to it and to no other. `None` leaves the choice.
    pub keeper: Option<Keeper>,
    /// What the upstream is shown, as the record says; `None` for nothing. Unless it is a secret at hand, its value is
    /// what [`Permit::needs`] asked for.
    pub credential: Option<Arc<UpstreamCredential>>,
    /// The record that permits this.
    pub record_id: RecordId,
}

/// Tells the record only: body and session are the client's.
impl std::fmt::Debug for Forward {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Forward({})", self.record_id)
    }
}

impl Forward {
    /// Where the call goes.
    pub fn upstream(&self) -> &Upstream {
        self.server.upstream()
    }
}

/// The fields of a request that an MCP server needs (streamable HTTP); each was checked against the body.
const FORWARDED: [HeaderName; 3] = [
    HeaderName::from_static("mcp-method"),
    HeaderName::from_static("mcp-name"),
    HeaderName::from_static("mcp-protocol-version"),
];

/// The field that names a session of the legacy era.
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Fields that change nothing of what was judged.
static PASSED: [HeaderName; 2] = [ACCEPT_LANGUAGE, USER_AGENT];

/// Each call asks anew, so that a short wait makes sense.
const CREDENTIAL_RETRY_AFTER_S: u32 = 1;

/// The forwarded fields of a head that [`crate::rpc::read_call`] has accepted, so that none of the protocol's own is
/// repeated; `further` are those of the configuration.
///
/// `session` is the one that the call was judged in: what was not judged and recorded is not sent. Beside the protocol's
/// own, which `Connection` cannot take out, only fields cross that are [`end_to_end`].
pub(super) fn forward_headers(
    headers: &HeaderMap,
    method: Option<Method>,
    session: Option<&Session>,
    further: &[HeaderName],
) -> Vec<(HeaderName, HeaderValue)> {
    let mut forwarded = match method {
        Some(Method::HttpListen) => vec![(ACCEPT, HeaderValue::from_static("text/event-stream"))],
        Some(Method::HttpTerminate) => Vec::new(),
        Some(_) | None => vec![
            (ACCEPT, HeaderValue::from_static("application/json, text/event-stream")),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ],
    };
    for name in FORWARDED {
        if let Some(value) = headers.get(&name) {
            forwarded.push((name, value.clone()));
        }
    }
    if let Some(session) = session {
        forwarded.push((SESSION, session.upstream.clone()));
    }
    for name in headers.keys().filter(|name| rpc::is_param(name)) {
        if let Some(value) = end_to_end(headers, name) {
            forwarded.push((name.clone(), value.clone()));
        }
    }
    for name in PASSED.iter().chain(further) {
        if let Some(value) = end_to_end(headers, name) {
            forwarded.push((name.clone(), value.clone()));
        }
    }
    forwarded
}
