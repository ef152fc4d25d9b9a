//! Tests of explanations: which conditions held, which failed, and with which values.

use super::*;

const RULES: &str = r#"granted if {
    some role in input.subject.roles
    some allowed in data.list
    role == allowed
}

large(amount) if amount > data.limit

decision := {"allow": true, "rule": "small", "reason": ""} if {
    granted
    not large(input.request.arguments.amount)
} else := {"allow": false, "rule": "none", "reason": ""}
"#;

fn explained(input: &str) -> Explanation {
    Policy::explain(&source(RULES), Question::Request, input).unwrap()
}

fn rule<'e>(explanation: &'e Explanation, name: &str) -> &'e RuleReport {
    explanation.rules.iter().find(|rule| rule.path.ends_with(name)).unwrap()
}

#[test]
fn the_rules_behind_a_decision_are_told_outermost_first() {
    let explanation = explained(r#"{"subject": {"roles": ["x", "b"]}, "request": {"arguments": {"amount": 1}}}"#);
    let paths: Vec<&str> = explanation.rules.iter().map(|rule| rule.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "data.portcullis.request.decision",
            "data.portcullis.request.granted",
            "data.portcullis.request.large",
        ]
    );
    let decision = rule(&explanation, "decision");
    assert!(decision.value.as_ref().unwrap().contains("\"small\""));
    assert_eq!(
        (decision.bodies[0].holds, decision.bodies[0].is_else),
        (Some(true), false)
    );
    assert!(decision.bodies[1].is_else);
    let granted = &rule(&explanation, "granted").bodies[0];
    let solutions: Vec<u64> = granted.conditions.iter().map(|condition| condition.solutions).collect();
    assert_eq!(solutions, [2, 4, 1]);
    assert_eq!(granted.conditions[2].text, "role == allowed");
    let role = &granted.conditions[2].values[0];
    assert_eq!(
        (role.expression.as_str(), role.values.as_slice()),
        ("role", ["\"b\"", "\"x\""].map(String::from).as_slice())
    );
    assert!(rule(&explanation, "large").is_function);
}

#[test]
fn the_first_condition_without_a_solution_is_the_one_that_failed() {
    let explanation = explained(r#"{"subject": {"roles": ["x"]}, "request": {"arguments": {"amount": 9}}}"#);
    let granted = rule(&explanation, "granted");
    assert_eq!((granted.value.as_deref(), granted.bodies[0].holds), (None, Some(false)));
    let last = &granted.bodies[0].conditions[2];
    assert!(last.is_reached && last.solutions == 0, "{last:?}");
    let decision = &rule(&explanation, "decision").bodies[0];
    assert_eq!(decision.holds, Some(false));
    assert!(decision.conditions[0].is_reached && !decision.conditions[1].is_reached);
    // What is absent is shown as nothing.
    let explanation = explained("{}");
    let first = &rule(&explanation, "granted").bodies[0].conditions[0];
    assert!(first.is_reached && first.solutions == 0);
    assert_eq!(first.values[0].expression, "input.subject.roles");
    assert!(first.values[0].values.is_empty());
}

#[test]
fn every_rule_of_the_sample_policy_can_be_explained() {
    let file = |name: &str, text: &str| SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    use portcullis_fixtures::policy;
    let source = PolicySource {
        modules: vec![
            file(policy::REQUEST_FILE, policy::REQUEST_REGO),
            file(policy::RESPONSE_FILE, policy::RESPONSE_REGO),
        ],
        data: vec![file(policy::DATA_FILE, &policy::sample_data(policy::CASES_ISSUER))],
        tools_json: "{}".to_owned(),
        ..PolicySource::default()
    };
    let cases: Vec<serde_json::Value> = serde_json::from_str(policy::SAMPLE_CASES).unwrap();
    assert!(!cases.is_empty());
    for case in &cases {
        for question in [Question::Request, Question::Visible, Question::Response] {
            let explanation = Policy::explain(&source, question, &case["input"].to_string()).unwrap();
            for rule in explanation.rules.iter().filter(|rule| !rule.is_function) {
                for body in &rule.bodies {
                    assert!(body.holds.is_some(), "{} line {}", rule.path, body.line);
                }
            }
        }
    }
}

#[test]
fn an_input_in_json_is_judged_as_a_call_is() {
    let policy = Policy::compile(&source(RULES), 1).unwrap();
    let mut worker = Worker::new(0);
    let mut ask = |question, input: &str| policy.ask(question, input, &mut worker, &LIMITS, &Steps::of(0));
    let good = r#"{"subject": {"roles": ["a"]}, "request": {"arguments": {"amount": 1}}}"#;
    assert_eq!(&*ask(Question::Request, good).unwrap().rule, "small");
    assert_eq!(&*ask(Question::Request, "{}").unwrap().rule, "none");
    assert_eq!(&*ask(Question::Response, "{}").unwrap().rule, "r");
    assert!(ask(Question::Visible, "{}").unwrap().allows());
    assert_eq!(ask(Question::Request, "{").unwrap_err(), PolicyFailure::Input);
}
