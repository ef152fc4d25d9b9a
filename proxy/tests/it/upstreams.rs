//! What upstreams are shown in place of the client's token: by tool, and never the token itself.
//!
//! Owns what each kind of credential must come to at the built gate, with the dev issuer; a real provider exchanges
//! tokens in `oidc`.

use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::{Response, request};
use portcullis_fixtures::persona::{AGENT_FOR_ALICE, ALICE, BOB, Persona};
use rcgen::KeyPair;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::gate::{CREDENTIAL, Gate, HOST, is_allow, tail};

mod endpoints;
mod faults;
pub(crate) mod stub;
mod tls;

const ECHO: &str = "demo.echo";
const READ: &str = "salesforce.opportunity.read";
const WRITTEN: &str = "      credential: {header: authorization, value_file: credential.txt}\n";
const BACKEND: &str = "https://crm.test/mcp";

/// A gate whose upstream has these lines in place of its credential.
fn start(upstream: &str, limits: &str) -> Gate {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other.txt"), "other-secret\n").unwrap();
    std::fs::write(
        folder.path().join("gate.pem"),
        KeyPair::generate().unwrap().serialize_pem(),
    )
    .unwrap();
    Gate::start_changed_in(folder, |_, text| {
        assert!(text.contains(WRITTEN));
        text.replacen(WRITTEN, upstream, 1) + limits
    })
}

fn call(gate: &Gate, persona: &Persona, tool: &str) -> Response {
    with(gate, &gate.token(persona), tool)
}

fn with(gate: &Gate, token: &str, tool: &str) -> Response {
    let arguments = if tool == READ {
        r#"{"account_id": "acc-1001"}"#
    } else {
        "{}"
    };
    gate.call(&Call::tools_call(Era::Modern, 1, tool, arguments).bearer(token))
}

/// What the upstream saw of the last call: `authorization` and `x-key`.
fn seen(gate: &Gate) -> (Option<String>, Option<String>) {
    let last = gate.upstream.capture().last().unwrap();
    let field = |name: &str| last.header(name).map(str::to_owned);
    (field("authorization"), field("x-key"))
}

