//! placeholder
/// Who calls, for whom.
#[derive(Clone, Debug)]
pub struct Principal {}
