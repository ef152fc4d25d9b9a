//! What stands behind a server, and what it is shown in place of the client's token.
//!
//! Owns [`Upstream`], its [`Endpoint`]s, [`Credentials`] and which tool is called with which of them, and
//! [`ForwardHeaders`]. Refuses a secret that would lend the rights of one tool to the callers of another. Never prints a
//! secret, never connects, and does not know which endpoint is well.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderName;
use zeroize::Zeroizing;

use crate::assertion::AssertionTerms;
use crate::exchange::ExchangeTerms;
use crate::scope::{PromptTable, ResourceTable, ToolTable, scope_family};
use crate::session::{EndpointId, Keeper};

/// Where a server's calls go.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The label that records name.
    pub name: Arc<str>,
    /// The places that answer, at least one, each with an id of its own. Every one of them can answer every call outside
    /// of a session.
    pub endpoints: Vec<Endpoint>,
    /// Whether every address of an endpoint knows the sessions of all the others; else each knows its own alone.
    pub shares_sessions: bool,
    /// What we show in place of the client's token.
    pub credentials: Credentials,
    /// Which fields cross beside those that MCP needs.
    pub forward_headers: ForwardHeaders,
}

impl Upstream {
    /// An upstream of one endpoint, which is shown nothing and gets no further fields.
    pub fn of_one(name: &str, endpoint: Endpoint) -> Self {
        Self {
            name: Arc::from(name),
            endpoints: vec![endpoint],
            shares_sessions: false,
            credentials: Credentials::default(),
            forward_headers: ForwardHeaders::default(),
        }
    }

    /// The endpoint that keeps a session, and its address where it must be that one; `None` when the keeper is gone.
    ///
    /// An endpoint of one address may move, and its sessions with it: nobody else is there who could be taken for it. Of
    /// several addresses only the one that opened the session knows it, unless they share their sessions. One whose name
    /// has no address now may have them again.
    pub fn keeper(&self, keeper: Keeper) -> Option<(&Endpoint, Option<SocketAddr>)> {
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.id == keeper.endpoint)?;
        let is_any = self.shares_sessions || endpoint.addresses.len() <= 1;
        // Scopes and flow labels of IPv6 do not stand in sealed sessions.
        let is_own = |own: &&SocketAddr| own.port() == keeper.address.port() && own.ip() == keeper.address.ip();
        match endpoint.addresses.iter().find(is_own) {
            Some(own) if !self.shares_sessions => Some((endpoint, Some(*own))),
            Some(_) | None => is_any.then_some((endpoint, None)),
        }
    }
}

/// One place behind a server.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What names it in sealed sessions.
    pub id: EndpointId,
    /// The authority for the `Host` field.
    pub authority: Arc<str>,
    /// The name checked in the certificate: the host of the authority, without port, unless the embedder knows a better.
    pub host: Arc<str>,
    /// The path of the MCP endpoint.
    pub path: Arc<str>,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// The addresses that the name resolves to; none for a name that did not resolve yet: nobody is there then.
    pub addresses: Vec<SocketAddr>,
    /// What the embedder keeps of it, if anything.
    pub kept: Option<Kept>,
}

/// What an embedder keeps of an endpoint beside its configuration, such as its trust and its health: of one snapshot with
/// it, and of no meaning here.
#[derive(Clone)]
pub struct Kept(Arc<dyn Any + Send + Sync>);

impl Kept {
    /// Keeps a value.
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        Self(Arc::new(value))
    }

    /// The value, if it is of this type.
    pub fn of<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

/// Tells nothing of the value.
impl std::fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Kept")
    }
}

/// The fields that cross beside those that MCP needs, each way. The embedder refuses names that others own: framing,
/// credentials, and its own.
#[derive(Clone, Debug, Default)]
pub struct ForwardHeaders {
    /// From the client to the upstream.
    pub request: Arc<[HeaderName]>,
    /// From the upstream to the client.
    pub response: Arc<[HeaderName]>,
}

/// One credential for an upstream.
pub struct UpstreamCredential {
    /// The label that records name; never the value.
    pub label: Arc<str>,
    /// The field that carries it.
    pub header: HeaderName,
    /// What the field holds.
    pub kind: CredentialKind,
}

