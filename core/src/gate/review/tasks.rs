//! What a server says about tasks, of 2025-11-25 and of the extension of 2026-07-28.
//!
//! Owns the reading of a task's state: the task that a call has started, the state that its caller asks for, the list, and
//! the notifications. A task that cannot be bound to its caller is not handed out, and nobody hears of another's.

use super::super::case::{CallFacts, Case};
use super::super::records::PartFacts;
use super::{Tools, blank_error};
use crate::denial::{Denial, DenyReason};
use crate::json::{Edits, Kind, Node};
use crate::policy::Redaction;
use crate::redact;
use crate::rpc::{Method, ProtocolVersion};
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

/// The result of the tool that the state of a task carries.
pub(super) fn carried<'b>(call: &CallFacts, result: Node<'b>) -> Option<Node<'b>> {
    match (call.method, call.version.is_modern()) {
        (Method::TasksGet, true) => result.member("result"),
        _ => None,
    }
}

/// What the policy sees of a task's state that carries no result: kind and content.
pub(super) fn state_parts<'b>(call: &CallFacts, result: Node<'b>) -> (&'static str, Node<'b>, bool) {
    let modern = call.method == Method::TasksGet && call.version.is_modern();
    match (result.member("error"), result.member("inputRequests")) {
        (Some(error), _) if modern => ("error", error, true),
        (None, Some(requests)) if modern => ("input_required", requests, false),
        _ => ("result", result, false),
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
/// of the tool.
pub(super) fn redact_state(
    case: &Case<'_>,
    state: Node<'_>,
    redactions: &[Redaction],
    tools: &mut Tools<'_>,
    edits: &mut Edits,
) -> Result<usize, Denial> {
    let mut count = 0_usize;
    if redactions.is_empty() {
        return Ok(count);
    }
    let withheld = |operator| Err(Denial::new(DenyReason::AnswerWithheld, operator));
    for member in state.members() {
        let gone = match member.key {
            "_meta" => {
                edits.remove_member(state, member.key);
                0
            }
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
            "createdAt" | "lastUpdatedAt" | "pollInterval" | "pollIntervalMs" | "resultType" | "status" | "taskId"
            | "ttl" | "ttlMs" => 0,
            "inputRequests" => return withheld("free text of the server cannot be redacted"),
            _ => return withheld("the state of a task has a member that cannot be redacted"),
        };
        count = count.saturating_add(gone);
    }
    Ok(count)
}

/// Takes out of a list what is not the caller's, and free text about what may not be told whole.
pub(super) fn filter(case: &Case<'_>, result: Node<'_>, now: UnixTime, edits: &mut Edits) -> Result<usize, Denial> {
    let Some(tasks) = result.member("tasks").filter(|tasks| tasks.kind() == Kind::Array) else {
        return Err(Denial::new(DenyReason::AnswerInvalid, "the list of tasks is not one"));
    };
    let mut count = 0_usize;
    for task in tasks.elements() {
        let own = task
            .member("taskId")
            .and_then(Node::as_str)
            .and_then(|id| case.own_task(id, now));
        match own {
            None => {
                edits.remove_element(tasks, task);
                count = count.saturating_add(1);
            }
            Some(facts) if facts.task.redactions.is_empty() => {}
            Some(_) => {
                for key in ["_meta", "statusMessage"] {
                    if task.member(key).is_some() {
                        edits.remove_member(task, key);
                        count = count.saturating_add(1);
                    }
                }
            }
        }
    }
    Ok(count)
}

/// Checks that a notification about a task is the caller's to hear. One that carries what the task came to is not: what
/// the policy demands of that is known where the task is asked for.
pub(super) fn check_notification(case: &Case<'_>, params: Option<Node<'_>>, now: UnixTime) -> Result<(), Denial> {
    let withheld = |operator| Err(Denial::new(DenyReason::AnswerWithheld, operator));
    let Some((params, id)) = params.and_then(|params| Some((params, params.member("taskId")?.as_str()?))) else {
        return Err(Denial::new(
            DenyReason::AnswerInvalid,
            "the message about a task names none",
        ));
    };
    let Some(facts) = case.own_task(id, now) else {
        return withheld("the message is about a task of nobody that the caller is");
    };
    let has = |key: &str| params.member(key).is_some();
    if ["error", "inputRequests", "result"].into_iter().any(has) {
        return withheld("a notification carries what a task came to, which is reviewed where it is asked for");
    }
    if !facts.task.redactions.is_empty() {
        return withheld("what the server tells of a task beside its state cannot be redacted");
    }
    Ok(())
}
