//! What a `subscriptions/listen` of the modern era has opted in to, and which messages its stream may carry (MCP
//! 2026-07-28, subscriptions).
//!
//! Owns [`Subscriptions`], as they stand in a call, and [`Subscription`], which outlives it. Strict: before the acknowledgement nothing passes, and after it only what was both asked for and
//! acknowledged, each message with the id of its subscription. Whether the caller may see what a message names is not
//! decided here.

use super::ServerMethod;
use super::reply::Expected;
use crate::json::{self, Kind, Node};

/// The member of `_meta` that names the subscription of a message: the id of its request.
pub(crate) const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What a client of the modern era wants to be told of: the object `notifications`.
#[derive(Clone, Copy)]
pub(crate) struct Subscriptions<'b>(Node<'b>);

impl<'b> Subscriptions<'b> {
    pub(super) const fn of(notifications: Node<'b>) -> Self {
        Self(notifications)
    }

    /// The resources whose changes are wanted, each by its URI in normal form.
    pub(crate) fn resources(self) -> impl Iterator<Item = &'b str> {
        self.texts("resourceSubscriptions")
    }

    /// The tasks whose changes are wanted, each by its id.
    pub(crate) fn task_ids(self) -> impl Iterator<Item = &'b str> {
        self.texts("taskIds")
    }

    fn has(self, switch: &str) -> bool {
        self.0.member(switch).and_then(Node::as_bool) == Some(true)
    }

    fn texts(self, member: &str) -> impl Iterator<Item = &'b str> {
        let list = self.0.member(member).filter(|list| list.kind() == Kind::Array);
        list.into_iter().flat_map(Node::elements).filter_map(Node::as_str)
    }
}

/// One subscription, and how far its stream has come.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
    asked: Topics,
    /// What the server honours of it; `None` before it has said so.
    acknowledged: Option<Topics>,
}

/// What a stream is about.
#[derive(Debug, Default)]
struct Topics {
    prompts: bool,
    resources: bool,
    tools: bool,
    uris: Vec<Box<str>>,
    tasks: Vec<Box<str>>,
}

/// Why a message may not stand on the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum StreamError {
    /// It names another subscription, or none.
    #[error("the message is of another subscription")]
    Foreign,
    /// Nobody has asked for it.
    #[error("the message is of a kind that the client has not opted in to")]
    NotAsked,
    /// The first message of the stream must say what the server honours, once.
    #[error("the acknowledgement of the subscription is missing, or comes twice")]
    Order,
    /// The server honours more than was asked for.
    #[error("the server acknowledges what the client has not asked for")]
    Widened,
}

impl StreamError {
    /// The same as its display, for a [`crate::denial::Denial`].
    pub(crate) const fn operator(self) -> &'static str {
        match self {
            Self::Foreign => "the message is of another subscription",
            Self::NotAsked => "the message is of a kind that the client has not opted in to",
            Self::Order => "the acknowledgement of the subscription is missing, or comes twice",
            Self::Widened => "the server acknowledges what the client has not asked for",
        }
    }
}

impl Topics {
    fn read(notifications: Node<'_>) -> Self {
        let asked = Subscriptions(notifications);
        Self {
            prompts: asked.has("promptsListChanged"),
            resources: asked.has("resourcesListChanged"),
            tools: asked.has("toolsListChanged"),
            uris: asked.resources().map(Box::from).collect(),
            tasks: asked.task_ids().map(Box::from).collect(),
        }
    }

    fn is_within(&self, wider: &Self) -> bool {
        let flags = [
            (self.prompts, wider.prompts),
            (self.resources, wider.resources),
            (self.tools, wider.tools),
        ];
        flags.iter().all(|(own, wide)| *wide || !own)
            && self.uris.iter().all(|uri| wider.uris.contains(uri))
            && self.tasks.iter().all(|task| wider.tasks.contains(task))
    }

    /// A resource that was asked for, or one beneath it: a server may tell of a part.
    fn has_resource(&self, uri: &str) -> bool {
        self.uris.iter().any(|asked| {
            uri.strip_prefix(&**asked)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || asked.ends_with('/'))
        })
    }
}

impl Subscription {
    /// What the body of a `subscriptions/listen` asks for, which was read and judged before.
    pub(crate) fn of(body: &[u8], limits: json::Limits) -> Self {
        let mut scratch = json::Scratch::default();
        let document = json::parse(body, &mut scratch, limits);
        let asked = document.ok().and_then(|document| {
            let notifications = document.root().member("params")?.member("notifications")?;
            Some(Topics::read(notifications))
        });
        Self {
            asked: asked.unwrap_or_default(),
            acknowledged: None,
        }
    }

    /// Checks that `method` may stand on the stream here.
    ///
    /// # Errors
    /// [`StreamError`]; nothing of the message may then reach the client.
    pub(crate) fn check(
        &self,
        method: ServerMethod,
        params: Option<Node<'_>>,
        expected: &Expected,
    ) -> Result<(), StreamError> {
        let of = params
            .and_then(|params| params.member("_meta"))
            .and_then(|meta| meta.member(META_SUBSCRIPTION));
        if !of.is_some_and(|of| expected.is_id(of)) {
            return Err(StreamError::Foreign);
        }
        let Some(topics) = &self.acknowledged else {
            return match (method, honoured(params)) {
                (ServerMethod::SubscriptionsAcknowledged, Some(honoured)) if honoured.is_within(&self.asked) => Ok(()),
                (ServerMethod::SubscriptionsAcknowledged, _) => Err(StreamError::Widened),
                _ => Err(StreamError::Order),
            };
        };
        let text = |key| params.and_then(|params| params.member(key)).and_then(Node::as_str);
        let asked = match method {
            // The end of the subscription by the server; of any other request it would be a message astray.
            ServerMethod::Cancelled => params
                .and_then(|params| params.member("requestId"))
                .is_some_and(|id| expected.is_id(id)),
            ServerMethod::PromptsListChanged => topics.prompts,
            ServerMethod::ResourcesListChanged => topics.resources,
            ServerMethod::ResourcesUpdated => text("uri").is_some_and(|uri| topics.has_resource(uri)),
            ServerMethod::SubscriptionsAcknowledged => return Err(StreamError::Order),
            ServerMethod::Tasks => text("taskId").is_some_and(|id| topics.tasks.iter().any(|task| **task == *id)),
            ServerMethod::ToolsListChanged => topics.tools,
            ServerMethod::ElicitationComplete
            | ServerMethod::ElicitationCreate
            | ServerMethod::Message
            | ServerMethod::Ping
            | ServerMethod::Progress
            | ServerMethod::RootsList
            | ServerMethod::SamplingCreateMessage
            | ServerMethod::TasksStatus => false,
        };
        match asked {
            true => Ok(()),
            false => Err(StreamError::NotAsked),
        }
    }

    /// A message that was checked has been released: the acknowledgement holds from here on.
    pub(crate) fn passed(&mut self, method: ServerMethod, params: Option<Node<'_>>) {
        if method == ServerMethod::SubscriptionsAcknowledged && self.acknowledged.is_none() {
            self.acknowledged = honoured(params);
        }
    }
}

fn honoured(params: Option<Node<'_>>) -> Option<Topics> {
    params
        .and_then(|params| params.member("notifications"))
        .map(Topics::read)
}

/// Whether a message may stand on the stream that answers a call of the modern era other than `subscriptions/listen`.
pub(crate) const fn travels_with_a_call(method: ServerMethod) -> bool {
    matches!(
        method,
        ServerMethod::Cancelled | ServerMethod::Message | ServerMethod::Progress
    )
}
