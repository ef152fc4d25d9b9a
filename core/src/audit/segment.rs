//! The layout of the log on disk, and nothing else: bytes in, bytes out.
//!
//! Owns the headers and checksums of segments and batches, and tells a torn tail from a damaged log. Never touches a
//! file and never looks into a record. All numbers are little-endian; checksums are CRC-32 (IEEE).
//!
//! ```text
//! segment   = header batch*
//! header    = magic "PCAUDIT\0" | version u32 | segment u64 | first position u64 | previous [32] | crc u32    64 bytes
//! batch     = length u32 | count u32 | first position u64 | previous [32] | crc u32                           52 bytes
//!             payload: count * (length u32 | JSON), `length` bytes in all
//!             crc u32
//! ```
//!
//! The `crc` of a header covers the bytes before it; the last one of a batch covers its header and its payload. `previous`
//! is the SHA-256 of the whole batch before, from the first byte of its length to its last checksum; the header of a
//! segment repeats it, so that a segment can be checked alone and a missing one is seen. The first batch of a log
//! follows 32 zeros. Positions count records from 0, without a gap, over all segments.
//!
//! A batch goes out in one `write(2)`, so that a crash leaves a prefix of it. What an end of the last segment may look
//! like is therefore narrow: a prefix of a header, or a whole header with a prefix of its payload, or nothing but zeros
//! (a file that grew before its content came). All else is damage, and damage is never repaired by cutting it off.

use crate::crypto;

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;

/// Bytes of a batch's header.
pub(super) const BATCH_HEADER_BYTES: usize = 52;

/// Bytes of the checksum behind a batch's payload.
pub(super) const BATCH_TRAILER_BYTES: usize = 4;

/// Bytes of the payload of a batch that a reader believes in; writers stay far below.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The digest that the first batch of a log follows.
pub(super) const GENESIS: [u8; 32] = [0; 32];

/// What is wrong with the bytes of a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A batch ends before its length, with more of the log behind it.
    #[error("a batch is cut short")]
    Cut,
    /// A batch does not follow the batch before it.
    #[error("a batch does not follow the one before it")]
    Chain,
    /// A checksum is wrong.
    #[error("a checksum is wrong")]
    Checksum,
    /// A segment's header is not one of this format and version.
    #[error("the header of a segment is not one of this format and version")]
    Header,
    /// A count or a length contradicts the bytes it describes.
    #[error("a count or a length contradicts the bytes it describes")]
    Length,
    /// A segment between two others is missing.
    #[error("a segment is missing")]
    Missing,
    /// A position does not follow the one before it.
    #[error("a position does not follow the one before it")]
    Position,
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SegmentHeader {
    pub(super) segment: u64,
    pub(super) first: u64,
    pub(super) previous: [u8; 32],
}

/// What a batch says about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BatchHeader {
    pub(super) payload_bytes: usize,
    pub(super) count: u32,
    pub(super) first: u64,
    pub(super) previous: [u8; 32],
}

impl SegmentHeader {
    /// Appends the header's bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.previous);
        push_checksum(out, start);
    }

    /// Reads a whole header.
    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, Fault> {
        let mut fields = Fields(bytes);
        let magic = fields.take::<8>();
        let version = u32::from_le_bytes(fields.take());
        let header = Self {
            segment: u64::from_le_bytes(fields.take()),
            first: u64::from_le_bytes(fields.take()),
            previous: fields.take(),
        };
        if &magic != MAGIC || version != VERSION {
            return Err(Fault::Header);
        }
        checksum_holds(bytes, fields)?;
        Ok(header)
    }
}

impl BatchHeader {
    /// Reads a whole header. A header that is all zeros is a [`Fault::Checksum`], as any other damage.
    pub(super) fn decode(bytes: &[u8; BATCH_HEADER_BYTES]) -> Result<Self, Fault> {
        let mut fields = Fields(bytes);
        let length = u32::from_le_bytes(fields.take());
        let count = u32::from_le_bytes(fields.take());
        let first = u64::from_le_bytes(fields.take());
        let previous = fields.take();
        checksum_holds(bytes, fields)?;
        let payload_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if count == 0 || payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(Fault::Length);
        }
        Ok(Self {
            payload_bytes,
            count,
            first,
            previous,
        })
    }
}

