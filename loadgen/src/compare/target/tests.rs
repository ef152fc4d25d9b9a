use super::{NamedUrl, NamedUrlError};

#[test]
fn targets_are_read_as_written() {
    let target = |name: &str, url: &str, pid, metrics: Option<&str>| NamedUrl {
        name: name.to_owned(),
        url: url.to_owned(),
        pid,
        metrics: metrics.map(str::to_owned),
        authority: None,
        judges: true,
    };
    let cases = [
        (
            "a=http://127.0.0.1:1/mcp",
            target("a", "http://127.0.0.1:1/mcp", None, None),
        ),
        (
            "full-chain.v2_x=https://gate.example/crm/mcp?a=b,pid=17",
            target("full-chain.v2_x", "https://gate.example/crm/mcp?a=b", Some(17), None),
        ),
        (
            "b=http://[::1]:1/,metrics=http://[::1]:2/metrics,pid=1",
            target("b", "http://[::1]:1/", Some(1), Some("http://[::1]:2/metrics")),
        ),
        (
            "c=http://127.0.0.1:1/mcp,authority=gate.example.test,judges=no",
            NamedUrl {
                authority: Some("gate.example.test".to_owned()),
                judges: false,
                ..target("c", "http://127.0.0.1:1/mcp", None, None)
            },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<NamedUrl>(), Ok(expected), "{text}");
    }
}

#[test]
fn anything_else_is_refused_with_its_reason() {
    type Refusal = fn(&NamedUrlError) -> bool;
    let name: Refusal = |error| matches!(error, NamedUrlError::Name(_));
    let url: Refusal = |error| matches!(error, NamedUrlError::Url(_));
    let part: Refusal = |error| matches!(error, NamedUrlError::Part(_));
    let pid: Refusal = |error| matches!(error, NamedUrlError::Pid(_));
    let twice: Refusal = |error| matches!(error, NamedUrlError::Twice(_));
    let cases = [
        ("", name),
        ("http://127.0.0.1:1/mcp", name),
        ("=http://127.0.0.1:1/mcp", name),
        ("a b=http://127.0.0.1:1/mcp", name),
        ("http://127.0.0.1:1/mcp?a=b", name),
        ("a=", url),
        ("a=127.0.0.1:1", url),
        ("a=ftp://127.0.0.1/", url),
        ("a=/mcp", url),
        ("a=http://127.0.0.1:1/,pid=0", pid),
        ("a=http://127.0.0.1:1/,pid=-4", pid),
        ("a=http://127.0.0.1:1/,pid=", pid),
        ("a=http://127.0.0.1:1/,pid=1,pid=2", twice),
        ("a=http://127.0.0.1:1/,metrics=http://a/,metrics=http://b/", twice),
        ("a=http://127.0.0.1:1/,metrics=9000", url),
        ("a=http://127.0.0.1:1/,", part),
        ("a=http://127.0.0.1:1/,cpu=1", part),
        ("a=http://127.0.0.1:1/,authority=", part),
        ("a=http://127.0.0.1:1/,authority=a,authority=b", twice),
        ("a=http://127.0.0.1:1/,judges=yes", part),
    ];
    for (text, is_expected) in cases {
        let error = text.parse::<NamedUrl>().unwrap_err();
        assert!(is_expected(&error), "{text}: {error:?}");
    }
}
