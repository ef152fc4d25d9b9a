//! Tokens that pass and their refused neighbours: times, audiences and claims.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use portcullis_fixtures::keys::{self, Key};
use portcullis_fixtures::token::TokenBuilder;
use serde_json::{Value, json};

use super::{
    Answered, Failures, IdentityForm, Issuer, IssuerError, IssuerKeys, IssuerParts, MachineMark, MarkTest, RolesFrom,
    Terms, TokenCache, TokenLimits, Verification, VerifiedToken, verify,
};
use crate::credential::BearerToken;
use crate::crypto::Algorithm;
use crate::denial::{Denial, DenyReason};
use crate::jwks::{JwksLimits, KeySet};
use crate::limit::Rate;
use crate::time::UnixTime;
use crate::token::explain::{Check, Outcome, explain};

mod answers;
mod attacks;
mod cache;
mod failures;
mod introspection;
mod profiles;
mod rules;

pub(super) const ISSUER: &str = "https://as.example/t";
pub(super) const RESOURCE: &str = "https://gate.example/mcp";
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) const LIMITS: TokenLimits = TokenLimits {
    token_bytes_max: 4_096,
    lifetime_max: Duration::from_secs(3_600),
    leeway: Duration::from_secs(60),
    keys_age_max: Duration::from_secs(3_600),
    introspection_deadline: Duration::from_secs(1),
    introspection_bytes_max: 4_096,
    introspection_cached_max: Duration::from_secs(60),
    introspection_refused_cached: Duration::from_secs(5),
    failures: Rate {
        per_second: 1,
        burst: 50,
    },
};
/// Where the tokens of tests come from.
pub(super) const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(super) fn parts(url: &str) -> IssuerParts {
    IssuerParts::strict(Arc::from(url))
}

/// An accepted issuer of tokens for [`RESOURCE`], also known as `second`.
pub(super) fn entry(parts: IssuerParts, keys: &[&Key]) -> IssuerKeys {
    IssuerKeys {
        issuer: Arc::new(Issuer::new(parts).unwrap()),
        keys: Some(key_set(keys, NOW)),
        audiences: Arc::from([Arc::from(RESOURCE), Arc::from("second")]),
    }
}

pub(super) fn key_set(keys: &[&Key], fetched_at: u64) -> Arc<KeySet> {
    let limits = JwksLimits {
        bytes_max: 65_536,
        keys_max: 10,
    };
    Arc::new(KeySet::parse(keys::jwks(keys).as_bytes(), &limits, UnixTime::from_secs(fetched_at)).unwrap())
}

/// A resource with its accepted issuers, and a cache.
pub(super) struct World {
    pub(super) accepted: Vec<IssuerKeys>,
    pub(super) cache: TokenCache,
    failures: Failures,
}

impl World {
    pub(super) fn of(accepted: Vec<IssuerKeys>) -> Self {
        Self {
            accepted,
            cache: TokenCache::new(100),
            failures: Failures::default(),
        }
    }

    /// One issuer with one Ed25519 key.
    pub(super) fn with(parts: IssuerParts) -> Self {
        Self::of(vec![entry(parts, &[keys::ed25519()])])
    }

    pub(super) fn new() -> Self {
        Self::with(parts(ISSUER))
    }

    fn verify_at(&self, token: &str, now: u64) -> Result<Verification, DenyReason> {
        let Some(bearer) = BearerToken::parse(token) else {
            return Err(DenyReason::CredentialScheme);
        };
        let judged = verify(bearer, &self.terms(SOURCE, now, None));
        self.check_explained(token, now, &judged);
        judged.map_err(|denial| denial.reason)
    }

    /// Every verdict of these tests is also the explanation's, but for what depends on earlier tokens or on the issuer.
    fn check_explained(&self, token: &str, now: u64, judged: &Result<Verification, Denial>) {
        let refused = match judged {
            Ok(Verification::Verified(_)) => None,
            Ok(Verification::NeedsKeys { otherwise, .. } | Verification::NeedsIntrospection { otherwise, .. }) => {
                Some(otherwise)
            }
            Err(denial) => Some(denial),
        };
        let asked = self.accepted.iter().any(|entry| entry.issuer.introspection().is_some());
        if asked || refused.is_some_and(|denial| denial.reason == DenyReason::VerificationLimited) {
            return;
        }
        let explained = explain(token, &self.accepted, UnixTime::from_secs(now), &LIMITS);
        let told = explained.refusal.as_ref().map(|(_, denial)| denial);
        assert_eq!(
            told.map(|denial| (denial.reason, denial.operator)),
            refused.map(|denial| (denial.reason, denial.operator)),
            "{token}"
        );
    }

