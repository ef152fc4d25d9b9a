//! The conformance suite of MCP, direct and through the gate, check by check: nothing that passes direct fails through.
//!
//! Owns which checks may differ and why. Verdicts come from npm @modelcontextprotocol/conformance, both of its frozen sets
//! and what it does not score; the table of each upstream is left in `target/conformance`. A run against nothing leaves
//! some scenarios green, so every comparison first demands what the direct run must have shown.

pub(crate) mod stage;
mod suite;

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_fixtures::mcp::{Answers, Kind, McpServer, McpSettings};
use serde_json::{Value, json};

use crate::interop::install::Parts;
use crate::interop::process::Process;
use crate::interop::stage::ready;
use stage::Stage;
use suite::{Check, LEGACY, MODERN, Verdicts};

/// The scenario whose checks may pass direct and not through the gate, on purpose: event ids are never handed to clients,
/// since the gate refuses resumption. It takes up its upstream's streams itself, so that the answer comes on the stream of
/// the call.
const POLLING: &str = "server-sse-polling";

/// These checks, and what the suite says of each through the gate; `None` where it only writes down that it could not look.
/// None is a failure.
const ON_PURPOSE: [(&str, Option<&str>); 3] = [
    ("server-sse-disconnect-resume", None),
    ("server-sse-priming-event", Some("WARNING")),
    ("server-sse-retry-field", Some("WARNING")),
];

/// Scenarios that judge header fields against the body.
const HEADER_SCENARIOS: [&str; 2] = ["http-header-validation", "http-custom-header-server-validation"];

#[test]
fn whatever_the_server_with_everything_passes_direct_it_passes_through_the_gate() {
    let Some(parts) = Parts::install() else { return };
    let settings = McpSettings {
        answers: Answers::Sse,
        ..McpSettings::new(Kind::Everything)
    };
    // One for each run: what a change tells its subscribers must not reach those of the other run.
    let [near, far] = [(); 2].map(|()| McpServer::start(settings.clone()).unwrap());
    let stage = Stage::start(&parts, &far.url());
    for revision in [LEGACY, MODERN] {
        let (direct, gated) = both(&parts, revision, None, &near.url(), &stage);
        let failing: Vec<&Check> = direct
            .iter()
            .filter(|(_, verdict)| failed(verdict))
            .map(|(check, _)| check)
            .collect();
        let own = |check: &&&Check| !check.scenario.starts_with("tasks-");
        assert_eq!(
            failing.iter().filter(own).count(),
            0,
            "the server itself fails: {failing:?}"
        );
        assert!(
            direct.passed() >= if revision == LEGACY { 80 } else { 150 },
            "{}",
            direct.passed()
        );
        compare("everything", revision, &direct, &gated);
    }
}

#[test]
fn whatever_a_released_server_passes_direct_it_passes_through_the_gate() {
    let Some(parts) = Parts::install() else { return };
    let [near, far] = [(); 2].map(|()| {
        let mut server = Process::start("PyPI mcp server", &mut parts.python(&["features.py"]));
        let url = format!("{}/mcp", ready(&mut server));
        (server, url)
    });
    let stage = Stage::start(&parts, &far.1);
    for revision in [LEGACY, MODERN] {
        let (direct, gated) = both(&parts, revision, None, &near.1, &stage);
        assert!(
            direct.passed() >= if revision == LEGACY { 60 } else { 130 },
            "{}",
            direct.passed()
        );
        compare("python", revision, &direct, &gated);
    }
}

#[test]
fn what_a_server_lets_pass_in_its_headers_the_gate_refuses() {
    let Some(parts) = Parts::install() else { return };
    let server = McpServer::start(McpSettings::new(Kind::Everything)).unwrap();
    server.set_headers_lax(true);
    let stage = Stage::start(&parts, &server.url());
    for scenario in HEADER_SCENARIOS {
        let (direct, gated) = both(&parts, MODERN, Some(scenario), &server.url(), &stage);
        let refused = direct.iter().filter(|(_, verdict)| failed(verdict)).count();
        assert!(4 <= refused, "{scenario}: the server is not lax, {refused} checks fail");
        let failing: Vec<_> = gated
            .iter()
            .filter(|(_, verdict)| verdict.status != "SUCCESS")
            .collect();
        assert!(failing.is_empty(), "{scenario}: {failing:#?}");
        assert_eq!(gated.passed(), direct.iter().count(), "{scenario}");
        println!("{scenario}: {refused} checks fail direct, none through the gate");
        keep(&format!("lax-{scenario}"), &direct, &gated);
    }
}

/// The verdicts of a run against the upstream itself and of one through the gate, at the same time.
fn both(parts: &Parts, revision: &str, scenario: Option<&str>, url: &str, stage: &Stage) -> (Verdicts, Verdicts) {
    let direct = url.replace("127.0.0.1", "localhost");
    std::thread::scope(|scope| {
        let direct = scope.spawn(|| suite::run(parts, revision, scenario, &direct));
        let gated = suite::run(parts, revision, scenario, &stage.url());
        (direct.join().unwrap(), gated)
    })
}

/// Fails with every check that passes direct and not through the gate, unless it does so on purpose.
#[track_caller]
fn compare(upstream: &str, revision: &str, direct: &Verdicts, gated: &Verdicts) {
    let name = format!("{upstream}-{revision}");
    let file = keep(&name, direct, gated);
    let lost: Vec<String> = direct
        .iter()
        .filter(|(_, verdict)| verdict.status == "SUCCESS")
        .filter(|(check, _)| !on_purpose(check, gated))
        .filter_map(|(check, _)| match gated.verdict(check) {
            Some(verdict) if verdict.status == "SUCCESS" => None,
            Some(verdict) => Some(format!("{check}: {} {}", verdict.status, verdict.message)),
            None => Some(format!("{check}: not reached")),
        })
        .collect();
    println!(
        "{name}: direct {} pass and {} fail, through the gate {} pass and {} fail, {} lost ({})",
        direct.passed(),
        direct.failed(),
        gated.passed(),
        gated.failed(),
        lost.len(),
        file.display(),
    );
    assert!(lost.is_empty(), "{name}, lost through the gate:\n{}", lost.join("\n"));
}

fn on_purpose(check: &Check, gated: &Verdicts) -> bool {
    let status = gated.verdict(check).map(|verdict| &*verdict.status);
    check.scenario == POLLING && ON_PURPOSE.contains(&(&*check.id, status))
}

fn failed(verdict: &suite::Verdict) -> bool {
    verdict.status == "FAILURE"
}

/// Leaves the table of one comparison; gives its file.
fn keep(name: &str, direct: &Verdicts, gated: &Verdicts) -> PathBuf {
    let rows: Vec<Value> = direct
        .checks_of_both(gated)
        .map(|check| {
            let status = |verdicts: &Verdicts| verdicts.verdict(check).map(|verdict| verdict.status.clone());
            let message = gated.verdict(check).map(|verdict| verdict.message.clone());
            json!({
                "scenario": check.scenario, "check": check.id, "name": check.name, "ordinal": check.ordinal,
                "direct": status(direct), "gate": status(gated), "message": message,
            })
        })
        .collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("conformance");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}.json"));
    fs::write(&file, serde_json::to_string_pretty(&rows).unwrap()).unwrap();
    file
}
