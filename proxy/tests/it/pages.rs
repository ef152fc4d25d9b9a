//! What browsers need, and what they must not get: preflights, readable answers, hosts and origins; and bodies in a coding
//! that nobody reads.

use portcullis_fixtures::calls::Call;
use portcullis_fixtures::http1::{Response, request};
use portcullis_fixtures::persona::ALICE;

use crate::attacks::{RATE, echo};
use crate::gate::{Gate, HOST, ORIGIN, PATH};

const METADATA: &str = "/.well-known/oauth-protected-resource/crm/mcp";

fn preflight(gate: &Gate, target: &str, origin: &str, method: &str, fields: &str) -> Response {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", fields),
    ];
    gate.connect()
        .exchange(&request("OPTIONS", HOST, target, headers, b""))
        .unwrap()
}

/// The names in a list of an answer.
fn names(answer: &Response, field: &str) -> Vec<String> {
    let list = answer.header(field).unwrap_or_default();
    list.split(',').map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[test]
fn a_preflight_allows_what_clients_send() {
    let gate = Gate::start("");
    for method in ["GET", "POST", "DELETE"] {
        let asked = "authorization,content-type,mcp-param-region";
        let answer = preflight(&gate, PATH, ORIGIN, method, asked);
        assert_eq!(answer.status, 204, "{method}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
        assert!(names(&answer, "access-control-allow-methods").contains(&method.to_ascii_lowercase()));
        assert!(names(&answer, "vary").contains(&"origin".to_owned()));
        let allowed = names(&answer, "access-control-allow-headers");
        for name in [
            "authorization",
            "content-type",
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
            "mcp-session-id",
            "last-event-id",
            "dpop",
            "mcp-param-region",
        ] {
            assert!(allowed.contains(&name.to_owned()), "{name}: {allowed:?}");
        }
    }
    // Only parameters of tools are echoed, and only names.
    let odd =
        "x-other, Mcp-Param-City, mcp-param-, mcp-param-a b, mcp-param-\u{e9}, mcp-params-x, xmcp-param-y, cookie";
    let answer = preflight(&gate, PATH, ORIGIN, "POST", odd);
    let allowed = names(&answer, "access-control-allow-headers");
    assert_eq!(
        allowed.last().map(String::as_str),
        Some("mcp-param-city"),
        "{allowed:?}"
    );
    let echoed = allowed.iter().filter(|name| name.starts_with("mcp-param")).count();
    assert_eq!(echoed, 1, "{allowed:?}");
    let many: Vec<String> = (0..100).map(|number| format!("mcp-param-{number}")).collect();
    let answer = preflight(&gate, PATH, ORIGIN, "POST", &many.join(","));
    let allowed = names(&answer, "access-control-allow-headers");
    assert_eq!(allowed.iter().filter(|name| name.starts_with("mcp-param-")).count(), 32);
    // A stranger's page learns nothing.
    for origin in [
        "https://evil.test",
        "null",
        "https://page.test:8443",
        "http://page.test",
    ] {
        let answer = preflight(&gate, PATH, origin, "POST", "authorization");
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (403, None),
            "{origin}"
        );
        assert_eq!(answer.header("access-control-allow-headers"), None);
    }
    assert_eq!(gate.upstream.capture().count(), 0);
}

#[test]
fn the_metadata_page_answers_a_preflight_too() {
    let gate = Gate::start("");
    let answer = preflight(&gate, METADATA, ORIGIN, "GET", "mcp-protocol-version");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-methods")),
        (204, Some("GET"))
    );
    assert!(names(&answer, "access-control-allow-headers").contains(&"mcp-protocol-version".to_owned()));
    let foreign = preflight(&gate, METADATA, "https://evil.test", "GET", "mcp-protocol-version");
    assert_eq!(
        (foreign.status, foreign.header("access-control-allow-origin")),
        (404, None)
    );
}

#[test]
fn an_allowed_page_reads_what_a_client_needs() {
    let gate = Gate::start("");
    let call = echo().header("origin", ORIGIN);
    for (call, status) in [(call.clone(), 401), (call.bearer(&gate.token(&ALICE)), 200)] {
        let answer = gate.call(&call);
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (status, Some(ORIGIN))
        );
        let exposed = names(&answer, "access-control-expose-headers");
        for name in [
            "www-authenticate",
            "mcp-session-id",
            "portcullis-record-id",
            "retry-after",
            "dpop-nonce",
        ] {
            assert!(exposed.contains(&name.to_owned()), "{name}: {exposed:?}");
        }
    }
}

