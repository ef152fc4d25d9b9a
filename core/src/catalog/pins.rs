//! Which definitions of a server's tools were accepted.
//!
//! Owns [`Pins`] and their form on disk. Reads and writes no file.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Catalog, ToolDigest};
use crate::crypto;
use crate::json::{self, Kind, Limits, Node, Scratch};

/// What a file of pins may hold.
const LIMITS: Limits = Limits {
    depth: 4,
    members: 20_000,
};
const VERSION: u64 = 1;

/// The accepted definitions of one server's tools, by name. A tool that is gone keeps its pin: it may come back as
/// another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pins {
    tools: BTreeMap<Box<str>, ToolDigest>,
}

/// Why a file of pins cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PinsError {
    /// It is no JSON object of this form.
    #[error("the file of pins is not one: it is damaged, or of a newer version")]
    Form,
    /// It is of another server.
    #[error("the file of pins is of another server")]
    Server,
}

impl Pins {
    /// Pins that accept every definition of `catalog`.
    pub fn of_catalog(catalog: &Catalog) -> Self {
        let tools = catalog.tools().map(|(name, tool)| (Box::from(name), tool.digest()));
        Self { tools: tools.collect() }
    }

    /// The accepted definition of a tool.
    pub fn of(&self, tool: &str) -> Option<ToolDigest> {
        self.tools.get(tool).copied()
    }

    /// Accepts a definition of a tool, in place of the one accepted before. `false` when it was accepted already.
    pub fn accept(&mut self, tool: &str, digest: ToolDigest) -> bool {
        self.tools.insert(Box::from(tool), digest) != Some(digest)
    }

    /// SHA-256 over all names and digests, in the order of the names.
    pub fn digest(&self) -> ToolDigest {
        let mut sha256 = crypto::Sha256::default();
        for (name, digest) in &self.tools {
            sha256.update_framed(name.as_bytes());
            sha256.update(&digest.0);
        }
        ToolDigest(sha256.finish())
    }

    /// How many tools have a pin.
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// Whether no tool has one.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// The file of the pins of `server`.
    pub fn to_json(&self, server: &str) -> String {
        let tools: serde_json::Map<String, serde_json::Value> = self
            .tools
            .iter()
            .map(|(name, digest)| (name.to_string(), digest.to_string().into()))
            .collect();
        let mut text = format!("{:#}", json!({ "version": VERSION, "server": server, "tools": tools }));
        text.push('\n');
        text
    }

    /// Reads what [`Self::to_json`] writes.
    ///
    /// # Errors
    /// [`PinsError`] for anything else: no half of it is used.
    pub fn read(text: &[u8], server: &str) -> Result<Self, PinsError> {
        let mut scratch = Scratch::default();
        let document = json::parse(text, &mut scratch, LIMITS).map_err(|_| PinsError::Form)?;
        let root = document.root();
        if root.len() != 3 || root.member("version").and_then(Node::as_u64) != Some(VERSION) {
            return Err(PinsError::Form);
        }
        if root.member("server").and_then(Node::as_str) != Some(server) {
            return Err(PinsError::Server);
        }
        let tools = root.member("tools").filter(|tools| tools.kind() == Kind::Object);
        let read = |(name, digest): (&str, Node<'_>)| {
            let digest = ToolDigest::parse(digest.as_str()?)?;
            Some((Box::from(name), digest))
        };
        let members = tools.ok_or(PinsError::Form)?.members();
        let tools: Option<BTreeMap<_, _>> = members.map(|member| read((member.key, member.value))).collect();
        Ok(Self {
            tools: tools.ok_or(PinsError::Form)?,
        })
    }
}
