//! Several targets in one run, each in its turn: the only fair figure on a machine that others use too.
//!
//! Owns [`run`]: the rounds, what is read before and after each turn, and the report. A turn is an open phase at a
//! fixed rate, which tells what a caller waits, and a closed phase, which tells what a call costs at saturation. CPU
//! time is read from the target's own process. Starts no process; see [`bundled`] for that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::connect::Endpoint;
use crate::engine::{self, Arrivals, CPU_SHARE_MAX, LATE_AFTER, Plan, Taken};
use crate::report::{CompareReport, Environment, WorkloadSummary};
use crate::schedule::Schedule;
use crate::view::{Silent, Watch};
use crate::workload::Calls;

pub mod bundled;
pub mod cpu;
pub mod metrics;
pub mod process;
pub mod stages;
mod tally;
pub mod target;
mod turns;
pub mod upstream;

use cpu::{CpuSource, CpuUsed};
use stages::StageTimes;
use tally::Tally;

/// How targets are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareOptions {
    /// How often each target has its turn.
    pub rounds: usize,
    /// Calls a second of the open phase.
    pub rate: f64,
    /// The measured part of the open phase.
    pub open: Duration,
    /// The measured part of the closed phase.
    pub closed: Duration,
    /// What goes before each of them and does not count.
    pub warm_up: Duration,
    /// A closed loop before the first round, so that every target has seen every caller and filled its caches.
    pub settle: Duration,
    /// Connections to a target.
    pub connections: usize,
    /// Calls under way a connection: 1 for HTTP/1.1.
    pub streams: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// How long an answer is awaited.
    pub timeout: Duration,
    /// A call that is taken up later than this after its intended start counts as late.
    pub late_after: Duration,
}

impl Default for CompareOptions {
    /// About two and a half minutes with three targets. Many short turns rather than few long ones: what disturbs a shared machine
    /// lasts seconds, and then meets all targets alike.
    fn default() -> Self {
        Self {
            // Each target then has stood at every place of a round equally often; see `turns::order`.
            rounds: 18,
            rate: 1_000.0,
            open: Duration::from_secs(1),
            closed: Duration::from_secs(1),
            warm_up: Duration::from_millis(300),
            settle: Duration::from_secs(2),
            // Probably because more calls are handled a wake-up, a call costs less than with 8: the pass-through took
            // 45 and 47 us with 32 connections and 56 us with 8, alternating in short runs on one busy machine.
            connections: 32,
            streams: 1,
            threads: 1,
            timeout: Duration::from_secs(10),
            late_after: LATE_AFTER,
        }
    }
}

impl CompareOptions {
    /// About a quarter of a minute with three targets: whether everything works, not figures to quote.
    pub fn quick() -> Self {
        Self {
            rounds: 2,
            open: Duration::from_secs(1),
            closed: Duration::from_millis(800),
            warm_up: Duration::from_millis(150),
            settle: Duration::from_millis(600),
            ..Self::default()
        }
    }
}

/// A target without its calls.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name in the report.
    pub name: String,
    /// What it does, in a few words.
    pub what: String,
    /// Where calls go.
    pub endpoint: Endpoint,
    /// Whether it judges: one that does not is expected to refuse nothing.
    pub judged: bool,
    /// Where its CPU time is read.
    pub cpu: CpuSource,
    /// The page with its stage times.
    pub metrics: Option<Endpoint>,
}

impl Row {
    /// The target that is sent these calls. Each target should get the same calls, as far as it can take them.
    pub fn with(self, calls: Arc<dyn Calls>) -> ComparedTarget {
        ComparedTarget { row: self, calls }
    }
}

/// A target with its calls.
#[derive(Clone)]
pub struct ComparedTarget {
    row: Row,
    calls: Arc<dyn Calls>,
}

/// What a report says besides figures, and what its maker must know of the place.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Where it is measured.
    pub environment: Environment,
    /// What is called.
    pub workload: WorkloadSummary,
    /// The seed of the calls.
    pub seed: u64,
    /// The processors that the generator's threads are bound to; none leaves them free.
    pub cores: Vec<usize>,
    /// Processes bound to the same processors, such as a bundled upstream: what they use, the generator cannot.
    pub beside: Vec<u32>,
    /// What a reader must know of the setting.
    pub notes: Vec<String>,
}

/// The part of a turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// Saturation.
    Closed,
    /// A fixed rate.
    Open,
    /// Before the first round; does not count.
    Settle,
}

/// A turn begins.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'t> {
    /// The target's name.
    pub target: &'t str,
    /// The round, from 1; 0 before the first.
    pub round: usize,
    /// Rounds in all.
    pub rounds: usize,
    /// Which part.
    pub part: Part,
}

