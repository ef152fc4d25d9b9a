//! What a server says about tasks, of 2025-11-25 and of the extension of 2026-07-28.
//!
//! Owns the reading of a task's state: the task that a call has started, the state that its caller asks for, the list, and
//! the notifications. A task that cannot be bound to its caller is not handed out, and nobody hears of another's.

use std::sync::Arc;

use super::super::authentication;
use super::super::case::{CallFacts, Case};
use super::super::records::PartFacts;
use super::super::tasks::TaskFacts;
use super::messages::Told;
use super::{Parts, Tools, blank_error};
use crate::denial::{Denial, DenyReason};
use crate::json::{Edits, Kind, Node};
use crate::policy::{Decision, Redaction};
use crate::redact;
use crate::rpc::subscription::META_SUBSCRIPTION;
use crate::rpc::{Method, ProtocolVersion, ServerMethod, Target};
use crate::time::UnixTime;

/// The longest id of a task, in bytes: nobody could ask for one that is longer.
const ID_BYTES_MAX: usize = 1024;

/// The task that the result of a `tools/call` hands out in place of its answer: nested in 2025-11-25, the result itself in
/// 2026-07-28.
pub(super) fn started<'b>(call: &CallFacts, result: Node<'b>) -> Option<Node<'b>> {
    if call.method != Method::ToolsCall {
        return None;
    }
    match call.version {
        ProtocolVersion::V2025_11_25 => result.member("task"),
        ProtocolVersion::V2026_07_28 => {
            (result.member("resultType").and_then(Node::as_str) == Some("task")).then_some(result)
        }
        ProtocolVersion::V2025_03_26 | ProtocolVersion::V2025_06_18 => None,
    }
}

/// Whether a result is the state of a task, which may carry the result of its tool.
pub(super) fn is_state(call: &CallFacts, result: Node<'_>) -> bool {
    matches!(
        call.method,
        Method::TasksCancel | Method::TasksGet | Method::TasksUpdate
    ) || started(call, result).is_some()
}

/// What the policy sees of an answer that is the state of a task. In the modern era `tasks/get` carries what the task came
/// to.
pub(super) fn answer_parts<'b>(call: &CallFacts, result: Node<'b>) -> Parts<'b> {
    match (call.method, call.version.is_modern()) {
        (Method::TasksGet, true) => state_parts(result, "result"),
        _ => Parts {
            status_message: status_message(started(call, result).unwrap_or(result)),
            ..Parts::of("result", Some(result))
        },
    }
}

/// What the policy sees of a state: what it carries, as if it came alone, or all of it as `kind`; and in either case what
/// the server says of it.
pub(super) fn state_parts<'b>(state: Node<'b>, kind: &'static str) -> Parts<'b> {
    let carried = ["result", "error", "inputRequests"].map(|key| state.member(key));
    let parts = match carried {
        [Some(result), ..] => Parts::answer(result),
        [None, Some(error), _] => Parts::error(error),
        [None, None, Some(requests)] => Parts::of("input_required", Some(requests)),
        [None, None, None] => Parts::of(kind, Some(state)),
    };
    Parts {
        status_message: status_message(state),
        ..parts
    }
}

fn status_message<'b>(state: Node<'b>) -> Option<&'b str> {
    state.member("statusMessage").and_then(Node::as_str)
}

/// Checks that a state is that of the task which was asked for.
pub(super) fn check_own(case: &Case<'_>, state: Node<'_>) -> Result<(), Denial> {
    let (Some(facts), Some(id)) = (&case.task, state.member("taskId")) else {
        return Ok(());
    };
    match id.as_str().map(|id| case.task_digest(id)) {
        Some(digest) if digest == facts.digest => Ok(()),
        _ => Err(Denial::new(
            DenyReason::AnswerInvalid,
            "the state is that of another task than was asked for",
        )),
    }
}

