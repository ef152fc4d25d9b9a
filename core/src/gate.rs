//! The gate: the one way in, and the only module that sees all the others.
//!
//! Owns [`Gate`] and, below it, the types that force the order of a request: [`Visit`], [`Recorded`], [`Permit`],
//! [`Ticket`], [`Reviewed`]. The calls are synchronous and never wait. Never reads a clock or the system's randomness,
//! never opens a connection, and has no way to forward what is not recorded.
//!
//! ```text
//! begin -> Visit -authenticate-> Principal -authorize-> Recorded -permit-> Permit -spend-> Forward, Ticket
//!                                                                                  Ticket -review-> Reviewed -release-> Release
//! ```

mod acts;
mod authentication;
mod awaited;
mod batch;
mod case;
mod inspect;
#[cfg(feature = "internal")]
#[doc(hidden)]
pub mod internal;
mod judge;
mod listed;
mod lists;
mod permit;
mod records;
mod refusals;
mod release;
mod review;
mod sender;
mod sharing;
mod snapshot;
mod streams;
mod style;
mod tasks;
mod ticket;
mod visit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use crate::audit::{AuditLog, Durable, Position};
use crate::catalog::Catalog;
use crate::config::{Limits, Server};
use crate::crypto::MacKey;
use crate::denial::{Denial, DenyReason};
use crate::json;
use crate::jwks::KeySet;
use crate::limit::Limiter;
use crate::policy::{EvalLimits, PolicyFailure, Worker};
use crate::published::Published;
use crate::record_id::RecordIds;
use crate::redact;
use crate::revocation::RevocationList;
use crate::session::SessionKeys;
use crate::stages::StageTimes;
use crate::time::{Ticks, UnixTime};
use crate::token::{Failures, Issuer, SeenProofs, TokenCache};

pub use acts::{AdminAct, BundleAct, ToolAct};
pub use inspect::{Inspection, Inspector};
pub use lists::ToolLists;
pub use permit::{Forward, Needed, Permit, Recorded};
pub use release::{Answer, Release, Reviewed};
pub use sharing::SharedToken;
pub use snapshot::{Snapshot, SnapshotError};
pub use ticket::{Outcome, Ticket};
pub use visit::{Evidence, Fetch, Step, Visit};

/// Callers whose rate is remembered before those who owe nothing are forgotten.
const LIMITED_CALLERS_MAX: usize = 100_000;

/// What a gate is made of, beside its configuration.
#[derive(Debug)]
pub struct GateParts {
    /// The first snapshot.
    pub snapshot: Snapshot,
    /// The log of decisions.
    pub audit: AuditLog,
    /// The gate's name among its like, for records.
    pub node: Arc<str>,
    /// The gate's secrets.
    pub keys: GateKeys,
    /// Sixteen bytes of the system's randomness, fresh for each process.
    pub seed: [u8; 16],
    /// When the gate starts.
    pub now: UnixTime,
}

/// The secrets of a gate: the same over restarts and at all replicas.
#[derive(Debug)]
pub struct GateKeys {
    /// The key of argument digests, session digests and principal ids: with another one, records of one caller cannot
    /// be told to be one's.
    pub digests: Zeroizing<[u8; 32]>,
    /// The name of that key, in every record.
    pub digests_id: Arc<str>,
    /// The key of the nonces of proofs of possession (RFC 9449 section 8).
    pub nonces: Zeroizing<[u8; 32]>,
    /// The keys that seal sessions.
    pub sessions: SessionKeys,
}

/// Every decision of one process. Shared by all its threads.
pub struct Gate {
    snapshot: Published<Snapshot>,
    audit: AuditLog,
    key: MacKey,
    key_id: Arc<str>,
    nonce_key: MacKey,
    session_keys: Published<SessionKeys>,
    awaited: awaited::AwaitedAnswers,
    streams: streams::OpenStreams,
    tasks: tasks::TaskOwners,
    limiter: Limiter,
    tool_lists: ToolLists,
    node: Arc<str>,
    record_ids: RecordIds,
    refusals: refusals::Refusals,
    refusals_since_ns: AtomicU64,
    stage_times: StageTimes,
    ticks: Box<dyn Ticks>,
    tokens: TokenCache,
    proofs: SeenProofs,
    failures: Failures,
    revocations: RevocationList,
    sharing: sharing::Sharing,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Gate")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// Working memory of one thread, reused from request to request: thread-local, never held across a wait.
pub struct Scratch {
    call: json::Scratch,
    answer: json::Scratch,
    arguments: json::Scratch,
    redact: redact::Scratch,
    worker: Worker,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Scratch")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

impl Scratch {
    /// The scratch of thread number `worker`, which uses the policies' replica of that number.
    pub fn new(worker: usize) -> Self {
        Self {
            call: json::Scratch::default(),
            answer: json::Scratch::default(),
            arguments: json::Scratch::default(),
            redact: redact::Scratch::default(),
            worker: Worker::new(worker),
        }
    }
}

impl Gate {
    /// A gate that decides by `parts.snapshot` and measures its stages by `ticks`.
    pub fn new(parts: GateParts, ticks: Box<dyn Ticks>) -> Self {
        let tokens = TokenCache::new(parts.snapshot.limits().tokens_cached_max);
        Self {
            snapshot: Published::new(parts.snapshot),
            audit: parts.audit,
            key: MacKey::new(*parts.keys.digests),
            key_id: parts.keys.digests_id,
            nonce_key: MacKey::new(*parts.keys.nonces),
            session_keys: Published::new(parts.keys.sessions),
            awaited: awaited::AwaitedAnswers::default(),
            streams: streams::OpenStreams::default(),
            tasks: tasks::TaskOwners::default(),
            limiter: Limiter::new(LIMITED_CALLERS_MAX),
            tool_lists: ToolLists::default(),
            node: parts.node,
            record_ids: RecordIds::new(parts.seed),
            refusals: refusals::Refusals::default(),
            refusals_since_ns: AtomicU64::new(parts.now.nanos()),
            stage_times: StageTimes::default(),
            ticks,
            tokens,
            proofs: SeenProofs::default(),
            failures: Failures::default(),
            revocations: RevocationList::default(),
            sharing: sharing::Sharing::default(),
        }
    }

