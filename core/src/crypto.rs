//! Signatures, digests, MACs, sealing and strict base64url: the one module that touches `ring`.
//!
//! Owns [`Algorithm`], [`PublicKey`], [`MacKey`], [`SealKey`], [`Sha256`] and [`decode_base64url`]. Follows RFC 7518 (JWA, sections
//! 3.3 to 3.5 and 6) and RFC 8037 (Ed25519). Never chooses an algorithm from a token, never holds a private key, never
//! makes randomness, and knows no symmetric JWS algorithm at all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use ring::{digest, hmac};
use zeroize::Zeroizing;

mod curve;
mod hash;
mod roca;

pub(crate) use hash::Hash;

/// A JWS signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1). `none` and the HMACs have no variant.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// Ed25519. Ed448 is not supported.
    EdDSA,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// ECDSA over P-384 with SHA-384. A verification costs 0.7 ms, ten times the others.
    Es384,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

impl Algorithm {
    /// Every algorithm, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::EdDSA,
        Self::Es256,
        Self::Es384,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
    ];

    /// The algorithm of this exact `alg` value; `None` for every other, whatever its case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The `alg` value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    /// The kind of key that this algorithm works with.
    pub(crate) const fn key_kind(self) -> KeyKind {
        match self {
            Self::EdDSA => KeyKind::Ed25519,
            Self::Es256 => KeyKind::P256,
            Self::Es384 => KeyKind::P384,
            Self::Ps256 | Self::Ps384 | Self::Ps512 | Self::Rs256 | Self::Rs384 | Self::Rs512 => KeyKind::Rsa,
        }
    }

    /// What `ring` calls this algorithm over RSA; `None` for the others.
    fn rsa_parameters(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::EdDSA | Self::Es256 | Self::Es384 => None,
        }
    }
}

/// The kind of a public key: its `kty` and, where there is one, its `crv`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum KeyKind {
    /// `OKP` with `Ed25519`.
    Ed25519,
    /// `EC` with `P-256`.
    P256,
    /// `EC` with `P-384`.
    P384,
    /// `RSA`.
    Rsa,
}

/// A public key that verifies signatures, of a size that is accepted.
///
/// A point that does not lie on its curve is found by [`Self::check_point`], and by `ring` whenever it verifies: such a
/// key verifies nothing.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey(Key);

#[derive(Clone, Debug)]
enum Key {
    Ed25519([u8; 32]),
    P256([u8; 65]),
    P384([u8; 97]),
    Rsa { n: Box<[u8]>, e: Box<[u8]> },
}

/// Why key material makes no `PublicKey`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PublicKeyError {
    /// A coordinate has not the length of its curve (RFC 7518 section 6.2.1.2).
    #[error("a coordinate has the wrong length for its curve")]
    CoordinateLength,
    /// The numbers are no point of the curve, or one of small order.
    #[error("its numbers are no point of its curve, or one of small order")]
    NotOnCurve,
    /// The RSA exponent is even, below 65537 or longer than 33 bits.
    #[error("the RSA exponent is even, below 65537 or longer than 33 bits")]
    RsaExponent,
    /// The RSA modulus is even, starts with a zero octet (RFC 7518 section 6.3.1.1), or is too short or too long.
    #[error("the RSA modulus is even, has a leading zero octet, or has not 2048 to 8192 bits")]
    RsaModulus,
    /// The RSA modulus has the form that a faulty generator gave it, and can be factored (CVE-2017-15361).
    #[error("the RSA modulus is of a faulty generator and can be factored (ROCA)")]
    RsaRoca,
}

/// The signature is not this key's over this message, or the algorithm is not for this kind of key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signature does not verify")]
pub(crate) struct SignatureInvalid;

impl PublicKey {
    /// An Ed25519 key (RFC 8037 section 2).
    ///
    /// # Errors
    /// [`PublicKeyError::CoordinateLength`] unless `x` has 32 octets.
    pub(crate) fn ed25519(x: &[u8]) -> Result<Self, PublicKeyError> {
        let x = x.try_into().map_err(|_| PublicKeyError::CoordinateLength)?;
        Ok(Self(Key::Ed25519(x)))
    }

