//! The calls of a load: which tool, by whom, with which arguments, and what each answer meant.
//!
//! Owns [`Workload`]; call number n is the same in every run with the same seed. Opens no connection but for sessions
//! and keeps no time.

use bytes::Bytes;
use http::HeaderMap;

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
