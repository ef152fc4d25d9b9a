//! Which definitions of tools were accepted, on the disk: one file a server in the folder of the gate's state.
//!
//! Owns the files' names and that each is whole or absent; their form is the core's. Never decides what is accepted.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_core::catalog::{Pins, PinsError};

/// Why the pins of a server cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinFileError {
    /// The file cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is none of pins.
    #[error("`{path}`: {source}")]
    Pins {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PinsError,
    },
}

/// The file of a server's pins in `folder`. A server's name may hold what a file's may not.
pub(crate) fn path_of(folder: &Path, server: &str) -> PathBuf {
    let mut name = String::from("tools-");
    for byte in server.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name.push_str(".json");
    folder.join(name)
}

/// What was accepted of a server's tools; `None` when nobody ever looked at them.
///
/// # Errors
/// [`PinFileError`] for a file that is there and cannot be used.
pub(crate) fn read(folder: &Path, server: &str) -> Result<Option<Pins>, PinFileError> {
    let path = path_of(folder, server);
    let mut text = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text));
    match read {
        Ok(_) => match Pins::read(&text, server) {
            Ok(pins) => Ok(Some(pins)),
            Err(source) => Err(PinFileError::Pins { path, source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PinFileError::File { path, source }),
    }
}

/// Puts the pins of a server in their file, whole or not at all, and makes them durable.
///
/// # Errors
/// As the system gives them.
pub(crate) fn write(folder: &Path, server: &str, pins: &Pins) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = path_of(folder, server);
    // A gate and a command may write at once: each writes a file of its own, and the last to rename it wins.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    let written = file
        .write_all(pins.to_json(server).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, &path));
    if let Err(error) = written {
        // The error that matters is the first one.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// More than the pins of as many tools as a gate lists.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use portcullis_core::catalog::Pins;

    use super::{PinFileError, path_of, read, write};

    #[test]
    fn pins_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/state");
        assert!(read(&state, "crm").unwrap().is_none());
        let pins = Pins::default();
        write(&state, "crm", &pins).unwrap();
        write(&state, "crm", &pins).unwrap();
        assert_eq!(read(&state, "crm").unwrap(), Some(pins));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_is_there_and_cannot_be_used_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_of(folder.path(), "crm");
        for text in [
            "",
            "{",
            r#"{"version":2,"server":"crm","tools":{}}"#,
            r#"{"version":1,"server":"crm"}"#,
        ] {
            fs::write(&path, text).unwrap();
            assert!(
                matches!(read(folder.path(), "crm"), Err(PinFileError::Pins { .. })),
                "{text}"
            );
        }
        write(folder.path(), "code", &Pins::default()).unwrap();
        fs::rename(path_of(folder.path(), "code"), &path).unwrap();
        assert!(
            matches!(read(folder.path(), "crm"), Err(PinFileError::Pins { .. })),
            "another server's"
        );
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(read(folder.path(), "crm"), Err(PinFileError::File { .. })));
    }

    #[test]
    fn each_name_has_one_file_within_the_folder() {
        let check = |server: &str, file: &str| assert_eq!(path_of(Path::new("s"), server), Path::new("s").join(file));
        check("crm", "tools-crm.json");
        check("../x", "tools-%2E%2E%2Fx.json");
        check("a%2Fb", "tools-a%252Fb.json");
        check("a b", "tools-a%20b.json");
    }
}
