//! What the gate keeps of each endpoint: by what it trusts it, who the gate is there, and whether it is well.
//!
//! Owns [`EndpointState`], [`Trust`] and [`Health`]. An endpoint that takes no connection is put aside for a time that
//! grows; then one call tries it again, and the others go on without it. Where there is no other, every call tries it. Never sends anything, and takes no lock.

use std::fmt;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use portcullis_core::config::Endpoint;
use ring::digest::{Context, SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::{CONNECT_DEADLINE, HTTP2_STREAMS_MAX, IDLE_DEADLINE};

/// How long an endpoint is put aside at first.
const ASIDE_MIN: Duration = Duration::from_millis(250);
/// How long at most, where others can answer.
const ASIDE_MAX: Duration = Duration::from_secs(30);
/// How long at most, where nobody else can.
const ASIDE_ALONE_MAX: Duration = Duration::from_secs(1);
/// How long others leave an endpoint to the one call that tries it again.
const TRIAL: Duration = CONNECT_DEADLINE.saturating_mul(2);
/// What keeps a stranger's connections apart from the gate's own.
const STRANGER: u64 = 0x5354_5241_4e47_4552;

/// What is kept of an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct EndpointState {
    /// The server's name.
    pub(crate) server: Arc<str>,
    /// Its name in logs and metrics: authority and path of its URL.
    pub(crate) label: Arc<str>,
    /// The host and the port of its URL, to look the addresses up again.
    pub(crate) host: Arc<str>,
    /// See `host`.
    pub(crate) port: u16,
    /// The trust of its own; `None` for the gate's.
    pub(crate) trust: Option<Trust>,
    /// How it is asked whether it is well; `None` for never.
    pub(crate) check: Option<Check>,
    /// Whether there is no other that could answer.
    pub(crate) is_alone: bool,
    /// Whether it is well; of all snapshots that have it.
    pub(crate) health: Arc<Health>,
}

/// How an endpoint is asked whether it is well.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// How often.
    pub(crate) interval: Duration,
    /// What is asked for; `None` for a connection alone.
    pub(crate) path: Option<Arc<str>>,
}

/// In whose name a connection is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum As {
    /// The gate's, with its certificate.
    Gate,
    /// Nobody's.
    Stranger,
}

impl EndpointState {
    /// What is kept of this endpoint.
    pub(crate) fn of(endpoint: &Endpoint) -> Option<&Self> {
        endpoint.kept.as_ref()?.of()
    }

    /// How a call may come to it now; `None` while it may not.
    pub(crate) fn leave(&self, now_ns: u64) -> Option<Leave> {
        self.health.leave(now_ns, self.is_alone)
    }

    /// How long it is put aside at most.
    pub(crate) const fn aside_max(&self) -> Duration {
        if self.is_alone { ASIDE_ALONE_MAX } else { ASIDE_MAX }
    }

    /// Whether a page alone says that it is well again: calls come to it all the same, and their connections prove less.
    pub(crate) fn is_judged_by_page(&self) -> bool {
        self.is_alone && self.check.as_ref().is_some_and(|check| check.path.is_some())
    }
}

/// The way to one address of an endpoint. Two ways share connections only when address, TLS, its name, the authorities and
/// the client certificate are all the same.
pub(crate) fn peer(endpoint: &Endpoint, address: SocketAddr, name: As) -> HttpPeer {
    let mut peer = HttpPeer::new(address, endpoint.tls, endpoint.host.to_string());
    peer.options.total_connection_timeout = Some(CONNECT_DEADLINE);
    peer.options.idle_timeout = Some(IDLE_DEADLINE);
    peer.options.max_h2_streams = HTTP2_STREAMS_MAX;
    if endpoint.tls {
        peer.options.alpn = ALPN::H2H1;
    }
    if let Some(trust) = EndpointState::of(endpoint).and_then(|state| state.trust.as_ref()) {
        // The pool's key knows a certificate by its serial number and authorities not at all.
        peer.group_key = trust.group;
        peer.options.ca.clone_from(&trust.authorities);
        if name == As::Gate {
            peer.client_cert_key.clone_from(&trust.client);
        }
    }
    if name == As::Stranger {
        peer.group_key ^= STRANGER;
    }
    peer
}

/// The authorities of an endpoint and the gate's certificate for it, checked.
#[derive(Clone)]
pub(crate) struct Trust {
    authorities: Option<Arc<CaType>>,
    client: Option<Arc<CertKey>>,
    /// A digest of both, with the key.
    group: u64,
}

/// Tells the digest alone.
impl fmt::Debug for Trust {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Trust({:016x})", self.group)
    }
}

/// Why authorities or a client certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointTrustError {
    /// There is no certificate, or one is no authority.
    #[error("no usable certificate authority")]
    Authorities,
    /// There is no certificate, or one is none.
    #[error("no readable certificate")]
    Certificate,
    /// There is no private key.
    #[error("no readable private key")]
    Key,
    /// Certificate and key do not belong together, or rustls does not take them.
    #[error("certificate and key cannot be used: {0}")]
    Pair(rustls::Error),
}

