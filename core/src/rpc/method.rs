//! The methods that a client may send: one table, a row a method (MCP 2025-03-26 to 2026-07-28).
//!
//! Owns [`Method`] and what the gate does with each: which era has it, what it names, what it brings for the policy,
//! what its result is reviewed as, and whether a valid token alone allows it. A method without a row is refused.

use super::ProtocolVersion;

/// What a client may send that can be judged: its methods, its answers to requests of the server, and the two HTTP
/// methods beside POST. All others are refused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Method {
    /// `completion/complete`
    CompletionComplete,
    /// `http/listen`: the GET that opens a stream for messages of the server. The name is the gate's.
    HttpListen,
    /// `http/terminate`: the DELETE that ends a session. The name is the gate's.
    HttpTerminate,
    /// `initialize`
    Initialize,
    /// `logging/setLevel`
    LoggingSetLevel,
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
    /// `prompts/get`
    PromptsGet,
    /// `prompts/list`
    PromptsList,
    /// `resources/list`
    ResourcesList,
    /// `resources/read`
    ResourcesRead,
    /// `resources/subscribe`
    ResourcesSubscribe,
    /// `resources/templates/list`
    ResourcesTemplatesList,
    /// `resources/unsubscribe`
    ResourcesUnsubscribe,
    /// `response/elicitation/create`: the client's answer to that request of the server; the name is the gate's, as of
    /// the other responses.
    ResponseElicitation,
    /// `response/ping`
    ResponsePing,
    /// `response/roots/list`
    ResponseRoots,
    /// `response/sampling/createMessage`
    ResponseSampling,
    /// `server/discover`
    ServerDiscover,
    /// `subscriptions/listen`
    SubscriptionsListen,
    /// `tasks/cancel`
    TasksCancel,
    /// `tasks/get`
    TasksGet,
    /// `tasks/list`
    TasksList,
    /// `tasks/result`
    TasksResult,
    /// `tasks/update`
    TasksUpdate,
    /// `tools/call`
    ToolsCall,
    /// `tools/list`
    ToolsList,
}

/// In what form a method comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// As a bare JSON-RPC response to a request of the server.
    Answer,
    /// As an HTTP method, without a body.
    Http,
    /// As a JSON-RPC notification.
    Notification,
    /// As a JSON-RPC request.
    Request,
}

/// Which revisions have a method, both inclusive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Eras {
    pub(crate) first: ProtocolVersion,
    pub(crate) last: ProtocolVersion,
}

/// What a method names for the scope table, for the policy and for `Mcp-Name`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Names {
    /// Nothing.
    Nothing,
    /// A prompt, by `params.name`.
    Prompt,
    /// A prompt or a resource, by `params.ref`; never repeated by a header.
    Reference,
    /// A resource, by `params.uri`. Only `resources/read` repeats it by a header.
    Resource,
    /// Resources and tasks, by `params.notifications`; never repeated by a header.
    Subscriptions,
    /// A task, by `params.taskId`, and so the tool that started it.
    Task,
    /// A tool, by `params.name`.
    Tool,
}

/// As what the result of a method is reviewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reviewed {
    /// Capabilities from which extensions that cannot be inspected are struck, and instructions.
    Capabilities,
    /// Completion values.
    Completion,
    /// Nothing but `_meta` may stand in it.
    Empty,
    /// A stream of notifications.
    Notifications,
    /// A list from which goes what the caller may not use.
    Prompts,
    /// A prompt's messages.
    PromptMessages,
    /// A list from which goes what the caller may not use.
    ResourceTemplates,
    /// A list from which goes what the caller may not use.
    Resources,
    /// Contents, each with a URI of its own.
    ResourceContents,
    /// The state of a task, and in the modern era the result that it came to.
    Task,
    /// The result of the call that started the task.
    TaskResult,
    /// A list from which goes what is not the caller's.
    Tasks,
    /// What a tool gives: content and structured content, or a task that will give it.
    ToolResult,
    /// A list from which goes what the caller may not use.
    Tools,
}

/// What the gate does with one method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) method: Method,
    /// The method as the protocol spells it, or the gate's own name.
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    pub(crate) eras: Eras,
    pub(crate) names: Names,
    /// Parameters that the method may have, beside `_meta`; any other is refused.
    pub(crate) params: &'static [&'static str],
    /// Whether the modern era lets the server ask back (`inputResponses`, `requestState`).
    pub(crate) asks_back: bool,
    pub(crate) reviewed: Reviewed,
    /// Whether any valid token allows it: refusing it would break the detection of the era (MCP lifecycle).
    pub(crate) always: bool,
}

