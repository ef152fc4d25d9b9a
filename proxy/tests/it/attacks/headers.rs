//! N4, in all its spellings: fields by which a client tells who it is, or that it has been let in already.
//!
//! Owns the forged fields over HTTP/1.1 and HTTP/2: once, twice, in other case, with underscores, in trailers, named in
//! `Connection`. Beside each stands a neighbour that crosses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use portcullis_fixtures::calls::Call;
use portcullis_fixtures::capture::Received;
use portcullis_fixtures::http1::request;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::{RATE, Refusal, Trial, echo, refusal};
use crate::gate::{CREDENTIAL, Gate, HOST, PATH};
use crate::tls::Authority;

const FORGED: &str = "forged-2236067977";
/// Fields that the configuration lets through, each way.
const FORWARDED: &str = "      forward_headers: {request: [traceparent], response: [traceresponse]}\n    tools:\n";
const MISMATCH: Refusal = refusal(400, -32_020, "header_mismatch");

/// Every name that could tell a subject, an actor, scopes, a record, a tenant or a credential.
fn names() -> Vec<String> {
    const FACTS: [&str; 9] = [
        "subject",
        "actor",
        "on-behalf-of",
        "scopes",
        "roles",
        "tenant",
        "record-id",
        "principal-id",
        "credential",
    ];
    const OTHERS: [&str; 26] = [
        "baggage",
        "client-cert",
        "client-cert-chain",
        "cookie",
        "dpop-nonce",
        "forwarded",
        "mcp-init-host",
        "mcp-router-key",
        "proxy-authorization",
        "remote-user",
        "via",
        "x-auth-request-user",
        "x-forwarded-client-cert",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-user",
        "x-http-method-override",
        "x-mcp-authorized",
        "x-mcp-router-key",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
        "x-spiffe-id",
        "x-tenant",
        "x-user",
    ];
    let facts = FACTS.iter().flat_map(|fact| {
        [
            format!("portcullis-{fact}"),
            format!("x-portcullis-{fact}"),
            format!("x-{fact}"),
        ]
    });
    let mut names: Vec<String> = facts.chain(OTHERS.map(str::to_owned)).collect();
    // Servers that make variables of names cannot tell these from the fields that they do read.
    let twins: Vec<String> = names
        .iter()
        .map(|name| name.replace('-', "_"))
        .filter(|name| name.contains('_'))
        .collect();
    names.extend(twins);
    names.extend(
        [
            "mcp_name",
            "mcp_method",
            "mcp_protocol_version",
            "authorization_",
            "traceparent_",
        ]
        .map(str::to_owned),
    );
    names
}

/// The gate of a trial, with a rate that its calls cannot exceed and a field that crosses.
fn start(listener: &str, folder: tempfile::TempDir) -> Trial {
    Trial::of(Gate::start_changed_in(folder, |_, text| {
        let text = text.replacen("  - address: 127.0.0.1:0\n", listener, 1);
        let text = text.replacen("    tools:\n", FORWARDED, 1);
        text.replacen("\nlimits:\n", &format!("{RATE}\nlimits:\n"), 1)
    }))
}

/// Checks what the upstream saw of a call: the gate's credential, the protocol's fields, and nothing forged.
#[track_caller]
fn check_arrived(name: &str, arrived: &Received) {
    const KNOWN: [&str; 11] = [
        "accept",
        "accept-language",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "traceparent",
        "user-agent",
    ];
    assert!(!arrived.mentions(FORGED), "{name}: a forged field went upstream");
    for (field, _) in &arrived.headers {
        assert!(KNOWN.contains(&&**field), "{name}: `{field}` went upstream");
        let times = arrived.headers.iter().filter(|(other, _)| other == field).count();
        assert_eq!(times, 1, "{name}: `{field}` went upstream twice");
    }
    assert_eq!(arrived.header("authorization"), Some(CREDENTIAL), "{name}");
    assert_ne!(
        arrived.header("host"),
        Some(HOST),
        "{name}: the upstream is asked by its own name"
    );
    for needed in ["mcp-protocol-version", "mcp-method", "mcp-name"] {
        assert!(arrived.header(needed).is_some(), "{name}: `{needed}` was dropped");
    }
}

