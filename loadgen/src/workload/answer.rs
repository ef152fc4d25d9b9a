//! What an answer meant: statuses, JSON-RPC messages and event streams.
//!
//! Owns the judgement of one answer beside what was expected. Reads no more of a message than its id, whether it is a
//! result or an error, `isError` and the error's code; never looks at what a tool said. A body that cannot be read is
//! a protocol error, never a result.

use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::events::Events;
use super::{Expect, Expected, Outcome};
use crate::connect::Answer;

/// JSON-RPC codes by which a target refuses within a status of 200: policy and scope of Portcullis, and the code that
/// other gateways use for a call that may not be made.
const REFUSALS: [i64; 3] = [40_301, 40_302, -32_001];

/// What `answer` means to a call of which `expected` is expected.
pub(super) fn judge(expected: Expected, answer: &Answer) -> Outcome {
    match answer.status {
        200 => of_reply(expected, answer),
        401 if expected.expect == Expect::Unauthenticated => Outcome::Denied,
        401 => Outcome::Unauthenticated,
        403 if names_another(expected.id, answer) => Outcome::ProtocolError,
        403 => refused(expected),
        429 => Outcome::Throttled,
        500..=599 => Outcome::Unavailable,
        _ => Outcome::ProtocolError,
    }
}

/// Whether `answer` holds a result for the request `id`; for the handshake.
pub(super) fn is_result(id: u64, answer: &Answer) -> bool {
    let expect = Expect::Result;
    judge(Expected { id, expect }, answer) == Outcome::Allowed
}

fn of_reply(expected: Expected, answer: &Answer) -> Outcome {
    let reply = match is_stream(answer) {
        true => reply_of_stream(expected.id, &answer.body),
        false => serde_json::from_slice::<Message<'_>>(&answer.body)
            .ok()
            .and_then(|message| message.reply(expected.id)),
    };
    match reply {
        Some(Reply::Result) if expected.expect == Expect::Result => Outcome::Allowed,
        Some(Reply::Result) => Outcome::AllowedUnexpectedly,
        Some(Reply::ToolError) => Outcome::ToolError,
        Some(Reply::Error(code)) if REFUSALS.contains(&code) => refused(expected),
        Some(Reply::Error(_)) | None => Outcome::ProtocolError,
    }
}

const fn refused(expected: Expected) -> Outcome {
    match expected.expect {
        Expect::Refused => Outcome::Denied,
        // A call with an expired token must fail by its token; that the policy refused it proves nothing of that.
        Expect::Result | Expect::Unauthenticated => Outcome::DeniedUnexpectedly,
    }
}

fn is_stream(answer: &Answer) -> bool {
    let content_type = answer
        .headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// The one answer to the request `id` in a stream; none when there is none, a second one, or one to another request.
fn reply_of_stream(id: u64, body: &[u8]) -> Option<Reply> {
    let mut found = None;
    for data in Events::of(body) {
        let message: Message<'_> = serde_json::from_slice(&data).ok()?;
        if message.method.is_some() {
            continue;
        }
        if found.replace(message.reply(id)?).is_some() {
            return None;
        }
    }
    found
}

/// Whether a refusal is an answer to another request. One without a body, or without an id, names nobody.
fn names_another(id: u64, answer: &Answer) -> bool {
    match serde_json::from_slice::<Message<'_>>(&answer.body) {
        Ok(message) => message.id.is_some_and(|found| found != Id::Number(id)),
        Err(_) => false,
    }
}

/// What a message says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reply {
    Error(i64),
    Result,
    ToolError,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: Option<&'a str>,
    id: Option<Id>,
    method: Option<IgnoredAny>,
    result: Option<ResultPart>,
    error: Option<ErrorPart>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct ResultPart {
    #[serde(default, rename = "isError")]
    is_error: bool,
}

#[derive(Deserialize)]
struct ErrorPart {
    code: i64,
}

impl Message<'_> {
    /// What it answers to the request `id`; none when it is no right answer to that.
    fn reply(self, id: u64) -> Option<Reply> {
        if self.jsonrpc != Some("2.0") || self.method.is_some() || self.id != Some(Id::Number(id)) {
            return None;
        }
        match (self.result, self.error) {
            (Some(result), None) if result.is_error => Some(Reply::ToolError),
            (Some(_), None) => Some(Reply::Result),
            (None, Some(error)) => Some(Reply::Error(error.code)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
