//! The tools of upstreams, as the gate lists them itself: at the start, when an upstream says that they changed, and
//! every few minutes.
//!
//! Owns [`ToolService`], one task a server, and what is made of its list. What is sent and what is accepted is the core's. A
//! list that cannot be fetched leaves the old one in force; a definition that is not the accepted one is logged, counted
//! and recorded.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_core::audit::ActOutcome;
use portcullis_core::catalog::{Catalog, Listing, ListingError, OnChange, PinState, Pins, ToolDigest};
use portcullis_core::config::{Endpoint, Limits, Server};
use portcullis_core::gate::{Gate, ToolAct};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::clock;
use crate::pins;
use crate::signer::Signer;
use crate::upstream::Upstreams;

/// How the tools of one server are listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ToolPlan {
    /// The server's name.
    pub(crate) server: Arc<str>,
    /// What becomes of tools whose definition is not the accepted one.
    pub(crate) on_change: OnChange,
    /// Time between two listings.
    pub(crate) refresh: Duration,
}

/// The tasks that list tools.
pub(crate) struct ToolService {
    runtime: Handle,
    gate: Arc<Gate>,
    /// The folder of the pins.
    folder: PathBuf,
    upstreams: Arc<Upstreams>,
    signer: Arc<Signer>,
    running: Arc<Mutex<HashMap<Arc<str>, Running>>>,
    remembered: Remembered,
    dispatcher: JoinHandle<()>,
}

/// What was accepted of each server's tools, as this process knows it: a folder that cannot be written, or a file that is
/// gone, must not make every definition a first sight again.
type Remembered = Arc<Mutex<HashMap<Arc<str>, Pins>>>;

/// The task of one server; it ends when this is dropped.
struct Running {
    wanted: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for ToolService {
    fn drop(&mut self) {
        self.dispatcher.abort();
    }
}

impl ToolService {
    /// A service without servers, whose tasks run on `runtime` and keep their pins in `folder`.
    pub(crate) fn new(
        runtime: &Handle,
        gate: Arc<Gate>,
        folder: PathBuf,
        upstreams: Upstreams,
        signer: Arc<Signer>,
    ) -> Self {
        let running = Arc::default();
        let dispatcher = runtime.spawn(dispatch(Arc::clone(&gate), Arc::clone(&running)));
        Self {
            runtime: runtime.clone(),
            gate,
            folder,
            upstreams: Arc::new(upstreams),
            signer,
            running,
            remembered: Arc::default(),
            dispatcher,
        }
    }

    /// Lists the tools of these servers from now on, and at once; of no others. Each receiver ends when the first attempt
    /// for one server has.
    pub(crate) fn start(&self, plans: impl IntoIterator<Item = ToolPlan>) -> Vec<oneshot::Receiver<()>> {
        let mut firsts = Vec::new();
        let mut next = HashMap::new();
        for plan in plans {
            let (first, ended) = oneshot::channel();
            let wanted = Arc::new(Notify::new());
            let name = Arc::clone(&plan.server);
            let lister = Lister {
                gate: Arc::clone(&self.gate),
                folder: self.folder.clone(),
                upstreams: Arc::clone(&self.upstreams),
                signer: Arc::clone(&self.signer),
                plan,
                reported: BTreeMap::new(),
                remembered: Arc::clone(&self.remembered),
            };
            let task = self.runtime.spawn(lister.run(Arc::clone(&wanted), first));
            next.insert(name, Running { wanted, task });
            firsts.push(ended);
        }
        *lock(&self.running) = next;
        firsts
    }
}

fn lock(running: &Mutex<HashMap<Arc<str>, Running>>) -> MutexGuard<'_, HashMap<Arc<str>, Running>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes on which lists the gate has found to be missing or out of date.
async fn dispatch(gate: Arc<Gate>, running: Arc<Mutex<HashMap<Arc<str>, Running>>>) {
    loop {
        let server = std::future::poll_fn(|context| gate.tool_lists().poll_wanted(context.waker())).await;
        if let Some(running) = lock(&running).get(&server) {
            running.wanted.notify_one();
        }
    }
}

/// Lists the tools of one server.
struct Lister {
    gate: Arc<Gate>,
    folder: PathBuf,
    upstreams: Arc<Upstreams>,
    signer: Arc<Signer>,
    plan: ToolPlan,
    /// Definitions that were found not to be the accepted ones, each reported once.
    reported: BTreeMap<Box<str>, ToolDigest>,
    remembered: Remembered,
}

impl Lister {
    async fn run(mut self, wanted: Arc<Notify>, first: oneshot::Sender<()>) {
        let mut first = Some(first);
        let mut failures = 0_u32;
        loop {
            let pause = match self.list().await {
                Ok(()) => {
                    failures = 0;
                    self.plan.refresh
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.gate.tool_lists().count_failure();
                    let server = &*self.plan.server;
                    tracing::warn!(server, %error, failures, "tools were not listed");
                    backoff(failures).min(self.plan.refresh)
                }
            };
            // Whoever waits for the first attempt learns that it ended, however it did.
            drop(first.take());
            tokio::time::sleep(LISTING_INTERVAL_MIN).await;
            tokio::select! {
                () = tokio::time::sleep(pause.saturating_sub(LISTING_INTERVAL_MIN)) => {}
                () = wanted.notified() => {}
            }
        }
    }

