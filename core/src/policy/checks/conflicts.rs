//! Where two values may conflict without the register machine seeing it.
//!
//! Owns the list of places that make every allow wait for the interpreter's. Rego makes a conflict of two different
//! values for one rule, function call or key an error; the machine keeps one of them or drops the rule, so that
//! `not blocked` may pass. This errs towards listing more: a listed place costs time, never safety.

use std::collections::BTreeSet;

use regorus::rvm::program::{RuleInfo, RuleType};
use regorus::rvm::{Instruction, Program};
use regorus::unstable::{AssignOp, Expr, Import, Literal, LiteralStmt, Query, Rule, RuleAssign, RuleHead};

use super::{Definition, Rules, calls, head, is_constant};
use crate::policy::compile::{Entry, finding_at};
use crate::policy::{Finding, syntax};

/// The places of every rule that `program` holds.
pub(super) fn find(program: &Program, rules: &Rules<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut documents = BTreeSet::new();
    calls::each_instruction(program, &mut |rule, instruction| {
        if matches!(instruction, Instruction::VirtualDataDocumentLookup { .. }) {
            documents.insert(rule);
        }
    });
    for (number, info) in program.rule_infos.iter().enumerate() {
        let definitions: Vec<Definition<'_>> = rules
            .by_path
            .get(&info.name)
            .into_iter()
            .flatten()
            .copied()
            .filter(|definition| matches!(definition.rule, Rule::Spec { .. }))
            .collect();
        for definition in &definitions {
            // The machine makes members of rules that are undefined, and leaves out packages without a rule.
            let document = documents
                .contains(&number)
                .then_some("a package is read as one document");
            let reason = document.or_else(|| reason(info, *definition, definitions.len(), rules));
            if let Some(reason) = reason {
                let message = format!("{reason}: the interpreter confirms every allow");
                findings.push(finding_at(definition.rule.span(), message));
            }
        }
    }
    findings
}

fn reason(info: &RuleInfo, definition: Definition<'_>, definitions: usize, rules: &Rules<'_>) -> Option<&'static str> {
    let complete = info.rule_type == RuleType::Complete || info.function_info.is_some();
    // The compiler's own flag: every definition has the same constant value.
    if complete && 1 < definitions && !info.early_exit_on_first_success {
        return Some("this rule has several definitions whose values may differ");
    }
    if info.rule_type == RuleType::PartialObject {
        return Some("two keys of this rule may be the same");
    }
    if complete && Scope::of(definition, rules).is_many_valued(definition.rule) {
        return Some("this definition may have several values");
    }
    if info.name != Entry::Request.path() && info.name != Entry::Response.path() && falls_through(definition.rule) {
        return Some("the value of a body before an `else` may be undefined");
    }
    if has_pattern(definition.rule) {
        return Some("a pattern may match what Rego does not match");
    }
    if negates_a_match(definition.rule) {
        return Some("what is matched beneath a `not` may be lost");
    }
    expression_reason(definition.rule)
}

/// Whether a `not` covers an assignment, a comprehension or a call whose last argument may be a pattern: beneath a `not`
/// the machine drops the comparisons that an assignment or a pattern makes.
fn negates_a_match(rule: &Rule) -> bool {
    let mut found = false;
    syntax::each_query(rule, &mut |query| {
        for statement in &query.stmts {
            if let Literal::NotExpr { expr, .. } = &statement.literal {
                syntax::each_expr(expr, &mut |inner| {
                    found |= match inner {
                        Expr::AssignExpr { .. } => true,
                        Expr::Call { params, .. } => params.last().is_some_and(|last| is_pattern(last)),
                        inner => is_comprehension(inner),
                    };
                    !found
                });
            }
        }
    });
    found
}

