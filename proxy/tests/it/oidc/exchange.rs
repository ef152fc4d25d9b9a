//! One server before two back ends: the gate exchanges a person's token at a real authorization server, for each tool
//! one with that tool's scopes and that back end's audience.

use serde_json::{Value, json};

use super::{GATEWAY_SECRET, KEYS, POLICY, SCOPE, part};
use crate::gate::{Gate, HOST, is_allow};
use crate::interop::install::Parts;
use crate::oidc::provider::Provider;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Response;

const PATH: &str = "/suite/mcp";
const RESOURCE: &str = "http://gate.test/suite/mcp";
/// Tool, its scope, and the resource of its back end.
const TOOLS: [(&str, &str, &str); 2] = [
    ("demo.echo", "crm:read", "https://crm.test/mcp"),
    ("salesforce.opportunity.list", "repo:read", "https://code.test/mcp"),
];

fn config(issuer: &str, upstream: &str) -> String {
    let rows: Vec<String> = TOOLS
        .iter()
        .map(|(tool, scope, _)| format!("{tool}: {{scopes: [\"{scope}\"]}}"))
        .collect();
    let groups: String = TOOLS
        .iter()
        .map(|(tool, _, resource)| {
            format!(
                "        - tools: [{tool}]
          label: {tool}
          exchange: {{client_id: gateway, client_secret_file: gateway.txt, resource: \"{resource}\"}}
"
            )
        })
        .collect();
    format!(
        "listen:
  - address: 127.0.0.1:0
audit:
  directory: audit
issuers:
  - issuer: {issuer}
    danger_allow_private_addresses: true
servers:
  - name: suite
    path: {PATH}
    resource: {RESOURCE}
    issuers: [{issuer}]
    upstream:
      url: {upstream}
      credentials:
{groups}    tools:
      rows: {{{}}}
      scope_implies: {{\"{SCOPE}\": [\"crm:read\", \"repo:read\"]}}
    policy: {{files: [oidc.rego]}}
limits:
  policy_deadline: 2s
  audit_deadline: 5s
  exchange_deadline: 10s
",
        rows.join(", ")
    )
}

fn call(gate: &Gate, tool: &str, token: &str) -> Response {
    let call = Call::tools_call(Era::Modern, 1, tool, "{}").bearer(token);
    gate.connect().exchange(&call.to_http(HOST, PATH)).unwrap()
}

/// The token that the upstream saw last.
fn seen(gate: &Gate) -> String {
    let last = gate.upstream.capture().last().unwrap();
    last.header("authorization")
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap()
        .to_owned()
}

#[test]
fn tools_of_one_server_reach_their_back_ends_with_tokens_of_their_own() {
    let Some(parts) = Parts::install() else { return };
    let keys = tempfile::tempdir().unwrap();
    let resources: Vec<(&str, &str)> = TOOLS
        .iter()
        .map(|(_, _, resource)| (*resource, "ES256"))
        .chain([(RESOURCE, "ES256")])
        .collect();
    let provider = Provider::start(&parts, 0, keys.path(), &KEYS, &resources);
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("oidc.rego"), POLICY).unwrap();
    std::fs::write(files.path().join("gateway.txt"), GATEWAY_SECRET).unwrap();
    let mut gate = Gate::start_changed_in(files, |_, text| {
        let upstream = text.lines().find_map(|line| line.strip_prefix("      url: ")).unwrap();
        config(&provider.url, upstream)
    });
    let alice = provider.login("alice", RESOURCE).access;
    let mut shown: Vec<String> = Vec::new();
    for (tool, scope, resource) in TOOLS {
        let answer = call(&gate, tool, &alice);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token = seen(&gate);
        let claims = part(&token, 1);
        assert_eq!(
            (&claims["sub"], &claims["aud"], &claims["scope"]),
            (&json!("alice"), &json!(resource), &json!(scope)),
            "{claims}"
        );
        assert_eq!(claims["act"]["sub"], "gateway", "{claims}");
        assert!(
            !gate.upstream.capture().last().unwrap().mentions(&alice),
            "the upstream saw the client's token"
        );
        // Kept for the next call.
        assert_eq!(call(&gate, tool, &alice).status, 200);
        assert_eq!(seen(&gate), token);
        shown.push(token);
    }
    assert_ne!(shown[0], shown[1]);
    // Another person is another token.
    let bob = provider.login("bob", RESOURCE).access;
    assert_eq!(call(&gate, TOOLS[0].0, &bob).status, 200);
    assert_eq!(part(&seen(&gate), 1)["sub"], "bob");
    // Who has no token for the back end gets none, and nothing goes there, once the provider is gone.
    let later = provider.login("alice", RESOURCE).access;
    drop(provider);
    let before = gate.upstream.capture().count();
    let answer = call(&gate, TOOLS[0].0, &later);
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1")),
        "{}",
        answer.text()
    );
    assert_eq!(gate.upstream.capture().count(), before);
    assert_eq!(
        call(&gate, TOOLS[0].0, &alice).status,
        200,
        "a token that was got serves on"
    );
    gate.terminate();
    assert!(gate.wait().success());
    let records = gate.tail();
    let labels: Vec<&Value> = records
        .iter()
        .filter(|record| is_allow(record))
        .map(|record| &record["upstream"]["credential"]["label"])
        .collect();
    assert_eq!(labels.len(), 7);
    assert_eq!(labels.iter().filter(|label| **label == TOOLS[1].0).count(), 2);
    let closed = records
        .iter()
        .filter(|record| record["outcome"] == "not_forwarded")
        .count();
    assert_eq!(closed, 1, "the one that was kept back is closed");
}