    /// What a token from `source` is verified by, with or without its issuer's answer.
    pub(super) fn terms<'t>(&'t self, source: IpAddr, now: u64, answer: Option<&'t Answered>) -> Terms<'t> {
        Terms {
            accepted: &self.accepted,
            limits: &LIMITS,
            cache: &self.cache,
            failures: &self.failures,
            source,
            now: UnixTime::from_secs(now),
            answer,
        }
    }

    /// What becomes of a token; one that needs keys that nobody brings is refused.
    pub(super) fn judge_at(&self, token: &str, now: u64) -> Result<Arc<VerifiedToken>, DenyReason> {
        match self.verify_at(token, now)? {
            Verification::Verified(verified) => Ok(verified),
            Verification::NeedsKeys { issuer, otherwise } => {
                assert!(self.accepted.iter().any(|entry| *entry.issuer.url() == issuer));
                Err(otherwise.reason)
            }
            Verification::NeedsIntrospection { otherwise, .. } => Err(otherwise.reason),
        }
    }

    /// Judges twice, so that the cache answers the second time where it may.
    pub(super) fn check(&self, token: &str, expected: Result<(), DenyReason>) {
        for _ in 0..2 {
            assert_eq!(self.judge_at(token, NOW).map(|_| ()), expected, "{token}");
        }
    }

    pub(super) fn claims(&self, change: Value, expected: Result<(), DenyReason>) {
        let builder = change
            .as_object()
            .unwrap()
            .iter()
            .fold(good(), |builder, (name, value)| builder.claim(name, value.clone()));
        for _ in 0..2 {
            let judged = self.judge_at(&builder.sign(keys::ed25519()), NOW);
            assert_eq!(judged.map(|_| ()), expected, "{change}");
        }
    }
}

pub(super) fn good() -> TokenBuilder {
    TokenBuilder::new(ISSUER, RESOURCE, NOW)
}

const CLAIMS: Result<(), DenyReason> = Err(DenyReason::TokenClaims);

#[test]
fn explanations_name_the_check_that_failed() {
    let world = World::new();
    let check = |token: &str, now: u64, expected: Option<Check>| {
        let explained = explain(token, &world.accepted, UnixTime::from_secs(now), &LIMITS);
        assert_eq!(explained.refusal.as_ref().map(|(check, _)| *check), expected, "{token}");
        for check in Check::ALL {
            let outcome = match expected {
                Some(failed) if failed < check => Outcome::NotReached,
                Some(failed) if failed == check => Outcome::Failed,
                _ => Outcome::Passed,
            };
            assert_eq!(explained.outcome(check), outcome, "{token}");
        }
    };
    let key = keys::ed25519();
    let good_token = good().sign(key);
    check(&good_token, NOW, None);
    check(&format!("{good_token} "), NOW, Some(Check::Credential));
    check(&"x".repeat(5_000), NOW, Some(Check::Size));
    check("opaque", NOW, Some(Check::Form));
    check(&good().header("alg", "ES512").sign(key), NOW, Some(Check::Header));
    check(&good().claim("big", 1e300).sign(key), NOW, Some(Check::Json));
    check(
        &good().claim("iss", "https://other.example").sign(key),
        NOW,
        Some(Check::Issuer),
    );
    check(&good().sign(keys::es384()), NOW, Some(Check::Algorithm));
    check(&good().header("typ", "JWT").sign(key), NOW, Some(Check::Type));
    check(&good_token, NOW + 4_000, Some(Check::Keys));
    check(&good().sign(&Key::new_ed25519("new")), NOW, Some(Check::Key));
    check(&good().sign(&Key::new_ed25519("ed-1")), NOW, Some(Check::Signature));
    check(&good().without("sub").sign(key), NOW, Some(Check::Claims));
    check(&good_token, NOW + 400, Some(Check::Times));
    check(&good().claim("aud", "other").sign(key), NOW, Some(Check::Audience));
}

