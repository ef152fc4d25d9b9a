//! What of the input the compiled program reads, from its instructions.
//!
//! Owns the second opinion on the analysis of the text: where the two differ, the wider holds. Follows a part of the
//! input from register to register through literal steps and moves; whatever else an instruction does with it reads it
//! whole. It does not look at the order of instructions, so every register keeps all that it may ever hold.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::rvm::instructions::LiteralOrRegister;
use regorus::rvm::{Instruction, Program};

use super::Reads;
use effects::{Effects, effects};

mod effects;

/// The longest path that is followed; a longer one reads whole what it has come to.
const DEPTH_MAX: usize = 16;

/// Literal steps from `input`.
type Path = Vec<Box<str>>;

/// The instructions that find what others left in the registers: those of one body of a rule, which begins with empty
/// ones but for its arguments, or those that call the entry points.
#[derive(Default)]
struct Frame<'p> {
    instructions: Vec<&'p Instruction>,
}

/// A body: the numbers of its rule, of its definition there, and of itself there.
type Body = (usize, usize, usize);

/// What the registers of a frame may hold.
#[derive(Default)]
struct Registers {
    input: BTreeMap<u8, BTreeSet<Path>>,
    /// The literal that a register holds; `None` once it may hold something else.
    literals: BTreeMap<u8, Option<u16>>,
}

/// The reads of each rule by its path; those of the code that calls the entry points stand under the empty path.
pub(in crate::policy) fn reads_by_rule(program: &Program) -> BTreeMap<&str, Reads> {
    let mut reads: BTreeMap<&str, Reads> = BTreeMap::new();
    for (body, frame) in frames(program) {
        let info = body.and_then(|(rule, ..)| program.rule_infos.get(rule));
        let path = info.map_or("", |info| info.name.as_str());
        let found = frame.reads(program, info.map(|info| info.result_reg));
        reads.entry(path).or_default().join(&found);
    }
    reads
}

/// The frames by their body.
fn frames(program: &Program) -> BTreeMap<Option<Body>, Frame<'_>> {
    let mut starts: BTreeMap<usize, Option<Body>> = BTreeMap::from([(0, None)]);
    starts.extend(program.entry_points.values().map(|start| (*start, None)));
    let place = |start: u32| usize::try_from(start).unwrap_or(usize::MAX);
    for (rule, info) in program.rule_infos.iter().enumerate() {
        for (definition, bodies) in info.definitions.iter().enumerate() {
            let block = info.destructuring_blocks.get(definition).copied().flatten();
            for (body, start) in bodies.iter().enumerate() {
                // The block that takes the arguments apart comes before each of them.
                let body = if block.is_some() { 0 } else { body };
                starts.insert(place(*start), Some((rule, definition, body)));
            }
            starts.extend(block.map(|start| (place(start), Some((rule, definition, 0)))));
        }
    }
    let mut frames: BTreeMap<Option<Body>, Frame<'_>> = BTreeMap::new();
    for (position, instruction) in program.instructions.iter().enumerate() {
        let body = starts.range(..=position).next_back().and_then(|(_, body)| *body);
        frames.entry(body).or_default().instructions.push(instruction);
    }
    frames
}

impl Frame<'_> {
    /// What the instructions read; whatever reaches the register `result` leaves the rule.
    fn reads(&self, program: &Program, result: Option<u8>) -> Reads {
        let mut registers = Registers::default();
        for instruction in &self.instructions {
            registers.note_literals(program, instruction);
        }
        let mut reads = Reads::default();
        // Each round only adds, and depth, steps and registers are bounded.
        while self.follow(program, &mut registers, &mut reads) {}
        result.into_iter().for_each(|result| registers.read(result, &mut reads));
        reads
    }

    /// Takes every instruction once; says whether a register has come to hold more.
    fn follow(&self, program: &Program, registers: &mut Registers, reads: &mut Reads) -> bool {
        let mut grown = false;
        for instruction in &self.instructions {
            grown |= registers.run(program, instruction, reads);
        }
        grown
    }
}

impl Registers {
    /// Notes which literal an instruction leaves in a register.
    fn note_literals(&mut self, program: &Program, instruction: &Instruction) {
        if let Instruction::Load { dest, literal_idx } = instruction {
            let known = self.literals.entry(*dest).or_insert(Some(*literal_idx));
            if *known != Some(*literal_idx) {
                *known = None;
            }
            return;
        }
        let Some(Effects { writes, .. }) = effects(program, instruction) else {
            return;
        };
        for register in writes {
            self.literals.insert(register, None);
        }
    }

