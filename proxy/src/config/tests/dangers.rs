//! What a configuration is warned of: settings that weaken safety, and ways in for secrets of many.

use super::{RIGHT, load_text};

/// The configuration whose one credential has a label.
fn labelled() -> String {
    RIGHT.replacen("secret.txt}", "secret.txt, label: crm}", 1)
}

/// The warnings about `text`.
fn warnings(text: &str) -> Vec<String> {
    let config = load_text(text).unwrap();
    config.warnings.iter().map(|warning| warning.to_string()).collect()
}

/// The labelled configuration with one replacement gets one warning, of this code, that says this.
#[track_caller]
fn warned(from: &str, to: &str, code: &str, said: &str) -> String {
    let text = labelled().replacen(from, to, 1);
    assert_ne!(text, labelled(), "`{from}`");
    let told = warnings(&text);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with(&format!("warning[{code}")), "{told:?}");
    assert!(told[0].contains(said), "{told:?}");
    told[0].clone()
}

#[test]
fn a_plain_configuration_is_warned_of_nothing() {
    assert_eq!(warnings(&labelled()), [""; 0]);
    for (from, to) in [
        ("  body_deadline: 5s", "  token_lifetime_max: 24h"),
        ("    algorithms: [RS256, ES256]", "    danger_accept_any_jwt: false"),
        (
            "    algorithms: [RS256, ES256]",
            "    token_types: [JWT] # not danger_accept_any_jwt: true",
        ),
        ("9000/mcp", "9000/customer-relationship-management/2026-07-28/mcp"),
    ] {
        assert_eq!(warnings(&labelled().replacen(from, to, 1)), [""; 0], "{to}");
    }
}

#[test]
fn what_weakens_safety_is_told_in_one_line_each() {
    let issuer = "    algorithms: [RS256, ES256]";
    warned(
        issuer,
        "    danger_accept_any_jwt: true",
        "W0801 danger_set",
        "`danger_accept_any_jwt` is set: accepts tokens whose header `typ` is `JWT` or absent",
    );
    warned(
        issuer,
        "    danger_allow_private_addresses: true",
        "W0801 danger_set",
        "make the gate ask hosts of the inner network\n",
    );
    let secret = "    danger_shared_secret: {file: bearer.txt, subject: me}\n    tools:";
    let told = warnings(&labelled().replacen("    tools:", secret, 1)).join("\n");
    for said in [
        "warning[W0801 danger_set]: `danger_shared_secret` is set: a secret that stands for one caller in place of a token",
        // Whom it stands for may be named like somebody of the issuer.
        "warning[W0701 issuer_unread]: server `crm` trusts 1 issuer and a shared secret, and its policy never reads",
    ] {
        assert!(told.contains(said), "{told}");
    }
    warned(
        "      rows:",
        "      danger_unmapped_tools: true\n      rows:",
        "W0801 danger_set",
        "lets tools without a row through to the policy",
    );
    for (table, of) in [("prompts", "prompts"), ("resources", "resources")] {
        warned(
            "    policy:",
            &format!("    {table}: {{danger_unmapped_{of}: true}}\n    policy:"),
            "W0801 danger_set",
            &format!("lets {of} without a row through to the policy"),
        );
    }
    for written in [
        "danger_accept_any_jwt : true",
        "'danger_accept_any_jwt': true",
        "\"danger_accept_any_jwt\" : true",
    ] {
        warned(
            issuer,
            &format!("    {written}"),
            "W0801 danger_set",
            "`danger_accept_any_jwt` is set",
        );
    }
    let both = labelled().replacen(
        issuer,
        "    danger_accept_any_jwt: true\n    danger_ignore_group_overage: true",
        1,
    );
    assert_eq!(warnings(&both).len(), 2);
}

#[test]
fn ways_in_for_secrets_of_many_are_told() {
    let code = "W0802 shared_secret";
    warned(
        "  body_deadline: 5s",
        "  token_lifetime_max: 25h",
        code,
        "more than a day",
    );
    let issuer = "    algorithms: [RS256, ES256]";
    warned(issuer, "    token_lifetime_max: 25h", code, "more than a day");
    warned(", label: crm}", "}", code, "the upstream of server `crm` has no label");
    let key = "9f86d081884c7d659a2feaa0c55ad015";
    let told = warned(
        "9000/mcp",
        &format!("9000/{key}/mcp"),
        code,
        "server `crm` seems to hold a key",
    );
    assert!(!told.contains(key), "{told}");
}
