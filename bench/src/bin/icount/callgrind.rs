//! Counting by valgrind's callgrind.
//!
//! Owns the running of this binary under it, once a scenario, and the reading of its report. Never counts set-up: the
//! process collects inside one function alone, and a report that has nothing is an error, never a zero.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::thread;

use portcullis_bench::scenario::{Scale, Scenario};
use serde::Serialize;

use crate::baseline::Host;
use crate::counted::COUNTED;

/// What was counted, and where.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Counts {
    pub(crate) host: Host,
    /// Instructions an operation, by scenario.
    pub(crate) instructions: BTreeMap<String, u64>,
}

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    /// Callgrind collected nothing: the optimiser has taken the function away.
    #[error("`{0}`: callgrind collected nothing in `{COUNTED}`: was the function inlined, or the symbols stripped?")]
    Nothing(&'static str),
    /// The process under valgrind failed.
    #[error("`{what}` failed under valgrind: {stderr}")]
    Process {
        /// What was run.
        what: String,
        /// What it said.
        stderr: String,
    },
    /// The report has no total.
    #[error("`{0}`: callgrind's report has no `summary:`")]
    Report(&'static str),
    /// A file or a process could not be made.
    #[error("cannot count: {0}")]
    Io(#[from] io::Error),
    /// The material could not be written.
    #[error("cannot hand over keys and tokens: {0}")]
    Material(#[from] serde_json::Error),
    /// There is no valgrind.
    #[error("valgrind cannot be started ({0}): install it, by `apt-get install valgrind`")]
    Valgrind(io::Error),
}

/// Counts these scenarios, as many at once as there are cores.
///
/// # Errors
/// The first [`MeasureError`].
pub(crate) fn measure(scenarios: &[&'static Scenario]) -> Result<Counts, MeasureError> {
    let host = host()?;
    let folder = tempfile::tempdir()?;
    let waiting = Mutex::new(scenarios.iter());
    let counted = Mutex::new(Ok(BTreeMap::new()));
    let work = || {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(scenario) = next else {
                return;
            };
            let outcome = count(scenario, folder.path());
            let mut all = counted.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *all, outcome) {
                (Ok(all), Ok(count)) => {
                    all.insert(scenario.name.to_owned(), count);
                }
                (Ok(_), Err(error)) => *all = Err(error),
                (Err(_), _) => return,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let instructions = counted.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    Ok(Counts { host, instructions })
}

/// Instructions an operation of one scenario takes, rounded.
fn count(scenario: &'static Scenario, folder: &Path) -> Result<u64, MeasureError> {
    let times = scenario.counted.unwrap_or(1).max(1);
    let material = folder.join(format!("{}.json", scenario.name));
    std::fs::write(&material, serde_json::to_vec(&scenario.material(Scale::Counted))?)?;
    let report = folder.join(format!("{}.callgrind", scenario.name));
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", report.display()))
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(std::env::current_exe()?)
        .args(["run", scenario.name, &times.to_string(), "--material"])
        .arg(&material);
    finished(&mut command, scenario.name)?;
    let total = summary(&std::fs::read_to_string(&report)?).ok_or(MeasureError::Report(scenario.name))?;
    // Fewer instructions than operations are not the operations'.
    if total < times {
        return Err(MeasureError::Nothing(scenario.name));
    }
    Ok((total + times / 2) / times)
}

/// The total of a report: its line `summary: N`.
fn summary(report: &str) -> Option<u64> {
    let line = report.lines().find_map(|line| line.strip_prefix("summary:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What a process under valgrind sees of this machine.
fn host() -> Result<Host, MeasureError> {
    let version = finished(Command::new("valgrind").arg("--version"), "valgrind --version")?;
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=none", "--quiet"])
        .arg(std::env::current_exe()?)
        .arg("features");
    let features = finished(&mut command, "features")?;
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Host {
        arch: std::env::consts::ARCH.to_owned(),
        cpu_features: text(&features).split_whitespace().map(str::to_owned).collect(),
        valgrind: text(&version),
    })
}

fn finished(command: &mut Command, what: &str) -> Result<Output, MeasureError> {
    let output = command.output().map_err(MeasureError::Valgrind)?;
    if output.status.success() {
        Ok(output)
    } else {
        Err(MeasureError::Process {
            what: what.to_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
