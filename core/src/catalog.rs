//! What tools a server's upstream has, as the gate has listed them itself: their names, the digests of their
//! definitions, and which headers repeat which arguments.
//!
//! Owns [`Catalog`], what was accepted of it ([`Pins`]), and how it is fetched ([`Listing`]), without any I/O. Never
//! decides who may call what: it says what a definition is, and whether that is the accepted one.

mod definition;
mod listing;
mod pins;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::crypto;
use crate::json::Node;
use crate::rpc::{self, ParamFault, ParamHeader};

pub use listing::{AnswerReader, Listing, ListingAnswer, ListingError, ListingLimits, ListingRequest};
pub use pins::{Pins, PinsError};

/// How long a list may be kept when nothing else is said.
const FRESH_FOR: Duration = Duration::from_secs(300);

/// The tools of one server. The default has none: it stands for an upstream that lists by caller.
#[derive(Clone, Debug)]
pub struct Catalog {
    tools: BTreeMap<Box<str>, CatalogTool>,
    fresh_for: Duration,
}

/// One tool.
#[derive(Clone, Debug)]
pub struct CatalogTool {
    digest: ToolDigest,
    parameters: Result<Box<[ParamHeader]>, ParamFault>,
    pin: PinState,
}

/// SHA-256 over the canonical form of a tool's definition: `name`, `title`, `description`, `inputSchema`,
/// `outputSchema` and `annotations`, members in the order of their keys, without white space.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ToolDigest([u8; 32]);

/// How a tool's definition stands to the accepted one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PinState {
    /// It is the accepted one.
    Accepted,
    /// Another one was accepted.
    Changed,
    /// None was ever accepted.
    New,
}

/// What a changed definition means for the tool.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnChange {
    /// It is reported and may be called.
    Report,
    /// It is reported, not listed and not to be called, until it is accepted.
    #[default]
    Withhold,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            tools: BTreeMap::new(),
            fresh_for: FRESH_FOR,
        }
    }
}

impl Catalog {
    fn new(tools: BTreeMap<Box<str>, CatalogTool>) -> Self {
        Self {
            tools,
            ..Self::default()
        }
    }

    /// The same tools, held against what was accepted.
    #[must_use]
    pub fn pinned(mut self, pins: &Pins) -> Self {
        for (name, tool) in &mut self.tools {
            tool.pin = match pins.of(name) {
                Some(accepted) if accepted == tool.digest => PinState::Accepted,
                Some(_) => PinState::Changed,
                None => PinState::New,
            };
        }
        self
    }

    /// The same tools, listed anew every `fresh_for`: no client keeps a list for longer.
    #[must_use]
    pub const fn refreshed_every(mut self, fresh_for: Duration) -> Self {
        self.fresh_for = fresh_for;
        self
    }

    /// Every tool, sorted by name.
    pub fn tools(&self) -> impl Iterator<Item = (&str, &CatalogTool)> {
        self.tools.iter().map(|(name, tool)| (&**name, tool))
    }

    /// The tool of exactly this name.
    pub fn tool(&self, name: &str) -> Option<&CatalogTool> {
        self.tools.get(name)
    }

    /// How many tools stand so to what was accepted.
    pub fn count(&self, pin: PinState) -> usize {
        self.tools.values().filter(|tool| tool.pin == pin).count()
    }

    /// Whether the tool may be neither listed nor called until its definition is accepted. A tool that the gate was not
    /// shown has no definition that anybody could have accepted.
    ///
    /// `on_change` is the server's setting now, which holds for a list that is older than it.
    pub(crate) fn withholds(&self, name: &str, on_change: OnChange) -> bool {
        on_change == OnChange::Withhold && self.tool(name).is_none_or(|tool| tool.pin != PinState::Accepted)
    }

    /// The same for a definition as it stands in a list for a client: it must be the accepted one itself, since an
    /// upstream may show the gate another.
    pub(crate) fn withholds_definition(&self, name: &str, definition: Node<'_>, on_change: OnChange) -> bool {
        self.withholds(name, on_change)
            || on_change == OnChange::Withhold
                && self
                    .tool(name)
                    .is_some_and(|tool| tool.digest != ToolDigest::of(definition))
    }

    /// The headers that repeat arguments of a tool; `None` when they are not known or unusable.
    pub(crate) fn parameters(&self, name: &str) -> Option<&[ParamHeader]> {
        self.tool(name)?.parameters.as_deref().ok()
    }

    /// How long a client may keep a list.
    pub(crate) fn fresh_for(&self) -> Duration {
        self.fresh_for.min(FRESH_FOR)
    }
}

impl CatalogTool {
    /// Reads one definition.
    fn read(definition: Node<'_>) -> Self {
        let schema = definition.member("inputSchema");
        Self {
            digest: ToolDigest::of(definition),
            parameters: schema.map_or_else(|| Ok(Box::default()), rpc::read_schema),
            pin: PinState::New,
        }
    }

    /// The digest of its definition.
    pub const fn digest(&self) -> ToolDigest {
        self.digest
    }

    /// How its definition stands to the accepted one.
    pub const fn pin(&self) -> PinState {
        self.pin
    }

    /// The headers that repeat its arguments, in lower case; none when they are unusable.
    pub fn parameter_headers(&self) -> impl Iterator<Item = &str> {
        let headers = self.parameters.iter().flatten();
        headers.map(|header| header.name().as_str())
    }

    /// What makes its parameter headers unusable.
    pub fn parameter_fault(&self) -> Option<ParamFault> {
        self.parameters.as_ref().err().copied()
    }
}

impl ToolDigest {
    /// The digest of a definition.
    fn of(definition: Node<'_>) -> Self {
        Self(crypto::sha256(&definition::canonical(definition)))
    }

    /// Reads what [`fmt::Display`] writes.
    fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(PREFIX)?;
        let mut digest = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let pair = str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        let digest = Self(digest);
        (digest.to_string() == text).then_some(digest)
    }
}

/// `sha256:` and 64 lower-case hexadecimal digits.
impl fmt::Display for ToolDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", crypto::hex(&self.0))
    }
}

const PREFIX: &str = "sha256:";

impl PinState {
    /// The state as metrics and listings spell it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Changed => "changed",
            Self::New => "new",
        }
    }

    /// Every state.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Changed, Self::New];
}

#[cfg(test)]
mod tests;
