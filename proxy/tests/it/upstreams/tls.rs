//! TLS towards upstreams: whom the gate trusts, who it is there, whose connections are shared; and HTTP/2 over it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::Response as HttpResponse;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Response;
use portcullis_fixtures::persona::ALICE;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::stub::{json, result, with_upstream};
use crate::gate::{CONFIG, Gate, HOST, agent_and_body, own_listing, until};

/// An authority of upstreams.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate of one, with its key, in PEM and for rustls.
struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these names, in force or expired.
    fn issue(&self, names: &[&str], expired: bool) -> Leaf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Leaf { certificate, key }
    }

    /// What a server does that shows this certificate and speaks this protocol; `clients` of this authority alone may come.
    fn server(leaf: &Leaf, protocol: &str, clients: Option<&Self>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
        let mut config = builder
            .with_single_cert(vec![leaf.certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    }
}

/// A TLS upstream over HTTP/1.1 that answers every call, and notes who asked on which connection.
struct Upstream {
    address: SocketAddr,
    /// The client certificate of each call, empty for none.
    callers: Arc<Mutex<Vec<Vec<u8>>>>,
    handshakes: Arc<AtomicU64>,
}

impl Upstream {
    fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            callers: Arc::default(),
            handshakes: Arc::default(),
        };
        let (callers, handshakes) = (Arc::clone(&upstream.callers), Arc::clone(&upstream.handshakes));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, callers, handshakes) =
                    (Arc::clone(&config), Arc::clone(&callers), Arc::clone(&handshakes));
                std::thread::spawn(move || serve(stream, config, &callers, &handshakes));
            }
        });
        upstream
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/mcp", self.address.port())
    }

    fn calls(&self) -> usize {
        self.callers.lock().unwrap().len()
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, callers: &Mutex<Vec<Vec<u8>>>, handshakes: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut request = Vec::new();
    let mut is_first = true;
    loop {
        let mut piece = [0; 16 * 1_024];
        match tls.read(&mut piece) {
            Ok(read @ 1..) => request.extend_from_slice(&piece[..read]),
            Ok(_) | Err(_) => return,
        }
        // Every call of these tests ends so, and nothing else does.
        if request.ends_with(b"}}") {
            let text = String::from_utf8_lossy(&request).into_owned();
            let (agent, body) = agent_and_body(&text);
            if let Some(listing) = own_listing(agent, body) {
                request.clear();
                tls.write_all(json(&listing).as_bytes()).unwrap();
                continue;
            }
            if std::mem::take(&mut is_first) {
                handshakes.fetch_add(1, Ordering::Relaxed);
            }
            let shown = tls.conn.peer_certificates().and_then(|chain| chain.first());
            callers
                .lock()
                .unwrap()
                .push(shown.map(|leaf| leaf.to_vec()).unwrap_or_default());
            request.clear();
            tls.write_all(json(&result(1, "well")).as_bytes()).unwrap();
        }
    }
}

