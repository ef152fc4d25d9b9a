//! Where a request came from, when it came through proxies that are trusted (RFC 7239, and the `X-Forwarded-` fields).
//!
//! Owns the reading of `Forwarded`, or of `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto`: of the one family
//! that the proxies are said to set. The other one, which they may pass on as the client wrote it, is not even read, and
//! from a peer in no configured network neither is. The client is the right-most address that is no trusted proxy: what
//! stands left of it is the client's own word. A field of one value that stands there twice is refused.
//! Never forwards one of them: what goes upstream is an allow-list of the core's.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use portcullis_core::denial::{Denial, DenyReason};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The proxies that are believed about where a request came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TrustedProxies {
    /// Where they connect from.
    pub(crate) networks: Vec<IpNet>,
    /// What they tell it in.
    pub(crate) family: Family,
}

/// Fields that a proxy sets together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    /// `Forwarded`.
    Forwarded,
    /// `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto`.
    XForwarded,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Origin<'h> {
    /// The client's address.
    pub(super) client_ip: IpAddr,
    /// The authority that the client asked for; `None` when no proxy tells another one than the request.
    pub(super) host: Option<&'h str>,
    /// Whether a proxy says that the client came without TLS.
    pub(super) in_the_clear: bool,
}

impl Origin<'_> {
    /// That of a peer who speaks for itself.
    pub(super) const fn of_peer(peer: IpAddr) -> Self {
        Self {
            client_ip: peer,
            host: None,
            in_the_clear: false,
        }
    }
}

/// What the fields tell; nothing that they do not tell.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Told<'h> {
    client_ip: Option<IpAddr>,
    host: Option<&'h str>,
    scheme: Option<Scheme>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    Http,
    Https,
}

impl TrustedProxies {
    /// Whether `peer` is one of them.
    pub(super) fn contain(&self, peer: IpAddr) -> bool {
        contains(&self.networks, peer)
    }

    /// What a trusted `peer` tells of where a request came from.
    ///
    /// # Errors
    /// [`DenyReason::HeadMalformed`] for fields that cannot be read or stand there twice.
    pub(super) fn told_by<'h>(&self, peer: IpAddr, headers: &'h HeaderMap) -> Result<Origin<'h>, Denial> {
        let is_proxy = |address: IpAddr| self.contain(address);
        let Told {
            client_ip,
            host,
            scheme,
        } = match self.family {
            Family::Forwarded => read_forwarded(headers, is_proxy)?,
            Family::XForwarded => Told {
                client_ip: client_of(list(headers, &X_FORWARDED_FOR), is_proxy)?,
                host: one(headers, &X_FORWARDED_HOST)?.map(host_of).transpose()?,
                scheme: one(headers, &X_FORWARDED_PROTO)?.map(scheme_of).transpose()?,
            },
        };
        Ok(Origin {
            client_ip: client_ip.unwrap_or(peer),
            host,
            in_the_clear: scheme == Some(Scheme::Http),
        })
    }
}

/// Whether an address lies in one of these networks. A socket for both families sees IPv4 peers in their mapped form.
pub(super) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The elements of a field that is a list, the last one first, however many lines it stands on. One of them that is no
/// text stays to be refused when it is reached.
fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'h str>> {
    let mut lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    lines.reverse();
    lines.into_iter().flat_map(|line| {
        let text = line.to_str().ok();
        let bad = text.is_none().then_some(None);
        let elements = text.into_iter().flat_map(|text| elements(text, ',')).map(Some);
        elements.chain(bad).collect::<Vec<_>>().into_iter().rev()
    })
}

/// The parts of a text between separators that stand in no quoted string.
fn elements(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            other => return other == separator && !quoted,
        }
        false
    })
}

/// The first address from the right that is no proxy; the left-most one when all are; none of an absent list.
fn client_of<'h>(
    addresses: impl Iterator<Item = Option<&'h str>>,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Result<Option<IpAddr>, Denial> {
    let mut last = None;
    for address in addresses {
        let address = address.and_then(address_of);
        let address = address.ok_or_else(|| malformed("a trusted proxy tells a client address that is none"))?;
        last = Some(address);
        if !is_proxy(address) {
            break;
        }
    }
    Ok(last)
}

/// An address, with or without a port.
fn address_of(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let parsed = match inner {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text
            .parse()
            .ok()
            .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip())),
    };
    parsed.map(|address| address.to_canonical())
}

fn host_of(text: &str) -> Result<&str, Denial> {
    let parsed: Result<Authority, _> = text.parse();
    match parsed {
        Ok(_) if !text.contains('@') => Ok(text),
        _ => Err(malformed("a trusted proxy tells a host that is none")),
    }
}

fn scheme_of(text: &str) -> Result<Scheme, Denial> {
    if text.eq_ignore_ascii_case("https") {
        Ok(Scheme::Https)
    } else if text.eq_ignore_ascii_case("http") {
        Ok(Scheme::Http)
    } else {
        Err(malformed(
            "a trusted proxy tells a scheme that is neither `http` nor `https`",
        ))
    }
}

/// The one value of a field, or none.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Denial> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim_matches([' ', '\t']))),
            Err(_) => Err(malformed("a trusted proxy tells what is no text")),
        },
        (Some(_), Some(_)) => Err(malformed("a trusted proxy tells two origins of a request")),
    }
}

/// Reads `Forwarded` from the right to the element of the client (RFC 7239 section 4): that one was written by the
/// outermost proxy that is trusted, which knows what the client asked for.
fn read_forwarded<'h>(headers: &'h HeaderMap, is_proxy: impl Fn(IpAddr) -> bool) -> Result<Told<'h>, Denial> {
    let mut told = Told::default();
    for element in list(headers, &FORWARDED) {
        let element = element.and_then(element_of);
        told = element.ok_or_else(|| malformed("`Forwarded` of a trusted proxy cannot be read"))?;
        if !told.client_ip.is_some_and(&is_proxy) {
            break;
        }
    }
    Ok(told)
}

/// One element: its pairs, each name once, and an address in `for`.
fn element_of(text: &str) -> Option<Told<'_>> {
    let mut told = Told::default();
    for pair in elements(text, ';') {
        let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
        let value = match value.strip_prefix('"') {
            // An escape in an address, a host or a scheme is nothing that anybody needs.
            Some(quoted) => quoted.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\']))?,
            // Nothing that a reader could take for the begin of a quoted string, which would swallow the next element.
            None => Some(value).filter(|value| !value.contains(['"', '\\']))?,
        };
        if name.contains(['"', '\\']) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") {
            let address = address_of(value)?;
            told.client_ip.replace(address).is_none().then_some(())?;
        } else if name.eq_ignore_ascii_case("host") {
            let host = host_of(value).ok()?;
            told.host.replace(host).is_none().then_some(())?;
        } else if name.eq_ignore_ascii_case("proto") {
            let scheme = scheme_of(value).ok()?;
            told.scheme.replace(scheme).is_none().then_some(())?;
        }
    }
    // Without `for`, or with a name in place of an address, nobody could say who the client is.
    told.client_ip.is_some().then_some(told)
}

#[cold]
#[inline(never)]
fn malformed(operator: &'static str) -> Denial {
    Denial::new(DenyReason::HeadMalformed, operator)
}

#[cfg(test)]
mod tests;
