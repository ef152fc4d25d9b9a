//! What is seen of a load while it runs.
//!
//! Owns [`Watch`], the one way on which figures leave a running load, second by second. Influences nothing.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use crate::latency::Times;
use crate::report::Outcomes;

mod plain;
mod screen;

pub use plain::Plain;
pub use screen::Screen;

/// Which part of a load is under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Answers do not count yet.
    WarmUp,
    /// Answers count.
    Measured,
    /// No call is due any more; answers that are still out are awaited.
    Draining,
}

/// One second of a load. Called from the thread that started the load, never from one that measures.
#[derive(Clone, Copy, Debug)]
pub struct Second<'t> {
    /// The part of the load.
    pub phase: Phase,
    /// Since the load began, warm-up included: the begin of this second.
    pub since_start: Duration,
    /// How long the load lasts by plan, warm-up included.
    pub planned: Duration,
    /// The rate that was asked for in this second, calls a second; none for a closed loop.
    pub rate_due: Option<f64>,
    /// Response times (closed loop: service times) of the answers of this second.
    pub times: &'t Times,
    /// What its answers said.
    pub outcomes: Outcomes,
    /// Calls under way at its end, those that wait for a connection included.
    pub under_way: u64,
}

/// Takes what a load tells while it runs.
pub trait Watch {
    /// A second has passed.
    fn second(&mut self, second: &Second<'_>);

    /// The load is over, or has been broken off: gives back what was taken (the terminal) and writes what was held.
    /// To be called once, before anything else is printed; a second call does nothing.
    ///
    /// # Errors
    /// What went wrong while it watched, such as a full disk.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Watch for Silent {
    fn second(&mut self, _second: &Second<'_>) {}
}

/// Every watch in turn.
impl Watch for Vec<Box<dyn Watch>> {
    fn second(&mut self, second: &Second<'_>) {
        for watch in self {
            watch.second(second);
        }
    }

    fn end(&mut self) -> io::Result<()> {
        // All of them end, whatever becomes of one.
        let ends: Vec<io::Result<()>> = self.iter_mut().map(|watch| watch.end()).collect();
        ends.into_iter().collect()
    }
}

/// The view that fits: a [`Screen`] on a terminal, else or with `no_tui` [`Plain`] lines, both on standard error, so
/// that standard output stays free for a report.
///
/// A screen must be ended before the process goes: by [`Watch::end`], or by dropping it. A caller must therefore catch
/// SIGINT and SIGTERM, and must not leave by `std::process::exit` or an abort while the view lives. A panic gives the
/// terminal back by itself.
pub fn watch(stderr_is_terminal: bool, no_tui: bool) -> Box<dyn Watch> {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let screen = (stderr_is_terminal && !no_tui && !dumb).then(Screen::open);
    match screen {
        Some(Ok(screen)) => Box::new(screen),
        _ => Box::new(Plain::new(io::stderr())),
    }
}

/// Whether standard error is a terminal.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

impl Phase {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::WarmUp => "warm-up",
            Self::Measured => "measured",
            Self::Draining => "draining",
        }
    }
}

#[cfg(test)]
mod tests;
