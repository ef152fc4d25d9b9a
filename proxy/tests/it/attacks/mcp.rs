//! The named faults of MCP servers, SDKs and gateways, as far as a gate can have them.
//!
//! Owns one test a fault or a kind of them. Faults of sessions that belong to nobody (CVE-2025-6515, CVE-2026-33946,
//! CVE-2026-52869) are in `continuity`, with the SDKs that had them, and in the core's tests of sessions.

use std::thread;

use portcullis_fixtures::calls::{Call, Era, LEGACY_VERSION, MODERN_VERSION};
use portcullis_fixtures::http1::request;
use portcullis_fixtures::mcp::Canned;
use portcullis_fixtures::persona::{ALICE, BOB, Persona};
use serde_json::{Value, json};

use super::{RATE, Refusal, Trial, echo, refusal, token};
use crate::gate::{Gate, HOST, ORIGIN, PATH, until};

const MISSING: Refusal = token("credential_missing");
const UNKNOWN_HOST: Refusal = refusal(403, 40_303, "host_unknown");
const FOREIGN_ORIGIN: Refusal = refusal(403, 40_303, "origin_forbidden");
const NO_ROUTE: Refusal = refusal(404, 40_401, "route_unknown");
const AMBIGUOUS: Refusal = refusal(400, -32_600, "json_ambiguous");

/// A server that listens for its user alone, or on a route that was forgotten, and asks nobody for a token.
#[test]
fn cve_2025_49596_cve_2026_33032_every_route_asks_for_a_token() {
    let trial = Trial::start("");
    let good = trial.good();
    let bearer = format!("Bearer {good}");
    for method in ["POST", "GET", "DELETE", "PUT", "PATCH", "OPTIONS", "PROPFIND"] {
        trial.refused_bytes(method, &request(method, HOST, PATH, [], b""), MISSING);
        let with_body = request(
            method,
            HOST,
            PATH,
            [("content-type", "application/json")],
            echo().body.as_bytes(),
        );
        trial.refused_bytes(&format!("{method} with a body"), &with_body, MISSING);
    }
    for target in [
        "/",
        "/mcp",
        "/mcp_message",
        "/sse",
        "/crm",
        "/crm/",
        "/crm/mcp/",
        "/crm/mcp_message",
        "/crm/mcp/sse",
        "/crm//mcp",
        "//crm/mcp",
        "/crm/./mcp",
        "/crm/x/../mcp",
        "/crm/%6dcp",
        "/crm%2fmcp",
        "/crm/mcp;a=b",
        "/crm/mcp%00",
        "/CRM/mcp",
        "/livez/../crm/mcp",
    ] {
        let call = echo();
        trial.refused_bytes(target, &call.to_http(HOST, target), NO_ROUTE);
        let call = call.header("authorization", &bearer);
        trial.refused_bytes(&format!("{target} with a token"), &call.to_http(HOST, target), NO_ROUTE);
    }
    trial.accepted_token("the one route", &good);
    trial.finish();
}

/// DNS rebinding: a page that its own name server has led to our address.
#[test]
fn c9_cve_2025_64443_cve_2025_66414_cve_2025_66416_cve_2026_34742_cve_2026_42559_rustsec_2026_0189_rebinding() {
    let trial = Trial::start("");
    let good = trial.good();
    let address = trial.gate.address();
    let call = || echo().bearer(&good);
    for host in [
        "evil.test".to_owned(),
        "localhost".to_owned(),
        address.to_string(),
        format!("gate.test:{}", address.port()),
        "gate.test.evil.test".to_owned(),
        "gate.test,evil.test".to_owned(),
        "gate.test.".to_owned(),
        "[::1]".to_owned(),
    ] {
        trial.refused_bytes(&host, &call().to_http(&host, PATH), UNKNOWN_HOST);
        let bare = request("GET", &host, PATH, [], b"");
        trial.refused_bytes(&format!("{host} without a token"), &bare, UNKNOWN_HOST);
    }
    for origin in [
        "https://evil.test",
        "http://page.test",
        "https://page.test:444",
        "https://page.test.evil.test",
        "https://evil.test/https://page.test",
        "https://PAGE.test",
        "https://gate.test",
        "http://localhost",
        "null",
        "",
    ] {
        trial.refused(origin, &call().header("origin", origin), FOREIGN_ORIGIN);
        let preflight = [("origin", origin), ("access-control-request-method", "POST")];
        let bytes = request("OPTIONS", HOST, PATH, preflight, b"");
        let answer = trial.refused_bytes(&format!("a preflight from `{origin}`"), &bytes, FOREIGN_ORIGIN);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
    }
    let two = call().header("origin", ORIGIN).header("origin", "https://evil.test");
    trial.refused("two origins", &two, refusal(400, 40_001, "head_malformed"));
    trial.accepted("the page that may call", &call().header("origin", ORIGIN));
    trial.accepted("no page", &call());
    trial.finish();
}

