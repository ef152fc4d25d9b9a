//! What must hold of every text that comes from outside: the bodies of the fuzz targets, feature `internal`, no part of
//! the API.
//!
//! Owns one check a reader: calls and replies against serde_json, event streams against other cuts of the same bytes,
//! the encoded form of headers against its definition. Each gives the property that is broken. Judges nothing.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;
use crate::json::{self, Kind, Limits, Node, Number, ParseError, Scratch};
use crate::rpc::sse::{Event, Splitter, SseError};
use crate::rpc::{self, Call, CallLimits, Expected, Method, ProtocolVersion, Reply, Target};

const JSON: Limits = Limits {
    depth: 64,
    members: 10_000,
};
const CALL: CallLimits = CallLimits {
    json: JSON,
    tool_name_bytes_max: 128,
};
/// Small, so that short streams reach it.
const EVENT_BYTES_MAX: usize = 48;

/// Reads `body` as a call, with the headers that it would come with.
///
/// # Errors
/// What is broken: whatever is accepted is to serde_json the same call, and whatever it takes and the gate does not has a
/// reason with a name.
pub fn call(body: &[u8]) -> Result<(), &'static str> {
    let theirs = serde_json::from_slice::<Value>(body).ok();
    let mut scratch = Scratch::default();
    let parsed = match json::parse(body, &mut scratch, JSON) {
        Ok(document) => {
            let theirs = theirs.as_ref().ok_or("read what serde_json refuses")?;
            agrees(document.root(), theirs)?;
            Ok(())
        }
        Err(error) => Err(error),
    };
    let headers = rpc::headers_of(body, ProtocolVersion::V2025_11_25, &mut scratch, JSON);
    match (rpc::read_call(&head_of(&headers), body, &mut scratch, CALL), theirs) {
        (Ok(call), Some(theirs)) => same_call(&call, &theirs, body),
        (Ok(_), None) => Err("accepted what serde_json refuses"),
        (Err(denial), Some(_)) => named(&denial, parsed, body),
        (Err(_), None) => Ok(()),
    }
}

/// Checks that `call` says what serde_json reads in its body, and borrows that body.
fn same_call(call: &Call<'_>, theirs: &Value, body: &[u8]) -> Result<(), &'static str> {
    let params = theirs.get("params");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    if call.answers().is_none() && text(theirs.get("method")).as_deref() != Some(call.method().as_str()) {
        return Err("another method than serde_json's");
    }
    let id = call.id().or_else(|| call.answers());
    if !same_text(id.map(|id| id.raw()), theirs.get("id")) {
        return Err("another id than serde_json's");
    }
    let reference = params.and_then(|params| params.get("ref")).or(params);
    let member = |key: &str| text(reference.and_then(|reference| reference.get(key)));
    let named = match call.target() {
        Target::Nothing => true,
        Target::Tool(name) | Target::Prompt(name) => member("name").as_deref() == Some(name),
        Target::Resource(uri) => member("uri").as_deref() == Some(uri),
    };
    if !named {
        return Err("another name than serde_json's");
    }
    let arguments = call.arguments();
    let inside = arguments.is_none_or(|arguments| body.get(arguments.span()) == Some(arguments.raw().as_bytes()));
    let own = matches!(call.method(), Method::PromptsGet | Method::ToolsCall);
    let theirs = params.and_then(|params| params.get("arguments"));
    if !inside || own && !same_text(arguments.map(Node::raw), theirs) {
        return Err("other arguments than serde_json's");
    }
    Ok(())
}

/// Whether `raw` alone is the text of `value`.
fn same_text(raw: Option<&str>, value: Option<&Value>) -> bool {
    match (raw, value) {
        (None, None) => true,
        (Some(raw), Some(value)) => serde_json::from_str::<Value>(raw).is_ok_and(|alone| alone == *value),
        _ => false,
    }
}

/// Checks that the refusal of a text that serde_json takes is one that the gate means.
fn named(denial: &Denial, parsed: Result<(), ParseError>, body: &[u8]) -> Result<(), &'static str> {
    let meant = match parsed {
        // serde_json reads an integer past 64 bits as a double.
        Err(ParseError::Malformed) => body
            .split(|byte| !byte.is_ascii_digit())
            .any(|digits| digits.len() > 18),
        Err(
            ParseError::KeyDuplicate
            | ParseError::KeyNul
            | ParseError::NumberLossy
            | ParseError::TooDeep
            | ParseError::TooManyMembers,
        ) => matches!(denial.reason, DenyReason::JsonAmbiguous | DenyReason::JsonMalformed),
        Ok(()) => matches!(
            denial.reason,
            DenyReason::HeaderMismatch
                | DenyReason::JsonAmbiguous
                | DenyReason::MethodUnsupported
                | DenyReason::ParamsInvalid
                | DenyReason::RpcInvalid
                | DenyReason::VersionUnsupported
        ),
    };
    if meant {
        Ok(())
    } else {
        Err("a refusal without a reason of its own")
    }
}

