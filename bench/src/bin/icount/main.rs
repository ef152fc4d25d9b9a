//! Instruction counts of named scenarios, held against a committed baseline: `portcullis-icount`.
//!
//! Owns the command line. Wall time on a shared machine says little; the number of instructions that an operation takes
//! is the same from run to run, so that a growth of 3 % is a fact about the code. `measure` runs this very binary under
//! valgrind's callgrind, once a scenario.
//!
//! It has the system's allocator, not mimalloc as the gate has: which way mimalloc takes for an aligned block depends on
//! where its pages happen to lie, and moved whole decisions by 8 % between two runs of the same code.

mod baseline;
mod callgrind;
mod compare;
mod counted;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Parser, Subcommand, ValueEnum};
use portcullis_bench::scenario::{Scale, Scenario};
use portcullis_core::time::UnixTime;
use serde_json::json;

use baseline::Baseline;
use callgrind::Counts;

/// Counts the instructions of named scenarios and compares them with a committed baseline.
#[derive(Parser)]
#[command(name = "portcullis-icount", version)]
struct Arguments {
    /// The baseline.
    #[arg(long, global = true, default_value = "bench/icount/baseline.json")]
    baseline: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Appends what is counted now to the baseline: of these scenarios, or of all that moved.
    Accept {
        /// One sentence that says why the count changed; it stays in the file.
        #[arg(long)]
        reason: String,
        scenarios: Vec<String>,
    },
    /// Counts, and fails with exit code 1 when a scenario grew by more than 3 %.
    Check,
    /// Prints the CPU features that this process sees. Under valgrind they are fewer.
    Features,
    /// Prints the names of the scenarios.
    List,
    /// Counts, and prints instructions an operation.
    Measure {
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        scenarios: Vec<String>,
    },
    /// Runs one scenario's operation so many times: what callgrind executes.
    Run {
        scenario: String,
        times: u64,
        /// Keys and tokens, made by another process; made here without it.
        #[arg(long)]
        material: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Text,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Arguments { baseline, command } = Arguments::parse();
    let mut out = std::io::stdout().lock();
    match command {
        Command::Accept { reason, scenarios } => {
            let accepted = compare::Accepted {
                counts: callgrind::measure(&named(&[])?)?,
                only: names(&scenarios)?,
                reason,
                date: today(),
            };
            let old = baseline.try_exists()?.then(|| Baseline::load(&baseline)).transpose()?;
            let new = compare::accept(old, &accepted)?;
            new.save(&baseline)?;
            writeln!(out, "{}: written", baseline.display())?;
        }
        Command::Check => return check(&Baseline::load(&baseline)?, &mut out),
        Command::Features => writeln!(out, "{}", counted::cpu_features().join(" "))?,
        Command::List => {
            for scenario in Scenario::counted() {
                writeln!(out, "{}", scenario.name)?;
            }
        }
        Command::Measure { format, scenarios } => {
            let counts = callgrind::measure(&named(&scenarios)?)?;
            match format {
                Format::Json => {
                    let report = json!({ "host": counts.host, "instructions": counts.instructions });
                    writeln!(out, "{report:#}")?;
                }
                Format::Text => print(&counts.instructions, &mut out)?,
            }
        }
        Command::Run {
            scenario,
            times,
            material,
        } => {
            let scenario = find(&scenario)?;
            let material = match material {
                Some(path) => serde_json::from_slice(&std::fs::read(path)?)?,
                None => scenario.material(Scale::Counted),
            };
            counted::run(scenario, &material, times)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check(baseline: &Baseline, out: &mut impl Write) -> Result<ExitCode, Box<dyn Error>> {
    let counts: Counts = callgrind::measure(&named(&[])?)?;
    print(&counts.instructions, out)?;
    let findings = compare::check(baseline, &counts);
    for finding in &findings {
        writeln!(out, "{}: {finding}", if finding.fails() { "FAILED" } else { "note" })?;
    }
    if findings.iter().any(compare::Finding::fails) {
        Ok(ExitCode::FAILURE)
    } else {
        writeln!(
            out,
            "{} scenarios within 3 % of the baseline",
            counts.instructions.len()
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

fn print(instructions: &BTreeMap<String, u64>, out: &mut impl Write) -> std::io::Result<()> {
    for (name, count) in instructions {
        writeln!(out, "{count:>10}  {name}")?;
    }
    Ok(())
}

/// The counted scenarios of these names, all without any.
fn named(names: &[String]) -> Result<Vec<&'static Scenario>, String> {
    if names.is_empty() {
        return Ok(Scenario::counted().collect());
    }
    names.iter().map(|name| find(name)).collect()
}

fn names(given: &[String]) -> Result<Vec<String>, String> {
    given
        .iter()
        .map(|name| find(name).map(|found| found.name.to_owned()))
        .collect()
}

fn find(name: &str) -> Result<&'static Scenario, String> {
    Scenario::by_name(name)
        .filter(|scenario| scenario.counted.is_some())
        .ok_or_else(|| format!("no counted scenario is called `{name}`; `portcullis-icount list` names them"))
}

/// The date in UTC.
fn today() -> String {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut text = Vec::new();
    UnixTime::from_secs(since.as_secs()).write_rfc3339(&mut text);
    text.iter().take(10).copied().map(char::from).collect()
}
