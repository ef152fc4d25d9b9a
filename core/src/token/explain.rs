//! The checks of a token one by one, for whoever asks why it is refused.
//!
//! Owns [`Explanation`]. The checks are the road's own functions in the road's order; a test holds the verdict to that
//! of `token::verify`. Gives out no proof: a token that passes here is let in nowhere. Never remembers a token.

use std::sync::Arc;

use crate::credential::BearerToken;
use crate::denial::{Denial, DenyReason};
use crate::json;
use crate::jwks::FindError;
use crate::time::UnixTime;
use crate::token::jws::{self, Decoded, Header};
use crate::token::{
    IntrospectedTokens, IssuerKeys, KEY_UNKNOWN, KEYS_MISSING, KEYS_STALE, TokenDigest, TokenLimits, VerifiedToken,
    claims, introspection, named_issuer, not_accepted, raw, signed_parts,
};

/// One check of a token, in the order in which they are made.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Check {
    /// The text has only characters that a bearer token may have.
    Credential,
    /// The token is not longer than the limit.
    Size,
    /// It has three parts in strict base64url.
    Form,
    /// Its header is strict JSON, without `crit`, with a known `alg`.
    Header,
    /// Its claims are strict JSON.
    Json,
    /// `iss` is an accepted issuer.
    Issuer,
    /// The issuer's tokens may have this `alg`.
    Algorithm,
    /// It is an access token.
    Type,
    /// The issuer's keys are there and not too old.
    Keys,
    /// One of them is the token's.
    Key,
    /// The signature stands.
    Signature,
    /// Every claim has its type, and none that must be there is missing.
    Claims,
    /// It is valid now, and not for too long.
    Times,
    /// It is for this server.
    Audience,
}

/// What became of one check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It failed: the token is refused.
    Failed,
    /// An earlier one failed.
    NotReached,
    /// It passed.
    Passed,
}

/// What became of a token.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The check that failed, and the refusal; `None` for a token that passes.
    pub refusal: Option<(Check, Denial)>,
    /// The accepted issuer that the token names, once that was found.
    pub issuer: Option<Arc<str>>,
    /// Whether the gate also asks the issuer if the token is active (RFC 7662), which is not done here.
    pub asked: bool,
}

impl Check {
    /// Every check, in order.
    pub const ALL: [Self; 14] = [
        Self::Credential,
        Self::Size,
        Self::Form,
        Self::Header,
        Self::Json,
        Self::Issuer,
        Self::Algorithm,
        Self::Type,
        Self::Keys,
        Self::Key,
        Self::Signature,
        Self::Claims,
        Self::Times,
        Self::Audience,
    ];

    /// The name for people and programs: one word in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Size => "size",
            Self::Form => "form",
            Self::Header => "header",
            Self::Json => "json",
            Self::Issuer => "issuer",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Keys => "keys",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Times => "times",
            Self::Audience => "audience",
        }
    }
}

impl Explanation {
    /// What became of one check.
    pub fn outcome(&self, check: Check) -> Outcome {
        match &self.refusal {
            Some((failed, _)) if check == *failed => Outcome::Failed,
            Some((failed, _)) if *failed < check => Outcome::NotReached,
            Some(_) | None => Outcome::Passed,
        }
    }
}

/// Judges a token as the road would, for a resource that accepts `accepted`.
///
/// Costs what a first verification costs. What a fetch of keys might cure is refused here, and so is what only the issuer
/// can say. A source whose tokens failed too often is not known here.
pub fn explain(token: &str, accepted: &[IssuerKeys], now: UnixTime, limits: &TokenLimits) -> Explanation {
    let mut walk = Walk {
        reached: Check::Credential,
        issuer: None,
        asked: false,
    };
    let refusal = match walk.take(token, accepted, now, limits) {
        Ok(()) => None,
        Err(denial) => Some((walk.reached, denial)),
    };
    Explanation {
        refusal,
        issuer: walk.issuer,
        asked: walk.asked,
    }
}

/// How far a token came.
struct Walk {
    reached: Check,
    issuer: Option<Arc<str>>,
    asked: bool,
}

