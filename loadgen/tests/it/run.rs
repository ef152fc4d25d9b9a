//! `run`: what its report says, and its exit status.

use std::fs;
use std::time::Duration;

use portcullis_fixtures::mcp::{Answers, Kind, McpServer, McpSettings};
use portcullis_fixtures::scripted::Scripted;
use serde_json::Value;

use crate::program::{UNHURRIED, ends_with, number, report, text};

fn crm(answers: Answers) -> McpServer {
    let mut settings = McpSettings::new(Kind::Crm);
    settings.answers = answers;
    McpServer::start(settings).unwrap()
}

/// The percentile of the response time in a report, in microseconds.
fn percentile(report: &Value, times: &str, percentile: f64) -> Option<f64> {
    let entries = report
        .pointer(&format!("/measured/{times}/percentiles"))
        .unwrap()
        .as_array()
        .unwrap();
    let entry = entries
        .iter()
        .find(|entry| number(entry, "/percentile") == percentile)
        .unwrap();
    entry.pointer("/us").unwrap().as_f64()
}

#[test]
fn a_server_that_stops_for_a_second_is_measured_as_its_callers_felt_it() {
    let server = Scripted::stopping(Duration::from_millis(1_500), Duration::from_secs(1)).unwrap();
    let url = server.url();
    let open = [
        "run",
        &url,
        "--rate",
        "400",
        "--duration",
        "4s",
        "--warm-up",
        "0s",
        "--connections",
        "4",
    ];
    let report = report(0, &[open.as_slice(), &UNHURRIED].concat());
    assert_eq!(text(&report, "/load/model"), "open");
    assert_eq!(
        (number(&report, "/measured/due"), number(&report, "/measured/answered")),
        (1_600.0, 1_600.0)
    );
    let truth = server.response_times_us(400.0);
    for (asked, rank) in [(50.0, 800), (75.0, 1_200), (90.0, 1_440), (95.0, 1_520), (99.0, 1_584)] {
        let (reported, true_us) = (percentile(&report, "response_time", asked).unwrap(), truth[rank - 1]);
        // A thousandth is the histogram's precision; the rest is the way of an answer through a busy machine.
        let range = true_us * 0.999 - 500.0..=true_us * 1.001 + 30_000.0;
        assert!(
            range.contains(&reported),
            "p{asked}: reported {reported} us, the server's notes say {true_us} us"
        );
    }
    let p99 = percentile(&report, "response_time", 99.0).unwrap();
    assert!((900_000.0..1_100_000.0).contains(&p99), "p99 {p99} us");
    assert_eq!(
        percentile(&report, "response_time", 99.9),
        None,
        "1,600 samples cannot tell p99.9"
    );
}

#[test]
fn a_closed_loop_says_that_it_is_not_open_loop() {
    let server = Scripted::stopping(Duration::from_millis(300), Duration::from_secs(1)).unwrap();
    let url = server.url();
    let closed = [
        "run",
        &url,
        "--closed",
        "--duration",
        "2s",
        "--warm-up",
        "0s",
        "--connections",
        "2",
    ];
    let (json, page) = (
        tempfile::NamedTempFile::new().unwrap(),
        tempfile::NamedTempFile::new().unwrap(),
    );
    let files = [
        "--json",
        json.path().to_str().unwrap(),
        "--html",
        page.path().to_str().unwrap(),
        "--quiet",
    ];
    // A closed loop against a server that does nothing saturates the generator itself: either status is right here.
    let output = crate::program::output([closed.as_slice(), files.as_slice()].concat());
    assert!(matches!(output.status.code(), Some(0 | 9)), "{output:?}");
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("NOT open loop"), "{out}");
    assert!(fs::read_to_string(page.path()).unwrap().contains("NOT open loop"));
    let report: Value = serde_json::from_str(&fs::read_to_string(json.path()).unwrap()).unwrap();
    assert_eq!(text(&report, "/load/model"), "closed");
    assert_eq!(report.pointer("/measured/response_time"), Some(&Value::Null));
    assert_eq!(report.pointer("/load/rate"), Some(&Value::Null));
}

#[test]
fn both_eras_and_both_forms_of_answers_are_understood() {
    for protocol in ["modern", "legacy", "mixed"] {
        for answers in [Answers::Json, Answers::Sse] {
            let server = crm(answers);
            let url = server.url();
            let arguments = [
                "run",
                &url,
                "--rate",
                "200",
                "--duration",
                "1s",
                "--warm-up",
                "500ms",
                "--protocol",
                protocol,
            ];
            let report = report(0, &[arguments.as_slice(), &UNHURRIED].concat());
            let allowed = number(&report, "/measured/outcomes/allowed");
            assert_eq!(
                allowed,
                200.0,
                "{protocol} {answers:?}: {:#}",
                report.pointer("/measured").unwrap()
            );
        }
    }
}

