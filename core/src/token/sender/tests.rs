//! Proofs that pass and their refused neighbours; which token may come how.

use std::time::Duration;

use http::Method;
use portcullis_fixtures::dpop::{DpopClient, ProofBuilder};
use portcullis_fixtures::keys::{self, Algorithm as Signing, Key, base64url};
use portcullis_fixtures::token::compact;
use serde_json::{Value, json};

use super::{Binding, SenderCheck, SenderRules, Shown};
use crate::credential::Proof;
use crate::crypto::MacKey;
use crate::denial::DenyReason;
use crate::time::UnixTime;
use crate::token::tests::{NOW, RESOURCE, World, good};
use crate::token::{Nonces, ReplayLimits, SeenProofs, Target, VerifiedToken};

const INVALID: Result<(), DenyReason> = Err(DenyReason::DpopProofInvalid);
const BOUND: Result<(), DenyReason> = Err(DenyReason::TokenSenderBound);
const CERTIFICATE: [u8; 32] = [7; 32];

/// A resource with the memory of its proofs.
struct Resource {
    world: World,
    key: MacKey,
    target: Target,
    seen: SeenProofs,
    rules: SenderRules,
    replay: ReplayLimits,
}

impl Resource {
    fn new() -> Self {
        Self::with(SenderRules::default())
    }

    fn with(rules: SenderRules) -> Self {
        Self {
            world: World::new(),
            key: MacKey::new([9; 32]),
            target: Target::parse(RESOURCE).unwrap(),
            seen: SeenProofs::default(),
            rules,
            replay: ReplayLimits {
                age_max: Duration::from_secs(300),
                proofs_max: 1_000,
                proofs_per_key_max: 100,
            },
        }
    }

    fn nonces(&self) -> Nonces<'_> {
        Nonces {
            key: &self.key,
            resource: RESOURCE,
            span: self.replay.age_max,
        }
    }

    /// What becomes of a request with this token, proof and certificate at `now`.
    fn judge(
        &self,
        token: &str,
        proof: Option<&str>,
        certificate: Option<&[u8; 32]>,
        now: u64,
    ) -> Result<(), DenyReason> {
        let token = self.verified(token);
        let check = SenderCheck {
            rules: self.rules,
            target: &self.target,
            nonces: self.nonces(),
            seen: &self.seen,
            proof_bytes_max: 4_096,
            leeway: Duration::from_secs(60),
            replay: self.replay,
        };
        let shown = Shown {
            method: &Method::POST,
            proof: proof.map(Proof::of),
            certificate,
        };
        check
            .check(&token, &shown, UnixTime::from_secs(now))
            .map_err(|denial| denial.reason)
    }

    fn verified(&self, token: &str) -> std::sync::Arc<VerifiedToken> {
        self.world.judge_at(token, NOW).unwrap()
    }

    #[track_caller]
    fn check_at(&self, name: &str, token: &str, proof: &str, now: u64, expected: Result<(), DenyReason>) {
        assert_eq!(self.judge(token, Some(proof), None, now), expected, "{name}");
    }

    #[track_caller]
    fn check(&self, name: &str, token: &str, proof: &str, expected: Result<(), DenyReason>) {
        self.check_at(name, token, proof, NOW, expected);
    }
}

fn new_client() -> DpopClient {
    DpopClient::new(Key::new_es256("mine"))
}

/// A token with this `cnf`.
fn bound_to(cnf: Value) -> String {
    good().claim("cnf", cnf).sign(keys::ed25519())
}

