//! One call of a client, or its answer to a request of the server: the body as JSON-RPC, in agreement with its headers.
//!
//! Owns [`Call`]; only [`read_call`] makes one. Everything in it borrows the body that is forwarded, so what is judged
//! and what arrives are the same bytes. Refusals carry the request's id and era as soon as they are known.

use std::fmt;

use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;
use crate::json::{self, Kind, Node, Scratch};

use super::keys::{META_CAPABILITIES, META_PROGRESS, META_VERSION};
use super::message::{Context, Message, RequestId};
use super::params::Params;
use super::reply::Expected;
use super::subscription::Subscriptions;
use super::{Method, ProtocolVersion, Target, answer, mirror};

/// Bounds on a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CallLimits {
    /// Bounds on the body as JSON.
    pub(crate) json: json::Limits,
    /// The longest tool name, in bytes.
    pub(crate) tool_name_bytes_max: usize,
}

/// A request, notification or answer of a client, well formed and in agreement with its headers.
#[derive(Clone, Copy)]
pub(crate) struct Call<'b> {
    version: ProtocolVersion,
    method: Method,
    id: Option<RequestId<'b>>,
    answers: Option<RequestId<'b>>,
    params: Params<'b>,
    answer: Option<Node<'b>>,
    session: Option<&'b str>,
    trace_parent: Option<&'b str>,
}

impl<'b> Call<'b> {
    /// The revision the request is to be read by.
    pub(crate) fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// The method.
    pub(crate) fn method(&self) -> Method {
        self.method
    }

    /// The id of a request, `None` for what gets no answer.
    pub(crate) fn id(&self) -> Option<RequestId<'b>> {
        self.id
    }

    /// The id of the server's request that this answers, `None` for what is no answer.
    pub(crate) fn answers(&self) -> Option<RequestId<'b>> {
        self.answers
    }

    /// What is answered to a request of the server; `None` for a refusal to.
    pub(crate) fn answer(&self) -> Option<Node<'b>> {
        self.answer
    }

    /// The same answer, to the request that is answered as `method`.
    ///
    /// # Errors
    /// [`DenyReason::RpcInvalid`] when it is not what that request asks for.
    pub(crate) fn answering(self, method: Method) -> Result<Self, Denial> {
        match self.answer.is_none_or(|result| answer::has_form_of(method, result)) {
            true => Ok(Self { method, ..self }),
            false => Err(Denial::new(
                DenyReason::RpcInvalid,
                "the client's answer does not have the form of its request",
            )),
        }
    }

    /// What an HTTP method alone asks for.
    pub(super) fn bare(version: ProtocolVersion, method: Method, session: Option<&'b str>) -> Self {
        Self {
            version,
            method,
            id: None,
            answers: None,
            params: Params::NONE,
            answer: None,
            session,
            trace_parent: None,
        }
    }

    /// What it names.
    pub(crate) fn target(&self) -> Target<'b> {
        self.params.target
    }

    /// The tool's decoded name.
    #[cfg(test)]
    pub(crate) fn tool(&self) -> Option<&'b str> {
        self.params.target.tool()
    }

    /// What policies see as its arguments: those of a tool or prompt, all parameters of a
    /// completion, and what a subscription wants.
    pub(crate) fn arguments(&self) -> Option<Node<'b>> {
        self.params.arguments
    }

    /// The map of a client's answers to what the server asked back (MCP 2026-07-28, multi-round-trip requests).
    pub(crate) fn input_responses(&self) -> Option<Node<'b>> {
        self.params.input_responses
    }

    /// The state that the server handed out with what it asked back: to be forwarded as it is, and never to be trusted.
    pub(crate) fn request_state(&self) -> Option<&'b str> {
        self.params.request_state
    }

    /// The id of the task that it is about.
    pub(crate) fn task_id(&self) -> Option<&'b str> {
        self.params.task_id
    }

    /// The same call, about a task that `tool` has started.
    pub(crate) fn about(self, tool: &'b str) -> Self {
        let params = Params {
            target: Target::Tool(tool),
            ..self.params
        };
        Self { params, ..self }
    }

    /// What a `subscriptions/listen` wants to be told of: the object `notifications`, whose members and types are known.
    pub(crate) fn subscriptions(&self) -> Option<Subscriptions<'b>> {
        self.params.subscriptions.map(Subscriptions::of)
    }

    /// The session of a legacy request; the modern era has none and ignores the header.
    pub(crate) fn session(&self) -> Option<&'b str> {
        self.session
    }

    /// The W3C trace context of `params._meta`, when it has the form of version 00.
    pub(crate) fn trace_parent(&self) -> Option<&'b str> {
        self.trace_parent
    }

    /// What an answer to this call must match.
    pub(crate) fn expected(&self) -> Expected {
        Expected::new(self.id, self.method, self.version)
    }
}

