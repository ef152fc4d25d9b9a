//! Walks over the syntax tree of a policy.
//!
//! Owns the traversal, so that each check names only what it looks for. Judges nothing.

use regorus::Value;
use regorus::unstable::{Expr, Literal, LiteralStmt, Query, Rule, RuleAssign, RuleHead, Span};

/// Calls `visit` for every expression of `rule`, outer before inner; it says whether to go inside.
pub(super) fn each_expr_of_rule<'a>(rule: &'a Rule, visit: &mut dyn FnMut(&'a Expr) -> bool) {
    match rule {
        Rule::Spec { head, bodies, .. } => {
            match head {
                RuleHead::Compr { refr, assign, .. } => {
                    each_expr(refr, visit);
                    each_expr_of_assign(assign.as_ref(), visit);
                }
                RuleHead::Set { refr, key, .. } => {
                    each_expr(refr, visit);
                    key.iter().for_each(|key| each_expr(key, visit));
                }
                RuleHead::Func { refr, args, assign, .. } => {
                    each_expr(refr, visit);
                    args.iter().for_each(|arg| each_expr(arg, visit));
                    each_expr_of_assign(assign.as_ref(), visit);
                }
            }
            for body in bodies {
                each_expr_of_assign(body.assign.as_ref(), visit);
                each_expr_of_query(&body.query, visit);
            }
        }
        Rule::Default { value, .. } => each_expr(value, visit),
    }
}

fn each_expr_of_assign<'a>(assign: Option<&'a RuleAssign>, visit: &mut dyn FnMut(&'a Expr) -> bool) {
    if let Some(assign) = assign {
        each_expr(&assign.value, visit);
    }
}

/// Calls `visit` for every expression of `query`, outer before inner; it says whether to go inside.
pub(super) fn each_expr_of_query<'a>(query: &'a Query, visit: &mut dyn FnMut(&'a Expr) -> bool) {
    for statement in &query.stmts {
        each_expr_of_statement(statement, visit);
    }
}

/// Calls `visit` for every expression of `statement`, outer before inner; it says whether to go inside.
pub(super) fn each_expr_of_statement<'a>(statement: &'a LiteralStmt, visit: &mut dyn FnMut(&'a Expr) -> bool) {
    match &statement.literal {
        Literal::SomeVars { .. } => {}
        Literal::SomeIn {
            key, value, collection, ..
        } => {
            key.iter().for_each(|key| each_expr(key, visit));
            each_expr(value, visit);
            each_expr(collection, visit);
        }
        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => each_expr(expr, visit),
        Literal::Every { domain, query, .. } => {
            each_expr(domain, visit);
            each_expr_of_query(query, visit);
        }
    }
    for with in &statement.with_mods {
        each_expr(&with.refr, visit);
        each_expr(&with.r#as, visit);
    }
}

/// Calls `visit` for `expr` and every expression in it, outer before inner; it says whether to go inside.
pub(super) fn each_expr<'a>(expr: &'a Expr, visit: &mut dyn FnMut(&'a Expr) -> bool) {
    if !visit(expr) {
        return;
    }
    match expr {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => {}
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| each_expr(item, visit)),
        Expr::Object { fields, .. } => {
            for (_, key, value) in fields {
                each_expr(key, visit);
                each_expr(value, visit);
            }
        }
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            each_expr(term, visit);
            each_expr_of_query(query, visit);
        }
        Expr::ObjectCompr { key, value, query, .. } => {
            each_expr(key, visit);
            each_expr(value, visit);
            each_expr_of_query(query, visit);
        }
        Expr::Call { fcn, params, .. } => {
            each_expr(fcn, visit);
            params.iter().for_each(|param| each_expr(param, visit));
        }
        Expr::UnaryExpr { expr, .. } => each_expr(expr, visit),
        Expr::RefDot { refr, .. } => each_expr(refr, visit),
        Expr::RefBrack { refr, index, .. } => {
            each_expr(refr, visit);
            each_expr(index, visit);
        }
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => {
            each_expr(lhs, visit);
            each_expr(rhs, visit);
        }
        Expr::Membership {
            key, value, collection, ..
        } => {
            key.iter().for_each(|key| each_expr(key, visit));
            each_expr(value, visit);
            each_expr(collection, visit);
        }
    }
}

/// Calls `visit` for every query of `rule`: bodies, comprehensions and `every`, some of them more than once.
pub(super) fn each_query<'a>(rule: &'a Rule, visit: &mut dyn FnMut(&'a Query)) {
    if let Rule::Spec { bodies, .. } = rule {
        bodies.iter().for_each(|body| each_query_in(&body.query, visit));
    }
    each_expr_of_rule(rule, &mut |expr| {
        match expr {
            Expr::ArrayCompr { query, .. } | Expr::ObjectCompr { query, .. } | Expr::SetCompr { query, .. } => {
                each_query_in(query, visit);
            }
            _ => {}
        }
        true
    });
}

/// Calls `visit` for `query` and every `every` in it.
fn each_query_in<'a>(query: &'a Query, visit: &mut dyn FnMut(&'a Query)) {
    visit(query);
    for statement in &query.stmts {
        if let Literal::Every { query, .. } = &statement.literal {
            each_query_in(query, visit);
        }
    }
}

/// Calls `visit` for each computed step of a reference, such as `x` in `a[x].b`.
pub(super) fn each_computed_step<'a>(expr: &'a Expr, visit: &mut dyn FnMut(&'a Expr)) {
    match expr {
        Expr::RefDot { refr, .. } => each_computed_step(refr, visit),
        Expr::RefBrack { refr, index, .. } => {
            each_computed_step(refr, visit);
            if literal_text(index).is_none() {
                visit(index);
            }
        }
        _ => {}
    }
}

/// The root variable and the literal steps of a reference up to its first computed step, `None` when `expr` is no
/// reference that begins with a variable.
pub(super) fn literal_path(expr: &Expr) -> Option<Vec<Box<str>>> {
    let mut path = Vec::new();
    let whole = collect_path(expr, &mut path);
    whole.map(|_| path)
}

/// Collects the steps; gives whether they are still complete, `None` when there is no root variable.
fn collect_path(expr: &Expr, path: &mut Vec<Box<str>>) -> Option<bool> {
    match expr {
        Expr::Var { span, .. } => {
            path.push(span.text().into());
            Some(true)
        }
        Expr::RefDot { refr, field, .. } => {
            let complete = collect_path(refr, path)?;
            let name = field.1.as_string().ok();
            if let (true, Some(name)) = (complete, name) {
                path.push((&**name).into());
            }
            Some(complete && name.is_some())
        }
        Expr::RefBrack { refr, index, .. } => {
            let complete = collect_path(refr, path)?;
            let name = literal_text(index);
            if let (true, Some(name)) = (complete, name) {
                path.push(name.into());
            }
            Some(complete && name.is_some())
        }
        _ => None,
    }
}

/// Where a reference begins; its own span begins at its last step.
pub(super) fn start(expr: &Expr) -> &Span {
    match expr {
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => start(refr),
        other => other.span(),
    }
}

/// The text of a string literal.
pub(super) fn literal_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::String { value, .. } | Expr::RawString { value, .. } => match value {
            Value::String(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
