//! OPA's own compliance cases, asked the way a call is: loaded with every check, guarded, compiled for the machine, run
//! under limits, and confirmed where a policy says so.
//!
//! Each case becomes two policies. One allows with the bindings of the case's query as its answer: it may give OPA's
//! bindings or nothing. The other allows if the term of the query does *not* hold: where OPA has a value that is not
//! `false`, or an error that is not one of builtins (which are undefined in OPA's default mode), it may not allow. So
//! "no more permissive" is meant for every kind of value: no condition built on the answer passes, positive or negated,
//! that OPA would not pass. A failure denies, and is never more permissive.
//!
//! The cases run in a child process, so that one that ends the process is found and named.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use regorus::{Engine, Value};
use serde_json::Value as Json;

use super::super::compile;
use super::*;

mod report;

use report::{Counts, Outcome};

/// Where the child finds the number of its first case, and the file for its outcomes.
const CHILD: &str = "PORTCULLIS_OPA_CHILD";
/// This test's own name, for the child.
const NAME: &str = "policy::tests::opa::each_case_of_opa_holds_or_is_refused_or_is_listed";

/// One case of the corpus.
struct Case {
    data: Json,
    input: Option<Value>,
    modules: Vec<String>,
    note: String,
    query: String,
    sort_bindings: bool,
    wanted: Wanted,
}

/// What OPA makes of a case.
enum Wanted {
    /// An error; whether it is one of builtins, which OPA tells of in its strict mode alone.
    Error { strict: bool },
    /// The bindings of each answer.
    Answers(Vec<Json>),
}

/// What this engine makes of one policy.
#[derive(Debug)]
enum Answer {
    Failed(PolicyFailure),
    Refused(String),
    Undefined,
    Value(Json),
}

#[test]
fn each_case_of_opa_holds_or_is_refused_or_is_listed() {
    let Some((cases, path)) = corpus() else { return };
    let child = environment(CHILD);
    if let Some((from, outcomes)) = child.as_deref().and_then(|child| child.split_once(' ')) {
        return run(&cases, from.parse().unwrap(), Path::new(outcomes));
    }
    if environment("PORTCULLIS_TEST_RUNNER").is_some() {
        return say(
            "opa: left out under emulation, where a test starts no child of its own and the cases say the same",
        );
    }
    let outcomes = run_in_children(cases.len());
    let mut counts = Counts::default();
    for (case, outcome) in cases.iter().zip(outcomes) {
        counts.add(&case.note, outcome);
    }
    counts.print(&path);
    let faults = counts.faults();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The cases of the folders that regorus claims, and the file they stand in.
#[expect(clippy::disallowed_methods, reason = "the test reads the corpus")]
fn corpus() -> Option<(Vec<Case>, PathBuf)> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let folder = environment("PORTCULLIS_CORPORA")
        .map_or_else(beside, PathBuf::from)
        .join("rego");
    let path = folder.join("opa_compliance_v1.jsonl");
    let Ok(text) = fs::read_to_string(&path) else {
        assert_ne!(
            environment("CI").as_deref(),
            Some("true"),
            "no cases at {}",
            path.display()
        );
        say("OPA compliance: left out, there are no cases");
        return None;
    };
    let claimed = fs::read_to_string(folder.join("regorus-0.14.1.opa.passing")).unwrap_or_default();
    let claimed: Vec<&str> = claimed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("v1/"))
        .collect();
    let documents = text.lines().filter(|line| !line.trim().is_empty());
    let cases = documents
        .map(|line| serde_json::from_str::<Json>(line).unwrap())
        // Without a list of what is claimed, everything is.
        .filter(|case| claimed.is_empty() || case["folder"].as_str().is_some_and(|folder| claimed.contains(&folder)))
        .map(|case| Case::of(&case))
        .collect();
    Some((cases, path))
}

#[expect(clippy::disallowed_methods, reason = "the corpus lies where the environment says")]
fn environment(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// Says a line past the test harness, which holds back what passes.
fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
}

