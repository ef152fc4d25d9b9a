//! The keys of issuers: one task an issuer drives the core's refresher and publishes what it accepts.
//!
//! Owns [`KeyService`], the tasks, and the wait of requests whose token names an unknown `kid`: they share the one
//! fetch that may be out. Never judges an answer, and never takes keys away: both are the core's.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use portcullis_core::config::Limits;
use portcullis_core::jwks::JwksLimits;
use portcullis_core::jwks::refresh::{KeySource, Published, RefreshSettings, Refresher};
use portcullis_core::token::Issuer;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::fetch::Fetcher;
use crate::clock;
use crate::config::IssuerPlan;

/// Where accepted keys and metadata go.
pub(crate) trait Publish: Send + Sync {
    /// Takes what an issuer's answer brought.
    fn publish(&self, issuer: &Issuer, published: Published);
}

/// The refreshers of all issuers of the configuration.
pub(crate) struct KeyService {
    runtime: Handle,
    publish: Arc<dyn Publish>,
    issuers: RwLock<HashMap<Arc<str>, Running>>,
}

/// The task of one issuer; it ends when this is dropped.
struct Running {
    plan: Plan,
    wants: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a running task depends on; another plan needs another task.
#[derive(Clone, Eq, PartialEq)]
struct Plan {
    jwks_uri: Option<Arc<str>>,
    ca_pem: Option<Arc<str>>,
    danger_allow_private_addresses: bool,
    settings: RefreshSettings,
}

/// Why an issuer's keys cannot be fetched at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The HTTP client.
    #[error("the certificate authorities for the issuer `{0}` cannot be used: {1}")]
    Client(Arc<str>, reqwest::Error),
    /// The URLs.
    #[error(transparent)]
    Source(#[from] portcullis_core::jwks::refresh::SourceError),
}

/// Tasks that are ready to take over; made before anything changes, so that a reload is whole or nothing.
pub(crate) struct Prepared(Vec<(Arc<str>, Plan, Option<Drive>)>);

impl KeyService {
    /// A service without issuers, whose tasks run on `runtime`.
    pub(crate) fn new(runtime: Handle, publish: Arc<dyn Publish>) -> Self {
        Self {
            runtime,
            publish,
            issuers: RwLock::default(),
        }
    }

    /// Builds what the issuers of a configuration need, and changes nothing.
    ///
    /// # Errors
    /// [`StartError`] for an issuer that could never be asked.
    pub(crate) fn prepare(&self, plans: &[IssuerPlan], limits: &Limits) -> Result<Prepared, StartError> {
        let running = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
        let mut prepared = Vec::new();
        for issuer in plans.iter().filter(|plan| plan.issuer.needs_keys()) {
            let plan = Plan {
                jwks_uri: issuer.jwks_uri.clone(),
                ca_pem: issuer.ca_pem.clone(),
                danger_allow_private_addresses: issuer.danger_allow_private_addresses,
                settings: settings(limits),
            };
            let kept = running.get(&issuer.url).is_some_and(|running| running.plan == plan);
            let drive = match kept {
                true => None,
                false => Some(Drive::new(issuer, plan.settings, Arc::clone(&self.publish))?),
            };
            prepared.push((Arc::clone(&issuer.url), plan, drive));
        }
        Ok(Prepared(prepared))
    }

