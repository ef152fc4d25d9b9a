use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use portcullis_fixtures::mcp::Answers;

use super::{BUILD, Binaries, Bundle, BundleOptions, Pinning};

/// A program that does what the shell is told.
fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn options(folder: &Path, gate: &str) -> BundleOptions {
    // An upstream and a pass-through that listen as far as anybody looks: whoever connects to port 9 is refused, so the
    // pass-through here is one that ends.
    BundleOptions {
        binaries: Binaries {
            gate: script(folder, "gate", gate),
            passthrough: script(folder, "passthrough", "echo 'no port' >&2; exit 1"),
            upstream: script(folder, "upstream", "echo listening http://127.0.0.1:9/mcp; exec cat"),
        },
        issuer: "http://127.0.0.1:9".to_owned(),
        subjects: 1,
        answers: Answers::Json,
        pinning: Pinning::none(),
    }
}

#[test]
fn missing_programs_are_named_with_the_command_that_builds_them() {
    let folder = tempfile::tempdir().unwrap();
    let there = script(folder.path(), "there", "exit 0");
    let found = Binaries::find(Some(&there), Some(&there)).unwrap();
    assert_eq!((&found.gate, &found.passthrough), (&there, &there));
    let nowhere = folder.path().join("nowhere");
    let error = Binaries::find(Some(&there), Some(&nowhere)).unwrap_err().to_string();
    assert!(error.contains("nowhere") && !error.contains("there`"), "{error}");
    assert!(error.ends_with(BUILD), "{error}");
}

#[test]
fn debug_builds_are_told() {
    let binaries = Binaries {
        gate: PathBuf::from("/target/debug/portcullis"),
        passthrough: PathBuf::from("/target/release/portcullis-passthrough"),
        upstream: PathBuf::from("/bin/debugger"),
    };
    assert_eq!(binaries.debug_builds(), ["`/target/debug/portcullis`"]);
}

#[test]
fn a_part_that_does_not_start_ends_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let error = Bundle::start(&options(folder.path(), "exit 0")).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("`pass-through` has ended before its time") && text.contains("no port"),
        "{text}"
    );
    let left = fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|process| {
        let command = fs::read(process.path().join("environ")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        command.contains(&folder.path().display().to_string())
    });
    assert!(!left);
}
