//! Delta bundles: changes of data that leave the policy as it is.
//!
//! Owns the operations `upsert`, `remove` and `replace` of `patch.json` and how each is carried out. All of a delta is
//! applied or nothing. Never changes a module, and cannot be signed: OPA defines no signature for it.

use super::archive::Files;
use super::manifest::Manifest;
use super::tree::Tree;
use super::{BundleDigest, BundleError, MANIFEST, PATCH};
use crate::crypto::Sha256;

/// A delta bundle, read and not yet applied.
#[derive(Clone, Debug)]
pub struct Delta {
    pub(super) manifest: Manifest,
    operations: Vec<Operation>,
    digest: BundleDigest,
}

#[derive(Clone, Debug)]
struct Operation {
    kind: Kind,
    path: Vec<String>,
    value: Tree,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Remove,
    Replace,
    Upsert,
}

impl Delta {
    /// Reads the files of a delta bundle.
    pub(super) fn read(files: &Files) -> Result<Self, BundleError> {
        let other = files.keys().find(|name| !matches!(name.as_str(), PATCH | MANIFEST));
        if let Some(other) = other {
            return Err(BundleError::File {
                file: other.clone(),
                message: "a delta bundle holds `patch.json` and `.manifest` alone".to_owned(),
            });
        }
        let manifest = files
            .get(MANIFEST)
            .map_or_else(|| Ok(Manifest::default()), |text| Manifest::read(text))?;
        let text = files.get(PATCH).map_or(&[][..], Vec::as_slice);
        let tree = Tree::of_json(text).map_err(|error| wrong(&error))?;
        let listed = match tree.member("data") {
            Some(Tree::Array(listed)) => listed.as_slice(),
            None if matches!(tree, Tree::Object(_)) => &[],
            _ => return Err(wrong("it is no object with a list `data`")),
        };
        let operations = listed
            .iter()
            .map(|written| operation(written, &manifest))
            .collect::<Result<_, _>>()?;
        let mut digest = Sha256::default();
        digest.update_framed(b"delta");
        digest.update_framed(manifest.revision().as_bytes());
        digest.update_framed(manifest.metadata_json().as_bytes());
        digest.update_framed(tree.to_text().as_bytes());
        Ok(Self {
            manifest,
            operations,
            digest: BundleDigest(digest.finish()),
        })
    }

    /// What it says of itself.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What this delta is: it stands in the history beside what it made.
    pub const fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// Carries out every operation on `data`.
    pub(super) fn apply(&self, data: &mut Tree) -> Result<(), BundleError> {
        for (place, operation) in (1..).zip(&self.operations) {
            let done = operation.apply(data);
            done.ok_or_else(|| {
                wrong(&format!(
                    "operation {place} finds nothing that it could change at its path"
                ))
            })?;
        }
        match data {
            Tree::Object(_) => Ok(()),
            _ => Err(wrong("the data would be no object")),
        }
    }
}

impl Operation {
    /// `None` when there is no such place.
    fn apply(&self, data: &mut Tree) -> Option<()> {
        let Some((last, parents)) = self.path.split_last() else {
            return match self.kind {
                Kind::Remove => None,
                Kind::Replace | Kind::Upsert => {
                    *data = self.value.clone();
                    Some(())
                }
            };
        };
        let mut place = data;
        for part in parents {
            place = match place {
                Tree::Object(members) => {
                    // The way to a new value is made, as OPA makes it.
                    if self.kind == Kind::Upsert && !members.contains_key(part) {
                        members.insert(part.clone(), Tree::empty());
                    }
                    members.get_mut(part)?
                }
                Tree::Array(elements) => elements.get_mut(index(part)?)?,
                _ => return None,
            };
        }
        match place {
            Tree::Object(members) => match self.kind {
                Kind::Remove => members.remove(last).map(|_| ()),
                Kind::Replace => members.get_mut(last).map(|value| *value = self.value.clone()),
                Kind::Upsert => {
                    members.insert(last.clone(), self.value.clone());
                    Some(())
                }
            },
            Tree::Array(elements) => self.apply_to_array(elements, last),
            _ => None,
        }
    }

    fn apply_to_array(&self, elements: &mut Vec<Tree>, last: &str) -> Option<()> {
        if self.kind == Kind::Upsert && last == "-" {
            elements.push(self.value.clone());
            return Some(());
        }
        let index = index(last)?;
        match self.kind {
            Kind::Remove if index < elements.len() => {
                elements.remove(index);
                Some(())
            }
            Kind::Replace => elements.get_mut(index).map(|value| *value = self.value.clone()),
            Kind::Upsert if index <= elements.len() => {
                elements.insert(index, self.value.clone());
                Some(())
            }
            Kind::Remove | Kind::Upsert => None,
        }
    }
}

fn operation(written: &Tree, manifest: &Manifest) -> Result<Operation, BundleError> {
    let text = |name: &str| written.member(name).and_then(Tree::as_str);
    let kind = match text("op") {
        Some("remove") => Kind::Remove,
        Some("replace") => Kind::Replace,
        Some("upsert") => Kind::Upsert,
        _ => return Err(wrong("an `op` is none of `upsert`, `remove` and `replace`")),
    };
    let path = text("path").ok_or_else(|| wrong("an operation has no `path`"))?;
    let path: Option<Vec<String>> = match path.trim_matches('/') {
        "" => Some(Vec::new()),
        path => path.split('/').map(unescaped).collect(),
    };
    let path = path.ok_or_else(|| wrong("a `path` has an empty part or is no percent-encoded UTF-8"))?;
    if !manifest.owns(path.iter().map(String::as_str)) {
        return Err(BundleError::Root {
            what: "a patch",
            path: super::archive::shown(path.join("/").as_bytes()),
        });
    }
    let value = match (written.member("value"), kind) {
        (Some(value), _) => value.clone(),
        (None, Kind::Remove) => Tree::Null,
        (None, Kind::Replace | Kind::Upsert) => return Err(wrong("an operation has no `value`")),
    };
    Ok(Operation { kind, path, value })
}

/// A part of a path without its percent-encoding (RFC 3986 section 2.1).
fn unescaped(part: &str) -> Option<String> {
    let mut bytes = part.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()?.checked_mul(16)?.checked_add(digit()?)?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok().filter(|text| !text.is_empty())
}

/// A place in a list: digits, without needless zeros.
fn index(part: &str) -> Option<usize> {
    let plain = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
    plain.then(|| part.parse().ok()).flatten()
}

fn wrong(message: &str) -> BundleError {
    BundleError::File {
        file: PATCH.to_owned(),
        message: message.to_owned(),
    }
}
