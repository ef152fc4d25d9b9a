//! Stages 2 to 4: who may come in, in which order the refusals stand, and what a client is told of them.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use portcullis_fixtures::calls::Era;
use portcullis_fixtures::keys::{self, Algorithm, Key};
use portcullis_fixtures::persona::{ALICE, BOB};
use portcullis_fixtures::token::TokenBuilder;

use super::stage::*;
use crate::config::Limits;
use crate::denial::{ChallengeError, DenyReason};
use crate::gate::{Evidence, Fetch, Step};
use crate::limit::Rate;
use crate::time::UnixTime;

/// What came of an arrival: nothing for one that is in.
fn outcome(stage: &Stage, request: &Request) -> Option<DenyReason> {
    match stage.arrive(request) {
        Ok(Step::Done(_)) => None,
        Ok(Step::Needs(fetch)) => panic!("needs {fetch:?}"),
        Err(denial) => Some(denial.reason),
    }
}

#[test]
fn a_head_comes_in_only_when_all_of_it_is_ours() {
    type Case = (&'static str, fn(&mut Request), Option<DenyReason>);
    let cases: &[Case] = &[
        ("as it is", |_| {}, None),
        ("longer path", |r| r.path = "/crm/", Some(DenyReason::RouteUnknown)),
        (
            "path in another case",
            |r| r.path = "/CRM",
            Some(DenyReason::RouteUnknown),
        ),
        ("no path", |r| r.path = "/", Some(DenyReason::RouteUnknown)),
        ("host in another case", |r| r.host = "GATE.example", None),
        (
            "foreign host",
            |r| r.host = "evil.example",
            Some(DenyReason::HostUnknown),
        ),
        (
            "host with a port",
            |r| r.host = "gate.example:8443",
            Some(DenyReason::HostUnknown),
        ),
        (
            "host as a suffix",
            |r| r.host = "x.gate.example",
            Some(DenyReason::HostUnknown),
        ),
        ("no host", |r| r.host = "", Some(DenyReason::HostUnknown)),
        ("known origin", |r| r.add("origin", "https://app.example"), None),
        (
            "foreign origin",
            |r| r.add("origin", "https://evil.example"),
            Some(DenyReason::OriginForbidden),
        ),
        (
            "opaque origin",
            |r| r.add("origin", "null"),
            Some(DenyReason::OriginForbidden),
        ),
        (
            "two origins",
            |r| {
                r.add("origin", "https://app.example");
                r.add("origin", "https://app.example");
            },
            Some(DenyReason::HeadMalformed),
        ),
        ("a query", |r| r.query = Some(""), Some(DenyReason::QueryPresent)),
        (
            "no credential",
            |r| {
                r.headers.remove("authorization");
            },
            Some(DenyReason::CredentialMissing),
        ),
        (
            "two credentials",
            |r| r.add("authorization", "Bearer x"),
            Some(DenyReason::CredentialRepeated),
        ),
        (
            "a proof of possession",
            |r| r.add("dpop", "x"),
            Some(DenyReason::CredentialRepeated),
        ),
        (
            "another scheme",
            |r| r.set("authorization", "Basic YTpi"),
            Some(DenyReason::CredentialScheme),
        ),
        (
            "a scheme alone",
            |r| r.set("authorization", "Bearer"),
            Some(DenyReason::CredentialScheme),
        ),
        (
            "two tokens",
            |r| r.set("authorization", "Bearer a b"),
            Some(DenyReason::CredentialScheme),
        ),
        (
            "no token at all",
            |r| r.set("authorization", "Bearer a"),
            Some(DenyReason::TokenMalformed),
        ),
        ("a cookie beside", |r| r.add("cookie", "token=x"), None),
        ("GET", |r| r.method = Method::GET, None),
        (
            "GET of JSON",
            |r| {
                r.method = Method::GET;
                r.set("accept", "application/json");
            },
            Some(DenyReason::NotAcceptable),
        ),
        (
            "GET of a stream alone",
            |r| {
                r.method = Method::GET;
                r.set("accept", "text/event-stream");
            },
            None,
        ),
        ("DELETE", |r| r.method = Method::DELETE, None),
        ("PUT", |r| r.method = Method::PUT, Some(DenyReason::HttpMethod)),
        ("HEAD", |r| r.method = Method::HEAD, Some(DenyReason::HttpMethod)),
        (
            "charset of JSON",
            |r| r.set("content-type", "application/json; charset=utf-8"),
            None,
        ),
        (
            "another charset",
            |r| r.set("content-type", "application/json; charset=utf-16"),
            Some(DenyReason::MediaType),
        ),
        (
            "another type",
            |r| r.set("content-type", "text/plain"),
            Some(DenyReason::MediaType),
        ),
        (
            "a coding",
            |r| r.add("content-encoding", "gzip"),
            Some(DenyReason::MediaType),
        ),
        ("any answer", |r| r.set("accept", "*/*"), None),
        (
            "only JSON",
            |r| r.set("accept", "application/json"),
            Some(DenyReason::NotAcceptable),
        ),
        (
            "only streams",
            |r| r.set("accept", "text/event-stream"),
            Some(DenyReason::NotAcceptable),
        ),
    ];
    let stage = Stage::new();
    for (name, change, expected) in cases {
        let mut request = Request::read();
        change(&mut request);
        assert_eq!(outcome(&stage, &request), *expected, "{name}");
    }
}

#[test]
fn refusals_stand_in_the_order_of_the_stages() {
    let stage = Stage::new();
    let mut request = Request::read();
    request.method = Method::PUT;
    request.set("content-type", "text/plain");
    request.headers.remove("authorization");
    request.query = Some("");
    request.add("origin", "https://evil.example");
    request.host = "evil.example";
    request.path = "/nowhere";
    let mut check = |expected, cure: fn(&mut Request)| {
        assert_eq!(outcome(&stage, &request), Some(expected));
        cure(&mut request);
    };
    check(DenyReason::RouteUnknown, |r| r.path = "/crm");
    check(DenyReason::HostUnknown, |r| r.host = "gate.example");
    check(DenyReason::OriginForbidden, |r| {
        r.headers.remove("origin");
    });
    check(DenyReason::QueryPresent, |r| r.query = None);
    check(DenyReason::CredentialMissing, |r| r.add("authorization", "Bearer a"));
    check(DenyReason::TokenMalformed, |r| {
        let token = token(&ALICE).sign(keys::es256());
        r.set("authorization", &format!("Bearer {token}"));
    });
    check(DenyReason::HttpMethod, |r| r.method = Method::POST);
    check(DenyReason::MediaType, |r| r.set("content-type", "application/json"));
    assert_eq!(outcome(&stage, &request), None);
}

#[test]
fn a_token_is_ours_in_everything_or_refused() {
    type Case = (&'static str, fn(TokenBuilder) -> TokenBuilder, Option<DenyReason>);
    let cases: &[Case] = &[
        ("as it is", |t| t, None),
        (
            "our audience among others",
            |t| t.audiences(&["https://other.example", RESOURCE]),
            None,
        ),
        (
            "another audience",
            |t| t.audiences(&["https://gate.example/code"]),
            Some(DenyReason::TokenAudience),
        ),
        (
            "the origin as audience",
            |t| t.claim("aud", "https://gate.example"),
            Some(DenyReason::TokenAudience),
        ),
        ("no audience", |t| t.without("aud"), Some(DenyReason::TokenClaims)),
        (
            "another issuer",
            |t| t.claim("iss", "https://evil.example"),
            Some(DenyReason::TokenIssuer),
        ),
        (
            "the issuer with a slash",
            |t| t.claim("iss", "https://issuer.example/"),
            Some(DenyReason::TokenIssuer),
        ),
        (
            "expired within the leeway",
            |t| t.claim("iat", NOW_S - 300).expires(NOW_S - 59),
            None,
        ),
        (
            "expired",
            |t| t.claim("iat", NOW_S - 300).expires(NOW_S - 60),
            Some(DenyReason::TokenExpired),
        ),
        ("no end", |t| t.without("exp"), Some(DenyReason::TokenLifetime)),
        ("begins within the leeway", |t| t.claim("nbf", NOW_S + 60), None),
        (
            "begins later",
            |t| t.claim("nbf", NOW_S + 61),
            Some(DenyReason::TokenNotYetValid),
        ),
        (
            "lives too long",
            |t| t.expires(NOW_S + 90_000),
            Some(DenyReason::TokenLifetime),
        ),
        ("no subject", |t| t.without("sub"), Some(DenyReason::TokenClaims)),
        (
            "bound to a key",
            |t| t.claim("cnf", serde_json::json!({"jkt": "0".repeat(43)})),
            Some(DenyReason::TokenSenderBound),
        ),
        ("another type", |t| t.header("typ", "JWT"), Some(DenyReason::TokenType)),
        ("four actors", |t| t.act("a").act("b").act("c").act("d"), None),
        (
            "five actors",
            |t| t.act("a").act("b").act("c").act("d").act("e"),
            Some(DenyReason::IdentityUnbound),
        ),
    ];
    let stage = Stage::new();
    for (name, change, expected) in cases {
        let token = change(token(&ALICE)).sign(keys::es256());
        let request = with(&token);
        assert_eq!(outcome(&stage, &request), *expected, "{name}");
        if let Some(reason) = expected {
            let challenge = stage.arrive(&request).unwrap_err().challenge.expect(name);
            assert_eq!(challenge.error, Some(ChallengeError::InvalidToken), "{name} {reason:?}");
        }
    }
}

/// The request that carries this token.
fn with(token: &str) -> Request {
    Request::with_token(&read_call(Era::Legacy), token)
}

#[test]
fn a_signature_is_by_a_key_of_the_issuer_and_its_algorithm() {
    let stage = Stage::new();
    let mine = token(&ALICE);
    let own = keys::es256();
    let forged = Key::new_es256(own.kid());
    let signed = mine.sign(own);
    let cut = signed.rsplit_once('.').unwrap().0;
    for (name, token, expected) in [
        ("as it is", signed.clone(), None),
        (
            "another key under the same kid",
            mine.sign(&forged),
            Some(DenyReason::TokenSignature),
        ),
        (
            "the signature of another token",
            transplanted(&token(&ALICE).sign(own), &signed),
            Some(DenyReason::TokenSignature),
        ),
        (
            "no kid",
            mine.clone().header("kid", serde_json::Value::Null).sign(own),
            None,
        ),
        ("no signature", format!("{cut}."), Some(DenyReason::TokenMalformed)),
        ("two parts", cut.to_owned(), Some(DenyReason::TokenMalformed)),
        ("a fourth part", format!("{signed}."), Some(DenyReason::TokenMalformed)),
        ("alg none", mine.unsigned(), Some(DenyReason::TokenMalformed)),
        (
            "alg HS256",
            mine.sign_hmac(own.kid(), b"public"),
            Some(DenyReason::TokenAlgorithm),
        ),
        (
            "an algorithm that the issuer may not use",
            mine.sign_with(keys::es384(), Algorithm::Es384),
            Some(DenyReason::TokenAlgorithm),
        ),
        (
            "an algorithm that is not the key's",
            mine.header("kid", own.kid()).sign(keys::ed25519()),
            Some(DenyReason::TokenAlgorithm),
        ),
    ] {
        assert_eq!(outcome(&stage, &with(&token)), expected, "{name}");
    }
}

/// The claims of one token under the signature of another.
fn transplanted(claims: &str, signature: &str) -> String {
    let (body, _) = claims.rsplit_once('.').unwrap();
    let (_, signature) = signature.rsplit_once('.').unwrap();
    format!("{body}.{signature}")
}

#[test]
fn an_unknown_key_asks_for_one_fetch_and_then_decides() {
    let new = Key::new_es256("es-2");
    let newer = NOW.after(Duration::from_secs(1));
    type Publish = fn(&Stage, &Key, UnixTime);
    let publish_both: Publish = |stage, new, at| {
        stage
            .gate
            .publish_keys(&issuer(ISSUER), &key_set(&[keys::es256(), new], at));
    };
    let publish_old: Publish = |stage, _, at| {
        stage.gate.publish_keys(&issuer(ISSUER), &key_set(&[keys::es256()], at));
    };
    for (name, keys, publish, expected) in [
        ("the fetch brings the key", true, publish_both, None),
        (
            "the fetch brings the old keys",
            true,
            publish_old,
            Some(DenyReason::TokenKeyUnknown),
        ),
        ("the fetch fails", true, |_, _, _| {}, Some(DenyReason::TokenKeyUnknown)),
        ("the first fetch brings the key", false, publish_both, None),
        (
            "the first fetch fails",
            false,
            |_, _, _| {},
            Some(DenyReason::KeysUnavailable),
        ),
    ] {
        let stage = Stage::with(Setup {
            keys,
            ..Setup::default()
        });
        let request = with(&token(&ALICE).sign(&new));
        let mut visit = stage.gate.begin(NOW);
        let step = visit.authenticate(&request.head()).unwrap();
        let Step::Needs(fetch) = step else {
            panic!("{name}: the key is unknown");
        };
        assert_eq!(fetch, Fetch::Jwks(Arc::from(ISSUER)), "{name}");
        publish(&stage, &new, newer);
        let denial = visit.resume(fetch, Evidence::Published, &request.head(), newer).err();
        assert_eq!(denial.as_ref().map(|denial| denial.reason), expected, "{name}");
        // What the client can cure has a challenge, what it can wait for has a time.
        let cure = denial.map(|denial| (denial.challenge.is_some(), denial.retry_after_s.is_some()));
        let unavailable = expected == Some(DenyReason::KeysUnavailable);
        assert_eq!(cure, expected.map(|_| (!unavailable, unavailable)), "{name}");
    }
}

#[test]
fn keys_past_their_age_serve_no_longer_even_tokens_seen_before() {
    let stage = Stage::new();
    let age_max = Limits::default().jwks_age_max;
    let claims = token(&ALICE).expires(NOW_S + 7_200);
    let request = with(&claims.sign(keys::es256()));
    for (now, serves) in [
        (NOW, true),
        (NOW.after(age_max), true),
        (NOW.after(age_max + Duration::from_nanos(1)), false),
    ] {
        let step = stage.gate.begin(now).authenticate(&request.head()).unwrap();
        assert_eq!(matches!(step, Step::Done(_)), serves);
    }
}

#[test]
fn a_challenge_tells_where_tokens_come_from_and_which_scopes_there_are() {
    let stage = Stage::new();
    let mut request = Request::read();
    request.headers.remove("authorization");
    let challenge = stage.arrive(&request).unwrap_err().challenge.unwrap();
    assert_eq!(challenge.error, None);
    assert_eq!(challenge.scope.as_deref(), Some("salesforce:read salesforce:write"));
    assert_eq!(
        challenge.resource_metadata,
        "https://gate.example/.well-known/oauth-protected-resource/crm"
    );
    request.query = Some("");
    assert_eq!(stage.arrive(&request).unwrap_err().challenge, None);
}

#[test]
fn a_rate_is_one_subjects_own_through_one_client() {
    let stage = Stage::with(Setup {
        rate: Rate {
            per_second: 1,
            burst: 2,
        },
        ..Setup::default()
    });
    let (alice, bob) = (Request::read(), Request::by(&BOB, &read_call(Era::Legacy)));
    assert_eq!(outcome(&stage, &alice), None);
    assert_eq!(outcome(&stage, &alice), None);
    // Another token of hers shares her rate; another client has its own.
    let laptop = with(&token(&ALICE).client("laptop").sign(keys::es256()));
    assert_eq!(outcome(&stage, &laptop), None);
    let other = with(&token(&ALICE).claim("jti", "another").sign(keys::es256()));
    let denial = stage.arrive(&other).unwrap_err();
    assert_eq!(denial.reason, DenyReason::RateLimited);
    assert!(denial.retry_after_s.is_some_and(|seconds| (1..=2).contains(&seconds)));
    assert_eq!(outcome(&stage, &bob), None);
    let later = NOW.after(Duration::from_secs(1));
    assert!(stage.gate.begin(later).authenticate(&alice.head()).is_ok());
}
