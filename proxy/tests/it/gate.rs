//! A gate under test: the built binary before a demo MCP server, with tokens of a dev issuer, all on loopback.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_fixtures::calls::Call;
use portcullis_fixtures::http1::{Connection, Response};
use portcullis_fixtures::issuer::{Issuer, IssuerSettings};
use portcullis_fixtures::mcp::{Kind, McpServer, McpSettings};
use portcullis_fixtures::persona::Persona;
use portcullis_fixtures::policy;
use serde_json::Value;
use tempfile::TempDir;

/// The authority that clients ask for.
pub(crate) const HOST: &str = "gate.test";
/// The endpoint of the demo CRM.
pub(crate) const PATH: &str = "/crm/mcp";
/// Its resource, the audience of tokens.
pub(crate) const RESOURCE: &str = "http://gate.test/crm/mcp";
/// The one web page that may call.
pub(crate) const ORIGIN: &str = "https://page.test";
/// The header that the gate shows to the upstream.
pub(crate) const CREDENTIAL: &str = "Bearer upstream-secret";
/// The configuration's file.
pub(crate) const CONFIG: &str = "gate.yaml";
/// The file of the request's policy.
pub(crate) const REQUEST_REGO: &str = "request.rego";

/// The file of the gate's log.
const LOG: &str = "gate.log";
/// The folder of the records.
const AUDIT: &str = "audit";

/// A running gate with its surroundings; dropping it ends them.
pub(crate) struct Gate {
    pub(crate) issuer: Issuer,
    pub(crate) upstream: McpServer,
    process: Process,
    folder: TempDir,
}

/// The process of a gate.
struct Process {
    child: Child,
    address: SocketAddr,
    output: BufReader<ChildStdout>,
}

impl Gate {
    /// Starts a gate with these further lines of `limits`.
    pub(crate) fn start(limits: &str) -> Self {
        Self::start_with("127.0.0.1:0", "", limits)
    }

    /// Starts a gate without a rate that load could exceed.
    pub(crate) fn start_for_load() -> Self {
        Self::start_with("127.0.0.1:0", "    rate: {per_second: 1000000, burst: 1000000}", "")
    }

