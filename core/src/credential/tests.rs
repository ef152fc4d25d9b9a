//! Where a token is found, and where it is not looked for.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{BearerToken, Credential, find};
use crate::denial::DenyReason;
use crate::head::RequestHead;

fn check(fields: &[(&str, &[u8])], has_query: bool, expected: Result<&str, DenyReason>) {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value).unwrap(),
        );
    }
    let head = RequestHead {
        method: &Method::POST,
        path: "/mcp",
        has_query,
        host: "gate.example",
        headers: &headers,
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        client_cert_sha256: None,
    };
    let found = match find(&head) {
        Ok(Credential::Bearer(token)) => Ok(token.as_str()),
        Err(denial) => Err(denial.reason),
    };
    assert_eq!(found, expected, "{fields:?} {has_query}");
}

#[test]
fn one_bearer_token_is_found() {
    let name = "authorization";
    for (value, token) in [
        ("Bearer a.b.c", "a.b.c"),
        ("bearer a.b.c", "a.b.c"),
        ("BEARER a.b.c", "a.b.c"),
        ("Bearer   a.b.c", "a.b.c"),
        (" Bearer a.b.c\t", "a.b.c"),
        ("Bearer aZ0-._~+/==", "aZ0-._~+/=="),
    ] {
        check(&[(name, value.as_bytes())], false, Ok(token));
        check(&[(name, value.as_bytes())], true, Err(DenyReason::QueryPresent));
        let twice = [(name, value.as_bytes()), (name, value.as_bytes())];
        check(&twice, false, Err(DenyReason::CredentialRepeated));
        let beside: [(&str, &[u8]); 2] = [(name, value.as_bytes()), ("DPoP", b"e.y.J")];
        check(&beside, false, Err(DenyReason::CredentialRepeated));
    }
}

#[test]
fn other_schemes_and_values_are_refused() {
    for value in [
        &b""[..],
        b"Bearer",
        b"Bearer ",
        b"Bearer   ",
        b"Bearer\ta.b.c",
        b"Bearer =",
        b"Bearer a=b",
        b"Bearer a b",
        b"Bearer a.b.c, Bearer d.e.f",
        b"Bearer token=\"a.b.c\"",
        b"Bearer a.b.\xc3\xa9",
        b"Bearera.b.c",
        b"Bearer: a.b.c",
        b"Basic dXNlcjpwYXNz",
        b"DPoP a.b.c",
        b"Digest username=\"x\"",
        b"a.b.c",
    ] {
        check(&[("authorization", value)], false, Err(DenyReason::CredentialScheme));
    }
}

#[test]
fn no_other_field_carries_a_credential() {
    check(&[], false, Err(DenyReason::CredentialMissing));
    check(&[], true, Err(DenyReason::QueryPresent));
    for name in [
        "proxy-authorization",
        "x-authorization",
        "x-forwarded-authorization",
        "cookie",
        "x-api-key",
        "dpop",
    ] {
        check(&[(name, b"Bearer a.b.c")], false, Err(DenyReason::CredentialMissing));
    }
}

#[test]
fn a_token_is_not_printed() {
    let token = BearerToken::parse("secret").unwrap();
    assert!(!format!("{token:?} {:?}", Credential::Bearer(token)).contains("secret"));
}
