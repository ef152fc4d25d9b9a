//! What stands in a record: schema version 1, one JSON object on one line.
//!
//! Owns [`RequestRecord`], [`ResponseRecord`], [`RefusalSummary`], [`AdminRecord`] and their parts, and the names of their members.
//! A record borrows everything and is written once, into a buffer of the log. Arguments and answers are never in it:
//! digests come in ready made, keyed by the caller, and nothing here sees a clear text or a token.
//!
//! Members of a request record always stand in the same order and are always present; what is not known is `null`.

use std::net::IpAddr;

use crate::audit::object::Object;
use crate::denial::DenyReason;
use crate::record_id::RecordId;
use crate::time::UnixTime;
use crate::token::{Actor, Binding};

/// What was decided about a request, written before the request may leave.
///
/// `scopes` are the token's, in any string form the caller holds them in.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a, S> {
    /// The id that the response records and the client's header repeat.
    pub record_id: RecordId,
    /// When the request was judged.
    pub time: UnixTime,
    /// The same by the gate's monotonic clock, in microseconds from an arbitrary start: no setting of the wall clock moves
    /// it, so that the order and the distances of one process's records stand.
    pub monotonic_us: u64,
    /// The tenant of the caller.
    pub tenant: &'a str,
    /// The server's name.
    pub server: &'a str,
    /// The server's canonical URI.
    pub resource: &'a str,
    /// Digest of the session id, when the request names a session.
    pub session: Option<&'a [u8; 32]>,
    /// Who called, for whom.
    pub identities: Identities<'a>,
    /// Who acted before the actor, by the token's chain of `act`, the last one first.
    pub actors_prior: &'a [Actor],
    /// Where the subject's groups and roles come from: `token`, `policy_data` or `configuration`.
    pub roles_from: &'a str,
    /// What proved all that.
    pub token: TokenEvidence<'a>,
    /// The scopes of the token.
    pub scopes: &'a [S],
    /// The protocol version, when the request could be read that far.
    pub protocol: Option<&'a str>,
    /// The JSON-RPC method, when it could be read.
    pub method: Option<&'a str>,
    /// The tool, for `tools/call`.
    pub tool: Option<&'a str>,
    /// The prompt, for `prompts/get` and completions of its arguments.
    pub prompt: Option<&'a str>,
    /// The row of the scope table that holds for the resource; `None` for one without a row.
    pub resource_row: Option<&'a str>,
    /// HMAC-SHA-256 over the resource's URI, which may tell more than a record should.
    pub resource_digest: Option<&'a [u8; 32]>,
    /// HMAC-SHA-256 over the exact bytes of the arguments.
    pub arguments_digest: Option<&'a [u8; 32]>,
    /// HMAC-SHA-256 over the decoded `requestState`: the same as in the response record that handed it out, which links
    /// the records of one exchange.
    pub request_state_digest: Option<&'a [u8; 32]>,
    /// The decision.
    pub decision: Effect,
    /// The rule that decided, when a policy did.
    pub rule: Option<&'a str>,
    /// Why: the policy's reason, or the code of a refusal.
    pub reason: &'a str,
    /// What the policy demands of the answer.
    pub obligations: &'a [RedactObligation<'a>],
    /// The revision of the policy that was asked.
    pub policy_revision: Option<&'a str>,
    /// The digest of the configuration.
    pub config_digest: &'a [u8; 32],
    /// The gate that decided.
    pub gate: GateNode<'a>,
    /// Where the call goes.
    pub upstream: UpstreamTarget<'a>,
    /// The trace id of the caller's `traceparent` (W3C Trace Context).
    pub trace_id: Option<&'a str>,
    /// Digest of the id of the task that the request is about.
    pub task_digest: Option<&'a [u8; 32]>,
    /// The record of the call that started that task.
    pub task_of: Option<RecordId>,
    /// Where the request stands in a batch; `None` outside of one.
    pub batch: Option<BatchElement>,
    /// Time spent in each stage.
    pub stage_us: &'a [StageTime],
}

