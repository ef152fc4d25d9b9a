//! What may leave of an answer: stages 11 and 12.
//!
//! Owns the judgement of one answer against its case. Fails closed: an answer that is not one to this request, that
//! the policy does not allow, or that an obligation cannot be carried out on, is withheld. What passes is the
//! upstream's own bytes, but for the parts that were taken out.

use bytes::Bytes;

use super::Scratch;
use super::case::{CallFacts, Case};
use super::records::PartFacts;
use super::release::{Answer, Release};
use crate::audit::Outcome;
use crate::denial::{Denial, DenyReason};
use crate::json::{self, Edits, Node, Number};
use crate::policy::{Decision, Redaction, ResponseInput, Worker};
use crate::redact;
use crate::rpc::subscription::Subscription;
use crate::rpc::{self, Method, Reply, ReplyError, Reviewed, ServerMethod};
use crate::time::UnixTime;

mod capabilities;
mod contents;
mod lists;
mod messages;
mod tasks;

use messages::{Told, awaiting};

/// What the review found.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) release: Release,
    pub(super) facts: PartFacts,
    /// Whether this was the response to the request.
    pub(super) answers: bool,
    /// Whether it is the result that was asked for, and leaves.
    pub(super) succeeds: bool,
    /// Whether the server ends the stream by it, without a response.
    pub(super) ends: bool,
}

/// Where an answer stands in its exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// It is one message of a stream.
    pub(super) streaming: bool,
    /// The response to the request was reviewed already.
    pub(super) answered: bool,
    /// Why nothing may leave any more, whatever it is.
    pub(super) refused: Option<(DenyReason, &'static str)>,
}

/// The bytes that may leave, and how many values were taken out of them.
struct Passed {
    edited: Option<Bytes>,
    redactions: usize,
}

impl Passed {
    /// Everything, as it came.
    const fn whole() -> Self {
        Self {
            edited: None,
            redactions: 0,
        }
    }
}

/// Judges one answer; `subscription` is what the stream may carry, where one was asked for.
pub(super) fn judge(
    case: &Case<'_>,
    answer: Answer,
    place: Place,
    subscription: Option<&mut Subscription>,
    now: UnixTime,
    scratch: &mut Scratch,
) -> Finding {
    // What was revoked after the permit gets nothing of the answer.
    let refused = match (case.check_revocation(now), place.refused) {
        (Err(revoked), _) => Some(revoked),
        (Ok(()), refused) => refused.map(|(reason, operator)| case.denial(reason, operator)),
    };
    if let Some(denial) = refused {
        let (status, digest) = match &answer {
            Answer::Empty { status } => (*status, None),
            Answer::Json { status, body } => (*status, Some(case.gate.key.mac(body))),
            Answer::Message { data } => (200, Some(case.gate.key.mac(data))),
        };
        return withheld_by(PartFacts::new(status, digest), denial);
    }
    let (status, body) = match answer {
        Answer::Empty { status } => return without_body(case, status, None),
        Answer::Json { status, body } => (status, body),
        Answer::Message { data } => (200, data),
    };
    let digest = case.gate.key.mac(&body);
    let mut facts = PartFacts::new(status, Some(digest));
    let Some(call) = &case.call else {
        return withheld(case, facts, DenyReason::AnswerInvalid, "no call was read");
    };
    if !place.streaming && !call.method.is_answered() {
        // JSON-RPC 2.0 section 4.1: neither a notification nor a response has a response, so what comes with the status is
        // not passed on.
        return without_body(case, status, Some(digest));
    }
    let Weighed {
        answers,
        succeeds,
        ends,
        passed,
    } = weigh(case, call, (&body, now), place, subscription, &mut facts, scratch);
    let (succeeds, ends) = (succeeds && passed.is_ok(), ends && passed.is_ok());
    let release = match passed {
        Ok(Passed { edited, redactions }) => {
            facts.outcome = Outcome::Reviewed;
            facts.redactions = u64::try_from(redactions).unwrap_or(u64::MAX);
            match edited {
                Some(body) => Release::Redacted { status, body },
                None => Release::Pass { status, body },
            }
        }
        // What is no response has no id to refuse, and no request is answered twice: kept back in silence, on record.
        Err(denial) if !answers || place.answered => {
            facts.refusal = Some(denial.reason.code());
            Release::Dropped
        }
        Err(denial) => return withheld(case, facts, denial.reason, denial.operator),
    };
    Finding {
        release,
        facts,
        answers,
        succeeds,
        ends,
    }
}

