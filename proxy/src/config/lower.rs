//! From the configuration as written to the configuration as used.
//!
//! Owns the order of lowering and the checks of listeners, audit and issuers; servers are `server`'s. Gathers every
//! fault instead of stopping at the first. Opens no socket; looks names up only when it is told to.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use portcullis_core::Algorithm;
use portcullis_core::token::{IdentityForm, Issuer, IssuerParts};
use zeroize::Zeroizing;

use super::diagnose::{Code, Diagnostic, Diagnostics, nearest};
use super::files::Files;
use super::raw::{At, Place, RawAdmin, RawConfig, RawForm, RawIdentity, RawIssuer, RawListener};
use super::{AuditPlace, Config, IssuerPlan, Names, ServerPlan, introspection, limits, server};
use crate::listen::{Listener, TlsFiles};
use crate::tls;

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
        faults: Vec::new(),
    };
    let (limits, refusals) = limits::lower(raw.limits.as_ref());
    for (place, message) in refusals {
        lowering.fault(Code::InvalidValue, place, message);
    }
    let listeners = listeners(&mut lowering, &raw.listen);
    let admin = raw.admin.as_ref().and_then(|raw| admin(&mut lowering, raw));
    let audit = AuditPlace {
        directory: lowering.files.path(&raw.audit.directory.value),
        digest_key: match &raw.audit.digest_key {
            Some(name) => lowering.files.path(&name.value),
            None => lowering.files.path(&raw.audit.directory.value).join("digest.key"),
        },
    };
    let issuers = issuers(&mut lowering, &raw.issuers);
    let servers = servers(&mut lowering, raw, &issuers);
    let upstream_ca = raw.upstream_ca.as_ref().map(|name| {
        let path = lowering.files.path(&name.value);
        if let Err(error) = tls::checked_roots(&path) {
            lowering.fault(Code::FileUnreadable, name.place, error.to_string());
        }
        path
    });
    let node = raw.node.as_ref().map_or("portcullis", |node| &node.value);
    let config = Config {
        node: Arc::from(node),
        listeners,
        admin,
        audit,
        issuers,
        servers,
        upstream_ca,
        limits,
        digest: lowering.files.digest(),
    };
    if lowering.faults.is_empty() {
        Ok(config)
    } else {
        Err(Diagnostics {
            diagnostics: lowering.faults,
        })
    }
}

/// What every step of lowering needs, and the faults so far.
pub(super) struct Lowering<'s> {
    source: &'s str,
    path: PathBuf,
    /// The files that the configuration names.
    pub files: Files,
    /// Whether names are looked up.
    pub names: Names,
    /// Policy replicas.
    pub workers: usize,
    faults: Vec<Diagnostic>,
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
        let tls = listener.tls.as_ref().map(|tls| TlsFiles {
            certificate: lowering.files.path(&tls.certificate.value),
            key: lowering.files.path(&tls.key.value),
            client_ca: tls.client_ca.as_ref().map(|name| lowering.files.path(&name.value)),
        });
        if let Some(Err(error)) = tls.as_ref().map(tls::settings) {
            lowering.fault(Code::ListenerInvalid, listener.address.place, error.to_string());
        }
        listeners.push(Listener { address, tls });
    }
    listeners
}

/// An IP address with a port; `None` after a fault.
fn socket_address(lowering: &mut Lowering<'_>, written: &At<String>, help: &str) -> Option<SocketAddr> {
    if let Ok(address) = written.value.parse() {
        return Some(address);
    }
    let message = format!("`{}` is no IP address with a port", written.value);
    lowering.fault_with(Code::ListenerInvalid, written.place, message, Some(help));
    None
}

/// The address of the admin listener; `None` after a fault. It asks for no token, so it is reached from this machine
/// alone unless that was waived.
fn admin(lowering: &mut Lowering<'_>, raw: &RawAdmin) -> Option<SocketAddr> {
    let help = "write it like `127.0.0.1:9901` or `[::1]:0`";
    let address = socket_address(lowering, &raw.address, help)?;
    if !raw.danger_public && !address.ip().to_canonical().is_loopback() {
        let message = format!("the admin address `{address}` is not on loopback, and the listener asks for no token");
        let help = "listen on loopback and put what authenticates its callers in front of it, \
                    or set `danger_public: true` here";
        lowering.fault_with(Code::ListenerInvalid, raw.address.place, message, Some(help));
        return None;
    }
    Some(address)
}

fn issuers(lowering: &mut Lowering<'_>, raw: &[At<RawIssuer>]) -> Vec<IssuerPlan> {
    let mut seen = BTreeSet::new();
    let mut issuers = Vec::new();
    for at in raw {
        let url = &at.value.issuer;
        if !seen.insert(url.value.as_str()) {
            lowering.fault(
                Code::Repeated,
                url.place,
                format!("the issuer `{}` stands twice", url.value),
            );
        }
        issuers.extend(issuer(lowering, &at.value));
    }
    issuers
}

