//! Where a report goes: stdout, files, and the exit status.
//!
//! Owns the options of every command that makes a report. Files are written whole, once the run has ended.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Exit, Fault};
use crate::report::{self, ThresholdResult};
use crate::threshold::{self, Threshold};
use crate::view::{self, Silent, Watch};

/// Where a report goes.
#[derive(Clone, Debug, Args)]
pub(super) struct OutputArguments {
    /// The form of the report on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Output")]
    format: Format,
    /// Write the report as JSON too; see the command `schema`.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Write the report as one self-contained page too.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    html: Option<PathBuf>,
    /// End with status 7 when this is true, such as 'p99>2ms' or 'failure-share>0.1%'; may be given several times.
    #[arg(long, value_name = "EXPRESSION", value_parser = threshold::parse, help_heading = "Output")]
    fail_if: Vec<Threshold>,
    /// Print lines, never a picture, while it runs.
    #[arg(long, help_heading = "Output")]
    no_tui: bool,
    /// Print nothing while it runs.
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// For programs.
    Json,
    /// For people.
    Text,
}

impl OutputArguments {
    /// What shows the load while it runs.
    pub(super) fn watch(&self) -> Box<dyn Watch> {
        match self.quiet {
            true => Box::new(Silent),
            false => view::watch(view::stderr_is_terminal(), self.no_tui),
        }
    }

    /// Whether lines may be printed while it runs.
    pub(super) fn lines(&self) -> bool {
        !self.quiet
    }

    /// Says something on stderr, unless nothing is to be said.
    pub(super) fn say(&self, text: &str) -> io::Result<()> {
        match self.quiet {
            true => Ok(()),
            false => writeln!(io::stderr(), "{text}"),
        }
    }

    /// What is demanded of the figures.
    pub(super) fn thresholds(&self) -> &[Threshold] {
        &self.fail_if
    }

    /// Prints and writes a report.
    pub(super) fn publish(
        &self,
        report: &impl Serialize,
        text: impl FnOnce() -> String,
        html: impl FnOnce() -> String,
    ) -> Result<(), Fault> {
        if let Some(file) = &self.json {
            write(file, &json(report)?)?;
        }
        if let Some(file) = &self.html {
            write(file, &html())?;
        }
        match self.format {
            Format::Json => print(&json(report)?)?,
            Format::Text => print(&text())?,
        }
        Ok(())
    }
}

/// The status of a run: INVALID before everything else, since thresholds of such a run mean nothing.
pub(super) fn exit_of(invalid: bool, thresholds: &[ThresholdResult]) -> Exit {
    match invalid {
        true => Exit::Invalid,
        false if thresholds.iter().any(|threshold| threshold.failed) => Exit::Threshold,
        false => Exit::Ok,
    }
}

/// Writes a file whole.
pub(super) fn write(file: &Path, text: &str) -> Result<(), Fault> {
    Ok(fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))?)
}

/// Prints to stdout; a reader that has gone is no fault.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// `portcullis-loadgen schema`.
pub(super) fn schema() -> Result<Exit, Fault> {
    print(&json(&report::schema::schema())?)?;
    Ok(Exit::Ok)
}

fn json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value)
}
