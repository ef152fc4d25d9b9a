use super::{
    Framing, Guarded, ReadError, TrustedHops, await_head, framing_of, gone, host_of, is_whole, linger,
    linger_without_head, read_body, take_head,
};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};
use pingora_core::protocols::http::ServerSession;
use portcullis_core::config::Limits;
use portcullis_core::denial::DenyReason;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

fn limits() -> Limits {
    Limits {
        header_bytes_max: 256,
        headers_max: 4,
        body_bytes_max: 16,
        ..Limits::default()
    }
}

/// A client and the server's session over one connection in memory.
fn connect() -> (DuplexStream, ServerSession) {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let guarded = Guarded::new(Box::new(server), &limits());
    (client, ServerSession::new_http1(Box::new(guarded)))
}

fn reason<T>(result: Result<T, ReadError>) -> Option<DenyReason> {
    match result {
        Ok(_) => None,
        Err(ReadError::Refused(denial)) => Some(denial.reason),
        Err(ReadError::Gone) => panic!("the client is still there"),
    }
}

#[test]
fn a_body_is_delimited_in_one_known_way() {
    let framing = |encodings: &[&'static str], lengths: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in encodings {
            headers.append(TRANSFER_ENCODING, HeaderValue::from_static(value));
        }
        for value in lengths {
            headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
        }
        framing_of(&headers).ok()
    };
    assert_eq!(framing(&[], &[]), Some(Framing::Open));
    assert_eq!(framing(&["chunked"], &[]), Some(Framing::Open));
    assert_eq!(framing(&["Chunked"], &[]), Some(Framing::Open));
    assert_eq!(framing(&[], &["12"]), Some(Framing::Length(12)));
    for encoding in ["gzip, chunked", "chunked, chunked", "identity", "", "xchunked"] {
        assert_eq!(framing(&[encoding], &[]), None, "{encoding}");
    }
    for length in ["+1", "-1", "1, 1", "0x1", "", "1 ", "99999999999999999999"] {
        assert_eq!(framing(&[], &[length]), None, "{length}");
    }
    assert_eq!(framing(&["chunked"], &["1"]), None);
    assert_eq!(framing(&[], &["1", "1"]), None);
}

/// Sends `request` in one write and reads its body.
async fn body_of(request: &str) -> Result<Vec<u8>, ReadError> {
    let (mut client, mut session) = connect();
    client.write_all(request.as_bytes()).await.unwrap();
    await_head(&mut session).await?;
    let head = take_head(&session, &limits(), &TrustedHops::default()).map_err(ReadError::Refused)?;
    read_body(&mut session, &head, &limits())
        .await
        .map(|body| body.to_vec())
}

