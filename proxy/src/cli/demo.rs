//! `portcullis demo`: the whole road on real parts, in one process and on loopback alone.
//!
//! Owns the command: it sets the stage (issuer, two MCP servers, the gate), takes the tour, shows what came of it, and
//! either ends or stays up so that anybody can repeat each step with curl. Never listens on another address, and leaves
//! nothing behind but what `--keep` names.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{Exit, Format};

mod show;
mod stage;
mod tour;

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// End after the tour; the exit status is 0 only if every step came out as expected.
    #[arg(long)]
    once: bool,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
    /// Keep configuration, policies, records and captures in this folder, which must be empty or absent.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Sets the stage, takes the tour and shows it.
pub(super) fn demo(arguments: &DemoArguments) -> anyhow::Result<Exit> {
    let stage = stage::Stage::set(arguments.keep.as_deref()).context("the demo's parts could not be started")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tour = runtime.block_on(tour::take(&stage))?;
    let mut out = std::io::stdout().lock();
    match (arguments.format, arguments.once) {
        (Format::Pretty, _) => show::table(&mut out, &tour)?,
        (Format::Json, true) => show::json(&mut out, &tour)?,
        (Format::Json, false) => show::endpoints_json(&mut out, &stage)?,
    }
    if !arguments.once {
        if arguments.format == Format::Pretty {
            show::curl_lines(&mut out, &stage)?;
        }
        out.flush()?;
        runtime.block_on(tokio::signal::ctrl_c())?;
    }
    drop(out);
    stage.end()?;
    Ok(if tour.ok() { Exit::Ok } else { Exit::Internal })
}
