//! The one credential of a request (RFC 6750 section 2.1, RFC 9449 section 7.1, RFC 9110 section 11.4).
//!
//! Owns [`Credential`], [`BearerToken`] and [`Proof`]. A token is taken from the `Authorization` field alone: never from
//! a query, a body, a cookie or another field. Never looks into a token or a proof, never prints one.

use std::sync::Arc;

use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::denial::{Denial, DenyReason};
use crate::head::{ClientCertificate, RequestHead};

/// What a client shows to prove who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Credential<'r> {
    /// A bearer token.
    Bearer(BearerToken<'r>),
    /// No token: the certificate of the connection alone (RFC 8446 section 4.4.2).
    ClientCertificate(&'r ClientCertificate),
    /// A token with the proof that the client holds the key that it is bound to.
    Dpop {
        /// The access token.
        token: BearerToken<'r>,
        /// The proof.
        proof: Proof<'r>,
    },
}

/// A character of a scope or of a URI in a challenge (RFC 6749 appendix A, NQCHAR): visible ASCII without the two that a
/// quoted string would escape.
pub(crate) const fn is_nqchar(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

impl<'r> Credential<'r> {
    /// The access token, when there is one.
    #[cfg(test)]
    pub(crate) const fn token(&self) -> Option<BearerToken<'r>> {
        match self {
            Self::Bearer(token) | Self::Dpop { token, .. } => Some(*token),
            Self::ClientCertificate(_) => None,
        }
    }

    /// The proof of possession, when one came with the token.
    pub(crate) const fn proof(&self) -> Option<Proof<'r>> {
        match self {
            Self::Bearer(_) | Self::ClientCertificate(_) => None,
            Self::Dpop { proof, .. } => Some(*proof),
        }
    }
}

/// An access token as it came: the characters of `token68`, unchecked beyond that. Printed by nothing.
#[derive(Clone, Copy)]
pub(crate) struct BearerToken<'r>(&'r str);

impl std::fmt::Debug for BearerToken<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("BearerToken(..)")
    }
}

impl<'r> BearerToken<'r> {
    /// The token of this text; `None` unless it is one `token68` (RFC 9110 section 11.2).
    pub(crate) fn parse(text: &'r str) -> Option<Self> {
        let bare = text.trim_end_matches('=');
        let token68 = !bare.is_empty() && bare.bytes().all(is_token68);
        token68.then_some(Self(text))
    }

    /// The token's text, for verification only.
    pub(crate) const fn as_str(self) -> &'r str {
        self.0
    }
}

/// A proof of possession as it came, unchecked (RFC 9449 section 4). Printed by nothing: until it is too old it serves
/// whoever has it.
#[derive(Clone, Copy)]
pub(crate) struct Proof<'r>(&'r str);

impl std::fmt::Debug for Proof<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Proof(..)")
    }
}

impl<'r> Proof<'r> {
    /// The proof in this text, for tests of what judges it.
    #[cfg(test)]
    pub(crate) const fn of(text: &'r str) -> Self {
        Self(text)
    }

    /// The proof's text, for verification only.
    pub(crate) const fn as_str(self) -> &'r str {
        self.0
    }
}

/// Whether the request names the scheme of bound tokens, whatever else is wrong with it: a client that does is
/// answered in that scheme.
pub(crate) fn names_dpop(head: &RequestHead<'_>) -> bool {
    head.headers.get_all(AUTHORIZATION).iter().any(|value| {
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"DPoP"))
    })
}

/// Finds the credential of a request, whose query may hold nothing but `query_names`.
///
/// # Errors
/// [`DenyReason::QueryPresent`] for any other query, since a token there ends in every log on the way;
/// [`DenyReason::ApiKeyPresent`] for a field that brings an API key, also beside a token;
/// [`DenyReason::CredentialMissing`] without an `Authorization` field; [`DenyReason::CredentialRepeated`] for two of
/// them, or a bearer token beside a `DPoP` proof; [`DenyReason::CredentialScheme`] for another scheme than `Bearer` and
/// `DPoP` (in any case, RFC 9110 section 11.1), and for a value that is not one token;
/// [`DenyReason::DpopProofInvalid`] for the scheme `DPoP` without a proof, or with two (RFC 9449 section 4.3).
pub(crate) fn find<'r>(head: &RequestHead<'r>, query_names: &[Arc<str>]) -> Result<Credential<'r>, Denial> {
    if head.query.is_some_and(|query| !is_harmless(query, query_names)) {
        return Err(refused(DenyReason::QueryPresent, "the target has a query"));
    }
    if head.headers.keys().any(is_api_key) {
        return Err(refused(DenyReason::ApiKeyPresent, "a field brings an API key"));
    }
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(refused(DenyReason::CredentialMissing, "no authorization field"));
    };
    if values.next().is_some() {
        return Err(refused(
            DenyReason::CredentialRepeated,
            "more than one authorization field",
        ));
    }
    let Ok(value) = value.to_str() else {
        return Err(scheme("the authorization field holds bytes outside visible ASCII"));
    };
    let Some((name, token)) = value.trim_matches([' ', '\t']).split_once(' ') else {
        return Err(scheme("the authorization field has no token"));
    };
    let bound = name.eq_ignore_ascii_case("DPoP");
    if !bound && !name.eq_ignore_ascii_case("Bearer") {
        return Err(scheme("the authorization scheme is neither Bearer nor DPoP"));
    }
    let Some(token) = BearerToken::parse(token.trim_start_matches(' ')) else {
        return Err(scheme("the authorization field does not hold one token"));
    };
    if bound {
        return proof(head).map(|proof| Credential::Dpop { token, proof });
    }
    if head.headers.contains_key(&DPOP) {
        return Err(refused(
            DenyReason::CredentialRepeated,
            "a DPoP proof beside a bearer token: its scheme is DPoP",
        ));
    }
    Ok(Credential::Bearer(token))
}