#[test]
fn a_confirmation_names_a_key_a_certificate_or_both() {
    let world = World::new();
    let (digest, certificate) = (base64url(&[1; 32]), base64url(&CERTIFICATE));
    let binding = |cnf: Value| {
        let token = world.judge_at(&bound_to(cnf), NOW);
        token.map(|token| token.confirmation().binding())
    };
    for (cnf, expected) in [
        (json!({"jkt": digest}), Ok(Binding::Dpop)),
        (json!({"x5t#S256": certificate}), Ok(Binding::Mtls)),
        (json!({"jkt": digest, "x5t#S256": certificate}), Ok(Binding::Both)),
        (json!({"jwk": {"kty": "OKP"}}), Err(DenyReason::TokenSenderBound)),
        (json!({"jwe": "x"}), Err(DenyReason::TokenSenderBound)),
        (json!({"kid": "x"}), Err(DenyReason::TokenSenderBound)),
        (
            json!({"jku": "https://as.example/jwks", "kid": "x"}),
            Err(DenyReason::TokenSenderBound),
        ),
        (json!({"x5t": digest}), Err(DenyReason::TokenSenderBound)),
        (json!({"JKT": digest}), Err(DenyReason::TokenSenderBound)),
        (json!({"jkt": digest, "kid": "x"}), Err(DenyReason::TokenSenderBound)),
        (json!({}), Err(DenyReason::TokenClaims)),
        (json!(null), Err(DenyReason::TokenClaims)),
        (json!("x"), Err(DenyReason::TokenClaims)),
        (json!([digest]), Err(DenyReason::TokenClaims)),
        (json!({"jkt": "x"}), Err(DenyReason::TokenClaims)),
        (json!({"jkt": null}), Err(DenyReason::TokenClaims)),
        (json!({"jkt": [digest]}), Err(DenyReason::TokenClaims)),
        (json!({"jkt": base64url(&[1; 31])}), Err(DenyReason::TokenClaims)),
        (json!({"jkt": base64url(&[1; 33])}), Err(DenyReason::TokenClaims)),
        (json!({"jkt": format!("{digest}=")}), Err(DenyReason::TokenClaims)),
        (json!({"x5t#S256": "07".repeat(32)}), Err(DenyReason::TokenClaims)),
    ] {
        assert_eq!(binding(cnf.clone()), expected, "{cnf}");
    }
    let unbound = world.judge_at(&good().sign(keys::ed25519()), NOW).unwrap();
    assert_eq!(unbound.confirmation().binding(), Binding::None);
}

#[test]
fn a_token_comes_as_it_is_bound() {
    let client = new_client();
    let proof = |token: &str| client.proof("POST", RESOURCE, token, NOW).sign();
    let mut both = client.confirmation();
    both["x5t#S256"] = json!(base64url(&CERTIFICATE));
    let [bearer, key, certificate, both] = [
        good().sign(keys::ed25519()),
        bound_to(client.confirmation()),
        bound_to(json!({"x5t#S256": base64url(&CERTIFICATE)})),
        bound_to(both),
    ];
    let (mine, another) = (Some(&CERTIFICATE), Some(&[8; 32]));
    let unbound = Err(DenyReason::TokenUnbound);
    for (name, token, proven, shown, expected, required) in [
        ("bearer", &bearer, false, None, Ok(()), unbound),
        ("bearer with a certificate", &bearer, false, mine, Ok(()), unbound),
        ("bearer with a proof", &bearer, true, None, BOUND, unbound),
        ("key", &key, true, None, Ok(()), Ok(())),
        ("key as bearer", &key, false, None, BOUND, BOUND),
        ("key as bearer with a certificate", &key, false, mine, BOUND, BOUND),
        ("certificate", &certificate, false, mine, Ok(()), unbound),
        ("another certificate", &certificate, false, another, BOUND, BOUND),
        ("no certificate", &certificate, false, None, BOUND, BOUND),
        ("certificate with a proof", &certificate, true, mine, BOUND, unbound),
        ("both", &both, true, mine, Ok(()), Ok(())),
        ("both without the proof", &both, false, mine, BOUND, BOUND),
        ("both without the certificate", &both, true, None, BOUND, BOUND),
        ("both with another certificate", &both, true, another, BOUND, BOUND),
    ] {
        for (dpop_required, expected) in [(false, expected), (true, required)] {
            let resource = Resource::with(SenderRules {
                dpop_required,
                dpop_nonce: false,
            });
            let proof = proven.then(|| proof(token));
            let judged = resource.judge(token, proof.as_deref(), shown, NOW);
            assert_eq!(judged, expected, "{name}, required: {dpop_required}");
        }
    }
}

