//! Stages 5 to 10: what a caller may call, what a refusal says, and what goes upstream.

use std::time::Duration;

use bytes::Bytes;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::{AGENT_FOR_ALICE, AGENT_FOR_CAROL, ALICE, BOB, CAROL};

use super::stage::*;
use crate::audit::AuditSettings;
use crate::denial::{Denial, DenyReason};
use crate::gate::{Scratch, Step};

/// The refusal of a call; its record is the newest and has the same id.
fn refused(stage: &Stage, request: &Request) -> Denial {
    let denial = stage.record(request).unwrap_err();
    let id = denial
        .record_id
        .expect("a refusal of a known caller has a record")
        .to_string();
    let record = stage.last();
    assert_eq!(record["record_id"], id);
    assert_eq!(record["decision"], "deny");
    assert_eq!(record["subject"]["id"], "alice");
    denial
}

#[test]
fn a_call_passes_only_for_whom_the_policy_and_the_scopes_let_it() {
    let call = |tool: &str, arguments: &str| Call::tools_call(Era::Modern, 1, tool, arguments);
    let own = read_call(Era::Modern);
    let hidden = Some(DenyReason::ToolHidden);
    let stage = Stage::new();
    for (name, persona, call, expected) in [
        ("her own account", ALICE, own.clone(), None),
        ("in the legacy era", ALICE, read_call(Era::Legacy), None),
        (
            "somebody else's",
            ALICE,
            call(READ, r#"{"account_id": "acc-2001"}"#),
            Some(DenyReason::PolicyDenied),
        ),
        ("no account", ALICE, call(READ, "{}"), Some(DenyReason::PolicyDenied)),
        (
            "the same call by another",
            BOB,
            own.clone(),
            Some(DenyReason::PolicyDenied),
        ),
        ("a human without the role", CAROL, own.clone(), hidden),
        ("her agent", AGENT_FOR_ALICE, own.clone(), None),
        (
            "her agent with another account",
            AGENT_FOR_ALICE,
            call(READ, "{}"),
            Some(DenyReason::PolicyDenied),
        ),
        ("the agent of a human without the role", AGENT_FOR_CAROL, own, hidden),
        (
            "a tool beyond the scopes",
            ALICE,
            call("salesforce.account.delete", "{}"),
            hidden,
        ),
        (
            "a tool without a row",
            ALICE,
            call("salesforce.opportunity", "{}"),
            Some(DenyReason::ToolUnmapped),
        ),
        ("the list", CAROL, Call::tools_list(Era::Modern, 1), None),
        ("a ping", CAROL, Call::ping(1), None),
    ] {
        let reason = stage
            .record(&Request::by(&persona, &call))
            .err()
            .map(|denial| denial.reason);
        assert_eq!(reason, expected, "{name}");
    }
}

#[test]
fn an_unknown_agent_passes_for_nobody() {
    let stage = Stage::new();
    let claims = token(&AGENT_FOR_ALICE).without("act").act("agent-2");
    let request = Request::with_token(&read_call(Era::Legacy), &claims.sign(keys::es256()));
    assert_eq!(stage.record(&request).unwrap_err().reason, DenyReason::SubjectUnlisted);
    assert_eq!(stage.last()["actor"]["id"], "agent-2");
}

#[test]
fn a_body_that_cannot_be_read_is_refused_on_record() {
    let stage = Stage::new();
    let good = read_call(Era::Legacy);
    for (name, body, expected) in [
        ("no JSON", "{", DenyReason::JsonMalformed),
        (
            "a key twice",
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#,
            DenyReason::JsonAmbiguous,
        ),
        (
            "a batch",
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            DenyReason::RpcInvalid,
        ),
        (
            "an answer",
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            DenyReason::RpcInvalid,
        ),
        (
            "another method",
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/write"}"#,
            DenyReason::MethodUnsupported,
        ),
        (
            "no tool",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#,
            DenyReason::ParamsInvalid,
        ),
    ] {
        let mut request = Request::by(&ALICE, &good);
        request.body = Bytes::from(body);
        assert_eq!(refused(&stage, &request).reason, expected, "{name}");
        let record = stage.last();
        assert_eq!(record["reason"], expected.code(), "{name}");
        assert_eq!(record["rule"], serde_json::Value::Null, "{name}");
    }
    let mut request = Request::by(&ALICE, &read_call(Era::Modern));
    request.set("mcp-name", "demo.echo");
    let denial = refused(&stage, &request);
    assert_eq!(denial.reason, DenyReason::HeaderMismatch);
    assert_eq!((denial.request_id.as_deref(), denial.modern), (Some("1"), true));
}

#[test]
fn a_denial_of_the_policy_is_recorded_with_its_rule() {
    let stage = Stage::new();
    let call = Call::tools_call(Era::Legacy, 1, READ, "{}");
    let denial = refused(&stage, &Request::by(&ALICE, &call));
    assert_eq!((denial.reason, denial.challenge), (DenyReason::PolicyDenied, None));
    let record = stage.last();
    assert_eq!(record["rule"], "account-not-assigned");
    assert_eq!(record["reason"], "the account is not assigned to the subject");
    assert_eq!(record["tool"], READ);
}

#[test]
fn a_policy_that_does_not_answer_in_its_form_lets_nothing_pass() {
    let with = |members: &str| format!("decision := {{{members}}}");
    for (name, rules, passes) in [
        ("an allow", ALLOW.to_owned(), true),
        (
            "undefined",
            "decision := {\"allow\": true, \"rule\": \"r\"} if input.absent".to_owned(),
            false,
        ),
        ("a bare true", "decision := true".to_owned(), false),
        ("a word", with(r#""allow": "true", "rule": "r""#), false),
        ("null", with(r#""allow": null, "rule": "r""#), false),
        ("no rule", with(r#""allow": true"#), false),
        (
            "an unknown member",
            with(r#""allow": true, "rule": "r", "also": 1"#),
            false,
        ),
        (
            "an unknown obligation",
            with(r#""allow": true, "rule": "r", "obligations": {"log": true}"#),
            false,
        ),
        (
            "an action that cannot be carried out",
            with(r#""allow": true, "rule": "r", "obligations": {"redact": [{"at": "/a", "action": "pseudonym"}]}"#),
            false,
        ),
    ] {
        let stage = Stage::deciding(&rules, ALLOW);
        let denial = stage.record(&Request::read()).err();
        assert_eq!(denial.is_none(), passes, "{name}");
        if let Some(denial) = denial {
            assert_eq!(denial.reason, DenyReason::PolicyFailed, "{name}");
            assert!(denial.retry_after_s.is_some(), "{name}");
            assert_eq!(stage.last()["reason"], "policy_failed", "{name}");
        }
    }
}

#[test]
fn a_hidden_tool_is_refused_before_it_is_judged() {
    for (name, visible, expected) in [
        ("shown", "visible if input.request.tool", None),
        (
            "not shown",
            "visible if not input.request.tool",
            Some(DenyReason::ToolHidden),
        ),
        ("something else than true", "visible := 1", Some(DenyReason::ToolHidden)),
        ("no word of it", "", None),
    ] {
        let stage = Stage::deciding(&format!("{ALLOW}\n{visible}"), ALLOW);
        let reason = stage.record(&Request::read()).err().map(|denial| denial.reason);
        assert_eq!(reason, expected, "{name}");
        // A call without a tool has nothing to hide.
        assert!(stage.record(&Request::by(&ALICE, &Call::ping(1))).is_ok(), "{name}");
    }
}

#[test]
fn what_goes_upstream_is_what_was_judged_and_nothing_of_the_caller() {
    let stage = Stage::new();
    let mut call = read_call(Era::Legacy);
    // Layout that no serialiser would keep.
    call.body = call.body.replacen('{', "{ \t\n", 1);
    let mut request = Request::by(&ALICE, &call);
    let session = stage.session(&ALICE, "session-1");
    for (name, value) in [
        ("mcp-session-id", &*session),
        ("cookie", "a=b"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-portcullis-subject", "root"),
        ("forwarded", "for=192.0.2.7"),
        ("last-event-id", "4"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ] {
        request.add(name, value);
    }
    request.set("accept", "*/*");
    let (forward, ticket) = stage.forward(&request).unwrap();
    assert_eq!(forward.body, request.body);
    assert_eq!(forward.record_id, ticket.record_id());
    assert_eq!(&*forward.upstream().name, "crm-upstream");
    let headers: Vec<(&str, &str)> = forward
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        headers,
        [
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-session-id", "session-1"),
        ]
    );
}

#[test]
fn the_modern_era_sends_no_session_on() {
    let stage = Stage::new();
    let mut request = Request::by(&ALICE, &read_call(Era::Modern));
    request.add("mcp-session-id", "session-1");
    request.add("mcp-session-id", "session-2");
    let (forward, _ticket) = stage.forward(&request).unwrap();
    let names: Vec<&str> = forward.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "accept",
            "content-type",
            "mcp-method",
            "mcp-name",
            "mcp-protocol-version"
        ]
    );
}

#[test]
fn nothing_is_permitted_before_its_record_is_durable_in_its_own_log() {
    let (stage, other) = (Stage::new(), Stage::new());
    let recorded = stage.record(&Request::read()).unwrap();
    let (id, position) = (recorded.record_id(), recorded.position());
    let recorded = recorded.permit(stage.gate.durable()).unwrap_err();
    assert_eq!((recorded.record_id(), recorded.position()), (id, position));
    // The same position is durable elsewhere.
    let _there = other.record(&Request::read()).unwrap();
    other.write();
    assert!(other.gate.durable().reached(position));
    let recorded = recorded.permit(other.gate.durable()).unwrap_err();
    stage.write();
    let permit = recorded.permit(stage.gate.durable()).unwrap();
    assert_eq!(permit.spend().0.record_id, id);
}

#[test]
fn an_allow_that_goes_nowhere_is_closed_as_not_forwarded() {
    let stage = Stage::new();
    let given_up = stage.record(&Request::read()).unwrap();
    let id = given_up.record_id().to_string();
    let denial = given_up.give_up(NOW);
    assert_eq!(
        (denial.reason, denial.retry_after_s),
        (DenyReason::AuditUnavailable, Some(1))
    );
    assert_eq!(denial.request_id.as_deref(), Some("1"));
    let mut ids = vec![id];
    let dropped = stage.record(&Request::read()).unwrap();
    ids.push(dropped.record_id().to_string());
    drop(dropped);
    let recorded = stage.record(&Request::read()).unwrap();
    ids.push(recorded.record_id().to_string());
    stage.write();
    drop(recorded.permit(stage.gate.durable()).unwrap());
    for id in ids {
        let records = stage.records();
        let pair: Vec<&serde_json::Value> = records.iter().filter(|record| record["record_id"] == id).collect();
        assert_eq!(pair.len(), 2, "one allow and one close");
        assert_eq!(pair[0]["decision"], "allow");
        assert_eq!(
            (&pair[1]["phase"], &pair[1]["outcome"]),
            (&"close".into(), &"not_forwarded".into())
        );
    }
}

#[test]
fn a_log_that_takes_no_records_lets_nothing_pass_and_nothing_be_refused_quietly() {
    let full = || {
        Stage::with(Setup {
            audit: AuditSettings {
                queue_records: 1,
                ..AuditSettings::default()
            },
            ..Setup::default()
        })
    };
    let denied = Request::by(&BOB, &read_call(Era::Legacy));
    for (name, request) in [("an allow", Request::read()), ("a denial", denied)] {
        let stage = full();
        // The one place in the queue; its writer does not move.
        let first = stage.record(&Request::read()).unwrap();
        let denial = stage.record(&request).unwrap_err();
        assert_eq!(denial.reason, DenyReason::AuditUnavailable, "{name}");
        assert_eq!(denial.retry_after_s, Some(1), "{name}");
        assert_eq!(denial.request_id.as_deref(), Some("1"), "{name}");
        assert_eq!(stage.gate.ready(NOW), Err("the audit log takes no records"), "{name}");
        stage.write();
        assert_eq!(stage.gate.ready(NOW), Ok(()), "{name}");
        assert_eq!(stage.records().len(), 1, "{name}");
        drop(first);
    }
}

#[test]
fn a_visit_judges_only_whom_it_has_bound_itself() {
    let stage = Stage::new();
    let request = Request::read();
    let bound = || {
        let mut visit = stage.gate.begin(NOW);
        match visit.authenticate(&request.head()) {
            Ok(Step::Done(principal)) => (visit, principal),
            other => panic!("{other:?}"),
        }
    };
    let judge = |visit: crate::gate::Visit<'_>, principal| {
        let outcome = visit.authorize(
            principal,
            &request.head(),
            request.body.clone(),
            NOW,
            &mut Scratch::new(0),
        );
        outcome.err().map(|denial| denial.reason)
    };
    let (visit, principal) = bound();
    assert_eq!(judge(visit, principal.clone()), None);
    assert_eq!(
        judge(stage.gate.begin(NOW), principal.clone()),
        Some(DenyReason::IdentityUnbound)
    );
    let mut failed = stage.gate.begin(NOW);
    let mut without = request.clone();
    without.headers.remove("authorization");
    assert!(failed.authenticate(&without.head()).is_err());
    assert_eq!(judge(failed, principal.clone()), Some(DenyReason::IdentityUnbound));
    let mut bobs = stage.gate.begin(NOW);
    assert!(
        bobs.authenticate(&Request::by(&BOB, &read_call(Era::Legacy)).head())
            .is_ok()
    );
    assert_eq!(judge(bobs, principal), Some(DenyReason::IdentityUnbound));
}

#[test]
fn a_token_must_still_hold_when_its_body_is_whole() {
    let stage = Stage::new();
    let request = Request::read();
    // Five minutes of life and one of leeway.
    for (after_s, expected) in [(359, None), (360, Some(DenyReason::TokenExpired))] {
        let mut visit = stage.gate.begin(NOW);
        let Ok(Step::Done(principal)) = visit.authenticate(&request.head()) else {
            panic!("the token holds at the head");
        };
        let now = NOW.after(Duration::from_secs(after_s));
        let outcome = visit.authorize(
            principal,
            &request.head(),
            request.body.clone(),
            now,
            &mut Scratch::new(0),
        );
        assert_eq!(outcome.err().map(|denial| denial.reason), expected, "after {after_s} s");
    }
    assert_eq!(stage.last()["reason"], "token_expired");
}
