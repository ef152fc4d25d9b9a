//! The rules of one issuer: which tokens of it are looked at, and how they name people and agents.
//!
//! Owns [`Issuer`]; it is checked when it is made, and nothing in it has a default that accepts more than RFC 9068.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::crypto::Algorithm;
use crate::jwks::url::issuer_transport;

/// What the operator wrote for one issuer, before it is checked by [`Issuer::new`].
#[derive(Clone, Debug)]
pub struct IssuerParts {
    /// The issuer identifier, compared byte by byte with `iss`.
    pub url: Arc<str>,
    /// The signature algorithms its tokens may have.
    pub algorithms: Vec<Algorithm>,
    /// The kinds of tokens that are taken.
    pub token_types: TokenTypes,
    /// How its tokens name the human and the agent.
    pub identity: IdentityForm,
    /// The claim with the subject's groups, an array of strings: a name, or a JSON Pointer when it starts with `/`.
    pub groups_claim: Arc<str>,
    /// The claim with the subject's roles, as [`Self::groups_claim`].
    pub roles_claim: Arc<str>,
}

impl IssuerParts {
    /// The strictest parts for an issuer: every algorithm but ES384 (a verification takes 0.7 ms, an invitation to flood
    /// us), access tokens of RFC 9068 alone, the agent in `act`, and the claims `groups` and `roles`.
    pub fn strict(url: Arc<str>) -> Self {
        let cheap = |algorithm: &Algorithm| *algorithm != Algorithm::Es384;
        Self {
            url,
            algorithms: Algorithm::ALL.into_iter().filter(cheap).collect(),
            token_types: TokenTypes::default(),
            identity: IdentityForm::default(),
            groups_claim: Arc::from("groups"),
            roles_claim: Arc::from("roles"),
        }
    }
}

/// Which `typ` a token may have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TokenTypes {
    /// `at+jwt` or `application/at+jwt` (RFC 9068 section 4).
    #[default]
    AccessToken,
    /// Also `JWT` and none, for issuers that do not follow RFC 9068. What then tells an ID token is its audience and the
    /// claims that only such tokens have.
    DangerAnyJwt,
}

/// How an issuer's tokens name the human and the agent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum IdentityForm {
    /// The token is the human's; an agent that acts stands in `act` (RFC 8693 section 4.1).
    #[default]
    Act,
    /// The token is an agent's; the human it acts for stands in this claim, a string.
    HumanClaim(Arc<str>),
    /// The token is the human's; these clients are agents.
    ListedAgents(BTreeSet<Arc<str>>),
}

/// The rules of one issuer, checked.
#[derive(Debug, Eq, PartialEq)]
pub struct Issuer {
    url: Arc<str>,
    algorithms: Vec<Algorithm>,
    token_types: TokenTypes,
    identity: IdentityForm,
    groups_claim: Arc<str>,
    roles_claim: Arc<str>,
}

/// What makes an issuer's rules unusable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssuerError {
    /// No algorithm is allowed: every token would be refused.
    #[error("the issuer `{0}` has no algorithm")]
    Algorithms(Arc<str>),
    /// A claim is named that means something else, or none.
    #[error("the issuer `{0}` cannot carry identity in the claim `{1}`")]
    Claim(Arc<str>, Arc<str>),
    /// The identifier is not a URL that evidence may come from.
    #[error("the issuer `{0}` is not an https URL (http on loopback) without query and fragment")]
    Url(Arc<str>),
}

impl Issuer {
    /// Checks the rules of an issuer.
    ///
    /// # Errors
    /// [`IssuerError`] says what is missing or wrong.
    pub fn new(parts: IssuerParts) -> Result<Self, IssuerError> {
        let IssuerParts {
            url,
            mut algorithms,
            token_types,
            identity,
            groups_claim,
            roles_claim,
        } = parts;
        if issuer_transport(&url).is_none() {
            return Err(IssuerError::Url(url));
        }
        if algorithms.is_empty() {
            return Err(IssuerError::Algorithms(url));
        }
        let mut claims = vec![&groups_claim, &roles_claim];
        if let IdentityForm::HumanClaim(name) = &identity {
            claims.push(name);
        }
        if let Some(claim) = claims.into_iter().find(|claim| is_taken(claim)) {
            return Err(IssuerError::Claim(url, Arc::clone(claim)));
        }
        algorithms.sort_unstable();
        algorithms.dedup();
        Ok(Self {
            url,
            algorithms,
            token_types,
            identity,
            groups_claim,
            roles_claim,
        })
    }

    /// The issuer identifier.
    pub const fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// The allowed algorithms, sorted, at least one.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Whether its tokens may be signed so.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// The kinds of tokens that are taken.
    pub const fn token_types(&self) -> TokenTypes {
        self.token_types
    }

    /// How its tokens name the human and the agent.
    pub const fn identity(&self) -> &IdentityForm {
        &self.identity
    }

    /// The claim with the subject's groups.
    pub(super) fn groups_claim(&self) -> &str {
        &self.groups_claim
    }

    /// The claim with the subject's roles.
    pub(super) fn roles_claim(&self) -> &str {
        &self.roles_claim
    }
}

/// Whether a claim has a meaning of its own, or the name is empty.
fn is_taken(claim: &str) -> bool {
    let name = claim.strip_prefix('/').unwrap_or(claim);
    name.is_empty() || TAKEN_CLAIMS.contains(&name)
}

/// Claims that the verification itself reads.
const TAKEN_CLAIMS: [&str; 17] = [
    "acr",
    "act",
    "amr",
    "aud",
    "auth_time",
    "azp",
    "client_id",
    "cnf",
    "exp",
    "iat",
    "iss",
    "jti",
    "may_act",
    "nbf",
    "scope",
    "scp",
    "sub",
];
