//! What a key set holds, key by key, for people: each key with what is made of it.
//!
//! Owns [`KeyReport`]. The verdicts are those of [`KeySet::parse`], by the same functions. Tells nothing of a symmetric
//! or private key but that it is one.

use crate::crypto::{decode_base64url, encode_base64url, sha256};
use crate::json::{self, Node};
use crate::jwks::{JwksLimits, KeySet, KeySetError, SkipReason, VettedKey, listed, text, vet};

/// One entry of a key set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyReport {
    /// `kid`, as the set's author wrote it; when it is a string.
    pub kid: Option<Box<str>>,
    /// `kty`.
    pub kind: Option<Box<str>>,
    /// `crv`.
    pub curve: Option<Box<str>>,
    /// `alg`.
    pub algorithm: Option<Box<str>>,
    /// `use`.
    pub usage: Option<Box<str>>,
    /// The size by which people name such a key; `None` where it has none, or it cannot be read.
    pub bits: Option<usize>,
    /// The SHA-256 thumbprint in base64url (RFC 7638), of public keys of a known form.
    pub thumbprint: Option<String>,
    /// Whether the key is used, or why not.
    pub verdict: Result<(), SkipReason>,
}

impl KeySet {
    /// Tells what becomes of each key of a document, in its order; also of one without any usable key.
    ///
    /// # Errors
    /// [`KeySetError`] for a document over its limits or one that is no key set.
    pub fn report(bytes: &[u8], limits: &JwksLimits) -> Result<Vec<KeyReport>, KeySetError> {
        let mut scratch = json::Scratch::default();
        let listed = listed(bytes, limits, &mut scratch)?;
        let vetted: Vec<Result<VettedKey, SkipReason>> = listed.elements().map(vet).collect();
        let reports = listed.elements().enumerate();
        Ok(reports.map(|(place, entry)| report(entry, place, &vetted)).collect())
    }
}

fn report(entry: Node<'_>, place: usize, vetted: &[Result<VettedKey, SkipReason>]) -> KeyReport {
    let member = |name| text(entry, name).ok().flatten().map(Box::from);
    let own = vetted.get(place);
    let verdict = match own {
        Some(Ok(key)) if is_duplicate(key, place, vetted) => Err(SkipReason::Duplicate),
        Some(Ok(_)) => Ok(()),
        Some(Err(reason)) => Err(*reason),
        None => Err(SkipReason::Field),
    };
    let secret = matches!(verdict, Err(SkipReason::Private | SkipReason::Symmetric));
    KeyReport {
        kid: member("kid"),
        kind: member("kty"),
        curve: member("crv"),
        algorithm: member("alg"),
        usage: member("use"),
        bits: if secret { None } else { bits(entry) },
        thumbprint: if secret { None } else { thumbprint(entry) },
        verdict,
    }
}

/// Whether another key could be meant as well, or the same words stand there before.
fn is_duplicate(key: &VettedKey, place: usize, vetted: &[Result<VettedKey, SkipReason>]) -> bool {
    let others = vetted.iter().enumerate().filter_map(|(other, vetted)| match vetted {
        Ok(vetted) => Some((other, vetted)),
        Err(_) => None,
    });
    others.into_iter().any(|(other, vetted)| {
        let same = vetted.digest == key.digest;
        (same && other < place) || (!same && key.overlaps(vetted))
    })
}

fn bits(entry: Node<'_>) -> Option<usize> {
    match (text(entry, "kty").ok()??, text(entry, "crv").ok()?) {
        ("RSA", _) => {
            let modulus = number(entry, "n")?;
            let first = modulus.iter().position(|byte| *byte != 0)?;
            let significant = modulus.get(first..)?;
            let zeros = usize::try_from(significant.first()?.leading_zeros()).ok()?;
            significant.len().checked_mul(8)?.checked_sub(zeros)
        }
        (_, Some("P-256" | "secp256k1" | "Ed25519" | "X25519")) => Some(256),
        (_, Some("P-384")) => Some(384),
        (_, Some("P-521")) => Some(521),
        (_, Some("Ed448" | "X448")) => Some(448),
        _ => None,
    }
}

/// The SHA-256 thumbprint of a public key (RFC 7638 section 3, RFC 8037 section 2): of its required members alone, in
/// the order of their names.
fn thumbprint(entry: Node<'_>) -> Option<String> {
    let kind = text(entry, "kty").ok()??;
    let names: &[&str] = match kind {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let mut members = Vec::new();
    for name in names {
        let value = text(entry, name).ok()??;
        // Base64url and the names of curves need no escape; anything else has no thumbprint here.
        if !value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return None;
        }
        members.push(format!("\"{name}\":\"{value}\""));
    }
    Some(encode_base64url(&sha256(
        format!("{{{}}}", members.join(",")).as_bytes(),
    )))
}

fn number(entry: Node<'_>, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    decode_base64url(text(entry, name).ok()??.as_bytes(), &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests;
