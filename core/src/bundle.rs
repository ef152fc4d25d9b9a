//! Bundles: policies and data as OPA packs, signs and changes them.
//!
//! Owns the reading of a bundle from bytes ([`read`]), its signature ([`Verification`]), the changes of a delta
//! ([`Bundle::apply`]), the building of one ([`build`]), the guard against roll-backs ([`History`]), when one is fetched
//! ([`fetch`]) and what is told about that ([`status`]). Follows OPA's documentation of bundles. Everything is bounded and
//! whole or nothing: what cannot be read to its end is no bundle. Never reads a file, never opens a connection.
//!
//! Only `.rego`, `data.json`, `data.yaml`, `.manifest` and `.signatures.json` count; other files are signed, and not
//! read. What was compiled for another machine (`policy.wasm`, `plan.json`) is refused, since the Rego beside it need not
//! say the same.

use std::fmt;

mod archive;
mod delta;
pub mod fetch;
mod history;
mod manifest;
mod signature;
pub mod status;
mod tree;

pub use archive::ArchiveError;
pub use delta::Delta;
pub use history::{History, HistoryError, Standing};
pub use manifest::Manifest;
pub use signature::{SignatureError, Signatures, ToSign, Verification};

use crate::crypto::{self, Sha256};
use crate::policy::{self, PolicyError, PolicySource, SourceFile};
use archive::Files;
use tree::Tree;

/// Bounds of a bundle, each inclusive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BundleLimits {
    /// Bytes as they come.
    pub packed_bytes_max: usize,
    /// Bytes once they are unpacked.
    pub unpacked_bytes_max: usize,
    /// Bytes of all Rego files together: what is compiled costs far more than what is data.
    pub rego_bytes_max: usize,
    /// Files and folders.
    pub files_max: usize,
    /// Bytes of one path.
    pub path_bytes_max: usize,
}

impl Default for BundleLimits {
    fn default() -> Self {
        Self {
            packed_bytes_max: 32 << 20,
            unpacked_bytes_max: 128 << 20,
            rego_bytes_max: 4 << 20,
            files_max: 4_096,
            path_bytes_max: 512,
        }
    }
}

