//! Questions to an issuer about one token (RFC 7662), and which of its answers are taken (RFC 9701 when signed).
//!
//! Owns [`IntrospectionRules`], [`IntrospectionRequest`] and the reading of answers. Does no I/O: the embedder asks,
//! authenticated by means that the core never sees. Only a whole answer of status 200 that says `active: true` or
//! `active: false` counts; everything else says that the issuer could not be asked, never that a token is good or bad.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::denial::{Denial, DenyReason};
use crate::json::{self, Kind, Node};
use crate::jwks::refresh::{FetchError, Fetched};
use crate::jwks::{FindError, KeySet};
use crate::time::UnixTime;
use crate::token::claims::{self, ClaimsSource};
use crate::token::jws::{self, Decoded, Header, Signed};
use crate::token::verified::Claims;
use crate::token::{Confirmation, Issuer, TokenLimits, VerifiedToken};

/// When an issuer is asked about its tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IntrospectedTokens {
    /// About every token, signed or not: its keys are not used, the answer alone decides.
    All,
    /// About tokens that are no JWT; a JWT proves itself by its signature.
    Opaque,
    /// About every token: a JWT must have a good signature and be active as well.
    OpaqueAndRevoked,
}

/// How an issuer is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IntrospectionRules {
    /// About which tokens.
    pub tokens: IntrospectedTokens,
    /// Demands answers that are signed by the issuer for this audience, the client that asks (RFC 9701).
    pub signed_for: Option<Arc<str>>,
    /// Where and as whom it is asked, in any words of the embedder's: answers are used only under the words they were
    /// given for.
    pub source: Arc<str>,
}

/// One question, to be sent as `application/x-www-form-urlencoded` with the gate's own credentials.
///
/// Two requests with one token ask one question: send it once and give both the answer.
#[derive(Clone, Eq, PartialEq)]
pub struct IntrospectionRequest {
    /// The issuer that is asked.
    pub issuer: Arc<str>,
    /// SHA-256 of the token: what tells questions apart.
    pub token_digest: [u8; 32],
    /// Time after which the question is given up, whole answer included.
    pub deadline: Duration,
    /// Bytes of the answer after which it is given up.
    pub bytes_max: usize,
    /// Where and as whom it is asked: [`IntrospectionRules::source`]. Nobody else's answer counts.
    pub source: Arc<str>,
    /// Whether a signed answer is wanted: `Accept: application/token-introspection+jwt`, else `application/json`.
    pub signed: bool,
    token: Zeroizing<String>,
}

/// Without the token.
impl std::fmt::Debug for IntrospectionRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("IntrospectionRequest")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl IntrospectionRequest {
    pub(super) fn new(issuer: &Issuer, rules: &IntrospectionRules, text: &str, limits: &TokenLimits) -> Self {
        Self {
            issuer: Arc::clone(issuer.url()),
            token_digest: crate::crypto::sha256(text.as_bytes()),
            deadline: limits.introspection_deadline,
            bytes_max: limits.introspection_bytes_max,
            source: Arc::clone(&rules.source),
            signed: rules.signed_for.is_some(),
            token: Zeroizing::new(text.to_owned()),
        }
    }

    /// The body of the question (RFC 7662 section 2.1), to which client credentials may be appended after a `&`.
    ///
    /// It holds the token: keep it out of logs.
    pub fn form(&self) -> Zeroizing<String> {
        let mut form = Zeroizing::new(String::with_capacity(self.token.len().saturating_add(64)));
        form.push_str("token=");
        // What `token68` allows beyond the unreserved characters (RFC 3986 section 2.3) is these three.
        for letter in self.token.chars() {
            match letter {
                '+' => form.push_str("%2B"),
                '/' => form.push_str("%2F"),
                '=' => form.push_str("%3D"),
                other => form.push(other),
            }
        }
        form.push_str("&token_type_hint=access_token");
        form
    }
}

/// What an issuer says of a token.
pub(super) enum Answer {
    /// It is good; these are its claims, `None` when they were not asked for since a signature proves them.
    Active(Option<Box<Claims>>),
    /// It is not, for whatever reason.
    Inactive,
    /// The answer is signed by a key that is not known: a newer set may have it.
    KeyUnknown,
}

/// Reads what `issuer` answered about a token; `known` is that token when its signature was verified before.
///
/// # Errors
/// [`DenyReason::IntrospectionUnavailable`] for an answer that is none; the `Token…` reasons for claims that are refused.
pub(super) fn read(
    answer: &Result<Arc<Fetched>, FetchError>,
    issuer: &Issuer,
    keys: Option<&KeySet>,
    known: Option<&VerifiedToken>,
    now: UnixTime,
    limits: &TokenLimits,
) -> Result<Answer, Denial> {
    let Some(rules) = issuer.introspection() else {
        return Err(unavailable("the issuer is not asked about tokens"));
    };
    let fetched = match answer {
        Ok(fetched) if fetched.status == 200 => fetched,
        Ok(_) => {
            return Err(unavailable(
                "the issuer's answer about the token has another status than 200",
            ));
        }
        Err(FetchError::TimedOut) => return Err(unavailable("the issuer did not answer about the token in time")),
        Err(FetchError::TooLarge) => return Err(unavailable("the issuer's answer about the token is too large")),
        Err(FetchError::Connection) => return Err(unavailable("the issuer cannot be reached about the token")),
    };
    if limits.introspection_bytes_max < fetched.body.len() {
        return Err(unavailable("the issuer's answer about the token is too large"));
    }
    let mut scratch = json::Scratch::default();
    match &rules.signed_for {
        None => {
            let document = json::parse(&fetched.body, &mut scratch, jws::JSON_LIMITS)
                .map_err(|_| unavailable("the issuer's answer about the token is not strict JSON"))?;
            judge(document.root(), document.text(), issuer, known)
        }
        Some(audience) => {
            let Some(payload) = opened(&fetched.body, issuer, keys)? else {
                return Ok(Answer::KeyUnknown);
            };
            let document = json::parse(&payload, &mut scratch, jws::JSON_LIMITS)
                .map_err(|_| unavailable("the issuer's signed answer is not strict JSON"))?;
            let inner = addressed(document.root(), issuer, audience, now, limits)?;
            judge(inner, inner.raw(), issuer, known)
        }
    }
}

