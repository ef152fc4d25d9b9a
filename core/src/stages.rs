//! How long the stages of requests take: one histogram a stage, for whoever splits the time of a request.
//!
//! Owns [`Stage`], [`StageTimes`] and the stopwatch of one request, `Laps`. Counting takes no lock and allocates
//! nothing; memory is fixed. Never reads a clock, decides nothing, and knows no subject, tool or argument.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A part of a request's way, in the order of that way.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// Reading the head and the body and writing the answer, as the embedder measures it.
    Connection,
    /// Credential, token and caller, with the wait for keys if there was one.
    Identity,
    /// The body, and what it says.
    Parse,
    /// The scope table.
    Scope,
    /// The policy's two questions about the call.
    Policy,
    /// From handing the record over until it is durable and the permit is taken; of a refusal, whose record nobody
    /// waits for, the handing over alone.
    Record,
    /// From the permit to the end of the upstream's answer, or to the head of its stream.
    Forward,
    /// Splitting and reviewing the answer until its record is durable; of a stream, all its messages together.
    Review,
}

impl Stage {
    /// Every stage, in the order of the way.
    pub const ALL: [Self; 8] = [
        Self::Connection,
        Self::Identity,
        Self::Parse,
        Self::Scope,
        Self::Policy,
        Self::Record,
        Self::Forward,
        Self::Review,
    ];

    /// The name in metrics and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Identity => "identity",
            Self::Parse => "parse",
            Self::Scope => "scope",
            Self::Policy => "policy",
            Self::Record => "record",
            Self::Forward => "forward",
            Self::Review => "review",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// The upper bound of the first bucket, in bits of nanoseconds: 256 ns.
const FIRST_BITS: u32 = 8;
/// The upper bound of the last bucket but the open one: 68.7 s.
const LAST_BITS: u32 = 36;
/// Buckets of one power of two: each is as wide as its fellows, so a bound is at most a quarter above the one before.
const PER_OCTAVE: usize = 1 << PER_OCTAVE_BITS;
const PER_OCTAVE_BITS: u32 = 2;
const PART_MASK: u64 = (1 << PER_OCTAVE_BITS) - 1;

/// The buckets of one histogram: the first, those of all powers of two, and the open last one.
pub const BUCKETS: usize = 2 + (LAST_BITS - FIRST_BITS) as usize * PER_OCTAVE;

/// The upper bound of bucket number `bucket` in nanoseconds, itself included; `None` for the last, which is open, and
/// for numbers past it.
pub const fn upper_bound_ns(bucket: usize) -> Option<u64> {
    if BUCKETS <= bucket.saturating_add(1) {
        return None;
    }
    let Some(above_first) = bucket.checked_sub(1) else {
        return Some(1 << FIRST_BITS);
    };
    let (octave, part) = (above_first / PER_OCTAVE, above_first % PER_OCTAVE);
    // Within the octaves above, neither the sum nor the shift can leave 64 bits.
    let parts = PER_OCTAVE.saturating_add(part).saturating_add(1) as u64;
    let shift = (FIRST_BITS - PER_OCTAVE_BITS) as usize;
    Some(parts << shift.saturating_add(octave))
}

/// The bucket that counts a time of `ns` nanoseconds.
fn bucket_of(ns: u64) -> usize {
    // Bounds belong to the bucket below them, as Prometheus has it.
    let below = ns.saturating_sub(1);
    let bits = u64::BITS.saturating_sub(below.leading_zeros());
    let Some(octave) = bits.checked_sub(FIRST_BITS + 1) else {
        return 0;
    };
    if LAST_BITS < bits {
        return BUCKETS.saturating_sub(1);
    }
    // The two bits below the highest one tell the part of the octave.
    let part = below.wrapping_shr(octave.saturating_add(FIRST_BITS - PER_OCTAVE_BITS)) & PART_MASK;
    usize::try_from(part)
        .unwrap_or(0)
        .saturating_add((octave as usize).saturating_mul(PER_OCTAVE))
        .saturating_add(1)
}

/// Threads that count apart; further ones share with the earlier.
const SHARDS: usize = 64;

/// The number of the next thread that counts for the first time.
static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The thread's own shard, once it has counted. A request may change its thread at every wait, so the number
    /// belongs to the thread and not to the request.
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The histograms of all stages since the start.
///
/// Every thread counts in memory of its own; reading sums up. Half a mebibyte.
pub struct StageTimes {
    shards: Box<[Shard]>,
}

/// What some threads have counted. Aligned to two cache lines, which processors fetch together.
#[repr(align(128))]
struct Shard {
    stages: [Counts; Stage::ALL.len()],
}

struct Counts {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl std::fmt::Debug for StageTimes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StageTimes").finish_non_exhaustive()
    }
}

