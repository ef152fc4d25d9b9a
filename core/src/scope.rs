//! placeholder
/// Scope table.
#[derive(Debug)]
pub struct ToolTable {}
impl ToolTable {
    #[allow(missing_docs)]
    pub fn is_empty(&self) -> bool {
        true
    }
}
