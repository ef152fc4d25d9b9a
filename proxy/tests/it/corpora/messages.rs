//! Messages for any HTTP server, with the verdict of a strict parser (llhttp).
//!
//! Owns the table of rules by which this gate is stricter, each with its reason. What that parser refuses, and what it
//! only takes in a lenient mode, is refused; what it takes gets one answer, unless a rule of the table names it.

use std::net::TcpListener;

use serde_json::Value;

use super::{Answer, Stage, Tally, cases, folder};
use crate::gate::{agent_and_body, own_listing};

/// One HTTP message and what the corpus says of it.
struct Case {
    name: String,
    bytes: Vec<u8>,
    /// `None` for a message whose verdict belongs to another one of the same entry.
    refused: Option<bool>,
}

/// The messages of an entry. Entries that ran into the text between two messages hold several; the verdict is the last
/// one's.
fn messages(entry: &Value) -> Vec<Case> {
    let text = entry["http"].as_str().unwrap();
    let kind = entry["meta"]["type"].as_str().unwrap_or_default();
    let is_refused = !entry["error"].is_null() || kind.contains("lenient");
    let mut parts: Vec<&str> = text.split("```http\n").collect();
    let last = parts.len() - 1;
    for part in &mut parts {
        *part = part.split("\n```").next().unwrap();
    }
    let numbered = parts.into_iter().enumerate();
    let case = |(place, part): (usize, &str)| Case {
        name: format!("{} {} ({place})", entry["file"], entry["title"]),
        bytes: unescaped(part),
        refused: (place == last).then_some(is_refused),
    };
    numbered.map(case).collect()
}

/// The corpus writes a line's end for CRLF, and escapes for everything else.
fn unescaped(text: &str) -> Vec<u8> {
    let text = text.replace("\\\n", "").replace('\n', "\r\n");
    let (mut bytes, mut rest) = (Vec::new(), text.as_str());
    while let Some(place) = rest.find('\\') {
        let (before, escape) = rest.split_at(place);
        bytes.extend(before.bytes());
        let mut taken = 2;
        match escape.as_bytes().get(1) {
            Some(b'r') => bytes.push(b'\r'),
            Some(b'n') => bytes.push(b'\n'),
            Some(b't') => bytes.push(b'\t'),
            Some(b'f') => bytes.push(0x0c),
            Some(b'x')
                if escape
                    .get(2..4)
                    .is_some_and(|digits| u8::from_str_radix(digits, 16).is_ok()) =>
            {
                bytes.push(u8::from_str_radix(escape.get(2..4).unwrap(), 16).unwrap());
                taken = 4;
            }
            _ => {
                bytes.push(b'\\');
                taken = 1;
            }
        }
        rest = escape.split_at(taken).1;
    }
    bytes.extend(rest.bytes());
    bytes
}

/// Why a gate refuses what a parser takes: the reason, and whether a message is of that kind.
type Rule = (&'static str, fn(&Message<'_>) -> bool);

const STRICTER: [Rule; 9] = [
    (
        "a blank line before the request: servers differ in what they skip",
        |message| message.text.starts_with("\r\n"),
    ),
    ("another protocol than HTTP/1.1 and HTTP/1.0", |message| {
        !matches!(message.words.last(), Some(&"HTTP/1.1" | &"HTTP/1.0"))
    }),
    (
        "a target that is not in origin form: the gate is no proxy that is asked for other hosts",
        |message| message.words.get(1).is_none_or(|target| !target.starts_with('/')),
    ),
    (
        "a fragment or a character that no URI has, which servers escape or cut off",
        |message| {
            let target = message.words.get(1).copied().unwrap_or_default();
            target.contains(['#', '|', '<', '>', '"', '\\', '^', '`', '{', '}'])
        },
    ),
    ("no `Host` under HTTP/1.1 (RFC 9112 section 3.2)", |message| {
        !message.text.contains("HTTP/1.0\r\n") && message.values("host").len() != 1
    }),
    (
        "a transfer coding that the gate could not read (RFC 9112 section 6.1)",
        |message| {
            let codings = message.values("transfer-encoding");
            1 < codings.len() || codings.iter().any(|coding| !coding.eq_ignore_ascii_case("chunked"))
        },
    ),
    ("an extension of a chunk, which servers read differently", |message| {
        message.values("transfer-encoding").len() == 1 && message.body.contains(';')
    }),
    ("HTTP/1.0, which no endpoint speaks", |message| {
        message.words.last() == Some(&"HTTP/1.0")
    }),
    ("a head that does not end", |message| !message.is_whole),
];

/// A message as a person would read it.
struct Message<'m> {
    text: &'m str,
    words: Vec<&'m str>,
    head: &'m str,
    body: &'m str,
    is_whole: bool,
}

impl<'m> Message<'m> {
    fn of(text: &'m str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        Self {
            text,
            words: head.lines().next().unwrap_or_default().split(' ').collect(),
            head,
            body,
            is_whole: text.contains("\r\n\r\n"),
        }
    }

    fn values(&self, name: &str) -> Vec<&'m str> {
        let fields = self.head.split("\r\n").filter_map(|line| line.split_once(':'));
        let own = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.trim()).collect()
    }
}

