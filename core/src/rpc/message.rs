//! The JSON-RPC envelope of a call, before its method means anything.
//!
//! Owns the members an envelope, `params` and `_meta` may have, request ids, and what every refusal of a call carries.
//! Never looks at a header.

use crate::denial::{Denial, DenyReason};
use crate::json::{Document, Kind, Node, Number, ParseError};

use super::ProtocolVersion;
use super::keys::{self, META_TRACE_PARENT, META_VERSION};

/// The id of a request: a string, or an integer in its one form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestId<'b>(Node<'b>);

impl<'b> RequestId<'b> {
    /// The id that `node` is. `null`, fractions, exponents and `-0` are none: they have no single text.
    pub(super) fn read(node: Node<'b>) -> Option<Self> {
        match (node.kind(), node.as_number()) {
            (Kind::String, _) => Some(Self(node)),
            (_, Some(Number::Integer(_))) if node.raw() != "-0" => Some(Self(node)),
            _ => None,
        }
    }

    /// The JSON text of the id, exactly as it stands in the body.
    pub(crate) fn raw(self) -> &'b str {
        self.0.raw()
    }

    /// Whether it is a string or an integer.
    pub(crate) fn kind(self) -> IdKind {
        match self.0.kind() {
            Kind::String => IdKind::String,
            _ => IdKind::Integer,
        }
    }

    /// The id by value, to be kept.
    pub(crate) fn value(self) -> Id {
        match self.0.as_number() {
            Some(Number::Integer(value)) => Id::Integer(value),
            _ => Id::String(Box::from(self.0.as_str().unwrap_or_default())),
        }
    }
}

/// An id by value: the other side may escape the same string differently.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Id {
    /// A JSON integer.
    Integer(i64),
    /// A JSON string, decoded.
    String(Box<str>),
}

impl Id {
    pub(super) fn is(&self, node: Node<'_>) -> bool {
        match self {
            Self::Integer(value) => node.as_number() == Some(Number::Integer(*value)),
            Self::String(text) => node.as_str() == Some(text),
        }
    }
}

/// The two types of request ids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum IdKind {
    /// A JSON integer.
    Integer,
    /// A JSON string.
    String,
}

impl IdKind {
    /// The name that policies see.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::String => "string",
        }
    }
}

/// Bytes of an unknown version that are told again.
const VERSION_BYTES_MAX: usize = 64;

/// What a refusal of this request carries beside its reason.
#[derive(Clone, Copy)]
pub(super) struct Context<'b> {
    pub(super) modern: bool,
    pub(super) id: Option<&'b str>,
}

impl<'b> Context<'b> {
    #[cold]
    #[inline(never)]
    pub(super) fn deny(self, reason: DenyReason, operator: &'static str) -> Denial {
        let mut denial = Denial::new(reason, operator);
        denial.modern = self.modern;
        denial.request_id = self.id.map(Box::from);
        denial
    }

    /// Refuses a version that is not judged. A request that says it in the body too is of the modern form, whatever the
    /// version.
    #[cold]
    #[inline(never)]
    pub(super) fn deny_version(self, claimed: &str, in_body: bool) -> Denial {
        let operator = "the version header names no judged version";
        let mut denial = self.deny(DenyReason::VersionUnsupported, operator);
        denial.modern = self.modern || in_body;
        denial.requested_version = is_version_like(claimed).then(|| Box::from(claimed));
        denial
    }

    #[cold]
    #[inline(never)]
    pub(super) fn unreadable(self, error: ParseError) -> Denial {
        let (reason, operator) = match error {
            ParseError::Malformed => (
                DenyReason::JsonMalformed,
                "the body is not one JSON document in UTF-8, or a number in it is out of range",
            ),
            ParseError::TooDeep => (DenyReason::JsonMalformed, "the body is nested too deep"),
            ParseError::TooManyMembers => (DenyReason::JsonMalformed, "the body has too many members"),
            ParseError::KeyNul => (DenyReason::JsonMalformed, "a key of the body holds U+0000"),
            ParseError::KeyDuplicate => (DenyReason::JsonAmbiguous, "an object of the body has a key twice"),
            ParseError::NumberLossy => (
                DenyReason::JsonAmbiguous,
                "a number of the body loses its value as a double",
            ),
        };
        self.deny(reason, operator)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn folded(self) -> Denial {
        self.deny(
            DenyReason::JsonAmbiguous,
            "a key is a protocol key in another case or fold",
        )
    }

    /// Takes the id and the era from a body that may yet be refused.
    pub(super) fn learn(&mut self, document: Document<'b>) {
        let root = document.root();
        self.id = root.member("id").and_then(RequestId::read).map(RequestId::raw);
        let stated = root
            .member("params")
            .and_then(|params| params.member("_meta")?.member(META_VERSION)?.as_str());
        self.modern |= stated.is_some_and(ProtocolVersion::claims_modern);
    }
}

/// The envelope, with `params` and `_meta` known to be objects free of near-misses.
pub(super) struct Message<'b> {
    pub(super) id: Option<RequestId<'b>>,
    pub(super) method: &'b str,
    pub(super) params: Option<Node<'b>>,
    pub(super) meta: Option<Node<'b>>,
}

