//! What came back from the upstream, what of it may leave, and the record that stands between the two.
//!
//! Owns [`Answer`], [`Reviewed`] and [`Release`]. An answer is released only by its durable record.

use bytes::Bytes;

use crate::audit::{Durable, Position};
use crate::denial::Denial;

/// What came back from the upstream, whole.
#[derive(Clone)]
pub enum Answer {
    /// A status without a body that matters: 202 for a notification, 404 for a session that is gone.
    Empty {
        /// The upstream's status.
        status: u16,
    },
    /// A JSON body, whole.
    Json {
        /// The upstream's status.
        status: u16,
        /// The body.
        body: Bytes,
    },
    /// The data of one event of a stream: one JSON-RPC message.
    Message {
        /// The joined data lines.
        data: Bytes,
    },
}

/// A judged answer whose record was handed over and is not yet known to be durable.
#[derive(Debug)]
#[must_use = "a reviewed answer is released or given up"]
pub struct Reviewed<'g> {
    release: Release,
    position: Position,
    /// The log that takes the record.
    durable: &'g Durable,
}

/// What leaves towards the client.
pub enum Release {
    /// The messages of one array, in this order, each as it would leave alone.
    Batch {
        /// The status.
        status: u16,
        /// The messages: none of them is dropped, empty or a batch.
        parts: Vec<Self>,
    },
    /// Nothing for the client: a message of the server that cannot be judged or that the policy keeps back.
    Dropped,
    /// A status without a body.
    Empty {
        /// The status.
        status: u16,
    },
    /// The upstream's very bytes.
    Pass {
        /// The status.
        status: u16,
        /// The body, or the data of the event.
        body: Bytes,
    },
    /// Rewritten bytes: what the policy took out is gone, every other byte is the upstream's.
    Redacted {
        /// The status.
        status: u16,
        /// The body, or the data of the event.
        body: Bytes,
    },
    /// Nothing of the answer; the refusal instead, in a stream as a JSON-RPC error.
    Withheld(Denial),
}

/// Tells form and length only: an answer belongs in no log.
impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty { status } => write!(formatter, "Empty({status})"),
            Self::Json { status, body } => write!(formatter, "Json({status}, {} bytes)", body.len()),
            Self::Message { data } => write!(formatter, "Message({} bytes)", data.len()),
        }
    }
}

/// Tells form and length only: an answer belongs in no log.
impl std::fmt::Debug for Release {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Batch { status, parts } => write!(formatter, "Batch({status}, {parts:?})"),
            Self::Dropped => formatter.write_str("Dropped"),
            Self::Empty { status } => write!(formatter, "Empty({status})"),
            Self::Pass { status, body } => write!(formatter, "Pass({status}, {} bytes)", body.len()),
            Self::Redacted { status, body } => write!(formatter, "Redacted({status}, {} bytes)", body.len()),
            Self::Withheld(denial) => write!(formatter, "Withheld({})", denial.reason.code()),
        }
    }
}

impl<'g> Reviewed<'g> {
    pub(super) const fn new(release: Release, position: Position, durable: &'g Durable) -> Self {
        Self {
            release,
            position,
            durable,
        }
    }

    pub(super) const fn take_release(&mut self) -> Release {
        std::mem::replace(&mut self.release, Release::Dropped)
    }

    pub(super) fn with_release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    /// Where the record stands in the log.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What may leave, once its record is durable.
    ///
    /// # Errors
    /// Gives itself back while the record is not durable: wait with [`Durable::register`] or [`Durable::wait`]. The
    /// watermark of another log proves nothing about this record, so it gives itself back for that too.
    pub fn release(self, durable: &Durable) -> Result<Release, Self> {
        if std::ptr::eq(durable, self.durable) && durable.reached(self.position) {
            Ok(self.release)
        } else {
            Err(self)
        }
    }
}
