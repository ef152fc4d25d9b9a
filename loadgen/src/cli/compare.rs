//! `portcullis-loadgen compare`: several targets in one interleaved run.
//!
//! Owns the way from targets as they are written, or the bundled ones, to the report.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::mcp::Answers;

use super::arguments::{TargetArguments, duration, length};
use super::calls::{CallArguments, close_sessions};
use super::output::{self, OutputArguments};
use super::{Exit, Fault};
use crate::compare::bundled::{BUILD, Binaries, Bundle, BundleOptions, Pinning, RESOURCE};
use crate::compare::cpu::CpuSource;
use crate::compare::target::NamedUrl;
use crate::compare::{self, CompareOptions, ComparedTarget, Part, Row, Setting, Turn, WatchTurns};
use crate::connect::{Endpoint, EndpointOptions, HttpVersion};
use crate::engine;
use crate::environment;
use crate::report::{self, CompareReport, WorkloadSummary};
use crate::view::{Second, Watch};
use crate::workload::Workload;
use crate::workload::tokens::{TokenPool, start_issuer};

/// Calls under way a connection, over HTTP/2.
const DEFAULT_STREAMS: usize = 16;

/// What `compare` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct CompareArguments {
    /// Targets: NAME=URL[,pid=N][,metrics=URL][,authority=HOST][,judges=no]. The first is what the others are held
    /// against. A local process's id, or a metrics page, tells its CPU time; a gate's metrics page its stages too.
    #[arg(value_name = "NAME=URL", required_unless_present = "bundled")]
    targets: Vec<NamedUrl>,
    /// Start an upstream, a plain Pingora pass-through and the gate beside this program, on loopback, and compare them.
    #[arg(long, help_heading = "Bundled")]
    bundled: bool,
    /// The gate to start.
    #[arg(long, value_name = "PATH", requires = "bundled", help_heading = "Bundled")]
    gate: Option<PathBuf>,
    /// The pass-through to start.
    #[arg(long, value_name = "PATH", requires = "bundled", help_heading = "Bundled")]
    passthrough: Option<PathBuf>,
    /// The form of the bundled upstream's answers.
    #[arg(
        long,
        value_name = "FORM",
        default_value = "json",
        requires = "bundled",
        help_heading = "Bundled"
    )]
    answers: Form,
    /// Do not bind targets and generator to processors of their own.
    #[arg(long, requires = "bundled", help_heading = "Bundled")]
    no_pin: bool,
    /// Calls a second in the open phase of each turn.
    #[arg(long, value_name = "CALLS", help_heading = "Turns")]
    rate: Option<f64>,
    /// How often each target has its turn.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1_000), help_heading = "Turns")]
    rounds: Option<u16>,
    /// The measured part of an open phase.
    #[arg(long, value_name = "TIME", value_parser = length, help_heading = "Turns")]
    open: Option<Duration>,
    /// The measured part of a closed phase, which tells what a call costs at saturation.
    #[arg(long, value_name = "TIME", value_parser = length, help_heading = "Turns")]
    closed: Option<Duration>,
    /// What goes before each phase and does not count.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Turns")]
    warm_up: Option<Duration>,
    /// Few and short turns: whether everything works, not figures to quote.
    #[arg(long, help_heading = "Turns")]
    quick: bool,
    /// Connections to a target.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=20_000), help_heading = "Turns")]
    connections: Option<u16>,
    /// Calls under way a connection, over HTTP/2.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1_000), help_heading = "Turns")]
    streams: Option<u16>,
    /// Threads of the generator.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Turns")]
    threads: Option<u16>,
    /// The seed of the mix.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Calls")]
    seed: u64,
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    calls: CallArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// The form of answers as it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Form {
    /// One JSON body.
    Json,
    /// An event stream.
    Sse,
}

impl From<Form> for Answers {
    fn from(form: Form) -> Self {
        match form {
            Form::Json => Self::Json,
            Form::Sse => Self::Sse,
        }
    }
}

