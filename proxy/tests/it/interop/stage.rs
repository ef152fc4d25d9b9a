//! The cast of the interop test: authorization server, two upstreams and the gate before them, all on loopback.
//!
//! Owns the gate's configuration and what each part needs to start. Decides nothing about what clients should see.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::install::{Parts, sources};
use super::process::Process;
use crate::gate::make_keys;

/// Everything running; ends with the value.
pub(super) struct Stage {
    folder: TempDir,
    gate: Address,
    _running: [Process; 4],
}

impl Stage {
    /// Starts the parts in their order and waits until each is ready.
    pub(super) fn start(parts: &Parts) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let people = json!({
            "scopes": ["mcp:tools", "mcp:sum", "salesforce:read", "salesforce:write"],
            "first_scopes": ["mcp:tools"],
            "people": {"alice": {"groups": ["interop-callers"], "roles": []}},
        });
        let mut issuer = Process::start(
            "the authorization server",
            &mut parts.node(&["as.mjs", &people.to_string()]),
        );
        let issuer_url = ready(&mut issuer);

        let script = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
        let mut command = parts.node(&["--import", "./preload.mjs", script, "streamableHttp"]);
        command.env("PORT", "0").env("CAPTURE", capture(&folder, "everything"));
        let mut everything = Process::start("npm server-everything", &mut command);
        let everything_url = ready(&mut everything);

        let mut command = parts.python(&["server.py"]);
        command.env("CAPTURE", capture(&folder, "python"));
        let mut python = Process::start("PyPI mcp server", &mut command);
        let python_url = ready(&mut python);

        let gate = Address::reserve();
        let file = folder.path().join("portcullis.yaml");
        fs::write(&file, config(&folder, &gate, &issuer_url, &everything_url, &python_url)).unwrap();
        make_keys(&file);
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let mut process = Process::start("the gate", command.arg("run").arg("-c").arg(&file));
        let wanted = gate.text.clone();
        process.await_line(READY_WITHIN, |line| line.contains(&wanted).then_some(()));
        TcpStream::connect_timeout(&gate.socket_address, READY_WITHIN).unwrap();
        Self {
            folder,
            gate,
            _running: [process, issuer, everything, python],
        }
    }

    /// The gate's endpoint for an upstream, named by its path.
    pub(super) fn url(&self, server: &str) -> String {
        format!("http://{}/{server}/mcp", self.gate.text)
    }

    /// The heads of all requests that an upstream got.
    pub(super) fn captured(&self, server: &str) -> Vec<Value> {
        let text = fs::read_to_string(capture(&self.folder, server)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A free port that nobody else is given: the socket stays bound and never listens, and the gate may bind it beside
/// (both say `SO_REUSEADDR`). The configuration names the gate's own URL, so the port must be known before the gate runs.
pub(crate) struct Address {
    pub(crate) socket_address: SocketAddr,
    pub(crate) text: String,
    _reservation: Socket,
}

impl Address {
    pub(crate) fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let socket_address = socket.local_addr().unwrap().as_socket().unwrap();
        Self {
            socket_address,
            text: socket_address.to_string(),
            _reservation: socket,
        }
    }
}

/// The configuration of the gate, in JSON, which is YAML too.
fn config(folder: &TempDir, gate: &Address, issuer: &str, everything: &str, python: &str) -> String {
    let policy = sources().join("policy");
    let server = |name: &str, upstream: &str, rows: Value| {
        json!({
            "name": name,
            "path": format!("/{name}/mcp"),
            "resource": format!("http://{}/{name}/mcp", gate.text),
            "issuers": [issuer],
            "upstream": {"url": format!("{upstream}/mcp")},
            "tools": {"rows": rows},
            "policy": {
                "files": [policy.join("request.rego"), policy.join("response.rego")],
                "data": [policy.join("data.json")],
            },
        })
    };
    let everything_rows = json!({
        "echo": {"scopes": ["mcp:tools"], "class": "read"},
        "get-env": {"scopes": ["mcp:tools"], "class": "read"},
        "get-sum": {"scopes": ["mcp:sum"], "class": "read"},
    });
    let python_rows = json!({
        "add": {"scopes": ["mcp:tools"], "class": "read"},
        "salesforce.opportunity.read": {"scopes": ["salesforce:read"], "class": "read"},
        "salesforce.opportunity.write": {"scopes": ["salesforce:write"], "class": "write"},
    });
    let config = json!({
        "listen": [{"address": gate.text}],
        "audit": {"directory": folder.path().join("audit")},
        "issuers": [{"issuer": issuer, "algorithms": ["ES256"], "danger_allow_private_addresses": true}],
        "servers": [
            server("everything", everything, everything_rows),
            server("python", python, python_rows),
        ],
    });
    config.to_string()
}

/// The address in a script's line `{"ready":"http://127.0.0.1:PORT"}`.
pub(crate) fn ready(process: &mut Process) -> String {
    process.await_line(READY_WITHIN, |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        Some(line.get("ready")?.as_str()?.to_owned())
    })
}

fn capture(folder: &TempDir, server: &str) -> PathBuf {
    folder.path().join(format!("{server}.ndjson"))
}

const READY_WITHIN: Duration = Duration::from_secs(60);
