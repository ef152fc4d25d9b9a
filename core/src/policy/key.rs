//! What of an input an answer depends on, as bytes: the key of the decision memo.
//!
//! Owns [`KeyPlan`]: which parts of the input go into a key, and why some policies have none. Two inputs have the same
//! key only when they are the same in every part that the policy reads: each part stands in a fixed place, tells its
//! absence, its kind and its length, and nothing is hashed. A part that the plan does not know makes no plan. Never
//! decides anything.

use super::compile::Entry;
use super::input::{Party, RequestInput, ResponseInput, Texts};
use super::reads::Reads;
use crate::json::{self, Kind, Node, Number};

/// The longest key that is looked up, in bytes: what is longer hardly ever comes twice, and would fill the memory.
pub(super) const BYTES_MAX: usize = 4_096;
/// Objects with more members than this are written as they come: order then makes two keys of one value.
const SORTED_MEMBERS_MAX: usize = 32;

/// A part of the input that has a place in a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// In every key, or never different.
    Always,
    Acr,
    Actor(Member),
    ActorThere,
    Amr,
    Answered,
    AnswerMethod,
    Arguments,
    AuthTime,
    Certificate,
    ClientId,
    IdType,
    InputResponses,
    Ip,
    IsError,
    Method,
    Prompt,
    Protocol,
    RequestAllowed,
    RequestReason,
    RequestRule,
    RequiredScopes,
    ResourceUri,
    ServerName,
    ServerResource,
    Subject(Member),
    ToolClass,
    ToolName,
    ToolThere,
}

/// A member of the subject and of the actor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Member {
    Claims,
    Groups,
    Id,
    Issuer,
    Kind,
    Roles,
    Scopes,
}

/// The parts of every question.
const PARTS: &[(&[&str], Part)] = &[
    (&["version"], Part::Always),
    (&["tenant"], Part::Always),
    (&["request", "protocol"], Part::Protocol),
    (&["request", "method"], Part::Method),
    (&["request", "tool"], Part::ToolName),
    (&["request", "arguments"], Part::Arguments),
    (&["request", "prompt"], Part::Prompt),
    (&["request", "resource_uri"], Part::ResourceUri),
    (&["request", "input_responses"], Part::InputResponses),
    (&["request", "id_type"], Part::IdType),
    (&["tool"], Part::ToolThere),
    (&["tool", "class"], Part::ToolClass),
    (&["tool", "required_scopes"], Part::RequiredScopes),
    (&["subject", "id"], Part::Subject(Member::Id)),
    (&["subject", "issuer"], Part::Subject(Member::Issuer)),
    (&["subject", "kind"], Part::Subject(Member::Kind)),
    (&["subject", "groups"], Part::Subject(Member::Groups)),
    (&["subject", "roles"], Part::Subject(Member::Roles)),
    (&["subject", "scopes"], Part::Subject(Member::Scopes)),
    (&["subject", "claims"], Part::Subject(Member::Claims)),
    (&["actor"], Part::ActorThere),
    (&["actor", "id"], Part::Actor(Member::Id)),
    (&["actor", "issuer"], Part::Actor(Member::Issuer)),
    (&["actor", "kind"], Part::Actor(Member::Kind)),
    (&["actor", "groups"], Part::Actor(Member::Groups)),
    (&["actor", "roles"], Part::Actor(Member::Roles)),
    (&["actor", "scopes"], Part::Actor(Member::Scopes)),
    (&["actor", "claims"], Part::Actor(Member::Claims)),
    (&["client", "id"], Part::ClientId),
    (&["auth", "acr"], Part::Acr),
    (&["auth", "amr"], Part::Amr),
    (&["auth", "time"], Part::AuthTime),
    (&["server", "name"], Part::ServerName),
    (&["server", "resource"], Part::ServerResource),
    (&["connection", "ip"], Part::Ip),
    (&["connection", "client_cert_sha256"], Part::Certificate),
];

/// The parts that a review has beside them; what an answer holds is none of them.
const REVIEW_PARTS: &[(&[&str], Part)] = &[
    (&["request_decision", "allow"], Part::RequestAllowed),
    (&["request_decision", "rule"], Part::RequestRule),
    (&["request_decision", "reason"], Part::RequestReason),
    (&["response", "kind"], Part::Answered),
    (&["response", "method"], Part::AnswerMethod),
    (&["response", "is_error"], Part::IsError),
    (&["response", "findings"], Part::Always),
    (&["response", "classes"], Part::Always),
];

