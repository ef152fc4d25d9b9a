//! Questions that are out, each asked once, whoever waits for its answer.
//!
//! Owns [`Flights`]. Bounded: a slow issuer takes neither room nor waiters from the others. Asks nothing itself and
//! remembers no answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// What tells questions apart.
pub(crate) trait Question: Clone + Eq + Hash {
    /// Whether both take room from the same issuer.
    fn shares_room(&self, other: &Self) -> bool;
}

/// The questions that are out, each with those who wait for its answer.
pub(crate) struct Flights<Q, A>(Mutex<HashMap<Q, Vec<oneshot::Sender<A>>>>);

impl<Q, A> Default for Flights<Q, A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// What joining a question came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Joined {
    /// Nobody asks it yet: whoever joined has to.
    First,
    /// Too many questions are out, or too many wait for this one.
    Refused,
    /// It is out.
    Waits,
}

impl<Q: Question, A: Clone> Flights<Q, A> {
    pub(crate) fn join(&self, question: Q, waiter: oneshot::Sender<A>) -> Joined {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_issuer = flights.keys().filter(|out| out.shares_room(&question)).count();
        let room = of_issuer < FLIGHTS_MAX;
        match flights.get_mut(&question) {
            Some(waiting) if waiting.len() < WAITERS_MAX => {
                waiting.push(waiter);
                Joined::Waits
            }
            None if room => {
                flights.insert(question, vec![waiter]);
                Joined::First
            }
            Some(_) | None => Joined::Refused,
        }
    }

    /// Gives the answer to all who wait for it.
    pub(crate) fn land(&self, question: &Q, answer: &A) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(question);
        for waiter in waiting.into_iter().flatten() {
            // Who has gone meanwhile needs no answer.
            let _ = waiter.send(answer.clone());
        }
    }
}

/// Questions to one issuer that are out at once: a slow issuer takes nothing from the others.
pub(crate) const FLIGHTS_MAX: usize = 256;
/// Requests that wait for one question at once.
pub(crate) const WAITERS_MAX: usize = 4_096;
