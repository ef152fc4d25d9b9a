//! Sessions and streams of two released SDKs through what happens to tokens, keys and gates: theft, refresh, expiry,
//! restart, a second replica, rotation.
//!
//! Owns what each client must find, and what stands on record of it. Without node and python these tests are skipped,
//! unless `CI=true`.

mod client;
mod stage;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gate::{is_allow, until};
use crate::interop::install::Parts;
use client::{Client, SDKS};
use stage::{CRM, EVERYTHING, Stage};

/// How long a token lasts that is not to expire here.
const LONG_S: u64 = 3_600;

fn hello() -> Value {
    json!({"message": "hello"})
}

/// The end of a session, as an SDK tells it: the status where it has one, the gate's code where it shows that.
#[track_caller]
fn ended(found: Result<String, Value>) {
    let failed = found.unwrap_err();
    let message = failed["message"].as_str().unwrap().to_lowercase();
    assert!(
        failed["status"] == 404 || message.contains("session"),
        "no end of a session: {failed}"
    );
}

/// The records of this reason, by the subject and the client that they name.
fn refused(records: &[Value], reason: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    records
        .iter()
        .filter(|record| record["phase"] == "request" && record["reason"] == reason)
        .map(|record| (text(&record["subject"]["id"]), text(&record["client_id"])))
        .collect()
}

/// CVE-2025-6515, CVE-2026-33946, CVE-2026-52869: who knows a session's id has not got the session.
#[test]
fn a_stolen_session_is_unknown_to_the_thief_as_it_was_not_in_cve_2026_33946() {
    let Some(parts) = Parts::install() else { return };
    let mut stage = Stage::start(&parts, ["1m", "1m"]);
    for sdk in SDKS {
        let mut owner = Client::start(&parts, sdk, &stage.token("alice", LONG_S));
        let session = owner.connect(&stage.replicas[0].url(EVERYTHING));
        assert_eq!(owner.call("echo", &hello()).unwrap(), "Echo: hello");
        for (subject, client) in [("bob", "desktop"), ("alice", "laptop")] {
            let token = stage.token_through(EVERYTHING, subject, client, LONG_S);
            let mut thief = Client::start(&parts, sdk, &token);
            let own = thief.connect(&stage.replicas[0].url(EVERYTHING));
            assert_ne!(own, session);
            assert_eq!(thief.call("echo", &hello()).unwrap(), "Echo: hello");
            let arrived = stage.arrived();
            thief.set("stolen", &session);
            ended(thief.call("echo", &hello()));
            let upstream = stage.sessions_upstream().pop().unwrap();
            thief.set("stolen", &upstream);
            ended(thief.call("echo", &hello()));
            assert_eq!(stage.arrived(), arrived, "nothing of it went upstream");
        }
        assert_eq!(owner.call("echo", &hello()).unwrap(), "Echo: hello");
        assert!(
            !stage.sessions_upstream().contains(&session),
            "the upstream sees its own ids alone"
        );
    }
    let records = stage.replicas[0].records();
    let expected = [
        ("bob", "desktop"),
        ("bob", "desktop"),
        ("alice", "laptop"),
        ("alice", "laptop"),
    ];
    let expected = expected.map(|(subject, client)| (subject.to_owned(), client.to_owned()));
    assert_eq!(
        refused(&records, "session_unknown"),
        [expected.clone(), expected].concat()
    );
}

