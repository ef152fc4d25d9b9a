//! A log in memory for tests, which tears writes: it takes so many bytes and then nothing more, as a crash or a full
//! disk would.
//!
//! Owns [`MemoryStorage`]. Never compiled into a product.

#![expect(
    clippy::disallowed_types,
    reason = "tests look at the bytes while the writer has them"
)]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Segments, Storage};

/// Segments in memory; clones share them, as processes share a folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
    open: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) segments: BTreeMap<u64, Vec<u8>>,
    /// Bytes that are still taken.
    pub(crate) room: usize,
    /// Calls of `append`.
    pub(crate) writes: usize,
    pub(crate) closed: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            segments: BTreeMap::new(),
            room: usize::MAX,
            writes: 0,
            closed: false,
        }
    }
}

impl MemoryStorage {
    /// A log of these segments, for damage.
    pub(crate) fn of(segments: BTreeMap<u64, Vec<u8>>) -> Self {
        let storage = Self::default();
        storage.disk().segments = segments;
        storage
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    pub(crate) fn segments(&self) -> BTreeMap<u64, Vec<u8>> {
        self.disk().segments.clone()
    }
}

impl Segments for MemoryStorage {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.disk().segments.keys().copied().collect())
    }

    fn read_at(&mut self, segment: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let disk = self.disk();
        let bytes = &disk.segments[&segment];
        let rest = &bytes[bytes.len().min(usize::try_from(offset).unwrap())..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn length(&mut self, segment: u64) -> io::Result<u64> {
        Ok(self.disk().segments[&segment].len() as u64)
    }
}

impl Storage for MemoryStorage {
    fn create(&mut self, segment: u64) -> io::Result<()> {
        if self.disk().segments.contains_key(&segment) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.disk().segments.insert(segment, Vec::new());
        self.open = Some(segment);
        Ok(())
    }

    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let bytes = disk.segments.get_mut(&segment).unwrap();
        bytes.truncate(usize::try_from(length).unwrap());
        drop(disk);
        self.open = Some(segment);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let open = self.open.expect("a segment is open");
        let mut disk = self.disk();
        disk.writes += 1;
        let taken = bytes.len().min(disk.room);
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.room -= taken;
        disk.segments.get_mut(&open).unwrap().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn close(&mut self) -> io::Result<()> {
        self.open = None;
        self.disk().closed = true;
        Ok(())
    }
}
