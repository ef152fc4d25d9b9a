//! `compare`: several targets in one run, by their URLs. The bundled comparison needs release binaries and is run by
//! `.ci/run`.

use std::fs;

use portcullis_fixtures::mcp::{Kind, McpServer, McpSettings};
use serde_json::Value;

use crate::program::{ends_with, number, output, text};

/// Turns as short as they can be.
const SHORT: [&str; 14] = [
    "--rounds",
    "2",
    "--open",
    "200ms",
    "--closed",
    "100ms",
    "--warm-up",
    "50ms",
    "--rate",
    "100",
    "--connections",
    "2",
    "--subjects",
    "3",
];

fn upstream() -> McpServer {
    McpServer::start_counting(&McpSettings::new(Kind::Crm), (std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

#[test]
fn targets_stand_beside_one_another_in_one_report() {
    let (first, second) = (upstream(), upstream());
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("compare.html");
    // Both targets live in this process, so its CPU time is both targets'.
    let targets = [
        format!("first={},pid={}", first.url(), std::process::id()),
        format!("second={}", second.url()),
    ];
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let files = ["--html", page.to_str().unwrap(), "--format", "json", "--quiet"];
    let done = output([["compare"].as_slice(), &targets, &SHORT, &files].concat());
    // On a machine that many tests share, the generator may be late: the report says so, by its status too.
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    let invalid = report["invalid"].as_bool().unwrap();
    assert_eq!(done.status.code(), Some(if invalid { 9 } else { 0 }), "{report:#}");
    assert_eq!(text(&report, "/kind"), "compare");
    assert_eq!(
        (text(&report, "/targets/0/name"), text(&report, "/targets/1/name")),
        ("first", "second")
    );
    assert!(0.0 < number(&report, "/targets/0/cpu_us_per_request"));
    assert_eq!(report.pointer("/targets/1/cpu_us_per_request"), Some(&Value::Null));
    assert_eq!(number(&report, "/targets/0/outcomes/allowed_unexpectedly"), 0.0);
    assert!(40.0 <= number(&report, "/targets/0/outcomes/allowed"), "{report:#}");
    assert_eq!(
        (text(&report, "/ratios/0/target"), text(&report, "/ratios/0/to")),
        ("second", "first")
    );
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("first") && page.contains("second"));
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_sent() {
    let server = upstream();
    let (one, two) = (format!("a={}", server.url()), format!("a={}?x=1", server.url()));
    let (_, said) = ends_with(3, &["compare", &one, &two]);
    assert!(said.contains("two targets are called `a`"), "{said}");
    let (_, said) = ends_with(3, &["compare", &one, "--fail-if", "b.cpu>1us"]);
    assert!(said.contains('b'), "{said}");
    let (_, said) = ends_with(2, &["compare", "no-url"]);
    assert!(said.contains("NAME=URL"), "{said}");
    ends_with(2, &["compare"]);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_bundle_without_its_binaries_says_how_to_build_them() {
    let (_, said) = ends_with(69, &["compare", "--bundled", "--gate", "/nonexistent/portcullis"]);
    assert!(
        said.contains("cargo build --release -p portcullis -p portcullis-bench -p portcullis-loadgen"),
        "{said}"
    );
}
