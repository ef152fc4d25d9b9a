//! What the policy commands read: Rego files, data, folders and bundles.
//!
//! Owns [`source`]. Never follows a link out of a folder, and verifies no signature: `policy verify` does.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::config::Limits;
use portcullis_core::policy::{EvalLimits, Policy, PolicyError, PolicySource, SourceFile};

/// How far a decision may run here: as many instructions as at the gate, and more time, since this machine is not the gate.
pub(super) fn limits() -> EvalLimits {
    EvalLimits {
        deadline: Duration::from_secs(1),
        instructions: Limits::default().policy_instructions_max,
    }
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// What stands in a file cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A file or a folder.
    #[error("`{0}` cannot be read: {1}")]
    Read(String, io::Error),
    /// A file of no known kind.
    #[error("`{0}` is neither a folder nor a `.rego`, `.json` or `.tar.gz` file")]
    Unknown(String),
}

/// Everything that `paths` hold, in their order, without scope tables.
///
/// # Errors
/// [`LoadError`].
pub(super) fn source(paths: &[PathBuf]) -> Result<PolicySource, LoadError> {
    let mut source = PolicySource::default();
    for path in paths {
        add(&mut source, path)?;
    }
    Ok(source)
}

/// The policy that `paths` hold, ready to be asked by one worker.
///
/// # Errors
/// [`LoadError`].
pub(super) fn compiled(paths: &[PathBuf]) -> Result<Policy, LoadError> {
    Ok(Policy::compile(&source(paths)?, 1)?)
}

/// The text of a file; `-` is standard input.
///
/// # Errors
/// [`LoadError::Read`].
pub(super) fn text(path: &Path) -> Result<String, LoadError> {
    let read = match path.as_os_str() == "-" {
        true => io::read_to_string(io::stdin().lock()),
        false => fs::read_to_string(path),
    };
    read.map_err(|error| LoadError::Read(path.display().to_string(), error))
}

fn add(source: &mut PolicySource, path: &Path) -> Result<(), LoadError> {
    let name = path.display().to_string();
    if path.is_dir() {
        for (_, path) in files_below(path)? {
            match extension(&path) {
                Some("rego") => source.modules.push(file(&path)?),
                _ if path.file_name().is_some_and(|name| name == "data.json") => source.data.push(file(&path)?),
                _ => {}
            }
        }
        return Ok(());
    }
    match extension(path) {
        Some("rego") => source.modules.push(file(path)?),
        Some("json") => source.data.push(file(path)?),
        _ => return Err(LoadError::Unknown(name)),
    }
    Ok(())
}

/// The files below `folder` by their path in it, with `/` between its parts; links and special files are left out.
fn files_below(folder: &Path) -> Result<BTreeMap<String, PathBuf>, LoadError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(String::new(), folder.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        let unreadable = |error| LoadError::Read(folder.display().to_string(), error);
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.file_type().map_err(unreadable)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if kind.is_dir() {
                folders.push((format!("{name}/"), entry.path()));
            } else if kind.is_file() {
                files.insert(name, entry.path());
            }
        }
    }
    Ok(files)
}

fn file(path: &Path) -> Result<SourceFile, LoadError> {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => Ok(SourceFile { name, text }),
        Err(error) => Err(LoadError::Read(name, error)),
    }
}

fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|extension| extension.to_str())
}
