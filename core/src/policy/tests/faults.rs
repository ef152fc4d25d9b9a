//! The faults that a policy can bring, by their rows in the list of faults: each denies, and the next call is fine.

use super::*;

/// Decides one call after the other with one worker.
fn decide_all(source: &PolicySource, arguments: &[&str]) -> Vec<Result<bool, PolicyFailure>> {
    let policy = Policy::compile(source, 1).unwrap();
    let mut worker = Worker::new(0);
    let limits = json::Limits {
        depth: 32,
        members: 10_000,
    };
    let decided = arguments.iter().map(|text| {
        let mut scratch = json::Scratch::default();
        let document = json::parse(text.as_bytes(), &mut scratch, limits).unwrap();
        let mut input = call();
        input.request.arguments = Some(document.root());
        let outcome = policy.decide(&input, &mut worker, &LIMITS, &Steps::of(0));
        outcome.map(|decision| decision.allows())
    });
    decided.collect()
}

/// `{"l": [0, 1, ..]}`
fn numbers(count: usize) -> String {
    let numbers: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    format!("{{\"l\": [{}], \"s\": \"\"}}", numbers.join(","))
}

#[test]
fn b3_a_panic_denies_and_the_next_call_is_fine() {
    // `regex.template_match` panics in regorus 0.14.1 when the text ends before the literal part of its template.
    let matches = "regex.template_match(\"urn:{[a-z]+}\", input.request.arguments.s, \"{\", \"}\")";
    for rules in [
        format!("allow if {matches}"),
        format!("allow if {{ input.tenant; not not_a_urn }}\nnot_a_urn if not {matches}"),
    ] {
        let decided = decide_all(
            &allowing(&rules),
            &[
                r#"{"s": "urn:a"}"#,
                r#"{"s": "u"}"#,
                r#"{"s": "urn:b"}"#,
                r#"{"s": "urx:b"}"#,
            ],
        );
        assert_eq!(
            decided[..3],
            [Ok(true), Err(PolicyFailure::Panicked), Ok(true)],
            "{rules}"
        );
        assert!(!matches!(decided[3], Ok(true)), "{rules}");
    }
}

