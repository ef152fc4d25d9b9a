//! Where secrets of many come in: query names, and the one secret that a server of this machine may take.

use super::{check, load_with};

const PLACE: &str = "    tools:";

fn with(lines: &str) -> String {
    format!("{lines}\n{PLACE}")
}

#[test]
fn a_query_is_let_in_by_harmless_names_alone() {
    let names = |lines: &str| {
        let config = load_with(PLACE, &with(lines)).unwrap();
        let server = config.servers[0].build().unwrap();
        server
            .query_names()
            .iter()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("    # none"), [""; 0]);
    assert_eq!(names("    query_names: []"), [""; 0]);
    assert_eq!(names("    query_names: [lang, v.1]"), ["lang", "v.1"]);
    check(
        PLACE,
        &with("    query_names: [lang, Access-Token]"),
        r#"
error[E0405 server_invalid]: server `crm` lets the query parameter `Access-Token` in: a name has 1 to 64 letters, digits or `-._~`, and is none that credentials go by, such as `access_token` or `key`
  --> gate.yaml:16:25
    |
 16 |     query_names: [lang, Access-Token]
    |                         ^
"#,
    );
}

#[test]
fn a_shared_secret_needs_a_gate_that_nobody_else_reaches() {
    let good = "    danger_shared_secret: {file: bearer.txt, subject: me, scopes: [\"crm:read\"]}";
    assert!(load_with(PLACE, &with(good)).is_ok());
    for address in ["0.0.0.0:0", "192.0.2.1:8080", "\"[::]:0\""] {
        let text = super::RIGHT
            .replacen(PLACE, &with(good), 1)
            .replacen("127.0.0.1:0", address, 1);
        let said = super::load_text(&text).map(|_| ()).unwrap_err();
        let message = format!(
            "`danger_shared_secret` is for this machine alone, and the gate listens on {}",
            address.trim_matches('"')
        );
        assert!(said.contains(&message), "{said}");
    }
    let second = super::RIGHT.replacen(PLACE, &with(good), 1).replacen(
        "  - address: 127.0.0.1:0",
        "  - address: 127.0.0.1:0\n  - address: 192.0.2.1:0",
        1,
    );
    assert!(super::load_text(&second).is_err());
    let hops = "trusted_hops:\n  - addresses: [127.0.0.0/8]\n    client_certificate: {header: client-cert, form: rfc9440}\nlimits:";
    let text = super::RIGHT
        .replacen(PLACE, &with(good), 1)
        .replacen("limits:", hops, 1);
    let said = super::load_text(&text).map(|_| ()).unwrap_err();
    assert!(said.contains("and `trusted_hops` bring clients of others"), "{said}");
    assert!(load_with("limits:", hops).is_ok());
    assert!(load_with(PLACE, &with(&format!("{good}\n    dpop: {{required: true}}"))).is_err());
}

#[test]
fn a_shared_secret_is_long_stands_elsewhere_and_for_somebody() {
    check(
        PLACE,
        &with("    danger_shared_secret: {file: secret.txt, subject: me}"),
        r#"
error[E0410 secret_missing]: a shared secret has at least 32 bytes, such as of `openssl rand -base64 32`
  --> gate.yaml:16:27
    |
 16 |     danger_shared_secret: ...
    |                           ^
"#,
    );
    check(
        PLACE,
        &with("    danger_shared_secret: {secret: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb, subject: me}"),
        r#"
error[E0409 secret_inline]: a secret may not stand in the configuration: `secret`
  --> gate.yaml:16:28
    |
 16 |     danger_shared_secret: ...
    |                            ^^^^^^
  = help: write it to a file and name that by `file`, or name a variable by `env`
"#,
    );
    for (written, said) in [
        ("{subject: me}", "a shared secret needs either `file` or `env`"),
        (
            "{file: bearer.txt, env: X, subject: me}",
            "a shared secret needs either `file` or `env`",
        ),
        (
            "{file: absent.txt, subject: me}",
            "the secret file `absent.txt` cannot be read",
        ),
        (
            "{env: PORTCULLIS_TEST_ABSENT, subject: me}",
            "the environment variable `PORTCULLIS_TEST_ABSENT` is not set",
        ),
        (
            "{file: bearer.txt, subject: \"\"}",
            "a shared secret stands for a subject",
        ),
        ("{file: bearer.txt}", "subject"),
    ] {
        let fault = load_with(PLACE, &with(&format!("    danger_shared_secret: {written}")));
        let fault = fault.map(|_| ()).unwrap_err();
        assert!(fault.contains(said), "{written}: {fault}");
    }
}

#[test]
fn the_places_of_a_token_are_bounded() {
    let sources = |limit: &str| {
        let loaded = load_with("  body_deadline: 5s", limit);
        loaded.map(|config| config.limits.token_sources_reported)
    };
    assert_eq!(sources("  body_deadline: 5s"), Ok(16));
    assert_eq!(sources("  token_sources_reported: 250"), Ok(250));
    for wrong in ["0", "251"] {
        let said = sources(&format!("  token_sources_reported: {wrong}")).unwrap_err();
        assert!(said.contains("expected a number from 1 to 250"), "{said}");
    }
}
