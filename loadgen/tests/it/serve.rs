//! `upstream` and `issuer`: the parts of a measurement, as processes of their own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::program::{UNHURRIED, ends_with, number, program, report};

/// A command that serves until its standard input closes.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn start(arguments: &[&str]) -> Self {
        let mut command = program();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("listening ")
            .unwrap_or_else(|| panic!("`{line}`"));
        let url = url.to_owned();
        Self { child, url }
    }

    /// Closes its standard input: it ends by itself, well.
    fn end(mut self) {
        drop(self.child.stdin.take());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn the_upstream_is_called_by_the_load_generator() {
    let upstream = Serving::start(&["upstream", "--answers", "sse"]);
    let load = [
        "run",
        &upstream.url,
        "--rate",
        "100",
        "--duration",
        "1s",
        "--warm-up",
        "0s",
    ];
    let report = report(0, &[load.as_slice(), &UNHURRIED].concat());
    assert_eq!(number(&report, "/measured/outcomes/allowed"), 100.0);
    upstream.end();
}

#[test]
fn the_upstream_opens_to_others_only_when_that_is_meant() {
    let (_, said) = ends_with(3, &["upstream", "--listen", "192.0.2.1:0"]);
    assert!(said.contains("--danger-public"), "{said}");
}

#[test]
fn the_issuer_writes_tokens_for_their_owner_alone_and_a_sample() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (tokens, sample) = (path("tokens.jsonl"), path("sample"));
    let upstream = Serving::start(&["upstream"]);
    let issuer = Serving::start(&[
        "issuer",
        "--tokens",
        &tokens,
        "--subjects",
        "4",
        "--audience",
        "https://gate.example.test/crm/mcp",
        "--sample",
        &sample,
        "--upstream",
        &upstream.url,
    ]);
    assert_eq!(fs::metadata(&tokens).unwrap().permissions().mode() & 0o777, 0o600);
    let lines = fs::read_to_string(&tokens).unwrap();
    assert_eq!(lines.lines().count(), 4);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(first["token"].as_str().unwrap().starts_with("ey"));
    assert_eq!(first["accounts"].as_array().unwrap().len(), 5);
    let config: Value = serde_json::from_str(&fs::read_to_string(path("sample/portcullis.yaml")).unwrap()).unwrap();
    assert_eq!(config["issuers"][0]["issuer"], Value::from(issuer.url.clone()));
    assert_eq!(config["servers"][0]["resource"], "https://gate.example.test/crm/mcp");
    // The tokens are taken by a load as they are.
    let load = [
        "run",
        &upstream.url,
        "--tokens",
        &tokens,
        "--rate",
        "50",
        "--duration",
        "1s",
        "--warm-up",
        "0s",
    ];
    let shares = ["--refused-share", "0"];
    let report = report(0, &[load.as_slice(), &shares, &UNHURRIED].concat());
    assert_eq!(number(&report, "/measured/outcomes/allowed"), 50.0);
    assert_eq!(number(&report, "/load/workload/subjects"), 4.0);
    issuer.end();
    upstream.end();
}
