//! Walks a log batch by batch and checks every link on the way: the one place that knows how segments follow.
//!
//! Owns [`Scan`]. Recovery and readers both walk with it, so that they cannot disagree about what a whole log is. Never
//! writes, and never parses a record.

use std::io;

use crate::audit::segment::{
    BATCH_HEADER_BYTES, BATCH_TRAILER_BYTES, BatchHeader, Fault, GENESIS, SEGMENT_HEADER_BYTES, SegmentHeader,
    check_batch,
};
use crate::audit::storage::Segments;

/// Why a log cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log is not what a gate wrote.
    #[error("the audit log is damaged in segment {segment} at byte {offset}: {fault}")]
    Damaged {
        /// The number of the segment.
        segment: u64,
        /// Where the batch or header in question starts.
        offset: u64,
        /// What is wrong.
        fault: Fault,
    },
    /// A segment cannot be read.
    #[error("segment {segment} of the audit log cannot be read: {source}")]
    Segment {
        /// The number of the segment.
        segment: u64,
        /// What the operating system says.
        source: io::Error,
    },
    /// The segments cannot be listed.
    #[error("the audit log cannot be listed: {0}")]
    List(#[source] io::Error),
}

/// A place in a log, between two batches, with what the next batch must follow.
#[derive(Debug)]
pub(super) struct Scan {
    /// The segment that is walked; `None` before the first.
    segment: Option<u64>,
    offset: u64,
    /// The position of the next record and the digest of the batch before; `None` as long as nothing was read.
    follows: Option<(u64, [u8; 32])>,
    batch: Vec<u8>,
}

/// What stands at a place of a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// A whole batch, now in [`Scan::payload`], with the position of its first record.
    Batch { first: u64 },
    /// Nothing more; the last segment ends with this many bytes of something unfinished.
    End { torn: u64 },
}

impl Scan {
    /// A walk from the oldest segment, or from `segment`. Whatever came before the first one is taken on trust.
    pub(super) fn starting_at(segment: Option<u64>) -> Self {
        Self {
            segment,
            offset: 0,
            follows: None,
            batch: Vec::new(),
        }
    }

    /// The next batch. At the end of what is there it may be called again: the log may have grown.
    pub(super) fn next(&mut self, segments: &mut dyn Segments) -> Result<Found, ReadError> {
        // A segment that has a successor is never written again; known before a read, it makes that read final.
        let mut successor = None;
        loop {
            let Some(segment) = self.current(segments)? else {
                return Ok(Found::End { torn: 0 });
            };
            let start = self.offset;
            let found = if start == 0 {
                self.read_header(segments, segment)?
            } else {
                self.read_batch(segments, segment)?
            };
            if let Some(found) = found {
                return Ok(found);
            }
            if self.offset > start {
                continue;
            }
            let torn = match segments.length(segment) {
                Ok(length) => length.saturating_sub(self.offset),
                Err(source) => return Err(ReadError::Segment { segment, source }),
            };
            match successor.take() {
                Some(next) if torn == 0 && start > 0 => {
                    self.segment = Some(next);
                    self.offset = 0;
                }
                Some(_) => return Err(self.damaged(segment, Fault::Cut)),
                None => {
                    successor = self.successor(segments, segment)?;
                    if successor.is_none() {
                        return Ok(Found::End { torn });
                    }
                }
            }
        }
    }

    /// The payload of the batch that was found last.
    pub(super) fn payload(&self) -> &[u8] {
        let end = self.batch.len().saturating_sub(BATCH_TRAILER_BYTES);
        self.batch.get(BATCH_HEADER_BYTES..end).unwrap_or_default()
    }

    /// The segment and the offset behind what was found last.
    pub(super) fn place(&self) -> Option<(u64, u64)> {
        self.segment.map(|segment| (segment, self.offset))
    }

    /// The position of the next record and the digest that its batch follows.
    pub(super) fn follows(&self) -> (u64, [u8; 32]) {
        self.follows.unwrap_or((0, GENESIS))
    }

