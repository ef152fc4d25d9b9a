use std::time::Duration;

use super::{Figures, median, order, ratio, spread};
use crate::latency::Times;

#[test]
fn targets_take_turns() {
    let rounds: Vec<Vec<usize>> = (0..6).map(|round| order(round, 3)).collect();
    assert_eq!(
        rounds,
        [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1], [2, 0, 1], [1, 0, 2]]
    );
    assert_eq!(order(7, 1), [0]);
    assert_eq!(order(0, 0), [0_usize; 0]);
}

#[test]
fn every_target_stands_at_every_place_equally_often() {
    for targets in 1..6 {
        for place in 0..targets {
            for target in 0..targets {
                let rounds = (0..2 * targets).map(|round| order(round, targets));
                let times = rounds.filter(|order| order[place] == target).count();
                assert_eq!(times, 2, "target {target} of {targets} at {place}");
            }
        }
    }
}

#[test]
fn medians_lie_in_the_middle() {
    let cases: [(&[f64], Option<f64>); 5] = [
        (&[], None),
        (&[3.0], Some(3.0)),
        (&[1.0, 4.0], Some(2.5)),
        (&[9.0, 1.0, 2.0], Some(2.0)),
        (&[9.0, 1.0, 2.0, 4.0], Some(3.0)),
    ];
    for (figures, expected) in cases {
        assert_eq!(median(figures), expected, "{figures:?}");
    }
    assert_eq!(spread(&[90.0, 100.0, 110.0]), Some(0.2));
    assert_eq!(spread(&[0.0, 0.0]), None);
    assert_eq!(spread(&[]), None);
}

fn times(us: u64, count: u64) -> Times {
    let mut times = Times::new();
    for _ in 0..count {
        times.add(Duration::from_micros(us));
    }
    times
}

#[test]
fn ratios_are_of_each_round() {
    let (slow, fast) = (times(400, 1_000), times(100, 200));
    let one = Figures {
        name: "full-chain",
        // A disturbed second round weighs on both, and one reading is missing.
        cpu_us: &[Some(150.0), Some(600.0), None, Some(200.0)],
        rates: &[1_000.0, 500.0, 1_000.0, 1_100.0],
        response: &slow,
    };
    let other = Figures {
        name: "direct",
        cpu_us: &[Some(50.0), Some(150.0), Some(50.0), Some(50.0)],
        rates: &[4_000.0, 1_000.0, 4_000.0, 0.0],
        response: &fast,
    };
    let ratio = ratio(&one, &other);
    assert_eq!((ratio.target.as_str(), ratio.to.as_str()), ("full-chain", "direct"));
    assert_eq!(ratio.cpu, Some(4.0), "of 3, 4 and 4");
    assert_eq!(
        ratio.throughput,
        Some(0.25),
        "of 0.25, 0.5 and 0.25; a round without answers is none"
    );
    // 200 samples are enough for the 95th percentile, not for the 99th.
    let told: Vec<f64> = ratio.percentiles.iter().map(|row| row.percentile).collect();
    assert_eq!(told, [50.0, 75.0, 90.0, 95.0]);
    let median = ratio.percentiles[0];
    assert!((median.ratio - 4.0).abs() < 0.01, "{median:?}");
    assert!((median.added_us - 300.0).abs() < 1.0, "{median:?}");
}

#[test]
fn what_was_not_read_has_no_ratio() {
    let nothing = Times::new();
    let empty = |name| Figures {
        name,
        cpu_us: &[None, None],
        rates: &[],
        response: &nothing,
    };
    let ratio = ratio(&empty("a"), &empty("b"));
    assert_eq!((ratio.cpu, ratio.throughput, ratio.percentiles.len()), (None, None, 0));
}
