//! What a server must have before it starts.

use std::time::Duration;

use portcullis_core::catalog::OnChange;

use super::{check, load_with};

#[test]
fn changes_of_tools_are_reported_unless_they_are_to_be_withheld() {
    let with = |more: &str| {
        let plan = |config: crate::config::Config| config.tool_plans().next().unwrap();
        load_with("    issuers: [", &format!("{more}    issuers: [")).map(plan)
    };
    let plan = with("").unwrap();
    assert_eq!(
        (plan.on_change, plan.refresh),
        (OnChange::Report, Duration::from_secs(300))
    );
    assert_eq!(with("    tools_changed: report\n").unwrap().on_change, OnChange::Report);
    assert_eq!(
        with("    tools_changed: withhold\n").unwrap().on_change,
        OnChange::Withhold
    );
    for (written, seconds) in [("1s", 1), ("24h", 86_400)] {
        let plan = with(&format!("    tools_refresh: {written}\n")).unwrap();
        assert_eq!(plan.refresh, Duration::from_secs(seconds));
    }
    for more in [
        "    tools_changed: ignore\n",
        "    tools_changed: true\n",
        "    tools_refresh: 999ms\n",
        "    tools_refresh: 25h\n",
        "    tools_refresh: 5\n",
    ] {
        assert!(with(more).is_err(), "{more}");
    }
}

#[test]
fn pins_lie_in_the_folder_of_the_state_or_in_one_beside_the_configuration() {
    let pins = |more: &str| load_with("listen:", &format!("{more}listen:")).unwrap().pins;
    assert!(pins("").ends_with("state"));
    assert!(pins("state_dir: kept\n").ends_with("kept"));
}

#[test]
fn a_server_that_could_not_refuse_does_not_start() {
    check(
        "header: authorization",
        "header: host",
        r#"
error[E0407 upstream_invalid]: `host` is no header that can carry a credential
  --> gate.yaml:15:28
    |
 15 |       credential: {header: host, value_file: secret.txt}
    |                            ^
"#,
    );
    check(
        "    issuers: [https://login.example.test]\n",
        "",
        r#"
error[E0401 server_issuer_missing]: server `crm` has no `issuers`: no token could be verified
  --> gate.yaml:9:5
   |
 9 |   - name: crm
   |     ^
  = help: name at least one of the list `issuers` at the top
"#,
    );
    check(
        "    resource: https://gate.example.test/crm/mcp\n",
        "",
        r#"
error[E0402 server_resource_missing]: server `crm` has no `resource`: no token could be for it
  --> gate.yaml:9:5
   |
 9 |   - name: crm
   |     ^
  = help: write the public URL of this endpoint, such as `resource: https://gate.example.com/crm/mcp`
"#,
    );
    check(
        "https://gate.example.test/crm/mcp",
        "gate.example.test/crm/mcp",
        r#"
error[E0405 server_invalid]: server `crm` has the resource `gate.example.test/crm/mcp`: a resource is an absolute http or https URL without query and fragment
  --> gate.yaml:11:15
    |
 11 |     resource: gate.example.test/crm/mcp
    |               ^
"#,
    );
    check(
        "/crm/mcp",
        "crm/mcp",
        r#"
error[E0405 server_invalid]: server `crm` has the path `crm/mcp`: a path starts with `/` and has no query, fragment or dot segment
  --> gate.yaml:10:11
    |
 10 |     path: crm/mcp
    |           ^
"#,
    );
    check(
        "    tools:\n      rows:\n        crm.read: {scopes: [\"crm:read\"], class: read}\n",
        "",
        r#"
error[E0403 server_tools_missing]: server `crm` has no tools: every call would be refused
  --> gate.yaml:9:5
   |
 9 |   - name: crm
   |     ^
  = help: write `tools: {rows: {tool.name: {scopes: [scope]}}}` or `tools: {file: tools.yaml}`
"#,
    );
    check(
        "scopes: [\"crm:read\"]",
        "scopes: [\"crm read\"]",
        r#"
error[E0411 tools_invalid]: `crm read` is no scope: a scope is printable ASCII without spaces, quotes and backslashes
  --> gate.yaml:17:7
    |
 17 |       rows:
    |       ^
"#,
    );
    check(
        "    policy:\n      files: [policy.rego]\n",
        "",
        r#"
error[E0404 server_policy_missing]: server `crm` has no policy: nothing could be decided
  --> gate.yaml:9:5
   |
 9 |   - name: crm
   |     ^
  = help: write `policy: {files: [policy.rego]}`
"#,
    );
    check(
        "files: [policy.rego]",
        "files: []",
        r#"
error[E0404 server_policy_missing]: server `crm` has no policy: nothing could be decided
  --> gate.yaml:20:7
    |
 20 |       files: []
    |       ^
  = help: write `policy: {files: [policy.rego]}`
"#,
    );
    check(
        "http://127.0.0.1:9000/mcp",
        "127.0.0.1:9000",
        r#"
error[E0407 upstream_invalid]: `127.0.0.1:9000` is no URL of an upstream
  --> gate.yaml:14:12
    |
 14 |       url: 127.0.0.1:9000
    |            ^
  = help: an absolute http or https URL without user, query and fragment
"#,
    );
}

