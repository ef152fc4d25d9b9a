//! What would pass where a token failed: one line for each check.
//!
//! Owns the words. Of the token's claims it tells `iss`, `aud`, `exp`, `nbf` and `iat` alone, of its header `alg`, `typ`
//! and `kid`; everything else is what the configuration expects.

use portcullis_core::Algorithm;
use portcullis_core::config::Server;
use portcullis_core::denial::{Denial, DenyReason};
use portcullis_core::jwks::KeyReport;
use portcullis_core::time::UnixTime;
use portcullis_core::token::explain::Check;
use portcullis_core::token::{Issuer, TokenLimits, raw};
use serde_json::{Map, Value};

use super::super::input::{quoted, shown};

/// What the answer draws on.
pub(super) struct Cure<'a> {
    pub(super) server: &'a Server,
    pub(super) issuer: Option<&'a str>,
    pub(super) limits: &'a TokenLimits,
    pub(super) keys: &'a [KeyReport],
    pub(super) now: UnixTime,
}

/// What would pass the check that failed.
pub(super) fn would_pass(cure: &Cure<'_>, check: Check, denial: &Denial, token: &str) -> String {
    let members = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let decoded = raw::danger_decode_unverified(token).ok();
    let (header, claims) = match &decoded {
        Some(decoded) => (members(&decoded.header), members(&decoded.claims)),
        None => (Map::new(), Map::new()),
    };
    if denial.reason == DenyReason::IntrospectionUnavailable {
        return "a token of which its issuer says that it is active; only the gate asks it".to_owned();
    }
    match check {
        Check::Credential => {
            "the token alone: letters, digits and `-._~+/`, without quotes, blanks or `Bearer`".to_owned()
        }
        Check::Size => {
            let (bytes, most) = (token.len(), cure.limits.token_bytes_max);
            format!(
                "at most {most} bytes (`limits.token_bytes_max`); this one has {bytes}: leave claims such as groups out"
            )
        }
        Check::Form => match token.contains('.') {
            true => {
                "three parts in base64url without padding, as the issuer wrote them: look for a cut or wrapped copy"
            }
            false => "a signed JWT; this token is opaque, and only its issuer can say what it is",
        }
        .to_owned(),
        Check::Header => match denial.reason {
            DenyReason::TokenAlgorithm => format!("`alg` one of {}", names(&Algorithm::ALL)),
            _ => "a header that is one JSON object with `alg`, without `crit` and without a member twice".to_owned(),
        },
        Check::Json => {
            "claims that are one JSON object, without a member twice and without integers above 2^53".to_owned()
        }
        Check::Issuer => issuer(cure, &claims),
        Check::Algorithm => algorithm(cure, &header),
        Check::Type => kind(&header),
        Check::Keys => "a key set that can be fetched: `portcullis jwks probe` tells each step".to_owned(),
        Check::Key => key(cure, &header),
        Check::Signature => {
            "the token exactly as the issuer signed it, under the key that its key set has by this `kid` now".to_owned()
        }
        Check::Claims => typed(denial.reason),
        Check::Times => times(cure, denial.reason, &claims),
        Check::Audience => audience(cure, &claims),
    }
}

fn issuer(cure: &Cure<'_>, claims: &Map<String, Value>) -> String {
    let accepted: Vec<String> = cure
        .server
        .issuers()
        .iter()
        .map(|issuer| quoted(issuer.url()))
        .collect();
    let accepted = accepted.join(", ");
    match claims.get("iss") {
        Some(Value::String(named)) => {
            let near = cure.server.issuers().iter().any(|issuer| {
                issuer
                    .url()
                    .trim_end_matches('/')
                    .eq_ignore_ascii_case(named.trim_end_matches('/'))
            });
            let near = if near { "; case and a trailing slash count" } else { "" };
            format!(
                "`iss` one of {accepted}, byte by byte; the token names {}{near}",
                quoted(named)
            )
        }
        Some(_) => format!("`iss` as one string, one of {accepted}"),
        None => format!("`iss` with one of {accepted}; the token has none"),
    }
}

fn algorithm(cure: &Cure<'_>, header: &Map<String, Value>) -> String {
    let algorithms = rules(cure).map(|issuer| names(issuer.algorithms())).unwrap_or_default();
    format!(
        "`alg` one of {algorithms}, or {} among the issuer's `algorithms` in the configuration",
        text(header, "alg")
    )
}

