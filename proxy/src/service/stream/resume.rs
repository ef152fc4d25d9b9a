//! Streams that an upstream closes, or that break off, before their answer: the gate goes on with them by itself (MCP
//! 2025-11-25, resumability).
//!
//! Owns what of a stream was seen and the GET that asks for the rest. Never offers a client the same: its records would be
//! closed. What comes back is judged by the same ticket as what came before.

use std::time::Duration;

use http::HeaderValue;
use pingora_core::protocols::http::ServerSession;
use portcullis_core::config::Limits;
use portcullis_core::gate::Ticket;
use portcullis_core::rpc::sse::Event;

use super::Cut;
use crate::clock::now;
use crate::ingress;
use crate::service::Service;
use crate::upstream::{Exchange, Form};

/// How often one stream is gone on with: an upstream that lets its clients poll closes it each time.
const TRIES_MAX: u32 = 100;
/// How long to wait where the upstream names no time.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time that is waited for.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What of a stream was seen, and what its call was made with.
pub(super) struct Seen {
    last_event_id: Option<String>,
    pause: Duration,
    tries_left: u32,
    made: Option<HeaderValue>,
}

impl Seen {
    pub(super) const fn new(made: Option<HeaderValue>) -> Self {
        Self {
            last_event_id: None,
            pause: PAUSE,
            tries_left: TRIES_MAX,
            made,
        }
    }

    pub(super) fn note(&mut self, event: &Event) {
        if let Some(id) = &event.id {
            // An empty id takes the last one back (WHATWG HTML section 9.2.6).
            self.last_event_id = Some(id.clone()).filter(|id| !id.is_empty());
        }
        if let Some(retry_ms) = event.retry_ms {
            self.pause = Duration::from_millis(retry_ms);
        }
    }

    /// The id to go on behind, once more.
    fn next(&mut self) -> Option<&str> {
        self.tries_left = self.tries_left.checked_sub(1)?;
        self.last_event_id.as_deref().filter(|_| self.pause <= PAUSE_MAX)
    }
}

impl Service {
    /// Goes on with a stream that has ended before its answer; false when it cannot be.
    pub(super) async fn resume(
        &self,
        session: &mut ServerSession,
        exchange: &mut Exchange,
        ticket: &Ticket<'_>,
        limits: &Limits,
        seen: &mut Seen,
    ) -> Result<bool, Cut> {
        if seen.made.is_some() {
            // What was made for the call is of one use or short-lived, and was asked for under the checks of that moment.
            return Ok(false);
        }
        let Some(mut forward) = seen.next().and_then(|last| ticket.resumption(last)) else {
            return Ok(false);
        };
        // Nobody else knows what has been sent.
        forward.keeper = Some(exchange.keeper);
        tokio::select! {
            biased;
            () = ingress::gone(session) => return Err(Cut::Client),
            () = self.shutdown.cut() => return Err(Cut::SHUTDOWN),
            () = tokio::time::sleep(seen.pause) => {}
        }
        // The wait may have been long: nothing is asked for a caller who may not have it.
        if self.check_caller(session, ticket).is_err() {
            return Err(Cut::REVOKED);
        }
        if ticket.expires(now()) <= now() {
            return Err(Cut::EXPIRED);
        }
        let answered = tokio::select! {
            biased;
            () = ingress::gone(session) => return Err(Cut::Client),
            () = self.shutdown.cut() => return Err(Cut::SHUTDOWN),
            answered = self.upstreams.send(&forward, None, limits) => answered,
        };
        match answered {
            Ok(next) if next.form == Form::Stream => {
                *exchange = next;
                Ok(true)
            }
            Ok(_) | Err(_) => Ok(false),
        }
    }
}
