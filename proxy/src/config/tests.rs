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
    fs::write(folder.path().join("broken.rego"), "package portcullis\n\nrequest.decision := {\n").unwrap();
    fs::write(folder.path().join("secret.txt"), "Bearer s3cret\n").unwrap();
    fs::write(folder.path().join("empty.txt"), "").unwrap();
    fs::write(folder.path().join("tools.yaml"), "rows:\n  crm.write: {scope: [\"crm:write\"]}\n").unwrap();
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
fn print_all() {
    for (from, to) in [
        ("listen:", "lissten:"),
        ("directory:", "directroy:"),
        ("algorithms:", "jwks_url: x\n    algorithms:"),
        ("value_file: secret.txt", "value: s3cret"),
        ("value_file: secret.txt", "value_file: absent.txt"),
        ("value_file: secret.txt", "value_file: empty.txt"),
        ("value_file: secret.txt", "value_env: PORTCULLIS_TEST_ABSENT"),
        (", value_file: secret.txt", ""),
        ("header: authorization", "header: host"),
        ("header: authorization", "header: authorization, value: \"s3cret"),
        ("audit:\n  directory: audit\n", ""),
        ("directory: audit", "directory: [audit]"),
        ("directory: audit", "directory: audit\n  directory: other"),
        ("RS256", "rs256"),
        ("RS256", "HS256"),
        ("  - issuer: https://login", "  - issuer: http://login"),
        ("    algorithms: [RS256, ES256]", "    identity: {form: listed_agents}"),
        ("    algorithms: [RS256, ES256]", "    identity: {form: listed}"),
        ("    issuers: [https://login.example.test]\n", ""),
        ("issuers: [https://login.example.test]", "issuers: [https://login.example.tset]"),
        ("    resource: https://gate.example.test/crm/mcp\n", ""),
        ("https://gate.example.test/crm/mcp", "gate.example.test/crm/mcp"),
        ("/crm/mcp", "crm/mcp"),
        ("    tools:\n      rows:\n        crm.read: {scopes: [\"crm:read\"], class: read}\n", ""),
        ("      rows:\n        crm.read: {scopes: [\"crm:read\"], class: read}\n", "      file: tools.yaml\n"),
        ("scopes: [\"crm:read\"]", "scopes: [\"crm read\"]"),
        ("    policy:\n      files: [policy.rego]\n", ""),
        ("files: [policy.rego]", "files: []"),
        ("policy.rego", "absent.rego"),
        ("policy.rego", "broken.rego"),
        ("http://127.0.0.1:9000/mcp", "127.0.0.1:9000"),
        ("127.0.0.1:0", "localhost:0"),
        ("127.0.0.1:0", "127.0.0.1:0\n    tls: {certificate: empty.txt, key: empty.txt}"),
        ("5s", "5"),
        ("5s", "five seconds"),
        ("5s", "0s"),
        ("body_deadline: 5s", "body_bytes_max: 0"),
        ("body_deadline: 5s", "body_bytes_max: lots"),
        ("limits:", "limits: ["),
        ("limits:", "<<: {a: b}\nlimits:"),
    ] {
        match load_with(from, to) {
            Ok(_) => println!("#### {to:?} OK"),
            Err(text) => println!("#### {from:?} -> {to:?}\n{text}"),
        }
    }
}

#[test]
fn the_right_configuration_is_right() {
    let config = load_with("listen", "listen").unwrap();
    assert_eq!(config.listeners.len(), 1);
}
