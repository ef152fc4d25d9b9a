//! Edits against a rebuild by hand: what is not changed stays byte for byte.

use crate::json::edits::SpanOutside;
use crate::json::{Edits, Scratch, parse, write_string};

use super::LIMITS;

fn spliced(text: &str, change: impl FnOnce(crate::json::Node<'_>, &mut Edits)) -> String {
    let mut scratch = Scratch::default();
    let document = parse(text.as_bytes(), &mut scratch, LIMITS).unwrap();
    let mut edits = Edits::default();
    change(document.root(), &mut edits);
    let mut out = Vec::new();
    edits.apply(text, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    parse(out.as_bytes(), &mut Scratch::default(), LIMITS).unwrap();
    out
}

#[test]
fn every_choice_of_elements_can_go() {
    let text = "[ 0 ,1,  \"two\" , {\"3\":[ ]},4 ]";
    for choice in 0..32_u32 {
        for reversed in [false, true] {
            let out = spliced(text, |root, edits| {
                let mut gone: Vec<_> = root
                    .elements()
                    .enumerate()
                    .filter(|(n, _)| choice >> n & 1 == 1)
                    .collect();
                if reversed {
                    gone.reverse();
                }
                for (_, element) in gone {
                    assert!(edits.remove_element(root, element));
                }
            });
            let seen: serde_json::Value = serde_json::from_str(&out).unwrap();
            let all: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
            let kept: Vec<_> = (0..5)
                .filter(|n| choice >> n & 1 == 0)
                .map(|n| all[n].clone())
                .collect();
            assert_eq!(seen, serde_json::Value::Array(kept), "{choice:05b} {out}");
        }
    }
}

#[test]
fn members_come_and_go() {
    let text = r#"{"a":1, "b" : {"c":[1,2]} ,"d":"x"}"#;
    let table: &[(&str, &[&str], &[&str])] = &[
        (r#"{"a":1, "b" : {"c":[1,2]} ,"d":"x"}"#, &[], &[]),
        (r#"{"b" : {"c":[1,2]} ,"d":"x"}"#, &["a"], &[]),
        (r#"{"a":1, "d":"x"}"#, &["b"], &[]),
        (r#"{"a":1, "b" : {"c":[1,2]}}"#, &["d"], &[]),
        (r#"{"d":"x"}"#, &["b", "a"], &[]),
        (r#"{}"#, &["d", "b", "a"], &[]),
        (r#"{"n":0,"a":1, "b" : {"c":[1,2]} ,"d":"x"}"#, &[], &["n"]),
        (r#"{"m":0,"n":0,"d":"x"}"#, &["a", "b"], &["n", "m"]),
        (r#"{"n":0}"#, &["a", "b", "d"], &["n"]),
        (r#"{"m":0,"n":0}"#, &["a", "b", "d"], &["n", "m"]),
    ];
    for (expected, gone, new) in table {
        let out = spliced(text, |root, edits| {
            for key in *gone {
                assert!(edits.remove_member(root, key));
            }
            for key in *new {
                edits.insert_member(root, key, "0");
            }
            assert!(!edits.remove_member(root, "absent"));
            assert_eq!(edits.len(), gone.len() + new.len());
        });
        assert_eq!(out, *expected);
    }
    let empty = spliced("{ }", |root, edits| edits.insert_member(root, "a\n", "[]"));
    assert_eq!(empty, r#"{"a\n":[] }"#);
    let other = spliced("[]", |root, edits| edits.insert_member(root, "a", "[]"));
    assert_eq!(other, "[]");
}

#[test]
fn the_outer_and_the_later_change_win() {
    let text = r#"{"a":{"b":"secret","c":"é"},"d":2}"#;
    let replaced = spliced(text, |root, edits| {
        let a = root.member("a").unwrap();
        edits.replace(a.member("b").unwrap().span(), "1");
        edits.replace_string(a.member("b").unwrap().span(), "m\"é\u{1}");
        edits.replace(root.member("d").unwrap().span(), "null");
    });
    assert_eq!(replaced, r#"{"a":{"b":"m\"é\u0001","c":"é"},"d":null}"#);
    let outer = spliced(text, |root, edits| {
        let a = root.member("a").unwrap();
        edits.replace_string(a.member("b").unwrap().span(), "seen?");
        assert!(edits.remove_member(a, "c"));
        assert!(edits.remove_member(root, "a"));
        assert!(edits.remove_member(root, "a"));
        edits.replace(a.span(), "0");
    });
    assert_eq!(outer, r#"{"d":2}"#);
    let mut out = b"before".to_vec();
    for span in [100..200, 24..25, 10..text.len() + 1] {
        let mut edits = Edits::default();
        edits.replace(0..text.len(), "{}");
        edits.replace(span, "astray");
        assert_eq!(edits.apply(text, &mut out), Err(SpanOutside));
        edits.clear();
        assert!(edits.is_empty());
    }
    assert_eq!(out, b"before");
}

#[test]
fn strings_read_back_the_same() {
    let all: String = (0..=0x2ff_u32)
        .chain([0x2028, 0xfffd, 0x1f600])
        .filter_map(char::from_u32)
        .collect();
    for value in ["", "plain", "\"", "\\", "é\n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}", &all] {
        let mut literal = Vec::new();
        write_string(&mut literal, value);
        let mut scratch = Scratch::default();
        assert_eq!(
            parse(&literal, &mut scratch, LIMITS).unwrap().root().as_str(),
            Some(value)
        );
        assert_eq!(serde_json::from_slice::<String>(&literal).unwrap(), value);
    }
}
