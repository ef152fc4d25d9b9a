//! Verification of access tokens: signed JWTs (RFC 7519, RFC 9068) under the rules of RFC 8725, and tokens that their
//! issuer is asked about (RFC 7662).
//!
//! Owns `verify`, the rules of an [`Issuer`], the proof that is a [`VerifiedToken`] and the cache of such proofs.
//! A token chooses neither its key nor its algorithm: the issuer's rules and keys do, and the issuer is one that the
//! server accepts. Never reads `jwk`, `jku`, `x5u` or `x5c` of a token, never fetches, never prints a token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::credential::BearerToken;
use crate::denial::{Denial, DenyReason};
use crate::json;
use crate::jwks::refresh::{FetchError, Fetched};
use crate::jwks::{FindError, KeySet};
use crate::limit::Rate;
use crate::time::UnixTime;

mod cache;
mod claims;
mod dpop;
pub mod explain;
mod failures;
mod introspection;
mod issuer;
mod jws;
mod mapping;
mod nonce;
mod profile;
mod replay;
mod sender;
mod sources;
mod target;
pub mod raw;
mod verified;

pub use cache::TokenCache;
pub use dpop::PROOF_ALGORITHMS;
pub(crate) use failures::Failures;
pub use introspection::{IntrospectedTokens, IntrospectionRequest, IntrospectionRules};
pub(crate) use issuer::is_tenant;
pub use issuer::{
    IdentityForm, Issuer, IssuerError, IssuerParts, RevocationMode, RolesFrom, TENANT_BYTES_MAX, TokenTenant,
};
pub use mapping::{MachineMark, MarkTest, ScopeForm};
pub(crate) use nonce::Nonces;
pub use profile::Profile;
pub(crate) use replay::{ReplayLimits, SeenProofs};
pub use sender::{Binding, Confirmation, SenderRules};
pub(crate) use sender::{SenderCheck, Shown};
pub(crate) use sources::Grown;
pub use target::Target;
pub use verified::{Actor, TokenDigest, VerifiedToken};

use jws::{Decoded, Header, Signed};

/// Bounds of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenLimits {
    /// Bytes of the whole token.
    pub token_bytes_max: usize,
    /// Longest `exp - iat`.
    pub lifetime_max: Duration,
    /// Tolerated clock difference to the issuer.
    pub leeway: Duration,
    /// Age at which a key set serves no longer.
    pub keys_age_max: Duration,
    /// Time of one question to an issuer.
    pub introspection_deadline: Duration,
    /// Bytes of its answer.
    pub introspection_bytes_max: usize,
    /// How long an answer that a token is active serves; the token's own end comes first.
    pub introspection_cached_max: Duration,
    /// How long an answer that it is not serves.
    pub introspection_refused_cached: Duration,
    /// How often tokens of one issuer may fail that one source sends.
    pub failures: Rate,
}

/// An accepted issuer and its keys of the moment.
#[derive(Clone, Debug)]
pub struct IssuerKeys {
    /// The issuer's rules.
    pub issuer: Arc<Issuer>,
    /// Its key set; `None` while none was ever fetched.
    pub keys: Option<Arc<KeySet>>,
    /// What its tokens may call the resource in `aud`.
    pub audiences: Arc<[Arc<str>]>,
}

/// What came of a verification that did not refuse.
#[derive(Clone, Debug)]
pub enum Verification {
    /// The issuer must be asked about the token: ask once, then verify again with its answer.
    NeedsIntrospection {
        /// The question.
        request: IntrospectionRequest,
        /// What to answer when it cannot be asked.
        otherwise: Denial,
    },
    /// The issuer's keys may be too old or missing: fetch once, then verify again.
    NeedsKeys {
        /// The issuer's URL.
        issuer: Arc<str>,
        /// What to answer when no fetch can be made or it did not help.
        otherwise: Denial,
    },
    /// The token is the issuer's, for this resource, and valid now.
    Verified(Arc<VerifiedToken>),
}

/// What an issuer answered about the token that is being verified.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// Who was asked.
    pub(crate) issuer: Arc<str>,
    /// The answer, or why there is none.
    pub(crate) result: Result<Arc<Fetched>, FetchError>,
}

