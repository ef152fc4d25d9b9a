//! How the tour is shown: a table for people, JSON for programs, curl lines for the curious.
//!
//! Owns no result. Prints tokens of the dev issuer on purpose: they are good for nothing but this demo.

use std::io::{self, Write};

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::persona::{self, ALICE};
use serde_json::{Map, Value, json};

use super::stage::{Place, Stage};
use super::tour::Tour;

/// The tour as one table, and the records behind it.
pub(super) fn table(out: &mut impl Write, tour: &Tour) -> io::Result<()> {
    let width = |of: fn(&super::tour::StepResult) -> &str| {
        tour.steps
            .iter()
            .map(|step| of(step).chars().count())
            .max()
            .unwrap_or_default()
    };
    let (names, expectations) = (width(|step| step.name), width(|step| step.expected));
    writeln!(
        out,
        "     {:names$}  {:expectations$}  what came",
        "what was tried", "what should come"
    )?;
    for step in &tour.steps {
        let mark = if step.ok { "ok" } else { "FAIL" };
        writeln!(
            out,
            "{mark:4} {:names$}  {:expectations$}  {}",
            step.name, step.expected, step.got
        )?;
    }
    let failed = tour.steps.iter().filter(|step| !step.ok).count();
    writeln!(out, "\n{} steps, {failed} failed\n", tour.steps.len())?;
    records(out, tour)
}

/// One line a decision: who called, for whom, what, and what came of it.
fn records(out: &mut impl Write, tour: &Tour) -> io::Result<()> {
    writeln!(
        out,
        "The audit records of the tour (`portcullis audit tail DIR` prints them whole):\n"
    )?;
    writeln!(
        out,
        "{:36}  {:8}  {:9}  {:9}  {:28}  decision",
        "record", "phase", "subject", "actor", "tool, prompt or method"
    )?;
    let text = |record: &Value, pointer: &str| {
        record
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("-")
            .to_owned()
    };
    for record in &tour.records {
        if text(record, "/phase") == "refusals" {
            let (count, reason) = (
                record.get("count").cloned().unwrap_or_default(),
                text(record, "/reason"),
            );
            writeln!(
                out,
                "{:36}  refusals  nobody is known yet: {count} x {reason}",
                text(record, "/record_id")
            )?;
            continue;
        }
        if text(record, "/phase") == "admin" {
            let [id, act, author, outcome] = ["/record_id", "/act", "/author", "/outcome"].map(|at| text(record, at));
            writeln!(out, "{id:36}  admin     {act} by {author}: {outcome}")?;
            continue;
        }
        let what = match text(record, "/tool").as_str() {
            "-" => match text(record, "/prompt").as_str() {
                "-" => text(record, "/method"),
                prompt => prompt.to_owned(),
            },
            tool => tool.to_owned(),
        };
        // A refusal before the policy was asked has a reason and no rule.
        let rule = match text(record, "/rule").as_str() {
            "-" => text(record, "/reason"),
            rule => rule.to_owned(),
        };
        let decision = text(record, "/decision");
        let redactions = record.get("redactions").and_then(Value::as_u64).unwrap_or_default();
        let redacted = if redactions > 0 {
            format!(", {redactions} taken out")
        } else {
            String::new()
        };
        let (subject, actor) = (text(record, "/subject/id"), text(record, "/actor/id"));
        let (id, phase) = (text(record, "/record_id"), text(record, "/phase"));
        writeln!(
            out,
            "{id:36}  {phase:8}  {subject:9}  {actor:9}  {what:28}  {decision} by {rule}{redacted}"
        )?;
    }
    writeln!(out)
}

/// The tour for programs.
pub(super) fn json(out: &mut impl Write, tour: &Tour) -> io::Result<()> {
    let steps: Vec<Value> = tour
        .steps
        .iter()
        .map(|step| json!({ "name": step.name, "expected": step.expected, "got": step.got, "ok": step.ok }))
        .collect();
    writeln!(out, "{}", json!({ "steps": steps, "ok": tour.ok() }))
}

/// Everything it takes to repeat each step from outside.
pub(super) fn endpoints_json(out: &mut impl Write, stage: &Stage) -> io::Result<()> {
    let tokens = |place: Place| {
        let minted = persona::ALL
            .iter()
            .map(|persona| (persona.name.to_owned(), stage.mint(persona, place).into()));
        Value::Object(minted.collect::<Map<String, Value>>())
    };
    let server = |place: Place| json!({ "endpoint": stage.resource(place), "tokens": tokens(place) });
    let all = json!({
        "issuer": stage.issuer_url(),
        "token_endpoint": stage.token_endpoint(),
        "servers": {
            "crm": server(Place::Crm), "code": server(Place::Code), "everything": server(Place::Everything),
        },
        "captures": {
            "crm": stage.capture_path(Place::Crm),
            "code": stage.capture_path(Place::Code),
            "everything": stage.capture_path(Place::Everything),
        },
        "audit": stage.audit_path(),
        "config": stage.config_path(),
    });
    writeln!(out, "{all}")
}

/// Ready-made curl lines.
pub(super) fn curl_lines(out: &mut impl Write, stage: &Stage) -> io::Result<()> {
    let call = |account: &str| {
        let arguments = json!({ "account_id": account }).to_string();
        Call::tools_call(Era::Modern, 1, "salesforce.opportunity.read", &arguments)
    };
    let headers = |call: &Call| {
        call.headers
            .iter()
            .map(|(name, value)| format!("-H '{name}: {value}'"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (mine, others, list) = (call("acc-1001"), call("acc-2001"), Call::tools_list(Era::Modern, 2));
    let crm = stage.resource(Place::Crm);
    writeln!(out, "The gate stays up; Ctrl-C ends it. Try it:\n")?;
    writeln!(out, "TOKEN='{}'", stage.mint(&ALICE, Place::Crm))?;
    let bearer = "-H \"Authorization: Bearer $TOKEN\"";
    writeln!(out, "curl -i {crm} {} -d '{}'", headers(&mine), mine.body)?;
    for call in [&mine, &others, &list] {
        writeln!(out, "curl -s {crm} {bearer} {} -d '{}'", headers(call), call.body)?;
    }
    writeln!(out, "tail -f {}", stage.capture_path(Place::Crm).display())?;
    let program = std::env::current_exe().unwrap_or_else(|_| "portcullis".into());
    writeln!(out, "{} audit tail {}", program.display(), stage.audit_path().display())
}
