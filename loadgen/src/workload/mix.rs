//! The mix of a load: which calls, in which shares.
//!
//! Owns [`Mix`] and its JSON document, `{ "calls": [ { "tool": .., "arguments": {..}, "weight": 3, "refused": false,
//! "body_bytes": 350, "padding": "whitespace" } ] }`, or `"method": "tools/list"` in place of a tool. Inside strings of
//! the arguments stand the placeholders of [`PLACEHOLDERS`]. Takes no member that it does not know.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use portcullis_fixtures::calls::Era;
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

/// What may stand in strings of arguments: the caller's name and place in the pool, one of its accounts, an account of
/// the next caller, the number of the call.
pub const PLACEHOLDERS: [&str; 5] = ["subject", "subject_index", "account", "foreign_account", "n"];

/// Bytes of a mix document that are read.
const DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Characters of a tool's name (MCP 2025-11-25, tools).
const TOOL_NAME_MAX: usize = 128;

/// Calls with their weights. At least one, every one of them in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    calls: Vec<MixCall>,
}

/// One call of a mix.
#[derive(Clone, Debug, PartialEq)]
pub struct MixCall {
    /// What is asked.
    pub ask: Ask,
    /// How often, in proportion to the others' weights.
    pub weight: f64,
    /// Whether a target that judges should refuse it.
    pub refused: bool,
    /// Bytes of its body, when they are not those of the load.
    pub body_bytes: Option<usize>,
    /// What makes the body as long as wanted.
    pub padding: Padding,
}

/// What a call asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// A method without parameters.
    Method(Method),
    /// `tools/call` with these arguments.
    Tool {
        /// The tool.
        name: String,
        /// Its arguments, placeholders in them.
        arguments: Map<String, Value>,
    },
}

/// A method that takes no parameters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum Method {
    /// `ping`, which only the legacy era has.
    #[serde(rename = "ping")]
    Ping,
    /// `server/discover`, which only the modern era has.
    #[serde(rename = "server/discover")]
    Discover,
    /// `tools/list`.
    #[serde(rename = "tools/list")]
    ToolsList,
}

/// What makes a body as long as wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// A string member `padding` of the arguments: it is parsed, converted and digested as any argument. For tools that
    /// take unknown arguments, as the demo's do; what is too short for the member is blank space.
    Argument,
    /// Blank space before the last brace: no tool sees it.
    #[default]
    Whitespace,
}

/// Why a mix cannot be.
#[derive(Debug, Error)]
pub enum MixError {
    /// The file cannot be read.
    #[error("the mix `{0}` cannot be read: {1}")]
    Read(PathBuf, io::Error),
    /// It is too long.
    #[error("the mix `{0}` is longer than {DOCUMENT_BYTES_MAX} bytes")]
    TooLong(PathBuf),
    /// It is no such document; the text names member and position.
    #[error("the mix is not right: {0}")]
    Document(serde_json::Error),
    /// It has no calls.
    #[error("the mix has no calls")]
    Empty,
    /// One call is not right.
    #[error("call {number} of the mix: {wrong}")]
    Call {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        wrong: CallWrong,
    },
}

/// What is wrong with a call of a mix.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CallWrong {
    /// Neither a tool nor a method, or both.
    #[error("it needs either `tool` or `method`")]
    Ask,
    /// Arguments without a tool.
    #[error("only a tool takes `arguments`")]
    Arguments,
    /// The padding stands in arguments that are not there.
    #[error("only a tool takes the padding `argument`")]
    Padding,
    /// The arguments have a member of the padding's name.
    #[error("the arguments have a `padding` of their own: choose the padding `whitespace`")]
    PaddingTwice,
    /// The tool's name is none.
    #[error("a tool's name is 1 to {TOOL_NAME_MAX} letters, digits, `_`, `.`, `/` and `-`")]
    Tool,
    /// The weight is none.
    #[error("the weight must be a positive number")]
    Weight,
    /// A placeholder is not known.
    #[error(
        "`{{{0}}}` is no placeholder: they are {{subject}}, {{subject_index}}, {{account}}, {{foreign_account}} and {{n}}"
    )]
    Placeholder(String),
}

impl Mix {
    /// The mix for the sample policy: `salesforce.opportunity.read` of an own account, and one call in twenty of the
    /// next caller's account, which the policy refuses. The padding is an argument, which policy and demo server take.
    pub fn sample() -> Self {
        let call = |account: &str, weight, refused| {
            let mut arguments = Map::new();
            arguments.insert("account_id".to_owned(), Value::from(account));
            MixCall {
                ask: Ask::Tool {
                    name: "salesforce.opportunity.read".to_owned(),
                    arguments,
                },
                weight,
                refused,
                body_bytes: None,
                padding: Padding::Argument,
            }
        };
        Self {
            calls: vec![call("{account}", 19.0, false), call("{foreign_account}", 1.0, true)],
        }
    }

    /// The mix of the document in `file`.
    ///
    /// # Errors
    /// [`MixError`], with member and position where the document is wrong.
    pub fn from_file(file: &Path) -> Result<Self, MixError> {
        let failed = |error| MixError::Read(file.to_owned(), error);
        if DOCUMENT_BYTES_MAX < fs::metadata(file).map_err(failed)?.len() {
            return Err(MixError::TooLong(file.to_owned()));
        }
        Self::from_json(&fs::read_to_string(file).map_err(failed)?)
    }

