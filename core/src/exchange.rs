//! A token for an upstream in exchange for the client's (RFC 8693): what is asked, and which answers are taken.
//!
//! Owns [`ExchangeTerms`], [`ExchangeRequest`], the reading of answers and the tokens that were got before. Does no
//! I/O: the embedder asks, authenticated by means that the core never sees, and puts the client's token in, which must
//! be the one that was verified. Only a bearer access token that is no wider than what was asked for is taken.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use dashmap::DashMap;
use zeroize::Zeroizing;

use crate::assertion::{self, AssertionTerms};
use crate::credential::BearerToken;
use crate::crypto::{self, Sha256};
use crate::identity::Principal;
use crate::json::{self, Kind, Node};
use crate::jwks::refresh::{FetchError, Fetched};
use crate::record_id::RecordId;
use crate::time::UnixTime;

/// How the client's token is exchanged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExchangeTerms {
    /// The issuer that is asked; the tokens of others are never shown to it.
    pub issuer: Arc<str>,
    /// Where and as whom it is asked, in any words of the embedder's: tokens that were got are used only under the
    /// words they were got under.
    pub source: Arc<str>,
    /// The upstream by the issuer's name for it.
    pub audience: Option<Arc<str>>,
    /// The upstream by its URL (RFC 8707).
    pub resource: Option<Arc<str>>,
    /// The scopes that are asked for; `None` for those that the tool requires, and those alone.
    pub scopes: Option<Arc<[Box<str>]>>,
    /// Names who acts for the subject in a statement that the gate signs on these terms; `None` leaves that to what the
    /// client's token says.
    pub actor_token: Option<AssertionTerms>,
}

impl ExchangeTerms {
    /// The scopes that are asked for a call that requires these.
    pub fn scopes_of<'t>(&'t self, required: &'t [Box<str>]) -> &'t [Box<str>] {
        self.scopes.as_deref().unwrap_or(required)
    }
}

/// Bounds of an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExchangeLimits {
    /// Time of one exchange.
    pub deadline: Duration,
    /// Bytes of its answer.
    pub bytes_max: usize,
    /// Bytes of the token in it.
    pub token_bytes_max: usize,
    /// How long such a token is used for further calls, at most.
    pub cached_max: Duration,
}

/// One exchange, to be asked for as `application/x-www-form-urlencoded` with the gate's own credentials.
///
/// Two requests with one [`Self::key`] are one exchange: ask once and give both the answer.
#[derive(Clone)]
pub struct ExchangeRequest {
    terms: ExchangeTerms,
    scopes: Box<[Box<str>]>,
    limits: ExchangeLimits,
    token_digest: [u8; 32],
    token_expires: UnixTime,
    actor_claims: Option<String>,
    key: ExchangeKey,
}

/// What tells exchanges apart: tenant, token, terms and scopes, as one digest.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ExchangeKey([u8; 32]);

/// Without a token: it holds none.
impl std::fmt::Debug for ExchangeRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ExchangeRequest")
            .field("issuer", &self.terms.issuer)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Why there is no token for the upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.operator())]
pub enum ExchangeError {
    /// The issuer could not be asked.
    Connection,
    /// The issuer gave back the client's own token.
    Echoed,
    /// The token has expired already, or its lifetime is no number.
    Expired,
    /// The caller proves itself by another issuer's token, which this one must not see.
    IssuerForeign,
    /// The answer is no strict JSON.
    Malformed,
    /// The issuer refuses.
    Refused,
    /// The issuer did not answer in time.
    TimedOut,
    /// The text is not the token that was verified.
    TokenForeign,
    /// There is no token, too long a one, or one that no header can carry.
    TokenMissing,
    /// The caller has no token that could be exchanged.
    TokenNone,
    /// The token is no access token to be used as a bearer token.
    TokenType,
    /// The answer is too large.
    TooLarge,
    /// The gate cannot ask: it has no endpoint, no proof of itself, or too many questions out.
    Unavailable,
    /// The token may do more than was asked for.
    Wider,
}

