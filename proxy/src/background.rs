//! What goes on beside the requests: keys of issuers, reload, names of upstreams, the digest key.
//!
//! Owns the clock of the background and nothing else. Background work builds whole values and publishes them; no
//! request ever waits for it, but one that brought an unknown `kid`, and that one is bounded.

use std::time::SystemTime;

use portcullis_core::time::UnixTime;

pub(crate) mod digest_key;
pub(crate) mod fetch;
pub(crate) mod jwks;
pub(crate) mod reload;

/// The wall clock.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
