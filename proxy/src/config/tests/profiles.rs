//! Profiles of issuers, and the keys that win over them.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::token::{Issuer, IssuerParts, MachineMark, MarkTest, Profile, RolesFrom, ScopeForm};

use super::{RIGHT, check, load_text, load_with};

const URL: &str = "https://login.example.test";
const ALGORITHMS: &str = "    algorithms: [RS256, ES256]";

/// The rules of the issuer with these further keys.
fn rules(keys: &str) -> Arc<Issuer> {
    let config = load_with(ALGORITHMS, keys).unwrap();
    Arc::clone(&config.issuers[0].issuer)
}

/// The same rules, told in the core's words.
fn rules_of(base: IssuerParts, change: impl FnOnce(&mut IssuerParts)) -> Issuer {
    let mut parts = IssuerParts {
        key_source: Arc::from("metadata false system"),
        ..base
    };
    change(&mut parts);
    Issuer::new(parts).unwrap()
}

fn strict() -> IssuerParts {
    IssuerParts::strict(Arc::from(URL))
}

#[test]
fn each_key_of_an_issuer_is_heard() {
    let own = |text: &str| Some(text.to_owned());
    type Change = fn(&mut IssuerParts, Option<String>);
    let claims: [(&str, Change); 5] = [
        ("subject_claim", |parts, claim| parts.subject_claim = claim),
        ("client_claim", |parts, claim| parts.client_claim = claim),
        ("scope_claim", |parts, claim| parts.scope_claim = claim),
        ("groups_claim", |parts, claim| parts.groups_claim = claim),
        ("roles_claim", |parts, claim| parts.roles_claim = claim),
    ];
    assert_eq!(*rules("    jwks_uri:"), rules_of(strict(), |_| ()));
    for (key, change) in claims {
        let expected = rules_of(strict(), |parts| change(parts, own("https://example.com/x")));
        let found = rules(&format!("    {key}: https://example.com/x"));
        assert_eq!(*found, expected, "{key}");
        assert_ne!(*found, rules_of(strict(), |_| ()), "{key}");
    }
    assert_eq!(
        *rules("    scope_claim: scp\n    scope_form: list"),
        rules_of(strict(), |parts| {
            (parts.scope_claim, parts.scope_form) = (own("scp"), Some(ScopeForm::List));
        })
    );
    assert_eq!(
        *rules("    token_types: [at+jwt, JWT]"),
        rules_of(strict(), |parts| {
            parts.token_types = Some(vec!["at+jwt".to_owned(), "JWT".to_owned()]);
        })
    );
    assert_eq!(
        *rules("    danger_accept_any_jwt: true"),
        rules_of(strict(), |parts| {
            parts.token_types = Some(["absent", "at+jwt", "JWT"].map(str::to_owned).to_vec());
        })
    );
    let mark = |claim: &str, test| MachineMark {
        claim: claim.to_owned(),
        test,
    };
    assert_eq!(
        *rules("    machine_mark: {claim: gty, is: client-credentials}"),
        rules_of(strict(), |parts| {
            parts.machine_marks = vec![mark("gty", MarkTest::Is("client-credentials".to_owned()))];
        })
    );
    assert_eq!(
        *rules("    machine_mark: {claim: /account/kind, starts_with: svc}"),
        rules_of(strict(), |parts| {
            parts.machine_marks = vec![mark("/account/kind", MarkTest::StartsWith("svc".to_owned()))];
        })
    );
    for (key, origin) in [
        ("    roles_from: policy_data", RolesFrom::PolicyData),
        ("    roles_from: token", RolesFrom::Token),
        ("    identity: {form: human_claim, claim: human}", RolesFrom::PolicyData),
        (
            "    identity: {form: human_claim, claim: human}\n    roles_from: policy_data",
            RolesFrom::PolicyData,
        ),
        ("    identity: {form: listed_agents, agents: [a]}", RolesFrom::Token),
    ] {
        assert_eq!(rules(key).roles_from(), origin, "{key}");
    }
    assert_eq!(
        *rules("    token_lifetime_max: 90m"),
        rules_of(strict(), |parts| parts.token_lifetime_max =
            Some(Duration::from_secs(5_400)))
    );
    assert_eq!(
        *rules("    single_as_list: true\n    danger_ignore_group_overage: true"),
        rules_of(strict(), |parts| {
            (parts.single_as_list, parts.danger_ignore_group_overage) = (true, true);
        })
    );
}

