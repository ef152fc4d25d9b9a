//! The one walk that turns simd-json's tape and its structural positions into nodes over the pristine text.
//!
//! Owns every rule that simd-json does not have: member count, duplicate and NUL keys, lossy numbers. Tape and
//! positions must agree byte by byte; where they do not, the text is refused rather than interpreted.

use std::cmp::Ordering;

use simd_json::StaticNode;
use simd_json::value::tape::Node as TapeNode;

use super::node::{NodeRepr, Parsed, Value};
use super::{Limits, ParseError};

/// The largest integer whose neighbours a double tells apart: 2^53 - 1 (RFC 8259 section 6).
const INTEGER_MAX: i64 = 9_007_199_254_740_991;
/// The first double past [`INTEGER_MAX`]. Every double from here on is an integer.
const INTEGER_END: f64 = 9_007_199_254_740_992.0;
/// Up to this many keys are compared each with each; more are sorted.
const PAIRWISE_KEYS_MAX: usize = 16;

/// Refuses a text with more punctuation than a document of `members` can have, before anything is allocated by
/// its size: a megabyte of colons would otherwise cost thirty.
pub(super) fn bounded(bytes: &[u8], members: u32) -> Result<(), ParseError> {
    // Each member brings at most a comma, a colon, an opening and a closing bracket; the root one pair more.
    let allowed = (members as usize).saturating_mul(4).saturating_add(2);
    if bytes.len() <= allowed || punctuation(bytes) <= allowed || punctuation_outside_strings(bytes) <= allowed {
        return Ok(());
    }
    Err(ParseError::TooManyMembers)
}

fn is_punctuation(byte: u8) -> bool {
    matches!(byte, b',' | b':' | b'[' | b']' | b'{' | b'}')
}

/// Counts in blocks whose sum fits a byte, which the compiler turns into vector code.
fn punctuation(bytes: &[u8]) -> usize {
    bytes.chunks(255).fold(0, |total, block| {
        let count = block
            .iter()
            .fold(0_u8, |count, &byte| count.wrapping_add(u8::from(is_punctuation(byte))));
        total.saturating_add(usize::from(count))
    })
}

fn punctuation_outside_strings(bytes: &[u8]) -> usize {
    let (mut count, mut inside, mut escaped) = (0_usize, false, false);
    for &byte in bytes {
        if inside {
            inside = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            inside = true;
        } else {
            count = count.saturating_add(usize::from(is_punctuation(byte)));
        }
    }
    count
}

/// The state of the walk. `keys` and `open` are reused buffers.
pub(super) struct Walk<'w> {
    text: &'w str,
    limits: Limits,
    keys: &'w mut Vec<(u64, u32)>,
    open: &'w mut Vec<u32>,
    parsed: &'w mut Parsed,
    members: usize,
}

impl<'w> Walk<'w> {
    pub(super) fn new(
        text: &'w str,
        limits: Limits,
        keys: &'w mut Vec<(u64, u32)>,
        open: &'w mut Vec<u32>,
        parsed: &'w mut Parsed,
    ) -> Self {
        Self {
            text,
            limits,
            keys,
            open,
            parsed,
            members: 0,
        }
    }

