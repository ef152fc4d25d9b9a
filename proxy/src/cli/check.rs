//! `portcullis check` and `portcullis config schema`.
//!
//! Owns how diagnostics are shown. Opens no socket and looks no name up unless it is told to (`online`), so that it works
//! where the gate will not run.

use std::io::{self, Write as _};

use schemars::schema_for;
use serde_json::json;

use super::{CheckArguments, Exit, Format};
use crate::config::{self, Config, Diagnostics, Names, RawConfig, ServerPlan};
use crate::keys::KeyStore;

mod online;

/// Checks a configuration: policies are compiled, keys, secrets and TLS files are opened, nothing is started. With
/// `--online` issuers and upstreams are asked as well.
pub(super) fn check(arguments: &CheckArguments) -> anyhow::Result<Exit> {
    let names = match arguments.online {
        true => Names::Resolve,
        false => Names::Skip,
    };
    let checked = config::load(&arguments.config, names, 1).and_then(|config| {
        let keys = config::open_keys(&config.keys, &arguments.config)?;
        Ok((config, keys))
    });
    let (mut config, keys) = match checked {
        Ok(checked) => checked,
        Err(diagnostics) => {
            match arguments.format {
                Format::Pretty => eprint!("{}", diagnostics.pretty()),
                Format::Json => {
                    let Diagnostics { diagnostics } = &diagnostics;
                    let answer = json!({"ok": false, "diagnostics": diagnostics, "warnings": [], "notes": []});
                    println!("{answer}");
                }
            }
            return Ok(exit_of(&diagnostics));
        }
    };
    let asked = match arguments.online {
        true => Some(online::ask(&mut config, &arguments.config)?),
        false => None,
    };
    let denied = arguments.deny_warnings && !config.warnings.is_empty();
    let exit = match asked.as_ref().map_or(Exit::Ok, online::Asked::exit) {
        Exit::Ok if denied => Exit::Invalid,
        exit => exit,
    };
    match arguments.format {
        Format::Pretty => {
            for warning in &config.warnings {
                eprintln!("{warning}\n");
            }
            for note in notes(&config, &keys) {
                println!("note: {note}");
            }
            if let Some(asked) = &asked {
                print!("{}", asked.pretty());
            }
            match (denied, exit) {
                (true, _) => eprintln!("{}, and `--deny-warnings`", counted(config.warnings.len(), "warning")),
                (false, Exit::Ok) => println!("{}", praise(&config)),
                (false, _) => {}
            }
        }
        Format::Json => {
            let notes: Vec<String> = notes(&config, &keys).collect();
            let mut answer =
                json!({"ok": exit == Exit::Ok, "diagnostics": [], "warnings": config.warnings, "notes": notes});
            if let (Some(asked), Some(members)) = (&asked, answer.as_object_mut()) {
                members.insert(String::from("online"), asked.json());
            }
            println!("{answer}");
        }
    }
    Ok(exit)
}

/// The exit status for a configuration that cannot be used.
pub(super) fn exit_of(diagnostics: &Diagnostics) -> Exit {
    match diagnostics.only_outside() {
        true => Exit::Unavailable,
        false => Exit::Invalid,
    }
}

/// Prints the JSON Schema of the configuration.
pub(super) fn schema() -> anyhow::Result<Exit> {
    let schema = serde_json::to_string_pretty(&schema_for!(RawConfig))?;
    match writeln!(io::stdout().lock(), "{schema}") {
        // Whoever reads us has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        written => Ok(written.map(|()| Exit::Ok)?),
    }
}

/// What is not wrong but worth knowing: for how long revoked tokens of each issuer still work, and places of policies
/// that cost the slower interpreter on each allow, questions that policies answer anew each time, and key files that more than their owner can read.
fn notes(config: &Config, keys: &KeyStore) -> impl Iterator<Item = String> {
    let revoked = config
        .issuers
        .iter()
        .map(|plan| config::worst_case(config, &plan.issuer));
    let confirmed = config.servers.iter().flat_map(ServerPlan::confirmed);
    let confirmed = confirmed.map(|finding| format!("{finding} (each allow is confirmed by the interpreter)"));
    let readable = keys.readable_by_others().iter();
    let readable = readable.map(|path| format!("everybody on this machine can read the key file `{}`", path.display()));
    let unmemoised = config
        .servers
        .iter()
        .flat_map(ServerPlan::unmemoised)
        .map(ToString::to_string);
    revoked.chain(confirmed).chain(unmemoised).chain(readable)
}

fn praise(config: &Config) -> String {
    let (servers, issuers) = (config.servers.len(), config.issuers.len());
    let mut praise = format!("ok: {}, {}", counted(servers, "server"), counted(issuers, "issuer"));
    if !config.warnings.is_empty() {
        praise.push_str(", ");
        praise.push_str(&counted(config.warnings.len(), "warning"));
    }
    praise
}

/// A number of things.
fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}
