//! How the gate lists the tools of an upstream itself: what is sent, and how an answer is accepted.
//!
//! Owns [`Listing`]: modern first (`server/discover`, then `tools/list`), else a handshake and a session of its own that
//! is ended afterwards. Performs no I/O and holds no credential: the embedder sends each request with its own, reads
//! the answer by an [`AnswerReader`], and asks again until there is nothing to send. Never answers a request of the
//! server and declares no capability.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::{Catalog, CatalogTool};
use crate::json::{self, Kind, Limits, Node, Number, Scratch};
use crate::rpc::ProtocolVersion;
use crate::rpc::sse::Splitter;

/// Bounds on a listing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListingLimits {
    /// Bytes of one answer, or of one event of a stream.
    pub answer_bytes_max: usize,
    /// Nesting of an answer.
    pub json_depth_max: u32,
    /// Members and elements of an answer.
    pub json_members_max: u32,
    /// Pages of the list.
    pub pages_max: usize,
    /// Tools, all pages together.
    pub tools_max: usize,
    /// Bytes of a tool's name.
    pub tool_name_bytes_max: usize,
}

impl Default for ListingLimits {
    fn default() -> Self {
        Self {
            answer_bytes_max: 8 * 1024 * 1024,
            json_depth_max: 64,
            // A long list of tools has more than any one call.
            json_members_max: 100_000,
            pages_max: 100,
            tools_max: 2_000,
            tool_name_bytes_max: 128,
        }
    }
}

/// Why the tools are not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ListingError {
    /// The answer is not one to what was sent.
    #[error("the upstream's answer is not one to the gate's request")]
    AnswerInvalid,
    /// An answer is larger than the limit.
    #[error("the upstream's answer exceeds its byte limit")]
    AnswerTooLarge,
    /// The credential for the gate's own requests cannot be made.
    #[error("the gate's statement about itself cannot be signed: there is no key `assertion`")]
    CredentialUnmade,
    /// The list is none: no array of named tools, or a page comes twice.
    #[error("the upstream's list of tools is not one")]
    ListInvalid,
    /// The list has more pages or tools than the limit.
    #[error("the upstream's list of tools exceeds its limits")]
    ListTooLong,
    /// The upstream answered with an error.
    #[error("the upstream refuses the gate's request with the JSON-RPC error {0}")]
    Refused(i64),
    /// The upstream answered with a status that is no answer.
    #[error("the upstream answers the gate's request with the status {0}")]
    Status(u16),
    /// The upstream could not be reached, broke off, or was late.
    #[error("the upstream cannot be reached, broke off or is late")]
    Unreachable,
    /// The upstream speaks no version that the gate judges.
    #[error("the upstream speaks no version of MCP that the gate judges")]
    VersionUnsupported,
}

/// One request to the upstream, without the credential.
#[derive(Clone, Debug)]
pub struct ListingRequest {
    /// POST, or DELETE for the end of the session.
    pub method: Method,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body; empty for DELETE.
    pub body: Bytes,
}

/// What came of one request.
#[derive(Clone, Debug)]
pub struct ListingAnswer {
    /// The status.
    pub status: u16,
    /// The session that the head names.
    pub session: Option<HeaderValue>,
    /// The message, when one came ([`AnswerReader::finish`]).
    pub message: Option<Bytes>,
}

/// The listing of one upstream's tools: ask [`Self::poll`], perform the request, tell [`Self::on_answer`], until there
/// is none; then [`Self::finish`].
#[derive(Debug)]
pub struct Listing {
    limits: ListingLimits,
    state: State,
    /// The id of the request that is out.
    id: i64,
    version: ProtocolVersion,
    session: Option<HeaderValue>,
    cursors: BTreeSet<Box<str>>,
    pages: usize,
    tools: BTreeMap<Box<str>, CatalogTool>,
    failure: Option<ListingError>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    Discover,
    Initialize,
    Initialized,
    Page(Option<Box<str>>),
    Terminate,
    Ended,
}