/// Why bytes are no bundle that may rule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BundleError {
    /// The archive.
    #[error("the bundle cannot be unpacked: {0}")]
    Archive(#[from] ArchiveError),
    /// It holds a policy that was compiled for another machine.
    #[error("`{0}`: the bundle was built for WebAssembly or as a plan: build it with `opa build -t rego`")]
    Compiled(String),
    /// Two files bring a value for one path.
    #[error("`{file}` brings a second value for `data{path}`")]
    Conflict {
        /// The file that was read later.
        file: String,
        /// The path, parts after slashes.
        path: String,
    },
    /// A file of it cannot be used.
    #[error("`{file}`: {message}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// A module that is no Rego.
    #[error("{0}")]
    Policy(#[from] PolicyError),
    /// A delta does not fit the bundle that rules.
    #[error("the delta bundle has other roots than the bundle that it changes")]
    Roots,
    /// The Rego files are too large.
    #[error("its Rego files are larger than {0} bytes together")]
    Rego(usize),
    /// Something stands outside of the roots.
    #[error("{what} at {path} is outside of the roots of the manifest")]
    Root {
        /// What stands there.
        what: &'static str,
        /// Where.
        path: String,
    },
    /// The signature.
    #[error("{0}")]
    Signature(#[from] SignatureError),
}

/// What tells two bundles apart: the SHA-256 of what they say, however they are packed and signed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BundleDigest([u8; 32]);

impl BundleDigest {
    /// Reads 64 hexadecimal digits in lower case.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let plain = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !plain {
            return None;
        }
        for (slot, at) in digest.iter_mut().zip((0_usize..64).step_by(2)) {
            *slot = u8::from_str_radix(text.get(at..at.saturating_add(2))?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

/// In lower-case hexadecimal.
impl fmt::Display for BundleDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&crypto::hex(&self.0))
    }
}

/// What bytes hold.
#[derive(Clone, Debug)]
pub enum Content {
    /// Changes of the data of a bundle.
    Delta(Delta),
    /// A whole bundle.
    Snapshot(Bundle),
}

/// A whole bundle: its policy, its data and what it says of itself.
#[derive(Clone, Debug)]
pub struct Bundle {
    manifest: Manifest,
    modules: Vec<SourceFile>,
    data: Tree,
    digest: BundleDigest,
}

/// Reads a bundle: unpacks it, verifies its signature, and only then looks at what it holds.
///
/// Costs memory of some times its unpacked size, which `limits` bound.
///
/// # Errors
/// The first [`BundleError`].
pub fn read(bytes: &[u8], limits: &BundleLimits, signatures: Signatures<'_>) -> Result<Content, BundleError> {
    let files = archive::unpack(bytes, limits)?;
    let is_delta = files.contains_key(PATCH);
    match signatures {
        Signatures::Verified(_) if is_delta => return Err(SignatureError::Delta.into()),
        Signatures::Verified(verification) => signature::verify(&files, verification, limits)?,
        Signatures::Absent if files.contains_key(SIGNATURES) => return Err(SignatureError::NoKeys.into()),
        Signatures::Absent | Signatures::DangerIgnored => {}
    }
    match is_delta {
        true => Delta::read(&files).map(Content::Delta),
        false => Bundle::of_files(files, limits).map(Content::Snapshot),
    }
}

/// Packs files, given by their paths below the root, as a bundle: the same files and revision always give the same bytes.
/// A manifest among the files keeps all that it says but its revision, when another is given.
///
/// # Errors
/// [`BundleError`] for what [`read`] would not take back.
pub fn build(
    files: impl IntoIterator<Item = (String, Vec<u8>)>,
    revision: Option<&str>,
    limits: &BundleLimits,
) -> Result<Vec<u8>, BundleError> {
    let mut packed = named(files, limits)?;
    packed.remove(SIGNATURES);
    if let Some(revision) = revision {
        let written = packed.get(MANIFEST).map_or(&b"{}"[..], Vec::as_slice);
        let Ok(Tree::Object(mut members)) = Tree::of_json(written) else {
            return Err(BundleError::File {
                file: MANIFEST.to_owned(),
                message: "it is no strict JSON object".to_owned(),
            });
        };
        members.insert("revision".to_owned(), Tree::String(revision.to_owned()));
        packed.insert(MANIFEST.to_owned(), Tree::Object(members).to_text().into_bytes());
    }
    let bytes = archive::pack(&packed)?;
    read(&bytes, limits, Signatures::DangerIgnored).map(|_| bytes)
}

/// Files by their paths, each once.
fn named(files: impl IntoIterator<Item = (String, Vec<u8>)>, limits: &BundleLimits) -> Result<Files, BundleError> {
    let mut named = Files::new();
    for (name, content) in files {
        let name = archive::file_path(name.as_bytes(), limits)?;
        if named.insert(name.clone(), content).is_some() {
            return Err(ArchiveError::Duplicate(archive::shown(name.as_bytes())).into());
        }
    }
    Ok(named)
}

impl Bundle {
    /// The bundle that these files would make, given by their paths below the root.
    ///
    /// # Errors
    /// The first [`BundleError`].
    pub fn from_files(
        files: impl IntoIterator<Item = (String, Vec<u8>)>,
        limits: &BundleLimits,
    ) -> Result<Self, BundleError> {
        Self::of_files(named(files, limits)?, limits)
    }

    fn of_files(files: Files, limits: &BundleLimits) -> Result<Self, BundleError> {
        let manifest = match files.get(MANIFEST) {
            Some(text) => Manifest::read(text)?,
            None => Manifest::default(),
        };
        let (mut modules, mut data, mut rego_bytes) = (Vec::new(), Tree::empty(), 0_usize);
        for (name, content) in files {
            let upset = |message: String| BundleError::File {
                file: name.clone(),
                message,
            };
            if name.ends_with(".rego") {
                rego_bytes = rego_bytes.saturating_add(content.len());
                if limits.rego_bytes_max < rego_bytes {
                    return Err(BundleError::Rego(limits.rego_bytes_max));
                }
                let text = String::from_utf8(content).map_err(|_| upset("it is not UTF-8".to_owned()))?;
                modules.push(SourceFile { name, text });
            } else if is_data(&name, "data.json") {
                add(&mut data, &name, Tree::of_json(&content).map_err(upset)?)?;
            } else if is_data(&name, "data.yaml") || is_data(&name, "data.yml") {
                add(&mut data, &name, Tree::of_yaml(&content).map_err(upset)?)?;
            } else if ["policy.wasm", "plan.json"]
                .iter()
                .any(|compiled| is_data(&name, compiled))
            {
                return Err(BundleError::Compiled(name));
            }
        }
        for (package, finding) in policy::packages(&modules)? {
            if !manifest.owns(package.iter().map(String::as_str)) {
                return Err(BundleError::Root {
                    what: "the package",
                    path: format!("`{}` ({}:{})", package.join("."), finding.file, finding.line),
                });
            }
        }
        Self::of_parts(manifest, modules, data)
    }

    fn of_parts(manifest: Manifest, modules: Vec<SourceFile>, data: Tree) -> Result<Self, BundleError> {
        manifest.check_data(&data)?;
        let mut digest = Sha256::default();
        digest.update_framed(b"bundle");
        digest.update_framed(manifest.revision().as_bytes());
        for root in manifest.roots() {
            digest.update_framed(root.as_bytes());
        }
        digest.update_framed(manifest.metadata().to_text().as_bytes());
        for module in &modules {
            digest.update_framed(module.name.as_bytes());
            digest.update_framed(module.text.as_bytes());
        }
        digest.update_framed(data.to_text().as_bytes());
        Ok(Self {
            manifest,
            modules,
            data,
            digest: BundleDigest(digest.finish()),
        })
    }

    /// What it says of itself.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is.
    pub const fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// Its modules and its data, in one file, without scope tables.
    pub fn source(&self) -> PolicySource {
        PolicySource {
            modules: self.modules.clone(),
            data: vec![SourceFile {
                name: "data.json".to_owned(),
                text: self.data.to_text(),
            }],
            ..PolicySource::default()
        }
    }

    /// This bundle after `delta`, under the revision of the delta.
    ///
    /// # Errors
    /// [`BundleError`]; this bundle is as it was.
    pub fn apply(&self, delta: &Delta) -> Result<Self, BundleError> {
        if !self.manifest.has_roots_of(&delta.manifest) {
            return Err(BundleError::Roots);
        }
        let mut data = self.data.clone();
        delta.apply(&mut data)?;
        Self::of_parts(self.manifest.succeeded_by(&delta.manifest), self.modules.clone(), data)
    }

    /// It as bytes that [`read`] takes back, without a signature: for a state that no server has as a whole.
    ///
    /// # Errors
    /// [`BundleError`] when it cannot be packed.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let text = |text: &str| Tree::String(text.to_owned());
        let members = [
            ("metadata", self.manifest.metadata().clone()),
            ("revision", text(self.manifest.revision())),
            ("roots", Tree::Array(self.manifest.roots().map(text).collect())),
        ];
        let members = members
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let modules = self.modules.iter();
        let mut files: Files = modules
            .map(|module| (module.name.clone(), module.text.clone().into_bytes()))
            .collect();
        files.insert(MANIFEST.to_owned(), Tree::Object(members).to_text().into_bytes());
        files.insert("data.json".to_owned(), self.data.to_text().into_bytes());
        Ok(archive::pack(&files)?)
    }
}

/// Puts the data of the file `name` where its folder says.
fn add(data: &mut Tree, name: &str, value: Tree) -> Result<(), BundleError> {
    let mut path: Vec<&str> = name.split('/').collect();
    path.pop();
    if path.is_empty() && !matches!(value, Tree::Object(_)) {
        return Err(BundleError::File {
            file: name.to_owned(),
            message: "the data at the root is no object".to_owned(),
        });
    }
    data.insert(&path, value).map_err(|path| BundleError::Conflict {
        file: name.to_owned(),
        path,
    })
}

/// Whether the last part of `path` is `name`.
fn is_data(path: &str, name: &str) -> bool {
    path.rsplit('/').next() == Some(name)
}

const MANIFEST: &str = ".manifest";
const PATCH: &str = "patch.json";
const SIGNATURES: &str = ".signatures.json";

#[cfg(test)]
mod tests;
