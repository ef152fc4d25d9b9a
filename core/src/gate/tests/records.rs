//! What stands on record, what never does, and what the gate tells of itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::{AGENT_FOR_ALICE, ALICE, BOB};
use serde_json::{Value, json as value};

use super::stage::*;
use crate::config::Limits;
use crate::denial::DenyReason;
use crate::gate::{Answer, Snapshot, SnapshotError, Step};
use crate::limit::Rate;
use crate::token::{Issuer, IssuerParts};

const RATE: Rate = Rate {
    per_second: 10,
    burst: 10,
};

#[test]
fn every_record_says_who_called_for_whom() {
    let stage = Stage::new();
    let human = value!({"id": "alice", "issuer": ISSUER, "kind": "human"});
    let agent = value!({"id": "agent-1", "issuer": ISSUER, "kind": "agent"});
    for (persona, actor, on_behalf_of, client) in [
        (ALICE, &human, &Value::Null, "desktop"),
        (AGENT_FOR_ALICE, &agent, &human, "agent-1"),
    ] {
        let before = stage.records().len();
        let (_, mut ticket) = stage.forward(&Request::by(&persona, &read_call(Era::Legacy))).unwrap();
        stage.review(&mut ticket, Answer::Empty { status: 404 });
        let _ = stage.record(&Request::by(&persona, &Call::tools_call(Era::Legacy, 1, READ, "{}")));
        let records = stage.records().split_off(before);
        assert_eq!(records.len(), 3, "an allow, its answer and a denial");
        for record in &records {
            assert_eq!(record["subject"], human);
            assert_eq!(record["actor"], *actor);
            assert_eq!(record["on_behalf_of"], *on_behalf_of);
            assert_eq!(record["client_id"], client);
            assert_eq!(record["principal_id"], records[0]["principal_id"]);
            assert_eq!(
                (&record["tenant"], &record["server"]),
                (&value!("acme"), &value!("crm"))
            );
            assert_eq!(record["gate"]["node"], "node-1");
            assert_eq!(record["gate"]["digest_key"], "0a1b2c3d");
        }
    }
}

#[test]
fn an_allow_says_what_was_asked_and_by_which_evidence() {
    let stage = Stage::new();
    let mut call = read_call(Era::Legacy);
    let traced = r#""params":{"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},"#;
    call.body = call.body.replace(r#""params":{"#, traced);
    let now = NOW.after(Duration::from_secs(30));
    let mut visit = stage.gate.begin(now);
    let request = Request::by(&ALICE, &call);
    let Ok(Step::Done(principal)) = visit.authenticate(&request.head()) else {
        panic!("the token is good");
    };
    let scratch = &mut crate::gate::Scratch::new(0);
    let _recorded = visit
        .authorize(principal, &request.head(), request.body.clone(), now, scratch)
        .unwrap();
    let record = stage.last();
    assert_eq!(
        (&record["phase"], &record["decision"]),
        (&value!("request"), &value!("allow"))
    );
    assert_eq!(
        (&record["protocol"], &record["method"]),
        (&value!("2025-11-25"), &value!("tools/call"))
    );
    assert_eq!(
        (&record["tool"], &record["rule"]),
        (&value!(READ), &value!("tool-granted"))
    );
    assert_eq!(record["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(record["scopes"], value!(["repo", "salesforce:read"]));
    assert_eq!(record["resource"], RESOURCE);
    assert_eq!(
        record["upstream"],
        value!({"name": "crm-upstream", "credential": {"label": "crm-secret", "kind": "static"}})
    );
    assert_eq!(record["token"]["evidence_age_s"], 30);
    assert_eq!(
        record["obligations"]["redact"][0],
        value!({"at": "/contact/email", "action": "mask"})
    );
    let arguments = crate::crypto::MacKey::new([3; 32]).mac(OWN_ACCOUNT.as_bytes());
    let hex: String = arguments.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(
        record["arguments_digest"].as_str().unwrap().ends_with(&hex),
        "over the exact bytes"
    );
}

#[test]
fn no_clear_text_ever_stands_in_the_log() {
    let stage = Stage::new();
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"structuredContent":{"contact":{"email":"jo@example.org"}}}}"#;
    let session = stage.session(&ALICE, "session-of-alice");
    let mut secrets = vec![
        "acc-1001".to_owned(),
        "acc-9999".to_owned(),
        "session-of-alice".to_owned(),
        session.clone(),
    ];
    secrets.extend(["jo@example.org", "the-upstream-secret", "no-token"].map(str::to_owned));
    for arguments in [OWN_ACCOUNT, r#"{"account_id": "acc-9999"}"#] {
        let token = token(&ALICE).sign(keys::es256());
        let mut request = Request::with_token(&Call::tools_call(Era::Legacy, 1, READ, arguments), &token);
        request.add("mcp-session-id", &session);
        secrets.extend(token.split('.').map(str::to_owned));
        if let Ok((_, mut ticket)) = stage.forward(&request) {
            stage.review(&mut ticket, json(200, answer));
        }
        let mut broken = request.clone();
        broken.set("authorization", "Bearer no-token");
        assert!(stage.arrive(&broken).is_err());
    }
    stage.gate.flush_refusals(NOW);
    let log = stage.log().join("\n");
    let records = stage.records();
    assert_eq!(
        records.len(),
        6,
        "two allows, each with its answer, a denial, a summary"
    );
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret}");
    }
    assert!(records[0]["session"].is_null(), "the session is not open yet");
    assert!(records[1]["session"].is_string());
    assert_eq!(records[1]["session"], records[2]["session"]);
    assert!(records[3]["content_digest"].is_string());
}

