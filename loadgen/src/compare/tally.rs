//! What the turns of each target add up to, and the report made of it.
//!
//! Owns [`Tally`] and the judgement of a comparison. Measures nothing.

use std::time::Duration;

use super::stages::StageTimes;
use super::turns::{self, Figures, median, spread};
use super::{CompareOptions, ComparedTarget, Measured, Setting};
use crate::engine::LATE_SHARE_MAX;
use crate::latency::Times;
use crate::report::{
    CompareReport, CompareTarget, Interval, InvalidReason, Load, Outcomes, Ratio, SCHEMA_VERSION, Validity,
};

/// A target that fails more calls than this share makes the comparison INVALID.
const FAILED_SHARE_MAX: f64 = 0.01;
/// Rounds of a target that differ by more than this share of their median are told.
const SPREAD_TOLD: f64 = 0.1;
/// By how much the shares of refused calls may differ before it is told.
const DENIED_SHARE_TOLD: f64 = 0.005;

/// The turns of one target so far.
#[derive(Default)]
pub(super) struct Tally {
    response: Times,
    service: Times,
    outcomes: Outcomes,
    intervals: Vec<Interval>,
    stages: StageTimes,
    /// CPU time a call of each round, closed phase.
    cpu_us: Vec<Option<f64>>,
    user_share: Vec<f64>,
    cpu_us_open: Vec<f64>,
    rates: Vec<f64>,
    generator_bound: bool,
    /// Calls of the open phases that were due, and of these, taken up late by the generator.
    due: u64,
    late: u64,
    /// What was wrong with an open phase, by round (from 0).
    reasons: Vec<(usize, InvalidReason)>,
    /// The measured part of the open phases so far.
    open_length: Duration,
}

impl Tally {
    /// Adds one turn.
    pub(super) fn add(&mut self, round: usize, open: &Measured, closed: &Measured) {
        if let Some(response) = &open.taken.response {
            self.response.merge(response);
        }
        self.service.merge(&open.taken.service);
        let offset = self.open_length.as_secs_f64();
        // What was answered after the last call was due would stand beside the next round's first second.
        let planned = open.taken.planned.as_secs_f64();
        let intervals = open
            .taken
            .intervals
            .iter()
            .filter(|interval| interval.start_s < planned);
        self.intervals.extend(intervals.map(|interval| Interval {
            start_s: interval.start_s + offset,
            ..*interval
        }));
        self.open_length += open.taken.planned;
        if let Some(stages) = &open.stages {
            self.stages.merge(stages);
        }
        for measured in [open, closed] {
            self.outcomes.merge(&measured.taken.outcomes);
        }
        self.cpu_us.push(per_call(closed));
        self.user_share.extend(closed.cpu.and_then(|cpu| cpu.user_share));
        self.cpu_us_open.extend(per_call(open));
        self.rates.push(closed.taken.measured().rate);
        self.generator_bound |= closed.crowded;
        // Lateness is judged over all rounds, as the percentiles are.
        self.due += open.taken.due;
        self.late += open.taken.late;
        let Validity { reasons, .. } = open.taken.validity();
        let reasons = reasons.into_iter().filter(|reason| reason.code != "late");
        self.reasons.extend(reasons.map(|reason| (round, reason)));
        // A closed loop that is bound by the generator still tells the cost of a call; one without answers does not.
        let Validity { reasons, .. } = closed.taken.validity();
        let lost = reasons.into_iter().filter(|reason| reason.code == "unanswered");
        self.reasons.extend(lost.map(|reason| (round, reason)));
    }

    fn figures<'r>(&'r self, target: &'r ComparedTarget) -> Figures<'r> {
        Figures {
            name: &target.row.name,
            cpu_us: &self.cpu_us,
            rates: &self.rates,
            response: &self.response,
        }
    }

