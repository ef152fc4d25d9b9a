//! Machines at the gate: by a certificate alone or by a client's token for itself, and who is refused beside them.

use std::sync::Arc;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::dpop::DpopClient;
use portcullis_fixtures::keys::{self, Key};
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::{Value, json};

use super::stage::*;
use crate::denial::DenyReason;
use crate::gate::Step;
use crate::head::{CertificateIdentity, ClientCertificate};
use crate::identity::{Grants, MachineError, MachineIdentities, MachineName, MachineRow, PartyKind};
use crate::revocation::{RevocationError, RevocationRequest, RevocationSource};
use crate::time::UnixTime;
use crate::token::SenderRules;

const REPORTER: &str = "spiffe://prod.example/agents/reporter";
const CRAWLER: &str = "spiffe://prod.example/agents/crawler";
const CLIENT: &str = "batch";
const DIGEST: [u8; 32] = [7; 32];

/// Allows machines and agents, and only with the certificate when one is shown.
const REQUEST: &str = r#"import rego.v1
decision := {"allow": true, "rule": "machines", "reason": "it is one"} if {
	input.subject.kind == "machine"
	object.get(input.connection, "client_cert_sha256", data.shown) == data.shown
	"auditors" in input.subject.groups
	not input.actor
} else := {"allow": true, "rule": "agents", "reason": "it is one"} if {
	input.subject.kind == "agent"
} else := {"allow": false, "rule": "nobody", "reason": "no machine"}"#;

fn grants(scopes: &[&str]) -> Grants {
    let boxes = |list: &[&str]| list.iter().map(|text| Box::from(*text)).collect();
    Grants {
        scopes: boxes(scopes),
        groups: boxes(&["auditors", "auditors"]),
        roles: boxes(&["reader"]),
    }
}

fn row(name: MachineName, kind: PartyKind, scopes: &[&str]) -> MachineRow {
    MachineRow {
        name,
        kind,
        grants: grants(scopes),
    }
}

fn uri(uri: &str) -> MachineName {
    MachineName::Uri(Arc::from(uri))
}

fn client(issuer: &str) -> MachineName {
    MachineName::Client {
        issuer: Arc::from(issuer),
        client: Arc::from(CLIENT),
    }
}

fn machines() -> MachineIdentities {
    let read: Vec<&str> = read_scopes();
    MachineIdentities::new(vec![
        row(uri(REPORTER), PartyKind::Machine, &read),
        row(uri(CRAWLER), PartyKind::Agent, &read),
        row(client(ISSUER), PartyKind::Machine, &[&read[..], &["more"]].concat()),
    ])
    .unwrap()
}

/// What the tool of the tests needs.
fn read_scopes() -> Vec<&'static str> {
    vec!["salesforce:read"]
}

fn setup() -> Setup {
    let mut policy = policy_of(REQUEST, ALLOW);
    let shown = crate::crypto::hex(&DIGEST);
    policy.data = vec![crate::policy::SourceFile {
        name: "shown.json".to_owned(),
        text: json!({"shown": shown}).to_string(),
    }];
    Setup {
        policy,
        machines: machines(),
        ..Setup::default()
    }
}

fn certificate(name: Option<&str>, expires_s: u64) -> ClientCertificate {
    ClientCertificate {
        sha256: DIGEST,
        identity: name.map(|name| CertificateIdentity {
            uri: Arc::from(name),
            expires: UnixTime::from_secs(expires_s),
            is_listed: true,
        }),
        refused: None,
    }
}

fn reporter() -> ClientCertificate {
    certificate(Some(REPORTER), NOW_S + 1)
}

/// A call without a token.
fn alone(call: &Call, certificate: ClientCertificate) -> Request {
    let mut request = Request::with_token(call, "none");
    request.headers.remove("authorization");
    request.certificate = Some(certificate);
    request
}

fn outcome(stage: &Stage, request: &Request) -> Option<DenyReason> {
    match stage.arrive(request) {
        Ok(Step::Done(_)) => None,
        Ok(Step::Needs(fetch)) => panic!("needs {fetch:?}"),
        Err(denial) => Some(denial.reason),
    }
}

