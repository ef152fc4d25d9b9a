//! The one writer of a log: takes records in the order of their positions, writes them in batches, moves the watermark.
//!
//! Owns [`Writer`], [`WriterThread`] and everything that is written. One batch is one `write(2)`; the watermark moves
//! after it has returned. After a failed or partial write nothing is ever written again: what follows it on the disk
//! would stand behind bytes that nobody can vouch for. Never answers a request, and never reads a clock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::audit::recovery::Tail;
use crate::audit::segment::{BatchBuilder, PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::audit::storage::Storage;
use crate::audit::{AuditSettings, Shared};

/// The writing half of a log, for one thread.
pub struct Writer {
    shared: Arc<Shared>,
    storage: Box<dyn Storage>,
    settings: AuditSettings,
    tail: Tail,
    /// Records from position `tail.next` on; `None` where a submitter has its position but has not handed over yet.
    window: VecDeque<Option<Vec<u8>>>,
    batch: BatchBuilder,
    sealed: bool,
}

/// What a [`Writer::step`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing: the log has failed.
    Failed,
    /// Nothing: no record is waiting.
    Idle,
    /// Nothing: the log is sealed.
    Sealed,
    /// It wrote one batch of so many records.
    Wrote(u32),
}

/// The thread of a writer. Dropped, it goes on; the log ends well only by [`Self::seal`].
#[derive(Debug)]
pub struct WriterThread {
    shared: Arc<Shared>,
    thread: JoinHandle<Step>,
}

/// Why a log did not end well.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// A write failed, now or earlier; records after it are lost and none of them was ever acted upon.
    #[error("the audit log failed before it was sealed")]
    Failed,
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Writer")
            .field("tail", &self.tail)
            .field("waiting", &self.window.len())
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, storage: Box<dyn Storage>, settings: AuditSettings, tail: Tail) -> Self {
        Self {
            shared,
            storage,
            settings,
            tail,
            window: VecDeque::new(),
            batch: BatchBuilder::default(),
            sealed: false,
        }
    }

    /// Writes at most one batch. The writer's thread calls this in a loop; tests and single-threaded embedders call it.
    pub fn step(&mut self) -> Step {
        if self.shared.durable.failed() {
            return Step::Failed;
        }
        if self.sealed {
            return Step::Sealed;
        }
        // Before the queue: a record that was accepted before the log closed is in the queue or still counted.
        let drained = self.shared.closed_and_empty();
        self.collect();
        if !self.fill_batch() {
            return if drained { self.close() } else { Step::Idle };
        }
        if self.write_batch().is_err() {
            self.fail();
            return Step::Failed;
        }
        Step::Wrote(self.release())
    }

    /// Gives the writer a thread of its own.
    ///
    /// # Errors
    /// Whatever the operating system says when it has no thread to give; the log is failed then.
    pub fn spawn(self) -> std::io::Result<WriterThread> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("audit-writer".to_owned())
            .spawn(move || self.run())?;
        shared.writer_runs_on(thread.thread().clone());
        Ok(WriterThread { shared, thread })
    }

    /// Appends records that no request waits for, before the log opens.
    pub(super) fn write_first(&mut self, records: Vec<Vec<u8>>) -> std::io::Result<()> {
        self.window.extend(records.into_iter().map(Some));
        while self.fill_batch() {
            self.write_batch()?;
            self.shared.durable.advance(self.tail.next, self.batch.count());
            self.step_over_batch();
        }
        self.shared.start_at(self.tail.next);
        Ok(())
    }

    fn run(mut self) -> Step {
        loop {
            match self.step() {
                Step::Wrote(_) => {}
                // Each submission unparks us after its record is in the queue, so none is slept over.
                Step::Idle => thread::park(),
                end @ (Step::Failed | Step::Sealed) => return end,
            }
        }
    }

    /// Takes everything that was handed over and puts it in the order of positions.
    fn collect(&mut self) {
        while let Some((position, record)) = self.shared.take() {
            let place = usize::try_from(position.saturating_sub(self.tail.next)).unwrap_or(usize::MAX);
            // Positions are given out to reserved slots alone, so that the window never grows beyond their number.
            while self.window.len() <= place {
                self.window.push_back(None);
            }
            if let Some(slot) = self.window.get_mut(place) {
                *slot = Some(record);
            }
        }
    }

    /// Puts the records that stand next into the batch; says whether there are any.
    fn fill_batch(&mut self) -> bool {
        self.batch.clear();
        for record in self.window.iter().map_while(Option::as_ref) {
            let bytes = self.batch.payload_bytes_with(record);
            if self.batch.count() > 0 && bytes > self.settings.batch_bytes_max.min(PAYLOAD_BYTES_MAX) {
                break;
            }
            self.batch.push(record);
        }
        self.batch.count() > 0
    }

    fn write_batch(&mut self) -> std::io::Result<()> {
        let (bytes, digest) = self.batch.finish(self.tail.next, &self.tail.previous);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.tail.bytes_after(length) > self.settings.segment_bytes_max && !self.tail.is_empty() {
            self.tail.segment = self.tail.segment.saturating_add(1);
            self.storage.create(self.tail.segment)?;
            self.tail.bytes = write_header(self.storage.as_mut(), &self.tail)?;
        }
        write_whole(self.storage.as_mut(), bytes)?;
        self.tail.bytes = self.tail.bytes_after(length);
        self.tail.previous = digest;
        Ok(())
    }

    /// After a batch is written: moves the watermark, recycles the buffers and frees their slots.
    fn release(&mut self) -> u32 {
        let count = self.batch.count();
        self.shared.durable.advance(self.tail.next, count);
        self.step_over_batch();
        self.shared.free_slots(count);
        count
    }

    fn step_over_batch(&mut self) {
        let count = self.batch.count();
        self.tail.next = self.tail.next.saturating_add(u64::from(count));
        for _ in 0..count {
            if let Some(Some(record)) = self.window.pop_front() {
                self.shared.recycle(record);
            }
        }
    }

    fn close(&mut self) -> Step {
        if self.storage.close().is_err() {
            self.fail();
            return Step::Failed;
        }
        self.sealed = true;
        Step::Sealed
    }

    #[cold]
    fn fail(&mut self) {
        self.shared.fail();
        self.window.clear();
    }
}

