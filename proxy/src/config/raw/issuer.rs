//! One authorization server, as written.

use schemars::JsonSchema;

use super::{At, Span};

/// One authorization server.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawIssuer {
    /// The issuer exactly as tokens name it in `iss`: an https URL, or http on loopback.
    pub issuer: At<String>,
    /// The kind of authorization server: `auth0`, `cognito`, `entra_v2`, `keycloak`, `okta` or `ping`. It sets the
    /// defaults of the keys below to what its tokens are like. Default: what RFC 9068 asks of tokens.
    pub profile: Option<At<String>>,
    /// Accepted signature algorithms, such as `[RS256, ES256]`. Default: all but ES384, whose
    /// verification is slow enough to be flooded with.
    pub algorithms: Option<Vec<At<String>>>,
    /// The URL of the key set. Default: found through the issuer's metadata (RFC 8414, then OpenID Connect).
    pub jwks_uri: Option<At<String>>,
    /// How tokens of this issuer name the human and the agent. Default: form `act`.
    pub identity: Option<RawIdentity>,
    /// The tenant that every token of this issuer belongs to. Default: none, and the server may name one.
    pub tenant: Option<At<String>>,
    /// The claim that names the tenant of a token, in place of `tenant`: a name or, starting with `/`, a JSON Pointer to
    /// a text of at most 128 bytes. A token without it is refused.
    pub tenant_claim: Option<At<String>>,
    /// Accepted values of the header's `typ`: of `at+jwt`, `JWT` and `absent`. Where it is not `at+jwt`, an ID token is
    /// told from an access token by its audience and claims. Default: `[at+jwt]`.
    pub token_types: Option<Vec<At<String>>>,
    /// Longest `exp - iat` of a token of this issuer. Default: the one of `limits`.
    pub token_lifetime_max: Option<At<Span>>,
    /// The claim that tells one subject from every other and never passes to another, such as Entra's `oid`; a token
    /// without it is refused. Default: `sub`.
    pub subject_claim: Option<At<String>>,
    /// The claim that names the client; a token without it is refused. Default: `client_id` or `azp`, both only when
    /// they agree.
    pub client_claim: Option<At<String>>,
    /// The claim that holds the scopes: `scope`, `scp`, `permissions` or another. Default: `scope` or `scp`, both only
    /// when they agree.
    pub scope_claim: Option<At<String>>,
    /// How `scope_claim` holds them. Default: `text` for `scope`, `list` for `permissions`, else `any`.
    pub scope_form: Option<RawScopeForm>,
    /// The claim that holds the subject's groups, a name or, starting with `/`, a JSON Pointer. Default: `groups`.
    pub groups_claim: Option<At<String>>,
    /// The claim that holds the subject's roles, likewise. Default: `roles`.
    pub roles_claim: Option<At<String>>,
    /// Whether groups and roles may be one text, which is then a list of one. Default: no.
    pub single_as_list: Option<bool>,
    /// Where the groups and roles of its subjects come from. Default: `token`, and `policy_data` with the form
    /// `human_claim`, whose tokens carry the agent's.
    pub roles_from: Option<At<RawRolesFrom>>,
    /// What a claim is like in tokens that a client got for itself, where `sub` is not the client: such a caller is told
    /// to the policy as a machine. Default: what the profile knows of its machines.
    pub machine_mark: Option<At<RawMachineMark>>,
    /// How this issuer is asked about tokens that are no JWT (RFC 7662). Default: never; such tokens are refused.
    pub introspection: Option<At<RawIntrospection>>,
    /// How the gate learns that a token of this issuer was revoked. Default: `none`.
    pub revocation: Option<At<RawRevocation>>,
    /// Certificate authorities (PEM) for fetches from this issuer, in place of the system's.
    pub ca: Option<At<String>>,
    /// Accepts tokens whose header `typ` is `JWT` or absent, for issuers that do not follow RFC 9068. An ID token is
    /// then told from an access token by its audience and claims alone.
    #[serde(default)]
    pub danger_accept_any_jwt: bool,
    /// The claim whose value stands in for an absent `aud`, such as `client_id`. A token of that client is then taken
    /// for one that is meant for this server, whatever it was issued for; each server lists the values that it accepts
    /// in `issuer_audiences`.
    pub danger_audience_from: Option<At<String>>,
    /// Takes a token whose groups are too many to be listed as one without groups. A policy that forbids something to
    /// a group is then passed by those who are in too many.
    #[serde(default)]
    pub danger_ignore_group_overage: bool,
    /// Lets keys and metadata be fetched from private, link-local and loopback addresses. Whoever can change the
    /// issuer's metadata or its name's addresses can then make the gate ask hosts of the inner network.
    #[serde(default)]
    pub danger_allow_private_addresses: bool,
}

