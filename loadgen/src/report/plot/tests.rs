//! Scales that a reader can read.

use super::scale::{Scale, round_steps, short};
use super::{Frame, Measure, Series, label, nines, percentiles};

#[test]
fn ticks_are_round() {
    let cases: [(f64, u32, &[f64]); 5] = [
        (60.0, 8, &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]),
        (59.0, 8, &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]),
        (3.0, 8, &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]),
        (2_100.0, 7, &[0.0, 500.0, 1_000.0, 1_500.0, 2_000.0]),
        (1.0, 8, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ];
    for (most, ticks, expected) in cases {
        assert_eq!(round_steps(most, ticks), expected, "{most}");
    }
}

#[test]
fn a_wide_range_of_times_gets_a_logarithmic_scale() {
    let narrow = Scale::fitting(Some((100.0, 1_900.0)), true);
    assert_eq!(narrow, Scale::Linear(2_000.0));
    assert_eq!(
        (narrow.place(0.0), narrow.place(1_000.0), narrow.place(9_999.0)),
        (0.0, 0.5, 1.0)
    );
    let wide = Scale::fitting(Some((130.0, 9_000.0)), true);
    assert_eq!(wide, Scale::Logarithmic(100.0, 10_000.0));
    assert!((wide.place(1_000.0) - 0.5).abs() < 1e-9);
    let values: Vec<f64> = wide.ticks().into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0]);
    // Counts begin at zero whatever their range.
    assert_eq!(Scale::fitting(Some((1.0, 1_900.0)), false), Scale::Linear(2_000.0));
    // Nothing, zeros and the longest times still have ticks.
    for range in [None, Some((0.0, 0.0)), Some((0.0, 6e8)), Some((5.0, 5.0))] {
        let ticks = Scale::fitting(range, true).ticks();
        assert!((2..=14).contains(&ticks.len()), "{range:?}: {ticks:?}");
        assert!(ticks.iter().all(|(share, _)| (0.0..=1.0).contains(share)), "{range:?}");
    }
}

#[test]
fn each_nine_is_as_wide_as_the_last() {
    for (share, place) in [(0.0, 0.0), (0.9, 1.0), (0.99, 2.0), (0.999, 3.0)] {
        assert!((nines(share, 1_000_000) - place).abs() < 1e-9);
    }
    // The longest of a thousand stands where a thousandth would lie beyond.
    assert!((nines(1.0, 1_000) - 3.0).abs() < 1e-9);
    assert!(nines(1.0, 0) == 0.0);
}

#[test]
fn labels_carry_their_unit() {
    let cases = [
        (Measure::Time, 0.0, "0"),
        (Measure::Time, 0.2, "200 ns"),
        (Measure::Time, 50.0, "50 µs"),
        (Measure::Time, 2_000.0, "2 ms"),
        (Measure::Time, 5_000_000.0, "5 s"),
        (Measure::Count, 500.0, "500"),
        (Measure::Count, 20_000.0, "20k"),
    ];
    for (measure, value, text) in cases {
        assert_eq!(label(measure, value), text);
    }
    assert_eq!(
        (short(0.5), short(2_500_000.0)),
        (String::from("0.5"), String::from("2.5M"))
    );
}

#[test]
fn a_plot_names_its_lines_and_its_percentiles() {
    let line = Series {
        name: String::from("a<b"),
        points: vec![(0.0, 100.0), (2.0, 150.0)],
        marks: vec![(2.0, 150.0, String::from("p99: 150 µs"))],
    };
    let frame = Frame {
        title: "Time",
        caption: "by percentile.",
        across: "percentile",
        measure: Measure::Time,
    };
    let plot = percentiles(frame, &[line], 1.0);
    for part in [
        "a&lt;b",
        "<path class=\"line s0\" d=\"M0.0 200.0L1000.0 100.0\"/>",
        "<rect class=\"doubt\" x=\"500.0\"",
        "<span class=\"x\" style=\"left:50.00%\">90</span>",
        "<span class=\"x\" style=\"left:100.00%\">99</span>",
        "title=\"p99: 150 µs\"",
    ] {
        assert!(plot.contains(part), "`{part}` is missing in {plot}");
    }
    assert!(!plot.contains("99.9<"));
    assert!(!plot.contains("logarithmic"));
}