    /// Lists once, and publishes what was found.
    async fn list(&mut self) -> Result<(), ListingError> {
        let snapshot = self.gate.snapshot();
        let server = snapshot.servers().find(|server| *server.name() == self.plan.server);
        let Some(server) = server.map(Arc::clone) else {
            // A configuration that is just being taken up no longer has it.
            return Ok(());
        };
        let catalog = match list_tools((&self.upstreams, &self.signer), &server, snapshot.limits()).await {
            Err(ListingError::Status(401 | 403)) if !server.upstream().credentials.must_list() => {
                tracing::info!(
                    server = &**server.name(),
                    "tools are listed for callers alone: none has a definition to be held against"
                );
                self.gate.publish_catalog(&server, &Arc::new(Catalog::default()));
                return Ok(());
            }
            listed => listed?,
        };
        drop(snapshot);
        let pins = self.pins(&server, &catalog);
        let catalog = catalog.pinned(&pins).refreshed_every(self.plan.refresh);
        self.report(&server, &catalog);
        tracing::info!(
            server = &**server.name(),
            accepted = catalog.count(PinState::Accepted),
            changed = catalog.count(PinState::Changed),
            new = catalog.count(PinState::New),
            "tools listed"
        );
        self.gate.publish_catalog(&server, &Arc::new(catalog));
        Ok(())
    }

    /// What was accepted of the server's tools: everything, when nobody ever looked at them.
    fn pins(&self, server: &Server, catalog: &Catalog) -> Pins {
        let name = &**server.name();
        let known = |pins: &Pins| {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            remembered.insert(Arc::clone(server.name()), pins.clone())
        };
        match pins::read(&self.folder, name) {
            Ok(Some(pins)) => {
                known(&pins);
                pins
            }
            Ok(None) => {
                let first = Pins::of_catalog(catalog);
                if let Some(before) = known(&first) {
                    known(&before);
                    if let Err(error) = pins::write(&self.folder, name, &before) {
                        tracing::warn!(server = name, %error, "what was accepted of the tools is in memory alone");
                    }
                    return before;
                }
                let pins = first;
                let kept = pins::write(&self.folder, name, &pins);
                if let Err(error) = &kept {
                    tracing::warn!(server = name, %error, "what was accepted of the tools is in memory alone");
                }
                let outcome = if kept.is_ok() {
                    ActOutcome::Applied
                } else {
                    ActOutcome::NotDurable
                };
                self.record(&ToolAct {
                    act: "tools_first_seen",
                    author: "gate",
                    server,
                    tool: "*",
                    digest: pins.digest(),
                    outcome,
                    detail: None,
                });
                pins
            }
            Err(error) => {
                tracing::error!(server = name, %error, "what was accepted of the tools is not known: all count as new");
                Pins::default()
            }
        }
    }

