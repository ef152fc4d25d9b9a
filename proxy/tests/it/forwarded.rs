//! `trusted_proxies`: who is believed about the client's address and the host that it asked for.
//!
//! Owns the test over HTTP/1.1 and HTTP/2, from a proxy's address and from its neighbour's; the reading of the fields in
//! all their forms is tested where it lives.

use std::net::{SocketAddr, TcpStream};

use http::Method;
use portcullis_fixtures::calls::Call;
use portcullis_fixtures::http1::Connection;
use portcullis_fixtures::persona::ALICE;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::attacks::{RATE, echo};
use crate::gate::{Gate, HOST, PATH};
use crate::tls::{self, Authority};

const PROXY: &str = "127.0.0.7";
const NEIGHBOUR: &str = "127.0.0.8";

/// A connection from this address of the machine.
fn from(gate: &Gate, address: &str) -> Connection {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let own: SocketAddr = format!("{address}:0").parse().unwrap();
    socket.bind(&own.into()).unwrap();
    socket.connect(&gate.address().into()).unwrap();
    Connection::over(TcpStream::from(socket)).unwrap()
}

fn start(proxies: &'static str, fields: &'static str, resource: &'static str) -> Gate {
    Gate::start_changed(move |_, text| {
        let text = text.replacen(
            "\nlimits:\n",
            &format!("\n{RATE}\ntrusted_proxies: {{addresses: [{proxies}], fields: {fields}}}\nlimits:\n"),
            1,
        );
        text.replacen("http://gate.test/crm/mcp", resource, 1)
    })
}

/// The status of a call from `address` to `host` with these fields.
fn status(gate: &Gate, address: &str, host: &str, call: &Call, fields: &[(&str, &str)]) -> u16 {
    let call = fields
        .iter()
        .fold(call.clone(), |call, (name, value)| call.header(name, value));
    from(gate, address).exchange(&call.to_http(host, PATH)).unwrap().status
}