/// Tells method and version only: arguments and sessions belong in no log.
impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({}, {})", self.method.as_str(), self.version.as_str())
    }
}

/// Reads `body` as the one message that the request with `head` carries.
///
/// # Errors
/// [`DenyReason::JsonMalformed`] and [`DenyReason::JsonAmbiguous`] for what is no JSON, or none with one meaning;
/// [`DenyReason::RpcInvalid`], [`DenyReason::ParamsInvalid`] and [`DenyReason::MethodUnsupported`] for what is no call
/// that can be judged; [`DenyReason::VersionUnsupported`]; [`DenyReason::HeaderMismatch`] when a header says otherwise
/// than the body; [`DenyReason::HeadMalformed`] for a broken session header.
pub(crate) fn read_call<'b>(
    head: &RequestHead<'b>,
    body: &'b [u8],
    scratch: &'b mut Scratch,
    limits: CallLimits,
) -> Result<Call<'b>, Denial> {
    let claimed = head.single(&mirror::PROTOCOL_VERSION);
    let mut context = Context {
        modern: matches!(claimed, Ok(Some(text)) if ProtocolVersion::claims_modern(text)),
        id: None,
    };
    let document = json::parse(body, scratch, limits.json).map_err(|error| context.unreadable(error))?;
    context.learn(document);
    if !context.modern && answer::is_answer(document.root()) {
        return read_answer(head, document.root(), claimed, context);
    }
    let message = Message::read(document.root(), context)?;
    let Ok(claimed) = claimed else {
        return Err(context.deny(
            DenyReason::HeaderMismatch,
            "the version header is repeated or not ascii",
        ));
    };
    let version = version(claimed, &message, context)?;
    context.modern = version.is_modern();
    mirror::method(head, version, Some(message.method), context)?;
    let method = method(version, &message, context)?;
    let params = Params::read(method, version, &message, limits.tool_name_bytes_max, context)?;
    mirror::name(head, version, params.mirrored(method), context)?;
    Ok(Call {
        version,
        method,
        id: message.id,
        answers: None,
        params,
        answer: None,
        session: if version.is_modern() {
            None
        } else {
            session(head, context)?
        },
        trace_parent: message.trace_parent(),
    })
}

/// Reads `root` as an answer to a request of the server. A refusal names no id: it answers nothing of the client's.
fn read_answer<'b>(
    head: &RequestHead<'b>,
    root: Node<'b>,
    claimed: Result<Option<&'b str>, Denial>,
    context: Context<'b>,
) -> Result<Call<'b>, Denial> {
    let context = Context { id: None, ..context };
    let answer = answer::read(root, context)?;
    let version = match claimed {
        Ok(None) => ProtocolVersion::V2025_03_26,
        Ok(Some(claimed)) => legacy(claimed, context)?,
        Err(_) => {
            return Err(context.deny(
                DenyReason::HeaderMismatch,
                "the version header is repeated or not ascii",
            ));
        }
    };
    mirror::method(head, version, None, context)?;
    mirror::name(head, version, None, context)?;
    Ok(Call {
        version,
        // Until it is known what was asked: see `Call::answering`.
        method: Method::ResponsePing,
        id: None,
        answers: Some(answer.id),
        params: Params::NONE,
        answer: answer.result,
        session: session(head, context)?,
        trace_parent: None,
    })
}

