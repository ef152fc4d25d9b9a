//! Key sets of issuers (RFC 7517), vetted key by key before any of them may verify a token.
//!
//! Owns [`KeySet`]; [`refresh`] says when and what to fetch. A key that cannot be used is skipped and counted, so that
//! one bad key does not take the good ones along; nothing stands in for a key that is missing. Never fetches, never
//! takes a key from a token, never holds a symmetric or a private key.

use crate::crypto::{Algorithm, KeyKind, PublicKey, PublicKeyError, Sha256, decode_base64url};
use crate::json::{self, Kind, Node};
use crate::time::UnixTime;

pub mod refresh;
pub(crate) mod shown;
pub(crate) mod url;

/// Bounds of a key set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JwksLimits {
    /// Bytes of the document.
    pub bytes_max: usize,
    /// Keys in the document, usable or not.
    pub keys_max: usize,
}

/// The usable keys of one issuer, at least one.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<VettedKey>,
    skipped: Vec<SkipReason>,
    generation: Generation,
    fetched_at: UnixTime,
}

/// What tells two key sets apart: a digest over their usable keys, whatever their order and layout.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Generation([u8; 32]);

/// Why a document is no key set. The old set stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeySetError {
    /// The document is not JSON in strict form.
    #[error("the key set is not strict JSON: {0}")]
    Malformed(json::ParseError),
    /// The document is not an object with an array `keys`.
    #[error("the document has no array `keys`")]
    NoKeys,
    /// No key of the set can be used.
    #[error("none of the {0} keys of the set can be used")]
    NoneUsable(usize),
    /// The document is larger than the limit.
    #[error("the key set is larger than {0} bytes")]
    TooLarge(usize),
    /// The set has more keys than the limit.
    #[error("the key set has more than {0} keys")]
    TooManyKeys(usize),
}

/// Why one key of a set is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SkipReason {
    /// `alg` is not supported, or not for this kind of key.
    #[error("its `alg` is not supported or not for its kind")]
    Algorithm,
    /// Another key of the set has the same `kid` and could be meant as well: neither is used.
    #[error("another key has the same `kid`")]
    Duplicate,
    /// A member is missing, of the wrong type, or not strict base64url.
    #[error("a member is missing or malformed")]
    Field,
    /// `kty` or `crv` is not supported.
    #[error("its `kty` or `crv` is not supported")]
    Kind,
    /// The key material makes no acceptable key.
    #[error("{0}")]
    Material(PublicKeyError),
    /// `key_ops` does not say `verify`.
    #[error("its `key_ops` does not say `verify`")]
    Operations,
    /// The key stands there with its private half: anybody may have signed with it.
    #[error("its private half is published")]
    Private,
    /// The key is symmetric.
    #[error("it is symmetric")]
    Symmetric,
    /// `use` is not `sig`.
    #[error("its `use` is not `sig`")]
    Use,
}

/// Why no key of a set is the token's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FindError {
    /// The key of this `kid` is for another algorithm.
    #[error("the key is for another algorithm")]
    Algorithm,
    /// The token names no key and more than one could be meant.
    #[error("the token names no key and several would fit")]
    Ambiguous,
    /// No key has this `kid`: a newer set may have it.
    #[error("no key has this `kid`")]
    Unknown,
}

#[derive(Clone, Debug)]
struct VettedKey {
    kid: Option<Box<str>>,
    /// The only algorithm, when the set names one.
    algorithm: Option<Algorithm>,
    key: PublicKey,
    digest: [u8; 32],
}

