//! `policy.bundle` and `policy.watch`: good values and bad ones.

use std::time::Duration;

use super::{check, load_with};

const FILES: &str = "      files: [policy.rego]\n";

/// The policy as this bundle.
fn bundle(members: &str) -> String {
    format!("      bundle: {{{members}}}\n")
}

#[test]
fn a_bundle_takes_the_place_of_files() {
    let config = load_with(FILES, &bundle("url: https://bundles.example.test/crm.tar.gz")).unwrap();
    let plan = config.bundle_plans().next().unwrap();
    assert_eq!(&*plan.server, "crm");
    assert!(plan.folder.ends_with("state/bundles/crm"));
    assert_eq!(plan.settings.delay_min, Duration::from_secs(60));
    assert_eq!(plan.settings.delay_max, Duration::from_secs(120));
    assert!(plan.settings.deltas && plan.verification.is_none() && !plan.danger_allow_rollback);
    let members =
        "url: http://127.0.0.1:1/x, poll_min: 5s, long_poll: 1m, token_file: secret.txt, danger_allow_rollback: true";
    let config = load_with(FILES, &bundle(members)).unwrap();
    let plan = config.bundle_plans().next().unwrap();
    assert_eq!(plan.settings.delay_max, Duration::from_secs(10));
    assert_eq!(plan.settings.long_poll, Some(Duration::from_secs(60)));
    assert!(plan.danger_allow_rollback);
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings.iter().any(|warning| warning.contains("danger_allow_rollback")),
        "{warnings:?}"
    );
}

#[test]
fn a_bundle_that_could_not_be_trusted_or_asked_for_is_refused() {
    check(
        FILES,
        &bundle("url: http://bundles.example.test/crm.tar.gz"),
        r#"
error[E0105 invalid_value]: the URL of a bundle is https, or http on loopback: who changes a bundle on its way changes the policy
  --> gate.yaml:20:21
    |
 20 |       bundle: {url: http://bundles.example.test/crm.tar.gz}
    |                     ^
  = help: write `url: https://bundles.example.com/crm.tar.gz`
"#,
    );
    let https = "url: https://bundles.example.test/x";
    let cases = [
        (
            bundle(&format!("{https}, scope: write")),
            "without `keys` none is verified",
        ),
        (
            bundle(&format!("{https}, keys: none.jwks")),
            "the file `none.jwks` cannot be read",
        ),
        (
            bundle(&format!("{https}, keys: secret.txt")),
            "the key set `secret.txt` cannot be used",
        ),
        (
            bundle(&format!("{https}, ca: none.pem")),
            "the file `none.pem` cannot be read",
        ),
        (
            bundle(&format!("{https}, poll_min: 999ms")),
            "`poll_min` is from 1s to 24h",
        ),
        (
            bundle(&format!("{https}, poll_min: 2m, poll_max: 1m")),
            "`poll_max` is shorter than `poll_min`",
        ),
        (
            bundle(&format!("{https}, long_poll: 11m")),
            "`long_poll` is from 1s to 10m",
        ),
        (bundle(&format!("{https}, more: 1")), "unknown key `more`"),
        (bundle("url: 7x"), "the URL of a bundle is https"),
        (bundle(https) + FILES, "a bundle takes the place of `files` and `data`"),
        (
            bundle(https) + "      watch: 1s\n",
            "a bundle takes the place of `files` and `data`",
        ),
    ];
    for (policy, reason) in cases {
        let said = load_with(FILES, &policy).map(|_| ()).unwrap_err();
        assert!(said.contains(reason), "{policy}: {said}");
    }
}

#[test]
fn watched_files_are_looked_at_within_bounds() {
    let config = load_with(FILES, &format!("{FILES}      watch: 2s\n")).unwrap();
    let (interval, files) = config.watched().unwrap();
    assert_eq!((interval, files.len()), (Duration::from_secs(2), 1));
    assert!(load_with(FILES, FILES).unwrap().watched().is_none());
    for wrong in ["499ms", "61m"] {
        let said = load_with(FILES, &format!("{FILES}      watch: {wrong}\n"))
            .map(|_| ())
            .unwrap_err();
        assert!(said.contains("`watch` is from 500ms to 1h"), "{said}");
    }
}
