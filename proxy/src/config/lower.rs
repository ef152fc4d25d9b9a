//! From the configuration as written to the configuration as used.
//!
//! Owns the order of lowering and the checks of listeners and audit; issuers and servers are `issuer`'s and `server`'s. Gathers every
//! fault instead of stopping at the first. Opens no socket; looks names up only when it is told to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::config::Server;
use zeroize::Zeroizing;

use super::diagnose::{Code, Diagnostic, Diagnostics, Warning};
use super::files::Files;
use super::raw::{At, Place, RawConfig, RawListener};
use super::{
    Config, IssuerPlan, Names, ServerPlan, admin, dangers, issuer, limits, sender, server, shared_secret, tenants,
    trust, upstream,
};
use crate::ingress::TrustedHops;
use crate::keys::KeyPlaces;
use crate::listen::Listener;
use crate::tls;
use crate::upstream::endpoint::Trust;

/// Lowers `raw`, which was read from `source`.
///
/// # Errors
/// Every fault that was found.
pub(super) fn lower(
    raw: &RawConfig,
    source: &str,
    files: Files,
    names: Names,
    workers: usize,
) -> Result<Config, Diagnostics> {
    let mut lowering = Lowering {
        source,
        path: files.config_path().to_path_buf(),
        files,
        names,
        workers,
        upstream_ca: None,
        faults: Vec::new(),
        warnings: Vec::new(),
    };
    let (limits, refusals) = limits::lower(raw.limits.as_ref());
    for (place, message) in refusals {
        lowering.fault(Code::InvalidValue, place, message);
    }
    let listeners = listeners(&mut lowering, &raw.listen);
    let operators = admin::lower(&mut lowering, raw);
    let audit = lowering.files.path(&raw.audit.directory.value);
    let keys = key_places(raw, &lowering.files);
    let issuers = issuer::lower(&mut lowering, &raw.issuers);
    lowering.upstream_ca = upstream::shared_ca(&mut lowering, raw.upstream_ca.as_ref());
    let servers = servers(&mut lowering, raw, &issuers);
    shared_secret::check_reach(&mut lowering, raw, &listeners);
    dangers::warn(&mut lowering, raw, source);
    let trusted_hops = sender::hops(&mut lowering, raw);
    check_certificates(&mut lowering, raw, &listeners, &trusted_hops);
    let node = raw.node.as_ref().map_or("portcullis", |node| &node.value);
    let config = Config {
        node: Arc::from(node),
        listeners,
        pins: operators
            .state_dir
            .clone()
            .unwrap_or_else(|| lowering.files.path("state")),
        operators,
        audit,
        keys,
        issuers,
        servers,
        trusted_hops,
        limits,
        digest: lowering.files.digest(),
        warnings: lowering.warnings,
    };
    if lowering.faults.is_empty() {
        Ok(config)
    } else {
        Err(Diagnostics {
            diagnostics: lowering.faults,
        })
    }
}

/// Where the gate's own keys lie.
pub(super) fn key_places(raw: &RawConfig, files: &Files) -> KeyPlaces {
    let directory = raw.keys.as_ref().map_or("keys", |keys| &keys.directory.value);
    KeyPlaces {
        directory: files.path(directory),
        digests: raw.audit.digest_key.as_ref().map(|name| files.path(&name.value)),
    }
}

/// What every step of lowering needs, and the faults and warnings so far.
pub(super) struct Lowering<'s> {
    source: &'s str,
    path: PathBuf,
    /// The files that the configuration names.
    pub files: Files,
    /// Whether names are looked up.
    pub names: Names,
    /// Policy replicas.
    pub workers: usize,
    /// The authorities of upstreams that name none of their own.
    pub upstream_ca: Option<(String, Trust)>,
    faults: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Lowering<'_> {
    /// Notes a fault of the configuration itself.
    pub(super) fn fault(&mut self, code: Code, place: Place, message: impl Into<String>) {
        self.fault_with(code, place, message, None);
    }

    /// Notes a fault of the configuration itself, with what helps.
    pub(super) fn fault_with(&mut self, code: Code, place: Place, message: impl Into<String>, help: Option<&str>) {
        let mut diagnostic = Diagnostic::new(code, &self.path, place, message).excerpt_of(self.source);
        diagnostic.help = help.map(str::to_owned);
        self.faults.push(diagnostic);
    }

    /// Notes a fault of a file that the configuration names.
    pub(super) fn fault_elsewhere(&mut self, diagnostic: Diagnostic) {
        self.faults.push(diagnostic);
    }

    /// Notes what should be otherwise, and what would be better.
    pub(super) fn warn(&mut self, warning: Warning, place: Place, message: impl Into<String>, help: &str) {
        let diagnostic = Diagnostic::warning(warning, &self.path, place, message).excerpt_of(self.source);
        self.warnings.push(diagnostic.help(help));
    }

    /// The text of a file that the configuration names, or a fault.
    pub(super) fn read(&mut self, name: &At<String>) -> Option<String> {
        match self.files.read(&name.value) {
            Ok(text) => Some(text),
            Err(error) => {
                let message = format!("the file `{}` cannot be read: {error}", name.value);
                self.fault(Code::FileUnreadable, name.place, message);
                None
            }
        }
    }
}

