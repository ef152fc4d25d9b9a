//! The framing of HTTP/1.1 as it comes over the wire, watched byte by byte (RFC 9112).
//!
//! Owns the rule that a connection has one reading or none: what the parser behind it would pass over, repair or guess
//! is refused before the parser sees it. Heads: one request line in origin form, lines that end with CRLF, fields of
//! token names and printable values, one `Host`, one way to delimit the body. Chunks: a size of hexadecimal digits
//! alone, CRLF, no extension, no trailer. What follows a request is the next one or nothing. Never keeps a byte of what
//! it saw beyond the field it is in, and never says more about it than a fixed text: a head may hold a token.

use portcullis_core::config::Limits;
use portcullis_core::head::{is_target_byte, is_token_byte};

/// Bytes of the names and values that are looked at; no name or value that matters is longer.
const NOTED_BYTES: usize = 64;
/// Digits of a chunk's size: as many as 64 bits have.
const CHUNK_DIGITS_MAX: u8 = 16;
/// What comes before the last digit of the version.
const VERSION: &[u8; 7] = b"HTTP/1.";

/// Why a connection is not read any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Broken {
    /// It has no reading, or more than one; what of it.
    Malformed(&'static str),
    /// A head exceeds its bounds; which.
    TooLarge(&'static str),
}

/// What comes next on the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The first byte of a method.
    Start,
    Method,
    /// The first byte of a target.
    Target,
    TargetRest,
    /// This byte of the version.
    Version(u8),
    LineCr,
    LineLf,
    /// A field, or the end of the head.
    Field,
    Name,
    Value,
    ValueLf,
    HeadLf,
    /// So many bytes of a body.
    Body(u64),
    /// The size of a chunk, of which so many digits have come.
    Size(u8),
    SizeLf,
    /// So many bytes of a chunk.
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    LastCr,
    LastLf,
    /// The next request, or nothing.
    End,
}

/// The fields that say how a message is framed, to whom it goes, and whether another may follow it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    Connection,
    ContentLength,
    Host,
    Other,
    TransferEncoding,
    Upgrade,
}

impl Field {
    fn of(name: &[u8]) -> Self {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => Self::Host,
            7 if name.eq_ignore_ascii_case(b"upgrade") => Self::Upgrade,
            10 if name.eq_ignore_ascii_case(b"connection") => Self::Connection,
            14 if name.eq_ignore_ascii_case(b"content-length") => Self::ContentLength,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => Self::TransferEncoding,
            _ => Self::Other,
        }
    }
}

/// The first bytes of a name or of a value.
#[derive(Clone, Copy, Debug)]
struct Noted {
    bytes: [u8; NOTED_BYTES],
    /// How many came, also beyond those that were kept.
    length: usize,
}

