//! Lists show what may be used: the entries that the caller may not use are taken out.
//!
//! Owns the filter of lists. Fails closed: a policy that fails withholds the whole list.

use super::super::case::{CallFacts, Case};
use super::Tools;
use crate::denial::{Denial, DenyReason};
use crate::json::{Edits, Node};
use crate::redact;
use crate::rpc::{Method, Target};
use crate::time::UnixTime;

/// Takes out of a list what the caller may not call: no row, missing scopes, or hidden by the policy.
pub(super) fn filter_tools(
    case: &Case<'_>,
    call: &CallFacts,
    result: Node<'_>,
    now: UnixTime,
    tools: &mut Tools<'_>,
    edits: &mut Edits,
) -> Result<usize, Denial> {
    let table = case.server.tools();
    let principal = &case.principal;
    let policy = case.server.policy();
    let limits = super::super::eval_limits(case.snapshot.limits());
    let mut failure = None;
    let keep = |tool: &str| {
        let Ok(grant) = table.grant(tool, |scope| principal.has_scope(scope)) else {
            return false;
        };
        let Some(mut input) = case.input(Target::Tool(tool), grant.needs(), None, now) else {
            return false;
        };
        input.request.method = Method::ToolsCall.as_str();
        match policy.visible(&input, tools.worker, &limits, &*case.gate.ticks) {
            Ok(visible) => visible,
            Err(error) => {
                failure = Some(error);
                false
            }
        }
    };
    let ttl_ms_max = call
        .version
        .is_modern()
        .then(|| principal.expires().since(now).as_millis());
    let ttl_ms_max = ttl_ms_max.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX));
    let filtered = redact::filter_tools(result, ttl_ms_max, keep, edits);
    match (failure, filtered) {
        (Some(failure), _) => Err(super::super::policy_failed(failure)),
        (None, Ok(filtered)) => Ok(filtered.dropped),
        (None, Err(_)) => Err(Denial::new(DenyReason::AnswerInvalid, "the list of tools is not one")),
    }
}
