//! The rows E1 to E5 of the fault matrix: upstreams that fail, and clients that go.
//!
//! Owns what a client gets, what the records say and how often an upstream is asked: once. What JSON and events may say is
//! tested in `road` and in the core; here it is what becomes of the bytes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::{Connection, Response};
use portcullis_fixtures::persona::ALICE;
use serde_json::Value;

use crate::gate::{agent_and_body, own_listing};

use super::stub::{Stub, Then, answer, gate, json, result};
use crate::gate::{Gate, HOST, PATH, is_allow, is_end, until};

fn call(id: u64) -> Call {
    Call::tools_call(Era::Modern, id, "demo.echo", "{}")
}

fn ask(gate: &Gate, id: u64) -> Response {
    gate.call(&call(id).bearer(&gate.token(&ALICE)))
}

/// The outcomes of the calls that were allowed, in the order of their ends.
fn outcomes(gate: Gate) -> Vec<String> {
    let mut gate = gate;
    gate.terminate();
    assert!(gate.wait().success());
    assert!(!gate.log().contains("panicked"), "{}", gate.log());
    let records = gate.tail();
    let allowed = records.iter().filter(|record| is_allow(record)).count();
    let ends = records.iter().filter(|record| is_end(record));
    let outcomes: Vec<String> = ends
        .map(|record| record["outcome"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(outcomes.len(), allowed, "every allow is closed once: {records:?}");
    outcomes
}

#[track_caller]
fn check_error(name: &str, answer: &Response, status: u16) {
    assert_eq!(answer.status, status, "{name}: {}", answer.text());
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["id"], 1, "{name}: {body}");
    assert!(
        body["error"]["code"].is_i64() && body.get("result").is_none(),
        "{name}: {body}"
    );
    assert!(answer.header("portcullis-record-id").is_some(), "{name}");
    assert!(!answer.text().contains("secret"), "{name}");
}

/// What an upstream does that gives no whole head: what the client gets, and what the record says.
type Lost = (&'static str, fn(&mut TcpStream) -> Then, u16);

#[test]
fn e1_a_call_that_was_sent_and_got_no_answer_is_unknown_and_never_sent_again() {
    const CASES: [Lost; 6] = [
        ("closes", |_| Then::Close, 502),
        ("resets", |_| Then::Reset, 502),
        (
            "closes in its head",
            |stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-ty").unwrap();
                Then::Close
            },
            502,
        ),
        (
            "resets in its head",
            |stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
                Then::Reset
            },
            502,
        ),
        ("never answers", |_| Then::Await, 504),
        (
            "drips its head",
            |stream| {
                // Each read brings something, and the whole never comes.
                for byte in b"HTTP/1.1 200 OK\r\ncontent-type: ".iter().cycle() {
                    std::thread::sleep(Duration::from_millis(100));
                    if stream.write_all(&[*byte]).is_err() {
                        break;
                    }
                }
                Then::Close
            },
            504,
        ),
    ];
    let stub = Stub::start(
        |stream, _, number| match CASES.get(usize::try_from(number / 2).unwrap()) {
            Some((_, act, _)) if number % 2 == 0 => act(stream),
            _ => {
                stream.write_all(json(&result(1, "well")).as_bytes()).unwrap();
                Then::Keep
            }
        },
    );
    let gate = gate(&stub.url(), "  upstream_first_byte_deadline: 1500ms\n");
    for (at, (name, _, status)) in (1_u64..).zip(CASES) {
        let begun = Instant::now();
        check_error(name, &ask(&gate, 1), status);
        assert!(begun.elapsed() < Duration::from_secs(8), "{name}");
        // The next call finds everything as it was.
        assert_eq!(ask(&gate, 1).status, 200, "after: {name}");
        assert_eq!(stub.count(), at * 2, "{name}: a call was sent twice");
    }
    let expected = CASES.map(|_| ["unknown", "reviewed"]).concat();
    assert_eq!(outcomes(gate), expected);
}

