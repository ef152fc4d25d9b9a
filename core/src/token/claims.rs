//! The claims of a token whose signature stands (RFC 7519 section 4.1, RFC 9068 section 2.2).
//!
//! Owns the reading of claims: every claim is of its one type or the token is refused, and a claim of the wrong type is
//! never taken for an absent one. Time and audience are checked elsewhere, on every use.

use std::sync::Arc;

use crate::credential::is_nqchar;
use crate::denial::{Denial, DenyReason};
use crate::json::{Document, Kind, Node};
use crate::jwks::KeySet;
use crate::token::mapping::{ClaimMap, ClaimPath, MarkPath, PathBlocked};
use crate::token::sender::Confirmation;
use crate::token::verified::{Actor, Claims, MayAct};
use crate::token::{Issuer, RolesFrom, ScopeForm, TokenDigest, TokenTenant, VerifiedToken, is_tenant};

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
/// [`DenyReason::TokenType`] for another kind of token, [`DenyReason::TenantForeign`] when the claim of the tenant names none, [`DenyReason::TokenLifetime`] without `exp`, [`DenyReason::TokenSenderBound`] with a `cnf` that is not judged, and
/// [`DenyReason::TokenClaims`] for what is missing or of the wrong type.
pub(super) fn read_claims(root: Node<'_>, text: &str, issuer: &Issuer, source: ClaimsSource) -> Result<Claims, Denial> {
    check_kind(root, source)?;
    let Times {
        expires,
        not_before,
        issued_at,
    } = times(root, source)?;
    let map = issuer.claims();
    let client_id: Arc<str> = Arc::from(client(root, map, source)?);
    let subject = subject(root, map, &client_id, source)?;
    let clients_own = subject == client_id || is_marked(root, map, &client_id)?;
    // Where roles come from elsewhere, the token's are nobody's, and may be as many as they like.
    let of_token = issuer.roles_from() == RolesFrom::Token;
    Ok(Claims {
        subject,
        client_id,
        clients_own,
        scopes: scopes(root, map, source)?,
        audiences: audiences(root, map)?,
        expires,
        not_before,
        issued_at,
        jti: self::text(root, "jti")?.map(Box::from),
        session: self::text(root, "sid")?.map(Box::from),
        acr: self::text(root, "acr")?.map(Box::from),
        amr: strings(root.member("amr"), "`amr` is no array of strings")?,
        auth_time: time(root, "auth_time")?,
        actors: actors(root, issuer)?,
        may_act: may_act(root, issuer)?,
        human: human(root, map)?,
        tenant: tenant(root, issuer)?,
        groups: if of_token { groups(root, map)? } else { Box::default() },
        roles: if of_token { roles(root, map)? } else { Box::default() },
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
    root.member(name).map(one).transpose()
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

/// Checks that what is read does not call itself something else than an access token: Keycloak, Cognito and others
/// say in a claim what the header does not, and an issuer tells of refresh tokens, too, that they are active.
fn check_kind(root: Node<'_>, source: ClaimsSource) -> Result<(), Denial> {
    let words: &[(&str, &[&str])] = match source {
        ClaimsSource::Introspection => &[TYP, TOKEN_USE, TOKEN_TYPE],
        ClaimsSource::Jwt => &[TYP, TOKEN_USE],
    };
    let is_other = |(name, kinds): &(&str, &[&str])| {
        root.member(name).is_some_and(|claim| {
            let said = claim.as_str().unwrap_or_default();
            !kinds.iter().any(|kind| kind.eq_ignore_ascii_case(said))
        })
    };
    if words.iter().any(is_other) {
        return Err(Denial::new(
            DenyReason::TokenType,
            "the token calls itself something else than an access token",
        ));
    }
    Ok(())
}

/// The subject: `sub`, or the claim that the issuer's rules name.
fn subject(root: Node<'_>, map: &ClaimMap, client: &Arc<str>, source: ClaimsSource) -> Result<Arc<str>, Denial> {
    let subject = match &map.subject {
        Some(path) => at(root, path)?.ok_or_else(|| wrong("the claim of the subject is missing"))?,
        None => match (root.member("sub"), source) {
            (Some(subject), _) => subject,
            (None, ClaimsSource::Introspection) => return Ok(Arc::clone(client)),
            (None, ClaimsSource::Jwt) => return Err(wrong("`sub` is missing")),
        },
    };
    one(subject).map(Arc::from)
}

/// The client: the claim that the issuer's rules name, or `client_id` (RFC 8693 section 4.3) or `azp`, both only when
/// they agree. An answer calls it `client_id` whatever its tokens say (RFC 7662 section 2.2).
pub(super) fn client<'s>(root: Node<'s>, map: &ClaimMap, source: ClaimsSource) -> Result<&'s str, Denial> {
    if let Some(path) = &map.client {
        let answered = || match source {
            ClaimsSource::Introspection => root.member("client_id"),
            ClaimsSource::Jwt => None,
        };
        let client = at(root, path)?.or_else(answered);
        return one(client.ok_or_else(|| wrong("the claim of the client is missing"))?);
    }
    match (text(root, "client_id")?, text(root, "azp")?) {
        (Some(client), Some(party)) if client != party => Err(wrong("`client_id` and `azp` differ")),
        (Some(client), _) | (None, Some(client)) => Ok(client),
        (None, None) => Err(wrong("`client_id` and `azp` are missing")),
    }
}

/// `aud`: one string, or an array with at least one (RFC 7519 section 4.1.3); when it is absent, the claim that stands
/// in for it, if the issuer's rules name one.
fn audiences(root: Node<'_>, map: &ClaimMap) -> Result<Box<[Box<str>]>, Denial> {
    let Some(claim) = root.member("aud") else {
        let stand_in = match &map.audience {
            Some(path) => at(root, path)?,
            None => None,
        };
        let stand_in = stand_in.ok_or_else(|| wrong("`aud` is missing"))?;
        return Ok(Box::from([Box::from(one(stand_in)?)]));
    };
    let audiences = one_or_more(claim, "`aud` is neither a string nor an array of strings")?;
    if audiences.is_empty() {
        return Err(wrong("`aud` is empty"));
    }
    Ok(audiences)
}

/// The scopes, sorted, each once: of the claim that the issuer's rules name, or of `scope` as a text (RFC 8693
/// section 4.2) or `scp` in any form, both only when they agree. An answer has `scope` whatever its tokens have.
fn scopes(root: Node<'_>, map: &ClaimMap, source: ClaimsSource) -> Result<Box<[Box<str>]>, Denial> {
    let read = |name: &str, form| root.member(name).map(|claim| split(claim, form)).transpose();
    let scopes = match &map.scope {
        Some(rule) => match at(root, &rule.path)? {
            Some(claim) => Some(split(claim, rule.form)?),
            None if source == ClaimsSource::Introspection => read("scope", ScopeForm::Text)?,
            None => None,
        },
        None => match (read("scope", ScopeForm::Text)?, read("scp", ScopeForm::Any)?) {
            (Some(scope), Some(scp)) if scope != scp => return Err(wrong("`scope` and `scp` differ")),
            (scope, scp) => scope.or(scp),
        },
    };
    Ok(scopes.unwrap_or_default())
}

/// The scopes of one claim.
fn split(claim: Node<'_>, form: ScopeForm) -> Result<Box<[Box<str>]>, Denial> {
    let mut scopes: Vec<Box<str>> = match (claim.kind(), form) {
        (Kind::String, ScopeForm::Any | ScopeForm::Text) => claim
            .as_str()
            .unwrap_or_default()
            .split(' ')
            .filter(|scope| !scope.is_empty())
            .map(Box::from)
            .collect(),
        (Kind::Array, ScopeForm::Any | ScopeForm::List) => {
            strings(Some(claim), "the claim of scopes is no array of strings")?.into_vec()
        }
        _ => return Err(wrong("the claim of scopes has not the form that the issuer's has")),
    };
    if !scopes.iter().all(|scope| scope.bytes().all(is_nqchar)) {
        return Err(wrong("a scope holds bytes that no scope has"));
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes.into_boxed_slice())
}

/// The subject's groups. Entra leaves out more than 200 of them and says where they can be asked for (a distributed
/// claim, OpenID Connect Core 5.6.2) or, in short, that there are some: they are then unknown.
fn groups(root: Node<'_>, map: &ClaimMap) -> Result<Box<[Box<str>]>, Denial> {
    let flagged = root
        .member("hasgroups")
        .is_some_and(|flag| flag.as_bool() != Some(false));
    if flagged || is_elsewhere(root, &map.groups)? {
        return unknown(map, "the subject has more groups than the token lists");
    }
    members(root, map, &map.groups, "the claim of groups is no array of strings")
}

/// The subject's roles.
fn roles(root: Node<'_>, map: &ClaimMap) -> Result<Box<[Box<str>]>, Denial> {
    if is_elsewhere(root, &map.roles)? {
        return unknown(map, "the subject has more roles than the token lists");
    }
    members(root, map, &map.roles, "the claim of roles is no array of strings")
}

/// No members, where the issuer's rules take unknown ones for none.
fn unknown(map: &ClaimMap, operator: &'static str) -> Result<Box<[Box<str>]>, Denial> {
    if map.ignores_overage {
        Ok(Box::default())
    } else {
        Err(wrong(operator))
    }
}

/// Whether a claim is not in the token but somewhere else.
fn is_elsewhere(root: Node<'_>, path: &ClaimPath) -> Result<bool, Denial> {
    match root.member("_claim_names") {
        Some(names) if names.kind() == Kind::Object => Ok(names.member(path.top()).is_some()),
        Some(_) => Err(wrong("`_claim_names` is no object")),
        None => Ok(false),
    }
}

/// A list of groups or roles; no strings when it is absent.
fn members(
    root: Node<'_>,
    map: &ClaimMap,
    path: &ClaimPath,
    operator: &'static str,
) -> Result<Box<[Box<str>]>, Denial> {
    match at(root, path)? {
        Some(claim) if map.single_as_list => one_or_more(claim, operator),
        claim => strings(claim, operator),
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

/// Who may act by `may_act` (RFC 8693 section 4.4), known to the token's issuer when it names none.
fn may_act(root: Node<'_>, issuer: &Issuer) -> Result<Option<MayAct>, Denial> {
    let Some(claim) = root.member("may_act") else {
        return Ok(None);
    };
    let subject = match claim.kind() {
        Kind::Object => text(claim, "sub")?,
        _ => None,
    };
    let actor = Actor {
        subject: Arc::from(subject.ok_or_else(|| wrong("`may_act` is no object with a `sub`"))?),
        issuer: text(claim, "iss")?.map_or_else(|| Arc::clone(issuer.url()), Arc::from),
    };
    let narrower = claim.members().any(|member| !matches!(member.key, "iss" | "sub"));
    Ok(Some(MayAct::new(actor, narrower)))
}

/// Whether the token has a mark of those that clients get for themselves.
fn is_marked(root: Node<'_>, map: &ClaimMap, client: &str) -> Result<bool, Denial> {
    for mark in &map.machine {
        let Some(found) = at(root, &mark.path)?.map(one).transpose()? else {
            continue;
        };
        let marked = match &mark.test {
            MarkPath::Is(word) => found == word,
            MarkPath::IsClaim(other) => at(root, other)?.map(one).transpose()? == Some(found),
            MarkPath::IsClientWith(suffix) => found.strip_suffix(&**suffix) == Some(client),
            MarkPath::IsClientAfter(prefix) => found
                .strip_prefix(&**prefix)
                .is_some_and(|id| id.eq_ignore_ascii_case(client)),
            MarkPath::StartsWith(start) => found.starts_with(&**start),
        };
        if marked {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The human that the issuer's form names in a claim of its own.
fn human(root: Node<'_>, map: &ClaimMap) -> Result<Option<Arc<str>>, Denial> {
    let Some(path) = &map.human else {
        return Ok(None);
    };
    match path.find(root) {
        Ok(None) => Ok(None),
        Ok(Some(claim)) if claim.as_str().is_some_and(|human| !human.is_empty()) => Ok(claim.as_str().map(Arc::from)),
        Ok(Some(_)) | Err(PathBlocked) => Err(Denial::new(
            DenyReason::IdentityUnbound,
            "the claim of the human is empty or no string",
        )),
    }
}

/// The tenant that the token belongs to; `None` when its issuer's tokens do not tell.
fn tenant(root: Node<'_>, issuer: &Issuer) -> Result<Option<Arc<str>>, Denial> {
    if let TokenTenant::Fixed(tenant) = issuer.tenant() {
        return Ok(Some(Arc::clone(tenant)));
    }
    let Some(path) = &issuer.claims().tenant else {
        return Ok(None);
    };
    let named = match path.find(root) {
        Ok(Some(claim)) => claim.as_str().filter(|tenant| is_tenant(tenant)),
        Ok(None) | Err(PathBlocked) => None,
    };
    match named {
        Some(tenant) => Ok(Some(Arc::from(tenant))),
        None => Err(Denial::new(
            DenyReason::TenantForeign,
            "the claim of the tenant is absent, empty, too long or no string",
        )),
    }
}

/// The claim at a path; `None` when it is absent.
fn at<'s>(root: Node<'s>, path: &ClaimPath) -> Result<Option<Node<'s>>, Denial> {
    path.find(root)
        .map_err(|PathBlocked| wrong("a claim is not where the issuer's rules look for it"))
}

/// A string that is not empty.
fn one(claim: Node<'_>) -> Result<&str, Denial> {
    match claim.as_str() {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(wrong("a text claim is empty or no string")),
    }
}

/// A string that is not empty, as a list of one, or an array of such strings.
fn one_or_more(claim: Node<'_>, operator: &'static str) -> Result<Box<[Box<str>]>, Denial> {
    match claim.as_str() {
        Some(text) if !text.is_empty() => Ok(Box::from([Box::from(text)])),
        _ => strings(Some(claim), operator),
    }
}

#[cold]
#[inline(never)]
fn wrong(operator: &'static str) -> Denial {
    Denial::new(DenyReason::TokenClaims, operator)
}

/// What access tokens call themselves, by claim: at Keycloak, at Cognito and Ory, and in an answer.
const TYP: (&str, &[&str]) = ("typ", &["Bearer", "DPoP"]);
const TOKEN_USE: (&str, &[&str]) = ("token_use", &["access", "access_token"]);
const TOKEN_TYPE: (&str, &[&str]) = ("token_type", &["access_token", "Bearer", "DPoP"]);
