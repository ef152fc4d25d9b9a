//! Which bundles have ruled: the guard against a roll-back.
//!
//! Owns [`History`], a list that the embedder keeps in a file. A bundle that ruled once and was replaced does not come
//! back by itself: whoever serves old, well-signed bundles could undo every later rule. Never touches the file.

use std::collections::VecDeque;

use super::BundleDigest;

/// The digests of bundles that ruled, the oldest first, and the one that rules.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct History {
    active: Option<BundleDigest>,
    replaced: VecDeque<BundleDigest>,
}

/// What a bundle is to the history.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It rules.
    Active,
    /// It never ruled.
    New,
    /// It ruled before and was replaced.
    Replaced,
}

/// The text is no history: it must not be taken for an empty one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {0} of the history is no digest of a bundle")]
pub struct HistoryError(usize);

impl History {
    /// Digests that are kept; the oldest make room.
    pub const KEPT_MAX: usize = 65_536;

    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// [`HistoryError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        for (place, line) in (1..).zip(text.lines()) {
            let (kind, digits) = line.split_once(' ').ok_or(HistoryError(place))?;
            let digest = BundleDigest::from_hex(digits).ok_or(HistoryError(place))?;
            match kind {
                "active" if history.active.is_none() => history.active = Some(digest),
                "replaced" if history.active.is_none() => history.replaced.push_back(digest),
                _ => return Err(HistoryError(place)),
            }
        }
        // Whatever was replaced was replaced by something; a text without its last line was cut.
        match history.active.is_none() && !history.replaced.is_empty() {
            true => Err(HistoryError(history.replaced.len().saturating_add(1))),
            false => Ok(history),
        }
    }

    /// The history as text, a line each.
    pub fn to_text(&self) -> String {
        let replaced = self.replaced.iter().map(|digest| format!("replaced {digest}\n"));
        let active = self.active.iter().map(|digest| format!("active {digest}\n"));
        replaced.chain(active).collect()
    }

    /// What a bundle or a delta of this digest is.
    pub fn standing(&self, digest: BundleDigest) -> Standing {
        match (self.active == Some(digest), self.replaced.contains(&digest)) {
            (true, _) => Standing::Active,
            (false, true) => Standing::Replaced,
            (false, false) => Standing::New,
        }
    }

    /// The one that rules.
    pub const fn active(&self) -> Option<BundleDigest> {
        self.active
    }

    /// Notes that `digest` rules from now on.
    pub fn activate(&mut self, digest: BundleDigest) {
        if self.active == Some(digest) {
            return;
        }
        self.replaced.retain(|replaced| *replaced != digest);
        if let Some(before) = self.active.replace(digest) {
            self.note(before);
        }
    }

    /// Notes that a delta of `digest` was applied: it is not applied again.
    pub fn applied(&mut self, digest: BundleDigest) {
        if self.standing(digest) == Standing::New {
            self.note(digest);
        }
    }

    fn note(&mut self, digest: BundleDigest) {
        if Self::KEPT_MAX <= self.replaced.len() {
            self.replaced.pop_front();
        }
        self.replaced.push_back(digest);
    }
}
