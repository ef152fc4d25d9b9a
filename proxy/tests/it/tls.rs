//! The TLS listener: HTTP/1.1 and HTTP/2 over certificates that are made here, and client certificates when they are
//! asked for.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::persona::{ALICE, BOB};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use crate::gate::{Gate, HOST, PATH};

/// Neither side may wait for the other longer than this.
const DEADLINE: Duration = Duration::from_secs(10);

/// An authority with a certificate for the gate and one for a client.
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    gate: Leaf,
    client: Leaf,
}

/// A certificate with its key.
pub(crate) struct Leaf {
    certificate: Certificate,
    key: KeyPair,
    serial: u64,
}

impl Leaf {
    /// SHA-256 of the certificate.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.certificate.der());
        digest.as_ref().try_into().unwrap()
    }

    /// The certificate in base64.
    pub(crate) fn base64(&self) -> String {
        STANDARD.encode(self.certificate.der())
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let (gate, client) = (leaf(&root, HOST), leaf(&root, "client.test"));
        Self { root, gate, client }
    }

    /// A further certificate.
    pub(crate) fn issue(&self, name: &str) -> Leaf {
        leaf(&self.root, name)
    }

    /// A further certificate for a client with these URI names; the last second in which it serves, when it is soon.
    pub(crate) fn issue_to(&self, uris: &[&str], last_s: Option<u64>) -> Leaf {
        let mut params = CertificateParams::new(["client.test".to_owned()]).unwrap();
        let names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(names);
        if let Some(last_s) = last_s {
            params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(last_s);
        }
        signed(&self.root, params)
    }

    /// A revocation list of this authority in PEM.
    pub(crate) fn list(&self, revoked: &[&Leaf], next_update_s: u64) -> String {
        let row = |serial: u64| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial.to_be_bytes()),
            revocation_time: rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(next_update_s - 1),
            reason_code: None,
            invalidity_date: None,
        };
        let revoked = revoked.iter().map(|leaf| row(leaf.serial));
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(next_update_s - 1),
            next_update: rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(next_update_s),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked.chain([row(1)]).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.root).unwrap().pem().unwrap()
    }

    /// A folder with the PEM files of a listener.
    pub(crate) fn folder(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let Leaf { certificate, key, .. } = &self.gate;
        for (name, text) in [
            ("gate.pem", certificate.pem()),
            ("gate.key", key.serialize_pem()),
            ("root.pem", self.root.pem()),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    /// A client that trusts this authority alone.
    pub(crate) fn client(&self, protocol: &str, with_certificate: bool) -> Arc<ClientConfig> {
        self.client_with(protocol, with_certificate.then_some(&self.client))
    }

    /// The same with this certificate.
    pub(crate) fn client_of(&self, protocol: &str, leaf: &Leaf) -> Arc<ClientConfig> {
        self.client_with(protocol, Some(leaf))
    }

    /// The same with this certificate, or without any.
    pub(crate) fn client_with(&self, protocol: &str, leaf: Option<&Leaf>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match leaf {
            Some(Leaf { certificate, key, .. }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate.der().clone()], key)
                    .unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    }
}

fn leaf(root: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Leaf {
    signed(root, CertificateParams::new([name.to_owned()]).unwrap())
}

fn signed(root: &CertifiedIssuer<'static, KeyPair>, mut params: CertificateParams) -> Leaf {
    static SERIALS: AtomicU64 = AtomicU64::new(1_000);
    let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, root).unwrap();
    Leaf {
        certificate,
        key,
        serial,
    }
}

/// Starts a gate whose listener has these further TLS files.
pub(crate) fn start(authority: &Authority, further: &str) -> Gate {
    let listener = format!("127.0.0.1:0\n    tls: {{certificate: gate.pem, key: gate.key{further}}}");
    Gate::start_in(authority.folder(), &listener, "", "")
}

fn name() -> ServerName<'static> {
    ServerName::try_from(HOST).unwrap()
}

/// A connection over TLS that stays open.
pub(crate) struct OpenConnection(StreamOwned<ClientConnection, TcpStream>);

impl OpenConnection {
    pub(crate) fn new(gate: &Gate, client: Arc<ClientConfig>) -> Self {
        let session = ClientConnection::new(client, name()).unwrap();
        Self(StreamOwned::new(session, tcp(gate)))
    }

    /// Sends one call; its status and its body.
    pub(crate) fn call(&mut self, call: &Call) -> std::io::Result<(u16, String)> {
        self.0.write_all(&call.to_http(HOST, PATH))?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().unwrap())
        });
        let mut body = vec![0; length.expect("every answer of these tests has a length")];
        self.0.read_exact(&mut body)?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok((status, String::from_utf8(body).unwrap()))
    }
}

