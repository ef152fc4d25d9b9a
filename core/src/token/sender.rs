//! Whether a request proves what its token demands of the sender (RFC 9449 section 7, RFC 8705 section 3).
//!
//! Owns [`Confirmation`], what a token is bound to, and [`SenderCheck`], which every request passes after its token was
//! verified, also when the token is remembered. A token that is bound in a way that is not judged here is refused.
//! Never trusts a certificate: the listener or a configured hop has verified it.

use std::time::Duration;

use http::Method;

use crate::credential::Proof;
use crate::crypto::{decode_base64url, same_digest};
use crate::denial::{Denial, DenyReason};
use crate::json::{Kind, Node};
use crate::time::UnixTime;
use crate::token::VerifiedToken;
use crate::token::dpop::{self, Demand};
use crate::token::nonce::Nonces;
use crate::token::replay::{ProofId, ReplayError, ReplayLimits, SeenProofs};
use crate::token::target::Target;

/// What a server asks of the senders of its requests, beyond what their tokens do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SenderRules {
    /// Refuses tokens that are not bound to a key.
    pub dpop_required: bool,
    /// Asks for a nonce of the server in each proof.
    pub dpop_nonce: bool,
}

/// What a token is bound to (`cnf`, RFC 7800).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Confirmation {
    /// The thumbprint of a key (`jkt`).
    key: Option<[u8; 32]>,
    /// SHA-256 of a certificate (`x5t#S256`).
    certificate: Option<[u8; 32]>,
}

/// What proved that a token's sender may use it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Binding {
    /// The key and the certificate that it is bound to.
    Both,
    /// The key that it is bound to.
    Dpop,
    /// The certificate that it is bound to.
    Mtls,
    /// Nothing: the token is a bearer token.
    None,
}

impl Binding {
    /// The name of the binding in records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Both => "dpop+mtls",
            Self::Dpop => "dpop",
            Self::Mtls => "mtls",
            Self::None => "none",
        }
    }
}

impl Confirmation {
    /// Reads the `cnf` of a token's claims, or of what an issuer says of a token.
    ///
    /// # Errors
    /// [`DenyReason::TokenClaims`] for one that is malformed, [`DenyReason::TokenSenderBound`] for one that names
    /// anything but a key's or a certificate's thumbprint.
    pub(crate) fn read(claims: Node<'_>) -> Result<Self, Denial> {
        let mut confirmation = Self::default();
        let Some(cnf) = claims.member("cnf") else {
            return Ok(confirmation);
        };
        if cnf.kind() != Kind::Object || cnf.len() == 0 {
            return Err(malformed("`cnf` is no object that names something"));
        }
        for member in cnf.members() {
            let place = match member.key {
                "jkt" => &mut confirmation.key,
                "x5t#S256" => &mut confirmation.certificate,
                _ => return Err(bound("the token is bound in a way that is not judged")),
            };
            *place = Some(digest(member.value)?);
        }
        Ok(confirmation)
    }

    /// Whether the token is bound to a key.
    pub const fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// What every accepted request with the token has proven.
    pub const fn binding(&self) -> Binding {
        match (self.key.is_some(), self.certificate.is_some()) {
            (true, true) => Binding::Both,
            (true, false) => Binding::Dpop,
            (false, true) => Binding::Mtls,
            (false, false) => Binding::None,
        }
    }
}

/// What a request shows beside its token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'r> {
    /// Its HTTP method.
    pub(crate) method: &'r Method,
    /// The proof of possession, when it came under the scheme `DPoP`.
    pub(crate) proof: Option<Proof<'r>>,
    /// SHA-256 of the client's certificate.
    pub(crate) certificate: Option<&'r [u8; 32]>,
}

/// What the sender of a request to one resource is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderCheck<'c> {
    /// The server's own rules.
    pub(crate) rules: SenderRules,
    /// The resource's URL.
    pub(crate) target: &'c Target,
    /// The resource's nonces.
    pub(crate) nonces: Nonces<'c>,
    /// The proofs that were seen.
    pub(crate) seen: &'c SeenProofs,
    /// Bytes of a proof.
    pub(crate) proof_bytes_max: usize,
    /// Tolerated clock difference to the client.
    pub(crate) leeway: Duration,
    /// How long and how many proofs are remembered.
    pub(crate) replay: ReplayLimits,
}

