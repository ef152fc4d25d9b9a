//! What must agree, in one value: routes, limits, policies, tool tables, issuers and their keys, tools of upstreams.
//!
//! Owns [`Snapshot`]. A request loads one and keeps it; a reload or a new key set publishes a whole new one. Never
//! changes once published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::config::{Limits, Server};
use crate::denial::{Denial, DenyReason};
use crate::jwks::KeySet;
use crate::time::UnixTime;
use crate::token::{Issuer, IssuerKeys};

/// The finished configuration, with the keys that its issuers and the tools that its upstreams have shown so far.
#[derive(Clone, Debug)]
pub struct Snapshot {
    limits: Arc<Limits>,
    /// By path; where several servers share one, no two share a host.
    routes: BTreeMap<Arc<str>, Vec<Arc<Route>>>,
    /// By issuer and by where its keys come from.
    keys: BTreeMap<(Arc<str>, Arc<str>), Arc<KeySet>>,
    /// By server and by where its calls go.
    catalogs: BTreeMap<(Arc<str>, Box<str>), Arc<Catalog>>,
    config_digest: [u8; 32],
}

/// A server with the keys it accepts and the tools it has.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) server: Arc<Server>,
    pub(super) issuers: Vec<IssuerKeys>,
    /// `None` until they were listed.
    pub(super) catalog: Option<Arc<Catalog>>,
}

/// What makes a set of servers no configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    /// There is no server at all.
    #[error("no server is configured")]
    Empty,
    /// Two servers at the same path accept the same host.
    #[error("the servers `{first}` and `{second}` share the path `{path}` and the host `{host}`")]
    HostRepeated {
        /// The server that stands first.
        first: Arc<str>,
        /// The other one.
        second: Arc<str>,
        /// Their path.
        path: Arc<str>,
        /// The host.
        host: Arc<str>,
    },
    /// Two servers have the same name.
    #[error("two servers are named `{0}`")]
    NameRepeated(Arc<str>),
}

impl Snapshot {
    /// A snapshot of `servers` whose issuers have no keys yet; `config_digest` is SHA-256 over what the operator wrote.
    ///
    /// # Errors
    /// [`SnapshotError`] when names meet, or hosts at one path.
    pub fn new(servers: Vec<Arc<Server>>, limits: Limits, config_digest: [u8; 32]) -> Result<Self, SnapshotError> {
        if servers.is_empty() {
            return Err(SnapshotError::Empty);
        }
        let mut routes: BTreeMap<Arc<str>, Vec<Arc<Route>>> = BTreeMap::new();
        for server in servers {
            if routes
                .values()
                .flatten()
                .any(|route| route.server.name() == server.name())
            {
                return Err(SnapshotError::NameRepeated(Arc::clone(server.name())));
            }
            let path: Arc<str> = Arc::from(server.path());
            let neighbours = routes.entry(Arc::clone(&path)).or_default();
            for first in neighbours.iter().map(|route| &route.server) {
                if let Some(host) = first.shared_host(&server).map(Arc::clone) {
                    let [first, second] = [first, &server].map(|server| Arc::clone(server.name()));
                    return Err(SnapshotError::HostRepeated {
                        first,
                        second,
                        path,
                        host,
                    });
                }
            }
            neighbours.push(Arc::new(Route {
                server,
                issuers: Vec::new(),
                catalog: None,
            }));
        }
        let mut snapshot = Self {
            limits: Arc::new(limits),
            routes,
            keys: BTreeMap::new(),
            catalogs: BTreeMap::new(),
            config_digest,
        };
        snapshot.join();
        Ok(snapshot)
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The servers, sorted by path.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.routes.values().flatten().map(|route| &route.server)
    }

    /// The server whose endpoint is exactly at `path`, of several the one that `host` means. The only server at a path
    /// is found for every host: whether it is one of its own is checked on each request.
    pub fn server_at(&self, path: &str, host: &str) -> Option<&Arc<Server>> {
        self.route_at(path, host).ok().map(|route| &route.server)
    }

