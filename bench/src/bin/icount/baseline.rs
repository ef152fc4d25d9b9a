//! The committed counts.
//!
//! Owns the file's form: for each scenario a list of steps, the last of which is current, so that the history of every
//! count stands in one place with its reasons. Compares nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    /// Where the current counts were taken.
    pub(crate) host: Host,
    /// By name, the newest step last.
    pub(crate) scenarios: BTreeMap<String, Vec<Step>>,
}

/// What of a machine a count depends on, as a process under valgrind sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Host {
    /// The processor's architecture, as Rust names it.
    pub(crate) arch: String,
    /// The CPU features that valgrind shows and by which libraries choose their code.
    pub(crate) cpu_features: Vec<String>,
    /// Valgrind's version. Told, not compared: what it changes shows in the features.
    pub(crate) valgrind: String,
}

/// One accepted count.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// Instructions an operation.
    pub(crate) instructions: u64,
    /// Why it is not what it was before.
    pub(crate) reason: String,
    /// When it was accepted, in UTC.
    pub(crate) date: String,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BaselineError {
    /// It is not of this form.
    #[error("the baseline `{0}` cannot be read: {1}")]
    Form(PathBuf, serde_json::Error),
    /// The operating system says no.
    #[error("the baseline `{0}` cannot be used: {1}")]
    Io(PathBuf, std::io::Error),
}

impl Baseline {
    /// Reads the file.
    ///
    /// # Errors
    /// [`BaselineError`] when it is not there or of another form.
    pub(crate) fn load(path: &Path) -> Result<Self, BaselineError> {
        let text = std::fs::read(path).map_err(|error| BaselineError::Io(path.to_owned(), error))?;
        serde_json::from_slice(&text).map_err(|error| BaselineError::Form(path.to_owned(), error))
    }

    /// Writes the file, its folder included.
    ///
    /// # Errors
    /// [`BaselineError::Io`].
    pub(crate) fn save(&self, path: &Path) -> Result<(), BaselineError> {
        let failed = |error| BaselineError::Io(path.to_owned(), error);
        let mut text =
            serde_json::to_string_pretty(self).map_err(|error| BaselineError::Form(path.to_owned(), error))?;
        text.push('\n');
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        std::fs::write(path, text).map_err(failed)
    }

    /// The current count of a scenario.
    pub(crate) fn current(&self, name: &str) -> Option<u64> {
        self.scenarios.get(name)?.last().map(|step| step.instructions)
    }
}

impl Host {
    /// Whether counts taken on both may be compared.
    pub(crate) fn is_comparable_to(&self, other: &Self) -> bool {
        self.arch == other.arch && self.cpu_features == other.cpu_features
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} with {}", self.arch, self.cpu_features.join(", "))
    }
}
