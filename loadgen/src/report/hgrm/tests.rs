//! What other tools read.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::{IntervalLog, distribution};
use crate::latency::Times;
use crate::report::{Outcomes, samples};
use crate::view::{Phase, Second, Watch};

fn second(phase: Phase, number: u64, times: &Times) -> Second<'_> {
    Second {
        phase,
        since_start: Duration::from_secs(number),
        planned: Duration::from_secs(10),
        rate_due: None,
        times,
        outcomes: Outcomes::default(),
        under_way: 0,
    }
}

#[test]
fn the_distribution_has_the_columns_of_the_plotter() {
    let text = distribution(&samples::times(10_000, 180.0));
    let mut lines = text.lines();
    let header = "         Value     Percentile TotalCount 1/(1-Percentile)";
    assert_eq!((lines.next(), lines.next()), (Some(header), Some("")));
    // The plotter takes lines of four columns that do not begin with `#`.
    let rows: Vec<Vec<f64>> = { text.lines().skip(2).filter(|line| !line.starts_with('#')) }
        .map(|line| {
            line.split_whitespace()
                .map(|cell| cell.parse().expect("a number"))
                .collect()
        })
        .collect();
    let (last, rows) = rows.split_last().expect("rows");
    assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 10_000.0));
    for pair in rows.windows(2) {
        assert_eq!(pair[0].len(), 4);
        assert!(
            pair[0].iter().zip(&pair[1]).all(|(left, right)| left <= right),
            "{pair:?}"
        );
    }
    for row in rows {
        assert!((row[3] * (1.0 - row[1]) - 1.0).abs() < 0.01, "{row:?}");
        // The count is what lies at or below the time.
        assert!(row[1] * 10_000.0 - 1.0 <= row[2], "{row:?}");
    }
    let half = rows.iter().find(|row| row[1] == 0.5).expect("the median");
    assert!((half[0] - 0.18).abs() < 0.0005, "{half:?}");
    let footer: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(footer.len(), 3);
    assert!(footer[0].starts_with("#[Mean    =") && footer[1].starts_with("#[Max     ="));
    assert!(footer[1].ends_with("Total count    =          10000]"));
    assert!(footer[2].ends_with("SubBuckets     =           2048]"), "{}", footer[2]);
}

#[test]
fn a_distribution_of_nothing_has_no_rows() {
    let text = distribution(&Times::new());
    let rows = text.lines().skip(2).filter(|line| !line.starts_with('#'));
    assert!(rows.clone().all(|line| line.split_whitespace().count() == 3), "{text}");
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
}

#[test]
fn the_log_holds_the_measured_seconds() {
    let (few, many) = (samples::times(100, 150.0), samples::times(5_000, 900.0));
    let started = UNIX_EPOCH + Duration::from_millis(1_764_000_000_250);
    let mut bytes = Vec::new();
    let mut log = IntervalLog::new(&mut bytes, started, "gate\n1.0,2.0,3.0,x").expect("a head");
    log.second(&second(Phase::WarmUp, 0, &many));
    log.second(&second(Phase::Measured, 1, &few));
    log.second(&second(Phase::Measured, 2, &many));
    log.second(&second(Phase::Draining, 3, &Times::new()));
    log.end().expect("a log");
    let mut read = Vec::new();
    for entry in IntervalLogIterator::new(&bytes) {
        match entry.expect("an entry") {
            LogEntry::StartTime(time) | LogEntry::BaseTime(time) => {
                assert_eq!(time, Duration::from_millis(1_764_000_000_250));
            }
            LogEntry::Interval(interval) => {
                let encoded = base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram());
                let histogram: Histogram<u64> = Deserializer::new()
                    .deserialize(&mut encoded.expect("base64").as_slice())
                    .expect("a histogram");
                assert_eq!(interval.duration(), Duration::from_secs(1));
                assert_eq!(interval.max(), histogram.max() as f64);
                read.push((interval.start_timestamp().as_secs(), histogram));
            }
        }
    }
    let expected = [(1, few), (2, many), (3, Times::new())];
    assert_eq!(read.len(), expected.len());
    for ((at, histogram), (expected_at, times)) in read.iter().zip(&expected) {
        assert_eq!(at, expected_at);
        assert_eq!(histogram, times.histogram());
        assert_eq!(
            (histogram.len(), histogram.max()),
            (times.samples(), times.histogram().max())
        );
    }
}

#[test]
fn a_full_disk_is_told_at_the_end_and_disturbs_no_load() {
    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert!(IntervalLog::new(Full(10), SystemTime::now(), "gate").is_err());
    let mut log = IntervalLog::new(Full(400), SystemTime::now(), "gate").expect("a head");
    let times = samples::times(5_000, 900.0);
    log.second(&second(Phase::Measured, 1, &times));
    log.second(&second(Phase::Measured, 2, &times));
    assert_eq!(log.end().expect_err("no space").kind(), io::ErrorKind::StorageFull);
}
