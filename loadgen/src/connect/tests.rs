use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use portcullis_fixtures::mcp::{Kind, McpServer, McpSettings};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Connection, Endpoint, EndpointError, EndpointOptions, ExchangeError, HttpVersion, shown};

fn options(http: HttpVersion) -> EndpointOptions {
    EndpointOptions {
        http,
        ..EndpointOptions::default()
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

#[test]
fn urls_that_are_no_endpoints_are_refused() {
    let refused = |url: &str| Endpoint::new(url, &EndpointOptions::default()).unwrap_err();
    for url in [
        "",
        "127.0.0.1:80",
        "/mcp",
        "ftp://127.0.0.1/",
        "http://",
        "http://127.0.0.1:99999/",
    ] {
        assert!(matches!(refused(url), EndpointError::Url(_)), "{url}");
    }
    assert!(matches!(refused("http://192.0.2.1/mcp"), EndpointError::Remote(_)));
    assert!(matches!(refused("https://127.0.0.1/mcp"), EndpointError::CaMissing));
    assert!(matches!(refused("http://name.invalid/"), EndpointError::Name(..)));
}

#[test]
fn what_may_be_secret_is_not_shown() {
    for (url, expected) in [
        ("http://127.0.0.1:1/mcp?api_key=secret", "http://127.0.0.1:1/mcp"),
        ("https://me:secret@gate.test/a/b?x#y", "https://gate.test/a/b"),
        ("http://gate.test#secret", "http://gate.test"),
        ("me:secret@gate.test", "gate.test"),
        ("", ""),
    ] {
        assert_eq!(shown(url), expected, "{url}");
    }
    let refused = Endpoint::new("http://me:secret@127.0.0.1/?k=secret", &EndpointOptions::default()).unwrap_err();
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

#[test]
fn a_remote_target_must_be_meant() {
    let meant = EndpointOptions {
        remote: true,
        ..EndpointOptions::default()
    };
    let endpoint = Endpoint::new("http://192.0.2.1:8080/mcp", &meant).unwrap();
    assert_eq!(endpoint.address(), SocketAddr::from(([192, 0, 2, 1], 8_080)));
    for url in [
        "http://127.0.0.1/mcp",
        "http://127.9.9.9/mcp",
        "http://[::1]:8080/mcp",
        "http://localhost/mcp",
    ] {
        assert!(Endpoint::new(url, &EndpointOptions::default()).is_ok(), "{url}");
    }
}

#[test]
fn files_that_hold_no_certificates_are_refused() {
    let mut garbage = NamedTempFile::new().unwrap();
    garbage.write_all(b"no certificate").unwrap();
    for path in [Path::new("/nonexistent"), garbage.path()] {
        let options = EndpointOptions {
            ca: Some(path.to_owned()),
            ..EndpointOptions::default()
        };
        let refused = Endpoint::new("https://127.0.0.1/mcp", &options).unwrap_err();
        assert!(matches!(refused, EndpointError::Ca(..)), "{refused}");
    }
}

#[test]
fn http1_calls_follow_one_another_on_one_connection() {
    let server = McpServer::start(McpSettings::new(Kind::Crm)).unwrap();
    let endpoint = Endpoint::new(&server.url(), &options(HttpVersion::Http1)).unwrap();
    run(async {
        let mut connection = Connection::open(&endpoint).await.unwrap();
        assert!(connection.share().is_none());
        for _ in 0..3 {
            let answer = connection
                .post(&endpoint, HeaderMap::new(), Bytes::from("{}"))
                .await
                .unwrap();
            assert_ne!(answer.status, 200, "an empty message is no call");
        }
    });
    assert_eq!(server.connections(), 1);
}

/// Reads one HTTP/1.1 request whose body is `{}` and answers with its request line.
async fn answer_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = Vec::new();
    while !request.ends_with(b"{}") {
        let mut piece = [0; 1_024];
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "the client has gone");
        request.extend_from_slice(&piece[..read]);
    }
    let request = String::from_utf8(request).unwrap();
    let line = request.lines().next().unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

/// Answers each HTTP/2 request with its URL, the second before the first.
async fn answer_http2(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut waiting = Vec::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        waiting.push((request.uri().to_string(), respond));
        if waiting.len() == 2 {
            while let Some((uri, mut respond)) = waiting.pop() {
                let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
                stream.send_data(Bytes::from(uri), true).unwrap();
            }
        }
    }
}

/// A certificate for `localhost`: its PEM file, and a TLS server that has it and speaks `protocol`.
fn tls(protocol: &[u8]) -> (NamedTempFile, TlsAcceptor) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    (file, TlsAcceptor::from(Arc::new(config)))
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn post(connection: &mut Connection, endpoint: &Endpoint) -> Result<String, ExchangeError> {
    let answer = connection.post(endpoint, HeaderMap::new(), Bytes::from("{}")).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

#[test]
fn tls_with_http1_trusts_the_given_authority_alone() {
    run(async {
        let (ca, acceptor) = tls(b"http/1.1");
        let (listener, port) = listen().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer_http1(stream).await;
                }
            }
        });
        let mut options = options(HttpVersion::Http1);
        options.ca = Some(ca.path().to_owned());
        let url = format!("https://localhost:{port}/mcp");
        let endpoint = Endpoint::new(&url, &options).unwrap();
        let mut connection = Connection::open(&endpoint).await.unwrap();
        assert_eq!(post(&mut connection, &endpoint).await.unwrap(), "POST /mcp HTTP/1.1");
        // Another authority with the same name is not trusted.
        let (other, _) = tls(b"http/1.1");
        options.ca = Some(other.path().to_owned());
        let endpoint = Endpoint::new(&url, &options).unwrap();
        assert!(matches!(
            Connection::open(&endpoint).await,
            Err(ExchangeError::Connect(_))
        ));
    });
}

#[test]
fn http2_carries_several_calls_at_once() {
    run(async {
        for with_tls in [false, true] {
            let (ca, acceptor) = tls(b"h2");
            let (listener, port) = listen().await;
            tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                match with_tls {
                    true => answer_http2(acceptor.accept(stream).await.unwrap()).await,
                    false => answer_http2(stream).await,
                }
            });
            let mut options = options(HttpVersion::Http2);
            options.ca = Some(ca.path().to_owned());
            options.authority = Some("gate.example.test".to_owned());
            let scheme = if with_tls { "https" } else { "http" };
            let endpoint = Endpoint::new(&format!("{scheme}://localhost:{port}/mcp"), &options).unwrap();
            let mut first = Connection::open(&endpoint).await.unwrap();
            let mut second = first.share().unwrap();
            let answers = tokio::join!(post(&mut first, &endpoint), post(&mut second, &endpoint));
            let expected = format!("{scheme}://gate.example.test/mcp");
            assert_eq!((answers.0.unwrap(), answers.1.unwrap()), (expected.clone(), expected));
        }
    });
}

#[test]
fn a_connection_that_breaks_says_so() {
    run(async {
        let (listener, port) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut piece = [0; 16];
            let _ = stream.read(&mut piece).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                .await;
        });
        let endpoint = Endpoint::new(&format!("http://127.0.0.1:{port}/mcp"), &options(HttpVersion::Http1)).unwrap();
        let mut connection = Connection::open(&endpoint).await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("application/json"));
        let broken = connection
            .post(&endpoint, headers, Bytes::from("{}"))
            .await
            .unwrap_err();
        assert!(matches!(broken, ExchangeError::Broken(_)), "{broken}");
    });
}
