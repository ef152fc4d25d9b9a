//! The scope table of tools.

use std::collections::BTreeMap;

use super::{NOTHING, Row, ScopeGrant, ScopeRefusal, ScopeRow, ScopeTableError, named_rows, rows_to_json};

/// Tool -> required scopes for one server, with the scope hierarchy resolved.
#[derive(Debug)]
pub struct ToolTable {
    rows: BTreeMap<Box<str>, Row>,
    danger_unmapped_tools: bool,
}

impl ToolTable {
    /// A table of `rows`, where a scope of `implies` covers the scopes it maps to, and what those cover.
    ///
    /// `danger_unmapped_tools` lets tools without a row through to the policy.
    ///
    /// # Errors
    /// [`ScopeTableError`] for a name that is no tool's or no scope.
    pub fn new(
        rows: BTreeMap<String, ScopeRow>,
        implies: &BTreeMap<String, Vec<String>>,
        danger_unmapped_tools: bool,
    ) -> Result<Self, ScopeTableError> {
        Ok(Self {
            rows: named_rows(rows, implies, |tool| ScopeTableError::Tool { tool })?,
            danger_unmapped_tools,
        })
    }

    /// Whether no tool has a row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The scopes that `tool` requires, sorted; `None` for a tool without a row.
    pub fn required(&self, tool: &str) -> Option<&[Box<str>]> {
        self.rows.get(tool).map(|row| &*row.required)
    }

    /// Every tool with the scopes that it requires, sorted by name.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &[Box<str>])> {
        self.rows.iter().map(|(tool, row)| (&**tool, &*row.required))
    }

    /// Each scope that `tool` requires with all that cover it, itself first; nothing for a tool without a row.
    pub fn covering(&self, tool: &str) -> impl Iterator<Item = (&str, &[Box<str>])> {
        let rows = self.rows.get(tool).into_iter();
        rows.flat_map(|row| row.required.iter().zip(&row.covered_by))
            .map(|(scope, covering)| (&**scope, &**covering))
    }

    /// Checks a call of `tool` against the scopes that `has` knows. Allocates nothing.
    ///
    /// # Errors
    /// [`ScopeRefusal`], with every scope the tool requires, so that one challenge can name them all.
    pub(crate) fn grant(&self, tool: &str, has: impl Fn(&str) -> bool) -> Result<ScopeGrant<'_>, ScopeRefusal<'_>> {
        match self.rows.get(tool) {
            Some(row) => row.grant(has),
            None if self.danger_unmapped_tools => Ok(ScopeGrant { row: &NOTHING }),
            None => Err(ScopeRefusal::Unmapped),
        }
    }

    /// The table as the JSON object that policies see as `data.tools`.
    pub fn to_json(&self) -> String {
        rows_to_json(self.rows.iter().map(|(tool, row)| (&**tool, row)))
    }
}
