//! The log of decisions: what is in it is durable before anything is done about it.
//!
//! Owns [`AuditLog`], the hand-over of records to the one [`Writer`], and below it the layout on disk, recovery and
//! reading. A submission takes no lock and does no I/O: it reserves a slot, takes a position, pushes to a bounded
//! queue and wakes the writer. Never drops an accepted record, never accepts one it may not be able to keep, never
//! reads a clock, and never sees a clear text or a secret.
//!
//! Durable means, at the one level there is so far, [`Durability::Process`]: `write(2)` has returned, so that the record
//! outlives this process however it ends.

mod durable;
#[cfg(test)]
pub(crate) mod memory;
mod object;
mod read;
mod record;
mod recovery;
mod scan;
mod segment;
mod storage;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam_queue::ArrayQueue;

pub use crate::audit::durable::{Durable, Position};
pub use crate::audit::read::{Records, StoredRecord, read};
pub use crate::audit::record::{
    ActOutcome, ActTarget, AdminRecord, BatchElement, Effect, GateNode, Identities, Outcome, Party, RedactObligation,
    RefusalSummary, RequestRecord, ResponsePhase, ResponseRecord, Revocation, ShownCredential, StageTime,
    TokenEvidence, Totals, UpstreamTarget,
};
pub use crate::audit::recovery::RecoveryError;
pub use crate::audit::scan::ReadError;
pub use crate::audit::segment::Fault;
pub use crate::audit::storage::{FileSegments, FileStorage, Segments, Storage, StorageError};
pub use crate::audit::writer::{SealError, Step, Writer, WriterThread};
use crate::time::UnixTime;

/// The bounds of a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuditSettings {
    /// Records on their way to the disk; one more is refused.
    pub queue_records: usize,
    /// Bytes of one record; a longer one is refused.
    pub record_bytes_max: usize,
    /// Bytes of one batch, beyond which a new one is begun.
    pub batch_bytes_max: usize,
    /// Bytes of one segment, beyond which a new one is begun.
    pub segment_bytes_max: u64,
    /// Segments that a start looks through for what the last process left open, at least two.
    pub recovery_segments_max: usize,
    /// What a durable record survives.
    pub durability: Durability,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            queue_records: 65_536,
            record_bytes_max: 64 * 1024,
            batch_bytes_max: 1024 * 1024,
            segment_bytes_max: 64 * 1024 * 1024,
            recovery_segments_max: 2,
            durability: Durability::Process,
        }
    }
}

/// What a durable record survives.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// The end of this process: it was given to the operating system by `write(2)`.
    #[default]
    Process,
}

/// A handle to the log; clones share it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    shared: Arc<Shared>,
}

/// Why the log does not take a record. Nothing that needs one may happen then.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuditUnavailable {
    /// A write has failed; only a restart, which reads the log again, clears this.
    #[error("the audit log has failed")]
    Failed,
    /// As many records as allowed are on their way.
    #[error("the audit queue is full")]
    Full,
    /// The gate is shutting down.
    #[error("the audit log is sealed")]
    Sealed,
    /// The record is longer than allowed.
    #[error("the audit record is too long")]
    TooLong,
}

/// Why a log did not start.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// What is there cannot be taken up.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The writer has no thread.
    #[error("the audit writer cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// What submitters and the writer share.
#[derive(Debug)]
struct Shared {
    /// The number of reserved slots, with [`FAILED`] and [`CLOSED`] above it: one atomic, so that a slot is reserved in
    /// an open log or not at all.
    slots: AtomicU64,
    slots_max: u64,
    record_bytes_max: usize,
    next_position: AtomicU64,
    queue: ArrayQueue<(u64, Vec<u8>)>,
    buffers: ArrayQueue<Vec<u8>>,
    durable: Durable,
    writer: OnceLock<Thread>,
}

impl AuditLog {
    /// Takes up the log in `storage` and starts its writer's thread.
    ///
    /// Cuts off what a crash left unfinished, and closes with outcome `unknown` what it left open, as of `now`.
    ///
    /// # Errors
    /// [`AuditError`] when the log is damaged, cannot be read or cannot be written: a gate does not start then.
    pub fn start(
        storage: Box<dyn Storage>,
        settings: AuditSettings,
        now: UnixTime,
    ) -> Result<(Self, WriterThread), AuditError> {
        let (log, writer) = Self::open(storage, settings, now)?;
        let thread = writer.spawn().map_err(AuditError::Thread)?;
        Ok((log, thread))
    }

    /// As [`Self::start`], but leaves the writer to the caller: nothing becomes durable before its
    /// [`step`](Writer::step).
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn open(
        mut storage: Box<dyn Storage>,
        settings: AuditSettings,
        now: UnixTime,
    ) -> Result<(Self, Writer), AuditError> {
        let recovered = recovery::recover(storage.as_mut(), settings.recovery_segments_max, now)?;
        let mut tail = recovered.tail;
        let failed = |source| RecoveryError::Segment {
            segment: tail.segment,
            source,
        };
        let header_bytes = writer::write_header(storage.as_mut(), &tail).map_err(failed)?;
        let shared = Arc::new(Shared::new(&settings, tail.next));
        let segment = tail.segment;
        tail.bytes = header_bytes;
        let mut writer = Writer::new(Arc::clone(&shared), storage, settings, tail);
        writer
            .write_first(recovered.closing)
            .map_err(|source| RecoveryError::Segment { segment, source })?;
        Ok((Self { shared }, writer))
    }

