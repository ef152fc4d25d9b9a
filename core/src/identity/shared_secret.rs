//! A secret that stands for one caller, for servers that only this machine reaches.
//!
//! Owns [`SharedSecret`], which keeps a digest and never the secret. What it proves is that the caller has it, and no
//! more: it names nobody, never expires and tells no login. The gate takes it from peers on loopback alone.

use std::sync::Arc;

use super::machine::sorted;
use super::{Bound, Grants, Party, PartyKind, Principal, Proof, principal_id};
use crate::credential::BearerToken;
use crate::crypto::{MacKey, same_digest, sha256};
use crate::time::UnixTime;

/// Bytes that a secret has at least.
const BYTES_MIN: usize = 32;
/// The issuer of its subject, which no token can name: no issuer of tokens has such a URL.
const ISSUER: &str = "urn:portcullis:shared-secret";
/// The client, whoever it is.
const CLIENT_ID: &str = "shared-secret";

/// A secret that stands for one caller. Printed by nothing.
#[derive(Clone, Eq, PartialEq)]
pub struct SharedSecret {
    digest: [u8; 32],
    subject: Arc<str>,
    issuer: Arc<str>,
    client_id: Arc<str>,
    grants: Arc<Grants>,
}

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SharedSecret")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Why a text is no shared secret. Says nothing of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SharedSecretError {
    /// It holds other characters than a bearer token may.
    #[error("a shared secret is made of letters, digits and `-._~+/=`, as a bearer token is")]
    Form,
    /// It is too short to be a secret.
    #[error("a shared secret has at least 32 bytes, such as of `openssl rand -base64 32`")]
    Short,
    /// Nobody is named.
    #[error("a shared secret stands for a subject of 1 to 128 bytes without control characters")]
    Subject,
}

impl SharedSecret {
    /// The secret of this text, which stands for `subject` with `grants`.
    ///
    /// # Errors
    /// [`SharedSecretError`] for a text that could not come as a bearer token (RFC 6750 section 2.1) or could be guessed.
    pub fn new(secret: &str, subject: Arc<str>, grants: Grants) -> Result<Self, SharedSecretError> {
        if secret.len() < BYTES_MIN {
            return Err(SharedSecretError::Short);
        }
        if BearerToken::parse(secret).is_none() {
            return Err(SharedSecretError::Form);
        }
        if subject.is_empty() || 128 < subject.len() || subject.chars().any(char::is_control) {
            return Err(SharedSecretError::Subject);
        }
        Ok(Self {
            digest: sha256(secret.as_bytes()),
            subject,
            issuer: Arc::from(ISSUER),
            client_id: Arc::from(CLIENT_ID),
            grants: Arc::new(sorted(grants)),
        })
    }

    /// Whether `token` is the secret, found in the same time wherever it differs.
    pub(crate) fn is(&self, token: BearerToken<'_>) -> bool {
        same_digest(&self.digest, &sha256(token.as_str().as_bytes()))
    }
}

/// Binds the secret to whom it stands for within `tenant`: one request, and what it opens until `expires`.
pub(crate) fn bind(secret: &SharedSecret, tenant: &Arc<str>, expires: UnixTime, key: &MacKey) -> Principal {
    let subject = Party {
        id: Arc::clone(&secret.subject),
        issuer: Arc::clone(&secret.issuer),
        kind: PartyKind::Human,
    };
    let id = principal_id(tenant, &subject, &subject, &secret.client_id, key);
    Principal(Arc::new(Bound {
        tenant: Arc::clone(tenant),
        actor: subject.clone(),
        subject,
        client_id: Arc::clone(&secret.client_id),
        proof: Proof::SharedSecret { expires },
        grants: Some(Arc::clone(&secret.grants)),
        id,
    }))
}
