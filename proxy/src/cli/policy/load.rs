//! What the policy commands read: Rego files, data, folders and bundles.
//!
//! Owns [`source`], [`bundle_files`] and the writing of a bundle. Never follows a link out of a folder, and verifies no
//! signature: `policy verify` does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::bundle::{self, Bundle, BundleError, BundleLimits, Content, Signatures};
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
    /// A bundle or a folder that would be one.
    #[error("`{0}`: {1}")]
    Bundle(String, BundleError),
    /// A delta bundle has no policy.
    #[error("`{0}` is a delta bundle: it changes another one, and has no policy")]
    Delta(String),
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

/// Everything that `paths` hold, in their order, without scope tables: a folder is read as the bundle that it would make.
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
    if path.is_dir() || is_bundle(path) {
        let read = match path.is_dir() {
            true => folder(path)?,
            false => unverified(path)?,
        };
        let PolicySource { modules, data, .. } = read.source();
        let below = |file: SourceFile| SourceFile {
            name: format!("{}/{}", name.trim_end_matches('/'), file.name),
            text: file.text,
        };
        source.modules.extend(modules.into_iter().map(below));
        source.data.extend(data.into_iter().map(below));
        return Ok(());
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("rego") => source.modules.push(file(path)?),
        Some("json") => source.data.push(file(path)?),
        _ => return Err(LoadError::Unknown(name)),
    }
    Ok(())
}

/// The bundle that the files of `path` would make.
pub(super) fn folder(path: &Path) -> Result<Bundle, LoadError> {
    Bundle::from_files(bundle_files(path)?, &BundleLimits::default())
        .map_err(|error| LoadError::Bundle(path.display().to_string(), error))
}

/// The bundle at `path`, whoever signed it.
pub(super) fn unverified(path: &Path) -> Result<Bundle, LoadError> {
    let name = || path.display().to_string();
    match bundle::read(&bytes(path)?, &BundleLimits::default(), Signatures::DangerIgnored) {
        Ok(Content::Snapshot(bundle)) => Ok(bundle),
        Ok(Content::Delta(_)) => Err(LoadError::Delta(name())),
        Err(error) => Err(LoadError::Bundle(name(), error)),
    }
}

/// The bytes of a bundle, one more than is allowed at most, so that what is too large is seen to be.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, LoadError> {
    let bound = u64::try_from(BundleLimits::default().packed_bytes_max).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bound.saturating_add(1)).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(LoadError::Read(path.display().to_string(), error)),
    }
}

/// The files below `folder` that count in a bundle, by their path in it; links, special files and everything else are
/// left out, so that nothing leaves the machine that is no policy.
pub(super) fn bundle_files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, LoadError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(String::new(), folder.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        let unreadable = |error| LoadError::Read(folder.display().to_string(), error);
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.file_type().map_err(unreadable)?;
            let last = entry.file_name().to_string_lossy().into_owned();
            let name = format!("{prefix}{last}");
            if kind.is_dir() {
                folders.push((format!("{name}/"), entry.path()));
            } else if kind.is_file() && counts(&name, &last) {
                files.insert(name, entry.path());
            }
        }
    }
    let read = |(name, path): (String, PathBuf)| match fs::read(&path) {
        Ok(content) => Ok((name, content)),
        Err(error) => Err(LoadError::Read(path.display().to_string(), error)),
    };
    files.into_iter().map(read).collect()
}

/// Puts `bytes` at `path`, whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn counts(path: &str, last: &str) -> bool {
    path == ".manifest" || last.ends_with(".rego") || matches!(last, "data.json" | "data.yaml" | "data.yml")
}

fn is_bundle(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with(".tar.gz") || name.ends_with(".tgz")
}

fn file(path: &Path) -> Result<SourceFile, LoadError> {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => Ok(SourceFile { name, text }),
        Err(error) => Err(LoadError::Read(name, error)),
    }
}
