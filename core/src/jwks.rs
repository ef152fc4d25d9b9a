//! placeholder
/// A vetted key set.
#[derive(Debug)]
pub struct KeySet {}