/// Binds the task that leaves to its caller: the last step of a review.
pub(super) fn bind(
    case: &Case<'_>,
    task: Node<'_>,
    redactions: &[Redaction],
    facts: &mut PartFacts,
    now: UnixTime,
) -> Result<(), Denial> {
    let Some(id) = task
        .member("taskId")
        .and_then(Node::as_str)
        .filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()))
    else {
        return Err(Denial::new(
            DenyReason::AnswerInvalid,
            "the task that the call has started has no id",
        ));
    };
    let ttl_ms = task
        .member("ttl")
        .or_else(|| task.member("ttlMs"))
        .and_then(Node::as_u64);
    facts.task_digest = case.start_task(id, ttl_ms, redactions, now);
    match facts.task_digest {
        Some(_) => Ok(()),
        None => Err(Denial::new(
            DenyReason::AnswerWithheld,
            "the task cannot be bound to its caller: there is no room, or it is another's",
        )),
    }
}

/// Notes in `edits` what goes of a task's state under `redactions`: free text, and of the result what goes of any result
/// of the tool. Of what stays the values are looked at too: none has room for words.
pub(super) fn redact_state(
    case: &Case<'_>,
    state: Node<'_>,
    redactions: &[Redaction],
    tools: &mut Tools<'_>,
    edits: &mut Edits,
) -> Result<usize, Denial> {
    if redactions.is_empty() {
        return Ok(0);
    }
    edits.remove_member(state, "_meta");
    redact_members(case, state, redactions, tools, edits)
}

/// The same for a message about a task. The subscription that it belongs to stays named.
pub(super) fn redact_told(
    case: &Case<'_>,
    method: ServerMethod,
    state: Node<'_>,
    redactions: &[Redaction],
    tools: &mut Tools<'_>,
    edits: &mut Edits,
) -> Result<usize, Denial> {
    match state.member("_meta") {
        // Which subscription it names was checked.
        Some(meta) if method == ServerMethod::Tasks => {
            for member in meta.members().filter(|member| member.key != META_SUBSCRIPTION) {
                edits.remove_member(meta, member.key);
            }
        }
        _ => {
            edits.remove_member(state, "_meta");
        }
    }
    redact_members(case, state, redactions, tools, edits)
}

fn redact_members(
    case: &Case<'_>,
    state: Node<'_>,
    redactions: &[Redaction],
    tools: &mut Tools<'_>,
    edits: &mut Edits,
) -> Result<usize, Denial> {
    let mut count = 0_usize;
    let withheld = |operator| Err(Denial::new(DenyReason::AnswerWithheld, operator));
    for member in state.members() {
        let gone = match member.key {
            "_meta" => 0,
            "error" => blank_error(member.value, edits)?,
            "result" => {
                let limits = super::super::json_limits(case.snapshot.limits());
                redact::apply_result(member.value, redactions, limits, tools.redact, edits)
                    .map_err(|withhold| Denial::new(DenyReason::AnswerWithheld, withhold.operator()))?
                    .redactions
            }
            "statusMessage" => {
                edits.remove_member(state, member.key);
                1
            }
            "task" if member.value.kind() == Kind::Object => {
                redact_state(case, member.value, redactions, tools, edits)?
            }
            "inputRequests" => return withheld("free text of the server cannot be redacted"),
            key if has_no_words(key, member.value) => 0,
            _ => return withheld("the state of a task has a member that cannot be redacted"),
        };
        count = count.saturating_add(gone);
    }
    Ok(count)
}

/// Whether a member of a state is one of the protocol's, and its value says nothing but that.
fn has_no_words(key: &str, value: Node<'_>) -> bool {
    match key {
        "createdAt" | "lastUpdatedAt" => value.as_str().is_some_and(redact::is_time),
        "pollInterval" | "pollIntervalMs" => value.as_u64().is_some(),
        "resultType" => matches!(value.as_str(), Some("complete" | "task")),
        "status" => matches!(
            value.as_str(),
            Some("cancelled" | "completed" | "failed" | "input_required" | "working")
        ),
        // It is the id of the task that was asked for, or the one that the task is bound by from here on.
        "taskId" => value.as_str().is_some(),
        "ttl" | "ttlMs" => value.is_null() || value.as_u64().is_some(),
        _ => false,
    }
}

