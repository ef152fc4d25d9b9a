//! The public corpora of HTTP/1.1, HTTP/2 and JSON against the built gate: each case with a canary that gets its own answer, on
//! the same connection where that stays open and on another, and an upstream that sees what was permitted and nothing
//! else.
//!
//! Takes whatever cases the folders below `$PORTCULLIS_CORPORA` hold and says how many; where a verdict is stricter than
//! a corpus's own, one named rule says why. Without the folder each test prints one line; with `CI=true` that fails.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Connection;
use portcullis_fixtures::persona::ALICE;
use serde_json::Value;

use crate::attacks::TOOL;
use crate::gate::{Gate, HOST, PATH};

mod bodies;
mod frames;
mod gadgets;
mod messages;

/// Nobody waits for the gate longer than this.
const DEADLINE: Duration = Duration::from_secs(10);

/// A folder of the corpora, or nothing and a line that says so.
fn folder(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("PORTCULLIS_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "no corpora: `{name}` is not in the folder that PORTCULLIS_CORPORA names"
    );
    say(&format!(
        "left out: no corpus `{name}` (PORTCULLIS_CORPORA names the folder)"
    ));
    None
}

/// The cases of a file with one JSON object a line.
fn cases(folder: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Prints where the test harness does not hold it back.
fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "corpora: {line}").unwrap();
}

/// How often each reason stood behind a verdict.
#[derive(Default)]
struct Tally(BTreeMap<String, usize>);

impl Tally {
    fn count(&mut self, reason: &str) {
        *self.0.entry(reason.to_owned()).or_default() += 1;
    }

    fn say(&self, name: &str) {
        let cases: usize = self.0.values().sum();
        say(&format!("{name}: {cases} cases"));
        for (reason, cases) in &self.0 {
            say(&format!("  {cases:4} {reason}"));
        }
    }
}

/// A gate with a good client that never stops calling.
struct Stage {
    gate: Gate,
    token: String,
    good: Option<Connection>,
    calls: u64,
    /// What the upstream may have seen.
    permitted: u64,
}

impl Stage {
    fn new() -> Self {
        Self::of(Gate::start_for_load())
    }

    fn of(gate: Gate) -> Self {
        let token = gate.token(&ALICE);
        Self {
            gate,
            token,
            good: None,
            calls: 0,
            permitted: 0,
        }
    }

    /// A good call that nobody else makes, and its id.
    fn canary(&mut self) -> (u64, Call) {
        self.calls += 1;
        let arguments = format!("{{\"padding\":\"canary {}\"}}", self.calls);
        let call = Call::tools_call(Era::Modern, self.calls, TOOL, &arguments);
        (self.calls, call.bearer(&self.token))
    }

    /// Checks that a good client on a connection of its own gets its own answer, and that the upstream has seen what was
    /// permitted alone.
    #[track_caller]
    fn check(&mut self, name: &str) {
        self.check_at(self.gate.address(), name);
    }

    /// The same where another listener is.
    #[track_caller]
    fn check_at(&mut self, address: SocketAddr, name: &str) {
        let (id, call) = self.canary();
        let mut good = self.good.take().unwrap_or_else(|| Connection::open(address).unwrap());
        let answer = good.exchange(&call.to_http(HOST, PATH));
        let answer = answer.unwrap_or_else(|error| panic!("{name}: the canary got {error}"));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["id"], id, "{name}: the canary got another answer: {body}");
        self.good = Some(good);
        self.permitted += 1;
        assert_eq!(
            self.gate.upstream.capture().count(),
            self.permitted,
            "{name}: what the upstream saw"
        );
        let arrived = self.gate.upstream.capture().last().unwrap();
        assert_eq!(arrived.body, call.body.as_bytes(), "{name}");
    }

    /// Sends these bytes, says that no more come, and gives what came back.
    fn send(&self, bytes: &[u8]) -> Vec<Answer> {
        let mut stream = TcpStream::connect(self.gate.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The gate may have answered and closed before everything is written.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut came = Vec::new();
        // A reset after the answer takes nothing from it.
        let _ = stream.read_to_end(&mut came);
        Answer::all(&came)
    }
}

/// One answer on a connection.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    /// Every answer in these bytes; each has a length.
    #[track_caller]
    fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut answers = Vec::new();
        while !bytes.is_empty() {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            let Some(end) = end else {
                panic!("half an answer: {}", bytes.escape_ascii())
            };
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            let behind = &bytes[end + 4..];
            // An answer to HEAD has a length and no body.
            let (body, rest) = behind.split_at(length.min(behind.len()));
            answers.push(Self {
                status,
                body: body.to_vec(),
            });
            bytes = rest;
        }
        answers
    }
}