/// One issuer; `None` after a fault.
fn issuer(lowering: &mut Lowering<'_>, raw: &RawIssuer) -> Option<IssuerPlan> {
    for url in [Some(&raw.issuer), raw.jwks_uri.as_ref()].into_iter().flatten() {
        if !fetchable(&url.value) {
            lowering.fault_with(
                Code::IssuerInvalid,
                url.place,
                format!("`{}` cannot be asked for keys", url.value),
                Some("an https URL without query and fragment, or http on loopback"),
            );
            return None;
        }
    }
    let ca_pem = match &raw.ca {
        Some(name) => Some(Arc::from(lowering.read(name)?)),
        None => None,
    };
    let url: Arc<str> = Arc::from(raw.issuer.value.as_str());
    let mut parts = IssuerParts::strict(Arc::clone(&url));
    if let Some(names) = &raw.algorithms {
        parts.algorithms = algorithms(lowering, names)?;
    }
    parts.identity = identity(lowering, raw.identity.as_ref())?;
    parts.token_types = raw.danger_accept_any_jwt.then(|| ANY_JWT.map(str::to_owned).to_vec());
    parts.key_source = key_source(raw, ca_pem.as_deref());
    let (rules, plan) = introspection::lower(lowering, raw)?.unzip();
    parts.introspection = rules;
    parts.groups_claim = raw.groups_claim.as_ref().map(|claim| claim.value.clone());
    parts.roles_claim = raw.roles_claim.as_ref().map(|claim| claim.value.clone());
    match Issuer::new(parts) {
        Ok(issuer) => Some(IssuerPlan {
            issuer: Arc::new(issuer),
            url,
            jwks_uri: raw.jwks_uri.as_ref().map(|uri| Arc::from(uri.value.as_str())),
            ca_pem,
            danger_allow_private_addresses: raw.danger_allow_private_addresses,
            introspection: plan,
        }),
        Err(error) => {
            lowering.fault(Code::IssuerInvalid, raw.issuer.place, error.to_string());
            None
        }
    }
}

fn algorithms(lowering: &mut Lowering<'_>, raw: &[At<String>]) -> Option<Vec<Algorithm>> {
    let mut algorithms = Vec::new();
    for name in raw {
        match Algorithm::from_name(&name.value) {
            Some(algorithm) => algorithms.push(algorithm),
            None => {
                let known = Algorithm::ALL.map(Algorithm::name);
                let help = match nearest(&name.value, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known are {}", super::diagnose::list(&known)),
                };
                let message = format!("`{}` is no accepted signature algorithm", name.value);
                lowering.fault_with(Code::IssuerInvalid, name.place, message, Some(&help));
                return None;
            }
        }
    }
    Some(algorithms)
}

fn identity(lowering: &mut Lowering<'_>, raw: Option<&RawIdentity>) -> Option<IdentityForm> {
    let Some(raw) = raw else {
        return Some(IdentityForm::default());
    };
    match (raw.form.value, &raw.agents, &raw.claim) {
        (RawForm::Act, None, None) => Some(IdentityForm::Act),
        (RawForm::HumanClaim, None, Some(claim)) => Some(IdentityForm::HumanClaim(claim.value.clone())),
        (RawForm::ListedAgents, Some(agents), None) if !agents.is_empty() => Some(IdentityForm::ListedAgents(
            agents.iter().map(|agent| agent.value.clone()).collect(),
        )),
        (form, _, _) => {
            let needs = match form {
                RawForm::Act => "form `act` takes neither `agents` nor `claim`",
                RawForm::HumanClaim => "form `human_claim` needs `claim` and nothing else",
                RawForm::ListedAgents => "form `listed_agents` needs a list `agents` and nothing else",
            };
            lowering.fault(Code::IssuerInvalid, raw.form.place, needs);
            None
        }
    }
}

fn servers(lowering: &mut Lowering<'_>, raw: &RawConfig, issuers: &[IssuerPlan]) -> Vec<ServerPlan> {
    if raw.servers.is_empty() {
        lowering.fault(Code::ServerInvalid, Place::default(), "there is no server to protect");
    }
    // An issuer that has its own fault is still a known name: one fault, one diagnostic.
    let known: Vec<&str> = raw.issuers.iter().map(|at| at.value.issuer.value.as_str()).collect();
    let mut names = BTreeSet::new();
    let mut paths = BTreeSet::new();
    let mut resources = BTreeSet::new();
    let mut servers = Vec::new();
    for at in &raw.servers {
        let (name, path) = (&at.value.name, &at.value.path);
        if !names.insert(name.value.as_str()) {
            lowering.fault(
                Code::Repeated,
                name.place,
                format!("the server `{}` stands twice", name.value),
            );
        }
        if !paths.insert(path.value.as_str()) {
            lowering.fault(
                Code::Repeated,
                path.place,
                format!("the path `{}` has two servers", path.value),
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
        servers.extend(server::lower(lowering, at, issuers, &known));
    }
    servers
}

/// Where an issuer's keys come from: a reload that changes any of it starts without keys.
fn key_source(raw: &RawIssuer, ca_pem: Option<&str>) -> Arc<str> {
    let uri = raw.jwks_uri.as_ref().map_or("metadata", |uri| &uri.value);
    let roots = ca_pem.unwrap_or("system");
    Arc::from(format!("{uri} {} {roots}", raw.danger_allow_private_addresses))
}

/// Whether keys may be fetched from this URL: https, or http on loopback.
fn fetchable(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let Some(host) = uri.host() else {
        return false;
    };
    let plain = !url.contains(['#', '?', '@', '\\']);
    match uri.scheme_str() {
        Some("https") => plain,
        Some("http") => plain && is_loopback(host),
        Some(_) | None => false,
    }
}

/// Whether a URL's host is this machine, by name or by number.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Every `typ` that an issuer may give its access tokens, `absent` for none.
const ANY_JWT: [&str; 4] = ["at+jwt", "application/at+jwt", "JWT", "absent"];
