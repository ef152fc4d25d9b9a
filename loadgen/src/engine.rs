//! The load itself: sends each call at its time and takes the times of the answers.
//!
//! Owns [`Plan`] and [`run`]. In an open loop a call is due by the clock; when every connection is busy it waits in a
//! queue and its response time goes on counting, so that a slow target cannot slow down its own measurement. Nothing is
//! retried: a call that fails is a failure. Decides nothing about what is measured; see [`Taken::validity`] for whether
//! it may be believed.
//!
//! ```text
//!   schedule --due--> dispatcher --queue--> worker = connection (or one stream of it) --> target
//!                        | dispatch delay       | service time: sent .. answered
//!                        '---------- response time: intended start .. answered ------'
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::connect::{Endpoint, ExchangeError};
use crate::latency::Times;
use crate::report::{Interval, Outcomes};
use crate::schedule::Schedule;
use crate::view::{Phase, Second, Watch};
use crate::workload::Calls;

mod recorder;
mod taken;
mod work;

pub use taken::{CPU_SHARE_MAX, LATE_AFTER, LATE_SHARE_MAX, Taken};

/// Whether the user wants the process to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// How often a load looks whether it is interrupted.
const LOOK: Duration = Duration::from_millis(50);

/// Ends the load that is under way, and every later one, as soon as its answers are in; what it has taken is INVALID.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Whether [`interrupt`] was called.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Between the last connection being opened and the first call.
const LEAD: Duration = Duration::from_millis(20);

/// When calls are due.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// When the call before it has been answered, for so long, the warm-up included.
    Closed {
        /// No call starts after it.
        length: Duration,
    },
    /// By the clock, the warm-up included.
    Open(Schedule),
}

impl Arrivals {
    /// How long calls are due, the warm-up included.
    pub fn length(&self) -> Duration {
        match self {
            Self::Closed { length } => *length,
            Self::Open(schedule) => schedule.length(),
        }
    }
}

/// A load on one target.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The target.
    pub endpoint: Endpoint,
    /// When calls are due.
    pub arrivals: Arrivals,
    /// Connections in all, at least one a thread.
    pub connections: usize,
    /// Calls under way a connection at most: 1 for HTTP/1.1.
    pub streams: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// How much at the begin does not count.
    pub warm_up: Duration,
    /// How long an answer is awaited.
    pub timeout: Duration,
    /// A call that is taken up later than this after its intended start counts as late; see [`LATE_AFTER`].
    pub late_after: Duration,
    /// The processors to bind the threads to, in turn; none leaves them free.
    pub cores: Vec<usize>,
    /// The number of the first call.
    pub first_call: u64,
}

/// Why a load could not run.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The target takes no connections.
    #[error("cannot connect to `{0}`: {1}")]
    Connect(String, ExchangeError),
    /// The system refuses threads or timers.
    #[error("the system refuses what a load needs: {0}")]
    System(#[from] io::Error),
    /// A thread of the generator panicked.
    #[error("a thread of the generator panicked; its figures are lost")]
    Panicked,
    /// The warm-up leaves nothing to measure.
    #[error("the warm-up lasts as long as the load: nothing would be measured")]
    WarmUp,
}

/// What one thread has taken in one second.
#[derive(Debug)]
struct Part {
    /// Its number, from 0.
    index: usize,
    times: Times,
    outcomes: Outcomes,
    under_way: u64,
}

/// What all threads of a load share.
struct Shared {
    plan: Plan,
    calls: Arc<dyn Calls>,
    /// All threads have their connections: the load begins for all at once.
    ready: Barrier,
    /// Whether a thread could not get ready.
    failed: AtomicBool,
    /// When the first thread passed the barrier; the load begins [`LEAD`] later.
    begun: OnceLock<Instant>,
}

