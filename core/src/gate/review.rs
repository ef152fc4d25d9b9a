//! What may leave of an answer: stages 11 and 12.
//!
//! Owns the judgement of one answer against its case. Fails closed: an answer that is not one to this request, that
//! the policy does not allow, or that an obligation cannot be carried out on, is withheld.

use bytes::Bytes;

use super::case::Case;
use super::records::PartFacts;
use super::ticket::{Answer, Release};
use super::Scratch;
use crate::audit;
use crate::denial::{Denial, DenyReason};
use crate::json::{Edits, Node};
use crate::policy::{Decision, Redaction, ResponseKind};
use crate::redact;
use crate::rpc::{self, Method, Reply};
use crate::time::UnixTime;

/// What the review found.
pub(super) struct Finding {
    pub(super) release: Release,
    pub(super) facts: PartFacts,
    /// Whether this was the response to the request.
    pub(super) answers: bool,
}

/// Judges one answer. `answered` says whether the response has been seen already.
pub(super) fn judge(case: &Case<'_>, answer: Answer, answered: bool, now: UnixTime, scratch: &mut Scratch) -> Finding {
    let (status, body, streaming) = match answer {
        Answer::Empty { status } => return empty(case, status),
        Answer::Json { status, body } => (status, body, false),
        Answer::Message { data } => (200, data, true),
    };
    let mut facts = PartFacts::new(Some(status), Some(case.gate.key.mac(&body)));
    if !streaming && case.expected.is_notification() {
        // JSON-RPC 2.0 section 4.1: a notification has no response; what comes is not passed on.
        return Finding { release: empty_release(case, status, &mut facts), facts, answers: true };
    }
    let limits = super::json_limits(case.snapshot.limits());
    if body.len() > case.snapshot.limits().answer_bytes_max {
        return withheld(case, facts, DenyReason::AnswerTooLarge, "the answer is larger than the limit");
    }
    let Scratch { answer: parsed, inner, worker, edited, .. } = scratch;
    let reply = match rpc::read_reply(&body, parsed, limits, &case.expected) {
        Ok(reply) => reply,
        Err(_) => return withheld(case, facts, DenyReason::AnswerInvalid, "the answer is not one to this request"),
    };
    let answers = matches!(reply, Reply::Error { .. } | Reply::Result { .. });
    if answers == answered || (!answers && !streaming) {
        return withheld(case, facts, DenyReason::AnswerInvalid, "the answer comes twice or is no response");
    }
    let decision = match case.review(&reply, worker, now) {
        Ok(decision) => decision,
        Err(denial) => return refused(case, facts, denial, answers),
    };
    facts.decided(&decision);
    let redactions: Vec<&Redaction> = case.verdict.redactions().chain(&decision.obligations.redact).collect();
    let mut edits = Edits::default();
    let outcome = edit(case, &reply, &redactions, inner, worker, &mut edits, now);
    match outcome {
        Err(denial) => refused(case, facts, denial, answers),
        Ok(count) => {
            facts.redactions = count;
            Finding { release: spliced(status, body, &edits, edited), facts, answers }
        }
    }
}