/// A batch under construction: records are appended, then the header is filled in and the checksum put behind.
#[derive(Debug, Default)]
pub(super) struct BatchBuilder {
    bytes: Vec<u8>,
    count: u32,
}

impl BatchBuilder {
    /// Bytes of the payload if `record` were appended.
    pub(super) fn payload_bytes_with(&self, record: &[u8]) -> usize {
        self.payload_bytes()
            .saturating_add(RECORD_PREFIX_BYTES)
            .saturating_add(record.len())
    }

    /// Records so far.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Appends a record.
    pub(super) fn push(&mut self, record: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.resize(BATCH_HEADER_BYTES, 0);
        }
        // A record is far shorter than 4 GiB: the log refuses longer ones before they come here.
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(record);
        self.count = self.count.saturating_add(1);
    }

    /// Completes the batch: its bytes, and the digest that the next batch follows.
    pub(super) fn finish(&mut self, first: u64, previous: &[u8; 32]) -> (&[u8], [u8; 32]) {
        let length = u32::try_from(self.payload_bytes()).unwrap_or(u32::MAX);
        let mut header = Vec::with_capacity(BATCH_HEADER_BYTES);
        header.extend_from_slice(&length.to_le_bytes());
        header.extend_from_slice(&self.count.to_le_bytes());
        header.extend_from_slice(&first.to_le_bytes());
        header.extend_from_slice(previous);
        push_checksum(&mut header, 0);
        if let Some(place) = self.bytes.get_mut(..BATCH_HEADER_BYTES) {
            place.copy_from_slice(&header);
        }
        push_checksum(&mut self.bytes, 0);
        (&self.bytes, crypto::sha256(&self.bytes))
    }

    fn payload_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(BATCH_HEADER_BYTES)
    }

    /// Empties the batch for the next one and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}

/// Checks the bytes of one whole batch, header included, and returns the digest that the next batch follows.
pub(super) fn check_batch(header: &BatchHeader, batch: &[u8]) -> Result<[u8; 32], Fault> {
    let (covered, checksum) = batch.split_last_chunk::<BATCH_TRAILER_BYTES>().ok_or(Fault::Length)?;
    if crc32fast::hash(covered) != u32::from_le_bytes(*checksum) {
        return Err(Fault::Checksum);
    }
    let mut rest = covered.get(BATCH_HEADER_BYTES..).ok_or(Fault::Length)?;
    if rest.len() != header.payload_bytes {
        return Err(Fault::Length);
    }
    for _ in 0..header.count {
        next_record(&mut rest).ok_or(Fault::Length)?;
    }
    if !rest.is_empty() {
        return Err(Fault::Length);
    }
    Ok(crypto::sha256(batch))
}

/// Takes the next record off a payload; `None` at its end.
pub(super) fn next_record<'p>(payload: &mut &'p [u8]) -> Option<&'p [u8]> {
    let (length, rest) = payload.split_first_chunk::<RECORD_PREFIX_BYTES>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (record, rest) = rest.split_at_checked(length)?;
    *payload = rest;
    Some(record)
}

/// The fields of a header, taken one by one; their widths add up to the header's by construction.
struct Fields<'h>(&'h [u8]);

impl Fields<'_> {
    fn take<const WIDTH: usize>(&mut self) -> [u8; WIDTH] {
        match self.0.split_first_chunk::<WIDTH>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; WIDTH],
        }
    }
}

/// Checks the checksum that ends a header.
fn checksum_holds(header: &[u8], mut rest: Fields<'_>) -> Result<(), Fault> {
    let covered = header.len().saturating_sub(rest.0.len());
    let expected = u32::from_le_bytes(rest.take());
    let holds = header
        .get(..covered)
        .is_some_and(|covered| crc32fast::hash(covered) == expected);
    if holds { Ok(()) } else { Err(Fault::Checksum) }
}

/// Appends the checksum of everything from `start`.
fn push_checksum(out: &mut Vec<u8>, start: usize) {
    let checksum = out.get(start..).map_or(0, crc32fast::hash);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Bytes of the length before a record.
const RECORD_PREFIX_BYTES: usize = 4;

const MAGIC: &[u8; 8] = b"PCAUDIT\0";

const VERSION: u32 = 1;

#[cfg(test)]
mod tests;
