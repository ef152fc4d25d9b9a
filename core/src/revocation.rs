//! What was revoked before its time: single tokens, sessions, clients and principals.
//!
//! Owns [`RevocationList`], what may stand in it, and (in `journal`) the form in which it survives a restart. The list is
//! asked on every use of a token, also of a remembered one. Never does I/O: the embedder makes a revocation durable, and
//! reads it back before it listens. A shard of the map is the one lock here, held for one look-up.

mod journal;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use serde::Deserialize;

use crate::denial::{Denial, DenyReason};
use crate::identity::Principal;
use crate::record_id::RecordId;
use crate::time::UnixTime;

pub use journal::{Journal, JournalError, encode, journal_header, read_journal};

/// What a revocation names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RevokedKind {
    /// Every token of a client (`client_id` or `azp`), issued up to the revocation.
    Client,
    /// One token, by its `jti`.
    Jti,
    /// Every token of a login, by its `sid` (OpenID Connect Back-Channel Logout section 2.1).
    Session,
    /// Every token in which somebody is the subject or the actor, issued up to the revocation.
    Subject,
}

impl RevokedKind {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::Client, Self::Jti, Self::Session, Self::Subject];

    /// The member that names it in an entry.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Client => "client_id",
            Self::Jti => "jti",
            Self::Session => "session",
            Self::Subject => "subject",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Jti => 1,
            Self::Session => 2,
            Self::Subject => 3,
        }
    }

    /// Whether a token that was issued later is another matter: somebody has logged in again.
    const fn ends_with_a_later_login(self) -> bool {
        match self {
            Self::Client | Self::Subject => true,
            Self::Jti | Self::Session => false,
        }
    }

    const fn operator(self) -> &'static str {
        match self {
            Self::Client => "the token's client was revoked",
            Self::Jti => "the token was revoked",
            Self::Session => "the token's session was revoked",
            Self::Subject => "the token's subject or actor was revoked",
        }
    }
}

/// One revocation in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevocationEntry {
    /// Its name: that of the record of the act.
    pub id: RecordId,
    /// The issuer that knows the target, exactly as tokens name it.
    pub issuer: Box<str>,
    /// The tenant in which it holds; `None` for every tenant.
    pub tenant: Option<Box<str>>,
    /// What the target is.
    pub kind: RevokedKind,
    /// The target's name.
    pub target: Box<str>,
    /// When the last token that it could mean has expired; the tolerated clock difference is added on each look-up.
    pub expires: UnixTime,
    /// When it was revoked.
    pub revoked_at: UnixTime,
    /// Why, in the operator's words.
    pub reason: Option<Box<str>>,
}

impl RevocationEntry {
    fn is_in_force(&self, now: UnixTime, leeway: Duration) -> bool {
        now < self.expires.after(leeway)
    }
}

/// A revocation as an operator or an identity provider writes it: one strict JSON object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevocationRequest {
    issuer: Box<str>,
    tenant: Option<Box<str>>,
    kind: RevokedKind,
    target: Box<str>,
    expires: Option<u64>,
    revoked_at: Option<u64>,
    reason: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    issuer: Box<str>,
    tenant: Option<Box<str>>,
    jti: Option<Box<str>>,
    subject: Option<Box<str>>,
    session: Option<Box<str>>,
    client_id: Option<Box<str>>,
    expires: Option<u64>,
    revoked_at: Option<u64>,
    reason: Option<Box<str>>,
}

/// Where a revocation comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevocationSource {
    /// Somebody's act, now: what it names is revoked as of now, even if it was revoked before.
    Act,
    /// A list that is read again and again: an entry that is known keeps the time at which it was first seen.
    List,
}

/// The bounds of revocations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RevocationBounds {
    /// Entries in force at once.
    pub revocations_max: usize,
    /// How long a token may live that an entry without `expires` means.
    pub lifetime_max: Duration,
    /// Tolerated clock difference to an issuer.
    pub leeway: Duration,
}

