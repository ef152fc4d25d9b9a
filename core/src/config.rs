//! The configuration as used: parsed, complete, and impossible to hold in a wrong state.
//!
//! Owns [`Server`] and its parts; [`Limits`] stand in their own file. Reads no file and no environment: the embedder lowers what an operator
//! wrote into these types, and [`Server::new`] refuses what would let anything through by omission.

mod limits;
mod scopes;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::OnChange;
use crate::credential;
use crate::denial::{Denial, DenyReason, DenyStyle};
use crate::head::is_unreserved;
use crate::identity::{MachineIdentities, SharedSecret};
use crate::limit::Rate;
use crate::policy::Policy;
use crate::scope::{PromptTable, ResourceTable, ToolTable};
use crate::token::{SenderRules, Target, TokenTenant, is_tenant};

pub use limits::Limits;
pub use upstream::{
    CredentialGroup, CredentialKind, Credentials, CredentialsError, Endpoint, ForwardHeaders, Kept, Upstream,
    UpstreamCredential,
};

/// What the operator wrote for one server, before it is checked by [`Server::new`].
#[derive(Debug)]
pub struct ServerParts {
    /// The server's name: in records, in policy input, in logs.
    pub name: Arc<str>,
    /// The only tenant whose callers it serves; `None` serves those of whichever their tokens name.
    pub tenant: Option<Arc<str>>,
    /// The path of the gate's endpoint, starting with `/`.
    pub path: Arc<str>,
    /// The canonical URI of the resource (RFC 8707): the public URL of this endpoint.
    pub resource: Arc<str>,
    /// Further accepted audiences.
    pub audiences: Vec<Arc<str>>,
    /// By the URL of an accepted issuer: the audiences that its tokens may name, in place of the resource and
    /// `audiences`.
    pub issuer_audiences: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Accepted authorities of `Host`; the resource's own is always accepted.
    pub hosts: Vec<Arc<str>>,
    /// Accepted values of `Origin`; a request without one is no browser's.
    pub origins: Vec<Arc<str>>,
    /// The accepted issuers.
    pub issuers: Vec<Arc<crate::token::Issuer>>,
    /// The scope table of tools.
    pub tools: ToolTable,
    /// The scope table of prompts; the default refuses each.
    pub prompts: PromptTable,
    /// The scope table of resources; the default refuses each.
    pub resources: ResourceTable,
    /// The compiled policy.
    pub policy: Arc<Policy>,
    /// Where calls go.
    pub upstream: Upstream,
    /// Names of query parameters that clients may send; their values are neither read nor forwarded.
    pub query_names: Vec<Arc<str>>,
    /// Takes the place of a token from peers on loopback; `None` for every server that others reach.
    pub danger_shared_secret: Option<SharedSecret>,
    /// The rate of one subject through one client.
    pub rate: Rate,
    /// What is asked of the senders of tokens, beyond what the tokens are bound to.
    pub sender: SenderRules,
    /// What the client may tell people: the name of the resource in its metadata.
    pub title: Option<Arc<str>>,
    /// The machines that it knows by name.
    pub machines: MachineIdentities,
    /// How refusals of the policy are told.
    pub deny_style: DenyStyle,
    /// What becomes of tools whose definitions are not the accepted ones.
    pub tools_on_change: OnChange,
}

impl ServerParts {
    /// What every server must have; all else is at its strictest, or not there at all.
    pub fn strict(
        name: &str,
        path: &str,
        resource: &str,
        issuers: Vec<Arc<crate::token::Issuer>>,
        tools: ToolTable,
        policy: Arc<Policy>,
        upstream: Upstream,
    ) -> Self {
        Self {
            name: Arc::from(name),
            tenant: None,
            path: Arc::from(path),
            resource: Arc::from(resource),
            audiences: Vec::new(),
            issuer_audiences: BTreeMap::new(),
            hosts: Vec::new(),
            origins: Vec::new(),
            issuers,
            tools,
            prompts: PromptTable::default(),
            resources: ResourceTable::default(),
            policy,
            upstream,
            query_names: Vec::new(),
            danger_shared_secret: None,
            rate: Rate {
                per_second: 50,
                burst: 100,
            },
            sender: SenderRules::default(),
            title: None,
            machines: MachineIdentities::default(),
            deny_style: DenyStyle::Http,
            tools_on_change: OnChange::Withhold,
        }
    }
}

