//! The scope tables: which scopes a tool, a prompt or a resource needs, and whether a token's scopes cover them
//! (RFC 6749 section 3.3).
//!
//! Owns [`ToolTable`], [`PromptTable`], [`ResourceTable`] and the proof [`ScopeGrant`]. They are the only source of
//! `data.tools`, `data.prompts` and `data.resources` in policies, so that the scope check and the policy read the same
//! rows. Never decides by anything but what a call names and the scopes.

use std::collections::{BTreeMap, BTreeSet};

use crate::credential::is_nqchar;

mod prompts;
mod resources;
mod tools;

pub use prompts::PromptTable;
pub use resources::ResourceTable;
pub use tools::ToolTable;

/// One row of a table, as configured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ScopeRow {
    /// Scopes a call needs, all of them; an empty list leaves the decision to the policy alone.
    pub scopes: Vec<String>,
    /// The class of the tool, prompt or resource for policies, such as `read` or `write`.
    pub class: Option<String>,
}

/// What makes a table unusable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ScopeTableError {
    /// A prompt's name is empty, over-long or holds control characters.
    #[error("`{prompt}` is no prompt name: a name has 1 to 128 bytes and no control characters")]
    Prompt {
        /// The word that is no name.
        prompt: String,
    },
    /// A resource's row is neither a URI in normal form nor a prefix of such.
    #[error(
        "`{resource}` is no row of resources: a row is a URI in normal form, such as `file:///docs/a.md`, or ends in `*` \
         behind a scheme and a whole host, such as `file:///docs/*`"
    )]
    Resource {
        /// The word that is no row.
        resource: String,
    },
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

#[derive(Debug, Default)]
struct Row {
    class: Option<Box<str>>,
    /// The required scopes, sorted, each once.
    required: Vec<Box<str>>,
    /// For each required scope every scope that covers it, itself first.
    covered_by: Vec<Vec<Box<str>>>,
}

/// The row of what needs no scope.
static NOTHING: Row = Row {
    class: None,
    required: Vec::new(),
    covered_by: Vec::new(),
};

/// Proof that the scopes of a principal cover a call; made by the tables and by `ScopeGrant::of_nothing` alone.
#[derive(Debug)]
pub struct ScopeGrant<'t> {
    row: &'t Row,
}

/// What a table says of a tool, prompt or resource, whether or not anybody's scopes cover it: proves nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs<'t> {
    row: &'t Row,
}

/// Why a table grants nothing.
#[derive(Debug)]
pub(crate) enum ScopeRefusal<'t> {
    /// At least one required scope is not covered; here is all that is required.
    Insufficient(Needs<'t>),
    /// There is no row.
    Unmapped,
}

impl<'t> ScopeGrant<'t> {
    /// The grant of a call that names nothing: no scope is required, the policy decides.
    pub(crate) const fn of_nothing() -> Self {
        Self { row: &NOTHING }
    }

    /// What the call needed.
    pub(crate) const fn needs(&self) -> Needs<'t> {
        Needs { row: self.row }
    }

    /// The scopes the call required, sorted.
    pub fn required(&self) -> &'t [Box<str>] {
        &self.row.required
    }

    /// The class of what the call names, when its row has one.
    pub fn class(&self) -> Option<&'t str> {
        self.row.class.as_deref()
    }
}

impl<'t> Needs<'t> {
    /// The scopes a call requires, sorted, each once.
    pub(crate) fn required(self) -> &'t [Box<str>] {
        &self.row.required
    }

    /// The class of what the call names, when its row has one.
    pub(crate) fn class(self) -> Option<&'t str> {
        self.row.class.as_deref()
    }
}

impl Row {
    fn new(row: ScopeRow, implies: &BTreeMap<String, Vec<String>>) -> Result<Self, ScopeTableError> {
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

    /// The row's grant, when `has` knows a scope for each that it requires. Allocates nothing.
    fn grant(&self, has: impl Fn(&str) -> bool) -> Result<ScopeGrant<'_>, ScopeRefusal<'_>> {
        let covered = self
            .covered_by
            .iter()
            .all(|scopes| scopes.iter().any(|scope| has(scope)));
        if covered {
            Ok(ScopeGrant { row: self })
        } else {
            Err(ScopeRefusal::Insufficient(Needs { row: self }))
        }
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "class": self.class, "required_scopes": self.required })
    }
}

/// The rows of tools or prompts by their names, which are compared byte by byte.
fn named_rows(
    rows: BTreeMap<String, ScopeRow>,
    implies: &BTreeMap<String, Vec<String>>,
    refused: impl Fn(String) -> ScopeTableError,
) -> Result<BTreeMap<Box<str>, Row>, ScopeTableError> {
    check_hierarchy(implies)?;
    let mut table = BTreeMap::new();
    for (name, row) in rows {
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            return Err(refused(name));
        }
        table.insert(name.into_boxed_str(), Row::new(row, implies)?);
    }
    Ok(table)
}

/// The rows as the JSON object that policies see.
fn rows_to_json<'r>(rows: impl Iterator<Item = (&'r str, &'r Row)>) -> String {
    let rows: serde_json::Map<String, serde_json::Value> =
        rows.map(|(name, row)| (name.to_owned(), row.to_json())).collect();
    serde_json::Value::Object(rows).to_string()
}

fn check_hierarchy(implies: &BTreeMap<String, Vec<String>>) -> Result<(), ScopeTableError> {
    implies
        .keys()
        .chain(implies.values().flatten())
        .try_for_each(|scope| check_scope(scope))
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

/// Whether a text is one scope (RFC 6749 section 3.3: `scope-token = 1*NQCHAR`).
pub fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_nqchar)
}

fn check_scope(scope: &str) -> Result<(), ScopeTableError> {
    match is_scope(scope) {
        true => Ok(()),
        false => Err(ScopeTableError::Scope {
            scope: scope.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
