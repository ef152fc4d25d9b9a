//! The machines of a server, and the certificates that they are known by.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    SerialNumber,
};

use super::super::*;
use super::{POLICY, RIGHT};

const REPORTER: &str = "spiffe://prod.example/agents/reporter";
const ISSUER: &str = "https://login.example.test";

/// Loads the right configuration with these machines, after this change, beside the files of an authority.
fn load(machines: &str, from: &str, to: &str) -> Result<Config, String> {
    load_changed(machines, &[(from, to)])
}

fn load_changed(machines: &str, changes: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(["gate.test".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let tls = "  - address: 127.0.0.1:0\n    tls: {certificate: root.pem, key: root.key, client_ca: root.pem}\n";
    let mut text = RIGHT.replacen("  - address: 127.0.0.1:0\n", tls, 1).replacen(
        "    tools:",
        &format!("    machine_identities:\n{machines}    tools:"),
        1,
    );
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    for (name, text) in [
        ("gate.yaml", text),
        ("policy.rego", POLICY.to_owned()),
        ("secret.txt", "Bearer s3cret\n".to_owned()),
        ("root.pem", root.pem()),
        ("root.key", root.key().serialize_pem()),
        ("empty.txt", String::new()),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let loaded = super::super::load(&folder.path().join("gate.yaml"), Names::Skip, 1);
    loaded.map_err(|diagnostics| diagnostics.pretty())
}

fn rows(rows: &[&str]) -> Result<Config, String> {
    let rows: String = rows.iter().map(|row| format!("      - {{{row}}}\n")).collect();
    load(&rows, "listen", "listen")
}

#[test]
fn a_row_is_one_certificate_or_one_client() {
    let uri = format!("uri: \"{REPORTER}\", scopes: [a], groups: [b], roles: [c], kind: agent");
    let config = rows(&[
        &uri,
        "client: batch, scopes: [a]",
        &format!("client: other, issuer: \"{ISSUER}\""),
    ])
    .unwrap();
    let server = config.servers[0].build().unwrap();
    assert!(server.machines().knows_certificates());
    let issuers: Vec<&str> = server.machines().client_issuers().map(|url| &**url).collect();
    assert_eq!(issuers, [ISSUER]);
    let domains: Vec<&str> = server.machines().certificate_issuers().map(|url| &**url).collect();
    assert_eq!(domains, ["spiffe://prod.example"]);
    assert_eq!(config.trust_stores().len(), 1);

    let reporter = format!("uri: \"{REPORTER}\"");
    let cases: [(&[&str], &str); 15] = [
        (&["scopes: [a]"], "needs either `uri` or `client`"),
        (
            &[&format!("{reporter}, client: batch")],
            "needs either `uri` or `client`",
        ),
        (&["uri: reporter"], "is no absolute URI with an authority"),
        (
            &["uri: \"spiffe://prod.example/*\""],
            "no wildcard, query, fragment or user",
        ),
        (
            &["uri: \"https://login.example.test/a\""],
            "begins with the issuer `https://login.example.test`",
        ),
        (
            &[&format!("{reporter}, issuer: \"{ISSUER}\"")],
            "`issuer` goes with `client`",
        ),
        (&[&reporter, "client: batch", &reporter], "has two rows"),
        (&["client: batch", "client: batch, scopes: [a]"], "`batch` has two rows"),
        (
            &["client: batch", &format!("client: batch, issuer: \"{ISSUER}\"")],
            "`batch` has two rows",
        ),
        (&["client: \"\""], "`client` is empty"),
        (
            &["client: batch, issuer: \"https://login.example.tset\""],
            "did you mean `https://login.example.test`?",
        ),
        (&["client: batch, scopes: [\"a b\"]"], "is empty or more than one word"),
        (&["client: batch, roles: [\"\"]"], "is empty or more than one word"),
        (&["client: batch, kind: human"], "this is none of `agent`, `machine`"),
        (&["client: batch, scope: [a]"], "nearest: `scopes`"),
    ];
    for (written, fault) in cases {
        let told = rows(written).map(drop).unwrap_err();
        assert!(told.contains(fault) && told.contains("1 fault;"), "{written:?}: {told}");
    }
}

#[test]
fn a_client_of_a_server_with_several_issuers_names_its_own() {
    let second = ("issuers:\n", "issuers:\n  - issuer: https://second.example.test\n");
    let accepted = (
        "    issuers: [https://login.example.test]",
        "    issuers: [https://login.example.test, https://second.example.test]",
    );
    let with = |row: &str, changes: &[(&str, &str)]| load_changed(&format!("      - {{{row}}}\n"), changes).map(drop);
    let named = format!("client: batch, issuer: \"{ISSUER}\"");
    assert_eq!(with("client: batch", &[second]), Ok(()));
    assert_eq!(with(&named, &[second, accepted]), Ok(()));
    let told = with("client: batch", &[second, accepted]).unwrap_err();
    assert!(told.contains("whose client `batch` is cannot be told"), "{told}");
    assert!(
        told.contains("write `issuer` beside `client`, one of `https://login.example.test`, "),
        "{told}"
    );
    // Known to the gate, and not accepted by this server.
    let foreign = "client: batch, issuer: \"https://second.example.test\"";
    let told = with(foreign, &[second]).unwrap_err();
    assert!(
        told.contains("is not one of the server's") && told.contains("1 fault;"),
        "{told}"
    );
    assert_eq!(with(foreign, &[second, accepted]), Ok(()));
}

#[test]
fn certificates_are_verified_by_somebody_or_nobody_is_known_by_one() {
    let row = format!("      - {{uri: \"{REPORTER}\"}}\n");
    let tls = "    tls: {certificate: root.pem, key: root.key, client_ca: root.pem}\n";
    let hop = |told: &str| {
        format!(
            "trusted_hops:\n  - addresses: [10.0.0.0/8]\n    client_certificate: {{header: client-cert, {told}}}\nlimits:"
        )
    };
    let told = load(&row, tls, "").map(drop).unwrap_err();
    assert!(
        told.contains("no listener and no hop verifies certificates") && told.contains("1 fault;"),
        "{told}"
    );
    let told = load("      - {client: batch}\n", tls, "").map(drop);
    assert_eq!(told, Ok(()));
    assert!(load(&row, "limits:", &hop("form: rfc9440")).is_ok());
    let both = load(&row, "limits:", &hop("form: pem_url_encoded, client_ca: root.pem")).unwrap();
    assert_eq!(both.trust_stores().len(), 2);
    let optional = tls.replacen("client_ca", "client_certificates: optional, client_ca", 1);
    assert!(load(&row, tls, &optional).is_ok());

    let faults = [
        (
            "client_ca: root.pem",
            "client_crl: root.pem",
            "`client_crl` needs `client_ca`",
        ),
        (
            "client_ca: root.pem",
            "client_certificates: optional",
            "`client_certificates` needs `client_ca`",
        ),
        (
            "client_ca: root.pem",
            "client_ca: root.pem, client_crl: root.pem",
            "no readable certificate revocation list",
        ),
        (
            "client_ca: root.pem",
            "client_ca: root.pem, client_crl: empty.txt",
            "`empty.txt`: no readable certificate revocation list",
        ),
        (
            "client_ca: root.pem",
            "client_ca: root.pem, client_crl: absent.crl",
            "the file `absent.crl` cannot be read",
        ),
        (
            "client_ca: root.pem",
            "client_ca: empty.txt",
            "`empty.txt`: no readable certificate",
        ),
        (
            "client_ca: root.pem",
            "client_ca: root.pem, client_certificates: maybe",
            "this is none of `optional`, `required`",
        ),
    ];
    for (from, to, fault) in faults {
        let told = load("      - {client: batch}\n", from, to).map(drop).unwrap_err();
        assert!(told.contains(fault) && told.contains("1 fault;"), "{to}: {told}");
    }
    for (told, fault) in [
        ("form: sha256_hex, client_ca: root.pem", "a digest cannot be verified"),
        ("form: rfc9440, client_crl: root.pem", "`client_crl` needs `client_ca`"),
        (
            "form: rfc9440, client_ca: empty.txt",
            "`empty.txt`: no readable certificate",
        ),
    ] {
        let text = load(&row, "limits:", &hop(told)).map(drop).unwrap_err();
        assert!(text.contains(fault) && text.contains("1 fault;"), "{told}: {text}");
    }
}

/// The blocks of the page about machines load as they stand there.
#[test]
fn every_block_about_machines_loads() {
    const PAGE: &str = include_str!("../../../../docs/machines.md");
    let blocks = |language: &str| -> Vec<&str> {
        let fence = format!("```{language}\n");
        let rests = PAGE.split(fence.as_str()).skip(1);
        rests.map(|rest| rest.split_once("```").unwrap().0).collect()
    };
    let ([server, hops], [policy]) = (&blocks("yaml")[..], &blocks("rego")[..]) else {
        panic!("the page has other blocks");
    };
    let rest = "    path: /crm/mcp
    upstream: {url: \"http://127.0.0.1:9000/mcp\"}
    tools: {rows: {crm.read: {scopes: [\"crm:read\"]}}}
    policy: {files: [request.rego, response.rego]}
";
    let state = "audit: {directory: audit}\nstate_dir: state\nrevocation_file: revoked.jsonl\n";
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tls")).unwrap();
    let mut params = CertificateParams::new(["gate.test".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2_020, 1, 1),
        next_update: rcgen::date_time_ymd(2_100, 1, 1),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let (_, response) = POLICY.split_once("response.decision").unwrap();
    for (name, text) in [
        ("tls/chain.pem", root.pem()),
        ("tls/clients.pem", root.pem()),
        ("tls/key.pem", root.key().serialize_pem()),
        ("tls/clients.crl", list.signed_by(&root).unwrap().pem().unwrap()),
        ("request.rego", (*policy).to_owned()),
        (
            "response.rego",
            format!("package portcullis.response\n\ndecision{response}"),
        ),
        ("gate.yaml", format!("{server}{rest}{state}{hops}")),
        (
            "wrong.yaml",
            format!("{}{rest}{state}{hops}", server.replacen("uri:", "url:", 1)),
        ),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let load = |name: &str| super::super::load(&folder.path().join(name), Names::Skip, 1);
    let config = load("gate.yaml").unwrap_or_else(|diagnostics| panic!("{}", diagnostics.pretty()));
    assert_eq!(config.trust_stores().len(), 2);
    assert!(load("wrong.yaml").is_err(), "the check can fail");
}
