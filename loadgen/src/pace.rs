//! Waiting until a call is due, to some ten microseconds.
//!
//! Owns [`Pacer`]: a `timerfd` under tokio's driver, because tokio's own timers tick in milliseconds, which at a
//! thousand calls a second would be the measured time itself. Never spins: the machine is shared with the target.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer of one thread.
#[derive(Debug)]
pub struct Pacer(AsyncFd<OwnedFd>);

impl Pacer {
    /// A timer; to be made within a tokio runtime.
    ///
    /// # Errors
    /// When the system gives no timer.
    #[expect(
        deprecated,
        reason = "the replacement is unsafe, which is forbidden here; for an OwnedFd, which stays open, this is sound"
    )]
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self(AsyncFd::with_interest(timer, Interest::READABLE)?))
    }

    /// Waits until `due`, never returns before it; returns at once when it has passed. Cost: two system calls and the
    /// wake-up.
    ///
    /// # Errors
    /// When the system refuses the timer.
    pub async fn until(&self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let spec = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: timespec(left),
            };
            // Setting it takes back an expiry that nobody has read.
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &spec)?;
            let mut expired = self.0.readable().await?;
            expired.clear_ready();
        }
    }
}

fn timespec(span: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: span.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests;