fn kind(header: &Map<String, Value>) -> String {
    format!(
        "an access token with `typ` at+jwt and no claims of an ID token; this header says {}",
        text(header, "typ")
    )
}

fn key(cure: &Cure<'_>, header: &Map<String, Value>) -> String {
    let usable = cure.keys.iter().filter(|key| key.verdict.is_ok());
    let kids: Vec<String> = usable
        .map(|key| key.kid.as_deref().map_or_else(|| "one without kid".to_owned(), quoted))
        .collect();
    let kids = kids.join(", ");
    let same = |key: &&KeyReport| key.kid.is_some() && key.kid.as_deref() == header.get("kid").and_then(Value::as_str);
    let told = match cure.keys.iter().filter(same).find_map(|key| key.verdict.err()) {
        Some(reason) => format!("; the set has this key, but it is not used: {reason}"),
        None => String::new(),
    };
    format!(
        "a token of one of the issuer's keys {kids}, with its own algorithm; this one names {}{told}",
        text(header, "kid")
    )
}

fn typed(reason: DenyReason) -> String {
    match reason {
        DenyReason::TokenSenderBound => "a token without `cnf`, or the proof that it asks for with each request",
        DenyReason::IdentityUnbound => "the issuer's claim of the human (`identity.claim`) as one string",
        _ => {
            "`sub`, `aud`, `iat`, `exp` and `client_id` or `azp`, each of its type: times are whole numbers, names are \
             strings"
        }
    }
    .to_owned()
}

fn times(cure: &Cure<'_>, reason: DenyReason, claims: &Map<String, Value>) -> String {
    let at = |name: &str| claims.get(name).and_then(Value::as_u64).map(UnixTime::from_secs);
    let told = |name: &str| at(name).map_or_else(|| "none".to_owned(), shown);
    let (now, leeway) = (shown(cure.now), cure.limits.leeway.as_secs());
    match reason {
        DenyReason::TokenExpired => {
            format!(
                "`exp` after {now}, less {leeway} s of leeway; it was {}: ask for a new token",
                told("exp")
            )
        }
        DenyReason::TokenNotYetValid => format!(
            "`iat` and `nbf` not after {now}, plus {leeway} s of leeway; they are {} and {}: compare the clocks",
            told("iat"),
            told("nbf")
        ),
        _ => {
            let own = rules(cure).and_then(Issuer::token_lifetime_max);
            let most = own.unwrap_or(cure.limits.lifetime_max).as_secs();
            let key = if own.is_some() { "the issuer's" } else { "`limits`'" };
            let lives = match (at("exp"), at("iat").or_else(|| at("nbf"))) {
                (Some(exp), Some(start)) => format!("{} s after it", exp.since(start).as_secs()),
                _ => "without an end or a beginning".to_owned(),
            };
            format!("`exp` at most {most} s after `iat`, or `nbf` ({key} `token_lifetime_max`); it is {lives}")
        }
    }
}

fn audience(cure: &Cure<'_>, claims: &Map<String, Value>) -> String {
    let named: Vec<String> = match claims.get("aud") {
        Some(Value::String(one)) => vec![quoted(one)],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).map(quoted).collect(),
        _ => Vec::new(),
    };
    let plural = if named.len() == 1 { "" } else { "s" };
    let audiences = rules(cure).map_or(&[][..], |issuer| cure.server.audiences(issuer));
    let accepted: Vec<String> = audiences.iter().map(|audience| quoted(audience)).collect();
    format!(
        "`aud` with one of {}; the token names {} audience{plural}: {}. Ask the issuer with `resource={}` (RFC 8707), or \
         name the issuer's own audience in the server's `audiences`, or where it has them in `issuer_audiences`",
        accepted.join(", "),
        named.len(),
        named.join(", "),
        cure.server.resource()
    )
}

fn rules<'a>(cure: &Cure<'a>) -> Option<&'a Issuer> {
    let mut issuers = cure.server.issuers().iter();
    issuers
        .find(|issuer| Some(&**issuer.url()) == cure.issuer)
        .map(AsRef::as_ref)
}

/// A text of the header, or that there is none.
fn text(header: &Map<String, Value>, name: &str) -> String {
    match header.get(name).and_then(Value::as_str) {
        Some(text) => quoted(text),
        None => format!("no `{name}`"),
    }
}

fn names(algorithms: &[Algorithm]) -> String {
    let names: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
    names.join(", ")
}