/// One protected MCP server, checked: it has an audience, an issuer, a tool table and a policy.
#[derive(Debug)]
pub struct Server {
    parts: ServerParts,
    /// The tenant of callers whose tokens name none.
    tenant: Arc<str>,
    metadata_url: Arc<str>,
    target: Target,
    accepted_audiences: Arc<[Arc<str>]>,
    issuer_audiences: BTreeMap<Arc<str>, Arc<[Arc<str>]>>,
    accepted_hosts: Vec<Arc<str>>,
}

/// What makes a server's configuration unusable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ServerError {
    /// An issuer's tokens have no audience that the server accepts: the list is empty, or has an empty entry.
    #[error("server `{0}` accepts no audience from the issuer `{1}`: a list of audiences names at least one")]
    Audience(Arc<str>, Arc<str>),
    /// Audiences are listed for an issuer that the server does not accept.
    #[error("server `{0}` lists audiences for the issuer `{1}`, which it does not accept")]
    AudienceIssuer(Arc<str>, Arc<str>),
    /// An issuer's tokens may lack `aud`, and what may stand in for it is not listed.
    #[error("server `{0}` lists no audiences for the issuer `{1}`, whose tokens may lack `aud`")]
    AudienceUnlisted(Arc<str>, Arc<str>),
    /// What its upstream is shown does not fit its tools.
    #[error("server `{0}`: {1}")]
    Credentials(Arc<str>, CredentialsError),
    /// A machine is a client of an issuer that the server does not accept.
    #[error("server `{0}` has a machine of the issuer `{1}`, which it does not accept")]
    MachineIssuer(Arc<str>, Arc<str>),
    /// A machine's URI lies in the name space of an issuer: who has a token could be taken for who has a certificate.
    #[error(
        "server `{0}` has a machine whose URI begins with the issuer `{1}`: its name would be one of that issuer's"
    )]
    MachineNameSpace(Arc<str>, Arc<str>),
    /// The server accepts no issuer.
    #[error("server `{0}` has no issuer: no token could be verified")]
    IssuerMissing(Arc<str>),
    /// The path does not start with `/` or holds a query, a fragment or a dot segment.
    #[error("server `{0}` has the path `{1}`: a path starts with `/` and has no query, fragment or dot segment")]
    Path(Arc<str>, Arc<str>),
    /// A query parameter that may not be let in, or has no name.
    #[error(
        "server `{0}` lets the query parameter `{1}` in: a name has 1 to 64 letters, digits or `-._~`, and is none that \
         credentials go by, such as `access_token` or `key`"
    )]
    QueryName(Arc<str>, Arc<str>),
    /// The resource is not an absolute http(s) URI without query and fragment.
    #[error(
        "server `{0}` has the resource `{1}`: a resource is an absolute http or https URL without query and fragment"
    )]
    Resource(Arc<str>, Arc<str>),
    /// A secret of many would stand beside tokens that one sender must prove to hold.
    #[error("server `{0}` asks for bound tokens (`dpop: {{required: true}}`) and has `danger_shared_secret`")]
    SharedSecretBound(Arc<str>),
    /// The tenant has no name, or a name that is too long.
    #[error("server `{0}` has a tenant without a name, or with one of more than 128 bytes")]
    Tenant(Arc<str>),
    /// Every token of an issuer belongs to another tenant than the server's.
    #[error(
        "server `{server}` serves the tenant `{tenant}` alone, and every token of the issuer `{issuer}` belongs to another"
    )]
    TenantIssuer {
        /// The server.
        server: Arc<str>,
        /// Its tenant.
        tenant: Arc<str>,
        /// The issuer.
        issuer: Arc<str>,
    },
    /// The scope table is empty.
    #[error("server `{0}` has no tools: every call would be refused")]
    ToolsMissing(Arc<str>),
    /// The upstream has no endpoint, or none of them an address.
    #[error("the upstream of server `{0}` has no address")]
    UpstreamAddress(Arc<str>),
    /// Two endpoints have one id: which of them opened a session would be a guess.
    #[error("two endpoints of the upstream of server `{0}` have one id")]
    UpstreamRepeated(Arc<str>),
}

