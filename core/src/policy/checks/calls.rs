//! Which rule calls which, read from the compiled program.
//!
//! Owns the refusal of recursion and of chains so deep that the machine, which calls rules on the thread's own stack,
//! would overflow it. Neither the compiler nor the machine looks for them.

use std::collections::BTreeSet;

use regorus::Value;
use regorus::rvm::instructions::LiteralOrRegister;
use regorus::rvm::{Instruction, Program};

/// The longest chain of rules that call each other.
const DEPTH_MAX: usize = 64;

/// The rules by their number, with the numbers of the rules they call.
pub(in crate::policy) struct Calls {
    called: Vec<BTreeSet<usize>>,
    paths: Vec<String>,
}

/// What is wrong with the rule at `path`.
pub(super) struct CallError {
    pub(super) path: String,
    pub(super) message: String,
}

impl Calls {
    /// Reads the calls of `program` and checks that they end.
    pub(super) fn of(program: &Program) -> Result<Self, CallError> {
        let mut called = vec![BTreeSet::new(); program.rule_infos.len()];
        each_instruction(program, &mut |rule, instruction| {
            if let Some(calls) = called.get_mut(rule) {
                add_targets(program, instruction, calls);
            }
        });
        let paths = program.rule_infos.iter().map(|info| info.name.clone()).collect();
        let calls = Self { called, paths };
        calls.check_depth()?;
        Ok(calls)
    }

    /// The paths of the rules that the rule at `path` reaches, itself included.
    pub(in crate::policy) fn reached_from(&self, path: &str) -> impl Iterator<Item = &str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<usize> = self.paths.iter().position(|known| known == path).into_iter().collect();
        while let Some(rule) = open.pop() {
            if reached.insert(rule) {
                open.extend(self.called.get(rule).into_iter().flatten());
            }
        }
        reached
            .into_iter()
            .filter_map(|rule| self.paths.get(rule).map(String::as_str))
    }

    /// Takes the rules away layer by layer, those first that call none of the rest; what remains calls itself.
    fn check_depth(&self) -> Result<(), CallError> {
        let mut rest: BTreeSet<usize> = (0..self.called.len()).collect();
        for _ in 0..DEPTH_MAX {
            let ends: Vec<usize> = rest
                .iter()
                .copied()
                .filter(|rule| self.called.get(*rule).is_none_or(|calls| calls.is_disjoint(&rest)))
                .collect();
            if ends.is_empty() {
                break;
            }
            ends.iter().for_each(|rule| {
                rest.remove(rule);
            });
        }
        let Some(first) = rest.first().copied() else {
            return Ok(());
        };
        // A walk longer than there are rules has met one of them twice.
        let mut end = first;
        let mut steps = 0_usize;
        while let Some(next) = self.called.get(end).and_then(|calls| calls.intersection(&rest).next()) {
            end = *next;
            steps = steps.saturating_add(1);
            if rest.len() < steps {
                return Err(self.error(end, |path| format!("`{path}` calls itself")));
            }
        }
        Err(self.error(first, |path| {
            format!("`{path}` calls rules that call others more than {DEPTH_MAX} deep")
        }))
    }

    fn error(&self, rule: usize, message: impl FnOnce(&str) -> String) -> CallError {
        let path = self.paths.get(rule).cloned().unwrap_or_default();
        CallError {
            message: message(&path),
            path,
        }
    }
}

/// Calls `visit` for every instruction with the number of the rule that it belongs to.
pub(super) fn each_instruction(program: &Program, visit: &mut dyn FnMut(usize, &Instruction)) {
    let mut rule = None;
    for instruction in &program.instructions {
        if let Instruction::RuleInit { rule_index, .. } = instruction {
            rule = Some(usize::from(*rule_index));
        }
        if let Some(rule) = rule {
            visit(rule, instruction);
        }
    }
}

/// Adds the rules that `instruction` may call.
fn add_targets(program: &Program, instruction: &Instruction, targets: &mut BTreeSet<usize>) {
    match instruction {
        Instruction::CallRule { rule_index, .. } => {
            targets.insert(usize::from(*rule_index));
        }
        Instruction::FunctionCall { params_index } => {
            let params = program.instruction_data.get_function_call_params(*params_index);
            targets.extend(params.map(|params| usize::from(params.func_rule_index)));
        }
        Instruction::VirtualDataDocumentLookup { params_index } => {
            let params = program
                .instruction_data
                .get_virtual_data_document_lookup_params(*params_index);
            let path = params.map_or(&[][..], |params| params.path_components.as_slice());
            add_document(program, path, targets);
        }
        _ => {}
    }
}

/// Adds the rules of the virtual document at `path`: all beneath its literal beginning.
fn add_document(program: &Program, path: &[LiteralOrRegister], targets: &mut BTreeSet<usize>) {
    let Value::Object(root) = &program.rule_tree else {
        return;
    };
    let mut node = root.get(&Value::from("data"));
    for component in path {
        let LiteralOrRegister::Literal(index) = component else {
            break;
        };
        match (node, program.literals.get(usize::from(*index))) {
            (Some(Value::Object(members)), Some(key)) => node = members.get(key),
            _ => break,
        }
    }
    if let Some(node) = node {
        add_leaves(node, targets);
    }
}

fn add_leaves(node: &Value, targets: &mut BTreeSet<usize>) {
    match node {
        Value::Number(_) => targets.extend(node.as_u64().ok().and_then(|rule| usize::try_from(rule).ok())),
        Value::Object(members) => members.values().for_each(|inner| add_leaves(inner, targets)),
        _ => {}
    }
}
