//! When a bundle is fetched, with which headers, and what its answer means.
//!
//! Owns [`BundleFetcher`], a state machine without I/O, as [`crate::jwks::refresh`] is: [`BundleFetcher::poll_fetch`] says
//! what to fetch, the embedder fetches it without following redirects, [`BundleFetcher::on_fetched`] takes the answer,
//! and [`BundleFetcher::next_wake`] says when to ask again. Follows OPA's bundle service API: `If-None-Match` and 304,
//! `Prefer: modes=..;wait=..` for long polling. Never reads a bundle: whether one was activated is told to it.

use std::sync::Arc;
use std::time::Duration;

use crate::time::UnixTime;

/// Times and bounds of the fetches of one bundle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FetchSettings {
    /// Least time between two regular fetches.
    pub delay_min: Duration,
    /// Longest time between two regular fetches, and after failures.
    pub delay_max: Duration,
    /// How long the server may hold an answer back until there is a new bundle; `None` never asks it to.
    pub long_poll: Option<Duration>,
    /// Time of one fetch, beside what the server may hold it back.
    pub fetch_deadline: Duration,
    /// Bytes of an answer.
    pub bytes_max: usize,
    /// Whether deltas are asked for; they cannot be signed.
    pub deltas: bool,
}

/// The name of one fetch; the answer to another one is not taken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FetchId(u64);

/// One fetch for the embedder: a GET that follows no redirect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BundleRequest {
    /// To be given back with the answer.
    pub id: FetchId,
    /// The value of `If-None-Match`.
    pub etag: Option<Arc<str>>,
    /// The value of `Prefer`.
    pub prefer: String,
    /// Time after which the fetch is given up, whole body included.
    pub deadline: Duration,
    /// Bytes of the body after which the fetch is given up.
    pub bytes_max: usize,
}

/// An HTTP answer, whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BundleAnswer {
    /// The status.
    pub status: u16,
    /// The value of `ETag`.
    pub etag: Option<Arc<str>>,
    /// The value of `Content-Type`.
    pub content_type: Option<Box<str>>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why a fetch brought no bundle.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BundleFetchError {
    /// No connection, or it broke.
    #[error("the connection failed")]
    Connection,
    /// The credential for the server cannot be had.
    #[error("the credential for the bundle server cannot be read")]
    Credential,
    /// The status is neither 200 nor 304.
    #[error("server replied with status {0}")]
    Status(u16),
    /// The body went over its bound.
    #[error("the answer is too large")]
    TooLarge,
    /// The deadline passed.
    #[error("the deadline passed")]
    TimedOut,
}

/// What an answer means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BundleNews {
    /// Bytes that may be a bundle: to be read, and [`BundleFetcher::on_activated`] or [`BundleFetcher::on_refused`] told.
    Bytes(Vec<u8>),
    /// No answer of use.
    Failed(BundleFetchError),
    /// The server has nothing new.
    Unchanged,
}

/// The fetches of one bundle. One owner drives it.
#[derive(Debug)]
pub struct BundleFetcher {
    settings: FetchSettings,
    /// Of the bundle that is active: a bundle that was refused is asked for again.
    etag: Option<Arc<str>>,
    offered: Option<Arc<str>>,
    /// Whether the server has said that it holds answers back.
    holds: bool,
    in_flight: Option<(FetchId, UnixTime)>,
    fetches: u64,
    failures: u32,
    due: UnixTime,
}

impl BundleFetcher {
    /// A fetcher that wants its first fetch at once; `etag` is that of a bundle which was kept over a restart.
    pub const fn new(settings: FetchSettings, etag: Option<Arc<str>>) -> Self {
        Self {
            settings,
            etag,
            offered: None,
            holds: false,
            in_flight: None,
            fetches: 0,
            failures: 0,
            due: UnixTime::from_secs(0),
        }
    }

    /// The `ETag` of the active bundle.
    pub const fn etag(&self) -> Option<&Arc<str>> {
        self.etag.as_ref()
    }

    /// The `ETag` of the latest answer with bytes.
    pub const fn offered(&self) -> Option<&Arc<str>> {
        self.offered.as_ref()
    }

