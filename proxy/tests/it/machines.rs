//! Machines at the built gate: a certificate alone calls what its row allows, and its neighbours are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Connection;
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::mcp::Canned;
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::server::End;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gate::{CREDENTIAL, Gate, HOST, PATH, RESOURCE, is_allow, until};
use crate::tls::{Authority, Leaf, OpenConnection};

const REPORTER: &str = "spiffe://prod.example/agents/reporter";
const CRAWLER: &str = "spiffe://prod.example/agents/crawler";
const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "reload refused, the old configuration stays in force";
const LIST: &str = "clients.crl";

/// Allows machines, those with a certificate alone when it is shown to the policy.
const REQUEST: &str = r#"package portcullis.request

decision := {"allow": true, "rule": "certificate", "reason": "a machine", "obligations": {}} if {
	input.subject.kind == "machine"
	startswith(input.subject.id, "spiffe://")
	count(input.connection.client_cert_sha256) == 64
} else := {"allow": true, "rule": "client", "reason": "a machine", "obligations": {}} if {
	input.subject.kind == "machine"
	"reader" in input.subject.roles
} else := {"allow": false, "rule": "nobody", "reason": "no machine", "obligations": {}}
"#;

const RESPONSE: &str = r#"package portcullis.response

decision := {"allow": true, "rule": "all", "reason": "whatever it is", "obligations": {}}
"#;

