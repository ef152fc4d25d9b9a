//! Rows of the tables that the text and the page of a comparison share.
//!
//! Owns which columns there are and what stands in them; how a table looks is left to its output.

use crate::report::figures::{bytes, count, rate, share, spread, thousands, time};
use crate::report::{CompareTarget, StageTime};

/// The columns of [`cost`].
pub(crate) const COST: [&str; 9] = [
    "",
    "CPU µs",
    "user",
    "kernel",
    "rounds",
    "open loop",
    "answers/s",
    "rounds",
    "memory",
];
/// The columns of [`stages`].
pub(crate) const STAGES: [&str; 6] = ["stage", "count", "mean", "p50", "p99", "share of the sum"];

/// What each target costs a request, and what it can do. A rate that the generator bounded carries a star.
pub(crate) fn cost(targets: &[CompareTarget]) -> Vec<Vec<String>> {
    let row = |target: &CompareTarget| {
        let star = if target.generator_bound { "*" } else { "" };
        vec![
            target.name.clone(),
            tenths(target.cpu_us_per_request),
            tenths(target.cpu_user_us_per_request),
            tenths(target.cpu_kernel_us_per_request),
            plus_minus(&target.cpu_us_per_request_rounds),
            tenths(target.cpu_us_per_request_open),
            { target.saturation_rate }.map_or_else(dash, |figure| format!("{}{star}", rate(figure))),
            plus_minus(&target.saturation_rate_rounds),
            target.rss_bytes.map_or_else(dash, bytes),
        ]
    };
    targets.iter().map(row).collect()
}

/// Each stage with its share of the time that all calls together spent.
pub(crate) fn stages(stages: &[StageTime]) -> Vec<Vec<String>> {
    let row = |(stage, part): (&StageTime, f64)| {
        vec![
            stage.stage.clone(),
            count(stage.count),
            time(stage.mean_us),
            time(stage.p50_us),
            time(stage.p99_us),
            share(part),
        ]
    };
    stages.iter().zip(stage_shares(stages)).map(row).collect()
}

/// The share of each stage in the time that all calls together spent; zeros when they spent none.
pub(crate) fn stage_shares(stages: &[StageTime]) -> Vec<f64> {
    let whole = |stage: &StageTime| stage.mean_us * stage.count as f64;
    let sum: f64 = stages.iter().map(whole).sum();
    let part = |stage| if 0.0 < sum { whole(stage) / sum } else { 0.0 };
    stages.iter().map(part).collect()
}

/// What stands where there is no figure.
pub(crate) fn dash() -> String {
    String::from("-")
}

fn tenths(figure: Option<f64>) -> String {
    figure.map_or_else(dash, |figure| thousands(figure, 1))
}

fn plus_minus(rounds: &[f64]) -> String {
    spread(rounds).map_or_else(dash, |spread| format!("±{:.1} %", spread * 100.0))
}
