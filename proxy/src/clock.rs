//! The clocks of the process, which the core does not read.
//!
//! Owns the one reading of the wall clock, which never goes backwards here, and the monotonic ticks by which the times of stages are measured. Never
//! waits: deadlines are tokio's.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use portcullis_core::time::{Ticks, UnixTime};

/// The time now: the wall clock's, but never less than the time of the start and what has passed since.
///
/// A clock that is set back would bring expired tokens and old keys back to life; the gate then keeps its own time
/// until it is started anew, and says so once.
pub(crate) fn now() -> UnixTime {
    let wall = wall();
    let kept = kept(START.1, ticks_ns());
    if wall.after(STEP_TOLD) < kept && !STEP_SEEN.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            behind_s = kept.since(wall).as_secs(),
            "the clock was set back: the gate keeps its own time until it is started anew"
        );
    }
    wall.max(kept)
}

/// The wall clock; the epoch on a machine whose clock stands before it.
fn wall() -> UnixTime {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The time of the start moved on by the ticks since.
fn kept(start: UnixTime, ticks_ns: u64) -> UnixTime {
    start.after(Duration::from_nanos(ticks_ns))
}

/// When the ticks began, and what the wall clock said then.
static START: LazyLock<(Instant, UnixTime)> = LazyLock::new(|| (Instant::now(), wall()));
/// Whether a step backwards was told.
static STEP_SEEN: AtomicBool = AtomicBool::new(false);
/// A step that is told: smaller ones are slewing and rounding.
const STEP_TOLD: Duration = Duration::from_secs(1);

/// Nanoseconds since the ticks began: the gate's and the connections' times have one origin.
pub(crate) fn ticks_ns() -> u64 {
    ticks_ns_at(Instant::now())
}

/// The same for an instant that was read already; zero for one before the beginning.
pub(crate) fn ticks_ns_at(instant: Instant) -> u64 {
    u64::try_from(instant.saturating_duration_since(START.0).as_nanos()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_on_the_ticks_and_never_goes_backwards() {
        let start = UnixTime::from_secs(1_800_000_000);
        assert_eq!(kept(start, 0), start);
        assert_eq!(kept(start, 90_000_000_000), UnixTime::from_secs(1_800_000_090));
        let mut last = now();
        for _ in 0..1_000 {
            let next = now();
            assert!(last <= next);
            last = next;
        }
        assert!(wall().since(last) < Duration::from_secs(60) && last.since(wall()) < Duration::from_secs(60));
    }
}
