//! Takes up a log where the last process left it: finds its end, cuts off a torn batch, and finds the pairs left open.
//!
//! Owns [`Tail`] and [`recover`]. Cuts only what was never acknowledged: an unfinished batch at the end of the last
//! segment. Anything else that does not check out is an error, and the log stays as it is. Looks at the last few
//! segments alone, so that a start takes the same time however long the log is; checking a whole log is a reader's
//! work, and an allow left open before them stays open there.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::audit::object::Object;
use crate::audit::record::{Outcome, ResponsePhase};
use crate::audit::scan::{Found, ReadError, Scan};
use crate::audit::segment::{SEGMENT_HEADER_BYTES, next_record};
use crate::audit::storage::Storage;
use crate::record_id::RecordId;
use crate::time::UnixTime;

/// The end of a log, where the next batch goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Tail {
    /// The open segment.
    pub(super) segment: u64,
    /// Its length.
    pub(super) bytes: u64,
    /// The position of the next record.
    pub(super) next: u64,
    /// The digest of the last batch.
    pub(super) previous: [u8; 32],
}

/// What recovery found.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The end of the log; the segment's header is not written yet.
    pub(super) tail: Tail,
    /// Records that close what the last process left open.
    pub(super) closing: Vec<Vec<u8>>,
}

/// Why a log cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// What is there cannot be read, or is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The next segment cannot be opened.
    #[error("segment {segment} of the audit log cannot be written: {source}")]
    Segment {
        /// The number of the segment.
        segment: u64,
        /// What the operating system says.
        source: std::io::Error,
    },
}

impl Tail {
    /// The length of the segment after `length` more bytes.
    pub(super) fn bytes_after(&self, length: u64) -> u64 {
        self.bytes.saturating_add(length)
    }

    /// Whether the segment has no batch yet.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes <= HEADER_BYTES
    }
}

/// Reads the last `segments_max` segments, cuts off a torn end and opens the segment that is written next.
pub(super) fn recover(
    storage: &mut dyn Storage,
    segments_max: usize,
    now: UnixTime,
) -> Result<Recovered, RecoveryError> {
    let segments = storage.list().map_err(ReadError::List)?;
    let oldest = segments.len().saturating_sub(segments_max.max(2));
    let mut scan = Scan::starting_at(segments.get(oldest).copied());
    let mut open = OpenPairs::default();
    let torn = loop {
        match scan.next(storage)? {
            Found::Batch { .. } => open.read(scan.payload()),
            Found::End { torn } => break torn,
        }
    };
    let (next, previous) = scan.follows();
    let segment = open_segment(storage, scan.place(), torn)?;
    Ok(Recovered {
        tail: Tail {
            segment,
            bytes: 0,
            next,
            previous,
        },
        closing: open.closing_records(now),
    })
}

/// Opens the segment after the last one; the last one again when it never got a batch.
fn open_segment(storage: &mut dyn Storage, place: Option<(u64, u64)>, torn: u64) -> Result<u64, RecoveryError> {
    let Some((last, end)) = place else {
        return create(storage, 0);
    };
    let failed = |source| RecoveryError::Segment { segment: last, source };
    if end <= HEADER_BYTES {
        storage.truncate(last, 0).map_err(failed)?;
        return Ok(last);
    }
    if torn > 0 {
        storage.truncate(last, end).map_err(failed)?;
    }
    create(storage, last.saturating_add(1))
}

fn create(storage: &mut dyn Storage, segment: u64) -> Result<u64, RecoveryError> {
    match storage.create(segment) {
        Ok(()) => Ok(segment),
        Err(source) => Err(RecoveryError::Segment { segment, source }),
    }
}

/// Allows without a closing record, by record id.
#[derive(Debug, Default)]
struct OpenPairs {
    by_id: HashMap<RecordId, OpenPair>,
    /// Counts requests, so that closing records come in the order of what they close.
    requests: u64,
}

#[derive(Debug)]
struct OpenPair {
    order: u64,
    is_stream: bool,
    who: Who,
}

/// The members of a request record that its closing record repeats as they stand.
#[derive(Clone, Debug, Default, Deserialize)]
struct Who {
    #[serde(default)]
    tenant: Value,
    #[serde(default)]
    server: Value,
    #[serde(default)]
    subject: Value,
    #[serde(default)]
    actor: Value,
    #[serde(default)]
    on_behalf_of: Value,
    #[serde(default)]
    client_id: Value,
    #[serde(default)]
    principal_id: Value,
}

/// The members of a record that say whether it opens or closes a pair.
#[derive(Deserialize)]
struct PairMembers<'r> {
    #[serde(borrow)]
    record_id: Cow<'r, str>,
    #[serde(borrow)]
    phase: Cow<'r, str>,
    #[serde(borrow, default)]
    decision: Option<Cow<'r, str>>,
}

impl OpenPairs {
    /// Follows the records of one batch. Records that are no half of a pair are none of our business.
    fn read(&mut self, payload: &[u8]) {
        let mut rest = payload;
        while let Some(record) = next_record(&mut rest) {
            if let Ok(members) = serde_json::from_slice::<PairMembers<'_>>(record)
                && let Some(id) = RecordId::parse(&members.record_id)
            {
                self.follow(id, &members, record);
            }
        }
    }

    fn follow(&mut self, id: RecordId, members: &PairMembers<'_>, record: &[u8]) {
        match &*members.phase {
            "request" if members.decision.as_deref() == Some("allow") => {
                self.requests = self.requests.saturating_add(1);
                let pair = OpenPair {
                    order: self.requests,
                    is_stream: false,
                    who: serde_json::from_slice(record).unwrap_or_default(),
                };
                self.by_id.insert(id, pair);
            }
            "open" => {
                if let Some(pair) = self.by_id.get_mut(&id) {
                    pair.is_stream = true;
                }
            }
            "close" | "response" => {
                self.by_id.remove(&id);
            }
            _ => {}
        }
    }

    fn closing_records(self, now: UnixTime) -> Vec<Vec<u8>> {
        let mut pairs: Vec<_> = self.by_id.into_iter().collect();
        pairs.sort_unstable_by_key(|(_, pair)| pair.order);
        pairs
            .into_iter()
            .map(|(id, pair)| closing_record(id, &pair, now))
            .collect()
    }
}

/// The record of an exchange whose end nobody saw: who it was for, and nothing that was not seen.
fn closing_record(id: RecordId, pair: &OpenPair, now: UnixTime) -> Vec<u8> {
    let outcome = Outcome::Unknown;
    let phase = if pair.is_stream {
        ResponsePhase::Close { outcome, totals: None }
    } else {
        ResponsePhase::Whole { outcome }
    };
    let mut out = Vec::new();
    let mut object = Object::record(&mut out, id, phase.code(), None, now);
    let who = &pair.who;
    for (name, value) in [
        ("tenant", &who.tenant),
        ("server", &who.server),
        ("subject", &who.subject),
        ("actor", &who.actor),
        ("on_behalf_of", &who.on_behalf_of),
        ("client_id", &who.client_id),
        ("principal_id", &who.principal_id),
    ] {
        object.json(name, value);
    }
    object.text("outcome", outcome.code());
    object.maybe_text("decision", None);
    object.text("reason", "recovered");
    object.end();
    out
}

const HEADER_BYTES: u64 = SEGMENT_HEADER_BYTES as u64;

#[cfg(test)]
mod tests;
