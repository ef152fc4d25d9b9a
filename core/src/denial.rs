//! Refusals: why the gate says no, whose fault it is, and what may be told to whom.
//!
//! Owns [`DenyReason`], [`Denial`] and [`Challenge`]. Writes no HTTP and no JSON: statuses and bodies are the
//! embedder's. Never carries a token, a key, an argument value or a header's content.

use crate::record_id::RecordId;

/// Why a request or an answer is refused. Exhaustive on purpose: a new reason must be mapped to a status, a client
/// text and a record before it compiles.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DenyReason {
    /// The audit log cannot take the record: full queue, failed write, or the deadline passed.
    AuditUnavailable,
    /// The upstream's answer is larger than the limit.
    AnswerTooLarge,
    /// The upstream's answer is not an answer to this request: bad JSON, wrong id, encoded, unknown kind.
    AnswerInvalid,
    /// The policy, or an obligation that cannot be carried out, keeps the answer back.
    AnswerWithheld,
    /// A header brings an API key: one secret for everybody is no credential here.
    ApiKeyPresent,
    /// The policy asks for a stronger or fresher login than the token tells (RFC 9470).
    AuthenticationInsufficient,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The body did not arrive whole within its deadline.
    BodyTimeout,
    /// The client's certificate is no identity of this server: unknown, expired, revoked or of another authority.
    CertificateRefused,
    /// No credential came with the request.
    CredentialMissing,
    /// More than one credential came with the request (RFC 6750 section 2).
    CredentialRepeated,
    /// The authorization scheme is not `Bearer`, or its value is not a token (RFC 6750 section 2.1).
    CredentialScheme,
    /// The URL has a query: tokens in queries end in every log on the way, so none is accepted at all.
    QueryPresent,
    /// The gate is shutting down.
    Draining,
    /// No proof of possession can be judged now: the memory of seen proofs is full (RFC 9449 section 11.1).
    DpopUnavailable,
    /// The proof of possession is missing, malformed, late, for another request or token, or seen before
    /// (RFC 9449 section 4.3).
    DpopProofInvalid,
    /// The proof of possession lacks the nonce that the server asks for, or has an old one (RFC 9449 section 9).
    DpopNonceMissing,
    /// The head is malformed or ambiguous.
    HeadMalformed,
    /// The head is larger than the limit, or has too many fields.
    HeadTooLarge,
    /// A mirrored header disagrees with the body, is missing or repeated (MCP 2026-07-28, -32020).
    HeaderMismatch,
    /// The host is not one of this gate's.
    HostUnknown,
    /// The HTTP method is not allowed here.
    HttpMethod,
    /// The token names no subject, or its actor cannot be told.
    IdentityUnbound,
    /// The issuer cannot be asked about the token: no answer, a late one, or one that is none (RFC 7662).
    IntrospectionUnavailable,
    /// The body can be read in more than one way: duplicate or folded keys, lossy numbers.
    JsonAmbiguous,
    /// The body is not JSON within the limits.
    JsonMalformed,
    /// No usable keys of the issuer: never fetched, or older than their ceiling.
    KeysUnavailable,
    /// The content type or encoding is not one that can be judged.
    MediaType,
    /// The JSON-RPC method is not one that can be judged.
    MethodUnsupported,
    /// The client does not accept the answers this endpoint gives.
    NotAcceptable,
    /// The origin is not allowed (DNS rebinding).
    OriginForbidden,
    /// The parameters lack what the protocol demands (JSON-RPC -32602).
    ParamsInvalid,
    /// The policy said no.
    PolicyDenied,
    /// The policy could not be evaluated, or did not answer in its form.
    PolicyFailed,
    /// The prompt has no row in the scope table.
    PromptUnmapped,
    /// The subject's calls exceed its rate.
    RateLimited,
    /// The resource has no row in the scope table.
    ResourceUnmapped,
    /// The client would have a stream go on where it broke off: what was sent then cannot be judged again.
    ResumptionRefused,
    /// No server is configured at this path.
    RouteUnknown,
    /// The body is JSON but no JSON-RPC message that may be sent here.
    RpcInvalid,
    /// The token's scopes do not cover the tool.
    ScopeInsufficient,
    /// The session is not one that this principal may use, or the gate does not know it.
    SessionUnknown,
    /// The policy's data has no row for the subject, or for the agent that acts for it.
    SubjectUnlisted,
    /// The task was not started by this caller through this gate, or is not known any more.
    TaskUnknown,
    /// The token belongs to another tenant than the server, or to none that can be told.
    TenantForeign,
    /// The algorithm is not allowed for this issuer or not the key's.
    TokenAlgorithm,
    /// The token is for another resource.
    TokenAudience,
    /// A claim is missing or of the wrong type.
    TokenClaims,
    /// The token has expired.
    TokenExpired,
    /// The issuer says that the token is not active (RFC 7662 section 2.2).
    TokenInactive,
    /// The issuer is not one of this server's.
    TokenIssuer,
    /// No key of the issuer has the token's `kid`.
    TokenKeyUnknown,
    /// The token lives longer than allowed.
    TokenLifetime,
    /// The token is not a compact JWS in strict form.
    TokenMalformed,
    /// The token is not valid yet.
    TokenNotYetValid,
    /// The token, its session, its client or its principal was revoked.
    TokenRevoked,
    /// The token is bound to a key or certificate that this request does not prove.
    TokenSenderBound,
    /// The signature is not the issuer's.
    TokenSignature,
    /// The token is longer than the limit.
    TokenTooLarge,
    /// The token is of another kind, such as an ID token.
    TokenType,
    /// The server asks for tokens that are bound to a key or certificate, and this one is not.
    TokenUnbound,
    /// The definition of the tool is not the accepted one, and the server's setting withholds it until it is accepted.
    ToolChanged,
    /// The tool has no row in the scope table.
    ToolUnmapped,
    /// The tool, prompt or resource is hidden from this caller.
    ToolHidden,
    /// The gate has not yet seen the upstream's list of tools: what a header repeats of a call cannot be told.
    ToolsUnlisted,
    /// The credential for the upstream cannot be had now (RFC 8693): nothing was sent.
    UpstreamCredentialUnavailable,
    /// The upstream failed before or within its answer.
    UpstreamFailed,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// Too many tokens from this source failed their verification: no more are verified for a while.
    VerificationLimited,
    /// The protocol version is not one that can be judged.
    VersionUnsupported,
}

