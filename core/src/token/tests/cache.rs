//! Verified tokens that are remembered, and what has them forgotten.

use super::*;

#[test]
fn the_cache_forgets_what_may_have_changed() {
    let mut world = World::new();
    let token = good().sign(keys::ed25519());
    let first = world.judge_at(&token, NOW).unwrap();
    let again = world.judge_at(&token, NOW).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the second time the cache answers");

    // The same keys fetched later confirm the token; it is not verified anew.
    world.accepted[0].keys = Some(key_set(&[keys::ed25519()], NOW + 50));
    assert!(Arc::ptr_eq(&first, &world.judge_at(&token, NOW + 50).unwrap()));
    assert_eq!(first.evidence_at(), UnixTime::from_secs(NOW + 50));

    // A removed key takes its tokens along at once.
    let rotated = Key::new_ed25519("ed-2");
    world.accepted[0].keys = Some(key_set(&[&rotated], NOW));
    assert_eq!(world.judge_at(&token, NOW).err(), Some(DenyReason::TokenKeyUnknown));

    // So do keys that are too old, and keys that are gone.
    world.accepted[0].keys = Some(key_set(&[keys::ed25519()], NOW));
    assert!(world.judge_at(&token, NOW + 300).is_ok());
    world.accepted[0].keys = Some(key_set(&[keys::ed25519()], NOW - 3_601));
    assert_eq!(world.judge_at(&token, NOW).err(), Some(DenyReason::KeysUnavailable));
    world.accepted[0].keys = None;
    assert_eq!(world.judge_at(&token, NOW).err(), Some(DenyReason::KeysUnavailable));

    // Equal rules keep it, other rules do not.
    world.accepted[0].keys = Some(key_set(&[keys::ed25519()], NOW));
    let kept = world.judge_at(&token, NOW).unwrap();
    world.accepted[0].issuer = Arc::new(Issuer::new(parts(ISSUER)).unwrap());
    assert!(Arc::ptr_eq(&kept, &world.judge_at(&token, NOW).unwrap()));
    let mut other = parts(ISSUER);
    other.algorithms = vec![Algorithm::Rs256];
    world.accepted[0].issuer = Arc::new(Issuer::new(other).unwrap());
    assert_eq!(world.judge_at(&token, NOW).err(), Some(DenyReason::TokenAlgorithm));
    world.accepted[0].issuer = Arc::new(Issuer::new(parts("https://other.example")).unwrap());
    assert_eq!(world.judge_at(&token, NOW).err(), Some(DenyReason::TokenIssuer));
}

#[test]
fn the_cache_checks_time_and_audience_on_every_hit() {
    let mut world = World::new();
    let token = good().sign(keys::ed25519());
    assert!(world.judge_at(&token, NOW).is_ok());
    assert_eq!(world.judge_at(&token, NOW + 360).err(), Some(DenyReason::TokenExpired));
    assert_eq!(
        world.judge_at(&token, NOW - 61).err(),
        Some(DenyReason::TokenNotYetValid)
    );
    world.accepted[0].audiences = Arc::from([Arc::from("second")]);
    assert_eq!(world.judge_at(&token, NOW).err(), Some(DenyReason::TokenAudience));
}

#[test]
fn the_cache_is_bounded_and_drops_the_oldest() {
    let world = World {
        cache: TokenCache::new(3),
        ..World::new()
    };
    let tokens: Vec<String> = (0..5).map(|_| good().sign(keys::ed25519())).collect();
    let first: Vec<Arc<VerifiedToken>> = tokens.iter().map(|token| world.judge_at(token, NOW).unwrap()).collect();
    assert_eq!(world.cache.len(), 3);
    for (place, before) in first.iter().enumerate().rev() {
        let kept = Arc::ptr_eq(before, &world.judge_at(&tokens[place], NOW).unwrap());
        assert_eq!(kept, place >= 2, "{place}");
    }
    assert_eq!(world.cache.len(), 3);
    assert!(!world.cache.is_empty());
    assert!(TokenCache::new(0).is_empty());
}
