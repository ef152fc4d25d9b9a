//! The gate's own keys: what each is for, where it lies, which of a purpose's keys does what at a time.
//!
//! Owns [`Purpose`], [`StoredKey`] and [`KeyStore`]; the form of the files is `file`'s, making and rotating keys is
//! `make`'s, what of them is public is `public`'s. Never prints a secret, never makes a key that nobody asked for, and never
//! overwrites one.

use std::fmt;
use std::io;
use std::path::PathBuf;

use portcullis_core::time::UnixTime;
use zeroize::Zeroizing;

pub(crate) use file::ParseError;
pub(crate) use make::{MakeError, Rotation, init, rotate};
pub(crate) use public::public_jwks;

mod file;
mod make;
mod public;

/// What a key is for. A key serves one purpose alone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Purpose {
    /// Signs the assertions that tell upstreams who calls: P-256 for ES256 (RFC 7518 section 3.4).
    Assertion,
    /// Keys the digests of arguments, sessions and principals in the records.
    Digests,
    /// Keys the nonces of proofs of possession (RFC 9449 section 8).
    DpopNonce,
    /// Seals the sessions of the legacy era.
    Session,
}

impl Purpose {
    /// Every purpose, in the order of its name.
    pub(crate) const ALL: [Self; 4] = [Self::Assertion, Self::Digests, Self::DpopNonce, Self::Session];

    /// The purpose's name, on the command line and in files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Assertion => "assertion",
            Self::Digests => "digests",
            Self::DpopNonce => "dpop_nonce",
            Self::Session => "session",
        }
    }

    /// The purpose of that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// One key of the store.
#[derive(Clone)]
pub(crate) struct StoredKey {
    /// Its name: eight hexadecimal digits that follow from purpose and key.
    pub(crate) id: String,
    /// The key: 32 bytes, or for [`Purpose::Assertion`] the PKCS #8 DER of a P-256 key.
    pub(crate) secret: Zeroizing<Vec<u8>>,
    /// From when on it seals or signs; it opens as soon as it is read.
    pub(crate) from: UnixTime,
    /// Until when it opens; `None` for the newest key of a purpose, and for it alone.
    pub(crate) until: Option<UnixTime>,
}

impl StoredKey {
    /// The key as bytes; `None` for a key that signs.
    pub(crate) fn bytes(&self) -> Option<Zeroizing<[u8; 32]>> {
        <[u8; 32]>::try_from(self.secret.as_slice()).ok().map(Zeroizing::new)
    }
}

/// Without the key.
impl fmt::Debug for StoredKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoredKey")
            .field("id", &self.id)
            .field("from", &self.from)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// What a key does at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyState {
    /// It seals and opens.
    Active,
    /// It does nothing any more; the next rotation drops it.
    Ended,
    /// It opens, and will seal later.
    Next,
    /// It opens what was sealed with it.
    Retiring,
}

impl KeyState {
    /// The state's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Next => "next",
            Self::Retiring => "retiring",
        }
    }
}

/// Where the keys lie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KeyPlaces {
    /// The folder of the store: one file a purpose.
    pub(crate) directory: PathBuf,
    /// A file of 64 hexadecimal digits in place of the store's for [`Purpose::Digests`].
    pub(crate) digests: Option<PathBuf>,
}

impl KeyPlaces {
    /// The file of a purpose's keys.
    pub(crate) fn file(&self, purpose: Purpose) -> PathBuf {
        match (&self.digests, purpose) {
            (Some(path), Purpose::Digests) => path.clone(),
            _ => self.directory.join(format!("{purpose}.json")),
        }
    }

    /// Whether a purpose has a file of its own form, outside the store.
    fn is_outside(&self, purpose: Purpose) -> bool {
        purpose == Purpose::Digests && self.digests.is_some()
    }
}

/// Why the keys of a purpose cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyStoreError {
    /// The file cannot be read.
    #[error("the key file `{0}`: {1}")]
    File(PathBuf, io::Error),
    /// The file holds something else.
    #[error("the key file `{0}` {1}")]
    Form(PathBuf, ParseError),
    /// Everybody may write the file.
    #[error(
        "the key file `{0}` can be written by everybody on this machine: take that right away, and the key out of use"
    )]
    Writable(PathBuf),
}

/// The keys of all purposes, as they were read.
#[derive(Clone, Debug)]
pub(crate) struct KeyStore {
    keys: [Vec<StoredKey>; Purpose::ALL.len()],
    readable: Vec<PathBuf>,
}

impl KeyStore {
    /// Reads the keys of these places; a purpose without a file has none. Blocks on files.
    ///
    /// # Errors
    /// [`KeyStoreError`] for the first file that cannot be read, or that is no key file of its purpose.
    pub(crate) fn open(places: &KeyPlaces) -> Result<Self, KeyStoreError> {
        let mut store = Self {
            keys: Default::default(),
            readable: Vec::new(),
        };
        for (purpose, keys) in Purpose::ALL.into_iter().zip(&mut store.keys) {
            let path = places.file(purpose);
            let Some(read) = file::read(&path, purpose, places.is_outside(purpose))? else {
                continue;
            };
            *keys = read.keys;
            if read.readable {
                store.readable.push(path);
            }
        }
        Ok(store)
    }

    /// The keys of a purpose, oldest first; empty when there is no file.
    pub(crate) fn keys(&self, purpose: Purpose) -> &[StoredKey] {
        let all = Purpose::ALL.into_iter().zip(&self.keys);
        let found = all.into_iter().find(|(of, _)| *of == purpose);
        found.map_or(&[], |(_, keys)| keys)
    }

    /// The key that seals or signs at `now`: the last that has begun, or the first when none has, as on a machine whose
    /// clock is behind. `None` when there is no file.
    pub(crate) fn active(&self, purpose: Purpose, now: UnixTime) -> Option<&StoredKey> {
        let keys = self.keys(purpose);
        keys.iter().rev().find(|key| key.from <= now).or_else(|| keys.first())
    }

    /// What `key` of `purpose` does at `now`.
    pub(crate) fn state(&self, purpose: Purpose, key: &StoredKey, now: UnixTime) -> KeyState {
        if self.active(purpose, now).is_some_and(|active| active.id == key.id) {
            return KeyState::Active;
        }
        match key.until {
            Some(until) if until <= now => KeyState::Ended,
            _ if now < key.from => KeyState::Next,
            _ => KeyState::Retiring,
        }
    }

    /// The purposes without a key.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Purpose> {
        Purpose::ALL
            .into_iter()
            .filter(|purpose| self.keys(*purpose).is_empty())
    }

    /// The files that everybody on this machine can read.
    pub(crate) fn readable_by_others(&self) -> &[PathBuf] {
        &self.readable
    }
}

#[cfg(test)]
mod tests;
