//! The canonical form of a tool's definition, over which its digest is taken.
//!
//! Owns which members of a definition count, and how they are written. What a model or a client reads of a tool counts;
//! icons, `_meta` and hints for execution do not.

use crate::json::{self, Kind, Node};

/// The members that count, in the order in which they are written.
const COUNTED: [&str; 6] = [
    "annotations",
    "description",
    "inputSchema",
    "name",
    "outputSchema",
    "title",
];

/// The canonical form: members sorted by key, no white space, strings escaped in one way, numbers as they stand.
pub(super) fn canonical(definition: Node<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    out.push(b'{');
    let counted = COUNTED.iter().filter_map(|key| Some((*key, definition.member(key)?)));
    write_members(counted, &mut out);
    out.push(b'}');
    out
}

fn write(value: Node<'_>, out: &mut Vec<u8>) {
    match value.kind() {
        Kind::Array => {
            out.push(b'[');
            for (place, element) in value.elements().enumerate() {
                if place != 0 {
                    out.push(b',');
                }
                write(element, out);
            }
            out.push(b']');
        }
        Kind::Bool | Kind::Null | Kind::Number => out.extend_from_slice(value.raw().as_bytes()),
        Kind::Object => {
            let mut members: Vec<_> = value.members().map(|member| (member.key, member.value)).collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            write_members(members.into_iter(), out);
            out.push(b'}');
        }
        Kind::String => json::write_string(out, value.as_str().unwrap_or_default()),
    }
}

fn write_members<'s>(members: impl Iterator<Item = (&'s str, Node<'s>)>, out: &mut Vec<u8>) {
    for (place, (key, value)) in members.enumerate() {
        if place != 0 {
            out.push(b',');
        }
        json::write_string(out, key);
        out.push(b':');
        write(value, out);
    }
}
