//! Revocation through the built gate: who may revoke, what it ends, and what of it survives.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Connection;
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::mcp::Canned;
use portcullis_fixtures::persona::{ALICE, BOB, Persona};
use portcullis_fixtures::server::End;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::{Value, json};

use crate::gate::{CONFIG, Gate, HOST, PATH, RESOURCE, until};

const SOCKET: &str = "control.sock";
const FILE: &str = "revoked.jsonl";
const BEARER: &str = "0123456789abcdef0123456789abcdef-ops";

/// A gate whose issuer states `feed`, with these further lines of its configuration.
fn start(written: &str) -> Gate {
    // Waiting is asking again and again: no rate must stand in the way.
    let mut gate = Gate::start_for_load();
    gate.kill();
    let config = std::fs::read_to_string(gate.path(CONFIG)).unwrap();
    let config = config.replacen(
        "    danger_allow_private_addresses: true",
        "    revocation: feed\n    danger_allow_private_addresses: true",
        1,
    );
    std::fs::write(gate.path("bearer.txt"), format!("{BEARER}\n")).unwrap();
    std::fs::write(gate.path(CONFIG), format!("state_dir: state\n{written}\n{config}")).unwrap();
    gate.restart();
    gate
}

fn with_socket() -> Gate {
    start("admin: {control: {unix: control.sock}}")
}

/// Status and body of one call over any stream.
fn exchange(mut stream: impl std::io::Read + std::io::Write, call: &str, fields: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    write!(
        stream,
        "{call} HTTP/1.1\r\nhost: control\r\ncontent-length: {length}\r\n{fields}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let json = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    if 400 <= status {
        assert!(head.contains("application/problem+json"), "{answer}");
    }
    (status, json)
}

pub(crate) fn control(gate: &Gate, call: &str, body: &str) -> (u16, Value) {
    exchange(UnixStream::connect(gate.path(SOCKET)).unwrap(), call, "", body)
}

fn revoke(gate: &Gate, target: &str, name: &str) -> (u16, Value) {
    let body = json!({"issuer": gate.issuer.url(), target: name, "reason": "a test"});
    control(gate, "POST /revocations", &body.to_string())
}

fn token(gate: &Gate, persona: &Persona, jti: &str) -> String {
    let builder = TokenBuilder::for_persona(persona, gate.issuer.url(), RESOURCE, now_s());
    gate.issuer
        .sign(&builder.claim("jti", jti).claim("sid", format!("session-{jti}")))
}

fn echo(token: &str) -> Call {
    Call::tools_call(Era::Modern, 1, "demo.echo", "{}").bearer(token)
}

fn status(gate: &Gate, token: &str) -> u16 {
    gate.call(&echo(token)).status
}

