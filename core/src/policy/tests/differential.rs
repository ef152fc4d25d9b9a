//! The virtual machine against the tree interpreter: where the machine allows, so must the interpreter, unless the
//! policy is one whose allows the interpreter confirms anyway.

use regorus::{Engine, Value};

use super::*;

/// Rules that the conditions use.
const RULES: &str = r#"
a := input.request.arguments
is_one(x) if x == 1
constant(_) := 1
sum(x, y) := x + y
defined if a.m
copied := a.m
default fallback := false
fallback if a.m
names contains x if some x in a.l
by_name[k] := k if some k in a.l
first if { a.m } else := true if a.t
second := 1 if { a.m } else := 2
third := a.m if { true } else := true
default positive := true
positive := false if a.m
assigned if { x := a.m }
bare if x := a.m
bare_true if x := a.t
tree.here if a.t
tree.gone if a.m
chosen[k] := v if { some k in a.l; v := a.m }
row := data.rows[a.s]
lookup(k) := v if { v := data.rows[k] }
over if { some x in a.l; x + 1 > 5 }
permitted(r) if not r.blocked
unlisted(r) := 1 if not r.blocked else := 2
open(r) := count([1 | r.blocked]) == 0
two(r, s) if { not r.blocked; not s.blocked } else if not s.blocked
either(r) if r.blocked else := true
quoted := "a" if x := "a"
raw(r) := `b`
kind(r) := "seen"
echo(r) := r
texts := [x | some x in a.l; startswith(x, "a")]
set_of contains x if some x in [a.m, a.s]
unlisted_eq(k) if { r = data.rows[k]; not r.blocked }
nested(k) if { unlisted_eq(k) }
chained if { r = data.rows[a.s]; q = r.owner; not q == "x" }
negated_equal if { x := a.n; not x = 2 }
negated_pattern if not [1, 2] = a.l
negated_output if not is_pair(a.l, ["x", "q"])
is_pair(p) := p
graded(x) := "one" if x == 1
else := "other" if x
deep_not if { not unlisted_eq(a.s); a.s = k; not data.rows[k] }
"#;