/// Why something is not revoked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RevocationError {
    /// Its `expires` has passed, with the tolerated clock difference: no token that it means is accepted any more.
    #[error("`expires` has passed: no token that this means would be accepted")]
    Expired,
    /// As many revocations as allowed are in force.
    #[error("{0} revocations are in force, the most that are kept (`limits.revocations_max`): nothing was revoked")]
    Full(usize),
    /// `revoked_at` lies in the future.
    #[error("`revoked_at` lies in the future")]
    Future,
    /// The issuer is none of the configuration's, or one whose tokens are stated to be used until they expire.
    #[error("`{0}` is no issuer with `revocation: feed` or `introspect` in the configuration")]
    Issuer(Box<str>),
    /// The text is no JSON object of the known members.
    #[error("not a revocation: {0}")]
    Malformed(String),
    /// Neither `expires` nor `revoked_at` stands in an entry of a list: it would begin anew with each reading.
    #[error("an entry of a list needs `expires` or `revoked_at`")]
    TimeMissing,
    /// Not exactly one target.
    #[error("exactly one of `jti`, `subject`, `session` and `client_id` is needed")]
    Target,
    /// A text is empty, too long, or holds a control character.
    #[error("`{0}` is empty, too long, or holds a control character")]
    Text(&'static str),
}

impl RevocationRequest {
    /// Reads one JSON object of `issuer`, one of `jti`, `subject`, `session` and `client_id`, and perhaps `tenant`,
    /// `expires`, `revoked_at` (seconds since the epoch) and `reason`.
    ///
    /// # Errors
    /// [`RevocationError`]; unknown and repeated members are refused.
    pub fn parse(json: &[u8]) -> Result<Self, RevocationError> {
        let written: Written =
            serde_json::from_slice(json).map_err(|error| RevocationError::Malformed(told(&error)))?;
        let mut targets = [
            (RevokedKind::Client, written.client_id),
            (RevokedKind::Jti, written.jti),
            (RevokedKind::Session, written.session),
            (RevokedKind::Subject, written.subject),
        ]
        .into_iter()
        .filter_map(|(kind, target)| Some((kind, target?)));
        let (Some((kind, target)), None) = (targets.next(), targets.next()) else {
            return Err(RevocationError::Target);
        };
        let request = Self {
            issuer: written.issuer,
            tenant: written.tenant,
            kind,
            target,
            expires: written.expires,
            revoked_at: written.revoked_at,
            reason: written.reason,
        };
        let texts = [
            ("issuer", Some(&request.issuer)),
            ("tenant", request.tenant.as_ref()),
            (kind.code(), Some(&request.target)),
            ("reason", request.reason.as_ref()),
        ];
        let faulty = texts
            .into_iter()
            .find(|(_, text)| text.is_some_and(|text| !is_plain(text)));
        if let Some((name, _)) = faulty {
            return Err(RevocationError::Text(name));
        }
        Ok(request)
    }

    /// The issuer that it names.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What it names.
    pub fn target(&self) -> (RevokedKind, &str) {
        (self.kind, &self.target)
    }

    /// The tenant it is meant for; `None` for all.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Why, in the operator's words.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The entry that it asks for at `now`.
    fn entry(
        &self,
        id: RecordId,
        source: RevocationSource,
        now: UnixTime,
        bounds: &RevocationBounds,
    ) -> Result<RevocationEntry, RevocationError> {
        let given = self.revoked_at.map(UnixTime::from_secs);
        // The clock of who revokes may be ahead of ours as an issuer's may.
        if given.is_some_and(|at| now.after(bounds.leeway) < at) {
            return Err(RevocationError::Future);
        }
        if source == RevocationSource::List && self.expires.is_none() && given.is_none() {
            return Err(RevocationError::TimeMissing);
        }
        let revoked_at = given.unwrap_or(now);
        // A token that was issued at the revocation may be accepted for so long; one that names a later issue is not
        // meant, or is meant by its very name and then has its own end.
        let expires = self.expires.map_or_else(
            || revoked_at.after(bounds.lifetime_max).after(bounds.leeway),
            UnixTime::from_secs,
        );
        let entry = RevocationEntry {
            id,
            issuer: self.issuer.clone(),
            tenant: self.tenant.clone(),
            kind: self.kind,
            target: self.target.clone(),
            expires,
            revoked_at,
            reason: self.reason.clone(),
        };
        match entry.is_in_force(now, bounds.leeway) {
            true => Ok(entry),
            false => Err(RevocationError::Expired),
        }
    }
}

