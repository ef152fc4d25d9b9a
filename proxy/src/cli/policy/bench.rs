//! `portcullis policy bench`: what a decision costs on this machine.
//!
//! Owns the measurement: one thread, each input in turn, no memo, the time of each decision and its input's conversion
//! from JSON apart. Says nothing of a gate under load.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use portcullis_core::policy::{Policy, Worker};
use serde_json::json;

use super::explain::Asked;
use super::load::{self, LoadError};
use crate::cli::jwks::write_out;
use crate::cli::{Exit, Format};
use crate::clock::Monotonic;

#[derive(Debug, Args)]
pub(in crate::cli) struct BenchArguments {
    /// Rego files, JSON files whose members become `data`, folders, or bundles (`.tar.gz`), taken together.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The input of the decision, a JSON file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// What is asked.
    #[arg(long, value_name = "QUESTION", default_value = "request")]
    question: Asked,
    /// How long it is asked.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
}

/// Asks the same again and again.
pub(super) fn bench(arguments: &BenchArguments) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let loaded = load::source(&arguments.paths).and_then(|source| {
        let input = load::text(&arguments.input)?;
        Ok::<_, LoadError>((Policy::compile(&source, 1)?, input))
    });
    let (policy, input) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("portcullis: {error}");
            return Ok(Exit::Invalid);
        }
    };
    let compiled = begun.elapsed();
    let ticks = Monotonic::start();
    let (mut worker, limits) = (Worker::new(0), load::limits());
    let decision = policy.ask(arguments.question.into(), &input, &mut worker, &limits, &ticks);
    let (begun, lasts) = (Instant::now(), Duration::from_secs(arguments.seconds.into()));
    let mut times: Vec<Duration> = Vec::new();
    while begun.elapsed() < lasts {
        let asked = Instant::now();
        let answer = policy.ask(arguments.question.into(), &input, &mut worker, &limits, &ticks);
        times.push(asked.elapsed());
        if answer != decision {
            anyhow::bail!("the policy does not decide the same each time");
        }
    }
    times.sort_unstable();
    let total: Duration = times.iter().sum();
    let at = |percent: usize| {
        let place = times.len().saturating_mul(percent) / 100;
        times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    let rate = times.len() as f64 / total.as_secs_f64().max(f64::EPSILON);
    let outcome = match &decision {
        Ok(decision) if decision.allows() => "allow".to_owned(),
        Ok(_) => "deny".to_owned(),
        Err(failure) => format!("deny: {failure}"),
    };
    write_out(&match arguments.format {
        Format::Pretty => format!(
            "{outcome}\n{} decisions, {rate:.0} a second on one core\np50 {:.1} us, p90 {:.1} us, p99 {:.1} us, the \
             reading of the input's JSON included\nloaded and compiled in {:.1} ms\n",
            times.len(),
            at(50),
            at(90),
            at(99),
            compiled.as_secs_f64() * 1e3
        ),
        Format::Json => format!(
            "{}\n",
            json!({
                "decision": outcome, "decisions": times.len(), "per_second": rate, "p50_us": at(50), "p90_us": at(90),
                "p99_us": at(99), "compile_ms": compiled.as_secs_f64() * 1e3,
            })
        ),
    })?;
    Ok(Exit::Ok)
}