#[test]
fn e1_an_upstream_that_takes_no_connection_has_failed() {
    // Bound, and nobody listens: the port stays taken and refuses.
    let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    taken.bind(&loopback.into()).unwrap();
    let address = taken.local_addr().unwrap().as_socket().unwrap();
    let gate = gate(&format!("http://{address}/mcp"), "");
    for _ in 0..5 {
        let begun = Instant::now();
        let list = Call::tools_list(Era::Modern, 1).bearer(&gate.token(&ALICE));
        check_error("refused", &gate.call(&list), 502);
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    let told = gate.logged("an endpoint is put aside");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["reason"], "the connection was refused");
    taken.listen(16).unwrap();
    let listener = TcpListener::from(taken);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut request = String::new();
                let mut piece = [0; 16 * 1024];
                while let Ok(read @ 1..) = stream.read(&mut piece) {
                    request.push_str(&String::from_utf8_lossy(&piece[..read]));
                    if request.ends_with("}}") {
                        let (agent, body) = agent_and_body(&request);
                        let told = own_listing(agent, body).unwrap_or_else(|| result(1, "well"));
                        let _ = stream.write_all(json(&told).as_bytes());
                        request.clear();
                    }
                }
            });
        }
    });
    until(|| ask(&gate, 1).status == 200);
    assert_eq!(gate.logged("an endpoint serves again").len(), 1);
    let outcomes = outcomes(gate);
    assert!(
        outcomes[..5].iter().all(|outcome| outcome == "upstream_failed"),
        "{outcomes:?}"
    );
}

#[test]
fn e2_a_body_that_breaks_off_is_no_answer() {
    let whole = result(1, "secret");
    let (half, _) = whole.split_at(whole.len() / 2);
    let long = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        whole.len()
    );
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |size: usize, bytes: &str| format!("{size:x}\r\n{bytes}\r\n");
    let cases = [
        ("half a length", format!("{long}{half}")),
        ("all but a byte", format!("{long}{}", whole.strip_suffix('}').unwrap())),
        ("half a chunk", format!("{chunked}{:x}\r\n{half}", whole.len())),
        ("no last chunk", format!("{chunked}{}", chunk(whole.len(), &whole))),
        ("no number of a chunk", format!("{chunked}zz\r\n{whole}\r\n0\r\n\r\n")),
        (
            "a chunk that is longer than it says",
            format!("{chunked}{}0\r\n\r\n", chunk(3, &whole)),
        ),
    ];
    let count = cases.len();
    for reset in [false, true] {
        let answers: Vec<String> = cases.iter().map(|(_, bytes)| bytes.clone()).collect();
        let stub = Stub::start(move |stream, _, number| {
            let bytes = &answers[usize::try_from(number).unwrap() % answers.len()];
            stream.write_all(bytes.as_bytes()).unwrap();
            if reset { Then::Reset } else { Then::Close }
        });
        let gate = gate(&stub.url(), "");
        for (name, _) in &cases {
            check_error(name, &ask(&gate, 1), 502);
        }
        assert_eq!(stub.count(), count as u64);
        // What a reset overtakes, the head included, never came.
        let outcomes = outcomes(gate);
        assert!(
            outcomes
                .iter()
                .all(|outcome| outcome == "upstream_failed" || (reset && outcome == "unknown")),
            "{outcomes:?}"
        );
    }
}

