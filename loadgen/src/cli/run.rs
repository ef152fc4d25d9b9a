//! `portcullis-loadgen run`: one load against one target.
//!
//! Owns the plans that can be asked for: a constant rate, stages, or a closed loop.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;

use super::arguments::{GeneratorArguments, TargetArguments, length, stage};
use super::calls::{CallArguments, ReadyCalls};
use super::output::{self, OutputArguments};
use super::{Exit, Fault};
use crate::connect::{Endpoint, HttpVersion};
use crate::engine::{self, Arrivals, EngineError, Plan, Taken};
use crate::environment;
use crate::report::hgrm::{IntervalLog, distribution};
use crate::report::{self, Load, RunReport, SCHEMA_VERSION, SearchStep, Target, WorkloadSummary};
use crate::schedule::{Schedule, Stretch};
use crate::view::Watch;
use crate::workload::Calls;

/// What `run` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct RunArguments {
    /// The MCP endpoint, such as http://127.0.0.1:8080/mcp.
    #[arg(value_name = "URL")]
    url: String,
    /// Open loop: this many calls a second, whatever the target does.
    #[arg(long, value_name = "CALLS", required_unless_present_any = ["stage", "closed"])]
    rate: Option<f64>,
    /// Open loop in stages: a rate and a time such as 2000:60s, or rising or falling, 100..2000:30s. May be given
    /// several times.
    #[arg(long, value_name = "STAGE", value_parser = stage, conflicts_with_all = ["rate", "duration"])]
    stage: Vec<Stretch>,
    /// Closed loop: each connection sends its next call when the last was answered. For saturation only: it hides
    /// waiting.
    #[arg(long, conflicts_with_all = ["rate", "stage"])]
    closed: bool,
    /// How long is measured, after the warm-up.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = length)]
    duration: Duration,
    /// Write the distribution of the response times in the HdrHistogram percentile format.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    hgrm: Option<PathBuf>,
    /// Write an HdrHistogram interval log, one histogram a second.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    hdr_log: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArguments,
}

/// What every load on one target is asked, whatever its plan.
#[derive(Clone, Debug, Args)]
pub(super) struct LoadArguments {
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    calls: CallArguments,
    #[command(flatten)]
    pub(super) generator: GeneratorArguments,
    #[command(flatten)]
    pub(super) output: OutputArguments,
}

impl LoadArguments {
    /// The endpoint of `url`, once the thresholds are such as a report of one target can answer.
    pub(super) fn endpoint(&self, url: &str) -> Result<Endpoint, Fault> {
        for threshold in self.output.thresholds() {
            threshold.check_run("").map_err(Fault::input)?;
        }
        self.target.endpoint(url).map_err(Fault::input)
    }

    /// The calls, with tokens and sessions.
    pub(super) fn prepare(&self, endpoint: &Endpoint) -> Result<ReadyCalls, Fault> {
        self.calls.prepare(&self.target, endpoint, self.generator.seed)
    }

    /// Judges a report by the thresholds and publishes it; how the process ends by it.
    pub(super) fn publish(&self, mut report: RunReport) -> Result<Exit, Fault> {
        let judged = self
            .output
            .thresholds()
            .iter()
            .map(|threshold| threshold.judge_run(&report));
        report.thresholds = judged.collect();
        let text = || report::text::run(&report);
        self.output.publish(&report, text, || report::html::run(&report))?;
        Ok(output::exit_of(report.validity.invalid, &report.thresholds))
    }
}

/// `portcullis-loadgen run`.
pub(super) fn run(arguments: &RunArguments) -> Result<Exit, Fault> {
    let load = &arguments.load;
    let endpoint = load.endpoint(&arguments.url)?;
    let plan = load.generator.plan(endpoint, arguments.arrivals()?);
    let prepared = load.prepare(&plan.endpoint)?;
    let environment = environment::read(&plan.cores);
    let mut watch = vec![load.output.watch()];
    if let Some(file) = &arguments.hdr_log {
        let log = File::create(file).with_context(|| format!("cannot write `{}`", file.display()))?;
        watch.push(Box::new(IntervalLog::new(
            log,
            SystemTime::now(),
            &plan.endpoint.shown(),
        )?));
    }
    let taken = measure(&plan, &prepared.calls, &mut watch)?;
    watch.end()?;
    let summary = prepared.finish()?;
    if let Some(file) = &arguments.hgrm {
        let times = taken.response.as_ref().unwrap_or(&taken.service);
        output::write(file, &distribution(times))?;
    }
    let described = Described {
        plan: &plan,
        seed: load.generator.seed,
        workload: summary,
    };
    load.publish(described.report("run", environment, &taken, Vec::new()))
}

