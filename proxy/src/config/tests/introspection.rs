//! How issuers are asked about tokens: what is right, and what each mistake is told.

use portcullis_core::token::IntrospectedTokens;

use super::{check, load_with};

const KEYS: &str = "    algorithms: [RS256, ES256]\n";

/// The issuer with these members of `introspection`.
fn asked(members: &str) -> String {
    format!("{KEYS}    introspection: {{{members}}}\n")
}

#[test]
fn an_issuer_is_asked_as_it_is_written() {
    let config = load_with(KEYS, KEYS).unwrap();
    assert!(config.issuers[0].issuer.introspection().is_none());
    let config = load_with(KEYS, &asked("client_id: gate, client_secret_file: secret.txt")).unwrap();
    let issuer = &config.issuers[0];
    let rules = issuer.issuer.introspection().unwrap();
    assert_eq!(
        (rules.tokens, rules.signed_for.as_deref()),
        (IntrospectedTokens::Opaque, None)
    );
    assert!(issuer.introspection.as_ref().unwrap().url.is_none());
    assert!(!format!("{config:?}").contains("s3cret"));
    let members = "url: https://login.example.test/ask, tokens: all, signed: true, client_id: gate, \
                   client_secret_file: secret.txt";
    let config = load_with(KEYS, &asked(members)).unwrap();
    let rules = config.issuers[0].issuer.introspection().unwrap();
    assert_eq!(
        (rules.tokens, rules.signed_for.as_deref()),
        (IntrospectedTokens::All, Some("gate"))
    );
    assert!(config.issuers[0].issuer.needs_keys(), "signed answers need keys");
}

#[test]
fn mistakes_are_told_where_they_stand() {
    check(
        KEYS,
        &asked("client_id: gate"),
        r#"
error[E0410 secret_missing]: `introspection` needs exactly one of `client_secret_file`, `client_secret_env` and `private_key_file`
  --> gate.yaml:8:20
   |
 8 |     introspection: {client_id: gate}
   |                    ^
"#,
    );
    check(
        KEYS,
        &asked("client_id: gate, client_secret_file: empty.txt"),
        r#"
error[E0410 secret_missing]: the client's secret is empty
  --> gate.yaml:8:20
   |
 8 |     introspection: {client_id: gate, client_secret_file: empty.txt}
   |                    ^
"#,
    );
    check(
        KEYS,
        &asked("client_id: gate, private_key_file: secret.txt"),
        r#"
error[E0410 secret_missing]: the private key `secret.txt` cannot be used: it holds no private key in PEM as PKCS #8 (`-----BEGIN PRIVATE KEY-----`)
  --> gate.yaml:8:56
   |
 8 |     introspection: {client_id: gate, private_key_file: secret.txt}
   |                                                        ^
"#,
    );
    check(
        KEYS,
        &asked("client_id: gate, client_secret_file: secret.txt, url: http://login.example.test/ask"),
        r#"
error[E0301 issuer_invalid]: `http://login.example.test/ask` cannot be asked about tokens
  --> gate.yaml:8:75
   |
 8 |     introspection: {client_id: gate, client_secret_file: secret.txt, url: http://login.example.test/ask}
   |                                                                           ^
  = help: an https URL without fragment, or http on loopback for an issuer on loopback
"#,
    );
    check(
        KEYS,
        &asked("client_id: gate, client_secret_file: secret.txt, tokens: all"),
        r#"
error[E0301 issuer_invalid]: `introspection` needs its `url`: metadata is not asked for where `tokens: all` makes keys needless
  --> gate.yaml:8:20
   |
 8 |     introspection: {client_id: gate, client_secret_file: secret.txt, tokens: all}
   |                    ^
"#,
    );
    let inline = load_with(KEYS, &asked("client_id: gate, client_secret: s3cret")).unwrap_err();
    assert!(
        inline.contains("E0409 secret_inline") && inline.contains("client_secret_file"),
        "{inline}"
    );
    assert!(!inline.contains("s3cret"), "{inline}");
}

#[test]
fn a_server_asks_one_issuer_about_tokens_that_name_none() {
    let both = "    algorithms: [RS256, ES256]
    introspection: {client_id: gate, client_secret_file: secret.txt}
  - issuer: https://other.example.test
    introspection: {client_id: gate, client_secret_file: secret.txt}
servers:
  - name: crm
    path: /crm/mcp
    resource: https://gate.example.test/crm/mcp
    issuers: [https://login.example.test, https://other.example.test]
";
    let from = "    algorithms: [RS256, ES256]
servers:
  - name: crm
    path: /crm/mcp
    resource: https://gate.example.test/crm/mcp
    issuers: [https://login.example.test]
";
    let fault = load_with(from, both).unwrap_err();
    assert!(
        fault.contains("server `crm` accepts 2 issuers with `introspection`"),
        "{fault}"
    );
}
