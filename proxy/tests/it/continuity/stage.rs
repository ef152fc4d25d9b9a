//! Two replicas of a gate before npm server-everything and a demo server that answers in JSON, all on loopback.
//!
//! Owns the replicas' configuration and their keys, which are the same. Decides nothing about what clients should see.

use std::cell::Cell;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use portcullis_fixtures::issuer::{Issuer, IssuerSettings, now_s};
use portcullis_fixtures::mcp::{Kind, McpServer, McpSettings};
use portcullis_fixtures::token::TokenBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gate::tail;
use crate::interop::install::Parts;
use crate::interop::process::Process;
use crate::interop::stage::{Address, ready};

/// The resource of the server in front of server-everything.
pub(super) const EVERYTHING: &str = "http://gate.test/everything/mcp";
/// The resource of the server in front of the demo CRM.
pub(super) const CRM: &str = "http://gate.test/crm/mcp";
/// The scope of every tool.
pub(super) const SCOPE: &str = "mcp:tools";

/// Whoever has the scope may call.
const POLICY: &str = r#"package portcullis

request.decision := {"allow": true, "rule": "all", "reason": "the scope suffices"}

response.decision := {"allow": true, "rule": "all", "reason": "the scope suffices"}
"#;

/// Everything running; ends with the value.
pub(super) struct Stage {
    pub(super) issuer: Issuer,
    pub(super) crm: McpServer,
    pub(super) replicas: [Replica; 2],
    folder: TempDir,
    _everything: Process,
}

/// One replica of the gate.
pub(super) struct Replica {
    address: Address,
    config: PathBuf,
    audit: PathBuf,
    process: Option<Process>,
}

impl Stage {
    /// Starts all of it; what is permitted may be answered for so long after its token, by each replica.
    pub(super) fn start(parts: &Parts, graces: [&str; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::start(IssuerSettings::default()).unwrap();
        let crm = McpServer::start(McpSettings::new(Kind::Crm)).unwrap();
        let script = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
        let mut command = parts.node(&["--import", "./preload.mjs", script, "streamableHttp"]);
        command
            .env("PORT", "0")
            .env("CAPTURE", folder.path().join("everything.ndjson"));
        let mut everything = Process::start("npm server-everything", &mut command);
        let everything_url = ready(&mut everything);
        fs::write(folder.path().join("policy.rego"), POLICY).unwrap();
        let addresses = [Address::reserve(), Address::reserve()];
        let hosts = addresses.each_ref().map(|address| address.text.clone());
        let upstreams = [(EVERYTHING, format!("{everything_url}/mcp")), (CRM, crm.url())];
        let mut numbered = addresses.into_iter().zip(graces).zip(["one", "two"]);
        let replicas = [(); 2].map(|()| {
            let ((address, grace), name) = numbered.next().unwrap();
            let audit = folder.path().join(format!("audit-{name}"));
            let config = folder.path().join(format!("{name}.yaml"));
            let servers = upstreams
                .each_ref()
                .map(|(resource, url)| server(resource, url, issuer.url(), &hosts));
            let text = json!({
                "node": name,
                "listen": [{"address": address.text}],
                "audit": {"directory": audit},
                "issuers": [{"issuer": issuer.url(), "danger_allow_private_addresses": true}],
                "servers": servers,
                "limits": {"leeway": "0s", "expiry_grace": grace, "policy_deadline": "2s", "audit_deadline": "5s"},
            });
            fs::write(&config, text.to_string()).unwrap();
            Replica {
                address,
                config,
                audit,
                process: None,
            }
        });
        portcullis(&["keys", "init"], &replicas[0].config);
        let mut stage = Self {
            issuer,
            crm,
            replicas,
            folder,
            _everything: everything,
        };
        for replica in &mut stage.replicas {
            replica.start();
        }
        stage
    }

    /// A token for `resource` by which `subject` calls through `client` for so many seconds.
    pub(super) fn token_through(&self, resource: &str, subject: &str, client: &str, for_s: u64) -> String {
        let token = TokenBuilder::new(self.issuer.url(), resource, now_s());
        let token = token.subject(subject).client(client).scope(SCOPE);
        self.issuer.sign(&token.expires(now_s() + for_s))
    }

    /// Such a token of the usual client for server-everything.
    pub(super) fn token(&self, subject: &str, for_s: u64) -> String {
        self.token_through(EVERYTHING, subject, "desktop", for_s)
    }

    /// The values of the session header that server-everything got, in their order.
    pub(super) fn sessions_upstream(&self) -> Vec<String> {
        // Before its first request there is no file.
        let text = fs::read_to_string(self.folder.path().join("everything.ndjson")).unwrap_or_default();
        let heads = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let session = |head: Value| {
            let headers = head["headers"].as_array().unwrap();
            // The gate lists the tools in a session of its own.
            let is_own = |header: &Value| header[1].as_str().unwrap().starts_with("portcullis-tools/");
            if headers.iter().any(is_own) {
                return None;
            }
            let found = headers
                .iter()
                .find(|header| header[0].as_str().unwrap().eq_ignore_ascii_case("mcp-session-id"))?;
            Some(found[1].as_str().unwrap().to_owned())
        };
        heads.filter_map(session).collect()
    }

    /// Requests of clients that server-everything got; the gate lists whenever that says that its tools have changed.
    pub(super) fn arrived(&self) -> usize {
        let text = fs::read_to_string(self.folder.path().join("everything.ndjson")).unwrap_or_default();
        let of_clients = |line: &&str| !line.contains("portcullis-tools/");
        text.lines().filter(of_clients).count()
    }

    /// Gives all replicas the keys that lie in their folder now, after `portcullis keys rotate session` with these options.
    pub(super) fn rotate(&self, options: &[&str]) {
        let order: Vec<&str> = ["keys", "rotate", "session"].iter().chain(options).copied().collect();
        portcullis(&order, &self.replicas[0].config);
        for replica in &self.replicas {
            replica.process.as_ref().unwrap().signal("HUP");
        }
    }
}

impl Replica {
    /// `HOST:PORT` of this replica.
    pub(super) fn place(&self) -> &str {
        &self.address.text
    }

