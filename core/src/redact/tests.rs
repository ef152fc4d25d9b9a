use super::*;
use crate::policy::Pointer;

const LIMITS: json::Limits = json::Limits {
    depth: 16,
    members: 1_000,
};

/// Redactions written as `action pointer`.
fn redactions(texts: &[&str]) -> Vec<Redaction> {
    let one = |text: &&str| {
        let (action, at) = text.split_once(' ').unwrap();
        Redaction {
            at: Pointer::parse(at).unwrap(),
            action: match action {
                "mask" => Action::Mask,
                "drop" => Action::Drop,
                "tag" => Action::Tag,
                "withhold" => Action::Withhold,
                other => panic!("{other}"),
            },
        }
    };
    texts.iter().map(one).collect()
}

/// `result` after `redactions`, or why it is withheld.
fn redacted(result: &str, asked: &[&str]) -> Result<(String, usize), Withhold> {
    let mut outer = json::Scratch::default();
    let document = json::parse(result.as_bytes(), &mut outer, LIMITS).unwrap();
    let mut edits = Edits::default();
    let mut scratch = Scratch::default();
    let applied = apply_result(document.root(), &redactions(asked), LIMITS, &mut scratch, &mut edits)?;
    let mut out = Vec::new();
    edits.apply(document.text(), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    json::parse(out.as_bytes(), &mut json::Scratch::default(), LIMITS).unwrap();
    Ok((out, applied.redactions))
}

/// Compares the structured content after `redactions`.
fn check(structured: &str, asked: &[&str], expected: &str, count: usize) {
    let result = |inner: &str| format!("{{\"structuredContent\": {inner} ,\"isError\":false}}");
    let outcome = redacted(&result(structured), asked);
    assert_eq!(outcome, Ok((result(expected), count)), "{structured} {asked:?}");
    // The same, within a text.
    let text = |inner: &str| {
        let mut out = b"{ \"content\" : [ {\"type\":\"text\",\"text\":".to_vec();
        json::write_string(&mut out, inner);
        out.extend_from_slice(b"} ] }");
        String::from_utf8(out).unwrap()
    };
    let outcome = redacted(&text(structured), asked);
    assert_eq!(outcome, Ok((text(expected), count)), "{structured} {asked:?}");
}

#[test]
fn changes_what_pointers_lead_to_and_nothing_else() {
    let cases: &[(&str, &[&str], &str, usize)] = &[
        (
            r#"{"a": 1, "b" : [2 ]}"#,
            &["mask /a"],
            r#"{"a": "***", "b" : [2 ]}"#,
            1,
        ),
        (r#"{"a": {"x": 1}}"#, &["tag /a"], r#"{"a": "[redacted]"}"#, 1),
        (r#"{"a": 1, "b": 2}"#, &["drop /a"], r#"{"b": 2}"#, 1),
        (r#"{"a": 1, "b": 2}"#, &["drop /b"], r#"{"a": 1}"#, 1),
        (r#"{"a": 1}"#, &["drop /a"], r#"{}"#, 1),
        (r#"{"a": 1}"#, &["mask /b", "drop /a/b", "mask /*/0"], r#"{"a": 1}"#, 0),
        (r#"[1, 2, 3]"#, &["drop /1"], r#"[1, 3]"#, 1),
        (r#"[1, 2, 3]"#, &["drop /0", "drop /1", "mask /2"], r#"["***"]"#, 3),
        (r#"[1, 2, 3]"#, &["drop /0", "mask /1"], r#"["***", 3]"#, 2),
        (r#"[1, 2, 3]"#, &["mask /1", "drop /2"], r#"[1, "***"]"#, 2),
        (r#"[1, 2]"#, &["mask /01", "mask /-", "mask /2"], r#"[1, 2]"#, 0),
        (r#"[1, 2]"#, &["drop /*"], r#"[]"#, 2),
        (
            r#"{"l": [{"e": "x", "k": 1}, {"e": "y"}, {"k": "e"}, 7]}"#,
            &["mask /l/*/e"],
            r#"{"l": [{"e": "***", "k": 1}, {"e": "***"}, {"k": "e"}, 7]}"#,
            2,
        ),
        (
            r#"{"a": {"x": 1}, "b": {"x": 2}}"#,
            &["mask /*/x"],
            r#"{"a": {"x": "***"}, "b": {"x": "***"}}"#,
            2,
        ),
        (
            r#"{"a/b": 1, "~": 2}"#,
            &["mask /a~1b", "drop /~0"],
            r#"{"a/b": "***"}"#,
            2,
        ),
        (r#"{"\u0061": 1}"#, &["mask /a"], r#"{"\u0061": "***"}"#, 1),
        (r#"{"A": 1, "a ": 2}"#, &["mask /a"], r#"{"A": 1, "a ": 2}"#, 0),
        (
            r#"{"a": "\"quoted\" \\ ü \n"}"#,
            &["mask /b"],
            r#"{"a": "\"quoted\" \\ ü \n"}"#,
            0,
        ),
        (
            r#"{"s": "\"q\" ü", "a": 1}"#,
            &["mask /a"],
            r#"{"s": "\"q\" ü", "a": "***"}"#,
            1,
        ),
    ];
    for (structured, asked, expected, count) in cases {
        check(structured, asked, expected, *count);
    }
}

#[test]
fn the_stronger_and_the_outer_change_win() {
    for asked in [["mask /a", "drop /a"], ["drop /a", "mask /a"], ["drop /a", "tag /a"]] {
        check(r#"{"a": 1, "b": 2}"#, &asked, r#"{"b": 2}"#, 2);
        check(r#"{"a": 1}"#, &asked, "{}", 2);
    }
    for asked in [["mask /a", "tag /a"], ["tag /a", "mask /a"]] {
        check(r#"{"a": 1}"#, &asked, r#"{"a": "***"}"#, 2);
    }
    for asked in [
        ["mask /a", "drop /a/x"],
        ["drop /a/x", "mask /a"],
        ["mask /a", "mask /a/x"],
    ] {
        check(r#"{"a": {"x": 1, "y": 2}}"#, &asked, r#"{"a": "***"}"#, 2);
    }
    check(r#"[1, 2]"#, &["drop /0", "mask /0", "mask /1"], r#"["***"]"#, 3);
    check(r#"[1]"#, &["mask /0", "drop /0"], "[]", 2);
}

#[test]
fn takes_out_whole_documents() {
    let result = r#"{"content":[{"type":"text","text":"[1]"}],"structuredContent":[1],"isError":false}"#;
    let gone = r#"{"content":[],"isError":false}"#;
    assert_eq!(redacted(result, &["drop "]), Ok((gone.to_owned(), 2)));
    let masked = r#"{"content":[{"type":"text","text":"\"***\""}],"structuredContent":"***","isError":false}"#;
    assert_eq!(redacted(result, &["mask "]), Ok((masked.to_owned(), 2)));
}

#[test]
fn withholds_what_it_cannot_look_into() {
    let item = |item: &str| format!("{{\"content\":[{{\"type\":\"text\",\"text\":\"[]\"}},{item}]}}");
    for (result, reason) in [
        (item(r#"{"type":"text","text":"not JSON"}"#), Withhold::NotJson),
        (item(r#"{"type":"text","text":""}"#), Withhold::NotJson),
        (item(r#"{"type":"text","text":"{\"a\":1,\"a\":2}"}"#), Withhold::NotJson),
        (
            item(r#"{"type":"image","data":"AA==","mimeType":"image/png"}"#),
            Withhold::ContentKind,
        ),
        (
            item(r#"{"type":"resource","resource":{"uri":"a:b","text":"1"}}"#),
            Withhold::ContentKind,
        ),
        (item(r#"{"text":"1"}"#), Withhold::ContentKind),
        (item(r#"{"type":"text"}"#), Withhold::Shape),
        (item(r#"{"type":"text","text":1}"#), Withhold::Shape),
        (item(r#"{"type":"text","text":"1","more":1}"#), Withhold::Shape),
        (
            item(r#"{"type":"text","text":"{}","annotations":{"note":"x"}}"#),
            Withhold::Shape,
        ),
        (item(r#"{"type":"text","text":"{}","annotations":[]}"#), Withhold::Shape),
        (
            item(r#"{"type":"text","text":"{}","annotations":{"audience":["acc-1001"]}}"#),
            Withhold::Shape,
        ),
        (
            item(r#"{"type":"text","text":"{}","annotations":{"audience":"user"}}"#),
            Withhold::Shape,
        ),
        (
            item(r#"{"type":"text","text":"{}","annotations":{"lastModified":"when acc-1001 was closed"}}"#),
            Withhold::Shape,
        ),
        (
            item(r#"{"type":"text","text":"{}","annotations":{"lastModified":20260101}}"#),
            Withhold::Shape,
        ),
        (
            item(r#"{"type":"text","text":"{}","annotations":{"priority":1001}}"#),
            Withhold::Shape,
        ),
        (
            item(r#"{"type":"text","text":"{}","annotations":{"priority":"high"}}"#),
            Withhold::Shape,
        ),
        (r#"{"content":[],"isError":"acc-1001"}"#.to_owned(), Withhold::Shape),
        (r#"{"content":[],"resultType":"acc-1001"}"#.to_owned(), Withhold::Shape),
        (item("1"), Withhold::ContentKind),
        (r#"{"content":{}}"#.to_owned(), Withhold::Shape),
        (r#"{"content":[],"other":1}"#.to_owned(), Withhold::Shape),
        (r#"{"structured_content":1}"#.to_owned(), Withhold::Shape),
        ("[]".to_owned(), Withhold::Shape),
    ] {
        assert_eq!(redacted(&result, &["mask /a"]), Err(reason), "{result}");
        assert_eq!(
            redacted(&result, &[]),
            Ok((result.clone(), 0)),
            "without obligations everything passes"
        );
    }
    for empty in ["{}", r#"{"content":[]}"#, r#"{"isError":true}"#] {
        assert_eq!(redacted(empty, &["mask /a"]), Ok((empty.to_owned(), 0)));
    }
    let result = r#"{"structuredContent":{"a":1}}"#;
    assert_eq!(redacted(result, &["mask /a", "withhold /a"]), Err(Withhold::Obligation));
    assert!(redacted(result, &["mask /a", "withhold /b"]).is_ok());
}

#[test]
fn withholds_a_text_where_a_pointer_goes_on() {
    let structured = |inner: &str| format!("{{\"structuredContent\":{inner}}}");
    for (inner, asked) in [
        (r#""plain""#, "mask /a"),
        (r#""{\"a\":1}""#, "mask /a"),
        ("4111111111111111", "drop /a"),
        (r#""plain""#, "mask /*"),
        (r#"{"a":"plain"}"#, "mask /a/b"),
        (r#"["plain"]"#, "mask /0/b"),
        (r#"{"l":[{"b":1},{"b":"plain"}]}"#, "drop /l/*/b/c"),
        (r#"{"l":["{\"b\":1}"]}"#, "mask /l/*/b"),
        (r#"{"l":{"x":" [1]"}}"#, "mask /l/*/b"),
    ] {
        assert_eq!(
            redacted(&structured(inner), &[asked]),
            Err(Withhold::NotJson),
            "{inner} {asked}"
        );
    }
    for (inner, asked) in [
        ("true", "mask /a"),
        ("null", "mask /*/a"),
        (r#"{"a":7}"#, "mask /a/b"),
        (r#"{"b":"plain"}"#, "mask /a/b"),
        (r#"["plain"]"#, "mask /1/b"),
        (r#"{"l":["plain",{"c":1}]}"#, "mask /l/*/b"),
    ] {
        let same = structured(inner);
        assert_eq!(redacted(&same, &[asked]), Ok((same.clone(), 0)), "{inner} {asked}");
    }
    for whole in [r#""plain""#, "4111111111111111"] {
        assert_eq!(
            redacted(&structured(whole), &["mask "]),
            Ok((structured(r#""***""#), 1))
        );
    }
}

#[test]
fn both_forms_of_an_answer_are_reached_or_none() {
    let both = |text: &str, structured: &str| {
        let mut out = b"{\"content\":[{\"type\":\"text\",\"text\":".to_vec();
        json::write_string(&mut out, text);
        out.extend_from_slice(format!("}}],\"structuredContent\":{structured}}}").as_bytes());
        String::from_utf8(out).unwrap()
    };
    // How SDKs wrap what is no object; a policy for it names both places.
    let (inner, wrapped) = (r#"{"a":1}"#, r#"{"result":[{"a":1}]}"#);
    assert_eq!(redacted(&both(inner, wrapped), &["mask /a"]), Err(Withhold::Forms));
    assert_eq!(redacted(&both(wrapped, inner), &["mask /a"]), Err(Withhold::Forms));
    assert_eq!(
        redacted(&both(inner, r#"{"result":"{\"a\":1}"}"#), &["mask /a"]),
        Err(Withhold::Forms)
    );
    assert_eq!(
        redacted(&both(inner, wrapped), &["mask /a", "mask /result/*/a"]),
        Ok((both(r#"{"a":"***"}"#, r#"{"result":[{"a":"***"}]}"#), 2))
    );
    assert_eq!(
        redacted(&both(inner, inner), &["drop /a", "drop /b"]),
        Ok((both("{}", "{}"), 2))
    );
    assert_eq!(redacted(&both(inner, inner), &["drop /b"]), Ok((both(inner, inner), 0)));
    let empty = r#"{"content":[],"structuredContent":{"a":1}}"#;
    let masked = r#"{"content":[],"structuredContent":{"a":"***"}}"#;
    assert_eq!(redacted(empty, &["mask /a"]), Ok((masked.to_owned(), 1)));
}

#[test]
fn takes_out_metadata() {
    let result = r#"{"_meta":{"secret":1},"content":[{"type":"text","text":"{}","_meta":{}}],"isError":false}"#;
    let clean = r#"{"content":[{"type":"text","text":"{}"}],"isError":false}"#;
    assert_eq!(redacted(result, &["mask /a"]), Ok((clean.to_owned(), 0)));
}

#[test]
fn filters_lists_of_tools() {
    let list = r#"{"tools":[ {"name":"a"} , {"name":"b","x":[1]}, {"name":"c"}],"nextCursor":"n"}"#;
    let filtered = |list: &str, ttl: Option<u64>, wanted: &[&str]| {
        let mut scratch = json::Scratch::default();
        let document = json::parse(list.as_bytes(), &mut scratch, LIMITS).unwrap();
        let mut edits = Edits::default();
        let filtered = filter_list(
            document.root(),
            Listed::Tools,
            ttl,
            |name, _| wanted.contains(&name),
            &mut edits,
        )?;
        let mut out = Vec::new();
        edits.apply(document.text(), &mut out).unwrap();
        Ok((String::from_utf8(out).unwrap(), filtered.kept, filtered.dropped))
    };
    assert_eq!(filtered(list, None, &["a", "b", "c"]), Ok((list.to_owned(), 3, 0)));
    let only_b = r#"{"tools":[ {"name":"b","x":[1]}],"nextCursor":"n"}"#;
    assert_eq!(filtered(list, None, &["b", "B"]), Ok((only_b.to_owned(), 1, 2)));
    let none = r#"{"tools":[ ],"nextCursor":"n"}"#;
    assert_eq!(filtered(list, None, &[]), Ok((none.to_owned(), 0, 3)));
    for (tail, expected) in [
        (
            r#""cacheScope":"public","ttlMs":9000"#,
            r#""cacheScope":"private","ttlMs":5000"#,
        ),
        (
            r#""cacheScope":"private","ttlMs":10"#,
            r#""cacheScope":"private","ttlMs":10"#,
        ),
        (
            r#""cacheScope":"private","ttlMs":-1"#,
            r#""cacheScope":"private","ttlMs":0"#,
        ),
        (
            r#""cacheScope":null,"ttlMs":"9""#,
            r#""cacheScope":"private","ttlMs":0"#,
        ),
    ] {
        let outcome = filtered(&format!("{{\"tools\":[],{tail}}}"), Some(5_000), &[]);
        assert_eq!(outcome, Ok((format!("{{\"tools\":[],{expected}}}"), 0, 0)));
    }
    let (added, ..) = filtered(r#"{"tools":[]}"#, Some(5_000), &[]).unwrap();
    assert!(
        added.contains(r#""cacheScope":"private""#) && added.contains(r#""ttlMs":0"#),
        "{added}"
    );
    for wrong in [
        r#"{}"#,
        r#"[]"#,
        r#"{"tools":{}}"#,
        r#"{"tools":[{}]}"#,
        r#"{"tools":["a"]}"#,
        r#"{"tools":[{"name":1}]}"#,
    ] {
        assert_eq!(filtered(wrong, None, &["a"]), Err(Withhold::Shape), "{wrong}");
    }
}

#[test]
fn annotations_without_words_stay() {
    for annotations in [
        "{}",
        r#"{"audience":["user","assistant"],"priority":0.5,"lastModified":"2026-11-23T20:00:00Z"}"#,
        r#"{"audience":[],"priority":1}"#,
    ] {
        let result = format!(
            r#"{{"content":[{{"type":"text","text":"{{}}","annotations":{annotations}}}],"isError":false,"resultType":"complete"}}"#
        );
        assert_eq!(redacted(&result, &["mask /a"]), Ok((result.clone(), 0)));
    }
}

#[test]
fn a_time_has_no_room_for_words() {
    for text in [
        "2026-11-23",
        "2026-11-23T20:00:00",
        "2026-11-23T20:00:00Z",
        "2026-11-23T20:00:00.123456789+01:00",
        "2026-11-23T20:00:00-08:00",
    ] {
        assert!(is_time(text), "{text}");
    }
    for text in [
        "",
        "T",
        "yesterday",
        "2026-11-23 of acc-1001",
        "2026-11-23T",
        "2026-11-23T20:00:00Z of acc-1001",
        "2026-11-23T20:00:00.Z",
        "2026-11-23T20:00:00.1234567890Z",
        "2026-11-23T20:00:00+acc",
        "2026-11-23T20:00:00ZZ",
        "acc-1001T20:00:00Z",
        "2026-1\u{0661}-23",
    ] {
        assert!(!is_time(text), "{text}");
    }
}
