//! A value that readers take whole and writers exchange whole.
//!
//! Owns [`Published`], through which the gate publishes its snapshot and with it every key set. A reader takes no lock:
//! it never waits for a writer, nor for other readers, and a writer never waits for a reader. The short test below runs
//! under Miri too (`.ci/miri`), which looks for data races in this very type; the one with a whole gate and real keys,
//! `tests/it/threads.rs`, runs on the bare machine, since Miri cannot enter `ring`.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value of which there is exactly one at each moment.
pub(crate) struct Published<T>(ArcSwap<T>);

impl<T> Published<T> {
    /// Publishes the first value.
    pub(crate) fn new(value: T) -> Self {
        Self(ArcSwap::from_pointee(value))
    }

    /// The value of this moment; it stays as it is for as long as it is held. Costs some 10 ns.
    pub(crate) fn current(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Publishes what `change` makes of the current value. It is called again when another writer was faster, so that
    /// no exchange is lost.
    pub(crate) fn exchange(&self, change: impl Fn(&T) -> T) {
        self.0.rcu(|current| change(current));
    }
}

#[cfg(test)]
mod tests;
