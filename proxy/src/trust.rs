//! Trust in clients' certificates: authorities, revocation lists, and what they make of a chain.
//!
//! Owns [`TrustStore`], the trust of one listener or hop, exchanged whole by a reload, and [`PeerChain`], the chain that
//! a connection has shown. rustls verifies (RFC 5280 section 6); what it does not tell, names and times, is read here. A
//! chain is judged again when the trust or the time has made another judgement possible: a connection may live longer
//! than what it was let in by. Never reads a file, and never prints a certificate.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use dashmap::DashMap;
use pingora_core::listeners::TlsAccept;
use pingora_core::protocols::tls::TlsRef;
use portcullis_core::head::{CertificateIdentity, ClientCertificate};
use portcullis_core::time::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{self, CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

/// The PEM files of one listener's or hop's trust.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TrustFiles {
    /// The authorities.
    pub(crate) client_ca: PathBuf,
    /// The revocation lists; `None` asks for none.
    pub(crate) client_crl: Option<PathBuf>,
}

/// Why authorities or lists cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// A certificate is no authority that rustls takes.
    #[error("certificate {number} is no usable authority: {source}")]
    Authority {
        /// Which one, counted from 1.
        number: usize,
        /// What rustls says.
        source: rustls::Error,
    },
    /// There is no certificate, or what stands there is none.
    #[error("no readable certificate")]
    Certificates,
    /// There is no list, or what stands there is none.
    #[error("no readable certificate revocation list")]
    Lists,
    /// The whole cannot be used.
    #[error("no usable trust: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

impl TrustError {
    /// Whether the lists are at fault, rather than the authorities.
    pub(crate) const fn is_of_lists(&self) -> bool {
        matches!(self, Self::Lists | Self::Verifier(VerifierBuilderError::InvalidCrl(_)))
    }
}

/// Authorities and revocation lists, as they were read at one time.
pub(crate) struct Trust {
    /// No two readings have the same.
    generation: u64,
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the lists are out of date.
    next_updates: Box<[UnixTime]>,
    /// Whether the log says that one is.
    warned: AtomicBool,
}

impl fmt::Debug for Trust {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Trust({})", self.generation)
    }
}

impl Trust {
    /// The trust in these PEM texts.
    ///
    /// With lists, every certificate of a chain below its authority needs one of its issuer that is in date and does not
    /// name it: what is not known to be good is refused.
    ///
    /// # Errors
    /// [`TrustError`]; one certificate or list that cannot be used spoils the whole.
    pub(crate) fn parse(client_ca: &str, client_crl: Option<&str>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in CertificateDer::pem_slice_iter(client_ca.as_bytes()).enumerate() {
            let certificate = certificate.map_err(|_| TrustError::Certificates)?;
            let number = index.saturating_add(1);
            let added = roots.add(certificate);
            added.map_err(|source| TrustError::Authority { number, source })?;
        }
        if roots.is_empty() {
            return Err(TrustError::Certificates);
        }
        let (lists, next_updates) = match client_crl {
            Some(text) => lists(text)?,
            None => (Vec::new(), Vec::new()),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(lists)
            .enforce_revocation_expiration()
            .build()?;
        Ok(Self {
            generation: GENERATIONS.fetch_add(1, Ordering::Relaxed),
            verifier,
            next_updates: next_updates.into_boxed_slice(),
            warned: AtomicBool::new(false),
        })
    }

    /// What a chain, leaf first, is worth at `now`. A chain without a leaf is refused.
    fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Judged {
        let at = pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.secs()));
        let (verified, leaf) = match chain.split_first() {
            Some((leaf, others)) => (self.verifier.verify_client_cert(leaf, others, at), leaf.as_ref()),
            None => (Err(rustls::Error::NoCertificatesPresented), &[][..]),
        };
        let validities = chain.iter().flat_map(|certificate| {
            let read = X509Certificate::from_der(certificate).ok().map(|(_, read)| read);
            let validity = read.map(|read| (time_of(read.validity().not_before), time_of(read.validity().not_after)));
            let (begins, ends) = validity.unwrap_or_default();
            // The last second of its validity is one in which it still serves.
            let ends = ends.map(|ends| UnixTime::from_secs(ends.secs().saturating_add(1)));
            [begins, ends].into_iter().flatten()
        });
        let turns = validities.chain(self.next_updates.iter().copied());
        Judged {
            generation: self.generation,
            at: now,
            until: turns.filter(|turn| now < *turn).min(),
            certificate: ClientCertificate {
                sha256: portcullis_core::sha256(leaf),
                identity: match &verified {
                    Ok(_) => identity(leaf, !self.next_updates.is_empty()),
                    Err(_) => None,
                },
                refused: verified.err().as_ref().map(fault),
            },
        }
    }
}

