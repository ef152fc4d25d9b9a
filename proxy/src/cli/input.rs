//! What the commands about tokens and keys read: standard input, key files, times; all of it bounded.
//!
//! Owns [`KeyFile`]. A token never comes from the command line, where every process of the machine could read it, and is
//! wiped from memory after use.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use portcullis_core::config::Limits;
use portcullis_core::jwks::{JwksLimits, KeyReport, KeySet, KeySetError};
use portcullis_core::time::UnixTime;
use zeroize::{Zeroize as _, Zeroizing};

/// A key set from a file, with what became of each key.
#[derive(Debug)]
pub(super) struct KeyFile {
    /// The whole set, as `KeySet::parse` reads it.
    text: Vec<u8>,
    /// Each key, in the order of the file.
    pub(super) reports: Vec<KeyReport>,
}

/// Why a key file gives nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFileError {
    /// The file.
    #[error("the key set `{0}` cannot be read: {1}")]
    Read(String, io::Error),
    /// What stands in it.
    #[error("the key set `{0}` cannot be used: {1}")]
    Set(String, KeySetError),
}

impl KeyFile {
    /// Reads a JWK Set, or a single JWK, from `path`; `-` is standard input.
    ///
    /// # Errors
    /// [`KeyFileError`] for what is no key set within the gate's limits; a key that cannot be used is no error here.
    pub(super) fn read(path: &Path, limits: &Limits) -> Result<Self, KeyFileError> {
        let name = path.display().to_string();
        let bounds = bounds(limits);
        let read = match path.as_os_str() == "-" {
            true => bounded(io::stdin().lock(), bounds.bytes_max),
            false => File::open(path).and_then(|file| bounded(file, bounds.bytes_max)),
        };
        let mut text = read.map_err(|error| KeyFileError::Read(name.clone(), error))?;
        let reports = match KeySet::report(&text, &bounds) {
            // A single key is a set of one.
            Err(KeySetError::NoKeys) if is_key(&text) => {
                text = [b"{\"keys\":[".as_slice(), &text, b"]}"].concat();
                KeySet::report(&text, &bounds)
            }
            reports => reports,
        };
        match reports {
            Ok(reports) => Ok(Self { text, reports }),
            Err(error) => Err(KeyFileError::Set(name, error)),
        }
    }

    /// The usable keys.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn key_set(&self, path: &Path, limits: &Limits, now: UnixTime) -> Result<KeySet, KeyFileError> {
        KeySet::parse(&self.text, &bounds(limits), now)
            .map_err(|error| KeyFileError::Set(path.display().to_string(), error))
    }

    /// One line for each key that is not used.
    pub(super) fn complaints(&self) -> impl Iterator<Item = String> {
        let keys = (1..).zip(&self.reports);
        keys.filter_map(|(place, key)| {
            let reason = key.verdict.err()?;
            let kid = key
                .kid
                .as_ref()
                .map_or_else(String::new, |kid| format!(" (kid {})", quoted(kid)));
            Some(format!("key {place}{kid} is not used: {reason}"))
        })
    }
}

/// Text from elsewhere between backticks: without control characters, and of bounded length.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// The one token on standard input, without white space around it.
///
/// # Errors
/// When standard input cannot be read or holds more than `bytes_max` and a line's end.
pub(super) fn one_token(bytes_max: usize) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(BLANKS_MAX);
    io::stdin().lock().take(bound).read_to_string(&mut text)?;
    Ok(Zeroizing::new(text.trim_ascii().to_owned()))
}

/// Reads one line without its end (LF or CRLF) into `line`; says whether it is whole, `None` at the end of the input. Of
/// a line that is longer than `bytes_max` the rest is skipped. What the line before held is wiped: it may be a token.
pub(super) fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>, bytes_max: usize) -> io::Result<Option<bool>> {
    line.zeroize();
    let (mut whole, mut any) = (true, false);
    loop {
        let buffer = lines.fill_buf()?;
        if buffer.is_empty() {
            match any {
                true => break,
                false => return Ok(None),
            }
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        // One byte more than a line may have is that of a CR.
        whole &= line.len() + part.len() <= bytes_max + 1;
        if whole {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        lines.consume(used);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(whole && line.len() <= bytes_max))
}

/// An instant from its RFC 3339 form, or from whole seconds since the epoch.
///
/// # Errors
/// A line for the user of the command.
pub(super) fn time(text: &str) -> Result<UnixTime, String> {
    let seconds = text.parse().ok().or_else(|| rfc3339(text));
    seconds
        .map(UnixTime::from_secs)
        .ok_or_else(|| "write it like `2026-11-23T02:10:48Z`, or in seconds since 1970".to_owned())
}

/// An instant for people, in whole seconds.
pub(super) fn shown(time: UnixTime) -> String {
    let mut out = Vec::new();
    UnixTime::from_secs(time.secs()).write_rfc3339(&mut out);
    String::from_utf8_lossy(&out).replace(".000000Z", "Z")
}

/// Seconds since the epoch of `YYYY-MM-DDThh:mm:ss`, with `Z` or an offset, from 1970 on.
fn rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, zone) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let mut clock = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month).ok()?.checked_sub(1)?;
    let in_range = (1970..=9999).contains(&year) && (1..=*lengths.get(month)?).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let leap_days = |until: u64| (until - 1) / 4 - (until - 1) / 100 + (until - 1) / 400;
    let days =
        (year - 1970) * 365 + leap_days(year) - leap_days(1970) + lengths.iter().take(month).sum::<u64>() + day - 1;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    // Fractions of a second do not count: claims have whole ones.
    let zone = match zone.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|digit: char| digit.is_ascii_digit()),
        None => zone,
    };
    match zone {
        "Z" | "z" => Some(seconds),
        _ => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
            let offset = (hours < 24 && minutes < 60).then_some(hours * 3_600 + minutes * 60)?;
            match zone.get(..1)? {
                "+" => seconds.checked_sub(offset),
                "-" => Some(seconds + offset),
                _ => None,
            }
        }
    }
}

pub(super) fn bounds(limits: &Limits) -> JwksLimits {
    JwksLimits {
        bytes_max: limits.jwks_bytes_max,
        keys_max: limits.jwks_keys_max,
    }
}

/// At most one byte more than the bound, so that what is too long is seen to be.
fn bounded(source: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    source.take(bound).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the text is a JSON object with a `kty`: what reads it in earnest is the core.
fn is_key(text: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(text).is_ok_and(|value| value.get("kty").is_some())
}

/// Characters of a foreign text that are shown.
const SHOWN_CHARS_MAX: usize = 200;
/// White space around a token.
const BLANKS_MAX: u64 = 1_024;

#[cfg(test)]
mod tests;
