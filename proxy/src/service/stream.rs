//! The way of an event stream: split, judged message by message, recorded, then sent (stages 11 to 14).
//!
//! Owns the clocks of a stream: silence, the token's end, its revocation, keep-alive. A stream outlives its token when
//! the gate says that a newer one extends it. Event ids are left out, so that no resume is offered which would lead
//! around the review; comments carry nothing of the upstream's. The head of a stream that opens a session names it, so it
//! waits for the review of the answer.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use pingora_core::protocols::http::ServerSession;
use portcullis_core::config::Limits;
use portcullis_core::denial::{Denial, DenyReason};
use portcullis_core::gate::{Answer, Outcome, Release, Reviewed, Ticket};
use portcullis_core::rpc::sse::{self, Splitter};
use portcullis_core::stages::Stage;
use tokio::sync::watch;
use tokio::time::Instant;

mod resume;

use resume::Seen;

use super::{Service, unrecorded};
use crate::clock::{self, now};
use crate::egress::{self, ClientLost, Judged};
use crate::upstream::{Exchange, UpstreamError};
use crate::{durable, ingress, respond, scratch};

/// A comment that keeps the connection alive (WHATWG HTML section 9.2.6).
const KEEPALIVE: &[u8] = b":\n\n";
/// Silence after which one is sent.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long the upstream has to end a stream whose answer is complete, so that its connection can serve again.
const TAIL_DEADLINE: Duration = Duration::from_millis(100);

/// What happened next on a stream.
enum Next {
    /// The upstream sent something.
    Piece(Bytes),
    /// The upstream ended the stream, or broke it off.
    Ended(UpstreamError),
    /// The stream ends for this reason.
    Cut(Cut),
}

/// Why a stream ends before its answer is complete.
enum Cut {
    /// The client has gone.
    Client,
    /// An exchange that ends like this, with the reason for the client and the line for the operator.
    Failed(Outcome, DenyReason, &'static str),
    /// The log does not take a review.
    Refused(Denial),
}

impl Cut {
    const EXPIRED: Self = Self::Failed(
        Outcome::Expired,
        DenyReason::TokenExpired,
        "the token expired during the stream",
    );
    const IDLE: Self = Self::Failed(
        Outcome::Expired,
        DenyReason::UpstreamTimeout,
        "the stream was silent for too long",
    );
    const REVOKED: Self = Self::Failed(
        Outcome::Revoked,
        DenyReason::TokenRevoked,
        "the token was revoked during the stream",
    );
    const SHUTDOWN: Self = Self::Failed(
        Outcome::Unknown,
        DenyReason::Draining,
        "the gate shut down during the stream",
    );

    const fn upstream(error: UpstreamError) -> Self {
        let (reason, operator) = error.parts();
        Self::Failed(error.outcome(), reason, operator)
    }
}

/// The client's side of a stream: what waits while its head does.
struct Outlet<'a> {
    judged: Judged<'a>,
    /// Whether the head has left.
    open: bool,
    /// Released events that wait for the head.
    held: Vec<u8>,
}

impl Outlet<'_> {
    /// Sends the head, once nothing of it depends on what is still to be judged.
    async fn open(&mut self, session: &mut ServerSession, ticket: &Ticket<'_>) -> Result<(), ClientLost> {
        if self.open || ticket.opens_session() {
            return Ok(());
        }
        self.judged.session = ticket.session_for_client();
        egress::open_stream(session, &self.judged).await?;
        self.open = true;
        Ok(())
    }

    /// Sends released events, behind those that were held; or holds them.
    async fn send(&mut self, session: &mut ServerSession, events: Vec<u8>, limits: &Limits) -> Result<(), Cut> {
        let bytes = match self.held.is_empty() {
            true => events,
            false => {
                self.held.extend(events);
                std::mem::take(&mut self.held)
            }
        };
        if self.open {
            let sent = egress::piece(session, Bytes::from(bytes), false).await;
            return sent.map_err(|ClientLost| Cut::Client);
        }
        if limits.answer_bytes_max < bytes.len() {
            return Err(Cut::upstream(UpstreamError::AnswerTooLarge));
        }
        self.held = bytes;
        Ok(())
    }
}

