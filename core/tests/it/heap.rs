//! How much memory a text from outside can make the gate take: the peak heap of reading and reviewing each of the JSON
//! corpora, of the fuzz targets' own and of the texts that cost most, as a multiple of the body.
//!
//! Counts the allocations of its own thread, so the figures are the same in every run on one build. Times nothing. Says to
//! stdout which input was the worst, and how many are beyond 20 times the body and 64 KiB, which is the aim: arrays of
//! many short elements are, up to the limit of members. Never more than the factor below, which may only go down.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, io};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_core::Rate;
use portcullis_core::audit::{AuditLog, AuditSettings, FileStorage, WriterThread};
use portcullis_core::catalog::{Catalog, OnChange};
use portcullis_core::config::{Endpoint, Limits, Server, ServerParts, Upstream};
use portcullis_core::gate::{Answer, Gate, GateKeys, GateParts, Inspector, Scratch, Snapshot, Step};
use portcullis_core::head::RequestHead;
use portcullis_core::jwks::{JwksLimits, KeySet};
use portcullis_core::policy::{Policy, PolicySource, SourceFile};
use portcullis_core::rpc::ProtocolVersion;
use portcullis_core::scope::{ScopeRow, ToolTable};
use portcullis_core::session::{EndpointId, SessionKeys};
use portcullis_core::time::{Ticks, UnixTime};
use portcullis_core::token::{Issuer, IssuerParts};
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::token::TokenBuilder;
use portcullis_fixtures::{keys, policy};
use serde_json::Value;

const ISSUER: &str = "https://login.example";
const RESOURCE: &str = "https://gate.example/crm";
const TOOL: &str = "demo.echo";
const NOW: UnixTime = UnixTime::from_secs(1_900_000_000);

/// What every text may take, however short it is.
const BASE: u64 = 64 * 1_024;
/// What it is to take beside that, as a multiple of its length.
const WANTED: f64 = 20.0;

/// What the worst takes: 10,000 members and elements in 20 KB.
const READING_MAX: f64 = 65.0;
const REVIEWING_MAX: f64 = 65.0;

/// The input that took most for its length.
#[derive(Default)]
struct Worst {
    count: usize,
    beyond: usize,
    times: f64,
    line: String,
}

impl Worst {
    fn note(&mut self, name: &str, body_bytes: usize, peak: u64) {
        self.count += 1;
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let times = peak.saturating_sub(BASE) as f64 / body_bytes.max(1) as f64;
        self.beyond += usize::from(WANTED < times);
        if self.times <= times {
            self.times = times;
            self.line = format!("{name}: {peak} bytes for a body of {body_bytes}");
        }
    }

    #[track_caller]
    fn check(&self, what: &str, most: f64) {
        let Self {
            count,
            beyond,
            times,
            line,
        } = self;
        writeln!(
            io::stdout(),
            "heap: {what}: {count} texts, {beyond} beyond {WANTED} times the body and 64 KiB; worst, {times:.1} times: {line}"
        )
        .unwrap();
        assert!(60 < *count, "{what}: {count} texts say nothing");
        assert!(
            *times <= most,
            "{what}: {times:.1} times the body, {most} at most: {line}"
        );
    }
}

/// Every text: its name and its bytes.
fn texts() -> Vec<(String, Vec<u8>)> {
    let mut texts = costly();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    gather(&own, &mut texts);
    if let Some(corpora) = corpora() {
        gather(&corpora.join("jsontestsuite"), &mut texts);
        let lines = text_of(&corpora.join("differential.jsonl")).unwrap_or_default();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let case: Value = serde_json::from_slice(line).unwrap();
            let hex = case["hex"].as_str().unwrap();
            let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
            let (pairs, _) = hex.as_bytes().as_chunks::<2>();
            let bytes = pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low));
            texts.push((case["id"].as_str().unwrap().to_owned(), bytes.collect()));
        }
    }
    texts
}

