//! The bound on tokens that fail: a source that sent too many is not verified for a while.
//!
//! Owns [`Failures`]. A verification costs up to 0.7 ms, a question to an issuer a round trip: strangers must not buy
//! either without limit. Tokens that are remembered cost neither, and are not bounded. Never counts what is cheap.

use std::net::IpAddr;

use crate::denial::{Denial, DenyReason};
use crate::limit::{Limiter, Rate, Source};
use crate::time::UnixTime;

/// Sources that are remembered before those that owe nothing are forgotten.
const SOURCES_MAX: usize = 65_536;

/// How often each source may fail with each issuer.
#[derive(Debug)]
pub(crate) struct Failures {
    limiter: Limiter,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            limiter: Limiter::new(SOURCES_MAX),
        }
    }
}

impl Failures {
    /// Whether a token of `issuer` that came from `ip` may be verified or asked about.
    ///
    /// # Errors
    /// [`DenyReason::VerificationLimited`] with the time until it may.
    pub(super) fn check(&self, issuer: &str, ip: IpAddr, rate: Rate, now: UnixTime) -> Result<(), Denial> {
        self.limiter.look(Source::new(issuer, ip), rate, now).map_err(|wait| {
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            Denial::new(
                DenyReason::VerificationLimited,
                "too many tokens of this source and issuer failed",
            )
            .with_retry_after_s(seconds)
        })
    }

    /// Counts a failure.
    #[cold]
    pub(super) fn count(&self, issuer: &str, ip: IpAddr, rate: Rate, now: UnixTime) {
        // Requests that were checked before the last failure was counted may fail beyond the bound: there are no more
        // of them than requests at once.
        let _ = self.limiter.take(Source::new(issuer, ip), rate, now);
    }
}
