//! The straight way of a request, one short method a phase.
//!
//! Owns the order of the phases and the clean-up when one of them ends early. Decides nothing: the gate does, and
//! its types force this order. Never sends a byte upstream without a [`Permit`], nor a byte of an answer without a
//! [`Release`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderValue, Version};
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use portcullis_core::config::Limits;
use portcullis_core::denial::{Denial, DenyReason};
use portcullis_core::exchange::{ExchangeError, ExchangeRequest, ExchangedToken};
use portcullis_core::gate::{
    Answer, Evidence, Fetch, Gate, Needed, Outcome, Permit, Recorded, Release, Reviewed, Step, Ticket, Visit,
};
use portcullis_core::identity::Principal;
use portcullis_core::jwks::refresh::{FetchError, Fetched};
use portcullis_core::stages::Stage;
use portcullis_core::token::IntrospectionRequest;
use zeroize::Zeroizing;

use crate::background::revocation::RevocationStore;
use crate::clock::{self, now};
use crate::egress::{self, ClientLost, Judged, Readers};
use crate::ingress::{self, Guarded, Head, ReadError, TrustedHops};
use crate::metadata::{self, MetadataStore, Page};
use crate::shutdown::Shutdown;
use crate::signer::{self, Signer};
use crate::upstream::{self, Exchange, Form, UpstreamError, Upstreams};
use crate::{cors, durable, health, respond, scratch};

mod stream;

/// Seconds that an unused connection of a client is kept.
const KEEPALIVE_S: u64 = 60;
/// Seconds after which a client may try again while we drain: another instance has taken over by then.
const DRAIN_RETRY_AFTER_S: u32 = 5;

/// Requests that one HTTP/2 connection may have open.
const H2_STREAMS_MAX: u32 = 100;
/// Bytes of a body that one of them may have on its way, unread.
const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same of all of them together.
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Streams that were reset and are remembered.
const H2_RESET_STREAMS_MAX: usize = 20;
/// Streams of one connection that its client may make the gate reset (CVE-2025-8671).
const H2_ERRORS_MAX: usize = 100;

/// Asks issuers for what a token alone does not prove.
#[async_trait]
pub(crate) trait IssuerEvidence: Send + Sync {
    /// Returns when a fetch of the issuer's keys has ended, well or not; the gate then has what could be had.
    async fn fetch_keys(&self, issuer: &str);

    /// Returns when the issuer has answered about a token, or the request's deadline has passed.
    async fn introspect(&self, request: &IntrospectionRequest) -> Result<Arc<Fetched>, FetchError>;

    /// Returns a token for an upstream in exchange for the client's, or why there is none within its deadline.
    async fn exchange(&self, request: &ExchangeRequest, token: &str) -> Result<Arc<ExchangedToken>, ExchangeError>;
}

/// The application under Pingora's listening service.
pub(crate) struct Service {
    pub(crate) gate: Arc<Gate>,
    pub(crate) issuers: Arc<dyn IssuerEvidence>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) metadata: Arc<MetadataStore>,
    pub(crate) revocations: Arc<RevocationStore>,
    pub(crate) shutdown: Shutdown,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) streams: AtomicUsize,
    /// Who may tell a client's certificate.
    pub(crate) hops: TrustedHops,
    /// Whether clients' certificates are seen at all.
    pub(crate) sees_certificates: bool,
    pub(crate) server_options: HttpServerOptions,
}

/// Wraps each connection with the bounds of its heads and hands it to the application.
pub(crate) struct Entrance<A> {
    pub(crate) gate: Arc<Gate>,
    pub(crate) app: Arc<A>,
}

/// Why a judged request got no answer of an upstream.
enum Stop {
    /// The client has gone.
    Gone,
    /// The client is refused.
    Refused(Denial),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Gone => Self::Gone,
            ReadError::Refused(denial) => Self::Refused(denial),
        }
    }
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial)
    }
}

#[async_trait]
impl<A> ServerApp for Entrance<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let snapshot = self.gate.snapshot();
        let limits = snapshot.limits();
        let guarded = Guarded::new(stream, limits);
        // A connection may live long: it must not keep an old snapshot alive.
        drop(snapshot);
        ServerApp::process_new(&self.app, Box::new(guarded), shutdown).await
    }
}

