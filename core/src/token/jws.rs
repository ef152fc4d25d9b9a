//! The compact form of a JWS (RFC 7515 section 7.1) and its protected header.
//!
//! Owns the split, the strict decoding and the rules of what is an access token. Never looks for a key: `jwk`, `jku`, `x5u`, `x5c` and
//! `x5t` are not read at all (RFC 8725 section 3.10).

use crate::crypto::{Algorithm, decode_base64url};
use crate::denial::{Denial, DenyReason};
use crate::json::{self, Kind, Node};
use crate::token::Issuer;
use crate::token::claims::{self, ClaimsSource};

/// A token in three parts.
pub(super) struct Signed<'t> {
    input: &'t str,
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
}

/// The three parts as bytes.
pub(super) struct Decoded {
    pub(super) header: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// What the header says, as far as it is heard.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Box<str>>,
    media_type: MediaType,
}

/// The header's `typ`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum MediaType {
    Absent,
    AccessToken,
    Introspection,
    Jwt,
    Other,
}

impl<'t> Signed<'t> {
    /// Splits a token at its two dots into three parts, none of them empty: a token has claims.
    pub(super) fn split(text: &'t str) -> Result<Self, Denial> {
        match Self::split_any(text)? {
            signed if signed.payload.is_empty() => Err(malformed(THREE_PARTS)),
            signed => Ok(signed),
        }
    }

    /// Splits a JWS at its two dots: its payload may be empty, its header and its signature may not.
    pub(super) fn split_any(text: &'t str) -> Result<Self, Denial> {
        let parts = text.rsplit_once('.').and_then(|(input, signature)| {
            let (header, payload) = input.split_once('.')?;
            Some((input, header, payload, signature))
        });
        match parts {
            Some((input, header, payload, signature))
                if !header.is_empty() && !signature.is_empty() && !payload.contains('.') =>
            {
                Ok(Self {
                    input,
                    header,
                    payload,
                    signature,
                })
            }
            _ => Err(malformed(THREE_PARTS)),
        }
    }

    /// What is signed: header and payload as they came.
    pub(super) const fn input(&self) -> &'t [u8] {
        self.input.as_bytes()
    }

    /// The parts as bytes.
    pub(super) fn decode(&self) -> Result<Decoded, Denial> {
        Ok(Decoded {
            header: decode_part(self.header)?,
            payload: decode_part(self.payload)?,
            signature: decode_part(self.signature)?,
        })
    }
}

/// The bytes of one part.
pub(super) fn decode_part(part: &str) -> Result<Vec<u8>, Denial> {
    let mut bytes = Vec::new();
    match decode_base64url(part.as_bytes(), &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(malformed("a part of the token is not strict base64url")),
    }
}

impl Header {
    /// Reads a protected header.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Denial> {
        let mut scratch = json::Scratch::default();
        let document = json::parse(bytes, &mut scratch, JSON_LIMITS)
            .map_err(|_| malformed("the token's header is not strict JSON"))?;
        let root = document.root();
        // Every critical extension is unknown here, and so is an empty or malformed list of them.
        if root.member("crit").is_some() {
            return Err(malformed("the token has critical header parameters"));
        }
        let name = text(root, "alg")?.ok_or_else(|| malformed("the token's header has no `alg`"))?;
        let algorithm =
            Algorithm::from_name(name).ok_or_else(|| Denial::new(DenyReason::TokenAlgorithm, unsupported(name)))?;
        let media_type = match text(root, "typ")? {
            None => MediaType::Absent,
            Some(name) if name.eq_ignore_ascii_case("at+jwt") => MediaType::AccessToken,
            Some(name) if name.eq_ignore_ascii_case("application/at+jwt") => MediaType::AccessToken,
            Some(name) if name.eq_ignore_ascii_case("jwt") => MediaType::Jwt,
            Some(name) if name.eq_ignore_ascii_case("token-introspection+jwt") => MediaType::Introspection,
            Some(_) => MediaType::Other,
        };
        Ok(Self {
            algorithm,
            kid: text(root, "kid")?.map(Box::from),
            media_type,
        })
    }

    /// Whether this is an issuer's answer about a token (RFC 9701 section 5), which is no token itself.
    pub(super) fn is_introspection(&self) -> bool {
        self.media_type == MediaType::Introspection
    }
}