    fn current(&mut self, segments: &mut dyn Segments) -> Result<Option<u64>, ReadError> {
        if self.segment.is_none() {
            self.segment = segments.list().map_err(ReadError::List)?.first().copied();
        }
        Ok(self.segment)
    }

    fn successor(&self, segments: &mut dyn Segments, segment: u64) -> Result<Option<u64>, ReadError> {
        let listed = segments.list().map_err(ReadError::List)?;
        let successor = listed.into_iter().find(|listed| *listed > segment);
        match successor {
            Some(next) if Some(next) != segment.checked_add(1) => Err(self.damaged(segment, Fault::Missing)),
            successor => Ok(successor),
        }
    }

    /// Steps over the segment's header; stays when it is not whole yet.
    fn read_header(&mut self, segments: &mut dyn Segments, segment: u64) -> Result<Option<Found>, ReadError> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        if !self.fill(segments, segment, 0, &mut bytes)? {
            return Ok(None);
        }
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) => header,
            Err(_) if self.only_zeros(segments, segment)? => return Ok(None),
            Err(fault) => return Err(self.damaged(segment, fault)),
        };
        let (first, previous) = *self.follows.get_or_insert((header.first, header.previous));
        if header.segment != segment {
            return Err(self.damaged(segment, Fault::Header));
        }
        if header.first != first {
            return Err(self.damaged(segment, Fault::Position));
        }
        if header.previous != previous {
            return Err(self.damaged(segment, Fault::Chain));
        }
        self.offset = bytes_of(SEGMENT_HEADER_BYTES);
        Ok(None)
    }

    /// Reads the batch at the current offset; stays when it is not whole.
    fn read_batch(&mut self, segments: &mut dyn Segments, segment: u64) -> Result<Option<Found>, ReadError> {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        if !self.fill(segments, segment, self.offset, &mut bytes)? {
            return Ok(None);
        }
        let header = match BatchHeader::decode(&bytes) {
            Ok(header) => header,
            Err(_) if self.only_zeros(segments, segment)? => return Ok(None),
            Err(fault) => return Err(self.damaged(segment, fault)),
        };
        let (first, previous) = self.follows();
        if header.first != first {
            return Err(self.damaged(segment, Fault::Position));
        }
        if header.previous != previous {
            return Err(self.damaged(segment, Fault::Chain));
        }
        let length = BATCH_HEADER_BYTES
            .saturating_add(header.payload_bytes)
            .saturating_add(BATCH_TRAILER_BYTES);
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        batch.resize(length, 0);
        let whole = self.fill(segments, segment, self.offset, &mut batch)?;
        self.batch = batch;
        if !whole {
            return Ok(None);
        }
        let digest = check_batch(&header, &self.batch).map_err(|fault| self.damaged(segment, fault))?;
        self.follows = Some((first.saturating_add(u64::from(header.count)), digest));
        self.offset = self.offset.saturating_add(bytes_of(length));
        Ok(Some(Found::Batch { first }))
    }

    /// Whether the segment has enough bytes to fill `buffer`.
    fn fill(
        &self,
        segments: &mut dyn Segments,
        segment: u64,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<bool, ReadError> {
        match segments.read_at(segment, offset, buffer) {
            Ok(count) => Ok(count == buffer.len()),
            Err(source) => Err(ReadError::Segment { segment, source }),
        }
    }

    /// Whether the segment holds nothing but zeros from here: a file that grew before its content came.
    fn only_zeros(&self, segments: &mut dyn Segments, segment: u64) -> Result<bool, ReadError> {
        let mut offset = self.offset;
        let mut buffer = [0; 4096];
        loop {
            let count = segments
                .read_at(segment, offset, &mut buffer)
                .map_err(|source| ReadError::Segment { segment, source })?;
            if buffer.iter().take(count).any(|byte| *byte != 0) {
                return Ok(false);
            }
            if count < buffer.len() {
                return Ok(true);
            }
            offset = offset.saturating_add(bytes_of(count));
        }
    }

    #[cold]
    fn damaged(&self, segment: u64, fault: Fault) -> ReadError {
        ReadError::Damaged {
            segment,
            offset: self.offset,
            fault,
        }
    }
}

fn bytes_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
