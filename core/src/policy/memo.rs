//! The decision memo of one policy at one worker: answers by everything that they depend on.
//!
//! Owns the table, its bounds and its counts. A key is stored whole and compared byte by byte, so a hit rests on no
//! hash: the checksum of a key only picks its place, and whoever makes checksums collide only makes others be asked
//! again. Holds answers alone, never a failure. Never looks at an input, and shares nothing with another thread but the
//! counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::decision::Decision;
use super::worker::EvalLimits;

/// Places that a key may take.
const WAYS: usize = 4;
/// The largest answer that is kept, in bytes: with the longest key it bounds what an entry takes.
const ANSWER_BYTES_MAX: usize = 4_096;

/// What is remembered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Remembered {
    Decision(Arc<Decision>),
    Visible(bool),
}

/// A bounded table of answers. Empty it takes no memory.
#[derive(Debug)]
pub(super) struct Memo {
    entries_max: usize,
    /// What an answer kept to; under other limits the policy is asked again.
    limits: Option<EvalLimits>,
    places: Vec<Option<Entry>>,
}

#[derive(Debug)]
struct Entry {
    answer: Remembered,
    checksum: u32,
    key: Box<[u8]>,
    used: bool,
}

impl Memo {
    /// A memo of at most `entries_max` answers; with 0 it never has one.
    pub(super) const fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            limits: None,
            places: Vec::new(),
        }
    }

    /// Makes it one of at most `entries_max` answers that kept to `limits`, empty if it was another.
    pub(super) fn suit(&mut self, entries_max: usize, limits: &EvalLimits) {
        if self.entries_max != entries_max || self.limits.as_ref() != Some(limits) {
            *self = Self {
                limits: Some(*limits),
                ..Self::new(entries_max)
            };
        }
    }

    /// The answer that was given to `key`.
    pub(super) fn recall(&mut self, key: &[u8]) -> Option<Remembered> {
        let checksum = crc32fast::hash(key);
        let found = self.ways(checksum).iter_mut().flatten();
        let mut same = found.filter(|entry| entry.checksum == checksum && *entry.key == *key);
        let entry = same.next()?;
        entry.used = true;
        Some(entry.answer.clone())
    }

    /// Remembers the answer to `key`, in the place of one that was not asked for since.
    pub(super) fn remember(&mut self, key: &[u8], answer: Remembered) {
        if self.entries_max == 0 || ANSWER_BYTES_MAX < answer.bytes() {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(self.entries_max, || None);
        }
        let checksum = crc32fast::hash(key);
        let ways = self.ways(checksum);
        let empty = ways.iter().position(Option::is_none);
        let victim = empty.or_else(|| {
            // Whoever was asked for is spared once.
            ways.iter_mut()
                .flatten()
                .position(|entry| !std::mem::take(&mut entry.used))
        });
        if let Some(place) = ways.get_mut(victim.unwrap_or_default()) {
            *place = Some(Entry {
                answer,
                checksum,
                key: key.into(),
                used: false,
            });
        }
    }

    /// The places of keys with this checksum.
    fn ways(&mut self, checksum: u32) -> &mut [Option<Entry>] {
        let sets = self.places.len().div_ceil(WAYS).max(1);
        // The checksum is linear in the key; its product with an odd number is not, and its upper bits tell most.
        let mixed = u64::from(checksum).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let sets_wide = u64::try_from(sets).unwrap_or(u64::MAX);
        let set = usize::try_from(mixed.wrapping_mul(sets_wide) >> 32).unwrap_or_default();
        self.places.chunks_mut(WAYS).nth(set).unwrap_or_default()
    }
}

impl Remembered {
    /// About what it takes.
    fn bytes(&self) -> usize {
        let Self::Decision(decision) = self else {
            return 0;
        };
        let Decision {
            rule,
            reason,
            obligations,
            ..
        } = &**decision;
        // A pointer keeps its text twice, the second time cut into its steps.
        let redact = obligations.redact.iter().map(|redaction| {
            let text = redaction.at.as_str().len().saturating_mul(2);
            text.saturating_add(redaction.at.steps().len().saturating_mul(24))
        });
        let demand = obligations.authenticate.iter().flat_map(|demand| &demand.acr_values);
        redact
            .chain(demand.map(|acr| acr.len()))
            .fold(rule.len().saturating_add(reason.len()), usize::saturating_add)
    }
}

/// How often a question was answered from memory, by one worker. Alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counts {
    bypassed: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How often the questions to a policy were answered from memory, since it was compiled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MemoCounts {
    /// Answered by the policy without a look: the question is not remembered, what it reads of this input is too large,
    /// or the memo is off.
    pub bypassed: u64,
    /// Answered from memory.
    pub hits: u64,
    /// Looked for, not found, and answered by the policy.
    pub misses: u64,
}

impl Counts {
    pub(super) fn bypass(&self) {
        self.bypassed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }
}

impl MemoCounts {
    /// The sum with what one worker counted.
    pub(super) fn with(self, counts: &Counts) -> Self {
        let sum = |before: u64, counter: &AtomicU64| before.saturating_add(counter.load(Ordering::Relaxed));
        Self {
            bypassed: sum(self.bypassed, &counts.bypassed),
            hits: sum(self.hits, &counts.hits),
            misses: sum(self.misses, &counts.misses),
        }
    }
}

#[cfg(test)]
mod tests;
