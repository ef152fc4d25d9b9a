//! The admin listener: on loopback, unless whoever writes it says otherwise.

use std::net::SocketAddr;

use super::super::{ControlPlace, ControlPlan};
use super::{check, load_with};

fn admin(written: &str) -> Option<SocketAddr> {
    load_with("audit:", &format!("{written}\naudit:"))
        .unwrap()
        .operators
        .pages
}

#[test]
fn an_address_on_loopback_is_taken_and_any_other_when_it_is_waived() {
    let on = |address: &str| Some(address.parse().unwrap());
    assert_eq!(admin(""), None);
    assert_eq!(admin("admin: {address: 127.0.0.1:9901}"), on("127.0.0.1:9901"));
    assert_eq!(admin("admin: {address: 127.255.255.254:0}"), on("127.255.255.254:0"));
    assert_eq!(admin("admin: {address: \"[::1]:9901\"}"), on("[::1]:9901"));
    assert_eq!(
        admin("admin: {address: 0.0.0.0:9901, danger_public: true}"),
        on("0.0.0.0:9901")
    );
    let refused = |address: &str| {
        let told = load_with("audit:", &format!("admin: {{address: \"{address}\"}}\naudit:")).unwrap_err();
        assert!(told.contains("is not on loopback"), "{told}");
    };
    for address in [
        "0.0.0.0:9901",
        "126.255.255.255:9901",
        "128.0.0.1:9901",
        "192.0.2.1:0",
        "[::]:9901",
        "[::2]:9901",
        "[::ffff:192.0.2.1]:9901",
    ] {
        refused(address);
    }
}

#[test]
fn what_is_wrong_with_it_is_told_with_what_helps() {
    check(
        "audit:",
        "admin:\n  address: 10.0.0.1:9901\naudit:",
        r#"
error[E0601 listener_invalid]: the admin address `10.0.0.1:9901` is not on loopback, and the listener asks for no token
  --> gate.yaml:4:12
   |
 4 |   address: 10.0.0.1:9901
   |            ^
  = help: listen on loopback and put what authenticates its callers in front of it, or set `danger_public: true` here
"#,
    );
    check(
        "audit:",
        "admin:\n  address: localhost:9901\naudit:",
        r#"
error[E0601 listener_invalid]: `localhost:9901` is no IP address with a port
  --> gate.yaml:4:12
   |
 4 |   address: localhost:9901
   |            ^
  = help: write it like `127.0.0.1:9901` or `[::1]:0`
"#,
    );
    check(
        "audit:",
        "admin:\n  adress: 127.0.0.1:9901\naudit:",
        r#"
error[E0101 unknown_key]: unknown key `adress`
  --> gate.yaml:4:3
   |
 4 |   adress: 127.0.0.1:9901
   |   ^^^^^^
  = nearest: `address`
  = help: keys here: `address`, `control`, `danger_public`
"#,
    );
}

/// The control plane of this configuration.
fn control(written: &str) -> Result<ControlPlan, String> {
    let text = format!("state_dir: state\nadmin: {{control: {written}}}\naudit:");
    load_with("audit:", &text).map(|config| config.operators.control.unwrap())
}

#[test]
fn the_control_plane_knows_who_acts_or_is_refused() {
    assert!(matches!(
        control("{unix: control.sock}").unwrap().place,
        ControlPlace::Unix(_)
    ));
    let bearer = "tokens: [{name: ops, file: bearer.txt}]";
    let over_tcp = control(&format!("{{address: 127.0.0.1:0, {bearer}}}")).unwrap();
    assert_eq!(&*over_tcp.tokens[0].name, "ops");
    let refused = |written: &str, told: &str| {
        let text = control(written).unwrap_err();
        assert!(text.contains(told), "{written}: {text}");
    };
    refused("{address: 127.0.0.1:0}", "nobody is named who may act");
    refused(
        &format!("{{address: 0.0.0.0:9902, {bearer}}}"),
        "a bearer would travel in the clear",
    );
    refused(
        &format!("{{unix: control.sock, {bearer}}}"),
        "the system tells who acts",
    );
    refused(
        &format!("{{unix: control.sock, address: 127.0.0.1:0, {bearer}}}"),
        "either `unix` or `address`",
    );
    refused("{}", "either `unix` or `address`");
    refused(
        "{address: 127.0.0.1:0, tokens: [{name: ops, file: secret.txt}]}",
        "shorter than 32 bytes",
    );
    refused(
        "{address: 127.0.0.1:0, tokens: [{name: ops, file: absent.txt}]}",
        "cannot be read",
    );
    let twice = "tokens: [{name: ops, file: bearer.txt}, {name: ops, file: bearer.txt}]";
    refused(
        &format!("{{address: 127.0.0.1:0, {twice}}}"),
        "the token `ops` stands twice",
    );
    refused(
        "{address: 127.0.0.1:0, tls: {certificate: empty.txt, key: empty.txt}}",
        "no readable certificate",
    );
    let text = load_with("audit:", "admin: {}\naudit:").unwrap_err();
    assert!(text.contains("`admin` needs `address`, `control` or both"), "{text}");
}

#[test]
fn revocations_need_a_way_in_and_a_place_to_stay() {
    let loads = |top: &str, mode: &str| {
        let written = format!("    revocation: {mode}\n    algorithms: [RS256, ES256]");
        let text = super::RIGHT.replacen("audit:", &format!("{top}audit:"), 1);
        super::load_text(&text.replacen("    algorithms: [RS256, ES256]", &written, 1)).map(drop)
    };
    let file = "revocation_file: revoked.jsonl\n";
    let state = "state_dir: state\n";
    let unix = "admin: {control: {unix: control.sock}}\n";
    assert_eq!(loads("", "none"), Ok(()));
    assert_eq!(loads(&format!("{state}{file}"), "feed"), Ok(()));
    assert_eq!(loads(&format!("{state}{unix}"), "feed"), Ok(()));
    let refused = |top: &str, mode: &str, told: &str| {
        let text = loads(top, mode).unwrap_err();
        assert!(text.contains(told), "{top} {mode}: {text}");
    };
    refused(state, "feed", "has no way in");
    refused(file, "none", "revocations need `state_dir`");
    refused(unix, "none", "revocations need `state_dir`");
    refused("", "introspect", "needs `introspection`");
    refused("", "often", "this is none of `feed`, `introspect`, `none`");
}