impl Walk {
    fn take(
        &mut self,
        token: &str,
        accepted: &[IssuerKeys],
        now: UnixTime,
        limits: &TokenLimits,
    ) -> Result<(), Denial> {
        if BearerToken::parse(token).is_none() {
            return Err(Denial::new(
                DenyReason::CredentialScheme,
                "the text is not one bearer token",
            ));
        }
        self.reached = Check::Size;
        if token.len() > limits.token_bytes_max {
            return Err(Denial::new(
                DenyReason::TokenTooLarge,
                "the token is longer than the limit",
            ));
        }
        let (verified, audiences) = self.verify(token, accepted, now, limits)?;
        self.reached = Check::Times;
        verified.check_times(now, limits)?;
        self.reached = Check::Audience;
        verified.check_audience(audiences)
    }

    fn verify<'k>(
        &mut self,
        token: &str,
        accepted: &'k [IssuerKeys],
        now: UnixTime,
        limits: &TokenLimits,
    ) -> Result<(VerifiedToken, &'k [Arc<str>]), Denial> {
        self.reached = Check::Form;
        let parts = signed_parts(token).map_err(|denial| self.unless_asked(denial, accepted))?;
        let (
            signed,
            Decoded {
                header,
                payload,
                signature,
            },
        ) = parts;
        self.reached = Check::Header;
        let header = Header::read(&header)?;
        self.reached = Check::Json;
        let mut scratch = json::Scratch::default();
        let document = json::parse(&payload, &mut scratch, jws::JSON_LIMITS)
            .map_err(|_| Denial::new(DenyReason::TokenMalformed, "the claims are not strict JSON"))?;
        self.reached = Check::Issuer;
        let named = named_issuer(document.root())?;
        let entry = accepted.iter().find(|entry| &**entry.issuer.url() == named);
        let entry = entry.ok_or_else(not_accepted)?;
        self.issuer = Some(Arc::clone(entry.issuer.url()));
        match entry.issuer.introspection().map(|rules| rules.tokens) {
            Some(IntrospectedTokens::All) => return Err(self.issuers_to_say()),
            Some(IntrospectedTokens::OpaqueAndRevoked) => self.asked = true,
            Some(IntrospectedTokens::Opaque) | None => {}
        }
        self.reached = Check::Algorithm;
        if !entry.issuer.allows(header.algorithm) {
            return Err(Denial::new(
                DenyReason::TokenAlgorithm,
                "the algorithm is not allowed for the issuer",
            ));
        }
        self.reached = Check::Type;
        jws::check_type(&header, document.root(), &entry.issuer)?;
        self.reached = Check::Keys;
        let lack = |(reason, operator)| Err(Denial::new(reason, operator));
        let keys = match &entry.keys {
            Some(keys) if now.since(keys.fetched_at()) <= limits.keys_age_max => keys,
            Some(_) => return lack(KEYS_STALE),
            None => return lack(KEYS_MISSING),
        };
        self.reached = Check::Key;
        let key = match keys.find(header.kid.as_deref(), header.algorithm) {
            Ok(key) => key,
            Err(FindError::Unknown) => return lack(KEY_UNKNOWN),
            Err(error) => return Err(raw::no_key(error)),
        };
        self.reached = Check::Signature;
        raw::check_signature(key, header.algorithm, signed.input(), &signature)?;
        self.reached = Check::Claims;
        let verified = claims::read(document, &entry.issuer, TokenDigest::of(token), keys)?;
        Ok((verified, &entry.audiences))
    }

    /// The refusal of a text that is no JWT, or that its issuer alone can say what it is.
    fn unless_asked(&mut self, denial: Denial, accepted: &[IssuerKeys]) -> Denial {
        match accepted.iter().any(|entry| entry.issuer.introspection().is_some()) {
            true => self.issuers_to_say(),
            false => denial,
        }
    }

    fn issuers_to_say(&mut self) -> Denial {
        self.asked = true;
        introspection::unavailable("its issuer is asked about this token: its keys do not tell")
    }
}
