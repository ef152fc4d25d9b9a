//! A batch of 2025-03-26: several messages in one body, each judged, recorded and reviewed as a request of its own.
//!
//! Owns the way in ([`authorize`]: any refused element refuses all) and the way back ([`Batch`]: each message of the
//! upstream goes to the element that it answers, or goes nowhere). What goes upstream is the whole array as it came; what
//! leaves is made of reviewed messages, each by its very bytes, and of a refusal for every request that got no answer.

use std::sync::Arc;

use bytes::Bytes;

use super::case::Case;
use super::permit::Recorded;
use super::records::PartFacts;
use super::release::{Answer, Release, Reviewed};
use super::review::{self, Finding, Place};
use super::snapshot::Route;
use super::ticket::Ticket;
use super::visit::{Visit, authorize_case, refused};
use super::{Scratch, json_limits};
use crate::audit::Outcome;
use crate::config::UpstreamCredential;
use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;
use crate::identity::Principal;
use crate::record_id::RecordId;
use crate::rpc::{self, Answers, Element};
use crate::stages::{Laps, Stage};
use crate::time::UnixTime;

/// Where a request stands in its batch.
#[derive(Clone, Debug)]
pub(super) struct BatchPlace {
    /// The record of the first element.
    pub(super) first: RecordId,
    /// From zero.
    pub(super) index: usize,
    /// How many elements there are.
    pub(super) size: usize,
    /// What the upstream is shown for the first element: one request carries one credential.
    credential: Option<Arc<UpstreamCredential>>,
}

impl BatchPlace {
    /// Whether the batch can be sent with this credential for this element.
    pub(super) fn agrees(&self, credential: Option<&Arc<UpstreamCredential>>) -> bool {
        match (self.index, &self.credential, credential) {
            (0, _, _) | (_, None, None) => true,
            (_, Some(first), Some(own)) => Arc::ptr_eq(first, own),
            (_, Some(_), None) | (_, None, Some(_)) => false,
        }
    }
}

/// Judges a batch, element by element, each with its own record. The first refusal refuses the batch: the elements
/// before it close as not forwarded, those behind it are not judged.
pub(super) fn authorize<'g>(
    visit: Visit<'g>,
    route: &Route,
    principal: &Principal,
    (head, body): (&RequestHead<'_>, Bytes),
    (laps, now): (Laps, UnixTime),
    scratch: &mut Scratch,
) -> Result<Recorded<'g>, Denial> {
    let limits = json_limits(visit.limits());
    let elements = match rpc::read_batch(&body, &mut scratch.call, limits) {
        Ok(elements) => elements,
        Err(denial) => {
            let mut case = visit.case(route, principal.clone(), head, laps, now);
            case.end(Stage::Parse);
            return Err(refused(case, denial.into()));
        }
    };
    // The first was counted when the caller was bound.
    for _ in elements.iter().skip(1) {
        if let Err(denial) = visit.check_rate(&route.server, principal) {
            return Err(visit.refuse(head, denial));
        }
    }
    let mut allowed: Vec<Recorded<'g>> = Vec::with_capacity(elements.len());
    for (index, element) in elements.iter().enumerate() {
        let laps = match index {
            0 => laps,
            _ => Laps::start(visit.gate.ticks.now_ns()),
        };
        let mut case = visit.case(route, principal.clone(), head, laps, now);
        let first = allowed.first().map(|first| &first.ticket().case);
        case.batch = Some(Box::new(BatchPlace {
            first: first.map_or(case.record_id, |first| first.record_id),
            index,
            size: elements.len(),
            credential: first.and_then(|first| first.credential.clone()),
        }));
        match authorize_case(case, head, slice(&body, element), scratch) {
            Ok(recorded) => allowed.push(recorded),
            Err(denial) => {
                // Dropped, the pairs close as not forwarded, and what no upstream hears of is still awaited.
                return Err(denial);
            }
        }
    }
    Recorded::joined(allowed, body).ok_or_else(|| Denial::new(DenyReason::RpcInvalid, "the batch is empty"))
}

/// The bytes of one element, as they stand in the batch.
fn slice(body: &Bytes, element: &Element) -> Bytes {
    body.get(element.span.clone())
        .map_or_else(Bytes::new, |bytes| body.slice_ref(bytes))
}

/// What a ticket of a batch holds beside its own element, which is the first.
#[derive(Debug)]
pub(super) struct Batch<'g> {
    /// The very bytes that were judged.
    pub(super) whole: Bytes,
    /// The elements behind the first.
    pub(super) further: Vec<Ticket<'g>>,
    /// What judging these took.
    pub(super) judged_ns: u64,
}

