//! placeholder
/// The log.
#[derive(Debug)]
pub struct AuditLog {}
/// Watermark.
#[derive(Debug)]
pub struct Durable {}
/// A place in the log.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position(u64);
