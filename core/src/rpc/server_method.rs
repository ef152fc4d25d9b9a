//! The methods that a server may send to a client: one table, a row a method.
//!
//! Owns [`ServerMethod`]: which revision has it, how it travels, and which answer it awaits. A message of a server whose
//! method has no row reaches no client.

use super::{Method, ProtocolVersion};

/// What a server may say to a client beside its answers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ServerMethod {
    /// `elicitation/create`
    ElicitationCreate,
    /// `notifications/cancelled`
    Cancelled,
    /// `notifications/elicitation/complete`
    ElicitationComplete,
    /// `notifications/message`
    Message,
    /// `notifications/progress`
    Progress,
    /// `notifications/prompts/list_changed`
    PromptsListChanged,
    /// `notifications/resources/list_changed`
    ResourcesListChanged,
    /// `notifications/resources/updated`
    ResourcesUpdated,
    /// `notifications/subscriptions/acknowledged`
    SubscriptionsAcknowledged,
    /// `notifications/tasks`
    Tasks,
    /// `notifications/tasks/status`
    TasksStatus,
    /// `notifications/tools/list_changed`
    ToolsListChanged,
    /// `ping`
    Ping,
    /// `roots/list`
    RootsList,
    /// `sampling/createMessage`
    SamplingCreateMessage,
}

/// What the gate does with one method of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerRow {
    pub(crate) method: ServerMethod,
    pub(crate) name: &'static str,
    /// The first revision that has it.
    pub(crate) first: ProtocolVersion,
    /// The last revision that has it as a message of its own, on a stream.
    pub(crate) last: ProtocolVersion,
    /// What the client's answer to it is judged as; `None` for a notification. Requests travel in the modern era within
    /// results alone, as `inputRequests`.
    pub(crate) answer: Option<Method>,
}

const A: ProtocolVersion = ProtocolVersion::V2025_03_26;
const B: ProtocolVersion = ProtocolVersion::V2025_06_18;
const C: ProtocolVersion = ProtocolVersion::V2025_11_25;
const D: ProtocolVersion = ProtocolVersion::V2026_07_28;

const fn notification(
    method: ServerMethod,
    name: &'static str,
    first: ProtocolVersion,
    last: ProtocolVersion,
) -> ServerRow {
    ServerRow {
        method,
        name,
        first,
        last,
        answer: None,
    }
}

const fn request(method: ServerMethod, name: &'static str, first: ProtocolVersion, answer: Method) -> ServerRow {
    ServerRow {
        method,
        name,
        first,
        last: C,
        answer: Some(answer),
    }
}

/// The table, in the order of the enum.
pub(crate) static SERVER_ROWS: [ServerRow; 15] = [
    request(
        ServerMethod::ElicitationCreate,
        "elicitation/create",
        B,
        Method::ResponseElicitation,
    ),
    notification(ServerMethod::Cancelled, "notifications/cancelled", A, D),
    notification(
        ServerMethod::ElicitationComplete,
        "notifications/elicitation/complete",
        C,
        C,
    ),
    notification(ServerMethod::Message, "notifications/message", A, D),
    notification(ServerMethod::Progress, "notifications/progress", A, D),
    notification(
        ServerMethod::PromptsListChanged,
        "notifications/prompts/list_changed",
        A,
        D,
    ),
    notification(
        ServerMethod::ResourcesListChanged,
        "notifications/resources/list_changed",
        A,
        D,
    ),
    notification(ServerMethod::ResourcesUpdated, "notifications/resources/updated", A, D),
    notification(
        ServerMethod::SubscriptionsAcknowledged,
        "notifications/subscriptions/acknowledged",
        D,
        D,
    ),
    notification(ServerMethod::Tasks, "notifications/tasks", D, D),
    notification(ServerMethod::TasksStatus, "notifications/tasks/status", C, C),
    notification(ServerMethod::ToolsListChanged, "notifications/tools/list_changed", A, D),
    request(ServerMethod::Ping, "ping", A, Method::ResponsePing),
    request(ServerMethod::RootsList, "roots/list", A, Method::ResponseRoots),
    request(
        ServerMethod::SamplingCreateMessage,
        "sampling/createMessage",
        A,
        Method::ResponseSampling,
    ),
];

impl ServerMethod {
    /// The row of the method that is spelled exactly so.
    pub(crate) fn find(name: &str) -> Option<&'static ServerRow> {
        SERVER_ROWS.iter().find(|row| row.name == name)
    }

    /// The method as the protocol spells it.
    pub fn as_str(self) -> &'static str {
        // INVARIANT: the table stands in the order of the enum, which a test holds.
        SERVER_ROWS.get(self as usize).map_or("", |row| row.name)
    }
}

impl ServerRow {
    /// Whether a server may send it on a stream of `version`.
    pub(crate) fn streams_in(&self, version: ProtocolVersion) -> bool {
        self.first <= version && version <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::{SERVER_ROWS, ServerMethod};

    #[test]
    fn each_method_of_a_server_has_its_row() {
        for (place, row) in SERVER_ROWS.iter().enumerate() {
            assert_eq!(row.method as usize, place, "{}", row.name);
            assert_eq!(row.method.as_str(), row.name);
            assert_eq!(ServerMethod::find(row.name).map(|row| row.method), Some(row.method));
            assert!(row.first <= row.last, "{}", row.name);
        }
    }
}