impl ExchangeError {
    /// The line for the operator.
    pub const fn operator(self) -> &'static str {
        match self {
            Self::Connection => "the issuer cannot be reached for a token exchange",
            Self::Echoed => "the issuer gave the client's own token back in exchange",
            Self::Expired => "the token got in exchange says no usable lifetime",
            Self::IssuerForeign => "the caller's token is of another issuer than the one that exchanges",
            Self::Malformed => "the issuer's answer to a token exchange is not strict JSON",
            Self::Refused => "the issuer refuses the token exchange",
            Self::TimedOut => "the issuer did not answer to a token exchange in time",
            Self::TokenForeign => "the request's token is not the one that was verified",
            Self::TokenMissing => "the issuer's answer to a token exchange holds no token that can be shown",
            Self::TokenNone => "the caller has no access token that could be exchanged",
            Self::TokenType => "the token got in exchange is no bearer access token",
            Self::TooLarge => "the issuer's answer to a token exchange is too large",
            Self::Unavailable => {
                "the gate cannot ask for a token exchange: no endpoint is known, or too many are under way"
            }
            Self::Wider => "the token got in exchange has scopes that were not asked for",
        }
    }
}

/// A token for an upstream. Printed by nothing.
pub struct ExchangedToken {
    value: Zeroizing<String>,
    /// Until when it serves further calls; `None` for this call alone.
    until: Option<UnixTime>,
}

impl std::fmt::Debug for ExchangedToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ExchangedToken(..)")
    }
}

impl ExchangedToken {
    /// The token, for the upstream alone.
    pub fn as_str(&self) -> &str {
        &self.value
    }
}

impl ExchangeRequest {
    /// The exchange for a call of `principal` that requires these scopes.
    ///
    /// # Errors
    /// [`ExchangeError::TokenNone`] for who proves itself by other means than a token, and
    /// [`ExchangeError::IssuerForeign`].
    pub(crate) fn new(
        terms: &ExchangeTerms,
        principal: &Principal,
        required: &[Box<str>],
        limits: ExchangeLimits,
        record_id: RecordId,
        now: UnixTime,
    ) -> Result<Self, ExchangeError> {
        let token = principal.token().ok_or(ExchangeError::TokenNone)?;
        if *token.issuer() != terms.issuer {
            return Err(ExchangeError::IssuerForeign);
        }
        let scopes: Box<[Box<str>]> = terms.scopes_of(required).into();
        let actor_claims = match (&terms.actor_token, principal.on_behalf_of()) {
            (Some(actor), Some(_)) => Some(assertion::actor_claims(actor, principal.actor(), record_id, now)),
            (_, _) => None,
        };
        Ok(Self {
            key: key(terms, principal, token.digest_bytes(), &scopes),
            terms: terms.clone(),
            scopes,
            limits,
            token_digest: *token.digest_bytes(),
            token_expires: token.expires(),
            actor_claims,
        })
    }

    /// What tells this exchange from others.
    pub const fn key(&self) -> ExchangeKey {
        self.key
    }

    /// The issuer that is asked.
    pub const fn issuer(&self) -> &Arc<str> {
        &self.terms.issuer
    }

    /// Where and as whom it is asked: [`ExchangeTerms::source`].
    pub const fn source(&self) -> &Arc<str> {
        &self.terms.source
    }

    /// Its bounds.
    pub const fn limits(&self) -> &ExchangeLimits {
        &self.limits
    }

    /// The claims of the actor token (RFC 8693 section 2.1), which the embedder signs; `None` when none is wanted, or
    /// nobody acts for the subject.
    pub fn actor_claims(&self) -> Option<&str> {
        self.actor_claims.as_deref()
    }

