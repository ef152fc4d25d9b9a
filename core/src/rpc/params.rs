//! The parameters of a call, read by the row of its method: what is allowed, of which type, and what it names.
//!
//! Owns [`Params`]. A parameter that the row does not list is refused: it would change what the call does, and nobody
//! has judged it. Near-misses of protocol names were refused before.

use crate::denial::{Denial, DenyReason};
use crate::json::{Kind, Node, Number};

use super::message::{Context, Message, RequestId};
use super::method::{Names, Row};
use super::server_message::LEVELS;
use super::{Method, ProtocolVersion, Target, uri};

/// The longest id of a task, in bytes: ids are opaque, and some are sealed state.
const TASK_ID_BYTES_MAX: usize = 1024;

/// What the parameters of a call say.
#[derive(Clone, Copy)]
pub(super) struct Params<'b> {
    pub(super) target: Target<'b>,
    /// The arguments of a tool or prompt; of a completion all its parameters; of a subscription what is wanted.
    pub(super) arguments: Option<Node<'b>>,
    pub(super) input_responses: Option<Node<'b>>,
    pub(super) request_state: Option<&'b str>,
    /// What the client wants to be told of (`subscriptions/listen`).
    pub(super) subscriptions: Option<Node<'b>>,
    pub(super) task_id: Option<&'b str>,
}

impl<'b> Params<'b> {
    /// The parameters of what has none.
    pub(super) const NONE: Self = Self {
        target: Target::Nothing,
        arguments: None,
        input_responses: None,
        request_state: None,
        subscriptions: None,
        task_id: None,
    };

    /// Reads the parameters of `method`.
    ///
    /// # Errors
    /// [`DenyReason::ParamsInvalid`] for one that is missing, of another type, or not the method's.
    pub(super) fn read(
        method: Method,
        version: ProtocolVersion,
        message: &Message<'b>,
        name_bytes_max: usize,
        context: Context<'b>,
    ) -> Result<Self, Denial> {
        let row = method.row();
        let reader = Reader {
            params: message.params,
            context,
        };
        let asks_back = row.asks_back && version.is_modern();
        reader.only(row, asks_back)?;
        let mut read = Self::NONE;
        match row.names {
            Names::Nothing => reader.plain(method, version)?,
            Names::Prompt => {
                let (name, arguments) = reader.named(name_bytes_max)?;
                reader.texts(arguments)?;
                (read.target, read.arguments) = (Target::Prompt(name), arguments);
            }
            Names::Reference => {
                read.target = reader.completion(name_bytes_max, version)?;
                read.arguments = message.params;
            }
            Names::Resource => read.target = Target::Resource(reader.uri()?),
            Names::Subscriptions => {
                let wanted = reader.subscriptions()?;
                (read.subscriptions, read.arguments) = (Some(wanted), Some(wanted));
            }
            Names::Task => {
                read.task_id = Some(reader.task_id()?);
                // A released client repeats its wish when it asks for the task (npm sdk 1.32).
                reader.task(version)?;
                if method == Method::TasksUpdate {
                    read.input_responses = Some(reader.input_responses()?.ok_or_else(|| reader.missing())?);
                }
            }
            Names::Tool => {
                let (name, arguments) = reader.named(name_bytes_max)?;
                (read.target, read.arguments) = (Target::Tool(name), arguments);
                reader.task(version)?;
            }
        }
        if asks_back {
            read.input_responses = reader.input_responses()?;
            read.request_state = reader.text("requestState")?;
        }
        Ok(read)
    }

    /// What `Mcp-Name` repeats for `method`, `None` when it has nothing to repeat.
    pub(super) fn mirrored(&self, method: Method) -> Option<&'b str> {
        match (method, self.target) {
            (Method::PromptsGet, Target::Prompt(name)) | (Method::ToolsCall, Target::Tool(name)) => Some(name),
            (Method::ResourcesRead, Target::Resource(uri)) => Some(uri),
            _ => self.task_id,
        }
    }
}

/// Reads one member after the other.
#[derive(Clone, Copy)]
struct Reader<'b> {
    params: Option<Node<'b>>,
    context: Context<'b>,
}

impl<'b> Reader<'b> {
    #[cold]
    #[inline(never)]
    fn invalid(self, operator: &'static str) -> Denial {
        self.context.deny(DenyReason::ParamsInvalid, operator)
    }

    #[cold]
    #[inline(never)]
    fn missing(self) -> Denial {
        self.invalid("a parameter is missing that the method needs")
    }

