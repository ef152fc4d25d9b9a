//! What each reason looks like from outside.
//!
//! Owns the table from [`DenyReason`] to status, code and words; exhaustive, so that a new reason does not compile
//! without its row. Texts name no value of the request and hold neither `scope=` nor `error=`, which clients would
//! find by a plain search in the challenge.

use portcullis_core::denial::DenyReason;

/// The outside of a refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Face {
    /// The HTTP status.
    pub(super) status: u16,
    /// The JSON-RPC code: the standard's where it has one, else a positive one, outside its reserved range.
    pub(super) code: i32,
    /// The last part of the problem's type URI.
    pub(super) kind: &'static str,
    /// The problem's title: the same for every refusal of its kind.
    pub(super) title: &'static str,
    /// The text for the client.
    pub(super) text: &'static str,
}

/// A kind of refusal: status, code, type and title, to which a reason adds its text.
#[derive(Clone, Copy)]
struct Kind(u16, i32, &'static str, &'static str);

const ANSWER: Kind = Kind(502, 50202, "answer", "The server's answer cannot be passed on");
const BODY: Kind = Kind(400, -32700, "json", "The body is not acceptable JSON");
const CANNOT_JUDGE: Kind = Kind(503, 50301, "cannot-judge", "The request cannot be judged now");
const CANNOT_RECORD: Kind = Kind(503, 50302, "cannot-record", "The request cannot be recorded now");
const CREDENTIAL: Kind = Kind(400, 40001, "request", "The request is malformed");
const DRAINING: Kind = Kind(503, 50303, "draining", "The gate is shutting down");
const ORIGIN: Kind = Kind(403, 40303, "origin", "The origin or host is not allowed");
const POLICY: Kind = Kind(403, 40301, "policy", "The policy does not allow this");
const RATE: Kind = Kind(429, 42901, "rate", "Too many requests");
const RPC: Kind = Kind(400, -32600, "rpc", "The message is not acceptable");
const SCOPE: Kind = Kind(403, 40302, "scope", "The token's scopes are not enough");
const TOKEN: Kind = Kind(401, 40101, "token", "A valid access token is required");
const TOO_LARGE: Kind = Kind(413, 41301, "too-large", "The request is too large");
const UPSTREAM: Kind = Kind(502, 50201, "upstream", "The server failed");

impl Kind {
    const fn face(self, text: &'static str) -> Face {
        let Self(status, code, kind, title) = self;
        Face {
            status,
            code,
            kind,
            title,
            text,
        }
    }
}

