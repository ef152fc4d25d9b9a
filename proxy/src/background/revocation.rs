//! Revocations on the disk: what was revoked is in force at once, durable before anybody is told, and back after a restart.
//!
//! Owns [`RevocationStore`]: the folder `state_dir` with its lock and journal (the format is the core's), the one way in
//! for acts and lists, and the word to open streams. A write or sync that fails leaves the revocation in force and says
//! that it is not durable; the journal is not written again before a restart, which reads what is there.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::audit::ActOutcome;
use portcullis_core::gate::Gate;
use portcullis_core::revocation::{
    self, JournalError, RevocationEntry, RevocationError, RevocationRequest, RevocationSource, Revoked,
};
use tokio::sync::watch;

use crate::clock;

pub(crate) mod watched;

/// Why the revocations of earlier cannot be taken up: a gate does not start then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The journal is damaged.
    #[error("`{path}`: {source}")]
    Journal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: JournalError,
    },
    /// The folder or a file in it cannot be used.
    #[error("`{path}` cannot be used: {source}")]
    File {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the state folder `{0}` is in use by another process")]
    Locked(PathBuf),
}

/// What came of one revocation.
#[derive(Debug)]
pub(crate) struct Applied {
    /// What is in force.
    pub(crate) revoked: Revoked,
    /// Whether it survives a restart.
    pub(crate) durable: bool,
}

/// The revocations of a gate and where they are kept.
#[derive(Debug)]
pub(crate) struct RevocationStore {
    gate: Arc<Gate>,
    /// One act at a time; nobody on the road waits here.
    journal: Mutex<Option<Journal>>,
    changes: watch::Sender<u64>,
    acts: [AtomicU64; 4],
}

/// The open journal.
#[derive(Debug)]
struct Journal {
    folder: PathBuf,
    file: File,
    lines: usize,
    /// Whether a write or sync has failed: what follows it in the file could not be trusted.
    failed: bool,
    /// Held, never read.
    _lock: File,
}

impl RevocationStore {
    /// Takes up what is kept in `folder`, and puts it in force. Without a folder nothing is kept, and nothing should be
    /// revoked.
    ///
    /// # Errors
    /// [`StoreError`]; a torn last line, which nobody was told of, is cut and is no error.
    pub(crate) fn open(gate: Arc<Gate>, folder: Option<&Path>) -> Result<Self, StoreError> {
        let journal = match folder {
            Some(folder) => Some(Journal::open(folder, &gate)?),
            None => None,
        };
        Ok(Self {
            gate,
            journal: Mutex::new(journal),
            changes: watch::Sender::new(0),
            acts: Default::default(),
        })
    }

