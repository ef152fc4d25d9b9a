//! Machines that a server knows by its configuration: by the URI in their certificate, or as a client of an issuer.
//!
//! Owns [`MachineIdentities`] and the binding of a certificate that came without a token. A name is matched byte by
//! byte. What has no row gets nothing, and a row gives nothing to somebody on whose behalf a machine acts. Never verifies
//! a certificate: the embedder has.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Bound, Grants, Party, PartyKind, Principal, Proof, principal_id};
use crate::crypto::MacKey;
use crate::denial::{Denial, DenyReason};
use crate::head::ClientCertificate;
use crate::time::UnixTime;
use crate::token::VerifiedToken;

/// How a machine is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MachineName {
    /// By the tokens that it gets for itself.
    Client {
        /// The issuer of those tokens.
        issuer: Arc<str>,
        /// Its `client_id`.
        client: Arc<str>,
    },
    /// By the one URI name of its certificate, such as a SPIFFE id.
    Uri(Arc<str>),
}

/// One machine and what it may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MachineRow {
    /// How it is known.
    pub name: MachineName,
    /// What it is: [`PartyKind::Machine`] or [`PartyKind::Agent`].
    pub kind: PartyKind,
    /// What it gets, in any order.
    pub grants: Grants,
}

/// What makes a list of machines unusable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MachineError {
    /// A machine is taken for a person.
    #[error("`{0}` is no person: `kind` is `machine` or `agent`")]
    Kind(Arc<str>),
    /// Two rows for one machine.
    #[error("`{0}` has two rows: which of them holds would be a guess")]
    Repeated(Arc<str>),
    /// Not an absolute URI with an authority, or one that could be read as a pattern.
    #[error("`{0}` is no absolute URI with an authority, such as `spiffe://prod.example/agents/reporter`")]
    Uri(Arc<str>),
}

/// The machines that a server knows.
#[derive(Clone, Debug, Default)]
pub struct MachineIdentities {
    by_uri: HashMap<Arc<str>, Machine>,
    /// By issuer, then by client.
    by_client: HashMap<Arc<str>, HashMap<Arc<str>, Machine>>,
}

#[derive(Clone, Debug)]
struct Machine {
    /// Who stands for the name: for a URI its scheme and authority.
    issuer: Arc<str>,
    /// The name, shared by every principal.
    id: Arc<str>,
    kind: PartyKind,
    grants: Arc<Grants>,
}

impl MachineIdentities {
    /// The machines of these rows.
    ///
    /// # Errors
    /// [`MachineError`] about the first row that cannot be used.
    pub fn new(rows: Vec<MachineRow>) -> Result<Self, MachineError> {
        let mut machines = Self::default();
        for row in rows {
            let MachineRow { name, kind, grants } = row;
            let (issuer, id) = match &name {
                MachineName::Client { issuer, client } => (Arc::clone(issuer), Arc::clone(client)),
                MachineName::Uri(uri) => match issuer_of(uri) {
                    Some(issuer) => (Arc::from(issuer), Arc::clone(uri)),
                    None => return Err(MachineError::Uri(Arc::clone(uri))),
                },
            };
            if kind == PartyKind::Human {
                return Err(MachineError::Kind(id));
            }
            let rows = match name {
                MachineName::Client { issuer, .. } => machines.by_client.entry(issuer).or_default(),
                MachineName::Uri(_) => &mut machines.by_uri,
            };
            let machine = Machine {
                issuer,
                id: Arc::clone(&id),
                kind,
                grants: Arc::new(sorted(grants)),
            };
            if rows.insert(Arc::clone(&id), machine).is_some() {
                return Err(MachineError::Repeated(id));
            }
        }
        Ok(machines)
    }

    /// Whether a certificate may stand for a token.
    pub fn knows_certificates(&self) -> bool {
        !self.by_uri.is_empty()
    }