#[async_trait]
impl HttpServerApp for Service {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !head_came(&mut session, Some(&self.gate)).await {
            return None;
        }
        let began_ns = ingress::head_began_ns(&session);
        let running = self.shutdown.enter();
        let answered = self.answer(&mut session, began_ns).await;
        drop(running);
        match answered {
            Ok(()) => finish(session).await,
            Err(ClientLost) => None,
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        let snapshot = self.gate.snapshot();
        Some(h2_options(snapshot.limits()))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.server_options)
    }
}

/// The options of the HTTP server: an HTTP/2 connection without a stream is closed like an unused one of HTTP/1.
pub(crate) fn server_options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(std::time::Duration::from_secs(KEEPALIVE_S));
    options
}

/// The bounds of an HTTP/2 connection: what one client may have open, on its way, and thrown away.
fn h2_options(limits: &Limits) -> H2Options {
    let mut options = default_h2_options();
    // The library takes less than it is told, and the limit itself is still within.
    let header_bytes = u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX);
    options.max_header_list_size(header_bytes.saturating_add(1));
    options.max_concurrent_streams(H2_STREAMS_MAX);
    options.initial_window_size(H2_STREAM_WINDOW_BYTES);
    options.initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES);
    options.max_concurrent_reset_streams(H2_RESET_STREAMS_MAX);
    options.max_pending_accept_reset_streams(H2_RESET_STREAMS_MAX);
    options.max_local_error_reset_streams(Some(H2_ERRORS_MAX));
    options
}

/// Waits for the head of the next request; `false` when there will be none, and who sent no head was told so, and
/// counted by `gate`.
pub(crate) async fn head_came(session: &mut ServerSession, gate: Option<&Gate>) -> bool {
    match ingress::await_head(session).await {
        Ok(()) => true,
        Err(ReadError::Gone) => false,
        Err(ReadError::Refused(denial)) => {
            let denial = match gate {
                Some(gate) => ingress::count_unread(gate, session, denial),
                None => denial,
            };
            session.set_keepalive(None);
            // Whether anybody is left to read it changes nothing.
            let _ = respond::refuse(session, &denial, &Readers::default()).await;
            ingress::linger_without_head(session).await;
            false
        }
    }
}

/// Ends the exchange; gives the connection back when it can serve again.
pub(crate) async fn finish(mut session: ServerSession) -> Option<ReusedHttpStream> {
    if !ingress::is_whole(&mut session) {
        ingress::linger(&mut session).await;
        return None;
    }
    let settings = HttpPersistentSettings::for_session(&session);
    let reusable = session.finish().await.ok().flatten()?;
    Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
}

impl Service {
    /// Answers the request whose head began to arrive at `began_ns` and has arrived.
    async fn answer(&self, session: &mut ServerSession, began_ns: u64) -> Result<(), ClientLost> {
        let visit = self.gate.begin(now());
        let limits = visit.limits().clone();
        session.set_write_timeout(Some(limits.body_deadline));
        let head = match ingress::take_head(session, &limits, &self.hops) {
            Ok(head) => head,
            Err(denial) => {
                session.set_keepalive(None);
                let denial = ingress::count_unread(&self.gate, session, denial);
                return respond::refuse(session, &denial, &Readers::default()).await;
            }
        };
        self.set_keepalive(session, &head);
        if let Some(answered) = self.answer_openly(session, &head).await {
            return answered;
        }
        let readers = match head.headers.contains_key(http::header::ORIGIN) {
            true => cors::readers(&self.gate.snapshot(), None, &head),
            false => Readers::default(),
        };
        if cors::is_preflight(&head)
            && let Some(header) = cors::preflight(&readers, &head, "GET, POST, DELETE")
        {
            return egress::write_whole(session, header, Bytes::new()).await;
        }
        match self.judge(session, visit, &head, &limits).await {
            Ok(permit) => match self.credential(session, permit, &head).await {
                Ok((permit, made)) => self.forward(session, permit, made, &limits, &readers, began_ns).await,
                Err(Stop::Gone) => Err(ClientLost),
                Err(Stop::Refused(denial)) => self.refuse(session, &denial, &readers, began_ns).await,
            },
            Err(Stop::Gone) => Err(ClientLost),
            Err(Stop::Refused(denial)) => self.refuse(session, &denial, &readers, began_ns).await,
        }
    }