/// One session over a refreshed token, a restart of the gate and another replica.
#[test]
fn a_session_goes_on_over_refresh_restart_and_at_a_second_replica() {
    let Some(parts) = Parts::install() else { return };
    let mut stage = Stage::start(&parts, ["1m", "1m"]);
    for sdk in SDKS {
        let before = stage.sessions_upstream().len();
        let mut client = Client::start(&parts, sdk, &stage.token("alice", LONG_S));
        client.connect(&stage.replicas[0].url(EVERYTHING));
        assert_eq!(client.call("echo", &hello()).unwrap(), "Echo: hello");
        client.set("token", &stage.token("alice", LONG_S));
        assert_eq!(
            client.call("echo", &hello()).unwrap(),
            "Echo: hello",
            "with a refreshed token"
        );
        stage.replicas[0].restart();
        assert_eq!(client.call("echo", &hello()).unwrap(), "Echo: hello", "after a restart");
        client.set("place", stage.replicas[1].place());
        assert_eq!(
            client.call("echo", &hello()).unwrap(),
            "Echo: hello",
            "at another replica"
        );
        let sessions: BTreeSet<String> = stage.sessions_upstream().split_off(before).into_iter().collect();
        assert_eq!(sessions.len(), 1, "the upstream has had one session: {sessions:?}");
    }
    let records = [stage.replicas[0].records(), stage.replicas[1].records()].concat();
    let calls: Vec<&Value> = records
        .iter()
        .filter(|record| is_allow(record) && record["tool"] == "echo")
        .collect();
    assert_eq!(calls.len(), 8);
    let principals: BTreeSet<&str> = calls
        .iter()
        .map(|call| call["principal_id"].as_str().unwrap())
        .collect();
    let sessions: BTreeSet<&str> = calls.iter().map(|call| call["session"].as_str().unwrap()).collect();
    let opened = records
        .iter()
        .filter(|record| record["phase"] != "request" && record["session"].is_string());
    let opened: BTreeSet<&str> = opened.map(|record| record["session"].as_str().unwrap()).collect();
    assert_eq!(
        (principals.len(), sessions.len()),
        (1, 2),
        "one principal, a session for each SDK"
    );
    assert_eq!(opened, sessions, "the answers to `initialize` name them");
}

/// A long call over an event stream: with a newer token of its principal it comes to its end, without it is cut.
#[test]
fn a_stream_goes_on_with_a_refreshed_token_and_ends_without_one() {
    let Some(parts) = Parts::install() else { return };
    let mut stage = Stage::start(&parts, ["0s", "0s"]);
    let long = json!({"duration": 12, "steps": 12});
    let tool = "trigger-long-running-operation";
    // Everybody at once, since the operation takes its time.
    let mut calls = Vec::new();
    for sdk in SDKS {
        for refreshed in [true, false] {
            // A principal of its own, so that nobody's token extends another's stream.
            let subject = format!("{sdk} {refreshed}");
            let mut client = Client::start(&parts, sdk, &stage.token(&subject, LONG_S));
            client.connect(&stage.replicas[0].url(EVERYTHING));
            calls.push((client, subject, refreshed));
        }
    }
    let mut running = Vec::new();
    for (mut client, subject, refreshed) in calls {
        client.set("token", &stage.token(&subject, 7));
        let order = client.begin(tool, &long);
        client.progress(&order);
        if refreshed {
            client.set("token", &stage.token(&subject, LONG_S));
            assert_eq!(client.call("echo", &hello()).unwrap(), "Echo: hello");
        }
        running.push((client, subject, refreshed, order));
    }
    for (mut client, subject, refreshed, order) in running {
        let found = client.end(&order);
        if refreshed {
            assert!(
                found.unwrap().starts_with("Long running operation completed"),
                "{subject}"
            );
        } else {
            let failed = found.unwrap_err();
            assert!(
                failed["message"].as_str().unwrap().contains("expired"),
                "{subject}: {failed}"
            );
        }
    }
    let records = stage.replicas[0].records();
    let closed = |outcome: &str| {
        let closes = records.iter().filter(|record| record["phase"] == "close");
        closes
            .filter(|record| record["tool"] == tool && record["outcome"] == outcome)
            .count()
    };
    assert_eq!((closed("reviewed"), closed("expired")), (2, 2));
}

