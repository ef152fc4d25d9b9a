//! Lists show what may be used: the entries that the caller may not use are taken out.
//!
//! Owns the filter of lists of tools, prompts, resources and resource templates. An entry stays when its row covers the
//! caller and the policy shows it; a tool also only with the definition that is accepted. Fails closed: a policy that
//! fails withholds the whole list.

use super::super::case::{CallFacts, Case};
use super::Tools;
use crate::catalog::OnChange;
use crate::denial::{Denial, DenyReason};
use crate::json::{Edits, Node};
use crate::policy::PolicyFailure;
use crate::redact::{self, Listed};
use crate::rpc::{Method, Target, uri};
use crate::time::UnixTime;

/// What a method lists; `None` for one that lists nothing.
pub(super) const fn listed(method: Method) -> Option<Listed> {
    match method {
        Method::PromptsList => Some(Listed::Prompts),
        Method::ResourcesList => Some(Listed::Resources),
        Method::ResourcesTemplatesList => Some(Listed::ResourceTemplates),
        Method::ToolsList => Some(Listed::Tools),
        _ => None,
    }
}

/// Takes out of a list what the caller may not use: no row, missing scopes, hidden by the policy, or withheld. In the
/// modern era the list also becomes private to the caller, and is kept no longer than the caller's token and the gate's
/// own list hold.
pub(super) fn filter(
    case: &Case<'_>,
    call: &CallFacts,
    listed: Listed,
    result: Node<'_>,
    now: UnixTime,
    tools: &mut Tools<'_>,
    edits: &mut Edits,
) -> Result<usize, Denial> {
    let mut failure = None;
    let keep = |name: &str, entry: Node<'_>| {
        if listed == Listed::Tools && is_withheld(case, name, entry) {
            return false;
        }
        match shows(case, listed, name, now, tools) {
            Ok(shown) => shown,
            Err(error) => {
                failure = Some(error);
                false
            }
        }
    };
    let ttl_ms_max = call.version.is_modern().then(|| ttl_ms_max(case, now));
    let filtered = redact::filter_list(result, listed, ttl_ms_max, keep, edits);
    match (failure, filtered) {
        (Some(failure), _) => Err(super::super::policy_failed(failure)),
        (None, Ok(filtered)) => Ok(filtered.dropped),
        (None, Err(_)) => Err(Denial::new(DenyReason::AnswerInvalid, "the list is not one")),
    }
}

/// Whether the caller may use an entry at all, whatever its arguments.
fn shows(
    case: &Case<'_>,
    listed: Listed,
    name: &str,
    now: UnixTime,
    tools: &mut Tools<'_>,
) -> Result<bool, PolicyFailure> {
    let (target, method) = match listed {
        Listed::Prompts => (Target::Prompt(name), Method::PromptsGet),
        Listed::Resources | Listed::ResourceTemplates => (Target::Resource(name), Method::ResourcesRead),
        Listed::Tools => (Target::Tool(name), Method::ToolsCall),
    };
    // What a call could not name is not listed either.
    let named = match listed {
        Listed::Prompts | Listed::Tools => true,
        Listed::Resources => uri::is_normal(name),
        Listed::ResourceTemplates => uri::is_normal_template(name),
    };
    if !named {
        return Ok(false);
    }
    let Ok(grant) = case.server.grant(target, |scope| case.principal.has_scope(scope)) else {
        return Ok(false);
    };
    let Some(mut input) = case.input(target, grant.needs(), None, now) else {
        return Ok(false);
    };
    input.request.method = method.as_str();
    let limits = super::super::eval_limits(case.snapshot.limits());
    case.server
        .policy()
        .visible(&input, tools.worker, &limits, &*case.gate.ticks)
}

/// Whether the definition that the client would read is not the accepted one. What differs from the gate's own list is
/// listed anew.
fn is_withheld(case: &Case<'_>, name: &str, entry: Node<'_>) -> bool {
    let on_change = case.server.tools_on_change();
    let Some(catalog) = &case.catalog else {
        return on_change == OnChange::Withhold;
    };
    let withheld = catalog.withholds_definition(name, entry, on_change);
    if withheld && !catalog.withholds(name, on_change) {
        case.gate.tool_lists.want(case.server.name());
    }
    withheld
}

/// How long a client may keep a list.
fn ttl_ms_max(case: &Case<'_>, now: UnixTime) -> u64 {
    let fresh_for = case.catalog.as_deref().map(crate::catalog::Catalog::fresh_for);
    let expires_in = case.principal.expires().since(now);
    let ttl = expires_in.min(fresh_for.unwrap_or(FRESH_FOR_UNLISTED));
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

/// The gate has not listed anything yet, and may know better soon.
const FRESH_FOR_UNLISTED: std::time::Duration = std::time::Duration::from_secs(1);