    /// A P-256 key.
    ///
    /// # Errors
    /// [`PublicKeyError::CoordinateLength`] unless both coordinates have 32 octets.
    pub(crate) fn p256(x: &[u8], y: &[u8]) -> Result<Self, PublicKeyError> {
        Ok(Self(Key::P256(uncompressed::<32, 65>(x, y)?)))
    }

    /// A P-384 key.
    ///
    /// # Errors
    /// [`PublicKeyError::CoordinateLength`] unless both coordinates have 48 octets.
    pub(crate) fn p384(x: &[u8], y: &[u8]) -> Result<Self, PublicKeyError> {
        Ok(Self(Key::P384(uncompressed::<48, 97>(x, y)?)))
    }

    /// An RSA key: modulus and exponent, big-endian, without leading zeros.
    ///
    /// # Errors
    /// [`PublicKeyError::RsaModulus`] outside 2048 to 8192 bits, [`PublicKeyError::RsaExponent`] for exponents that
    /// FIPS 186-5 does not allow or `ring` does not take, [`PublicKeyError::RsaRoca`] for keys of a faulty generator.
    pub(crate) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, PublicKeyError> {
        let bits = bit_length(n).ok_or(PublicKeyError::RsaModulus)?;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) || !is_odd(n) {
            return Err(PublicKeyError::RsaModulus);
        }
        let bits = bit_length(e).ok_or(PublicKeyError::RsaExponent)?;
        if !(RSA_EXPONENT_BITS_MIN..=RSA_EXPONENT_BITS_MAX).contains(&bits) || !is_odd(e) {
            return Err(PublicKeyError::RsaExponent);
        }
        if roca::is_marked(n) {
            return Err(PublicKeyError::RsaRoca);
        }
        Ok(Self(Key::Rsa {
            n: n.into(),
            e: e.into(),
        }))
    }

    /// The kind of this key.
    pub(crate) const fn kind(&self) -> KeyKind {
        match self.0 {
            Key::Ed25519(_) => KeyKind::Ed25519,
            Key::P256(_) => KeyKind::P256,
            Key::P384(_) => KeyKind::P384,
            Key::Rsa { .. } => KeyKind::Rsa,
        }
    }

    /// Checks that the numbers are a point of the curve that may verify; RSA has none. Costs some 20 us.
    ///
    /// # Errors
    /// [`PublicKeyError::NotOnCurve`].
    pub(crate) fn check_point(&self) -> Result<(), PublicKeyError> {
        let good = match &self.0 {
            Key::Ed25519(x) => curve::is_on_ed25519(x),
            Key::P256([_, point @ ..]) => {
                let (x, y) = point.split_at(32);
                curve::is_on_p256(x, y)
            }
            Key::P384([_, point @ ..]) => {
                let (x, y) = point.split_at(48);
                curve::is_on_p384(x, y)
            }
            Key::Rsa { .. } => true,
        };
        if good { Ok(()) } else { Err(PublicKeyError::NotOnCurve) }
    }

    /// Checks a JWS signature (ECDSA as `r || s` of fixed length, RFC 7518 section 3.4).
    ///
    /// Costs 20 to 50 us, with [`Algorithm::Es384`] 700 us. Allocates nothing.
    ///
    /// # Errors
    /// [`SignatureInvalid`], also when the algorithm is not for this kind of key.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureInvalid> {
        let verified = match (&self.0, algorithm) {
            (Key::Ed25519(x), Algorithm::EdDSA) => {
                UnparsedPublicKey::new(&signature::ED25519, x).verify(message, signature)
            }
            (Key::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Key::P384(point), Algorithm::Es384) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, signature)
            }
            (Key::Rsa { n, e }, _) => {
                let parameters = algorithm.rsa_parameters().ok_or(SignatureInvalid)?;
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Key::Ed25519(_) | Key::P256(_) | Key::P384(_), _) => return Err(SignatureInvalid),
        };
        verified.map_err(|_| SignatureInvalid)
    }
}

