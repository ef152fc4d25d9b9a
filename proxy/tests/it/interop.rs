//! The gate between released parts of others: npm oidc-provider, two SDKs' servers, three SDKs' clients, both eras.
//!
//! Owns what each client must find. The scripts in `tests/interop` only report; the parts are pinned there. Nothing here
//! listens beyond loopback, and all of it ends with the test.

pub(crate) mod install;
pub(crate) mod process;
pub(crate) mod stage;

use std::time::Duration;

use serde_json::{Value, json};

use install::Parts;
use process::Process;
use stage::Stage;

/// A client of the test: a script and its mode.
struct Client {
    script: &'static str,
    mode: &'static str,
    /// It offers 2026-07-28 in this mode.
    modern: bool,
    /// How its SDK documents an HTTP 403 that no scope cures: class and code (or HTTP status).
    refusal: (&'static str, i64),
    /// It registers for refresh tokens.
    refreshes: bool,
    /// It gets the scopes that a challenge asks for. With a refresh token the v1 SDK tries that first, which brings the old
    /// scopes again, and then gives up with the same class as for any other 403; without one it logs in again.
    steps_up: bool,
}

const CLIENTS: [Client; 6] = [
    Client {
        script: "client-v1.mjs",
        mode: "legacy",
        modern: false,
        refusal: ("StreamableHTTPError", 403),
        refreshes: true,
        steps_up: false,
    },
    Client {
        script: "client-v1.mjs",
        mode: "legacy",
        modern: false,
        refusal: ("StreamableHTTPError", 403),
        refreshes: false,
        steps_up: true,
    },
    Client {
        script: "client-v2.mjs",
        mode: "legacy",
        modern: false,
        refusal: ("SdkHttpError", 403),
        refreshes: true,
        steps_up: true,
    },
    Client {
        script: "client-v2.mjs",
        mode: "auto",
        modern: true,
        refusal: ("SdkHttpError", 403),
        refreshes: true,
        steps_up: true,
    },
    Client {
        script: "client.py",
        mode: "legacy",
        modern: false,
        refusal: ("MCPError", 40301),
        refreshes: true,
        steps_up: true,
    },
    Client {
        script: "client.py",
        mode: "auto",
        modern: true,
        refusal: ("MCPError", 40301),
        refreshes: true,
        steps_up: true,
    },
];

/// An upstream of the test and what is called there: each row is tool, arguments and a text of the answer.
struct Upstream {
    name: &'static str,
    modern: bool,
    call: (&'static str, &'static str, &'static str),
    refused: (&'static str, &'static str),
    step_up: (&'static str, &'static str, &'static str),
    /// The scope that it needs.
    step_up_scope: &'static str,
    /// Has a row of scopes, yet the policy shows it to nobody.
    hidden: &'static str,
}

const UPSTREAMS: [Upstream; 2] = [
    Upstream {
        name: "everything",
        modern: false,
        call: ("echo", r#"{"message":"hello"}"#, "Echo: hello"),
        refused: ("echo", r#"{"message":"forbidden"}"#),
        step_up: ("get-sum", r#"{"a":1,"b":2}"#, "The sum of 1 and 2 is 3."),
        step_up_scope: "mcp:sum",
        hidden: "get-env",
    },
    Upstream {
        name: "python",
        modern: true,
        call: ("add", r#"{"a":1,"b":2}"#, "3"),
        refused: ("add", r#"{"a":1,"b":13}"#),
        step_up: ("salesforce.opportunity.read", r#"{"account_id":"acme"}"#, "acme"),
        step_up_scope: "salesforce:read",
        hidden: "salesforce.opportunity.write",
    },
];

#[test]
fn released_clients_reach_released_servers_through_the_gate() {
    let Some(parts) = Parts::install() else { return };
    let stage = Stage::start(&parts);
    for upstream in &UPSTREAMS {
        for client in &CLIENTS {
            let found = tour(&parts, &stage, client, upstream);
            check_login(&found, client, upstream);
            check_calls(&found, client, upstream);
        }
        check_captured(&stage, upstream);
    }
}

/// Lets a client make its tour; gives its findings.
fn tour(parts: &Parts, stage: &Stage, client: &Client, upstream: &Upstream) -> Value {
    let plan = json!({
        "url": stage.url(upstream.name),
        "login": "alice",
        "mode": client.mode,
        "refresh": client.refreshes,
        "call": call(upstream.call.0, upstream.call.1),
        "refused": call(upstream.refused.0, upstream.refused.1),
        "step_up": call(upstream.step_up.0, upstream.step_up.1),
    });
    let plan = plan.to_string();
    let arguments = [client.script, &plan];
    let mut command = match client.script.rsplit_once('.') {
        Some((_, "py")) => parts.python(&arguments),
        _ => parts.node(&arguments),
    };
    let name = format!("{} ({}) at {}", client.script, client.mode, upstream.name);
    let (well, output) = Process::start(&name, &mut command).finish(Duration::from_secs(60));
    assert!(well, "{name} fails:\n{}", output.join("\n"));
    let found = output.iter().find_map(|line| serde_json::from_str::<Value>(line).ok());
    found.unwrap_or_else(|| panic!("{name} found nothing:\n{}", output.join("\n")))
}

fn call(tool: &str, arguments: &str) -> Value {
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    json!({"tool": tool, "arguments": arguments})
}

/// From nothing over the 401 and both metadata documents through code and PKCE to a token, and later to a fresh one.
#[track_caller]
fn check_login(found: &Value, client: &Client, upstream: &Upstream) {
    let endpoint = format!("/{}/mcp", upstream.name);
    let metadata = format!("/.well-known/oauth-protected-resource{endpoint}");
    let steps = found["trace"].as_array().unwrap();
    assert_eq!(steps[0]["status"], 401, "{found}");
    assert_eq!(steps[0]["bearer"], false, "{found}");
    let challenge = steps[0]["challenge"].as_str().unwrap();
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    assert!(challenge.contains("resource_metadata=\""), "{challenge}");
    assert!(!challenge.contains("error="), "no token, no error: {challenge}");
    let road: Vec<(&str, u64)> = steps
        .iter()
        .map(|step| (step["path"].as_str().unwrap(), step["status"].as_u64().unwrap()))
        .collect();
    for wanted in [
        (metadata.as_str(), 200),
        ("/.well-known/oauth-authorization-server", 200),
        ("/reg", 201),
        ("/token", 200),
    ] {
        assert!(road.contains(&wanted), "{wanted:?} is not in {road:?}");
    }
    assert_eq!(found["pkce"], "S256", "{found}");
    assert_eq!(found["refreshed"], client.refreshes, "{found}");
    assert_eq!(
        found["call_after_refresh"]["content"], found["call"]["content"],
        "{found}"
    );
}

/// What the client listed, called, was refused and got with more scopes.
#[track_caller]
fn check_calls(found: &Value, client: &Client, upstream: &Upstream) {
    let era = if client.modern && upstream.modern {
        "2026-07-28"
    } else {
        "2025-11-25"
    };
    assert_eq!(found["negotiated"], era, "{found}");
    let tools: Vec<&str> = found["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool.as_str().unwrap())
        .collect();
    assert!(tools.contains(&upstream.call.0), "{tools:?}");
    assert!(!tools.contains(&upstream.hidden), "{tools:?}");
    assert!(
        tools
            .iter()
            .all(|tool| [upstream.call.0, upstream.step_up.0].contains(tool)),
        "{tools:?}"
    );
    assert_eq!(found["call"]["content"][0]["text"], upstream.call.2, "{found}");

    let refused = &found["refused"];
    let (class, code) = client.refusal;
    assert_eq!(refused["class"], class, "{found}");
    assert!(refused["code"] == code || refused["status"] == code, "{found}");
    let code_shown = code == 40301 || refused["message"].as_str().unwrap().contains("40301");
    assert!(code_shown, "{found}");

    check_challenges(found, era, upstream);
    let step_up = found["step_up"].to_string();
    if client.steps_up {
        assert!(step_up.contains(upstream.step_up.2), "{found}");
        assert!(!step_up.contains("jo@example.com"), "not redacted: {found}");
    } else {
        assert_eq!(found["step_up"]["class"], class, "{found}");
    }
}

/// Everything that is missing stands in one challenge, the same each time; a client of the older era is told what it has
/// too, since it asks for nothing else.
#[track_caller]
fn check_challenges(found: &Value, era: &str, upstream: &Upstream) {
    let scope = match era {
        "2026-07-28" => upstream.step_up_scope.to_owned(),
        _ => {
            let mut both = ["mcp:tools", upstream.step_up_scope];
            both.sort_unstable();
            both.join(" ")
        }
    };
    let begins = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"http://");
    let refused = found["trace"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["status"] == 403);
    let challenges: Vec<&str> = refused.filter_map(|step| step["challenge"].as_str()).collect();
    assert!(!challenges.is_empty(), "{found}");
    for challenge in &challenges {
        assert!(challenge.starts_with(&begins), "{challenge} is not {begins}");
        assert_eq!(challenge, &challenges[0], "{found}");
    }
}

/// The upstream got calls, and with none of them a credential of the client.
#[track_caller]
fn check_captured(stage: &Stage, upstream: &Upstream) {
    let heads = stage.captured(upstream.name);
    assert!(heads.len() >= CLIENTS.len() * 3, "{heads:?}");
    for head in &heads {
        for header in head["headers"].as_array().unwrap() {
            let name = header[0].as_str().unwrap().to_ascii_lowercase();
            assert!(!CREDENTIALS.contains(&name.as_str()), "the upstream got `{name}`");
            // The first letters of every JSON Web Token.
            assert!(
                !header[1].as_str().unwrap().contains("eyJ"),
                "the upstream got a token in `{name}`"
            );
        }
        assert_eq!(head["path"], "/mcp", "{head}");
    }
}

/// Header fields that may carry a credential of the client.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "dpop", "proxy-authorization"];
