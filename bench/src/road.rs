//! The whole decision, through the gate's one way in: `begin` to `release`.
//!
//! Owns [`Road`]: a real gate and a real audit log, whose writer runs between the calls on the same thread, so that its
//! work is part of what is measured and no thread is woken. The log's storage counts the bytes it is given and keeps
//! none: the disk is not ours.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::audit::{AuditLog, AuditSettings, Segments, Storage, Writer};
use portcullis_core::denial::DenyReason;
use portcullis_core::gate::{Answer, Gate, GateKeys, GateParts, Release, Scratch, Snapshot, Step};
use portcullis_core::policy::MEMO_ENTRIES;
use portcullis_core::session::SessionKeys;
use portcullis_core::time::UnixTime;

use crate::material::Material;
use crate::world::{self, Account, CALL_BYTES, NOW, Request, Steps};

/// How far a request came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Its answer was redacted and released.
    Released,
    /// It was refused.
    Refused(DenyReason),
    /// Anything else: what a bench must not have measured.
    Astray,
}

/// A gate with requests that it judges in turn.
#[derive(Debug)]
pub struct Road {
    gate: Gate,
    writer: Writer,
    scratch: Scratch,
    requests: Vec<Request>,
    next: usize,
    now: UnixTime,
}

/// A gate over `subjects` rows that knows the material's keys, its log and its writer; its policy remembers
/// `memo_entries` answers.
///
/// # Errors
/// When the parts do not fit together.
pub fn gate(
    material: &Material,
    subjects: usize,
    tokens_cached_max: usize,
    memo_entries: usize,
) -> Result<(Gate, Writer), Box<dyn Error>> {
    let issuer = world::issuer()?;
    let server = world::server(&issuer, subjects, memo_entries)?;
    let (audit, writer) = AuditLog::open(Box::new(Counting::default()), AuditSettings::default(), NOW)?;
    let parts = GateParts {
        snapshot: Snapshot::new(vec![server], world::limits(tokens_cached_max), [7; 32])?,
        audit,
        node: Arc::from("bench"),
        keys: GateKeys {
            digests: [1; 32].into(),
            digests_id: Arc::from("bench"),
            nonces: [9; 32].into(),
            sessions: SessionKeys::single([7; 32]),
        },
        seed: [2; 16],
        now: NOW,
    };
    let gate = Gate::new(parts, Box::new(Steps::default()));
    gate.publish_keys(&issuer, &world::key_set(material)?);
    for server in gate.snapshot().servers() {
        gate.publish_catalog(server, &Arc::default());
    }
    Ok((gate, writer))
}

impl Road {
    /// A road on which every token of `material` is shown in turn.
    ///
    /// # Errors
    /// When the parts do not fit together.
    pub fn new(
        material: &Material,
        subjects: usize,
        tokens_cached_max: usize,
        account: Account,
    ) -> Result<Self, Box<dyn Error>> {
        let (gate, writer) = gate(material, subjects, tokens_cached_max, MEMO_ENTRIES)?;
        let requests: Result<Vec<Request>, _> = material
            .tokens
            .iter()
            .enumerate()
            .map(|(number, token)| Request::new(number, subjects, token, account, CALL_BYTES))
            .collect();
        Ok(Self {
            gate,
            writer,
            scratch: Scratch::new(0),
            requests: requests?,
            next: 0,
            now: NOW,
        })
    }

    /// How many requests come in turn.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is no request.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Takes the next request all the way, a microsecond after the one before it.
    pub fn judge_next(&mut self) -> Outcome {
        let Self {
            gate,
            writer,
            scratch,
            requests,
            next,
            now,
        } = self;
        *now = now.after(Duration::from_micros(1));
        let Some(request) = requests.get(*next) else {
            return Outcome::Astray;
        };
        *next = if *next + 1 < requests.len() { *next + 1 } else { 0 };
        match judge(gate, writer, scratch, request, *now) {
            Ok(outcome) => outcome,
            Err(reason) => {
                // The record of the refusal.
                writer.step();
                Outcome::Refused(reason)
            }
        }
    }
}

fn judge(
    gate: &Gate,
    writer: &mut Writer,
    scratch: &mut Scratch,
    request: &Request,
    now: UnixTime,
) -> Result<Outcome, DenyReason> {
    let head = request.head();
    let mut visit = gate.begin(now);
    let Step::Done(principal) = visit.authenticate(&head).map_err(|denial| denial.reason)? else {
        return Ok(Outcome::Astray);
    };
    let recorded = visit
        .authorize(principal, &head, request.body.clone(), now, scratch)
        .map_err(|denial| denial.reason)?;
    writer.step();
    let Ok(permit) = recorded.permit(gate.durable()) else {
        return Ok(Outcome::Astray);
    };
    let (forward, mut ticket) = permit.spend();
    drop(forward);
    let answer = Answer::Json {
        status: 200,
        body: request.answer.clone(),
    };
    let reviewed = ticket.review(answer, now, scratch).map_err(|denial| denial.reason)?;
    writer.step();
    match reviewed.release(gate.durable()) {
        Ok(Release::Redacted { .. }) => Ok(Outcome::Released),
        Ok(_) | Err(_) => Ok(Outcome::Astray),
    }
}

/// A storage that counts what it is given and keeps nothing.
#[derive(Debug, Default)]
pub struct Counting {
    /// The length of each segment, by number.
    segments: Vec<(u64, u64)>,
}

impl Counting {
    fn open(&mut self) -> io::Result<&mut u64> {
        match self.segments.last_mut() {
            Some((_, length)) => Ok(length),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Segments for Counting {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.segments.iter().map(|(number, _)| *number).collect())
    }

    fn read_at(&mut self, _segment: u64, _offset: u64, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn length(&mut self, segment: u64) -> io::Result<u64> {
        let found = self.segments.iter().find(|(number, _)| *number == segment);
        found
            .map(|(_, length)| *length)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for Counting {
    fn create(&mut self, segment: u64) -> io::Result<()> {
        self.segments.push((segment, 0));
        Ok(())
    }

    fn truncate(&mut self, _segment: u64, length: u64) -> io::Result<()> {
        *self.open()? = length;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.open()? += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(bytes.len())
    }

    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}