/// What a credential is.
pub enum CredentialKind {
    /// A statement of who calls, signed by the gate for each call.
    Assertion(AssertionTerms),
    /// A token that an issuer gives in exchange for the client's (RFC 8693).
    Exchange(ExchangeTerms),
    /// A secret of the gate's own.
    Static {
        /// The field's value.
        value: Zeroizing<String>,
        /// Lets it serve tools whose scopes are of different families: whoever may call one of them then calls with
        /// the rights of all.
        danger_shared_identity: bool,
    },
}

/// Without any value.
impl std::fmt::Debug for UpstreamCredential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("UpstreamCredential")
            .field("label", &self.label)
            .field("kind", &self.kind.name())
            .finish_non_exhaustive()
    }
}

impl CredentialKind {
    /// The kind's name in records.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Assertion(_) => "assertion",
            Self::Exchange(_) => "exchange",
            Self::Static { .. } => "static",
        }
    }
}

/// The credential of some tools.
#[derive(Debug)]
pub struct CredentialGroup {
    /// The tools, each with a row in the scope table.
    pub tools: Vec<Box<str>>,
    /// What is shown when one of them is called; `None` for nothing.
    pub credential: Option<UpstreamCredential>,
}

/// Which call is made with which credential.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    default: Option<Arc<UpstreamCredential>>,
    tools: BTreeMap<Box<str>, Option<Arc<UpstreamCredential>>>,
    /// That of the gate's own listings; `None` for the one of calls without a tool.
    listing: Option<Option<Arc<UpstreamCredential>>>,
}

/// What makes credentials unusable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CredentialsError {
    /// An exchange would ask for no scope, and the issuer would choose.
    #[error("the exchange `{label}` asks for no scope {at}, and the issuer would choose", at = at(tool.as_deref()))]
    ScopesMissing {
        /// The credential's label.
        label: Arc<str>,
        /// The tool that requires none; `None` for calls that name no tool.
        tool: Option<Box<str>>,
    },
    /// One secret serves tools, prompts or resources whose scopes are of different families.
    #[error(
        "the secret `{label}` serves different scope families, such as those of `{first}` and `{second}`: who may call \
         one would call with the rights of all"
    )]
    Shared {
        /// The credential's label.
        label: Arc<str>,
        /// One of them.
        first: Box<str>,
        /// One of another family.
        second: Box<str>,
    },
    /// A tool stands in two groups.
    #[error("the tool `{0}` has two credentials: which one is shown would be a guess")]
    ToolRepeated(Box<str>),
    /// A tool of a group has no row.
    #[error("the tool `{0}` has a credential and no row in the tool table")]
    ToolUnmapped(Box<str>),
}

fn at(tool: Option<&str>) -> String {
    match tool {
        Some(tool) => format!("for `{tool}`"),
        None => String::from("for calls that name no tool"),
    }
}

impl Credentials {
    /// `default` for calls that name no tool and for tools that stand in no group.
    ///
    /// # Errors
    /// [`CredentialsError::ToolRepeated`]; whether they fit the tools is checked with the server.
    pub fn new(default: Option<UpstreamCredential>, groups: Vec<CredentialGroup>) -> Result<Self, CredentialsError> {
        let mut tools = BTreeMap::new();
        for group in groups {
            let credential = group.credential.map(Arc::new);
            for tool in group.tools {
                if tools.contains_key(&tool) {
                    return Err(CredentialsError::ToolRepeated(tool));
                }
                tools.insert(tool, credential.clone());
            }
        }
        Ok(Self {
            default: default.map(Arc::new),
            tools,
            listing: None,
        })
    }

    /// The same with a credential, or none, for the gate's own listings of tools.
    #[must_use]
    pub fn listed_with(self, credential: Option<UpstreamCredential>) -> Self {
        Self {
            listing: Some(credential.map(Arc::new)),
            ..self
        }
    }

