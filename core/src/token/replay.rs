//! The proofs of possession that were seen: each serves once (RFC 9449 section 11.1).
//!
//! Owns [`SeenProofs`]. A proof is remembered until it is too old to be accepted, whatever reload comes in between.
//! Bounded twice: in all, and for each key, so that one client's flood takes no room from the others. Never forgets a
//! proof that could still pass: what was forgotten sets the earliest time of issue that is accepted from then on.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::crypto::Sha256;
use crate::time::UnixTime;

/// Bounds of the memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ReplayLimits {
    /// Age at which a proof is too old.
    pub(crate) age_max: Duration,
    /// Proofs that are remembered.
    pub(crate) proofs_max: usize,
    /// Proofs of one key that are remembered.
    pub(crate) proofs_per_key_max: usize,
}

/// What names a proof, taken from one whose signature stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProofId<'p> {
    /// The thumbprint of its key.
    pub(super) key: &'p [u8; 32],
    /// Its `jti`.
    pub(super) jti: &'p str,
    /// Its `iat`, in seconds.
    pub(super) issued_at: u64,
}

/// Why a proof is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReplayError {
    /// No further proof can be remembered.
    Full,
    /// No further proof of this key can be remembered for so many seconds.
    KeyFull(u64),
    /// The proof was seen before, or may have been.
    Seen,
}

/// Every proof that could be shown again. Takes some 70 bytes a proof; a look-up holds one shard's lock.
#[derive(Default)]
pub(crate) struct SeenProofs {
    /// By the thumbprint of the key.
    keys: DashMap<[u8; 32], KeyProofs>,
    /// INVARIANT: at least the number of proofs in `keys`.
    count: AtomicUsize,
    /// The latest time of issue, in seconds, of a proof that was forgotten.
    forgotten_s: AtomicU64,
    /// The second in which room was last looked for.
    swept_s: AtomicU64,
}

impl std::fmt::Debug for SeenProofs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SeenProofs")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// The proofs of one key, the oldest first.
#[derive(Debug, Default)]
struct KeyProofs {
    seen: HashSet<[u8; 16]>,
    /// Each with its time of issue, or that of an earlier entry when that is later: never decreasing.
    order: VecDeque<([u8; 16], u64)>,
}

impl SeenProofs {
    /// Remembers a proof that has not been seen before.
    ///
    /// # Errors
    /// [`ReplayError`]; the proof is then not remembered.
    pub(super) fn take(&self, proof: ProofId<'_>, limits: &ReplayLimits, now: UnixTime) -> Result<(), ReplayError> {
        if self.reserve(limits) {
            return self.remember(proof, limits, now);
        }
        self.make_room(limits, now);
        if self.reserve(limits) {
            self.remember(proof, limits, now)
        } else {
            Err(ReplayError::Full)
        }
    }

    /// Counts one proof in, if there is room.
    fn reserve(&self, limits: &ReplayLimits) -> bool {
        if self.count.fetch_add(1, Ordering::Relaxed) < limits.proofs_max {
            return true;
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Puts the proof into the place that was reserved for it, or gives that back.
    fn remember(&self, proof: ProofId<'_>, limits: &ReplayLimits, now: UnixTime) -> Result<(), ReplayError> {
        let id = digest(proof);
        let mut known = self.keys.entry(*proof.key).or_default();
        let released = self.forget(&mut known, limits, now);
        let added = if proof.issued_at <= self.forgotten_s.load(Ordering::Relaxed) || known.seen.contains(&id) {
            Err(ReplayError::Seen)
        } else if limits.proofs_per_key_max <= known.seen.len() {
            let oldest = known.order.front().map_or(0, |(_, issued_at)| *issued_at);
            let room_at = oldest.saturating_add(limits.age_max.as_secs());
            Err(ReplayError::KeyFull(
                room_at.saturating_sub(now.secs()).saturating_add(1),
            ))
        } else {
            let latest = known.order.back().map_or(0, |(_, issued_at)| *issued_at);
            known.seen.insert(id);
            known.order.push_back((id, proof.issued_at.max(latest)));
            Ok(())
        };
        drop(known);
        let released = released.saturating_add(usize::from(added.is_err()));
        self.count.fetch_sub(released, Ordering::Relaxed);
        added
    }

    /// Forgets the proofs of a key that are too old now; how many.
    fn forget(&self, known: &mut KeyProofs, limits: &ReplayLimits, now: UnixTime) -> usize {
        let mut released = 0_usize;
        while let Some((id, issued_at)) = known.order.front().copied()
            && issued_at.saturating_add(limits.age_max.as_secs()) < now.secs()
        {
            known.order.pop_front();
            known.seen.remove(&id);
            self.forgotten_s.fetch_max(issued_at, Ordering::Relaxed);
            released = released.saturating_add(1);
        }
        released
    }

    /// Forgets what is too old of every key, once a second at most: a flood must not buy a walk over all keys.
    #[cold]
    fn make_room(&self, limits: &ReplayLimits, now: UnixTime) {
        if self.swept_s.swap(now.secs(), Ordering::Relaxed) == now.secs() {
            return;
        }
        let mut released = 0_usize;
        self.keys.retain(|_, known| {
            released = released.saturating_add(self.forget(known, limits, now));
            !known.order.is_empty()
        });
        self.count.fetch_sub(released, Ordering::Relaxed);
    }
}

/// What stands for a proof: half of SHA-256 over its key and its `jti`. Nobody gains by two proofs of one key that meet,
/// and proofs of two keys never do.
fn digest(proof: ProofId<'_>) -> [u8; 16] {
    let mut digest = Sha256::default();
    digest.update_framed(proof.key);
    digest.update_framed(proof.jti.as_bytes());
    digest.finish().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
