//! The one credential of a request (RFC 6750 section 2.1, RFC 9110 section 11.4).
//!
//! Owns [`Credential`] and [`BearerToken`]. A token is taken from the `Authorization` field alone: never from a query,
//! a body, a cookie or another field. Never looks into a token, never prints one.

use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;

/// What a client shows to prove who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Credential<'r> {
    /// A bearer token.
    Bearer(BearerToken<'r>),
}

/// A bearer token as it came: the characters of `token68`, unchecked beyond that. Printed by nothing.
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

/// Finds the credential of a request.
///
/// # Errors
/// [`DenyReason::QueryPresent`] for any query, since a token there ends in every log on the way;
/// [`DenyReason::CredentialMissing`] without an `Authorization` field; [`DenyReason::CredentialRepeated`] for two of
/// them, or one beside a `DPoP` proof; [`DenyReason::CredentialScheme`] for another scheme than `Bearer` (in any case,
/// RFC 9110 section 11.1), and for a value that is not one token.
pub(crate) fn find<'r>(head: &RequestHead<'r>) -> Result<Credential<'r>, Denial> {
    if head.has_query {
        return Err(refused(DenyReason::QueryPresent, "the target has a query"));
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
    if head.headers.contains_key(&DPOP) {
        return Err(refused(
            DenyReason::CredentialRepeated,
            "a DPoP proof beside an authorization field: sender-bound tokens are not judged",
        ));
    }
    let Ok(value) = value.to_str() else {
        return Err(scheme("the authorization field holds bytes outside visible ASCII"));
    };
    let Some((name, token)) = value.trim_matches([' ', '\t']).split_once(' ') else {
        return Err(scheme("the authorization field has no token"));
    };
    if !name.eq_ignore_ascii_case("Bearer") {
        return Err(scheme("the authorization scheme is not Bearer"));
    }
    match BearerToken::parse(token.trim_start_matches(' ')) {
        Some(token) => Ok(Credential::Bearer(token)),
        None => Err(scheme("the authorization field does not hold one token")),
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