#[test]
fn e2_a_stream_that_breaks_off_ends_with_an_error_and_never_with_half_an_event() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |bytes: &str| format!("{:x}\r\n{bytes}\r\n", bytes.len());
    let note = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"x\"}}\n\n";
    let event = format!("data: {}\n\n", result(1, "secret"));
    let half = event.strip_suffix("\n\n").unwrap();
    let cases = [
        ("nothing", String::new()),
        ("a comment", chunk(": hello\n\n")),
        ("half an event", chunk(event.get(..40).unwrap())),
        ("an event without its empty line", chunk(half)),
        ("a chunk that breaks off", format!("{:x}\r\n{half}", event.len())),
        (
            "a message before half an event",
            format!("{}{}", chunk(note), chunk(half)),
        ),
        ("an end without an answer", format!("{}0\r\n\r\n", chunk(note))),
    ];
    for reset in [false, true] {
        let answers: Vec<String> = cases.iter().map(|(_, bytes)| format!("{head}{bytes}")).collect();
        let stub = Stub::start(move |stream, _, number| {
            let bytes = &answers[usize::try_from(number).unwrap() % answers.len()];
            stream.write_all(bytes.as_bytes()).unwrap();
            if reset {
                // A reset may overtake what was written: it comes once that has arrived.
                std::thread::sleep(Duration::from_millis(200));
                Then::Reset
            } else {
                Then::Close
            }
        });
        let gate = gate(&stub.url(), "");
        for (name, _) in &cases {
            let answer = ask(&gate, 1);
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            let text = answer.text();
            assert!(!text.contains("secret"), "{name}: {text}");
            let events: Vec<Value> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .map(|data| serde_json::from_str(data).unwrap_or_else(|_| panic!("{name}: half an event: {text}")))
                .collect();
            let last = events.last().unwrap_or_else(|| panic!("{name}: {text}"));
            assert!(last["id"] == 1 && last["error"]["code"].is_i64(), "{name}: {text}");
        }
        assert_eq!(stub.count(), cases.len() as u64);
        let outcomes = outcomes_of_streams(gate);
        assert!(
            outcomes.iter().all(|outcome| outcome == "upstream_failed"),
            "{outcomes:?}"
        );
    }
}

