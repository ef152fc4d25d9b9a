//! A policy on the tree interpreter, for its author: queries, tests, and which lines they reached.
//!
//! Owns [`Trial`]. It takes what the register machine does not, `with` above all, since most tests use it. Never decides
//! a call, and nothing that passes here is thereby fit to rule: [`super::Policy::compile`] says that.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::unstable::{Module, Ref};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use super::checks::Rules;
use super::compile::{data, located, start_of, tables};
use super::{PolicyError, PolicySource};

/// After how many steps the interpreter looks at the time.
const TIMER_STEPS: NonZeroU32 = match NonZeroU32::new(64) {
    Some(count) => count,
    None => NonZeroU32::MIN,
};
/// The beginning of the name of a test.
const TEST: &str = "test_";
/// The beginning of the name of a test that is not run.
const TODO: &str = "todo_test_";

/// Modules and data, ready to be asked.
pub struct Trial {
    engine: Engine,
    /// What was reached by engines that a panic ended.
    reached: BTreeMap<String, BTreeSet<u32>>,
    source: PolicySource,
    deadline: Duration,
}

/// A rule that is a test: its last name begins with `test_`, or with `todo_test_`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TestRule {
    /// The file in which its first definition stands.
    pub file: String,
    /// The line of that, from 1.
    pub line: u32,
    /// Its path, such as `data.crm_test.test_owner_reads`.
    pub path: String,
    /// Whether it is only noted, and not to be run.
    pub is_todo: bool,
}

/// What became of a test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is defined, and not false; of a partial rule so is each of its cases.
    Passed,
    /// It is undefined or false; of a partial rule the cases that are false.
    Failed(Vec<String>),
    /// Its evaluation ended with this error, in one line.
    Errored(String),
    /// It was only noted.
    Skipped,
}

/// A test that was run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tested {
    /// What became of it.
    pub verdict: Verdict,
    /// What it printed.
    pub prints: Vec<String>,
}

/// What of a file was evaluated.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FileCoverage {
    /// The name of the file.
    pub file: String,
    /// The lines that were reached.
    pub covered: BTreeSet<u32>,
    /// The lines with something to evaluate that were not.
    pub not_covered: BTreeSet<u32>,
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Trial({} modules)", self.source.modules.len())
    }
}

impl Trial {
    /// Loads `source`; each question may take `deadline`. The tables of the configuration may stand in the data too, since
    /// a policy is tested without a configuration as well.
    ///
    /// # Errors
    /// The first [`PolicyError`]: a syntax error, or data that collides.
    pub fn load(source: PolicySource, deadline: Duration) -> Result<Self, PolicyError> {
        let engine = engine_of(&source, deadline)?;
        Ok(Self {
            engine,
            reached: BTreeMap::new(),
            source,
            deadline,
        })
    }

    /// The tests, in the order of files and lines.
    ///
    /// # Errors
    /// A rule whose name is no path.
    pub fn tests(&mut self) -> Result<Vec<TestRule>, PolicyError> {
        let modules: Vec<Ref<Module>> = self.engine.get_modules().clone();
        let rules = Rules::of(&modules)?;
        let mut tests: Vec<TestRule> = rules
            .firsts()
            .filter_map(|(path, span)| {
                let name = path.rsplit('.').next()?;
                let is_todo = name.starts_with(TODO);
                (is_todo || name.starts_with(TEST)).then(|| TestRule {
                    file: span.source.file().clone(),
                    line: span.line,
                    path: path.to_owned(),
                    is_todo,
                })
            })
            .collect();
        tests.sort();
        Ok(tests)
    }

    /// Runs a test.
    pub fn run(&mut self, test: &TestRule) -> Tested {
        if test.is_todo {
            return Tested {
                verdict: Verdict::Skipped,
                prints: Vec::new(),
            };
        }
        self.engine.set_input(Value::Undefined);
        let answer = self.guarded(|engine| engine.eval_rule(test.path.clone()).map_err(|error| one_line(&error)));
        let verdict = match answer {
            Ok(answer) => verdict(&answer),
            Err(error) => Verdict::Errored(error),
        };
        Tested {
            verdict,
            prints: self.engine.take_prints().unwrap_or_default(),
        }
    }

