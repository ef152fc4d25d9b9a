//! `portcullis token`: look at a token, or verify it as the gate would.
//!
//! Owns the arguments and what all three commands share. A token comes from standard input alone, goes nowhere, and
//! neither it nor one of its parts is ever printed: verdicts name checks, claims and what the configuration expects.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_core::Algorithm;
use portcullis_core::time::UnixTime;

use super::{Exit, Format, input};

mod cure;
mod full;
mod inspect;
mod raw;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Show the header and the claims of the token on standard input. Nothing is verified, and nothing is sent.
    Inspect(InspectArguments),
    /// Verify the token on standard input as the gate would for a server; tells each check, and what would pass.
    ///
    /// With `--raw`, verify tokens from standard input, one a line: signature and key rules alone, no claims, one verdict
    /// a line.
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", required_unless_present = "raw")]
    config: Option<PathBuf>,
    /// The server that the token is for, by its name; may be left out when there is just one.
    #[arg(long, value_name = "NAME", requires = "config")]
    server: Option<String>,
    /// A JWK Set, or a single JWK, in place of the issuer's; then nothing is fetched.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Verify as if it were this time: RFC 3339, or seconds since 1970. Default: now.
    #[arg(long, value_name = "TIME", value_parser = input::time, conflicts_with = "raw")]
    at: Option<UnixTime>,
    /// Verify each line of standard input as a compact JWS by `--jwks`: signature and key rules alone.
    #[arg(long, requires = "jwks", conflicts_with = "config")]
    raw: bool,
    /// With `--raw`, the algorithms that are taken, separated by commas. Default: all that the gate knows, ES384 too.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = algorithm, requires = "raw")]
    algorithms: Option<Vec<Algorithm>>,
    /// With `--raw`, end with status 4 if a token was refused; without, such an end is a good one.
    #[arg(long, requires = "raw")]
    exit_code: bool,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
}

/// Runs one of the commands.
pub(super) fn token(command: &TokenCommand) -> anyhow::Result<Exit> {
    match command {
        TokenCommand::Inspect(arguments) => inspect::inspect(arguments.format),
        TokenCommand::Verify(arguments) => match (&arguments.config, &arguments.jwks) {
            (Some(config), _) => full::verify(arguments, config),
            (None, Some(jwks)) => raw::verify(arguments, jwks),
            // The command line's own rules leave no such case.
            (None, None) => Ok(Exit::Usage),
        },
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(name).ok_or_else(|| format!("known are {}", Algorithm::ALL.map(Algorithm::name).join(", ")))
}
