//! What a policy sees: input version 1, built straight from the parsed call.
//!
//! Owns the borrowed structs that the gate fills and their conversion, member by member, of what the policy reads and
//! nothing else. Absent things are absent members, never null. Times are nanoseconds since the epoch, as in Rego's
//! `time` builtins. Never sees a token, a header or an address of our own.

use std::net::IpAddr;

use regorus::Value;

use super::decision::{Decision, PolicyFailure};
use super::reads::Reads;
use super::worker::Worker;
use crate::json::{self, Kind, Node, Number};
use crate::time::UnixTime;

/// The version of the input's form.
const VERSION: u64 = 1;
/// The bounds of a token's claims; the token itself is bounded already.
const CLAIMS_LIMITS: json::Limits = json::Limits {
    depth: 32,
    members: 10_000,
};

/// The input of a decision on a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestInput<'a> {
    /// `input.tenant`.
    pub(crate) tenant: &'a str,
    /// `input.request`.
    pub(crate) request: Operation<'a>,
    /// `input.tool`: the row of the tool table; absent when the operation is no tool call or the tool has no row.
    pub(crate) tool: Option<Tool<'a>>,
    /// `input.subject`.
    pub(crate) subject: Party<'a>,
    /// `input.actor`; absent when nobody acts for the subject.
    pub(crate) actor: Option<Party<'a>>,
    /// `input.client.id`.
    pub(crate) client_id: Option<&'a str>,
    /// `input.auth`.
    pub(crate) auth: Auth<'a>,
    /// `input.server`.
    pub(crate) server: Server<'a>,
    /// `input.connection`.
    pub(crate) connection: Connection<'a>,
    /// `input.time`.
    pub(crate) time: UnixTime,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operation<'a> {
    /// The protocol version.
    pub(crate) protocol: &'a str,
    /// The JSON-RPC method, or `http/listen`, `http/terminate`, `response/<method answered>`.
    pub(crate) method: &'a str,
    /// The name of the tool.
    pub(crate) tool: Option<&'a str>,
    /// The arguments of the tool or prompt; of a completion all its parameters.
    pub(crate) arguments: Option<Node<'a>>,
    /// The name of the prompt.
    pub(crate) prompt: Option<&'a str>,
    /// The URI of the resource.
    pub(crate) resource_uri: Option<&'a str>,
    /// `input_responses`: what the client answers to what the server asked back, in the modern era.
    pub(crate) input_responses: Option<Node<'a>>,
    /// `input_responses.answer`: what the client answers to a request of the server of the legacy era.
    pub(crate) answer: Option<Node<'a>>,
    /// The kind of the request's id, `number` or `string`; absent for notifications and answers.
    pub(crate) id_type: Option<&'a str>,
}

/// A row of the tool table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tool<'a> {
    /// The class of the tool.
    pub(crate) class: Option<&'a str>,
    /// The scopes the tool needs.
    pub(crate) required_scopes: Texts<'a>,
}

/// Somebody who takes part in a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Party<'a> {
    /// The identifier, unique at its issuer.
    pub(crate) id: &'a str,
    /// Who says so.
    pub(crate) issuer: &'a str,
    /// `human`, `agent` or `machine`.
    pub(crate) kind: &'a str,
    /// The groups; absent where nothing tells them.
    pub(crate) groups: Option<Texts<'a>>,
    /// The roles, likewise.
    pub(crate) roles: Option<Texts<'a>>,
    /// The scopes that the token grants.
    pub(crate) scopes: Texts<'a>,
    /// The claims of the token, one JSON object.
    pub(crate) claims: Option<&'a str>,
}

/// How the subject signed in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Auth<'a> {
    /// The authentication context class.
    pub(crate) acr: Option<&'a str>,
    /// The authentication methods.
    pub(crate) amr: Texts<'a>,
    /// When.
    pub(crate) time: Option<UnixTime>,
}

/// The MCP server that is called.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Server<'a> {
    /// Its name in the configuration.
    pub(crate) name: &'a str,
    /// Its resource identifier.
    pub(crate) resource: &'a str,
}

/// Where the call comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    /// The address of the peer.
    pub(crate) ip: IpAddr,
    /// SHA-256 of the client's certificate.
    pub(crate) client_cert_sha256: Option<&'a [u8; 32]>,
}