/// Why the answers to a question are not remembered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unmemoised {
    /// It takes the input as one value.
    #[error("it reads the whole of `input`")]
    Whole,
    /// It reads something that is new each time.
    #[error("it reads `input.{0}`, which hardly ever is the same twice")]
    Fleeting(String),
    /// It calls a builtin that may answer differently to the same arguments.
    #[error("it calls `{0}`, which may answer differently to the same input")]
    Impure(String),
    /// It reads something that an input of this question never has.
    #[error("it reads `input.{0}`, which no input of it has")]
    Unknown(String),
}

/// The parts of the input that an answer depends on.
#[derive(Clone, Debug)]
pub(super) struct KeyPlan {
    parts: Box<[(Part, Reads)]>,
    question: u8,
}

/// A key in the making.
struct Key<'k> {
    bytes: &'k mut Vec<u8>,
}

/// The key would be too long, or a part of it cannot be read.
struct NoKey;

impl KeyPlan {
    /// The plan for the question of `entry`, of whose input `reads` is read.
    ///
    /// # Errors
    /// [`Unmemoised`].
    pub(super) fn new(entry: Entry, reads: &Reads) -> Result<Self, Unmemoised> {
        let (question, more) = match entry {
            Entry::Request => (b'q', &[][..]),
            Entry::Response => (b'a', REVIEW_PARTS),
            Entry::Visible => (b'v', &[][..]),
        };
        let known: Vec<_> = PARTS.iter().chain(more).copied().collect();
        check_known(&known, &mut Vec::new(), reads)?;
        let parts = known.into_iter();
        let parts = parts.filter_map(|(path, part)| Some((part, reads.at(path)?.clone())));
        Ok(Self {
            parts: parts.filter(|(part, _)| *part != Part::Always).collect(),
            question,
        })
    }

    /// Writes the key of a call into `out`; `false` when it has none: it would be too long, or its claims are no JSON.
    pub(super) fn request(&self, input: &RequestInput<'_>, claims: &mut json::Scratch, out: &mut Vec<u8>) -> bool {
        self.write(input, None, claims, out)
    }

    /// Writes the key of an answer, likewise.
    pub(super) fn response(&self, input: &ResponseInput<'_>, claims: &mut json::Scratch, out: &mut Vec<u8>) -> bool {
        self.write(input.request, Some(input), claims, out)
    }

    /// How many parts it has.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// The same without part number `index`: a fault, to see that tests find it.
    #[cfg(test)]
    pub(super) fn without(&self, index: usize) -> Self {
        let parts = self.parts.iter().enumerate();
        Self {
            parts: parts
                .filter(|(at, _)| *at != index)
                .map(|(_, part)| part.clone())
                .collect(),
            question: self.question,
        }
    }

    fn write(
        &self,
        input: &RequestInput<'_>,
        review: Option<&ResponseInput<'_>>,
        claims: &mut json::Scratch,
        out: &mut Vec<u8>,
    ) -> bool {
        out.clear();
        out.push(self.question);
        let mut key = Key { bytes: out };
        let mut parts = self.parts.iter();
        // Whether the policy reads it or not: no tenant can tell by the time what others have asked.
        let tenant = key.maybe_text(Some(input.tenant));
        let written =
            tenant.is_ok() && parts.all(|(part, reads)| key.part(*part, reads, input, review, claims).is_ok());
        written && out.len() <= BYTES_MAX
    }
}

/// Checks that every path of `reads` is that of a part, leads to parts, or lies in one.
fn check_known<'r>(known: &[(&[&str], Part)], path: &mut Vec<&'r str>, reads: &'r Reads) -> Result<(), Unmemoised> {
    let Reads::Members(members) = reads else {
        // Of the parts beneath, each is taken whole.
        return match path.as_slice() {
            [] => Err(Unmemoised::Whole),
            ["response"] => Err(Unmemoised::Fleeting("response".to_owned())),
            _ => Ok(()),
        };
    };
    for (name, inner) in members {
        path.push(name);
        let beneath = known
            .iter()
            .any(|(part, _)| path.len() < part.len() && part.starts_with(path));
        let part = known.iter().any(|(part, _)| *part == path.as_slice());
        match path.as_slice() {
            ["time" | "record_id"] | ["response", "content" | "structured"] => {
                return Err(Unmemoised::Fleeting(path.join(".")));
            }
            _ if beneath => check_known(known, path, inner)?,
            _ if part => {}
            _ => return Err(Unmemoised::Unknown(path.join("."))),
        }
        path.pop();
    }
    Ok(())
}

