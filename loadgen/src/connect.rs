//! Connections to a target: HTTP/1.1 or HTTP/2, with or without TLS.
//!
//! Owns [`Endpoint`] and [`Connection`], over hyper and rustls. Sends what it is given and reads whole answers, bounded;
//! knows nothing of MCP and measures nothing but when an answer had been read.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use thiserror::Error;
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

/// Where calls go.
#[derive(Clone)]
pub struct Endpoint {
    /// The URL as it was given.
    pub url: Uri,
    /// The address that connections are opened to.
    pub address: SocketAddr,
    /// What is sent as `Host` or `:authority`.
    pub authority: String,
    /// The HTTP version.
    pub http: HttpVersion,
    /// The TLS client, for https.
    pub tls: Option<TlsConnector>,
}

/// What makes an endpoint of a URL.
#[derive(Clone, Debug, Default)]
pub struct EndpointOptions {
    /// The HTTP version.
    pub http: HttpVersion,
    /// The authority to ask for when it is not the URL's own.
    pub authority: Option<String>,
    /// A PEM file of authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// Whether targets off this machine are meant.
    pub remote: bool,
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
    Connect(io::Error),
    /// The connection broke, or what came was no HTTP.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The answer is longer than is read.
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}