/// What becomes of one message of the upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// It answers the ticket of this number.
    Answer(usize),
    /// It asks or tells something.
    Message,
    /// It is no answer to what still waits for one.
    Stray,
}

impl<'g> Batch<'g> {
    /// Reviews what came back in answer to the batch whose first element has `lead`: a whole answer, or one message of a
    /// stream, which may be an array.
    ///
    /// # Errors
    /// [`DenyReason::AuditUnavailable`] when the log does not take a record.
    pub(super) fn review(
        &mut self,
        lead: &mut Ticket<'g>,
        answer: Answer,
        now: UnixTime,
        scratch: &mut Scratch,
    ) -> Result<Reviewed<'g>, Denial> {
        let mut back = Back {
            streaming: lead.is_streaming(),
            tickets: std::iter::once(lead).chain(&mut self.further).collect(),
            now,
            scratch,
            releases: Vec::new(),
            last: None,
        };
        back.review(answer)
    }
}

/// The way back of one answer.
struct Back<'t, 's, 'g> {
    tickets: Vec<&'t mut Ticket<'g>>,
    streaming: bool,
    now: UnixTime,
    scratch: &'s mut Scratch,
    releases: Vec<Release>,
    /// The newest record: when it is durable, all before it are.
    last: Option<Reviewed<'g>>,
}