    fn row(&self, target: &ComparedTarget) -> CompareTarget {
        let cpu_us: Vec<f64> = self.cpu_us.iter().copied().flatten().collect();
        let cpu = median(&cpu_us);
        let user = cpu
            .zip(median(&self.user_share))
            .map(|(cpu, share)| (cpu * share, cpu * (1.0 - share)));
        CompareTarget {
            name: target.row.name.clone(),
            url: target.row.endpoint.shown(),
            what: target.row.what.clone(),
            cpu_us_per_request: cpu.map(thousandths),
            cpu_user_us_per_request: user.map(|(user, _)| thousandths(user)),
            cpu_kernel_us_per_request: user.map(|(_, kernel)| thousandths(kernel)),
            cpu_us_per_request_rounds: cpu_us.iter().copied().map(thousandths).collect(),
            cpu_us_per_request_open: median(&self.cpu_us_open).map(thousandths),
            rss_bytes: target.row.cpu.resident_bytes(),
            saturation_rate: median(&self.rates).map(thousandths),
            saturation_rate_rounds: self.rates.iter().copied().map(thousandths).collect(),
            generator_bound: self.generator_bound,
            response_time: self.response.latency(),
            service_time: self.service.latency(),
            outcomes: self.outcomes,
            intervals: self.intervals.clone(),
            stages: self.stages.rows(),
        }
    }

    fn denied_share(&self) -> f64 {
        self.outcomes.denied as f64 / self.outcomes.total().max(1) as f64
    }
}

/// CPU time over all answers of the part, warm-up included, in microseconds.
fn per_call(measured: &Measured) -> Option<f64> {
    let answered = measured.taken.answered_in_all();
    let cpu = measured.cpu.filter(|_| 0 < answered)?;
    Some(cpu.total.as_secs_f64() * 1e6 / answered as f64)
}

fn thousandths(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// The report of the comparison.
pub(super) fn report(
    options: &CompareOptions,
    targets: &[ComparedTarget],
    setting: &Setting,
    tallies: &[Tally],
) -> CompareReport {
    let both = || targets.iter().zip(tallies);
    let reasons = reasons(both());
    CompareReport {
        schema_version: SCHEMA_VERSION,
        kind: "compare".to_owned(),
        environment: setting.environment.clone(),
        load: load(options, setting),
        rounds: options.rounds,
        targets: both().map(|(target, tally)| tally.row(target)).collect(),
        ratios: ratios(both().map(|(target, tally)| tally.figures(target)).collect()),
        invalid: !reasons.is_empty(),
        reasons,
        notes: notes(options, both(), setting),
        thresholds: Vec::new(),
    }
}

fn load(options: &CompareOptions, setting: &Setting) -> Load {
    let (open, closed) = (options.open.as_secs_f64(), options.closed.as_secs_f64());
    let concurrency = options.connections * options.streams;
    Load {
        model: "open".to_owned(),
        plan: format!(
            "{} rounds; a turn is an open loop, constant {}/s for {open} s, and a closed loop, {concurrency} calls under \
             way for {closed} s",
            options.rounds, options.rate
        ),
        rate: Some(options.rate),
        connections: options.connections,
        concurrency,
        threads: options.threads,
        warm_up_s: options.warm_up.as_secs_f64(),
        duration_s: open,
        seed: setting.seed,
        workload: setting.workload.clone(),
    }
}

/// Each target beside the first, and beside the one before it.
fn ratios(figures: Vec<Figures<'_>>) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    let Some((first, others)) = figures.split_first() else {
        return ratios;
    };
    let mut before = first;
    for target in others {
        ratios.push(turns::ratio(target, first));
        if before.name != first.name {
            ratios.push(turns::ratio(target, before));
        }
        before = target;
    }
    ratios
}