#[test]
fn a_late_generator_makes_the_run_invalid() {
    let server = Scripted::start(|_, _| Duration::ZERO).unwrap();
    let url = server.url();
    let arguments = [
        "run",
        &url,
        "--rate",
        "400000",
        "--duration",
        "1s",
        "--warm-up",
        "0s",
        "--timeout",
        "200ms",
        "--fail-if",
        "p50>1ns",
    ];
    let report = report(9, &arguments);
    assert_eq!(report.pointer("/validity/invalid"), Some(&Value::Bool(true)));
    let reasons = report.pointer("/validity/reasons").unwrap().to_string();
    assert!(reasons.contains("late") || reasons.contains("saturated"), "{reasons}");
}

#[test]
fn thresholds_decide_the_exit_status() {
    let server = Scripted::start(|_, _| Duration::from_millis(20)).unwrap();
    let url = server.url();
    let load = [
        "run",
        &url,
        "--rate",
        "200",
        "--duration",
        "1s",
        "--warm-up",
        "0s",
        "--quiet",
    ];
    // What cannot be told (p99.9 of 200 calls) fails too.
    for (status, threshold) in [
        (0, "p50>10s"),
        (7, "p50>1ms"),
        (7, "p99.9>10s"),
        (0, "failures>0"),
        (2, "p50>"),
        (2, "speed>1ms"),
    ] {
        ends_with(
            status,
            &[load.as_slice(), &UNHURRIED, &["--fail-if", threshold]].concat(),
        );
    }
}

#[test]
fn what_is_not_there_and_what_is_wrong_have_their_own_status() {
    let server = Scripted::start(|_, _| Duration::ZERO).unwrap();
    let url = server.url();
    drop(server);
    let (_, said) = ends_with(69, &["run", &url, "--rate", "10", "--duration", "1s"]);
    assert!(said.contains("cannot connect"), "{said}");
    let (_, said) = ends_with(3, &["run", "http://192.0.2.1/mcp", "--rate", "10"]);
    assert!(said.contains("--remote"), "{said}");
    let (_, said) = ends_with(3, &["run", &url, "--rate", "0"]);
    assert!(said.contains("above 0"), "{said}");
    for usage in [
        ["run", &url].as_slice(),
        &["run", &url, "--rate", "10", "--closed"],
        &["run", &url, "--rate", "10", "--duration", "0s"],
        &["run", &url, "--rate", "10", "--duration", "ten"],
        &["run", &url, "--stage", "10"],
        &["walk"],
    ] {
        ends_with(2, usage);
    }
}

#[test]
fn stages_are_run_one_after_another() {
    let server = Scripted::start(|_, _| Duration::ZERO).unwrap();
    let url = server.url();
    let stages = ["--stage", "100:1s", "--stage", "100..300:1s"];
    let load = ["run", &url, "--warm-up", "0s"];
    let report = report(0, &[load.as_slice(), &stages, &UNHURRIED].concat());
    assert_eq!(
        (number(&report, "/measured/due"), number(&report, "/load/rate")),
        (300.0, 150.0)
    );
    assert!(text(&report, "/load/plan").contains("100/s to 300/s"));
}

#[test]
fn files_are_written_and_can_be_made_again() {
    let server = Scripted::start(|_, _| Duration::ZERO).unwrap();
    let url = server.url();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, html, hgrm, log) = (path("run.json"), path("run.html"), path("run.hgrm"), path("run.hlog"));
    let load = [
        "run",
        &url,
        "--rate",
        "100",
        "--duration",
        "2s",
        "--warm-up",
        "0s",
        "--quiet",
    ];
    let files = ["--json", &json, "--html", &html, "--hgrm", &hgrm, "--hdr-log", &log];
    let (printed, _) = ends_with(0, &[load.as_slice(), &files, &UNHURRIED].concat());
    assert!(fs::read_to_string(&hgrm).unwrap().contains("Percentile"));
    assert!(fs::read_to_string(&log).unwrap().contains("HIST"));
    assert!(
        fs::read_to_string(&html)
            .unwrap()
            .to_lowercase()
            .starts_with("<!doctype html>")
    );
    let again = path("again.html");
    let (text, _) = ends_with(0, &["report", &json, "--html", &again]);
    assert_eq!(text, printed);
    // What is shown is the same; in the JSON behind it the last digit of a number may differ for having been read.
    let shown = |file: &str| {
        fs::read_to_string(file)
            .unwrap()
            .split("<footer")
            .next()
            .map(str::to_owned)
    };
    assert_eq!(shown(&again), shown(&html));
    // A report of another version is not guessed at.
    let newer = fs::read_to_string(&json)
        .unwrap()
        .replace("\"schema_version\": 1", "\"schema_version\": 2");
    fs::write(&json, newer).unwrap();
    ends_with(3, &["report", &json]);
    ends_with(3, &["report", &hgrm]);
}

#[test]
fn the_schema_is_printed() {
    let (out, _) = ends_with(0, &["schema"]);
    let schema: Value = serde_json::from_str(&out).unwrap();
    assert!(schema.to_string().contains("schema_version"));
}
