//! When calls are due: a pure function of their number.
//!
//! Owns [`Schedule`]. Knows no clock and no target: the n-th call is due so long after the start, whatever happens.

use std::time::Duration;

use thiserror::Error;

/// A bound on rates, so that a slip of the finger stays harmless: calls a second.
pub const RATE_MAX: f64 = 1_000_000.0;

/// One stretch of a schedule: the rate changes evenly from `from` to `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Calls a second at its begin.
    pub from: f64,
    /// Calls a second at its end.
    pub to: f64,
    /// How long it lasts.
    pub length: Duration,
}

/// Arrivals by the clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    stretches: Vec<Stretch>,
}

/// Why a schedule cannot be.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ScheduleError {
    /// It has no stretch, or one without length.
    #[error("a schedule needs stretches that last longer than nothing")]
    Empty,
    /// A rate is no positive number within bounds.
    #[error("a rate must lie above 0 and up to {RATE_MAX} calls a second, not `{0}`")]
    Rate(f64),
}

impl Schedule {
    /// The same rate throughout.
    ///
    /// # Errors
    /// [`ScheduleError`] when the rate or the length is out of bounds.
    pub fn constant(rate: f64, length: Duration) -> Result<Self, ScheduleError> {
        Self::new(vec![Stretch {
            from: rate,
            to: rate,
            length,
        }])
    }

    /// These stretches, one after another.
    ///
    /// # Errors
    /// [`ScheduleError`] when there is none, or a rate or length is out of bounds.
    pub fn new(stretches: Vec<Stretch>) -> Result<Self, ScheduleError> {
        if stretches.is_empty() || stretches.iter().any(|stretch| stretch.length.is_zero()) {
            return Err(ScheduleError::Empty);
        }
        let rates = stretches.iter().flat_map(|stretch| [stretch.from, stretch.to]);
        match { rates }.find(|rate| !(0.0 < *rate && *rate <= RATE_MAX)) {
            Some(rate) => Err(ScheduleError::Rate(rate)),
            None => Ok(Self { stretches }),
        }
    }

    /// How long it lasts.
    pub fn length(&self) -> Duration {
        self.stretches.iter().map(|stretch| stretch.length).sum()
    }

    /// The calls that are due in all, to the nearest whole one.
    pub fn calls(&self) -> u64 {
        let calls: f64 = self.stretches.iter().map(Stretch::calls).sum();
        whole(calls.round())
    }

    /// The mean rate of what is due between two instants after the start, calls a second.
    pub fn rate_between(&self, from: Duration, to: Duration) -> f64 {
        let length = to.saturating_sub(from).as_secs_f64();
        let calls = self.calls_until(to) - self.calls_until(from);
        if 0.0 < length { calls / length } else { 0.0 }
    }

    /// When call number `number` (from 0) is due after the start; none once the schedule has ended.
    ///
    /// A stretch with rate r has its k-th call k/r after its begin; a changing rate r(t) has it where the integral of
    /// r reaches k. Cost: a few floating-point operations a stretch.
    pub fn due(&self, number: u64) -> Option<Duration> {
        let mut wanted = number as f64;
        let mut begin = Duration::ZERO;
        for stretch in &self.stretches {
            let calls = stretch.calls();
            // Half a call of slack, so that rounding neither loses the last call nor adds one.
            if wanted < calls - 1e-6 {
                return Some(begin + Duration::from_secs_f64(stretch.reached(wanted)));
            }
            wanted -= calls;
            wanted = wanted.max(0.0);
            begin += stretch.length;
        }
        None
    }

    fn calls_until(&self, end: Duration) -> f64 {
        let (mut calls, mut left) = (0.0, end);
        for stretch in &self.stretches {
            let part = left.min(stretch.length);
            calls += stretch.calls_until(part.as_secs_f64());
            left -= part;
        }
        calls
    }

    /// The plan in words.
    pub fn words(&self) -> String {
        let words: Vec<String> = self.stretches.iter().map(Stretch::words).collect();
        words.join(", then ")
    }
}

impl Stretch {
    fn calls(&self) -> f64 {
        self.calls_until(self.length.as_secs_f64())
    }

    fn calls_until(&self, seconds: f64) -> f64 {
        let slope = (self.to - self.from) / self.length.as_secs_f64();
        seconds * (self.from + slope * seconds / 2.0)
    }

    /// Seconds after which `calls` calls are due: the root of `calls = from * t + slope * t^2 / 2`.
    fn reached(&self, calls: f64) -> f64 {
        let slope = (self.to - self.from) / self.length.as_secs_f64();
        // This form of the root does not cancel for small slopes, and holds for none.
        let discriminant = (self.from * self.from + 2.0 * slope * calls).max(0.0);
        2.0 * calls / (self.from + discriminant.sqrt())
    }

    fn words(&self) -> String {
        let seconds = self.length.as_secs_f64();
        if self.from == self.to {
            format!("constant {}/s for {seconds} s", self.from)
        } else {
            format!("{}/s to {}/s in {seconds} s", self.from, self.to)
        }
    }
}

fn whole(number: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates and lengths are bounded, so counts are small positive numbers"
    )]
    let whole = number as u64;
    whole
}

#[cfg(test)]
mod tests;
