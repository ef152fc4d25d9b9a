//! What a load has taken, and what may be said of it.
//!
//! Owns [`Taken`]: raw histograms and counts, mergeable over threads and rounds, and the judgement whether the
//! generator itself was the bottleneck. Rounds nothing and forgets nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::latency::Times;
use crate::report::{Generator, Interval, InvalidReason, Measured, Outcomes, Validity};

/// A call that is taken up later than this after its intended start counts as late.
pub const LATE_AFTER: Duration = Duration::from_millis(1);
/// More late calls than this share make a run INVALID.
pub const LATE_SHARE_MAX: f64 = 0.01;
/// A generator thread that uses more than this share of a core is saturated.
pub const CPU_SHARE_MAX: f64 = 0.9;
/// A run that sends fewer calls than this share of what was due is INVALID.
const ANSWERED_SHARE_MIN: f64 = 0.999;

/// Everything that a load has taken. Times and counts concern the measured part unless they say otherwise.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// From the intended start to the end of the answer; none for a closed loop.
    pub response: Option<Times>,
    /// From the first byte sent to the end of the answer.
    pub service: Times,
    /// From the intended start until the generator took the call up; empty for a closed loop.
    pub dispatch_delay: Times,
    /// What the answers said.
    pub outcomes: Outcomes,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Second by second.
    pub intervals: Vec<Interval>,
    /// Calls that were due.
    pub due: u64,
    /// Of these, taken up later than [`LATE_AFTER`].
    pub late: u64,
    /// Of these, due while every connection was busy.
    pub waited: u64,
    /// Calls that had neither answer nor failure when the load was given up.
    pub unanswered: u64,
    /// Answers of the warm-up.
    pub warm_up_answered: u64,
    /// The measured part by plan.
    pub planned: Duration,
    /// From the first intended start of the measured part to its last answer.
    pub elapsed: Duration,
    /// CPU time of the generator's threads, warm-up included.
    pub cpu: Duration,
    /// The busiest thread's share of a core in the measured part.
    pub cpu_share_max: f64,
    /// Connections opened in all.
    pub connections_opened: u64,
    /// The number of the first call that was not made.
    pub next_call: u64,
}

impl Taken {
    /// Adds what another thread, or another round, has taken.
    ///
    /// Counts and histograms add up; times of rounds add up only when the caller adds them: here the longer counts, and
    /// the intervals of `other` stand behind these.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.response, &other.response) {
            (Some(times), Some(others)) => times.merge(others),
            (times @ None, Some(others)) => *times = Some(others.clone()),
            (_, None) => {}
        }
        self.service.merge(&other.service);
        self.dispatch_delay.merge(&other.dispatch_delay);
        self.outcomes.merge(&other.outcomes);
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.intervals.extend_from_slice(&other.intervals);
        self.due += other.due;
        self.late += other.late;
        self.waited += other.waited;
        self.unanswered += other.unanswered;
        self.warm_up_answered += other.warm_up_answered;
        self.planned = self.planned.max(other.planned);
        self.elapsed = self.elapsed.max(other.elapsed);
        self.cpu += other.cpu;
        self.cpu_share_max = self.cpu_share_max.max(other.cpu_share_max);
        self.connections_opened += other.connections_opened;
        self.next_call = self.next_call.max(other.next_call);
    }

    /// Answers with a status, warm-up included: what CPU time is divided by.
    pub fn answered_in_all(&self) -> u64 {
        self.answered() + self.warm_up_answered
    }

    /// Whether the generator, not the target, bounded the load.
    pub fn is_generator_bound(&self) -> bool {
        CPU_SHARE_MAX < self.cpu_share_max
    }

    /// The part of the report that tells what came of it.
    pub fn measured(&self) -> Measured {
        let answered = self.answered();
        let seconds = self.elapsed.max(self.planned).as_secs_f64();
        Measured {
            due: self.due,
            answered,
            elapsed_s: self.elapsed.as_secs_f64(),
            rate: share(answered as f64, seconds),
            response_time: self.response.as_ref().map(Times::latency),
            service_time: self.service.latency(),
            outcomes: self.outcomes,
            statuses: self.statuses.clone(),
            intervals: self.intervals.clone(),
        }
    }

    /// The part of the report that tells how the generator fared.
    pub fn generator(&self) -> Generator {
        let due = self.due as f64;
        Generator {
            dispatch_delay: self.dispatch_delay.latency(),
            late_after_us: LATE_AFTER.as_secs_f64() * 1e6,
            late_share: share(self.late as f64, due),
            waited_share: share(self.waited as f64, due),
            cpu_share_max: self.cpu_share_max,
            cpu_us_per_request: share(self.cpu.as_secs_f64() * 1e6, self.answered_in_all() as f64),
            connections_opened: self.connections_opened,
        }
    }

    /// Whether the figures may be believed.
    pub fn validity(&self) -> Validity {
        let mut validity = Validity::default();
        let mut invalid = |code: &str, text: String| {
            validity.reasons.push(InvalidReason {
                code: code.to_owned(),
                text,
            });
        };
        let late = share(self.late as f64, self.due as f64);
        let cpu = self.cpu_share_max * 100.0;
        if self.answered() == 0 {
            invalid("unanswered", "no call was answered".to_owned());
        } else if ((self.due - self.unanswered) as f64) < ANSWERED_SHARE_MIN * self.due as f64 {
            let text = format!(
                "{} of {} calls were still out when the run was given up: the times of the slowest are missing",
                self.unanswered, self.due
            );
            invalid("unanswered", text);
        }
        if self.response.is_some() && LATE_SHARE_MAX < late {
            let text = format!(
                "{:.1} % of the calls were taken up more than {} ms late by the generator itself (at most {} % may be)",
                late * 100.0,
                LATE_AFTER.as_millis(),
                LATE_SHARE_MAX * 100.0
            );
            invalid("late", text);
        }
        if self.is_generator_bound() {
            let text = format!(
                "the generator was saturated: its busiest thread used {cpu:.0} % of a core; give it more threads, \
                 other cores or a lower rate"
            );
            invalid("saturated", text);
        }
        validity.invalid = !validity.reasons.is_empty();
        self.note(&mut validity.notes);
        validity
    }

    fn note(&self, notes: &mut Vec<String>) {
        if self.response.is_none() {
            notes.push(
                "closed loop: a call waits for the one before it, so this is NOT open loop; whatever waited while the \
                 target was slow is missing from these times (coordinated omission)"
                    .to_owned(),
            );
        }
        let waited = share(self.waited as f64, self.due as f64);
        if 0.0 < waited && self.response.is_some() {
            notes.push(format!(
                "{:.1} % of the calls were due while all connections were busy; their wait is part of the response \
                 time",
                waited * 100.0
            ));
        }
        if cfg!(debug_assertions) {
            notes.push(
                "this is a debug build of the generator: its own cost is not what a release build has".to_owned(),
            );
        }
    }

    fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if 0.0 < whole { part / whole } else { 0.0 }
}