/// What one message is worth.
struct Weighed {
    /// Whether it is the response to the request, or stands where that should.
    answers: bool,
    /// Whether it is a result.
    succeeds: bool,
    /// Whether nothing may follow it, though it is no response.
    ends: bool,
    passed: Result<Passed, Denial>,
}

/// Reads one message and reviews it.
fn weigh(
    case: &Case<'_>,
    call: &CallFacts,
    (body, now): (&[u8], UnixTime),
    place: Place,
    subscription: Option<&mut Subscription>,
    facts: &mut PartFacts,
    scratch: &mut Scratch,
) -> Weighed {
    let owed = call.method.is_answered();
    let stray = |reason, operator| Weighed {
        answers: false,
        succeeds: false,
        ends: false,
        passed: Err(Denial::new(reason, operator)),
    };
    // Where nothing is owed, what cannot be read is a stray message too.
    let refused = |reason, operator| Weighed {
        answers: owed,
        ..stray(reason, operator)
    };
    if !owed && call.method != Method::HttpListen {
        return stray(DenyReason::AnswerInvalid, "nothing but a status answers this message");
    }
    if !facts.status.is_some_and(carries_answer) {
        return refused(DenyReason::UpstreamFailed, "the upstream's status is no answer");
    }
    if case.snapshot.limits().answer_bytes_max < body.len() {
        return refused(DenyReason::AnswerTooLarge, "the answer is larger than the limit");
    }
    let Scratch {
        answer: parsed,
        worker,
        arguments,
        redact,
        ..
    } = scratch;
    let limits = super::json_limits(case.snapshot.limits());
    let reply = match rpc::read_reply(body, parsed, limits, &call.expected) {
        Ok(reply) => reply,
        // On a stream it may be meant for somebody else: it is dropped, and the answer that is owed may follow.
        Err(ReplyError::IdMismatch) if place.streaming => {
            return stray(DenyReason::AnswerInvalid, "the answer is to no request of this stream");
        }
        Err(_) => return refused(DenyReason::AnswerInvalid, "the answer is not one to this request"),
    };
    let answers = matches!(
        reply,
        Reply::Error { .. } | Reply::InputRequired { .. } | Reply::Result { .. }
    );
    if answers && place.answered || !answers && !place.streaming {
        return refused(DenyReason::AnswerInvalid, "the answer comes twice, or is no response");
    }
    let is_result = answers && !matches!(reply, Reply::Error { .. });
    if is_result && facts.status != Some(200) {
        return refused(DenyReason::AnswerInvalid, "a result comes with the status of a failure");
    }
    let mut tools = Tools {
        worker,
        arguments,
        redact,
    };
    let told = Told::by(&reply);
    facts.message = told.map(|told| told.method);
    let placed = match (told, &subscription) {
        (Some(_), _) if case.is_unlisted() => Err(Denial::new(
            DenyReason::SubjectUnlisted,
            "who has no row in the policy's data hears nothing but the answer",
        )),
        (Some(told), subscription) => messages::check_place(case, call, told, subscription.as_deref(), now, &mut tools),
        (None, _) => Ok(()),
    };
    let passed = placed.and_then(|()| review(case, call, &reply, facts, now, &mut tools));
    let ends = match (told, subscription) {
        (Some(told), Some(subscription)) if passed.is_ok() => {
            subscription.passed(told.method, told.params);
            told.method == ServerMethod::Cancelled
        }
        _ => false,
    };
    Weighed {
        answers,
        succeeds: matches!(reply, Reply::Result { .. }),
        ends,
        passed,
    }
}

/// Whether a message may come with this status. With 401, 403 and 407 the upstream refuses the gate: no client can cure
/// that, and it would take the refusal for the gate's own.
const fn carries_answer(status: u16) -> bool {
    matches!(status, 200 | 400 | 402 | 404..=406 | 408..=599)
}

