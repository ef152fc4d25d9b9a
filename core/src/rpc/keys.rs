//! The member names that carry meaning in MCP messages, and near-misses of them.
//!
//! Owns the fold check. Some readers match names without regard to case, Go's among them, and with the folds of
//! Unicode: to them `METHOD` or `paramſ` is the real member. A near-miss is refused wherever the real name could stand,
//! at any depth; what has keys of its own maker (a tool's arguments, schemas, metadata) is left alone, and so are
//! unknown names that resemble nothing.

use crate::json::{Kind, Node};

/// The names of the envelope, of `params`, of results and of what stands within them, in all revisions, sorted by what
/// they fold to.
pub(super) const NAMES: [&str; 128] = [
    "_meta",
    "action",
    "annotations",
    "argument",
    "arguments",
    "audience",
    "blob",
    "cacheScope",
    "capabilities",
    "clientInfo",
    "code",
    "completion",
    "completions",
    "content",
    "contents",
    "context",
    "costPriority",
    "createdAt",
    "cursor",
    "data",
    "description",
    "destructiveHint",
    "elicitation",
    "elicitationId",
    "elicitations",
    "error",
    "execution",
    "experimental",
    "extensions",
    "hasMore",
    "hints",
    "icons",
    "id",
    "idempotentHint",
    "includeContext",
    "input",
    "inputRequests",
    "inputResponses",
    "inputSchema",
    "instructions",
    "intelligencePriority",
    "isError",
    "jsonrpc",
    "lastModified",
    "lastUpdatedAt",
    "level",
    "listChanged",
    "logger",
    "logging",
    "maxTokens",
    "message",
    "messages",
    "metadata",
    "method",
    "mimeType",
    "mode",
    "model",
    "modelPreferences",
    "name",
    "nextCursor",
    "notifications",
    "openWorldHint",
    "outputSchema",
    "params",
    "pollInterval",
    "pollIntervalMs",
    "priority",
    "progress",
    "progressToken",
    "prompts",
    "promptsListChanged",
    "protocolVersion",
    "readOnlyHint",
    "reason",
    "ref",
    "requestedSchema",
    "requestId",
    "requests",
    "requestState",
    "required",
    "resource",
    "resources",
    "resourcesListChanged",
    "resourceSubscriptions",
    "resourceTemplates",
    "result",
    "resultType",
    "role",
    "roots",
    "sampling",
    "serverInfo",
    "size",
    "sizes",
    "speedPriority",
    "src",
    "status",
    "statusMessage",
    "stopReason",
    "stopSequences",
    "structuredContent",
    "subscribe",
    "supported",
    "supportedVersions",
    "systemPrompt",
    "task",
    "taskId",
    "taskIds",
    "tasks",
    "taskSupport",
    "temperature",
    "text",
    "theme",
    "title",
    "toolChoice",
    "tools",
    "toolsListChanged",
    "toolUseId",
    "total",
    "ttl",
    "ttlMs",
    "type",
    "uri",
    "uriTemplate",
    "url",
    "value",
    "values",
    "version",
    "websiteUrl",
];

/// Members whose value has keys of its own maker: arguments, schemas, metadata, what a vendor adds. `_meta` is looked at
/// where its names mean something.
const FREE: [&str; 12] = [
    "_meta",
    "arguments",
    "data",
    "experimental",
    "extensions",
    "input",
    "inputSchema",
    "metadata",
    "outputSchema",
    "requestedSchema",
    "structuredContent",
    "value",
];

/// Members whose value is a map by keys of its maker, with values of the protocol.
const MAPS: [&str; 2] = ["inputRequests", "inputResponses"];

/// The member of `_meta` that names the version of a modern request.
pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The member of `_meta` that a modern request must have beside its version.
pub(super) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The member of `_meta` that names a request in notifications of progress.
pub(super) const META_PROGRESS: &str = "progressToken";
/// The member of `_meta` with the W3C trace context.
pub(super) const META_TRACE_PARENT: &str = "traceparent";

/// The member of `_meta` that names the client.
const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";

/// Names of `_meta`, sorted by what they fold to.
const META_NAMES: [&str; 9] = [
    "baggage",
    META_CAPABILITIES,
    META_CLIENT,
    "io.modelcontextprotocol/logLevel",
    META_VERSION,
    "io.modelcontextprotocol/related-task",
    "progressToken",
    META_TRACE_PARENT,
    "tracestate",
];

/// Whether a member of `object`, or of an object of the protocol within it, nearly has a name of the protocol. What
/// stands within [`FREE`] members is the maker's own and is not looked at.
pub(super) fn has_near_miss(object: Node<'_>) -> bool {
    // What a user fills into a form has keys of the form, and stands beside what the user did with it.
    let form = object.member("action").is_some();
    object.members().any(|member| {
        let (key, value) = (member.key, member.value);
        nearly(key, &NAMES)
            || match value.kind() {
                Kind::Object if FREE.contains(&key) || form && key == "content" => false,
                Kind::Object if MAPS.contains(&key) => value.members().any(|member| within(member.value)),
                // A list of arguments is one of a prompt's, each with its name: the protocol's own.
                Kind::Array if FREE.contains(&key) && key != "arguments" => false,
                _ => within(value),
            }
    })
}

/// The same of an object, and of each object in a list.
fn within(value: Node<'_>) -> bool {
    match value.kind() {
        Kind::Array => value.elements().any(within),
        Kind::Object => has_near_miss(value),
        Kind::Bool | Kind::Null | Kind::Number | Kind::String => false,
    }
}

/// Whether a member of the `_meta` object `meta` nearly has a name of the protocol, of `_meta` or elsewhere, or a
/// member of what it tells of the client.
pub(super) fn has_near_miss_in_meta(meta: Node<'_>) -> bool {
    meta.members().any(|member| {
        nearly(member.key, &META_NAMES)
            || nearly(member.key, &NAMES)
            || matches!(member.key, META_CAPABILITIES | META_CLIENT) && within(member.value)
    })
}

/// Whether `key` folds to one of `names` without being one. `names` are sorted by what they fold to.
fn nearly(key: &str, names: &[&str]) -> bool {
    let found = match key.is_ascii() {
        // Almost every key: bytes are compared without being decoded.
        true => names.binary_search_by(|name| ascii_folded(name).cmp(ascii_folded(key))),
        false => names.binary_search_by(|name| folded(name).cmp(folded(key))),
    };
    found.is_ok_and(|place| names.get(place) != Some(&key))
}

/// What [`folded`] gives of a text that is ASCII.
fn ascii_folded(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().map(|byte| byte.to_ascii_lowercase())
}

/// Whether `key` folds to a name of the envelope, of `params` or of results without being one.
pub(super) fn is_near_miss(key: &str) -> bool {
    nearly(key, &NAMES)
}

/// Lower case for ASCII, and the letters outside ASCII that some reader takes for an ASCII one.
fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|letter| match letter {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use super::{META_NAMES, NAMES, folded};

    #[test]
    fn the_names_are_sorted_by_what_they_fold_to() {
        for names in [&NAMES[..], &META_NAMES] {
            assert!(
                names.is_sorted_by(|left, right| folded(left).lt(folded(right))),
                "{names:?}"
            );
        }
    }
}
