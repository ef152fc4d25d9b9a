//! The configuration: from the file as written to what the gate runs on.
//!
//! Owns [`load`] and the lowered forms that the rest of the binary uses. Whole or nothing: a configuration with one
//! fault yields only diagnostics. Never holds a secret outside a zeroized value, and never prints one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::config::Limits;
use portcullis_core::token::Issuer;

use crate::background::introspect::IntrospectionPlan;
use crate::background::policy::BundlePlan;
use crate::background::tools::ToolPlan;
use crate::ingress::TrustedHops;
use crate::keys::KeyPlaces;
use crate::listen::Listener;
use crate::trust::TrustStore;

pub(crate) use admin::{ControlPlace, ControlPlan, ControlToken, Operators, worst_case};
pub(crate) use diagnose::{Diagnostic, Diagnostics, Warning};
pub(crate) use issuer::is_loopback;
pub(crate) use keys::{NamedKeys, key_places, open_keys};
pub(crate) use raw::{RawConfig, Span};
pub(crate) use server::{BuildError, RulingPolicies, ServerPlan};

mod admin;
mod bundle;
mod credentials;
mod dangers;
mod deny;
mod diagnose;
mod files;
mod introspection;
mod issuer;
mod keys;
mod limits;
mod lower;
mod machines;
mod raw;
mod sender;
mod server;
mod shared_secret;
mod tables;
mod tenants;
mod trust;
mod upstream;

/// What the gate runs on, complete and checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// The gate's name in records.
    pub node: Arc<str>,
    /// Where clients connect, at least one.
    pub listeners: Vec<Listener>,
    /// What operators ask and do.
    pub operators: Operators,
    /// The folder of what was accepted of upstreams' tools.
    pub pins: PathBuf,
    /// The folder of the audit log's segments.
    pub audit: PathBuf,
    /// Where the gate's own keys lie.
    pub keys: KeyPlaces,
    /// The issuers, each once.
    pub issuers: Vec<IssuerPlan>,
    /// The servers, at least one, with distinct names and paths.
    pub servers: Vec<ServerPlan>,
    /// Who may tell a client's certificate.
    pub trusted_hops: TrustedHops,
    /// The bounds.
    pub limits: Limits,
    /// SHA-256 over every file that was read but secrets.
    pub digest: [u8; 32],
    /// What should be otherwise, in the order it was found.
    pub warnings: Vec<Diagnostic>,
}

/// One issuer, and how its keys are fetched.
#[derive(Clone, Debug)]
pub(crate) struct IssuerPlan {
    /// The rules of its tokens.
    pub issuer: Arc<Issuer>,
    /// Its URL, exactly as tokens name it.
    pub url: Arc<str>,
    /// The URL of its key set; `None` asks its metadata.
    pub jwks_uri: Option<Arc<str>>,
    /// Certificate authorities of its servers in PEM; `None` trusts the system's.
    pub ca_pem: Option<Arc<str>>,
    /// Whether keys may come from addresses of the inner network.
    pub danger_allow_private_addresses: bool,
    /// How it is asked about tokens; `None` for never.
    pub introspection: Option<IntrospectionPlan>,
}

impl Config {
    /// The bundles of the servers whose policy is one.
    pub(crate) fn bundle_plans(&self) -> impl Iterator<Item = BundlePlan> {
        self.servers.iter().filter_map(|plan| plan.bundle().cloned())
    }

    /// The files of policies that are looked at for changes, and the shortest time between two looks.
    pub(crate) fn watched(&self) -> Option<(Duration, Vec<PathBuf>)> {
        let watched = || self.servers.iter().filter_map(ServerPlan::watched);
        let interval = watched().map(|(interval, _)| interval).min()?;
        Some((
            *interval,
            watched().flat_map(|(_, files)| files.iter().cloned()).collect(),
        ))
    }

    /// How the tools of each server are listed.
    pub(crate) fn tool_plans(&self) -> impl Iterator<Item = ToolPlan> {
        self.servers.iter().map(|plan| plan.tool_plan().clone())
    }

    /// Every trust in clients' certificates, in an order that is the same for configurations with the same listeners and
    /// hops.
    pub(crate) fn trust_stores(&self) -> Vec<Arc<TrustStore>> {
        let control = match &self.operators.control {
            Some(ControlPlan {
                place: ControlPlace::Tcp(listener),
                ..
            }) => Some(listener),
            Some(_) | None => None,
        };
        let of_listeners = self.listeners.iter().chain(control).filter_map(Listener::client_trust);
        of_listeners.chain(self.trusted_hops.trust_stores()).cloned().collect()
    }
}

#[cfg(test)]
impl IssuerPlan {
    /// An issuer with the default rules, for tests of what uses one.
    pub(crate) fn plain(url: &str) -> Self {
        let url: Arc<str> = Arc::from(url);
        let parts = portcullis_core::token::IssuerParts::strict(Arc::clone(&url));
        Self {
            issuer: Arc::new(Issuer::new(parts).unwrap()),
            url,
            jwks_uri: None,
            ca_pem: None,
            danger_allow_private_addresses: false,
            introspection: None,
        }
    }
}

/// Whether names of upstreams are looked up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Names {
    /// Look them up: for a gate that starts.
    Resolve,
    /// Take an unusable address instead: for `check`, which must work without a network.
    Skip,
}

/// Reads the configuration at `path` and everything it names.
///
/// `workers` is the number of threads that decide: each gets its own copy of every policy. Blocks on files and, with
/// [`Names::Resolve`], on name resolution.
///
/// # Errors
/// [`Diagnostics`] with every fault that was found.
pub(crate) fn load(path: &Path, names: Names, workers: usize) -> Result<Config, Diagnostics> {
    load_beside(path, names, workers, RulingPolicies::default())
}

/// As [`load`], beside policies that rule: where nothing but data has changed, what is compiled of them is shared.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_beside(
    path: &Path,
    names: Names,
    workers: usize,
    ruling: RulingPolicies,
) -> Result<Config, Diagnostics> {
    let mut files = files::Files::new(path);
    let source = match files.read_config(path) {
        Ok(source) => source,
        Err(diagnostic) => return Err((*diagnostic).into()),
    };
    match raw::read::<RawConfig>(&source) {
        Ok(raw) => lower::lower(&raw, &source, files, names, workers, ruling),
        Err(error) => Err(diagnose::of_yaml(&error, path, &source).into()),
    }
}

#[cfg(test)]
mod tests;