/// Bodies of `allow`. `a.m` is missing from the arguments of every case.
const CONDITIONS: &[&str] = &[
    "x := a.m",
    "x := a.m; not x == 3",
    "x = a.m",
    "x := a.m; y := 1; y == 1",
    "a.m == 1",
    "a.m != 1",
    "not a.m",
    "a.f",
    "not a.f",
    "a.z",
    "x := a.f",
    "x := a.f; x == false",
    "x := a.z; x == null",
    "x := a.t; x",
    "some x in a.m",
    "some x in a.e",
    "every x in a.m { x == 1 }",
    "every x in a.e { x == 1 }",
    "every x in a.l { x == a.m }",
    "every x in a.l { not x == a.m }",
    "every k, v in a.o { k == \"k\"; v }",
    "every x in a.l { y := a.m }",
    "every x in a.l { y := x; y != 7 }",
    "every x in a.n { x == 1 }",
    "every x in a.s { x == 1 }",
    "x := [a.m]",
    "x := {\"a\": a.m}",
    "x := {a.m}",
    "[x, y] := [a.m, 1]",
    "{\"a\": x} := {\"a\": a.m}",
    "[x, y] := a.m",
    "[x, y] := a.l; x != y",
    "[x] := a.l",
    "x := [a.m]; count(x) == 0",
    "count([a.m]) == 0",
    "count([1 | a.m]) == 0",
    "not count([a.m]) == 0",
    "is_one(a.m)",
    "not is_one(a.m)",
    "constant(a.m) == 1",
    "not constant(a.m)",
    "x := is_one(a.m)",
    "x := constant(a.m); true",
    "startswith(a.m, \"a\")",
    "not startswith(a.m, \"a\")",
    "x := startswith(a.m, \"a\")",
    "x := startswith(a.n, \"a\")",
    "not startswith(a.n, \"a\")",
    "x := to_number(a.s)",
    "not to_number(a.s)",
    "a.n + a.m > 0",
    "x := a.n + a.m",
    "a.n + a.s > 0",
    "not a.n + a.s > 0",
    "x := a.n / 0",
    "not a.n / 0",
    "x := a.n % 0",
    "a.m in a.l",
    "not a.m in a.l",
    "\"x\" in a.m",
    "not \"x\" in a.m",
    "not \"x\" in a.n",
    "x := a.m in a.l",
    "a.l[5]",
    "x := a.l[5]",
    "x := a.l[_]; x == \"y\"",
    "not a.l[_] == \"q\"",
    "a.s.k",
    "x := a.s.k",
    "x := a.n[0]",
    "not a.n[0]",
    "not a.n[_]",
    "a[a.m]",
    "x := a.o[a.m]; true",
    "data.rows[a.m]",
    "x := data.rows[a.m]",
    "x := data.rows.q",
    "not data.nothing",
    "x := defined",
    "x := copied",
    "not defined",
    "fallback",
    "not fallback",
    "x := fallback; not x",
    "names.q",
    "not names.q",
    "x := names[\"q\"]",
    "x := by_name.q",
    "not by_name.q",
    "by_name.x",
    "x := {y | some y in a.m}; count(x) == 0",
    "x := [y | y := a.m]; count(x) == 0",
    "not count([y | y := a.m]) == 0",
    "not [y | y := a.m] == []",
    "not {y: 1 | y := a.m} == {}",
    "not count([y | some y in a.l; z := a.m]) == 0",
    "x := [z | some y in a.l; z := a.o[y]]; count(x) == 0",
    "x := false; x",
    "not false",
    "not null",
    "x := a.m > 1",
    "a.z > 1",
    "not a.z > 1",
    "a.o == {\"k\": a.m}",
    "not a.o == {\"k\": a.m}",
    "object.get(a, \"m\", a.m)",
    "not object.get(a, \"m\", a.m)",
    "x := object.get(a, \"m\", a.m)",
    "x := is_null(a.m)",
    "not is_null(a.m)",
    "some i; a.l[i] == \"y\"",
    "some i, x in a.l; x == \"y\"; i == 1",
    "some \"x\" in a.l",
    "some [1, q] in [[1, 2]]; q == 2",
    "x := a.l[i]; y := a.m",
    "x := a.m | {1}",
    "not a.m | {1}",
    "x := {1} & a.m",
    "x := {1} - a.m",
    "x := sprintf(\"%v\", [a.m])",
    "x := concat(\",\", [a.m])",
    "sum(1, a.m)",
    "not sum(1, a.s)",
    "sum(1, 2) == 3",
    "first",
    "not first",
    "second == 2",
    "third",
    "not third",
    "positive",
    "not positive",
    "assigned",
    "not assigned",
    "bare",
    "not bare",
    "bare_true",
    "tree.here",
    "tree.gone",
    "x := tree.gone",
    "not tree.gone",
    "count(chosen) > 0",
    "not count(chosen) > 0",
    "x := a.l; y := x[7]",
    "y := a.l[7]; not y",
    "x := a.m; not x",
    "x := a.o.q; not x in a.l",
    "x := a.o.q; x != 1",
    "x := a.o.q; is_one(x)",
    "x := a.o.q; not is_one(x)",
    "x := a.o.q; count([1 | x == 1]) == 0",
    "x := a.o.q; every y in a.l { y != x }",
    "not a.p.q.r == \"a\"",
    "x := row; not x.blocked",
    "not row.blocked",
    "row.blocked",
    "x := lookup(a.s); not x.blocked",
    "not lookup(a.s)",
    "x := lookup(\"good\"); not x.blocked",
    "x := lookup(\"bad\"); not x.blocked",
    "not over",
    "over",
    "permitted(data.rows[a.s])",
    "permitted(data.rows.good)",
    "not permitted(data.rows.bad)",
    "unlisted(data.rows[a.s])",
    "unlisted(data.rows.bad) == 2",
    "open(data.rows[a.s])",
    "open(data.rows.good)",
    "two(data.rows.good, data.rows[a.s])",
    "two(data.rows[a.s], data.rows.good)",
    "two(data.rows.good, data.rows.good)",
    "two(data.rows.bad, data.rows.good)",
    "either(data.rows[a.s])",
    "either(data.rows.good)",
    "either(a.m)",
    "quoted == \"a\"",
    "x := \"a\"; x == \"a\"",
    "x := `a`; x == `a`",
    "\"a\" == a.m",
    "x := a.o[\"k\"]; x == \"v\"",
    "raw(data.rows.good) == \"b\"",
    "raw(a.m)",
    "kind(1) == \"seen\"",
    "kind(a.m)",
    "echo(\"q\") == \"q\"",
    "not echo(a.m)",
    "x := [y | y := \"a\"]; x == [\"a\"]",
    "x := {y | some z in a.l; y := z}; count(x) > 0",
    "every z in a.l { y := \"a\"; z != y }",
    "x := 1 # a comment\n\ty := x\n\ty == 1",
    "x := \"a;b\"; y := \"c # d\"; x != y",
    "count(texts) == 0",
    "not count(texts) == 0",
    "x := {k | some k; a.o[k]}; x == {\"k\"}",
    "x := a.o; x.k == \"v\"",
    "x := [1 | some y in a.l; not y == a.m]; count(x) == 2",
    "x := 1; y := x; y == 1",
    "x := input.tenant; x == \"acme\"",
    "x := a.z; not x",
    "x := a.f; not x",
    "some x in a.l; y := x; y == \"y\"",
    "x := [z | z := a.l[_]]; count(x) == 2",
    "r = data.rows[a.s]; not r.blocked",
    "data.rows[a.s] = r; not r.blocked",
    "r = data.rows.q; not r.blocked",
    "x = a.o.q; not x",
    "x = a.o.q; not x == 1",
    "x = y; y = a.m; not x == 1",
    "some r; r = data.rows[a.s]; not r.blocked",
    "some r in [data.rows[a.s]]; not r.blocked",
    "some r in [data.rows.q]; not r.blocked",
    "every r in [data.rows[a.s]] { not r.blocked }",
    "every r in [data.rows.q] { not r.blocked }",
    "every r in {a.m} { not r.blocked }",
    "[r] = [data.rows.q]; not r.blocked",
    "r := object.get(data.rows, a.s, a.m); not r.blocked",
    "r := [y | y := data.rows[a.s]][0]; not r.blocked",
    "r := [y | some y in [data.rows.q]][0]; not r.blocked",
    "r := {\"x\": data.rows.q}; not r.x.blocked",
    "r := {\"x\": data.rows[a.s]}.x; not r.blocked",
    "r := {y | y = data.rows.q}; count(r) == 0",
    "not {1 | r = data.rows.q; not r.blocked} == set()",
    "count({1 | r = data.rows.q; not r.blocked}) == 1",
    "count([1 | r = data.rows[a.s]; not r.blocked]) == 1",
    "some i; r = data.rows[i]; not r.blocked",
    "x := a.s; r = data.rows[x]; not r.blocked",
    "not data.rows[a.s].blocked; data.rows[a.s]",
    "r := data.rows[a.s]; s := r.blocked; not s",
    "r := data.rows[a.s]; s = r.deep.er; not s",
    "r := data.rows[a.s]; not r.deep.er",
    "r := data.rows[a.s].deep; not r.er",
    "x := input.request.arguments.m.k; not x",
    "x := a.m.k.l; not x == 1",
    "lower(a.m) != \"x\"",
    "not lower(a.m) == \"x\"; a.t",
    "lower(a.n) != \"x\"",
    "x := lower(a.n); x != \"x\"",
    "x = lower(a.n); not x == \"x\"",
    "x = lower(a.m); not x == \"x\"",
    "count(a.m) != 3",
    "count(a.t) != 3",
    "x = count(a.t); not x == 3",
    "lower(a.m, x); not x == \"q\"",
    "a.m != a.m",
    "[a.m] != [1]",
    "{\"a\": a.m} != {\"a\": 1}",
    "not a.m in [a.m]",
    "not 1 in [a.m]",
    "1 in [1, a.m]",
    "not a.t in {1, a.m}",
    "not \"q\", 1 in a.m",
    "\"k\", \"v\" in a.o",
    "a.o[x] = y; not y == \"q\"",
    "a.o[x] == a.m",
    "not a.o[_] == a.m; a.t",
    "x := a.o[_]; not x == a.m",
    "f2 := is_one; f2",
    "not is_one(data.rows.q.n)",
    "x := is_one(1); not x",
    "set_of[a.m]",
    "not set_of[a.m]",
    "x = set_of; not a.s in x",
    "unlisted_eq(a.s)",
    "unlisted_eq(\"q\")",
    "not unlisted_eq(\"bad\")",
    "nested(a.s)",
    "nested(\"q\")",
    "chained",
    "not chained",
    "deep_not",
    "trim(a.n, \" \") != \"q\"",
    "x := trim(a.n, \" \"); true",
    "not trim(a.n, \" \") == \"q\"; a.t",
    "x := json.unmarshal(a.s); not x.blocked",
    "x = json.unmarshal(a.s); not x.blocked",
    "not json.unmarshal(a.s).blocked; a.t",
    "regex.match(\"^a\", a.m)",
    "not regex.match(\"^a\", a.n); a.t",
    "x := regex.match(\"(\", a.s); not x",
    "not regex.match(\"(\", a.s); a.t",
    "time.parse_rfc3339_ns(a.s) < 1",
    "not time.parse_rfc3339_ns(a.s) > 1; a.t",
    "x = time.parse_rfc3339_ns(a.s); not x > 1",
    "min(a.l) < 5",
    "not max(a.l) > 5; a.t",
    "x = max(a.e); not x",
    "x := max(a.e); not x",
    "sum(a.n, 1) != 9",
    "to_number(a.s) != 9",
    "x = to_number(a.s); not x == 9",
    "x := array.concat(a.l, a.m); true",
    "x = array.concat(a.l, a.m); count(x) != 9",
    "x = object.union(a.o, a.m); not x.blocked",
    "x := object.union(a.o, a.m); not x.blocked",
    "x := object.union(a.o, a.n); not x.blocked",
    "x = object.union(a.o, a.n); not x.blocked",
    "x = split(a.n, \",\"); not \"q\" in x",
    "x := split(a.n, \",\"); not \"q\" in x",
    "x = a.l[9]; not x",
    "x = a.n / 0; not x",
    "a.n / 0 != 1",
    "a.n - a.m != 1",
    "\"q\", \"v\" in a.o",
    "\"k\", \"v\" in a.o; a.t",
    "not \"q\", \"v\" in a.o; a.t",
    "not negated_equal",
    "negated_equal",
    "not negated_pattern",
    "not count([1 | some x in a.l; x = \"q\"]) == 0",
    "not count([1 | some \"q\" in a.l]) == 0",
    "not {x | some x in a.l; x = \"q\"} == set()",
    "not is_pair(a.l, [\"q\", \"y\"])",
    "not negated_output",
    "count(data.portcullis.parts) > 1",
    "data.portcullis.parts[_]",
    "x := data.portcullis.parts[\"gone\"]; not x",
    "x := data.portcullis.parts[a.s]; not x",
    "some k; data.portcullis.parts[k]; k == \"gone\"",
    "every p in data.portcullis.parts { p == 1 }",
    "not data.portcullis.parts.gone",
    "every x in a.l { some y in a.l; x == y }",
    "every x in a.l { some y in a.e; x == y }",
    "every x in a.l { a.l[_] == x }",
    "every i, x in a.l { a.l[i] == x }",
    "every x in [1, 2] { every y in [2, 3] { x <= y } }",
    "every x in a.e { every y in a.m { x == y } }",
    "{x | some x in a.l} == {\"x\", \"y\"}",
    "{x: y | some y, x in a.l}.y == 1",
    "[x | some x in a.l; x != \"x\"] == [\"y\"]",
    "graded(a.n) == \"one\"",
    "graded(a.m) == \"other\"",
    "not graded(a.n) == \"one\"; a.t",
    "names == {\"x\", \"y\"}",
    "some n in names; n == \"y\"",
    "not names[a.s]; a.t",
    "by_name[a.l[0]] == \"x\"",
    "some k, v in by_name; k == v",
    "i := 1; a.l[i] == \"y\"",
    "k := \"k\"; a.o[k] == \"v\"",
    "some k; a.o[k] == \"v\"; a[j] == k",
];

