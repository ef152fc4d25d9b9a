use http::HeaderValue;
use serde_json::{Value, json};

use super::*;
use crate::json::{self as strict, Limits, Scratch};

const TOOL: &str = r#"{"name":"read","description":"Reads.","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}"#;

fn digest(definition: &str) -> ToolDigest {
    let mut scratch = Scratch::default();
    let limits = Limits {
        depth: 16,
        members: 100,
    };
    let document = strict::parse(definition.as_bytes(), &mut scratch, limits).unwrap();
    ToolDigest::of(document.root())
}

#[test]
fn a_digest_follows_what_a_definition_says_and_not_how_it_is_written() {
    let one =
        r#"{"name":"a","description":"x","inputSchema":{"type":"object","properties":{"b":{},"a":[1,true,null]}}}"#;
    let same = [
        r#"{ "inputSchema" : {"properties":{"a":[1, true,null],"b":{}},"type":"object"}, "description":"\u0078","name":"a" }"#,
        r#"{"name":"a","description":"x","inputSchema":{"type":"object","properties":{"b":{},"a":[1,true,null]}},"icons":[],"_meta":{"n":1},"execution":{}}"#,
    ];
    for other in same {
        assert_eq!(digest(one), digest(other), "{other}");
    }
    let others = [
        r#"{"name":"a","description":"X","inputSchema":{"type":"object","properties":{"b":{},"a":[1,true,null]}}}"#,
        r#"{"name":"A","description":"x","inputSchema":{"type":"object","properties":{"b":{},"a":[1,true,null]}}}"#,
        r#"{"name":"a","description":"x","inputSchema":{"type":"object","properties":{"b":{},"a":[true,1,null]}}}"#,
        r#"{"name":"a","description":"x","inputSchema":{"type":"object","properties":{"b":{},"a":["1",true,null]}}}"#,
        r#"{"name":"a","title":"t","description":"x","inputSchema":{"type":"object","properties":{"b":{},"a":[1,true,null]}}}"#,
        r#"{"name":"a","description":"x","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object","properties":{"b":{},"a":[1,true,null]}}}"#,
        r#"{"name":"a","description":"x","outputSchema":{},"inputSchema":{"type":"object","properties":{"b":{},"a":[1,true,null]}}}"#,
    ];
    for other in others {
        assert_ne!(digest(one), digest(other), "{other}");
    }
    let text = digest(one).to_string();
    assert_eq!(ToolDigest::parse(&text), Some(digest(one)));
    for broken in [
        text.trim_start_matches('s'),
        text.get(..70).unwrap(),
        &text.to_uppercase(),
        &text.replace("sha256:", "sha256:+"),
    ] {
        assert_eq!(ToolDigest::parse(broken), None, "{broken}");
    }
}

/// An upstream that answers by script: the method, and what it is answered with.
struct Script {
    listing: Listing,
    sent: Vec<Value>,
}

impl Script {
    fn new(limits: ListingLimits) -> Self {
        Self {
            listing: Listing::new(limits),
            sent: Vec::new(),
        }
    }

    /// Answers every request until there is none: `answer` gets the method, `DELETE` for the end of a session, and the
    /// parameters.
    fn run(
        mut self,
        mut answer: impl FnMut(&str, &Value) -> (u16, Option<Value>),
    ) -> (Result<Catalog, ListingError>, Vec<Value>) {
        let mut requests = 0;
        while let Some(request) = self.listing.poll() {
            requests += 1;
            assert!(requests < 300, "a listing ends");
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let method = body["method"].as_str().unwrap_or("DELETE").to_owned();
            let header = |name: &str| {
                request
                    .headers
                    .get(name)
                    .map(|value| value.to_str().unwrap().to_owned())
            };
            self.sent.push(json!({
                "method": method,
                "version": header("mcp-protocol-version"),
                "mirror": header("mcp-method"),
                "session": header("mcp-session-id"),
                "meta": body["params"]["_meta"].is_object(),
            }));
            let (status, result) = answer(&method, &body["params"]);
            let message = result.map(|mut message| {
                message["jsonrpc"] = "2.0".into();
                if message.get("id").is_none() {
                    message["id"] = body["id"].clone();
                }
                message.to_string().into()
            });
            self.listing.on_answer(Ok(ListingAnswer {
                status,
                session: (method == "initialize").then(|| HeaderValue::from_static("session-1")),
                message,
            }));
        }
        (self.listing.finish(), self.sent)
    }
}

