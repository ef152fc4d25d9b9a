//! `portcullis policy` as an author meets it: tests, queries, explanations, and what another policy would have decided.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use portcullis_fixtures::policy;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with the sample policy and its data.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        (policy::REQUEST_FILE, policy::REQUEST_REGO),
        (policy::RESPONSE_FILE, policy::RESPONSE_REGO),
        (policy::DATA_FILE, &policy::sample_data(policy::CASES_ISSUER)),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("policy")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// What a command says, and its exit status.
#[track_caller]
fn said(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(folder, arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[track_caller]
fn told(folder: &Path, arguments: &[&str], exit: i32) -> Value {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(exit), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const TESTS: &str = "package crm_test

import data.portcullis.request

test_nobody if not request.visible with input as {}

test_denied if request.decision.allow == false with input as {\"request\": {\"method\": \"tools/call\"}}
";

#[test]
fn tests_of_a_policy_are_run_and_a_failing_one_is_exit_5() {
    let folder = folder();
    fs::write(folder.path().join("crm_test.rego"), TESTS).unwrap();
    let report = told(folder.path(), &["test", ".", "--format", "json", "--coverage"], 0);
    assert_eq!((&report["passed"], &report["failed"]), (&json!(2), &json!(0)));
    let files = report["coverage"]["files"].as_array().unwrap();
    assert!(
        files
            .iter()
            .any(|file| !file["not_covered"].as_array().unwrap().is_empty())
    );
    let (exit, text) = said(folder.path(), &["test", ".", "--threshold", "99"]);
    assert_eq!(exit, Some(5), "{text}");
    assert!(
        text.contains("less than 99 %") && text.contains("not reached: "),
        "{text}"
    );
    // A test that fails, and one that cannot be evaluated.
    let more = format!("{TESTS}\ntest_wrong if request.visible with input as {{}}\n\ntest_case[\"<&>\"] := false\n");
    fs::write(folder.path().join("crm_test.rego"), more).unwrap();
    let (exit, text) = said(folder.path(), &["test", "."]);
    assert_eq!(exit, Some(5), "{text}");
    assert!(text.contains("FAILED   data.crm_test.test_wrong"), "{text}");
    assert!(text.contains("2 passed, 2 failed, 0 skipped"), "{text}");
    let (exit, text) = said(folder.path(), &["test", ".", "--format", "junit"]);
    assert_eq!(exit, Some(5), "{text}");
    assert!(
        text.contains("failures=\"2\"") && text.contains("&lt;&amp;&gt;"),
        "{text}"
    );
    // Nothing that is run can fail: so that nothing is run is a failure.
    let (exit, text) = said(folder.path(), &["test", ".", "--run", "test_nowhere"]);
    assert_eq!(exit, Some(5), "{text}");
    assert!(text.contains("no test was found"), "{text}");
    fs::write(folder.path().join("crm_test.rego"), "package crm_test\n\ntest_x if {").unwrap();
    let (exit, text) = said(folder.path(), &["test", "."]);
    assert_eq!(exit, Some(3), "{text}");
    assert!(text.contains("crm_test.rego:3:"), "{text}");
}

#[test]
fn a_query_is_answered_in_the_form_of_opa() {
    let folder = folder();
    fs::write(folder.path().join("input.json"), r#"{"request": {"method": "ping"}}"#).unwrap();
    let query = ["eval", "data.portcullis.request.decision.allow", "."];
    let answer = told(folder.path(), &[&query[..], &["--input", "input.json"]].concat(), 0);
    assert!(answer["result"][0]["expressions"][0]["value"].is_boolean(), "{answer}");
    let undefined = told(folder.path(), &["eval", "data.nowhere", ".", "--fail"], 5);
    assert_eq!(undefined, json!({}));
    let (exit, text) = said(folder.path(), &["eval", "data.portcullis.", "."]);
    assert_eq!(exit, Some(3), "{text}");
    let (exit, text) = said(folder.path(), &["eval", "true", "nowhere.rego"]);
    assert_eq!(exit, Some(3), "{text}");
    assert!(text.contains("`nowhere.rego` cannot be read"), "{text}");
}

/// The cases of the sample policy as recorded decisions.
fn recorded() -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(policy::SAMPLE_CASES).unwrap();
    let line = |case: &Value| json!({"input": case["input"], "result": {"allow": case["allow"], "rule": case["rule"]}});
    cases.iter().map(line).collect()
}

fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

#[test]
fn each_condition_of_a_decision_is_explained() {
    let folder = folder();
    let cases = recorded();
    let denied = cases
        .iter()
        .find(|case| case["result"]["rule"] == "account-not-assigned")
        .unwrap();
    fs::write(folder.path().join("input.json"), denied["input"].to_string()).unwrap();
    let (exit, text) = said(folder.path(), &["explain", ".", "--input", "input.json"]);
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.starts_with("deny, by rule `account-not-assigned`"), "{text}");
    assert!(
        text.contains("✗") && text.contains("✓") && text.contains("request.rego:"),
        "{text}"
    );
    let explained = told(
        folder.path(),
        &["explain", ".", "--input", "input.json", "--format", "json"],
        0,
    );
    assert_eq!(explained["decision"]["rule"], "account-not-assigned");
    assert!(!explained["rules"].as_array().unwrap().is_empty());
    fs::write(folder.path().join("input.json"), "{\"a\": 1, \"a\": 2}").unwrap();
    let (exit, text) = said(folder.path(), &["explain", ".", "--input", "input.json"]);
    assert_eq!(exit, Some(3), "{text}");
}

#[test]
fn recorded_decisions_are_replayed_and_flips_are_exit_8() {
    let folder = folder();
    let cases = recorded();
    fs::write(folder.path().join("log.ndjson"), lines(&cases)).unwrap();
    let same = told(
        folder.path(),
        &["replay", "--inputs", "log.ndjson", "--against", ".", "--format", "json"],
        0,
    );
    assert_eq!((&same["judged"], &same["changed"]), (&json!(cases.len()), &json!(0)));
    // The same policy, but that accounts are not looked at any more.
    let changed = tempfile::tempdir().unwrap();
    for entry in ["response.rego", "data.json"] {
        fs::copy(folder.path().join(entry), changed.path().join(entry)).unwrap();
    }
    let deny = "package portcullis.request\n\ndecision := {\"allow\": false, \"rule\": \"closed\", \"reason\": \"\"}\n";
    fs::write(changed.path().join("request.rego"), deny).unwrap();
    let path = changed.path().to_str().unwrap();
    let against = [
        "replay",
        "--inputs",
        "log.ndjson",
        "--against",
        path,
        "--format",
        "json",
    ];
    let flips = told(folder.path(), &against, 8);
    let allowed = cases.iter().filter(|case| case["result"]["allow"] == true).count();
    assert_eq!(flips["changed"], json!(allowed));
    assert_eq!(flips["other_rule"], json!(cases.len() - allowed));
    assert_eq!(flips["flips"][0]["after"], json!({"allow": false, "rule": "closed"}));
    let (exit, text) = said(folder.path(), &["diff", ".", path, "--corpus", "log.ndjson"]);
    assert_eq!(exit, Some(8), "{text}");
    assert!(text.contains("by tool:") && text.contains("by subject:"), "{text}");
    let (exit, text) = said(folder.path(), &["diff", ".", ".", "--corpus", "log.ndjson"]);
    assert_eq!(exit, Some(0), "{text}");
    // What is no recorded decision is told with its line.
    fs::write(folder.path().join("log.ndjson"), "{\"input\": {}}\n").unwrap();
    let (exit, text) = said(folder.path(), &["replay", "--inputs", "log.ndjson", "--against", "."]);
    assert_eq!(exit, Some(3), "{text}");
    assert!(text.contains("`log.ndjson` line 1: neither"), "{text}");
}

#[test]
fn a_thousand_decisions_are_replayed_at_once() {
    let folder = folder();
    let cases: Vec<Value> = recorded().into_iter().cycle().take(1_000).collect();
    fs::write(folder.path().join("log.ndjson"), lines(&cases)).unwrap();
    let (exit, text) = said(folder.path(), &["replay", "--inputs", "log.ndjson", "--against", "."]);
    assert_eq!(exit, Some(0), "{text}");
    // The time is told and not judged: this machine is shared.
    assert!(text.contains("1000 judged in "), "{text}");
}

#[test]
fn what_a_decision_costs_is_measured() {
    let folder = folder();
    fs::write(folder.path().join("input.json"), r#"{"request": {"method": "ping"}}"#).unwrap();
    let arguments = [
        "bench",
        ".",
        "--input",
        "input.json",
        "--seconds",
        "1",
        "--format",
        "json",
    ];
    let measured = told(folder.path(), &arguments, 0);
    assert!(measured["decisions"].as_u64().unwrap() > 10, "{measured}");
}
