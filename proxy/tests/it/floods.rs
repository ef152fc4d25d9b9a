//! D3, the attacks on HTTP/2: frames that cost their client nothing.
//!
//! Owns a test an attack: each connection, or each stream, is ended with its reason; the gate's memory grows by 16 MiB at
//! most; a good client on another connection is served all the while, and how long it waited is printed. The counts here
//! are small; `PORTCULLIS_FLOOD=100000 cargo test --workspace --locked --test it -- floods:: --nocapture --test-threads 1`
//! sends as many frames as that in each attack, over one connection after the other.

use std::io::{Write as _, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

/// Frames of a flood, unless the environment says more; and of one connection at most.
const FRAMES: u32 = 3_000;
/// Calls of the good client without a flood, and at least beside one.
const CALLS: usize = 200;
/// By how much the gate's memory may grow.
const GROWTH_KIB: u64 = 16 * 1024;
/// The error code of a gate that has had enough (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: u32 = 11;
/// That of a client which breaks the protocol.
const PROTOCOL_ERROR: u32 = 1;

fn frames() -> u32 {
    let told = std::env::var("PORTCULLIS_FLOOD").ok();
    told.map_or(FRAMES, |told| told.parse().unwrap())
}

/// A gate under attack, and a good client of it on another listener.
struct Stage {
    field: Field,
    good: Connection,
    call: Call,
    before_kib: u64,
}

/// Where the attack takes place.
struct Field {
    gate: Gate,
    authority: Authority,
}

/// Ends the good client's calls, also when the attack fails.
struct Over<'f>(&'f AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stage {
    fn new(limits: &str) -> Self {
        let authority = Authority::new();
        let listener = "127.0.0.1:0\n    tls: {certificate: gate.pem, key: gate.key}\n  - address: 127.0.0.1:0";
        let mut gate = Gate::start_in(authority.folder(), listener, RATE, limits);
        let good = Connection::open(gate.next_address()).unwrap();
        let call = echo().bearer(&gate.token(&ALICE));
        let mut stage = Self {
            field: Field { gate, authority },
            good,
            call,
            before_kib: 0,
        };
        // What every gate allocates once is no growth.
        stage.serves();
        stage.field.wire().ask_livez(1);
        stage.before_kib = stage.field.gate.resident_kib();
        stage
    }

    #[track_caller]
    fn serves(&mut self) {
        let answer = self.good.exchange(&self.call.to_http(HOST, PATH)).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Runs an attack beside the good client, prints how long that waited without it and beside it, and checks the cost.
    #[track_caller]
    fn beside(&mut self, name: &str, attack: impl FnOnce(&Field)) {
        let call = self.call.to_http(HOST, PATH);
        let before = times(&mut self.good, &call, |done| done < CALLS);
        let over = AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            let good = &mut self.good;
            let is_over = &over;
            let calling =
                scope.spawn(move || times(good, &call, |done| done < CALLS || !is_over.load(Ordering::Relaxed)));
            let ends = Over(&over);
            attack(&self.field);
            drop(ends);
            calling.join().unwrap()
        });
        let at = |times: &[Duration], percent: usize| times[times.len() * percent / 100];
        let (before_p99, beside_p99) = (at(&before, 99), at(&beside, 99));
        writeln!(
            stdout(),
            "{name}: {} calls beside it; p50 {:?} -> {:?}, p99 {before_p99:?} -> {beside_p99:?}, {:.2} times",
            beside.len(),
            at(&before, 50),
            at(&beside, 50),
            beside_p99.as_secs_f64() / before_p99.as_secs_f64(),
        )
        .unwrap();
        self.serves();
        self.check_memory(name);
    }

    /// Floods one connection after the other: each is ended by GOAWAY with one of these codes.
    #[track_caller]
    fn flood(&mut self, name: &str, codes: &[u32], begin: impl Fn(&mut Wire), next: impl Fn(u32) -> Vec<u8>) {
        self.beside(name, |field| {
            let mut sent = 0;
            while sent < frames() {
                let mut wire = field.wire();
                begin(&mut wire);
                let mut round = 0;
                while !wire.has_ended && round < FRAMES {
                    wire.send(&next(round));
                    round += 1;
                }
                sent += round;
                let told = wire.until(|frame| frame.kind == GOAWAY);
                let code = told.as_ref().and_then(Frame::error);
                assert!(
                    code.is_some_and(|code| codes.contains(&code)),
                    "{name}: {told:?} after {round} frames"
                );
                wire.until(|_| false);
                assert!(wire.has_ended, "{name}: the connection goes on");
            }
        });
    }

    #[track_caller]
    fn check_memory(&self, name: &str) {
        let grown = self.field.gate.resident_kib().saturating_sub(self.before_kib);
        assert!(grown <= GROWTH_KIB, "{name}: the gate has grown by {grown} KiB");
        assert!(!self.field.gate.log().contains("panicked"), "{name}");
    }
}

impl Field {
    fn wire(&self) -> Wire {
        Wire::open(&self.gate, &self.authority, &[])
    }
}