fn part(token: &str, number: usize) -> Value {
    let text = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// The records that allow, after the end of the gate.
fn allowed(mut gate: Gate) -> Vec<Value> {
    gate.terminate();
    assert!(gate.wait().success());
    assert!(!gate.log().contains("panicked"));
    let records = tail(&gate.path("audit"));
    let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(is_allow).collect()
}

#[test]
fn tools_of_one_server_are_called_with_their_own_secrets() {
    let gate = start(
        "      credential: {none: true}
      credentials:
        - {tools: [demo.echo], header: authorization, value_file: credential.txt, label: echo}
        - {tools: [salesforce.opportunity.read], header: X-Key, value_file: other.txt, label: crm}
",
        "",
    );
    assert_eq!(call(&gate, &ALICE, ECHO).status, 200);
    assert_eq!(seen(&gate), (Some(CREDENTIAL.to_owned()), None));
    assert_eq!(call(&gate, &ALICE, READ).status, 200);
    assert_eq!(seen(&gate), (None, Some("other-secret".to_owned())));
    assert_eq!(gate.call(&Call::initialize(1).bearer(&gate.token(&ALICE))).status, 200);
    assert_eq!(seen(&gate), (None, None));
    // Nothing is signed, so no keys are published.
    assert_eq!(jwks(&gate).status, 404);
    let shown: Vec<Value> = allowed(gate)
        .iter()
        .map(|record| record["upstream"]["credential"].clone())
        .collect();
    let expected = [
        json!({"label": "echo", "kind": "static"}),
        json!({"label": "crm", "kind": "static"}),
        Value::Null,
    ];
    assert_eq!(shown, expected);
}

fn exchanging(further: &str) -> String {
    format!(
        "      credential: {{none: true}}
      credentials:
        - tools: [{ECHO}, {READ}]
          label: sts
          exchange: {{client_id: gate-1, private_key_file: gate.pem, resource: \"{BACKEND}\"{further}}}
"
    )
}

fn exchanges(gate: &Gate) -> usize {
    let endpoint = gate.issuer.token_endpoint();
    let path = endpoint.strip_prefix(gate.issuer.url()).unwrap();
    gate.issuer.capture().count_of("POST", path)
}

#[track_caller]
fn unavailable(gate: &Gate, answer: &Response) {
    let before = gate.upstream.capture().count();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.header("www-authenticate").is_none());
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["error"]["code"], 50_304, "{body}");
    assert_eq!(gate.upstream.capture().count(), before);
    let id = answer.header("portcullis-record-id").unwrap().to_owned();
    crate::gate::until(|| {
        let records = gate.tail();
        let own: Vec<&Value> = records.iter().filter(|record| record["record_id"] == *id).collect();
        own.len() == 2 && own[1]["phase"] == "close" && own[1]["outcome"] == "not_forwarded"
    });
}

#[test]
fn the_upstream_sees_a_token_of_its_own_with_the_tools_scopes() {
    let gate = start(&exchanging(""), "");
    let token = gate.token(&ALICE);
    assert_eq!(with(&gate, &token, ECHO).status, 200);
    let (shown, _) = seen(&gate);
    let shown = shown.unwrap();
    let exchanged = shown.strip_prefix("Bearer ").unwrap();
    let claims = part(exchanged, 1);
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!("alice"), &json!(BACKEND)),
        "{claims}"
    );
    // The client's token has `repo` as well.
    assert_eq!(
        (&claims["scope"], &claims["client_id"]),
        (&json!("salesforce:read"), &json!("gate-1")),
        "{claims}"
    );
    assert!(!gate.upstream.capture().last().unwrap().mentions(&token));
    // The same token for a tool that needs the same scopes: no further question.
    assert_eq!(with(&gate, &token, ECHO).status, 200);
    assert_eq!(with(&gate, &token, READ).status, 200);
    assert_eq!((seen(&gate).0.as_deref(), exchanges(&gate)), (Some(&*shown), 1));
    assert_eq!(call(&gate, &BOB, ECHO).status, 200);
    assert_eq!(exchanges(&gate), 2);
    assert_ne!(seen(&gate).0.as_deref(), Some(&*shown));
    // Without the issuer, who has a token goes on, and for others nothing goes upstream.
    gate.issuer.set_down(true);
    let before = gate.upstream.capture().count();
    assert_eq!(with(&gate, &token, ECHO).status, 200);
    unavailable(&gate, &call(&gate, &ALICE, ECHO));
    assert_eq!(gate.upstream.capture().count(), before + 1);
    gate.issuer.set_down(false);
    assert_eq!(call(&gate, &ALICE, ECHO).status, 200);
    let log = gate.log();
    for secret in [&*token, exchanged] {
        assert!(
            !log.contains(secret.rsplit('.').next().unwrap()),
            "a token stands in the log"
        );
    }
    let records = allowed(gate);
    assert!(
        records
            .iter()
            .all(|record| record["upstream"]["credential"] == json!({"label": "sts", "kind": "exchange"}))
    );
    let text: String = records.iter().map(Value::to_string).collect();
    assert!(
        !text.contains(exchanged.rsplit('.').next().unwrap()),
        "a token stands in a record"
    );
}

/// Many calls with one new token ask once.
#[test]
fn one_exchange_serves_all_who_wait_for_it() {
    let gate = start(&exchanging(""), "");
    let token = gate.token(&ALICE);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| with(&gate, &token, ECHO).status))
            .collect();
        for call in calls {
            assert_eq!(call.join().unwrap(), 200);
        }
    });
    assert_eq!(exchanges(&gate), 1);
}

#[test]
fn an_issuer_that_gives_no_token_keeps_the_call_from_the_upstream() {
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(", token_endpoint: \"http://{}/token\"", silent.local_addr().unwrap());
    for further in [
        &*url,
        ", scopes: [\"no:such:scope\"]",
        ", token_endpoint: \"http://127.0.0.1:1/token\"",
    ] {
        let gate = start(&exchanging(further), "  exchange_deadline: 500ms\n");
        unavailable(&gate, &call(&gate, &ALICE, ECHO));
        assert_eq!(gate.upstream.capture().count(), 0, "{further}");
        assert_eq!(
            gate.call(&Call::initialize(2).bearer(&gate.token(&ALICE))).status,
            200,
            "it needs none"
        );
    }
}

fn jwks(gate: &Gate) -> Response {
    let bytes = request("GET", HOST, "/.well-known/jwks.json", [], b"");
    gate.connect().exchange(&bytes).unwrap()
}

/// Verifies a token by published keys, as an upstream does: with nothing of the gate's own code.
fn verified(keys: &Value, token: &str) -> Option<Value> {
    let (input, signature) = token.rsplit_once('.')?;
    let kid = part(token, 0)["kid"].clone();
    let key = keys["keys"].as_array()?.iter().find(|key| key["kid"] == kid)?;
    let decode = |text: &Value| URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap();
    let point = [vec![4], decode(&key["x"]), decode(&key["y"])].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    key.verify(input.as_bytes(), &signature).ok().map(|()| part(token, 1))
}

