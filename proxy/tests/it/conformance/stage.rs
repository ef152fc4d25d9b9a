//! A gate before one upstream of the conformance suite, and the shim that brings the token which the suite does not know.
//!
//! Owns the gate's configuration: every tool, prompt and resource that the upstream lists has a row, and the policy allows
//! everything. Host and Origin reach the gate as the suite sent them.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use portcullis_fixtures::calls::{Call, MODERN_VERSION};
use portcullis_fixtures::http1::Connection;
use portcullis_fixtures::issuer::{Issuer, IssuerSettings};
use portcullis_fixtures::persona;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::gate::make_keys;
use crate::interop::install::Parts;
use crate::interop::process::Process;
use crate::interop::stage::{Address, ready};

const PATH: &str = "/suite/mcp";
const SCOPE: &str = "repo";
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Allows everything: what differs is the gate's own doing.
const REQUEST_REGO: &str = r#"package portcullis.request

default visible := true

decision := {"allow": true, "rule": "suite", "reason": "the suite may call everything", "obligations": {}}
"#;
const RESPONSE_REGO: &str = r#"package portcullis.response

decision := {"allow": true, "rule": "suite", "reason": "the suite may see everything", "obligations": {}}
"#;

/// Everything running; ends with the value.
pub(crate) struct Stage {
    shim: String,
    address: Address,
    token: String,
    _issuer: Issuer,
    _running: [Process; 2],
    _folder: TempDir,
}

impl Stage {
    /// Starts a gate before the upstream at `url` and waits until it answers.
    pub(crate) fn start(parts: &Parts, url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::start(IssuerSettings::default()).unwrap();
        let address = Address::reserve();
        let resource = format!("http://{}{PATH}", address.text);
        let token = issuer.mint(&persona::ALICE, &resource);
        let mut shim = Process::start("the shim", &mut parts.node(&["shim.mjs"]));
        shim.say(&json!({ "target": address.text, "token": token }).to_string());
        let shim_url = ready(&mut shim).replace("127.0.0.1", "localhost");

        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("request.rego", REQUEST_REGO);
        write("response.rego", RESPONSE_REGO);
        write("data.json", "{}");
        let host = shim_url.strip_prefix("http://").unwrap();
        let server = json!({
            "name": "suite",
            "path": PATH,
            "resource": resource,
            "hosts": [host],
            "origins": [shim_url],
            "issuers": [issuer.url()],
            "upstream": {"url": url},
            "tools": table("tools", &listed(url, "tools/list", "/tools", "name")),
            "prompts": table("prompts", &listed(url, "prompts/list", "/prompts", "name")),
            "resources": table("resources", &["test://*".to_owned()]),
            "policy": {"files": ["request.rego", "response.rego"], "data": ["data.json"]},
            "rate": {"per_second": 100_000, "burst": 100_000},
        });
        let config = json!({
            "listen": [{"address": address.text}],
            "audit": {"directory": "audit"},
            "issuers": [{"issuer": issuer.url(), "danger_allow_private_addresses": true}],
            "servers": [server],
            "limits": {"policy_deadline": "2s", "audit_deadline": "5s"},
        });
        let file = folder.path().join("portcullis.yaml");
        fs::write(&file, config.to_string()).unwrap();
        make_keys(&file);
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let mut gate = Process::start("the gate", command.arg("run").arg("-c").arg(&file));
        let wanted = address.text.clone();
        gate.await_line(READY_WITHIN, |line| line.contains(&wanted).then_some(()));
        TcpStream::connect_timeout(&address.socket_address, READY_WITHIN).unwrap();
        let stage = Self {
            shim: shim_url,
            address,
            token,
            _issuer: issuer,
            _running: [gate, shim],
            _folder: folder,
        };
        stage.await_answer();
        stage
    }

    /// Where the suite calls: the shim, which adds the token.
    pub(crate) fn url(&self) -> String {
        format!("{}{PATH}", self.shim)
    }

    /// Where a client calls that has a token of its own.
    pub(crate) fn gate_url(&self) -> String {
        format!("http://{}{PATH}", self.address.text)
    }

    /// The token of the suite.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// It listens before it has keys and the upstream's tools, and answers 503 then.
    fn await_answer(&self) {
        let arguments = "{}";
        let call = Call::tools_call(
            portcullis_fixtures::calls::Era::Modern,
            1,
            "test_simple_text",
            arguments,
        );
        let bytes = call.bearer(&self.token).to_http(&self.address.text, PATH);
        crate::gate::until(|| {
            let mut connection = Connection::open(self.address.socket_address).unwrap();
            connection.exchange(&bytes).unwrap().status != 503
        });
    }
}

/// A table with a row for each name. What has none goes to the policy and on to the upstream, whose own word about names
/// that it does not know is what is compared.
fn table(kind: &str, names: &[String]) -> Value {
    let row = |name: &String| (name.clone(), json!({ "scopes": [SCOPE], "class": "read" }));
    let mut rows: Map<String, Value> = names.iter().map(row).collect();
    if rows.is_empty() {
        // A table without a row is refused: a server whose every call is denied is a mistake.
        rows.extend([row(&"none".to_owned())]);
    }
    json!({ "rows": rows, format!("danger_unmapped_{kind}"): true })
}

/// What the upstream lists, by one member of each.
fn listed(url: &str, method: &str, pointer: &str, member: &str) -> Vec<String> {
    let authority = url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "_meta": meta } });
    let call = Call::post(body.to_string())
        .header("mcp-protocol-version", MODERN_VERSION)
        .header("mcp-method", method);
    let mut connection = Connection::open(authority.parse().unwrap()).unwrap();
    let text = connection.exchange(&call.to_http(authority, "/mcp")).unwrap().text();
    // A body, or the one message of a stream.
    let message = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let message = message
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .next_back()
        .unwrap_or_default();
    // A server of the legacy era does not list without a session: what it has goes to the policy without a row.
    let entries = message["result"].pointer(pointer).and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .map(|entry| entry[member].as_str().unwrap().to_owned())
        .collect()
}
