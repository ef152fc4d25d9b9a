use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use portcullis_fixtures::scripted::Scripted;

use super::{Arrivals, EngineError, LATE_AFTER, Plan, Taken, run, second_end};
use crate::connect::{Answer, Endpoint, EndpointOptions};
use crate::latency::Times;
use crate::schedule::Schedule;
use crate::view::{Phase, Second, Silent, Watch};
use crate::workload::{Calls, Expect, Expected, Outcome, Prepared};

/// Calls whose id is their number.
struct Numbered;

impl Calls for Numbered {
    fn prepare(&self, number: u64) -> Prepared {
        Prepared {
            headers: HeaderMap::new(),
            body: Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"ping\"}}")),
            expected: Expected {
                id: number,
                expect: Expect::Result,
            },
        }
    }

    fn judge(&self, _expected: Expected, answer: &Answer) -> Outcome {
        match answer.status {
            200 => Outcome::Allowed,
            _ => Outcome::ProtocolError,
        }
    }
}

fn plan(url: &str, arrivals: Arrivals) -> Plan {
    Plan {
        endpoint: Endpoint::new(url, &EndpointOptions::default()).unwrap(),
        arrivals,
        connections: 4,
        streams: 1,
        threads: 1,
        warm_up: Duration::ZERO,
        timeout: Duration::from_secs(10),
        late_after: LATE_AFTER,
        cores: Vec::new(),
        first_call: 0,
    }
}

fn open(rate: f64, length: Duration) -> Arrivals {
    Arrivals::Open(Schedule::constant(rate, length).unwrap())
}

fn take(plan: &Plan, watch: &mut dyn Watch) -> Taken {
    let calls: Arc<dyn Calls> = Arc::new(Numbered);
    run(plan, &calls, watch).unwrap()
}

/// What HdrHistogram calls the value at a percentile: the smallest at or below which that share lies.
fn percentile(times: &[f64], percentile: f64) -> f64 {
    let rank = times.len() as f64 * percentile / 100.0;
    let below = times.iter().enumerate().take_while(|(index, _)| (*index as f64) < rank);
    *below.last().unwrap().1
}

/// Holds the reported percentiles against the truth: not below it by more than the histogram's precision, and not above
/// it by more than that and the way of an answer through a busy machine.
fn check(reported: &Times, truth: &[f64]) {
    assert_eq!(reported.samples(), truth.len() as u64);
    for asked in [50.0, 75.0, 90.0, 95.0, 99.0, 100.0] {
        let (reported, truth) = (reported.guess_us(asked), percentile(truth, asked));
        let transport_us = 30_000.0;
        assert!(
            truth * 0.999 - 500.0 <= reported && reported <= truth * 1.001 + transport_us,
            "p{asked}: reported {reported} us, the server's notes say {truth} us"
        );
    }
}

#[test]
fn a_stop_of_one_second_is_in_the_response_times_of_an_open_loop() {
    let (rate, length) = (200.0, Duration::from_secs(3));
    let server = Scripted::stopping(Duration::from_millis(700), Duration::from_secs(1)).unwrap();
    let taken = take(&plan(&server.url(), open(rate, length)), &mut Silent);
    let truth = server.response_times_us(rate);
    assert_eq!((taken.due, taken.outcomes.allowed), (600, 600));
    check(taken.response.as_ref().unwrap(), &truth);
    // A third of the calls were due while the server stood still: their waiting makes the upper percentiles, while the
    // four calls that were under way are all that the service times know of it.
    let response = taken.response.as_ref().unwrap().guess_us(90.0);
    assert!(600_000.0 < response, "p90 of the response times is {response} us");
    let service = taken.service.guess_us(90.0);
    assert!(service < response / 2.0, "p90 of the service times is {service} us");
    assert!(150 < taken.waited, "{} calls waited", taken.waited);
}

#[test]
fn a_closed_loop_misses_the_stop_and_says_so() {
    let server = Scripted::stopping(Duration::from_millis(300), Duration::from_secs(1)).unwrap();
    let length = Duration::from_secs(2);
    let taken = take(&plan(&server.url(), Arrivals::Closed { length }), &mut Silent);
    assert!(taken.response.is_none());
    let p99 = taken.service.guess_us(99.0);
    assert!(p99 < 500_000.0, "the stop shows in a closed loop: p99 {p99} us");
    assert!(taken.service.max_us() > 900_000.0);
    let notes = taken.validity().notes;
    assert!(notes.iter().any(|note| note.contains("NOT open loop")), "{notes:?}");
}

#[test]
fn scripted_delays_come_back_as_percentiles() {
    // Nine of ten after 2 ms, one of ten after 60 ms.
    let script = |order: u64, _| Duration::from_millis(if order % 10 == 9 { 60 } else { 2 });
    let server = Scripted::start(script).unwrap();
    let mut plan = plan(&server.url(), open(200.0, Duration::from_secs(2)));
    plan.connections = 32;
    let taken = take(&plan, &mut Silent);
    check(taken.response.as_ref().unwrap(), &server.response_times_us(200.0));
    let service = &taken.service;
    assert!(2_000.0 <= service.guess_us(50.0) && 60_000.0 <= service.guess_us(95.0));
}

