//! `portcullis check --online`: who cannot be reached, and who serves strangers.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use portcullis_fixtures::issuer::{Issuer, IssuerSettings};
use portcullis_fixtures::mcp::{Kind, McpServer, McpSettings};
use serde_json::Value;
use tempfile::TempDir;

use crate::gate::make_keys;
use crate::upstreams::stub::{Stub, Then, json};

const POLICY: &str = r#"package portcullis

request.decision := {"allow": false, "rule": "none", "reason": "nothing is allowed", "obligations": {}}

response.decision := {"allow": false, "rule": "none", "reason": "nothing is allowed", "obligations": {}}
"#;

fn folder(issuer: &str, upstream: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "listen:
  - address: 127.0.0.1:0
audit:
  directory: audit
issuers:
  - issuer: {issuer}
    danger_allow_private_addresses: false
servers:
  - name: crm
    path: /crm/mcp
    resource: http://gate.test/crm/mcp
    issuers: [{issuer}]
    upstream:
      {upstream}
      credential: {{header: authorization, value_file: credential.txt, label: crm}}
    tools: {{rows: {{crm.read: {{scopes: [\"crm:read\"]}}}}}}
    policy: {{files: [policy.rego]}}
"
    );
    std::fs::write(folder.path().join("gate.yaml"), config).unwrap();
    std::fs::write(folder.path().join("policy.rego"), POLICY).unwrap();
    std::fs::write(folder.path().join("credential.txt"), "Bearer upstream-secret\n").unwrap();
    make_keys(&folder.path().join("gate.yaml"));
    folder
}

fn check(folder: &Path, further: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check", "--online", "-c", "gate.yaml"])
        .args(further)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn issuer() -> Issuer {
    Issuer::start(IssuerSettings::default()).unwrap()
}

#[test]
fn an_upstream_that_serves_strangers_is_warned_of() {
    let issuer = issuer();
    let upstream = McpServer::start(McpSettings::new(Kind::Crm)).unwrap();
    let folder = folder(issuer.url(), &format!("url: {}", upstream.url()));
    let (status, stdout, stderr) = check(folder.path(), &[]);
    assert_eq!(status, 0, "{stdout}{stderr}");
    let warning = format!(
        "warning[W1001 upstream_open]: `{}` serves `server/discover`, `tools/list`, `initialize` without the gate's \
         credential: whoever reaches the upstream of server `crm` goes past the gate\n  --> gate.yaml:14:12\n",
        upstream.url()
    );
    assert!(stderr.starts_with(&warning), "{stderr}");
    assert!(stderr.contains(" 14 |       url: http://127.0.0.1:"), "{stderr}");
    assert!(stdout.contains("the gate can use these keys"), "{stdout}");
    let asked = "  initialize (2025-11-25) without a credential: status 200; served\n";
    assert!(stdout.contains(asked), "{stdout}");
    assert!(stdout.contains("  it takes connections of the gate, "), "{stdout}");
    assert!(stdout.ends_with("ok: 1 server, 1 issuer, 1 warning\n"), "{stdout}");
    // What was opened was closed again; no tool was called; nobody was shown anything.
    assert_eq!(upstream.sessions(), 0);
    for request in upstream.capture().requests() {
        assert!(
            !request.mentions("tools/call") && !request.mentions("upstream-secret"),
            "{request:?}"
        );
        assert!(request.header("authorization").is_none(), "{request:?}");
    }
    let (status, stdout, stderr) = check(folder.path(), &["--deny-warnings"]);
    assert_eq!(status, 3, "{stdout}{stderr}");
    assert!(stderr.ends_with("1 warning, and `--deny-warnings`\n"), "{stderr}");
    let (status, stdout, _) = check(folder.path(), &["--format", "json"]);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((status, &answer["ok"]), (0, &Value::from(true)));
    assert_eq!(answer["warnings"][0]["code"], "W1001");
    let endpoint = &answer["online"]["upstreams"][0];
    assert_eq!(
        (&endpoint["reachable"], &endpoint["error"], &endpoint["url"]),
        (&true.into(), &Value::Null, &upstream.url().into())
    );
    assert_eq!(endpoint["without_credential"][2]["served"], true);
    assert_eq!(answer["online"]["issuers"][0]["ok"], true);
    // Without the word nobody is asked.
    let before = upstream.capture().count();
    let offline = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check", "-c", "gate.yaml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(offline.status.success() && upstream.capture().count() == before);
}

#[test]
fn an_upstream_that_asks_for_a_credential_is_not() {
    let issuer = issuer();
    let refusals = [
        String::from("HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 0\r\n\r\n"),
        String::from("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"),
        // In the body alone, with a status of 200.
        json(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"unauthorized"}}"#),
        String::from("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n"),
    ];
    for refusal in refusals {
        let stub = Stub::answering(refusal.clone());
        let folder = folder(issuer.url(), &format!("url: {}", stub.url()));
        let (status, stdout, stderr) = check(folder.path(), &["--deny-warnings"]);
        assert_eq!((status, &*stderr), (0, ""), "{refusal}: {stdout}");
        assert_eq!(stdout.matches("without a credential: status ").count(), 3, "{stdout}");
        assert_eq!(stdout.matches("; not served\n").count(), 3, "{stdout}");
        for request in stub.requests() {
            let request = request.to_ascii_lowercase();
            assert!(
                !request.contains("authorization") && !request.contains("secret"),
                "{request}"
            );
        }
    }
    // A page for people, or a stream, is served all the same.
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n";
    let stub = Stub::start(move |stream, _, _| {
        stream.write_all(page.as_bytes()).unwrap();
        Then::Close
    });
    let folder = folder(issuer.url(), &format!("url: {}", stub.url()));
    assert_eq!(check(folder.path(), &["--deny-warnings"]).0, 3);
}

#[test]
fn who_cannot_be_reached_is_told_with_the_reason() {
    let issuer = issuer();
    let well = Stub::answering("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
    let [down, plain] = ["http://127.0.0.1:1/mcp", &well.url().replacen("http:", "https:", 1)].map(str::to_owned);
    for (url, reason) in [
        (&down, "the connection was refused"),
        (&plain, "the connection did not come about in time"),
    ] {
        let folder = folder(issuer.url(), &format!("url: {url}"));
        let (status, stdout, stderr) = check(folder.path(), &[]);
        assert_eq!(status, 69, "{stdout}{stderr}");
        let told = format!("upstream {url} of server `crm`\n  it cannot be reached: {reason}");
        assert!(stdout.contains(&told), "{stdout}");
        assert!(!stdout.contains("ok: "), "{stdout}");
        let (status, stdout, _) = check(folder.path(), &["--format", "json"]);
        let answer: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((status, &answer["ok"]), (69, &Value::from(false)));
        assert_eq!(answer["online"]["upstreams"][0]["reachable"], false);
    }
    // One of several endpoints is down; then the issuer is.
    let urls = format!("urls: [{}, \"{down}\"]", well.url());
    assert_eq!(check(folder(issuer.url(), &urls).path(), &[]).0, 69);
    issuer.set_down(true);
    let lost = folder(issuer.url(), &format!("url: {}", well.url()));
    let (status, stdout, stderr) = check(lost.path(), &[]);
    assert!(status == 69 || status == 3, "{status} {stdout}{stderr}");
    drop(issuer);
    let (status, stdout, stderr) = check(lost.path(), &[]);
    assert_eq!(status, 69, "{stdout}{stderr}");
    assert!(stdout.contains("the issuer cannot be reached"), "{stdout}");
    let nowhere = folder("https://login.invalid", "url: http://upstream.invalid/mcp");
    let (status, _, stderr) = check(nowhere.path(), &[]);
    assert_eq!(status, 69, "{stderr}");
    assert!(stderr.contains("E0408 upstream_unresolved"), "{stderr}");
}
