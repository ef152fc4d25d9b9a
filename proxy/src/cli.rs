//! The command line: what can be asked of the binary, and what its exit status means.
//!
//! Owns the commands and [`Exit`]. Writes results to stdout and everything else to stderr.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::telemetry::Level;

mod audit;
mod check;
#[cfg(feature = "demo")]
mod demo;
mod input;
mod inspect;
mod jwks;
mod keys;
mod policy;
mod revoke;
mod run;
mod token;
mod tools;

/// A gate in front of MCP servers.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, after_help = EXITS)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate.
    Run(RunArguments),
    /// Check a configuration and the policies it names; needs no network, unless it is told to ask.
    Check(CheckArguments),
    /// Tell about the configuration file.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Read the audit log.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Revoke a token, a session, a subject or a client at a running gate.
    Revoke(revoke::RevokeArguments),
    /// Look at what a client sends.
    Inspect {
        #[command(subcommand)]
        command: inspect::InspectCommand,
    },
    /// Look at a token, or verify it as the gate would.
    Token {
        #[command(subcommand)]
        command: token::TokenCommand,
    },
    /// List, accept and check the tools of the upstreams.
    Tools {
        #[command(subcommand)]
        command: tools::ToolsCommand,
    },
    /// Look at the key set of an issuer.
    Jwks {
        #[command(subcommand)]
        command: jwks::JwksCommand,
    },
    /// Make, list and rotate the gate's own keys.
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// Look at policies before they rule.
    Policy {
        #[command(subcommand)]
        command: policy::PolicyCommand,
    },
    /// Take a tour on real parts, all in this process and on loopback: issuer, three MCP servers, the gate, a client.
    #[cfg(feature = "demo")]
    Demo(demo::DemoArguments),
    /// Print the version.
    Version,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Threads that serve requests. Default: one a core.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// How much is logged.
    #[arg(long, value_name = "LEVEL", env = "PORTCULLIS_LOG", default_value = "info")]
    log: Level,
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
    /// Refuse a configuration with a warning, as one with a fault is.
    #[arg(long)]
    deny_warnings: bool,
    /// Ask issuers for their keys, and upstreams whether they serve who comes without the gate's credential.
    #[arg(long)]
    online: bool,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people.
    Pretty,
    /// For programs, on stdout.
    Json,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the JSON Schema of the configuration file.
    Schema,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Print the records of a log, one JSON object a line, and verify its checksums and chain.
    Tail {
        /// The log's folder; a gate may be writing to it.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Print the last records alone.
        #[arg(long, value_name = "COUNT")]
        last: Option<usize>,
    },
}

/// What the exit status says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// All went well.
    Ok,
    /// A fault of the gate or its machine.
    Internal,
    /// The command line is wrong.
    Usage,
    /// The configuration, a policy or other input is wrong.
    Invalid,
    /// A token was refused.
    Refused,
    /// Tests failed, or reached too little.
    TestsFailed,
    /// Decisions would change.
    DecisionsChange,
    /// Something that the gate depends on is not there.
    Unavailable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Internal => 1,
            Exit::Usage => 2,
            Exit::Invalid => 3,
            Exit::Refused => 4,
            Exit::TestsFailed => 5,
            Exit::DecisionsChange => 8,
            Exit::Unavailable => 69,
        })
    }
}

const EXITS: &str = "Exit status: 0 well, 1 internal fault, 2 wrong usage, 3 wrong configuration, policy or input, \
                     4 a token was refused, 5 tests failed, 8 decisions would change, \
                     69 a dependency is unavailable.";

/// Reads the command line and does what it asks.
///
/// # Errors
/// Faults of the gate and its machine; everything else has its own [`Exit`].
pub(crate) fn main() -> anyhow::Result<Exit> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and go to stdout.
            error.print()?;
            return Ok(if error.use_stderr() { Exit::Usage } else { Exit::Ok });
        }
    };
    match cli.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Config {
            command: ConfigCommand::Schema,
        } => check::schema(),
        Command::Audit {
            command: AuditCommand::Tail { directory, last },
        } => audit::tail(&directory, last),
        Command::Revoke(arguments) => revoke::revoke(&arguments),
        Command::Inspect { command } => inspect::inspect(&command),
        Command::Token { command } => token::token(&command),
        Command::Tools { command } => tools::tools(&command),
        Command::Jwks { command } => jwks::jwks(&command),
        Command::Keys { command } => keys::keys(&command),
        Command::Policy { command } => policy::policy(&command),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Version => {
            println!("portcullis {}", env!("CARGO_PKG_VERSION"));
            Ok(Exit::Ok)
        }
    }
}