/// The client addresses in the records of refusals for this reason.
fn addresses(records: &[Value], reason: &str) -> Vec<String> {
    let refusals = records.iter().filter(|record| record["reason"] == reason);
    let mut addresses: Vec<String> = refusals
        .map(|record| record["client_ip"].as_str().unwrap().to_owned())
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

#[test]
fn the_client_of_a_trusted_proxy_is_the_one_that_it_names() {
    let mut gate = start("127.0.0.7, 10.0.0.0/8", "x_forwarded", "http://gate.test/crm/mcp");
    let call = echo().bearer(&gate.token(&ALICE));
    let stranger = echo();
    let chain = "203.0.113.1, 192.0.2.9, 10.1.1.1";
    assert_eq!(status(&gate, PROXY, HOST, &call, &[("x-forwarded-for", chain)]), 200);
    let arrived = gate.upstream.capture().last().unwrap();
    for told in ["192.0.2.9", "203.0.113.1", "10.1.1.1"] {
        assert!(!arrived.mentions(told), "a forwarded field went upstream");
    }
    // Without a token each is refused, and counted by who it is.
    assert_eq!(
        status(&gate, PROXY, HOST, &stranger, &[("x-forwarded-for", chain)]),
        401
    );
    assert_eq!(
        status(
            &gate,
            PROXY,
            HOST,
            &stranger,
            &[("x-forwarded-for", "[2001:db8::9]:47")]
        ),
        401
    );
    assert_eq!(status(&gate, PROXY, HOST, &stranger, &[]), 401);
    assert_eq!(
        status(
            &gate,
            NEIGHBOUR,
            HOST,
            &stranger,
            &[("x-forwarded-for", "198.51.100.1")]
        ),
        401
    );
    for bad in [
        [("x-forwarded-for", "unknown"), ("x-a", "a")],
        [("x-forwarded-for", "192.0.2.9,"), ("x-a", "a")],
        [("x-forwarded-proto", "ftp"), ("x-a", "a")],
        [("x-forwarded-host", "a"), ("x-forwarded-host", "a")],
    ] {
        assert_eq!(status(&gate, PROXY, HOST, &call, &bad), 400, "{bad:?}");
        assert_eq!(status(&gate, NEIGHBOUR, HOST, &call, &bad), 200, "{bad:?}");
    }
    gate.terminate();
    assert!(gate.wait().success());
    let records = gate.tail();
    assert_eq!(
        addresses(&records, "credential_missing"),
        ["127.0.0.7", "127.0.0.8", "192.0.2.9", "2001:db8::9"]
    );
    assert_eq!(addresses(&records, "head_malformed"), [PROXY]);
}

#[test]
fn the_host_of_a_trusted_proxy_is_the_public_one() {
    for fields in ["x_forwarded", "forwarded"] {
        let gate = start("127.0.0.7", fields, "http://gate.test/crm/mcp");
        let call = echo().bearer(&gate.token(&ALICE));
        let inner = "10.0.0.5:8080";
        for (address, host, told, expected) in [
            (PROXY, inner, Some(HOST), 200),
            (PROXY, inner, Some("evil.test"), 403),
            (PROXY, inner, None, 403),
            (PROXY, HOST, None, 200),
            // A page that was lured to the balancer's name for us.
            (PROXY, HOST, Some("evil.test"), 403),
            (NEIGHBOUR, inner, Some(HOST), 403),
            (NEIGHBOUR, HOST, Some("evil.test"), 200),
        ] {
            let way = told.map(|told| match fields {
                "forwarded" => ("forwarded", format!("for=192.0.2.9;host=\"{told}\"")),
                _ => ("x-forwarded-host", told.to_owned()),
            });
            let way: Vec<_> = way.iter().map(|(name, told)| (*name, told.as_str())).collect();
            let came = status(&gate, address, host, &call, &way);
            assert_eq!(came, expected, "{address} {host} {way:?}");
        }
    }
}

/// A client writes the fields that its proxy does not set.
#[test]
fn a_client_cannot_speak_in_the_family_that_its_proxy_does_not_set() {
    const OWN: [(&str, &str); 2] = [("x-forwarded-for", "192.0.2.9"), ("forwarded", "for=192.0.2.9")];
    const SMUGGLED: [(&str, &str); 2] = [
        ("forwarded", "for=203.0.113.66;host=evil.test;proto=http"),
        ("x-forwarded-for", "203.0.113.66"),
    ];
    for (at, fields) in ["x_forwarded", "forwarded"].into_iter().enumerate() {
        let mut gate = start("127.0.0.7", fields, "http://gate.test/crm/mcp");
        let call = echo().bearer(&gate.token(&ALICE));
        let (own, smuggled) = (OWN[at], SMUGGLED[at]);
        assert_eq!(status(&gate, PROXY, HOST, &call, &[own, smuggled]), 200, "{fields}");
        assert_eq!(status(&gate, PROXY, HOST, &echo(), &[own, smuggled]), 401, "{fields}");
        // The proxy tells nothing: the client's word does not take its place.
        assert_eq!(status(&gate, PROXY, HOST, &echo(), &[smuggled]), 401, "{fields}");
        assert_eq!(
            status(&gate, PROXY, "evil.test", &call, &[own, ("x-forwarded-host", HOST)]),
            if fields == "x_forwarded" { 200 } else { 403 },
            "{fields}"
        );
        gate.terminate();
        assert!(gate.wait().success());
        let told = addresses(&gate.tail(), "credential_missing");
        assert_eq!(told, [PROXY, "192.0.2.9"], "{fields}");
    }
}

#[test]
fn a_resource_of_https_is_not_asked_for_in_the_clear() {
    for fields in ["x_forwarded", "forwarded"] {
        let gate = start("127.0.0.7", fields, "https://gate.test/crm/mcp");
        let builder = portcullis_fixtures::token::TokenBuilder::for_persona(
            &ALICE,
            gate.issuer.url(),
            "https://gate.test/crm/mcp",
            portcullis_fixtures::issuer::now_s(),
        );
        let call = echo().bearer(&gate.issuer.sign(&builder));
        for (address, proto, expected) in [(PROXY, "https", 200), (PROXY, "http", 403), (NEIGHBOUR, "http", 200)] {
            let forwarded = format!("for=192.0.2.9;proto={proto}");
            let way = match fields {
                "forwarded" => ("forwarded", forwarded.as_str()),
                _ => ("x-forwarded-proto", proto),
            };
            let came = status(&gate, address, HOST, &call, &[way]);
            assert_eq!(came, expected, "{address} {way:?}");
        }
    }
}

#[test]
fn http2_is_heard_alike() {
    for (proxies, expected, client) in [
        ("127.0.0.1", [200, 400, 403], "192.0.2.9"),
        ("10.0.0.0/8", [200, 200, 200], "127.0.0.1"),
    ] {
        let authority = Authority::new();
        let mut gate = Gate::start_changed_in(authority.folder(), move |_, text| {
            let listener = "  - address: 127.0.0.1:0\n    tls: {certificate: gate.pem, key: gate.key}\n";
            text.replacen("  - address: 127.0.0.1:0\n", listener, 1).replacen(
                "\nlimits:\n",
                &format!("\n{RATE}\ntrusted_proxies: {{addresses: [{proxies}], fields: x_forwarded}}\nlimits:\n"),
                1,
            )
        });
        let call = echo().bearer(&gate.token(&ALICE));
        let with = |call: &Call, name: &str, value: &str| {
            (
                Method::POST,
                format!("https://{HOST}{PATH}"),
                call.clone().header(name, value),
            )
        };
        let calls = vec![
            with(&call, "x-forwarded-for", "192.0.2.9"),
            with(&call, "x-forwarded-for", "nobody"),
            with(&call, "x-forwarded-host", "evil.test"),
            with(&echo(), "x-forwarded-for", "192.0.2.9"),
        ];
        let answers = tls::http2(&gate, &authority, calls);
        let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses, [expected.as_slice(), &[401]].concat(), "{proxies}");
        assert!(!gate.upstream.capture().last().unwrap().mentions("192.0.2.9"));
        gate.terminate();
        assert!(gate.wait().success());
        assert_eq!(addresses(&gate.tail(), "credential_missing"), [client], "{proxies}");
    }
}
