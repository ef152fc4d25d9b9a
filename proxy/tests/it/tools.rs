//! The gate's own list of the upstream's tools: before it, by it, after a change, and the commands about it.

use std::process::{Command, Output};

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Response;
use portcullis_fixtures::mcp::Answers;
use portcullis_fixtures::persona::ALICE;
use serde_json::{Value, json};

use crate::gate::{CONFIG, CREDENTIAL, Gate, until};
use crate::interop::install::Parts;
use crate::interop::process::Process;
use crate::interop::stage::ready;

const READ: &str = "salesforce.opportunity.read";
const OWN: &str = r#"{"account_id": "acc-1001"}"#;

fn call(gate: &Gate, era: Era, arguments: &str, headers: &[(&str, &str)]) -> Response {
    let mut call = Call::tools_call(era, 1, READ, arguments).bearer(&gate.token(&ALICE));
    for (name, value) in headers {
        call = call.header(name, value);
    }
    gate.call(&call)
}

fn body(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

fn names(gate: &Gate) -> Vec<String> {
    let listed = gate.call(&Call::tools_list(Era::Modern, 1).bearer(&gate.token(&ALICE)));
    let listed = body(&listed);
    assert_eq!(listed["result"]["cacheScope"], "private");
    let tools = listed["result"]["tools"].as_array().unwrap().iter();
    tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn tool(name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "description": description,
        "inputSchema": { "type": "object", "properties": {
            "account_id": { "type": "string" },
            "region": { "type": "string", "x-mcp-header": "Region" },
        } },
    })
}

/// Runs `portcullis tools` over the gate's configuration.
fn tools(gate: &Gate, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = command(&gate.path(CONFIG), arguments);
    let printed = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), printed)
}

fn command(config: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["tools"]).args(arguments).args(["--format", "json", "-c"]);
    command.arg(config).output().unwrap()
}

#[test]
fn the_gate_lists_in_its_own_name_and_refuses_calls_until_it_has() {
    let gate = Gate::start_with("127.0.0.1:0", "    tools_refresh: 1s", "");
    let asked = gate.upstream.listings().requests();
    let methods: Vec<Value> = asked
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["method"].clone())
        .collect();
    assert_eq!(methods[..2], ["server/discover", "tools/list"]);
    assert!(
        asked
            .iter()
            .all(|request| request.header("authorization") == Some(CREDENTIAL))
    );
    assert_eq!(call(&gate, Era::Modern, OWN, &[]).status, 200);
    assert_eq!(
        gate.upstream.capture().count(),
        1,
        "the gate's own requests are no client's"
    );
    // Lists from streams do as well.
    gate.upstream.set_answers(Answers::Sse);
    let before = gate.logged("tools listed").len();
    until(|| before + 1 < gate.logged("tools listed").len());
    assert!(gate.logged("tools were not listed").is_empty());
    // A list that cannot be fetched leaves the old one in force.
    gate.upstream.refuse_listings(Some(503));
    until(|| !gate.logged("tools were not listed").is_empty());
    assert_eq!(call(&gate, Era::Modern, OWN, &[]).status, 200);
    gate.terminate();
    let (status, records) = gate.records();
    assert!(status.success());
    assert_eq!(records.matches("\"act\":\"tools_first_seen\"").count(), 1);
}

#[test]
fn without_a_list_a_call_is_refused_for_a_moment() {
    let mut gate = Gate::start("");
    gate.upstream.refuse_listings(Some(503));
    gate.kill();
    gate.restart();
    let refused = call(&gate, Era::Modern, OWN, &[]);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(gate.upstream.capture().count(), 0);
    assert_eq!(gate.tail().last().unwrap()["reason"], "tools_unlisted");
    gate.upstream.refuse_listings(None);
    until(|| call(&gate, Era::Modern, OWN, &[]).status == 200);
}

