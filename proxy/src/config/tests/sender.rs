//! What may be asked of senders, and who may tell a client's certificate.

use super::{check, load_with};
use crate::ingress::Family;

const HOPS: &str = "trusted_hops:
  - addresses: [10.0.0.0/8, 192.0.2.7]
    client_certificate: {header: client-cert, form: rfc9440}
  - addresses: [\"fd00::/8\"]
    client_certificate: {header: X-SSL-Cert, form: pem_url_encoded}
limits:";

#[test]
fn senders_are_asked_for_nothing_more_unless_it_is_written() {
    let asked = |line: &str| {
        let config = load_with("    tools:", &format!("{line}    tools:")).unwrap();
        let rules = config.servers[0].build().unwrap().sender();
        (rules.dpop_required, rules.dpop_nonce)
    };
    assert_eq!(asked(""), (false, false));
    assert_eq!(asked("    dpop: {}\n"), (false, false));
    assert_eq!(asked("    dpop: {required: true}\n"), (true, false));
    assert_eq!(asked("    dpop: {required: true, nonce: true}\n"), (true, true));
    let limits = load_with("  body_deadline: 5s", "  dpop_age_max: 1m\n  dpop_proofs_max: 7")
        .unwrap()
        .limits;
    assert_eq!((limits.dpop_age_max.as_secs(), limits.dpop_proofs_max), (60, 7));
    check(
        "  body_deadline: 5s",
        "  dpop_age_max: 2h",
        r#"
error[E0105 invalid_value]: expected a time from 1ms to 3600s
  --> gate.yaml:22:17
    |
 22 |   dpop_age_max: 2h
    |                 ^
"#,
    );
    check(
        "    tools:",
        "    dpop: {require: true}\n    tools:",
        r#"
error[E0101 unknown_key]: unknown key `require`
  --> gate.yaml:16:12
    |
 16 |     dpop: {require: true}
    |            ^^^^^^^
  = nearest: `required`
  = help: keys here: `required`, `nonce`
"#,
    );
}

#[test]
fn hops_are_networks_that_somebody_owns() {
    assert!(!load_with("listen", "listen").unwrap().trusted_hops.tell_certificates());
    assert!(load_with("limits:", HOPS).unwrap().trusted_hops.tell_certificates());
    let faulty = |from: &str, to: &str, fault: &str| {
        let hops = HOPS.replacen(from, to, 1);
        assert_ne!(hops, HOPS, "{from}");
        let told = load_with("limits:", &hops).map(|_| ()).unwrap_err();
        assert!(told.contains(fault) && told.contains("1 fault;"), "{to}: {told}");
    };
    for everybody in ["0.0.0.0/0", "\"::/0\""] {
        faulty(
            "192.0.2.7",
            everybody,
            "is everybody: anybody could say to be any client",
        );
    }
    for none in [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0",
        "gate.example",
        "\"\"",
        "fe80::1%eth0",
    ] {
        faulty("192.0.2.7", none, "is no network");
    }
    for shared in ["10.0.0.0/8", "10.1.0.0/16", "10.0.0.7", "8.0.0.0/5"] {
        faulty("192.0.2.7", shared, "E0406 repeated");
        faulty("\"fd00::/8\"", shared, "overlaps another one of the trusted hops");
    }
    faulty("[\"fd00::/8\"]", "[]", "a trusted hop without `addresses` is nobody");
    for taken in ["authorization", "DPoP", "host", "mcp-name", "\"\"", "\"a b\""] {
        faulty(
            "client-cert,",
            &format!("{taken},"),
            "is no header that can tell a certificate",
        );
    }
    faulty(
        "form: rfc9440",
        "form: xfcc",
        "this is none of `pem_url_encoded`, `rfc9440`, `sha256_hex`",
    );
    faulty("header: client-cert, ", "", "E0102 missing_key");
}

#[test]
fn proxies_are_networks_that_somebody_owns() {
    let with = |addresses: &str, fields: &str| {
        let text = format!("trusted_proxies: {{addresses: {addresses}{fields}}}\nlimits:");
        load_with("limits:", &text)
    };
    let proxies = |written: &str| with(written, ", fields: x_forwarded");
    assert!(load_with("listen", "listen").unwrap().trusted_hops.proxies().is_none());
    let config = proxies("[10.0.0.0/8, 192.0.2.7, \"fd00::/8\"]").unwrap();
    let told = config.trusted_hops.proxies().unwrap();
    let known: Vec<String> = told.networks.iter().map(ToString::to_string).collect();
    assert_eq!(known, ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]);
    assert_eq!(told.family, Family::XForwarded);
    assert!(!config.trusted_hops.tell_certificates());
    let standard = with("[10.0.0.0/8]", ", fields: forwarded").unwrap();
    assert_eq!(standard.trusted_hops.proxies().unwrap().family, Family::Forwarded);
    for (written, fault) in [
        (
            "[0.0.0.0/0]",
            "`0.0.0.0/0` is everybody: anybody could say to be any client",
        ),
        ("[\"::/0\"]", "is everybody"),
        ("[10.0.0.1/8]", "`10.0.0.1/8` is no network"),
        ("[balancer.example]", "is no network"),
        ("[\"\"]", "is no network"),
        ("[]", "`trusted_proxies` without `addresses` are nobody"),
    ] {
        let told = proxies(written).map(|_| ()).unwrap_err();
        assert!(told.contains(fault) && told.contains("1 fault;"), "{written}: {told}");
    }
    // Which family they set is nobody's guess.
    for (fields, fault) in [
        ("", "E0102 missing_key"),
        (", fields: both", "this is none of `forwarded`, `x_forwarded`"),
        (", fields: [forwarded, x_forwarded]", "error[E"),
    ] {
        let told = with("[10.0.0.0/8]", fields).map(|_| ()).unwrap_err();
        assert!(told.contains(fault), "{fields}: {told}");
    }
    check(
        "limits:",
        "trusted_proxies: {fields: forwarded, addresses: [10.0.0.0/8, 10.0.0]}\nlimits:",
        r#"
error[E0105 invalid_value]: `10.0.0` is no network
  --> gate.yaml:21:62
    |
 21 | trusted_proxies: {fields: forwarded, addresses: [10.0.0.0/8, 10.0.0]}
    |                                                              ^
  = help: write it like `10.0.0.0/8`, `fd00::/8` or `192.0.2.7`, without bits behind the prefix
"#,
    );
}