/// The times of calls one after the other, in order of size.
fn times(good: &mut Connection, call: &[u8], goes_on: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while goes_on(times.len()) {
        let begun = Instant::now();
        let answer = good.exchange(call).unwrap();
        times.push(begun.elapsed());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    times.sort_unstable();
    times
}

fn odd(round: u32) -> u32 {
    round * 2 + 1
}

/// The head of a call, and what comes behind it on its stream.
fn pair(stream: u32, then: u8, payload: &[u8]) -> Vec<u8> {
    let head = block("POST", PATH, []);
    let then = frame(then, 0, stream, payload);
    [frame(HEADERS, END_HEADERS, stream, &head), then].concat()
}

#[test]
fn rapid_reset() {
    let next = |round| pair(odd(round), RST_STREAM, &[0, 0, 0, 8]);
    Stage::new("").flood("rapid reset", &[ENHANCE_YOUR_CALM], |_| {}, next);
}

/// The same, many at once, so that none of them is taken before it is gone.
#[test]
fn rapid_reset_before_anybody_looks() {
    let many = |round| {
        let streams = (0..50).map(|place| odd(round * 50 + place));
        streams
            .flat_map(|stream| pair(stream, RST_STREAM, &[0, 0, 0, 8]))
            .collect()
    };
    Stage::new("").flood("rapid reset at once", &[ENHANCE_YOUR_CALM], |_| {}, many);
}

/// CVE-2025-8671: the client makes the gate reset the stream itself.
#[test]
fn made_you_reset() {
    let next = |round| pair(odd(round), WINDOW_UPDATE, &[0; 4]);
    Stage::new("").flood("made you reset", &[ENHANCE_YOUR_CALM, PROTOCOL_ERROR], |_| {}, next);
}

#[test]
fn continuation_flood() {
    let mut stage = Stage::new("");
    let begin = |wire: &mut Wire| wire.send(&frame(HEADERS, END_STREAM, 1, &block("GET", "/livez", [])));
    for (name, piece) in [
        ("empty CONTINUATION", &[][..]),
        ("CONTINUATION", &[0, 1, b'a', 1, b'b']),
    ] {
        stage.flood(name, &[ENHANCE_YOUR_CALM], begin, |_| frame(CONTINUATION, 0, 1, piece));
    }
}

#[test]
fn empty_data_flood() {
    let mut stage = Stage::new("");
    let call = stage.call.clone();
    let begin = |wire: &mut Wire| wire.begin(1, PATH, &call);
    stage.flood("empty DATA", &[ENHANCE_YOUR_CALM], begin, |_| frame(DATA, 0, 1, &[]));
}

/// Frames that carry nothing of a message, by name.
fn idle() -> [(&'static str, Vec<u8>); 5] {
    [
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
        ("empty SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
        ("frames of no known kind", frame(0xbe, 0, 0, &[])),
    ]
}

#[test]
fn floods_of_frames_without_a_message() {
    for (name, one) in idle() {
        Stage::new("").flood(name, &[ENHANCE_YOUR_CALM], |_| {}, |_| one.clone());
    }
}

/// The neighbours of these floods: within the ration nobody is ended.
#[test]
fn a_client_within_its_ration_goes_on() {
    let stage = Stage::new("");
    for (name, one) in idle() {
        let mut wire = stage.field.wire();
        for _ in 0..900 {
            wire.send(&one);
        }
        wire.ask_livez(1);
        let answer = wire.until(|frame| frame.kind == GOAWAY || frame.status().is_some());
        assert_eq!(answer.and_then(|frame| frame.status()), Some(200), "{name}");
    }
}

/// A field of 4,000 bytes that is named again by one byte each: 16 KiB on the wire are 64 MiB.
#[test]
fn hpack_bomb() {
    let mut stage = Stage::new("");
    let mut bomb = block("GET", "/livez", []);
    bomb.push(0x40);
    integer(&mut bomb, 1);
    bomb.push(b'a');
    integer(&mut bomb, 4_000);
    bomb.extend([b'b'; 4_000]);
    bomb.resize(16_000, 0xbe);
    let mut again = block("GET", "/livez", []);
    again.resize(16_000, 0xbe);
    stage.beside("HPACK bomb", |field| {
        let mut sent = 0;
        while sent < frames() {
            let mut wire = field.wire();
            for round in 0..200 {
                let head = if round == 0 { &bomb } else { &again };
                wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, odd(round), head));
            }
            sent += 200;
            // Each is refused, or all of them are.
            let served = wire.within(Duration::from_millis(300), |frame| frame.status() == Some(200));
            assert_eq!(served, None, "a bomb was read");
        }
    });
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
    stage.field.gate.upstream.answer_next(Canned::json(&result));
    stage.serves();
    stage.before_kib = stage.field.gate.resident_kib();
    let call = Call::tools_call(Era::Modern, 1, crate::attacks::TOOL, "{}").bearer(&stage.field.gate.token(&ALICE));
    let mut wire = Wire::open(&stage.field.gate, &stage.field.authority, &[(4, 0)]);
    let streams = 20;
    for stream in (0..streams).map(odd) {
        stage.field.gate.upstream.answer_next(Canned::json(&result));
        wire.begin(stream, PATH, &call);
        wire.send(&frame(DATA, END_STREAM, stream, call.body.as_bytes()));
        let head = wire.until(|frame| frame.stream == stream && frame.kind == HEADERS);
        assert_eq!(head.and_then(|frame| frame.status()), Some(200));
    }
    stage.beside("zero window", |_| {
        let ends = |frame: &Frame| frame.kind == RST_STREAM || frame.kind == GOAWAY;
        let ended = (0..streams).take_while(|_| wire.until(ends).is_some()).count();
        assert!(
            ended == streams as usize || wire.has_ended,
            "{ended} streams of {streams} were ended"
        );
    });
}
