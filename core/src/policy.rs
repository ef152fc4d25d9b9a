//! The policy: Rego, compiled once for the register VM, asked on every call and every answer.
//!
//! Owns the compiled program with its data, what may stand in a policy, the input that a policy reads and the form of
//! its answer. It alone touches regorus, and no type of regorus leaves it. It never allows by default: undefined, a
//! conflict, an error, a limit, a panic or an obligation that cannot be carried out is a [`PolicyFailure`]. It never
//! reads a file: sources come in as text.
//!
//! An answer is remembered by everything that it depends on, for those who ask the same again; a policy that reads what
//! is new each time is asked each time.
//!
//! Where the machine is known to fail open, the text is repaired before it is compiled, or the tree interpreter must
//! confirm each allow, or the policy is refused.
//!
//! A policy defines `data.portcullis.request.decision` and `data.portcullis.response.decision`, and may define
//! `data.portcullis.request.visible`. Errors of builtins are undefined, as in OPA's default mode.

use std::fmt;
use std::sync::Arc;

mod checks;
mod compile;
mod decision;
mod directory;
mod explain;
mod input;
mod key;
mod memo;
mod packages;
mod pointer;
mod reads;
mod syntax;
mod trial;
mod worker;

pub use decision::{Action, Decision, Effect, Obligations, PolicyFailure, Redaction};
pub(crate) use directory::{Directory, Row};
pub use explain::{BodyReport, ConditionReport, Explanation, RuleReport, ShownValue};
pub(crate) use input::{Auth, Connection, Operation, Party, RequestInput, ResponseInput, Server, Texts, Tool};
pub use memo::MemoCounts;
pub(crate) use packages::packages;
pub use pointer::{Pointer, PointerError, Step};
pub use trial::{FileCoverage, TestRule, Tested, Trial, Verdict};
pub use worker::{EvalLimits, Worker};

use crate::time::Ticks;
use compile::{Basis, Entry, Replica};
use memo::Remembered;

/// How many answers each worker remembers of a policy by default. With keys and answers of usual length they take two
/// or three mebibytes, and 36 at most.
pub const MEMO_ENTRIES: usize = 4_096;

/// A policy as its author wrote it.
#[derive(Clone, Debug, Default)]
pub struct PolicySource {
    /// The Rego modules.
    pub modules: Vec<SourceFile>,
    /// The data: JSON objects whose members become members of `data`. No two may bring the same one.
    pub data: Vec<SourceFile>,
    /// The tool table of the configuration as JSON; it becomes `data.tools`, and nothing else may.
    pub tools_json: String,
    /// The table of prompts, as `data.prompts`; an empty text stands for an empty table.
    pub prompts_json: String,
    /// The table of resources, as `data.resources`; an empty text stands for an empty table.
    pub resources_json: String,
}

/// One file of a policy.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The name that diagnostics give it.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// What a policy is asked.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Question {
    /// `data.portcullis.request.decision`: whether a call passes.
    Request,
    /// `data.portcullis.response.decision`: whether an answer passes, and what is taken out of it.
    Response,
    /// `data.portcullis.request.visible`: whether the target is shown to the caller.
    Visible,
}

/// Something said about a place in a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What is to be said: one line.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
        } = self;
        write!(formatter, "{file}:{line}:{column}: {message}")
    }
}

/// Why a policy cannot be used. Displayed as `file:line:column: message`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(pub Finding);

/// A compiled policy: one replica for each worker. Cheap to clone.
#[derive(Clone)]
pub struct Policy {
    inner: Arc<Inner>,
    memo_entries: usize,
}

struct Inner {
    confirmed: Vec<Finding>,
    directory: Directory,
    modules_revision: Box<str>,
    replicas: Box<[Arc<Replica>]>,
    request: Basis,
    response: Basis,
    revision: Box<str>,
    visible: Option<Basis>,
}

/// Whether an answer may come from memory, and go there.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Memory {
    Passed,
    Used,
}

/// What a question is about.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Request(&'a RequestInput<'a>),
    Response(&'a ResponseInput<'a>),
}

impl fmt::Debug for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Policy({})", self.inner.revision)
    }
}

