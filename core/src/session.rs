//! Sessions of the legacy era as clients see them: sealed, so that only their principal can use them, at any replica.
//!
//! Owns [`SessionKeys`].

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use crate::time::UnixTime;

/// One key that seals sessions.
#[derive(Clone)]
pub struct SessionKey {
    /// Its name in sealed sessions.
    pub id: [u8; 4],
    /// The key.
    pub secret: Zeroizing<[u8; 32]>,
    /// From when on it seals; it opens from the start, so that replicas may learn it before the first of them uses it.
    pub seals_from: UnixTime,
    /// Until when it opens; `None` for as long as it is configured.
    pub opens_until: Option<UnixTime>,
}

/// Without the key.
impl std::fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SessionKey")
            .field("id", &self.id)
            .field("seals_from", &self.seals_from)
            .field("opens_until", &self.opens_until)
            .finish_non_exhaustive()
    }
}

/// The keys that seal sessions, at least one.
#[derive(Clone, Debug)]
pub struct SessionKeys(Vec<SessionKey>);

/// What makes keys unusable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SessionKeysError {
    /// There is none.
    #[error("there is no key that seals sessions")]
    Empty,
    /// Two have one id.
    #[error("two keys that seal sessions have one id")]
    IdRepeated,
}

impl SessionKeys {
    /// These keys, in any order.
    ///
    /// # Errors
    /// [`SessionKeysError`].
    pub fn new(keys: Vec<SessionKey>) -> Result<Self, SessionKeysError> {
        if keys.is_empty() {
            return Err(SessionKeysError::Empty);
        }
        let ids: BTreeSet<[u8; 4]> = keys.iter().map(|key| key.id).collect();
        if ids.len() < keys.len() {
            return Err(SessionKeysError::IdRepeated);
        }
        Ok(Self(keys))
    }

    /// One key that seals and opens at any time: for tests, benches and gates whose sessions need not outlive them.
    pub fn single(secret: [u8; 32]) -> Self {
        Self(vec![SessionKey {
            id: [0; 4],
            secret: Zeroizing::new(secret),
            seals_from: UnixTime::from_secs(0),
            opens_until: None,
        }])
    }
}