impl Trust {
    /// The trust in these PEM texts; `client` is a chain, leaf first, and its key.
    ///
    /// # Errors
    /// [`EndpointTrustError`]; one certificate that cannot be used spoils the whole.
    pub(crate) fn parse(ca: Option<&str>, client: Option<(&str, &str)>) -> Result<Self, EndpointTrustError> {
        let mut digest = Context::new(&SHA256);
        let mut absorb = |bytes: &[u8]| {
            digest.update(&(bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        let authorities = match ca {
            Some(pem) => {
                let certificates = certificates(pem).ok_or(EndpointTrustError::Authorities)?;
                let mut roots = RootCertStore::empty();
                for certificate in &certificates {
                    let added = roots.add(certificate.clone());
                    added.map_err(|_| EndpointTrustError::Authorities)?;
                    absorb(certificate);
                }
                let wrapped: Option<Vec<WrappedX509>> = certificates.iter().map(wrapped).collect();
                Some(Arc::from(wrapped.ok_or(EndpointTrustError::Authorities)?))
            }
            None => None,
        };
        // Nothing and an empty list of authorities are told apart.
        absorb(&[]);
        let client = match client {
            Some((chain, key)) => {
                let chain = certificates(chain).ok_or(EndpointTrustError::Certificate)?;
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| EndpointTrustError::Key)?;
                chain.iter().for_each(|certificate| absorb(certificate));
                absorb(key.secret_der());
                Some(Arc::new(cert_key(chain, key)?))
            }
            None => None,
        };
        let digest = digest.finish();
        let group = digest.as_ref().first_chunk().map(|first| u64::from_le_bytes(*first));
        Ok(Self {
            authorities,
            client,
            group: group.unwrap_or_default(),
        })
    }
}

/// A chain and its key for Pingora, which panics on what does not belong together: rustls is asked first.
fn cert_key(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertKey, EndpointTrustError> {
    let secret = key.secret_der().to_vec();
    // Pingora keeps the key without its form and reads it again.
    PrivateKeyDer::try_from(secret.clone()).map_err(|_| EndpointTrustError::Key)?;
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(EndpointTrustError::Pair)?
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain.clone(), key)
        .map_err(EndpointTrustError::Pair)?;
    if chain.iter().any(|certificate| wrapped(certificate).is_none()) {
        return Err(EndpointTrustError::Certificate);
    }
    let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
    Ok(CertKey::new(chain, secret))
}

/// The certificates in a PEM text, at least one.
fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    read.ok().filter(|certificates| !certificates.is_empty())
}

/// A certificate for Pingora, whose reader panics on one that it does not understand.
fn wrapped(certificate: &CertificateDer<'static>) -> Option<WrappedX509> {
    let raw = certificate.to_vec();
    panic::catch_unwind(AssertUnwindSafe(|| WrappedX509::new(raw, parse_x509))).ok()
}

/// Whether an endpoint takes connections, and what was asked of it.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// In ticks; zero while it is well.
    aside_until_ns: AtomicU64,
    /// How often in a row it took no connection.
    failures: AtomicU32,
    calls: AtomicU64,
    refused: AtomicU64,
    turn: AtomicUsize,
    checked_ns: AtomicU64,
}

/// How a call comes to an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Leave {
    /// It is well.
    Well,
    /// It was put aside, and this call is the one that tries it again.
    Trial,
}

impl Health {
    /// Whether a call may go there now; of those that come after its time one, for a while, and where it is alone all: they
    /// would have nowhere else to go.
    pub(crate) fn leave(&self, now_ns: u64, is_alone: bool) -> Option<Leave> {
        let until = self.aside_until_ns.load(Ordering::Relaxed);
        if until == 0 {
            return Some(Leave::Well);
        }
        if now_ns < until {
            return None;
        }
        if is_alone {
            return Some(Leave::Trial);
        }
        let next = now_ns.saturating_add(nanos(TRIAL));
        let exchanged = self
            .aside_until_ns
            .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed);
        exchanged.ok().map(|_| Leave::Trial)
    }

    /// It took no connection: it is put aside, at most for `longest`. `true` when it was well until now.
    pub(crate) fn failed(&self, leave: Leave, now_ns: u64, longest: Duration) -> bool {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let until = self.aside_until_ns.load(Ordering::Relaxed);
        if leave == Leave::Well && until != 0 {
            // One of many calls that came to it together has said so.
            return false;
        }
        let before = self.failures.fetch_add(1, Ordering::Relaxed).min(16);
        let aside = ASIDE_MIN.saturating_mul(1_u32.checked_shl(before).unwrap_or(u32::MAX));
        self.put_aside(now_ns, aside.min(longest))
    }

    /// It is not well, and nobody goes there for so long. `true` when it was well until now.
    pub(crate) fn put_aside(&self, now_ns: u64, aside: Duration) -> bool {
        let until = now_ns.saturating_add(nanos(aside)).max(1);
        self.aside_until_ns.swap(until, Ordering::Relaxed) == 0
    }

    /// It takes connections. `true` when it was put aside until now.
    pub(crate) fn recovered(&self) -> bool {
        if self.aside_until_ns.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.aside_until_ns.swap(0, Ordering::Relaxed) != 0
    }

    /// What was found of it is forgotten, its counts are not.
    pub(crate) fn forget(&self) {
        self.recovered();
        self.checked_ns.store(0, Ordering::Relaxed);
    }

    /// A call was sent there.
    pub(crate) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that were sent there.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Connections that it did not take.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether calls go there.
    pub(crate) fn is_well(&self) -> bool {
        self.aside_until_ns.load(Ordering::Relaxed) == 0
    }

    /// The next number of a round.
    pub(crate) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a check is due; it is not for another `interval` then.
    pub(crate) fn check_due(&self, now_ns: u64, interval: Duration) -> bool {
        let last = self.checked_ns.load(Ordering::Relaxed);
        let due = last == 0 || last.saturating_add(nanos(interval)) <= now_ns;
        if due {
            self.checked_ns.store(now_ns.max(1), Ordering::Relaxed);
        }
        due
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
