use std::time::Duration;

use super::{TIME_MAX, Times, samples_min};

fn of(times_us: impl IntoIterator<Item = u64>) -> Times {
    let mut times = Times::new();
    for us in times_us {
        times.add(Duration::from_micros(us));
    }
    times
}

#[test]
fn percentiles_are_right_within_a_thousandth() {
    let times = of(1..=100_000);
    for (percentile, us) in [
        (50.0, 50_000.0),
        (90.0, 90_000.0),
        (99.0, 99_000.0),
        (99.9, 99_900.0),
        (100.0, 100_000.0),
    ] {
        let told = times.guess_us(percentile);
        assert!((told - us).abs() <= us / 1_000.0, "p{percentile}: {told}");
    }
}

#[test]
fn a_percentile_needs_ten_samples_beyond_it() {
    for (percentile, samples) in [(50.0, 20), (90.0, 100), (99.0, 1_000), (99.9, 10_000), (99.99, 100_000)] {
        assert_eq!(samples_min(percentile), samples);
        assert!(
            of(1..=samples).at_us(percentile).is_some(),
            "p{percentile} of {samples}"
        );
        assert!(
            of(1..samples).at_us(percentile).is_none(),
            "p{percentile} of {}",
            samples - 1
        );
    }
}

#[test]
fn the_report_leaves_out_what_too_few_samples_cannot_tell() {
    let latency = of(1..=999).latency();
    assert_eq!(latency.at(99.0), None);
    assert!(latency.at(95.0).is_some());
    assert_eq!(
        (latency.samples, latency.min_us, latency.max_us.round()),
        (999, 1.0, 999.0)
    );
    assert!(
        latency
            .curve
            .windows(2)
            .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1)
    );
    assert_eq!(latency.curve.last().map(|point| point.0), Some(1.0));
}

#[test]
fn nothing_is_reported_of_nothing() {
    let latency = Times::new().latency();
    assert_eq!(
        (latency.samples, latency.max_us, latency.mean_us, latency.curve.len()),
        (0, 0.0, 0.0, 0)
    );
    assert!(latency.percentiles.iter().all(|percentile| percentile.us.is_none()));
}

#[test]
fn what_is_too_long_counts_as_the_longest() {
    let mut times = Times::new();
    times.add(TIME_MAX * 10);
    assert_eq!(times.samples(), 1);
    assert!((times.max_us() - TIME_MAX.as_secs_f64() * 1e6).abs() <= TIME_MAX.as_secs_f64() * 1e3);
}

#[test]
fn merging_keeps_every_sample() {
    let mut times = of(1..=500);
    times.merge(&of(501..=1_000));
    assert_eq!(times.samples(), 1_000);
    assert_eq!(times.latency(), of(1..=1_000).latency());
    times.clear();
    assert_eq!(times.samples(), 0);
}
