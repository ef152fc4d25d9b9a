//! Tests of policies on the interpreter: verdicts, cases, coverage, and what a panic leaves.

use super::*;

const POLICY: &str = "package crm

default allow := false

allow if {
    input.role == \"owner\"
    input.amount < data.limit
}

reason := \"large\" if input.amount >= data.limit
";

const TESTS: &str = "package crm_test

import data.crm

test_owner if crm.allow with input as {\"role\": \"owner\", \"amount\": 1}

test_other if not crm.allow with input as {\"role\": \"guest\", \"amount\": 1}

test_limit_from_data if crm.allow with input as {\"role\": \"owner\", \"amount\": 8} with data.limit as 9

test_wrong if crm.allow with input as {\"role\": \"guest\", \"amount\": 1}

test_false := false

test_cases[name] := holds if {
    some name, role in {\"good\": \"owner\", \"bad\": \"guest\"}
    holds := crm.allow with input as {\"role\": role, \"amount\": 1}
}

test_told if {
    print(\"role\", 1)
    crm.reason == \"large\" with input as {\"amount\": 3}
}

test_panics if strings.count(\"aa\", \"\") == 3

todo_test_later if false
";

fn trial() -> Trial {
    let file = |name: &str, text: &str| SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let source = PolicySource {
        modules: vec![file("crm.rego", POLICY), file("crm_test.rego", TESTS)],
        data: vec![file("data.json", r#"{"limit": 3, "tools": {"t": {"class": "read"}}}"#)],
        ..PolicySource::default()
    };
    Trial::load(source, Duration::from_secs(10)).unwrap()
}

fn run(trial: &mut Trial, name: &str) -> Tested {
    let tests = trial.tests().unwrap();
    let test = tests.iter().find(|test| test.path.ends_with(name)).unwrap();
    trial.run(test)
}

#[test]
fn tests_are_found_in_their_order() {
    let tests = trial().tests().unwrap();
    let names: Vec<&str> = tests.iter().map(|test| test.path.rsplit('.').next().unwrap()).collect();
    let expected = [
        "test_owner",
        "test_other",
        "test_limit_from_data",
        "test_wrong",
        "test_false",
        "test_cases",
        "test_told",
        "test_panics",
        "todo_test_later",
    ];
    assert_eq!(names, expected);
    assert_eq!((tests[0].file.as_str(), tests[0].line), ("crm_test.rego", 5));
    assert!(tests[8].is_todo && !tests[0].is_todo);
}

#[test]
fn each_verdict_has_its_test() {
    let mut trial = trial();
    for name in ["test_owner", "test_other", "test_limit_from_data", "test_told"] {
        assert_eq!(run(&mut trial, name).verdict, Verdict::Passed, "{name}");
    }
    for name in ["test_wrong", "test_false"] {
        assert_eq!(run(&mut trial, name).verdict, Verdict::Failed(vec![]), "{name}");
    }
    let cases = run(&mut trial, "test_cases").verdict;
    assert_eq!(cases, Verdict::Failed(vec!["\"bad\"".to_owned()]));
    assert_eq!(run(&mut trial, "todo_test_later").verdict, Verdict::Skipped);
    let told = run(&mut trial, "test_told").prints;
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("role 1"), "{told:?}");
}

#[test]
fn a_panic_ends_its_own_test_alone() {
    let mut trial = trial();
    assert_eq!(run(&mut trial, "test_owner").verdict, Verdict::Passed);
    let panicked = run(&mut trial, "test_panics").verdict;
    assert_eq!(panicked, Verdict::Errored("the evaluation panicked".to_owned()));
    assert_eq!(run(&mut trial, "test_owner").verdict, Verdict::Passed);
}

#[test]
fn coverage_names_the_lines_that_no_test_reached() {
    let mut trial = trial();
    run(&mut trial, "test_other");
    let reached = |trial: &Trial| {
        let files = trial.coverage().unwrap();
        files.into_iter().find(|file| file.file == "crm.rego").unwrap()
    };
    let first = reached(&trial);
    assert!(first.covered.contains(&6), "{first:?}");
    assert!(first.not_covered.contains(&7), "{first:?}");
    run(&mut trial, "test_owner");
    // What was reached stays known, also over a panic.
    run(&mut trial, "test_panics");
    run(&mut trial, "test_told");
    let last = reached(&trial);
    assert!(last.covered.contains(&7), "{last:?}");
    assert!(last.not_covered.is_empty(), "{last:?}");
}

#[test]
fn queries_answer_in_the_form_of_opa() {
    let mut trial = trial();
    let answer = trial
        .eval("data.crm.allow", Some(r#"{"role": "owner", "amount": 1}"#))
        .unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["result"][0]["expressions"][0]["value"], true, "{answer}");
    // Undefined is no result at all.
    assert_eq!(trial.eval("data.crm.reason", Some(r#"{"amount": 1}"#)).unwrap(), "{}");
    let wrong = trial.eval("data.crm.allow", Some("{\"a\": 1, \"a\": 2}")).unwrap_err();
    assert!(wrong.contains("an object has a key twice"), "{wrong}");
    let wrong = trial.eval("data.crm.allow ==", None).unwrap_err();
    assert!(!wrong.contains('\n') && !wrong.is_empty(), "{wrong}");
}