/// A folder with these files.
fn folder(files: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn start(files: &[(&str, String)], lines: &str) -> Gate {
    Gate::start_changed_in(folder(files), |_, text| with_upstream(&text, lines))
}

fn ask(gate: &Gate) -> Response {
    let call = Call::tools_call(Era::Modern, 1, "demo.echo", "{}");
    gate.call(&call.bearer(&gate.token(&ALICE)))
}

/// A call that needs nothing known of the server's tools.
fn ask_for_list(gate: &Gate) -> Response {
    gate.call(&Call::tools_list(Era::Modern, 1).bearer(&gate.token(&ALICE)))
}

#[test]
fn an_upstream_is_trusted_by_its_own_authorities_under_its_own_name() {
    let [right, wrong] = [Authority::new(), Authority::new()];
    let pem = |authority: &Authority| authority.0.pem();
    let by_address = right.issue(&["127.0.0.1"], false);
    let by_name = right.issue(&["upstream.test"], false);
    let expired = right.issue(&["127.0.0.1"], true);
    let cases = [
        ("the right one", &by_address, pem(&right), "", 200),
        (
            "among others",
            &by_address,
            format!("{}{}", pem(&wrong), pem(&right)),
            "",
            200,
        ),
        (
            "a name of its own",
            &by_name,
            pem(&right),
            ", server_name: upstream.test",
            200,
        ),
        ("another authority", &by_address, pem(&wrong), "", 502),
        ("another name", &by_name, pem(&right), "", 502),
        (
            "another name that is written",
            &by_name,
            pem(&right),
            ", server_name: other.test",
            502,
        ),
        (
            "the address under a name",
            &by_address,
            pem(&right),
            ", server_name: upstream.test",
            502,
        ),
        ("an expired certificate", &expired, pem(&right), "", 502),
    ];
    for (name, leaf, ca, further, status) in cases {
        let upstream = Upstream::start(Authority::server(leaf, "http/1.1", None));
        let lines = format!("      url: {}\n      tls: {{ca_file: ca.pem{further}}}", upstream.url());
        let gate = start(&[("ca.pem", ca)], &lines);
        let answer = match status {
            200 => ask(&gate),
            _ => ask_for_list(&gate),
        };
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_eq!(
            upstream.calls() == 1,
            status == 200,
            "{name}: a call went to a stranger"
        );
        if status == 502 {
            let told = gate.logged("an endpoint is put aside");
            assert!(
                told[0]["reason"].as_str().unwrap().starts_with("TLS failed: "),
                "{name}: {told:?}"
            );
        }
    }
    // The system does not know such an authority.
    let upstream = Upstream::start(Authority::server(&by_address, "http/1.1", None));
    let gate = start(&[], &format!("      url: {}", upstream.url()));
    assert_eq!(ask_for_list(&gate).status, 502);
    assert_eq!(upstream.calls(), 0);
}

#[test]
fn an_upstream_sees_the_gates_certificate_where_one_is_written() {
    let (servers, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let leaf = servers.issue(&["127.0.0.1"], false);
    let own = clients.issue(&["gate.test"], false);
    let (strange, expired) = (
        strangers.issue(&["gate.test"], false),
        clients.issue(&["gate.test"], true),
    );
    let cases = [
        ("its own", Some(&own), 200),
        ("none", None, 502),
        ("a stranger's", Some(&strange), 502),
        ("an expired one", Some(&expired), 502),
    ];
    for (name, shown, status) in cases {
        let upstream = Upstream::start(Authority::server(&leaf, "http/1.1", Some(&clients)));
        let mut files = vec![("ca.pem", servers.0.pem())];
        let mut tls = String::from("{ca_file: ca.pem");
        if let Some(shown) = shown {
            files.push(("gate.pem", shown.certificate.pem()));
            files.push(("gate.key", shown.key.serialize_pem()));
            tls += ", client_certificate: {certificate_file: gate.pem, key_file: gate.key}";
        }
        let gate = start(&files, &format!("      url: {}\n      tls: {tls}}}", upstream.url()));
        let answer = match status {
            200 => ask(&gate),
            _ => ask_for_list(&gate),
        };
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        let callers = upstream.callers.lock().unwrap();
        let expected: Vec<Vec<u8>> = shown.iter().map(|shown| shown.certificate.der().to_vec()).collect();
        assert_eq!(*callers, if status == 200 { expected } else { Vec::new() }, "{name}");
    }
}

#[test]
fn a_reload_takes_up_new_trust() {
    let [right, wrong] = [Authority::new(), Authority::new()];
    let leaf = right.issue(&["127.0.0.1"], false);
    let upstream = Upstream::start(Authority::server(&leaf, "http/1.1", None));
    let lines = format!("      url: {}\n      tls: {{ca_file: ca.pem}}", upstream.url());
    let gate = start(&[("ca.pem", right.0.pem())], &lines);
    assert_eq!(ask(&gate).status, 200);
    let reload = |text: &str, message: &str| {
        let before = gate.logged(message).len();
        std::fs::write(gate.path("ca.pem"), text).unwrap();
        gate.signal("HUP");
        until(|| before < gate.logged(message).len());
    };
    // The connection of before is still open, and is of another trust.
    reload(&wrong.0.pem(), "configuration reloaded");
    assert_eq!(ask(&gate).status, 502);
    reload("no pem", "reload refused, the old configuration stays in force");
    assert_eq!(ask(&gate).status, 502);
    reload(&right.0.pem(), "configuration reloaded");
    assert_eq!(ask(&gate).status, 200, "it is tried at once");
    assert_eq!(upstream.calls(), 2);
}

/// The authorities of all upstreams are read again as well.
#[test]
fn a_reload_takes_up_new_authorities_of_all_upstreams() {
    let [right, wrong] = [Authority::new(), Authority::new()];
    let leaf = right.issue(&["127.0.0.1"], false);
    let upstream = Upstream::start(Authority::server(&leaf, "http/1.1", None));
    let url = format!("      url: {}", upstream.url());
    let gate = Gate::start_changed_in(folder(&[("ca.pem", wrong.0.pem())]), |_, text| {
        with_upstream(&text, &url).replacen("\naudit:\n", "\nupstream_ca: ca.pem\naudit:\n", 1)
    });
    // Whether a call arrives there; what is answered is another matter.
    let reaches = || {
        let before = upstream.calls();
        ask_for_list(&gate);
        before < upstream.calls()
    };
    assert!(!reaches());
    let reload = |text: Option<&str>, message: &str| {
        let before = gate.logged(message).len();
        match text {
            Some(text) => std::fs::write(gate.path("ca.pem"), text).unwrap(),
            None => {
                let config = std::fs::read_to_string(gate.path(CONFIG)).unwrap();
                std::fs::write(gate.path(CONFIG), config.replacen("upstream_ca: ca.pem\n", "", 1)).unwrap();
            }
        }
        gate.signal("HUP");
        until(|| before < gate.logged(message).len());
    };
    reload(Some(&right.0.pem()), "configuration reloaded");
    assert!(reaches());
    reload(Some("no pem"), "reload refused, the old configuration stays in force");
    assert!(reaches());
    // The connection of before is still open, and is of another trust.
    reload(Some(&wrong.0.pem()), "configuration reloaded");
    assert!(!reaches());
    reload(Some(&right.0.pem()), "configuration reloaded");
    assert!(reaches());
    // Without the key the system's authorities hold, which do not know it.
    reload(None, "configuration reloaded");
    assert!(!reaches());
    assert_eq!(upstream.calls(), 3);
}

/// Two servers behind one address: a connection of the one never carries a call of the other, unless all is the same.
#[test]
fn connections_of_one_server_are_another_servers_only_when_trust_and_certificate_are_the_same() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let leaf = servers.issue(&["127.0.0.1"], false);
    let [first, second] = ["first", "second"].map(|_| clients.issue(&["gate.test"], false));
    for same in [false, true] {
        let upstream = Upstream::start(Authority::server(&leaf, "http/1.1", Some(&clients)));
        let files = [
            ("ca.pem", servers.0.pem()),
            ("first.pem", first.certificate.pem()),
            ("first.key", first.key.serialize_pem()),
            ("second.pem", second.certificate.pem()),
            ("second.key", second.key.serialize_pem()),
        ];
        let tls = |name: &str| {
            format!(
                "tls: {{ca_file: ca.pem, client_certificate: {{certificate_file: {name}.pem, key_file: {name}.key}}}}"
            )
        };
        let (url, other) = (upstream.url(), if same { "first" } else { "second" });
        let gate = Gate::start_changed_in(folder(&files), |issuer, text| {
            let second = format!(
                "  - name: two
    path: /two/mcp
    resource: http://gate.test/two/mcp
    issuers: [{}]
    upstream:
      url: {url}
      {}
    tools: {{file: tools.json}}
    policy: {{files: [request.rego, response.rego], data: [data.json]}}
limits:",
                issuer.url(),
                tls(other)
            );
            let first = format!("      url: {url}\n      {}", tls("first"));
            with_upstream(&text, &first).replacen("limits:", &second, 1)
        });
        let tokens =
            ["http://gate.test/crm/mcp", "http://gate.test/two/mcp"].map(|resource| gate.issuer.mint(&ALICE, resource));
        for round in 0..3 {
            for (path, token) in ["/crm/mcp", "/two/mcp"].into_iter().zip(&tokens) {
                let call = Call::tools_call(Era::Modern, 1, "demo.echo", "{}").bearer(token);
                let answer = gate.connect().exchange(&call.to_http(HOST, path)).unwrap();
                assert_eq!(answer.status, 200, "{round} {path}: {}", answer.text());
            }
        }
        let callers = upstream.callers.lock().unwrap().clone();
        let of = |leaf: &Leaf| leaf.certificate.der().to_vec();
        let expected = [of(&first), of(if same { &first } else { &second })];
        let expected: Vec<Vec<u8>> = expected.iter().cycle().take(6).cloned().collect();
        assert_eq!(callers, expected);
        assert_eq!(upstream.handshakes.load(Ordering::Relaxed), if same { 1 } else { 2 });
    }
}

#[test]
fn what_cannot_be_used_is_refused_before_anything_starts() {
    let authority = Authority::new();
    let leaf = authority.issue(&["127.0.0.1"], false);
    let gate = start(&[("ca.pem", authority.0.pem())], "      url: https://127.0.0.1:1/mcp");
    let text = std::fs::read_to_string(gate.path(CONFIG)).unwrap();
    for (name, text) in [
        ("leaf.pem", leaf.certificate.pem()),
        ("leaf.key", leaf.key.serialize_pem()),
        ("other.key", KeyPair::generate().unwrap().serialize_pem()),
    ] {
        std::fs::write(gate.path(name), text).unwrap();
    }
    let url = "      url: https://127.0.0.1:1/mcp\n      ";
    let pair = |key: &str| format!("{url}tls: {{client_certificate: {{certificate_file: leaf.pem, key_file: {key}}}}}");
    for (lines, wanted) in [
        (url.replace("https", "http") + "tls: {ca_file: ca.pem}", "asked by http"),
        (
            format!("{url}tls: {{ca_file: leaf.key}}"),
            "no usable certificate authority",
        ),
        (format!("{url}tls: {{ca_file: absent.pem}}"), "E0201"),
        (format!("{url}tls: {{server_name: a b}}"), "is no name of a certificate"),
        (
            format!("{url}tls: {{server_name: a_b.test}}"),
            "is no name of a certificate",
        ),
        (pair("other.key"), "certificate and key cannot be used"),
        (pair("leaf.pem"), "no readable private key"),
        (format!("{url}urls: [https://127.0.0.1:2/mcp]"), "stands beside `url`"),
        (
            String::from("      urls: [https://127.0.0.1:1/mcp, http://127.0.0.1:1/mcp]"),
            "some endpoints are https",
        ),
        (
            String::from("      urls: [https://127.0.0.1:1/mcp, https://127.0.0.1:1/mcp]"),
            "E0406",
        ),
        (String::from("      name: crm-1"), "has no `url`"),
        (format!("{url}health: {{interval: 999ms}}"), "from 1s to 1h"),
        (format!("{url}health: {{path: healthz}}"), "is no path"),
    ] {
        std::fs::write(gate.path(CONFIG), with_upstream(&text, &lines)).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["check", "-c"])
            .arg(gate.path(CONFIG))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{lines}: {told}");
        assert!(told.contains(wanted), "{lines}: {told}");
        assert!(!told.contains("PRIVATE KEY"), "{told}");
    }
}

