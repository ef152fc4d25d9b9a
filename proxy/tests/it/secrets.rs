//! What must stand nowhere: no token, argument, session, credential or answer is in the logs, the output, the records or
//! the answer to a refused request.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Response;
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::mcp::{Answers, Canned};
use portcullis_fixtures::persona::{ALICE, BOB};
use portcullis_fixtures::server::End;

use crate::gate::{CREDENTIAL, Gate, HOST, PATH, RESOURCE, stored_keys};

/// Stands in every argument.
const ARGUMENT: &str = "argument-2718281828";
/// Stands in a session id that no server gave.
const SESSION: &str = "session-1414213562";
/// Stands in answers of the upstream that are withheld.
const ANSWER: &str = "answer-3141592653";
/// Stands in fields that mean nothing here.
const FIELD: &str = "field-1618033988";
/// A credential of another scheme.
const BASIC: &str = "YWxpY2U6aHVudGVyMg==";
/// What the demo CRM tells of a person and the policy takes out.
const REDACTED: &str = "dana.reyes@northwind.example";

/// What must stand nowhere, by name.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, name: &'static str, secret: &str) {
        assert!(8 <= secret.len(), "{name} is too short to be searched for");
        self.0.push((name, secret.to_owned()));
    }

    /// Adds a token, and its parts but for the header, which every token of a key shares.
    fn add_token(&mut self, name: &'static str, token: &str) {
        for part in token.split('.').skip(1) {
            self.add(name, part);
        }
    }

    /// Checks bytes that came out of the gate.
    #[track_caller]
    fn check(&self, place: &str, bytes: &[u8]) {
        for (name, secret) in &self.0 {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{name} stands in {place}");
        }
    }

    /// Checks an answer whole.
    #[track_caller]
    fn check_answer(&self, place: &str, answer: &Response) {
        self.check(place, &answer.body);
        for (name, value) in &answer.headers {
            self.check(&format!("{place}, {name}"), value.as_bytes());
        }
    }
}

/// A call with arguments that must not be told.
fn call(era: Era, tool: &str) -> Call {
    let arguments = format!("{{\"account_id\":\"acc-1001\",\"padding\":\"{ARGUMENT}\"}}");
    Call::tools_call(era, 1, tool, &arguments)
}

const READ: &str = "salesforce.opportunity.read";

#[test]
fn no_secret_stands_anywhere() {
    let mut gate = Gate::start("  body_bytes_max: 20000\n  answer_bytes_max: 20000");
    let mut secrets = Secrets::default();
    secrets.add("an argument", ARGUMENT);
    secrets.add("a session", SESSION);
    secrets.add("an answer", ANSWER);
    secrets.add("a field", FIELD);
    secrets.add("a Basic credential", BASIC);
    secrets.add("a redacted value", REDACTED);
    secrets.add("the upstream's credential", CREDENTIAL.split(' ').next_back().unwrap());
    let (alice, bob) = (gate.token(&ALICE), gate.token(&BOB));
    let past = now_s() - 7_200;
    let expired = gate.issuer.builder(RESOURCE).claim("iat", past).expires(past + 60);
    let expired = gate.issuer.sign(&expired);
    let foreign = gate.issuer.mint(&ALICE, "http://gate.test/other/mcp");
    for token in [&alice, &bob, &expired, &foreign] {
        secrets.add_token("a token", token);
    }

    let [session, sealed] = serve_good_calls(&gate, &alice, &secrets);
    secrets.add("a session of the upstream", &session);
    secrets.add("a session as its client knows it", &sealed);
    refuse(&gate, &secrets, [&alice, &bob, &expired, &foreign]);
    withhold(&gate, &secrets, &alice);

    for file in files(&gate.path("keys")) {
        for (_, secret) in stored_keys(&file) {
            secrets.add("a key of the gate", &URL_SAFE_NO_PAD.encode(secret));
        }
    }
    gate.terminate();
    assert!(gate.wait().success());
    let log = gate.log();
    assert!(log.contains("\"DEBUG\"") && log.contains("policy_denied"), "{log}");
    secrets.check("the log", log.as_bytes());
    secrets.check("the output", gate.printed().as_bytes());
    let mut records = 0;
    for file in files(&gate.path("audit")) {
        let bytes = std::fs::read(&file).unwrap();
        records += bytes.len();
        secrets.check(&file.display().to_string(), &bytes);
    }
    assert!(10_000 < records, "the records were not found");
}

