//! The demo's parts: a folder of files as an operator would write them, an issuer, three MCP servers and the gate.
//!
//! Owns their start and their end. The gate is the one that `portcullis run` runs, read from a file; nothing here
//! reaches into it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use portcullis_core::audit::{FileSegments, read};
use portcullis_fixtures::capture::Received;
use portcullis_fixtures::http1::{Connection, request};
use portcullis_fixtures::issuer::{Issuer, IssuerSettings};
use portcullis_fixtures::mcp::{Answers, Kind, McpServer, McpSettings};
use portcullis_fixtures::persona::Persona;
use portcullis_fixtures::policy;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

use crate::cli::Exit;
use crate::cli::run::{RunOptions, serve};
use crate::clock;
use crate::shutdown::Shutdown;
use crate::{config, keys};

/// How long the gate may take to listen, and then to be ready.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(10);

/// One of the servers behind the gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// The code repository.
    Code,
    /// The customer relations.
    Crm,
    /// Prompts and resources, and refusals that a model can read.
    Everything,
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Crm => "crm",
            Self::Everything => "everything",
        }
    }
}

/// The running parts. Ending it ends them all.
pub(super) struct Stage {
    folder: PathBuf,
    /// Removes the folder when it was ours.
    _temporary: Option<TempDir>,
    /// Holds the gate's port from the moment its URL is written down.
    _port: Socket,
    address: SocketAddr,
    issuer: Issuer,
    crm: McpServer,
    code: McpServer,
    everything: McpServer,
    shutdown: Shutdown,
    gate: JoinHandle<anyhow::Result<Exit>>,
}

impl Stage {
    /// Starts everything and returns once the gate listens and has its issuer's keys.
    pub(super) fn set(keep: Option<&Path>) -> anyhow::Result<Self> {
        let (folder, temporary) = folder(keep)?;
        let issuer = Issuer::start(IssuerSettings::default())?;
        let server = |kind, place: Place| {
            McpServer::start(McpSettings {
                kind,
                answers: Answers::Json,
                capture_file: Some(folder.join(capture_name(place))),
            })
        };
        let (crm, code) = (server(Kind::Crm, Place::Crm)?, server(Kind::Code, Place::Code)?);
        let (port, address) = reserve()?;
        let everything = server(Kind::Everything, Place::Everything)?;
        write_files(&folder, address, &issuer, [&crm, &code, &everything])?;
        keys::init(&config::key_places(&folder.join(CONFIG))?.places, clock::now())?;
        let shutdown = Shutdown::new();
        let gate = start_gate(folder.join(CONFIG), shutdown.clone())?;
        await_ready(address)?;
        let stage = Self {
            folder,
            _temporary: temporary,
            _port: port,
            address,
            issuer,
            crm,
            code,
            everything,
            shutdown,
            gate,
        };
        Ok(stage)
    }

    /// Drains the gate and waits for its log to be sealed.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        match self.gate.join() {
            Ok(ended) => ended.map(|_| ()),
            Err(_) => bail!("the gate's thread panicked"),
        }
    }

    /// The URL of a server's endpoint at the gate, which is also its audience.
    pub(super) fn resource(&self, place: Place) -> String {
        resource(self.address, place)
    }

    pub(super) fn issuer_url(&self) -> &str {
        self.issuer.url()
    }

    pub(super) fn token_endpoint(&self) -> String {
        self.issuer.token_endpoint()
    }

    /// A fresh token of a persona for a server.
    pub(super) fn mint(&self, persona: &Persona, place: Place) -> String {
        self.issuer.mint(persona, &self.resource(place))
    }

    /// A token in the making.
    pub(super) fn token(&self, place: Place) -> TokenBuilder {
        self.issuer.builder(&self.resource(place))
    }

    /// The finished token.
    pub(super) fn sign(&self, token: &TokenBuilder) -> String {
        self.issuer.sign(token)
    }

    /// What the servers received.
    pub(super) fn received(&self) -> Vec<Arc<Received>> {
        let servers = [&self.crm, &self.code, &self.everything];
        servers.iter().flat_map(|server| server.capture().requests()).collect()
    }

    /// The audit records so far, refusals before identity not yet summed up.
    pub(super) fn records(&self) -> anyhow::Result<Vec<Value>> {
        let mut records = Vec::new();
        for record in read(FileSegments::new(&self.audit_path())) {
            records.push(serde_json::from_slice(&record?.json)?);
        }
        Ok(records)
    }

    pub(super) fn audit_path(&self) -> PathBuf {
        self.folder.join("audit")
    }

    pub(super) fn capture_path(&self, place: Place) -> PathBuf {
        self.folder.join(capture_name(place))
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.folder.join(CONFIG)
    }
}