/// The outcomes with which streams were closed.
fn outcomes_of_streams(gate: Gate) -> Vec<String> {
    let mut gate = gate;
    gate.terminate();
    assert!(gate.wait().success());
    let records = gate.tail();
    let closes = records.iter().filter(|record| record["phase"] == "close");
    closes
        .map(|record| record["outcome"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn e3_what_is_no_answer_to_the_call_is_withheld() {
    let one = result(1, "secret");
    let coded = |coding: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n{one}",
            one.len()
        )
    };
    let status = |line: &str, further: &str| {
        format!(
            "HTTP/1.1 {line}\r\n{further}content-type: application/json\r\ncontent-length: {}\r\n\r\n{one}",
            one.len()
        )
    };
    let cases = [
        ("two documents", json(&format!("{one}{one}"))),
        ("two results in a list", json(&format!("[{one},{one}]"))),
        ("bad JSON", json(one.strip_suffix('}').unwrap())),
        ("nothing", json("")),
        ("another id", json(&result(2, "secret"))),
        ("an id of another type", json(&one.replace("\"id\":1", "\"id\":\"1\""))),
        (
            "two results in one",
            json(&one.replacen("\"result\":", "\"result\":{},\"result\":", 1)),
        ),
        (
            "a result and an error",
            json(&one.replacen(
                "\"result\":",
                "\"error\":{\"code\":1,\"message\":\"secret\"},\"result\":",
                1,
            )),
        ),
        ("gzip", coded("gzip")),
        ("br", coded("br")),
        ("identity by name", coded("identity")),
        ("a page", answer("text/html", &one)),
        (
            "401",
            status("401 Unauthorized", "www-authenticate: Bearer realm=\"secret\"\r\n"),
        ),
        ("403", status("403 Forbidden", "")),
        ("407", status("407 Proxy Authentication Required", "")),
        (
            "301",
            status("301 Moved Permanently", "location: http://127.0.0.1:1/secret\r\n"),
        ),
        (
            "307",
            status("307 Temporary Redirect", "location: http://127.0.0.1:1/secret\r\n"),
        ),
        (
            "101",
            String::from("HTTP/1.1 101 Switching Protocols\r\nupgrade: secret\r\nconnection: upgrade\r\n\r\n"),
        ),
        ("500", String::from("HTTP/1.1 500 secret\r\ncontent-length: 0\r\n\r\n")),
    ];
    let answers: Vec<String> = cases.iter().map(|(_, bytes)| bytes.clone()).collect();
    let stub = Stub::start(move |stream, _, number| {
        stream
            .write_all(answers[usize::try_from(number).unwrap()].as_bytes())
            .unwrap();
        Then::Keep
    });
    let gate = gate(&stub.url(), "");
    for (name, _) in &cases {
        let answer = ask(&gate, 1);
        if *name == "407" {
            // A status that MCP gives no meaning, with a body that answers: it is judged like any other.
            assert!(answer.status == 407 || answer.status == 502, "{}", answer.text());
            continue;
        }
        check_error(name, &answer, 502);
        assert!(answer.header("www-authenticate").is_none(), "{name}");
        assert!(answer.header("location").is_none(), "{name}");
    }
    assert_eq!(stub.count(), cases.len() as u64, "nothing is asked twice or followed");
}

#[test]
fn e3_a_second_answer_reaches_nobody() {
    let [one, two] = [result(1, "well"), result(1, "secret")];
    let events = format!("data: {one}\n\ndata: {two}\n\n");
    let stream = answer("text/event-stream", &events);
    // Unasked for, behind the answer, on a connection that stays open: the next call's answer if it were believed.
    let early = format!("{}{}", json(&one), json(&two));
    let answers = [stream, early];
    let stub = Stub::start(move |stream, _, number| {
        let bytes = answers.get(usize::try_from(number).unwrap());
        let honest = json(&result(1, "honest"));
        stream.write_all(bytes.unwrap_or(&honest).as_bytes()).unwrap();
        Then::Keep
    });
    let gate = gate(&stub.url(), "");
    for wanted in ["well", "well", "honest", "honest"] {
        let answer = ask(&gate, 1);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains(wanted), "{wanted}: {}", answer.text());
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
}

#[test]
fn e3_an_answer_without_end_is_bounded() {
    const PIECE: usize = 64 * 1_024;
    // More than is held anywhere on the way, and far less than the upstream has to say.
    const SENT_MAX: u64 = 64 * 1_024 * 1_024;
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let sse = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let begins = ["\"", "data: ", "data: x\ndata: ", ": ", "id: ", "event: ", "nothing"];
    for (at, begin) in begins.into_iter().enumerate() {
        let head = if at == 0 { json } else { sse };
        let sent = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&sent);
        let stub = Stub::start(move |stream, _, _| {
            let piece = format!("{PIECE:x}\r\n{}\r\n", "a".repeat(PIECE));
            let first = format!("{head}{:x}\r\n{begin}\r\n", begin.len());
            let mut written = stream.write_all(first.as_bytes());
            // Ten gigabytes, if it came to that.
            for _ in 0..160_000 {
                if written.is_err() {
                    break;
                }
                counted.fetch_add(PIECE as u64, Ordering::Relaxed);
                written = stream.write_all(piece.as_bytes());
            }
            Then::Close
        });
        let gate = gate(&stub.url(), "  answer_bytes_max: 1048576\n");
        let answer = ask(&gate, 1);
        assert!(
            answer.status == 502 || answer.text().contains("\"error\""),
            "{begin}: {}",
            answer.text()
        );
        assert!(answer.body.len() < PIECE, "{begin}: {} bytes", answer.body.len());
        assert!(sent.load(Ordering::Relaxed) < SENT_MAX, "{begin}");
        assert_eq!(stub.count(), 1);
    }
}

#[test]
fn answers_pass_at_their_limit_and_not_beyond() {
    let gate_limit = 4_000;
    let frame = result(1, "").len();
    for (bytes, status) in [(gate_limit, 200), (gate_limit + 1, 502)] {
        let body = result(1, &"a".repeat(bytes - frame));
        assert_eq!(body.len(), bytes);
        let chunked = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        for answer in [json(&body), chunked] {
            let stub = Stub::answering(answer);
            let gate = gate(&stub.url(), &format!("  answer_bytes_max: {gate_limit}\n"));
            assert_eq!(ask(&gate, 1).status, status, "{bytes}");
        }
    }
    // A body that drips past the deadline of the whole answer.
    let stub = Stub::start(|stream, _, _| {
        let body = result(1, "secret");
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        for byte in body.bytes() {
            std::thread::sleep(Duration::from_millis(200));
            if stream.write_all(&[byte]).is_err() {
                break;
            }
        }
        Then::Close
    });
    let gate = gate(&stub.url(), "  upstream_first_byte_deadline: 1500ms\n");
    let begun = Instant::now();
    check_error("a body that drips", &ask(&gate, 1), 504);
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert_eq!(outcomes(gate), ["upstream_failed"]);
}