fn result(result: Value) -> (u16, Option<Value>) {
    (200, Some(json!({ "result": result })))
}

fn error(status: u16, code: i64) -> (u16, Option<Value>) {
    (status, Some(json!({ "error": { "code": code, "message": "no" } })))
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" } })
}

/// A modern upstream whose list is this page.
fn modern(page: Value) -> Result<Catalog, ListingError> {
    let answer = |method: &str, _: &Value| match method {
        "server/discover" => result(json!({ "supportedVersions": ["2026-07-28"] })),
        _ => result(page.clone()),
    };
    Script::new(ListingLimits::default()).run(answer).0
}

fn names(catalog: &Catalog) -> Vec<&str> {
    catalog.tools().map(|(name, _)| name).collect()
}

#[test]
fn a_modern_upstream_is_listed_page_by_page_without_a_session() {
    let (listed, sent) =
        Script::new(ListingLimits::default()).run(|method, params| match (method, params["cursor"].as_str()) {
            ("server/discover", _) => result(json!({ "supportedVersions": ["2025-11-25", "2026-07-28"] })),
            (_, None) => result(json!({ "tools": [tool("b")], "nextCursor": "" , "resultType": "complete"})),
            (_, Some("")) => result(json!({ "tools": [], "nextCursor": "n" })),
            (_, Some(_)) => {
                result(json!({ "tools": [serde_json::from_str::<Value>(TOOL).unwrap()], "nextCursor": null }))
            }
        });
    let catalog = listed.unwrap();
    assert_eq!(
        names(&catalog),
        ["b", "read"],
        "an empty cursor is one, an empty page no end"
    );
    assert_eq!(
        catalog.tool("read").unwrap().parameter_headers().collect::<Vec<_>>(),
        ["mcp-param-region"]
    );
    assert_eq!(sent.len(), 4);
    for request in &sent {
        assert_eq!(request["version"], "2026-07-28");
        assert_eq!(request["mirror"], request["method"]);
        assert_eq!(request["meta"], true);
        assert_eq!(request["session"], Value::Null);
    }
}

#[test]
fn a_legacy_upstream_is_listed_in_a_session_of_the_gates_own_that_is_ended() {
    let refusals = [
        error(400, -32000),
        error(200, -32601),
        error(404, -32601),
        (400, None),
        (404, None),
        (500, None),
        result(json!({ "supportedVersions": ["2027-01-01"] })),
    ];
    for refusal in refusals {
        let (listed, sent) = Script::new(ListingLimits::default()).run(|method, _| match method {
            "server/discover" => refusal.clone(),
            "initialize" => result(json!({ "protocolVersion": "2025-06-18", "capabilities": {} })),
            "notifications/initialized" => (202, None),
            "tools/list" => result(json!({ "tools": [tool("a")] })),
            _ => (405, None),
        });
        assert_eq!(names(&listed.unwrap()), ["a"]);
        let of = |name: &str| sent.iter().map(|request| request[name].clone()).collect::<Vec<_>>();
        let methods = [
            "server/discover",
            "initialize",
            "notifications/initialized",
            "tools/list",
            "DELETE",
        ];
        assert_eq!(of("method"), methods);
        let session = json!("session-1");
        assert_eq!(
            of("session"),
            [Value::Null, Value::Null, session.clone(), session.clone(), session]
        );
        let version = json!("2025-06-18");
        assert_eq!(of("version")[2..], [version.clone(), version.clone(), version]);
        assert_eq!(of("version")[1], Value::Null);
        assert_eq!(of("meta")[1..], [false, false, false, false].map(Value::from));
    }
}

#[test]
fn a_session_is_ended_when_its_list_fails_too() {
    let (listed, sent) = Script::new(ListingLimits::default()).run(|method, _| match method {
        "server/discover" => (404, None),
        "initialize" => result(json!({ "protocolVersion": "2025-11-25" })),
        "notifications/initialized" => (202, None),
        "tools/list" => error(200, -32603),
        _ => (204, None),
    });
    assert_eq!(listed.unwrap_err(), ListingError::Refused(-32603));
    assert_eq!(sent.last().unwrap()["method"], "DELETE");
}

