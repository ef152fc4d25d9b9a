//! `portcullis policy test`: the tests that stand in a policy's own language, in the convention of OPA.
//!
//! Owns the forms of the report. A rule whose name begins with `test_` is a test; no test at all is a failure, since a
//! misspelt name would otherwise pass for ever.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use portcullis_core::policy::{FileCoverage, TestRule, Tested, Trial, Verdict};
use serde_json::{Value, json};

use super::load;
use crate::cli::Exit;
use crate::cli::jwks::write_out;

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArguments {
    /// Rego files, JSON files whose members become `data`, folders, or bundles (`.tar.gz`), taken together. The scope
    /// tables (`tools`, `prompts`, `resources`) may stand in the data, or be set by the tests.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Run only tests whose path, such as `data.crm_test.test_owner`, has this text in it.
    #[arg(long, value_name = "TEXT")]
    run: Option<String>,
    /// Tell which lines the tests did not reach.
    #[arg(long)]
    coverage: bool,
    /// Exit 5 when the tests reach less than this of the lines, in percent; implies `--coverage`.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    threshold: Option<f64>,
    /// How long one test may take.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=3600))]
    timeout: u16,
    /// The form of the report.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: ReportFormat,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum ReportFormat {
    /// For people.
    Pretty,
    /// For programs.
    Json,
    /// For the pages of build servers.
    Junit,
}

/// A test that was run, and for how long.
struct Ran {
    test: TestRule,
    tested: Tested,
    took: Duration,
}

/// What all tests together reached.
struct Coverage {
    files: Vec<FileCoverage>,
    percent: f64,
}

/// Runs the tests; exit 5 when one fails, when there is none, or when too little is reached.
pub(super) fn test(arguments: &TestArguments) -> anyhow::Result<Exit> {
    let deadline = Duration::from_secs(arguments.timeout.into());
    let loaded = load::source(&arguments.paths).and_then(|source| {
        let mut trial = Trial::load(source, deadline)?;
        let tests = trial.tests()?;
        Ok((trial, tests))
    });
    let (mut trial, tests) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("portcullis: {error}");
            return Ok(Exit::Invalid);
        }
    };
    let wanted = |test: &TestRule| arguments.run.as_ref().is_none_or(|text| test.path.contains(text));
    let ran: Vec<Ran> = tests
        .into_iter()
        .filter(wanted)
        .map(|test| {
            let begun = Instant::now();
            let tested = trial.run(&test);
            Ran {
                test,
                tested,
                took: begun.elapsed(),
            }
        })
        .collect();
    let coverage = match arguments.coverage || arguments.threshold.is_some() {
        true => Some(Coverage::of(trial.coverage().map_err(anyhow::Error::msg)?)),
        false => None,
    };
    write_out(&match arguments.format {
        ReportFormat::Pretty => pretty(&ran, coverage.as_ref()),
        ReportFormat::Json => format!("{:#}\n", as_json(&ran, coverage.as_ref())),
        ReportFormat::Junit => junit(&ran),
    })?;
    let is_low = match (arguments.threshold, &coverage) {
        (Some(threshold), Some(coverage)) if coverage.percent < threshold => {
            eprintln!(
                "portcullis: the tests reach {:.2} % of the lines, less than {threshold} %",
                coverage.percent
            );
            true
        }
        _ => false,
    };
    if ran.is_empty() {
        eprintln!("portcullis: no test was found: a test is a rule whose name begins with `test_`");
    }
    let well = |ran: &Ran| matches!(ran.tested.verdict, Verdict::Passed | Verdict::Skipped);
    match is_low || ran.is_empty() || !ran.iter().all(well) {
        true => Ok(Exit::TestsFailed),
        false => Ok(Exit::Ok),
    }
}

impl Coverage {
    fn of(files: Vec<FileCoverage>) -> Self {
        let covered: usize = files.iter().map(|file| file.covered.len()).sum();
        let open: usize = files.iter().map(|file| file.not_covered.len()).sum();
        Self {
            percent: percent_of(covered, open),
            files,
        }
    }

    fn as_json(&self) -> Value {
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|file| {
                let percent = percent_of(file.covered.len(), file.not_covered.len());
                json!({"file": file.file, "covered": file.covered, "not_covered": file.not_covered, "coverage": percent})
            })
            .collect();
        json!({"coverage": self.percent, "files": files})
    }
}

