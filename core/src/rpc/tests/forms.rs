//! What servers ask, tell and answer: the form of each row, with its refused neighbours.

use crate::json::Scratch;
use crate::rpc::reply::ReplyError;
use crate::rpc::{Expected, Method, ProtocolVersion, Reply, read_reply};

use super::{JSON, expected};

const ALL: [ProtocolVersion; 4] = ProtocolVersion::ALL;
const LEGACY: &[ProtocolVersion] = &[ALL[0], ALL[1], ALL[2]];
const FROM_2025_06: &[ProtocolVersion] = &[ALL[1], ALL[2]];
const FROM_2025_11: &[ProtocolVersion] = &[ALL[2]];
const MODERN: &[ProtocolVersion] = &[ALL[3]];

/// A call by `method` of a client of `version`.
fn call(version: ProtocolVersion, method: Method) -> Expected {
    let mut call = expected(&[], r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    (call.method, call.version) = (method, version);
    call
}

fn read(expected: &Expected, body: &str) -> Result<&'static str, ReplyError> {
    read_reply(body.as_bytes(), &mut Scratch::default(), JSON, expected).map(|reply| match reply {
        Reply::Error { .. } => "error",
        Reply::InputRequired { .. } => "input",
        Reply::Notification { .. } => "notification",
        Reply::Request { .. } => "request",
        Reply::Result { .. } => "result",
        Reply::Unjudged => "unjudged",
    })
}

/// Checks in which revisions a message of a server is judged; in the others it is not.
#[track_caller]
fn judged(message: &str, kind: &str, versions: &[ProtocolVersion]) {
    for version in ALL {
        let seen = read(&call(version, Method::Ping), message);
        let expected = if versions.contains(&version) { kind } else { "unjudged" };
        assert_eq!(seen, Ok(expected), "{} {message}", version.as_str());
    }
}

#[track_caller]
fn asked(method: &str, params: &str, versions: &[ProtocolVersion]) {
    let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    judged(&message, "request", versions);
}

#[track_caller]
fn told(method: &str, params: &str, versions: &[ProtocolVersion]) {
    let message = format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{params}}}"#);
    judged(&message, "notification", versions);
}

