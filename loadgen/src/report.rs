//! What a run says: the types of the JSON report, version 1.
//!
//! Owns the form of [`RunReport`] and [`CompareReport`], from which every other output is made; see the modules below.
//! Measures nothing. Times are microseconds with up to three decimals unless a name says otherwise; shares lie between
//! 0 and 1.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod figures;
pub mod hgrm;
pub mod html;
pub(crate) mod plot;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod rows;
pub mod schema;
pub mod text;
pub mod words;

/// The version of the JSON form; it grows when a member changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// One run against one target.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RunReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Always `run`, or `search` for the report of the best step of a search.
    pub kind: String,
    /// Where and by what it was measured.
    pub environment: Environment,
    /// What was called.
    pub target: Target,
    /// What was asked for.
    pub load: Load,
    /// What came of it.
    pub measured: Measured,
    /// How the generator itself fared.
    pub generator: Generator,
    /// Whether the figures may be believed.
    pub validity: Validity,
    /// What was demanded of the figures.
    pub thresholds: Vec<ThresholdResult>,
    /// The steps of a search, in the order they were run; empty for a run.
    pub steps: Vec<SearchStep>,
}

/// Where and by what it was measured.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Environment {
    /// When the run began, RFC 3339 in UTC.
    pub started: String,
    /// The version of the generator.
    pub version: String,
    /// The commit it was built from, `unknown` outside a checkout; `+` behind it when the tree was changed.
    pub commit: String,
    /// The words of the command line.
    pub command: Vec<String>,
    /// The processor's name.
    pub cpu: String,
    /// The processors that the generator may use.
    pub cores: usize,
    /// The processors of the machine.
    pub cores_online: usize,
    /// The machine's architecture, as Rust names it.
    pub arch: String,
    /// The kernel's release.
    pub kernel: String,
    /// The frequency governor of the first core, when the kernel tells.
    pub governor: Option<String>,
    /// The processors that the generator's threads are bound to, as a list such as `1` or `0-1`.
    pub pinning: String,
    /// Whether it runs in a virtual machine, when the kernel tells.
    pub hypervisor: Option<bool>,
    /// The allocator of the generator.
    pub allocator: String,
    /// `release` or `debug`: figures of a debug build are worth nothing.
    pub build: String,
    /// The load average of the last minute before the run.
    pub load_average: Option<f64>,
}

/// What was called.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Target {
    /// A short name, such as `full-chain`; the URL's authority when none was given.
    pub name: String,
    /// The URL of the endpoint.
    pub url: String,
    /// `1.1` or `2`.
    pub http: String,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Load {
    /// `open` (arrivals by the clock, whatever the target does) or `closed` (the next call waits for the last).
    pub model: String,
    /// The plan in words, such as `constant 2000/s` or `64 calls under way`.
    pub plan: String,
    /// The mean rate asked for over the measured part, calls a second; none for a closed loop.
    pub rate: Option<f64>,
    /// Connections in all.
    pub connections: usize,
    /// Calls under way at most: connections times streams a connection.
    pub concurrency: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// Seconds before the measured part.
    pub warm_up_s: f64,
    /// Seconds of the measured part.
    pub duration_s: f64,
    /// The seed of the mix: the same seed gives the same calls in the same order.
    pub seed: u64,
    /// What was called.
    pub workload: WorkloadSummary,
}

/// The calls of a load.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct WorkloadSummary {
    /// The protocol versions, `2025-11-25` or `2026-07-28` or both.
    pub protocol: Vec<String>,
    /// Sessions opened before the run; zero in the stateless era.
    pub sessions: usize,
    /// Subjects in the token pool; zero when no token is sent.
    pub subjects: usize,
    /// Where the tokens come from: `none`, `file`, `dev issuer`.
    pub tokens: String,
    /// Seconds that a minted token lives.
    pub token_lifetime_s: Option<u64>,
    /// Seconds between key rotations of the dev issuer.
    pub rotate_keys_s: Option<u64>,
    /// The calls with their shares of the whole.
    pub calls: Vec<CallShare>,
    /// Share of calls that are expected to be refused.
    pub deny_share: f64,
    /// Bytes of the smallest and the largest body.
    pub body_bytes: (usize, usize),
}

/// One call of the mix.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CallShare {
    /// The tool, or the method when it is no tool call.
    pub name: String,
    /// Its share.
    pub share: f64,
}

