//! Other data under the same rules: what is compiled stays, and nothing of the data before does.

use super::*;

const ISSUER: &str = "https://issuer.example";

fn over(rules: &str, data: &str) -> PolicySource {
    let mut source = allowing(rules);
    source.data[0].text = data.to_owned();
    source
}

fn allows(policy: &Policy) -> bool {
    policy
        .decide(&call(), &mut Worker::new(1), &LIMITS, &Steps::of(0))
        .is_ok_and(|decision| decision.allows())
}

#[test]
fn new_data_rules_under_the_same_program() {
    let rules = "allow if input.subject.id in data.people";
    let row = format!(r#"{{"acme": {{"{ISSUER}": {{"alice": {{"groups": [], "roles": []}}}}}}}}"#);
    let with = over(rules, &format!(r#"{{"people": ["alice"], "subjects": {row}}}"#));
    let without = over(rules, r#"{"people": []}"#);
    let first = Policy::compile(&without, 2).unwrap();
    let second = first.with_data(&with).unwrap();
    assert_eq!((allows(&first), allows(&second)), (false, true));
    for (before, after) in first.inner.replicas.iter().zip(&second.inner.replicas) {
        assert!(Arc::ptr_eq(&before.program, &after.program));
    }
    assert_eq!(second.inner.replicas.len(), 2);
    assert_eq!(second.revision(), Policy::compile(&with, 1).unwrap().revision());
    assert_ne!(second.revision(), first.revision());
    assert!(first.directory().subject("acme", ISSUER, "alice").is_none());
    assert!(second.directory().subject("acme", ISSUER, "alice").is_some());
    let third = second.with_data(&without).unwrap();
    assert_eq!((allows(&third), third.revision()), (false, first.revision()));
}

#[test]
fn the_interpreter_confirms_over_the_new_data() {
    let rules = "owner := x if some x in data.owners\nallow if owner == input.subject.id";
    let one = over(rules, r#"{"owners": ["alice"]}"#);
    let two = over(rules, r#"{"owners": ["bob", "alice"]}"#);
    let first = Policy::compile(&one, 1).unwrap();
    assert!(!first.confirmed().is_empty());
    let second = first.with_data(&two).unwrap();
    let third = second.with_data(&one).unwrap();
    assert_eq!((allows(&first), allows(&second), allows(&third)), (true, false, true));
    assert_eq!(second.confirmed(), first.confirmed());
}

#[test]
fn data_that_a_policy_may_not_have_is_refused_here_too() {
    let rules = "allow if input.subject.id in data.people";
    let policy = Policy::compile(&over(rules, r#"{"people": ["alice"]}"#), 1).unwrap();
    for (data, expected) in [
        (r#"{"people": [}"#, "data.json:1:13: "),
        (r#"{"people": [], "people": []}"#, "an object has a key twice"),
        (r#"{"tools": {}}"#, "`tools` is a table of the configuration"),
        (r#"{"portcullis": {"request": {"allow": true}}}"#, "onflict"),
        ("[]", "the data is not an object"),
    ] {
        let PolicyError(finding) = policy.with_data(&over(rules, data)).unwrap_err();
        assert!(finding.to_string().contains(expected), "{data}: {finding}");
    }
    assert!(allows(&policy));
}

#[test]
fn other_modules_are_compiled() {
    let policy = Policy::compile(&over("allow if data.people", r#"{"people": true}"#), 2).unwrap();
    let other = policy
        .with_data(&over("allow if not data.people", r#"{"people": true}"#))
        .unwrap();
    assert_eq!((allows(&policy), allows(&other)), (true, false));
    assert_eq!(other.inner.replicas.len(), 2);
    assert!(policy.with_data(&over("allow if y", "{}")).is_err());
    // The name of a module is part of what diagnostics and revisions say.
    let mut renamed = over("allow if data.people", r#"{"people": true}"#);
    renamed.modules[0].name = "other.rego".to_owned();
    assert_ne!(policy.with_data(&renamed).unwrap().revision(), policy.revision());
}
