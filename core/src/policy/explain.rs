//! Why a policy decided as it did: which rules were asked, which of their conditions held, and with which values.
//!
//! Owns [`Explanation`]. The register machine decides, as it does for a call; then each rule that the decision can reach
//! is asked again on the tree interpreter, one condition more at a time, so that the first one without a solution is the
//! one that failed. Cold, for people; shows values of the input, so it is never for a log.

use std::collections::BTreeSet;
use std::time::Duration;

use regorus::unstable::{Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleHead};
use regorus::{Engine, Value};
use serde::Serialize;

use super::checks::Rules;
use super::compile::Entry;
use super::syntax;
use super::trial::engine_of;
use super::{Policy, PolicyError, PolicySource, Question};

/// How long each question to the interpreter may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// Values that are shown of one expression.
const VALUES_MAX: usize = 5;
/// Bytes that are shown of one value.
const VALUE_BYTES_MAX: usize = 200;
/// The beginning of the names of rules that are put beside the policy's own.
const ASKED: &str = "portcullis_explained";

/// The rules behind an answer, outermost first.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Explanation {
    /// Each rule that the answer can reach.
    pub rules: Vec<RuleReport>,
}

/// A rule.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RuleReport {
    /// Its path, such as `data.portcullis.request.decision`.
    pub path: String,
    /// The file of its first definition.
    pub file: String,
    /// The line of that, from 1.
    pub line: u32,
    /// Its value as JSON, cut; absent when it is undefined, or a function, which has no value of its own.
    pub value: Option<String>,
    /// Whether it is a function: its conditions depend on its arguments and are not asked.
    pub is_function: bool,
    /// What it consists of.
    pub bodies: Vec<BodyReport>,
}

/// A body of a rule: one of its definitions, or one `else` of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct BodyReport {
    /// The line of its first condition.
    pub line: u32,
    /// Whether it counts only when those before it fail.
    pub is_else: bool,
    /// Whether all conditions held at once; absent when they could not be asked apart from each other.
    pub holds: Option<bool>,
    /// In the order of the text.
    pub conditions: Vec<ConditionReport>,
}

/// One condition.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ConditionReport {
    /// Its line, from 1.
    pub line: u32,
    /// Its text, on one line.
    pub text: String,
    /// Whether it was reached: all before it held at once.
    pub is_reached: bool,
    /// In how many ways it held together with those before it.
    pub solutions: u64,
    /// What stood in it, when it was reached.
    pub values: Vec<ShownValue>,
}

/// The values that an expression had, over all ways in which the conditions before it held.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ShownValue {
    /// The expression.
    pub expression: String,
    /// Its values as JSON, cut; empty when it is undefined.
    pub values: Vec<String>,
}

/// What a body is asked about.
struct Asked<'a> {
    module: &'a Module,
    text: &'a str,
    statements: Vec<&'a LiteralStmt>,
}

impl Policy {
    /// Explains what `source`, which this policy was compiled from, answers to `input`, a JSON text.
    ///
    /// # Errors
    /// A [`PolicyError`] when the input is no JSON, or the policy is not one that compiles.
    pub fn explain(source: &PolicySource, question: Question, input: &str) -> Result<Explanation, PolicyError> {
        let mut engine = engine_of(source, DEADLINE)?;
        engine.set_input(super::compile::data::parse("input", input)?);
        let modules: Vec<Ref<Module>> = engine.get_modules().clone();
        let rules = Rules::of(&modules)?;
        let entry = Entry::from(question).path();
        let mut reports = Vec::new();
        for path in reached(&rules, entry) {
            let Some((_, first)) = rules.definitions_in(&path).next() else {
                continue;
            };
            let is_function = rules.definitions_in(&path).any(|(_, rule)| is_function(rule));
            let bodies = rules.definitions_in(&path).flat_map(|(module, rule)| {
                let text = module_text(module);
                bodies(&engine, module, text, rule, is_function)
            });
            let bodies = bodies.collect();
            reports.push(RuleReport {
                value: if is_function {
                    None
                } else {
                    value_of(&mut engine, &path)
                },
                file: first.span().source.file().clone(),
                line: first.span().line,
                path,
                is_function,
                bodies,
            });
        }
        Ok(Explanation { rules: reports })
    }
}

fn module_text(module: &Module) -> &str {
    module.package.span.source.contents()
}

fn is_function(rule: &Rule) -> bool {
    matches!(
        rule,
        Rule::Spec {
            head: RuleHead::Func { .. },
            ..
        }
    )
}

