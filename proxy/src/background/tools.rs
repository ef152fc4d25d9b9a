//! The tools of upstreams, as the gate lists them itself: at the start, when an upstream says that they changed, and
//! every few minutes.
//!
//! Owns [`ToolService`], one task a server, and the HTTP of a listing. What is sent and what is accepted is the core's. A
//! list that cannot be fetched leaves the old one in force; a definition that is not the accepted one is logged, counted
//! and recorded.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use portcullis_core::audit::ActOutcome;
use portcullis_core::catalog::{
    Catalog, Listing, ListingAnswer, ListingError, ListingLimits, ListingRequest, OnChange, PinState, Pins, ToolDigest,
};
use portcullis_core::config::{CredentialKind, Limits, Server};
use portcullis_core::gate::{Gate, ToolAct};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::clock;
use crate::pins;

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
    /// Certificate authorities of upstreams in PEM; `None` trusts the system's.
    ca_pem: Option<Arc<str>>,
    running: Arc<Mutex<HashMap<Arc<str>, Running>>>,
    dispatcher: JoinHandle<()>,
}

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
    pub(crate) fn new(runtime: &Handle, gate: Arc<Gate>, folder: PathBuf, ca_pem: Option<Arc<str>>) -> Self {
        let running = Arc::default();
        let dispatcher = runtime.spawn(dispatch(Arc::clone(&gate), Arc::clone(&running)));
        Self {
            runtime: runtime.clone(),
            gate,
            folder,
            ca_pem,
            running,
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
                ca_pem: self.ca_pem.clone(),
                plan,
                reported: BTreeMap::new(),
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
    ca_pem: Option<Arc<str>>,
    plan: ToolPlan,
    /// Definitions that were found not to be the accepted ones, each reported once.
    reported: BTreeMap<Box<str>, ToolDigest>,
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
        let catalog = list_tools(&server, snapshot.limits(), self.ca_pem.as_deref()).await?;
        drop(snapshot);
        let pins = self.pins(&server, &catalog);
        let catalog = catalog
            .pinned(&pins, self.plan.on_change)
            .refreshed_every(self.plan.refresh);
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
        match pins::read(&self.folder, name) {
            Ok(Some(pins)) => pins,
            Ok(None) => {
                let pins = Pins::of_catalog(catalog);
                let kept = pins::write(&self.folder, name, &pins);
                if let Err(error) = &kept {
                    tracing::warn!(server = name, %error, "what was accepted of the tools is forgotten at the next start");
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

/// Lists the tools of a server's upstream, with the credential that it is shown when no tool is named; one that is made
/// for each caller cannot be, and is left out.
///
/// # Errors
/// [`ListingError`], also when it takes too long.
pub(crate) async fn list_tools(
    server: &Server,
    limits: &Limits,
    ca_pem: Option<&str>,
) -> Result<Catalog, ListingError> {
    let mut listing = Listing::new(ListingLimits {
        answer_bytes_max: limits.answer_bytes_max,
        json_depth_max: limits.json_depth_max,
        json_members_max: limits.json_members_max,
        tool_name_bytes_max: limits.tool_name_bytes_max,
        ..ListingLimits::default()
    });
    let client = client(server, ca_pem).map_err(|error| unreachable(&error))?;
    let listed = async {
        while let Some(request) = listing.poll() {
            let answer = exchange(&client, server, request, &listing).await;
            listing.on_answer(answer);
        }
        listing.finish()
    };
    match tokio::time::timeout(LISTING_DEADLINE, listed).await {
        Ok(listed) => listed,
        Err(_) => Err(ListingError::Unreachable),
    }
}

/// A client that reaches the upstream's addresses and nothing else.
fn client(server: &Server, ca_pem: Option<&str>) -> Result<reqwest::Client, reqwest::Error> {
    let upstream = server.upstream();
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(USER_AGENT)
        .resolve_to_addrs(&upstream.host, &upstream.addresses);
    if let Some(pem) = ca_pem {
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes())?);
    }
    builder.build()
}

/// One request and its answer.
async fn exchange(
    client: &reqwest::Client,
    server: &Server,
    request: ListingRequest,
    listing: &Listing,
) -> Result<ListingAnswer, ListingError> {
    let upstream = server.upstream();
    let scheme = if upstream.tls { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", upstream.authority, upstream.path);
    let mut headers = request.headers;
    if let Some(credential) = upstream.credentials.of(None)
        && let CredentialKind::Static { value, .. } = &credential.kind
        && let Ok(mut value) = HeaderValue::from_str(value)
    {
        value.set_sensitive(true);
        headers.insert(credential.header.clone(), value);
    }
    let sent = client.request(request.method, url).headers(headers).body(request.body);
    let mut response = sent.send().await.map_err(|error| unreachable(&error))?;
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let mut reader = listing.reader(content_type);
    let status = response.status().as_u16();
    let session = response.headers().get("mcp-session-id").cloned();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        if reader.push(&chunk)? {
            break;
        }
    }
    Ok(ListingAnswer {
        status,
        session,
        message: reader.finish(),
    })
}

/// The cause goes to the log, where it helps.
fn unreachable(error: &reqwest::Error) -> ListingError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    tracing::debug!(%cause, "a listing failed");
    ListingError::Unreachable
}

/// The pause after so many failures in a row: one second, doubled each time, at most a minute.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    Duration::from_secs(1_u64 << doublings).min(Duration::from_secs(60))
}

/// By which upstreams know the gate's own requests.
const USER_AGENT: &str = concat!("portcullis-tools/", env!("CARGO_PKG_VERSION"));
/// Time of one listing, all its pages together.
const LISTING_DEADLINE: Duration = Duration::from_secs(30);
/// Time between two listings, whoever asks for them.
const LISTING_INTERVAL_MIN: Duration = Duration::from_secs(1);
