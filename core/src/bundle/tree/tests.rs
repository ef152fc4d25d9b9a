//! Trees from JSON and YAML.

use super::*;

#[test]
fn yaml_and_json_of_one_meaning_are_one_tree() {
    let yaml = "a: 1\nb:\n  - true\n  - null\n  - text\n  - -2.5\nc: {}\n\"1\": x\n";
    let json = r#"{"a": 1, "b": [true, null, "text", -2.5], "c": {}, "1": "x"}"#;
    assert_eq!(Tree::of_yaml(yaml.as_bytes()), Tree::of_json(json.as_bytes()));
}

#[test]
fn yaml_that_is_no_json_or_means_two_things_is_refused() {
    for text in [
        "a: on\n",
        "No: 1\n",
        "a: .nan\n",
        "a: .inf\n",
        "a: 1\na: 2\n",
        "a: [\n",
        "a: &x {b: 1}\nc:\n  <<: *x\n",
    ] {
        assert!(Tree::of_yaml(text.as_bytes()).is_err(), "{text}");
    }
    assert!(Tree::of_yaml(&[0xff]).is_err());
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    assert!(Tree::of_yaml(deep.as_bytes()).is_err());
    assert!(Tree::of_json(deep.as_bytes()).is_err());
    // Ten levels of tenfold references.
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert!(Tree::of_yaml(bomb.as_bytes()).is_err());
}
