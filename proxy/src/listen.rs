//! Listening and serving: sockets, TLS, worker threads, and the one entry [`serve`].
//!
//! Owns the sockets until Pingora takes them: they listen before the server runs, so a port chosen by the system is
//! known at once and no connection is lost on the way. Installs nothing for the whole process.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::HttpServerApp;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{ListenerConfig, Listeners};
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{ListenFds, RunArgs, Server, ShutdownWatch};
use pingora_core::services::listening;
use portcullis_core::gate::Gate;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Mutex;

use crate::admin::Admin;
use crate::admin::control::Control;
use crate::admin::unix::{self, UnixControl};
use crate::background::policy::BundleStatuses;
use crate::background::revocation::RevocationStore;
use crate::config::{ControlPlace, ControlPlan};
use crate::ingress::TrustedHops;
use crate::metadata::MetadataStore;
use crate::service::{Entrance, IssuerEvidence, Service, server_options};
use crate::shutdown::{Drain, Shutdown, Signals};
use crate::signer::Signer;
use crate::tls::{self, TlsError};
use crate::trust::TrustStore;
use crate::upstream::Upstreams;

/// Connections that wait for being accepted.
const BACKLOG: i32 = 4_096;
/// What one read of a socket in the clear takes at once, unless the parser has room for more. Every open stream holds it.
const READ_BUFFER_BYTES: usize = 1024;
/// The same under TLS: one record.
const TLS_READ_BUFFER_BYTES: usize = 16 * 1024;

/// One address to listen on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Listener {
    /// The address; port 0 lets the system choose.
    pub(crate) address: SocketAddr,
    /// The files of TLS; `None` listens in the clear.
    pub(crate) tls: Option<TlsFiles>,
}

/// The PEM files of a TLS listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TlsFiles {
    /// The certificate chain, leaf first.
    pub(crate) certificate: PathBuf,
    /// The private key.
    pub(crate) key: PathBuf,
    /// What clients' certificates are verified by; `None` asks for none.
    pub(crate) client: Option<ClientTrust>,
}

/// How a listener takes clients' certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ClientTrust {
    /// What they are verified by.
    pub(crate) store: Arc<TrustStore>,
    /// Whether every client needs one.
    pub(crate) is_required: bool,
}

impl Listener {
    /// What clients' certificates are verified by, when they are asked for.
    pub(crate) fn client_trust(&self) -> Option<&Arc<TrustStore>> {
        let client = self.tls.as_ref()?.client.as_ref()?;
        Some(&client.store)
    }
}

/// What [`serve`] needs.
pub(crate) struct ServeOptions {
    /// The decisions.
    pub(crate) gate: Arc<Gate>,
    /// Where to listen, at least one.
    pub(crate) listeners: Vec<Listener>,
    /// Where operators and their tools ask; `None` for nowhere.
    pub(crate) admin: Option<SocketAddr>,
    /// Where operators act; `None` for nowhere.
    pub(crate) control: Option<ControlPlan>,
    /// What is revoked.
    pub(crate) revocations: Arc<RevocationStore>,
    /// What is told about policy bundles.
    pub(crate) bundles: Arc<BundleStatuses>,
    /// The documents of issuers, filled by a background service.
    pub(crate) metadata: Arc<MetadataStore>,
    /// Who asks issuers on demand.
    pub(crate) issuers: Arc<dyn IssuerEvidence>,
    /// Who signs what upstreams are told of callers.
    pub(crate) signer: Arc<Signer>,
    /// Called once all sockets listen.
    pub(crate) on_listening: Box<dyn FnOnce(&Listening)>,
    /// The handle that ends the server.
    pub(crate) shutdown: Shutdown,
    /// The signals that end it as well.
    pub(crate) signals: Signals,
    /// How long running requests may go on after that.
    pub(crate) drain_deadline: Duration,
    /// The worker threads; must not exceed the policy replicas.
    pub(crate) workers: usize,
    /// The connections to upstreams.
    pub(crate) upstreams: Arc<Upstreams>,
    /// Who may tell a client's certificate.
    pub(crate) hops: TrustedHops,
}