impl<'g> Back<'_, '_, 'g> {
    fn review(&mut self, answer: Answer) -> Result<Reviewed<'g>, Denial> {
        let (status, body) = match &answer {
            Answer::Empty { .. } => return self.all_alike(&answer),
            Answer::Json { status, body } => (*status, body.clone()),
            Answer::Message { data } => (200, data.clone()),
        };
        if self.refuses_all(&body) || !self.tickets.iter().any(|ticket| ticket.is_request()) {
            return self.all_alike(&answer);
        }
        let limits = self
            .tickets
            .first()
            .map(|lead| json_limits(lead.case.snapshot.limits()));
        let answers = limits.map_or(Answers::Unreadable, |limits| {
            rpc::read_answers(&body, &mut self.scratch.answer, limits)
        });
        match answers {
            Answers::Array(elements) if !elements.is_empty() => {
                self.each(status, &body, &elements)?;
                self.missing()?;
                self.ended(status, false)
            }
            Answers::Single(element) if element.has_method || element.id.is_some() => {
                self.each(status, &body, std::slice::from_ref(&element))?;
                self.missing()?;
                self.ended(status, true)
            }
            // An error without an id is about the whole batch, and what cannot be read answers nobody.
            Answers::Array(_) | Answers::Single(_) | Answers::Unreadable => self.all_alike(&answer),
        }
    }

    /// Whether nothing of the answer may leave, whatever it is.
    fn refuses_all(&self, body: &Bytes) -> bool {
        self.tickets.iter().any(|ticket| {
            ticket.refused(self.now).is_some()
                || ticket.case.check_revocation(self.now).is_err()
                || ticket.case.snapshot.limits().answer_bytes_max < body.len()
        })
    }

    /// Reviews the messages of one answer. Outside of a stream an answer closes its pair of records, so what answers
    /// nobody is put on record first.
    fn each(&mut self, status: u16, body: &Bytes, elements: &[Element]) -> Result<(), Denial> {
        let mut roles: Vec<(Role, &Element)> = Vec::with_capacity(elements.len());
        for element in elements {
            let role = match self.role(element) {
                Role::Answer(_) if roles.iter().any(|(_, before)| answers_the_same(before, element)) => Role::Stray,
                role => role,
            };
            roles.push((role, element));
        }
        if !self.streaming {
            roles.sort_by_key(|(role, _)| matches!(role, Role::Answer(_)));
        }
        for (role, element) in roles {
            let message = slice(body, element);
            match role {
                Role::Answer(number) => self.answered(number, status, message)?,
                Role::Message if self.streaming => self.message(element, &message)?,
                Role::Message | Role::Stray => self.stray(message)?,
            }
        }
        Ok(())
    }

    fn role(&self, element: &Element) -> Role {
        let Some(id) = element.id.as_ref().filter(|_| !element.has_method) else {
            return match element.has_method {
                true => Role::Message,
                false => Role::Stray,
            };
        };
        let named = |ticket: &&mut Ticket<'g>| ticket.is_owed() && ticket.case.is_named_by(id);
        self.tickets.iter().position(named).map_or(Role::Stray, Role::Answer)
    }

    /// The answer to one request.
    fn answered(&mut self, number: usize, status: u16, body: Bytes) -> Result<(), Denial> {
        let place = Place {
            streaming: self.streaming,
            answered: false,
            refused: None,
        };
        let Some(ticket) = self.tickets.get_mut(number) else {
            return Ok(());
        };
        let answer = match self.streaming {
            true => Answer::Message { data: body },
            false => Answer::Json { status, body },
        };
        let finding = review::judge(&ticket.case, answer, place, None, self.now, self.scratch);
        ticket.set_answered();
        let reviewed = ticket.record_review(finding.release, finding.facts, self.now)?;
        self.leave(reviewed);
        Ok(())
    }

    /// A message of the server on the stream of a batch: about which of its requests it is, nobody can tell, so that it
    /// passes only where every one of them lets it.
    fn message(&mut self, element: &Element, message: &Bytes) -> Result<(), Denial> {
        let mut data = message.clone();
        let mut judged: Option<(usize, Finding)> = None;
        let requests: Vec<usize> = self.requests().collect();
        for number in requests {
            let Some(ticket) = self.tickets.get(number) else {
                continue;
            };
            if judged.is_some()
                && let Some(id) = &element.id
            {
                // The one before has entered it as awaited; the last one does so for good.
                ticket.case.await_no_more(id, self.now);
            }
            let answer = Answer::Message { data: data.clone() };
            let mut finding = review::judge(&ticket.case, answer, STRAY, None, self.now, self.scratch);
            match &finding.release {
                Release::Pass { status, .. } if data != *message => {
                    let (status, body) = (*status, data.clone());
                    finding.release = Release::Redacted { status, body };
                }
                Release::Redacted { body, .. } => data = body.clone(),
                Release::Pass { .. } => {}
                Release::Batch { .. } | Release::Dropped | Release::Empty { .. } | Release::Withheld(_) => {
                    judged = Some((number, finding));
                    break;
                }
            }
            judged = Some((number, finding));
        }
        let Some((number, finding)) = judged else {
            return Ok(());
        };
        let Some(ticket) = self.tickets.get_mut(number) else {
            return Ok(());
        };
        let reviewed = ticket.record_part(finding.release, finding.facts, self.now)?;
        self.leave(reviewed);
        Ok(())
    }

    /// What answers nobody: dropped, and on record with the first request.
    fn stray(&mut self, body: Bytes) -> Result<(), Denial> {
        let number = self.requests().next().unwrap_or_default();
        let place = Place {
            streaming: self.streaming,
            ..STRAY
        };
        let Some(ticket) = self.tickets.get_mut(number) else {
            return Ok(());
        };
        let answer = Answer::Message { data: body };
        let mut finding = review::judge(&ticket.case, answer, place, None, self.now, self.scratch);
        finding.release = Release::Dropped;
        finding.facts.outcome = Outcome::Withheld;
        finding.facts.refusal.get_or_insert(DenyReason::AnswerInvalid.code());
        let reviewed = ticket.record_part(finding.release, finding.facts, self.now)?;
        self.leave(reviewed);
        Ok(())
    }

    /// Outside of a stream this was all: what has no answer gets none, and its client is told so.
    fn missing(&mut self) -> Result<(), Denial> {
        if self.streaming {
            return Ok(());
        }
        for number in 0..self.tickets.len() {
            let Some(ticket) = self.tickets.get_mut(number) else {
                continue;
            };
            let reviewed = if ticket.is_owed() {
                let denial = ticket.case.denial(
                    DenyReason::UpstreamFailed,
                    "the upstream's answer holds none to this request of the batch",
                );
                let facts = PartFacts::unanswered(denial.reason.code());
                ticket.set_answered();
                ticket.record_review(Release::Withheld(denial), facts, self.now)?
            } else if ticket.is_request() {
                continue;
            } else {
                let place = Place {
                    streaming: false,
                    answered: false,
                    refused: None,
                };
                let answer = Answer::Empty { status: 202 };
                let finding = review::judge(&ticket.case, answer, place, None, self.now, self.scratch);
                ticket.record_review(Release::Dropped, finding.facts, self.now)?
            };
            self.leave(reviewed);
        }
        Ok(())
    }

    /// One answer to all that wait for one: a status alone, an error about the whole, or nothing that can be read.
    fn all_alike(&mut self, answer: &Answer) -> Result<Reviewed<'g>, Denial> {
        let owed = self.tickets.iter().any(|ticket| ticket.is_owed());
        if self.streaming && !owed {
            let body = match answer {
                Answer::Json { body, .. } | Answer::Message { data: body } => body.clone(),
                Answer::Empty { .. } => Bytes::new(),
            };
            self.stray(body)?;
            return self.ended(200, true);
        }
        for number in 0..self.tickets.len() {
            let Some(ticket) = self
                .tickets
                .get_mut(number)
                .filter(|ticket| !self.streaming || ticket.is_owed())
            else {
                continue;
            };
            let place = Place {
                streaming: self.streaming,
                answered: false,
                refused: ticket.refused(self.now),
            };
            let finding = review::judge(&ticket.case, answer.clone(), place, None, self.now, self.scratch);
            // On a stream what is nobody's answer leaves each of them waiting.
            if finding.answers || !self.streaming {
                ticket.set_answered();
            }
            let reviewed = ticket.record_review(finding.release, finding.facts, self.now)?;
            self.leave(reviewed);
        }
        if self.streaming
            && self
                .releases
                .iter()
                .any(|release| matches!(release, Release::Withheld(_)))
        {
            self.withhold_all();
            return self.ended(200, false);
        }
        let release = alike(std::mem::take(&mut self.releases));
        self.releases.push(release);
        self.ended(200, true)
    }

    /// What one of the requests may not have leaves for none of them.
    fn withhold_all(&mut self) {
        let lead = self.tickets.first().map(|lead| &lead.case);
        for release in &mut self.releases {
            if let (Release::Pass { .. } | Release::Redacted { .. }, Some(lead)) = (&*release, lead) {
                let operator = "what answers the whole batch is kept back for one of its requests";
                let mut denial = lead.denial(DenyReason::AnswerWithheld, operator);
                denial.request_id = None;
                *release = Release::Withheld(denial);
            }
        }
    }

    fn requests(&self) -> impl Iterator<Item = usize> {
        let requests = self
            .tickets
            .iter()
            .enumerate()
            .filter(|(_, ticket)| ticket.is_request());
        requests.map(|(number, _)| number).collect::<Vec<_>>().into_iter()
    }

    /// Notes what one record lets leave.
    fn leave(&mut self, mut reviewed: Reviewed<'g>) {
        match reviewed.take_release() {
            Release::Dropped => {}
            release => self.releases.push(release),
        }
        self.last = Some(reviewed);
    }

    /// All of it in one: as one message where there is one and `single`, else as an array.
    fn ended(&mut self, status: u16, single: bool) -> Result<Reviewed<'g>, Denial> {
        let mut parts = std::mem::take(&mut self.releases);
        let whole = parts
            .iter()
            .all(|part| matches!(part, Release::Pass { .. } | Release::Redacted { .. }));
        let release = match parts.len() {
            0 => Release::Dropped,
            1 if single => parts.pop().unwrap_or(Release::Dropped),
            _ => Release::Batch {
                status: if whole { status } else { 200 },
                parts,
            },
        };
        match self.last.take() {
            Some(reviewed) => Ok(reviewed.with_release(release)),
            None => Err(Denial::new(
                DenyReason::AnswerInvalid,
                "nothing of the batch waits for an answer",
            )),
        }
    }
}