impl Server {
    /// Checks the parts of a server.
    ///
    /// # Errors
    /// [`ServerError`] for whatever is missing: nothing has a default that lets a call through.
    pub fn new(parts: ServerParts) -> Result<Self, ServerError> {
        let name = &parts.name;
        if parts.issuers.is_empty() {
            return Err(ServerError::IssuerMissing(Arc::clone(name)));
        }
        if parts.tools.is_empty() {
            return Err(ServerError::ToolsMissing(Arc::clone(name)));
        }
        check_endpoints(&parts)?;
        parts
            .upstream
            .credentials
            .check(&parts.tools, &parts.prompts, &parts.resources)
            .map_err(|error| ServerError::Credentials(Arc::clone(name), error))?;
        check_tenant(&parts)?;
        let plain = |text: &str| {
            !text.contains(['?', '#', ' ', '\\']) && !text.split('/').any(|part| part == ".." || part == ".")
        };
        if !parts.path.starts_with('/') || !plain(&parts.path) {
            return Err(ServerError::Path(Arc::clone(name), Arc::clone(&parts.path)));
        }
        let Some((origin, authority)) = origin_of(&parts.resource).filter(|_| plain(&parts.resource)) else {
            return Err(ServerError::Resource(Arc::clone(name), Arc::clone(&parts.resource)));
        };
        let Some(target) = Target::parse(&parts.resource) else {
            return Err(ServerError::Resource(Arc::clone(name), Arc::clone(&parts.resource)));
        };
        let metadata_url = Arc::from(format!(
            "{origin}/.well-known/oauth-protected-resource{}",
            parts.path.trim_end_matches('/')
        ));
        let mut accepted_hosts = parts.hosts.clone();
        accepted_hosts.push(Arc::from(authority.to_ascii_lowercase()));
        let mut accepted_audiences = parts.audiences.clone();
        accepted_audiences.extend(audience_forms(&parts.resource));
        check_issuer_audiences(&parts)?;
        check_machines(&parts)?;
        if let Some(query) = parts.query_names.iter().find(|query| !is_query_name(query)) {
            return Err(ServerError::QueryName(Arc::clone(name), Arc::clone(query)));
        }
        if parts.danger_shared_secret.is_some() && parts.sender.dpop_required {
            return Err(ServerError::SharedSecretBound(Arc::clone(name)));
        }
        let listed = parts.issuer_audiences.iter();
        let issuer_audiences = listed
            .map(|(url, list)| (Arc::clone(url), Arc::from(list.as_slice())))
            .collect();
        Ok(Self {
            tenant: parts.tenant.clone().unwrap_or_else(|| Arc::from(DEFAULT_TENANT)),
            parts,
            metadata_url,
            target,
            accepted_audiences: Arc::from(accepted_audiences),
            issuer_audiences,
            accepted_hosts,
        })
    }

    /// The server's name.
    pub fn name(&self) -> &Arc<str> {
        &self.parts.name
    }

    /// The only tenant whose callers it serves, when there is only one.
    pub const fn tenant(&self) -> Option<&Arc<str>> {
        self.parts.tenant.as_ref()
    }