#[test]
fn calls_of_the_warm_up_do_not_count() {
    let server = Scripted::start(|order, _| Duration::from_millis(if order < 50 { 80 } else { 0 })).unwrap();
    let mut plan = plan(&server.url(), open(100.0, Duration::from_millis(1_500)));
    plan.warm_up = Duration::from_millis(500);
    plan.connections = 16;
    let taken = take(&plan, &mut Silent);
    assert_eq!(
        (taken.due, taken.warm_up_answered, taken.answered_in_all()),
        (100, 50, 150)
    );
    assert_eq!(taken.response.unwrap().samples(), 100);
    assert_eq!(server.seen().len(), 150);
}

#[test]
fn every_number_is_called_once_whatever_the_threads() {
    for (threads, connections) in [(1, 1), (1, 3), (2, 2), (3, 8)] {
        let server = Scripted::start(|_, _| Duration::ZERO).unwrap();
        let mut plan = plan(&server.url(), open(400.0, Duration::from_millis(500)));
        (plan.threads, plan.connections) = (threads, connections);
        let taken = take(&plan, &mut Silent);
        let mut ids: Vec<u64> = server.seen().iter().map(|seen| seen.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..200).collect::<Vec<_>>(), "{threads} threads");
        assert_eq!((taken.next_call, taken.connections_opened), (200, connections as u64));
    }
}

#[test]
fn what_is_never_answered_is_told() {
    // The first twenty are answered, then nothing within the time limit.
    let server = Scripted::start(|order, _| match order {
        0..20 => Duration::ZERO,
        _ => Duration::from_secs(3_600),
    })
    .unwrap();
    let mut plan = plan(&server.url(), open(100.0, Duration::from_secs(1)));
    plan.timeout = Duration::from_millis(300);
    let taken = take(&plan, &mut Silent);
    assert_eq!(taken.outcomes.total(), 100);
    assert_eq!((taken.outcomes.allowed, taken.outcomes.timeouts), (20, 80));
    assert!(0 < taken.unanswered, "with four connections most calls were never sent");
    let validity = taken.validity();
    assert!(validity.invalid);
    assert!(
        validity.reasons.iter().any(|reason| reason.code == "unanswered"),
        "{validity:?}"
    );
}

#[test]
fn a_target_that_takes_no_connection_is_an_error() {
    let server = Scripted::start(|_, _| Duration::ZERO).unwrap();
    let url = server.url();
    drop(server);
    let calls: Arc<dyn Calls> = Arc::new(Numbered);
    for threads in [1, 2] {
        let mut plan = plan(&url, open(100.0, Duration::from_secs(1)));
        plan.threads = threads;
        let error = run(&plan, &calls, &mut Silent).unwrap_err();
        assert!(matches!(error, EngineError::Connect(..)), "{error}");
    }
}

#[test]
fn a_warm_up_as_long_as_the_load_is_an_error() {
    let server = Scripted::start(|_, _| Duration::ZERO).unwrap();
    let mut plan = plan(&server.url(), open(100.0, Duration::from_secs(1)));
    plan.warm_up = Duration::from_secs(1);
    let calls: Arc<dyn Calls> = Arc::new(Numbered);
    assert!(matches!(run(&plan, &calls, &mut Silent), Err(EngineError::WarmUp)));
}

/// Takes down what it is told.
#[derive(Default)]
struct Told(Vec<(Phase, Duration, u64, Option<f64>)>);

impl Watch for Told {
    fn second(&mut self, second: &Second<'_>) {
        let answers = second.times.samples();
        self.0
            .push((second.phase, second.since_start, answers, second.rate_due));
    }
}

#[test]
fn every_second_is_told_once_and_in_order() {
    let server = Scripted::start(|_, _| Duration::ZERO).unwrap();
    let mut plan = plan(&server.url(), open(100.0, Duration::from_millis(2_700)));
    (plan.warm_up, plan.threads) = (Duration::from_millis(700), 2);
    let mut told = Told::default();
    let taken = take(&plan, &mut told);
    let begins: Vec<u128> = told.0.iter().map(|told| told.1.as_millis()).collect();
    assert_eq!(begins.get(..3), Some([0, 700, 1_700].as_slice()));
    assert_eq!(told.0[0].0, Phase::WarmUp);
    assert_eq!(told.0[1].0, Phase::Measured);
    let answers: u64 = told.0.iter().map(|told| told.2).sum();
    assert_eq!(answers, 270);
    assert!(told.0.iter().all(|told| told.3.is_some()));
    let counted: u64 = taken.intervals.iter().map(|interval| interval.answered).sum();
    assert!(
        (199..=201).contains(&counted),
        "an answer may fall into the next second: {counted}"
    );
}

#[test]
fn seconds_are_counted_from_the_end_of_the_warm_up() {
    let cases = [
        (0, [1_000, 2_000]),
        (700, [700, 1_700]),
        (2_000, [1_000, 2_000]),
        (2_500, [500, 1_500]),
    ];
    for (warm_up_ms, ends_ms) in cases {
        let ends = [0, 1].map(|index| second_end(Duration::from_millis(warm_up_ms), index).as_millis());
        assert_eq!(ends, ends_ms, "{warm_up_ms} ms");
    }
}
