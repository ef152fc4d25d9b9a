//! The proof that a token was verified, and what it says.
//!
//! Owns [`VerifiedToken`]. Only `token::verify` makes one; what may change while it lies in the cache (time, audience)
//! is checked on every use. Never holds the token itself, only its digest.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::crypto::{hex, sha256};
use crate::denial::{Denial, DenyReason};
use crate::jwks::{Generation, KeySet};
use crate::time::UnixTime;
use crate::token::sources::Sources;
use crate::token::{Confirmation, Issuer, TokenLimits};

/// The SHA-256 digest of a whole token, signature included: two tokens that differ in one byte have two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        Self(sha256(token.as_bytes()))
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// In hexadecimal, as records have it.
impl std::fmt::Display for TokenDigest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&hex(&self.0))
    }
}

impl Hash for TokenDigest {
    /// A digest is spread evenly already: eight bytes of it will do.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// One actor of an `act` claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Actor {
    /// Its `sub`.
    pub subject: Arc<str>,
    /// Its `iss`, the token's issuer when it names none.
    pub issuer: Arc<str>,
}

/// Who may become the actor, by a `may_act` claim (RFC 8693 section 4.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MayAct {
    /// Whom it names.
    actor: Actor,
    /// Whether it says more about that somebody than its `sub` and `iss`, which cannot be judged here.
    narrower: bool,
}

impl MayAct {
    pub(super) const fn new(actor: Actor, narrower: bool) -> Self {
        Self { actor, narrower }
    }

    /// Whether it lets this somebody act.
    pub(crate) fn permits(&self, subject: &str, issuer: &str) -> bool {
        !self.narrower && *self.actor.subject == *subject && *self.actor.issuer == *issuer
    }
}

/// What a token says, read and typed.
pub(super) struct Claims {
    pub(super) subject: Arc<str>,
    pub(super) client_id: Arc<str>,
    pub(super) clients_own: bool,
    pub(super) scopes: Box<[Box<str>]>,
    pub(super) audiences: Box<[Box<str>]>,
    pub(super) expires: u64,
    pub(super) not_before: Option<u64>,
    pub(super) issued_at: Option<u64>,
    pub(super) jti: Option<Box<str>>,
    pub(super) session: Option<Box<str>>,
    pub(super) acr: Option<Box<str>>,
    pub(super) amr: Box<[Box<str>]>,
    pub(super) auth_time: Option<u64>,
    pub(super) actors: Box<[Actor]>,
    pub(super) may_act: Option<MayAct>,
    pub(super) human: Option<Arc<str>>,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) groups: Box<[Box<str>]>,
    pub(super) roles: Box<[Box<str>]>,
    pub(super) confirmation: Confirmation,
    pub(super) text: Box<str>,
}

/// A token whose signature is its issuer's, or which its issuer has said to be active, and whose claims are well typed.
pub struct VerifiedToken {
    rules: Arc<Issuer>,
    digest: TokenDigest,
    /// The key set that verified the signature; `None` for a token that its issuer was asked about alone.
    generation: Option<Generation>,
    /// When the key set was fetched, in nanoseconds: a later fetch of the same keys confirms the token anew.
    keys_fetched_at: AtomicU64,
    /// When the issuer last said that the token is active, in nanoseconds; zero for never.
    introspected_at: AtomicU64,
    /// From where it was used, since it was first remembered.
    sources: Sources,
    claims: Claims,
}

/// Tells the digest only: claims are personal.
impl std::fmt::Debug for VerifiedToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("VerifiedToken")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl VerifiedToken {
    pub(super) fn new(rules: Arc<Issuer>, digest: TokenDigest, keys: &KeySet, claims: Claims) -> Self {
        Self {
            rules,
            digest,
            generation: Some(keys.generation()),
            keys_fetched_at: AtomicU64::new(keys.fetched_at().nanos()),
            introspected_at: AtomicU64::new(0),
            sources: Sources::default(),
            claims,
        }
    }

