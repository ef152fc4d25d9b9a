//! `portcullis policy`: policies before they rule.
//!
//! Owns the list of the commands; each has its own module below. Nothing here talks to a running gate.

use clap::Subcommand;

use super::Exit;

mod bench;
mod build;
mod check;
mod eval;
mod explain;
mod load;
mod rehearse;
mod sign;
mod test;
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
    /// Run the tests that stand in a policy (rules named `test_..`, as OPA has them); exit 5 if one fails.
    Test(test::TestArguments),
    /// Ask a query.
    Eval(eval::EvalArguments),
    /// Tell why a policy decides as it does: each rule, each condition, and what stood in it.
    Explain(explain::ExplainArguments),
    /// Measure what a decision costs on this machine.
    Bench(bench::BenchArguments),
    /// Decide recorded inputs anew, and list the decisions that would change; exit 8 if any would.
    Replay(rehearse::ReplayArguments),
    /// Decide inputs by two policies, and list where they differ; exit 8 if they do.
    Diff(rehearse::DiffArguments),
}

/// Runs one of the commands.
pub(super) fn policy(command: &PolicyCommand) -> anyhow::Result<Exit> {
    match command {
        PolicyCommand::Build(arguments) => build::build(arguments),
        PolicyCommand::Check(arguments) => check::check(arguments),
        PolicyCommand::Sign(arguments) => sign::sign(arguments),
        PolicyCommand::Verify(arguments) => verify::verify(arguments),
        PolicyCommand::Test(arguments) => test::test(arguments),
        PolicyCommand::Eval(arguments) => eval::eval(arguments),
        PolicyCommand::Explain(arguments) => explain::explain(arguments),
        PolicyCommand::Bench(arguments) => bench::bench(arguments),
        PolicyCommand::Replay(arguments) => rehearse::replay(arguments),
        PolicyCommand::Diff(arguments) => rehearse::diff(arguments),
    }
}
