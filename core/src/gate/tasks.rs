//! Whose a task is: which caller started it, by which tool, and under which record.
//!
//! Owns [`TaskOwners`]. Fails closed: a task that finds no room is not handed out, and one that is unknown, or another's,
//! is not found; the two look alike. A task's id is kept as a digest only. Its maps' shard locks are held for one look-up;
//! only a full table is walked, once a second at most. Lives in one process, and is gone with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::{DashMap, Entry};

use super::case::Case;
use crate::denial::{Denial, DenyReason};
use crate::policy::Redaction;
use crate::record_id::RecordId;
use crate::rpc::{Call, Named};
use crate::time::UnixTime;

/// Tasks known at once, some 300 bytes each.
const ENTRIES_MAX: usize = 100_000;

/// Tasks of one principal: bounds what one caller can take from others.
const PER_PRINCIPAL_MAX: usize = 1_000;

/// The shortest time that a task is known, whatever the server says.
const TTL_MIN: Duration = Duration::from_mins(10);

/// The longest one, and that of a task whose server names none.
const TTL_MAX: Duration = Duration::from_hours(24);

/// How long a task stays known after each time that its caller asked for it.
const KEPT: Duration = Duration::from_hours(1);

/// Who owns which task, bounded in number and time.
#[derive(Debug)]
pub(super) struct TaskOwners {
    /// By the keyed digest of the server's name and the task's id.
    by_task: DashMap<[u8; 32], Task>,
    /// How many tasks each principal has; none has zero.
    by_principal: DashMap<[u8; 32], usize>,
    /// INVARIANT: at least the number of tasks in `by_task`.
    count: AtomicUsize,
    entries_max: usize,
    per_principal_max: usize,
    /// The second in which room was last looked for.
    swept_s: AtomicU64,
}

/// A task as the call that started it knows it.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) principal_id: [u8; 32],
    pub(super) tool: Arc<str>,
    /// The record of the call.
    pub(super) started_by: RecordId,
    /// What the policy had demanded of the call's answer.
    pub(super) redactions: Arc<[Redaction]>,
    pub(super) expires: UnixTime,
}

/// The task that a request is about.
#[derive(Debug)]
pub(super) struct TaskFacts {
    pub(super) digest: [u8; 32],
    pub(super) task: Task,
}

impl Default for TaskOwners {
    fn default() -> Self {
        Self::new(ENTRIES_MAX, PER_PRINCIPAL_MAX)
    }
}

impl TaskOwners {
    /// A table of `entries_max` tasks, `per_principal_max` for each principal.
    pub(super) fn new(entries_max: usize, per_principal_max: usize) -> Self {
        Self {
            by_task: DashMap::new(),
            by_principal: DashMap::new(),
            count: AtomicUsize::new(0),
            entries_max,
            per_principal_max,
            swept_s: AtomicU64::new(0),
        }
    }

    /// Knows the task with this digest from now on. False when it cannot: the table or the principal's part is full, or
    /// the task is known as another's or another tool's, so that nobody could tell whose it is.
    #[must_use]
    pub(super) fn enter(&self, digest: [u8; 32], task: Task, now: UnixTime) -> bool {
        if !self.reserve(&task.principal_id) {
            self.make_room(now);
            if !self.reserve(&task.principal_id) {
                return false;
            }
        }
        let principal_id = task.principal_id;
        let (enters, released) = match self.by_task.entry(digest) {
            Entry::Vacant(vacant) => {
                vacant.insert(task);
                (true, None)
            }
            Entry::Occupied(mut known) if now < known.get().expires => {
                let same = known.get().principal_id == principal_id
                    && known.get().tool == task.tool
                    && known.get().redactions == task.redactions;
                if same {
                    let expires = known.get().expires.max(task.expires);
                    known.get_mut().expires = expires;
                }
                (same, Some(principal_id))
            }
            Entry::Occupied(mut expired) => (true, Some(expired.insert(task).principal_id)),
        };
        if let Some(principal_id) = released {
            self.release(&principal_id);
        }
        enters
    }

    /// The task with this digest, if it is this principal's; it is kept while it is asked for.
    pub(super) fn find(&self, digest: &[u8; 32], principal_id: &[u8; 32], now: UnixTime) -> Option<Task> {
        let mut task = self.by_task.get_mut(digest)?;
        if task.principal_id != *principal_id || task.expires <= now {
            return None;
        }
        task.expires = task.expires.max(now.after(KEPT));
        Some(task.clone())
    }

