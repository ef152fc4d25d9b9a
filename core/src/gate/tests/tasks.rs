//! Tasks of both kinds: whose they are, as what they are judged, and what of them leaves.

use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::{AGENT_FOR_ALICE, ALICE, BOB, Persona};
use serde_json::{Value, json as value};

use super::super::*;
use super::stage::*;
use crate::gate::Release;
use crate::gate::tasks::{Task, TaskOwners};

mod told;

const LIST: &str = "salesforce.opportunity.list";
const TASK: &str = "786512e2";

fn open_stage() -> Stage {
    Stage::deciding(ALLOW, ALLOW)
}

/// A request of an era with these members of `params`.
fn request(persona: &Persona, era: Era, method: &str, members: &str, name: Option<&str>) -> Request {
    let (comma, meta) = match era {
        Era::Legacy => ("", String::new()),
        Era::Modern => (
            if members.is_empty() { "" } else { "," },
            r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#
                .to_owned(),
        ),
    };
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{members}{comma}{meta}}}}}"#);
    let mut call = Call::post(body).header("mcp-protocol-version", era.version());
    if era == Era::Modern {
        call = call.header("mcp-method", method);
        if let Some(name) = name {
            call = call.header("mcp-name", name);
        }
    }
    Request::by(persona, &call)
}

