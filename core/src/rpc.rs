//! JSON-RPC 2.0 as MCP speaks it over streamable HTTP, in both eras: with a handshake (2025-03-26 to 2025-11-25, here
//! "legacy") and stateless (2026-07-28, here "modern").
//!
//! Owns the reading of calls, of answers and of event streams. What it gives borrows the very bytes that are
//! forwarded; what it cannot name (batches, unknown methods, folded keys, disagreeing headers) it refuses. Never
//! decides who may call what, and never rewrites a message.

mod answer;
mod call;
mod keys;
mod message;
mod mirror;
mod reply;
pub mod sse;

pub(crate) use call::{Call, CallLimits, read_call};
pub(crate) use message::{Id, IdKind, RequestId};
pub(crate) use reply::{Expected, Reply, read_reply};

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

/// What a client may send that can be judged: its methods, and its answers to requests of the server. All others are
/// refused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Method {
    /// `initialize`
    Initialize,
    /// `notifications/cancelled`
    NotificationCancelled,
    /// `notifications/initialized`
    NotificationInitialized,
    /// `notifications/progress`
    NotificationProgress,
    /// `notifications/roots/list_changed`
    NotificationRootsListChanged,
    /// `ping`
    Ping,
    /// `response/ping`: the client's answer to a `ping` of the server. The name is the gate's; no message has it.
    ResponsePing,
    /// `server/discover`
    ServerDiscover,
    /// `tools/call`
    ToolsCall,
    /// `tools/list`
    ToolsList,
}

impl Method {
    /// Every method that a message can name, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::Initialize,
        Self::NotificationCancelled,
        Self::NotificationInitialized,
        Self::NotificationProgress,
        Self::NotificationRootsListChanged,
        Self::Ping,
        Self::ServerDiscover,
        Self::ToolsCall,
        Self::ToolsList,
    ];

    /// The method as the protocol spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::NotificationCancelled => "notifications/cancelled",
            Self::NotificationInitialized => "notifications/initialized",
            Self::NotificationProgress => "notifications/progress",
            Self::NotificationRootsListChanged => "notifications/roots/list_changed",
            Self::Ping => "ping",
            Self::ResponsePing => "response/ping",
            Self::ServerDiscover => "server/discover",
            Self::ToolsCall => "tools/call",
            Self::ToolsList => "tools/list",
        }
    }

    /// The method of a message that is spelled exactly so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == text)
    }

    /// Whether the message has no id and gets no answer.
    pub const fn is_notification(self) -> bool {
        matches!(
            self,
            Self::NotificationCancelled
                | Self::NotificationInitialized
                | Self::NotificationProgress
                | Self::NotificationRootsListChanged
        )
    }

    /// Whether the message gets an answer: only requests do (JSON-RPC 2.0 section 4.1).
    pub const fn is_answered(self) -> bool {
        !self.is_notification() && !matches!(self, Self::ResponsePing)
    }

    /// Whether a client of `version` has this method. The modern era has no handshake and, over HTTP, no
    /// notification from the client.
    pub const fn exists_in(self, version: ProtocolVersion) -> bool {
        match self {
            Self::ToolsCall | Self::ToolsList => true,
            Self::ServerDiscover => version.is_modern(),
            Self::Initialize
            | Self::NotificationCancelled
            | Self::NotificationInitialized
            | Self::NotificationProgress
            | Self::NotificationRootsListChanged
            | Self::Ping
            | Self::ResponsePing => !version.is_modern(),
        }
    }
}

#[cfg(test)]
mod tests;