/// What an upstream of HTTP/2 does with a call, by its number.
type Act = fn(&mut SendResponse<Bytes>, u64) -> Do;

/// What it does with the connection after that.
enum Do {
    Keep,
    GoAway,
}

/// An upstream that speaks HTTP/2 alone; the counts of its connections and of its calls.
fn http2(act: Act) -> (Authority, String, Arc<[AtomicU64; 2]>) {
    let authority = Authority::new();
    let leaf = authority.issue(&["127.0.0.1"], false);
    let config = Authority::server(&leaf, "h2", None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://127.0.0.1:{}/mcp", listener.local_addr().unwrap().port());
    let counts: Arc<[AtomicU64; 2]> = Arc::default();
    let shared = Arc::clone(&counts);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counts) = (TlsAcceptor::from(Arc::clone(&config)), Arc::clone(&shared));
                tokio::spawn(async move {
                    if let Ok(tls) = acceptor.accept(stream).await {
                        converse(tls, act, &counts).await;
                    }
                });
            }
        });
    });
    (authority, url, counts)
}

async fn converse(
    tls: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    act: Act,
    [connections, calls]: &[AtomicU64; 2],
) {
    let mut is_first = true;
    let mut connection = h2::server::handshake(tls).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/mcp");
        assert!(request.uri().authority().is_some());
        let agent = request.headers().get("user-agent").cloned();
        let mut body = request.into_body();
        let mut whole = Vec::new();
        let reading = async {
            while let Some(Ok(piece)) = body.data().await {
                body.flow_control().release_capacity(piece.len()).unwrap();
                whole.extend_from_slice(&piece);
            }
        };
        // The connection has to be driven while the body is read.
        tokio::select! {
            () = reading => {}
            next = std::future::poll_fn(|context| connection.poll_closed(context)) => {
                next.ok();
                return;
            }
        }
        let agent = agent.as_ref().and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        if let Some(listing) = own_listing(agent, &String::from_utf8_lossy(&whole)) {
            answer(&mut respond, "application/json", &listing);
            continue;
        }
        // The gate lists the tools over a connection of its own.
        if std::mem::take(&mut is_first) {
            connections.fetch_add(1, Ordering::Relaxed);
        }
        let number = calls.fetch_add(1, Ordering::Relaxed);
        if let Do::GoAway = act(&mut respond, number) {
            connection.graceful_shutdown();
        }
    }
}

