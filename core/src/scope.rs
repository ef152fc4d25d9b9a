//! The scope table: which scopes a tool needs, and whether a token's scopes cover them (RFC 6749 section 3.3).
//!
//! Owns [`ToolTable`] and the proof [`ScopeGrant`]. It is the only source of `data.tools` in policies, so that the
//! scope check and the policy read the same rows. Never decides by anything but the tool's name and the scopes.

use std::collections::{BTreeMap, BTreeSet};

/// One row of the table, as configured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ToolRow {
    /// Scopes a call needs, all of them; an empty list leaves the decision to the policy alone.
    pub scopes: Vec<String>,
    /// The class of the tool for policies, such as `read` or `write`.
    pub class: Option<String>,
}

/// What makes a table unusable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ToolTableError {
    /// A scope holds other characters than RFC 6749 section 3.3 allows.
    #[error("`{scope}` is no scope: a scope is printable ASCII without spaces, quotes and backslashes")]
    Scope {
        /// The word that is no scope.
        scope: String,
    },
    /// A tool's name is empty, over-long or holds control characters.
    #[error("`{tool}` is no tool name: a name has 1 to 128 bytes and no control characters")]
    Tool {
        /// The word that is no name.
        tool: String,
    },
}

/// Tool -> required scopes for one server, with the scope hierarchy resolved.
#[derive(Debug)]
pub struct ToolTable {
    rows: BTreeMap<Box<str>, Row>,
    empty: Row,
    danger_unmapped_tools: bool,
}

#[derive(Debug, Default)]
struct Row {
    class: Option<Box<str>>,
    /// The required scopes, sorted, each once.
    required: Vec<Box<str>>,
    /// For each required scope every scope that covers it, itself first.
    covered_by: Vec<Vec<Box<str>>>,
}

/// Proof that the scopes of a principal cover a call; made by `ToolTable::grant` and
/// `ToolTable::grant_without_tool` alone.
#[derive(Debug)]
pub struct ScopeGrant<'t> {
    row: &'t Row,
}

/// What the table says of a tool, whether or not anybody's scopes cover it: proves nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToolNeeds<'t> {
    row: &'t Row,
}

/// Why a table grants nothing.
#[derive(Debug)]
pub(crate) enum ScopeRefusal<'t> {
    /// At least one required scope is not covered; here is all that the tool requires.
    Insufficient(ToolNeeds<'t>),
    /// The tool has no row.
    Unmapped,
}

impl ToolTable {
    /// A table of `rows`, where a scope of `implies` covers the scopes it maps to, and what those cover.
    ///
    /// `danger_unmapped_tools` lets tools without a row through to the policy.
    ///
    /// # Errors
    /// [`ToolTableError`] for a name that is no tool's or no scope.
    pub fn new(
        rows: BTreeMap<String, ToolRow>,
        implies: &BTreeMap<String, Vec<String>>,
        danger_unmapped_tools: bool,
    ) -> Result<Self, ToolTableError> {
        for scope in implies.keys().chain(implies.values().flatten()) {
            check_scope(scope)?;
        }
        let mut table = BTreeMap::new();
        for (tool, row) in rows {
            if tool.is_empty() || tool.len() > 128 || tool.chars().any(char::is_control) {
                return Err(ToolTableError::Tool { tool });
            }
            table.insert(tool.into_boxed_str(), Row::new(row, implies)?);
        }
        Ok(Self {
            rows: table,
            empty: Row::default(),
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

    /// Checks a call of `tool` against the scopes that `has` knows. Allocates nothing.
    ///
    /// # Errors
    /// [`ScopeRefusal`], with every scope the tool requires, so that one challenge can name them all.
    pub(crate) fn grant(&self, tool: &str, has: impl Fn(&str) -> bool) -> Result<ScopeGrant<'_>, ScopeRefusal<'_>> {
        let row = match self.rows.get(tool) {
            Some(row) => row,
            None if self.danger_unmapped_tools => &self.empty,
            None => return Err(ScopeRefusal::Unmapped),
        };
        let covered = row
            .covered_by
            .iter()
            .all(|scopes| scopes.iter().any(|scope| has(scope)));
        if covered {
            Ok(ScopeGrant { row })
        } else {
            Err(ScopeRefusal::Insufficient(ToolNeeds { row }))
        }
    }

    /// The grant of a call that names no tool: nothing is required, the policy decides.
    pub(crate) fn grant_without_tool(&self) -> ScopeGrant<'_> {
        ScopeGrant { row: &self.empty }
    }

    /// Every scope that any tool requires, sorted: what a client may ask for (RFC 9728 `scopes_supported`).
    pub fn scopes(&self) -> BTreeSet<&str> {
        self.rows
            .values()
            .flat_map(|row| row.required.iter().map(|scope| &**scope))
            .collect()
    }

    /// The table as the JSON object that policies see as `data.tools`.
    pub fn to_json(&self) -> String {
        let rows: serde_json::Map<String, serde_json::Value> = self
            .rows
            .iter()
            .map(|(tool, row)| {
                let value = serde_json::json!({ "class": row.class, "required_scopes": row.required });
                (tool.to_string(), value)
            })
            .collect();
        serde_json::Value::Object(rows).to_string()
    }
}

impl<'t> ScopeGrant<'t> {
    /// What the call needed.
    pub(crate) const fn needs(&self) -> ToolNeeds<'t> {
        ToolNeeds { row: self.row }
    }

    /// The scopes the call required, sorted.
    pub fn required(&self) -> &'t [Box<str>] {
        &self.row.required
    }

