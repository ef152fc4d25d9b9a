//! The working memory of each worker thread.
//!
//! Owns one [`Scratch`] a thread and the number that tells it which policy replica is its own. Never lends it
//! across an await: [`with`] takes a closure, and a closure cannot wait.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_core::gate::Scratch;

/// Numbers the threads in the order of their first decision.
static NEXT_WORKER: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new(NEXT_WORKER.fetch_add(1, Ordering::Relaxed)));
}

/// Runs `work` with this thread's scratch. Calls must not nest.
pub(crate) fn with<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(work)
}
