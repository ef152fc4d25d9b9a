//! Sessions of the legacy era as clients see them: sealed, so that only their principal can use them, at any replica.
//!
//! Owns [`SessionKeys`] and the form of a sealed session: `base64url(key id (4) || nonce (12) || AES-256-GCM of the
//! endpoint (8), its address (16), its port (2) and the upstream's own id || tag (16))`. Server, tenant, subject, actor and client are authenticated with it: whatever was
//! sealed for others does not open, and nobody can tell from it what the upstream calls the session. Holds no table of
//! sessions, reads no clock and makes no randomness: who keeps a session stands in it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::crypto::{SealKey, Sha256, decode_base64url_into, encode_base64url};
use crate::identity::Principal;
use crate::time::UnixTime;

/// Bytes of an upstream's own session id.
pub(crate) const UPSTREAM_ID_BYTES_MAX: usize = 512;

/// What names an endpoint of an upstream in sealed sessions, the same in every replica and over restarts. A session leads
/// back to the endpoint that opened it for as long as one of this id is configured.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EndpointId(pub [u8; 8]);

impl EndpointId {
    /// The only endpoint of an upstream, wherever it is: it may move, and its sessions with it.
    pub const ONLY: Self = Self([0; 8]);
}

/// Who keeps a session: the endpoint that opened it, at this address of its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keeper {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The address.
    pub address: SocketAddr,
}

impl Keeper {
    /// As it stands in sealed sessions: an IPv4 address in its mapped form, the port in network order.
    fn to_bytes(self) -> [u8; KEEPER_BYTES] {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut bytes = [0; KEEPER_BYTES];
        let parts = self.endpoint.0.into_iter().chain(ip.octets());
        for (to, from) in bytes.iter_mut().zip(parts.chain(self.address.port().to_be_bytes())) {
            *to = from;
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; KEEPER_BYTES]) -> Option<Self> {
        let (endpoint, rest) = bytes.split_first_chunk::<ENDPOINT_BYTES>()?;
        let (ip, port) = rest.split_first_chunk::<16>()?;
        let port = u16::from_be_bytes(*port.first_chunk()?);
        Some(Self {
            endpoint: EndpointId(*endpoint),
            address: SocketAddr::new(Ipv6Addr::from(*ip).to_canonical(), port),
        })
    }
}

/// One key that seals sessions.
#[derive(Clone)]
pub struct SessionKey {
    /// Its name in sealed sessions.
    pub id: [u8; 4],
    /// The key.
    pub secret: Zeroizing<[u8; 32]>,
    /// From when on it seals; it opens from the start, so that replicas may learn it before the first of them uses it.
    pub seals_from: UnixTime,
    /// Until when it opens; `None` for as long as it is configured.
    pub opens_until: Option<UnixTime>,
}

/// Without the key.
impl std::fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SessionKey")
            .field("id", &self.id)
            .field("seals_from", &self.seals_from)
            .field("opens_until", &self.opens_until)
            .finish_non_exhaustive()
    }
}

/// The keys that seal sessions, at least one.
#[derive(Clone, Debug)]
pub struct SessionKeys(Arc<[Prepared]>);

/// A key with what is derived from it.
#[derive(Debug)]
struct Prepared {
    id: [u8; 4],
    key: SealKey,
    seals_from: UnixTime,
    opens_until: Option<UnixTime>,
}

/// What makes keys unusable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SessionKeysError {
    /// There is none.
    #[error("there is no key that seals sessions")]
    Empty,
    /// Two have one id.
    #[error("two keys that seal sessions have one id")]
    IdRepeated,
}

/// The text is no session of this principal: forged, foreign, of a key that is gone, or none at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the session is none of this principal's")]
pub(crate) struct SessionForeign;

/// The upstream's id is empty, too long, or holds other bytes than visible ASCII.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the upstream's session id is empty, too long or not visible ascii")]
pub(crate) struct SessionIdInvalid;

impl SessionKeys {
    /// These keys, in any order.
    ///
    /// # Errors
    /// [`SessionKeysError`].
    pub fn new(keys: Vec<SessionKey>) -> Result<Self, SessionKeysError> {
        if keys.is_empty() {
            return Err(SessionKeysError::Empty);
        }
        let ids: BTreeSet<[u8; 4]> = keys.iter().map(|key| key.id).collect();
        if ids.len() < keys.len() {
            return Err(SessionKeysError::IdRepeated);
        }
        Ok(Self(keys.iter().map(Prepared::of).collect()))
    }

    /// One key that seals and opens at any time: for tests, benches and gates whose sessions need not outlive them.
    pub fn single(secret: [u8; 32]) -> Self {
        let key = SessionKey {
            id: [0; 4],
            secret: Zeroizing::new(secret),
            seals_from: UnixTime::from_secs(0),
            opens_until: None,
        };
        Self(Arc::new([Prepared::of(&key)]))
    }

