//! From the store of keys to what a gate takes, at its start and while it runs.
//!
//! Owns [`KeysInUse`]: which keys a running gate has, and which of them it can exchange. Never reads a file.

use std::sync::Arc;

use portcullis_core::gate::{Gate, GateKeys};
use portcullis_core::session::{SessionKey, SessionKeys, SessionKeysError};
use portcullis_core::time::UnixTime;
use zeroize::Zeroizing;

use crate::keys::{KeyStore, Purpose, StoredKey};

/// Why a store gives no keys for a gate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GateKeysError {
    /// A purpose has no key, or none of the form it needs.
    #[error("no key for `{0}` can be used")]
    Missing(Purpose),
    /// The keys that seal sessions do not fit together.
    #[error(transparent)]
    Session(#[from] SessionKeysError),
}

/// The names of the keys that a running gate has.
#[derive(Debug)]
pub(crate) struct KeysInUse {
    digests: String,
    dpop_nonce: String,
    sessions: Vec<String>,
}

impl KeysInUse {
    /// The keys of `store` for a gate that starts at `now`, and their names.
    ///
    /// # Errors
    /// [`GateKeysError`].
    pub(crate) fn take(store: &KeyStore, now: UnixTime) -> Result<(Self, GateKeys), GateKeysError> {
        let digests = active(store, Purpose::Digests, now)?;
        let nonces = active(store, Purpose::DpopNonce, now)?;
        let keys = GateKeys {
            digests: bytes(Purpose::Digests, digests)?,
            digests_id: Arc::from(digests.id.as_str()),
            nonces: bytes(Purpose::DpopNonce, nonces)?,
            sessions: sessions(store)?,
        };
        let in_use = Self {
            digests: digests.id.clone(),
            dpop_nonce: nonces.id.clone(),
            sessions: session_ids(store),
        };
        Ok((in_use, keys))
    }

    /// Gives a running gate what is new in `store`, and says what takes a restart.
    pub(crate) fn renew(&mut self, gate: &Gate, store: &KeyStore, sessions: &SessionKeys, now: UnixTime) {
        gate.publish_session_keys(sessions);
        let ids = session_ids(store);
        if ids != self.sessions {
            tracing::info!(keys = ids.join(" "), "session keys taken up");
            self.sessions = ids;
        }
        for (purpose, running) in [
            (Purpose::Digests, &self.digests),
            (Purpose::DpopNonce, &self.dpop_nonce),
        ] {
            let Some(key) = store.active(purpose, now).filter(|key| key.id != *running) else {
                continue;
            };
            tracing::warn!(
                purpose = purpose.name(),
                running,
                stored = key.id,
                "another key is in the store: restart the gate to use it"
            );
        }
    }
}

/// The keys of `store` that seal sessions.
///
/// # Errors
/// [`GateKeysError`].
pub(crate) fn sessions(store: &KeyStore) -> Result<SessionKeys, GateKeysError> {
    let purpose = Purpose::Session;
    let keys: Result<Vec<SessionKey>, GateKeysError> = { store.keys(purpose).iter().enumerate() }
        .map(|(place, key)| {
            Ok(SessionKey {
                id: name(&key.id).ok_or(GateKeysError::Missing(purpose))?,
                secret: bytes(purpose, key)?,
                // The first seals until the next one does, whatever this machine's clock says.
                seals_from: if place == 0 { UnixTime::from_secs(0) } else { key.from },
                opens_until: key.until,
            })
        })
        .collect();
    Ok(SessionKeys::new(keys?)?)
}

fn active(store: &KeyStore, purpose: Purpose, now: UnixTime) -> Result<&StoredKey, GateKeysError> {
    store.active(purpose, now).ok_or(GateKeysError::Missing(purpose))
}

fn bytes(purpose: Purpose, key: &StoredKey) -> Result<Zeroizing<[u8; 32]>, GateKeysError> {
    key.bytes().ok_or(GateKeysError::Missing(purpose))
}

fn session_ids(store: &KeyStore) -> Vec<String> {
    store.keys(Purpose::Session).iter().map(|key| key.id.clone()).collect()
}

/// The four bytes that an id spells.
fn name(id: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(id, 16).ok().map(u32::to_be_bytes)
}
