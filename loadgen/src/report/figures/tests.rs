//! Figures at the borders of their units.

use super::{bytes, count, millis, percentile, rate, ratio, seconds, share, spread, time};

#[test]
fn times_take_the_unit_that_suits_them() {
    let cases = [
        (0.0, "0 ns"),
        (0.812, "812 ns"),
        (0.999_4, "999 ns"),
        (1.0, "1.00 µs"),
        (35.24, "35.2 µs"),
        (999.4, "999 µs"),
        (1_000.0, "1.00 ms"),
        (99_950.0, "100 ms"),
        (999_600.0, "1.00 s"),
        (1_002_000_000.0, "1,002 s"),
        (-12.0, "-12.0 µs"),
    ];
    for (us, expected) in cases {
        assert_eq!(time(us), expected, "{us}");
    }
}

#[test]
fn shares_that_are_not_zero_never_read_as_zero() {
    let cases = [
        (0.0, "0 %"),
        (0.000_01, "<0.01 %"),
        (0.000_5, "0.05 %"),
        (0.05, "5 %"),
        (0.125, "12.5 %"),
        (1.0, "100 %"),
    ];
    for (number, expected) in cases {
        assert_eq!(share(number), expected, "{number}");
    }
}

#[test]
fn numbers_are_grouped() {
    assert_eq!(count(0), "0");
    assert_eq!(count(999), "999");
    assert_eq!(count(1_000), "1,000");
    assert_eq!(count(1_234_567), "1,234,567");
    assert_eq!(rate(12.34), "12.3");
    assert_eq!(rate(12_345.6), "12,346");
    assert_eq!(millis(1_234_567.0), "1,234.567");
    assert_eq!(ratio(4.056), "4.06x");
    assert_eq!(bytes(10 * 1_048_576), "10.0 MiB");
    assert_eq!(seconds(60.0), "60 s");
    assert_eq!(seconds(0.5), "0.5 s");
    assert_eq!(percentile(99.9), "p99.9");
}

#[test]
fn a_spread_needs_two_rounds() {
    assert_eq!(spread(&[]), None);
    assert_eq!(spread(&[10.0]), None);
    assert_eq!(spread(&[9.0, 11.0, 10.0]), Some(0.1));
}