/// Whose fault a refusal is: decides the tone of the log, never the outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blame {
    /// The request: its head, its body or its timing.
    Client,
    /// The gate itself.
    Gate,
    /// The authorization server or its keys.
    Issuer,
    /// The policy, including the scope table.
    Policy,
    /// The token that came with the request.
    Token,
    /// The MCP server behind the gate.
    Upstream,
}

/// How a server tells its callers that the policy refuses a call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DenyStyle {
    /// As HTTP 403 with a JSON-RPC error.
    #[default]
    Http,
    /// As HTTP 200 with a tool's result that is an error, which the model can read.
    ToolError,
    /// As the answer to the call of a tool that does not exist (JSON-RPC -32602), also where scopes are missing.
    Hidden,
}

/// What a refused call names: the word for it, where a style says that it is unknown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Noun {
    /// Nothing.
    #[default]
    Nothing,
    /// A prompt.
    Prompt,
    /// A resource or a resource template.
    Resource,
    /// A tool.
    Tool,
}

impl DenyReason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 70] = [
        Self::AuditUnavailable,
        Self::AnswerTooLarge,
        Self::AnswerInvalid,
        Self::AnswerWithheld,
        Self::ApiKeyPresent,
        Self::AuthenticationInsufficient,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::CertificateRefused,
        Self::CredentialMissing,
        Self::CredentialRepeated,
        Self::CredentialScheme,
        Self::QueryPresent,
        Self::Draining,
        Self::DpopNonceMissing,
        Self::DpopProofInvalid,
        Self::DpopUnavailable,
        Self::HeadMalformed,
        Self::HeadTooLarge,
        Self::HeaderMismatch,
        Self::HostUnknown,
        Self::HttpMethod,
        Self::IdentityUnbound,
        Self::IntrospectionUnavailable,
        Self::JsonAmbiguous,
        Self::JsonMalformed,
        Self::KeysUnavailable,
        Self::MediaType,
        Self::MethodUnsupported,
        Self::NotAcceptable,
        Self::OriginForbidden,
        Self::ParamsInvalid,
        Self::PolicyDenied,
        Self::PolicyFailed,
        Self::PromptUnmapped,
        Self::RateLimited,
        Self::ResourceUnmapped,
        Self::ResumptionRefused,
        Self::RouteUnknown,
        Self::RpcInvalid,
        Self::ScopeInsufficient,
        Self::SessionUnknown,
        Self::SubjectUnlisted,
        Self::TaskUnknown,
        Self::TenantForeign,
        Self::TokenAlgorithm,
        Self::TokenAudience,
        Self::TokenClaims,
        Self::TokenExpired,
        Self::TokenInactive,
        Self::TokenIssuer,
        Self::TokenKeyUnknown,
        Self::TokenLifetime,
        Self::TokenMalformed,
        Self::TokenNotYetValid,
        Self::TokenRevoked,
        Self::TokenSenderBound,
        Self::TokenSignature,
        Self::TokenTooLarge,
        Self::TokenType,
        Self::TokenUnbound,
        Self::ToolChanged,
        Self::ToolUnmapped,
        Self::ToolHidden,
        Self::ToolsUnlisted,
        Self::UpstreamCredentialUnavailable,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
        Self::VerificationLimited,
        Self::VersionUnsupported,
    ];

    /// The name of the reason in records, logs and metrics: stable, lower case, one word with underscores.
    pub const fn code(self) -> &'static str {
        match self {
            Self::AuditUnavailable => "audit_unavailable",
            Self::AnswerTooLarge => "answer_too_large",
            Self::AnswerInvalid => "answer_invalid",
            Self::AnswerWithheld => "answer_withheld",
            Self::ApiKeyPresent => "api_key_present",
            Self::AuthenticationInsufficient => "authentication_insufficient",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::CertificateRefused => "certificate_refused",
            Self::CredentialMissing => "credential_missing",
            Self::CredentialRepeated => "credential_repeated",
            Self::CredentialScheme => "credential_scheme",
            Self::QueryPresent => "query_present",
            Self::Draining => "draining",
            Self::DpopNonceMissing => "dpop_nonce_missing",
            Self::DpopProofInvalid => "dpop_proof_invalid",
            Self::DpopUnavailable => "dpop_unavailable",
            Self::HeadMalformed => "head_malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::HeaderMismatch => "header_mismatch",
            Self::HostUnknown => "host_unknown",
            Self::HttpMethod => "http_method",
            Self::IdentityUnbound => "identity_unbound",
            Self::IntrospectionUnavailable => "introspection_unavailable",
            Self::JsonAmbiguous => "json_ambiguous",
            Self::JsonMalformed => "json_malformed",
            Self::KeysUnavailable => "keys_unavailable",
            Self::MediaType => "media_type",
            Self::MethodUnsupported => "method_unsupported",
            Self::NotAcceptable => "not_acceptable",
            Self::OriginForbidden => "origin_forbidden",
            Self::ParamsInvalid => "params_invalid",
            Self::PolicyDenied => "policy_denied",
            Self::PolicyFailed => "policy_failed",
            Self::PromptUnmapped => "prompt_unmapped",
            Self::RateLimited => "rate_limited",
            Self::ResourceUnmapped => "resource_unmapped",
            Self::ResumptionRefused => "resumption_refused",
            Self::RouteUnknown => "route_unknown",
            Self::RpcInvalid => "rpc_invalid",
            Self::ScopeInsufficient => "scope_insufficient",
            Self::SessionUnknown => "session_unknown",
            Self::SubjectUnlisted => "subject_unlisted",
            Self::TaskUnknown => "task_unknown",
            Self::TenantForeign => "tenant_foreign",
            Self::TokenAlgorithm => "token_algorithm",
            Self::TokenAudience => "token_audience",
            Self::TokenClaims => "token_claims",
            Self::TokenExpired => "token_expired",
            Self::TokenInactive => "token_inactive",
            Self::TokenIssuer => "token_issuer",
            Self::TokenKeyUnknown => "token_key_unknown",
            Self::TokenLifetime => "token_lifetime",
            Self::TokenMalformed => "token_malformed",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::TokenRevoked => "token_revoked",
            Self::TokenSenderBound => "token_sender_bound",
            Self::TokenSignature => "token_signature",
            Self::TokenTooLarge => "token_too_large",
            Self::TokenType => "token_type",
            Self::TokenUnbound => "token_unbound",
            Self::ToolChanged => "tool_changed",
            Self::ToolUnmapped => "tool_unmapped",
            Self::ToolsUnlisted => "tools_unlisted",
            Self::ToolHidden => "tool_hidden",
            Self::UpstreamCredentialUnavailable => "upstream_credential_unavailable",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::VerificationLimited => "verification_limited",
            Self::VersionUnsupported => "version_unsupported",
        }
    }

    /// Whose fault the refusal is.
    pub const fn blame(self) -> Blame {
        match self {
            Self::AuditUnavailable | Self::DpopUnavailable | Self::Draining => Blame::Gate,
            Self::IntrospectionUnavailable | Self::KeysUnavailable | Self::UpstreamCredentialUnavailable => {
                Blame::Issuer
            }
            Self::AnswerWithheld
            | Self::AuthenticationInsufficient
            | Self::PolicyDenied
            | Self::PolicyFailed
            | Self::PromptUnmapped
            | Self::ResourceUnmapped
            | Self::ScopeInsufficient
            | Self::SubjectUnlisted
            | Self::ToolChanged
            | Self::ToolHidden
            | Self::ToolUnmapped => Blame::Policy,
            Self::CertificateRefused
            | Self::DpopNonceMissing
            | Self::DpopProofInvalid
            | Self::IdentityUnbound
            | Self::TenantForeign
            | Self::TokenAlgorithm
            | Self::TokenAudience
            | Self::TokenClaims
            | Self::TokenExpired
            | Self::TokenInactive
            | Self::TokenIssuer
            | Self::TokenKeyUnknown
            | Self::TokenLifetime
            | Self::TokenMalformed
            | Self::TokenNotYetValid
            | Self::TokenRevoked
            | Self::TokenSenderBound
            | Self::TokenSignature
            | Self::TokenTooLarge
            | Self::TokenType
            | Self::TokenUnbound => Blame::Token,
            Self::AnswerInvalid
            | Self::AnswerTooLarge
            | Self::ToolsUnlisted
            | Self::UpstreamFailed
            | Self::UpstreamTimeout => Blame::Upstream,
            Self::ApiKeyPresent
            | Self::BodyTimeout
            | Self::BodyTooLarge
            | Self::CredentialMissing
            | Self::CredentialRepeated
            | Self::CredentialScheme
            | Self::HeadMalformed
            | Self::HeadTooLarge
            | Self::HeaderMismatch
            | Self::HostUnknown
            | Self::HttpMethod
            | Self::JsonAmbiguous
            | Self::JsonMalformed
            | Self::MediaType
            | Self::MethodUnsupported
            | Self::NotAcceptable
            | Self::OriginForbidden
            | Self::ParamsInvalid
            | Self::QueryPresent
            | Self::RateLimited
            | Self::ResumptionRefused
            | Self::TaskUnknown
            | Self::RouteUnknown
            | Self::RpcInvalid
            | Self::SessionUnknown
            | Self::VerificationLimited
            | Self::VersionUnsupported => Blame::Client,
        }
    }
}

