//! What the server's list of tools says of a call.
//!
//! Owns the comparison of `Mcp-Param-*` with the arguments, and the refusals of tools that are not known or not accepted.
//! Never allows: a tool that is listed is judged like any other.

use super::case::Case;
use crate::catalog::OnChange;
use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;
use crate::rpc::{self, Call, Method};

/// Compares the headers that repeat arguments of a tool's call, which a modern client must send, with those arguments.
///
/// # Errors
/// [`DenyReason::HeaderMismatch`], also for such a header while the tool's schema is not known.
pub(super) fn compare_headers(case: &Case<'_>, call: &Call<'_>, head: &RequestHead<'_>) -> Result<(), Denial> {
    let Some(tool) = call.target().tool().filter(|_| call.method() == Method::ToolsCall) else {
        return Ok(());
    };
    let annotated = case.catalog.as_deref().and_then(|catalog| catalog.parameters(tool));
    rpc::compare_params(head, annotated, call.arguments(), call.version().is_modern())
        .map_err(|operator| case.denial(DenyReason::HeaderMismatch, operator))
}

/// Checks that the tool of a call is known and its definition the accepted one.
///
/// # Errors
/// [`DenyReason::ToolsUnlisted`] before the first list, which is then fetched at once; [`DenyReason::ToolChanged`].
pub(super) fn check_call(case: &Case<'_>) -> Result<(), Denial> {
    let Some(call) = &case.call else { return Ok(()) };
    let on_change = case.server.tools_on_change();
    // Where definitions are withheld, nobody is shown any before the first list tells which.
    let needs_list = on_change == OnChange::Withhold && call.method == Method::ToolsList;
    let tool = call.named.tool();
    if tool.is_none() && !needs_list {
        return Ok(());
    }
    match &case.catalog {
        None => {
            case.gate.tool_lists.want(case.server.name());
            let operator = "the upstream's tools were not listed yet";
            Err(Denial::new(DenyReason::ToolsUnlisted, operator).with_retry_after_s(RETRY_AFTER_S))
        }
        Some(catalog) if tool.is_some_and(|tool| catalog.withholds(tool, on_change)) => Err(Denial::new(
            DenyReason::ToolChanged,
            "the tool's definition is not the accepted one",
        )),
        Some(_) => Ok(()),
    }
}

/// The list is fetched as soon as it is missed.
const RETRY_AFTER_S: u32 = 1;