    /// The URL of a server, named by its resource.
    pub(super) fn url(&self, resource: &str) -> String {
        resource.replace("gate.test", &self.address.text)
    }

    /// Ends this replica and starts it again at the same address.
    pub(super) fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Ends this replica as an init system does.
    fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal("TERM");
            let (well, output) = process.finish(WITHIN);
            assert!(well, "the gate ends badly:\n{}", output.join("\n"));
        }
    }

    fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let mut process = Process::start("the gate", command.args(["run", "--config"]).arg(&self.config));
        // In either order: it listens before it has keys, and may have them first all the same.
        let (listens, keyed) = (Cell::new(false), Cell::new(false));
        process.await_line(WITHIN, |line| {
            listens.set(listens.get() || line.contains(&self.address.text));
            keyed.set(keyed.get() || line.contains("keys fetched"));
            (listens.get() && keyed.get()).then_some(())
        });
        TcpStream::connect_timeout(&self.address.socket_address, WITHIN).unwrap();
        self.process = Some(process);
    }

    /// Ends this replica; gives its records.
    pub(super) fn records(&mut self) -> Vec<Value> {
        self.stop();
        let text = tail(&self.audit);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn server(resource: &str, upstream: &str, issuer: &str, hosts: &[String; 2]) -> Value {
    let path = resource.strip_prefix("http://gate.test").unwrap();
    json!({
        "name": path.split('/').nth(1),
        "path": path,
        "resource": resource,
        "hosts": hosts,
        "issuers": [issuer],
        "upstream": {"url": upstream},
        "tools": {"rows": {
            "demo.echo": {"scopes": [SCOPE]},
            "echo": {"scopes": [SCOPE]},
            "trigger-long-running-operation": {"scopes": [SCOPE]},
        }},
        "policy": {"files": ["policy.rego"]},
        "rate": {"per_second": 1_000_000, "burst": 1_000_000},
    })
}

/// Runs a command of the gate with a configuration.
fn portcullis(order: &[&str], config: &std::path::Path) {
    let done = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(order)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{order:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

const WITHIN: Duration = Duration::from_secs(60);