#[test]
fn an_upstream_can_check_who_calls_by_the_gates_published_keys() {
    let gate = start(
        "      credential: {none: true}
      credentials:
        - {tools: [demo.echo], assertion: {audience: crm-backend}, label: who}
        - {tools: [salesforce.opportunity.read], assertion: {audience: crm-backend}, header: x-key}
",
        "",
    );
    let published = jwks(&gate);
    assert_eq!(published.status, 200);
    assert_eq!(published.header("cache-control"), Some("public, max-age=300"));
    let keys: Value = serde_json::from_slice(&published.body).unwrap();
    assert_eq!(call(&gate, &ALICE, ECHO).status, 200);
    let (shown, _) = seen(&gate);
    let shown = shown.unwrap();
    let token = shown.strip_prefix("Bearer ").unwrap();
    let claims = verified(&keys, token).unwrap();
    assert_eq!(
        (&claims["iss"], &claims["sub"], &claims["aud"], &claims["scope"]),
        (
            &json!("http://gate.test"),
            &json!("alice"),
            &json!("crm-backend"),
            &json!("salesforce:read")
        )
    );
    assert!(claims.get("act").is_none(), "{claims}");
    let changed: String = token
        .chars()
        .enumerate()
        .map(|(at, letter)| if at == 100 { 'A' } else { letter })
        .collect();
    assert!(changed == token || verified(&keys, &changed).is_none());

    // An agent for her, in another field, bare.
    let answer = call(&gate, &AGENT_FOR_ALICE, READ);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (authorization, key) = seen(&gate);
    assert_eq!(authorization, None);
    let claims = verified(&keys, &key.unwrap()).unwrap();
    let issuer = gate.issuer.url();
    assert_eq!(
        claims["sub_id"],
        json!({"format": "iss_sub", "iss": issuer, "sub": "alice"})
    );
    assert_eq!(claims["act"], json!({"sub": "agent-1", "iss": issuer}));
    assert_eq!(answer.header("portcullis-record-id"), claims["jti"].as_str());
    assert_eq!(gate.upstream.capture().count(), 2);
    let records = allowed(gate);
    assert_eq!(
        records[0]["upstream"]["credential"],
        json!({"label": "who", "kind": "assertion"})
    );
}

/// What the upstream was shown by the gate's own listings: one and the same.
fn shown_in_listings(gate: &Gate) -> Option<String> {
    let requests = gate.upstream.listings().requests();
    assert!(!requests.is_empty());
    requests.last().unwrap().header("authorization").map(str::to_owned)
}

/// A statement is made for the gate itself, an exchange for nobody, and a secret may be named for lists alone.
#[test]
fn the_gate_lists_with_a_credential_of_its_own() {
    let assertion = "      credential: {assertion: {audience: crm-backend}}\n";
    let gate = start(assertion, "");
    let shown = shown_in_listings(&gate).unwrap();
    let keys: Value = serde_json::from_slice(&jwks(&gate).body).unwrap();
    let claims = verified(&keys, shown.strip_prefix("Bearer ").unwrap()).unwrap();
    let own = json!("http://gate.test");
    assert_eq!((&claims["iss"], &claims["sub"]), (&own, &own), "{claims}");
    assert_eq!(claims["aud"], "crm-backend");
    for absent in ["scope", "act", "client_id", "tenant"] {
        assert!(claims.get(absent).is_none(), "{absent}: {claims}");
    }
    // A caller's statement is another one.
    assert_eq!(call(&gate, &ALICE, ECHO).status, 200);
    let token = seen(&gate).0.unwrap();
    assert_eq!(part(token.strip_prefix("Bearer ").unwrap(), 1)["sub"], "alice");

    let exchange = format!(
        "      credential: {{exchange: {{client_id: gate-1, private_key_file: gate.pem, resource: \"{BACKEND}\", \
         scopes: [\"salesforce:read\"]}}}}\n"
    );
    let gate = start(&exchange, "");
    assert_eq!(shown_in_listings(&gate), None);
    assert_eq!(exchanges(&gate), 0);
    let named = format!("{exchange}      listing_credential: {{header: authorization, value_file: credential.txt}}\n");
    let gate = start(&named, "");
    assert_eq!(shown_in_listings(&gate).as_deref(), Some(CREDENTIAL));
    assert_eq!(call(&gate, &ALICE, ECHO).status, 200);
    let shown = seen(&gate).0;
    assert!(
        shown.is_some() && shown.as_deref() != Some(CREDENTIAL),
        "no call is made with it"
    );
    let none = format!("{WRITTEN}      listing_credential: {{none: true}}\n");
    assert_eq!(shown_in_listings(&start(&none, "")), None);
}
