//! Issuers and listeners that cannot be used.

use super::check;

#[test]
fn issuers_and_listeners_that_cannot_be_used_are_named() {
    check(
        "RS256",
        "rs256",
        r#"
error[E0301 issuer_invalid]: `rs256` is no accepted signature algorithm
  --> gate.yaml:7:18
   |
 7 |     algorithms: [rs256, ES256]
   |                  ^
  = help: did you mean `RS256`?
"#,
    );
    check(
        "RS256",
        "HS256",
        r#"
error[E0301 issuer_invalid]: `HS256` is no accepted signature algorithm
  --> gate.yaml:7:18
   |
 7 |     algorithms: [HS256, ES256]
   |                  ^
  = help: it is a shared secret: whoever can verify with it can mint tokens with it
"#,
    );
    check(
        "    algorithms: [RS256, ES256]",
        "    identity: {form: listed_agents}",
        r#"
error[E0301 issuer_invalid]: form `listed_agents` needs a list `agents` and nothing else
  --> gate.yaml:7:22
   |
 7 |     identity: {form: listed_agents}
   |                      ^
"#,
    );
    check(
        "issuers: [https://login.example.test]",
        "issuers: [https://login.example.tset]",
        r#"
error[E0302 issuer_unknown]: the issuer `https://login.example.tset` is not in the list `issuers`
  --> gate.yaml:12:15
    |
 12 |     issuers: [https://login.example.tset]
    |               ^
  = help: did you mean `https://login.example.test`?
"#,
    );
    check(
        "policy.rego",
        "absent.rego",
        r#"
error[E0201 file_unreadable]: the file `absent.rego` cannot be read: No such file or directory (os error 2)
  --> gate.yaml:20:15
    |
 20 |       files: [absent.rego]
    |               ^
"#,
    );
    check(
        "127.0.0.1:0",
        "localhost:0",
        r#"
error[E0601 listener_invalid]: `localhost:0` is no IP address with a port
  --> gate.yaml:2:14
   |
 2 |   - address: localhost:0
   |              ^
  = help: write it like `127.0.0.1:8080`, `0.0.0.0:8443` or `[::1]:0`
"#,
    );
    check(
        "127.0.0.1:0",
        "127.0.0.1:0\n    tls: {certificate: empty.txt, key: empty.txt}",
        r#"
error[E0601 listener_invalid]: `empty.txt` holds no readable certificate
  --> gate.yaml:2:14
   |
 2 |   - address: 127.0.0.1:0
   |              ^
"#,
    );
}