    /// What to fetch now, if anything. At most one fetch is out at a time; one whose answer never came is given up.
    pub fn poll_fetch(&mut self, now: UnixTime) -> Option<BundleRequest> {
        if self.in_flight.take_if(|(_, lost_at)| *lost_at <= now).is_some() {
            self.failures = self.failures.saturating_add(1);
        }
        if self.in_flight.is_some() || now < self.due {
            return None;
        }
        self.fetches = self.fetches.wrapping_add(1);
        let id = FetchId(self.fetches);
        let modes = if self.settings.deltas {
            "snapshot,delta"
        } else {
            "snapshot"
        };
        let mut prefer = format!("modes={modes}");
        let mut deadline = self.settings.fetch_deadline;
        if let Some(wait) = self.settings.long_poll {
            prefer.push_str(&format!(";wait={}", wait.as_secs().max(1)));
            deadline = deadline.saturating_add(wait);
        }
        self.in_flight = Some((id, now.after(deadline.saturating_mul(2))));
        Some(BundleRequest {
            id,
            etag: self.etag.clone(),
            prefer,
            deadline,
            bytes_max: self.settings.bytes_max,
        })
    }

    /// Takes the answer to the fetch `id`; `None` when it is nobody's. `jitter` is any random number: it spreads the
    /// gates of one server over time.
    pub fn on_fetched(
        &mut self,
        id: FetchId,
        answer: Result<BundleAnswer, BundleFetchError>,
        now: UnixTime,
        jitter: u64,
    ) -> Option<BundleNews> {
        self.in_flight.take_if(|(flight, _)| *flight == id)?;
        let news = match answer {
            Err(error) => BundleNews::Failed(error),
            Ok(answer) => self.take(answer),
        };
        match news {
            BundleNews::Failed(_) => self.back_off(now, jitter),
            BundleNews::Bytes(_) | BundleNews::Unchanged => {
                self.failures = 0;
                // A server that held its answer back is asked again at once; an answer that came at once would make a loop.
                self.due = match self.holds {
                    true => now.after(HELD_PAUSE),
                    false => now.after(self.regular(jitter)),
                };
            }
        }
        Some(news)
    }

    fn take(&mut self, answer: BundleAnswer) -> BundleNews {
        let holds = answer
            .content_type
            .is_some_and(|value| value.split(';').next().map(str::trim) == Some(LONG_POLLING));
        self.holds = holds && self.settings.long_poll.is_some();
        match answer.status {
            200 => {
                self.offered = answer.etag.filter(|etag| is_etag(etag));
                BundleNews::Bytes(answer.body)
            }
            304 if self.etag.is_some() => BundleNews::Unchanged,
            status => BundleNews::Failed(BundleFetchError::Status(status)),
        }
    }

    /// The bytes of the latest answer are active: a server that still has them need not send them again.
    pub fn on_activated(&mut self) {
        self.etag = self.offered.take();
    }

    /// The bytes of the latest answer were refused: they are asked for again, ever more rarely.
    pub fn on_refused(&mut self, now: UnixTime, jitter: u64) {
        self.offered = None;
        self.back_off(now, jitter);
    }

    /// When [`Self::poll_fetch`] has something to say again.
    pub fn next_wake(&self, now: UnixTime) -> UnixTime {
        match self.in_flight {
            Some((_, lost_at)) => lost_at,
            None => self.due.max(now),
        }
    }

    /// A time between the least and the longest delay.
    fn regular(&self, jitter: u64) -> Duration {
        let FetchSettings {
            delay_min, delay_max, ..
        } = self.settings;
        within(delay_min, delay_max.max(delay_min), jitter)
    }

    /// After failures: half of the doubled time is certain, the other half is chance.
    fn back_off(&mut self, now: UnixTime, jitter: u64) {
        let doubled = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(BACKOFF_DOUBLINGS_MAX));
        let longest = doubled.min(self.settings.delay_max.max(BACKOFF_FIRST));
        self.failures = self.failures.saturating_add(1);
        self.due = now.after(within(longest.checked_div(2).unwrap_or_default(), longest, jitter));
    }
}

/// A time of the span that `jitter` picks.
fn within(least: Duration, longest: Duration, jitter: u64) -> Duration {
    let span = u64::try_from(longest.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
    let picked = jitter.checked_rem(span.saturating_add(1)).unwrap_or_default();
    least.saturating_add(Duration::from_millis(picked))
}

/// Whether a value can go back as `If-None-Match` (RFC 9110 section 8.8.3), within bounds.
fn is_etag(value: &str) -> bool {
    value.len() <= ETAG_BYTES_MAX && value.bytes().all(|byte| (0x21..0x7f).contains(&byte) || byte == b' ')
}

/// What a server that supports long polling calls its answers.
const LONG_POLLING: &str = "application/vnd.openpolicyagent.bundles";
const HELD_PAUSE: Duration = Duration::from_millis(100);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_DOUBLINGS_MAX: u32 = 10;
const ETAG_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests;
