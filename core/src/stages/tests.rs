use super::*;

/// The bucket's number and its bounds: above the first, up to the second.
fn bounds_of(ns: u64) -> (usize, u64, Option<u64>) {
    let bucket = bucket_of(ns);
    let lower = bucket.checked_sub(1).and_then(upper_bound_ns).unwrap_or(0);
    (bucket, lower, upper_bound_ns(bucket))
}

#[test]
fn bounds_ascend_without_a_gap_from_a_quarter_microsecond_to_a_minute() {
    assert_eq!(upper_bound_ns(0), Some(256));
    assert_eq!(upper_bound_ns(BUCKETS - 2), Some(1 << LAST_BITS));
    assert_eq!(upper_bound_ns(BUCKETS - 1), None);
    assert_eq!(upper_bound_ns(BUCKETS), None);
    assert_eq!(upper_bound_ns(usize::MAX), None);
    let bounds: Vec<u64> = (0..BUCKETS).map_while(upper_bound_ns).collect();
    assert_eq!(bounds.len(), BUCKETS - 1);
    for pair in bounds.windows(2) {
        let (lower, upper) = (pair[0], pair[1]);
        assert!(lower < upper && upper <= lower + lower.div_ceil(4), "{lower} {upper}");
    }
    assert!(bounds.contains(&1_024), "a microsecond ends near a bound");
    assert!((60_000_000_000..70_000_000_000).contains(bounds.last().unwrap()));
}

#[test]
fn a_time_lands_in_the_bucket_whose_bounds_hold_it() {
    for (ns, bucket) in [
        (0, 0),
        (1, 0),
        (255, 0),
        (256, 0),
        (257, 1),
        (320, 1),
        (321, 2),
        (512, 4),
    ] {
        assert_eq!(bucket_of(ns), bucket, "{ns}");
    }
    for bound in (0..BUCKETS).map_while(upper_bound_ns) {
        let (at, _, upper) = bounds_of(bound);
        assert_eq!(upper, Some(bound), "a bound belongs to the bucket below it");
        assert_eq!(bucket_of(bound + 1), at + 1, "its neighbour does not: {bound}");
    }
    let mut ns = 1_u64;
    while ns < 1 << 40 {
        for ns in [ns - 1, ns, ns + 1, ns * 3 / 2] {
            let (bucket, lower, upper) = bounds_of(ns);
            assert!(lower < ns || bucket == 0, "{ns}");
            assert!(upper.is_none_or(|upper| ns <= upper), "{ns}");
        }
        ns = ns * 9 / 8 + 1;
    }
    for ns in [(1 << LAST_BITS) + 1, u64::MAX - 1, u64::MAX] {
        assert_eq!(bucket_of(ns), BUCKETS - 1, "{ns}");
    }
}

#[test]
fn names_are_lower_case_and_each_has_its_own_place() {
    let names = Stage::ALL.map(Stage::as_str);
    assert_eq!(
        names,
        [
            "connection",
            "identity",
            "parse",
            "scope",
            "policy",
            "record",
            "forward",
            "review"
        ]
    );
    for (place, stage) in Stage::ALL.into_iter().enumerate() {
        assert_eq!(stage.index(), place);
    }
}

#[test]
fn what_is_counted_of_one_stage_is_not_counted_of_its_neighbours() {
    let times = StageTimes::default();
    for ns in [0, 256, 257, 1_000, 90_000_000_000] {
        times.record(Stage::Scope, ns);
    }
    let scope = times.snapshot(Stage::Scope);
    assert_eq!((scope.count(), scope.sum_ns()), (5, 90_000_001_513));
    let counted: Vec<_> = scope.buckets().filter(|(_, count)| *count != 0).collect();
    assert_eq!(counted, [(Some(256), 2), (Some(320), 1), (Some(1_024), 1), (None, 1)]);
    assert_eq!(scope.buckets().count(), BUCKETS);
    for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::Scope) {
        let other = times.snapshot(stage);
        assert_eq!((other.count(), other.sum_ns()), (0, 0), "{stage:?}");
    }
}

#[test]
fn threads_lose_nothing_and_keep_to_shards_of_their_own() {
    const THREADS: u64 = 2;
    const EACH: u64 = 20_000;
    let times = StageTimes::default();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let times = &times;
            scope.spawn(move || {
                for ns in 0..EACH {
                    times.record(Stage::Policy, ns * 10 + thread);
                }
            });
        }
    });
    let policy = times.snapshot(Stage::Policy);
    let sum = (0..EACH).map(|ns| ns * 10).sum::<u64>() * THREADS + EACH;
    assert_eq!((policy.count(), policy.sum_ns()), (THREADS * EACH, sum));
    let used = times.shards.iter().filter(|shard| {
        let counts = &shard.stages[Stage::Policy.index()];
        counts.sum_ns.load(Ordering::Relaxed) != 0
    });
    assert_eq!(used.count() as u64, THREADS);
    assert_eq!(align_of::<Shard>() % 128, 0);
    // More threads than shards, in the same test so that these cannot come between the two above.
    for _ in 0..=SHARDS {
        let record = || times.record(Stage::Parse, 1);
        std::thread::scope(|scope| scope.spawn(record).join().unwrap());
    }
    assert_eq!(times.snapshot(Stage::Parse).count(), SHARDS as u64 + 1);
}

#[test]
fn laps_give_each_stage_its_time_and_nothing_to_those_not_reached() {
    let mut laps = Laps::start(100);
    assert_eq!((laps.total_ns(), laps.of(Stage::Identity)), (0, None));
    laps.end(Stage::Identity, 1_350);
    laps.skip(10_000);
    laps.end(Stage::Review, 10_000);
    laps.skip(20_000);
    laps.end(Stage::Review, 22_000);
    // A clock that goes backwards gives no time rather than a huge one.
    laps.end(Stage::Forward, 21_000);
    assert_eq!(laps.of(Stage::Identity), Some(1_250));
    assert_eq!((laps.us(&[Stage::Identity]), laps.us(&[Stage::Parse])), (1, 0));
    assert_eq!(laps.us(&[Stage::Identity, Stage::Parse, Stage::Review]), 3);
    assert_eq!(laps.of(Stage::Review), Some(2_000));
    assert_eq!(laps.of(Stage::Forward), Some(0));
    assert_eq!(laps.of(Stage::Parse), None);
    assert_eq!(laps.total_ns(), 3_250);
    let times = StageTimes::default();
    times.record_all(&laps);
    let counts = Stage::ALL.map(|stage| times.snapshot(stage).count());
    assert_eq!(counts, [0, 1, 0, 0, 0, 0, 1, 1]);
}
