use super::*;

/// Compares the diagnosis of a policy whose request module holds `rules` from line 3 on.
fn check(rules: &str, expected: &str) {
    let diagnosis = match Policy::compile(&source(rules), 1) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(
        diagnosis.contains(expected),
        "{rules}\ngave {diagnosis}\ninstead of {expected}"
    );
    assert_eq!(diagnosis.lines().count(), 1, "a finding is one line: {diagnosis}");
}

#[test]
fn names_the_place_of_what_it_refuses() {
    let decided = |rules: &str| format!("{rules}\ndecision := {{\"allow\": x, \"rule\": \"r\"}}");
    let cases = [
        ("x := true", "accepted"),
        ("x := ", "request.rego:4:10: expecting identifier"),
        ("x := y", "request.rego:3:6: Undefined variable: 'y'"),
        ("x := missing(1)", "request.rego:3:13: Unknown function: 'missing'"),
        ("x := data.list[_]", "request.rego:3:16: "),
        (
            "x if input.a with input as {}",
            "request.rego:3:6: the `with` keyword is not supported",
        ),
        (
            "default f(_) := 1\nf(a) := 2 if a > 1\nx := f(1)",
            "request.rego:3:1: `default` of a function",
        ),
        ("x := http.send({})", "request.rego:3:6: `http.send` would need"),
        (
            "x := io.jwt.decode(\"\")",
            "request.rego:3:6: `io.jwt.decode` is not needed",
        ),
        (
            "x := numbers.range(1, 3)",
            "request.rego:3:6: `numbers.range` has an output",
        ),
        (
            "x := units.parse_bytes(input.a)",
            "request.rego:3:6: `units.parse_bytes` runs as long as the exponent",
        ),
        ("x := units.parse(\"1K\")", "request.rego:3:6: `units.parse` runs"),
        (
            "x := yaml.unmarshal(input.a)",
            "request.rego:3:6: `yaml.unmarshal` runs far longer",
        ),
        ("x := yaml.is_valid(input.a)", "request.rego:3:6: `yaml.is_valid` runs"),
        ("x := yaml.marshal(input.a)", "accepted"),
        ("x := time.now_ns()", "request.rego:3:6: `time.now_ns` would read"),
        ("x := time.weekday(input.time)", "accepted"),
        (
            "x := net.cidr_expand(\"10.0.0.0/8\")",
            "request.rego:3:6: `net.cidr_expand` has",
        ),
        (
            "x := sprintf(input.a, [1])",
            "request.rego:3:6: argument 1 of `sprintf`",
        ),
        ("x := sprintf(\"%d\", [1])", "accepted"),
        (
            "x := concat(input.a, [\"b\"])",
            "request.rego:3:6: argument 1 of `concat`",
        ),
        ("x := concat(\",\", input.a)", "accepted"),
        (
            "x := replace(\"a\", \"b\", input.a)",
            "request.rego:3:6: argument 3 of `replace`",
        ),
        (
            "x := bits.lsh(1, input.a)",
            "request.rego:3:6: argument 2 of `bits.lsh`",
        ),
        ("x if not print(input.a)", "request.rego:3:10: `print` would write"),
        (
            "x if not __builtin_host_await(1, \"a\")",
            "request.rego:3:10: `__builtin_host_await`",
        ),
        (
            "x if walk(input, [_, 1])",
            "request.rego:3:6: `walk` cannot be compiled",
        ),
        ("default x := to_number(\"a\")\nx if input.a", "request.rego:3:"),
        ("x if y\ny if x", "` calls itself"),
        ("f(a) := f(a)\nx := f(1)", "calls itself"),
        (
            "x := data.portcullis[input.a].decision",
            "request.rego:4:1: Compile-time recursion detected",
        ),
        ("y := numbers.range(1, input.n)\nx := true", "accepted"),
        (
            "x := strings.count(input.a, \"a\")",
            "request.rego:3:6: `strings.count` counts matches that overlap",
        ),
        (
            "default x := {y: 1 | some y in data.list}\nx if input.a",
            "request.rego:3:1: the value of a `default` must be a constant",
        ),
        ("default x := {\"a\": [1, -1, \"b\"]}\nx := 1 if input.a", "accepted"),
        (
            "p[q].r := 1 if some q in input.a\nx := p",
            "request.rego:3:1: only the last step of a rule's name may be computed",
        ),
        (
            "p[q].r contains 1 if some q in input.a\nx := true",
            "request.rego:3:1: only the last step",
        ),
        (
            "p[q] contains 1 if some q in input.a\nx := true",
            "request.rego:3:1: only the last step",
        ),
        ("p[q] := 1 if some q in input.a\nx := p.a", "accepted"),
        ("p.q := 1 if input.a\nx := p.q", "accepted"),
        (
            "p.q.r := 1\nx := p[input.a].r",
            "request.rego:3:1: `data.portcullis.request.p` is read whole",
        ),
        ("x if { data = y; y }", "request.rego:3:8: Direct access to 'data' root"),
        (
            "p[q] := 1 if some q in input.a\np.a := 2\nx := p.a",
            "request.rego:4:1: `data.portcullis.request.p.a` stands inside the rule",
        ),
        (
            "f(a, b, c, d, e, f, g, h, i) if i == 9\nx := f(1, 2, 3, 4, 5, 6, 7, 8, 9)",
            "request.rego:4:6: `f` takes more than 8 arguments",
        ),
        (
            "f(a, b, c, d, e, f, g, h) if h == 8\nx := f(1, 2, 3, 4, 5, 6, 7, 8)",
            "accepted",
        ),
    ];
    for (rules, expected) in cases {
        check(&decided(rules), expected);
    }
}

