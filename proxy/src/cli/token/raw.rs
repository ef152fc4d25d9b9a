//! `portcullis token verify --raw`: signature and key rules of each line of standard input.
//!
//! Owns the reading of lines, which never holds more than one of them, and the form of a verdict. Verdicts come in the
//! order of the lines, one for each, so that the numbers agree.

use std::io::{self, BufRead, Write};
use std::path::Path;

use portcullis_core::Algorithm;
use portcullis_core::config::Limits;
use portcullis_core::denial::{Denial, DenyReason};
use portcullis_core::jwks::KeySet;
use portcullis_core::token::raw::{self, RawVerified};
use serde_json::json;
use zeroize::Zeroizing;

use super::super::input::{KeyFile, next_line};
use super::super::{Exit, Format};
use super::VerifyArguments;
use crate::clock;

/// How each line is judged.
struct Rules<'a> {
    keys: &'a KeySet,
    algorithms: &'a [Algorithm],
    token_bytes_max: usize,
    format: Format,
}

/// Judges every line.
pub(super) fn verify(arguments: &VerifyArguments, jwks: &Path) -> anyhow::Result<Exit> {
    let limits = Limits::default();
    let read = KeyFile::read(jwks, &limits).and_then(|file| {
        file.complaints()
            .for_each(|complaint| eprintln!("portcullis: {complaint}"));
        file.key_set(jwks, &limits, clock::now())
    });
    let keys = match read {
        Ok(keys) => keys,
        Err(error) => {
            eprintln!("portcullis: {error}");
            return Ok(Exit::Invalid);
        }
    };
    let rules = Rules {
        keys: &keys,
        algorithms: arguments.algorithms.as_deref().unwrap_or(&Algorithm::ALL),
        token_bytes_max: limits.token_bytes_max,
        format: arguments.format,
    };
    match judge_lines(io::stdin().lock(), io::stdout().lock(), &rules) {
        Ok(refused) if arguments.exit_code && refused > 0 => Ok(Exit::Refused),
        Ok(_) => Ok(Exit::Ok),
        // Whoever reads us has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(error.into()),
    }
}

/// Writes a verdict for each line; gives the number of refusals.
fn judge_lines(mut lines: impl BufRead, mut out: impl Write, rules: &Rules<'_>) -> io::Result<u64> {
    let mut line = Zeroizing::new(Vec::new());
    let (mut number, mut refused) = (0, 0);
    while let Some(whole) = next_line(&mut lines, &mut line, rules.token_bytes_max)? {
        number += 1;
        let verdict = match (whole, str::from_utf8(&line)) {
            (false, _) => Err(Denial::new(
                DenyReason::TokenTooLarge,
                "the line is longer than a token may be",
            )),
            (true, Ok("")) => Err(Denial::new(DenyReason::TokenMalformed, "the line is empty")),
            (true, Ok(token)) => raw::verify(token, rules.keys, rules.algorithms),
            (true, Err(_)) => Err(Denial::new(DenyReason::TokenMalformed, "the line is not text")),
        };
        refused += u64::from(verdict.is_err());
        write_verdict(&mut out, number, &verdict, rules.format)?;
    }
    out.flush()?;
    Ok(refused)
}

fn write_verdict(
    out: &mut impl Write,
    number: u64,
    verdict: &Result<RawVerified, Denial>,
    format: Format,
) -> io::Result<()> {
    match (format, verdict) {
        (Format::Json, Ok(verified)) => {
            let alg = verified.algorithm.name();
            let line = json!({"ok": true, "reason": null, "kid": verified.kid, "alg": alg});
            writeln!(out, "{line}")
        }
        (Format::Json, Err(denial)) => {
            let line = json!({"ok": false, "reason": denial.reason.code(), "detail": denial.operator});
            writeln!(out, "{line}")
        }
        (Format::Pretty, Ok(verified)) => {
            let kid = verified.kid.as_deref().map(super::super::input::quoted);
            let kid = kid.as_deref().unwrap_or("without kid");
            writeln!(out, "{number}: ok, {} {kid}", verified.algorithm.name())
        }
        (Format::Pretty, Err(denial)) => {
            writeln!(out, "{number}: refused, {}: {}", denial.reason.code(), denial.operator)
        }
    }
}

#[cfg(test)]
mod tests;
