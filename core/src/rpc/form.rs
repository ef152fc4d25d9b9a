//! The forms of objects that the protocol names: which members an object may have, and of which type.
//!
//! Owns [`Field`] and [`has_form`]. Strict: a member that the form does not name makes it another form, since nobody
//! could say what it means to whoever reads it.

use crate::json::{Kind, Node, Number};

/// The type of one member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Type {
    /// Whatever it is.
    Any,
    /// `true` or `false`.
    Bool,
    /// A string or an integer: ids and progress tokens.
    Id,
    /// An integer that is not negative.
    Natural,
    /// A number.
    Number,
    /// An object.
    Object,
    /// An array of objects.
    Objects,
    /// A string.
    Text,
    /// An array of strings.
    Texts,
}

impl Type {
    pub(super) fn is(self, node: Node<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Bool => node.as_bool().is_some(),
            Self::Id => node.as_str().is_some() || matches!(node.as_number(), Some(Number::Integer(_))),
            Self::Natural => node.as_u64().is_some(),
            Self::Number => node.as_number().is_some(),
            Self::Object => node.kind() == Kind::Object,
            Self::Objects => array_of(node, Self::Object),
            Self::Text => node.as_str().is_some(),
            Self::Texts => array_of(node, Self::Text),
        }
    }
}

fn array_of(node: Node<'_>, each: Type) -> bool {
    node.kind() == Kind::Array && node.elements().all(|element| each.is(element))
}

/// A member that an object may have, or must have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    key: &'static str,
    of: Type,
    required: bool,
}

/// A member that must be there.
pub(super) const fn must(key: &'static str, of: Type) -> Field {
    Field {
        key,
        of,
        required: true,
    }
}

/// A member that may be there.
pub(super) const fn may(key: &'static str, of: Type) -> Field {
    Field {
        key,
        of,
        required: false,
    }
}

/// Whether `object` has every member that it must, and beside `_meta` none but these, each of its type. An absent object
/// has the form that demands nothing.
pub(super) fn has_form(object: Option<Node<'_>>, fields: &[Field]) -> bool {
    let Some(object) = object else {
        return !fields.iter().any(|field| field.required);
    };
    let named = |key: &str, value: Node<'_>| match key {
        "_meta" => Type::Object.is(value),
        key => fields.iter().any(|field| field.key == key && field.of.is(value)),
    };
    Type::Object.is(object)
        && object.members().all(|member| named(member.key, member.value))
        && fields
            .iter()
            .all(|field| !field.required || object.member(field.key).is_some())
}