/// What of a stream's time is the connection's: its head, both ways, and then each piece that is written. The waits in
/// between are the upstream's.
struct Writing {
    ns: u64,
}

impl Writing {
    /// The request came and the answer's head has left now; `stages_ns` of that went to other stages.
    fn after_head(began_ns: u64, stages_ns: u64) -> Self {
        let whole_ns = clock::ticks_ns().saturating_sub(began_ns);
        Self {
            ns: whole_ns.saturating_sub(stages_ns),
        }
    }

    /// Adds the time of one write.
    async fn of<T>(&mut self, write: impl Future<Output = T>) -> T {
        let began_ns = clock::ticks_ns();
        let written = write.await;
        let write_ns = clock::ticks_ns().saturating_sub(began_ns);
        self.ns = self.ns.saturating_add(write_ns);
        written
    }
}

impl Service {
    /// Relays an event stream to its end.
    pub(super) async fn relay_stream(
        &self,
        session: &mut ServerSession,
        (mut exchange, made): (Exchange, Option<HeaderValue>),
        mut ticket: Ticket<'_>,
        limits: &Limits,
        judged: Judged<'_>,
    ) -> Result<(), ClientLost> {
        let Some(_open) = self.enter_stream(limits) else {
            let denial = ticket.failed(DenyReason::RateLimited, "too many streams are open");
            ticket.close(Outcome::Unknown, now());
            return self.refuse(session, &denial, judged.readers, judged.began_ns).await;
        };
        let opened = ticket.open(exchange.status, now());
        if let Release::Withheld(denial) = self.release(opened, &mut ticket, limits).await {
            ticket.close(Outcome::Unknown, now());
            return self.refuse(session, &denial, judged.readers, judged.began_ns).await;
        }
        let mut outlet = Outlet {
            judged,
            open: false,
            held: Vec::new(),
        };
        if outlet.open(session, &ticket).await.is_err() {
            self.count_connection(outlet.judged.began_ns, ticket.stages_ns());
            ticket.close(Outcome::ClientGone, now());
            return Err(ClientLost);
        }
        let mut writing = Writing::after_head(outlet.judged.began_ns, ticket.stages_ns());
        let ended = self
            .pump(
                session,
                (&mut exchange, made),
                &mut ticket,
                limits,
                (&mut outlet, &mut writing),
            )
            .await;
        if ended.is_ok() {
            self.end_upstream(exchange).await;
        }
        let ended = writing.of(end_client(session, ticket, ended.err(), &outlet)).await;
        self.gate.stage_times().record(Stage::Connection, writing.ns);
        ended
    }