/// The key of a message authentication code, HMAC-SHA-256 (RFC 2104); wiped when dropped, printed nowhere.
///
/// The padded key states are derived anew for each code (some 0.1 us), since `ring` could not wipe them.
pub(crate) struct MacKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for MacKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MacKey(..)")
    }
}

impl MacKey {
    /// A key of 32 secret, random bytes.
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The code of `message`.
    pub(crate) fn mac(&self, message: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        fixed(hmac::sign(&key, message).as_ref())
    }

    /// The code of several parts, each with its length in front, so that no two lists of parts collide.
    pub(crate) fn mac_framed(&self, parts: &[&[u8]]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let mut context = hmac::Context::with_key(&key);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            context.update(part);
        }
        fixed(context.sign().as_ref())
    }
}

/// The key of an authenticated encryption, AES-256-GCM (NIST SP 800-38D); wiped when dropped, printed nowhere.
///
/// Deterministic: the nonce is a code of the context and the text, so that one text has one sealed form in one context,
/// no randomness is needed, and a nonce comes again only with the very same text. Two texts share a nonce with a
/// probability of 2^-96 a pair. The round keys are derived anew each time (some 0.2 us), since `ring` could not wipe
/// them.
pub(crate) struct SealKey {
    cipher: Zeroizing<[u8; 32]>,
    nonces: MacKey,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SealKey(..)")
    }
}

/// What was to be opened was not sealed by this key in this context.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it was not sealed by this key in this context")]
pub(crate) struct SealBroken;

impl SealKey {
    /// What sealing adds to a text: a nonce in front and a tag behind.
    pub(crate) const OVERHEAD: usize = NONCE_BYTES.saturating_add(TAG_BYTES);

    /// The key that is derived from 32 secret, random bytes for `purpose`.
    pub(crate) fn derive(secret: [u8; 32], purpose: &[u8]) -> Self {
        let secret = MacKey::new(secret);
        Self {
            cipher: Zeroizing::new(secret.mac_framed(&[purpose, b"cipher"])),
            nonces: MacKey::new(secret.mac_framed(&[purpose, b"nonces"])),
        }
    }

    /// Appends `text`, sealed in `context`.
    ///
    /// # Errors
    /// [`SealBroken`] for texts of more than 64 GiB; `out` is not to be used then.
    pub(crate) fn seal(&self, context: &[u8; 32], text: &[u8], out: &mut Vec<u8>) -> Result<(), SealBroken> {
        let code = self.nonces.mac_framed(&[context, text]);
        let nonce = code.first_chunk::<NONCE_BYTES>().copied().ok_or(SealBroken)?;
        out.extend(nonce);
        let begin = out.len();
        out.extend(text);
        let sealed = out.get_mut(begin..).ok_or(SealBroken)?;
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), sealed)
            .map_err(|_| SealBroken)?;
        out.extend(tag.as_ref());
        Ok(())
    }

    /// Opens what was sealed in `context`, in its place. Allocates nothing.
    ///
    /// # Errors
    /// [`SealBroken`]; `sealed` is not to be used then.
    pub(crate) fn open<'s>(&self, context: &[u8; 32], sealed: &'s mut [u8]) -> Result<&'s [u8], SealBroken> {
        let (nonce, text) = sealed.split_first_chunk_mut::<NONCE_BYTES>().ok_or(SealBroken)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.cipher()?
            .open_in_place(nonce, Aad::from(context), text)
            .map(|text| &*text)
            .map_err(|_| SealBroken)
    }

    fn cipher(&self) -> Result<LessSafeKey, SealBroken> {
        UnboundKey::new(&AES_256_GCM, &*self.cipher)
            .map(LessSafeKey::new)
            .map_err(|_| SealBroken)
    }
}

/// A SHA-256 digest in the making, for text that comes in parts.
#[derive(Clone)]
pub(crate) struct Sha256(digest::Context);

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sha256(..)")
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 {
    /// Adds bytes as they are.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds bytes with their length in front, so that no two lists of parts collide.
    pub(crate) fn update_framed(&mut self, bytes: &[u8]) {
        self.0
            .update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.update(bytes);
    }

    /// The digest.
    pub(crate) fn finish(self) -> [u8; 32] {
        fixed(self.0.finish().as_ref())
    }
}

