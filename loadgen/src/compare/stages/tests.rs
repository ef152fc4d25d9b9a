use super::StageTimes;
use crate::compare::metrics::Page;

/// A page whose histograms have buckets of 1 ms, 2 ms, 4 ms and more.
fn times(stages: &[(&str, [u64; 4], f64)]) -> StageTimes {
    let mut text = String::from("# TYPE portcullis_stage_duration_seconds histogram\n");
    for (stage, counts, sum) in stages {
        for (bound, count) in ["0.001", "0.002", "0.004", "+Inf"].iter().zip(counts) {
            text += &format!("portcullis_stage_duration_seconds_bucket{{le=\"{bound}\",stage=\"{stage}\"}} {count}\n");
        }
        text += &format!("portcullis_stage_duration_seconds_sum{{stage=\"{stage}\"}} {sum}\n");
        text += &format!(
            "portcullis_stage_duration_seconds_count{{stage=\"{stage}\"}} {}\n",
            counts[3]
        );
    }
    StageTimes::of(&Page::parse(&text))
}

#[test]
fn the_difference_of_two_pages_is_told_in_the_order_of_the_way() {
    let before = times(&[("review", [5, 5, 5, 5], 0.005), ("identity", [10, 10, 10, 10], 0.01)]);
    let after = times(&[
        ("review", [5, 5, 105, 105], 0.305),
        ("identity", [10, 110, 110, 110], 0.16),
        ("audit", [1, 1, 1, 1], 0.001),
        ("scope", [0, 0, 0, 0], 0.0),
    ]);
    let rows = after.since(&before).unwrap().rows();
    let names: Vec<&str> = rows.iter().map(|row| row.stage.as_str()).collect();
    assert_eq!(
        names,
        ["identity", "review", "audit"],
        "an unknown stage comes last, an unreached one not at all"
    );
    assert_eq!(rows[0].count, 100);
    assert_eq!(
        (rows[0].mean_us, rows[0].p50_us, rows[0].p99_us),
        (1_500.0, 1_500.0, 1_990.0)
    );
    assert_eq!(
        (rows[1].mean_us, rows[1].p50_us, rows[1].p99_us),
        (3_000.0, 3_000.0, 3_980.0)
    );
}

#[test]
fn rounds_add_up() {
    let mut sum = StageTimes::default();
    assert!(sum.is_empty());
    sum.merge(&times(&[("parse", [10, 10, 10, 10], 0.005)]));
    sum.merge(&times(&[("parse", [10, 30, 30, 30], 0.035)]));
    let rows = sum.rows();
    assert_eq!((rows[0].count, rows[0].mean_us), (40, 1_000.0));
    assert_eq!(rows[0].p50_us, 1_000.0, "half of the 40 lie in the first bucket");
}

#[test]
fn the_open_last_bucket_tells_its_lower_bound_alone() {
    let rows = times(&[("forward", [0, 0, 1, 100], 100.0)]).rows();
    assert_eq!((rows[0].p50_us, rows[0].p99_us), (4_000.0, 4_000.0));
}

#[test]
fn counts_that_went_backwards_are_no_difference() {
    let (fewer, more) = (
        times(&[("parse", [1, 1, 1, 1], 0.001)]),
        times(&[("parse", [2, 2, 2, 2], 0.002)]),
    );
    assert!(fewer.since(&more).is_none());
    assert!(more.since(&fewer).is_some());
}

#[test]
fn a_page_without_them_has_none() {
    let page = Page::parse("process_cpu_seconds_total 1\nportcullis_stage_duration_seconds_bucket{le=\"1\"} 7\n");
    assert!(StageTimes::of(&page).is_empty());
    assert_eq!(StageTimes::default().rows(), []);
}
