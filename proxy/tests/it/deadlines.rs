//! D4, D5, D6: clients that are slow, and heads and bodies that are long or lie about their length.
//!
//! Owns the deadlines of heads and bodies over HTTP/1.1 and HTTP/2, which are total, and that of answers that nobody
//! takes. The deadlines of these gates are short, and nobody here waits for longer than one of them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use portcullis_fixtures::http1::request;
use portcullis_fixtures::mcp::Canned;
use portcullis_fixtures::persona::ALICE;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::attacks::{RATE, echo};
use crate::frames::{DATA, END_HEADERS, HEADERS, SETTINGS, Wire, block, frame};
use crate::gate::{Gate, HOST, PATH, until};
use crate::tls::Authority;

const SHORT: &str = "  header_deadline: 1s\n  body_deadline: 1s";
/// What the gate has time for beside its own deadline, on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// Sends these bytes, then one of `drip` again and again; what came back, and after what time.
fn drip(gate: &Gate, first: &[u8], drip: u8) -> (String, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(gate.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    stream.write_all(first).unwrap();
    let mut came = Vec::new();
    while begun.elapsed() < SLACK {
        let mut bytes = [0; 4_096];
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => came.extend(&bytes[..read]),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                if came.is_empty() && drip != 0 {
                    let _ = stream.write_all(&[drip]);
                }
            }
            Err(_) => break,
        }
    }
    (String::from_utf8_lossy(&came).into_owned(), begun.elapsed())
}

#[test]
fn a_slow_head_or_body_is_refused_by_its_total_deadline() {
    let gate = Gate::start_with("127.0.0.1:0", RATE, SHORT);
    let call = echo().bearer(&gate.token(&ALICE));
    let whole = call.to_http(HOST, PATH);
    let chunked = String::from_utf8(whole.clone()).unwrap();
    let chunked = chunked.replacen(
        &format!("content-length: {}\r\n\r\n", call.body.len()),
        "transfer-encoding: chunked\r\n\r\nffff\r\n",
        1,
    );
    for (name, first, byte) in [
        ("silence", &b""[..], 0),
        ("half a head", b"POST / HTTP/1.1\r\nhost: a", 0),
        ("a dripping head", b"POST / HTTP/1.1\r\nhost: a", b'a'),
        ("a body that stays away", &whole[..whole.len() - 5], 0),
        ("a dripping chunk", chunked.as_bytes(), b'a'),
    ] {
        let (answer, took) = drip(&gate, first, byte);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{name}: {answer}");
        assert!(
            answer.to_ascii_lowercase().contains("connection: close"),
            "{name}: {answer}"
        );
        assert!(Duration::from_millis(900) < took && took < SLACK, "{name}: {took:?}");
    }
    assert_eq!(gate.upstream.capture().count(), 0);
    assert_eq!(gate.call(&call).status, 200);
}

#[test]
fn a_second_head_has_its_own_deadline_and_idle_connections_have_another() {
    let gate = Gate::start_with("127.0.0.1:0", RATE, SHORT);
    let call = echo().bearer(&gate.token(&ALICE));
    let mut connection = gate.connect();
    assert_eq!(connection.exchange(&call.to_http(HOST, PATH)).unwrap().status, 200);
    connection.send(b"POST /crm").unwrap();
    assert_eq!(connection.read_response().unwrap().status, 408);
}

#[test]
fn what_is_begun_over_http2_has_to_be_finished() {
    let authority = Authority::new();
    let listener = "127.0.0.1:0\n    tls: {certificate: gate.pem, key: gate.key}";
    let gate = Gate::start_in(authority.folder(), listener, RATE, SHORT);
    let call = echo().bearer(&gate.token(&ALICE));
    let head = block("GET", "/livez", []);
    type Begin = fn(&mut Wire, &[u8]);
    let begun: [(&str, Begin); 5] = [
        ("nothing", |_, _| {}),
        ("half a preface", |wire, _| wire.send(b"PRI * HTTP/2.0\r\n")),
        ("a preface without settings", |wire, _| wire.send_preface()),
        ("half a frame", |wire, head| {
            wire.send_preface();
            wire.send(&frame(SETTINGS, 0, 0, &[]));
            wire.send(&frame(HEADERS, END_HEADERS, 1, head)[..12]);
        }),
        ("half a header block", |wire, head| {
            wire.send_preface();
            wire.send(&frame(SETTINGS, 0, 0, &[]));
            wire.send(&frame(HEADERS, 0, 1, head));
        }),
    ];
    for (name, begin) in begun {
        let mut wire = Wire::bare(&gate, &authority);
        let started = Instant::now();
        begin(&mut wire, &head);
        wire.within(SLACK, |_| false);
        assert!(wire.has_ended, "{name}: the connection goes on");
        assert!(started.elapsed() < SLACK, "{name}");
    }
    // A body has its deadline too, and the other streams of its connection go on.
    for part in [&b""[..], &b"{\"jsonrpc\""[..]] {
        let mut wire = Wire::open(&gate, &authority, &[]);
        wire.begin(1, PATH, &call);
        wire.send(&frame(DATA, 0, 1, part));
        let refused = wire.until(|frame| frame.stream == 1 && frame.kind == HEADERS);
        assert!(refused.is_some_and(|frame| frame.status() != Some(200)), "{part:?}");
        let told = wire.until(|frame| frame.stream == 1 && frame.kind == DATA && !frame.payload.is_empty());
        let body: Value = serde_json::from_slice(&told.unwrap().payload).unwrap();
        assert_eq!(body["error"]["data"]["status"], 408, "{body}");
        wire.ask_livez(3);
        assert!(
            wire.until(|frame| frame.stream == 3 && frame.status() == Some(200))
                .is_some()
        );
    }
    assert_eq!(gate.upstream.capture().count(), 0);
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let gate = Gate::start_with("127.0.0.1:0", RATE, "  body_deadline: 1s");
    let text = "a".repeat(7 * 1024 * 1024);
    let result = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}]}}}}"#
    );
    gate.upstream.answer_next(Canned::json(&result));
    let before = gate.open_files();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&gate.address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let call = echo().bearer(&gate.token(&ALICE));
    stream.write_all(&call.to_http(HOST, PATH)).unwrap();
    // The answer is on its way, and more of it than anybody buffers; then nobody but this client holds the connection.
    until(|| gate.tail().iter().any(|record| record["phase"] == "response"));
    until(|| gate.open_files() <= before);
    drop(stream);
    assert_eq!(gate.call(&call).status, 200);
}