/// Whether a definition takes values apart by a pattern, or takes an argument it does not name: the machine matches
/// an object where an array stands, and lets an unnamed argument be undefined.
fn has_pattern(rule: &Rule) -> bool {
    let mut found = false;
    if let Rule::Spec {
        head: RuleHead::Func { args, .. },
        ..
    } = rule
    {
        found |= args.iter().any(|arg| is_pattern(arg) || is_wildcard(arg));
    }
    syntax::each_query(rule, &mut |query| {
        for statement in &query.stmts {
            found |= match &statement.literal {
                Literal::SomeIn { key, value, .. } => {
                    is_pattern(value) || key.as_ref().is_some_and(|key| is_pattern(key))
                }
                Literal::Expr { expr, .. } => match &**expr {
                    Expr::AssignExpr { lhs, rhs, op, .. } => {
                        is_pattern(lhs) || is_wildcard(lhs) || (*op == AssignOp::Eq && is_pattern(rhs))
                    }
                    _ => false,
                },
                Literal::SomeVars { .. } | Literal::NotExpr { .. } | Literal::Every { .. } => false,
            };
        }
    });
    found
}

fn is_pattern(expr: &Expr) -> bool {
    matches!(expr, Expr::Array { .. } | Expr::Object { .. } | Expr::Set { .. })
}

fn is_wildcard(expr: &Expr) -> bool {
    matches!(expr, Expr::Var { span, .. } if span.text() == "_")
}

/// Whether a body before an `else` has a value that may be undefined: Rego then tries the `else`, the machine ends.
/// For an entry point that means no decision, for any other rule it may turn a `not` around.
fn falls_through(rule: &Rule) -> bool {
    let Rule::Spec { head, bodies, .. } = rule else {
        return false;
    };
    let whole = match head {
        RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign.as_ref(),
        RuleHead::Set { .. } => None,
    };
    let before_last = bodies.len().saturating_sub(1);
    bodies.iter().take(before_last).enumerate().any(|(position, body)| {
        let value = body.assign.as_ref().or_else(|| whole.filter(|_| position == 0));
        value.is_some_and(|value| !is_constant(&value.value))
    })
}

/// What an expression of `rule` may do that the machine does not tell.
fn expression_reason(rule: &Rule) -> Option<&'static str> {
    let mut reason = None;
    syntax::each_expr_of_rule(rule, &mut |expr| {
        match expr {
            Expr::ObjectCompr { .. } => reason = Some("two keys of an object comprehension may be the same"),
            // The machine gives up the whole body, past elements included, where Rego skips one.
            Expr::ArithExpr { .. } | Expr::BinExpr { .. } if !is_constant(expr) => {
                reason = Some("an operand may be of a kind that cannot be reckoned with");
            }
            // The machine looks at the value alone.
            Expr::Membership { key: Some(_), .. } => reason = Some("the key of a membership may be another"),
            _ => {}
        }
        reason.is_none()
    });
    reason
}

/// The names that a definition sees from outside, which no iteration binds.
struct Scope {
    outer: BTreeSet<Box<str>>,
}

impl Scope {
    fn of(definition: Definition<'_>, rules: &Rules<'_>) -> Self {
        let mut outer: BTreeSet<Box<str>> = ["data".into(), "input".into()].into();
        for import in &definition.module.imports {
            outer.extend(import_name(import));
        }
        let package = syntax::literal_path(&definition.module.package.refr);
        for other in rules.by_path.values().flatten() {
            if syntax::literal_path(&other.module.package.refr) == package {
                outer.extend(syntax::literal_path(head(other.rule)).and_then(|path| path.into_iter().next()));
            }
        }
        if let Rule::Spec {
            head: RuleHead::Func { args, .. },
            ..
        } = definition.rule
        {
            args.iter().for_each(|arg| add_variables(arg, &mut outer));
        }
        Self { outer }
    }

    /// Whether a body of `rule` can come to several values in one evaluation.
    fn is_many_valued(&self, rule: &Rule) -> bool {
        let Rule::Spec { head, bodies, .. } = rule else {
            return false;
        };
        let whole = match head {
            RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign.as_ref(),
            RuleHead::Set { .. } => None,
        };
        let no_body = bodies.is_empty() && self.varies_in(whole, None);
        no_body
            || bodies.iter().enumerate().any(|(position, body)| {
                let value = body.assign.as_ref().or_else(|| whole.filter(|_| position == 0));
                self.varies_in(value, Some(&body.query))
            })
    }

    fn varies_in(&self, value: Option<&RuleAssign>, query: Option<&Query>) -> bool {
        let Some(value) = value.filter(|value| !is_constant(&value.value)) else {
            return false;
        };
        let mut varying = Varying {
            outer: self.outer.clone(),
            names: BTreeSet::new(),
        };
        if let Some(query) = query {
            varying.add_query(query);
        }
        varying.covers(&value.value)
    }
}

