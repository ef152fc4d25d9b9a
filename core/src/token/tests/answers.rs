//! Claims that an issuer states about a token (RFC 7662), beside those that a token states itself.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ISSUER, NOW, RESOURCE, parts};
use crate::denial::DenyReason;
use crate::json;
use crate::token::claims::{ClaimsSource, read_claims};
use crate::token::verified::Claims;
use crate::token::{Issuer, IssuerParts, Profile, jws};

fn whole() -> Value {
    json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": "alice", "client_id": "desktop", "iat": NOW, "exp": NOW + 300,
    })
}

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
    let (claims, lifetime) = (Err(DenyReason::TokenClaims), Err(DenyReason::TokenLifetime));
    for (absent, by_token, by_answer) in [
        ("none", Ok("alice"), Ok("alice")),
        ("sub", claims, Ok("desktop")),
        ("iat", claims, Ok("alice")),
        ("exp", lifetime, lifetime),
        ("aud", claims, claims),
        ("client_id", claims, claims),
    ] {
        let mut claims = whole();
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
        let mut claims = whole();
        claims[name] = wrong;
        for read in read_both(parts(ISSUER), &claims) {
            assert_eq!(read.err(), Some(DenyReason::TokenClaims), "{claims}");
        }
    }
}

/// An issuer tells of refresh and ID tokens, too, that they are active: what they are, it says in a claim.
#[test]
fn an_answer_about_another_kind_of_token_is_refused() {
    for (name, kind, expected) in [
        ("token_type", json!("Bearer"), None),
        ("token_type", json!("bearer"), None),
        ("token_type", json!("DPoP"), None),
        ("token_type", json!("access_token"), None),
        ("token_type", json!("refresh_token"), Some(DenyReason::TokenType)),
        ("token_type", json!("N_A"), Some(DenyReason::TokenType)),
        ("token_type", json!(1), Some(DenyReason::TokenType)),
        ("token_use", json!("access_token"), None),
        ("token_use", json!("refresh_token"), Some(DenyReason::TokenType)),
        ("typ", json!("Bearer"), None),
        ("typ", json!("Refresh"), Some(DenyReason::TokenType)),
        ("typ", json!("ID"), Some(DenyReason::TokenType)),
    ] {
        let mut claims = whole();
        claims[name] = kind;
        let [_, answer] = read_both(parts(ISSUER), &claims);
        assert_eq!(answer.err(), expected, "{claims}");
    }
}

/// Answers have the names of RFC 7662 whatever the issuer's tokens have; where they have both, the issuer's own count.
#[test]
fn an_answer_may_have_the_names_of_the_standard() {
    let okta = || Profile::named("okta").unwrap().parts(Arc::from(ISSUER));
    let mut claims = whole();
    claims["scope"] = json!("crm:read crm:write");
    let [token, answer] = read_both(okta(), &claims);
    assert_eq!(token.err(), Some(DenyReason::TokenClaims), "a token of Okta has `cid`");
    let answer = answer.unwrap();
    assert_eq!(
        (&*answer.client_id, answer.scopes.join(" ").as_str()),
        ("desktop", "crm:read crm:write")
    );

    claims["cid"] = json!("mobile");
    claims["scp"] = json!(["crm:read"]);
    for read in read_both(okta(), &claims) {
        let read = read.unwrap();
        assert_eq!(
            (&*read.client_id, read.scopes.join(" ").as_str()),
            ("mobile", "crm:read")
        );
    }
    for (name, wrong) in [("cid", json!(["mobile"])), ("scp", json!("crm:read"))] {
        let mut claims = claims.clone();
        claims[name] = wrong;
        for read in read_both(okta(), &claims) {
            assert_eq!(read.err(), Some(DenyReason::TokenClaims), "{claims}");
        }
    }
    // A named subject is wanted in either.
    let entra = || Profile::named("entra_v2").unwrap().parts(Arc::from(ISSUER));
    claims["azp"] = json!("desktop");
    claims["scp"] = json!("crm:read");
    for read in read_both(entra(), &claims) {
        assert_eq!(read.err(), Some(DenyReason::TokenClaims));
    }
    claims["oid"] = json!("person-1");
    for read in read_both(entra(), &claims) {
        assert_eq!(&*read.unwrap().subject, "person-1");
    }
}