/// The parts of the scratch that a review works with beside the parsed answer.
struct Tools<'s> {
    worker: &'s mut Worker,
    arguments: &'s mut json::Scratch,
    redact: &'s mut redact::Scratch,
}

fn review(
    case: &Case<'_>,
    call: &CallFacts,
    reply: &Reply<'_>,
    facts: &mut PartFacts,
    now: UnixTime,
    tools: &mut Tools<'_>,
) -> Result<Passed, Denial> {
    let parts = parts(call, reply)?;
    if let Reply::Notification {
        method: ServerMethod::ToolsListChanged,
        ..
    } = reply
    {
        case.gate.tool_lists.want(case.server.name());
    }
    let heard = Told::by(reply).map_or(Ok(None), |told| tasks::heard(case, told, now, tools))?;
    let method = facts.message.map(ServerMethod::as_str);
    let decision = decide(case, call, heard.as_ref(), &parts, method, now, tools)?;
    let allowed = decision.allows();
    let obligations = decision.obligations.redact.clone();
    facts.decision = Some(decision);
    if !allowed {
        return Err(Denial::new(
            DenyReason::AnswerWithheld,
            "the policy keeps the answer back",
        ));
    }
    let demanded = case.verdict.iter().flat_map(|verdict| verdict.redactions());
    let mut redactions: Vec<Redaction> = demanded.cloned().collect();
    redactions.extend(obligations);
    redactions.extend(case.task.iter().flat_map(|facts| facts.task.redactions.iter()).cloned());
    redactions.extend(heard.iter().flat_map(tasks::Heard::redactions).cloned());
    let mut started = None;
    let mut edits = Edits::default();
    let (text, count) = match reply {
        Reply::Result { document, result } if let Some(listed) = lists::listed(call.method) => {
            // A list has no structured content: pointers would have no root.
            if !redactions.is_empty() {
                return Err(Denial::new(DenyReason::AnswerWithheld, "a list cannot be redacted"));
            }
            (
                document.text(),
                lists::filter(case, call, listed, *result, now, tools, &mut edits)?,
            )
        }
        Reply::InputRequired { state, .. } if redactions.is_empty() => {
            facts.request_state_digest = state.map(|state| case.gate.key.mac(state.as_bytes()));
            return Ok(Passed::whole());
        }
        Reply::Result { document, result } if call.method == Method::TasksList => {
            // A list has no structured content: pointers would have no root.
            if !redactions.is_empty() {
                return Err(Denial::new(DenyReason::AnswerWithheld, "a list cannot be redacted"));
            }
            (document.text(), tasks::filter(case, *result, now, tools, &mut edits)?)
        }
        Reply::Result { document, result } if tasks::is_state(call, *result) => {
            tasks::check_own(case, *result)?;
            started = tasks::started(call, *result);
            (
                document.text(),
                tasks::redact_state(case, *result, &redactions, tools, &mut edits)?,
            )
        }
        Reply::Result { document, result } => {
            let limits = super::json_limits(case.snapshot.limits());
            let applied = redact::apply_result(*result, &redactions, limits, tools.redact, &mut edits)
                .map_err(|withhold| Denial::new(DenyReason::AnswerWithheld, withhold.operator()))?;
            let further = match call.method.row().reviewed {
                Reviewed::Capabilities => capabilities::strike(case, call, *result, now, &mut edits)?,
                Reviewed::ResourceContents => contents::filter(case, call, *result, now, tools, &mut edits)?,
                _ => 0,
            };
            (document.text(), applied.redactions.saturating_add(further))
        }
        Reply::Error { .. } | Reply::Notification { .. } | Reply::Unjudged if redactions.is_empty() => {
            return Ok(Passed::whole());
        }
        Reply::Notification {
            document,
            method,
            params: Some(params),
        } if let Some(heard) = &heard => {
            facts.task_digest = Some(heard.digest());
            let count = tasks::redact_told(case, *method, *params, &redactions, tools, &mut edits)?;
            (document.text(), count)
        }
        Reply::Notification { method, params, .. } if messages::is_wordless(*method, *params) => {
            return Ok(Passed::whole());
        }
        Reply::Request { answer, id, params, .. } if redactions.is_empty() || params.is_none() => {
            return awaiting(case, call, *answer, *id, now);
        }
        Reply::Error { document, error } => (document.text(), blank_error(*error, &mut edits)?),
        // Free text cannot be searched by pointer: what should be redacted in it cannot be found.
        Reply::InputRequired { .. } | Reply::Notification { .. } | Reply::Request { .. } | Reply::Unjudged => {
            return Err(Denial::new(
                DenyReason::AnswerWithheld,
                "free text of the server cannot be redacted",
            ));
        }
    };
    let passed = spliced(text, &edits, count)?;
    match started {
        Some(task) => tasks::bind(case, task, &redactions, facts, now).map(|()| passed),
        None => Ok(passed),
    }
}