/// What a token is verified by.
pub(crate) struct Terms<'t> {
    /// The issuers that the resource accepts.
    pub(crate) accepted: &'t [IssuerKeys],
    /// The bounds.
    pub(crate) limits: &'t TokenLimits,
    /// What was verified before.
    pub(crate) cache: &'t TokenCache,
    /// What failed before.
    pub(crate) failures: &'t Failures,
    /// Where the token comes from.
    pub(crate) source: IpAddr,
    /// The time.
    pub(crate) now: UnixTime,
    /// What the issuer answered, when it was asked for this request.
    pub(crate) answer: Option<&'t Answered>,
}

/// Verifies a bearer token by `terms`.
///
/// A token seen before costs a digest and a look-up, with everything that may have changed since checked again; a new
/// one 20 to 50 us, with ES384 700 us; one that its issuer is asked about, a round trip.
///
/// # Errors
/// The `Token…` reasons of [`DenyReason`], [`DenyReason::IntrospectionUnavailable`] when an answer is none, and
/// [`DenyReason::VerificationLimited`] for a source whose tokens failed too often.
pub(crate) fn verify(token: BearerToken<'_>, terms: &Terms<'_>) -> Result<Verification, Denial> {
    let text = token.as_str();
    if text.len() > terms.limits.token_bytes_max {
        return Err(Denial::new(
            DenyReason::TokenTooLarge,
            "the token is longer than the limit",
        ));
    }
    let digest = TokenDigest::of(text);
    let found = match terms.cache.find(&digest) {
        Some(known) => match terms.current(&known) {
            Some(entry) if terms.is_asked_anew(&known, entry) => {
                let signed = known.generation().is_some().then_some(&known);
                terms.introspected(text, digest, entry, signed)?
            }
            Some(_) => Verification::Verified(known),
            None => terms.verify_new(text, digest)?,
        },
        None => terms.verify_new(text, digest)?,
    };
    if let Verification::Verified(verified) = &found {
        let entry = terms.entry_of(verified.issuer()).ok_or_else(not_accepted)?;
        terms.check_use(verified, entry)?;
    }
    Ok(found)
}

