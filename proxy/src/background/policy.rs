//! Policies that come as bundles: one task a server fetches, keeps and activates them.
//!
//! Owns [`BundleService`] and the order of an activation: read and verified, held against the history, compiled, kept on
//! the disk, then published. Whatever fails on the way leaves the policy that rules. When to fetch, what may stand in a
//! bundle and which one is a roll-back are the core's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_core::audit::ActOutcome;
use portcullis_core::bundle::fetch::{BundleFetchError, BundleFetcher, BundleNews, FetchSettings};
use portcullis_core::bundle::status::BundleStatus;
use portcullis_core::bundle::{Bundle, BundleDigest, BundleLimits, Signatures, Verification};
use portcullis_core::gate::{BundleAct, Gate};
use portcullis_core::policy::{Policy, PolicyError, PolicySource};
use portcullis_core::time::UnixTime;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::clock;

mod activate;
mod remote;
mod store;

use activate::{Activated, activate};
pub(crate) use activate::{ActivationError, kept};
use remote::Remote;

/// What a server's bundle is and where it comes from.
#[derive(Clone)]
pub(crate) struct BundlePlan {
    /// The server whose policy it is.
    pub server: Arc<str>,
    /// Where it is served.
    pub url: Arc<str>,
    /// By which keys it is verified; `None` takes bundles without a signature alone.
    pub verification: Option<Arc<Verification>>,
    /// When it is fetched.
    pub settings: FetchSettings,
    /// What it may hold.
    pub limits: BundleLimits,
    /// The file of the bearer token.
    pub token_file: Option<PathBuf>,
    /// The gate's certificate and its key, in PEM.
    pub identity: Option<Arc<Zeroizing<Vec<u8>>>>,
    /// The authorities of the server, in PEM; `None` trusts the system's.
    pub ca_pem: Option<Arc<str>>,
    /// Where it is kept.
    pub folder: PathBuf,
    /// Whether one that was replaced may come back.
    pub danger_allow_rollback: bool,
    /// The scope tables that its policy sees: tools, prompts, resources.
    pub tables: Arc<[String; 3]>,
    /// For how many workers it is compiled.
    pub workers: usize,
    /// How many answers each of them remembers.
    pub memo_entries: usize,
    /// The kept one that rules since the configuration was read.
    pub loaded: Option<Ruling>,
}

/// Without the key.
impl std::fmt::Debug for BundlePlan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "BundlePlan({}, {})", self.server, self.url)
    }
}

/// A bundle that rules, by its names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ruling {
    /// How it calls itself.
    pub revision: Arc<str>,
    /// What it is.
    pub digest: BundleDigest,
}

impl Ruling {
    fn of(bundle: &Bundle) -> Self {
        Self {
            revision: Arc::from(bundle.manifest().revision()),
            digest: bundle.digest(),
        }
    }
}

impl BundlePlan {
    fn signatures(&self) -> Signatures<'_> {
        match &self.verification {
            Some(verification) => Signatures::Verified(verification),
            None => Signatures::Absent,
        }
    }

    /// `bundle`, compiled beside the scope tables.
    fn compile(&self, bundle: &Bundle) -> Result<Policy, PolicyError> {
        let policy = Policy::compile(&self.source(bundle), self.workers)?;
        Ok(policy.with_memo_entries(self.memo_entries))
    }

    /// The policy of `bundle` beside the scope tables.
    fn source(&self, bundle: &Bundle) -> PolicySource {
        let [tools_json, prompts_json, resources_json] = &*self.tables;
        PolicySource {
            tools_json: tools_json.clone(),
            prompts_json: prompts_json.clone(),
            resources_json: resources_json.clone(),
            ..bundle.source()
        }
    }
}

/// A policy that shall rule a server; the answer says whether it does.
pub(crate) struct NewPolicy {
    /// The server.
    pub server: Arc<str>,
    /// Its policy, compiled.
    pub policy: Arc<Policy>,
    /// Which bundle it is.
    pub ruling: Ruling,
    /// The tables that it was compiled with: a policy beside other tables does not rule.
    pub tables: Arc<[String; 3]>,
    /// Told once it rules.
    pub published: oneshot::Sender<()>,
}

/// How one bundle fares.
pub(crate) struct Fare {
    /// Whether the latest attempt failed.
    pub failing: bool,
    /// When one was activated last, in seconds since 1970.
    pub activated_s: Option<u64>,
}

