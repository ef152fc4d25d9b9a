//! When an issuer's metadata and key set are fetched, from where, and which answers are taken.
//!
//! Owns [`Refresher`], a state machine without I/O: [`Refresher::poll_fetch`] says what to fetch, the embedder fetches it
//! (without following redirects, within the bounds given), [`Refresher::on_fetched`] takes the answer, and
//! [`Refresher::next_wake`] says when to ask again. Follows RFC 8414 and OpenID Connect Discovery. A failure never takes
//! keys away: the old set serves until it is too old. Never takes a URL from a token.

use std::sync::Arc;
use std::time::Duration;

use crate::json::{self, Kind};
use crate::jwks::url::{Transport, issuer_transport, metadata_places, transport};
use crate::jwks::{JwksLimits, KeySet, KeySetError};
use crate::time::UnixTime;

/// Where the key set of an issuer stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// Where the issuer's metadata says.
    Discover,
    /// At this URL; the issuer publishes no metadata that is asked for.
    Uri(Arc<str>),
}

/// Times and bounds of the fetches of one issuer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RefreshSettings {
    /// Bounds of a key set; its bytes bound the metadata as well.
    pub limits: JwksLimits,
    /// Time of one fetch.
    pub fetch_deadline: Duration,
    /// Time between two regular fetches, when the issuer names none.
    pub refresh: Duration,
    /// Age at which a key set serves no longer: the issuer cannot name a longer time than half of it.
    pub age_max: Duration,
    /// Least time between two fetches that unknown `kid`s ask for, and between two regular ones.
    pub unknown_kid_interval: Duration,
}

/// Why an issuer cannot be refreshed at all.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SourceError {
    /// The issuer's identifier is no URL that evidence may come from.
    #[error("the issuer `{0}` is not an https URL (http on loopback) without query and fragment")]
    Issuer(Arc<str>),
    /// The key set's URL is no URL that evidence may come from.
    #[error("the key set URL `{0}` is not an https URL (http on loopback, for an issuer on loopback)")]
    Uri(Arc<str>),
}

/// What is fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FetchKind {
    /// The key set.
    KeySet,
    /// The metadata of the authorization server.
    Metadata,
}

/// The name of one fetch; the answer to another one is not taken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FetchId(u64);

/// One fetch for the embedder: a GET without credentials that follows no redirect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchRequest {
    /// To be given back with the answer.
    pub id: FetchId,
    /// What to get.
    pub url: Arc<str>,
    /// Bytes of the decoded body after which the fetch is given up.
    pub bytes_max: usize,
    /// Time after which the fetch is given up, whole body included.
    pub deadline: Duration,
    /// What it is for.
    pub kind: FetchKind,
}

/// An HTTP answer, whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// The decoded body.
    pub body: Vec<u8>,
    /// `max-age` of `Cache-Control`, when there is one.
    pub cache_max_age_s: Option<u64>,
}

/// Why a fetch gave no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// No connection, or it broke.
    #[error("the connection failed")]
    Connection,
    /// The body went over its bound.
    #[error("the answer is too large")]
    TooLarge,
    /// The deadline passed.
    #[error("the deadline passed")]
    TimedOut,
}

/// Why the latest attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RefreshError {
    /// No answer.
    #[error("the fetch failed: {0}")]
    Fetch(FetchError),
    /// The metadata names another issuer: it may be an attacker's (RFC 8414 section 3.3).
    #[error("the metadata is another issuer's")]
    IssuerMismatch,
    /// The key set's URL in the metadata is missing or one that evidence may not come from.
    #[error("the metadata has no acceptable `jwks_uri`")]
    JwksUri,
    /// The key set was not taken.
    #[error("{0}")]
    KeySet(KeySetError),
    /// The metadata is not a JSON object in strict form.
    #[error("the metadata is not a strict JSON object")]
    Metadata,
    /// The status is not 200.
    #[error("the status is {0}, not 200")]
    Status(u16),
}

/// What an answer brought.
#[derive(Clone, Debug)]
pub struct Published {
    /// A new key set.
    pub keys: Option<Arc<KeySet>>,
    /// New metadata, as the issuer wrote it.
    pub metadata: Option<Arc<str>>,
}

/// The refresh of one issuer's keys. One owner drives it; it holds no keys itself.
#[derive(Debug)]
pub struct Refresher {
    issuer: Arc<str>,
    transport: Transport,
    settings: RefreshSettings,
    /// The places of the metadata, empty for a fixed key set URL; the first one is asked first.
    places: Vec<Arc<str>>,
    key_set_url: Option<Arc<str>>,
    next: Next,
    in_flight: Option<InFlight>,
    fetches: u64,
    due: UnixTime,
    wanted_at: Option<UnixTime>,
    failures: u32,
    last_error: Option<RefreshError>,
}

