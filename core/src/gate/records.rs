//! From a case to its records: one place says which fact goes into which member.
//!
//! Owns no format ([`crate::audit`] does) and decides nothing.

use std::sync::Arc;

use super::case::Case;
use crate::audit::{
    BatchElement, Effect, GateNode, Identities, Outcome, Party, RedactObligation, RefusalSummary, RequestRecord,
    ResponsePhase, ResponseRecord, Revocation, ShownCredential, StageTime, TokenEvidence, Totals, UpstreamTarget,
};
use crate::denial::Denial;
use crate::identity::{self, Proof};
use crate::policy::{Decision, Redaction};
use crate::record_id::RecordId;
use crate::rpc::ServerMethod;
use crate::stages::{Laps, Stage};
use crate::time::UnixTime;
use crate::token::{Binding, RevocationMode};

use super::refusals::Source;
use super::{Gate, Snapshot};

/// Where the summary of refusals says that strangers came to the control plane: no name of a server.
pub(super) const CONTROL_PLANE: &str = "(control)";

/// What the review of one answer found, for its record.
#[derive(Debug)]
pub(super) struct PartFacts {
    pub(super) status: Option<u16>,
    pub(super) content_digest: Option<[u8; 32]>,
    pub(super) outcome: Outcome,
    pub(super) decision: Option<Arc<Decision>>,
    /// The code of a refusal, when one was made.
    pub(super) refusal: Option<&'static str>,
    pub(super) redactions: u64,
    /// The digest of the session that the answer opens.
    pub(super) session: Option<[u8; 32]>,
    /// What the server asks or tells beside its answer.
    pub(super) message: Option<ServerMethod>,
    /// The digest of the state that the client is to bring back.
    pub(super) request_state_digest: Option<[u8; 32]>,
    /// The digest of the task that the answer hands out.
    pub(super) task_digest: Option<[u8; 32]>,
}

/// What a response record is about.
#[derive(Debug)]
pub(super) enum Part {
    Message { number: u64, facts: PartFacts },
    Open { status: u16 },
    Whole { facts: PartFacts },
}

/// The record of an allowed request.
pub(super) fn write_allow(out: &mut Vec<u8>, case: &Case<'_>) {
    let decision = case.verdict.as_ref().map(super::case::Verdict::decision);
    write_request(out, case, Effect::Allow, decision, "allow");
}

/// The record of a refused request; `decision` is the policy's, when it was the policy that refused.
pub(super) fn write_deny(out: &mut Vec<u8>, case: &Case<'_>, denial: &Denial, decision: Option<&Decision>) {
    write_request(out, case, Effect::Deny, decision, denial.reason.code());
}

fn write_request(out: &mut Vec<u8>, case: &Case<'_>, effect: Effect, decision: Option<&Decision>, code: &str) {
    let (server, principal, call) = (&case.server, &case.principal, case.call.as_ref());
    let redact = obligations(decision.map_or(&[][..], |decision| &decision.obligations.redact));
    RequestRecord {
        record_id: case.record_id,
        time: case.now,
        monotonic_us: case.laps.last_ns() / 1_000,
        tenant: principal.tenant(),
        server: server.name(),
        resource: server.resource(),
        session: case.session.as_ref().map(|session| &session.digest),
        identities: identities(case),
        actors_prior: principal.actors_prior(),
        roles_from: principal.roles_origin().as_str(),
        token: evidence(principal.proof(), case.now),
        scopes: principal.scopes(),
        protocol: call.map(|call| call.version.as_str()),
        method: call.map(|call| call.method.as_str()),
        tool: call.and_then(|call| call.named.tool()),
        prompt: call.and_then(|call| call.named.target().prompt()),
        resource_row: call.and_then(|call| server.resources().row(call.named.target().resource()?)),
        resource_digest: call.and_then(|call| call.resource_digest.as_ref()),
        arguments_digest: call.and_then(|call| call.arguments_digest.as_ref()),
        request_state_digest: call.and_then(|call| call.request_state_digest.as_ref()),
        decision: effect,
        rule: decision.map(|decision| &*decision.rule),
        reason: match decision {
            // The policy's words are about its own answer, which another refusal is not.
            Some(decision) if decision.effect == policy_effect(effect) && !decision.reason.is_empty() => {
                &decision.reason
            }
            _ => code,
        },
        obligations: &redact,
        policy_revision: Some(server.policy().revision()),
        config_digest: case.snapshot.config_digest(),
        gate: node(case.gate),
        upstream: UpstreamTarget {
            name: &server.upstream().name,
            credential: case.credential.as_ref().map(|credential| ShownCredential {
                label: &credential.label,
                kind: credential.kind.name(),
            }),
        },
        trace_id: call.and_then(|call| call.trace_parent.as_deref()).and_then(trace_id),
        task_digest: case.task.as_ref().map(|facts| &facts.digest),
        task_of: case.task.as_ref().map(|facts| facts.task.started_by),
        batch: case.batch.as_ref().map(|place| BatchElement {
            first: place.first,
            index: place.index,
            size: place.size,
        }),
        stage_us: &stage_times(&case.laps),
    }
    .write_json(out);
}

