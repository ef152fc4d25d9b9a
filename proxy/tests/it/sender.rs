//! Tokens that are bound to a key or a certificate, at the built gate: what proves them, and what is refused beside it.

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::dpop::{DpopClient, ProofBuilder};
use portcullis_fixtures::http1::{Response, request};
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::keys::{Key, base64url};
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::{Value, json};

use crate::gate::{Gate, HOST, RESOURCE, is_allow, until};
use crate::tls::{self, Authority};

/// A call that the policy allows to Alice.
fn call() -> Call {
    Call::tools_call(Era::Modern, 1, "demo.echo", r#"{"padding":"a"}"#)
}

/// Alice's token with this `cnf`.
fn token(gate: &Gate, cnf: Value) -> String {
    let builder = TokenBuilder::for_persona(&ALICE, gate.issuer.url(), RESOURCE, now_s());
    gate.issuer.sign(&builder.claim("cnf", cnf))
}

/// Every line of a field.
fn lines<'r>(answer: &'r Response, name: &str) -> Vec<&'r str> {
    let found = answer
        .headers
        .iter()
        .filter(|(present, _)| present.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str()).collect()
}

/// The status of an answer as it came over the wire.
fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A gate, a client with a key of its own, and what was refused so far.
struct Scene {
    gate: Gate,
    client: DpopClient,
    refused: Vec<&'static str>,
    passed: u64,
    /// Tokens and proofs that were shown: they stand in no log and no record.
    shown: Vec<String>,
}

impl Scene {
    fn new(gate: Gate) -> Self {
        Self {
            gate,
            client: DpopClient::new(Key::new_es256("mine")),
            refused: Vec::new(),
            passed: 0,
            shown: Vec::new(),
        }
    }

    fn bound(&self) -> String {
        token(&self.gate, self.client.confirmation())
    }

    fn proof(&self, token: &str) -> ProofBuilder<'_> {
        self.client.proof("POST", RESOURCE, token, now_s())
    }

    fn show(&mut self, call: &Call) -> Response {
        for (name, value) in &call.headers {
            if ["authorization", "dpop"].contains(&name.as_str()) {
                self.shown.extend(
                    value
                        .split(['.', ' '])
                        .filter(|part| 20 < part.len())
                        .map(str::to_owned),
                );
            }
        }
        self.gate.call(call)
    }

    #[track_caller]
    fn passes(&mut self, call: &Call) {
        let answer = self.show(call);
        self.passes_as(call, answer.status, &answer.text());
    }

    #[track_caller]
    fn passes_as(&mut self, call: &Call, status: u16, text: &str) {
        assert_eq!(status, 200, "{text}");
        self.passed += 1;
        assert_eq!(self.gate.upstream.capture().count(), self.passed);
        let arrived = self.gate.upstream.capture().last().unwrap();
        assert_eq!(arrived.body, call.body.as_bytes());
        for name in ["dpop", "client-cert", "x-client-cert"] {
            assert_eq!(arrived.header(name), None, "`{name}` went upstream");
        }
        assert_eq!(arrived.header("authorization"), Some("Bearer upstream-secret"));
    }

    /// Checks a refusal: its status, its reason in the log of the moment and later on record, nothing upstream.
    #[track_caller]
    fn refuses(&mut self, call: &Call, status: u16, reason: &'static str) -> Response {
        let answer = self.show(call);
        self.refuses_as(&answer.text(), answer.status, status, reason);
        answer
    }

    #[track_caller]
    fn refuses_as(&mut self, text: &str, answered: u16, status: u16, reason: &'static str) {
        assert_eq!(answered, status, "{reason}: {text}");
        assert_eq!(
            self.gate.upstream.capture().count(),
            self.passed,
            "{reason} went upstream"
        );
        self.refused.push(reason);
    }

    /// Ends the gate: every refusal stands on record with its reason, and every allow with this binding.
    #[track_caller]
    fn check_records(self, binding: &str) {
        let Self {
            gate,
            mut refused,
            passed,
            shown,
            ..
        } = self;
        let log = gate.log();
        gate.terminate();
        let (status, records) = gate.records();
        assert!(status.success());
        assert!(shown.iter().all(|part| !log.contains(part) && !records.contains(part)));
        let records: Vec<Value> = records
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let mut recorded = Vec::new();
        for record in records.iter().filter(|record| record["phase"] == "refusals") {
            for _ in 0..record["count"].as_u64().unwrap() {
                recorded.push(record["reason"].as_str().unwrap());
            }
        }
        recorded.sort_unstable();
        refused.sort_unstable();
        assert_eq!(recorded, refused);
        let allowed: Vec<&Value> = records.iter().filter(|record| is_allow(record)).collect();
        assert_eq!(u64::try_from(allowed.len()), Ok(passed));
        for record in allowed {
            assert_eq!(record["token"]["binding"], binding, "{record}");
        }
    }
}