#[test]
fn a_tool_has_one_row() {
    let both = "tools:\n      file: more.yaml\n      rows:\n        ";
    check(
        "tools:\n      rows:\n        ",
        both,
        r#"
error[E0406 repeated]: the tool `crm.read` has a row here and one in the tool file
  --> gate.yaml:17:7
    |
 17 |       file: more.yaml
    |       ^
"#,
    );
    let apart = "tools:\n      file: more.yaml\n      rows:\n        crm.write: {scopes: [\"crm:write\"]}\n";
    let row = "tools:\n      rows:\n        crm.read: {scopes: [\"crm:read\"], class: read}\n";
    assert!(load_with(row, apart).is_ok());
}

/// The right configuration with this written behind the tools.
fn with_tables(tables: &str) -> String {
    format!("{tables}    policy:\n      files: [policy.rego]\n")
}

#[test]
fn prompts_and_resources_have_tables_of_their_own() {
    let policy = "    policy:\n      files: [policy.rego]\n";
    let tables = "    prompts:
      rows: {brief: {scopes: [\"crm:read\"], class: read}}
    resources:
      rows:
        crm://accounts/*: {scopes: [\"crm:read\"]}
        crm://accounts/1: {scopes: []}
";
    let config = load_with(policy, &with_tables(tables)).unwrap();
    let server = config.servers.first().unwrap().build().unwrap();
    assert_eq!(server.prompts().rows().count(), 1);
    assert_eq!(server.resources().row("crm://accounts/2"), Some("crm://accounts/*"));
    assert_eq!(server.resources().row("crm://accounts/1"), Some("crm://accounts/1"));
    let none = load_with(policy, policy).unwrap();
    let server = none.servers.first().unwrap().build().unwrap();
    assert!(server.prompts().is_empty() && server.resources().is_empty());
}

#[test]
fn rows_of_prompts_and_resources_are_names_and_uris() {
    let policy = "    policy:\n      files: [policy.rego]\n";
    check(
        policy,
        &with_tables("    prompts:\n      rows: {\"\": {scopes: []}}\n"),
        r#"
error[E0411 tools_invalid]: `` is no prompt name: a name has 1 to 128 bytes and no control characters
  --> gate.yaml:20:7
    |
 20 |       rows: {"": {scopes: []}}
    |       ^
"#,
    );
    check(
        policy,
        &with_tables("    resources:\n      rows: {\"https://crm*\": {scopes: []}}\n"),
        r#"
error[E0411 tools_invalid]: `https://crm*` is no row of resources: a row is a URI in normal form, such as `file:///docs/a.md`, or ends in `*` behind a scheme and a whole host, such as `file:///docs/*`
  --> gate.yaml:20:7
    |
 20 |       rows: {"https://crm*": {scopes: []}}
    |       ^
"#,
    );
    let unknown = load_with(policy, &with_tables("    prompts:\n      row: {}\n")).unwrap_err();
    assert!(unknown.contains("unknown field `row`"), "{unknown}");
}

#[test]
fn a_resource_has_one_server() {
    let second = |resource: &str| {
        format!(
            "  - name: files
    path: /files/mcp
    resource: {resource}
    issuers: [https://login.example.test]
    upstream: {{url: http://127.0.0.1:9001/mcp}}
    tools: {{rows: {{files.read: {{scopes: []}}}}}}
    policy: {{files: [policy.rego]}}
limits:
"
        )
    };
    check(
        "limits:\n",
        &second("https://gate.example.test/crm/mcp/"),
        r#"
error[E0406 repeated]: the resource `https://gate.example.test/crm/mcp/` has two servers
  --> gate.yaml:23:15
    |
 23 |     resource: https://gate.example.test/crm/mcp/
    |               ^
  = help: each endpoint is a resource of its own; `audiences` names further ones
"#,
    );
    assert!(load_with("limits:\n", &second("https://gate.example.test/files/mcp")).is_ok());
}

#[test]
fn audiences_are_listed_for_issuers_that_the_server_accepts() {
    let list = |list: &str| format!("    issuer_audiences:\n      {list}\n    upstream:");
    assert!(load_with("    upstream:", &list("https://login.example.test: [api://crm]")).is_ok());
    check(
        "    upstream:",
        &list("https://login.example.tset: [api://crm]"),
        r#"
error[E0302 issuer_unknown]: server `crm` lists audiences for the issuer `https://login.example.tset`, which it does not accept
  --> gate.yaml:14:35
    |
 14 |       https://login.example.tset: [api://crm]
    |                                   ^
  = help: did you mean `https://login.example.test`?
"#,
    );
    check(
        "    upstream:",
        &list("https://login.example.test: []"),
        r#"
error[E0405 server_invalid]: server `crm` accepts no audience from the issuer `https://login.example.test`
  --> gate.yaml:14:35
    |
 14 |       https://login.example.test: []
    |                                   ^
  = help: name at least one audience, or leave the issuer out: its tokens then name the `resource`
"#,
    );
}
