//! placeholder
/// Rules of one issuer.
#[derive(Debug)]
pub struct Issuer {}
