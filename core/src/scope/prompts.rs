//! The scope table of prompts. The default has no row, and refuses every prompt.

use std::collections::BTreeMap;

use super::{NOTHING, Row, ScopeGrant, ScopeRefusal, ScopeRow, ScopeTableError, named_rows, rows_to_json};

/// Prompt -> required scopes for one server, with the scope hierarchy resolved.
#[derive(Debug, Default)]
pub struct PromptTable {
    rows: BTreeMap<Box<str>, Row>,
    danger_unmapped_prompts: bool,
}

impl PromptTable {
    /// A table of `rows`, where a scope of `implies` covers the scopes it maps to, and what those cover.
    ///
    /// `danger_unmapped_prompts` lets prompts without a row through to the policy.
    ///
    /// # Errors
    /// [`ScopeTableError`] for a name that is no prompt's or no scope.
    pub fn new(
        rows: BTreeMap<String, ScopeRow>,
        implies: &BTreeMap<String, Vec<String>>,
        danger_unmapped_prompts: bool,
    ) -> Result<Self, ScopeTableError> {
        Ok(Self {
            rows: named_rows(rows, implies, |prompt| ScopeTableError::Prompt { prompt })?,
            danger_unmapped_prompts,
        })
    }

    /// Whether no prompt has a row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The scopes that `prompt` requires, sorted; `None` for a prompt without a row.
    pub fn required(&self, prompt: &str) -> Option<&[Box<str>]> {
        self.rows.get(prompt).map(|row| &*row.required)
    }

    /// Every prompt with the scopes that it requires, sorted by name.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &[Box<str>])> {
        self.rows.iter().map(|(prompt, row)| (&**prompt, &*row.required))
    }

    /// Checks a call of `prompt` against the scopes that `has` knows. Allocates nothing.
    ///
    /// # Errors
    /// [`ScopeRefusal`], with every scope the prompt requires, so that one challenge can name them all.
    pub(crate) fn grant(&self, prompt: &str, has: impl Fn(&str) -> bool) -> Result<ScopeGrant<'_>, ScopeRefusal<'_>> {
        match self.rows.get(prompt) {
            Some(row) => row.grant(has),
            None if self.danger_unmapped_prompts => Ok(ScopeGrant { row: &NOTHING }),
            None => Err(ScopeRefusal::Unmapped),
        }
    }

    /// The table as the JSON object that policies see as `data.prompts`.
    pub fn to_json(&self) -> String {
        rows_to_json(self.rows.iter().map(|(prompt, row)| (&**prompt, row)))
    }
}