/// A call whose token expires, or is refreshed, before its answer: within the grace it is answered, later it is not.
#[test]
fn a_call_under_way_is_answered_within_its_grace_alone() {
    let Some(parts) = Parts::install() else { return };
    let mut stage = Stage::start(&parts, ["1m", "0s"]);
    let token = |stage: &Stage, for_s| stage.token_through(CRM, "alice", "desktop", for_s);
    for (replica, graced) in [(0, true), (1, false)] {
        let mut clients = SDKS.map(|sdk| Client::start(&parts, sdk, &token(&stage, LONG_S)));
        for client in &mut clients {
            client.connect(&stage.replicas[replica].url(CRM));
            // An SDK asks for the list of tools first, and once.
            client.call("demo.echo", &json!({})).unwrap();
        }
        stage.crm.set_delay(Duration::from_secs(14));
        let orders = clients.each_mut().map(|client| {
            client.set("token", &token(&stage, 8));
            client.begin("demo.echo", &json!({}))
        });
        until(|| {
            let calls = stage.crm.capture();
            let calls = calls.requests();
            calls.iter().filter(|call| call.mentions("demo.echo")).count() == 4 + 6 * replica
        });
        stage.crm.set_delay(Duration::ZERO);
        for (client, order) in clients.iter_mut().zip(&orders) {
            // The refreshed token is the next call's; this one was permitted with the old.
            client.set("token", &token(&stage, LONG_S));
            let found = client.end(order);
            if graced {
                found.unwrap();
            } else {
                let failed = found.unwrap_err();
                let message = failed["message"].as_str().unwrap();
                assert!(failed["status"] == 401 || message.contains("expired"), "{failed}");
            }
            client.call("demo.echo", &json!({})).unwrap();
        }
    }
    let outcomes = |records: &[Value]| {
        let answers = records
            .iter()
            .filter(|record| record["phase"] == "response" && record["tool"] == "demo.echo");
        let outcomes: Vec<String> = answers
            .map(|record| record["outcome"].as_str().unwrap().to_owned())
            .collect();
        let count = |wanted: &str| outcomes.iter().filter(|outcome| *outcome == wanted).count();
        (count("reviewed"), count("expired"))
    };
    assert_eq!(outcomes(&stage.replicas[0].records()), (6, 0));
    assert_eq!(outcomes(&stage.replicas[1].records()), (4, 2));
}

/// A rotated key opens what it has sealed until its overlap has passed; then the client begins anew.
#[test]
fn a_session_outlives_the_rotation_of_its_key_until_the_overlap_has_passed() {
    let Some(parts) = Parts::install() else { return };
    let mut stage = Stage::start(&parts, ["1m", "1m"]);
    let url = stage.replicas[0].url(EVERYTHING);
    let mut clients = SDKS.map(|sdk| {
        let mut client = Client::start(&parts, sdk, &stage.token("alice", LONG_S));
        let session = client.connect(&url);
        (client, session)
    });
    let mut probe = Client::start(&parts, SDKS[0], &stage.token("alice", LONG_S));
    // The first five letters hold most of the id of the key.
    let key_of = |session: &str| session[..5].to_owned();
    let first = key_of(&probe.connect(&url));
    stage.rotate(&["--overlap", "12s"]);
    let mut newest = probe.connect(&url);
    while key_of(&newest) == first {
        newest = probe.connect(&url);
    }
    for (client, session) in &mut clients {
        assert_eq!(key_of(session), first);
        assert_eq!(
            client.call("echo", &hello()).unwrap(),
            "Echo: hello",
            "within the overlap"
        );
    }
    for (client, _) in &mut clients {
        let found = loop {
            let found = client.call("echo", &hello());
            if found.is_err() {
                break found;
            }
        };
        ended(found);
    }
    assert_eq!(
        probe.call("echo", &hello()).unwrap(),
        "Echo: hello",
        "the newer session goes on"
    );
    for sdk in SDKS {
        let mut anew = Client::start(&parts, sdk, &stage.token("alice", LONG_S));
        assert_eq!(key_of(&anew.connect(&url)), key_of(&newest));
        assert_eq!(anew.call("echo", &hello()).unwrap(), "Echo: hello");
    }
    let records = stage.replicas[0].records();
    assert_eq!(refused(&records, "session_unknown").len(), SDKS.len());
}
