//! D3, the attacks on HTTP/2: frames that cost their client nothing.
//!
//! Owns a test an attack: the connection, or the stream, is ended; the gate's memory grows by 16 MiB at most; a good
//! client on another connection is served all the while. The counts here are small; `PORTCULLIS_FLOOD=100000 cargo test
//! --workspace --locked -- floods` sends as many frames as that.

use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Connection;
use portcullis_fixtures::mcp::Canned;
use portcullis_fixtures::persona::ALICE;

use crate::attacks::{RATE, echo};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, Wire, block, frame, integer,
};
use crate::gate::{Gate, HOST, PATH};
use crate::tls::Authority;

/// Frames of a flood, unless the environment says more.
const FRAMES: u32 = 3_000;
/// By how much the gate's memory may grow.
const GROWTH_KIB: u64 = 16 * 1024;
/// The error code of a gate that has had enough (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: u32 = 11;

fn frames() -> u32 {
    let told = std::env::var("PORTCULLIS_FLOOD").ok();
    told.map_or(FRAMES, |told| told.parse().unwrap())
}

/// A gate under attack, and a good client of it on another listener.
struct Stage {
    gate: Gate,
    authority: Authority,
    good: Connection,
    call: Call,
    before_kib: u64,
}

impl Stage {
    fn new(limits: &str) -> Self {
        let authority = Authority::new();
        let listener = "127.0.0.1:0\n    tls: {certificate: gate.pem, key: gate.key}\n  - address: 127.0.0.1:0";
        let mut gate = Gate::start_in(authority.folder(), listener, RATE, limits);
        let good = Connection::open(gate.next_address()).unwrap();
        let call = echo().bearer(&gate.token(&ALICE));
        let mut stage = Self {
            gate,
            authority,
            good,
            call,
            before_kib: 0,
        };
        // What every gate allocates once is no growth.
        stage.serves();
        Wire::open(&stage.gate, &stage.authority, &[]).ask_livez(1);
        stage.before_kib = stage.gate.resident_kib();
        stage
    }

    fn wire(&self) -> Wire {
        Wire::open(&self.gate, &self.authority, &[])
    }

