//! What is written has the members that the schema demands, and no others.

use std::collections::BTreeSet;

use serde_json::Value;

use super::schema;
use crate::report::{SCHEMA_VERSION, SearchStep, ThresholdResult, samples};

/// Checks `value` against `schema` as far as members, types and references go; the faults with their paths.
fn faults(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/$defs/").expect("a local reference");
        return faults(root, &root["$defs"][name], value, path, found);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        faults(root, part, value, path, found);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let fits = |option: &Value| {
            let mut own = Vec::new();
            faults(root, option, value, path, &mut own);
            own.is_empty()
        };
        if !options.iter().any(fits) {
            found.push(format!("{path}: fits no option"));
        }
    }
    if let Some(right) = schema.get("const").filter(|right| *right != value) {
        found.push(format!("{path}: is not {right}"));
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|options| !options.contains(value))
    {
        found.push(format!("{path}: is none of the values"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let fits = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    };
    if !types.is_empty() && !types.iter().any(|name| fits(name)) {
        found.push(format!("{path}: is no {types:?}"));
    }
    if let (Some(members), Some(properties), Some("object")) = (
        value.as_object(),
        schema["properties"].as_object(),
        schema["type"].as_str(),
    ) {
        let own: BTreeSet<&str> = members.keys().map(String::as_str).collect();
        let known: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        let required: BTreeSet<&str> = { schema["required"].as_array().into_iter().flatten() }
            .filter_map(Value::as_str)
            .collect();
        found.extend(required.difference(&own).map(|name| format!("{path}: lacks {name}")));
        found.extend(
            own.difference(&known)
                .map(|name| format!("{path}: {name} is not in the schema")),
        );
    }
    for (name, part) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(member) = value.get(name) {
            faults(root, part, member, &format!("{path}/{name}"), found);
        }
    }
    if let Some(part) = schema.get("items").filter(|part| part.is_object()) {
        for (place, item) in value.as_array().into_iter().flatten().enumerate() {
            faults(root, part, item, &format!("{path}/{place}"), found);
        }
    }
}

fn check(value: &Value) -> Vec<Vec<String>> {
    let schema = schema();
    let options = schema["oneOf"].as_array().expect("two kinds");
    let of = |option: &Value| {
        let mut found = Vec::new();
        faults(&schema, option, value, "", &mut found);
        found
    };
    options.iter().map(of).collect()
}

#[test]
fn each_report_fits_its_kind_and_no_other() {
    let mut run = samples::run();
    run.thresholds = vec![ThresholdResult::default()];
    run.steps = vec![SearchStep::default()];
    let run = serde_json::to_value(run).expect("JSON");
    let compare = serde_json::to_value(samples::compare()).expect("JSON");
    assert_eq!(run["schema_version"], SCHEMA_VERSION);
    assert_eq!(compare["schema_version"], SCHEMA_VERSION);
    let [as_run, as_compare] = check(&run).try_into().expect("two kinds");
    assert_eq!(as_run, Vec::<String>::new());
    assert!(!as_compare.is_empty());
    let [as_run, as_compare] = check(&compare).try_into().expect("two kinds");
    assert!(!as_run.is_empty());
    assert_eq!(as_compare, Vec::<String>::new());
}

#[test]
fn what_does_not_fit_is_found() {
    let run = serde_json::to_value(samples::run()).expect("JSON");
    type Fault = fn(&mut Value);
    let cases: [(&str, Fault); 5] = [
        ("another version", |run| run["schema_version"] = 2.into()),
        ("another kind", |run| run["kind"] = "compare".into()),
        ("a missing member", |run| {
            run["measured"].as_object_mut().expect("an object").remove("answered");
        }),
        ("an unknown member", |run| run["environment"]["host"] = "x".into()),
        ("a wrong type", |run| {
            run["measured"]["intervals"][3]["p99_us"] = "1 ms".into()
        }),
    ];
    for (name, spoil) in cases {
        let mut spoiled = run.clone();
        spoil(&mut spoiled);
        assert!(check(&spoiled).iter().all(|found| !found.is_empty()), "{name}");
    }
}