/// What came of it. Counts concern calls whose intended start lies in the measured part.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Measured {
    /// Calls that were due.
    pub due: u64,
    /// Calls that were answered, in time or late.
    pub answered: u64,
    /// Seconds from the first intended start to the last answer.
    pub elapsed_s: f64,
    /// Answers a second of the measured part.
    pub rate: f64,
    /// From the intended start to the end of the answer: what a caller waits. None for a closed loop, which has no
    /// intended start.
    pub response_time: Option<Latency>,
    /// From the first byte sent to the end of the answer: hides what waited before it was sent.
    pub service_time: Latency,
    /// What the answers said.
    pub outcomes: Outcomes,
    /// Answers by HTTP status.
    pub statuses: BTreeMap<u16, u64>,
    /// Second by second, by the time of the answer.
    pub intervals: Vec<Interval>,
}

/// A distribution of times in microseconds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Latency {
    /// How many times were taken.
    pub samples: u64,
    /// The shortest.
    pub min_us: f64,
    /// The mean.
    pub mean_us: f64,
    /// The standard deviation.
    pub stdev_us: f64,
    /// The longest.
    pub max_us: f64,
    /// The usual percentiles.
    pub percentiles: Vec<Percentile>,
    /// The whole distribution for plots: share of samples at or below, and the time, ascending.
    pub curve: Vec<(f64, f64)>,
}

/// One percentile.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Percentile {
    /// Such as 99 or 99.9.
    pub percentile: f64,
    /// The time at or below which that share of the samples lies; none when there are too few samples to tell.
    pub us: Option<f64>,
    /// The samples that it needs: ten beyond the percentile.
    pub samples_min: u64,
}

/// What the answers said.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Outcomes {
    /// A result, as expected.
    pub allowed: u64,
    /// A refusal by policy or scope (403), as expected: not a failure.
    pub denied: u64,
    /// A refusal where a result was expected.
    pub denied_unexpectedly: u64,
    /// A result where a refusal was expected: a hole in the target, or a wrong mix.
    pub allowed_unexpectedly: u64,
    /// The token was refused (401).
    pub unauthenticated: u64,
    /// Too many calls (429).
    pub throttled: u64,
    /// The target or its upstream could not serve (5xx).
    pub unavailable: u64,
    /// The tool itself reported an error (`isError`).
    pub tool_errors: u64,
    /// Any other answer, broken or of a foreign id.
    pub protocol_errors: u64,
    /// No answer within the time limit.
    pub timeouts: u64,
    /// The connection could not be opened or broke.
    pub connection_errors: u64,
}

/// One second of the measured part and what follows it.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Interval {
    /// Seconds since the measured part began.
    pub start_s: f64,
    /// Answers in it.
    pub answered: u64,
    /// Failures in it; see [`Outcomes::failures`].
    pub failures: u64,
    /// Median response time (closed loop: service time) of its answers.
    pub p50_us: f64,
    /// Their 99th percentile; only a guide, since one second holds few samples.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// How the generator itself fared.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Generator {
    /// How long after its intended start each call was taken up by the generator, whether or not a connection was free.
    pub dispatch_delay: Latency,
    /// A dispatch later than this counts as late.
    pub late_after_us: f64,
    /// Share of calls that were taken up late.
    pub late_share: f64,
    /// Share of calls that were due while every connection was busy; they waited, and their waiting is in the response
    /// time.
    pub waited_share: f64,
    /// The busiest thread's share of a core.
    pub cpu_share_max: f64,
    /// CPU time of the generator per answered call.
    pub cpu_us_per_request: f64,
    /// Connections opened in all; more than asked for when some broke.
    pub connections_opened: u64,
}

/// Whether the figures may be believed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Validity {
    /// Whether the run must not be quoted.
    pub invalid: bool,
    /// Why not.
    pub reasons: Vec<InvalidReason>,
    /// What a reader must know of a valid run, such as that a closed loop hides waiting.
    pub notes: Vec<String>,
}

/// Why a run must not be quoted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct InvalidReason {
    /// A word for machines, such as `late` or `saturated`.
    pub code: String,
    /// A line for people, with the figures.
    pub text: String,
}

/// What became of one threshold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ThresholdResult {
    /// As it was written: the run fails when this is true.
    pub expression: String,
    /// What was measured, in the unit of the expression; none when it could not be told.
    pub measured: Option<f64>,
    /// Whether the run failed by it. What cannot be told fails.
    pub failed: bool,
}

/// One step of a search.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct SearchStep {
    /// The rate tried, calls a second.
    pub rate: f64,
    /// The percentile of the response time that was asked for; none with too few samples.
    pub us: Option<f64>,
    /// Whether it held.
    pub held: bool,
    /// Why it did not, or did not count.
    pub why: Option<String>,
}

/// Several targets, measured interleaved in one run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CompareReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Always `compare`.
    pub kind: String,
    /// Where and by what it was measured.
    pub environment: Environment,
    /// What each target was asked, in the open phase; `target`-specific differences stand in the rows.
    pub load: Load,
    /// How often each target had its turn.
    pub rounds: usize,
    /// The targets; the first is the one that ratios refer to.
    pub targets: Vec<CompareTarget>,
    /// Every other target beside the first, and beside the one before it.
    pub ratios: Vec<Ratio>,
    /// Whether the open-loop figures must not be quoted.
    pub invalid: bool,
    /// Why not, by target and round.
    pub reasons: Vec<InvalidReason>,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// What was demanded of the figures.
    pub thresholds: Vec<ThresholdResult>,
}