/// Texts of much structure in few bytes, at the limits and beyond them, and long ones.
fn costly() -> Vec<(String, Vec<u8>)> {
    let repeated = |piece: &str, count: usize| vec![piece; count].join(",");
    let mut shapes = vec![
        ("a long text".to_owned(), format!("\"{}\"", "a".repeat(1_000_000))),
        (
            "a long escaped text".to_owned(),
            format!("\"{}\"", "\\u0001".repeat(150_000)),
        ),
        (
            "a long wide text".to_owned(),
            format!("\"{}\"", "\u{10348}".repeat(200_000)),
        ),
        ("opened arrays".to_owned(), "[".repeat(500_000)),
        ("opened objects".to_owned(), "{\"a\":".repeat(150_000)),
        ("commas".to_owned(), ",".repeat(500_000)),
        ("colons".to_owned(), ":".repeat(500_000)),
        ("quotes".to_owned(), "\"".repeat(500_000)),
        ("backslashes".to_owned(), "\\".repeat(500_000)),
        ("blanks".to_owned(), " ".repeat(500_000)),
        ("zeros".to_owned(), "\0".repeat(500_000)),
    ];
    for count in [10, 100, 1_000, 3_000, 9_990, 20_000, 200_000] {
        let keys: Vec<String> = (0..count).map(|key| format!("\"{key}\":0")).collect();
        for (name, text) in [
            ("digits", format!("[{}]", repeated("1", count))),
            ("empty arrays", format!("[{}]", repeated("[]", count))),
            ("empty objects", format!("[{}]", repeated("{}", count))),
            ("empty texts", format!("[{}]", repeated("\"\"", count))),
            ("pairs", format!("[{}]", repeated("[0]", count / 2))),
            ("keys", format!("{{{}}}", keys.join(","))),
            (
                "short keys in objects",
                format!("[{}]", repeated("{\"a\":0}", count / 2)),
            ),
            (
                "levels",
                format!("{}{}", "[".repeat(count.min(62)), "]".repeat(count.min(62))),
            ),
        ] {
            shapes.push((format!("{count} {name}"), text));
        }
    }
    let mut texts: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, text) in shapes {
        let call = |arguments: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{TOOL}","arguments":{arguments}}}}}"#
            )
        };
        texts.push((
            format!("{name}, in a call"),
            call(&format!("{{\"a\":{text}}}")).into_bytes(),
        ));
        texts.push((
            format!("{name}, as params"),
            call("{}").replace("{}", &text).into_bytes(),
        ));
        let batch = format!("[{}]", repeated(&call("{}"), 2)).replace("{}", &text);
        texts.push((format!("{name}, in a batch"), batch.into_bytes()));
        texts.push((name, text.into_bytes()));
    }
    texts
}

#[expect(clippy::disallowed_methods, reason = "a test is its own embedder")]
fn corpora() -> Option<PathBuf> {
    let root = env::var_os("PORTCULLIS_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    let folder = root.join("json");
    if folder.is_dir() {
        return Some(folder);
    }
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "the JSON corpora are absent");
    writeln!(io::stdout(), "heap: left out: the JSON corpora are absent").unwrap();
    None
}

#[expect(clippy::disallowed_methods, reason = "the test reads its corpora")]
fn text_of(path: &Path) -> Option<Vec<u8>> {
    fs::read(path).ok()
}

/// Adds every file below `folder`.
fn gather(folder: &Path, texts: &mut Vec<(String, Vec<u8>)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            gather(&path, texts);
        } else {
            texts.push((path.display().to_string(), text_of(&path).unwrap()));
        }
    }
}

#[test]
fn reading_a_call_takes_memory_in_proportion() {
    let limits = Limits::default();
    let mut worst = Worst::default();
    for (name, text) in texts() {
        for version in [
            ProtocolVersion::V2025_03_26,
            ProtocolVersion::V2025_11_25,
            ProtocolVersion::V2026_07_28,
        ] {
            // A new reader each time: what it keeps for later counts as well.
            let info = measure(|| {
                let read = Inspector::new(&limits).read(&text, version);
                drop(read);
            });
            worst.note(&format!("{name} as {}", version.as_str()), text.len(), info.bytes_max);
        }
    }
    worst.check("reading a call", READING_MAX);
}

