//! The comparison that comes with the binaries: upstream, pass-through and gate, each a process on loopback.
//!
//! Owns [`Bundle`]: which binaries, their configuration in a temporary folder, their processors and their end. The gate
//! is the one that operators run, with the sample policy and an audit log on disk; nothing reaches into it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use portcullis_fixtures::mcp::Answers;
use tempfile::TempDir;

use super::Row;
use super::cpu::CpuSource;
use super::metrics;
use super::process::{Child, ProcessError};
use crate::connect::{Endpoint, EndpointOptions};
use crate::workload::subject::sample_population;

mod files;
mod pinning;

pub use files::RESOURCE;
use files::Sample;
pub use pinning::Pinning;

/// The command that builds what a bundle needs.
pub const BUILD: &str = "cargo build --release -p portcullis -p portcullis-bench -p portcullis-loadgen";
/// A loopback port that the system chooses.
const FREE_PORT: &str = "127.0.0.1:0";
/// Where a sample gate listens, and where it shows its metrics.
const SAMPLE_LISTEN: &str = "127.0.0.1:8080";
const SAMPLE_ADMIN: &str = "127.0.0.1:9901";
/// How long each process may take until it is ready.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// The programs of a bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binaries {
    /// `portcullis`.
    pub gate: PathBuf,
    /// `portcullis-passthrough`.
    pub passthrough: PathBuf,
    /// `portcullis-loadgen`, whose command `upstream` is the upstream.
    pub upstream: PathBuf,
}

impl Binaries {
    /// The programs beside this one, or where the arguments say.
    ///
    /// # Errors
    /// When one is missing; the message has the command that builds them.
    pub fn find(gate: Option<&Path>, passthrough: Option<&Path>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("the path of this program cannot be read")?;
        let beside = |name: &str| own.with_file_name(name);
        let binaries = Self {
            gate: gate.map_or_else(|| beside("portcullis"), Path::to_owned),
            passthrough: passthrough.map_or_else(|| beside("portcullis-passthrough"), Path::to_owned),
            upstream: own.clone(),
        };
        binaries.check()?;
        Ok(binaries)
    }

    fn check(&self) -> anyhow::Result<()> {
        let all = [&self.gate, &self.passthrough, &self.upstream];
        let missing: Vec<String> = { all.iter() }
            .filter(|path| !path.is_file())
            .map(|path| format!("`{}`", path.display()))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        bail!(
            "{} not found; build what a comparison needs by: {BUILD}",
            missing.join(" and ")
        )
    }

    /// Those that stand in a folder of debug builds: what they cost says nothing.
    fn debug_builds(&self) -> Vec<String> {
        let all = [&self.gate, &self.passthrough, &self.upstream];
        let debug = all.iter().filter(|path| path.iter().any(|part| part == "debug"));
        debug.map(|path| format!("`{}`", path.display())).collect()
    }
}

/// How a bundle is set up.
#[derive(Clone, Debug)]
pub struct BundleOptions {
    /// The programs.
    pub binaries: Binaries,
    /// The issuer of the tokens, whose key set the gate fetches at the start. Tokens are for [`RESOURCE`].
    pub issuer: String,
    /// How many subjects call: the policy's data knows the first so many of [`crate::workload::subject::sample`].
    pub subjects: usize,
    /// The form of the upstream's answers.
    pub answers: Answers,
    /// Who runs where.
    pub pinning: Pinning,
}

/// Writes the configuration of a gate of the user's own into `folder`: for `upstream`, and for tokens of `issuer` that
/// name `resource`, of the first `subjects` of [`crate::workload::subject::sample`].
///
/// # Errors
/// When a file cannot be written or `resource` is no URL.
pub fn write_sample(
    folder: &Path,
    upstream: &str,
    issuer: &str,
    subjects: usize,
    resource: &str,
) -> anyhow::Result<()> {
    let sample = Sample {
        listen: SAMPLE_LISTEN,
        admin: Some(SAMPLE_ADMIN),
        upstream,
        issuer,
        resource,
        subjects: sample_population(subjects),
    };
    files::write(folder, &sample).with_context(|| format!("cannot write a sample into `{}`", folder.display()))
}

/// Running processes; dropping it ends them and removes their files.
pub struct Bundle {
    // In the order in which they end: whoever calls first.
    gate: Child,
    passthrough: Child,
    upstream: Child,
    rows: Vec<Row>,
    notes: Vec<String>,
    _folder: TempDir,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Bundle")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl Bundle {
    /// Starts everything; returns when all of it serves.
    ///
    /// # Errors
    /// When a program does not start or does not get ready, with its own last words.
    pub fn start(options: &BundleOptions) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("portcullis-compare-").tempdir()?;
        let mut notes = options.pinning.notes();
        let debug = options.binaries.debug_builds();
        if !debug.is_empty() {
            notes.push(format!(
                "debug builds: {}; what they cost says nothing",
                debug.join(", ")
            ));
        }
        let (upstream, upstream_url) = start_upstream(options)?;
        let (passthrough, passthrough_url) = start_passthrough(options, &upstream_url)?;
        let gate = GateProcess::start(options, folder.path(), &upstream_url, &mut notes)?;
        notes.push(files::audit_note(folder.path()));
        let row = |name: &str, what: &str, url: &str, authority: Option<&str>, child: &Child| {
            let judged = authority.is_some();
            anyhow::Ok(Row {
                name: name.to_owned(),
                what: what.to_owned(),
                endpoint: endpoint(url, authority)?,
                judged,
                cpu: CpuSource::Process(child.id()),
                metrics: gate.metrics.clone().filter(|_| judged),
            })
        };
        let rows = vec![
            row("direct", DIRECT, &upstream_url, None, &upstream)?,
            row("pass-through", PASS_THROUGH, &passthrough_url, None, &passthrough)?,
            row("full-chain", FULL_CHAIN, &gate.url, Some(files::AUTHORITY), &gate.child)?,
        ];
        Ok(Self {
            gate: gate.child,
            passthrough,
            upstream,
            rows,
            notes,
            _folder: folder,
        })
    }

    /// `direct`, `pass-through` and `full-chain`.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The processes that share the generator's processors, where any are bound.
    pub fn beside_generator(&self, pinning: &Pinning) -> Vec<u32> {
        match pinning.generator.is_empty() {
            true => Vec::new(),
            false => vec![self.upstream.id()],
        }
    }

    /// What a reader of the report must know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether every process is still there; else which one ended, with its last words.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] of the first that is not.
    pub fn check(&mut self) -> Result<(), ProcessError> {
        for child in [&mut self.gate, &mut self.passthrough, &mut self.upstream] {
            child.check()?;
        }
        Ok(())
    }
}

