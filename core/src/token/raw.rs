//! A compact JWS (RFC 7515) against a key set: signature and key rules alone.
//!
//! Owns [`verify`], [`verify_message`] and [`danger_decode_unverified`], made of the functions that the road is made of.
//! No claim is read and nothing stands for a caller: what passes here has shown its signature and nothing else, and no
//! gate takes it. Strict as the road is, with one difference: a payload may be empty, since RFC 7515 allows it.

use crate::crypto::{Algorithm, PublicKey};
use crate::denial::{Denial, DenyReason};
use crate::json::{self, ParseError};
use crate::jwks::{FindError, KeySet};
use crate::token::jws::{self, Decoded, Header, Signed};

/// What a JWS whose signature stands says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawVerified {
    /// The header's `alg`.
    pub algorithm: Algorithm,
    /// The header's `kid`.
    pub kid: Option<Box<str>>,
}

/// Header and payload of a token that nobody vouches for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unverified {
    /// The header's JSON.
    pub header: String,
    /// The payload's JSON.
    pub claims: String,
    /// Whether there is a signature, of whatever worth.
    pub signed: bool,
}

/// Verifies one compact JWS: strict base64url, a strict JSON header without `crit`, one of `algorithms`, the key of its
/// `kid` and algorithm, the signature. The payload is decoded and not looked at.
///
/// Costs 20 to 50 us, with ES384 700 us; the caller bounds the token's length.
///
/// # Errors
/// [`DenyReason::TokenMalformed`], [`DenyReason::TokenAlgorithm`], [`DenyReason::TokenKeyUnknown`] or
/// [`DenyReason::TokenSignature`].
pub fn verify(token: &str, keys: &KeySet, algorithms: &[Algorithm]) -> Result<RawVerified, Denial> {
    let signed = Signed::split_any(token)?;
    let Decoded { header, signature, .. } = signed.decode()?;
    let header = Header::read(&header)?;
    if !algorithms.contains(&header.algorithm) {
        return Err(Denial::new(
            DenyReason::TokenAlgorithm,
            "the algorithm is none of those that are taken",
        ));
    }
    let key = keys.find(header.kid.as_deref(), header.algorithm).map_err(no_key)?;
    check_signature(key, header.algorithm, signed.input(), &signature)?;
    Ok(RawVerified {
        algorithm: header.algorithm,
        kid: header.kid,
    })
}

/// Verifies the signature of any message by the one key of the set that fits `algorithm`, in the form that a JWS gives
/// signatures: ECDSA as `r || s` (RFC 7518 section 3.4).
///
/// # Errors
/// As [`verify`], but for the header.
pub fn verify_message(keys: &KeySet, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), Denial> {
    let key = keys.find(None, algorithm).map_err(no_key)?;
    check_signature(key, algorithm, message, signature)
}

/// Decodes a token for people who want to see it, without any verification: whatever it says may be a lie. A missing
/// signature is no fault here; JSON must be strict, or two readers could see two tokens.
///
/// # Errors
/// [`DenyReason::TokenMalformed`] for what cannot be shown, with the reason.
pub fn danger_decode_unverified(token: &str) -> Result<Unverified, Denial> {
    let malformed = |operator| Err(Denial::new(DenyReason::TokenMalformed, operator));
    let mut parts = token.split('.');
    let (header, claims, signature) = match (parts.next(), parts.next(), parts.next(), parts.count()) {
        (Some(header), Some(claims), signature, 0) => (header, claims, signature),
        (_, _, _, 2) => {
            return malformed("the token has five parts: it is encrypted (JWE), and only its holder can read it");
        }
        (_, None, _, _) => return malformed("the token has no parts: it is opaque, and its issuer alone can read it"),
        _ => return malformed("the token has not three parts"),
    };
    Ok(Unverified {
        header: object(header, "header")?,
        claims: object(claims, "claims")?,
        signed: signature.is_some_and(|signature| !signature.is_empty()),
    })
}

/// The JSON object that a part stands for.
fn object(part: &str, name: &'static str) -> Result<String, Denial> {
    let fault = |of_header, of_claims| {
        let operator = if name == "header" { of_header } else { of_claims };
        Denial::new(DenyReason::TokenMalformed, operator)
    };
    let bytes = jws::decode_part(part)?;
    let mut scratch = json::Scratch::default();
    let document = json::parse(&bytes, &mut scratch, jws::JSON_LIMITS).map_err(|error| match error {
        ParseError::KeyDuplicate => fault("the header has a member twice", "the claims have a member twice"),
        _ => fault(
            "the token's header is not strict JSON",
            "the claims are not strict JSON",
        ),
    })?;
    match document.root().kind() {
        json::Kind::Object => Ok(document.text().to_owned()),
        _ => Err(fault(
            "the token's header is no JSON object",
            "the claims are no JSON object",
        )),
    }
}

/// The refusal of a token whose key is not in a set that nothing newer replaces.
#[cold]
pub(super) fn no_key(error: FindError) -> Denial {
    match error {
        FindError::Algorithm => Denial::new(DenyReason::TokenAlgorithm, "the token's key is for another algorithm"),
        FindError::Ambiguous => Denial::new(
            DenyReason::TokenKeyUnknown,
            "the token names no key and several would fit",
        ),
        FindError::Unknown => Denial::new(DenyReason::TokenKeyUnknown, "no key of the set is the token's"),
    }
}

/// Checks the signature itself.
pub(super) fn check_signature(
    key: &PublicKey,
    algorithm: Algorithm,
    input: &[u8],
    signature: &[u8],
) -> Result<(), Denial> {
    key.verify(algorithm, input, signature)
        .map_err(|_| Denial::new(DenyReason::TokenSignature, "the signature does not verify"))
}

#[cfg(test)]
mod tests;