/// The addresses that were got.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    /// The clients', in the order of the listeners.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The operators'.
    pub(crate) admin: Option<SocketAddr>,
    /// Where operators act: a URL, or `unix:` and a path.
    pub(crate) control: Option<String>,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The address cannot be bound.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// The address as configured.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The socket of the control plane cannot be bound.
    #[error("cannot listen on `{}`: {source}", .path.display())]
    BindUnix {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// No listener is configured.
    #[error("no listener is configured")]
    ListenersMissing,
    /// The TLS files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Serves until the shutdown is complete. Blocks; call it outside any async runtime.
///
/// Seal the audit log after it has returned, not before.
///
/// # Errors
/// [`ServeError`] before anything is served.
pub(crate) fn serve(options: ServeOptions) -> Result<(), ServeError> {
    if options.listeners.is_empty() {
        return Err(ServeError::ListenersMissing);
    }
    let mut listeners = Listeners::new();
    let mut sockets = Vec::with_capacity(options.listeners.len());
    for listener in &options.listeners {
        let settings = listener.tls.as_ref().map(tls::settings).transpose()?;
        let (socket, address) = bind(listener.address)?;
        listeners.add_listener(endpoint(address, settings));
        sockets.push((address, socket));
    }
    let mut listening = Listening {
        addresses: sockets.iter().map(|(address, _)| *address).collect(),
        admin: None,
        control: None,
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration(options.workers));
    if let Some(address) = options.admin {
        let (service, address) = admin(address, &options.revocations, &options.bundles, &options.shutdown)?;
        server.add_service(service);
        listening.admin = Some(address);
    }
    if let Some(plan) = &options.control {
        listening.control = Some(add_control(&mut server, plan, &options.revocations)?);
    }
    let asks_for_certificates = |listener: &Listener| listener.client_trust().is_some();
    let service = Arc::new(Service {
        gate: Arc::clone(&options.gate),
        issuers: options.issuers,
        signer: options.signer,
        metadata: options.metadata,
        revocations: options.revocations,
        shutdown: options.shutdown.clone(),
        upstreams: options.upstreams,
        streams: AtomicUsize::new(0),
        sees_certificates: options.hops.tell_certificates() || options.listeners.iter().any(asks_for_certificates),
        hops: options.hops,
        server_options: server_options(),
    });
    let entrance = Entrance {
        gate: options.gate,
        app: service,
    };
    server.add_service(Prebound {
        inner: listening::Service::with_listeners("portcullis".to_owned(), listeners, entrance),
        sockets,
    });
    (options.on_listening)(&listening);
    server.run(RunArgs {
        shutdown_signal: Box::new(Drain {
            shutdown: options.shutdown,
            signals: Mutex::new(options.signals),
            drain_deadline: options.drain_deadline,
        }),
    });
    Ok(())
}

/// The admin listener on a thread of its own, and the address that it got.
fn admin(
    address: SocketAddr,
    store: &Arc<RevocationStore>,
    bundles: &Arc<BundleStatuses>,
    shutdown: &Shutdown,
) -> Result<(Prebound<Admin>, SocketAddr), ServeError> {
    let is_loopback = address.ip().is_loopback();
    let app = Admin::new(Arc::clone(store), Arc::clone(bundles), shutdown.clone(), is_loopback);
    let listener = Listener { address, tls: None };
    apart("admin", &listener, app, store.gate())
}

/// The control plane; where it listens.
fn add_control(server: &mut Server, plan: &ControlPlan, store: &Arc<RevocationStore>) -> Result<String, ServeError> {
    let control = Control::new(Arc::clone(store), &plan.tokens).ok_or(ServeError::Randomness)?;
    match &plan.place {
        ControlPlace::Tcp(listener) => {
            let (service, address) = apart("control", listener, control, store.gate())?;
            server.add_service(service);
            let scheme = if listener.tls.is_some() { "https" } else { "http" };
            Ok(format!("{scheme}://{address}"))
        }
        ControlPlace::Unix(path) => {
            let socket = unix::bind(path).map_err(|source| ServeError::BindUnix {
                path: path.clone(),
                source,
            })?;
            server.add_service(UnixControl::new(Arc::clone(store.gate()), control, socket));
            Ok(format!("unix:{}", path.display()))
        }
    }
}

/// A listener on a thread of its own, and the address that it got.
fn apart<A>(
    name: &str,
    listener: &Listener,
    app: A,
    gate: &Arc<Gate>,
) -> Result<(Prebound<A>, SocketAddr), ServeError> {
    let settings = listener.tls.as_ref().map(tls::settings).transpose()?;
    let (socket, address) = bind(listener.address)?;
    let mut listeners = Listeners::new();
    listeners.add_listener(endpoint(address, settings));
    let entrance = Entrance {
        gate: Arc::clone(gate),
        app: Arc::new(app),
    };
    let mut inner = listening::Service::with_listeners(name.to_owned(), listeners, entrance);
    // Whoever asks here, and however much, takes nothing from the workers but processor time.
    inner.threads = Some(1);
    let sockets = vec![(address, socket)];
    Ok((Prebound { inner, sockets }, address))
}

fn configuration(workers: usize) -> ServerConf {
    ServerConf {
        threads: workers,
        // The drain is ours: Pingora would sleep the whole period.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn endpoint(address: SocketAddr, settings: Option<TlsSettings>) -> ListenerConfig {
    let read = if settings.is_some() {
        TLS_READ_BUFFER_BYTES
    } else {
        READ_BUFFER_BYTES
    };
    let buffer = L4BufferSettings::default().read(read);
    let config = ListenerConfig::tcp(address.to_string()).l4_buffer(buffer);
    match settings {
        Some(settings) => config.tls(settings),
        None => config,
    }
}

/// A listening socket and the address it got.
fn bind(address: SocketAddr) -> Result<(OwnedFd, SocketAddr), ServeError> {
    let failed = |source| ServeError::Bind { address, source };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(failed)?;
    // A restart must not wait for the old connections' last packets.
    socket.set_reuse_address(true).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    socket.bind(&address.into()).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    let bound = bound
        .as_socket()
        .ok_or_else(|| failed(io::Error::from(io::ErrorKind::Unsupported)))?;
    Ok((OwnedFd::from(socket), bound))
}

/// Pingora's listening service with sockets that listen already.
///
/// Pingora looks for them in the table it keeps for sockets handed over by an older process.
struct Prebound<A> {
    inner: listening::Service<Entrance<A>>,
    sockets: Vec<(SocketAddr, OwnedFd)>,
}

#[async_trait]
impl<A> pingora_core::services::Service for Prebound<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    async fn start_service(&mut self, fds: Option<ListenFds>, shutdown: ShutdownWatch, listeners_per_fd: usize) {
        if let Some(fds) = &fds {
            let mut table = fds.lock();
            for (address, socket) in self.sockets.drain(..) {
                let key = address.to_string();
                if table.get(&key).is_none() {
                    // From here on the listener owns the descriptor and closes it.
                    table.add(key, socket.into_raw_fd());
                }
            }
        }
        pingora_core::services::Service::start_service(&mut self.inner, fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        pingora_core::services::Service::name(&self.inner)
    }

    fn threads(&self) -> Option<usize> {
        pingora_core::services::Service::threads(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{ServeError, bind};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_port_chosen_by_the_system_is_known_and_takes_connections_at_once() {
        let (socket, address) = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(address.port(), 0);
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(false).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let mut byte = [0];
        accepted.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        let again = bind(address);
        assert!(
            matches!(again, Err(ServeError::Bind { .. })),
            "an address is taken once"
        );
    }
}
