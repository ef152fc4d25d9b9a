use super::*;
use crate::denial::AuthenticationDemand;

fn answer(decision: &str) -> Result<Arc<Decision>, PolicyFailure> {
    decide(&source(&format!("decision := {decision}")), "{}")
}

#[test]
fn allows_by_exactly_true() {
    assert!(answer(r#"{"allow": true, "rule": "r", "reason": "x", "obligations": {}}"#).is_ok_and(|it| it.allows()));
    assert!(answer(r#"{"allow": true, "rule": "r"}"#).is_ok_and(|it| it.allows()));
    for denied in [
        r#"{"allow": false}"#,
        r#"{"allow": false, "rule": "r", "obligations": {"detector": 1}}"#,
        r#"{"allow": input.tenant == "other", "rule": "r"}"#,
    ] {
        let decision = answer(denied).unwrap();
        assert!(!decision.allows() && decision.obligations.redact.is_empty(), "{denied}");
    }
    for (unshaped, failure) in [
        ("true", PolicyFailure::Shape),
        ("null", PolicyFailure::Shape),
        ("\"allow\"", PolicyFailure::Shape),
        ("[true]", PolicyFailure::Shape),
        ("{true}", PolicyFailure::Shape),
        ("{}", PolicyFailure::Shape),
        ("{1: true}", PolicyFailure::Shape),
        (r#"{"allow": "true", "rule": "r"}"#, PolicyFailure::Shape),
        (r#"{"allow": 1, "rule": "r"}"#, PolicyFailure::Shape),
        (r#"{"allow": null, "rule": "r"}"#, PolicyFailure::Shape),
        (r#"{"allow": true}"#, PolicyFailure::Shape),
        (r#"{"allow": true, "rule": ""}"#, PolicyFailure::Shape),
        (r#"{"allow": true, "rule": 1}"#, PolicyFailure::Shape),
        (r#"{"allow": true, "rule": "r", "reason": ["x"]}"#, PolicyFailure::Shape),
        (
            r#"{"allow": true, "rule": "r", "obligation": {}}"#,
            PolicyFailure::Shape,
        ),
        (r#"{"allow": true, "rule": "r", "ALLOW": true}"#, PolicyFailure::Shape),
        (r#"{"allow": true, "rule": input.missing}"#, PolicyFailure::Undefined),
        ("input.missing", PolicyFailure::Undefined),
        (
            r#"{"allow": true, "rule": "r"} if input.tenant == "other""#,
            PolicyFailure::Undefined,
        ),
    ] {
        assert_eq!(answer(unshaped), Err(failure), "{unshaped}");
    }
}

#[test]
fn knows_every_obligation_or_refuses() {
    let obliged = |redact: &str| answer(&format!(r#"{{"allow": true, "rule": "r", "obligations": {redact}}}"#));
    for (obligations, count) in [
        ("{}", 0),
        (r#"{"redact": []}"#, 0),
        (r#"{"redact": [{"at": "/a/*/b", "action": "mask"}]}"#, 1),
        (
            r#"{"redact": [{"at": "", "action": "withhold"}, {"at": "/a~1b", "action": "drop"}]}"#,
            2,
        ),
        (r#"{"redact": {{"at": "/a", "action": "tag"}}}"#, 1),
    ] {
        assert_eq!(
            obliged(obligations).unwrap().obligations.redact.len(),
            count,
            "{obligations}"
        );
    }
    for unknown in [
        "null",
        "[]",
        "\"redact\"",
        r#"{"redact": null}"#,
        r#"{"redact": {"at": "/a", "action": "mask"}}"#,
        r#"{"redacted": []}"#,
        r#"{"redact": [], "approve": true}"#,
        r#"{"redact": ["/a"]}"#,
        r#"{"redact": [{"at": "/a"}]}"#,
        r#"{"redact": [{"action": "mask"}]}"#,
        r#"{"redact": [{"at": "/a", "action": "pseudonym"}]}"#,
        r#"{"redact": [{"at": "/a", "action": "MASK"}]}"#,
        r#"{"redact": [{"at": "a", "action": "mask"}]}"#,
        r#"{"redact": [{"at": "/a~2", "action": "mask"}]}"#,
        r#"{"redact": [{"at": "/a", "action": "mask", "detector": "email"}]}"#,
        r#"{"redact": [{"detector": "email", "action": "mask"}]}"#,
        r#"{"redact": [{"class": "pii", "action": "mask"}]}"#,
        r#"{"redact": [{"at": ["/a"], "action": "mask"}]}"#,
    ] {
        assert_eq!(obliged(unknown), Err(PolicyFailure::Obligation), "{unknown}");
    }
}

#[test]
fn reads_what_login_is_asked_for_or_refuses() {
    let obliged = |allow: bool, demand: &str| {
        let decision = format!(r#"{{"allow": {allow}, "rule": "r", "obligations": {{"authenticate": {demand}}}}}"#);
        answer(&decision).map(|decision| (decision.allows(), decision.obligations.authenticate.clone()))
    };
    let demand = |acr_values: &[&str], max_age_s| {
        let acr_values = acr_values.iter().map(|&acr| acr.into()).collect();
        Some(AuthenticationDemand { acr_values, max_age_s })
    };
    for allow in [true, false] {
        for (written, expected) in [
            (r#"{"acr_values": ["urn:mace:loa3"]}"#, demand(&["urn:mace:loa3"], None)),
            (r#"{"max_age": 0}"#, demand(&[], Some(0))),
            (
                r#"{"acr_values": ["b", "a"], "max_age": 4294967295}"#,
                demand(&["b", "a"], Some(u32::MAX)),
            ),
        ] {
            assert_eq!(obliged(allow, written), Ok((allow, expected)), "{written}");
        }
        for wrong in [
            "null",
            "{}",
            "[]",
            "true",
            r#"{"acr_values": []}"#,
            r#"{"acr_values": "a"}"#,
            r#"{"acr_values": {"a", "b"}}"#,
            r#"{"acr_values": [""]}"#,
            r#"{"acr_values": ["a b"]}"#,
            r#"{"acr_values": ["a\"b"]}"#,
            r#"{"acr_values": ["a\\b"]}"#,
            r#"{"acr_values": ["a\nb"]}"#,
            r#"{"acr_values": ["ä"]}"#,
            r#"{"acr_values": [1]}"#,
            r#"{"acr_values": ["a"], "max_age": null}"#,
            r#"{"max_age": -1}"#,
            r#"{"max_age": 1.5}"#,
            r#"{"max_age": "300"}"#,
            r#"{"max_age": 4294967296}"#,
            r#"{"max_age": 300, "amr": ["otp"]}"#,
            r#"{"acr_values": ["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"]}"#,
        ] {
            assert_eq!(obliged(allow, wrong), Err(PolicyFailure::Obligation), "{allow} {wrong}");
        }
    }
}

#[test]
fn cuts_long_texts_between_characters() {
    let half = "ä".repeat(300);
    let text = format!("concat(\"\", [\"x\",\n\"{half}\",\n\"{half}\"])");
    let decision = answer(&format!(r#"{{"allow": true, "rule": {text}, "reason": {text}}}"#)).unwrap();
    assert_eq!((decision.rule.len(), decision.reason.len()), (255, 1_023));
}

#[test]
fn reads_pointers() {
    let named = |name: &str| Step::Named(name.into());
    for (text, steps) in [
        ("", vec![]),
        ("/", vec![named("")]),
        ("/a/0", vec![named("a"), named("0")]),
        ("/*/b", vec![Step::Any, named("b")]),
        ("/a~1b/~0/**", vec![named("a/b"), named("~"), named("**")]),
        ("/~01", vec![named("~1")]),
    ] {
        let pointer = Pointer::parse(text).unwrap();
        assert_eq!((pointer.steps(), pointer.as_str()), (steps.as_slice(), text));
    }
    for (text, error) in [
        ("a", PointerError::Start),
        ("#/a", PointerError::Start),
        ("/~", PointerError::Escape),
        ("/~2", PointerError::Escape),
    ] {
        assert_eq!(Pointer::parse(text), Err(error), "{text}");
    }
    assert_eq!(
        Pointer::parse(&format!("/{}", "a".repeat(1_024))),
        Err(PointerError::TooLong)
    );
    for (name, index) in [
        ("0", Some(0)),
        ("12", Some(12)),
        ("01", None),
        ("-", None),
        ("+1", None),
        ("", None),
    ] {
        assert_eq!(named(name).index(), index, "{name}");
    }
}