impl Lowering<'_> {
    /// A secret from its file or its variable, exactly one of which must be named; `None` after a fault.
    pub(super) fn secret(
        &mut self,
        file: Option<&At<String>>,
        variable: Option<&At<String>>,
        place: Place,
    ) -> Option<Zeroizing<String>> {
        match (file, variable) {
            (Some(file), None) => match self.files.read_secret(&file.value) {
                Ok(value) => Some(value),
                Err(error) => {
                    let message = format!("the secret file `{}` cannot be read: {error}", file.value);
                    self.fault(Code::SecretMissing, file.place, message);
                    None
                }
            },
            (None, Some(variable)) => match std::env::var(&variable.value) {
                Ok(value) => Some(Zeroizing::new(value)),
                Err(_) => {
                    let message = format!("the environment variable `{}` is not set", variable.value);
                    self.fault(Code::SecretMissing, variable.place, message);
                    None
                }
            },
            (Some(_), Some(_)) | (None, None) => {
                let message = "a credential needs either `value_file` or `value_env`";
                self.fault(Code::SecretMissing, place, message);
                None
            }
        }
    }
}

fn listeners(lowering: &mut Lowering<'_>, raw: &[RawListener]) -> Vec<Listener> {
    if raw.is_empty() {
        let help = "add `listen: [{address: 127.0.0.1:8080}]`";
        lowering.fault_with(
            Code::ListenerInvalid,
            Place::default(),
            "there is no listener",
            Some(help),
        );
    }
    let mut listeners = Vec::new();
    for listener in raw {
        let help = "write it like `127.0.0.1:8080`, `0.0.0.0:8443` or `[::1]:0`";
        let Some(address) = socket_address(lowering, &listener.address, help) else {
            continue;
        };
        let tls = match &listener.tls {
            Some(tls) => match trust::tls(lowering, tls) {
                Some(files) => Some(files),
                None => continue,
            },
            None => None,
        };
        if let Some(Err(error)) = tls.as_ref().map(tls::settings) {
            lowering.fault(Code::ListenerInvalid, listener.address.place, error.to_string());
        }
        listeners.push(Listener { address, tls });
    }
    listeners
}

/// A machine that is known by its certificate needs somebody who verifies certificates.
fn check_certificates(lowering: &mut Lowering<'_>, raw: &RawConfig, listeners: &[Listener], hops: &TrustedHops) {
    let written = raw
        .listen
        .iter()
        .any(|listener| listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()))
        || raw
            .trusted_hops
            .iter()
            .any(|hop| hop.client_certificate.client_ca.is_some());
    let verified =
        listeners.iter().any(|listener| listener.client_trust().is_some()) || hops.trust_stores().next().is_some();
    let mut machines = raw.servers.iter().flat_map(|server| &server.value.machine_identities);
    // A trust that has its own fault is still one that was written.
    if !written
        && !verified
        && let Some(uri) = machines.find_map(|machine| machine.value.uri.as_ref())
    {
        let message = format!(
            "`{}` could never be shown: no listener and no hop verifies certificates",
            uri.value
        );
        let help = "write `client_ca` in the `tls` of a listener, or in `trusted_hops[].client_certificate`";
        lowering.fault_with(Code::ServerInvalid, uri.place, message, Some(help));
    }
}

/// An IP address with a port; `None` after a fault.
pub(super) fn socket_address(lowering: &mut Lowering<'_>, written: &At<String>, help: &str) -> Option<SocketAddr> {
    if let Ok(address) = written.value.parse() {
        return Some(address);
    }
    let message = format!("`{}` is no IP address with a port", written.value);
    lowering.fault_with(Code::ListenerInvalid, written.place, message, Some(help));
    None
}

fn servers(lowering: &mut Lowering<'_>, raw: &RawConfig, issuers: &[IssuerPlan]) -> Vec<ServerPlan> {
    if raw.servers.is_empty() {
        lowering.fault(Code::ServerInvalid, Place::default(), "there is no server to protect");
    }
    // An issuer that has its own fault is still a known name: one fault, one diagnostic.
    let known: Vec<&str> = raw.issuers.iter().map(|at| at.value.issuer.value.as_str()).collect();
    let mut names = BTreeSet::new();
    let mut resources = BTreeSet::new();
    let mut servers = Vec::new();
    let mut built: Vec<Server> = Vec::new();
    for at in &raw.servers {
        let name = &at.value.name;
        if !names.insert(name.value.as_str()) {
            lowering.fault(
                Code::Repeated,
                name.place,
                format!("the server `{}` stands twice", name.value),
            );
        }
        // A token for one of the two would be one for the other.
        if let Some(resource) = &at.value.resource
            && !resources.insert(resource.value.trim_end_matches('/'))
        {
            lowering.fault_with(
                Code::Repeated,
                resource.place,
                format!("the resource `{}` has two servers", resource.value),
                Some("each endpoint is a resource of its own; `audiences` names further ones"),
            );
        }
        if let Some((plan, server)) = server::lower(lowering, at, raw, issuers, &known) {
            tenants::check_hosts(lowering, &at.value, &server, built.iter());
            tenants::check_audiences(lowering, at, &server, built.iter());
            tenants::warn(lowering, at, &server);
            servers.push(plan);
            built.push(server);
        }
    }
    servers
}
