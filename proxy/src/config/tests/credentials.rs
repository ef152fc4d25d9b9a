//! What upstreams are shown and which fields cross.

use portcullis_core::config::CredentialKind;

use super::load_with;

const CREDENTIAL: &str = "      credential: {header: authorization, value_file: secret.txt}\n";
const TOOL: &str = "        crm.read: {scopes: [\"crm:read\"], class: read}\n";

/// The right configuration with this in the place of the credential, and a tool of another family beside the first.
fn load_two(upstream: &str) -> Result<super::Config, String> {
    let rows = format!("{TOOL}        repo.read: {{scopes: [\"repo:read\"]}}\n");
    let text = super::RIGHT.replacen(CREDENTIAL, upstream, 1).replacen(TOOL, &rows, 1);
    super::load_text(&text)
}

#[track_caller]
fn refused(upstream: &str, wanted: &str) {
    let fault = load_two(upstream).map(|_| ()).unwrap_err();
    assert!(fault.contains(wanted), "{upstream}\n{fault}");
    assert!(!fault.contains("s3cret"), "{fault}");
}

/// Label and kind of what is shown for a call of this tool.
#[track_caller]
fn shown(upstream: &str, tool: Option<&str>) -> Option<(String, &'static str)> {
    let config = load_two(upstream).unwrap_or_else(|fault| panic!("{fault}"));
    let server = config.servers[0].build().unwrap();
    let credential = server.upstream().credentials.of(tool)?;
    Some((credential.label.to_string(), credential.kind.name()))
}

#[test]
fn each_tool_may_have_a_credential_of_its_own() {
    let upstream = "      credential: {none: true}
      credentials:
        - {tools: [crm.read], header: x-api-key, value_file: secret.txt, label: crm}
        - {tools: [repo.read], assertion: {audience: repo, lifetime: 30s}}
";
    assert_eq!(shown(upstream, Some("crm.read")), Some(("crm".to_owned(), "static")));
    assert_eq!(
        shown(upstream, Some("repo.read")),
        Some(("assertion".to_owned(), "assertion"))
    );
    assert_eq!(shown(upstream, None), None);
    let exchange = "      credentials:
        - {tools: [crm.read, repo.read], exchange: {client_id: gate, client_secret_file: secret.txt, audience: crm}}
";
    assert_eq!(
        shown(exchange, Some("repo.read")),
        Some(("exchange".to_owned(), "exchange"))
    );
    let config = load_two(upstream).unwrap();
    let server = config.servers[0].build().unwrap();
    let credential = server.upstream().credentials.of(Some("repo.read")).unwrap();
    let CredentialKind::Assertion(terms) = &credential.kind else {
        panic!("{credential:?}")
    };
    assert_eq!(
        (&*terms.issuer, &*terms.audience, terms.lifetime.as_secs()),
        ("https://gate.example.test", "repo", 30)
    );
}

#[test]
fn one_secret_for_two_families_is_refused() {
    refused(
        CREDENTIAL,
        "error[E0405 server_invalid]: server `crm`: the secret `authorization` serves different scope families, such as those of \
         `crm.read` and `repo.read`: who may call one would call with the rights of all\n  --> gate.yaml:15:19\n",
    );
    refused(
        "      credentials:
        - {tools: [crm.read], header: authorization, value_file: secret.txt, label: a}
        - {tools: [repo.read], header: x-key, value_file: secret.txt, label: b}
",
        "different scope families",
    );
    let danger = CREDENTIAL.replace('}', ", danger_shared_upstream_identity: true}");
    assert!(load_two(&danger).is_ok());
    // One family is fine as it is.
    assert!(load_with("listen", "listen").is_ok());
}

#[test]
fn groups_are_without_gaps_and_overlaps() {
    let group = |rest: &str| format!("      credentials:\n        - {rest}\n");
    for (upstream, wanted) in [
        (group("{none: true}"), "a group of `credentials` names its `tools`"),
        (
            group("{tools: [absent], none: true}"),
            "the tool `absent` has a credential and no row",
        ),
        (
            group("{tools: [crm.read], none: true}\n        - {tools: [crm.read], none: true}"),
            "the tool `crm.read` has two credentials",
        ),
        (
            "      credential: {tools: [crm.read], none: true}\n".to_owned(),
            "tools stand in `credentials`",
        ),
        (
            group("{tools: [crm.read], none: true, value_file: secret.txt}"),
            "a credential is one of",
        ),
        (
            group("{tools: [crm.read], assertion: {audience: a}, exchange: {client_id: a}}"),
            "a credential is one of",
        ),
        (
            group("{tools: [crm.read], value_file: secret.txt}"),
            "needs the `header`",
        ),
        (
            group("{tools: [crm.read], assertion: {audience: a}, danger_shared_upstream_identity: true}"),
            "stands beside a secret",
        ),
        (
            group("{tools: [crm.read], assertion: {audience: \"\"}}"),
            "a statement for nobody",
        ),
        (
            group("{tools: [crm.read], assertion: {audience: a, lifetime: 500ms}}"),
            "expected whole seconds from 1s to 600s",
        ),
        (
            group("{tools: [crm.read], assertion: {audience: a, lifetime: 11m}}"),
            "expected whole seconds from 1s to 600s",
        ),
    ] {
        refused(&upstream, wanted);
    }
}

