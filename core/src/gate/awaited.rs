//! The answers that requests of servers await from their clients.
//!
//! Owns [`AwaitedAnswers`]. Fails closed: what finds no room is not awaited, and what is not awaited, from that caller,
//! at that server and in that session, is not found. Its map's shard lock is held for one look-up; only a full table is
//! walked, once a second at most. Lives in one process, and is gone with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::rpc::{Id, Method};
use crate::time::UnixTime;

/// Answers that are awaited at once: some 70 MB where each is another principal's and its id as long as may be.
const ENTRIES_MAX: usize = 100_000;

/// Answers of one principal: bounds what a look-up walks, and what one upstream can take from others.
const PER_PRINCIPAL_MAX: usize = 64;

/// The longest id that is a string, in bytes: the upstream chooses it and the table keeps it.
const ID_BYTES_MAX: usize = 256;

/// How long an answer is awaited that a program gives: a `ping` is answered at once (MCP 2025-11-25, ping).
const TTL: Duration = Duration::from_mins(1);

/// How long an answer is awaited that a human gives, or approves.
const HUMAN_TTL: Duration = Duration::from_mins(10);

const fn ttl(method: Method) -> Duration {
    match method {
        Method::ResponseElicitation | Method::ResponseSampling => HUMAN_TTL,
        _ => TTL,
    }
}

/// The answers that are awaited, bounded in number, size and time.
#[derive(Debug)]
pub(super) struct AwaitedAnswers {
    /// By the principal's id; none is empty.
    by_principal: DashMap<[u8; 32], Vec<Awaited>>,
    /// INVARIANT: at least the number of answers in `by_principal`.
    count: AtomicUsize,
    entries_max: usize,
    /// The second in which room was last looked for.
    swept_s: AtomicU64,
}

/// A request of a server: whom it asks, and by which id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) principal_id: &'a [u8; 32],
    pub(super) server: &'a Arc<str>,
    /// The digest of the session, `None` outside of one.
    pub(super) session: Option<&'a [u8; 32]>,
    pub(super) id: &'a Id,
}

/// An awaited answer that has come, to be put back when it gets no further.
#[derive(Debug)]
pub(super) struct Taken {
    principal_id: [u8; 32],
    awaited: Awaited,
}

impl Taken {
    /// What the answer is judged as.
    pub(super) fn method(&self) -> Method {
        self.awaited.method
    }
}

#[derive(Debug)]
struct Awaited {
    server: Arc<str>,
    session: Option<[u8; 32]>,
    id: Id,
    /// What the answer is judged as.
    method: Method,
    expires: UnixTime,
}

impl Awaited {
    fn is(&self, asked: &Asked<'_>, now: UnixTime) -> bool {
        now < self.expires
            && self.server == *asked.server
            && self.session.as_ref() == asked.session
            && self.id == *asked.id
    }

    /// Whether nobody could tell which of both an answer is to.
    fn is_same(&self, other: &Self) -> bool {
        self.server == other.server && self.session == other.session && self.id == other.id
    }
}

impl Default for AwaitedAnswers {
    fn default() -> Self {
        Self::new(ENTRIES_MAX)
    }
}

impl AwaitedAnswers {
    /// A table of `entries_max` answers.
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            by_principal: DashMap::new(),
            count: AtomicUsize::new(0),
            entries_max,
            swept_s: AtomicU64::new(0),
        }
    }

    /// Awaits the answer to `asked` from now on, to be judged as `method`. False when it cannot be: the table or the
    /// principal's part is full, the id is too long, or is awaited already, so that nobody could tell whose answer comes.
    #[must_use]
    pub(super) fn enter(&self, asked: &Asked<'_>, method: Method, now: UnixTime) -> bool {
        if matches!(asked.id, Id::String(text) if ID_BYTES_MAX < text.len()) {
            return false;
        }
        let awaited = Awaited {
            server: Arc::clone(asked.server),
            session: asked.session.copied(),
            id: asked.id.clone(),
            method,
            expires: now.after(ttl(method)),
        };
        self.insert(*asked.principal_id, awaited, now)
    }

    /// The answer that was taken has got no further: it is awaited again, until when it was before.
    pub(super) fn put_back(&self, taken: Taken, now: UnixTime) {
        // Without room it is lost, as one that expires.
        let _ = self.insert(taken.principal_id, taken.awaited, now);
    }

    fn insert(&self, principal_id: [u8; 32], awaited: Awaited, now: UnixTime) -> bool {
        if !self.reserve() {
            self.make_room(now);
            if !self.reserve() {
                return false;
            }
        }
        let mut of_principal = self.by_principal.entry(principal_id).or_default();
        let expired = forget(&mut of_principal, now);
        let enters =
            of_principal.len() < PER_PRINCIPAL_MAX && !of_principal.iter().any(|other| other.is_same(&awaited));
        if enters {
            of_principal.push(awaited);
        }
        drop(of_principal);
        let released = expired.saturating_add(usize::from(!enters));
        self.count.fetch_sub(released, Ordering::Relaxed);
        enters
    }

    /// What an answer to `asked` is judged as, while it is awaited.
    pub(super) fn find(&self, asked: &Asked<'_>, now: UnixTime) -> Option<Method> {
        let awaited = self.by_principal.get(asked.principal_id)?;
        let found = awaited.iter().find(|awaited| awaited.is(asked, now))?;
        Some(found.method)
    }

    /// The same; it is awaited no more.
    pub(super) fn take(&self, asked: &Asked<'_>, now: UnixTime) -> Option<Taken> {
        let mut awaited = self.by_principal.get_mut(asked.principal_id)?;
        let place = awaited.iter().position(|awaited| awaited.is(asked, now))?;
        let taken = awaited.swap_remove(place);
        drop(awaited);
        self.by_principal
            .remove_if(asked.principal_id, |_, awaited| awaited.is_empty());
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(Taken {
            principal_id: *asked.principal_id,
            awaited: taken,
        })
    }

    /// Counts one answer in, if there is room.
    fn reserve(&self) -> bool {
        if self.count.fetch_add(1, Ordering::Relaxed) < self.entries_max {
            return true;
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Forgets what has expired of every principal, once a second at most: a flood must not buy a walk over all.
    #[cold]
    fn make_room(&self, now: UnixTime) {
        if self.swept_s.swap(now.secs(), Ordering::Relaxed) == now.secs() {
            return;
        }
        let mut released = 0_usize;
        self.by_principal.retain(|_, awaited| {
            released = released.saturating_add(forget(awaited, now));
            !awaited.is_empty()
        });
        self.count.fetch_sub(released, Ordering::Relaxed);
    }

    /// Answers counted, and principals in the table.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.count.load(Ordering::Relaxed), self.by_principal.len())
    }
}

/// Forgets what has expired; how many.
fn forget(awaited: &mut Vec<Awaited>, now: UnixTime) -> usize {
    let before = awaited.len();
    awaited.retain(|awaited| now < awaited.expires);
    before.saturating_sub(awaited.len())
}