#[test]
fn a_proof_is_for_this_very_request() {
    type Change = fn(ProofBuilder<'_>) -> ProofBuilder<'_>;
    let cases: &[(&str, Change, Result<(), DenyReason>)] = &[
        ("as it is", |p| p, Ok(())),
        ("further claims", |p| p.claim("sub", "x").header("kid", "x"), Ok(())),
        ("no htm", |p| p.without("htm"), INVALID),
        ("another method", |p| p.claim("htm", "GET"), INVALID),
        ("method in lower case", |p| p.claim("htm", "post"), INVALID),
        ("a list of methods", |p| p.claim("htm", json!(["POST"])), INVALID),
        ("no htu", |p| p.without("htu"), INVALID),
        ("an empty htu", |p| p.claim("htu", ""), INVALID),
        (
            "host in upper case",
            |p| p.claim("htu", "HTTPS://GATE.example/mcp"),
            Ok(()),
        ),
        (
            "default port",
            |p| p.claim("htu", "https://gate.example:443/mcp"),
            Ok(()),
        ),
        (
            "a query and a fragment",
            |p| p.claim("htu", "https://gate.example/mcp?a#b"),
            Ok(()),
        ),
        (
            "another port",
            |p| p.claim("htu", "https://gate.example:8443/mcp"),
            INVALID,
        ),
        ("another scheme", |p| p.claim("htu", "http://gate.example/mcp"), INVALID),
        (
            "another path",
            |p| p.claim("htu", "https://gate.example/other"),
            INVALID,
        ),
        (
            "a longer path",
            |p| p.claim("htu", "https://gate.example/mcp/"),
            INVALID,
        ),
        ("the origin", |p| p.claim("htu", "https://gate.example"), INVALID),
        (
            "another host",
            |p| p.claim("htu", "https://gate.example.evil/mcp"),
            INVALID,
        ),
        ("the path alone", |p| p.claim("htu", "/mcp"), INVALID),
        ("no ath", |p| p.without("ath"), INVALID),
        (
            "the digest of another token",
            |p| p.claim("ath", base64url(&[0; 32])),
            INVALID,
        ),
        ("a short digest", |p| p.claim("ath", base64url(&[0; 31])), INVALID),
        ("a number as ath", |p| p.claim("ath", 1), INVALID),
        ("no jti", |p| p.without("jti"), INVALID),
        ("an empty jti", |p| p.claim("jti", ""), INVALID),
        ("a number as jti", |p| p.claim("jti", 1), INVALID),
        ("a nonce that nobody asks for", |p| p.nonce("x"), Ok(())),
        ("a nonce that is none", |p| p.claim("nonce", 1), INVALID),
        ("a null nonce", |p| p.claim("nonce", Value::Null), INVALID),
    ];
    let (resource, client) = (Resource::new(), new_client());
    let token = bound_to(client.confirmation());
    for (name, change, expected) in cases {
        let proof = change(client.proof("POST", RESOURCE, &token, NOW)).sign();
        resource.check(name, &token, &proof, *expected);
        // Once accepted it is spent; what was refused stays refused for what it is.
        resource.check(name, &token, &proof, INVALID);
    }
    let other = good().claim("cnf", client.confirmation()).claim("jti", "2");
    let other = other.sign(keys::ed25519());
    let proof = client.proof("POST", RESOURCE, &other, NOW).sign();
    resource.check("another token of the same key", &token, &proof, INVALID);
    resource.check("the token itself", &other, &proof, Ok(()));
}

#[test]
fn an_origin_has_two_spellings() {
    let (mut resource, client) = (Resource::new(), new_client());
    let token = bound_to(client.confirmation());
    for (target, expected) in [
        ("https://gate.example", Ok(())),
        ("https://gate.example/", Ok(())),
        ("https://gate.example/mcp", INVALID),
    ] {
        resource.target = Target::parse(target).unwrap();
        for url in ["https://gate.example", "https://gate.example/"] {
            let proof = client.proof("POST", url, &token, NOW).sign();
            resource.check(target, &token, &proof, expected);
        }
    }
}

#[test]
fn a_proof_is_of_now() {
    let client = new_client();
    let token = bound_to(client.confirmation());
    let proof = |iat: u64| client.proof("POST", RESOURCE, &token, iat);
    let cases = [
        ("now", proof(NOW), Ok(())),
        ("as old as it may be", proof(NOW - 300), Ok(())),
        ("too old", proof(NOW - 301), INVALID),
        ("very old", proof(0), INVALID),
        ("ahead within the leeway", proof(NOW + 60), Ok(())),
        ("ahead", proof(NOW + 61), INVALID),
        ("far ahead", proof(u64::MAX / 2_000_000), INVALID),
        ("no iat", proof(NOW).without("iat"), INVALID),
        ("iat as a string", proof(NOW).claim("iat", NOW.to_string()), INVALID),
        ("iat as a fraction", proof(NOW).claim("iat", 1.8e9), INVALID),
        ("iat below zero", proof(NOW).claim("iat", -1), INVALID),
        ("iat null", proof(NOW).claim("iat", Value::Null), INVALID),
        ("expired within the leeway", proof(NOW).claim("exp", NOW - 59), Ok(())),
        ("expired", proof(NOW).claim("exp", NOW - 60), INVALID),
        ("exp as a string", proof(NOW).claim("exp", "x"), INVALID),
        ("valid in a moment", proof(NOW).claim("nbf", NOW + 60), Ok(())),
        ("valid later", proof(NOW).claim("nbf", NOW + 61), INVALID),
    ];
    let resource = Resource::new();
    for (name, proof, expected) in cases {
        resource.check(name, &token, &proof.sign(), expected);
    }
}

#[test]
fn a_proof_is_signed_by_the_key_of_its_token() {
    let (resource, client, other) = (Resource::new(), new_client(), new_client());
    let token = bound_to(client.confirmation());
    let proof = || client.proof("POST", RESOURCE, &token, NOW);
    let check = |name: &str, proof: String, expected| resource.check(name, &token, &proof, expected);
    check("as it is", proof().sign(), Ok(()));
    check(
        "by another client",
        other.proof("POST", RESOURCE, &token, NOW).sign(),
        BOUND,
    );
    check(
        "another key in the header",
        proof().header("jwk", other.jwk()).sign(),
        BOUND,
    );
    let forged = proof().sign_with(other.key(), Signing::Es256);
    check("signed by another key", forged, INVALID);
    let signed = proof().sign();
    let (input, signature) = signed.rsplit_once('.').unwrap();
    let again = proof().sign();
    let (_, other_signature) = again.rsplit_once('.').unwrap();
    check(
        "the signature of another proof",
        format!("{input}.{other_signature}"),
        INVALID,
    );
    check("r and s are zero", format!("{input}.{}", base64url(&[0; 64])), INVALID);
    check("no signature", format!("{input}."), INVALID);
    check("two parts", input.to_owned(), INVALID);
    check("a padded signature", format!("{input}.{signature}=="), INVALID);
    check("two proofs in one field", format!("{signed}, {signed}"), INVALID);
    check("no proof", "x".to_owned(), INVALID);
    check("an empty field", String::new(), INVALID);
    check("a long proof", proof().claim("x", "x".repeat(4_096)).sign(), INVALID);
    check("the proof itself", signed, Ok(()));
}

#[test]
fn a_header_says_what_a_proof_is() {
    type Change = fn(ProofBuilder<'_>) -> ProofBuilder<'_>;
    let cases: &[(&str, Change)] = &[
        ("no typ", |p| p.without_header("typ")),
        ("typ of a token", |p| p.header("typ", "at+jwt")),
        ("any typ", |p| p.header("typ", "JWT")),
        ("typ in another case", |p| p.header("typ", "DPoP+JWT")),
        ("typ as a list", |p| p.header("typ", json!(["dpop+jwt"]))),
        ("alg none", |p| p.header("alg", "none")),
        ("alg HS256", |p| p.header("alg", "HS256")),
        ("alg ES384", |p| p.header("alg", "ES384")),
        ("alg of another kind", |p| p.header("alg", "EdDSA")),
        ("alg in another case", |p| p.header("alg", "es256")),
        ("no jwk", |p| p.without_header("jwk")),
        ("jwk as text", |p| p.header("jwk", "x")),
        ("jwk as a set", |p| p.header("jwk", json!({"keys": []}))),
        ("a symmetric jwk", |p| {
            p.header("jwk", json!({"kty": "oct", "k": "AAAA"}))
        }),
        ("crit", |p| p.header("crit", json!(["exp"]))),
        ("an empty crit", |p| p.header("crit", json!([]))),
    ];
    let (resource, client) = (Resource::new(), new_client());
    let token = bound_to(client.confirmation());
    let proof = || client.proof("POST", RESOURCE, &token, NOW);
    for (name, change) in cases {
        resource.check(name, &token, &change(proof()).sign(), INVALID);
    }
    for (member, value) in [("d", json!("AAAA")), ("use", json!("enc")), ("alg", json!("ES384"))] {
        let mut jwk = client.jwk();
        jwk[member] = value;
        resource.check(member, &token, &proof().header("jwk", jwk).sign(), INVALID);
    }
    let mut marked = client.jwk();
    marked["use"] = json!("sig");
    marked["kid"] = json!("mine");
    resource.check("kid and use", &token, &proof().header("jwk", marked).sign(), Ok(()));
}

#[test]
fn a_proof_has_one_reading() {
    let (resource, client) = (Resource::new(), new_client());
    let token = bound_to(client.confirmation());
    let proof = client.proof("POST", RESOURCE, &token, NOW);
    let (header, claims) = (proof.header_json(Signing::Es256), proof.claims_json());
    let doubled = |text: &str, member: &str| text.replacen('{', &format!("{{{member},"), 1);
    let check = |name: &str, header: &str, claims: &str, expected| {
        let proof = compact(header, claims, client.key(), Signing::Es256);
        resource.check(name, &token, &proof, expected);
    };
    for member in [r#""htm":"POST""#, r#""\u0068tm":"POST""#, r#""jti":"x""#, r#""iat":1"#] {
        check(member, &header, &doubled(&claims, member), INVALID);
    }
    for member in [r#""typ":"dpop+jwt""#, r#""alg":"ES256""#, r#""jwk":{}"#] {
        check(member, &doubled(&header, member), &claims, INVALID);
    }
    check("an array", &header, "[]", INVALID);
    check("no JSON", &header, "x", INVALID);
    check("a second document", &header, &format!("{claims}{{}}"), INVALID);
    check("a header that is no JSON", "x", &claims, INVALID);
    check("as it is", &header, &claims, Ok(()));
}

#[test]
fn every_algorithm_of_the_challenge_proves() {
    let resource = Resource::new();
    for signing in Signing::ALL {
        let key = match signing {
            Signing::EdDsa => Key::new_ed25519("own"),
            Signing::Es256 => Key::new_es256("own"),
            Signing::Es384 => Key::new_es384("own"),
            _ => Key::new_rsa("own", 2_048),
        };
        let client = DpopClient::new(key);
        let token = bound_to(client.confirmation());
        let proof = client.proof("POST", RESOURCE, &token, NOW);
        let listed = crate::token::PROOF_ALGORITHMS
            .iter()
            .any(|algorithm| algorithm.name() == signing.as_str());
        let expected = if listed { Ok(()) } else { INVALID };
        assert_eq!(listed, signing != Signing::Es384);
        resource.check(
            signing.as_str(),
            &token,
            &proof.sign_with(client.key(), signing),
            expected,
        );
    }
}

#[test]
fn a_server_asks_for_its_own_nonce() {
    let resource = Resource::with(SenderRules {
        dpop_required: false,
        dpop_nonce: true,
    });
    let client = new_client();
    let token = bound_to(client.confirmation());
    let missing = Err(DenyReason::DpopNonceMissing);
    let given = |at: u64| resource.nonces().current(UnixTime::from_secs(at));
    let elsewhere = Nonces {
        resource: "https://gate.example/other",
        ..resource.nonces()
    };
    let forged = Nonces {
        key: &MacKey::new([0; 32]),
        ..resource.nonces()
    };
    let now = UnixTime::from_secs(NOW);
    for (name, nonce, expected) in [
        ("the present one", given(NOW), Ok(())),
        ("the last one", given(NOW - 300), Ok(())),
        ("an old one", given(NOW - 600), missing),
        ("one to come", given(NOW + 300), missing),
        ("one of another resource", elsewhere.current(now), missing),
        ("one of another gate", forged.current(now), missing),
        ("anything", "x".to_owned(), missing),
    ] {
        let proof = client.proof("POST", RESOURCE, &token, NOW).nonce(&nonce).sign();
        resource.check(name, &token, &proof, expected);
    }
    let proof = client.proof("POST", RESOURCE, &token, NOW);
    resource.check("none", &token, &proof.sign(), missing);
    resource.check("an empty one", &token, &proof.clone().nonce("").sign(), INVALID);
    let stale = client.proof("POST", RESOURCE, &token, NOW - 301).nonce(&given(NOW));
    resource.check("a present one in an old proof", &token, &stale.sign(), INVALID);
    let unbound = good().sign(keys::ed25519());
    assert_eq!(resource.judge(&unbound, None, None, NOW), Ok(()));
}

#[test]
fn a_proof_serves_once_whatever_token_is_remembered() {
    let mut resource = Resource::new();
    let client = new_client();
    let token = bound_to(client.confirmation());
    let proof = client.proof("POST", RESOURCE, &token, NOW).sign();
    resource.check("first", &token, &proof, Ok(()));
    for now in [NOW, NOW + 1, NOW + 300, NOW + 301] {
        resource.check_at("again", &token, &proof, now, INVALID);
    }
    // A reload that lets older proofs pass brings none of them back.
    resource.check_at(
        "later",
        &token,
        &client.proof("POST", RESOURCE, &token, NOW + 301).sign(),
        NOW + 301,
        Ok(()),
    );
    resource.replay.age_max = Duration::from_secs(3_600);
    resource.check_at("after a reload", &token, &proof, NOW + 301, INVALID);

    resource.replay.proofs_per_key_max = 1;
    let next = || client.proof("POST", RESOURCE, &token, NOW + 301).sign();
    let limited = Err(DenyReason::RateLimited);
    resource.check_at("one too many of a key", &token, &next(), NOW + 301, limited);
    let other = new_client();
    let others = bound_to(other.confirmation());
    let proof = |now| other.proof("POST", RESOURCE, &others, now).sign();
    resource.check_at("another key", &others, &proof(NOW + 301), NOW + 301, Ok(()));
    resource.replay.proofs_max = 2;
    let unavailable = Err(DenyReason::DpopUnavailable);
    resource.check_at("one too many", &others, &proof(NOW + 301), NOW + 301, unavailable);
}