/// What was decided about an answer, or how an exchange ended, written before the answer may leave.
///
/// It says who and what, so that it can be read alone; the request record of the same id has the evidence.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRecord<'a> {
    /// The id of the request record.
    pub record_id: RecordId,
    /// Which part of the answer this is about.
    pub phase: ResponsePhase,
    /// When the answer was judged.
    pub time: UnixTime,
    /// The tenant of the caller.
    pub tenant: &'a str,
    /// The server's name.
    pub server: &'a str,
    /// Digest of the session that the answer opens.
    pub session: Option<&'a [u8; 32]>,
    /// Who called, for whom.
    pub identities: Identities<'a>,
    /// The JSON-RPC method that is answered.
    pub method: Option<&'a str>,
    /// The tool, for `tools/call`.
    pub tool: Option<&'a str>,
    /// The method of a message of the server that is no answer: of its request or notification.
    pub message: Option<&'a str>,
    /// The HTTP status of the upstream, when it answered.
    pub status: Option<u16>,
    /// The review's decision; `None` when there was nothing to review.
    pub decision: Option<Effect>,
    /// The rule that decided, when a policy did.
    pub rule: Option<&'a str>,
    /// Why: the policy's reason, or the code of a refusal.
    pub reason: Option<&'a str>,
    /// What the policies demanded of the answer.
    pub obligations: &'a [RedactObligation<'a>],
    /// How many values were redacted.
    pub redactions: u64,
    /// HMAC-SHA-256 over the bytes as the upstream sent them.
    pub content_digest: Option<&'a [u8; 32]>,
    /// HMAC-SHA-256 over the decoded `requestState` that the answer hands out: the request that brings it back has the
    /// same member, which links the records of one exchange.
    pub request_state_digest: Option<&'a [u8; 32]>,
    /// Digest of the id of the task that the answer hands out.
    pub task_digest: Option<&'a [u8; 32]>,
    /// The revision of the policy that was asked.
    pub policy_revision: Option<&'a str>,
    /// The digest of the configuration.
    pub config_digest: &'a [u8; 32],
    /// The gate that decided.
    pub gate: GateNode<'a>,
    /// Time spent in each stage.
    pub stage_us: &'a [StageTime],
}

/// Refusals of strangers, counted: one record for each server, reason and client address of an interval.
#[derive(Clone, Copy, Debug)]
pub struct RefusalSummary<'a> {
    /// The id of this summary.
    pub record_id: RecordId,
    /// The end of the interval.
    pub time: UnixTime,
    /// The start of the interval.
    pub since: UnixTime,
    /// The server's name, when the path led to one.
    pub server: Option<&'a str>,
    /// Why.
    pub reason: DenyReason,
    /// The address of the peer; `None` sums up the addresses for which there was no room.
    pub client_ip: Option<IpAddr>,
    /// How many.
    pub count: u64,
    /// The digest of the configuration.
    pub config_digest: &'a [u8; 32],
    /// The gate that refused.
    pub gate: GateNode<'a>,
}

/// What an operator did, or tried to do, at the control plane.
#[derive(Clone, Copy, Debug)]
pub struct AdminRecord<'a> {
    /// The id of the act; a revocation keeps it as its own.
    pub record_id: RecordId,
    /// When it was done.
    pub time: UnixTime,
    /// What was done, such as `revoke`.
    pub act: &'a str,
    /// Who did it: `uid:1000`, `token:NAME`, `certificate:DIGEST`, or `file`.
    pub author: &'a str,
    /// What it was about.
    pub target: Option<ActTarget<'a>>,
    /// What came of it.
    pub outcome: ActOutcome,
    /// Why it was refused.
    pub reason: Option<&'a str>,
    /// The digest of the configuration.
    pub config_digest: &'a [u8; 32],
    /// The gate it was done to.
    pub gate: GateNode<'a>,
}

/// What an act was about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ActTarget<'a> {
    /// `jti`, `subject`, `session` or `client_id`; `tool` for the definition of one.
    pub kind: &'a str,
    /// Its name at its issuer.
    pub id: &'a str,
    /// The issuer; for a tool the resource that has it.
    pub issuer: &'a str,
    /// The tenant, when the act was for one alone.
    pub tenant: Option<&'a str>,
    /// How long it is in force.
    pub expires: Option<UnixTime>,
    /// As of when.
    pub revoked_at: Option<UnixTime>,
    /// Why, in the operator's words; for a tool the digest of its definition.
    pub note: Option<&'a str>,
}

/// What came of an act.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActOutcome {
    /// It is done and durable.
    Applied,
    /// It is in force, and lost when the process ends.
    NotDurable,
    /// It was not done.
    Refused,
    /// It was so already.
    Unchanged,
}

/// A decision, as records spell it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Effect {
    /// It may pass.
    Allow,
    /// It may not.
    #[default]
    Deny,
}

/// Which part of an answer a response record is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResponsePhase {
    /// The end of a stream.
    Close {
        /// How it ended.
        outcome: Outcome,
        /// What went through it, when that is known.
        totals: Option<Totals>,
    },
    /// The head of a stream.
    Open,
    /// One message of a stream.
    Part {
        /// The message's number in its stream, from 0.
        number: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// An answer that is no stream.
    Whole {
        /// What became of it.
        outcome: Outcome,
    },
}

