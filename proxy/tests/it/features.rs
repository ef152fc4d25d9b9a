//! Released clients with every feature of the protocol, direct and through the gate, field by field.
//!
//! Owns what may differ. Each client makes the same tour twice, against two servers of one kind, one of them behind the gate:
//! lists, all kinds of content, prompts, resources, completion, progress, logging, questions to the client in the form of
//! its era, headers for parameters, cancellation and subscriptions.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Connection;
use portcullis_fixtures::mcp::{Answers, Kind, McpServer, McpSettings};
use serde_json::{Value, json};

use crate::conformance::stage::Stage;
use crate::gate::until;
use crate::interop::install::Parts;
use crate::interop::process::Process;
use crate::interop::stage::ready;

/// A client: its script, its mode, and the version that it settles on with a server of both eras.
const CLIENTS: [(&str, &str, &str); 5] = [
    ("features-v1.mjs", "legacy", "2025-11-25"),
    ("features-v2.mjs", "legacy", "2025-11-25"),
    ("features-v2.mjs", "auto", "2026-07-28"),
    ("features_client.py", "legacy", "2025-11-25"),
    ("features_client.py", "auto", "2026-07-28"),
];

/// Members that the gate may change anywhere: what is filtered by caller is kept by that caller alone, and not for long.
const CACHING: [&str; 2] = ["cacheScope", "ttlMs"];

#[test]
fn clients_use_every_feature_of_a_demo_server_as_they_do_without_the_gate() {
    let Some(parts) = Parts::install() else { return };
    for answers in [Answers::Json, Answers::Sse] {
        let settings = McpSettings {
            answers,
            ..McpSettings::new(Kind::Everything)
        };
        let [near, far] = [(); 2].map(|()| McpServer::start(settings.clone()).unwrap());
        let stage = Stage::start(&parts, &far.url());
        for (tours, client) in (1_u64..).zip(CLIENTS) {
            let (direct, gated) = both(&parts, client, &near.url(), &stage);
            assert_eq!(direct["progress"]["progress"].as_array().unwrap().len(), 3, "{direct}");
            compare(client, &direct, &gated);
            // A client that gives up is heard by the server, whichever way its era has: once each time.
            until(|| near.cancelled() == tours && far.cancelled() == tours);
        }
        let tours = CLIENTS.len() as u64;
        assert_eq!((near.cancelled(), far.cancelled()), (tours, tours));
    }
}

#[test]
fn clients_use_every_feature_of_a_released_server_as_they_do_without_the_gate() {
    let Some(parts) = Parts::install() else { return };
    let [near, far] = [(); 2].map(|()| {
        let mut server = Process::start("PyPI mcp server", &mut parts.python(&["features.py"]));
        let url = format!("{}/mcp", ready(&mut server));
        (server, url)
    });
    let stage = Stage::start(&parts, &far.1);
    for client in CLIENTS {
        let (direct, gated) = both(&parts, client, &near.1, &stage);
        compare(client, &direct, &gated);
        until(|| cancelled(&near.1) == cancelled(&far.1));
    }
    assert_eq!(cancelled(&near.1), cancelled(&far.1));
    assert_ne!(cancelled(&near.1), "0", "the server hears of clients that give up");
}

#[test]
fn a_client_runs_tasks_of_a_released_server_as_it_does_without_the_gate() {
    let Some(parts) = Parts::install() else { return };
    let [near, far] = [(); 2].map(|()| {
        let mut server = Process::start("npm sdk with tasks", &mut parts.node(&["tasks-server.mjs"]));
        let url = format!("{}/mcp", ready(&mut server));
        (server, url)
    });
    let stage = Stage::start(&parts, &far.1);
    let client = ("tasks-v1.mjs", "legacy", "2025-11-25");
    let (mut direct, mut gated) = both(&parts, client, &near.1, &stage);
    for found in [&mut direct, &mut gated] {
        assert_eq!(found["result"]["content"][0]["text"], "later: hello", "{found}");
        assert_eq!(found["cancelled"]["status"], "cancelled", "{found}");
        assert_eq!(found["listed"]["tasks"].as_array().map(Vec::len), Some(2), "{found}");
        // The gate's own refusal has a status that this client takes for one of HTTP.
        let unknown = found.as_object_mut().unwrap().remove("unknown").unwrap();
        assert!(unknown["failed"].is_object(), "{unknown}");
    }
    compare(client, &direct, &gated);
}