#[test]
fn every_algorithm_verifies_with_its_own_key() {
    use portcullis_fixtures::keys::Algorithm as Signing;
    let all = [keys::ed25519(), keys::es256(), keys::es384(), keys::rsa()];
    let world = |algorithms: &[Algorithm]| {
        let mut parts = parts(ISSUER);
        parts.algorithms = algorithms.to_vec();
        World::of(vec![entry(parts, &all)])
    };
    let (every, default) = (world(&Algorithm::ALL), world(&Issuer::DEFAULT_ALGORITHMS));
    for signing in Signing::ALL {
        let algorithm = Algorithm::from_name(signing.as_str()).unwrap();
        let token = good().sign_with(signing.key(), signing);
        every.check(&token, Ok(()));
        let refused = Err(DenyReason::TokenAlgorithm);
        default.check(&token, if algorithm == Algorithm::Es384 { refused } else { Ok(()) });
        world(&[algorithm]).check(&token, Ok(()));
        let others: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(|other| *other != algorithm).collect();
        world(&others).check(&token, refused);
    }
}

#[test]
fn times_are_checked_to_the_second() {
    let world = World::new();
    let token = good().claim("nbf", NOW + 10).expires(NOW + 300).sign(keys::ed25519());
    // Issued at NOW, valid from NOW + 10 to NOW + 300, a minute of leeway on each side.
    for (now, expected) in [
        (NOW - 61, Err(DenyReason::TokenNotYetValid)),
        (NOW - 60, Err(DenyReason::TokenNotYetValid)),
        (NOW - 51, Err(DenyReason::TokenNotYetValid)),
        (NOW - 50, Ok(())),
        (NOW + 359, Ok(())),
        (NOW + 360, Err(DenyReason::TokenExpired)),
        (NOW + 100, Ok(())),
    ] {
        assert_eq!(world.judge_at(&token, now).map(|_| ()), expected, "{now}");
    }
    for (change, expected) in [
        (json!({"iat": NOW + 60, "exp": NOW + 90}), Ok(())),
        (
            json!({"iat": NOW + 61, "exp": NOW + 90}),
            Err(DenyReason::TokenNotYetValid),
        ),
        (json!({"iat": NOW - 59, "exp": NOW - 58}), Ok(())),
        (json!({"iat": NOW - 90, "exp": NOW - 60}), Err(DenyReason::TokenExpired)),
        (json!({"exp": NOW + 3_600}), Ok(())),
        (json!({"exp": NOW + 3_601}), Err(DenyReason::TokenLifetime)),
        (json!({"exp": NOW}), CLAIMS),
        (json!({"exp": NOW - 1}), CLAIMS),
    ] {
        world.claims(change, expected);
    }
    let lifetime = Err(DenyReason::TokenLifetime);
    world.check(&good().without("exp").sign(keys::ed25519()), lifetime);
    // Without `iat`, a token is as old as its `nbf`.
    for (nbf, exp, expected) in [
        (None, NOW + 300, CLAIMS),
        (Some(NOW), NOW + 300, Ok(())),
        (Some(NOW), NOW + 3_600, Ok(())),
        (Some(NOW), NOW + 3_601, lifetime),
        (Some(NOW - 1), NOW + 3_600, lifetime),
        (Some(NOW), NOW, CLAIMS),
        (Some(NOW + 61), NOW + 300, Err(DenyReason::TokenNotYetValid)),
    ] {
        let token = good().without("iat").expires(exp);
        let token = match nbf {
            Some(nbf) => token.claim("nbf", nbf),
            None => token,
        };
        world.check(&token.sign(keys::ed25519()), expected);
    }
}