/// What the next fetch is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    KeySet,
    /// The metadata at this place.
    Metadata(usize),
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    id: FetchId,
    what: Next,
    lost_at: UnixTime,
}

impl Refresher {
    /// A refresher that wants its first fetch at once.
    ///
    /// # Errors
    /// [`SourceError`] for URLs that evidence may not come from.
    pub fn new(issuer: Arc<str>, source: KeySource, settings: RefreshSettings) -> Result<Self, SourceError> {
        let Some(transport) = issuer_transport(&issuer) else {
            return Err(SourceError::Issuer(issuer));
        };
        let (places, key_set_url) = match source {
            KeySource::Discover => (metadata_places(&issuer).into_iter().map(Arc::from).collect(), None),
            KeySource::Uri(url) if accepts(transport, &url) => (Vec::new(), Some(url)),
            KeySource::Uri(url) => return Err(SourceError::Uri(url)),
        };
        let mut refresher = Self {
            issuer,
            transport,
            settings,
            places,
            key_set_url,
            next: Next::KeySet,
            in_flight: None,
            fetches: 0,
            due: UnixTime::default(),
            wanted_at: None,
            failures: 0,
            last_error: None,
        };
        refresher.next = refresher.first();
        Ok(refresher)
    }

    /// The issuer.
    pub fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// Failed attempts since the last key set.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Why the latest attempt failed; `None` after a key set.
    pub const fn last_error(&self) -> Option<RefreshError> {
        self.last_error
    }

    /// What to fetch now, if anything. At most one fetch is out at a time.
    pub fn poll_fetch(&mut self, now: UnixTime) -> Option<FetchRequest> {
        if let Some(lost) = self.in_flight.filter(|flight| flight.lost_at <= now) {
            self.in_flight = None;
            self.fail(lost.what, RefreshError::Fetch(FetchError::TimedOut), now);
        }
        if self.in_flight.is_some() || now < self.due {
            return None;
        }
        let (url, kind) = match self.next {
            Next::KeySet => (self.key_set_url.as_ref()?, FetchKind::KeySet),
            Next::Metadata(place) => (self.places.get(place)?, FetchKind::Metadata),
        };
        self.fetches = self.fetches.wrapping_add(1);
        let id = FetchId(self.fetches);
        let request = FetchRequest {
            id,
            url: Arc::clone(url),
            bytes_max: self.settings.limits.bytes_max,
            deadline: self.settings.fetch_deadline,
            kind,
        };
        self.in_flight = Some(InFlight {
            id,
            what: self.next,
            lost_at: now.after(self.settings.fetch_deadline.saturating_mul(2)),
        });
        Some(request)
    }

    /// Takes the answer to the fetch `id`; `None` when it brought nothing new, or when it is nobody's.
    pub fn on_fetched(&mut self, id: FetchId, result: Result<Fetched, FetchError>, now: UnixTime) -> Option<Published> {
        let what = self.in_flight.take_if(|flight| flight.id == id)?.what;
        let taken = match result {
            Err(error) => Err(RefreshError::Fetch(error)),
            Ok(fetched) if fetched.status != 200 => Err(RefreshError::Status(fetched.status)),
            Ok(fetched) => match what {
                Next::KeySet => self.take_key_set(&fetched, now),
                Next::Metadata(place) => self.take_metadata(place, &fetched, now),
            },
        };
        match taken {
            Ok(published) => Some(published),
            Err(error) => {
                self.fail(what, error, now);
                None
            }
        }
    }

    /// A token names a key that the set lacks. Says whether a fetch is out or due now, so that waiting makes sense;
    /// unknown `kid`s start no more than one per interval.
    pub fn want(&mut self, now: UnixTime) -> bool {
        if self.in_flight.is_some() || self.due <= now {
            return true;
        }
        let again = self
            .wanted_at
            .is_none_or(|at| at.after(self.settings.unknown_kid_interval) <= now);
        if again {
            self.wanted_at = Some(now);
            self.due = now;
            if self.key_set_url.is_some() {
                self.next = Next::KeySet;
            }
        }
        again
    }

    /// When [`Self::poll_fetch`] has something to say again.
    pub fn next_wake(&self, now: UnixTime) -> UnixTime {
        match self.in_flight {
            Some(flight) => flight.lost_at,
            None => self.due.max(now),
        }
    }

