//! The scope tables of one server: its tools, and its prompts and resources where it has some.
//!
//! Owns [`Tables`]. Tools must be written; prompts and resources that are not are refused at run time. One hierarchy of
//! scopes, that of the tools, holds for all three.

use std::collections::BTreeMap;

use portcullis_core::scope::{PromptTable, ResourceTable, ScopeRow, ScopeTableError, ToolTable};

use super::diagnose::{self, Code, Warning};
use super::lower::Lowering;
use super::raw::{self, At, Place, RawScopeRow, RawServer, RawTools};

/// What the core's tables are made of; it can be made again.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    tools: Tools,
    prompts: Rows,
    resources: Rows,
}

#[derive(Clone, Debug, Default)]
struct Tools {
    rows: BTreeMap<String, ScopeRow>,
    implies: BTreeMap<String, Vec<String>>,
    danger_unmapped_tools: bool,
}

/// The rows of prompts or resources.
#[derive(Clone, Debug, Default)]
struct Rows {
    rows: BTreeMap<String, ScopeRow>,
    danger_unmapped: bool,
}

impl Tables {
    /// The tables as written; `None` after a fault.
    pub(super) fn lower(lowering: &mut Lowering<'_>, at: &At<RawServer>) -> Option<Self> {
        let tools = tools(lowering, at);
        let prompts = at.value.prompts.as_ref().map_or_else(Rows::default, |raw| Rows {
            rows: rows(&raw.value.rows),
            danger_unmapped: raw.value.danger_unmapped_prompts,
        });
        let resources = at.value.resources.as_ref().map_or_else(Rows::default, |raw| Rows {
            rows: rows(&raw.value.rows),
            danger_unmapped: raw.value.danger_unmapped_resources,
        });
        let tables = Self {
            tools: tools?,
            prompts,
            resources,
        };
        let place = |written: Option<Place>| written.unwrap_or(at.place);
        let prompts = place(at.value.prompts.as_ref().map(|raw| raw.place));
        let resources = place(at.value.resources.as_ref().map(|raw| raw.place));
        let right = [
            whole(lowering, prompts, tables.prompts()),
            whole(lowering, resources, tables.resources()),
        ];
        (right == [true, true]).then_some(tables)
    }

    /// The table of tools. Tables that were lowered are built again without error, as are those below.
    pub(super) fn tools(&self) -> Result<ToolTable, ScopeTableError> {
        self.tools.table()
    }

    /// The table of prompts.
    pub(super) fn prompts(&self) -> Result<PromptTable, ScopeTableError> {
        let Rows { rows, danger_unmapped } = self.prompts.clone();
        PromptTable::new(rows, &self.tools.implies, danger_unmapped)
    }

    /// The table of resources.
    pub(super) fn resources(&self) -> Result<ResourceTable, ScopeTableError> {
        let Rows { rows, danger_unmapped } = self.resources.clone();
        ResourceTable::new(rows, &self.tools.implies, danger_unmapped)
    }
}

impl Tools {
    fn table(&self) -> Result<ToolTable, ScopeTableError> {
        ToolTable::new(self.rows.clone(), &self.implies, self.danger_unmapped_tools)
    }

    fn add(&mut self, raw: &RawTools) {
        self.rows.append(&mut rows(&raw.rows));
        for (scope, covered) in &raw.scope_implies {
            self.implies
                .entry(scope.clone())
                .or_default()
                .extend(covered.iter().cloned());
        }
        self.danger_unmapped_tools |= raw.danger_unmapped_tools;
    }
}

fn rows(raw: &BTreeMap<String, RawScopeRow>) -> BTreeMap<String, ScopeRow> {
    let row = |raw: &RawScopeRow| ScopeRow {
        scopes: raw.scopes.clone(),
        class: raw.class.clone(),
    };
    raw.iter().map(|(name, raw)| (name.clone(), row(raw))).collect()
}

/// Whether a table could be built; a fault when not.
fn whole<T>(lowering: &mut Lowering<'_>, place: Place, table: Result<T, ScopeTableError>) -> bool {
    match table {
        Ok(_) => true,
        Err(error) => {
            lowering.fault(Code::ToolsInvalid, place, error.to_string());
            false
        }
    }
}

/// The tool table, from here and from its file together.
fn tools(lowering: &mut Lowering<'_>, at: &At<RawServer>) -> Option<Tools> {
    let name = &at.value.name.value;
    let missing = format!("server `{name}` has no tools: every call would be refused");
    let help = "write `tools: {rows: {tool.name: {scopes: [scope]}}}` or `tools: {file: tools.yaml}`";
    let Some(raw) = &at.value.tools else {
        lowering.fault_with(Code::ServerToolsMissing, at.place, missing, Some(help));
        return None;
    };
    let mut tools = Tools::default();
    if let Some(file) = &raw.value.file {
        let text = lowering.read(file)?;
        let path = lowering.files.path(&file.value);
        match raw::read::<RawTools>(&text) {
            Ok(table) if table.file.is_none() => {
                if table.danger_unmapped_tools {
                    let message =
                        "the tool file sets `danger_unmapped_tools`: tools without a row go to the policy alone";
                    let help = "give every tool a row, even one with `scopes: []`";
                    lowering.warn(Warning::DangerSet, file.place, message, help);
                }
                tools.add(&table);
            }
            Ok(_) => {
                lowering.fault(
                    Code::ToolsInvalid,
                    file.place,
                    "a tool file may not name a further file",
                );
                return None;
            }
            Err(error) => {
                lowering.fault_elsewhere(diagnose::of_yaml(&error, &path, &text));
                return None;
            }
        }
    }
    // Which of two rows holds would be a guess, and one of them may ask for less.
    if let Some(tool) = raw.value.rows.keys().find(|tool| tools.rows.contains_key(*tool)) {
        let message = format!("the tool `{tool}` has a row here and one in the tool file");
        lowering.fault(Code::Repeated, raw.place, message);
        return None;
    }
    tools.add(&raw.value);
    if tools.rows.is_empty() {
        lowering.fault_with(Code::ServerToolsMissing, raw.place, missing, Some(help));
        return None;
    }
    whole(lowering, raw.place, tools.table()).then_some(tools)
}
