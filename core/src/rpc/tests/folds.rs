//! Keys that fold to a key of the protocol, wherever one can stand; keys of others, which stay free.

use crate::denial::DenyReason;
use crate::json::Scratch;
use crate::rpc::reply::ReplyError;
use crate::rpc::{Expected, read_reply};

use super::{JSON, expected, refusal};

fn call(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

/// Methods and parameters in which one key is a near-miss; the place of each key is one of the protocol's.
const NEAR: &[(&str, &str)] = &[
    ("completion/complete", r#"{"ref":{"Type":"ref/prompt","name":"a"}}"#),
    (
        "completion/complete",
        r#"{"ref":{"type":"ref/resource","uri":"a","uRi":"b"}}"#,
    ),
    (
        "completion/complete",
        r#"{"ref":{},"argument":{"name":"x","VALUE":""}}"#,
    ),
    ("completion/complete", r#"{"ref":{},"context":{"argument\u017f":{}}}"#),
    ("completion/complete", r#"{"Ref":{}}"#),
    ("initialize", r#"{"clientInfo":{"name":"a","Name":"b"}}"#),
    ("initialize", r#"{"clientInfo":{"icons":[{"Src":"a"}]}}"#),
    ("initialize", r#"{"capabilities":{"Sampling":{}}}"#),
    ("initialize", r#"{"capabilities":{"roots":{"listchanged":true}}}"#),
    ("initialize", r#"{"capabilities":{"ta\u017fks":{}}}"#),
    ("logging/setLevel", r#"{"Level":"debug"}"#),
    ("notifications/progress", r#"{"progre\u017fs":1,"TOTAL":2}"#),
    ("prompts/get", r#"{"name":"a","Arguments":{}}"#),
    ("resources/read", r#"{"uri":"file:///a","URI":"file:///b"}"#),
    (
        "subscriptions/listen",
        r#"{"notifications":{"ResourceSubscriptions":["file:///a"]}}"#,
    ),
    ("subscriptions/listen", r#"{"notifications":{"tas\u212aIds":["t"]}}"#),
    ("tasks/get", r#"{"taskid":"t"}"#),
    ("tools/call", r#"{"name":"a","task":{"TTL":1}}"#),
    (
        "tools/call",
        r#"{"name":"a","inputResponses":{"q":{"Action":"accept"}}}"#,
    ),
    (
        "tools/call",
        r#"{"name":"a","inputResponses":{"q":{"role":"user","content":{"type":"text","Text":"a"}}}}"#,
    ),
    (
        "tools/call",
        r#"{"name":"a","inputResponses":{"q":{"content":[{"type":"text","TYPE":"image"}]}}}"#,
    ),
    (
        "tools/call",
        r#"{"name":"a","inputResponses":{"q":{"roots":[{"Uri":"file:///a"}]}}}"#,
    ),
    ("tools/call", r#"{"name":"a","Requeststate":"s"}"#),
    (
        "tools/call",
        r#"{"name":"a","_meta":{"io.modelcontextprotocol/clientInfo":{"Name":"b"}}}"#,
    ),
    (
        "tools/call",
        r#"{"name":"a","_meta":{"io.modelcontextprotocol/clientCapabilities":{"elicitat\u0131on":{}}}}"#,
    ),
    (
        "tools/call",
        r#"{"name":"a","_meta":{"io.modelcontextprotocol/Related-Task":{}}}"#,
    ),
];

/// The same places and others with keys that are exact, resemble nothing, or are somebody else's.
const FREE: &[(&str, &str)] = &[
    (
        "completion/complete",
        r#"{"ref":{"type":"ref/prompt","name":"a"},"argument":{"name":"Name","value":"URI"}}"#,
    ),
    (
        "completion/complete",
        r#"{"ref":{},"context":{"arguments":{"Name":"a","URI":"b"}}}"#,
    ),
    (
        "initialize",
        r#"{"clientInfo":{"name":"a","vendor":"b"},"capabilities":{"sampling":{}}}"#,
    ),
    (
        "initialize",
        r#"{"capabilities":{"experimental":{"Tools":{"Name":1}}}}"#,
    ),
    (
        "initialize",
        r#"{"capabilities":{"extensions":{"com.example/Name":{"URI":1}}}}"#,
    ),
    ("prompts/get", r#"{"name":"a","arguments":{"Name":"a","METHOD":"b"}}"#),
    (
        "tools/call",
        r#"{"name":"a","arguments":{"Name":1,"params":{"METHOD":[{"Uri":1}]},"tas\u212a":0}}"#,
    ),
    (
        "tools/call",
        r#"{"name":"a","inputResponses":{"Name":{"action":"accept","content":{"Name":"a","URI":"b"}}}}"#,
    ),
    (
        "tools/call",
        r#"{"name":"a","_meta":{"com.example/x":{"Name":1},"a/Name2":{"URI":1}}}"#,
    ),
];

#[test]
fn a_near_miss_is_ambiguous_wherever_the_key_can_stand() {
    for (method, params) in NEAR {
        let body = call(method, params);
        assert_eq!(refusal(&[], &body), Some(DenyReason::JsonAmbiguous), "{body}");
    }
    for (method, params) in FREE {
        let body = call(method, params);
        assert_ne!(refusal(&[], &body), Some(DenyReason::JsonAmbiguous), "{body}");
    }
}

/// Every name, each letter of it in the other case: ambiguous in `params`, the user's own in the arguments.
#[test]
fn every_name_of_the_protocol_is_guarded() {
    for name in crate::rpc::keys::NAMES {
        let letters: Vec<char> = name.chars().collect();
        for (place, letter) in letters
            .iter()
            .enumerate()
            .filter(|(_, letter)| letter.is_ascii_alphabetic())
        {
            let mut folds = vec![match letter.is_ascii_uppercase() {
                true => letter.to_ascii_lowercase(),
                false => letter.to_ascii_uppercase(),
            }];
            match letter.to_ascii_lowercase() {
                's' => folds.push('\u{17f}'),
                'k' => folds.push('\u{212a}'),
                _ => {}
            }
            for fold in folds {
                let mut near = letters.clone();
                near[place] = fold;
                let near: String = near.into_iter().collect();
                let body = call("tools/call", &format!(r#"{{"name":"a","{near}":1}}"#));
                assert_eq!(refusal(&[], &body), Some(DenyReason::JsonAmbiguous), "{body}");
                let arguments = format!(r#"{{"name":"a","arguments":{{"{near}":{{"{near}":1}}}}}}"#);
                assert_eq!(refusal(&[], &call("tools/call", &arguments)), None, "{arguments}");
                let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","{near}":1}}"#);
                assert_eq!(refusal(&[], &body), Some(DenyReason::JsonAmbiguous), "{body}");
            }
        }
    }
}

#[test]
fn a_near_miss_in_an_answer_is_found_at_any_depth() {
    let of = |method: &str| -> Expected { expected(&[], &call(method, r#"{"name":"a"}"#)) };
    let tool = of("tools/call");
    let list = expected(&[], &call("tools/list", "{}"));
    let read = |expected: &Expected, result: &str| {
        let reply = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        read_reply(reply.as_bytes(), &mut Scratch::default(), JSON, expected).map(|_| ())
    };
    let folded = [
        (&tool, r#"{"content":[{"type":"text","text":"a","Text":"b"}]}"#),
        (
            &tool,
            r#"{"content":[{"type":"resource","resource":{"uri":"a","Text":"b"}}]}"#,
        ),
        (
            &tool,
            r#"{"content":[{"type":"text","text":"a","annotations":{"Audience":["user"]}}]}"#,
        ),
        (&tool, r#"{"action":"x","content":[{"type":"text","Text":"b"}]}"#),
        (&tool, r#"{"content":[],"StructuredContent":{}}"#),
        (&list, r#"{"tools":[{"name":"a","Description":"b"}]}"#),
        (&list, r#"{"tools":[{"name":"a","annotations":{"readonlyhint":true}}]}"#),
    ];
    for (expected, result) in folded {
        assert_eq!(read(expected, result), Err(ReplyError::KeyFolded), "{result}");
    }
    let free = [
        (
            &tool,
            r#"{"content":[{"type":"text","text":"a","_meta":{"Name":1}}],"structuredContent":{"Text":{"URI":1}}}"#,
        ),
        (
            &list,
            r#"{"tools":[{"name":"a","inputSchema":{"properties":{"Name":{"Type":"x"}}}}]}"#,
        ),
    ];
    for (expected, result) in free {
        assert_eq!(read(expected, result), Ok(()), "{result}");
    }
}