    /// No parameter but the row's, and `_meta`.
    fn only(self, row: &Row, asks_back: bool) -> Result<(), Denial> {
        let Some(params) = self.params else {
            return Ok(());
        };
        let known = |key: &str| {
            row.params.contains(&key) || key == "_meta" || asks_back && matches!(key, "inputResponses" | "requestState")
        };
        match params.members().all(|member| known(member.key)) {
            true => Ok(()),
            false => Err(self.invalid("the method has a parameter that cannot be judged")),
        }
    }

    fn member(self, key: &str) -> Option<Node<'b>> {
        self.params.and_then(|params| params.member(key))
    }

    /// A string, or nothing.
    fn text(self, key: &str) -> Result<Option<&'b str>, Denial> {
        match self.member(key) {
            None => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some(text)),
                None => Err(self.invalid("a parameter is not a string")),
            },
        }
    }

    /// An object, or nothing.
    fn object(self, key: &str) -> Result<Option<Node<'b>>, Denial> {
        match self.member(key) {
            Some(value) if value.kind() != Kind::Object => Err(self.invalid("a parameter is not an object")),
            value => Ok(value),
        }
    }

    /// Name and arguments of a tool or prompt.
    fn named(self, name_bytes_max: usize) -> Result<(&'b str, Option<Node<'b>>), Denial> {
        let Some(name) = self.member("name").and_then(Node::as_str) else {
            return Err(self.invalid("the name is missing or not a string"));
        };
        self.name(name, name_bytes_max)?;
        match self.member("arguments") {
            Some(arguments) if arguments.kind() != Kind::Object => Err(self.invalid("the arguments are not an object")),
            arguments => Ok((name, arguments)),
        }
    }

    fn name(self, name: &str, bytes_max: usize) -> Result<(), Denial> {
        if name.is_empty() || bytes_max < name.len() {
            return Err(self.invalid("the name is empty or too long"));
        }
        Ok(())
    }

    /// Checks that each member is a string: arguments of prompts, and what completions take into account.
    fn texts(self, map: Option<Node<'b>>) -> Result<(), Denial> {
        let texts = |map: Node<'_>| map.members().all(|member| member.value.kind() == Kind::String);
        match map {
            Some(map) if map.kind() != Kind::Object || !texts(map) => {
                Err(self.invalid("the arguments are not an object of strings"))
            }
            _ => Ok(()),
        }
    }

    fn uri(self) -> Result<&'b str, Denial> {
        let text = self.text("uri")?.ok_or_else(|| self.missing())?;
        match uri::is_normal(text) {
            true => Ok(text),
            false => Err(self.invalid("the uri is not in normal form")),
        }
    }

    fn task_id(self) -> Result<&'b str, Denial> {
        let id = self.text("taskId")?.ok_or_else(|| self.missing())?;
        match id.len() <= TASK_ID_BYTES_MAX {
            true => Ok(id),
            false => Err(self.invalid("the id of the task is too long")),
        }
    }

    fn input_responses(self) -> Result<Option<Node<'b>>, Denial> {
        let responses = self.object("inputResponses")?;
        let objects = |map: Node<'_>| map.members().all(|member| member.value.kind() == Kind::Object);
        match responses.is_none_or(objects) {
            true => Ok(responses),
            false => Err(self.invalid("an answer to the server is not an object")),
        }
    }

    /// The wish that a tool be called as a task (MCP 2025-11-25), with nothing but how long it shall be kept and how often
    /// its client means to ask. The modern era has servers ignore it, whatever it holds (SEP-2663): it says nothing there,
    /// and the task that a server would make of it all the same is no result of that era.
    fn task(self, version: ProtocolVersion) -> Result<(), Denial> {
        let Some(task) = self.object("task")? else {
            return Ok(());
        };
        if version.is_modern() {
            return Ok(());
        }
        if version != ProtocolVersion::V2025_11_25 {
            return Err(self.invalid("this version has no tasks by parameter"));
        }
        let natural = |value: Node<'_>| matches!(value.as_number(), Some(Number::Integer(0..)));
        let right = task
            .members()
            .all(|member| matches!(member.key, "pollInterval" | "ttl") && natural(member.value));
        match right {
            true => Ok(()),
            false => Err(self.invalid("the wish for a task holds more than a time to live and an interval")),
        }
    }

    /// A completion names one prompt or one resource, and an argument of it.
    fn completion(self, name_bytes_max: usize, version: ProtocolVersion) -> Result<Target<'b>, Denial> {
        let argument = self.object("argument")?.ok_or_else(|| self.missing())?;
        let [Some(_), Some(_)] = self.exactly(argument, ["name", "value"])? else {
            return Err(self.missing());
        };
        if let Some(context) = self.object("context")? {
            if version == ProtocolVersion::V2025_03_26 {
                return Err(self.invalid("this version has no context of completions"));
            }
            if context.members().any(|member| member.key != "arguments") {
                return Err(self.invalid("the context of a completion holds more than arguments"));
            }
            self.texts(context.member("arguments"))?;
        }
        let reference = self.object("ref")?.ok_or_else(|| self.missing())?;
        match reference.member("type").and_then(Node::as_str) {
            Some("ref/prompt") => {
                let [_, Some(name)] = self.exactly(reference, ["type", "name"])? else {
                    return Err(self.missing());
                };
                self.name(name, name_bytes_max)?;
                Ok(Target::Prompt(name))
            }
            Some("ref/resource") => match self.exactly(reference, ["type", "uri"])? {
                [_, Some(uri)] if uri::is_normal_template(uri) => Ok(Target::Resource(uri)),
                [_, Some(_)] => Err(self.invalid("the uri is not in normal form")),
                [_, None] => Err(self.missing()),
            },
            _ => Err(self.invalid("a completion refers to neither a prompt nor a resource")),
        }
    }

    /// The strings under `keys`, when `object` has no other members.
    fn exactly<const N: usize>(self, object: Node<'b>, keys: [&str; N]) -> Result<[Option<&'b str>; N], Denial> {
        let right = |key: &str, value: Node<'_>| keys.contains(&key) && value.kind() == Kind::String;
        match object.members().all(|member| right(member.key, member.value)) {
            true => Ok(keys.map(|key| object.member(key).and_then(Node::as_str))),
            false => Err(self.invalid("a parameter has a member that is unknown or not a string")),
        }
    }

    /// What a client of the modern era wants to be told of: switches, resources and tasks.
    fn subscriptions(self) -> Result<Node<'b>, Denial> {
        let wanted = self.object("notifications")?.ok_or_else(|| self.missing())?;
        for member in wanted.members() {
            let right = match member.key {
                "promptsListChanged" | "resourcesListChanged" | "toolsListChanged" => member.value.kind() == Kind::Bool,
                "resourceSubscriptions" => all_texts(member.value, uri::is_normal),
                "taskIds" => all_texts(member.value, |id| id.len() <= TASK_ID_BYTES_MAX),
                _ => false,
            };
            if !right {
                return Err(self.invalid("the notifications hold a member that is unknown or of another type"));
            }
        }
        Ok(wanted)
    }

    /// The parameters of methods that name nothing.
    fn plain(self, method: Method, version: ProtocolVersion) -> Result<(), Denial> {
        match method {
            Method::Initialize => {
                self.object("capabilities")?;
                self.object("clientInfo")?;
                self.text("protocolVersion")?.ok_or_else(|| self.missing())?;
            }
            Method::LoggingSetLevel => {
                let level = self.text("level")?.ok_or_else(|| self.missing())?;
                if !LEVELS.contains(&level) {
                    return Err(self.invalid("the level is none of the eight"));
                }
            }
            Method::NotificationCancelled => {
                self.text("reason")?;
                match self.member("requestId").map(RequestId::read) {
                    Some(Some(_)) => {}
                    // What is cancelled may be a task, which this notification does not name.
                    None if version == ProtocolVersion::V2025_11_25 => {}
                    _ => return Err(self.invalid("the id of what is cancelled is missing or no id")),
                }
            }
            Method::NotificationProgress => {
                self.text("message")?;
                let number = |key| self.member(key).map(Node::kind);
                let token = self.member("progressToken").and_then(RequestId::read);
                if token.is_none()
                    || number("progress") != Some(Kind::Number)
                    || number("total").is_some_and(|kind| kind != Kind::Number)
                {
                    return Err(self.invalid("progress has no token, or no number"));
                }
            }
            _ => {
                self.text("cursor")?;
            }
        }
        Ok(())
    }
}

fn all_texts(list: Node<'_>, right: impl Fn(&str) -> bool) -> bool {
    list.kind() == Kind::Array && list.elements().all(|text| text.as_str().is_some_and(&right))
}
