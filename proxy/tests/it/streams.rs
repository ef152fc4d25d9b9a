//! Event streams through the built gate: what a server asks and tells, GET and DELETE, broken ends, callers with one id.
//!
//! Owns scripted upstreams and what each client must find, and what stands on record of it.

mod failing;
mod idle;
mod upstream;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era, LEGACY_VERSION, MODERN_VERSION};
use portcullis_fixtures::http1::{Response, request};
use portcullis_fixtures::persona::{ALICE, BOB, Persona};
use serde_json::{Value, json};

use crate::gate::{Gate, HOST, PATH, until};
use upstream::{Answer, Seen, Upstream};

const TOOL: &str = "salesforce.opportunity.read";
const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"done"}]}}"#;
const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"message":"half"}}"#;
const ROOTS: &str = r#"{"jsonrpc":"2.0","id":"r1","method":"roots/list"}"#;
const ALLOW: &str = "decision := {\"allow\": true, \"rule\": \"all\", \"reason\": \"whatever it is\"}\n";

/// A gate before a scripted upstream, with a policy that allows everything.
fn start(upstream: &Upstream, limits: &str) -> Gate {
    let folder = tempfile::tempdir().unwrap();
    for package in ["request", "response"] {
        let text = format!("package portcullis.{package}\n\n{ALLOW}");
        std::fs::write(folder.path().join(format!("{package}-open.rego")), text).unwrap();
    }
    let url = upstream.url();
    Gate::start_changed_in(folder, move |_, text| {
        let text = text.replace(
            "[request.rego, response.rego]",
            "[request-open.rego, response-open.rego]",
        );
        let line = text
            .lines()
            .find(|line| line.trim().starts_with("url:"))
            .unwrap()
            .to_owned();
        text.replacen(&line, &format!("      url: {url}"), 1) + limits
    })
}

