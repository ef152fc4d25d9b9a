//! The part of a policy that belongs to one thread: its virtual machines and, where needed, its interpreters.
//!
//! Owns the evaluation and its limits, and with each machine the memo of its answers, which goes when it goes. A machine is reused from call to call and thrown away after a panic. Never
//! shares anything with another worker but what a replica gives it.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use regorus::rvm::RegoVM;
use regorus::rvm::vm::VmError;
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use super::compile::{Entry, Replica};
use super::decision::{self, PolicyFailure};
use super::memo::{Memo, Remembered};
use crate::json;
use crate::time::Ticks;

/// After how many instructions the machine looks at the time.
const TIMER_INSTRUCTIONS: NonZeroU32 = match NonZeroU32::new(16) {
    Some(count) => count,
    None => NonZeroU32::MIN,
};

/// How long and how far one evaluation may run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EvalLimits {
    /// The time for one question, its confirmation included. Looked at between instructions and once more at the end.
    pub deadline: Duration,
    /// The instructions of the virtual machine for one question.
    pub instructions: usize,
}

/// The policies of one thread, ready to run.
pub struct Worker {
    index: usize,
    loaded: Vec<Loaded>,
    pub(super) claims: json::Scratch,
    /// The key of the question under way.
    pub(super) key: Vec<u8>,
}

struct Loaded {
    interpreter: Option<Engine>,
    machine: RegoVM,
    memo: Memo,
    replica: Arc<Replica>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Worker({})", self.index)
    }
}

impl Worker {
    /// The worker number `index`: it uses the replica of that number of every policy.
    pub fn new(index: usize) -> Self {
        Self {
            index,
            loaded: Vec::new(),
            claims: json::Scratch::default(),
            key: Vec::new(),
        }
    }

    /// Its number.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// What `replica` answered to the key, among at most `entries_max` answers that kept to `limits`.
    pub(super) fn recall(
        &mut self,
        replica: &Arc<Replica>,
        entries_max: usize,
        limits: &EvalLimits,
    ) -> Option<Remembered> {
        let position = self.position(replica)?;
        let memo = &mut self.loaded.get_mut(position)?.memo;
        memo.suit(entries_max, limits);
        memo.recall(&self.key)
    }

    /// Remembers what `replica` answered to the key.
    pub(super) fn remember(
        &mut self,
        replica: &Arc<Replica>,
        entries_max: usize,
        limits: &EvalLimits,
        answer: &Remembered,
    ) {
        let position = self.position(replica);
        if let Some(loaded) = position.and_then(|position| self.loaded.get_mut(position)) {
            loaded.memo.suit(entries_max, limits);
            loaded.memo.remember(&self.key, answer.clone());
        }
    }

    /// Asks `replica` the question of `entry`.
    pub(super) fn evaluate(
        &mut self,
        replica: &Arc<Replica>,
        entry: Entry,
        input: Value,
        limits: &EvalLimits,
        ticks: &dyn Ticks,
    ) -> Result<Value, PolicyFailure> {
        self.evaluate_rule(replica, entry.path(), input, limits, ticks)
    }

    /// Asks `replica` for the value of the rule at `path`.
    pub(super) fn evaluate_rule(
        &mut self,
        replica: &Arc<Replica>,
        path: &str,
        input: Value,
        limits: &EvalLimits,
        ticks: &dyn Ticks,
    ) -> Result<Value, PolicyFailure> {
        let start_ns = ticks.now_ns();
        let position = match self.position(replica) {
            Some(position) => position,
            None => self.load(replica)?,
        };
        let loaded = self.loaded.get_mut(position).ok_or(PolicyFailure::Unloadable)?;
        let outcome = catch_unwind(AssertUnwindSafe(|| loaded.run(path, input, limits)));
        let Ok(answer) = outcome else {
            self.loaded.swap_remove(position);
            return Err(PolicyFailure::Panicked);
        };
        // A builtin can outlast the machine's own timer, which is looked at between instructions only.
        let elapsed = Duration::from_nanos(ticks.now_ns().saturating_sub(start_ns));
        if limits.deadline < elapsed {
            return Err(PolicyFailure::Deadline);
        }
        answer
    }

    fn position(&self, replica: &Arc<Replica>) -> Option<usize> {
        self.loaded
            .iter()
            .position(|loaded| Arc::ptr_eq(&loaded.replica, replica))
    }

    /// Takes a replica that is new to this worker, and lets go of those that only it still holds: the policies of
    /// snapshots gone by.
    #[cold]
    fn load(&mut self, replica: &Arc<Replica>) -> Result<usize, PolicyFailure> {
        self.loaded.retain(|loaded| 1 < Arc::strong_count(&loaded.replica));
        let mut machine = RegoVM::new();
        machine.load_program(Arc::clone(&replica.program));
        machine
            .set_data(replica.data.clone())
            .map_err(|_| PolicyFailure::Unloadable)?;
        let position = self.loaded.len();
        self.loaded.push(Loaded {
            interpreter: replica.interpreter.clone(),
            machine,
            memo: Memo::new(0),
            replica: Arc::clone(replica),
        });
        Ok(position)
    }
}

impl Loaded {
    fn run(&mut self, path: &str, input: Value, limits: &EvalLimits) -> Result<Value, PolicyFailure> {
        let timer = ExecutionTimerConfig {
            limit: limits.deadline,
            check_interval: TIMER_INSTRUCTIONS,
        };
        self.machine.set_max_instructions(limits.instructions);
        self.machine.set_execution_timer_config(Some(timer));
        self.machine.set_input(input.clone());
        let answer = self.machine.execute_entry_point_by_name(path);
        self.machine.set_input(Value::Null);
        let answer = answer.map_err(|error| failure(&error))?;
        match &mut self.interpreter {
            Some(interpreter) if decision::grants(&answer) => confirm(interpreter, timer, path, input, answer),
            _ => Ok(answer),
        }
    }
}

/// Asks the interpreter the same, and gives `answer` only when it answers the same: it sees the conflicts that the
/// compiled program does not, and a conflict anywhere beneath may also have lost an obligation.
fn confirm(
    interpreter: &mut Engine,
    timer: ExecutionTimerConfig,
    path: &str,
    input: Value,
    answer: Value,
) -> Result<Value, PolicyFailure> {
    interpreter.set_execution_timer_config(timer);
    interpreter.set_input(input);
    let confirmed = interpreter.eval_rule(path.to_owned());
    interpreter.set_input(Value::Null);
    match confirmed {
        Ok(same) if same == answer => Ok(answer),
        Ok(_) | Err(_) => Err(PolicyFailure::Unconfirmed),
    }
}

#[cold]
#[inline(never)]
fn failure(error: &VmError) -> PolicyFailure {
    match error {
        VmError::InstructionLimitExceeded { .. } => PolicyFailure::Instructions,
        VmError::TimeLimitExceeded { .. } => PolicyFailure::Deadline,
        _ => PolicyFailure::Evaluation,
    }
}
