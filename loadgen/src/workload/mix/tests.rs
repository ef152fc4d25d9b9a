//! Mix documents, right ones and their neighbours.

use super::{CallWrong, Mix, MixError, Padding, Part, parts};

#[test]
fn documents_are_read_with_their_defaults() {
    let mix = Mix::from_json(
        r#"{"calls":[
            {"tool":"crm/read_1.x-y","arguments":{"id":"{account}","deep":[{"by":"{subject}/{n}"}]},"weight":3,
             "refused":true,"body_bytes":500,"padding":"argument"},
            {"method":"tools/list"},
            {"tool":"t"}
        ]}"#,
    );
    let mix = mix.unwrap();
    let [first, second, third] = mix.calls() else {
        panic!("three calls")
    };
    assert_eq!(
        (first.name(), first.weight, first.refused),
        ("crm/read_1.x-y", 3.0, true)
    );
    assert_eq!((first.body_bytes, first.padding), (Some(500), Padding::Argument));
    assert_eq!(
        (second.name(), second.weight, second.refused),
        ("tools/list", 1.0, false)
    );
    assert_eq!((third.body_bytes, third.padding), (None, Padding::Whitespace));
}

#[test]
fn wrong_calls_are_named() {
    let cases = [
        (r#"{"weight":1}"#, CallWrong::Ask),
        (r#"{"tool":"t","method":"ping"}"#, CallWrong::Ask),
        (r#"{"method":"ping","arguments":{}}"#, CallWrong::Arguments),
        (r#"{"method":"ping","padding":"argument"}"#, CallWrong::Padding),
        (
            r#"{"tool":"t","padding":"argument","arguments":{"padding":1}}"#,
            CallWrong::PaddingTwice,
        ),
        (r#"{"tool":""}"#, CallWrong::Tool),
        (r#"{"tool":"a b"}"#, CallWrong::Tool),
        (r#"{"tool":"ä"}"#, CallWrong::Tool),
        (r#"{"tool":"t","weight":0}"#, CallWrong::Weight),
        (r#"{"tool":"t","weight":-1}"#, CallWrong::Weight),
        (
            r#"{"tool":"t","arguments":{"a":[{"b":"x {acount}"}]}}"#,
            CallWrong::Placeholder("acount".to_owned()),
        ),
    ];
    for (call, expected) in cases {
        let document = format!(r#"{{"calls":[{{"tool":"t"}},{call}]}}"#);
        match Mix::from_json(&document) {
            Err(MixError::Call { number: 2, wrong }) => assert_eq!(wrong, expected, "{call}"),
            other => panic!("{call}: {other:?}"),
        }
    }
    assert!(matches!(Mix::from_json(r#"{"calls":[]}"#), Err(MixError::Empty)));
}

#[test]
fn unknown_members_are_named_with_their_position() {
    let cases = [
        (
            "{\"calls\":[{\"tool\":\"t\",\n \"wieght\":1}]}",
            "`wieght`",
            "line 2 column 9",
        ),
        ("{\"calls\":[],\"seed\":1}", "`seed`", "line 1 column 18"),
        ("{\"calls\":[{\"method\":\"ping/pong\"}]}", "`ping/pong`", "line 1"),
        (
            "{\"calls\":[{\"tool\":\"t\",\"padding\":\"none\"}]}",
            "`none`",
            "line 1",
        ),
        ("{\"calls\":[{\"tool\":\"t\",\"tool\":\"u\"}]}", "`tool`", "line 1"),
        ("{}", "`calls`", "line 1"),
        ("{\"calls\":[", "EOF", "line 1"),
    ];
    for (document, name, position) in cases {
        let message = Mix::from_json(document).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(position), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn placeholders_are_found_in_text() {
    use Part::{Placeholder, Text};
    let cases: &[(&str, &[Part<'_>])] = &[
        ("", &[]),
        ("plain", &[Text("plain")]),
        ("{n}", &[Placeholder("n")]),
        (
            "a{n}b{account}",
            &[Text("a"), Placeholder("n"), Text("b"), Placeholder("account")],
        ),
        (
            "{foreign_account}{n}",
            &[Placeholder("foreign_account"), Placeholder("n")],
        ),
        // Braces that hold no word stay as they are.
        ("{} {N} {1} {a b} {", &[Text("{} {N} {1} {a b} {")]),
        ("{{n}}", &[Text("{"), Placeholder("n"), Text("}")]),
        ("ä{n}ö", &[Text("ä"), Placeholder("n"), Text("ö")]),
    ];
    for (text, expected) in cases {
        assert_eq!(parts(text), *expected, "{text:?}");
    }
}

#[test]
fn files_are_read_and_their_absence_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mix.json");
    assert!(matches!(Mix::from_file(&file), Err(MixError::Read(..))));
    std::fs::write(&file, r#"{"calls":[{"method":"ping"}]}"#).unwrap();
    assert_eq!(Mix::from_file(&file).unwrap().calls()[0].name(), "ping");
}
