use std::collections::BTreeSet;

use super::*;

/// Runs an operation a few times, and counts.
struct Few(u32);

impl Meter for Few {
    fn measure(&mut self, operation: &mut dyn FnMut()) {
        for _ in 0..3 {
            operation();
            self.0 += 1;
        }
    }
}

#[test]
fn every_scenario_does_what_it_should() {
    for scenario in SCENARIOS {
        let mut meter = Few(0);
        let material = scenario.material(Scale::Smoke);
        scenario.run(&material, Scale::Smoke, &mut meter).unwrap();
        assert_eq!(meter.0, 3, "{scenario:?} was not measured");
    }
}

#[test]
fn names_are_given_once_and_say_what_they_are() {
    let mut seen = BTreeSet::new();
    for scenario in SCENARIOS {
        assert!(seen.insert(scenario.name), "{} stands twice", scenario.name);
        let plain = |letter: u8| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'_');
        assert!(scenario.name.bytes().all(plain) && !scenario.name.is_empty() && !scenario.group.is_empty());
        assert!(scenario.counted != Some(0));
        assert_eq!(
            Scenario::by_name(scenario.name).map(|found| found.name),
            Some(scenario.name)
        );
    }
    assert!(Scenario::by_name("parse_call").is_none());
    assert!((10..=16).contains(&Scenario::counted().count()));
}

#[test]
fn an_operation_that_does_something_else_is_an_error() {
    let outcomes = [true, false, true];
    let mut next = outcomes.iter();
    let error = metered(&mut Few(0), || *next.next().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "1 of 3 operations did not do what they should");
    metered(&mut Few(0), || true).unwrap();
    // Tokens of another key are refused, so the scenario was set up wrong and must say so.
    let scenario = Scenario::by_name("verify_hit_64").unwrap();
    let mut material = scenario.material(Scale::Smoke);
    material.jwks = Scenario::by_name("verify_rs256_cold")
        .unwrap()
        .material(Scale::Smoke)
        .jwks;
    let error = scenario.run(&material, Scale::Smoke, &mut Few(0)).unwrap_err();
    assert!(error.to_string().contains("verify_hit_64"), "{error}");
}
