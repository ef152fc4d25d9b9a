//! Whose certificates are trusted: `client_ca` and `client_crl` of listeners, of the control plane and of hops.
//!
//! Owns their lowering. The texts enter the configuration's digest, and are read again by a reload.

use std::sync::Arc;

use super::diagnose::Code;
use super::lower::Lowering;
use super::raw::{At, RawClientCertificates, RawTls};
use crate::listen::{ClientTrust, TlsFiles};
use crate::trust::{Trust, TrustFiles, TrustStore};

/// The files of a listener; `None` after a fault of what clients' certificates are verified by.
pub(super) fn tls(lowering: &mut Lowering<'_>, raw: &RawTls) -> Option<TlsFiles> {
    let client = match &raw.client_ca {
        Some(client_ca) => Some(ClientTrust {
            store: store(lowering, client_ca, raw.client_crl.as_ref())?,
            is_required: match raw.client_certificates.as_ref().map(|mode| mode.value) {
                Some(RawClientCertificates::Optional) => false,
                Some(RawClientCertificates::Required) | None => true,
            },
        }),
        None => {
            let further = [
                ("client_crl", raw.client_crl.as_ref().map(|written| written.place)),
                (
                    "client_certificates",
                    raw.client_certificates.as_ref().map(|written| written.place),
                ),
            ];
            let written = further.into_iter().find_map(|(key, place)| Some((key, place?)));
            if let Some((key, place)) = written {
                let message = format!("`{key}` needs `client_ca`: no client is asked for a certificate");
                let help = "name the authorities of clients by `client_ca: FILE`";
                lowering.fault_with(Code::ListenerInvalid, place, message, Some(help));
                return None;
            }
            None
        }
    };
    Some(TlsFiles {
        certificate: lowering.files.path(&raw.certificate.value),
        key: lowering.files.path(&raw.key.value),
        client,
    })
}

/// The trust in these files; `None` after a fault.
pub(super) fn store(
    lowering: &mut Lowering<'_>,
    client_ca: &At<String>,
    client_crl: Option<&At<String>>,
) -> Option<Arc<TrustStore>> {
    let ca_text = lowering.read(client_ca);
    let crl_text = match client_crl {
        Some(written) => Some(lowering.read(written)?),
        None => None,
    };
    let trust = match Trust::parse(&ca_text?, crl_text.as_deref()) {
        Ok(trust) => trust,
        Err(error) => {
            let written = client_crl.filter(|_| error.is_of_lists()).unwrap_or(client_ca);
            let message = format!("`{}`: {error}", written.value);
            lowering.fault(Code::ListenerInvalid, written.place, message);
            return None;
        }
    };
    let files = TrustFiles {
        client_ca: lowering.files.path(&client_ca.value),
        client_crl: client_crl.map(|name| lowering.files.path(&name.value)),
    };
    Some(Arc::new(TrustStore::new(files, trust)))
}