    /// Refuses a request that was judged.
    async fn refuse(
        &self,
        session: &mut ServerSession,
        denial: &Denial,
        readers: &Readers,
        began_ns: u64,
    ) -> Result<(), ClientLost> {
        let refused = respond::refuse(session, denial, readers).await;
        self.count_connection(began_ns, denial.stages_ns);
        refused
    }

    /// Counts what a judged request that ends now took beside its other stages: reading and writing.
    fn count_connection(&self, began_ns: u64, stages_ns: u64) {
        let whole_ns = clock::ticks_ns().saturating_sub(began_ns);
        let times = self.gate.stage_times();
        times.record(Stage::Connection, whole_ns.saturating_sub(stages_ns));
    }

    /// Whether the client's connection serves again after this request.
    fn set_keepalive(&self, session: &mut ServerSession, head: &Head) {
        let asked = session.get_keepalive().is_some();
        // A client whose certificate is not trusted any more may come back with another one.
        let refused = head
            .view()
            .certificate
            .is_some_and(|certificate| certificate.refused.is_some());
        let keeps = asked && !refused && !self.shutdown.is_draining();
        session.set_keepalive(keeps.then_some(KEEPALIVE_S));
    }

    /// What needs no token: the health of the gate and the way to the authorization server.
    async fn answer_openly(&self, session: &mut ServerSession, head: &Head) -> Option<Result<(), ClientLost>> {
        if head.path == signer::JWKS_PATH {
            return Some(signer::answer(session, &self.gate.snapshot(), &self.signer, head, now()).await);
        }
        match (health::Page::of(&head.path), Page::of(&head.path)) {
            (Some(page), _) => Some(health::answer(session, page, &self.gate, &self.shutdown, head).await),
            (None, Some(page)) => {
                let snapshot = self.gate.snapshot();
                let store = &self.metadata;
                Some(metadata::answer(session, &snapshot, store, page, head, self.sees_certificates).await)
            }
            (None, None) => None,
        }
    }

