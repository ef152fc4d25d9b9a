//! Bound tokens at the gate: what proves them on every request, what a client is told, and what stands on record.

use portcullis_fixtures::calls::Era;
use portcullis_fixtures::dpop::DpopClient;
use portcullis_fixtures::keys::{self, Key, base64url};
use portcullis_fixtures::persona::ALICE;
use serde_json::json;

use super::stage::*;
use crate::denial::{Challenge, ChallengeError, DenyReason, DpopChallenge, DpopError};
use crate::gate::Step;
use crate::head::ClientCertificate;
use crate::token::SenderRules;

const CERTIFICATE: [u8; 32] = [7; 32];

/// A stage whose server asks this of senders.
fn stage(dpop_required: bool, dpop_nonce: bool) -> Stage {
    Stage::with(Setup {
        sender: SenderRules {
            dpop_required,
            dpop_nonce,
        },
        ..Setup::default()
    })
}

/// A client and Alice's token that is bound to its key.
fn bound() -> (DpopClient, String) {
    let client = DpopClient::new(Key::new_es256("mine"));
    let token = token(&ALICE).claim("cnf", client.confirmation()).sign(keys::es256());
    (client, token)
}

/// Alice's call with a token of the scheme `DPoP`.
fn with_proof(token: &str, proof: &str) -> Request {
    let mut request = Request::read();
    request.set("authorization", &format!("DPoP {token}"));
    request.set("dpop", proof);
    request
}

fn refused(stage: &Stage, request: &Request) -> (DenyReason, Option<Challenge>) {
    let denial = stage.arrive(request).unwrap_err();
    (denial.reason, denial.challenge.map(|challenge| *challenge))
}

#[test]
fn a_proof_is_asked_for_on_every_request() {
    let stage = Stage::new();
    let (client, token) = bound();
    let proof = || client.proof("POST", RESOURCE, &token, NOW_S).sign();
    let spent = proof();
    for proof in [spent.clone(), proof(), proof()] {
        let arrived = stage.arrive(&with_proof(&token, &proof)).unwrap();
        assert!(matches!(arrived, Step::Done(_)));
    }
    let check = |request: &Request, expected| assert_eq!(refused(&stage, request).0, expected);
    check(&with_proof(&token, &spent), DenyReason::DpopProofInvalid);
    // The memory of proofs is the gate's, not the configuration's.
    stage.gate.publish(snapshot(&Setup::default()));
    check(&with_proof(&token, &spent), DenyReason::DpopProofInvalid);
    let bearer = Request::with_token(&read_call(Era::Legacy), &token);
    check(&bearer, DenyReason::TokenSenderBound);
    let mut without = with_proof(&token, "");
    without.headers.remove("dpop");
    check(&without, DenyReason::DpopProofInvalid);
    let mut twice = with_proof(&token, &proof());
    twice.add("dpop", &proof());
    check(&twice, DenyReason::DpopProofInvalid);
    let mut beside = bearer;
    beside.add("dpop", &proof());
    check(&beside, DenyReason::CredentialRepeated);
    assert!(stage.arrive(&with_proof(&token, &proof())).is_ok());
}

#[test]
fn a_proof_is_spent_on_a_good_token_alone() {
    let stage = Stage::new();
    let (client, token) = bound();
    let proof = client.proof("POST", RESOURCE, &token, NOW_S).sign();
    let mut request = with_proof(&token, &proof);
    request.host = "evil.example";
    assert_eq!(refused(&stage, &request).0, DenyReason::HostUnknown);
    request.host = "gate.example";
    assert!(stage.arrive(&request).is_ok());
    assert_eq!(refused(&stage, &request).0, DenyReason::DpopProofInvalid);
}

