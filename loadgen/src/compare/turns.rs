//! In which order targets have their turns, and what several turns say together.
//!
//! Owns [`order`] and the arithmetic of ratios. Pure: it measures nothing.

use crate::latency::Times;
use crate::report::{PercentileRatio, Ratio};

/// The targets in the order of their turns in round `round` (from 0).
///
/// Rounds begin with one target after another, and every second round runs backwards: over two times as many rounds as
/// targets each has stood at every place equally often, and before and after each other. Whatever drifts while the
/// run goes on then meets all alike.
pub(super) fn order(round: usize, targets: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..targets).collect();
    order.rotate_left(if targets == 0 { 0 } else { (round / 2) % targets });
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// The middle of the figures; between the two middle ones for an even number.
pub(super) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some(f64::midpoint(*sorted.get(low)?, *sorted.get(high)?))
}

/// Largest less smallest, as a share of the median: how far the rounds differ.
pub(super) fn spread(figures: &[f64]) -> Option<f64> {
    let low = figures.iter().copied().min_by(f64::total_cmp)?;
    let high = figures.iter().copied().max_by(f64::total_cmp)?;
    median(figures)
        .filter(|median| 0.0 < *median)
        .map(|median| (high - low) / median)
}

/// What rounds have told of one target, as far as ratios need it.
pub(super) struct Figures<'r> {
    pub(super) name: &'r str,
    pub(super) cpu_us: &'r [Option<f64>],
    pub(super) rates: &'r [f64],
    pub(super) response: &'r Times,
}

/// One target beside another.
pub(super) fn ratio(target: &Figures<'_>, to: &Figures<'_>) -> Ratio {
    let cpu = target.cpu_us.iter().zip(to.cpu_us);
    let cpu = cpu.filter_map(|(one, other)| one.zip(*other));
    let rates = target.rates.iter().copied().zip(to.rates.iter().copied());
    Ratio {
        target: target.name.to_owned(),
        to: to.name.to_owned(),
        cpu: median_ratio(cpu),
        throughput: median_ratio(rates),
        percentiles: percentiles(target.response, to.response),
    }
}

/// The median of the ratios of each round: what disturbed a round disturbed both targets of it.
fn median_ratio(pairs: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let ratios: Vec<f64> = pairs
        .filter(|(_, other)| 0.0 < *other)
        .map(|(one, other)| one / other)
        .collect();
    median(&ratios)
}

/// The percentiles that both have samples enough for.
fn percentiles(target: &Times, to: &Times) -> Vec<PercentileRatio> {
    let mut ratios = Vec::new();
    for percentile in crate::latency::PERCENTILES {
        if let (Some(one), Some(other)) = (target.at_us(percentile), to.at_us(percentile))
            && 0.0 < other
        {
            ratios.push(PercentileRatio {
                percentile,
                ratio: one / other,
                added_us: ((one - other) * 1e3).round() / 1e3,
            });
        }
    }
    ratios
}

#[cfg(test)]
mod tests;
