//! JSON-RPC 2.0 as MCP speaks it over streamable HTTP, in both eras: with a handshake (2025-03-26 to 2025-11-25, here
//! "legacy") and stateless (2026-07-28, here "modern").
//!
//! Owns the reading of calls, of answers and of event streams. What it gives borrows the very bytes that are
//! forwarded; what it cannot name (unknown methods, folded keys, disagreeing headers) it refuses. Never
//! decides who may call what, and never rewrites a message.

mod answer;
mod batch;
mod call;
mod derived;
mod form;
mod http;
mod keys;
mod message;
mod method;
mod mirror;
mod params;
mod reply;
mod result;
mod server_message;
mod server_method;
pub(crate) mod subscription;
pub mod sse;
mod target;
pub(crate) mod uri;

pub(crate) use batch::{Answers, Element, is_batch, read_answers, read_batch};
pub(crate) use call::{Call, CallLimits, read_call};
pub(crate) use derived::headers_of;
pub(crate) use http::read_http;
pub(crate) use message::{Id, IdKind, RequestId};
pub use method::Method;
pub(crate) use method::Reviewed;
pub use mirror::ParamFault;
pub(crate) use mirror::{ParamHeader, compare_params, is_param, read_schema};
pub(crate) use reply::{Expected, Reply, ReplyError, read_reply};
pub use server_method::ServerMethod;
pub(crate) use subscription::Subscriptions;
pub(crate) use target::{Named, Target};

/// The revisions of MCP that can be judged, oldest first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ProtocolVersion {
    /// 2025-03-26, also assumed when a request names none.
    V2025_03_26,
    /// 2025-06-18
    V2025_06_18,
    /// 2025-11-25
    V2025_11_25,
    /// 2026-07-28, the first without sessions.
    V2026_07_28,
}

impl ProtocolVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 4] = [
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// The version as it stands in headers and bodies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The version that is spelled exactly so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// Whether each request stands alone: no handshake, no session.
    pub const fn is_modern(self) -> bool {
        matches!(self, Self::V2026_07_28)
    }

    /// Whether `text` is a date of the modern era, known to us or not: decides how a refusal is worded.
    fn claims_modern(text: &str) -> bool {
        let date = text.bytes().enumerate().all(|(place, byte)| {
            if matches!(place, 4 | 7) {
                byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        });
        date && text.len() == 10 && Self::V2026_07_28.as_str() <= text
    }
}

#[cfg(test)]
mod tests;
