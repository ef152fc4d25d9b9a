//! One message of an upstream: the answer to a call, or what else a server may send beside it.
//!
//! Owns [`Reply`] and the match of an answer to its call. Never passes what it cannot name: a foreign id, an unknown
//! kind of result, a near-miss of a protocol key is an error, and the answer is withheld.

use crate::json::{self, Document, Kind, Node, Number, ParseError, Scratch};

use super::message::{Id, RequestId};
use super::{Method, ProtocolVersion, Reviewed, ServerMethod, keys, result, server_message};

/// What an answer must match; owned, since it outlives the call's body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Expected {
    id: Option<Id>,
    id_raw: Box<str>,
    pub(super) method: Method,
    pub(super) version: ProtocolVersion,
}

impl Expected {
    pub(super) fn new(id: Option<RequestId<'_>>, method: Method, version: ProtocolVersion) -> Self {
        Self {
            id: id.map(RequestId::value),
            id_raw: id.map_or_else(Box::default, |id| Box::from(id.raw())),
            method,
            version,
        }
    }

    /// Whether an answer that names `id` is to this call.
    pub(crate) fn is_named_by(&self, id: &Id) -> bool {
        self.id.as_ref() == Some(id)
    }

    /// The JSON text of the request's id, `None` for a notification, which has no answer.
    pub(crate) fn id_raw(&self) -> Option<&str> {
        self.id.as_ref().map(|_| &*self.id_raw)
    }

    /// Whether `node` is the request's id.
    pub(crate) fn is_id(&self, node: Node<'_>) -> bool {
        self.id.as_ref().is_some_and(|id| id.is(node))
    }
}

/// A message of an upstream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply<'b> {
    /// The call failed. The id is the call's, or absent or `null` where the server could not read it.
    Error {
        /// The whole message.
        document: Document<'b>,
        /// The error object; it has an integer `code` and a string `message`.
        error: Node<'b>,
    },
    /// The server asks back before it answers (MCP 2026-07-28, multi-round-trip results): the client calls again.
    InputRequired {
        /// What it asks: a map of requests of a server.
        requests: Option<Node<'b>>,
        /// What the client gives back unread.
        state: Option<&'b str>,
    },
    /// A message without an answer, such as progress.
    Notification {
        /// The whole message.
        document: Document<'b>,
        /// What it is.
        method: ServerMethod,
        /// The parameters, an object when present.
        params: Option<Node<'b>>,
    },
    /// A request of a server of the legacy era.
    Request {
        /// What it asks.
        method: ServerMethod,
        /// As what the client's answer is judged.
        answer: Method,
        /// What the client's answer must name.
        id: RequestId<'b>,
        /// The parameters, an object when present.
        params: Option<Node<'b>>,
    },
    /// The call's result.
    Result {
        /// The whole message.
        document: Document<'b>,
        /// The result object.
        result: Node<'b>,
    },
    /// A message of the server that cannot be judged.
    Unjudged,
}

/// Why an answer is none. Says nothing of its content.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ReplyError {
    /// The answer's id is not the call's, or the call has none.
    #[error("the answer has another id than the call")]
    IdMismatch,
    /// A key is a protocol key in another case or fold.
    #[error("a key is a protocol key in another case or fold")]
    KeyFolded,
    /// Not JSON that has one meaning.
    #[error("{0}")]
    Malformed(ParseError),
    /// Not one JSON-RPC message: a batch, a bare value, result and error at once, unknown members.
    #[error("the answer is not one json-rpc message")]
    NotRpc,
    /// The result lacks the form that its method gives it.
    #[error("the result does not have the form of its method")]
    ResultInvalid,
    /// The result is of a kind that cannot be judged, such as one of an extension.
    #[error("the result is of a kind that cannot be judged")]
    ResultTypeUnknown,
}

/// Reads `bytes` as one message that came back for the call of `expected`: a JSON body, or the data of one event.
///
/// # Errors
/// A [`ReplyError`]; nothing of the answer may then reach the client.
pub(crate) fn read_reply<'b>(
    bytes: &'b [u8],
    scratch: &'b mut Scratch,
    limits: json::Limits,
    expected: &Expected,
) -> Result<Reply<'b>, ReplyError> {
    let document = json::parse(bytes, scratch, limits).map_err(ReplyError::Malformed)?;
    let root = document.root();
    envelope(root)?;
    // Nobody would review what stands beside an answer.
    if root.member("method").is_none() && root.member("params").is_some() {
        return Err(ReplyError::NotRpc);
    }
    match (root.member("method"), root.member("result"), root.member("error")) {
        (Some(method), None, None) => asked(document, method, expected.version),
        (None, Some(result), None) => {
            let id = root.member("id").ok_or(ReplyError::IdMismatch)?;
            if !expected.is_id(id) {
                return Err(ReplyError::IdMismatch);
            }
            answered(document, result, expected)
        }
        (None, None, Some(error)) => {
            // What the server could not read it answers without an id; what asks nothing awaits no answer at all.
            let id = root.member("id").filter(|id| !id.is_null());
            if expected.id.is_none() || id.is_some_and(|id| !expected.is_id(id)) {
                return Err(ReplyError::IdMismatch);
            }
            check_error(error)?;
            Ok(Reply::Error { document, error })
        }
        _ => Err(ReplyError::NotRpc),
    }
}