    fn run(&mut self, program: &Program, instruction: &Instruction, reads: &mut Reads) -> bool {
        match instruction {
            Instruction::LoadInput { dest } => self.hold(*dest, BTreeSet::from([Path::new()])),
            Instruction::Move { dest, src } => self.hold(*dest, self.held(*src)),
            Instruction::IndexLiteral {
                dest,
                container,
                literal_idx,
            } => self.step(
                program,
                *dest,
                *container,
                &[LiteralOrRegister::Literal(*literal_idx)],
                reads,
            ),
            Instruction::ChainedIndex { params_index } => {
                match program.instruction_data.get_chained_index_params(*params_index) {
                    Some(params) => self.step(program, params.dest, params.root, &params.path_components, reads),
                    None => {
                        *reads = Reads::All;
                        false
                    }
                }
            }
            // Whether there is something, and whether it is `false`: what stands in it is not looked at.
            Instruction::Guard { register, .. } | Instruction::Not { operand: register, .. } => {
                self.held(*register).iter().for_each(|path| reads.add_existing(path));
                false
            }
            Instruction::BuiltinCall { params_index } if self.look_up(program, *params_index, reads) => false,
            other => {
                match effects(program, other) {
                    Some(effects) => effects.reads.iter().for_each(|register| self.read(*register, reads)),
                    None => *reads = Reads::All,
                }
                false
            }
        }
    }

    /// Reads as `object.get(container, literal key, default)` does; `false` when the call is another.
    fn look_up(&self, program: &Program, params_index: u16, reads: &mut Reads) -> bool {
        let Some(params) = program
            .instruction_data
            .builtin_call_params
            .get(usize::from(params_index))
        else {
            return false;
        };
        let builtin = program.builtin_info_table.get(usize::from(params.builtin_index));
        let (Some("object.get"), [container, key, default]) =
            (builtin.map(|builtin| builtin.name.as_str()), params.arg_registers())
        else {
            return false;
        };
        let literal = self.literals.get(key).copied().flatten();
        let Some(steps) = literal.and_then(|literal| steps_of(program.literals.get(usize::from(literal))?)) else {
            return false;
        };
        for mut path in self.held(*container) {
            path.extend(steps.iter().cloned());
            reads.add(&path);
        }
        self.read(*default, reads);
        true
    }

    /// Holds in `dest` what `steps` lead to from what `root` holds. A step that is computed reads the whole before it.
    fn step(&mut self, program: &Program, dest: u8, root: u8, steps: &[LiteralOrRegister], reads: &mut Reads) -> bool {
        for step in steps {
            if let LiteralOrRegister::Register(register) = step {
                self.read(*register, reads);
            }
        }
        let mut reached = BTreeSet::new();
        for mut path in self.held(root) {
            let names = steps.iter().map(|step| match step {
                LiteralOrRegister::Literal(literal) => text_of(program.literals.get(usize::from(*literal))),
                LiteralOrRegister::Register(_) => None,
            });
            let mut whole = true;
            for name in names {
                match name.filter(|_| path.len() < DEPTH_MAX) {
                    Some(name) => path.push(name),
                    None => {
                        whole = false;
                        break;
                    }
                }
            }
            if whole {
                reached.insert(path);
            } else {
                reads.add(&path);
            }
        }
        self.hold(dest, reached)
    }

    fn held(&self, register: u8) -> BTreeSet<Path> {
        self.input.get(&register).cloned().unwrap_or_default()
    }

    fn hold(&mut self, register: u8, paths: BTreeSet<Path>) -> bool {
        let held = self.input.entry(register).or_default();
        let before = held.len();
        held.extend(paths);
        before < held.len()
    }

    /// Whatever the register holds is read whole.
    fn read(&self, register: u8, reads: &mut Reads) {
        self.input
            .get(&register)
            .into_iter()
            .flatten()
            .for_each(|path| reads.add(path));
    }
}

/// The steps of the key of `object.get`: a text, or an array of texts.
fn steps_of(key: &Value) -> Option<Path> {
    match key {
        Value::Array(items) => items.iter().map(|item| text_of(Some(item))).collect(),
        key => Some(vec![text_of(Some(key))?]),
    }
}

fn text_of(literal: Option<&Value>) -> Option<Box<str>> {
    match literal? {
        Value::String(text) => Some((&**text).into()),
        _ => None,
    }
}