#[test]
fn heads_of_answers_pass_at_their_limits_and_when_they_read_one_way() {
    let body = result(1, "well");
    let length = format!("content-length: {}\r\n", body.len());
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}\r\n{body}");
    let padded = |bytes: usize| {
        let bare = head(&format!("{length}x-padding: \r\n")).len() - body.len();
        head(&format!("{length}x-padding: {}\r\n", "a".repeat(bytes - bare)))
    };
    let interim = |count: usize| {
        format!(
            "{}{}",
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(count),
            json(&body)
        )
    };
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let cases = [
        ("as it should be", head(&length), 200),
        ("32 KiB", padded(32 * 1_024), 200),
        ("32 KiB and a byte", padded(32 * 1_024 + 1), 502),
        ("200 KiB", padded(200 * 1_024), 502),
        ("seven interim heads", interim(7), 200),
        ("eight interim heads", interim(8), 502),
        ("a thousand interim heads", interim(1_000), 502),
        ("300 fields", head(&format!("{length}{}", "x: y\r\n".repeat(300))), 502),
        ("a length twice", head(&format!("{length}{length}")), 502),
        ("two lengths", head(&format!("{length}content-length: 3\r\n")), 502),
        (
            "a length and a coding",
            head(&format!("{length}transfer-encoding: chunked\r\n")).replace(&body, &chunked),
            502,
        ),
        (
            "another coding",
            head("transfer-encoding: gzip, chunked\r\n").replace(&body, &chunked),
            502,
        ),
        ("a bare line feed", head(&format!("x: y\n{length}")), 502),
        ("a folded field", head(&format!("x: y\r\n z: w\r\n{length}")), 502),
        ("a space before the colon", head(&format!("x : y\r\n{length}")), 502),
        ("an empty line first", format!("\r\n{}", head(&length)), 502),
        (
            "an ambiguous interim head",
            format!("HTTP/1.1 103 x\nlink: y\r\n\r\n{}", json(&body)),
            502,
        ),
        (
            "HTTP/2 in the clear",
            String::from("\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\x10\0"),
            502,
        ),
        ("no HTTP", String::from("220 mail.example ESMTP\r\n"), 502),
    ];
    for (name, bytes, status) in cases {
        let stub = Stub::start(move |stream, _, _| {
            let _ = stream.write_all(bytes.as_bytes());
            Then::Close
        });
        let gate = gate(&stub.url(), "");
        let answer = ask(&gate, 1);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_eq!(stub.count(), 1, "{name}");
    }
}

#[test]
fn e4_a_client_that_goes_takes_its_call_along() {
    // It answers half a stream when its number is odd, else nothing; either way it waits for the end.
    let stub = Stub::start(|stream, request, _| {
        if request.contains("\"id\":2") {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n";
            stream.write_all(head.as_bytes()).unwrap();
        }
        Then::Await
    });
    let gate = gate(&stub.url(), "");
    let token = gate.token(&ALICE);
    let mut sent = 0;
    for half in [false, true] {
        for id in [1, 2] {
            let stream = TcpStream::connect(gate.address()).unwrap();
            let mut client = Connection::over(stream.try_clone().unwrap()).unwrap();
            client.send(&call(id).bearer(&token).to_http(HOST, PATH)).unwrap();
            sent += 1;
            until(|| stub.count() == sent);
            if id == 2 {
                // The stream is open before the client goes.
                until(|| gate.tail().iter().filter(|record| record["phase"] == "open").count() as u64 == sent / 2);
            }
            let begun = Instant::now();
            if half {
                stream.shutdown(Shutdown::Write).unwrap();
            } else {
                drop(client);
                drop(stream);
            }
            until(|| stub.ended() == sent);
            assert!(
                begun.elapsed() < Duration::from_secs(1),
                "{half} {id}: {:?}",
                begun.elapsed()
            );
        }
    }
    let mut gate = gate;
    gate.terminate();
    assert!(gate.wait().success());
    let records = gate.tail();
    let closes: Vec<&Value> = records.iter().filter(|record| record["phase"] == "close").collect();
    assert_eq!(closes.len(), 4, "{closes:?}");
    assert!(
        closes.iter().all(|record| record["outcome"] == "client_gone"),
        "{closes:?}"
    );
}