#[test]
fn a_profile_gives_way_to_what_is_written() {
    let ping = || Profile::named("ping").unwrap().parts(Arc::from(URL));
    assert_eq!(*rules("    profile: ping"), rules_of(ping(), |_| ()));
    assert_eq!(
        *rules("    profile: ping\n    client_claim: cid\n    single_as_list: false\n    token_types: [JWT]"),
        rules_of(ping(), |parts| {
            parts.client_claim = Some("cid".to_owned());
            parts.single_as_list = false;
            parts.token_types = Some(vec!["JWT".to_owned()]);
        })
    );
    // A mark of machines takes the place of all that the profile knows.
    let url = format!("{URL}/");
    for (key, own) in [("", 2), ("    machine_mark: {claim: kind, is: bot}", 1)] {
        let text = RIGHT
            .replace(URL, &url)
            .replacen(ALGORITHMS, &format!("    profile: auth0\n{key}"), 1);
        let config = load_text(&text).unwrap();
        let auth0 = Profile::named("auth0").unwrap().parts(Arc::from(&*url));
        let expected = rules_of(auth0, |parts| {
            if own == 1 {
                parts.machine_marks = vec![MachineMark {
                    claim: "kind".to_owned(),
                    test: MarkTest::Is("bot".to_owned()),
                }];
            }
            assert_eq!(parts.machine_marks.len(), own);
        });
        assert_eq!(*config.issuers[0].issuer, expected, "{key}");
    }
    // A form alone is the form of the profile's claim; another claim has a form of its own.
    assert_eq!(
        *rules("    profile: ping\n    scope_form: text"),
        rules_of(ping(), |parts| parts.scope_form = Some(ScopeForm::Text))
    );
    assert_eq!(
        *rules("    profile: ping\n    scope_claim: permissions"),
        rules_of(ping(), |parts| {
            (parts.scope_claim, parts.scope_form) = (Some("permissions".to_owned()), None);
        })
    );
}

#[test]
fn a_wrong_profile_is_told_with_the_right_one() {
    check(
        ALGORITHMS,
        "    profile: keyclock",
        r#"
error[E0301 issuer_invalid]: there is no profile `keyclock`
  --> gate.yaml:7:14
   |
 7 |     profile: keyclock
   |              ^
  = help: did you mean `keycloak`?
"#,
    );
    check(
        ALGORITHMS,
        "    profile: zitadelissimo",
        r#"
error[E0301 issuer_invalid]: there is no profile `zitadelissimo`
  --> gate.yaml:7:14
   |
 7 |     profile: zitadelissimo
   |              ^
  = help: known are `auth0`, `cognito`, `entra_v2`, `keycloak`, `okta`, `ping`
"#,
    );
    check(
        ALGORITHMS,
        "    profile: okta",
        r#"
error[E0301 issuer_invalid]: `https://login.example.test` is no issuer of the profile `okta`
  --> gate.yaml:6:13
   |
 6 |   - issuer: https://login.example.test
   |             ^
  = help: name a custom authorization server, such as `https://acme.okta.com/oauth2/default`: the organization's own issues tokens for Okta alone
"#,
    );
}