    /// Begins a request at `now`: takes the snapshot that judges it.
    pub fn begin(&self, now: UnixTime) -> Visit<'_> {
        Visit::new(self, now)
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.current()
    }

    /// Exchanges the whole configuration at once. Issuers whose keys still come from the same place keep them, and so do
    /// servers with the same upstream their tools; requests under way keep what they began with.
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot
            .exchange(|current| snapshot.clone().with_findings_of(current));
    }

    /// Exchanges what tools the upstream of a server has. Before the first time no tool of the server can be called;
    /// [`Catalog::default`] serves where nobody lists them.
    pub fn publish_catalog(&self, server: &Server, catalog: &Arc<Catalog>) {
        self.snapshot
            .exchange(|current| current.clone().with_catalog(server, Arc::clone(catalog)));
    }

    /// Which lists of tools are to be fetched anew.
    pub const fn tool_lists(&self) -> &ToolLists {
        &self.tool_lists
    }

    /// Exchanges the key set of one issuer. Keys from a place that the configuration no longer names are dropped.
    pub fn publish_keys(&self, issuer: &Issuer, keys: &Arc<KeySet>) {
        self.snapshot
            .exchange(|current| current.clone().with_keys(issuer, Arc::clone(keys)));
    }

    /// Exchanges the keys that seal sessions, such as after one was rotated.
    pub fn publish_session_keys(&self, keys: &SessionKeys) {
        self.session_keys.exchange(|_| keys.clone());
    }

    /// How far the log is durable.
    pub fn durable(&self) -> &Durable {
        self.audit.durable()
    }

    /// How long the stages of all requests took, each counted when its request has ended. The embedder measures
    /// [`crate::stages::Stage::Connection`] and records it here, and tells the end of a review by
    /// [`Ticket::review_ended`]; the rest is the gate's.
    pub fn stage_times(&self) -> &StageTimes {
        &self.stage_times
    }

    /// How many tokens were used from more places than [`Limits::token_sources_reported`].
    pub fn shared_tokens(&self) -> u64 {
        self.sharing.count()
    }

    /// The oldest report of such a token that was not taken yet: to be logged by the embedder.
    pub fn take_shared_token(&self) -> Option<SharedToken> {
        self.sharing.take()
    }

    /// Whether requests can be served: the log takes records, and every issuer has keys that may still serve.
    ///
    /// # Errors
    /// One line for the operator that says what is missing.
    pub fn ready(&self, now: UnixTime) -> Result<(), &'static str> {
        if self.audit.available().is_err() {
            return Err("the audit log takes no records");
        }
        let snapshot = self.snapshot.current();
        let age_max = snapshot.limits().jwks_age_max;
        let keyless = snapshot
            .servers()
            .flat_map(|server| server.issuers())
            .filter(|issuer| issuer.needs_keys())
            .any(|issuer| snapshot.keys_age(issuer, now).is_none_or(|age| age_max < age));
        if keyless {
            Err("an issuer has no usable keys")
        } else {
            Ok(())
        }
    }

    /// Writes what was refused before anybody was known, one record for each server, reason and address: to be called
    /// every ten seconds and before the end. Records that the log does not take are lost, as their refusals were.
    pub fn flush_refusals(&self, now: UnixTime) {
        let since = UnixTime::from_nanos(self.refusals_since_ns.swap(now.nanos(), Ordering::Relaxed));
        let snapshot = self.snapshot.current();
        for (source, count) in self.refusals.take() {
            let summary = records::Summary {
                source: &source,
                count,
                since,
            };
            let record_id = self.record_ids.next(now);
            let _ = self.submit(|out| records::write_refusals(out, self, &snapshot, record_id, &summary, now));
        }
    }

    /// Hands a record over to the log.
    fn submit(&self, write: impl FnOnce(&mut Vec<u8>)) -> Result<Position, Denial> {
        let mut record = self.audit.buffer();
        write(&mut record);
        self.audit.submit(record).map_err(|_| {
            Denial::new(DenyReason::AuditUnavailable, "the audit log takes no records").with_retry_after_s(1)
        })
    }
}

fn json_limits(limits: &Limits) -> json::Limits {
    json::Limits {
        depth: limits.json_depth_max,
        members: limits.json_members_max,
    }
}

fn eval_limits(limits: &Limits) -> EvalLimits {
    EvalLimits {
        deadline: limits.policy_deadline,
        instructions: limits.policy_instructions_max,
    }
}

#[cold]
fn policy_failed(failure: PolicyFailure) -> Denial {
    Denial::new(DenyReason::PolicyFailed, failure.operator()).with_retry_after_s(1)
}

#[cfg(test)]
mod tests;
