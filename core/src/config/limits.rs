//! Every bound of the gate, with the defaults of the design.
//!
//! Owns [`Limits`]. Bounds nothing itself: each module is told its own.

use std::time::Duration;

use crate::catalog::ListingLimits;
use crate::exchange::ExchangeLimits;
use crate::limit::Rate;
use crate::token::TokenLimits;

/// Every bound of the gate. The defaults are the design's; each has a key of the same name in the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of a request's head.
    pub header_bytes_max: usize,
    /// Fields of a request's head.
    pub headers_max: usize,
    /// Time until a request's head is whole.
    pub header_deadline: Duration,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Time until a request's body is whole.
    pub body_deadline: Duration,
    /// Nesting of a JSON document.
    pub json_depth_max: u32,
    /// Members and elements of a JSON document, all levels together.
    pub json_members_max: u32,
    /// Bytes of a bearer token.
    pub token_bytes_max: usize,
    /// Bytes of a tool's name.
    pub tool_name_bytes_max: usize,
    /// Time of one policy evaluation.
    pub policy_deadline: Duration,
    /// Instructions of one policy evaluation.
    pub policy_instructions_max: usize,
    /// Bytes of a key set or of issuer metadata.
    pub jwks_bytes_max: usize,
    /// Keys of a key set.
    pub jwks_keys_max: usize,
    /// Time of one fetch from an issuer.
    pub fetch_deadline: Duration,
    /// Least time between two fetches that an unknown `kid` asks for, per issuer.
    pub unknown_kid_interval: Duration,
    /// How long a request waits for the fetch that its unknown `kid` asked for.
    pub unknown_kid_wait: Duration,
    /// Time between two regular fetches of a key set, when the issuer names none.
    pub jwks_refresh: Duration,
    /// Age at which a key set serves no longer.
    pub jwks_age_max: Duration,
    /// Longest `exp - iat` of a token.
    pub token_lifetime_max: Duration,
    /// Tolerated clock difference to an issuer.
    pub leeway: Duration,
    /// Verified tokens that are remembered.
    pub tokens_cached_max: usize,
    /// Age at which a proof of possession is too old (RFC 9449 section 11.1).
    pub dpop_age_max: Duration,
    /// Proofs of possession that are remembered, all together.
    pub dpop_proofs_max: usize,
    /// Proofs of possession of one key that are remembered.
    pub dpop_proofs_per_key_max: usize,
    /// Time of one question to an issuer about a token.
    pub introspection_deadline: Duration,
    /// Bytes of its answer.
    pub introspection_bytes_max: usize,
    /// How long its answer that a token is active serves: so long a revoked token may still work.
    pub introspection_cached_max: Duration,
    /// How long its answer that a token is not active serves.
    pub introspection_refused_cached: Duration,
    /// Places from which one token may be used before that is reported.
    pub token_sources_reported: u16,
    /// Tokens a second of one issuer and one source that may fail, in the long run.
    pub failed_tokens_per_second: u32,
    /// Such tokens at once.
    pub failed_tokens_burst: u32,
    /// Revocations in force at once.
    pub revocations_max: usize,
    /// Bytes of a JSON answer or of one event of a stream.
    pub answer_bytes_max: usize,
    /// Time until the upstream's head.
    pub upstream_first_byte_deadline: Duration,
    /// Silence after which a stream is ended.
    pub stream_idle_deadline: Duration,
    /// Streams held open at once.
    pub streams_max: usize,
    /// Audit records on their way to the log.
    pub audit_queue_records: usize,
    /// How long a request waits for its record to be durable.
    pub audit_deadline: Duration,
    /// How long after its token has expired a call that was permitted may still be answered.
    pub expiry_grace: Duration,
    /// Depth of an `act` chain (RFC 8693 section 4.1).
    pub act_depth_max: usize,
    /// Time of one exchange of a token for an upstream.
    pub exchange_deadline: Duration,
    /// Bytes of its answer.
    pub exchange_bytes_max: usize,
    /// How long a token that was got in exchange serves further calls.
    pub exchanged_cached_max: Duration,
    /// Such tokens that are kept.
    pub exchanged_tokens_max: usize,
}

