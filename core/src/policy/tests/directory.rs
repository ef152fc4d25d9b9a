//! Rows of the policy's data: who has one, and which are none.

use super::*;

const ISSUER: &str = "https://issuer.example";

fn compiled(data: &str) -> Policy {
    let mut source = allowing("allow := true");
    source.data[0].text = data.to_owned();
    Policy::compile(&source, 1).unwrap()
}

/// A policy over one row.
fn with_row(row: &str) -> Policy {
    compiled(&format!(
        r#"{{"subjects": {{"acme": {{"{ISSUER}": {{"alice": {row}}}}}}}}}"#
    ))
}

#[test]
fn a_row_is_found_by_tenant_issuer_and_id_alone() {
    let row = r#"{"groups": ["sales", "emea"], "roles": ["analyst"], "accounts": [1]}"#;
    let policy = compiled(&format!(
        r#"{{"subjects": {{"acme": {{"{ISSUER}": {{"alice": {row}}}}}}}, "agents": {{"acme": {{"{ISSUER}": {{"agent-1": {row}}}}}}}}}"#
    ));
    let directory = policy.directory();
    let found = directory.subject("acme", ISSUER, "alice").unwrap();
    assert_eq!(
        (found.groups.join(" "), found.roles.join(" ")),
        ("sales emea".to_owned(), "analyst".to_owned())
    );
    assert_eq!(directory.agent("acme", ISSUER, "agent-1"), Some(found));
    assert!(directory.lists_agents());
    for (tenant, issuer, id) in [
        ("umbrella", ISSUER, "alice"),
        ("acme", "https://issuer.example/", "alice"),
        ("acme", ISSUER, "Alice"),
        ("acme", ISSUER, "agent-1"),
        ("acme", ISSUER, ""),
    ] {
        assert_eq!(directory.subject(tenant, issuer, id), None, "{tenant} {issuer} {id}");
    }
    assert_eq!(directory.agent("acme", ISSUER, "alice"), None);
}

#[test]
fn a_row_that_is_not_whole_is_none() {
    for (row, whole) in [
        (r#"{"groups": [], "roles": []}"#, true),
        (r#"{"groups": []}"#, false),
        (r#"{"roles": []}"#, false),
        (r#"{"groups": "sales", "roles": []}"#, false),
        (r#"{"groups": ["sales", 1], "roles": []}"#, false),
        (r#"{"groups": [], "roles": {"analyst": true}}"#, false),
        (r#"{"groups": [], "roles": null}"#, false),
        ("[]", false),
        ("null", false),
    ] {
        let found = with_row(row).directory().subject("acme", ISSUER, "alice").is_some();
        assert_eq!(found, whole, "{row}");
    }
}

/// A table that is none lists nobody; that of agents is there all the same, and then knows nobody who acts.
#[test]
fn a_table_of_another_form_lists_nobody() {
    assert!(!compiled("{}").directory().lists_agents());
    for table in [
        "[]",
        "null",
        r#"{"acme": []}"#,
        r#"{"https://issuer.example": {"alice": {"groups": [], "roles": []}}}"#,
    ] {
        let policy = compiled(&format!(r#"{{"subjects": {table}, "agents": {table}}}"#));
        let directory = policy.directory();
        assert_eq!(directory.subject("acme", ISSUER, "alice"), None, "{table}");
        assert!(directory.lists_agents(), "{table}");
        assert_eq!(directory.agent("acme", ISSUER, "alice"), None, "{table}");
    }
}
