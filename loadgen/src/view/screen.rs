//! The view on a terminal: progress, rates, percentiles so far, and how they went.
//!
//! Owns the alternate screen of standard error while it lives. Reads no keys and leaves the terminal's mode alone, so
//! that Ctrl-C stays a signal; asks the terminal nothing, so that nothing is written to standard output.

use std::io::{self, Stderr};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};

use crate::latency::Times;
use crate::report::Outcomes;
use crate::view::{Phase, Second, Watch};

mod draw;

pub(crate) use draw::draw;

/// Whether the alternate screen is on: what a panic must undo.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// The hook of panics is set once.
static HOOK: Once = Once::new();

/// The view on the terminal of standard error. Dropping it gives the terminal back.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    seen: Seen,
    colour: bool,
}

/// What has been seen of the load.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The last second; none before the first.
    pub(crate) last: Option<Last>,
    /// Times of the measured seconds.
    pub(crate) times: Times,
    /// Outcomes of the measured seconds.
    pub(crate) outcomes: Outcomes,
    /// How many seconds were measured.
    pub(crate) measured: u64,
    /// Response times at p99 in microseconds, second by second, warm-up included.
    pub(crate) p99s: Vec<u64>,
    /// Answers, second by second.
    pub(crate) answers: Vec<u64>,
}

/// The last second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) phase: Phase,
    pub(crate) since_start: Duration,
    pub(crate) planned: Duration,
    pub(crate) rate_due: Option<f64>,
    pub(crate) answered: u64,
    /// At p50, p99 and the longest, in microseconds; none without answers.
    pub(crate) times_us: Option<[f64; 3]>,
    pub(crate) under_way: u64,
}

impl Screen {
    /// Takes the terminal. Colours are left out when `NO_COLOR` is set (no-color.org).
    ///
    /// # Errors
    /// When there is no terminal to draw on.
    pub fn open() -> io::Result<Self> {
        HOOK.call_once(|| {
            let then = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // What a panic says must not be lost with the alternate screen.
                leave();
                then(panic);
            }));
        });
        let terminal = Terminal::new(CrosstermBackend::new(io::stderr()))?;
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        execute!(io::stderr(), EnterAlternateScreen, Hide)?;
        TAKEN.store(true, Ordering::SeqCst);
        let mut screen = Self {
            terminal,
            seen: Seen::default(),
            colour,
        };
        screen.draw();
        Ok(screen)
    }

    fn draw(&mut self) {
        // After a panic elsewhere the terminal belongs to its message.
        if !TAKEN.load(Ordering::SeqCst) {
            return;
        }
        let (seen, colour) = (&self.seen, self.colour);
        // A terminal that went away must not break the load.
        let _ = self.terminal.draw(|frame| draw(frame, seen, colour));
    }
}

impl Watch for Screen {
    fn second(&mut self, second: &Second<'_>) {
        self.seen.add(second);
        self.draw();
    }

    fn end(&mut self) -> io::Result<()> {
        leave();
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

impl Seen {
    /// Takes one second in.
    pub(crate) fn add(&mut self, second: &Second<'_>) {
        let (times, answered) = (second.times, second.outcomes.total());
        let told = 0 < times.samples();
        self.last = Some(Last {
            phase: second.phase,
            since_start: second.since_start,
            planned: second.planned,
            rate_due: second.rate_due,
            answered,
            times_us: told.then(|| [times.guess_us(50.0), times.guess_us(99.0), times.max_us()]),
            under_way: second.under_way,
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time of a histogram is positive and bounded by ten minutes"
        )]
        self.p99s.push(if told { times.guess_us(99.0) as u64 } else { 0 });
        self.answers.push(answered);
        if second.phase != Phase::WarmUp {
            self.times.merge(times);
            self.outcomes.merge(&second.outcomes);
        }
        self.measured += u64::from(second.phase == Phase::Measured);
    }
}

/// Gives the terminal back, once.
fn leave() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nothing could be done about it, and nobody could be told.
        let _ = execute!(io::stderr(), LeaveAlternateScreen, Show);
    }
}
