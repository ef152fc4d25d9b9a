//! The sample policy over many subjects: loading stays linear, and a decision never walks them.
//!
//! Small by default. `PORTCULLIS_SUBJECTS=100000 cargo test -p portcullis-core --lib -- --nocapture many_subjects` takes
//! as many and says what loading, memory and deciding cost.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use portcullis_fixtures::policy as sample;

use super::*;

/// So many subjects where the environment says nothing.
const SUBJECTS: usize = 2_000;
/// The instructions that suffice for one decision, however many subjects there are.
const INSTRUCTIONS: usize = 400;

/// The sample policy with subjects `person-0` and on, each with an account of its own.
fn source_of(subjects: usize) -> PolicySource {
    let file = |name: &str, text: String| SourceFile {
        name: name.to_owned(),
        text,
    };
    let mut rows = String::new();
    for number in 0..subjects {
        let comma = if number == 0 { "" } else { "," };
        write!(
            rows,
            r#"{comma}"person-{number}": {{"accounts": ["acc-{number}"], "groups": ["sales"], "roles": ["analyst"]}}"#
        )
        .unwrap();
    }
    // The sample's own people stay beside them.
    let data = sample::sample_data(sample::CASES_ISSUER).replacen("\"alice\"", &format!("{rows}, \"alice\""), 1);
    PolicySource {
        modules: vec![
            file(sample::REQUEST_FILE, sample::REQUEST_REGO.to_owned()),
            file(sample::RESPONSE_FILE, sample::RESPONSE_REGO.to_owned()),
        ],
        data: vec![file(sample::DATA_FILE, data)],
        tools_json: "{}".to_owned(),
        ..PolicySource::default()
    }
}

/// The resident memory of this process in bytes; zero where the system does not say.
#[expect(clippy::disallowed_methods, reason = "the kernel tells of memory in a file")]
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    resident.unwrap_or_default() * 4_096
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "it measures, and asks the environment how much"
)]
fn many_subjects_load_and_are_decided_alike() {
    let asked = std::env::var("PORTCULLIS_SUBJECTS").ok();
    let most = asked.as_deref().map_or(SUBJECTS, |count| count.parse().unwrap());
    let sizes = [10, 10_000, most];
    for subjects in sizes.into_iter().filter(|size| *size <= most) {
        let source = source_of(subjects);
        let start = Instant::now();
        let policy = Policy::compile(&source, 1).unwrap();
        let loaded = start.elapsed();
        // What the first policy left to the allocator is taken by now: the growth is that of three workers.
        let before = resident_bytes();
        let three = Policy::compile(&source, 3).unwrap();
        let each = resident_bytes().saturating_sub(before) / 3;
        drop(three);
        let start = Instant::now();
        let policy = policy.with_data(&source).unwrap();
        let renewed = start.elapsed();
        let nanos = decide_everybody(&policy, subjects);
        if asked.is_some() {
            let (loaded, renewed, mib) = (loaded.as_millis(), renewed.as_millis(), each / 1_048_576);
            let bytes = source.data[0].text.len() / 1_024;
            let mut out = std::io::stdout();
            writeln!(
                out,
                "{subjects} subjects ({bytes} KiB): loaded in {loaded} ms, new data in {renewed} ms, {mib} MiB for each \
                 worker, {nanos} ns a decision"
            )
            .unwrap();
        }
    }
}

/// Decides calls of subjects all over the data, each on its own account and on another's; gives the time of one.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn decide_everybody(policy: &Policy, subjects: usize) -> u128 {
    let mut worker = Worker::new(0);
    let replica = Arc::clone(policy.replica(&worker).unwrap());
    let limits = EvalLimits {
        instructions: INSTRUCTIONS,
        ..LIMITS
    };
    let calls = 2_000;
    let mut inputs = Vec::new();
    for number in 0..calls {
        // A step that shares no divisor with the number of subjects visits them in no order.
        let person = (number * 7_919) % subjects;
        let account = person + number % 2;
        let input = format!(
            r#"{{"version": 1, "tenant": "{}", "request": {{"method": "tools/call", "tool": "salesforce.opportunity.read",
            "arguments": {{"account_id": "acc-{account}"}}}}, "tool": {{"required_scopes": ["salesforce:read"]}},
            "subject": {{"id": "person-{person}", "issuer": "{}", "kind": "human", "scopes": ["salesforce:read"]}}}}"#,
            sample::TENANT,
            sample::CASES_ISSUER
        );
        inputs.push((regorus::Value::from_json_str(&input).unwrap(), person == account));
    }
    let start = Instant::now();
    for (input, allowed) in inputs {
        let answer = worker.evaluate(&replica, Entry::Request, input, &limits, &Steps::of(0));
        let decision = decision::read(&answer.unwrap()).unwrap();
        assert_eq!(decision.allows(), allowed);
    }
    start.elapsed().as_nanos() / calls as u128
}
