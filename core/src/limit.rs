//! Rates: a token bucket for each subject and client, and one for each source of tokens that fail their verification.
//!
//! Owns [`Limiter`]. Its map's shard lock is one of the few locks on the road: held for one look-up, never over I/O.
//! Never reads a clock; a clock that steps backwards refills nothing and takes nothing away.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use dashmap::DashMap;

use crate::time::UnixTime;

/// The rate of one subject through one client: a token bucket of `burst` calls that refills at `per_second`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Calls a second, in the long run; zero counts as one.
    pub per_second: u32,
    /// Calls at once; zero counts as one.
    pub burst: u32,
}

/// Who is limited: nothing crosses a tenant, an issuer or a client, so that what one agent of somebody uses up is not
/// missing to another.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Caller<'a> {
    /// The tenant of the subject.
    pub(crate) tenant: &'a str,
    /// The issuer of the subject.
    pub(crate) issuer: &'a str,
    /// The subject.
    pub(crate) subject: &'a str,
    /// The client through which it calls.
    pub(crate) client: &'a str,
}

/// Who sends tokens that fail, and in whose name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Source<'a> {
    issuer: &'a str,
    network: IpAddr,
}

impl<'a> Source<'a> {
    /// The source of tokens of `issuer` at `ip`: an address of version 6 stands for its /64, all of which one host
    /// may have.
    pub(crate) fn new(issuer: &'a str, ip: IpAddr) -> Self {
        Self {
            issuer,
            network: network_of(ip),
        }
    }
}

/// The network that one host may have as a whole: an address of version 4, a /64 of version 6.
pub(crate) fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

/// The buckets of all subjects, bounded in number.
///
/// Two callers whose keyed 128-bit hashes meet would share a bucket; nothing but a rate depends on it.
#[derive(Debug)]
pub(crate) struct Limiter {
    buckets: DashMap<u128, Bucket>,
    hashers: [RandomState; 2],
    callers_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Calls left, in nanoseconds of refill time: one call is worth `1 s / per_second`.
    credit_ns: u64,
    updated: UnixTime,
}

impl Limiter {
    /// An empty limiter that remembers at most about `callers_max` callers.
    pub(crate) fn new(callers_max: usize) -> Self {
        Self {
            buckets: DashMap::new(),
            hashers: [RandomState::new(), RandomState::new()],
            callers_max,
        }
    }

    /// Takes one call from the caller's bucket at `now`.
    ///
    /// # Errors
    /// The time until the next call would pass.
    pub(crate) fn take(&self, caller: impl Hash, rate: Rate, now: UnixTime) -> Result<(), Duration> {
        let (cost_ns, full_ns) = rate.costs_ns();
        if self.buckets.len() >= self.callers_max {
            self.forget_full(full_ns, now);
        }
        let mut bucket = self.buckets.entry(self.place(caller)).or_insert(Bucket {
            credit_ns: full_ns,
            updated: now,
        });
        bucket.credit_ns = bucket.credit_at(now, full_ns);
        bucket.updated = bucket.updated.max(now);
        match bucket.credit_ns.checked_sub(cost_ns) {
            Some(left) => {
                bucket.credit_ns = left;
                Ok(())
            }
            None => Err(Duration::from_nanos(cost_ns.saturating_sub(bucket.credit_ns))),
        }
    }

    /// Whether [`Self::take`] would pass, without taking anything.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(crate) fn look(&self, caller: impl Hash, rate: Rate, now: UnixTime) -> Result<(), Duration> {
        let (cost_ns, full_ns) = rate.costs_ns();
        let credit_ns = match self.buckets.get(&self.place(caller)) {
            Some(bucket) => bucket.credit_at(now, full_ns),
            None => full_ns,
        };
        match cost_ns.checked_sub(credit_ns) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(Duration::from_nanos(missing)),
        }
    }

    fn place(&self, caller: impl Hash) -> u128 {
        let [low, high] = self
            .hashers
            .each_ref()
            .map(|hasher| u128::from(hasher.hash_one(&caller)));
        (high << 64) | low
    }

    /// Forgets callers whose bucket is full again: remembering them changes nothing.
    ///
    /// When nobody's is, the map grows past its bound rather than forgiving a caller who is over the rate.
    #[cold]
    fn forget_full(&self, full_ns: u64, now: UnixTime) {
        self.buckets
            .retain(|_, bucket| bucket.credit_at(now, full_ns) < full_ns);
    }
}

impl Bucket {
    /// What is left at `now`.
    fn credit_at(&self, now: UnixTime, full_ns: u64) -> u64 {
        let earned = u64::try_from(now.since(self.updated).as_nanos()).unwrap_or(u64::MAX);
        self.credit_ns.saturating_add(earned).min(full_ns)
    }
}

impl Rate {
    /// What one call costs and what a full bucket holds, in nanoseconds of refill time.
    fn costs_ns(self) -> (u64, u64) {
        let cost_ns = SECOND_NS.checked_div(u64::from(self.per_second)).unwrap_or(SECOND_NS);
        (cost_ns, cost_ns.saturating_mul(u64::from(self.burst.max(1))))
    }
}

/// A second in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests;
