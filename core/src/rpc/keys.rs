//! The member names that carry meaning in MCP messages, and near-misses of them.
//!
//! Owns the fold check. Some readers match names without regard to case, Go's among them, and with the folds of
//! Unicode: to them `METHOD` or `paramſ` is the real member. A near-miss is refused wherever the real name could stand;
//! unknown names that resemble nothing are left to the caller.

use crate::json::Node;

/// Names of the envelope, of `params` and of results.
const NAMES: [&str; 44] = [
    "_meta",
    "argument",
    "arguments",
    "cacheScope",
    "capabilities",
    "clientInfo",
    "code",
    "content",
    "context",
    "cursor",
    "data",
    "description",
    "error",
    "id",
    "inputRequests",
    "inputResponses",
    "inputSchema",
    "instructions",
    "isError",
    "jsonrpc",
    "message",
    "method",
    "mimeType",
    "name",
    "nextCursor",
    "outputSchema",
    "params",
    "progressToken",
    "protocolVersion",
    "requestId",
    "requestState",
    "resource",
    "result",
    "resultType",
    "serverInfo",
    "structuredContent",
    "supportedVersions",
    "task",
    "taskId",
    "text",
    "tools",
    "ttlMs",
    "type",
    "uri",
];

/// Further names of what servers send, and clients answer.
const SERVER_NAMES: [&str; 14] = [
    "action",
    "blob",
    "completion",
    "contents",
    "messages",
    "mode",
    "prompts",
    "requestedSchema",
    "resourceTemplates",
    "resources",
    "role",
    "roots",
    "uriTemplate",
    "url",
];

/// The member of `_meta` that names the version of a modern request.
pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The member of `_meta` that a modern request must have beside its version.
pub(super) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The member of `_meta` with the W3C trace context.
pub(super) const META_TRACE_PARENT: &str = "traceparent";

/// Names of `_meta`.
const META_NAMES: [&str; 8] = [
    "baggage",
    META_CAPABILITIES,
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
    META_VERSION,
    "progressToken",
    META_TRACE_PARENT,
    "tracestate",
];

/// Whether a member of `object` nearly has a name of the protocol.
pub(super) fn has_near_miss(object: Node<'_>) -> bool {
    object.members().any(|member| is_near_miss(member.key))
}

/// Whether a member of the `_meta` object `meta` nearly has a name of the protocol, of `_meta` or elsewhere.
pub(super) fn has_near_miss_in_meta(meta: Node<'_>) -> bool {
    meta.members()
        .any(|member| nearly(member.key, &META_NAMES) || nearly(member.key, &NAMES))
}

/// Whether `key` folds to one of `names` without being one.
pub(super) fn nearly(key: &str, names: &[&str]) -> bool {
    !names.contains(&key) && names.iter().any(|name| folded(key).eq(folded(name)))
}

/// Whether `key` folds to a name of the envelope, of `params` or of results without being one.
pub(super) fn is_near_miss(key: &str) -> bool {
    nearly(key, &NAMES) || nearly(key, &SERVER_NAMES)
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
