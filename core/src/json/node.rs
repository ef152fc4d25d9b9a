//! What a parse gives: borrowed values over the pristine text.
//!
//! Owns the node list and its readers. Never looks at the text again to find a value: positions and decoded strings
//! were fixed by the walk.

use std::fmt;
use std::iter;
use std::ops::Range;

/// The result of a parse that a [`Document`] borrows: nodes in document order, keys before their values, and the
/// decoded form of those strings that held escapes.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) nodes: Vec<NodeRepr>,
    pub(super) unescaped: String,
}

impl Parsed {
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.unescaped.clear();
    }

    /// The decoded string of `repr`, a borrow of the text when it held no escape.
    pub(super) fn string<'s>(&'s self, text: &'s str, repr: &NodeRepr) -> Option<&'s str> {
        match repr.value {
            Value::Escaped { at, len } => {
                let at = at as usize;
                self.unescaped.get(at..at.saturating_add(len as usize))
            }
            Value::Plain => text.get((repr.start as usize).saturating_add(1)..(repr.end as usize).saturating_sub(1)),
            _ => None,
        }
    }

    /// The index after the value at `index`, its parts included.
    pub(super) fn after(&self, index: u32) -> Option<u32> {
        match self.nodes.get(index as usize)?.value {
            Value::Array { next, .. } | Value::Object { next, .. } => Some(next),
            _ => index.checked_add(1),
        }
    }
}

/// One value: its bytes in the text, and what they say.
#[derive(Clone, Copy)]
pub(super) struct NodeRepr {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) value: Value,
}

/// `next` is the index of the node after the whole container; `at` counts bytes of `Parsed::unescaped`.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Array { len: u32, next: u32 },
    Bool(bool),
    Escaped { at: u32, len: u32 },
    Float(f64),
    Integer(i64),
    Null,
    Object { len: u32, next: u32 },
    Plain,
}

/// A whole parsed text. Cheap to copy; lives as long as the text and the scratch it was read with.
#[derive(Clone, Copy)]
pub(crate) struct Document<'s> {
    text: &'s str,
    parsed: &'s Parsed,
    root: &'s NodeRepr,
}

impl<'s> Document<'s> {
    pub(super) fn new(text: &'s str, parsed: &'s Parsed) -> Option<Self> {
        let root = parsed.nodes.first()?;
        Some(Self { text, parsed, root })
    }

    /// The outermost value.
    pub(crate) fn root(self) -> Node<'s> {
        Node {
            document: self,
            index: 0,
            repr: self.root,
        }
    }

    /// The text exactly as it came, with the white space around the document.
    pub(crate) fn text(self) -> &'s str {
        self.text
    }

    fn node(self, index: u32) -> Option<Node<'s>> {
        let repr = self.parsed.nodes.get(index as usize)?;
        Some(Node {
            document: self,
            index,
            repr,
        })
    }
}

/// Tells the size only: a body may hold what no log should.
impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.text.len())
    }
}

/// The kinds of JSON values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// `[..]`
    Array,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
    /// A number of any form.
    Number,
    /// `{..}`
    Object,
    /// `".."`
    String,
}

/// A number by the form it was written in. A parse lets pass only what a double holds, so `1`, `1.0` and `1e0` are
/// equal in value and differ only here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    /// Written without fraction and exponent, within ±(2^53 - 1).
    Integer(i64),
    /// Written with fraction or exponent; finite.
    Float(f64),
}

/// One value of a document.
#[derive(Clone, Copy)]
pub(crate) struct Node<'s> {
    document: Document<'s>,
    index: u32,
    repr: &'s NodeRepr,
}

impl<'s> Node<'s> {
    /// The kind of the value.
    pub(crate) fn kind(self) -> Kind {
        match self.repr.value {
            Value::Array { .. } => Kind::Array,
            Value::Bool(_) => Kind::Bool,
            Value::Escaped { .. } | Value::Plain => Kind::String,
            Value::Float(_) | Value::Integer(_) => Kind::Number,
            Value::Null => Kind::Null,
            Value::Object { .. } => Kind::Object,
        }
    }