    /// An empty buffer for the next record, used ones first.
    pub fn buffer(&self) -> Vec<u8> {
        match self.shared.buffers.pop() {
            Some(buffer) => buffer,
            None => Vec::with_capacity(BUFFER_BYTES),
        }
    }

    /// Hands over a record, a JSON object. Never waits, takes no lock.
    ///
    /// The record is accepted with its position, not durable yet: see [`Self::durable`].
    ///
    /// # Errors
    /// [`AuditUnavailable`]; the record is gone then, and what it was to permit must not happen.
    pub fn submit(&self, record: Vec<u8>) -> Result<Position, AuditUnavailable> {
        self.shared.submit(record)
    }

    /// Whether the log would take a record just now.
    ///
    /// # Errors
    /// [`AuditUnavailable`] as [`Self::submit`] would give it.
    pub fn available(&self) -> Result<(), AuditUnavailable> {
        self.shared.check(self.shared.slots.load(Ordering::Acquire))
    }

    /// How far the log is durable.
    pub fn durable(&self) -> &Durable {
        &self.shared.durable
    }

    /// Refuses records from now on, for good. What was accepted is still written; [`WriterThread::seal`] waits for it.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Shared {
    fn new(settings: &AuditSettings, next: u64) -> Self {
        let capacity = settings.queue_records.clamp(1, QUEUE_RECORDS_MAX);
        Self {
            slots: AtomicU64::new(0),
            slots_max: u64::try_from(capacity).unwrap_or(u64::MAX),
            record_bytes_max: settings.record_bytes_max.min(segment::PAYLOAD_BYTES_MAX / 2),
            next_position: AtomicU64::new(next),
            queue: ArrayQueue::new(capacity),
            buffers: ArrayQueue::new(capacity.min(BUFFERS_MAX)),
            durable: Durable::new(next),
            writer: OnceLock::new(),
        }
    }

    fn submit(&self, record: Vec<u8>) -> Result<Position, AuditUnavailable> {
        if record.len() > self.record_bytes_max {
            return Err(AuditUnavailable::TooLong);
        }
        let before = self.slots.fetch_add(1, Ordering::AcqRel);
        if let Err(refusal) = self.check(before) {
            // The writer may have seen our slot and gone to sleep for it.
            self.slots.fetch_sub(1, Ordering::AcqRel);
            self.wake_writer();
            return Err(refusal);
        }
        let position = self.next_position.fetch_add(1, Ordering::Relaxed);
        // A reserved slot is room in the queue; were it not, the record would be lost and the log with it.
        if self.queue.push((position, record)).is_err() {
            self.fail();
            return Err(AuditUnavailable::Failed);
        }
        self.wake_writer();
        Ok(Position::new(position))
    }

    /// Whether a slot may be had where `slots` stands.
    fn check(&self, slots: u64) -> Result<(), AuditUnavailable> {
        if slots & FAILED != 0 {
            Err(AuditUnavailable::Failed)
        } else if slots & CLOSED != 0 {
            Err(AuditUnavailable::Sealed)
        } else if slots >= self.slots_max {
            Err(AuditUnavailable::Full)
        } else {
            Ok(())
        }
    }

    /// The next record in the order of arrival, for the writer.
    fn take(&self) -> Option<(u64, Vec<u8>)> {
        self.queue.pop()
    }

    /// Frees the slots of written records.
    fn free_slots(&self, count: u32) {
        self.slots.fetch_sub(u64::from(count), Ordering::AcqRel);
    }

    /// Keeps a written record's buffer for the next record, unless it has grown large.
    fn recycle(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= BUFFER_BYTES_MAX {
            buffer.clear();
            // With enough buffers in stock this one goes back to the allocator.
            drop(self.buffers.push(buffer));
        }
    }

    /// Whether nothing is accepted any more and nothing accepted is unwritten.
    fn closed_and_empty(&self) -> bool {
        self.slots.load(Ordering::Acquire) == CLOSED
    }

    fn close(&self) {
        self.slots.fetch_or(CLOSED, Ordering::AcqRel);
        self.wake_writer();
    }

    #[cold]
    fn fail(&self) {
        self.slots.fetch_or(FAILED, Ordering::AcqRel);
        self.durable.fail();
        self.wake_writer();
    }

    /// Where the positions of submissions begin, before there are any.
    fn start_at(&self, next: u64) {
        self.next_position.store(next, Ordering::Release);
    }

    fn writer_runs_on(&self, thread: Thread) {
        // Set once: a writer is spawned by value.
        drop(self.writer.set(thread));
        // Whoever submitted before this line could not wake it.
        self.wake_writer();
    }

    fn wake_writer(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

/// Above the count of slots: a write has failed.
const FAILED: u64 = 1 << 63;

/// Above the count of slots: no more records.
const CLOSED: u64 = 1 << 62;

/// The most records that a queue is made for.
const QUEUE_RECORDS_MAX: usize = 1 << 24;

/// The usual length of a record, rounded up.
const BUFFER_BYTES: usize = 2 * 1024;

/// The capacity up to which a buffer is kept.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// The most buffers that are kept.
const BUFFERS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
