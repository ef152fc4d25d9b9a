//! A client's answer to a request of the server: a bare response in place of a call (legacy era only).
//!
//! Owns its form, strictly: whatever the response could carry beside what its request asks for is refused. Whether it is
//! awaited, and by whom, is not known here.

use crate::denial::{Denial, DenyReason};
use crate::json::{Kind, Node};

use super::keys;
use super::message::{Context, RequestId};
use super::reply::{self, ReplyError};

/// Whether `root` answers something and asks nothing.
pub(super) fn is_answer(root: Node<'_>) -> bool {
    let has = |key| root.kind() == Kind::Object && root.member(key).is_some();
    !has("method") && (has("error") || has("result"))
}

/// The id of the request that `root` answers. Only `ping` asks a client so far, and its result is empty but for `_meta`
/// (MCP 2025-11-25, ping).
///
/// # Errors
/// [`DenyReason::JsonAmbiguous`] for a near-miss of a protocol key, [`DenyReason::RpcInvalid`] for any other form.
pub(super) fn read<'b>(root: Node<'b>, context: Context<'b>) -> Result<RequestId<'b>, Denial> {
    let invalid = |operator| context.deny(DenyReason::RpcInvalid, operator);
    for member in root.members() {
        match member.key {
            "error" | "id" | "jsonrpc" | "result" => {}
            key if keys::is_near_miss(key) => return Err(context.folded()),
            _ => return Err(invalid("the client's answer has an unknown member")),
        }
    }
    if root.member("jsonrpc").and_then(Node::as_str) != Some("2.0") {
        return Err(invalid("the client's answer is not json-rpc 2.0"));
    }
    let Some(id) = root.member("id").and_then(RequestId::read) else {
        return Err(invalid("the client's answer has no id that is a string or an integer"));
    };
    let checked = match (root.member("result"), root.member("error")) {
        (Some(result), None) => empty_but_for_meta(result),
        (None, Some(error)) => error_alone(error),
        _ => Err(ReplyError::NotRpc),
    };
    match checked {
        Ok(()) => Ok(id),
        Err(ReplyError::KeyFolded) => Err(context.folded()),
        Err(_) => Err(invalid("the client's answer does not have the form of its request")),
    }
}

fn empty_but_for_meta(result: Node<'_>) -> Result<(), ReplyError> {
    reply::object(result, ReplyError::ResultInvalid)?;
    reply::meta(result)?;
    match result.members().all(|member| member.key == "_meta") {
        true => Ok(()),
        false => Err(ReplyError::ResultInvalid),
    }
}

fn error_alone(error: Node<'_>) -> Result<(), ReplyError> {
    reply::check_error(error)?;
    let known = |key| matches!(key, "code" | "data" | "message");
    match error.members().all(|member| known(member.key)) {
        true => Ok(()),
        false => Err(ReplyError::NotRpc),
    }
}