/// Two clients that number their requests alike: one got the other's answer.
#[test]
fn c11_cve_2026_25536_colliding_request_ids() {
    const CALLS: u64 = 150;
    let trial = Trial::start("");
    let gate = &trial.gate;
    let caller = |persona: &Persona, account: &str, own: &str, other: &str| {
        let token = gate.token(persona);
        let mut connection = gate.connect();
        for id in 1..=CALLS {
            let arguments = format!("{{\"account_id\":\"{account}\"}}");
            let call = Call::tools_call(Era::Modern, id, "salesforce.opportunity.read", &arguments);
            let answer = connection.exchange(&call.bearer(&token).to_http(HOST, PATH)).unwrap();
            let text = answer.text();
            assert_eq!(answer.status, 200, "{text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["id"], id, "{text}");
            assert!(text.contains(own) && !text.contains(other), "{}: {text}", persona.name);
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| caller(&ALICE, "acc-1001", "Northwind Mills", "Cedar Labs"));
            scope.spawn(|| caller(&BOB, "acc-2001", "Cedar Labs", "Northwind Mills"));
        }
    });
    trial.note(4 * CALLS, "", 0);
    let stolen = Call::tools_call(
        Era::Modern,
        1,
        "salesforce.opportunity.read",
        r#"{"account_id":"acc-1001"}"#,
    );
    let answer = trial.gate.call(&stolen.bearer(&trial.gate.token(&BOB)));
    assert_eq!(answer.status, 403, "{}", answer.text());
    trial.check_upstream("another's account");
    trial.finish();
}

/// Members whose names differ in case or fold: the gate read one, a server in Go the other.
#[test]
fn cve_2026_27896_folded_members() {
    let trial = Trial::start("");
    let good = trial.good();
    let body = echo().body;
    for (name, from, to) in [
        (
            "Method beside method",
            "\"method\"",
            "\"Method\":\"tools/list\",\"method\"",
        ),
        ("METHOD alone", "\"method\"", "\"METHOD\""),
        (
            "Params beside params",
            "\"params\"",
            "\"Params\":{\"name\":\"rm\"},\"params\"",
        ),
        (
            "param\u{17f}",
            "\"params\"",
            "\"param\u{17f}\":{\"name\":\"rm\"},\"params\"",
        ),
        ("Name beside name", "\"name\"", "\"Name\":\"rm\",\"name\""),
        ("escaped \\u004eame", "\"name\"", "\"\\u004eame\":\"rm\",\"name\""),
        (
            "Arguments beside arguments",
            "\"arguments\"",
            "\"Arguments\":{},\"arguments\"",
        ),
        (
            "argument\u{17f}",
            "\"arguments\"",
            "\"argument\u{17f}\":{},\"arguments\"",
        ),
        ("ta\u{17f}\u{212a}", "\"name\"", "\"ta\u{17f}\u{212a}\":{},\"name\""),
        ("ID beside id", "\"id\"", "\"ID\":2,\"id\""),
        ("\u{130}d", "\"id\"", "\"\u{130}d\":2,\"id\""),
        (
            "JSONRPC beside jsonrpc",
            "\"jsonrpc\"",
            "\"JSONRPC\":\"1.0\",\"jsonrpc\"",
        ),
    ] {
        let mut call = echo().bearer(&good);
        call.body = body.replacen(from, to, 1);
        assert_ne!(call.body, body, "{name}");
        trial.refused(name, &call, AMBIGUOUS);
    }
    trial.accepted_token("as it is", &good);
    trial.finish();
}

/// Somebody else's task by its id, and a WebSocket that any page may open.
#[test]
fn cve_2026_52870_cve_2026_59950_tasks_and_websockets() {
    let trial = Trial::start("");
    let good = trial.good();
    for method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/list"] {
        for (version, status) in [(LEGACY_VERSION, 400), (MODERN_VERSION, 404)] {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            let params = json!({"taskId": "1", "_meta": meta});
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let call = Call::post(body.to_string())
                .header("mcp-protocol-version", version)
                .header("mcp-method", method);
            let refusal = match (method, version) {
                // It names no task, and has no such parameter.
                ("tasks/list", LEGACY_VERSION) => refusal(status, -32_602, "params_invalid"),
                (_, LEGACY_VERSION) => refusal(status, -32_602, "task_unknown"),
                ("tasks/get" | "tasks/cancel", _) => refusal(400, -32_602, "task_unknown"),
                _ => refusal(status, -32_601, "method_unsupported"),
            };
            let call = match version {
                MODERN_VERSION => call.header("mcp-name", "1"),
                _ => call,
            };
            trial.refused(&format!("{method} in {version}"), &call.bearer(&good), refusal);
        }
    }
    let mut call = echo().bearer(&good);
    call.body = call.body.replacen("\"name\"", "\"task\":{\"ttl\":60000},\"name\"", 1);
    // The member means nothing in this era, and nothing comes of it.
    trial.accepted("a wish for a task", &call);
    call.body = call.body.replacen("{\"ttl\":60000}", "60000", 1);
    trial.refused("no wish at all", &call, refusal(400, -32_602, "params_invalid"));

    let bearer = format!("Bearer {good}");
    let upgrade = |further: &[(&str, &str)]| {
        let fields = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ];
        let fields = fields.iter().chain(further).copied();
        request("GET", HOST, PATH, fields, b"")
    };
    trial.refused_bytes("a WebSocket without a token", &upgrade(&[]), MISSING);
    let foreign = upgrade(&[("origin", "https://evil.test"), ("authorization", &bearer)]);
    trial.refused_bytes("a foreign page's WebSocket", &foreign, FOREIGN_ORIGIN);
    let version = ("mcp-protocol-version", MODERN_VERSION);
    let own = upgrade(&[("origin", ORIGIN), ("authorization", &bearer), version]);
    trial.refused_bytes("a WebSocket", &own, refusal(405, 40_501, "http_method"));
    trial.accepted_token("a call", &good);
    trial.finish();
}