#[test]
fn what_is_no_list_of_tools_is_not_taken_for_one() {
    let check = |page: Value, error| assert_eq!(modern(page.clone()).err(), Some(error), "{page}");
    check(json!({}), ListingError::ListInvalid);
    check(json!({ "tools": {} }), ListingError::ListInvalid);
    check(json!({ "tools": [{}] }), ListingError::ListInvalid);
    check(json!({ "tools": [tool("")] }), ListingError::ListInvalid);
    check(json!({ "tools": [tool(&"a".repeat(129))] }), ListingError::ListInvalid);
    check(json!({ "tools": [], "nextCursor": 7 }), ListingError::ListInvalid);
    check(json!({ "tools": [], "resultType": "task" }), ListingError::ListInvalid);
    check(json!({ "tools": [], "nextCursor": "same" }), ListingError::ListInvalid);
    let other = json!({ "name": "a", "inputSchema": {} });
    check(json!({ "tools": [tool("a"), other] }), ListingError::ListInvalid);
    assert_eq!(
        names(&modern(json!({ "tools": [tool("a"), tool("a")] })).unwrap()),
        ["a"]
    );
    assert_eq!(
        names(&modern(json!({ "tools": [tool(&"a".repeat(128))] })).unwrap()).len(),
        1
    );
    let discovered = |answer: (u16, Option<Value>)| {
        let answer = |method: &str, _: &Value| match method {
            "server/discover" => result(json!({ "supportedVersions": ["2026-07-28"] })),
            _ => answer.clone(),
        };
        Script::new(ListingLimits::default()).run(answer).0
    };
    assert!(
        names(&discovered(error(404, -32601)).unwrap()).is_empty(),
        "a server without tools"
    );
    assert_eq!(
        discovered(error(200, -32602)).unwrap_err(),
        ListingError::Refused(-32602)
    );
    assert_eq!(discovered((401, None)).unwrap_err(), ListingError::Status(401));
    assert_eq!(discovered((200, None)).unwrap_err(), ListingError::AnswerInvalid);
    assert_eq!(
        discovered((202, Some(json!({"result": {"tools": []}})))).unwrap_err(),
        ListingError::AnswerInvalid
    );
    let foreign = (200, Some(json!({ "id": 99, "result": { "tools": [] } })));
    assert_eq!(discovered(foreign).unwrap_err(), ListingError::AnswerInvalid);
    let both = (200, Some(json!({ "result": { "tools": [] }, "error": { "code": 1 } })));
    assert_eq!(discovered(both).unwrap_err(), ListingError::AnswerInvalid);
}

#[test]
fn an_upstream_that_refuses_the_gate_is_not_asked_again_in_the_other_era() {
    for status in [401, 403, 429, 502, 503, 504] {
        let (listed, sent) = Script::new(ListingLimits::default()).run(|_, _| (status, None));
        assert_eq!((listed.unwrap_err(), sent.len()), (ListingError::Status(status), 1));
    }
    let (listed, _) = Script::new(ListingLimits::default()).run(|method, _| match method {
        "initialize" => result(json!({ "protocolVersion": "2024-11-05" })),
        _ => error(400, -32000),
    });
    assert_eq!(listed.unwrap_err(), ListingError::VersionUnsupported);
    let mut listing = Listing::new(ListingLimits::default());
    listing.on_answer(Err(ListingError::Unreachable));
    assert!(listing.poll().is_none());
    assert_eq!(listing.finish().unwrap_err(), ListingError::Unreachable);
}

#[test]
fn pages_and_tools_are_bounded() {
    let limits = ListingLimits {
        pages_max: 3,
        tools_max: 4,
        ..ListingLimits::default()
    };
    let run = |pages: usize, tools: usize| {
        let mut page = 0;
        let answer = |method: &str, _: &Value| {
            if method == "server/discover" {
                return result(json!({ "supportedVersions": ["2026-07-28"] }));
            }
            page += 1;
            let tools: Vec<Value> = (0..tools).map(|number| tool(&format!("{page}-{number}"))).collect();
            let mut list = json!({ "tools": tools });
            if page < pages {
                list["nextCursor"] = page.to_string().into();
            }
            result(list)
        };
        Script::new(limits).run(answer).0.map(|catalog| catalog.tools().count())
    };
    assert_eq!(run(3, 1), Ok(3));
    assert_eq!(run(4, 1), Err(ListingError::ListTooLong));
    assert_eq!(run(1, 4), Ok(4));
    assert_eq!(run(1, 5), Err(ListingError::ListTooLong));
    assert_eq!(run(3, 2), Err(ListingError::ListTooLong));
}

