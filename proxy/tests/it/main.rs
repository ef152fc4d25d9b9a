//! Tests of the house rules and of the built binary, seen from outside.

// `cfg(test)` is always true here; clippy takes it as the sign that its lints for production code do not apply.
#[cfg(test)]
mod admin;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod batches;
#[cfg(test)]
mod bundles;
#[cfg(test)]
mod challenges;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod continuity;
#[cfg(test)]
mod corpora;
#[cfg(test)]
mod deadlines;
#[cfg(test)]
#[cfg(feature = "demo")]
mod demo;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod features;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod forwarded;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod held;
#[cfg(test)]
mod house;
#[cfg(test)]
mod inspect;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod introspection;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod machines;
#[cfg(test)]
mod memo;
#[cfg(test)]
mod oidc;
#[cfg(test)]
mod named;
#[cfg(test)]
mod online;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod process;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod road;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod sender;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod token_cli;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod upstreams;