#[test]
fn b4_a_loop_ends_at_its_limits_and_the_next_call_is_fine() {
    let many = numbers(300);
    for rules in [
        "allow if { some a in input.request.arguments.l; some b in input.request.arguments.l; a + b == -1 }",
        "allow if { l := input.request.arguments.l; every a in l { every b in l { every c in l { a + b + c >= 0 } } } }",
        "allow if { l := input.request.arguments.l; count([1 | l[i]; l[j]; l[k]; i + j + k < 0]) == 0 }",
        "allow if { l := input.request.arguments.l; not count({[a, b, c] | some a in l; some b in l; some c in l}) == 0 }",
    ] {
        let decided = decide_all(&allowing(rules), &[&many, &numbers(3), &many]);
        assert_eq!(decided[0], Err(PolicyFailure::Instructions), "{rules}");
        assert_ne!(decided[1], Err(PolicyFailure::Instructions), "{rules}");
        assert_eq!(decided[2], Err(PolicyFailure::Instructions), "{rules}");
    }
    // A pattern that would grow beyond all bounds is none: no match, whichever way it is asked.
    let bomb = r#"{"s": "((a{1000}){1000}){1000}"}"#;
    let asked = "regex.match(input.request.arguments.s, \"aaa\")";
    let decided = decide_all(&allowing(&format!("allow if {asked}")), &[bomb, r#"{"s": "^a+$"}"#]);
    assert!(!matches!(decided[0], Ok(true)) && decided[1] == Ok(true), "{decided:?}");
}

#[test]
fn b5_a_rule_that_fills_memory_is_refused_at_load_or_ends_at_its_limits() {
    for call in [
        "numbers.range(1, input.time)",
        "numbers.range_step(1, input.time, 1)",
        "net.cidr_expand(\"10.0.0.0/8\")",
        "graph.reachable_paths(input.request.arguments, [\"a\"])",
        "sprintf(input.tenant, [1])",
        "bits.lsh(1, input.time)",
        "units.parse_bytes(\"1e999999\")",
        "replace(input.tenant, \"a\", input.tenant)",
        "concat(input.tenant, [\"a\", \"b\"])",
    ] {
        let refused = Policy::compile(&allowing(&format!("allow if count([{call}]) > 0")), 1);
        let PolicyError(finding) = refused.expect_err(call);
        assert_eq!(
            (finding.file.as_str(), finding.line),
            ("request.rego", 3),
            "{call}: {finding}"
        );
    }
    let many = numbers(400);
    for rules in [
        "allow if { l := input.request.arguments.l; count([[a, b, c] | some a in l; some b in l; some c in l]) > 0 }",
        "pairs[k] := [a, b] if { some a in input.request.arguments.l; some b in input.request.arguments.l; k := [a, b] }\n\
         allow if count(pairs) > 0",
        "pairs contains [a, b] if { some a in input.request.arguments.l; some b in input.request.arguments.l }\n\
         allow if count(pairs) > 0",
    ] {
        let decided = decide_all(&allowing(rules), &[&many, &numbers(2)]);
        assert_eq!(decided, [Err(PolicyFailure::Instructions), Ok(true)], "{rules}");
    }
}

#[test]
fn b6_whatever_is_not_an_explicit_true_denies() {
    let decision = |allow: &str| format!("decision := {{\"allow\": {allow}, \"rule\": \"r\", \"reason\": \"\"}}");
    for rules in [
        decision("input.request.pramas.s"),
        decision("input.request.arguments.missing"),
        decision("null"),
        decision("\"true\""),
        decision("1"),
        decision("[]"),
        decision("{true}"),
        decision("{\"allow\": true}"),
        decision("1 / 0"),
        decision("to_number(\"x\")"),
        decision("input.request.arguments.s"),
        "decision := true".to_owned(),
        "decision := \"allow\"".to_owned(),
        "decision := input".to_owned(),
        format!(
            "{} if input.tenant\n{} if input.time",
            decision("true"),
            decision("false")
        ),
        format!("{} if input.tenant == \"umbrella\"", decision("true")),
    ] {
        let outcome = decide(&source(&rules), r#"{"s": "true"}"#);
        assert!(
            !outcome.as_ref().is_ok_and(|decision| decision.allows()),
            "{rules}: {outcome:?}"
        );
    }
    assert!(decide(&source(&decision("true")), "{}").is_ok_and(|decision| decision.allows()));
}

/// The policies of two revisions in turn, as workers meet them when snapshots are swapped under load.
#[test]
fn b7_each_call_is_judged_by_one_whole_revision() {
    let rules = "decision := {\"allow\": data.a == data.b, \"rule\": sprintf(\"%v-%v\", [data.a, data.b])}";
    let revision = |number: usize| {
        let mut source = source(rules);
        source.data[0].text = format!("{{\"a\": {number}, \"b\": {number}}}");
        source
    };
    let mut policy = Policy::compile(&revision(0), 2).unwrap();
    let mut workers = [Worker::new(0), Worker::new(1)];
    for number in 1..200 {
        let mut broken = revision(number);
        broken.data[0].text.truncate(10);
        assert!(policy.with_data(&broken).is_err());
        let next = policy.with_data(&revision(number)).unwrap();
        for (held, expected) in [(&policy, number - 1), (&next, number), (&policy, number - 1)] {
            for worker in &mut workers {
                let decision = held.decide(&call(), worker, &LIMITS, &Steps::of(0)).unwrap();
                assert_eq!(
                    (decision.allows(), &*decision.rule),
                    (true, &*format!("{expected}-{expected}"))
                );
            }
        }
        policy = next;
    }
}
