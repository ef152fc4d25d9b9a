//! The scope table of resources, by URI and by prefix. The default has no row, and refuses every resource.
//!
//! Whoever asks has made sure that the URI is in normal form: no other spelling of the same resource reaches a row.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{NOTHING, Row, ScopeGrant, ScopeRefusal, ScopeRow, ScopeTableError, check_hierarchy, rows_to_json};
use crate::rpc::uri;

/// Resource -> required scopes for one server, with the scope hierarchy resolved.
#[derive(Debug, Default)]
pub struct ResourceTable {
    exact: BTreeMap<Box<str>, Row>,
    /// Rows that end in `*`, the longest first; the star stands in the name and not in what is compared.
    prefixes: Vec<(Box<str>, Row)>,
    danger_unmapped_resources: bool,
}

impl ResourceTable {
    /// A table of `rows`: each a URI in normal form, or a prefix that ends in `*`; of several that match, the exact one
    /// holds, else the longest. A scope of `implies` covers the scopes it maps to, and what those cover.
    ///
    /// `danger_unmapped_resources` lets resources without a row through to the policy.
    ///
    /// # Errors
    /// [`ScopeTableError`] for what is no row or no scope.
    pub fn new(
        rows: BTreeMap<String, ScopeRow>,
        implies: &BTreeMap<String, Vec<String>>,
        danger_unmapped_resources: bool,
    ) -> Result<Self, ScopeTableError> {
        check_hierarchy(implies)?;
        let mut table = Self {
            danger_unmapped_resources,
            ..Self::default()
        };
        for (resource, row) in rows {
            let prefix = resource.strip_suffix('*');
            if !prefix.map_or_else(|| uri::is_normal(&resource), is_prefix) {
                return Err(ScopeTableError::Resource { resource });
            }
            let (row, is_exact) = (Row::new(row, implies)?, prefix.is_none());
            let resource = resource.into_boxed_str();
            if is_exact {
                table.exact.insert(resource, row);
            } else {
                table.prefixes.push((resource, row));
            }
        }
        table.prefixes.sort_by_key(|(prefix, _)| Reverse(prefix.len()));
        Ok(table)
    }

    /// Whether no resource has a row.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// The row that holds for `uri`, as it was written; `None` for a resource without one.
    pub fn row(&self, uri: &str) -> Option<&str> {
        self.find(uri).map(|(name, _)| name)
    }

    /// The scopes that the resource requires, sorted; `None` for a resource without a row.
    pub fn required(&self, uri: &str) -> Option<&[Box<str>]> {
        self.find(uri).map(|(_, row)| &*row.required)
    }

    /// Every row with the scopes that it requires: the exact ones sorted, then the prefixes, the longest first.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &[Box<str>])> {
        self.each().map(|(name, row)| (name, &*row.required))
    }

    /// Checks a use of the resource against the scopes that `has` knows. Allocates nothing.
    ///
    /// # Errors
    /// [`ScopeRefusal`], with every scope the resource requires, so that one challenge can name them all.
    pub(crate) fn grant(&self, uri: &str, has: impl Fn(&str) -> bool) -> Result<ScopeGrant<'_>, ScopeRefusal<'_>> {
        match self.find(uri) {
            Some((_, row)) => row.grant(has),
            None if self.danger_unmapped_resources => Ok(ScopeGrant { row: &NOTHING }),
            None => Err(ScopeRefusal::Unmapped),
        }
    }

    /// The table as the JSON object that policies see as `data.resources`.
    pub fn to_json(&self) -> String {
        rows_to_json(self.each())
    }

    fn find(&self, uri: &str) -> Option<(&str, &Row)> {
        if let Some((name, row)) = self.exact.get_key_value(uri) {
            return Some((name, row));
        }
        let matches = |name: &str| name.strip_suffix('*').is_some_and(|prefix| uri.starts_with(prefix));
        let (name, row) = self.prefixes.iter().find(|(name, _)| matches(name))?;
        Some((name, row))
    }

    fn each(&self) -> impl Iterator<Item = (&str, &Row)> {
        let prefixes = self.prefixes.iter().map(|(name, row)| (&**name, row));
        self.exact.iter().map(|(name, row)| (&**name, row)).chain(prefixes)
    }
}

/// Whether some URI in normal form begins so, and none of another host does: `https://crm*` would mean
/// `https://crm.example` as well.
fn is_prefix(prefix: &str) -> bool {
    let whole_host = match prefix.split_once("://") {
        Some((_, rest)) => rest.is_empty() || rest.contains('/'),
        None => true,
    };
    // `x` may stand behind every prefix but one that breaks off within an escape.
    prefix.is_empty() || whole_host && uri::is_normal(&format!("{prefix}x"))
}