/// Good calls in both eras and forms; gives the session that the upstream opened, and as the client knows it.
fn serve_good_calls(gate: &Gate, token: &str, secrets: &Secrets) -> [String; 2] {
    let opened = gate.call(&Call::initialize(1).bearer(token));
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let mut upstream = None;
    for answers in [Answers::Json, Answers::Sse] {
        gate.upstream.set_answers(answers);
        for tool in ["demo.echo", READ] {
            let legacy = call(Era::Legacy, tool).header("mcp-session-id", &session);
            for call in [call(Era::Modern, tool), legacy] {
                let answer = gate.call(&call.bearer(token).header("x-custom", FIELD));
                assert_eq!(answer.status, 200, "{}", answer.text());
                let arrived = gate.upstream.capture().last().unwrap();
                upstream = upstream.or_else(|| arrived.header("mcp-session-id").map(str::to_owned));
                secrets.check_answer("a good answer", &answer);
            }
        }
    }
    gate.upstream.set_answers(Answers::Json);
    [upstream.unwrap(), session]
}

/// Refused requests of every kind, each with secrets of its own.
fn refuse(gate: &Gate, secrets: &Secrets, [alice, bob, expired, foreign]: [&str; 4]) {
    let good = || call(Era::Modern, READ);
    let long = format!("{{\"padding\":\"{}\"}}", ARGUMENT.repeat(2_000));
    let post = |body: String| {
        Call::post(body)
            .bearer(alice)
            .header("mcp-protocol-version", "2025-11-25")
    };
    let twice = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"demo.echo\",\"arguments\":{{\"{ARGUMENT}\":1,\"{ARGUMENT}\":2}}}}}}"
    );
    let calls = [
        ("expired", good().bearer(expired), 401),
        ("another audience", good().bearer(foreign), 401),
        (
            "a token with a longer signature",
            good().bearer(&format!("{alice}AAAA")),
            401,
        ),
        ("two tokens", good().bearer(alice).bearer(bob), 400),
        ("Basic", good().header("authorization", &format!("Basic {BASIC}")), 401),
        ("an API key", good().bearer(alice).header("x-api-key", FIELD), 400),
        ("an API key alone", good().header("apikey", FIELD), 400),
        (
            "a Digest",
            good().header("authorization", &format!("Digest response={FIELD}")),
            401,
        ),
        ("an opaque token", good().bearer(FIELD), 401),
        ("denied by policy", good().bearer(bob), 403),
        ("an unmapped tool", call(Era::Modern, "other.tool").bearer(alice), 403),
        ("no JSON", post(format!("{{\"{ARGUMENT}\":")), 400),
        (
            "an unknown member",
            post(format!("{{\"jsonrpc\":\"2.0\",\"{ARGUMENT}\":1}}")),
            400,
        ),
        ("a key twice", post(twice), 400),
        (
            "a long body",
            Call::tools_call(Era::Modern, 1, "demo.echo", &long).bearer(alice),
            413,
        ),
        (
            "a foreign page",
            good().bearer(alice).header("origin", &format!("https://{FIELD}.test")),
            403,
        ),
        (
            "a strange header",
            Call::tools_list(Era::Modern, 1)
                .bearer(alice)
                .header("mcp-param-a", FIELD),
            400,
        ),
    ];
    for (name, call, status) in calls {
        let answer = gate.call(&call.header("cookie", FIELD));
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        secrets.check_answer(name, &answer);
    }
    let unknown_session = call(Era::Legacy, "demo.echo").bearer(alice);
    let answer = gate.call(&unknown_session.header("mcp-session-id", SESSION));
    assert_eq!(answer.status, 404, "{}", answer.text());
    secrets.check_answer("an unknown session", &answer);
    refuse_heads(gate, secrets, alice);
}

