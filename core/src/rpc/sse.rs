//! Event streams (WHATWG HTML, server-sent events), cut into events as bytes arrive.
//!
//! Owns [`Splitter`] and the writing of events. Holds no more than one event, a line of it that has not ended, and the
//! last chunk; never gives a part of an event, so a stream that breaks within one has given nothing of it. However the
//! bytes are cut, the events and the errors are the same.

use std::fmt;
use std::mem;
use std::ops::Range;

use bytes::Bytes;

/// What a splitter keeps for the next event: one large event must not hold its memory for the life of a stream.
const RETAINED_BYTES_MAX: usize = 64 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// What the longest name of a field adds to a line: `event: `.
const FIELD_NAME_BYTES_MAX: usize = 7;
/// What the name of a `data` field adds at most: a space behind the colon is no part of its value.
const DATA_NAME_BYTES_MAX: usize = 6;

/// One event, whole.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Event {
    /// The last `id` field.
    pub id: Option<String>,
    /// The last `event` field.
    pub event: Option<String>,
    /// The `data` fields, joined by line feeds; empty for comments and priming events.
    pub data: Bytes,
    /// The last `retry` field, in milliseconds.
    pub retry_ms: Option<u64>,
}

impl Event {
    /// Whether the event carries no message: only comments, or an id that primes a reconnection.
    pub fn is_priming(&self) -> bool {
        self.data.is_empty()
    }
}

/// Tells the size only: an answer belongs in no log.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({} bytes)", self.data.len())
    }
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SseError {
    /// A field that is no message is not UTF-8.
    #[error("a field of the event stream is not utf-8")]
    NotUtf8,
    /// An event is larger than the limit.
    #[error("an event of the stream is too large")]
    TooLarge,
}

/// Cuts a stream into events. Give it each chunk by [`Self::push`], then call [`Self::next`] until it has none.
pub struct Splitter {
    bytes_max: usize,
    /// What came and is not consumed stands at `start..`; up to `scanned` it has no line end.
    buffer: Vec<u8>,
    start: usize,
    scanned: usize,
    /// The last line ended in CR: a LF that follows belongs to it.
    after_cr: bool,
    first_line: bool,
    failed: bool,
    pending: Pending,
}

/// The event that is being read.
#[derive(Default)]
struct Pending {
    any: bool,
    id: Option<String>,
    event: Option<String>,
    data: Vec<u8>,
    has_data: bool,
    retry_ms: Option<u64>,
}

/// Tells how much is held, not what.
impl fmt::Debug for Splitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Splitter({} bytes held)", self.buffer.len())
    }
}

