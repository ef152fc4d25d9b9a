//! The files that a configuration names: read whole, bounded, relative to the configuration's folder.
//!
//! Owns the running digest over what was read, and the two ways to a secret. Secrets never enter the digest and are
//! zeroized. Never writes a file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::diagnose::{Code, Diagnostic};
use super::raw::Place;

/// Reads files and remembers a digest of them.
pub(super) struct Files {
    config: PathBuf,
    folder: PathBuf,
    digest: Context,
}

impl Files {
    /// A reader for what the configuration at `config` names.
    pub(super) fn new(config: &Path) -> Self {
        Self {
            config: config.to_path_buf(),
            folder: config.parent().map(Path::to_path_buf).unwrap_or_default(),
            digest: Context::new(&SHA256),
        }
    }

    /// The configuration itself.
    ///
    /// # Errors
    /// A diagnostic about the whole file.
    pub(super) fn read_config(&mut self, path: &Path) -> Result<String, Box<Diagnostic>> {
        match read_text(path, CONFIG_BYTES_MAX) {
            Ok(text) => {
                self.absorb("", &text);
                Ok(text)
            }
            Err(error) => Err(Box::new(Diagnostic::new(
                Code::FileUnreadable,
                path,
                Place::default(),
                format!("the configuration cannot be read: {error}"),
            ))),
        }
    }

    /// The configuration's own path.
    pub(super) fn config_path(&self) -> &Path {
        &self.config
    }

    /// Where the file `name` lies.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The text of the file `name`; its name and content enter the digest.
    ///
    /// # Errors
    /// As the system gives them; also for text that is not UTF-8 and for files over the bound.
    pub(super) fn read(&mut self, name: &str) -> io::Result<String> {
        let text = read_text(&self.path(name), FILE_BYTES_MAX)?;
        self.absorb(name, &text);
        Ok(text)
    }

    /// The first line of the secret file `name`.
    ///
    /// # Errors
    /// As the system gives them.
    pub(super) fn read_secret(&self, name: &str) -> io::Result<Zeroizing<String>> {
        let text = Zeroizing::new(read_text(&self.path(name), SECRET_BYTES_MAX)?);
        Ok(Zeroizing::new(
            text.lines().next().unwrap_or_default().trim().to_owned(),
        ))
    }

    /// The whole secret file `name`, such as a key in PEM.
    ///
    /// # Errors
    /// As the system gives them.
    pub(super) fn read_secret_whole(&self, name: &str) -> io::Result<Zeroizing<String>> {
        read_text(&self.path(name), SECRET_BYTES_MAX).map(Zeroizing::new)
    }

    /// SHA-256 over everything that was read.
    pub(super) fn digest(self) -> [u8; 32] {
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(self.digest.finish().as_ref()) {
            *to = *from;
        }
        digest
    }

    /// Lengths go first, so that no two sets of files give the same bytes.
    fn absorb(&mut self, name: &str, text: &str) {
        for part in [name, text] {
            self.digest.update(&(part.len() as u64).to_le_bytes());
            self.digest.update(part.as_bytes());
        }
    }
}

/// The UTF-8 text of a file of at most `bytes_max` bytes.
fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {bytes_max} bytes"),
        ));
    }
    Ok(text)
}

/// Bound of the configuration itself.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bound of a file that it names: policy data of a million subjects fits.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bound of a secret.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