impl Noted {
    const EMPTY: Self = Self {
        bytes: [0; NOTED_BYTES],
        length: 0,
    };

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    /// All of it; `None` when it was longer than what is kept.
    fn whole(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

/// What the head of the present message says.
#[derive(Clone, Copy, Debug)]
struct Head {
    bytes: usize,
    fields: usize,
    hosts: usize,
    /// Fields that delimit the body.
    delimiters: usize,
    length: u64,
    is_chunked: bool,
    is_http_10: bool,
    /// Whether nothing may follow the message.
    is_last: bool,
}

impl Head {
    const NONE: Self = Self {
        bytes: 0,
        fields: 0,
        hosts: 0,
        delimiters: 0,
        length: 0,
        is_chunked: false,
        is_http_10: false,
        is_last: false,
    };
}

/// The watch over one connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    field: Field,
    noted: Noted,
    head: Head,
    /// The size of the chunk that comes.
    size: u64,
    header_bytes_max: usize,
    headers_max: usize,
}

impl Framing {
    /// The watch over a connection that has just come.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            state: State::Start,
            field: Field::Other,
            noted: Noted::EMPTY,
            head: Head::NONE,
            size: 0,
            header_bytes_max: limits.header_bytes_max,
            headers_max: limits.headers_max,
        }
    }

    /// Says that the message before was answered: whatever it said of what may follow, this is a request.
    pub(super) fn expect_request(&mut self) {
        if self.state == State::End {
            self.head = Head::NONE;
            self.state = State::Start;
        }
    }

    /// Looks at the bytes that came next.
    ///
    /// # Errors
    /// [`Broken`]; what comes after that is not looked at any more.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = match self.state {
                State::Body(left) => self.skip(left, bytes, State::Body, State::End),
                State::Chunk(left) => self.skip(left, bytes, State::Chunk, State::ChunkCr),
                _ => {
                    self.state = self.step(*byte)?;
                    rest
                }
            };
        }
        Ok(())
    }

    /// Passes over what of `left` bytes has come, and gives what is behind them.
    fn skip<'b>(&mut self, left: u64, bytes: &'b [u8], more: fn(u64) -> State, then: State) -> &'b [u8] {
        let come = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left.saturating_sub(u64::try_from(come).unwrap_or(u64::MAX));
        self.state = if left == 0 { then } else { more(left) };
        bytes.get(come..).unwrap_or_default()
    }

    fn step(&mut self, byte: u8) -> Result<State, Broken> {
        match self.state {
            State::Size(_)
            | State::SizeLf
            | State::Chunk(_)
            | State::ChunkCr
            | State::ChunkLf
            | State::LastCr
            | State::LastLf => self.step_chunks(byte),
            State::End | State::Body(_) => self.follow(byte),
            _ => self.step_head(byte),
        }
    }

    /// A byte behind the end of a message is the first one of another, or of nothing that could be one.
    fn follow(&mut self, byte: u8) -> Result<State, Broken> {
        if self.head.is_last {
            return Err(Broken::Malformed("bytes follow a request that ends its connection"));
        }
        self.head = Head::NONE;
        self.state = State::Start;
        self.step_head(byte)
    }

    fn step_head(&mut self, byte: u8) -> Result<State, Broken> {
        self.head.bytes = self.head.bytes.saturating_add(1);
        if self.header_bytes_max < self.head.bytes {
            return Err(Broken::TooLarge("the head exceeds its byte limit"));
        }
        match (self.state, byte) {
            (State::Start | State::Method, byte) if is_token_byte(byte) => Ok(State::Method),
            (State::Method, b' ') => Ok(State::Target),
            (State::Target, b'/') => Ok(State::TargetRest),
            // A fragment is never sent, and the parser would cut it off; other characters it would escape, and judge
            // another target than was asked for.
            (State::TargetRest, byte) if is_target_byte(byte) => Ok(State::TargetRest),
            (State::TargetRest, b' ') => Ok(State::Version(0)),
            (State::Version(place), byte) => self.version(place, byte),
            (State::LineCr, b'\r') => Ok(State::LineLf),
            (State::LineLf | State::ValueLf, b'\n') => Ok(State::Field),
            (State::Field, b'\r') => Ok(State::HeadLf),
            (State::Field, byte) if is_token_byte(byte) => self.begin_field(byte),
            (State::Name, byte) if is_token_byte(byte) => {
                self.noted.push(byte);
                Ok(State::Name)
            }
            (State::Name, b':') => {
                self.field = self.noted.whole().map_or(Field::Other, Field::of);
                self.noted.length = 0;
                Ok(State::Value)
            }
            (State::Value, b'\r') => self.end_field(),
            (State::Value, byte) if is_of_value(byte) => {
                self.note_value(byte);
                Ok(State::Value)
            }
            (State::HeadLf, b'\n') => self.end_head(),
            (state, _) => Err(Broken::Malformed(state.complaint())),
        }
    }

    fn version(&mut self, place: u8, byte: u8) -> Result<State, Broken> {
        match (VERSION.get(usize::from(place)), byte) {
            (Some(expected), byte) if *expected == byte => Ok(State::Version(place.saturating_add(1))),
            (None, b'1') => Ok(State::LineCr),
            (None, b'0') => {
                self.head.is_http_10 = true;
                self.head.is_last = true;
                Ok(State::LineCr)
            }
            _ => Err(Broken::Malformed("the protocol of the request line is unknown")),
        }
    }

    fn begin_field(&mut self, byte: u8) -> Result<State, Broken> {
        self.head.fields = self.head.fields.saturating_add(1);
        if self.headers_max < self.head.fields {
            return Err(Broken::TooLarge("the head has too many fields"));
        }
        self.noted.length = 0;
        self.noted.push(byte);
        Ok(State::Name)
    }

    fn note_value(&mut self, byte: u8) {
        // Blanks before a value are no part of it.
        let blank = self.noted.length == 0 && matches!(byte, b' ' | b'\t');
        if self.field != Field::Other && !blank {
            self.noted.push(byte);
        }
    }

    fn end_field(&mut self) -> Result<State, Broken> {
        let value = self.noted.whole().map(<[u8]>::trim_ascii_end);
        match self.field {
            Field::Other => {}
            Field::Upgrade => self.head.is_last = true,
            Field::Host => self.head.hosts = self.head.hosts.saturating_add(1),
            Field::Connection => {
                // A list too long to be looked at is taken as if it said so.
                let ends = value.is_none_or(|value| {
                    let mut options = value.split(|byte| *byte == b',');
                    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
                });
                self.head.is_last |= ends;
            }
            Field::ContentLength => {
                let length = value.and_then(decimal);
                self.head.length = length.ok_or(Broken::Malformed("the content length is no number"))?;
                self.head.delimiters = self.head.delimiters.saturating_add(1);
            }
            Field::TransferEncoding => {
                if !value.is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
                    return Err(Broken::Malformed("the transfer coding is another one than `chunked`"));
                }
                self.head.is_chunked = true;
                self.head.delimiters = self.head.delimiters.saturating_add(1);
            }
        }
        Ok(State::ValueLf)
    }

    fn end_head(&mut self) -> Result<State, Broken> {
        let Head {
            hosts,
            delimiters,
            length,
            is_chunked,
            is_http_10,
            ..
        } = self.head;
        if 1 < delimiters {
            return Err(Broken::Malformed("the body is delimited more than once"));
        }
        if is_chunked && is_http_10 {
            return Err(Broken::Malformed("HTTP/1.0 knows no transfer coding"));
        }
        if 1 < hosts || (hosts == 0 && !is_http_10) {
            return Err(Broken::Malformed("the head has no `Host`, or more than one"));
        }
        match (is_chunked, length) {
            (true, _) => Ok(self.begin_chunk()),
            (false, 0) => Ok(State::End),
            (false, length) => Ok(State::Body(length)),
        }
    }

    fn begin_chunk(&mut self) -> State {
        self.size = 0;
        State::Size(0)
    }

    fn step_chunks(&mut self, byte: u8) -> Result<State, Broken> {
        match (self.state, byte) {
            (State::Size(digits), byte) if digits < CHUNK_DIGITS_MAX && byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = (self.size << 4) | u64::from(digit);
                Ok(State::Size(digits.saturating_add(1)))
            }
            (State::Size(1..), b'\r') => Ok(State::SizeLf),
            (State::SizeLf, b'\n') if self.size == 0 => Ok(State::LastCr),
            (State::SizeLf, b'\n') => Ok(State::Chunk(self.size)),
            (State::ChunkCr, b'\r') => Ok(State::ChunkLf),
            (State::ChunkLf, b'\n') => Ok(self.begin_chunk()),
            (State::LastCr, b'\r') => Ok(State::LastLf),
            (State::LastLf, b'\n') => Ok(State::End),
            (state, _) => Err(Broken::Malformed(state.complaint())),
        }
    }
}

impl State {
    /// What is wrong with a byte that may not come here.
    const fn complaint(self) -> &'static str {
        match self {
            Self::Start | Self::Method => "the request line does not begin with a method",
            Self::Target | Self::TargetRest => "the request target is not in origin form",
            Self::Version(_) => "the protocol of the request line is unknown",
            Self::LineCr | Self::LineLf | Self::ValueLf | Self::HeadLf => "a line of the head does not end with CRLF",
            // A folded line begins with a blank, and lands here too.
            Self::Field | Self::Name => "a line of the head is no field",
            Self::Value => "a field holds a control character",
            Self::Size(_) => "the size of a chunk is not 1 to 16 hexadecimal digits alone",
            Self::SizeLf | Self::ChunkCr | Self::ChunkLf => "a chunk does not end with CRLF",
            Self::LastCr | Self::LastLf => "trailers follow the last chunk, or no empty line does",
            Self::Body(_) | Self::Chunk(_) | Self::End => "bytes follow the end of a message",
        }
    }
}

/// A character of a field's value (RFC 9110 section 5.5), bytes beyond ASCII included.
const fn is_of_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// A number of decimal digits alone (RFC 9110 section 8.6).
fn decimal(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok()?;
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| all)
}

#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod tests;
