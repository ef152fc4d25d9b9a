//! `portcullis audit tail`: the records of a log, as they were written.
//!
//! Owns nothing but the loop. Never changes the log: a torn tail is told, not cut.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use portcullis_core::audit::{self, FileSegments};

use super::Exit;

/// Prints the records in `directory`, all or the `last` ones, one JSON object a line.
pub(super) fn tail(directory: &Path, last: Option<usize>) -> anyhow::Result<Exit> {
    if !directory.is_dir() {
        eprintln!("portcullis: `{}` is no folder", directory.display());
        return Ok(Exit::Invalid);
    }
    match print(directory, last) {
        Ok(exit) => Ok(exit),
        // Whoever reads us has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(error.into()),
    }
}

fn print(directory: &Path, last: Option<usize>) -> io::Result<Exit> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
    let mut records = audit::read(FileSegments::new(directory));
    let mut exit = Exit::Ok;
    for record in records.by_ref() {
        match (record, last) {
            (Ok(record), None) => write_line(&mut out, &record.json)?,
            (Ok(record), Some(last)) => {
                kept.push_back(record.json);
                if kept.len() > last {
                    kept.pop_front();
                }
            }
            (Err(error), _) => {
                eprintln!("portcullis: the log is damaged: {error}");
                exit = Exit::Invalid;
            }
        }
    }
    for json in &kept {
        write_line(&mut out, json)?;
    }
    out.flush()?;
    if records.torn_bytes() > 0 {
        eprintln!("portcullis: the last batch is not whole: a crash, or a gate that writes right now");
    }
    Ok(exit)
}

fn write_line(out: &mut impl io::Write, json: &[u8]) -> io::Result<()> {
    out.write_all(json)?;
    out.write_all(b"\n")
}
