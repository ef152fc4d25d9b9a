//! The upstream of a server: its endpoints, their TLS and how they are asked whether they are well.
//!
//! Owns their lowering, the look-up of their names and what a reload keeps of them; what the upstream is shown is
//! `credentials`'. Never connects, and never prints a key.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use portcullis_core::config::{Endpoint, Kept, Upstream};
use portcullis_core::session::EndpointId;
use ring::digest::{SHA256, digest};
use rustls::pki_types::ServerName;

use super::diagnose::{Code, Warning};
use super::lower::Lowering;
use super::raw::{At, RawAffinity, RawHealth, RawUpstreamTls, Span};
use super::{Names, credentials};
use crate::background::exchange::ExchangePlan;
use crate::upstream::endpoint::{Check, EndpointState, Health, Trust};

/// Endpoints of one server.
const ENDPOINTS_MAX: usize = 64;
/// How often an endpoint is asked, unless it is written.
const INTERVAL: Duration = Duration::from_secs(10);
/// How seldom at most.
const INTERVAL_MAX: Duration = Duration::from_secs(3_600);

/// What came of a look-up.
pub(crate) struct Resolved {
    /// Whether an endpoint has other addresses.
    pub(crate) moved: bool,
    /// The endpoints whose names do not resolve.
    pub(crate) failed: Vec<(Arc<str>, io::Error)>,
}

/// A URL of an upstream, in its parts.
struct Place {
    uri: Uri,
    /// Without brackets.
    host: String,
    tls: bool,
    port: u16,
}

/// The upstream, with what it is shown.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    around: &credentials::Surroundings<'_>,
) -> Option<(Upstream, Vec<ExchangePlan>)> {
    let (raw, server) = (&around.server.upstream, &around.server.name);
    let shown = credentials::lower(lowering, around);
    let places = places(lowering, around);
    let trust = trust(lowering, raw.tls.as_ref(), places.as_deref());
    let check = match &raw.health {
        Some(health) => check(lowering, &health.value).map(Some),
        None => Some(None),
    };
    let addresses = look_up_all(lowering, places.as_deref()?, raw.written());
    let (places, trust, check, shown) = (places?, trust?, check?, shown?);
    let alone = raw.url.is_some();
    let named = raw.tls.as_ref().and_then(|tls| tls.value.server_name.as_ref());
    let endpoints = places.iter().zip(addresses?).map(|(place, addresses)| {
        let authority = place.uri.authority().map_or("", |authority| authority.as_str());
        let label: Arc<str> = Arc::from(format!("{authority}{}", place.uri.path()));
        Endpoint {
            id: if alone { EndpointId::ONLY } else { id_of(place) },
            authority: Arc::from(authority),
            host: Arc::from(named.map_or(place.host.as_str(), |name| name.value.as_str())),
            path: Arc::from(place.uri.path()),
            tls: place.tls,
            kept: Some(Kept::new(EndpointState {
                server: Arc::from(server.value.as_str()),
                label,
                host: Arc::from(place.host.as_str()),
                port: place.port,
                trust: trust.clone(),
                check: check.clone(),
                is_alone: places.len() == 1,
                health: health(&addresses),
            })),
            addresses,
        }
    });
    let upstream = Upstream {
        name: Arc::from(raw.name.as_ref().map_or(server.value.as_str(), |name| &name.value)),
        endpoints: endpoints.collect(),
        shares_sessions: raw.session_affinity == Some(RawAffinity::Endpoint),
        credentials: shown.credentials,
        forward_headers: shown.forward_headers,
    };
    Some((upstream, shown.exchanges))
}

/// Looks the endpoints' names up again.
pub(super) fn resolve(upstream: &mut Upstream) -> Resolved {
    let mut resolved = Resolved {
        moved: false,
        failed: Vec::new(),
    };
    for endpoint in &mut upstream.endpoints {
        let Some(state) = EndpointState::of(endpoint) else {
            continue;
        };
        match look_up(&state.host, state.port) {
            Ok(addresses) => {
                resolved.moved |= endpoint.addresses != addresses;
                if endpoint.addresses.is_empty() {
                    state.health.forget();
                }
                endpoint.addresses = addresses;
            }
            Err(error) => resolved.failed.push((Arc::clone(&state.label), error)),
        }
    }
    resolved
}

