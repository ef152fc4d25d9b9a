//! `portcullis demo`: the whole road on real parts, in one process and on loopback alone.
//!
//! Owns the command: it sets the stage (issuer, three MCP servers, the gate), takes the tour, shows what came of it, and
//! either ends or stays up so that anybody can repeat each step with curl. Never listens on another address, and leaves
//! nothing behind but what `--keep` names.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{Exit, Format};
use crate::shutdown::Signals;

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
    let shown = runtime.block_on(show_around(arguments, &stage));
    // The log is sealed and the folder removed however the tour ended.
    stage.end()?;
    shown
}

/// Takes the tour and shows it; without `--once`, stays until a signal comes.
async fn show_around(arguments: &DemoArguments, stage: &stage::Stage) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let tour = tokio::select! {
        tour = tour::take(stage) => tour?,
        () = signals.next() => return Ok(Exit::Internal),
    };
    let mut out = std::io::stdout().lock();
    match (arguments.format, arguments.once) {
        (Format::Pretty, _) => show::table(&mut out, &tour)?,
        (Format::Json, true) => show::json(&mut out, &tour)?,
        (Format::Json, false) => show::endpoints_json(&mut out, stage)?,
    }
    if !arguments.once {
        if arguments.format == Format::Pretty {
            show::curl_lines(&mut out, stage)?;
        }
        out.flush()?;
        signals.next().await;
    }
    Ok(if tour.ok() { Exit::Ok } else { Exit::Internal })
}
