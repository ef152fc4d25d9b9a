//! Who calls, and for whom (RFC 8693 section 4.1).
//!
//! Owns [`Principal`]: the subject (the human, when there is one), the actor (the agent, or the subject itself) and the
//! client, built from one of three forms that the issuer's rules choose. The same human and agent give the same
//! principal in all three. Never reads a header or `_meta`: a verified token is the only source,
//! but for a server of this machine that was told to take a [`SharedSecret`].

use std::sync::Arc;

use crate::crypto::MacKey;
use crate::denial::{Denial, DenyReason};
use crate::time::UnixTime;
use crate::token::{IdentityForm, VerifiedToken};

mod shared_secret;

pub(crate) use shared_secret::bind as bind_shared_secret;
pub use shared_secret::{SharedSecret, SharedSecretError};

/// What somebody is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PartyKind {
    /// Software that acts for others, or is listed as such.
    Agent,
    /// A person.
    Human,
    /// A client that speaks for itself alone.
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

#[derive(Debug)]
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
    /// The secret that a server of this machine shares with whoever calls it.
    SharedSecret,
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
            Proof::SharedSecret => None,
            Proof::Token(token) => Some(token),
        }
    }

    /// The first instant at which the proof no longer holds, without any tolerance.
    pub fn expires(&self) -> UnixTime {
        match &self.0.proof {
            // It holds until the configuration drops it; what is open then is bounded as every stream is.
            Proof::SharedSecret => UnixTime::from_nanos(u64::MAX),
            Proof::Token(token) => token.expires(),
        }
    }

    /// The scopes that the caller has, sorted, each once.
    pub fn scopes(&self) -> &[Box<str>] {
        match (&self.0.grants, &self.0.proof) {
            (Some(grants), _) => &grants.scopes,
            (None, Proof::SharedSecret) => &[],
            (None, Proof::Token(token)) => token.scopes(),
        }
    }

    /// Whether the caller has this very scope; what a scope implies is the scope table's.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().binary_search_by(|held| str::cmp(held, scope)).is_ok()
    }

    /// The subject's groups.
    pub fn groups(&self) -> &[Box<str>] {
        match (&self.0.grants, &self.0.proof) {
            (Some(grants), _) => &grants.groups,
            (None, Proof::SharedSecret) => &[],
            (None, Proof::Token(token)) => token.groups(),
        }
    }

    /// The subject's roles.
    pub fn roles(&self) -> &[Box<str>] {
        match (&self.0.grants, &self.0.proof) {
            (Some(grants), _) => &grants.roles,
            (None, Proof::SharedSecret) => &[],
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

/// Binds a token to an identity within `tenant`, in the form that the rules of its issuer name.
///
/// # Errors
/// [`DenyReason::IdentityUnbound`] when the actor cannot be told for sure, or `act` is nested deeper than
/// `act_depth_max`.
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
    let id = key.mac_framed(&[
        tenant.as_bytes(),
        subject.issuer.as_bytes(),
        subject.id.as_bytes(),
        actor.issuer.as_bytes(),
        actor.id.as_bytes(),
        token.client_id().as_bytes(),
    ]);
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
    let alone = own_kind(token, PartyKind::Machine);
    let Some(current) = token.actors().first() else {
        return (own(token, alone), own(token, alone));
    };
    let actor = Party {
        id: Arc::clone(&current.subject),
        issuer: Arc::clone(&current.issuer),
        kind: PartyKind::Agent,
    };
    let subject = own(token, alone);
    if actor.is(&subject) {
        return (actor.clone(), actor);
    }
    (subject, actor)
}

/// The token is an agent's, and the human it acts for stands in a claim.
fn by_human_claim(token: &VerifiedToken) -> Result<(Party, Party), Denial> {
    no_act(token)?;
    let agent = own(token, PartyKind::Agent);
    let Some(human) = token.human() else {
        return Ok((agent.clone(), agent));
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
    if !listed {
        let alone = own_kind(token, PartyKind::Machine);
        return Ok((own(token, alone), own(token, alone)));
    }
    let actor = Party {
        id: Arc::clone(token.client_id()),
        issuer: Arc::clone(token.issuer()),
        kind: PartyKind::Agent,
    };
    let subject = own(token, own_kind(token, PartyKind::Agent));
    Ok((subject, actor))
}

/// Whoever the token's `sub` is.
fn own(token: &VerifiedToken, kind: PartyKind) -> Party {
    Party {
        id: Arc::clone(token.subject()),
        issuer: Arc::clone(token.issuer()),
        kind,
    }
}

/// A person, unless the client got the token for itself (RFC 9068 section 2.2: `sub` is then the client): then `alone`.
fn own_kind(token: &VerifiedToken, alone: PartyKind) -> PartyKind {
    if token.subject() == token.client_id() {
        alone
    } else {
        PartyKind::Human
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