fn answer(respond: &mut SendResponse<Bytes>, media_type: &str, body: &str) {
    let head = HttpResponse::builder()
        .header("content-type", media_type)
        .body(())
        .unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    stream.send_data(Bytes::from(body.to_owned()), true).unwrap();
}

fn before(authority: &Authority, url: &str) -> Gate {
    let lines = format!("      url: {url}\n      tls: {{ca_file: ca.pem}}");
    start(&[("ca.pem", authority.0.pem())], &lines)
}

#[test]
fn an_upstream_that_speaks_http2_alone_serves_calls_over_one_connection() {
    let (authority, url, counts) = http2(|respond, number| {
        match number % 2 {
            0 => answer(respond, "application/json", &result(1, "well")),
            _ => answer(
                respond,
                "text/event-stream",
                &format!("data: {}\n\n", result(1, "well")),
            ),
        }
        Do::Keep
    });
    let gate = before(&authority, &url);
    for _ in 0..6 {
        let answer = ask(&gate);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("well"));
    }
    let counts = [0, 1].map(|at| counts[at].load(Ordering::Relaxed));
    assert_eq!(counts, [1, 6]);
}

#[test]
fn faults_of_http2_lose_one_call_each_and_never_send_one_twice() {
    let (authority, url, counts) = http2(|respond, number| {
        match number {
            0 => respond.send_reset(Reason::INTERNAL_ERROR),
            2 => respond.send_reset(Reason::REFUSED_STREAM),
            4 => {
                // A head, half a body, and no more.
                let head = HttpResponse::builder()
                    .header("content-type", "application/json")
                    .body(());
                let mut stream = respond.send_response(head.unwrap(), false).unwrap();
                stream.send_data(Bytes::from_static(b"{\"jsonrpc\""), false).unwrap();
                tokio::spawn(async move {
                    // A reset takes along what has not left yet: it comes once the head has.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    stream.send_reset(Reason::CANCEL);
                });
            }
            6 => {
                let head = HttpResponse::builder().header("content-type", "application/json");
                let head = head.header("x-padding", "a".repeat(40_000)).body(()).unwrap();
                respond.send_response(head, true).unwrap();
            }
            _ => answer(respond, "application/json", &result(1, "well")),
        }
        // The answers at 3 and 7 are the last of their connections.
        if number % 4 == 3 { Do::GoAway } else { Do::Keep }
    });
    let gate = before(&authority, &url);
    for number in 0..10_u64 {
        let expected = if number < 8 && number % 2 == 0 { 502 } else { 200 };
        let answer = ask(&gate);
        assert_eq!(answer.status, expected, "{number}: {}", answer.text());
        assert_eq!(counts[1].load(Ordering::Relaxed), number + 1, "a call was sent twice");
        if number % 4 == 3 {
            // The gate may see the end of the connection a little after the answer.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    assert_eq!(counts[0].load(Ordering::Relaxed), 3);
    let mut gate = gate;
    gate.terminate();
    assert!(gate.wait().success());
    let records = gate.tail();
    let outcomes: Vec<&str> = records.iter().filter_map(|record| record["outcome"].as_str()).collect();
    let count = |wanted: &str| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!(
        (count("unknown"), count("upstream_failed"), count("reviewed")),
        (2, 2, 6),
        "{outcomes:?}"
    );
}