fn call() -> Call {
    Call::tools_call(Era::Legacy, 1, TOOL, r#"{"account_id": "acc-1001"}"#)
}

/// The bytes of a request by another HTTP method, or with another body.
fn bare(gate: &Gate, persona: &Persona, method: &str, further: &[(&str, &str)]) -> Vec<u8> {
    let bearer = format!("Bearer {}", gate.token(persona));
    let mut headers = vec![("authorization", bearer.as_str()), ("accept", "text/event-stream")];
    if !further.iter().any(|(name, _)| *name == "mcp-protocol-version") {
        headers.push(("mcp-protocol-version", LEGACY_VERSION));
    }
    headers.extend_from_slice(further);
    request(method, HOST, PATH, headers, b"")
}

/// The client's side of a stream, read event by event.
struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn open(gate: &Gate, bytes: &[u8]) -> Self {
        let mut stream = TcpStream::connect(gate.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut client = Self {
            reader: BufReader::new(stream),
        };
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        assert!(head.contains("x-accel-buffering: no"), "{head}");
        client
    }

    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        head
    }

    /// The next chunk; empty at the end.
    fn chunk(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.reader.read_exact(&mut chunk).unwrap();
        chunk.truncate(length);
        String::from_utf8(chunk).unwrap()
    }

    /// The next chunk that is no keep-alive, without its framing; `None` at the end.
    fn events(&mut self) -> Option<String> {
        loop {
            let chunk = self.chunk();
            match chunk.as_str() {
                "" => return None,
                ":\n\n" => {}
                _ => return Some(chunk),
            }
        }
    }

    /// The one message of the next chunk.
    fn message(&mut self) -> Value {
        let events = self.events().expect("the stream goes on");
        let data = events.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\n"));
        serde_json::from_str(data.unwrap_or_else(|| panic!("no single message: {events}"))).unwrap()
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Phase, what it is about and outcome of the records of one exchange behind its request.
fn trail(gate: &Gate, method: &str) -> Vec<(String, Value, Value)> {
    let closed = |records: &[Value]| {
        let ends = records
            .iter()
            .filter(|record| record["phase"] == "close" && record["method"] == method);
        ends.count() != 0
    };
    until(|| closed(&gate.tail()));
    let records = gate.tail();
    let own = records
        .iter()
        .filter(|record| record["method"] == method && record["phase"] != "request");
    own.map(|record| {
        let phase = record["phase"].as_str().unwrap().to_owned();
        (phase, record["message"].clone(), record["outcome"].clone())
    })
    .collect()
}

fn step(phase: &str, message: Option<&str>, outcome: Option<&str>) -> (String, Value, Value) {
    (phase.to_owned(), json!(message), json!(outcome))
}

fn send(gate: &Gate, persona: &Persona, body: &str) -> Response {
    let call = Call::post(body.to_owned()).header("mcp-protocol-version", LEGACY_VERSION);
    gate.call(&call.bearer(&gate.token(persona)))
}

/// Priming events and comments pass as comments; messages one by one; ids of events nowhere.
#[test]
fn a_stream_passes_message_by_message() {
    let upstream = Upstream::start(|_, answer| {
        answer.open();
        answer.piece(": hello\n\n");
        answer.piece("id: 7\ndata:\n\n");
        answer.piece(&format!(
            "id: 8\nevent: message\ndata: {PROGRESS}\n\nid: 9\ndata: {ROOTS}\n\n"
        ));
        // A response to nobody, and half an answer that becomes whole.
        answer.event(&RESULT.replace("\"id\":1", "\"id\":2"));
        let (first, second) = RESULT.split_at(20);
        answer.piece(&format!("data: {first}"));
        answer.piece(&format!("{second}\n\n"));
        answer.end();
    });
    let gate = start(&upstream, "");
    let mut client = Client::open(&gate, &call().bearer(&gate.token(&ALICE)).to_http(HOST, PATH));
    let mut all = String::new();
    while let Some(events) = client.events() {
        all.push_str(&events);
    }
    assert_eq!(all, format!("data: {PROGRESS}\n\ndata: {ROOTS}\n\ndata: {RESULT}\n\n"));
    assert_eq!(
        trail(&gate, "tools/call"),
        [
            step("open", None, None),
            step("part", Some("notifications/progress"), Some("reviewed")),
            step("part", Some("roots/list"), Some("reviewed")),
            step("part", None, Some("withheld")),
            step("part", None, Some("reviewed")),
            step("close", None, Some("reviewed")),
        ]
    );
}

/// E2: whatever breaks off ends in an error of the gate, and nothing of a half event leaves.
#[test]
fn a_broken_stream_ends_with_an_error_event() {
    type Script = fn(&mut Answer);
    let scripts: [(&str, Script, &str); 4] = [
        (
            "within an event",
            |answer| {
                answer.event(PROGRESS);
                answer.piece(RESULT.split_at(30).0);
            },
            "upstream_failed",
        ),
        (
            "within a chunk",
            |answer| answer.piece("data: {\"json"),
            "upstream_failed",
        ),
        (
            "at its end",
            |answer| {
                answer.event(PROGRESS);
                answer.end();
            },
            "upstream_failed",
        ),
        ("an event that is none", |answer| answer.event("half"), "withheld"),
    ];
    for (name, script, outcome) in scripts {
        let upstream = Upstream::start(move |_, answer| {
            answer.open();
            script(answer);
        });
        let gate = start(&upstream, "");
        let mut client = Client::open(&gate, &call().bearer(&gate.token(&ALICE)).to_http(HOST, PATH));
        let mut last = String::new();
        while let Some(events) = client.events() {
            assert!(!events.contains("done"), "{name}: {events}");
            last = events;
        }
        let told = value(last.trim().trim_start_matches("data: "));
        assert_eq!(told["id"], 1, "{name}: {told}");
        assert!(told["error"]["code"].is_i64(), "{name}: {told}");
        let records = trail(&gate, "tools/call");
        let close = records.last().unwrap();
        if outcome == "withheld" {
            assert!(
                records.contains(&step("part", None, Some("withheld"))),
                "{name}: {records:?}"
            );
        } else {
            assert_ne!(close.2, json!("reviewed"), "{name}: {records:?}");
        }
    }
}

/// What an upstream closes before its answer, to be polled for, the gate goes on with; the client's stream stays whole.
#[test]
fn a_stream_that_its_upstream_closes_is_gone_on_with() {
    let upstream = Upstream::start(|seen, answer| {
        answer.open();
        match seen.header("last-event-id") {
            None => answer.piece("id: a\nretry: 1\ndata:\n\n"),
            Some("a") => {
                answer.piece(&format!("id: b\ndata: {PROGRESS}\n\n"));
                // Half of it: it comes again.
                answer.piece(&format!("id: c\ndata: {}", RESULT.split_at(30).0));
                return;
            }
            Some(_) => answer.piece(&format!("id: c\ndata: {RESULT}\n\n")),
        }
        answer.end();
    });
    let gate = start(&upstream, "");
    let mut client = Client::open(&gate, &call().bearer(&gate.token(&ALICE)).to_http(HOST, PATH));
    assert_eq!(client.message(), value(PROGRESS));
    assert_eq!(client.message(), value(RESULT));
    assert_eq!(client.events(), None);
    let asked: Vec<(String, Option<String>)> = upstream
        .seen()
        .iter()
        .map(|seen| (seen.method.clone(), seen.header("last-event-id").map(str::to_owned)))
        .collect();
    let get = |id: &str| ("GET".to_owned(), Some(id.to_owned()));
    assert_eq!(asked, [("POST".to_owned(), None), get("a"), get("b")]);
    let second = &upstream.seen()[1];
    assert_eq!(
        (second.header("accept"), second.body.len()),
        (Some("text/event-stream"), 0)
    );
    assert_eq!(
        trail(&gate, "tools/call"),
        [
            step("open", None, None),
            step("part", Some("notifications/progress"), Some("reviewed")),
            step("part", None, Some("reviewed")),
            step("close", None, Some("reviewed")),
        ]
    );
}

#[test]
fn what_cannot_be_gone_on_with_ends_with_an_error() {
    let cases: [(&str, Era, &str); 3] = [
        ("no id", Era::Legacy, "data:\nretry: 1\n\n"),
        ("the modern era", Era::Modern, "id: a\nretry: 1\ndata:\n\n"),
        ("a refusal", Era::Legacy, "id: a\nretry: 1\ndata:\n\n"),
    ];
    for (name, era, primed) in cases {
        let upstream = Upstream::start(move |seen, answer| {
            if seen.method == "GET" {
                return answer.status("405 Method Not Allowed");
            }
            answer.open();
            answer.piece(primed);
            answer.end();
        });
        let gate = start(&upstream, "");
        let call = Call::tools_call(era, 1, TOOL, r#"{"account_id": "acc-1001"}"#);
        let mut client = Client::open(&gate, &call.bearer(&gate.token(&ALICE)).to_http(HOST, PATH));
        assert!(client.message()["error"]["code"].is_i64(), "{name}");
        assert_eq!(client.events(), None, "{name}");
        assert_eq!(upstream.seen().len(), 1 + usize::from(name == "a refusal"), "{name}");
    }
}

/// E3: an event past the limit ends the stream; memory holds no more of it than that.
#[test]
fn an_endless_event_ends_the_stream() {
    let upstream = Upstream::start(|_, answer| {
        answer.open();
        answer.piece("data: ");
        let padding = "a".repeat(60_000);
        for _ in 0..100 {
            answer.piece(&padding);
        }
        answer.until_gone();
    });
    let gate = start(&upstream, "  answer_bytes_max: 100000\n");
    let mut client = Client::open(&gate, &call().bearer(&gate.token(&ALICE)).to_http(HOST, PATH));
    assert!(client.message()["error"]["code"].is_i64());
    assert_eq!(client.events(), None);
}

#[test]
fn a_get_listens_until_either_side_ends_it() {
    let upstream = Upstream::start(|seen, answer| match seen.method.as_str() {
        "GET" => {
            answer.open();
            answer.event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
            answer.event(RESULT);
            answer.event(ROOTS);
            answer.end();
        }
        _ => answer.status("202 Accepted"),
    });
    let gate = start(&upstream, "");
    let mut client = Client::open(&gate, &bare(&gate, &ALICE, "GET", &[]));
    let mut all = String::new();
    while let Some(events) = client.events() {
        all.push_str(&events);
    }
    assert!(all.contains("list_changed") && all.contains("roots/list"), "{all}");
    assert!(!all.contains("done") && !all.contains("error"), "{all}");
    assert_eq!(
        trail(&gate, "http/listen"),
        [
            step("open", None, None),
            step("part", Some("notifications/tools/list_changed"), Some("reviewed")),
            step("part", None, Some("withheld")),
            step("part", Some("roots/list"), Some("reviewed")),
            step("close", None, Some("reviewed")),
        ]
    );
    let seen = upstream.seen();
    assert_eq!(seen[0].method, "GET");
    assert_eq!(seen[0].header("accept"), Some("text/event-stream"));
    assert_eq!(
        (seen[0].header("content-type"), seen[0].header("content-length")),
        (None, None)
    );
    assert_eq!(seen[0].header("authorization"), Some(crate::gate::CREDENTIAL));
    // What the server asked there is answered by a POST, by whom it was asked, once.
    let answer = r#"{"jsonrpc":"2.0","id":"r1","result":{"roots":[{"uri":"file:///home/alice"}]}}"#;
    assert_eq!(send(&gate, &BOB, answer).status, 400);
    let wrong = r#"{"jsonrpc":"2.0","id":"r1","result":{"action":"accept"}}"#;
    assert_eq!(send(&gate, &ALICE, wrong).status, 400);
    assert_eq!(send(&gate, &ALICE, answer).status, 202);
    assert_eq!(send(&gate, &ALICE, answer).status, 400);
    let seen = upstream.seen();
    assert_eq!((seen.len(), seen[1].body.as_str()), (2, answer));
}

#[test]
fn a_client_that_leaves_its_get_ends_it_upstream() {
    let upstream = Upstream::start(|_, answer| {
        answer.open();
        answer.event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        answer.until_gone();
    });
    let gate = start(&upstream, "");
    let mut client = Client::open(&gate, &bare(&gate, &ALICE, "GET", &[]));
    client.message();
    drop(client);
    let records = trail(&gate, "http/listen");
    assert_eq!(records.last().unwrap(), &step("close", None, Some("client_gone")));
}

/// A stream without an end of its own does not hold the end of the gate up.
#[test]
fn a_get_ends_when_the_gate_drains() {
    let upstream = Upstream::start(|_, answer| {
        answer.open();
        answer.event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        answer.until_gone();
    });
    let mut gate = start(&upstream, "");
    let mut client = Client::open(&gate, &bare(&gate, &ALICE, "GET", &[]));
    client.message();
    gate.terminate();
    assert_eq!(client.events(), None);
    assert!(gate.wait().success());
}

#[test]
fn what_is_no_get_of_the_era_is_refused() {
    let upstream = Upstream::start(|seen, answer| match seen.method.as_str() {
        "GET" => answer.status("405 Method Not Allowed"),
        _ => answer.status("204 No Content"),
    });
    let gate = start(&upstream, "");
    let exchange = |bytes: &[u8]| gate.connect().exchange(bytes).unwrap();
    type Refused<'t> = (&'t str, &'t [(&'t str, &'t str)], u16, Option<&'t str>);
    let refused: [Refused<'_>; 4] = [
        ("GET", &[("mcp-protocol-version", MODERN_VERSION)], 405, Some("POST")),
        ("DELETE", &[("mcp-protocol-version", MODERN_VERSION)], 405, Some("POST")),
        ("GET", &[("last-event-id", "7")], 405, Some("GET, POST, DELETE")),
        ("DELETE", &[], 400, None),
    ];
    for (method, headers, status, allow) in refused {
        let answer = exchange(&bare(&gate, &ALICE, method, headers));
        assert_eq!(
            (answer.status, answer.header("allow")),
            (status, allow),
            "{method} {headers:?}"
        );
    }
    let put = exchange(&bare(&gate, &ALICE, "PUT", &[]));
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, POST, DELETE")));
    assert_eq!(upstream.seen().len(), 0);
    let answer = exchange(&bare(&gate, &ALICE, "GET", &[]));
    assert_eq!((answer.status, answer.body.len()), (405, 0));
    assert_eq!(upstream.seen().len(), 1);
    let preflight = request(
        "OPTIONS",
        HOST,
        PATH,
        [
            ("origin", crate::gate::ORIGIN),
            ("access-control-request-method", "DELETE"),
        ],
        b"",
    );
    let answer = exchange(&preflight);
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, DELETE"));
}

#[test]
fn a_session_is_listened_to_and_ended_by_whom_it_is_of() {
    let initialized = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"experimental":{},"tools":{}},"serverInfo":{"name":"crm","version":"1"}}}"#;
    let upstream = Upstream::start(move |seen, answer| match seen.method.as_str() {
        "POST" => answer.json("mcp-session-id: upstream-session\r\n", initialized),
        "DELETE" => answer.status("200 OK"),
        _ => {
            answer.open();
            answer.end();
        }
    });
    let gate = start(&upstream, "");
    let opened = gate.call(&Call::initialize(1).bearer(&gate.token(&ALICE)));
    assert_eq!(
        value(&opened.text())["result"]["capabilities"],
        json!({"tools": {}}),
        "what cannot be inspected is struck"
    );
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let within = [("mcp-session-id", session.as_str())];
    for method in ["GET", "DELETE"] {
        let foreign = gate.connect().exchange(&bare(&gate, &BOB, method, &within)).unwrap();
        assert_eq!(foreign.status, 404, "{method}");
    }
    assert_eq!(upstream.seen().len(), 1);
    let mut client = Client::open(&gate, &bare(&gate, &ALICE, "GET", &within));
    assert_eq!(client.events(), None);
    let ended = gate
        .connect()
        .exchange(&bare(&gate, &ALICE, "DELETE", &within))
        .unwrap();
    assert_eq!(ended.status, 200);
    let seen = upstream.seen();
    for request in &seen[1..] {
        assert_eq!(request.header("mcp-session-id"), Some("upstream-session"));
    }
    assert_eq!(seen.len(), 3);
}

