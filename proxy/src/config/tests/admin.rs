//! The admin listener: on loopback, unless whoever writes it says otherwise.

use std::net::SocketAddr;

use super::{check, load_with};

fn admin(written: &str) -> Option<SocketAddr> {
    load_with("audit:", &format!("{written}\naudit:")).unwrap().admin
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
  = help: keys here: `address`, `danger_public`
"#,
    );
}
