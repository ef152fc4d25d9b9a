//! From sources to a replica: the compiled program, its data and, where needed, an interpreter.
//!
//! Owns the order of loading and the place of every error: file, line and column. Only what the entry points reach is
//! compiled. Never evaluates the policy.

use std::fmt::{Display, Write};
use std::sync::Arc;

use regorus::languages::rego::compiler::{Compiler, SpannedCompilerError};
use regorus::rvm::Program;
use regorus::unstable::{Module, Ref, Span};
use regorus::{Engine, Value};

use super::checks::{self, Checked, Rules, TABLES};
use super::key::{KeyPlan, Unmemoised};
use super::memo::Counts;
use super::reads::{self, Reads};
use super::{Finding, PolicyError, PolicySource, Question, SourceFile};
use crate::crypto::{self, Sha256};

pub(super) mod data;
mod guard;

/// The questions that a policy answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    Request,
    Response,
    Visible,
}

impl From<Question> for Entry {
    fn from(question: Question) -> Self {
        match question {
            Question::Request => Self::Request,
            Question::Response => Self::Response,
            Question::Visible => Self::Visible,
        }
    }
}

impl Entry {
    /// The path of the rule that answers.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Request => "data.portcullis.request.decision",
            Self::Response => "data.portcullis.response.decision",
            Self::Visible => "data.portcullis.request.visible",
        }
    }
}

/// What one worker evaluates.
pub(super) struct Replica {
    pub(super) data: Value,
    /// Present when each allow must be confirmed.
    pub(super) interpreter: Option<Engine>,
    pub(super) memo_counts: Counts,
    pub(super) program: Arc<Program>,
}

/// What is known of one question before it is asked.
#[derive(Clone)]
pub(super) struct Basis {
    /// The key of its answers; where it has none, why.
    pub(super) key: Result<KeyPlan, Finding>,
    pub(super) reads: Reads,
}

impl Basis {
    /// Of a policy that is not there: nothing is read, and nothing remembered.
    pub(super) fn unknown() -> Self {
        Self {
            key: Err(Finding {
                message: "there is no policy yet".to_owned(),
                ..start_of("policy")
            }),
            reads: Reads::default(),
        }
    }
}

/// Builtins that may answer differently to the same arguments. Those that can be loaded are refused as well, and stand
/// here so that no change of that makes the memo wrong.
const IMPURE: [&str; 8] = [
    "http.send",
    "net.lookup_ip_addr",
    "opa.runtime",
    "rand.intn",
    "test.sleep",
    "time.now_ns",
    "trace",
    "uuid.rfc4122",
];

/// A replica and what was learnt while building it.
pub(super) struct Built {
    pub(super) confirmed: Vec<Finding>,
    pub(super) replica: Replica,
    pub(super) request: Basis,
    pub(super) response: Basis,
    /// Absent when the policy has no such rule.
    pub(super) visible: Option<Basis>,
}

/// Compiles `source` once, for the questions that the gate asks.
pub(super) fn build(source: &PolicySource) -> Result<Built, PolicyError> {
    let parsed = parse(source)?;
    let rules = Rules::of(&parsed.modules)?;
    checks::modules(&parsed.modules)?;
    let entries = entries(source, &rules)?;
    let paths: Vec<&str> = entries.iter().map(|entry| entry.path()).collect();
    let assembled = assemble(source, &parsed, &rules, &paths)?;
    let program = &assembled.replica.program;
    let compiled = reads::reads_by_rule(program);
    let reads = |entry: Entry| {
        let mut reads = Reads::default();
        parsed.modules.iter().for_each(|module| reads.add_imports(module));
        for path in assembled.checked.calls.reached_from(entry.path()).chain([""]) {
            rules.definitions(path).for_each(|rule| reads.add_rule(rule));
            compiled.get(path).into_iter().for_each(|more| reads.join(more));
        }
        reads
    };
    let question = |entry: Entry| {
        let reads = reads(entry);
        let key = match impure(program) {
            Some(builtin) => Err(Unmemoised::Impure(builtin.to_owned())),
            None => KeyPlan::new(entry, &reads),
        };
        let key = key.map_err(|reason| {
            let message = format!("no answer of `{}` is remembered: {reason}", entry.path());
            match rules.span_of(entry.path()) {
                Some(span) => finding_at(span, message),
                None => Finding {
                    message,
                    ..first_of(source)
                },
            }
        });
        Basis { key, reads }
    };
    let (request, response) = (question(Entry::Request), question(Entry::Response));
    let visible = entries.contains(&Entry::Visible).then(|| question(Entry::Visible));
    Ok(Built {
        request,
        response,
        visible,
        replica: assembled.replica,
        confirmed: assembled.checked.confirmed,
    })
}

/// The modules of a policy and the interpreter that holds them.
struct Parsed {
    engine: Engine,
    modules: Vec<Ref<Module>>,
}

/// What became of a policy, whatever it is asked.
struct Assembled {
    checked: Checked,
    replica: Replica,
}