/// A watch that also learns whose turn it is.
pub trait WatchTurns: Watch {
    /// A part of a turn begins.
    fn turn(&mut self, turn: &Turn<'_>);
}

impl WatchTurns for Silent {
    fn turn(&mut self, _turn: &Turn<'_>) {}
}

/// One part of a turn, with what was read around it.
struct Measured {
    taken: Taken,
    /// None when it could not be read.
    cpu: Option<CpuUsed>,
    /// The counts of its stages in that time; none when the target tells none.
    stages: Option<StageTimes>,
    /// Whether the processors of the generator had nothing left.
    crowded: bool,
}

/// Compares the targets. Blocks for rounds times targets times the length of a turn.
///
/// # Errors
/// When there is no target, a name stands twice, an option is out of bounds, or a target cannot be reached, answers
/// nothing at all, or has no process where one was named, and when it is interrupted. What goes wrong in mid-run stands in the report.
pub fn run(
    options: &CompareOptions,
    targets: &[ComparedTarget],
    setting: &Setting,
    watch: &mut dyn WatchTurns,
) -> anyhow::Result<CompareReport> {
    ensure!(!targets.is_empty(), "there is nothing to compare: no target was given");
    ensure!(0 < options.rounds, "a comparison needs at least one round");
    for (index, target) in targets.iter().enumerate() {
        let name = &target.row.name;
        let twice = targets.iter().take(index).any(|other| other.row.name == *name);
        ensure!(!twice, "two targets are called `{name}`");
        let read = target.row.cpu.read();
        read.with_context(|| format!("the CPU time of `{name}` cannot be measured"))?;
    }
    let open = Schedule::constant(options.rate, options.warm_up + options.open)?;
    let mut tallies: Vec<Tally> = targets.iter().map(|_| Tally::default()).collect();
    for target in targets {
        settle(options, target, setting, watch)?;
    }
    let mut first_call = 0;
    for round in 0..options.rounds {
        let mut next_call = first_call;
        for index in turns::order(round, targets.len()) {
            let (Some(target), Some(tally)) = (targets.get(index), tallies.get_mut(index)) else {
                continue;
            };
            let part = |part, first_call, watch: &mut dyn WatchTurns| {
                let arrivals = match part {
                    Part::Open => Arrivals::Open(open.clone()),
                    Part::Closed | Part::Settle => Arrivals::Closed {
                        length: options.warm_up + options.closed,
                    },
                };
                watch.turn(&Turn {
                    target: &target.row.name,
                    round: round + 1,
                    rounds: options.rounds,
                    part,
                });
                let plan = plan(options, target, setting, arrivals, first_call);
                measure(&plan, target, setting, watch)
            };
            // Every target gets the same calls in a round.
            let opened = part(Part::Open, first_call, watch)?;
            let closed = part(Part::Closed, opened.taken.next_call, watch)?;
            ensure!(
                !engine::is_interrupted(),
                "interrupted in round {} of {}",
                round + 1,
                options.rounds
            );
            next_call = next_call.max(closed.taken.next_call);
            tally.add(round, &opened, &closed);
        }
        first_call = next_call;
    }
    Ok(tally::report(options, targets, setting, &tallies))
}

fn settle(
    options: &CompareOptions,
    target: &ComparedTarget,
    setting: &Setting,
    watch: &mut dyn WatchTurns,
) -> anyhow::Result<()> {
    let name = &target.row.name;
    watch.turn(&Turn {
        target: name,
        round: 0,
        rounds: options.rounds,
        part: Part::Settle,
    });
    let arrivals = Arrivals::Closed {
        length: options.settle.max(Duration::from_millis(1)),
    };
    let mut plan = plan(options, target, setting, arrivals, 0);
    plan.warm_up = Duration::ZERO;
    let taken =
        engine::run(&plan, &target.calls, watch).with_context(|| format!("the target `{name}` is of no use"))?;
    if taken.answered_in_all() == 0 {
        bail!("the target `{name}` at {} answers nothing", target.row.endpoint.url());
    }
    Ok(())
}

fn plan(
    options: &CompareOptions,
    target: &ComparedTarget,
    setting: &Setting,
    arrivals: Arrivals,
    first_call: u64,
) -> Plan {
    Plan {
        endpoint: target.row.endpoint.clone(),
        arrivals,
        connections: options.connections,
        streams: options.streams,
        threads: options.threads,
        warm_up: options.warm_up,
        timeout: options.timeout,
        late_after: options.late_after,
        cores: setting.cores.clone(),
        first_call,
    }
}

/// Runs one part and reads what the target has used meanwhile.
fn measure(
    plan: &Plan,
    target: &ComparedTarget,
    setting: &Setting,
    watch: &mut dyn WatchTurns,
) -> anyhow::Result<Measured> {
    let beside = || -> Duration {
        let read = |pid: &u32| CpuSource::Process(*pid).read().ok().flatten();
        let times = setting.beside.iter().filter_map(read);
        times.map(|times| times.since(&cpu::CpuTimes::default()).total).sum()
    };
    let stages = || {
        let page = metrics::fetch(target.row.metrics.as_ref()?).ok()?;
        Some(StageTimes::of(&page)).filter(|stages| !stages.is_empty())
    };
    let stages_before = stages();
    let (begun, beside_before) = (Instant::now(), beside());
    // Innermost, so that nothing but the load stands between the two readings.
    let before = target.row.cpu.read().ok().flatten();
    let taken = engine::run(plan, &target.calls, watch)?;
    let after = target.row.cpu.read().ok().flatten();
    let elapsed = begun.elapsed();
    let used = taken.cpu + beside().saturating_sub(beside_before);
    // Processors are known to be shared only where the generator is bound to them.
    let has = elapsed.as_secs_f64() * setting.cores.len() as f64;
    let crowded = 0.0 < has && CPU_SHARE_MAX * has < used.as_secs_f64();
    Ok(Measured {
        cpu: after.zip(before).map(|(after, before)| after.since(&before)),
        stages: stages()
            .zip(stages_before)
            .and_then(|(after, before)| after.since(&before)),
        crowded: crowded || taken.is_generator_bound(),
        taken,
    })
}

#[cfg(test)]
mod tests;
