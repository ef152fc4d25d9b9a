//! Which registers an instruction reads and writes.
//!
//! Owns the table of instructions. It names every one, so that a new machine with another instruction does not compile
//! until somebody has said what it does. Judges nothing.

use regorus::rvm::instructions::{LiteralOrRegister, LogicalBlockMode};
use regorus::rvm::{Instruction, Program};

/// The registers that an instruction touches.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) reads: Vec<u8>,
    pub(super) writes: Vec<u8>,
}

impl Effects {
    fn new(reads: &[u8], writes: &[u8]) -> Option<Self> {
        Some(Self {
            reads: reads.to_vec(),
            writes: writes.to_vec(),
        })
    }
}

/// What `instruction` does; `None` when its parameters are missing.
pub(super) fn effects(program: &Program, instruction: &Instruction) -> Option<Effects> {
    use Instruction as I;
    match *instruction {
        I::Load { dest, .. }
        | I::LoadTrue { dest }
        | I::LoadFalse { dest }
        | I::LoadNull { dest }
        | I::LoadBool { dest, .. }
        | I::LoadData { dest }
        | I::LoadInput { dest }
        | I::LoadContext { dest }
        | I::LoadMetadata { dest }
        | I::ArrayNew { dest }
        | I::SetNew { dest }
        | I::CallRule { dest, .. }
        | I::RuleInit { result_reg: dest, .. } => Effects::new(&[], &[dest]),
        I::Move { dest, src }
        | I::Not { dest, operand: src }
        | I::IndexLiteral {
            dest, container: src, ..
        }
        | I::Count { dest, collection: src } => Effects::new(&[src], &[dest]),
        I::Add { dest, left, right }
        | I::Sub { dest, left, right }
        | I::Mul { dest, left, right }
        | I::Div { dest, left, right }
        | I::Mod { dest, left, right }
        | I::Eq { dest, left, right }
        | I::Ne { dest, left, right }
        | I::Lt { dest, left, right }
        | I::Le { dest, left, right }
        | I::Gt { dest, left, right }
        | I::Ge { dest, left, right }
        | I::And { dest, left, right }
        | I::Or { dest, left, right }
        | I::Index {
            dest,
            container: left,
            key: right,
        }
        | I::Contains {
            dest,
            collection: left,
            value: right,
        }
        | I::HostAwait {
            dest,
            arg: left,
            id: right,
        }
        | I::PolicyCondition { dest, left, right, .. } => Effects::new(&[left, right], &[dest]),
        I::AssertEq { left, right } => Effects::new(&[left, right], &[]),
        I::Return { value: register }
        | I::Guard { register, .. }
        | I::ReturnUndefinedIfNotTrue { condition: register } => Effects::new(&[register], &[]),
        I::CoalesceUndefinedToNull { register } => Effects::new(&[register], &[register]),
        I::ObjectSet { obj, key, value } => Effects::new(&[obj, key, value], &[obj]),
        I::ArrayPush { arr: into, value }
        | I::ArrayPushDefined { arr: into, value }
        | I::SetAdd { set: into, value } => Effects::new(&[into, value], &[into]),
        I::ComprehensionYield { value_reg, key_reg } => {
            let reads = std::iter::once(value_reg).chain(key_reg).collect();
            Some(Effects {
                reads,
                ..Effects::default()
            })
        }
        I::LogicalBlockStart { mode, result, .. } | I::LogicalBlockEnd { mode, result } => match mode {
            LogicalBlockMode::AllOf | LogicalBlockMode::AnyOf => Effects::new(&[], &[result]),
        },
        I::AllOfNext { check, result, .. } | I::AnyOfNext { check, result, .. } => Effects::new(&[check], &[result]),
        I::LoopNext { .. } | I::DestructuringSuccess {} | I::RuleReturn {} | I::Halt {} | I::ComprehensionEnd {} => {
            Effects::new(&[], &[])
        }
        I::BuiltinCall { .. }
        | I::FunctionCall { .. }
        | I::ObjectCreate { .. }
        | I::ChainedIndex { .. }
        | I::ArrayCreate { .. }
        | I::SetCreate { .. }
        | I::LoopStart { .. }
        | I::VirtualDataDocumentLookup { .. }
        | I::ComprehensionBegin { .. } => of_parameters(program, instruction),
    }
}

/// The same of an instruction whose registers stand in a table of parameters.
fn of_parameters(program: &Program, instruction: &Instruction) -> Option<Effects> {
    use Instruction as I;
    let tables = &program.instruction_data;
    match *instruction {
        I::BuiltinCall { params_index } => {
            let params = tables.builtin_call_params.get(usize::from(params_index))?;
            Effects::new(params.arg_registers(), &[params.dest])
        }
        I::FunctionCall { params_index } => {
            let params = tables.get_function_call_params(params_index)?;
            Effects::new(params.arg_registers(), &[params.dest])
        }
        I::ObjectCreate { params_index } => {
            let params = tables.object_create_params.get(usize::from(params_index))?;
            let literal = params.literal_key_fields.iter().map(|(_, value)| *value);
            let computed = params.fields.iter().flat_map(|(key, value)| [*key, *value]);
            Effects::new(&literal.chain(computed).collect::<Vec<_>>(), &[params.dest])
        }
        I::ChainedIndex { params_index } => {
            let params = tables.get_chained_index_params(params_index)?;
            let mut effects = Effects::new(&[params.root], &[params.dest])?;
            effects.reads.extend(registers(&params.path_components));
            Some(effects)
        }
        I::ArrayCreate { params_index } => {
            let params = tables.array_create_params.get(usize::from(params_index))?;
            Effects::new(params.element_registers(), &[params.dest])
        }
        I::SetCreate { params_index } => {
            let params = tables.set_create_params.get(usize::from(params_index))?;
            Effects::new(params.element_registers(), &[params.dest])
        }
        I::LoopStart { params_index } => {
            let params = tables.get_loop_params(params_index)?;
            let writes = [params.key_reg, params.value_reg, params.result_reg];
            Effects::new(&[params.collection], &writes)
        }
        I::VirtualDataDocumentLookup { params_index } => {
            let params = tables.get_virtual_data_document_lookup_params(params_index)?;
            let reads: Vec<u8> = registers(&params.path_components).collect();
            Effects::new(&reads, &[params.dest])
        }
        I::ComprehensionBegin { params_index } => {
            let params = tables.get_comprehension_begin_params(params_index)?;
            let writes = [params.result_reg, params.key_reg, params.value_reg];
            Effects::new(&[params.collection_reg], &writes)
        }
        _ => None,
    }
}

fn registers(path: &[LiteralOrRegister]) -> impl Iterator<Item = u8> {
    path.iter().filter_map(|step| match step {
        LiteralOrRegister::Register(register) => Some(*register),
        LiteralOrRegister::Literal(_) => None,
    })
}