impl SenderCheck<'_> {
    /// Checks that the request proves what `token` is bound to. An unbound bearer token costs three comparisons, a
    /// proof a signature and a look-up.
    ///
    /// A proof serves once: call this once a request, when nothing else can ask for another attempt.
    ///
    /// # Errors
    /// [`DenyReason::TokenSenderBound`] when certificate, key or scheme is not the token's,
    /// [`DenyReason::TokenUnbound`] when the server asks for a bound token, and those of a proof:
    /// [`DenyReason::DpopProofInvalid`], [`DenyReason::DpopNonceMissing`], [`DenyReason::RateLimited`] when one key has
    /// shown too many, [`DenyReason::DpopUnavailable`] when no more can be remembered.
    pub(crate) fn check(&self, token: &VerifiedToken, shown: &Shown<'_>, now: UnixTime) -> Result<(), Denial> {
        let Confirmation { key, certificate } = token.confirmation();
        if let Some(certificate) = certificate
            && !shown.certificate.is_some_and(|shown| same_digest(shown, certificate))
        {
            return Err(bound("the token is bound to another certificate than the client's"));
        }
        match (key, shown.proof) {
            (Some(key), Some(proof)) => self.check_proof(token, key, proof, shown.method, now),
            (Some(_), None) => Err(bound("the token is bound to a key and came as a bearer token")),
            (None, _) if self.rules.dpop_required => Err(Denial::new(
                DenyReason::TokenUnbound,
                "the token is not bound to a key, as the server asks",
            )),
            (None, Some(_)) => Err(bound("the token is not bound to a key, and came with a proof")),
            (None, None) => Ok(()),
        }
    }

    fn check_proof(
        &self,
        token: &VerifiedToken,
        key: &[u8; 32],
        proof: Proof<'_>,
        method: &Method,
        now: UnixTime,
    ) -> Result<(), Denial> {
        let demand = Demand {
            method: method.as_str(),
            target: self.target,
            token: token.digest(),
            key,
            nonces: self.rules.dpop_nonce.then_some(self.nonces),
            bytes_max: self.proof_bytes_max,
            age_max: self.replay.age_max,
            leeway: self.leeway,
        };
        let fulfilled = dpop::verify(proof, &demand, now)?;
        let id = ProofId {
            key,
            jti: &fulfilled.jti,
            issued_at: fulfilled.issued_at,
        };
        self.seen.take(id, &self.replay, now).map_err(refused)
    }
}

/// 32 bytes in base64url.
fn digest(value: Node<'_>) -> Result<[u8; 32], Denial> {
    let unread = || malformed("`cnf` names a thumbprint that is none");
    let mut bytes = Vec::with_capacity(32);
    let encoded = value.as_str().ok_or_else(unread)?;
    decode_base64url(encoded.as_bytes(), &mut bytes).map_err(|_| unread())?;
    bytes.as_slice().try_into().map_err(|_| unread())
}

#[cold]
#[inline(never)]
fn refused(error: ReplayError) -> Denial {
    match error {
        ReplayError::Full => Denial::new(DenyReason::DpopUnavailable, "no further proof can be remembered")
            .with_retry_after_s(FULL_RETRY_AFTER_S),
        ReplayError::KeyFull(seconds) => {
            Denial::new(DenyReason::RateLimited, "the proofs of one key exceed their bound")
                .with_retry_after_s(u32::try_from(seconds).unwrap_or(u32::MAX))
        }
        ReplayError::Seen => Denial::new(DenyReason::DpopProofInvalid, "the proof was seen before"),
    }
}

#[cold]
#[inline(never)]
fn bound(operator: &'static str) -> Denial {
    Denial::new(DenyReason::TokenSenderBound, operator)
}

#[cold]
#[inline(never)]
fn malformed(operator: &'static str) -> Denial {
    Denial::new(DenyReason::TokenClaims, operator)
}

/// Proofs grow too old one by one, so room comes back soon.
const FULL_RETRY_AFTER_S: u32 = 5;

#[cfg(test)]
mod tests;