    /// Starts prepared tasks, keeps those that stay as they are and ends the others.
    pub(crate) fn start(&self, prepared: Prepared) {
        let mut issuers = self.issuers.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::new();
        for (url, plan, drive) in prepared.0 {
            let running = match (drive, issuers.remove(&url)) {
                (None, running) => running,
                (Some(drive), _) => {
                    let (wants, wanted) = mpsc::channel(WAITERS_MAX);
                    let task = self.runtime.spawn(drive.run(wanted));
                    Some(Running { plan, wants, task })
                }
            };
            next.extend(running.map(|running| (url, running)));
        }
        *issuers = next;
    }
}

impl KeyService {
    /// Asks for a fetch of the issuer's keys and waits until it ended, or until there is none to wait for.
    pub(crate) async fn fetch_keys(&self, issuer: &str) {
        let (done, ended) = oneshot::channel();
        let asked = {
            let issuers = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
            // A full queue means that enough requests wait already; this one goes on with the keys there are.
            issuers
                .get(issuer)
                .is_some_and(|running| running.wants.try_send(done).is_ok())
        };
        if asked {
            // The task answers by dropping the sender.
            let _ = ended.await;
        }
    }
}

/// One issuer's refresher with its means.
struct Drive {
    issuer: Arc<Issuer>,
    refresher: Refresher,
    fetcher: Fetcher,
    publish: Arc<dyn Publish>,
}

impl Drive {
    fn new(plan: &IssuerPlan, settings: RefreshSettings, publish: Arc<dyn Publish>) -> Result<Self, StartError> {
        let source = match &plan.jwks_uri {
            Some(uri) => KeySource::Uri(Arc::clone(uri)),
            None => KeySource::Discover,
        };
        Ok(Self {
            issuer: Arc::clone(&plan.issuer),
            refresher: Refresher::new(Arc::clone(&plan.url), source, settings)?,
            fetcher: Fetcher::new(plan, 0).map_err(|error| StartError::Client(Arc::clone(&plan.url), error))?,
            publish,
        })
    }

    /// Fetches whenever the refresher wants to, until nobody holds the other end of `wanted`.
    async fn run(mut self, mut wanted: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut waiting = Vec::new();
        loop {
            while self.fetch_due(&mut wanted, &mut waiting).await {}
            waiting.clear();
            let now = clock::now();
            let pause = self.refresher.next_wake(now).since(now);
            tokio::select! {
                // Short naps, since the wall clock may jump.
                () = tokio::time::sleep(pause.clamp(PAUSE_MIN, PAUSE_MAX)) => {}
                want = wanted.recv() => match want {
                    None => return,
                    Some(waiter) => {
                        if self.refresher.want(clock::now()) {
                            waiting.push(waiter);
                        }
                    }
                },
            }
        }
    }

    /// Performs one fetch if one is due, while further requests join the wait; `false` when none was due.
    async fn fetch_due(
        &mut self,
        wanted: &mut mpsc::Receiver<oneshot::Sender<()>>,
        waiting: &mut Vec<oneshot::Sender<()>>,
    ) -> bool {
        let Some(request) = self.refresher.poll_fetch(clock::now()) else {
            return false;
        };
        let fetch = self.fetcher.get(&request);
        tokio::pin!(fetch);
        let result = loop {
            tokio::select! {
                result = &mut fetch => break result,
                Some(waiter) = wanted.recv() => {
                    waiting.retain(|waiter| !waiter.is_closed());
                    if waiting.len() < WAITERS_MAX {
                        waiting.push(waiter);
                    }
                }
            }
        };
        let issuer = Arc::clone(self.issuer.url());
        let before = self.refresher.failures();
        match self.refresher.on_fetched(request.id, result, clock::now()) {
            Some(published) => {
                if let Some(keys) = &published.keys {
                    tracing::info!(%issuer, keys = keys.len(), skipped = keys.skipped(), "keys fetched");
                }
                self.publish.publish(&self.issuer, published);
            }
            None => {
                let error = self.refresher.last_error().map(|error| error.to_string());
                match self.refresher.failures() {
                    // Metadata has three places; one that is empty says nothing yet.
                    same if same == before => tracing::debug!(%issuer, url = %request.url, error, "nothing is here"),
                    failures => tracing::warn!(%issuer, url = %request.url, error, failures, "keys were not fetched"),
                }
            }
        }
        true
    }
}

fn settings(limits: &Limits) -> RefreshSettings {
    RefreshSettings {
        limits: JwksLimits {
            bytes_max: limits.jwks_bytes_max,
            keys_max: limits.jwks_keys_max,
        },
        fetch_deadline: limits.fetch_deadline,
        refresh: limits.jwks_refresh,
        age_max: limits.jwks_age_max,
        unknown_kid_interval: limits.unknown_kid_interval,
    }
}

/// Requests that wait for one issuer at once.
const WAITERS_MAX: usize = 4_096;
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