    /// Moves messages until the answer is complete or the stream is cut.
    async fn pump(
        &self,
        session: &mut ServerSession,
        (exchange, made): (&mut Exchange, Option<HeaderValue>),
        ticket: &mut Ticket<'_>,
        limits: &Limits,
        (outlet, writing): (&mut Outlet<'_>, &mut Writing),
    ) -> Result<(), Cut> {
        let mut splitter = Splitter::new(limits.answer_bytes_max);
        let mut seen = Seen::new(made);
        let mut revocations = self.revocations.changes();
        // Before the stream could be told, it may have happened already.
        revocations.mark_changed();
        while !ticket.answered() {
            let silence = tokio::time::sleep(limits.stream_idle_deadline);
            let next = self.next(session, exchange, ticket, silence, outlet.open, &mut revocations);
            match next.await {
                Next::Piece(piece) => {
                    splitter.push(&piece);
                    self.pass(session, (&mut splitter, &mut seen), ticket, limits, (outlet, writing))
                        .await?;
                }
                // On the stream of a GET nothing is owed: the server may end it at any time.
                Next::Ended(_) if ticket.listens() => return Ok(()),
                Next::Ended(error) => {
                    if !self.resume(session, exchange, ticket, limits, &mut seen).await? {
                        return Err(Cut::upstream(error));
                    }
                    // What was broken off comes again, whole.
                    splitter = Splitter::new(limits.answer_bytes_max);
                }
                Next::Cut(cut) => return Err(cut),
            }
        }
        Ok(())
    }

    /// Waits for the upstream, the client, the clocks, revocations and the end of the gate.
    async fn next(
        &self,
        session: &mut ServerSession,
        exchange: &mut Exchange,
        ticket: &Ticket<'_>,
        silence: tokio::time::Sleep,
        open: bool,
        revocations: &mut watch::Receiver<u64>,
    ) -> Next {
        let piece = exchange.piece();
        tokio::pin!(piece);
        tokio::pin!(silence);
        let mut expires = end_of(ticket);
        let keepalive = tokio::time::sleep(KEEPALIVE_INTERVAL);
        tokio::pin!(keepalive);
        loop {
            tokio::select! {
                biased;
                // These two first: an upstream that never pauses must not hide them.
                Ok(()) = revocations.changed() => match self.check_caller(session, ticket) {
                    // A newer token that had extended the stream may be revoked.
                    Ok(()) => {
                        expires = end_of(ticket);
                        continue;
                    }
                    Err(_) => return Next::Cut(Cut::REVOKED),
                },
                () = tokio::time::sleep_until(expires) => {
                    let now = now();
                    if ticket.expires(now) <= now {
                        return Next::Cut(Cut::EXPIRED);
                    }
                    expires = end_of(ticket);
                    continue;
                }
                piece = &mut piece => return match piece {
                    Ok(Some(piece)) => Next::Piece(piece),
                    Ok(None) => Next::Ended(UpstreamError::Failed("the upstream ended its stream before the answer")),
                    Err(error) => Next::Ended(error),
                },
                () = ingress::gone(session) => return Next::Cut(Cut::Client),
                () = self.shutdown.cut() => return Next::Cut(Cut::SHUTDOWN),
                () = self.shutdown.draining(), if ticket.lasts() => return Next::Cut(Cut::SHUTDOWN),
                () = &mut silence => return Next::Cut(Cut::IDLE),
                () = &mut keepalive => keepalive.as_mut().reset(Instant::now() + KEEPALIVE_INTERVAL),
            }
            // Only the keep-alive comes here; the read goes on where it was.
            if open
                && egress::piece(session, Bytes::from_static(KEEPALIVE), false)
                    .await
                    .is_err()
            {
                return Next::Cut(Cut::Client);
            }
        }
    }

    /// Checks that nothing about the caller was revoked, its certificate included: trust may have changed.
    fn check_caller(&self, session: &ServerSession, ticket: &Ticket<'_>) -> Result<(), Denial> {
        ticket.check_revocation(now())?;
        let certificate = ingress::certificate_of(session, &self.hops)?;
        ticket.check_certificate(certificate.as_ref())
    }

    /// Reviews the whole messages of one read, waits for their records and sends them together.
    async fn pass(
        &self,
        session: &mut ServerSession,
        (splitter, seen): (&mut Splitter, &mut Seen),
        ticket: &mut Ticket<'_>,
        limits: &Limits,
        (outlet, writing): (&mut Outlet<'_>, &mut Writing),
    ) -> Result<(), Cut> {
        let batch = review_all(splitter, seen, ticket);
        let mut out = Vec::new();
        let recorded = self.write_reviews(batch.reviews, ticket, limits, &mut out).await;
        ticket.review_ended();
        if out.is_empty() && batch.comment {
            out.extend_from_slice(KEEPALIVE);
        }
        writing
            .of(async {
                outlet.open(session, ticket).await.map_err(|ClientLost| Cut::Client)?;
                outlet.send(session, out, limits).await
            })
            .await?;
        recorded.and(batch.ended)
    }

    /// Releases what is durable; the last record of a batch is durable when all are.
    async fn write_reviews(
        &self,
        reviews: Vec<Reviewed<'_>>,
        ticket: &mut Ticket<'_>,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<(), Cut> {
        let log = self.gate.durable();
        if let Some(last) = reviews.iter().map(Reviewed::position).max() {
            // The wait's own result does not matter: each review proves itself below.
            durable::reached(log, last, limits.audit_deadline).await;
        }
        for reviewed in reviews {
            match reviewed.release(log) {
                Ok(release) => write_release(&release, out),
                Err(_) => return Err(Cut::Refused(unrecorded(ticket))),
            }
        }
        Ok(())
    }

    /// Reads the upstream's stream to its end, so that the connection can serve again; or gives it up.
    async fn end_upstream(&self, mut exchange: Exchange) {
        let tail = async { while let Ok(Some(_)) = exchange.piece().await {} };
        if tokio::time::timeout(TAIL_DEADLINE, tail).await.is_ok() {
            self.upstreams.release(exchange).await;
        }
    }
}

/// When a stream ends, as far as is known now.
fn end_of(ticket: &Ticket<'_>) -> Instant {
    let now = now();
    Instant::now() + ticket.expires(now).since(now)
}

/// The whole messages of one read, reviewed.
struct Batch<'g> {
    reviews: Vec<Reviewed<'g>>,
    /// Whether a comment or a priming event stood among them.
    comment: bool,
    /// Why nothing may follow them, if so.
    ended: Result<(), Cut>,
}

/// Reviews every whole message that was read, up to one that ends the stream.
fn review_all<'g>(splitter: &mut Splitter, seen: &mut Seen, ticket: &mut Ticket<'g>) -> Batch<'g> {
    let mut batch = Batch {
        reviews: Vec::new(),
        comment: false,
        ended: Ok(()),
    };
    while let Some(event) = splitter.next() {
        let Ok(event) = event else {
            let broken = UpstreamError::AnswerInvalid("an event of the stream is too large or malformed");
            batch.ended = Err(Cut::upstream(broken));
            return batch;
        };
        seen.note(&event);
        if event.is_priming() {
            batch.comment = true;
            continue;
        }
        let answer = Answer::Message { data: event.data };
        match scratch::with(|scratch| ticket.review(answer, now(), scratch)) {
            Ok(reviewed) => batch.reviews.push(reviewed),
            Err(denial) => {
                batch.ended = Err(Cut::Refused(denial));
                return batch;
            }
        }
    }
    batch
}

