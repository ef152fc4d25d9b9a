//! How and when a caller logged in, against what a policy asks for (RFC 9470).
//!
//! Owns the one check. Believes the token's own claims alone: what proves an identity without telling a login, such as a
//! certificate, satisfies no demand.

use std::time::Duration;

use crate::denial::AuthenticationDemand;
use crate::identity::Principal;
use crate::time::UnixTime;

/// Whether the login behind `principal` is one that `demand` accepts at `now`.
///
/// `acr` must be one of the values, byte by byte. `auth_time` may be `max_age_s` old and must not lie in the future, each
/// within `leeway`, since it is the issuer's clock that tells it. An absent claim satisfies nothing.
pub(super) fn satisfies(principal: &Principal, demand: &AuthenticationDemand, now: UnixTime, leeway: Duration) -> bool {
    let Some(token) = principal.token() else {
        return false;
    };
    let strong = demand.acr_values.is_empty()
        || token
            .acr()
            .is_some_and(|acr| demand.acr_values.iter().any(|accepted| **accepted == *acr));
    let fresh = demand.max_age_s.is_none_or(|max_age_s| {
        let (now, leeway) = (now.secs(), leeway.as_secs());
        token.auth_time().is_some_and(|at| {
            let latest = at.saturating_add(u64::from(max_age_s)).saturating_add(leeway);
            at <= now.saturating_add(leeway) && now <= latest
        })
    });
    strong && fresh
}