const A: ProtocolVersion = ProtocolVersion::V2025_03_26;
const C: ProtocolVersion = ProtocolVersion::V2025_11_25;
const D: ProtocolVersion = ProtocolVersion::V2026_07_28;
const ALL: Eras = Eras { first: A, last: D };
const LEGACY: Eras = Eras { first: A, last: C };
const MODERN: Eras = Eras { first: D, last: D };
const FROM_2025_06: Eras = Eras {
    first: ProtocolVersion::V2025_06_18,
    last: C,
};
const LAST_LEGACY: Eras = Eras { first: C, last: C };
const FROM_2025_11: Eras = Eras { first: C, last: D };

const fn row(method: Method, name: &'static str, form: Form, eras: Eras) -> Row {
    Row {
        method,
        name,
        form,
        eras,
        names: Names::Nothing,
        params: &[],
        asks_back: false,
        reviewed: Reviewed::Empty,
        always: false,
    }
}

const fn request(method: Method, name: &'static str, eras: Eras, reviewed: Reviewed) -> Row {
    Row {
        reviewed,
        ..row(method, name, Form::Request, eras)
    }
}

const fn notification(method: Method, name: &'static str) -> Row {
    row(method, name, Form::Notification, LEGACY)
}

/// The table, in the order of the enum.
pub(crate) static ROWS: [Row; 30] = [
    Row {
        names: Names::Reference,
        params: &["argument", "context", "ref"],
        ..request(
            Method::CompletionComplete,
            "completion/complete",
            ALL,
            Reviewed::Completion,
        )
    },
    Row {
        reviewed: Reviewed::Notifications,
        ..row(Method::HttpListen, "http/listen", Form::Http, LEGACY)
    },
    row(Method::HttpTerminate, "http/terminate", Form::Http, LEGACY),
    Row {
        params: &["capabilities", "clientInfo", "protocolVersion"],
        always: true,
        ..request(Method::Initialize, "initialize", LEGACY, Reviewed::Capabilities)
    },
    Row {
        params: &["level"],
        ..request(Method::LoggingSetLevel, "logging/setLevel", LEGACY, Reviewed::Empty)
    },
    Row {
        params: &["reason", "requestId"],
        always: true,
        ..notification(Method::NotificationCancelled, "notifications/cancelled")
    },
    Row {
        always: true,
        ..notification(Method::NotificationInitialized, "notifications/initialized")
    },
    Row {
        params: &["message", "progress", "progressToken", "total"],
        ..notification(Method::NotificationProgress, "notifications/progress")
    },
    notification(Method::NotificationRootsListChanged, "notifications/roots/list_changed"),
    Row {
        always: true,
        ..request(Method::Ping, "ping", LEGACY, Reviewed::Empty)
    },
    Row {
        names: Names::Prompt,
        params: &["arguments", "name"],
        asks_back: true,
        ..request(Method::PromptsGet, "prompts/get", ALL, Reviewed::PromptMessages)
    },
    Row {
        params: &["cursor"],
        ..request(Method::PromptsList, "prompts/list", ALL, Reviewed::Prompts)
    },
    Row {
        params: &["cursor"],
        ..request(Method::ResourcesList, "resources/list", ALL, Reviewed::Resources)
    },
    Row {
        names: Names::Resource,
        params: &["uri"],
        asks_back: true,
        ..request(Method::ResourcesRead, "resources/read", ALL, Reviewed::ResourceContents)
    },
    Row {
        names: Names::Resource,
        params: &["uri"],
        ..request(
            Method::ResourcesSubscribe,
            "resources/subscribe",
            LEGACY,
            Reviewed::Empty,
        )
    },
    Row {
        params: &["cursor"],
        ..request(
            Method::ResourcesTemplatesList,
            "resources/templates/list",
            ALL,
            Reviewed::ResourceTemplates,
        )
    },
    Row {
        names: Names::Resource,
        params: &["uri"],
        ..request(
            Method::ResourcesUnsubscribe,
            "resources/unsubscribe",
            LEGACY,
            Reviewed::Empty,
        )
    },
    row(
        Method::ResponseElicitation,
        "response/elicitation/create",
        Form::Answer,
        FROM_2025_06,
    ),
    row(Method::ResponsePing, "response/ping", Form::Answer, LEGACY),
    row(Method::ResponseRoots, "response/roots/list", Form::Answer, LEGACY),
    row(
        Method::ResponseSampling,
        "response/sampling/createMessage",
        Form::Answer,
        LEGACY,
    ),
    Row {
        always: true,
        ..request(
            Method::ServerDiscover,
            "server/discover",
            MODERN,
            Reviewed::Capabilities,
        )
    },
    Row {
        names: Names::Subscriptions,
        params: &["notifications"],
        ..request(
            Method::SubscriptionsListen,
            "subscriptions/listen",
            MODERN,
            Reviewed::Notifications,
        )
    },
    Row {
        names: Names::Task,
        params: &["taskId"],
        ..request(Method::TasksCancel, "tasks/cancel", FROM_2025_11, Reviewed::Task)
    },
    Row {
        names: Names::Task,
        params: &["task", "taskId"],
        ..request(Method::TasksGet, "tasks/get", FROM_2025_11, Reviewed::Task)
    },
    Row {
        params: &["cursor"],
        ..request(Method::TasksList, "tasks/list", LAST_LEGACY, Reviewed::Tasks)
    },
    Row {
        names: Names::Task,
        params: &["task", "taskId"],
        ..request(Method::TasksResult, "tasks/result", LAST_LEGACY, Reviewed::TaskResult)
    },
    Row {
        names: Names::Task,
        params: &["inputResponses", "taskId"],
        ..request(Method::TasksUpdate, "tasks/update", MODERN, Reviewed::Task)
    },
    Row {
        names: Names::Tool,
        params: &["arguments", "name", "task"],
        asks_back: true,
        ..request(Method::ToolsCall, "tools/call", ALL, Reviewed::ToolResult)
    },
    Row {
        params: &["cursor"],
        ..request(Method::ToolsList, "tools/list", ALL, Reviewed::Tools)
    },
];

