//! Tokens that are used from many places: a bearer token that was copied around is a secret of many.
//!
//! Owns [`SharedToken`] and how the embedder learns of one. Bounded; never refuses anything, and tells a token by its
//! digest alone.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::config::Server;
use crate::head::RequestHead;
use crate::limit::network_of;
use crate::token::{Grown, TokenDigest, VerifiedToken};

/// Reports that wait for the embedder; further ones are only counted.
const REPORTS_MAX: usize = 256;

/// A token that was used from more places than the limits call usual. Reported once for as long as it is remembered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SharedToken {
    /// The server where it was used.
    pub server: Arc<str>,
    /// The digest by which records name it.
    pub digest: TokenDigest,
    /// From how many places, an estimate.
    pub sources: u16,
}

/// What is known of shared tokens.
#[derive(Debug)]
pub(super) struct Sharing {
    hasher: RandomState,
    reports: ArrayQueue<SharedToken>,
    count: AtomicU64,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            reports: ArrayQueue::new(REPORTS_MAX),
            count: AtomicU64::new(0),
        }
    }
}

impl Sharing {
    /// Notes a use of `token`, by the client's network and by its certificate when it has shown one.
    pub(super) fn used(&self, token: &VerifiedToken, head: &RequestHead<'_>, server: &Server, reported: u16) {
        let certificate = head.certificate.map(|certificate| &certificate.sha256);
        let place = self.hasher.hash_one((network_of(head.client_ip), certificate));
        if let Some(grown) = token.sources().note(place) {
            self.grown(token, grown, server, reported);
        }
    }

    #[cold]
    fn grown(&self, token: &VerifiedToken, grown: Grown, server: &Server, reported: u16) {
        if grown.before <= reported && reported < grown.after {
            self.count.fetch_add(1, Ordering::Relaxed);
            // A report that finds no room is lost; its count is not.
            let _ = self.reports.push(SharedToken {
                server: Arc::clone(server.name()),
                digest: token.digest(),
                sources: grown.after,
            });
        }
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The oldest report.
    pub(super) fn take(&self) -> Option<SharedToken> {
        self.reports.pop()
    }
}
