//! Tokens that their issuer is asked about: which answers count, and how long they serve.

use std::sync::Arc;

use portcullis_fixtures::keys::{self, Key};
use portcullis_fixtures::token::{self, TokenBuilder};
use serde_json::{Value, json};

use super::{ISSUER, LIMITS, NOW, RESOURCE, SOURCE, World, entry, good, parts, verify};
use crate::credential::BearerToken;
use crate::denial::DenyReason;
use crate::jwks::refresh::{FetchError, Fetched};
use crate::time::UnixTime;
use crate::token::{
    Answered, IntrospectedTokens, IntrospectionRules, IssuerKeys, TokenTenant, Verification, VerifiedToken,
};

const OPAQUE: &str = "0pAque-t0ken";
const US: &str = "gate-1";

type Judged = Result<Arc<VerifiedToken>, DenyReason>;

fn issuer(url: &str, tokens: Option<IntrospectedTokens>, signed: bool) -> IssuerKeys {
    let mut parts = parts(url);
    parts.introspection = tokens.map(|tokens| IntrospectionRules {
        tokens,
        signed_for: signed.then(|| Arc::from(US)),
        source: Arc::default(),
    });
    entry(parts, &[keys::ed25519()])
}

fn world(tokens: IntrospectedTokens) -> World {
    World::of(vec![issuer(ISSUER, Some(tokens), false)])
}

fn answered(status: u16, body: &[u8]) -> Answered {
    Answered {
        issuer: Arc::from(ISSUER),
        result: Ok(Arc::new(Fetched {
            status,
            body: body.to_vec(),
            cache_max_age_s: None,
        })),
    }
}

/// An answer for an opaque token, with these members changed; `null` takes one away.
fn active(change: &Value) -> Value {
    let mut answer = json!({
        "active": true,
        "client_id": "desktop",
        "sub": "alice",
        "aud": RESOURCE,
        "scope": "repo",
        "iss": ISSUER,
        "iat": NOW,
        "exp": NOW + 300,
    });
    let members = answer.as_object_mut().unwrap();
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    answer
}

fn step(world: &World, token: &str, now: u64, answer: Option<&Answered>) -> Result<Verification, DenyReason> {
    let bearer = BearerToken::parse(token).unwrap();
    verify(bearer, &world.terms(SOURCE, now, answer)).map_err(|denial| denial.reason)
}

/// What becomes of a token whose issuer answers so; `None` when the issuer is asked once more.
fn judge(world: &World, token: &str, now: u64, answer: Option<&Answered>) -> Option<Judged> {
    match step(world, token, now, answer) {
        Ok(Verification::Verified(verified)) => Some(Ok(verified)),
        Ok(Verification::NeedsIntrospection { request, otherwise }) => {
            assert_eq!(*request.issuer, *ISSUER);
            assert_eq!(otherwise.reason, DenyReason::IntrospectionUnavailable);
            assert!(!format!("{request:?}").contains(token), "a token is printed");
            None
        }
        Ok(Verification::NeedsKeys { otherwise, .. }) => Some(Err(otherwise.reason)),
        Err(reason) => Some(Err(reason)),
    }
}

fn check(world: &World, body: &[u8], status: u16, expected: Result<(), DenyReason>) {
    let judged = judge(world, OPAQUE, NOW, Some(&answered(status, body))).unwrap();
    assert_eq!(
        judged.map(|_| ()),
        expected,
        "{status} {}",
        String::from_utf8_lossy(body)
    );
}

