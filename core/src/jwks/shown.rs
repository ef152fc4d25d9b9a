//! A public key that a client shows beside what it has signed (RFC 9449 section 4.2), named by its thumbprint.
//!
//! Owns [`ShownKey`] and the thumbprint of RFC 7638. Vetted as a key of a set is, so a private, symmetric or weak key is
//! none. A shown key proves nothing by itself: what it is worth says the token that names its thumbprint.

use super::{SkipReason, VettedKey, text, vet};
use crate::crypto::{Algorithm, Sha256, SignatureInvalid};
use crate::json::Node;

/// A vetted key and its thumbprint.
#[derive(Clone, Debug)]
pub(crate) struct ShownKey {
    vetted: VettedKey,
    thumbprint: [u8; 32],
}

impl ShownKey {
    /// Reads one JSON Web Key.
    ///
    /// # Errors
    /// [`SkipReason`], as for a key of a set.
    pub(crate) fn read(entry: Node<'_>) -> Result<Self, SkipReason> {
        let vetted = vet(entry)?;
        Ok(Self {
            thumbprint: thumbprint(entry)?,
            vetted,
        })
    }

    /// SHA-256 over the members that make the key (RFC 7638 section 3).
    pub(crate) const fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }

    /// Checks a JWS signature, at the cost of [`crate::crypto::PublicKey::verify`].
    ///
    /// # Errors
    /// [`SignatureInvalid`], also when the algorithm is not for this key.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureInvalid> {
        if self.vetted.serves(algorithm) {
            self.vetted.key.verify(algorithm, message, signature)
        } else {
            Err(SignatureInvalid)
        }
    }
}

/// The thumbprint of a vetted key: its required members, sorted by name, without white space. Their values are of the
/// base64url alphabet in the one spelling that `vet` lets pass, or names that need no escape.
fn thumbprint(entry: Node<'_>) -> Result<[u8; 32], SkipReason> {
    let names: &[&str] = match text(entry, "kty")? {
        Some("RSA") => &["e", "kty", "n"],
        Some("EC") => &["crv", "kty", "x", "y"],
        Some("OKP") => &["crv", "kty", "x"],
        _ => return Err(SkipReason::Kind),
    };
    let mut digest = Sha256::default();
    for (index, name) in names.iter().enumerate() {
        let value = text(entry, name)?.ok_or(SkipReason::Field)?;
        digest.update(if index == 0 { b"{\"" } else { b",\"" });
        digest.update(name.as_bytes());
        digest.update(b"\":\"");
        digest.update(value.as_bytes());
        digest.update(b"\"");
    }
    digest.update(b"}");
    Ok(digest.finish())
}

#[cfg(test)]
mod tests;