impl KeySet {
    /// Reads and vets a key set that was fetched at `fetched_at`.
    ///
    /// # Errors
    /// [`KeySetError`] for a document over its limits, one that is no key set, or one without a usable key.
    pub fn parse(bytes: &[u8], limits: &JwksLimits, fetched_at: UnixTime) -> Result<Self, KeySetError> {
        if bytes.len() > limits.bytes_max {
            return Err(KeySetError::TooLarge(limits.bytes_max));
        }
        let mut scratch = json::Scratch::default();
        let document = json::parse(bytes, &mut scratch, JSON_LIMITS).map_err(KeySetError::Malformed)?;
        let listed = document.root().member("keys").ok_or(KeySetError::NoKeys)?;
        if listed.kind() != Kind::Array {
            return Err(KeySetError::NoKeys);
        }
        if listed.len() > limits.keys_max {
            return Err(KeySetError::TooManyKeys(limits.keys_max));
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for entry in listed.elements() {
            match vet(entry) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(reason),
            }
        }
        drop_duplicates(&mut keys, &mut skipped);
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable(listed.len()));
        }
        Ok(Self {
            generation: Generation::of(&keys),
            keys,
            skipped,
            fetched_at,
        })
    }

    /// The key for a token of this `kid` and algorithm.
    ///
    /// A token without `kid` is served when exactly one key of the set fits; a key without `kid` serves only those.
    ///
    /// # Errors
    /// [`FindError`] says whether a newer set could help.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&PublicKey, FindError> {
        let named = self
            .keys
            .iter()
            .filter(|key| kid.is_none() || key.kid.as_deref() == kid);
        let mut seen = false;
        let mut found = None;
        for key in named {
            seen = true;
            if key.serves(algorithm) && found.replace(&key.key).is_some() {
                return Err(FindError::Ambiguous);
            }
        }
        match found {
            Some(key) => Ok(key),
            None if seen && kid.is_some() => Err(FindError::Algorithm),
            None => Err(FindError::Unknown),
        }
    }

    /// Usable keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used: never, by construction.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys of the document that are not used.
    pub fn skipped(&self) -> usize {
        self.skipped.len()
    }

    /// Why they are not used, in no promised order.
    pub fn skip_reasons(&self) -> &[SkipReason] {
        &self.skipped
    }

    /// What tells this set from another one.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// When the set was fetched.
    pub const fn fetched_at(&self) -> UnixTime {
        self.fetched_at
    }
}

impl VettedKey {
    fn serves(&self, algorithm: Algorithm) -> bool {
        match self.algorithm {
            Some(only) => only == algorithm,
            None => self.key.kind() == algorithm.key_kind(),
        }
    }

    /// Whether a token could mean either key.
    fn overlaps(&self, other: &Self) -> bool {
        let same_algorithm = match (self.algorithm, other.algorithm) {
            (Some(left), Some(right)) => left == right,
            _ => self.key.kind() == other.key.kind(),
        };
        self.kid.is_some() && self.kid == other.kid && same_algorithm
    }
}

impl Generation {
    fn of(keys: &[VettedKey]) -> Self {
        let mut digests: Vec<[u8; 32]> = keys.iter().map(|key| key.digest).collect();
        digests.sort_unstable();
        let mut all = Sha256::default();
        digests.iter().for_each(|digest| all.update(digest));
        Self(all.finish())
    }
}

/// Checks one entry of `keys` (RFC 7517 section 4, RFC 7518 section 6).
fn vet(entry: Node<'_>) -> Result<VettedKey, SkipReason> {
    if entry.kind() != Kind::Object {
        return Err(SkipReason::Field);
    }
    let kind = text(entry, "kty")?.ok_or(SkipReason::Field)?;
    if kind == "oct" {
        return Err(SkipReason::Symmetric);
    }
    if PRIVATE_MEMBERS.iter().any(|name| entry.member(name).is_some()) {
        return Err(SkipReason::Private);
    }
    if text(entry, "use")?.is_some_and(|usage| usage != "sig") {
        return Err(SkipReason::Use);
    }
    verifies(entry)?;
    let (key, material) = material(entry, kind)?;
    let algorithm = match text(entry, "alg")? {
        Some(name) => {
            let named = Algorithm::from_name(name).filter(|algorithm| algorithm.key_kind() == key.kind());
            Some(named.ok_or(SkipReason::Algorithm)?)
        }
        None => None,
    };
    let kid = text(entry, "kid")?;
    if kid == Some("") {
        return Err(SkipReason::Field);
    }
    let mut digest = Sha256::default();
    digest.update_framed(kid.unwrap_or_default().as_bytes());
    digest.update_framed(algorithm.map_or("", Algorithm::name).as_bytes());
    digest.update_framed(kind_name(key.kind()).as_bytes());
    material.iter().for_each(|part| digest.update_framed(part));
    Ok(VettedKey {
        kid: kid.map(Box::from),
        algorithm,
        key,
        digest: digest.finish(),
    })
}