    /// Starts a gate with these further lines of its listener, its server and its `limits`.
    pub(crate) fn start_with(listener: &str, server: &str, limits: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, listener, server, limits)
    }

    /// The same in a folder that holds files already.
    pub(crate) fn start_in(folder: TempDir, listener: &str, server: &str, limits: &str) -> Self {
        let text =
            |issuer: &Issuer, upstream: &McpServer| config(issuer.url(), &upstream.url(), listener, server, limits);
        Self::assemble(folder, text, true)
    }

    /// Starts a gate with the configuration that `change` makes of the usual one.
    pub(crate) fn start_changed(change: impl FnOnce(&Issuer, String) -> String) -> Self {
        Self::start_changed_in(tempfile::tempdir().unwrap(), change)
    }

    /// The same in a folder that holds files already.
    pub(crate) fn start_changed_in(folder: TempDir, change: impl FnOnce(&Issuer, String) -> String) -> Self {
        let text = |issuer: &Issuer, upstream: &McpServer| {
            change(issuer, config(issuer.url(), &upstream.url(), "127.0.0.1:0", "", ""))
        };
        Self::assemble(folder, text, true)
    }

    /// Starts a gate whose issuer `prepare` has made useless, with these further lines of `limits`: it has no keys.
    pub(crate) fn start_keyless(limits: &str, prepare: impl FnOnce(&Issuer)) -> Self {
        let text = |issuer: &Issuer, upstream: &McpServer| {
            prepare(issuer);
            config(issuer.url(), &upstream.url(), "127.0.0.1:0", "", limits)
        };
        Self::assemble(tempfile::tempdir().unwrap(), text, false)
    }

    /// Starts the surroundings, writes the files and starts the gate; `keyed` waits for its issuer's keys.
    fn assemble(folder: TempDir, text: impl FnOnce(&Issuer, &McpServer) -> String, keyed: bool) -> Self {
        let issuer = Issuer::start(IssuerSettings::default()).unwrap();
        let upstream = McpServer::start(McpSettings::new(Kind::Crm)).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(REQUEST_REGO, policy::REQUEST_REGO);
        write("response.rego", policy::RESPONSE_REGO);
        write("data.json", &policy::sample_data(issuer.url()));
        write("tools.json", policy::CRM_TOOLS);
        write("credential.txt", &format!("{CREDENTIAL}\n"));
        write(CONFIG, &text(&issuer, &upstream));
        make_keys(&folder.path().join(CONFIG));
        let process = Process::start(folder.path(), keyed);
        Self {
            issuer,
            upstream,
            process,
            folder,
        }
    }

    /// Where the gate listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// The next line that the gate prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.process.output.read_line(&mut line).unwrap();
        line
    }

    /// Where the gate says that operators ask; to be called once, for a gate with an admin listener.
    pub(crate) fn admin(&mut self) -> SocketAddr {
        let line = self.line();
        let address = line.trim().strip_prefix("admin http://").map(str::parse);
        address.unwrap_or_else(|| panic!("the gate says `{line}`")).unwrap()
    }

    /// Where a further listener of the gate is; to be called once for each.
    pub(crate) fn next_address(&mut self) -> SocketAddr {
        let line = self.line();
        let address = line.trim().rsplit("//").next().and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("the gate says `{line}`"))
    }

    /// KiB of memory that the gate's process holds now.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Descriptors that the gate's process holds now, each connection one of them.
    pub(crate) fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.child.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// A new connection to the gate.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.process.address).unwrap()
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
        std::fs::read_to_string(self.path(LOG)).unwrap()
    }

    /// The lines logged so far that have this message.
    pub(crate) fn logged(&self, message: &str) -> Vec<Value> {
        let log = self.log();
        // The last line may still be under way.
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// A file of the gate's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Tells the gate to end, as an init system does.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends the signal of that name.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.process.child, name);
    }

    /// Ends the gate without a warning, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    /// Starts the gate again after its end, on another port.
    pub(crate) fn restart(&mut self) {
        self.process = Process::start(self.folder.path(), true);
    }

    /// Waits for the end of the gate.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.child.wait().unwrap()
    }

    /// Waits for the end of the gate and gives what it printed after its address.
    pub(crate) fn printed(&mut self) -> String {
        let mut rest = String::new();
        self.process.output.read_to_string(&mut rest).unwrap();
        rest
    }

    /// The records written so far; the log verifies.
    pub(crate) fn tail(&self) -> Vec<Value> {
        let text = tail(&self.path(AUDIT));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for the end of the gate and gives the records it left, one JSON object a line.
    pub(crate) fn records(mut self) -> (ExitStatus, String) {
        let status = self.wait();
        (status, tail(&self.path(AUDIT)))
    }
}

impl Process {
    fn start(folder: &Path, keyed: bool) -> Self {
        let log = folder.join(LOG);
        let before = fetches(&log);
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "--workers", "2", "--log", "debug", "--config"])
            .arg(folder.join(CONFIG))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            output,
        };
        let mut line = String::new();
        process.output.read_line(&mut line).unwrap();
        let address = line.trim().rsplit("//").next().and_then(|address| address.parse().ok());
        process.address = match address {
            Some(address) => address,
            None => panic!("the gate says `{line}`: {}", std::fs::read_to_string(&log).unwrap()),
        };
        // It listens before it has keys, and answers 503 then.
        if keyed {
            until(|| before < fetches(&log));
        }
        process
    }
}

/// How often the gate has fetched its issuer's keys.
fn fetches(log: &Path) -> usize {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    log.matches("\"keys fetched\"").count()
}