    /// A token of which its issuer has said at `now` that it is active, with these claims.
    pub(super) fn of_answer(rules: Arc<Issuer>, digest: TokenDigest, claims: Claims, now: UnixTime) -> Self {
        Self {
            rules,
            digest,
            generation: None,
            keys_fetched_at: AtomicU64::new(0),
            introspected_at: AtomicU64::new(now.nanos()),
            sources: Sources::default(),
            claims,
        }
    }

    /// The issuer has said at `now` that the token is active.
    pub(super) fn introspected(&self, now: UnixTime) {
        self.introspected_at.store(now.nanos(), Ordering::Relaxed);
    }

    /// The key set that verified the signature, when one did.
    pub(super) const fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// Whether `keys` are those that verified the token; if so, their fetch is the newest evidence for it.
    pub(super) fn is_confirmed_by(&self, keys: &KeySet) -> bool {
        let same = self.generation == Some(keys.generation());
        let fetched_at = keys.fetched_at().nanos();
        // Written only when it changes, so that workers do not take the line from each other.
        if same && self.keys_fetched_at.load(Ordering::Relaxed) < fetched_at {
            self.keys_fetched_at.store(fetched_at, Ordering::Relaxed);
        }
        same
    }

    /// Checks `exp`, `nbf`, `iat` and the lifetime.
    pub(super) fn check_times(&self, now: UnixTime, limits: &TokenLimits) -> Result<(), Denial> {
        let now = now.secs();
        let leeway = limits.leeway.as_secs();
        let claims = &self.claims;
        if claims.expires.saturating_add(leeway) <= now {
            return Err(Denial::new(DenyReason::TokenExpired, "the token has expired"));
        }
        let latest = now.saturating_add(leeway);
        if claims.not_before.is_some_and(|not_before| latest < not_before) {
            return Err(Denial::new(DenyReason::TokenNotYetValid, "`nbf` lies in the future"));
        }
        if claims.issued_at.is_some_and(|issued_at| latest < issued_at) {
            return Err(Denial::new(DenyReason::TokenNotYetValid, "`iat` lies in the future"));
        }
        // What has no start has at least this long to live.
        let start = claims.issued_at.or(claims.not_before).unwrap_or(now);
        let lifetime_max = self.rules.token_lifetime_max().unwrap_or(limits.lifetime_max);
        if lifetime_max.as_secs() < claims.expires.saturating_sub(start) {
            return Err(Denial::new(
                DenyReason::TokenLifetime,
                "the token is valid for longer than allowed: it is a static secret",
            ));
        }
        Ok(())
    }

    /// Checks that one of the token's audiences is one of ours, byte by byte.
    pub(super) fn check_audience(&self, ours: &[Arc<str>]) -> Result<(), Denial> {
        let is_ours = |audience: &str| ours.iter().any(|known| **known == *audience);
        if self.claims.audiences.iter().any(|audience| is_ours(audience)) {
            Ok(())
        } else {
            Err(Denial::new(
                DenyReason::TokenAudience,
                "the token is for another resource",
            ))
        }
    }

    /// The issuer's URL.
    pub fn issuer(&self) -> &Arc<str> {
        self.rules.url()
    }

    /// The rules under which the token was verified.
    pub(crate) const fn rules(&self) -> &Arc<Issuer> {
        &self.rules
    }

    /// When the evidence for the token is from: when the keys that verify it were fetched, or when its issuer was
    /// asked, where no keys were used.
    pub fn evidence_at(&self) -> UnixTime {
        let at = match self.generation {
            Some(_) => &self.keys_fetched_at,
            None => &self.introspected_at,
        };
        UnixTime::from_nanos(at.load(Ordering::Relaxed))
    }

