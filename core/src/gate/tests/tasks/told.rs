//! What a server says of a task: its state, what it carries, and the messages about it; and the wish for one in an era
//! that has none.

use super::*;

/// The call of [`READ`] obliges to drop a member; what is asked of its task later does not.
const DROPS: &str = r#"
    decision := {"allow": true, "rule": "call", "reason": "", "obligations": {"redact": [{"at": "/internal_note", "action": "drop"}]}} if input.request.method == "tools/call"
    decision := {"allow": true, "rule": "task", "reason": ""} if input.request.method != "tools/call""#;

/// The stream of a persona that wants to be told of [`TASK`], acknowledged.
fn listening<'s>(stage: &'s Stage, request: &Request) -> Ticket<'s> {
    let mut ticket = stage.forward(request).unwrap().1;
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    let acknowledged = told_on(
        "notifications/subscriptions/acknowledged",
        &format!(r#""notifications":{{"taskIds":["{TASK}"]}}"#),
    );
    assert_eq!(
        body_of(&stage.review(&mut ticket, message(&acknowledged))),
        acknowledged
    );
    ticket
}

fn listen(persona: &Persona) -> Request {
    let wanted = format!(r#""notifications":{{"taskIds":["{TASK}"]}}"#);
    request(persona, Era::Modern, "subscriptions/listen", &wanted, None)
}

/// A message on the stream of the subscription.
fn told_on(method: &str, members: &str) -> String {
    let meta = r#""_meta":{"io.modelcontextprotocol/subscriptionId":1}"#;
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{meta},{members}}}}}"#)
}

