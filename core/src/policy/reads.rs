//! Which parts of the input a policy reads: nothing else needs converting for it.
//!
//! Owns the analysis of references to `input`. It errs towards reading more: a path ends at its first computed step,
//! and everything beneath its end counts as read.

use std::collections::BTreeMap;

use regorus::unstable::{Expr, Module, Rule};

use super::syntax;

/// A set of input paths.
#[derive(Debug)]
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
        syntax::each_expr_of_rule(rule, &mut |expr| match input_path(expr) {
            Some(path) => {
                self.add(&path);
                // The computed steps of the path may read the input themselves.
                syntax::each_computed_step(expr, &mut |step| self.add_expr(step));
                false
            }
            None => true,
        });
    }

    fn add_expr(&mut self, expr: &Expr) {
        syntax::each_expr(expr, &mut |expr| match input_path(expr) {
            Some(path) => {
                self.add(&path);
                syntax::each_computed_step(expr, &mut |step| self.add_expr(step));
                false
            }
            None => true,
        });
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

    fn add(&mut self, path: &[Box<str>]) {
        match (&mut *self, path) {
            (Self::All, _) => {}
            (_, []) => *self = Self::All,
            (Self::Members(members), [first, rest @ ..]) => members.entry(first.clone()).or_default().add(rest),
        }
    }
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
