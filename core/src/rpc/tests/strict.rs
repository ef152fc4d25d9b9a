//! What two readers may read in two ways never becomes a call: one body a clause, beside one that passes.

use crate::denial::DenyReason;

use super::reading;

fn refusal(body: &[u8]) -> Option<DenyReason> {
    reading(&[], body, |call| call.err().map(|denial| denial.reason))
}

/// A call with this text in place of an argument's value.
fn with(value: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","arguments":{{"v":{value}}}}}}}"#)
        .into_bytes()
}

/// The same as whole bytes with something around it.
fn around(before: &[u8], after: &[u8]) -> Vec<u8> {
    [before, &with("1"), after].concat()
}

#[test]
fn a_body_with_two_readings_is_no_call() {
    let malformed = Some(DenyReason::JsonMalformed);
    let ambiguous = Some(DenyReason::JsonAmbiguous);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let list = |len: usize| format!("[{}]", vec!["0"; len].join(","));
    let utf16: Vec<u8> = String::from_utf8(with("1"))
        .unwrap()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let table: &[(&str, Vec<u8>, Option<DenyReason>)] = &[
        ("plain", with("1"), None),
        ("white space around", around(b" \t\r\n", b" \n"), None),
        ("two documents", around(b"", &with("1")), malformed),
        ("two lines", around(b"", b"\n{}"), malformed),
        ("a byte behind", around(b"", b"x"), malformed),
        ("a NUL behind", around(b"", b"\0"), malformed),
        ("a byte order mark", around(b"\xef\xbb\xbf", b""), malformed),
        ("UTF-16", utf16.clone(), malformed),
        (
            "UTF-16 with its mark",
            [b"\xff\xfe".to_vec(), utf16].concat(),
            malformed,
        ),
        (
            "invalid UTF-8",
            [b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}".as_slice()].concat(),
            malformed,
        ),
        (
            "overlong UTF-8",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pin\xc1\xa7\"}".to_vec(),
            malformed,
        ),
        (
            "a surrogate in UTF-8",
            b"{\"jsonrpc\":\"2.0\",\"id\":\"\xed\xa0\x80\",\"method\":\"ping\"}".to_vec(),
            malformed,
        ),
        ("a pair of surrogates", with(r#""\ud83d\ude00""#), None),
        ("half a pair", with(r#""\ud83d""#), malformed),
        ("a pair the other way", with(r#""\ude00\ud83d""#), malformed),
        ("half a pair in a key", with(r#"{"\ud83d":1}"#), malformed),
        ("a NUL in a value", with(r#""\u0000""#), None),
        ("a NUL in a key", with(r#"{"a\u0000":1}"#), malformed),
        ("a NUL as a byte", with("\"\0\""), malformed),
        ("the same key in two objects", with(r#"{"a":{"a":1}}"#), None),
        ("a key twice, deep", with(r#"[[{"b":{"a":1,"a":1}}]]"#), ambiguous),
        ("a key twice, escaped", with(r#"{"a":1,"\u0061":1}"#), ambiguous),
        ("a key twice, both escaped", with(r#"{"\/":1,"\u002f":1}"#), ambiguous),
        (
            "the largest integer",
            with("[9007199254740991,-9007199254740991]"),
            None,
        ),
        ("one more", with("9007199254740992"), ambiguous),
        ("one less", with("-9007199254740992"), ambiguous),
        ("with a fraction of zero", with("9007199254740992.0"), ambiguous),
        ("with an exponent", with("9.007199254740992e15"), ambiguous),
        ("with a long mantissa", with("90071992547409920e-1"), ambiguous),
        ("past 64 bits", with("123456789012345678901234567890"), malformed),
        ("other decimals", with("[1.0,1e3,-0,0.1e1,10e-1,0.1,2.5e-300]"), None),
        ("overflow", with("1E400"), malformed),
        ("overflow below", with("-1e309"), malformed),
        ("underflow", with("1e-400"), ambiguous),
        ("underflow below", with("-0.1e-400"), ambiguous),
        ("not a number", with("NaN"), malformed),
        ("infinite", with("-Infinity"), malformed),
        // Three objects are around it.
        ("as deep as may be", with(&nested(61)), None),
        ("deeper", with(&nested(62)), malformed),
        ("deep past all stacks", "[".repeat(100_000).into_bytes(), malformed),
        // Seven members are around it.
        ("as many as may be", with(&list(9_993)), None),
        ("more", with(&list(9_994)), malformed),
    ];
    for (name, body, expected) in table {
        assert_eq!(refusal(body), *expected, "{name}");
    }
}

/// Two forms of one id would be two calls to one reader and one to another.
#[test]
fn ids_are_strings_or_whole_numbers_of_one_form() {
    let id = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    for good in ["0", "1", "-7", "9007199254740991", r#""""#, r#""1.5""#, r#""null""#] {
        assert_eq!(refusal(id(good).as_bytes()), None, "{good}");
    }
    for bad in ["1.5", "1.0", "1e3", "0.1e1", "-0", "-0.0", "null", "true", "[1]", "{}"] {
        assert_eq!(refusal(id(bad).as_bytes()), Some(DenyReason::RpcInvalid), "{bad}");
    }
    for lossy in ["9007199254740992", "-9007199254740993", "1e16", "1e-400"] {
        assert_eq!(
            refusal(id(lossy).as_bytes()),
            Some(DenyReason::JsonAmbiguous),
            "{lossy}"
        );
    }
}
