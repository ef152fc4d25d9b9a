//! The rules of one issuer: which tokens of it are looked at, and how they name people and agents.
//!
//! Owns [`Issuer`]; it is checked when it is made, and nothing in it has a default that accepts more than RFC 9068.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::crypto::Algorithm;
use crate::jwks::url::issuer_transport;
use crate::token::introspection::{IntrospectedTokens, IntrospectionRules};

/// What the operator wrote for one issuer, before it is checked by [`Issuer::new`].
#[derive(Clone, Debug)]
pub struct IssuerParts {
    /// The issuer identifier, compared byte by byte with `iss`.
    pub url: Arc<str>,
    /// The signature algorithms its tokens may have; [`Issuer::DEFAULT_ALGORITHMS`] is a good choice.
    pub algorithms: Vec<Algorithm>,
    /// The accepted values of `typ`: of `at+jwt`, `application/at+jwt`, `JWT` and `absent`. `None` takes the first two,
    /// as RFC 9068 section 4 demands; the others are for issuers that do not follow it.
    pub token_types: Option<Vec<String>>,
    /// How its tokens name the human and the agent.
    pub identity: IdentityForm,
    /// The claim with the subject's groups, an array of strings: a name, or a JSON Pointer when it starts with `/`.
    /// `None` is `groups`.
    pub groups_claim: Option<String>,
    /// The claim with the subject's roles, as [`Self::groups_claim`]. `None` is `roles`.
    pub roles_claim: Option<String>,
    /// Where its keys come from, in any words of the embedder's. Keys are used only for the words they were published
    /// under, so that a changed source starts without any.
    pub key_source: Arc<str>,
    /// When and how it is asked about tokens; `None` for never: tokens that are no JWT are refused then.
    pub introspection: Option<IntrospectionRules>,
}

impl IssuerParts {
    /// The strictest rules for the issuer at `url`: every fast algorithm, RFC 9068 tokens alone, actors by `act`.
    pub fn strict(url: Arc<str>) -> Self {
        Self {
            url,
            algorithms: Issuer::DEFAULT_ALGORITHMS.to_vec(),
            token_types: None,
            identity: IdentityForm::default(),
            groups_claim: None,
            roles_claim: None,
            key_source: Arc::default(),
            introspection: None,
        }
    }
}

/// Which `typ` a token may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TokenTypes {
    /// `at+jwt`, with or without `application/`.
    pub(super) access_token: bool,
    /// `JWT`. What then tells an ID token is its audience, and the claims that only such tokens have.
    pub(super) jwt: bool,
    /// None at all; as with `JWT`.
    pub(super) absent: bool,
}

/// How an issuer's tokens name the human and the agent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum IdentityForm {
    /// The token is the human's; an agent that acts stands in `act` (RFC 8693 section 4.1).
    #[default]
    Act,
    /// The token is an agent's; the human it acts for stands in this claim, a string.
    HumanClaim(String),
    /// The token is the human's; these clients are agents.
    ListedAgents(BTreeSet<String>),
}

/// The rules of one issuer, checked.
#[derive(Debug, Eq, PartialEq)]
pub struct Issuer {
    url: Arc<str>,
    algorithms: Vec<Algorithm>,
    token_types: TokenTypes,
    identity: IdentityForm,
    groups_claim: String,
    roles_claim: String,
    key_source: Arc<str>,
    introspection: Option<IntrospectionRules>,
}

/// What makes an issuer's rules unusable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssuerError {
    /// No algorithm is allowed: every token would be refused.
    #[error("the issuer `{0}` has no algorithm")]
    Algorithms(Arc<str>),
    /// A claim is named that means something else, or none.
    #[error("the issuer `{0}` cannot carry identity in the claim `{1}`")]
    Claim(Arc<str>, String),
    /// A `typ` is named that no access token has.
    #[error(
        "the issuer `{0}` cannot have tokens of the type `{1}`: known are at+jwt, application/at+jwt, JWT and absent"
    )]
    TokenType(Arc<str>, String),
    /// The identifier is not a URL that evidence may come from.
    #[error("the issuer `{0}` is not an https URL (http on loopback) without query and fragment")]
    Url(Arc<str>),
}

impl Issuer {
    /// Every algorithm but ES384: ten of its verifications are a hundred of another's, an invitation to flood us.
    pub const DEFAULT_ALGORITHMS: [Algorithm; 8] = [
        Algorithm::EdDSA,
        Algorithm::Es256,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
    ];

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
            key_source,
            introspection,
        } = parts;
        if issuer_transport(&url).is_none() {
            return Err(IssuerError::Url(url));
        }
        if algorithms.is_empty() {
            return Err(IssuerError::Algorithms(url));
        }
        let groups_claim = groups_claim.unwrap_or_else(|| "groups".to_owned());
        let roles_claim = roles_claim.unwrap_or_else(|| "roles".to_owned());
        if let Some(claim) = taken_claim(&groups_claim, &roles_claim, &identity) {
            return Err(IssuerError::Claim(url, claim));
        }
        let token_types = match token_types {
            Some(names) => TokenTypes::read(&names).map_err(|name| IssuerError::TokenType(Arc::clone(&url), name))?,
            None => TokenTypes::ACCESS_TOKEN,
        };
        algorithms.sort_unstable();
        algorithms.dedup();
        Ok(Self {
            url,
            algorithms,
            token_types,
            identity,
            groups_claim,
            roles_claim,
            key_source,
            introspection,
        })
    }

    /// Where its keys come from: [`IssuerParts::key_source`].
    pub const fn key_source(&self) -> &Arc<str> {
        &self.key_source
    }

    /// When and how it is asked about tokens.
    pub const fn introspection(&self) -> Option<&IntrospectionRules> {
        self.introspection.as_ref()
    }

    /// Whether its keys verify anything: not where every token is judged by its word alone, unless that word is signed.
    pub fn needs_keys(&self) -> bool {
        self.introspection
            .as_ref()
            .is_none_or(|rules| rules.tokens != IntrospectedTokens::All || rules.signed_for.is_some())
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
    pub(super) const fn token_types(&self) -> TokenTypes {
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

impl TokenTypes {
    const ACCESS_TOKEN: Self = Self {
        access_token: true,
        jwt: false,
        absent: false,
    };

    /// The types of these names, or the name that is none; an empty list is the empty name.
    fn read(names: &[String]) -> Result<Self, String> {
        let mut types = Self {
            access_token: false,
            jwt: false,
            absent: false,
        };
        for name in names {
            match name.as_str() {
                "at+jwt" | "application/at+jwt" => types.access_token = true,
                "JWT" => types.jwt = true,
                "absent" => types.absent = true,
                _ => return Err(name.clone()),
            }
        }
        if names.is_empty() {
            Err(String::new())
        } else {
            Ok(types)
        }
    }
}

/// The first claim, if any, that cannot carry what the rules want of it.
fn taken_claim(groups: &str, roles: &str, identity: &IdentityForm) -> Option<String> {
    let human = match identity {
        IdentityForm::HumanClaim(name) => Some(name.as_str()),
        IdentityForm::Act | IdentityForm::ListedAgents(_) => None,
    };
    let claims = [Some(groups), Some(roles), human];
    claims
        .into_iter()
        .flatten()
        .find(|claim| is_taken(claim))
        .map(str::to_owned)
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
