//! `portcullis run`: from a configuration to a gate that serves, and its orderly end.
//!
//! Owns the order of the start: configuration, keys of the gate, audit log, keys of issuers, listeners. Whatever is missing ends the
//! start with its own exit status; nothing listens before everything else stands.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use portcullis_core::audit::{AuditLog, AuditSettings, FileStorage, WriterThread};
use portcullis_core::gate::{Gate, GateKeys, GateParts};
use portcullis_core::jwks::refresh::Published;
use portcullis_core::token::Issuer;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, RunArguments, check};
use crate::background::endpoints;
use crate::background::issuers::Issuers;
use crate::background::jwks::{Publish, StartError};
use crate::background::keys::KeysInUse;
use crate::background::policy::BundleService;
use crate::background::reload::{Reload, snapshot};
use crate::background::revocation::RevocationStore;
use crate::background::revocation::watched::WatchedFile;
use crate::background::tools::ToolService;
use crate::clock;
use crate::config::{self, Config, Diagnostic, Names};
use crate::listen::{self, Listener, Listening, ServeError, ServeOptions};
use crate::metadata::MetadataStore;
use crate::service::IssuerEvidence;
use crate::shutdown::{Shutdown, Signals};
use crate::signer::Signer;
use crate::telemetry;
use crate::upstream::Upstreams;

/// How a gate is run.
pub(super) struct RunOptions {
    /// The configuration file; SIGHUP reads it again.
    pub(super) config: PathBuf,
    /// Threads that serve requests.
    pub(super) workers: usize,
    /// Ends the gate.
    pub(super) shutdown: Shutdown,
    /// Whether the process's signals reload and end it too.
    pub(super) signals: bool,
    /// Called once all listeners listen.
    #[expect(clippy::type_complexity, reason = "one callback that is called once")]
    pub(super) on_listening: Box<dyn FnOnce(&[SocketAddr]) + Send>,
}

/// `portcullis run`: serves until the process is told to end.
pub(super) fn run(arguments: &RunArguments) -> anyhow::Result<Exit> {
    telemetry::start(arguments.log);
    let workers = match arguments.workers {
        Some(workers) => usize::from(workers),
        None => thread::available_parallelism()?.get(),
    };
    serve(RunOptions {
        config: arguments.config.clone(),
        workers,
        shutdown: Shutdown::new(),
        signals: true,
        on_listening: Box::new(|_| {}),
    })
}

