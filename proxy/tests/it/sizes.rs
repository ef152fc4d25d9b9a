//! The length of a body: what fits arrives byte for byte, what does not fit gets 413 and arrives nowhere.

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::request;
use portcullis_fixtures::persona::ALICE;
use serde_json::Value;

use crate::gate::{Gate, HOST, PATH};

/// Bytes of the longest body, by default.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// JSON that no reader would write again just so: blanks, escapes that need not be, numbers in odd forms.
const ODD: &str = "\t\"\\u0061b\\/\" : [ 1.50 ,\n2E+1,\r\n-0.0, true , null,{ } ],  \"caf\u{e9} \u{1f511}\":\"\\ud83d\\ude00\\u00e9\\\"\",";

/// How the body is framed.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// In chunks of this many bytes.
    Chunks(usize),
    /// By its length.
    Length,
}

const FRAMINGS: [Framing; 4] = [
    Framing::Length,
    Framing::Chunks(BODY_BYTES_MAX * 2),
    Framing::Chunks(64 * 1024),
    Framing::Chunks(1_021),
];

/// A call of `era` whose body has exactly `bytes` bytes.
fn call(gate: &Gate, era: Era, token: &str, bytes: usize) -> Call {
    let make = |length: usize| {
        // Escapes on the way; whole, since the odd rest stands in front.
        let padding = "0123456789abcd\\n".repeat(length / 16);
        let rest = "_".repeat(length % 16);
        let arguments = format!("{{{ODD} \"padding\" :\"{rest}{padding}\" }}");
        Call::tools_call(era, 1, "demo.echo", &arguments).bearer(token)
    };
    let made = make(bytes - make(0).body.len());
    assert_eq!(made.body.len(), bytes);
    match era {
        Era::Legacy => {
            let opened = gate.call(&Call::initialize(1).bearer(token));
            made.header("mcp-session-id", opened.header("mcp-session-id").unwrap())
        }
        Era::Modern => made,
    }
}

/// The call as HTTP/1.1 bytes.
fn framed(call: &Call, framing: Framing) -> Vec<u8> {
    let size = match framing {
        Framing::Chunks(size) => size,
        Framing::Length => return call.to_http(HOST, PATH),
    };
    let chunked = call.clone().header("transfer-encoding", "chunked");
    let headers = chunked
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let head = request("POST", HOST, PATH, headers, b"");
    let head = String::from_utf8(head).unwrap().replace("content-length: 0\r\n", "");
    let mut bytes = head.into_bytes();
    for chunk in call.body.as_bytes().chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn a_long_body_arrives_byte_for_byte() {
    let gate = Gate::start("");
    let token = gate.token(&ALICE);
    for bytes in [900 * 1024, BODY_BYTES_MAX] {
        for era in [Era::Legacy, Era::Modern] {
            for framing in FRAMINGS {
                let name = format!("{bytes} bytes, {era:?}, {framing:?}");
                let call = call(&gate, era, &token, bytes);
                let answer = gate.connect().exchange(&framed(&call, framing));
                let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(answer.status, 200, "{name}: {}", answer.text());
                let arrived = gate.upstream.capture().last().unwrap();
                assert!(arrived.body == call.body.as_bytes(), "{name}: the bytes are others");
                let length = arrived.header("content-length").unwrap();
                assert_eq!(length, bytes.to_string(), "{name}");
                let told: Value = serde_json::from_slice(&answer.body).unwrap();
                let told = &told["result"]["structuredContent"];
                assert_eq!(told["bytes"], bytes, "{name}: {told}");
            }
        }
    }
}

#[test]
fn a_body_over_the_limit_is_refused_and_goes_nowhere() {
    let gate = Gate::start("");
    let token = gate.token(&ALICE);
    // 1.1 MiB, and so much that the client still writes when the answer comes.
    for bytes in [BODY_BYTES_MAX + 1, 1_153_434, 4 * 1024 * 1024] {
        for era in [Era::Legacy, Era::Modern] {
            let call = call(&gate, era, &token, bytes);
            let before = gate.upstream.capture().count();
            for framing in FRAMINGS {
                let name = format!("{bytes} bytes, {era:?}, {framing:?}");
                let answer = gate.connect().exchange(&framed(&call, framing));
                let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(answer.status, 413, "{name}: {}", answer.text());
                assert_eq!(gate.upstream.capture().count(), before, "{name} went upstream");
            }
        }
    }
}
