//! Who is believed about where a request came from.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use portcullis_core::denial::DenyReason;

use crate::ingress::{Family, TrustedHops, TrustedProxies};

type Story = (String, Option<String>, bool);

/// What is taken of these fields when they come from `peer`, which sets the family of the first of them.
fn origin(peer: &str, fields: &[(&'static str, &str)]) -> Result<Story, DenyReason> {
    let family = match fields.first() {
        Some(("forwarded", _)) => Family::Forwarded,
        Some(_) | None => Family::XForwarded,
    };
    origin_by(family, peer, fields)
}

fn origin_by(family: Family, peer: &str, fields: &[(&'static str, &str)]) -> Result<Story, DenyReason> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    let networks: [IpNet; 2] = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let proxies = TrustedProxies {
        networks: networks.to_vec(),
        family,
    };
    let hops = TrustedHops::new(Vec::new(), Some(proxies));
    let peer: IpAddr = peer.parse().unwrap();
    let origin = hops.origin(peer, &headers).map_err(|denial| denial.reason)?;
    Ok((
        origin.client_ip.to_string(),
        origin.host.map(str::to_owned),
        origin.in_the_clear,
    ))
}

fn client(fields: &[(&'static str, &str)]) -> Result<String, DenyReason> {
    origin("10.0.0.1", fields).map(|(client, _, _)| client)
}

#[test]
fn only_a_trusted_proxy_is_heard() {
    let fields = [
        ("x-forwarded-for", "192.0.2.9"),
        ("x-forwarded-host", "public.test"),
        ("x-forwarded-proto", "http"),
    ];
    let told = |client: &str, host: Option<&str>, clear: bool| Ok((client.to_owned(), host.map(str::to_owned), clear));
    for peer in ["10.0.0.1", "10.255.0.1", "::ffff:10.0.0.1", "fd12::1"] {
        assert_eq!(
            origin(peer, &fields),
            told("192.0.2.9", Some("public.test"), true),
            "{peer}"
        );
    }
    for peer in ["11.0.0.1", "192.0.2.9", "127.0.0.1", "::1", "::ffff:11.0.0.1"] {
        assert_eq!(origin(peer, &fields), told(peer, None, false), "{peer}");
        for name in ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded"] {
            for garbage in ["", "garbage, \"", "for=;;", "\u{e9}"] {
                let twice = [(name, garbage), (name, "x")];
                assert_eq!(origin(peer, &twice), told(peer, None, false), "{peer} {name} {garbage}");
            }
        }
    }
    assert_eq!(origin("10.0.0.1", &[]), told("10.0.0.1", None, false));
}

#[test]
fn the_client_is_the_right_most_address_that_is_no_proxy() {
    let cases = [
        ("192.0.2.9", "192.0.2.9"),
        ("192.0.2.9:4711", "192.0.2.9"),
        ("2001:db8::9", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("[2001:db8::9]:4711", "2001:db8::9"),
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("198.51.100.1, 192.0.2.9", "192.0.2.9"),
        ("198.51.100.1,192.0.2.9 ,\t10.0.0.2", "192.0.2.9"),
        ("10.0.0.3, 192.0.2.9, 10.0.0.2, fd00::1", "192.0.2.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        // The client's own word, which nobody reads.
        ("garbage, , 192.0.2.9", "192.0.2.9"),
        ("unknown, 192.0.2.9, 10.0.0.2", "192.0.2.9"),
    ];
    for (value, expected) in cases {
        assert_eq!(
            client(&[("x-forwarded-for", value)]),
            Ok(expected.to_owned()),
            "{value}"
        );
    }
    let lines = [
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-for", "192.0.2.9"),
        ("x-forwarded-for", "10.0.0.2"),
    ];
    assert_eq!(client(&lines), Ok("192.0.2.9".to_owned()));
    for value in [
        "",
        "unknown",
        "192.0.2.9,",
        "192.0.2.9, ",
        "192.0.2",
        "192.0.2.9:x",
        "192.0.2.9/32",
        "2001:db8::9%eth0",
        "[192.0.2.9]",
        "gate.test",
        "192.0.2.9, unknown",
        "192.0.2.9, unknown, 10.0.0.2",
        "\u{e9}",
    ] {
        let refused = client(&[("x-forwarded-for", value)]);
        assert_eq!(refused, Err(DenyReason::HeadMalformed), "{value}");
    }
}

#[test]
fn the_standard_field_is_read_to_the_element_of_the_client() {
    let told = |host: Option<&str>, clear| Ok(("192.0.2.9".to_owned(), host.map(str::to_owned), clear));
    for (value, expected) in [
        ("for=192.0.2.9", told(None, false)),
        ("For=\"192.0.2.9:4711\"", told(None, false)),
        (
            "for=192.0.2.9;proto=https;host=public.test",
            told(Some("public.test"), false),
        ),
        ("for=192.0.2.9 ; proto=http;by=10.0.0.1", told(None, true)),
        (
            "for=192.0.2.9;host=\"public.test:8443\", for=10.0.0.2;host=inner.test;proto=http",
            told(Some("public.test:8443"), false),
        ),
        ("for=unknown;x=\",\", for=192.0.2.9", told(None, false)),
        ("\"\\\",for=_x, for=192.0.2.9", told(None, false)),
    ] {
        let quoted = value.starts_with('"');
        let answer = origin("10.0.0.1", &[("forwarded", value)]);
        // An open quotation of the client's own takes everything behind it in, and cannot be read.
        let expected = if quoted {
            Err(DenyReason::HeadMalformed)
        } else {
            expected
        };
        assert_eq!(answer, expected, "{value}");
    }
    assert_eq!(
        client(&[("forwarded", "for=\"[2001:db8::9]:47\"")]),
        Ok("2001:db8::9".to_owned())
    );
    for value in [
        "",
        "for",
        "for=",
        "for=unknown",
        "for=_hidden",
        "for=\"192.0.2.9",
        "for=192.0.2.9;for=192.0.2.9",
        "for=192.0.2.9;host=a;host=a",
        "for=192.0.2.9;host=a b",
        "for=192.0.2.9;proto=ftp",
        "for=192.0.2.9,",
        "proto=https",
        "for=192.0.2.9, proto=https",
        "for=\"192.0.2.\\9\"",
        // A quote that would swallow what the proxy has added.
        "for=203.0.113.9;x=a\", for=192.0.2.9",
        "for=203.0.113.9;x\"=a, for=192.0.2.9",
        "\u{e9}",
    ] {
        let refused = client(&[("forwarded", value)]);
        assert_eq!(refused, Err(DenyReason::HeadMalformed), "{value}");
    }
}

/// A proxy that sets one family passes the other on as the client wrote it.
#[test]
fn the_family_that_the_proxies_do_not_set_is_not_read() {
    let told = |client: &str, host: Option<&str>, clear: bool| Ok((client.to_owned(), host.map(str::to_owned), clear));
    let smuggled = [
        ("x-forwarded-for", "203.0.113.66"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "https"),
    ];
    let standard = [("forwarded", "for=192.0.2.9;host=public.test;proto=http")];
    let both = [&standard[..], &smuggled].concat();
    let by = |family, fields: &[(&'static str, &str)]| origin_by(family, "10.0.0.1", fields);
    assert_eq!(
        by(Family::Forwarded, &both),
        told("192.0.2.9", Some("public.test"), true)
    );
    assert_eq!(
        by(Family::XForwarded, &both),
        told("203.0.113.66", Some("evil.test"), false)
    );
    // Alone it tells nothing either: the client is who connects, and the host the one that was asked for.
    assert_eq!(by(Family::Forwarded, &smuggled), told("10.0.0.1", None, false));
    assert_eq!(by(Family::XForwarded, &standard), told("10.0.0.1", None, false));
    // What cannot be read there disturbs nobody.
    for garbage in ["", "garbage, \"", "for=;;", "\u{e9}"] {
        for (name, _) in smuggled {
            let fields = [standard[0], (name, garbage), (name, garbage)];
            assert_eq!(
                by(Family::Forwarded, &fields),
                told("192.0.2.9", Some("public.test"), true),
                "{name}: {garbage}"
            );
        }
        let fields = [smuggled[0], ("forwarded", garbage)];
        assert_eq!(
            by(Family::XForwarded, &fields),
            told("203.0.113.66", None, false),
            "{garbage}"
        );
    }
}

#[test]
fn two_stories_are_none() {
    let with = |name: &'static str, value: &'static str| {
        origin("10.0.0.1", &[("x-forwarded-for", "192.0.2.9"), (name, value)])
    };
    assert!(with("x-forwarded-host", "public.test").is_ok());
    assert!(with("x-forwarded-proto", "HTTPS").is_ok());
    for (name, value) in [
        ("x-forwarded-for", "nobody"),
        ("x-forwarded-host", ""),
        ("x-forwarded-host", "a.test, b.test"),
        ("x-forwarded-host", "user@public.test"),
        ("x-forwarded-proto", "https, http"),
        ("x-forwarded-proto", "ftp"),
        ("x-forwarded-proto", ""),
    ] {
        assert_eq!(with(name, value), Err(DenyReason::HeadMalformed), "{name}: {value}");
        let twice = [(name, "https"), (name, "https")];
        let twice = origin("10.0.0.1", &twice);
        assert_eq!(twice, Err(DenyReason::HeadMalformed), "{name} twice");
    }
}