    /// Reports definitions that are not the accepted ones, and those that were accepted since.
    fn report(&mut self, server: &Server, catalog: &Catalog) {
        let withheld = self.plan.on_change == OnChange::Withhold;
        for (name, tool) in catalog.tools() {
            let known = self.reported.get(name).copied();
            let act = match tool.pin() {
                PinState::Accepted if known.is_some() => {
                    self.reported.remove(name);
                    tracing::info!(
                        server = &**server.name(),
                        tool = name,
                        "a definition of a tool was accepted"
                    );
                    "tool_accepted"
                }
                PinState::Accepted => continue,
                PinState::Changed | PinState::New if known == Some(tool.digest()) => continue,
                state @ (PinState::Changed | PinState::New) => {
                    self.reported.insert(Box::from(name), tool.digest());
                    self.gate.tool_lists().count_change();
                    let (server, pin) = (&**server.name(), state.code());
                    tracing::warn!(
                        server,
                        tool = name,
                        pin,
                        withheld,
                        "a definition of a tool is not the accepted one"
                    );
                    if state == PinState::New {
                        "tool_new"
                    } else {
                        "tool_changed"
                    }
                }
            };
            let refused = withheld && tool.pin() != PinState::Accepted;
            self.record(&ToolAct {
                act,
                author: if tool.pin() == PinState::Accepted {
                    "file"
                } else {
                    "gate"
                },
                server,
                tool: name,
                digest: tool.digest(),
                outcome: if refused {
                    ActOutcome::Refused
                } else {
                    ActOutcome::Applied
                },
                detail: refused.then_some("the tool is withheld until its definition is accepted"),
            });
        }
    }

    fn record(&self, act: &ToolAct<'_>) {
        if self.gate.record_tool_act(act, clock::now()).is_err() {
            tracing::error!(
                server = &*self.plan.server,
                act = act.act,
                "an act about a tool is not on record"
            );
        }
    }
}

/// Lists the tools of a server's upstream: at the first address of its endpoints that can be reached, all of it there.
///
/// # Errors
/// [`ListingError`], also when it takes too long.
pub(crate) async fn list_tools(
    gate: (&Upstreams, &Signer),
    server: &Server,
    limits: &Limits,
) -> Result<Catalog, ListingError> {
    let listed = async {
        let mut listed = Err(ListingError::Unreachable);
        for endpoint in &server.upstream().endpoints {
            for address in &endpoint.addresses {
                listed = list_at(gate, server, (endpoint, *address), limits).await;
                if !matches!(listed, Err(ListingError::Unreachable)) {
                    return listed;
                }
            }
        }
        listed
    };
    match tokio::time::timeout(LISTING_DEADLINE, listed).await {
        Ok(listed) => listed,
        Err(_) => Err(ListingError::Unreachable),
    }
}

async fn list_at(
    (upstreams, signer): (&Upstreams, &Signer),
    server: &Server,
    place: (&Endpoint, SocketAddr),
    limits: &Limits,
) -> Result<Catalog, ListingError> {
    let mut listing = Listing::new(limits.listing_limits());
    while let Some(request) = listing.poll() {
        let answer = upstreams
            .list(server.upstream(), place, signer, request, &listing)
            .await;
        listing.on_answer(answer);
    }
    listing.finish()
}

/// The pause after so many failures in a row: one second, doubled each time, at most a minute.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    Duration::from_secs(1_u64 << doublings).min(Duration::from_secs(60))
}

/// Time of one listing, all its pages together.
const LISTING_DEADLINE: Duration = Duration::from_secs(30);
/// Time between two listings, whoever asks for them.
const LISTING_INTERVAL_MIN: Duration = Duration::from_secs(1);
