//! The bounds, as written.

use schemars::JsonSchema;

use super::{At, Span};

/// Bounds of the gate. Numbers are bytes or counts; times are written `500ms`, `10s`, `5m` or `24h`.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLimits {
    /// Bytes of a request's head. Default: 32768.
    pub header_bytes_max: Option<At<u32>>,
    /// Fields of a request's head. Default: 100.
    pub headers_max: Option<At<u32>>,
    /// Time until a request's head is whole. Default: 10s.
    pub header_deadline: Option<At<Span>>,
    /// Bytes of a request's body. Default: 1048576.
    pub body_bytes_max: Option<At<u32>>,
    /// Time until a request's body is whole. Default: 30s.
    pub body_deadline: Option<At<Span>>,
    /// Nesting of a JSON document. Default: 64.
    pub json_depth_max: Option<At<u32>>,
    /// Members and elements of a JSON document, all levels together. Default: 10000.
    pub json_members_max: Option<At<u32>>,
    /// Bytes of an access token, and of a proof of possession. Default: 16384.
    pub token_bytes_max: Option<At<u32>>,
    /// Bytes of a tool's name. Default: 128.
    pub tool_name_bytes_max: Option<At<u32>>,
    /// Time of one policy evaluation. Default: 5ms.
    pub policy_deadline: Option<At<Span>>,
    /// Instructions of one policy evaluation. Default: 25000.
    pub policy_instructions_max: Option<At<u32>>,
    /// Bytes of a key set or of issuer metadata. Default: 262144.
    pub jwks_bytes_max: Option<At<u32>>,
    /// Keys of a key set. Default: 100.
    pub jwks_keys_max: Option<At<u32>>,
    /// Time of one fetch from an issuer. Default: 5s.
    pub fetch_deadline: Option<At<Span>>,
    /// Least time between two fetches that an unknown `kid` asks for, per issuer. Default: 30s.
    pub unknown_kid_interval: Option<At<Span>>,
    /// How long a request waits for the fetch that its unknown `kid` asked for. Default: 1s.
    pub unknown_kid_wait: Option<At<Span>>,
    /// Time between two regular fetches of a key set, when the issuer names none. Default: 5m.
    pub jwks_refresh: Option<At<Span>>,
    /// Age at which a key set serves no longer. Default: 1h.
    pub jwks_age_max: Option<At<Span>>,
    /// Longest `exp - iat` of a token. Default: 24h.
    pub token_lifetime_max: Option<At<Span>>,
    /// Tolerated clock difference to an issuer, at most 5m. Default: 1m.
    pub leeway: Option<At<Span>>,
    /// Verified tokens that are remembered. Default: 100000.
    pub tokens_cached_max: Option<At<u32>>,
    /// Age at which a proof of possession (DPoP) is too old, and how long one nonce is given out. Default: 5m.
    pub dpop_age_max: Option<At<Span>>,
    /// Proofs of possession that are remembered until then, so that none serves twice. Default: 1000000.
    pub dpop_proofs_max: Option<At<u32>>,
    /// Proofs of one key that are remembered: bounds the calls of one client within `dpop_age_max`. Default: 20000.
    pub dpop_proofs_per_key_max: Option<At<u32>>,
    /// Time of one question to an issuer about a token. Default: 1s.
    pub introspection_deadline: Option<At<Span>>,
    /// Bytes of its answer. Default: 65536.
    pub introspection_bytes_max: Option<At<u32>>,
    /// How long its answer that a token is active serves: so long a revoked token may still work. Default: 1m.
    pub introspection_cached_max: Option<At<Span>>,
    /// How long its answer that a token is not active serves. Default: 5s.
    pub introspection_refused_cached: Option<At<Span>>,
    /// Places (addresses, or /64s of version 6, and client certificates) from which one token may be used before the log
    /// and the metric `portcullis_tokens_shared` report it. Default: 16.
    pub token_sources_reported: Option<At<u32>>,
    /// Tokens a second of one issuer and one source (an address, or a /64 of version 6) that may fail their
    /// verification, in the long run; beyond that the source's new tokens get 429. Default: 10.
    pub failed_tokens_per_second: Option<At<u32>>,
    /// Such tokens at once. Default: 100.
    pub failed_tokens_burst: Option<At<u32>>,
    /// Revocations in force at once; a further one is refused. Default: 100000.
    pub revocations_max: Option<At<u32>>,
    /// Bytes of a JSON answer or of one event of a stream. Default: 8388608.
    pub answer_bytes_max: Option<At<u32>>,
    /// Time until the upstream's head. Default: 1m.
    pub upstream_first_byte_deadline: Option<At<Span>>,
    /// Silence after which a stream is ended. Default: 5m.
    pub stream_idle_deadline: Option<At<Span>>,
    /// Streams held open at once. Default: 10000.
    pub streams_max: Option<At<u32>>,
    /// Audit records on their way to the log. Default: 65536.
    pub audit_queue_records: Option<At<u32>>,
    /// How long a request waits for its record to be durable. Default: 100ms.
    pub audit_deadline: Option<At<Span>>,
    /// How long after its token has expired (with `leeway`) a call that was permitted may still be answered, at most 1h.
    /// Default: 1m.
    pub expiry_grace: Option<At<Span>>,
    /// Depth of an `act` chain. Default: 4.
    pub act_depth_max: Option<At<u32>>,
    /// Time of one exchange of a token for an upstream. Default: 2s.
    pub exchange_deadline: Option<At<Span>>,
    /// Bytes of its answer. Default: 65536.
    pub exchange_bytes_max: Option<At<u32>>,
    /// How long a token that was got in exchange serves further calls, at most; never longer than it or the client's
    /// token holds. Default: 5m.
    pub exchanged_cached_max: Option<At<Span>>,
    /// Such tokens that are kept. Default: 10000.
    pub exchanged_tokens_max: Option<At<u32>>,
}