fn tcp(gate: &Gate) -> TcpStream {
    let stream = TcpStream::connect(gate.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends one request over TLS and HTTP/1.1; everything that came back.
pub(crate) fn http1(gate: &Gate, client: Arc<ClientConfig>, call: &Call) -> std::io::Result<String> {
    let session = ClientConnection::new(client, name()).unwrap();
    let mut stream = StreamOwned::new(session, tcp(gate));
    stream.write_all(&call.clone().header("connection", "close").to_http(HOST, PATH))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A call with a body of `bytes` bytes, more or less.
fn call(id: u64, token: &str, bytes: usize) -> Call {
    let arguments = format!("{{ \"padding\" :\"{}\"}}", "a".repeat(bytes));
    Call::tools_call(Era::Modern, id, "demo.echo", &arguments).bearer(token)
}

#[test]
fn http1_over_tls_is_served() {
    let authority = Authority::new();
    let gate = start(&authority, "");
    let call = call(7, &gate.token(&ALICE), 900 * 1024);
    let answer = http1(&gate, authority.client("http/1.1", false), &call).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(gate.upstream.capture().last().unwrap().body, call.body.as_bytes());
    // Neither a stranger's authority nor plain text gets anywhere.
    let stranger = http1(&gate, Authority::new().client("http/1.1", false), &call);
    assert!(stranger.is_err(), "{stranger:?}");
    let mut plain = tcp(&gate);
    plain.write_all(&call.to_http(HOST, PATH)).ok();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).ok();
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(gate.upstream.capture().count(), 1);
    let log = gate.log();
    assert!(!log.contains("aaaaaaaa"), "a body stands in the log");
}

#[test]
fn a_client_certificate_is_asked_for_when_configured() {
    let authority = Authority::new();
    let gate = start(&authority, ", client_ca: root.pem");
    let call = call(7, &gate.token(&ALICE), 10);
    let without = http1(&gate, authority.client("http/1.1", false), &call);
    assert!(without.is_err(), "{without:?}");
    let answer = http1(&gate, authority.client("http/1.1", true), &call).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(gate.upstream.capture().count(), 1);
}

/// Sends one call as a stream of a connection; its status and body.
async fn exchange(client: h2::client::SendRequest<Bytes>, call: Call) -> (u16, Value) {
    exchange_at(client, Method::POST, format!("https://{HOST}{PATH}"), call).await
}

/// The same with this method at this address.
async fn exchange_at(client: h2::client::SendRequest<Bytes>, method: Method, uri: String, call: Call) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    let mut client = client.ready().await.unwrap();
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    // The gate may refuse before it has read everything, and resets the rest then.
    body.send_data(Bytes::from(call.body), true).ok();
    let answer = answer.await.unwrap();
    let status = answer.status().as_u16();
    let mut stream = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    // What the library below refuses by itself has no body.
    let body = match bytes.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&bytes).unwrap(),
    };
    (status, body)
}

/// Sends calls one after the other on one connection of HTTP/2; status and body of each answer.
pub(crate) fn http2(gate: &Gate, authority: &Authority, calls: Vec<(Method, String, Call)>) -> Vec<(u16, Value)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gate.address()).await.unwrap();
        let tls = TlsConnector::from(authority.client("h2", false));
        let tls = tls.connect(name(), stream).await.unwrap();
        let (client, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for (method, uri, call) in calls {
            let exchange = exchange_at(client.clone(), method, uri, call);
            answers.push(tokio::time::timeout(DEADLINE, exchange).await.unwrap());
        }
        answers
    })
}

#[test]
fn http2_serves_many_streams_of_one_connection() {
    let authority = Authority::new();
    let gate = start(&authority, "");
    let (alice, bob) = (gate.token(&ALICE), gate.token(&BOB));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gate.address()).await.unwrap();
        let tls = TlsConnector::from(authority.client("h2", false));
        let tls = tls.connect(name(), stream).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);

        let sizes = [10, 100_000, 900 * 1024, 10, 500_000, 10];
        let streams: Vec<_> = (1..)
            .zip(sizes)
            .map(|(id, bytes)| {
                let token = if id % 2 == 0 { &bob } else { &alice };
                tokio::spawn(exchange(client.clone(), call(id, token, bytes)))
            })
            .collect();
        for ((id, bytes), stream) in (1..).zip(sizes).zip(streams) {
            let (status, body) = tokio::time::timeout(DEADLINE, stream).await.unwrap().unwrap();
            let told = &body["result"]["structuredContent"];
            assert_eq!((status, &body["id"]), (200, &Value::from(id)), "{body}");
            assert_eq!(told["bytes"], call(id, "", bytes).body.len(), "{body}");
        }
        let before = gate.upstream.capture().count();
        for (bytes, token, expected) in [(10, "a.b.c", 401), (1_153_434, &*alice, 413), (10, &*bob, 200)] {
            let exchange = exchange(client.clone(), call(9, token, bytes));
            let (status, body) = tokio::time::timeout(DEADLINE, exchange).await.unwrap();
            assert_eq!(status, expected, "{body}");
        }
        assert_eq!(
            gate.upstream.capture().count(),
            before + 1,
            "a refused call went upstream"
        );
    });
    let sent: usize = gate
        .upstream
        .capture()
        .requests()
        .iter()
        .filter(|seen| !seen.body.is_empty())
        .count();
    assert_eq!(sent, 7);
}
