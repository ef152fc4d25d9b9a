//! Batches of 2025-03-26 and tasks of both kinds through the built gate: what arrives, and what comes back.

use portcullis_fixtures::calls::Call;
use portcullis_fixtures::http1::Response;
use portcullis_fixtures::mcp::Canned;
use portcullis_fixtures::persona::{ALICE, BOB, Persona};
use serde_json::Value;

use crate::gate::{Gate, REQUEST_REGO, is_allow, is_end};

const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const TASK: &str = "786512e2";

/// A call that the policy allows to Alice and denies to Bob, with blanks of its own.
fn read(id: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0", "id":{id},"method":"tools/call","params":{{"name":"salesforce.opportunity.read","arguments":{{"account_id":"acc-1001"}}}}}}"#
    )
}

fn echo(id: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"demo.echo","arguments":{{"padding": "a"}}}}}}"#
    )
}

fn ping(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)
}

fn result(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id}, "result":{{"content":[]}}}}"#)
}

fn pong(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

/// Sends this body by a persona, without naming a version.
fn send(gate: &Gate, persona: &Persona, body: &str) -> Response {
    gate.call(&Call::post(body.to_owned()).bearer(&gate.token(persona)))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

/// The data of every event of a stream.
fn events(answer: &Response) -> Vec<String> {
    let text = answer.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(str::to_owned).collect()
}

#[test]
fn a_batch_goes_and_comes_back_whole() {
    let gate = Gate::start("");
    let batch = format!("\n [ {},{NOTE}, {} ]", echo(1), ping(2));
    gate.upstream
        .answer_next(Canned::json(&format!("[ {},{}]", pong(2), result(1))));
    let answer = send(&gate, &ALICE, &batch);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text(), format!("[{},{}]", pong(2), result(1)));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(gate.upstream.capture().last().unwrap().body, batch.as_bytes());
    // What the upstream leaves out is told, by its id.
    gate.upstream
        .answer_next(Canned::json(&format!("[{},{}]", pong(2), pong(7))));
    let partial = json(&send(&gate, &ALICE, &batch).text());
    assert_eq!(
        (&partial[0]["id"], &partial[1]["id"]),
        (&Value::from(2), &Value::from(1))
    );
    assert!(partial[1]["error"]["code"].is_i64(), "{partial}");
    assert_eq!(partial.as_array().map(Vec::len), Some(2));
    let mut accepted = Canned::json("");
    accepted.status = 202;
    gate.upstream.answer_next(accepted);
    let told = send(&gate, &ALICE, &format!("[{NOTE},{NOTE}]"));
    assert_eq!((told.status, told.body.len()), (202, 0), "{}", told.text());
    gate.terminate();
    let (status, records) = gate.records();
    assert!(status.success(), "{status}");
    let records: Vec<Value> = records.lines().map(json).collect();
    let count = |wanted: fn(&Value) -> bool| records.iter().filter(|record| wanted(record)).count();
    assert_eq!(
        (count(is_allow), count(is_end)),
        (8, 8),
        "each element has its own pair"
    );
}

#[test]
fn a_stream_answers_a_batch() {
    let gate = Gate::start("");
    let batch = format!("[{},{},{}]", echo(1), ping(2), ping(3));
    let event = |data: &str| format!("data: {data}\n\n");
    let both = format!("[{},{}]", pong(3), pong(2));
    gate.upstream
        .answer_next(Canned::sse(&[&event(&result(1)), &event(&both)]));
    let whole = send(&gate, &ALICE, &batch);
    assert_eq!(whole.header("content-type"), Some("text/event-stream"));
    assert_eq!(events(&whole), [result(1), both]);
    // The stream ends too early: whoever still waits is told, each by its own id.
    gate.upstream.answer_next(Canned::sse(&[&event(&pong(2))]));
    let broken = events(&send(&gate, &ALICE, &batch));
    assert_eq!(broken[0], pong(2));
    let owed = json(&broken[1]);
    let ids: Vec<&Value> = owed.as_array().unwrap().iter().map(|error| &error["id"]).collect();
    assert_eq!(ids, [&Value::from(1), &Value::from(3)]);
    assert!(owed[0]["error"]["code"].is_i64(), "{owed}");
}

#[test]
fn of_a_refused_batch_the_upstream_sees_nothing() {
    let gate = Gate::start("");
    let pings = |count: u64| (0..count).map(ping).collect::<Vec<_>>().join(",");
    let initialize = Call::initialize(9).body;
    for (name, persona, body, status) in [
        ("allowed, denied", &BOB, format!("[{},{}]", ping(1), read(2)), 403),
        ("denied, allowed", &BOB, format!("[{},{}]", read(2), ping(1)), 403),
        ("notification, denied", &BOB, format!("[{NOTE},{}]", read(2)), 403),
        (
            "an array after blanks",
            &BOB,
            format!(" \n\t[{},{}]", ping(1), read(2)),
            403,
        ),
        ("empty", &ALICE, "[]".to_owned(), 400),
        ("nested", &ALICE, format!("[[{}]]", ping(1)), 400),
        ("an initialize", &ALICE, format!("[{},{initialize}]", ping(1)), 400),
        ("the same id twice", &ALICE, format!("[{},{}]", ping(1), echo(1)), 400),
        ("65 elements", &ALICE, format!("[{}]", pings(65)), 400),
        ("trailing bytes", &ALICE, format!("[{}] []", ping(1)), 400),
    ] {
        let answer = send(&gate, persona, &body);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        let error = json(&answer.text());
        assert!(error["error"]["code"].is_i64(), "{name}: one error, no array");
        assert_eq!(answer.header("portcullis-record-id").map(str::len), Some(36), "{name}");
    }
    let call = Call::post(format!("[{}]", ping(1)))
        .header("mcp-protocol-version", "2025-11-25")
        .bearer(&gate.token(&ALICE));
    assert_eq!(gate.call(&call).status, 400, "another version has no batches");
    assert_eq!(gate.upstream.capture().count(), 0, "nothing of all this was forwarded");
}

/// A request of the modern era.
fn modern(method: &str, members: &str, name: &str) -> Call {
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{members},{meta}}}}}"#);
    Call::post(body)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
        .header("mcp-name", name)
}

