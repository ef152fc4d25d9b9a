//! Connections to a target: HTTP/1.1 or HTTP/2, with or without TLS.
//!
//! Owns [`Endpoint`] and [`Connection`], over hyper and rustls. Sends what it is given and reads whole answers, bounded;
//! knows nothing of MCP and measures nothing but when an answer had been read. Never follows a redirect, never tries
//! twice.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes of an answer that are read; a longer one is an error.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The HTTP version that a load speaks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HttpVersion {
    /// HTTP/1.1 with keep-alive: one call under way a connection.
    #[default]
    Http1,
    /// HTTP/2, by ALPN over TLS, else with prior knowledge: several calls a connection.
    Http2,
}

/// What makes an endpoint of a URL.
#[derive(Clone, Debug, Default)]
pub struct EndpointOptions {
    /// The HTTP version.
    pub http: HttpVersion,
    /// The authority to ask for when it is not the URL's own.
    pub authority: Option<String>,
    /// A PEM file of the authorities of the target's certificate; needed for https.
    pub ca: Option<PathBuf>,
    /// Whether targets off this machine are meant.
    pub remote: bool,
}

/// Why a URL is no endpoint.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// It is no absolute http or https URL.
    #[error("`{0}` is no URL such as http://127.0.0.1:8080/mcp")]
    Url(String),
    /// Its name does not resolve.
    #[error("`{0}` does not resolve: {1}")]
    Name(String, io::Error),
    /// It is not on this machine.
    #[error("`{0}` is not on this machine: loads go to loopback unless --remote says that this target is meant")]
    Remote(String),
    /// It is https and nobody said whom to trust.
    #[error("an https target needs --ca FILE, the PEM file of the authorities of its certificate")]
    CaMissing,
    /// The file of authorities cannot be used.
    #[error("`{0}` is no usable file of certificates: {1}")]
    Ca(PathBuf, String),
}

/// Where calls go.
#[derive(Clone)]
pub struct Endpoint {
    url: Uri,
    address: SocketAddr,
    http: HttpVersion,
    /// What stands in the request line: the path for HTTP/1.1, the whole URL for HTTP/2.
    uri: Uri,
    host: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Endpoint({} at {})", self.url, self.address)
    }
}

impl Endpoint {
    /// The endpoint of `url`. Resolves its name once, by blocking.
    ///
    /// # Errors
    /// [`EndpointError`] when it is no URL, does not resolve, or is neither loopback nor meant to be remote.
    pub fn new(url: &str, options: &EndpointOptions) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Url(shown(url));
        let parsed: Uri = url.parse().map_err(|_| wrong())?;
        let (tls, port) = match parsed.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(wrong()),
        };
        let host = parsed.host().ok_or_else(wrong)?;
        // The parser passes a port that is no number of 16 bits, and a user's name and password.
        let behind = parsed
            .authority()
            .and_then(|authority| authority.as_str().strip_prefix(host));
        if behind.ok_or_else(wrong)?.is_empty() == parsed.port_u16().is_some() {
            return Err(wrong());
        }
        let name = host.trim_matches(['[', ']']).to_owned();
        let address = resolve(&name, parsed.port_u16().unwrap_or(port))?;
        if !address.ip().is_loopback() && !options.remote {
            return Err(EndpointError::Remote(shown(url)));
        }
        let authority = match &options.authority {
            Some(authority) => authority.clone(),
            None => parsed.authority().ok_or_else(wrong)?.to_string(),
        };
        let path = parsed.path_and_query().map_or("/", |path| path.as_str());
        let uri = match options.http {
            HttpVersion::Http1 => path.parse(),
            HttpVersion::Http2 => format!("{}://{authority}{path}", if tls { "https" } else { "http" }).parse(),
        };
        let tls = match tls {
            true => {
                let ca = options.ca.as_deref().ok_or(EndpointError::CaMissing)?;
                let server_name = ServerName::try_from(name).map_err(|_| wrong())?;
                Some((tls_connector(ca, options.http)?, server_name))
            }
            false => None,
        };
        Ok(Self {
            address,
            http: options.http,
            uri: uri.map_err(|_| wrong())?,
            host: HeaderValue::from_str(&authority).map_err(|_| wrong())?,
            tls,
            url: parsed,
        })
    }

    /// The URL without its query: what reports and messages may show.
    pub fn shown(&self) -> String {
        shown(&self.url.to_string())
    }

    /// The URL as it was given.
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// The address that connections are opened to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The HTTP version.
    pub fn http(&self) -> HttpVersion {
        self.http
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    fn request(&self, method: Method, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        match self.http {
            HttpVersion::Http1 => {
                request.headers_mut().insert(HOST, self.host.clone());
            }
            HttpVersion::Http2 => *request.version_mut() = Version::HTTP_2,
        }
        request
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// When its last byte had been read.
    pub finished: Instant,
}

/// Why a call got no answer.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// The connection could not be opened.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// The connection broke, or what came was no HTTP.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The answer is longer than is read.
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}

