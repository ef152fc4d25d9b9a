//! Where calls go, and what leads sessions and lists there.

use super::{check, load_with};
use crate::config::Config;

const URL: &str = "      url: http://127.0.0.1:9000/mcp\n";

fn with(lines: &str) -> Result<Config, String> {
    load_with(URL, lines)
}

#[test]
fn the_case_of_a_host_is_of_no_meaning_and_that_of_a_path_is() {
    let ids = |urls: &str| {
        let config = with(&format!("      urls: [{urls}]\n"))?;
        let endpoints = &config.servers[0].upstream().endpoints;
        Ok::<_, String>(endpoints.iter().map(|endpoint| endpoint.id).collect::<Vec<_>>())
    };
    let two = ids("http://crm.test/mcp, http://crm.test/MCP").unwrap();
    assert_ne!(two[0], two[1]);
    assert_eq!(ids("http://CRM.test/mcp, http://crm.test/MCP").unwrap(), two);
    assert_eq!(ids("http://crm.test:80/mcp, http://crm.test/MCP").unwrap(), two);
    for urls in [
        "http://crm.test/mcp, http://CRM.test/mcp",
        "http://crm.test/mcp, http://crm.test:80/mcp",
        "http://crm.test/mcp, http://crm.test/mcp",
    ] {
        let fault = ids(urls).unwrap_err();
        assert!(
            fault.contains("stands twice") && fault.contains("1 fault;"),
            "{urls}: {fault}"
        );
    }
}

#[test]
fn a_session_is_bound_to_its_address_unless_addresses_share_their_sessions() {
    let shares = |line: &str| with(&format!("{URL}{line}")).map(|config| config.servers[0].upstream().shares_sessions);
    assert_eq!(shares(""), Ok(false));
    assert_eq!(shares("      session_affinity: address\n"), Ok(false));
    assert_eq!(shares("      session_affinity: endpoint\n"), Ok(true));
    let fault = shares("      session_affinity: none\n").unwrap_err();
    assert!(fault.contains("this is none of `address`, `endpoint`"), "{fault}");
}

#[test]
fn lists_may_have_a_credential_of_their_own() {
    let shown = |line: &str| {
        let config = with(&format!("{URL}{line}"))?;
        let server = config.servers[0].build().unwrap();
        let credential = server.upstream().credentials.of_listing();
        Ok::<_, String>(credential.map(|shown| (shown.label.to_string(), shown.kind.name())))
    };
    let own = |label: &str, kind| Ok(Some((label.to_owned(), kind)));
    assert_eq!(shown(""), own("authorization", "static"));
    assert_eq!(shown("      listing_credential: {none: true}\n"), Ok(None));
    assert_eq!(
        shown("      listing_credential: {header: x-key, value_file: secret.txt, label: lists}\n"),
        own("lists", "static")
    );
    assert_eq!(
        shown("      listing_credential: {assertion: {audience: crm}}\n"),
        own("assertion", "assertion")
    );
    for (written, fault) in [
        ("{}", "a secret needs the `header` that carries it"),
        (
            "{header: x-key}",
            "a credential needs either `value_file` or `value_env`",
        ),
        (
            "{tools: [crm.read], none: true}",
            "`listing_credential` serves the gate's own listings",
        ),
        (
            "{exchange: {client_id: gate, client_secret_file: secret.txt, audience: crm}}",
            "`listing_credential` is no `exchange`",
        ),
        (
            "{header: x-key, value_file: secret.txt, danger_shared_upstream_identity: true}",
            "is for secrets of tools",
        ),
        (
            "{header: host, value_file: secret.txt}",
            "is no header that can carry a credential",
        ),
        ("{value: s3cret}", "E0409 secret_inline"),
    ] {
        let told = shown(&format!("      listing_credential: {written}\n")).unwrap_err();
        assert!(told.contains(fault) && !told.contains("s3cret"), "{written}: {told}");
    }
}

#[test]
fn authorities_of_all_upstreams_are_read_before_anything_starts() {
    check(
        "limits:",
        "upstream_ca: secret.txt\nlimits:",
        r#"
error[E0201 file_unreadable]: `secret.txt`: no usable certificate authority
  --> gate.yaml:21:14
    |
 21 | upstream_ca: secret.txt
    |              ^
"#,
    );
    let absent = load_with("limits:", "upstream_ca: absent.pem\nlimits:")
        .map(|_| ())
        .unwrap_err();
    assert!(absent.contains("the file `absent.pem` cannot be read"), "{absent}");
}