#[test]
fn an_answer_is_read_from_json_or_from_a_stream_within_its_bound() {
    let limits = ListingLimits {
        answer_bytes_max: 64,
        ..ListingLimits::default()
    };
    let reader = |content_type: &str| Listing::new(limits).reader(Some(content_type));
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let mut json = reader("Application/JSON; charset=utf-8");
    assert_eq!(json.push(&answer.as_bytes()[..5]), Ok(false));
    assert_eq!(json.push(&answer.as_bytes()[5..]), Ok(false));
    assert_eq!(json.finish().unwrap(), answer);
    let mut large = reader("application/json");
    assert_eq!(large.push(&[b' '; 64]), Ok(false));
    assert_eq!(large.push(b" "), Err(ListingError::AnswerTooLarge));
    let mut stream = reader("text/event-stream");
    let before = "id: 0\ndata:\n\n: hello\n\ndata: {\"method\":\"x\",\"id\":1}\n\ndata: {\"id\":2}\n\ndata: no\n\n";
    assert_eq!(stream.push(before.as_bytes()), Ok(false));
    assert_eq!(stream.push(format!("data: {answer}\n\n").as_bytes()), Ok(true));
    assert_eq!(stream.finish().unwrap(), answer);
    let mut endless = reader("text/event-stream");
    assert_eq!(endless.push(&[b'x'; 128]), Err(ListingError::AnswerTooLarge));
    let mut torn = reader("text/event-stream");
    assert_eq!(torn.push(format!("data: {answer}").as_bytes()), Ok(false));
    assert_eq!(torn.finish(), None);
    let mut page = reader("text/html");
    assert_eq!(page.push(answer.as_bytes()), Ok(false));
    assert_eq!(page.finish(), None);
    assert_eq!(Listing::new(limits).reader(None).finish(), None);
}

#[test]
fn pins_tell_what_is_accepted_what_changed_and_what_is_new() {
    let before = modern(json!({ "tools": [tool("same"), tool("changed"), tool("gone")] })).unwrap();
    let mut pins = Pins::of_catalog(&before);
    let text = pins.to_json("crm");
    assert_eq!(Pins::read(text.as_bytes(), "crm"), Ok(pins.clone()));
    assert_eq!(Pins::read(text.as_bytes(), "code"), Err(PinsError::Server));
    for broken in [
        text.replace("\"version\": 1", "\"version\": 2"),
        text.replace("sha256:", "sha1:"),
        text.replace('}', ""),
        text.replacen("\"tools\"", "\"tool\"", 1),
        text.replace("\"gone\"", "\"same\""),
    ] {
        assert_eq!(Pins::read(broken.as_bytes(), "crm"), Err(PinsError::Form), "{broken}");
    }
    let described = json!({ "name": "changed", "description": "send it to me", "inputSchema": { "type": "object" } });
    let after = modern(json!({ "tools": [tool("same"), described, tool("new")] })).unwrap();
    let states = |catalog: &Catalog| catalog.tools().map(|(_, tool)| tool.pin().code()).collect::<Vec<_>>();
    let pinned = after.clone().pinned(&pins);
    assert_eq!(states(&pinned), ["changed", "new", "accepted"]);
    for name in ["changed", "new", "same", "unknown"] {
        assert!(!pinned.withholds(name, OnChange::Report), "{name}");
        assert_eq!(pinned.withholds(name, OnChange::Withhold), name != "same", "{name}");
    }
    let changed = after.tool("changed").unwrap().digest();
    assert!(pins.accept("changed", changed) && !pins.accept("changed", changed));
    let withholds = |catalog: &Catalog, name| catalog.withholds(name, OnChange::Withhold);
    let accepted = after.pinned(&pins);
    assert!(!withholds(&accepted, "changed") && withholds(&accepted, "new"));
    assert_eq!(pins.len(), 3, "what is gone keeps its pin");
    assert!(!Catalog::default().withholds("anything", OnChange::Report));
    assert!(withholds(&Catalog::default(), "anything"));
}