    /// Asks a query; `input` is JSON, its absence an undefined input. The answer is JSON in the form of `opa eval`: an
    /// object with `result`, which is absent when the query is undefined.
    ///
    /// # Errors
    /// What is wrong with the input or the query, or how its evaluation ended, in one line.
    pub fn eval(&mut self, query: &str, input: Option<&str>) -> Result<String, String> {
        let input = match input {
            Some(text) => data::parse("input", text).map_err(|error| error.to_string())?,
            None => Value::Undefined,
        };
        self.engine.set_input(input);
        let results = self.guarded(|engine| {
            let results = engine.eval_query(query.to_owned(), false);
            results.map_err(|error| one_line(&error))
        })?;
        serde_json::to_string(&results).map_err(|error| error.to_string())
    }

    /// What was printed since the last look.
    pub fn prints(&mut self) -> Vec<String> {
        self.engine.take_prints().unwrap_or_default()
    }

    /// Which lines all questions so far have reached, by file.
    ///
    /// # Errors
    /// What the interpreter says, in one line.
    pub fn coverage(&self) -> Result<Vec<FileCoverage>, String> {
        let report = self.engine.get_coverage_report().map_err(|error| one_line(&error))?;
        let mut files: Vec<FileCoverage> = report
            .files
            .into_iter()
            .map(|file| FileCoverage {
                file: file.path,
                covered: file.covered,
                not_covered: file.not_covered,
            })
            .collect();
        for file in &mut files {
            for line in self.reached.get(&file.file).into_iter().flatten() {
                if file.not_covered.remove(line) {
                    file.covered.insert(*line);
                }
            }
        }
        files.sort_by(|one, other| one.file.cmp(&other.file));
        Ok(files)
    }

    /// Asks the engine; a panic costs it its life and the question its answer, nothing else.
    fn guarded<T>(&mut self, ask: impl FnOnce(&mut Engine) -> Result<T, String>) -> Result<T, String> {
        let engine = &mut self.engine;
        if let Ok(answer) = catch_unwind(AssertUnwindSafe(|| ask(engine))) {
            return answer;
        }
        let report = catch_unwind(AssertUnwindSafe(|| self.engine.get_coverage_report().ok()));
        for file in report.ok().flatten().into_iter().flat_map(|report| report.files) {
            self.reached.entry(file.path).or_default().extend(file.covered);
        }
        self.engine = engine_of(&self.source, self.deadline).map_err(|error| error.to_string())?;
        Err("the evaluation panicked".to_owned())
    }
}

/// An engine with all of `source`, each question bounded by `deadline`.
pub(super) fn engine_of(source: &PolicySource, deadline: Duration) -> Result<Engine, PolicyError> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    engine.set_enable_coverage(true);
    engine.set_gather_prints(true);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: deadline,
        check_interval: TIMER_STEPS,
    });
    for module in &source.modules {
        engine
            .add_policy(module.name.clone(), module.text.clone())
            .map_err(|error| located(&error, || start_of(&module.name)))?;
    }
    for file in &source.data {
        let value = data::parse(&file.name, &file.text)?;
        engine
            .add_data(value)
            .map_err(|error| located(&error, || start_of(&file.name)))?;
    }
    for (name, text) in tables(source) {
        if !text.is_empty() {
            let table = Value::from(BTreeMap::from([(Value::from(name), data::parse(name, text)?)]));
            engine
                .add_data(table)
                .map_err(|error| located(&error, || start_of(name)))?;
        }
    }
    Ok(engine)
}

fn verdict(answer: &Value) -> Verdict {
    match answer {
        Value::Undefined | Value::Bool(false) => Verdict::Failed(Vec::new()),
        Value::Object(cases) => {
            let failed: Vec<String> = cases
                .iter()
                .filter(|(_, case)| matches!(case, Value::Undefined | Value::Bool(false)))
                .map(|(name, _)| name.to_string())
                .collect();
            match failed.is_empty() {
                true => Verdict::Passed,
                false => Verdict::Failed(failed),
            }
        }
        _ => Verdict::Passed,
    }
}

/// What an error of the interpreter says, without the source that it quotes.
fn one_line(error: &impl std::fmt::Display) -> String {
    located(error, || start_of(""))
        .0
        .to_string()
        .trim_start_matches(":1:1: ")
        .to_owned()
}
