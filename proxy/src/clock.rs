//! The wall clock of the process, which the core does not read.
//!
//! Owns its one reading. Never waits, and measures nothing: deadlines go by the monotonic clock.

use std::time::SystemTime;

use portcullis_core::time::UnixTime;

/// The time now; the epoch on a machine whose clock stands before it.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