#[test]
fn needs_its_entry_points() {
    check("decision := {\"allow\": false}", "accepted");
    check(
        "decide := {\"allow\": false}",
        "request.rego:1:1: the policy does not define `data.portcullis.request.decision`",
    );
    check(
        "decision(a) := a",
        "request.rego:3:1: `data.portcullis.request.decision` must be one value",
    );
    check(
        "decision contains 1",
        "request.rego:3:1: `data.portcullis.request.decision` must be one value",
    );
    let mut alone = source("decision := {\"allow\": false}");
    alone.modules.pop();
    let error = Policy::compile(&alone, 1).unwrap_err().to_string();
    assert!(error.contains("`data.portcullis.response.decision`"), "{error}");
    alone.modules.clear();
    assert!(Policy::compile(&alone, 1).is_err());
}

#[test]
fn reads_data_strictly() {
    let cases = [
        (r#"{"a": 1}"#, ""),
        ("{\"a\": 1,\n \"a\": 2}", "extra.json:2:8: an object has a key twice"),
        ("{\"a\":\n tru}", "extra.json:2:"),
        ("[]", "extra.json:1:1: the data is not an object"),
        (
            r#"{"a": 9007199254740992e1}"#,
            "extra.json:1:24: an integer loses its value",
        ),
        (r#"{"a": 1} {}"#, "extra.json:1:10: trailing characters"),
        (r#"{"tools": {}}"#, "`tools` is a table"),
        (r#"{"list": []}"#, "the member \"list\" stands in two files"),
        (r#"{"portcullis": {"request": {"decision": true}}}"#, "Conflict"),
    ];
    for (text, expected) in cases {
        let mut source = source("decision := {\"allow\": false}");
        source.data.push(SourceFile {
            name: "extra.json".to_owned(),
            text: text.to_owned(),
        });
        let diagnosis = Policy::compile(&source, 1)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(diagnosis.contains(expected), "{text} gave {diagnosis}");
        assert_eq!(diagnosis.is_empty(), expected.is_empty(), "{text} gave {diagnosis}");
    }
    let mut own_tools = source("decision := {\"allow\": false}");
    own_tools.modules.push(SourceFile {
        name: "tools.rego".to_owned(),
        text: "package tools\n\na := 1\n".to_owned(),
    });
    let error = Policy::compile(&own_tools, 1).unwrap_err();
    assert_eq!((error.0.file.as_str(), error.0.line), ("tools.rego", 1));
}

#[test]
fn lists_what_needs_confirmation() {
    let cases = [
        ("x := true", 0),
        ("x if input.a\nx if input.b", 0),
        ("x := 1 if input.a\nx := 1 if input.b", 0),
        ("x := 1 if input.a\nx := 2 if input.b", 2),
        ("x := 1 if { input.a } else := 2", 0),
        ("x := input.a if input.b\nx := true if input.c", 2),
        ("default x := false\nx if input.a", 0),
        ("x := y if some y in input.a", 1),
        ("x := y if { some i; y := input.a[i] }", 1),
        ("x := y if { z := input.a[_]; y := z }", 1),
        ("x := y if { y = z; z = input.a[_] }", 1),
        ("x := y if { [y, _] = input.a[_] }", 1),
        ("x := i if { input.a[i] = v; i = k; k = i; v }", 1),
        ("x := y if { input.a[_] = y }", 1),
        ("x := [y | some y in input.a]", 0),
        ("x := y if { some z in input.a; y := [z] }", 1),
        ("x := y if { some z in input.a; z > 1; y := input.b }", 0),
        ("x := data.tools[input.request.tool].class", 0),
        ("t := input.request.tool\nx := data.tools[t].class", 0),
        ("x := y if { t := input.request.tool; y := data.tools[t].class }", 0),
        ("x if { some y in input.a; y == 1 }", 0),
        ("s contains y if some y in input.a\nx := s", 0),
        ("m[k] := v if some k, v in input.a\nx := m", 1),
        ("x := {k: 1 | some k in input.a}", 1),
        ("f(a) := a\nx := f(1)", 0),
        ("f(a) := b if some b in a\nx := f(input.a)", 1),
        ("f(a) := 1 if a > 1\nf(a) := 2 if a > 2\nx := f(1)", 2),
        ("x if \"k\", 1 in input.a", 1),
        ("x if 1 in input.a", 0),
        ("x if not input.a = 1", 1),
        ("x if not input.a == 1", 0),
        ("x if not count([1 | some y in input.a; y = 1]) == 0", 1),
        ("x if not f(input.a, [1])\nf(a) := a", 1),
        ("x if count([1 | some y in input.a; y == 1]) == 0", 0),
        ("x := data.other\ny := 1", 0),
        ("x := data.portcullis.response", 1),
        ("unused := 1 if input.a\nunused := 2 if input.b\nx := 1", 0),
    ];
    for (rules, expected) in cases {
        let rules =
            format!("{rules}\ndecision := {{\"allow\": true, \"rule\": \"r\", \"reason\": sprintf(\"%v\", [x])}}");
        let policy = Policy::compile(&source(&rules), 1).unwrap();
        assert_eq!(policy.confirmed().len(), expected, "{rules}: {:?}", policy.confirmed());
        assert!(
            policy
                .confirmed()
                .iter()
                .all(|finding| finding.file == "request.rego" && 2 < finding.line)
        );
    }
}

#[test]
fn tells_sources_apart_by_revision() {
    let base = source("decision := {\"allow\": false}");
    let revision = |source: &PolicySource| Policy::compile(source, 1).unwrap().revision().to_owned();
    assert_eq!(revision(&base), revision(&base.clone()));
    assert_eq!(revision(&base).len(), 64);
    let mut others = vec![base.clone(), base.clone(), base.clone()];
    others[0].tools_json.push(' ');
    others[1].data[0].text.push(' ');
    others[2].modules[0].name.push('x');
    for other in others {
        assert_ne!(revision(&base), revision(&other));
    }
}