    /// The issuers whose clients have rows.
    pub fn client_issuers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_client.keys()
    }

    /// Who stands for the names in certificates: scheme and authority of each URI.
    pub fn certificate_issuers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_uri.values().map(|machine| &machine.issuer)
    }

    /// Binds the caller who shows `certificate` and no token, within `tenant`.
    ///
    /// # Errors
    /// [`DenyReason::CertificateRefused`] for one that names nobody, nobody with a row, or has expired at `now`: no
    /// clock difference is tolerated, since the machine can renew it in time.
    pub(crate) fn bind(
        &self,
        certificate: &ClientCertificate,
        tenant: &Arc<str>,
        now: UnixTime,
        key: &MacKey,
    ) -> Result<Principal, Denial> {
        if let Some(operator) = certificate.refused {
            return Err(refused(operator));
        }
        let Some(identity) = &certificate.identity else {
            return Err(refused(
                "the certificate was not verified here, or has not exactly one URI name",
            ));
        };
        if identity.expires <= now {
            return Err(refused("the certificate has expired"));
        }
        let Some(machine) = self.by_uri.get(&identity.uri) else {
            return Err(refused("the certificate's name has no row in `machine_identities`"));
        };
        let party = Party {
            id: Arc::clone(&machine.id),
            issuer: Arc::clone(&machine.issuer),
            kind: machine.kind,
        };
        let id = principal_id(tenant, &party, &party, &machine.id, key);
        Ok(Principal(Arc::new(Bound {
            tenant: Arc::clone(tenant),
            subject: party.clone(),
            actor: party,
            client_id: Arc::clone(&machine.id),
            proof: Proof::Certificate {
                sha256: certificate.sha256,
                expires: identity.expires,
                is_listed: identity.is_listed,
            },
            grants: Some(Arc::clone(&machine.grants)),
            id,
        })))
    }

    /// Gives a machine that has got a token for itself what its row says: groups and roles, and of the scopes those that
    /// stand in the token too, or all when the token has none. Anybody else stays as they are.
    pub(crate) fn grant(&self, principal: Principal) -> Principal {
        if self.by_client.is_empty() {
            return principal;
        }
        let bound = &*principal.0;
        let Proof::Token(token) = &bound.proof else {
            return principal;
        };
        let is_machine = bound.subject.kind == PartyKind::Machine && bound.actor.is(&bound.subject);
        let rows = self.by_client.get(token.issuer()).filter(|_| is_machine);
        let Some(machine) = rows.and_then(|rows| rows.get(token.client_id())) else {
            return principal;
        };
        let (grants, kind) = (machine.limited_by(token), machine.kind);
        let mut bound = Arc::unwrap_or_clone(principal.0);
        bound.grants = Some(grants);
        (bound.subject.kind, bound.actor.kind) = (kind, kind);
        Principal(Arc::new(bound))
    }
}

impl Machine {
    /// The row's grants without the scopes that the token does not have. Allocates only when the token has fewer.
    fn limited_by(&self, token: &VerifiedToken) -> Arc<Grants> {
        let scopes = &self.grants.scopes;
        if token.scopes().is_empty() || scopes.iter().all(|scope| token.has_scope(scope)) {
            return Arc::clone(&self.grants);
        }
        let held = scopes.iter().filter(|scope| token.has_scope(scope)).cloned().collect();
        Arc::new(Grants {
            scopes: held,
            groups: self.grants.groups.clone(),
            roles: self.grants.roles.clone(),
        })
    }
}

/// Scheme and authority of an absolute URI in visible ASCII without user, query, fragment and wildcard (RFC 3986
/// section 3; a SPIFFE id is one).
fn issuer_of(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once("://")?;
    let mut letters = scheme.bytes();
    let is_scheme = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'-' | b'.'));
    let is_plain = uri.len() <= URI_BYTES_MAX
        && uri.bytes().all(|byte| byte.is_ascii_graphic())
        && !uri.contains(['*', '?', '#', '@', '\\']);
    let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
    let length = scheme.len().checked_add(3)?.checked_add(authority.len())?;
    uri.get(..length).filter(|_| is_scheme && is_plain)
}

/// Each list sorted, and nothing in it twice.
pub(super) fn sorted(grants: Grants) -> Grants {
    let sort = |list: Box<[Box<str>]>| {
        let mut list = list.into_vec();
        list.sort_unstable();
        list.dedup();
        list.into_boxed_slice()
    };
    Grants {
        scopes: sort(grants.scopes),
        groups: sort(grants.groups),
        roles: sort(grants.roles),
    }
}

#[cold]
#[inline(never)]
fn refused(operator: &'static str) -> Denial {
    Denial::new(DenyReason::CertificateRefused, operator)
}

/// Bytes of a URI: a longer one could not stand in a revocation.
const URI_BYTES_MAX: usize = 1_024;