/// Reads the body of one answer as it arrives.
#[derive(Debug)]
pub struct AnswerReader {
    form: Form,
    id: i64,
    limits: ListingLimits,
    message: Option<Bytes>,
}

#[derive(Debug)]
enum Form {
    Json(Vec<u8>),
    Stream(Splitter),
    /// Nothing that could be read.
    Other,
}

impl Listing {
    /// A listing that has not begun.
    pub fn new(limits: ListingLimits) -> Self {
        Self {
            limits,
            state: State::Discover,
            id: 1,
            version: ProtocolVersion::V2026_07_28,
            session: None,
            cursors: BTreeSet::new(),
            pages: 0,
            tools: BTreeMap::new(),
            failure: None,
        }
    }

    /// The request to perform next; `None` when there is none, for good.
    pub fn poll(&self) -> Option<ListingRequest> {
        let (method, params) = match &self.state {
            State::Ended => return None,
            State::Terminate => {
                return Some(ListingRequest {
                    method: Method::DELETE,
                    headers: self.headers(None),
                    body: Bytes::new(),
                });
            }
            State::Discover => ("server/discover", json!({})),
            State::Initialize => (
                "initialize",
                json!({
                    "protocolVersion": self.version.as_str(),
                    "capabilities": {},
                    "clientInfo": client(),
                }),
            ),
            State::Initialized => ("notifications/initialized", Value::Null),
            State::Page(cursor) => (
                "tools/list",
                cursor
                    .as_deref()
                    .map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor })),
            ),
        };
        Some(ListingRequest {
            method: Method::POST,
            headers: self.headers(Some(method)),
            body: Bytes::from(self.message(method, params).to_string()),
        })
    }

    /// The reader of the answer to the request that is out, by the media type in its head.
    pub fn reader(&self, content_type: Option<&str>) -> AnswerReader {
        let essence = content_type
            .and_then(|value| value.split(';').next())
            .unwrap_or_default();
        let form = match essence.trim() {
            json if json.eq_ignore_ascii_case("application/json") => Form::Json(Vec::new()),
            stream if stream.eq_ignore_ascii_case("text/event-stream") => {
                Form::Stream(Splitter::new(self.limits.answer_bytes_max))
            }
            _ => Form::Other,
        };
        AnswerReader {
            form,
            id: self.id,
            limits: self.limits,
            message: None,
        }
    }

    /// Takes what came of the request that was out.
    pub fn on_answer(&mut self, answer: Result<ListingAnswer, ListingError>) {
        let state = mem::replace(&mut self.state, State::Ended);
        if state == State::Terminate {
            // Whether the upstream ends sessions is its own matter.
            self.session = None;
            return;
        }
        let next = answer.and_then(|answer| match state {
            State::Discover => self.on_discover(&answer),
            State::Initialize => self.on_initialize(&answer),
            State::Initialized => match answer.status {
                200..=299 => Ok(State::Page(None)),
                status => Err(ListingError::Status(status)),
            },
            State::Page(_) => self.on_page(&answer),
            State::Terminate | State::Ended => Ok(State::Ended),
        });
        self.id = self.id.saturating_add(1);
        self.state = match next {
            Ok(next) => next,
            Err(error) => {
                self.failure.get_or_insert(error);
                State::Ended
            }
        };
        if self.state == State::Ended && self.session.is_some() && state_may_end(&self.failure) {
            self.state = State::Terminate;
        }
    }

    /// What was listed.
    ///
    /// # Errors
    /// Why it is not known, or [`ListingError::AnswerInvalid`] when requests are left.
    pub fn finish(self) -> Result<Catalog, ListingError> {
        match (self.failure, self.state) {
            (Some(error), _) => Err(error),
            (None, State::Ended) => Ok(Catalog::new(self.tools)),
            (None, _) => Err(ListingError::AnswerInvalid),
        }
    }

    /// The version that the upstream is listed by.
    pub const fn version(&self) -> ProtocolVersion {
        self.version
    }

    fn headers(&self, method: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let version = HeaderValue::from_static(self.version.as_str());
        if let Some(method) = method {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if self.version.is_modern() {
                headers.insert(HeaderName::from_static("mcp-method"), HeaderValue::from_static(method));
            }
        }
        if self.state != State::Initialize {
            headers.insert(HeaderName::from_static("mcp-protocol-version"), version);
        }
        if let Some(session) = &self.session {
            headers.insert(HeaderName::from_static("mcp-session-id"), session.clone());
        }
        headers
    }

    fn message(&self, method: &str, mut params: Value) -> Value {
        if let (true, Some(members)) = (self.version.is_modern(), params.as_object_mut()) {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": self.version.as_str(),
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": client(),
            });
            members.insert("_meta".to_owned(), meta);
        }
        match params {
            Value::Null => json!({ "jsonrpc": "2.0", "method": method }),
            params => json!({ "jsonrpc": "2.0", "id": self.id, "method": method, "params": params }),
        }
    }

    /// A server of the modern era says so; whatever else it says, the handshake is tried.
    fn on_discover(&mut self, answer: &ListingAnswer) -> Result<State, ListingError> {
        if let status @ (401 | 403 | 429 | 502..=504) = answer.status {
            return Err(ListingError::Status(status));
        }
        let mut scratch = Scratch::default();
        let speaks = |result: Node<'_>| {
            let versions = result.member("supportedVersions");
            versions.is_some_and(|versions| {
                versions
                    .elements()
                    .any(|version| version.as_str() == Some(ProtocolVersion::V2026_07_28.as_str()))
            })
        };
        if matches!(self.result(answer, &mut scratch), Ok(result) if speaks(result)) {
            return Ok(State::Page(None));
        }
        self.version = ProtocolVersion::V2025_11_25;
        Ok(State::Initialize)
    }

    fn on_initialize(&mut self, answer: &ListingAnswer) -> Result<State, ListingError> {
        let mut scratch = Scratch::default();
        let result = self.result(answer, &mut scratch)?;
        let version = result.member("protocolVersion").and_then(Node::as_str);
        let version = version
            .and_then(ProtocolVersion::parse)
            .filter(|version| !version.is_modern());
        self.version = version.ok_or(ListingError::VersionUnsupported)?;
        let visible = |session: &&HeaderValue| session.as_bytes().iter().all(u8::is_ascii_graphic);
        self.session = answer.session.as_ref().filter(visible).cloned();
        Ok(State::Initialized)
    }

    fn on_page(&mut self, answer: &ListingAnswer) -> Result<State, ListingError> {
        let mut scratch = Scratch::default();
        let result = match self.result(answer, &mut scratch) {
            // A server without tools need not know the method.
            Err(ListingError::Refused(METHOD_NOT_FOUND)) if self.pages == 0 => return Ok(State::Ended),
            result => result?,
        };
        self.pages = self.pages.saturating_add(1);
        let complete = result
            .member("resultType")
            .is_none_or(|kind| kind.as_str() == Some("complete"));
        let tools = result
            .member("tools")
            .filter(|tools| complete && tools.kind() == Kind::Array);
        for tool in tools.ok_or(ListingError::ListInvalid)?.elements() {
            self.enter(tool)?;
        }
        let cursor = match result.member("nextCursor") {
            None => return Ok(State::Ended),
            Some(cursor) if cursor.is_null() => return Ok(State::Ended),
            Some(cursor) => cursor.as_str().ok_or(ListingError::ListInvalid)?,
        };
        if self.limits.pages_max <= self.pages {
            return Err(ListingError::ListTooLong);
        }
        if !self.cursors.insert(Box::from(cursor)) {
            return Err(ListingError::ListInvalid);
        }
        Ok(State::Page(Some(Box::from(cursor))))
    }

    /// Takes one definition. The same one twice is one; two of one name are none.
    fn enter(&mut self, definition: Node<'_>) -> Result<(), ListingError> {
        let name = definition.member("name").and_then(Node::as_str);
        let name = name.filter(|name| (1..=self.limits.tool_name_bytes_max).contains(&name.len()));
        let name = name.ok_or(ListingError::ListInvalid)?;
        let tool = CatalogTool::read(definition);
        if self.limits.tools_max <= self.tools.len() {
            return Err(ListingError::ListTooLong);
        }
        match self.tools.get(name) {
            Some(known) if known.digest() == tool.digest() => {}
            Some(_) => return Err(ListingError::ListInvalid),
            None => {
                self.tools.insert(Box::from(name), tool);
            }
        }
        Ok(())
    }

    /// The result that answers the request that is out.
    fn result<'s>(&self, answer: &'s ListingAnswer, scratch: &'s mut Scratch) -> Result<Node<'s>, ListingError> {
        let Some(message) = &answer.message else {
            return Err(match answer.status {
                200..=299 => ListingError::AnswerInvalid,
                status => ListingError::Status(status),
            });
        };
        let document = json::parse(message, scratch, self.limits.json()).map_err(|_| ListingError::AnswerInvalid)?;
        let root = document.root();
        if root.member("jsonrpc").and_then(Node::as_str) != Some("2.0") || !is_id(root, self.id) {
            return Err(ListingError::AnswerInvalid);
        }
        match (root.member("result"), root.member("error")) {
            (Some(result), None) if result.kind() == Kind::Object && answer.status == 200 => Ok(result),
            (None, Some(error)) => match error.member("code").and_then(Node::as_number) {
                Some(Number::Integer(code)) => Err(ListingError::Refused(code)),
                _ => Err(ListingError::AnswerInvalid),
            },
            _ => Err(ListingError::AnswerInvalid),
        }
    }
}

