//! Refusals before anybody is known: counted by server, reason and address, written as one record in ten seconds.
//!
//! Owns [`Refusals`]. Bounded: a flood from many addresses is counted together, so that no stranger fills memory or
//! the log.

use std::net::IpAddr;
use std::sync::Arc;

use dashmap::DashMap;

use crate::denial::DenyReason;

/// Addresses told apart between two flushes; later ones are counted as one.
const SOURCES_MAX: usize = 1_024;

/// One line of the summary.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Source {
    /// The server's name, `None` before a route was found.
    pub(super) server: Option<Arc<str>>,
    pub(super) reason: DenyReason,
    /// `None` stands for all addresses past the bound.
    pub(super) client_ip: Option<IpAddr>,
}

/// The counts since the last flush.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: DashMap<Source, u64>,
}

impl Refusals {
    /// Counts one refusal.
    #[cold]
    pub(super) fn count(&self, mut source: Source) {
        if self.counts.len() >= SOURCES_MAX && !self.counts.contains_key(&source) {
            source.client_ip = None;
        }
        let mut count = self.counts.entry(source).or_default();
        *count = count.saturating_add(1);
    }

    /// Takes the counts, in no order.
    pub(super) fn take(&self) -> Vec<(Source, u64)> {
        let sources: Vec<Source> = self.counts.iter().map(|entry| entry.key().clone()).collect();
        sources
            .into_iter()
            .filter_map(|source| self.counts.remove(&source))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8, reason: DenyReason) -> Source {
        Source {
            server: None,
            reason,
            client_ip: Some([127, 0, 0, last].into()),
        }
    }

    #[test]
    fn each_source_is_counted_apart_and_once() {
        let refusals = Refusals::default();
        for _ in 0..3 {
            refusals.count(source(1, DenyReason::TokenExpired));
        }
        refusals.count(source(2, DenyReason::TokenExpired));
        let mut taken = refusals.take();
        taken.sort_by_key(|(_, count)| *count);
        assert_eq!(
            taken,
            [
                (source(2, DenyReason::TokenExpired), 1),
                (source(1, DenyReason::TokenExpired), 3)
            ]
        );
        assert_eq!(refusals.take(), []);
    }

    #[test]
    fn addresses_past_the_bound_are_counted_together() {
        let refusals = Refusals::default();
        for number in 0..5_000_u32 {
            let client_ip = Some(IpAddr::from(number.to_be_bytes()));
            refusals.count(Source {
                server: None,
                reason: DenyReason::CredentialMissing,
                client_ip,
            });
        }
        let taken = refusals.take();
        assert_eq!(taken.len(), SOURCES_MAX + 1);
        assert_eq!(taken.iter().map(|(_, count)| count).sum::<u64>(), 5_000);
    }
}
