//! Who calls, and for whom (RFC 8693 section 4.1).
//!
//! Owns [`Principal`]: the subject (the human, when there is one), the actor (the agent, or the subject itself) and the
//! client, built from one of three forms that the issuer's rules choose. The same human and agent give the same
//! principal in all three. Never reads a header or `_meta`: a verified token is the only source, or (in `machine`) a
//! verified certificate that the server's configuration names, or (in `shared_secret`) a secret that a server of this
//! machine was told to take.

mod machine;
mod shared_secret;

use std::sync::Arc;
use std::time::Duration;

use crate::crypto::MacKey;
use crate::denial::{Denial, DenyReason};
use crate::time::UnixTime;
use crate::token::{Actor, IdentityForm, RolesFrom, VerifiedToken};

pub use machine::{MachineError, MachineIdentities, MachineName, MachineRow};

pub(crate) use shared_secret::bind as bind_shared_secret;
pub use shared_secret::{SharedSecret, SharedSecretError};

/// What somebody is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PartyKind {
    /// Software that acts for others, or that says so of itself.
    Agent,
    /// A person.
    Human,
    /// A client with a token that it got for itself.
    Machine,
}

impl PartyKind {
    /// The kind's name in policy input and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Human => "human",
            Self::Machine => "machine",
        }
    }
}

/// Somebody, known to one issuer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Party {
    id: Arc<str>,
    issuer: Arc<str>,
    kind: PartyKind,
}

impl Party {
    /// The issuer's name for it.
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The issuer that knows it.
    pub const fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// What it is.
    pub const fn kind(&self) -> PartyKind {
        self.kind
    }

    /// Whether both are the same somebody, whatever they are taken for.
    fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.issuer == other.issuer
    }
}

/// A bound identity. Cheap to clone; only `bind` makes one.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Bound>);

#[derive(Clone, Debug)]
struct Bound {
    tenant: Arc<str>,
    subject: Party,
    actor: Party,
    client_id: Arc<str>,
    proof: Proof,
    /// What the server's configuration gives in place of the token's word.
    grants: Option<Arc<Grants>>,
    id: [u8; 32],
}

/// What proves an identity.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A client's certificate, whose key the connection has proven.
    Certificate {
        /// SHA-256 of its DER form.
        sha256: [u8; 32],
        /// The first instant at which it no longer serves.
        expires: UnixTime,
        /// Whether a revocation list was in force that says it is not revoked.
        is_listed: bool,
    },
    /// The secret that a server of this machine shares with whoever calls it.
    SharedSecret {
        /// Until when what is opened by it may stay open: the secret itself holds until the configuration drops it.
        expires: UnixTime,
    },
    /// A verified access token.
    Token(Arc<VerifiedToken>),
}

/// What the configuration of a server gives to a caller: scopes, groups and roles, each sorted and each once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grants {
    /// The scopes.
    pub scopes: Box<[Box<str>]>,
    /// The groups.
    pub groups: Box<[Box<str>]>,
    /// The roles.
    pub roles: Box<[Box<str>]>,
}

/// Where the groups and roles of a subject come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RolesOrigin {
    /// From what the server's configuration gives to the caller.
    Configuration,
    /// From the subject's row in the data of the server's policy.
    PolicyData,
    /// From the token.
    Token,
}

impl RolesOrigin {
    /// The origin's name in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::PolicyData => "policy_data",
            Self::Token => "token",
        }
    }
}

impl Principal {
    /// The tenant whose principal this is.
    pub fn tenant(&self) -> &Arc<str> {
        &self.0.tenant
    }

    /// Who initiated the call: the human when there is one.
    pub fn subject(&self) -> &Party {
        &self.0.subject
    }

    /// Who calls: the agent, or the subject itself.
    pub fn actor(&self) -> &Party {
        &self.0.actor
    }

    /// The subject, when somebody else acts for it.
    pub fn on_behalf_of(&self) -> Option<&Party> {
        let bound = &*self.0;
        (!bound.actor.is(&bound.subject)).then_some(&bound.subject)
    }

    /// The OAuth client.
    pub fn client_id(&self) -> &Arc<str> {
        &self.0.client_id
    }

    /// What proves all this.
    pub fn proof(&self) -> &Proof {
        &self.0.proof
    }

