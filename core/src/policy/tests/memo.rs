//! The memo against the machine: the same answer always, whatever was asked before.

use super::*;

/// What a policy may look at, and how.
const CONDITIONS: &[&str] = &[
    "input.request.arguments.a == 1",
    "input.request.arguments.a",
    "not input.request.arguments.a",
    "input.request.arguments.a.k == 1",
    "not input.request.arguments.b.k",
    "input.request.arguments.a == input.request.arguments.b",
    "some x in input.request.arguments.b; x == 1",
    "every e in input.request.arguments.b { e != 1 }",
    "count(input.request.arguments) == 1",
    "not input.request.arguments",
    "1 in input.request.arguments.b",
    "count({z | some z in input.request.arguments.b}) == 1",
    "input.request.arguments[input.request.prompt]",
    "object.get(input, [\"request\", \"arguments\", \"a\"], null) == null",
    "object.get(input.request, \"arguments\", {}) == {}",
    "a := input.request.arguments; a.b == \"1\"",
    "is_one(input.request.arguments.a)",
    "type_name(input.request.arguments.a) == \"number\"",
    "input.actor",
    "not input.actor",
    "not input.actor.id",
    "input.actor.claims.level == 2",
    "object.get(input, [\"actor\", \"scopes\"], input.subject.scopes) == [\"read\"]",
    "\"sales\" in input.subject.groups",
    "not input.subject.groups",
    "input.subject.groups == []",
    "count(input.subject.groups) == 2",
    "input.subject.claims.level > 1",
    "not input.subject.claims.level",
    "input.subject.id == input.request.arguments.a",
    "input.tool.class == \"read\"",
    "not input.tool",
    "input.request.id_type == \"number\"",
    "input.request.input_responses.answer",
    "input.auth.time > 999",
    "input.auth == {\"amr\": []}",
    "net.cidr_contains(\"127.0.0.0/8\", input.connection.ip)",
    "input.connection.client_cert_sha256",
    "data.list[input.request.arguments.a]",
    "data.tools[input.request.tool]",
    "row == 3",
];

/// What a policy may tell of what it saw: so much that one bit of difference shows.
const REASONS: &[&str] = &[
    "\"\"",
    "json.marshal(input.request.arguments)",
    "json.marshal(object.get(input, [\"request\", \"arguments\", \"a\"], \"absent\"))",
    "sprintf(\"%v\", [input.request.arguments.a])",
    "json.marshal({y | some y in input.request.arguments.b})",
    "json.marshal(input.subject)",
    "json.marshal(object.get(input, \"actor\", \"absent\"))",
    "concat(\",\", input.subject.groups)",
    "json.marshal([input.auth, input.client, input.server, input.connection])",
    "json.marshal(object.get(input, \"tool\", \"absent\"))",
];

/// Every part of a call's input.
const PATHS: &[&str] = &[
    "tenant",
    "request.protocol",
    "request.method",
    "request.tool",
    "request.arguments",
    "request.prompt",
    "request.resource_uri",
    "request.input_responses",
    "request.id_type",
    "tool",
    "tool.class",
    "tool.required_scopes",
    "subject.id",
    "subject.issuer",
    "subject.kind",
    "subject.groups",
    "subject.roles",
    "subject.scopes",
    "subject.claims",
    "actor",
    "actor.id",
    "actor.issuer",
    "actor.kind",
    "actor.groups",
    "actor.roles",
    "actor.scopes",
    "actor.claims",
    "client.id",
    "auth.acr",
    "auth.amr",
    "auth.time",
    "server.name",
    "server.resource",
    "connection.ip",
    "connection.client_cert_sha256",
];

const VALUES: &[&str] = &[
    "1",
    "1.0",
    "1e0",
    "10e-1",
    "-0.0",
    "0",
    "\"1\"",
    "\"\"",
    "null",
    "false",
    "true",
    "[]",
    "[[]]",
    "{}",
    "[1]",
    "[1, 1]",
    "[1, \"1\"]",
    "[\"1,1\"]",
    "[\"a\", \"b\"]",
    "[\"a\\u0000b\"]",
    "{\"k\": 1}",
    "{\"k\": 1, \"j\": [2, {}]}",
    "{\"j\": [2, {}], \"k\": 1}",
    "{\"k\": null}",
];

