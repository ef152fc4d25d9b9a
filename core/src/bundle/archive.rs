//! The archive of a bundle: gzip (RFC 1952) round a tar (POSIX ustar and pax, GNU long names), read from memory.
//!
//! Owns what may stand in an archive and its bounds. A name is one path below the root of the bundle; OPA writes it with
//! a slash in front and `tar` with `./`, and both mean the root. Links, devices, sparse files, `..`, a file that stands
//! twice and bytes behind the end are refused: another reader could see another bundle. Never writes to a disk.

use std::collections::BTreeMap;
use std::io::{Read, Write as _};

use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use tar::{Archive, Builder, EntryType, Header};

use super::BundleLimits;

/// The files of a bundle by their path: parts joined by `/`, none in front.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Why an archive is refused. Names of files are those of the archive, bounded and without control characters.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ArchiveError {
    /// A file stands twice, however its name is written.
    #[error("the file {0} stands twice")]
    Duplicate(String),
    /// There are more files than the limit.
    #[error("it has more than {0} files")]
    Files(usize),
    /// The bytes are no gzip stream, or not a whole one.
    #[error("it is not one whole gzip stream")]
    Gzip,
    /// An entry is no plain file and no folder.
    #[error("{0} is a link, a device or another special entry; only files and folders are taken")]
    Kind(String),
    /// The name of a file is no path below the root of the bundle, or too long.
    #[error("the name {0} is no plain path below the root of the bundle of at most {1} bytes")]
    Name(String, usize),
    /// More bytes than the limit before unpacking.
    #[error("it is larger than {0} bytes")]
    Packed(usize),
    /// What is unpacked is no tar, or not a whole one.
    #[error("it is not one whole tar archive")]
    Tar,
    /// More bytes than the limit after unpacking.
    #[error("unpacked it is larger than {0} bytes")]
    Unpacked(usize),
}

/// Unpacks `bytes` within `limits`.
pub(super) fn unpack(bytes: &[u8], limits: &BundleLimits) -> Result<Files, ArchiveError> {
    if limits.packed_bytes_max < bytes.len() {
        return Err(ArchiveError::Packed(limits.packed_bytes_max));
    }
    let tar = gunzip(bytes, limits.unpacked_bytes_max)?;
    let mut files = Files::new();
    let (mut end, mut entries) = (0, 0);
    for entry in Archive::new(tar.as_slice()).entries().map_err(|_| ArchiveError::Tar)? {
        let mut entry = entry.map_err(|_| ArchiveError::Tar)?;
        entries = usize::saturating_add(entries, 1);
        if limits.files_max < entries {
            return Err(ArchiveError::Files(limits.files_max));
        }
        let size = entry.size();
        end = entry.raw_file_position().saturating_add(padded(size));
        let kind = entry.header().entry_type();
        // The common header of what follows, as `git archive` writes it: it tells of no file.
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let name = path(&entry.path_bytes(), kind == EntryType::Directory, limits)?;
        match kind {
            EntryType::Directory if size == 0 => {}
            EntryType::Regular => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).map_err(|_| ArchiveError::Tar)?;
                if u64::try_from(content.len()) != Ok(size) {
                    return Err(ArchiveError::Tar);
                }
                if files.insert(name.clone(), content).is_some() {
                    return Err(ArchiveError::Duplicate(shown(name.as_bytes())));
                }
            }
            _ => return Err(ArchiveError::Kind(shown(name.as_bytes()))),
        }
    }
    // Two empty blocks end an archive, and nothing stands behind them: one that ends without was cut between two files.
    let rest = usize::try_from(end).ok().and_then(|end| tar.get(end..));
    match rest {
        Some(rest) if END_BYTES <= rest.len() && rest.iter().all(|byte| *byte == 0) => Ok(files),
        _ => Err(ArchiveError::Tar),
    }
}

/// Packs `files`: the same files always give the same bytes.
pub(super) fn pack(files: &Files) -> Result<Vec<u8>, ArchiveError> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(u64::try_from(content.len()).map_err(|_| ArchiveError::Tar)?);
        builder
            .append_data(&mut header, name, content.as_slice())
            .map_err(|_| ArchiveError::Tar)?;
    }
    let tar = builder.into_inner().map_err(|_| ArchiveError::Tar)?;
    // 255 stands for an unknown system, so that the bytes say nothing of this one.
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::default());
    gzip.write_all(&tar).map_err(|_| ArchiveError::Gzip)?;
    gzip.finish().map_err(|_| ArchiveError::Gzip)
}

/// A name as it stands in an archive, as the path of a file below the root.
pub(super) fn file_path(name: &[u8], limits: &BundleLimits) -> Result<String, ArchiveError> {
    path(name, false, limits)
}

fn path(name: &[u8], is_folder: bool, limits: &BundleLimits) -> Result<String, ArchiveError> {
    let refused = || ArchiveError::Name(shown(name), limits.path_bytes_max);
    let text = str::from_utf8(name).map_err(|_| refused())?;
    let text = text
        .strip_prefix("./")
        .or_else(|| text.strip_prefix('/'))
        .unwrap_or(text);
    if is_folder && matches!(text, "" | ".") {
        return Ok(String::new());
    }
    let text = if is_folder {
        text.strip_suffix('/').unwrap_or(text)
    } else {
        text
    };
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.chars().any(|letter| letter.is_control() || letter == '\\')
    };
    if limits.path_bytes_max < text.len() || !text.split('/').all(plain) {
        return Err(refused());
    }
    Ok(text.to_owned())
}

/// The whole of one gzip stream, at most `bytes_max`.
fn gunzip(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, ArchiveError> {
    let mut decoder = GzDecoder::new(bytes);
    let mut tar = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    (&mut decoder)
        .take(bound)
        .read_to_end(&mut tar)
        .map_err(|_| ArchiveError::Gzip)?;
    if bytes_max < tar.len() {
        return Err(ArchiveError::Unpacked(bytes_max));
    }
    // A second stream behind the first would be seen by some readers alone.
    match decoder.into_inner().is_empty() {
        true => Ok(tar),
        false => Err(ArchiveError::Gzip),
    }
}

/// A size, filled up to whole blocks.
fn padded(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX)
}

/// A name for people: bounded, and without control characters.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let escaped: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    format!("`{escaped}`")
}

const BLOCK_BYTES: u64 = 512;
const END_BYTES: usize = 1_024;
const SHOWN_CHARS_MAX: usize = 120;

/// What a gzip stream holds, for tests that cut it.
#[cfg(test)]
pub(super) fn tests_gunzip(bytes: &[u8]) -> Vec<u8> {
    gunzip(bytes, usize::MAX).unwrap()
}