#[test]
fn a_claim_that_cannot_carry_what_it_should_is_named_where_it_stands() {
    check(
        ALGORITHMS,
        "    roles_claim: analysts\n    subject_claim: email",
        r#"
error[E0301 issuer_invalid]: the issuer `https://login.example.test` cannot name subjects in the claim `email`: people can change it (OpenID Connect Core 5.7)
  --> gate.yaml:8:20
   |
 8 |     subject_claim: email
   |                    ^
"#,
    );
    check(
        ALGORITHMS,
        "    groups_claim: /scope",
        r#"
error[E0301 issuer_invalid]: the issuer `https://login.example.test` cannot carry identity in the claim `/scope`
  --> gate.yaml:7:19
   |
 7 |     groups_claim: /scope
   |                   ^
"#,
    );
    check(
        ALGORITHMS,
        "    token_types: [at+jwt, jwt]",
        r#"
error[E0301 issuer_invalid]: the issuer `https://login.example.test` cannot have tokens of the type `jwt`: known are at+jwt, application/at+jwt, JWT and absent
  --> gate.yaml:7:27
   |
 7 |     token_types: [at+jwt, jwt]
   |                           ^
"#,
    );
    check(
        ALGORITHMS,
        "    token_types: [at+jwt]\n    danger_accept_any_jwt: true",
        r#"
error[E0301 issuer_invalid]: `token_types` and `danger_accept_any_jwt` say the same, and only one can hold
  --> gate.yaml:7:19
   |
 7 |     token_types: [at+jwt]
   |                   ^
"#,
    );
    check(
        ALGORITHMS,
        "    scope_form: text",
        r#"
error[E0301 issuer_invalid]: `scope_form` is the form of `scope_claim`, which is not there
  --> gate.yaml:6:13
   |
 6 |   - issuer: https://login.example.test
   |             ^
"#,
    );
    check(
        ALGORITHMS,
        "    identity: {form: human_claim, claim: human}\n    roles_from: token",
        r#"
error[E0301 issuer_invalid]: the issuer `https://login.example.test` cannot take roles from the token: in the form `human_claim` its roles are the agent's
  --> gate.yaml:8:17
   |
 8 |     roles_from: token
   |                 ^
"#,
    );
    check(
        ALGORITHMS,
        "    machine_mark: {claim: gty}",
        r#"
error[E0301 issuer_invalid]: `machine_mark` needs either `is` or `starts_with`
  --> gate.yaml:7:27
   |
 7 |     machine_mark: {claim: gty}
   |                           ^
  = help: such as `machine_mark: {claim: gty, is: client-credentials}`
"#,
    );
    check(
        ALGORITHMS,
        "    machine_mark: {claim: gty, starts_with: \"\"}",
        r#"
error[E0301 issuer_invalid]: an empty text would mark nobody or everybody
  --> gate.yaml:7:45
   |
 7 |     machine_mark: {claim: gty, starts_with: ""}
   |                                             ^
"#,
    );
    check(
        ALGORITHMS,
        "    machine_mark: {claim: exp, is: never}",
        r#"
error[E0301 issuer_invalid]: the issuer `https://login.example.test` cannot tell the tokens of machines by the claim `exp`
  --> gate.yaml:7:27
   |
 7 |     machine_mark: {claim: exp, is: never}
   |                           ^
"#,
    );
    for keys in [
        "    machine_mark: {claim: gty, is: a, starts_with: b}",
        "    machine_mark: {is: a}",
        "    machine_mark: gty",
        "    machine_mark: {claim: gty, ends_with: a}",
        "    roles_from: configuration",
        "    roles_from: [token]",
    ] {
        assert!(load_with(ALGORITHMS, keys).is_err(), "{keys}");
    }
    for time in ["0s", "999ms", "721h"] {
        let fault = load_with(ALGORITHMS, &format!("    token_lifetime_max: {time}"));
        let fault = fault.map(|_| ()).unwrap_err();
        assert!(fault.contains("expected a time from 1s to 2592000s"), "{fault}");
    }
    assert!(load_with(ALGORITHMS, "    token_lifetime_max: 720h").is_ok());
}

/// Tokens that name no audience are let in only for clients that the server lists.
#[test]
fn an_audience_from_elsewhere_is_listed() {
    let from = "    danger_audience_from: client_id";
    check(
        ALGORITHMS,
        from,
        r#"
error[E0405 server_invalid]: server `crm` lists no audiences for the issuer `https://login.example.test`, whose tokens may lack `aud`
  --> gate.yaml:9:5
   |
 9 |   - name: crm
   |     ^
"#,
    );
    let server = "servers:\n  - name: crm\n    issuer_audiences: {\"https://login.example.test\": [desktop]}";
    let both = format!("{from}\n{server}");
    let whole = format!("{ALGORITHMS}\nservers:\n  - name: crm");
    assert!(load_with(&whole, &both).is_ok());
}

/// An algorithm that is known and refused is refused with the reason.
#[test]
fn an_algorithm_is_refused_with_its_reason() {
    for (name, why) in [
        ("ES512", "the library that verifies signatures, ring, has no P-521"),
        ("ES256K", "the library that verifies signatures, ring, has no secp256k1"),
        (
            "ML-DSA-65",
            "the library that verifies signatures, ring, has no ML-DSA yet",
        ),
        (
            "HS256",
            "it is a shared secret: whoever can verify with it can mint tokens with it",
        ),
        (
            "hs512",
            "it is a shared secret: whoever can verify with it can mint tokens with it",
        ),
        ("none", "there is nothing to verify"),
        ("None", "there is nothing to verify"),
    ] {
        let place = format!("    algorithms: [{name}]");
        let fault = load_with(ALGORITHMS, &place).map(|_| ()).unwrap_err();
        let message = format!("error[E0301 issuer_invalid]: `{name}` is no accepted signature algorithm\n");
        assert!(fault.starts_with(&message), "{fault}");
        assert!(fault.contains(&format!("  = help: {why}\n")), "{fault}");
    }
}
