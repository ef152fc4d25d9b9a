//! Tells the crate the commit that it is built from, as `PORTCULLIS_COMMIT`.
//!
//! Asks `git` when there is a checkout, and says `unknown` where there is none. It runs again when HEAD has moved or
//! when the sources of this crate change, and not else. `+` marks a tree with changes to files that git knows.

use std::path::Path;
use std::process::Command;

fn main() {
    for path in ["build.rs", "src", "Cargo.toml", "../Cargo.lock"] {
        watch(path);
    }
    // The log of HEAD grows with every commit, checkout and reset. Git says where it lies: in a linked worktree `.git`
    // is a file. HEAD itself tells of other branches where no log is kept.
    for path in ["logs/HEAD", "HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", path]) {
            watch(&path);
        }
    }
    let commit = git(&["rev-parse", "--short", "HEAD"]).filter(|commit| !commit.is_empty());
    // Of another repository that happens to lie above, such as of a vendored copy, nothing is told.
    let own = git(&["ls-files", "--error-unmatch", "Cargo.toml"]).is_some();
    let commit = match commit {
        Some(commit) if own => {
            let changed = git(&["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"]);
            format!(
                "{commit}{}",
                if changed.is_none_or(|changed| changed.is_empty()) {
                    ""
                } else {
                    "+"
                }
            )
        }
        _ => String::from("unknown"),
    };
    println!("cargo::rustc-env=PORTCULLIS_COMMIT={commit}");
}

/// Runs again when this changes. A path that is not there would make it run every time.
fn watch(path: &str) {
    if Path::new(path).exists() {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// What git says, trimmed; none when it fails or is not there.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| String::from(text.trim()))
}