    /// The token that proves all this, when one does.
    pub fn token(&self) -> Option<&Arc<VerifiedToken>> {
        match &self.0.proof {
            Proof::Certificate { .. } | Proof::SharedSecret { .. } => None,
            Proof::Token(token) => Some(token),
        }
    }

    /// The first instant at which the proof no longer holds, without any tolerance.
    pub fn expires(&self) -> UnixTime {
        match &self.0.proof {
            Proof::Certificate { expires, .. } => *expires,
            Proof::SharedSecret { expires } => *expires,
            Proof::Token(token) => token.expires(),
        }
    }

    /// The first instant at which the proof is not accepted any more: an issuer's clock is tolerated to be behind ours by
    /// `leeway`, while a certificate's time is meant as it stands there.
    pub(crate) fn accepted_until(&self, leeway: Duration) -> UnixTime {
        match &self.0.proof {
            Proof::Certificate { expires, .. } => *expires,
            Proof::SharedSecret { expires } => *expires,
            Proof::Token(token) => token.expires().after(leeway),
        }
    }

    /// The scopes that the caller has, sorted, each once.
    pub fn scopes(&self) -> &[Box<str>] {
        match (&self.0.grants, &self.0.proof) {
            (Some(grants), _) => &grants.scopes,
            (None, Proof::Certificate { .. } | Proof::SharedSecret { .. }) => &[],
            (None, Proof::Token(token)) => token.scopes(),
        }
    }

    /// Whether the caller has this very scope; what a scope implies is the scope table's.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().binary_search_by(|held| str::cmp(held, scope)).is_ok()
    }

    /// Where the subject's groups and roles come from.
    pub fn roles_origin(&self) -> RolesOrigin {
        match (&self.0.grants, &self.0.proof) {
            (Some(_), _) | (None, Proof::Certificate { .. } | Proof::SharedSecret { .. }) => RolesOrigin::Configuration,
            (None, Proof::Token(token)) => match token.rules().roles_from() {
                RolesFrom::PolicyData => RolesOrigin::PolicyData,
                RolesFrom::Token => RolesOrigin::Token,
            },
        }
    }

    /// Who acted before the actor, as its chain of `act` tells it (RFC 8693 section 4.1), the last one first: history
    /// that decides nothing.
    pub fn actors_prior(&self) -> &[Actor] {
        match &self.0.proof {
            Proof::Certificate { .. } | Proof::SharedSecret { .. } => &[],
            Proof::Token(token) => token.actors().get(1..).unwrap_or_default(),
        }
    }

    /// The subject's groups; none where they stand in the policy's data.
    pub fn groups(&self) -> &[Box<str>] {
        match (&self.0.grants, &self.0.proof) {
            (Some(grants), _) => &grants.groups,
            (None, Proof::Certificate { .. } | Proof::SharedSecret { .. }) => &[],
            (None, Proof::Token(token)) => token.groups(),
        }
    }

    /// The subject's roles, likewise.
    pub fn roles(&self) -> &[Box<str>] {
        match (&self.0.grants, &self.0.proof) {
            (Some(grants), _) => &grants.roles,
            (None, Proof::Certificate { .. } | Proof::SharedSecret { .. }) => &[],
            (None, Proof::Token(token)) => token.roles(),
        }
    }

    /// Whether both are one binding of one request, not merely the same somebody.
    pub(crate) fn is_same_binding(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A keyed digest over tenant, subject, actor and client: the same for every token of the same identity, and no
    /// way back to it without the key.
    pub fn principal_id(&self) -> &[u8; 32] {
        &self.0.id
    }
}

/// The keyed digest of an identity, whatever proves it.
fn principal_id(tenant: &str, subject: &Party, actor: &Party, client_id: &str, key: &MacKey) -> [u8; 32] {
    key.mac_framed(&[
        tenant.as_bytes(),
        subject.issuer.as_bytes(),
        subject.id.as_bytes(),
        actor.issuer.as_bytes(),
        actor.id.as_bytes(),
        client_id.as_bytes(),
    ])
}

