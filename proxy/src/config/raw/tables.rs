//! The scope tables of a server, as written: its tools, prompts and resources.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::At;

/// The prompts that may be used.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPrompts {
    /// The prompts by name.
    #[serde(default)]
    pub rows: BTreeMap<String, RawScopeRow>,
    /// Lets prompts without a row through to the policy, with no scope required.
    #[serde(default)]
    pub danger_unmapped_prompts: bool,
}

/// The resources that may be used.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawResources {
    /// The resources by URI: one resource, or all that begin so when it ends in `*`, such as `file:///docs/*`. The exact
    /// one holds, else the longest.
    #[serde(default)]
    pub rows: BTreeMap<String, RawScopeRow>,
    /// Lets resources without a row through to the policy, with no scope required.
    #[serde(default)]
    pub danger_unmapped_resources: bool,
}

/// The tool table: here, or in a file of the same shape.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTools {
    /// A YAML or JSON file with `rows` and `scope_implies`.
    pub file: Option<At<String>>,
    /// The tools by name.
    #[serde(default)]
    pub rows: BTreeMap<String, RawScopeRow>,
    /// Scopes that include others, such as `repo: [repo:read]`.
    #[serde(default)]
    pub scope_implies: BTreeMap<String, Vec<String>>,
    /// Lets tools without a row through to the policy, with no scope required.
    #[serde(default)]
    pub danger_unmapped_tools: bool,
}

/// One tool, prompt or resource.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawScopeRow {
    /// The scopes that a call needs, all of them; `[]` asks for none.
    pub scopes: Vec<String>,
    /// The class for the policy, such as `read` or `write`.
    pub class: Option<String>,
}