const ARGUMENTS: &[&str] = &[
    r#"{"n": 1, "l": ["x", "y"], "s": "abc", "o": {"k": "v"}, "f": false, "z": null, "e": [], "t": true}"#,
    r#"{"n": "1", "l": [1, "y", 7], "s": "good", "o": ["k"], "f": null, "z": 2, "e": {}, "t": false}"#,
    r#"{"n": [1], "l": {"x": "y"}, "s": "bad", "o": "k", "f": 0, "z": [], "e": "", "t": "true"}"#,
    r#"{"n": {"m": 1}, "l": "xy", "s": 5, "o": null, "f": [], "z": {}, "e": null, "t": [true]}"#,
    r#"{"n": null, "l": 7, "s": null, "o": 1, "f": "false", "z": false, "e": 0, "t": {}}"#,
    "{}",
];

fn interpreted(source: &PolicySource, input: &str) -> Result<Value, String> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    for module in &source.modules {
        engine.add_policy(module.name.clone(), module.text.clone()).unwrap();
    }
    engine.add_data_json(&source.data[0].text).unwrap();
    engine.set_input_json(input).unwrap();
    let value = engine.eval_rule("data.portcullis.request.allow".to_owned());
    value.map_err(|error| error.to_string())
}

/// Conditions under which the machine allows and the interpreter does not, and how often both do.
#[derive(Default)]
struct Comparison {
    both: usize,
    opened: Vec<String>,
}

