//! The load generator of Portcullis: what a caller of an MCP server waits, and what a gate in between costs.
//!
//! A load is a [`schedule`] of intended starts and a `workload` of calls. The `engine` sends each call at its time
//! whatever the target does (open loop) and takes its response time from the *intended* start, so that waiting cannot
//! hide (coordinated omission). It watches itself too: a run whose generator was late or saturated is marked INVALID.
//! [`report`] says what came of it, `compare` measures several targets in one interleaved run.

pub mod connect;
pub mod engine;
pub mod environment;
pub mod latency;
pub mod pace;
pub mod report;
pub mod schedule;
pub mod search;
pub mod threshold;
pub mod view;
pub mod workload;