    /// Checks that this is the token that the exchange was permitted for: for whoever waits for an exchange that another
    /// has begun.
    ///
    /// # Errors
    /// [`ExchangeError::TokenForeign`].
    pub fn check(&self, token: &str) -> Result<(), ExchangeError> {
        match crypto::same_digest(&crypto::sha256(token.as_bytes()), &self.token_digest) {
            true => Ok(()),
            false => Err(ExchangeError::TokenForeign),
        }
    }

    /// The body of the question (RFC 8693 section 2.1) about `token`, to which client credentials may be appended after
    /// a `&`. It holds the token: keep it out of logs.
    ///
    /// # Errors
    /// [`ExchangeError::TokenForeign`] unless `token` is the very text that was verified.
    pub fn form(&self, token: &str, actor_token: Option<&str>) -> Result<Zeroizing<String>, ExchangeError> {
        self.check(token)?;
        let mut form = Zeroizing::new(String::with_capacity(token.len().saturating_add(512)));
        let mut push = |name: &str, value: &str| {
            if !form.is_empty() {
                form.push('&');
            }
            form.push_str(name);
            form.push('=');
            write_encoded(&mut form, value);
        };
        push("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
        push("subject_token", token);
        push("subject_token_type", ACCESS_TOKEN);
        push("requested_token_type", ACCESS_TOKEN);
        if let Some(audience) = &self.terms.audience {
            push("audience", audience);
        }
        if let Some(resource) = &self.terms.resource {
            push("resource", resource);
        }
        if !self.scopes.is_empty() {
            push("scope", &self.scopes.join(" "));
        }
        if let Some(actor_token) = actor_token {
            push("actor_token", actor_token);
            push("actor_token_type", "urn:ietf:params:oauth:token-type:jwt");
        }
        Ok(form)
    }

    /// Reads the answer (RFC 8693 section 2.2.1) that came at `now`.
    ///
    /// # Errors
    /// [`ExchangeError`] for whatever is no token that was asked for.
    pub fn accept(&self, answer: &Result<Fetched, FetchError>, now: UnixTime) -> Result<ExchangedToken, ExchangeError> {
        let fetched = match answer {
            Ok(fetched) if fetched.status == 200 => fetched,
            Ok(_) => return Err(ExchangeError::Refused),
            Err(FetchError::Connection) => return Err(ExchangeError::Connection),
            Err(FetchError::TooLarge) => return Err(ExchangeError::TooLarge),
            Err(FetchError::TimedOut) => return Err(ExchangeError::TimedOut),
        };
        if self.limits.bytes_max < fetched.body.len() {
            return Err(ExchangeError::TooLarge);
        }
        let mut scratch = json::Scratch::default();
        let document = json::parse(&fetched.body, &mut scratch, JSON_LIMITS).map_err(|_| ExchangeError::Malformed)?;
        let root = document.root();
        if root.kind() != Kind::Object {
            return Err(ExchangeError::Malformed);
        }
        let text = |name| root.member(name).and_then(Node::as_str);
        let is_bearer = text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer"));
        if text("issued_token_type") != Some(ACCESS_TOKEN) || !is_bearer {
            return Err(ExchangeError::TokenType);
        }
        let value = text("access_token").unwrap_or_default();
        if value.len() > self.limits.token_bytes_max || BearerToken::parse(value).is_none() {
            return Err(ExchangeError::TokenMissing);
        }
        if crypto::same_digest(&crypto::sha256(value.as_bytes()), &self.token_digest) {
            return Err(ExchangeError::Echoed);
        }
        self.check_scopes(root)?;
        Ok(ExchangedToken {
            value: Zeroizing::new(value.to_owned()),
            until: self.until(root, now)?,
        })
    }

    /// An answer without `scope` says that the token has what was asked for (RFC 8693 section 2.2.1).
    fn check_scopes(&self, root: Node<'_>) -> Result<(), ExchangeError> {
        let Some(scope) = root.member("scope") else {
            return Ok(());
        };
        let scope = scope.as_str().ok_or(ExchangeError::Wider)?;
        let asked = |given: &str| self.scopes.iter().any(|asked| **asked == *given);
        match scope.split(' ').filter(|given| !given.is_empty()).all(asked) {
            true => Ok(()),
            false => Err(ExchangeError::Wider),
        }
    }

    /// Until when the token serves further calls: never longer than it and the client's token hold.
    fn until(&self, root: Node<'_>, now: UnixTime) -> Result<Option<UnixTime>, ExchangeError> {
        let Some(lifetime) = root.member("expires_in") else {
            return Ok(None);
        };
        let lifetime = lifetime
            .as_u64()
            .filter(|seconds| 0 < *seconds)
            .ok_or(ExchangeError::Expired)?;
        let serves = Duration::from_secs(lifetime)
            .saturating_sub(MARGIN)
            .min(self.limits.cached_max);
        let until = now.after(serves).min(self.token_expires);
        Ok((now < until).then_some(until))
    }
}

fn key(terms: &ExchangeTerms, principal: &Principal, token_digest: &[u8; 32], scopes: &[Box<str>]) -> ExchangeKey {
    let mut digest = Sha256::default();
    digest.update_framed(principal.tenant().as_bytes());
    digest.update_framed(token_digest);
    digest.update_framed(terms.source.as_bytes());
    digest.update_framed(terms.audience.as_deref().unwrap_or_default().as_bytes());
    digest.update_framed(terms.resource.as_deref().unwrap_or_default().as_bytes());
    // By whom an actor token is made, and whether one is.
    let actor_issuer = terms.actor_token.as_ref().map(|actor| &*actor.issuer);
    digest.update_framed(actor_issuer.unwrap_or_default().as_bytes());
    digest.update_framed(principal.principal_id());
    for scope in scopes {
        digest.update_framed(scope.as_bytes());
    }
    ExchangeKey(digest.finish())
}

/// Tokens that were got, shared by all workers.
///
/// A look-up holds one shard's lock for its own length; a token beyond the bound drops the oldest.
pub struct ExchangedTokens {
    tokens: DashMap<ExchangeKey, Arc<ExchangedToken>>,
    /// INVARIANT: every key of `tokens` stands here at least once, or is being removed by who took it out.
    order: ArrayQueue<ExchangeKey>,
}

impl std::fmt::Debug for ExchangedTokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ExchangedTokens")
            .field("tokens", &self.order.len())
            .finish_non_exhaustive()
    }
}