impl Limits {
    /// The bounds of a token.
    pub fn token_limits(&self) -> TokenLimits {
        TokenLimits {
            token_bytes_max: self.token_bytes_max,
            lifetime_max: self.token_lifetime_max,
            leeway: self.leeway,
            keys_age_max: self.jwks_age_max,
            introspection_deadline: self.introspection_deadline,
            introspection_bytes_max: self.introspection_bytes_max,
            introspection_cached_max: self.introspection_cached_max,
            introspection_refused_cached: self.introspection_refused_cached,
            failures: Rate {
                per_second: self.failed_tokens_per_second,
                burst: self.failed_tokens_burst,
            },
        }
    }

    /// The bounds of the gate's own listing of an upstream's tools.
    pub fn listing_limits(&self) -> ListingLimits {
        let bounds = ListingLimits::default();
        ListingLimits {
            answer_bytes_max: self.answer_bytes_max,
            json_depth_max: self.json_depth_max,
            // A long list of tools has more than any one call.
            json_members_max: self.json_members_max.max(bounds.json_members_max),
            tool_name_bytes_max: self.tool_name_bytes_max,
            ..bounds
        }
    }

    /// The bounds of an exchange.
    pub const fn exchange_limits(&self) -> ExchangeLimits {
        ExchangeLimits {
            deadline: self.exchange_deadline,
            bytes_max: self.exchange_bytes_max,
            token_bytes_max: self.token_bytes_max,
            cached_max: self.exchanged_cached_max,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 32 * 1024,
            headers_max: 100,
            header_deadline: Duration::from_secs(10),
            body_bytes_max: 1024 * 1024,
            body_deadline: Duration::from_secs(30),
            json_depth_max: 64,
            json_members_max: 10_000,
            token_bytes_max: 16 * 1024,
            tool_name_bytes_max: 128,
            policy_deadline: Duration::from_millis(5),
            policy_instructions_max: 25_000,
            jwks_bytes_max: 256 * 1024,
            jwks_keys_max: 100,
            fetch_deadline: Duration::from_secs(5),
            unknown_kid_interval: Duration::from_secs(30),
            unknown_kid_wait: Duration::from_secs(1),
            jwks_refresh: Duration::from_secs(300),
            jwks_age_max: Duration::from_secs(3_600),
            token_lifetime_max: Duration::from_secs(24 * 3_600),
            leeway: Duration::from_secs(60),
            tokens_cached_max: 100_000,
            dpop_age_max: Duration::from_secs(300),
            dpop_proofs_max: 1_000_000,
            // The default rate of one subject over that age, and its burst.
            dpop_proofs_per_key_max: 20_000,
            introspection_deadline: Duration::from_secs(1),
            introspection_bytes_max: 64 * 1024,
            introspection_cached_max: Duration::from_secs(60),
            introspection_refused_cached: Duration::from_secs(5),
            token_sources_reported: 16,
            failed_tokens_per_second: 10,
            failed_tokens_burst: 100,
            revocations_max: 100_000,
            answer_bytes_max: 8 * 1024 * 1024,
            upstream_first_byte_deadline: Duration::from_secs(60),
            stream_idle_deadline: Duration::from_secs(300),
            streams_max: 10_000,
            audit_queue_records: 65_536,
            audit_deadline: Duration::from_millis(100),
            expiry_grace: Duration::from_secs(60),
            act_depth_max: 4,
            exchange_deadline: Duration::from_secs(2),
            exchange_bytes_max: 64 * 1024,
            exchanged_cached_max: Duration::from_secs(300),
            exchanged_tokens_max: 10_000,
        }
    }
}