/// The newest request record.
fn recorded(stage: &Stage) -> Value {
    let records = stage.records();
    let record = records.into_iter().rev().find(|record| record["phase"] == "request");
    record.expect("there is a record of a request")
}

#[test]
fn a_certificate_alone_calls_what_its_row_allows() {
    let stage = Stage::with(setup());
    let call = read_call(Era::Modern);
    let (forward, ticket) = stage.forward(&alone(&call, reporter())).unwrap();
    assert!(!forward.headers.iter().any(|(name, _)| name == "authorization"));
    let end = UnixTime::from_secs(NOW_S + 1).after(crate::config::Limits::default().expiry_grace);
    assert_eq!(ticket.expires(NOW), end, "without leeway");
    let record = recorded(&stage);
    let party = json!({"id": REPORTER, "issuer": "spiffe://prod.example", "kind": "machine"});
    assert_eq!(record["subject"], party);
    assert_eq!(record["actor"], party);
    assert_eq!(record["on_behalf_of"], Value::Null);
    assert_eq!(record["client_id"], REPORTER);
    assert_eq!(record["tenant"], "acme");
    assert_eq!(record["roles_from"], "configuration");
    assert_eq!(record["scopes"], json!(read_scopes()));
    let token = &record["token"];
    assert_eq!(
        (&token["kind"], &token["binding"], &token["jti"]),
        (&json!("certificate"), &json!("mtls"), &Value::Null)
    );
    assert_eq!(token["digest"], crate::crypto::hex(&DIGEST), "{token}");
    assert!(token["revocation"] != "not_checked", "{token}");
    // The same machine has the same id with its next certificate.
    let renewed = ClientCertificate {
        sha256: DIGEST,
        ..certificate(Some(REPORTER), NOW_S + 3_600)
    };
    let Ok(Step::Done(principal)) = stage.arrive(&alone(&call, renewed)) else {
        panic!("it is refused");
    };
    let Ok(Step::Done(other)) = stage.arrive(&alone(&call, certificate(Some(CRAWLER), NOW_S + 1))) else {
        panic!("it is refused");
    };
    assert_eq!(record["principal_id"], crate::crypto::hex(principal.principal_id()));
    assert_ne!(principal.principal_id(), other.principal_id());
    assert_eq!(other.subject().kind(), PartyKind::Agent);
    assert!(
        stage
            .forward(&alone(&call, certificate(Some(CRAWLER), NOW_S + 1)))
            .is_ok()
    );
    assert_eq!(recorded(&stage)["rule"], "agents");
}