    fn take_key_set(&mut self, fetched: &Fetched, now: UnixTime) -> Result<Published, RefreshError> {
        let keys = KeySet::parse(&fetched.body, &self.settings.limits, now).map_err(RefreshError::KeySet)?;
        let half = self.settings.age_max.checked_div(2).unwrap_or_default();
        let longest = half.max(self.settings.unknown_kid_interval);
        let named = fetched.cache_max_age_s.map(Duration::from_secs);
        let wait = named
            .unwrap_or(self.settings.refresh)
            .clamp(self.settings.unknown_kid_interval, longest);
        self.due = now.after(wait);
        self.next = self.first();
        self.failures = 0;
        self.last_error = None;
        Ok(Published {
            keys: Some(Arc::new(keys)),
            metadata: None,
        })
    }

    fn take_metadata(&mut self, place: usize, fetched: &Fetched, now: UnixTime) -> Result<Published, RefreshError> {
        let (url, text) = self.read_metadata(&fetched.body)?;
        self.key_set_url = Some(url);
        // The place that answered is asked first from now on.
        if place < self.places.len() {
            self.places.swap(0, place);
        }
        self.next = Next::KeySet;
        self.due = now;
        Ok(Published {
            keys: None,
            metadata: Some(text),
        })
    }

    /// The key set's URL and the text of metadata that is this issuer's.
    fn read_metadata(&self, body: &[u8]) -> Result<(Arc<str>, Arc<str>), RefreshError> {
        if body.len() > self.settings.limits.bytes_max {
            return Err(RefreshError::Fetch(FetchError::TooLarge));
        }
        let mut scratch = json::Scratch::default();
        let document = json::parse(body, &mut scratch, JSON_LIMITS).map_err(|_| RefreshError::Metadata)?;
        let root = document.root();
        if root.kind() != Kind::Object {
            return Err(RefreshError::Metadata);
        }
        let member = |name| root.member(name).and_then(|value| value.as_str());
        if member("issuer") != Some(&*self.issuer) {
            return Err(RefreshError::IssuerMismatch);
        }
        let url = member("jwks_uri").filter(|url| accepts(self.transport, url));
        let url = url.ok_or(RefreshError::JwksUri)?;
        Ok((Arc::from(url), Arc::from(document.text())))
    }

    /// After a failure: the next place at once, else the known key set URL at once, else a pause.
    fn fail(&mut self, what: Next, error: RefreshError, now: UnixTime) {
        self.last_error = Some(error);
        if let Next::Metadata(place) = what {
            let following = place.saturating_add(1);
            if following < self.places.len() {
                self.next = Next::Metadata(following);
                self.due = now;
                return;
            }
            if self.key_set_url.is_some() {
                self.next = Next::KeySet;
                self.due = now;
                return;
            }
        }
        let doubled = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(BACKOFF_DOUBLINGS_MAX));
        self.failures = self.failures.saturating_add(1);
        self.due = now.after(doubled.min(self.settings.refresh.max(BACKOFF_FIRST)));
        self.next = self.first();
    }

    /// Where a round starts.
    fn first(&self) -> Next {
        if self.places.is_empty() {
            Next::KeySet
        } else {
            Next::Metadata(0)
        }
    }
}

/// Where `issuer` is asked about tokens, by its metadata as it was published (RFC 8414 section 2); `None` when the
/// metadata names no place that evidence may come from.
pub fn introspection_endpoint(issuer: &str, metadata: &str) -> Option<Arc<str>> {
    endpoint(issuer, metadata, "introspection_endpoint")
}

/// Where `issuer` gives out tokens, in the same way.
pub fn token_endpoint(issuer: &str, metadata: &str) -> Option<Arc<str>> {
    endpoint(issuer, metadata, "token_endpoint")
}

fn endpoint(issuer: &str, metadata: &str, member: &str) -> Option<Arc<str>> {
    let transport = issuer_transport(issuer)?;
    let mut scratch = json::Scratch::default();
    let document = json::parse(metadata.as_bytes(), &mut scratch, JSON_LIMITS).ok()?;
    let url = document.root().member(member)?.as_str()?;
    accepts(transport, url).then(|| Arc::from(url))
}

/// Whether `url` is one that evidence of `issuer` may come from: https, or http on loopback for an issuer there.
pub fn may_come_from(issuer: &str, url: &str) -> bool {
    issuer_transport(issuer).is_some_and(|transport| accepts(transport, url))
}

/// Whether evidence of an issuer reached by `issuer` may come from `url`: an issuer elsewhere cannot send us to this
/// machine's own services.
fn accepts(issuer: Transport, url: &str) -> bool {
    match transport(url) {
        Some(Transport::Https) => true,
        Some(Transport::Loopback) => issuer == Transport::Loopback,
        None => false,
    }
}

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// 64 s, unless the regular interval is shorter.
const BACKOFF_DOUBLINGS_MAX: u32 = 6;

/// Metadata is shallow; its bytes are bounded before this.
const JSON_LIMITS: json::Limits = json::Limits {
    depth: 16,
    members: 10_000,
};

#[cfg(test)]
mod tests;