impl Splitter {
    /// A splitter for one stream whose events have at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            after_cr: false,
            first_line: true,
            failed: false,
            pending: Pending::default(),
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.failed {
            return;
        }
        self.buffer.drain(..self.start);
        self.scanned = self.scanned.saturating_sub(self.start);
        self.start = 0;
        if self.buffer.len().saturating_add(chunk.len()) <= RETAINED_BYTES_MAX {
            self.buffer.shrink_to(RETAINED_BYTES_MAX);
        }
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole event, `None` when more bytes are needed. After an error there is nothing more.
    #[expect(clippy::should_implement_trait, reason = "None means not yet, not the end")]
    pub fn next(&mut self) -> Option<Result<Event, SseError>> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        if let Some(Err(_)) = next {
            self.failed = true;
            self.buffer = Vec::new();
            self.pending = Pending::default();
        }
        next
    }

    /// Ends the stream; tells whether it broke within an event. What was broken off is forgotten.
    #[must_use]
    pub fn finish(self) -> bool {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let rest = if self.after_cr {
            rest.strip_prefix(b"\n").unwrap_or(rest)
        } else {
            rest
        };
        let comment = rest.is_empty() || rest.starts_with(b":");
        !self.failed && (self.pending.has_data || !comment)
    }

    fn advance(&mut self) -> Option<Result<Event, SseError>> {
        while let Some(line) = self.line() {
            if !line.is_empty() {
                let (from, until) = (line.start, line.end);
                let line = self.buffer.get(from..until).unwrap_or_default();
                if self.exceeds(line) {
                    return Some(Err(SseError::TooLarge));
                }
                if let Err(error) = self.pending.take(line) {
                    return Some(Err(error));
                }
                if self.bytes_max < self.pending.size() {
                    return Some(Err(SseError::TooLarge));
                }
            } else if self.pending.any {
                return Some(Ok(mem::take(&mut self.pending).event()));
            }
        }
        let partial = self.buffer.get(self.start..).unwrap_or_default();
        let partial = match self.first_line {
            true => partial.strip_prefix(BYTE_ORDER_MARK).unwrap_or(partial),
            false => partial,
        };
        self.exceeds(partial).then_some(Err(SseError::TooLarge))
    }

    /// Whether the event is too large with this line, ended or not: a line that has not ended is refused for what it
    /// would be refused for at its end, so that it makes no difference when the bytes come.
    fn exceeds(&self, line: &[u8]) -> bool {
        let least = match line.starts_with(b"data:") {
            true => self
                .pending
                .size()
                .saturating_add(line.len().saturating_sub(DATA_NAME_BYTES_MAX)),
            false => 0,
        };
        self.bytes_max < least || self.bytes_max.saturating_add(FIELD_NAME_BYTES_MAX) < line.len()
    }

    /// Consumes the next whole line; gives its place in the buffer, without its end.
    fn line(&mut self) -> Option<Range<usize>> {
        if self.after_cr && self.start < self.buffer.len() {
            self.after_cr = false;
            if self.buffer.get(self.start) == Some(&b'\n') {
                self.start = self.start.saturating_add(1);
            }
        }
        let from = self.scanned.max(self.start);
        let rest = self.buffer.get(from..).unwrap_or_default();
        let Some(length) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let end = from.saturating_add(length);
        self.after_cr = self.buffer.get(end) == Some(&b'\r');
        let mut start = mem::replace(&mut self.start, end.saturating_add(1));
        self.scanned = self.start;
        if mem::take(&mut self.first_line)
            && self
                .buffer
                .get(start..end)
                .is_some_and(|line| line.starts_with(BYTE_ORDER_MARK))
        {
            start = start.saturating_add(BYTE_ORDER_MARK.len());
        }
        Some(start..end)
    }
}

impl Pending {
    fn size(&self) -> usize {
        let texts = [&self.id, &self.event];
        texts
            .into_iter()
            .flatten()
            .fold(self.data.len(), |sum, text| sum.saturating_add(text.len()))
    }

    /// Takes one line that is not empty.
    fn take(&mut self, line: &[u8]) -> Result<(), SseError> {
        self.any = true;
        let (name, value) = match line.iter().position(|&byte| byte == b':') {
            Some(colon) => (
                line.get(..colon).unwrap_or_default(),
                line.get(colon.saturating_add(1)..).unwrap_or_default(),
            ),
            None => (line, <&[u8]>::default()),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.event = Some(text(value)?),
            // An id with a NUL is ignored, as the standard says.
            b"id" if !value.contains(&0) => self.id = Some(text(value)?),
            b"retry" => {
                let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                self.retry_ms = text(value)?.parse().ok().filter(|_| digits).or(self.retry_ms);
            }
            _ => {}
        }
        Ok(())
    }

    fn event(self) -> Event {
        Event {
            id: self.id,
            event: self.event,
            data: Bytes::from(self.data),
            retry_ms: self.retry_ms,
        }
    }
}

fn text(value: &[u8]) -> Result<String, SseError> {
    match str::from_utf8(value) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(SseError::NotUtf8),
    }
}

/// Appends one event. Line ends within `data` become several `data` fields, which a reader joins by line feeds; in
/// JSON they are white space. An `event` or `id` with a line end or NUL is left out.
pub fn write_event(out: &mut Vec<u8>, event: Option<&str>, id: Option<&str>, data: &[u8]) {
    for (name, value) in [("event: ", event), ("id: ", id)] {
        if let Some(value) = value
            && !value.contains(['\n', '\r', '\0'])
        {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value.as_bytes());
            out.push(b'\n');
        }
    }
    for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}
