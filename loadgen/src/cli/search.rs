//! `portcullis-loadgen search`: the highest rate that holds a limit.
//!
//! Owns what it means to hold: the percentile is known and within the limit, next to nothing fails, and the generator
//! itself kept up. The report is that of the best rate, with every step.

use std::time::Duration;

use clap::Args;

use super::arguments::{duration, length, share};
use super::run::{Described, LoadArguments, constant, measure};
use super::{Exit, Fault};
use crate::engine::{self, Taken};
use crate::environment;
use crate::latency::samples_min;
use crate::report::{InvalidReason, SearchStep};
use crate::search::{Bounds, Search, Tried};
use crate::view::Watch as _;

/// More failures than this share of the calls, and a rate does not hold.
const FAILURE_SHARE_MAX: f64 = 0.001;

/// What `search` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct SearchArguments {
    /// The MCP endpoint.
    #[arg(value_name = "URL")]
    url: String,
    /// The percentile of the response time that has to hold.
    #[arg(long, value_name = "PERCENTILE", default_value_t = 99.0, value_parser = percentile)]
    percentile: f64,
    /// Its limit.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    under: Duration,
    /// The first rate, calls a second.
    #[arg(long, value_name = "CALLS", default_value_t = 500.0)]
    from: f64,
    /// No higher rate is tried.
    #[arg(long, value_name = "CALLS", default_value_t = 100_000.0)]
    to: f64,
    /// How long each rate is measured, after its warm-up.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = length)]
    step: Duration,
    /// How close to the limit the search ends.
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    precision: f64,
    #[command(flatten)]
    load: LoadArguments,
}

/// `portcullis-loadgen search`.
pub(super) fn search(arguments: &SearchArguments) -> Result<Exit, Fault> {
    let load = &arguments.load;
    let bounds = Bounds {
        from: arguments.from,
        to: arguments.to,
        precision: arguments.precision,
    };
    let mut search = Search::new(bounds).map_err(Fault::input)?;
    let endpoint = load.endpoint(&arguments.url)?;
    let length = load.generator.warm_up + arguments.step;
    let mut plan = load.generator.plan(endpoint, constant(arguments.from, length)?);
    let prepared = load.prepare(&plan.endpoint)?;
    let environment = environment::read(&plan.cores);
    let mut steps = Vec::new();
    let mut best = None;
    let mut last = None;
    while let Some(rate) = search.next() {
        plan.arrivals = constant(rate, length)?;
        let mut watch = vec![load.output.watch()];
        let taken = measure(&plan, &prepared.calls, &mut watch)?;
        watch.end()?;
        if engine::is_interrupted() {
            break;
        }
        plan.first_call = taken.next_call;
        let us = taken
            .response
            .as_ref()
            .and_then(|times| times.at_us(arguments.percentile));
        let tried = arguments.judge(&taken, us);
        steps.push(step(rate, us, &tried));
        search.tried(&tried);
        match tried {
            Tried::Held => best = Some((plan.clone(), taken)),
            Tried::Failed(_) => last = Some((plan.clone(), taken)),
        }
    }
    let held = best.is_some();
    // The second failure of the lowest rate that failed is what ended the search.
    let bound = search.failed();
    let ended_by = steps.iter().rev().find(|step| !step.held && Some(step.rate) == bound);
    let bounded_by_generator = ended_by.is_some_and(by_generator);
    let Some((plan, taken)) = best.or(last) else {
        return Err(Fault::from(anyhow::anyhow!("interrupted before a rate was tried")));
    };
    let described = Described {
        plan: &plan,
        seed: load.generator.seed,
        workload: prepared.finish()?,
    };
    let mut report = described.report("search", environment, &taken, steps);
    if !held {
        let text = format!(
            "no rate from {} calls a second downwards held the limit",
            arguments.from
        );
        report.validity.notes.push(text);
    }
    if bounded_by_generator {
        report.validity.invalid = true;
        report.validity.reasons.push(InvalidReason {
            code: "generator".to_owned(),
            text: "the search ended at a rate that the generator, not the target, could not keep".to_owned(),
        });
    }
    match load.publish(report)? {
        Exit::Ok if !held => Ok(Exit::Threshold),
        exit => Ok(exit),
    }
}

impl SearchArguments {
    /// Whether a rate held.
    fn judge(&self, taken: &Taken, us: Option<f64>) -> Tried {
        let validity = taken.validity();
        if let Some(reason) = validity.reasons.first() {
            let is_own = matches!(reason.code.as_str(), "late" | "saturated");
            return Tried::Failed(format!("{}{}", if is_own { GENERATOR } else { "" }, reason.text));
        }
        let failures = taken.outcomes.failures() as f64;
        if FAILURE_SHARE_MAX * (taken.due as f64) < failures {
            return Tried::Failed(format!("{failures} of {} calls failed", taken.due));
        }
        let limit_us = self.under.as_secs_f64() * 1e6;
        match us {
            Some(us) if us <= limit_us => Tried::Held,
            Some(us) => Tried::Failed(format!("p{} was {us:.0} us", self.percentile)),
            None => Tried::Failed(format!(
                "{} calls are too few to tell p{}: it needs {}",
                taken.due,
                self.percentile,
                samples_min(self.percentile)
            )),
        }
    }
}

/// Begins the reason of a step that failed by the generator.
const GENERATOR: &str = "INVALID: ";

fn by_generator(step: &SearchStep) -> bool {
    step.why.as_deref().is_some_and(|why| why.starts_with(GENERATOR))
}

fn step(rate: f64, us: Option<f64>, tried: &Tried) -> SearchStep {
    let why = match tried {
        Tried::Held => None,
        Tried::Failed(why) => Some(why.clone()),
    };
    SearchStep {
        rate,
        us,
        held: why.is_none(),
        why,
    }
}

fn percentile(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no percentile between 50 and 99.999");
    let percentile: f64 = text.trim_start_matches('p').parse().map_err(|_| wrong())?;
    (50.0..=99.999)
        .contains(&percentile)
        .then_some(percentile)
        .ok_or_else(wrong)
}
