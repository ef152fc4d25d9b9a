//! The end of a server's life: refuse new requests, wait for running ones, then stop.
//!
//! Owns [`Shutdown`], which anybody may trigger, and the watch that Pingora's `Server::run` waits for. Never sleeps
//! a fixed grace period: it ends as soon as nothing runs, or at its bound. Sealing the audit log is the caller's,
//! after the server has returned.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, watch};

/// How long exchanges have to close their records after they were cut.
const CUT_DEADLINE: Duration = Duration::from_secs(2);

/// How far the end has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Phase {
    /// Requests are served.
    Serving,
    /// New requests are refused, running ones go on.
    Draining,
    /// Running exchanges end now.
    Cut,
}

/// A handle on a server's end; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    phase: watch::Sender<Phase>,
    running: AtomicUsize,
    /// Told whenever the last running request ends.
    idle: tokio::sync::Notify,
}

/// One running request; the drain waits until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    shared: Arc<Shared>,
}

impl Shutdown {
    /// A server that serves.
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                phase: watch::Sender::new(Phase::Serving),
                running: AtomicUsize::new(0),
                idle: tokio::sync::Notify::new(),
            }),
        }
    }

    /// Starts the drain, like SIGTERM does.
    #[cfg(any(feature = "demo", test))]
    pub(crate) fn trigger(&self) {
        self.advance(Phase::Draining);
    }

    /// Whether new requests are refused.
    pub(crate) fn is_draining(&self) -> bool {
        *self.shared.phase.borrow() != Phase::Serving
    }

    /// Counts a request in.
    pub(crate) fn enter(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::Relaxed);
        Running {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Returns when new requests are refused: what has no end of its own ends then.
    pub(crate) async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Returns when running exchanges have to end.
    pub(crate) async fn cut(&self) {
        self.reached(Phase::Cut).await;
    }

    fn advance(&self, to: Phase) {
        self.shared.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    async fn reached(&self, wanted: Phase) {
        let mut phase = self.shared.phase.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = phase.wait_for(|phase| wanted <= *phase).await;
    }

    async fn idle(&self) {
        loop {
            let idle = self.shared.idle.notified();
            if self.shared.running.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.shared.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.idle.notify_waiters();
        }
    }
}

/// What Pingora's server waits for: the trigger or a signal, and then the drain.
pub(super) struct Drain {
    pub(super) shutdown: Shutdown,
    /// The signals that trigger it.
    pub(super) signals: Mutex<Signals>,
    /// How long running requests may go on.
    pub(super) drain_deadline: Duration,
}

#[async_trait]
impl ShutdownSignalWatch for Drain {
    async fn recv(&self) -> ShutdownSignal {
        // Nobody else takes it: the wait is no wait.
        let mut signals = self.signals.lock().await;
        tokio::select! {
            () = signals.next() => {}
            () = self.shutdown.reached(Phase::Draining) => {}
        }
        self.shutdown.advance(Phase::Draining);
        tracing::info!("draining: new requests are refused, running ones may end");
        tokio::select! {
            () = self.shutdown.idle() => return ShutdownSignal::GracefulTerminate,
            () = tokio::time::sleep(self.drain_deadline) => tracing::warn!("running exchanges are cut: the drain took too long"),
            () = signals.next() => tracing::warn!("running exchanges are cut: a second signal came"),
        }
        self.shutdown.advance(Phase::Cut);
        if tokio::time::timeout(CUT_DEADLINE, self.shutdown.idle()).await.is_err() {
            tracing::warn!("some exchanges did not end; recovery closes their records");
        }
        ShutdownSignal::GracefulTerminate
    }
}

/// The signals that end the process; none by default, when they are somebody else's.
#[derive(Debug, Default)]
pub(crate) struct Signals(Vec<Signal>);

impl Signals {
    /// Takes SIGTERM, SIGINT and SIGQUIT from now on; to be called within a runtime.
    ///
    /// # Errors
    /// When the system does not let them be taken.
    pub(crate) fn listen() -> io::Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
        kinds.into_iter().map(signal).collect::<io::Result<_>>().map(Self)
    }

    /// Returns at the next of them; never without any.
    pub(crate) async fn next(&mut self) {
        std::future::poll_fn(
            |context| match self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            },
        )
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Drain, Shutdown, Signals};
    use pingora_core::server::ShutdownSignalWatch;
    use std::time::Duration;
    use tokio::sync::Mutex;

    fn drain(shutdown: &Shutdown, drain_deadline: Duration) -> Drain {
        Drain {
            shutdown: shutdown.clone(),
            signals: Mutex::new(Signals::default()),
            drain_deadline,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_server_ends_at_once_when_triggered_and_not_before() {
        let shutdown = Shutdown::new();
        let watch = drain(&shutdown, Duration::from_secs(30));
        let early = tokio::time::timeout(Duration::from_secs(3_600), watch.recv()).await;
        assert!(early.is_err());
        shutdown.trigger();
        assert!(shutdown.is_draining());
        let begun = tokio::time::Instant::now();
        watch.recv().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_waits_for_what_runs() {
        let shutdown = Shutdown::new();
        let running = shutdown.enter();
        shutdown.trigger();
        let watch = drain(&shutdown, Duration::from_secs(30));
        let (_, ()) = tokio::join!(watch.recv(), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(running);
        });
        let cut = tokio::time::timeout(Duration::from_secs(1), shutdown.cut()).await;
        assert!(cut.is_err(), "nothing is cut when everything has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_too_long_is_cut() {
        let shutdown = Shutdown::new();
        let running = shutdown.enter();
        shutdown.trigger();
        let watch = drain(&shutdown, Duration::from_secs(30));
        let begun = tokio::time::Instant::now();
        let (_, ()) = tokio::join!(watch.recv(), async {
            shutdown.cut().await;
            drop(running);
        });
        assert_eq!(begun.elapsed(), Duration::from_secs(30));
    }
}