#[test]
fn a_token_bound_to_a_key_passes_with_a_fresh_proof_alone() {
    let mut scene = Scene::new(Gate::start(""));
    let token = scene.bound();
    let proof = scene.proof(&token).sign();
    scene.passes(&call().dpop(&token, &proof));
    let replayed = scene.refuses(&call().dpop(&token, &proof), 401, "dpop_proof_invalid");
    let [bearer, dpop] = lines(&replayed, "www-authenticate")[..] else {
        panic!("{:?}", replayed.headers);
    };
    assert!(
        bearer.starts_with("Bearer scope=") && !bearer.contains("error"),
        "{bearer}"
    );
    assert!(
        dpop.starts_with(r#"DPoP error="invalid_dpop_proof", algs="EdDSA ES256 "#),
        "{dpop}"
    );
    assert_eq!(replayed.header("dpop-nonce"), None);

    let downgraded = scene.refuses(&call().bearer(&token), 401, "token_sender_bound");
    let [bearer, dpop] = lines(&downgraded, "www-authenticate")[..] else {
        panic!("{:?}", downgraded.headers);
    };
    assert!(bearer.starts_with(r#"Bearer error="invalid_token", "#), "{bearer}");
    assert!(dpop.starts_with("DPoP algs="), "{dpop}");
    let fresh = || scene.client.proof("POST", RESOURCE, &token, now_s()).sign();
    let thief = DpopClient::new(Key::new_es256("thief"));
    let calls = [
        (
            call().bearer(&token).header("dpop", &fresh()),
            400,
            "credential_repeated",
        ),
        (
            call().header("authorization", &format!("DPoP {token}")),
            401,
            "dpop_proof_invalid",
        ),
        (
            call().dpop(&token, &fresh()).header("dpop", &fresh()),
            401,
            "dpop_proof_invalid",
        ),
        (call().dpop(&token, "a.b.c"), 401, "dpop_proof_invalid"),
        (
            call().dpop(&token, &thief.proof("POST", RESOURCE, &token, now_s()).sign()),
            401,
            "token_sender_bound",
        ),
        (
            call().dpop(&token, &scene.proof(&token).claim("htm", "GET").sign()),
            401,
            "dpop_proof_invalid",
        ),
        (
            call().dpop(
                &token,
                &scene.proof(&token).claim("htu", "http://gate.test/code/mcp").sign(),
            ),
            401,
            "dpop_proof_invalid",
        ),
        (
            call().dpop(&token, &scene.proof(&token).claim("iat", now_s() - 400).sign()),
            401,
            "dpop_proof_invalid",
        ),
        (
            call().dpop(&token, &scene.proof("another token").sign()),
            401,
            "dpop_proof_invalid",
        ),
    ];
    for (call, status, reason) in calls {
        scene.refuses(&call, status, reason);
    }
    let unbound = scene.gate.token(&ALICE);
    let proof = scene.proof(&unbound).sign();
    scene.refuses(&call().dpop(&unbound, &proof), 401, "token_sender_bound");
    // The token is remembered by now, and each call still needs its own proof.
    let proof = scene.proof(&token).sign();
    scene.passes(&call().dpop(&token, &proof));
    scene.refuses(&call().dpop(&token, &proof), 401, "dpop_proof_invalid");
    scene.check_records("dpop");
}

#[test]
fn a_server_that_asks_for_nonces_gives_them() {
    let mut scene = Scene::new(Gate::start_with(
        "127.0.0.1:0",
        "    dpop: {required: true, nonce: true}",
        "",
    ));
    let metadata = request("GET", HOST, "/.well-known/oauth-protected-resource/crm/mcp", [], b"");
    let metadata = scene.gate.connect().exchange(&metadata).unwrap();
    let document: Value = serde_json::from_slice(&metadata.body).unwrap();
    assert_eq!(document["dpop_bound_access_tokens_required"], true);

    let nobody = scene.refuses(&call(), 401, "credential_missing");
    assert_eq!(lines(&nobody, "www-authenticate").len(), 2);
    assert!(nobody.header("dpop-nonce").is_some());
    let unbound = scene.gate.token(&ALICE);
    scene.refuses(&call().bearer(&unbound), 401, "token_unbound");

    let token = scene.bound();
    let proof = scene.proof(&token).sign();
    let asked = scene.refuses(&call().dpop(&token, &proof), 401, "dpop_nonce_missing");
    let challenge = lines(&asked, "www-authenticate")[1];
    assert!(challenge.starts_with(r#"DPoP error="use_dpop_nonce", "#), "{challenge}");
    let nonce = asked.header("dpop-nonce").unwrap().to_owned();
    let proof = scene.proof(&token).nonce(&nonce).sign();
    scene.passes(&call().dpop(&token, &proof));
    let next = scene.proof(&token).nonce(&nonce).sign();
    scene.passes(&call().dpop(&token, &next));
    scene.refuses(&call().dpop(&token, &next), 401, "dpop_proof_invalid");
    let forged = scene.proof(&token).nonce(&base64url(&[0; 32])).sign();
    let refused = scene.refuses(&call().dpop(&token, &forged), 401, "dpop_nonce_missing");
    assert_eq!(
        lines(&refused, "www-authenticate")[1],
        challenge,
        "the challenge is not stable"
    );
    scene.check_records("dpop");
}

#[test]
fn seen_proofs_outlive_a_reload() {
    let mut scene = Scene::new(Gate::start(""));
    let token = scene.bound();
    let proof = scene.proof(&token).sign();
    scene.passes(&call().dpop(&token, &proof));
    scene.gate.signal("HUP");
    until(|| !scene.gate.logged("configuration reloaded").is_empty());
    scene.refuses(&call().dpop(&token, &proof), 401, "dpop_proof_invalid");
    let proof = scene.proof(&token).sign();
    scene.passes(&call().dpop(&token, &proof));
    scene.check_records("dpop");
}

#[test]
fn a_token_bound_to_a_certificate_passes_on_its_connection_alone() {
    let authority = Authority::new();
    let mut scene = Scene::new(tls::start(&authority, ", client_ca: root.pem"));
    let (mine, other) = (authority.issue("mine.test"), authority.issue("other.test"));
    let (mine_client, other_client) = (
        authority.client_of("http/1.1", &mine),
        authority.client_of("http/1.1", &other),
    );
    let bound = token(&scene.gate, json!({"x5t#S256": base64url(&mine.sha256())}));
    let call = call().bearer(&bound);
    let sent = |scene: &Scene, client| {
        let answer = tls::http1(&scene.gate, client, &call).unwrap();
        (status_of(&answer), answer)
    };
    let (status, answer) = sent(&scene, mine_client.clone());
    scene.passes_as(&call, status, &answer);
    let (status, answer) = sent(&scene, other_client.clone());
    scene.refuses_as(&answer, status, 401, "token_sender_bound");
    assert!(!answer.contains("DPoP"), "{answer}");
    // A header says nothing about a client that is no trusted hop.
    let lying = call.clone().header("client-cert", &format!(":{}:", mine.base64()));
    let answer = tls::http1(&scene.gate, other_client, &lying).unwrap();
    scene.refuses_as(&answer, status_of(&answer), 401, "token_sender_bound");
    let (status, answer) = sent(&scene, mine_client);
    scene.passes_as(&call, status, &answer);
    scene.check_records("mtls");
}

/// A gate that hears hops of this network.
fn behind(network: &str) -> Gate {
    let listener = format!(
        "127.0.0.1:0\ntrusted_hops:\n  - addresses: [{network}]\n    client_certificate: {{header: x-client-cert, form: sha256_hex}}"
    );
    Gate::start_with(&listener, "", "")
}

#[test]
fn a_trusted_hop_tells_its_clients_certificate() {
    let mut scene = Scene::new(behind("127.0.0.0/8"));
    let bound = token(&scene.gate, json!({"x5t#S256": base64url(&[0xab; 32])}));
    let told = |value: &str| call().bearer(&bound).header("x-client-cert", value);
    let (mine, other) = ("ab".repeat(32), "cd".repeat(32));
    scene.passes(&told(&mine));
    scene.refuses(&told(&other), 401, "token_sender_bound");
    scene.refuses(&call().bearer(&bound), 401, "token_sender_bound");
    scene.refuses(&told(""), 401, "token_sender_bound");
    let by_another = call().bearer(&bound).header("client-cert", &mine);
    scene.refuses(&by_another, 401, "token_sender_bound");
    scene.passes(&told(&mine));
    // Refused before anything is known of the request: counted, without a record of its own.
    for malformed in [
        told(&mine).header("x-client-cert", &mine),
        told("ab"),
        told(&"zz".repeat(32)),
    ] {
        let answer = scene.gate.call(&malformed);
        assert_eq!(answer.status, 400, "{}", answer.text());
        scene.refused.push("head_malformed");
        assert_eq!(scene.gate.upstream.capture().count(), 2);
    }
    let metadata = request("GET", HOST, "/.well-known/oauth-protected-resource/crm/mcp", [], b"");
    let metadata = scene.gate.connect().exchange(&metadata).unwrap();
    let document: Value = serde_json::from_slice(&metadata.body).unwrap();
    assert_eq!(document["tls_client_certificate_bound_access_tokens"], true);
    scene.check_records("mtls");
}

#[test]
fn a_header_of_another_network_is_not_read() {
    let mut scene = Scene::new(behind("10.0.0.0/8"));
    let bound = token(&scene.gate, json!({"x5t#S256": base64url(&[0xab; 32])}));
    let told = |token: &str, value: &str| call().bearer(token).header("x-client-cert", value);
    scene.refuses(&told(&bound, &"ab".repeat(32)), 401, "token_sender_bound");
    let unbound = scene.gate.token(&ALICE);
    scene.passes(&told(&unbound, "anything").header("x-client-cert", "twice"));
    scene.check_records("none");
}
