//! JSON-RPC batches (MCP 2025-03-26; JSON-RPC 2.0 section 6): which messages an array holds, and where each one stands.
//!
//! Owns the form of the whole: its size, its ids, and that each element is a message of its own. What an element says is
//! read by the readers of single messages, from its own bytes; nothing here is judged.

use std::ops::Range;

use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;
use crate::json::{self, Kind, Node, Scratch};

use super::message::{Context, Id, RequestId};
use super::{Method, ProtocolVersion, mirror};

/// The most messages that a client's batch may hold.
pub(crate) const ELEMENTS_MAX: usize = 64;

/// The most messages that one array of an upstream may hold: its answers and some messages beside each.
const ANSWERS_MAX: usize = 256;

/// One message of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Element {
    /// Where it stands in the bytes of the batch.
    pub(crate) span: Range<usize>,
    /// Its id, when it has one that names a request.
    pub(crate) id: Option<Id>,
    /// Whether it asks or tells something; what does not, answers.
    pub(crate) has_method: bool,
}

/// What an upstream sent in answer to a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answers {
    /// An array of messages.
    Array(Vec<Element>),
    /// One message.
    Single(Element),
    /// Nothing that can be told apart: no JSON with one meaning, or too many messages.
    Unreadable,
}

/// Whether a client's body is a batch that can be read as one: an array, by the only version that has them.
pub(crate) fn is_batch(head: &RequestHead<'_>, body: &[u8]) -> bool {
    let array = *head.method == http::Method::POST && body.trim_ascii_start().first() == Some(&b'[');
    let claimed = head.single(&mirror::PROTOCOL_VERSION);
    let version = ProtocolVersion::V2025_03_26.as_str();
    array && matches!(claimed, Ok(claimed) if claimed.is_none_or(|claimed| claimed == version))
}

/// The messages of a client's batch, in their order; none may be refused for its form alone any more.
///
/// # Errors
/// As [`super::read_call`] for what is no JSON with one meaning; [`DenyReason::RpcInvalid`] for a batch that is empty or
/// too long, that holds anything but objects or an `initialize` (MCP 2025-03-26, lifecycle), or two requests of one id.
pub(crate) fn read_batch(body: &[u8], scratch: &mut Scratch, limits: json::Limits) -> Result<Vec<Element>, Denial> {
    let context = Context {
        modern: false,
        id: None,
    };
    let invalid = |operator| context.deny(DenyReason::RpcInvalid, operator);
    let document = json::parse(body, scratch, limits).map_err(|error| context.unreadable(error))?;
    let root = document.root();
    if root.kind() != Kind::Array || root.len() == 0 {
        return Err(invalid("the batch is empty"));
    }
    if ELEMENTS_MAX < root.len() {
        return Err(invalid("the batch holds too many messages"));
    }
    let mut elements: Vec<Element> = Vec::with_capacity(root.len());
    for node in root.elements() {
        if node.kind() != Kind::Object {
            return Err(invalid("the batch holds what is no message"));
        }
        if node.member("method").and_then(Node::as_str) == Some(Method::Initialize.as_str()) {
            return Err(invalid("the batch holds an initialize"));
        }
        let element = element(node);
        let repeats = |before: &Element| {
            before.id.is_some() && before.id == element.id && before.has_method == element.has_method
        };
        if elements.iter().any(repeats) {
            return Err(invalid("two messages of the batch have the same id"));
        }
        elements.push(element);
    }
    Ok(elements)
}

/// What `body`, which came in answer to a batch, is made of.
pub(crate) fn read_answers(body: &[u8], scratch: &mut Scratch, limits: json::Limits) -> Answers {
    let Ok(document) = json::parse(body, scratch, limits) else {
        return Answers::Unreadable;
    };
    let root = document.root();
    match root.kind() {
        Kind::Array if ANSWERS_MAX < root.len() => Answers::Unreadable,
        Kind::Array => Answers::Array(root.elements().map(element).collect()),
        _ => Answers::Single(element(root)),
    }
}

fn element(node: Node<'_>) -> Element {
    Element {
        span: node.span(),
        id: node.member("id").and_then(RequestId::read).map(RequestId::value),
        has_method: node.member("method").is_some(),
    }
}