    /// Counts one task in, if there is room.
    fn reserve(&self, principal_id: &[u8; 32]) -> bool {
        if self.entries_max <= self.count.fetch_add(1, Ordering::Relaxed) {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let mut own = self.by_principal.entry(*principal_id).or_default();
        let enters = *own < self.per_principal_max;
        *own = own.saturating_add(1);
        drop(own);
        if !enters {
            self.release(principal_id);
        }
        enters
    }

    /// Counts one out.
    fn release(&self, principal_id: &[u8; 32]) {
        self.by_principal.remove_if_mut(principal_id, |_, own| {
            *own = own.saturating_sub(1);
            *own == 0
        });
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Forgets what has expired, once a second at most: a flood must not buy a walk over all.
    #[cold]
    fn make_room(&self, now: UnixTime) {
        if self.swept_s.swap(now.secs(), Ordering::Relaxed) == now.secs() {
            return;
        }
        let mut forgotten = Vec::new();
        self.by_task.retain(|_, task| {
            let stays = now < task.expires;
            if !stays {
                forgotten.push(task.principal_id);
            }
            stays
        });
        forgotten.iter().for_each(|principal_id| self.release(principal_id));
    }

    /// Tasks counted, and principals that have some.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.count.load(Ordering::Relaxed), self.by_principal.len())
    }
}

/// How long a task is known whose server keeps it for `ttl_ms`, `None` where it does not say.
fn ttl(ttl_ms: Option<u64>) -> Duration {
    ttl_ms.map_or(TTL_MAX, |ms| Duration::from_millis(ms).clamp(TTL_MIN, TTL_MAX))
}

impl Case<'_> {
    /// Binds a request about a task to the tool that started it, so that scopes and policy are asked about that one.
    ///
    /// # Errors
    /// [`DenyReason::TaskUnknown`] for a task that is not this caller's at this server, whatever the cause.
    pub(super) fn enter_task(&mut self, call: &Call<'_>) -> Result<Option<Arc<str>>, Denial> {
        let Some(id) = call.task_id() else {
            return Ok(None);
        };
        let Some(facts) = self.own_task(id, self.now) else {
            return Err(self.denial(
                DenyReason::TaskUnknown,
                "the task is not one that this caller has started",
            ));
        };
        let tool = Arc::clone(&facts.task.tool);
        if let Some(call) = &mut self.call {
            call.named = Named::Tool(Box::from(&*tool));
        }
        self.task = Some(Box::new(facts));
        Ok(Some(tool))
    }

    /// What is known of a task, if it is this caller's.
    pub(super) fn own_task(&self, id: &str, now: UnixTime) -> Option<TaskFacts> {
        let digest = self.task_digest(id);
        let task = self.gate.tasks.find(&digest, self.principal.principal_id(), now)?;
        Some(TaskFacts { digest, task })
    }

    /// Binds a task that this call has started to its caller and tool; `None` when it cannot be bound to them.
    ///
    /// `redactions` are all that hold for the answer that hands it out: they hold for what the task comes to as well.
    pub(super) fn start_task(
        &self,
        id: &str,
        ttl_ms: Option<u64>,
        redactions: &[Redaction],
        now: UnixTime,
    ) -> Option<[u8; 32]> {
        let tool = self.call.as_ref()?.named.tool()?;
        let digest = self.task_digest(id);
        let task = Task {
            principal_id: *self.principal.principal_id(),
            tool: Arc::from(tool),
            started_by: self.record_id,
            redactions: Arc::from(redactions),
            expires: now.after(ttl(ttl_ms)),
        };
        self.gate.tasks.enter(digest, task, now).then_some(digest)
    }

    /// A task's id is unique at its server (MCP 2025-11-25, tasks). The length keeps name and id apart.
    pub(super) fn task_digest(&self, id: &str) -> [u8; 32] {
        let server = self.server.name();
        let mut named = Vec::with_capacity(server.len().saturating_add(id.len()).saturating_add(12));
        named.extend_from_slice(b"task");
        named.extend_from_slice(&server.len().to_le_bytes());
        named.extend_from_slice(server.as_bytes());
        named.extend_from_slice(id.as_bytes());
        self.gate.key.mac(&named)
    }
}
