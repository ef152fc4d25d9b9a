//! Bodies and fields of calls, prepared once so that a call only fills gaps.
//!
//! Owns [`Template`]: one call of the mix in one era. Everything that is the same for all callers is made when the load
//! begins; a call copies it and puts id, account, padding and token in. Takes no lock and reads nothing.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use portcullis_fixtures::calls::{Era, MODERN_VERSION};
use serde_json::{Map, Value};

use super::mix::{Ask, MixCall, Padding, Part, parts};

/// The field that names a session of the legacy era.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// What an empty `padding` costs, the comma before it left out.
const PADDING_MEMBER_BYTES: usize = r#""padding":"""#.len();

/// What fills the gaps of one call, as it stands inside a JSON string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gaps<'a> {
    pub(super) id: &'a str,
    pub(super) number: &'a str,
    pub(super) subject: &'a str,
    pub(super) subject_index: &'a str,
    pub(super) account: &'a str,
    pub(super) foreign_account: &'a str,
}

/// A gap of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gap {
    Account,
    ForeignAccount,
    Id,
    Number,
    Subject,
    SubjectIndex,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Gap(Gap),
    /// The member `padding`, if there is room for it, with a comma before it or not.
    PaddingMember {
        comma: bool,
    },
    /// Blank space for what is still missing.
    Blank,
    Text(String),
}

/// One call of the mix in one era.
#[derive(Clone, Debug)]
pub(super) struct Template {
    headers: HeaderMap,
    pieces: Vec<Piece>,
    /// Bytes of all texts.
    text_bytes: usize,
    /// Bytes of the body.
    body_bytes: usize,
}

impl Template {
    /// Prepares `call` for `era`, with a body of `body_bytes`.
    pub(super) fn new(era: Era, call: &MixCall, body_bytes: usize) -> Self {
        let (method, tool) = match &call.ask {
            Ask::Method(method) => (method.as_str(), None),
            Ask::Tool { name, .. } => ("tools/call", Some(name.as_str())),
        };
        let mut writer = Writer::default();
        writer.text(r#"{"jsonrpc":"2.0","id":"#);
        writer.pieces.push(Piece::Gap(Gap::Id));
        writer.text(&format!(r#","method":"{method}","params":{{"#));
        if let Ask::Tool { name, arguments } = &call.ask {
            writer.text(&format!(r#""name":"{name}","arguments":{{"#));
            writer.members(arguments);
            if call.padding == Padding::Argument {
                let comma = !arguments.is_empty();
                writer.pieces.push(Piece::PaddingMember { comma });
            }
            writer.text(if era == Era::Modern { "}," } else { "}" });
        }
        if era == Era::Modern {
            writer.text(&modern_meta());
        }
        writer.text("}");
        writer.pieces.push(Piece::Blank);
        writer.text("}");
        let text_bytes = writer.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.len(),
            _ => 0,
        });
        Self {
            headers: fields(era, method, tool),
            text_bytes: text_bytes.sum(),
            body_bytes,
            pieces: writer.pieces,
        }
    }

    /// Whether `gap` stands in the body.
    pub(super) fn has(&self, gap: Gap) -> bool {
        self.pieces.contains(&Piece::Gap(gap))
    }

    /// Bytes of the body before any padding, with these gaps filled.
    pub(super) fn bare_bytes(&self, gaps: &Gaps<'_>) -> usize {
        let of_gaps = self.pieces.iter().map(|piece| match piece {
            Piece::Gap(gap) => gaps.of(*gap).len(),
            _ => 0,
        });
        self.text_bytes + of_gaps.sum::<usize>()
    }

    /// Makes every body that long; one that needs more is as long as it must be.
    pub(super) fn set_body_bytes(&mut self, body_bytes: usize) {
        self.body_bytes = body_bytes;
    }

    /// Bytes of the body.
    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// The body with these gaps filled.
    pub(super) fn body(&self, gaps: &Gaps<'_>) -> Bytes {
        let mut missing = self.body_bytes.saturating_sub(self.bare_bytes(gaps));
        let mut body = Vec::with_capacity(self.body_bytes);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => body.extend_from_slice(text.as_bytes()),
                Piece::Gap(gap) => body.extend_from_slice(gaps.of(*gap).as_bytes()),
                Piece::PaddingMember { comma } => {
                    let member_bytes = PADDING_MEMBER_BYTES + usize::from(*comma);
                    if member_bytes <= missing {
                        body.extend_from_slice(if *comma { b",\"padding\":\"" } else { b"\"padding\":\"" });
                        body.resize(body.len() + missing - member_bytes, b'x');
                        body.push(b'"');
                        missing = 0;
                    }
                }
                Piece::Blank => body.resize(body.len() + missing, b' '),
            }
        }
        Bytes::from(body)
    }

    /// The fields, with this token and session.
    pub(super) fn headers(&self, token: Option<HeaderValue>, session: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token);
        }
        if let Some(session) = session {
            headers.insert(SESSION_ID, session.clone());
        }
        headers
    }
}

impl<'a> Gaps<'a> {
    const fn of(&self, gap: Gap) -> &'a str {
        match gap {
            Gap::Account => self.account,
            Gap::ForeignAccount => self.foreign_account,
            Gap::Id => self.id,
            Gap::Number => self.number,
            Gap::Subject => self.subject,
            Gap::SubjectIndex => self.subject_index,
        }
    }
}

/// The fields of a POST in `era`, without token and session.
pub(super) fn fields(era: Era, method: &'static str, tool: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(VERSION, HeaderValue::from_static(era.version()));
    if era == Era::Modern {
        headers.insert(METHOD, HeaderValue::from_static(method));
        // A tool's name is checked when the mix is read, so it is a header value as it stands.
        if let Some(name) = tool.and_then(|name| HeaderValue::from_str(name).ok()) {
            headers.insert(NAME, name);
        }
    }
    headers
}

/// The text of a string as it stands between the quotes of JSON.
pub(super) fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.map_or_else(String::new, str::to_owned)
}

/// The members that every request of the modern era carries.
fn modern_meta() -> String {
    format!(
        "\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"{MODERN_VERSION}\",\
         \"io.modelcontextprotocol/clientCapabilities\":{{}},\
         \"io.modelcontextprotocol/clientInfo\":{{\"name\":\"loadgen\",\"version\":\"0\"}}}}"
    )
}

#[derive(Default)]
struct Writer {
    pieces: Vec<Piece>,
}

impl Writer {
    fn text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    fn members(&mut self, members: &Map<String, Value>) {
        for (index, (name, value)) in members.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            self.text(&format!("{comma}{}:", Value::from(name.as_str())));
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Array(items) => {
                self.text("[");
                for (index, item) in items.iter().enumerate() {
                    self.text(if index == 0 { "" } else { "," });
                    self.value(item);
                }
                self.text("]");
            }
            Value::Object(members) => {
                self.text("{");
                self.members(members);
                self.text("}");
            }
            Value::String(text) => {
                self.text("\"");
                for part in parts(text) {
                    match part {
                        Part::Text(text) => self.text(&escaped(text)),
                        Part::Placeholder(word) => self.gap(word),
                    }
                }
                self.text("\"");
            }
            other => self.text(&other.to_string()),
        }
    }

    fn gap(&mut self, word: &str) {
        let gap = match word {
            "account" => Gap::Account,
            "foreign_account" => Gap::ForeignAccount,
            "n" => Gap::Number,
            "subject" => Gap::Subject,
            "subject_index" => Gap::SubjectIndex,
            // The mix refuses every other word.
            _ => return,
        };
        self.pieces.push(Piece::Gap(gap));
    }
}
