//! What may stand in a policy that runs on the register machine.
//!
//! Owns the refusals at load and the list of places whose conflicts the machine would not see. Each refusal is there
//! because the machine would otherwise fail open, or end the process: `default` functions are ignored, host calls and
//! `http.send` answer undefined, recursion overflows the stack, and a builtin whose output or time has no bound outruns
//! every limit, since limits bite between instructions only.

use std::collections::{BTreeMap, BTreeSet};

use regorus::rvm::Program;
use regorus::rvm::program::RuleType;
use regorus::unstable::{Expr, Module, Ref, Rule, RuleHead, Span};
use regorus::utils::get_path_string;

use super::compile::{Entry, finding_at};
use super::{Finding, PolicyError, syntax};
use calls::Calls;

mod calls;
mod conflicts;

/// Builtins that are refused wherever an entry point reaches them; a name that ends in a dot stands for its family.
const REFUSED: [(&str, &str); 16] = [
    ("__builtin_host_await", "is a call to the host, which answers nothing"),
    ("graph.reachable_paths", "has an output that its input does not bound"),
    ("http.send", "would need the network and answer undefined"),
    ("io.jwt.", "is not needed: the gate has verified the token"),
    ("net.cidr_expand", "has an output that its input does not bound"),
    ("net.lookup_ip_addr", "would need the network and answer undefined"),
    ("numbers.range", "has an output that its input does not bound"),
    ("numbers.range_step", "has an output that its input does not bound"),
    ("opa.runtime", "would show the gate's environment"),
    ("print", "would write values of the call to the log"),
    ("rand.intn", "would make decisions that cannot be repeated"),
    ("time.now_ns", "would read the clock: a call is judged at `input.time`"),
    ("units.", "runs as long as the exponent in its input says"),
    ("walk", "cannot be compiled"),
    ("yaml.is_valid", "runs far longer than the length of its input says"),
    ("yaml.unmarshal", "runs far longer than the length of its input says"),
];

/// Builtins whose output is bounded only while the argument at this position is a constant.
const CONSTANT_ARGUMENTS: [(&str, usize); 6] = [
    ("bits.lsh", 1),
    ("concat", 0),
    ("regex.replace", 2),
    ("replace", 2),
    ("sprintf", 0),
    ("strings.replace_n", 0),
];

/// The rules of a policy by their path.
pub(super) struct Rules<'a> {
    by_path: BTreeMap<String, Vec<Definition<'a>>>,
}

/// One definition and the module it stands in.
#[derive(Clone, Copy)]
struct Definition<'a> {
    module: &'a Module,
    rule: &'a Rule,
}

/// A call of a builtin or a function.
struct Call<'a> {
    arguments: &'a [Ref<Expr>],
    name: String,
    span: &'a Span,
}

/// What the checks of a program learnt.
pub(super) struct Checked {
    pub(super) calls: Calls,
    pub(super) confirmed: Vec<Finding>,
}

impl<'a> Rules<'a> {
    /// Collects the rules of `modules`.
    pub(super) fn of(modules: &'a [Ref<Module>]) -> Result<Self, PolicyError> {
        let mut by_path: BTreeMap<String, Vec<Definition<'a>>> = BTreeMap::new();
        for module in modules {
            let package = path(&module.package.refr, Some("data"), &module.package.span)?;
            for rule in &module.policy {
                let name = path(head(rule), Some(&package), rule.span())?;
                by_path.entry(name).or_default().push(Definition { module, rule });
            }
        }
        Ok(Self { by_path })
    }

    /// Whether the policy defines the rule at `path`.
    pub(super) fn is_defined(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// The definitions of the rule at `path`, default ones included.
    pub(super) fn definitions(&self, path: &str) -> impl Iterator<Item = &'a Rule> {
        self.by_path
            .get(path)
            .into_iter()
            .flatten()
            .map(|definition| definition.rule)
    }

    /// The definitions of the rule at `path` with their modules, default ones included.
    pub(super) fn definitions_in(&self, path: &str) -> impl Iterator<Item = (&'a Module, &'a Rule)> {
        let definitions = self.by_path.get(path).into_iter().flatten();
        definitions.map(|definition| (definition.module, definition.rule))
    }

    /// Each rule's path and where its first definition stands.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (&str, &'a Span)> {
        let rules = self.by_path.iter();
        rules.filter_map(|(path, definitions)| Some((path.as_str(), definitions.first()?.rule.span())))
    }

    /// A call of a refused builtin that `message` names, with the reason of the refusal.
    pub(super) fn refusal_named_in(&self, message: &str) -> Option<Finding> {
        let Call { name, span, .. } = self.call_named_in(&words(message))?;
        refusal(&name).map(|reason| finding_at(span, format!("`{name}` {reason}")))
    }

    /// Where `message` belongs: at a call of a builtin that it names, or at a rule that it names.
    pub(super) fn span_named_in(&self, message: &str) -> Option<&'a Span> {
        let words = words(message);
        if let Some(call) = self.call_named_in(&words) {
            return Some(call.span);
        }
        let path = self.by_path.keys().find(|path| words.contains(path.as_str()))?;
        self.span_of(path)
    }

    fn call_named_in(&self, words: &BTreeSet<&str>) -> Option<Call<'a>> {
        self.by_path.values().flatten().find_map(|definition| {
            let mut found = None;
            each_call(definition.rule, &mut |call| {
                if found.is_none() && words.contains(call.name.as_str()) {
                    found = Some(call);
                }
            });
            found
        })
    }

    fn span_of(&self, path: &str) -> Option<&'a Span> {
        self.definitions(path).next().map(Rule::span)
    }
}

/// The members of `data` that the configuration gives: its scope tables.
pub(super) const TABLES: [&str; 3] = ["tools", "prompts", "resources"];

