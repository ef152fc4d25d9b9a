//! The memory of decisions.

use super::{check, load_with};

const PLACE: &str = "      files: [policy.rego]";

fn with(memo: &str) -> String {
    format!("{PLACE}\n      memo: {memo}")
}

#[test]
fn a_memo_has_a_bound_and_may_be_off() {
    let entries = |memo: &str| {
        let config = load_with(PLACE, &with(memo)).unwrap();
        config.servers[0].build().unwrap().policy().memo_entries()
    };
    assert_eq!(entries("{entries: 0}"), 0);
    assert_eq!(entries("{entries: 1}"), 1);
    assert_eq!(entries("{entries: 1000000}"), 1_000_000);
    let default = load_with("listen", "listen").unwrap();
    assert_eq!(default.servers[0].build().unwrap().policy().memo_entries(), 4_096);
    check(
        PLACE,
        &with("{entries: 1000001}"),
        r#"
error[E0105 invalid_value]: `memo.entries` is at most 1000000
  --> gate.yaml:21:23
    |
 21 |       memo: {entries: 1000001}
    |                       ^
"#,
    );
    for memo in ["{entries: -1}", "{entries: many}", "{}", "{size: 1}", "true", "4096"] {
        assert!(load_with(PLACE, &with(memo)).is_err(), "{memo}");
    }
}