    /// Stages 1 to 9: the permit, or why there is none.
    async fn judge<'g>(
        &'g self,
        session: &mut ServerSession,
        mut visit: Visit<'g>,
        head: &Head,
        limits: &Limits,
    ) -> Result<Permit<'g>, Stop> {
        if self.shutdown.is_draining() {
            let denial = Denial::new(DenyReason::Draining, "the gate is shutting down");
            return Err(visit
                .refuse(&head.view(), denial.with_retry_after_s(DRAIN_RETRY_AFTER_S))
                .into());
        }
        if head.version == Version::HTTP_10 {
            let denial = Denial::new(DenyReason::HeadMalformed, "endpoints do not speak HTTP/1.0");
            return Err(visit.refuse(&head.view(), denial).into());
        }
        if head.came_in_the_clear() && self.is_reached_by_tls(head) {
            let denial = Denial::new(DenyReason::HostUnknown, "a trusted proxy took the request without TLS");
            return Err(visit.refuse(&head.view(), denial).into());
        }
        let principal = self.authenticate(&mut visit, head, limits).await?;
        if head.headers.contains_key(CONTENT_ENCODING) {
            let denial = Denial::new(DenyReason::MediaType, "the body has a content coding");
            return Err(visit.refuse(&head.view(), denial).into());
        }
        let body = match ingress::read_body(session, head, limits).await {
            Ok(body) => body,
            Err(ReadError::Gone) => return Err(Stop::Gone),
            Err(ReadError::Refused(denial)) => {
                session.set_keepalive(None);
                return Err(visit.refuse(&head.view(), denial).into());
            }
        };
        let recorded = scratch::with(|scratch| visit.authorize(principal, &head.view(), body, now(), scratch))?;
        self.permit(recorded, limits).await.map_err(Stop::Refused)
    }

    /// Whether the public address of what is asked for is one of https.
    fn is_reached_by_tls(&self, head: &Head) -> bool {
        let snapshot = self.gate.snapshot();
        let server = snapshot.server_at(&head.path, &head.host);
        server.is_some_and(|server| server.resource().starts_with("https:"))
    }

    /// Stages 2 to 4; waits for one fetch of keys and for one answer about the token at most.
    async fn authenticate(&self, visit: &mut Visit<'_>, head: &Head, limits: &Limits) -> Result<Principal, Denial> {
        let mut step = visit.authenticate(&head.view())?;
        loop {
            match step {
                Step::Done(principal) => return Ok(principal),
                Step::Needs(fetch) => {
                    let evidence = self.fetch(&fetch, limits).await;
                    step = visit.resume(fetch, evidence, &head.view(), now())?;
                }
            }
        }
    }

    /// What a visit needs, or nothing when it is late or failed: the gate looks once more and says what is missing.
    async fn fetch(&self, fetch: &Fetch, limits: &Limits) -> Evidence {
        match fetch {
            Fetch::Introspection(request) => Evidence::Introspected(self.issuers.introspect(request).await),
            Fetch::Jwks(issuer) => {
                let _ = tokio::time::timeout(limits.unknown_kid_wait, self.issuers.fetch_keys(issuer)).await;
                Evidence::Published
            }
        }
    }

    /// Stage 9: the permit, once the record is durable.
    async fn permit<'g>(&'g self, recorded: Recorded<'g>, limits: &Limits) -> Result<Permit<'g>, Denial> {
        let log = self.gate.durable();
        if !durable::reached(log, recorded.position(), limits.audit_deadline).await {
            return Err(recorded.give_up(now()));
        }
        recorded.permit(log).map_err(|recorded| recorded.give_up(now()))
    }

    /// What the permitted call is made with, when it is not at hand: asked for after the record of the allow, and before
    /// the upstream hears of the call.
    async fn credential<'g>(
        &self,
        session: &mut ServerSession,
        mut permit: Permit<'g>,
        head: &Head,
    ) -> Result<(Permit<'g>, Option<HeaderValue>), Stop> {
        let header = match permit.credential() {
            Some(credential) => credential.header.clone(),
            None => return Ok((permit, None)),
        };
        let made = match permit.needs(now()) {
            Ok(None) => return Ok((permit, None)),
            Ok(Some(Needed::Assertion(claims))) => {
                let token = self.signer.sign(&claims, now());
                token.ok_or("the gate has no key to sign its assertion with")
            }
            Ok(Some(Needed::Exchange(request))) => {
                let exchanged = tokio::select! {
                    biased;
                    exchanged = self.issuers.exchange(&request, head.token().unwrap_or_default()) => exchanged,
                    // Dropped, the permit closes its pair of records as not forwarded.
                    () = ingress::gone(session) => return Err(Stop::Gone),
                    () = self.shutdown.cut() => Err(ExchangeError::Unavailable),
                };
                // The issuer may have taken its time.
                permit = permit.still_holds(now()).map_err(Stop::Refused)?;
                let token = exchanged.map(|token| Zeroizing::new(token.as_str().to_owned()));
                token.map_err(ExchangeError::operator)
            }
            Err(error) => return Err(Stop::Refused(permit.withhold_for_good(error.operator(), now()))),
        };
        match made.and_then(|token| upstream::bearer(&header, &token).ok_or("the credential is no header value")) {
            Ok(value) => Ok((permit, Some(value))),
            Err(operator) => Err(Stop::Refused(permit.withhold(operator, now()))),
        }
    }

    /// Stages 10 to 14; `made` is what the call's credential needed.
    async fn forward(
        &self,
        session: &mut ServerSession,
        permit: Permit<'_>,
        made: Option<HeaderValue>,
        limits: &Limits,
        readers: &Readers,
        began_ns: u64,
    ) -> Result<(), ClientLost> {
        let (forward, mut ticket) = permit.spend();
        let record_id = forward.record_id;
        let sent = tokio::select! {
            biased;
            sent = self.exchange(&forward, made.clone(), limits) => sent,
            () = ingress::gone(session) => {
                ticket.close(Outcome::ClientGone, now());
                return Err(ClientLost);
            }
            () = self.shutdown.cut() => Err(UpstreamError::Lost("the gate shut down before the upstream answered")),
        };
        let (exchange, answer) = match sent {
            Ok(sent) => sent,
            Err(error) => return self.refuse(session, &failed(ticket, error), readers, began_ns).await,
        };
        if let Some(id) = &exchange.session_id {
            ticket.upstream_session(exchange.keeper, id.as_bytes());
        }
        let passed = exchange.passed.clone();
        let mut judged = Judged {
            record_id,
            session: None,
            passed: &passed,
            readers,
            began_ns,
        };
        let Some(answer) = answer else {
            return self
                .relay_stream(session, (exchange, made), ticket, limits, judged)
                .await;
        };
        self.upstreams.release(exchange).await;
        let reviewed = scratch::with(|scratch| ticket.review(answer, now(), scratch));
        let released = self.release(reviewed, &mut ticket, limits).await;
        judged.session = ticket.session_for_client();
        let sent = send(session, released, &judged).await;
        self.count_connection(began_ns, ticket.stages_ns());
        let outcome = if sent.is_ok() {
            Outcome::Ended
        } else {
            Outcome::ClientGone
        };
        ticket.close(outcome, now());
        sent
    }

    /// Sends the call and reads the answer whole, unless it is a stream.
    async fn exchange(
        &self,
        forward: &portcullis_core::gate::Forward,
        made: Option<HeaderValue>,
        limits: &Limits,
    ) -> Result<(Exchange, Option<Answer>), UpstreamError> {
        let mut exchange = self.upstreams.send(forward, made, limits).await?;
        let status = exchange.status;
        let answer = match exchange.form {
            Form::Empty => Some(Answer::Empty { status }),
            Form::Json => Some(Answer::Json {
                status,
                body: exchange.whole(limits).await?,
            }),
            Form::Stream => None,
        };
        Ok((exchange, answer))
    }

    /// Stage 13: what may leave, once the review is durable; nothing when it cannot be recorded.
    async fn release(
        &self,
        reviewed: Result<Reviewed<'_>, Denial>,
        ticket: &mut Ticket<'_>,
        limits: &Limits,
    ) -> Release {
        let released = match reviewed {
            Ok(reviewed) => {
                let log = self.gate.durable();
                // The wait's own result does not matter: the review proves itself.
                durable::reached(log, reviewed.position(), limits.audit_deadline).await;
                reviewed.release(log).map_err(|_| unrecorded(ticket))
            }
            Err(denial) => Err(denial),
        };
        ticket.review_ended();
        released.unwrap_or_else(|mut denial| {
            denial.stages_ns = ticket.stages_ns();
            Release::Withheld(denial)
        })
    }

    /// Counts a stream in, unless too many are open.
    fn enter_stream(&self, limits: &Limits) -> Option<OpenStream<'_>> {
        let open = self.streams.fetch_add(1, Ordering::Relaxed);
        let counted = OpenStream { streams: &self.streams };
        (open < limits.streams_max).then_some(counted)
    }
}

