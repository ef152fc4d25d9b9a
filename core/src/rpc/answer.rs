//! A client's answer to a request of the server: a bare response in place of a call (legacy era only).
//!
//! Owns its form, strictly: whatever the response could carry beside what its request asks for is refused. Whether it is
//! awaited, by whom and as what, is not known here.

use crate::denial::{Denial, DenyReason};
use crate::json::{Kind, Node};

use super::form::{Type, has_form, may, must};
use super::message::{Context, RequestId};
use super::reply::{self, ReplyError};
use super::server_message::is_message;
use super::{Method, keys, result};

/// A client's answer, before it is known what was asked.
#[derive(Clone, Copy)]
pub(super) struct Answer<'b> {
    /// The id of the request that it answers.
    pub(super) id: RequestId<'b>,
    /// What is answered, an object; `None` for a refusal.
    pub(super) result: Option<Node<'b>>,
}

/// Whether `root` answers something and asks nothing.
pub(super) fn is_answer(root: Node<'_>) -> bool {
    let has = |key| root.kind() == Kind::Object && root.member(key).is_some();
    !has("method") && (has("error") || has("result"))
}

/// Reads `root` as an answer to some request.
///
/// # Errors
/// [`DenyReason::JsonAmbiguous`] for a near-miss of a protocol key, [`DenyReason::RpcInvalid`] for any other form.
pub(super) fn read<'b>(root: Node<'b>, context: Context<'b>) -> Result<Answer<'b>, Denial> {
    let invalid = |operator| context.deny(DenyReason::RpcInvalid, operator);
    for member in root.members() {
        match member.key {
            "error" | "id" | "jsonrpc" | "result" => {}
            key if keys::is_near_miss(key) => return Err(context.folded()),
            _ => return Err(invalid("the client's answer has an unknown member")),
        }
    }
    if root.member("jsonrpc").and_then(Node::as_str) != Some("2.0") {
        return Err(invalid("the client's answer is not JSON-RPC 2.0"));
    }
    let Some(id) = root.member("id").and_then(RequestId::read) else {
        return Err(invalid("the client's answer has no id that is a string or an integer"));
    };
    let result = root.member("result");
    let checked = match (result, root.member("error")) {
        (Some(result), None) => reply::object(result, ReplyError::ResultInvalid).and_then(|()| reply::meta(result)),
        (None, Some(error)) => error_alone(error),
        _ => Err(ReplyError::NotRpc),
    };
    match checked {
        Ok(()) => Ok(Answer { id, result }),
        Err(ReplyError::KeyFolded) => Err(context.folded()),
        Err(_) => Err(invalid("the client's answer is neither a result nor an error")),
    }
}

/// Whether `result` is what the request asks for that is answered as `method`.
pub(super) fn has_form_of(method: Method, result: Node<'_>) -> bool {
    match method {
        Method::ResponseElicitation => is_elicited(result),
        Method::ResponsePing => result::is_empty(result),
        Method::ResponseRoots => is_roots(result),
        Method::ResponseSampling => is_sampled(result),
        _ => false,
    }
}

/// A form that was filled in, or the refusal to (MCP 2025-11-25, elicitation).
fn is_elicited(result: Node<'_>) -> bool {
    let value = |node: Node<'_>| match node.kind() {
        Kind::Bool | Kind::Number | Kind::String => true,
        Kind::Array => Type::Texts.is(node),
        Kind::Null | Kind::Object => false,
    };
    let content = result.member("content");
    let filled = |content: Node<'_>| content.members().all(|member| value(member.value));
    has_form(
        Some(result),
        &[must("action", Type::Text), may("content", Type::Object)],
    ) && match result.member("action").and_then(Node::as_str) {
        Some("accept") => content.is_none_or(filled),
        Some("cancel" | "decline") => content.is_none_or(|content| content.len() == 0),
        _ => false,
    }
}

/// Directories of the client, each a file URI (MCP 2025-11-25, roots).
fn is_roots(result: Node<'_>) -> bool {
    let root = |root: Node<'_>| {
        has_form(Some(root), &[may("name", Type::Text), must("uri", Type::Text)])
            && root
                .member("uri")
                .and_then(Node::as_str)
                .is_some_and(|uri| uri.starts_with("file://"))
    };
    let roots = result.member("roots");
    has_form(Some(result), &[must("roots", Type::Objects)]) && roots.is_some_and(|roots| roots.elements().all(root))
}

/// What the client's model has said (MCP 2025-11-25, sampling).
fn is_sampled(result: Node<'_>) -> bool {
    let fields = [
        must("content", Type::Any),
        must("model", Type::Text),
        must("role", Type::Text),
        may("stopReason", Type::Text),
    ];
    has_form(Some(result), &fields) && is_message(result)
}

fn error_alone(error: Node<'_>) -> Result<(), ReplyError> {
    reply::check_error(error)?;
    let known = |key| matches!(key, "code" | "data" | "message");
    match error.members().all(|member| known(member.key)) {
        true => Ok(()),
        false => Err(ReplyError::NotRpc),
    }
}