/// Takes over the counts of the endpoints that `old` has as well, and the addresses of names that do not resolve now. Whether
/// they are well is found anew: what has changed may have been the reason that they were not.
pub(super) fn take_over(upstream: &mut Upstream, old: &Upstream) {
    let known: Vec<_> = old
        .endpoints
        .iter()
        .filter_map(|endpoint| Some((endpoint, EndpointState::of(endpoint)?)))
        .collect();
    for endpoint in &mut upstream.endpoints {
        let Some(state) = EndpointState::of(endpoint).cloned() else {
            continue;
        };
        if let Some((before, same)) = known.iter().find(|(_, known)| known.label == state.label) {
            if endpoint.addresses.is_empty() {
                endpoint.addresses.clone_from(&before.addresses);
            }
            same.health.forget();
            if endpoint.addresses.is_empty() {
                same.health.put_aside(0, Duration::ZERO);
            }
            endpoint.kept = Some(Kept::new(EndpointState {
                health: Arc::clone(&same.health),
                ..state
            }));
        }
    }
}

/// The URLs, at least one; `None` after a fault.
fn places(lowering: &mut Lowering<'_>, around: &credentials::Surroundings<'_>) -> Option<Vec<Place>> {
    let (raw, server) = (&around.server.upstream, &around.server.name);
    match (&raw.url, raw.urls.as_slice()) {
        (None, []) => {
            lowering.fault_with(
                Code::MissingKey,
                server.place,
                format!("the upstream of server `{}` has no `url`", server.value),
                Some("write `url: https://...`, or `urls` with several"),
            );
            return None;
        }
        (Some(_), [second, ..]) => {
            let message = "`urls` stands beside `url`: which endpoints there are would be a guess";
            lowering.fault(Code::UpstreamInvalid, second.place, message);
            return None;
        }
        (None, [first, ..]) if ENDPOINTS_MAX < raw.urls.len() => {
            let message = format!("there are more than {ENDPOINTS_MAX} endpoints");
            lowering.fault(Code::UpstreamInvalid, first.place, message);
            return None;
        }
        (Some(_), []) | (None, _) => {}
    }
    let mut places: Vec<Place> = Vec::new();
    let mut seen = BTreeSet::new();
    for url in raw.written() {
        let Some(place) = place(&url.value) else {
            lowering.fault_with(
                Code::UpstreamInvalid,
                url.place,
                format!("`{}` is no URL of an upstream", url.value),
                Some("an absolute http or https URL without user, query and fragment"),
            );
            return None;
        };
        if !seen.insert(id_of(&place)) {
            lowering.fault(
                Code::Repeated,
                url.place,
                format!("the endpoint `{}` stands twice", url.value),
            );
            return None;
        }
        if places.first().is_some_and(|first| first.tls != place.tls) {
            let message =
                "some endpoints are https and some http: what is shown to one is readable on the way to another";
            lowering.fault(Code::UpstreamInvalid, url.place, message);
            return None;
        }
        places.push(place);
    }
    Some(places)
}

/// What names the endpoint in sealed sessions: a digest of the URL, its port written out. The case of a host is of no
/// meaning, that of a path is (RFC 3986 section 6.2.2.1).
fn id_of(place: &Place) -> EndpointId {
    let host = place.host.to_ascii_lowercase();
    let text = format!("{} {host} {} {}", place.tls, place.port, place.uri.path());
    let digest = digest(&SHA256, text.as_bytes());
    EndpointId(digest.as_ref().first_chunk().copied().unwrap_or_default())
}

fn place(url: &str) -> Option<Place> {
    let uri: Uri = url.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let plain = !url.contains(['?', '#', '@', '\\']) && !host.is_empty();
    plain.then_some(Place { uri, host, tls, port })
}

/// The trust of the endpoints, `Some(None)` for the system's; `None` after a fault.
fn trust(
    lowering: &mut Lowering<'_>,
    written: Option<&At<RawUpstreamTls>>,
    places: Option<&[Place]>,
) -> Option<Option<Trust>> {
    match written {
        Some(written) => own_trust(lowering, written, places).map(Some),
        None if places?.iter().all(|place| place.tls) => {
            Some(lowering.upstream_ca.as_ref().map(|(_, trust)| trust.clone()))
        }
        None => Some(None),
    }
}

