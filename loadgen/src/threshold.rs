//! What is demanded of the figures: `--fail-if 'p99>2ms'`.
//!
//! Owns the expressions, `[TARGET.]METRIC OP VALUE[UNIT]`, and their judgement. A run fails when an expression is true,
//! and also when it cannot be told, such as a percentile of too few samples: silence is no proof.

use thiserror::Error;

use crate::report::{CompareReport, CompareTarget, Latency, Outcomes, RunReport, ThresholdResult};

mod parse;

pub use parse::parse;

/// One expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// As it was written.
    expression: String,
    subject: Subject,
    metric: Metric,
    operator: Operator,
    /// The bound, in the unit of the report: microseconds, shares, counts or calls a second.
    bound: f64,
    /// What a figure of the report is multiplied with to be in the unit of the expression.
    scale: f64,
}

/// Why an expression says nothing.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum ThresholdError {
    /// It has no operator.
    #[error("`{0}` compares nothing: write METRIC OP VALUE, such as `p99>2ms`, with one of > >= < <=")]
    Operator(String),
    /// The metric is unknown.
    #[error("`{0}` is no metric; there are {list}", list = parse::METRICS.map(|(name, _)| name).join(", "))]
    Metric(String),
    /// The value is no number.
    #[error("`{value}` behind `{metric}` is no number that is zero or more{example}")]
    Value {
        /// The metric before it.
        metric: String,
        /// What was written.
        value: String,
        /// What would be right.
        example: String,
    },
    /// The unit does not fit the metric.
    #[error("`{unit}` does not fit `{metric}`: {expected}")]
    Unit {
        /// The metric before it.
        metric: String,
        /// What was written; empty when a unit is missing.
        unit: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The report of this load never has the figure.
    #[error("`{metric}` is not measured by {kind}")]
    Unmeasured {
        /// The metric.
        metric: String,
        /// The kind of load.
        kind: &'static str,
    },
    /// There is no such target.
    #[error("`{name}` is no target; there are {known}")]
    Target {
        /// What was written.
        name: String,
        /// What would be right.
        known: String,
    },
}

