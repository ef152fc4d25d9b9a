//! Reload and shutdown while requests run: each request sees one whole configuration, and none is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::driver::{self, Load, Report};
use portcullis_fixtures::persona::{ALICE, BOB};
use portcullis_fixtures::policy;
use serde_json::Value;

use crate::gate::{CONFIG, Gate, HOST, PATH, REQUEST_REGO, ids, is_allow, is_end, until};

const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "reload refused, the old configuration stays in force";

/// Writes a file of the gate's configuration and waits until the gate has said this of it.
#[track_caller]
fn reload(gate: &Gate, file: &str, text: &str, message: &str) {
    let before = gate.logged(message).len();
    std::fs::write(gate.path(file), text).unwrap();
    gate.signal("HUP");
    until(|| before < gate.logged(message).len());
}

/// The fault that the gate told last.
fn last_fault(gate: &Gate) -> Value {
    let log = gate.log();
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.rfind(|line| line["code"].is_string()).unwrap()
}

/// The line of `text`, counted from 1, that starts with `start`.
fn line_of(text: &str, start: &str) -> usize {
    text.lines().position(|line| line.starts_with(start)).unwrap() + 1
}

/// The status of a call for Alice's account with that token.
fn status(gate: &Gate, token: &str) -> u16 {
    let arguments = r#"{"account_id":"acc-1001"}"#;
    let call = Call::tools_call(Era::Modern, 1, "salesforce.opportunity.read", arguments);
    gate.call(&call.bearer(token)).status
}

#[test]
fn a_good_change_takes_effect_and_a_bad_one_changes_nothing() {
    let gate = Gate::start("");
    let (alice, bob) = (gate.token(&ALICE), gate.token(&BOB));
    let check = |alice_gets: u16, bob_gets: u16| {
        assert_eq!((status(&gate, &alice), status(&gate, &bob)), (alice_gets, bob_gets));
    };
    check(200, 403);
    let data = policy::sample_data(gate.issuer.url());
    let shared = data.replacen("[\"acc-2001\"]", "[\"acc-1001\"]", 1);
    assert_ne!(shared, data);
    reload(&gate, "data.json", &shared, RELOADED);
    check(200, 200);
    reload(&gate, "data.json", &data, RELOADED);
    check(200, 403);

    let torn = policy::REQUEST_REGO.replacen("default visible :=", "default visible := :=", 1);
    reload(&gate, REQUEST_REGO, &torn, REFUSED);
    let fault = last_fault(&gate);
    assert_eq!(
        (&fault["code"], &fault["name"]),
        (&"E0501".into(), &"policy_refused".into())
    );
    assert!(fault["file"].as_str().unwrap().ends_with(REQUEST_REGO), "{fault}");
    assert_eq!(fault["line"], line_of(&torn, "default visible"), "{fault}");
    assert_eq!(fault["column"], 20, "{fault}");
    check(200, 403);

    let config = std::fs::read_to_string(gate.path(CONFIG)).unwrap();
    let misspelled = config.replacen("servers:", "sevrers:", 1);
    // The policy's fault stays: the key alone is told, since nothing else can be known yet.
    reload(&gate, CONFIG, &misspelled, REFUSED);
    let fault = last_fault(&gate);
    assert_eq!(fault["key"], "sevrers", "{fault}");
    assert_eq!(fault["nearest"], "servers", "{fault}");
    assert_eq!(fault["line"], line_of(&misspelled, "sevrers"), "{fault}");
    assert_eq!(fault["column"], 1, "{fault}");
    check(200, 403);

    std::fs::write(gate.path(CONFIG), &config).unwrap();
    reload(&gate, REQUEST_REGO, policy::REQUEST_REGO, RELOADED);
    check(200, 403);
}

/// Runs allowed calls of Alice over some connections while `meanwhile` does something to the gate.
fn under_load(gate: &Gate, requests: u64, meanwhile: impl FnOnce()) -> Report {
    let load = Load {
        address: gate.address(),
        connections: 4,
        requests,
        duration_max: Duration::from_secs(30),
    };
    let token = gate.token(&ALICE);
    std::thread::scope(|scope| {
        let load = scope.spawn(move || {
            driver::run(&load, |number| {
                let call = Call::tools_call(Era::Modern, number, "demo.echo", "{}");
                call.bearer(&token).to_http(HOST, PATH)
            })
        });
        meanwhile();
        load.join().unwrap()
    })
}

#[test]
fn each_request_sees_one_whole_configuration() {
    const REQUESTS: u64 = 2_000;
    let gate = Gate::start_for_load();
    let other = policy::REQUEST_REGO.replacen("\"rule\": \"tool-granted\"", "\"rule\": \"tool-granted-too\"", 1);
    let torn = policy::REQUEST_REGO.replacen("decision :=", "decision = =", 1);
    let arrived = || gate.upstream.capture().count();
    let report = under_load(&gate, REQUESTS, || {
        // The last good change comes while requests still run: the loop ends early enough.
        while arrived() < REQUESTS * 3 / 4 {
            reload(&gate, REQUEST_REGO, &other, RELOADED);
            reload(&gate, REQUEST_REGO, &torn, REFUSED);
            reload(&gate, REQUEST_REGO, policy::REQUEST_REGO, RELOADED);
        }
    });
    assert_eq!(report.statuses, BTreeMap::from([(200, REQUESTS)]));
    assert_eq!(report.errors, 0, "a connection broke");

    gate.terminate();
    let (ended, records) = gate.records();
    assert!(ended.success(), "{ended}");
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let revision = |record: &Value| record["policy_revision"].as_str().unwrap().to_owned();
    let mut sides = BTreeSet::new();
    let mut revisions = BTreeMap::new();
    for record in records.iter().filter(|record| is_allow(record)) {
        sides.insert((record["rule"].as_str().unwrap().to_owned(), revision(record)));
        revisions.insert(
            record["record_id"].as_str().unwrap(),
            (revision(record), &record["config_digest"]),
        );
    }
    let rules: Vec<&str> = sides.iter().map(|(rule, _)| rule.as_str()).collect();
    assert_eq!(
        rules,
        ["tool-granted", "tool-granted-too"],
        "rule and revision go together"
    );
    for record in records.iter().filter(|record| is_end(record)) {
        let of_request = &revisions[record["record_id"].as_str().unwrap()];
        assert_eq!(of_request, &(revision(record), &record["config_digest"]), "{record}");
    }
}

#[test]
fn the_end_comes_after_the_answers() {
    let gate = Gate::start_for_load();
    let report = under_load(&gate, 2_000, || {
        until(|| 300 <= gate.upstream.capture().count());
        gate.terminate();
    });
    let answered = report.statuses.get(&200).copied().unwrap_or_default();
    let refused = report.statuses.get(&503).copied().unwrap_or_default();
    assert_eq!(answered + refused, report.answers(), "{:?}", report.statuses);
    assert_eq!(
        answered,
        gate.upstream.capture().count(),
        "what went upstream was answered"
    );
    assert!(report.answers() + report.errors < 2_000, "the end came too late");

    let (ended, records) = gate.records();
    assert!(ended.success(), "{ended}");
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(ids(&records, is_allow), ids(&records, is_end));
    let reviewed = ids(&records, |record| record["outcome"] == "reviewed");
    assert_eq!(reviewed.len() as u64, answered, "none was left to recovery");
}
