//! The rules of one issuer: which tokens of it are looked at, and how they name people and agents.
//!
//! Owns [`Issuer`]; it is checked when it is made, and nothing in it has a default that accepts more than RFC 9068.
//! Where its tokens carry what the gate reads is `mapping`'s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::Algorithm;
use crate::jwks::url::issuer_transport;
use crate::token::ScopeForm;
use crate::token::introspection::{IntrospectedTokens, IntrospectionRules};
use crate::token::mapping::{ClaimMap, MachineMark, Misnamed, is_mutable};

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
    /// To which tenant its tokens belong.
    pub tenant: TokenTenant,
    /// The longest that a token may be valid; `None` is [`TokenLimits::lifetime_max`](crate::token::TokenLimits).
    pub token_lifetime_max: Option<Duration>,
    /// The claim that tells one subject from every other, required: a name, or a JSON Pointer when it starts with `/`.
    /// `None` is `sub`.
    pub subject_claim: Option<String>,
    /// The claim that names the client, required. `None` is `client_id` or `azp`, both only when they agree.
    pub client_claim: Option<String>,
    /// The claim with the scopes. `None` is `scope`, a text, or `scp`, a text or a list; both only when they agree.
    pub scope_claim: Option<String>,
    /// The form of [`Self::scope_claim`]. `None` is a text for `scope`, a list for `permissions`, else any of the two.
    pub scope_form: Option<ScopeForm>,
    /// The claim with the subject's groups, an array of strings. `None` is `groups`.
    pub groups_claim: Option<String>,
    /// The claim with the subject's roles, likewise. `None` is `roles`.
    pub roles_claim: Option<String>,
    /// Whether groups and roles may be one string, which is then a list of one.
    pub single_as_list: bool,
    /// What marks a token that its client got for itself, beside a `sub` that is the client: any of these does.
    pub machine_marks: Vec<MachineMark>,
    /// Where the subject's groups and roles come from. `None` is the token, and the policy's data in the form
    /// [`IdentityForm::HumanClaim`], where the token's are the agent's.
    pub roles_from: Option<RolesFrom>,
    /// The claim whose value stands in for an absent `aud`, such as `client_id`: a token of that client is then taken
    /// for one that is meant for us. Servers must list the accepted values for this issuer. `None` refuses such tokens.
    pub danger_audience_from: Option<String>,
    /// Takes a token whose groups or roles stand elsewhere, for being too many, as one without any.
    pub danger_ignore_group_overage: bool,
    /// Where its keys come from, in any words of the embedder's. Keys are used only for the words they were published
    /// under, so that a changed source starts without any.
    pub key_source: Arc<str>,
    /// How the gate learns that a token of it was revoked.
    pub revocation: RevocationMode,
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
            tenant: TokenTenant::default(),
            token_lifetime_max: None,
            subject_claim: None,
            client_claim: None,
            scope_claim: None,
            scope_form: None,
            groups_claim: None,
            roles_claim: None,
            single_as_list: false,
            machine_marks: Vec::new(),
            roles_from: None,
            danger_audience_from: None,
            danger_ignore_group_overage: false,
            key_source: Arc::default(),
            introspection: None,
            revocation: RevocationMode::default(),
        }
    }
}

/// Where the groups and roles of an issuer's subjects come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RolesFrom {
    /// From the row of the subject in `data.subjects` of the server's policy.
    PolicyData,
    /// From the claims of the token.
    Token,
}

/// How the gate learns that a token was revoked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RevocationMode {
    /// By the list of revocations, asked on each use of a token.
    Feed,
    /// By the issuer's answer about the token (RFC 7662), which serves for a while.
    Introspect,
    /// Not at all: a token works until it expires.
    #[default]
    None,
}

