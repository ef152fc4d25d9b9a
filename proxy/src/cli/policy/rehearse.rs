//! `portcullis policy replay` and `portcullis policy diff`: what another policy would have decided.
//!
//! Owns the form of recorded inputs and what counts as a flip: another effect, or an allow with other obligations.
//! Another rule or reason alone is counted and is no flip. Each line is judged as a call is, but for the deadline, since
//! this machine is not the gate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use portcullis_core::policy::{Decision, Effect, Policy, PolicyFailure, Question, Worker};
use serde::Deserialize;
use serde_json::{Value, json};

use super::load::{self, LoadError};
use crate::cli::jwks::write_out;
use crate::cli::{Exit, Format};
use crate::clock::Monotonic;

/// Flips that are listed one by one.
const LISTED_MAX: usize = 100;

#[derive(Debug, Args)]
pub(in crate::cli) struct ReplayArguments {
    /// What was decided, a JSON object a line: `input` and `result`, as in OPA's decision log, or `input` and `decision`,
    /// each an object with `allow` and `rule`. `question` (`request`, `response`, `visible`) or OPA's `path` says what was
    /// asked, by default `request`. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// The policy to try: a folder, a bundle (`.tar.gz`) or files.
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    against: Vec<PathBuf>,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArguments {
    /// The policy that rules: a folder, a bundle (`.tar.gz`) or a file.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The policy to try.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// The inputs, a JSON object a line, as `policy replay` takes them; what was decided may be absent.
    #[arg(long, value_name = "FILE")]
    corpus: PathBuf,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
}

/// A line of a file of inputs.
#[derive(Deserialize)]
struct Line {
    input: Value,
    question: Option<String>,
    path: Option<String>,
    record_id: Option<String>,
    decision_id: Option<String>,
    decision: Option<Value>,
    result: Option<Value>,
}

/// A decision of which a record tells the outcome alone.
#[derive(Deserialize)]
struct Outcome {
    allow: bool,
    #[serde(default)]
    rule: String,
}

/// A decision as far as two are compared.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Judged {
    effect: Effect,
    rule: String,
    /// What is obliged, in a form of its own; `None` where a record does not say.
    obligations: Option<String>,
}

/// An input whose decision would change.
struct Flip {
    line: usize,
    id: Option<String>,
    tool: String,
    subject: String,
    before: Judged,
    after: Judged,
}

/// All that was compared.
#[derive(Default)]
struct Rehearsal {
    judged: usize,
    other_rule: usize,
    flips: Vec<Flip>,
}

/// Why a rehearsal cannot be held.
#[derive(Debug, thiserror::Error)]
enum RehearsalError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("`{file}` line {line}: {message}")]
    Line { file: String, line: usize, message: String },
}

/// Decides recorded inputs anew; exit 8 when a decision would change.
pub(super) fn replay(arguments: &ReplayArguments) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let held = load::compiled(&arguments.against)
        .map_err(RehearsalError::from)
        .and_then(|policy| rehearse(&arguments.inputs, None, &policy));
    told(held, begun, arguments.format)
}

/// Decides inputs by two policies; exit 8 when a decision would change.
pub(super) fn diff(arguments: &DiffArguments) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let compiled = |path: &PathBuf| load::compiled(std::slice::from_ref(path));
    let held = compiled(&arguments.old)
        .and_then(|old| Ok((old, compiled(&arguments.new)?)))
        .map_err(RehearsalError::from)
        .and_then(|(old, new)| rehearse(&arguments.corpus, Some(&old), &new));
    told(held, begun, arguments.format)
}

fn told(held: Result<Rehearsal, RehearsalError>, begun: Instant, format: Format) -> anyhow::Result<Exit> {
    let rehearsal = match held {
        Ok(rehearsal) => rehearsal,
        Err(error) => {
            eprintln!("portcullis: {error}");
            return Ok(Exit::Invalid);
        }
    };
    write_out(&match format {
        Format::Pretty => rehearsal.pretty(begun.elapsed().as_secs_f64()),
        Format::Json => format!("{:#}\n", rehearsal.as_json()),
    })?;
    match rehearsal.flips.is_empty() {
        true => Ok(Exit::Ok),
        false => Ok(Exit::DecisionsChange),
    }
}

/// Compares what `old`, or the record without it, says about each line of `file` with what `new` says.
fn rehearse(file: &Path, old: Option<&Policy>, new: &Policy) -> Result<Rehearsal, RehearsalError> {
    let text = load::text(file)?;
    let (mut worker, mut rehearsal) = (Worker::new(0), Rehearsal::default());
    let (limits, ticks) = (load::limits(), Monotonic::start());
    for (place, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let line = place.saturating_add(1);
        let wrong = |message: String| RehearsalError::Line {
            file: file.display().to_string(),
            line,
            message,
        };
        let read: Line = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let question = question(&read).map_err(wrong)?;
        let input = read.input.to_string();
        let mut ask = |policy: &Policy| Judged::of(policy.ask(question, &input, &mut worker, &limits, &ticks));
        let after = ask(new);
        let before = match old {
            Some(old) => ask(old),
            None => {
                let recorded = read.decision.as_ref().or(read.result.as_ref());
                let recorded = recorded.and_then(Judged::recorded);
                let nothing = "neither `decision` nor `result` says what was decided";
                recorded.ok_or_else(|| wrong(nothing.to_owned()))?
            }
        };
        rehearsal.judged = rehearsal.judged.saturating_add(1);
        if before.differs_from(&after) {
            rehearsal.flips.push(Flip {
                line,
                id: read.record_id.or(read.decision_id),
                tool: named(&read.input, &["request", "tool"]),
                subject: named(&read.input, &["subject", "id"]),
                before,
                after,
            });
        } else if before.rule != after.rule {
            rehearsal.other_rule = rehearsal.other_rule.saturating_add(1);
        }
    }
    Ok(rehearsal)
}