/// Whatever an upstream says to what asks for nothing, only its status passes.
#[test]
fn a_notification_is_answered_by_a_status_alone() {
    let upstream = Upstream::start(|_, answer| {
        answer.open();
        answer.event(RESULT);
        answer.until_gone();
    });
    let gate = start(&upstream, "");
    let answer = gate.call(&Call::initialized().bearer(&gate.token(&ALICE)));
    assert_eq!((answer.status, answer.body.len()), (202, 0));
}

/// C11: many callers at once, each with id 1, each with its own answer.
#[test]
fn callers_with_one_id_never_meet() {
    let upstream = Upstream::start(|seen: &Seen, answer| {
        let body = value(&seen.body);
        let said = body["params"]["arguments"]["account_id"].as_str().unwrap();
        let result = RESULT.replace("done", said);
        match said.ends_with("even") {
            true => answer.json("", &result),
            false => {
                answer.open();
                answer.event(PROGRESS);
                answer.event(&result);
                answer.end();
            }
        }
    });
    let gate = start(&upstream, "");
    let tokens = [gate.token(&ALICE), gate.token(&BOB)];
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (gate, token) = (&gate, &tokens[caller % 2]);
            scope.spawn(move || {
                for round in 0..25 {
                    let parity = ["even", "odd"][round % 2];
                    let own = format!("caller-{caller}-{round}-{parity}");
                    let arguments = json!({"account_id": own}).to_string();
                    let call = Call::tools_call(Era::Legacy, 1, TOOL, &arguments).bearer(token);
                    let answer = gate.call(&call);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let text = answer.text();
                    assert!(text.contains(&format!("\"{own}\"")), "{own}: {text}");
                    assert_eq!(text.matches("caller-").count(), 1, "{text}");
                }
            });
        }
    });
    assert_eq!(upstream.seen().len(), 200);
}
