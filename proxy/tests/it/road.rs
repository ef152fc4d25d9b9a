//! The road of a request through the built gate: what arrives, what is refused, what comes back.

use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::{Connection, request};
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::mcp::{Answers, Canned};
use portcullis_fixtures::persona::{ALICE, BOB};
use portcullis_fixtures::server::End;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::Value;

use crate::gate::{Gate, HOST, ORIGIN, PATH, RESOURCE, until};

/// A tool whose answers are passed on as they are.
const TOOL: &str = "demo.echo";

/// A call that the policy allows to Alice; the blanks show that the very bytes are forwarded.
fn allowed(id: u64) -> Call {
    Call::tools_call(Era::Modern, id, TOOL, "{ \"padding\" :\"a\"}")
}

/// The same of the legacy era, within a session that is opened first.
fn allowed_in_session(gate: &Gate, token: &str, id: u64) -> Call {
    let opened = gate.call(&Call::initialize(1).bearer(token));
    assert_eq!(opened.status, 200, "{}", opened.text());
    let session = opened.header("mcp-session-id").unwrap();
    Call::tools_call(Era::Legacy, id, TOOL, "{ \"padding\" :\"a\"}").header("mcp-session-id", session)
}

/// A call that the policy allows to Alice and denies to Bob.
fn of_alice(id: u64) -> Call {
    Call::tools_call(
        Era::Modern,
        id,
        "salesforce.opportunity.read",
        r#"{"account_id":"acc-1001"}"#,
    )
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(body)))
}

#[test]
fn an_allowed_call_arrives_byte_for_byte_and_without_the_token() {
    let gate = Gate::start("");
    let token = gate.token(&ALICE);
    for (id, call) in [(7, allowed(7)), (8, allowed_in_session(&gate, &token, 8))] {
        let call = call
            .bearer(&token)
            .header("x-portcullis-subject", "root")
            .header("cookie", "a=b");
        let answer = gate.call(&call);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(json(&answer.body)["id"], id);
        assert_eq!(answer.header("portcullis-record-id").map(str::len), Some(36));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let arrived = gate.upstream.capture().last().unwrap();
        assert_eq!(arrived.body, call.body.as_bytes());
        assert!(!arrived.mentions(&token), "the client's token went upstream");
        assert_eq!(arrived.header("authorization"), Some("Bearer upstream-secret"));
        let names: Vec<&str> = arrived.headers.iter().map(|(name, _)| name.as_str()).collect();
        for name in names {
            let known = ["accept", "authorization", "content-length", "content-type", "host"];
            assert!(
                known.contains(&name) || name.starts_with("mcp-"),
                "`{name}` went upstream"
            );
        }
    }
    // The connection serves again, unless the next call comes in the instant in which Pingora still puts it away.
    until(|| {
        let before = gate.upstream.connections();
        assert_eq!(gate.call(&allowed(9).bearer(&token)).status, 200);
        gate.upstream.connections() == before
    });
}