/// Runs a load; blocks until its last answer, or until the time limit after the last call has passed.
///
/// # Errors
/// [`EngineError`] when it could not run at all. A target that fails in mid-run is a result, not an error.
pub fn run(plan: &Plan, calls: &Arc<dyn Calls>, watch: &mut dyn Watch) -> Result<Taken, EngineError> {
    if plan.arrivals.length() <= plan.warm_up {
        return Err(EngineError::WarmUp);
    }
    let threads = plan.threads.clamp(1, plan.connections.max(1));
    let shared = Arc::new(Shared {
        plan: plan.clone(),
        calls: Arc::clone(calls),
        ready: Barrier::new(threads),
        failed: AtomicBool::new(false),
        begun: OnceLock::new(),
    });
    let (sender, parts) = mpsc::channel();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|index| {
                let (shared, sender) = (&shared, sender.clone());
                scope.spawn(move || work::work(shared, index, threads, &sender))
            })
            .collect();
        drop(sender);
        let intervals = collect(plan, threads, &parts, watch);
        let mut taken = Taken {
            planned: plan.arrivals.length().saturating_sub(plan.warm_up),
            late_after: plan.late_after,
            ..Taken::default()
        };
        for worker in workers {
            taken.merge(&worker.join().map_err(|_| EngineError::Panicked)??);
        }
        taken.intervals = intervals;
        taken.next_call += plan.first_call;
        taken.interrupted = is_interrupted();
        Ok(taken)
    })
}

/// Puts the seconds of all threads together until the last thread has ended.
fn collect(plan: &Plan, threads: usize, parts: &Receiver<Part>, watch: &mut dyn Watch) -> Vec<Interval> {
    let mut waiting: Vec<Vec<Part>> = Vec::new();
    let mut intervals = Vec::new();
    let mut told = 0;
    while let Ok(part) = parts.recv() {
        let index = part.index;
        if waiting.len() <= index {
            waiting.resize_with(index + 1, Vec::new);
        }
        if let Some(seconds) = waiting.get_mut(index) {
            seconds.push(part);
        }
        while let Some(complete) = waiting.get_mut(told).filter(|parts| parts.len() == threads) {
            intervals.extend(tell(plan, told, std::mem::take(complete), watch));
            told += 1;
        }
    }
    // Threads that had less to wait for have ended earlier.
    for (index, rest) in waiting.into_iter().enumerate().skip(told) {
        intervals.extend(tell(plan, index, rest, watch));
    }
    intervals
}

/// Tells one second to the watch; gives it back when it counts.
fn tell(plan: &Plan, index: usize, parts: Vec<Part>, watch: &mut dyn Watch) -> Option<Interval> {
    let mut parts = parts.into_iter();
    let mut whole = parts.next()?;
    for part in parts {
        whole.times.merge(&part.times);
        whole.outcomes.merge(&part.outcomes);
        whole.under_way += part.under_way;
    }
    let end = second_end(plan.warm_up, index);
    let since_start = if index == 0 {
        Duration::ZERO
    } else {
        second_end(plan.warm_up, index - 1)
    };
    let planned = plan.arrivals.length();
    let phase = match since_start {
        _ if end <= plan.warm_up => Phase::WarmUp,
        begin if begin < planned => Phase::Measured,
        _ => Phase::Draining,
    };
    watch.second(&Second {
        phase,
        since_start,
        planned,
        rate_due: match &plan.arrivals {
            Arrivals::Open(schedule) => Some(schedule.rate_between(since_start, end)),
            Arrivals::Closed { .. } => None,
        },
        times: &whole.times,
        outcomes: whole.outcomes,
        under_way: whole.under_way,
    });
    (phase != Phase::WarmUp).then(|| Interval {
        start_s: since_start.saturating_sub(plan.warm_up).as_secs_f64(),
        answered: whole.outcomes.total() - whole.outcomes.timeouts - whole.outcomes.connection_errors,
        failures: whole.outcomes.failures(),
        p50_us: whole.times.guess_us(50.0),
        p99_us: whole.times.guess_us(99.0),
        max_us: whole.times.max_us(),
    })
}

/// When second number `index` ends after the start: seconds are counted from the end of the warm-up, so only the first
/// may be shorter than one.
fn second_end(warm_up: Duration, index: usize) -> Duration {
    let first = match warm_up.subsec_nanos() {
        0 => Duration::from_secs(1),
        nanos => Duration::new(0, nanos),
    };
    first + Duration::from_secs(index as u64)
}

#[cfg(test)]
mod tests;
