//! Asks endpoints whether they are well, those whose configuration says so.
//!
//! Owns when they are asked. What an answer means for calls is the endpoint's `Health`. Never waits for one endpoint to
//! ask another.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::config::Endpoint;
use portcullis_core::gate::Gate;
use tokio::time::MissedTickBehavior;

use crate::clock;
use crate::upstream::Upstreams;
use crate::upstream::endpoint::{Check, EndpointState};
use crate::upstream::probe;

/// How often it is looked who is to be asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// What one question takes at most, for each address.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Asks the endpoints of the snapshot in force, for as long as the process lives.
pub(crate) async fn check(gate: Arc<Gate>, upstreams: Arc<Upstreams>) {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let snapshot = gate.snapshot();
        let endpoints = snapshot.servers().flat_map(|server| &server.upstream().endpoints);
        for endpoint in endpoints {
            let Some(state) = EndpointState::of(endpoint) else {
                continue;
            };
            let due = |check: &Check| state.health.check_due(clock::ticks_ns(), check.interval);
            if state.check.as_ref().is_some_and(due) {
                let (endpoint, upstreams) = (endpoint.clone(), Arc::clone(&upstreams));
                tokio::spawn(async move { ask(&endpoint, &upstreams).await });
            }
        }
    }
}

async fn ask(endpoint: &Endpoint, upstreams: &Upstreams) {
    let Some(state) = EndpointState::of(endpoint) else {
        return;
    };
    let Some(Check { interval, path }) = &state.check else {
        return;
    };
    let asked = tokio::time::timeout(ANSWER_DEADLINE, upstreams.check(endpoint, path.as_deref())).await;
    match asked.unwrap_or_else(|_| Err(String::from("it did not answer in time"))) {
        Ok(()) => probe::note_recovered(state),
        Err(reason) => {
            // Until the next two questions were asked: calls need not find out what is known. Where there is no other
            // endpoint nothing is gained by that: the next call tries it.
            let aside = match state.is_alone {
                true => Duration::ZERO,
                false => interval.saturating_mul(2).saturating_add(ANSWER_DEADLINE),
            };
            if state.health.put_aside(clock::ticks_ns(), aside) {
                probe::tell_aside(state, &reason);
            }
        }
    }
}
