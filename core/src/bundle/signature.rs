//! Signatures of bundles: `.signatures.json`, one JWT (RFC 7515) over the digests of all files.
//!
//! Owns what is signed and how it is verified, by OPA's bundle format: a structured file is hashed over its canonical
//! text, so that white space does not count, every other one over its bytes. Every file of the bundle must be listed and
//! every listed file must be there. The key comes from the configured set alone. Never holds a private key: who signs
//! gets [`ToSign::input`] and brings the signature back.

use std::collections::BTreeMap;

use super::archive::{self, Files};
use super::tree::{Object, Tree};
use super::{BundleError, BundleLimits, MANIFEST, SIGNATURES, is_data};
use crate::crypto::{self, Algorithm, Hash, decode_base64url, encode_base64url};
use crate::jwks::{FindError, KeySet};

/// By which keys bundles are verified.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The keys.
    pub keys: KeySet,
    /// The only key that may have signed; `None` takes the one that the signature names.
    pub key_id: Option<Box<str>>,
    /// The `scope` that the signature must have, exactly; empty for none.
    pub scope: Box<str>,
}

/// What is asked of a bundle's signature.
#[derive(Clone, Copy, Debug)]
pub enum Signatures<'v> {
    /// The bundle has none: no key could verify it. One that has is refused, as OPA does.
    Absent,
    /// It is not looked at: for tools that build and test bundles, never for one that shall rule.
    DangerIgnored,
    /// It is there and verifies.
    Verified(&'v Verification),
}

/// Why the signature of a bundle is not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignatureError {
    /// `alg` is no signature that is supported.
    #[error("the signature's algorithm is not supported: use RS256, PS256, ES256, ES384 or EdDSA")]
    Algorithm,
    /// A delta bundle, where signatures are demanded.
    #[error("a delta bundle cannot be signed, and keys are configured")]
    Delta,
    /// A file has another content than the one that was signed.
    #[error("the file {0} is not the one that was signed")]
    Digest(String),
    /// No key of the set is meant.
    #[error("no key for the signature: {0}")]
    Key(FindError),
    /// The signature is by another key than the configured one.
    #[error("the signature names another key than the configured one")]
    KeyId,
    /// `.signatures.json` or the JWT in it is malformed.
    #[error("`.signatures.json`: {0}")]
    Malformed(&'static str),
    /// A signed file is not in the bundle.
    #[error("the file {0} was signed and is missing")]
    Missing(String),
    /// The bundle is signed, and no key is configured.
    #[error("the bundle is signed, and no keys are configured to verify it")]
    NoKeys,
    /// The signature has another scope.
    #[error("the signature has another scope than the configured one")]
    Scope,
    /// The bundle is not signed, and keys are configured.
    #[error("the bundle is not signed, and keys are configured")]
    Unsigned,
    /// A file of the bundle was not signed.
    #[error("the file {0} was not signed")]
    Unlisted(String),
    /// The signature is not the key's over these bytes.
    #[error("the signature does not verify")]
    Wrong,
}

/// Verifies the signature of the files of a bundle.
pub(super) fn verify(files: &Files, verification: &Verification, limits: &BundleLimits) -> Result<(), SignatureError> {
    let text = files.get(SIGNATURES).ok_or(SignatureError::Unsigned)?;
    let token = token(text)?;
    let payload = verified_payload(&token, verification)?;
    let mut listed = listed(&payload, limits)?;
    for (name, content) in files.iter().filter(|(name, _)| *name != SIGNATURES) {
        let digest = listed
            .remove(name.as_str())
            .ok_or_else(|| SignatureError::Unlisted(archive::shown(name.as_bytes())))?;
        let hashed = hash(name, content, digest.algorithm).filter(|hashed| *hashed == digest.hex);
        hashed.ok_or_else(|| SignatureError::Digest(archive::shown(name.as_bytes())))?;
    }
    match listed.pop_first() {
        Some((name, _)) => Err(SignatureError::Missing(archive::shown(name.as_bytes()))),
        None => Ok(()),
    }
}

