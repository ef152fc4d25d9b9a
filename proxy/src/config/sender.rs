//! What is asked of the senders of tokens, and which hops may tell a client's certificate or its address.
//!
//! Owns the lowering of `dpop`, `trusted_hops` and `trusted_proxies`. A hop that everybody could be is refused, and so is an address that
//! two hops share: which of them speaks could not be told.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;
use ipnet::IpNet;
use portcullis_core::token::SenderRules;

use super::diagnose::Code;
use super::lower::Lowering;
use super::raw::{At, RawCertificateForm, RawConfig, RawDpop, RawHopCertificate, RawProxyFields, RawTrustedProxies};
use super::trust;
use crate::ingress::{CertificateForm, Family, Hop, TrustedHops, TrustedProxies};
use crate::trust::TrustStore;

/// The rules of one server.
pub(super) fn rules(raw: Option<&RawDpop>) -> SenderRules {
    SenderRules {
        dpop_required: raw.is_some_and(|raw| raw.required),
        dpop_nonce: raw.is_some_and(|raw| raw.nonce),
    }
}

/// The trusted hops; faults are noted, and what has one is left out.
pub(super) fn hops(lowering: &mut Lowering<'_>, raw: &RawConfig) -> TrustedHops {
    let mut hops: Vec<Hop> = Vec::new();
    for hop in &raw.trusted_hops {
        let header = header(lowering, &hop.client_certificate.header);
        let mut networks: Vec<IpNet> = Vec::new();
        for written in &hop.addresses {
            let Some(network) = network(lowering, written) else {
                continue;
            };
            let mut known = networks.iter().chain(hops.iter().flat_map(|hop| &hop.networks));
            if known.any(|known| known.contains(&network) || network.contains(known)) {
                let message = format!(
                    "the network `{}` overlaps another one of the trusted hops",
                    written.value
                );
                lowering.fault(Code::Repeated, written.place, message);
            } else {
                networks.push(network);
            }
        }
        if hop.addresses.is_empty() {
            let message = "a trusted hop without `addresses` is nobody";
            let help = "write the networks that it connects from, such as `addresses: [10.0.0.0/8]`";
            lowering.fault_with(
                Code::InvalidValue,
                hop.client_certificate.header.place,
                message,
                Some(help),
            );
        }
        let told = &hop.client_certificate;
        let trust = trust(lowering, told);
        if let (Some(header), Some(trust)) = (header, trust) {
            hops.push(Hop {
                networks,
                header,
                trust,
                form: match hop.client_certificate.form {
                    RawCertificateForm::PemUrlEncoded => CertificateForm::PemUrlEncoded,
                    RawCertificateForm::Rfc9440 => CertificateForm::Rfc9440,
                    RawCertificateForm::Sha256Hex => CertificateForm::Sha256Hex,
                },
            });
        }
    }
    let proxies = raw.trusted_proxies.as_ref().map(|raw| proxies(lowering, raw));
    TrustedHops::new(hops, proxies)
}

/// The trusted proxies; faults are noted.
fn proxies(lowering: &mut Lowering<'_>, raw: &RawTrustedProxies) -> TrustedProxies {
    if raw.addresses.value.is_empty() {
        let message = "`trusted_proxies` without `addresses` are nobody";
        let help = "write the networks that they connect from, such as `addresses: [10.0.0.0/8]`";
        lowering.fault_with(Code::InvalidValue, raw.addresses.place, message, Some(help));
    }
    let written = raw.addresses.value.iter();
    TrustedProxies {
        networks: written.filter_map(|written| network(lowering, written)).collect(),
        family: match raw.fields {
            RawProxyFields::Forwarded => Family::Forwarded,
            RawProxyFields::XForwarded => Family::XForwarded,
        },
    }
}

/// What the hop's word is verified by, if by anything; `None` after a fault.
fn trust(lowering: &mut Lowering<'_>, told: &RawHopCertificate) -> Option<Option<Arc<TrustStore>>> {
    match (&told.client_ca, &told.client_crl, told.form) {
        (None, None, _) => Some(None),
        (None, Some(client_crl), _) => {
            let message = "`client_crl` needs `client_ca`: the hop's word is verified by nothing";
            lowering.fault(Code::InvalidValue, client_crl.place, message);
            None
        }
        (Some(client_ca), _, RawCertificateForm::Sha256Hex) => {
            let message = "a digest cannot be verified: `client_ca` goes with `rfc9440` or `pem_url_encoded`";
            lowering.fault(Code::InvalidValue, client_ca.place, message);
            None
        }
        (Some(client_ca), client_crl, RawCertificateForm::PemUrlEncoded | RawCertificateForm::Rfc9440) => {
            trust::store(lowering, client_ca, client_crl.as_ref()).map(Some)
        }
    }
}

/// A network, or a single address; `None` after a fault.
fn network(lowering: &mut Lowering<'_>, written: &At<String>) -> Option<IpNet> {
    let text = written.value.as_str();
    let parsed = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .ok()
        .filter(|network: &IpNet| network.trunc() == *network);
    let Some(network) = parsed else {
        let message = format!("`{text}` is no network");
        let help = "write it like `10.0.0.0/8`, `fd00::/8` or `192.0.2.7`, without bits behind the prefix";
        lowering.fault_with(Code::InvalidValue, written.place, message, Some(help));
        return None;
    };
    if network.prefix_len() == 0 {
        let message = format!("`{text}` is everybody: anybody could say to be any client");
        lowering.fault(Code::InvalidValue, written.place, message);
        return None;
    }
    Some(network)
}

/// A field that means nothing else; `None` after a fault.
fn header(lowering: &mut Lowering<'_>, written: &At<String>) -> Option<HeaderName> {
    match HeaderName::try_from(written.value.as_str()) {
        Ok(name) if !TAKEN.contains(&name.as_str()) && !name.as_str().starts_with("mcp-") => Some(name),
        Ok(_) | Err(_) => {
            let message = format!("`{}` is no header that can tell a certificate", written.value);
            lowering.fault(Code::InvalidValue, written.place, message);
            None
        }
    }
}

/// Fields that the protocol or the client speaks in.
const TAKEN: [&str; 17] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "dpop",
    "expect",
    "host",
    "origin",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