const TEXTS: &[&[&str]] = &[
    &[],
    &["sales"],
    &["sa", "les"],
    &["sales", ""],
    &["", "sales"],
    &["les", "sa"],
];
const NAMES: &[&str] = &["alice", "a", "b", "", "1", "alic\u{e9}"];
const CLAIMS: &[Option<&str>] = &[
    None,
    Some("{}"),
    Some(r#"{"level": 2}"#),
    Some(r#"{"level": 2.0}"#),
    Some(r#"{"level": "2", "jti": "x"}"#),
    Some(r#"{"level": null, "jti": "y"}"#),
    Some("{broken"),
];

/// A small generator of numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn maybe<T>(&mut self, value: T) -> Option<T> {
        (self.below(2) == 0).then_some(value)
    }
}

/// A policy of several conditions, sometimes with a rule that the interpreter must confirm.
fn random_source(dice: &mut Dice) -> PolicySource {
    let mut decision = String::from("decision := ");
    for case in 0..3 {
        if 0 < case {
            decision.push_str(" else := ");
        }
        let (allow, obligations) = match dice.below(3) {
            0 => (true, r#"{"redact": [{"at": "/a", "action": "mask"}]}"#),
            1 => (true, "{}"),
            _ => (false, r#"{"authenticate": {"max_age": 60}}"#),
        };
        let reason = dice.of(REASONS);
        // Two different ones: the names that they give would collide.
        let first = dice.below(CONDITIONS.len());
        let second = (first + 1 + dice.below(CONDITIONS.len() - 1)) % CONDITIONS.len();
        decision.push_str(&format!(
            r#"{{"allow": {allow}, "rule": "r{case}", "reason": reason, "obligations": {obligations}}} if {{ {}; {}; reason := {reason} }}"#,
            CONDITIONS[first],
            CONDITIONS[second],
        ));
    }
    let visible = format!("visible if {{ {} }}", dice.of(CONDITIONS));
    let row = match dice.below(2) {
        0 => "row := data.limit",
        _ => "row := data.limit if input.request.tool\nrow := 4 if input.actor",
    };
    source(&format!("is_one(x) if x == 1\n{row}\n{visible}\n{decision}"))
}

/// Asks `memoised` and `plain` about many inputs; the first on which they differ.
fn difference(memoised: &Policy, plain: &Policy, dice: &mut Dice, rounds: usize) -> Option<String> {
    let (mut one, mut other) = (Worker::new(0), Worker::new(0));
    let limits = json::Limits {
        depth: 32,
        members: 1_000,
    };
    for round in 0..rounds {
        let mut members = Vec::new();
        for name in ["a", "b"] {
            let value = dice.of(VALUES);
            members.extend(dice.maybe(format!("\"{name}\": {value}")));
        }
        if dice.below(2) == 0 {
            members.reverse();
        }
        let arguments = format!("{{{}}}", members.join(","));
        let (mut arguments_scratch, mut answer_scratch) = (json::Scratch::default(), json::Scratch::default());
        let parsed = json::parse(arguments.as_bytes(), &mut arguments_scratch, limits).unwrap();
        let answer = dice.of(VALUES);
        let answer = json::parse(answer.as_bytes(), &mut answer_scratch, limits).unwrap();
        let mut varied = call();
        vary(&mut varied, dice);
        let mut input: RequestInput<'_> = varied;
        input.request.arguments = dice.maybe(parsed.root());
        input.request.answer = dice.maybe(answer.root());
        input.time = UnixTime::from_secs(u64::try_from(round).unwrap());
        for _ in 0..2 {
            let (ticks, told) = (Steps::of(0), format!("{input:?} with {arguments}"));
            let decided = memoised.decide(&input, &mut one, &LIMITS, &ticks);
            let expected = plain.decide(&input, &mut other, &LIMITS, &ticks);
            if decided != expected {
                return Some(format!("{told}: {decided:?} in place of {expected:?}"));
            }
            let shown = memoised.visible(&input, &mut one, &LIMITS, &ticks);
            let expected = plain.visible(&input, &mut other, &LIMITS, &ticks);
            if shown != expected {
                return Some(format!("{told}: {shown:?} in place of {expected:?}"));
            }
        }
    }
    None
}

/// Changes a few things, so that most inputs have much in common.
fn vary(input: &mut RequestInput<'static>, dice: &mut Dice) {
    for _ in 0..dice.below(4) {
        let (name, texts) = (dice.of(NAMES), Texts::Strs(dice.of(TEXTS)));
        let named = dice.maybe(name);
        match dice.below(18) {
            0 => input.tenant = name,
            1 => input.request.protocol = name,
            2 => input.request.method = name,
            3 => input.request.tool = named,
            4 => input.request.prompt = named,
            5 => input.request.resource_uri = named,
            6 => input.request.id_type = named,
            7 => {
                input.tool = dice.maybe(Tool {
                    class: named,
                    required_scopes: texts,
                });
            }
            8..=10 => vary_party(&mut input.subject, dice),
            11..=13 => {
                let mut actor = input.subject;
                vary_party(&mut actor, dice);
                input.actor = dice.maybe(actor);
            }
            14 => input.client_id = named,
            15 => {
                input.auth = Auth {
                    acr: named,
                    amr: texts,
                    time: dice.of(&[None, Some(UnixTime::from_secs(1)), Some(UnixTime::from_secs(2))]),
                };
            }
            16 => {
                input.server = Server {
                    name,
                    resource: dice.of(NAMES),
                };
            }
            _ => {
                input.connection = Connection {
                    ip: dice
                        .of(&["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
                        .parse()
                        .unwrap(),
                    client_cert_sha256: dice.of(&[None, Some(&[1; 32]), Some(&[2; 32])]),
                };
            }
        }
    }
}

fn vary_party(party: &mut Party<'static>, dice: &mut Dice) {
    let (name, texts) = (dice.of(NAMES), Texts::Strs(dice.of(TEXTS)));
    match dice.below(7) {
        0 => party.id = name,
        1 => party.issuer = name,
        2 => party.kind = name,
        3 => party.groups = dice.maybe(texts),
        4 => party.roles = dice.maybe(texts),
        5 => party.scopes = texts,
        _ => party.claims = dice.of(CLAIMS),
    }
}

/// A policy that answers with what stands at `path`.
fn echo(path: &str) -> PolicySource {
    let steps: Vec<String> = path.split('.').map(|step| format!("\"{step}\"")).collect();
    source(&format!(
        "decision := {{\"allow\": false, \"rule\": \"r\", \"reason\": json.marshal(object.get(input, [{}], \"absent\"))}}",
        steps.join(", ")
    ))
}

#[test]
fn answers_as_the_machine_does() {
    let (mut counts, mut dice) = (MemoCounts::default(), Dice(7));
    for number in 0..80 {
        let source = random_source(&mut dice);
        let memoised = Policy::compile(&source, 1).unwrap_or_else(|error| panic!("{error}: {source:?}"));
        let plain = Policy::compile(&source, 1).unwrap().with_memo_entries(0);
        // Small enough that answers are pushed out.
        let memoised = memoised.with_memo_entries(64);
        if let Some(difference) = difference(&memoised, &plain, &mut dice, 80) {
            panic!("policy {number}: {difference}: {}", source.modules[0].text);
        }
        let counted = memoised.memo_counts();
        counts.hits += counted.hits;
        counts.misses += counted.misses;
        counts.bypassed += counted.bypassed;
        assert_eq!(plain.memo_counts().hits + plain.memo_counts().misses, 0);
    }
    assert!(
        2_500 < counts.hits && 3_000 < counts.misses && 0 < counts.bypassed,
        "{counts:?}"
    );
}

#[test]
fn shows_each_part_and_would_miss_it() {
    for path in PATHS {
        let plain = Policy::compile(&echo(path), 1).unwrap().with_memo_entries(0);
        let mut memoised = Policy::compile(&echo(path), 1).unwrap();
        assert_eq!(difference(&memoised, &plain, &mut Dice(3), 250), None, "{path}");
        assert!(0 < memoised.memo_counts().hits, "{path}");
        // The fault: a key that forgets it.
        let parts = memoised.inner.request.key.as_ref().unwrap().len();
        for part in 0..parts {
            let inner = Arc::get_mut(&mut memoised.inner).unwrap();
            let whole = inner.request.key.as_ref().unwrap();
            let faulty = whole.without(part);
            let whole = std::mem::replace(&mut inner.request.key, Ok(faulty));
            // That there is a tool or an actor shows in its members too, or is not asked.
            let told_twice = part == 0 && (path.starts_with("tool") || path.starts_with("actor"));
            let found = difference(&memoised, &plain, &mut Dice(3), 250);
            assert!(found.is_some() || told_twice, "{path} without {part}");
            Arc::get_mut(&mut memoised.inner).unwrap().request.key = whole;
        }
    }
}

#[test]
fn says_which_questions_it_cannot_remember() {
    for (condition, reason) in [
        ("input.tenant == \"acme\"", None),
        ("input.auth.time > 1", None),
        ("count(input.request) == 1", None),
        ("some part in input.subject; part", None),
        ("input.actor.claims.a.b", None),
        ("input.tenant.deeper", None),
        (
            "input.time > 1",
            Some("it reads `input.time`, which hardly ever is the same twice"),
        ),
        (
            "x := input.time; x",
            Some("it reads `input.time`, which hardly ever is the same twice"),
        ),
        (
            "late",
            Some("it reads `input.time`, which hardly ever is the same twice"),
        ),
        ("count(input) == 1", Some("it reads the whole of `input`")),
        ("input[input.tenant]", Some("it reads the whole of `input`")),
        ("some part in input; part", Some("it reads the whole of `input`")),
        ("whole(input)", Some("it reads the whole of `input`")),
        (
            "object.get(input, [input.tenant], 1) == 1",
            Some("it reads the whole of `input`"),
        ),
        (
            "input.request.nothing",
            Some("it reads `input.request.nothing`, which no input of it has"),
        ),
        (
            "input.response",
            Some("it reads `input.response`, which no input of it has"),
        ),
        (
            "input.record_id",
            Some("it reads `input.record_id`, which hardly ever is the same twice"),
        ),
    ] {
        let rules = format!("late if input.time > 1\nwhole(x) if x.tenant\nallow if {{ {condition} }}");
        let policy = Policy::compile(&allowing(&rules), 1).unwrap();
        let expected = reason.map(|reason| {
            format!("request.rego:6:1: no answer of `data.portcullis.request.decision` is remembered: {reason}")
        });
        let found = policy.unmemoised().map(ToString::to_string).next();
        assert_eq!(found, expected, "{condition}");
        let mut worker = Worker::new(0);
        for _ in 0..3 {
            let _ = policy.decide(&call(), &mut worker, &LIMITS, &Steps::of(0));
        }
        let counts = policy.memo_counts();
        assert_eq!(counts.bypassed == 3, reason.is_some(), "{condition}: {counts:?}");
    }
}

#[test]
fn remembers_one_decision_and_copies_none() {
    let policy = Policy::compile(&allowing("allow if input.tenant == \"acme\""), 1).unwrap();
    let mut worker = Worker::new(0);
    let mut ask = || policy.decide(&call(), &mut worker, &LIMITS, &Steps::of(0)).unwrap();
    let first = ask();
    assert!(Arc::ptr_eq(&first, &ask()));
    let expected = MemoCounts {
        bypassed: 0,
        hits: 1,
        misses: 1,
    };
    assert_eq!(policy.memo_counts(), expected);
}

/// Lists ask about every tool that there is: a quick refusal would tell one that is hidden from one that there is not.
#[test]
fn never_remembers_that_something_is_hidden() {
    let rules = "visible if input.request.tool == \"t.read\"\ndecision := {\"allow\": false}";
    let policy = Policy::compile(&source(rules), 1).unwrap();
    let mut worker = Worker::new(0);
    let mut ask = |tool: &'static str, anew: bool| {
        let mut input = call();
        input.request.tool = Some(tool);
        let ticks = Steps::of(0);
        let shown = match anew {
            true => policy.visible_anew(&input, &mut worker, &LIMITS, &ticks),
            false => policy.visible(&input, &mut worker, &LIMITS, &ticks),
        };
        let counts = policy.memo_counts();
        (shown.unwrap(), counts.hits, counts.misses)
    };
    assert_eq!(ask("t.read", false), (true, 0, 1));
    assert_eq!(ask("t.read", false), (true, 1, 1));
    assert_eq!(ask("hidden", false), (false, 1, 2));
    assert_eq!(ask("hidden", false), (false, 1, 3));
    // What has no row takes the same way, whatever the policy would show.
    assert_eq!(ask("t.read", true), (true, 1, 4));
    assert_eq!(ask("t.read", true), (true, 1, 5));
    assert_eq!(ask("hidden", true), (false, 1, 6));
}

#[test]
fn never_remembers_a_failure() {
    let slow = EvalLimits {
        deadline: Duration::from_nanos(1),
        ..LIMITS
    };
    let short = EvalLimits {
        instructions: 2,
        ..LIMITS
    };
    for (rules, limits, step_ns, failure) in [
        (
            "allow if input.tenant == \"other\"",
            LIMITS,
            0,
            PolicyFailure::Undefined,
        ),
        ("allow if input.tenant == \"acme\"", slow, 2, PolicyFailure::Deadline),
        (
            "allow if input.tenant == \"acme\"",
            short,
            0,
            PolicyFailure::Instructions,
        ),
        (
            "allow if { input.tenant == \"acme\"; conflict }\nconflict := true if input.tenant\nconflict := 1 if input.tenant",
            LIMITS,
            0,
            PolicyFailure::Undefined,
        ),
    ] {
        let policy = Policy::compile(&allowing(rules), 1).unwrap();
        let mut worker = Worker::new(0);
        for _ in 0..3 {
            let outcome = policy.decide(&call(), &mut worker, &limits, &Steps::of(step_ns));
            assert!(
                outcome == Err(failure) || outcome == Err(PolicyFailure::Unconfirmed),
                "{rules}: {outcome:?}"
            );
        }
        let counts = policy.memo_counts();
        assert_eq!((counts.hits, counts.misses), (0, 3), "{rules}");
        // A confirmed allow, and one within its limits, is remembered.
        let fine = Policy::compile(
            &allowing("allow if { same == 3 }\nsame := data.limit if input.tenant\nsame := 3 if input.tenant"),
            1,
        );
        let fine = fine.unwrap();
        assert!(!fine.confirmed().is_empty());
        let asked = [0; 2].map(|_| fine.decide(&call(), &mut worker, &LIMITS, &Steps::of(0)));
        assert!(asked.iter().all(|outcome| outcome.as_ref().unwrap().allows()));
        assert_eq!(fine.memo_counts().hits, 1);
    }
}

#[test]
fn forgets_with_the_policy_with_its_limits_and_with_a_panic() {
    let ask = |policy: &Policy, worker: &mut Worker, limits: &EvalLimits, tenant: &'static str| {
        let input = RequestInput { tenant, ..call() };
        policy
            .decide(&input, worker, limits, &Steps::of(0))
            .map(|decision| decision.rule.to_string())
    };
    let with_data = |rule: &str| {
        let mut source = source(
            "decision := {\"allow\": false, \"rule\": data.rule, \"reason\": \"\"} if regex.template_match(\"urn:{[a-z]+}\", input.tenant, \"{\", \"}\")",
        );
        source.data[0].text = format!("{{\"rule\": \"{rule}\"}}");
        Policy::compile(&source, 1).unwrap()
    };
    let (one, other, mut worker) = (with_data("one"), with_data("other"), Worker::new(0));
    for _ in 0..3 {
        assert_eq!(ask(&one, &mut worker, &LIMITS, "urn:acme").as_deref(), Ok("one"));
        assert_eq!(ask(&other, &mut worker, &LIMITS, "urn:acme").as_deref(), Ok("other"));
    }
    assert_eq!((one.memo_counts().hits, one.memo_counts().misses), (2, 1));
    // The machine that panicked goes, and its memo with it.
    assert_eq!(ask(&one, &mut worker, &LIMITS, "u"), Err(PolicyFailure::Panicked));
    assert_eq!(ask(&one, &mut worker, &LIMITS, "u"), Err(PolicyFailure::Panicked));
    assert_eq!(ask(&one, &mut worker, &LIMITS, "urn:acme").as_deref(), Ok("one"));
    assert_eq!((one.memo_counts().hits, one.memo_counts().misses), (2, 4));
    // Under a limit that it would not keep, what was remembered is of no account.
    let short = EvalLimits {
        instructions: 2,
        ..LIMITS
    };
    assert_eq!(
        ask(&one, &mut worker, &short, "urn:acme"),
        Err(PolicyFailure::Instructions)
    );
}

#[test]
fn asks_anew_about_what_is_too_large_to_keep() {
    let policy = Policy::compile(&allowing("allow if input.request.arguments.a"), 1).unwrap();
    let mut worker = Worker::new(0);
    for (length, hits) in [(3_000, 1), (5_000, 0)] {
        let before = policy.memo_counts();
        for _ in 0..2 {
            let arguments = format!("{{\"a\": \"{}\"}}", "a".repeat(length));
            let mut scratch = json::Scratch::default();
            let limits = json::Limits { depth: 4, members: 4 };
            let document = json::parse(arguments.as_bytes(), &mut scratch, limits).unwrap();
            let mut input = call();
            input.request.arguments = Some(document.root());
            assert!(
                policy
                    .decide(&input, &mut worker, &LIMITS, &Steps::of(0))
                    .unwrap()
                    .allows()
            );
        }
        let counts = policy.memo_counts();
        assert_eq!(counts.hits - before.hits, hits, "{length}");
        assert_eq!(counts.bypassed - before.bypassed, 2 - 2 * hits, "{length}");
    }
}