/// `portcullis-loadgen compare`.
pub(super) fn compare(arguments: &CompareArguments) -> Result<Exit, Fault> {
    let names = arguments.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let twice = names
        .iter()
        .enumerate()
        .find(|(index, name)| names.iter().take(*index).any(|other| other == *name));
    if let Some((_, name)) = twice {
        return Err(Fault::input(anyhow::anyhow!("two targets are called `{name}`")));
    }
    for threshold in arguments.output.thresholds() {
        threshold.check_compare(&names).map_err(Fault::input)?;
    }
    arguments.check()?;
    arguments.target.await_ready()?;
    let mut watch = TurnWatch {
        is_shown: arguments.output.lines(),
    };
    let mut report = match arguments.bundled {
        true => arguments.compare_bundled(&mut watch)?,
        false => arguments.compare_urls(&mut watch)?,
    };
    for threshold in arguments.output.thresholds() {
        let judged = threshold.judge_compare(&report);
        report.thresholds.push(judged);
    }
    let text = || report::text::compare(&report);
    arguments
        .output
        .publish(&report, text, || report::html::compare(&report))?;
    Ok(output::exit_of(report.invalid, &report.thresholds))
}

impl CompareArguments {
    fn names(&self) -> Vec<String> {
        let bundled = ["direct", "pass-through", "full-chain"].map(str::to_owned);
        let bundled = bundled.into_iter().filter(|_| self.bundled);
        bundled
            .chain(self.targets.iter().map(|target| target.name.clone()))
            .collect()
    }

    /// Refuses what would do nothing.
    fn check(&self) -> Result<(), Fault> {
        let wrong = |text: &str| Err(Fault::input(anyhow::anyhow!("{text}")));
        if self.calls.has_dev_issuer() {
            return wrong("a comparison has its tokens from --tokens or, with --bundled, from an issuer of its own");
        }
        if self.bundled && self.calls.has_token_file() {
            return wrong("a bundled comparison mints its own tokens: --tokens would do nothing");
        }
        if self.bundled && self.targets.is_empty() && !self.target.is_plain() {
            return wrong(
                "the bundled targets speak HTTP/1.1 in the clear: --http 2, --authority and --ca would do nothing",
            );
        }
        Ok(())
    }

    fn options(&self) -> CompareOptions {
        let usual = match self.quick {
            true => CompareOptions::quick(),
            false => CompareOptions::default(),
        };
        CompareOptions {
            rounds: self.rounds.map_or(usual.rounds, usize::from),
            rate: self.rate.unwrap_or(usual.rate),
            open: self.open.unwrap_or(usual.open),
            closed: self.closed.unwrap_or(usual.closed),
            warm_up: self.warm_up.unwrap_or(usual.warm_up),
            connections: self.connections.map_or(usual.connections, usize::from),
            // HTTP/1.1 carries one call at a time.
            streams: match self.target.options().http {
                HttpVersion::Http1 => 1,
                HttpVersion::Http2 => self.streams.map_or(DEFAULT_STREAMS, usize::from),
            },
            threads: self.threads.map_or(usual.threads, usize::from),
            ..usual
        }
    }

    /// Starts the parts and compares them, further targets behind them.
    fn compare_bundled(&self, watch: &mut TurnWatch) -> Result<CompareReport, Fault> {
        let found = Binaries::find(self.gate.as_deref(), self.passthrough.as_deref());
        let binaries = found.map_err(Fault::unavailable)?;
        self.output
            .say(&format!("bundled binaries; they are built by: {BUILD}"))?;
        let issuer = Arc::new(start_issuer(0)?);
        let mint = self.calls.mint();
        let pool = TokenPool::minted(Arc::clone(&issuer), mint.subjects, mint.settings(RESOURCE), now_s());
        let pool = Arc::new(pool.map_err(Fault::input)?);
        let _keeper = Arc::clone(&pool).keep_fresh()?;
        let pinning = match self.no_pin {
            true => Pinning::none(),
            false => Pinning::apart(),
        };
        let options = BundleOptions {
            binaries,
            issuer: issuer.url().to_owned(),
            subjects: mint.subjects,
            answers: self.answers.into(),
            pinning: pinning.clone(),
        };
        let mut bundle = Bundle::start(&options).map_err(Fault::unavailable)?;
        let mut rows = bundle.rows().to_vec();
        rows.extend(self.rows()?);
        let Chosen {
            targets,
            workload,
            open,
        } = self.targets(rows, Some(&pool))?;
        let setting = Setting {
            environment: environment::read(&pinning.generator),
            workload,
            seed: self.seed,
            cores: pinning.generator.clone(),
            beside: bundle.beside_generator(&pinning),
            notes: bundle.notes().to_vec(),
        };
        let compared = compare::run(&self.options(), &targets, &setting, watch);
        close(&open)?;
        if !engine::is_interrupted() {
            bundle.check()?;
        }
        compared.map_err(Fault::unavailable)
    }

