//! Bounds that may be zero, and those that may not.

use std::time::Duration;

use super::*;

#[test]
fn the_grace_after_expiry_may_be_none_and_not_long() {
    let with = |grace: &str| load_with("  body_deadline: 5s", &format!("  expiry_grace: {grace}"));
    for (written, grace) in [("0s", 0), ("30s", 30), ("1h", 3_600)] {
        let limits = with(written).unwrap().limits;
        assert_eq!(limits.expiry_grace, Duration::from_secs(grace), "{written}");
    }
    assert_eq!(
        load_text(RIGHT).unwrap().limits.expiry_grace,
        Duration::from_secs(60),
        "the default"
    );
    for written in ["61m", "1d", "-1s", "60", "soon"] {
        let told = with(written).map(|_| ()).unwrap_err();
        assert!(
            told.contains("expiry_grace") && told.contains("expected"),
            "{written}: {told}"
        );
    }
}
