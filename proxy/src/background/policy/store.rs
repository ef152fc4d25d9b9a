//! The folder of one server's bundle: the bundle, its `ETag` and the history.
//!
//! Owns their names and the order in which they are written: a crash leaves a whole file of each kind, and a bundle that
//! is newer than its history, never an older one. Never judges what it reads.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use portcullis_core::bundle::History;

use super::ActivationError;

const BUNDLE: &str = "bundle.tar.gz";
const ETAG: &str = "etag";
const HISTORY: &str = "history";
const HISTORY_BYTES_MAX: usize = 8 << 20;
const ETAG_BYTES_MAX: usize = 1_024;

/// The kept bundle.
pub(super) fn bundle(folder: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    read(&folder.join(BUNDLE), bytes_max)
}

/// The `ETag` of the kept bundle.
pub(super) fn etag(folder: &Path) -> Option<Arc<str>> {
    let bytes = read(&folder.join(ETAG), ETAG_BYTES_MAX).ok()??;
    String::from_utf8(bytes).ok().map(Arc::from)
}

/// Which bundles have ruled.
pub(super) fn history(folder: &Path) -> Result<History, ActivationError> {
    let Some(bytes) = read(&folder.join(HISTORY), HISTORY_BYTES_MAX)? else {
        return Ok(History::default());
    };
    let text = String::from_utf8(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(History::parse(&text)?)
}

/// Keeps a bundle that shall rule.
pub(super) fn keep(folder: &Path, bundle: &[u8], etag: Option<&str>, history: &History) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // Another bundle's tag must not stand beside this one.
    remove(&folder.join(ETAG))?;
    write(&folder.join(BUNDLE), bundle)?;
    write(&folder.join(HISTORY), history.to_text().as_bytes())?;
    keep_etag(folder, etag)
}

/// Keeps the `ETag` of the bundle that is kept.
pub(super) fn keep_etag(folder: &Path, etag: Option<&str>) -> io::Result<()> {
    match etag {
        Some(etag) => write(&folder.join(ETAG), etag.as_bytes()),
        None => remove(&folder.join(ETAG)),
    }
}

fn read(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    file.take(bound.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() <= bytes_max {
        true => Ok(Some(bytes)),
        false => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
    }
}

/// Whole or not at all, and durable once this returns.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
