//! The parse against public corpora and against serde_json, a slower reader that shares no code with ours.

use std::env;
use std::fs;
use std::io::{self, Write as _};
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

/// Says on standard output, which the test harness does not hold back, how many cases of a corpus were run.
pub(crate) fn ran(corpus: &str, what: std::fmt::Arguments<'_>) {
    writeln!(io::stdout(), "{corpus}: {what}").unwrap();
}

/// Valid by the grammar, refused by our rules.
const STRICTER: [(&str, ParseError); 8] = [
    ("y_object_duplicated_key.json", ParseError::KeyDuplicate),
    ("y_object_duplicated_key_and_value.json", ParseError::KeyDuplicate),
    ("y_object_escaped_null_in_key.json", ParseError::KeyNul),
    // The number rule: an integer, however it is written, beyond plus or minus 2^53 - 1.
    ("y_object_extreme_numbers.json", ParseError::NumberLossy),
    ("y_number.json", ParseError::NumberLossy),
    ("y_number_real_capital_e.json", ParseError::NumberLossy),
    ("y_number_real_exponent.json", ParseError::NumberLossy),
    ("y_number_real_fraction_exponent.json", ParseError::NumberLossy),
];

/// What the suite leaves to the implementation, and what ours does: each is a text that two readers may read in two
/// ways, so none passes.
const UNDEFINED: [(&str, ParseError); 35] = [
    // Rounded to zero by some readers, refused by others.
    ("i_number_double_huge_neg_exp.json", ParseError::NumberLossy),
    ("i_number_real_underflow.json", ParseError::NumberLossy),
    // Read as an infinity by some, which has no JSON form to be passed on in.
    ("i_number_huge_exp.json", ParseError::Malformed),
    ("i_number_neg_int_huge_exp.json", ParseError::Malformed),
    ("i_number_pos_double_huge_exp.json", ParseError::Malformed),
    ("i_number_real_neg_overflow.json", ParseError::Malformed),
    ("i_number_real_pos_overflow.json", ParseError::Malformed),
    // Integers beyond 64 bits: exact in Python, rounded in JavaScript, an error in Go.
    ("i_number_too_big_neg_int.json", ParseError::Malformed),
    ("i_number_too_big_pos_int.json", ParseError::Malformed),
    ("i_number_very_big_negative_int.json", ParseError::Malformed),
    // Escapes of half a pair: kept by Python and JavaScript, replaced by Go.
    ("i_object_key_lone_2nd_surrogate.json", ParseError::Malformed),
    ("i_string_1st_surrogate_but_2nd_missing.json", ParseError::Malformed),
    ("i_string_1st_valid_surrogate_2nd_invalid.json", ParseError::Malformed),
    (
        "i_string_incomplete_surrogate_and_escape_valid.json",
        ParseError::Malformed,
    ),
    ("i_string_incomplete_surrogate_pair.json", ParseError::Malformed),
    (
        "i_string_incomplete_surrogates_escape_valid.json",
        ParseError::Malformed,
    ),
    ("i_string_invalid_lonely_surrogate.json", ParseError::Malformed),
    ("i_string_invalid_surrogate.json", ParseError::Malformed),
    ("i_string_inverted_surrogates_U+1D11E.json", ParseError::Malformed),
    ("i_string_lone_second_surrogate.json", ParseError::Malformed),
    // Not UTF-8: replaced by some readers, guessed at by others (RFC 8259 section 8.1 demands UTF-8).
    ("i_string_UTF-16LE_with_BOM.json", ParseError::Malformed),
    ("i_string_UTF-8_invalid_sequence.json", ParseError::Malformed),
    ("i_string_UTF8_surrogate_U+D800.json", ParseError::Malformed),
    ("i_string_invalid_utf-8.json", ParseError::Malformed),
    ("i_string_iso_latin_1.json", ParseError::Malformed),
    ("i_string_lone_utf8_continuation_byte.json", ParseError::Malformed),
    ("i_string_not_in_unicode_range.json", ParseError::Malformed),
    ("i_string_overlong_sequence_2_bytes.json", ParseError::Malformed),
    ("i_string_overlong_sequence_6_bytes.json", ParseError::Malformed),
    ("i_string_overlong_sequence_6_bytes_null.json", ParseError::Malformed),
    ("i_string_truncated-utf-8.json", ParseError::Malformed),
    ("i_string_utf16BE_no_BOM.json", ParseError::Malformed),
    ("i_string_utf16LE_no_BOM.json", ParseError::Malformed),
    ("i_structure_UTF-8_BOM_empty_object.json", ParseError::Malformed),
    // Deeper than our limit, which some readers' stacks do not survive.
    ("i_structure_500_nested_arrays.json", ParseError::TooDeep),
];