impl Comparison {
    /// Compares over every input, unless the policy is refused.
    fn add(&mut self, rules: &str) -> Result<(), PolicyError> {
        let mut source = allowing(&format!("{RULES}\n{rules}"));
        source.modules.push(SourceFile {
            name: "parts.rego".to_owned(),
            text: "package portcullis.parts\n\nhere := 1\n\ngone if input.request.arguments.m\n".to_owned(),
        });
        source.data[0].text = r#"{"rows": {"good": {"blocked": false}, "bad": {"blocked": true}}}"#.to_owned();
        let policy = Policy::compile(&source, 1)?;
        for arguments in ARGUMENTS {
            let allowed = decide_with(&policy, arguments).is_ok_and(|decision| decision.allows());
            let input = format!(r#"{{"tenant": "acme", "request": {{"arguments": {arguments}}}}}"#);
            match (allowed, interpreted(&source, &input)) {
                (true, Ok(Value::Bool(true))) => self.both += 1,
                // OPA iterates over nothing there, as the machine does.
                (true, Err(error)) if error.contains("expects array/set/object") => {}
                (true, other) => self.opened.push(format!("{rules} with {arguments}: {other:?}")),
                (false, _) => {}
            }
        }
        Ok(())
    }

    /// The comparison means something only while many of the conditions do hold.
    fn assert(self, both_min: usize) {
        assert!(self.opened.is_empty(), "{}", self.opened.join("\n"));
        assert!(both_min < self.both, "{}", self.both);
    }
}

#[test]
fn the_machine_allows_nothing_that_the_interpreter_does_not() {
    let mut comparison = Comparison::default();
    for condition in CONDITIONS {
        comparison
            .add(&format!("allow if {{ {condition} }}"))
            .unwrap_or_else(|error| panic!("{condition}: {error}"));
    }
    comparison.assert(200);
}

/// Numbers without a pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll<'a>(&mut self, of: &[&'a str]) -> &'a str {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let number = usize::try_from(self.0 >> 33).unwrap();
        of[number % of.len()]
    }
}