    /// The tenant of a caller whose proof names `told`: that one, else the server's own, else [`DEFAULT_TENANT`].
    ///
    /// # Errors
    /// [`DenyReason::TenantForeign`] when the server serves another.
    pub fn tenant_of<'t>(&'t self, told: Option<&'t Arc<str>>) -> Result<&'t Arc<str>, Denial> {
        match (self.tenant(), told) {
            (Some(own), Some(told)) if own != told => Err(Denial::new(
                DenyReason::TenantForeign,
                "the token belongs to another tenant than the server",
            )),
            (_, Some(told)) => Ok(told),
            (_, None) => Ok(&self.tenant),
        }
    }

    /// The path of the endpoint.
    pub fn path(&self) -> &str {
        &self.parts.path
    }

    /// The canonical URI of the resource.
    pub fn resource(&self) -> &Arc<str> {
        &self.parts.resource
    }

    /// The resource's name for people.
    pub fn title(&self) -> Option<&str> {
        self.parts.title.as_deref()
    }

    /// The absolute URL of the resource's metadata (RFC 9728), on the gate's own origin.
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// The accepted issuers, at least one.
    pub fn issuers(&self) -> &[Arc<crate::token::Issuer>] {
        &self.parts.issuers
    }

    /// Audiences by which tokens of `issuer` mean this server, at least one: those listed for it, else the resource
    /// with and without a trailing slash and those configured for every issuer.
    pub fn audiences(&self, issuer: &crate::token::Issuer) -> &Arc<[Arc<str>]> {
        self.issuer_audiences
            .get(issuer.url())
            .unwrap_or(&self.accepted_audiences)
    }

    /// An authority that clients may ask both servers for; `None` when a request can only mean one of them.
    pub fn shared_host(&self, other: &Self) -> Option<&Arc<str>> {
        self.accepted_hosts.iter().find(|host| other.accepts_host(host))
    }

    /// Whether a client may have asked for this authority; ASCII case does not count.
    pub fn accepts_host(&self, host: &str) -> bool {
        self.accepted_hosts
            .iter()
            .any(|accepted| accepted.eq_ignore_ascii_case(host))
    }

    /// Whether a browser at this origin may call.
    pub fn accepts_origin(&self, origin: &str) -> bool {
        self.parts.origins.iter().any(|accepted| &**accepted == origin)
    }

    /// The scope table of tools.
    pub fn tools(&self) -> &ToolTable {
        &self.parts.tools
    }

    /// The scope table of prompts.
    pub fn prompts(&self) -> &PromptTable {
        &self.parts.prompts
    }

    /// The scope table of resources.
    pub fn resources(&self) -> &ResourceTable {
        &self.parts.resources
    }

    /// The compiled policy.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.parts.policy
    }

    /// Where calls go.
    pub fn upstream(&self) -> &Upstream {
        &self.parts.upstream
    }

    /// The resource in the normal form in which proofs of possession are compared with it.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What is asked of the senders of tokens.
    pub fn sender(&self) -> SenderRules {
        self.parts.sender
    }

    /// The machines that it knows by name.
    pub fn machines(&self) -> &MachineIdentities {
        &self.parts.machines
    }

    /// What becomes of tools whose definitions are not the accepted ones.
    pub const fn tools_on_change(&self) -> OnChange {
        self.parts.tools_on_change
    }

    /// How refusals of the policy are told.
    pub const fn deny_style(&self) -> DenyStyle {
        self.parts.deny_style
    }

    /// Names of query parameters that clients may send.
    pub fn query_names(&self) -> &[Arc<str>] {
        &self.parts.query_names
    }

    /// What takes the place of a token from peers on loopback.
    pub(crate) fn shared_secret(&self) -> Option<&SharedSecret> {
        self.parts.danger_shared_secret.as_ref()
    }

    /// The rate of one subject through one client.
    pub fn rate(&self) -> Rate {
        self.parts.rate
    }
}

/// The tenant of callers for whom neither token nor server names one.
pub const DEFAULT_TENANT: &str = "default";

/// Whether a query parameter of this name may be let in: nothing that needs an escape, and no name of a credential.
fn is_query_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(is_unreserved) && !credential::names_secret(name)
}