fn reasons<'t>(targets: impl Iterator<Item = (&'t ComparedTarget, &'t Tally)>) -> Vec<InvalidReason> {
    let mut reasons = Vec::new();
    for (target, tally) in targets {
        let name = &target.row.name;
        for (round, reason) in &tally.reasons {
            reasons.push(InvalidReason {
                code: reason.code.clone(),
                text: format!("`{name}`, round {}: {}", round + 1, reason.text),
            });
        }
        let late = tally.late as f64 / tally.due.max(1) as f64;
        if LATE_SHARE_MAX < late {
            reasons.push(InvalidReason {
                code: "late".to_owned(),
                text: format!(
                    "`{name}`: {:.1} % of the calls were taken up late by the generator itself (at most {} % may be)",
                    late * 100.0,
                    LATE_SHARE_MAX * 100.0
                ),
            });
        }
        let outcomes = &tally.outcomes;
        let share = outcomes.failures() as f64 / outcomes.total().max(1) as f64;
        if FAILED_SHARE_MAX < share {
            reasons.push(InvalidReason {
                code: "failures".to_owned(),
                text: format!(
                    "`{name}` failed {:.1} % of its calls (at most {} % may fail): what failed did not do the work",
                    share * 100.0,
                    FAILED_SHARE_MAX * 100.0
                ),
            });
        }
        let other = unexpected(outcomes);
        if 0 < other {
            reasons.push(InvalidReason {
                code: "answers".to_owned(),
                text: format!(
                    "`{name}` answered {other} calls otherwise than expected: targets did not do the same work"
                ),
            });
        }
    }
    reasons
}

/// Answers that say something else than the call asked for; refusing for want of time or room is not among them.
fn unexpected(outcomes: &Outcomes) -> u64 {
    outcomes.denied_unexpectedly
        + outcomes.allowed_unexpectedly
        + outcomes.unauthenticated
        + outcomes.tool_errors
        + outcomes.protocol_errors
}

fn notes<'t>(
    options: &CompareOptions,
    targets: impl Iterator<Item = (&'t ComparedTarget, &'t Tally)> + Clone,
    setting: &Setting,
) -> Vec<String> {
    let mut notes = vec![
        "the targets had their turns in this one run, with the same calls: compare them with each other, by ratios and CPU \
         time per call, and with no other run"
            .to_owned(),
        "CPU time is that of the target's own process alone, what the kernel does for it included; `direct` is the \
         upstream itself"
            .to_owned(),
        "saturation is a closed loop, which hides waiting: its rate counts, its times do not".to_owned(),
    ];
    if options.rounds < 3 {
        notes.push("fewer than three rounds tell whether it works, not how fast it is".to_owned());
    }
    let denied: Vec<f64> = targets.clone().map(|(_, tally)| tally.denied_share()).collect();
    if let (Some(least), Some(most)) = (
        denied.iter().copied().min_by(f64::total_cmp),
        denied.iter().copied().max_by(f64::total_cmp),
    ) && DENIED_SHARE_TOLD < most - least
    {
        notes.push(format!(
            "some targets refused {:.1} % more of the calls than others: a refused call goes no further, so it costs them \
             less",
            (most - least) * 100.0
        ));
    }
    for (target, tally) in targets {
        note(&mut notes, target, tally);
    }
    notes.extend(setting.notes.iter().cloned());
    notes
}

/// What must be known of one target.
fn note(notes: &mut Vec<String>, target: &ComparedTarget, tally: &Tally) {
    let name = &target.row.name;
    if tally.generator_bound {
        notes.push(format!(
            "`{name}`: the generator and what shares its processors bounded the saturation: its rate is only a lower bound, \
             and so are throughput ratios over it; ratios of others to it are upper bounds"
        ));
    }
    let cpu_us: Vec<f64> = tally.cpu_us.iter().copied().flatten().collect();
    if let Some(spread) = spread(&cpu_us).filter(|spread| SPREAD_TOLD < *spread) {
        notes.push(format!(
            "`{name}`: CPU time per call differs by {:.0} % between rounds; other work on the machine does that, and the \
             median is taken",
            spread * 100.0
        ));
    }
    if cpu_us.len() < tally.cpu_us.len() {
        notes.push(match cpu_us.len() {
            0 => {
                format!("`{name}`: its CPU time cannot be read; name its process (pid=) or its metrics page (metrics=)")
            }
            _ => format!("`{name}`: its CPU time could not be read in every round"),
        });
    }
    if target.row.metrics.is_some() && tally.stages.is_empty() {
        notes.push(format!("`{name}`: its metrics page tells no times of stages"));
    }
}

#[cfg(test)]
mod tests;
