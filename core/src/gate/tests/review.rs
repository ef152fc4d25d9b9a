//! Stages 11 to 14 of a whole answer: what may leave of it, and what is withheld beside it.

use bytes::Bytes;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::{ALICE, CAROL};
use serde_json::{Value, json as value};

use super::stage::*;
use crate::config::Limits;
use crate::denial::DenyReason;
use crate::gate::{Answer, Release, Scratch};

/// A response to request 1 with this result.
fn result(result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)
}

/// What becomes of a whole answer to `call`, and the outcome on record.
fn reviewed(stage: &Stage, call: &Call, answer: Answer) -> Release {
    let (_, mut ticket) = stage.forward(&Request::by(&ALICE, call)).unwrap();
    let release = stage.review(&mut ticket, answer);
    let record = stage.last();
    let outcome = if matches!(release, Release::Withheld(_)) {
        "withheld"
    } else {
        "reviewed"
    };
    assert_eq!(
        (&record["phase"], &record["outcome"]),
        (&"response".into(), &outcome.into())
    );
    drop(ticket);
    assert_eq!(stage.records().len() % 2, 0, "the pair is closed, and once");
    release
}

#[test]
fn what_a_decision_redacts_goes_from_structure_and_text_alike() {
    let stage = Stage::new();
    let document = r#"{ "account_id": "acc-1001", "contact": {"email": "jo@example.org", "phone": 7}, "internal_note": "cheap", "n": 1.50 }"#;
    let clean = r#"{ "account_id": "acc-1001", "contact": {"email": "***", "phone": "***"}, "n": 1.50 }"#;
    let whole = |document: &str| {
        let text = Value::from(document);
        result(&format!(
            r#"{{"content":[{{"type":"text","text":{text}}}],"structuredContent":{document}}}"#
        ))
    };
    let release = reviewed(&stage, &read_call(Era::Legacy), json(200, &whole(document)));
    assert!(matches!(release, Release::Redacted { status: 200, .. }));
    let left: Value = serde_json::from_str(body_of(&release)).unwrap();
    let expected: Value = serde_json::from_str(&whole(clean)).unwrap();
    let text = |value: &Value| -> Value {
        serde_json::from_str(value["result"]["content"][0]["text"].as_str().unwrap()).unwrap()
    };
    assert_eq!(
        left["result"]["structuredContent"],
        expected["result"]["structuredContent"]
    );
    assert_eq!(text(&left), text(&expected));
    for gone in ["jo@example.org", "cheap", "internal_note"] {
        assert!(!body_of(&release).contains(gone), "{gone}");
    }
    assert!(body_of(&release).contains("1.50"), "other bytes stay as they came");
    let record = stage.last();
    assert_eq!(record["redactions"], 6);
    assert_eq!(record["rule"], "answer-redacted");
    assert_eq!(
        record["obligations"]["redact"],
        value!([{"at": "/internal_note", "action": "drop"}])
    );
}

