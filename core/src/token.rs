//! Verification of access tokens: signed JWTs (RFC 7519, RFC 9068) under the rules of RFC 8725.
//!
//! Owns `verify`, the rules of an [`Issuer`], the proof that is a [`VerifiedToken`] and the cache of such proofs.
//! A token chooses neither its key nor its algorithm: the issuer's rules and keys do, and the issuer is one that the
//! server accepts. Never reads `jwk`, `jku`, `x5u` or `x5c` of a token, never fetches, never prints a token.

use std::sync::Arc;
use std::time::Duration;

use crate::credential::BearerToken;
use crate::denial::{Denial, DenyReason};
use crate::json;
use crate::jwks::{FindError, KeySet};
use crate::time::UnixTime;

mod cache;
mod claims;
mod issuer;
mod jws;
mod mapping;
mod profile;
mod verified;

pub use cache::TokenCache;
pub use issuer::{IdentityForm, Issuer, IssuerError, IssuerParts};
pub use mapping::ScopeForm;
pub use profile::Profile;
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

/// Verifies a bearer token for a resource that accepts `accepted`.
///
/// A token seen before costs a digest and a look-up, with everything that may have changed since checked again; a new
/// one 20 to 50 us, with ES384 700 us.
///
/// # Errors
/// The `Token…` reasons of [`DenyReason`].
pub(crate) fn verify(
    token: BearerToken<'_>,
    accepted: &[IssuerKeys],
    now: UnixTime,
    limits: &TokenLimits,
    cache: &TokenCache,
) -> Result<Verification, Denial> {
    let text = token.as_str();
    if text.len() > limits.token_bytes_max {
        return Err(Denial::new(
            DenyReason::TokenTooLarge,
            "the token is longer than the limit",
        ));
    }
    let digest = TokenDigest::of(text);
    let known = cache
        .find(&digest)
        .filter(|known| is_current(known, accepted, now, limits));
    let verified = match known {
        Some(known) => known,
        None => match verify_new(text, digest, accepted, now, limits)? {
            Verification::Verified(verified) => {
                cache.insert(Arc::clone(&verified));
                verified
            }
            needs @ Verification::NeedsKeys { .. } => return Ok(needs),
        },
    };
    verified.check_times(now, limits)?;
    verified.check_audience(audiences_for(&verified, accepted))?;
    Ok(Verification::Verified(verified))
}

/// What tokens of this one's issuer may call the resource.
fn audiences_for<'k>(verified: &VerifiedToken, accepted: &'k [IssuerKeys]) -> &'k [Arc<str>] {
    accepted
        .iter()
        .find(|entry| entry.issuer.url() == verified.issuer())
        .map_or(&[], |entry| &*entry.audiences)
}

/// Whether nothing that a signature depends on has changed since `known` was verified: the issuer is accepted under
/// the same rules, and its keys are the same and not too old.
fn is_current(known: &VerifiedToken, accepted: &[IssuerKeys], now: UnixTime, limits: &TokenLimits) -> bool {
    accepted
        .iter()
        .find(|entry| entry.issuer.url() == known.issuer())
        .is_some_and(|entry| {
            let same_rules = Arc::ptr_eq(&entry.issuer, known.rules()) || entry.issuer == *known.rules();
            same_rules
                && entry.keys.as_ref().is_some_and(|keys| {
                    now.since(keys.fetched_at()) <= limits.keys_age_max && known.is_confirmed_by(keys)
                })
        })
}

/// Everything but time and audience, for a token that the cache does not know, or knows under other rules.
fn verify_new(
    text: &str,
    digest: TokenDigest,
    accepted: &[IssuerKeys],
    now: UnixTime,
    limits: &TokenLimits,
) -> Result<Verification, Denial> {
    let signed = Signed::split(text)?;
    let Decoded {
        header,
        payload,
        signature,
    } = signed.decode()?;
    let header = Header::read(&header)?;
    let mut scratch = json::Scratch::default();
    let claims = json::parse(&payload, &mut scratch, jws::JSON_LIMITS)
        .map_err(|_| Denial::new(DenyReason::TokenMalformed, "the claims are not strict JSON"))?;
    let entry = issuer_of(claims.root(), accepted)?;
    if !entry.issuer.allows(header.algorithm) {
        return Err(Denial::new(
            DenyReason::TokenAlgorithm,
            "the algorithm is not allowed for the issuer",
        ));
    }
    jws::check_type(&header, claims.root(), &entry.issuer)?;
    let keys = match &entry.keys {
        Some(keys) if now.since(keys.fetched_at()) <= limits.keys_age_max => keys,
        Some(_) => return Ok(needs_keys(&entry.issuer, KEYS_STALE)),
        None => return Ok(needs_keys(&entry.issuer, KEYS_MISSING)),
    };
    let key = match keys.find(header.kid.as_deref(), header.algorithm) {
        Ok(key) => key,
        Err(FindError::Unknown) => return Ok(needs_keys(&entry.issuer, KEY_UNKNOWN)),
        Err(FindError::Ambiguous) => {
            return Err(Denial::new(
                DenyReason::TokenKeyUnknown,
                "the token names no key and several would fit",
            ));
        }
        Err(FindError::Algorithm) => {
            return Err(Denial::new(
                DenyReason::TokenAlgorithm,
                "the token's key is for another algorithm",
            ));
        }
    };
    key.verify(header.algorithm, signed.input(), &signature)
        .map_err(|_| Denial::new(DenyReason::TokenSignature, "the signature does not verify"))?;
    let verified = claims::read(claims, &entry.issuer, digest, keys)?;
    Ok(Verification::Verified(Arc::new(verified)))
}

/// The accepted issuer that the claims name, compared byte by byte (RFC 7519 section 4.1.1).
fn issuer_of<'k>(claims: json::Node<'_>, accepted: &'k [IssuerKeys]) -> Result<&'k IssuerKeys, Denial> {
    let named = claims.member("iss").and_then(|value| value.as_str());
    let Some(named) = named else {
        return Err(Denial::new(DenyReason::TokenClaims, "`iss` is missing or no string"));
    };
    accepted
        .iter()
        .find(|entry| &**entry.issuer.url() == named)
        .ok_or_else(|| Denial::new(DenyReason::TokenIssuer, "the issuer is not accepted here"))
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
