//! Frames of HTTP/2, good and bad.
//!
//! Owns the verdict on each: a bad one ends its connection, or its stream; of the good ones those that a client may send
//! out of the blue change nothing, and all others end the connection as well, since no stream is there that they could
//! belong to.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Stage, Tally, folder};
use crate::attacks::RATE;
use crate::frames::{END_STREAM, Frame, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire};
use crate::gate::Gate;
use crate::tls::Authority;

/// Every case below a folder, by its path.
fn documents(folder: &Path) -> Vec<(String, Value)> {
    let mut folders: Vec<PathBuf> = vec![folder.to_path_buf()];
    let mut documents = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                let document = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                documents.push((name, document));
            }
        }
    }
    documents.sort_by(|(one, _), (other, _)| one.cmp(other));
    documents
}

/// What has to come of a case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    /// The connection serves on.
    Nothing,
    /// The client says goodbye: it is served to the end, or not any more.
    Farewell,
    /// The connection or the stream ends.
    End,
}

fn expected(document: &Value) -> (Expected, &'static str) {
    if !document["error"].is_null() {
        return (Expected::End, "bad, and ended");
    }
    let number = |name: &str| document["frame"][name].as_u64().unwrap();
    let kind = u8::try_from(number("type")).unwrap();
    match (kind, number("stream_identifier")) {
        (SETTINGS | PING | WINDOW_UPDATE, 0) => (Expected::Nothing, "good, and nothing changed"),
        // It is read over since RFC 9113 section 5.3.2.
        (PRIORITY, _) => (Expected::Nothing, "good, and nothing changed"),
        (GOAWAY, 0) => (Expected::Farewell, "good, and the client's farewell"),
        // Extensions are read over (RFC 9113 section 4.1).
        (10.., _) => (Expected::Nothing, "good, and nothing changed"),
        _ => (
            Expected::End,
            "good in itself, but of no stream that is there, or no header block",
        ),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

#[test]
fn http2_frames_end_what_they_break_and_nothing_else() {
    let Some(folder) = folder("http2") else { return };
    let authority = Authority::new();
    let listener = "127.0.0.1:0\n    tls: {certificate: gate.pem, key: gate.key}\n  - address: 127.0.0.1:0";
    let mut stage = Stage::of(Gate::start_in(authority.folder(), listener, RATE, ""));
    let plain = stage.gate.next_address();
    let mut tally = Tally::default();
    for (name, document) in documents(&folder) {
        let mut wire = Wire::open(&stage.gate, &authority, &[]);
        wire.ask_livez(1);
        let livez = |stream: u32| move |frame: &Frame| frame.stream == stream && frame.status() == Some(200);
        assert!(
            wire.until(livez(1)).is_some(),
            "{name}: the connection serves before the case"
        );
        wire.send(&unhex(document["wire"].as_str().unwrap()));
        wire.ask_livez(103);
        let ended = |frame: &Frame| matches!(frame.kind, GOAWAY | RST_STREAM);
        let came = wire.until(|frame| ended(frame) || livez(103)(frame));
        let (expected, reason) = expected(&document);
        match expected {
            Expected::Nothing => assert!(came.as_ref().is_some_and(livez(103)), "{name}: {came:?}"),
            Expected::Farewell => {}
            Expected::End => assert!(came.as_ref().is_none_or(ended), "{name}: {came:?}"),
        }
        if let (Some(codes), Some(code)) = (document["error"].as_array(), came.as_ref().and_then(Frame::error)) {
            let known = codes.iter().any(|known| known == code);
            tally.count(if known {
                "  with the corpus's own error code"
            } else {
                "  with another error code"
            });
        }
        tally.count(reason);
        assert_ne!(
            came.map(|frame| frame.kind == HEADERS && frame.flags & END_STREAM != 0),
            Some(true)
        );
        stage.check_at(plain, &name);
    }
    tally.say("HTTP/2 frames");
}
