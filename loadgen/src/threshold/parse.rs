//! Expressions of thresholds as they are written.
//!
//! Owns the grammar; judges nothing.

use crate::threshold::{Metric, Operator, Statistic, Subject, Threshold, ThresholdError};

/// Every metric by its name. A name never ends with `.` and another, except behind `service.`.
pub(super) const METRICS: [(&str, Metric); 25] = [
    ("p50", Metric::Time(Statistic::Percentile(50.0))),
    ("p75", Metric::Time(Statistic::Percentile(75.0))),
    ("p90", Metric::Time(Statistic::Percentile(90.0))),
    ("p95", Metric::Time(Statistic::Percentile(95.0))),
    ("p99", Metric::Time(Statistic::Percentile(99.0))),
    ("p99.9", Metric::Time(Statistic::Percentile(99.9))),
    ("p99.99", Metric::Time(Statistic::Percentile(99.99))),
    ("p99.999", Metric::Time(Statistic::Percentile(99.999))),
    ("max", Metric::Time(Statistic::Max)),
    ("mean", Metric::Time(Statistic::Mean)),
    ("service.p50", Metric::Service(Statistic::Percentile(50.0))),
    ("service.p75", Metric::Service(Statistic::Percentile(75.0))),
    ("service.p90", Metric::Service(Statistic::Percentile(90.0))),
    ("service.p95", Metric::Service(Statistic::Percentile(95.0))),
    ("service.p99", Metric::Service(Statistic::Percentile(99.0))),
    ("service.p99.9", Metric::Service(Statistic::Percentile(99.9))),
    ("service.p99.99", Metric::Service(Statistic::Percentile(99.99))),
    ("service.p99.999", Metric::Service(Statistic::Percentile(99.999))),
    ("service.max", Metric::Service(Statistic::Max)),
    ("service.mean", Metric::Service(Statistic::Mean)),
    ("failures", Metric::Failures),
    ("failure-share", Metric::FailureShare),
    ("late-share", Metric::LateShare),
    ("rate", Metric::Rate),
    ("cpu", Metric::Cpu),
];

/// What a bound counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Quantity {
    /// Calls, calls a second, or a ratio.
    Number,
    Share,
    Time,
}

/// Reads one expression: `[TARGET.]METRIC OP VALUE[UNIT]`, or `TARGET/OTHER.METRIC OP VALUE` for a ratio. Blanks may
/// stand around the operator and before the unit.
///
/// # Errors
/// [`ThresholdError`] says which part is wrong and what would be right.
pub fn parse(expression: &str) -> Result<Threshold, ThresholdError> {
    let expression = expression.trim();
    let operator = || ThresholdError::Operator(String::from(expression));
    let (left, right) = expression.split_once(['<', '>']).ok_or_else(operator)?;
    let above = expression.chars().nth(left.chars().count()) == Some('>');
    let (orequal, right) = right.strip_prefix('=').map_or((false, right), |right| (true, right));
    let name = left.trim();
    let (subject, metric) = metric(name)?;
    let (bound, scale) = bound(name, quantity(&subject, metric), right.trim())?;
    Ok(Threshold {
        expression: String::from(expression),
        subject,
        metric,
        operator: match (above, orequal) {
            (true, false) => Operator::Above,
            (true, true) => Operator::AtLeast,
            (false, true) => Operator::AtMost,
            (false, false) => Operator::Below,
        },
        bound,
        scale,
    })
}

fn metric(name: &str) -> Result<(Subject, Metric), ThresholdError> {
    let matching = METRICS.iter().filter_map(|(known, metric)| {
        let rest = name.strip_suffix(known)?;
        let subject = if rest.is_empty() {
            ""
        } else {
            rest.strip_suffix('.').filter(|rest| !rest.is_empty())?
        };
        Some((known.len(), subject, *metric))
    });
    // The longest name wins: `service.p99` of the one target rather than `p99` of a target named `service`.
    let longest = matching.max_by_key(|(length, ..)| *length);
    let (_, subject, metric) = longest.ok_or_else(|| ThresholdError::Metric(String::from(name)))?;
    let subject = match subject.split_once('/') {
        _ if subject.is_empty() => Subject::All,
        Some((own, to)) if !own.is_empty() && !to.is_empty() => Subject::Ratio(String::from(own), String::from(to)),
        Some(_) => return Err(ThresholdError::Metric(String::from(name))),
        None => Subject::One(String::from(subject)),
    };
    Ok((subject, metric))
}

fn quantity(subject: &Subject, metric: Metric) -> Quantity {
    match (subject, metric) {
        (Subject::Ratio(..), _) | (_, Metric::Failures | Metric::Rate) => Quantity::Number,
        (_, Metric::FailureShare | Metric::LateShare) => Quantity::Share,
        (_, Metric::Cpu | Metric::Service(_) | Metric::Time(_)) => Quantity::Time,
    }
}

/// The bound in the unit of the report, and the factor from that unit to the written one.
fn bound(metric: &str, quantity: Quantity, text: &str) -> Result<(f64, f64), ThresholdError> {
    let end = text
        .find(|char: char| !char.is_ascii_digit() && char != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let value: Option<f64> = number.parse().ok().filter(|value: &f64| value.is_finite());
    let value = value.ok_or_else(|| ThresholdError::Value {
        metric: String::from(metric),
        value: String::from(text),
        example: format!(", such as `{metric}>{}`", example(quantity)),
    })?;
    let unit = unit.trim();
    // Microseconds a unit; or parts of the whole.
    let size = match (quantity, unit) {
        (Quantity::Number | Quantity::Share, "") => 1.0,
        (Quantity::Share, "%") => 0.01,
        (Quantity::Time, "ns") => 0.001,
        (Quantity::Time, "us" | "µs") => 1.0,
        (Quantity::Time, "ms") => 1_000.0,
        (Quantity::Time, "s") => 1_000_000.0,
        _ => return Err(misfit(metric, quantity, unit)),
    };
    Ok((value * size, 1.0 / size))
}

fn misfit(metric: &str, quantity: Quantity, unit: &str) -> ThresholdError {
    ThresholdError::Unit {
        metric: String::from(metric),
        unit: String::from(unit),
        expected: match quantity {
            Quantity::Number => "it is a plain number without a unit",
            Quantity::Share => "it is a share, such as `1%` or `0.01`",
            Quantity::Time => "it is a time and needs one of ns, us, ms, s",
        },
    }
}

fn example(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Number => "4",
        Quantity::Share => "1%",
        Quantity::Time => "2ms",
    }
}