/// The folder of the demo's files: the one to keep, which must be new or empty, or a temporary one.
fn folder(keep: Option<&Path>) -> anyhow::Result<(PathBuf, Option<TempDir>)> {
    let Some(keep) = keep else {
        let temporary = tempfile::Builder::new().prefix("portcullis-demo-").tempdir()?;
        return Ok((temporary.path().to_path_buf(), Some(temporary)));
    };
    std::fs::create_dir_all(keep)?;
    let empty = std::fs::read_dir(keep)?.next().is_none();
    ensure!(empty, "the folder `{}` is not empty", keep.display());
    Ok((keep.canonicalize()?, None))
}

/// A free loopback port that nobody else gets: bound, never listening, shared by SO_REUSEADDR with the gate.
fn reserve() -> anyhow::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket().context("the port cannot be read")?;
    Ok((socket, address))
}

fn write_files(
    folder: &Path,
    gate: SocketAddr,
    issuer: &Issuer,
    [crm, code, everything]: [&McpServer; 3],
) -> anyhow::Result<()> {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
    write(policy::REQUEST_FILE, policy::REQUEST_REGO)?;
    write(policy::RESPONSE_FILE, policy::RESPONSE_REGO)?;
    write(policy::DATA_FILE, &policy::sample_data(issuer.url()))?;
    write("crm.tools.json", policy::CRM_TOOLS)?;
    write("code.tools.json", policy::CODE_TOOLS)?;
    let server = |place: Place, upstream: &McpServer| {
        json!({
            "name": place.name(),
            "path": format!("/{}/mcp", place.name()),
            "resource": resource(gate, place),
            "issuers": [issuer.url()],
            "upstream": { "url": upstream.url() },
            "tools": { "file": format!("{}.tools.json", place.name()) },
            "policy": { "files": [policy::REQUEST_FILE, policy::RESPONSE_FILE], "data": [policy::DATA_FILE] },
        })
    };
    let mut named = server(Place::Everything, everything);
    // A row with a scope is all that the sample policy asks for where a prompt or a resource is named.
    let row = json!({ "scopes": ["repo"], "class": "read" });
    let further = [
        (
            "tools",
            json!({ "rows": { TEXT_TOOL: { "scopes": ["salesforce:read"], "class": "read" } } }),
        ),
        ("prompts", json!({ "rows": { PROMPT: row } })),
        ("resources", json!({ "rows": { RESOURCE: row } })),
        ("deny", json!({ "style": "tool_error" })),
    ];
    if let Value::Object(members) = &mut named {
        members.extend(further.map(|(key, value)| (key.to_owned(), value)));
    }
    let config = json!({
        "node": "demo",
        "listen": [{ "address": gate.to_string() }],
        "audit": { "directory": "audit" },
        "issuers": [{ "issuer": issuer.url(), "algorithms": ["ES256"] }],
        "servers": [server(Place::Crm, crm), server(Place::Code, code), named],
        // A laptop that also compiles something must not fail the tour: the default is 5 ms of wall time.
        "limits": { "policy_deadline": "1s" },
    });
    // JSON is YAML.
    write(CONFIG, &serde_json::to_string_pretty(&config)?)?;
    Ok(())
}

/// Waits until the gate has its issuer's keys: it listens before, and answers 503 then.
fn await_ready(gate: SocketAddr) -> anyhow::Result<()> {
    let question = request("GET", &gate.to_string(), "/readyz", [], b"");
    let begun = Instant::now();
    while Connection::open(gate)?.exchange(&question)?.status != 200 {
        ensure!(begun.elapsed() < START_DEADLINE, "the gate does not become ready");
        thread::sleep(READY_INTERVAL);
    }
    Ok(())
}

/// Runs the gate on a thread of its own; returns once it listens.
fn start_gate(config: PathBuf, shutdown: Shutdown) -> anyhow::Result<JoinHandle<anyhow::Result<Exit>>> {
    let (listening, listens) = mpsc::channel();
    let options = RunOptions {
        config,
        workers: 2,
        shutdown,
        signals: false,
        on_listening: Box::new(move |_| {
            // The stage may have given up; the gate is ended then.
            let _ = listening.send(());
        }),
    };
    let gate = thread::Builder::new()
        .name("gate".to_owned())
        .spawn(move || serve(options))?;
    match listens.recv_timeout(START_DEADLINE) {
        Ok(()) => Ok(gate),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(anyhow!("the gate does not listen")),
        Err(mpsc::RecvTimeoutError::Disconnected) => match gate.join() {
            Ok(Err(error)) => Err(error.context("the gate did not start")),
            _ => Err(anyhow!("the gate did not start")),
        },
    }
}

fn resource(gate: SocketAddr, place: Place) -> String {
    format!("http://{gate}/{}/mcp", place.name())
}

fn capture_name(place: Place) -> String {
    format!("{}.received.ndjson", place.name())
}

/// A tool that no role of the sample policy grants.
pub(super) const TEXT_TOOL: &str = "test_simple_text";
/// A prompt with a row; others have none.
pub(super) const PROMPT: &str = "test_simple_prompt";
/// A resource with a row.
pub(super) const RESOURCE: &str = "test://static-text";

const CONFIG: &str = "portcullis.yaml";
