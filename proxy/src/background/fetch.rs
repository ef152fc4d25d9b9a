//! One request towards an issuer, a GET or a form: no redirect, no proxy, no compression, bounded in bytes and time.
//!
//! Owns [`Fetcher`] and the rule which addresses it may connect to, so that neither metadata nor a name server can
//! turn the gate into a door to the inner network. Never decides whether an answer is good: that is the core's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use portcullis_core::jwks::refresh::{FetchError, FetchRequest, Fetched};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;

use crate::config::{IssuerPlan, is_loopback};

/// Fetches for one issuer.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    client: reqwest::Client,
    reach: Reach,
}

/// The addresses that a fetch may connect to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reach {
    /// All, as the operator has allowed.
    DangerAny,
    /// This machine: the issuer is here.
    Loopback,
    /// Everything but private, link-local, loopback and reserved addresses.
    Public,
}

impl Fetcher {
    /// A fetcher by the issuer's rules, which keeps at most `idle_max` connections for the next request.
    ///
    /// # Errors
    /// When the certificate authorities cannot be used.
    pub(crate) fn new(plan: &IssuerPlan, idle_max: usize) -> Result<Self, reqwest::Error> {
        let reach = if plan.danger_allow_private_addresses {
            Reach::DangerAny
        } else if host_of(&plan.url).is_some_and(|host| is_loopback(&host)) {
            Reach::Loopback
        } else {
            Reach::Public
        };
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(idle_max)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Guarded(reach)));
        if let Some(pem) = &plan.ca_pem {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes())?);
        }
        Ok(Self {
            client: builder.build()?,
            reach,
        })
    }

    /// Performs one fetch.
    ///
    /// # Errors
    /// [`FetchError`], also for an address that may not be reached.
    pub(crate) async fn get(&self, request: &FetchRequest) -> Result<Fetched, FetchError> {
        match tokio::time::timeout(request.deadline, self.get_all(request)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::TimedOut),
        }
    }

    /// Sends one form.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn post(&self, form: Form<'_>) -> Result<Fetched, FetchError> {
        let deadline = form.deadline;
        match tokio::time::timeout(deadline, self.post_all(form)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::TimedOut),
        }
    }

    async fn post_all(&self, form: Form<'_>) -> Result<Fetched, FetchError> {
        self.check_address(form.url)?;
        let mut sent = self
            .client
            .post(form.url)
            .header(ACCEPT, form.accept)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.body.as_bytes().to_vec());
        if let Some(authorization) = form.authorization {
            sent = sent.header(AUTHORIZATION, authorization);
        }
        let response = sent.send().await.map_err(|error| refused(&error, form.url))?;
        read(response, form.url, form.bytes_max).await
    }

    async fn get_all(&self, request: &FetchRequest) -> Result<Fetched, FetchError> {
        self.check_address(&request.url)?;
        let sent = self.client.get(&*request.url).header(ACCEPT, "application/json");
        let response = sent.send().await.map_err(|error| refused(&error, &request.url))?;
        read(response, &request.url, request.bytes_max).await
    }

    /// A host that is a number never comes to the resolver.
    fn check_address(&self, url: &str) -> Result<(), FetchError> {
        let literal = host_of(url).and_then(|host| bare(&host).parse::<IpAddr>().ok());
        if literal.is_some_and(|ip| !self.reach.includes(ip)) {
            tracing::warn!(%url, "an issuer's URL names an address that may not be reached");
            return Err(FetchError::Connection);
        }
        Ok(())
    }
}

/// A form for an issuer. Its body and its authorization are secrets.
pub(crate) struct Form<'f> {
    /// Where it goes.
    pub(crate) url: &'f str,
    /// The media type of the answer.
    pub(crate) accept: &'static str,
    /// `Authorization`, when the client proves itself there.
    pub(crate) authorization: Option<HeaderValue>,
    /// The body, encoded.
    pub(crate) body: &'f str,
    /// Time after which it is given up, whole answer included.
    pub(crate) deadline: Duration,
    /// Bytes of the answer after which it is given up.
    pub(crate) bytes_max: usize,
}

/// The whole answer, if it stays within its bound.
async fn read(mut response: reqwest::Response, url: &str, bytes_max: usize) -> Result<Fetched, FetchError> {
    let declared = response.content_length().unwrap_or(0);
    if usize::try_from(declared).map_or(true, |declared| bytes_max < declared) {
        return Err(FetchError::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| refused(&error, url))? {
        if bytes_max.saturating_sub(body.len()) < chunk.len() {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched {
        status: response.status().as_u16(),
        body,
        cache_max_age_s: max_age(response.headers()),
    })
}

/// The cause goes to the log, where it helps; the core needs the kind alone.
fn refused(error: &reqwest::Error, url: &str) -> FetchError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    tracing::debug!(%url, %cause, "a fetch failed");
    FetchError::Connection
}

/// The system's resolver, without the addresses that may not be reached.
struct Guarded(Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let reachable: Vec<SocketAddr> = found.filter(|address| reach.includes(address.ip())).collect();
            if reachable.is_empty() {
                let message = "the name has no address that may be reached";
                return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message).into());
            }
            let addresses: Addrs = Box::new(reachable.into_iter());
            Ok(addresses)
        })
    }
}

impl Reach {
    fn includes(self, ip: IpAddr) -> bool {
        match self {
            Self::DangerAny => true,
            Self::Loopback => ip.is_loopback(),
            Self::Public => match ip {
                IpAddr::V4(ip) => is_public_v4(ip),
                IpAddr::V6(ip) => is_public_v6(ip),
            },
        }
    }
}

/// Outside the special ranges of the IANA registry (RFC 6890).
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_multicast()
        || ip.is_documentation()
        || a == 0
        || 240 <= a
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b));
    !special
}

/// Global unicast (2000::/3) without documentation and the ranges that carry an IPv4 address, which is judged itself.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(ip) = ip.to_ipv4_mapped() {
        return is_public_v4(ip);
    }
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // NAT64 (RFC 6052) and 6to4 (RFC 3056).
        (0x0064, 0xff9b) => (c, d, e, f) == (0, 0, 0, 0) && embedded(g, h),
        (0x2002, high) => embedded(high, c),
        // Teredo and its neighbours (RFC 6890), and documentation.
        (0x2001, 0x0000..=0x01ff | 0x0db8) => false,
        _ => (0x2000..0x4000).contains(&a) && a != 0x3fff,
    }
}

/// The host of a URL, as it stands there.
fn host_of(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.host().map(str::to_owned)
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// `max-age` of `Cache-Control` (RFC 9111 section 5.2.2.1); `no-store` and `no-cache` count as zero.
fn max_age(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(CACHE_CONTROL).iter();
    let mut directives = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','));
    directives.find_map(|directive| {
        let directive = directive.trim().to_ascii_lowercase();
        match directive.split_once('=') {
            Some(("max-age", seconds)) => seconds.trim_matches('"').parse().ok(),
            Some(_) => None,
            None => matches!(&*directive, "no-cache" | "no-store").then_some(0),
        }
    })
}

#[cfg(test)]
mod tests;
