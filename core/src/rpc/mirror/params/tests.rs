use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::json::{self, Limits, Scratch};

const LIMITS: Limits = Limits {
    depth: 64,
    members: 10_000,
};

/// The headers that a schema names, each with the path of its argument.
fn read(schema: &str) -> Result<Vec<String>, ParamFault> {
    let mut scratch = Scratch::default();
    let document = json::parse(schema.as_bytes(), &mut scratch, LIMITS).unwrap();
    let headers = read_schema(document.root())?;
    Ok(headers
        .iter()
        .map(|header| format!("{} {}", header.name, header.path.join("/")))
        .collect())
}

fn property(annotated: &str) -> String {
    format!(r#"{{"type":"object","properties":{{"a":{annotated}}}}}"#)
}

#[test]
fn annotations_are_read_where_an_argument_is_sure_to_be() {
    let nested = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "n":{"type":"integer","x-mcp-header":"N!#$"},
        "deep":{"type":"object","properties":{"on":{"x-mcp-header":"on","type":"boolean"}}},
        "x-mcp-header":{"type":"string"},
        "plain":{"type":"string","default":{"x-mcp-header":7}}}}"#;
    let expected = ["mcp-param-region region", "mcp-param-n!#$ n", "mcp-param-on deep/on"];
    assert_eq!(read(nested).unwrap(), expected);
    for plain in ["{}", "true", r#"{"type":"object"}"#, r#"{"properties":[]}"#] {
        assert_eq!(read(plain), Ok(Vec::new()), "{plain}");
    }
}

