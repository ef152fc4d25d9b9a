//! Every way a configuration can be wrong, with the exact text a person gets.

use std::fs;

use super::*;

/// A configuration that is right; every test changes one thing.
const RIGHT: &str = r#"listen:
  - address: 127.0.0.1:0
audit:
  directory: audit
issuers:
  - issuer: https://login.example.test
    algorithms: [RS256, ES256]
servers:
  - name: crm
    path: /crm/mcp
    resource: https://gate.example.test/crm/mcp
    issuers: [https://login.example.test]
    upstream:
      url: http://127.0.0.1:9000/mcp
      credential: {header: authorization, value_file: secret.txt}
    tools:
      rows:
        crm.read: {scopes: ["crm:read"], class: read}
    policy:
      files: [policy.rego]
limits:
  body_deadline: 5s
"#;

/// A policy that decides.
const POLICY: &str = r#"package portcullis

request.decision := {"allow": false, "rule": "none", "reason": "nothing is allowed", "obligations": {}}

response.decision := {"allow": false, "rule": "none", "reason": "nothing is allowed", "obligations": {}}
"#;

/// Writes the right files with one replacement each and loads them.
fn load_with(from: &str, to: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    assert!(RIGHT.contains(from), "`{from}` is not in the configuration");
    let config = folder.path().join("gate.yaml");
    fs::write(&config, RIGHT.replacen(from, to, 1)).unwrap();
    fs::write(folder.path().join("policy.rego"), POLICY).unwrap();
    fs::write(
        folder.path().join("broken.rego"),
        "package portcullis\n\nrequest.decision := {\"allow\": }\n\nresponse := 1\n",
    )
    .unwrap();
    fs::write(folder.path().join("secret.txt"), "Bearer s3cret\n").unwrap();
    fs::write(folder.path().join("empty.txt"), "").unwrap();
    fs::write(
        folder.path().join("tools.yaml"),
        "rows:\n  crm.write: {scope: [\"crm:write\"]}\n",
    )
    .unwrap();
    load(&config, Names::Skip, 1).map_err(|diagnostics| {
        let root = format!("{}/", folder.path().display());
        diagnostics.pretty().replace(&root, "")
    })
}

#[track_caller]
fn check(from: &str, to: &str, want: &str) {
    let got = load_with(from, to).map(|_| ()).unwrap_err();
    let want = format!("{}\n\n1 fault; nothing was started or changed\n", want.trim());
    assert_eq!(got, want, "\n--- got\n{got}\n--- want\n{want}");
}

#[test]
fn the_right_configuration_is_right() {
    let config = load_with("listen", "listen").unwrap();
    assert_eq!(config.listeners.len(), 1);
}

#[test]
fn keys_that_do_not_fit_are_named() {
    check(
        "listen:",
        "lissten:",
        r#"
error[E0101 unknown_key]: unknown key `lissten`
  --> gate.yaml:1:1
   |
 1 | lissten:
   | ^^^^^^^
  = nearest: `listen`
  = help: keys here: `node`, `listen`, `audit`, `issuers`, `servers`, `upstream_ca`, `limits`
"#,
    );
    check(
        "directory:",
        "directroy:",
        r#"
error[E0101 unknown_key]: unknown key `directroy`
  --> gate.yaml:4:3
   |
 4 |   directroy: audit
   |   ^^^^^^^^^
  = nearest: `directory`
  = help: keys here: `directory`, `digest_key`
"#,
    );
    check(
        "algorithms:",
        "jwks_url: x\n    algorithms:",
        r#"
error[E0101 unknown_key]: unknown key `jwks_url`
  --> gate.yaml:7:5
   |
 7 |     jwks_url: x
   |     ^^^^^^^^
  = nearest: `jwks_uri`
  = help: keys here: `issuer`, `algorithms`, `jwks_uri`, `identity`, `groups_claim`, `roles_claim`, `ca`, `danger_accept_any_jwt`, `danger_allow_private_addresses`
"#,
    );
    check(
        "audit:\n  directory: audit\n",
        "",
        r#"
error[E0102 missing_key]: the section of this line lacks the key `audit`
  --> gate.yaml:19:1
    |
 19 | limits:
    | ^
"#,
    );
    check(
        "directory: audit",
        "directory: [audit]",
        r#"
error[E0103 wrong_type]: expected a string
  --> gate.yaml:4:14
   |
 4 |   directory: [audit]
   |              ^
"#,
    );
    check(
        "directory: audit",
        "directory: audit\n  directory: other",
        r#"
error[E0104 duplicate_key]: the key `directory` stands twice
  --> gate.yaml:5:3
   |
 5 |   directory: other
   |   ^^^^^^^^^
"#,
    );
    check(
        "    algorithms: [RS256, ES256]",
        "    identity: {form: listed}",
        r#"
error[E0105 invalid_value]: this is none of `act`, `human_claim`, `listed_agents`
  --> gate.yaml:7:22
   |
 7 |     identity: {form: listed}
   |                      ^
"#,
    );
    check(
        "      rows:\n        crm.read: {scopes: [\"crm:read\"], class: read}\n",
        "      file: tools.yaml\n",
        r#"
error[E0101 unknown_key]: unknown key `scope`
  --> tools.yaml:2:15
   |
 2 |   crm.write: {scope: ["crm:write"]}
   |               ^^^^^
  = nearest: `scopes`
  = help: keys here: `scopes`, `class`
"#,
    );
    check(
        "5s",
        "5",
        r#"
error[E0105 invalid_value]: expected a time such as `500ms`, `10s`, `5m` or `24h`
  --> gate.yaml:22:3
    |
 22 |   body_deadline: 5
    |   ^
"#,
    );
    check(
        "5s",
        "five seconds",
        r#"
error[E0105 invalid_value]: expected a time such as `500ms`, `10s`, `5m` or `24h`
  --> gate.yaml:22:3
    |
 22 |   body_deadline: five seconds
    |   ^
"#,
    );
    check(
        "5s",
        "0s",
        r#"
error[E0105 invalid_value]: expected a time from 1ms to 3600s
  --> gate.yaml:22:18
    |
 22 |   body_deadline: 0s
    |                  ^
"#,
    );
    check(
        "body_deadline: 5s",
        "body_bytes_max: 0",
        r#"
error[E0105 invalid_value]: expected a number from 1 to 268435456
  --> gate.yaml:22:19
    |
 22 |   body_bytes_max: 0
    |                   ^
"#,
    );
    check(
        "body_deadline: 5s",
        "body_bytes_max: lots",
        r#"
error[E0103 wrong_type]: expected a whole number
  --> gate.yaml:22:19
    |
 22 |   body_bytes_max: lots
    |                   ^
"#,
    );
    check(
        "limits:",
        "limits: [",
        r#"
error[E0103 wrong_type]: expected a section of keys
  --> gate.yaml:21:9
    |
 21 | limits: [
    |         ^
"#,
    );
    check(
        "limits:",
        "<<: {a: b}\nlimits:",
        r#"
error[E0100 syntax]: merge keys (`<<`) are not read here
  --> gate.yaml:21:1
    |
 21 | <<: {a: b}
    | ^
"#,
    );
}

#[test]
fn issuers_and_listeners_that_cannot_be_used_are_named() {
    check(
        "RS256",
        "rs256",
        r#"
error[E0301 issuer_invalid]: `rs256` is no accepted signature algorithm
  --> gate.yaml:7:18
   |
 7 |     algorithms: [rs256, ES256]
   |                  ^
  = help: did you mean `RS256`?
"#,
    );
    check(
        "RS256",
        "HS256",
        r#"
error[E0301 issuer_invalid]: `HS256` is no accepted signature algorithm
  --> gate.yaml:7:18
   |
 7 |     algorithms: [HS256, ES256]
   |                  ^
  = help: did you mean `ES256`?
"#,
    );
    check(
        "    algorithms: [RS256, ES256]",
        "    identity: {form: listed_agents}",
        r#"
error[E0301 issuer_invalid]: form `listed_agents` needs a list `agents` and nothing else
  --> gate.yaml:7:22
   |
 7 |     identity: {form: listed_agents}
   |                      ^
"#,
    );
    check(
        "issuers: [https://login.example.test]",
        "issuers: [https://login.example.tset]",
        r#"
error[E0302 issuer_unknown]: the issuer `https://login.example.tset` is not in the list `issuers`
  --> gate.yaml:12:15
    |
 12 |     issuers: [https://login.example.tset]
    |               ^
  = help: did you mean `https://login.example.test`?
"#,
    );
    check(
        "policy.rego",
        "absent.rego",
        r#"
error[E0201 file_unreadable]: the file `absent.rego` cannot be read: No such file or directory (os error 2)
  --> gate.yaml:20:15
    |
 20 |       files: [absent.rego]
    |               ^
"#,
    );
    check(
        "127.0.0.1:0",
        "localhost:0",
        r#"
error[E0601 listener_invalid]: `localhost:0` is no IP address with a port
  --> gate.yaml:2:14
   |
 2 |   - address: localhost:0
   |              ^
  = help: write it like `127.0.0.1:8080`, `0.0.0.0:8443` or `[::1]:0`
"#,
    );
    check(
        "127.0.0.1:0",
        "127.0.0.1:0\n    tls: {certificate: empty.txt, key: empty.txt}",
        r#"
error[E0601 listener_invalid]: `empty.txt` holds no readable certificate
  --> gate.yaml:2:14
   |
 2 |   - address: 127.0.0.1:0
   |              ^
"#,
    );
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
fn secrets_stand_elsewhere_and_are_never_shown() {
    check(
        "value_file: secret.txt",
        "value: s3cret",
        r#"
error[E0409 secret_inline]: a secret may not stand in the configuration: `value`
  --> gate.yaml:15:43
    |
 15 |       credential: {header: authorization, value: ...
    |                                           ^^^^^
  = help: write the value to a file and name it by `value_file`, or name a variable by `value_env`
"#,
    );
    check(
        "value_file: secret.txt",
        "value_file: absent.txt",
        r#"
error[E0410 secret_missing]: the secret file `absent.txt` cannot be read: No such file or directory (os error 2)
  --> gate.yaml:15:55
    |
 15 |       credential: {header: authorization, value_file: absent.txt}
    |                                                       ^
"#,
    );
    check(
        "value_file: secret.txt",
        "value_file: empty.txt",
        r#"
error[E0410 secret_missing]: the credential is empty or no header value
  --> gate.yaml:15:19
    |
 15 |       credential: {header: authorization, value_file: empty.txt}
    |                   ^
"#,
    );
    check(
        "value_file: secret.txt",
        "value_env: PORTCULLIS_TEST_ABSENT",
        r#"
error[E0410 secret_missing]: the environment variable `PORTCULLIS_TEST_ABSENT` is not set
  --> gate.yaml:15:54
    |
 15 |       credential: {header: authorization, value_env: PORTCULLIS_TEST_ABSENT}
    |                                                      ^
"#,
    );
    check(
        ", value_file: secret.txt",
        "",
        r#"
error[E0410 secret_missing]: a credential needs either `value_file` or `value_env`
  --> gate.yaml:15:19
    |
 15 |       credential: {header: authorization}
    |                   ^
"#,
    );
    check(
        "header: authorization",
        "header: authorization, value: \"s3cret",
        r#"
error[E0409 secret_inline]: a secret may not stand in the configuration: `value`
  --> gate.yaml:15:43
    |
 15 |       credential: {header: authorization, value: ...
    |                                           ^^^^^
  = help: write the value to a file and name it by `value_file`, or name a variable by `value_env`
"#,
    );
}

#[test]
fn a_policy_that_does_not_compile_is_shown_where_it_fails() {
    check(
        "policy.rego",
        "broken.rego",
        r#"
error[E0501 policy_refused]: expecting expression
  --> broken.rego:3:31
   |
 3 | request.decision := {"allow": }
   |                               ^
"#,
    );
}

#[test]
fn what_collides_is_named_twice() {
    check(
        "limits:",
        "  - name: crm\n    path: /other/mcp\n    resource: https://gate.example.test/other/mcp\n    issuers: [https://login.example.test]\n    upstream: {url: \"http://127.0.0.1:9000/mcp\"}\n    tools: {rows: {crm.read: {scopes: []}}}\n    policy: {files: [policy.rego]}\nlimits:",
        r"
error[E0406 repeated]: the server `crm` stands twice
  --> gate.yaml:21:11
    |
 21 |   - name: crm
    |           ^
",
    );
    check(
        "servers:",
        "  - issuer: https://login.example.test\nservers:",
        r"
error[E0406 repeated]: the issuer `https://login.example.test` stands twice
  --> gate.yaml:8:13
   |
 8 |   - issuer: https://login.example.test
   |             ^
",
    );
}

#[test]
fn every_fault_is_told_at_once() {
    let text = load_with(
        "    issuers: [https://login.example.test]\n    upstream:",
        "    rate: {per_second: 0, burst: 1}\n    upstream:",
    )
    .map(|_| ())
    .unwrap_err();
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(
        found,
        [
            "error[E0401 server_issuer_missing]: server `crm` has no `issuers`: no token could be verified",
            "error[E0105 invalid_value]: a rate of zero lets no call through",
        ]
    );
    assert!(text.ends_with("2 faults; nothing was started or changed\n"), "{text}");
}

#[test]
fn a_diagnostic_is_json_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.yaml");
    fs::write(&path, RIGHT.replacen("listen:", "lissten:", 1)).unwrap();
    let diagnostics = load(&path, Names::Skip, 1).unwrap_err();
    let json = serde_json::to_value(&diagnostics.diagnostics).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{
            "code": "E0101",
            "name": "unknown_key",
            "file": path,
            "line": 1,
            "column": 1,
            "key": "lissten",
            "nearest": "listen",
            "message": "unknown key `lissten`",
            "excerpt": "lissten:",
            "help": "keys here: `node`, `listen`, `audit`, `issuers`, `servers`, `upstream_ca`, `limits`",
        }])
    );
}

#[test]
fn an_upstream_that_does_not_resolve_is_the_worlds_fault_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.yaml");
    fs::write(folder.path().join("policy.rego"), POLICY).unwrap();
    fs::write(folder.path().join("secret.txt"), "Bearer s3cret\n").unwrap();
    let text = RIGHT.replacen("http://127.0.0.1:9000", "http://upstream.invalid:9000", 1);
    fs::write(&path, &text).unwrap();
    assert!(load(&path, Names::Skip, 1).is_ok(), "a check needs no network");
    assert!(load(&path, Names::Resolve, 1).unwrap_err().only_outside());
    fs::write(&path, text.replacen("RS256", "HS256", 1)).unwrap();
    assert!(!load(&path, Names::Resolve, 1).unwrap_err().only_outside());
}

/// The sample shows every key that there is, and is right as it stands.
#[test]
fn the_packaged_sample_is_right_and_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/portcullis.yaml");
    let config = load(&path, Names::Skip, 1).unwrap_or_else(|diagnostics| panic!("{}", diagnostics.pretty()));
    assert_eq!(config.limits, Limits::default(), "the sample shows the defaults");
    let sample = fs::read_to_string(&path).unwrap();
    let schema = serde_json::to_value(schemars::schema_for!(RawConfig)).unwrap();
    let mut sections: Vec<&serde_json::Value> = vec![&schema];
    sections.extend(schema["$defs"].as_object().unwrap().values());
    let keys = sections.iter().filter_map(|section| section["properties"].as_object());
    for key in keys.flat_map(|properties| properties.keys()) {
        assert!(sample.contains(&format!("{key}:")), "`{key}` is not in the sample");
    }
}

/// What editors get: every key is described, and no other one is allowed.
#[test]
fn the_schema_describes_every_key() {
    let schema = serde_json::to_value(schemars::schema_for!(RawConfig)).unwrap();
    let mut sections: Vec<&serde_json::Value> = vec![&schema];
    sections.extend(schema["$defs"].as_object().unwrap().values());
    for section in sections {
        let Some(properties) = section["properties"].as_object() else {
            continue;
        };
        assert_eq!(section["additionalProperties"], false, "{section}");
        for (key, property) in properties {
            assert!(property["description"].is_string(), "`{key}` has no description");
        }
    }
}
