//! The key of argument digests and principal ids: read from its file, or made there.
//!
//! Owns the file's form, 64 hexadecimal digits and a line feed. Never overwrites a file, never logs a byte of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DigestKeyError {
    /// The file cannot be read or made.
    #[error("the file `{0}`: {1}")]
    File(PathBuf, io::Error),
    /// The file holds something else.
    #[error("the file `{0}` does not hold 64 hexadecimal digits")]
    Form(PathBuf),
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

/// The key in `path`; a file that is absent is made with mode 0600, its folder with 0700.
///
/// # Errors
/// [`DigestKeyError`]; an existing file is left as it is.
pub(crate) fn take(path: &Path) -> Result<Zeroizing<[u8; 32]>, DigestKeyError> {
    match read(path) {
        Err(DigestKeyError::File(_, error)) if error.kind() == io::ErrorKind::NotFound => make(path),
        read => read,
    }
}

fn read(path: &Path) -> Result<Zeroizing<[u8; 32]>, DigestKeyError> {
    let failed = |error| DigestKeyError::File(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o007 != 0 {
        tracing::warn!(path = %path.display(), "the digest key can be read by everybody on this machine");
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    parse(text.trim_end()).ok_or_else(|| DigestKeyError::Form(path.to_owned()))
}

fn make(path: &Path) -> Result<Zeroizing<[u8; 32]>, DigestKeyError> {
    let failed = |error| DigestKeyError::File(path.to_owned(), error);
    let mut key = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(key.as_mut())
        .map_err(|_| DigestKeyError::Randomness)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in key.iter() {
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('\n');
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    tracing::info!(path = %path.display(), "a digest key was made");
    Ok(key)
}

fn parse(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        // `from_str_radix` would take a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(key)
}

/// A key and some white space.
const FILE_BYTES_MAX: u64 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit/digest.key");
        let made = take(&path).unwrap();
        assert_ne!(*made, [0; 32]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*take(&path).unwrap(), *made);
    }

    #[test]
    fn a_file_of_another_form_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("digest.key");
        let check = |text: &str, good: bool| {
            fs::write(&path, text).unwrap();
            assert_eq!(take(&path).is_ok(), good, "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        };
        check(&"0a".repeat(32), true);
        check(&format!("{}\n", "AF".repeat(32)), true);
        check("", false);
        check(&"0a".repeat(31), false);
        check(&"0a".repeat(33), false);
        check(&"+a".repeat(32), false);
        check(&"0g".repeat(32), false);
        check(&"0a".repeat(200), false);
    }
}
