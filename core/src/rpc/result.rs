//! The forms of results: what the review relies on when it walks one.
//!
//! Owns [`check`], by [`Reviewed`] of the method's row. Members that no form names stay unread here; the policy sees them.

use super::ProtocolVersion;
use super::form::{Type, has_form};
use super::keys;
use super::method::Reviewed;
use super::reply::{ReplyError, check_error, meta, object};
use super::server_message::{are_input_requests, is_message};
use crate::json::{Kind, Node};

/// Values of one completion (MCP 2025-11-25, completion).
const COMPLETIONS_MAX: usize = 100;

/// What the state of a task may carry, one of them at most.
pub(super) const CARRIED: [&str; 3] = ["error", "inputRequests", "result"];

/// Checks the form of `result`, an object, as one of `version` that is reviewed as `reviewed`.
///
/// # Errors
/// [`ReplyError::ResultInvalid`], and [`ReplyError::KeyFolded`] for a near-miss of a protocol key.
pub(super) fn check(result: Node<'_>, reviewed: Reviewed, version: ProtocolVersion) -> Result<(), ReplyError> {
    if reviewed != Reviewed::Task {
        caching(result)?;
    }
    match reviewed {
        Reviewed::Capabilities => capabilities(result),
        Reviewed::Completion => completion(result),
        Reviewed::Empty | Reviewed::Notifications => empty(result),
        Reviewed::PromptMessages => messages(result),
        Reviewed::Prompts => list_of(result, "prompts", &["name"]),
        Reviewed::ResourceContents => contents(result),
        Reviewed::ResourceTemplates => list_of(result, "resourceTemplates", &["uriTemplate"]),
        Reviewed::Resources => list_of(result, "resources", &["uri"]),
        Reviewed::Task => task(result),
        Reviewed::TaskResult => tool_result(result),
        Reviewed::ToolResult => called(result, version),
        Reviewed::Tasks => list_of(result, "tasks", &["taskId"]),
        Reviewed::Tools => list_of(result, "tools", &["name"]),
    }
}

fn valid(holds: bool) -> Result<(), ReplyError> {
    match holds {
        true => Ok(()),
        false => Err(ReplyError::ResultInvalid),
    }
}

fn maybe(result: Node<'_>, key: &str, of: Type) -> bool {
    result.member(key).is_none_or(|value| of.is(value))
}

/// How long a result may be kept and by whom (MCP 2026-07-28, caching).
fn caching(result: Node<'_>) -> Result<(), ReplyError> {
    let scope = result.member("cacheScope").map(Node::as_str);
    valid(maybe(result, "ttlMs", Type::Natural) && matches!(scope, None | Some(Some("private" | "public"))))
}

fn empty(result: Node<'_>) -> Result<(), ReplyError> {
    let named = |key| matches!(key, "_meta" | "resultType");
    valid(result.members().all(|member| named(member.key)))
}

fn capabilities(result: Node<'_>) -> Result<(), ReplyError> {
    let capabilities = result.member("capabilities").ok_or(ReplyError::ResultInvalid)?;
    object(capabilities, ReplyError::ResultInvalid)?;
    valid(
        capabilities.members().all(|member| Type::Object.is(member.value))
            && maybe(result, "instructions", Type::Text)
            && maybe(result, "protocolVersion", Type::Text)
            && maybe(result, "serverInfo", Type::Object)
            && maybe(result, "supportedVersions", Type::Texts),
    )
}

fn completion(result: Node<'_>) -> Result<(), ReplyError> {
    let completion = result.member("completion").ok_or(ReplyError::ResultInvalid)?;
    object(completion, ReplyError::ResultInvalid)?;
    let values = completion.member("values").ok_or(ReplyError::ResultInvalid)?;
    valid(
        Type::Texts.is(values)
            && values.len() <= COMPLETIONS_MAX
            && maybe(completion, "total", Type::Natural)
            && maybe(completion, "hasMore", Type::Bool),
    )
}

