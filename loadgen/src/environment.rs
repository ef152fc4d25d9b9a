//! Where a load ran and by what: what bears on times and must stand in every report.
//!
//! Owns the reading of [`Environment`]. Never tells the name of the machine or a secret of the command line, since
//! reports are published. What cannot be read is told as unknown; nothing here fails.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::time::SystemTime;

use crate::report::Environment;

mod cpu;
mod time;

pub use time::rfc3339;

/// What a word of the command line shows instead of a secret.
const HIDDEN: &str = "***";

/// The environment now, with the generator's threads bound to `pinning` (empty: not bound). To be called before a load
/// begins: its time is the start, and its load average must not be the load's own.
pub fn read(pinning: &[usize]) -> Environment {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    read_below(Path::new("/"), pinning, SystemTime::now(), &words)
}

fn read_below(root: &Path, pinning: &[usize], now: SystemTime, words: &[String]) -> Environment {
    let cpus = text(root, "proc/cpuinfo").unwrap_or_default();
    let usable = std::thread::available_parallelism().map_or(1, NonZero::get);
    let online = text(root, "sys/devices/system/cpu/online").and_then(|list| counted(&list));
    let load = text(root, "proc/loadavg");
    Environment {
        started: rfc3339(now),
        version: String::from(env!("CARGO_PKG_VERSION")),
        commit: String::from(env!("PORTCULLIS_COMMIT")),
        command: command(words),
        cpu: cpu::name(&cpus)
            .or_else(|| text(root, "proc/device-tree/model"))
            .unwrap_or_else(|| String::from("unknown")),
        cores: usable,
        cores_online: online.or_else(|| cpu::count(&cpus)).unwrap_or(usable),
        arch: String::from(std::env::consts::ARCH),
        kernel: text(root, "proc/sys/kernel/osrelease").unwrap_or_else(|| String::from("unknown")),
        governor: text(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        pinning: list(pinning),
        hypervisor: if root.join("proc/device-tree/hypervisor").exists() {
            Some(true)
        } else {
            cpu::hypervisor(&cpus)
        },
        allocator: String::from("mimalloc"),
        build: String::from(if cfg!(debug_assertions) { "debug" } else { "release" }),
        load_average: load.and_then(|load| load.split(' ').next()?.parse().ok()),
    }
}

/// A file of the kernel without the blanks and the zero at its end; none when it is absent or empty.
fn text(root: &Path, path: &str) -> Option<String> {
    let bytes = fs::read(root.join(path)).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|char: char| char.is_whitespace() || char == '\0');
    (!text.is_empty()).then(|| String::from(text))
}

/// The words of the command line, fit to be published: without the folder of the program, and without what looks like
/// a secret. Tokens come from files, so that none should be there; but a slip must not end in a report.
fn command(words: &[String]) -> Vec<String> {
    let shown = |(place, word): (usize, &String)| match place {
        0 => Path::new(word)
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        _ => shown(word),
    };
    words.iter().enumerate().map(shown).collect()
}

fn shown(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    // Header fields that carry credentials, schemes of the same, and JSON Web Tokens ("eyJ" is the begin of every one).
    let secret = ["authorization:", "cookie:", "bearer ", "basic "];
    let secret = secret
        .iter()
        .filter_map(|mark| lower.find(mark).map(|place| place + mark.len()));
    let token = word.find("eyJ").filter(|place| {
        let rest = word.split_at(*place).1;
        2 <= rest.matches('.').count()
    });
    if let Some(place) = secret.chain(token).min() {
        return format!("{}{HIDDEN}", word.split_at(place).0);
    }
    // The user part and the query of a URL.
    let Some((scheme, rest)) = word.split_once("://") else {
        return String::from(word);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = match path.split_once('?') {
        Some((path, _)) => format!("{path}?{HIDDEN}"),
        None => String::from(path),
    };
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{path}"),
        None => format!("{scheme}://{authority}{path}"),
    }
}

/// Processors as the kernel lists them: `0-2,4`; `none` when there are none.
fn list(numbers: &[usize]) -> String {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let ranges: Vec<String> = { ranges.into_iter() }
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    if ranges.is_empty() {
        String::from("none")
    } else {
        ranges.join(",")
    }
}

/// How many processors a list of the kernel names.
fn counted(list: &str) -> Option<usize> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first).map(|more| more + 1)
    };
    list.split(',').map(range).sum()
}

#[cfg(test)]
mod tests;