/// The certificate of a request that `missing` was said of, where a certificate alone may stand for a credential.
///
/// # Errors
/// `missing`, for another reason than an absent credential, without a certificate, and beside a proof of possession:
/// that belongs to a token which did not come.
pub(crate) fn certificate_alone<'r>(head: &RequestHead<'r>, missing: Denial) -> Result<Credential<'r>, Denial> {
    match head.certificate {
        Some(certificate) if missing.reason == DenyReason::CredentialMissing && !head.headers.contains_key(&DPOP) => {
            Ok(Credential::ClientCertificate(certificate))
        }
        _ => Err(missing),
    }
}

/// Whether a query is made of parameters of these names alone, each at most once. Compares names as they were sent, so
/// that no escape makes one of another; never reads a value.
fn is_harmless(query: &str, names: &[Arc<str>]) -> bool {
    let name_of = |pair: &'_ str| pair.split_once('=').map_or(pair.len(), |(name, _)| name.len());
    query.split('&').enumerate().all(|(place, pair)| {
        let name = pair.get(..name_of(pair)).unwrap_or_default();
        let again = query
            .split('&')
            .take(place)
            .any(|earlier| earlier.get(..name_of(earlier)) == Some(name));
        !again && names.iter().any(|known| **known == *name)
    })
}

/// Whether the name of a query parameter says that its value is a secret, in any spelling: no configuration may let it
/// in.
pub(crate) fn names_secret(name: &str) -> bool {
    const PARTS: [&str; 11] = [
        "apikey",
        "assertion",
        "authent",
        "authori",
        "bearer",
        "credential",
        "jwt",
        "passw",
        "secret",
        "signature",
        "token",
    ];
    const WORDS: [&str; 11] = [
        "auth", "code", "key", "oauth", "pass", "pin", "pwd", "session", "sid", "sig", "sign",
    ];
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_lowercase())
        .collect();
    let mut words = name.split(['-', '_', '.', '~']);
    plain.ends_with("key")
        || PARTS.iter().any(|part| plain.contains(part))
        || words.any(|word| WORDS.iter().any(|secret| word.eq_ignore_ascii_case(secret)))
}

/// Whether a field of this name is how API keys are sent: one secret for everybody, which names nobody.
fn is_api_key(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "access-token"
            | "access_token"
            | "api-key"
            | "api-token"
            | "api_key"
            | "api_token"
            | "apikey"
            | "auth-token"
            | "ocp-apim-subscription-key"
            | "x-access-token"
            | "x-api-key"
            | "x-api-secret"
            | "x-api-token"
            | "x-api_key"
            | "x-apikey"
            | "x-auth-key"
            | "x-auth-token"
            | "x-functions-key"
            | "x-goog-api-key"
            | "x-secret-key"
            | "x_api_key"
    )
}

/// The one proof of a request.
fn proof<'r>(head: &RequestHead<'r>) -> Result<Proof<'r>, Denial> {
    let invalid = |operator| Err(refused(DenyReason::DpopProofInvalid, operator));
    let mut values = head.headers.get_all(&DPOP).iter();
    let Some(value) = values.next() else {
        return invalid("the scheme is DPoP and no proof came");
    };
    if values.next().is_some() {
        return invalid("more than one DPoP proof");
    }
    match value.to_str() {
        Ok(text) => Ok(Proof(text.trim_matches([' ', '\t']))),
        Err(_) => invalid("the DPoP proof holds bytes outside visible ASCII"),
    }
}

const fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

#[cold]
#[inline(never)]
fn scheme(operator: &'static str) -> Denial {
    Denial::new(DenyReason::CredentialScheme, operator)
}

#[cold]
#[inline(never)]
fn refused(reason: DenyReason, operator: &'static str) -> Denial {
    Denial::new(reason, operator)
}

/// The field of a DPoP proof (RFC 9449 section 4.1).
static DPOP: HeaderName = HeaderName::from_static("dpop");

#[cfg(test)]
mod tests;
