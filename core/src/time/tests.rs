use super::*;

#[track_caller]
fn check_rfc3339(nanos: u64, want: &str) {
    let mut out = Vec::new();
    UnixTime::from_nanos(nanos).write_rfc3339(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), want);
}

#[test]
fn rfc3339_of_known_instants() {
    check_rfc3339(0, "1970-01-01T00:00:00.000000Z");
    check_rfc3339(951_782_399_999_999_000, "2000-02-28T23:59:59.999999Z");
    check_rfc3339(951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z");
    check_rfc3339(1_740_787_200_000_000_000, "2025-03-01T00:00:00.000000Z");
    check_rfc3339(1_795_399_848_123_456_789, "2026-11-23T02:10:48.123456Z");
    check_rfc3339(4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z");
}

#[test]
fn time_saturates_instead_of_wrapping() {
    assert_eq!(UnixTime::from_secs(u64::MAX).nanos(), u64::MAX);
    let late = UnixTime::from_nanos(u64::MAX).after(Duration::from_secs(1));
    assert_eq!(late.nanos(), u64::MAX);
    let early = UnixTime::from_secs(1);
    assert_eq!(early.since(UnixTime::from_secs(2)), Duration::ZERO);
    assert_eq!(UnixTime::from_secs(2).since(early), Duration::from_secs(1));
}
