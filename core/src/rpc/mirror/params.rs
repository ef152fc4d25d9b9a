//! The headers that repeat arguments of a tool call: `Mcp-Param-*` (MCP 2026-07-28, streamable HTTP).
//!
//! Owns [`ParamHeader`], its reading from a tool's `inputSchema` (`x-mcp-header`), and the comparison with the arguments.
//! A header is never trusted in place of an argument, and one that nobody can compare is refused.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;

use crate::head::RequestHead;
use crate::json::{Kind, Node, Number};

use super::PARAM_PREFIX;

/// The keyword that names the header of a property.
const KEYWORD: &str = "x-mcp-header";
/// Keywords of JSON Schema whose values are data, never schemas.
const DATA_KEYWORDS: [&str; 4] = ["const", "default", "enum", "examples"];
/// Annotations of one tool.
const HEADERS_MAX: usize = 64;
/// Bytes of one value, before it is decoded.
const VALUE_BYTES_MAX: usize = 8 * 1024;
/// Integers beyond this have no one value in JavaScript.
const INTEGER_MAX: i64 = 9_007_199_254_740_991;

/// One header and the argument that it repeats.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ParamHeader {
    name: HeaderName,
    /// The properties that lead to the argument, outermost first.
    path: Box<[Box<str>]>,
}

/// What makes the annotations of a tool unusable, all of them: a client must not call by them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParamFault {
    /// The name is no string of one or more token characters (RFC 9110 section 5.6.2).
    #[error("an `x-mcp-header` is no header name")]
    Name,
    /// The annotated schema is not reached over `properties` alone.
    #[error("an `x-mcp-header` stands where no argument is sure to be")]
    Place,
    /// Two annotations name the same header; case does not count.
    #[error("two `x-mcp-header` name the same header")]
    Repeated,
    /// The property is neither a string nor an integer nor a boolean.
    #[error("an `x-mcp-header` stands at a property that is no string, integer or boolean")]
    Type,
    /// There are more than 64.
    #[error("there are too many `x-mcp-header`")]
    TooMany,
}

impl ParamHeader {
    /// The header's name, in lower case.
    pub(crate) fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The argument in `arguments`; `None` when it is absent or null.
    fn argument<'b>(&self, arguments: Option<Node<'b>>) -> Option<Node<'b>> {
        let mut value = arguments?;
        for property in &self.path {
            value = value.member(property)?;
        }
        (!value.is_null()).then_some(value)
    }
}

/// The annotations of an `inputSchema`.
///
/// # Errors
/// [`ParamFault`] for the first that is not in order.
pub(crate) fn read_schema(schema: Node<'_>) -> Result<Box<[ParamHeader]>, ParamFault> {
    let mut found = Vec::new();
    read_part(schema, Some(&mut Vec::new()), &mut found)?;
    Ok(found.into_boxed_slice())
}

/// One schema; `path` leads to it over `properties` alone, or there is none. The depth is the document's, which is
/// bounded.
fn read_part<'s>(
    schema: Node<'s>,
    mut path: Option<&mut Vec<&'s str>>,
    found: &mut Vec<ParamHeader>,
) -> Result<(), ParamFault> {
    for element in schema.elements() {
        read_part(element, None, found)?;
    }
    for member in schema.members() {
        match member.key {
            KEYWORD => {
                let path = path.as_deref().filter(|path| !path.is_empty());
                let header = annotation(schema, member.value, path.ok_or(ParamFault::Place)?, found)?;
                found.push(header);
            }
            "properties" if member.value.kind() == Kind::Object => {
                for property in member.value.members() {
                    match path.as_deref_mut() {
                        Some(path) => {
                            path.push(property.key);
                            read_part(property.value, Some(path), found)?;
                            path.pop();
                        }
                        None => read_part(property.value, None, found)?,
                    }
                }
            }
            key if DATA_KEYWORDS.contains(&key) => {}
            _ => read_part(member.value, None, found)?,
        }
    }
    Ok(())
}

