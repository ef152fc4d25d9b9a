//! The parameters of what a server asks or tells a client: one form a method (MCP schema, each revision).
//!
//! Owns [`request_has_form`], [`notification_has_form`] and the entries of `inputRequests`. What has another form is not
//! judged, and so reaches no client: a policy reads these members, and a client acts on them.

use super::form::{Field, Type, has_form, may, must};
use super::{ProtocolVersion, ServerMethod, result};
use crate::json::Node;

const TEXT: Type = Type::Text;

const SAMPLING: &[Field] = &[
    must("messages", Type::Objects),
    must("maxTokens", Type::Natural),
    may("includeContext", TEXT),
    may("metadata", Type::Object),
    may("modelPreferences", Type::Object),
    may("stopSequences", Type::Texts),
    may("systemPrompt", TEXT),
    may("temperature", Type::Number),
    may("toolChoice", Type::Object),
    may("tools", Type::Objects),
];
const ELICITATION_FORM: &[Field] = &[
    must("message", TEXT),
    must("requestedSchema", Type::Object),
    may("mode", TEXT),
];
const ELICITATION_URL: &[Field] = &[
    must("message", TEXT),
    must("mode", TEXT),
    must("url", TEXT),
    may("elicitationId", TEXT),
];
const CANCELLED: &[Field] = &[may("reason", TEXT), must("requestId", Type::Id)];
const MESSAGE: &[Field] = &[must("data", Type::Any), must("level", TEXT), may("logger", TEXT)];
const PROGRESS: &[Field] = &[
    may("message", TEXT),
    must("progress", Type::Number),
    must("progressToken", Type::Id),
    may("total", Type::Number),
];
const ACKNOWLEDGED: &[Field] = &[must("notifications", Type::Object)];
const OPTED_IN: &[Field] = &[
    may("promptsListChanged", Type::Bool),
    may("resourceSubscriptions", Type::Texts),
    may("resourcesListChanged", Type::Bool),
    may("taskIds", Type::Texts),
    may("toolsListChanged", Type::Bool),
];
/// The levels of log messages (RFC 5424 section 6.2.1, as MCP spells them): what servers send and clients ask for.
pub(super) const LEVELS: [&str; 8] = [
    "alert",
    "critical",
    "debug",
    "emergency",
    "error",
    "info",
    "notice",
    "warning",
];
/// What a form may ask for: values of one line (MCP elicitation, restricted schema).
const ASKED: [&str; 5] = ["array", "boolean", "integer", "number", "string"];

/// Whether `params` are those of a request of a server of `version`.
pub(super) fn request_has_form(method: ServerMethod, params: Option<Node<'_>>, version: ProtocolVersion) -> bool {
    match method {
        ServerMethod::ElicitationCreate => params.is_some_and(|params| is_elicitation(params, version)),
        ServerMethod::Ping | ServerMethod::RootsList => has_form(params, &[]),
        ServerMethod::SamplingCreateMessage => params.is_some_and(|params| is_sampling(params, version)),
        _ => false,
    }
}

/// Whether `params` are those of a notification of a server.
pub(super) fn notification_has_form(method: ServerMethod, params: Option<Node<'_>>) -> bool {
    match method {
        ServerMethod::Cancelled => has_form(params, CANCELLED),
        ServerMethod::ElicitationComplete => has_form(params, &[must("elicitationId", TEXT)]),
        ServerMethod::Message => has_form(params, MESSAGE) && is_one_of(params, "level", &LEVELS),
        ServerMethod::Progress => has_form(params, PROGRESS),
        ServerMethod::PromptsListChanged | ServerMethod::ResourcesListChanged | ServerMethod::ToolsListChanged => {
            has_form(params, &[])
        }
        ServerMethod::ResourcesUpdated => has_form(params, &[must("uri", TEXT)]),
        ServerMethod::SubscriptionsAcknowledged => {
            has_form(params, ACKNOWLEDGED)
                && has_form(params.and_then(|params| params.member("notifications")), OPTED_IN)
        }
        ServerMethod::Tasks => params.is_some_and(result::is_task),
        // The state alone: what the task came to is asked for (MCP 2025-11-25, tasks).
        ServerMethod::TasksStatus => {
            let carries = |params: Node<'_>| result::CARRIED.into_iter().any(|key| params.member(key).is_some());
            params.is_some_and(|params| result::is_task(params) && !carries(params))
        }
        ServerMethod::ElicitationCreate
        | ServerMethod::Ping
        | ServerMethod::RootsList
        | ServerMethod::SamplingCreateMessage => false,
    }
}

