//! `portcullis policy check`: whether the gate could use a policy.
//!
//! Owns how the findings are shown. Evaluates nothing.

use std::path::PathBuf;

use clap::Args;
use portcullis_core::policy::{Finding, Policy};
use serde_json::{Value, json};

use super::load;
use crate::cli::jwks::write_out;
use crate::cli::{Exit, Format};

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArguments {
    /// Rego files, JSON files whose members become `data`, folders, or bundles (`.tar.gz`), taken together.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
}

/// Compiles what the paths hold; the scope tables, which a configuration would bring, are empty.
pub(super) fn check(arguments: &CheckArguments) -> anyhow::Result<Exit> {
    let loaded = load::source(&arguments.paths).and_then(|source| Ok(Policy::compile(&source, 1)?));
    let policy = match loaded {
        Ok(policy) => policy,
        Err(error) => {
            match arguments.format {
                Format::Pretty => eprintln!("portcullis: {error}"),
                Format::Json => println!("{}", json!({"ok": false, "error": error.to_string(), "confirmed": []})),
            }
            return Ok(Exit::Invalid);
        }
    };
    let text = match arguments.format {
        Format::Pretty => {
            let mut text = String::new();
            for finding in policy.confirmed() {
                text.push_str(&format!(
                    "note: {finding} (each allow is confirmed by the interpreter)\n"
                ));
            }
            text.push_str(&format!("ok: revision {}\n", policy.revision()));
            text
        }
        Format::Json => {
            let confirmed: Vec<Value> = policy.confirmed().iter().map(as_json).collect();
            format!(
                "{}\n",
                json!({"ok": true, "revision": policy.revision(), "confirmed": confirmed})
            )
        }
    };
    write_out(&text)?;
    Ok(Exit::Ok)
}

fn as_json(finding: &Finding) -> Value {
    json!({"file": finding.file, "line": finding.line, "column": finding.column, "message": finding.message})
}