/// The input of a decision on an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseInput<'a> {
    /// What was asked, by whom. The arguments may be left out unless
    /// [`super::Policy::review_reads_arguments`].
    pub(crate) request: &'a RequestInput<'a>,
    /// The decision on the call: `input.request_decision` with `allow`, `rule` and `reason`.
    pub(crate) request_decision: &'a Decision,
    /// `input.record_id`.
    pub(crate) record_id: &'a str,
    /// `input.response.kind`: `result`, `error`, `notification`, `request` for one of the server, or `input_required` for
    /// a result that asks back.
    pub(crate) kind: &'a str,
    /// `input.response.method`: that of a notification or request of the server.
    pub(crate) method: Option<&'a str>,
    /// `input.response.content`.
    pub(crate) content: Option<Node<'a>>,
    /// `input.response.structured`.
    pub(crate) structured: Option<Node<'a>>,
    /// `input.response.is_error`.
    pub(crate) is_error: bool,
    /// `input.response.status_message`: what the server says of the state of a task, also beside its result.
    pub(crate) status_message: Option<&'a str>,
}

/// A list of texts, however its owner keeps them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Texts<'a> {
    /// Owned texts.
    Boxes(&'a [Box<str>]),
    /// Borrowed texts.
    Strs(&'a [&'a str]),
}

impl Default for Texts<'_> {
    fn default() -> Self {
        Self::Strs(&[])
    }
}

impl Texts<'_> {
    fn value(self) -> Value {
        let texts: Vec<Value> = match self {
            Self::Boxes(texts) => texts.iter().map(|text| Value::from(&**text)).collect(),
            Self::Strs(texts) => texts.iter().map(|text| Value::from(*text)).collect(),
        };
        Value::from(texts)
    }
}

/// The input of a call, as far as `reads` goes.
pub(super) fn request(input: &RequestInput<'_>, reads: &Reads, worker: &mut Worker) -> Result<Value, PolicyFailure> {
    let mut object = Object::new(reads);
    request_members(&mut object, input, worker)?;
    Ok(object.finish())
}

/// The input of an answer, as far as `reads` goes.
pub(super) fn response(input: &ResponseInput<'_>, reads: &Reads, worker: &mut Worker) -> Result<Value, PolicyFailure> {
    let mut object = Object::new(reads);
    request_members(&mut object, input.request, worker)?;
    object.object("response", |response| {
        response.text("kind", input.kind);
        response.maybe_text("method", input.method);
        response.node("content", input.content);
        response.node("structured", input.structured);
        response.put("is_error", |_| Value::from(input.is_error));
        response.maybe_text("status_message", input.status_message);
        response.put("findings", |_| Value::new_array());
        response.put("classes", |_| Value::new_array());
    });
    object.object("request_decision", |decision| {
        decision.put("allow", |_| Value::from(input.request_decision.allows()));
        decision.text("rule", &input.request_decision.rule);
        decision.text("reason", &input.request_decision.reason);
    });
    object.text("record_id", input.record_id);
    Ok(object.finish())
}

fn request_members(
    object: &mut Object<'_>,
    input: &RequestInput<'_>,
    worker: &mut Worker,
) -> Result<(), PolicyFailure> {
    object.put("version", |_| Value::from(VERSION));
    object.text("tenant", input.tenant);
    object.put("time", |_| Value::from(input.time.nanos()));
    object.object("request", |request| {
        request.text("protocol", input.request.protocol);
        request.text("method", input.request.method);
        request.maybe_text("tool", input.request.tool);
        request.node("arguments", input.request.arguments);
        request.maybe_text("prompt", input.request.prompt);
        request.maybe_text("resource_uri", input.request.resource_uri);
        request.node("input_responses", input.request.input_responses);
        request.maybe_text("id_type", input.request.id_type);
        if let Some(answer) = input.request.answer {
            request.object("input_responses", |responses| responses.node("answer", Some(answer)));
        }
    });
    if let Some(row) = &input.tool {
        object.object("tool", |tool| {
            tool.maybe_text("class", row.class);
            tool.texts("required_scopes", row.required_scopes);
        });
    }
    object.party("subject", &input.subject, worker)?;
    if let Some(actor) = &input.actor {
        object.party("actor", actor, worker)?;
    }
    object.object("client", |client| client.maybe_text("id", input.client_id));
    object.object("auth", |auth| {
        auth.maybe_text("acr", input.auth.acr);
        auth.texts("amr", input.auth.amr);
        if let Some(time) = input.auth.time {
            auth.put("time", |_| Value::from(time.nanos()));
        }
    });
    object.object("server", |server| {
        server.text("name", input.server.name);
        server.text("resource", input.server.resource);
    });
    object.object("connection", |connection| {
        connection.put("ip", |_| Value::from(input.connection.ip.to_string()));
        if let Some(digest) = input.connection.client_cert_sha256 {
            connection.put("client_cert_sha256", |_| Value::from(crate::crypto::hex(digest)));
        }
    });
    Ok(())
}

