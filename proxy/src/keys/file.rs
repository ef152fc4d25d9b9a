//! The files of keys: a small JSON document of the store, or 64 hexadecimal digits outside it.
//!
//! Owns both forms, their bounds and how they are written: whole, durable, mode 0600. What is read must be exactly what
//! was written: a key whose name does not follow from it is damaged. Errors tell a place, never a byte of the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::time::UnixTime;
use ring::digest::{Context, SHA256};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::public::is_signing_key;
use super::{KeyStoreError, Purpose, StoredKey};

/// What stood in a file.
pub(super) struct Read {
    /// The keys, at least one, oldest first.
    pub(super) keys: Vec<StoredKey>,
    /// Whether everybody on this machine can read it.
    pub(super) readable: bool,
}

/// What is wrong with the content of a key file; says nothing of it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ParseError {
    /// A key's name does not follow from it.
    #[error("is damaged: the key `{0}` does not belong to its id")]
    Damaged(String),
    /// No key is without an end, or one that is not the last.
    #[error("is damaged: the last key must have no `until`, and every other one must")]
    Ends,
    /// It holds keys of something else.
    #[error("holds keys for `{found}`, not for `{wanted}`")]
    Foreign {
        /// What the file says.
        found: String,
        /// What its place says.
        wanted: Purpose,
    },
    /// It holds no 64 hexadecimal digits.
    #[error("does not hold 64 hexadecimal digits")]
    Hex,
    /// It holds no document of this form.
    #[error("is no key file (line {line}, column {column})")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// It is no file.
    #[error("is no file")]
    NoFile,
    /// It has none, or too many keys.
    #[error("must hold 1 to {KEYS_MAX} keys")]
    Number,
    /// The keys do not follow each other.
    #[error("is damaged: its keys are not in the order of their times")]
    Order,
    /// Two keys have one id.
    #[error("is damaged: two keys have one id")]
    Repeated,
    /// It is too large.
    #[error("has {FILE_BYTES_MAX} bytes or more")]
    Size,
    /// Another version wrote it.
    #[error("has version {0}; this gate reads version {VERSION}")]
    Version(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'t> {
    version: u64,
    purpose: &'t str,
    #[serde(borrow)]
    keys: Vec<Entry<'t>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'t> {
    id: &'t str,
    from: u64,
    until: Option<u64>,
    secret: &'t str,
}

/// The keys of `path`; `None` when there is no such file. `outside` expects hexadecimal digits.
///
/// # Errors
/// [`KeyStoreError`].
pub(super) fn read(path: &Path, purpose: Purpose, outside: bool) -> Result<Option<Read>, KeyStoreError> {
    let failed = |error| KeyStoreError::File(path.to_path_buf(), error);
    let form = |error| KeyStoreError::Form(path.to_path_buf(), error);
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(failed)?,
    };
    if !metadata.is_file() {
        return Err(form(ParseError::NoFile));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o002 != 0 {
        return Err(KeyStoreError::Writable(path.to_path_buf()));
    }
    if FILE_BYTES_MAX as u64 <= metadata.len() {
        return Err(form(ParseError::Size));
    }
    // One allocation that is wiped: a text that grew would leave pieces behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * FILE_BYTES_MAX));
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX as u64)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let keys = match outside {
        true => parse_hex(&text, purpose).map(|key| vec![key]),
        false => parse(&text, purpose),
    };
    Ok(Some(Read {
        keys: keys.map_err(form)?,
        readable: mode & 0o004 != 0,
    }))
}

/// The keys of a document.
///
/// # Errors
/// [`ParseError`].
pub(super) fn parse(text: &str, purpose: Purpose) -> Result<Vec<StoredKey>, ParseError> {
    // The error's own text may quote what stands there.
    let document: Document<'_> = serde_json::from_str(text).map_err(|error| ParseError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    if document.version != VERSION {
        return Err(ParseError::Version(document.version));
    }
    if document.purpose != purpose.name() {
        return Err(ParseError::Foreign {
            found: Purpose::from_name(document.purpose)
                .map_or("something else", Purpose::name)
                .to_owned(),
            wanted: purpose,
        });
    }
    if document.keys.is_empty() || KEYS_MAX < document.keys.len() {
        return Err(ParseError::Number);
    }
    let mut keys: Vec<StoredKey> = Vec::with_capacity(document.keys.len());
    for entry in &document.keys {
        let key = stored(entry, purpose)?;
        if keys.iter().any(|other| other.id == key.id) {
            return Err(ParseError::Repeated);
        }
        if keys.last().is_some_and(|last| key.from < last.from) || key.until.is_some_and(|until| until < key.from) {
            return Err(ParseError::Order);
        }
        keys.push(key);
    }
    match keys.split_last() {
        Some((last, older)) if last.until.is_none() && older.iter().all(|key| key.until.is_some()) => Ok(keys),
        _ => Err(ParseError::Ends),
    }
}

