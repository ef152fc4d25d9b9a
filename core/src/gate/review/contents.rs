//! What comes of reading a resource: contents that may be of several, each judged by its own URI.
//!
//! Owns the filter of contents and the question whether a caller may read a resource. Fails closed: a policy that fails
//! withholds the whole answer.

use super::super::case::{CallFacts, Case};
use super::Tools;
use crate::denial::{Denial, DenyReason};
use crate::json::{Edits, Node};
use crate::rpc::{Method, Target, uri};
use crate::time::UnixTime;

/// Takes out of the result of `resources/read` what is of another resource that the caller may not read; how many.
pub(super) fn filter(
    case: &Case<'_>,
    call: &CallFacts,
    result: Node<'_>,
    now: UnixTime,
    tools: &mut Tools<'_>,
    edits: &mut Edits,
) -> Result<usize, Denial> {
    if call.version.is_modern() {
        keep_private(case, result, now, edits);
    }
    let Some(contents) = result.member("contents") else {
        return Ok(0);
    };
    let own = call.named.target().resource();
    let mut dropped = 0_usize;
    for content in contents.elements() {
        let uri = content.member("uri").and_then(Node::as_str);
        let stays = match uri {
            Some(_) if uri == own => true,
            Some(other) => may_read(case, other, now, tools)?,
            None => false,
        };
        if !stays {
            edits.remove_element(contents, content);
            dropped = dropped.saturating_add(1);
        }
    }
    Ok(dropped)
}

/// Whether the caller may read the resource of this URI: by the scope table and by the policy, without a condition that
/// would have to be carried out on it.
///
/// # Errors
/// [`DenyReason::PolicyFailed`] when that cannot be told.
pub(super) fn may_read(case: &Case<'_>, uri: &str, now: UnixTime, tools: &mut Tools<'_>) -> Result<bool, Denial> {
    // Another spelling could be another resource to the table and the same to the server.
    if !uri::is_normal(uri) {
        return Ok(false);
    }
    let target = Target::Resource(uri);
    let Ok(grant) = case.server.grant(target, |scope| case.principal.has_scope(scope)) else {
        return Ok(false);
    };
    let Some(mut input) = case.input(target, grant.needs(), None, now) else {
        return Err(Denial::new(DenyReason::PolicyFailed, "the caller was not looked up"));
    };
    input.request.method = Method::ResourcesRead.as_str();
    let (policy, ticks) = (case.server.policy(), &*case.gate.ticks);
    let limits = super::super::eval_limits(case.snapshot.limits());
    if !policy
        .visible(&input, tools.worker, &limits, ticks)
        .map_err(super::super::policy_failed)?
    {
        return Ok(false);
    }
    let decision = policy
        .decide(&input, tools.worker, &limits, ticks)
        .map_err(super::super::policy_failed)?;
    Ok(decision.allows() && decision.obligations.redact.is_empty() && decision.obligations.authenticate.is_none())
}

/// Lets nobody else keep the answer, and the client no longer than its token is good for: it was judged for one caller
/// (MCP 2026-07-28, caching).
pub(super) fn keep_private(case: &Case<'_>, result: Node<'_>, now: UnixTime, edits: &mut Edits) {
    if let Some(scope) = result
        .member("cacheScope")
        .filter(|scope| scope.as_str() != Some("private"))
    {
        edits.replace(scope.span(), "\"private\"");
    }
    let ttl_ms_max = u64::try_from(case.principal.expires().since(now).as_millis()).unwrap_or(u64::MAX);
    let ttl_ms = result.member("ttlMs");
    if let Some(ttl_ms) = ttl_ms.filter(|ttl_ms| ttl_ms.as_u64().is_none_or(|millis| ttl_ms_max < millis)) {
        edits.replace(ttl_ms.span(), &ttl_ms_max.to_string());
    }
}