fn annotation(
    schema: Node<'_>,
    value: Node<'_>,
    path: &[&str],
    found: &[ParamHeader],
) -> Result<ParamHeader, ParamFault> {
    let name = value.as_str().filter(|name| !name.is_empty()).ok_or(ParamFault::Name)?;
    let header = format!("{PARAM_PREFIX}{name}");
    let name = HeaderName::from_bytes(header.as_bytes()).map_err(|_| ParamFault::Name)?;
    let kind = schema.member("type").and_then(Node::as_str);
    if !matches!(kind, Some("string" | "integer" | "boolean")) {
        return Err(ParamFault::Type);
    }
    if found.iter().any(|other| other.name == name) {
        return Err(ParamFault::Repeated);
    }
    if HEADERS_MAX <= found.len() {
        return Err(ParamFault::TooMany);
    }
    Ok(ParamHeader {
        name,
        path: path.iter().map(|property| Box::from(*property)).collect(),
    })
}

/// Whether any parameter header stands in the head.
pub(crate) fn present(head: &RequestHead<'_>) -> bool {
    head.headers.keys().any(is_param)
}

/// Whether a header is one that repeats an argument.
pub(crate) fn is_param(name: &HeaderName) -> bool {
    name.as_str().starts_with(PARAM_PREFIX)
}

/// Compares the parameter headers of a call with its arguments. `annotated` are the tool's own annotations, `None` when
/// they are not known or unusable: then no such header can be judged. With `required` (the modern era) an annotated
/// argument that is there must be repeated.
///
/// A header that no annotation names repeats nothing; it must only be readable in one way.
///
/// # Errors
/// A line for the operator: a header is missing, repeated, too long, broken or differs.
pub(crate) fn compare(
    head: &RequestHead<'_>,
    annotated: Option<&[ParamHeader]>,
    arguments: Option<Node<'_>>,
    required: bool,
) -> Result<(), &'static str> {
    let any = present(head);
    let Some(annotated) = annotated else {
        return match any {
            true => Err("a parameter header cannot be judged: no schema of the tool is known that names it"),
            false => Ok(()),
        };
    };
    for name in head.headers.keys().filter(|name| any && is_param(name)) {
        match head.single(name) {
            Ok(Some(value)) if value.len() <= VALUE_BYTES_MAX => {}
            Ok(_) => return Err("a parameter header is too long"),
            Err(_) => return Err("a parameter header is repeated or not ascii"),
        }
    }
    for header in annotated {
        let Ok(value) = head.single(&header.name) else {
            return Err("a parameter header is repeated or not ascii");
        };
        match (value, header.argument(arguments)) {
            (Some(value), Some(argument)) if repeats(value, argument) => {}
            (Some(_), Some(_)) => return Err("a parameter header differs from its argument"),
            (Some(_), None) => return Err("a parameter header repeats an argument that is not there"),
            (None, Some(_)) if required => return Err("a parameter header is missing"),
            (None, Some(_) | None) => {}
        }
    }
    Ok(())
}

/// Whether a header's value says the same as an argument.
fn repeats(value: &str, argument: Node<'_>) -> bool {
    let Some(value) = decoded(value) else {
        return false;
    };
    match argument.kind() {
        Kind::Bool => matches!(
            (argument.as_bool(), &*value),
            (Some(true), "true") | (Some(false), "false")
        ),
        Kind::Number => {
            let argument = argument.as_number().and_then(whole);
            argument.is_some() && argument == integer(&value)
        }
        Kind::String => argument.as_str() == Some(&*value),
        Kind::Array | Kind::Null | Kind::Object => false,
    }
}

/// The text that a value stands for: itself, or what is between the marks of canonical base64. A value that looks like
/// the second form is never taken literally.
fn decoded(value: &str) -> Option<Cow<'_, str>> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        None => Some(Cow::Borrowed(value)),
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned),
    }
}

/// A number without a fraction.
fn whole(number: Number) -> Option<i64> {
    match number {
        Number::Integer(value) => Some(value),
        Number::Float(value) if value.fract() == 0.0 && value.abs() <= INTEGER_MAX as f64 => {
            // In this range every whole double is written without a fraction and read back as itself.
            format!("{value:.0}").parse().ok()
        }
        Number::Float(_) => None,
    }
}

/// An integer as clients write it: digits without leading zeros, and `.0` where their language writes that.
fn integer(text: &str) -> Option<i64> {
    let text = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let value: i64 = text.parse().ok().filter(|_| plain)?;
    (-INTEGER_MAX..=INTEGER_MAX).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests;
