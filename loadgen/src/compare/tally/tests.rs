use std::time::Duration;

use super::{Tally, per_call, unexpected};
use crate::compare::Measured;
use crate::compare::cpu::CpuUsed;
use crate::engine::Taken;
use crate::report::{Interval, Outcomes};

/// A part with so many answers, of which a fifth belongs to the warm-up, and so much CPU time.
fn measured(answers: u64, cpu_ms: Option<u64>) -> Measured {
    let mut taken = Taken {
        warm_up_answered: answers / 5,
        planned: Duration::from_secs(2),
        intervals: vec![Interval {
            start_s: 1.0,
            ..Interval::default()
        }],
        ..Taken::default()
    };
    taken.statuses.insert(200, answers - answers / 5);
    taken.outcomes.allowed = answers - answers / 5;
    Measured {
        taken,
        cpu: cpu_ms.map(|ms| CpuUsed {
            total: Duration::from_millis(ms),
            user_share: Some(0.25),
        }),
        stages: None,
        crowded: false,
    }
}

#[test]
fn cpu_time_is_divided_by_all_answers() {
    let cases = [
        (1_000, Some(100), Some(100.0)),
        (500, Some(100), Some(200.0)),
        (1_000, None, None),
        (0, Some(100), None),
    ];
    for (answers, cpu_ms, expected) in cases {
        assert_eq!(per_call(&measured(answers, cpu_ms)), expected, "{answers} {cpu_ms:?}");
    }
}

#[test]
fn rounds_stand_one_after_another() {
    let mut tally = Tally::default();
    for (round, cpu_ms) in [(0, Some(100)), (1, None), (2, Some(300))] {
        tally.add(round, &measured(100, Some(10)), &measured(1_000, cpu_ms));
    }
    assert_eq!(
        tally.cpu_us,
        [Some(100.0), None, Some(300.0)],
        "a round that was not read keeps its place"
    );
    assert_eq!(tally.rates, [400.0, 400.0, 400.0]);
    let starts: Vec<f64> = tally.intervals.iter().map(|interval| interval.start_s).collect();
    assert_eq!(starts, [1.0, 3.0, 5.0]);
    assert_eq!(tally.outcomes.allowed, 3 * (80 + 800));
    assert!(!tally.generator_bound);
    let crowded = Measured {
        crowded: true,
        ..measured(10, None)
    };
    tally.add(3, &crowded, &measured(10, None));
    assert!(!tally.generator_bound, "a crowded open phase bounds no saturation");
    tally.add(4, &measured(10, None), &crowded);
    assert!(tally.generator_bound);
}

#[test]
fn refusing_for_want_of_time_is_no_other_answer() {
    let outcomes = Outcomes {
        allowed: 100,
        denied: 10,
        throttled: 1,
        unavailable: 1,
        timeouts: 1,
        connection_errors: 1,
        ..Outcomes::default()
    };
    assert_eq!(unexpected(&outcomes), 0);
    let outcomes = Outcomes {
        denied_unexpectedly: 1,
        allowed_unexpectedly: 1,
        unauthenticated: 1,
        tool_errors: 1,
        protocol_errors: 1,
        ..outcomes
    };
    assert_eq!(unexpected(&outcomes), 5);
}