#[test]
fn audiences_and_issuers_are_compared_byte_by_byte() {
    let world = World::new();
    for (aud, expected) in [
        (json!(RESOURCE), Ok(())),
        (json!("second"), Ok(())),
        (json!(["other", "second"]), Ok(())),
        (json!("https://gate.example/mcp/"), Err(DenyReason::TokenAudience)),
        (json!("https://GATE.example/mcp"), Err(DenyReason::TokenAudience)),
        (json!(["other"]), Err(DenyReason::TokenAudience)),
        (json!(["secon", "econd", "*"]), Err(DenyReason::TokenAudience)),
    ] {
        world.claims(json!({ "aud": aud }), expected);
    }
    for iss in [
        "https://as.example/t/",
        "https://as.example",
        "https://as.example/T",
        "",
    ] {
        world.claims(json!({ "iss": iss }), Err(DenyReason::TokenIssuer));
    }
}

#[test]
fn types_are_those_that_the_issuer_may_have() {
    let world = |types: Option<&[&str]>| {
        let mut parts = parts(ISSUER);
        parts.token_types = types.map(|types| types.iter().map(|&name| name.to_owned()).collect());
        World::with(parts)
    };
    let token = |typ: Value, claims: Value| {
        let builder = claims
            .as_object()
            .unwrap()
            .iter()
            .fold(good(), |builder, (name, value)| builder.claim(name, value.clone()));
        builder.header("typ", typ).sign(keys::ed25519())
    };
    let strict = world(None);
    let wide = world(Some(&["at+jwt", "JWT", "absent"]));
    let narrow = world(Some(&["JWT"]));
    let refused = Err(DenyReason::TokenType);
    for (typ, by_strict, by_wide, by_narrow) in [
        (json!("at+jwt"), Ok(()), Ok(()), refused),
        (json!("AT+JWT"), Ok(()), Ok(()), refused),
        (json!("application/at+jwt"), Ok(()), Ok(()), refused),
        (json!("JWT"), refused, Ok(()), Ok(())),
        (json!(null), refused, Ok(()), refused),
        (json!("oauth-id-jag+jwt"), refused, refused, refused),
        (json!("dpop+jwt"), refused, refused, refused),
        (json!("logout+jwt"), refused, refused, refused),
        (json!("secevent+jwt"), refused, refused, refused),
        (json!("token-introspection+jwt"), refused, refused, refused),
        (json!("application/jwt"), refused, refused, refused),
        (json!(""), refused, refused, refused),
    ] {
        let token = token(typ, json!({}));
        strict.check(&token, by_strict);
        wide.check(&token, by_wide);
        narrow.check(&token, by_narrow);
    }
    // What a header leaves open, and what no header can make good.
    for (claims, of_jwt, of_access_token) in [
        (json!({"typ": "Bearer"}), Ok(()), Ok(())),
        (json!({"typ": "dpop"}), Ok(()), Ok(())),
        (json!({"typ": "ID"}), refused, refused),
        (json!({"typ": "Refresh"}), refused, refused),
        (json!({"typ": 1}), refused, refused),
        (json!({"token_use": "access"}), Ok(()), Ok(())),
        (json!({"token_use": "id"}), refused, refused),
        (json!({"token_use": null}), refused, refused),
        (json!({"token_type": "refresh_token"}), Ok(()), Ok(())),
        (json!({"nonce": "n"}), refused, Ok(())),
        (json!({"at_hash": "h"}), refused, Ok(())),
        (json!({"events": {}}), refused, Ok(())),
        (json!({"client_id": RESOURCE}), refused, Ok(())),
        (
            json!({"client_id": RESOURCE, "aud": [RESOURCE, RESOURCE]}),
            refused,
            Ok(()),
        ),
        (
            json!({"client_id": RESOURCE, "aud": [RESOURCE, "second"]}),
            Ok(()),
            Ok(()),
        ),
    ] {
        wide.check(&token(json!("JWT"), claims.clone()), of_jwt);
        wide.check(&token(json!("at+jwt"), claims), of_access_token);
    }
    strict.check(&token(json!(["at+jwt"]), json!({})), Err(DenyReason::TokenMalformed));
}