/// Checks `key_ops` (RFC 7517 section 4.3): absent, or an array of strings with `verify` among them.
fn verifies(entry: Node<'_>) -> Result<(), SkipReason> {
    let Some(operations) = entry.member("key_ops") else {
        return Ok(());
    };
    let mut verify = false;
    for operation in operations.elements() {
        verify |= operation.as_str().ok_or(SkipReason::Field)? == "verify";
    }
    if verify { Ok(()) } else { Err(SkipReason::Operations) }
}

/// The key of an entry, and the numbers it is made of.
fn material(entry: Node<'_>, kind: &str) -> Result<(PublicKey, [Vec<u8>; 2]), SkipReason> {
    let curve = text(entry, "crv")?;
    let (key, numbers) = match (kind, curve) {
        ("RSA", _) => {
            let numbers = [number(entry, "n")?, number(entry, "e")?];
            (PublicKey::rsa(&numbers[0], &numbers[1]), numbers)
        }
        ("EC", Some("P-256")) => {
            let numbers = [number(entry, "x")?, number(entry, "y")?];
            (PublicKey::p256(&numbers[0], &numbers[1]), numbers)
        }
        ("EC", Some("P-384")) => {
            let numbers = [number(entry, "x")?, number(entry, "y")?];
            (PublicKey::p384(&numbers[0], &numbers[1]), numbers)
        }
        ("OKP", Some("Ed25519")) => {
            let numbers = [number(entry, "x")?, Vec::new()];
            (PublicKey::ed25519(&numbers[0]), numbers)
        }
        _ => return Err(SkipReason::Kind),
    };
    Ok((key.map_err(SkipReason::Material)?, numbers))
}

/// A string member; `None` when it is absent.
fn text<'s>(entry: Node<'s>, name: &str) -> Result<Option<&'s str>, SkipReason> {
    match entry.member(name) {
        Some(value) => value.as_str().map(Some).ok_or(SkipReason::Field),
        None => Ok(None),
    }
}

/// A base64url member that must be there.
fn number(entry: Node<'_>, name: &str) -> Result<Vec<u8>, SkipReason> {
    let encoded = text(entry, name)?.ok_or(SkipReason::Field)?;
    let mut bytes = Vec::new();
    decode_base64url(encoded.as_bytes(), &mut bytes).map_err(|_| SkipReason::Field)?;
    Ok(bytes)
}

/// Takes out every key that shares its `kid` with another one for the same algorithm: which one is meant cannot be
/// told. A key that stands there twice in the same words is kept once.
fn drop_duplicates(keys: &mut Vec<VettedKey>, skipped: &mut Vec<SkipReason>) {
    let before = keys.len();
    keys.sort_unstable_by_key(|key| key.digest);
    keys.dedup_by(|left, right| left.digest == right.digest);
    let doubtful: Vec<bool> = keys
        .iter()
        .map(|key| keys.iter().filter(|other| key.overlaps(other)).count() > 1)
        .collect();
    let mut doubtful = doubtful.into_iter();
    keys.retain(|_| !doubtful.next().unwrap_or(true));
    let dropped = before.saturating_sub(keys.len());
    skipped.extend(std::iter::repeat_n(SkipReason::Duplicate, dropped));
}

const fn kind_name(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Ed25519 => "Ed25519",
        KeyKind::P256 => "P-256",
        KeyKind::P384 => "P-384",
        KeyKind::Rsa => "RSA",
    }
}

/// The members of private and symmetric keys (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1, RFC 8037 section 2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Key sets are flat; their bytes are bounded before this.
const JSON_LIMITS: json::Limits = json::Limits {
    depth: 16,
    members: 10_000,
};

#[cfg(test)]
mod tests;
