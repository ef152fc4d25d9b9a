//! What several commands ask for in the same words: the target, the connections, the calls.
//!
//! Owns the forms of durations, stages and shares on the command line. Every error says what would be right.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustix::thread::CpuSet;

use super::Fault;
use crate::compare::metrics;
use crate::connect::{Endpoint, EndpointError, EndpointOptions, HttpVersion};
use crate::engine::is_interrupted;
use crate::schedule::Stretch;

/// How long a target may take until it can serve.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is asked.
const READY_LOOK: Duration = Duration::from_millis(100);

/// How to reach a target.
#[derive(Clone, Debug, Args)]
pub(super) struct TargetArguments {
    /// The HTTP version.
    #[arg(long, value_name = "VERSION", default_value = "1.1", help_heading = "Target")]
    http: Http,
    /// The authority to ask for, when it is not the URL's own.
    #[arg(long, value_name = "AUTHORITY", help_heading = "Target")]
    authority: Option<String>,
    /// The PEM file of the authorities of an https target's certificate.
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    ca: Option<PathBuf>,
    /// A page of the target that answers 200 once it can serve, such as a gate's /readyz; awaited before the load.
    #[arg(long, value_name = "URL", help_heading = "Target")]
    ready: Option<String>,
    /// Let the target be off this machine; only ever with its owner's consent.
    #[arg(long, help_heading = "Target")]
    remote: bool,
}

/// An HTTP version as it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Http {
    /// HTTP/1.1 with keep-alive.
    #[value(name = "1.1")]
    Http1,
    /// HTTP/2: by ALPN over TLS, else with prior knowledge.
    #[value(name = "2")]
    Http2,
}

impl TargetArguments {
    /// The endpoint of `url`.
    pub(super) fn endpoint(&self, url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::new(url, &self.options())
    }

    /// Whether nothing is asked of targets but HTTP/1.1 in the clear.
    pub(super) fn is_plain(&self) -> bool {
        self.http == Http::Http1 && self.authority.is_none() && self.ca.is_none()
    }

    /// Waits until the target says that it can serve.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub(super) fn await_ready(&self) -> Result<(), Fault> {
        let Some(url) = &self.ready else {
            return Ok(());
        };
        let options = EndpointOptions {
            authority: self.authority.clone(),
            ca: self.ca.clone(),
            remote: self.remote,
            ..EndpointOptions::default()
        };
        let page = Endpoint::new(url, &options).map_err(Fault::input)?;
        let begun = Instant::now();
        loop {
            match metrics::fetch(&page) {
                Ok(_) => return Ok(()),
                Err(error) if READY_DEADLINE < begun.elapsed() || is_interrupted() => {
                    let error = anyhow::Error::new(error).context(format!("`{url}` does not say that it is ready"));
                    return Err(Fault::unavailable(error));
                }
                Err(_) => thread::sleep(READY_LOOK),
            }
        }
    }

    /// The same for targets that are made elsewhere.
    pub(super) fn options(&self) -> EndpointOptions {
        EndpointOptions {
            http: match self.http {
                Http::Http1 => HttpVersion::Http1,
                Http::Http2 => HttpVersion::Http2,
            },
            authority: self.authority.clone(),
            ca: self.ca.clone(),
            remote: self.remote,
        }
    }
}

/// The size of the generator.
#[derive(Clone, Debug, Args)]
pub(super) struct GeneratorArguments {
    /// Connections in all.
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=20_000), help_heading = "Generator")]
    pub(super) connections: u16,
    /// Calls under way a connection at most, over HTTP/2.
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_000), help_heading = "Generator")]
    pub(super) streams: u16,
    /// Threads of the generator; connections are dealt to them.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Generator")]
    pub(super) threads: u16,
    /// Processors to bind the threads to, such as 1 or 2,3.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = core, help_heading = "Generator")]
    pub(super) cores: Vec<usize>,
    /// How much at the begin does not count.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration, help_heading = "Generator")]
    pub(super) warm_up: Duration,
    /// How long an answer is awaited.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Generator")]
    pub(super) timeout: Duration,
    /// A call that the generator takes up later than this counts as late; more than 1 % of them make a run INVALID.
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = duration, help_heading = "Generator")]
    pub(super) late_after: Duration,
    /// The seed of the mix: the same seed gives the same calls in the same order.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Generator")]
    pub(super) seed: u64,
}

/// The number of a processor.
pub(super) fn core(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number < CpuSet::MAX_CPU);
    number.ok_or_else(|| format!("`{text}` is no number of a processor from 0 to {}", CpuSet::MAX_CPU - 1))
}

/// A time such as `250ms`, `10s` or `2m`; at most a day.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as 250ms, 10s or 2m");
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(unit).ok_or_else(wrong)?;
    let seconds = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let length = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    match length <= Duration::from_secs(86_400) {
        true => Ok(length),
        false => Err(format!("`{text}` is longer than a day")),
    }
}

/// A time that is longer than nothing.
pub(super) fn length(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a load lasts longer than nothing".to_owned()),
        length => Ok(length),
    }
}

/// A share such as `5%` or `0.05`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no share such as 5% or 0.05");
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    share.ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(wrong)
}

/// A stage such as `2000:60s` or `100..2000:30s`.
pub(super) fn stage(text: &str) -> Result<Stretch, String> {
    let wrong = || format!("`{text}` is no stage such as 2000:60s or, rising, 100..2000:30s");
    let (rates, time) = text.split_once(':').ok_or_else(wrong)?;
    let (from, to) = rates.split_once("..").unwrap_or((rates, rates));
    Ok(Stretch {
        from: from.parse().map_err(|_| wrong())?,
        to: to.parse().map_err(|_| wrong())?,
        length: length(time)?,
    })
}

#[cfg(test)]
mod tests;
