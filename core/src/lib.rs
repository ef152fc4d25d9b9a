//! The decisions of Portcullis: pure, synchronous, embeddable.
//!
//! A request goes one way through the gate: [`gate::Gate::begin`], [`gate::Visit::authenticate`],
//! [`gate::Visit::authorize`], [`gate::Recorded::permit`], [`gate::Permit::spend`], [`gate::Ticket::review`],
//! [`gate::Reviewed::release`]. The types force that order: what is not recorded cannot be forwarded, and what is not
//! reviewed cannot be released.
//!
//! The example `embed` takes one request all the way.
//!
//! The core does no I/O but the audit writer's, reads no clock and no environment, and starts nothing but that writer.
//! A module uses only modules that stand above it in this list, which is the order of the pipeline.
#![warn(missing_docs)]
#![cfg_attr(test, recursion_limit = "256")]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_types,
    clippy::disallowed_methods
)]
#![cfg_attr(
    test,
    expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")
)]

pub mod time;
mod published;
mod limit;
pub mod stages;
pub mod record_id;
pub mod denial;
mod json;
mod crypto;
pub mod head;
mod credential;
pub mod jwks;
pub mod token;
pub mod identity;
pub mod assertion;
pub mod exchange;
pub mod session;
pub mod revocation;
pub mod rpc;
pub mod scope;
pub mod catalog;
pub mod policy;
pub mod bundle;
mod redact;
pub mod audit;
pub mod config;
pub mod gate;
#[cfg(any(test, feature = "internal"))]
#[doc(hidden)]
pub mod fuzzing;

pub use crypto::{Algorithm, PublicKeyError, sha256};
pub use json::ParseError;
pub use limit::Rate;