fn machines() -> String {
    format!(
        "    machine_identities:
      - {{uri: \"{REPORTER}\", scopes: [\"salesforce:read\"], roles: [reader]}}
      - {{uri: \"{CRAWLER}\", scopes: [\"salesforce:read\"]}}
      - {{client: batch, scopes: [\"salesforce:read\"], roles: [reader]}}
"
    )
}

/// A gate with these machines whose list of listeners is this.
fn start(folder: TempDir, listener: &str) -> Gate {
    std::fs::write(folder.path().join("machines.rego"), REQUEST).unwrap();
    std::fs::write(folder.path().join("answers.rego"), RESPONSE).unwrap();
    Gate::start_changed_in(folder, |_, text| {
        let changed = text
            .replacen("127.0.0.1:0", listener, 1)
            .replacen("[request.rego, response.rego]", "[machines.rego, answers.rego]", 1)
            .replacen("      data: [data.json]\n", &machines(), 1);
        assert!(changed.contains("machine_identities") && changed.contains("answers.rego"));
        changed
    })
}

fn echo() -> Call {
    Call::tools_call(Era::Modern, 1, "demo.echo", r#"{"padding":"a"}"#)
}

fn in_an_hour() -> u64 {
    now_s() + 3_600
}

/// The reason of the newest summary of refusals, read when the gate has ended.
fn refusals(records: &str) -> Vec<String> {
    let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut reasons = Vec::new();
    for record in records.filter(|record| record["phase"] == "refusals") {
        for _ in 0..record["count"].as_u64().unwrap() {
            reasons.push(record["reason"].as_str().unwrap().to_owned());
        }
    }
    reasons.sort_unstable();
    reasons
}

/// Writes the revocation list and waits until the gate has said this of it.
#[track_caller]
fn reload(gate: &Gate, list: &str, message: &str) {
    let before = gate.logged(message).len();
    std::fs::write(gate.path(LIST), list).unwrap();
    gate.signal("HUP");
    until(|| before < gate.logged(message).len());
}

/// A gate over TLS whose clients may have certificates of this authority.
fn over_tls(authority: &Authority) -> Gate {
    let folder = authority.folder();
    std::fs::write(folder.path().join(LIST), authority.list(&[], in_an_hour())).unwrap();
    let listener = format!(
        "127.0.0.1:0\n    tls: {{certificate: gate.pem, key: gate.key, client_ca: root.pem, \
         client_certificates: optional, client_crl: {LIST}}}"
    );
    start(folder, &listener)
}

/// Sends one call with this certificate on a connection of its own; `None` when no connection came about.
fn answer(gate: &Gate, authority: &Authority, leaf: Option<&Leaf>, call: &Call) -> Option<(u16, String)> {
    let client = authority.client_with("http/1.1", leaf);
    OpenConnection::new(gate, client).call(call).ok()
}

#[test]
fn a_certificate_alone_calls_an_allowed_tool_and_its_neighbours_are_refused() {
    let authority = Authority::new();
    let gate = over_tls(&authority);
    let reporter = authority.issue_to(&[REPORTER], None);
    let call = |leaf: &Leaf, call: &Call| answer(&gate, &authority, Some(leaf), call);

    let (status, text) = call(&reporter, &echo()).unwrap();
    assert_eq!(status, 200, "{text}");
    let arrived = gate.upstream.capture().last().unwrap();
    assert_eq!(arrived.body, echo().body.as_bytes());
    assert_eq!(arrived.header("authorization"), Some(CREDENTIAL));
    assert_eq!(arrived.header("client-cert"), None);

    let delete = Call::tools_call(Era::Modern, 1, "salesforce.account.delete", "{}");
    assert_eq!(call(&reporter, &delete).unwrap().0, 403, "a tool out of its scopes");
    let others = [
        ("another name", vec!["spiffe://prod.example/agents/other"]),
        ("another domain", vec!["spiffe://test.example/agents/reporter"]),
        ("two names", vec![REPORTER, CRAWLER]),
        ("its name twice", vec![REPORTER, REPORTER]),
        ("no name", vec![]),
    ];
    for (what, names) in others {
        let (status, text) = call(&authority.issue_to(&names, None), &echo()).unwrap();
        assert_eq!(status, 401, "{what}: {text}");
    }
    let foreign = Authority::new().issue_to(&[REPORTER], None);
    assert!(call(&foreign, &echo()).is_none(), "another authority");
    let expired = authority.issue_to(&[REPORTER], Some(now_s() - 1));
    assert!(call(&expired, &echo()).is_none(), "expired");
    let (status, _) = answer(&gate, &authority, None, &echo()).unwrap();
    assert_eq!(status, 401, "no certificate and no token");

    // With a token the certificate is no credential; without a certificate the token is one all the same.
    let minted = |subject: &str, client: &str| {
        let token = TokenBuilder::for_persona(&ALICE, gate.issuer.url(), RESOURCE, now_s());
        gate.issuer
            .sign(&token.subject(subject).client(client).scope("salesforce:read"))
    };
    let (batch, human) = (minted("batch", "batch"), minted(ALICE.subject, "batch"));
    for (what, leaf, token, expected) in [
        ("a person with a machine's certificate", Some(&reporter), &human, 403),
        ("a person through the machine's client", None, &human, 403),
        ("the client for itself", None, &batch, 200),
        ("another client for itself", None, &minted("other", "other"), 403),
    ] {
        let (status, text) = answer(&gate, &authority, leaf, &echo().bearer(token)).unwrap();
        assert_eq!(status, expected, "{what}: {text}");
    }
    assert_eq!(gate.upstream.capture().count(), 2);

    gate.terminate();
    let (status, records) = gate.records();
    assert!(status.success());
    let mut expected = vec!["certificate_refused"; 5];
    expected.push("credential_missing");
    assert_eq!(refusals(&records), expected);
    let allowed: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(is_allow)
        .collect();
    let digest: String = reporter.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
    let [by_certificate, by_client] = &allowed[..] else {
        panic!("{allowed:?}");
    };
    assert_eq!(by_certificate["rule"], "certificate");
    assert_eq!(by_certificate["subject"]["id"], REPORTER);
    assert_eq!(by_certificate["subject"]["issuer"], "spiffe://prod.example");
    assert_eq!(by_certificate["client_id"], REPORTER);
    assert_eq!(by_certificate["roles_from"], "configuration");
    let token = &by_certificate["token"];
    assert_eq!(token["kind"], "certificate");
    assert_eq!(token["binding"], "mtls");
    assert_eq!(token["digest"], json!(digest), "{token}");
    assert_eq!(by_client["rule"], "client");
    assert_eq!(
        (&by_client["token"]["kind"], &by_client["roles_from"]),
        (&json!("jwt"), &json!("configuration"))
    );
}

#[test]
fn a_reloaded_revocation_list_holds_for_connections_that_stand() {
    let authority = Authority::new();
    let gate = over_tls(&authority);
    let (reporter, crawler) = (
        authority.issue_to(&[REPORTER], None),
        authority.issue_to(&[CRAWLER], None),
    );
    let open = |leaf: &Leaf| OpenConnection::new(&gate, authority.client_of("http/1.1", leaf));
    let (mut of_reporter, mut of_crawler) = (open(&reporter), open(&crawler));
    let status = |connection: &mut OpenConnection| connection.call(&echo()).unwrap().0;
    assert_eq!((status(&mut of_reporter), status(&mut of_crawler)), (200, 200));

    // A list that is none changes nothing, nor does one of another authority's making that is torn.
    let torn = authority
        .list(&[&reporter], in_an_hour())
        .replacen("-----END", "-----", 1);
    for broken in ["", "no list", &torn] {
        reload(&gate, broken, REFUSED);
        assert_eq!(
            (status(&mut of_reporter), status(&mut of_crawler)),
            (200, 200),
            "{broken}"
        );
    }
    reload(&gate, &authority.list(&[&reporter], in_an_hour()), RELOADED);
    let (refused, text) = of_reporter.call(&echo()).unwrap();
    assert_eq!(refused, 401, "{text}");
    assert_eq!(status(&mut of_crawler), 200);
    assert!(open(&reporter).call(&echo()).is_err(), "a new connection");
    let token = gate.token(&ALICE);
    assert!(
        open(&reporter).call(&echo().bearer(&token)).is_err(),
        "nor with a token"
    );

    // Past its next update a list tells nothing: nobody of its authority passes.
    reload(&gate, &authority.list(&[&reporter], now_s() - 1), RELOADED);
    assert_eq!(status(&mut of_crawler), 401);
    assert!(open(&crawler).call(&echo()).is_err());
    // Nor does a list of somebody else with the same name.
    reload(&gate, &Authority::new().list(&[], in_an_hour()), RELOADED);
    assert!(open(&crawler).call(&echo()).is_err());
    reload(&gate, &authority.list(&[&reporter], in_an_hour()), RELOADED);
    assert_eq!(status(&mut open(&crawler)), 200);

    gate.terminate();
    let (_, records) = gate.records();
    assert_eq!(refusals(&records), ["certificate_refused"; 2]);
}

/// A gate in the clear that hears hops of this network, which tell certificates in this way.
fn behind(authority: &Authority, network: &str, told: &str) -> Gate {
    let folder = authority.folder();
    std::fs::write(folder.path().join(LIST), authority.list(&[], in_an_hour())).unwrap();
    let hops = format!(
        "127.0.0.1:0\ntrusted_hops:\n  - addresses: [{network}]\n    client_certificate: {{header: client-cert, {told}}}"
    );
    // Somebody has to verify certificates, or the rows would be a fault.
    let verifying = "\n  - addresses: [192.0.2.1]\n    client_certificate: {header: client-cert, form: rfc9440, client_ca: root.pem}";
    start(folder, &format!("{hops}{verifying}"))
}

fn telling(leaf: &Leaf) -> Call {
    echo().header("client-cert", &format!(":{}:", leaf.base64()))
}

#[test]
fn a_trusted_hop_tells_a_machine_that_is_verified_once_more() {
    let authority = Authority::new();
    let verified = format!("form: rfc9440, client_ca: root.pem, client_crl: {LIST}");
    let gate = behind(&authority, "127.0.0.0/8", &verified);
    let reporter = authority.issue_to(&[REPORTER], None);
    let status = |call: &Call| gate.call(call).status;
    // Twice: the second time it is remembered.
    assert_eq!((status(&telling(&reporter)), status(&telling(&reporter))), (200, 200));
    assert_eq!(gate.upstream.capture().last().unwrap().header("client-cert"), None);
    let token = gate.token(&ALICE);
    for (what, leaf) in [
        ("another name", authority.issue_to(&[&format!("{REPORTER}/x")], None)),
        ("two names", authority.issue_to(&[REPORTER, CRAWLER], None)),
        ("another authority", Authority::new().issue_to(&[REPORTER], None)),
        ("expired", authority.issue_to(&[REPORTER], Some(now_s() - 1))),
    ] {
        assert_eq!((status(&telling(&leaf)), status(&telling(&leaf))), (401, 401), "{what}");
    }
    let foreign = Authority::new().issue_to(&[REPORTER], None);
    assert_eq!(
        status(&telling(&foreign).bearer(&token)),
        401,
        "what fails spoils a token"
    );
    let garbage = echo().header("client-cert", &format!(":{}:", STANDARD.encode([0x30, 0x00])));
    assert_eq!(status(&garbage), 401);
    assert_eq!(status(&echo()), 401);
    reload(&gate, &authority.list(&[&reporter], in_an_hour()), RELOADED);
    assert_eq!(status(&telling(&reporter)), 401);
    reload(&gate, &authority.list(&[], in_an_hour()), RELOADED);
    assert_eq!(status(&telling(&reporter)), 200);
    assert_eq!(gate.upstream.capture().count(), 3);

    gate.terminate();
    let (_, records) = gate.records();
    let mut expected = vec!["certificate_refused"; 11];
    expected.push("credential_missing");
    assert_eq!(refusals(&records), expected);
}

#[test]
fn an_open_stream_ends_when_its_certificate_is_revoked() {
    let authority = Authority::new();
    let told = format!("form: rfc9440, client_ca: root.pem, client_crl: {LIST}");
    let gate = behind(&authority, "127.0.0.1", &told);
    let open = |leaf: &Leaf| -> Connection {
        let before = gate.upstream.answers_open();
        gate.upstream
            .answer_next(Canned::sse(&[": hello\n\n"]).ending(End::Open));
        let mut connection = gate.connect();
        connection.send(&telling(leaf).to_http(HOST, PATH)).unwrap();
        until(|| gate.upstream.answers_open() == before + 1);
        connection
    };
    let reporter = authority.issue_to(&[REPORTER], None);
    let mut revoked = open(&reporter);
    let stays = open(&authority.issue_to(&[CRAWLER], None));
    reload(&gate, &authority.list(&[&reporter], in_an_hour()), RELOADED);
    let text = revoked.read_response().unwrap().text();
    assert!(text.contains("was revoked"), "{text}");
    until(|| gate.upstream.answers_open() == 1);
    drop(stays);
    until(|| gate.upstream.answers_open() == 0);
    gate.terminate();
    let (_, records) = gate.records();
    assert_eq!(records.matches("\"outcome\":\"revoked\"").count(), 1, "{records}");
}

#[test]
fn a_certificate_that_an_untrusted_hop_or_an_unverified_word_tells_is_nobodys() {
    let authority = Authority::new();
    let reporter = authority.issue_to(&[REPORTER], None);
    let untrusted = behind(&authority, "10.0.0.0/8", "form: rfc9440, client_ca: root.pem");
    let unverified = behind(&authority, "127.0.0.0/8", "form: rfc9440");
    for (gate, reason) in [(untrusted, "credential_missing"), (unverified, "certificate_refused")] {
        assert_eq!(gate.call(&telling(&reporter)).status, 401, "{reason}");
        let twice = telling(&reporter).bearer(&gate.token(&ALICE));
        assert_eq!(gate.call(&twice).status, 403, "judged by the token: {reason}");
        assert_eq!(gate.upstream.capture().count(), 0);
        gate.terminate();
        let (_, records) = gate.records();
        assert_eq!(refusals(&records), [reason]);
    }
}