    /// Compares the targets that were named.
    fn compare_urls(&self, watch: &mut TurnWatch) -> Result<CompareReport, Fault> {
        let pool = self.calls.pool_of_file()?.map(Arc::new);
        let Chosen {
            targets,
            workload,
            open,
        } = self.targets(self.rows()?, pool.as_ref())?;
        let setting = Setting {
            environment: environment::read(&[]),
            workload,
            seed: self.seed,
            ..Setting::default()
        };
        let compared = compare::run(&self.options(), &targets, &setting, watch);
        close(&open)?;
        compared.map_err(Fault::unavailable)
    }

    /// The targets that were named, without calls.
    fn rows(&self) -> Result<Vec<Row>, Fault> {
        self.targets.iter().map(|target| self.row(target)).collect()
    }

    fn row(&self, target: &NamedUrl) -> Result<Row, Fault> {
        let mut options = self.target.options();
        // Metrics pages are plain HTTP/1.1 and asked by their own name.
        let plain = EndpointOptions {
            remote: options.remote,
            ca: options.ca.clone(),
            ..EndpointOptions::default()
        };
        if target.authority.is_some() {
            options.authority.clone_from(&target.authority);
        }
        let endpoint = |url: &str, options| Endpoint::new(url, options).map_err(Fault::input);
        let metrics = target.metrics.as_deref().map(|url| endpoint(url, &plain)).transpose()?;
        Ok(Row {
            name: target.name.clone(),
            what: String::new(),
            endpoint: endpoint(&target.url, &options)?,
            judged: target.judges,
            cpu: match (target.pid, &metrics) {
                (Some(pid), _) => CpuSource::Process(pid),
                (None, Some(metrics)) => CpuSource::Metrics(Box::new(metrics.clone())),
                (None, None) => CpuSource::Nowhere,
            },
            metrics,
        })
    }

    /// Gives every target the same calls: a workload each, since sessions are a target's own.
    fn targets(&self, rows: Vec<Row>, pool: Option<&Arc<TokenPool>>) -> Result<Chosen, Fault> {
        let mut chosen = Chosen::default();
        for row in rows {
            let mut parts = self.calls.parts(pool.map(Arc::clone), self.seed)?;
            parts.judged = row.judged && pool.is_some();
            // The bodies of all targets are to be the same; refused calls cost a gate less than those it forwards.
            parts.deny_share = parts.deny_share.or_else(|| self.calls.has_sample_mix().then_some(0.0));
            let workload = Arc::new(Workload::new(parts).map_err(Fault::input)?);
            self.calls.open_sessions(&workload, &row.endpoint)?;
            // Sessions are each target's own; everything else is the same for all.
            let sessions = chosen.workload.sessions + workload.summary().sessions;
            chosen.workload = WorkloadSummary {
                sessions,
                ..workload.summary()
            };
            chosen.open.push((Arc::clone(&workload), row.endpoint.clone()));
            chosen.targets.push(row.with(workload));
        }
        Ok(chosen)
    }
}

/// Targets with their calls.
#[derive(Default)]
struct Chosen {
    targets: Vec<ComparedTarget>,
    workload: WorkloadSummary,
    /// What has sessions to be closed.
    open: Vec<(Arc<Workload>, Endpoint)>,
}

fn close(open: &[(Arc<Workload>, Endpoint)]) -> Result<(), Fault> {
    open.iter()
        .try_for_each(|(workload, endpoint)| close_sessions(workload, endpoint))
}

/// Says whose turn it is; the seconds themselves are too short to be shown.
struct TurnWatch {
    is_shown: bool,
}

impl Watch for TurnWatch {
    fn second(&mut self, _second: &Second<'_>) {}
}

impl WatchTurns for TurnWatch {
    fn turn(&mut self, turn: &Turn<'_>) {
        if !self.is_shown || engine::is_interrupted() {
            return;
        }
        let part = match turn.part {
            Part::Settle => "settles",
            Part::Open => "open loop",
            Part::Closed => "closed loop",
        };
        let line = match turn.round {
            0 => format!("{} {part}", turn.target),
            round => format!("round {round} of {}: {} {part}", turn.rounds, turn.target),
        };
        // Progress that nobody can see is no fault.
        let _ = writeln!(io::stderr(), "{line}");
    }
}