/// Checks that a token is an access token (RFC 9068 section 4, RFC 8725 section 3.11).
///
/// A token that does not call itself one in its header must not look like another either: ID tokens have claims of
/// their own, and their audience is the client that asked for them.
pub(super) fn check_type(header: &Header, root: Node<'_>, issuer: &Issuer) -> Result<(), Denial> {
    let another = |operator| Err(Denial::new(DenyReason::TokenType, operator));
    let types = issuer.token_types();
    let accepted = match header.media_type {
        MediaType::Absent => types.absent,
        MediaType::AccessToken => types.access_token,
        MediaType::Jwt => types.jwt,
        MediaType::Introspection | MediaType::Other => false,
    };
    if !accepted {
        return another("the token's `typ` is not accepted from its issuer");
    }
    if header.media_type == MediaType::AccessToken {
        return Ok(());
    }
    if FOREIGN_CLAIMS.iter().any(|name| root.member(name).is_some()) {
        return another("the token has claims of an ID token or of an event");
    }
    let client = claims::client(root, issuer.claims(), ClaimsSource::Jwt)?;
    let is_client = |audience: Node<'_>| audience.as_str() == Some(client);
    let own = root.member("aud").is_some_and(|audience| match audience.kind() {
        Kind::Array => 0 < audience.elements().count() && audience.elements().all(is_client),
        _ => is_client(audience),
    });
    if own {
        return another("the token is for its own client, as an ID token is");
    }
    Ok(())
}

/// Checks that a token whose issuer alone judges it does not look like another kind: ID tokens, events and answers.
pub(super) fn check_foreign(header: &Header, root: Node<'_>) -> Result<(), Denial> {
    let foreign = matches!(header.media_type, MediaType::Introspection | MediaType::Other)
        || FOREIGN_CLAIMS.iter().any(|name| root.member(name).is_some());
    if foreign {
        return Err(Denial::new(
            DenyReason::TokenType,
            "the token looks like an ID token, an event or another kind",
        ));
    }
    Ok(())
}

/// Why an algorithm is none of ours; by name for those that somebody may want.
#[cold]
fn unsupported(name: &str) -> &'static str {
    match name {
        "none" => "`none` is no signature",
        "HS256" | "HS384" | "HS512" => "HMACs are not supported: whoever verifies them could sign as well",
        "ES512" => "ES512 is not supported: `ring` has no P-521; ES256, ES384 and EdDSA are",
        "ES256K" => "ES256K is not supported: `ring` has no secp256k1; ES256, ES384 and EdDSA are",
        "ML-DSA-44" => "ML-DSA-44 is not supported: `ring` has no ML-DSA; ES256, ES384 and EdDSA are",
        "ML-DSA-65" => "ML-DSA-65 is not supported: `ring` has no ML-DSA; ES256, ES384 and EdDSA are",
        "ML-DSA-87" => "ML-DSA-87 is not supported: `ring` has no ML-DSA; ES256, ES384 and EdDSA are",
        "Ed25519" => "the algorithm `Ed25519` is taken under its name `EdDSA` alone",
        _ => "the token's algorithm is not supported",
    }
}

/// A string parameter of the header; `None` when it is absent.
fn text<'s>(root: Node<'s>, name: &str) -> Result<Option<&'s str>, Denial> {
    match root.member(name) {
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(text)),
            None => Err(malformed("a parameter of the token's header is no string")),
        },
        None => Ok(None),
    }
}

#[cold]
#[inline(never)]
fn malformed(operator: &'static str) -> Denial {
    Denial::new(DenyReason::TokenMalformed, operator)
}

const THREE_PARTS: &str = "the token has not three parts";

/// Claims of ID tokens (OpenID Connect Core 2 and 3.3.2.11) and of security events (RFC 8417).
const FOREIGN_CLAIMS: [&str; 5] = ["at_hash", "c_hash", "events", "nonce", "s_hash"];

/// Header and claims are small: their bytes are bounded by the token's.
pub(super) const JSON_LIMITS: json::Limits = json::Limits {
    depth: 32,
    members: 4_096,
};
