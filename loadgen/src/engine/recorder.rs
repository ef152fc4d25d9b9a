//! What one thread takes down.
//!
//! Owns the decision what counts: calls whose *intended* start lies after the warm-up, whenever they are answered.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::Part;
use super::Taken;
use crate::latency::Times;
use crate::report::Outcomes;
use crate::workload::Outcome;

/// A call that is due, or under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// Its number.
    pub(super) number: u64,
    /// When it was due; in a closed loop when it was begun.
    pub(super) intended: Instant,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// With an answer of this status.
    Answered(u16, Outcome),
    /// The connection could not be opened or broke.
    Broken,
    /// Without an answer in time.
    TimedOut,
}

/// The figures of one thread.
#[derive(Debug)]
pub(super) struct Recorder {
    taken: Taken,
    second: Times,
    second_outcomes: Outcomes,
    second_index: usize,
    counts_from: Instant,
    last_answer: Option<Instant>,
    cpu_at_start: Duration,
    measured_from: Option<(Instant, Duration)>,
    under_way: u64,
}

impl Recorder {
    /// A recorder for calls that are due from `counts_from` on.
    pub(super) fn new(is_open: bool, counts_from: Instant, late_after: Duration) -> Self {
        Self {
            taken: Taken {
                response: is_open.then(Times::new),
                late_after,
                ..Taken::default()
            },
            second: Times::new(),
            second_outcomes: Outcomes::default(),
            second_index: 0,
            counts_from,
            last_answer: None,
            cpu_at_start: thread_cpu(),
            measured_from: None,
            under_way: 0,
        }
    }

    /// A connection was opened.
    pub(super) fn opened(&mut self) {
        self.taken.connections_opened += 1;
    }

    /// The generator has taken up a call, `now`; `waits` when no connection was free for it.
    pub(super) fn dispatched(&mut self, job: Job, now: Instant, waits: bool) {
        self.taken.next_call = self.taken.next_call.max(job.number + 1);
        self.under_way += 1;
        if job.intended < self.counts_from {
            return;
        }
        self.taken.due += 1;
        if self.taken.response.is_none() {
            return;
        }
        let delay = now.saturating_duration_since(job.intended);
        self.taken.dispatch_delay.add(delay);
        self.taken.late += u64::from(self.taken.late_after < delay);
        self.taken.waited += u64::from(waits);
    }

    /// A call has ended at `finished`, having been sent at `sent`, if it was.
    pub(super) fn ended(&mut self, job: Job, sent: Option<Instant>, finished: Instant, end: End) {
        self.under_way = self.under_way.saturating_sub(1);
        let service = sent.map(|sent| finished.saturating_duration_since(sent));
        let since_intended = finished.saturating_duration_since(job.intended);
        let time = match self.taken.response {
            Some(_) => since_intended,
            None => service.unwrap_or(since_intended),
        };
        // A call that got no answer at all has no time; one that was given up waited at least so long.
        let timed = !matches!(end, End::Broken);
        count(&mut self.second_outcomes, end);
        if timed {
            self.second.add(time);
        }
        if job.intended < self.counts_from {
            self.taken.warm_up_answered += u64::from(matches!(end, End::Answered(..)));
            return;
        }
        count(&mut self.taken.outcomes, end);
        if let End::Answered(status, _) = end {
            self.last_answer = self.last_answer.max(Some(finished));
            *self.taken.statuses.entry(status).or_default() += 1;
        }
        if timed {
            if let Some(service) = service {
                self.taken.service.add(service);
            }
            if let Some(response) = &mut self.taken.response {
                response.add(time);
            }
        }
    }

    /// A call was given up at the end of the load, unanswered.
    pub(super) fn abandoned(&mut self, job: Job, sent: Option<Instant>, now: Instant) {
        if self.counts_from <= job.intended {
            self.taken.unanswered += 1;
        }
        self.ended(job, sent, now, End::TimedOut);
    }

    /// The measured part begins.
    pub(super) fn measured_begins(&mut self, now: Instant) {
        self.measured_from = Some((now, thread_cpu()));
    }

    /// No call is due any more.
    pub(super) fn measured_ends(&mut self, now: Instant) {
        if let Some((from, cpu)) = self.measured_from {
            let wall = now.saturating_duration_since(from).as_secs_f64();
            let used = thread_cpu().saturating_sub(cpu).as_secs_f64();
            self.taken.cpu_share_max = if 0.0 < wall { used / wall } else { 0.0 };
        }
    }

    /// The second is over: what it held.
    pub(super) fn second_over(&mut self) -> Part {
        let part = Part {
            index: self.second_index,
            times: self.second.clone(),
            outcomes: std::mem::take(&mut self.second_outcomes),
            under_way: self.under_way,
        };
        self.second.clear();
        self.second_index += 1;
        part
    }

    /// Everything; to be called on the thread whose figures these are.
    pub(super) fn finish(mut self) -> Taken {
        self.taken.cpu = thread_cpu().saturating_sub(self.cpu_at_start);
        let last = self.last_answer.unwrap_or(self.counts_from);
        self.taken.elapsed = last.saturating_duration_since(self.counts_from);
        self.taken
    }
}

fn count(outcomes: &mut Outcomes, end: End) {
    let place = match end {
        End::Answered(_, Outcome::Allowed) => &mut outcomes.allowed,
        End::Answered(_, Outcome::AllowedUnexpectedly) => &mut outcomes.allowed_unexpectedly,
        End::Answered(_, Outcome::Denied) => &mut outcomes.denied,
        End::Answered(_, Outcome::DeniedUnexpectedly) => &mut outcomes.denied_unexpectedly,
        End::Answered(_, Outcome::ProtocolError) => &mut outcomes.protocol_errors,
        End::Answered(_, Outcome::Throttled) => &mut outcomes.throttled,
        End::Answered(_, Outcome::ToolError) => &mut outcomes.tool_errors,
        End::Answered(_, Outcome::Unauthenticated) => &mut outcomes.unauthenticated,
        End::Answered(_, Outcome::Unavailable) => &mut outcomes.unavailable,
        End::Broken => &mut outcomes.connection_errors,
        End::TimedOut => &mut outcomes.timeouts,
    };
    *place += 1;
}

/// CPU time that this thread has used.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}