/// What came of a revocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Revoked {
    /// It is in force from now on, and has to be made durable.
    Changed(Arc<RevocationEntry>),
    /// It was in force already, for as long and as of the same time.
    Unchanged(Arc<RevocationEntry>),
}

impl Revoked {
    /// The entry in force.
    pub fn entry(&self) -> &Arc<RevocationEntry> {
        match self {
            Self::Changed(entry) | Self::Unchanged(entry) => entry,
        }
    }
}

/// Everything that is revoked. While nothing is, a look-up costs four loads and a branch.
///
/// Targets stand at keyed 128-bit hashes of their names: nobody can make two of them meet without the keys, which are of
/// this process alone, and what is found is compared, so that none is meant by mistake.
#[derive(Debug)]
pub struct RevocationList {
    entries: DashMap<u128, Arc<RevocationEntry>>,
    /// Entries of each kind: a kind without any is not looked up.
    counts: [AtomicUsize; 4],
    hashers: [RandomState; 2],
}

impl Default for RevocationList {
    fn default() -> Self {
        Self {
            entries: DashMap::new(),
            counts: Default::default(),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }
}

impl RevocationList {
    /// Entries in force, or expired and not yet forgotten.
    pub fn len(&self) -> usize {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(count.load(Ordering::Acquire)))
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every entry, in the order of their ids, which is that of their acts. Copies the list: no request waits for it.
    pub fn entries(&self) -> Vec<Arc<RevocationEntry>> {
        let mut entries: Vec<_> = self.entries.iter().map(|entry| Arc::clone(entry.value())).collect();
        entries.sort_unstable_by_key(|entry| entry.id);
        entries
    }

    /// Puts what was asked for in force, at once and for all threads. One caller at a time.
    ///
    /// # Errors
    /// [`RevocationError`]; nothing has changed then.
    pub(crate) fn revoke(
        &self,
        request: &RevocationRequest,
        id: RecordId,
        source: RevocationSource,
        now: UnixTime,
        bounds: &RevocationBounds,
    ) -> Result<Revoked, RevocationError> {
        let mut entry = request.entry(id, source, now, bounds)?;
        let known = self.find(entry.kind, entry.tenant.as_deref(), &entry.issuer, &entry.target);
        if let Some(known) = known.filter(|known| known.is_in_force(now, bounds.leeway)) {
            if source == RevocationSource::List && request.revoked_at.is_none() {
                entry.revoked_at = known.revoked_at;
            }
            // What is revoked stays so for at least as long as anybody asked for.
            entry.expires = entry.expires.max(known.expires);
            entry.revoked_at = entry.revoked_at.max(known.revoked_at);
            if (entry.expires, entry.revoked_at) == (known.expires, known.revoked_at) {
                return Ok(Revoked::Unchanged(known));
            }
        } else if bounds.revocations_max <= self.len() {
            self.forget_expired(now, bounds.leeway);
            if bounds.revocations_max <= self.len() {
                return Err(RevocationError::Full(bounds.revocations_max));
            }
        }
        let entry = Arc::new(entry);
        self.put(Arc::clone(&entry));
        Ok(Revoked::Changed(entry))
    }

    /// Puts an entry back in force that was made durable before; no bound keeps it out.
    pub(crate) fn restore(&self, entry: RevocationEntry) {
        self.put(Arc::new(entry));
    }

    /// Forgets what no token can be meant by any more.
    pub(crate) fn forget_expired(&self, now: UnixTime, leeway: Duration) {
        self.entries.retain(|_, entry| {
            let stays = entry.is_in_force(now, leeway);
            if !stays && let Some(count) = self.counts.get(entry.kind.index()) {
                count.fetch_sub(1, Ordering::AcqRel);
            }
            stays
        });
    }

    /// Checks that nothing about `principal` and its token is revoked at `now`.
    ///
    /// Four loads and a branch while the list is empty; else some ten look-ups, of 0.1 us each, of the kinds that it holds.
    pub(crate) fn check(&self, principal: &Principal, now: UnixTime, leeway: Duration) -> Result<(), Denial> {
        match self.is_empty() {
            true => Ok(()),
            false => self.check_all(principal, now, leeway),
        }
    }

