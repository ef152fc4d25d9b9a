use std::collections::HashSet;

use super::*;

#[test]
fn ids_are_version_7_sorted_by_time_and_distinct() {
    let ids = RecordIds::new([7; 16]);
    let mut seen = HashSet::new();
    let mut last = None;
    for second in 0..10_000 {
        let id = ids.next(UnixTime::from_secs(second));
        assert!(seen.insert(id));
        assert!(last < Some(id));
        last = Some(id);
        assert_eq!(RecordId::parse(&id.to_string()), Some(id));
    }
}

#[test]
fn many_ids_of_one_instant_are_distinct() {
    let ids = RecordIds::new([0xff; 16]);
    let now = UnixTime::from_secs(1_795_399_848);
    let seen: HashSet<_> = (0..100_000).map(|_| ids.next(now)).collect();
    assert_eq!(seen.len(), 100_000);
}

#[test]
fn only_hyphenated_version_7_is_read() {
    let id = RecordIds::new([1; 16]).next(UnixTime::from_secs(1)).to_string();
    assert!(RecordId::parse(&id).is_some());
    for refused in [
        "",
        "00000000-0000-4000-8000-000000000000",
        "01935f0e00007000800000000000000a",
        &format!("{{{id}}}"),
        id.trim_start_matches(char::is_alphanumeric),
    ] {
        assert_eq!(RecordId::parse(refused), None, "{refused}");
    }
}