fn own_trust(lowering: &mut Lowering<'_>, at: &At<RawUpstreamTls>, places: Option<&[Place]>) -> Option<Trust> {
    let raw = &at.value;
    if places?.iter().any(|place| !place.tls) {
        let message = "`tls` is written, and the upstream is asked by http";
        lowering.fault_with(Code::UpstreamInvalid, at.place, message, Some("write an https URL"));
        return None;
    }
    if let Some(name) = &raw.server_name
        // Pingora would ask for another name than the one with an underscore.
        && (ServerName::try_from(name.value.as_str()).is_err() || name.value.contains('_'))
    {
        let message = format!("`{}` is no name of a certificate", name.value);
        lowering.fault(Code::UpstreamInvalid, name.place, message);
        return None;
    }
    let ca = match &raw.ca_file {
        Some(name) => Some(lowering.read(name)?),
        None => lowering.upstream_ca.as_ref().map(|(text, _)| text.clone()),
    };
    let pair = match &raw.client_certificate {
        Some(pair) => {
            let chain = lowering.read(&pair.value.certificate_file)?;
            let name = &pair.value.key_file;
            match lowering.files.read_secret_whole(&name.value) {
                Ok(key) => Some((chain, key)),
                Err(error) => {
                    let message = format!("the key file `{}` cannot be read: {error}", name.value);
                    lowering.fault(Code::SecretMissing, name.place, message);
                    return None;
                }
            }
        }
        None => None,
    };
    let pair = pair.as_ref().map(|(chain, key)| (chain.as_str(), key.as_str()));
    match Trust::parse(ca.as_deref(), pair) {
        Ok(trust) => Some(trust),
        Err(error) => {
            lowering.fault(
                Code::UpstreamInvalid,
                at.place,
                format!("`tls` of the upstream: {error}"),
            );
            None
        }
    }
}

/// How the endpoints are asked; `None` after a fault.
fn check(lowering: &mut Lowering<'_>, raw: &RawHealth) -> Option<Check> {
    let interval = raw.interval.as_ref().map_or(INTERVAL, |written| written.value.0);
    if let Some(At {
        value: Span(span),
        place,
    }) = &raw.interval
        && (*span < Duration::from_secs(1) || INTERVAL_MAX < *span)
    {
        lowering.fault(Code::InvalidValue, *place, "`interval` is from 1s to 1h");
        return None;
    }
    if let Some(path) = &raw.path
        && (!path.value.starts_with('/') || !path.value.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        let message = format!("`{}` is no path", path.value);
        lowering.fault_with(Code::InvalidValue, path.place, message, Some("a path begins with `/`"));
        return None;
    }
    Some(Check {
        interval,
        path: raw.path.as_ref().map(|path| Arc::from(path.value.as_str())),
    })
}

/// The authorities of all upstreams that name none of their own, as text and ready; `None` also after a fault.
pub(super) fn shared_ca(lowering: &mut Lowering<'_>, written: Option<&At<String>>) -> Option<(String, Trust)> {
    let name = written?;
    let text = lowering.read(name)?;
    match Trust::parse(Some(&text), None) {
        Ok(trust) => Some((text, trust)),
        Err(error) => {
            let message = format!("`{}`: {error}", name.value);
            lowering.fault(Code::FileUnreadable, name.place, message);
            None
        }
    }
}

/// Whether an endpoint is well at first: not while nobody knows where it is.
fn health(addresses: &[SocketAddr]) -> Arc<Health> {
    let health = Health::default();
    if addresses.is_empty() {
        health.put_aside(0, Duration::ZERO);
    }
    Arc::new(health)
}

/// The addresses of each endpoint, none for a name that does not resolve while another does; `None` after a fault.
fn look_up_all<'r>(
    lowering: &mut Lowering<'_>,
    places: &[Place],
    written: impl Iterator<Item = &'r At<String>>,
) -> Option<Vec<Vec<SocketAddr>>> {
    let mut addresses = Vec::with_capacity(places.len());
    let mut failed = Vec::new();
    for (place, written) in places.iter().zip(written) {
        match lowering.names {
            Names::Skip => addresses.push(vec![SocketAddr::from(([0, 0, 0, 0], place.port))]),
            Names::Resolve => match look_up(&place.host, place.port) {
                Ok(found) => addresses.push(found),
                Err(error) => {
                    let message = format!("the upstream `{}` cannot be found: {error}", place.host);
                    failed.push((written.place, message));
                    addresses.push(Vec::new());
                }
            },
        }
    }
    let is_somebody_there = failed.len() < places.len();
    for (place, message) in failed {
        match is_somebody_there {
            true => lowering.warn(
                Warning::UpstreamUnresolved,
                place,
                message,
                "calls go to the other endpoints until the name resolves: it is looked up every 30 s",
            ),
            false => lowering.fault(Code::UpstreamUnresolved, place, message),
        }
    }
    is_somebody_there.then_some(addresses)
}

/// The addresses of a name, sorted so that two look-ups can be compared; at least one.
fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}