impl<'t> Terms<'t> {
    /// The accepted issuer of this URL, compared byte by byte (RFC 7519 section 4.1.1).
    fn entry_of(&self, url: &str) -> Option<&'t IssuerKeys> {
        self.accepted.iter().find(|entry| &**entry.issuer.url() == url)
    }

    /// Whether a key set is not too old.
    fn serves(&self, keys: &KeySet) -> bool {
        self.now.since(keys.fetched_at()) <= self.limits.keys_age_max
    }

    /// Whether the token may be used now, for this resource.
    fn check_use(&self, verified: &VerifiedToken, entry: &IssuerKeys) -> Result<(), Denial> {
        verified.check_times(self.now, self.limits)?;
        verified.check_audience(&entry.audiences)
    }

    /// The issuer of `known`, if nothing that its proof depends on has changed since: it is accepted under the same
    /// rules, and its keys, where they were used, are the same and not too old.
    fn current(&self, known: &VerifiedToken) -> Option<&'t IssuerKeys> {
        let entry = self.entry_of(known.issuer())?;
        let same_rules = Arc::ptr_eq(&entry.issuer, known.rules()) || entry.issuer == *known.rules();
        let same_keys = known.generation().is_none()
            || entry
                .keys
                .as_ref()
                .is_some_and(|keys| self.serves(keys) && known.is_confirmed_by(keys));
        (same_rules && same_keys).then_some(entry)
    }

    /// Whether the issuer must be asked about a token that is known, because it never was or too long ago.
    fn is_asked_anew(&self, known: &VerifiedToken, entry: &IssuerKeys) -> bool {
        let Some(rules) = entry.issuer.introspection() else {
            return false;
        };
        let proven = known.generation().is_some() && rules.tokens == IntrospectedTokens::Opaque;
        !proven
            && known
                .introspected_at()
                .is_none_or(|at| self.limits.introspection_cached_max < self.now.since(at))
    }

    /// Everything but time and audience, for a token that the cache does not know, or knows under other rules.
    fn verify_new(&self, text: &str, digest: TokenDigest) -> Result<Verification, Denial> {
        let (signed, decoded) = match signed_parts(text) {
            Ok(parts) => parts,
            Err(denial) => {
                return match self.asked_about_opaque()? {
                    Some(entry) => self.introspected(text, digest, entry, None),
                    None => Err(denial),
                };
            }
        };
        let header = Header::read(&decoded.header)?;
        let mut scratch = json::Scratch::default();
        let claims = json::parse(&decoded.payload, &mut scratch, jws::JSON_LIMITS)
            .map_err(|_| Denial::new(DenyReason::TokenMalformed, "the claims are not strict JSON"))?;
        let entry = self.entry_of(named_issuer(claims.root())?).ok_or_else(not_accepted)?;
        let asked = entry.issuer.introspection().map(|rules| rules.tokens);
        if asked == Some(IntrospectedTokens::All) {
            // Its issuer may well know another kind of token as active.
            jws::check_foreign(&header, claims.root())?;
            return self.introspected(text, digest, entry, None);
        }
        let keys = match self.check_signature(&signed, &header, &decoded.signature, claims.root(), entry)? {
            Signature::Good(keys) => keys,
            Signature::Unknown(reason) => return Ok(needs_keys(&entry.issuer, reason)),
        };
        let verified = Arc::new(claims::read(claims, &entry.issuer, digest, keys)?);
        self.cache.insert(Arc::clone(&verified));
        match asked {
            Some(IntrospectedTokens::OpaqueAndRevoked) => self.introspected(text, digest, entry, Some(&verified)),
            _ => Ok(Verification::Verified(verified)),
        }
    }

    /// Whether the token's signature is its issuer's.
    fn check_signature(
        &self,
        signed: &Signed<'_>,
        header: &Header,
        signature: &[u8],
        claims: json::Node<'_>,
        entry: &'t IssuerKeys,
    ) -> Result<Signature<'t>, Denial> {
        let issuer = &entry.issuer;
        if !issuer.allows(header.algorithm) {
            return Err(Denial::new(
                DenyReason::TokenAlgorithm,
                "the algorithm is not allowed for the issuer",
            ));
        }
        jws::check_type(header, claims, issuer)?;
        let keys = match &entry.keys {
            Some(keys) if self.serves(keys) => keys,
            Some(_) => return Ok(Signature::Unknown(KEYS_STALE)),
            None => return Ok(Signature::Unknown(KEYS_MISSING)),
        };
        let key = match keys.find(header.kid.as_deref(), header.algorithm) {
            Ok(key) => key,
            Err(FindError::Unknown) => return Ok(Signature::Unknown(KEY_UNKNOWN)),
            Err(error) => return Err(raw::no_key(error)),
        };
        self.failures
            .check(issuer.url(), self.source, self.limits.failures, self.now)?;
        raw::check_signature(key, header.algorithm, signed.input(), signature).inspect_err(|_| self.failed(issuer))?;
        Ok(Signature::Good(keys))
    }

    /// The one accepted issuer that is asked about tokens which name none.
    fn asked_about_opaque(&self) -> Result<Option<&'t IssuerKeys>, Denial> {
        let mut asked = self
            .accepted
            .iter()
            .filter(|entry| entry.issuer.introspection().is_some());
        match (asked.next(), asked.next()) {
            (only, None) => Ok(only),
            (_, Some(_)) => Err(Denial::new(
                DenyReason::TokenIssuer,
                "the token names no issuer and several could be asked about it",
            )),
        }
    }

    /// What the issuer says of the token; `signed` is the token when its signature was verified before.
    fn introspected(
        &self,
        text: &str,
        digest: TokenDigest,
        entry: &IssuerKeys,
        signed: Option<&Arc<VerifiedToken>>,
    ) -> Result<Verification, Denial> {
        let issuer = &entry.issuer;
        if let Some(signed) = signed {
            // What is refused anyway needs no question.
            self.check_use(signed, entry)?;
        }
        if self.cache.is_refused(&digest, issuer.url(), self.now) {
            return Err(inactive());
        }
        let Some(answered) = self.answer.filter(|answered| answered.issuer == *issuer.url()) else {
            self.failures
                .check(issuer.url(), self.source, self.limits.failures, self.now)?;
            let rules = issuer.introspection().ok_or_else(inactive)?;
            return Ok(Verification::NeedsIntrospection {
                request: IntrospectionRequest::new(issuer, rules, text, self.limits),
                otherwise: introspection::unavailable("the issuer was not asked about the token"),
            });
        };
        let keys = entry.keys.as_deref().filter(|keys| self.serves(keys));
        let known = signed.map(|known| &**known);
        match introspection::read(&answered.result, issuer, keys, known, self.now, self.limits)? {
            introspection::Answer::Active(claims) => {
                let verified = match (signed, claims) {
                    (Some(known), _) => {
                        known.introspected(self.now);
                        Arc::clone(known)
                    }
                    (None, Some(claims)) => {
                        let rules = Arc::clone(issuer);
                        Arc::new(VerifiedToken::of_answer(rules, digest, *claims, self.now))
                    }
                    (None, None) => return Err(inactive()),
                };
                self.cache.insert(Arc::clone(&verified));
                Ok(Verification::Verified(verified))
            }
            introspection::Answer::KeyUnknown => Ok(Verification::NeedsKeys {
                issuer: Arc::clone(issuer.url()),
                otherwise: introspection::unavailable("no key of the issuer is that of its signed answer"),
            }),
            introspection::Answer::Inactive => {
                self.failed(issuer);
                let until = self.now.after(self.limits.introspection_refused_cached);
                self.cache.refuse(digest, Arc::clone(issuer.url()), until);
                Err(inactive())
            }
        }
    }

    #[cold]
    fn failed(&self, issuer: &Issuer) {
        self.failures
            .count(issuer.url(), self.source, self.limits.failures, self.now);
    }
}