/// The one JWT of `.signatures.json`.
fn token(text: &[u8]) -> Result<String, SignatureError> {
    let tree = Tree::of_json(text).map_err(|_| SignatureError::Malformed("it is no strict JSON"))?;
    if tree.member("plugin").is_some_and(|plugin| plugin.as_str() != Some("")) {
        return Err(SignatureError::Malformed(
            "a plugin signed it; only the standard form is known",
        ));
    }
    match tree.member("signatures") {
        Some(Tree::Array(tokens)) => match tokens.as_slice() {
            [Tree::String(token)] => Ok(token.clone()),
            _ => Err(SignatureError::Malformed("there must be exactly one signature")),
        },
        _ => Err(SignatureError::Malformed("it has no list `signatures`")),
    }
}

/// The claims of the JWT, once its signature, key and scope are right.
fn verified_payload(token: &str, verification: &Verification) -> Result<Tree, SignatureError> {
    const FORM: SignatureError = SignatureError::Malformed("the signature is no JWT of three parts");
    let (input, signature) = token.rsplit_once('.').ok_or(FORM)?;
    let (header, payload) = input.split_once('.').ok_or(FORM)?;
    let (header, payload) = (part(header).ok_or(FORM)?, part(payload).ok_or(FORM)?);
    let header = Tree::of_json(&header).map_err(|_| FORM)?;
    let payload = Tree::of_json(&payload).map_err(|_| FORM)?;
    if header.member("crit").is_some() {
        return Err(SignatureError::Malformed(
            "the signature has critical header parameters",
        ));
    }
    let algorithm = header.member("alg").and_then(Tree::as_str);
    let algorithm = algorithm
        .and_then(Algorithm::from_name)
        .ok_or(SignatureError::Algorithm)?;
    // The claim is the older place of the key's id.
    let named = [header.member("kid"), payload.member("keyid")].map(|name| name.map(Tree::as_str));
    let kid = match named {
        [None, None] => None,
        [Some(Some(kid)), None] | [None, Some(Some(kid))] => Some(kid),
        [Some(Some(first)), Some(Some(second))] if first == second => Some(first),
        _ => return Err(SignatureError::Malformed("its `kid` and `keyid` are not one text")),
    };
    let kid = match (&verification.key_id, kid) {
        (Some(only), Some(kid)) if **only != *kid => return Err(SignatureError::KeyId),
        (Some(only), _) => Some(&**only),
        (None, kid) => kid,
    };
    let key = verification.keys.find(kid, algorithm).map_err(SignatureError::Key)?;
    let signature = part(signature).ok_or(FORM)?;
    key.verify(algorithm, input.as_bytes(), &signature)
        .map_err(|_| SignatureError::Wrong)?;
    let scope = match payload.member("scope") {
        None => "",
        Some(scope) => scope.as_str().ok_or(SignatureError::Scope)?,
    };
    match scope == &*verification.scope {
        true => Ok(payload),
        false => Err(SignatureError::Scope),
    }
}

/// One file as it was signed.
struct Listed {
    algorithm: Hash,
    hex: String,
}

/// The signed files by their paths, each once.
fn listed(payload: &Tree, limits: &BundleLimits) -> Result<BTreeMap<String, Listed>, SignatureError> {
    let Some(Tree::Array(files)) = payload.member("files") else {
        return Err(SignatureError::Malformed("the signature lists no files"));
    };
    let mut listed = BTreeMap::new();
    for file in files {
        let text = |name: &str| file.member(name).and_then(Tree::as_str);
        let (Some(name), Some(hex)) = (text("name"), text("hash")) else {
            return Err(SignatureError::Malformed("a listed file has no `name` or no `hash`"));
        };
        let algorithm = text("algorithm")
            .and_then(Hash::from_name)
            .ok_or(SignatureError::Malformed(
                "the `algorithm` of a listed file is none of SHA-256, SHA-384 and SHA-512",
            ))?;
        let name = archive::file_path(name.as_bytes(), limits)
            .map_err(|_| SignatureError::Malformed("the `name` of a listed file is no plain path"))?;
        let hex = hex.to_ascii_lowercase();
        if listed.insert(name, Listed { algorithm, hex }).is_some() {
            return Err(SignatureError::Malformed("a file is listed twice"));
        }
    }
    Ok(listed)
}