/// The origin and the authority of an absolute http(s) URI.
fn origin_of(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    if scheme != "https" && scheme != "http" {
        return None;
    }
    let authority = rest
        .split('/')
        .next()
        .filter(|authority| !authority.is_empty() && !authority.contains('@'))?;
    let length = scheme.len().saturating_add(3).saturating_add(authority.len());
    Some((uri.get(..length)?, authority))
}

/// Checks that calls have somewhere to go, and sessions one place to go back to.
fn check_endpoints(parts: &ServerParts) -> Result<(), ServerError> {
    let endpoints = &parts.upstream.endpoints;
    if endpoints.iter().all(|endpoint| endpoint.addresses.is_empty()) {
        return Err(ServerError::UpstreamAddress(Arc::clone(&parts.name)));
    }
    let ids: BTreeSet<_> = endpoints.iter().map(|endpoint| endpoint.id).collect();
    match ids.len() == endpoints.len() {
        true => Ok(()),
        false => Err(ServerError::UpstreamRepeated(Arc::clone(&parts.name))),
    }
}

/// Checks that the server's tenant, if it has one, can be that of tokens from each of its issuers.
fn check_tenant(parts: &ServerParts) -> Result<(), ServerError> {
    let Some(own) = &parts.tenant else {
        return Ok(());
    };
    if !is_tenant(own) {
        return Err(ServerError::Tenant(Arc::clone(&parts.name)));
    }
    let foreign =
        |issuer: &&Arc<crate::token::Issuer>| matches!(issuer.tenant(), TokenTenant::Fixed(tenant) if tenant != own);
    match parts.issuers.iter().find(foreign) {
        Some(issuer) => Err(ServerError::TenantIssuer {
            server: Arc::clone(&parts.name),
            tenant: Arc::clone(own),
            issuer: Arc::clone(issuer.url()),
        }),
        None => Ok(()),
    }
}

/// Checks the audiences listed for single issuers, each of which the server must accept.
fn check_issuer_audiences(parts: &ServerParts) -> Result<(), ServerError> {
    let name = || Arc::clone(&parts.name);
    let unlisted = |issuer: &&Arc<crate::token::Issuer>| {
        issuer.replaces_audience() && !parts.issuer_audiences.contains_key(issuer.url())
    };
    if let Some(issuer) = parts.issuers.iter().find(unlisted) {
        return Err(ServerError::AudienceUnlisted(name(), Arc::clone(issuer.url())));
    }
    for (url, list) in &parts.issuer_audiences {
        if !parts.issuers.iter().any(|issuer| issuer.url() == url) {
            return Err(ServerError::AudienceIssuer(name(), Arc::clone(url)));
        }
        if list.is_empty() || list.iter().any(|audience| audience.is_empty()) {
            return Err(ServerError::Audience(name(), Arc::clone(url)));
        }
    }
    Ok(())
}

/// Checks that machines are clients of accepted issuers, and that none has a name that such an issuer could give.
fn check_machines(parts: &ServerParts) -> Result<(), ServerError> {
    let accepted = |url: &Arc<str>| parts.issuers.iter().any(|issuer| issuer.url() == url);
    let name = || Arc::clone(&parts.name);
    if let Some(url) = parts.machines.client_issuers().find(|url| !accepted(url)) {
        return Err(ServerError::MachineIssuer(name(), Arc::clone(url)));
    }
    match parts.machines.certificate_issuers().find(|issuer| accepted(issuer)) {
        Some(issuer) => Err(ServerError::MachineNameSpace(name(), Arc::clone(issuer))),
        None => Ok(()),
    }
}

/// The resource as written, and with or without the trailing slash: SDKs normalise an origin to `origin/`.
fn audience_forms(resource: &Arc<str>) -> [Arc<str>; 2] {
    let other = match resource.strip_suffix('/') {
        Some(bare) => Arc::from(bare),
        None => Arc::from(format!("{resource}/")),
    };
    [Arc::clone(resource), other]
}