/// Reads `text` as what an upstream sends in answer to one of several calls, which its first byte chooses.
///
/// # Errors
/// What is broken: whatever is accepted is to serde_json the same answer, to the same call.
pub fn reply(text: &[u8]) -> Result<(), &'static str> {
    let Some((choice, text)) = text.split_first() else {
        return Ok(());
    };
    let Some(expected) = expected(*choice) else {
        return Err("the call of the check is none");
    };
    let mut scratch = Scratch::default();
    let Ok(reply) = rpc::read_reply(text, &mut scratch, JSON, &expected) else {
        return Ok(());
    };
    let Ok(theirs) = serde_json::from_slice::<Value>(text) else {
        return Err("accepted what serde_json refuses");
    };
    let part = match reply {
        Reply::Result { result, .. } if theirs.get("id") != Some(&Value::from(7)) => {
            let _ = result;
            return Err("the result of another call");
        }
        Reply::Result { result, .. } => Some((result, "result")),
        Reply::Error { error, .. } => Some((error, "error")),
        Reply::Notification { params, .. } | Reply::Request { params, .. } => params.map(|params| (params, "params")),
        _ => None,
    };
    match part {
        Some((node, key)) => agrees(node, theirs.get(key).ok_or("a part that serde_json does not see")?),
        None => Ok(()),
    }
}

/// What an answer to one of the calls must match; `None` never.
fn expected(choice: u8) -> Option<Expected> {
    let bodies: [&[u8]; 4] = [
        br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a"}}"#,
        br#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#,
        br#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#,
    ];
    let body = bodies.get(usize::from(choice & 3))?;
    let mut scratch = Scratch::default();
    let headers = rpc::headers_of(body, ProtocolVersion::V2025_11_25, &mut scratch, JSON);
    let call = rpc::read_call(&head_of(&headers), body, &mut scratch, CALL).ok()?;
    Some(call.expected())
}

/// Splits a stream as a whole, byte by byte, and at places that its first byte chooses.
///
/// # Errors
/// What is broken: however the bytes are cut, the events, the error and the torn end are the same.
pub fn sse(stream: &[u8]) -> Result<(), &'static str> {
    let Some((seed, stream)) = stream.split_first() else {
        return Ok(());
    };
    let whole = split(stream, |_| usize::MAX);
    if split(stream, |_| 1) != whole {
        return Err("other events byte by byte");
    }
    let step = usize::from(seed % 7);
    let uneven = |turn: usize| turn.wrapping_mul(step).wrapping_add(usize::from(seed >> 4)) % 11;
    if split(stream, uneven) != whole {
        return Err("other events in uneven cuts");
    }
    match whole
        .0
        .iter()
        .flatten()
        .all(|event| event.data.len() <= EVENT_BYTES_MAX)
    {
        true => Ok(()),
        false => Err("an event past its limit"),
    }
}

