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
        NAME_TABLE.nearly(key)
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
        META_TABLE.nearly(member.key)
            || NAME_TABLE.nearly(member.key)
            || matches!(member.key, META_CAPABILITIES | META_CLIENT) && within(member.value)
    })
}

/// Names by their first letter and their length, made at compile time: almost every key of a message is told from all of
/// them, or found to be one, by one look and one comparison.
struct Table<const N: usize> {
    names: [&'static str; N],
    /// Where the names of each bucket begin, and behind the last bucket where they end.
    starts: [u8; BUCKETS + 1],
}

/// 32 first letters, without their case, times as many lengths.
const BUCKETS: usize = 1 << 10;

/// The longest of all names: what folds to more bytes is none.
const NAME_BYTES_MAX: usize = 48;

static NAME_TABLE: Table<128> = Table::of(&NAMES);
static META_TABLE: Table<9> = Table::of(&META_NAMES);

impl<const N: usize> Table<N> {
    /// Sorts by counting.
    #[expect(
        clippy::indexing_slicing,
        reason = "the compiler alone runs it, and refuses an index out of bounds"
    )]
    const fn of(names: &[&'static str; N]) -> Self {
        let mut starts = [0_u8; BUCKETS + 1];
        let mut place = 0;
        while place < N {
            let name = names[place];
            assert!(name.is_ascii() && name.len() <= NAME_BYTES_MAX);
            let next = bucket_of(name.as_bytes()).saturating_add(1);
            starts[next] = starts[next].saturating_add(1);
            place = place.saturating_add(1);
        }
        let mut bucket = 0;
        while bucket < BUCKETS {
            let before = starts[bucket];
            bucket = bucket.saturating_add(1);
            starts[bucket] = before.saturating_add(starts[bucket]);
        }
        let mut sorted = [""; N];
        let mut next = starts;
        place = 0;
        while place < N {
            let name = names[place];
            let bucket = bucket_of(name.as_bytes());
            sorted[next[bucket] as usize] = name;
            next[bucket] = next[bucket].saturating_add(1);
            place = place.saturating_add(1);
        }
        Self { names: sorted, starts }
    }

    /// Whether `key` folds to one of the names without being one.
    fn nearly(&self, key: &str) -> bool {
        let mut names = self.bucket(key.as_bytes()).iter();
        names.any(|name| *name != key && name.eq_ignore_ascii_case(key)) || !key.is_ascii() && self.has_folded(key)
    }

    /// The same for a key with letters outside ASCII: it is none of the names, and may fold to one.
    #[cold]
    fn has_folded(&self, key: &str) -> bool {
        let mut ascii = [0; NAME_BYTES_MAX];
        let mut unused = ascii.iter_mut();
        for letter in folded(key) {
            match (unused.next(), u8::try_from(letter)) {
                (Some(place), Ok(byte)) if byte.is_ascii() => *place = byte,
                _ => return false,
            }
        }
        let length = NAME_BYTES_MAX.saturating_sub(unused.len());
        let key = ascii.get(..length).unwrap_or_default();
        let mut names = self.bucket(key).iter();
        names.any(|name| name.as_bytes().eq_ignore_ascii_case(key))
    }

    /// All names that could be `key` in another case, and maybe others.
    fn bucket(&self, key: &[u8]) -> &[&'static str] {
        let bucket = bucket_of(key);
        let bounds = self.starts.get(bucket).zip(self.starts.get(bucket.saturating_add(1)));
        let names = bounds.and_then(|(from, to)| self.names.get(usize::from(*from)..usize::from(*to)));
        names.unwrap_or_default()
    }
}

/// The bucket of a text: its first letter without its case, and its length, all long ones in one.
const fn bucket_of(text: &[u8]) -> usize {
    let letter = match text.first() {
        Some(first) => *first & 31,
        None => 0,
    };
    let length = if text.len() < 31 { text.len() } else { 31 };
    ((letter as usize) << 5) | length
}

/// Whether `key` folds to a name of the envelope, of `params` or of results without being one.
pub(super) fn is_near_miss(key: &str) -> bool {
    NAME_TABLE.nearly(key)
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
mod tests;