fn question(line: &Line) -> Result<Question, String> {
    let told = line.question.as_deref().or(line.path.as_deref());
    match told.unwrap_or("request") {
        "request" | "portcullis/request/decision" => Ok(Question::Request),
        "response" | "portcullis/response/decision" => Ok(Question::Response),
        "visible" | "portcullis/request/visible" => Ok(Question::Visible),
        other => Err(format!(
            "`{other}` is no question: `request`, `response` and `visible` are"
        )),
    }
}

fn named(input: &Value, path: &[&str]) -> String {
    let found = path.iter().try_fold(input, |value, step| value.get(step));
    found.and_then(Value::as_str).unwrap_or("-").to_owned()
}

impl Judged {
    fn of(decision: Result<Decision, PolicyFailure>) -> Self {
        match decision {
            Ok(decision) => Self {
                effect: decision.effect,
                rule: decision.rule.into(),
                obligations: Some(format!("{:?}", decision.obligations)),
            },
            Err(failure) => Self {
                effect: Effect::Deny,
                rule: format!("({failure})"),
                obligations: None,
            },
        }
    }

    /// What a record says was decided: a decision, its outcome alone, or whether something was visible.
    fn recorded(told: &Value) -> Option<Self> {
        // Without the member nobody knows what was obliged.
        if told.get("obligations").is_some()
            && let Ok(decision) = Decision::from_json(&told.to_string())
        {
            return Some(Self::of(Ok(decision)));
        }
        let outcome = match told {
            Value::Bool(is_visible) => Outcome {
                allow: *is_visible,
                rule: "visible".to_owned(),
            },
            told => Outcome::deserialize(told).ok()?,
        };
        Some(Self {
            effect: if outcome.allow { Effect::Allow } else { Effect::Deny },
            rule: outcome.rule,
            obligations: None,
        })
    }

    /// Whether another call would pass, or with another redaction. Where one side does not tell its obligations the
    /// effect alone counts.
    fn differs_from(&self, other: &Self) -> bool {
        let obliged = match (&self.obligations, &other.obligations) {
            (Some(one), Some(other)) => one != other,
            _ => false,
        };
        self.effect != other.effect || (self.effect == Effect::Allow && obliged)
    }

    fn as_json(&self) -> Value {
        json!({"allow": self.effect == Effect::Allow, "rule": self.rule})
    }

    fn told(&self) -> String {
        let effect = if self.effect == Effect::Allow { "allow" } else { "deny" };
        format!("{effect} by {}", if self.rule.is_empty() { "-" } else { &self.rule })
    }
}

impl Rehearsal {
    /// How many flips there are by what `of` says of each, most first.
    fn grouped(&self, of: impl Fn(&Flip) -> String) -> Vec<(String, usize)> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for flip in &self.flips {
            let count = counts.entry(of(flip)).or_default();
            *count = count.saturating_add(1);
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|(_, one), (_, other)| other.cmp(one));
        counts
    }

    fn groups(&self) -> [(&'static str, Vec<(String, usize)>); 3] {
        [
            (
                "rule",
                self.grouped(|flip| format!("{} -> {}", flip.before.told(), flip.after.told())),
            ),
            ("tool", self.grouped(|flip| flip.tool.clone())),
            ("subject", self.grouped(|flip| flip.subject.clone())),
        ]
    }

    fn pretty(&self, seconds: f64) -> String {
        let mut text = String::new();
        for flip in self.flips.iter().take(LISTED_MAX) {
            let id = flip.id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
            text.push_str(&format!(
                "line {}{id}: {} for {}: {} -> {}\n",
                flip.line,
                flip.tool,
                flip.subject,
                flip.before.told(),
                flip.after.told()
            ));
        }
        if LISTED_MAX < self.flips.len() {
            text.push_str(&format!("and {} more\n", self.flips.len().saturating_sub(LISTED_MAX)));
        }
        for (name, counts) in self.groups().iter().filter(|(_, counts)| !counts.is_empty()) {
            text.push_str(&format!("\nby {name}:\n"));
            for (what, count) in counts {
                text.push_str(&format!("{count:8}  {what}\n"));
            }
        }
        if !self.flips.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!(
            "{} judged in {seconds:.3} s: {} would change, {} by another rule alone\n",
            self.judged,
            self.flips.len(),
            self.other_rule
        ));
        text
    }

    fn as_json(&self) -> Value {
        let flips: Vec<Value> = self
            .flips
            .iter()
            .map(|flip| {
                json!({
                    "line": flip.line, "id": flip.id, "tool": flip.tool, "subject": flip.subject,
                    "before": flip.before.as_json(), "after": flip.after.as_json(),
                })
            })
            .collect();
        let groups = self.groups().map(|(name, counts)| {
            let counts: Vec<Value> = counts
                .into_iter()
                .map(|(what, count)| json!({"what": what, "count": count}))
                .collect();
            (name.to_owned(), Value::from(counts))
        });
        json!({
            "judged": self.judged, "changed": self.flips.len(), "other_rule": self.other_rule, "flips": flips,
            "by": Value::from_iter(groups),
        })
    }
}
