//! One reading or none, however the bytes are cut.

use portcullis_core::config::Limits;

use super::{Broken, Framing, State};

fn limits() -> Limits {
    Limits {
        header_bytes_max: 256,
        headers_max: 4,
        ..Limits::default()
    }
}

/// What comes of these bytes in one piece; cut anywhere it must be the same.
#[track_caller]
fn verdict(bytes: &[u8]) -> Result<bool, Broken> {
    let whole = {
        let mut framing = Framing::new(&limits());
        framing.feed(bytes).map(|()| framing.state == State::End)
    };
    for cut in 0..bytes.len() {
        let mut framing = Framing::new(&limits());
        let (first, rest) = bytes.split_at(cut);
        let parts = framing.feed(first).and_then(|()| framing.feed(rest));
        let parts = parts.map(|()| framing.state == State::End);
        assert_eq!(parts, whole, "cut at {cut}: {}", bytes.escape_ascii());
    }
    let mut framing = Framing::new(&limits());
    let single = bytes.iter().try_for_each(|byte| framing.feed(&[*byte]));
    assert_eq!(single.map(|()| framing.state == State::End), whole);
    whole
}

#[track_caller]
fn good(bytes: &str) {
    assert_eq!(verdict(bytes.as_bytes()), Ok(true), "{bytes:?}");
}

#[track_caller]
fn unfinished(bytes: &str) {
    assert_eq!(verdict(bytes.as_bytes()), Ok(false), "{bytes:?}");
}

#[track_caller]
fn malformed(bytes: &[u8]) {
    let broken = verdict(bytes);
    assert!(
        matches!(broken, Err(Broken::Malformed(_))),
        "{}: {broken:?}",
        bytes.escape_ascii()
    );
}

