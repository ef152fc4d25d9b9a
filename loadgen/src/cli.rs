//! The command line: what can be asked of the generator, and what its exit status means.
//!
//! Owns the commands and [`Exit`]. Writes results to stdout and everything else to stderr.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{engine, view};

mod arguments;
mod calls;
mod compare;
mod output;
mod rerender;
mod run;
mod search;
mod serve;

/// Measures what callers of an MCP server wait, open loop, from the intended start of each call.
#[derive(Debug, Parser)]
#[command(name = "portcullis-loadgen", version, about, after_help = EXITS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one load against one target.
    Run(run::RunArguments),
    /// Find the highest rate at which a percentile of the response time stays under a limit.
    Search(search::SearchArguments),
    /// Measure several targets in one run, interleaved: latency, throughput and CPU time beside one another.
    Compare(Box<compare::CompareArguments>),
    /// Make the text or the page of a JSON report again.
    Report(rerender::ReportArguments),
    /// Print the JSON Schema of the reports.
    Schema,
    /// Serve the demo CRM's MCP endpoint, to be measured or put behind a gate. Never for production.
    Upstream(serve::UpstreamArguments),
    /// Serve the dev issuer on loopback and write tokens of a pool of subjects, for a gate of your own. Never for
    /// production.
    Issuer(serve::IssuerArguments),
}

const EXITS: &str = "Exit status: 0 well; 1 internal fault; 2 wrong command line; 3 wrong input; 7 a --fail-if threshold \
is passed, or a search found no rate; 9 the run is INVALID: the generator itself was late or saturated, or compared \
targets did not do the same work, so its figures must not be quoted; 69 the \
target or a part that is needed is not there; 130 interrupted.";

/// The exit status of a process that was interrupted.
const INTERRUPTED: u8 = 130;

/// What the exit status says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// All went well.
    Ok,
    /// A fault of the generator or its machine.
    Internal,
    /// The input is wrong: a mix, a token file, a report.
    Input,
    /// A threshold is passed.
    Threshold,
    /// The generator was late or saturated.
    Invalid,
    /// The target or a part that is needed is not there.
    Unavailable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Internal => 1,
            Exit::Input => 3,
            Exit::Threshold => 7,
            Exit::Invalid => 9,
            Exit::Unavailable => 69,
        })
    }
}

/// A fault with its exit status.
#[derive(Debug)]
struct Fault {
    exit: Exit,
    error: anyhow::Error,
}

impl Fault {
    /// The input is wrong.
    fn input(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Input,
            error: error.into(),
        }
    }

    /// Something that is needed is not there.
    fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Unavailable,
            error: error.into(),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self {
            exit: Exit::Internal,
            error: error.into(),
        }
    }
}

/// Ends the load on the first SIGINT or SIGTERM, so that the report of a run is still written and parts are ended; the second
/// one ends the process at once.
fn watch_signals() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let interrupt = signal(SignalKind::interrupt());
            let terminate = signal(SignalKind::terminate());
            let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
                return;
            };
            for is_first in [true, false] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                match is_first {
                    true => engine::interrupt(),
                    false => {
                        view::restore();
                        std::process::exit(i32::from(INTERRUPTED));
                    }
                }
            }
        });
    })?;
    Ok(())
}

/// Does what the command line says; ends the process by itself only when it cannot be read.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = Cli::parse_from(words).command;
    if let Err(error) = watch_signals() {
        let _ = writeln!(io::stderr(), "portcullis-loadgen: signals cannot be watched: {error}");
    }
    let done = match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Search(arguments) => search::search(&arguments),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Report(arguments) => rerender::report(&arguments),
        Command::Schema => output::schema(),
        Command::Upstream(arguments) => serve::upstream(&arguments),
        Command::Issuer(arguments) => serve::issuer(&arguments),
    };
    let exit = done.unwrap_or_else(|fault| {
        // Nothing is left to say it to when stderr is gone.
        let _ = writeln!(io::stderr(), "portcullis-loadgen: {:#}", fault.error);
        fault.exit
    });
    match engine::is_interrupted() {
        true => ExitCode::from(INTERRUPTED),
        false => exit.into(),
    }
}