/// An open connection. A clone of an HTTP/2 connection shares it; HTTP/1.1 has no clones.
#[derive(Debug)]
pub struct Connection(Sender);

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Opens a connection; to be called within a tokio runtime, which then carries it.
    ///
    /// # Errors
    /// [`ExchangeError`] when the target does not take it.
    pub async fn open(endpoint: &Endpoint) -> Result<Self, ExchangeError> {
        let stream = TcpStream::connect(endpoint.address).await?;
        stream.set_nodelay(true)?;
        match &endpoint.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                Self::over(stream, endpoint.http).await
            }
            None => Self::over(stream, endpoint.http).await,
        }
    }

    async fn over<S>(stream: S, http: HttpVersion) -> Result<Self, ExchangeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        // The connection's own end is told by the exchanges on it, so its result says nothing new.
        let sender = match http {
            HttpVersion::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(async move { drop(connection.await) });
                Sender::Http1(sender)
            }
            HttpVersion::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(async move { drop(connection.await) });
                Sender::Http2(sender)
            }
        };
        Ok(Self(sender))
    }

    /// Another sender on the same connection; none for HTTP/1.1, which carries one call at a time.
    pub fn share(&self) -> Option<Self> {
        match &self.0 {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Self(Sender::Http2(sender.clone()))),
        }
    }

    /// Whether the connection has ended and must be opened anew.
    pub fn is_closed(&self) -> bool {
        match &self.0 {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Posts `body` and reads the whole answer, to the end of a stream.
    ///
    /// # Errors
    /// [`ExchangeError`] when there is none; the connection is then to be given up.
    pub async fn post(
        &mut self,
        endpoint: &Endpoint,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, ExchangeError> {
        self.exchange(endpoint.request(Method::POST, headers, body)).await
    }

    /// Any other request without a body, to the endpoint's own path.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn bare(
        &mut self,
        endpoint: &Endpoint,
        method: Method,
        headers: HeaderMap,
    ) -> Result<Answer, ExchangeError> {
        self.exchange(endpoint.request(method, headers, Bytes::new())).await
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, ExchangeError> {
        let response = match &mut self.0 {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (parts, body) = response.into_parts();
        let body = read(body).await?;
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            finished: Instant::now(),
        })
    }
}

/// The whole body; one that came in one piece is not copied.
async fn read(mut body: Incoming) -> Result<Bytes, ExchangeError> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if ANSWER_BYTES_MAX < first.len() + whole.len() + piece.len() {
            return Err(ExchangeError::TooLong);
        }
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&piece);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// A URL as it may be shown: without query, user and password, where secrets may stand.
pub fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest
        .split_once('/')
        .map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let slashes = if scheme.is_empty() { "" } else { "://" };
    let path = path.map(|path| format!("/{path}")).unwrap_or_default();
    format!("{scheme}{slashes}{host}{path}")
}

fn resolve(name: &str, port: u16) -> Result<SocketAddr, EndpointError> {
    let failed = |error| EndpointError::Name(name.to_owned(), error);
    let mut addresses = (name, port).to_socket_addrs().map_err(failed)?;
    addresses.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

fn tls_connector(ca: &Path, http: HttpVersion) -> Result<TlsConnector, EndpointError> {
    let wrong = |error: String| EndpointError::Ca(ca.to_owned(), error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = match http {
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Http2 => vec![b"h2".to_vec()],
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