/// The rules that the one at `entry` can reach, itself first, each after one that names it.
fn reached(rules: &Rules<'_>, entry: &str) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    let mut waiting = vec![entry.to_owned()];
    while let Some(path) = waiting.pop() {
        if order.contains(&path) {
            continue;
        }
        let mut named = Vec::new();
        for (module, rule) in rules.definitions_in(&path) {
            syntax::each_expr_of_rule(rule, &mut |expr| {
                if let Some(path) = syntax::literal_path(expr) {
                    named.extend(resolved(rules, module, &path));
                }
                true
            });
        }
        order.push(path);
        // The first that is named is the next to be told.
        waiting.extend(named.into_iter().rev());
    }
    order
}

/// The rule that a reference names.
fn resolved(rules: &Rules<'_>, module: &Module, path: &[Box<str>]) -> Option<String> {
    let first = path.first()?;
    let mut whole: Vec<Box<str>> = match imported(module, first) {
        Some(target) => target,
        None if &**first == "data" => vec![first.clone()],
        None => {
            let mut package = vec![Box::from("data")];
            package.extend(syntax::literal_path(&module.package.refr)?);
            package.push(first.clone());
            package
        }
    };
    whole.extend(path.iter().skip(1).cloned());
    (2..=whole.len())
        .rev()
        .filter_map(|length| whole.get(..length))
        .map(|steps| steps.join("."))
        .find(|path| rules.is_defined(path))
}

/// What an import gives the name `first` to.
fn imported(module: &Module, first: &str) -> Option<Vec<Box<str>>> {
    module.imports.iter().find_map(|import| {
        let target = syntax::literal_path(&import.refr)?;
        let name = match &import.r#as {
            Some(name) => name.text(),
            None => target.last()?,
        };
        (name == first && target.first().is_some_and(|root| &**root == "data")).then(|| target.clone())
    })
}

fn value_of(engine: &mut Engine, path: &str) -> Option<String> {
    match engine.eval_rule(path.to_owned()) {
        Ok(Value::Undefined) | Err(_) => None,
        Ok(value) => Some(shown(&value)),
    }
}

fn bodies(base: &Engine, module: &Module, text: &str, rule: &Rule, is_function: bool) -> Vec<BodyReport> {
    let Rule::Spec { bodies, .. } = rule else {
        return Vec::new();
    };
    bodies
        .iter()
        .map(|body| {
            let asked = Asked {
                module,
                text,
                statements: body.query.stmts.iter().collect(),
            };
            let answers = if is_function { None } else { asked.answers(base) };
            let conditions = match &answers {
                Some(conditions) => conditions.clone(),
                None => asked.unanswered(),
            };
            BodyReport {
                line: body.query.stmts.first().map_or(body.span.line, |first| first.span.line),
                is_else: body.is_else,
                holds: answers.map(|conditions| conditions.last().is_none_or(|last| 0 < last.solutions)),
                conditions,
            }
        })
        .collect()
}

