//! Whose callers are whose: the tenants of issuers and servers, and the hosts that tell servers at one path apart.
//!
//! Owns what issuers and servers together make possible: two servers that one request could mean, and policies that
//! take people of two issuers or tenants for one another. What a token's tenant is, the core says.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_core::config::Server;
use portcullis_core::token::{Issuer, TokenTenant};

use super::diagnose::{Code, Warning};
use super::lower::Lowering;
use super::raw::{At, Place, RawIssuer, RawServer};

/// To which tenant the tokens of an issuer belong; `None` after a fault.
pub(super) fn of_issuer(lowering: &mut Lowering<'_>, raw: &RawIssuer) -> Option<TokenTenant> {
    match (&raw.tenant, &raw.tenant_claim) {
        (None, None) => Some(TokenTenant::Untold),
        (None, Some(claim)) => Some(TokenTenant::Claim(claim.value.clone())),
        (Some(tenant), None) => Some(TokenTenant::Fixed(Arc::from(tenant.value.as_str()))),
        (Some(_), Some(claim)) => {
            let message = "`tenant` and `tenant_claim` both say whose the tokens are, and only one can hold";
            lowering.fault(Code::IssuerInvalid, claim.place, message);
            None
        }
    }
}

/// Notes a fault for each of `before` that a request to `server` could mean as well.
pub(super) fn check_hosts<'s>(
    lowering: &mut Lowering<'_>,
    raw: &RawServer,
    server: &Server,
    before: impl Iterator<Item = &'s Server>,
) {
    for first in before.filter(|first| first.path() == server.path()) {
        // Asked this way round, the host is written as this server has it.
        let Some(host) = server.shared_host(first) else {
            continue;
        };
        let listed = raw.hosts.iter().find(|listed| listed.value == **host);
        let resource = raw.resource.as_ref().map_or(raw.path.place, |resource| resource.place);
        let message = format!(
            "the servers `{}` and `{}` share the path `{}` and the host `{host}`",
            first.name(),
            server.name(),
            server.path(),
        );
        let help = "servers at one path need hosts of their own: that of `resource`, and those of `hosts`";
        let place = listed.map_or(resource, |listed| listed.place);
        lowering.fault_with(Code::Repeated, place, message, Some(help));
    }
}

/// Notes a fault for each of `before` that serves another tenant by the same tokens: whoever has one would choose the
/// tenant by the host or the path that is asked for.
pub(super) fn check_audiences<'s>(
    lowering: &mut Lowering<'_>,
    at: &At<RawServer>,
    server: &Server,
    before: impl Iterator<Item = &'s Server>,
) {
    for first in before.filter(|first| first.tenant() != server.tenant()) {
        let untold = server
            .issuers()
            .iter()
            .filter(|issuer| *issuer.tenant() == TokenTenant::Untold);
        let shared = untold
            .filter(|issuer| first.issuers().iter().any(|other| other.url() == issuer.url()))
            .find_map(|issuer| {
                let theirs = first.audiences(issuer);
                let both = server
                    .audiences(issuer)
                    .iter()
                    .find(|audience| theirs.contains(audience));
                both.map(|audience| (issuer.url(), audience))
            });
        let Some((issuer, audience)) = shared else {
            continue;
        };
        let message = format!(
            "the servers `{}` and `{}` are of two tenants and take the same tokens: those of `{issuer}` for `{audience}`",
            first.name(),
            server.name(),
        );
        let help =
            "give each server audiences of its own, or say by `tenant` or `tenant_claim` whose the issuer's tokens are";
        let place = at.value.tenant.as_ref().map_or(at.place, |tenant| tenant.place);
        lowering.fault_with(Code::ServerInvalid, place, message, Some(help));
    }
}

/// Warns of a server whose policy cannot tell the people of two issuers, or of two tenants, apart.
pub(super) fn warn(lowering: &mut Lowering<'_>, at: &At<RawServer>, server: &Server) {
    let place = at.value.policy.as_ref().map_or(at.place, |policy| policy.place);
    warn_of_issuers(lowering, at, place, server);
    warn_of_tenants(lowering, place, server);
}

fn warn_of_issuers(lowering: &mut Lowering<'_>, at: &At<RawServer>, place: Place, server: &Server) {
    let mut issuers: BTreeSet<&str> = server.issuers().iter().map(|issuer| &**issuer.url()).collect();
    if at.value.danger_shared_secret.is_some() {
        // Whoever it stands for has a name that people of the issuers may have too.
        issuers.insert(SHARED_SECRET_ISSUER);
    }
    let policy = server.policy();
    let told_apart = policy.decision_reads(&["subject", "issuer"])
        || policy.decision_reads(&["subject", "claims", "iss"])
        || (policy.decision_reads(&["tenant"]) && has_tenant_each(server));
    if issuers.len() < 2 || told_apart {
        return;
    }
    let trusted = match (server.issuers().len(), &at.value.danger_shared_secret) {
        (1, Some(_)) => "1 issuer and a shared secret".to_owned(),
        (count, Some(_)) => format!("{count} issuers and a shared secret"),
        (count, None) => format!("{count} issuers"),
    };
    lowering.warn(
        Warning::IssuerUnread,
        place,
        format!(
            "server `{}` trusts {trusted}, and its policy never reads `input.subject.issuer`: people of the same name \
             at two of them are the same to it",
            server.name()
        ),
        "look people up by tenant, issuer and subject: `data.subjects[input.tenant][input.subject.issuer][input.subject.id]`",
    );
}

/// The issuer of whom a shared secret stands for, as policies and records have it.
const SHARED_SECRET_ISSUER: &str = "urn:portcullis:shared-secret";

/// Whether the tenant alone tells which issuer a caller is known to.
fn has_tenant_each(server: &Server) -> bool {
    let mut tenants = BTreeSet::new();
    server.tenant().is_none()
        && server.issuers().iter().all(|issuer| match issuer.tenant() {
            TokenTenant::Fixed(tenant) => tenants.insert(tenant),
            TokenTenant::Claim(_) | TokenTenant::Untold => false,
        })
}

fn warn_of_tenants(lowering: &mut Lowering<'_>, place: Place, server: &Server) {
    let policy = server.policy();
    if server.tenant().is_some() || policy.decision_reads(&["tenant"]) {
        return;
    }
    let reads_claim = |claim: &str| {
        let mut path = vec!["subject", "claims"];
        match claim.strip_prefix('/') {
            Some(pointer) => path.extend(pointer.split('/')),
            None => path.push(claim),
        }
        policy.decision_reads(&path)
    };
    let unread = |issuer: &&Arc<Issuer>| matches!(issuer.tenant(), TokenTenant::Claim(claim) if !reads_claim(claim));
    let Some(issuer) = server.issuers().iter().find(unread) else {
        return;
    };
    lowering.warn(
        Warning::TenantUnread,
        place,
        format!(
            "server `{}` serves every tenant that tokens of `{}` name, and its policy never reads `input.tenant`: \
             people of all of them are the same to it",
            server.name(),
            issuer.url()
        ),
        "look people up by tenant, issuer and subject, or give the server a `tenant`: it then serves that one alone",
    );
}
