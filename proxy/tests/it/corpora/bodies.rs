//! Bodies that parsers disagree on, against the running gate.
//!
//! Takes `json/differential.jsonl`, every text of JSONTestSuite, and the rows of the parser table that are none of these.
//! What is refused is 400 with a record, and the upstream has not seen it; what is not refused for its form arrives as it
//! is, or is refused for what it calls.

use std::path::Path;

use portcullis_fixtures::calls::{Call, LEGACY_VERSION};
use portcullis_fixtures::http1::request;
use serde_json::Value;

use super::{Stage, Tally, cases, folder, say};
use crate::gate::{HOST, PATH};

/// What became of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Read {
    /// Its form was refused.
    Refused,
    /// What it calls was refused.
    Denied,
    /// It arrived.
    Passed,
}

/// A session of the legacy era: without one the upstream itself answers 400, and that is no refusal of the gate's.
#[track_caller]
fn open_session(stage: &mut Stage) -> String {
    let answer = stage.gate.call(&Call::initialize(1).bearer(&stage.token));
    assert_eq!(answer.status, 200, "{}", answer.text());
    stage.permitted += 1;
    answer.header("mcp-session-id").unwrap().to_owned()
}

/// Sends a body in a session and looks at both sides; a canary follows.
#[track_caller]
fn send(stage: &mut Stage, session: &str, tally: &mut Tally, name: &str, body: &[u8]) -> Read {
    let bearer = format!("Bearer {}", stage.token);
    let fields = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", LEGACY_VERSION),
        ("mcp-session-id", session),
    ];
    let answer = stage
        .gate
        .connect()
        .exchange(&request("POST", HOST, PATH, fields, body));
    let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(answer.header("portcullis-record-id").is_some(), "{name}: no record");
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let read = match answer.status {
        400 => {
            assert!(
                told["error"]["code"].is_i64() && told.get("result").is_none(),
                "{name}: {told}"
            );
            Read::Refused
        }
        403 => Read::Denied,
        200 => {
            stage.permitted += 1;
            let arrived = stage.gate.upstream.capture().last().unwrap();
            assert_eq!(arrived.body, body, "{name}: another body arrived");
            Read::Passed
        }
        status => panic!("{name}: {status} {told}"),
    };
    tally.count(&match read {
        Read::Refused => format!("refused with {}", told["error"]["code"]),
        other => format!("{other:?}"),
    });
    stage.check(name);
    read
}

#[test]
fn bodies_that_parsers_disagree_on_arrive_as_they_are_or_not_at_all() {
    let Some(folder) = folder("json") else {
        return;
    };
    let mut stage = Stage::new();
    let session = open_session(&mut stage);
    let mut tally = Tally::default();
    for case in cases(&folder, "differential.jsonl") {
        let (id, hex) = (case["id"].as_str().unwrap(), case["hex"].as_str().unwrap());
        let body: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap())
            .collect();
        let read = send(&mut stage, &session, &mut tally, id, &body);
        match case["expect"].as_str().unwrap() {
            "reject" => assert_eq!(read, Read::Refused, "{id}"),
            "accept-or-reject" => {}
            _ => assert_ne!(read, Read::Refused, "{id}"),
        }
    }
    tally.say("differential.jsonl");

    // None of these is a message, whatever else it is.
    let mut tally = Tally::default();
    for kind in ["test_parsing", "test_transform"] {
        let mut files = texts(&folder.join("jsontestsuite").join(kind));
        files.sort_unstable();
        for (name, text) in files {
            let read = send(&mut stage, &session, &mut tally, &name, &text);
            assert_eq!(read, Read::Refused, "{name}");
        }
    }
    tally.say("JSONTestSuite");
}

/// The JSON files of a folder, by name.
fn texts(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>());
    let files = files.unwrap_or_default();
    if files.is_empty() {
        say(&format!("left out: nothing in {}", folder.display()));
    }
    files
        .into_iter()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "json"))
        .map(|file| {
            let text = std::fs::read(file.path()).unwrap();
            (file.file_name().to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// The rows of the parser table that no corpus has, each with a neighbour that passes.
#[test]
fn c4_nesting_members_and_numbers_at_the_running_gate() {
    let mut stage = Stage::new();
    let session = open_session(&mut stage);
    let mut tally = Tally::default();
    let call = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"demo.echo","arguments":{arguments}}}}}"#
        )
    };
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let list = |elements: usize| format!("{{\"a\":[{}]}}", vec!["1"; elements].join(","));
    let refused = [
        ("100,000 objects", call(&objects(100_000))),
        ("63 levels of arguments", call(&objects(63))),
        ("100,000 brackets", "[".repeat(100_000)),
        ("11,000 elements", call(&list(11_000))),
        ("an integer beyond 2^53", call(r#"{"a":9007199254740993}"#)),
        ("the same as a decimal", call(r#"{"a":9007199254740993.0}"#)),
        ("the same with an exponent", call(r#"{"a":1e16}"#)),
        ("a number beyond a double", call(r#"{"a":-1e400}"#)),
        ("a number that is nearly none", call(r#"{"a":1e-400}"#)),
        (
            "an id beyond 2^53",
            call("{}").replace("\"id\":1", "\"id\":9007199254740993"),
        ),
        ("a fraction as id", call("{}").replace("\"id\":1", "\"id\":1.5")),
        ("a number as method", call("{}").replace("\"tools/call\"", "7")),
        ("a second document", call("{}") + "{}"),
        ("a scalar", "7".to_owned()),
    ];
    for (name, body) in refused {
        assert_eq!(
            send(&mut stage, &session, &mut tally, name, body.as_bytes()),
            Read::Refused,
            "{name}"
        );
    }
    let passing = [
        ("62 levels of arguments", call(&objects(62))),
        ("9,000 elements", call(&list(9_000))),
        ("an integer of 2^53 - 1", call(r#"{"a":9007199254740991}"#)),
        ("a decimal", call(r#"{"a":0.1}"#)),
        ("white space around it", format!(" \r\n\t{}\n", call("{}"))),
    ];
    for (name, body) in passing {
        assert_eq!(
            send(&mut stage, &session, &mut tally, name, body.as_bytes()),
            Read::Passed,
            "{name}"
        );
    }
    tally.say("nesting, members and numbers");
}