#[test]
fn its_neighbours_are_refused() {
    let stage = Stage::with(setup());
    let call = read_call(Era::Modern);
    let refused = Some(DenyReason::CertificateRefused);
    let mut untrusted = reporter();
    untrusted.refused = Some("the client's certificate was revoked");
    let cases = [
        (
            "another name",
            certificate(Some("spiffe://prod.example/agents/other"), NOW_S + 1),
        ),
        ("a longer name", certificate(Some(&format!("{REPORTER}/x")), NOW_S + 1)),
        ("a shorter name", certificate(REPORTER.strip_suffix('r'), NOW_S + 1)),
        ("another case", certificate(Some(&REPORTER.to_uppercase()), NOW_S + 1)),
        (
            "another domain",
            certificate(Some("spiffe://test.example/agents/reporter"), NOW_S + 1),
        ),
        ("the domain", certificate(Some("spiffe://prod.example"), NOW_S + 1)),
        ("a client's name", certificate(Some(CLIENT), NOW_S + 1)),
        ("no name", certificate(None, NOW_S + 1)),
        ("expired", certificate(Some(REPORTER), NOW_S)),
        ("not trusted", untrusted.clone()),
    ];
    for (what, certificate) in cases {
        let denial = stage.arrive(&alone(&call, certificate)).unwrap_err();
        assert_eq!(Some(denial.reason), refused, "{what}");
        let challenge = denial.challenge.expect(what);
        assert!(challenge.error.is_none() && challenge.scope.is_some(), "{what}");
    }
    let mut nobody = alone(&call, reporter());
    nobody.certificate = None;
    assert_eq!(outcome(&stage, &nobody), Some(DenyReason::CredentialMissing));
    let mut proof = alone(&call, reporter());
    proof.add("dpop", "a.b.c");
    assert_eq!(outcome(&stage, &proof), Some(DenyReason::CredentialMissing));
    let mut queried = alone(&call, reporter());
    queried.query = Some("access_token=a.b.c");
    assert_eq!(outcome(&stage, &queried), Some(DenyReason::QueryPresent));
    // Beside a token the certificate gives nothing, and one that is not trusted spoils it.
    let mut both = Request::read();
    both.certificate = Some(reporter());
    let Ok(Step::Done(principal)) = stage.arrive(&both) else {
        panic!("it is refused");
    };
    assert_eq!(&**principal.subject().id(), ALICE.subject);
    both.certificate = Some(untrusted);
    assert_eq!(outcome(&stage, &both), refused);
    both.certificate = Some(reporter());
    both.set("authorization", "Bearer a.b.c");
    assert_eq!(outcome(&stage, &both), Some(DenyReason::TokenMalformed));
    both.set("authorization", "Basic YTpi");
    assert!(outcome(&stage, &both).is_some());

    let plain = Stage::new();
    assert_eq!(
        outcome(&plain, &alone(&call, reporter())),
        Some(DenyReason::CredentialMissing)
    );
    let by_clients = Stage::with(Setup {
        machines: MachineIdentities::new(vec![row(client(ISSUER), PartyKind::Machine, &[])]).unwrap(),
        ..setup()
    });
    let missing = Some(DenyReason::CredentialMissing);
    assert_eq!(outcome(&by_clients, &alone(&call, reporter())), missing);

    // Within its row: a tool that needs more, and one that nobody knows.
    let write = Call::tools_call(Era::Modern, 1, "salesforce.account.delete", "{}");
    let unknown = Call::tools_call(Era::Modern, 1, "salesforce.unknown", "{}");
    for (call, expected) in [
        (write, DenyReason::ScopeInsufficient),
        (unknown, DenyReason::ToolUnmapped),
    ] {
        let denial = stage.forward(&alone(&call, reporter())).unwrap_err();
        assert_eq!(denial.reason, expected);
        assert_eq!(recorded(&stage)["subject"]["id"], REPORTER);
    }
}

#[test]
fn a_certificate_that_expires_while_the_body_comes_is_refused_to_the_second() {
    let stage = Stage::with(setup());
    let request = alone(&read_call(Era::Modern), reporter());
    for (later_s, passes) in [(0, true), (1, false), (60, false)] {
        let mut visit = stage.gate.begin(NOW);
        let Ok(Step::Done(principal)) = visit.authenticate(&request.head()) else {
            panic!("it is refused");
        };
        let later = UnixTime::from_secs(NOW_S + later_s);
        let mut scratch = crate::gate::Scratch::new(0);
        let judged = visit.authorize(principal, &request.head(), request.body.clone(), later, &mut scratch);
        match judged {
            Ok(recorded) => {
                assert!(passes, "{later_s}");
                drop(recorded);
            }
            Err(denial) => assert_eq!(
                (denial.reason, passes),
                (DenyReason::CertificateRefused, false),
                "{later_s}"
            ),
        }
    }
}

#[test]
fn a_certificate_is_bound_to_its_key_as_servers_with_dpop_ask() {
    let stage = Stage::with(Setup {
        sender: SenderRules {
            dpop_required: true,
            dpop_nonce: true,
        },
        ..setup()
    });
    let call = read_call(Era::Modern);
    assert_eq!(outcome(&stage, &alone(&call, reporter())), None);
    let unbound = Request::by(&ALICE, &call);
    assert_eq!(outcome(&stage, &unbound), Some(DenyReason::TokenUnbound));
}