/// What was found of a chain.
#[derive(Debug)]
struct Judged {
    /// By which trust.
    generation: u64,
    /// When: a clock that was set back makes another judgement possible.
    at: UnixTime,
    /// When time alone may change it.
    until: Option<UnixTime>,
    certificate: ClientCertificate,
}

impl Judged {
    fn holds(&self, trust: &Trust, now: UnixTime) -> bool {
        let in_time = self.at <= now && self.until.is_none_or(|until| now < until);
        self.generation == trust.generation && in_time
    }
}

/// The trust of one listener or hop. A reload exchanges it; readers take no lock.
pub(crate) struct TrustStore {
    files: TrustFiles,
    current: ArcSwap<Trust>,
    /// What was found of certificates that came without a connection of their own, by their SHA-256.
    told: DashMap<[u8; 32], Arc<Judged>>,
}

/// Tells the files.
impl fmt::Debug for TrustStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TrustStore({:?})", self.files)
    }
}

/// The same files: what stands in them may be exchanged while the gate runs.
impl PartialEq for TrustStore {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for TrustStore {}

impl TrustStore {
    /// The store of `trust`, which was read from `files`.
    pub(crate) fn new(files: TrustFiles, trust: Trust) -> Self {
        Self {
            files,
            current: ArcSwap::from_pointee(trust),
            told: DashMap::new(),
        }
    }

    /// Takes over what `newer` has read: for every handshake and every request from now on.
    pub(crate) fn exchange(&self, newer: &Self) {
        self.current.store(newer.current.load_full());
        self.told.clear();
    }

    /// Says in the log, once for each reading, when a list is out of date, so that nobody passes.
    pub(crate) fn warn_of_old_lists(&self, now: UnixTime) {
        let trust = self.current.load();
        let old = trust.next_updates.iter().any(|next_update| *next_update <= now);
        if old
            && !trust.warned.swap(true, Ordering::Relaxed)
            && let Some(path) = &self.files.client_crl
        {
            tracing::warn!(
                path = %path.display(),
                "a revocation list of client certificates is out of date: certificates of its issuer are refused"
            );
        }
    }

