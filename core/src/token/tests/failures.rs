//! The bound on tokens that fail: who it stops, and whom it does not.

use std::net::IpAddr;

use portcullis_fixtures::keys;

use super::{ISSUER, LIMITS, NOW, SOURCE, World, good, parts, verify};
use crate::credential::BearerToken;
use crate::denial::DenyReason;

/// A token with the right `kid` and another key's signature.
fn forged(number: u64) -> String {
    let stranger = keys::Key::new_ed25519(keys::ed25519().kid());
    good().claim("jti", format!("forged-{number}")).sign(&stranger)
}

fn judge(world: &World, token: &str, source: IpAddr, now: u64) -> Result<(), DenyReason> {
    let bearer = BearerToken::parse(token).unwrap();
    verify(bearer, &world.terms(source, now, None))
        .map(|_| ())
        .map_err(|denial| denial.reason)
}

#[test]
fn a_source_that_failed_too_often_is_verified_no_more_for_a_while() {
    let world = World::with(parts(ISSUER));
    let known = good().sign(keys::ed25519());
    assert_eq!(judge(&world, &known, SOURCE, NOW), Ok(()));
    for number in 0..u64::from(LIMITS.failures.burst) {
        assert_eq!(
            judge(&world, &forged(number), SOURCE, NOW),
            Err(DenyReason::TokenSignature)
        );
    }
    let limited = Err(DenyReason::VerificationLimited);
    let new = good().claim("jti", "new").sign(keys::ed25519());
    assert_eq!(judge(&world, &forged(99), SOURCE, NOW), limited);
    assert_eq!(
        judge(&world, &new, SOURCE, NOW),
        limited,
        "it would cost a verification"
    );
    // What costs none is not limited, and neither is anybody else.
    assert_eq!(judge(&world, &known, SOURCE, NOW), Ok(()));
    assert_eq!(
        judge(
            &world,
            &good().claim("exp", "1").sign(keys::ed25519()),
            "192.0.2.7".parse().unwrap(),
            NOW
        ),
        Err(DenyReason::TokenClaims)
    );
    assert_eq!(judge(&world, &new, "192.0.2.7".parse().unwrap(), NOW), Ok(()));
    // One more a second.
    let newer = good().claim("jti", "newer").sign(keys::ed25519());
    assert_eq!(judge(&world, &newer, SOURCE, NOW), limited);
    assert_eq!(judge(&world, &newer, SOURCE, NOW + 1), Ok(()));
    assert_eq!(
        judge(&world, &forged(100), SOURCE, NOW + 1),
        Err(DenyReason::TokenSignature)
    );
    assert_eq!(judge(&world, &forged(101), SOURCE, NOW + 1), limited);
}

#[test]
fn what_is_cheap_is_not_counted() {
    let world = World::new();
    for _ in 0..1_000 {
        assert_eq!(
            judge(&world, &good().sign_hmac("k", b"secret"), SOURCE, NOW),
            Err(DenyReason::TokenAlgorithm)
        );
    }
    assert_eq!(judge(&world, &good().sign(keys::ed25519()), SOURCE, NOW), Ok(()));
}