    /// The upstream's `id`, of a session that `keeper` keeps, as `principal` may know it. The same each time, until
    /// another key seals.
    ///
    /// # Errors
    /// [`SessionIdInvalid`].
    pub(crate) fn seal(
        &self,
        server: &str,
        principal: &Principal,
        (keeper, id): (Keeper, &[u8]),
        now: UnixTime,
    ) -> Result<HeaderValue, SessionIdInvalid> {
        if !is_session_id(id) || UPSTREAM_ID_BYTES_MAX < id.len() {
            return Err(SessionIdInvalid);
        }
        let sealing = self.sealing(now).ok_or(SessionIdInvalid)?;
        let mut plain = [0; PLAIN_BYTES_MAX];
        let (to_keeper, rest) = plain.split_at_mut(KEEPER_BYTES);
        to_keeper.copy_from_slice(&keeper.to_bytes());
        for (to, from) in rest.iter_mut().zip(id) {
            *to = *from;
        }
        let length = KEEPER_BYTES.saturating_add(id.len());
        let plain = plain.get(..length).ok_or(SessionIdInvalid)?;
        let mut sealed = Vec::with_capacity(SEALED_BYTES_MAX);
        sealed.extend(sealing.id);
        sealing
            .key
            .seal(&context(server, principal), plain, &mut sealed)
            .map_err(|_| SessionIdInvalid)?;
        let mut sealed = HeaderValue::try_from(encode_base64url(&sealed)).map_err(|_| SessionIdInvalid)?;
        sealed.set_sensitive(true);
        Ok(sealed)
    }

    /// Who keeps a session which was sealed for `principal`, and the upstream's own id of it.
    ///
    /// Costs some 1 us and one allocation, the value itself.
    ///
    /// # Errors
    /// [`SessionForeign`], whatever the cause.
    pub(crate) fn open(
        &self,
        server: &str,
        principal: &Principal,
        text: &str,
        now: UnixTime,
    ) -> Result<(Keeper, HeaderValue), SessionForeign> {
        let mut buffer = [0; SEALED_BYTES_MAX.saturating_add(4)];
        let sealed = decode_base64url_into(text.as_bytes(), &mut buffer).map_err(|_| SessionForeign)?;
        let (id, sealed) = sealed.split_first_chunk_mut::<4>().ok_or(SessionForeign)?;
        let named = self.0.iter().find(|key| key.id == *id && key.opens(now));
        let opened = named
            .ok_or(SessionForeign)?
            .key
            .open(&context(server, principal), sealed)
            .map_err(|_| SessionForeign)?;
        let (keeper, id) = opened.split_first_chunk::<KEEPER_BYTES>().ok_or(SessionForeign)?;
        let keeper = Keeper::from_bytes(keeper).ok_or(SessionForeign)?;
        let mut id = HeaderValue::from_bytes(id).map_err(|_| SessionForeign)?;
        id.set_sensitive(true);
        Ok((keeper, id))
    }

    /// The key that seals: the newest whose time has come, else the oldest.
    fn sealing(&self, now: UnixTime) -> Option<&Prepared> {
        let opening = || self.0.iter().filter(|key| key.opens(now));
        let due = opening().filter(|key| key.seals_from <= now);
        // Of two that began together the one that was told later, as the key store has it.
        due.max_by_key(|key| key.seals_from)
            .or_else(|| opening().min_by_key(|key| key.seals_from))
    }
}

impl Prepared {
    fn of(key: &SessionKey) -> Self {
        Self {
            id: key.id,
            key: SealKey::derive(*key.secret, b"portcullis session v1"),
            seals_from: key.seals_from,
            opens_until: key.opens_until,
        }
    }

    fn opens(&self, now: UnixTime) -> bool {
        self.opens_until.is_none_or(|until| now < until)
    }
}

/// Whether these bytes may name a session: visible ASCII (MCP streamable HTTP, session management).
pub(crate) fn is_session_id(id: &[u8]) -> bool {
    !id.is_empty() && id.iter().all(u8::is_ascii_graphic)
}

/// For whom a session is sealed, and where.
fn context(server: &str, principal: &Principal) -> [u8; 32] {
    let mut context = Sha256::default();
    let (subject, actor) = (principal.subject(), principal.actor());
    for part in [
        FORMAT,
        server,
        principal.tenant(),
        subject.issuer(),
        subject.id(),
        actor.issuer(),
        actor.id(),
        principal.client_id(),
    ] {
        context.update_framed(part.as_bytes());
    }
    context.finish()
}

/// The version of the form: sealed texts of another one do not open.
const FORMAT: &str = "portcullis session v3";
/// Bytes of an endpoint's name.
const ENDPOINT_BYTES: usize = 8;
/// Bytes of a keeper: the endpoint's name, an IPv6 address and a port.
const KEEPER_BYTES: usize = ENDPOINT_BYTES.saturating_add(18);
/// Bytes of what is sealed.
const PLAIN_BYTES_MAX: usize = UPSTREAM_ID_BYTES_MAX.saturating_add(KEEPER_BYTES);
/// Bytes of a sealed session, before base64url: 760 characters with it.
const SEALED_BYTES_MAX: usize = PLAIN_BYTES_MAX.saturating_add(SealKey::OVERHEAD).saturating_add(4);
