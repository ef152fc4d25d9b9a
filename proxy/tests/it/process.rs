//! The binary as an operator meets it: exit statuses, what it prints, reload.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};

use portcullis_fixtures::issuer::{Issuer, IssuerSettings};
use serde_json::Value;
use tempfile::TempDir;

use crate::gate::make_keys;

/// A policy that refuses everything.
const POLICY: &str = r#"package portcullis

request.decision := {"allow": false, "rule": "none", "reason": "nothing is allowed", "obligations": {}}

response.decision := {"allow": false, "rule": "none", "reason": "nothing is allowed", "obligations": {}}
"#;

/// A folder with a configuration for `issuer` and `upstream`.
fn folder(issuer: &str, address: &str, upstream: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "listen:
  - address: {address}
audit:
  directory: audit
issuers:
  - issuer: {issuer}
servers:
  - name: crm
    path: /crm/mcp
    resource: http://gate.test/crm/mcp
    issuers: [{issuer}]
    upstream: {{url: \"{upstream}\"}}
    tools: {{rows: {{crm.read: {{scopes: [\"crm:read\"]}}}}}}
    policy: {{files: [policy.rego]}}
"
    );
    fs::write(folder.path().join("gate.yaml"), config).unwrap();
    fs::write(folder.path().join("policy.rego"), POLICY).unwrap();
    make_keys(&folder.path().join("gate.yaml"));
    folder
}

fn portcullis(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[track_caller]
fn check(arguments: &[&str], folder: &Path, status: i32, stderr: &str) {
    let output = portcullis(arguments, folder);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
    assert!(text.contains(stderr), "{arguments:?}: {text}");
}

#[test]
fn the_exit_status_tells_whose_fault_it_is() {
    let good = folder("https://login.example.test", "127.0.0.1:0", "http://127.0.0.1:9/mcp");
    check(&["check", "-c", "gate.yaml"], good.path(), 0, "");
    check(&["version"], good.path(), 0, "");
    check(&["--help"], good.path(), 0, "");
    check(&["chekc"], good.path(), 2, "chekc");
    check(&["check"], good.path(), 2, "--config");
    check(&["check", "-c", "absent.yaml"], good.path(), 3, "E0201");
    check(&["run", "-c", "absent.yaml"], good.path(), 3, "E0201");
    check(&["audit", "tail", "absent"], good.path(), 3, "absent");
    let lost = folder(
        "https://login.example.test",
        "127.0.0.1:0",
        "http://upstream.invalid/mcp",
    );
    check(&["check", "-c", "gate.yaml"], lost.path(), 0, "");
    check(
        &["run", "-c", "gate.yaml"],
        lost.path(),
        69,
        "E0408 upstream_unresolved",
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let late = folder("http://127.0.0.1:9", &address, "http://127.0.0.1:9/mcp");
    check(&["run", "-c", "gate.yaml"], late.path(), 69, &address);
}

#[test]
fn a_check_tells_people_where_and_what() {
    let folder = folder("https://login.example.test", "127.0.0.1:0", "http://127.0.0.1:9/mcp");
    let config = folder.path().join("gate.yaml");
    let right = fs::read_to_string(&config).unwrap();
    let check = |status: i32, told: &str| {
        let output = portcullis(&["check", "-c", "gate.yaml"], folder.path());
        assert_eq!(String::from_utf8_lossy(&output.stderr), told);
        assert_eq!(output.status.code(), Some(status));
        let praise = if status == 0 {
            "note: a revoked token of `https://login.example.test` still works for up to 24h and the leeway of 1m: \
             until it expires (`revocation: none`)\nok: 1 server, 1 issuer\n"
        } else {
            ""
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout), praise);
    };
    check(0, "");
    fs::write(&config, right.replacen("    issuers: [", "    isuers: [", 1)).unwrap();
    check(
        3,
        "error[E0101 unknown_key]: unknown key `isuers`
  --> gate.yaml:11:5
    |
 11 |     isuers: [https://login.example.test]
    |     ^^^^^^
  = nearest: `issuers`
  = help: keys here: `name`, `title`, `tenant`, `path`, `resource`, `audiences`, `issuer_audiences`, `hosts`, `origins`, `issuers`, \
         `upstream`, `tools`, `prompts`, `resources`, `policy`, `tools_changed`, `tools_refresh`, `query_names`, \
         `danger_shared_secret`, `deny`, `rate`, `dpop`, `machine_identities`

1 fault; nothing was started or changed
",
    );
    fs::write(&config, &right).unwrap();
    fs::write(
        folder.path().join("policy.rego"),
        "package portcullis\n\nrequest.decision := {1 2}\n",
    )
    .unwrap();
    check(
        3,
        "error[E0501 policy_refused]: expecting `}` while parsing set
  --> policy.rego:3:24
   |
 3 | request.decision := {1 2}
   |                        ^

1 fault; nothing was started or changed
",
    );
}

#[test]
fn a_check_answers_programs_in_json() {
    let folder = folder("https://login.example.test", "127.0.0.1:0", "http://127.0.0.1:9/mcp");
    let answer = || -> Value {
        let output = portcullis(&["check", "-c", "gate.yaml", "--format", "json"], folder.path());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(answer()["ok"], true);
    let config = folder.path().join("gate.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen("audit:", "audits:", 1)).unwrap();
    let refused = answer();
    assert_eq!(refused["ok"], false);
    let fault = &refused["diagnostics"][0];
    assert_eq!(
        (&fault["code"], &fault["line"], &fault["nearest"]),
        (&"E0101".into(), &3.into(), &"audit".into())
    );
}

#[test]
fn a_warning_is_told_and_refuses_only_when_it_is_denied() {
    let folder = folder("https://login.example.test", "127.0.0.1:0", "http://127.0.0.1:9/mcp");
    let config = folder.path().join("gate.yaml");
    let one = fs::read_to_string(&config).unwrap();
    let two = one
        .replacen("servers:", "  - issuer: https://other.example.test\nservers:", 1)
        .replacen(
            "[https://login.example.test]",
            "[https://login.example.test, https://other.example.test]",
            1,
        );
    let check = |text: &str, denied: bool, status: i32, warnings: usize| {
        fs::write(&config, text).unwrap();
        let mut arguments = vec!["check", "-c", "gate.yaml"];
        arguments.extend(denied.then_some("--deny-warnings"));
        let output = portcullis(&arguments, folder.path());
        let (told, praise) = [&output.stderr, &output.stdout]
            .map(|bytes| String::from_utf8_lossy(bytes))
            .into();
        assert_eq!(output.status.code(), Some(status), "{told}");
        assert_eq!(
            told.matches("warning[W0701 issuer_unread]: server `").count(),
            warnings,
            "{told}"
        );
        assert_eq!(told.contains("--deny-warnings"), status == 3, "{told}");
        assert_eq!(praise.contains("ok: 1 server, "), status == 0, "{praise}");
        assert_eq!(praise.contains(", 1 warning"), status == 0 && warnings == 1, "{praise}");
        arguments.extend(["--format", "json"]);
        let output = portcullis(&arguments, folder.path());
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(status));
        assert_eq!(answer["ok"], status == 0);
        assert_eq!(answer["warnings"].as_array().unwrap().len(), warnings);
        if warnings == 1 {
            let warning = &answer["warnings"][0];
            assert_eq!(
                (&warning["code"], &warning["name"]),
                (&"W0701".into(), &"issuer_unread".into())
            );
            assert!(warning["help"].is_string() && warning["line"].is_number(), "{warning}");
        }
    };
    check(&one, false, 0, 0);
    check(&one, true, 0, 0);
    check(&two, false, 0, 1);
    check(&two, true, 3, 1);
}

#[test]
fn the_schema_is_json() {
    let here = tempfile::tempdir().unwrap();
    let schema: Value = serde_json::from_slice(&portcullis(&["config", "schema"], here.path()).stdout).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["servers"].is_object());
}

/// A gate that runs; dropping it ends it.
struct Running {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "-c", "gate.yaml", "--workers", "1"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let log = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, output, log }
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let killed = Command::new("sh")
            .args(["-c", "kill -$0 $1", name, &pid])
            .status()
            .unwrap();
        assert!(killed.success());
    }

    /// Reads the log up to the first line with this message; the last diagnostic before it and the line itself.
    fn logged(&mut self, message: &str) -> (Value, Value) {
        let mut fault = Value::Null;
        for line in self.log.by_ref() {
            let line = line.unwrap();
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            if line["message"] == message {
                return (fault, line);
            }
            if line["code"].is_string() {
                fault = line;
            }
        }
        panic!("the log ended without `{message}`");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_reload_is_whole_or_nothing() {
    const REFUSED: &str = "reload refused, the old configuration stays in force";
    let issuer = Issuer::start(IssuerSettings::default()).unwrap();
    let folder = folder(issuer.url(), "127.0.0.1:0", "http://127.0.0.1:9/mcp");
    let mut gate = Running::start(folder.path());
    let listening = gate.output.next().unwrap().unwrap();
    assert!(listening.starts_with("listening http://127.0.0.1:"), "{listening}");

    let config = folder.path().join("gate.yaml");
    let right = fs::read_to_string(&config).unwrap();
    let mut reload = |file: &str, text: &str, answer: &str| {
        fs::write(folder.path().join(file), text).unwrap();
        gate.signal("HUP");
        gate.logged(answer)
    };
    let (fault, _) = reload("gate.yaml", &right.replacen("servers:", "sevrers:", 1), REFUSED);
    assert_eq!(
        (&fault["code"], &fault["key"], &fault["nearest"]),
        (&"E0101".into(), &"sevrers".into(), &"servers".into())
    );
    assert_eq!(fault["line"], 7);
    let (_, refused) = reload("gate.yaml", &format!("node: other\n{right}"), REFUSED);
    assert_eq!(
        refused["error"],
        "`node` differs from the running gate's: restart it to change that"
    );
    fs::write(&config, &right).unwrap();
    let (fault, _) = reload("policy.rego", &POLICY.replacen("false,", "fal se,", 1), REFUSED);
    assert_eq!((&fault["code"], &fault["line"]), (&"E0501".into(), &3.into()));
    assert!(fault["column"].as_u64() > Some(1), "{fault}");
    let (_, done) = reload("policy.rego", POLICY, "configuration reloaded");
    assert_eq!(done["servers"], 1);
    gate.signal("TERM");
    assert_eq!(gate.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_signal_that_comes_early_is_a_signal_all_the_same() {
    let issuer = Issuer::start(IssuerSettings::default()).unwrap();
    let folder = folder(issuer.url(), "127.0.0.1:0", "http://127.0.0.1:9/mcp");
    for name in ["INT", "QUIT", "TERM", "INT", "QUIT", "TERM"] {
        let mut gate = Running::start(folder.path());
        gate.output.next().unwrap().unwrap();
        gate.signal(name);
        assert_eq!(gate.process.wait().unwrap().code(), Some(0), "{name}");
    }
}
