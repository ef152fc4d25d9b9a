//! What operators do to a running gate: revoke, and have every act on record.
//!
//! Owns the gate's side of the control plane. Authenticates nobody: the embedder does, and names the author. Never makes
//! a revocation durable: the embedder writes it before it answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Gate;
use super::records::{self, node};
use super::refusals::Source;
use crate::audit::{ActOutcome, ActTarget, AdminRecord, Position};
use crate::catalog::ToolDigest;
use crate::config::Server;
use crate::denial::{Denial, DenyReason};
use crate::record_id::RecordId;
use crate::revocation::{
    RevocationBounds, RevocationEntry, RevocationError, RevocationList, RevocationRequest, RevocationSource, Revoked,
};
use crate::time::UnixTime;

/// One act, done or refused, for its record.
#[derive(Clone, Copy, Debug)]
pub struct AdminAct<'a> {
    /// What was done, such as `revoke`.
    pub act: &'a str,
    /// Who did it, as the embedder has authenticated them.
    pub author: &'a str,
    /// What was asked for, when it could be read.
    pub request: Option<&'a RevocationRequest>,
    /// What is in force, when it is.
    pub entry: Option<&'a RevocationEntry>,
    /// What came of it.
    pub outcome: ActOutcome,
    /// Why it was refused, without a value of the request that may be a secret.
    pub detail: Option<&'a str>,
}

/// What the gate or an operator did about the definition of a tool.
#[derive(Clone, Copy, Debug)]
pub struct ToolAct<'a> {
    /// `tool_accepted`, `tool_changed`, `tool_new`, or `tools_first_seen` for all tools of a server.
    pub act: &'a str,
    /// Who did it: `gate` for what it did by itself, `file` for what an operator wrote into the file of pins.
    pub author: &'a str,
    /// The server.
    pub server: &'a Server,
    /// The tool, or `*`.
    pub tool: &'a str,
    /// The digest of the definition that was found.
    pub digest: ToolDigest,
    /// What came of it: `Refused` for a tool that is withheld.
    pub outcome: ActOutcome,
    /// Why it is withheld.
    pub detail: Option<&'a str>,
}

/// What became of a bundle of policies.
#[derive(Clone, Copy, Debug)]
pub struct BundleAct<'a> {
    /// `bundle_activated` or `bundle_refused`.
    pub act: &'a str,
    /// The server whose policy it is.
    pub server: &'a Server,
    /// Its digest, `-` when it could not be read.
    pub digest: &'a str,
    /// Its revision, as it calls itself.
    pub revision: Option<&'a str>,
    /// What came of it.
    pub outcome: ActOutcome,
    /// Why it was refused.
    pub detail: Option<&'a str>,
}

impl Gate {
    /// Hands over the record of what became of a bundle. Not durable yet: see [`Gate::durable`].
    ///
    /// # Errors
    /// [`DenyReason::AuditUnavailable`] when the log does not take it.
    pub fn record_bundle_act(&self, act: &BundleAct<'_>, now: UnixTime) -> Result<(RecordId, Position), Denial> {
        let record_id = self.record_ids.next(now);
        let snapshot = self.snapshot.current();
        let target = ActTarget {
            kind: "bundle",
            id: act.digest,
            issuer: act.server.resource(),
            tenant: act.server.tenant().map(|tenant| &**tenant),
            expires: None,
            revoked_at: None,
            note: act.revision,
        };
        let position = self.submit(|out| {
            AdminRecord {
                record_id,
                time: now,
                act: act.act,
                author: "gate",
                target: Some(target),
                outcome: act.outcome,
                reason: act.detail,
                config_digest: snapshot.config_digest(),
                gate: node(self),
            }
            .write_json(out);
        })?;
        Ok((record_id, position))
    }

    /// Hands over the record of an act about a tool. Not durable yet: see [`Gate::durable`].
    ///
    /// # Errors
    /// [`DenyReason::AuditUnavailable`] when the log does not take it.
    pub fn record_tool_act(&self, act: &ToolAct<'_>, now: UnixTime) -> Result<(RecordId, Position), Denial> {
        let record_id = self.record_ids.next(now);
        let snapshot = self.snapshot.current();
        let digest = act.digest.to_string();
        let target = ActTarget {
            kind: "tool",
            id: act.tool,
            issuer: act.server.resource(),
            tenant: act.server.tenant().map(|tenant| &**tenant),
            expires: None,
            revoked_at: None,
            note: Some(&digest),
        };
        let position = self.submit(|out| {
            AdminRecord {
                record_id,
                time: now,
                act: act.act,
                author: act.author,
                target: Some(target),
                outcome: act.outcome,
                reason: act.detail,
                config_digest: snapshot.config_digest(),
                gate: node(self),
            }
            .write_json(out);
        })?;
        Ok((record_id, position))
    }