#[test]
fn a_task_stays_its_callers() {
    let folder = tempfile::tempdir().unwrap();
    let open = "package portcullis.request\n\ndecision := {\"allow\": true, \"rule\": \"all\", \"reason\": \"any\"}\n";
    std::fs::write(folder.path().join("open.rego"), open).unwrap();
    let gate = Gate::start_changed_in(folder, |_, config| config.replace(REQUEST_REGO, "open.rego"));
    let state = |further: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{{further},"taskId":"{TASK}","ttlMs":60000,"status":"working"}}}}"#
        )
    };
    let call = modern("tools/call", r#""name":"demo.echo","arguments":{}"#, "demo.echo");
    gate.upstream
        .answer_next(Canned::json(&state(r#""resultType":"task""#)));
    let started = gate.call(&call.bearer(&gate.token(&ALICE)));
    assert_eq!((started.status, started.text()), (200, state(r#""resultType":"task""#)));
    let get = |id: &str| modern("tasks/get", &format!(r#""taskId":"{id}""#), id);
    let answer = state(r#""resultType":"complete","result":{"content":[]}"#);
    gate.upstream.answer_next(Canned::json(&answer));
    let own = gate.call(&get(TASK).bearer(&gate.token(&ALICE)));
    assert_eq!((own.status, own.text()), (200, answer));
    let before = gate.upstream.capture().count();
    let foreign = gate.call(&get(TASK).bearer(&gate.token(&BOB)));
    let unknown = gate.call(&get("other").bearer(&gate.token(&BOB)));
    for refused in [&foreign, &unknown] {
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!(json(&refused.text())["error"]["code"], -32602);
    }
    let without_id = |answer: &Response| {
        let mut told = json(&answer.text());
        told["error"]["data"]["instance"].take();
        told
    };
    assert_eq!(
        without_id(&foreign),
        without_id(&unknown),
        "nobody learns whether it exists"
    );
    assert_eq!(gate.upstream.capture().count(), before);
}