/// The place of what is no answer to what waits for one.
const STRAY: Place = Place {
    streaming: true,
    answered: true,
    refused: None,
};

fn answers_the_same(before: &Element, element: &Element) -> bool {
    !before.has_method && before.id == element.id
}

/// What leaves once for all: any refusal for all of them, else the bytes from which most was taken.
fn alike(releases: Vec<Release>) -> Release {
    let rank = |release: &Release| match release {
        Release::Withheld(_) => 3,
        Release::Redacted { .. } => 2,
        Release::Batch { .. } | Release::Pass { .. } => 1,
        Release::Dropped | Release::Empty { .. } => 0,
    };
    let strictest = releases
        .into_iter()
        .reduce(|strictest, release| match rank(&strictest) < rank(&release) {
            true => release,
            false => strictest,
        });
    match strictest {
        Some(Release::Withheld(mut denial)) => {
            // It is about the whole batch.
            denial.request_id = None;
            Release::Withheld(denial)
        }
        Some(release) => release,
        None => Release::Dropped,
    }
}

impl Case<'_> {
    /// Whether an answer that names `id` is to this request.
    pub(super) fn is_named_by(&self, id: &rpc::Id) -> bool {
        self.call.as_ref().is_some_and(|call| call.expected.is_named_by(id))
    }
}
