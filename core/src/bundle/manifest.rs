//! The manifest of a bundle: what it is called, which part of `data` it owns, which Rego it is written in.
//!
//! Owns [`Manifest`] and the rule of roots. Follows OPA's bundle format: members that it does not know are not read, but
//! what it knows has the right form, and what the gate cannot honour (Rego v0, WebAssembly) is refused.

use super::tree::{Object, Tree};
use super::{BundleError, MANIFEST};

/// What a bundle says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    revision: Box<str>,
    roots: Vec<Box<str>>,
    metadata: Tree,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            revision: Box::default(),
            roots: vec![Box::default()],
            metadata: Tree::empty(),
        }
    }
}

impl Manifest {
    /// Reads `.manifest`.
    pub(super) fn read(text: &[u8]) -> Result<Self, BundleError> {
        let tree = Tree::of_json(text).map_err(|error| wrong(&error))?;
        let Tree::Object(members) = tree else {
            return Err(wrong("it is no JSON object"));
        };
        check_language(&members)?;
        let revision = match members.get("revision") {
            None | Some(Tree::Null) => "",
            Some(Tree::String(text)) if text.len() <= REVISION_BYTES_MAX && !text.chars().any(char::is_control) => text,
            Some(_) => return Err(wrong("`revision` is no text of at most 256 bytes")),
        };
        let metadata = match members.get("metadata") {
            None | Some(Tree::Null) => Tree::empty(),
            Some(metadata @ Tree::Object(_)) => metadata.clone(),
            Some(_) => return Err(wrong("`metadata` is no object")),
        };
        Ok(Self {
            revision: Box::from(revision),
            roots: roots(members.get("roots"))?,
            metadata,
        })
    }

    /// The revision; empty when the bundle has none.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The paths of `data` that the bundle owns, parts joined by `/`; the empty one is everything.
    pub fn roots(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(|root| &**root)
    }

    /// What else its author wrote, as JSON text.
    pub fn metadata_json(&self) -> String {
        self.metadata.to_text()
    }

    pub(super) fn metadata(&self) -> &Tree {
        &self.metadata
    }

    /// The same roots, whatever their order.
    pub(super) fn has_roots_of(&self, other: &Self) -> bool {
        self.roots.len() == other.roots.len() && self.roots.iter().all(|root| other.roots.contains(root))
    }

    /// This manifest under another revision and metadata.
    pub(super) fn succeeded_by(&self, next: &Self) -> Self {
        Self {
            revision: next.revision.clone(),
            roots: self.roots.clone(),
            metadata: next.metadata.clone(),
        }
    }

    /// Whether what stands at `path` belongs to the bundle.
    pub(super) fn owns<'p>(&self, path: impl Iterator<Item = &'p str> + Clone) -> bool {
        self.roots.iter().any(|root| contains(root, path.clone()))
    }

    /// Checks that data stands below the roots alone.
    pub(super) fn check_data(&self, data: &Tree) -> Result<(), BundleError> {
        let mut path = Vec::new();
        self.check_below(data, &mut path)
    }

    fn check_below<'t>(&self, value: &'t Tree, path: &mut Vec<&'t str>) -> Result<(), BundleError> {
        if self.owns(path.iter().copied()) {
            return Ok(());
        }
        let leads_to_root = path.is_empty()
            || self.roots.iter().any(|root| {
                let parts: Vec<&str> = root.split('/').collect();
                parts.starts_with(path)
            });
        match value {
            Tree::Object(members) if leads_to_root => {
                for (key, value) in members {
                    path.push(key);
                    self.check_below(value, path)?;
                    path.pop();
                }
                Ok(())
            }
            _ => Err(BundleError::Root {
                what: "data",
                path: super::archive::shown(path.join("/").as_bytes()),
            }),
        }
    }
}

/// Refuses what was compiled for another machine, or is written in another language.
fn check_language(members: &Object) -> Result<(), BundleError> {
    match members.get("wasm") {
        None | Some(Tree::Null) => {}
        Some(Tree::Array(modules)) if modules.is_empty() => {}
        Some(_) => return Err(BundleError::Compiled(MANIFEST.to_owned())),
    }
    let is_v1 = |version: &Tree| match version {
        Tree::Number(number) if &**number == "1" => Ok(()),
        Tree::Number(number) if &**number == "0" => Err(wrong(
            "Rego v0 is not supported: bring the policy to v1 (`opa fmt --v0-v1`) and build the bundle anew",
        )),
        _ => Err(wrong("a Rego version is neither 0 nor 1")),
    };
    match members.get("rego_version") {
        None | Some(Tree::Null) => {}
        Some(version) => is_v1(version)?,
    }
    match members.get("file_rego_versions") {
        None | Some(Tree::Null) => Ok(()),
        Some(Tree::Object(files)) => files.values().try_for_each(is_v1),
        Some(_) => Err(wrong("`file_rego_versions` is no object")),
    }
}

fn roots(written: Option<&Tree>) -> Result<Vec<Box<str>>, BundleError> {
    let listed = match written {
        None | Some(Tree::Null) => return Ok(vec![Box::default()]),
        Some(Tree::Array(listed)) if listed.len() <= ROOTS_MAX => listed,
        Some(_) => return Err(wrong("`roots` is no list of at most 100 texts")),
    };
    let mut roots: Vec<Box<str>> = Vec::new();
    for root in listed {
        let root = root
            .as_str()
            .ok_or_else(|| wrong("a root is no text"))?
            .trim_matches('/');
        let met = |other: &&str| contains(other, parts(root)) || contains(root, parts(other));
        if let Some(other) = roots.iter().map(|root| &**root).find(met) {
            let shown = |root: &str| super::archive::shown(root.as_bytes());
            return Err(wrong(&format!(
                "the roots {} and {} overlap",
                shown(other),
                shown(root)
            )));
        }
        roots.push(Box::from(root));
    }
    Ok(roots)
}

/// Whether `root` is the beginning of `path`.
fn contains<'p>(root: &str, mut path: impl Iterator<Item = &'p str>) -> bool {
    parts(root).all(|part| path.next() == Some(part))
}

/// The parts of a path; none of the empty one.
fn parts(path: &str) -> impl Iterator<Item = &str> + Clone {
    path.split('/').filter(|part| !part.is_empty())
}

fn wrong(message: &str) -> BundleError {
    BundleError::File {
        file: MANIFEST.to_owned(),
        message: message.to_owned(),
    }
}

const REVISION_BYTES_MAX: usize = 256;
const ROOTS_MAX: usize = 100;