/// The variables of one body that take several values.
struct Varying {
    /// Names that take one: those of outside and those that `:=` declares in this body.
    outer: BTreeSet<Box<str>>,
    names: BTreeSet<Box<str>>,
}

impl Varying {
    fn add_query(&mut self, query: &Query) {
        for statement in &query.stmts {
            if let Literal::Expr { expr, .. } = &statement.literal
                && let Expr::AssignExpr {
                    op: AssignOp::ColEq,
                    lhs,
                    ..
                } = &**expr
            {
                add_variables(lhs, &mut self.outer);
            }
        }
        // One variable may get its several values from another that is listed later.
        loop {
            let before = self.names.len();
            query.stmts.iter().for_each(|statement| self.add_statement(statement));
            if self.names.len() == before {
                return;
            }
        }
    }

    fn add_statement(&mut self, statement: &LiteralStmt) {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => self.names.extend(vars.iter().map(|var| Box::from(var.text()))),
            Literal::SomeIn { key, value, .. } => {
                key.iter().for_each(|key| add_variables(key, &mut self.names));
                add_variables(value, &mut self.names);
            }
            Literal::Expr { expr, .. } => self.add_expr(expr),
            // Neither binds a variable for the rest of the body.
            Literal::NotExpr { .. } | Literal::Every { .. } => {}
        }
    }

    fn add_expr(&mut self, expr: &Expr) {
        if let Expr::AssignExpr { op, lhs, rhs, .. } = expr {
            if self.covers(rhs) {
                add_variables(lhs, &mut self.names);
            }
            if *op == AssignOp::Eq && self.covers(lhs) {
                add_variables(rhs, &mut self.names);
            }
        }
        let mut found = BTreeSet::new();
        syntax::each_expr(expr, &mut |inner| match inner {
            Expr::RefBrack { index, .. } => {
                // A computed step that nothing has bound runs through every key.
                found.extend(self.unbound(index));
                true
            }
            // The last argument of a call may take its result.
            Expr::Call { params, .. } if params.iter().any(|param| self.covers(param)) => {
                params.iter().for_each(|param| add_variables(param, &mut found));
                true
            }
            inner => !is_comprehension(inner),
        });
        self.names.extend(found);
    }

    /// The variables of a step that nothing has bound.
    fn unbound(&self, index: &Expr) -> BTreeSet<Box<str>> {
        let mut names = BTreeSet::new();
        add_variables(index, &mut names);
        // Each `_` is a variable of its own.
        names.retain(|name| &**name == "_" || !self.outer.contains(name));
        names
    }

    /// Whether `expr` takes several values.
    fn covers(&self, expr: &Expr) -> bool {
        let mut covered = false;
        syntax::each_expr(expr, &mut |inner| {
            match inner {
                Expr::Var { span, .. } => covered |= self.names.contains(span.text()),
                Expr::RefBrack { index, .. } => covered |= !self.unbound(index).is_empty(),
                // It is one value, however it iterates, unless it uses a variable that varies outside.
                inner if is_comprehension(inner) => {
                    syntax::each_expr(inner, &mut |deep| {
                        if let Expr::Var { span, .. } = deep {
                            covered |= self.names.contains(span.text());
                        }
                        !covered
                    });
                    return false;
                }
                _ => {}
            }
            !covered
        });
        covered
    }
}

fn is_comprehension(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ArrayCompr { .. } | Expr::ObjectCompr { .. } | Expr::SetCompr { .. }
    )
}

/// Adds the variables of a pattern or step: names that stand alone or in arrays, objects and sets.
fn add_variables(expr: &Expr, names: &mut BTreeSet<Box<str>>) {
    syntax::each_expr(expr, &mut |inner| match inner {
        Expr::Var { span, .. } => {
            names.insert(span.text().into());
            false
        }
        Expr::Array { .. } | Expr::Object { .. } | Expr::Set { .. } => true,
        _ => false,
    });
}

/// The name that an import gives.
fn import_name(import: &Import) -> Option<Box<str>> {
    match &import.r#as {
        Some(name) => Some(name.text().into()),
        None => syntax::literal_path(&import.refr)?.pop(),
    }
}
