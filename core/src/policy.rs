//! The policy: Rego, compiled once for the register VM, asked on every call and every answer.
//!
//! Owns the compiled program with its data, what may stand in a policy, the input that a policy reads and the form of
//! its answer. It alone touches regorus, and no type of regorus leaves it. It never allows by default: undefined, a
//! conflict, an error, a limit, a panic or an obligation that cannot be carried out is a [`PolicyFailure`]. It never
//! reads a file: sources come in as text.
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
pub(crate) use packages::packages;
pub use pointer::{Pointer, PointerError, Step};
pub use trial::{FileCoverage, TestRule, Tested, Trial, Verdict};
pub use worker::{EvalLimits, Worker};

use crate::time::Ticks;
use compile::{Entry, Replica};
use reads::Reads;

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
}

struct Inner {
    confirmed: Vec<Finding>,
    directory: Directory,
    has_visible: bool,
    replicas: Box<[Arc<Replica>]>,
    request_reads: Reads,
    response_reads: Reads,
    revision: Box<str>,
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
                has_visible: built.has_visible,
                replicas: replicas.into_boxed_slice(),
                request_reads: built.request_reads,
                response_reads: built.response_reads,
                revision: compile::revision(source).into_boxed_str(),
            }),
        })
    }

    /// The policy of a server that has none yet: nothing can be judged, so every call is refused as such and nothing is
    /// listed.
    pub fn absent() -> Self {
        Self {
            inner: Arc::new(Inner {
                confirmed: Vec::new(),
                directory: Directory::of(&regorus::Value::Undefined),
                // Asked, and not answered: hidden.
                has_visible: true,
                replicas: Box::default(),
                request_reads: Reads::default(),
                response_reads: Reads::default(),
                revision: Box::from("none"),
            }),
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
        self.inner.response_reads.covers(&["request", "arguments"])
    }

    /// Whom the policy's data knows.
    pub(crate) fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// Whether a decision on a call, or on what a caller sees, may depend on this part of the input: `["subject",
    /// "issuer"]` for `input.subject.issuer`. A policy that takes the whole of something reads each part of it.
    pub fn decision_reads(&self, path: &[&str]) -> bool {
        self.inner.request_reads.covers(path)
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
    ) -> Result<Decision, PolicyFailure> {
        let value = input::request(input, &self.inner.request_reads, worker)?;
        let answer = worker.evaluate(self.replica(worker)?, Entry::Request, value, limits, ticks)?;
        decision::read(&answer)
    }

    /// Whether the policy says which tools are shown to whom.
    pub(crate) fn has_visible(&self) -> bool {
        self.inner.has_visible
    }

    /// Says whether a tool is shown to the caller; `true` when the policy has no `visible`, since the scope table
    /// alone then decides.
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
        if !self.inner.has_visible {
            return Ok(true);
        }
        let value = input::request(input, &self.inner.request_reads, worker)?;
        let answer = worker.evaluate(self.replica(worker)?, Entry::Visible, value, limits, ticks)?;
        Ok(decision::is_true(&answer))
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
    ) -> Result<Decision, PolicyFailure> {
        let value = input::response(input, &self.inner.response_reads, worker)?;
        let answer = worker.evaluate(self.replica(worker)?, Entry::Response, value, limits, ticks)?;
        let decision = decision::read(&answer)?;
        // The call was made: no later login changes who made it.
        if decision.obligations.authenticate.is_some() {
            return Err(PolicyFailure::Obligation);
        }
        Ok(decision)
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
        if question == Question::Visible && !self.inner.has_visible {
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

#[cfg(test)]
mod tests;
