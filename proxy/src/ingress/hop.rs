//! Hops in front of the gate: those that end TLS and tell the client's certificate in a header (RFC 9440), and those that
//! tell where a request came from.
//!
//! Owns [`TrustedHops`]. Only a peer in a configured network is heard, and its own certificate is never its client's;
//! from anybody else none of these headers is even read. A certificate is taken for the bytes that it is, since the hop has
//! verified it, and identifies nobody, unless the hop has a [`TrustStore`] that verifies it once more. Never forwards the header: what goes upstream is an allow-list of the core's.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use portcullis_core::denial::{Denial, DenyReason};
use portcullis_core::head::ClientCertificate;

use super::forwarded::{self, Origin, TrustedProxies};
use crate::clock;
use crate::trust::TrustStore;

/// The hops that are heard.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct TrustedHops {
    /// Those that tell certificates.
    hops: Vec<Hop>,
    /// Those that tell where a request came from.
    proxies: Option<TrustedProxies>,
}

/// One kind of hop that tells certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Hop {
    /// Where it connects from.
    pub(crate) networks: Vec<IpNet>,
    /// The field that tells the certificate.
    pub(crate) header: HeaderName,
    /// How it is told.
    pub(crate) form: CertificateForm,
    /// What it is verified by here as well; `None` takes the hop's word, which identifies nobody.
    pub(crate) trust: Option<Arc<TrustStore>>,
}

/// How a header tells a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CertificateForm {
    /// PEM with percent-encoding, as nginx's `$ssl_client_escaped_cert`.
    PemUrlEncoded,
    /// DER as a byte sequence of structured fields (RFC 9440 section 2.1).
    Rfc9440,
    /// SHA-256 of the DER form in hexadecimal.
    Sha256Hex,
}

impl TrustedHops {
    /// These hops tell certificates, no two of them at one address, and `proxies` where a request came from.
    pub(crate) const fn new(hops: Vec<Hop>, proxies: Option<TrustedProxies>) -> Self {
        Self { hops, proxies }
    }

    /// Whether any hop tells certificates.
    pub(crate) const fn tell_certificates(&self) -> bool {
        !self.hops.is_empty()
    }

    /// Who is believed about where a request came from.
    #[cfg(test)]
    pub(crate) const fn proxies(&self) -> Option<&TrustedProxies> {
        self.proxies.as_ref()
    }

    /// Where a request came from that `peer` sent.
    ///
    /// # Errors
    /// [`DenyReason::HeadMalformed`] when a trusted proxy tells what cannot be read, or two stories.
    pub(super) fn origin<'h>(&self, peer: IpAddr, headers: &'h HeaderMap) -> Result<Origin<'h>, Denial> {
        match self.proxies.as_ref().filter(|proxies| proxies.contain(peer)) {
            Some(proxies) => proxies.told_by(peer, headers),
            None => Ok(Origin::of_peer(peer)),
        }
    }

    /// What the hops' words are verified by.
    pub(crate) fn trust_stores(&self) -> impl Iterator<Item = &Arc<TrustStore>> {
        self.hops.iter().filter_map(|hop| hop.trust.as_ref())
    }

    /// The client's certificate: `own` is that of the peer, which is the client unless it is a hop.
    ///
    /// # Errors
    /// [`DenyReason::HeadMalformed`] when a hop tells two certificates, or one that is none. An empty field is what
    /// hops send for a client without a certificate.
    pub(crate) fn certificate(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        own: impl FnOnce() -> Option<ClientCertificate>,
    ) -> Result<Option<ClientCertificate>, Denial> {
        let Some(hop) = self.hop(peer) else {
            return Ok(own());
        };
        let mut values = headers.get_all(&hop.header).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(malformed("a trusted hop tells more than one client certificate"));
        }
        let told = value.as_bytes().trim_ascii();
        if told.is_empty() {
            return Ok(None);
        }
        match hop.form.read(told) {
            Some(told) => Ok(Some(hop.judge(told))),
            None => Err(malformed("a trusted hop tells a client certificate that is none")),
        }
    }

    fn hop(&self, peer: IpAddr) -> Option<&Hop> {
        self.hops.iter().find(|hop| forwarded::contains(&hop.networks, peer))
    }
}

/// What a header tells of a certificate.
struct Told {
    sha256: [u8; 32],
    /// Its DER form, when that was told.
    der: Option<Vec<u8>>,
}

impl Hop {
    fn judge(&self, told: Told) -> ClientCertificate {
        match (&self.trust, told.der) {
            (Some(trust), Some(der)) => trust.judge_told(der, told.sha256, clock::now()),
            (Some(_) | None, _) => ClientCertificate {
                sha256: told.sha256,
                identity: None,
                refused: None,
            },
        }
    }
}

impl CertificateForm {
    /// The certificate in this form; `None` when the text tells none.
    fn read(self, told: &[u8]) -> Option<Told> {
        match self {
            Self::PemUrlEncoded => Told::of(pem(&percent_decoded(told)?)?),
            Self::Rfc9440 => {
                let inner = told.strip_prefix(b":")?.strip_suffix(b":")?;
                Told::of(STANDARD.decode(inner).ok()?)
            }
            Self::Sha256Hex => {
                let mut digest = [0; 32];
                let pairs = told.chunks_exact(2);
                if told.len() != 64 {
                    return None;
                }
                for (slot, pair) in digest.iter_mut().zip(pairs) {
                    *slot = hex_pair(pair.first().copied()?, pair.last().copied()?)?;
                }
                Some(Told {
                    sha256: digest,
                    der: None,
                })
            }
        }
    }
}

impl Told {
    /// A certificate that is there at all.
    fn of(der: Vec<u8>) -> Option<Self> {
        (!der.is_empty()).then(|| Self {
            sha256: portcullis_core::sha256(&der),
            der: Some(der),
        })
    }
}

/// The DER form in a text of exactly one PEM certificate (RFC 7468 section 5), whatever the length of its lines.
fn pem(text: &[u8]) -> Option<Vec<u8>> {
    let body = text
        .trim_ascii()
        .strip_prefix(b"-----BEGIN CERTIFICATE-----")?
        .strip_suffix(b"-----END CERTIFICATE-----")?;
    let joined: Vec<u8> = body
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\n' | b'\r'))
        .collect();
    STANDARD.decode(joined).ok()
}

/// The bytes behind an encoding in which every `%` starts an escape; a plus sign is one.
fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex_pair(bytes.next()?, bytes.next()?)?,
            byte => byte,
        });
    }
    Some(out)
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?).ok()
}

#[cold]
fn malformed(operator: &'static str) -> Denial {
    Denial::new(DenyReason::HeadMalformed, operator)
}

#[cfg(test)]
mod tests;