/// Binds a token to an identity within `tenant`, in the form that the rules of its issuer name.
///
/// # Errors
/// [`DenyReason::IdentityUnbound`] when the actor cannot be told for sure, `may_act` names another one, or `act` is nested
/// deeper than `act_depth_max`.
pub(crate) fn bind(
    token: Arc<VerifiedToken>,
    tenant: &Arc<str>,
    act_depth_max: usize,
    key: &MacKey,
) -> Result<Principal, Denial> {
    if act_depth_max < token.actors().len() {
        return Err(unbound("`act` is nested deeper than allowed"));
    }
    let (subject, actor) = match token.rules().identity() {
        IdentityForm::Act => by_act(&token),
        IdentityForm::HumanClaim(_) => by_human_claim(&token)?,
        IdentityForm::ListedAgents(agents) => by_listed_agents(&token, agents.contains(&**token.client_id()))?,
    };
    if let Some(may_act) = token.may_act()
        && !actor.is(&subject)
        && !may_act.permits(&actor.id, &actor.issuer)
    {
        return Err(unbound("`may_act` lets another one act than the one that acts"));
    }
    let id = principal_id(tenant, &subject, &actor, token.client_id(), key);
    Ok(Principal(Arc::new(Bound {
        tenant: Arc::clone(tenant),
        subject,
        actor,
        client_id: Arc::clone(token.client_id()),
        proof: Proof::Token(token),
        grants: None,
        id,
    })))
}

/// The token is the subject's, and who acts for it stands in `act`.
fn by_act(token: &VerifiedToken) -> (Party, Party) {
    let Some(current) = token.actors().first() else {
        return alone(token, PartyKind::Human);
    };
    let actor = Party {
        id: Arc::clone(&current.subject),
        issuer: Arc::clone(&current.issuer),
        kind: PartyKind::Agent,
    };
    let subject = own(token, PartyKind::Human);
    if actor.is(&subject) {
        return alone(token, PartyKind::Agent);
    }
    (subject, actor)
}

/// The token is an agent's, and the human it acts for stands in a claim.
fn by_human_claim(token: &VerifiedToken) -> Result<(Party, Party), Denial> {
    no_act(token)?;
    let Some(human) = token.human() else {
        return Ok(alone(token, PartyKind::Agent));
    };
    let agent = Party {
        id: Arc::clone(token.subject()),
        issuer: Arc::clone(token.issuer()),
        kind: PartyKind::Agent,
    };
    let subject = Party {
        id: Arc::clone(human),
        issuer: Arc::clone(token.issuer()),
        kind: PartyKind::Human,
    };
    if subject.is(&agent) {
        return Err(unbound("the token names its agent as the human"));
    }
    Ok((subject, agent))
}

/// The token is the subject's, and its client acts for it when it is listed as an agent.
fn by_listed_agents(token: &VerifiedToken, listed: bool) -> Result<(Party, Party), Denial> {
    no_act(token)?;
    if !listed || token.is_clients_own() {
        return Ok(alone(token, PartyKind::Human));
    }
    let actor = Party {
        id: Arc::clone(token.client_id()),
        issuer: Arc::clone(token.issuer()),
        kind: PartyKind::Agent,
    };
    Ok((own(token, PartyKind::Human), actor))
}

/// Whoever the token's subject is, who acts for nobody.
fn alone(token: &VerifiedToken, kind: PartyKind) -> (Party, Party) {
    (own(token, kind), own(token, kind))
}

/// Whoever the token's subject is: a machine, when the client got the token for itself, else of this kind.
fn own(token: &VerifiedToken, kind: PartyKind) -> Party {
    Party {
        id: Arc::clone(token.subject()),
        issuer: Arc::clone(token.issuer()),
        kind: if token.is_clients_own() {
            PartyKind::Machine
        } else {
            kind
        },
    }
}

/// Refuses `act` where the issuer's form does not read it: somebody acts, and it would be recorded as somebody else.
fn no_act(token: &VerifiedToken) -> Result<(), Denial> {
    if token.actors().is_empty() {
        Ok(())
    } else {
        Err(unbound("the token has `act`, which its issuer's form does not read"))
    }
}

#[cold]
#[inline(never)]
fn unbound(operator: &'static str) -> Denial {
    Denial::new(DenyReason::IdentityUnbound, operator)
}

#[cfg(test)]
mod tests;