/// A request about a task.
fn about(persona: &Persona, era: Era, method: &str, id: &str) -> Request {
    let answers = match method {
        "tasks/update" => r#","inputResponses":{}"#,
        _ => "",
    };
    request(persona, era, method, &format!(r#""taskId":"{id}"{answers}"#), Some(id))
}

/// A call of a tool that may come to a task.
fn starting(persona: &Persona, era: Era, tool: &str) -> Request {
    let task = if era == Era::Legacy {
        r#","task":{"ttl":60000}"#
    } else {
        ""
    };
    let members = format!(r#""name":"{tool}","arguments":{OWN_ACCOUNT}{task}"#);
    request(persona, era, "tools/call", &members, Some(tool))
}

/// What a server answers to a call that has become a task.
fn created(era: Era, id: &str, further: &str) -> String {
    let state = format!(r#""taskId":"{id}","status":"working","statusMessage":"reading acc-1001"{further}"#);
    result(&match era {
        Era::Legacy => format!(r#""task":{{{state},"ttl":60000}}"#),
        Era::Modern => format!(r#""resultType":"task",{state},"ttlMs":60000"#),
    })
}

fn result(members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{members}}}}}"#)
}

/// What leaves of the upstream's answer to a request that is allowed.
#[track_caller]
fn answered_at(stage: &Stage, request: &Request, answer: &str, now: UnixTime) -> Release {
    let mut ticket = stage.forward_at(request, now).unwrap().1;
    stage.review_at(&mut ticket, json(200, answer), now)
}

#[track_caller]
fn answered(stage: &Stage, request: &Request, answer: &str) -> Release {
    answered_at(stage, request, answer, NOW)
}

/// A persona's call becomes the task [`TASK`].
#[track_caller]
fn start(stage: &Stage, persona: &Persona, era: Era) {
    let answer = created(era, TASK, "");
    let release = answered(stage, &starting(persona, era, READ), &answer);
    assert_eq!(body_of(&release), answer);
}

/// Checks that a request is refused as one about a task that nobody knows, on record, and tells nothing else.
#[track_caller]
fn unknown(stage: &Stage, name: &str, request: &Request, now: UnixTime) -> String {
    let denial = stage.record_at(request, now).expect_err(name);
    assert_eq!(denial.reason, DenyReason::TaskUnknown, "{name}");
    assert_eq!(
        (denial.request_id.as_deref(), &denial.challenge),
        (Some("1"), &None),
        "{name}"
    );
    let record = stage.last();
    assert_eq!(record["record_id"], denial.record_id.unwrap().to_string(), "{name}");
    assert_eq!(
        (
            &record["decision"],
            &record["reason"],
            &record["tool"],
            &record["task_digest"]
        ),
        (&value!("deny"), &value!("task_unknown"), &Value::Null, &Value::Null),
        "{name}"
    );
    denial.operator.to_owned()
}

const LEGACY: [&str; 3] = ["tasks/get", "tasks/result", "tasks/cancel"];
const MODERN: [&str; 3] = ["tasks/get", "tasks/update", "tasks/cancel"];

fn methods(era: Era) -> [&'static str; 3] {
    match era {
        Era::Legacy => LEGACY,
        Era::Modern => MODERN,
    }
}

#[test]
fn a_task_is_its_callers_and_nobody_elses() {
    for era in [Era::Legacy, Era::Modern] {
        let stage = open_stage();
        let nobodys = unknown(&stage, "not started", &about(&ALICE, era, "tasks/get", TASK), NOW);
        start(&stage, &ALICE, era);
        let started = stage.records()[1].clone();
        for method in methods(era) {
            let own = about(&ALICE, era, method, TASK);
            let (forward, ticket) = stage.forward(&own).unwrap();
            assert_eq!(forward.body, own.body, "{method}");
            let record = stage.last();
            assert_eq!(
                (&record["method"], &record["tool"], &record["task_of"]),
                (&value!(method), &value!(READ), &started["record_id"]),
                "{method}"
            );
            drop(ticket);
            for (name, request) in [
                ("another subject's", about(&BOB, era, method, TASK)),
                (
                    "an agent's for the same human",
                    about(&AGENT_FOR_ALICE, era, method, TASK),
                ),
                ("another id", about(&ALICE, era, method, "786512e3")),
                ("a longer id", about(&ALICE, era, method, "786512e22")),
            ] {
                assert_eq!(
                    unknown(&stage, name, &request, NOW),
                    nobodys,
                    "{name} reads as if it did not exist"
                );
            }
        }
    }
}

#[test]
fn the_records_of_a_task_are_linked_by_its_digest() {
    let stage = open_stage();
    start(&stage, &ALICE, Era::Legacy);
    let (_, ticket) = stage.forward(&about(&ALICE, Era::Legacy, "tasks/get", TASK)).unwrap();
    drop(ticket);
    let records = stage.records();
    let digest = |record: &Value| record["task_digest"].clone();
    assert_eq!(digest(&records[0]), Value::Null, "the call does not know it yet");
    assert!(digest(&records[1]).is_string(), "the answer hands it out");
    assert_eq!(digest(&records[2]), digest(&records[1]));
    assert_eq!(records[2]["task_of"], records[0]["record_id"]);
    assert!(
        stage.log().iter().all(|record| !record.contains(TASK)),
        "its id stands in no record"
    );
}

#[test]
fn a_refreshed_token_and_another_session_keep_the_task() {
    let stage = open_stage();
    let [first, second] = ["upstream-1", "upstream-2"].map(|id| stage.session(&ALICE, id));
    let mut starts = starting(&ALICE, Era::Legacy, READ);
    starts.add("mcp-session-id", &first);
    body_of(&answered(&stage, &starts, &created(Era::Legacy, TASK, "")));
    let refreshed = token(&ALICE).claim("jti", value!("another")).expires(NOW_S + 200);
    let mut own = about(&ALICE, Era::Legacy, "tasks/get", TASK);
    own.set("authorization", &format!("Bearer {}", refreshed.sign(keys::es256())));
    assert!(stage.record(&own).is_ok(), "a newer token of the same principal");
    own.add("mcp-session-id", &second);
    assert!(stage.record(&own).is_ok(), "another session of the same principal");
    let mut foreign = about(&BOB, Era::Legacy, "tasks/get", TASK);
    foreign.add("mcp-session-id", &stage.session(&BOB, "upstream-1"));
    unknown(&stage, "another principal", &foreign, NOW);
}

#[test]
fn a_task_is_known_for_its_time_and_while_it_is_asked_for() {
    let after = |secs: u64| UnixTime::from_secs(NOW_S + secs);
    let ask = |stage: &Stage, secs: u64| {
        let own = token(&ALICE).claim("iat", NOW_S + secs).expires(NOW_S + secs + 300);
        let mut request = about(&ALICE, Era::Legacy, "tasks/get", TASK);
        request.set("authorization", &format!("Bearer {}", own.sign(keys::es256())));
        stage
            .gate
            .publish_keys(&issuer(ISSUER), &key_set(&[keys::es256()], after(secs)));
        stage
            .record_at(&request, after(secs))
            .map(drop)
            .map_err(|denial| denial.reason)
    };
    // The server keeps it for a minute; the gate knows it for ten at least.
    let stage = open_stage();
    start(&stage, &ALICE, Era::Legacy);
    assert_eq!(ask(&stage, 600), Err(DenyReason::TaskUnknown));
    let asked = open_stage();
    start(&asked, &ALICE, Era::Legacy);
    assert_eq!(ask(&asked, 599), Ok(()));
    assert_eq!(ask(&asked, 599 + 3_599), Ok(()));
    assert_eq!(ask(&asked, 599 + 3_599 + 3_600), Err(DenyReason::TaskUnknown));
}

#[test]
fn the_tool_of_a_task_is_asked_about_anew() {
    let request = r#"
        default decision := {"allow": false, "rule": "none", "reason": "no"}
        decision := {"allow": true, "rule": "call", "reason": "the call"} if input.request.method == "tools/call"
        decision := {"allow": true, "rule": "task", "reason": "the task"} if {
            input.request.method == "tasks/get"
            input.request.tool == "salesforce.opportunity.read"
            input.tool.class == "read"
        }"#;
    let stage = Stage::deciding(request, ALLOW);
    start(&stage, &ALICE, Era::Legacy);
    let own = stage.record(&about(&ALICE, Era::Legacy, "tasks/get", TASK)).unwrap();
    assert_eq!(stage.last()["rule"], "task");
    drop(own);
    let denial = stage
        .record(&about(&ALICE, Era::Legacy, "tasks/cancel", TASK))
        .unwrap_err();
    assert_eq!(denial.reason, DenyReason::PolicyDenied);
    // A newer token without the tool's scopes.
    let narrow = token(&ALICE).scope("openid");
    let mut own = about(&ALICE, Era::Legacy, "tasks/get", TASK);
    own.set("authorization", &format!("Bearer {}", narrow.sign(keys::es256())));
    let denial = stage.record(&own).unwrap_err();
    assert_eq!(denial.reason, DenyReason::ScopeInsufficient);
    assert!(denial.challenge.is_some());
}

#[test]
fn a_result_that_comes_by_a_task_is_reviewed_as_the_tools() {
    let answer = r#""content":[],"structuredContent":{"internal_note":"x","name":"y"}"#;
    let redacted = r#""content":[],"structuredContent":{"name":"y"}"#;
    let state = r#""taskId":"786512e2","status":"completed""#;
    let told = r#""statusMessage":"x","#;
    let image = r#""content":[{"type":"image","data":"","mimeType":"a/b"}]"#;
    for (name, era, method, sent, left) in [
        (
            "by tasks/result",
            Era::Legacy,
            "tasks/result",
            answer.to_owned(),
            Some(redacted.to_owned()),
        ),
        (
            "by tasks/result, what cannot be searched",
            Era::Legacy,
            "tasks/result",
            image.to_owned(),
            None,
        ),
        (
            "within the state",
            Era::Modern,
            "tasks/get",
            format!(r#"{told}{state},"result":{{{answer}}}"#),
            Some(format!(r#"{state},"result":{{{redacted}}}"#)),
        ),
        (
            "within the state, what cannot be searched",
            Era::Modern,
            "tasks/get",
            format!(r#"{state},"result":{{{image}}}"#),
            None,
        ),
        (
            "an error within the state",
            Era::Modern,
            "tasks/get",
            format!(r#"{state},"error":{{"code":7,"message":"acc-1001 is x"}}"#),
            Some(format!(
                r#"{state},"error":{{"code":7,"message":"the server refused the call"}}"#
            )),
        ),
        (
            "a question within the state",
            Era::Modern,
            "tasks/get",
            format!(r#"{state},"inputRequests":{{"a":{{"method":"roots/list"}}}}"#),
            None,
        ),
        (
            "an unknown member",
            Era::Modern,
            "tasks/get",
            format!(r#"{state},"note":"x""#),
            None,
        ),
        (
            "a state",
            Era::Legacy,
            "tasks/get",
            format!("{told}{state}"),
            Some(state.to_owned()),
        ),
        (
            "a state that is cancelled",
            Era::Legacy,
            "tasks/cancel",
            format!("{told}{state}"),
            Some(state.to_owned()),
        ),
    ] {
        // The obligations are those of the call that has started it: the policy names none for the task's own methods.
        let request = r#"
            decision := {"allow": true, "rule": "call", "reason": "", "obligations": {"redact": [{"at": "/internal_note", "action": "drop"}]}} if input.request.method == "tools/call"
            decision := {"allow": true, "rule": "task", "reason": ""} if input.request.method != "tools/call""#;
        let stage = Stage::deciding(request, ALLOW);
        let release = answered(&stage, &starting(&ALICE, era, READ), &created(era, TASK, ""));
        assert!(
            !body_of(&release).contains("acc-1001"),
            "{name}: free text about the call goes"
        );
        assert!(body_of(&release).contains(TASK), "{name}");
        let release = answered(&stage, &about(&ALICE, era, method, TASK), &result(&sent));
        match left {
            Some(left) => assert_eq!(body_of(&release), result(&left), "{name}"),
            None => assert_eq!(withheld(&release), DenyReason::AnswerWithheld, "{name}"),
        }
    }
}

#[test]
fn the_review_sees_of_a_task_what_it_sees_of_a_call() {
    let response = r#"
        default decision := {"allow": false, "rule": "none", "reason": "no"}
        decision := {"allow": true, "rule": "clean", "reason": ""} if {
            input.request.tool == "salesforce.opportunity.read"
            not "secret" in {item.text | some item in input.response.content}
            not input.response.structured.secret
        }"#;
    let stage = Stage::deciding(ALLOW, &format!("import rego.v1\n{response}"));
    start(&stage, &ALICE, Era::Modern);
    let get = about(&ALICE, Era::Modern, "tasks/get", TASK);
    let state = |text: &str| {
        result(&format!(
            r#""taskId":"{TASK}","status":"completed","result":{{"content":[{{"type":"text","text":"{text}"}}]}}"#
        ))
    };
    assert_eq!(body_of(&answered(&stage, &get, &state("open"))), state("open"));
    assert_eq!(
        withheld(&answered(&stage, &get, &state("secret"))),
        DenyReason::AnswerWithheld
    );
}

#[test]
fn a_list_of_tasks_holds_the_callers_own_alone() {
    let stage = open_stage();
    start(&stage, &ALICE, Era::Legacy);
    let bobs = created(Era::Legacy, "of-bob", "");
    body_of(&answered(&stage, &starting(&BOB, Era::Legacy, READ), &bobs));
    let entry = |id: &str| format!(r#"{{"taskId":"{id}", "status":"working"}}"#);
    let listed = result(&format!(
        r#""tasks":[{},{}, {}],"nextCursor":"c""#,
        entry("of-bob"),
        entry(TASK),
        entry("unknown")
    ));
    let list = |persona| request(persona, Era::Legacy, "tasks/list", "", None);
    let own = |id: &str| result(&format!(r#""tasks":[{}],"nextCursor":"c""#, entry(id)));
    for (persona, id) in [(&ALICE, TASK), (&BOB, "of-bob")] {
        let release = answered(&stage, &list(persona), &listed);
        assert_eq!(body_of(&release).replace("[ ", "["), own(id));
        assert_eq!(stage.last()["redactions"], 2);
    }
    let nothing = answered(&stage, &list(&AGENT_FOR_ALICE), &listed);
    assert!(!body_of(&nothing).contains("taskId"), "{}", body_of(&nothing));
    let broken = answered(&stage, &list(&ALICE), &result(r#""tasks":[{"status":"working"}]"#));
    assert_eq!(withheld(&broken), DenyReason::AnswerInvalid);
}

#[test]
fn a_task_that_cannot_be_bound_is_not_handed_out() {
    let stage = open_stage();
    start(&stage, &ALICE, Era::Legacy);
    for (name, persona, tool, answer, reason) in [
        (
            "another's",
            &BOB,
            READ,
            created(Era::Legacy, TASK, ""),
            DenyReason::AnswerWithheld,
        ),
        (
            "another tool's",
            &ALICE,
            LIST,
            created(Era::Legacy, TASK, ""),
            DenyReason::AnswerWithheld,
        ),
        (
            "without an id",
            &ALICE,
            READ,
            result(r#""task":{"status":"working"}"#),
            DenyReason::AnswerInvalid,
        ),
        (
            "an empty id",
            &ALICE,
            READ,
            created(Era::Legacy, "", ""),
            DenyReason::AnswerInvalid,
        ),
        (
            "no object",
            &ALICE,
            READ,
            result(r#""task":"786512e2""#),
            DenyReason::AnswerInvalid,
        ),
    ] {
        let release = answered(&stage, &starting(persona, Era::Legacy, tool), &answer);
        assert_eq!(withheld(&release), reason, "{name}");
    }
    unknown(
        &stage,
        "it is still hers",
        &about(&BOB, Era::Legacy, "tasks/get", TASK),
        NOW,
    );
    assert!(stage.record(&about(&ALICE, Era::Legacy, "tasks/get", TASK)).is_ok());
    // What the policy keeps back has started nothing that anybody could ask for.
    let deny = r#"decision := {"allow": false, "rule": "none", "reason": "no"}"#;
    let closed = Stage::deciding(ALLOW, deny);
    let release = answered(
        &closed,
        &starting(&ALICE, Era::Legacy, READ),
        &created(Era::Legacy, TASK, ""),
    );
    assert_eq!(withheld(&release), DenyReason::AnswerWithheld);
    assert_eq!(closed.gate.tasks.len(), (0, 0));
}

#[test]
fn a_result_of_an_extension_stands_only_where_the_extension_puts_it() {
    let stage = open_stage();
    for (name, request) in [
        ("the legacy era", starting(&ALICE, Era::Legacy, READ)),
        ("another method", request(&ALICE, Era::Modern, "tools/list", "", None)),
    ] {
        let release = answered(&stage, &request, &created(Era::Modern, TASK, r#","tools":[]"#));
        assert_eq!(withheld(&release), DenyReason::AnswerInvalid, "{name}");
    }
    assert_eq!(stage.gate.tasks.len(), (0, 0));
    // Each method of a task has its version.
    for (era, method) in [(Era::Legacy, "tasks/update"), (Era::Modern, "tasks/result")] {
        let denial = stage.record(&about(&ALICE, era, method, TASK)).unwrap_err();
        assert_eq!(denial.reason, DenyReason::MethodUnsupported, "{method}");
    }
}

#[test]
fn only_the_caller_hears_of_a_task() {
    let stage = open_stage();
    start(&stage, &ALICE, Era::Legacy);
    let told = |id: &str, further: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{{"taskId":"{id}","status":"working"{further}}}}}"#
        )
    };
    let streaming = |persona: &Persona| {
        let mut ticket = stage.forward(&Request::by(persona, &read_call(Era::Legacy))).unwrap().1;
        let opened = ticket.open(200, NOW).unwrap();
        stage.released(opened);
        ticket
    };
    let mut alices = streaming(&ALICE);
    assert_eq!(
        body_of(&stage.review(&mut alices, message(&told(TASK, "")))),
        told(TASK, "")
    );
    for (name, data) in [
        ("unknown", told("other", "")),
        ("with a result", told(TASK, r#","result":{"content":[]}"#)),
        ("with an error", told(TASK, r#","error":{"code":1,"message":"x"}"#)),
        ("with a question", told(TASK, r#","inputRequests":{}"#)),
        (
            "without a task",
            r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{}}"#.to_owned(),
        ),
    ] {
        assert!(
            matches!(stage.review(&mut alices, message(&data)), Release::Dropped),
            "{name}"
        );
        assert_eq!(stage.last()["outcome"], "withheld", "{name}");
    }
    let mut bobs = streaming(&BOB);
    assert!(matches!(
        stage.review(&mut bobs, message(&told(TASK, ""))),
        Release::Dropped
    ));
    let whole = stage.review(&mut bobs, message(&result(r#""content":[]"#)));
    assert!(matches!(whole, Release::Pass { .. }), "the stream goes on");
}

#[test]
fn a_server_cannot_start_tasks_at_its_clients() {
    let stage = open_stage();
    let mut ticket = stage.ticket();
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    for method in ["tasks/get", "tasks/result", "tasks/list", "tasks/cancel"] {
        let asked = format!(r#"{{"jsonrpc":"2.0","id":5,"method":"{method}","params":{{"taskId":"a"}}}}"#);
        assert!(
            matches!(stage.review(&mut ticket, message(&asked)), Release::Dropped),
            "{method}"
        );
    }
}

#[test]
fn another_tenants_caller_of_the_same_name_is_another() {
    let owners = TaskOwners::new(10, 10);
    assert!(owners.enter([1; 32], task([1; 32], READ, 10), NOW));
    assert!(owners.find(&[1; 32], &[1; 32], NOW).is_some());
    // The principal's id is keyed over tenant, issuer, subject, actor and client.
    assert!(owners.find(&[1; 32], &[2; 32], NOW).is_none());
    assert!(owners.find(&[2; 32], &[1; 32], NOW).is_none());
}

fn task(principal_id: [u8; 32], tool: &str, seconds: u64) -> Task {
    Task {
        principal_id,
        tool: Arc::from(tool),
        started_by: RecordIds::new([1; 16]).next(NOW),
        redactions: Arc::from([]),
        expires: NOW.after(Duration::from_secs(seconds)),
    }
}

#[test]
fn the_table_of_tasks_is_bounded() {
    let [alice, bob] = [[1; 32], [2; 32]];
    let owners = TaskOwners::new(3, 2);
    assert!(owners.enter([1; 32], task(alice, READ, 10), NOW));
    assert!(owners.enter([2; 32], task(alice, READ, 10), NOW));
    assert!(
        !owners.enter([3; 32], task(alice, READ, 10), NOW),
        "the principal's part is full"
    );
    assert!(owners.enter([3; 32], task(bob, READ, 20), NOW));
    assert!(!owners.enter([4; 32], task(bob, READ, 10), NOW), "the table is full");
    assert_eq!(owners.len(), (3, 2));
    let later = NOW.after(Duration::from_secs(10));
    assert!(owners.find(&[1; 32], &alice, later).is_none(), "expired");
    assert!(
        owners.enter([4; 32], task(bob, READ, 30), later),
        "what has expired makes room"
    );
    assert_eq!(owners.len(), (2, 1));
}

#[test]
fn a_task_that_is_named_again_stays_its_owners() {
    let [alice, bob] = [[1; 32], [2; 32]];
    let owners = TaskOwners::new(10, 2);
    assert!(owners.enter([1; 32], task(alice, READ, 10), NOW));
    assert!(owners.enter([1; 32], task(alice, READ, 20), NOW), "the same once more");
    assert!(!owners.enter([1; 32], task(alice, LIST, 10), NOW));
    assert!(!owners.enter([1; 32], task(bob, READ, 10), NOW));
    assert_eq!(owners.len(), (1, 1));
    let later = NOW.after(Duration::from_secs(20));
    assert!(
        owners.enter([1; 32], task(bob, LIST, 30), later),
        "the id of a task that is gone"
    );
    assert_eq!(owners.len(), (1, 1));
    assert!(owners.find(&[1; 32], &alice, later).is_none());
}