/// What became of an allowed request. Each allow is closed by exactly one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The client went before its answer.
    ClientGone,
    /// The stream outlived its token or its idle limit.
    Expired,
    /// The record was not durable in time, so that no permit was made and nothing was forwarded.
    NotForwarded,
    /// The answer was reviewed and released.
    Reviewed,
    /// The token was revoked while the stream was open.
    Revoked,
    /// Nobody knows: the gate ended in between.
    Unknown,
    /// The upstream failed.
    UpstreamFailed,
    /// The answer was kept back.
    Withheld,
}

/// The sums of one stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Messages that were judged.
    pub messages: u64,
    /// Values that were redacted.
    pub redactions: u64,
    /// Messages that were kept back.
    pub withheld: u64,
}

/// Who called, for whom: the four identity fields and their digest, in every record.
#[derive(Clone, Copy, Debug)]
pub struct Identities<'a> {
    /// For whom: the human, when there is one.
    pub subject: Party<'a>,
    /// Who called: the agent, or the subject itself.
    pub actor: Party<'a>,
    /// The subject again when somebody else acts for it.
    pub on_behalf_of: Option<Party<'a>>,
    /// The OAuth client, when the token names one.
    pub client_id: Option<&'a str>,
    /// The keyed digest of the principal: stable over refreshed tokens.
    pub principal_id: &'a [u8; 32],
}

/// One of the identities of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Party<'a> {
    /// Its name at its issuer.
    pub id: &'a str,
    /// Who says so.
    pub issuer: &'a str,
    /// `human`, `agent` or `machine`.
    pub kind: &'a str,
}

/// What is kept of a token: enough to name it, not enough to use it.
#[derive(Clone, Copy, Debug)]
pub struct TokenEvidence<'a> {
    /// Its `jti` claim.
    pub jti: Option<&'a str>,
    /// SHA-256 of the whole token, or of the certificate that stands in for one.
    pub digest: Option<&'a [u8; 32]>,
    /// How it was verified: `jwt` by its signature, `opaque` by its issuer's word, `certificate` by its chain,
    /// `shared_secret` by being one.
    pub kind: &'a str,
    /// The age of what it was verified against.
    pub evidence_age_s: Option<u64>,
    /// Whether somebody was asked if it still holds.
    pub revocation: Revocation,
    /// What the sender has proven to hold.
    pub binding: Binding,
    /// From how many places it was used, an estimate: more than a few are many clients with one token.
    pub sources: Option<u64>,
}

/// Whether the revocation of a token was looked up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Revocation {
    /// It was, and held, at this time.
    CheckedAt(UnixTime),
    /// It was not.
    #[default]
    NotChecked,
}

/// One `redact` obligation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RedactObligation<'a> {
    /// The pointer.
    pub at: &'a str,
    /// The action.
    pub action: &'a str,
}

/// The place of a request in a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BatchElement {
    /// The record of the first element.
    pub first: RecordId,
    /// From zero.
    pub index: usize,
    /// How many elements there are.
    pub size: usize,
}

/// The gate that wrote a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GateNode<'a> {
    /// Its version.
    pub version: &'a str,
    /// Its name among its like.
    pub node: &'a str,
    /// The id of the key of this record's digests: what was keyed otherwise cannot be linked to it.
    pub digest_key: &'a str,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UpstreamTarget<'a> {
    /// The label of the upstream.
    pub name: &'a str,
    /// What is shown to it; `None` for nothing.
    pub credential: Option<ShownCredential<'a>>,
}

/// A credential by its label and kind, never its value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShownCredential<'a> {
    /// The label.
    pub label: &'a str,
    /// `static`, `exchange` or `assertion`.
    pub kind: &'static str,
}

/// The time that one stage took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StageTime {
    /// The stage.
    pub stage: &'static str,
    /// Microseconds.
    pub us: u64,
}