/// How many calls of its slow tool the released server saw cancelled, by its own word.
fn cancelled(url: &str) -> String {
    let authority = url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap();
    let call = Call::tools_call(Era::Modern, 1, "test_cancelled", "{}");
    let mut connection = Connection::open(authority.parse().unwrap()).unwrap();
    let text = connection.exchange(&call.to_http(authority, "/mcp")).unwrap().text();
    let message = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let mut found = message.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let answer = found.next_back().unwrap();
    answer["result"]["content"][0]["text"].as_str().unwrap().to_owned()
}

/// The findings of one client against the server itself and of one through the gate.
fn both(parts: &Parts, client: (&str, &str, &str), url: &str, stage: &Stage) -> (Value, Value) {
    let (script, mode, version) = client;
    let direct = json!({ "url": url, "mode": mode });
    let gated = json!({ "url": stage.gate_url(), "token": stage.token(), "mode": mode });
    let [direct, gated] = std::thread::scope(|scope| {
        let runs = [direct, gated].map(|plan| scope.spawn(move || tour(parts, script, &plan)));
        runs.map(|run| run.join().unwrap())
    });
    for found in [&direct, &gated] {
        assert_eq!(found["negotiated"], version, "{script} ({mode}): {found}");
    }
    (direct, gated)
}

fn tour(parts: &Parts, script: &str, plan: &Value) -> Value {
    let plan = plan.to_string();
    let mut command = match script.ends_with(".py") {
        true => parts.python(&[script, &plan]),
        false => parts.node(&[script, &plan]),
    };
    let (well, output) = Process::start(script, &mut command).finish(Duration::from_secs(120));
    assert!(well, "{script} fails:\n{}", output.join("\n"));
    let found = output.iter().find_map(|line| serde_json::from_str::<Value>(line).ok());
    found.unwrap_or_else(|| panic!("{script} found nothing:\n{}", output.join("\n")))
}

/// Fails with every finding that is another one through the gate.
#[track_caller]
fn compare((script, mode, _): (&str, &str, &str), direct: &Value, gated: &Value) {
    let [direct, gated] = [direct, gated].map(|found| {
        let mut found = found.clone();
        strip(&mut found);
        found
    });
    let [direct, gated] = [&direct, &gated].map(|found| found.as_object().unwrap());
    let names: BTreeSet<&String> = direct.keys().chain(gated.keys()).collect();
    let mut differing = Vec::new();
    for name in &names {
        let (direct, gated) = (direct.get(*name), gated.get(*name));
        if direct != gated {
            let shown = |found: Option<&Value>| found.map(Value::to_string).unwrap_or_default();
            differing.push(format!(
                "{name}\n  direct: {}\n  gate:   {}",
                shown(direct),
                shown(gated)
            ));
        }
    }
    println!(
        "{script} ({mode}): {} findings, {} differ",
        names.len(),
        differing.len()
    );
    assert!(differing.is_empty(), "{script} ({mode}):\n{}", differing.join("\n"));
}

/// Takes the members that may differ out, at any depth.
fn strip(found: &mut Value) {
    match found {
        Value::Array(entries) => entries.iter_mut().for_each(strip),
        Value::Object(members) => {
            members.retain(|name, _| !CACHING.contains(&name.as_str()));
            members.values_mut().for_each(strip);
        }
        _ => {}
    }
}