/// An object in the making that takes only the members that are read.
struct Object<'r> {
    members: Vec<(Value, Value)>,
    reads: &'r Reads,
}

impl<'r> Object<'r> {
    const fn new(reads: &'r Reads) -> Self {
        Self {
            members: Vec::new(),
            reads,
        }
    }

    fn finish(self) -> Value {
        Value::from(self.members.into_iter().collect::<regorus::value::Object>())
    }

    fn put(&mut self, name: &str, make: impl FnOnce(&'r Reads) -> Value) {
        if let Some(reads) = self.reads.member(name) {
            self.members.push((Value::from(name), make(reads)));
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.put(name, |_| Value::from(text));
    }

    fn maybe_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn texts(&mut self, name: &str, texts: Texts<'_>) {
        self.put(name, |_| texts.value());
    }

    fn maybe_texts(&mut self, name: &str, texts: Option<Texts<'_>>) {
        if let Some(texts) = texts {
            self.texts(name, texts);
        }
    }

    fn node(&mut self, name: &str, node: Option<Node<'_>>) {
        if let Some(node) = node {
            self.put(name, |reads| convert(node, reads));
        }
    }

    fn object(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.put(name, |reads| {
            let mut object = Self::new(reads);
            fill(&mut object);
            object.finish()
        });
    }

    fn party(&mut self, name: &str, party: &Party<'_>, worker: &mut Worker) -> Result<(), PolicyFailure> {
        let mut unreadable = false;
        self.object(name, |object| {
            object.text("id", party.id);
            object.text("issuer", party.issuer);
            object.text("kind", party.kind);
            object.maybe_texts("groups", party.groups);
            object.maybe_texts("roles", party.roles);
            object.texts("scopes", party.scopes);
            if let Some(claims) = party.claims {
                object.put("claims", |reads| {
                    match json::parse(claims.as_bytes(), &mut worker.claims, CLAIMS_LIMITS) {
                        Ok(document) => convert(document.root(), reads),
                        Err(_) => {
                            unreadable = true;
                            Value::Undefined
                        }
                    }
                });
            }
        });
        if unreadable {
            return Err(PolicyFailure::Input);
        }
        Ok(())
    }
}

/// The value of `node`, of objects only the members that are read.
fn convert(node: Node<'_>, reads: &Reads) -> Value {
    match node.kind() {
        Kind::Array => {
            // A path into an array takes an index, so the policy reads it whole.
            Value::from(
                node.elements()
                    .map(|element| convert(element, &Reads::All))
                    .collect::<Vec<_>>(),
            )
        }
        Kind::Bool => Value::from(node.as_bool().unwrap_or_default()),
        Kind::Null => Value::Null,
        Kind::Number => match node.as_number() {
            Some(Number::Integer(number)) => Value::from(number),
            Some(Number::Float(number)) => Value::from(number),
            None => Value::Undefined,
        },
        Kind::Object => match reads {
            Reads::All => node
                .members()
                .map(|member| (Value::from(member.key), convert(member.value, reads)))
                .collect::<regorus::value::Object>()
                .into(),
            Reads::Members(wanted) => wanted
                .iter()
                .filter_map(|(key, inner)| Some((Value::from(&**key), convert(node.member(key)?, inner))))
                .collect::<regorus::value::Object>()
                .into(),
        },
        Kind::String => Value::from(node.as_str().unwrap_or_default()),
    }
}