impl Default for StageTimes {
    fn default() -> Self {
        let counts = || Counts {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_ns: AtomicU64::new(0),
        };
        let shard = || Shard {
            stages: std::array::from_fn(|_| counts()),
        };
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }
    }
}

impl StageTimes {
    /// Counts a stage that took `ns` nanoseconds. Two relaxed additions, on cache lines of this thread's own.
    pub fn record(&self, stage: Stage, ns: u64) {
        let Some(counts) = self.shard().and_then(|shard| shard.stages.get(stage.index())) else {
            return;
        };
        if let Some(bucket) = counts.buckets.get(bucket_of(ns)) {
            bucket.fetch_add(1, Ordering::Relaxed);
            counts.sum_ns.fetch_add(ns, Ordering::Relaxed);
        }
    }

    /// Counts every stage that one request has reached.
    pub(crate) fn record_all(&self, laps: &Laps) {
        for stage in Stage::ALL {
            if let Some(ns) = laps.of(stage) {
                self.record(stage, ns);
            }
        }
    }

    /// What was counted of `stage` so far, all threads together. Counts made meanwhile are in it or not; none is lost.
    pub fn snapshot(&self, stage: Stage) -> Histogram {
        let mut histogram = Histogram {
            buckets: [0; BUCKETS],
            sum_ns: 0,
        };
        for counts in self.shards.iter().filter_map(|shard| shard.stages.get(stage.index())) {
            for (total, bucket) in histogram.buckets.iter_mut().zip(&counts.buckets) {
                *total = total.saturating_add(bucket.load(Ordering::Relaxed));
            }
            histogram.sum_ns = histogram.sum_ns.saturating_add(counts.sum_ns.load(Ordering::Relaxed));
        }
        histogram
    }

    fn shard(&self) -> Option<&Shard> {
        let number = SHARD.get().unwrap_or_else(|| {
            let number = NEXT_SHARD.fetch_add(1, Ordering::Relaxed);
            SHARD.set(Some(number));
            number
        });
        self.shards.get(number % SHARDS)
    }
}

/// The times of one stage, summed up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    sum_ns: u64,
}

impl Histogram {
    /// The buckets in ascending order: the upper bound in nanoseconds, `None` for the open last one, and the count.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        self.buckets
            .iter()
            .enumerate()
            .map(|(bucket, count)| (upper_bound_ns(bucket), *count))
    }

    /// How many times were counted: exactly the sum of the buckets.
    pub fn count(&self) -> u64 {
        self.buckets.iter().copied().fold(0, u64::saturating_add)
    }

    /// The sum of all times, in nanoseconds.
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
}

/// The stopwatch of one request: the time from one reading of the clock to the next belongs to one stage, or to none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Laps {
    ns: [Option<u64>; Stage::ALL.len()],
    last_ns: u64,
}

impl Laps {
    /// Starts at this reading.
    pub(crate) const fn start(now_ns: u64) -> Self {
        Self {
            ns: [None; Stage::ALL.len()],
            last_ns: now_ns,
        }
    }

    /// Ends a lap: the time since the last reading was spent on `stage`.
    pub(crate) fn end(&mut self, stage: Stage, now_ns: u64) {
        let lap = now_ns.saturating_sub(self.last_ns);
        if let Some(ns) = self.ns.get_mut(stage.index()) {
            *ns = Some(ns.unwrap_or(0).saturating_add(lap));
        }
        self.last_ns = now_ns;
    }

    /// What the clock said when the last lap ended.
    pub(crate) const fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Ends a lap that was spent on no stage of the core's.
    pub(crate) const fn skip(&mut self, now_ns: u64) {
        self.last_ns = now_ns;
    }

    /// The time spent on `stage`; `None` when it was not reached.
    pub(crate) fn of(&self, stage: Stage) -> Option<u64> {
        self.ns.get(stage.index()).copied().flatten()
    }

    /// The time spent on these stages in whole microseconds, zero when none was reached.
    pub(crate) fn us(&self, stages: &[Stage]) -> u64 {
        let times = stages.iter().filter_map(|stage| self.of(*stage));
        times.fold(0, u64::saturating_add) / 1_000
    }

    /// The time spent on all stages.
    pub(crate) fn total_ns(&self) -> u64 {
        self.ns.iter().flatten().copied().fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests;