#[test]
fn equal_arguments_have_equal_digests_and_others_have_not() {
    let stage = Stage::new();
    let digest = |arguments: &str| {
        let _recorded = stage.record(&Request::by(&ALICE, &Call::tools_call(Era::Legacy, 1, READ, arguments)));
        stage.last()["arguments_digest"].clone()
    };
    assert_eq!(digest(OWN_ACCOUNT), digest(OWN_ACCOUNT));
    assert_ne!(
        digest(OWN_ACCOUNT),
        digest(&OWN_ACCOUNT.replace(": ", ":")),
        "the bytes count"
    );
    assert_ne!(digest("{}"), Value::Null);
    let _recorded = stage.record(&Request::by(&ALICE, &Call::ping(1)));
    assert_eq!(stage.last()["arguments_digest"], Value::Null);
}

#[test]
fn strangers_are_summed_up_by_source() {
    let stage = Stage::new();
    let mut nobody = Request::read();
    nobody.headers.remove("authorization");
    let mut elsewhere = Request::read();
    elsewhere.path = "/nowhere";
    let mut far = nobody.clone();
    far.client_ip = IpAddr::from([198, 51, 100, 1]);
    for request in [&nobody, &nobody, &far, &elsewhere] {
        assert!(stage.arrive(request).is_err());
    }
    assert!(stage.records().is_empty(), "a stranger writes nothing");
    let later = NOW.after(Duration::from_secs(10));
    stage.gate.flush_refusals(later);
    let mut lines: Vec<(String, String, String, u64)> = stage
        .records()
        .iter()
        .map(|record| {
            assert_eq!(record["phase"], "refusals");
            let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
            (
                text("server"),
                text("reason"),
                text("client_ip"),
                record["count"].as_u64().unwrap(),
            )
        })
        .collect();
    lines.sort();
    let line = |server: &str, reason: DenyReason, ip: &str, count| {
        (server.to_owned(), reason.code().to_owned(), ip.to_owned(), count)
    };
    assert_eq!(
        lines,
        [
            line("-", DenyReason::RouteUnknown, "192.0.2.1", 1),
            line("crm", DenyReason::CredentialMissing, "192.0.2.1", 2),
            line("crm", DenyReason::CredentialMissing, "198.51.100.1", 1),
        ]
    );
    stage.gate.flush_refusals(later);
    assert_eq!(stage.records().len(), 3, "each refusal is summed up once");
}

#[test]
fn what_the_embedder_refuses_counts_with_the_server_it_was_for() {
    let stage = Stage::new();
    let request = Request::read();
    let mut visit = stage.gate.begin(NOW);
    assert!(matches!(visit.authenticate(&request.head()), Ok(Step::Done(_))));
    let denial = crate::denial::Denial::new(DenyReason::BodyTooLarge, "over the limit");
    assert_eq!(visit.refuse(&request.head(), denial).reason, DenyReason::BodyTooLarge);
    stage.gate.flush_refusals(NOW);
    let record = stage.last();
    assert_eq!(
        (&record["server"], &record["reason"]),
        (&value!("crm"), &value!("body_too_large"))
    );
}