/// Checks what needs no program: no `default` function, no package of ours.
pub(super) fn modules(modules: &[Ref<Module>]) -> Result<(), PolicyError> {
    for module in modules {
        let package = syntax::literal_path(&module.package.refr).unwrap_or_default();
        let table = package
            .first()
            .and_then(|first| TABLES.into_iter().find(|table| *table == &**first));
        if let Some(table) = table {
            let message = format!("`data.{table}` is a table of the configuration; a policy may not bring its own");
            return Err(PolicyError(finding_at(&module.package.span, message)));
        }
        for rule in &module.policy {
            if let Rule::Default { span, args, .. } = &**rule
                && !args.is_empty()
            {
                let message = "`default` of a function is not carried out by the compiled program: write an `else`";
                return Err(PolicyError(finding_at(span, message)));
            }
        }
    }
    Ok(())
}

/// Checks everything that the entry points reach.
pub(super) fn program(program: &Program, rules: &Rules<'_>) -> Result<Checked, PolicyError> {
    let nowhere = || rules.span_of(Entry::Request.path());
    for info in &program.rule_infos {
        let definitions = rules.by_path.get(&info.name).map_or(&[][..], Vec::as_slice);
        if definitions.is_empty() {
            return Err(refuse(
                nowhere(),
                format!("the compiled rule `{}` has no source", info.name),
            ));
        }
        for definition in definitions {
            refused_calls(definition.rule)?;
            // A default whose value the compiler could not compute is dropped without a word.
            if let Rule::Default { span, .. } = definition.rule
                && info.default_literal_index.is_none()
            {
                return Err(refuse(
                    Some(span),
                    "the value of a `default` must be a constant".to_owned(),
                ));
            }
        }
        let is_entry = program.entry_points.contains_key(&info.name);
        if is_entry && (info.rule_type != RuleType::Complete || info.function_info.is_some()) {
            return Err(refuse(
                rules.span_of(&info.name),
                format!("`{}` must be one value", info.name),
            ));
        }
    }
    for builtin in &program.builtin_info_table {
        if let Some(reason) = refusal(&builtin.name) {
            return Err(refuse(nowhere(), format!("`{}` {reason}", builtin.name)));
        }
    }
    if program.has_host_await {
        return Err(refuse(
            nowhere(),
            "the policy calls its host, which answers nothing".to_owned(),
        ));
    }
    Ok(Checked {
        calls: Calls::of(program).map_err(|error| refuse(rules.span_of(&error.path), error.message))?,
        confirmed: conflicts::find(program, rules),
    })
}

/// The words of a message, without its quotes.
fn words(message: &str) -> BTreeSet<&str> {
    message
        .split(|letter: char| letter.is_whitespace() || matches!(letter, '\'' | '`' | '"' | ','))
        .map(|word| word.trim_end_matches([':', '.']))
        .collect()
}

fn refuse(span: Option<&Span>, message: String) -> PolicyError {
    PolicyError(match span {
        Some(span) => finding_at(span, message),
        None => Finding {
            file: "policy".to_owned(),
            line: 1,
            column: 1,
            message,
        },
    })
}

/// Refuses the calls of `rule` that may not be made.
fn refused_calls(rule: &Rule) -> Result<(), PolicyError> {
    let mut refused = None;
    each_call(rule, &mut |Call { arguments, name, span }| {
        if refused.is_some() {
            return;
        }
        if let Some(reason) = refusal(&name) {
            refused = Some(finding_at(span, format!("`{name}` {reason}")));
        }
        for (limited, position) in CONSTANT_ARGUMENTS {
            if limited == name && !arguments.get(position).is_some_and(|argument| is_constant(argument)) {
                let message = format!(
                    "argument {} of `{name}` must be a literal, else nothing bounds its output",
                    position.saturating_add(1)
                );
                refused = Some(finding_at(span, message));
            }
        }
    });
    refused.map_or(Ok(()), |finding| Err(PolicyError(finding)))
}

fn refusal(name: &str) -> Option<&'static str> {
    REFUSED
        .iter()
        .find(|(refused, _)| *refused == name || (refused.ends_with('.') && name.starts_with(refused)))
        .map(|(_, reason)| *reason)
}

/// Calls `visit` for every call in `rule`.
fn each_call<'a>(rule: &'a Rule, visit: &mut dyn FnMut(Call<'a>)) {
    syntax::each_expr_of_rule(rule, &mut |expr| {
        if let Expr::Call { fcn, params, .. } = expr {
            visit(Call {
                arguments: params,
                name: syntax::literal_path(fcn).unwrap_or_default().join("."),
                span: syntax::start(fcn),
            });
        }
        true
    });
}

/// Whether `expr` is written out, without a variable or a call in it.
fn is_constant(expr: &Expr) -> bool {
    let mut constant = true;
    syntax::each_expr(expr, &mut |inner| {
        constant &= matches!(
            inner,
            Expr::String { .. }
                | Expr::RawString { .. }
                | Expr::Number { .. }
                | Expr::Bool { .. }
                | Expr::Null { .. }
                | Expr::Array { .. }
                | Expr::Set { .. }
                | Expr::Object { .. }
                | Expr::UnaryExpr { .. }
        );
        constant
    });
    constant
}

/// The reference that names a rule.
fn head(rule: &Rule) -> &Expr {
    match rule {
        Rule::Default { refr, .. } => refr,
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. } | RuleHead::Func { refr, .. } | RuleHead::Set { refr, .. } => refr,
        },
    }
}

/// The canonical path of `refr` under `document`.
fn path(refr: &Expr, document: Option<&str>, span: &Span) -> Result<String, PolicyError> {
    get_path_string(refr, document).map_err(|_| PolicyError(finding_at(span, "this name is no path")))
}