/// Runs a load and tells apart what is not there from what is broken.
pub(super) fn measure(plan: &Plan, calls: &Arc<dyn Calls>, watch: &mut Vec<Box<dyn Watch>>) -> Result<Taken, Fault> {
    engine::run(plan, calls, watch).map_err(|error| match error {
        EngineError::Connect(..) => Fault::unavailable(error),
        EngineError::WarmUp => Fault::input(error),
        EngineError::Panicked | EngineError::System(_) => error.into(),
    })
}

impl RunArguments {
    fn arrivals(&self) -> Result<Arrivals, Fault> {
        let warm_up = self.load.generator.warm_up;
        if self.closed {
            let length = warm_up + self.duration;
            return Ok(Arrivals::Closed { length });
        }
        let stretches = match self.rate {
            Some(rate) => return constant(rate, warm_up + self.duration),
            None => &self.stage,
        };
        // The target warms up at the rate at which the first stage begins.
        let first = stretches.first().map_or(1.0, |stretch| stretch.from);
        let lead = (!warm_up.is_zero()).then_some(Stretch {
            from: first,
            to: first,
            length: warm_up,
        });
        let stretches = lead.into_iter().chain(stretches.iter().copied()).collect();
        Ok(Arrivals::Open(Schedule::new(stretches).map_err(Fault::input)?))
    }
}

/// A constant rate for so long, the warm-up included.
pub(super) fn constant(rate: f64, length: Duration) -> Result<Arrivals, Fault> {
    Ok(Arrivals::Open(Schedule::constant(rate, length).map_err(Fault::input)?))
}

impl GeneratorArguments {
    /// The plan of a load with these arguments.
    pub(super) fn plan(&self, endpoint: Endpoint, arrivals: Arrivals) -> Plan {
        Plan {
            endpoint,
            arrivals,
            connections: usize::from(self.connections),
            streams: usize::from(self.streams),
            threads: usize::from(self.threads),
            warm_up: self.warm_up,
            timeout: self.timeout,
            late_after: self.late_after,
            cores: self.cores.clone(),
            first_call: 0,
        }
    }
}

/// What a report says of a load beside its figures.
pub(super) struct Described<'p> {
    /// The plan it followed.
    pub(super) plan: &'p Plan,
    /// The seed of its mix.
    pub(super) seed: u64,
    /// Its calls.
    pub(super) workload: WorkloadSummary,
}

impl Described<'_> {
    /// The report of what was taken.
    pub(super) fn report(
        self,
        kind: &str,
        environment: report::Environment,
        taken: &Taken,
        steps: Vec<SearchStep>,
    ) -> RunReport {
        RunReport {
            schema_version: SCHEMA_VERSION,
            kind: kind.to_owned(),
            environment,
            target: target(&self.plan.endpoint),
            load: self.load(),
            measured: taken.measured(),
            generator: taken.generator(),
            validity: taken.validity(),
            thresholds: Vec::new(),
            steps,
        }
    }

    fn load(self) -> Load {
        let plan = self.plan;
        let streams = match plan.endpoint.http() {
            HttpVersion::Http1 => 1,
            HttpVersion::Http2 => plan.streams,
        };
        let concurrency = plan.connections * streams;
        let (model, words, rate) = match &plan.arrivals {
            Arrivals::Open(schedule) => {
                let rate = schedule.rate_between(plan.warm_up, schedule.length());
                ("open", schedule.words(), Some(rate))
            }
            Arrivals::Closed { .. } => ("closed", format!("{concurrency} calls under way"), None),
        };
        Load {
            model: model.to_owned(),
            plan: words,
            rate,
            connections: plan.connections,
            concurrency,
            threads: plan.threads.clamp(1, plan.connections.max(1)),
            warm_up_s: plan.warm_up.as_secs_f64(),
            duration_s: plan.arrivals.length().saturating_sub(plan.warm_up).as_secs_f64(),
            seed: self.seed,
            workload: self.workload,
        }
    }
}

fn target(endpoint: &Endpoint) -> Target {
    Target {
        name: endpoint.url().authority().map(ToString::to_string).unwrap_or_default(),
        url: endpoint.shown(),
        http: match endpoint.http() {
            HttpVersion::Http1 => "1.1".to_owned(),
            HttpVersion::Http2 => "2".to_owned(),
        },
        tls: endpoint.is_tls(),
    }
}
