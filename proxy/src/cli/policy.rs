//! `portcullis policy`: policies before they rule.
//!
//! Owns the list of the commands; each has its own module below. Nothing here talks to a running gate.

use clap::Subcommand;

use super::Exit;

mod build;
mod check;
mod load;
mod sign;
mod verify;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Pack folders of Rego and data as a bundle; the same files and revision always give the same bytes.
    Build(build::BuildArguments),
    /// Compile a policy as the gate would, and tell what is wrong and what each allow costs; exit 3 if it cannot be used.
    Check(check::CheckArguments),
    /// Sign a bundle, or sign it anew.
    Sign(sign::SignArguments),
    /// Verify the signature of a bundle and read it as the gate would; exit 3 if the gate would refuse it.
    Verify(verify::VerifyArguments),
}

/// Runs one of the commands.
pub(super) fn policy(command: &PolicyCommand) -> anyhow::Result<Exit> {
    match command {
        PolicyCommand::Build(arguments) => build::build(arguments),
        PolicyCommand::Check(arguments) => check::check(arguments),
        PolicyCommand::Sign(arguments) => sign::sign(arguments),
        PolicyCommand::Verify(arguments) => verify::verify(arguments),
    }
}