#[test]
fn a_refused_request_never_arrives() {
    let gate = Gate::start("  body_bytes_max: 2000");
    let token = gate.token(&ALICE);
    let narrow = TokenBuilder::for_persona(&ALICE, gate.issuer.url(), RESOURCE, now_s()).scope("repo");
    let narrow = gate.issuer.sign(&narrow);
    let bearer = format!("Bearer {token}");
    let good = allowed(1);
    let call = |call: &Call| call.to_http(HOST, PATH);
    let long = Call::tools_call(
        Era::Modern,
        1,
        TOOL,
        &format!("{{\"padding\":\"{}\"}}", "a".repeat(2_000)),
    );
    let deep = Call::tools_call(Era::Modern, 1, TOOL, &format!("{}{}", "[".repeat(100), "]".repeat(100)));
    let raw =
        |head: &str, body: &str| format!("{head}\r\nhost: {HOST}\r\nauthorization: {bearer}\r\n{body}").into_bytes();
    let get = |headers: &[(&str, &str)]| request("GET", HOST, PATH, headers.iter().copied(), b"");
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("no token", call(&good), 401),
        ("GET without a token", get(&[]), 401),
        (
            "GET in the modern era",
            get(&[("authorization", &bearer), ("mcp-protocol-version", "2026-07-28")]),
            405,
        ),
        ("a foreign token", call(&good.clone().bearer("a.b.c")), 401),
        (
            "another scheme",
            call(&good.clone().header("authorization", "Basic YTpi")),
            401,
        ),
        ("two tokens", call(&good.clone().bearer(&token).bearer(&token)), 400),
        (
            "a query",
            good.clone().bearer(&token).to_http(HOST, "/crm/mcp?a=b"),
            400,
        ),
        (
            "an unknown path",
            good.clone().bearer(&token).to_http(HOST, "/other"),
            404,
        ),
        (
            "another host",
            good.clone().bearer(&token).to_http("evil.test", PATH),
            403,
        ),
        (
            "another origin",
            call(&good.clone().bearer(&token).header("origin", "https://evil.test")),
            403,
        ),
        ("another account", call(&of_alice(1).bearer(&gate.token(&BOB))), 403),
        ("a tool of another scope", call(&of_alice(1).bearer(&narrow)), 403),
        (
            "a hidden tool of another scope",
            call(&Call::tools_call(Era::Modern, 1, "salesforce.account.delete", "{}").bearer(&token)),
            403,
        ),
        (
            "an unmapped tool",
            call(&Call::tools_call(Era::Modern, 1, "other", "{}").bearer(&token)),
            403,
        ),
        ("a batch", call(&Call::post("[]".to_owned()).bearer(&token)), 400),
        ("no JSON", call(&Call::post("{".to_owned()).bearer(&token)), 400),
        ("no body", call(&Call::post(String::new()).bearer(&token)), 400),
        ("a deep body", call(&deep.bearer(&token)), 400),
        ("a long body", call(&long.bearer(&token)), 413),
        (
            "a long body by declaration alone",
            raw(
                "POST /crm/mcp HTTP/1.1",
                "content-type: application/json\r\ncontent-length: 2001\r\n\r\n",
            ),
            413,
        ),
        (
            "a long body in chunks",
            raw(
                "POST /crm/mcp HTTP/1.1",
                &format!(
                    "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n7d1\r\n{}\r\n0\r\n\r\n",
                    "a".repeat(2_001)
                ),
            ),
            413,
        ),
        (
            "another media type",
            call(
                &good
                    .clone()
                    .without_header("content-type")
                    .header("content-type", "text/plain")
                    .bearer(&token),
            ),
            415,
        ),
        (
            "a coded body",
            call(&good.clone().header("content-encoding", "gzip").bearer(&token)),
            415,
        ),
        (
            "no acceptable answer",
            call(
                &good
                    .clone()
                    .without_header("accept")
                    .header("accept", "text/html")
                    .bearer(&token),
            ),
            406,
        ),
        (
            "two framings",
            raw(
                "POST /crm/mcp HTTP/1.1",
                "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            400,
        ),
        (
            "two lengths",
            raw(
                "POST /crm/mcp HTTP/1.1",
                "content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
            ),
            400,
        ),
        (
            "a bare line feed",
            raw("POST /crm/mcp HTTP/1.1", "x: a\ncontent-length: 2\r\n\r\n{}"),
            400,
        ),
        (
            "a folded field",
            raw("POST /crm/mcp HTTP/1.1", "x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}"),
            400,
        ),
        (
            "absolute form",
            raw("POST http://gate.test/crm/mcp HTTP/1.1", "content-length: 2\r\n\r\n{}"),
            400,
        ),
        (
            "HTTP/1.0",
            raw("POST /crm/mcp HTTP/1.0", "content-length: 2\r\n\r\n{}"),
            400,
        ),
        (
            "a long head",
            raw("POST /crm/mcp HTTP/1.1", &format!("x: {}\r\n\r\n", "a".repeat(40_000))),
            431,
        ),
        (
            "a wide head",
            raw("POST /crm/mcp HTTP/1.1", &format!("{}\r\n", "x: a\r\n".repeat(101))),
            431,
        ),
    ];
    for (name, bytes, status) in cases {
        let mut connection = gate.connect();
        let answer = connection
            .exchange(&bytes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        let body = json(&answer.body);
        assert_eq!(body["error"]["data"]["status"], status, "{name}");
        let cured = status == 401 || name == "a tool of another scope";
        assert_eq!(answer.header("www-authenticate").is_some(), cured, "{name}");
        assert_eq!(answer.header("allow"), (status == 405).then_some("POST"), "{name}");
    }
    assert_eq!(gate.upstream.capture().count(), 0, "a refused request went upstream");
    let log = gate.log();
    assert!(log.contains("credential_missing"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    let signature = token.rsplit('.').next().unwrap();
    assert!(!log.contains(signature), "a token stands in the log");
}

#[test]
fn a_refusal_names_the_cure_and_keeps_the_connection() {
    let gate = Gate::start("");
    let mut connection = gate.connect();
    let denied = connection
        .exchange(&of_alice(7).bearer(&gate.token(&BOB)).to_http(HOST, PATH))
        .unwrap();
    let body = json(&denied.body);
    assert_eq!(
        (denied.status, &body["id"], &body["error"]["code"]),
        (403, &Value::from(7), &Value::from(40_301))
    );
    assert_eq!(
        body["error"]["data"]["instance"].as_str(),
        denied.header("portcullis-record-id")
    );
    assert_eq!(denied.header("connection"), Some("keep-alive"));
    let next = connection
        .exchange(&allowed(8).bearer(&gate.token(&ALICE)).to_http(HOST, PATH))
        .unwrap();
    assert_eq!(next.status, 200, "{}", next.text());
    let missing = gate.call(&allowed(9));
    let challenge = missing.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    let metadata = r#"resource_metadata="http://gate.test/.well-known/oauth-protected-resource/crm/mcp""#;
    assert!(challenge.contains(metadata), "{challenge}");
    assert!(!challenge.contains("error="), "{challenge}");
}

#[test]
fn a_client_that_waits_to_be_asked_is_refused_before_it_sends() {
    let gate = Gate::start("");
    let mut connection = gate.connect();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: {HOST}\r\nexpect: 100-continue\r\ncontent-length: 20\r\n\r\n");
    let answer = connection.exchange(head.as_bytes()).unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn a_stream_is_passed_on_message_by_message() {
    let gate = Gate::start("");
    gate.upstream.set_answers(Answers::Sse);
    let token = gate.token(&ALICE);
    for (id, call) in [(7, allowed(7)), (8, allowed_in_session(&gate, &token, 8))] {
        let answer = gate.call(&call.bearer(&token));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        let text = answer.text();
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let last = json(data.last().unwrap().as_bytes());
        assert_eq!(last["id"], id, "{text}");
        assert!(last.get("result").is_some(), "{text}");
        assert!(
            !text.lines().any(|line| line.starts_with("id:")),
            "an event id offers a resume: {text}"
        );
    }
}

#[test]
fn a_wrong_answer_is_withheld() {
    let gate = Gate::start("  answer_bytes_max: 4000");
    let token = gate.token(&ALICE);
    let result = |id: u64, text: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#)
    };
    let typed = |content_type: &str, status: u16| {
        let mut canned = Canned::json(&result(1, "secret"));
        canned.headers = vec![("content-type".to_owned(), content_type.to_owned())];
        canned.status = status;
        canned
    };
    let mut coded = Canned::json(&result(1, "secret"));
    coded.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    let cases = [
        ("another id", Canned::json(&result(2, "secret"))),
        ("no JSON", Canned::json("secret")),
        ("a page", typed("text/html", 200)),
        ("a redirect", typed("application/json", 302)),
        ("a refused credential", typed("application/json", 401)),
        ("a coded answer", coded),
        ("a long answer", Canned::json(&result(1, &"secret".repeat(1_000)))),
        ("a torn answer", Canned::json(&result(1, "secret")).ending(End::Cut)),
    ];
    for (name, canned) in cases {
        gate.upstream.answer_next(canned);
        let answer = gate.call(&allowed(1).bearer(&token));
        assert_eq!(answer.status, 502, "{name}: {}", answer.text());
        assert!(!answer.text().contains("secret"), "{name}");
        assert_eq!(json(&answer.body)["id"], 1, "{name}");
        assert_eq!(answer.header("portcullis-record-id").map(str::len), Some(36), "{name}");
        assert!(answer.header("www-authenticate").is_none(), "{name}");
    }
}

#[test]
fn a_stream_that_breaks_ends_in_an_error_message() {
    let gate = Gate::start("  answer_bytes_max: 4000");
    let token = gate.token(&ALICE);
    let long = format!("data: \"{}\"\n\n", "secret".repeat(1_000));
    let cases = [
        ("an end before the answer", Canned::sse(&[": hello\n\n"])),
        (
            "a torn event",
            Canned::sse(&["data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"secret"]),
        ),
        ("a long event", Canned::sse(&[&long])),
    ];
    for (name, canned) in cases {
        gate.upstream.answer_next(canned);
        let answer = gate.call(&allowed(1).bearer(&token));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let text = answer.text();
        assert!(!text.contains("secret"), "{name}: {text}");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
        let error = json(data.unwrap_or_else(|| panic!("{name}: {text}")).as_bytes());
        assert_eq!(error["id"], 1, "{name}");
        assert!(error["error"]["code"].is_i64(), "{name}: {text}");
    }
}

#[test]
fn the_way_to_the_issuer_needs_no_token() {
    let gate = Gate::start("");
    let get = |target: &str, headers: &[(&str, &str)]| {
        gate.connect()
            .exchange(&request("GET", HOST, target, headers.iter().copied(), b""))
            .unwrap()
    };
    for target in [
        "/.well-known/oauth-protected-resource/crm/mcp",
        "/.well-known/oauth-protected-resource",
        "/crm/mcp/.well-known/oauth-protected-resource",
    ] {
        let answer = get(target, &[("origin", ORIGIN)]);
        assert_eq!(answer.status, 200, "{target}");
        let document = json(&answer.body);
        assert_eq!(document["resource"], "http://gate.test/crm/mcp");
        assert_eq!(document["authorization_servers"][0], gate.issuer.url());
        assert_eq!(document["dpop_signing_alg_values_supported"][1], "ES256");
        for absent in [
            "dpop_bound_access_tokens_required",
            "tls_client_certificate_bound_access_tokens",
        ] {
            assert_eq!(document[absent], Value::Null);
        }
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
        let foreign = get(target, &[("origin", "https://evil.test")]);
        assert_eq!(foreign.header("access-control-allow-origin"), None);
    }
    for target in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/crm/mcp",
    ] {
        let answer = get(target, &[]);
        assert_eq!(
            (answer.status, &json(&answer.body)["issuer"]),
            (200, &Value::from(gate.issuer.url())),
            "{target}"
        );
    }
    for target in [
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-authorization-server/other",
    ] {
        assert_eq!(get(target, &[]).status, 404, "{target}");
    }
    assert_eq!(get("/livez", &[]).status, 200);
    assert_eq!(get("/readyz", &[]).status, 200);
    assert_eq!(gate.upstream.capture().count(), 0);
}

#[test]
fn a_page_may_try_from_its_own_origin_alone() {
    let gate = Gate::start("");
    let preflight = |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        gate.connect()
            .exchange(&request("OPTIONS", HOST, PATH, headers, b""))
            .unwrap()
    };
    let own = preflight(ORIGIN);
    assert_eq!(
        (own.status, own.header("access-control-allow-methods")),
        (204, Some("GET, POST, DELETE"))
    );
    assert!(
        own.header("access-control-allow-headers")
            .unwrap()
            .contains("authorization, content-type, dpop")
    );
    let foreign = preflight("https://evil.test");
    assert_eq!(
        (foreign.status, foreign.header("access-control-allow-origin")),
        (403, None)
    );
    let refused = gate.call(&allowed(1).header("origin", ORIGIN));
    assert_eq!(
        (refused.status, refused.header("access-control-allow-origin")),
        (401, Some(ORIGIN))
    );
    assert!(
        refused
            .header("access-control-expose-headers")
            .unwrap()
            .contains("www-authenticate, dpop-nonce")
    );
}

#[test]
fn a_running_call_is_finished_before_the_gate_ends() {
    let gate = Gate::start("");
    gate.upstream.set_delay(Duration::from_millis(500));
    let mut running = gate.connect();
    running
        .send(&allowed(1).bearer(&gate.token(&ALICE)).to_http(HOST, PATH))
        .unwrap();
    until(|| gate.upstream.capture().count() == 1);
    gate.terminate();
    let answer = running.read_response().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (status, records) = gate.records();
    assert!(status.success(), "{status}");
    assert!(records.contains("\"reviewed\""), "{records}");
}

#[test]
fn a_client_that_leaves_ends_the_call() {
    let gate = Gate::start("");
    gate.upstream.set_delay(Duration::from_secs(60));
    let mut leaving = gate.connect();
    leaving
        .send(&allowed(1).bearer(&gate.token(&ALICE)).to_http(HOST, PATH))
        .unwrap();
    until(|| gate.upstream.capture().count() == 1);
    drop(leaving);
    gate.terminate();
    let (status, records) = gate.records();
    assert!(status.success(), "{status}");
    assert!(records.contains("\"client_gone\""), "{records}");
}

/// An event stream that says hello and then stays open without an answer.
fn open_stream(gate: &Gate) -> Connection {
    gate.upstream
        .answer_next(Canned::sse(&[": hello\n\n"]).ending(End::Open));
    let mut connection = gate.connect();
    connection
        .send(&allowed(1).bearer(&gate.token(&ALICE)).to_http(HOST, PATH))
        .unwrap();
    until(|| gate.upstream.answers_open() == 1);
    connection
}

#[test]
fn a_client_that_leaves_its_stream_ends_it_upstream() {
    let gate = Gate::start("");
    drop(open_stream(&gate));
    until(|| gate.upstream.answers_open() == 0);
    gate.terminate();
    let (status, records) = gate.records();
    assert!(status.success(), "{status}");
    assert!(records.contains("\"client_gone\""), "{records}");
}

#[test]
fn a_second_signal_cuts_what_still_runs() {
    let gate = Gate::start("");
    let mut running = open_stream(&gate);
    gate.terminate();
    until(|| gate.log().contains("draining"));
    let late = gate.call(&allowed(2).bearer(&gate.token(&ALICE)));
    assert_eq!(
        (late.status, late.header("connection")),
        (503, Some("close")),
        "{}",
        late.text()
    );
    assert!(late.header("retry-after").is_some());
    gate.terminate();
    let text = running.read_response().unwrap().text();
    assert!(text.contains("the gate is shutting down"), "{text}");
    let (status, records) = gate.records();
    assert!(status.success(), "{status}");
    assert!(records.contains("\"unknown\""), "{records}");
}

#[test]
fn a_ping_of_the_upstream_reaches_the_client_and_one_answer_goes_back() {
    let gate = Gate::start("");
    let token = gate.token(&ALICE);
    let call = allowed_in_session(&gate, &token, 8).bearer(&token);
    let session = call.headers.iter().find(|(name, _)| name == "mcp-session-id").unwrap();
    let ping = r#"{"jsonrpc":"2.0","id":"p-1","method":"ping"}"#;
    let result = r#"{"jsonrpc":"2.0","id":8,"result":{"content":[{"type":"text","text":"hello"}]}}"#;
    let events = [ping, result].map(|message| format!("data: {message}\n\n"));
    gate.upstream.answer_next(Canned::sse(&[&events[0], &events[1]]));
    let streamed = gate.call(&call);
    assert_eq!(streamed.status, 200, "{}", streamed.text());
    assert!(streamed.text().contains(ping), "{}", streamed.text());
    assert!(streamed.text().contains("hello"));

    let body = r#"{"jsonrpc":"2.0","id":"p-1","result":{}}"#;
    let bare = Call::post(body.to_owned()).header("mcp-protocol-version", "2025-11-25");
    let answer = bare.clone().header("mcp-session-id", &session.1).bearer(&token);
    assert_eq!(gate.call(&bare.bearer(&token)).status, 400, "outside of the session");
    let mut accepted = Canned::json("");
    accepted.status = 202;
    gate.upstream.answer_next(accepted);
    assert_eq!(gate.call(&answer).status, 202);
    assert_eq!(gate.upstream.capture().last().unwrap().body, body.as_bytes());
    let arrived = gate.upstream.capture().count();
    assert_eq!(gate.call(&answer).status, 400, "twice");
    assert_eq!(gate.upstream.capture().count(), arrived);
}