    /// When the issuer last said that the token is active; `None` when it was not asked.
    pub fn introspected_at(&self) -> Option<UnixTime> {
        match self.introspected_at.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(UnixTime::from_nanos(nanos)),
        }
    }

    /// How the token was verified, as records name it: `jwt` by its signature, `opaque` by its issuer's word alone.
    pub const fn kind(&self) -> &'static str {
        match self.generation {
            Some(_) => "jwt",
            None => "opaque",
        }
    }

    /// From where it was used, since it was first remembered.
    pub(crate) const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// `sub`.
    pub const fn subject(&self) -> &Arc<str> {
        &self.claims.subject
    }

    /// `client_id`, or `azp`.
    pub const fn client_id(&self) -> &Arc<str> {
        &self.claims.client_id
    }

    /// Whether the client got the token for itself, without a person: its `sub` is the client (RFC 9068 section 2.2), or
    /// it has a mark of its issuer's machines.
    pub const fn is_clients_own(&self) -> bool {
        self.claims.clients_own
    }

    /// The scopes, sorted, each once.
    pub fn scopes(&self) -> &[Box<str>] {
        &self.claims.scopes
    }

    /// Whether the token has this very scope; what a scope implies is the scope table's.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.claims
            .scopes
            .binary_search_by(|held| str::cmp(held, scope))
            .is_ok()
    }

    /// `aud`, at least one.
    pub fn audiences(&self) -> &[Box<str>] {
        &self.claims.audiences
    }

    /// `exp`.
    pub const fn expires(&self) -> UnixTime {
        UnixTime::from_secs(self.claims.expires)
    }

    /// `iat`; `None` when its issuer leaves it out.
    pub fn issued_at(&self) -> Option<UnixTime> {
        self.claims.issued_at.map(UnixTime::from_secs)
    }

    /// `jti`.
    pub fn jti(&self) -> Option<&str> {
        self.claims.jti.as_deref()
    }

    /// `sid`: the login that the token belongs to (OpenID Connect Back-Channel Logout section 2.1).
    pub fn session(&self) -> Option<&str> {
        self.claims.session.as_deref()
    }

    /// The digest of the whole token.
    pub const fn digest(&self) -> TokenDigest {
        self.digest
    }

    /// The bytes of that digest.
    pub(crate) const fn digest_bytes(&self) -> &[u8; 32] {
        self.digest.as_bytes()
    }

    /// `acr` (RFC 9470).
    pub fn acr(&self) -> Option<&str> {
        self.claims.acr.as_deref()
    }

    /// `amr` (RFC 8176), empty when absent.
    pub fn amr(&self) -> &[Box<str>] {
        &self.claims.amr
    }

    /// `auth_time`, in seconds since the epoch.
    pub const fn auth_time(&self) -> Option<u64> {
        self.claims.auth_time
    }

    /// The actors of `act`, the present one first; only that one counts, the others are history.
    pub fn actors(&self) -> &[Actor] {
        &self.claims.actors
    }

    /// Who alone may act for the subject, when the token says so.
    pub(crate) const fn may_act(&self) -> Option<&MayAct> {
        self.claims.may_act.as_ref()
    }

    /// The human in the claim that the issuer's form names.
    pub(crate) const fn human(&self) -> Option<&Arc<str>> {
        self.claims.human.as_ref()
    }

    /// The tenant that it belongs to, when its issuer's rules or its claim tell.
    pub const fn tenant(&self) -> Option<&Arc<str>> {
        self.claims.tenant.as_ref()
    }

    /// What the token is bound to: whoever accepts it has proof of that, see [`Confirmation::binding`].
    pub const fn confirmation(&self) -> &Confirmation {
        &self.claims.confirmation
    }

    /// The subject's groups, from the issuer's mapped claim; none where roles come from elsewhere.
    pub fn groups(&self) -> &[Box<str>] {
        &self.claims.groups
    }

    /// The subject's roles, from the issuer's mapped claim, likewise.
    pub fn roles(&self) -> &[Box<str>] {
        &self.claims.roles
    }

    /// Every claim: the payload's JSON as the issuer wrote it, strict, without duplicate keys.
    pub fn claims_json(&self) -> &str {
        &self.claims.text
    }
}
