//! `portcullis inspect call`, run as a user does: a verdict for each line, and nothing of an argument.

use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs, thread};

use serde_json::{Value, json};

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["inspect", "call"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = process.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

/// The verdicts on these lines.
#[track_caller]
fn verdicts(arguments: &[&str], input: &[u8]) -> Vec<Value> {
    let output = run(&[arguments, &["--format", "json"]].concat(), input);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn accepted(method: &str, tool: Option<&str>) -> Value {
    json!({"verdict": "accept", "code": null, "reason": null, "method": method, "tool": tool, "prompt": null, "resource_uri": null})
}

fn rejected(code: impl Into<Value>, reason: &str) -> Value {
    json!({"verdict": "reject", "code": code.into(), "reason": reason, "method": null, "tool": null, "prompt": null, "resource_uri": null})
}

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

#[test]
fn each_line_has_its_verdict_and_a_bad_one_stops_nothing() {
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm","arguments":{"secret":"hunter2"}}}"#;
    let modern = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"rm ü",{META}}}}}"#);
    let unknown = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/cull","params":{{{META}}}}}"#);
    let cases = [
        (hex(call), accepted("tools/call", Some("rm"))),
        (hex(call).to_uppercase(), accepted("tools/call", Some("rm"))),
        (hex(&modern), accepted("tools/call", Some("rm ü"))),
        (hex(&unknown), rejected(-32_601, "method_unsupported")),
        ("7b7".to_owned(), rejected(Value::Null, "hex_malformed")),
        ("{}".to_owned(), rejected(Value::Null, "hex_malformed")),
        ("+1".to_owned(), rejected(Value::Null, "hex_malformed")),
        (String::new(), rejected(-32_700, "json_malformed")),
        (hex("[]"), rejected(-32_600, "rpc_invalid")),
        (
            hex(r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}"#),
            rejected(-32_600, "json_ambiguous"),
        ),
        (
            hex(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#),
            rejected(-32_602, "params_invalid"),
        ),
        ("20".repeat((1 << 20) + 1), rejected(41_301, "body_too_large")),
        ("20".repeat((1 << 20) + 9), rejected(41_301, "body_too_large")),
        (
            hex(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
            accepted("ping", None),
        ),
    ];
    let input: String = cases.iter().map(|(line, _)| format!("{line}\n")).collect();
    let seen = verdicts(&["--hex"], input.as_bytes());
    assert_eq!(seen.len(), cases.len());
    for ((line, expected), seen) in cases.iter().zip(&seen) {
        assert_eq!(seen, expected, "{line:.120}");
    }
    let text = format!("{call}\r\n\n{{\n{modern}");
    let seen = verdicts(&[], text.as_bytes());
    let malformed = rejected(-32_700, "json_malformed");
    let expected = [
        accepted("tools/call", Some("rm")),
        malformed.clone(),
        malformed,
        accepted("tools/call", Some("rm ü")),
    ];
    assert_eq!(seen, expected);
    let output = run(&[], text.as_bytes());
    let pretty = String::from_utf8(output.stdout).unwrap();
    assert!(
        pretty.starts_with("accept  tools/call (2025-11-25), tool `rm`\nreject  json_malformed (-32700): "),
        "{pretty}"
    );
    assert!(!pretty.contains("hunter2"), "{pretty}");
}

#[test]
fn the_version_of_a_silent_body_can_be_chosen() {
    let discover = br#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
    assert_eq!(verdicts(&[], discover), [rejected(-32_601, "method_unsupported")]);
    let chosen = verdicts(&["--protocol-version", "2026-07-28"], discover);
    assert_ne!(chosen, [rejected(-32_601, "method_unsupported")]);
    let batch = br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#;
    assert_eq!(verdicts(&[], batch), [rejected(-32_600, "rpc_invalid")]);
    let mut accepted = accepted("", None);
    accepted["method"] = Value::Null;
    assert_eq!(verdicts(&["--protocol-version", "2025-03-26"], batch), [accepted]);
    let output = run(&["--protocol-version", "2024-11-05"], b"");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// The corpora, or `None` after one line that says so. Their absence is a failure where CI sets `CI=true`.
fn corpora(part: &str) -> Option<PathBuf> {
    let root = env::var_os("PORTCULLIS_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    let path = root.join(part);
    if path.exists() {
        return Some(path);
    }
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "corpus {part} is absent");
    writeln!(stdout(), "left out: corpus {part} is absent").unwrap();
    None
}

#[test]
fn bodies_that_real_parsers_disagree_on_are_read_as_their_corpus_expects() {
    let Some(file) = corpora("json/differential.jsonl") else {
        return;
    };
    let cases: Vec<Value> = fs::read_to_string(file)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let input: String = cases
        .iter()
        .map(|case| format!("{}\n", case["hex"].as_str().unwrap()))
        .collect();
    let seen = verdicts(&["--hex"], input.as_bytes());
    assert_eq!(seen.len(), cases.len());
    let mut rejected = 0;
    for (case, seen) in cases.iter().zip(&seen) {
        let id = case["id"].as_str().unwrap();
        rejected += u32::from(seen["verdict"] == "reject");
        match case["expect"].as_str().unwrap() {
            "reject" => {
                assert_eq!(seen["verdict"], "reject", "{id}: {seen}");
                assert!(seen["code"].is_i64() && seen["reason"].is_string(), "{id}: {seen}");
            }
            "accept-or-reject" => {}
            _ => {
                assert_eq!(seen["verdict"], "accept", "{id}: {seen}");
                let body: Vec<u8> = hex_bytes(case["hex"].as_str().unwrap());
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(seen["method"], body["method"], "{id}");
                if body["method"] == "tools/call" {
                    assert_eq!(seen["tool"], body["params"]["name"], "{id}");
                }
            }
        }
    }
    writeln!(stdout(), "inspect call: {} cases, {rejected} rejected", cases.len()).unwrap();
}

fn hex_bytes(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap())
        .collect()
}