fn stored(entry: &Entry<'_>, purpose: Purpose) -> Result<StoredKey, ParseError> {
    let named: String = entry
        .id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(ID_DIGITS)
        .collect();
    let damaged = || ParseError::Damaged(named.clone());
    let mut secret = Zeroizing::new(Vec::with_capacity(entry.secret.len()));
    URL_SAFE_NO_PAD
        .decode_vec(entry.secret, &mut secret)
        .map_err(|_| damaged())?;
    if id_of(purpose, &secret) != entry.id || !is_of_form(purpose, &secret) {
        return Err(damaged());
    }
    Ok(StoredKey {
        id: entry.id.to_owned(),
        secret,
        from: UnixTime::from_secs(entry.from),
        until: entry.until.map(UnixTime::from_secs),
    })
}

fn is_of_form(purpose: Purpose, secret: &[u8]) -> bool {
    match purpose {
        Purpose::Assertion => is_signing_key(secret),
        Purpose::Digests | Purpose::DpopNonce | Purpose::Session => secret.len() == 32,
    }
}

/// The key of 64 hexadecimal digits, good at any time.
fn parse_hex(text: &str, purpose: Purpose) -> Result<StoredKey, ParseError> {
    let text = text.trim_end();
    if text.len() != 64 {
        return Err(ParseError::Hex);
    }
    let mut secret = Zeroizing::new(Vec::with_capacity(32));
    for digits in text.as_bytes().chunks_exact(2) {
        let digits = std::str::from_utf8(digits).map_err(|_| ParseError::Hex)?;
        // `from_str_radix` would take a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ParseError::Hex);
        }
        secret.push(u8::from_str_radix(digits, 16).map_err(|_| ParseError::Hex)?);
    }
    Ok(StoredKey {
        id: id_of(purpose, &secret),
        secret,
        from: UnixTime::from_secs(0),
        until: None,
    })
}

/// The document of these keys.
pub(super) fn render(purpose: Purpose, keys: &[StoredKey]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
    text.push_str(&format!(
        "{{\n  \"version\": {VERSION},\n  \"purpose\": \"{purpose}\",\n  \"keys\": ["
    ));
    for (index, key) in keys.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let until = key
            .until
            .map_or_else(|| "null".to_owned(), |until| until.secs().to_string());
        text.push_str(&format!(
            "{separator}\n    {{\"id\": \"{}\", \"from\": {}, \"until\": {until}, \"secret\": \"",
            key.id,
            key.from.secs()
        ));
        URL_SAFE_NO_PAD.encode_string(&key.secret, &mut text);
        text.push_str("\"}");
    }
    text.push_str("\n  ]\n}\n");
    text
}

/// The file of a key outside the store.
pub(super) fn render_hex(key: &StoredKey) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(80));
    for byte in key.secret.iter() {
        for nibble in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    text.push('\n');
    text
}

/// Puts `text` at `path`, whole or not at all, for its owner alone: a new file beside it, made durable and renamed.
///
/// # Errors
/// As the system gives them.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // What a process that died left behind.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder_of(path))?.sync_all()
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// A key's name: it follows from purpose and key, so that a damaged key is found, and one key has one name everywhere.
pub(super) fn id_of(purpose: Purpose, secret: &[u8]) -> String {
    let mut digest = Context::new(&SHA256);
    digest.update(b"portcullis key id\0");
    digest.update(purpose.name().as_bytes());
    digest.update(b"\0");
    digest.update(secret);
    let digest = digest.finish();
    let bytes = digest.as_ref().iter().take(ID_DIGITS / 2);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// The version of the documents.
const VERSION: u64 = 1;
/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 8;
/// Keys of one purpose.
pub(super) const KEYS_MAX: usize = 16;
/// Bound of a file.
const FILE_BYTES_MAX: usize = 16 * 1024;