impl WriterThread {
    /// Ends the log: from now on submissions are refused, everything accepted before is written, and the segment is
    /// brought to the disk and closed. Blocks until then.
    ///
    /// # Errors
    /// [`SealError::Failed`] when a write failed, now or earlier.
    pub fn seal(self) -> Result<(), SealError> {
        self.shared.close();
        match self.thread.join() {
            Ok(Step::Sealed) => Ok(()),
            Ok(Step::Failed | Step::Idle | Step::Wrote(_)) | Err(_) => Err(SealError::Failed),
        }
    }
}

/// A log that nobody writes must not accept records: a writer that goes without having sealed it fails it, also when it
/// goes by a panic.
impl Drop for Writer {
    fn drop(&mut self) {
        if !self.sealed {
            self.shared.fail();
        }
    }
}

/// Writes the header of the open segment; returns its length.
pub(super) fn write_header(storage: &mut dyn Storage, tail: &Tail) -> std::io::Result<u64> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER_BYTES);
    SegmentHeader {
        segment: tail.segment,
        first: tail.next,
        previous: tail.previous,
    }
    .encode(&mut header);
    write_whole(storage, &header)?;
    Ok(u64::try_from(header.len()).unwrap_or(u64::MAX))
}

/// One write that takes everything, or an error.
fn write_whole(storage: &mut dyn Storage, bytes: &[u8]) -> std::io::Result<()> {
    if storage.append(bytes)? == bytes.len() {
        Ok(())
    } else {
        Err(std::io::ErrorKind::WriteZero.into())
    }
}

#[cfg(test)]
mod tests;