/// A request line with a host and these further lines.
fn head(lines: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn a_head_has_one_reading() {
    good(&head(""));
    good(&head("X:\r\n"));
    good(&head("X: a:b c\t\r\n"));
    good(&head("X: D\u{fc}sseldorf\r\n"));
    good(&head("!#$%&'*+-.^_`|~09aZ: b\r\n"));
    good(&head("Content-Length: 0\r\n"));
    good(&(head("Content-Length: 2\r\n") + "{}"));
    good(&(head("content-length:\t002 \r\n") + "{}"));
    good("GET /a/b;c=d/%7e?e=f&g=/?:@ HTTP/1.1\r\nHost: a\r\n\r\n");
    good("GET /livez HTTP/1.0\r\n\r\n");
    good("M-SEARCH / HTTP/1.1\r\nhOST:\r\n\r\n");
    unfinished("");
    unfinished("POST /mcp HTTP/1.1\r\nHost: a\r\n\r");
    unfinished(&(head("Content-Length: 3\r\n") + "{}"));
}

#[test]
fn a_head_with_two_readings_is_refused() {
    let lines: [&[u8]; 12] = [
        b"POST /mcp HTTP/1.1\nHost: a\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: a\n\n",
        b"POST /mcp HTTP/1.1\r\nHost: a\r\n\n",
        b"POST /mcp HTTP/1.1\r\nHost: a\r\n\r\r\n",
        b"\r\nPOST /mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\nPOST /mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        b" POST /mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST  /mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /mcp  HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST\t/mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /mcp HTTP/1.1 \r\nHost: a\r\n\r\n",
    ];
    for line in lines {
        malformed(line);
    }
    let protocols = [
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/01.1",
        "HTTP/1.10",
        "http/1.1",
        "ICE/1.0",
        "IHTTP/1.0",
        "HTTP/0.9",
        "",
    ];
    for protocol in protocols {
        malformed(format!("GET /mcp {protocol}\r\nHost: a\r\n\r\n").as_bytes());
    }
    let targets = [
        "*",
        "http://a/mcp",
        "a:443",
        "mcp",
        "/mcp#",
        "/mcp#?access_token=a",
        "/a b",
        "/a\"",
        "/a<b>",
        "/a\\b",
        "/a|b",
        "/a{b}",
        "/a^b",
        "/a`b",
        "/a\u{7f}",
        "/a\u{e9}",
        "/a\0",
        "/a\tb",
        "",
    ];
    for target in targets {
        malformed(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    }
    for name in [
        "", "X ", " X", "\tX", "X\t", "X Y", "X\0", "X\r", "X\u{e9}", "X\"", "X(", "X/", "X[", "X\u{7f}",
    ] {
        malformed(head(&format!("{name}: a\r\n")).as_bytes());
    }
    malformed(head("X\r\n").as_bytes());
    for value in [
        "\0",
        "\u{1}",
        "\u{b}",
        "\u{c}",
        "\u{1f}",
        "\u{7f}",
        "a\rb",
        "a\nb",
        "a\r\n b",
        "a\r\n\tb: c",
    ] {
        malformed(head(&format!("X: {value}\r\n")).as_bytes());
    }
}

#[test]
fn a_request_names_one_host() {
    malformed(b"POST /mcp HTTP/1.1\r\n\r\n");
    malformed(b"POST /mcp HTTP/1.1\r\nHost : a\r\n\r\n");
    malformed(head("Host: a\r\n").as_bytes());
    malformed(head("HOST: b\r\n").as_bytes());
    good(&head("X-Host: b\r\n"));
    malformed(b"GET /livez HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
}

#[test]
fn a_body_is_delimited_once() {
    for lengths in [
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length:\r\n",
        "Content-Length: 2 2\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: \u{b2}\r\n",
    ] {
        malformed((head(lengths) + "0\r\n\r\n").as_bytes());
    }
    malformed(head(&format!("Content-Length: {}2\r\n", "0".repeat(80))).as_bytes());
    for codings in [
        "identity",
        "",
        "gzip, chunked",
        "deflate",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "xchunked",
        "chunked;a=b",
        "\"chunked\"",
        "'chunked'",
        "chunk",
        "chunked cow",
        "chunked\u{ff}",
        "\u{a0}chunked",
    ] {
        malformed((head(&format!("Transfer-Encoding: {codings}\r\n")) + "0\r\n\r\n").as_bytes());
    }
    malformed((head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n").as_bytes());
    malformed(b"POST /mcp HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    for coding in ["chunked", "Chunked", "\tcHuNkeD \t"] {
        good(&(head(&format!("Transfer-Encoding:{coding}\r\n")) + "0\r\n\r\n"));
    }
}

#[test]
fn chunks_are_sizes_and_bytes_and_nothing_else() {
    let body = |chunks: &str| head("Transfer-Encoding: chunked\r\n") + chunks;
    for chunks in [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "2\r\n{}\r\n0\r\n\r\n",
        "0000000000000002\r\n{}\r\n0\r\n\r\n",
        "a\r\n0123456789\r\nA\r\n0\r\n\r\n34567\r\n0\r\n\r\n",
        "2\r\n\r\n\r\n0\r\n\r\n",
    ] {
        good(&body(chunks));
    }
    for chunks in [
        "",
        "2",
        "2\r\n{",
        "2\r\n{}\r\n",
        "2\r\n{}\r\n0\r\n",
        "2\r\n{}\r\n0\r\n\r",
        "ffffffffffffffff\r\n{}",
    ] {
        unfinished(&body(chunks));
    }
    for chunks in [
        "2;a=b\r\n{}\r\n0\r\n\r\n",
        "2;\r\n{}\r\n0\r\n\r\n",
        "2 \r\n{}\r\n0\r\n\r\n",
        " 2\r\n{}\r\n0\r\n\r\n",
        "2\t\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2_\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        "00000000000000002\r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r{}\r\n0\r\n\r\n",
        "2\r\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{} \r\n0\r\n\r\n",
        "2\r\n{}\r\r\n0\r\n\r\n",
        "2\r\n{}\r\n0;a\r\n\r\n",
        "2\r\n{}\r\n0\r\nA: b\r\n\r\n",
        "2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
        "2\r\n{}\r\n0\n\n",
        "2\r\n{}\r\n0\r\n\n",
        "2\r\n{}\r\n0\r\n\r\r",
        "2\r\n{}\r\n0\r\nPOST /mcp HTTP/1.1\r\n",
    ] {
        malformed(body(chunks).as_bytes());
    }
}

#[test]
fn what_follows_is_a_request_or_nothing() {
    let first = head("Content-Length: 2\r\n") + "{}";
    good(&(first.clone() + &first));
    good(&(first.clone() + &head("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n"));
    unfinished(&(first.clone() + "GET /mcp"));
    for rest in ["\r\n", "\n", " ", "{}", "\0", "GET /mcp HTTP/3.0", "GET mcp"] {
        malformed((first.clone() + rest).as_bytes());
    }
    for last in [
        "Connection: close\r\n",
        "Connection: keep-alive , CLOSE\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
    ] {
        good(&head(last));
        malformed((head(last) + &first).as_bytes());
        malformed((head(&format!("{last}Content-Length: 2\r\n")) + "{}G").as_bytes());
    }
    malformed((head(&format!("Connection: {}\r\n", "keep-alive, ".repeat(8))) + &first).as_bytes());
    good(&(head("Connection: keep-alive\r\n") + &first));
    malformed(b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\nG");
}

#[test]
fn a_head_is_bounded_in_bytes_and_fields() {
    let of_bytes = |bytes: usize| {
        let fixed = head("X: \r\n").len();
        head(&format!("X: {}\r\n", "a".repeat(bytes - fixed)))
    };
    let of_fields = |fields: usize| head(&"X: a\r\n".repeat(fields - 1));
    good(&of_bytes(256));
    assert!(matches!(verdict(of_bytes(257).as_bytes()), Err(Broken::TooLarge(_))));
    good(&of_fields(4));
    assert!(matches!(verdict(of_fields(5).as_bytes()), Err(Broken::TooLarge(_))));
    // Each request has the whole of it.
    good(&(of_bytes(256) + &of_bytes(256) + &of_fields(4)));
}
