//! Requests and notifications of a server, beside its answers.
//!
//! Owns what it takes to let one pass: the client's answer to a request is awaited, or the request goes nowhere.

use super::super::case::{CallFacts, Case};
use super::Passed;
use crate::denial::{Denial, DenyReason};
use crate::rpc::{Method, RequestId};
use crate::time::UnixTime;

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
    Ok(Passed {
        edited: None,
        redactions: 0,
    })
}
