use std::time::Duration;

use super::{duration, length, share, stage};
use crate::schedule::Stretch;

#[test]
fn durations() {
    for (text, ms) in [
        ("250ms", 250),
        ("10s", 10_000),
        ("1.5s", 1_500),
        ("2m", 120_000),
        ("2min", 120_000),
        ("1h", 3_600_000),
        ("0s", 0),
    ] {
        assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
    }
    for text in ["", "10", "s", "ten s", "-1s", "1 day", "25h", "1us", "1e400s", "infs"] {
        assert!(duration(text).is_err(), "{text}");
    }
    assert!(length("0ms").is_err());
}

#[test]
fn shares() {
    for (text, expected) in [("5%", 0.05), ("0.05", 0.05), ("0", 0.0), ("100%", 1.0), ("1", 1.0)] {
        assert_eq!(share(text), Ok(expected), "{text}");
    }
    for text in ["", "101%", "1.01", "-1%", "five", "NaN"] {
        assert!(share(text).is_err(), "{text}");
    }
}

#[test]
fn stages() {
    let of = |from, to, seconds| Stretch {
        from,
        to,
        length: Duration::from_secs(seconds),
    };
    assert_eq!(stage("2000:60s"), Ok(of(2_000.0, 2_000.0, 60)));
    assert_eq!(stage("100..2000:30s"), Ok(of(100.0, 2_000.0, 30)));
    for text in ["", "2000", "2000:", ":5s", "..5:5s", "5..:5s", "5:0s", "5:5"] {
        assert!(stage(text).is_err(), "{text}");
    }
}
