//! Tenants of issuers and servers, hosts that share a path, and policies that do not tell people apart.

use std::fs;

use super::super::*;
use super::{RIGHT, check, load_with};

/// A second server at the path of the first, with this resource and these hosts.
fn second(resource: &str, hosts: &str) -> String {
    format!(
        "  - name: files
    path: /crm/mcp
    resource: {resource}
    hosts: [{hosts}]
    issuers: [https://login.example.test]
    upstream: {{url: http://127.0.0.1:9001/mcp}}
    tools: {{rows: {{files.read: {{scopes: []}}}}}}
    policy: {{files: [policy.rego]}}
limits:
"
    )
}

#[test]
fn servers_at_one_path_have_hosts_of_their_own() {
    for (resource, hosts) in [
        ("https://files.example.test/crm/mcp", ""),
        ("https://files.example.test/crm/mcp", "files.example.test, 127.0.0.1"),
        // Another port is another authority (RFC 9110 section 7.2).
        ("https://gate.example.test:8443/crm/mcp", ""),
    ] {
        assert!(
            load_with("limits:\n", &second(resource, hosts)).is_ok(),
            "{resource} {hosts}"
        );
    }
    check(
        "limits:\n",
        &second("https://GATE.example.test/other", ""),
        r#"
error[E0406 repeated]: the servers `crm` and `files` share the path `/crm/mcp` and the host `gate.example.test`
  --> gate.yaml:23:15
    |
 23 |     resource: https://GATE.example.test/other
    |               ^
  = help: servers at one path need hosts of their own: that of `resource`, and those of `hosts`
"#,
    );
    check(
        "limits:\n",
        &second(
            "https://files.example.test/mcp",
            "files.example.test, Gate.example.test",
        ),
        r#"
error[E0406 repeated]: the servers `crm` and `files` share the path `/crm/mcp` and the host `Gate.example.test`
  --> gate.yaml:24:33
    |
 24 |     hosts: [files.example.test, Gate.example.test]
    |                                 ^
  = help: servers at one path need hosts of their own: that of `resource`, and those of `hosts`
"#,
    );
}

#[test]
fn two_tenants_do_not_take_the_same_tokens() {
    let load = |first: &str, second_tenant: &str, audiences: &str, issuer: &str| {
        let other = second("https://files.example.test/crm/mcp", "").replacen(
            "    resource:",
            &format!("{second_tenant}{audiences}    resource:"),
            1,
        );
        let text = RIGHT
            .replacen(
                "    path: /crm/mcp\n",
                &format!("{first}{audiences}    path: /crm/mcp\n"),
                1,
            )
            .replacen("    algorithms:", &format!("{issuer}    algorithms:"), 1)
            .replacen("limits:\n", &other, 1);
        super::load_text(&text)
    };
    let (acme, beta) = ("    tenant: acme\n", "    tenant: beta\n");
    let shared = "    audiences: [\"api://crm\"]\n";
    assert!(load(acme, beta, "", "").is_ok());
    assert!(load(acme, acme, shared, "").is_ok());
    assert!(load("", "", shared, "").is_ok());
    // The token says whose it is.
    assert!(load(acme, beta, shared, "    tenant_claim: org_id\n").is_ok());
    for second_tenant in [beta, ""] {
        let fault = load(acme, second_tenant, shared, "").unwrap_err();
        let said = "the servers `crm` and `files` are of two tenants and take the same tokens: those of \
                    `https://login.example.test` for `api://crm`";
        assert!(
            fault.starts_with("error[E0405 server_invalid]") && fault.contains(said),
            "{fault}"
        );
    }
}

#[test]
fn a_tenant_is_told_in_one_way_and_can_be_that_of_a_token() {
    const ISSUER: &str = "  - issuer: https://login.example.test\n";
    let issuer = |lines: &str| load_with(ISSUER, &format!("{ISSUER}{lines}"));
    for lines in [
        "    tenant: acme\n",
        "    tenant_claim: org_id\n",
        "    tenant_claim: /org/id\n",
        "    tenant_claim: https://example.test/tenant\n",
        &format!("    tenant: {}\n", "x".repeat(128)),
    ] {
        assert!(issuer(lines).is_ok(), "{lines}");
    }
    check(
        ISSUER,
        &format!("{ISSUER}    tenant: acme\n    tenant_claim: org_id\n"),
        r#"
error[E0301 issuer_invalid]: `tenant` and `tenant_claim` both say whose the tokens are, and only one can hold
  --> gate.yaml:8:19
   |
 8 |     tenant_claim: org_id
   |                   ^
"#,
    );
    for claim in ["sub", "aud", "email", "/org/name", "\"\"", "/", "/a~b"] {
        let fault = issuer(&format!("    tenant_claim: {claim}\n")).unwrap_err();
        assert!(fault.starts_with("error[E0301 issuer_invalid]: "), "{fault}");
        assert!(fault.contains("--> gate.yaml:7:19\n"), "{fault}");
    }
    for tenant in ["\"\"".to_owned(), "x".repeat(129)] {
        let fault = issuer(&format!("    tenant: {tenant}\n")).unwrap_err();
        let said = "error[E0301 issuer_invalid]: the issuer `https://login.example.test` has a tenant without a name, \
                    or with one of more than 128 bytes\n  --> gate.yaml:7:13\n";
        assert!(fault.starts_with(said), "{fault}");
        let fault = load_with(
            "    path: /crm/mcp\n",
            &format!("    tenant: {tenant}\n    path: /crm/mcp\n"),
        )
        .unwrap_err();
        let said = "error[E0405 server_invalid]: server `crm` has a tenant without a name, or with one of more than \
                    128 bytes\n  --> gate.yaml:10:13\n";
        assert!(fault.starts_with(said), "{fault}");
    }
}

#[test]
fn a_server_of_a_tenant_trusts_no_issuer_of_another() {
    let both = |issuers: &str| {
        let text = RIGHT.replacen("    algorithms:", &format!("    tenant: {issuers}\n    algorithms:"), 1);
        text.replacen("    path: /crm/mcp\n", "    tenant: acme\n    path: /crm/mcp\n", 1)
    };
    assert!(super::load_text(&both("acme")).is_ok());
    let fault = super::load_text(&both("Acme")).unwrap_err();
    let said = "error[E0405 server_invalid]: server `crm` serves the tenant `acme` alone, and every token of the issuer \
                `https://login.example.test` belongs to another\n  --> gate.yaml:11:13\n";
    assert!(fault.starts_with(said), "{fault}");
}

/// The warnings about a configuration with these issuers and tenant of the server, and this condition in its policy.
fn warnings(issuers: &[&str], tenant: Option<&str>, condition: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let names = (0..issuers.len()).map(|index| format!("https://login{index}.example.test"));
    let names: Vec<String> = names.collect();
    let listed = issuers.iter().zip(&names);
    let listed: String = listed
        .map(|(lines, name)| format!("  - issuer: {name}\n    {lines}\n"))
        .collect();
    let tenant = tenant.map_or(String::new(), |tenant| format!("    tenant: {tenant}\n"));
    let text = RIGHT
        .replacen(
            "  - issuer: https://login.example.test\n    algorithms: [RS256, ES256]\n",
            &listed,
            1,
        )
        .replacen(
            "[https://login.example.test]\n",
            &format!("[{}]\n{tenant}", names.join(", ")),
            1,
        );
    let text = text.replacen("secret.txt}", "secret.txt, label: crm}", 1);
    let config = folder.path().join("gate.yaml");
    fs::write(&config, text).unwrap();
    fs::write(folder.path().join("secret.txt"), "Bearer s3cret\n").unwrap();
    let policy = format!(
        r#"package portcullis

request.decision := {{"allow": true, "rule": "r", "reason": "r", "obligations": {{}}}} if {{ {condition} }}

response.decision := {{"allow": true, "rule": "r", "reason": "r", "obligations": {{}}}} if input.subject.issuer
"#
    );
    fs::write(folder.path().join("policy.rego"), policy).unwrap();
    let config = load(&config, Names::Skip, 1).unwrap_or_else(|faults| panic!("{}", faults.pretty()));
    let root = format!("{}/", folder.path().display());
    let texts: Vec<String> = config
        .warnings
        .iter()
        .map(|warning| warning.to_string().replace(&root, ""))
        .collect();
    texts.join("\n\n")
}

#[test]
fn a_policy_that_takes_two_for_one_is_warned_of() {
    const ROLE: &str = r#""admin" in input.subject.roles"#;
    const LISTED: &str = "data.subjects[input.tenant][input.subject.issuer][input.subject.id]";
    const BY_TENANT: &str = "data.subjects[input.tenant][input.subject.id]";
    const UNTOLD: &str = "algorithms: [RS256]";
    const ACME: &str = "tenant: acme";
    const OTHER: &str = "tenant: other";
    const CLAIM: &str = "tenant_claim: org_id";
    const NESTED: &str = "tenant_claim: /org/id";
    let (none, issuer, tenant): (&[&str], &[&str], &[&str]) = (&[], &["W0701"], &["W0702"]);
    for (issuers, server, condition, codes) in [
        (&[UNTOLD][..], None, ROLE, none),
        (&[ACME], None, ROLE, none),
        (&[UNTOLD, UNTOLD], None, ROLE, issuer),
        (&[UNTOLD, UNTOLD], Some("acme"), ROLE, issuer),
        (&[UNTOLD, UNTOLD], None, LISTED, none),
        (&[UNTOLD, UNTOLD], None, r#"input.subject.issuer == "x""#, none),
        (
            &[UNTOLD, UNTOLD],
            None,
            r#"object.get(input.subject, "issuer", "") == "x""#,
            none,
        ),
        (
            &[UNTOLD, UNTOLD],
            None,
            "some person in data.people; person == input.subject",
            none,
        ),
        (
            &[UNTOLD, UNTOLD],
            None,
            "some key; input.subject[key] == data.person[key]",
            none,
        ),
        (&[UNTOLD, UNTOLD], None, r#"input.subject.claims.iss == "x""#, none),
        (&[UNTOLD, UNTOLD], None, r#"input["subject"]["issuer"] == "x""#, none),
        (&[UNTOLD, UNTOLD], None, "data.people[json.marshal(input)]", none),
        // The issuer of the agent says nothing about the person.
        (&[UNTOLD, UNTOLD], None, r#"input.actor.issuer == "x""#, issuer),
        (&[UNTOLD, UNTOLD], None, BY_TENANT, issuer),
        // Each tenant has one issuer: to tell tenants apart is to tell people apart.
        (&[ACME, OTHER], None, BY_TENANT, none),
        (&[ACME, ACME], None, BY_TENANT, issuer),
        (&[ACME, CLAIM], None, BY_TENANT, issuer),
        (&[ACME, OTHER], None, ROLE, issuer),
        (&[CLAIM], None, ROLE, tenant),
        (&[CLAIM], None, r#"input.subject.issuer == "x""#, tenant),
        (&[CLAIM], Some("acme"), ROLE, none),
        (&[CLAIM], None, BY_TENANT, none),
        (&[CLAIM], None, r#"input.subject.claims.org_id == "x""#, none),
        (&[CLAIM], None, r#"input.subject.claims.org == "x""#, tenant),
        (&[NESTED], None, r#"input.subject.claims.org.id == "x""#, none),
        (&[NESTED], None, r#"input.subject.claims.org.name == "x""#, tenant),
        (&[UNTOLD, CLAIM], None, ROLE, &["W0701", "W0702"]),
    ] {
        let told = warnings(issuers, server, condition);
        let found: Vec<&str> = told
            .match_indices("warning[")
            .filter_map(|(at, _)| told.get(at + 8..at + 13))
            .collect();
        assert_eq!(found, codes, "{issuers:?} {server:?} {condition}\n{told}");
    }
    assert_eq!(
        warnings(&[UNTOLD, CLAIM], None, ROLE),
        r#"warning[W0701 issuer_unread]: server `crm` trusts 2 issuers, and its policy never reads `input.subject.issuer`: people of the same name at two of them are the same to it
  --> gate.yaml:22:7
    |
 22 |       files: [policy.rego]
    |       ^
  = help: look people up by tenant, issuer and subject: `data.subjects[input.tenant][input.subject.issuer][input.subject.id]`

warning[W0702 tenant_unread]: server `crm` serves every tenant that tokens of `https://login1.example.test` name, and its policy never reads `input.tenant`: people of all of them are the same to it
  --> gate.yaml:22:7
    |
 22 |       files: [policy.rego]
    |       ^
  = help: look people up by tenant, issuer and subject, or give the server a `tenant`: it then serves that one alone"#
    );
}
