//! The highest rate that holds a limit: which rates to try, and when to stop.
//!
//! Owns [`Search`], a pure sequence of rates: doubling until one fails, then halving the gap. A rate that fails is tried
//! once more before it counts, because one hiccup of a shared machine is no limit of the target. Sends nothing itself.

use thiserror::Error;

/// What one try of a rate gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Tried {
    /// The limit was held.
    Held,
    /// It was not, for this reason.
    Failed(String),
}

/// A search under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    bounds: Bounds,
    held: Option<f64>,
    failed: Option<f64>,
    failed_once: bool,
    rate: f64,
}

/// Where and how finely to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The first rate, calls a second.
    pub from: f64,
    /// No higher rate is tried.
    pub to: f64,
    /// The search ends when the lowest rate that failed is no more than this share above the highest that held.
    pub precision: f64,
}

/// Why a search cannot be.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum SearchError {
    /// The bounds leave nothing to search.
    #[error("the first rate must lie above 0 and not above the highest")]
    Bounds,
    /// The precision is out of bounds.
    #[error("the precision must lie between 0.5 % and 50 %")]
    Precision,
}

/// Rates below this are not tried: calls a second.
const RATE_MIN: f64 = 1.0;

impl Search {
    /// A search within `bounds`.
    ///
    /// # Errors
    /// [`SearchError`] when the bounds leave nothing to search.
    pub fn new(bounds: Bounds) -> Result<Self, SearchError> {
        if !(0.0 < bounds.from && bounds.from <= bounds.to) {
            return Err(SearchError::Bounds);
        }
        if !(0.005..=0.5).contains(&bounds.precision) {
            return Err(SearchError::Precision);
        }
        Ok(Self {
            bounds,
            held: None,
            failed: None,
            failed_once: false,
            rate: bounds.from,
        })
    }

    /// The rate to try next; none when the search is over.
    pub fn next(&self) -> Option<f64> {
        let is_over = match (self.held, self.failed) {
            (Some(held), Some(failed)) => failed <= held * (1.0 + self.bounds.precision),
            (Some(held), None) => self.bounds.to <= held,
            (None, Some(failed)) => failed <= RATE_MIN,
            (None, None) => false,
        };
        (!is_over).then_some(self.rate)
    }

    /// The highest rate that held.
    pub fn best(&self) -> Option<f64> {
        self.held
    }

    /// The lowest rate that failed, twice.
    pub fn failed(&self) -> Option<f64> {
        self.failed
    }

    /// Takes down what the rate of [`Self::next`] gave.
    pub fn tried(&mut self, tried: &Tried) {
        match tried {
            Tried::Held => {
                self.held = Some(self.rate);
                self.failed_once = false;
            }
            Tried::Failed(_) if !self.failed_once => {
                self.failed_once = true;
                return;
            }
            Tried::Failed(_) => {
                self.failed = Some(self.rate);
                self.failed_once = false;
            }
        }
        self.rate = match (self.held, self.failed) {
            // The middle by ratio: rates are compared by ratio.
            (Some(held), Some(failed)) => (held * failed).sqrt(),
            (Some(held), None) => (held * 2.0).min(self.bounds.to),
            (None, Some(failed)) => (failed / 2.0).max(RATE_MIN),
            (None, None) => self.rate,
        };
    }
}

#[cfg(test)]
mod tests;