/// The digest of a file in hexadecimal; `None` for a structured file that cannot be read.
fn hash(name: &str, content: &[u8], algorithm: Hash) -> Option<String> {
    // OPA hashes the manifest of a folder as a structured file too.
    let digest = if is_data(name, MANIFEST) || is_data(name, "data.json") {
        algorithm.of(Tree::of_json(content).ok()?.to_text().as_bytes())
    } else if is_data(name, "data.yaml") {
        algorithm.of(Tree::of_yaml(content).ok()?.to_text().as_bytes())
    } else {
        algorithm.of(content)
    };
    Some(crypto::hex(&digest))
}

/// A bundle that is about to be signed.
#[derive(Debug)]
pub struct ToSign {
    files: Files,
    input: String,
}

impl ToSign {
    /// What is to be signed of a bundle that is in order; a signature that it has is replaced.
    ///
    /// # Errors
    /// [`BundleError`], also for a delta bundle.
    pub fn new(
        bundle: &[u8],
        limits: &BundleLimits,
        algorithm: Algorithm,
        key_id: &str,
        scope: &str,
    ) -> Result<Self, BundleError> {
        let super::Content::Snapshot(_) = super::read(bundle, limits, Signatures::DangerIgnored)? else {
            return Err(SignatureError::Delta.into());
        };
        let mut files = archive::unpack(bundle, limits)?;
        files.remove(SIGNATURES);
        let text = |text: &str| Tree::String(text.to_owned());
        let object = |members: Vec<(&str, Tree)>| {
            Tree::Object(
                members
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect::<Object>(),
            )
        };
        let mut listed = Vec::new();
        for (name, content) in &files {
            let hash = hash(name, content, Hash::Sha256).ok_or_else(|| BundleError::File {
                file: name.clone(),
                message: "it cannot be read".to_owned(),
            })?;
            listed.push(object(vec![
                ("algorithm", text(Hash::Sha256.name())),
                ("hash", text(&hash)),
                ("name", text(name)),
            ]));
        }
        let header = object(vec![
            ("alg", text(algorithm.name())),
            ("kid", text(key_id)),
            ("typ", text("JWT")),
        ]);
        let mut claims = vec![("files", Tree::Array(listed)), ("keyid", text(key_id))];
        if !scope.is_empty() {
            claims.push(("scope", text(scope)));
        }
        let [header, claims] = [header, object(claims)].map(|part| encode_base64url(part.to_text().as_bytes()));
        Ok(Self {
            files,
            input: format!("{header}.{claims}"),
        })
    }

    /// The bytes that the key signs.
    pub const fn input(&self) -> &[u8] {
        self.input.as_bytes()
    }

    /// The bundle with `signature` in it.
    ///
    /// # Errors
    /// [`BundleError`] when it cannot be packed.
    pub fn signed(mut self, signature: &[u8]) -> Result<Vec<u8>, BundleError> {
        let token = format!("{}.{}", self.input, encode_base64url(signature));
        let text = format!("{{\"signatures\":[\"{token}\"]}}\n");
        self.files.insert(SIGNATURES.to_owned(), text.into_bytes());
        Ok(archive::pack(&self.files)?)
    }
}

fn part(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    decode_base64url(text.as_bytes(), &mut out).ok().map(|()| out)
}
