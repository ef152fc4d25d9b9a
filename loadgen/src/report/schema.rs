//! The JSON Schema of the reports.
//!
//! Owns one document for both kinds, made from the types themselves, so that it cannot disagree with what is written.

use serde_json::{Value, json};

use crate::report::{CompareReport, RunReport, SCHEMA_VERSION};

/// The schema of every report this version writes: a run or search, or a comparison. The schema's dialect is the one
/// it names itself (2020-12). Members that are absent from it may be added within a version; see [`SCHEMA_VERSION`].
pub fn schema() -> Value {
    let mut generator = schemars::SchemaGenerator::default();
    let run = generator.subschema_for::<RunReport>();
    let compare = generator.subschema_for::<CompareReport>();
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of portcullis-loadgen",
        "description": format!("Version {SCHEMA_VERSION}; the member `kind` tells a comparison from a run or a search."),
        "oneOf": [
            kind(&run, &["run", "search"]),
            kind(&compare, &["compare"]),
        ],
        "$defs": definitions,
    })
}

/// A report whose kind is one of these, in this version.
fn kind(schema: &schemars::Schema, kinds: &[&str]) -> Value {
    json!({
        "allOf": [schema],
        "properties": { "schema_version": { "const": SCHEMA_VERSION }, "kind": { "enum": kinds } },
    })
}

#[cfg(test)]
mod tests;