    /// The class of the tool, when its row has one.
    pub fn class(&self) -> Option<&'t str> {
        self.row.class.as_deref()
    }
}

impl<'t> ToolNeeds<'t> {
    /// The scopes a call requires, sorted, each once.
    pub(crate) fn required(self) -> &'t [Box<str>] {
        &self.row.required
    }

    /// The class of the tool, when its row has one.
    pub(crate) fn class(self) -> Option<&'t str> {
        self.row.class.as_deref()
    }
}

impl Row {
    fn new(row: ToolRow, implies: &BTreeMap<String, Vec<String>>) -> Result<Self, ToolTableError> {
        let required: BTreeSet<String> = row.scopes.into_iter().collect();
        let mut covered_by = Vec::with_capacity(required.len());
        for scope in &required {
            check_scope(scope)?;
            covered_by.push(covering(scope, implies));
        }
        Ok(Self {
            class: row.class.map(String::into_boxed_str),
            required: required.into_iter().map(String::into_boxed_str).collect(),
            covered_by,
        })
    }
}

/// What a scope is about: its part before the first `:`, `.` or `/`, and for one that is a URI its scheme and authority.
pub(crate) fn scope_family(scope: &str) -> &str {
    let authority = scope
        .split_once("://")
        .map_or(0, |(scheme, _)| scheme.len().saturating_add(3));
    let rest = scope.get(authority..).unwrap_or_default();
    let ends: &[char] = if authority == 0 { &[':', '.', '/'] } else { &['/'] };
    let length = rest.find(ends).unwrap_or(rest.len());
    scope.get(..authority.saturating_add(length)).unwrap_or(scope)
}

/// Every scope that covers `wanted`: itself first, then whatever implies it, over any number of steps.
fn covering(wanted: &str, implies: &BTreeMap<String, Vec<String>>) -> Vec<Box<str>> {
    let mut found: Vec<Box<str>> = vec![wanted.into()];
    loop {
        let next = implies
            .iter()
            .filter(|(_, narrow)| narrow.iter().any(|scope| found.iter().any(|known| **known == **scope)))
            .map(|(broad, _)| broad.as_str())
            .find(|broad| found.iter().all(|known| **known != **broad));
        match next {
            Some(broad) => found.push(broad.into()),
            None => return found,
        }
    }
}

/// RFC 6749 section 3.3: `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`.
fn check_scope(scope: &str) -> Result<(), ToolTableError> {
    let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if scope.is_empty() || !scope.bytes().all(allowed) {
        return Err(ToolTableError::Scope {
            scope: scope.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
