//! A line a second, for logs and pipes.

use std::io;

use crate::report::figures::{count, rate, time};
use crate::view::{Second, Watch};

/// Writes a line a second. A writer that fails is left alone: a load must not break because nobody reads its log.
#[derive(Debug)]
pub struct Plain<W> {
    writer: W,
}

impl<W: io::Write> Plain<W> {
    /// Lines to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<W: io::Write> Watch for Plain<W> {
    fn second(&mut self, second: &Second<'_>) {
        let _ = writeln!(self.writer, "{}", line(second));
    }
}

/// What was asked for, what came, and how long it took. A second holds few samples: its p99 is a guide.
fn line(second: &Second<'_>) -> String {
    let times = second.times;
    let at = |percentile: f64| shown(times.samples(), times.guess_us(percentile));
    let due = second.rate_due.map_or_else(|| String::from("-"), rate);
    format!(
        "{:>5} s  {:<8}  due {due:>7}/s  got {:>7}/s  p50 {:>7}  p99 {:>7}  max {:>7}  failed {:>3}  under way {:>4}",
        second.since_start.as_secs(),
        second.phase.name(),
        rate(second.outcomes.total() as f64),
        at(50.0),
        at(99.0),
        shown(times.samples(), times.max_us()),
        count(second.outcomes.failures()),
        count(second.under_way),
    )
}

fn shown(samples: u64, us: f64) -> String {
    if samples == 0 { String::from("-") } else { time(us) }
}
