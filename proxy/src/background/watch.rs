//! Files that are looked at for changes.
//!
//! Owns [`Watched`]: what the files looked like, and whether they changed and rest. Reads no content and acts on nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Some files and how they looked.
#[derive(Debug)]
pub(super) struct Watched {
    files: Vec<PathBuf>,
    /// How they looked when they were read last.
    known: Looks,
    /// How they looked at the latest look.
    seen: Looks,
}

/// Of each file: its place on the disk, its length and when it changed; `None` for one that is not there.
type Looks = Vec<Option<(u64, u64, i64, i64)>>;

impl Watched {
    /// Files that have just been read.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let known = looks(&files);
        Self {
            seen: known.clone(),
            known,
            files,
        }
    }

    /// Looks at the files; says `true` once after a change, when two looks saw the same: who writes a file in several
    /// steps is not read in the middle.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = looks(&self.files);
        let rests = now == self.seen;
        self.seen = now;
        let changed = rests && self.seen != self.known;
        if changed {
            self.known.clone_from(&self.seen);
        }
        changed
    }
}

fn looks(files: &[PathBuf]) -> Looks {
    let look = |file: &PathBuf| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    };
    files.iter().map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_when_it_rests() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.rego");
        fs::write(&file, "a").unwrap();
        let mut watched = Watched::new(vec![file.clone(), folder.path().join("none")]);
        assert!(!watched.has_changed());
        fs::write(&file, "ab").unwrap();
        assert!(!watched.has_changed(), "it may still be written");
        fs::write(&file, "abc").unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed());
        assert!(!watched.has_changed());
        fs::remove_file(&file).unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed());
    }
}
