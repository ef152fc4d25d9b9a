use super::*;

fn host(features: &[&str]) -> Host {
    Host {
        arch: "x86_64".to_owned(),
        cpu_features: features.iter().map(|&name| name.to_owned()).collect(),
        valgrind: "valgrind-3.19.0".to_owned(),
    }
}

fn counts(of: &[(&str, u64)]) -> Counts {
    Counts {
        host: host(&["avx2"]),
        instructions: of.iter().map(|&(name, count)| (name.to_owned(), count)).collect(),
    }
}

fn step(instructions: u64, reason: &str) -> Step {
    Step {
        instructions,
        reason: reason.to_owned(),
        date: "2026-11-23".to_owned(),
    }
}

fn baseline(of: &[(&str, &[(u64, &str)])]) -> Baseline {
    let steps = |steps: &[(u64, &str)]| steps.iter().map(|&(count, reason)| step(count, reason)).collect();
    Baseline {
        host: host(&["avx2"]),
        scenarios: of
            .iter()
            .map(|&(name, given)| (name.to_owned(), steps(given)))
            .collect(),
    }
}

fn change(from: u64, to: u64) -> Change {
    Change {
        name: "parse".to_owned(),
        from,
        to,
    }
}

#[test]
fn three_percent_pass_and_a_tenth_more_fails_by_name() {
    for (to, expected) in [
        (100_000, None),
        (103_000, None),
        (103_001, Some(Finding::Grew(change(100_000, 103_001)))),
        (103_100, Some(Finding::Grew(change(100_000, 103_100)))),
        (97_000, None),
        (96_999, Some(Finding::Fell(change(100_000, 96_999)))),
        (0, Some(Finding::Fell(change(100_000, 0)))),
        (u64::MAX, Some(Finding::Grew(change(100_000, u64::MAX)))),
    ] {
        let found = check(
            &baseline(&[("parse", &[(100_000, "first")])]),
            &counts(&[("parse", to)]),
        );
        assert_eq!(found, Vec::from_iter(expected), "{to}");
    }
    let text = Finding::Grew(change(100_000, 103_100)).to_string();
    assert!(
        text.starts_with("`parse` 100000 -> 103100 instructions an operation (+3.1 %)"),
        "{text}"
    );
    assert!(Finding::Grew(change(1, 2)).fails() && !Finding::Fell(change(2, 1)).fails());
    let text = Finding::Fell(change(1_000, 949)).to_string();
    assert!(text.contains("(-5.1 %)"), "{text}");
}

#[test]
fn the_last_step_counts_and_small_steps_do_not_add_up() {
    let crept = baseline(&[("parse", &[(100_000, "first"), (110_000, "reads more"), (105_000, "")])]);
    assert_eq!(check(&crept, &counts(&[("parse", 105_000)])), []);
    // The baseline stays where it is until somebody accepts more.
    let found = check(&crept, &counts(&[("parse", 108_200)]));
    assert_eq!(found, [Finding::Grew(change(105_000, 108_200))]);
}

#[test]
fn a_scenario_and_its_baseline_need_each_other() {
    let known = baseline(&[("parse", &[(10, "first")]), ("gone", &[(10, "first")]), ("empty", &[])]);
    let found = check(&known, &counts(&[("parse", 10), ("fresh", 10), ("empty", 10)]));
    let expected = [
        Finding::Missing("empty".to_owned()),
        Finding::Missing("fresh".to_owned()),
        Finding::Vanished("gone".to_owned()),
    ];
    assert_eq!(found, expected);
    assert!(found.iter().all(Finding::fails));
}