/// Runs the gate until it is told to end. Blocks; call it outside any async runtime.
pub(super) fn serve(options: RunOptions) -> anyhow::Result<Exit> {
    // With huge pages, the buffers of open streams would be resident where nothing was ever written: 64 KiB a stream.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let config = match config::load(&options.config, Names::Resolve, options.workers) {
        Ok(config) => config,
        Err(diagnostics) => {
            eprint!("{}", diagnostics.pretty());
            return Ok(check::exit_of(&diagnostics));
        }
    };
    let store = match config::open_keys(&config.keys, &options.config) {
        Ok(store) => store,
        Err(diagnostics) => {
            eprint!("{}", diagnostics.pretty());
            return Ok(check::exit_of(&diagnostics));
        }
    };
    for path in store.readable_by_others() {
        tracing::warn!(path = %path.display(), "everybody on this machine can read a key file");
    }
    config.warnings.iter().for_each(Diagnostic::log);
    let background = Background::start()?;
    let (audit, writer) = open_audit(&config)?;
    let (keys_in_use, keys) = KeysInUse::take(&store, clock::now())?;
    let signer = Arc::new(Signer::default());
    signer.renew(&store);
    drop(store);
    let gate = gate(&config, audit, keys)?;
    let operators = config.operators.clone();
    let revocations = RevocationStore::open(Arc::clone(&gate), operators.state_dir.as_deref())?;
    let revocations = Arc::new(revocations);
    background.watch(&revocations, operators.revocation_file);
    let metadata = Arc::new(MetadataStore::default());
    let publish = Publisher {
        gate: Arc::clone(&gate),
        metadata: Arc::clone(&metadata),
    };
    let runtime = background.runtime.handle();
    let issuers = Arc::new(Issuers::new(
        runtime,
        Arc::new(publish),
        Arc::clone(&metadata),
        Arc::clone(&signer),
        config.limits.exchanged_tokens_max,
    ));
    match issuers.prepare(&config) {
        Ok(prepared) => issuers.start(prepared),
        Err(error @ StartError::Source(_)) => {
            eprintln!("portcullis: {error}");
            return Ok(Exit::Invalid);
        }
        Err(error @ StartError::Client(..)) => return Err(error.into()),
    }
    let upstreams = Arc::new(Upstreams::new());
    background
        .runtime
        .spawn(endpoints::check(Arc::clone(&gate), Arc::clone(&upstreams)));
    // Before anybody can call: a signal that nobody takes would end the process in the middle of a call.
    let signals = background.take_signals(options.signals)?;
    let hangups = background.take_hangups(options.signals)?;
    let tools = background.list_tools(&gate, &config, &signer);
    let evidence: Arc<dyn IssuerEvidence> = Arc::<Issuers>::clone(&issuers);
    let (bundles, policies) = BundleService::new(background.runtime.handle().clone(), Arc::clone(&gate));
    let serve_options = ServeOptions {
        bundles: bundles.statuses(),
        gate: Arc::clone(&gate),
        listeners: config.listeners.clone(),
        admin: operators.pages,
        control: operators.control,
        revocations: Arc::clone(&revocations),
        metadata,
        issuers: evidence,
        signer,
        on_listening: Box::new(announce(
            config.listeners.clone(),
            options.signals,
            options.on_listening,
        )),
        shutdown: options.shutdown,
        signals,
        drain_deadline: DRAIN_DEADLINE,
        workers: options.workers,
        upstreams: Arc::clone(&upstreams),
        hops: config.trusted_hops.clone(),
    };
    let reload = Reload::new(
        (options.config, options.workers),
        config,
        Arc::clone(&gate),
        (issuers, keys_in_use),
        revocations,
        Arc::clone(&tools),
        (bundles, policies),
    );
    background.care_for(reload, hangups);
    let served = listen::serve(serve_options);
    sum_up(&gate);
    drop(tools);
    drop(background);
    writer.seal()?;
    match served {
        Ok(()) => {
            tracing::info!("ended");
            Ok(Exit::Ok)
        }
        Err(error @ (ServeError::Bind { .. } | ServeError::BindUnix { .. })) => {
            eprintln!("portcullis: {error}");
            Ok(Exit::Unavailable)
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens the log and takes it up where the last process left it.
fn open_audit(config: &Config) -> anyhow::Result<(AuditLog, WriterThread)> {
    let storage = FileStorage::open(&config.audit)?;
    let settings = AuditSettings {
        queue_records: config.limits.audit_queue_records,
        ..AuditSettings::default()
    };
    Ok(AuditLog::start(Box::new(storage), settings, clock::now())?)
}

fn gate(config: &Config, audit: AuditLog, keys: GateKeys) -> anyhow::Result<Arc<Gate>> {
    let mut seed = [0; 16];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    let parts = GateParts {
        snapshot: snapshot(config)?,
        audit,
        node: Arc::clone(&config.node),
        keys,
        seed,
        now: clock::now(),
    };
    Ok(Arc::new(Gate::new(parts, Box::new(clock::Monotonic::start()))))
}

/// Tells people and machines where the gate listens, when it is the process's own.
fn announce(
    listeners: Vec<Listener>,
    aloud: bool,
    then: impl FnOnce(&[SocketAddr]) + Send,
) -> impl FnOnce(&Listening) + Send {
    move |listening| {
        then(&listening.addresses);
        if !aloud {
            return;
        }
        let urls: Vec<String> = listeners
            .iter()
            .zip(&listening.addresses)
            .map(|(listener, address)| match listener.tls {
                Some(_) => format!("https://{address}"),
                None => format!("http://{address}"),
            })
            .collect();
        let admin = listening.admin.map(|address| format!("http://{address}"));
        tracing::info!(addresses = urls.join(" "), admin, "listening");
        let mut out = std::io::stdout().lock();
        for url in &urls {
            // Nobody may be reading; the gate serves all the same.
            let _ = writeln!(out, "listening {url}");
        }
        if let Some(url) = admin {
            let _ = writeln!(out, "admin {url}");
        }
        if let Some(place) = &listening.control {
            let _ = writeln!(out, "control {place}");
        }
        let _ = out.flush();
    }
}

/// Puts what issuers answered where requests find it.
struct Publisher {
    gate: Arc<Gate>,
    metadata: Arc<MetadataStore>,
}

impl Publish for Publisher {
    fn publish(&self, issuer: &Issuer, published: Published) {
        if let Some(keys) = published.keys {
            self.gate.publish_keys(issuer, &keys);
        }
        if let Some(metadata) = &published.metadata {
            self.metadata.publish(issuer.url(), metadata);
        }
    }
}

/// The runtime of everything that is no request.
struct Background {
    runtime: Runtime,
}

impl Background {
    fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            .thread_name("background")
            .enable_all()
            .build()
            .context("the background runtime cannot be started")?;
        Ok(Self { runtime })
    }

    /// Takes the signals that end the gate from now on, when signals are ours.
    fn take_signals(&self, ours: bool) -> anyhow::Result<Signals> {
        let _entered = self.runtime.enter();
        match ours {
            true => Signals::listen().context("the signals that end the gate cannot be listened to"),
            false => Ok(Signals::default()),
        }
    }

    /// Lists the tools of all servers from now on, and waits a moment for the first lists: a gate that listens should
    /// not refuse its first calls for want of them.
    fn list_tools(&self, gate: &Arc<Gate>, config: &Config, signer: &Arc<Signer>) -> Arc<ToolService> {
        // Of its own: the threads that serve requests keep no connection of this one.
        let tools = ToolService::new(
            self.runtime.handle(),
            Arc::clone(gate),
            config.pins.clone(),
            Upstreams::new(),
            Arc::clone(signer),
        );
        let firsts = tools.start(config.tool_plans());
        self.runtime.block_on(async {
            let all = async {
                for first in firsts {
                    // The task answers by dropping the sender.
                    let _ = first.await;
                }
            };
            if tokio::time::timeout(FIRST_LISTS_WAIT, all).await.is_err() {
                tracing::warn!("not every upstream has listed its tools yet; until then they cannot be called");
            }
        });
        Arc::new(tools)
    }

    /// Applies the file of revocations now and whenever it changes, and forgets what has expired.
    fn watch(&self, store: &Arc<RevocationStore>, file: Option<PathBuf>) {
        if let Some(path) = file {
            let mut watched = WatchedFile::new(path, Arc::clone(store));
            // Before anybody can call.
            watched.look();
            self.runtime.spawn(watched.run());
        }
        let store = Arc::clone(store);
        self.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(FORGET_INTERVAL);
            loop {
                ticks.tick().await;
                store.forget_expired();
            }
        });
    }

    /// Takes SIGHUP from now on, when signals are ours: until it is served it waits, and ends nothing.
    fn take_hangups(&self, ours: bool) -> anyhow::Result<Option<Signal>> {
        let _entered = self.runtime.enter();
        let hangups = ours.then(|| signal(SignalKind::hangup()));
        hangups.transpose().context("SIGHUP cannot be listened to")
    }

    /// Serves SIGHUP from now on, when signals are ours, and writes the summaries of early refusals.
    fn care_for(&self, reload: Reload, hangups: Option<Signal>) {
        let _entered = self.runtime.enter();
        let gate = Arc::clone(reload.gate());
        self.runtime.spawn(reload.run(hangups));
        self.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(REFUSALS_INTERVAL);
            loop {
                ticks.tick().await;
                sum_up(&gate);
            }
        });
    }
}

/// Writes the records of early refusals, and warns of tokens that many clients use.
fn sum_up(gate: &Gate) {
    gate.flush_refusals(clock::now());
    while let Some(shared) = gate.take_shared_token() {
        tracing::warn!(
            server = &*shared.server,
            token_digest = %shared.digest,
            sources = shared.sources,
            "one token is used from many places"
        );
    }
}

/// How long the start waits for the first lists of tools.
const FIRST_LISTS_WAIT: Duration = Duration::from_secs(2);
/// How long running requests may go on after SIGTERM.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// How often revocations that can mean no token any more are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);
/// How often refusals before identity are summed up in a record (design, section 2).
const REFUSALS_INTERVAL: Duration = Duration::from_secs(10);
