//! The configuration on the pages of `docs/`: every block of it loads as it stands there.

use std::fs;

use super::super::*;
use super::POLICY;

const IDENTITY: &str = include_str!("../../../../docs/identity.md");
const ISSUERS: &str = include_str!("../../../../docs/issuers.md");
const UPSTREAM: &str = include_str!("../../../../docs/upstream-credentials.md");

/// What a block leaves out of its server.
const REST: &str = r#"    path: /crm/mcp
    upstream: {url: "http://127.0.0.1:9000/mcp"}
    tools: {rows: {crm.read: {scopes: ["crm:read"]}}}
    policy: {files: [policy.rego]}
"#;

/// The configuration that a block is a part of: its server, or one that accepts its first issuer, made whole.
fn whole(block: &str) -> String {
    let issuer = block.split_once("- issuer: ").unwrap().1.lines().next().unwrap();
    let server = match block.contains("\nservers:") {
        true => String::new(),
        false => format!(
            "servers:\n  - name: crm\n    resource: https://gate.example.com/crm/mcp\n    issuers: [\"{issuer}\"]\n"
        ),
    };
    format!("listen: [{{address: \"127.0.0.1:0\"}}]\naudit: {{directory: audit}}\n{block}{server}{REST}")
}

fn load_text(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.yaml");
    fs::write(&path, text).unwrap();
    fs::write(folder.path().join("policy.rego"), POLICY).unwrap();
    load(&path, Names::Skip, 1).map_err(|diagnostics| diagnostics.pretty())
}

fn blocks(page: &'static str) -> impl Iterator<Item = &'static str> {
    page.split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0)
}

#[test]
fn every_block_about_issuers_loads() {
    for block in blocks(ISSUERS).chain(blocks(IDENTITY)) {
        let text = whole(block);
        if let Err(fault) = load_text(&text) {
            panic!("{fault}\n{text}");
        }
        // The check can fail: a word that is none is found in each of them.
        assert!(load_text(&text.replacen("- issuer:", "- isuser:", 1)).is_err());
    }
    for profile in portcullis_core::token::Profile::all() {
        let line = format!("profile: {}\n", profile.name());
        assert!(blocks(ISSUERS).any(|block| block.contains(&line)), "{line}");
    }
}

/// The page about identity shows the forms, the marks and the origins of roles by their own words.
#[test]
fn the_page_about_identity_names_its_keys() {
    assert!(1 < blocks(IDENTITY).count());
    for word in [
        "act",
        "listed_agents",
        "human_claim",
        "roles_from",
        "token",
        "policy_data",
        "machine_mark",
        "may_act",
    ] {
        assert!(IDENTITY.contains(&format!("`{word}`")), "{word}");
    }
}

/// Every key of an issuer that a page may speak of, and every algorithm that is refused, is on the page.
#[test]
fn the_page_about_issuers_names_what_is_refused() {
    for refused in issuer::REFUSED_ALGORITHMS {
        assert!(ISSUERS.contains(&format!("`{}`", refused.name)), "{}", refused.name);
    }
    for algorithm in portcullis_core::Algorithm::ALL {
        assert!(ISSUERS.contains(algorithm.name()), "{}", algorithm.name());
    }
}

/// A block of the page about upstreams, as a part of a server's `upstream`.
fn upstream(block: &str) -> String {
    let lines: String = block.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "listen: [{{address: \"127.0.0.1:0\"}}]
audit: {{directory: audit}}
issuers: [{{issuer: \"https://login.example.com\"}}]
servers:
  - name: suite
    path: /mcp
    resource: https://gate.example.com/mcp
    issuers: [https://login.example.com]
    upstream:
      url: http://127.0.0.1:9000/mcp
{lines}    tools:
      rows:
        crm.read: {{scopes: [\"crm:read\"]}}
        crm.write: {{scopes: [\"crm:write\"]}}
        repo.read: {{scopes: [repo.read]}}
    policy: {{files: [policy.rego]}}
"
    )
}

#[test]
fn every_block_about_upstreams_loads() {
    let folder = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        let path = folder.path().join("gate.yaml");
        fs::write(&path, text).unwrap();
        load(&path, Names::Skip, 1).map_err(|diagnostics| diagnostics.pretty())
    };
    let secrets = folder.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    for name in ["all.txt", "crm.txt", "gate.txt", "repo.txt"] {
        fs::write(secrets.join(name), format!("Bearer {name}\n")).unwrap();
    }
    fs::write(
        secrets.join("gate.pem"),
        rcgen::KeyPair::generate().unwrap().serialize_pem(),
    )
    .unwrap();
    fs::write(folder.path().join("policy.rego"), POLICY).unwrap();
    let mut seen = 0;
    for block in blocks(UPSTREAM) {
        seen += 1;
        let text = upstream(block);
        if let Err(fault) = load(&text) {
            panic!("{fault}\n{text}");
        }
        assert!(load(&text.replacen("      url:", "      urll:", 1)).is_err());
    }
    assert_eq!(seen, 5);
    let (with, without) = ("  danger_shared_upstream_identity: true\n", "");
    let shared = blocks(UPSTREAM).find(|block| block.contains(with)).unwrap();
    let fault = load(&upstream(&shared.replacen(with, without, 1)))
        .map(|_| ())
        .unwrap_err();
    assert!(fault.contains("different scope families"), "{fault}");
}
