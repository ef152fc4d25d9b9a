//! The claims of a token whose signature stands (RFC 7519 section 4.1, RFC 9068 section 2.2).
//!
//! Owns the reading of claims: every claim is of its one type or the token is refused, and a claim of the wrong type is
//! never taken for an absent one. Time and audience are checked elsewhere, on every use.

use std::sync::Arc;

use crate::denial::{Denial, DenyReason};
use crate::json::{Document, Kind, Node};
use crate::jwks::KeySet;
use crate::token::sender::Confirmation;
use crate::token::verified::{Actor, Claims};
use crate::token::{IdentityForm, Issuer, TokenDigest, VerifiedToken};

/// Who says what is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ClaimsSource {
    /// The issuer's answer about a token (RFC 7662 section 2.2): `sub` may be absent, for then the client is the
    /// subject, and `iat` may be, for the answer is of now.
    Introspection,
    /// The payload of a token that the issuer signed.
    Jwt,
}

/// Reads the claims of a token that `issuer` signed.
pub(super) fn read(
    document: Document<'_>,
    issuer: &Arc<Issuer>,
    digest: TokenDigest,
    keys: &KeySet,
) -> Result<VerifiedToken, Denial> {
    let claims = read_claims(document.root(), document.text(), issuer, ClaimsSource::Jwt)?;
    Ok(VerifiedToken::new(Arc::clone(issuer), digest, keys, claims))
}

/// Reads the claims in `root`, the root of the document `text`, which is `issuer`'s own word.
///
/// # Errors
/// [`DenyReason::TokenLifetime`] without `exp`, [`DenyReason::TokenSenderBound`] with a `cnf` that is not judged, and
/// [`DenyReason::TokenClaims`] for what is missing or of the wrong type.
pub(super) fn read_claims(root: Node<'_>, text: &str, issuer: &Issuer, source: ClaimsSource) -> Result<Claims, Denial> {
    let Times {
        expires,
        not_before,
        issued_at,
    } = times(root, source)?;
    let client_id = client_id(root)?;
    let subject = match (self::text(root, "sub")?, source) {
        (Some(subject), _) => Arc::from(subject),
        (None, ClaimsSource::Introspection) => Arc::clone(&client_id),
        (None, ClaimsSource::Jwt) => return Err(wrong("`sub` is missing")),
    };
    Ok(Claims {
        subject,
        client_id,
        scopes: scopes(root)?,
        audiences: audiences(root)?,
        expires,
        not_before,
        issued_at,
        jti: self::text(root, "jti")?.map(Box::from),
        acr: self::text(root, "acr")?.map(Box::from),
        amr: strings(root.member("amr"), "`amr` is no array of strings")?,
        auth_time: time(root, "auth_time")?,
        actors: actors(root, issuer)?,
        human: human(root, issuer)?,
        groups: strings(
            at(root, issuer.groups_claim()),
            "the claim of groups is no array of strings",
        )?,
        roles: strings(
            at(root, issuer.roles_claim()),
            "the claim of roles is no array of strings",
        )?,
        confirmation: Confirmation::read(root)?,
        text: Box::from(text),
    })
}

/// When a token may be used.
struct Times {
    expires: u64,
    not_before: Option<u64>,
    issued_at: Option<u64>,
}

/// `exp`, `nbf` and `iat`. A token without `iat` is as old as its `nbf` says; one without either could have been valid
/// for ever, so only an answer of now may be so.
fn times(root: Node<'_>, source: ClaimsSource) -> Result<Times, Denial> {
    let times = Times {
        expires: time(root, "exp")?.ok_or_else(|| {
            Denial::new(
                DenyReason::TokenLifetime,
                "the token has no `exp`: it is a static secret",
            )
        })?,
        not_before: time(root, "nbf")?,
        issued_at: time(root, "iat")?,
    };
    match times.issued_at.or(times.not_before) {
        Some(start) if times.expires <= start => Err(wrong("`exp` is not after `iat` or `nbf`")),
        None if source == ClaimsSource::Jwt => Err(wrong("`iat` and `nbf` are missing")),
        Some(_) | None => Ok(times),
    }
}

/// A string claim that is not empty; `None` when it is absent.
fn text<'s>(root: Node<'s>, name: &str) -> Result<Option<&'s str>, Denial> {
    match root.member(name) {
        Some(value) => match value.as_str() {
            Some(text) if !text.is_empty() => Ok(Some(text)),
            _ => Err(wrong("a text claim is empty or no string")),
        },
        None => Ok(None),
    }
}

/// A time claim in whole seconds since the epoch; `None` when it is absent.
fn time(root: Node<'_>, name: &str) -> Result<Option<u64>, Denial> {
    match root.member(name) {
        Some(value) => match value.as_u64() {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(wrong("a time claim is no whole number of seconds")),
        },
        None => Ok(None),
    }
}

