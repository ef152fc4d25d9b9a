//! What is seen of a load while it runs.
//!
//! Owns [`Watch`], the one way on which figures leave a running load, second by second. Influences nothing.

use std::time::Duration;

use crate::latency::Times;
use crate::report::Outcomes;

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
}