#[test]
fn long_heads_are_refused_by_size() {
    let gate = Gate::start_with("127.0.0.1:0", RATE, "");
    let call = echo().bearer(&gate.token(&ALICE));
    let long = call.clone().header("x-long", &"a".repeat(64 * 1024));
    let wide = (0..1_000).fold(call.clone(), |call, number| call.header(&format!("x-{number}"), "a"));
    for (name, call) in [("64 KiB", long), ("1,000 fields", wide)] {
        let answer = gate.connect().exchange(&call.to_http(HOST, PATH)).unwrap();
        assert_eq!(
            (answer.status, answer.header("connection")),
            (431, Some("close")),
            "{name}"
        );
    }
    assert_eq!(gate.upstream.capture().count(), 0);
    assert_eq!(gate.call(&call).status, 200);
}

/// Bodies that are shorter or longer than they say.
#[test]
fn bodies_that_lie_about_their_length_are_refused() {
    let gate = Gate::start_with("127.0.0.1:0", RATE, SHORT);
    let call = echo().bearer(&gate.token(&ALICE));
    let body = call.body.as_bytes();
    let with = |framing: &str, body: &[u8]| {
        let fields = call.headers.iter().map(|(name, value)| (&**name, &**value));
        let head = String::from_utf8(request("POST", HOST, PATH, fields, b"")).unwrap();
        let mut bytes = head.replacen("content-length: 0\r\n", framing, 1).into_bytes();
        bytes.extend(body);
        bytes
    };
    let length = |bytes: usize| format!("content-length: {bytes}\r\n");
    let chunked = "transfer-encoding: chunked\r\n";
    let chunks = |declared: usize| [format!("{declared:x}\r\n").as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
    for (name, bytes, status) in [
        ("less than declared", with(&length(body.len() + 1), body), 408),
        ("more than declared", with(&length(body.len() - 1), body), 400),
        ("a chunk with less", with(chunked, &chunks(body.len() + 1)), 400),
        ("a chunk with more", with(chunked, &chunks(body.len() - 1)), 400),
        ("a megabyte by declaration", with(&length(1_048_577), b""), 413),
        ("more than anybody has", with(&length(usize::MAX), b"{}"), 413),
        ("a chunk of everything", with(chunked, b"ffffffffffffffff\r\n{}"), 400),
    ] {
        let answer = gate.connect().exchange(&bytes).unwrap();
        assert_eq!(
            (answer.status, answer.header("connection")),
            (status, Some("close")),
            "{name}"
        );
    }
    assert_eq!(gate.upstream.capture().count(), 0);
    let whole = gate.connect().exchange(&with(chunked, &chunks(body.len()))).unwrap();
    assert_eq!(whole.status, 200, "{}", whole.text());
}

/// A connection serves on after a body in chunks, now that nothing stands between them.
#[test]
fn a_connection_serves_on_after_chunks() {
    let gate = Gate::start_with("127.0.0.1:0", RATE, "");
    let call = echo().bearer(&gate.token(&ALICE));
    let fields = call.headers.iter().map(|(name, value)| (&**name, &**value));
    let head = String::from_utf8(request("POST", HOST, PATH, fields, b"")).unwrap();
    let mut bytes = head
        .replacen("content-length: 0\r\n", "transfer-encoding: chunked\r\n", 1)
        .into_bytes();
    for byte in call.body.bytes() {
        bytes.extend([b'1', b'\r', b'\n', byte, b'\r', b'\n']);
    }
    bytes.extend(b"0\r\n\r\n");
    let mut connection = gate.connect();
    for _ in 0..3 {
        let answer = connection.exchange(&bytes).unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("keep-alive")));
        assert_eq!(gate.upstream.capture().last().unwrap().body, call.body.as_bytes());
    }
    assert_eq!(connection.exchange(&call.to_http(HOST, PATH)).unwrap().status, 200);
}

/// An upgrade is never made: alone it is read over, with bytes behind it the request has two readings.
#[test]
fn an_upgrade_is_read_over_and_never_followed_by_bytes() {
    let gate = Gate::start_with("127.0.0.1:0", RATE, "");
    let call = echo().bearer(&gate.token(&ALICE));
    let upgrade = call
        .clone()
        .header("connection", "Upgrade, HTTP2-Settings")
        .header("upgrade", "h2c");
    let upgrade = upgrade.header("http2-settings", "AAMAAABkAAQAAP__").to_http(HOST, PATH);
    let mut connection = gate.connect();
    for _ in 0..2 {
        let answer = connection.exchange(&upgrade).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let before = gate.upstream.capture().count();
    for behind in [
        &call.to_http(HOST, PATH)[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x81\x00",
    ] {
        let both = [upgrade.as_slice(), behind].concat();
        let answer = gate.connect().exchange(&both).unwrap();
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
    }
    assert_eq!(gate.upstream.capture().count(), before);
}