/// Runs all cases in children, a new one after each that ends early.
#[expect(clippy::disallowed_types, reason = "a case that aborts must not end this test")]
#[expect(clippy::disallowed_methods, reason = "the children write their outcomes to a file")]
fn run_in_children(count: usize) -> Vec<Outcome> {
    let folder = tempfile::tempdir().unwrap();
    let mut outcomes = Vec::new();
    while outcomes.len() < count {
        let file = folder.path().join(outcomes.len().to_string());
        let status = std::process::Command::new(env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, format!("{} {}", outcomes.len(), file.display()))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        let text = fs::read_to_string(&file).unwrap();
        outcomes.extend(text.lines().map(|line| serde_json::from_str::<Outcome>(line).unwrap()));
        if outcomes.len() < count {
            outcomes.push(Outcome::Wrong(format!("the process ended: {status}")));
        }
    }
    outcomes
}

/// Runs the cases from number `from`, writing each outcome before the next case begins.
fn run(cases: &[Case], from: usize, outcomes: &Path) {
    let mut file = fs::File::create(outcomes).unwrap();
    for case in cases.get(from..).unwrap() {
        let line = serde_json::to_string(&case.outcome()).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

impl Case {
    fn of(case: &Json) -> Self {
        let text = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
        let strict = case["strict_error"] == true;
        let wanted = match case["want_result"].as_array() {
            Some(answers) => Wanted::Answers(answers.clone()),
            None => Wanted::Error { strict },
        };
        let modules = case["modules"].as_array().into_iter().flatten();
        Self {
            data: case["data"].clone(),
            input: input(case),
            modules: modules.map(|module| module.as_str().unwrap().to_owned()).collect(),
            note: text("note"),
            query: text("query"),
            sort_bindings: case["sort_bindings"] == true,
            wanted,
        }
    }

    /// The variables of the query, which are the names of its bindings.
    fn variables(&self) -> Vec<String> {
        let answers = match &self.wanted {
            Wanted::Answers(answers) => answers.as_slice(),
            Wanted::Error { .. } => &[],
        };
        match answers.first().and_then(Json::as_object) {
            Some(bindings) => bindings.keys().cloned().collect(),
            None => self
                .term()
                .into_iter()
                .map(|(_, variable)| variable.to_owned())
                .collect(),
        }
    }

    /// The two sides of a query `term = variable`.
    fn term(&self) -> Option<(&str, &str)> {
        let (term, variable) = self.query.rsplit_once(" = ")?;
        let is_plain = !term.contains([';', '\n', '=']) && term.starts_with("data");
        let is_name = variable
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        (is_plain && is_name && variable != "input").then_some((term, variable))
    }

    fn outcome(&self) -> Outcome {
        let bindings: Vec<String> = self
            .variables()
            .iter()
            .map(|name| format!("\"{name}\": {name}"))
            .collect();
        let bindings = format!("{{{}}}", bindings.join(", "));
        let query = &self.query;
        let several = matches!(&self.wanted, Wanted::Answers(answers) if 1 < answers.len());
        let decision = match several {
            true => format!("decision := {{\"allow\": true, \"answer\": [{bindings} | {query}]}}"),
            false => format!("decision := {{\"allow\": true, \"answer\": [{bindings}]}} if {{ {query} }}"),
        };
        let answer = self.ask(&decision);
        let negated = match (&answer, self.term()) {
            (Answer::Refused(reason), _) => return Outcome::Refused(reason.clone()),
            (_, Some((term, _))) => self.ask(&format!(
                "decision := {{\"allow\": true, \"answer\": []}} if not {term}"
            )),
            (_, None) => Answer::Undefined,
        };
        self.judge(answer, matches!(negated, Answer::Value(_)))
    }

    fn judge(&self, answer: Answer, absent: bool) -> Outcome {
        match (&self.wanted, answer) {
            (Wanted::Answers(wanted), _) if absent && wanted.first().is_some_and(|bindings| !is_false(bindings)) => {
                Outcome::Wrong(format!("`not` of it holds, although OPA gives {wanted:?}"))
            }
            (Wanted::Error { strict: false }, _) if absent => {
                Outcome::Wrong("`not` of it holds, although OPA gives an error".to_owned())
            }
            (Wanted::Error { .. }, Answer::Value(given)) => Outcome::Wrong(format!("{given} instead of an error")),
            (Wanted::Error { .. }, _) => Outcome::ErrorWanted,
            (Wanted::Answers(wanted), Answer::Value(given)) => {
                if same(&given, wanted, self.sort_bindings) {
                    Outcome::Wanted
                } else {
                    Outcome::Wrong(format!("{given} instead of {wanted:?}"))
                }
            }
            (Wanted::Answers(wanted), Answer::Undefined) if wanted.is_empty() => Outcome::Wanted,
            (Wanted::Answers(_), Answer::Undefined) => Outcome::Stricter("undefined".to_owned()),
            (Wanted::Answers(_), Answer::Failed(failure)) => Outcome::Stricter(failure.to_string()),
            (Wanted::Answers(_), Answer::Refused(reason)) => Outcome::Refused(reason),
        }
    }

    /// Loads the case's policy with `decision` in it, and asks for that.
    fn ask(&self, decision: &str) -> Answer {
        let file = |name: String, text: String| SourceFile { name, text };
        let mut modules = vec![file(
            "question.rego".to_owned(),
            format!("package portcullis.request\n\n{decision}\n"),
        )];
        let numbered = self.modules.iter().enumerate();
        modules.extend(numbered.map(|(number, text)| file(format!("module{number}.rego"), text.clone())));
        let data = match &self.data {
            Json::Null => Vec::new(),
            data => vec![file("data.json".to_owned(), data.to_string())],
        };
        let source = PolicySource {
            modules,
            data,
            ..PolicySource::default()
        };
        let replica = match compile::build_for(&source, Entry::Request.path()) {
            Ok(replica) => Arc::new(replica),
            Err(error) => return Answer::Refused(error.to_string()),
        };
        let input = self.input.clone().unwrap_or(Value::Undefined);
        match Worker::new(0).evaluate(&replica, Entry::Request, input, &LIMITS, &Steps::of(0)) {
            Ok(Value::Undefined) => Answer::Undefined,
            Ok(answer) => {
                let mut answer: Json = serde_json::from_str(&answer.to_json_str().unwrap()).unwrap();
                Answer::Value(answer["answer"].take())
            }
            Err(failure) => Answer::Failed(failure),
        }
    }
}

/// The input of a case: a document, or a term that the interpreter makes one of.
fn input(case: &Json) -> Option<Value> {
    match case.get("input_term").and_then(Json::as_str) {
        Some(term) => {
            let results = Engine::new().eval_query(term.to_owned(), false).unwrap();
            Some(results.result.last()?.expressions.last()?.value.clone())
        }
        None => case
            .get("input")
            .map(|input| Value::from_json_str(&input.to_string()).unwrap()),
    }
}

/// Whether the only binding is `false`, of which `not` holds.
fn is_false(bindings: &Json) -> bool {
    bindings
        .as_object()
        .is_some_and(|bindings| bindings.values().all(|value| *value == false))
}

/// Whether the answers are OPA's: as JSON, in which a set is the array of its elements in order. `sort` says that the
/// arrays of the bindings have no order; the answers themselves never have.
fn same(given: &Json, wanted: &[Json], sort: bool) -> bool {
    let canonical = |answers: &[Json]| {
        let mut answers = answers.to_vec();
        if sort {
            let bindings = answers.iter_mut().filter_map(Json::as_object_mut);
            bindings.flat_map(|bindings| bindings.values_mut()).for_each(sort_array);
        }
        let mut answers: Vec<Value> = answers
            .iter()
            .map(|answer| Value::from_json_str(&answer.to_string()).unwrap())
            .collect();
        answers.sort();
        answers
    };
    given
        .as_array()
        .is_some_and(|given| canonical(given) == canonical(wanted))
}

fn sort_array(value: &mut Json) {
    if let Some(elements) = value.as_array_mut() {
        elements.sort_by_key(ToString::to_string);
    }
}
