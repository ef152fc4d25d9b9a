//! What the callers of a server need scopes for: one question over its three scope tables.

use std::collections::BTreeSet;

use super::Server;
use crate::rpc::Target;
use crate::scope::{ScopeGrant, ScopeRefusal};

impl Server {
    /// Checks a call that names `target` against the scopes that `has` knows; what names nothing needs none. Allocates
    /// nothing.
    ///
    /// # Errors
    /// [`ScopeRefusal`], with every scope that is required, so that one challenge can name them all.
    pub(crate) fn grant(
        &self,
        target: Target<'_>,
        has: impl Fn(&str) -> bool,
    ) -> Result<ScopeGrant<'_>, ScopeRefusal<'_>> {
        match target {
            Target::Nothing => Ok(ScopeGrant::of_nothing()),
            Target::Prompt(name) => self.parts.prompts.grant(name, has),
            Target::Resource(uri) => self.parts.resources.grant(uri, has),
            Target::Tool(name) => self.parts.tools.grant(name, has),
        }
    }

    /// The scopes that a call which names `target` requires, sorted; `None` for what has no row.
    pub(crate) fn required(&self, target: Target<'_>) -> Option<&[Box<str>]> {
        match target {
            Target::Nothing => Some(&[]),
            Target::Prompt(name) => self.parts.prompts.required(name),
            Target::Resource(uri) => self.parts.resources.required(uri),
            Target::Tool(name) => self.parts.tools.required(name),
        }
    }

    /// Every scope that any tool, prompt or resource requires, sorted: what a client may ask for (RFC 9728
    /// `scopes_supported`).
    pub fn scopes(&self) -> BTreeSet<&str> {
        let parts = &self.parts;
        let rows = parts
            .tools
            .rows()
            .chain(parts.prompts.rows())
            .chain(parts.resources.rows());
        rows.flat_map(|(_, required)| required.iter().map(|scope| &**scope))
            .collect()
    }
}
