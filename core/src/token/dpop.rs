//! The proof of possession of a request (RFC 9449 sections 4.2 and 4.3).
//!
//! Owns [`Demand`] and what a proof must say. The proof brings its own key, which is worth nothing but for its
//! thumbprint: the token names that. Never reads `jku`, `x5u` or `x5c`, never takes a symmetric algorithm, and never
//! tells whether a proof was seen before: that is `replay`'s.

use std::time::Duration;

use crate::credential::Proof;
use crate::crypto::{Algorithm, decode_base64url, same_digest};
use crate::denial::{Denial, DenyReason};
use crate::json::{self, Node};
use crate::jwks::shown::ShownKey;
use crate::time::UnixTime;
use crate::token::jws::{Decoded, JSON_LIMITS, Signed};
use crate::token::nonce::Nonces;
use crate::token::target::Target;
use crate::token::{Issuer, TokenDigest};

/// The algorithms that a proof may have, whatever its token's issuer uses: for challenges and metadata too.
pub const PROOF_ALGORITHMS: [Algorithm; 8] = Issuer::DEFAULT_ALGORITHMS;

/// What one request demands of its proof.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand<'d> {
    /// The request's HTTP method.
    pub(super) method: &'d str,
    /// The resource's URL.
    pub(super) target: &'d Target,
    /// The token that came with the proof.
    pub(super) token: TokenDigest,
    /// The thumbprint of the key that the token is bound to.
    pub(super) key: &'d [u8; 32],
    /// The server's nonces, when it asks for one.
    pub(super) nonces: Option<Nonces<'d>>,
    /// Bytes of a proof.
    pub(super) bytes_max: usize,
    /// Age at which a proof is too old.
    pub(super) age_max: Duration,
    /// Tolerated clock difference to a client that is ahead of us.
    pub(super) leeway: Duration,
}

/// What names a proof that fulfils its demand.
#[derive(Debug)]
pub(super) struct Fulfilled {
    /// Its `jti`.
    pub(super) jti: Box<str>,
    /// Its `iat`, in seconds.
    pub(super) issued_at: u64,
}

/// Verifies a proof, at the cost of one signature; what a look can refuse is refused before.
///
/// # Errors
/// [`DenyReason::TokenSenderBound`] for a proof by another key than the token's, [`DenyReason::DpopNonceMissing`] for
/// one that lacks a present nonce, [`DenyReason::DpopProofInvalid`] for whatever else is wrong with it.
pub(super) fn verify(proof: Proof<'_>, demand: &Demand<'_>, now: UnixTime) -> Result<Fulfilled, Denial> {
    let text = proof.as_str();
    if demand.bytes_max < text.len() {
        return Err(invalid("the proof is longer than a token may be"));
    }
    let unread = |_| invalid("the proof is no compact JWS in strict form");
    let signed = Signed::split(text).map_err(unread)?;
    let Decoded {
        header,
        payload,
        signature,
    } = signed.decode().map_err(unread)?;
    let (algorithm, key) = read_header(&header)?;
    if !same_digest(key.thumbprint(), demand.key) {
        return Err(Denial::new(
            DenyReason::TokenSenderBound,
            "the token is bound to another key than the proof's",
        ));
    }
    let mut scratch = json::Scratch::default();
    let claims = json::parse(&payload, &mut scratch, JSON_LIMITS)
        .map_err(|_| invalid("the claims of the proof are not strict JSON"))?;
    let fulfilled = check_claims(claims.root(), demand, now)?;
    check_nonce(claims.root(), demand, now)?;
    key.verify(algorithm, signed.input(), &signature)
        .map_err(|_| invalid("the signature of the proof does not verify"))?;
    Ok(fulfilled)
}