#[test]
fn a_server_samples() {
    let says = r#"{"role":"user","content":{"type":"text","text":"hi"}}"#;
    let sampling = |params: &str, versions| asked("sampling/createMessage", params, versions);
    sampling(&format!(r#"{{"messages":[{says}],"maxTokens":9}}"#), LEGACY);
    sampling(
        r#"{"messages":[],"maxTokens":9,"systemPrompt":"be","includeContext":"none","temperature":0.5,
            "stopSequences":["x"],"metadata":{},"modelPreferences":{"hints":[]},"_meta":{}}"#,
        LEGACY,
    );
    sampling(
        &format!(r#"{{"messages":[{says}],"maxTokens":9,"tools":[{{"name":"t"}}],"toolChoice":{{}}}}"#),
        FROM_2025_11,
    );
    for params in [
        "{}",
        r#"{"messages":[]}"#,
        r#"{"messages":{},"maxTokens":9}"#,
        r#"{"messages":["hi"],"maxTokens":9}"#,
        r#"{"messages":[{"role":"user"}],"maxTokens":9}"#,
        r#"{"messages":[{"role":"system","content":{"type":"text"}}],"maxTokens":9}"#,
        r#"{"messages":[],"maxTokens":-1}"#,
        r#"{"messages":[],"maxTokens":"9"}"#,
        r#"{"messages":[],"maxTokens":9,"systemPrompt":1}"#,
        r#"{"messages":[],"maxTokens":9,"tools":[{}]}"#,
        r#"{"messages":[],"maxTokens":9,"x":1}"#,
    ] {
        sampling(params, &[]);
    }
}

#[test]
fn a_server_elicits() {
    let elicits = |params: &str, versions| asked("elicitation/create", params, versions);
    let schema = r#"{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}}}"#;
    elicits(
        &format!(r#"{{"message":"who?","requestedSchema":{schema}}}"#),
        FROM_2025_06,
    );
    elicits(
        &format!(r#"{{"message":"who?","mode":"form","requestedSchema":{schema}}}"#),
        FROM_2025_11,
    );
    let page = |url: &str| format!(r#"{{"message":"pay","mode":"url","url":"{url}","elicitationId":"e1"}}"#);
    elicits(&page("https://pay.example/1"), FROM_2025_11);
    elicits(&page("http://localhost/1"), FROM_2025_11);
    for url in [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "pay.example",
        "https://",
        "https://a b",
    ] {
        elicits(&page(url), &[]);
    }
    for params in [
        "{}".to_owned(),
        r#"{"message":"who?"}"#.to_owned(),
        r#"{"message":"pay","mode":"url","url":"https://pay.example"}"#.to_owned(),
        format!(r#"{{"requestedSchema":{schema}}}"#),
        format!(r#"{{"message":1,"requestedSchema":{schema}}}"#),
        format!(r#"{{"message":"who?","mode":"page","requestedSchema":{schema}}}"#),
        format!(r#"{{"message":"who?","mode":1,"requestedSchema":{schema}}}"#),
        format!(r#"{{"message":"who?","requestedSchema":{schema},"url":"https://a.example"}}"#),
        r#"{"message":"who?","requestedSchema":{"type":"object"}}"#.to_owned(),
        r#"{"message":"who?","requestedSchema":{"properties":{}}}"#.to_owned(),
        r#"{"message":"who?","requestedSchema":{"type":"object","properties":{"a":{"type":"object"}}}}"#.to_owned(),
        r#"{"message":"who?","requestedSchema":{"type":"object","properties":{"a":{}}}}"#.to_owned(),
        r#"{"message":"who?","requestedSchema":[]}"#.to_owned(),
    ] {
        elicits(&params, &[]);
    }
}

#[test]
fn a_server_tells() {
    let tells = |method: &str, params: &[&str], versions, others: &[&str]| {
        for params in params {
            told(method, params, versions);
        }
        for params in others {
            told(method, params, &[]);
        }
    };
    tells(
        "progress",
        &[
            r#"{"progressToken":1,"progress":0.5}"#,
            r#"{"progressToken":"a","progress":1,"total":2,"message":"half","_meta":{}}"#,
        ],
        &ALL,
        &[
            "{}",
            r#"{"progress":1}"#,
            r#"{"progressToken":1}"#,
            r#"{"progressToken":1.5,"progress":1}"#,
            r#"{"progressToken":1,"progress":"1"}"#,
            r#"{"progressToken":1,"progress":1,"message":{}}"#,
            r#"{"progressToken":1,"progress":1,"x":1}"#,
        ],
    );
    tells(
        "message",
        &[
            r#"{"level":"info","data":{"any":[1]}}"#,
            r#"{"level":"error","data":"x","logger":"l"}"#,
        ],
        &ALL,
        &[
            r#"{"level":"info"}"#,
            r#"{"data":1}"#,
            r#"{"level":"loud","data":1}"#,
            r#"{"level":1,"data":1}"#,
        ],
    );
    tells(
        "cancelled",
        &[r#"{"requestId":1}"#, r#"{"requestId":"a","reason":"late"}"#],
        &ALL,
        &["{}", r#"{"requestId":null}"#, r#"{"requestId":1,"reason":1}"#],
    );
    for kind in ["prompts", "resources", "tools"] {
        tells(
            &format!("{kind}/list_changed"),
            &["{}", r#"{"_meta":{"a":1}}"#],
            &ALL,
            &[r#"{"x":1}"#],
        );
    }
    tells(
        "resources/updated",
        &[r#"{"uri":"file:///a"}"#],
        &ALL,
        &["{}", r#"{"uri":1}"#, r#"{"uri":"file:///a","text":"b"}"#],
    );
    tells(
        "elicitation/complete",
        &[r#"{"elicitationId":"e1"}"#],
        FROM_2025_11,
        &["{}", r#"{"elicitationId":1}"#],
    );
    tells(
        "subscriptions/acknowledged",
        &[
            r#"{"notifications":{}}"#,
            r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}}"#,
        ],
        MODERN,
        &[
            "{}",
            r#"{"notifications":[]}"#,
            r#"{"notifications":{"toolsListChanged":1}}"#,
            r#"{"notifications":{"resourceSubscriptions":"a"}}"#,
            r#"{"notifications":{"x":true}}"#,
        ],
    );
    told("initialized", "{}", &[]);
    judged(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#, "", &[]);
}

#[test]
fn a_result_has_the_form_of_its_row() {
    use Method as M;
    let text = r#"{"type":"text","text":"a"}"#;
    let table: &[(Method, &[&str], &[&str])] = &[
        (
            M::Initialize,
            &[r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{},"instructions":"a"}"#],
            &[
                "{}",
                r#"{"capabilities":[]}"#,
                r#"{"capabilities":{"tools":1}}"#,
                r#"{"capabilities":{},"instructions":1}"#,
                r#"{"capabilities":{},"protocolVersion":1}"#,
            ],
        ),
        (
            M::ServerDiscover,
            &[r#"{"supportedVersions":["2026-07-28"],"capabilities":{}}"#],
            &[r#"{"supportedVersions":"2026-07-28","capabilities":{}}"#],
        ),
        (
            M::CompletionComplete,
            &[r#"{"completion":{"values":["a"],"total":1,"hasMore":false}}"#],
            &[
                "{}",
                r#"{"completion":{}}"#,
                r#"{"completion":{"values":[1]}}"#,
                r#"{"completion":{"values":[],"total":-1}}"#,
                r#"{"completion":{"values":[],"hasMore":"no"}}"#,
            ],
        ),
        (
            M::PromptsGet,
            &[r#"{"description":"d","messages":[{"role":"user","content":{"type":"text","text":"a"}}]}"#],
            &[
                "{}",
                r#"{"messages":{}}"#,
                r#"{"messages":["a"]}"#,
                r#"{"messages":[{"role":"user","content":"a"}]}"#,
                r#"{"messages":[{"role":"user","content":{"text":"a"}}]}"#,
                r#"{"messages":[],"description":1}"#,
            ],
        ),
        (
            M::PromptsList,
            &[r#"{"prompts":[{"name":"a"}]}"#, r#"{"prompts":[],"nextCursor":null}"#],
            &["{}", r#"{"prompts":[{}]}"#],
        ),
        (
            M::ResourcesList,
            &[r#"{"resources":[{"uri":"file:///a","name":"a"}],"nextCursor":""}"#],
            &[
                "{}",
                r#"{"resources":[{"name":"a"}]}"#,
                r#"{"resources":[],"nextCursor":1}"#,
                r#"{"resources":[],"nextCursor":false}"#,
                r#"{"resources":[],"nextCursor":{}}"#,
                r#"{"resources":[],"nextCursor":["c"]}"#,
            ],
        ),
        (
            M::ResourcesTemplatesList,
            &[r#"{"resourceTemplates":[{"uriTemplate":"file:///{a}","name":"a"}]}"#],
            &["{}", r#"{"resourceTemplates":[{"uri":"file:///a"}]}"#],
        ),
        (
            M::ResourcesRead,
            &[r#"{"contents":[{"uri":"file:///a","text":"a"},{"uri":"file:///b","blob":"YQ=="}]}"#],
            &[
                "{}",
                r#"{"contents":[{"text":"a"}]}"#,
                r#"{"contents":[{"uri":"file:///a"}]}"#,
                r#"{"contents":[{"uri":"file:///a","text":"a","blob":"YQ=="}]}"#,
                r#"{"contents":[{"uri":"file:///a","text":1}]}"#,
            ],
        ),
        (M::LoggingSetLevel, &["{}"], &[r#"{"content":[]}"#]),
        (M::SubscriptionsListen, &["{}"], &[r#"{"x":1}"#]),
    ];
    for (method, good, bad) in table {
        let version = if method.exists_in(ALL[3]) { ALL[3] } else { ALL[2] };
        let call = call(version, *method);
        let body = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        for result in *good {
            assert_eq!(read(&call, &body(result)), Ok("result"), "{} {result}", method.as_str());
        }
        for result in *bad {
            let seen = read(&call, &body(result));
            assert_eq!(seen, Err(ReplyError::ResultInvalid), "{} {result}", method.as_str());
        }
    }
    let values = |count: usize| vec![r#""a""#; count].join(",");
    let completed = |count| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"completion":{{"values":[{}]}}}}}}"#,
            values(count)
        )
    };
    let complete = call(ALL[3], M::CompletionComplete);
    assert_eq!(read(&complete, &completed(100)), Ok("result"));
    assert_eq!(read(&complete, &completed(101)), Err(ReplyError::ResultInvalid));
    let cached = |members: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[],{members}}}}}"#);
        read(&call(ALL[3], M::ToolsList), &body)
    };
    for members in [
        r#""ttlMs":0,"cacheScope":"public""#,
        r#""ttlMs":9007199254740991,"cacheScope":"private""#,
        // Of no meaning in any version.
        r#""ttl":"1""#,
    ] {
        assert_eq!(cached(members), Ok("result"), "{members}");
    }
    for members in [
        r#""ttlMs":-1"#,
        r#""ttlMs":0.5"#,
        r#""ttlMs":1e3"#,
        r#""ttlMs":"1""#,
        r#""ttlMs":null"#,
        r#""cacheScope":"shared""#,
        r#""cacheScope":"Private""#,
        r#""cacheScope":"""#,
        r#""cacheScope":null"#,
        r#""cacheScope":1"#,
    ] {
        assert_eq!(cached(members), Err(ReplyError::ResultInvalid), "{members}");
    }
    let folded = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"Messages":[],"messages":[{text}]}}}}"#);
    assert_eq!(read(&call(ALL[3], M::PromptsGet), &folded), Err(ReplyError::KeyFolded));
}

#[test]
fn a_task_stands_where_its_version_puts_it() {
    let result = |members: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{members}}}}}"#);
    for version in ALL {
        let seen = |members: &str| read(&call(version, Method::ToolsCall), &result(members));
        let expected = if version == ALL[2] {
            Ok("result")
        } else {
            Err(ReplyError::ResultInvalid)
        };
        for members in [
            r#""task":{"taskId":"t","status":"working"}"#,
            r#""content":[],"task":{}"#,
            r#""content":[],"task":null"#,
        ] {
            assert_eq!(seen(members), expected, "{} {members}", version.as_str());
        }
        assert_eq!(seen(r#""content":[]"#), Ok("result"));
    }
    let within = result(r#""taskId":"t","status":"completed","result":{"content":[],"task":{"taskId":"u"}}"#);
    assert_eq!(
        read(&call(ALL[3], Method::TasksGet), &within),
        Err(ReplyError::ResultInvalid)
    );
    let nested = result(r#""content":[],"task":{"taskId":"u"}"#);
    assert_eq!(
        read(&call(ALL[2], Method::TasksResult), &nested),
        Err(ReplyError::ResultInvalid)
    );
}

#[test]
fn a_server_tells_of_tasks() {
    let state = |more: &str| format!(r#"{{"taskId":"t","status":"working"{more}}}"#);
    for more in ["", r#","statusMessage":"x","ttl":null,"_meta":{}"#] {
        told("tasks/status", &state(more), FROM_2025_11);
        told("tasks", &state(more), MODERN);
    }
    for more in [
        r#","result":{"content":[]}"#,
        r#","error":{"code":1,"message":"x"}"#,
        r#","inputRequests":{"a":{"method":"roots/list"}}"#,
    ] {
        told("tasks/status", &state(more), &[]);
        told("tasks", &state(more), MODERN);
    }
    for more in [
        r#","result":{"content":{}}"#,
        r#","result":1"#,
        r#","error":{"message":"x"}"#,
        r#","inputRequests":{"a":{"method":"ping"}}"#,
        r#","statusMessage":1"#,
        r#","result":{"content":[]},"error":{"code":1,"message":"x"}"#,
    ] {
        told("tasks", &state(more), &[]);
    }
}

#[test]
fn a_server_asks_back_where_its_era_and_method_let_it() {
    let asks = r#"{"who":{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}},
        "where":{"method":"roots/list"},
        "what":{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1,"tools":[{"name":"t"}]}}}"#;
    let result =
        |members: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"input_required"{members}}}}}"#);
    let whole = result(&format!(r#","inputRequests":{asks},"requestState":"opaque \u0041""#));
    for method in [Method::ToolsCall, Method::PromptsGet, Method::ResourcesRead] {
        assert_eq!(read(&call(ALL[3], method), &whole), Ok("input"));
        assert_eq!(read(&call(ALL[2], method), &whole), Err(ReplyError::ResultTypeUnknown));
    }
    for method in [Method::ToolsList, Method::CompletionComplete, Method::ServerDiscover] {
        assert_eq!(read(&call(ALL[3], method), &whole), Err(ReplyError::ResultTypeUnknown));
    }
    let modern = call(ALL[3], Method::ToolsCall);
    let mut scratch = Scratch::default();
    let Ok(Reply::InputRequired { requests, state }) = read_reply(whole.as_bytes(), &mut scratch, JSON, &modern) else {
        panic!("it asks back");
    };
    assert_eq!(
        (requests.map(|requests| requests.len()), state),
        (Some(3), Some("opaque A"))
    );
    assert_eq!(read(&modern, &result(r#","requestState":"s""#)), Ok("input"));
    for members in [
        "",
        r#","requestState":1"#,
        r#","inputRequests":{}"#,
        r#","inputRequests":[]"#,
        r#","inputRequests":{"a":1}"#,
        r#","inputRequests":{"a":{"method":"ping"}}"#,
        r#","inputRequests":{"a":{"method":"tools/call"}}"#,
        r#","inputRequests":{"a":{"method":"roots/list","id":1}}"#,
        r#","inputRequests":{"a":{"method":"roots/list","params":{"x":1}}}"#,
        r#","inputRequests":{"a":{"params":{}}}"#,
        r#","inputRequests":{"a":{"method":"elicitation/create"}}"#,
        r#","requestState":"s","content":[]"#,
    ] {
        assert_eq!(
            read(&modern, &result(members)),
            Err(ReplyError::ResultInvalid),
            "{members}"
        );
    }
    for kind in ["Task", "Input_required", "input_required ", "x"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"{kind}","requestState":"s"}}}}"#);
        assert_eq!(read(&modern, &body), Err(ReplyError::ResultTypeUnknown), "{kind}");
    }
}