impl<S: AsRef<str>> RequestRecord<'_, S> {
    /// Appends the record.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::record(out, self.record_id, "request", None, self.time);
        object.number("monotonic_us", self.monotonic_us);
        object.text("tenant", self.tenant);
        object.text("server", self.server);
        object.text("resource", self.resource);
        object.digest("session", self.session);
        object.identities(&self.identities);
        object.actors("actors_prior", self.actors_prior);
        object.text("roles_from", self.roles_from);
        object.token(&self.token);
        object.texts("scopes", self.scopes);
        object.maybe_text("protocol", self.protocol);
        object.maybe_text("method", self.method);
        object.maybe_text("tool", self.tool);
        object.maybe_text("prompt", self.prompt);
        object.maybe_text("resource_row", self.resource_row);
        object.digest("resource_digest", self.resource_digest);
        object.digest("arguments_digest", self.arguments_digest);
        object.digest("request_state_digest", self.request_state_digest);
        object.text("decision", self.decision.code());
        object.maybe_text("rule", self.rule);
        object.text("reason", self.reason);
        object.obligations(self.obligations);
        object.maybe_text("policy_revision", self.policy_revision);
        object.digest("config_digest", Some(self.config_digest));
        object.gate(self.gate);
        object.upstream(self.upstream);
        object.maybe_text("trace_id", self.trace_id);
        object.digest("task_digest", self.task_digest);
        object.maybe_record_id("task_of", self.task_of);
        object.batch(self.batch);
        object.stages(self.stage_us);
        object.end();
    }
}

impl ResponseRecord<'_> {
    /// Appends the record.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let phase = self.phase;
        let mut object = Object::record(out, self.record_id, phase.code(), phase.number(), self.time);
        object.text("tenant", self.tenant);
        object.text("server", self.server);
        object.digest("session", self.session);
        object.identities(&self.identities);
        object.maybe_text("method", self.method);
        object.maybe_text("tool", self.tool);
        object.maybe_text("message", self.message);
        object.maybe_number("status", self.status.map(u64::from));
        object.maybe_text("outcome", phase.outcome().map(Outcome::code));
        object.maybe_text("decision", self.decision.map(Effect::code));
        object.maybe_text("rule", self.rule);
        object.maybe_text("reason", self.reason);
        object.obligations(self.obligations);
        object.number("redactions", self.redactions);
        object.digest("content_digest", self.content_digest);
        object.digest("request_state_digest", self.request_state_digest);
        object.digest("task_digest", self.task_digest);
        if let ResponsePhase::Close { totals, .. } = phase {
            object.totals(totals);
        }
        object.maybe_text("policy_revision", self.policy_revision);
        object.digest("config_digest", Some(self.config_digest));
        object.gate(self.gate);
        object.stages(self.stage_us);
        object.end();
    }
}

impl RefusalSummary<'_> {
    /// Appends the record.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::record(out, self.record_id, "refusals", None, self.time);
        object.time("since", self.since);
        object.maybe_text("server", self.server);
        object.text("decision", Effect::Deny.code());
        object.text("reason", self.reason.code());
        match self.client_ip {
            Some(client_ip) => object.text("client_ip", &client_ip.to_string()),
            None => object.maybe_text("client_ip", None),
        }
        object.number("count", self.count);
        object.digest("config_digest", Some(self.config_digest));
        object.gate(self.gate);
        object.end();
    }
}

impl AdminRecord<'_> {
    /// Appends the record.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::record(out, self.record_id, "admin", None, self.time);
        object.text("act", self.act);
        object.text("author", self.author);
        object.act_target(self.target);
        object.text("outcome", self.outcome.code());
        object.maybe_text("reason", self.reason);
        object.digest("config_digest", Some(self.config_digest));
        object.gate(self.gate);
        object.end();
    }
}

impl ActOutcome {
    /// Every outcome, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::Applied, Self::NotDurable, Self::Refused, Self::Unchanged];

    /// The name of the outcome in records and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NotDurable => "not_durable",
            Self::Refused => "refused",
            Self::Unchanged => "unchanged",
        }
    }
}

impl Effect {
    /// The name of the decision in records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl ResponsePhase {
    /// The name of the phase in records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Close { .. } => "close",
            Self::Open => "open",
            Self::Part { .. } => "part",
            Self::Whole { .. } => "response",
        }
    }

    const fn number(self) -> Option<u64> {
        match self {
            Self::Part { number, .. } => Some(number),
            Self::Close { .. } | Self::Open | Self::Whole { .. } => None,
        }
    }

    const fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Close { outcome, .. } | Self::Part { outcome, .. } | Self::Whole { outcome } => Some(outcome),
            Self::Open => None,
        }
    }
}

impl Outcome {
    /// The name of the outcome in records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Expired => "expired",
            Self::NotForwarded => "not_forwarded",
            Self::Reviewed => "reviewed",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
            Self::UpstreamFailed => "upstream_failed",
            Self::Withheld => "withheld",
        }
    }
}

#[cfg(test)]
mod tests;
