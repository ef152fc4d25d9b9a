//! The time of a call by stage, as the gate itself has counted it.
//!
//! Owns [`StageTimes`]: the histograms `portcullis_stage_duration_seconds` of a metrics page, the difference of two
//! pages and what it says. Percentiles are as fine as the gate's buckets and no finer.

use std::collections::BTreeMap;

use super::metrics::Page;
use crate::report::StageTime;

/// The stages that are known, in the order of a call's way.
const STAGES: [&str; 8] = [
    "connection",
    "identity",
    "parse",
    "scope",
    "policy",
    "record",
    "forward",
    "review",
];

/// The histograms of all stages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageTimes(BTreeMap<String, Histogram>);

/// Times of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
struct Histogram {
    /// Upper bounds in seconds, ascending, the last one infinite; with the count of all times up to each.
    cumulative: Vec<(f64, f64)>,
    /// The sum of all times in seconds.
    sum: f64,
}

impl StageTimes {
    /// What `page` tells; nothing when it has no such histogram.
    pub fn of(page: &Page) -> Self {
        let mut stages: BTreeMap<String, Histogram> = BTreeMap::new();
        for sample in page.of("portcullis_stage_duration_seconds_bucket") {
            let (Some(stage), Some(bound)) = (sample.label("stage"), sample.label("le")) else {
                continue;
            };
            let Ok(bound) = bound.parse::<f64>() else { continue };
            let stage = stages.entry(stage.to_owned()).or_default();
            stage.cumulative.push((bound, sample.value));
        }
        for sample in page.of("portcullis_stage_duration_seconds_sum") {
            if let Some(stage) = sample.label("stage").and_then(|stage| stages.get_mut(stage)) {
                stage.sum = sample.value;
            }
        }
        for stage in stages.values_mut() {
            stage.cumulative.sort_by(|one, other| one.0.total_cmp(&other.0));
        }
        Self(stages)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was counted since `earlier`; none when the counts went backwards, as after a restart.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let mut difference = BTreeMap::new();
        for (stage, now) in &self.0 {
            let then = earlier.0.get(stage).cloned().unwrap_or_default();
            difference.insert(stage.clone(), now.combine(&then, |now, then| now - then));
        }
        let whole = difference.values().all(|stage| 0.0 <= stage.count());
        whole.then_some(Self(difference))
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        for (stage, times) in &other.0 {
            let mine = self.0.entry(stage.clone()).or_default();
            *mine = times.combine(mine, |one, other| one + other);
        }
    }

    /// The rows of a report, in the order of a call's way; a stage that no call has reached has none.
    pub fn rows(&self) -> Vec<StageTime> {
        let known = STAGES.iter().filter_map(|stage| self.0.get_key_value(*stage));
        let unknown = self.0.iter().filter(|(stage, _)| !STAGES.contains(&stage.as_str()));
        let reached = known.chain(unknown).filter(|(_, times)| 0.0 < times.count());
        reached.map(|(stage, times)| times.row(stage)).collect()
    }
}

impl Histogram {
    fn count(&self) -> f64 {
        self.cumulative.last().map_or(0.0, |(_, count)| *count)
    }

    /// Bucket by bucket; a bucket that `other` lacks counts nothing there.
    fn combine(&self, other: &Self, with: impl Fn(f64, f64) -> f64) -> Self {
        let others: BTreeMap<u64, f64> = other
            .cumulative
            .iter()
            .map(|(bound, count)| (bound.to_bits(), *count))
            .collect();
        let count_at = |bound: f64| others.get(&bound.to_bits()).copied().unwrap_or_default();
        Self {
            cumulative: self
                .cumulative
                .iter()
                .map(|(bound, count)| (*bound, with(*count, count_at(*bound))))
                .collect(),
            sum: with(self.sum, other.sum),
        }
    }

    /// The time below which the share `quantile` lies: evenly spread within its bucket, as Prometheus reckons.
    fn quantile_s(&self, quantile: f64) -> f64 {
        let rank = quantile * self.count();
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.cumulative {
            if rank <= *count && below < *count {
                // Of the open last bucket only the lower bound is known.
                if bound.is_infinite() {
                    return lower;
                }
                return lower + (bound - lower) * (rank - below) / (count - below);
            }
            (lower, below) = (*bound, *count);
        }
        lower
    }

    fn row(&self, stage: &str) -> StageTime {
        let us = |seconds: f64| (seconds * 1e9).round() / 1e3;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of calls is positive and far below 2^53"
        )]
        let count = self.count() as u64;
        StageTime {
            stage: stage.to_owned(),
            count,
            mean_us: us(self.sum / self.count()),
            p50_us: us(self.quantile_s(0.5)),
            p99_us: us(self.quantile_s(0.99)),
        }
    }
}

#[cfg(test)]
mod tests;
