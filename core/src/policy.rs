//! placeholder
/// A compiled policy.
#[derive(Debug)]
pub struct Policy {}