fn told(further: &str) -> String {
    told_on("notifications/tasks", &format!(r#""taskId":"{TASK}"{further}"#))
}

#[test]
fn the_wish_for_a_task_is_inert_in_the_modern_era() {
    let stage = open_stage();
    let wish = r#","task":{"ttl":60000,"pollInterval":100}"#;
    let members = format!(r#""name":"{READ}","arguments":{OWN_ACCOUNT}{wish}"#);
    let call = request(&ALICE, Era::Modern, "tools/call", &members, Some(READ));
    let (forward, _) = stage.forward(&call).unwrap();
    assert_eq!(forward.body, call.body, "it goes upstream as it came");
    let whole = result(r#""resultType":"complete","content":[]"#);
    assert_eq!(body_of(&answered(&stage, &call, &whole)), whole);
    // Whoever does not ignore it answers in the way of another era.
    for answer in [
        created(Era::Legacy, TASK, ""),
        result(&format!(
            r#""resultType":"complete","content":[],"task":{{"taskId":"{TASK}"}}"#
        )),
    ] {
        assert_eq!(withheld(&answered(&stage, &call, &answer)), DenyReason::AnswerInvalid);
        let record = stage.last();
        assert_eq!(
            (&record["outcome"], &record["reason"], &record["task_digest"]),
            (&value!("withheld"), &value!("answer_invalid"), &Value::Null)
        );
    }
    assert_eq!(stage.gate.tasks.len(), (0, 0));
    unknown(&stage, "nobody's", &about(&ALICE, Era::Modern, "tasks/get", TASK), NOW);
    // The extension's own answer is bound as ever.
    let answer = created(Era::Modern, TASK, "");
    assert_eq!(body_of(&answered(&stage, &call, &answer)), answer);
    assert_eq!(stage.gate.tasks.len(), (1, 1));
}

#[test]
fn a_state_is_that_of_the_task_that_was_asked_for() {
    for era in [Era::Legacy, Era::Modern] {
        let stage = open_stage();
        start(&stage, &ALICE, era);
        let state = |id: &str| result(&format!(r#""taskId":"{id}","status":"working""#));
        for method in methods(era).into_iter().filter(|method| *method != "tasks/result") {
            let asked = about(&ALICE, era, method, TASK);
            assert_eq!(body_of(&answered(&stage, &asked, &state(TASK))), state(TASK));
            let other = answered(&stage, &asked, &state("of-bob"));
            assert_eq!(withheld(&other), DenyReason::AnswerInvalid, "{method}");
        }
    }
}

#[test]
fn no_member_of_a_state_that_is_redacted_has_room_for_words() {
    let stage = Stage::deciding(DROPS, ALLOW);
    body_of(&answered(
        &stage,
        &starting(&ALICE, Era::Legacy, READ),
        &created(Era::Legacy, TASK, ""),
    ));
    let get = about(&ALICE, Era::Legacy, "tasks/get", TASK);
    let list = request(&ALICE, Era::Legacy, "tasks/list", "", None);
    let rest = format!(r#""taskId":"{TASK}""#);
    for (further, stays) in [
        (r#","status":"working","ttl":60000,"pollInterval":500"#, true),
        (r#","status":"input_required","ttl":null"#, true),
        (
            r#","createdAt":"2026-11-23T20:00:00Z","lastUpdatedAt":"2026-11-23T20:00:00.5+01:00""#,
            true,
        ),
        (r#","status":"waiting for acc-1001""#, false),
        (r#","createdAt":"when acc-1001 was closed""#, false),
        (r#","lastUpdatedAt":1001"#, false),
        (r#","ttl":"acc-1001""#, false),
        (r#","ttlMs":["acc-1001"]"#, false),
        (r#","pollInterval":0.1001"#, false),
        (r#","pollIntervalMs":{"of":"acc-1001"}"#, false),
        (r#","note":"acc-1001""#, false),
        (r#","error":{"code":"acc-1001","message":"x"}"#, false),
        (r#","task":"acc-1001""#, false),
    ] {
        let answer = result(&format!("{rest}{further}"));
        let release = answered(&stage, &get, &answer);
        match stays {
            true => assert_eq!(body_of(&release), answer),
            false => {
                let reason = withheld(&release);
                let known = [DenyReason::AnswerWithheld, DenyReason::AnswerInvalid];
                assert!(known.contains(&reason), "{further}: {reason:?}");
            }
        }
        // Of a list the entry goes.
        let listed = |entry: &str| result(&format!(r#""tasks":[{entry}]"#));
        let entry = format!("{{{rest}{further}}}");
        let left = if stays { listed(&entry) } else { listed("") };
        assert_eq!(body_of(&answered(&stage, &list, &listed(&entry))), left, "{further}");
    }
    let told = format!(r#""_meta":{{"a":"acc-1001"}},"tasks":[{{{rest},"statusMessage":"acc-1001","_meta":{{}}}}]"#);
    let release = answered(&stage, &list, &result(&told));
    assert_eq!(body_of(&release), result(&format!(r#""tasks":[{{{rest}}}]"#)));
    let beside = result(&format!(r#""tasks":[{{{rest}}}],"note":"acc-1001""#));
    assert_eq!(withheld(&answered(&stage, &list, &beside)), DenyReason::AnswerWithheld);
}

#[test]
fn the_review_sees_what_a_server_says_of_a_task_also_beside_its_result() {
    let response = r#"
        default decision := {"allow": false, "rule": "none", "reason": "no"}
        decision := {"allow": true, "rule": "clean", "reason": ""} if {
            not contains(input.response.status_message, "secret")
        }"#;
    let stage = Stage::deciding(ALLOW, &format!("import rego.v1\n{response}"));
    let answer = created(Era::Modern, TASK, "");
    assert_eq!(
        body_of(&answered(&stage, &starting(&ALICE, Era::Modern, READ), &answer)),
        answer
    );
    let get = about(&ALICE, Era::Modern, "tasks/get", TASK);
    for carried in [
        "",
        r#","result":{"content":[]}"#,
        r#","error":{"code":1,"message":"x"}"#,
        r#","inputRequests":{"a":{"method":"roots/list"}}"#,
    ] {
        let state = |says: &str| {
            result(&format!(
                r#""taskId":"{TASK}","status":"working","statusMessage":"{says}"{carried}"#
            ))
        };
        assert_eq!(body_of(&answered(&stage, &get, &state("open"))), state("open"));
        let kept = answered(&stage, &get, &state("a secret"));
        assert_eq!(withheld(&kept), DenyReason::AnswerWithheld, "{carried}");
    }
    let secret = created(Era::Legacy, "another", "").replace("reading acc-1001", "a secret");
    let kept = answered(&stage, &starting(&ALICE, Era::Legacy, READ), &secret);
    assert_eq!(withheld(&kept), DenyReason::AnswerWithheld);
}

#[test]
fn a_message_about_a_task_is_reviewed_as_what_it_carries() {
    let response = r#"
        default decision := {"allow": false, "rule": "none", "reason": "no"}
        decision := {"allow": true, "rule": "other", "reason": ""} if input.response.method != "notifications/tasks"
        decision := {"allow": true, "rule": "answer", "reason": ""} if not input.response.method
        decision := {"allow": true, "rule": "task", "reason": ""} if {
            input.request.tool == "salesforce.opportunity.read"
            input.request.method == "tasks/get"
            input.request_decision.rule == "all"
            input.response.method == "notifications/tasks"
            input.response.kind in {"error", "input_required", "notification", "result"}
            not "secret" in {item.text | some item in input.response.content}
            not input.response.structured.secret
        }"#;
    let stage = Stage::deciding(ALLOW, &format!("import rego.v1\n{response}"));
    start(&stage, &ALICE, Era::Modern);
    let mut ticket = listening(&stage, &listen(&ALICE));
    for (further, passes) in [
        (r#","status":"working","statusMessage":"under way""#, true),
        (
            r#","status":"completed","result":{"content":[{"type":"text","text":"open"}]}"#,
            true,
        ),
        (r#","error":{"code":1,"message":"x"}"#, true),
        (r#","inputRequests":{"a":{"method":"roots/list"}}"#, true),
        (r#","result":{"content":[{"type":"text","text":"secret"}]}"#, false),
        (r#","result":{"content":[],"structuredContent":{"secret":1}}"#, false),
        (r#","result":{"content":[],"task":{"taskId":"of-bob"}}"#, false),
    ] {
        let release = stage.review(&mut ticket, message(&told(further)));
        match passes {
            true => assert_eq!(body_of(&release), told(further)),
            false => assert!(matches!(release, Release::Dropped), "{further}: {release:?}"),
        }
    }
}

#[test]
fn a_message_about_a_task_is_redacted_as_its_answer_is() {
    let stage = Stage::deciding(DROPS, ALLOW);
    let (_, mut starts) = stage.forward(&starting(&ALICE, Era::Modern, READ)).unwrap();
    body_of(&stage.review(&mut starts, json(200, &created(Era::Modern, TASK, ""))));
    let mut ticket = listening(&stage, &listen(&ALICE));
    let secret = r#""content":[],"structuredContent":{"internal_note":"x","name":"y"}"#;
    let open = r#""content":[],"structuredContent":{"name":"y"}"#;
    let image = r#""content":[{"type":"image","data":"","mimeType":"a/b"}]"#;
    for (sent, left) in [
        (
            format!(r#","status":"completed","statusMessage":"x","result":{{{secret}}}"#),
            Some(format!(r#","status":"completed","result":{{{open}}}"#)),
        ),
        (
            r#","status":"working","statusMessage":"reading acc-1001""#.to_owned(),
            Some(r#","status":"working""#.to_owned()),
        ),
        (
            r#","status":"failed","error":{"code":7,"message":"acc-1001"}"#.to_owned(),
            Some(r#","status":"failed","error":{"code":7,"message":"the server refused the call"}"#.to_owned()),
        ),
        (format!(r#","result":{{{image}}}"#), None),
        (r#","inputRequests":{"a":{"method":"roots/list"}}"#.to_owned(), None),
        (r#","createdAt":"when acc-1001 was closed""#.to_owned(), None),
        (r#","note":"acc-1001""#.to_owned(), None),
    ] {
        let release = stage.review(&mut ticket, message(&told(&sent)));
        match left {
            Some(left) => assert_eq!(body_of(&release), told(&left)),
            None => assert!(matches!(release, Release::Dropped), "{sent}: {release:?}"),
        }
    }
    // Which subscription it is of stays; what else stands there goes.
    let more = told(r#","status":"working""#).replace(r#""_meta":{"#, r#""_meta":{"a/b":"acc-1001","#);
    let release = stage.review(&mut ticket, message(&more));
    assert_eq!(body_of(&release), told(r#","status":"working""#));
    let record = stage.last();
    assert_eq!(
        (&record["message"], record["task_digest"].is_string()),
        (&value!("notifications/tasks"), true)
    );
    // The same in the legacy era, on whatever stream it comes.
    let stage = Stage::deciding(DROPS, ALLOW);
    body_of(&answered(
        &stage,
        &starting(&ALICE, Era::Legacy, READ),
        &created(Era::Legacy, TASK, ""),
    ));
    let mut list = stage
        .forward(&Request::by(&ALICE, &Call::tools_list(Era::Legacy, 1)))
        .unwrap()
        .1;
    let opened = list.open(200, NOW).unwrap();
    stage.released(opened);
    let status = |further: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{{"taskId":"{TASK}"{further}}}}}"#)
    };
    let sent = status(r#","_meta":{"a/b":"acc-1001"},"status":"working","statusMessage":"acc-1001""#);
    let release = stage.review(&mut list, message(&sent));
    assert_eq!(body_of(&release), status(r#","status":"working""#));
}

#[test]
fn a_message_about_a_task_reaches_whoever_may_ask_for_it_now() {
    let request = r#"
        default decision := {"allow": false, "rule": "none", "reason": "no"}
        decision := {"allow": true, "rule": "call", "reason": ""} if input.request.method in {"tools/call", "subscriptions/listen"}
        decision := {"allow": true, "rule": "task", "reason": ""} if input.request.method == "tasks/get""#;
    let state = told(r#","status":"working""#);
    let denied = Stage::deciding(&request.replace("tasks/get", "tasks/cancel"), ALLOW);
    start(&denied, &ALICE, Era::Modern);
    let mut ticket = listening(&denied, &listen(&ALICE));
    let release = denied.review(&mut ticket, message(&state));
    assert!(matches!(release, Release::Dropped), "the policy denies: {release:?}");
    assert_eq!(denied.last()["reason"], "answer_withheld");

    let stage = Stage::deciding(request, ALLOW);
    start(&stage, &ALICE, Era::Modern);
    let mut own = listening(&stage, &listen(&ALICE));
    assert_eq!(body_of(&stage.review(&mut own, message(&state))), state);
    let mut narrow = listen(&ALICE);
    let token = token(&ALICE).scope("openid");
    narrow.set("authorization", &format!("Bearer {}", token.sign(keys::es256())));
    let mut ticket = listening(&stage, &narrow);
    let release = stage.review(&mut ticket, message(&state));
    assert!(
        matches!(release, Release::Dropped),
        "the scopes do not cover: {release:?}"
    );
}