impl Key<'_> {
    fn part(
        &mut self,
        part: Part,
        reads: &Reads,
        input: &RequestInput<'_>,
        review: Option<&ResponseInput<'_>>,
        claims: &mut json::Scratch,
    ) -> Result<(), NoKey> {
        let operation = &input.request;
        let decision = review.map(|review| review.request_decision);
        match part {
            Part::Always => Ok(()),
            Part::Acr => self.maybe_text(input.auth.acr),
            Part::Actor(member) => match &input.actor {
                Some(actor) => self.member(member, actor, reads, claims),
                None => self.absent(),
            },
            Part::ActorThere => self.flag(input.actor.is_some()),
            Part::Amr => self.texts(Some(input.auth.amr)),
            Part::Answered => self.maybe_text(review.map(|review| review.kind)),
            Part::AnswerMethod => self.maybe_text(review.and_then(|review| review.method)),
            Part::Arguments => self.maybe_node(operation.arguments, reads),
            Part::AuthTime => match input.auth.time {
                Some(time) => self.fixed(&time.nanos().to_le_bytes()),
                None => self.absent(),
            },
            Part::Certificate => match input.connection.client_cert_sha256 {
                Some(digest) => self.fixed(digest),
                None => self.absent(),
            },
            Part::ClientId => self.maybe_text(input.client_id),
            Part::IdType => self.maybe_text(operation.id_type),
            Part::InputResponses => {
                self.maybe_node(operation.input_responses, reads)?;
                match reads.member("answer") {
                    Some(reads) => self.maybe_node(operation.answer, reads),
                    // That there is one shows in an object of which no member is read.
                    None => self.flag(operation.answer.is_some()),
                }
            }
            Part::Ip => match input.connection.ip {
                std::net::IpAddr::V4(ip) => self.text_of(&ip.octets()),
                std::net::IpAddr::V6(ip) => self.text_of(&ip.octets()),
            },
            Part::IsError => self.flag(review.is_some_and(|review| review.is_error)),
            Part::Method => self.maybe_text(Some(operation.method)),
            Part::Prompt => self.maybe_text(operation.prompt),
            Part::Protocol => self.maybe_text(Some(operation.protocol)),
            Part::RequestAllowed => self.flag(decision.is_some_and(super::Decision::allows)),
            Part::RequestReason => self.maybe_text(decision.map(|decision| &*decision.reason)),
            Part::RequestRule => self.maybe_text(decision.map(|decision| &*decision.rule)),
            Part::RequiredScopes => self.texts(input.tool.map(|tool| tool.required_scopes)),
            Part::ResourceUri => self.maybe_text(operation.resource_uri),
            Part::ServerName => self.maybe_text(Some(input.server.name)),
            Part::ServerResource => self.maybe_text(Some(input.server.resource)),
            Part::Subject(member) => self.member(member, &input.subject, reads, claims),
            Part::ToolClass => self.maybe_text(input.tool.and_then(|tool| tool.class)),
            Part::ToolName => self.maybe_text(operation.tool),
            Part::ToolThere => self.flag(input.tool.is_some()),
        }
    }

    fn member(
        &mut self,
        member: Member,
        party: &Party<'_>,
        reads: &Reads,
        claims: &mut json::Scratch,
    ) -> Result<(), NoKey> {
        match member {
            Member::Claims => match party.claims {
                Some(text) => {
                    let parsed = json::parse(text.as_bytes(), claims, super::input::CLAIMS_LIMITS);
                    let document = parsed.map_err(|_| NoKey)?;
                    self.maybe_node(Some(document.root()), reads)
                }
                None => self.absent(),
            },
            Member::Groups => self.texts(party.groups),
            Member::Id => self.maybe_text(Some(party.id)),
            Member::Issuer => self.maybe_text(Some(party.issuer)),
            Member::Kind => self.maybe_text(Some(party.kind)),
            Member::Roles => self.texts(party.roles),
            Member::Scopes => self.texts(Some(party.scopes)),
        }
    }

    fn maybe_node(&mut self, node: Option<Node<'_>>, reads: &Reads) -> Result<(), NoKey> {
        match node {
            Some(node) => self.node(node, reads),
            None => self.absent(),
        }
    }

    /// Writes a value, of objects only the members that are read.
    fn node(&mut self, node: Node<'_>, reads: &Reads) -> Result<(), NoKey> {
        match (node.kind(), reads) {
            (Kind::Null, _) => self.tag(b'z'),
            (Kind::Bool, _) => self.flag(node.as_bool().unwrap_or_default()),
            (Kind::Number, _) => match node.as_number() {
                // `1` and `1.0` are equal and yet print differently.
                Some(Number::Integer(number)) => {
                    self.tag(b'i')?;
                    self.fixed(&number.to_le_bytes())
                }
                Some(Number::Float(number)) => {
                    self.tag(b'd')?;
                    self.fixed(&number.to_bits().to_le_bytes())
                }
                None => self.tag(b'u'),
            },
            (Kind::String, _) => {
                self.tag(b's')?;
                self.text_of(node.as_str().unwrap_or_default().as_bytes())
            }
            // A path into an array takes an index, so the policy reads it whole.
            (Kind::Array, _) => {
                self.tag(b'l')?;
                self.count(node.len())?;
                node.elements().try_for_each(|element| self.node(element, &Reads::All))
            }
            (Kind::Object, Reads::All) => {
                self.tag(b'o')?;
                self.count(node.len())?;
                self.members(node)
            }
            (Kind::Object, Reads::Members(wanted)) => {
                self.tag(b'm')?;
                let mut wanted = wanted.iter();
                wanted.try_for_each(|(key, inner)| self.maybe_node(node.member(key), inner))
            }
        }
    }

    /// Writes all members of an object, in the order of their keys.
    fn members(&mut self, object: Node<'_>) -> Result<(), NoKey> {
        if SORTED_MEMBERS_MAX < object.len() {
            return object.members().try_for_each(|member| {
                self.text_of(member.key.as_bytes())?;
                self.node(member.value, &Reads::All)
            });
        }
        let mut order = [None; SORTED_MEMBERS_MAX];
        for (place, member) in order.iter_mut().zip(object.members()) {
            *place = Some((member.key, member.value));
        }
        order.sort_unstable_by_key(|member| member.map(|(key, _)| key));
        order.iter().flatten().try_for_each(|(key, value)| {
            self.text_of(key.as_bytes())?;
            self.node(*value, &Reads::All)
        })
    }

    fn texts(&mut self, texts: Option<Texts<'_>>) -> Result<(), NoKey> {
        match texts {
            Some(Texts::Boxes(texts)) => {
                self.tag(b'l')?;
                self.count(texts.len())?;
                texts.iter().try_for_each(|text| self.text_of(text.as_bytes()))
            }
            Some(Texts::Strs(texts)) => {
                self.tag(b'l')?;
                self.count(texts.len())?;
                texts.iter().try_for_each(|text| self.text_of(text.as_bytes()))
            }
            None => self.absent(),
        }
    }

    fn maybe_text(&mut self, text: Option<&str>) -> Result<(), NoKey> {
        match text {
            Some(text) => {
                self.tag(b's')?;
                self.text_of(text.as_bytes())
            }
            None => self.absent(),
        }
    }

    fn absent(&mut self) -> Result<(), NoKey> {
        self.tag(b'-')
    }

    fn flag(&mut self, flag: bool) -> Result<(), NoKey> {
        self.tag(if flag { b't' } else { b'f' })
    }

    fn tag(&mut self, tag: u8) -> Result<(), NoKey> {
        self.raw(&[tag])
    }

    fn count(&mut self, count: usize) -> Result<(), NoKey> {
        let count = u32::try_from(count).map_err(|_| NoKey)?;
        self.raw(&count.to_le_bytes())
    }

    /// Bytes whose number the bytes before them tell.
    fn fixed(&mut self, bytes: &[u8]) -> Result<(), NoKey> {
        self.tag(b'b')?;
        self.raw(bytes)
    }

    fn text_of(&mut self, bytes: &[u8]) -> Result<(), NoKey> {
        self.count(bytes.len())?;
        self.raw(bytes)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), NoKey> {
        if BYTES_MAX < self.bytes.len().saturating_add(bytes.len()) {
            return Err(NoKey);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}
