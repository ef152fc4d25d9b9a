//! Requests and notifications of a server, beside its answers.
//!
//! Owns where each may stand, and what it takes to let one pass: the client's answer to a request is awaited, or the
//! request goes nowhere. What the policy says of them is asked elsewhere.

use super::super::case::{CallFacts, Case};
use super::{Passed, Tools, contents};
use crate::denial::{Denial, DenyReason};
use crate::json::Node;
use crate::rpc::subscription::{Subscription, travels_with_a_call};
use crate::rpc::{Method, Reply, RequestId, ServerMethod};
use crate::time::UnixTime;

/// What a server says that is no answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'b> {
    pub(super) method: ServerMethod,
    pub(super) params: Option<Node<'b>>,
}

impl<'b> Told<'b> {
    pub(super) fn by(reply: &Reply<'b>) -> Option<Self> {
        match *reply {
            Reply::Notification { method, params, .. } | Reply::Request { method, params, .. } => {
                Some(Self { method, params })
            }
            Reply::Error { .. } | Reply::InputRequired { .. } | Reply::Result { .. } | Reply::Unjudged => None,
        }
    }
}

/// Checks that a message may stand on this stream, and that the caller may see the resource that it names.
pub(super) fn check_place(
    case: &Case<'_>,
    call: &CallFacts,
    told: Told<'_>,
    subscription: Option<&Subscription>,
    now: UnixTime,
    tools: &mut Tools<'_>,
) -> Result<(), Denial> {
    let withheld = |operator| Err(Denial::new(DenyReason::AnswerWithheld, operator));
    match subscription {
        Some(subscription) => {
            let checked = subscription.check(told.method, told.params, &call.expected);
            checked.map_err(|error| Denial::new(DenyReason::AnswerInvalid, error.operator()))?;
        }
        None if call.version.is_modern() && !travels_with_a_call(told.method) => {
            return withheld("a message of this kind travels on the stream of a subscription alone");
        }
        None => {}
    }
    match told.method {
        ServerMethod::ResourcesUpdated => {
            let uri = told.params.and_then(|params| params.member("uri")?.as_str());
            match uri.map(|uri| contents::may_read(case, uri, now, tools)) {
                Some(Ok(true)) => Ok(()),
                Some(Err(failure)) => Err(failure),
                Some(Ok(false)) | None => withheld("the caller may not read the resource that was updated"),
            }
        }
        _ => Ok(()),
    }
}

/// Whether a notification says nothing but numbers and names of the protocol, so that there is nothing to redact in it.
pub(super) fn is_wordless(method: ServerMethod, params: Option<Node<'_>>) -> bool {
    let counts = |node: Node<'_>| node.as_number().is_some();
    match method {
        ServerMethod::Progress => params.is_some_and(|params| params.members().all(|member| counts(member.value))),
        ServerMethod::PromptsListChanged | ServerMethod::ResourcesListChanged | ServerMethod::ToolsListChanged => {
            params.is_none_or(|params| params.len() == 0)
        }
        _ => false,
    }
}

/// Lets a request of the server pass, once the client's answer to it is awaited.
pub(super) fn awaiting(
    case: &Case<'_>,
    call: &CallFacts,
    answer: Method,
    id: RequestId<'_>,
    now: UnixTime,
) -> Result<Passed, Denial> {
    let withheld = |operator| Err(Denial::new(DenyReason::AnswerWithheld, operator));
    if call.method == Method::Initialize {
        return withheld("the session in which the client would answer the server is not open yet");
    }
    if !case.gate.awaited.enter(&case.asked(&id.value()), answer, now) {
        return withheld("the answer to a request of the server cannot be awaited");
    }
    Ok(Passed::whole())
}