/// Judges answers well, but for those that name a fault: no decision, two, one that is none, or none in time.
const FAULTY: &str = r#"package portcullis.response

text := input.response.content[0].text

many := [x | some x in split(input.response.content[1].text, ",")]

decision := {"allow": true, "rule": "well", "reason": "well"} if text == "well"

decision := {"allow": true, "rule": "odd", "reason": "odd", "obligations": {"redact": [{"detector": "none-such", "action": "mask"}]}} if {
	text == "odd"
}

decision := {"allow": "yes", "rule": "text", "reason": "no boolean"} if text == "text"

decision := {"allow": true, "rule": "one", "reason": "one of two"} if text == "two"

decision := {"allow": false, "rule": "other", "reason": "the other of two"} if text == "two"

decision := {"allow": true, "rule": "late", "reason": "late"} if {
	text == "late"
	count([1 | some a in many; some b in many; some c in many; concat("", [a, b, c]) == ""]) == 0
}
"#;

#[test]
fn e5_what_the_policy_cannot_judge_after_the_head_is_withheld() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let note = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"begun\"}}\n\n";
    let many = vec!["secret"; 200].join(",");
    let of = |fault: &str| {
        let content = serde_json::json!([{"type": "text", "text": fault}, {"type": "text", "text": many}]);
        serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": {"content": content}}).to_string()
    };
    const CASES: [&str; 6] = ["well", "undefined", "odd", "text", "two", "late"];
    for streamed in [true, false] {
        let answers: Vec<String> = CASES
            .iter()
            .map(|fault| match streamed {
                true => format!("{head}{note}data: {}\n\n", of(fault)),
                false => json(&of(fault)),
            })
            .collect();
        let stub = Stub::start(move |stream, _, number| {
            let bytes = &answers[usize::try_from(number).unwrap() % answers.len()];
            stream.write_all(bytes.as_bytes()).unwrap();
            Then::Close
        });
        let url = format!("      url: {}", stub.url());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("faulty.rego"), FAULTY).unwrap();
        let gate = Gate::start_changed_in(folder, |_, text| {
            super::stub::with_upstream(&text, &url).replacen("response.rego]", "faulty.rego]", 1)
        });
        for fault in CASES {
            let answer = ask(&gate, 1);
            let text = answer.text();
            if fault == "well" {
                assert!(answer.status == 200 && text.contains("secret"), "{text}");
                continue;
            }
            assert!(!text.contains("secret"), "{fault}: {text}");
            let last = match streamed {
                true => {
                    assert_eq!(answer.status, 200, "{fault}: {text}");
                    let mut events = text.lines().filter_map(|line| line.strip_prefix("data: "));
                    events.next_back().unwrap().to_owned()
                }
                false => {
                    assert_eq!(answer.status, 503, "{fault}: {text}");
                    text.to_string()
                }
            };
            let last: Value = serde_json::from_str(&last).unwrap();
            assert!(last["id"] == 1 && last["error"]["code"].is_i64(), "{fault}: {text}");
        }
        assert_eq!(stub.count(), CASES.len() as u64, "nothing is asked for again");
        let mut gate = gate;
        gate.terminate();
        assert!(gate.wait().success());
        let records = gate.tail();
        let failed = records
            .iter()
            // The notes before the answers are judged too, and are no answers.
            .filter(|record| record["reason"] == "policy_failed" && record["message"].is_null())
            .count();
        assert_eq!(failed, CASES.len() - 1, "each is on record: {records:?}");
    }
}
