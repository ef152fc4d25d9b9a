//! The clocks of the process, which the core does not read.
//!
//! Owns the one reading of the wall clock and the monotonic ticks by which the times of stages are measured. Never
//! waits: deadlines are tokio's.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use portcullis_core::time::{Ticks, UnixTime};

/// The time now; the epoch on a machine whose clock stands before it.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// When the ticks began.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the ticks began: the gate's and the connections' times have one origin.
pub(crate) fn ticks_ns() -> u64 {
    ticks_ns_at(Instant::now())
}

/// The same for an instant that was read already; zero for one before the beginning.
pub(crate) fn ticks_ns_at(instant: Instant) -> u64 {
    u64::try_from(instant.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX)
}

/// The ticks for the gate.
#[derive(Debug)]
pub(crate) struct Monotonic(());

impl Monotonic {
    /// The ticks begin with the first of these.
    pub(crate) fn start() -> Self {
        LazyLock::force(&START);
        Self(())
    }
}

impl Ticks for Monotonic {
    fn now_ns(&self) -> u64 {
        ticks_ns()
    }
}