#[test]
fn growth_in_the_file_needs_a_reason() {
    for (steps, expected) in [
        (&[(1_000, ""), (1_030, "")][..], None),
        (&[(1_000, ""), (1_031, "checks more")], None),
        (
            &[(1_000, ""), (1_031, "")],
            Some(Finding::Unreasoned(change(1_000, 1_031))),
        ),
        (
            &[(1_000, ""), (1_031, " \t")],
            Some(Finding::Unreasoned(change(1_000, 1_031))),
        ),
        (
            &[(1_000, ""), (1_031, ""), (900, "")],
            Some(Finding::Unreasoned(change(1_000, 1_031))),
        ),
        (&[(1_000, ""), (900, "")], None),
    ] {
        let current = steps.last().unwrap().0;
        let found = check(&baseline(&[("parse", steps)]), &counts(&[("parse", current)]));
        assert_eq!(found, Vec::from_iter(expected.clone()), "{steps:?}");
        assert!(found.iter().all(Finding::fails));
    }
}

#[test]
fn another_processor_is_no_pass() {
    let known = baseline(&[("parse", &[(1_000, "first")])]);
    let mut elsewhere = counts(&[("parse", 1_000)]);
    elsewhere.host = host(&["sse4.2"]);
    let found = check(&known, &elsewhere);
    assert!(
        matches!(&found[..], [finding @ Finding::HostDiffers { .. }] if finding.fails()),
        "{found:?}"
    );
    assert!(found[0].to_string().contains("accept --reason"));
    elsewhere.host = host(&["avx2"]);
    elsewhere.host.arch = "aarch64".to_owned();
    assert!(check(&known, &elsewhere)[0].fails());
    // Another valgrind that shows the same is told, and compared.
    let mut newer = counts(&[("parse", 1_040)]);
    newer.host.valgrind = "valgrind-3.24.0".to_owned();
    let found = check(&known, &newer);
    assert!(
        !found[0].fails() && found[1] == Finding::Grew(change(1_000, 1_040)),
        "{found:?}"
    );
}

fn accepted(counts: Counts, only: &[&str], reason: &str) -> Accepted {
    Accepted {
        counts,
        only: only.iter().map(|&name| name.to_owned()).collect(),
        reason: reason.to_owned(),
        date: "2026-11-23".to_owned(),
    }
}

#[test]
fn nothing_is_accepted_without_a_reason() {
    for reason in ["", " ", "\n"] {
        let error = accept(None, &accepted(counts(&[("parse", 1)]), &[], reason)).unwrap_err();
        assert_eq!(error, AcceptError::ReasonEmpty, "{reason:?}");
    }
}

#[test]
fn acceptance_appends_what_moved_or_was_named() {
    let known = || {
        baseline(&[
            ("a", &[(1_000, "first")]),
            ("b", &[(1_000, "first")]),
            ("gone", &[(1, "first")]),
        ])
    };
    let now = || counts(&[("a", 1_100), ("b", 1_010), ("c", 5)]);
    let new = accept(Some(known()), &accepted(now(), &[], " checks more ")).unwrap();
    let expected = baseline(&[
        ("a", &[(1_000, "first"), (1_100, "checks more")]),
        ("b", &[(1_000, "first")]),
        ("c", &[(5, "checks more")]),
    ]);
    assert_eq!(new, expected);
    assert_eq!(check(&new, &now()), []);
    let new = accept(Some(known()), &accepted(now(), &["b"], "why")).unwrap();
    assert_eq!(new.scenarios["b"], [step(1_000, "first"), step(1_010, "why")]);
    assert_eq!(new.scenarios["a"], [step(1_000, "first")]);
    let first = accept(None, &accepted(now(), &[], "first")).unwrap();
    assert_eq!(first.scenarios.len(), 3);
}

#[test]
fn another_machine_takes_over_the_whole_baseline_or_nothing() {
    let known = || baseline(&[("a", &[(1_000, "first")]), ("b", &[(1_000, "first")])]);
    let mut now = counts(&[("a", 1_000), ("b", 1_010)]);
    now.host = host(&["sse4.2"]);
    let error = accept(Some(known()), &accepted(now.clone(), &["a"], "why")).unwrap_err();
    assert!(matches!(error, AcceptError::HostDiffers(..)));
    let new = accept(Some(known()), &accepted(now.clone(), &[], "a new CI machine")).unwrap();
    assert_eq!(new.host, now.host);
    assert!(new.scenarios.values().all(|steps| steps.len() == 2));
    assert_eq!(check(&new, &now), []);
}