/// What is told about the bundles of all servers, by server.
#[derive(Debug, Default)]
pub(crate) struct BundleStatuses(Mutex<BTreeMap<Arc<str>, BundleStatus>>);

impl BundleStatuses {
    fn change(&self, server: &Arc<str>, change: impl FnOnce(&mut BundleStatus)) {
        let mut statuses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = statuses
            .entry(Arc::clone(server))
            .or_insert_with(|| BundleStatus::new(server));
        change(status);
    }

    /// How each fares, in two numbers.
    pub(crate) fn fares(&self) -> Vec<(Arc<str>, Fare)> {
        let statuses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fare = |status: &BundleStatus| Fare {
            failing: status.message().is_some(),
            activated_s: status.last_successful_activation().map(UnixTime::secs),
        };
        statuses
            .iter()
            .map(|(server, status)| (Arc::clone(server), fare(status)))
            .collect()
    }

    /// All of them in OPA's field names.
    pub(crate) fn to_json(&self) -> Value {
        let statuses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let members: Map<String, Value> = statuses
            .iter()
            .map(|(server, status)| (server.to_string(), status.to_json()))
            .collect();
        json!({"bundles": members})
    }
}

/// The tasks of all servers whose policy is a bundle.
pub(crate) struct BundleService {
    runtime: Handle,
    gate: Arc<Gate>,
    statuses: Arc<BundleStatuses>,
    policies: mpsc::Sender<NewPolicy>,
    running: Mutex<Vec<Running>>,
}

/// One task; it ends when this is dropped.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl BundleService {
    /// A service without servers, whose tasks run on `runtime`; what they compile comes out of the other end.
    pub(crate) fn new(runtime: Handle, gate: Arc<Gate>) -> (Self, mpsc::Receiver<NewPolicy>) {
        let (policies, receiver) = mpsc::channel(POLICIES_MAX);
        let service = Self {
            runtime,
            gate,
            statuses: Arc::default(),
            policies,
            running: Mutex::default(),
        };
        (service, receiver)
    }

    /// What is told about the bundles.
    pub(crate) fn statuses(&self) -> Arc<BundleStatuses> {
        Arc::clone(&self.statuses)
    }

    /// Ends all tasks and starts those of `plans`.
    pub(crate) fn start(&self, plans: impl Iterator<Item = BundlePlan>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.clear();
        for plan in plans {
            self.statuses.change(&plan.server, |status| {
                if let Some(Ruling { revision, digest }) = &plan.loaded {
                    status.activated(revision, *digest, "snapshot", clock::now());
                }
            });
            let remote = match Remote::new(&plan) {
                Ok(remote) => remote,
                Err(error) => {
                    let message = format!("the bundle server cannot be asked: {error}");
                    tracing::error!(server = &*plan.server, %error, "the bundle server cannot be asked");
                    self.statuses
                        .change(&plan.server, |status| status.failed(message, None));
                    continue;
                }
            };
            // The task before may have kept a newer one since the configuration was read: then it is asked for again.
            let active = store::history(&plan.folder).ok().and_then(|history| history.active());
            let is_kept = plan.loaded.as_ref().map(|ruling| ruling.digest) == active;
            let etag = store::etag(&plan.folder).filter(|_| is_kept && plan.loaded.is_some());
            let drive = Drive {
                fetcher: BundleFetcher::new(plan.settings, etag),
                in_force: plan.loaded.clone(),
                plan: Arc::new(plan),
                remote,
                gate: Arc::clone(&self.gate),
                statuses: Arc::clone(&self.statuses),
                policies: self.policies.clone(),
                told: None,
            };
            running.push(Running(self.runtime.spawn(drive.run())));
        }
    }
}

/// The bundle of one server.
struct Drive {
    plan: Arc<BundlePlan>,
    fetcher: BundleFetcher,
    remote: Remote,
    gate: Arc<Gate>,
    statuses: Arc<BundleStatuses>,
    policies: mpsc::Sender<NewPolicy>,
    in_force: Option<Ruling>,
    /// The latest refusal on record: one that comes again and again is recorded once.
    told: Option<String>,
}