/// Asks the policy about the answer; about a message that tells of a task as about the answer to who asks for it.
fn decide(
    case: &Case<'_>,
    call: &CallFacts,
    heard: Option<&tasks::Heard>,
    parts: &Parts<'_>,
    method: Option<&str>,
    now: UnixTime,
    tools: &mut Tools<'_>,
) -> Result<Decision, Denial> {
    let unread = || Denial::new(DenyReason::PolicyFailed, "the arguments could not be read again");
    let policy = case.server.policy();
    let limits = super::eval_limits(case.snapshot.limits());
    let target = heard.map_or_else(|| call.named.target(), tasks::Heard::target);
    let grant = case
        .server
        .grant(target, |scope| case.principal.has_scope(scope))
        .map_err(|_| unread())?;
    let arguments = match case.body.get(call.arguments.clone()) {
        Some(raw) if !raw.is_empty() && heard.is_none() && policy.review_reads_arguments() => {
            let limits = super::json_limits(case.snapshot.limits());
            Some(json::parse(raw, tools.arguments, limits).map_err(|_| unread())?.root())
        }
        _ => None,
    };
    let mut request = case.input(target, grant.needs(), arguments, now).ok_or_else(unread)?;
    let request_decision = match (heard, &case.verdict) {
        (Some(heard), _) => {
            request.request.method = Method::TasksGet.as_str();
            heard.decision()
        }
        (None, Some(verdict)) => verdict.decision(),
        (None, None) => return Err(unread()),
    };
    let mut buffer = [0; 36];
    let input = ResponseInput {
        request: &request,
        request_decision,
        record_id: case.record_id.encode(&mut buffer),
        kind: parts.kind,
        method,
        content: parts.content,
        structured: parts.structured,
        is_error: parts.is_error,
        status_message: parts.status_message,
    };
    policy
        .review(&input, tools.worker, &limits, &*case.gate.ticks)
        .map_err(super::policy_failed)
}

/// What the policy sees of an answer.
#[derive(Clone, Copy)]
struct Parts<'b> {
    kind: &'static str,
    content: Option<Node<'b>>,
    structured: Option<Node<'b>>,
    is_error: bool,
    /// What a server says of the state of a task.
    status_message: Option<&'b str>,
}

impl<'b> Parts<'b> {
    const fn of(kind: &'static str, content: Option<Node<'b>>) -> Self {
        Self {
            kind,
            content,
            structured: None,
            is_error: false,
            status_message: None,
        }
    }

    fn error(error: Node<'b>) -> Self {
        Self {
            is_error: true,
            ..Self::of("error", Some(error))
        }
    }

    /// The parts of a tool's answer.
    fn answer(answer: Node<'b>) -> Self {
        Self {
            structured: answer.member("structuredContent"),
            is_error: answer.member("isError").and_then(Node::as_bool).unwrap_or(false),
            ..Self::of("result", answer.member("content"))
        }
    }
}

