//! `compare`: several targets in one run.
