//! The strict parse: one table for each rule, each accepted text with refused neighbours.

use super::{Kind, Limits, Number, ParseError, Scratch, parse};

#[expect(
    clippy::disallowed_methods,
    reason = "the corpora are files, and the environment says where"
)]
pub(crate) mod corpus;
#[expect(
    clippy::disallowed_methods,
    reason = "the corpora are files, and the environment says which vector code is meant"
)]
mod golden;
mod splicing;

const LIMITS: Limits = Limits {
    depth: 64,
    members: 10_000,
};

fn verdict(text: &[u8]) -> Result<(), ParseError> {
    parse(text, &mut Scratch::default(), LIMITS).map(|_| ())
}

#[test]
fn one_document_only() {
    let table: &[(&[u8], Result<(), ParseError>)] = &[
        (b"{}", Ok(())),
        (b" \t\r\n{} \t\r\n", Ok(())),
        (b"\"text\"", Ok(())),
        (b"\"text\" ", Ok(())),
        (b"true", Ok(())),
        (b"0", Ok(())),
        (b" -0 ", Ok(())),
        (b"null", Ok(())),
        (b"[]", Ok(())),
        (b"[[],{}]", Ok(())),
        ("\"\u{fffe}\u{10ffff}é\"".as_bytes(), Ok(())),
        (br#""\ud83d\ude00\u0000""#, Ok(())),
        (b"", Err(ParseError::Malformed)),
        (b"  ", Err(ParseError::Malformed)),
        (b"{}{}", Err(ParseError::Malformed)),
        (b"{} x", Err(ParseError::Malformed)),
        (b"{}\0", Err(ParseError::Malformed)),
        (b"1 2", Err(ParseError::Malformed)),
        (b"1,2", Err(ParseError::Malformed)),
        (b"\"a\" \"b\"", Err(ParseError::Malformed)),
        (b"\xef\xbb\xbf{}", Err(ParseError::Malformed)),
        (b"\xff\xfe{\0}\0", Err(ParseError::Malformed)),
        (b"{\0}\0", Err(ParseError::Malformed)),
        (b"\"\xff\"", Err(ParseError::Malformed)),
        (b"\"\xc0\xaf\"", Err(ParseError::Malformed)),
        (b"\"\xed\xa0\x80\"", Err(ParseError::Malformed)),
        (br#""\ud800""#, Err(ParseError::Malformed)),
        (br#""\udc00""#, Err(ParseError::Malformed)),
        (br#""\ud800\ud800""#, Err(ParseError::Malformed)),
        (br#"{"\ud800":1}"#, Err(ParseError::Malformed)),
        (b"{\"a\0\":1}", Err(ParseError::Malformed)),
        (b"{\"\xff\":1}", Err(ParseError::Malformed)),
        (b"[]\xef\xbb\xbf", Err(ParseError::Malformed)),
        (b"\0{\0}", Err(ParseError::Malformed)),
        (b"\xfe\xff\0{\0}", Err(ParseError::Malformed)),
        (b"{}\n{}", Err(ParseError::Malformed)),
        (b"{}\x1e{}", Err(ParseError::Malformed)),
        (br#""\x""#, Err(ParseError::Malformed)),
        (b"\"\t\"", Err(ParseError::Malformed)),
        (b"\"open", Err(ParseError::Malformed)),
        (b"{\"a\":1,}", Err(ParseError::Malformed)),
        (b"{\"a\" 1}", Err(ParseError::Malformed)),
        (b"{a:1}", Err(ParseError::Malformed)),
        (b"[1 2]", Err(ParseError::Malformed)),
        (b"[1]]", Err(ParseError::Malformed)),
        (b"[1}", Err(ParseError::Malformed)),
        (b"[NaN]", Err(ParseError::Malformed)),
        (b"[-Infinity]", Err(ParseError::Malformed)),
        (b"[01]", Err(ParseError::Malformed)),
        (b"[truex]", Err(ParseError::Malformed)),
        (b"[1]/**/", Err(ParseError::Malformed)),
    ];
    for (text, expected) in table {
        assert_eq!(verdict(text), *expected, "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn keys_are_unique_and_hold_no_nul() {
    let wide = |last: &str| {
        let members: Vec<String> = (0..200).map(|n| format!("\"key_{n}\":{n}")).collect();
        format!("{{\"deep\":[{{{},\"{last}\":0}}]}}", members.join(","))
    };
    let table: &[(&str, Result<(), ParseError>)] = &[
        (r#"{"a":1,"b":1,"A":1,"":1," a":1}"#, Ok(())),
        (r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#, Ok(())),
        (r#"{"a":1,"a":1}"#, Err(ParseError::KeyDuplicate)),
        (r#"{"a":1,"b":{},"a":2}"#, Err(ParseError::KeyDuplicate)),
        (r#"{"a":1,"\u0061":1}"#, Err(ParseError::KeyDuplicate)),
        (r#"{"\u0061":1,"a":1}"#, Err(ParseError::KeyDuplicate)),
        (r#"{"/":1,"\/":1}"#, Err(ParseError::KeyDuplicate)),
        (r#"{"":1,"":1}"#, Err(ParseError::KeyDuplicate)),
        (
            r#"[[{"x":{"long key one":1,"long key one":1}}]]"#,
            Err(ParseError::KeyDuplicate),
        ),
        (r#"{"long key one":1,"long key two":1}"#, Ok(())),
        (r#"{"a":"\u0000"}"#, Ok(())),
        (r#"{"a\u0000":1}"#, Err(ParseError::KeyNul)),
        (r#"{"\u0000":1}"#, Err(ParseError::KeyNul)),
        (&wide("key_200"), Ok(())),
        (&wide("key_17"), Err(ParseError::KeyDuplicate)),
        (&wide("ke\\u0079_17"), Err(ParseError::KeyDuplicate)),
        (&wide("key_17\\u0000"), Err(ParseError::KeyNul)),
    ];
    for (text, expected) in table {
        assert_eq!(verdict(text.as_bytes()), *expected, "{text}");
    }
}

#[test]
fn numbers_keep_their_value() {
    let table: &[(&str, Result<Number, ParseError>)] = &[
        ("0", Ok(Number::Integer(0))),
        ("-0", Ok(Number::Integer(0))),
        ("9007199254740991", Ok(Number::Integer(9_007_199_254_740_991))),
        ("-9007199254740991", Ok(Number::Integer(-9_007_199_254_740_991))),
        ("9007199254740991.0", Ok(Number::Float(9_007_199_254_740_991.0))),
        ("1.0", Ok(Number::Float(1.0))),
        ("1e3", Ok(Number::Float(1000.0))),
        ("0e999999999999", Ok(Number::Float(0.0))),
        ("-0.000", Ok(Number::Float(-0.0))),
        ("2.5e-300", Ok(Number::Float(2.5e-300))),
        ("0.1e1", Ok(Number::Float(1.0))),
        ("10e-1", Ok(Number::Float(1.0))),
        ("-1E+3", Ok(Number::Float(-1000.0))),
        ("0.1", Ok(Number::Float(0.1))),
        ("9.007199254740991e15", Ok(Number::Float(9_007_199_254_740_991.0))),
        ("90071992547409910e-1", Ok(Number::Float(9_007_199_254_740_991.0))),
        ("0.9007199254740992e16", Err(ParseError::NumberLossy)),
        ("-90071992547409920e-1", Err(ParseError::NumberLossy)),
        ("9007199254740993.0", Err(ParseError::NumberLossy)),
        ("9007199254740991.6", Err(ParseError::NumberLossy)),
        ("9223372036854775807", Err(ParseError::NumberLossy)),
        ("1e-324", Err(ParseError::NumberLossy)),
        ("0.00000001E-999", Err(ParseError::NumberLossy)),
        ("1E400", Err(ParseError::Malformed)),
        ("-1e309", Err(ParseError::Malformed)),
        ("-9223372036854775809", Err(ParseError::Malformed)),
        ("9007199254740992", Err(ParseError::NumberLossy)),
        ("-9007199254740992", Err(ParseError::NumberLossy)),
        ("9007199254740992.0", Err(ParseError::NumberLossy)),
        ("9.007199254740993e15", Err(ParseError::NumberLossy)),
        ("18446744073709551615", Err(ParseError::NumberLossy)),
        ("-9223372036854775808", Err(ParseError::NumberLossy)),
        ("1e16", Err(ParseError::NumberLossy)),
        ("1E300", Err(ParseError::NumberLossy)),
        ("1e-400", Err(ParseError::NumberLossy)),
        ("-0.1e-400", Err(ParseError::NumberLossy)),
        ("1e400", Err(ParseError::Malformed)),
        ("18446744073709551616", Err(ParseError::Malformed)),
        ("123456789012345678901234567890", Err(ParseError::Malformed)),
        ("1.", Err(ParseError::Malformed)),
        (".5", Err(ParseError::Malformed)),
        ("+1", Err(ParseError::Malformed)),
        ("-", Err(ParseError::Malformed)),
        ("1e", Err(ParseError::Malformed)),
        ("0x1", Err(ParseError::Malformed)),
    ];
    for (text, expected) in table {
        for document in [format!("[{text}]"), format!("{{\"a\" : {text} }}"), format!("{text} ")] {
            let mut scratch = Scratch::default();
            let parsed = parse(document.as_bytes(), &mut scratch, LIMITS).map(|parsed| {
                let root = parsed.root();
                let node = root.elements().next().or_else(|| root.member("a")).unwrap_or(root);
                assert_eq!(node.raw(), *text);
                node.as_number().unwrap()
            });
            assert_eq!(parsed, *expected, "{document}");
        }
    }
}

#[test]
fn limits_are_inclusive() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let list = |len: usize| format!("[{}]", vec!["0"; len].join(","));
    let pairs = |len: usize| format!("[{}]", vec!["[0]"; len].join(","));
    let commas = |len: usize| format!("[\"{}\"]", ",\\\":".repeat(len));
    let table: &[(String, Result<(), ParseError>)] = &[
        (nested(64), Ok(())),
        (nested(65), Err(ParseError::TooDeep)),
        (objects(64), Ok(())),
        (objects(65), Err(ParseError::TooDeep)),
        (nested(100_000), Err(ParseError::TooManyMembers)),
        ("[".repeat(5_000), Err(ParseError::TooDeep)),
        (list(10_000), Ok(())),
        (list(10_001), Err(ParseError::TooManyMembers)),
        (pairs(5_000), Ok(())),
        (pairs(5_001), Err(ParseError::TooManyMembers)),
        (commas(100_000), Ok(())),
        (":".repeat(1 << 20), Err(ParseError::TooManyMembers)),
    ];
    let mut scratch = Scratch::default();
    for (text, expected) in table {
        let seen = parse(text.as_bytes(), &mut scratch, LIMITS).map(|_| ());
        assert_eq!(seen, *expected, "{} bytes {:.20}", text.len(), text);
    }
    let tighter = Limits { depth: 2, members: 2 };
    assert_eq!(parse(b"[[0]]", &mut scratch, tighter).map(|_| ()), Ok(()));
    assert_eq!(
        parse(b"[[[]]]", &mut scratch, tighter).map(|_| ()),
        Err(ParseError::TooDeep)
    );
    assert_eq!(
        parse(b"[[0,0]]", &mut scratch, tighter).map(|_| ()),
        Err(ParseError::TooManyMembers)
    );
    assert_eq!(
        parse(b"7", &mut scratch, Limits { depth: 0, members: 0 }).map(|_| ()),
        Ok(())
    );
    assert_eq!(
        parse(b"[]", &mut scratch, Limits { depth: 0, members: 0 }).map(|_| ()),
        Err(ParseError::TooDeep)
    );
}

#[test]
fn every_value_knows_its_bytes() {
    let text = " {\"a\" : [ 1 , \"x\\n\" ,true],\"\\u0062\":{ } , \"é\":\"plain é\",\"n\":null} ";
    let mut scratch = Scratch::default();
    let document = parse(text.as_bytes(), &mut scratch, LIMITS).unwrap();
    assert_eq!(document.text(), text);
    let root = document.root();
    assert_eq!((root.kind(), root.len(), root.raw()), (Kind::Object, 4, text.trim()));
    let seen: Vec<(&str, &str, &str)> = root
        .members()
        .map(|member| (member.key, text.get(member.key_span).unwrap(), member.value.raw()))
        .collect();
    let expected = [
        ("a", "\"a\"", "[ 1 , \"x\\n\" ,true]"),
        ("b", "\"\\u0062\"", "{ }"),
        ("é", "\"é\"", "\"plain é\""),
        ("n", "\"n\"", "null"),
    ];
    assert_eq!(seen, expected);
    let list: Vec<&str> = root.member("a").unwrap().elements().map(super::Node::raw).collect();
    assert_eq!(list, ["1", "\"x\\n\"", "true"]);
    let second = root.member("a").unwrap().elements().nth(1).unwrap();
    assert_eq!((second.as_str(), second.as_u64()), (Some("x\n"), None));
    let plain = root.member("é").unwrap().as_str().unwrap();
    assert_eq!(plain, "plain é");
    let inside = text.as_bytes().as_ptr_range();
    assert!(inside.contains(&plain.as_ptr()), "a plain string borrows the text");
    assert!(root.member("b").unwrap().len() == 0 && root.member("n").unwrap().is_null());
    assert!(root.member("c").is_none() && root.elements().next().is_none());
    assert!(second.members().next().is_none() && second.member("a").is_none());
    assert_eq!(
        format!("{document:?} {root:?}"),
        format!("Document({} bytes) Node(Object at 1..{})", text.len(), text.len() - 1)
    );
}

#[test]
fn a_scratch_serves_many_texts() {
    let mut scratch = Scratch::default();
    let large = format!("[\"{}\"]", "x".repeat(3 << 20));
    for _ in 0..3 {
        assert!(parse(b"{\"a\":\"\\n\"}", &mut scratch, LIMITS).is_ok());
        assert!(parse(b"{\"a\":", &mut scratch, LIMITS).is_err());
        assert!(parse(large.as_bytes(), &mut scratch, LIMITS).is_ok());
        let document = parse(b"[\"\\t\",2]", &mut scratch, LIMITS).unwrap();
        assert_eq!(document.root().elements().next().unwrap().as_str(), Some("\t"));
        assert!(scratch.copy.capacity() <= super::RETAINED_BYTES_MAX);
    }
}
