//! The TLS side of listeners, on rustls.
//!
//! Owns the loading of certificate and key, checked here first: Pingora panics on files that it cannot use. What clients'
//! certificates are worth is `trust`'s. Never prints a file's content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora_core::listeners::tls::TlsSettings;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::listen::{ClientTrust, TlsFiles};
use crate::trust::{ChainKeeper, ClientVerifier};

/// Why TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The file cannot be read, or holds no certificate.
    #[error("`{}` holds no readable certificate", .0.display())]
    Certificate(PathBuf),
    /// The file cannot be read, or holds no private key.
    #[error("`{}` holds no readable private key", .0.display())]
    Key(PathBuf),
    /// Certificate and key do not belong together, or rustls does not take them.
    #[error("certificate `{}` and key `{}` cannot be used: {source}", .certificate.display(), .key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// Pingora takes paths as text.
    #[error("the path `{}` is not UTF-8", .0.display())]
    Path(PathBuf),
}

/// The settings of a listener, from files that were checked to work.
///
/// # Errors
/// [`TlsError`] for whatever Pingora would panic on.
pub(crate) fn settings(files: &TlsFiles) -> Result<TlsSettings, TlsError> {
    check_pair(files)?;
    let certificate = text(&files.certificate)?;
    let key = text(&files.key)?;
    let unusable = |_| TlsError::Certificate(files.certificate.clone());
    let mut settings = match &files.client {
        Some(ClientTrust { store, is_required }) => {
            let keeper = ChainKeeper(Arc::clone(store));
            let mut settings = TlsSettings::with_callbacks(Box::new(keeper)).map_err(unusable)?;
            settings.set_certificate_chain_file(certificate).map_err(unusable)?;
            settings
                .set_private_key_file(key)
                .map_err(|_| TlsError::Key(files.key.clone()))?;
            settings.set_client_cert_verifier(Arc::new(ClientVerifier {
                store: Arc::clone(store),
                is_required: *is_required,
            }));
            settings
        }
        None => TlsSettings::intermediate(certificate, key).map_err(unusable)?,
    };
    settings.enable_h2();
    Ok(settings)
}

fn check_pair(files: &TlsFiles) -> Result<(), TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|_| TlsError::Key(files.key.clone()))?;
    let pair = |source| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    };
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = || TlsError::Certificate(path.to_owned());
    let read = CertificateDer::pem_file_iter(path).map_err(|_| unreadable())?;
    let certificates: Vec<_> = read.collect::<Result<_, _>>().map_err(|_| unreadable())?;
    match certificates.is_empty() {
        true => Err(unreadable()),
        false => Ok(certificates),
    }
}

fn text(path: &Path) -> Result<&str, TlsError> {
    path.to_str().ok_or_else(|| TlsError::Path(path.to_owned()))
}
