//! Strict JSON (RFC 8259) with exact positions: every value knows the bytes it was read from.
//!
//! Owns the parse that every body, answer and token goes through, and the splicing of changed parts into an otherwise
//! untouched text. simd-json rewrites what it parses, so it gets a scratch copy; the nodes point into the pristine
//! text. A document that two readers could read in two ways is refused: duplicate keys at any depth (compared after
//! unescaping), NUL in keys, numbers that a double cannot hold. Never serialises a document anew, and no type of
//! simd-json leaves this module.

use std::fmt;
use std::mem;

use simd_json::{Buffers, ErrorType, Tape};

mod edits;
mod node;
mod walk;

pub(crate) use edits::{Edits, write_string};
pub(crate) use node::{Document, Kind, Node, Number};

use node::Parsed;
use walk::Walk;

/// Buffers above this size are given back before the next smaller text, so that one large answer does not stay in
/// the memory of its worker for ever.
const RETAINED_BYTES_MAX: usize = 1 << 20;

/// What a text may hold. Both are inclusive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limits {
    /// Nested arrays and objects; a scalar has depth 0.
    pub(crate) depth: u32,
    /// Members of objects and elements of arrays, all together.
    pub(crate) members: u32,
}

/// Why a text is refused. Says nothing of its content.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// Not one RFC 8259 document in UTF-8: also a byte order mark, a lone surrogate, bytes after the document, a
    /// number outside 64 bits or the range of a double.
    #[error("the text is not one JSON document in UTF-8")]
    Malformed,
    /// More nested arrays and objects than the limit.
    #[error("the document is nested too deep")]
    TooDeep,
    /// More members and elements than the limit.
    #[error("the document has too many members")]
    TooManyMembers,
    /// An object has the same key twice, after unescaping.
    #[error("an object has a key twice")]
    KeyDuplicate,
    /// A key holds U+0000.
    #[error("a key holds a NUL")]
    KeyNul,
    /// An integer, however it is written, beyond ±(2^53 - 1), or a number that underflows to zero.
    #[error("a number loses its value as a double")]
    NumberLossy,
}

/// The buffers of a parse, made once for each worker. A [`Document`] borrows them until the next parse.
pub(crate) struct Scratch {
    buffers: Buffers,
    copy: Vec<u8>,
    depth: u32,
    keys: Vec<(u64, u32)>,
    open: Vec<u32>,
    parsed: Parsed,
    tape: Tape<'static>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            buffers: Buffers::with_max_depth(0, 0),
            copy: Vec::new(),
            depth: 0,
            keys: Vec::new(),
            open: Vec::new(),
            parsed: Parsed::default(),
            tape: Tape(Vec::new()),
        }
    }
}

/// Tells the size only: the last text may hold what no log should.
impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scratch({} bytes)", self.copy.capacity())
    }
}

impl Scratch {
    /// Empties the buffers for a text of `bytes`, gives back what an unusually large one left behind, and tells
    /// simd-json the depth it may open.
    fn prepare(&mut self, bytes: usize, limits: Limits) {
        if RETAINED_BYTES_MAX < self.copy.capacity() && bytes <= RETAINED_BYTES_MAX {
            *self = Self::default();
        }
        if self.depth != limits.depth {
            self.depth = limits.depth;
            self.buffers = Buffers::with_max_depth(0, limits.depth as usize);
        }
        self.copy.clear();
        self.open.clear();
        self.parsed.clear();
    }
}

/// Reads `text` as exactly one JSON document within `limits`.
///
/// Costs one copy of the text and no allocation once the scratch has grown to its size.
///
/// # Errors
/// The first [`ParseError`] that is found; a text with several faults may be refused for any of them.
pub(crate) fn parse<'s>(text: &'s [u8], scratch: &'s mut Scratch, limits: Limits) -> Result<Document<'s>, ParseError> {
    let text = str::from_utf8(text).map_err(|_| ParseError::Malformed)?;
    walk::bounded(text.as_bytes(), limits.members)?;
    scratch.prepare(text.len(), limits);
    let Scratch {
        buffers,
        copy,
        keys,
        open,
        parsed,
        tape,
        ..
    } = scratch;
    copy.extend_from_slice(text.as_bytes());
    let mut filled = mem::replace(tape, Tape(Vec::new())).reset();
    let walked = match simd_json::fill_tape(copy, buffers, &mut filled) {
        Ok(()) => Walk::new(text, limits, keys, open, parsed).run(buffers.structural_indexes(), &filled.0),
        Err(error) => Err(refusal(&error)),
    };
    *tape = filled.reset();
    walked?;
    Document::new(text, parsed).ok_or(ParseError::Malformed)
}

#[cold]
#[inline(never)]
fn refusal(error: &simd_json::Error) -> ParseError {
    match error.error() {
        ErrorType::DepthLimitExceeded => ParseError::TooDeep,
        _ => ParseError::Malformed,
    }
}

#[cfg(test)]
pub(crate) mod tests;
