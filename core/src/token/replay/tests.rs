//! What the memory keeps, for how long, and what fills it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{ProofId, ReplayError, ReplayLimits, SeenProofs};
use crate::time::UnixTime;

const LIMITS: ReplayLimits = ReplayLimits {
    age_max: Duration::from_secs(300),
    proofs_max: 6,
    proofs_per_key_max: 3,
};

/// A proof of key number `key`, issued at `issued_at` and shown at `now`.
fn show_within(
    seen: &SeenProofs,
    limits: &ReplayLimits,
    key: u8,
    jti: &str,
    issued_at: u64,
    now: u64,
) -> Result<(), ReplayError> {
    let proof = ProofId {
        key: &[key; 32],
        jti,
        issued_at,
    };
    seen.take(proof, limits, UnixTime::from_secs(now))
}

fn show(seen: &SeenProofs, key: u8, jti: &str, issued_at: u64, now: u64) -> Result<(), ReplayError> {
    show_within(seen, &LIMITS, key, jti, issued_at, now)
}

fn count(seen: &SeenProofs) -> usize {
    let kept: usize = seen.keys.iter().map(|known| known.order.len()).sum();
    let ids: usize = seen.keys.iter().map(|known| known.seen.len()).sum();
    let counted = seen.count.load(Ordering::Relaxed);
    assert_eq!((kept, ids), (counted, counted));
    counted
}

#[test]
fn a_proof_serves_once_until_it_is_too_old() {
    let seen = SeenProofs::default();
    assert_eq!(show(&seen, 1, "a", 1_000, 1_000), Ok(()));
    for now in [1_000, 1_001, 1_299, 1_300] {
        assert_eq!(show(&seen, 1, "a", 1_000, now), Err(ReplayError::Seen), "{now}");
    }
    // Neighbours: another proof of the key, the same name under another key.
    assert_eq!(show(&seen, 1, "b", 1_000, 1_000), Ok(()));
    assert_eq!(show(&seen, 1, "", 1_000, 1_000), Ok(()));
    assert_eq!(show(&seen, 2, "a", 1_000, 1_000), Ok(()));
    assert_eq!(count(&seen), 4);
    // Forgotten, yet not accepted again, even when the clock has gone back or the limit has risen.
    assert_eq!(show(&seen, 1, "c", 1_301, 1_301), Ok(()));
    assert_eq!(count(&seen), 2);
    assert_eq!(show(&seen, 1, "a", 1_000, 1_301), Err(ReplayError::Seen));
    assert_eq!(show(&seen, 1, "a", 1_000, 1_001), Err(ReplayError::Seen));
    let longer = ReplayLimits {
        age_max: Duration::from_secs(3_600),
        ..LIMITS
    };
    assert_eq!(
        show_within(&seen, &longer, 1, "a", 1_000, 1_301),
        Err(ReplayError::Seen)
    );
    assert_eq!(show_within(&seen, &longer, 1, "d", 1_001, 1_301), Ok(()));
}

#[test]
fn a_proof_from_the_future_is_remembered_as_long_as_it_passes() {
    let seen = SeenProofs::default();
    assert_eq!(show(&seen, 1, "late", 1_060, 1_000), Ok(()));
    assert_eq!(show(&seen, 1, "early", 800, 1_000), Ok(()));
    assert_eq!(show(&seen, 1, "early", 800, 1_100), Err(ReplayError::Seen));
    assert_eq!(show(&seen, 1, "late", 1_060, 1_360), Err(ReplayError::Seen));
    assert_eq!(count(&seen), 2);
    assert_eq!(show(&seen, 1, "next", 1_361, 1_361), Ok(()));
    assert_eq!(count(&seen), 1);
}

#[test]
fn a_flood_of_one_key_takes_no_room_from_the_others() {
    let seen = SeenProofs::default();
    for number in 0..100 {
        let shown = show(&seen, 1, &number.to_string(), 1_000, 1_010);
        assert_eq!(
            shown,
            if number < 3 {
                Ok(())
            } else {
                Err(ReplayError::KeyFull(291))
            }
        );
    }
    assert_eq!(count(&seen), 3);
    // A refused proof was not remembered; one that was stays refused.
    assert_eq!(show(&seen, 1, "0", 1_000, 1_010), Err(ReplayError::Seen));
    for (key, jti) in [(2, "a"), (2, "b"), (3, "a")] {
        assert_eq!(show(&seen, key, jti, 1_000, 1_010), Ok(()));
    }
    assert_eq!(show(&seen, 1, "50", 1_301, 1_301), Ok(()));
}

#[test]
fn a_full_memory_refuses_and_finds_room_again() {
    let seen = SeenProofs::default();
    for key in 1..=6 {
        assert_eq!(show(&seen, key, "a", 1_000, 1_000), Ok(()));
    }
    for now in [1_000, 1_001, 1_300] {
        assert_eq!(show(&seen, 7, "a", now, now), Err(ReplayError::Full), "{now}");
        assert_eq!(show(&seen, 1, "b", now, now), Err(ReplayError::Full), "{now}");
        assert_eq!(count(&seen), 6);
    }
    assert_eq!(show(&seen, 7, "a", 1_301, 1_301), Ok(()));
    assert_eq!((count(&seen), seen.keys.len()), (1, 1));
}

#[test]
fn of_many_workers_with_one_proof_one_passes() {
    let (seen, passed) = (SeenProofs::default(), AtomicUsize::new(0));
    let limits = ReplayLimits {
        proofs_max: 50,
        proofs_per_key_max: 50,
        ..LIMITS
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..100 {
                    if show_within(&seen, &limits, 1, &number.to_string(), 1_000, 1_000) == Ok(()) {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(count(&seen), passed.load(Ordering::Relaxed));
    // Places that a refused proof held for a moment may have turned others away, but never let one in too many.
    assert!((40..=50).contains(&count(&seen)), "{}", count(&seen));
}
