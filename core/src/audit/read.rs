//! Reads a log back, record by record, checking checksums, positions and the chain on the way.
//!
//! Owns [`Records`]. Never writes, never repairs, and yields no record of a batch that does not check out.

use crate::audit::durable::Position;
use crate::audit::scan::{Found, ReadError, Scan};
use crate::audit::segment::next_record;
use crate::audit::storage::Segments;

/// The records of `segments` in order, from the oldest segment that is there.
///
/// An unfinished batch at the very end is the end: a gate may be writing it just now, or has crashed in it.
pub fn read<S: Segments>(segments: S) -> Records<S> {
    Records {
        segments,
        scan: Scan::starting_at(None),
        next: 0,
        unread: Vec::new(),
        read: 0,
        torn: 0,
        damaged: false,
    }
}

/// An iterator over the records of a log.
///
/// `None` means that there is no more for now; asked again, it goes on with what has been written since. After an
/// error there is nothing more.
#[derive(Debug)]
pub struct Records<S> {
    segments: S,
    scan: Scan,
    /// The position of the next record in `unread`.
    next: u64,
    /// The payload of the current batch, and how much of it was handed out.
    unread: Vec<u8>,
    read: usize,
    torn: u64,
    damaged: bool,
}

/// One record as it stands in the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredRecord {
    /// Its place.
    pub position: Position,
    /// Its JSON text.
    pub json: Vec<u8>,
}

impl<S> Records<S> {
    /// Bytes of an unfinished batch behind the last record, as of the last `None`.
    pub fn torn_bytes(&self) -> u64 {
        self.torn
    }

    fn take_unread(&mut self) -> Option<StoredRecord> {
        let mut rest = self.unread.get(self.read..)?;
        let before = rest.len();
        let json = next_record(&mut rest)?.to_vec();
        self.read = self.read.saturating_add(before.saturating_sub(rest.len()));
        let position = Position::new(self.next);
        self.next = self.next.saturating_add(1);
        Some(StoredRecord { position, json })
    }
}

impl<S: Segments> Iterator for Records<S> {
    type Item = Result<StoredRecord, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.damaged {
                return None;
            }
            if let Some(record) = self.take_unread() {
                return Some(Ok(record));
            }
            match self.scan.next(&mut self.segments) {
                Ok(Found::Batch { first }) => {
                    self.next = first;
                    self.unread.clear();
                    self.unread.extend_from_slice(self.scan.payload());
                    self.read = 0;
                }
                Ok(Found::End { torn }) => {
                    self.torn = torn;
                    return None;
                }
                Err(error) => {
                    self.damaged = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
