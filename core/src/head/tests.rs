use http::{HeaderMap, HeaderValue, Method};

use super::*;

fn with_head<T>(fields: &[(&'static str, &'static str)], test: impl FnOnce(&RequestHead<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    test(&RequestHead {
        method: &Method::POST,
        path: "/mcp",
        query: None,
        host: "gate.test",
        headers: &headers,
        client_ip: [127, 0, 0, 1].into(),
        certificate: None,
    })
}

#[test]
fn only_plain_json_is_read() {
    let check = |fields: &[(&'static str, &'static str)]| with_head(fields, |head| head.json_body().is_ok());
    assert!(check(&[("content-type", "application/json")]));
    assert!(check(&[("content-type", "application/JSON; charset=UTF-8")]));
    assert!(!check(&[]));
    assert!(!check(&[("content-type", "text/json")]));
    assert!(!check(&[("content-type", "application/json; charset=utf-16")]));
    assert!(!check(&[("content-type", "application/json; profile=x")]));
    assert!(!check(&[
        ("content-type", "application/json"),
        ("content-type", "application/json")
    ]));
    assert!(!check(&[
        ("content-type", "application/json"),
        ("content-encoding", "gzip")
    ]));
    assert!(!check(&[
        ("content-type", "application/json"),
        ("content-encoding", "identity")
    ]));
}

#[test]
fn both_forms_of_an_answer_must_be_accepted() {
    let check = |fields: &[(&'static str, &'static str)]| with_head(fields, |head| head.accepts_both().is_ok());
    assert!(check(&[]));
    assert!(check(&[("accept", "application/json, text/event-stream")]));
    assert!(check(&[
        ("accept", "application/json"),
        ("accept", "text/event-stream;q=0.5")
    ]));
    assert!(check(&[("accept", "*/*")]));
    assert!(!check(&[("accept", "application/json")]));
    assert!(!check(&[("accept", "text/*")]));
    assert!(!check(&[("accept", "")]));
}

#[test]
fn a_repeated_field_is_refused() {
    let name = HeaderName::from_static("mcp-method");
    let check = |fields: &[(&'static str, &'static str)]| {
        with_head(fields, |head| match head.single(&name) {
            Ok(value) => Ok(value.map(str::to_owned)),
            Err(denial) => Err(denial.reason),
        })
    };
    assert_eq!(check(&[]), Ok(None));
    assert_eq!(check(&[("mcp-method", " ping\t")]), Ok(Some("ping".to_owned())));
    assert_eq!(
        check(&[("mcp-method", "ping"), ("mcp-method", "ping")]),
        Err(DenyReason::HeadMalformed)
    );
}
