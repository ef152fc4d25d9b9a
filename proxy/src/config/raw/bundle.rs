//! `servers[].policy.bundle` as written.
//!
//! Owns its keys and their texts in the schema.

use schemars::JsonSchema;

use super::server::RawUpstreamCertificate;
use super::{At, Span};

/// A bundle of policies and data, as OPA packs them.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawBundle {
    /// Where it is served: an https URL, or an http URL on loopback.
    pub url: At<String>,
    /// A JWK Set with the public keys that may sign it. With it a bundle that is not signed is refused, and deltas are
    /// not asked for, since they cannot be signed; without it one that is signed is refused.
    pub keys: Option<At<String>>,
    /// The only key of `keys` that may sign. Default: the one that the signature names.
    pub key_id: Option<At<String>>,
    /// The scope that the signature must have. Default: none.
    pub scope: Option<At<String>>,
    /// A file with the bearer token for the server; read again at each fetch.
    pub token_file: Option<At<String>>,
    /// The gate's certificate for the server.
    pub client_certificate: Option<At<RawUpstreamCertificate>>,
    /// Certificate authorities (PEM) of the server, in place of the system's.
    pub ca: Option<At<String>>,
    /// Least time between two fetches, from 1s to 24h. Default: 60s.
    pub poll_min: Option<At<Span>>,
    /// Longest time between two fetches, and after failures, from 1s to 24h. Default: 120s.
    pub poll_max: Option<At<Span>>,
    /// How long the server may hold its answer back until there is a new bundle (long polling), from 1s to 10m. Default:
    /// it is not asked to.
    pub long_poll: Option<At<Span>>,
    /// Takes a bundle that ruled before and was replaced. Default: false, so that nobody can bring old rules back.
    #[serde(default)]
    pub danger_allow_rollback: bool,
}