/// What a policy makes of one or two conditions, `$1` and `$2`.
const FORMS: &[&str] = &[
    "allow if { $1; $2 }",
    "allow if { $1 }\nallow if { $2 }",
    "allow if not blocked\nblocked if { $1 }\nblocked if { $2 }",
    "allow if { $1; not blocked }\nblocked if { $2 }",
    "allow if not blocked\nblocked if { not other; $1 }\nother if { $2 }",
    "allow if { every number in [1, 2] { $1; number > 0 }; $2 }",
    "allow if { every number in [1, 2] { not blocked; number > 0 } }\nblocked if { $1; $2 }",
    "allow if count([1 | $1; $2]) > 0",
    "allow if count({1 | $1; $2}) == 0",
    "allow if { $1; count([1 | $2]) == 0 }",
    "allow if held(input.tenant)\nheld(tenant) if { tenant == \"acme\"; $1; $2 }",
    "allow if not held(input.tenant)\nheld(tenant) if { tenant == \"acme\"; $1 } else := false if { $2 }",
    "allow if grade == 2\ngrade := 1 if { $1 } else := 2 if { $2 }",
    "allow if grade != 1\ndefault grade := 0\ngrade := 1 if { $1; $2 }",
    "allow if members.a\nmembers contains \"a\" if { $1 }\nmembers contains \"b\" if { $2 }",
    "allow if not members.a\nmembers contains \"a\" if { $1; $2 }",
    "allow if not \"a\" in members\nmembers contains letter if { $1; some letter in [\"a\", \"b\"]; $2 }",
    "allow if row_of.a == 1\nrow_of[letter] := 1 if { $1; some letter in [\"a\", \"b\"]; $2 }",
];

/// Policies put together by chance. Those that Rego does not take, for a variable that stands twice, are left out.
#[test]
fn policies_by_chance_allow_nothing_that_the_interpreter_does_not() {
    let mut dice = Dice(7);
    let mut comparison = Comparison::default();
    let mut taken = 0;
    for _ in 0..900 {
        let form = dice.roll(FORMS);
        let rules = form
            .replace("$1", dice.roll(CONDITIONS))
            .replace("$2", dice.roll(CONDITIONS));
        taken += usize::from(comparison.add(&rules).is_ok());
    }
    assert!(500 < taken, "{taken}");
    comparison.assert(500);
}
