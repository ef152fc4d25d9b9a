//! Names of audit records: UUIDv7 (RFC 9562 section 5.7), made from the caller's time and a seed.
//!
//! Owns [`RecordId`] and its source. Never reads a clock or the system's randomness: both come in.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::UnixTime;

/// The id of one decision; its request record, its response records and the client's header carry the same one.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RecordId(uuid::Uuid);

impl RecordId {
    /// The 36 characters of the hyphenated form, lower case.
    pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// Reads the hyphenated form; `None` for anything else and for other UUID versions.
    pub fn parse(text: &str) -> Option<Self> {
        let uuid = uuid::Uuid::try_parse(text).ok()?;
        let hyphenated = text.len() == 36;
        (hyphenated && uuid.get_version_num() == 7).then_some(Self(uuid))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.as_hyphenated(), formatter)
    }
}

/// The source of record ids of one process.
///
/// The 74 bits beside the time come from a counter, mixed with the seed by a bijection: two ids of one source
/// never meet, and two sources meet only when seed and counter do. They are names, not secrets.
#[derive(Debug)]
pub struct RecordIds {
    seed: u64,
    high: u16,
    counter: AtomicU64,
}

impl RecordIds {
    /// A source that starts from `seed`: 16 bytes from the system's randomness, fresh for every process.
    pub fn new(seed: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(seed);
        Self {
            seed: u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default(),
            high: u16::try_from((bits >> 64) & 0x0fff).unwrap_or_default(),
            counter: AtomicU64::new(0),
        }
    }

    /// The next id, for a decision made at `now`. Takes no lock and allocates nothing.
    pub fn next(&self, now: UnixTime) -> RecordId {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let low = mix(count.wrapping_add(self.seed));
        let millis = u128::from(now.millis()) & 0xffff_ffff_ffff;
        // RFC 9562 section 5.7: 48 bits of time, version 7, 12 bits, variant 0b10, 62 bits.
        let top = low >> 62;
        let rand_a = u128::from(u64::from(self.high).wrapping_add(top.wrapping_mul(0x400)) & 0x0fff);
        let rand_b = u128::from(low & 0x3fff_ffff_ffff_ffff);
        RecordId(uuid::Uuid::from_u128(
            (millis << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b,
        ))
    }
}

/// SplitMix64's finaliser: a bijection on 64 bits that spreads neighbouring counts.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests;
