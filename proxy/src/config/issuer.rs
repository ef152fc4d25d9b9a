//! One authorization server: from what was written to what the core takes.
//!
//! Owns the checks of issuers, and of the audiences that servers list for them. Fetches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use portcullis_core::Algorithm;
use portcullis_core::token::{IdentityForm, Issuer, IssuerParts};

use super::diagnose::{self, Code, nearest};
use super::lower::Lowering;
use super::raw::{At, RawForm, RawIdentity, RawIssuer, RawServer};
use super::{IssuerPlan, introspection};

/// Lowers the issuers; those with a fault are left out.
pub(super) fn lower(lowering: &mut Lowering<'_>, raw: &[At<RawIssuer>]) -> Vec<IssuerPlan> {
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
                    None => format!("known are {}", diagnose::list(&known)),
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

/// The audiences that a server lists for single issuers; `None` after a fault.
pub(super) fn audiences(lowering: &mut Lowering<'_>, raw: &RawServer) -> Option<BTreeMap<Arc<str>, Vec<Arc<str>>>> {
    let name = &raw.name.value;
    let accepted: Vec<&str> = raw.issuers.iter().map(|url| url.value.as_str()).collect();
    let mut lists = BTreeMap::new();
    let mut whole = true;
    for (url, list) in &raw.issuer_audiences {
        if !accepted.contains(&url.as_str()) {
            let help = nearest(url, &accepted).map(|near| format!("did you mean `{near}`?"));
            let message = format!("server `{name}` lists audiences for the issuer `{url}`, which it does not accept");
            lowering.fault_with(Code::IssuerUnknown, list.place, message, help.as_deref());
            whole = false;
        }
        if list.value.is_empty() || list.value.iter().any(|audience| audience.value.is_empty()) {
            let message = format!("server `{name}` accepts no audience from the issuer `{url}`");
            let help = "name at least one audience, or leave the issuer out: its tokens then name the `resource`";
            lowering.fault_with(Code::ServerInvalid, list.place, message, Some(help));
            whole = false;
        }
        let audiences = list.value.iter().map(|text| Arc::from(text.value.as_str()));
        lists.insert(Arc::from(url.as_str()), audiences.collect());
    }
    whole.then_some(lists)
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