const fn policy_effect(effect: Effect) -> crate::policy::Effect {
    match effect {
        Effect::Allow => crate::policy::Effect::Allow,
        Effect::Deny => crate::policy::Effect::Deny,
    }
}

/// What proves who calls.
fn evidence(proof: &Proof, now: UnixTime) -> TokenEvidence<'_> {
    match proof {
        Proof::Certificate { sha256, is_listed, .. } => TokenEvidence {
            jti: None,
            digest: Some(sha256),
            kind: "certificate",
            evidence_age_s: None,
            revocation: match is_listed {
                // A list in force is looked up again whenever it or the time has changed.
                true => Revocation::CheckedAt(now),
                false => Revocation::NotChecked,
            },
            binding: Binding::Mtls,
            sources: None,
        },
        Proof::Token(token) => TokenEvidence {
            jti: token.jti(),
            digest: Some(token.digest_bytes()),
            kind: token.kind(),
            evidence_age_s: Some(now.since(token.evidence_at()).as_secs()),
            revocation: match token.rules().revocation() {
                // The list was asked for this very request.
                RevocationMode::Feed => Revocation::CheckedAt(now),
                RevocationMode::Introspect | RevocationMode::None => token
                    .introspected_at()
                    .map_or(Revocation::NotChecked, Revocation::CheckedAt),
            },
            binding: token.confirmation().binding(),
            sources: Some(u64::from(token.sources().estimate())),
        },
        Proof::SharedSecret { .. } => TokenEvidence {
            jti: None,
            // Whoever reads records could try what a digest of a secret is the digest of.
            digest: None,
            kind: "shared_secret",
            evidence_age_s: None,
            revocation: Revocation::NotChecked,
            binding: Binding::None,
            sources: None,
        },
    }
}

/// The record of one answer, of one message of a stream, or of a stream's opening.
pub(super) fn write_part(out: &mut Vec<u8>, case: &Case<'_>, part: &Part, now: UnixTime) {
    match part {
        Part::Open { status } => {
            write_response(out, case, ResponsePhase::Open, &PartFacts::opening(*status), now);
        }
        Part::Message { number, facts } => {
            let phase = ResponsePhase::Part {
                number: *number,
                outcome: facts.outcome,
            };
            write_response(out, case, phase, facts, now);
        }
        Part::Whole { facts } => {
            write_response(out, case, ResponsePhase::Whole { outcome: facts.outcome }, facts, now);
        }
    }
}

/// The record that closes an exchange without an answer, or a stream.
pub(super) fn write_close(out: &mut Vec<u8>, case: &Case<'_>, outcome: Outcome, totals: Option<Totals>, now: UnixTime) {
    write_response(
        out,
        case,
        ResponsePhase::Close { outcome, totals },
        &PartFacts::closing(outcome),
        now,
    );
}

fn write_response(out: &mut Vec<u8>, case: &Case<'_>, phase: ResponsePhase, facts: &PartFacts, now: UnixTime) {
    let (server, call) = (&case.server, case.call.as_ref());
    let decision = facts.decision.as_deref();
    let redact = obligations(decision.map_or(&[][..], |decision| &decision.obligations.redact));
    ResponseRecord {
        record_id: case.record_id,
        phase,
        time: now,
        tenant: case.principal.tenant(),
        server: server.name(),
        session: facts.session.as_ref(),
        identities: identities(case),
        method: call.map(|call| call.method.as_str()),
        tool: call.and_then(|call| call.named.tool()),
        message: facts.message.map(ServerMethod::as_str),
        status: facts.status,
        decision: match (facts.outcome, decision) {
            (Outcome::Withheld, _) => Some(Effect::Deny),
            // What came too late; the close of a stream that was cut judges nothing.
            (Outcome::Expired, _) if facts.refusal.is_some() => Some(Effect::Deny),
            (_, Some(_)) => Some(Effect::Allow),
            (_, None) => None,
        },
        rule: decision.map(|decision| &*decision.rule),
        reason: facts.refusal.or_else(|| decision.map(|decision| &*decision.reason)),
        obligations: &redact,
        redactions: facts.redactions,
        content_digest: facts.content_digest.as_ref(),
        request_state_digest: facts.request_state_digest.as_ref(),
        task_digest: facts.task_digest.as_ref(),
        policy_revision: Some(server.policy().revision()),
        config_digest: case.snapshot.config_digest(),
        gate: node(case.gate),
        stage_us: &[],
    }
    .write_json(out);
}

