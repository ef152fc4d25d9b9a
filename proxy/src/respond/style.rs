//! Refusals of the policy in the words of a tool: as its failure, or as if there were none.
//!
//! Owns the statuses and bodies of the styles beside the plain one. Names nothing that the request named, and tells
//! nothing by which two refusals of one style could be told apart, but for their ids.

use bytes::Bytes;
use portcullis_core::denial::{Denial, DenyStyle, Noun};

use super::face::Face;

/// The status and the body of `denial`, when its style is not the plain one.
pub(super) fn styled(denial: &Denial, face: &Face) -> Option<(u16, Bytes)> {
    let id = denial.request_id.as_deref().unwrap_or("null");
    match denial.style {
        DenyStyle::Http => None,
        DenyStyle::ToolError => {
            let text = serde_json::Value::from(face.text);
            // The modern era says of each result what it is.
            let kind = if denial.modern {
                r#","resultType":"complete""#
            } else {
                ""
            };
            let result = format!(r#"{{"content":[{{"type":"text","text":{text}}}],"isError":true{kind}}}"#);
            Some((200, message(id, "result", &result)))
        }
        DenyStyle::Hidden => {
            let status = if denial.modern { 400 } else { 200 };
            let error = format!(r#"{{"code":-32602,"message":"{}"}}"#, unknown(denial.noun));
            Some((status, message(id, "error", &error)))
        }
    }
}

/// What the SDKs' servers say of a name that they do not have, without the name.
const fn unknown(noun: Noun) -> &'static str {
    match noun {
        Noun::Nothing => "Invalid params",
        Noun::Prompt => "Unknown prompt",
        Noun::Resource => "Unknown resource",
        Noun::Tool => "Unknown tool",
    }
}

/// The id goes back exactly as it stood in the body: it is one JSON number or string.
fn message(id: &str, member: &str, value: &str) -> Bytes {
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{value}}}"#))
}
