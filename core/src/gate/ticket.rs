//! The way back: stages 11 to 14, from the upstream's answer to what may leave.
//!
//! Owns [`Ticket`]. What cannot be judged is withheld. A ticket that is dropped unclosed records that nobody knows how its exchange ended.

mod session;

use self::session::AnswerSession;
use super::Scratch;
use super::batch::Batch;
use super::case::Case;
use super::permit::{self, Forward};
use super::records::{self, Part, PartFacts};
use super::release::{Answer, Release, Reviewed};
use super::review::{self, Finding, Place};
use super::streams::Entered;
use crate::audit::{self, Totals};
use crate::denial::{Denial, DenyReason};
use crate::head::ClientCertificate;
use crate::identity::Principal;
use crate::record_id::RecordId;
use crate::rpc::Method;
use crate::rpc::subscription::Subscription;
use crate::stages::Stage;
use crate::time::UnixTime;

/// How an exchange ended that was not closed by one reviewed answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The client has gone.
    ClientGone,
    /// The stream came to its end.
    Ended,
    /// The stream outlived its token or its idle limit.
    Expired,
    /// The token was revoked while the stream was open.
    Revoked,
    /// Nobody knows.
    Unknown,
    /// The upstream failed.
    UpstreamFailed,
}

/// The claim to what comes back for one permitted request.
#[derive(Debug)]
#[must_use = "a ticket is reviewed or closed"]
pub struct Ticket<'g> {
    pub(super) case: Case<'g>,
    /// Whether the call has gone to the upstream: decides what a drop records.
    forwarded: bool,
    /// Whether the pair of records is closed; a closed ticket judges nothing more.
    closed: bool,
    answered: bool,
    streaming: bool,
    /// Whether something was reviewed that has not left yet.
    reviewing: bool,
    totals: Totals,
    session: AnswerSession,
    /// The stream's place among those that a newer token extends.
    stream: Option<Entered>,
    /// What the stream of a `subscriptions/listen` may carry.
    subscription: Option<Subscription>,
    /// The rest of the batch whose first element this is.
    pub(super) batch: Option<Box<Batch<'g>>>,
    /// Whether its stages are counted: in a batch they are the first element's.
    timed: bool,
}

impl<'g> Ticket<'g> {
    pub(super) fn new(case: Case<'g>) -> Self {
        Self {
            case,
            forwarded: false,
            closed: false,
            answered: false,
            streaming: false,
            reviewing: false,
            totals: Totals::default(),
            session: AnswerSession::None,
            stream: None,
            subscription: None,
            batch: None,
            timed: true,
        }
    }

    /// From here on the upstream may have acted on the call.
    pub(super) fn forwarded(mut self) -> Self {
        self.forwarded = true;
        let further = self.batch.as_mut().map(|batch| &mut batch.further);
        for ticket in further.into_iter().flatten() {
            ticket.forwarded = true;
        }
        self
    }

    /// Counts the stages that this took so far, and no further ones: the first element of its batch does that.
    pub(super) fn count_no_more(&mut self) {
        self.case.gate.stage_times.record_all(&self.case.laps);
        self.timed = false;
    }

    /// Whether an answer is to come for this alone, whatever its batch is.
    pub(super) fn is_request(&self) -> bool {
        self.case.call.as_ref().is_some_and(|call| call.method.is_answered())
    }

    /// The same, and it has not come.
    pub(super) fn is_owed(&self) -> bool {
        self.is_request() && !self.answered
    }

    pub(super) const fn set_answered(&mut self) {
        self.answered = true;
    }