    /// What is revoked.
    pub const fn revocations(&self) -> &RevocationList {
        &self.revocations
    }

    /// Revokes, for the issuers of tokens that take revocations and for those of machines' certificates (scheme and
    /// authority of their URIs): in force for every thread when this returns, for requests to come and for open streams. The caller makes
    /// it durable. One caller at a time.
    ///
    /// # Errors
    /// [`RevocationError`]; nothing has changed then.
    pub fn revoke(
        &self,
        request: &RevocationRequest,
        source: RevocationSource,
        now: UnixTime,
    ) -> Result<Revoked, RevocationError> {
        let snapshot = self.snapshot.current();
        let limits = snapshot.limits();
        let issuer = snapshot
            .servers()
            .flat_map(|server| server.issuers())
            .find(|issuer| **issuer.url() == *request.issuer() && issuer.revocation().takes_revocations());
        let names_machines = || {
            snapshot
                .servers()
                .flat_map(|server| server.machines().certificate_issuers())
                .any(|issuer| **issuer == *request.issuer())
        };
        let lifetime_max = match issuer {
            Some(issuer) => issuer.token_lifetime_max().unwrap_or(limits.token_lifetime_max),
            None if names_machines() => CERTIFICATES_REVOKED,
            None => return Err(RevocationError::Issuer(Box::from(request.issuer()))),
        };
        let bounds = RevocationBounds {
            revocations_max: limits.revocations_max,
            lifetime_max,
            leeway: limits.leeway,
        };
        let id = self.record_ids.next(now);
        self.revocations.revoke(request, id, source, now, &bounds)
    }

    /// Puts a revocation back in force that was made durable before, unless it has expired. To be called before anybody
    /// can call.
    pub fn restore_revocation(&self, entry: RevocationEntry) {
        self.revocations.restore(entry);
    }

    /// Forgets revocations that can mean no token any more.
    pub fn forget_expired_revocations(&self, now: UnixTime) {
        let leeway = self.snapshot.current().limits().leeway;
        self.revocations.forget_expired(now, leeway);
    }

    /// Hands the record of an act over: under the id of its entry, or a new one. Not durable yet: see
    /// [`Gate::durable`].
    ///
    /// # Errors
    /// [`DenyReason::AuditUnavailable`] when the log does not take it.
    pub fn record_act(&self, act: &AdminAct<'_>, now: UnixTime) -> Result<(RecordId, Position), Denial> {
        let record_id = match (act.entry, act.outcome) {
            (Some(entry), ActOutcome::Applied | ActOutcome::NotDurable) => entry.id,
            (Some(_) | None, _) => self.record_ids.next(now),
        };
        let snapshot = self.snapshot.current();
        let position = self.submit(|out| {
            AdminRecord {
                record_id,
                time: now,
                act: act.act,
                author: act.author,
                target: target_of(act),
                outcome: act.outcome,
                reason: act.detail,
                config_digest: snapshot.config_digest(),
                gate: node(self),
            }
            .write_json(out);
        })?;
        Ok((record_id, position))
    }

    /// Counts somebody who was refused at the control plane before anybody was known.
    pub fn count_control_refusal(&self, reason: DenyReason, client_ip: Option<IpAddr>) {
        self.refusals.count(Source {
            server: Some(Arc::from(records::CONTROL_PLANE)),
            reason,
            client_ip,
        });
    }
}

/// How long a machine that is known by its certificate stays revoked when nobody says until when: nothing bounds how
/// long its certificates serve, and they do not say at which login they were issued.
const CERTIFICATES_REVOKED: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

fn target_of<'a>(act: &AdminAct<'a>) -> Option<ActTarget<'a>> {
    if let Some(entry) = act.entry {
        return Some(ActTarget {
            kind: entry.kind.code(),
            id: &entry.target,
            issuer: &entry.issuer,
            tenant: entry.tenant.as_deref(),
            expires: Some(entry.expires),
            revoked_at: Some(entry.revoked_at),
            note: entry.reason.as_deref(),
        });
    }
    let request = act.request?;
    let (kind, id) = request.target();
    Some(ActTarget {
        kind: kind.code(),
        id,
        issuer: request.issuer(),
        tenant: request.tenant(),
        expires: None,
        revoked_at: None,
        note: request.reason(),
    })
}