    /// The decoded string, `None` for other kinds.
    pub(crate) fn as_str(self) -> Option<&'s str> {
        self.document.parsed.string(self.document.text, self.repr)
    }

    /// The boolean, `None` for other kinds.
    pub(crate) fn as_bool(self) -> Option<bool> {
        match self.repr.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The number, `None` for other kinds.
    pub(crate) fn as_number(self) -> Option<Number> {
        match self.repr.value {
            Value::Float(value) => Some(Number::Float(value)),
            Value::Integer(value) => Some(Number::Integer(value)),
            _ => None,
        }
    }

    /// The number when it is written as an integer and not negative.
    pub(crate) fn as_u64(self) -> Option<u64> {
        match self.repr.value {
            Value::Integer(value) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// Whether the value is `null`.
    pub(crate) fn is_null(self) -> bool {
        matches!(self.repr.value, Value::Null)
    }

    /// The exact bytes of the value in the text, without the white space around it.
    pub(crate) fn raw(self) -> &'s str {
        self.document.text.get(self.span()).unwrap_or_default()
    }

    /// Where [`Self::raw`] stands in the text, in bytes.
    pub(crate) fn span(self) -> Range<usize> {
        self.repr.start as usize..self.repr.end as usize
    }

    /// The number of members or elements; 0 for scalars.
    pub(crate) fn len(self) -> usize {
        match self.repr.value {
            Value::Array { len, .. } | Value::Object { len, .. } => len as usize,
            _ => 0,
        }
    }

    /// The value of the member whose decoded key is `key`, found by looking at each. Keys are unique.
    pub(crate) fn member(&self, key: &str) -> Option<Self> {
        self.members()
            .find_map(|member| (member.key == key).then_some(member.value))
    }

    /// The members of an object in the order of the text; nothing for other kinds.
    pub(crate) fn members(self) -> impl Iterator<Item = Member<'s>> + use<'s> {
        let mut rest = self.inner(Kind::Object);
        iter::from_fn(move || {
            let key = rest.step()?;
            let value = rest.step()?;
            Some(Member {
                key: key.as_str()?,
                key_span: key.span(),
                value,
            })
        })
    }

    /// The elements of an array in the order of the text; nothing for other kinds.
    pub(crate) fn elements(self) -> impl Iterator<Item = Self> + use<'s> {
        let mut rest = self.inner(Kind::Array);
        iter::from_fn(move || rest.step())
    }

    /// The nodes within this container, none when it is not of `kind`.
    fn inner(self, kind: Kind) -> Inner<'s> {
        let (at, end) = match self.repr.value {
            Value::Array { next, .. } | Value::Object { next, .. } if self.kind() == kind => {
                (self.index.saturating_add(1), next)
            }
            _ => (0, 0),
        };
        Inner {
            document: self.document,
            at,
            end,
        }
    }
}

/// Tells kind and place only: a value may be what no log should hold.
impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?} at {:?})", self.kind(), self.span())
    }
}

/// One member of an object.
#[derive(Clone, Debug)]
pub(crate) struct Member<'s> {
    /// The decoded key.
    pub(crate) key: &'s str,
    /// Where the key stands in the text, its quotes included.
    pub(crate) key_span: Range<usize>,
    /// The value.
    pub(crate) value: Node<'s>,
}

/// The direct parts of a container that are still to come.
struct Inner<'s> {
    document: Document<'s>,
    at: u32,
    end: u32,
}

impl<'s> Inner<'s> {
    fn step(&mut self) -> Option<Node<'s>> {
        if self.end <= self.at {
            return None;
        }
        let node = self.document.node(self.at)?;
        self.at = self.document.parsed.after(self.at)?;
        Some(node)
    }
}
