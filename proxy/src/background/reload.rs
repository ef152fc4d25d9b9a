//! A new configuration for a gate that runs: on SIGHUP, and when the address of an upstream has moved.
//!
//! Owns the configuration in force. Whole or nothing: a new one is read, lowered, compiled and looked up, and the gate's
//! own keys are read with it, before anything changes, and one fault leaves everything as it was. Never touches listeners,
//! the admin listener or the audit log: what they are made of takes a restart, and a reload that would change it is
//! refused. What they trust clients' certificates by is read anew, from the same files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::gate::{Gate, Snapshot};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::issuers::Issuers;
use super::jwks::StartError;
use super::keys::{self, GateKeysError, KeysInUse};
use super::policy::{BundleService, NewPolicy};
use super::revocation::RevocationStore;
use super::tools::ToolService;
use super::watch::Watched;
use crate::clock;
use crate::config::{self, BuildError, Config, Diagnostic, Diagnostics, Names, RulingPolicies};
use crate::trust::TrustStore;

/// The owner of the configuration in force.
pub(crate) struct Reload {
    path: PathBuf,
    workers: usize,
    config: Config,
    gate: Arc<Gate>,
    issuers: Arc<Issuers>,
    keys: KeysInUse,
    /// Who wakes the open streams.
    revocations: Arc<RevocationStore>,
    tools: Arc<ToolService>,
    bundles: BundleService,
    /// The policies that bundles bring.
    policies: mpsc::Receiver<NewPolicy>,
    /// What the listeners and hops of the running gate trust.
    trust: Vec<Arc<TrustStore>>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The servers do not fit together.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The configuration has faults.
    #[error(transparent)]
    Config(#[from] Diagnostics),
    /// The gate's own keys do not fit together.
    #[error(transparent)]
    GateKeys(#[from] GateKeysError),
    /// An issuer's keys could never be fetched.
    #[error(transparent)]
    Keys(#[from] StartError),
    /// Something changed that a running gate cannot change.
    #[error("`{0}` differs from the running gate's: restart it to change that")]
    Restart(&'static str),
    /// The thread that read the configuration is gone.
    #[error("the configuration could not be read to its end")]
    Thread,
}

impl Reload {
    /// The owner of `config`, which was read from `path` and is in force.
    pub(crate) fn new(
        (path, workers): (PathBuf, usize),
        config: Config,
        gate: Arc<Gate>,
        (issuers, keys): (Arc<Issuers>, KeysInUse),
        revocations: Arc<RevocationStore>,
        tools: Arc<ToolService>,
        (bundles, policies): (BundleService, mpsc::Receiver<NewPolicy>),
    ) -> Self {
        let trust = config.trust_stores();
        for store in &trust {
            store.warn_of_old_lists(clock::now());
        }
        Self {
            path,
            workers,
            config,
            gate,
            issuers,
            keys,
            revocations,
            tools,
            bundles,
            policies,
            trust,
        }
    }

    /// The gate whose configuration this is.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Serves `hangups`, takes what bundles bring, and looks upstreams and watched files up again in between, for as long
    /// as the process lives.
    pub(crate) async fn run(mut self, mut hangups: Option<Signal>) {
        self.bundles.start(self.config.bundle_plans());
        let (mut looks, mut watched) = self.watch();
        let mut ticks = tokio::time::interval(RESOLVE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                hangup = next(&mut hangups) => match hangup {
                    Some(()) => {
                        self.on_hangup().await;
                        (looks, watched) = self.watch();
                    }
                    None => return,
                },
                Some(new) = self.policies.recv() => self.on_policy(new),
                _ = looks.tick() => if watched.has_changed() {
                    tracing::info!("a watched file has changed");
                    self.on_hangup().await;
                },
                _ = ticks.tick() => {
                    for store in &self.trust {
                        store.warn_of_old_lists(clock::now());
                    }
                    self.resolve().await;
                }
            }
        }
    }

    /// The watched files of the configuration in force, and when to look at them.
    fn watch(&self) -> (tokio::time::Interval, Watched) {
        let (interval, files) = self.config.watched().unwrap_or((RESOLVE_INTERVAL, Vec::new()));
        let mut looks = tokio::time::interval(interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        (looks, Watched::new(files))
    }

    /// Publishes the policy of a bundle, unless it is for another configuration than the one in force.
    fn on_policy(&mut self, new: NewPolicy) {
        let mut plans = self.config.servers.iter_mut();
        let plan = plans.find(|plan| plan.name() == &*new.server);
        if !plan.is_some_and(|plan| plan.take_policy(&new)) {
            return;
        }
        match snapshot(&self.config) {
            Ok(snapshot) => {
                self.gate.publish(snapshot);
                let _ = new.published.send(());
            }
            Err(error) => tracing::error!(%error, "the policy of a bundle cannot be published"),
        }
    }

    async fn on_hangup(&mut self) {
        match self.reload().await {
            Ok(()) => {
                self.config.warnings.iter().for_each(Diagnostic::log);
                tracing::info!(servers = self.config.servers.len(), "configuration reloaded");
            }
            Err(ReloadError::Config(diagnostics)) => {
                for fault in &diagnostics.diagnostics {
                    fault.log();
                }
                tracing::error!(faults = diagnostics.diagnostics.len(), "{REFUSED}");
            }
            Err(error) => tracing::error!(%error, "{REFUSED}"),
        }
    }

    /// Reads the configuration anew and puts it in force.
    ///
    /// # Errors
    /// [`ReloadError`]; everything is as before then.
    pub(crate) async fn reload(&mut self) -> Result<(), ReloadError> {
        let (path, workers) = (self.path.clone(), self.workers);
        let ruling = RulingPolicies::of(&self.config.servers);
        let read = tokio::task::spawn_blocking(move || {
            let config = config::load_beside(&path, Names::Resolve, workers, ruling)?;
            let store = config::open_keys(&config.keys, &path)?;
            Ok::<_, Diagnostics>((config, store))
        });
        let (mut config, store) = read.await.map_err(|_| ReloadError::Thread)??;
        check_restart(&self.config, &config)?;
        for plan in &mut config.servers {
            if let Some(old) = self.config.servers.iter().find(|old| old.name() == plan.name()) {
                plan.take_over(old);
            }
        }
        let snapshot = snapshot(&config)?;
        let sessions = keys::sessions(&store)?;
        let prepared = self.issuers.prepare(&config)?;
        // From here on nothing can fail. The same listeners and hops, hence the same order.
        for (running, read) in self.trust.iter().zip(config.trust_stores()) {
            running.exchange(&read);
            running.warn_of_old_lists(clock::now());
        }
        self.revocations.look_again();
        self.gate.publish(snapshot);
        self.issuers.start(prepared);
        // Listed anew, whatever has changed: what was accepted in the meantime is taken up with it.
        self.tools.start(config.tool_plans());
        self.keys.renew(&self.gate, &store, &sessions, clock::now());
        self.issuers.signer().renew(&store);
        self.config = config;
        self.bundles.start(self.config.bundle_plans());
        Ok(())
    }

    /// Looks every upstream up again; a name that does not resolve keeps its addresses.
    async fn resolve(&mut self) {
        let mut plans = self.config.servers.clone();
        let resolved = tokio::task::spawn_blocking(move || {
            let mut moved = false;
            for plan in &mut plans {
                let resolved = plan.resolve();
                moved |= resolved.moved;
                for (endpoint, error) in resolved.failed {
                    tracing::warn!(
                        server = plan.name(),
                        endpoint = &*endpoint,
                        %error,
                        "an upstream's name does not resolve"
                    );
                }
            }
            (moved, plans)
        });
        let Ok((true, plans)) = resolved.await else {
            return;
        };
        self.config.servers = plans;
        match snapshot(&self.config) {
            Ok(snapshot) => {
                self.gate.publish(snapshot);
                tracing::info!("an upstream has moved to another address");
            }
            Err(error) => tracing::error!(%error, "an upstream's new address cannot be used"),
        }
    }
}

/// The next signal; never, when signals are not ours.
async fn next(hangups: &mut Option<Signal>) -> Option<()> {
    match hangups {
        Some(hangups) => hangups.recv().await,
        None => std::future::pending().await,
    }
}

/// The snapshot of a configuration.
///
/// # Errors
/// [`BuildError`]; a lowered configuration gives none.
pub(crate) fn snapshot(config: &Config) -> Result<Snapshot, BuildError> {
    let servers: Result<Vec<_>, BuildError> = config.servers.iter().map(|plan| plan.build().map(Arc::new)).collect();
    Ok(Snapshot::new(servers?, config.limits.clone(), config.digest)?)
}

/// Whether the running gate can go over to `new`.
fn check_restart(old: &Config, new: &Config) -> Result<(), ReloadError> {
    let fixed = [
        (old.listeners == new.listeners, "listen"),
        (old.operators.pages == new.operators.pages, "admin"),
        (old.operators.control == new.operators.control, "admin.control"),
        (old.operators.state_dir == new.operators.state_dir, "state_dir"),
        (
            old.operators.revocation_file == new.operators.revocation_file,
            "revocation_file",
        ),
        (old.audit == new.audit, "audit"),
        (old.keys == new.keys, "keys"),
        (old.node == new.node, "node"),
        (old.trusted_hops == new.trusted_hops, "trusted_hops"),
        (
            old.limits.audit_queue_records == new.limits.audit_queue_records,
            "limits.audit_queue_records",
        ),
        (
            old.limits.tokens_cached_max == new.limits.tokens_cached_max,
            "limits.tokens_cached_max",
        ),
        (
            old.limits.exchanged_tokens_max == new.limits.exchanged_tokens_max,
            "limits.exchanged_tokens_max",
        ),
    ];
    match fixed.iter().find(|(same, _)| !same) {
        Some((_, key)) => Err(ReloadError::Restart(key)),
        None => Ok(()),
    }
}

const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
const REFUSED: &str = "reload refused, the old configuration stays in force";
