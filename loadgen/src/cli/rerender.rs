//! `portcullis-loadgen report`: the text or the page of a JSON report, made again.
//!
//! Owns the reading of reports. Changes nothing in them.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use super::output::{print, write};
use super::{Exit, Fault};
use crate::report::{CompareReport, RunReport, SCHEMA_VERSION, html, text};

/// What `report` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct ReportArguments {
    /// A JSON report.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write its page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What tells the kinds of reports apart.
#[derive(Deserialize)]
struct Kind {
    schema_version: u32,
    kind: String,
}

/// `portcullis-loadgen report`.
pub(super) fn report(arguments: &ReportArguments) -> Result<Exit, Fault> {
    let name = arguments.file.display();
    let read = fs::read_to_string(&arguments.file).with_context(|| format!("cannot read `{name}`"));
    let json = read.map_err(Fault::input)?;
    let wrong =
        |error: serde_json::Error| Fault::input(anyhow::Error::new(error).context(format!("`{name}` is no report")));
    let kind: Kind = serde_json::from_str(&json).map_err(wrong)?;
    if kind.schema_version != SCHEMA_VERSION {
        return Err(Fault::input(anyhow::anyhow!(
            "`{name}` has schema version {}, this generator reads {SCHEMA_VERSION}",
            kind.schema_version
        )));
    }
    let (text, page) = match kind.kind.as_str() {
        "compare" => {
            let report: CompareReport = serde_json::from_str(&json).map_err(wrong)?;
            (text::compare(&report), html::compare(&report))
        }
        _ => {
            let report: RunReport = serde_json::from_str(&json).map_err(wrong)?;
            (text::run(&report), html::run(&report))
        }
    };
    if let Some(file) = &arguments.html {
        write(file, &page)?;
    }
    print(&text)?;
    Ok(Exit::Ok)
}