const DIRECT: &str = "the upstream itself, a demo MCP server that keeps nothing";
const PASS_THROUGH: &str = "Pingora's own proxy, one worker, nothing read";
const FULL_CHAIN: &str =
    "the gate, one worker: token, scopes, policy, durable records before and after, review and redaction of the answer";

fn endpoint(url: &str, authority: Option<&str>) -> anyhow::Result<Endpoint> {
    let options = EndpointOptions {
        authority: authority.map(str::to_owned),
        ..EndpointOptions::default()
    };
    Ok(Endpoint::new(url, &options)?)
}

fn start_upstream(options: &BundleOptions) -> anyhow::Result<(Child, String)> {
    let mut command = Command::new(&options.binaries.upstream);
    let answers = match options.answers {
        Answers::Json => "json",
        Answers::Sse => "sse",
    };
    command.args(["upstream", "--answers", answers]);
    let mut child = Child::start("upstream", command, &options.pinning.generator)?;
    let url = child.line("listening ", START_DEADLINE)?;
    Ok((child, url))
}

fn start_passthrough(options: &BundleOptions, upstream_url: &str) -> anyhow::Result<(Child, String)> {
    let upstream = endpoint(upstream_url, None)?;
    // Pingora does not tell which port it was given, so it is told one that was free a moment ago.
    let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut command = Command::new(&options.binaries.passthrough);
    command.args([
        listen.port().to_string(),
        upstream.address().to_string(),
        "1".to_owned(),
    ]);
    let mut child = Child::start("pass-through", command, &options.pinning.targets)?;
    child.line("listening ", START_DEADLINE)?;
    let accepts = || TcpStream::connect(listen).is_ok();
    child.until("it takes no connection", START_DEADLINE, accepts)?;
    Ok((child, format!("http://{listen}{}", upstream.url().path())))
}

/// A gate that is ready.
struct GateProcess {
    child: Child,
    /// The URL of its endpoint.
    url: String,
    metrics: Option<Endpoint>,
}

impl GateProcess {
    fn start(
        options: &BundleOptions,
        folder: &Path,
        upstream_url: &str,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let sample = Sample {
            listen: FREE_PORT,
            admin: Some(FREE_PORT),
            upstream: upstream_url,
            issuer: &options.issuer,
            resource: RESOURCE,
            subjects: sample_population(options.subjects),
        };
        files::write(folder, &sample)?;
        match Self::run(options, folder, true) {
            // A gate of an earlier version, given by its path, may know no such listener.
            Err(error) if refuses_admin(&error) => {
                files::write(folder, &Sample { admin: None, ..sample })?;
                notes.push("this gate has no admin listener: it tells no times of stages".to_owned());
                Self::run(options, folder, false)
            }
            started => started,
        }
        .context("the gate of the comparison is of no use")
    }

    fn run(options: &BundleOptions, folder: &Path, admin: bool) -> anyhow::Result<Self> {
        // A gate of an earlier version has no such command and needs none; what is missing, the gate itself says.
        Command::new(&options.binaries.gate)
            .args(["keys", "init", "-c"])
            .arg(folder.join(files::CONFIG))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        let mut command = Command::new(&options.binaries.gate);
        command.args(["run", "--workers", "1", "--log", "warn", "-c"]);
        command.arg(folder.join(files::CONFIG));
        let mut child = Child::start("full-chain", command, &options.pinning.targets)?;
        let listening = child.line("listening ", START_DEADLINE)?;
        let address: SocketAddr = { listening.strip_prefix("http://") }
            .and_then(|address| address.parse().ok())
            .with_context(|| format!("the gate listens on `{listening}`, which is no address"))?;
        let metrics = match admin {
            true => {
                let admin = child.line("admin ", START_DEADLINE)?;
                Some(endpoint(&format!("{admin}/metrics"), None)?)
            }
            false => None,
        };
        // It listens before it has its issuer's keys.
        let ready = endpoint(&format!("http://{address}/readyz"), None)?;
        child.until("/readyz does not answer 200", START_DEADLINE, || {
            metrics::fetch(&ready).is_ok()
        })?;
        Ok(Self {
            child,
            url: format!("http://{address}{}", files::PATH),
            metrics,
        })
    }
}

/// Whether the gate ended because its configuration has an admin listener.
fn refuses_admin(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(ProcessError::Ended { lines, .. }) => lines.iter().any(|line| line.contains("`admin`")),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
