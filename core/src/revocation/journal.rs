//! How revocations survive a restart: a journal of lines, each with its checksum.
//!
//! Owns the format, version 1: a header line, then one line an entry, `{"crc":"........","entry":{...}}`, whose CRC-32
//! (IEEE) is over the bytes of the entry's object as written. A later line of the same target counts. Never does I/O: the
//! embedder writes a line and syncs it before it answers. A last line without its line feed was therefore never
//! acknowledged and is cut; anything else that does not check out is damage, and a gate does not start on it.

use serde::{Deserialize, Serialize};

use super::{RevocationEntry, RevokedKind};
use crate::record_id::RecordId;
use crate::time::UnixTime;

/// What a journal holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Journal {
    /// The entries, oldest first.
    pub entries: Vec<RevocationEntry>,
    /// Bytes up to the end of the last whole line; what follows is torn.
    pub whole_bytes: usize,
}

/// Why a journal cannot be taken up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JournalError {
    /// A line is not as it was written.
    #[error("line {0} of the journal of revocations is damaged")]
    Damaged(usize),
    /// The file is something else, or of another version.
    #[error("the file is no journal of revocations of version 1")]
    Header,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored<'e> {
    id: String,
    kind: &'e str,
    issuer: &'e str,
    tenant: Option<&'e str>,
    target: &'e str,
    expires: u64,
    revoked_at: u64,
    reason: Option<&'e str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    id: String,
    kind: Box<str>,
    issuer: Box<str>,
    tenant: Option<Box<str>>,
    target: Box<str>,
    expires: u64,
    revoked_at: u64,
    reason: Option<Box<str>>,
}

/// The first line of a journal.
pub const fn journal_header() -> &'static [u8] {
    HEADER
}

/// Appends the line of one entry.
pub fn encode(entry: &RevocationEntry, out: &mut Vec<u8>) {
    let stored = Stored {
        id: entry.id.to_string(),
        kind: entry.kind.code(),
        issuer: &entry.issuer,
        tenant: entry.tenant.as_deref(),
        target: &entry.target,
        expires: entry.expires.secs(),
        revoked_at: entry.revoked_at.secs(),
        reason: entry.reason.as_deref(),
    };
    // Texts and numbers alone: this cannot fail, and if it did, the line would not be read back.
    let json = serde_json::to_string(&stored).unwrap_or_default();
    let crc = crc32fast::hash(json.as_bytes());
    out.extend_from_slice(format!("{START}{crc:08x}{MIDDLE}{json}{END}\n").as_bytes());
}

/// Reads a journal.
///
/// # Errors
/// [`JournalError`] for anything but a last line that is torn.
pub fn read_journal(bytes: &[u8]) -> Result<Journal, JournalError> {
    let Some(mut rest) = bytes.strip_prefix(HEADER) else {
        // A header that is not whole was the first write of all.
        return match HEADER.starts_with(bytes) {
            true => Ok(Journal {
                entries: Vec::new(),
                whole_bytes: 0,
            }),
            false => Err(JournalError::Header),
        };
    };
    let mut entries = Vec::new();
    let mut line_number = 1_usize;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        line_number = line_number.saturating_add(1);
        entries.push(decode(line).ok_or(JournalError::Damaged(line_number))?);
        rest = after.get(1..).unwrap_or_default();
    }
    Ok(Journal {
        entries,
        whole_bytes: bytes.len().saturating_sub(rest.len()),
    })
}

fn decode(line: &[u8]) -> Option<RevocationEntry> {
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix(START)?.strip_suffix(END)?;
    let (crc, json) = rest.split_once(MIDDLE)?;
    let sum = crc32fast::hash(json.as_bytes());
    if crc != format!("{sum:08x}") {
        return None;
    }
    let read: Read = serde_json::from_str(json).ok()?;
    Some(RevocationEntry {
        id: RecordId::parse(&read.id)?,
        issuer: read.issuer,
        tenant: read.tenant,
        kind: RevokedKind::ALL.into_iter().find(|kind| kind.code() == &*read.kind)?,
        target: read.target,
        expires: UnixTime::from_secs(read.expires),
        revoked_at: UnixTime::from_secs(read.revoked_at),
        reason: read.reason,
    })
}

const HEADER: &[u8] = b"{\"portcullis\":\"revocations\",\"version\":1}\n";
const START: &str = "{\"crc\":\"";
const MIDDLE: &str = "\",\"entry\":";
const END: &str = "}";
