use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

/// What leaves of an answer's head, `traceresponse` being configured.
fn leaves(fields: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
    let further = [HeaderName::from_static("traceresponse")];
    let mut head = bare_head(200, &Readers::default()).unwrap();
    Passed::of(&headers(fields), &further).write(&mut head).unwrap();
    let fields = head.headers.iter();
    let mut fields: Vec<(String, String)> = fields
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    fields.sort();
    fields
}

fn kept(value: &'static str) -> String {
    let left = leaves(&[("cache-control", value)]);
    let [(name, value)] = &left[..] else { panic!("{left:?}") };
    assert_eq!(name, "cache-control");
    value.clone()
}

#[test]
fn an_answer_is_kept_by_no_shared_cache() {
    for value in ["no-store", "private, max-age=60", "No-Store", "max-age=5 , PRIVATE"] {
        assert_eq!(kept(value), value);
    }
    for value in [
        "public, max-age=60",
        "max-age=60",
        "private=\"set-cookie\", max-age=60",
        "private, public",
        "no-storex",
        "x-no-store",
        "",
    ] {
        assert_eq!(kept(value), "no-store", "{value}");
    }
    let twice = leaves(&[("cache-control", "private"), ("cache-control", "private")]);
    assert_eq!(twice, [("cache-control".to_owned(), "no-store".to_owned())]);
}

#[test]
fn an_answers_fields_leave_by_a_list() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let all = leaves(&[
        ("content-type", "text/html"),
        ("mcp-session-id", "session-1"),
        ("retry-after", "7"),
        ("traceresponse", "00-a-b-01"),
        ("set-cookie", "a=b"),
        ("server", "upstream"),
        ("portcullis-record-id", "forged"),
        ("www-authenticate", "Bearer"),
        ("x-powered-by", "something"),
    ]);
    let expected = [
        pair("cache-control", "no-store"),
        pair("retry-after", "7"),
        pair("traceresponse", "00-a-b-01"),
    ];
    assert_eq!(all, expected);
    let bare = [pair("cache-control", "no-store")];
    for fields in [
        [("retry-after", "7"), ("retry-after", "8")],
        [("traceresponse", "a"), ("traceresponse", "b")],
        [("traceresponse", "a"), ("connection", "close, TraceResponse")],
    ] {
        assert_eq!(leaves(&fields), bare, "{fields:?}");
    }
}