impl ExchangedTokens {
    /// At most so many tokens, at least one.
    pub fn new(tokens_max: usize) -> Self {
        Self {
            tokens: DashMap::default(),
            order: ArrayQueue::new(tokens_max.max(1)),
        }
    }

    /// The token of such an exchange, when there is one that still serves.
    pub fn find(&self, key: ExchangeKey, now: UnixTime) -> Option<Arc<ExchangedToken>> {
        let found = self.tokens.get(&key).map(|entry| Arc::clone(entry.value()));
        found.filter(|token| token.until.is_some_and(|until| now < until))
    }

    /// Keeps a token for further calls, unless it serves one alone.
    pub fn insert(&self, key: ExchangeKey, token: &Arc<ExchangedToken>) {
        if token.until.is_none() || self.tokens.insert(key, Arc::clone(token)).is_some() {
            return;
        }
        if let Some(oldest) = self.order.force_push(key) {
            self.tokens.remove(&oldest);
        }
    }
}

/// Appends `text` as a value of a form (RFC 6749 appendix B).
fn write_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'-' | b'.' | b'_') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for half in [byte >> 4, byte & 0x0f] {
                let digit = char::from_digit(u32::from(half), 16).unwrap_or('0');
                out.push(digit.to_ascii_uppercase());
            }
        }
    }
}

/// The type of what is shown and of what is wanted (RFC 8693 section 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// A token that is about to expire would expire on its way.
const MARGIN: Duration = Duration::from_secs(30);
/// An answer is one shallow object; its bytes are bounded before this.
const JSON_LIMITS: json::Limits = json::Limits { depth: 8, members: 256 };

#[cfg(test)]
mod tests;
