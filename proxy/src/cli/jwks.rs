//! `portcullis jwks`: what a key set holds, and what becomes of each key.
//!
//! Owns the table of keys. The verdicts are the core's; nothing here prints a private or a symmetric key.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portcullis_core::config::Limits;
use portcullis_core::jwks::KeyReport;
use serde_json::{Value, json};

use super::input::{KeyFile, quoted};
use super::{Exit, Format};

pub(super) mod probe;

#[derive(Debug, Subcommand)]
pub(super) enum JwksCommand {
    /// Tell what becomes of each key of a JWK Set, or of a single JWK; exit 0 if one can be used, 3 if none.
    Show(ShowArguments),
    /// Fetch an issuer's metadata and keys as the gate would, and tell each step.
    Probe(probe::ProbeArguments),
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// The file with the key set; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
}

/// Runs one of the commands.
pub(super) fn jwks(command: &JwksCommand) -> anyhow::Result<Exit> {
    match command {
        JwksCommand::Show(arguments) => show(&arguments.file, arguments.format),
        JwksCommand::Probe(arguments) => probe::probe(arguments),
    }
}

fn show(file: &Path, format: Format) -> anyhow::Result<Exit> {
    let keys = match KeyFile::read(file, &Limits::default()) {
        Ok(keys) => keys,
        Err(error) => {
            eprintln!("portcullis: {error}");
            return Ok(Exit::Invalid);
        }
    };
    let text = match format {
        Format::Pretty => table(&keys.reports),
        Format::Json => format!(
            "{}\n",
            json!({"keys": as_json(&keys.reports), "usable": usable(&keys.reports)})
        ),
    };
    write_out(&text)?;
    Ok(match usable(&keys.reports) {
        0 => Exit::Invalid,
        _ => Exit::Ok,
    })
}

/// Writes to stdout; whoever has stopped reading has seen enough.
pub(super) fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Keys that can be used.
pub(super) fn usable(keys: &[KeyReport]) -> usize {
    keys.iter().filter(|key| key.verdict.is_ok()).count()
}

/// The keys for people, a line each.
pub(super) fn table(keys: &[KeyReport]) -> String {
    let heads = ["kid", "key", "bits", "alg", "use", "thumbprint", "verdict"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(heads).chain(keys.iter().map(row)).collect();
    let widths: [usize; 7] = std::array::from_fn(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.push_str(&format!("{} of {} keys can be used\n", usable(keys), keys.len()));
    text
}

fn row(key: &KeyReport) -> [String; 7] {
    let plain = |text: &Option<Box<str>>| match text {
        Some(text) => quoted(text).trim_matches('`').to_owned(),
        None => "-".to_owned(),
    };
    let kind = match &key.curve {
        Some(_) => format!("{} {}", plain(&key.kind), plain(&key.curve)),
        None => plain(&key.kind),
    };
    [
        plain(&key.kid),
        kind,
        key.bits.map_or_else(|| "-".to_owned(), |bits| bits.to_string()),
        plain(&key.algorithm),
        plain(&key.usage),
        key.thumbprint.clone().unwrap_or_else(|| "-".to_owned()),
        key.verdict
            .map_or_else(|reason| format!("not used: {reason}"), |()| "usable".to_owned()),
    ]
}

/// The keys for programs.
pub(super) fn as_json(keys: &[KeyReport]) -> Vec<Value> {
    keys.iter()
        .map(|key| {
            json!({
                "kid": key.kid, "kty": key.kind, "crv": key.curve, "alg": key.algorithm, "use": key.usage,
                "bits": key.bits, "thumbprint": key.thumbprint, "usable": key.verdict.is_ok(),
                "reason": key.verdict.err().map(|reason| reason.to_string()),
            })
        })
        .collect()
}
