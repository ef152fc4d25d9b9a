//! Making keys: those that are missing, and the next one of a purpose.
//!
//! Owns [`init`] and [`rotate`] and the lock that keeps two of them apart. Time comes in; randomness is the system's.
//! Never overwrites a key that is in use, and never makes one that a running gate would have to guess.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::time::UnixTime;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use zeroize::Zeroizing;

use super::{KeyPlaces, KeyState, KeyStore, KeyStoreError, Purpose, StoredKey, file};

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    /// The folder or the file cannot be written.
    #[error("`{0}` cannot be written: {1}")]
    Write(PathBuf, io::Error),
    /// There is no key to follow.
    #[error("there is no key for `{0}` yet")]
    Missing(Purpose),
    /// The key lies outside the store.
    #[error("the key for `{0}` lies in `{1}`, outside the store: it has no successor there")]
    Outside(Purpose, PathBuf),
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// What is there cannot be used.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// Too many keys still open.
    #[error("there are {max} keys for `{0}` already: wait until one has ended", max = file::KEYS_MAX)]
    TooMany(Purpose),
}

/// One key that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Made {
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// Its name.
    pub(crate) id: String,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

/// When a new key takes over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    /// How long the old key opens after the new one has begun to seal.
    pub(crate) overlap: Duration,
    /// When the new key begins to seal, from now.
    pub(crate) activate_after: Duration,
}

/// What a rotation did.
#[derive(Clone, Debug)]
pub(crate) struct Rotated {
    /// The new key.
    pub(crate) made: Made,
    /// When it begins to seal.
    pub(crate) from: UnixTime,
    /// The id of the key before it, and until when that opens.
    pub(crate) retiring: (String, UnixTime),
    /// The ids of keys that are gone: ended, or replaced before they began.
    pub(crate) dropped: Vec<String>,
}

/// Makes a key for each purpose that has none.
///
/// # Errors
/// [`MakeError`]; what was made before stays.
pub(crate) fn init(places: &KeyPlaces, now: UnixTime) -> Result<Vec<Made>, MakeError> {
    let _lock = lock(&places.directory)?;
    let store = KeyStore::open(places)?;
    let mut made = Vec::new();
    for purpose in store.missing() {
        let key = generate(purpose, UnixTime::from_secs(now.secs()))?;
        let path = places.file(purpose);
        let text = match places.is_outside(purpose) {
            true => file::render_hex(&key),
            false => file::render(purpose, std::slice::from_ref(&key)),
        };
        write(&path, &text)?;
        made.push(Made {
            purpose,
            id: key.id,
            path,
        });
    }
    Ok(made)
}

/// Makes the next key of a purpose. A key that has not begun to seal is replaced, and ended ones are dropped.
///
/// # Errors
/// [`MakeError`]; nothing is changed then.
pub(crate) fn rotate(
    places: &KeyPlaces,
    purpose: Purpose,
    rotation: Rotation,
    now: UnixTime,
) -> Result<Rotated, MakeError> {
    let path = places.file(purpose);
    if places.is_outside(purpose) {
        return Err(MakeError::Outside(purpose, path));
    }
    let _lock = lock(&places.directory)?;
    let store = KeyStore::open(places)?;
    let active = store.active(purpose, now).ok_or(MakeError::Missing(purpose))?;
    // Files count whole seconds. An active key may have been made within this one.
    let from = UnixTime::from_secs(now.after(rotation.activate_after).secs()).max(active.from);
    let retires = UnixTime::from_secs(from.after(rotation.overlap).secs());
    let mut kept = Vec::new();
    let mut dropped = Vec::new();
    for key in store.keys(purpose) {
        match store.state(purpose, key, now) {
            KeyState::Active => kept.push(StoredKey {
                until: Some(retires),
                ..key.clone()
            }),
            KeyState::Retiring => kept.push(StoredKey {
                until: key.until.map(|until| until.min(retires)),
                ..key.clone()
            }),
            KeyState::Ended | KeyState::Next => dropped.push(key.id.clone()),
        }
    }
    let retiring = (active.id.clone(), retires);
    let key = generate(purpose, from)?;
    let made = Made {
        purpose,
        id: key.id.clone(),
        path: path.clone(),
    };
    kept.push(key);
    if file::KEYS_MAX < kept.len() {
        return Err(MakeError::TooMany(purpose));
    }
    write(&path, &file::render(purpose, &kept))?;
    Ok(Rotated {
        made,
        from,
        retiring,
        dropped,
    })
}

/// A new key that seals from `from` on.
fn generate(purpose: Purpose, from: UnixTime) -> Result<StoredKey, MakeError> {
    let random = SystemRandom::new();
    let secret = match purpose {
        Purpose::Assertion => {
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .map_err(|_| MakeError::Randomness)?;
            Zeroizing::new(document.as_ref().to_vec())
        }
        Purpose::Digests | Purpose::DpopNonce | Purpose::Session => {
            let mut secret = Zeroizing::new(vec![0; 32]);
            random.fill(&mut secret).map_err(|_| MakeError::Randomness)?;
            secret
        }
    };
    Ok(StoredKey {
        id: file::id_of(purpose, &secret),
        secret,
        from,
        until: None,
    })
}

/// The folder, made for its owner alone when it is absent, and locked: two commands at once would lose a key.
fn lock(directory: &Path) -> Result<File, MakeError> {
    let failed = |error| MakeError::Write(directory.to_path_buf(), error);
    make_folder(directory).map_err(failed)?;
    let folder = File::open(directory).map_err(failed)?;
    folder.lock().map_err(failed)?;
    Ok(folder)
}

fn write(path: &Path, text: &str) -> Result<(), MakeError> {
    make_folder(&file::folder_of(path))
        .and_then(|()| file::write(path, text))
        .map_err(|error| MakeError::Write(path.to_path_buf(), error))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