impl RevocationMode {
    /// Whether the list of revocations takes entries of the issuer.
    pub const fn takes_revocations(self) -> bool {
        match self {
            Self::Feed | Self::Introspect => true,
            Self::None => false,
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

/// To which tenant an issuer's tokens belong.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum TokenTenant {
    /// To the one that this claim names, a text of at most [`TENANT_BYTES_MAX`] bytes: a name or, when it starts with
    /// `/`, a JSON Pointer. A token without it is refused.
    Claim(String),
    /// All to this one.
    Fixed(Arc<str>),
    /// Its tokens do not tell; the server may.
    #[default]
    Untold,
}

/// Bytes of a tenant's name.
pub const TENANT_BYTES_MAX: usize = 128;

/// Whether a tenant can have this name.
pub(crate) const fn is_tenant(name: &str) -> bool {
    !name.is_empty() && name.len() <= TENANT_BYTES_MAX
}

/// The rules of one issuer, checked.
#[derive(Debug, Eq, PartialEq)]
pub struct Issuer {
    url: Arc<str>,
    algorithms: Vec<Algorithm>,
    token_types: TokenTypes,
    identity: IdentityForm,
    roles_from: RolesFrom,
    tenant: TokenTenant,
    token_lifetime_max: Option<Duration>,
    claims: ClaimMap,
    key_source: Arc<str>,
    revocation: RevocationMode,
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
    /// A claim is named that does not tell people apart for good.
    #[error("the issuer `{0}` cannot name subjects in the claim `{1}`: people can change it (OpenID Connect Core 5.7)")]
    ClaimMutable(Arc<str>, String),
    /// Tokens may not be valid at all: every token would be refused.
    #[error("the issuer `{0}` has a longest lifetime of nothing")]
    Lifetime(Arc<str>),
    /// A claim marks machines that means something else, or in such a way that it marks everybody.
    #[error("the issuer `{0}` cannot tell the tokens of machines by the claim `{1}`")]
    Mark(Arc<str>, String),
    /// The human's roles would be taken from a token that carries the agent's.
    #[error("the issuer `{0}` cannot take roles from the token: in the form `human_claim` its roles are the agent's")]
    Roles(Arc<str>),
    /// A tenant is named that can be none.
    #[error("the issuer `{0}` has a tenant without a name, or with one of more than 128 bytes")]
    Tenant(Arc<str>),
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
        let claims = ClaimMap::new(&parts);
        let IssuerParts {
            url,
            mut algorithms,
            token_types,
            identity,
            roles_from,
            tenant,
            token_lifetime_max,
            key_source,
            revocation,
            introspection,
            ..
        } = parts;
        if issuer_transport(&url).is_none() {
            return Err(IssuerError::Url(url));
        }
        if algorithms.is_empty() {
            return Err(IssuerError::Algorithms(url));
        }
        if token_lifetime_max.is_some_and(|lifetime| lifetime.as_secs() == 0) {
            return Err(IssuerError::Lifetime(url));
        }
        if let TokenTenant::Fixed(name) = &tenant
            && !is_tenant(name)
        {
            return Err(IssuerError::Tenant(url));
        }
        let claims = match claims {
            Ok(claims) => claims,
            Err(Misnamed::Claim(claim)) if is_mutable(&claim) => return Err(IssuerError::ClaimMutable(url, claim)),
            Err(Misnamed::Claim(claim)) => return Err(IssuerError::Claim(url, claim)),
            Err(Misnamed::Mark(claim)) => return Err(IssuerError::Mark(url, claim)),
        };
        let token_types = match token_types {
            Some(names) => TokenTypes::read(&names).map_err(|name| IssuerError::TokenType(Arc::clone(&url), name))?,
            None => TokenTypes::ACCESS_TOKEN,
        };
        let roles_from = match (&identity, roles_from) {
            (IdentityForm::HumanClaim(_), Some(RolesFrom::Token)) => return Err(IssuerError::Roles(url)),
            (IdentityForm::HumanClaim(_), None) => RolesFrom::PolicyData,
            (IdentityForm::Act | IdentityForm::ListedAgents(_), None) => RolesFrom::Token,
            (_, Some(written)) => written,
        };
        algorithms.sort_unstable();
        algorithms.dedup();
        Ok(Self {
            url,
            algorithms,
            token_types,
            identity,
            roles_from,
            tenant,
            token_lifetime_max,
            claims,
            key_source,
            revocation,
            introspection,
        })
    }

    /// Where its keys come from: [`IssuerParts::key_source`].
    pub const fn key_source(&self) -> &Arc<str> {
        &self.key_source
    }

    /// How the gate learns that a token of it was revoked.
    pub const fn revocation(&self) -> RevocationMode {
        self.revocation
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

    /// Where the groups and roles of its subjects come from.
    pub const fn roles_from(&self) -> RolesFrom {
        self.roles_from
    }

    /// To which tenant its tokens belong.
    pub const fn tenant(&self) -> &TokenTenant {
        &self.tenant
    }

    /// The longest that a token may be valid, when the issuer has a bound of its own.
    pub const fn token_lifetime_max(&self) -> Option<Duration> {
        self.token_lifetime_max
    }

    /// Whether another claim stands in for an absent `aud`.
    pub(crate) const fn replaces_audience(&self) -> bool {
        self.claims.audience.is_some()
    }

    /// Where its tokens carry what.
    pub(super) const fn claims(&self) -> &ClaimMap {
        &self.claims
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