#[test]
fn a_machine_is_revoked_by_its_name() {
    let revoke = |stage: &Stage, issuer: &str, target: &str| {
        let text = json!({"issuer": issuer, "subject": target}).to_string();
        let request = RevocationRequest::parse(text.as_bytes()).unwrap();
        stage.gate.revoke(&request, RevocationSource::Act, NOW)
    };
    let request = alone(&read_call(Era::Modern), reporter());
    let stage = Stage::with(setup());
    for (issuer, target) in [
        ("spiffe://prod.example", CRAWLER),
        ("spiffe://prod.example", "spiffe://prod.example"),
    ] {
        revoke(&stage, issuer, target).unwrap();
        assert_eq!(outcome(&stage, &request), None, "{issuer} {target}");
    }
    let foreign = revoke(&stage, "spiffe://test.example", REPORTER);
    assert_eq!(
        foreign,
        Err(RevocationError::Issuer(Box::from("spiffe://test.example")))
    );
    let (_, ticket) = stage.forward(&request).unwrap();
    revoke(&stage, "spiffe://prod.example", REPORTER).unwrap();
    assert_eq!(outcome(&stage, &request), Some(DenyReason::TokenRevoked));
    assert_eq!(
        ticket.check_revocation(NOW).unwrap_err().reason,
        DenyReason::TokenRevoked
    );
    // A later certificate of the same machine is no later login, and years later it is revoked still.
    let years = UnixTime::from_secs(NOW_S + 5 * 365 * 24 * 3_600);
    let renewed = alone(&read_call(Era::Modern), certificate(Some(REPORTER), years.secs() + 1));
    let arrived = stage.gate.begin(years).authenticate(&renewed.head());
    assert_eq!(arrived.unwrap_err().reason, DenyReason::TokenRevoked);
    let other = alone(
        &read_call(Era::Modern),
        certificate(Some("spiffe://prod.example/agents/x"), NOW_S + 1),
    );
    assert_eq!(outcome(&stage, &other), Some(DenyReason::CertificateRefused));
}

/// A token that the client got for itself.
fn own_token() -> TokenBuilder {
    token(&ALICE).subject(CLIENT).client(CLIENT)
}

#[test]
fn a_clients_own_token_gets_what_its_row_says_and_no_other_does() {
    let stage = Stage::with(setup());
    let read = read_scopes().join(" ");
    let bound = |token: &TokenBuilder| {
        let request = Request::with_token(&read_call(Era::Modern), &token.sign(keys::es256()));
        match stage.arrive(&request) {
            Ok(Step::Done(principal)) => principal,
            other => panic!("{other:?}"),
        }
    };
    let texts = |list: &[Box<str>]| list.join(" ");
    let cases = [
        ("no scope", own_token().without("scope"), format!("more {read}")),
        ("the tool's", own_token().scope(&read), read.clone()),
        ("one in both", own_token().scope("more much"), "more".to_owned()),
        (
            "all of it",
            own_token().scope(&format!("{read} a more z")),
            format!("more {read}"),
        ),
        ("nothing in both", own_token().scope("other"), String::new()),
    ];
    for (what, token, scopes) in cases {
        let principal = bound(&token.groups(&["admins"]).roles(&["admin"]));
        assert_eq!(texts(principal.scopes()), scopes, "{what}");
        assert_eq!(texts(principal.groups()), "auditors", "{what}");
        assert_eq!(texts(principal.roles()), "reader", "{what}");
        assert_eq!(principal.roles_origin().as_str(), "configuration", "{what}");
    }
    let request = |token: &TokenBuilder| Request::with_token(&read_call(Era::Modern), &token.sign(keys::es256()));
    assert!(stage.forward(&request(&own_token().scope(&read))).is_ok());
    let record = recorded(&stage);
    assert_eq!(
        (&record["token"]["kind"], &record["subject"]["kind"]),
        (&json!("jwt"), &json!("machine"))
    );
    assert_eq!(record["roles_from"], "configuration");
    let denial = stage.forward(&request(&own_token().scope("other"))).unwrap_err();
    assert_eq!(denial.reason, DenyReason::ScopeInsufficient);

    let others = [
        ("a person through the same client", token(&ALICE).client(CLIENT)),
        (
            "an agent for a person through it",
            token(&ALICE).client(CLIENT).act("agent-9"),
        ),
        ("another client", token(&ALICE).subject("other").client("other")),
    ];
    for (what, token) in others {
        let principal = bound(&token.clone().groups(&["people"]));
        assert_eq!(texts(principal.groups()), "people", "{what}");
        assert_eq!(principal.roles_origin().as_str(), "token", "{what}");
        let denial = stage.forward(&request(&token.scope(&read))).unwrap_err();
        assert_eq!(denial.reason, DenyReason::PolicyDenied, "{what}");
    }
    // What binds the token binds the machine.
    let key = DpopClient::new(Key::new_es256("mine"));
    let bound_token = own_token().claim("cnf", key.confirmation());
    assert_eq!(
        outcome(&stage, &request(&bound_token)),
        Some(DenyReason::TokenSenderBound)
    );
}