impl<'b> Message<'b> {
    pub(super) fn read(root: Node<'b>, context: Context<'b>) -> Result<Self, Denial> {
        let invalid = |operator| context.deny(DenyReason::RpcInvalid, operator);
        match root.kind() {
            Kind::Object => {}
            Kind::Array => return Err(invalid("the body is an array: only 2025-03-26 has batches")),
            _ => return Err(invalid("the body is a bare value")),
        }
        for member in root.members() {
            match member.key {
                "id" | "jsonrpc" | "method" | "params" => {}
                "error" | "result" => return Err(invalid("the body answers a request of the server")),
                key if keys::is_near_miss(key) => return Err(context.folded()),
                _ => return Err(invalid("the message has an unknown member")),
            }
        }
        if root.member("jsonrpc").and_then(Node::as_str) != Some("2.0") {
            return Err(invalid("the message is not JSON-RPC 2.0"));
        }
        let Some(method) = root.member("method").and_then(Node::as_str) else {
            return Err(invalid("the method is missing or not a string"));
        };
        let id = match root.member("id").map(RequestId::read) {
            None => None,
            Some(Some(id)) => Some(id),
            Some(None) => return Err(invalid("the id is neither a string nor an integer")),
        };
        let (params, meta) = params(root, context)?;
        Ok(Self {
            id,
            method,
            params,
            meta,
        })
    }

    /// The string member `key` of `_meta`; `Err` when it has another type.
    pub(super) fn meta_text(&self, key: &str) -> Result<Option<&'b str>, ()> {
        match self.meta.and_then(|meta| meta.member(key)) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or(()),
        }
    }

    pub(super) fn trace_parent(&self) -> Option<&'b str> {
        let text = self.meta_text(META_TRACE_PARENT).ok().flatten()?;
        is_trace_parent(text).then_some(text)
    }
}

/// `params` and its `_meta`, both absent or objects without near-misses.
fn params<'b>(root: Node<'b>, context: Context<'b>) -> Result<(Option<Node<'b>>, Option<Node<'b>>), Denial> {
    let Some(params) = root.member("params") else {
        return Ok((None, None));
    };
    if params.kind() != Kind::Object {
        return Err(context.deny(DenyReason::RpcInvalid, "params is not an object"));
    }
    if keys::has_near_miss(params) {
        return Err(context.folded());
    }
    let Some(meta) = params.member("_meta") else {
        return Ok((Some(params), None));
    };
    if meta.kind() != Kind::Object {
        return Err(context.deny(DenyReason::ParamsInvalid, "_meta is not an object"));
    }
    if keys::has_near_miss_in_meta(meta) {
        return Err(context.folded());
    }
    Ok((Some(params), Some(meta)))
}

/// Whether a version that cannot be judged may be told to the client again: nothing else of a request is echoed but its
/// id, and no text goes back that a page or a log could take for more than a name.
fn is_version_like(claimed: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=VERSION_BYTES_MAX).contains(&claimed.len()) && claimed.bytes().all(plain)
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, lower case (W3C Trace Context section 3.2).
fn is_trace_parent(text: &str) -> bool {
    let mut parts = text.split('-');
    let widths = [2, 32, 16, 2];
    let hexadecimal = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    text.starts_with("00-")
        && widths.into_iter().all(|width| {
            parts
                .next()
                .is_some_and(|part| part.len() == width && hexadecimal(part))
        })
        && parts.next().is_none()
}