/// Writes one released message as an event of its own, without the upstream's event fields.
fn write_release(release: &Release, out: &mut Vec<u8>) {
    match release {
        Release::Dropped | Release::Empty { .. } => {}
        Release::Pass { body, .. } | Release::Redacted { body, .. } => sse::write_event(out, None, None, body),
        Release::Withheld(denial) => sse::write_event(out, None, None, &respond::message(denial)),
        Release::Batch { parts, .. } if parts.is_empty() => {}
        Release::Batch { parts, .. } => sse::write_event(out, None, None, &respond::array(parts)),
    }
}

/// Ends the client's stream, with an error message when the answer is still owed, and closes the record.
async fn end_client(
    session: &mut ServerSession,
    mut ticket: Ticket<'_>,
    cut: Option<Cut>,
    outlet: &Outlet<'_>,
) -> Result<(), ClientLost> {
    let (outcome, owed) = match cut {
        None => (Outcome::Ended, None),
        Some(Cut::Client) => (Outcome::ClientGone, None),
        Some(Cut::Refused(denial)) => (Outcome::Unknown, Some(denial)),
        Some(Cut::Failed(outcome, reason, operator)) => (outcome, Some(ticket.failed(reason, operator))),
    };
    let mut last = Vec::new();
    if let Some(denial) = &owed
        && !outlet.open
    {
        ticket.close(outcome, now());
        return respond::refuse(session, denial, outlet.judged.readers).await;
    }
    if let Some(denial) = owed.filter(|_| !ticket.listens()) {
        write_release(&ticket.owed(denial), &mut last);
    }
    ticket.close(outcome, now());
    match outcome {
        Outcome::ClientGone => Err(ClientLost),
        _ => egress::piece(session, Bytes::from(last), true).await,
    }
}