#[test]
fn a_row_names_one_machine_and_no_pattern() {
    let of = |rows: Vec<MachineRow>| MachineIdentities::new(rows).map(|_| ());
    let one = |name: &str| of(vec![row(uri(name), PartyKind::Machine, &[])]);
    for name in [
        REPORTER,
        "spiffe://prod.example",
        "https://prod.example:8443/a",
        "a+b-c.9://x/",
    ] {
        assert_eq!(one(name), Ok(()), "{name}");
    }
    let long = format!("spiffe://prod.example/{}", "a".repeat(1_024));
    for name in [
        "",
        "reporter",
        "spiffe:/prod.example/a",
        "spiffe:///a",
        "://prod.example/a",
        "1a://prod.example/a",
        "urn:uuid:f81d4fae",
        "spiffe://prod.example/*",
        "spiffe://*.example/a",
        "spiffe://prod.example/a b",
        "spiffe://prod.example/ä",
        "spiffe://prod.example/a?b",
        "spiffe://prod.example/a#b",
        "spiffe://a@prod.example/a",
        &long,
    ] {
        assert_eq!(one(name), Err(MachineError::Uri(Arc::from(name))), "{name}");
    }
    let twice = |first: MachineName, second: MachineName| {
        of(vec![
            row(first, PartyKind::Machine, &[]),
            row(second, PartyKind::Agent, &[]),
        ])
    };
    let repeated = |id: &str| Err(MachineError::Repeated(Arc::from(id)));
    assert_eq!(twice(uri(REPORTER), uri(REPORTER)), repeated(REPORTER));
    assert_eq!(twice(client(ISSUER), client(ISSUER)), repeated(CLIENT));
    assert_eq!(twice(client(ISSUER), client("https://other.example")), Ok(()));
    assert_eq!(twice(uri(REPORTER), client(ISSUER)), Ok(()));
    let human = of(vec![row(uri(REPORTER), PartyKind::Human, &[])]);
    assert_eq!(human, Err(MachineError::Kind(Arc::from(REPORTER))));
}

#[test]
fn a_machine_has_no_name_that_an_issuer_could_give() {
    use crate::config::{Server, ServerError, ServerParts};
    let with = |name: MachineName| {
        let setup = Setup::default();
        let machines = MachineIdentities::new(vec![row(name, PartyKind::Machine, &[])]).unwrap();
        let parts = server_parts("crm", &setup.policy, setup.rate, vec![issuer(ISSUER)]);
        Server::new(ServerParts { machines, ..parts }).map(|_| ())
    };
    let crm = || Arc::from("crm");
    assert_eq!(with(client(ISSUER)), Ok(()));
    assert_eq!(
        with(client("https://other.example")),
        Err(ServerError::MachineIssuer(crm(), Arc::from("https://other.example")))
    );
    assert_eq!(with(uri(REPORTER)), Ok(()));
    assert_eq!(
        with(uri("https://issuer.example/agents/reporter")),
        Err(ServerError::MachineNameSpace(crm(), Arc::from(ISSUER)))
    );
}

#[test]
fn an_open_stream_ends_with_the_trust_in_its_certificate() {
    let stage = Stage::with(setup());
    let (_, ticket) = stage.forward(&alone(&read_call(Era::Legacy), reporter())).unwrap();
    assert!(ticket.check_certificate(Some(&reporter())).is_ok());
    let other = ClientCertificate {
        sha256: [9; 32],
        ..reporter()
    };
    let refused = ClientCertificate {
        identity: None,
        refused: Some("revoked"),
        ..reporter()
    };
    for now in [None, Some(&other), Some(&refused)] {
        let denial = ticket.check_certificate(now).unwrap_err();
        assert_eq!(denial.reason, DenyReason::CertificateRefused);
    }
    // Who came without one has none to lose.
    let stage = Stage::new();
    assert!(stage.ticket().check_certificate(None).is_ok());
}