/// Whether `node` is the map of `inputRequests`: one request of the server an entry (MCP 2026-07-28, multi-round-trip
/// results).
pub(super) fn are_input_requests(node: Node<'_>, version: ProtocolVersion) -> bool {
    let asks = |request: Node<'_>| {
        let Some(method) = request.member("method").and_then(Node::as_str) else {
            return false;
        };
        let found = match method {
            "elicitation/create" => ServerMethod::ElicitationCreate,
            "roots/list" => ServerMethod::RootsList,
            "sampling/createMessage" => ServerMethod::SamplingCreateMessage,
            _ => return false,
        };
        has_form(Some(request), &[must("method", TEXT), may("params", Type::Object)])
            && request.member("_meta").is_none()
            && request_has_form(found, request.member("params"), version)
    };
    Type::Object.is(node) && node.len() != 0 && node.members().all(|member| asks(member.value))
}

fn is_one_of(params: Option<Node<'_>>, key: &str, names: &[&str]) -> bool {
    let text = params.and_then(|params| params.member(key)).and_then(Node::as_str);
    text.is_some_and(|text| names.contains(&text))
}

fn is_sampling(params: Node<'_>, version: ProtocolVersion) -> bool {
    // From 2025-11-25 on a server may bring tools of its own.
    let brings = |key| params.member(key).is_some();
    let early = version < ProtocolVersion::V2025_11_25 && (brings("toolChoice") || brings("tools"));
    let named = |tools: Node<'_>| {
        tools
            .elements()
            .all(|tool| tool.member("name").is_some_and(|name| TEXT.is(name)))
    };
    !early
        && has_form(Some(params), SAMPLING)
        && params
            .member("messages")
            .is_some_and(|messages| messages.elements().all(is_message))
        && params.member("tools").is_none_or(named)
}

/// Whether `node` says something in a role: a prompt's message, one of a sampling request, the answer to one.
pub(super) fn is_message(node: Node<'_>) -> bool {
    let has_type = |content: Node<'_>| content.member("type").is_some_and(|name| TEXT.is(name));
    let content = node.member("content");
    is_one_of(Some(node), "role", &["assistant", "user"])
        && content.is_some_and(|content| match Type::Objects.is(content) {
            true => content.elements().all(has_type),
            false => Type::Object.is(content) && has_type(content),
        })
}

/// A form, or from 2025-11-25 on a page that the user is sent to.
fn is_elicitation(params: Node<'_>, version: ProtocolVersion) -> bool {
    match params.member("mode").map(Node::as_str) {
        None | Some(Some("form")) => {
            let modes = ProtocolVersion::V2025_11_25 <= version || params.member("mode").is_none();
            modes && has_form(Some(params), ELICITATION_FORM) && params.member("requestedSchema").is_some_and(is_asked)
        }
        Some(Some("url")) => {
            // The first revision with pages names each, to say later that it is done with.
            let named = version != ProtocolVersion::V2025_11_25 || params.member("elicitationId").is_some();
            ProtocolVersion::V2025_11_25 <= version
                && named
                && has_form(Some(params), ELICITATION_URL)
                && params.member("url").and_then(Node::as_str).is_some_and(is_web_page)
        }
        Some(_) => false,
    }
}

/// Whether a schema asks for values of one line, flat.
fn is_asked(schema: Node<'_>) -> bool {
    let properties = schema.member("properties");
    let line = |property: Node<'_>| is_one_of(Some(property), "type", &ASKED);
    is_one_of(Some(schema), "type", &["object"])
        && properties.is_some_and(|properties| {
            Type::Object.is(properties) && properties.members().all(|property| line(property.value))
        })
}

/// Whether a browser that is sent to `url` loads a page: other schemes run programs, or scripts in this one's name.
fn is_web_page(url: &str) -> bool {
    let after = |scheme: &str| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty());
    (after("https://") || after("http://")) && url.bytes().all(|byte| byte.is_ascii_graphic())
}
