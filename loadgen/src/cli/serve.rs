//! `portcullis-loadgen upstream` and `issuer`: the parts of a measurement that have to run somewhere.
//!
//! Owns their command lines. Both serve until standard input closes or they are told to end; neither is for production:
//! one answers everybody, the other gives a token to everybody.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::calls::MintArguments;
use super::compare::Form;
use super::output;
use super::{Exit, Fault};
use crate::compare::{bundled, upstream};
use crate::engine;
use crate::workload::tokens::start_issuer;

/// How often a server looks whether it is told to end.
const LOOK: Duration = Duration::from_millis(100);

/// What `upstream` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct UpstreamArguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Let others than this machine call: the server answers everybody.
    #[arg(long)]
    danger_public: bool,
    /// The form of its answers.
    #[arg(long, value_name = "FORM", default_value = "json")]
    answers: Form,
}

/// What `issuer` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct IssuerArguments {
    /// The port of 127.0.0.1 to listen on; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// The file that gets the tokens: JSON objects, one a line, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// A folder that gets the configuration of a gate for these subjects: the sample policy, its data, its tools.
    #[arg(long, value_name = "FOLDER", requires = "upstream")]
    sample: Option<PathBuf>,
    /// The upstream that the sample configuration names.
    #[arg(long, value_name = "URL", requires = "sample")]
    upstream: Option<String>,
    #[command(flatten)]
    mint: MintArguments,
}

/// `portcullis-loadgen upstream`.
pub(super) fn upstream(arguments: &UpstreamArguments) -> Result<Exit, Fault> {
    if !arguments.listen.ip().is_loopback() && !arguments.danger_public {
        return Err(Fault::input(anyhow::anyhow!(
            "`{}` is not on loopback: the server answers everybody, say --danger-public if that is meant",
            arguments.listen
        )));
    }
    let server = upstream::start(arguments.listen, arguments.answers.into()).map_err(Fault::unavailable)?;
    output::print(&format!("listening {}", server.url()))?;
    wait()?;
    Ok(Exit::Ok)
}

/// `portcullis-loadgen issuer`.
pub(super) fn issuer(arguments: &IssuerArguments) -> Result<Exit, Fault> {
    if arguments.mint.rotates() {
        return Err(Fault::input(anyhow::anyhow!(
            "tokens in a file are not renewed: --rotate-keys needs a load with --dev-issuer"
        )));
    }
    let issuer = Arc::new(start_issuer(arguments.port).map_err(Fault::unavailable)?);
    let audience = arguments.mint.audience.as_deref().unwrap_or(bundled::RESOURCE);
    let pool = arguments.mint.pool(&issuer, audience)?;
    write_tokens(&arguments.tokens, &pool)?;
    if let (Some(folder), Some(upstream)) = (&arguments.sample, &arguments.upstream) {
        fs::create_dir_all(folder)?;
        bundled::write_sample(folder, upstream, issuer.url(), pool.len(), audience).map_err(Fault::input)?;
    }
    output::print(&format!("listening {}", issuer.url()))?;
    wait()?;
    Ok(Exit::Ok)
}

/// Writes the tokens where only their owner reads them.
fn write_tokens(file: &std::path::Path, pool: &crate::workload::tokens::TokenPool) -> Result<(), Fault> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let opened = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file);
    let opened = opened.with_context(|| format!("cannot write `{}`", file.display()))?;
    // The mode above is that of a new file alone.
    opened.set_permissions(fs::Permissions::from_mode(0o600))?;
    let mut out = io::BufWriter::new(opened);
    for (place, subject) in pool.subjects().enumerate() {
        let bearer = pool.bearer(place).context("a pool has a token for each subject")?;
        let token = bearer.to_str()?.trim_start_matches("Bearer ").to_owned();
        let line = json!({ "token": token, "subject": subject.name, "accounts": subject.accounts });
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

/// Returns when standard input has closed or the process is told to end: whoever started it keeps the other end open as
/// long as it is wanted, and it closes even when that one is killed.
fn wait() -> io::Result<()> {
    let input = thread::Builder::new().spawn(|| io::copy(&mut io::stdin().lock(), &mut io::sink()))?;
    while !input.is_finished() && !engine::is_interrupted() {
        thread::sleep(LOOK);
    }
    Ok(())
}