#[test]
fn scopes_and_clients_are_read_from_either_claim() {
    let world = World::new();
    let scopes = |change: Value, expected: &[&str]| {
        let builder = change
            .as_object()
            .unwrap()
            .iter()
            .fold(good(), |builder, (name, value)| builder.claim(name, value.clone()));
        let token = world.judge_at(&builder.sign(keys::ed25519()), NOW).unwrap();
        let found: Vec<&str> = token.scopes().iter().map(|scope| &**scope).collect();
        assert_eq!(found, expected, "{change}");
        assert!(expected.iter().all(|scope| token.has_scope(scope)));
        assert!(!token.has_scope("rep") && !token.has_scope("repo repo:read") && !token.has_scope(""));
    };
    scopes(json!({}), &[]);
    scopes(json!({"scope": ""}), &[]);
    scopes(json!({"scope": "repo:read repo repo"}), &["repo", "repo:read"]);
    scopes(json!({"scp": ["repo:read", "repo"]}), &["repo", "repo:read"]);
    scopes(json!({"scp": "repo:read repo"}), &["repo", "repo:read"]);
    scopes(json!({"scp": ["a"], "scope": "a"}), &["a"]);
    for change in [
        json!({"scope": ["repo"]}),
        json!({"scope": null}),
        json!({"scope": "a\tb"}),
        json!({"scope": "a\"b"}),
        json!({"scope": "ä"}),
        json!({"scp": ["a b"]}),
        json!({"scp": [""]}),
        json!({"scp": {}}),
        json!({"scp": ["a"], "scope": "a b"}),
        json!({"client_id": "a", "azp": "b"}),
        json!({"client_id": ""}),
        json!({"azp": 7}),
    ] {
        world.claims(change, CLAIMS);
    }
    let azp = good().without("client_id").claim("azp", "party");
    assert_eq!(
        &**world.judge_at(&azp.sign(keys::ed25519()), NOW).unwrap().client_id(),
        "party"
    );
    world.check(&good().without("client_id").sign(keys::ed25519()), CLAIMS);
    world.claims(json!({"azp": "desktop"}), Ok(()));
}

#[test]
fn a_verified_token_says_what_the_issuer_wrote() {
    let mut parts = parts(ISSUER);
    parts.groups_claim = Some("/realm_access/groups".to_owned());
    parts.roles_claim = Some("https://as.example/roles".to_owned());
    let world = World::with(parts);
    let token = good()
        .claim("realm_access", json!({"groups": ["sales", "emea"]}))
        .claim("https://as.example/roles", json!(["analyst"]))
        .claim("roles", json!(["admin"]))
        .claim("acr", "2")
        .claim("amr", json!(["pwd", "otp"]))
        .claim("auth_time", NOW - 5)
        .claim("jti", "j-1")
        .act("first")
        .act("agent-1");
    let verified = world.judge_at(&token.sign(keys::ed25519()), NOW).unwrap();
    let texts = |list: &[Box<str>]| list.join(",");
    assert_eq!(texts(verified.groups()), "sales,emea");
    assert_eq!(texts(verified.roles()), "analyst");
    assert_eq!(texts(verified.amr()), "pwd,otp");
    assert_eq!(texts(verified.audiences()), RESOURCE);
    assert_eq!((verified.acr(), verified.auth_time()), (Some("2"), Some(NOW - 5)));
    assert_eq!((verified.jti(), &**verified.subject()), (Some("j-1"), "alice"));
    assert_eq!((&**verified.issuer(), &**verified.client_id()), (ISSUER, "desktop"));
    assert_eq!(verified.issued_at(), Some(UnixTime::from_secs(NOW)));
    assert_eq!(verified.expires(), UnixTime::from_secs(NOW + 300));
    let actors: Vec<&str> = verified.actors().iter().map(|actor| &*actor.subject).collect();
    assert_eq!(actors, ["agent-1", "first"]);
    assert_eq!(verified.claims_json(), token.claims_json());
    assert!(!format!("{verified:?}").contains("alice"));
    for change in [
        json!({"realm_access": {"groups": "sales"}}),
        json!({"realm_access": {"groups": [1]}}),
        json!({"https://as.example/roles": {}}),
        json!({"acr": 2}),
        json!({"amr": "pwd"}),
        json!({"auth_time": "now"}),
        json!({"jti": 7}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"act": "agent"}),
        json!({"act": null}),
        json!({"act": {}}),
        json!({"act": {"sub": ""}}),
        json!({"act": {"sub": "a", "iss": 1}}),
        json!({"act": {"sub": "a", "act": []}}),
        json!({"may_act": "agent"}),
    ] {
        world.claims(change, CLAIMS);
    }
}