fn messages(result: Node<'_>) -> Result<(), ReplyError> {
    let messages = result.member("messages").ok_or(ReplyError::ResultInvalid)?;
    let whole = |message: Node<'_>| is_message(message) && !keys::has_near_miss(message);
    valid(messages.kind() == Kind::Array && messages.elements().all(whole) && maybe(result, "description", Type::Text))
}

/// Contents, each with a URI of its own, and either a text or a blob.
fn contents(result: Node<'_>) -> Result<(), ReplyError> {
    let contents = result.member("contents").ok_or(ReplyError::ResultInvalid)?;
    list(contents, &["uri"])?;
    let text = |content: Node<'_>, key| content.member(key).map(|value| Type::Text.is(value));
    valid(contents.elements().all(|content| {
        matches!(
            (text(content, "text"), text(content, "blob")),
            (Some(true), None) | (None, Some(true))
        )
    }))
}

/// What comes back from a call: a result, or in its place a task, which only MCP 2025-11-25 hands out so.
fn called(result: Node<'_>, version: ProtocolVersion) -> Result<(), ReplyError> {
    match result.member("task") {
        Some(task) if version == ProtocolVersion::V2025_11_25 => {
            if task.kind() == Kind::Object {
                object(task, ReplyError::ResultInvalid)?;
            }
            answer(result)
        }
        _ => tool_result(result),
    }
}

fn tool_result(result: Node<'_>) -> Result<(), ReplyError> {
    // A client may take it for a task that nobody has bound to its caller.
    valid(result.member("task").is_none())?;
    answer(result)
}

fn answer(result: Node<'_>) -> Result<(), ReplyError> {
    // Of another kind of result: the client would act on what nobody has judged as that.
    let asks = ["inputRequests", "requestState"]
        .into_iter()
        .any(|key| result.member(key).is_some());
    valid(!asks && maybe(result, "isError", Type::Bool))?;
    match result.member("content") {
        Some(content) => list(content, &["type"]),
        None => Ok(()),
    }
}

/// Whether `state` is the state of a task, and of what it carries, the right form.
pub(super) fn is_task(state: Node<'_>) -> bool {
    task(state).is_ok()
}

/// The state of a task, and what it carries (the extension of MCP 2026-07-28). Its `ttlMs` may be `null`.
fn task(result: Node<'_>) -> Result<(), ReplyError> {
    let texts = ["status", "statusMessage", "taskId"];
    let asks = result.member("inputRequests");
    valid(
        texts.into_iter().all(|key| maybe(result, key, Type::Text))
            && asks.is_none_or(|asks| are_input_requests(asks, ProtocolVersion::V2026_07_28)),
    )?;
    valid(CARRIED.into_iter().filter(|key| result.member(key).is_some()).count() <= 1)?;
    if let Some(error) = result.member("error") {
        check_error(error)?;
    }
    match result.member("result") {
        None => Ok(()),
        Some(result) => {
            object(result, ReplyError::ResultInvalid)?;
            meta(result)?;
            tool_result(result)
        }
    }
}

fn list_of(result: Node<'_>, key: &str, keys: &[&str]) -> Result<(), ReplyError> {
    // Servers that write `null` for what they have not mean that the list ends.
    let cursor = result.member("nextCursor");
    valid(cursor.is_none_or(|cursor| cursor.is_null() || Type::Text.is(cursor)))?;
    list(result.member(key).ok_or(ReplyError::ResultInvalid)?, keys)
}

/// Checks that `list` is an array of objects that each have these string members.
fn list(list: Node<'_>, keys: &[&str]) -> Result<(), ReplyError> {
    valid(list.kind() == Kind::Array)?;
    for element in list.elements() {
        // Near-misses within were looked for in the whole result.
        valid(element.kind() == Kind::Object)?;
        let named = |key: &&str| element.member(key).is_some_and(|value| Type::Text.is(value));
        valid(keys.iter().all(named))?;
    }
    Ok(())
}

/// Whether `result` says nothing: neither of its own nor by members that no answer of that kind has.
pub(super) fn is_empty(result: Node<'_>) -> bool {
    has_form(Some(result), &[])
}