/// What a client needs to get a better token: the parts of a `WWW-Authenticate: Bearer` challenge
/// (RFC 6750 section 3, RFC 9728 section 5.1), and of the one for a bound token behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// The `error` parameter; absent when no credential came.
    pub error: Option<ChallengeError>,
    /// The `scope` parameter: every scope this operation needs, separated by spaces; absent when there is none.
    pub scope: Option<String>,
    /// The `resource_metadata` parameter: an absolute URL of the gate.
    pub resource_metadata: String,
    /// The `acr_values` and `max_age` parameters (RFC 9470 section 3), when a stronger or fresher login is asked for.
    pub authentication: Option<AuthenticationDemand>,
    /// The challenge of the scheme `DPoP`, when the client used it or should.
    pub dpop: Option<DpopChallenge>,
}

/// The login that is asked for (RFC 9470 section 3): at least one of both is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthenticationDemand {
    /// The acceptable values of `acr`, the preferred one first: visible ASCII without spaces, quotes and backslashes.
    /// Empty when any is.
    pub acr_values: Box<[Box<str>]>,
    /// Seconds that may have passed since the login; `None` for any time.
    pub max_age_s: Option<u32>,
}

/// The parts of a `WWW-Authenticate: DPoP` challenge (RFC 9449 section 7.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DpopChallenge {
    /// The `error` parameter; absent when the client has not tried the scheme.
    pub error: Option<DpopError>,
    /// The nonce for the next proof, in a field of its own; absent when the server asks for none.
    pub nonce: Option<String>,
}