/// Whether the case must be refused, and why.
fn verdict(case: &Case) -> Option<(bool, &'static str)> {
    if case.refused? {
        return Some((true, "refused by the corpus, or taken by its lenient modes alone"));
    }
    let text = String::from_utf8_lossy(&case.bytes).into_owned();
    let message = Message::of(&text);
    let rule = STRICTER.iter().find(|(_, applies)| applies(&message));
    Some(rule.map_or((false, "answered"), |(reason, _)| (true, *reason)))
}

#[test]
fn llhttp_requests_are_refused_or_answered_once() {
    let Some(folder) = folder("http1") else { return };
    let mut stage = Stage::new();
    let mut tally = Tally::default();
    for entry in cases(&folder, "llhttp_cases.jsonl") {
        // A response is no request either.
        let is_response = entry["kind"] == "response";
        for mut case in messages(&entry) {
            case.refused = case.refused.map(|refused| refused || is_response);
            check(&mut stage, &case, &mut tally);
        }
    }
    tally.say("llhttp, sent to the gate");
}

/// Sends a case alone, then with a canary right behind it.
fn check(stage: &mut Stage, case: &Case, tally: &mut Tally) {
    let name = &case.name;
    let answers = stage.send(&case.bytes);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert!(
        statuses.len() <= 1,
        "{name}: {statuses:?} for {}",
        case.bytes.escape_ascii()
    );
    if let Some((refused, reason)) = verdict(case) {
        let said = format!("{name}: {statuses:?} for {}, {reason}", case.bytes.escape_ascii());
        assert_eq!(statuses == [400], refused, "{said}");
        assert!(refused || matches!(statuses[..], [401 | 403 | 404 | 405]), "{said}");
        tally.count(reason);
    }
    stage.check(name);
    let (id, canary) = stage.canary();
    let both = [case.bytes.as_slice(), &canary.to_http(super::HOST, super::PATH)].concat();
    for Answer { status, body } in stage.send(&both) {
        // Whoever is answered with a result is the canary, and got its own.
        let own: Value = serde_json::from_slice(&body).unwrap_or_default();
        assert!(status != 200 || own["id"] == id, "{name}: {own}");
        stage.permitted += u64::from(status == 200);
    }
    stage.check(name);
}

/// An upstream that answers every connection with the same bytes and then ends it.
fn stub(answer: std::sync::Arc<std::sync::Mutex<Vec<u8>>>) -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut piece = [0; 16 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut piece) {
                request.extend_from_slice(&piece[..read]);
                if request.ends_with(b"}}") {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let (agent, body) = agent_and_body(&text);
            let bytes = match own_listing(agent, body) {
                Some(listing) => format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{listing}",
                    listing.len()
                )
                .into_bytes(),
                None => answer.lock().unwrap().clone(),
            };
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    });
    address
}

#[test]
fn llhttp_responses_of_an_upstream_never_reach_a_client() {
    let Some(folder) = folder("http1") else { return };
    let answer = std::sync::Arc::default();
    let address = stub(std::sync::Arc::clone(&answer));
    let gate = crate::gate::Gate::start_changed(|_, text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("      url: "))
            .unwrap()
            .to_owned();
        text.replacen(&line, &format!("      url: http://{address}/mcp"), 1)
            .replacen(
                "\nlimits:\n",
                "\n    rate: {per_second: 1000000, burst: 1000000}\nlimits:\n",
                1,
            )
    });
    let mut stage = Stage::of(gate);
    let mut tally = Tally::default();
    for entry in cases(&folder, "llhttp_cases.jsonl") {
        for case in messages(&entry).iter().filter(|_| entry["kind"] == "response") {
            answer.lock().unwrap().clone_from(&case.bytes);
            let (id, call) = stage.canary();
            let told = stage.gate.call(&call);
            let (name, text) = (&case.name, told.text());
            // None of them is an answer to the call: nothing of theirs leaves but an error's bare status.
            let reason = if text.is_empty() {
                assert!((400..500).contains(&told.status), "{name}: {}", told.status);
                "an error without a body, and the next answer is its own"
            } else {
                assert_eq!(told.status, 502, "{name}: {text}");
                let body: Value = serde_json::from_slice(&told.body).unwrap();
                assert_eq!(body["id"], id, "{name}: {text}");
                assert!(!text.contains("hello") && !text.contains("BODY"), "{name}: {text}");
                "502, and the next answer is its own"
            };
            let result = format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete","content":[]}}}}"#,
                id + 1
            );
            *answer.lock().unwrap() = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{result}",
                result.len()
            )
            .into_bytes();
            let (id, canary) = stage.canary();
            let told = stage.gate.call(&canary);
            assert_eq!(told.status, 200, "{name}: {}", told.text());
            let body: Value = serde_json::from_slice(&told.body).unwrap();
            assert_eq!(body["id"], id, "{name}");
            tally.count(reason);
        }
    }
    tally.say("llhttp, sent by an upstream");
}
