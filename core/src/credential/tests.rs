//! Where a token is found, and where it is not looked for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{BearerToken, Credential, Proof, find, names_dpop, names_secret};
use crate::denial::DenyReason;
use crate::head::RequestHead;

fn check(fields: &[(&str, &[u8])], has_query: bool, expected: Result<&str, DenyReason>) {
    with_head(fields, has_query, |head| {
        let found = match find(head, &[]) {
            Ok(Credential::Bearer(token)) => Ok(token.as_str()),
            Ok(Credential::Dpop { .. }) => panic!("{fields:?} came with a proof"),
            Ok(Credential::ClientCertificate(_)) => panic!("a certificate is no token"),
            Err(denial) => Err(denial.reason),
        };
        assert_eq!(found, expected, "{fields:?} {has_query}");
    });
}

/// Runs `test` on a head with these fields.
fn with_head(fields: &[(&str, &[u8])], has_query: bool, test: impl FnOnce(&RequestHead<'_>)) {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value).unwrap(),
        );
    }
    test(&RequestHead {
        method: &Method::POST,
        path: "/mcp",
        query: has_query.then_some(""),
        host: "gate.example",
        headers: &headers,
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        certificate: None,
    });
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
        b"DPoP",
        b"DPoP ",
        b"DPoP a b",
        b"DPoPa.b.c",
        b"DPoP2 a.b.c",
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
        "dpop",
    ] {
        check(&[(name, b"Bearer a.b.c")], false, Err(DenyReason::CredentialMissing));
    }
}

#[test]
fn an_api_key_is_refused_beside_a_token_too() {
    let good: (&str, &[u8]) = ("authorization", b"Bearer a.b.c");
    for name in [
        "X-API-Key",
        "api-key",
        "apikey",
        "x-apikey",
        "x_api_key",
        "x-auth-token",
        "X-Access-Token",
        "x-auth-key",
        "x-goog-api-key",
        "Ocp-Apim-Subscription-Key",
    ] {
        for value in [&b"secret"[..], b"", b"\xff"] {
            check(&[(name, value)], false, Err(DenyReason::ApiKeyPresent));
            check(&[good, (name, value)], false, Err(DenyReason::ApiKeyPresent));
        }
    }
    for name in [
        "x-api-version",
        "x-request-id",
        "x-apikeys",
        "idempotency-key",
        "mcp-param-key",
    ] {
        check(&[good, (name, b"secret")], false, Ok("a.b.c"));
    }
}

#[test]
fn a_query_holds_listed_names_alone_and_each_once() {
    let names: [Arc<str>; 2] = ["lang".into(), "v.1".into()];
    let fields: [(&str, &[u8]); 1] = [("authorization", b"Bearer a.b.c")];
    let found = |query: &str, names: &[Arc<str>]| {
        let mut found = None;
        with_head(&fields, false, |head| {
            let head = RequestHead {
                query: Some(query),
                ..*head
            };
            found = Some(find(&head, names).map(|_| ()).map_err(|denial| denial.reason));
        });
        found.unwrap()
    };
    for query in [
        "lang=de",
        "lang",
        "lang=",
        "v.1=a=b?c",
        "lang=de&v.1=2",
        "v.1&lang=%26token%3Da",
    ] {
        assert_eq!(found(query, &names), Ok(()), "{query}");
        assert_eq!(found(query, &[]), Err(DenyReason::QueryPresent), "{query}");
    }
    for query in [
        "",
        "&",
        "=",
        "=de",
        "lang=de&",
        "&lang=de",
        "lang=de&lang=de",
        "lang&v.1&lang",
        "lang=de&access_token=a",
        "Lang=de",
        "lan",
        "langs=de",
        "v21=2",
        "%6cang=de",
        "lang%3Dde",
        "lang;v.1=2",
        "lang+=de",
    ] {
        assert_eq!(found(query, &names), Err(DenyReason::QueryPresent), "{query}");
    }
}

#[test]
fn names_of_credentials_are_known_in_any_spelling() {
    for name in [
        "access_token",
        "Access-Token",
        "accesstoken",
        "id_token",
        "token",
        "api_key",
        "API-KEY",
        "apikey",
        "x.api.key",
        "key",
        "subscription-key",
        "secret",
        "client_secret",
        "password",
        "passwd",
        "pwd",
        "sig",
        "X-Amz-Signature",
        "code",
        "auth",
        "Authorization",
        "jwt",
        "client_assertion",
        "sid",
        "t_o_k_e_n",
    ] {
        assert!(names_secret(name), "{name}");
    }
    for name in [
        "lang", "version", "author", "region", "encoding", "page", "design", "v.1", "format",
    ] {
        assert!(!names_secret(name), "{name}");
    }
}

#[test]
fn the_scheme_dpop_comes_with_one_proof() {
    let name = "authorization";
    let found = |fields: &[(&str, &[u8])]| {
        let mut found = None;
        with_head(fields, false, |head| {
            found = Some(match find(head, &[]) {
                Ok(credential @ Credential::Dpop { .. }) => Ok((
                    credential.token().unwrap().as_str().to_owned(),
                    credential.proof().unwrap().as_str().to_owned(),
                )),
                Ok(_) => panic!("{fields:?} came without a proof"),
                Err(denial) => Err(denial.reason),
            });
        });
        found.unwrap()
    };
    for scheme in ["DPoP a.b.c", "dpop a.b.c", "DPOP   a.b.c"] {
        let scheme = scheme.as_bytes();
        let one: [(&str, &[u8]); 2] = [(name, scheme), ("DPoP", b" e.y.J\t")];
        assert_eq!(found(&one), Ok(("a.b.c".to_owned(), "e.y.J".to_owned())));
        let invalid = Err(DenyReason::DpopProofInvalid);
        assert_eq!(found(&[(name, scheme)]), invalid);
        assert_eq!(
            found(&[(name, scheme), ("DPoP", b"e.y.J"), ("DPoP", b"e.y.J")]),
            invalid
        );
        assert_eq!(found(&[(name, scheme), ("dpop", b"e.y.\xc3\xa9")]), invalid);
        let twice: [(&str, &[u8]); 3] = [(name, scheme), (name, b"Bearer a.b.c"), ("DPoP", b"e.y.J")];
        assert_eq!(found(&twice), Err(DenyReason::CredentialRepeated));
        let elsewhere: [(&str, &[u8]); 2] = [(name, scheme), ("x-dpop", b"e.y.J")];
        assert_eq!(found(&elsewhere), invalid);
    }
}

#[test]
fn a_client_that_names_the_scheme_is_known_by_it() {
    let name = "authorization";
    for (fields, expected) in [
        (vec![(name, &b"DPoP a.b.c"[..])], true),
        (vec![(name, b"dpop")], true),
        (vec![(name, b"Bearer a.b.c"), (name, b"DPoP a.b.c")], true),
        (vec![(name, b"Bearer DPoP")], false),
        (vec![(name, b"DPoPx a")], false),
        (vec![("dpop", b"DPoP a")], false),
        (vec![], false),
    ] {
        with_head(&fields, false, |head| {
            assert_eq!(names_dpop(head), expected, "{fields:?}")
        });
    }
}

#[test]
fn neither_token_nor_proof_is_printed() {
    let (token, proof) = (BearerToken::parse("secret").unwrap(), Proof::of("secret"));
    for credential in [Credential::Bearer(token), Credential::Dpop { token, proof }] {
        assert!(!format!("{token:?} {proof:?} {credential:?}").contains("secret"));
    }
}