/// The payload of a signed answer whose signature is the issuer's (RFC 9701 section 5); `None` when its key is unknown.
fn opened(body: &[u8], issuer: &Issuer, keys: Option<&KeySet>) -> Result<Option<Vec<u8>>, Denial> {
    let unsigned = |_| unavailable("the issuer's answer about the token is not signed in the form of RFC 9701");
    let text = std::str::from_utf8(body).map_err(|_| unavailable("the issuer's signed answer is not text"))?;
    let signed = Signed::split(text.trim_ascii_end()).map_err(unsigned)?;
    let Decoded {
        header,
        payload,
        signature,
    } = signed.decode().map_err(unsigned)?;
    let header = Header::read(&header).map_err(unsigned)?;
    if !header.is_introspection() || !issuer.allows(header.algorithm) {
        return Err(unavailable(
            "the issuer's signed answer has another `typ` or algorithm than it may have",
        ));
    }
    let key = match keys.map(|keys| keys.find(header.kid.as_deref(), header.algorithm)) {
        Some(Ok(key)) => key,
        Some(Err(FindError::Unknown)) | None => return Ok(None),
        Some(Err(_)) => return Err(unavailable("no key of the issuer is that of its signed answer")),
    };
    key.verify(header.algorithm, signed.input(), &signature)
        .map_err(|_| unavailable("the signature of the issuer's answer does not verify"))?;
    Ok(Some(payload))
}

/// The answer inside a signed one, which is this issuer's, for us, and new (RFC 9701 section 5).
fn addressed<'s>(
    root: Node<'s>,
    issuer: &Issuer,
    audience: &str,
    now: UnixTime,
    limits: &TokenLimits,
) -> Result<Node<'s>, Denial> {
    let text = |name| root.member(name).and_then(|value| value.as_str());
    let for_us = match root.member("aud") {
        Some(listed) if listed.kind() == Kind::Array => listed.elements().any(|one| one.as_str() == Some(audience)),
        Some(one) => one.as_str() == Some(audience),
        None => false,
    };
    if text("iss") != Some(&**issuer.url()) || !for_us {
        return Err(unavailable("the issuer's signed answer is another's, or for another"));
    }
    let issued_at = root.member("iat").and_then(|value| value.as_u64());
    let issued_at = issued_at.ok_or_else(|| unavailable("the issuer's signed answer has no `iat`"))?;
    // An old answer may have been kept by somebody since the token was revoked.
    let tolerance = limits.leeway.saturating_add(limits.introspection_deadline).as_secs();
    if tolerance < now.secs().abs_diff(issued_at) {
        return Err(unavailable("the issuer's signed answer is not of this moment"));
    }
    root.member("token_introspection")
        .filter(|inner| inner.kind() == Kind::Object)
        .ok_or_else(|| unavailable("the issuer's signed answer has no `token_introspection`"))
}

/// What the members of an answer say (RFC 7662 section 2.2).
fn judge(root: Node<'_>, text: &str, issuer: &Issuer, known: Option<&VerifiedToken>) -> Result<Answer, Denial> {
    let active = match root.kind() {
        Kind::Object => root.member("active").and_then(|value| value.as_bool()),
        _ => None,
    };
    match active {
        Some(true) => {}
        Some(false) => return Ok(Answer::Inactive),
        None => {
            return Err(unavailable(
                "the issuer's answer does not say whether the token is active",
            ));
        }
    }
    let said = |name| root.member(name).map(|value| value.as_str());
    let agrees = |name, own: Option<&str>| said(name).is_none_or(|said| own.is_none() || said == own);
    if !agrees("iss", Some(issuer.url())) {
        return Err(unavailable("the issuer's answer names another issuer"));
    }
    if let Some(known) = known
        && root.member("cnf").is_some()
        && Confirmation::read(root)? != *known.confirmation()
    {
        return Err(Denial::new(
            DenyReason::TokenSenderBound,
            "the issuer says that the token is bound to something else than it says itself",
        ));
    }
    match known {
        Some(known) if agrees("jti", known.jti()) && agrees("client_id", Some(known.client_id())) => {
            Ok(Answer::Active(None))
        }
        Some(_) => Err(unavailable("the issuer's answer is about another token")),
        None => {
            let claims = claims::read_claims(root, text, issuer, ClaimsSource::Introspection)?;
            Ok(Answer::Active(Some(Box::new(claims))))
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn unavailable(operator: &'static str) -> Denial {
    Denial::new(DenyReason::IntrospectionUnavailable, operator).with_retry_after_s(RETRY_AFTER_S)
}

/// Each request asks anew, so that a short wait makes sense.
const RETRY_AFTER_S: u32 = 1;
