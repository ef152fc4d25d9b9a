//! SKELETON of the gate: the signatures are the contract for the proxy; the bodies follow.
#![allow(clippy::todo, dead_code, missing_docs)]
use crate::audit::{AuditLog, Durable, Position};
use crate::config::{Limits, Server, Upstream};
use crate::denial::Denial;
use crate::head::RequestHead;
use crate::identity::Principal;
use crate::record_id::RecordId;
use crate::time::{Ticks, UnixTime};
use bytes::Bytes;
use std::sync::Arc;

/// All that must agree, in one value behind one ArcSwap.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) limits: Limits,
    pub(crate) servers: Vec<Arc<Server>>,
}
impl Snapshot {
    /// `keys` of issuers live in the snapshot too, carried over by `Gate::publish` for issuers that stay.
    pub fn new(_servers: Vec<Arc<Server>>, _limits: Limits, _config_digest: [u8; 32]) -> Self {
        todo!()
    }
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }
    pub fn server_at(&self, _path: &str) -> Option<&Arc<Server>> {
        todo!()
    }
}

/// Working memory of one thread: `thread_local`, never held across an await. `worker` says which policy replica it uses.
#[derive(Debug)]
pub struct Scratch {}
impl Scratch {
    pub fn new(_worker: usize) -> Self {
        todo!()
    }
}

#[derive(Debug)]
pub struct Gate {}
/// What a visit needs from outside before it can go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fetch {
    /// The key set of this issuer (URL), because of an unknown kid.
    Jwks(Arc<str>),
}
#[derive(Debug)]
pub enum Step<T> {
    Done(T),
    Needs(Fetch),
}

impl Gate {
    /// `seed`: 48 bytes from the system's randomness; `digest_key`: the HMAC key of argument digests and principal ids.
    pub fn new(
        _snapshot: Snapshot,
        _audit: AuditLog,
        _ticks: Box<dyn Ticks>,
        _node: Arc<str>,
        _digest_key: [u8; 32],
        _seed: [u8; 48],
    ) -> Self {
        todo!()
    }
    pub fn begin(&self, _now: UnixTime) -> Visit<'_> {
        todo!()
    }
    /// Whole-or-nothing exchange (reload). Keys of issuers that stay are carried over.
    pub fn publish(&self, _snapshot: Snapshot) {
        todo!()
    }
    /// New keys for an issuer, from the refresher.
    pub fn publish_keys(&self, _issuer: &str, _keys: Arc<crate::jwks::KeySet>) {
        todo!()
    }
    pub fn snapshot(&self) -> Arc<Snapshot> {
        todo!()
    }
    pub fn durable(&self) -> &Durable {
        todo!()
    }
    /// Whether every server has usable keys and the audit log takes records: for /readyz. `Err` says what is missing.
    pub fn ready(&self, _now: UnixTime) -> Result<(), &'static str> {
        todo!()
    }
    /// Writes the aggregate records of refusals before identity; call every 10 s and before shutdown.
    pub fn flush_refusals(&self, _now: UnixTime) {
        todo!()
    }
}

