//! Changes to a JSON text that leave every other byte as it was.
//!
//! Owns the splice, the commas around removed and added parts, and the escaping of strings. Never re-serialises what
//! it does not change.

use std::cmp::Reverse;
use std::ops::Range;

use super::node::{Kind, Node};

/// Changes to one text, in any order. Where changes nest, the outer one wins; of two on the same bytes, the removal,
/// else the later.
///
/// Every [`Node`] given to one `Edits` must come from the text that [`Self::apply`] gets.
#[derive(Default)]
pub(crate) struct Edits {
    changes: Vec<Change>,
    removals: Vec<Removal>,
    /// The new texts, one after the other.
    texts: String,
}

/// A change points outside the text it was to be applied to: the edits belong to another text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a change lies outside the text")]
pub(crate) struct SpanOutside;

/// New text in place of a span. An inserted member has an empty span, and knows where the first member starts.
struct Change {
    span: Range<usize>,
    text: Range<usize>,
    insert: Option<Insert>,
}

struct Insert {
    first_member: Option<usize>,
}

/// A part to take out, with the end of its left and the start of its right neighbour.
struct Removal {
    span: Range<usize>,
    left: Option<usize>,
    right: Option<usize>,
}

/// A change with its comma settled. `number` orders changes on the same bytes.
struct Splice {
    span: Range<usize>,
    text: Range<usize>,
    comma: bool,
    insert: bool,
    number: usize,
}

impl Edits {
    /// Forgets all changes, keeps the buffers.
    pub(crate) fn clear(&mut self) {
        self.changes.clear();
        self.removals.clear();
        self.texts.clear();
    }

    /// Whether there is nothing to change.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many changes were asked for.
    pub(crate) fn len(&self) -> usize {
        self.changes.len().saturating_add(self.removals.len())
    }

    /// Puts `json`, a whole JSON value, in place of the bytes at `span`, such as [`Node::span`] gives.
    pub(crate) fn replace(&mut self, span: Range<usize>, json: &str) {
        self.change(span, None, |texts| texts.push_str(json));
    }

    /// Puts a string literal that decodes to `value` in place of the bytes at `span`.
    pub(crate) fn replace_string(&mut self, span: Range<usize>, value: &str) {
        self.change(span, None, |texts| escape(value, |part| texts.push_str(part)));
    }

    /// Adds the member `key` with the value `json` to `object`, which must not have that key; it becomes the first
    /// member. Does nothing when `object` is not an object.
    pub(crate) fn insert_member(&mut self, object: Node<'_>, key: &str, json: &str) {
        if object.kind() != Kind::Object {
            return;
        }
        let at = object.span().start.saturating_add(1);
        let first_member = object.members().next().map(|member| member.key_span.start);
        self.change(at..at, Some(Insert { first_member }), |texts| {
            escape(key, |part| texts.push_str(part));
            texts.push(':');
            texts.push_str(json);
        });
    }

    /// Takes `element` and one comma out of `array`; says whether it was found there.
    pub(crate) fn remove_element(&mut self, array: Node<'_>, element: Node<'_>) -> bool {
        self.remove(array.elements().map(Node::span), element.span().start)
    }

    /// Takes the member `key` and one comma out of `object`; says whether it was found there.
    pub(crate) fn remove_member(&mut self, object: Node<'_>, key: &str) -> bool {
        let Some(found) = object.members().find(|member| member.key == key) else {
            return false;
        };
        let spans = object
            .members()
            .map(|member| member.key_span.start..member.value.span().end);
        self.remove(spans, found.key_span.start)
    }

    /// Appends `text` with all changes made.
    ///
    /// # Errors
    /// [`SpanOutside`] when a change does not lie in `text` on whole characters: then nothing is appended, since a
    /// change that is left out may be a secret that stays in.
    pub(crate) fn apply(&self, text: &str, out: &mut Vec<u8>) -> Result<(), SpanOutside> {
        let splices = self.splices();
        if splices.iter().any(|splice| text.get(splice.span.clone()).is_none()) {
            return Err(SpanOutside);
        }
        let mut done = 0_usize;
        for splice in splices {
            if splice.span.start < done {
                continue;
            }
            let kept = text.get(done..splice.span.start).unwrap_or_default();
            let new = self.texts.get(splice.text).unwrap_or_default();
            out.extend_from_slice(kept.as_bytes());
            out.extend_from_slice(new.as_bytes());
            if splice.comma {
                out.push(b',');
            }
            done = splice.span.end;
        }
        out.extend_from_slice(text.get(done..).unwrap_or_default().as_bytes());
        Ok(())
    }