    /// What a certificate is worth that a trusted hop tells, whose DER form has this digest. Costs a look-up once it is
    /// known. Its chain has to end in the authorities without a further certificate.
    pub(crate) fn judge_told(&self, der: Vec<u8>, sha256: [u8; 32], now: UnixTime) -> ClientCertificate {
        let trust = self.current.load();
        if let Some(judged) = self.told.get(&sha256).filter(|judged| judged.holds(&trust, now)) {
            return judged.certificate.clone();
        }
        let judged = trust.judge(&[CertificateDer::from(der)], now);
        let certificate = judged.certificate.clone();
        if TOLD_MAX <= self.told.len() {
            self.told.clear();
        }
        self.told.insert(sha256, Arc::new(judged));
        certificate
    }
}

/// The chain that a client has shown on its connection, whose key it holds.
#[derive(Debug)]
pub(crate) struct PeerChain {
    store: Arc<TrustStore>,
    chain: Box<[CertificateDer<'static>]>,
    judged: ArcSwapOption<Judged>,
}

impl PeerChain {
    /// The chain of a connection, leaf first, to be judged by `store`.
    pub(crate) fn new(store: Arc<TrustStore>, chain: &[CertificateDer<'static>]) -> Self {
        Self {
            store,
            chain: Box::from(chain),
            judged: ArcSwapOption::empty(),
        }
    }

    /// The client's certificate as the trust of `now` sees it. Verifies once, and again when trust or time have changed;
    /// a resumed session is verified like a new one, since its handshake was not.
    pub(crate) fn certificate(&self, now: UnixTime) -> ClientCertificate {
        let trust = self.store.current.load();
        if let Some(judged) = self.judged.load().as_ref().filter(|judged| judged.holds(&trust, now)) {
            return judged.certificate.clone();
        }
        let judged = trust.judge(&self.chain, now);
        let certificate = judged.certificate.clone();
        self.judged.store(Some(Arc::new(judged)));
        certificate
    }
}

/// Verifies the clients of a listener by the trust of the moment.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    /// The trust.
    pub(crate) store: Arc<TrustStore>,
    /// Whether a client needs a certificate.
    pub(crate) is_required: bool,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    /// None: they would be those of the first reading, and a client is free to choose without (RFC 8446 section 4.2.4).
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: pki_types::UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let trust = self.store.current.load();
        trust.verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let trust = self.store.current.load();
        trust.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let trust = self.store.current.load();
        trust.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.store.current.load().verifier.supported_verify_schemes()
    }
}

/// Keeps the chain of each connection with it.
pub(crate) struct ChainKeeper(pub(crate) Arc<TrustStore>);

#[async_trait]
impl TlsAccept for ChainKeeper {
    async fn handshake_complete_callback(&self, tls: &TlsRef) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
        let chain = tls.peer_cert_chain_der()?;
        Some(Arc::new(PeerChain::new(Arc::clone(&self.0), chain)))
    }
}

/// The lists in a PEM text, at least one, and when each is out of date.
fn lists(text: &str) -> Result<(Vec<CertificateRevocationListDer<'static>>, Vec<UnixTime>), TrustError> {
    let mut lists = Vec::new();
    let mut next_updates = Vec::new();
    for list in CertificateRevocationListDer::pem_slice_iter(text.as_bytes()) {
        let list = list.map_err(|_| TrustError::Lists)?;
        let (_, read) = CertificateRevocationList::from_der(&list).map_err(|_| TrustError::Lists)?;
        // A list that never is out of date would be taken for news for ever.
        let next_update = read.next_update().and_then(time_of).ok_or(TrustError::Lists)?;
        drop(read);
        next_updates.push(next_update);
        lists.push(list);
    }
    match lists.is_empty() {
        true => Err(TrustError::Lists),
        false => Ok((lists, next_updates)),
    }
}

/// Whom a verified leaf names: nobody, unless it has exactly one URI name, and when one of its names cannot be read.
fn identity(leaf: &[u8], is_listed: bool) -> Option<CertificateIdentity> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let names = leaf.subject_alternative_name().ok()??.value;
    let mut uris = names.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return None;
    };
    Some(CertificateIdentity {
        uri: Arc::from(uri),
        expires: time_of(leaf.validity().not_after)?,
        is_listed,
    })
}

/// What is wrong with a chain, for the operator.
#[cold]
fn fault(error: &rustls::Error) -> &'static str {
    use CertificateError as Certificate;
    let rustls::Error::InvalidCertificate(error) = error else {
        return "the client's certificate cannot be verified";
    };
    match error {
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            "the client's certificate, or one of its chain, has expired"
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "the client's certificate is not valid yet"
        }
        Certificate::Revoked => "the client's certificate was revoked",
        Certificate::ExpiredRevocationList | Certificate::ExpiredRevocationListContext { .. } => {
            "the revocation list for the client's certificate is out of date"
        }
        Certificate::UnknownRevocationStatus => "no revocation list tells of the client's certificate",
        Certificate::UnknownIssuer => "the client's certificate comes from no trusted authority",
        _ => "the client's certificate cannot be verified",
    }
}

/// An instant of X.509; `None` before 1970.
fn time_of(time: ASN1Time) -> Option<UnixTime> {
    u64::try_from(time.timestamp()).ok().map(UnixTime::from_secs)
}

/// The number of the next reading.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);
/// Certificates of hops' clients whose judgement is remembered, for each hop.
const TOLD_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