/// Why a document that serde_json reads is refused all the same, told without our parser. A text that it does not read
/// has no such reason.
#[derive(Debug, Default)]
struct Faults {
    duplicate: bool,
    nul: bool,
    lossy: bool,
    depth: u32,
}

impl Faults {
    fn of(text: &[u8]) -> Option<Self> {
        let mut faults = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(text);
        serde::de::DeserializeSeed::deserialize(Walk(&mut faults, 0), &mut reader).ok()?;
        reader.end().ok()?;
        faults.lossy = numbers(text).any(|number| {
            let value: f64 = number.parse().unwrap();
            let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
            9_007_199_254_740_992.0 <= value.abs()
                || value == 0.0 && mantissa.contains(|digit: char| matches!(digit, '1'..='9'))
        });
        Some(faults)
    }

    /// Whether `refused` is what is wrong with it. An integer past 64 bits and a double past its range are malformed to
    /// simd-json, which cannot tell them.
    fn explain(&self, refused: ParseError) -> bool {
        match refused {
            ParseError::KeyDuplicate => self.duplicate,
            ParseError::KeyNul => self.nul,
            ParseError::Malformed | ParseError::NumberLossy => self.lossy,
            ParseError::TooDeep => LIMITS.depth < self.depth,
            ParseError::TooManyMembers => false,
        }
    }
}

/// The numbers of a well-formed text.
fn numbers(text: &[u8]) -> impl Iterator<Item = &str> {
    let text = str::from_utf8(text).unwrap();
    let (mut inside, mut escaped) = (false, false);
    text.split(move |letter: char| {
        if inside {
            inside = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            return true;
        }
        inside = letter == '"';
        !matches!(letter, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')
    })
    .filter(|part| part.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']))
}

/// serde_json's walk over a document, which finds what its values would not show.
struct Walk<'f>(&'f mut Faults, u32);

impl<'de> serde::de::DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let depth = self.1 + 1;
        self.0.depth = self.0.depth.max(depth);
        while list.next_element_seed(Walk(&mut *self.0, depth))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = self.1 + 1;
        self.0.depth = self.0.depth.max(depth);
        let mut seen = std::collections::BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            self.0.nul |= key.contains('\0');
            self.0.duplicate |= !seen.insert(key);
            map.next_value_seed(Walk(&mut *self.0, depth))?;
        }
        Ok(())
    }
}

#[test]
fn json_test_suite() {
    let Some(folder) = corpora("json/jsontestsuite/test_parsing") else {
        return;
    };
    let mut scratch = Scratch::default();
    let mut seen = [0_u32; 3];
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let text = fs::read(entry.path()).unwrap();
        let verdict = differential(&text, &mut scratch);
        let named = STRICTER.iter().chain(&UNDEFINED).find(|(known, _)| *known == name);
        let place = match (name.as_bytes()[0], named) {
            (b'n', None) => {
                assert!(verdict.is_err(), "{name}");
                1
            }
            (kind @ (b'y' | b'i'), Some((_, expected))) => {
                assert_eq!(verdict, Err(*expected), "{name}");
                usize::from(kind == b'i') * 2
            }
            // A case that this table does not know: refused only for what another reader finds in it as well.
            (b'y', None) => {
                let faults = Faults::of(&text);
                let explained = verdict.is_ok()
                    || faults.is_some_and(|faults| verdict.is_err_and(|refused| faults.explain(refused)));
                assert!(explained, "{name}: {verdict:?}");
                0
            }
            (b'i', None) => {
                ran(
                    "json_test_suite",
                    format_args!("no verdict is written for {name}: {verdict:?}"),
                );
                2
            }
            _ => panic!("{name} is of no kind that the suite has"),
        };
        seen[place] += 1;
    }
    let [valid, invalid, undefined] = seen;
    ran(
        "json_test_suite",
        format_args!("{valid} valid, {invalid} invalid and {undefined} undefined cases"),
    );
    assert!(0 < valid + invalid + undefined, "the folder holds no case");
}

