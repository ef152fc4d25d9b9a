//! The parse against public corpora and against serde_json, a slower reader that shares no code with ours.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::json::{Kind, Node, Number, ParseError, Scratch, parse};

use super::LIMITS;

/// The corpora, or `None` after one line that says so. Their absence is a failure where CI sets `CI=true`.
#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
pub(crate) fn corpora(part: &str) -> Option<PathBuf> {
    let root = env::var_os("PORTCULLIS_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    let path = root.join(part);
    if path.exists() {
        return Some(path);
    }
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "corpus {part} is absent");
    println!("left out: corpus {part} is absent");
    None
}

/// What serde_json reads, rebuilt from our nodes.
fn rebuilt(node: Node<'_>) -> Value {
    match node.kind() {
        Kind::Array => Value::Array(node.elements().map(rebuilt).collect()),
        Kind::Bool => Value::Bool(node.as_bool().unwrap()),
        Kind::Null => Value::Null,
        Kind::Number => match node.as_number().unwrap() {
            Number::Integer(value) => value.into(),
            Number::Float(value) => value.into(),
        },
        Kind::Object => Value::Object(
            node.members()
                .map(|member| (member.key.to_owned(), rebuilt(member.value)))
                .collect(),
        ),
        Kind::String => Value::String(node.as_str().unwrap().to_owned()),
    }
}

/// Checks that every value, read alone from its raw bytes, is the same value: no second reading.
fn raw_agrees(node: Node<'_>) {
    let alone: Value = serde_json::from_str(node.raw()).unwrap();
    assert!(same(&alone, &rebuilt(node)), "{}", node.raw());
    node.elements().for_each(raw_agrees);
    node.members().for_each(|member| raw_agrees(member.value));
}

/// Equality that takes -0 for 0: serde_json reads the integer `-0` as a float.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| same(left, right)))
        }
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

/// We accept nothing that serde_json refuses, and read the same values.
pub(super) fn differential(text: &[u8], scratch: &mut Scratch) -> Result<(), ParseError> {
    let document = parse(text, scratch, LIMITS)?;
    let theirs: Value = serde_json::from_slice(text).unwrap_or_else(|error| {
        panic!(
            "accepted what serde_json refuses ({error}): {}",
            String::from_utf8_lossy(text)
        )
    });
    assert!(
        same(&rebuilt(document.root()), &theirs),
        "{}",
        String::from_utf8_lossy(text)
    );
    raw_agrees(document.root());
    Ok(())
}

#[test]
fn json_test_suite() {
    let Some(folder) = corpora("json/jsontestsuite/test_parsing") else {
        return;
    };
    // Valid by the grammar, ambiguous by our rules.
    let stricter = [
        ("y_object_duplicated_key.json", ParseError::KeyDuplicate),
        ("y_object_duplicated_key_and_value.json", ParseError::KeyDuplicate),
        ("y_object_escaped_null_in_key.json", ParseError::KeyNul),
        ("y_object_extreme_numbers.json", ParseError::NumberLossy),
        ("y_number.json", ParseError::NumberLossy),
        ("y_number_real_capital_e.json", ParseError::NumberLossy),
        ("y_number_real_exponent.json", ParseError::NumberLossy),
        ("y_number_real_fraction_exponent.json", ParseError::NumberLossy),
    ];
    let mut scratch = Scratch::default();
    let mut seen = [0_u32; 3];
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let verdict = differential(&fs::read(entry.path()).unwrap(), &mut scratch);
        match (name.as_bytes()[0], stricter.iter().find(|(known, _)| *known == name)) {
            (b'y', Some((_, expected))) => assert_eq!(verdict, Err(*expected), "{name}"),
            (b'y', None) => {
                assert_eq!(verdict, Ok(()), "{name}");
                seen[0] += 1;
            }
            (b'n', _) => {
                assert!(verdict.is_err(), "{name}");
                seen[1] += 1;
            }
            _ => seen[2] += 1,
        }
    }
    assert!(seen[0] > 80 && seen[1] > 180 && seen[2] > 30, "{seen:?}");
}

#[test]
fn bodies_that_real_parsers_disagree_on() {
    let Some(file) = corpora("json/differential.jsonl") else {
        return;
    };
    // Refused by the rules of JSON-RPC, which stand in `rpc`; as JSON they are well formed.
    let json_rpc = [
        "case-both",
        "case-Name",
        "batch",
        "batch-empty",
        "id-null",
        "id-float",
        "version",
        "method-num",
        "params-array",
        "result-and-method",
        "scalar",
    ];
    let mut scratch = Scratch::default();
    for line in fs::read_to_string(file).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (id, expect) = (case["id"].as_str().unwrap(), case["expect"].as_str().unwrap());
        let verdict = differential(&unhex(case["hex"].as_str().unwrap()), &mut scratch);
        let accepted = expect != "reject" || json_rpc.contains(&id);
        assert_eq!(verdict.is_ok(), accepted, "{id}: {verdict:?}");
    }
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|n| u8::from_str_radix(text.get(n..n + 2).unwrap(), 16).unwrap())
        .collect()
}

/// Mutates valid bodies with a fixed seed: whatever survives is read as serde_json reads it.
#[test]
fn mutations_read_as_serde_json_reads_them() {
    let seeds: [&str; 4] = [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\/b","arguments":{"q":"x\u0041é","n":[1,-2.5e3,true,null,{}]}}}"#,
        " [ \"\\ud83d\\ude00\" , { \"k\" : { \"k\" : [ [ ] , [ \"\" ] ] } } , 0.1 , -0 , 12345678901234 ] ",
        r#"{"":"","a":"\\\"","b":"\\\\","c\n":"\b\f\n\r\t","d":[[[[[["deep"]]]]]],"e":1e-7}"#,
        "\"0123456789012345678901234567890123456789012345678901234567890123\\n456789\"",
    ];
    let pieces: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"0",
        b"9",
        b"-",
        b".",
        b"e",
        b"\\u0061",
        b"\\ud800",
        b"\xc3",
        b"\xa9",
        b"\n",
        b"\0",
        b"null",
        b"\"a\":1,",
        b"1e5",
        "é".as_bytes(),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut scratch = Scratch::default();
    let mut accepted = 0_u32;
    for round in 0..60_000 {
        let mut text = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..=draw(3) {
            let at = draw(text.len() + 1);
            let until = (at + draw(3)).min(text.len());
            text.splice(at..until, pieces[draw(pieces.len())].iter().copied());
        }
        accepted += u32::from(differential(&text, &mut scratch).is_ok());
    }
    assert!(accepted > 3_000, "{accepted}");
}