/// One request on its way; owns its snapshot. `Send`, may be held across awaits.
#[derive(Debug)]
pub struct Visit<'g> {
    gate: &'g Gate,
}
impl Visit<'_> {
    /// Routes by path; checks Host, Origin, method, query, credential, token, identity, rate: stages 2-4.
    pub fn authenticate(&mut self, _head: &RequestHead<'_>) -> Result<Step<Principal>, Denial> {
        todo!()
    }
    /// After the fetch was made (or failed, or timed out): verifies once more with the newest keys.
    pub fn resume(&mut self, _fetch: Fetch, _head: &RequestHead<'_>, _now: UnixTime) -> Result<Principal, Denial> {
        todo!()
    }
    /// A refusal that the proxy found itself (body too large, timeout, draining): counted and recorded like ours.
    pub fn refuse(&mut self, _head: &RequestHead<'_>, denial: Denial) -> Denial {
        denial
    }
    pub fn limits(&self) -> &Limits {
        todo!()
    }
    pub fn authorize(
        self,
        _principal: Principal,
        _head: &RequestHead<'_>,
        _body: Bytes,
        _now: UnixTime,
        _scratch: &mut Scratch,
    ) -> Result<Recorded, Denial> {
        todo!()
    }
}
#[derive(Debug)]
pub struct Recorded {}
impl Recorded {
    pub fn position(&self) -> Position {
        todo!()
    }
    pub fn record_id(&self) -> RecordId {
        todo!()
    }
    pub fn permit(self, _durable: &Durable) -> Result<Permit, Self> {
        todo!()
    }
    /// The log did not take the record in time: the denial for the client (503); closes the pair in the log.
    pub fn give_up(self, _now: UnixTime) -> Denial {
        todo!()
    }
}
#[derive(Debug)]
pub struct Permit {}
impl Permit {
    pub fn spend(self) -> (Forward, Ticket) {
        todo!()
    }
}
/// What goes upstream. The proxy sends POST to `upstream`, exactly `body`, and exactly `headers` beside
/// host, content-length and the upstream credential. Nothing of the client's head goes along but these.
#[derive(Debug)]
pub struct Forward {
    pub body: Bytes,
    pub server: Arc<Server>,
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    pub record_id: RecordId,
}
impl Forward {
    pub fn upstream(&self) -> &Upstream {
        self.server.upstream()
    }
}

/// What came back, whole.
#[derive(Debug)]
pub enum Answer {
    /// A status without a body that matters: 202 for notifications, 404 for a session that is gone, and so on.
    Empty { status: u16 },
    /// A JSON body, whole.
    Json { status: u16, body: Bytes },
    /// One event's data of an event stream: one JSON-RPC message.
    Message { data: Bytes },
}
/// How an exchange ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The client has gone.
    ClientGone,
    /// The stream came to its end.
    Ended,
    /// The stream outlived its token or its idle limit.
    Expired,
    /// Nobody knows.
    Unknown,
    /// The upstream failed.
    UpstreamFailed,
}
#[derive(Debug)]
pub struct Ticket {}
impl Ticket {
    pub fn record_id(&self) -> RecordId {
        todo!()
    }
    /// The upstream answered with an event stream: the `open` record; durable before the head leaves.
    pub fn open(&mut self, _status: u16, _now: UnixTime) -> Reviewed {
        todo!()
    }
    pub fn review(&mut self, _answer: Answer, _now: UnixTime, _scratch: &mut Scratch) -> Reviewed {
        todo!()
    }
    /// Whether the final response to the request has been reviewed (a stream may end now).
    pub fn answered(&self) -> bool {
        todo!()
    }
    /// When the token that permitted this expires (streams end then).
    pub fn expires(&self) -> UnixTime {
        todo!()
    }
    /// Closes what is still open: upstream failed, client gone, stream end. Hands the record over, does not wait.
    pub fn close(self, _outcome: Outcome, _now: UnixTime) {
        todo!()
    }
    /// The refusal for the client when the upstream failed before an answer: 502 or 504, with id and record id.
    pub fn failed(&self, _reason: crate::denial::DenyReason, _operator: &'static str) -> Denial {
        todo!()
    }
}
#[derive(Debug)]
pub struct Reviewed {}
impl Reviewed {
    pub fn position(&self) -> Position {
        todo!()
    }
    pub fn release(self, _durable: &Durable) -> Result<Release, Self> {
        todo!()
    }
    /// The log did not take the record in time: what the client gets instead.
    pub fn give_up(self) -> Denial {
        todo!()
    }
}
/// What leaves towards the client.
#[derive(Debug)]
pub enum Release {
    /// Not for the client (a server message that cannot be judged): send nothing, go on.
    Dropped,
    /// A status without a body.
    Empty { status: u16 },
    /// The upstream's very bytes.
    Pass { status: u16, body: Bytes },
    /// Rewritten bytes.
    Redacted { status: u16, body: Bytes },
    /// Nothing of the answer; the denial instead (in a stream: as a JSON-RPC error message).
    Withheld(Denial),
}