#[test]
fn a_revoked_token_is_refused_from_the_answer_on_and_after_a_kill() {
    let mut gate = with_socket();
    let mode = std::fs::metadata(gate.path(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let [one, two, three] = ["one", "two", "three"].map(|jti| token(&gate, &ALICE, jti));
    for token in [&one, &two, &three] {
        assert_eq!(status(&gate, token), 200);
    }
    let before = gate.upstream.capture().count();
    let (created, entry) = revoke(&gate, "jti", "one");
    assert_eq!(created, 201, "{entry}");
    let refused = gate.call(&echo(&one));
    assert_eq!(refused.status, 401, "{}", refused.text());
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert_eq!(gate.upstream.capture().count(), before, "a revoked token went upstream");
    assert_eq!(status(&gate, &two), 200);

    // The kill comes as soon as the answer is there.
    assert_eq!(revoke(&gate, "session", "session-two").0, 201);
    gate.kill();
    gate.restart();
    assert_eq!((status(&gate, &one), status(&gate, &two)), (401, 401));
    assert_eq!(status(&gate, &three), 200);
    let (listed, list) = control(&gate, "GET /revocations", "");
    assert_eq!((listed, &list["count"]), (200, &2.into()), "{list}");
    assert_eq!(list["entries"][0], entry);
    let (_, page) = control(&gate, "GET /revocations?limit=1", "");
    assert_eq!(page["next"], entry["id"]);
    let next = format!("GET /revocations?after={}", entry["id"].as_str().unwrap());
    assert_eq!(control(&gate, &next, "").1["entries"][0]["session"], "session-two");

    gate.terminate();
    assert!(gate.wait().success());
    let records = gate.tail();
    let own = std::fs::metadata(gate.path(CONFIG)).map(|file| std::os::unix::fs::MetadataExt::uid(&file));
    let act = records
        .iter()
        .find(|record| record["record_id"] == entry["id"])
        .unwrap();
    assert_eq!(
        (&act["phase"], &act["act"]),
        (&"admin".into(), &"revoke".into()),
        "{act}"
    );
    assert_eq!(act["author"], format!("uid:{}", own.unwrap()));
    assert_eq!(
        (&act["outcome"], &act["target"]["id"]),
        (&"applied".into(), &"one".into())
    );
    let refusals = |record: &&Value| record["phase"] == "refusals" && record["reason"] == "token_revoked";
    assert_eq!(
        records
            .iter()
            .filter(refusals)
            .map(|record| record["count"].as_u64().unwrap())
            .sum::<u64>(),
        2
    );
    let allowed = records.iter().find(|record| record["phase"] == "request").unwrap();
    assert!(
        allowed["token"]["revocation"].as_str().unwrap().ends_with('Z'),
        "{allowed}"
    );
}

#[test]
fn an_open_stream_of_the_revoked_ends_and_another_goes_on() {
    let gate = with_socket();
    let open = |persona: &Persona| -> Connection {
        let before = gate.upstream.answers_open();
        let canned = Canned::sse(&[": hello\n\n"]).ending(End::Open);
        gate.upstream.answer_next(canned);
        let mut connection = gate.connect();
        let bytes = echo(&token(&gate, persona, persona.subject)).to_http(HOST, PATH);
        connection.send(&bytes).unwrap();
        until(|| gate.upstream.answers_open() == before + 1);
        connection
    };
    let (mut alices, bobs) = (open(&ALICE), open(&BOB));
    assert_eq!(revoke(&gate, "subject", ALICE.subject).0, 201);
    let text = alices.read_response().unwrap().text();
    assert!(text.contains("the access token was revoked"), "{text}");
    until(|| gate.upstream.answers_open() == 1);
    drop(bobs);
    until(|| gate.upstream.answers_open() == 0);
    gate.terminate();
    let (ended, records) = gate.records();
    assert!(ended.success(), "{ended}");
    assert_eq!(records.matches("\"outcome\":\"revoked\"").count(), 1, "{records}");
    assert!(records.contains("\"outcome\":\"client_gone\""), "{records}");
}

#[test]
fn what_is_no_revocation_is_refused_and_on_record() {
    let gate = with_socket();
    let issuer = gate.issuer.url();
    let cases = [
        ("{".to_owned(), 400),
        (json!({"issuer": issuer}).to_string(), 400),
        (json!({"issuer": issuer, "jti": "a", "subject": "b"}).to_string(), 400),
        (json!({"issuer": issuer, "jti": "a", "note": "b"}).to_string(), 400),
        (
            json!({"issuer": issuer, "jti": "a", "reason": "x".repeat(70_000)}).to_string(),
            400,
        ),
        (json!({"issuer": "https://other.test", "jti": "a"}).to_string(), 422),
        (json!({"issuer": issuer, "jti": "a", "expires": 1}).to_string(), 422),
    ];
    let count = cases.len();
    for (body, status) in cases {
        let (answered, problem) = control(&gate, "POST /revocations", &body);
        assert_eq!(answered, status, "{problem}");
        assert!(
            problem["detail"].is_string() && problem["status"] == status,
            "{problem}"
        );
    }
    assert_eq!(control(&gate, "DELETE /revocations", "").0, 405);
    assert_eq!(control(&gate, "GET /metrics", "").0, 404);
    assert_eq!(control(&gate, "GET /revocations?limit=0", "").0, 400);
    assert_eq!(control(&gate, "GET /revocations", "").1["count"], 0);
    let refused = gate.tail();
    let refused = refused
        .iter()
        .filter(|record| record["act"] == "revoke" && record["outcome"] == "refused");
    assert_eq!(refused.count(), count);
}

#[test]
fn the_command_line_revokes_and_says_why_not() {
    let gate = with_socket();
    let alice = token(&gate, &ALICE, "one");
    assert_eq!(status(&gate, &alice), 200);
    let socket = gate.path(SOCKET);
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let output = command
            .arg("revoke")
            .arg("--control")
            .arg(&socket)
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let issuer = gate.issuer.url();
    let (code, printed, _) = command(&["--issuer", issuer, "--subject", ALICE.subject, "--reason", "left"]);
    let entry: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((code, &entry["reason"]), (Some(0), &"left".into()));
    assert_eq!(status(&gate, &alice), 401);
    let (code, _, told) = command(&["--issuer", "https://other.test", "--jti", "one"]);
    assert_eq!(code, Some(3));
    assert!(told.contains("`https://other.test` is no issuer with"), "{told}");
    assert_eq!(command(&["--issuer", issuer]).0, Some(2));
    assert_eq!(command(&["--issuer", issuer, "--jti", "a", "--client", "b"]).0, Some(2));
}

#[test]
fn over_tcp_only_a_bearer_of_the_configuration_may_act() {
    let mut gate = start("admin: {control: {address: \"127.0.0.1:0\", tokens: [{name: ops, file: bearer.txt}]}}");
    let printed = gate.line();
    let address = printed.trim().strip_prefix("control http://").unwrap().to_owned();
    let body = json!({"issuer": gate.issuer.url(), "jti": "one"}).to_string();
    let call = |fields: &str| {
        exchange(
            TcpStream::connect(&address).unwrap(),
            "POST /revocations",
            fields,
            &body,
        )
        .0
    };
    let longer = format!("authorization: Bearer {BEARER}x\r\n");
    let shorter = format!("authorization: Bearer {}\r\n", BEARER.strip_suffix('s').unwrap());
    let basic = format!("authorization: Basic {BEARER}\r\n");
    let right = format!("authorization: Bearer {BEARER}\r\n");
    for fields in [
        "",
        "authorization: Bearer\r\n",
        "authorization: Bearer \r\n",
        &longer,
        &shorter,
        &basic,
    ] {
        assert_eq!(call(fields), 401, "{fields}");
    }
    assert_eq!(call(&format!("{right}{right}")), 401);
    let alice = token(&gate, &ALICE, "one");
    assert_eq!(status(&gate, &alice), 200);
    assert_eq!(call(&right), 201);
    assert_eq!(status(&gate, &alice), 401);
    gate.terminate();
    assert!(gate.wait().success());
    let records = gate.tail();
    let acts: Vec<&Value> = records.iter().filter(|record| record["act"] == "revoke").collect();
    assert_eq!(acts.len(), 1);
    assert_eq!(acts[0]["author"], "token:ops");
    let strangers = records.iter().filter(|record| record["server"] == "(control)");
    assert_eq!(
        strangers.map(|record| record["count"].as_u64().unwrap()).sum::<u64>(),
        7
    );
    assert!(!gate.log().contains(BEARER), "the bearer stands in the log");
}

#[test]
fn the_watched_file_is_applied_line_by_line_as_it_grows() {
    let mut gate = start(&format!("revocation_file: {FILE}\nadmin: {{address: \"127.0.0.1:0\"}}"));
    let admin = gate.admin();
    let [one, two] = ["one", "two"].map(|jti| token(&gate, &ALICE, jti));
    assert_eq!((status(&gate, &one), status(&gate, &two)), (200, 200));
    let line = |jti: &str| json!({"issuer": gate.issuer.url(), "jti": jti, "expires": now_s() + 600}).to_string();
    let text = format!("not json\n{}\n", line("one"));
    std::fs::write(gate.path(FILE), &text).unwrap();
    until(|| status(&gate, &one) == 401);
    let told = || gate.logged("a line of the file of revocations is passed over");
    until(|| !told().is_empty());
    assert_eq!(told()[0]["line"], 1);
    assert_eq!(status(&gate, &two), 200);
    let text = format!("{text}\n{}\n", line("two"));
    std::fs::write(gate.path(FILE), &text).unwrap();
    until(|| status(&gate, &two) == 401);
    assert_eq!(told().len(), 1, "a fault is told once");
    let metrics = || {
        // Pages on loopback are told by a name of this machine alone.
        Connection::open(admin)
            .unwrap()
            .exchange(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap()
            .text()
    };
    until(|| metrics().contains("portcullis_revocation_acts_total{outcome=\"applied\"} 2\n"));
    let text = metrics();
    assert!(text.contains("portcullis_revocations 2\n"), "{text}");
    assert!(
        text.contains("portcullis_revocation_acts_total{outcome=\"refused\"} 1\n"),
        "{text}"
    );

    // What was taken in stays, with the file gone and the gate restarted.
    gate.kill();
    std::fs::remove_file(gate.path(FILE)).unwrap();
    gate.restart();
    assert_eq!((status(&gate, &one), status(&gate, &two)), (401, 401));
    let records = gate.tail();
    let acts = records.iter().filter(|record| record["act"] == "revoke");
    assert!(acts.clone().all(|record| record["author"] == "file"));
    assert_eq!(acts.count(), 2);
}

#[test]
fn a_damaged_journal_starts_no_gate_and_a_torn_one_does() {
    let mut gate = with_socket();
    for jti in ["one", "two"] {
        assert_eq!(revoke(&gate, "jti", jti).0, 201);
    }
    gate.kill();
    let journal = gate.path("state/revocations.journal");
    assert_eq!(std::fs::metadata(&journal).unwrap().permissions().mode() & 0o777, 0o600);
    let whole = std::fs::read(&journal).unwrap();
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&journal, &damaged).unwrap();
    let output = run(&gate.path(CONFIG));
    assert!(!output.0, "{}", output.1);
    assert!(output.1.contains("journal of revocations is damaged"), "{}", output.1);
    assert_eq!(
        std::fs::read(&journal).unwrap(),
        damaged,
        "a damaged journal is left as it is"
    );

    let torn = [&whole[..], b"{\"crc\":\"0"].concat();
    std::fs::write(&journal, torn).unwrap();
    gate.restart();
    assert_eq!(control(&gate, "GET /revocations", "").1["count"], 2);
}

/// Whether a gate that cannot start has started, and what it says.
fn run(config: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let output = command
        .args(["run", "--workers", "1", "-c"])
        .arg(config)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn nothing_of_it_is_there_unless_it_is_written() {
    let mut gate = Gate::start_with("127.0.0.1:0\nadmin: {address: \"127.0.0.1:0\"}", "", "");
    let admin = gate.admin();
    for address in [gate.address(), admin] {
        for method in ["GET", "POST"] {
            let call = format!("{method} /revocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
            let answer = Connection::open(address).unwrap().exchange(call.as_bytes()).unwrap();
            assert_eq!(answer.status, 404, "{method} at {address}");
        }
    }
    // The accepted tools alone stand in it.
    let kept = std::fs::read_dir(gate.path("state")).unwrap();
    let kept: Vec<String> = kept
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(kept.iter().all(|name| name.starts_with("tools-")), "{kept:?}");
}