    /// SHA-256 of the configuration as the operator wrote it.
    pub fn config_digest(&self) -> &[u8; 32] {
        &self.config_digest
    }

    /// The keys that the tokens of an issuer are verified with; `None` while none were published.
    pub fn keys(&self, issuer: &Issuer) -> Option<&Arc<KeySet>> {
        self.keys.get(&place(issuer))
    }

    /// The tools of a server, as the gate has listed them; `None` while it has not.
    pub fn catalog(&self, server: &Server) -> Option<&Arc<Catalog>> {
        self.catalogs.get(&upstream_of(server))
    }

    /// The route to the server of [`Self::server_at`].
    ///
    /// # Errors
    /// [`DenyReason::RouteUnknown`] and, for a host of none of several servers, [`DenyReason::HostUnknown`].
    pub(super) fn route_at(&self, path: &str, host: &str) -> Result<&Arc<Route>, Denial> {
        match self.routes.get(path).map(Vec::as_slice) {
            None | Some([]) => Err(Denial::new(
                DenyReason::RouteUnknown,
                "no server is configured at this path",
            )),
            Some([only]) => Ok(only),
            Some(several) => several
                .iter()
                .find(|route| route.server.accepts_host(host))
                .ok_or_else(|| {
                    Denial::new(
                        DenyReason::HostUnknown,
                        "the host is not one of those of the servers at this path",
                    )
                }),
        }
    }

    /// The age of an issuer's key set; `None` without one.
    pub(super) fn keys_age(&self, issuer: &Issuer, now: UnixTime) -> Option<Duration> {
        self.keys.get(&place(issuer)).map(|keys| now.since(keys.fetched_at()))
    }

    /// This snapshot with what `older` knows of its issuers' keys and its upstreams' tools.
    pub(super) fn with_findings_of(mut self, older: &Self) -> Self {
        self.keys = older.keys.clone();
        self.catalogs = older.catalogs.clone();
        self.join();
        self
    }

    /// This snapshot with a new key set of one issuer.
    pub(super) fn with_keys(mut self, issuer: &Issuer, keys: Arc<KeySet>) -> Self {
        self.keys.insert(place(issuer), keys);
        self.join();
        self
    }

    /// This snapshot with the tools of one server, when it still has that server.
    pub(super) fn with_catalog(mut self, server: &Server, catalog: Arc<Catalog>) -> Self {
        self.catalogs.insert(upstream_of(server), catalog);
        self.join();
        self
    }

    /// Gives every route the newest keys of its issuers and its tools, and forgets what no route asks for.
    fn join(&mut self) {
        let mut used = BTreeMap::new();
        let mut listed = BTreeMap::new();
        for route in self.routes.values_mut().flatten() {
            let issuers = route.server.issuers();
            for issuer in issuers {
                if let Some(keys) = self.keys.get(&place(issuer)) {
                    used.insert(place(issuer), Arc::clone(keys));
                }
            }
            let upstream = upstream_of(&route.server);
            let catalog = self.catalogs.get(&upstream).map(Arc::clone);
            if let Some(catalog) = &catalog {
                listed.insert(upstream, Arc::clone(catalog));
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
                catalog,
            });
        }
        self.keys = used;
        self.catalogs = listed;
    }
}

/// Under what a server's tools are kept: another upstream has others.
fn upstream_of(server: &Server) -> (Arc<str>, Box<str>) {
    let endpoints = server.upstream().endpoints.iter();
    let place: Vec<String> = endpoints
        .map(|endpoint| format!("{}{}", endpoint.authority, endpoint.path))
        .collect();
    (Arc::clone(server.name()), place.join(" ").into_boxed_str())
}

/// Under what an issuer's keys are kept.
fn place(issuer: &Issuer) -> (Arc<str>, Arc<str>) {
    (Arc::clone(issuer.url()), Arc::clone(issuer.key_source()))
}
