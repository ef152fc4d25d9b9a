//! The open event streams of each principal, so that a newer token can extend them.
//!
//! Owns [`OpenStreams`]. A stream that finds no room in it ends with its own token, as if there were no table. Its map's
//! shard lock is held for one look-up, and no request looks while no stream is open. Never extends what was revoked:
//! the stream asks for that itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::config::Server;
use crate::identity::Principal;
use crate::rpc::Named;
use crate::time::UnixTime;

/// Streams of one principal that newer tokens extend: bounds what one request has to look through.
const PER_PRINCIPAL_MAX: usize = 64;

/// The open streams, bounded in number.
#[derive(Debug, Default)]
pub(super) struct OpenStreams {
    by_principal: DashMap<[u8; 32], Vec<OpenStream>>,
    count: AtomicUsize,
    newest: AtomicU64,
}

/// The claim to a place in the table, given back by [`OpenStreams::leave`].
#[derive(Debug)]
pub(super) struct Entered {
    principal_id: [u8; 32],
    number: u64,
}

#[derive(Debug)]
struct OpenStream {
    number: u64,
    server: Arc<str>,
    /// What its call names; nothing for one that is about many things.
    named: Named,
    /// Who opened it.
    principal: Principal,
    /// The same one, by the newer token that lasts longest.
    renewed: Option<Principal>,
}

impl OpenStreams {
    /// Enters a stream of `principal`, unless `streams_max` are open already or too many are this principal's.
    pub(super) fn enter(
        &self,
        principal: &Principal,
        server: &Server,
        named: Named,
        streams_max: usize,
    ) -> Option<Entered> {
        if streams_max <= self.count.load(Ordering::Acquire) {
            return None;
        }
        let number = self.newest.fetch_add(1, Ordering::Relaxed);
        let principal_id = *principal.principal_id();
        let mut streams = self.by_principal.entry(principal_id).or_default();
        if PER_PRINCIPAL_MAX <= streams.len() {
            return None;
        }
        streams.push(OpenStream {
            number,
            server: Arc::clone(server.name()),
            named,
            principal: principal.clone(),
            renewed: None,
        });
        drop(streams);
        // After the insertion: whoever sees the count finds the stream.
        self.count.fetch_add(1, Ordering::AcqRel);
        Some(Entered { principal_id, number })
    }

    /// The stream has ended.
    pub(super) fn leave(&self, entered: &Entered) {
        if let Some(mut streams) = self.by_principal.get_mut(&entered.principal_id) {
            streams.retain(|stream| stream.number != entered.number);
        }
        self.by_principal
            .remove_if(&entered.principal_id, |_, streams| streams.is_empty());
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    /// `principal` has just been bound at `server`: extends those of its streams there that its token covers. One load
    /// while no stream is open.
    ///
    /// A newer token that no longer `holds` makes room for this one.
    pub(super) fn renew(&self, principal: &Principal, server: &Server, holds: impl Fn(&Principal) -> bool) {
        if 0 < self.count.load(Ordering::Acquire) {
            self.renew_each(principal, server, holds);
        }
    }

    #[cold]
    fn renew_each(&self, principal: &Principal, server: &Server, holds: impl Fn(&Principal) -> bool) {
        let Some(mut streams) = self.by_principal.get_mut(principal.principal_id()) else {
            return;
        };
        for stream in streams.iter_mut() {
            stream.renewed.take_if(|renewed| !holds(renewed));
            if stream.ends() < principal.expires() && stream.is_covered_by(principal, server) {
                stream.renewed = Some(principal.clone());
            }
        }
    }

    /// Until when the newer token of an entered stream is accepted, if there is one that still `holds`; one that does not
    /// is forgotten.
    pub(super) fn renewed_until(
        &self,
        entered: &Entered,
        leeway: Duration,
        holds: impl Fn(&Principal) -> bool,
    ) -> Option<UnixTime> {
        let mut streams = self.by_principal.get_mut(&entered.principal_id)?;
        let stream = streams.iter_mut().find(|stream| stream.number == entered.number)?;
        stream.renewed.take_if(|renewed| !holds(renewed));
        stream.renewed.as_ref().map(|renewed| renewed.accepted_until(leeway))
    }

    /// Streams in the table.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.count.load(Ordering::Acquire), self.by_principal.len())
    }
}

impl OpenStream {
    fn ends(&self) -> UnixTime {
        let own = self.principal.expires();
        self.renewed.as_ref().map_or(own, |renewed| own.max(renewed.expires()))
    }

    /// Whether the call of this stream could have been made by `newer` just as well: at the same server, with scopes for
    /// what it names, or all of its scopes where it names nothing, as somebody whom a policy cannot take for another by groups or roles, and by a login that is as
    /// good: a policy may have asked for that (RFC 9470).
    fn is_covered_by(&self, newer: &Principal, server: &Server) -> bool {
        let own = &self.principal;
        let same = self.server == *server.name() && own.groups() == newer.groups() && own.roles() == newer.roles();
        let as_good = match (own.token(), newer.token()) {
            (Some(own), Some(newer)) => {
                own.acr() == newer.acr() && own.amr() == newer.amr() && own.auth_time() <= newer.auth_time()
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let scopes_hold = match &self.named {
            Named::Nothing => own.scopes().iter().all(|scope| newer.has_scope(scope)),
            named => server.grant(named.target(), |scope| newer.has_scope(scope)).is_ok(),
        };
        same && as_good && scopes_hold
    }
}
