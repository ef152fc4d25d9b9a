//! A bounded closed-loop load on one MCP endpoint: so many connections, each with one call under way.
//!
//! Owns the command line alone; the driver is the fixtures'. It says whether an endpoint holds and what a call costs at
//! saturation. It is no measure of waiting: a closed loop slows down with its server (coordinated omission). Talks to
//! loopback only, and ends by itself.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::driver::{Load, Report, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A bounded closed-loop load of tools/call on one MCP endpoint on loopback.
#[derive(Debug, Parser)]
#[command(name = "portcullis-loadgen", version, about)]
struct Arguments {
    /// Where to connect: a loopback address and port.
    #[arg(long, value_name = "ADDRESS")]
    address: SocketAddr,
    /// The authority to ask for, when it is not the address.
    #[arg(long, value_name = "AUTHORITY")]
    host: Option<String>,
    /// The path of the endpoint.
    #[arg(long, value_name = "PATH", default_value = "/mcp")]
    path: String,
    /// A file whose first line is a bearer token; without it no credential is sent.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The tool to call.
    #[arg(long, value_name = "NAME", default_value = "salesforce.opportunity.read")]
    tool: String,
    /// Its arguments, one JSON object.
    #[arg(long, value_name = "JSON", default_value = r#"{"account_id":"acc-1001"}"#)]
    arguments: String,
    /// Connections, each with one call under way.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Calls in all.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    requests: u64,
    /// No call starts after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    duration_max: u64,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(report) if report.errors == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            // Nothing is left to say it to when stderr is gone.
            let _ = writeln!(std::io::stderr(), "portcullis-loadgen: {error}");
            ExitCode::from(2)
        }
    }
}

/// Sends the load and prints what came back.
fn measure(arguments: &Arguments) -> Result<Report, Box<dyn std::error::Error>> {
    if !arguments.address.ip().is_loopback() {
        return Err("loads go to loopback only".into());
    }
    let token = match &arguments.token_file {
        Some(file) => Some(
            std::fs::read_to_string(file)?
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        ),
        None => None,
    };
    let host = arguments.host.clone().unwrap_or_else(|| arguments.address.to_string());
    let load = Load {
        address: arguments.address,
        connections: usize::from(arguments.connections),
        requests: arguments.requests,
        duration_max: Duration::from_secs(arguments.duration_max),
    };
    let started = Instant::now();
    let report = run(&load, |number| {
        let call = Call::tools_call(Era::Modern, number, &arguments.tool, &arguments.arguments);
        let call = match &token {
            Some(token) => call.bearer(token),
            None => call,
        };
        call.to_http(&host, &arguments.path)
    });
    let elapsed = started.elapsed();
    let rate = report.answers() as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "answers {} errors {} seconds {:.2} per second {rate:.0}",
        report.answers(),
        report.errors,
        elapsed.as_secs_f64()
    )?;
    for (status, count) in &report.statuses {
        writeln!(out, "status {status}: {count}")?;
    }
    let quantiles = [0.5, 0.9, 0.99].map(|quantile| report.quantile_us(quantile));
    let [p50, p90, p99] = quantiles;
    writeln!(out, "closed-loop latency us: p50 {p50} p90 {p90} p99 {p99}")?;
    Ok(report)
}