/// The algorithm and the key of a proof.
fn read_header(bytes: &[u8]) -> Result<(Algorithm, ShownKey), Denial> {
    let mut scratch = json::Scratch::default();
    let document = json::parse(bytes, &mut scratch, JSON_LIMITS)
        .map_err(|_| invalid("the header of the proof is not strict JSON"))?;
    let root = document.root();
    if root.member("crit").is_some() {
        return Err(invalid("the proof has critical header parameters"));
    }
    if text(root, "typ")? != "dpop+jwt" {
        return Err(invalid("the `typ` of the proof is not `dpop+jwt`"));
    }
    let algorithm = Algorithm::from_name(text(root, "alg")?)
        .filter(|algorithm| PROOF_ALGORITHMS.contains(algorithm))
        .ok_or_else(|| invalid("the algorithm of the proof is not accepted"))?;
    let key = root
        .member("jwk")
        .and_then(|key| ShownKey::read(key).ok())
        .ok_or_else(|| invalid("the proof has no public key that can be used"))?;
    Ok((algorithm, key))
}

/// Everything that the claims must say, but for the nonce.
fn check_claims(claims: Node<'_>, demand: &Demand<'_>, now: UnixTime) -> Result<Fulfilled, Denial> {
    let jti = text(claims, "jti")?;
    if text(claims, "htm")? != demand.method {
        return Err(invalid("the proof is for another HTTP method"));
    }
    if Target::parse(text(claims, "htu")?).as_ref() != Some(demand.target) {
        return Err(invalid("the proof is for another URL"));
    }
    if !is_digest(text(claims, "ath")?, demand.token.as_bytes()) {
        return Err(invalid("the proof is for another access token"));
    }
    let issued_at = time(claims, "iat")?.ok_or_else(|| invalid("the proof has no `iat`"))?;
    let (now_s, latest) = (now.secs(), now.after(demand.leeway).secs());
    if issued_at.saturating_add(demand.age_max.as_secs()) < now_s {
        return Err(invalid("the proof is too old"));
    }
    if latest < issued_at {
        return Err(invalid("the `iat` of the proof lies in the future"));
    }
    // Neither is asked for, but who wrote one meant it.
    if time(claims, "exp")?.is_some_and(|expires| expires.saturating_add(demand.leeway.as_secs()) <= now_s)
        || time(claims, "nbf")?.is_some_and(|not_before| latest < not_before)
    {
        return Err(invalid("the proof has expired or is not valid yet"));
    }
    Ok(Fulfilled {
        jti: Box::from(jti),
        issued_at,
    })
}

/// The nonce, when the server asks for one (RFC 9449 section 9).
fn check_nonce(claims: Node<'_>, demand: &Demand<'_>, now: UnixTime) -> Result<(), Denial> {
    let nonce = match claims.member("nonce") {
        Some(_) => Some(text(claims, "nonce")?),
        None => None,
    };
    let Some(nonces) = &demand.nonces else {
        return Ok(());
    };
    match nonce {
        Some(nonce) if nonces.is_current(nonce, now) => Ok(()),
        Some(_) => Err(nonce_missing("the nonce of the proof is not a present one")),
        None => Err(nonce_missing("the proof has no nonce")),
    }
}

/// Whether `encoded` is this digest in base64url.
fn is_digest(encoded: &str, digest: &[u8; 32]) -> bool {
    let mut bytes = Vec::with_capacity(32);
    let decoded = decode_base64url(encoded.as_bytes(), &mut bytes);
    decoded.is_ok() && <&[u8; 32]>::try_from(bytes.as_slice()).is_ok_and(|shown| same_digest(shown, digest))
}

/// A string member that must be there and not empty.
fn text<'s>(node: Node<'s>, name: &str) -> Result<&'s str, Denial> {
    node.member(name)
        .and_then(Node::as_str)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| invalid("a member of the proof is missing, empty or no string"))
}

/// A time in whole seconds since the epoch; `None` when it is absent.
fn time(claims: Node<'_>, name: &str) -> Result<Option<u64>, Denial> {
    match claims.member(name).map(Node::as_u64) {
        None => Ok(None),
        Some(Some(seconds)) => Ok(Some(seconds)),
        Some(None) => Err(invalid("a time of the proof is no whole number of seconds")),
    }
}

#[cold]
#[inline(never)]
fn invalid(operator: &'static str) -> Denial {
    Denial::new(DenyReason::DpopProofInvalid, operator)
}

#[cold]
#[inline(never)]
fn nonce_missing(operator: &'static str) -> Denial {
    Denial::new(DenyReason::DpopNonceMissing, operator)
}
