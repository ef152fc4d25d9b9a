//! `portcullis token inspect`: what a token says of itself, for people who hold it.
//!
//! Owns the reading of times, the guess what kind of token it is, and the warnings. Verifies nothing, says so, and sends
//! nothing. Never prints a signature.

use portcullis_core::Algorithm;
use portcullis_core::config::Limits;
use portcullis_core::time::UnixTime;
use portcullis_core::token::raw::{self, Unverified};
use serde_json::{Map, Value, json};

use super::super::input::{one_token, quoted, shown};
use super::super::jwks::write_out;
use super::super::{Exit, Format};
use crate::clock;

/// Shows the token on standard input.
pub(super) fn inspect(format: Format) -> anyhow::Result<Exit> {
    let limits = Limits::default();
    let token = one_token(limits.token_bytes_max)?;
    if token.is_empty() {
        eprintln!("portcullis: there is no token on standard input");
        return Ok(Exit::Invalid);
    }
    let decoded = match token.len() <= limits.token_bytes_max {
        true => raw::danger_decode_unverified(&token).map_err(|denial| denial.operator),
        false => Err("the token is longer than the gate takes"),
    };
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(reason) => {
            eprintln!("portcullis: {reason}");
            return Ok(Exit::Invalid);
        }
    };
    let seen = Seen::new(&decoded, clock::now(), &limits)?;
    write_out(&match format {
        Format::Pretty => seen.pretty()?,
        Format::Json => format!("{}\n", seen.json()),
    })?;
    Ok(Exit::Ok)
}

/// A token as it is shown.
struct Seen {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    /// Claims with a time, in the order in which people think of them.
    times: Vec<(&'static str, UnixTime)>,
    kind: &'static str,
    warnings: Vec<String>,
    now: UnixTime,
}

impl Seen {
    fn new(decoded: &Unverified, now: UnixTime, limits: &Limits) -> anyhow::Result<Self> {
        let header: Map<String, Value> = serde_json::from_str(&decoded.header)?;
        let claims: Map<String, Value> = serde_json::from_str(&decoded.claims)?;
        let times = TIMES.into_iter().filter_map(|name| {
            let seconds = claims.get(name)?.as_u64()?;
            Some((name, UnixTime::from_secs(seconds)))
        });
        Ok(Self {
            times: times.collect(),
            kind: kind(&header, &claims),
            warnings: warnings(&header, &claims, decoded.signed, now, limits),
            header,
            claims,
            now,
        })
    }

    fn pretty(&self) -> anyhow::Result<String> {
        let mut text = String::from("not verified: whoever made this token can have written anything into it\n");
        for (name, members) in [("header", &self.header), ("claims", &self.claims)] {
            text.push_str(&format!("{name} {}\n", serde_json::to_string_pretty(members)?));
        }
        for (name, time) in &self.times {
            text.push_str(&format!("{name:9} {} ({})\n", shown(*time), distance(*time, self.now)));
        }
        text.push_str(&format!("looks like {}\n", self.kind));
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        Ok(text)
    }

    fn json(&self) -> Value {
        let times: Map<String, Value> = self
            .times
            .iter()
            .map(|(name, time)| ((*name).to_owned(), Value::from(shown(*time))))
            .collect();
        json!({
            "verified": false, "header": self.header, "claims": self.claims, "times": times, "looks_like": self.kind,
            "warnings": self.warnings,
        })
    }
}

/// How far a time is from now, in the largest unit that fits.
fn distance(time: UnixTime, now: UnixTime) -> String {
    let seconds = now.secs().abs_diff(time.secs());
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "min"),
        7_200..172_800 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    match now.secs() <= time.secs() {
        true => format!("in {count} {unit}"),
        false => format!("{count} {unit} ago"),
    }
}

/// What the token seems to be, by its `typ` first and by its claims then.
fn kind(header: &Map<String, Value>, claims: &Map<String, Value>) -> &'static str {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let media_type = text(header.get("typ"));
    let has = |name: &str| claims.contains_key(name);
    match media_type.strip_prefix("application/").unwrap_or(&media_type) {
        "at+jwt" => return "an access token (RFC 9068)",
        "oauth-id-jag+jwt" => return "an ID-JAG, which is for an authorization server and no access token",
        "dpop+jwt" => return "a DPoP proof (RFC 9449), which is no token",
        "logout+jwt" => return "a logout token, which is no access token",
        "secevent+jwt" => return "a security event (RFC 8417), which is no access token",
        "token-introspection+jwt" => return "an introspection answer (RFC 9701), which is no access token",
        _ => {}
    }
    // Keycloak says it in a claim.
    match text(claims.get("typ")).as_str() {
        "id" => "an ID token, which is no access token",
        "refresh" | "offline" => "a refresh token, which only its authorization server takes",
        "bearer" => "an access token of Keycloak's form",
        _ if has("events") => "a security event (RFC 8417), which is no access token",
        _ if ["nonce", "at_hash", "c_hash", "s_hash"].into_iter().any(has) => "an ID token, which is no access token",
        _ if ["scope", "scp", "client_id", "azp"].into_iter().any(has) => {
            "an access token that does not say so (`typ` is not at+jwt)"
        }
        _ => "a JWT of no kind that can be told",
    }
}

fn warnings(
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
    signed: bool,
    now: UnixTime,
    limits: &Limits,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |warning: &str| warnings.push(warning.to_owned());
    match header.get("alg").and_then(Value::as_str) {
        None => warn("`alg` is missing: the gate refuses it"),
        Some("none") => warn("`alg` is none: nobody signed it, and the gate refuses it"),
        Some(name) if Algorithm::from_name(name).is_none() => {
            warn(&format!("`alg` is {}, which the gate does not support", quoted(name)));
        }
        Some(_) if !signed => warn("the signature is missing: the gate refuses it"),
        Some(_) => {}
    }
    if header.contains_key("crit") {
        warn("`crit` is present: the gate knows no critical parameter and refuses it");
    }
    for name in ["jwk", "jku", "x5u", "x5c"] {
        if header.contains_key(name) {
            warn(&format!("the header has `{name}`: the gate never reads it"));
        }
    }
    let (expires, issued) = (seconds(claims, "exp"), seconds(claims, "iat"));
    match (claims.get("exp"), expires) {
        (None, _) => warn("`exp` is missing: a token without an end is a static secret, and the gate refuses it"),
        (Some(_), None) => warn("`exp` is no whole number of seconds: the gate refuses it"),
        (Some(_), Some(expires)) if expires <= now.secs() => warn("it has expired"),
        (Some(_), Some(_)) => {}
    }
    if let (Some(expires), Some(issued)) = (expires, issued) {
        let (lives, limit) = (expires.saturating_sub(issued), limits.token_lifetime_max.as_secs());
        if limit < lives {
            warn(&format!(
                "it lives for {lives} s; the gate takes at most {limit} s unless configured otherwise"
            ));
        }
    }
    for name in ["iss", "sub", "aud", "iat"] {
        if !claims.contains_key(name) {
            warn(&format!("`{name}` is missing"));
        }
    }
    if claims.contains_key("cnf") {
        warn("it is bound to a key or certificate (`cnf`): as a plain bearer token it is refused");
    }
    warnings
}

fn seconds(claims: &Map<String, Value>, name: &str) -> Option<u64> {
    claims.get(name)?.as_u64()
}

const TIMES: [&str; 4] = ["iat", "nbf", "exp", "auth_time"];