    /// The mix of a document.
    ///
    /// # Errors
    /// As [`Self::from_file`].
    pub fn from_json(document: &str) -> Result<Self, MixError> {
        let document: Document = serde_json::from_str(document).map_err(MixError::Document)?;
        Self::new(document.calls.into_iter().map(CallDocument::into_call))
    }

    /// The mix of these calls.
    ///
    /// # Errors
    /// [`MixError`] when there is none, or one of them is not right.
    pub fn new(calls: impl IntoIterator<Item = Result<MixCall, CallWrong>>) -> Result<Self, MixError> {
        let checked = calls.into_iter().enumerate().map(|(index, call)| {
            call.and_then(MixCall::checked).map_err(|wrong| MixError::Call {
                number: index + 1,
                wrong,
            })
        });
        let calls: Vec<MixCall> = checked.collect::<Result<_, _>>()?;
        match calls.is_empty() {
            true => Err(MixError::Empty),
            false => Ok(Self { calls }),
        }
    }

    /// The calls.
    pub fn calls(&self) -> &[MixCall] {
        &self.calls
    }
}

impl MixCall {
    /// The tool, or the method when it is no tool call.
    pub fn name(&self) -> &str {
        match &self.ask {
            Ask::Method(method) => method.as_str(),
            Ask::Tool { name, .. } => name,
        }
    }

    fn checked(self) -> Result<Self, CallWrong> {
        if !self.weight.is_finite() || self.weight <= 0.0 {
            return Err(CallWrong::Weight);
        }
        match &self.ask {
            Ask::Method(_) if self.padding == Padding::Argument => Err(CallWrong::Padding),
            Ask::Method(_) => Ok(self),
            Ask::Tool { name, .. } if !is_tool_name(name) => Err(CallWrong::Tool),
            Ask::Tool { arguments, .. } => {
                if self.padding == Padding::Argument && arguments.contains_key("padding") {
                    return Err(CallWrong::PaddingTwice);
                }
                arguments.values().try_for_each(check_placeholders)?;
                Ok(self)
            }
        }
    }
}

impl Method {
    /// Its name in the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Discover => "server/discover",
            Self::ToolsList => "tools/list",
        }
    }

    /// Whether that era has it.
    pub const fn is_of(self, era: Era) -> bool {
        match self {
            Self::Ping => matches!(era, Era::Legacy),
            Self::Discover => matches!(era, Era::Modern),
            Self::ToolsList => true,
        }
    }
}

/// A piece of a string with placeholders.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part<'a> {
    Placeholder(&'a str),
    Text(&'a str),
}

/// Takes a string apart: a word of small letters and `_` in braces is a placeholder, known or not.
pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    let mut text_from = text;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let word = after
            .split_once('}')
            .filter(|(word, _)| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        match word {
            None => rest = after,
            Some((word, behind)) => {
                let text_bytes = text_from.len() - after.len() - 1;
                let plain = text_from
                    .split_at_checked(text_bytes)
                    .map_or(before, |(plain, _)| plain);
                found.extend([Part::Text(plain), Part::Placeholder(word)]);
                text_from = behind;
                rest = behind;
            }
        }
    }
    found.push(Part::Text(text_from));
    found.retain(|part| *part != Part::Text(""));
    found
}

fn check_placeholders(value: &Value) -> Result<(), CallWrong> {
    match value {
        Value::Array(items) => items.iter().try_for_each(check_placeholders),
        Value::Object(members) => members.values().try_for_each(check_placeholders),
        Value::String(text) => {
            let unknown = parts(text).into_iter().find_map(|part| match part {
                Part::Placeholder(word) if !PLACEHOLDERS.contains(&word) => Some(word.to_owned()),
                _ => None,
            });
            unknown.map_or(Ok(()), |word| Err(CallWrong::Placeholder(word)))
        }
        _ => Ok(()),
    }
}

fn is_tool_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-');
    (1..=TOOL_NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    calls: Vec<CallDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallDocument {
    tool: Option<String>,
    method: Option<Method>,
    arguments: Option<Map<String, Value>>,
    weight: Option<f64>,
    #[serde(default)]
    refused: bool,
    body_bytes: Option<usize>,
    #[serde(default)]
    padding: Padding,
}

impl CallDocument {
    fn into_call(self) -> Result<MixCall, CallWrong> {
        let ask = match (self.tool, self.method, self.arguments) {
            (Some(name), None, arguments) => Ask::Tool {
                name,
                arguments: arguments.unwrap_or_default(),
            },
            (None, Some(_), Some(_)) => return Err(CallWrong::Arguments),
            (None, Some(method), None) => Ask::Method(method),
            _ => return Err(CallWrong::Ask),
        };
        Ok(MixCall {
            ask,
            weight: self.weight.unwrap_or(1.0),
            refused: self.refused,
            body_bytes: self.body_bytes,
            padding: self.padding,
        })
    }
}

#[cfg(test)]
mod tests;