#[test]
fn an_answer_passes_byte_by_byte_or_not_at_all() {
    let nothing = result(r#"{"content":[],"structuredContent":{}}"#);
    let foreign = result(r#"{"content":[],"structuredContent":{"account_id":"acc-2001"}}"#);
    let text = |text: &str| result(&format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]}}"#));
    let id = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#);
    let stage = Stage::new();
    let (invalid, kept) = (Some(DenyReason::AnswerInvalid), Some(DenyReason::AnswerWithheld));
    let failed = Some(DenyReason::UpstreamFailed);
    for (name, status, body, expected) in [
        ("nothing to redact", 200, nothing.clone(), None),
        ("text that is JSON", 200, text("{}"), None),
        ("text that is not", 200, text("Jo has 3 opportunities"), kept),
        (
            "an image",
            200,
            result(r#"{"content":[{"type":"image","data":"","mimeType":"image/png"}]}"#),
            kept,
        ),
        (
            "a member of unknown meaning",
            200,
            result(r#"{"content":[],"extra":1}"#),
            kept,
        ),
        ("another account's answer", 200, foreign, kept),
        ("another id", 200, id("2"), invalid),
        ("the id as a string", 200, id("\"1\""), invalid),
        ("no id", 200, r#"{"jsonrpc":"2.0","result":{}}"#.to_owned(), invalid),
        ("a batch", 200, format!("[{nothing}]"), invalid),
        ("two results", 200, format!("{nothing}{nothing}"), invalid),
        (
            "a result twice",
            200,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#.to_owned(),
            invalid,
        ),
        (
            "result and error",
            200,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#.to_owned(),
            invalid,
        ),
        (
            "a notification",
            200,
            r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#.to_owned(),
            invalid,
        ),
        (
            "a request",
            200,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned(),
            invalid,
        ),
        ("no JSON", 200, "<html>".to_owned(), invalid),
        ("no body", 200, String::new(), invalid),
        ("a result under a failure", 500, nothing.clone(), invalid),
        ("a result that is only accepted", 202, nothing.clone(), failed),
        ("a redirection", 307, nothing.clone(), failed),
        ("not modified", 304, nothing.clone(), failed),
        ("the gate itself refused", 401, nothing.clone(), failed),
        ("the gate itself forbidden", 403, nothing, failed),
    ] {
        let release = reviewed(&stage, &read_call(Era::Legacy), json(status, &body));
        match expected {
            None => {
                assert!(matches!(release, Release::Pass { status: 200, .. }), "{name}");
                assert_eq!(body_of(&release), body, "{name}");
            }
            Some(reason) => {
                assert_eq!(withheld(&release), reason, "{name}");
                assert_eq!(stage.last()["reason"], reason.code(), "{name}");
                assert_eq!(stage.last()["decision"], "deny", "{name}");
            }
        }
    }
}

#[test]
fn an_error_keeps_nothing_but_its_code_where_something_would_be_redacted() {
    let stage = Stage::new();
    let error = |members: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{{members}}}}}"#);
    let left = error(r#""code":-32600,"message":"the server refused the call""#);
    for (members, redactions) in [
        (r#""code":-32600,"message":"jo@example.org""#, 1),
        (r#""code":-32600,"message":"no","data":{"email":"jo@example.org"}"#, 2),
        (
            r#""data":"jo@example.org","code":-32600,"email":"jo@example.org","message":"no","x":1"#,
            4,
        ),
    ] {
        let release = reviewed(&stage, &read_call(Era::Legacy), json(400, &error(members)));
        assert!(matches!(release, Release::Redacted { status: 400, .. }), "{members}");
        assert_eq!(body_of(&release), left, "{members}");
        assert_eq!(stage.last()["redactions"], redactions, "{members}");
    }
}

#[test]
fn an_error_goes_back_with_its_status() {
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"bad session"}}"#;
    let stage = Stage::deciding(ALLOW, ALLOW);
    for (status, passes) in [
        (200, true),
        (400, true),
        (404, true),
        (500, true),
        (401, false),
        (403, false),
        (407, false),
    ] {
        let release = reviewed(&stage, &read_call(Era::Legacy), json(status, error));
        match release {
            Release::Pass { status: sent, body } => {
                assert!(passes && sent == status, "{status}");
                assert_eq!(body, error);
            }
            other => assert!(!passes && withheld(&other) == DenyReason::UpstreamFailed, "{status}"),
        }
    }
}

#[test]
fn a_modern_result_is_complete_or_withheld() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    for (kind, passes) in [
        (r#""resultType":"complete","#, true),
        ("", true),
        (r#""resultType":"input_required","#, false),
        (r#""resultType":"task","#, false),
        (r#""resultType":null,"#, false),
    ] {
        let body = result(&format!(r#"{{{kind}"content":[]}}"#));
        let release = reviewed(&stage, &read_call(Era::Modern), json(200, &body));
        assert_eq!(matches!(release, Release::Pass { .. }), passes, "{kind}");
        if let Release::Withheld(denial) = release {
            assert_eq!((denial.reason, denial.modern), (DenyReason::AnswerInvalid, true));
        }
    }
}

#[test]
fn a_status_without_a_body_answers_only_what_it_can() {
    let stage = Stage::new();
    let (call, note) = (read_call(Era::Legacy), Call::initialized());
    for (status, request, notification) in [
        (200, None, Some(202)),
        (202, None, Some(202)),
        (204, None, Some(202)),
        (206, None, None),
        (302, None, None),
        (400, Some(400), Some(400)),
        (401, None, None),
        (403, None, None),
        (404, Some(404), Some(404)),
        (429, Some(429), Some(429)),
        (500, None, None),
        (503, None, None),
    ] {
        for (call, expected) in [(&call, request), (&note, notification)] {
            match (reviewed(&stage, call, Answer::Empty { status }), expected) {
                (Release::Empty { status: sent }, Some(expected)) => assert_eq!(sent, expected, "{status}"),
                (release, None) => assert_eq!(withheld(&release), DenyReason::UpstreamFailed, "{status}"),
                (release, Some(_)) => panic!("{status}: {release:?}"),
            }
        }
    }
    // What comes along with the answer to a notification stays behind.
    let release = reviewed(&stage, &note, json(200, &result("{}")));
    assert!(matches!(release, Release::Empty { status: 202 }));
    assert!(stage.last()["content_digest"].is_string());
}

#[test]
fn an_answer_over_the_limit_is_withheld() {
    let body = result(r#"{"content":[]}"#);
    for (answer_bytes_max, expected) in [(body.len(), None), (body.len() - 1, Some(DenyReason::AnswerTooLarge))] {
        let stage = Stage::with(Setup {
            limits: Limits {
                answer_bytes_max,
                ..Setup::default().limits
            },
            ..Setup::default()
        });
        let release = reviewed(&stage, &read_call(Era::Legacy), json(200, &body));
        let reason = match release {
            Release::Withheld(denial) => Some(denial.reason),
            _ => None,
        };
        assert_eq!(reason, expected);
    }
}

/// The names of the tools in an answer.
fn names(release: &Release) -> Vec<String> {
    let answer: Value = serde_json::from_str(body_of(release)).unwrap();
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_list_shows_what_its_caller_may_call_and_nobody_else_keeps_it() {
    let stage = Stage::new();
    let tool = |name: &str| format!(r#"{{ "name":"{name}", "inputSchema":{{"type":"object"}} }}"#);
    let listed = [READ, "salesforce.account.delete", "unmapped.tool", "demo.echo"]
        .map(tool)
        .join(", ");
    for (name, era, persona, more, shown, cached) in [
        ("Alice", Era::Legacy, ALICE, "", vec![READ, "demo.echo"], None),
        ("Carol", Era::Legacy, CAROL, "", vec!["demo.echo"], None),
        (
            "for nobody else",
            Era::Modern,
            ALICE,
            r#","cacheScope":"public","ttlMs":1000"#,
            vec![READ, "demo.echo"],
            Some(1_000),
        ),
        (
            "no longer than the token",
            Era::Modern,
            ALICE,
            r#","ttlMs":86400000"#,
            vec![READ, "demo.echo"],
            Some(300_000),
        ),
        ("not at all", Era::Modern, CAROL, "", vec!["demo.echo"], Some(0)),
    ] {
        let (_, mut ticket) = stage
            .forward(&Request::by(&persona, &Call::tools_list(era, 1)))
            .unwrap();
        let answer = json(200, &result(&format!(r#"{{"tools":[{listed}]{more}}}"#)));
        let release = stage.review(&mut ticket, answer);
        assert_eq!(names(&release), shown, "{name}");
        assert!(
            body_of(&release).contains(&tool("demo.echo")),
            "{name}: other bytes stay as they came"
        );
        let answer: Value = serde_json::from_str(body_of(&release)).unwrap();
        let (scope, ttl) = (&answer["result"]["cacheScope"], &answer["result"]["ttlMs"]);
        match cached {
            Some(cached) => assert_eq!((scope, ttl), (&value!("private"), &value!(cached)), "{name}"),
            None => assert_eq!((scope, ttl), (&Value::Null, &Value::Null), "{name}"),
        }
        assert_eq!(stage.last()["redactions"], 4 - shown.len(), "{name}");
    }
    for (name, answer) in [
        ("no array", r#"{"tools":{}}"#),
        ("a tool without a name", r#"{"tools":[{}]}"#),
    ] {
        let release = reviewed(&stage, &Call::tools_list(Era::Legacy, 1), json(200, &result(answer)));
        assert_eq!(withheld(&release), DenyReason::AnswerInvalid, "{name}");
    }
}

#[test]
fn a_list_is_withheld_when_it_cannot_be_cut_down() {
    let redacting = r#"decision := {"allow": true, "rule": "r", "reason": "", "obligations": {"redact": [{"at": "/a", "action": "drop"}]}}"#;
    let failing =
        format!("{ALLOW}\nblocked := true if input.tool\nblocked := false if input.tool.class\nvisible if not blocked");
    for (name, request, response, expected) in [
        ("as it is", ALLOW, ALLOW, None),
        (
            "a redaction of the request's decision",
            redacting,
            ALLOW,
            Some(DenyReason::AnswerWithheld),
        ),
        (
            "a redaction of the answer's",
            ALLOW,
            redacting,
            Some(DenyReason::AnswerWithheld),
        ),
        (
            "a conflict about one tool",
            &failing,
            ALLOW,
            Some(DenyReason::PolicyFailed),
        ),
    ] {
        let stage = Stage::deciding(request, response);
        let answer = json(200, &result(r#"{"tools":[{"name":"demo.echo"}]}"#));
        let release = reviewed(&stage, &Call::tools_list(Era::Legacy, 1), answer);
        match expected {
            None => assert_eq!(names(&release), ["demo.echo"], "{name}"),
            Some(reason) => assert_eq!(withheld(&release), reason, "{name}"),
        }
    }
}

#[test]
fn a_review_that_is_no_decision_lets_nothing_leave() {
    let by = |members: &str| format!("decision := {{\"rule\": \"r\", {members}}}");
    for (name, response, expected) in [
        ("an allow", ALLOW.to_owned(), None),
        ("a deny", by("\"allow\": false"), Some(DenyReason::AnswerWithheld)),
        (
            "undefined",
            "decision := {\"allow\": true} if input.absent".to_owned(),
            Some(DenyReason::PolicyFailed),
        ),
        (
            "a bare true",
            "decision := true".to_owned(),
            Some(DenyReason::PolicyFailed),
        ),
        (
            "by the arguments",
            by("\"allow\": input.request.arguments.account_id == \"acc-1001\""),
            None,
        ),
        (
            "by the request's rule",
            by("\"allow\": input.request_decision.rule == \"all\""),
            None,
        ),
        (
            "by an error's text",
            by("\"allow\": input.response.is_error"),
            Some(DenyReason::AnswerWithheld),
        ),
    ] {
        let stage = Stage::deciding(ALLOW, &response);
        let body = result(r#"{"content":[{"type":"text","text":"hello"}]}"#);
        let release = reviewed(&stage, &read_call(Era::Legacy), json(200, &body));
        match expected {
            None => assert_eq!(body_of(&release), body, "{name}"),
            Some(reason) => assert_eq!(withheld(&release), reason, "{name}"),
        }
    }
}

#[test]
fn another_log_releases_nothing() {
    let (stage, other) = (Stage::new(), Stage::new());
    let mut ticket = stage.ticket();
    // The other log is further than this one will be.
    drop((other.ticket(), other.ticket(), other.records()));
    let answer = Answer::Json {
        status: 200,
        body: Bytes::from(result(r#"{"content":[]}"#)),
    };
    let mut scratch = Scratch::new(0);
    let reviewed = ticket.review(answer, NOW, &mut scratch).unwrap();
    assert!(other.gate.durable().reached(reviewed.position()));
    let reviewed = reviewed.release(other.gate.durable()).unwrap_err();
    assert!(matches!(stage.released(reviewed), Release::Pass { status: 200, .. }));
}

#[test]
fn nothing_prints_a_body_a_session_or_a_token() {
    let stage = Stage::new();
    let mut request = Request::read();
    let session = stage.session(&ALICE, "session-of-alice");
    request.add("mcp-session-id", &session);
    let recorded = stage.record(&request).unwrap();
    let mut printed = format!("{recorded:?}");
    stage.write();
    let permit = recorded.permit(stage.gate.durable()).unwrap();
    printed += &format!("{permit:?}");
    let (forward, mut ticket) = permit.spend();
    let answer = json(
        200,
        &result(r#"{"content":[],"structuredContent":{"contact":{"email":"jo@example.org"}}}"#),
    );
    ticket.upstream_session(KEEPER, b"session-of-alice");
    printed += &format!("{forward:?}{ticket:?}{answer:?}{:?}", ticket.session_for_client());
    let release = stage.review(&mut ticket, answer);
    printed += &format!("{release:?}{:?}{:?}", stage.gate, message("jo@example.org"));
    let token = token(&ALICE).sign(keys::es256());
    let payload = token.split('.').nth(1).unwrap();
    for secret in [
        "acc-1001",
        "session-of-alice",
        &session,
        "jo@example.org",
        payload,
        "the-upstream-secret",
    ] {
        assert!(!printed.contains(secret), "{secret}");
        assert!(
            !printed.contains(&format!("{:?}", Bytes::from(secret.to_owned()))),
            "{secret}"
        );
    }
}