/// What a signature came to that was not refused.
enum Signature<'k> {
    /// It is good by these keys.
    Good(&'k KeySet),
    /// The keys there are do not tell.
    Unknown((DenyReason, &'static str)),
}

/// The parts of a token in the form of a JWS; whatever has another form is no JWT.
fn signed_parts(text: &str) -> Result<(Signed<'_>, Decoded), Denial> {
    let signed = Signed::split(text)?;
    let decoded = signed.decode()?;
    Ok((signed, decoded))
}

#[cold]
#[inline(never)]
fn inactive() -> Denial {
    Denial::new(
        DenyReason::TokenInactive,
        "the issuer says that the token is not active",
    )
}

/// The URL of the issuer that the claims name.
fn named_issuer<'s>(claims: json::Node<'s>) -> Result<&'s str, Denial> {
    claims
        .member("iss")
        .and_then(|value| value.as_str())
        .ok_or_else(|| Denial::new(DenyReason::TokenClaims, "`iss` is missing or no string"))
}

#[cold]
#[inline(never)]
fn not_accepted() -> Denial {
    Denial::new(DenyReason::TokenIssuer, "the issuer is not accepted here")
}

#[cold]
#[inline(never)]
fn needs_keys(issuer: &Issuer, (reason, operator): (DenyReason, &'static str)) -> Verification {
    let mut otherwise = Denial::new(reason, operator);
    if reason == DenyReason::KeysUnavailable {
        otherwise = otherwise.with_retry_after_s(KEYS_RETRY_AFTER_S);
    }
    Verification::NeedsKeys {
        issuer: Arc::clone(issuer.url()),
        otherwise,
    }
}

const KEYS_MISSING: (DenyReason, &str) = (DenyReason::KeysUnavailable, "no key set of the issuer was fetched yet");
const KEYS_STALE: (DenyReason, &str) = (DenyReason::KeysUnavailable, "the issuer's key set is too old");
const KEY_UNKNOWN: (DenyReason, &str) = (DenyReason::TokenKeyUnknown, "no key of the issuer is the token's");
/// A refresher that failed tries again within this time, or at most a minute later.
const KEYS_RETRY_AFTER_S: u32 = 5;

#[cfg(test)]
mod tests;