impl ListingLimits {
    const fn json(&self) -> Limits {
        Limits {
            depth: self.json_depth_max,
            members: self.json_members_max,
        }
    }
}

impl AnswerReader {
    /// Takes the next bytes; `true` once the answer is whole, so that a stream need not be read to its end.
    ///
    /// # Errors
    /// [`ListingError::AnswerTooLarge`], and [`ListingError::AnswerInvalid`] for a stream that is none.
    pub fn push(&mut self, chunk: &[u8]) -> Result<bool, ListingError> {
        match &mut self.form {
            Form::Json(body) => {
                if self.limits.answer_bytes_max.saturating_sub(body.len()) < chunk.len() {
                    return Err(ListingError::AnswerTooLarge);
                }
                body.extend_from_slice(chunk);
            }
            Form::Stream(splitter) => {
                splitter.push(chunk);
                while let Some(event) = splitter.next() {
                    let event = event.map_err(|_| ListingError::AnswerTooLarge)?;
                    if is_response(&event.data, self.id, self.limits.json()) {
                        self.message = Some(event.data);
                        return Ok(true);
                    }
                }
            }
            Form::Other => {}
        }
        Ok(false)
    }

    /// The message, when one came.
    pub fn finish(self) -> Option<Bytes> {
        match self.form {
            Form::Json(body) if !body.is_empty() => Some(Bytes::from(body)),
            _ => self.message,
        }
    }
}

/// Whether a message of a stream is the response: notifications and requests of the server are none.
fn is_response(message: &[u8], id: i64, limits: Limits) -> bool {
    let mut scratch = Scratch::default();
    json::parse(message, &mut scratch, limits)
        .is_ok_and(|document| is_id(document.root(), id) && document.root().member("method").is_none())
}

fn is_id(message: Node<'_>, id: i64) -> bool {
    message.member("id").and_then(Node::as_number) == Some(Number::Integer(id))
}

/// A session of an upstream that is gone need not be ended.
const fn state_may_end(failure: &Option<ListingError>) -> bool {
    !matches!(failure, Some(ListingError::Unreachable))
}

fn client() -> Value {
    json!({ "name": "portcullis", "version": env!("CARGO_PKG_VERSION") })
}

const METHOD_NOT_FOUND: i64 = -32601;
