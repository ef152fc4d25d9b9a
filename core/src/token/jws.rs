//! The compact form of a JWS (RFC 7515 section 7.1) and its protected header.
//!
//! Owns the split, the strict decoding and the `typ` rules. Never looks for a key: `jwk`, `jku`, `x5u`, `x5c` and
//! `x5t` are not read at all (RFC 8725 section 3.10).

use crate::crypto::{Algorithm, decode_base64url};
use crate::denial::{Denial, DenyReason};
use crate::json::{self, Node};
use crate::token::issuer::TokenTypes;

/// A token in three parts, none of them empty.
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
    /// Splits a token at its two dots.
    pub(super) fn split(text: &'t str) -> Result<Self, Denial> {
        let parts = text.rsplit_once('.').and_then(|(input, signature)| {
            let (header, payload) = input.split_once('.')?;
            Some((input, header, payload, signature))
        });
        match parts {
            Some((input, header, payload, signature))
                if !header.is_empty() && !payload.is_empty() && !signature.is_empty() && !payload.contains('.') =>
            {
                Ok(Self {
                    input,
                    header,
                    payload,
                    signature,
                })
            }
            _ => Err(malformed("the token has not three parts")),
        }
    }

    /// What is signed: header and payload as they came.
    pub(super) const fn input(&self) -> &'t [u8] {
        self.input.as_bytes()
    }

    /// The parts as bytes.
    pub(super) fn decode(&self) -> Result<Decoded, Denial> {
        let decode = |part: &str| {
            let mut bytes = Vec::new();
            match decode_base64url(part.as_bytes(), &mut bytes) {
                Ok(()) => Ok(bytes),
                Err(_) => Err(malformed("a part of the token is not strict base64url")),
            }
        };
        Ok(Decoded {
            header: decode(self.header)?,
            payload: decode(self.payload)?,
            signature: decode(self.signature)?,
        })
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
        let algorithm = Algorithm::from_name(name)
            .ok_or_else(|| Denial::new(DenyReason::TokenAlgorithm, "the token's algorithm is not supported"))?;
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
pub(super) fn check_type(header: &Header, claims: Node<'_>, types: TokenTypes) -> Result<(), Denial> {
    let another = |operator| Err(Denial::new(DenyReason::TokenType, operator));
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
    if FOREIGN_CLAIMS.iter().any(|name| claims.member(name).is_some()) {
        return another("the token has claims of an ID token or of an event");
    }
    // Keycloak says in the claim `typ` what the header does not.
    match claims.member("typ") {
        Some(kind) if !kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer")) => {
            another("the token's claim `typ` is not `Bearer`")
        }
        _ => Ok(()),
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

/// Claims of ID tokens (OpenID Connect Core 2 and 3.3.2.11) and of security events (RFC 8417).
const FOREIGN_CLAIMS: [&str; 5] = ["at_hash", "c_hash", "events", "nonce", "s_hash"];

/// Header and claims are small: their bytes are bounded by the token's.
pub(super) const JSON_LIMITS: json::Limits = json::Limits {
    depth: 32,
    members: 4_096,
};