    #[cold]
    fn check_all(&self, principal: &Principal, now: UnixTime, leeway: Duration) -> Result<(), Denial> {
        let token = principal.token();
        let issuer: &str = token.map_or(principal.subject().issuer(), |token| token.issuer());
        let (subject, actor) = (principal.subject(), principal.actor());
        // The actor stands under the token's issuer too: `act.iss` may name one that takes no revocations here.
        let named: [(RevokedKind, &str, Option<&str>); 6] = [
            (RevokedKind::Jti, issuer, token.and_then(|token| token.jti())),
            (RevokedKind::Session, issuer, token.and_then(|token| token.session())),
            (RevokedKind::Subject, subject.issuer(), Some(subject.id())),
            (RevokedKind::Subject, actor.issuer(), Some(actor.id())),
            (RevokedKind::Subject, issuer, Some(actor.id())),
            (RevokedKind::Client, issuer, Some(principal.client_id())),
        ];
        for (kind, issuer, target) in named {
            let Some(target) = target.filter(|_| self.holds(kind)) else {
                continue;
            };
            for tenant in [None, Some(&**principal.tenant())] {
                let meant = self.find(kind, tenant, issuer, target).is_some_and(|entry| {
                    entry.is_in_force(now, leeway)
                        && is_meant(&entry, token.and_then(|token| token.issued_at()), leeway)
                });
                if meant {
                    return Err(Denial::new(DenyReason::TokenRevoked, kind.operator()));
                }
            }
        }
        Ok(())
    }

    fn holds(&self, kind: RevokedKind) -> bool {
        self.counts
            .get(kind.index())
            .is_some_and(|count| 0 < count.load(Ordering::Acquire))
    }

    /// The entry of exactly this target.
    fn find(
        &self,
        kind: RevokedKind,
        tenant: Option<&str>,
        issuer: &str,
        target: &str,
    ) -> Option<Arc<RevocationEntry>> {
        let place = self.place(kind, tenant, issuer, target);
        let entry = Arc::clone(self.entries.get(&place)?.value());
        let same = entry.kind == kind
            && *entry.issuer == *issuer
            && entry.tenant.as_deref() == tenant
            && *entry.target == *target;
        same.then_some(entry)
    }

    fn put(&self, entry: Arc<RevocationEntry>) {
        let place = self.place(entry.kind, entry.tenant.as_deref(), &entry.issuer, &entry.target);
        let kind = entry.kind;
        if self.entries.insert(place, entry).is_none()
            && let Some(count) = self.counts.get(kind.index())
        {
            // After the insertion: whoever sees the count finds the entry.
            count.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn place(&self, kind: RevokedKind, tenant: Option<&str>, issuer: &str, target: &str) -> u128 {
        let [low, high] = self
            .hashers
            .each_ref()
            .map(|hasher| u128::from(hasher.hash_one((kind, tenant, issuer, target))));
        (high << 64) | low
    }
}

/// Whether a token of this `iat` is one that the entry means. Without `iat` it is; and the issuer's clock may be ahead of
/// ours, so one that says to be issued a little later is as well.
fn is_meant(entry: &RevocationEntry, issued_at: Option<UnixTime>, leeway: Duration) -> bool {
    !entry.kind.ends_with_a_later_login()
        || issued_at.is_none_or(|issued_at| issued_at.secs() <= entry.revoked_at.after(leeway).secs())
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

/// What is wrong with the JSON, without a value of it.
#[cold]
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let names_a_member = ["unknown field", "missing field", "duplicate field"]
        .into_iter()
        .any(|start| text.starts_with(start));
    match error.classify() {
        _ if names_a_member => text.chars().filter(|letter| !letter.is_control()).take(300).collect(),
        serde_json::error::Category::Data => "a member has the wrong type".to_owned(),
        _ => "it is no JSON object".to_owned(),
    }
}

/// Bytes of an issuer, a target, a tenant or a reason.
const TEXT_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests;
