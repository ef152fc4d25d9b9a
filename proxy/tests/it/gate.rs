//! A gate under test: the built binary before a demo MCP server, with tokens of a dev issuer, all on loopback.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use portcullis_fixtures::calls::Call;
use portcullis_fixtures::http1::{Connection, Response};
use portcullis_fixtures::issuer::{Issuer, IssuerSettings};
use portcullis_fixtures::mcp::{Kind, McpServer, McpSettings};
use portcullis_fixtures::persona::Persona;
use portcullis_fixtures::policy;
use tempfile::TempDir;

/// The authority that clients ask for.
pub(crate) const HOST: &str = "gate.test";
/// The endpoint of the demo CRM.
pub(crate) const PATH: &str = "/crm/mcp";
/// Its resource, the audience of tokens.
pub(crate) const RESOURCE: &str = "http://gate.test/crm/mcp";
/// The one web page that may call.
pub(crate) const ORIGIN: &str = "https://page.test";

/// The file of the gate's log.
const LOG: &str = "gate.log";

/// A running gate with its surroundings; dropping it ends them.
pub(crate) struct Gate {
    pub(crate) issuer: Issuer,
    pub(crate) upstream: McpServer,
    address: SocketAddr,
    process: Child,
    _output: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Gate {
    /// Starts a gate with these further lines of `limits`.
    pub(crate) fn start(limits: &str) -> Self {
        let issuer = Issuer::start(IssuerSettings::default()).unwrap();
        let upstream = McpServer::start(McpSettings::new(Kind::Crm)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("request.rego", policy::REQUEST_REGO);
        write("response.rego", policy::RESPONSE_REGO);
        write("data.json", &policy::sample_data(issuer.url()));
        write("tools.json", policy::CRM_TOOLS);
        write("credential.txt", "Bearer upstream-secret\n");
        write("gate.yaml", &config(issuer.url(), &upstream.url(), limits));
        let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "--workers", "2", "--log", "debug", "--config"])
            .arg(folder.path().join("gate.yaml"))
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join(LOG)).unwrap())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening http://");
        let address = address
            .unwrap_or_else(|| panic!("the gate says `{line}`"))
            .parse()
            .unwrap();
        Self {
            issuer,
            upstream,
            address,
            process,
            _output: output,
            folder,
        }
    }

    /// A new connection to the gate.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address).unwrap()
    }

    /// A token of `persona` for the gate.
    pub(crate) fn token(&self, persona: &Persona) -> String {
        self.issuer.mint(persona, RESOURCE)
    }

    /// Sends one call on a connection of its own.
    pub(crate) fn call(&self, call: &Call) -> Response {
        self.connect().exchange(&call.to_http(HOST, PATH)).unwrap()
    }

    /// What the gate has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).unwrap()
    }

    /// Tells the gate to end, as an init system does.
    pub(crate) fn terminate(&self) {
        let pid = self.process.id().to_string();
        let killed = Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &pid])
            .status()
            .unwrap();
        assert!(killed.success());
    }

    /// Waits for the end of the gate and gives the records it left, one JSON object a line.
    pub(crate) fn records(mut self) -> (ExitStatus, String) {
        let status = self.process.wait().unwrap();
        let directory: PathBuf = self.folder.path().join("audit");
        let tail = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["audit", "tail"])
            .arg(directory)
            .output()
            .unwrap();
        assert!(tail.status.success(), "{}", String::from_utf8_lossy(&tail.stderr));
        (status, String::from_utf8(tail.stdout).unwrap())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It may have ended already; either way nothing of it is left behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(issuer: &str, upstream: &str, limits: &str) -> String {
    format!(
        "listen:
  - address: 127.0.0.1:0
audit:
  directory: audit
issuers:
  - issuer: {issuer}
    danger_allow_private_addresses: true
servers:
  - name: crm
    path: {PATH}
    resource: {RESOURCE}
    origins: [{ORIGIN}]
    issuers: [{issuer}]
    upstream:
      url: {upstream}
      credential: {{header: authorization, value_file: credential.txt}}
    tools:
      file: tools.json
    policy:
      files: [request.rego, response.rego]
      data: [data.json]
limits:
  # Wall time, and the machine that tests is busy: what takes too long is another test's matter.
  policy_deadline: 2s
  audit_deadline: 5s
{limits}
"
    )
}