/// Refusals from one source since an instant.
#[derive(Debug)]
pub(super) struct Summary<'s> {
    pub(super) source: &'s Source,
    pub(super) count: u64,
    pub(super) since: UnixTime,
}

/// The record of a summary.
pub(super) fn write_refusals(
    out: &mut Vec<u8>,
    gate: &Gate,
    snapshot: &Snapshot,
    record_id: RecordId,
    summary: &Summary<'_>,
    now: UnixTime,
) {
    RefusalSummary {
        record_id,
        time: now,
        since: summary.since,
        server: summary.source.server.as_deref(),
        reason: summary.source.reason,
        client_ip: summary.source.client_ip,
        count: summary.count,
        config_digest: snapshot.config_digest(),
        gate: node(gate),
    }
    .write_json(out);
}

impl PartFacts {
    /// The facts of an answer that was not judged yet: withheld until something better is known.
    pub(super) const fn new(status: u16, content_digest: Option<[u8; 32]>) -> Self {
        Self {
            status: Some(status),
            content_digest,
            outcome: Outcome::Withheld,
            decision: None,
            refusal: None,
            redactions: 0,
            session: None,
            message: None,
            request_state_digest: None,
            task_digest: None,
        }
    }

    fn opening(status: u16) -> Self {
        Self {
            outcome: Outcome::Reviewed,
            ..Self::new(status, None)
        }
    }

    /// The facts of a request that the upstream's answer to its batch left out.
    pub(super) fn unanswered(refusal: &'static str) -> Self {
        Self {
            refusal: Some(refusal),
            ..Self::closing(Outcome::UpstreamFailed)
        }
    }

    fn closing(outcome: Outcome) -> Self {
        Self {
            status: None,
            outcome,
            ..Self::new(0, None)
        }
    }
}

fn identities<'c>(case: &'c Case<'_>) -> Identities<'c> {
    let principal = &case.principal;
    Identities {
        subject: party(principal.subject()),
        actor: party(principal.actor()),
        on_behalf_of: principal.on_behalf_of().map(party),
        client_id: Some(principal.client_id()),
        principal_id: principal.principal_id(),
    }
}

fn party(party: &identity::Party) -> Party<'_> {
    Party {
        id: party.id(),
        issuer: party.issuer(),
        kind: party.kind().as_str(),
    }
}

pub(super) fn node(gate: &Gate) -> GateNode<'_> {
    GateNode {
        version: env!("CARGO_PKG_VERSION"),
        node: &gate.node,
        digest_key: &gate.key_id,
    }
}

fn obligations(redactions: &[Redaction]) -> Vec<RedactObligation<'_>> {
    redactions
        .iter()
        .map(|redaction| RedactObligation {
            at: redaction.at.as_str(),
            action: redaction.action.name(),
        })
        .collect()
}

/// The times that stand in a record: those of the stages before it, scope and policy as one.
fn stage_times(laps: &Laps) -> [StageTime; 3] {
    [
        StageTime {
            stage: "token",
            us: laps.us(&[Stage::Identity]),
        },
        StageTime {
            stage: "parse",
            us: laps.us(&[Stage::Parse]),
        },
        StageTime {
            stage: "policy",
            us: laps.us(&[Stage::Scope, Stage::Policy]),
        },
    ]
}

/// The trace id of a `traceparent` (W3C Trace Context section 3.2), `None` when it is not one.
fn trace_id(trace_parent: &str) -> Option<&str> {
    let mut parts = trace_parent.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let known = version.len() == 2 && hex(version) && version != "ff";
    (known && id.len() == 32 && hex(id) && id.bytes().any(|byte| byte != b'0')).then_some(id)
}
