//! The last word of the gate on a connection over HTTP/2 that it ends itself (RFC 9113 section 6.8).
//!
//! Owns GOAWAY as bytes, and where they may stand: between two frames of what goes out. Waits a moment at most for a
//! client that does not read.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora_core::protocols::Stream;
use tokio::io::AsyncWrite as _;
use tokio::time::Sleep;

use super::frames::skip;

/// How long the client has to take it.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes of the head of a frame.
const HEAD_BYTES: u8 = 9;
/// Bytes of the length of a frame, which its head begins with.
const LENGTH_BYTES: u8 = 3;
/// The error code of who has had enough (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: u8 = 0x0b;

/// Where in its frames stands what goes out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    head_gone: u8,
    payload_left: u32,
}

impl Outgoing {
    /// Whether the next byte begins a frame.
    pub(super) const fn is_between_frames(&self) -> bool {
        self.head_gone == 0
    }

    /// Looks at bytes that have gone out.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        while let Some((first, rest)) = bytes.split_first() {
            if self.head_gone < HEAD_BYTES {
                if self.head_gone < LENGTH_BYTES {
                    self.payload_left = self.payload_left << 8 | u32::from(*first);
                }
                self.head_gone = self.head_gone.saturating_add(1);
                bytes = rest;
            } else {
                bytes = skip(&mut self.payload_left, bytes);
            }
            if self.head_gone == HEAD_BYTES && self.payload_left == 0 {
                self.head_gone = 0;
            }
        }
    }
}

/// A GOAWAY on its way.
#[derive(Debug)]
pub(super) struct Farewell {
    frame: [u8; 17],
    said: usize,
    patience: Pin<Box<Sleep>>,
}

impl Farewell {
    /// Too much has come; `last_stream` is the last that may have been acted on.
    pub(super) fn enough(last_stream: u32) -> Self {
        let [a, b, c, d] = last_stream.to_be_bytes();
        Self {
            frame: [0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, ENHANCE_YOUR_CALM],
            said: 0,
            patience: Box::pin(tokio::time::sleep(PATIENCE)),
        }
    }

    /// Whether a part of it has gone out: nothing else may then.
    pub(super) const fn has_begun(&self) -> bool {
        0 < self.said
    }

    /// Ready once it has been said, or cannot be.
    pub(super) fn poll(&mut self, inner: &mut Stream, out: &Outgoing, context: &mut Context<'_>) -> Poll<()> {
        match self.poll_said(inner, out, context) {
            Poll::Pending => self.patience.as_mut().poll(context),
            said => said,
        }
    }

    fn poll_said(&mut self, inner: &mut Stream, out: &Outgoing, context: &mut Context<'_>) -> Poll<()> {
        if !self.has_begun() && !out.is_between_frames() {
            return Poll::Pending;
        }
        while let Some(rest) = self.frame.get(self.said..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *inner).poll_write(context, rest)) {
                Ok(written) if 0 < written => self.said = self.said.saturating_add(written),
                _ => return Poll::Ready(()),
            }
        }
        // Whether anybody is left to hear it changes nothing.
        let _ = ready!(Pin::new(&mut *inner).poll_flush(context));
        let _ = ready!(Pin::new(inner).poll_shutdown(context));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::Outgoing;

    #[test]
    fn a_frame_may_begin_where_one_has_ended() {
        let empty = [0, 0, 0, 4, 1, 0, 0, 0, 0];
        let long = [&[0, 1, 2, 0, 0, 0, 0, 0, 1][..], &[0; 258]].concat();
        let bytes = [&empty[..], &long, &empty].concat();
        let ends = [empty.len(), empty.len() + long.len(), bytes.len()];
        for step in [1, 2, 7, 9, 10, 64, bytes.len()] {
            let mut out = Outgoing::default();
            assert!(out.is_between_frames());
            let mut gone = 0;
            for piece in bytes.chunks(step) {
                out.pass(piece);
                gone += piece.len();
                assert_eq!(out.is_between_frames(), ends.contains(&gone), "{gone} by {step}");
            }
        }
    }
}
