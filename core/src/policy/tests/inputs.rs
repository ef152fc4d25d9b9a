use super::*;

/// Whether a policy that allows by `condition` allows the call.
fn sees(condition: &str, input: &RequestInput<'_>) -> bool {
    let policy = Policy::compile(&allowing(&format!("allow if {{ {condition} }}")), 1).unwrap();
    match policy.decide(input, &mut Worker::new(0), &LIMITS, &Steps::of(0)) {
        Ok(decision) => decision.allows(),
        Err(PolicyFailure::Undefined) => false,
        Err(failure) => panic!("{condition}: {failure}"),
    }
}

#[test]
fn shows_the_whole_contract() {
    let text =
        r#"{"account_id": "7", "n": 1.5, "big": 9007199254740991, "nested": {"list": [1, {"x": null}], "flag": true}}"#;
    let mut scratch = json::Scratch::default();
    let limits = json::Limits {
        depth: 32,
        members: 100,
    };
    let document = json::parse(text.as_bytes(), &mut scratch, limits).unwrap();
    let mut input = call();
    input.request.arguments = Some(document.root());
    input.connection.client_cert_sha256 = Some(&[0xab; 32]);
    for condition in [
        "input.version == 1",
        "input.tenant == \"acme\"",
        "input.request.protocol == \"2025-11-25\"; input.request.method == \"tools/call\"",
        "input.request.tool == \"t.read\"; input.request.id_type == \"number\"",
        "not input.request.prompt; not input.request.resource_uri; not input.actor",
        "input.request.arguments.account_id == \"7\"",
        "input.request.arguments.n == 1.5; input.request.arguments.big == 9007199254740991",
        "input.request.arguments.nested.list[1].x == null",
        "input.request.arguments.nested.flag",
        "count(input.request.arguments) == 4",
        "some k; input.request.arguments[k] == \"7\"; k == \"account_id\"",
        "object.get(input, [\"request\", \"arguments\", \"account_id\"], \"\") == \"7\"",
        "a := input.request; a.arguments.account_id == \"7\"",
        "input[\"request\"].arguments[\"account_id\"] == \"7\"",
        "input.request.arguments[sprintf(\"%s_id\", [\"account\"])] == \"7\"",
        "data.list[count(input.subject.groups)] == \"b\"",
        "input.tool.class == \"read\"; input.tool.required_scopes == [\"read\"]",
        "data.tools[input.request.tool].class == \"read\"; data.limit == 3",
        "input.subject.id == \"alice\"; input.subject.issuer == \"https://issuer.example\"; input.subject.kind == \"human\"",
        "\"sales\" in input.subject.groups; \"analyst\" in input.subject.roles; \"read\" in input.subject.scopes",
        "input.subject.claims.level == 2; not input.subject.claims.missing",
        "input.client.id == \"client\"",
        "input.auth.acr == \"high\"; input.auth.amr == [\"otp\"]; input.time - input.auth.time == 1000000000000",
        "input.server.name == \"crm\"; input.server.resource == \"https://gate.example/crm\"",
        "input.connection.ip == \"127.0.0.1\"; startswith(input.connection.client_cert_sha256, \"abab\")",
        "net.cidr_contains(\"127.0.0.0/8\", input.connection.ip)",
    ] {
        assert!(sees(condition, &input), "{condition}");
        assert!(
            !sees(&format!("{condition}; input.tenant == \"other\""), &input),
            "{condition}"
        );
    }
}

#[test]
fn reads_claims_only_when_asked() {
    let mut input = call();
    input.subject.claims = Some("{broken");
    assert!(sees("input.subject.id == \"alice\"", &input));
    let policy = Policy::compile(&allowing("allow if not input.subject.claims.blocked"), 1).unwrap();
    let outcome = policy.decide(&input, &mut Worker::new(0), &LIMITS, &Steps::of(0));
    assert_eq!(outcome, Err(PolicyFailure::Input));
}

#[test]
fn knows_which_paths_a_policy_reads() {
    let arguments = ["request", "arguments"];
    for (condition, expected) in [
        ("input.subject.id", false),
        ("input.request.tool", false),
        ("input.request.arguments.a", true),
        ("input.request", false),
        ("not input.request", false),
        ("x := input.request; x", true),
        ("input.request[input.tenant]", true),
        ("count(input) > 1", true),
        ("object.get(input, [\"request\", \"tool\"], 1)", false),
        (
            "object.get(input, [\"request\", \"tool\"], input.request.arguments)",
            true,
        ),
        ("object.get(input, [\"request\", \"arguments\"], 1)", true),
        ("object.get(input, \"request\", 1)", true),
        ("object.get(input, [\"request\", input.tenant], 1)", true),
        ("object.get(input.request, \"tool\", 1)", false),
        ("object.get(input[input.tenant], \"tool\", 1)", true),
        ("object.get(input, [], 1)", true),
        ("data.list[input.request.arguments.a]", true),
        ("alias.arguments.a", true),
    ] {
        let mut source = source("decision := {\"allow\": false}");
        source.modules[1].text = format!(
            "package portcullis.response\n{}\ndecision := {{\"allow\": false}} if {{ {condition} }}\n",
            if condition.starts_with("alias") {
                "import input.request as alias"
            } else {
                ""
            }
        );
        let policy = Policy::compile(&source, 1).unwrap();
        assert_eq!(policy.review_reads_arguments(), expected, "{condition}");
        assert_eq!(policy.inner.response.reads.covers(&arguments), expected, "{condition}");
        assert!(!policy.inner.request.reads.covers(&["subject"]), "{condition}");
    }
}