impl Asked<'_> {
    /// The conditions as they stand, of which nothing is known.
    fn unanswered(&self) -> Vec<ConditionReport> {
        let statements = self.statements.iter();
        statements
            .map(|statement| ConditionReport {
                line: statement.span.line,
                text: one_line(self.text_of(statement)),
                is_reached: false,
                solutions: 0,
                values: Vec::new(),
            })
            .collect()
    }

    /// What becomes of each condition; `None` when the conditions cannot be asked apart from each other.
    fn answers(&self, base: &Engine) -> Option<Vec<ConditionReport>> {
        let mut conditions = self.unanswered();
        let mut engine = base.clone();
        engine.add_policy(ASKED.to_owned(), self.questions()).ok()?;
        let package = self.package()?;
        let mut is_reached = true;
        for (place, (statement, condition)) in self.statements.iter().zip(&mut conditions).enumerate() {
            condition.is_reached = is_reached;
            if !is_reached {
                continue;
            }
            // A declaration holds by itself, and nothing can be asked of it alone.
            if matches!(statement.literal, Literal::SomeVars { .. }) {
                condition.solutions = 1;
                continue;
            }
            let count = engine.eval_rule(format!("{package}.{ASKED}_{place}")).ok()?;
            condition.solutions = count.as_u64().ok()?;
            for (number, path) in self.expressions(place).into_iter().enumerate() {
                let values = engine.eval_rule(format!("{package}.{ASKED}_{place}_{number}"));
                let values = match values.ok()? {
                    Value::Set(values) => values.iter().take(VALUES_MAX).map(shown).collect(),
                    _ => Vec::new(),
                };
                let expression = path.join(".");
                condition.values.push(ShownValue { expression, values });
            }
            is_reached = 0 < condition.solutions;
        }
        Some(conditions)
    }

    fn package(&self) -> Option<String> {
        let path = syntax::literal_path(&self.module.package.refr)?;
        Some(format!("data.{}", path.join(".")))
    }

    /// A module beside the policy's own that counts the solutions of each run of conditions from the first on, and
    /// collects the values of what stands in each.
    fn questions(&self) -> String {
        let path = syntax::literal_path(&self.module.package.refr).unwrap_or_default();
        let mut text = format!("package {}\n", path.join("."));
        for import in &self.module.imports {
            let target = syntax::literal_path(&import.refr).unwrap_or_default().join(".");
            text.push_str(&format!("import {target}"));
            if let Some(name) = &import.r#as {
                text.push_str(&format!(" as {}", name.text()));
            }
            text.push('\n');
        }
        let mut before = String::new();
        for (place, statement) in self.statements.iter().enumerate() {
            for (number, path) in self.expressions(place).into_iter().enumerate() {
                let expression = bracketed(&path);
                text.push_str(&format!(
                    "{ASKED}_{place}_{number} := {{{ASKED} | {before}{ASKED} := {expression}}}\n"
                ));
            }
            before.push_str(self.text_of(statement));
            before.push('\n');
            if !matches!(statement.literal, Literal::SomeVars { .. }) {
                text.push_str(&format!("{ASKED}_{place} := count([1 | {before}])\n"));
            }
        }
        text
    }

    /// The references in a condition that have a value before it is asked, each once.
    fn expressions(&self, place: usize) -> Vec<Vec<Box<str>>> {
        let mut bound = BTreeSet::from(["input", "data"]);
        for statement in self.statements.iter().take(place) {
            bind(statement, &mut bound);
        }
        let mut found: Vec<Vec<Box<str>>> = Vec::new();
        let Some(statement) = self.statements.get(place) else {
            return found;
        };
        syntax::each_expr_of_statement(statement, &mut |expr| {
            if let Expr::Call { params, .. } = expr {
                // The name of a builtin is no value.
                for param in params {
                    syntax::each_expr(param, &mut |inner| add(inner, &bound, &mut found));
                }
                return false;
            }
            add(expr, &bound, &mut found)
        });
        found
    }

    fn text_of(&self, statement: &LiteralStmt) -> &str {
        let offset = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
        let (mut start, mut end) = (offset(statement.span.start), offset(statement.span.end));
        // The span of a string leaves out its quotes.
        if self.text.get(..start).is_some_and(|rest| rest.ends_with(['"', '`'])) {
            start = start.saturating_sub(1);
        }
        if self.text.get(end..).is_some_and(|rest| rest.starts_with(['"', '`'])) {
            end = end.saturating_add(1);
        }
        self.text.get(start..end).unwrap_or_default()
    }
}

/// Adds the reference `expr`, if it is one with literal steps alone and a root that is bound; says whether to look inside.
fn add(expr: &Expr, bound: &BTreeSet<&str>, found: &mut Vec<Vec<Box<str>>>) -> bool {
    let Some(path) = syntax::literal_path(expr) else {
        return true;
    };
    let mut is_plain = true;
    syntax::each_computed_step(expr, &mut |_| is_plain = false);
    let is_whole = path.len() == 1 && path.first().is_some_and(|root| matches!(&**root, "input" | "data"));
    if is_plain && !is_whole && path.first().is_some_and(|root| bound.contains(&**root)) && !found.contains(&path) {
        found.push(path);
    }
    // Within a computed step further references may stand.
    !is_plain
}

/// Adds the variables that `statement` gives values to.
fn bind<'a>(statement: &'a LiteralStmt, bound: &mut BTreeSet<&'a str>) {
    let mut take = |expr: &'a Expr| {
        if let Expr::Var { span, .. } = expr {
            bound.insert(span.text());
        }
    };
    match &statement.literal {
        Literal::SomeIn { key, value, .. } => {
            key.iter().for_each(|key| take(key));
            take(value);
        }
        Literal::Expr { expr, .. } => {
            if let Expr::AssignExpr { lhs, .. } = &**expr {
                take(lhs);
            }
        }
        Literal::SomeVars { .. } | Literal::NotExpr { .. } | Literal::Every { .. } => {}
    }
}

/// `a["b"]["c"]`, whatever the names are.
fn bracketed(path: &[Box<str>]) -> String {
    let mut text = String::new();
    for (place, step) in path.iter().enumerate() {
        match place {
            0 => text.push_str(step),
            _ => text.push_str(&format!("[{}]", Value::from(&**step))),
        }
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shown(value: &Value) -> String {
    let mut text = value.to_string();
    if VALUE_BYTES_MAX < text.len() {
        text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
        text.push('…');
    }
    text
}