    pub(super) const fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// The tickets behind the first of a batch; none outside of one.
    fn further(&self) -> impl Iterator<Item = &Ticket<'g>> {
        self.batch.iter().flat_map(|batch| &batch.further)
    }

    /// The record that this answers.
    pub fn record_id(&self) -> RecordId {
        self.case.record_id
    }

    /// Whether the response to the request was reviewed, of a batch each one: a stream may end now.
    pub fn answered(&self) -> bool {
        match &self.batch {
            None => self.answered,
            Some(_) => !self.is_owed() && !self.further().any(Ticket::is_owed),
        }
    }

    /// The end of an exchange for this reason, for everything that the client still waits for: `denial` itself, or in a
    /// batch one for each request.
    pub fn owed(&self, denial: Denial) -> Release {
        if self.batch.is_none() {
            return Release::Withheld(denial);
        }
        let owed = std::iter::once(self)
            .chain(self.further())
            .filter(|ticket| ticket.is_owed());
        let parts = owed.map(|ticket| {
            let mut own = ticket.case.denial(denial.reason, denial.operator);
            own.retry_after_s = denial.retry_after_s;
            Release::Withheld(own)
        });
        Release::Batch {
            status: 200,
            parts: parts.collect(),
        }
    }

    /// Whether what comes back may be an event stream. To what is neither a request nor a GET only a status comes back,
    /// whatever the upstream sends (MCP streamable HTTP).
    pub fn expects_stream(&self) -> bool {
        self.is_request() || self.listens() || self.further().any(Self::is_request)
    }

    /// Whether this is the stream of a GET, on which nothing is owed to the client and which may end at any time.
    pub fn listens(&self) -> bool {
        let call = self.case.call.as_ref();
        call.is_some_and(|call| call.method == Method::HttpListen)
    }

    /// Whether the stream has no end of its own: it lasts until either side ends it.
    pub fn lasts(&self) -> bool {
        self.listens() || self.subscription.is_some()
    }

    /// What has the upstream go on with this stream behind the event of this id, when the stream broke off or was closed
    /// before its answer: a GET within the same exchange (MCP 2025-11-25, resumability). `None` where nothing is owed that
    /// could be resumed: in the modern era, in a batch, before the session is open, on the stream of a GET.
    pub fn resumption(&self, last_event_id: &str) -> Option<Forward> {
        let call = self.case.call.as_ref()?;
        let resumable = self.streaming
            && self.is_owed()
            && self.batch.is_none()
            && !call.version.is_modern()
            && call.method != Method::Initialize;
        resumable
            .then(|| permit::resumption(&self.case, last_event_id))
            .flatten()
    }

    /// When what comes back is no longer released: the token that permitted the request has expired then, with the
    /// tolerated clock difference, or the certificate that did, and so has the grace that a permitted call has. For a stream that is open, a newer token of
    /// the same principal counts too, as long as nothing about that one is revoked: ask again before ending it.
    pub fn expires(&self, now: UnixTime) -> UnixTime {
        let limits = self.case.snapshot.limits();
        let own = self.case.principal.accepted_until(limits.leeway);
        let gate = self.case.gate;
        let holds = |newer: &Principal| gate.revocations.check(newer, now, limits.leeway).is_ok();
        let renewed = self
            .stream
            .as_ref()
            .and_then(|entered| gate.streams.renewed_until(entered, limits.leeway, holds));
        let expires = renewed.map_or(own, |renewed| own.max(renewed));
        let own = expires.after(limits.expiry_grace);
        self.further()
            .map(|ticket| ticket.expires(now))
            .fold(own, UnixTime::min)
    }

    /// Checks that the client's certificate, if the request came with one, is trusted as it was: to be asked of an open
    /// stream whenever that may have changed, with the certificate as it is trusted now.
    ///
    /// # Errors
    /// [`DenyReason::CertificateRefused`]; the stream ends with [`Outcome::Revoked`] then.
    pub fn check_certificate(&self, certificate: Option<&ClientCertificate>) -> Result<(), Denial> {
        let Some(shown) = &self.case.client_cert_sha256 else {
            return Ok(());
        };
        let trusted = certificate.is_some_and(|now| now.sha256 == *shown && now.refused.is_none());
        match trusted {
            true => Ok(()),
            false => Err(self
                .case
                .denial(DenyReason::CertificateRefused, "the certificate is no longer trusted")),
        }
    }

    /// Checks that nothing about the caller was revoked since the request was permitted: to be asked of an open stream
    /// whenever something was. A review asks by itself.
    ///
    /// # Errors
    /// [`DenyReason::TokenRevoked`]; the stream ends with [`Outcome::Revoked`] then.
    pub fn check_revocation(&self, now: UnixTime) -> Result<(), Denial> {
        self.case.check_revocation(now)
    }

    /// The upstream answers with an event stream: the record of its opening, durable before the head leaves.
    ///
    /// # Errors
    /// [`DenyReason::AuditUnavailable`] when the log does not take the record.
    pub fn open(&mut self, status: u16, now: UnixTime) -> Result<Reviewed<'g>, Denial> {
        self.streaming = true;
        self.subscribe();
        self.enter_streams();
        self.begin_review();
        let mut opened = self.recorded(Release::Empty { status }, &Part::Open { status }, now);
        for ticket in self.batch.iter_mut().flat_map(|batch| &mut batch.further) {
            opened = opened.and_then(|_| ticket.open(status, now));
        }
        opened
    }

    /// Judges one answer, or one message of a stream. Never waits: [`Reviewed::release`] tells whether it may leave.
    ///
    /// # Errors
    /// [`DenyReason::AuditUnavailable`] when the log does not take the record.
    pub fn review(&mut self, answer: Answer, now: UnixTime, scratch: &mut Scratch) -> Result<Reviewed<'g>, Denial> {
        self.begin_review();
        if let Some(mut batch) = self.batch.take() {
            let reviewed = batch.review(self, answer, now, scratch);
            self.batch = Some(batch);
            return reviewed;
        }
        let place = Place {
            streaming: self.streaming,
            answered: self.answered,
            refused: self.refused(now),
        };
        let Finding {
            release,
            mut facts,
            answers,
            succeeds,
            ends,
        } = review::judge(&self.case, answer, place, self.subscription.as_mut(), now, scratch);
        self.answered |= answers || ends;
        let opened = match &self.session {
            AnswerSession::Offered { sealed, digest } if succeeds => {
                facts.session = Some(*digest);
                Some(sealed.clone())
            }
            _ => None,
        };
        let reviewed = self.record_review(release, facts, now);
        if let (Some(sealed), Ok(reviewed)) = (opened, &reviewed) {
            let position = reviewed.position();
            self.session = AnswerSession::Opened { sealed, position };
        }
        reviewed
    }

    /// Why nothing of the answer may leave, whatever it is.
    pub(super) fn refused(&self, now: UnixTime) -> Option<(DenyReason, &'static str)> {
        if self.expires(now) <= now {
            return Some((
                DenyReason::TokenExpired,
                "the token expired before the answer, and its grace has passed",
            ));
        }
        match self.session {
            AnswerSession::Invalid => Some((
                DenyReason::AnswerInvalid,
                "the upstream's session id is repeated, empty, too long or not visible ascii",
            )),
            _ => None,
        }
    }

    /// Learns what the stream of a `subscriptions/listen` may carry.
    fn subscribe(&mut self) {
        let case = &self.case;
        let listens = case
            .call
            .as_ref()
            .is_some_and(|call| call.method == Method::SubscriptionsListen);
        if listens && self.subscription.is_none() {
            let limits = super::json_limits(case.snapshot.limits());
            self.subscription = Some(Subscription::of(&case.body, limits));
        }
    }

    /// Takes a place among the streams that a newer token extends, where there is one.
    fn enter_streams(&mut self) {
        let case = &self.case;
        if self.stream.is_none() {
            let named = match &self.batch {
                None => case.call.as_ref().map(|call| call.named.clone()),
                Some(_) => None,
            };
            let streams_max = case.snapshot.limits().streams_max;
            self.stream =
                case.gate
                    .streams
                    .enter(&case.principal, &case.server, named.unwrap_or_default(), streams_max);
        }
    }

    /// Hands the record of a review over: that of the whole answer, or of a numbered part.
    pub(super) fn record_review(
        &mut self,
        release: Release,
        facts: PartFacts,
        now: UnixTime,
    ) -> Result<Reviewed<'g>, Denial> {
        if self.streaming {
            return self.record_part(release, facts, now);
        }
        let reviewed = self.recorded(release, &Part::Whole { facts }, now);
        // An answer that is not on record has not closed the pair: the close that follows says what is known.
        self.closed |= reviewed.is_ok();
        reviewed
    }

    /// Hands the record of a numbered part over.
    pub(super) fn record_part(
        &mut self,
        release: Release,
        facts: PartFacts,
        now: UnixTime,
    ) -> Result<Reviewed<'g>, Denial> {
        let number = self.totals.messages;
        self.totals.messages = self.totals.messages.saturating_add(1);
        self.totals.redactions = self.totals.redactions.saturating_add(facts.redactions);
        self.totals.withheld = self
            .totals
            .withheld
            .saturating_add(u64::from(facts.outcome == audit::Outcome::Withheld));
        self.recorded(release, &Part::Message { number, facts }, now)
    }

    /// Closes what is still open: the end of a stream, an upstream that failed, a client that has gone. Hands the
    /// record over and does not wait for it.
    pub fn close(mut self, outcome: Outcome, now: UnixTime) {
        let batch = self.batch.take();
        let in_batch = batch.is_some();
        self.close_own(outcome, in_batch, now);
        for mut ticket in batch.into_iter().flat_map(|batch| batch.further) {
            ticket.close_own(outcome, in_batch, now);
        }
    }

    /// Closes what is still open of one request. What of a batch had its answer has come to its own end.
    fn close_own(&mut self, outcome: Outcome, in_batch: bool, now: UnixTime) {
        let ended = in_batch && self.streaming && !self.is_owed();
        let outcome = self.recorded_outcome(if ended { Outcome::Ended } else { outcome });
        self.close_once(outcome, now);
    }

    /// The refusal for the client when no answer may leave: an upstream that failed, a review that was not recorded.
    #[cold]
    pub fn failed(&mut self, reason: DenyReason, operator: &'static str) -> Denial {
        self.end_forward();
        let mut denial = self.case.denial(reason, operator);
        if self.batch.is_some() {
            // It is about the whole batch.
            denial.request_id = None;
        }
        denial.stages_ns = self.stages_ns();
        denial
    }

    /// Everything reviewed so far is on durable record, or given up: what follows is no longer the stage of review.
    /// Without this call that stage is not counted.
    pub fn review_ended(&mut self) {
        if std::mem::replace(&mut self.reviewing, false) {
            self.case.end(Stage::Review);
        }
    }

    /// Nanoseconds that the stages of this request have taken so far, for whoever measures the rest of it.
    pub fn stages_ns(&self) -> u64 {
        let judged_ns = self.batch.as_ref().map_or(0, |batch| batch.judged_ns);
        self.case.laps.total_ns().saturating_add(judged_ns)
    }

    /// A review begins, unless one is under way: the messages of one read are one review.
    fn begin_review(&mut self) {
        if !std::mem::replace(&mut self.reviewing, true) && !self.end_forward() {
            self.case.laps.skip(self.case.gate.ticks.now_ns());
        }
    }

    /// The upstream's answer has come, or will not come; whether that was not known before.
    fn end_forward(&mut self) -> bool {
        let first = self.timed && self.forwarded && self.case.laps.of(Stage::Forward).is_none();
        if first {
            self.case.end(Stage::Forward);
        }
        first
    }

    fn recorded(&self, release: Release, part: &Part, now: UnixTime) -> Result<Reviewed<'g>, Denial> {
        if self.closed {
            return Err(self
                .case
                .denial(DenyReason::AnswerInvalid, "the exchange is closed already"));
        }
        match self
            .case
            .gate
            .submit(|out| records::write_part(out, &self.case, part, now))
        {
            Ok(position) => Ok(Reviewed::new(release, position, self.case.gate.durable())),
            Err(denial) => Err(self.case.denial(denial.reason, denial.operator)),
        }
    }

    pub(super) fn close_once(&mut self, outcome: audit::Outcome, now: UnixTime) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let totals = self.streaming.then_some(self.totals);
        // Not awaited, and a log that takes no more closes nothing: recovery writes `unknown` for what stays open.
        let _ = self
            .case
            .gate
            .submit(|out| records::write_close(out, &self.case, outcome, totals, now));
    }

    /// What to record when the embedder closes with `outcome`: only a stream can end well without closing itself.
    const fn recorded_outcome(&self, outcome: Outcome) -> audit::Outcome {
        match outcome {
            Outcome::ClientGone => audit::Outcome::ClientGone,
            Outcome::Ended if self.streaming => audit::Outcome::Reviewed,
            Outcome::Ended | Outcome::Unknown => audit::Outcome::Unknown,
            Outcome::Expired => audit::Outcome::Expired,
            Outcome::Revoked => audit::Outcome::Revoked,
            Outcome::UpstreamFailed => audit::Outcome::UpstreamFailed,
        }
    }
}

impl Drop for Ticket<'_> {
    /// A road that was left by a panic or a cancelled task closes here; the time is that of the request.
    fn drop(&mut self) {
        if let Some(entered) = self.stream.take() {
            self.case.gate.streams.leave(&entered);
        }
        let outcome = if self.forwarded {
            audit::Outcome::Unknown
        } else {
            self.case.await_again();
            audit::Outcome::NotForwarded
        };
        self.close_once(outcome, self.case.now);
        if self.timed {
            self.end_forward();
            self.case.gate.stage_times.record_all(&self.case.laps);
        }
    }
}
