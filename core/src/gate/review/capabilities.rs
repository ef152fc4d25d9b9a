//! What a server says it can do: what the gate cannot inspect is struck, so that no client asks for it.
//!
//! Owns the names that stay. Decides nothing by caller.

use super::super::case::{CallFacts, Case};
use super::contents::keep_private;
use crate::denial::{Denial, DenyReason};
use crate::json::{Edits, Node};
use crate::time::UnixTime;

/// The capabilities of a server whose methods have rows (MCP schema, `ServerCapabilities`).
const KNOWN: [&str; 7] = [
    "completions",
    "extensions",
    "logging",
    "prompts",
    "resources",
    "tasks",
    "tools",
];

/// The extensions whose messages the gate inspects, and those that are about authorization alone.
const EXTENSIONS: [&str; 3] = [
    "io.modelcontextprotocol/enterprise-managed-authorization",
    "io.modelcontextprotocol/oauth-client-credentials",
    "io.modelcontextprotocol/tasks",
];

/// Takes out of the result of `initialize` or `server/discover` what cannot be inspected; how many members.
pub(super) fn strike(
    case: &Case<'_>,
    call: &CallFacts,
    result: Node<'_>,
    now: UnixTime,
    edits: &mut Edits,
) -> Result<usize, Denial> {
    if call.version.is_modern() {
        keep_private(case, result, now, edits);
    }
    let Some(capabilities) = result.member("capabilities") else {
        return Ok(0);
    };
    let mut struck = remove_but(capabilities, &KNOWN, edits)?;
    if let Some(extensions) = capabilities.member("extensions") {
        struck = struck.saturating_add(remove_but(extensions, &EXTENSIONS, edits)?);
    }
    Ok(struck)
}

fn remove_but(object: Node<'_>, names: &[&str], edits: &mut Edits) -> Result<usize, Denial> {
    let mut removed = 0_usize;
    for member in object.members().filter(|member| !names.contains(&member.key)) {
        if !edits.remove_member(object, member.key) {
            return Err(Denial::new(
                DenyReason::AnswerWithheld,
                "a capability that cannot be inspected cannot be taken out",
            ));
        }
        removed = removed.saturating_add(1);
    }
    Ok(removed)
}