/// The error codes of a challenge for a bound token (RFC 9449 section 12.2 and 12.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DpopError {
    /// The proof is not good for this request.
    InvalidProof,
    /// The token is not good, or not bound to the proof's key.
    InvalidToken,
    /// The proof needs the nonce of this answer.
    UseNonce,
}

impl DpopError {
    /// The code as the RFC spells it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidProof => "invalid_dpop_proof",
            Self::InvalidToken => "invalid_token",
            Self::UseNonce => "use_dpop_nonce",
        }
    }
}

/// The registered error codes of a bearer challenge (RFC 6750 section 3.1, RFC 9470 section 3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChallengeError {
    /// The token is not good for any request.
    InvalidToken,
    /// The token is good, its scopes are not enough.
    InsufficientScope,
    /// The token is good, the login behind it is not fresh or strong enough (RFC 9470 section 3).
    InsufficientUserAuthentication,
}

impl ChallengeError {
    /// The code as the RFC spells it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InsufficientUserAuthentication => "insufficient_user_authentication",
        }
    }
}

/// A refusal on its way to the client.
///
/// Boxed parts keep the `Err` side of the road small. `PartialEq` is for tests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// Why.
    pub reason: DenyReason,
    /// What the operator may read beside the reason: one lower-case line without values of the request.
    pub operator: &'static str,
    /// How the client gets a better token, when that cures it.
    pub challenge: Option<Box<Challenge>>,
    /// The record of this refusal, from stage 6 on.
    pub record_id: Option<RecordId>,
    /// The request's id as it stood in the body, one JSON number or string; `None` when it could not be read.
    pub request_id: Option<Box<str>>,
    /// The version that the request named, when that is what is wrong: a modern client is told it again (MCP
    /// `UnsupportedProtocolVersionError`).
    pub requested_version: Option<Box<str>>,
    /// Whether the client speaks MCP 2026-07-28 or later: decides the error code, never the outcome.
    pub modern: bool,
    /// How a refusal of the policy is told; decides nothing else.
    pub style: DenyStyle,
    /// What the call names.
    pub noun: Noun,
    /// After how many seconds a retry makes sense.
    pub retry_after_s: Option<u32>,
    /// Nanoseconds that the stages took which came to this refusal, for whoever measures the rest of the request.
    pub stages_ns: u64,
}

impl Denial {
    /// A refusal with nothing but its reason and the operator's line.
    #[cold]
    #[inline(never)]
    pub const fn new(reason: DenyReason, operator: &'static str) -> Self {
        Self {
            reason,
            operator,
            challenge: None,
            record_id: None,
            request_id: None,
            requested_version: None,
            modern: false,
            style: DenyStyle::Http,
            noun: Noun::Nothing,
            retry_after_s: None,
            stages_ns: 0,
        }
    }

    /// The same refusal with a challenge.
    #[must_use]
    pub fn with_challenge(mut self, challenge: Challenge) -> Self {
        self.challenge = Some(Box::new(challenge));
        self
    }

    /// The same refusal with a time to wait, in seconds.
    #[must_use]
    pub const fn with_retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

#[cfg(test)]
mod tests;
