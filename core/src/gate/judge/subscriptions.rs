//! The parts of a `subscriptions/listen`: each resource and each task that the client wants to be told of.
//!
//! Owns their judgement, before that of the whole: a resource is judged as `resources/subscribe` of its URI, and a task
//! must be the caller's. One that is refused refuses all.

use std::collections::BTreeSet;

use super::{Refusal, ask_of, hidden, uncovered, unmapped, unmapped_like_hidden, visible};
use crate::denial::{Denial, DenyReason};
use crate::gate::case::Case;
use crate::policy::{Redaction, Worker};
use crate::rpc::{Call, Method, Subscriptions, Target};
use crate::scope::ScopeRefusal;

/// The most resources and the most tasks of one subscription: each is a question to the policy.
const PARTS_MAX: usize = 64;

/// Judges the parts; gives what the policy demands of the stream for them.
///
/// # Errors
/// The first refusal; but the challenge for scopes names those of all parts.
pub(super) fn decide(
    case: &Case<'_>,
    call: &Call<'_>,
    wanted: Subscriptions<'_>,
    worker: &mut Worker,
) -> Result<Vec<Redaction>, Refusal> {
    if PARTS_MAX < wanted.resources().count() || PARTS_MAX < wanted.task_ids().count() {
        return Err(Denial::new(DenyReason::ParamsInvalid, "the subscription has too many parts").into());
    }
    if wanted.task_ids().any(|id| case.own_task(id, case.now).is_none()) {
        return Err(Denial::new(
            DenyReason::TaskUnknown,
            "a task of the subscription is not one that this caller has started",
        )
        .into());
    }
    let mut redactions = Vec::new();
    let mut missing = BTreeSet::new();
    for uri in wanted.resources() {
        let target = Target::Resource(uri);
        let grant = case.server.grant(target, |scope| case.principal.has_scope(scope));
        let needs = match &grant {
            Ok(grant) => grant.needs(),
            Err(ScopeRefusal::Insufficient(needs)) => *needs,
            Err(ScopeRefusal::Unmapped) if case.server.policy().has_visible() => {
                return Err(unmapped_like_hidden(case, target, worker).into());
            }
            Err(ScopeRefusal::Unmapped) => return Err(unmapped(target).into()),
        };
        let Some(mut input) = case.input(target, needs, None, case.now) else {
            return Err(Denial::new(DenyReason::PolicyFailed, "the call was not read").into());
        };
        input.request.method = Method::ResourcesSubscribe.as_str();
        if grant.is_err() {
            if case.server.policy().has_visible() && !visible(case, &input, worker)? {
                return Err(hidden().into());
            }
            missing.extend(needs.required());
            continue;
        }
        let verdict = ask_of(case, call, needs, input, worker)?;
        redactions.extend_from_slice(verdict.redactions());
    }
    if missing.is_empty() {
        return Ok(redactions);
    }
    let required: Vec<Box<str>> = missing.into_iter().cloned().collect();
    Err(uncovered(case, call, &required).into())
}
