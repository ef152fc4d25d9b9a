//! Times in histograms, and what may be said of them.
//!
//! Owns the precision (three significant digits from a nanosecond to ten minutes) and the rule that a percentile is
//! told only when enough samples lie beyond it.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::{Latency, Percentile};

/// The longest time that is told apart; longer ones count as this.
pub const TIME_MAX: Duration = Duration::from_secs(600);
/// The percentiles of every report.
pub const PERCENTILES: [f64; 8] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999];
/// Samples that must lie beyond a percentile before it is told.
const SAMPLES_BEYOND: f64 = 10.0;
/// Points of the curve a halving of the distance to 100 %.
const CURVE_TICKS: u32 = 5;

/// Times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

impl Times {
    /// No times yet. Cost: about 230 KiB.
    #[expect(clippy::expect_used, reason = "the bounds are constants, and a test makes one")]
    pub fn new() -> Self {
        let highest = u64::try_from(TIME_MAX.as_nanos()).unwrap_or(u64::MAX);
        Self(Histogram::new_with_bounds(1, highest, 3).expect("the bounds of the histogram are sound"))
    }

    /// Adds one time; longer ones than [`TIME_MAX`] count as that.
    pub fn add(&mut self, time: Duration) {
        self.0
            .saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can be out of range.
        let _ = self.0.add(&other.0);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many.
    pub fn samples(&self) -> u64 {
        self.0.len()
    }

    /// The time at or below which `percentile` (0 to 100) of the samples lie, in microseconds, however few they are.
    pub fn guess_us(&self, percentile: f64) -> f64 {
        us(self.0.value_at_quantile(percentile / 100.0))
    }

    /// The same, when enough samples lie beyond it.
    pub fn at_us(&self, percentile: f64) -> Option<f64> {
        (samples_min(percentile) <= self.samples()).then(|| self.guess_us(percentile))
    }

    /// The longest, in microseconds.
    pub fn max_us(&self) -> f64 {
        us(self.0.max())
    }

    /// The histogram, in nanoseconds.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// What is said of it in a report.
    pub fn latency(&self) -> Latency {
        let percentiles = PERCENTILES.map(|percentile| Percentile {
            percentile,
            us: self.at_us(percentile),
            samples_min: samples_min(percentile),
        });
        let curve = self.0.iter_quantiles(CURVE_TICKS);
        let curve = curve.map(|point| (round(point.quantile_iterated_to()), us(point.value_iterated_to())));
        let empty = self.0.is_empty();
        Latency {
            samples: self.samples(),
            min_us: if empty { 0.0 } else { us(self.0.min()) },
            mean_us: if empty { 0.0 } else { round(self.0.mean() / 1_000.0) },
            stdev_us: if empty { 0.0 } else { round(self.0.stdev() / 1_000.0) },
            max_us: self.max_us(),
            percentiles: percentiles.to_vec(),
            curve: if empty { Vec::new() } else { curve.collect() },
        }
    }
}

/// The samples that a percentile needs: ten beyond it, so that one odd call does not make it.
pub fn samples_min(percentile: f64) -> u64 {
    let beyond = (1.0 - percentile / 100.0).max(f64::EPSILON);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the percentiles lie between 0 and 99.999, so the number is small and positive"
    )]
    let samples = (SAMPLES_BEYOND / beyond).round() as u64;
    samples
}

/// Nanoseconds as microseconds.
fn us(nanos: u64) -> f64 {
    nanos as f64 / 1_000.0
}

/// Three decimals, or for shares close to 1 more: what a histogram can tell.
fn round(number: f64) -> f64 {
    (number * 1e8).round() / 1e8
}

#[cfg(test)]
mod tests;