#[test]
fn a_gate_is_ready_with_a_log_and_fresh_keys_of_every_issuer() {
    let stage = Stage::with(Setup {
        keys: false,
        ..Setup::default()
    });
    assert_eq!(stage.gate.ready(NOW), Err("an issuer has no usable keys"));
    stage
        .gate
        .publish_keys(&issuer("https://other.example"), &key_set(&[keys::es256()], NOW));
    assert_eq!(stage.gate.ready(NOW), Err("an issuer has no usable keys"));
    stage
        .gate
        .publish_keys(&issuer(ISSUER), &key_set(&[keys::es256()], NOW));
    assert_eq!(stage.gate.ready(NOW), Ok(()));
    let age_max = Limits::default().jwks_age_max;
    assert_eq!(stage.gate.ready(NOW.after(age_max)), Ok(()));
    let stale = NOW.after(age_max + Duration::from_nanos(1));
    assert_eq!(stage.gate.ready(stale), Err("an issuer has no usable keys"));
}

#[test]
fn a_new_configuration_keeps_the_keys_of_issuers_that_stay() {
    let stage = Stage::new();
    let publish = |issuers: &[&str]| {
        let issuers = issuers.iter().map(|url| issuer(url)).collect();
        let server = server("crm", &sample_policy(), RATE, issuers);
        stage
            .gate
            .publish(Snapshot::new(vec![server], Limits::default(), [8; 32]).unwrap());
    };
    let request = Request::read();
    let before = stage.record(&request).unwrap();
    publish(&[ISSUER, "https://other.example"]);
    assert!(matches!(stage.arrive(&request), Ok(Step::Done(_))));
    assert!(stage.gate.ready(NOW).is_err(), "the other issuer has no keys yet");
    publish(&["https://other.example"]);
    assert_eq!(stage.arrive(&request).unwrap_err().reason, DenyReason::TokenIssuer);
    publish(&[ISSUER]);
    assert!(
        matches!(stage.arrive(&request), Ok(Step::Needs(_))),
        "forgotten keys are gone"
    );
    // What was begun goes on as it began.
    stage.write();
    let (_, mut ticket) = before.permit(stage.gate.durable()).unwrap().spend();
    stage.review(&mut ticket, Answer::Empty { status: 404 });
    let records = stage.records();
    assert_eq!(records[0]["config_digest"], records[1]["config_digest"]);
}

#[test]
fn a_withdrawn_key_takes_its_tokens_along() {
    let stage = Stage::new();
    let request = Request::by(&BOB, &read_call(Era::Legacy));
    assert!(matches!(stage.arrive(&request), Ok(Step::Done(_))));
    let other = keys::Key::new_es256("es-2");
    stage.gate.publish_keys(&issuer(ISSUER), &key_set(&[&other], NOW));
    assert!(
        matches!(stage.arrive(&request), Ok(Step::Needs(_))),
        "a remembered token proves nothing more"
    );
}

#[test]
fn a_snapshot_has_servers_that_can_be_told_apart() {
    let server = |name: &str| server(name, &sample_policy(), RATE, vec![issuer(ISSUER)]);
    let snapshot =
        |servers| Snapshot::new(servers, Limits::default(), [0; 32]).map(|snapshot| snapshot.servers().count());
    assert_eq!(snapshot(vec![server("crm"), server("code")]), Ok(2));
    assert_eq!(snapshot(vec![]), Err(SnapshotError::Empty));
    assert_eq!(
        snapshot(vec![server("crm"), server("crm")]),
        Err(SnapshotError::NameRepeated(Arc::from("crm")))
    );
}

#[test]
fn keys_are_used_only_from_the_place_that_the_configuration_names() {
    let stage = Stage::new();
    let from = |place: &str| {
        let parts = IssuerParts {
            key_source: Arc::from(place),
            ..IssuerParts::strict(Arc::from(ISSUER))
        };
        Arc::new(Issuer::new(parts).unwrap())
    };
    let server = server("crm", &sample_policy(), RATE, vec![from("b")]);
    stage
        .gate
        .publish(Snapshot::new(vec![server], Limits::default(), [8; 32]).unwrap());
    let request = Request::read();
    let keys = key_set(&[keys::es256()], NOW);
    assert!(
        matches!(stage.arrive(&request), Ok(Step::Needs(_))),
        "the old place's keys are gone"
    );
    // An answer of the old place that was still under way.
    stage.gate.publish_keys(&issuer(ISSUER), &keys);
    assert!(matches!(stage.arrive(&request), Ok(Step::Needs(_))));
    stage.gate.publish_keys(&from("b"), &keys);
    assert!(matches!(stage.arrive(&request), Ok(Step::Done(_))));
}