/// Checks that `root` is an object with no other members than an envelope has.
fn envelope(root: Node<'_>) -> Result<(), ReplyError> {
    if root.kind() != Kind::Object {
        return Err(ReplyError::NotRpc);
    }
    for member in root.members() {
        match member.key {
            "error" | "id" | "jsonrpc" | "method" | "params" | "result" => {}
            key if keys::is_near_miss(key) => return Err(ReplyError::KeyFolded),
            _ => return Err(ReplyError::NotRpc),
        }
    }
    if root.member("jsonrpc").and_then(Node::as_str) != Some("2.0") {
        return Err(ReplyError::NotRpc);
    }
    Ok(())
}

/// A message with a method: a request of the server when it has an id, else a notification.
fn asked<'b>(document: Document<'b>, method: Node<'b>, version: ProtocolVersion) -> Result<Reply<'b>, ReplyError> {
    let root = document.root();
    let method = method.as_str().ok_or(ReplyError::NotRpc)?;
    let params = root.member("params");
    if let Some(params) = params {
        object(params, ReplyError::NotRpc)?;
        meta(params)?;
    }
    let row = ServerMethod::find(method).filter(|row| row.streams_in(version));
    match (root.member("id").map(RequestId::read), row) {
        (Some(None), _) => Err(ReplyError::NotRpc),
        (Some(Some(id)), Some(row)) if server_message::request_has_form(row.method, params, version) => {
            match row.answer {
                Some(answer) => Ok(Reply::Request {
                    method: row.method,
                    answer,
                    id,
                    params,
                }),
                None => Ok(Reply::Unjudged),
            }
        }
        (None, Some(row)) if server_message::notification_has_form(row.method, params) => Ok(Reply::Notification {
            document,
            method: row.method,
            params,
        }),
        (None | Some(Some(_)), _) => Ok(Reply::Unjudged),
    }
}

/// The result of the call, or what the server asks before it gives one.
fn answered<'b>(document: Document<'b>, result: Node<'b>, expected: &Expected) -> Result<Reply<'b>, ReplyError> {
    object(result, ReplyError::ResultInvalid)?;
    meta(result)?;
    let row = expected.method.row();
    // Absent means complete, in both eras; a legacy server has no other kind.
    match result.member("resultType").map(Node::as_str) {
        None | Some(Some("complete")) => {
            result::check(result, row.reviewed, expected.version)?;
            Ok(Reply::Result { document, result })
        }
        // The extension for tasks.
        Some(Some("task")) if expected.method == Method::ToolsCall && expected.version.is_modern() => {
            result::check(result, Reviewed::Task, expected.version)?;
            Ok(Reply::Result { document, result })
        }
        Some(Some("input_required")) if expected.version.is_modern() && row.asks_back => {
            input_required(result, expected.version)
        }
        Some(_) => Err(ReplyError::ResultTypeUnknown),
    }
}

fn input_required(result: Node<'_>, version: ProtocolVersion) -> Result<Reply<'_>, ReplyError> {
    let named = |key| matches!(key, "_meta" | "inputRequests" | "requestState" | "resultType");
    let requests = result.member("inputRequests");
    let state = result.member("requestState").map(Node::as_str);
    let whole = result.members().all(|member| named(member.key))
        && requests.is_none_or(|requests| server_message::are_input_requests(requests, version));
    match (requests, state) {
        // Without either there would be nothing to come back with.
        (None, None) | (_, Some(None)) => Err(ReplyError::ResultInvalid),
        _ if !whole => Err(ReplyError::ResultInvalid),
        (requests, state) => Ok(Reply::InputRequired {
            requests,
            state: state.flatten(),
        }),
    }
}

/// Checks that `error` is an object with a code and a message.
pub(super) fn check_error(error: Node<'_>) -> Result<(), ReplyError> {
    object(error, ReplyError::NotRpc)?;
    let code = error.member("code").and_then(Node::as_number);
    let message = error.member("message").and_then(Node::as_str);
    match (code, message) {
        (Some(Number::Integer(_)), Some(_)) => Ok(()),
        _ => Err(ReplyError::NotRpc),
    }
}

/// Checks that `node` is an object without near-misses; `otherwise` when it is none.
pub(super) fn object(node: Node<'_>, otherwise: ReplyError) -> Result<(), ReplyError> {
    if node.kind() != Kind::Object {
        return Err(otherwise);
    }
    if keys::has_near_miss(node) {
        return Err(ReplyError::KeyFolded);
    }
    Ok(())
}

/// Checks that the `_meta` of `object`, when there is one, is an object without near-misses.
pub(super) fn meta(object: Node<'_>) -> Result<(), ReplyError> {
    match object.member("_meta") {
        None => Ok(()),
        Some(meta) if meta.kind() != Kind::Object => Err(ReplyError::ResultInvalid),
        Some(meta) if keys::has_near_miss_in_meta(meta) => Err(ReplyError::KeyFolded),
        Some(_) => Ok(()),
    }
}