#[test]
fn only_a_whole_answer_that_says_active_counts() {
    const UNAVAILABLE: Result<(), DenyReason> = Err(DenyReason::IntrospectionUnavailable);
    let good = active(&json!({})).to_string();
    for (status, body, expected) in [
        (200, good.as_str(), Ok(())),
        (200, r#"{"active":false}"#, Err(DenyReason::TokenInactive)),
        (201, &good, UNAVAILABLE),
        (204, "", UNAVAILABLE),
        (302, &good, UNAVAILABLE),
        (401, r#"{"active":false}"#, UNAVAILABLE),
        (500, &good, UNAVAILABLE),
        (503, r#"{"active":false}"#, UNAVAILABLE),
        (200, "", UNAVAILABLE),
        (200, "null", UNAVAILABLE),
        (200, "[true]", UNAVAILABLE),
        (200, "<html>", UNAVAILABLE),
        (200, "{}", UNAVAILABLE),
        (200, r#"{"active":"true"}"#, UNAVAILABLE),
        (200, r#"{"active":1}"#, UNAVAILABLE),
        (200, r#"{"Active":true}"#, UNAVAILABLE),
        (200, r#"{"active":false,"active":true}"#, UNAVAILABLE),
        (200, good.strip_suffix("}").unwrap(), UNAVAILABLE),
        (200, &format!("{good}{good}"), UNAVAILABLE),
        (200, &format!("{good}{}", " ".repeat(4_096)), UNAVAILABLE),
    ] {
        check(&world(IntrospectedTokens::Opaque), body.as_bytes(), status, expected);
    }
    for error in [FetchError::Connection, FetchError::TimedOut, FetchError::TooLarge] {
        let answer = Answered {
            issuer: Arc::from(ISSUER),
            result: Err(error),
        };
        let judged = judge(&world(IntrospectedTokens::Opaque), OPAQUE, NOW, Some(&answer));
        assert_eq!(judged.unwrap().map(|_| ()), UNAVAILABLE);
    }
}

#[test]
fn the_claims_of_an_answer_are_judged_like_a_tokens() {
    for (change, expected) in [
        (json!({}), Ok(())),
        (json!({"sub": null}), Ok(())),
        (json!({"iat": null}), Ok(())),
        (json!({"iss": null}), Ok(())),
        (
            json!({"iss": "https://other.example"}),
            Err(DenyReason::IntrospectionUnavailable),
        ),
        (json!({"aud": null}), Err(DenyReason::TokenClaims)),
        (json!({"aud": "https://other.example"}), Err(DenyReason::TokenAudience)),
        (json!({"exp": null}), Err(DenyReason::TokenLifetime)),
        (json!({"exp": "1"}), Err(DenyReason::TokenClaims)),
        (json!({"exp": NOW - 60}), Err(DenyReason::TokenClaims)),
        (json!({"iat": null, "exp": NOW - 60}), Err(DenyReason::TokenExpired)),
        (json!({"iat": null, "exp": NOW + 3_601}), Err(DenyReason::TokenLifetime)),
        (json!({"nbf": NOW + 61}), Err(DenyReason::TokenNotYetValid)),
        (json!({"client_id": null, "azp": null}), Err(DenyReason::TokenClaims)),
        (json!({"scope": 7}), Err(DenyReason::TokenClaims)),
        (json!({"cnf": 7}), Err(DenyReason::TokenClaims)),
    ] {
        let body = active(&change).to_string();
        let world = world(IntrospectedTokens::Opaque);
        let judged = judge(&world, OPAQUE, NOW, Some(&answered(200, body.as_bytes()))).unwrap();
        match (judged, expected) {
            // A binding that cannot be read is refused with either reason.
            (Err(DenyReason::TokenSenderBound), Err(DenyReason::TokenClaims)) => {}
            (judged, expected) => assert_eq!(judged.map(|_| ()), expected, "{change}"),
        }
    }
}

#[test]
fn an_answer_keeps_who_acts_and_who_the_client_is() {
    let change = json!({"sub": null, "act": {"sub": "agent-1"}, "scope": "repo salesforce:read", "jti": "j-1"});
    let answer = answered(200, active(&change).to_string().as_bytes());
    let token = judge(&world(IntrospectedTokens::Opaque), OPAQUE, NOW, Some(&answer))
        .unwrap()
        .unwrap();
    assert_eq!((&**token.subject(), &**token.client_id()), ("desktop", "desktop"));
    assert_eq!(&*token.actors()[0].subject, "agent-1");
    assert!(token.has_scope("salesforce:read"));
    assert_eq!((token.kind(), token.jti()), ("opaque", Some("j-1")));
    assert_eq!(token.introspected_at(), Some(UnixTime::from_secs(NOW)));
    assert_eq!(token.evidence_at(), UnixTime::from_secs(NOW));
}

#[test]
fn a9_answers_serve_for_their_time_and_no_longer() {
    let world = world(IntrospectedTokens::Opaque);
    let good = answered(200, active(&json!({"exp": NOW + 90})).to_string().as_bytes());
    assert!(judge(&world, OPAQUE, NOW, None).is_none(), "nobody was asked yet");
    assert!(judge(&world, OPAQUE, NOW, Some(&good)).unwrap().is_ok());
    assert!(judge(&world, OPAQUE, NOW + 60, None).unwrap().is_ok());
    assert!(judge(&world, OPAQUE, NOW + 61, None).is_none(), "it is asked anew");
    // An issuer that is down allows nothing that it allowed before.
    let down = Answered {
        issuer: Arc::from(ISSUER),
        result: Err(FetchError::Connection),
    };
    let unavailable = judge(&world, OPAQUE, NOW + 61, Some(&down)).unwrap();
    assert_eq!(unavailable.err(), Some(DenyReason::IntrospectionUnavailable));
    // The token's own end comes first, with its leeway.
    assert!(judge(&world, OPAQUE, NOW + 61, Some(&good)).unwrap().is_ok());
    let expired = judge(&world, OPAQUE, NOW + 150, Some(&good)).unwrap();
    assert_eq!(expired.err(), Some(DenyReason::TokenExpired));
}

#[test]
fn a_refusal_serves_for_a_moment_and_takes_the_token_out() {
    let world = world(IntrospectedTokens::Opaque);
    let good = answered(200, active(&json!({})).to_string().as_bytes());
    let revoked = answered(200, br#"{"active":false}"#);
    assert!(judge(&world, OPAQUE, NOW, Some(&good)).unwrap().is_ok());
    let inactive = Some(DenyReason::TokenInactive);
    assert_eq!(judge(&world, OPAQUE, NOW + 61, Some(&revoked)).unwrap().err(), inactive);
    assert_eq!(
        judge(&world, OPAQUE, NOW + 65, None).unwrap().err(),
        inactive,
        "remembered"
    );
    assert_eq!(judge(&world, OPAQUE, NOW + 65, Some(&good)).unwrap().err(), inactive);
    assert!(judge(&world, OPAQUE, NOW + 66, None).is_none(), "asked anew");
    // What one issuer refuses, another may know.
    let other = World::of(vec![issuer(
        "https://other.example",
        Some(IntrospectedTokens::Opaque),
        false,
    )]);
    assert!(matches!(
        step(&other, OPAQUE, NOW + 62, None),
        Ok(Verification::NeedsIntrospection { .. })
    ));
}

#[test]
fn a10_an_answer_serves_one_token_alone() {
    let world = world(IntrospectedTokens::Opaque);
    let good = answered(200, active(&json!({})).to_string().as_bytes());
    assert!(judge(&world, OPAQUE, NOW, Some(&good)).unwrap().is_ok());
    for other in ["0pAque-t0keN", "0pAque-t0ke", "0pAque-t0ken=", "0pAque-t0ken0"] {
        assert!(judge(&world, other, NOW, None).is_none(), "{other}");
    }
    // Nor does an answer of another issuer, or a change of the rules.
    let elsewhere = Answered {
        issuer: Arc::from("https://other.example"),
        ..good
    };
    assert!(judge(&world, "another", NOW, Some(&elsewhere)).is_none());
    let changed = World {
        accepted: vec![issuer(ISSUER, Some(IntrospectedTokens::OpaqueAndRevoked), false)],
        ..world
    };
    assert!(judge(&changed, OPAQUE, NOW, None).is_none());
}

#[test]
fn an_answer_tells_the_tenant_by_its_claim() {
    let mut rules = parts(ISSUER);
    rules.tenant = TokenTenant::Claim("org_id".to_owned());
    rules.introspection = Some(IntrospectionRules {
        tokens: IntrospectedTokens::Opaque,
        signed_for: None,
        source: Arc::default(),
    });
    let world = World::of(vec![entry(rules, &[keys::ed25519()])]);
    let foreign = Err(DenyReason::TenantForeign);
    for (change, expected) in [
        (json!({}), foreign),
        (json!({"org_id": ""}), foreign),
        (json!({"org_id": 7}), foreign),
        (json!({"org_id": "x".repeat(129)}), foreign),
        (json!({"org_id": "acme"}), Ok(Some("acme"))),
    ] {
        let answer = answered(200, active(&change).to_string().as_bytes());
        let judged = judge(&world, OPAQUE, NOW, Some(&answer)).unwrap();
        let tenant = judged.as_ref().map(|token| token.tenant().map(|tenant| &**tenant));
        assert_eq!(tenant.map_err(|reason| *reason), expected, "{change}");
    }
}

#[test]
fn tokens_that_name_no_issuer_need_exactly_one_that_is_asked() {
    let silent = World::new();
    assert_eq!(step(&silent, OPAQUE, NOW, None).err(), Some(DenyReason::TokenMalformed));
    let opaque = Some(IntrospectedTokens::Opaque);
    let two = World::of(vec![
        issuer(ISSUER, opaque, false),
        issuer("https://b.example", opaque, false),
    ]);
    assert_eq!(step(&two, OPAQUE, NOW, None).err(), Some(DenyReason::TokenIssuer));
    let one = World::of(vec![
        issuer("https://b.example", None, false),
        issuer(ISSUER, opaque, false),
    ]);
    assert!(judge(&one, OPAQUE, NOW, None).is_none());
    // A JWE has five parts, hence is opaque to us; three parts that are no JWS may be anything.
    for text in ["a.b.c.d.e", "ya29.part", "a..b", "a.b.c"] {
        assert!(judge(&one, text, NOW, None).is_none(), "{text}");
    }
}

#[test]
fn a_jwt_proves_itself_and_is_asked_about_when_that_is_configured() {
    let jwt = good().claim("jti", "j-1").sign(keys::ed25519());
    assert!(
        judge(&world(IntrospectedTokens::Opaque), &jwt, NOW, None)
            .unwrap()
            .is_ok()
    );
    let both = world(IntrospectedTokens::OpaqueAndRevoked);
    assert!(judge(&both, &jwt, NOW, None).is_none());
    let yes = answered(200, br#"{"active":true}"#);
    let token = judge(&both, &jwt, NOW, Some(&yes)).unwrap().unwrap();
    assert_eq!(
        (token.kind(), token.introspected_at()),
        ("jwt", Some(UnixTime::from_secs(NOW)))
    );
    assert!(judge(&both, &jwt, NOW + 60, None).unwrap().is_ok());
    assert!(judge(&both, &jwt, NOW + 61, None).is_none());
    // A forged one is not asked about: its issuer's yes would not help it.
    let forged = good().sign(&Key::new_ed25519(keys::ed25519().kid()));
    for answer in [None, Some(&yes)] {
        let judged = judge(&both, &forged, NOW, answer).unwrap();
        assert_eq!(judged.err(), Some(DenyReason::TokenSignature));
    }
    for (body, expected) in [
        (r#"{"active":false}"#, DenyReason::TokenInactive),
        (r#"{"active":true,"jti":"j-2"}"#, DenyReason::IntrospectionUnavailable),
        (
            r#"{"active":true,"client_id":"other"}"#,
            DenyReason::IntrospectionUnavailable,
        ),
        (
            r#"{"active":true,"iss":"https://b.example"}"#,
            DenyReason::IntrospectionUnavailable,
        ),
    ] {
        let world = world(IntrospectedTokens::OpaqueAndRevoked);
        let judged = judge(&world, &jwt, NOW, Some(&answered(200, body.as_bytes()))).unwrap();
        assert_eq!(judged.err(), Some(expected), "{body}");
    }
    // Other kinds of tokens are refused before anybody is asked.
    let alone = world(IntrospectedTokens::All);
    for other in [
        good().header("typ", "logout+jwt"),
        good().header("typ", "oauth-id-jag+jwt"),
        good().header("typ", "token-introspection+jwt"),
        good().claim("nonce", "n"),
        good().claim("at_hash", "h"),
    ] {
        let judged = judge(&alone, &other.sign(keys::ed25519()), NOW, None).unwrap();
        assert_eq!(judged.err(), Some(DenyReason::TokenType));
    }
    // Where the issuer's word alone counts, a JWT without a good signature is its business.
    let alone = world(IntrospectedTokens::All);
    assert!(judge(&alone, &forged, NOW, None).is_none());
    let body = active(&json!({})).to_string();
    let token = judge(&alone, &forged, NOW, Some(&answered(200, body.as_bytes()))).unwrap();
    assert_eq!(token.unwrap().kind(), "opaque");
}

#[test]
fn a_signed_answer_is_the_issuers_for_us_and_of_now() {
    let ours = |change: &Value| {
        let mut payload = json!({"iss": ISSUER, "aud": US, "iat": NOW, "token_introspection": active(&json!({}))});
        for (name, value) in change.as_object().unwrap() {
            payload[name] = value.clone();
        }
        payload.to_string()
    };
    let header = |typ: &str| json!({"alg": "EdDSA", "kid": keys::ed25519().kid(), "typ": typ}).to_string();
    let sign = |header: &str, payload: &str, key: &Key| token::compact(header, payload, key, key.algorithm());
    let typ = "token-introspection+jwt";
    let key = keys::ed25519();
    let stranger = Key::new_ed25519(key.kid());
    let plain = active(&json!({})).to_string();
    let unavailable = Err(DenyReason::IntrospectionUnavailable);
    for (name, body, expected) in [
        ("good", sign(&header(typ), &ours(&json!({})), key), Ok(())),
        (
            "a list",
            sign(&header(typ), &ours(&json!({"aud": ["x", US]})), key),
            Ok(()),
        ),
        ("plain", plain, unavailable),
        (
            "a stranger's",
            sign(&header(typ), &ours(&json!({})), &stranger),
            unavailable,
        ),
        (
            "another type",
            sign(&header("JWT"), &ours(&json!({})), key),
            unavailable,
        ),
        (
            "an access token",
            sign(&header("at+jwt"), &ours(&json!({})), key),
            unavailable,
        ),
        (
            "for another",
            sign(&header(typ), &ours(&json!({"aud": "gate-2"})), key),
            unavailable,
        ),
        (
            "of another",
            sign(&header(typ), &ours(&json!({"iss": "https://b.example"})), key),
            unavailable,
        ),
        (
            "old",
            sign(&header(typ), &ours(&json!({"iat": NOW - 62})), key),
            unavailable,
        ),
        (
            "early",
            sign(&header(typ), &ours(&json!({"iat": NOW + 62})), key),
            unavailable,
        ),
        (
            "undated",
            sign(&header(typ), &ours(&json!({"iat": null})), key),
            unavailable,
        ),
        (
            "empty",
            sign(&header(typ), &ours(&json!({"token_introspection": null})), key),
            unavailable,
        ),
        (
            "inactive",
            sign(
                &header(typ),
                &ours(&json!({"token_introspection": {"active": false}})),
                key,
            ),
            Err(DenyReason::TokenInactive),
        ),
    ] {
        let world = World::of(vec![issuer(ISSUER, Some(IntrospectedTokens::Opaque), true)]);
        let judged = judge(&world, OPAQUE, NOW, Some(&answered(200, body.as_bytes()))).unwrap();
        assert_eq!(judged.map(|_| ()), expected, "{name}");
    }
    // A key that is not known, or too old to say, asks for a fetch first; without it the answer counts for nothing.
    let rotated = Key::new_ed25519("rotated");
    let answer = sign(&header(typ).replace(key.kid(), "rotated"), &ours(&json!({})), &rotated);
    let answer = answered(200, answer.as_bytes());
    let asked = || World::of(vec![issuer(ISSUER, Some(IntrospectedTokens::Opaque), true)]);
    let good = answered(
        200,
        sign(&header(typ), &ours(&json!({"iat": NOW + 3_601})), key).as_bytes(),
    );
    for (now, answer) in [(NOW, &answer), (NOW + 3_601, &good)] {
        match step(&asked(), OPAQUE, now, Some(answer)) {
            Ok(Verification::NeedsKeys { otherwise, .. }) => {
                assert_eq!(otherwise.reason, DenyReason::IntrospectionUnavailable);
            }
            other => panic!("{:?}", other.err()),
        }
    }
    // A signed answer about a token is no token.
    let token = sign(
        &header(typ),
        &TokenBuilder::new(ISSUER, RESOURCE, NOW).claims_json(),
        key,
    );
    assert_eq!(
        step(&World::new(), &token, NOW, None).err(),
        Some(DenyReason::TokenType)
    );
}

#[test]
fn inactive_answers_count_as_failures_of_their_source() {
    let world = world(IntrospectedTokens::Opaque);
    let no = answered(200, br#"{"active":false}"#);
    for number in 0..LIMITS.failures.burst {
        let token = format!("guess-{number}");
        assert!(judge(&world, &token, NOW, None).is_none());
        let judged = judge(&world, &token, NOW, Some(&no)).unwrap();
        assert_eq!(judged.err(), Some(DenyReason::TokenInactive));
    }
    let judged = judge(&world, "guess-99", NOW, None).unwrap();
    assert_eq!(
        judged.err(),
        Some(DenyReason::VerificationLimited),
        "the issuer is not asked"
    );
}

/// What a token is bound to counts from either side: an answer that binds what the token leaves free, or binds it
/// otherwise, leaves nothing that a request could prove.
#[test]
fn answer_and_token_agree_on_what_it_is_bound_to() {
    let (mine, other) = (keys::base64url(&[1; 32]), keys::base64url(&[2; 32]));
    let (mine, other) = (json!({ "jkt": mine }), json!({ "jkt": other }));
    let bound = Err(DenyReason::TokenSenderBound);
    for (token, answer, expected) in [
        (None, None, Ok("none")),
        (None, Some(&mine), bound),
        (Some(&mine), None, Ok("dpop")),
        (Some(&mine), Some(&mine), Ok("dpop")),
        (Some(&mine), Some(&other), bound),
        (Some(&mine), Some(&json!({"kid": "x"})), bound),
        (Some(&mine), Some(&json!("x")), Err(DenyReason::TokenClaims)),
    ] {
        let signed = match token {
            Some(cnf) => good().claim("cnf", cnf.clone()),
            None => good(),
        };
        let change = answer.map_or_else(|| json!({}), |cnf| json!({ "cnf": cnf }));
        let body = active(&change).to_string();
        let world = world(IntrospectedTokens::OpaqueAndRevoked);
        let signed = signed.sign(keys::ed25519());
        let judged = judge(&world, &signed, NOW, Some(&answered(200, body.as_bytes()))).unwrap();
        let binding = judged.map(|token| token.confirmation().binding().code());
        assert_eq!(binding, expected, "{token:?} {answer:?}");
    }
    let opaque = active(&json!({ "cnf": mine })).to_string();
    let world = world(IntrospectedTokens::Opaque);
    let judged = judge(&world, OPAQUE, NOW, Some(&answered(200, opaque.as_bytes()))).unwrap();
    assert_eq!(judged.unwrap().confirmation().binding().code(), "dpop");
}