impl Drive {
    async fn run(mut self) {
        if self.in_force.is_none() {
            tracing::warn!(
                server = &*self.plan.server,
                "no policy bundle yet: every call is refused"
            );
        }
        loop {
            let Some(request) = self.fetcher.poll_fetch(clock::now()) else {
                let now = clock::now();
                let pause = self.fetcher.next_wake(now).since(now);
                // Short naps, since the wall clock may jump.
                tokio::time::sleep(pause.clamp(PAUSE_MIN, PAUSE_MAX)).await;
                continue;
            };
            self.status(|status, now| status.requested(now));
            let answer = self.remote.get(&request).await;
            match self.fetcher.on_fetched(request.id, answer, clock::now(), jitter()) {
                Some(BundleNews::Bytes(bytes)) => self.take(bytes).await,
                Some(BundleNews::Failed(error)) => {
                    tracing::warn!(server = &*self.plan.server, %error, "no bundle was fetched");
                    let http = match error {
                        BundleFetchError::Status(status) => Some(status),
                        _ => None,
                    };
                    self.status(|status, _| status.failed(error.to_string(), http));
                }
                Some(BundleNews::Unchanged) => self.status(BundleStatus::unchanged),
                None => {}
            }
        }
    }

    /// Activates what was fetched.
    async fn take(&mut self, bytes: Vec<u8>) {
        let size = bytes.len();
        self.status(|status, now| status.downloaded(size, now));
        let (plan, in_force) = (Arc::clone(&self.plan), self.in_force.clone());
        let etag = self.fetcher.offered().cloned();
        let done = tokio::task::spawn_blocking(move || activate(&plan, bytes, etag, in_force.as_ref())).await;
        match done.unwrap_or(Err(ActivationError::Thread)) {
            Ok(None) => {
                self.fetcher.on_activated();
                self.status(BundleStatus::unchanged);
            }
            Ok(Some(activated)) => self.publish(activated).await,
            Err(error) => {
                self.fetcher.on_refused(clock::now(), jitter());
                let message = error.to_string();
                tracing::error!(server = &*self.plan.server, %error, "a bundle is refused, what ruled goes on ruling");
                self.status(|status, _| status.failed(message.clone(), None));
                if self.told.as_ref() != Some(&message) {
                    self.record("bundle_refused", None, Some(&message));
                    self.told = Some(message);
                }
            }
        }
    }

    async fn publish(&mut self, activated: Activated) {
        let Activated { policy, ruling, kind } = activated;
        let (published, answer) = oneshot::channel();
        let new = NewPolicy {
            server: Arc::clone(&self.plan.server),
            policy,
            ruling: ruling.clone(),
            tables: Arc::clone(&self.plan.tables),
            published,
        };
        // Only a gate that ends, or one that has just read another configuration, does not answer.
        if self.policies.send(new).await.is_err() || answer.await.is_err() {
            return;
        }
        self.fetcher.on_activated();
        let Ruling { revision, digest } = &ruling;
        tracing::info!(server = &*self.plan.server, revision = &**revision, %digest, "a bundle rules");
        self.status(|status, now| status.activated(revision, *digest, kind, now));
        self.record("bundle_activated", Some(&ruling), None);
        self.in_force = Some(ruling);
        self.told = None;
    }

    fn status(&self, change: impl FnOnce(&mut BundleStatus, UnixTime)) {
        self.statuses
            .change(&self.plan.server, |status| change(status, clock::now()));
    }

    fn record(&self, act: &str, ruling: Option<&Ruling>, detail: Option<&str>) {
        let snapshot = self.gate.snapshot();
        let Some(server) = snapshot.servers().find(|server| **server.name() == *self.plan.server) else {
            return;
        };
        let digest = ruling.map(|ruling| ruling.digest.to_string());
        let act = BundleAct {
            act,
            server,
            digest: digest.as_deref().unwrap_or("-"),
            revision: ruling.map(|ruling| &*ruling.revision),
            outcome: match detail {
                None => ActOutcome::Applied,
                Some(_) => ActOutcome::Refused,
            },
            detail,
        };
        if self.gate.record_bundle_act(&act, clock::now()).is_err() {
            tracing::error!(
                server = &*self.plan.server,
                "what became of a bundle could not be recorded"
            );
        }
    }
}

/// A random number; without randomness of the system the clock's nanoseconds do.
fn jitter() -> u64 {
    let mut bytes = [0; 8];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => clock::now().nanos(),
    }
}

const POLICIES_MAX: usize = 16;
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(60);
