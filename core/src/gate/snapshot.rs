//! What must agree, in one value: routes, limits, policies, tool tables, issuers and their keys.
//!
//! Owns [`Snapshot`]. A request loads one and keeps it; a reload or a new key set publishes a whole new one. Never
//! changes once published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Limits, Server};
use crate::jwks::KeySet;
use crate::time::UnixTime;
use crate::token::{Issuer, IssuerKeys};

/// The finished configuration, with the keys that its issuers have published so far.
#[derive(Clone, Debug)]
pub struct Snapshot {
    limits: Arc<Limits>,
    /// By path.
    routes: BTreeMap<Arc<str>, Arc<Route>>,
    /// By issuer and by where its keys come from.
    keys: BTreeMap<(Arc<str>, Arc<str>), Arc<KeySet>>,
    config_digest: [u8; 32],
}

/// A server with the keys it accepts.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) server: Arc<Server>,
    pub(super) issuers: Vec<IssuerKeys>,
}

/// What makes a set of servers no configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    /// There is no server at all.
    #[error("no server is configured")]
    Empty,
    /// Two servers have the same name.
    #[error("two servers are named `{0}`")]
    NameRepeated(Arc<str>),
    /// Two servers have the same path.
    #[error("two servers have the path `{0}`")]
    PathRepeated(Arc<str>),
}

impl Snapshot {
    /// A snapshot of `servers` whose issuers have no keys yet; `config_digest` is SHA-256 over what the operator wrote.
    ///
    /// # Errors
    /// [`SnapshotError`] when names or paths meet.
    pub fn new(servers: Vec<Arc<Server>>, limits: Limits, config_digest: [u8; 32]) -> Result<Self, SnapshotError> {
        if servers.is_empty() {
            return Err(SnapshotError::Empty);
        }
        let mut routes: BTreeMap<Arc<str>, Arc<Route>> = BTreeMap::new();
        for server in servers {
            if routes.values().any(|route| route.server.name() == server.name()) {
                return Err(SnapshotError::NameRepeated(Arc::clone(server.name())));
            }
            let path: Arc<str> = Arc::from(server.path());
            if routes.contains_key(&path) {
                return Err(SnapshotError::PathRepeated(path));
            }
            routes.insert(
                path,
                Arc::new(Route {
                    server,
                    issuers: Vec::new(),
                }),
            );
        }
        let mut snapshot = Self {
            limits: Arc::new(limits),
            routes,
            keys: BTreeMap::new(),
            config_digest,
        };
        snapshot.join_keys();
        Ok(snapshot)
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The servers, sorted by path.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.routes.values().map(|route| &route.server)
    }

    /// The server whose endpoint is exactly at `path`.
    pub fn server_at(&self, path: &str) -> Option<&Arc<Server>> {
        self.route_at(path).map(|route| &route.server)
    }

    /// SHA-256 of the configuration as the operator wrote it.
    pub fn config_digest(&self) -> &[u8; 32] {
        &self.config_digest
    }

    pub(super) fn route_at(&self, path: &str) -> Option<&Arc<Route>> {
        self.routes.get(path)
    }

    /// The age of an issuer's key set; `None` without one.
    pub(super) fn keys_age(&self, issuer: &Issuer, now: UnixTime) -> Option<Duration> {
        self.keys.get(&place(issuer)).map(|keys| now.since(keys.fetched_at()))
    }

    /// This snapshot with the keys that `older` knows of its issuers.
    pub(super) fn with_keys_of(mut self, older: &Self) -> Self {
        self.keys = older.keys.clone();
        self.join_keys();
        self
    }

    /// This snapshot with a new key set of one issuer.
    pub(super) fn with_keys(mut self, issuer: &Issuer, keys: Arc<KeySet>) -> Self {
        self.keys.insert(place(issuer), keys);
        self.join_keys();
        self
    }

    /// Gives every route the newest keys of its issuers, and forgets keys that no route asks for.
    fn join_keys(&mut self) {
        let mut used = BTreeMap::new();
        for route in self.routes.values_mut() {
            let issuers = route.server.issuers();
            for issuer in issuers {
                if let Some(keys) = self.keys.get(&place(issuer)) {
                    used.insert(place(issuer), Arc::clone(keys));
                }
            }
            let joined = issuers
                .iter()
                .map(|issuer| IssuerKeys {
                    issuer: Arc::clone(issuer),
                    keys: self.keys.get(&place(issuer)).map(Arc::clone),
                    audiences: Arc::clone(route.server.audiences(issuer)),
                })
                .collect();
            *route = Arc::new(Route {
                server: Arc::clone(&route.server),
                issuers: joined,
            });
        }
        self.keys = used;
    }
}

/// Under what an issuer's keys are kept.
fn place(issuer: &Issuer) -> (Arc<str>, Arc<str>) {
    (Arc::clone(issuer.url()), Arc::clone(issuer.key_source()))
}