/// URLs in metadata and challenges that came from a stranger: a client ran one as a command.
#[test]
fn cve_2025_6514_urls_of_strangers() {
    let limits = "  jwks_refresh: 1s\n  unknown_kid_interval: 1ms";
    let gate = Gate::start_keyless(limits, |issuer| {
        issuer.set_metadata("jwks_uri", "file:///etc/passwd");
    });
    let trial = Trial::of(gate);
    let good = trial.good();
    let failed = |error: &str| {
        let lines = trial.gate.logged("keys were not fetched");
        lines.iter().filter(|line| line["error"] == error).count()
    };
    let unusable = refusal(503, 50_301, "keys_unavailable");
    let no_uri = "the metadata has no acceptable `jwks_uri`";
    for (member, value, error) in [
        ("jwks_uri", Value::from("file:///etc/passwd"), no_uri),
        ("jwks_uri", Value::from("a:$(calc.exe)?response_type=code"), no_uri),
        ("jwks_uri", Value::from("http://attacker.example/jwks"), no_uri),
        ("jwks_uri", Value::Null, no_uri),
        (
            "issuer",
            Value::from("https://attacker.example"),
            "the metadata is another issuer's",
        ),
    ] {
        let before = failed(error);
        trial.gate.issuer.set_metadata(member, value.clone());
        if member == "issuer" {
            trial.gate.issuer.set_metadata("jwks_uri", trial.gate.issuer.jwks_uri());
        }
        trial.refused(&format!("{member} {value}"), &echo().bearer(&good), unusable);
        until(|| before < failed(error));
    }
    trial.gate.issuer.set_metadata("issuer", trial.gate.issuer.url());
    until(|| !trial.gate.logged("keys fetched").is_empty());
    trial.accepted_token("the issuer's own", &good);

    // An upstream that refuses our credential must not send the client to a place of its choice.
    let mut canned = Canned::json("{}");
    canned.status = 401;
    let challenge = "Bearer resource_metadata=\"http://attacker.example/$(calc.exe)\"";
    canned
        .headers
        .push(("www-authenticate".to_owned(), challenge.to_owned()));
    canned
        .headers
        .push(("location".to_owned(), "http://attacker.example".to_owned()));
    trial.gate.upstream.answer_next(canned);
    let answer = trial.gate.call(&echo().bearer(&good));
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(
        (answer.header("www-authenticate"), answer.header("location")),
        (None, None)
    );
    assert!(!answer.text().contains("attacker"), "{}", answer.text());
    trial.note(1, "", 0);
    trial.finish();
}

/// Whatever a configuration forgets must not let anybody in: such a gate does not start.
#[test]
fn a_server_without_issuer_tools_policy_or_resource_does_not_start() {
    let gate = Gate::start_with("127.0.0.1:0", RATE, "");
    let right = std::fs::read_to_string(gate.path(crate::gate::CONFIG)).unwrap();
    let check = |text: &str| {
        let file = gate.path("other.yaml");
        std::fs::write(&file, text).unwrap();
        let checked = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["check", "--config"])
            .arg(&file)
            .output();
        checked.unwrap().status.code()
    };
    assert_eq!(check(&right), Some(0));
    for (line, lines) in [
        ("    issuers: ", 1),
        ("    resource: ", 1),
        ("    tools:", 2),
        ("    policy:", 3),
    ] {
        let start = right.lines().position(|written| written.starts_with(line)).unwrap();
        let rest = right.lines().enumerate();
        let rest = rest.filter(|(number, _)| !(start..start + lines).contains(number));
        let without = rest.fold(String::new(), |text, (_, line)| text + line + "\n");
        assert_eq!(check(&without), Some(3), "without `{}`", line.trim());
    }
}
