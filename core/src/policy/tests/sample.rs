//! The sample policy on the machine, over every case that the fixtures know of it.

use portcullis_fixtures::policy as sample;

use super::*;

/// The sample policy, its subjects those of the cases' issuer.
fn sample_policy() -> Policy {
    let file = |name: &str, text: &str| SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let source = PolicySource {
        modules: vec![
            file(sample::REQUEST_FILE, sample::REQUEST_REGO),
            file(sample::RESPONSE_FILE, sample::RESPONSE_REGO),
        ],
        data: vec![file(sample::DATA_FILE, &sample::sample_data(sample::CASES_ISSUER))],
        tools_json: "{}".to_owned(),
        ..PolicySource::default()
    };
    Policy::compile(&source, 1).unwrap()
}

#[test]
fn decides_every_case_as_written_without_a_confirmation() {
    let policy = sample_policy();
    assert!(policy.confirmed().is_empty(), "{:?}", policy.confirmed());
    let mut worker = Worker::new(0);
    let replica = Arc::clone(policy.replica(&worker).unwrap());
    let cases: serde_json::Value = serde_json::from_str(sample::SAMPLE_CASES).unwrap();
    let cases = cases.as_array().unwrap();
    assert!(30 < cases.len());
    for case in cases {
        let input = case["input"].to_string();
        let mut ask = |entry| {
            let input = regorus::Value::from_json_str(&input).unwrap();
            let answer = worker.evaluate(&replica, entry, input, &LIMITS, &Steps::of(0)).unwrap();
            serde_json::from_str::<serde_json::Value>(&answer.to_json_str().unwrap()).unwrap()
        };
        let name = &case["name"];
        let decision = ask(Entry::Request);
        assert_eq!(
            (&decision["allow"], &decision["rule"]),
            (&case["allow"], &case["rule"]),
            "{name}"
        );
        if !case["visible"].is_null() {
            assert_eq!(ask(Entry::Visible), case["visible"], "{name}");
        }
        if let Some(expected) = case.get("answer") {
            let answer = ask(Entry::Response);
            assert_eq!(
                (&answer["allow"], &answer["rule"]),
                (&expected["allow"], &expected["rule"]),
                "{name}"
            );
        }
    }
}