impl Drop for Gate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the gate's log:\n{}", self.log());
            let (captured, open) = (self.upstream.capture().count(), self.upstream.answers_open());
            eprintln!("the upstream saw {captured} requests, {open} answers are open; the records:");
            for record in tail(&self.path(AUDIT)).lines() {
                eprintln!("{record}");
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; either way nothing of it is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the gate's own keys, those that are missing, where this configuration names them.
pub(crate) fn make_keys(config: &Path) {
    let made = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["keys", "init", "-c"])
        .arg(config)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The keys of one purpose in a file of the store, oldest first; the present one is the last.
pub(crate) fn stored_keys(file: &Path) -> Vec<(String, Vec<u8>)> {
    let document: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let text = |key: &Value, member: &str| key[member].as_str().unwrap().to_owned();
    let keys = document["keys"].as_array().unwrap().iter();
    keys.map(|key| (text(key, "id"), URL_SAFE_NO_PAD.decode(text(key, "secret")).unwrap()))
        .collect()
}

/// Sends a process the signal of that name.
pub(crate) fn signal(process: &Child, name: &str) {
    let pid = process.id().to_string();
    let killed = Command::new("sh").args(["-c", "kill -$0 $1", name, &pid]).status();
    assert!(killed.unwrap().success());
}

/// Waits for what another thread or process brings about.
#[track_caller]
pub(crate) fn until(reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it did not come about");
        std::thread::yield_now();
    }
}

/// The ids of the records that `wanted` picks; each has one.
pub(crate) fn ids(records: &[Value], wanted: impl Fn(&Value) -> bool) -> HashSet<String> {
    let mut ids = HashSet::new();
    for record in records.iter().filter(|record| wanted(record)) {
        let id = record["record_id"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "two records of one kind have one id: {record}");
    }
    ids
}

/// Whether a record allows a request.
pub(crate) fn is_allow(record: &Value) -> bool {
    record["phase"] == "request" && record["decision"] == "allow"
}

/// Whether a record ends what an allow began.
pub(crate) fn is_end(record: &Value) -> bool {
    record["phase"] == "response" || record["phase"] == "close"
}

/// What `audit tail` prints of a log that must verify.
pub(crate) fn tail(directory: &Path) -> String {
    let tail = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["audit", "tail"])
        .arg(directory)
        .output()
        .unwrap();
    assert!(tail.status.success(), "{}", String::from_utf8_lossy(&tail.stderr));
    String::from_utf8(tail.stdout).unwrap()
}

fn config(issuer: &str, upstream: &str, listener: &str, server: &str, limits: &str) -> String {
    format!(
        "listen:
  - address: {listener}
audit:
  directory: {AUDIT}
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
      files: [{REQUEST_REGO}, response.rego]
      data: [data.json]
{server}
limits:
  # Wall time, and the machine that tests is busy: what takes too long is another test's matter.
  policy_deadline: 2s
  audit_deadline: 5s
{limits}
"
    )
}

/// What an upstream of a test answers to the gate's own listing of its tools: that it speaks 2026-07-28 and has none.
/// `None` for a client's request.
pub(crate) fn own_listing(agent: &str, body: &str) -> Option<String> {
    if !agent.starts_with("portcullis-tools/") {
        return None;
    }
    let request: Value = serde_json::from_str(body).ok()?;
    let result = match request["method"].as_str()? {
        "server/discover" => serde_json::json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}),
        _ => serde_json::json!({"tools": []}),
    };
    let mut result = result;
    result["resultType"] = "complete".into();
    result["ttlMs"] = 0.into();
    result["cacheScope"] = "private".into();
    Some(serde_json::json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string())
}

/// The agent that a whole request over HTTP/1.1 names, and its body.
pub(crate) fn agent_and_body(request: &str) -> (&str, &str) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
    let agent = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("user-agent").then(|| value.trim())
    });
    (agent.unwrap_or_default(), body)
}
