//! The demo as a program sees it: its verdict, and what it takes to repeat its steps from outside.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::{Connection, Response};
use serde_json::Value;

use crate::gate::{ids, is_allow, is_end, signal, tail};

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["demo", "--format", "json"]).stdin(Stdio::null());
    command
}

#[test]
fn a_tour_tells_programs_how_it_went() {
    let output = demo().arg("--once").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    assert_eq!(told["ok"], true, "{told}");
    let steps = told["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 24, "{steps:#?}");
    for step in steps {
        let told = ["expected", "got", "name"].map(|member| step[member].as_str().unwrap_or_default());
        assert!(told.iter().all(|text| !text.is_empty()), "{step}");
        assert_eq!(step["ok"], true, "{step}");
        assert_eq!(step.as_object().unwrap().len(), 4, "{step}");
    }
}

/// A demo that stays up; dropping it ends it.
struct Demo {
    process: Child,
    told: Value,
}

impl Demo {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let told = serde_json::from_str(&line).unwrap_or_default();
        let demo = Self { process, told };
        assert!(demo.told.is_object(), "no JSON: {line}");
        demo
    }

    fn text(&self, pointer: &str) -> &str {
        let text = self.told.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{pointer} is not in {}", self.told))
    }

    /// Sends a call to the CRM's endpoint with what the demo printed and nothing else.
    fn call(&self, id: u64, account: &str, persona: &str) -> Response {
        let endpoint = self.text("/servers/crm/endpoint");
        let (authority, path) = endpoint.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let arguments = format!("{{\"account_id\":\"{account}\"}}");
        let call = Call::tools_call(Era::Modern, id, "salesforce.opportunity.read", &arguments)
            .bearer(self.text(&format!("/servers/crm/tokens/{persona}")))
            .to_http(authority, &format!("/{path}"));
        Connection::open(authority.parse().unwrap())
            .unwrap()
            .exchange(&call)
            .unwrap()
    }

    /// The ids of the calls that the CRM says it received.
    fn received(&self) -> Vec<u64> {
        let lines = std::fs::read_to_string(self.text("/captures/crm")).unwrap();
        let bodies = lines.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            serde_json::from_str::<Value>(line["body"].as_str().unwrap()).unwrap()
        });
        bodies.filter_map(|body| body["id"].as_u64()).collect()
    }

    /// Repeats an allowed and a denied call; what the demo names shows both.
    fn check(&self) {
        let allowed = self.call(770_001, "acc-1001", "alice");
        assert_eq!(allowed.status, 200, "{}", allowed.text());
        let denied = self.call(770_002, "acc-2001", "alice");
        assert_eq!(denied.status, 403, "{}", denied.text());
        let received = self.received();
        assert!(received.contains(&770_001), "{received:?}");
        assert!(!received.contains(&770_002), "a denied call went upstream");
        let records = tail(Path::new(self.text("/audit")));
        for (answer, decision) in [(&allowed, "allow"), (&denied, "deny")] {
            let id = answer.header("portcullis-record-id").unwrap();
            let of_id = records.lines().find(|record| record.contains(id)).unwrap();
            assert!(of_id.contains(&format!("\"decision\":\"{decision}\"")), "{of_id}");
        }
        for url in [
            "/issuer",
            "/token_endpoint",
            "/servers/code/endpoint",
            "/servers/everything/endpoint",
        ] {
            assert!(self.text(url).starts_with("http://127.0.0.1:"), "{url}");
        }
        assert!(Path::new(self.text("/config")).is_file());
        assert!(Path::new(self.text("/captures/code")).is_file());
    }

    /// Ends it by that signal; it says that all was well.
    fn end(&mut self, by: &str) {
        signal(&self.process, by);
        let status = self.process.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{by}: {status}");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_demo_that_stays_can_be_repeated_from_outside() {
    let kept = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(demo().arg("--keep").arg(kept.path()));
    demo.check();
    demo.end("INT");
    let records: Vec<Value> = tail(Path::new(demo.text("/audit")))
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(ids(&records, is_allow), ids(&records, is_end), "the log is sealed");
    assert!(!records.iter().any(|record| record["outcome"] == "unknown"));
}

#[test]
fn a_demo_leaves_nothing_behind() {
    let mut demo = Demo::start(&mut demo());
    assert_eq!(demo.call(1, "acc-1001", "alice").status, 200);
    let folder = Path::new(demo.text("/config")).parent().unwrap().to_owned();
    assert!(folder.is_dir());
    demo.end("TERM");
    assert!(!folder.exists(), "{}", folder.display());
}