/// An array of strings that are not empty; no strings when it is absent.
fn strings(claim: Option<Node<'_>>, operator: &'static str) -> Result<Box<[Box<str>]>, Denial> {
    let Some(claim) = claim else {
        return Ok(Box::default());
    };
    if claim.kind() != Kind::Array {
        return Err(wrong(operator));
    }
    claim
        .elements()
        .map(|element| match element.as_str() {
            Some(text) if !text.is_empty() => Ok(Box::from(text)),
            _ => Err(wrong(operator)),
        })
        .collect()
}

/// `aud`: one string, or an array with at least one (RFC 7519 section 4.1.3).
fn audiences(root: Node<'_>) -> Result<Box<[Box<str>]>, Denial> {
    let Some(claim) = root.member("aud") else {
        return Err(wrong("`aud` is missing"));
    };
    let audiences = match claim.as_str() {
        Some(one) if !one.is_empty() => Box::from([Box::from(one)]),
        _ => strings(Some(claim), "`aud` is neither a string nor an array of strings")?,
    };
    if audiences.is_empty() {
        return Err(wrong("`aud` is empty"));
    }
    Ok(audiences)
}

/// `client_id` (RFC 8693 section 4.3) or `azp`; both only when they agree.
fn client_id(root: Node<'_>) -> Result<Arc<str>, Denial> {
    match (text(root, "client_id")?, text(root, "azp")?) {
        (Some(client), Some(party)) if client != party => Err(wrong("`client_id` and `azp` differ")),
        (Some(client), _) | (None, Some(client)) => Ok(Arc::from(client)),
        (None, None) => Err(wrong("`client_id` and `azp` are missing")),
    }
}

/// The scopes, sorted, each once: `scope` as a string (RFC 8693 section 4.2), or `scp` as a string or an array; both
/// only when they agree.
fn scopes(root: Node<'_>) -> Result<Box<[Box<str>]>, Denial> {
    let split = |text: &str| {
        let mut scopes: Vec<Box<str>> = text
            .split(' ')
            .filter(|scope| !scope.is_empty())
            .map(Box::from)
            .collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes.into_boxed_slice()
    };
    let scope = match root.member("scope") {
        Some(claim) => Some(split(claim.as_str().ok_or_else(|| wrong("`scope` is no string"))?)),
        None => None,
    };
    let scp = match root.member("scp") {
        Some(claim) => match claim.as_str() {
            Some(text) => Some(split(text)),
            None => {
                let listed = strings(Some(claim), "`scp` is neither a string nor an array of strings")?;
                if listed.iter().any(|scope| scope.contains(' ')) {
                    return Err(wrong("`scp` holds a scope with a space"));
                }
                Some(split(&listed.join(" ")))
            }
        },
        None => None,
    };
    let scopes = match (scope, scp) {
        (Some(scope), Some(scp)) if scope != scp => return Err(wrong("`scope` and `scp` differ")),
        (Some(scopes), _) | (None, Some(scopes)) => scopes,
        (None, None) => Box::default(),
    };
    if scopes.iter().all(|scope| scope.bytes().all(is_scope_byte)) {
        Ok(scopes)
    } else {
        Err(wrong("a scope holds bytes that no scope has"))
    }
}

/// The actors of `act`, the present one first (RFC 8693 section 4.1). Their nesting is bounded by the JSON limits.
fn actors(root: Node<'_>, issuer: &Issuer) -> Result<Box<[Actor]>, Denial> {
    let mut actors = Vec::new();
    let mut claim = root.member("act");
    while let Some(act) = claim {
        let subject = match act.kind() {
            Kind::Object => text(act, "sub")?,
            _ => None,
        };
        let subject = subject.ok_or_else(|| wrong("`act` is no object with a `sub`"))?;
        let named = text(act, "iss")?.map(Arc::from);
        actors.push(Actor {
            subject: Arc::from(subject),
            issuer: named.unwrap_or_else(|| Arc::clone(issuer.url())),
        });
        claim = act.member("act");
    }
    Ok(actors.into_boxed_slice())
}

/// The human that the issuer's form names in a claim of its own.
fn human(root: Node<'_>, issuer: &Issuer) -> Result<Option<Arc<str>>, Denial> {
    let IdentityForm::HumanClaim(name) = issuer.identity() else {
        return Ok(None);
    };
    match at(root, name) {
        Some(claim) => match claim.as_str() {
            Some(human) if !human.is_empty() => Ok(Some(Arc::from(human))),
            _ => Err(Denial::new(
                DenyReason::IdentityUnbound,
                "the claim of the human is empty or no string",
            )),
        },
        None => Ok(None),
    }
}

/// The claim of this name, or at this JSON Pointer through objects (RFC 6901) when it starts with `/`.
fn at<'s>(root: Node<'s>, claim: &str) -> Option<Node<'s>> {
    match claim.strip_prefix('/') {
        None => root.member(claim),
        Some(pointer) => pointer.split('/').try_fold(root, |node, step| {
            node.member(&step.replace("~1", "/").replace("~0", "~"))
        }),
    }
}

/// The bytes of a scope (RFC 6749 section 3.3).
const fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

#[cold]
#[inline(never)]
fn wrong(operator: &'static str) -> Denial {
    Denial::new(DenyReason::TokenClaims, operator)
}