/// Takes out of a list what is not the caller's, and of what may not be told whole what goes of any state; an entry that
/// cannot be searched goes whole.
pub(super) fn filter(
    case: &Case<'_>,
    result: Node<'_>,
    now: UnixTime,
    tools: &mut Tools<'_>,
    edits: &mut Edits,
) -> Result<usize, Denial> {
    let Some(tasks) = result.member("tasks").filter(|tasks| tasks.kind() == Kind::Array) else {
        return Err(Denial::new(DenyReason::AnswerInvalid, "the list of tasks is not one"));
    };
    let mut count = 0_usize;
    let mut whole = true;
    for task in tasks.elements() {
        let id = task.member("taskId").and_then(Node::as_str);
        let redacted = match id.and_then(|id| case.own_task(id, now)) {
            None => None,
            Some(facts) if facts.task.redactions.is_empty() => Some(0),
            Some(facts) => {
                whole = false;
                redact_state(case, task, &facts.task.redactions, tools, edits).ok()
            }
        };
        if redacted.is_none() {
            edits.remove_element(tasks, task);
        }
        count = count.saturating_add(redacted.unwrap_or(1));
    }
    // What stands beside the entries may tell of them.
    let named = |key| matches!(key, "_meta" | "nextCursor" | "resultType" | "tasks");
    match whole || result.members().all(|member| named(member.key)) {
        true => {}
        false => {
            return Err(Denial::new(
                DenyReason::AnswerWithheld,
                "the list of tasks has a member that cannot be redacted",
            ));
        }
    }
    if !whole {
        edits.remove_member(result, "_meta");
    }
    Ok(count)
}

/// A message about a task of the caller's, and what the policy says to who asks for that task now.
pub(super) struct Heard {
    facts: TaskFacts,
    decision: Arc<Decision>,
}

impl Heard {
    /// What the message is about: the tool that has started the task.
    pub(super) fn target(&self) -> Target<'_> {
        Target::Tool(&self.facts.task.tool)
    }

    /// The policy's word on asking for the task.
    pub(super) fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The keyed digest of the task's id.
    pub(super) const fn digest(&self) -> [u8; 32] {
        self.facts.digest
    }

    /// What was demanded of the call that has started the task, and what is demanded of who asks for it now.
    pub(super) fn redactions(&self) -> impl Iterator<Item = &Redaction> {
        self.facts
            .task
            .redactions
            .iter()
            .chain(&self.decision.obligations.redact)
    }
}

/// Judges a message about a task as if its caller had asked for the task (`tasks/get`): it must be the caller's own, its
/// tool covered by the caller's scopes, and shown and allowed by the policy. `None` for a message about anything else.
pub(super) fn heard(
    case: &Case<'_>,
    told: Told<'_>,
    now: UnixTime,
    tools: &mut Tools<'_>,
) -> Result<Option<Heard>, Denial> {
    if !matches!(told.method, ServerMethod::Tasks | ServerMethod::TasksStatus) {
        return Ok(None);
    }
    let withheld = |operator| Err(Denial::new(DenyReason::AnswerWithheld, operator));
    let Some(id) = told.params.and_then(|params| params.member("taskId")?.as_str()) else {
        return Err(Denial::new(
            DenyReason::AnswerInvalid,
            "the message about a task names none",
        ));
    };
    let Some(facts) = case.own_task(id, now) else {
        return withheld("the message is about a task of nobody that the caller is");
    };
    let target = Target::Tool(&facts.task.tool);
    let Ok(grant) = case.server.grant(target, |scope| case.principal.has_scope(scope)) else {
        return withheld("the caller's scopes do not cover the tool of the task");
    };
    let Some(mut input) = case.input(target, grant.needs(), None, now) else {
        return Err(Denial::new(DenyReason::PolicyFailed, "the caller was not looked up"));
    };
    input.request.method = Method::TasksGet.as_str();
    let (policy, ticks) = (case.server.policy(), &*case.gate.ticks);
    let limits = super::super::eval_limits(case.snapshot.limits());
    let visible = policy.visible(&input, tools.worker, &limits, ticks);
    if !visible.map_err(super::super::policy_failed)? {
        return withheld("the policy hides the tool of the task from the caller");
    }
    let decision = policy
        .decide(&input, tools.worker, &limits, ticks)
        .map_err(super::super::policy_failed)?;
    let leeway = case.snapshot.limits().leeway;
    let demand = decision.obligations.authenticate.as_ref();
    let logged_in = demand.is_none_or(|demand| authentication::satisfies(&case.principal, demand, now, leeway));
    match decision.allows() && logged_in {
        true => Ok(Some(Heard { facts, decision })),
        false => withheld("the policy does not let the caller ask for the task"),
    }
}
