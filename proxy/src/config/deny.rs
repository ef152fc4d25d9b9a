//! How a server's refusals are told.
//!
//! Owns the lowering of `deny`. Decides nothing: the style changes what a caller reads, never who may call.

use portcullis_core::denial::DenyStyle;

use super::raw::{RawDeny, RawDenyStyle};

/// The style of one server.
pub(super) fn style(raw: Option<&RawDeny>) -> DenyStyle {
    match raw.map(|raw| raw.style) {
        None | Some(RawDenyStyle::Http) => DenyStyle::Http,
        Some(RawDenyStyle::ToolError) => DenyStyle::ToolError,
        Some(RawDenyStyle::Hidden) => DenyStyle::Hidden,
    }
}
