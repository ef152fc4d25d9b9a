//! Every way a configuration can be wrong, with the exact text a person gets.

use std::fs;

use super::*;

mod admin;
mod bundles;
mod credentials;
mod dangers;
mod deny;
mod introspection;
mod issuers;
mod keys;
mod limits;
mod machines;
mod memo;
mod pages;
mod profiles;
mod sender;
mod servers;
mod shared_secrets;
mod tenants;
mod upstreams;

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
    assert!(RIGHT.contains(from), "`{from}` is not in the configuration");
    load_text(&RIGHT.replacen(from, to, 1))
}

/// Writes a configuration with the right files beside it and loads it.
fn load_text(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gate.yaml");
    fs::write(&config, text).unwrap();
    fs::write(folder.path().join("bearer.txt"), "b".repeat(32)).unwrap();
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
    fs::write(
        folder.path().join("more.yaml"),
        "rows:\n  crm.read: {scopes: [\"crm:read\", \"crm:all\"]}\n  crm.list: {scopes: []}\n",
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
            "help": "keys here: `node`, `listen`, `admin`, `audit`, `keys`, `issuers`, `servers`, `assertion_issuer`, `upstream_ca`, `trusted_hops`, `trusted_proxies`, `state_dir`, `revocation_file`, `limits`",
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
