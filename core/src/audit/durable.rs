//! How far the log is written, and who waits for it.
//!
//! Owns [`Position`] and [`Durable`]: a watermark that only the writer moves, and the list of those to wake. Asking
//! costs one atomic load. Waiting as a task costs one lock of one of 64 shards, held for a push (registering and waking
//! together: 50 ns uncontended), in the one case where the record is not written yet; the writer takes the same locks
//! once a batch, never over a write. Never writes a record, and never says that a record is durable before `write(2)`
//! has returned.

#![expect(
    clippy::disallowed_types,
    reason = "only those who wait take these locks, for a push or a notification, never over a write"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// The place of a record in the log, counted from 0 over all segments and restarts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Position(u64);

/// The watermark of a log.
#[derive(Debug)]
pub struct Durable {
    /// The first position that is not durable.
    next: AtomicU64,
    failed: AtomicBool,
    shards: Box<[Shard]>,
    sleepers: AtomicUsize,
    asleep: Mutex<()>,
    moved: Condvar,
}

/// Those who wait for positions that are equal modulo [`SHARDS`]. Aligned so that two shards share no cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Vec<Waiter>>);

#[derive(Debug)]
struct Waiter {
    position: Position,
    waker: Waker,
}

impl Position {
    pub(super) const fn new(position: u64) -> Self {
        Self(position)
    }

    /// The number of records before this one.
    pub const fn index(self) -> u64 {
        self.0
    }
}

impl Durable {
    pub(super) fn new(next: u64) -> Self {
        Self {
            next: AtomicU64::new(next),
            failed: AtomicBool::new(false),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            sleepers: AtomicUsize::new(0),
            asleep: Mutex::new(()),
            moved: Condvar::new(),
        }
    }

    /// Whether the record at `position`, and with it each one before it, is durable.
    pub fn reached(&self, position: Position) -> bool {
        position.0 < self.next.load(Ordering::SeqCst)
    }

    /// Whether the log has failed. What is not durable by then never will be; what is stays so.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Wakes `waker` once `position` is reached or the log has failed; at once when that is so already.
    ///
    /// One waker a position: a second one replaces the first. Between a refused [`Self::reached`] and this call no
    /// wake is lost, so a task asks, registers and sleeps.
    pub fn register(&self, position: Position, waker: Waker) {
        let Some(shard) = self.shards.get(shard_of(position)) else {
            return waker.wake();
        };
        let mut waiters = shard.lock();
        match waiters.iter_mut().find(|waiter| waiter.position == position) {
            Some(waiter) => waiter.waker.clone_from(&waker),
            None => waiters.push(Waiter {
                position,
                waker: waker.clone(),
            }),
        }
        drop(waiters);
        // The writer moves the watermark before it takes the shard's lock. If it was here before us, we see its
        // watermark now; if it comes after us, it finds the waiter.
        if self.settled(position) {
            waker.wake();
        }
    }

    /// Blocks this thread until `position` is reached, the log fails or `patience` is over; says whether it is reached.
    ///
    /// For embedders without tasks; a thread that serves many requests registers instead.
    pub fn wait(&self, position: Position, patience: Duration) -> bool {
        if self.settled(position) {
            return self.reached(position);
        }
        // The count goes up before the watermark is read again, the writer reads it after moving the watermark.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let guard = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = self
            .moved
            .wait_timeout_while(guard, patience, |()| !self.settled(position));
        drop(woken);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        self.reached(position)
    }

    /// Moves the watermark over `count` records from `first` and wakes those who wait for them.
    pub(super) fn advance(&self, first: u64, count: u32) {
        let next = first.saturating_add(u64::from(count));
        self.next.store(next, Ordering::SeqCst);
        let visits = usize::try_from(count).unwrap_or(SHARDS).min(SHARDS);
        for position in (first..next).take(visits) {
            if let Some(shard) = self.shards.get(shard_of(Position(position))) {
                shard.wake(|waiter| waiter.position.0 < next);
            }
        }
        self.notify();
    }

    /// Declares the log failed, for ever, and wakes everybody.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        for shard in &self.shards {
            shard.wake(|_| true);
        }
        self.notify();
    }

    fn settled(&self, position: Position) -> bool {
        self.reached(position) || self.failed()
    }

    fn notify(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Under the lock, so that no sleeper stands between its look at the watermark and its sleep.
            let guard = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.moved.notify_all();
            drop(guard);
        }
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out those for whom `is_due` holds, then wakes them without the lock.
    fn wake(&self, is_due: impl Fn(&Waiter) -> bool) {
        let mut waiters = self.lock();
        if waiters.is_empty() {
            return;
        }
        let due: Vec<Waiter> = waiters.extract_if(.., |waiter| is_due(waiter)).collect();
        drop(waiters);
        for waiter in due {
            waiter.waker.wake();
        }
    }
}

fn shard_of(position: Position) -> usize {
    usize::try_from(position.0).unwrap_or_default() % SHARDS
}

/// Enough that the tasks of many workers seldom meet.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests;
