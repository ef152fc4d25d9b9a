//! Which URLs an issuer may have, and where its metadata stands (RFC 8414 section 3, OpenID Connect Discovery 4).
//!
//! Owns the rule that evidence comes over `https`, or over `http` from this very machine. Never resolves a name.

use std::net::{Ipv4Addr, Ipv6Addr};

/// How a URL is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    /// `https`.
    Https,
    /// `http` to the loopback interface: for tests and side-cars.
    Loopback,
}

/// How an absolute URL without user information and fragment is reached; `None` for every other text.
pub(crate) fn transport(url: &str) -> Option<Transport> {
    let visible = url
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`'));
    let (scheme, rest) = url.split_once("://").filter(|_| visible)?;
    let authority = rest.split(['/', '?']).next()?;
    let host = host(authority)?;
    match scheme {
        "https" => Some(Transport::Https),
        "http" if is_loopback(host) => Some(Transport::Loopback),
        _ => None,
    }
}

/// How an issuer identifier is reached: as [`transport`], and it has no query (RFC 8414 section 2).
pub(crate) fn issuer_transport(issuer: &str) -> Option<Transport> {
    transport(issuer).filter(|_| !issuer.contains('?'))
}

/// Where the metadata of `issuer` may stand, in the order of MCP's authorization chapter: RFC 8414 with the path
/// inserted, OpenID Connect with the path inserted, OpenID Connect with the path in front.
pub(crate) fn metadata_places(issuer: &str) -> Vec<String> {
    let bare = issuer.trim_end_matches('/');
    let origin_end = bare
        .find("://")
        .and_then(|scheme| {
            let start = scheme.saturating_add(3);
            let slash = bare.get(start..)?.find('/')?;
            start.checked_add(slash)
        })
        .unwrap_or(bare.len());
    let (origin, path) = bare.split_at_checked(origin_end).unwrap_or((bare, ""));
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{bare}/.well-known/openid-configuration"));
    }
    places
}

/// The host of an authority without user information, and with a plausible port if any.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            let port = if port.is_empty() { "0" } else { port.strip_prefix(':')? };
            (host, port)
        }
        None => authority.split_once(':').unwrap_or((authority, "0")),
    };
    let plain = !host.is_empty() && !host.contains(['@', '[', ']', '%']) && !host.contains("..");
    (plain && port.parse::<u16>().is_ok()).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{Transport, issuer_transport, metadata_places, transport};

    #[test]
    fn evidence_comes_over_https_or_from_this_machine() {
        for (url, expected) in [
            ("https://as.example", Some(Transport::Https)),
            ("https://as.example:8443/tenant?x=1", Some(Transport::Https)),
            ("https://[2001:db8::1]/jwks", Some(Transport::Https)),
            ("http://127.0.0.1:9000/jwks", Some(Transport::Loopback)),
            ("http://127.8.9.1/jwks", Some(Transport::Loopback)),
            ("http://[::1]:9000/jwks", Some(Transport::Loopback)),
            ("http://localhost:9000", Some(Transport::Loopback)),
            ("http://as.example", None),
            ("http://localhost.example", None),
            ("http://127.0.0.1.example", None),
            ("http://127.0.0.1@as.example/", None),
            ("https://user@as.example/", None),
            ("https://as.example/#x", None),
            ("https://as.example/ x", None),
            ("https://as.example\\x", None),
            ("https://", None),
            ("https:///x", None),
            ("https://as.example:x/", None),
            ("https://as.example:70000/", None),
            ("https://[::1/", None),
            ("HTTPS://as.example", None),
            ("file:///etc/passwd", None),
            ("as.example", None),
            ("", None),
        ] {
            assert_eq!(transport(url), expected, "{url}");
        }
        assert_eq!(issuer_transport("https://as.example/t"), Some(Transport::Https));
        assert_eq!(issuer_transport("https://as.example/t?x"), None);
    }

    #[test]
    fn metadata_stands_at_the_well_known_places() {
        let root = [
            "https://as.example/.well-known/oauth-authorization-server",
            "https://as.example/.well-known/openid-configuration",
        ];
        assert_eq!(metadata_places("https://as.example"), root);
        assert_eq!(metadata_places("https://as.example/"), root);
        assert_eq!(
            metadata_places("http://[::1]:90/realms/a"),
            [
                "http://[::1]:90/.well-known/oauth-authorization-server/realms/a",
                "http://[::1]:90/.well-known/openid-configuration/realms/a",
                "http://[::1]:90/realms/a/.well-known/openid-configuration",
            ]
        );
    }
}