/// One target of a comparison. Each figure is the median of the rounds unless it says otherwise.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CompareTarget {
    /// `direct`, `pass-through`, `full-chain`, or the name that was given.
    pub name: String,
    /// The URL of the endpoint.
    pub url: String,
    /// What it does, in a few words.
    pub what: String,
    /// CPU time per answered call at saturation, user and kernel, of the local process; none when it cannot be read.
    pub cpu_us_per_request: Option<f64>,
    /// The user part of it.
    pub cpu_user_us_per_request: Option<f64>,
    /// The kernel part of it.
    pub cpu_kernel_us_per_request: Option<f64>,
    /// The figure of each round.
    pub cpu_us_per_request_rounds: Vec<f64>,
    /// CPU time per answered call in the open phase: at a low rate each call pays its own wake-ups.
    pub cpu_us_per_request_open: Option<f64>,
    /// Resident memory after the last round.
    pub rss_bytes: Option<u64>,
    /// Answers a second of the closed loop.
    pub saturation_rate: Option<f64>,
    /// The figure of each round.
    pub saturation_rate_rounds: Vec<f64>,
    /// Whether the generator, not the target, bounded that rate.
    pub generator_bound: bool,
    /// Response time in the open phase, all rounds together.
    pub response_time: Latency,
    /// Service time in the open phase, all rounds together.
    pub service_time: Latency,
    /// Outcomes of both phases, all rounds together.
    pub outcomes: Outcomes,
    /// Second by second in the open phase, rounds one after another.
    pub intervals: Vec<Interval>,
    /// The time of a call by stage, from the target's own histogram; empty when it has none.
    pub stages: Vec<StageTime>,
}

/// The time that one stage took in the target, open phase, all rounds together.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct StageTime {
    /// `connection`, `identity`, `parse`, `scope`, `policy`, `record`, `forward`, `review`.
    pub stage: String,
    /// Calls that reached it.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// The median, within the buckets of the target's histogram.
    pub p50_us: f64,
    /// The 99th percentile, within the buckets of the target's histogram.
    pub p99_us: f64,
}

/// One target beside another: figures above 1 mean more time, or more throughput.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Ratio {
    /// The target.
    pub target: String,
    /// The one it is compared with.
    pub to: String,
    /// CPU time per call: the median of the ratios of each round.
    pub cpu: Option<f64>,
    /// Answers a second at saturation: the median of the ratios of each round.
    pub throughput: Option<f64>,
    /// Response time at each percentile that both have.
    pub percentiles: Vec<PercentileRatio>,
}

/// One percentile of two targets.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PercentileRatio {
    /// Such as 99.
    pub percentile: f64,
    /// Target over the other.
    pub ratio: f64,
    /// Target less the other, in microseconds: what it adds.
    pub added_us: f64,
}

impl Latency {
    /// The time at `percentile`, when it stands among the usual ones and has samples enough.
    pub fn at(&self, percentile: f64) -> Option<f64> {
        let found = self
            .percentiles
            .iter()
            .find(|entry| (entry.percentile - percentile).abs() < 1e-9);
        found.and_then(|entry| entry.us)
    }
}

impl Ratio {
    /// The entry of `percentile`, when both targets have it.
    pub fn at(&self, percentile: f64) -> Option<&PercentileRatio> {
        let same = |entry: &&PercentileRatio| (entry.percentile - percentile).abs() < 1e-9;
        self.percentiles.iter().find(same)
    }
}

impl Outcomes {
    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.denied_unexpectedly += other.denied_unexpectedly;
        self.allowed_unexpectedly += other.allowed_unexpectedly;
        self.unauthenticated += other.unauthenticated;
        self.throttled += other.throttled;
        self.unavailable += other.unavailable;
        self.tool_errors += other.tool_errors;
        self.protocol_errors += other.protocol_errors;
        self.timeouts += other.timeouts;
        self.connection_errors += other.connection_errors;
    }

    /// Calls that went otherwise than they should: all but expected results and expected refusals.
    pub fn failures(&self) -> u64 {
        self.total() - self.allowed - self.denied
    }

    /// Calls in all.
    pub fn total(&self) -> u64 {
        self.allowed
            + self.denied
            + self.denied_unexpectedly
            + self.allowed_unexpectedly
            + self.unauthenticated
            + self.throttled
            + self.unavailable
            + self.tool_errors
            + self.protocol_errors
            + self.timeouts
            + self.connection_errors
    }
}