/// Whether two digests are the same, found in the same time wherever they differ.
pub(crate) fn same_digest(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter()
        .zip(right)
        .fold(0, |seen, (left, right)| seen | (left ^ right))
        == 0
}

/// The SHA-256 digest of `bytes` (FIPS 180-4), such as certificates are named by (RFC 8705).
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    fixed(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Appends `bytes` in lower-case hexadecimal.
pub(crate) fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len().saturating_mul(2));
    for byte in bytes {
        out.extend([hex_digit(byte >> 4), hex_digit(byte & 0x0f)]);
    }
}

/// `bytes` in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [hex_digit(byte >> 4), hex_digit(byte & 0x0f)])
        .map(char::from)
        .collect()
}

/// The text is not base64url in the one form that RFC 7515 allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not base64url without padding in canonical form")]
pub(crate) struct Base64Invalid;

/// Appends what `text` stands for: base64url without padding, line breaks or stray trailing bits (RFC 7515 section 2,
/// RFC 4648 sections 3.5 and 5), so that each byte string has one spelling.
///
/// # Errors
/// [`Base64Invalid`]; `out` then holds what it held before.
pub(crate) fn decode_base64url(text: &[u8], out: &mut Vec<u8>) -> Result<(), Base64Invalid> {
    let length = out.len();
    URL_SAFE_NO_PAD.decode_vec(text, out).map_err(|_| {
        out.truncate(length);
        Base64Invalid
    })
}

/// Decodes into the beginning of `out`, in the one form that [`decode_base64url`] takes, and gives that beginning.
///
/// # Errors
/// [`Base64Invalid`], also for what does not fit.
pub(crate) fn decode_base64url_into<'o>(text: &[u8], out: &'o mut [u8]) -> Result<&'o mut [u8], Base64Invalid> {
    let length = URL_SAFE_NO_PAD.decode_slice(text, out).map_err(|_| Base64Invalid)?;
    out.get_mut(..length).ok_or(Base64Invalid)
}

/// `bytes` in base64url without padding.
pub(crate) fn encode_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The uncompressed form of a point (SEC 1 section 2.3.3): 4, x, y.
fn uncompressed<const COORDINATE: usize, const POINT: usize>(
    x: &[u8],
    y: &[u8],
) -> Result<[u8; POINT], PublicKeyError> {
    if x.len() != COORDINATE || y.len() != COORDINATE {
        return Err(PublicKeyError::CoordinateLength);
    }
    let mut point = [0; POINT];
    for (slot, byte) in point.iter_mut().zip([&4].into_iter().chain(x).chain(y)) {
        *slot = *byte;
    }
    Ok(point)
}

/// Bits of a big-endian number without leading zero octets; `None` when it has one, or is empty.
fn bit_length(number: &[u8]) -> Option<usize> {
    let first = number.first().filter(|first| **first != 0)?;
    let zeros = usize::try_from(first.leading_zeros()).ok()?;
    number.len().checked_mul(8)?.checked_sub(zeros)
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last & 1 == 1)
}

/// A digest of `ring` as an array; it has 32 bytes by its algorithm.
fn fixed(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    for (slot, byte) in array.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    array
}

const fn hex_digit(value: u8) -> u8 {
    if value < 10 {
        b'0'.wrapping_add(value)
    } else {
        b'a'.wrapping_add(value).wrapping_sub(10)
    }
}

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const RSA_BITS_MIN: usize = 2_048;
const RSA_BITS_MAX: usize = 8_192;
/// 17 bits and odd: 65537 is the smallest such number (FIPS 186-5 section 5.4).
const RSA_EXPONENT_BITS_MIN: usize = 17;
/// The longest that `ring` takes.
const RSA_EXPONENT_BITS_MAX: usize = 33;

#[cfg(test)]
mod tests;
