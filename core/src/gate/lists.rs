//! Which lists of tools are out of date.
//!
//! Owns [`ToolLists`]: who was told that a list changed, or missed one, says so here, and the embedder fetches it. Never
//! fetches. A server that says so again and again is noted once until it is taken.

#![expect(
    clippy::disallowed_types,
    reason = "a server says rarely that its list has changed; the lock is held for one look-up"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// The servers whose tools are to be listed anew, and what came of listing.
#[derive(Debug, Default)]
pub struct ToolLists {
    wanted: Mutex<Wanted>,
    failures: AtomicU64,
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct Wanted {
    servers: BTreeSet<Arc<str>>,
    waker: Option<Waker>,
}

impl ToolLists {
    /// Takes a server whose tools are to be listed anew; else wakes `waker` when there is one. One task at a time.
    pub fn poll_wanted(&self, waker: &Waker) -> Poll<Arc<str>> {
        let mut wanted = self.lock();
        match wanted.servers.pop_first() {
            Some(server) => Poll::Ready(server),
            None => {
                wanted.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Notes that the tools of a server are to be listed anew.
    pub(super) fn want(&self, server: &Arc<str>) {
        let waker = {
            let mut wanted = self.lock();
            wanted.servers.insert(Arc::clone(server));
            wanted.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Counts a listing that failed.
    pub fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a definition that is not the accepted one, once for each it is found with.
    pub fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Listings that failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Definitions that were not the accepted ones.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
