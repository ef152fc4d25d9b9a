//! The tokens that were verified before.
//!
//! Owns [`TokenCache`], keyed by the digest of the whole token, so that no other signature or payload ever meets an
//! entry. Bounded: the oldest entry makes room for the newest. Never answers whether a token is good: time, audience,
//! issuer and key set are checked again on every hit, by `token::verify`.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use dashmap::DashMap;

use crate::time::UnixTime;
use crate::token::{TokenDigest, VerifiedToken};

/// Verified tokens, shared by all workers.
///
/// A look-up holds one shard's lock for its own length; an insertion beyond the bound drops the oldest entry.
pub struct TokenCache {
    tokens: DashMap<TokenDigest, Arc<VerifiedToken>, BuildHasherDefault<DigestHasher>>,
    /// INVARIANT: every key of `tokens` stands here at least once, or is being removed by who took it out.
    order: ArrayQueue<TokenDigest>,
    /// Tokens that their issuer does not know as active, for a moment.
    refused: DashMap<TokenDigest, Refused, BuildHasherDefault<DigestHasher>>,
    /// As `order`.
    refused_order: ArrayQueue<TokenDigest>,
}

/// Who does not know a token as active, and how long that is believed.
#[derive(Debug)]
struct Refused {
    issuer: Arc<str>,
    until: UnixTime,
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TokenCache")
            .field("tokens", &self.order.len())
            .finish_non_exhaustive()
    }
}

impl TokenCache {
    /// A cache of at most `tokens_cached_max` tokens, at least one. Takes 40 bytes a place at once.
    pub fn new(tokens_cached_max: usize) -> Self {
        Self {
            tokens: DashMap::default(),
            order: ArrayQueue::new(tokens_cached_max.max(1)),
            refused: DashMap::default(),
            refused_order: ArrayQueue::new(REFUSED_MAX),
        }
    }

    /// Tokens that are remembered, at most.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn find(&self, digest: &TokenDigest) -> Option<Arc<VerifiedToken>> {
        self.tokens.get(digest).map(|entry| Arc::clone(entry.value()))
    }

    pub(super) fn insert(&self, token: Arc<VerifiedToken>) {
        let digest = token.digest();
        if let Some(earlier) = self.tokens.insert(digest, Arc::clone(&token)) {
            token.sources().join(earlier.sources());
            return;
        }
        if let Some(oldest) = self.order.force_push(digest) {
            self.tokens.remove(&oldest);
        }
    }
}

impl TokenCache {
    /// Whether `issuer` said a moment ago that the token is not active.
    pub(super) fn is_refused(&self, digest: &TokenDigest, issuer: &str, now: UnixTime) -> bool {
        self.refused
            .get(digest)
            .is_some_and(|refused| now < refused.until && &*refused.issuer == issuer)
    }

    /// Remembers until then that `issuer` said so, and forgets what it said before.
    pub(super) fn refuse(&self, digest: TokenDigest, issuer: Arc<str>, until: UnixTime) {
        self.tokens.remove_if(&digest, |_, known| *known.issuer() == issuer);
        if self.refused.insert(digest, Refused { issuer, until }).is_some() {
            return;
        }
        if let Some(oldest) = self.refused_order.force_push(digest) {
            self.refused.remove(&oldest);
        }
    }
}

/// Refused tokens that are remembered: a forgotten one costs its issuer one more question.
const REFUSED_MAX: usize = 8_192;

/// Passes on the eight bytes that [`TokenDigest`] writes: they are a part of a SHA-256 digest already.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