#[test]
fn a_client_is_told_which_scheme_it_needs() {
    let [plain, required, asking] = [stage(false, false), stage(true, false), stage(true, true)];
    let (client, token) = bound();
    let unbound = super::stage::token(&ALICE).sign(keys::es256());
    let proof = |url: &str| client.proof("POST", url, &token, NOW_S).sign();
    let bearer = |token: &str| Request::with_token(&read_call(Era::Legacy), token);
    let mut nobody = Request::read();
    nobody.headers.remove("authorization");
    let none = |error| Some(DpopChallenge { error, nonce: None });
    let token_error = Some(ChallengeError::InvalidToken);
    let cases = [
        (
            "nobody",
            &plain,
            nobody.clone(),
            DenyReason::CredentialMissing,
            None,
            None,
        ),
        (
            "nobody where it is required",
            &required,
            nobody.clone(),
            DenyReason::CredentialMissing,
            None,
            none(None),
        ),
        (
            "a bad bearer token",
            &plain,
            bearer("a.b.c"),
            DenyReason::TokenMalformed,
            token_error,
            None,
        ),
        (
            "a bad bound token",
            &plain,
            with_proof("a.b.c", &proof(RESOURCE)),
            DenyReason::TokenMalformed,
            token_error,
            none(Some(DpopError::InvalidToken)),
        ),
        (
            "a bound token as bearer",
            &plain,
            bearer(&token),
            DenyReason::TokenSenderBound,
            token_error,
            none(None),
        ),
        (
            "an unbound token where it is required",
            &required,
            bearer(&unbound),
            DenyReason::TokenUnbound,
            token_error,
            none(None),
        ),
        (
            "an unbound token with a proof",
            &plain,
            with_proof(&unbound, &proof(RESOURCE)),
            DenyReason::TokenSenderBound,
            token_error,
            none(Some(DpopError::InvalidToken)),
        ),
        (
            "a wrong proof",
            &plain,
            with_proof(&token, &proof("https://gate.example/other")),
            DenyReason::DpopProofInvalid,
            None,
            none(Some(DpopError::InvalidProof)),
        ),
    ];
    for (name, stage, request, reason, error, dpop) in cases {
        let (refused, challenge) = refused(stage, &request);
        let challenge = challenge.expect(name);
        assert_eq!(
            (refused, challenge.error, challenge.dpop),
            (reason, error, dpop),
            "{name}"
        );
    }
    // Every challenge of a server that asks for nonces brings the next one.
    let mut nonces = Vec::new();
    for (request, error) in [
        (nobody, None),
        (with_proof(&token, &proof(RESOURCE)), Some(DpopError::UseNonce)),
        (
            with_proof(&token, &proof("https://gate.example/")),
            Some(DpopError::InvalidProof),
        ),
    ] {
        let dpop = refused(&asking, &request).1.unwrap().dpop.unwrap();
        assert_eq!(dpop.error, error);
        nonces.extend(dpop.nonce);
    }
    assert_eq!(nonces.len(), 3);
    let answered = client.proof("POST", RESOURCE, &token, NOW_S).nonce(&nonces[0]).sign();
    assert!(asking.arrive(&with_proof(&token, &answered)).is_ok());
}

#[test]
fn a_full_memory_is_no_fault_of_the_token() {
    let mut setup = Setup::default();
    setup.limits.dpop_proofs_max = 2;
    setup.limits.dpop_proofs_per_key_max = 1;
    let stage = Stage::with(setup);
    let clients = [bound(), bound(), bound()];
    let request = |(client, token): &(DpopClient, String)| {
        with_proof(token, &client.proof("POST", RESOURCE, token, NOW_S).sign())
    };
    assert!(stage.arrive(&request(&clients[0])).is_ok());
    let limited = stage.arrive(&request(&clients[0])).unwrap_err();
    assert_eq!((limited.reason, limited.challenge), (DenyReason::RateLimited, None));
    assert_eq!(limited.retry_after_s, Some(301));
    assert!(stage.arrive(&request(&clients[1])).is_ok());
    let full = stage.arrive(&request(&clients[2])).unwrap_err();
    assert_eq!((full.reason, full.challenge), (DenyReason::DpopUnavailable, None));
}

#[test]
fn a_record_says_what_the_sender_has_proven() {
    let stage = Stage::new();
    let (client, _) = bound();
    let certificate = base64url(&CERTIFICATE);
    let mut both = client.confirmation();
    both["x5t#S256"] = json!(certificate);
    for (cnf, proven, expected) in [
        (json!(null), false, "none"),
        (client.confirmation(), true, "dpop"),
        (json!({"x5t#S256": certificate}), false, "mtls"),
        (both, true, "dpop+mtls"),
    ] {
        let mut token = token(&ALICE);
        if !cnf.is_null() {
            token = token.claim("cnf", cnf);
        }
        let token = token.sign(keys::es256());
        let mut request = match proven {
            true => with_proof(&token, &client.proof("POST", RESOURCE, &token, NOW_S).sign()),
            false => Request::with_token(&read_call(Era::Legacy), &token),
        };
        request.certificate = Some(ClientCertificate {
            sha256: CERTIFICATE,
            identity: None,
            refused: None,
        });
        let _ = stage.forward(&request).unwrap();
        let records = stage.records();
        let record = records.iter().rfind(|record| record["phase"] == "request").unwrap();
        assert_eq!(record["token"]["binding"], expected);
    }
}
