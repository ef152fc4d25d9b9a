//! `portcullis inspect call`: how the gate reads bodies, each judged by itself.
//!
//! Owns the lines of standard input and the form of a verdict: one for each line, in order. What a body's arguments hold
//! is never printed.

use std::io::{self, BufRead, Write};

use clap::{Args, Subcommand};
use portcullis_core::config::Limits;
use portcullis_core::denial::Denial;
use portcullis_core::gate::{Inspection, Inspector};
use portcullis_core::rpc::{Method, ProtocolVersion};
use serde_json::{Value, json};

use super::input::{next_line, quoted};
use super::{Exit, Format};
use crate::respond;

#[derive(Debug, Subcommand)]
pub(super) enum InspectCommand {
    /// Tell how the gate reads each body on standard input, one a line: as which call, or why not. Ends with 0 whatever
    /// the verdicts are.
    ///
    /// Nothing is verified, asked or sent. The headers are taken to say what the body says.
    Call(CallArguments),
}

#[derive(Debug, Args)]
pub(super) struct CallArguments {
    /// Each line is a body in hexadecimal; without, it is the body itself.
    #[arg(long)]
    hex: bool,
    /// The version of a body whose `_meta` names none. With 2025-03-26 an array is read as a batch, whose method is null.
    #[arg(long, value_name = "DATE", default_value = "2025-11-25", value_parser = version)]
    protocol_version: ProtocolVersion,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
}

/// Why a line is refused.
enum Refused {
    /// It is no body: a fault of the line, which the gate would never see.
    NotHex,
    /// The gate refuses the body.
    Denied(Box<Denial>),
}

/// Runs the command.
pub(super) fn inspect(command: &InspectCommand) -> anyhow::Result<Exit> {
    let InspectCommand::Call(arguments) = command;
    match read_lines(io::stdin().lock(), io::stdout().lock(), arguments, &Limits::default()) {
        Ok(()) => Ok(Exit::Ok),
        // Whoever reads us has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(error.into()),
    }
}

/// Writes a verdict for each line. Holds one of them, and of an over-long one no more than shows that it is.
fn read_lines(
    mut lines: impl BufRead,
    mut out: impl Write,
    arguments: &CallArguments,
    limits: &Limits,
) -> io::Result<()> {
    let mut inspector = Inspector::new(limits);
    let bytes_max = limits.body_bytes_max.saturating_add(1);
    let line_bytes_max = match arguments.hex {
        true => bytes_max.saturating_mul(2),
        false => bytes_max,
    };
    let mut line = Vec::new();
    while let Some(whole) = next_line(&mut lines, &mut line, line_bytes_max)? {
        if !whole {
            // What is left of it is over the limit, and refused as that.
            line.clear();
            line.resize(line_bytes_max, b'0');
        }
        let verdict = match arguments.hex {
            true => unhex(&line).ok_or(Refused::NotHex),
            false => Ok(std::mem::take(&mut line)),
        };
        let verdict = verdict.and_then(|body| {
            let read = inspector.read(&body, arguments.protocol_version);
            read.map_err(|denial| Refused::Denied(Box::new(denial)))
        });
        match arguments.format {
            Format::Json => writeln!(out, "{}", as_json(&verdict))?,
            Format::Pretty => writeln!(out, "{}", as_text(&verdict))?,
        }
    }
    out.flush()
}

fn as_json(verdict: &Result<Inspection, Refused>) -> Value {
    match verdict {
        Ok(read) => json!({
            "verdict": "accept", "code": null, "reason": null, "method": read.method.map(Method::as_str),
            "tool": read.tool, "prompt": read.prompt, "resource_uri": read.resource_uri,
        }),
        Err(refused) => {
            let (code, reason) = match refused {
                Refused::NotHex => (None, NOT_HEX),
                Refused::Denied(denial) => {
                    let code = respond::code(denial.reason, denial.modern);
                    (Some(code), denial.reason.code())
                }
            };
            json!({
                "verdict": "reject", "code": code, "reason": reason, "method": null,
                "tool": null, "prompt": null, "resource_uri": null,
            })
        }
    }
}

fn as_text(verdict: &Result<Inspection, Refused>) -> String {
    match verdict {
        Ok(read) => {
            let what = match (read.method, read.batch) {
                (Some(method), _) => method.as_str().to_owned(),
                (None, count) => format!("a batch of {}", count.unwrap_or_default()),
            };
            let mut text = format!("accept  {what} ({})", read.version.as_str());
            for (noun, name) in [
                ("tool", &read.tool),
                ("prompt", &read.prompt),
                ("resource", &read.resource_uri),
            ] {
                if let Some(name) = name {
                    text.push_str(&format!(", {noun} {}", quoted(name)));
                }
            }
            text
        }
        Err(Refused::NotHex) => format!("reject  {NOT_HEX}: the line is not hexadecimal"),
        Err(Refused::Denied(denial)) => {
            let code = respond::code(denial.reason, denial.modern);
            format!("reject  {} ({code}): {}", denial.reason.code(), denial.operator)
        }
    }
}

/// The bytes that `text` says, white space around it left out.
fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

fn version(text: &str) -> Result<ProtocolVersion, String> {
    ProtocolVersion::parse(text).ok_or_else(|| {
        let known = ProtocolVersion::ALL.map(ProtocolVersion::as_str).join(", ");
        format!("known are {known}")
    })
}

/// The reason of a line that is no body; none of the gate's.
const NOT_HEX: &str = "hex_malformed";