/// Of nothing at all everything was reached.
fn percent_of(covered: usize, open: usize) -> f64 {
    match covered.saturating_add(open) {
        0 => 100.0,
        all => covered as f64 * 100.0 / all as f64,
    }
}

fn count(ran: &[Ran], of: impl Fn(&Verdict) -> bool) -> usize {
    ran.iter().filter(|ran| of(&ran.tested.verdict)).count()
}

/// What is told of a test that did not pass.
fn complaint(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Passed | Verdict::Skipped => None,
        Verdict::Failed(cases) if cases.is_empty() => Some("it is undefined or false".to_owned()),
        Verdict::Failed(cases) => Some(format!("false for {}", cases.join(", "))),
        Verdict::Errored(error) => Some(error.clone()),
    }
}

const fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed(_) => "FAILED",
        Verdict::Errored(_) => "ERROR",
        Verdict::Skipped => "skipped",
    }
}

fn pretty(ran: &[Ran], coverage: Option<&Coverage>) -> String {
    let mut text = String::new();
    for Ran { test, tested, took } in ran {
        text.push_str(&format!(
            "{:7}  {}  ({:.1} ms)\n",
            word(&tested.verdict),
            test.path,
            took.as_secs_f64() * 1_000.0
        ));
        if let Some(complaint) = complaint(&tested.verdict) {
            text.push_str(&format!("         {}:{}: {complaint}\n", test.file, test.line));
            for line in &tested.prints {
                text.push_str(&format!("         printed: {line}\n"));
            }
        }
    }
    if let Some(coverage) = coverage {
        for file in coverage.files.iter().filter(|file| !file.not_covered.is_empty()) {
            let lines: Vec<String> = file.not_covered.iter().map(u32::to_string).collect();
            text.push_str(&format!("not reached: {} line {}\n", file.file, lines.join(", ")));
        }
        text.push_str(&format!("coverage: {:.2} % of the lines\n", coverage.percent));
    }
    text.push_str(&format!(
        "{} passed, {} failed, {} skipped\n",
        count(ran, |verdict| *verdict == Verdict::Passed),
        count(ran, |verdict| complaint(verdict).is_some()),
        count(ran, |verdict| *verdict == Verdict::Skipped),
    ));
    text
}

fn as_json(ran: &[Ran], coverage: Option<&Coverage>) -> Value {
    let tests: Vec<Value> = ran
        .iter()
        .map(|Ran { test, tested, took }| {
            json!({
                "path": test.path, "file": test.file, "line": test.line,
                "verdict": word(&tested.verdict).to_lowercase(), "message": complaint(&tested.verdict),
                "printed": tested.prints, "duration_ns": u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    json!({
        "passed": count(ran, |verdict| *verdict == Verdict::Passed),
        "failed": count(ran, |verdict| complaint(verdict).is_some()),
        "skipped": count(ran, |verdict| *verdict == Verdict::Skipped),
        "tests": tests,
        "coverage": coverage.map(Coverage::as_json),
    })
}

fn junit(ran: &[Ran]) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"portcullis policy test\" \
         tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n",
        ran.len(),
        count(ran, |verdict| matches!(verdict, Verdict::Failed(_))),
        count(ran, |verdict| matches!(verdict, Verdict::Errored(_))),
        count(ran, |verdict| *verdict == Verdict::Skipped),
    );
    for Ran { test, tested, took } in ran {
        let (package, name) = test.path.rsplit_once('.').unwrap_or(("", &test.path));
        text.push_str(&format!(
            "<testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.6}\"",
            escaped(package),
            escaped(name),
            escaped(&test.file),
            test.line,
            took.as_secs_f64()
        ));
        let inner = match &tested.verdict {
            Verdict::Passed => String::new(),
            Verdict::Skipped => "<skipped/>".to_owned(),
            verdict => {
                let element = if matches!(verdict, Verdict::Failed(_)) {
                    "failure"
                } else {
                    "error"
                };
                format!(
                    "<{element} message=\"{}\"/>",
                    escaped(&complaint(verdict).unwrap_or_default())
                )
            }
        };
        text.push_str(&match inner.is_empty() {
            true => "/>\n".to_owned(),
            false => format!(">{inner}</testcase>\n"),
        });
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

/// Text as it may stand in an attribute of XML 1.0; characters that it cannot hold become a mark.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to 100".to_owned()),
    }
}