    #[track_caller]
    fn serves(&mut self) {
        let answer = self.good.exchange(&self.call.to_http(HOST, PATH)).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Sends a flood until the gate takes no more of it.
    fn flood(&mut self, wire: &mut Wire, mut next: impl FnMut(u32) -> Vec<u8>) {
        for round in 0..frames() {
            wire.send(&next(round));
            if wire.has_ended {
                return;
            }
            if round % 500 == 0 {
                self.serves();
            }
        }
    }

    /// Checks that the connection has ended, and what it cost; the error code that was told, if any.
    #[track_caller]
    fn ended(mut self, name: &str, mut wire: Wire) -> Option<u32> {
        let told = wire.until(|frame| frame.kind == GOAWAY);
        assert!(told.is_some() || wire.has_ended, "{name}: the connection goes on");
        self.serves();
        self.check_memory(name);
        told.as_ref().and_then(Frame::error)
    }

    #[track_caller]
    fn check_memory(&self, name: &str) {
        let grown = self.gate.resident_kib().saturating_sub(self.before_kib);
        assert!(grown <= GROWTH_KIB, "{name}: the gate has grown by {grown} KiB");
        assert!(!self.gate.log().contains("panicked"), "{name}");
    }
}

fn odd(round: u32) -> u32 {
    round * 2 + 1
}

#[test]
fn rapid_reset() {
    let mut stage = Stage::new("");
    let mut wire = stage.wire();
    let head = block("POST", PATH, []);
    stage.flood(&mut wire, |round| {
        let stream = odd(round);
        [
            frame(HEADERS, END_HEADERS, stream, &head),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    });
    stage.ended("rapid reset", wire);
}

/// The same, many at once, so that none of them is taken before it is gone.
#[test]
fn rapid_reset_before_anybody_looks() {
    let mut stage = Stage::new("");
    let mut wire = stage.wire();
    let head = block("POST", PATH, []);
    let pair = |stream| {
        [
            frame(HEADERS, END_HEADERS, stream, &head),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    };
    stage.flood(&mut wire, |round| {
        (0..50).flat_map(|place| pair(odd(round * 50 + place))).collect()
    });
    stage.ended("rapid reset at once", wire);
}

/// CVE-2025-8671: the client makes the gate reset the stream itself.
#[test]
fn made_you_reset() {
    let mut stage = Stage::new("");
    let mut wire = stage.wire();
    let head = block("POST", PATH, []);
    stage.flood(&mut wire, |round| {
        let stream = odd(round);
        [
            frame(HEADERS, END_HEADERS, stream, &head),
            frame(WINDOW_UPDATE, 0, stream, &[0; 4]),
        ]
        .concat()
    });
    let code = stage.ended("made you reset", wire);
    assert!(
        code.is_none_or(|code| code == ENHANCE_YOUR_CALM || code == 1),
        "{code:?}"
    );
}

#[test]
fn continuation_flood() {
    let mut stage = Stage::new("");
    for piece in [&[][..], &[0, 1, b'a', 1, b'b']] {
        let mut wire = stage.wire();
        wire.send(&frame(HEADERS, END_STREAM, 1, &block("GET", "/livez", [])));
        stage.flood(&mut wire, |_| frame(CONTINUATION, 0, 1, piece));
        let told = wire.until(|frame| frame.kind == GOAWAY);
        assert!(told.is_some() || wire.has_ended, "the connection goes on");
    }
    stage.serves();
    stage.check_memory("continuation flood");
}

#[test]
fn empty_data_flood() {
    let mut stage = Stage::new("");
    let mut wire = stage.wire();
    let call = stage.call.clone();
    wire.begin(1, PATH, &call);
    stage.flood(&mut wire, |_| frame(DATA, 0, 1, &[]));
    stage.ended("empty DATA", wire);
}

#[test]
fn floods_of_frames_without_a_message() {
    for (name, one) in [
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
        ("empty SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
        ("frames of no known kind", frame(0xbe, 0, 0, &[])),
    ] {
        let mut stage = Stage::new("");
        let mut wire = stage.wire();
        stage.flood(&mut wire, |_| one.clone());
        stage.ended(name, wire);
    }
}

/// A field of 4,000 bytes that is named again by one byte each: 16 KiB on the wire are 64 MiB.
#[test]
fn hpack_bomb() {
    let mut stage = Stage::new("");
    let mut wire = stage.wire();
    let mut bomb = block("GET", "/livez", []);
    bomb.push(0x40);
    integer(&mut bomb, 1);
    bomb.push(b'a');
    integer(&mut bomb, 4_000);
    bomb.extend([b'b'; 4_000]);
    bomb.resize(16_000, 0xbe);
    let mut again = block("GET", "/livez", []);
    again.resize(16_000, 0xbe);
    for round in 0..frames().min(200) {
        let head = if round == 0 { &bomb } else { &again };
        wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, odd(round), head));
    }
    // Each is refused, or all of them are.
    let served = wire.within(Duration::from_millis(300), |frame| frame.status() == Some(200));
    assert_eq!(served, None, "a bomb was read");
    stage.serves();
    stage.check_memory("HPACK bomb");
}

/// A client that asks for much and lets nothing be sent.
#[test]
fn zero_window() {
    let mut stage = Stage::new("  body_deadline: 2s");
    let text = "a".repeat(80_000);
    let result = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}]}}}}"#
    );
    // One such answer is judged before, so that what judging them needs once is no growth.
    stage.gate.upstream.answer_next(Canned::json(&result));
    stage.serves();
    stage.before_kib = stage.gate.resident_kib();
    let mut wire = Wire::open(&stage.gate, &stage.authority, &[(4, 0)]);
    let call = Call::tools_call(Era::Modern, 1, crate::attacks::TOOL, "{}").bearer(&stage.gate.token(&ALICE));
    let streams = 20;
    for stream in (0..streams).map(odd) {
        stage.gate.upstream.answer_next(Canned::json(&result));
        wire.begin(stream, PATH, &call);
        wire.send(&frame(DATA, END_STREAM, stream, call.body.as_bytes()));
        let head = wire.until(|frame| frame.stream == stream && frame.kind == HEADERS);
        assert_eq!(head.and_then(|frame| frame.status()), Some(200));
    }
    stage.serves();
    let mut ended = 0;
    while ended < streams
        && wire
            .until(|frame| frame.kind == RST_STREAM || frame.kind == GOAWAY)
            .is_some()
    {
        ended += 1;
    }
    assert!(
        ended == streams || wire.has_ended,
        "{ended} streams of {streams} were ended"
    );
    stage.check_memory("zero window");
}
