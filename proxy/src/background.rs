//! What goes on beside the requests: keys of issuers, questions to them, revocations, reload, policies, names of upstreams, keys of the gate.
//!
//! Owns nothing itself. Background work builds whole values and publishes them; no request ever waits for it, but one
//! that brought an unknown `kid`, and that one is bounded.

pub(crate) mod assertion;
pub(crate) mod endpoints;
pub(crate) mod exchange;
pub(crate) mod fetch;
pub(crate) mod flights;
pub(crate) mod introspect;
pub(crate) mod issuers;
pub(crate) mod jwks;
pub(crate) mod keys;
pub(crate) mod policy;
pub(crate) mod reload;
mod watch;
pub(crate) mod revocation;
pub(crate) mod tools;