#[test]
fn reviewing_an_answer_takes_memory_in_proportion() {
    let road = Road::new();
    let mut worst = Worst::default();
    for (name, text) in texts() {
        let whole = String::from_utf8_lossy(&text);
        let quoted = Value::from(&*whole).to_string();
        let result = |content: &str, structured: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":{content}{structured}}}}}"#).into_bytes()
        };
        let item = format!(r#"[{{"type":"text","text":{quoted}}}]"#);
        for (place, body) in [
            ("the answer", text.clone()),
            ("its content", result(&whole, "")),
            ("a text in it", result(&item, "")),
            (
                "structured",
                result("[]", &format!(r#","structuredContent":{{"a":{whole}}}"#)),
            ),
        ] {
            let peak = road.review(&body);
            worst.note(&format!("{name} as {place}"), body.len(), peak);
        }
    }
    worst.check("reviewing an answer", REVIEWING_MAX);
}

struct Still;

impl Ticks for Still {
    fn now_ns(&self) -> u64 {
        0
    }
}

/// A gate with the sample policy and one allowed caller.
struct Road {
    gate: Gate,
    headers: HeaderMap,
    body: Bytes,
    _writer: WriterThread,
    _folder: tempfile::TempDir,
}

impl Road {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let issuer = Arc::new(Issuer::new(IssuerParts::strict(Arc::from(ISSUER))).unwrap());
        let (audit, writer) = AuditLog::start(Box::new(storage), AuditSettings::default(), NOW).unwrap();
        // Time is another test's matter.
        let limits = Limits {
            policy_deadline: Duration::from_secs(60),
            ..Limits::default()
        };
        let snapshot = Snapshot::new(vec![Arc::new(server(&issuer))], limits, [0; 32]).unwrap();
        let parts = GateParts {
            snapshot,
            audit,
            node: Arc::from("heap"),
            keys: GateKeys {
                digests: [1; 32].into(),
                digests_id: Arc::from("heap"),
                nonces: [9; 32].into(),
                sessions: SessionKeys::single([7; 32]),
            },
            seed: [2; 16],
            now: NOW,
        };
        let gate = Gate::new(parts, Box::new(Still));
        let bounds = JwksLimits {
            bytes_max: 64 * 1_024,
            keys_max: 10,
        };
        let set = KeySet::parse(keys::jwks(&[keys::es256()]).as_bytes(), &bounds, NOW).unwrap();
        gate.publish_keys(&issuer, &Arc::new(set));
        for server in gate.snapshot().servers() {
            gate.publish_catalog(server, &Arc::new(Catalog::default()));
        }
        let token = TokenBuilder::for_persona(&ALICE, ISSUER, RESOURCE, NOW.secs()).sign(keys::es256());
        let call = Call::tools_call(Era::Legacy, 1, TOOL, "{}").bearer(&token);
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            headers.append(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::try_from(value).unwrap(),
            );
        }
        Self {
            gate,
            headers,
            body: Bytes::from(call.body),
            _writer: writer,
            _folder: folder,
        }
    }

    /// The peak heap of the review of `answer` to an allowed call, by a worker that has judged that call and nothing else.
    fn review(&self, answer: &[u8]) -> u64 {
        let head = RequestHead {
            method: &Method::POST,
            path: "/crm",
            query: None,
            host: "gate.example",
            headers: &self.headers,
            client_ip: Ipv4Addr::LOCALHOST.into(),
            certificate: None,
        };
        let mut scratch = Scratch::new(0);
        let mut visit = self.gate.begin(NOW);
        let Ok(Step::Done(principal)) = visit.authenticate(&head) else {
            panic!("the caller is known");
        };
        let recorded = visit
            .authorize(principal, &head, self.body.clone(), NOW, &mut scratch)
            .unwrap_or_else(|denial| panic!("{}", denial.operator));
        self.gate.durable().wait(recorded.position(), Duration::from_secs(10));
        let permit = recorded.permit(self.gate.durable()).ok().unwrap();
        let (_, mut ticket) = permit.spend();
        let body = Bytes::copy_from_slice(answer);
        let info = measure(|| {
            let reviewed = ticket.review(Answer::Json { status: 200, body }, NOW, &mut scratch);
            drop(reviewed);
        });
        info.bytes_max
    }
}

fn server(issuer: &Arc<Issuer>) -> Server {
    let row = ScopeRow {
        scopes: vec!["salesforce:read".to_owned()],
        class: None,
    };
    let tools = ToolTable::new(BTreeMap::from([(TOOL.to_owned(), row)]), &BTreeMap::new(), false).unwrap();
    let file = |name: &str, text: &str| SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let source = PolicySource {
        modules: vec![
            file(policy::REQUEST_FILE, policy::REQUEST_REGO),
            file(policy::RESPONSE_FILE, policy::RESPONSE_REGO),
        ],
        data: vec![file(policy::DATA_FILE, &policy::sample_data(ISSUER))],
        tools_json: tools.to_json(),
        ..PolicySource::default()
    };
    let endpoint = Endpoint {
        id: EndpointId::ONLY,
        authority: Arc::from("localhost"),
        host: Arc::from("localhost"),
        path: Arc::from("/mcp"),
        tls: false,
        addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000))],
        kept: None,
    };
    let policy = Arc::new(Policy::compile(&source, 1).unwrap());
    let upstream = Upstream::of_one("crm", endpoint);
    let mut parts = ServerParts::strict(
        "crm",
        "/crm",
        RESOURCE,
        vec![Arc::clone(issuer)],
        tools,
        policy,
        upstream,
    );
    parts.tools_on_change = OnChange::Report;
    parts.rate = Rate {
        per_second: 1_000_000,
        burst: 1_000_000,
    };
    Server::new(parts).unwrap()
}
