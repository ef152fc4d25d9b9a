//! Waiting for the audit log without blocking a worker.
//!
//! Owns the future over [`Durable`] and its deadline. Never decides what happens when the log does not follow:
//! the caller gives the record up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use portcullis_core::audit::{Durable, Position};

/// Waits until the log has reached `position`; `false` when it failed or the deadline passed.
pub(crate) async fn reached(durable: &Durable, position: Position, deadline: Duration) -> bool {
    if durable.reached(position) {
        return true;
    }
    let wait = Reached { durable, position };
    tokio::time::timeout(deadline, wait).await.unwrap_or(false)
}

struct Reached<'d> {
    durable: &'d Durable,
    position: Position,
}

impl Future for Reached<'_> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        // Registered before the look, so that a batch written in between still wakes us.
        self.durable.register(self.position, context.waker().clone());
        match (self.durable.reached(self.position), self.durable.failed()) {
            (true, _) => Poll::Ready(true),
            (false, true) => Poll::Ready(false),
            (false, false) => Poll::Pending,
        }
    }
}
