//! Claims that an issuer states about a token (RFC 7662), beside those that a token states itself.

use serde_json::{Value, json};

use super::{ISSUER, NOW, RESOURCE, parts};
use crate::denial::DenyReason;
use crate::json;
use crate::token::claims::{ClaimsSource, read_claims};
use crate::token::verified::Claims;
use crate::token::{Issuer, IssuerParts, jws};

/// What comes of `claims`, read under the rules of `parts` as a token's own and as an answer about one.
fn read_both(parts: IssuerParts, claims: &Value) -> [Result<Claims, DenyReason>; 2] {
    let issuer = Issuer::new(parts).unwrap();
    let text = claims.to_string();
    [ClaimsSource::Jwt, ClaimsSource::Introspection].map(|source| {
        let mut scratch = json::Scratch::default();
        let document = json::parse(text.as_bytes(), &mut scratch, jws::JSON_LIMITS).unwrap();
        read_claims(document.root(), document.text(), &issuer, source).map_err(|denial| denial.reason)
    })
}

/// An answer may lack `sub` and `iat`; a token may not, and neither may lack anything else.
#[test]
fn an_answer_may_lack_what_a_token_may_not() {
    let whole = json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": "alice", "client_id": "desktop", "iat": NOW, "exp": NOW + 300,
    });
    let (claims, lifetime) = (Err(DenyReason::TokenClaims), Err(DenyReason::TokenLifetime));
    for (absent, by_token, by_answer) in [
        ("none", Ok("alice"), Ok("alice")),
        ("sub", claims, Ok("desktop")),
        ("iat", claims, Ok("alice")),
        ("exp", lifetime, lifetime),
        ("aud", claims, claims),
        ("client_id", claims, claims),
    ] {
        let mut claims = whole.clone();
        claims.as_object_mut().unwrap().remove(absent);
        let read = read_both(parts(ISSUER), &claims);
        let subjects = read.map(|read| read.map(|claims| claims.subject.to_string()));
        let expected = [by_token, by_answer].map(|expected| expected.map(str::to_owned));
        assert_eq!(subjects, expected, "{absent}");
    }
    for (name, wrong) in [
        ("sub", json!("")),
        ("sub", json!(7)),
        ("iat", json!("now")),
        ("exp", json!("1")),
    ] {
        let mut claims = whole.clone();
        claims[name] = wrong;
        for read in read_both(parts(ISSUER), &claims) {
            assert_eq!(read.err(), Some(DenyReason::TokenClaims), "{claims}");
        }
    }
}
