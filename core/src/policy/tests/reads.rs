//! What the text shows and what the compiled program shows of the reads of a policy.

use super::*;
use crate::policy::compile::Built;

/// Whether the decision of a policy that allows by `condition` reads `path`.
fn reads(condition: &str, path: &[&str]) -> bool {
    let rules = format!(
        "same(x) := x\nhas(x) if x.id\nalias := input.subject\ndeep := alias.claims\nallow if {{ {condition} }}"
    );
    let Built { request, .. } = compile::build(&allowing(&rules)).unwrap();
    request.reads.covers(path)
}

#[test]
fn asks_only_whether_something_is_there() {
    for (condition, reads_claims) in [
        ("not input.actor", false),
        ("input.actor", false),
        ("not input.actor.id", false),
        ("input.actor.claims", true),
        ("not input.actor.claims.a", true),
        ("input.actor == 1", true),
        ("not input.actor == 1", true),
        ("x := input.actor; x", true),
        ("not same(input.actor)", true),
        ("has(input.actor)", true),
        ("count(input.actor) == 1", true),
        ("[x | input.actor; x := 1]", false),
        ("[x | x := input.actor]", true),
        ("every x in input.actor { x }", true),
        ("some x in input.actor; x == 1", true),
        ("every x in data.list { input.actor; x }", false),
        ("input[\"actor\"]", false),
        ("input[data.list[0]]", true),
        ("alias", false),
    ] {
        assert_eq!(reads(condition, &["actor", "claims"]), reads_claims, "{condition}");
        assert_eq!(reads(condition, &["actor"]), condition != "alias", "{condition}");
    }
    // Of an array the whole is read: whether it is there takes converting it.
    assert!(reads("input.subject.groups", &["subject", "groups"]));
    // A rule that names a part reads it whole, also through another rule.
    assert!(reads("alias.id", &["subject", "claims"]));
    assert!(reads("deep.level == 1", &["subject", "roles"]));
}

#[test]
fn a_value_that_is_there_counts_as_such() {
    // An object without a member that is read is still an object.
    let allowed = |condition: &str, actor: Option<Party<'static>>| {
        let policy = Policy::compile(&allowing(&format!("allow if {{ {condition} }}")), 1).unwrap();
        let input = RequestInput { actor, ..call() };
        policy
            .decide(&input, &mut Worker::new(0), &LIMITS, &Steps::of(0))
            .is_ok()
    };
    let unread = Party {
        claims: Some("{broken"),
        ..Party::default()
    };
    assert!(allowed("input.actor", Some(unread)));
    assert!(!allowed("input.actor", None));
    assert!(!allowed("not input.actor", Some(unread)));
    assert!(allowed("not input.actor", None));
    assert!(!allowed("not input.actor.claims.a", Some(unread)));
}

#[test]
fn the_program_reads_what_the_text_says() {
    use portcullis_fixtures::policy as sample;

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
        ..PolicySource::default()
    };
    let Built {
        request,
        response,
        visible,
        ..
    } = compile::build(&source).unwrap();
    for (path, expected) in [
        (&["tenant"][..], true),
        (&["time"], false),
        (&["request", "tool"], true),
        (&["request", "arguments", "account_id"], true),
        (&["request", "arguments", "note"], false),
        (&["request", "protocol"], false),
        (&["subject", "id"], true),
        (&["subject", "claims"], false),
        (&["subject", "groups"], false),
        (&["actor", "id"], true),
        (&["actor", "claims"], false),
        (&["actor", "groups"], false),
    ] {
        assert_eq!(request.reads.covers(path), expected, "{path:?}");
    }
    let visible = visible.unwrap();
    assert!(!visible.reads.covers(&["request", "arguments"]));
    assert!(!visible.reads.covers(&["subject", "scopes"]));
    for question in [&request, &visible] {
        assert_eq!(question.key.as_ref().err(), None);
    }
    let reason = response.key.unwrap_err().to_string();
    assert!(
        reason.ends_with("it reads `input.response.content`, which hardly ever is the same twice"),
        "{reason}"
    );
}
