//! The parameters of each method: what is accepted, and its refused neighbours.

use crate::denial::DenyReason;
use crate::rpc::keys::NAMES;
use crate::rpc::{Method, ProtocolVersion, Target};

use super::era::sample;
use super::{reading, refusal};

/// A method, its version, parameters that are accepted, and parameters that are not.
struct Case<'t>(Method, ProtocolVersion, &'t [&'t str], &'t [&'t str]);

const A: ProtocolVersion = ProtocolVersion::V2025_03_26;
const B: ProtocolVersion = ProtocolVersion::V2025_06_18;
const C: ProtocolVersion = ProtocolVersion::V2025_11_25;
const D: ProtocolVersion = ProtocolVersion::V2026_07_28;

const META: &str =
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

/// Headers without a name, and a body.
fn body_of(method: Method, version: ProtocolVersion, params: &str, meta: &str) -> String {
    let id = if method.is_notification() { "" } else { r#""id":1,"# };
    let modern = if version.is_modern() { META } else { "" };
    let join = |left: &str, right: &str| match (left, right) {
        ("", text) | (text, "") => text.to_owned(),
        (left, right) => format!("{left},{right}"),
    };
    let members = join(params, &format!(r#""_meta":{{{}}}"#, join(modern, meta)));
    format!(
        r#"{{"jsonrpc":"2.0",{id}"method":"{}","params":{{{members}}}}}"#,
        method.as_str()
    )
}

fn headers(method: Method, version: ProtocolVersion, name: Option<&str>) -> Vec<(&'static str, &str)> {
    let mut headers = vec![
        ("mcp-protocol-version", version.as_str()),
        ("mcp-method", method.as_str()),
    ];
    headers.extend(name.map(|name| ("mcp-name", name)));
    headers
}

#[track_caller]
fn check(table: &[Case<'_>]) {
    for Case(method, version, accepted, refused) in table {
        let name = sample(*method).1.filter(|_| version.is_modern());
        let headers = headers(*method, *version, name);
        for params in *accepted {
            assert_eq!(
                refusal(&headers, &body_of(*method, *version, params, "")),
                None,
                "{method:?} {params}"
            );
        }
        for params in *refused {
            let reason = refusal(&headers, &body_of(*method, *version, params, ""));
            assert_eq!(
                reason,
                Some(DenyReason::ParamsInvalid),
                "{method:?} {version:?} {params}"
            );
        }
    }
}

#[test]
fn prompts_and_resources_are_named_in_one_way() {
    let uris: &[&str] = &[
        "",
        r#""uri":1"#,
        r#""uri":"""#,
        r#""uri":"docs/a""#,
        r#""uri":"FILE:///x""#,
        r#""uri":"file:///a/../x""#,
        r#""uri":"file:///%78""#,
        r#""uri":"file:///x","cursor":"a""#,
        r#""uri":"file:///x","uris":[]"#,
    ];
    check(&[
        Case(
            Method::PromptsGet,
            A,
            &[
                r#""name":"x","arguments":{"a":"1","B b":""}"#,
                r#""name":"x","arguments":{}"#,
            ],
            &[
                "",
                r#""name":"""#,
                r#""name":null"#,
                r#""name":"x","arguments":{"a":1}"#,
                r#""name":"x","arguments":{"a":null}"#,
                r#""name":"x","arguments":{"a":{}}"#,
                r#""name":"x","arguments":[]"#,
                r#""name":"x","arguments":null"#,
                r#""name":"x","task":{}"#,
                r#""name":"x","requestState":"s""#,
                r#""name":"x","inputResponses":{}"#,
            ],
        ),
        Case(Method::ResourcesRead, A, &[r#""uri":"file:///x""#], uris),
        Case(Method::ResourcesSubscribe, C, &[r#""uri":"file:///x""#], uris),
        Case(Method::ResourcesUnsubscribe, B, &[r#""uri":"file:///x""#], uris),
    ]);
}

#[test]
fn lists_and_bare_methods_have_nothing_else() {
    for method in [
        Method::PromptsList,
        Method::ResourcesList,
        Method::ResourcesTemplatesList,
        Method::ToolsList,
    ] {
        for version in ProtocolVersion::ALL {
            let accepted: &[&str] = &["", r#""cursor":"""#, r#""cursor":"a b\u0000""#];
            let refused: &[&str] = &[r#""cursor":1"#, r#""cursor":null"#, r#""name":"x""#, r#""limit":1"#];
            check(&[Case(method, version, accepted, refused)]);
        }
    }
    check(&[
        Case(
            Method::TasksList,
            C,
            &["", r#""cursor":"c""#],
            &[r#""cursor":{}"#, r#""taskId":"x""#],
        ),
        Case(Method::Ping, C, &[""], &[r#""cursor":"a""#, r#""vendor":1"#]),
        Case(
            Method::ServerDiscover,
            D,
            &[""],
            &[r#""cursor":"a""#, r#""capabilities":{}"#],
        ),
        Case(Method::NotificationInitialized, A, &[""], &[r#""a":1"#]),
        Case(Method::NotificationRootsListChanged, C, &[""], &[r#""roots":[]"#]),
    ]);
}

#[test]
fn notifications_and_settings_are_typed() {
    let levels = [
        "debug",
        "info",
        "notice",
        "warning",
        "error",
        "critical",
        "alert",
        "emergency",
    ];
    let levels = levels.map(|level| format!(r#""level":"{level}""#));
    let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
    let cancelled: &[&str] = &[
        r#""requestId":1.5"#,
        r#""requestId":null"#,
        r#""requestId":[1]"#,
        r#""requestId":1,"reason":2"#,
        r#""requestId":1,"taskId":"t""#,
    ];
    check(&[
        Case(
            Method::LoggingSetLevel,
            A,
            &levels,
            &[
                "",
                r#""level":"Info""#,
                r#""level":"trace""#,
                r#""level":6"#,
                r#""level":"info","logger":"a""#,
            ],
        ),
        Case(
            Method::NotificationCancelled,
            C,
            &["", r#""requestId":1"#, r#""requestId":"a","reason":"late""#],
            cancelled,
        ),
        Case(Method::NotificationCancelled, B, &[r#""requestId":1"#], &[""]),
        Case(
            Method::NotificationProgress,
            A,
            &[
                r#""progressToken":1,"progress":0"#,
                r#""progressToken":"t","progress":0.5,"total":1e2,"message":"half""#,
            ],
            &[
                "",
                r#""progress":1"#,
                r#""progressToken":1"#,
                r#""progressToken":1.5,"progress":1"#,
                r#""progressToken":{},"progress":1"#,
                r#""progressToken":1,"progress":"1""#,
                r#""progressToken":1,"progress":1,"total":null"#,
                r#""progressToken":1,"progress":1,"message":[]"#,
            ],
        ),
        Case(
            Method::Initialize,
            C,
            &[r#""protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"c","version":"1"}"#],
            &[
                r#""protocolVersion":"2025-11-25","capabilities":[]"#,
                r#""protocolVersion":"2025-11-25","clientInfo":"c""#,
                r#""protocolVersion":"2025-11-25","trace":"off""#,
            ],
        ),
    ]);
}

#[test]
fn a_completion_refers_to_one_prompt_or_resource() {
    let with = |reference: &str| format!(r#""argument":{{"name":"a","value":"v"}},"ref":{reference}"#);
    let accepted = [
        with(r#"{"type":"ref/prompt","name":"x"}"#),
        with(r#"{"type":"ref/resource","uri":"file:///x"}"#),
        with(r#"{"type":"ref/resource","uri":"file:///{path}"}"#),
    ];
    let refused = [
        with("{}"),
        with(r#""ref/prompt""#),
        with(r#"{"type":"ref/prompt"}"#),
        with(r#"{"type":"ref/prompt","name":""}"#),
        with(r#"{"type":"ref/prompt","name":1}"#),
        with(r#"{"type":"ref/prompt","uri":"file:///x"}"#),
        with(r#"{"type":"ref/prompt","name":"x","uri":"file:///x"}"#),
        with(r#"{"type":"ref/resource","name":"x"}"#),
        with(r#"{"type":"ref/resource","uri":"file:///a/../x"}"#),
        with(r#"{"type":"ref/resource","uri":"file:///../{path}"}"#),
        with(r#"{"type":"ref/tool","name":"x"}"#),
        with(r#"{"name":"x"}"#),
        r#""argument":{"name":"a","value":"v"}"#.to_owned(),
        r#""ref":{"type":"ref/prompt","name":"x"}"#.to_owned(),
        r#""ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a"}"#.to_owned(),
        r#""ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":1}"#.to_owned(),
        r#""ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":"","values":""}"#.to_owned(),
        format!(r#"{},"context":{{"arguments":{{"a":1}}}}"#, accepted[0]),
        format!(r#"{},"context":{{"other":{{}}}}"#, accepted[0]),
        format!(r#"{},"context":[]"#, accepted[0]),
    ];
    let texts = |list: &[String]| list.to_vec();
    let (accepted, refused) = (texts(&accepted), texts(&refused));
    let accepted: Vec<&str> = accepted.iter().map(String::as_str).collect();
    let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
    for version in ProtocolVersion::ALL {
        check(&[Case(Method::CompletionComplete, version, &accepted, &refused)]);
    }
    let context = format!(r#"{},"context":{{"arguments":{{"b":"w"}}}}"#, accepted[0]);
    check(&[
        Case(Method::CompletionComplete, A, &[], &[&context]),
        Case(Method::CompletionComplete, B, &[&context], &[]),
        Case(Method::CompletionComplete, D, &[&context], &[]),
    ]);
    let body = body_of(Method::CompletionComplete, B, &context, "");
    reading(&headers(Method::CompletionComplete, B, None), body.as_bytes(), |call| {
        let call = call.unwrap();
        assert_eq!(call.target(), Target::Prompt("x"));
        let seen = call.arguments().unwrap();
        assert_eq!(seen.member("argument").unwrap().raw(), r#"{"name":"a","value":"v"}"#);
        assert_eq!(seen.member("context").unwrap().raw(), r#"{"arguments":{"b":"w"}}"#);
    });
}

#[test]
fn what_the_server_asked_back_is_answered_in_the_modern_era_alone() {
    let answers = r#""inputResponses":{"k":{"action":"accept","content":{"Name":1}}},"requestState":"s\u0074""#;
    for (method, params) in [
        (Method::ToolsCall, r#""name":"x""#),
        (Method::PromptsGet, r#""name":"x""#),
        (Method::ResourcesRead, r#""uri":"file:///x""#),
    ] {
        let with = |more: &str| format!("{params},{more}");
        let accepted = [
            with(answers),
            with(r#""inputResponses":{}"#),
            with(r#""requestState":"""#),
        ];
        let refused = [
            with(r#""inputResponses":[]"#),
            with(r#""inputResponses":null"#),
            with(r#""inputResponses":{"k":1}"#),
            with(r#""requestState":{}"#),
            with(r#""requestState":null"#),
            with(r#""task":1"#),
            with(r#""inputRequests":{}"#),
        ];
        let accepted: Vec<&str> = accepted.iter().map(String::as_str).collect();
        let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
        check(&[Case(method, D, &accepted, &refused), Case(method, C, &[], &accepted)]);
    }
    let params = format!(r#""name":"x",{answers}"#);
    let body = body_of(Method::ToolsCall, D, &params, "");
    reading(&headers(Method::ToolsCall, D, Some("x")), body.as_bytes(), |call| {
        let call = call.unwrap();
        assert_eq!(call.request_state(), Some("st"));
        assert!(call.input_responses().unwrap().member("k").is_some());
    });
    for method in [Method::ToolsList, Method::ServerDiscover] {
        check(&[Case(method, D, &[], &[answers])]);
    }
}

#[test]
fn tasks_are_named_and_wished_for_in_one_way() {
    let long = format!(r#""taskId":"{}""#, "x".repeat(1_025));
    let ids: &[&str] = &["", r#""taskId":1"#, r#""taskId":"x","cursor":"c""#, &long];
    check(&[
        Case(Method::TasksGet, C, &[r#""taskId":"x""#], ids),
        Case(
            Method::TasksGet,
            D,
            &[r#""taskId":"x""#],
            &[r#""taskId":"x","requestState":"s""#],
        ),
        Case(
            Method::TasksCancel,
            D,
            &[r#""taskId":"x""#],
            &[r#""taskId":"x","inputResponses":{}"#],
        ),
        Case(
            Method::TasksGet,
            C,
            &[r#""taskId":"x","task":{}"#, r#""taskId":"x","task":{"ttl":1}"#],
            &[r#""taskId":"x","task":1"#, r#""taskId":"x","task":{"a":1}"#],
        ),
        Case(
            Method::TasksCancel,
            C,
            &[r#""taskId":"x""#],
            &[r#""taskId":"x","task":{}"#],
        ),
        Case(Method::TasksResult, C, &[r#""taskId":"x""#], ids),
        Case(
            Method::TasksUpdate,
            D,
            &[r#""taskId":"x","inputResponses":{"k":{}}"#],
            &[
                r#""taskId":"x""#,
                r#""taskId":"x","inputResponses":{"k":"v"}"#,
                r#""inputResponses":{}"#,
            ],
        ),
        Case(
            Method::ToolsCall,
            C,
            &[
                r#""name":"x","task":{}"#,
                r#""name":"x","task":{"ttl":60000}"#,
                r#""name":"x","task":{"ttl":60000,"pollInterval":100}"#,
            ],
            &[
                r#""name":"x","task":true"#,
                r#""name":"x","task":null"#,
                r#""name":"x","task":{"ttl":-1}"#,
                r#""name":"x","task":{"ttl":1.5}"#,
                r#""name":"x","task":{"ttl":null}"#,
                r#""name":"x","task":{"pollInterval":"1"}"#,
                r#""name":"x","task":{"taskId":"t"}"#,
            ],
        ),
        Case(Method::ToolsCall, B, &[r#""name":"x""#], &[r#""name":"x","task":{}"#]),
        // Inert there, whatever it holds.
        Case(
            Method::ToolsCall,
            D,
            &[
                r#""name":"x","task":{}"#,
                r#""name":"x","task":{"ttl":60000,"pollInterval":100}"#,
                r#""name":"x","task":{"ttl":null,"a":[{}]}"#,
            ],
            &[
                r#""name":"x","task":true"#,
                r#""name":"x","task":null"#,
                r#""name":"x","task":[]"#,
            ],
        ),
        Case(Method::PromptsGet, D, &[r#""name":"x""#], &[r#""name":"x","task":{}"#]),
    ]);
}

#[test]
fn subscriptions_ask_for_what_is_known() {
    let whole = r#""notifications":{"toolsListChanged":true,"promptsListChanged":false,"resourcesListChanged":true,"resourceSubscriptions":["file:///x","note:y"],"taskIds":["t"]}"#;
    check(&[Case(
        Method::SubscriptionsListen,
        D,
        &[whole, r#""notifications":{}"#],
        &[
            "",
            r#""notifications":[]"#,
            r#""notifications":{"toolsListChanged":1}"#,
            r#""notifications":{"rootsListChanged":true}"#,
            r#""notifications":{"resourceSubscriptions":"file:///x"}"#,
            r#""notifications":{"resourceSubscriptions":[1]}"#,
            r#""notifications":{"resourceSubscriptions":["file:///x","file:///../y"]}"#,
            r#""notifications":{"taskIds":[null]}"#,
            r#""notifications":{"taskIds":{}}"#,
            r#""notifications":{},"uri":"file:///x""#,
        ],
    )]);
    let body = body_of(Method::SubscriptionsListen, D, whole, "");
    reading(
        &headers(Method::SubscriptionsListen, D, None),
        body.as_bytes(),
        |call| {
            let wanted = call.unwrap().subscriptions().unwrap();
            assert!(wanted.resources().eq(["file:///x", "note:y"]) && wanted.task_ids().eq(["t"]));
        },
    );
}

#[test]
fn progress_tokens_are_ids() {
    for (token, accepted) in [
        ("1", true),
        (r#""t""#, true),
        ("1.5", false),
        ("null", false),
        ("{}", false),
    ] {
        for (method, version) in [(Method::ToolsList, A), (Method::ToolsList, D)] {
            let body = body_of(method, version, "", &format!(r#""progressToken":{token}"#));
            let reason = refusal(&headers(method, version, None), &body);
            assert_eq!(
                reason,
                (!accepted).then_some(DenyReason::ParamsInvalid),
                "{token} {version:?}"
            );
        }
    }
}

/// Whatever else stands beside the parameters of a method, it is refused: every name of the protocol and some of none.
#[test]
fn a_parameter_without_a_row_never_passes() {
    let own = ["x", "Name", "n\\u0061me2", "__proto__", "arguments2", "constructor"];
    for method in Method::messages() {
        let version = if method.exists_in(C) { C } else { D };
        let (params, name) = sample(method);
        let headers = headers(method, version, name.filter(|_| version.is_modern()));
        let comma = if params.is_empty() { "" } else { "," };
        let row = method.row();
        let mut refused = 0;
        for key in NAMES.into_iter().chain(own) {
            if row.params.contains(&key) || key == "_meta" {
                continue;
            }
            for value in ["1", "{}", r#""a""#] {
                let body = body_of(method, version, &format!(r#"{params}{comma}"{key}":{value}"#), "");
                assert!(refusal(&headers, &body).is_some(), "{body}");
                refused += 1;
            }
        }
        assert!(300 < refused, "{method:?}");
    }
}

/// What is accepted is borrowed from the body, so that the bytes that were judged are those that are forwarded.
#[test]
fn what_a_call_says_stands_in_its_body() {
    for method in Method::messages() {
        let version = if method.exists_in(D) { D } else { C };
        let (params, name) = sample(method);
        let body = body_of(method, version, params, "").into_bytes();
        let untouched = body.clone();
        reading(
            &headers(method, version, name.filter(|_| version.is_modern())),
            &body,
            |call| {
                let call = call.unwrap();
                let target = call.target();
                let texts = [target.tool(), target.prompt(), target.resource(), call.task_id()];
                let raws = [call.id().map(|id| id.raw()), call.arguments().map(|node| node.raw())];
                for part in texts.into_iter().chain(raws).flatten() {
                    assert!(body.as_ptr_range().contains(&part.as_ptr()), "{part} is a copy");
                }
            },
        );
        assert_eq!(body, untouched);
    }
}