    /// Revokes what was asked for, and makes it durable together. Blocks on the disk.
    pub(crate) fn revoke_all(
        &self,
        requests: &[RevocationRequest],
        source: RevocationSource,
    ) -> Vec<Result<Applied, RevocationError>> {
        let mut journal = self.journal();
        let now = clock::now();
        let results: Vec<_> = requests
            .iter()
            .map(|request| self.gate.revoke(request, source, now))
            .collect();
        let changed: Vec<&RevocationEntry> = results
            .iter()
            .filter_map(|result| match result {
                Ok(Revoked::Changed(entry)) => Some(&**entry),
                Ok(Revoked::Unchanged(_)) | Err(_) => None,
            })
            .collect();
        if !changed.is_empty() {
            self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
        let durable = journal
            .as_mut()
            .is_some_and(|journal| journal.append(&changed, &self.gate));
        results
            .into_iter()
            .map(|result| result.map(|revoked| Applied { revoked, durable }))
            .collect()
    }

    /// Forgets what has expired.
    pub(crate) fn forget_expired(&self) {
        self.gate.forget_expired_revocations(clock::now());
    }

    /// Has every open stream look at its caller again: what certificates are trusted by has changed.
    pub(crate) fn look_again(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Says whenever something was revoked, to whoever holds a stream open.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Counts what came of an act.
    pub(crate) fn count(&self, outcome: ActOutcome) {
        if let Some(count) = self.acts.get(place(outcome)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often an act came to this.
    pub(crate) fn counted(&self, outcome: ActOutcome) -> u64 {
        self.acts
            .get(place(outcome))
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The gate whose revocations these are.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn place(outcome: ActOutcome) -> usize {
    match outcome {
        ActOutcome::Applied => 0,
        ActOutcome::NotDurable => 1,
        ActOutcome::Refused => 2,
        ActOutcome::Unchanged => 3,
    }
}

impl Journal {
    fn open(folder: &Path, gate: &Gate) -> Result<Self, StoreError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(failed(folder))?;
        let lock_path = folder.join(LOCK_NAME);
        let lock = options().create(true).open(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&lock_path)(error)),
        }
        let path = folder.join(JOURNAL_NAME);
        let bytes = read(&path).map_err(failed(&path))?;
        let found = revocation::read_journal(&bytes).map_err(|source| StoreError::Journal {
            path: path.clone(),
            source,
        })?;
        if found.whole_bytes < bytes.len() {
            tracing::warn!(path = %path.display(), "the journal of revocations ended in a torn line, which is cut");
        }
        for entry in found.entries {
            gate.restore_revocation(entry);
        }
        gate.forget_expired_revocations(clock::now());
        // Written anew at each start: without what has expired, what was renewed and what is torn.
        let (file, lines) = rewrite(folder, gate).map_err(failed(&path))?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            lines,
            failed: false,
            _lock: lock,
        })
    }

    /// Writes and syncs the lines of these entries; whether that, and everything before, has arrived.
    fn append(&mut self, entries: &[&RevocationEntry], gate: &Gate) -> bool {
        if self.failed || entries.is_empty() {
            return !self.failed;
        }
        let mut bytes = Vec::new();
        for entry in entries {
            revocation::encode(entry, &mut bytes);
        }
        self.lines = self.lines.saturating_add(entries.len());
        let written = match self.lines > gate.revocations().len().saturating_mul(2).saturating_add(SLACK_LINES) {
            // The entries are in the list already, so they stand in what is written anew.
            true => rewrite(&self.folder, gate).map(|(file, lines)| (self.file, self.lines) = (file, lines)),
            false => self.file.write_all(&bytes).and_then(|()| self.file.sync_data()),
        };
        if let Err(error) = written {
            self.failed = true;
            tracing::error!(
                folder = %self.folder.display(),
                %error,
                "the journal of revocations cannot be written: what is revoked from now on is lost at a restart"
            );
        }
        !self.failed
    }
}

/// Writes a new journal of what is in force, syncs it and puts it in the place of the old one.
fn rewrite(folder: &Path, gate: &Gate) -> io::Result<(File, usize)> {
    let path = folder.join(NEW_NAME);
    let mut bytes = revocation::journal_header().to_vec();
    let entries = gate.revocations().entries();
    for entry in &entries {
        revocation::encode(entry, &mut bytes);
    }
    let mut file = options().create(true).open(&path)?;
    file.set_len(0)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&path, folder.join(JOURNAL_NAME))?;
    File::open(folder)?.sync_all()?;
    Ok((file, entries.len()))
}

/// The whole journal; nothing when it is not there.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(JOURNAL_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(bytes),
        Err(error) => return Err(error),
    };
    if JOURNAL_BYTES_MAX < bytes.len() as u64 {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(bytes)
}

/// How files are opened: at their end, and made for their owner alone.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    options
}

const LOCK_NAME: &str = "lock";
const JOURNAL_NAME: &str = "revocations.journal";
const NEW_NAME: &str = "revocations.journal.new";
/// A million revocations of the longest names fit.
const JOURNAL_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Lines beside those of the list that a journal may have before it is written anew.
const SLACK_LINES: usize = 10_000;
