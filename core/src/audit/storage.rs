//! Where the log lives: the seam between the writer and the files, and the only `std::fs` of the core.
//!
//! Owns [`Segments`] (reading), [`Storage`] (reading and appending) and their one implementation on a folder. Never
//! interprets a byte, never deletes a segment, never writes to one that is not the newest. The writer's thread and
//! readers use it; no request ever waits in here.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The reading side of a log: segments by number.
pub trait Segments: Send {
    /// The numbers of all segments, ascending.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn list(&mut self) -> io::Result<Vec<u64>>;

    /// Fills `buffer` from `offset` of a segment and says how much there was.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn read_at(&mut self, segment: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The length of a segment.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn length(&mut self, segment: u64) -> io::Result<u64>;
}

/// The writing side of a log. One segment is open at a time.
pub trait Storage: Segments {
    /// Makes a segment that did not exist, and opens it.
    ///
    /// # Errors
    /// Whatever the operating system says, and when the segment exists.
    fn create(&mut self, segment: u64) -> io::Result<()>;

    /// Cuts a segment down to `length` bytes and opens it.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()>;

    /// Appends to the open segment by one `write(2)` and says how much of it was taken.
    ///
    /// # Errors
    /// Whatever the operating system says. After an error, or when not all was taken, the caller writes no more.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Brings the open segment to the disk and closes it.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn close(&mut self) -> io::Result<()>;
}

/// A folder of segments, for reading: also while a gate writes into it.
#[derive(Debug)]
pub struct FileSegments {
    folder: PathBuf,
    /// The segment that was read last.
    open: Option<(u64, File)>,
}

/// A folder of segments that one process writes. Others are kept out by a lock on a file in it, which ends with us.
#[derive(Debug)]
pub struct FileStorage {
    segments: FileSegments,
    current: Option<File>,
    /// Held, never read.
    _lock: File,
}

/// Why a folder cannot hold the log.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The folder cannot be made, read or locked.
    #[error("the audit folder `{folder}` cannot be used: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Another process writes there.
    #[error("the audit folder `{folder}` is in use by another process")]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
}

impl FileSegments {
    /// The segments in `folder`. Touches nothing yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            open: None,
        }
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("{segment:020}{SUFFIX}"))
    }

    fn file(&mut self, segment: u64) -> io::Result<&mut File> {
        let file = match self.open.take() {
            Some((open, file)) if open == segment => file,
            _ => File::open(self.path(segment))?,
        };
        Ok(&mut self.open.insert((segment, file)).1)
    }
}

impl Segments for FileSegments {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in self.folder.read_dir()? {
            let name = entry?.file_name();
            // Twenty digits, so that names sort as numbers do; other files are not ours.
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            if let Some(number) = number.filter(|number| number.len() == 20)
                && let Ok(number) = number.parse()
            {
                found.push(number);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn read_at(&mut self, segment: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.file(segment)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut filled = 0_usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read(rest) {
                Ok(0) => break,
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn length(&mut self, segment: u64) -> io::Result<u64> {
        Ok(self.file(segment)?.metadata()?.len())
    }
}

impl FileStorage {
    /// Takes a folder for the log; makes it, readable by its owner alone, when it is not there.
    ///
    /// # Errors
    /// [`StorageError`] when the folder cannot be used or another process uses it.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        let failed = |source| StorageError::Folder {
            folder: folder.to_owned(),
            source,
        };
        folder_builder().create(folder).map_err(failed)?;
        let lock = append_options()
            .create(true)
            .open(folder.join(LOCK_NAME))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                segments: FileSegments::new(folder),
                current: None,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StorageError::Locked {
                folder: folder.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

impl Segments for FileStorage {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        self.segments.list()
    }

    fn read_at(&mut self, segment: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.segments.read_at(segment, offset, buffer)
    }

    fn length(&mut self, segment: u64) -> io::Result<u64> {
        self.segments.length(segment)
    }
}

impl Storage for FileStorage {
    fn create(&mut self, segment: u64) -> io::Result<()> {
        let file = append_options().create_new(true).open(self.segments.path(segment))?;
        self.current = Some(file);
        Ok(())
    }

    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()> {
        // The file's mode is append, which truncation does not mind and which makes every later write go to the end.
        let file = append_options().open(self.segments.path(segment))?;
        file.set_len(length)?;
        file.sync_all()?;
        self.current = Some(file);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.current else {
            return Err(io::Error::other("no segment is open"));
        };
        loop {
            match file.write(bytes) {
                // Interrupted means that nothing was taken yet, so it is still one write.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    fn close(&mut self) -> io::Result<()> {
        match self.current.take() {
            Some(file) => file.sync_all(),
            None => Ok(()),
        }
    }
}

/// How folders are made: for their owner alone.
fn folder_builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// How files are opened: at their end, and made for their owner alone.
fn append_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

const SUFFIX: &str = ".segment";

const LOCK_NAME: &str = "lock";

#[cfg(test)]
mod tests;