/// What is measured of whom.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Subject {
    /// The one target, or every target of a comparison.
    All,
    /// The target of this name.
    One(String),
    /// A target over another.
    Ratio(String, String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Cpu,
    FailureShare,
    Failures,
    LateShare,
    Rate,
    /// Response time, or for a closed loop service time.
    Time(Statistic),
    Service(Statistic),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Max,
    Mean,
    Percentile(f64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operator {
    Above,
    AtLeast,
    AtMost,
    Below,
}

impl Threshold {
    /// As it was written.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Whether a run or a search against the target `name` can tell it; to be asked before the load begins.
    ///
    /// # Errors
    /// [`ThresholdError`] when it never can.
    pub fn check_run(&self, name: &str) -> Result<(), ThresholdError> {
        if self.metric == Metric::Cpu {
            return Err(self.unmeasured("cpu", "a run of one target; `compare` measures it"));
        }
        match &self.subject {
            Subject::All => Ok(()),
            Subject::One(own) => known(own, &[name]),
            Subject::Ratio(..) => Err(self.unmeasured("a ratio", "a run of one target; `compare` measures it")),
        }
    }

    /// Whether a comparison of these targets can tell it; to be asked before the load begins.
    ///
    /// # Errors
    /// [`ThresholdError`] when it never can.
    pub fn check_compare(&self, names: &[&str]) -> Result<(), ThresholdError> {
        if self.metric == Metric::LateShare {
            return Err(self.unmeasured("late-share", "`compare`, which is INVALID when the generator was late"));
        }
        match &self.subject {
            Subject::All => Ok(()),
            Subject::One(own) => known(own, names),
            Subject::Ratio(own, to) => known(own, names).and_then(|()| known(to, names)),
        }
    }

    fn unmeasured(&self, metric: &str, kind: &'static str) -> ThresholdError {
        ThresholdError::Unmeasured {
            metric: String::from(metric),
            kind,
        }
    }

    /// What becomes of it in a run or a search.
    pub fn judge_run(&self, report: &RunReport) -> ThresholdResult {
        let about = match &self.subject {
            Subject::All => true,
            Subject::One(name) => *name == report.target.name,
            Subject::Ratio(..) => false,
        };
        let measured = &report.measured;
        let response = measured.response_time.as_ref().unwrap_or(&measured.service_time);
        let figure = match self.metric {
            Metric::Cpu => None,
            Metric::FailureShare => failure_share(&measured.outcomes),
            Metric::Failures => Some(measured.outcomes.failures() as f64),
            Metric::LateShare => Some(report.generator.late_share),
            Metric::Rate => Some(measured.rate),
            Metric::Service(statistic) => of(&measured.service_time, statistic),
            Metric::Time(statistic) => of(response, statistic),
        };
        self.judge(figure.filter(|_| about))
    }

    /// What becomes of it in a comparison. Without a target it concerns them all, and the worst of them counts.
    pub fn judge_compare(&self, report: &CompareReport) -> ThresholdResult {
        let figure_of = |name: &str| {
            let target = report.targets.iter().find(|target| target.name == name)?;
            self.figure(target)
        };
        let figure = match &self.subject {
            Subject::One(name) => figure_of(name),
            Subject::All => {
                let figures: Option<Vec<f64>> = report.targets.iter().map(|target| self.figure(target)).collect();
                figures.and_then(|figures| {
                    figures
                        .into_iter()
                        .reduce(|left, right| self.operator.worse(left, right))
                })
            }
            Subject::Ratio(name, to) => self.ratio(report, name, to).or_else(|| {
                // Ratios that the report does not state, such as of targets that do not follow each other.
                let base = figure_of(to).filter(|base| *base != 0.0)?;
                figure_of(name).map(|figure| figure / base)
            }),
        };
        self.judge(figure)
    }

    /// The ratio as the report states it, which is the median of the rounds and not the ratio of medians.
    fn ratio(&self, report: &CompareReport, name: &str, to: &str) -> Option<f64> {
        let stated = |ratio: &&crate::report::Ratio| ratio.target == name && ratio.to == to;
        let ratio = report.ratios.iter().find(stated)?;
        match self.metric {
            Metric::Cpu => ratio.cpu,
            Metric::Rate => ratio.throughput,
            Metric::Time(Statistic::Percentile(wanted)) => ratio.at(wanted).map(|entry| entry.ratio),
            _ => None,
        }
    }

    fn figure(&self, target: &CompareTarget) -> Option<f64> {
        match self.metric {
            Metric::Cpu => target.cpu_us_per_request,
            Metric::FailureShare => failure_share(&target.outcomes),
            Metric::Failures => Some(target.outcomes.failures() as f64),
            Metric::LateShare => None,
            Metric::Rate => target.saturation_rate,
            Metric::Service(statistic) => of(&target.service_time, statistic),
            Metric::Time(statistic) => of(&target.response_time, statistic),
        }
    }

    fn judge(&self, figure: Option<f64>) -> ThresholdResult {
        // A figure that is no number is as good as none.
        let figure = figure.filter(|figure| figure.is_finite());
        ThresholdResult {
            expression: self.expression.clone(),
            measured: figure.map(|figure| figure * self.scale),
            failed: figure.is_none_or(|figure| self.operator.holds(figure, self.bound)),
        }
    }
}

impl Operator {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Above => right < left,
            Self::AtLeast => right <= left,
            Self::AtMost => left <= right,
            Self::Below => left < right,
        }
    }

    /// The figure that is nearer to failing.
    fn worse(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Above | Self::AtLeast => left.max(right),
            Self::AtMost | Self::Below => left.min(right),
        }
    }
}

fn known(name: &str, names: &[&str]) -> Result<(), ThresholdError> {
    if names.contains(&name) {
        return Ok(());
    }
    Err(ThresholdError::Target {
        name: String::from(name),
        known: names.join(", "),
    })
}

fn of(latency: &Latency, statistic: Statistic) -> Option<f64> {
    let some = 0 < latency.samples;
    match statistic {
        Statistic::Max => some.then_some(latency.max_us),
        Statistic::Mean => some.then_some(latency.mean_us),
        Statistic::Percentile(percentile) => latency.at(percentile),
    }
}

fn failure_share(outcomes: &Outcomes) -> Option<f64> {
    let total = outcomes.total();
    (0 < total).then(|| outcomes.failures() as f64 / total as f64)
}

#[cfg(test)]
mod tests;