#[test]
fn n4_forged_fields_over_http1() {
    let trial = start("  - address: 127.0.0.1:0\n", tempfile::tempdir().unwrap());
    let good = trial.good();
    let last = || trial.gate.upstream.capture().last().unwrap();
    let silent = |name: &str, call: Call| {
        trial.accepted(name, &call.bearer(&good));
        check_arrived(name, &last());
    };
    let names = names();
    let all = |call: Call| names.iter().take(80).fold(call, |call, name| call.header(name, FORGED));
    silent("each once", all(echo()));
    for name in &names {
        silent(
            &format!("{name} twice"),
            echo().header(name, FORGED).header(name, FORGED),
        );
        silent(
            &format!("{name} in upper case"),
            echo().header(&name.to_uppercase(), FORGED),
        );
    }
    // What `Connection` names is for the next hop alone; it takes out nothing that was judged.
    let judged = "authorization, mcp-method, mcp-name, mcp-protocol-version, host, content-length";
    silent("named in Connection", all(echo().header("connection", judged)));
    for name in names.iter().take(9) {
        silent(name, echo().header("connection", name).header(name, FORGED));
    }

    // The neighbour crosses, unless `Connection` names it or it stands twice.
    let traced = |call: Call| {
        trial.accepted("traced", &call.bearer(&good));
        check_arrived("traced", &last());
        last().header("traceparent").map(str::to_owned)
    };
    assert_eq!(traced(echo().header("TraceParent", "00-1")).as_deref(), Some("00-1"));
    assert_eq!(
        traced(
            echo()
                .header("traceparent", "00-1")
                .header("connection", "close, TRACEPARENT")
        ),
        None
    );
    assert_eq!(
        traced(echo().header("traceparent", "00-1").header("traceparent", "00-2")),
        None
    );
    assert_eq!(traced(echo().header("traceparent_", "00-1")), None);
    trial.accepted(
        "spoken",
        &echo()
            .header("accept-language", "de")
            .header("user-agent", "test/1")
            .bearer(&good),
    );
    assert_eq!(
        (last().header("accept-language"), last().header("user-agent")),
        (Some("de"), Some("test/1"))
    );

    for name in names.iter().take(12) {
        chunked(&trial, &good, name);
    }
    others(&trial, &good);
    trial.finish();
}

