//! The watched file of revocations: one JSON object a line, written by whatever an identity provider can start.
//!
//! Owns [`WatchedFile`]. Reads the whole file whenever it has changed and applies what is new; a line that is none is told
//! by its number and passed over, so that one fault never keeps the rest out. A line that goes away takes nothing back: a
//! revocation ends by its own time.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_core::audit::{ActOutcome, Position};
use portcullis_core::gate::AdminAct;
use portcullis_core::revocation::{RevocationError, RevocationRequest, RevocationSource, Revoked};
use portcullis_core::sha256;
use tokio::time::MissedTickBehavior;

use super::{Applied, RevocationStore};
use crate::clock;

/// A file that is looked at four times a second.
pub(crate) struct WatchedFile {
    path: PathBuf,
    store: Arc<RevocationStore>,
    /// What the file looked like when it was read last, once it had settled.
    stamp: Option<(SystemTime, u64, u64)>,
    content: Option<[u8; 32]>,
    /// Lines that were told already, each with its digest.
    told: BTreeSet<(usize, [u8; 32])>,
    /// Whether it was told that the file cannot be read.
    missing: bool,
    /// Looks until lines that were refused for now are tried again.
    again_in: Option<u8>,
}

impl WatchedFile {
    /// A file that was not read yet.
    pub(crate) const fn new(path: PathBuf, store: Arc<RevocationStore>) -> Self {
        Self {
            path,
            store,
            stamp: None,
            content: None,
            told: BTreeSet::new(),
            missing: false,
            again_in: None,
        }
    }

    /// Looks at the file as long as the runtime lives.
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(watched) => self = watched,
                Err(_) => return tracing::error!("the file of revocations is not watched any more"),
            }
        }
    }

    /// Applies what is new in the file. Blocks on the disk.
    pub(crate) fn look(&mut self) {
        self.again_in = match self.again_in {
            Some(0) => {
                (self.content, self.stamp) = (None, None);
                None
            }
            looks => looks.map(|looks| looks.saturating_sub(1)),
        };
        match self.read_changed() {
            Ok(None) => self.missing = false,
            Ok(Some(text)) => {
                self.missing = false;
                self.apply(&text);
            }
            Err(error) if !self.missing => {
                self.missing = true;
                tracing::warn!(path = %self.path.display(), %error, "the file of revocations cannot be read");
            }
            Err(_) => {}
        }
    }

    /// The file, when it is another one than was read last.
    fn read_changed(&mut self) -> io::Result<Option<Vec<u8>>> {
        let metadata = fs::metadata(&self.path)?;
        let modified = metadata.modified()?;
        let stamp = (modified, metadata.len(), metadata.ino());
        if self.stamp == Some(stamp) {
            return Ok(None);
        }
        let mut text = Vec::new();
        let file = File::open(&self.path)?;
        file.take(FILE_BYTES_MAX.saturating_add(1)).read_to_end(&mut text)?;
        if FILE_BYTES_MAX < text.len() as u64 {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        // Two changes within one tick of the file system's clock look the same: a young file is read again.
        let settled = SystemTime::now()
            .duration_since(modified)
            .is_ok_and(|age| SETTLED < age);
        self.stamp = settled.then_some(stamp);
        let content = sha256(&text);
        let changed = self.content != Some(content);
        self.content = Some(content);
        Ok(changed.then_some(text))
    }

    fn apply(&mut self, text: &[u8]) {
        let mut lines = Vec::new();
        let mut requests = Vec::new();
        let mut told = BTreeSet::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let number = index.saturating_add(1);
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mark = (number, sha256(line));
            match RevocationRequest::parse(line) {
                Ok(request) => {
                    lines.push(mark);
                    requests.push(request);
                }
                Err(error) => self.refuse(mark, &error.to_string(), &mut told),
            }
        }
        let results = self.store.revoke_all(&requests, RevocationSource::List);
        let mut last = None;
        for ((mark, request), result) in lines.into_iter().zip(&requests).zip(results) {
            match result {
                Ok(Applied { revoked, durable }) => last = self.record(request, &revoked, durable).or(last),
                // What has expired was in force for as long as it was meant to be.
                Err(RevocationError::Expired) => {}
                // Time, room or a reload may cure these, while the file stays as it is.
                Err(error @ (RevocationError::Future | RevocationError::Full(_) | RevocationError::Issuer(_))) => {
                    self.again_in = Some(AGAIN_LOOKS);
                    self.refuse(mark, &error.to_string(), &mut told);
                }
                Err(error) => self.refuse(mark, &error.to_string(), &mut told),
            }
        }
        if let Some(position) = last {
            // The file is looked at again once its acts are on record, all of them at once.
            self.store.gate().durable().wait(position, RECORD_PATIENCE);
        }
        self.told = told;
    }

    /// Tells a line that is no revocation, once.
    fn refuse(&self, mark: (usize, [u8; 32]), error: &str, told: &mut BTreeSet<(usize, [u8; 32])>) {
        if !self.told.contains(&mark) {
            self.store.count(ActOutcome::Refused);
            tracing::warn!(path = %self.path.display(), line = mark.0, error, "a line of the file of revocations is passed over");
        }
        told.insert(mark);
    }

    /// Hands the record of an act over, and says where it will stand.
    fn record(&self, request: &RevocationRequest, revoked: &Revoked, durable: bool) -> Option<Position> {
        let Revoked::Changed(entry) = revoked else {
            return None;
        };
        let outcome = if durable {
            ActOutcome::Applied
        } else {
            ActOutcome::NotDurable
        };
        let act = AdminAct {
            act: "revoke",
            author: "file",
            request: Some(request),
            entry: Some(entry),
            outcome,
            detail: None,
        };
        for _ in 0..RECORD_TRIES {
            if let Ok((_, position)) = self.store.gate().record_act(&act, clock::now()) {
                self.store.count(outcome);
                return Some(position);
            }
            // The queue is full of our own lines: this thread may wait, unlike requests.
            std::thread::sleep(RECORD_PAUSE);
        }
        tracing::error!(id = %entry.id, "a revocation from the file is in force and not on record");
        None
    }
}

/// A second of looks.
const AGAIN_LOOKS: u8 = 4;
const INTERVAL: Duration = Duration::from_millis(250);
/// Age at which a change would show in the time of the last one.
const SETTLED: Duration = Duration::from_secs(2);
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const RECORD_TRIES: usize = 100;
const RECORD_PATIENCE: Duration = Duration::from_secs(1);
const RECORD_PAUSE: Duration = Duration::from_millis(10);