fn parse(source: &PolicySource) -> Result<Parsed, PolicyError> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    for module in &source.modules {
        engine
            .add_policy(module.name.clone(), module.text.clone())
            .map_err(|error| located(&error, || start_of(&module.name)))?;
    }
    let modules = engine.get_modules().clone();
    Ok(Parsed { engine, modules })
}

/// Compiles what the rules at `paths` reach, with every check that a policy must pass.
fn assemble(
    source: &PolicySource,
    parsed: &Parsed,
    rules: &Rules<'_>,
    paths: &[&str],
) -> Result<Assembled, PolicyError> {
    let data = load_data(source)?;
    let mut engine = parsed.engine.clone();
    let first = || first_of(source);
    engine.add_data(data.clone()).map_err(|error| located(&error, first))?;
    // The text as written is compiled for its errors alone; the machine runs the guarded one.
    compile(&mut engine, paths, rules, first)?;
    let program = compile(&mut guarded(source, &parsed.modules)?, paths, rules, first)?;
    program
        .check_rule_data_conflicts(&data)
        .map_err(|error| located(&error, first))?;
    let checked = checks::program(&program, rules)?;
    Ok(Assembled {
        replica: Replica {
            data,
            interpreter: (!checked.confirmed.is_empty()).then_some(engine),
            memo_counts: Counts::default(),
            program,
        },
        checked,
    })
}

/// The replica of a policy that answers the rule at `path`, whatever that is: the way of a real policy for tests.
#[cfg(test)]
pub(super) fn build_for(source: &PolicySource, path: &str) -> Result<Replica, PolicyError> {
    let parsed = parse(source)?;
    let rules = Rules::of(&parsed.modules)?;
    checks::modules(&parsed.modules)?;
    Ok(assemble(source, &parsed, &rules, &[path])?.replica)
}

/// `replica` with the data of `source`, whose modules are those that it was compiled from.
pub(super) fn with_data(replica: &Replica, source: &PolicySource) -> Result<Replica, PolicyError> {
    let data = load_data(source)?;
    let first = || first_of(source);
    replica
        .program
        .check_rule_data_conflicts(&data)
        .map_err(|error| located(&error, first))?;
    let mut interpreter = replica.interpreter.clone();
    if let Some(engine) = &mut interpreter {
        engine.clear_data();
        engine.add_data(data.clone()).map_err(|error| located(&error, first))?;
        // It prepares itself when it is asked next: here, where nobody waits for it.
        engine
            .compile_with_entrypoint(&Arc::from(Entry::Request.path()))
            .map_err(|error| located(&error, first))?;
    }
    Ok(Replica {
        data,
        interpreter,
        memo_counts: Counts::default(),
        program: Arc::clone(&replica.program),
    })
}

/// The first builtin of `program` that may answer differently to the same arguments.
fn impure(program: &Program) -> Option<&str> {
    let mut builtins = program.builtin_info_table.iter().map(|builtin| builtin.name.as_str());
    builtins.find(|builtin| program.has_host_await || IMPURE.contains(builtin))
}

/// Compiles what `paths` reach for the register machine.
fn compile(
    engine: &mut Engine,
    paths: &[&str],
    rules: &Rules<'_>,
    first: impl Fn() -> Finding,
) -> Result<Arc<Program>, PolicyError> {
    let compiled = engine
        .compile_with_entrypoint(&Arc::from(paths.first().copied().unwrap_or_default()))
        .map_err(|error| located(&error, &first))?;
    Compiler::compile_from_policy(&compiled, paths).map_err(|error| compiler_error(&error, rules, first))
}

/// An engine with the guarded modules.
fn guarded(source: &PolicySource, modules: &[Ref<Module>]) -> Result<Engine, PolicyError> {
    let mut engine = Engine::new();
    for (file, module) in source.modules.iter().zip(modules) {
        let guarded = guard::guarded(module, &file.text);
        let upset = |message: String| {
            PolicyError(Finding {
                message: format!("the assignments of this file cannot be guarded: {message}"),
                ..start_of(&file.name)
            })
        };
        engine
            .add_policy(file.name.clone(), guarded.text)
            .map_err(|error| upset(located(&error, || start_of(&file.name)).0.message))?;
        let statements = engine.get_modules().last().map(|module| guard::statements(module));
        if statements != Some(guarded.statements) {
            return Err(upset("a guard went astray".to_owned()));
        }
    }
    Ok(engine)
}

/// The SHA-256 of the modules alone, in hexadecimal.
pub(super) fn modules_revision(source: &PolicySource) -> String {
    let mut digest = Sha256::default();
    add_files(&mut digest, b"modules", &source.modules);
    crypto::hex(&digest.finish())
}

fn add_files(digest: &mut Sha256, kind: &[u8], files: &[SourceFile]) {
    digest.update_framed(kind);
    digest.update_framed(&u64::try_from(files.len()).unwrap_or(u64::MAX).to_le_bytes());
    for SourceFile { name, text } in files {
        digest.update_framed(name.as_bytes());
        digest.update_framed(text.as_bytes());
    }
}