/// Heads that cannot be read, or must not be: the HTTP stack sees them before the gate does.
fn refuse_heads(gate: &Gate, secrets: &Secrets, token: &str) {
    let rest = format!("host: {HOST}\r\nauthorization: Bearer {token}\r\ncookie: {FIELD}\r\n");
    let heads = [
        (
            "a query",
            format!("POST {PATH}?access_token={token} HTTP/1.1\r\n{rest}\r\n"),
        ),
        (
            "a bare line feed",
            format!("POST {PATH} HTTP/1.1\r\n{rest}x: a\n{FIELD}: b\r\n\r\n"),
        ),
        (
            "a folded line",
            format!("POST {PATH} HTTP/1.1\r\n{rest}x: a\r\n {FIELD}\r\n\r\n"),
        ),
        (
            "a field without a colon",
            format!("POST {PATH} HTTP/1.1\r\n{rest}{FIELD}\r\n\r\n"),
        ),
        ("a wrong version", format!("POST {PATH} HTTP/7.1\r\n{rest}\r\n")),
        (
            "a control character",
            format!("POST {PATH} HTTP/1.1\r\n{rest}x: \u{1}{FIELD}\r\n\r\n"),
        ),
        ("no request line", format!("{FIELD}\r\n{rest}\r\n")),
        (
            "two lengths",
            format!("POST {PATH} HTTP/1.1\r\n{rest}content-length: 1\r\ncontent-length: 2\r\n\r\n{FIELD}"),
        ),
        (
            "a wrong chunk",
            format!("POST {PATH} HTTP/1.1\r\n{rest}transfer-encoding: chunked\r\n\r\n{FIELD}\r\n"),
        ),
        (
            "a long head",
            format!("POST {PATH} HTTP/1.1\r\n{rest}x: {}\r\n\r\n", FIELD.repeat(4_000)),
        ),
    ];
    for (name, head) in heads {
        let answer = gate.connect().exchange(head.as_bytes());
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!((400..500).contains(&answer.status), "{name}: {}", answer.text());
        secrets.check_answer(name, &answer);
    }
}

/// Answers that must not reach the client, and an upstream that is late.
fn withhold(gate: &Gate, secrets: &Secrets, token: &str) {
    let rpc = |id: u64| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"{ANSWER}\":\"{ANSWER}\"}}}}");
    let mut page = Canned::json(ANSWER);
    page.headers = vec![("content-type".to_owned(), format!("text/{ANSWER}"))];
    let mut refused = Canned::json(ANSWER);
    refused.status = 401;
    refused
        .headers
        .push(("www-authenticate".to_owned(), format!("Bearer realm=\"{ANSWER}\"")));
    let answers = [
        ("no JSON", Canned::json(ANSWER)),
        ("another id", Canned::json(&rpc(2))),
        ("a page", page),
        ("a refused credential", refused),
        ("a long answer", Canned::json(&ANSWER.repeat(2_000))),
        ("a torn answer", Canned::json(&rpc(1)).ending(End::Cut)),
        ("a torn event", Canned::sse(&[&format!("data: {ANSWER}")])),
        ("no event stream", Canned::sse(&[&format!("{ANSWER}\u{0}\n\n")])),
    ];
    for (name, canned) in answers {
        gate.upstream.answer_next(canned);
        let answer = gate.call(&call(Era::Modern, "demo.echo").bearer(token));
        secrets.check_answer(name, &answer);
    }
    // A client that goes before its answer.
    gate.upstream.set_delay(Duration::from_secs(60));
    let before = gate.upstream.capture().count();
    let mut leaving = gate.connect();
    leaving
        .send(&call(Era::Modern, READ).bearer(token).to_http(HOST, PATH))
        .unwrap();
    crate::gate::until(|| before < gate.upstream.capture().count());
}

/// Every file under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}
