//! What a process has used: CPU time and memory, as the kernel tells.
//!
//! Owns [`CpuTimes`] and [`CpuSource`]: local processes by `/proc` (`proc_pid_stat(5)`, and the scheduler's own count of
//! nanoseconds where it can be read), targets elsewhere by their metrics page. Measures no wall time.

use std::fs;
use std::io;
use std::time::Duration;

use thiserror::Error;

use super::metrics::{self, MetricsError};
use crate::connect::Endpoint;

/// Where the CPU time of a target is read.
#[derive(Clone, Debug)]
pub enum CpuSource {
    /// `process_cpu_seconds_total` and `process_resident_memory_bytes` of a page in the text format of Prometheus.
    Metrics(Box<Endpoint>),
    /// Nowhere: its rows stay empty.
    Nowhere,
    /// A process of this machine, by its id.
    Process(u32),
}

/// Why it could not be read.
#[derive(Debug, Error)]
pub enum CpuError {
    /// The page could not be had.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The page does not tell.
    #[error("the metrics page of `{0}` has no process_cpu_seconds_total")]
    MetricMissing(http::Uri),
    /// The process is gone, or belongs to somebody else.
    #[error("cannot read the CPU time of process {0}: {1}")]
    Process(u32, io::Error),
}

/// CPU time that a process has used since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CpuTimes {
    /// In user mode, by the clock tick; none when only the whole is known.
    split: Option<Split>,
    /// The whole, in the finest unit there is.
    total: Duration,
}

/// User and kernel time, counted in clock ticks (mostly hundredths of a second).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Split {
    user: Duration,
    kernel: Duration,
}

/// CPU time used between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuUsed {
    /// All of it.
    pub total: Duration,
    /// The share of it that was spent in user mode, 0 to 1; none when it is not known.
    pub user_share: Option<f64>,
}

impl CpuSource {
    /// Reads it now. Cost: a few files of `/proc`, or one HTTP exchange.
    ///
    /// # Errors
    /// [`CpuError`] when it cannot be read; `Ok(None)` when there is nowhere to read it.
    pub fn read(&self) -> Result<Option<CpuTimes>, CpuError> {
        match self {
            Self::Metrics(endpoint) => {
                let page = metrics::fetch(endpoint)?;
                let seconds = page.value("process_cpu_seconds_total");
                let seconds = seconds.ok_or_else(|| CpuError::MetricMissing(endpoint.url().clone()))?;
                Ok(Some(CpuTimes {
                    split: None,
                    total: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
                }))
            }
            Self::Nowhere => Ok(None),
            Self::Process(pid) => CpuTimes::read(*pid).map(Some),
        }
    }

    /// Resident memory now, in bytes; none when it is not told.
    pub fn resident_bytes(&self) -> Option<u64> {
        match self {
            Self::Metrics(endpoint) => {
                let bytes = metrics::fetch(endpoint).ok()?.value("process_resident_memory_bytes")?;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a number of bytes is positive and far below 2^53"
                )]
                let bytes = bytes.max(0.0) as u64;
                Some(bytes)
            }
            Self::Nowhere => None,
            Self::Process(pid) => resident_bytes_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?),
        }
    }
}

impl CpuTimes {
    /// What process `pid` has used. Threads that have ended count by the clock tick alone.
    ///
    /// # Errors
    /// [`CpuError::Process`] when there is no such process.
    pub fn read(pid: u32) -> Result<Self, CpuError> {
        let failed = |error| CpuError::Process(pid, error);
        // The sum over threads first: what comes after it then errs by at most one reading, for every target alike.
        let fine = scheduled(pid);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(failed)?;
        let split = split_in(&stat, rustix::param::clock_ticks_per_second());
        let split = split.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        Ok(Self {
            split: Some(split),
            total: fine.unwrap_or(split.user + split.kernel),
        })
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> CpuUsed {
        let total = self.total.saturating_sub(earlier.total);
        let (Some(now), Some(then)) = (self.split, earlier.split) else {
            return CpuUsed {
                total,
                user_share: None,
            };
        };
        let user = now.user.saturating_sub(then.user);
        let kernel = now.kernel.saturating_sub(then.kernel);
        let coarse = user + kernel;
        CpuUsed {
            // A thread that has ended takes its fine count with it; the coarse one keeps it.
            total: if total + COARSE_SLACK < coarse { coarse } else { total },
            user_share: (!coarse.is_zero()).then(|| user.as_secs_f64() / coarse.as_secs_f64()),
        }
    }
}

/// By how much ticks may exceed what the scheduler has counted: each of four numbers may be off by one of 10 ms.
const COARSE_SLACK: Duration = Duration::from_millis(40);

/// The time that all threads of a process have run, by the scheduler's count; none where the kernel keeps none.
fn scheduled(pid: u32) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else {
            continue;
        };
        total += ran_in(&text)?;
        threads += 1;
    }
    (0 < threads && !total.is_zero()).then_some(total)
}

/// The first number of `schedstat`: nanoseconds on a processor.
fn ran_in(text: &str) -> Option<Duration> {
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Fields 14 and 15 of `stat`. The name in parentheses may hold anything, parentheses and spaces too.
fn split_in(text: &str, ticks_per_second: u64) -> Option<Split> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut time = || {
        let ticks: u64 = fields.next()?.parse().ok()?;
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(ticks_per_second.max(1));
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    };
    Some(Split {
        user: time()?,
        kernel: time()?,
    })
}

fn resident_bytes_in(status: &str) -> Option<u64> {
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests;