/// What the policy sees of a reply: the parts of a tool's answer, also where a task carries it, or the whole of any
/// other.
fn parts<'b>(call: &CallFacts, reply: &Reply<'b>) -> Result<Parts<'b>, Denial> {
    Ok(match *reply {
        Reply::Error { error, .. } => Parts::error(error),
        Reply::InputRequired { requests, .. } => Parts::of("input_required", requests),
        Reply::Notification {
            method: ServerMethod::Tasks | ServerMethod::TasksStatus,
            params: Some(params),
            ..
        } => tasks::state_parts(params, "notification"),
        Reply::Notification { params, .. } => Parts::of("notification", params),
        Reply::Request { params, .. } => Parts::of("request", params),
        Reply::Result { result, .. } if tasks::is_state(call, result) => tasks::answer_parts(call, result),
        Reply::Result { result, .. } if matches!(call.method, Method::TasksResult | Method::ToolsCall) => {
            Parts::answer(result)
        }
        Reply::Result { result, .. } => Parts::of("result", Some(result)),
        Reply::Unjudged => {
            return Err(Denial::new(
                DenyReason::AnswerWithheld,
                "the message of the server has no row, or not the form of its row",
            ));
        }
    })
}

/// Takes everything but its code out of an error of the upstream: the code says what went wrong, and a pointer finds
/// nothing in the rest.
fn blank_error(error: Node<'_>, edits: &mut Edits) -> Result<usize, Denial> {
    let mut blanked = 0_usize;
    for member in error.members() {
        let gone = match member.key {
            "code" => match member.value.as_number() {
                Some(Number::Integer(_)) => continue,
                _ => false,
            },
            "message" => {
                edits.replace_string(member.value.span(), "the server refused the call");
                true
            }
            key => edits.remove_member(error, key),
        };
        if !gone {
            return Err(Denial::new(
                DenyReason::AnswerWithheld,
                "an error of the server cannot be blanked",
            ));
        }
        blanked = blanked.saturating_add(1);
    }
    Ok(blanked)
}

fn spliced(text: &str, edits: &Edits, redactions: usize) -> Result<Passed, Denial> {
    if edits.is_empty() {
        return Ok(Passed {
            edited: None,
            redactions,
        });
    }
    let mut edited = Vec::with_capacity(text.len());
    edits.apply(text, &mut edited).map_err(|_| {
        Denial::new(
            DenyReason::AnswerWithheld,
            "the redactions overlap in a way that cannot be spliced",
        )
    })?;
    Ok(Passed {
        edited: Some(Bytes::from(edited)),
        redactions,
    })
}

/// The release of a status whose body, if any, is not passed on.
///
/// A request must be answered, so its success without a body is none. The upstream's own refusal of us is not the
/// client's to cure.
fn without_body(case: &Case<'_>, status: u16, content_digest: Option<[u8; 32]>) -> Finding {
    let unanswered = case
        .call
        .as_ref()
        .is_some_and(|call| !call.method.is_answered() && call.method != Method::HttpListen);
    let mut facts = PartFacts::new(status, content_digest);
    let passes = match status {
        200 | 202 | 204 => unanswered,
        400 | 404 | 405 | 406 | 409 | 413 | 415 | 429 => true,
        _ => false,
    };
    if !passes {
        return withheld(
            case,
            facts,
            DenyReason::UpstreamFailed,
            "the upstream's status is no answer",
        );
    }
    facts.outcome = Outcome::Reviewed;
    // Whatever success the upstream names, the answer to a notification or response is 202 (MCP streamable HTTP).
    let ends_session = case
        .call
        .as_ref()
        .is_some_and(|call| call.method == Method::HttpTerminate);
    let status = if status < 300 && !ends_session { 202 } else { status };
    Finding {
        release: Release::Empty { status },
        facts,
        answers: true,
        succeeds: false,
        ends: false,
    }
}

#[cold]
fn withheld(case: &Case<'_>, facts: PartFacts, reason: DenyReason, operator: &'static str) -> Finding {
    withheld_by(facts, case.denial(reason, operator))
}

#[cold]
fn withheld_by(mut facts: PartFacts, denial: Denial) -> Finding {
    facts.outcome = match denial.reason {
        DenyReason::TokenExpired => Outcome::Expired,
        _ => Outcome::Withheld,
    };
    facts.refusal = Some(denial.reason.code());
    Finding {
        release: Release::Withheld(denial),
        facts,
        answers: true,
        succeeds: false,
        ends: false,
    }
}
