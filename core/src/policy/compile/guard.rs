//! The policy as the register machine must be told it.
//!
//! Owns two repairs. In regorus 0.14.1 the machine neither ends a body when the right side of `:=` is undefined, nor a
//! function whose argument is: `row := data.rows[x]; not row.blocked` would pass for an `x` that has no row. So `x == x`,
//! which an undefined `x` fails, follows every `x := ..` and begins every function of an `x`. Errors are always told of
//! the text as its author wrote it, never of this one.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Rule, RuleBody, RuleHead};

use crate::policy::syntax;

/// A guarded text.
pub(super) struct Guarded {
    /// How many statements it has.
    pub(super) statements: usize,
    pub(super) text: String,
}

/// What is put in, by the byte it stands before.
struct Guards<'t> {
    added: BTreeMap<usize, String>,
    statements: usize,
    text: &'t str,
}

/// The text of `module` with its assignments guarded.
pub(super) fn guarded(module: &Module, text: &str) -> Guarded {
    let mut guards = Guards {
        added: BTreeMap::new(),
        statements: statements(module),
        text,
    };
    for rule in &module.policy {
        guards.add_rule(rule);
    }
    let mut whole = String::with_capacity(text.len());
    let mut done = 0;
    for (at, added) in &guards.added {
        whole.push_str(text.get(done..*at).unwrap_or_default());
        whole.push_str(added);
        done = *at;
    }
    whole.push_str(text.get(done..).unwrap_or_default());
    Guarded {
        statements: guards.statements,
        text: whole,
    }
}

/// The number of statements in all queries of `module`: what a guard that went astray would upset.
pub(super) fn statements(module: &Module) -> usize {
    let mut starts = BTreeSet::new();
    for rule in &module.policy {
        syntax::each_query(rule, &mut |query| {
            starts.extend(query.stmts.iter().map(|statement| statement.span.start));
        });
    }
    starts.len()
}

impl Guards<'_> {
    fn add_rule(&mut self, rule: &Rule) {
        let Rule::Spec { span, head, bodies } = rule else {
            return;
        };
        syntax::each_query(rule, &mut |query| {
            for statement in &query.stmts {
                if let Some(name) = assigned(statement) {
                    self.guard(self.after(statement.span.end), &format!("; {name} == {name}"));
                }
            }
        });
        let arguments = arguments(head);
        if bodies.is_empty() {
            self.add_whole_body(span.end, &arguments);
        }
        for body in bodies {
            self.add_body(body, &arguments);
        }
    }

    /// Puts the arguments before the first statement. A body of one statement may stand without braces; with two it
    /// must have them.
    fn add_body(&mut self, body: &RuleBody, arguments: &[String]) {
        let (Some(first), Some(last)) = (body.query.stmts.first(), body.query.stmts.last()) else {
            return self.add_whole_body(body.span.end, arguments);
        };
        let braced = self
            .text
            .get(offset(body.query.span.start)..)
            .is_some_and(|rest| rest.starts_with('{'));
        let grows = !arguments.is_empty() || assigned(last).is_some();
        let (start, end) = (self.before(first.span.start), self.after(last.span.end));
        if !braced && grows {
            self.put(start, "{ ");
            self.put(end, " }");
        }
        for argument in arguments {
            self.guard(start, &format!("{argument}; "));
        }
    }

    /// Gives a function that has only a value a body that looks at its arguments.
    fn add_whole_body(&mut self, end: u32, arguments: &[String]) {
        if arguments.is_empty() {
            return;
        }
        let at = self.after(end);
        self.put(at, " if { ");
        for argument in arguments {
            self.guard(at, &format!("{argument}; "));
        }
        self.put(at, "true }");
        self.statements = self.statements.saturating_add(1);
    }

    /// Puts in a guard; a query that is met twice is guarded once.
    fn guard(&mut self, at: usize, text: &str) {
        if !self.added.get(&at).is_some_and(|there| there.contains(text)) {
            self.put(at, text);
            self.statements = self.statements.saturating_add(1);
        }
    }

    fn put(&mut self, at: usize, text: &str) {
        self.added.entry(at).or_default().push_str(text);
    }

    /// The byte after something that ends at `end`; the span of a string leaves out its quotes.
    fn after(&self, end: u32) -> usize {
        let end = offset(end);
        let quoted = self.text.get(end..).is_some_and(|rest| rest.starts_with(['"', '`']));
        end.saturating_add(usize::from(quoted))
    }

    /// The byte where something begins that has its span from `start`.
    fn before(&self, start: u32) -> usize {
        let start = offset(start);
        let quoted = self.text.get(..start).is_some_and(|rest| rest.ends_with(['"', '`']));
        start.saturating_sub(usize::from(quoted))
    }
}

/// A comparison of each named argument with itself.
fn arguments(head: &RuleHead) -> Vec<String> {
    let RuleHead::Func { args, .. } = head else {
        return Vec::new();
    };
    args.iter()
        .filter_map(|arg| match &**arg {
            Expr::Var { span, .. } if span.text() != "_" => Some(format!("{0} == {0}", span.text())),
            _ => None,
        })
        .collect()
}

/// The one variable that a statement assigns by `:=`. A pattern fails on an undefined value as it should.
fn assigned(statement: &LiteralStmt) -> Option<&str> {
    match &statement.literal {
        Literal::Expr { expr, .. } => match &**expr {
            Expr::AssignExpr {
                op: AssignOp::ColEq,
                lhs,
                ..
            } => match &**lhs {
                Expr::Var { span, .. } => Some(span.text()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn offset(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}
