use std::sync::Arc;

use super::*;

/// Each case passes on the bare virtual machine, without an error, where Rego finds a conflict.
#[test]
fn does_not_allow_what_the_machine_fails_open_on() {
    let cases = [
        "blocked := true if input.request.arguments.a\nblocked := false if input.request.arguments.b\nallow if not blocked",
        "blocked := false if input.request.arguments.b\nblocked := true if input.request.arguments.a\nallow if not blocked",
        "owner := x if some x in input.request.arguments.l\nallow if owner == \"y\"",
        "owner := x if { x := input.request.arguments.l[_] }\nallow if owner == \"y\"",
        "f(x) := 1 if x\nf(x) := 2 if x\nallow if not f(input.request.arguments.a)",
        "m[k] := v if { k := \"z\"; some v in input.request.arguments.l }\nallow if m.z == \"y\"",
        "m := {k: v | k := \"z\"; some v in input.request.arguments.l}\nallow if m.z == \"y\"",
        "a.b := 1 if input.request.arguments.a\na.b := 2 if input.request.arguments.b\nallow if not a.b == 2",
    ];
    for rules in cases {
        let source = allowing(rules);
        assert!(!Policy::compile(&source, 1).unwrap().confirmed().is_empty(), "{rules}");
        let outcome = decide(&source, r#"{"a": true, "b": true, "l": ["x", "y"]}"#);
        assert!(
            matches!(outcome, Err(PolicyFailure::Unconfirmed | PolicyFailure::Undefined)),
            "{rules}: {outcome:?}"
        );
    }
    // The same forms without a conflict are confirmed.
    for (rules, arguments) in [
        (cases[0], r#"{"b": true}"#),
        (cases[2], r#"{"l": ["y"]}"#),
        (cases[5], r#"{"l": ["y"]}"#),
        (cases[6], r#"{"l": ["y"]}"#),
    ] {
        assert!(
            decide(&allowing(rules), arguments).is_ok_and(|decision| decision.allows()),
            "{rules}"
        );
    }
}

#[test]
fn a_lost_obligation_is_not_an_allow() {
    let rules = "paths := [\"/a\"] if input.request.arguments.a\npaths := [\"/b\"] if input.request.arguments.b\n\
        redact := [{\"at\": p, \"action\": \"mask\"} | some p in paths]\n\
        decision := {\"allow\": true, \"rule\": \"r\", \"obligations\": {\"redact\": redact}}";
    assert_eq!(
        decide(&source(rules), r#"{"a": true, "b": true}"#),
        Err(PolicyFailure::Unconfirmed)
    );
    assert!(decide(&source(rules), r#"{"a": true}"#).is_ok_and(|decision| decision.obligations.redact.len() == 1));
}

#[test]
fn keeps_its_limits() {
    let slow =
        "allow if count([1 | some a in input.request.arguments.l; some b in input.request.arguments.l; a == b]) > 0";
    let list: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let arguments = format!("{{\"l\": [{}]}}", list.join(","));
    assert_eq!(decide(&allowing(slow), &arguments), Err(PolicyFailure::Instructions));
    assert!(decide(&allowing(slow), r#"{"l": [1, 2]}"#).is_ok());

    let policy = Policy::compile(&allowing("allow := true"), 1).unwrap();
    let mut worker = Worker::new(0);
    let limits = EvalLimits {
        deadline: Duration::from_millis(5),
        ..LIMITS
    };
    assert!(
        policy
            .decide(&call(), &mut worker, &limits, &Steps::of(5_000_000))
            .is_ok()
    );
    assert_eq!(
        policy.decide(&call(), &mut worker, &limits, &Steps::of(5_000_001)),
        Err(PolicyFailure::Deadline)
    );
    let none = EvalLimits {
        deadline: Duration::ZERO,
        ..LIMITS
    };
    let looping = Policy::compile(
        &allowing("allow if count([1 | some a in data.list; some b in data.list]) > 9"),
        1,
    )
    .unwrap();
    assert_eq!(
        looping.decide(&call(), &mut worker, &none, &Steps::of(0)),
        Err(PolicyFailure::Deadline)
    );
}

#[test]
fn survives_a_panic() {
    // `strings.count` of an empty text panics in regorus 0.14.1.
    let source = allowing("allow if strings.count(input.tenant, input.request.arguments.s) >= 0");
    let policy = Policy::compile(&source, 1).unwrap();
    let mut worker = Worker::new(0);
    for (text, expected) in [
        (r#"{"s": "a"}"#, Ok(())),
        (r#"{"s": ""}"#, Err(PolicyFailure::Panicked)),
        (r#"{"s": "a"}"#, Ok(())),
    ] {
        let mut scratch = json::Scratch::default();
        let limits = json::Limits { depth: 8, members: 8 };
        let document = json::parse(text.as_bytes(), &mut scratch, limits).unwrap();
        let mut input = call();
        input.request.arguments = Some(document.root());
        let outcome = policy.decide(&input, &mut worker, &LIMITS, &Steps::of(0));
        assert_eq!(outcome.map(|_| ()), expected, "{text}");
    }
}

#[test]
fn survives_the_deepest_chain_of_rules() {
    let chain = |length: usize| {
        let mut rules = "r0 := input.request.arguments.a\n".to_owned();
        for rule in 1..length {
            let before = rule - 1;
            rules += &format!("r{rule} := r{before}\n");
        }
        let last = length - 1;
        allowing(&format!("{rules}allow if r{last}"))
    };
    // Two rules stand above the chain: `allow` and `decision`.
    assert!(decide(&chain(62), r#"{"a": true}"#).is_ok_and(|decision| decision.allows()));
    let error = Policy::compile(&chain(63), 1).unwrap_err().to_string();
    assert!(error.contains("call others more than 64 deep"), "{error}");
}

#[test]
fn shows_tools_by_the_visible_rule_alone() {
    let visible = |rule: &str| {
        let source = source(&format!("{rule}\ndecision := {{\"allow\": false}}"));
        let policy = Policy::compile(&source, 1).unwrap();
        policy.visible(&call(), &mut Worker::new(0), &LIMITS, &Steps::of(0))
    };
    assert_eq!(visible(""), Ok(true));
    assert_eq!(visible("visible if input.request.tool == \"t.read\""), Ok(true));
    assert_eq!(visible("visible if input.request.tool == \"other\""), Ok(false));
    assert_eq!(visible("visible := \"true\""), Ok(false));
    assert_eq!(visible("visible := 1"), Ok(false));
    assert_eq!(
        visible("a := false if input.tenant\na := true if input.time\nvisible if not a"),
        Err(PolicyFailure::Unconfirmed)
    );
}

#[test]
fn a_worker_lets_go_of_policies_gone_by() {
    let mut worker = Worker::new(3);
    let first = Policy::compile(&allowing("allow := true"), 2).unwrap();
    let replica = Arc::clone(first.replica(&worker).unwrap());
    assert!(
        Arc::ptr_eq(&replica, &first.inner.replicas[1]),
        "worker 3 of 2 takes replica 1"
    );
    assert!(first.decide(&call(), &mut worker, &LIMITS, &Steps::of(0)).is_ok());
    assert_eq!(Arc::strong_count(&replica), 3);
    drop(first);
    let second = Policy::compile(&allowing("allow := input.tenant == \"acme\""), 2).unwrap();
    assert_eq!(Arc::strong_count(&replica), 2);
    // Ours keeps it alive once more; the third policy finds it held by the worker alone.
    drop(replica);
    assert!(second.decide(&call(), &mut worker, &LIMITS, &Steps::of(0)).is_ok());
    assert!(second.decide(&call(), &mut worker, &LIMITS, &Steps::of(0)).is_ok());
    assert_eq!(
        format!("{worker:?} {second:?}"),
        format!("Worker(3) Policy({})", second.revision())
    );
}

#[test]
fn judges_answers_by_the_other_entry_point() {
    let mut source = source("decision := {\"allow\": false}");
    source.modules[1].text = "package portcullis.response\n\ndefault decision := {\"allow\": false, \"rule\": \"d\"}\n\
        decision := {\"allow\": true, \"rule\": \"r\", \"reason\": input.record_id} if {\n\
        input.response.kind == \"result\"\nnot input.response.is_error\ninput.request_decision.rule == \"q\"\n\
        input.response.structured.a == 1\ninput.request.tool == \"t.read\" }\n"
        .to_owned();
    let policy = Policy::compile(&source, 1).unwrap();
    assert!(!policy.review_reads_arguments());
    let decision = Decision {
        effect: Effect::Allow,
        rule: "q".into(),
        reason: "".into(),
        obligations: Obligations::default(),
    };
    for (structured, is_error, effect) in [
        (r#"{"a": 1}"#, false, Effect::Allow),
        (r#"{"a": 1.0}"#, false, Effect::Allow),
        (r#"{"a": 2}"#, false, Effect::Deny),
        (r#"{"a": 1}"#, true, Effect::Deny),
    ] {
        let mut scratch = json::Scratch::default();
        let limits = json::Limits { depth: 8, members: 8 };
        let document = json::parse(structured.as_bytes(), &mut scratch, limits).unwrap();
        let input = ResponseInput {
            request: &call(),
            request_decision: &decision,
            record_id: "id",
            kind: "result",
            method: None,
            content: None,
            structured: Some(document.root()),
            is_error,
            status_message: None,
        };
        let outcome = policy
            .review(&input, &mut Worker::new(0), &LIMITS, &Steps::of(0))
            .unwrap();
        assert_eq!(outcome.effect, effect, "{structured}");
    }
}

/// The least budget that suffices for a question is found: with one instruction less it is refused, and so is a
/// question that is a little larger.
#[test]
fn the_budget_of_instructions_ends_where_it_says() {
    let policy = Policy::compile(
        &allowing("allow if count([1 | some a in input.request.arguments.l; a > 0]) > 0"),
        1,
    )
    .unwrap();
    let ask = |instructions: usize, arguments: &str| {
        let mut scratch = json::Scratch::default();
        let bounds = json::Limits { depth: 8, members: 100 };
        let document = json::parse(arguments.as_bytes(), &mut scratch, bounds).unwrap();
        let mut input = call();
        input.request.arguments = Some(document.root());
        let limits = EvalLimits { instructions, ..LIMITS };
        policy
            .decide(&input, &mut Worker::new(0), &limits, &Steps::of(0))
            .map(|_| ())
    };
    let (small, larger) = (r#"{"l": [1, 2, 3]}"#, r#"{"l": [1, 2, 3, 4]}"#);
    let (mut short, mut enough) = (1, LIMITS.instructions);
    while short + 1 < enough {
        let middle = usize::midpoint(short, enough);
        match ask(middle, small) {
            Ok(()) => enough = middle,
            Err(failure) => {
                assert_eq!(failure, PolicyFailure::Instructions);
                short = middle;
            }
        }
    }
    assert_eq!(ask(enough, small), Ok(()));
    assert_eq!(ask(enough - 1, small), Err(PolicyFailure::Instructions));
    assert_eq!(ask(enough, larger), Err(PolicyFailure::Instructions));
}