/// C6: a body in a coding is refused before a byte of it is read.
#[test]
fn a_coded_body_is_refused_unread() {
    let gate = Gate::start_with("127.0.0.1:0", RATE, "");
    let call = echo().bearer(&gate.token(&ALICE));
    for coding in [
        "gzip",
        "br",
        "deflate",
        "zstd",
        "gzip, gzip",
        "gzip, br",
        "identity",
        "",
        "x-unknown",
    ] {
        let coded = call.clone().header("content-encoding", coding);
        assert_eq!(gate.call(&coded).status, 415, "{coding}");
        // Not a byte of the body has come, and nobody waits for one.
        let mut head = coded.to_http(HOST, PATH);
        head.truncate(head.len() - call.body.len());
        let answer = gate.connect().exchange(&head).unwrap();
        assert_eq!(
            (answer.status, answer.header("connection")),
            (415, Some("close")),
            "{coding}"
        );
    }
    let twice = call
        .clone()
        .header("content-encoding", "gzip")
        .header("content-encoding", "identity");
    assert_eq!(gate.call(&twice).status, 415);
    let typed = |value: &str| {
        call.clone()
            .without_header("content-type")
            .header("content-type", value)
    };
    for (value, status) in [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON;charset=\"UTF-8\"", 200),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=utf-8; charset=utf-16", 415),
        ("application/json; profile=a", 415),
        ("application/jsonp", 415),
        ("text/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=a", 415),
        ("", 415),
    ] {
        assert_eq!(gate.call(&typed(value)).status, status, "{value}");
    }
    assert_eq!(gate.call(&call.clone().without_header("content-type")).status, 415);
    assert_eq!(gate.upstream.capture().count(), 3);
}

/// C9: a page that was lured to our address asks for another host, or comes from another origin.
#[test]
fn hosts_and_origins_are_checked_on_every_way_in() {
    let gate = Gate::start_with("127.0.0.1:0", RATE, "");
    let call = echo().bearer(&gate.token(&ALICE));
    let send = |method: &str, host: &str, call: &Call| {
        let fields = call.headers.iter().map(|(name, value)| (&**name, &**value));
        let body = if method == "POST" { call.body.as_bytes() } else { b"" };
        gate.connect()
            .exchange(&request(method, host, PATH, fields, body))
            .unwrap()
            .status
    };
    for method in ["POST", "GET", "DELETE", "PUT", "OPTIONS"] {
        for host in [
            "evil.test",
            "127.0.0.1",
            "gate.test.evil.test",
            "gate.test:1",
            "gate.test.",
            "",
        ] {
            assert_eq!(send(method, host, &call), 403, "{method} {host}");
        }
        for origin in ["https://evil.test", "null", "", "https://page.test, https://evil.test"] {
            let call = call.clone().header("origin", origin);
            assert_eq!(send(method, HOST, &call), 403, "{method} {origin}");
        }
    }
    assert_eq!(send("POST", "GATE.test", &call), 200);
    assert_eq!(gate.upstream.capture().count(), 1);
    // What needs no token tells a stranger's page nothing that it could read.
    for target in [METADATA, "/livez", "/readyz"] {
        let headers = [("origin", "https://evil.test")];
        let answer = gate
            .connect()
            .exchange(&request("GET", HOST, target, headers, b""))
            .unwrap();
        assert_eq!(answer.header("access-control-allow-origin"), None, "{target}");
    } // Documents are for those who ask by a name that is the server's.
    let root = "/.well-known/oauth-protected-resource";
    for target in [METADATA, root] {
        for (host, expected) in [
            (HOST, 200),
            ("GATE.test", 200),
            ("evil.test", 404),
            ("127.0.0.1", 404),
            ("", 404),
        ] {
            let answer = gate.connect().exchange(&request("GET", host, target, [], b"")).unwrap();
            assert_eq!(answer.status, expected, "{host} {target}");
        }
    }
}
