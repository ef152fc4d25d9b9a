use std::time::Duration;

use super::{RATE_MAX, Schedule, ScheduleError, Stretch};

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn stretch(from: f64, to: f64, length: f64) -> Stretch {
    Stretch {
        from,
        to,
        length: seconds(length),
    }
}

/// Every instant at which a call is due, in seconds.
fn due(schedule: &Schedule) -> Vec<f64> {
    (0..)
        .map_while(|number| schedule.due(number))
        .map(|due| due.as_secs_f64())
        .collect()
}

#[test]
fn a_constant_rate_is_even() {
    let schedule = Schedule::constant(4.0, seconds(1.5)).unwrap();
    assert_eq!(due(&schedule), [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]);
    assert_eq!(schedule.words(), "constant 4/s for 1.5 s");
}

#[test]
fn counts_are_exact_for_rates_that_do_not_divide_a_second() {
    for (rate, length, calls) in [
        (3.0, 1.0, 3),
        (7.0, 10.0, 70),
        (333.3, 3.0, 1_000),
        (0.5, 1.0, 1),
        (1_000.0, 0.001, 1),
    ] {
        let schedule = Schedule::constant(rate, seconds(length)).unwrap();
        assert_eq!(due(&schedule).len(), calls, "{rate}/s for {length} s");
    }
}

#[test]
fn a_ramp_has_its_calls_where_the_integral_of_the_rate_reaches_them() {
    // From 0+ to 20/s in 10 s: 100 calls; the k-th at sqrt(k) seconds.
    let schedule = Schedule::new(vec![stretch(1e-9, 20.0, 10.0)]).unwrap();
    let due = due(&schedule);
    assert_eq!(due.len(), 100);
    for (number, at) in due.iter().enumerate().skip(1) {
        assert!(
            (at - (number as f64).sqrt()).abs() < 1e-3,
            "call {number} is due at {at}"
        );
    }
    // The same downwards: mirrored.
    let down = Schedule::new(vec![stretch(20.0, 1e-9, 10.0)]).unwrap();
    assert!((down.due(75).unwrap().as_secs_f64() - 5.0).abs() < 1e-6);
}

#[test]
fn steps_follow_one_another_without_gap_or_overlap() {
    let schedule = Schedule::new(vec![
        stretch(10.0, 10.0, 1.0),
        stretch(20.0, 20.0, 1.0),
        stretch(5.0, 5.0, 1.0),
    ]);
    let due = due(&schedule.unwrap());
    assert_eq!(due.len(), 35);
    assert!(due.windows(2).all(|pair| pair[0] < pair[1]));
    assert!((due[10] - 1.0).abs() < 1e-9 && (due[30] - 2.0).abs() < 1e-9);
}

#[test]
fn rates_of_a_part() {
    let schedule = Schedule::new(vec![stretch(10.0, 10.0, 1.0), stretch(10.0, 30.0, 2.0)]).unwrap();
    let rate = |from, to| schedule.rate_between(seconds(from), seconds(to));
    for (from, to, expected) in [
        (0.0, 1.0, 10.0),
        (1.0, 3.0, 20.0),
        (0.5, 1.5, 11.25),
        (2.0, 2.0, 0.0),
        (3.0, 9.0, 0.0),
    ] {
        assert!(
            (rate(from, to) - expected).abs() < 1e-9,
            "{from} to {to}: {}",
            rate(from, to)
        );
    }
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(Schedule::constant(RATE_MAX, seconds(1.0)).is_ok());
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, RATE_MAX + 1.0] {
        let refused = Schedule::constant(rate, seconds(1.0));
        assert!(matches!(refused, Err(ScheduleError::Rate(_))), "{rate}");
    }
    assert_eq!(Schedule::constant(1.0, Duration::ZERO), Err(ScheduleError::Empty));
    assert_eq!(Schedule::new(Vec::new()), Err(ScheduleError::Empty));
}
