//! What a call names: a tool, a prompt, a resource, or nothing.
//!
//! Owns [`Target`], borrowed from the body, and [`Named`], which outlives it. Decides nothing.

use crate::denial::Noun;

/// What a call names, as it stands in the body, decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target<'b> {
    /// Nothing.
    Nothing,
    /// A prompt, by name.
    Prompt(&'b str),
    /// A resource or a resource template, by URI.
    Resource(&'b str),
    /// A tool, by name; for the methods of a task the tool that started it.
    Tool(&'b str),
}

/// The same, owned.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Named {
    /// Nothing.
    #[default]
    Nothing,
    /// A prompt, by name.
    Prompt(Box<str>),
    /// A resource or a resource template, by URI.
    Resource(Box<str>),
    /// A tool, by name.
    Tool(Box<str>),
}

impl<'b> Target<'b> {
    /// The word for it.
    pub(crate) const fn noun(self) -> Noun {
        match self {
            Self::Nothing => Noun::Nothing,
            Self::Prompt(_) => Noun::Prompt,
            Self::Resource(_) => Noun::Resource,
            Self::Tool(_) => Noun::Tool,
        }
    }

    /// The tool's name.
    pub(crate) const fn tool(self) -> Option<&'b str> {
        match self {
            Self::Tool(name) => Some(name),
            Self::Nothing | Self::Prompt(_) | Self::Resource(_) => None,
        }
    }

    /// The prompt's name.
    pub(crate) const fn prompt(self) -> Option<&'b str> {
        match self {
            Self::Prompt(name) => Some(name),
            Self::Nothing | Self::Resource(_) | Self::Tool(_) => None,
        }
    }

    /// The resource's URI.
    pub(crate) const fn resource(self) -> Option<&'b str> {
        match self {
            Self::Resource(uri) => Some(uri),
            Self::Nothing | Self::Prompt(_) | Self::Tool(_) => None,
        }
    }

    /// The same, to be kept.
    pub(crate) fn to_named(self) -> Named {
        match self {
            Self::Nothing => Named::Nothing,
            Self::Prompt(name) => Named::Prompt(Box::from(name)),
            Self::Resource(uri) => Named::Resource(Box::from(uri)),
            Self::Tool(name) => Named::Tool(Box::from(name)),
        }
    }
}

impl Named {
    /// The borrowed form.
    pub(crate) fn target(&self) -> Target<'_> {
        match self {
            Self::Nothing => Target::Nothing,
            Self::Prompt(name) => Target::Prompt(name),
            Self::Resource(uri) => Target::Resource(uri),
            Self::Tool(name) => Target::Tool(name),
        }
    }

    /// The tool's name.
    pub(crate) fn tool(&self) -> Option<&str> {
        self.target().tool()
    }
}