impl Method {
    /// The row of the method.
    pub(crate) fn row(self) -> &'static Row {
        // INVARIANT: the table stands in the order of the enum, which a test holds; the first row is never taken for
        // another method's, since its own method is compared.
        match ROWS.get(self as usize) {
            Some(row) => row,
            None => &ROWS[0],
        }
    }

    /// The method as the protocol spells it, or the gate's own name for it.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The method of a message that is spelled exactly so; the gate's own names are no message's.
    pub fn parse(text: &str) -> Option<Self> {
        ROWS.iter()
            .find(|row| row.name == text && matches!(row.form, Form::Notification | Form::Request))
            .map(|row| row.method)
    }

    /// Every method that a message can name, sorted.
    pub fn messages() -> impl Iterator<Item = Self> {
        let named = |row: &&Row| matches!(row.form, Form::Notification | Form::Request);
        ROWS.iter().filter(named).map(|row| row.method)
    }

    /// Whether the message has no id and gets no answer.
    pub fn is_notification(self) -> bool {
        self.row().form == Form::Notification
    }

    /// Whether the message gets an answer: only requests do (JSON-RPC 2.0 section 4.1).
    pub fn is_answered(self) -> bool {
        self.row().form == Form::Request
    }

    /// Whether any valid token allows it, so that no policy is asked.
    pub(crate) fn is_always_allowed(self) -> bool {
        self.row().always
    }

    /// Whether a client of `version` has this method.
    pub fn exists_in(self, version: ProtocolVersion) -> bool {
        let eras = self.row().eras;
        eras.first <= version && version <= eras.last
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Method, ROWS};

    #[test]
    fn each_method_has_its_row() {
        for (place, row) in ROWS.iter().enumerate() {
            assert_eq!(row.method as usize, place, "{}", row.name);
            assert_eq!(row.method.as_str(), row.name);
            assert!(row.eras.first <= row.eras.last, "{}", row.name);
            let named = matches!(row.form, Form::Notification | Form::Request);
            assert_eq!(Method::parse(row.name), named.then_some(row.method));
            let before = place.checked_sub(1).and_then(|before| ROWS.get(before));
            assert!(before.is_none_or(|before| before.name < row.name), "sorted by name");
        }
    }
}