#[tokio::test(start_paused = true)]
async fn a_body_within_its_limits_is_read_as_it_is() {
    let cases = [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n0123456789abcdef",
            "0123456789abcdef",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n8\r\n89abcdef\r\n0\r\n\r\n",
            "0123456789abcdef",
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(body_of(request).await.unwrap(), expected.as_bytes(), "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_over_its_limit_or_late_is_refused() {
    let cases = [
        // Declared only: not a byte of it has come.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\n",
            DenyReason::BodyTooLarge,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n",
            DenyReason::BodyTooLarge,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n9\r\n89abcdefg\r\n0\r\n\r\n",
            DenyReason::BodyTooLarge,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n01",
            DenyReason::BodyTimeout,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n01\r\n",
            DenyReason::BodyTimeout,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n01\r\n",
            DenyReason::HeadMalformed,
        ),
    ];
    for (request, expected) in cases {
        // The client of `body_of` lives as long as the read, so silence is silence and no end.
        assert_eq!(reason(body_of(request).await), Some(expected), "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_refused_by_the_total_deadline() {
    let (mut client, mut session) = connect();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n")
        .await
        .unwrap();
    await_head(&mut session).await.unwrap();
    let head = take_head(&session, &limits(), &TrustedHops::default()).unwrap();
    let begun = Instant::now();
    let dripping = tokio::spawn(async move {
        for _ in 0..15 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let _ = client.write_all(b"x").await;
        }
    });
    let read = read_body(&mut session, &head, &limits()).await;
    assert_eq!(reason(read), Some(DenyReason::BodyTimeout));
    assert_eq!(begun.elapsed().as_secs(), limits().body_deadline.as_secs());
    dripping.abort();
}

#[tokio::test(start_paused = true)]
async fn the_client_is_asked_to_continue_when_it_waits_for_that_and_not_before() {
    let (mut client, mut session) = connect();
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    client.write_all(request).await.unwrap();
    await_head(&mut session).await.unwrap();
    let head = take_head(&session, &limits(), &TrustedHops::default()).unwrap();
    let mut answer = [0; 25];
    let early = tokio::time::timeout(Duration::from_secs(1), client.read(&mut answer)).await;
    assert!(early.is_err(), "nothing is asked for before the body is read");
    let client = async {
        client.read_exact(&mut answer).await.unwrap();
        client.write_all(b"{}").await.unwrap();
        client
    };
    let limits = limits();
    let (body, _client) = tokio::join!(read_body(&mut session, &head, &limits), client);
    assert_eq!(body.unwrap(), "{}");
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_arrive_is_refused_by_the_total_deadline() {
    let (mut client, mut session) = connect();
    let begun = Instant::now();
    let dripping = tokio::spawn(async move {
        for byte in b"POST / HTTP/1.1\r\nHost: aaaa" {
            let _ = client.write_all(&[*byte]).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    assert_eq!(reason(await_head(&mut session).await), Some(DenyReason::BodyTimeout));
    assert_eq!(begun.elapsed().as_secs(), limits().header_deadline.as_secs());
    dripping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_refused_by_the_same_deadline() {
    let (_client, mut session) = connect();
    let begun = Instant::now();
    assert_eq!(reason(await_head(&mut session).await), Some(DenyReason::BodyTimeout));
    assert_eq!(begun.elapsed().as_secs(), limits().header_deadline.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_head_without_an_end_is_refused_by_size() {
    let (mut client, mut session) = connect();
    let endless = tokio::spawn(async move {
        let _ = client.write_all(b"GET / HTTP/1.1\r\n").await;
        while client
            .write_all(b"X: 0123456789012345678901234567890123456789\r\n")
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(reason(await_head(&mut session).await), Some(DenyReason::HeadTooLarge));
    drop(session);
    endless.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_no_head_is_refused_and_a_client_that_leaves_is_gone() {
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a:\r\n".repeat(300));
    let cases = [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            DenyReason::HeadMalformed,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            DenyReason::HeadMalformed,
        ),
        ("POST / HTTP/1.1\r\n\r\n", DenyReason::HeadMalformed),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n",
            DenyReason::HeadMalformed,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\nPOST / HTTP/1.1\r\n",
            DenyReason::HeadMalformed,
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            DenyReason::HeadMalformed,
        ),
        (
            "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03\r\n\r\n",
            DenyReason::HeadMalformed,
        ),
        (many.as_str(), DenyReason::HeadTooLarge),
    ];
    for (request, expected) in cases {
        let (mut client, mut session) = connect();
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(reason(await_head(&mut session).await), Some(expected), "{request}");
    }
    let (client, mut session) = connect();
    drop(client);
    assert!(matches!(await_head(&mut session).await, Err(ReadError::Gone)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_it_waits_is_noticed() {
    let (mut client, mut session) = connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    await_head(&mut session).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(60), gone(&mut session)).await;
    assert!(waiting.is_err(), "a client that waits is not gone");
    drop(client);
    gone(&mut session).await;
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_head_that_was_refused_is_read_and_dropped() {
    let (mut client, mut session) = connect();
    client.write_all(b"no head\r\n\r\n and more").await.unwrap();
    assert_eq!(reason(await_head(&mut session).await), Some(DenyReason::HeadMalformed));
    client.write_all(&[b'x'; 1_000]).await.unwrap();
    linger_without_head(&mut session).await;
    drop(session);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[test]
fn a_request_asks_for_one_host_or_none() {
    let host = |authority: Option<&str>, fields: &[&str]| {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(HOST, HeaderValue::from_str(field).unwrap());
        }
        host_of(&headers, authority)
            .map(str::to_owned)
            .map_err(|denial| denial.reason)
    };
    let told = |text: &str| Ok(text.to_owned());
    assert_eq!(host(None, &["a.test"]), told("a.test"));
    assert_eq!(host(Some("a.test"), &[]), told("a.test"));
    assert_eq!(host(Some("a.test"), &["A.test"]), told("a.test"));
    assert_eq!(host(None, &[]), told(""));
    for (authority, fields) in [
        (None, &["a.test", "a.test"][..]),
        (None, &["a.test", "b.test"]),
        (Some("a.test"), &["b.test"]),
        (Some("a.test"), &["a.test:80"]),
        (Some("a.test"), &[""]),
        (Some("a.test"), &["a.test", "b.test"]),
    ] {
        assert_eq!(
            host(authority, fields),
            Err(DenyReason::HeadMalformed),
            "{authority:?} {fields:?}"
        );
    }
}

/// A session whose head has come alone, with a body in chunks behind it.
async fn chunked() -> (DuplexStream, ServerSession) {
    let (mut client, mut session) = connect();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(head).await.unwrap();
    await_head(&mut session).await.unwrap();
    (client, session)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_its_framing_on_the_way_is_refused_and_its_connection_ends() {
    let broken = [
        "2;a=b\r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}\r\n0\r\nX: a\r\n\r\n",
        "2\r\n{}\r\n0\r\n\r\n\r\n",
    ];
    for chunks in broken {
        let (mut client, mut session) = chunked().await;
        client.write_all(chunks.as_bytes()).await.unwrap();
        let head = take_head(&session, &limits(), &TrustedHops::default()).unwrap();
        let read = read_body(&mut session, &head, &limits()).await;
        assert_eq!(reason(read), Some(DenyReason::HeadMalformed), "{chunks:?}");
        assert!(!is_whole(&mut session), "{chunks:?}");
        client.write_all(&[b'x'; 1_000]).await.unwrap();
        linger(&mut session).await;
        drop(session);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }
    let (mut client, mut session) = chunked().await;
    client.write_all(b"2\r\n{}\r\n0\r\n\r\n").await.unwrap();
    let head = take_head(&session, &limits(), &TrustedHops::default()).unwrap();
    assert_eq!(read_body(&mut session, &head, &limits()).await.unwrap(), "{}");
    assert!(is_whole(&mut session));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut_after_the_write_deadline() {
    let (client, server) = tokio::io::duplex(64);
    let mut guarded = Guarded::new(Box::new(server), &limits());
    let begun = Instant::now();
    let written = guarded.write_all(&[b'x'; 65]).await;
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), limits().body_deadline.as_secs());
    drop(client);
    let (mut client, server) = tokio::io::duplex(64);
    let mut guarded = Guarded::new(Box::new(server), &limits());
    let reading = tokio::spawn(async move {
        tokio::time::sleep(limits().body_deadline - Duration::from_secs(1)).await;
        let mut bytes = [0; 65];
        client.read_exact(&mut bytes).await.unwrap();
    });
    guarded.write_all(&[b'x'; 65]).await.unwrap();
    reading.await.unwrap();
}