impl Policy {
    /// Compiles `source` for `workers` threads. Cold: each replica parses the policy and its data anew, so that the
    /// reference counts of shared values do not bounce between cores.
    ///
    /// # Errors
    /// The first [`PolicyError`]: a syntax error, an entry point that is missing, data that collides, or a construct
    /// that the compiled program cannot carry out safely.
    pub fn compile(source: &PolicySource, workers: usize) -> Result<Self, PolicyError> {
        let built = compile::build(source)?;
        let directory = Directory::of(&built.replica.data);
        let mut replicas = vec![Arc::new(built.replica)];
        for _ in 1..workers {
            replicas.push(Arc::new(compile::build(source)?.replica));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                confirmed: built.confirmed,
                directory,
                modules_revision: compile::modules_revision(source).into_boxed_str(),
                replicas: replicas.into_boxed_slice(),
                request: built.request,
                response: built.response,
                revision: compile::revision(source).into_boxed_str(),
                visible: built.visible,
            }),
            memo_entries: MEMO_ENTRIES,
        })
    }

    /// This policy over the data and tables of `source`. What is compiled is shared, so that an update of data costs no
    /// more than reading it, once for each worker. Cold. A `source` with other modules is compiled anew.
    ///
    /// # Errors
    /// The first [`PolicyError`]: data that cannot be read, that collides, or that stands where a rule does. This policy
    /// stays as it is.
    pub fn with_data(&self, source: &PolicySource) -> Result<Self, PolicyError> {
        let inner = &self.inner;
        if compile::modules_revision(source) != *inner.modules_revision {
            return Self::compile(source, inner.replicas.len());
        }
        let replicas = inner
            .replicas
            .iter()
            .map(|replica| compile::with_data(replica, source).map(Arc::new))
            .collect::<Result<Box<[_]>, _>>()?;
        let directory = replicas
            .first()
            .map_or(&regorus::Value::Undefined, |replica| &replica.data);
        Ok(Self {
            inner: Arc::new(Inner {
                confirmed: inner.confirmed.clone(),
                directory: Directory::of(directory),
                modules_revision: inner.modules_revision.clone(),
                request: inner.request.clone(),
                response: inner.response.clone(),
                visible: inner.visible.clone(),
                revision: compile::revision(source).into_boxed_str(),
                replicas,
            }),
            memo_entries: self.memo_entries,
        })
    }

    /// The same policy with memos of at most `entries` answers at each worker; 0 turns them off.
    #[must_use]
    pub fn with_memo_entries(self, entries: usize) -> Self {
        Self {
            memo_entries: entries,
            ..self
        }
    }

    /// How many answers each worker remembers at most.
    pub const fn memo_entries(&self) -> usize {
        self.memo_entries
    }

    /// The questions about calls whose answers are not remembered, each at the rule that answers it, with the reason.
    /// Nearly every review reads what the answer holds, and is never remembered then.
    pub fn unmemoised(&self) -> impl Iterator<Item = &Finding> {
        let questions = [Some(&self.inner.request), self.inner.visible.as_ref()];
        questions
            .into_iter()
            .flatten()
            .filter(|_| !self.inner.replicas.is_empty())
            .filter_map(|question| question.key.as_ref().err())
    }

    /// How often its questions were answered from memory, all workers together.
    pub fn memo_counts(&self) -> MemoCounts {
        let replicas = self.inner.replicas.iter();
        replicas.fold(MemoCounts::default(), |sum, replica| sum.with(&replica.memo_counts))
    }

    /// The policy of a server that has none yet: nothing can be judged, so every call is refused as such and nothing is
    /// listed.
    pub fn absent() -> Self {
        Self {
            inner: Arc::new(Inner {
                confirmed: Vec::new(),
                directory: Directory::of(&regorus::Value::Undefined),
                modules_revision: Box::default(),
                replicas: Box::default(),
                request: Basis::unknown(),
                response: Basis::unknown(),
                // Asked, and not answered: hidden.
                visible: Some(Basis::unknown()),
                revision: Box::from("none"),
            }),
            memo_entries: 0,
        }
    }

    /// What this policy is: the SHA-256 of its sources, in hexadecimal.
    pub fn revision(&self) -> &str {
        &self.inner.revision
    }

    /// The places that make the tree interpreter confirm each allow, because the compiled program would not see a
    /// conflict there. Empty: every decision takes the fast way.
    pub fn confirmed(&self) -> &[Finding] {
        &self.inner.confirmed
    }

    /// Whether a review reads the arguments of the call: only then need the input carry them.
    pub fn review_reads_arguments(&self) -> bool {
        self.inner.response.reads.covers(&["request", "arguments"])
    }

    /// Whom the policy's data knows.
    pub(crate) fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// Whether a decision on a call, or on what a caller sees, may depend on this part of the input: `["subject",
    /// "issuer"]` for `input.subject.issuer`. A policy that takes the whole of something reads each part of it.
    pub fn decision_reads(&self, path: &[&str]) -> bool {
        let visible = self.inner.visible.as_ref();
        self.inner.request.reads.covers(path) || visible.is_some_and(|visible| visible.reads.covers(path))
    }

    /// Judges a call.
    ///
    /// # Errors
    /// [`PolicyFailure`] when there is no decision; the call is then refused.
    pub(crate) fn decide(
        &self,
        input: &RequestInput<'_>,
        worker: &mut Worker,
        limits: &EvalLimits,
        ticks: &dyn Ticks,
    ) -> Result<Arc<Decision>, PolicyFailure> {
        let question = (Entry::Request, &self.inner.request);
        self.decision_on(question, Asked::Request(input), worker, limits, ticks)
    }

    /// Whether the policy says which tools are shown to whom.
    pub(crate) fn has_visible(&self) -> bool {
        self.inner.visible.is_some()
    }

    /// Says whether a tool is shown to the caller; `true` when the policy has no `visible`, since the scope table
    /// alone then decides. That it is not is never remembered: lists ask about every tool that there is, so that a quick
    /// refusal would tell it from one that there is not.
    ///
    /// # Errors
    /// [`PolicyFailure`] when it could not be evaluated; the tool is then hidden.
    pub(crate) fn visible(
        &self,
        input: &RequestInput<'_>,
        worker: &mut Worker,
        limits: &EvalLimits,
        ticks: &dyn Ticks,
    ) -> Result<bool, PolicyFailure> {
        self.shows(Memory::Used, input, worker, limits, ticks)
    }

    /// The same of what has no row, whatever the answer: it takes the time that a refusal of what is hidden takes.
    ///
    /// # Errors
    /// As [`Policy::visible`].
    pub(crate) fn visible_anew(
        &self,
        input: &RequestInput<'_>,
        worker: &mut Worker,
        limits: &EvalLimits,
        ticks: &dyn Ticks,
    ) -> Result<bool, PolicyFailure> {
        self.shows(Memory::Passed, input, worker, limits, ticks)
    }

    fn shows(
        &self,
        memory: Memory,
        input: &RequestInput<'_>,
        worker: &mut Worker,
        limits: &EvalLimits,
        ticks: &dyn Ticks,
    ) -> Result<bool, PolicyFailure> {
        let Some(visible) = &self.inner.visible else {
            return Ok(true);
        };
        let question = (Entry::Visible, visible, memory);
        match self.answer(question, Asked::Request(input), worker, limits, ticks)? {
            Remembered::Visible(visible) => Ok(visible),
            Remembered::Decision(_) => Err(PolicyFailure::Shape),
        }
    }

    /// Judges an answer.
    ///
    /// # Errors
    /// [`PolicyFailure`] when there is no decision; the answer is then withheld.
    pub(crate) fn review(
        &self,
        input: &ResponseInput<'_>,
        worker: &mut Worker,
        limits: &EvalLimits,
        ticks: &dyn Ticks,
    ) -> Result<Arc<Decision>, PolicyFailure> {
        let question = (Entry::Response, &self.inner.response);
        self.decision_on(question, Asked::Response(input), worker, limits, ticks)
    }

    fn decision_on(
        &self,
        (entry, question): (Entry, &Basis),
        asked: Asked<'_>,
        worker: &mut Worker,
        limits: &EvalLimits,
        ticks: &dyn Ticks,
    ) -> Result<Arc<Decision>, PolicyFailure> {
        match self.answer((entry, question, Memory::Used), asked, worker, limits, ticks)? {
            Remembered::Decision(decision) => Ok(decision),
            Remembered::Visible(_) => Err(PolicyFailure::Shape),
        }
    }

    /// The answer to a question, from memory where there is one. What failed is asked again the next time.
    fn answer(
        &self,
        (entry, question, memory): (Entry, &Basis, Memory),
        asked: Asked<'_>,
        worker: &mut Worker,
        limits: &EvalLimits,
        ticks: &dyn Ticks,
    ) -> Result<Remembered, PolicyFailure> {
        let replica = self.replica(worker)?;
        let keyed = 0 < self.memo_entries && asked.write_key(question, worker);
        if keyed {
            let remembered = worker.recall(replica, self.memo_entries, limits);
            if let Some(answer) = remembered.filter(|_| memory == Memory::Used) {
                replica.memo_counts.hit();
                return Ok(answer);
            }
            replica.memo_counts.miss();
        } else {
            replica.memo_counts.bypass();
        }
        let value = asked.value(question, worker)?;
        let value = worker.evaluate(replica, entry, value, limits, ticks)?;
        let answer = match entry {
            Entry::Visible => Remembered::Visible(decision::is_true(&value)),
            Entry::Request => Remembered::Decision(Arc::new(decision::read(&value)?)),
            Entry::Response => {
                let decision = decision::read(&value)?;
                // The call was made: no later login changes who made it.
                if decision.obligations.authenticate.is_some() {
                    return Err(PolicyFailure::Obligation);
                }
                Remembered::Decision(Arc::new(decision))
            }
        };
        let told_apart = answer == Remembered::Visible(false) || memory == Memory::Passed;
        if keyed && !told_apart {
            worker.remember(replica, self.memo_entries, limits, &answer);
        }
        Ok(answer)
    }

    /// Judges an input that comes as JSON, such as one that was recorded, with the engine, the limits and the reading of the
    /// answer that a call has. For [`Question::Visible`] the effect alone tells. The form of the input is not looked at.
    ///
    /// # Errors
    /// [`PolicyFailure`] when there is no decision; [`PolicyFailure::Input`] when the input is no JSON.
    pub fn ask(
        &self,
        question: Question,
        input: &str,
        worker: &mut Worker,
        limits: &EvalLimits,
        ticks: &dyn Ticks,
    ) -> Result<Decision, PolicyFailure> {
        let input = compile::data::parse("input", input).map_err(|_| PolicyFailure::Input)?;
        if question == Question::Visible && self.inner.visible.is_none() {
            return Ok(Decision::of_visible(true));
        }
        let answer = worker.evaluate(self.replica(worker)?, question.into(), input, limits, ticks)?;
        match question {
            Question::Visible => Ok(Decision::of_visible(decision::is_true(&answer))),
            Question::Request | Question::Response => decision::read(&answer),
        }
    }

    /// The replica of this worker; workers beyond the number compiled for share.
    fn replica(&self, worker: &Worker) -> Result<&Arc<Replica>, PolicyFailure> {
        let replicas = &self.inner.replicas;
        let index = worker.index().checked_rem(replicas.len()).unwrap_or(0);
        replicas.get(index).ok_or(PolicyFailure::Absent)
    }
}

impl Asked<'_> {
    /// Leaves the key of the answer with the worker; `false` when it has none.
    fn write_key(self, question: &Basis, worker: &mut Worker) -> bool {
        let Worker { claims, key, .. } = worker;
        match (&question.key, self) {
            (Ok(plan), Self::Request(input)) => plan.request(input, claims, key),
            (Ok(plan), Self::Response(input)) => plan.response(input, claims, key),
            (Err(_), _) => false,
        }
    }

    /// What the machine is given: nothing that the key does not tell.
    fn value(self, question: &Basis, worker: &mut Worker) -> Result<regorus::Value, PolicyFailure> {
        match self {
            Self::Request(input) => input::request(input, &question.reads, worker),
            Self::Response(input) => input::response(input, &question.reads, worker),
        }
    }
}

#[cfg(test)]
mod tests;
