//! Mutations of `Transfer-Encoding`, as they are used to smuggle a request past a proxy.
//!
//! Owns three probes for each: one where a reader of the mutated field finds a second request in the body, one where a
//! reader of the length does, and one that is a single request for every reader. No second request ever arrives.

use portcullis_fixtures::http1::Connection;
use serde_json::Value;

use super::{Stage, Tally, cases, folder};
use crate::gate::{HOST, PATH};

/// The head of a call with this gadget among its fields, the body `body`, and its length when that is to be told.
fn probe(stage: &Stage, gadget: &[u8], body: &str, length: bool) -> Vec<u8> {
    let mut bytes = format!("POST {PATH} HTTP/1.1\r\nhost: {HOST}\r\n").into_bytes();
    let call = crate::attacks::echo().bearer(&stage.token);
    for (name, value) in &call.headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    if length {
        bytes.extend(format!("content-length: {}\r\n", body.len()).bytes());
    }
    bytes.extend(gadget);
    bytes.extend(b"\r\n\r\n");
    bytes.extend(body.bytes());
    bytes
}

/// What came of a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Read {
    /// Nobody read it.
    Refused,
    /// As one request with this body.
    AsOne,
}

/// Sends a probe; when the connection stays open a canary follows on it.
#[track_caller]
fn send(stage: &mut Stage, name: &str, bytes: &[u8], body: &str) -> Read {
    let mut connection: Connection = stage.gate.connect();
    let answer = connection.exchange(bytes);
    let answer = answer.unwrap_or_else(|error| panic!("{name}: {error} for {}", bytes.escape_ascii()));
    let read = match answer.status {
        200 => {
            stage.permitted += 1;
            let arrived = stage.gate.upstream.capture().last().unwrap();
            assert_eq!(arrived.body, body.as_bytes(), "{name}: another body arrived");
            Read::AsOne
        }
        400 => Read::Refused,
        status => panic!("{name}: {status} for {}", bytes.escape_ascii()),
    };
    if answer.header("connection") != Some("close") {
        let (id, canary) = stage.canary();
        // Whatever the head says, a connection may be closed in between.
        if let Ok(own) = connection.exchange(&canary.to_http(HOST, PATH)) {
            let told: Value = serde_json::from_slice(&own.body).unwrap_or_default();
            assert_eq!(
                (own.status, &told["id"]),
                (200, &Value::from(id)),
                "{name}: {}",
                own.text()
            );
            stage.permitted += 1;
        }
    }
    stage.check(name);
    read
}

#[test]
fn transfer_encoding_gadgets_smuggle_nothing() {
    let Some(folder) = folder("http1") else { return };
    let mut stage = Stage::new();
    let mut tally = Tally::default();
    for case in cases(&folder, "te_gadgets.jsonl") {
        let name = case["name"].as_str().unwrap();
        let gadget: Vec<u8> = case["gadget_latin1"]
            .as_str()
            .unwrap()
            .chars()
            .map(|character| u8::try_from(u32::from(character)).unwrap())
            .collect();
        let call = crate::attacks::echo();
        let (_, smuggled) = stage.canary();
        let smuggled = String::from_utf8(smuggled.to_http(HOST, PATH)).unwrap();
        // For a reader of chunks the body ends at once, and the rest is another request.
        let by_length = probe(&stage, &gadget, &format!("0\r\n\r\n{smuggled}"), true);
        assert_eq!(send(&mut stage, name, &by_length, ""), Read::Refused, "{name}");
        // For a reader of lengths the body is empty, and the chunks are another request.
        let chunks = format!("{:x}\r\n{}\r\n0\r\n\r\n", call.body.len(), call.body);
        let by_chunks = probe(&stage, &gadget, &chunks, false);
        let chunked = send(&mut stage, name, &by_chunks, &call.body);
        // One request however it is read.
        let plain = probe(&stage, &gadget, &call.body, true);
        let plain = send(&mut stage, name, &plain, &call.body);
        let reason = match (chunked, plain) {
            (Read::Refused, Read::Refused) => "refused as a head without one reading",
            (Read::AsOne, Read::Refused) => "read as `chunked` and as one request; refused beside a length",
            (Read::Refused, Read::AsOne) => "read as another field and as one request; nothing is chunked",
            (Read::AsOne, Read::AsOne) => panic!("{name}: both framings were read"),
        };
        tally.count(reason);
    }
    tally.say("transfer-encoding gadgets, three probes each");
}