/// How an issuer is asked about tokens. The gate proves itself there by a secret or by a private key; neither stands in
/// this file.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawIntrospection {
    /// The URL of the introspection endpoint. Default: `introspection_endpoint` of the issuer's metadata.
    pub url: Option<At<String>>,
    /// The tokens that it is asked about. Default: `opaque`.
    pub tokens: Option<At<RawIntrospectedTokens>>,
    /// The client that the gate is to the issuer.
    pub client_id: At<String>,
    /// The file whose first line is the client's secret.
    pub client_secret_file: Option<At<String>>,
    /// The environment variable that holds the client's secret.
    pub client_secret_env: Option<At<String>>,
    /// The file with the client's private key (PEM, PKCS #8; Ed25519, P-256 or RSA), for `private_key_jwt`.
    pub private_key_file: Option<At<String>>,
    /// The `kid` of that key.
    pub key_id: Option<At<String>>,
    /// Demands signed answers (RFC 9701). Default: plain JSON is asked for, and a signed answer is refused.
    #[serde(default)]
    pub signed: bool,
}

/// The tokens that an issuer is asked about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawIntrospectedTokens {
    /// Every token: signatures are not checked, the issuer's word alone decides, and its keys are not fetched.
    All,
    /// Tokens that are no JWT; a JWT proves itself by its signature, and is asked about too under
    /// `revocation: introspect`.
    Opaque,
}

/// How the gate learns that a token was revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawRevocation {
    /// By what operators and the watched file tell it.
    Feed,
    /// By the issuer's answer about each token, JWTs included; needs `introspection`.
    Introspect,
    /// Not at all: a token works until it expires.
    None,
}

/// Where the groups and roles of subjects come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawRolesFrom {
    /// The row `subjects[tenant][issuer][sub]` of the policy's data; who has none is refused.
    PolicyData,
    /// The token's own claims.
    Token,
}

/// What tells the tokens that clients get for themselves; one of `is` and `starts_with`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawMachineMark {
    /// The claim, a name or, starting with `/`, a JSON Pointer. A token without it is not marked.
    pub claim: At<String>,
    /// The text that the claim is.
    pub is: Option<At<String>>,
    /// The text that the claim starts with.
    pub starts_with: Option<At<String>>,
}

/// The forms of a claim with scopes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawScopeForm {
    /// A list or a text, as the token has it.
    Any,
    /// A list of scopes.
    List,
    /// One text with spaces between the scopes.
    Text,
}

/// How a token names the human and the agent.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawIdentity {
    /// Which of the three forms the issuer's tokens have.
    pub form: At<RawForm>,
    /// For `listed_agents`: the client ids that are agents.
    pub agents: Option<Vec<At<String>>>,
    /// For `human_claim`: the claim that carries the human's subject.
    pub claim: Option<At<String>>,
}

/// The forms of identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawForm {
    /// The token has an `act` claim when an agent acts (RFC 8693 section 4.1).
    Act,
    /// An agent's token whose claim carries the human.
    HumanClaim,
    /// A user's token whose `client_id` or `azp` is a listed agent.
    ListedAgents,
}