    fn change(&mut self, span: Range<usize>, insert: Option<Insert>, write: impl FnOnce(&mut String)) {
        let start = self.texts.len();
        write(&mut self.texts);
        let text = start..self.texts.len();
        self.changes.push(Change { span, text, insert });
    }

    fn remove(&mut self, spans: impl Iterator<Item = Range<usize>>, start: usize) -> bool {
        let mut spans = spans.peekable();
        let mut left = None;
        while let Some(span) = spans.next() {
            if span.start == start {
                let right = spans.peek().map(|next| next.start);
                self.removals.push(Removal { span, left, right });
                return true;
            }
            left = Some(span.end);
        }
        false
    }

    /// All changes in the order of the text, outer before inner.
    fn splices(&self) -> Vec<Splice> {
        let runs = self.runs();
        let emptied = |first: usize| {
            runs.iter()
                .any(|run| run.span.start == first && run.left.is_none() && run.right.is_none())
        };
        let mut splices: Vec<Splice> = Vec::with_capacity(self.len());
        for (number, change) in self.changes.iter().enumerate() {
            let comma = change.insert.as_ref().is_some_and(|insert| {
                let below = self.changes.iter().take(number);
                insert.first_member.is_some_and(|first| !emptied(first))
                    || below
                        .into_iter()
                        .any(|other| other.insert.is_some() && other.span == change.span)
            });
            splices.push(Splice {
                span: change.span.clone(),
                text: change.text.clone(),
                comma,
                insert: change.insert.is_some(),
                number,
            });
        }
        splices.extend(runs.iter().map(Removal::splice));
        splices.sort_unstable_by_key(|splice| {
            (
                splice.span.start,
                !splice.insert,
                Reverse(splice.span.end),
                Reverse(splice.number),
            )
        });
        splices
    }

    /// The removals with neighbours joined: a comma can only be settled for a whole run.
    fn runs(&self) -> Vec<Removal> {
        let mut order: Vec<&Removal> = self.removals.iter().collect();
        order.sort_unstable_by_key(|removal| (removal.span.start, Reverse(removal.span.end)));
        let mut runs: Vec<Removal> = Vec::with_capacity(order.len());
        for removal in order {
            match runs.last_mut() {
                // Within what goes anyway, or the same part a second time.
                Some(run) if removal.span.start < run.span.end => {}
                Some(run) if run.right == Some(removal.span.start) => {
                    run.span.end = removal.span.end;
                    run.right = removal.right;
                }
                _ => runs.push(Removal {
                    span: removal.span.clone(),
                    left: removal.left,
                    right: removal.right,
                }),
            }
        }
        runs
    }
}

impl Removal {
    /// The bytes to take out: up to the right neighbour, else from the left one on, else the parts alone.
    fn splice(&self) -> Splice {
        let span = match (self.left, self.right) {
            (_, Some(right)) => self.span.start..right,
            (Some(left), None) => left..self.span.end,
            (None, None) => self.span.clone(),
        };
        Splice {
            span,
            text: 0..0,
            comma: false,
            insert: false,
            number: usize::MAX,
        }
    }
}

/// Appends `value` as a JSON string literal, quotes included (RFC 8259 section 7).
pub(crate) fn write_string(out: &mut Vec<u8>, value: &str) {
    escape(value, |part| out.extend_from_slice(part.as_bytes()));
}

/// Passes the parts of the literal to `push`: unchanged stretches whole, escapes one by one.
fn escape(value: &str, mut push: impl FnMut(&str)) {
    push("\"");
    let mut rest = value;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, special) = rest.split_at(at);
        push(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => push("\\\""),
            Some('\\') => push("\\\\"),
            Some('\n') => push("\\n"),
            Some('\r') => push("\\r"),
            Some('\t') => push("\\t"),
            Some(control) => {
                push("\\u00");
                push(if control < '\u{10}' { "0" } else { "1" });
                push(low_hex(control));
            }
            None => {}
        }
        rest = chars.as_str();
    }
    push(rest);
    push("\"");
}

/// The last hexadecimal digit of a control character.
fn low_hex(control: char) -> &'static str {
    let low = (u32::from(control) & 0xf) as usize;
    "0123456789abcdef".get(low..=low).unwrap_or("0")
}