/// The face of `reason` for a client of the modern era (MCP 2026-07-28 and later) or before.
#[expect(clippy::too_many_lines, reason = "one table with one row a reason")]
pub(super) const fn of(reason: DenyReason, modern: bool) -> Face {
    match reason {
        DenyReason::AuditUnavailable => CANNOT_RECORD.face("the call cannot be recorded, so it is not made"),
        DenyReason::AnswerTooLarge => ANSWER.face("the server's answer is too large"),
        DenyReason::AnswerInvalid => ANSWER.face("the server's answer is not valid"),
        DenyReason::AnswerWithheld => POLICY.face("the policy withholds the answer"),
        DenyReason::ApiKeyPresent => CREDENTIAL.face("an API key is no credential here"),
        DenyReason::AuthenticationInsufficient => TOKEN.face("a fresher or stronger login is required"),
        DenyReason::BodyTooLarge => TOO_LARGE.face("the body is too large"),
        DenyReason::BodyTimeout => {
            Kind(408, 40801, "timeout", "The request took too long").face("the request did not arrive in time")
        }
        DenyReason::CertificateRefused => TOKEN.face("the client certificate is not accepted here"),
        DenyReason::CredentialMissing => TOKEN.face("the request has no access token"),
        DenyReason::CredentialRepeated => CREDENTIAL.face("the request has more than one credential"),
        DenyReason::CredentialScheme => TOKEN.face("the credential is not a bearer token"),
        DenyReason::QueryPresent => CREDENTIAL.face("the URL has a query, where none is accepted"),
        DenyReason::Draining => DRAINING.face("the gate is shutting down"),
        DenyReason::HeadMalformed => CREDENTIAL.face("the request is malformed"),
        DenyReason::HeadTooLarge => {
            Kind(431, 43101, "head-too-large", "The request's head is too large").face("the head is too large")
        }
        DenyReason::HeaderMismatch if modern => {
            Kind(400, -32020, "header-mismatch", "Headers and body disagree").face("a header and the body disagree")
        }
        DenyReason::HeaderMismatch => RPC.face("a header and the body disagree"),
        DenyReason::HostUnknown => ORIGIN.face("the host is not served here"),
        DenyReason::HttpMethod => {
            Kind(405, 40501, "http-method", "The HTTP method is not allowed").face("the endpoint takes POST alone")
        }
        DenyReason::IdentityUnbound => TOKEN.face("the token names no subject that can be told"),
        // JSON it is, but no one request (JSON-RPC 2.0 section 5.1).
        DenyReason::JsonAmbiguous => RPC.face("the body can be read in more than one way"),
        DenyReason::JsonMalformed => BODY.face("the body is not JSON within the limits"),
        DenyReason::DpopNonceMissing => TOKEN.face("the proof of possession needs the nonce of this answer"),
        DenyReason::DpopProofInvalid => TOKEN.face("the proof of possession is not valid"),
        DenyReason::DpopUnavailable => CANNOT_JUDGE.face("proofs of possession cannot be judged now"),
        DenyReason::IntrospectionUnavailable => CANNOT_JUDGE.face("tokens cannot be verified now"),
        DenyReason::KeysUnavailable => CANNOT_JUDGE.face("tokens cannot be verified now"),
        DenyReason::MediaType => {
            Kind(415, 41501, "media-type", "The media type is not supported").face("the body is not plain JSON")
        }
        DenyReason::MethodUnsupported => {
            let status = if modern { 404 } else { 400 };
            Kind(status, -32601, "method", "Method not found").face("the method is not supported")
        }
        DenyReason::NotAcceptable => Kind(406, 40601, "not-acceptable", "No acceptable form of answer")
            .face("accept names both application/json and text/event-stream"),
        DenyReason::OriginForbidden => ORIGIN.face("the origin is not allowed"),
        DenyReason::ParamsInvalid => Kind(400, -32602, "params", "Invalid params").face("the parameters are not valid"),
        // One face for all of these: who may not call a tool does not learn whether it exists.
        DenyReason::PolicyDenied
        | DenyReason::PromptUnmapped
        | DenyReason::ResourceUnmapped
        | DenyReason::ToolChanged
        | DenyReason::ToolHidden
        | DenyReason::ToolUnmapped => POLICY.face("the policy does not allow this call"),
        DenyReason::PolicyFailed => CANNOT_JUDGE.face("the policy cannot be evaluated now"),
        DenyReason::RateLimited => RATE.face("too many requests"),
        DenyReason::VerificationLimited => RATE.face("too many tokens that failed their verification"),
        DenyReason::ResumptionRefused => Kind(405, 40502, "resumption", "Streams are not resumed")
            .face("a stream that broke off does not go on: send the request again"),
        DenyReason::RouteUnknown => {
            Kind(404, 40401, "route", "Nothing is served here").face("nothing is served at this path")
        }
        DenyReason::RpcInvalid => RPC.face("the body is no message that may be sent here"),
        DenyReason::ScopeInsufficient => SCOPE.face("the operation needs further scopes"),
        // What a client of a session that has ended sees as well (MCP streamable HTTP): it starts a new one.
        DenyReason::SessionUnknown => {
            Kind(404, 40402, "session", "The session is not known").face("the session is not known")
        }
        DenyReason::SubjectUnlisted => POLICY.face("the policy does not allow this call"),
        DenyReason::TaskUnknown => Kind(400, -32602, "task", "Unknown task").face("the task is not known"),
        DenyReason::TenantForeign => {
            Kind(403, 40304, "tenant", "The tenant is another one").face("the token is for another tenant")
        }
        DenyReason::TokenAlgorithm
        | DenyReason::TokenClaims
        | DenyReason::TokenIssuer
        | DenyReason::TokenKeyUnknown
        | DenyReason::TokenLifetime
        | DenyReason::TokenMalformed
        | DenyReason::TokenSenderBound
        | DenyReason::TokenSignature
        | DenyReason::TokenTooLarge
        | DenyReason::TokenType => TOKEN.face("the access token is not valid"),
        DenyReason::TokenAudience => TOKEN.face("the access token is for another resource"),
        DenyReason::TokenInactive => TOKEN.face("the access token is not active"),
        DenyReason::TokenRevoked => TOKEN.face("the access token was revoked"),
        DenyReason::TokenUnbound => TOKEN.face("an access token that is bound to a key is required"),
        DenyReason::TokenExpired => TOKEN.face("the access token has expired"),
        DenyReason::TokenNotYetValid => TOKEN.face("the access token is not valid yet"),
        DenyReason::ToolsUnlisted => CANNOT_JUDGE.face("the server's tools are not known yet"),
        DenyReason::UpstreamCredentialUnavailable => {
            Kind(503, 50304, "upstream-credential", "The server cannot be called now")
                .face("the credential for the server cannot be had now")
        }
        DenyReason::UpstreamFailed => UPSTREAM.face("the server failed"),
        DenyReason::UpstreamTimeout => {
            Kind(504, 50401, "upstream-timeout", "The server did not answer in time").face("the server did not answer")
        }
        DenyReason::VersionUnsupported => {
            Kind(400, -32022, "version", "Unsupported protocol version").face("the protocol version is not supported")
        }
    }
}
