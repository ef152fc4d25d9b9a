//! The URL that a proof of possession is for, in normal form (RFC 3986 sections 6.2.2 and 6.2.3).
//!
//! Owns [`Target`]. Two URLs that every client and server read alike have one normal form; query and fragment do not
//! count (RFC 9449 section 4.3). Never resolves a name, and never takes a relative reference.

use std::net::Ipv6Addr;

/// An absolute http or https URL without query and fragment, in normal form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target(Box<str>);

impl Target {
    /// The target of this URL; `None` when it is not an absolute http or https URL of visible ASCII, has user
    /// information, or an escape that is none. Allocates its own length twice at most.
    pub fn parse(url: &str) -> Option<Self> {
        let visible = url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`'));
        let bare = url.split(['?', '#']).next().filter(|_| visible)?;
        let (scheme, rest) = bare.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let start = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(start)?;
        let (host, port) = split_authority(authority)?;
        let mut text = format!("{scheme}://{host}");
        if let Some(port) = port.filter(|port| *port != default_port) {
            text.push(':');
            text.push_str(&port.to_string());
        }
        push_path(&mut text, &unescaped(path)?);
        Some(Self(text.into_boxed_str()))
    }
}

/// The host in lower case, an IPv6 address in its usual form, and the port, when there is one.
fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let port = if port.is_empty() { "" } else { port.strip_prefix(':')? };
            (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            let plain = !host.is_empty() && host.bytes().all(is_unreserved);
            (host.to_ascii_lowercase(), Some(port).filter(|_| plain)?)
        }
    };
    match port {
        "" => Some((host, None)),
        // `parse` would take a sign.
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => Some((host, Some(port.parse().ok()?))),
        _ => None,
    }
}

/// The path with every escape in upper case, and none for a character that needs none.
fn unescaped(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(char::from(byte));
            continue;
        }
        let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
        let byte = high << 4 | low;
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([high, low].map(|digit| {
                char::from_digit(u32::from(digit), 16)
                    .unwrap_or('0')
                    .to_ascii_uppercase()
            }));
        }
    }
    Some(out)
}

/// Appends a path without its dot segments (RFC 3986 section 5.2.4); an empty one is `/`.
fn push_path(out: &mut String, path: &str) {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    if kept.is_empty() {
        out.push('/');
    }
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
}

/// A character that is the same with and without an escape (RFC 3986 section 2.3).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn one_url_has_one_normal_form() {
        for (url, same) in [
            ("https://gate.example/mcp", "HTTPS://GATE.example:443/mcp"),
            ("https://gate.example/mcp", "https://gate.example:/mcp"),
            ("https://gate.example/mcp", "https://gate.example:0443/mcp"),
            ("https://gate.example/mcp", "https://gate.example/mcp?a=b"),
            ("https://gate.example/mcp", "https://gate.example/mcp#a"),
            ("https://gate.example/mcp", "https://gate.example/%6dcp"),
            ("https://gate.example/mcp", "https://gate.example/a/../mcp"),
            ("https://gate.example/mcp", "https://gate.example/%2E/mcp"),
            ("https://gate.example/mcp/", "https://gate.example/mcp/."),
            ("https://gate.example/", "https://gate.example/mcp/.."),
            ("https://gate.example/%2Fx", "https://gate.example/%2fx"),
            ("https://gate.example/", "https://gate.example"),
            ("https://gate.example/", "https://gate.example?a"),
            ("http://gate.example/", "http://gate.example:80"),
            ("http://[::1]:8080/", "http://[0:0::1]:8080"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(Target::parse(url), Target::parse(same), "{url} {same}");
            assert!(Target::parse(url).is_some(), "{url}");
        }
    }

    #[test]
    fn urls_that_may_lead_elsewhere_differ() {
        let target = Target::parse("https://gate.example/mcp").unwrap();
        for url in [
            "http://gate.example/mcp",
            "https://gate.example/",
            "https://gate.example/mcp/",
            "https://gate.example//mcp",
            "https://gate.example/MCP",
            "https://gate.example/mcp%2F",
            "https://gate.example/mcp/x",
            "https://gate.example:8443/mcp",
            "https://gate.example:80/mcp",
            "https://gate.example./mcp",
            "https://x.gate.example/mcp",
            "https://gate.example.evil/mcp",
        ] {
            assert_ne!(Target::parse(url).unwrap(), target, "{url}");
        }
    }

    #[test]
    fn what_is_no_absolute_url_has_none() {
        for url in [
            "",
            "/mcp",
            "gate.example/mcp",
            "//gate.example/mcp",
            "https:/gate.example/mcp",
            "https:///mcp",
            "https://:443/mcp",
            "ftp://gate.example/mcp",
            "https://user@gate.example/mcp",
            "https://gate.example@evil.example/mcp",
            "https://gate.example:+443/mcp",
            "https://gate.example:x/mcp",
            "https://gate.example:70000/mcp",
            "https://[::1/mcp",
            "https://[::1]443/mcp",
            "https://gate%2Eexample/mcp",
            "https://gate.example/m cp",
            "https://gate.example/mcp ",
            "https://gate.example\\mcp",
            "https://gate.example/%",
            "https://gate.example/%4",
            "https://gate.example/%+4",
            "https://gate.example/%zz",
            "https://gate.ex\u{e4}mple/mcp",
        ] {
            assert_eq!(Target::parse(url), None, "{url}");
        }
    }
}
