//! `portcullis policy`: policies before they rule.
//!
//! Owns the list of the commands; each has its own module below. Nothing here talks to a running gate.

use clap::Subcommand;

use super::Exit;

mod check;
mod load;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Compile a policy as the gate would, and tell what is wrong and what each allow costs; exit 3 if it cannot be used.
    Check(check::CheckArguments),
}

/// Runs one of the commands.
pub(super) fn policy(command: &PolicyCommand) -> anyhow::Result<Exit> {
    match command {
        PolicyCommand::Check(arguments) => check::check(arguments),
    }
}