#[test]
fn headers_of_arguments_are_judged_by_the_schema_that_the_upstream_shows() {
    let gate = Gate::start("");
    gate.upstream.set_tools(json!([tool(READ, "Reads.")]));
    gate.signal("HUP");
    until(|| 1 < gate.logged("tools listed").len());
    let arguments = r#"{"account_id": "acc-1001", "region": "eu"}"#;
    let passed = call(&gate, Era::Modern, arguments, &[("mcp-param-region", "eu")]);
    assert_eq!(passed.status, 200);
    let arrived = gate.upstream.capture().last().unwrap();
    assert_eq!(arrived.header("mcp-param-region"), Some("eu"));
    for headers in [
        &[][..],
        &[("mcp-param-region", "us")],
        &[("mcp-param-region", "eu"), ("mcp-param-region", "eu")],
    ] {
        let refused = call(&gate, Era::Modern, arguments, headers);
        assert_eq!(
            (refused.status, &body(&refused)["error"]["code"]),
            (400, &json!(-32020)),
            "{headers:?}"
        );
    }
    assert_eq!(call(&gate, Era::Legacy, OWN, &[("mcp-param-region", "eu")]).status, 400);
    assert_eq!(gate.upstream.capture().count(), 1);
}

#[test]
fn a_changed_definition_is_withheld_until_it_is_accepted() {
    let gate = Gate::start_with("127.0.0.1:0", "    tools_changed: withhold\n    tools_refresh: 1s", "");
    assert!(names(&gate).iter().any(|name| name == READ));
    gate.upstream.set_tools(json!([tool(READ, "Reads, and tells me.")]));
    until(|| !gate.logged("a definition of a tool is not the accepted one").is_empty());
    until(|| call(&gate, Era::Modern, OWN, &[]).status == 403);
    assert!(names(&gate).is_empty());
    let (code, listed) = tools(&gate, &["list"]);
    assert_eq!(
        (code, &listed["servers"][0]["tools"][0]["definition"]),
        (Some(0), &json!("changed"))
    );
    let (code, linted) = tools(&gate, &["lint"]);
    let codes: Vec<&str> = linted["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["code"].as_str().unwrap())
        .collect();
    assert_eq!(code, Some(3));
    assert!(
        codes.contains(&"definition_changed") && codes.contains(&"row_without_tool"),
        "{codes:?}"
    );
    assert_eq!(tools(&gate, &["accept", "no.such.tool"]).0, Some(3));
    assert_eq!(call(&gate, Era::Modern, OWN, &[]).status, 403);
    let (code, accepted) = tools(&gate, &["accept", READ]);
    assert_eq!((code, &accepted["accepted"][0]["tool"]), (Some(0), &json!(READ)));
    until(|| call(&gate, Era::Modern, OWN, &[]).status == 200);
    let acts: Vec<Value> = gate
        .tail()
        .into_iter()
        .filter(|record| record["phase"] == "admin")
        .collect();
    let named: Vec<(&str, &str)> = acts
        .iter()
        .map(|act| (act["act"].as_str().unwrap(), act["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        named,
        [
            ("tools_first_seen", "applied"),
            ("tool_changed", "refused"),
            ("tool_accepted", "applied")
        ]
    );
    assert_eq!(acts[2]["author"], "file");
}

#[test]
fn a_change_is_only_reported_unless_more_is_asked() {
    let gate = Gate::start_with("127.0.0.1:0", "    tools_refresh: 1s", "");
    gate.upstream
        .set_tools(json!([tool(READ, "Reads, and tells me."), tool("bad name", "x")]));
    until(|| 2 <= gate.logged("a definition of a tool is not the accepted one").len());
    assert_eq!(call(&gate, Era::Modern, OWN, &[]).status, 200);
    let (code, linted) = tools(&gate, &["lint", "--server", "crm"]);
    let printed = linted.to_string();
    assert_eq!(code, Some(3));
    for code in [
        "definition_changed",
        "definition_new",
        "name_invalid",
        "row_without_tool",
        "tool_without_row",
    ] {
        assert!(printed.contains(code), "{code}: {printed}");
    }
    assert_eq!(tools(&gate, &["list", "--server", "other"]).0, Some(3));
    gate.upstream.refuse_listings(Some(503));
    assert_eq!(tools(&gate, &["list"]).0, Some(69));
}

/// An issuer need not list what it grants, so this is a warning, and a silent issuer is none.
#[test]
fn a_scope_that_no_issuer_lists_is_a_warning() {
    let gate = Gate::start("");
    let warned = || {
        let (code, linted) = tools(&gate, &["lint"]);
        let warnings = linted["warnings"].as_array().unwrap().iter();
        let named: Vec<String> = warnings
            .map(|one| format!("{} {}", one["code"].as_str().unwrap(), one["tool"].as_str().unwrap()))
            .collect();
        (code, named)
    };
    let (code, all_listed) = warned();
    assert!(all_listed.is_empty(), "{all_listed:?}");
    let listing = |scopes: Value| gate.issuer.set_metadata("scopes_supported", scopes);
    listing(json!(["openid", "salesforce:read"]));
    let expected = (code, vec!["scope_unlisted salesforce.account.delete".to_owned()]);
    assert_eq!(warned(), expected);
    for silent in [json!(null), json!("salesforce:read"), json!(["salesforce:read", 1])] {
        listing(silent);
        assert_eq!(warned(), (code, vec![]));
    }
    listing(json!([]));
    assert_eq!(warned().1.len(), 4);
    gate.issuer.set_down(true);
    assert_eq!(warned(), (code, vec![]));
}

/// The released servers of two SDKs: one of both eras, one of the legacy era with sessions.
#[test]
fn released_servers_are_listed_in_both_eras() {
    let Some(parts) = Parts::install() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut python = Process::start(
        "PyPI mcp server",
        parts
            .python(&["server.py"])
            .env("CAPTURE", folder.path().join("python")),
    );
    let script = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
    let mut everything = Process::start(
        "npm server-everything",
        parts
            .node(&["--import", "./preload.mjs", script, "streamableHttp"])
            .env("PORT", "0")
            .env("CAPTURE", folder.path().join("everything")),
    );
    let server = |name: &str, upstream: &str| {
        json!({
            "name": name, "path": format!("/{name}"), "resource": format!("http://gate.test/{name}"),
            "issuers": ["https://issuer.test"], "upstream": { "url": format!("{upstream}/mcp") },
            "tools": { "rows": { "echo": { "scopes": ["x"] } } }, "policy": { "files": ["p.rego"] },
        })
    };
    let config = json!({
        "listen": [{ "address": "127.0.0.1:0" }], "audit": { "directory": "audit" },
        "issuers": [{ "issuer": "https://issuer.test" }],
        "servers": [server("everything", &ready(&mut everything)), server("python", &ready(&mut python))],
    });
    let policy = "package portcullis.request\ndefault decision := {\"allow\": false, \"rule\": \"none\", \"reason\": \"none\"}\n";
    let response = policy.replace("portcullis.request", "portcullis.response");
    std::fs::write(folder.path().join("p.rego"), policy).unwrap();
    std::fs::write(folder.path().join("r.rego"), response).unwrap();
    let text = config.to_string().replace(r#"["p.rego"]"#, r#"["p.rego","r.rego"]"#);
    let file = folder.path().join("portcullis.yaml");
    std::fs::write(&file, text).unwrap();
    let output = command(&file, &["list"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let has = |server: usize, tool: &str| {
        let tools = listed["servers"][server]["tools"].as_array().unwrap();
        assert!(tools.iter().any(|one| one["name"] == tool), "{tool}: {tools:?}");
    };
    has(0, "echo");
    has(0, "get-sum");
    has(1, "add");
    has(1, READ);
    assert_eq!(command(&file, &["accept", "--all"]).status.code(), Some(0));
    let again: Value = serde_json::from_slice(&command(&file, &["list"]).stdout).unwrap();
    assert!(
        !again.to_string().contains(r#""definition":"new""#),
        "a definition stays what it is"
    );
    let ends = std::fs::read_to_string(folder.path().join("everything")).unwrap();
    assert!(ends.contains("DELETE"), "the session is ended: {ends}");
}