    /// Pairs each structural position that begins a value or key with the next node of the tape.
    pub(super) fn run(mut self, positions: &[u32], tape: &[TapeNode<'_>]) -> Result<(), ParseError> {
        let text_end = u32::try_from(self.text.len()).map_err(|_| ParseError::Malformed)?;
        let mut values = tape.iter();
        let mut positions = positions.iter().copied().peekable();
        while let Some(at) = positions.next() {
            match self.text.as_bytes().get(at as usize) {
                Some(b',' | b':') => {}
                Some(b']' | b'}') => self.close(at)?,
                Some(_) => {
                    let value = values.next().ok_or(ParseError::Malformed)?;
                    let stop = positions.peek().copied().unwrap_or(text_end);
                    self.push(at, stop, value)?;
                }
                None => return Err(ParseError::Malformed),
            }
        }
        if values.next().is_some() || !self.open.is_empty() {
            return Err(ParseError::Malformed);
        }
        Ok(())
    }

    /// Takes the value that begins at `at`; the next structural position is `stop`.
    fn push(&mut self, at: u32, stop: u32, value: &TapeNode<'_>) -> Result<(), ParseError> {
        let index = index_of(self.parsed.nodes.len())?;
        let (end, value) = match *value {
            TapeNode::Array { len, count } => {
                let (len, next) = self.open(index, len, count)?;
                (at, Value::Array { len, next })
            }
            TapeNode::Object { len, count } => {
                let (len, next) = self.open(index, len, count)?;
                (at, Value::Object { len, next })
            }
            TapeNode::Static(value) => {
                let end = self.trimmed(stop);
                (end, self.scalar(at, end, value)?)
            }
            TapeNode::String(decoded) => {
                let end = self.trimmed(stop);
                (end, self.string(at, end, decoded)?)
            }
        };
        self.parsed.nodes.push(NodeRepr { start: at, end, value });
        Ok(())
    }

    /// Opens a container of `len` parts and `count` nodes; gives its length and the index after it.
    fn open(&mut self, index: u32, len: usize, count: usize) -> Result<(u32, u32), ParseError> {
        self.open.push(index);
        if (self.limits.depth as usize) < self.open.len() {
            return Err(ParseError::TooDeep);
        }
        self.members = self.members.saturating_add(len);
        if (self.limits.members as usize) < self.members {
            return Err(ParseError::TooManyMembers);
        }
        let next = index_of((index as usize).saturating_add(1).saturating_add(count))?;
        Ok((index_of(len)?, next))
    }

    /// Closes the innermost container, whose last byte is at `at`, and checks its keys.
    fn close(&mut self, at: u32) -> Result<(), ParseError> {
        let index = self.open.pop().ok_or(ParseError::Malformed)?;
        let after = index_of(self.parsed.nodes.len())?;
        let node = self.parsed.nodes.get_mut(index as usize).ok_or(ParseError::Malformed)?;
        node.end = at.saturating_add(1);
        match node.value {
            Value::Array { next, .. } if next == after => Ok(()),
            Value::Object { next, .. } if next == after => self.keys(index.saturating_add(1), next),
            _ => Err(ParseError::Malformed),
        }
    }

    /// The end of the scalar before the structural position `stop`: only white space may stand between.
    fn trimmed(&self, stop: u32) -> u32 {
        let before = self.text.as_bytes().get(..stop as usize).unwrap_or_default();
        let space = before
            .iter()
            .rev()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        stop.saturating_sub(u32::try_from(space).unwrap_or(stop))
    }

    /// A string from `at` to `end`, its quotes included. Every escape is longer than what it stands for, so equal
    /// lengths mean that there is none and the text itself is the decoded form.
    fn string(&mut self, at: u32, end: u32, decoded: &str) -> Result<Value, ParseError> {
        let quoted = self.text.get(at as usize..end as usize);
        let inner = quoted
            .and_then(|quoted| quoted.strip_prefix('"')?.strip_suffix('"'))
            .ok_or(ParseError::Malformed)?;
        match decoded.len().cmp(&inner.len()) {
            Ordering::Equal => Ok(Value::Plain),
            Ordering::Greater => Err(ParseError::Malformed),
            Ordering::Less => {
                let at = index_of(self.parsed.unescaped.len())?;
                self.parsed.unescaped.push_str(decoded);
                let len = index_of(decoded.len())?;
                Ok(Value::Escaped { at, len })
            }
        }
    }

    fn scalar(&self, at: u32, end: u32, value: StaticNode) -> Result<Value, ParseError> {
        match value {
            StaticNode::Bool(value) => Ok(Value::Bool(value)),
            StaticNode::F64(value) => self.float(at, end, value),
            StaticNode::I64(value) => integer(value),
            StaticNode::Null => Ok(Value::Null),
            StaticNode::U64(value) => integer(i64::try_from(value).map_err(|_| ParseError::NumberLossy)?),
        }
    }

    fn float(&self, at: u32, end: u32, value: f64) -> Result<Value, ParseError> {
        if !value.is_finite() || INTEGER_END <= value.abs() {
            return Err(ParseError::NumberLossy);
        }
        if value == 0.0 {
            let raw = self.text.get(at as usize..end as usize).unwrap_or_default();
            let mantissa = raw.split(['e', 'E']).next().unwrap_or_default();
            if mantissa.contains(|digit: char| matches!(digit, '1'..='9')) {
                return Err(ParseError::NumberLossy);
            }
        }
        Ok(Value::Float(value))
    }

    /// Refuses NUL in, and duplicates among, the keys of the object whose nodes are `at..end`.
    fn keys(&mut self, mut at: u32, end: u32) -> Result<(), ParseError> {
        self.keys.clear();
        while at < end {
            let key = key(self.parsed, self.text, at).ok_or(ParseError::Malformed)?;
            if key.as_bytes().contains(&0) {
                return Err(ParseError::KeyNul);
            }
            self.keys.push((fingerprint(key), at));
            at = self.parsed.after(at.saturating_add(1)).ok_or(ParseError::Malformed)?;
        }
        let (parsed, text) = (&*self.parsed, self.text);
        let duplicate = if self.keys.len() <= PAIRWISE_KEYS_MAX {
            pairwise_duplicate(self.keys, parsed, text)
        } else {
            sorted_duplicate(self.keys, parsed, text)
        };
        if duplicate {
            return Err(ParseError::KeyDuplicate);
        }
        Ok(())
    }
}

fn integer(value: i64) -> Result<Value, ParseError> {
    if (-INTEGER_MAX..=INTEGER_MAX).contains(&value) {
        return Ok(Value::Integer(value));
    }
    Err(ParseError::NumberLossy)
}

fn index_of(value: usize) -> Result<u32, ParseError> {
    u32::try_from(value).map_err(|_| ParseError::Malformed)
}

fn key<'s>(parsed: &'s Parsed, text: &'s str, index: u32) -> Option<&'s str> {
    parsed.string(text, parsed.nodes.get(index as usize)?)
}

/// A number that equal keys share and different keys seldom do. Chosen collisions cost comparisons, nothing else.
fn fingerprint(key: &str) -> u64 {
    let bytes = key.as_bytes();
    let ends = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(head), Some(tail)) => u64::from_le_bytes(*head).rotate_left(29) ^ u64::from_le_bytes(*tail),
        _ => bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
    };
    ends ^ (bytes.len() as u64).rotate_left(56)
}

fn pairwise_duplicate(keys: &[(u64, u32)], parsed: &Parsed, text: &str) -> bool {
    keys.iter().enumerate().any(|(place, &(print, index))| {
        keys.iter()
            .take(place)
            .any(|&(other, before)| other == print && key(parsed, text, before) == key(parsed, text, index))
    })
}

fn sorted_duplicate(keys: &mut [(u64, u32)], parsed: &Parsed, text: &str) -> bool {
    let compare = |left: &(u64, u32), right: &(u64, u32)| {
        left.0
            .cmp(&right.0)
            .then_with(|| key(parsed, text, left.1).cmp(&key(parsed, text, right.1)))
    };
    keys.sort_unstable_by(compare);
    keys.windows(2).any(|pair| match pair {
        [left, right] => compare(left, right) == Ordering::Equal,
        _ => false,
    })
}