#[test]
fn an_exchange_says_where_as_whom_and_for_what() {
    let exchange =
        |members: &str| format!("      credentials:\n        - {{tools: [crm.read], exchange: {{{members}}}}}\n");
    let right = "client_id: gate, client_secret_file: secret.txt, resource: \"https://crm.example.test/mcp\"";
    assert!(load_two(&exchange(right)).is_ok());
    assert!(
        load_two(&exchange(&format!(
            "{right}, token_endpoint: \"https://login.example.test/t\""
        )))
        .is_ok()
    );
    for (members, wanted) in [
        (
            "client_id: gate, client_secret_file: secret.txt".to_owned(),
            "`exchange` needs `audience`, `resource` or both",
        ),
        (
            "client_id: gate, audience: crm".to_owned(),
            "`exchange` needs exactly one of",
        ),
        (
            format!("{right}, private_key_file: secret.txt"),
            "`exchange` needs exactly one of",
        ),
        (
            format!("{right}, issuer: \"https://logan.example.test\""),
            "did you mean `https://login.example.test`?",
        ),
        (
            format!("{right}, token_endpoint: \"http://login.example.test/t\""),
            "cannot be asked for tokens",
        ),
        (
            format!("{right}, token_endpoint: \"http://127.0.0.1/t\""),
            "cannot be asked for tokens",
        ),
        (format!("{right}, scopes: [\"a b\"]"), "`a b` is no scope"),
        (format!("{right}, scopes: []"), "asks for no scope for `crm.read`"),
    ] {
        refused(&exchange(&members), wanted);
    }
    refused(
        &format!("      credential: {{exchange: {{{right}}}}}\n"),
        "asks for no scope for calls that name no tool",
    );
    // What could only fail on each call.
    let load_with_issuer = |issuer: &str, upstream: &str| {
        let text = super::RIGHT.replacen(
            "servers:\n",
            &format!("  - issuer: https://other.example.test\n{issuer}servers:\n"),
            1,
        );
        super::load_text(&text.replacen(CREDENTIAL, upstream, 1))
    };
    let other = format!("{right}, issuer: \"https://other.example.test\"");
    let fault = load_with_issuer("", &exchange(&other)).map(|_| ()).unwrap_err();
    assert!(
        fault.contains("the issuer `https://other.example.test` is not one of the server's"),
        "{fault}"
    );
    assert!(load_with_issuer("", &exchange(right)).is_ok());
    let agents = |identity: &str| {
        let text = super::RIGHT.replacen("    algorithms:", &format!("{identity}    algorithms:"), 1);
        let config = super::load_text(&text.replacen(CREDENTIAL, &exchange(right), 1)).unwrap();
        config.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>()
    };
    assert_eq!(agents("    identity: {form: human_claim, claim: human}\n"), ["W0901"]);
    assert_eq!(agents(""), [""; 0]);
    assert!(load_two(&format!("      credential: {{exchange: {{{right}, scopes: [mcp]}}}}\n")).is_ok());
}

#[test]
fn only_harmless_fields_cross() {
    let crossing = |way: &str, name: &str| format!("{CREDENTIAL}      forward_headers: {{{way}: [{name}]}}\n");
    let load = |way: &str, name: &str| load_with(CREDENTIAL, &crossing(way, name)).map(|_| ());
    for name in ["traceparent", "Baggage", "x-request-id", "user-agent"] {
        load("request", name).unwrap();
        load("response", name).unwrap();
    }
    for name in [
        "authorization",
        "Authorization",
        "proxy-authorization",
        "cookie",
        "dpop",
        "host",
        "connection",
        "te",
        "transfer-encoding",
        "content-length",
        "content-type",
        "content-encoding",
        "mcp-name",
        "Mcp-Anything",
        "portcullis-record-id",
        "x-portcullis-subject",
        "traceparent_",
        "trace_parent",
        "forwarded",
        "x-forwarded-for",
        "X-Forwarded-Email",
        "x-auth-request-user",
        "remote-user",
        "x-ssl-client-verify",
        "client-cert",
        "\"a b\"",
        "\"\"",
    ] {
        let fault = load("request", name).unwrap_err();
        assert!(fault.contains("is no header that may cross"), "{name}: {fault}");
    }
    for name in [
        "set-cookie",
        "access-control-max-age",
        "cache-control",
        "content-type",
        "content-encoding",
        "transfer-encoding",
        "mcp-session-id",
        "portcullis-record-id",
        "www-authenticate",
        "access-control-allow-origin",
        "Strict-Transport-Security",
    ] {
        let fault = load("response", name).unwrap_err();
        assert!(fault.contains("is no header that may cross"), "{name}: {fault}");
    }
    // What carries a credential, or tells a client's certificate, is nobody else's.
    let own = "      credential: {header: x-key, value_file: secret.txt}\n      forward_headers: {request: [X-Key]}\n";
    assert!(load_with(CREDENTIAL, own).is_err());
    let hop =
        "trusted_hops:\n  - addresses: [10.0.0.0/8]\n    client_certificate: {header: x-cert, form: rfc9440}\nlimits:";
    let text = super::RIGHT.replacen(CREDENTIAL, &crossing("request", "x-cert"), 1);
    assert!(super::load_text(&text).is_ok());
    assert!(super::load_text(&text.replacen("limits:", hop, 1)).is_err());
}

#[test]
fn the_gate_is_an_issuer_with_a_url() {
    let asserting = CREDENTIAL.replace(
        "header: authorization, value_file: secret.txt",
        "assertion: {audience: a}",
    );
    let load = |issuer: &str| {
        let text = super::RIGHT.replacen(CREDENTIAL, &asserting, 1);
        super::load_text(&text.replacen("limits:", &format!("assertion_issuer: {issuer}\nlimits:"), 1))
    };
    assert!(load("https://gate.example.test").is_ok());
    assert!(load("https://gate.example.test/issuer").is_ok());
    for issuer in [
        "gate",
        "http://gate.example.test",
        "https://gate.example.test?x",
        "\"\"",
    ] {
        let fault = load(issuer).map(|_| ()).unwrap_err();
        assert!(fault.contains("is no URL of an issuer"), "{fault}");
    }
}
