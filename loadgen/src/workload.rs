//! The calls of a load: which tool, by whom, with which arguments, and what each answer meant.
//!
//! Owns the one view that the engine has of calls: call number n is the same in every run with the same seed.

use bytes::Bytes;
use http::HeaderMap;

use crate::connect::Answer;

/// One call, ready to be sent.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The fields besides `Host` and the framing.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What a right answer is.
    pub expected: Expected,
}

/// What a right answer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected {
    /// The JSON-RPC id of the call.
    pub id: u64,
    /// Whether the target should refuse it.
    pub refused: bool,
}

/// What an answer meant; see the members of [`crate::report::Outcomes`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A result, as expected.
    Allowed,
    /// A result where a refusal was expected.
    AllowedUnexpectedly,
    /// A refusal, as expected.
    Denied,
    /// A refusal where a result was expected.
    DeniedUnexpectedly,
    /// Any other answer.
    ProtocolError,
    /// 429.
    Throttled,
    /// The tool reported an error.
    ToolError,
    /// 401.
    Unauthenticated,
    /// 5xx.
    Unavailable,
}

/// Where the engine gets its calls from. Shared by all load threads: `prepare` takes no lock and does no I/O.
pub trait Calls: Send + Sync {
    /// Call number `number`, from 0; the same for the same number but for tokens, which are renewed.
    fn prepare(&self, number: u64) -> Prepared;

    /// What `answer` to a call means. Runs after the answer's time was taken.
    fn judge(&self, expected: Expected, answer: &Answer) -> Outcome;
}
