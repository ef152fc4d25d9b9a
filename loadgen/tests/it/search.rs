//! `search`: finds the rate that a server of known speed holds.

use std::time::Duration;

use portcullis_fixtures::scripted::Scripted;
use serde_json::Value;

use crate::program::{UNHURRIED, number, report, text};

#[test]
fn finds_what_a_server_of_known_speed_holds() {
    // Each answer takes 10 ms, and two connections carry one call at a time: more than 200 calls a second pile up.
    let server = Scripted::start(|_, _| Duration::from_millis(10)).unwrap();
    let url = server.url();
    let bounds = [
        "--from",
        "50",
        "--to",
        "1600",
        "--step",
        "1s",
        "--warm-up",
        "0s",
        "--precision",
        "20%",
    ];
    let limit = ["--percentile", "50", "--under", "100ms", "--connections", "2"];
    let report = report(
        0,
        &[["search", url.as_str()].as_slice(), &bounds, &limit, &UNHURRIED].concat(),
    );
    assert_eq!(text(&report, "/kind"), "search");
    let steps = report.pointer("/steps").unwrap().as_array().unwrap();
    assert!(steps.iter().any(|step| step["held"] == Value::Bool(true)));
    let failed: Vec<_> = steps.iter().filter(|step| step["held"] == Value::Bool(false)).collect();
    assert!(failed.iter().all(|step| step["why"].is_string()));
    // A second above the limit may still hold: its median call has waited half of what piled up.
    let best = number(&report, "/load/rate");
    assert!((100.0..=300.0).contains(&best), "{best} calls a second: {steps:#?}");
}

#[test]
fn says_when_no_rate_holds() {
    let server = Scripted::start(|_, _| Duration::from_millis(30)).unwrap();
    let url = server.url();
    let arguments = [
        "search",
        &url,
        "--from",
        "40",
        "--to",
        "40",
        "--step",
        "500ms",
        "--warm-up",
        "0s",
        "--under",
        "1ms",
        "--percentile",
        "50",
        "--precision",
        "50%",
    ];
    let report = report(7, &[arguments.as_slice(), &UNHURRIED].concat());
    assert!(
        report
            .pointer("/validity/notes")
            .unwrap()
            .to_string()
            .contains("no rate")
    );
}
