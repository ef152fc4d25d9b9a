//! From the record to the upstream: stages 9 and 10.
//!
//! Owns [`Recorded`], [`Permit`] and [`Forward`]. Their constructors are private to the gate, and each is spent by
//! value: what was not recorded durably cannot be forwarded, and nothing is forwarded twice.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};

use super::case::{Case, Session};
use super::ticket::Ticket;
use crate::audit::{self, Durable, Position};
use crate::config::{Server, Upstream};
use crate::denial::{Denial, DenyReason};
use crate::record_id::RecordId;
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

    /// Where the record stands in the log.
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

impl<'g> Permit<'g> {
    /// What goes upstream, and the ticket for what comes back.
    pub fn spend(self) -> (Forward, Ticket<'g>) {
        let case = &self.ticket.case;
        let forward = Forward {
            body: case.body.clone(),
            server: Arc::clone(&case.server),
            headers: case.forward_headers.clone(),
            record_id: case.record_id,
        };
        (forward, self.ticket.forwarded())
    }
}

/// What goes upstream: a POST of exactly `body` with exactly `headers`, beside the framing, the host and the
/// upstream's credential. Nothing else of the client's head goes along, least of all its token.
pub struct Forward {
    /// The very bytes that were judged.
    pub body: Bytes,
    /// The server the call is for.
    pub server: Arc<Server>,
    /// The protocol's own fields, as the client sent them; the session by the upstream's own name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
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

/// The forwarded fields of a head that [`crate::rpc::read_call`] has accepted, so that none is repeated.
///
/// `session` is the one that the call was judged in: what was not judged and recorded is not sent.
pub(super) fn forward_headers(headers: &http::HeaderMap, session: Option<&Session>) -> Vec<(HeaderName, HeaderValue)> {
    let mut forwarded = vec![
        (ACCEPT, HeaderValue::from_static("application/json, text/event-stream")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ];
    for name in FORWARDED {
        if let Some(value) = headers.get(&name) {
            forwarded.push((name, value.clone()));
        }
    }
    if let Some(session) = session {
        forwarded.push((SESSION, session.upstream.clone()));
    }
    forwarded
}