/// Every event of a stream whose cuts have these sizes, none of them empty, and whether it ended within one.
fn split(mut stream: &[u8], size: impl Fn(usize) -> usize) -> (Vec<Result<Event, SseError>>, bool) {
    let mut splitter = Splitter::new(EVENT_BYTES_MAX);
    let mut events = Vec::new();
    for turn in 0_usize.. {
        let cut = size(turn).max(1).min(stream.len());
        let Some((chunk, rest)) = stream.split_at_checked(cut).filter(|(chunk, _)| !chunk.is_empty()) else {
            break;
        };
        stream = rest;
        splitter.push(chunk);
        while let Some(event) = splitter.next() {
            events.push(event);
        }
    }
    (events, splitter.finish())
}

/// Calls a tool with a name and an `Mcp-Name` that `text` holds: by its first byte the literal form, the encoded one, or
/// a header of any form, before a line feed that parts the two.
///
/// # Errors
/// What is broken: a header passes exactly when it is the name, or its canonical encoding.
pub fn sentinel(text: &[u8]) -> Result<(), &'static str> {
    let Some((form, text)) = text.split_first() else {
        return Ok(());
    };
    let mut parts = text.splitn(2, |byte| *byte == b'\n');
    let (first, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (value, name) = match form % 3 {
        0 => (text.to_vec(), text),
        1 => (format!("=?base64?{}?=", STANDARD.encode(text)).into_bytes(), text),
        _ => (first.to_vec(), rest),
    };
    let (Ok(value), Ok(name)) = (HeaderValue::from_bytes(&value), str::from_utf8(name)) else {
        return Ok(());
    };
    if name.is_empty() || CALL.tool_name_bytes_max < name.len() {
        return Ok(());
    }
    let body = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": name, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }},
    })
    .to_string();
    let mut scratch = Scratch::default();
    let mut headers = rpc::headers_of(body.as_bytes(), ProtocolVersion::V2026_07_28, &mut scratch, JSON);
    headers.insert(HeaderName::from_static("mcp-name"), value.clone());
    let read = rpc::read_call(&head_of(&headers), body.as_bytes(), &mut scratch, CALL);
    let encoded = format!("=?base64?{}?=", STANDARD.encode(name));
    let stands = value.to_str().is_ok_and(|value| {
        let value = value.trim_matches([' ', '\t']);
        let marked = value.strip_prefix("=?base64?").is_some_and(|rest| rest.ends_with("?="));
        if marked { value == encoded } else { value == name }
    });
    match (read.map_err(|denial| denial.reason), stands) {
        (Ok(_), true) | (Err(DenyReason::HeaderMismatch), false) => Ok(()),
        (Ok(_), false) => Err("a header that does not say the name passes"),
        (Err(_), _) => Err("a header that says the name is refused"),
    }
}

fn head_of(headers: &HeaderMap) -> RequestHead<'_> {
    RequestHead {
        method: &http::Method::POST,
        path: "/",
        query: None,
        host: "",
        headers,
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        certificate: None,
    }
}

/// Checks that a value and all its parts are those that serde_json reads.
fn agrees(node: Node<'_>, theirs: &Value) -> Result<(), &'static str> {
    let same = match (node.kind(), theirs) {
        (Kind::Array, Value::Array(list)) => {
            let mut parts = node.elements().zip(list);
            parts.try_for_each(|(node, theirs)| agrees(node, theirs))?;
            node.len() == list.len()
        }
        (Kind::Object, Value::Object(map)) => {
            for member in node.members() {
                let theirs = map.get(member.key).ok_or("a key that serde_json does not see")?;
                agrees(member.value, theirs)?;
            }
            node.len() == map.len()
        }
        (Kind::Bool, Value::Bool(value)) => node.as_bool() == Some(*value),
        (Kind::Null, Value::Null) => true,
        (Kind::String, Value::String(text)) => node.as_str() == Some(text),
        // serde_json reads `-0` as a double.
        (Kind::Number, Value::Number(number)) => match node.as_number() {
            Some(Number::Integer(value)) => number.as_i64().map_or(value == 0, |theirs| theirs == value),
            Some(Number::Float(value)) => number.as_f64() == Some(value),
            None => false,
        },
        _ => false,
    };
    if same {
        Ok(())
    } else {
        Err("another value than serde_json's")
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the corpora of the targets are files")]
mod tests;
