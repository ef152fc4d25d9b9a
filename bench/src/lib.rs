//! What is measured of Portcullis, and on what input: shared by the criterion benches and `portcullis-icount`.
//!
//! Owns the [`scenario::SCENARIOS`]: one row an operation, each measured by wall time, by instructions, or both. Keys
//! are made at run time; everything else is the same on every run. Never measures by itself: a [`scenario::Meter`] does.

pub mod engines;
pub mod material;
pub mod reference;
pub mod road;
pub mod scenario;
pub mod stages;
pub mod world;
