//! What came of the cases: the five counts, and what the committed list does not explain.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The cases that come out otherwise, each with its cause: the note, a `|`, the cause.
const EXCEPTIONS: &str = include_str!("exceptions.txt");

/// What came of one case.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Outcome {
    /// OPA has an error, and here nothing is allowed either.
    ErrorWanted,
    /// The policy is refused when it is loaded.
    Refused(String),
    /// No answer where OPA has one: a denial.
    Stricter(String),
    /// OPA's own result.
    Wanted,
    /// Anything else.
    Wrong(String),
}

/// How often each outcome came.
#[derive(Default)]
pub(super) struct Counts {
    errors: usize,
    faults: Vec<String>,
    listed: usize,
    refused: usize,
    stricter: usize,
    wanted: usize,
}

impl Counts {
    pub(super) fn add(&mut self, note: &str, outcome: Outcome) {
        let is_listed = exceptions().contains_key(note);
        match &outcome {
            Outcome::Wrong(_) if is_listed => self.listed += 1,
            Outcome::Wrong(told) => self.faults.push(format!("{note}: {told}")),
            told if is_listed => self.faults.push(format!("{note} is listed, but gives {told:?}")),
            Outcome::ErrorWanted => self.errors += 1,
            Outcome::Refused(_) => self.refused += 1,
            Outcome::Stricter(_) => self.stricter += 1,
            Outcome::Wanted => self.wanted += 1,
        }
    }

    /// Says the five counts.
    pub(super) fn print(&self, path: &Path) {
        let Self {
            errors,
            listed,
            refused,
            stricter,
            wanted,
            ..
        } = self;
        super::say(&format!(
            "OPA compliance ({}): {wanted} wanted results, {refused} refused at load, {errors} errors wanted and \
             nothing allowed, {stricter} denied where OPA answers, {listed} on the list",
            path.file_name().unwrap_or_default().display()
        ));
    }

    /// What the list does not explain.
    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }
}

/// The causes by their notes.
fn exceptions() -> BTreeMap<&'static str, &'static str> {
    EXCEPTIONS.lines().filter_map(|line| line.split_once(" | ")).collect()
}
