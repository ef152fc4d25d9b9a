//! JSON and YAML documents of a bundle as one tree with sorted keys.
//!
//! Owns the strict reading of data (no key twice, no number that a double does not hold), its nesting and merging, and
//! the canonical text: keys in the order of their bytes, no white space, numbers as they were written. That text is what
//! OPA hashes of a structured file, so strings are escaped exactly as Go's `encoding/json` escapes them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use crate::json::{self, Kind, Node};

/// One value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Tree {
    Array(Vec<Self>),
    Bool(bool),
    Null,
    /// As it was written.
    Number(Box<str>),
    Object(Object),
    String(String),
}

pub(super) type Object = BTreeMap<String, Tree>;

impl Tree {
    /// The object of no members.
    pub(super) const fn empty() -> Self {
        Self::Object(Object::new())
    }

    /// Reads one JSON document.
    pub(super) fn of_json(text: &[u8]) -> Result<Self, String> {
        let mut scratch = json::Scratch::default();
        let document = json::parse(text, &mut scratch, JSON_LIMITS).map_err(|error| error.to_string())?;
        Ok(Self::of_node(document.root()))
    }

    /// Reads one YAML document. What YAML 1.1, as OPA reads it, takes for a boolean and YAML 1.2 for a string is refused.
    pub(super) fn of_yaml(text: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
        let options = serde_saphyr::options! {
            merge_keys: serde_saphyr::MergeKeyPolicy::Error,
            strict_booleans: true,
            with_snippet: false,
        };
        let Yaml(tree) = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let error = error.to_string();
            error.lines().next().unwrap_or_default().to_owned()
        })?;
        Ok(tree)
    }

    fn of_node(node: Node<'_>) -> Self {
        match node.kind() {
            Kind::Array => Self::Array(node.elements().map(Self::of_node).collect()),
            Kind::Bool => Self::Bool(node.as_bool().unwrap_or_default()),
            Kind::Null => Self::Null,
            Kind::Number => Self::Number(Box::from(node.raw())),
            Kind::Object => Self::Object(
                node.members()
                    .map(|member| (member.key.to_owned(), Self::of_node(member.value)))
                    .collect(),
            ),
            Kind::String => Self::String(node.as_str().unwrap_or_default().to_owned()),
        }
    }

    /// The member of an object.
    pub(super) fn member(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(key),
            _ => None,
        }
    }

    /// The text, when it is one.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Puts `value` at `path`, through objects alone; objects are merged, and anything else may stand once.
    ///
    /// # Errors
    /// The path at which two values meet.
    pub(super) fn insert(&mut self, path: &[&str], value: Self) -> Result<(), String> {
        let Some((last, parents)) = path.split_last() else {
            return self.merge(value, String::new());
        };
        let mut place = self;
        let mut seen = String::new();
        for part in parents {
            let Self::Object(members) = place else {
                return Err(seen);
            };
            seen.push('/');
            seen.push_str(part);
            place = members.entry((*part).to_owned()).or_insert_with(Self::empty);
        }
        let Self::Object(members) = place else {
            return Err(seen);
        };
        match members.get_mut(*last) {
            Some(known) => known.merge(value, format!("{seen}/{last}")),
            None => {
                members.insert((*last).to_owned(), value);
                Ok(())
            }
        }
    }

    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "it is changed through the pattern, which the lint does not see"
    )]
    fn merge(&mut self, value: Self, path: String) -> Result<(), String> {
        let (Self::Object(here), Self::Object(there)) = (self, value) else {
            return Err(path);
        };
        for (key, value) in there {
            match here.get_mut(&key) {
                Some(known) => known.merge(value, format!("{path}/{key}"))?,
                None => {
                    here.insert(key, value);
                }
            }
        }
        Ok(())
    }

    /// The canonical text.
    pub(super) fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Array(elements) => {
                out.push('[');
                for (place, element) in elements.iter().enumerate() {
                    if place != 0 {
                        out.push(',');
                    }
                    element.write(out);
                }
                out.push(']');
            }
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Null => out.push_str("null"),
            Self::Number(number) => out.push_str(number),
            Self::Object(members) => {
                out.push('{');
                for (place, (key, value)) in members.iter().enumerate() {
                    if place != 0 {
                        out.push(',');
                    }
                    write_string(out, key);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
            Self::String(text) => write_string(out, text),
        }
    }
}

/// A string as Go writes it when it does not escape for HTML.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

/// A YAML document.
struct Yaml(Tree);

impl<'de> serde::Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Nested { depth: 0 }.deserialize(deserializer).map(Self)
    }
}

#[derive(Clone, Copy)]
struct Nested {
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Nested {
    fn below<E: Error>(self) -> Result<Self, E> {
        match self.depth < JSON_LIMITS.depth {
            true => Ok(Self {
                depth: self.depth.saturating_add(1),
            }),
            false => Err(E::custom("the document is nested too deep")),
        }
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value that JSON has as well")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Tree, E> {
        let number = serde_json::Number::from_f64(value).ok_or_else(|| E::custom("a number is not finite"))?;
        if value.fract() == 0.0 && INTEGERS_END <= value.abs() {
            return Err(E::custom("a number loses its value as a double"));
        }
        Ok(Tree::Number(number.to_string().into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Tree, E> {
        match value.unsigned_abs() < INTEGERS_END_BITS {
            true => Ok(Tree::Number(value.to_string().into())),
            false => Err(E::custom("a number loses its value as a double")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let inner = self.below()?;
        let mut object = Object::new();
        while let Some(key) = members.next_key::<String>()? {
            unambiguous(&key)?;
            let value = members.next_value_seed(inner)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("an object has a key twice"));
            }
        }
        Ok(Tree::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Tree, A::Error> {
        let inner = self.below()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            array.push(element);
        }
        Ok(Tree::Array(array))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Tree, E> {
        unambiguous(value)?;
        Ok(Tree::String(value.to_owned()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Tree, E> {
        match value < INTEGERS_END_BITS {
            true => Ok(Tree::Number(value.to_string().into())),
            false => Err(E::custom("a number loses its value as a double")),
        }
    }

    fn visit_none<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }
}

/// Refuses the words that are booleans to one reader of YAML and strings to another.
fn unambiguous<E: Error>(text: &str) -> Result<(), E> {
    let booleans = ["y", "n", "yes", "no", "on", "off"];
    match booleans.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        true => Err(E::custom(format!(
            "`{text}` is a boolean to some readers of YAML: write the file as data.json"
        ))),
        false => Ok(()),
    }
}

/// Data is as deep as a call may be; four million members hold 100,000 subjects many times over.
const JSON_LIMITS: json::Limits = json::Limits {
    depth: 64,
    members: 4_000_000,
};
/// From here on a double no longer tells neighbouring integers apart.
const INTEGERS_END: f64 = 9_007_199_254_740_992.0;
const INTEGERS_END_BITS: u64 = 1 << 53;

#[cfg(test)]
mod tests;
