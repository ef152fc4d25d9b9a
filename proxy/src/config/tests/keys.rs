//! Keys that the schema does not know, or that do not fit.

use super::{check, load_with};

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
  = help: keys here: `node`, `listen`, `admin`, `audit`, `keys`, `issuers`, `servers`, `assertion_issuer`, `upstream_ca`, `trusted_hops`, `trusted_proxies`, `state_dir`, `revocation_file`, `limits`
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
    let fault = load_with("algorithms:", "jwks_url: x\n    algorithms:").unwrap_err();
    assert!(
        fault.starts_with("error[E0101 unknown_key]: unknown key `jwks_url`\n  --> gate.yaml:7:5\n"),
        "{fault}"
    );
    assert!(
        fault.contains("  = nearest: `jwks_uri`\n  = help: keys here: `issuer`, "),
        "{fault}"
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