/// The SHA-256 of `source` in hexadecimal; each part with its length in front, so that no two sources collide.
pub(super) fn revision(source: &PolicySource) -> String {
    let mut digest = Sha256::default();
    add_files(&mut digest, b"modules", &source.modules);
    add_files(&mut digest, b"data", &source.data);
    for (_, table) in tables(source) {
        digest.update_framed(table.as_bytes());
    }
    crypto::hex(&digest.finish())
}

/// The entry points that the policy has.
fn entries(source: &PolicySource, rules: &Rules<'_>) -> Result<Vec<Entry>, PolicyError> {
    let mut entries = Vec::new();
    for (entry, required) in [(Entry::Request, true), (Entry::Response, true), (Entry::Visible, false)] {
        match rules.is_defined(entry.path()) {
            true => entries.push(entry),
            false if required => {
                let mut finding = first_of(source);
                let _ = write!(finding.message, "the policy does not define `{}`", entry.path());
                return Err(PolicyError(finding));
            }
            false => {}
        }
    }
    Ok(entries)
}

/// The scope tables with the names that they have in `data`, under which they are diagnosed too.
pub(super) fn tables(source: &PolicySource) -> [(&'static str, &str); 3] {
    let [tools, prompts, resources] = TABLES;
    [
        (tools, &source.tools_json),
        (prompts, &source.prompts_json),
        (resources, &source.resources_json),
    ]
}

/// The data of all files in one object, with the scope tables.
fn load_data(source: &PolicySource) -> Result<Value, PolicyError> {
    let mut whole = regorus::value::Object::new();
    for file in &source.data {
        let Value::Object(members) = data::parse(&file.name, &file.text)? else {
            return Err(data_error(&file.name, "the data is not an object".to_owned()));
        };
        for (key, value) in members.iter() {
            if let Some(table) = TABLES.into_iter().find(|table| *key == Value::from(*table)) {
                let message = format!("`{table}` is a table of the configuration; data may not bring its own");
                return Err(data_error(&file.name, message));
            }
            if whole.contains_key(key) {
                return Err(data_error(&file.name, format!("the member {key} stands in two files")));
            }
            whole.extend([(key.clone(), value.clone())]);
        }
    }
    for (name, text) in tables(source) {
        let text = if text.is_empty() { "{}" } else { text };
        whole.extend([(Value::from(name), data::parse(name, text)?)]);
    }
    Ok(Value::from(whole))
}

fn data_error(file: &str, message: String) -> PolicyError {
    PolicyError(Finding {
        message,
        ..start_of(file)
    })
}

/// The beginning of the first module, with nothing said yet.
fn first_of(source: &PolicySource) -> Finding {
    start_of(source.modules.first().map_or("policy", |module| module.name.as_str()))
}

/// The beginning of `file`, with nothing said yet.
pub(super) fn start_of(file: &str) -> Finding {
    Finding {
        file: file.to_owned(),
        line: 1,
        column: 1,
        message: String::new(),
    }
}

/// A finding at `span`.
pub(super) fn finding_at(span: &Span, message: impl Into<String>) -> Finding {
    Finding {
        file: span.source.file().clone(),
        line: span.line,
        column: span.col,
        message: message.into(),
    }
}

/// The error of the compiler at its place. Some have none: then at the call or the rule that they name.
fn compiler_error(error: &SpannedCompilerError, rules: &Rules<'_>, first: impl FnOnce() -> Finding) -> PolicyError {
    let text = error.error.to_string();
    let message = text.strip_prefix("Compilation error: ").unwrap_or(&text);
    // Some errors carry their place in their text, and it is the narrower one.
    if message.contains("--> ") {
        return located(&message, first);
    }
    if let Some(refusal) = rules.refusal_named_in(message) {
        return PolicyError(refusal);
    }
    let span = error.span.as_ref().or_else(|| rules.span_named_in(message));
    match span {
        Some(span) => PolicyError(finding_at(span, message)),
        None => located(&message, first),
    }
}

/// Reads the place out of a message in regorus' form, `\n--> file:line:column\n<source>\nerror: message`; `fallback`
/// says where a message without a place belongs.
pub(super) fn located(error: &impl Display, fallback: impl FnOnce() -> Finding) -> PolicyError {
    let text = error.to_string();
    let place = text
        .lines()
        .find_map(|line| line.strip_prefix("--> "))
        .and_then(|place| {
            let (rest, column) = place.rsplit_once(':')?;
            let (file, line) = rest.rsplit_once(':')?;
            Some((file.to_owned(), line.parse().ok()?, column.parse().ok()?))
        });
    let said = text.lines().find_map(|line| line.strip_prefix("error: "));
    PolicyError(match (place, said) {
        (Some((file, line, column)), Some(message)) => Finding {
            file,
            line,
            column,
            message: message.to_owned(),
        },
        _ => Finding {
            message: text
                .lines()
                .find(|line| !line.trim().is_empty())
                .unwrap_or_default()
                .trim()
                .to_owned(),
            ..fallback()
        },
    })
}