/// One open stream; counted out when dropped.
struct OpenStream<'s> {
    streams: &'s AtomicUsize,
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The refusal of an answer whose review the log did not take in time.
fn unrecorded(ticket: &mut Ticket<'_>) -> Denial {
    ticket.failed(
        DenyReason::AuditUnavailable,
        "the review was not durable within its deadline",
    )
}

/// Closes the record of an exchange whose upstream failed: what to tell the client.
fn failed(mut ticket: Ticket<'_>, error: UpstreamError) -> Denial {
    let (reason, operator) = error.parts();
    let denial = ticket.failed(reason, operator);
    ticket.close(error.outcome(), now());
    denial
}

/// Stage 14 for an answer that is not a stream.
async fn send(session: &mut ServerSession, release: Release, judged: &Judged<'_>) -> Result<(), ClientLost> {
    match release {
        Release::Batch { status, parts } => egress::json(session, status, respond::array(&parts), judged).await,
        Release::Dropped => egress::empty(session, 202, judged).await,
        Release::Empty { status } => egress::empty(session, status, judged).await,
        Release::Pass { status, body } | Release::Redacted { status, body } => {
            egress::json(session, status, body, judged).await
        }
        Release::Withheld(denial) => respond::refuse(session, &denial, judged.readers).await,
    }
}