/// The version of the legacy era that the header names.
pub(super) fn legacy(claimed: &str, context: Context<'_>) -> Result<ProtocolVersion, Denial> {
    ProtocolVersion::parse(claimed)
        .filter(|version| !version.is_modern())
        .ok_or_else(|| context.deny_version(claimed, false))
}

/// The version that header and body agree on. `initialize` negotiates: it may offer any version and is read as
/// legacy, by the newest revision with a handshake when the offered one is not known.
fn version(claimed: Option<&str>, message: &Message<'_>, context: Context<'_>) -> Result<ProtocolVersion, Denial> {
    let Ok(stated) = message.meta_text(META_VERSION) else {
        return Err(context.deny(DenyReason::ParamsInvalid, "the version in _meta is not a string"));
    };
    let version = match (claimed, stated) {
        (None, None) => ProtocolVersion::V2025_03_26,
        (None, Some(_)) => {
            return Err(context.deny(
                DenyReason::HeaderMismatch,
                "_meta names a version, the header is missing",
            ));
        }
        (Some(claimed), stated) => {
            let Some(version) = ProtocolVersion::parse(claimed) else {
                return Err(context.deny_version(claimed, stated.is_some()));
            };
            match stated {
                Some(stated) if stated != claimed => {
                    return Err(context.deny(DenyReason::HeaderMismatch, "header and _meta name different versions"));
                }
                None if version.is_modern() => {
                    return Err(context.deny(DenyReason::ParamsInvalid, "_meta names no version"));
                }
                _ => version,
            }
        }
    };
    if message.method != Method::Initialize.as_str() || version.is_modern() {
        return Ok(version);
    }
    let offered = message
        .params
        .and_then(|params| params.member("protocolVersion")?.as_str());
    let Some(offered) = offered else {
        return Err(context.deny(DenyReason::ParamsInvalid, "initialize offers no version"));
    };
    let known = ProtocolVersion::parse(offered).filter(|version| !version.is_modern());
    Ok(known.unwrap_or(ProtocolVersion::V2025_11_25))
}

/// The method, when it exists in `version`, has an id exactly when it is a request, and brings what the era demands.
fn method(version: ProtocolVersion, message: &Message<'_>, context: Context<'_>) -> Result<Method, Denial> {
    let Some(method) = Method::parse(message.method) else {
        return Err(context.deny(
            DenyReason::MethodUnsupported,
            "the method is not one that can be judged",
        ));
    };
    if !method.exists_in(version) {
        return Err(context.deny(
            DenyReason::MethodUnsupported,
            "the method does not exist in this version",
        ));
    }
    if method.is_notification() && message.id.is_some() {
        return Err(context.deny(DenyReason::RpcInvalid, "a notification has an id"));
    }
    if !method.is_notification() && message.id.is_none() {
        return Err(context.deny(DenyReason::RpcInvalid, "a request has no id"));
    }
    let capabilities = message.meta.and_then(|meta| meta.member(META_CAPABILITIES));
    if version.is_modern() && capabilities.map(Node::kind) != Some(Kind::Object) {
        return Err(context.deny(DenyReason::ParamsInvalid, "_meta lacks the client's capabilities"));
    }
    match message
        .meta
        .and_then(|meta| meta.member(META_PROGRESS))
        .map(RequestId::read)
    {
        Some(None) => Err(context.deny(
            DenyReason::ParamsInvalid,
            "the progress token is neither a string nor an integer",
        )),
        _ => Ok(method),
    }
}

/// The session header: one value of visible ASCII without spaces.
pub(super) fn session<'b>(head: &RequestHead<'b>, context: Context<'b>) -> Result<Option<&'b str>, Denial> {
    let broken = || {
        context.deny(
            DenyReason::HeadMalformed,
            "the session header is repeated or not visible ascii",
        )
    };
    let session = head.single(&mirror::SESSION_ID).map_err(|_| broken())?;
    match session {
        Some(session) if session.is_empty() || !session.bytes().all(|byte| byte.is_ascii_graphic()) => Err(broken()),
        session => Ok(session),
    }
}
