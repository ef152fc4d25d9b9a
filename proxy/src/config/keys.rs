//! The gate's own keys as the configuration names them: where they lie, and whether a gate can start with what is there.
//!
//! Owns what a person is told about keys that are missing. Never makes one.

use std::path::{Path, PathBuf};

use super::diagnose::{self, Code, Diagnostic, Diagnostics};
use super::files::Files;
use super::lower;
use super::raw::{self, Place, RawConfig};
use crate::keys::{KeyPlaces, KeyStore};

/// Where the keys lie, and where an earlier version kept one.
pub(crate) struct NamedKeys {
    /// Where the keys lie.
    pub(crate) places: KeyPlaces,
    /// The key of digests that versions before the store made beside the records, when it is there and nothing names it.
    pub(crate) unnamed: Option<PathBuf>,
}

/// Where the configuration at `path` says that keys lie; the rest of it need not be right, nor even there.
///
/// # Errors
/// [`Diagnostics`] for a text that is no configuration.
pub(crate) fn key_places(path: &Path) -> Result<NamedKeys, Diagnostics> {
    let mut files = Files::new(path);
    let source = files
        .read_config(path)
        .map_err(|diagnostic| Diagnostics::from(*diagnostic))?;
    let raw = raw::read::<RawConfig>(&source).map_err(|error| diagnose::of_yaml(&error, path, &source))?;
    let places = lower::key_places(&raw, &files);
    let before = files.path(&raw.audit.directory.value).join("digest.key");
    let unnamed = places.digests.is_none() && before.is_file();
    Ok(NamedKeys {
        places,
        unnamed: unnamed.then_some(before),
    })
}

/// The keys at `places`, which the configuration at `path` names; none is missing.
///
/// # Errors
/// [`Diagnostics`] that name each missing key, its file and the command that makes it.
pub(crate) fn open_keys(places: &KeyPlaces, path: &Path) -> Result<KeyStore, Diagnostics> {
    let fault = |code, message| Diagnostics::from(Diagnostic::new(code, path, Place::default(), message));
    let store = KeyStore::open(places).map_err(|error| fault(Code::KeyUnusable, error.to_string()))?;
    let missing: Vec<_> = store.missing().collect();
    if missing.is_empty() {
        return Ok(store);
    }
    let named: Vec<String> = missing
        .iter()
        .map(|purpose| format!("`{purpose}` in `{}`", places.file(*purpose).display()))
        .collect();
    let message = format!(
        "no key for {}: `portcullis keys init -c {}` makes what is missing",
        named.join(", "),
        path.display()
    );
    Err(fault(Code::KeyMissing, message))
}
