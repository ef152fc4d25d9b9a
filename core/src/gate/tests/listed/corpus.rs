//! Lists and calls over the tools and arguments of public corpora: attacks on the use of tools, and bodies on which
//! parsers disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::*;
use crate::config::{Server, ServerParts};
use crate::gate::Snapshot;
use crate::json::tests::corpus::corpora;
use crate::policy::PolicySource;
use crate::scope::{ScopeRow, ToolTable};

/// A tool as a case shows it, and the arguments with which it is called.
#[derive(Default)]
struct Shown {
    descriptions: BTreeSet<String>,
    arguments: BTreeSet<String>,
}

/// Every line of the files `*.jsonl` in a folder.
#[expect(clippy::disallowed_methods, reason = "the corpora are files")]
fn lines(folder: &Path) -> Vec<Value> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    files
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect::<Vec<Value>>()
        })
        .collect()
}

/// The tools of the attacks, whatever their texts say, with these texts as arguments.
fn attacks(lines: &[Value], tools: &mut BTreeMap<String, Shown>) {
    for line in lines {
        let texts = ["question", "attack"].map(|key| line[key].as_str().unwrap_or_default());
        for change in line["mods"].as_array().into_iter().flatten() {
            let Some(name) = change["tool_name"].as_str().filter(|name| !name.is_empty()) else {
                continue;
            };
            let shown = tools.entry(name.to_owned()).or_default();
            let said = ["modification_description", "modification_return"].map(|key| change[key].to_string());
            shown.descriptions.extend(said.iter().cloned());
            let arguments = texts.iter().map(|text| (*text).to_owned()).chain(said);
            shown.arguments.extend(
                arguments.map(|text| value!({ "account_id": text, "visible": true, "tool": name }).to_string()),
            );
        }
    }
}

/// Names and arguments of bodies that some parser takes for a call.
fn bodies(lines: &[Value], tools: &mut BTreeMap<String, Shown>) {
    let hex = |text: &str| -> Option<Vec<u8>> {
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect()
    };
    for line in lines {
        let texts = line
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(_, text)| text.as_str());
        for body in texts.filter_map(hex) {
            let Ok(body) = serde_json::from_slice::<Value>(&body) else {
                continue;
            };
            let params = &body["params"];
            if let (Some(name), Some(_)) = (params["name"].as_str(), params["arguments"].as_object()) {
                let shown = tools.entry(name.to_owned()).or_default();
                shown.arguments.insert(params["arguments"].to_string());
            }
        }
    }
}

/// One gate whose table has two of three tools, one of them for a scope that nobody has.
fn stage_of(names: &[&String], request: &str) -> Stage {
    let row = |scope: &str| ScopeRow {
        scopes: vec![scope.to_owned()],
        class: None,
    };
    let rows = names.iter().enumerate().filter_map(|(place, name)| match place % 3 {
        0 => Some(((*name).clone(), row("salesforce:read"))),
        1 => Some(((*name).clone(), row("nobody:has"))),
        _ => None,
    });
    let table = ToolTable::new(rows.collect(), &BTreeMap::new(), false).unwrap();
    let policy = PolicySource {
        tools_json: table.to_json(),
        ..policy_of(request, ALLOW)
    };
    let setup = Setup::default();
    let stage = Stage::new();
    let parts = server_parts("crm", &policy, setup.rate, vec![issuer(ISSUER)]);
    let server = Server::new(ServerParts { tools: table, ..parts }).unwrap();
    let snapshot = Snapshot::new(vec![std::sync::Arc::new(server)], setup.limits, [8; 32]).unwrap();
    stage.gate.publish(snapshot);
    list_all(&stage.gate);
    stage
}

#[test]
#[expect(clippy::print_stdout, reason = "it says how many cases the folders hold")]
fn a_tool_of_the_corpora_that_is_not_listed_is_refused_for_all_arguments() {
    let mut tools = BTreeMap::new();
    let Some(folder) = corpora("mcp") else { return };
    let found = lines(&folder);
    attacks(&found, &mut tools);
    let of_attacks = tools.len();
    if let Some(folder) = corpora("json") {
        bodies(&lines(&folder), &mut tools);
    }
    let names: Vec<&String> = tools.keys().collect();
    let definitions: Vec<Value> = tools
        .iter()
        .flat_map(|(name, shown)| {
            let texts = shown.descriptions.iter().take(1).map(String::as_str);
            texts.chain(["A tool."]).take(1).map(|text| tool(name, text))
        })
        .collect();
    let mut counts = [0_usize; 4];
    // By its name, by what a call brings, and by no rule of its own.
    for request in [
        format!(
            "visible if endswith(input.request.tool, \"e\")\nvisible if contains(input.request.tool, \"_\")\n{ALLOW}"
        ),
        format!("visible if input.request.arguments.visible\n{ALLOW}"),
        ALLOW.to_owned(),
    ] {
        let stage = stage_of(&names, &request);
        for (persona, era) in [(&ALICE, Era::Legacy), (&ALICE, Era::Modern), (&CAROL, Era::Modern)] {
            let listed = names_listed(&stage, persona, era, &value!({ "tools": definitions }));
            for (name, shown) in &tools {
                let is_listed = listed.iter().any(|one| one == name);
                counts[usize::from(is_listed)] += 1;
                for arguments in &shown.arguments {
                    let call = Call::tools_call(era, 1, name, arguments);
                    let outcome = stage.record(&Request::by(persona, &call)).map(drop);
                    stage.write();
                    let reason = outcome.as_ref().err().map(|denial| denial.reason);
                    assert_ne!(reason, Some(DenyReason::AuditUnavailable));
                    assert!(
                        is_listed || outcome.is_err(),
                        "{} calls {name} with {arguments}, which is not listed",
                        persona.name
                    );
                    counts[2 + usize::from(outcome.is_ok())] += 1;
                }
            }
        }
    }
    let [hidden, shown, refused, passed] = counts;
    println!(
        "lists: {} cases, {of_attacks} of {} tools in attacks; shown {shown} times and hidden {hidden} times, {passed} calls \
         passed and {refused} were refused",
        found.len(),
        tools.len(),
    );
    assert!(0 < hidden && 0 < shown && 0 < refused && 0 < passed, "{counts:?}");
}
