//! Which parts of the input a policy reads: nothing else needs converting for it.
//!
//! Owns the analysis of references to `input`. It errs towards reading more: a path ends at its first computed step,
//! and everything beneath its end counts as read, unless a statement asks no more than whether it is there. What the
//! text shows and what the compiled program shows are joined.

use std::collections::BTreeMap;

use regorus::unstable::{Expr, Literal, Module, Rule};

use super::syntax;

mod program;

pub(super) use program::reads_by_rule;

/// A set of input paths.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reads {
    /// Everything from here down.
    All,
    /// These members alone.
    Members(BTreeMap<Box<str>, Self>),
}

impl Default for Reads {
    fn default() -> Self {
        Self::Members(BTreeMap::new())
    }
}

impl Reads {
    /// Adds what `rule` reads.
    pub(super) fn add_rule(&mut self, rule: &Rule) {
        let mut asked = Vec::new();
        syntax::each_query(rule, &mut |query| {
            for statement in &query.stmts {
                if let Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } = &statement.literal
                    && is_plain(expr)
                {
                    asked.push(std::ptr::from_ref::<Expr>(expr));
                }
            }
        });
        syntax::each_expr_of_rule(rule, &mut |expr| {
            let existing = input_path(expr).filter(|_| asked.contains(&std::ptr::from_ref(expr)));
            match existing {
                Some(path) => {
                    self.add_existing(&path);
                    false
                }
                None => self.add_expr(expr),
            }
        });
    }

    /// Adds what the outermost part of `expr` reads; says whether its parts are still to be looked at.
    fn add_expr(&mut self, expr: &Expr) -> bool {
        if let Some(path) = input_path(expr) {
            self.add(&path);
            // The computed steps of the path may read the input themselves.
            syntax::each_computed_step(expr, &mut |step| {
                syntax::each_expr(step, &mut |inner| self.add_expr(inner));
            });
            return false;
        }
        if let Some((path, default)) = looked_up(expr) {
            self.add(&path);
            syntax::each_expr(default, &mut |inner| self.add_expr(inner));
            return false;
        }
        true
    }

    /// Adds what the imports of `module` give other names to.
    pub(super) fn add_imports(&mut self, module: &Module) {
        for import in &module.imports {
            if let Some(path) = input_path(&import.refr) {
                self.add(&path);
            }
        }
    }

    /// The part for the member `name`, `None` when nothing of it is read.
    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::All => Some(&Self::All),
            Self::Members(members) => members.get(name),
        }
    }

    /// Whether anything at, above or below `path` is read.
    pub(super) fn covers(&self, path: &[&str]) -> bool {
        match path {
            [] => true,
            [first, rest @ ..] => self.member(first).is_some_and(|inner| inner.covers(rest)),
        }
    }

    /// Adds whatever `other` has.
    pub(super) fn join(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Members(members), Self::Members(more)) => {
                for (name, inner) in more {
                    members.entry(name.clone()).or_default().join(inner);
                }
            }
        }
    }

    /// The part at `path`, `None` when nothing of it is read.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        match path {
            [] => Some(self),
            [first, rest @ ..] => self.member(first)?.at(rest),
        }
    }

    /// Adds that there is something at `path`, and whether it is `false`: of an object then no member is read.
    fn add_existing(&mut self, path: &[Box<str>]) {
        match (self, path) {
            (Self::All, _) | (_, []) => {}
            (Self::Members(members), [first, rest @ ..]) => {
                members.entry(first.clone()).or_default().add_existing(rest);
            }
        }
    }

    fn add(&mut self, path: &[Box<str>]) {
        match (&mut *self, path) {
            (Self::All, _) => {}
            (_, []) => *self = Self::All,
            (Self::Members(members), [first, rest @ ..]) => members.entry(first.clone()).or_default().add(rest),
        }
    }
}

/// The path and the default of `object.get(input.., <literal path>, default)`.
fn looked_up(expr: &Expr) -> Option<(Vec<Box<str>>, &Expr)> {
    let Expr::Call { fcn, params, .. } = expr else {
        return None;
    };
    let [object, key, default] = params.as_slice() else {
        return None;
    };
    if syntax::literal_path(fcn)?.join(".") != "object.get" || !is_plain(object) {
        return None;
    }
    let mut path = input_path(object)?;
    match &**key {
        Expr::Array { items, .. } => {
            for item in items {
                path.push(syntax::literal_text(item)?.into());
            }
        }
        key => path.push(syntax::literal_text(key)?.into()),
    }
    Some((path, default))
}

/// Whether a reference has no computed step.
fn is_plain(expr: &Expr) -> bool {
    let mut plain = true;
    syntax::each_computed_step(expr, &mut |_| plain = false);
    plain
}

/// The literal steps after `input`, up to the first computed one; `None` when the reference has another root.
fn input_path(expr: &Expr) -> Option<Vec<Box<str>>> {
    let mut path = syntax::literal_path(expr)?;
    if path.first().is_none_or(|root| &**root != "input") {
        return None;
    }
    path.remove(0);
    Some(path)
}