    /// What is shown when the gate lists the tools itself, for no caller: what was named for that, else what calls without
    /// a tool are made with. `None` for nothing, and where that is exchanged for a caller's token: there is no caller.
    pub fn of_listing(&self) -> Option<&Arc<UpstreamCredential>> {
        let shown = match &self.listing {
            Some(named) => named.as_ref(),
            None => self.default.as_ref(),
        };
        shown.filter(|shown| !matches!(shown.kind, CredentialKind::Exchange(_)))
    }

    /// Whether the upstream must list its tools for the gate: it is shown a secret, or what was named for that.
    pub fn must_list(&self) -> bool {
        let is_named = self.listing.is_some();
        self.of_listing()
            .is_some_and(|shown| is_named || matches!(shown.kind, CredentialKind::Static { .. }))
    }

    /// What is shown when `tool` is called, or when no tool is named; `None` for nothing. Costs one look-up.
    pub fn of(&self, tool: Option<&str>) -> Option<&Arc<UpstreamCredential>> {
        match tool.and_then(|tool| self.tools.get(tool)) {
            Some(own) => own.as_ref(),
            None => self.default.as_ref(),
        }
    }

    /// Every credential, once for each group that it serves, and that of the listings.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<UpstreamCredential>> {
        let listing = self.listing.iter().flatten();
        self.default.iter().chain(self.tools.values().flatten()).chain(listing)
    }

    /// Checks that they fit the tools of a server.
    pub(super) fn check(
        &self,
        table: &ToolTable,
        prompts: &PromptTable,
        resources: &ResourceTable,
    ) -> Result<(), CredentialsError> {
        if let Some(tool) = self.tools.keys().find(|tool| table.required(tool).is_none()) {
            return Err(CredentialsError::ToolUnmapped(tool.clone()));
        }
        self.check_exchanges(table)?;
        let tools = table
            .rows()
            .map(|(tool, required)| (tool, required, self.of(Some(tool))));
        let others = prompts.rows().chain(resources.rows());
        self.check_shared(tools.chain(others.map(|(name, required)| (name, required, self.of(None)))))
    }

    fn check_exchanges(&self, table: &ToolTable) -> Result<(), CredentialsError> {
        let asks_nothing = |credential: &UpstreamCredential, required: &[Box<str>]| match &credential.kind {
            CredentialKind::Exchange(terms) => terms.scopes_of(required).is_empty(),
            CredentialKind::Assertion(_) | CredentialKind::Static { .. } => false,
        };
        let missing = |credential: &UpstreamCredential, tool: Option<&str>| CredentialsError::ScopesMissing {
            label: Arc::clone(&credential.label),
            tool: tool.map(Box::from),
        };
        if let Some(default) = self.default.as_ref().filter(|default| asks_nothing(default, &[])) {
            return Err(missing(default, None));
        }
        for (tool, required) in table.rows() {
            if let Some(own) = self.of(Some(tool)).filter(|own| asks_nothing(own, required)) {
                return Err(missing(own, Some(tool)));
            }
        }
        Ok(())
    }

    /// One value is one secret, in however many groups it stands. What needs no scopes is of any family.
    fn check_shared<'c>(
        &'c self,
        rows: impl Iterator<Item = (&'c str, &'c [Box<str>], Option<&'c Arc<UpstreamCredential>>)>,
    ) -> Result<(), CredentialsError> {
        let mut served: BTreeMap<&str, (&str, BTreeSet<&str>)> = BTreeMap::new();
        for (name, required, credential) in rows {
            let Some(credential) = credential else {
                continue;
            };
            let CredentialKind::Static {
                value,
                danger_shared_identity: false,
            } = &credential.kind
            else {
                continue;
            };
            let families: BTreeSet<&str> = required.iter().map(|scope| scope_family(scope)).collect();
            if families.is_empty() {
                continue;
            }
            match served.get(value.as_str()) {
                Some((_, others)) if *others == families => {}
                Some((first, _)) => {
                    return Err(CredentialsError::Shared {
                        label: Arc::clone(&credential.label),
                        first: Box::from(*first),
                        second: Box::from(name),
                    });
                }
                None => {
                    served.insert(value.as_str(), (name, families));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
