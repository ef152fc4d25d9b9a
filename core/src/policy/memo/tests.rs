use std::time::Duration;

use super::*;
use crate::policy::Effect;

const LIMITS: EvalLimits = EvalLimits {
    deadline: Duration::from_millis(5),
    instructions: 100,
};

fn decision(rule: &str) -> Remembered {
    Remembered::Decision(Arc::new(Decision {
        effect: Effect::Deny,
        rule: rule.into(),
        reason: Box::default(),
        obligations: crate::policy::Obligations::default(),
    }))
}

fn memo(entries_max: usize) -> Memo {
    let mut memo = Memo::new(0);
    memo.suit(entries_max, &LIMITS);
    memo
}

/// Two keys of eight bytes with one checksum.
fn collision() -> [[u8; 8]; 2] {
    let mut seen = std::collections::HashMap::new();
    (0_u64..)
        .map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .find_map(|key| seen.insert(crc32fast::hash(&key), key).map(|other| [other, key]))
        .unwrap()
}

#[test]
fn tells_keys_of_one_checksum_apart() {
    let [one, other] = collision();
    assert_ne!(one, other);
    assert_eq!(crc32fast::hash(&one), crc32fast::hash(&other));
    let mut memo = memo(64);
    memo.remember(&one, decision("one"));
    assert_eq!(memo.recall(&other), None);
    memo.remember(&other, decision("other"));
    assert_eq!(memo.recall(&one), Some(decision("one")));
    assert_eq!(memo.recall(&other), Some(decision("other")));
}

#[test]
fn keeps_no_more_than_it_may_and_spares_what_is_asked_for() {
    for entries_max in [1, 3, 4, 5, 64] {
        let mut memo = memo(entries_max);
        memo.remember(b"often", decision("often"));
        for number in 0_u64..10_000 {
            assert_eq!(memo.recall(b"often"), Some(decision("often")), "{entries_max} {number}");
            // With one place there is no sparing.
            if 1 < entries_max {
                memo.remember(&number.to_le_bytes(), Remembered::Visible(true));
            }
            assert!(memo.places.iter().flatten().count() <= entries_max);
        }
        assert_eq!(memo.places.len(), entries_max);
    }
}

#[test]
fn holds_nothing_when_it_is_off_or_the_answer_is_large() {
    let mut off = memo(0);
    off.remember(b"key", decision("a"));
    assert_eq!(off.recall(b"key"), None);
    assert!(off.places.is_empty());
    let mut on = memo(8);
    on.remember(b"large", decision(&"r".repeat(ANSWER_BYTES_MAX + 1)));
    assert_eq!(on.recall(b"large"), None);
    on.remember(b"key", decision(&"r".repeat(ANSWER_BYTES_MAX)));
    assert!(on.recall(b"key").is_some());
}

#[test]
fn is_empty_under_other_bounds() {
    let slower = EvalLimits {
        deadline: Duration::from_millis(6),
        ..LIMITS
    };
    let fewer = EvalLimits {
        instructions: 99,
        ..LIMITS
    };
    for (entries_max, limits, kept) in [
        (8, LIMITS, true),
        (8, slower, false),
        (8, fewer, false),
        (9, LIMITS, false),
    ] {
        let mut memo = memo(8);
        memo.remember(b"key", decision("a"));
        memo.suit(entries_max, &limits);
        assert_eq!(memo.recall(b"key").is_some(), kept, "{entries_max} {limits:?}");
    }
}