/// The oracle of the test above is right about the cases whose verdict is written down.
#[test]
fn the_written_verdicts_have_their_reasons() {
    let Some(folder) = corpora("json/jsontestsuite/test_parsing") else {
        return;
    };
    for (name, refused) in STRICTER {
        let Ok(text) = fs::read(folder.join(name)) else {
            continue;
        };
        let faults = Faults::of(&text).unwrap();
        assert!(faults.explain(refused), "{name}: {faults:?}");
    }
    for (text, refused) in [
        (r#"{"a":1,"b":[{"\u0061":1}]}"#, ParseError::KeyDuplicate),
        (r#"{"a":"\u0000","b":1}"#, ParseError::KeyNul),
        (
            r#"{"a":"9007199254740993","b":9007199254740991}"#,
            ParseError::NumberLossy,
        ),
        (r#"{"a":"\"1e400","b":[1e3]}"#, ParseError::Malformed),
    ] {
        let faults = Faults::of(text.as_bytes()).unwrap();
        assert!(!faults.explain(refused), "{text}: {faults:?}");
    }
}

#[test]
fn texts_to_be_transformed() {
    let Some(folder) = corpora("json/jsontestsuite/test_transform") else {
        return;
    };
    let mut scratch = Scratch::default();
    let (mut accepted, mut refused) = (0_u32, 0_u32);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read(&path).unwrap();
        match differential(&text, &mut scratch) {
            Ok(()) => accepted += 1,
            Err(reason) => {
                let explained = Faults::of(&text).is_none_or(|faults| faults.explain(reason));
                assert!(explained, "{}: {reason:?}", path.display());
                refused += 1;
            }
        }
    }
    ran("test_transform", format_args!("{accepted} accepted, {refused} refused"));
}

/// Cases of `differential.jsonl` that the rules of JSON-RPC refuse, which stand in `rpc`; as JSON they are well formed.
/// What this list does not know is told apart by serde_json.
#[test]
fn bodies_that_real_parsers_disagree_on() {
    let Some(file) = corpora("json/differential.jsonl") else {
        return;
    };
    let mut scratch = Scratch::default();
    let mut seen = [0_u32; 2];
    for line in fs::read_to_string(file)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
    {
        let case: Value = serde_json::from_str(line).unwrap();
        let (id, expect) = (case["id"].as_str().unwrap(), case["expect"].as_str().unwrap());
        let body = unhex(case["hex"].as_str().unwrap());
        let verdict = differential(&body, &mut scratch);
        match verdict {
            Ok(()) => {}
            Err(refused) => {
                assert!(matches!(expect, "reject" | "accept-or-reject"), "{id}: {refused:?}");
                let explained = Faults::of(&body).is_none_or(|faults| faults.explain(refused));
                assert!(explained, "{id}: {refused:?}");
            }
        }
        seen[usize::from(verdict.is_err())] += 1;
    }
    let [accepted, refused] = seen;
    ran(
        "differential.jsonl as JSON",
        format_args!(
            "{} cases, {accepted} well formed, {refused} refused",
            accepted + refused
        ),
    );
    assert!(0 < accepted + refused, "the file holds no case");
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
