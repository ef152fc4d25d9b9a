//! `portcullis policy eval`: a query over a policy and its data.
//!
//! Owns nothing but its arguments. Runs on the interpreter; what the gate itself would decide says `policy explain`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portcullis_core::policy::Trial;
use serde_json::Value;

use super::load;
use crate::cli::Exit;
use crate::cli::jwks::write_out;

#[derive(Debug, Args)]
pub(in crate::cli) struct EvalArguments {
    /// The query, such as `data.portcullis.request.decision`.
    #[arg(value_name = "QUERY")]
    query: String,
    /// Rego files, JSON files whose members become `data`, folders, or bundles (`.tar.gz`), taken together.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The input, a JSON file; `-` is standard input. Without, `input` is undefined.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Exit 5 when the query is undefined.
    #[arg(long)]
    fail: bool,
}

/// Prints the answer in the form of `opa eval`.
pub(super) fn eval(arguments: &EvalArguments) -> anyhow::Result<Exit> {
    let trial = load::source(&arguments.paths).and_then(|source| Ok(Trial::load(source, Duration::from_secs(30))?));
    let input = arguments.input.as_deref().map(load::text).transpose();
    let (mut trial, input) = match trial.and_then(|trial| Ok((trial, input?))) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("portcullis: {error}");
            return Ok(Exit::Invalid);
        }
    };
    let answer = trial.eval(&arguments.query, input.as_deref());
    for line in trial.prints() {
        eprintln!("{line}");
    }
    match answer {
        Ok(answer) => {
            let answer: Value = serde_json::from_str(&answer)?;
            write_out(&format!("{answer:#}\n"))?;
            match arguments.fail && answer.get("result").is_none() {
                true => Ok(Exit::TestsFailed),
                false => Ok(Exit::Ok),
            }
        }
        Err(error) => {
            eprintln!("portcullis: {error}");
            Ok(Exit::Invalid)
        }
    }
}
