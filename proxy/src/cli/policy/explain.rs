//! `portcullis policy explain`: why a policy decides as it does about one input.
//!
//! Owns how an explanation is shown. It shows values of the input, since that is what it is asked for.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_core::policy::{
    BodyReport, ConditionReport, Decision, Explanation, Policy, PolicyFailure, Question, Worker,
};
use serde_json::{Value, json};

use super::load;
use crate::cli::jwks::write_out;
use crate::cli::{Exit, Format};
use crate::clock::Monotonic;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArguments {
    /// Rego files, JSON files whose members become `data`, folders, or bundles (`.tar.gz`), taken together.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The input of the decision, a JSON file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// What is asked.
    #[arg(long, value_name = "QUESTION", default_value = "request")]
    question: Asked,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
}

/// What a policy can be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(in crate::cli) enum Asked {
    /// `data.portcullis.request.decision`.
    Request,
    /// `data.portcullis.response.decision`.
    Response,
    /// `data.portcullis.request.visible`.
    Visible,
}

impl From<Asked> for Question {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Request => Self::Request,
            Asked::Response => Self::Response,
            Asked::Visible => Self::Visible,
        }
    }
}

/// Prints the decision, and each rule that it can reach with its conditions.
pub(super) fn explain(arguments: &ExplainArguments) -> anyhow::Result<Exit> {
    let question = arguments.question.into();
    let explained = load::source(&arguments.paths).and_then(|source| {
        let input = load::text(&arguments.input)?;
        let policy = Policy::compile(&source, 1)?;
        let explanation = Policy::explain(&source, question, &input)?;
        let decision = policy.ask(
            question,
            &input,
            &mut Worker::new(0),
            &load::limits(),
            &Monotonic::start(),
        );
        Ok((decision, explanation))
    });
    let (decision, explanation) = match explained {
        Ok(explained) => explained,
        Err(error) => {
            eprintln!("portcullis: {error}");
            return Ok(Exit::Invalid);
        }
    };
    write_out(&match arguments.format {
        Format::Pretty => pretty(&decision, &explanation),
        Format::Json => format!(
            "{:#}\n",
            json!({"decision": as_json(&decision), "rules": explanation.rules})
        ),
    })?;
    Ok(Exit::Ok)
}

/// A decision for programs; of none, why there is none.
pub(super) fn as_json(decision: &Result<Decision, PolicyFailure>) -> Value {
    match decision {
        Ok(decision) => json!({
            "allow": decision.allows(), "rule": decision.rule, "reason": decision.reason,
            "obligations": {"redact": decision.obligations.redact.len(), "authenticate": decision.obligations.authenticate.is_some()},
        }),
        Err(failure) => json!({"allow": false, "failure": failure.to_string()}),
    }
}

fn pretty(decision: &Result<Decision, PolicyFailure>, explanation: &Explanation) -> String {
    let mut text = match decision {
        Ok(decision) => {
            let effect = if decision.allows() { "allow" } else { "deny" };
            format!("{effect}, by rule `{}`: {}\n", decision.rule, decision.reason)
        }
        Err(failure) => format!("deny: {failure}\n"),
    };
    for rule in &explanation.rules {
        let value = match (&rule.value, rule.is_function) {
            (_, true) => "a function".to_owned(),
            (Some(value), false) => value.clone(),
            (None, false) => "undefined".to_owned(),
        };
        text.push_str(&format!("\n{} = {value}\n  {}:{}\n", rule.path, rule.file, rule.line));
        rule.bodies.iter().for_each(|body| add_body(&mut text, body));
    }
    text
}

fn add_body(text: &mut String, body: &BodyReport) {
    let verdict = match body.holds {
        Some(true) => "holds",
        Some(false) => "fails",
        None => "depends on its arguments",
    };
    let kind = if body.is_else { "else, line" } else { "line" };
    text.push_str(&format!("  {kind} {}: {verdict}\n", body.line));
    for condition in &body.conditions {
        add_condition(text, condition, body.holds.is_some());
    }
}

fn add_condition(text: &mut String, condition: &ConditionReport, is_known: bool) {
    let mark = match (is_known && condition.is_reached, condition.solutions) {
        (false, _) => ' ',
        (true, 0) => '✗',
        (true, _) => '✓',
    };
    let times = if 1 < condition.solutions {
        format!("  ({} ways)", condition.solutions)
    } else {
        String::new()
    };
    text.push_str(&format!("    {mark} {}: {}{times}\n", condition.line, condition.text));
    for shown in &condition.values {
        let values = match shown.values.as_slice() {
            [] => "undefined".to_owned(),
            values => values.join(" | "),
        };
        text.push_str(&format!("        {} = {values}\n", shown.expression));
    }
}
