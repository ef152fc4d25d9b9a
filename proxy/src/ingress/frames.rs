//! The frames of HTTP/2 as they come over the wire, counted and timed (RFC 9113 section 4).
//!
//! Owns what the protocol's own implementation leaves open: a preface, a frame or a header block that is begun has to
//! be finished, and frames that cost the client nothing and oblige the gate to something (section 10.5) are rationed.
//! Looks at the heads of frames alone, never at what they carry, and passes everything on unchanged.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes of the client's connection preface (RFC 9113 section 3.4).
const PREFACE_BYTES: u32 = 24;
/// Bytes of the head of a frame.
const HEAD_BYTES: usize = 9;
/// Idle frames that may come at once: more than any client cancels, pings or settles in one go.
const RATION: u32 = 1_000;
/// In what time one more of them may come, in the long run.
const RATION_INTERVAL: Duration = Duration::from_millis(10);

const HEADERS: u8 = 0x1;
/// A stream's number without the reserved bit.
const STREAM_BITS: u32 = u32::MAX >> 1;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The kinds of frames that are told apart (RFC 9113 section 6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// DATA with bytes, or with the end of its stream.
    Data,
    /// HEADERS or CONTINUATION; whether the block ends with it.
    Block { ends: bool },
    /// One that carries nothing of a message.
    Idle,
    /// WINDOW_UPDATE: it pays for what it costs with what it lets the gate send.
    Window,
}

impl Kind {
    fn of(kind: u8, flags: u8, length: u32) -> Self {
        match kind {
            0 if length == 0 && flags & END_STREAM == 0 => Self::Idle,
            0 => Self::Data,
            1 | 9 => Self::Block {
                ends: flags & END_HEADERS != 0,
            },
            8 => Self::Window,
            _ => Self::Idle,
        }
    }
}

/// The client has sent more idle frames than it may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Flood;

/// The watch over one connection.
#[derive(Debug)]
pub(super) struct Frames {
    preface_left: u32,
    /// Whether the first frame is whole: the client's settings.
    is_settled: bool,
    head: [u8; HEAD_BYTES],
    head_come: usize,
    kind: Kind,
    payload_left: u32,
    /// Whether a header block waits for its end.
    in_block: bool,
    /// Frames and header blocks that were whole.
    ended: u64,
    /// Idle frames that may still come now.
    ration: u32,
    /// Until when that has been filled up.
    filled: Instant,
    /// The highest stream that the client has opened.
    last_stream: u32,
}

impl Frames {
    /// The watch over a connection that has just come.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            preface_left: PREFACE_BYTES,
            is_settled: false,
            head: [0; HEAD_BYTES],
            head_come: 0,
            kind: Kind::Idle,
            payload_left: 0,
            in_block: false,
            ended: 0,
            ration: RATION,
            filled: now,
            last_stream: 0,
        }
    }

    /// The highest stream that the client has opened.
    pub(super) const fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// What is begun and has to be finished within the deadline of heads, by its number. The payload of DATA has the
    /// deadline of its body.
    pub(super) fn under_way(&self) -> Option<u64> {
        let in_frame = self.head_come != 0 && (self.head_come < HEAD_BYTES || self.kind != Kind::Data);
        (!self.is_settled || self.in_block || in_frame).then_some(self.ended)
    }

    /// Looks at the bytes that came next.
    ///
    /// # Errors
    /// [`Flood`]; what comes after that is not looked at any more.
    pub(super) fn feed(&mut self, bytes: &[u8], now: Instant) -> Result<(), Flood> {
        let mut bytes = skip(&mut self.preface_left, bytes);
        while !bytes.is_empty() {
            if self.head_come < HEAD_BYTES {
                bytes = self.take_head(bytes, now)?;
            }
            if self.head_come == HEAD_BYTES {
                bytes = skip(&mut self.payload_left, bytes);
                if self.payload_left == 0 {
                    self.end_frame();
                }
            }
        }
        Ok(())
    }

    fn take_head<'b>(&mut self, bytes: &'b [u8], now: Instant) -> Result<&'b [u8], Flood> {
        let wanted = HEAD_BYTES.saturating_sub(self.head_come).min(bytes.len());
        let (taken, rest) = bytes.split_at_checked(wanted).unwrap_or_default();
        for (slot, byte) in self.head.iter_mut().skip(self.head_come).zip(taken) {
            *slot = *byte;
        }
        self.head_come = self.head_come.saturating_add(wanted);
        if self.head_come == HEAD_BYTES {
            let [high, middle, low, kind, flags, stream @ ..] = self.head;
            self.payload_left = u32::from_be_bytes([0, high, middle, low]);
            self.kind = Kind::of(kind, flags, self.payload_left);
            if kind == HEADERS {
                self.last_stream = self.last_stream.max(u32::from_be_bytes(stream) & STREAM_BITS);
            }
            if self.kind == Kind::Idle && self.is_settled {
                self.spend(now)?;
            }
        }
        Ok(rest)
    }

    fn end_frame(&mut self) {
        self.is_settled = true;
        self.head_come = 0;
        if let Kind::Block { ends } = self.kind {
            self.in_block = !ends;
        }
        if !self.in_block {
            self.ended = self.ended.wrapping_add(1);
        }
    }

    /// Takes one idle frame off the ration.
    fn spend(&mut self, now: Instant) -> Result<(), Flood> {
        if self.ration == 0 {
            let passed = now.saturating_duration_since(self.filled).as_millis() / RATION_INTERVAL.as_millis().max(1);
            self.ration = u32::try_from(passed).unwrap_or(RATION).min(RATION);
            self.filled = now;
        }
        self.ration = self.ration.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }
}

/// Passes over what of `left` bytes has come, and gives what is behind them.
pub(super) fn skip<'b>(left: &mut u32, bytes: &'b [u8]) -> &'b [u8] {
    let come = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left = left.saturating_sub(u32::try_from(come).unwrap_or(u32::MAX));
    bytes.get(come..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