/// A body in chunks with this trailer: nobody reads on, whatever it is called.
fn chunked(trial: &Trial, token: &str, name: &str) {
    let call = echo().bearer(token);
    let mut bytes =
        format!("POST {PATH} HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\ntrailer: {name}\r\n");
    for (name, value) in &call.headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = &call.body;
    let trailers = format!("{name}: {FORGED}\r\nauthorization: {FORGED}\r\nmcp-name: {FORGED}\r\n");
    let with = |trailers: &str| format!("{bytes}\r\n{:x}\r\n{body}\r\n0\r\n{trailers}\r\n", body.len());
    let malformed = refusal(400, 40_001, "head_malformed");
    trial.refused_bytes("a trailer", with(&trailers).as_bytes(), malformed);
    let answer = trial.gate.connect().exchange(with("").as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    trial.note(1, "", 0);
    let arrived = trial.gate.upstream.capture().last().unwrap();
    check_arrived("announced trailers that do not come", &arrived);
    assert_eq!(arrived.body, body.as_bytes());
}

/// Another addressee than was asked for, and fields that contradict the body.
fn others(trial: &Trial, token: &str) {
    let to = |host: &str, call: &Call| {
        let fields = call.headers.iter().map(|(name, value)| (&**name, &**value));
        request("POST", host, PATH, fields, call.body.as_bytes())
    };
    let good = echo().bearer(token);
    for host in [
        "evil.test",
        "gate.test.evil.test",
        "127.0.0.1",
        "gate.test:81",
        "localhost",
    ] {
        trial.refused_bytes(host, &to(host, &good), refusal(403, 40_303, "host_unknown"));
    }
    for origin in [
        "https://evil.test",
        "null",
        "http://page.test",
        "https://page.test.evil.test",
    ] {
        let call = good.clone().header("origin", origin);
        trial.refused(origin, &call, refusal(403, 40_303, "origin_forbidden"));
    }
    trial.accepted("an allowed page", &good.clone().header("origin", crate::gate::ORIGIN));
    for (field, value) in [("mcp-name", "salesforce.account.delete"), ("mcp-method", "tools/list")] {
        trial.refused(
            field,
            &echo().without_header(field).header(field, value).bearer(token),
            MISMATCH,
        );
        trial.refused(field, &good.clone().header(field, value), MISMATCH);
    }
}

/// A client of HTTP/2 on one connection.
struct Http2(h2::client::SendRequest<Bytes>);

impl Http2 {
    async fn connect(trial: &Trial, authority: &Authority) -> Self {
        let stream = tokio::net::TcpStream::connect(trial.gate.address()).await.unwrap();
        let tls = TlsConnector::from(authority.client("h2", false));
        let tls = tls.connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap();
        let (client, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        Self(client)
    }

    /// The status of a call to `host` with these fields beside its own, the last ones in trailers.
    async fn send(&self, host: &str, call: &Call, fields: &[(&str, &str)], trailers: &[(&str, &str)]) -> u16 {
        let mut head = Request::builder()
            .method(Method::POST)
            .uri(format!("https://{host}{PATH}"));
        let own = call.headers.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in own.chain(fields.iter().copied()) {
            head = head.header(name, value);
        }
        let mut client = self.0.clone().ready().await.unwrap();
        let (answer, mut body) = client.send_request(head.body(()).unwrap(), false).unwrap();
        let sent = Bytes::from(call.body.clone());
        // The gate may refuse before it has read everything.
        if trailers.is_empty() {
            body.send_data(sent, true).ok();
        } else {
            body.send_data(sent, false).ok();
            let mut last = HeaderMap::new();
            for (name, value) in trailers {
                let name = HeaderName::try_from(*name).unwrap();
                last.append(name, HeaderValue::try_from(*value).unwrap());
            }
            body.send_trailers(last).ok();
        }
        let answer = tokio::time::timeout(Duration::from_secs(10), answer)
            .await
            .unwrap()
            .unwrap();
        let status = answer.status().as_u16();
        let mut stream = answer.into_body();
        while let Some(piece) = stream.data().await {
            stream.flow_control().release_capacity(piece.unwrap().len()).unwrap();
        }
        status
    }
}

#[test]
fn n4_forged_fields_over_http2() {
    let authority = Authority::new();
    let listener = "  - address: 127.0.0.1:0\n    tls: {certificate: gate.pem, key: gate.key}\n";
    let trial = start(listener, authority.folder());
    let call = echo().bearer(&trial.good());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Http2::connect(&trial, &authority).await;
        let last = || -> Arc<Received> { trial.gate.upstream.capture().last().unwrap() };
        let names = names();
        for name in &names {
            let forged = [(&**name, FORGED), (&**name, FORGED)];
            assert_eq!(client.send(HOST, &call, &forged, &[]).await, 200, "{name}");
            trial.note(1, "", 0);
            check_arrived(name, &last());
        }
        let all: Vec<(&str, &str)> = names.iter().take(80).map(|name| (&**name, FORGED)).collect();
        assert_eq!(client.send(HOST, &call, &all, &[]).await, 200);
        trial.note(1, "", 0);
        check_arrived("each once", &last());
        let trailers = [
            ("x-portcullis-subject", FORGED),
            ("authorization", FORGED),
            ("mcp-name", FORGED),
        ];
        assert_eq!(client.send(HOST, &call, &[], &trailers).await, 400);
        trial.check_upstream("trailers");
        assert_eq!(client.send(HOST, &call, &[], &[("x-checksum", "1")]).await, 400);
        trial.check_upstream("one trailer");
        assert_eq!(client.send(HOST, &call, &[], &[]).await, 200);
        trial.note(1, "", 0);
        check_arrived("no trailers", &last());

        assert_eq!(client.send(HOST, &call, &[("traceparent", "00-1")], &[]).await, 200);
        trial.note(1, "", 0);
        assert_eq!(last().header("traceparent"), Some("00-1"));
        let twice = [("traceparent", "00-1"), ("traceparent", "00-2")];
        assert_eq!(client.send(HOST, &call, &twice, &[]).await, 200);
        trial.note(1, "", 0);
        check_arrived("twice", &last());
        assert_eq!(last().header("traceparent"), None);

        for (host, fields, status) in [
            ("evil.test", &[][..], 403),
            (HOST, &[("origin", "https://evil.test")][..], 403),
            (HOST, &[("mcp-name", "salesforce.account.delete")][..], 400),
            (HOST, &[("authorization", "Bearer a.b.c")][..], 400),
        ] {
            assert_eq!(client.send(host, &call, fields, &[]).await, status, "{host} {fields:?}");
            trial.check_upstream(host);
        }
    });
}