#[test]
fn one_annotation_out_of_order_makes_all_unusable() {
    let check = |schema: &str, fault| assert_eq!(read(schema), Err(fault), "{schema}");
    for name in [r#""""#, r#""a b""#, r#""a:b""#, r#""ü""#, "7", "null", r#""a\r\nb""#] {
        check(
            &property(&format!(r#"{{"type":"string","x-mcp-header":{name}}}"#)),
            ParamFault::Name,
        );
    }
    for kind in [
        r#""number""#,
        r#""object""#,
        r#""array""#,
        r#""null""#,
        r#"["string"]"#,
        "7",
    ] {
        check(
            &property(&format!(r#"{{"type":{kind},"x-mcp-header":"A"}}"#)),
            ParamFault::Type,
        );
    }
    check(&property(r#"{"x-mcp-header":"A"}"#), ParamFault::Type);
    let one = r#"{"type":"string","x-mcp-header":"A"}"#;
    for place in [
        one.to_owned(),
        format!(r#"{{"items":{}}}"#, property(one)),
        format!(r#"{{"anyOf":[{}]}}"#, property(one)),
        format!(r#"{{"$defs":{{"x":{one}}}}}"#),
        format!(r#"{{"additionalProperties":{one}}}"#),
        format!(r#"{{"properties":{{"list":{{"type":"array","items":{one}}}}}}}"#),
    ] {
        check(&place, ParamFault::Place);
    }
    let other = r#"{"type":"string","x-mcp-header":"a"}"#;
    check(
        &format!(r#"{{"properties":{{"x":{one},"y":{other}}}}}"#),
        ParamFault::Repeated,
    );
    let many = |count: usize| {
        let one = |at: usize| format!(r#""p{at}":{{"type":"string","x-mcp-header":"h{at}"}}"#);
        format!(
            r#"{{"properties":{{{}}}}}"#,
            (0..count).map(one).collect::<Vec<_>>().join(",")
        )
    };
    assert_eq!(read(&many(HEADERS_MAX)).unwrap().len(), HEADERS_MAX);
    check(&many(HEADERS_MAX + 1), ParamFault::TooMany);
}

/// Compares headers with arguments under a schema of a string `s`, an integer `n` and a boolean `b` in `o`.
fn compared(headers: &[(&str, &str)], arguments: &str, required: bool) -> Result<(), &'static str> {
    let schema = r#"{"properties":{"s":{"type":"string","x-mcp-header":"S"},"n":{"type":"integer","x-mcp-header":"N"},
        "o":{"properties":{"b":{"type":"boolean","x-mcp-header":"B"}}}}}"#;
    let mut scratch = Scratch::default();
    let annotated = read_schema(json::parse(schema.as_bytes(), &mut scratch, LIMITS).unwrap().root()).unwrap();
    with_head(headers, |head| {
        let mut scratch = Scratch::default();
        let document = json::parse(arguments.as_bytes(), &mut scratch, LIMITS).unwrap();
        compare(head, Some(&annotated), Some(document.root()), required)
    })
}

fn with_head<T>(headers: &[(&str, &str)], then: impl FnOnce(&RequestHead<'_>) -> T) -> T {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    then(&RequestHead {
        method: &http::Method::POST,
        path: "/",
        query: None,
        host: "",
        headers: &map,
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        certificate: None,
    })
}

#[test]
fn a_header_says_what_its_argument_says() {
    let (s, n, b) = ("mcp-param-s", "mcp-param-n", "mcp-param-b");
    let accepted: &[(&[(&str, &str)], &str)] = &[
        (&[], "{}"),
        (&[], r#"{"s":null,"n":null,"o":{"b":null}}"#),
        (&[], r#"{"o":7}"#),
        (&[(s, "eu west")], r#"{"s":"eu west"}"#),
        (&[(s, "eu")], r#"{"s":"\u0065u"}"#),
        (&[(s, "")], r#"{"s":""}"#),
        (&[(s, "=?base64?w7w=?=")], r#"{"s":"ü"}"#),
        (&[(s, "=?base64?ZXU=?=")], r#"{"s":"eu"}"#),
        (&[(s, "=?base64?PT9iYXNlNjQ/ZXU9Pz0=?=")], r#"{"s":"=?base64?eu=?="}"#),
        (&[(n, "42")], r#"{"n":42}"#),
        (&[(n, "42.0")], r#"{"n":42}"#),
        (&[(n, "42")], r#"{"n":42.0}"#),
        (&[(n, "100")], r#"{"n":1e2}"#),
        (&[(n, "-7")], r#"{"n":-7}"#),
        (&[(n, "0")], r#"{"n":0}"#),
        (&[(n, "9007199254740991")], r#"{"n":9007199254740991}"#),
        (&[(b, "true")], r#"{"o":{"b":true}}"#),
        (&[(b, "false")], r#"{"o":{"b":false}}"#),
        (&[("mcp-param-other", "x")], "{}"),
        (&[(s, "a"), (n, "1"), (b, "true")], r#"{"s":"a","n":1,"o":{"b":true}}"#),
    ];
    for (headers, arguments) in accepted {
        assert_eq!(compared(headers, arguments, true), Ok(()), "{headers:?} {arguments}");
    }
    let long = "a".repeat(VALUE_BYTES_MAX + 1);
    let long_argument = format!(r#"{{"s":"{long}"}}"#);
    let refused: &[(&[(&str, &str)], &str)] = &[
        (&[(s, "eu")], "{}"),
        (&[(s, "null")], r#"{"s":null}"#),
        (&[(s, "EU")], r#"{"s":"eu"}"#),
        (&[(s, "eu"), (s, "eu")], r#"{"s":"eu"}"#),
        (&[(s, "ü")], r#"{"s":"ü"}"#),
        (&[(s, "=?base64?eu?=")], r#"{"s":"=?base64?eu?="}"#),
        (&[(s, "=?base64?ZXV=?=")], r#"{"s":"eu"}"#),
        (&[(s, "=?base64?ZXU?=")], r#"{"s":"eu"}"#),
        (&[(s, "=?base64?/w==?=")], r#"{"s":"eu"}"#),
        (&[(s, "[]")], r#"{"s":[]}"#),
        (&[(n, "43")], r#"{"n":42}"#),
        (&[(n, "042")], r#"{"n":42}"#),
        (&[(n, "+42")], r#"{"n":42}"#),
        (&[(n, "42.")], r#"{"n":42}"#),
        (&[(n, "42.5")], r#"{"n":42.5}"#),
        (&[(n, "4.2e1")], r#"{"n":42}"#),
        (&[(n, "0x2a")], r#"{"n":42}"#),
        (&[(n, "")], r#"{"n":0}"#),
        (&[(n, "42")], r#"{"n":"43"}"#),
        (&[(b, "True")], r#"{"o":{"b":true}}"#),
        (&[(b, "1")], r#"{"o":{"b":true}}"#),
        (&[(b, "true")], r#"{"o":{"b":false}}"#),
        (&[(b, "true")], r#"{"b":true}"#),
        (&[("mcp-param-other", "x"), ("mcp-param-other", "x")], "{}"),
        (&[("mcp-param-other", "ü")], "{}"),
        (&[("mcp-param-other", &long)], "{}"),
        (&[(s, &long)], &long_argument),
    ];
    for (headers, arguments) in refused {
        assert!(compared(headers, arguments, true).is_err(), "{headers:?} {arguments}");
        assert!(compared(headers, arguments, false).is_err(), "{headers:?} {arguments}");
    }
}

#[test]
fn a_modern_call_repeats_what_is_annotated_and_a_legacy_one_may() {
    for arguments in [r#"{"s":"eu"}"#, r#"{"n":0}"#, r#"{"o":{"b":false}}"#] {
        assert!(compared(&[], arguments, true).is_err(), "{arguments}");
        assert_eq!(compared(&[], arguments, false), Ok(()), "{arguments}");
    }
}

#[test]
fn without_a_schema_no_parameter_header_can_be_judged() {
    let judged = |headers: &[(&str, &str)]| with_head(headers, |head| compare(head, None, None, true));
    assert_eq!(judged(&[("mcp-name", "x")]), Ok(()));
    assert!(judged(&[("mcp-param-x", "1")]).is_err());
    assert!(judged(&[("mcp-param-", "1")]).is_err());
}
