//! What a client is told about a better token, and to whom nothing is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::ALICE;
use serde_json::{Value, json as value};

use super::stage::*;
use crate::config::{Server, ServerParts};
use crate::denial::{AuthenticationDemand, Challenge, ChallengeError, Denial, DenyReason};
use crate::gate::Snapshot;
use crate::head::ClientCertificate;
use crate::limit::Rate;
use crate::scope::{ScopeRow, ToolTable};

/// A call of `tool` with a token of these scopes.
fn with_scopes(era: Era, tool: &str, scopes: &str) -> Request {
    let token = token(&ALICE).scope(scopes).sign(keys::es256());
    Request::with_token(&Call::tools_call(era, 7, tool, OWN_ACCOUNT), &token)
}

fn refused(stage: &Stage, request: &Request) -> Denial {
    stage.record(request).unwrap_err()
}

/// A stage whose table has one tool with these scopes, and a policy that allows everything and shows what `visible`
/// says.
fn table(required: &[&str], implies: &[(&str, &[&str])], visible: &str) -> Stage {
    let stage = Stage::new();
    let policy = policy_of(&format!("{ALLOW}\n{visible}"), ALLOW);
    let rate = Rate {
        per_second: 1_000,
        burst: 1_000,
    };
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    let row = ScopeRow {
        scopes: texts(required),
        class: None,
    };
    let implies: BTreeMap<String, Vec<String>> = implies
        .iter()
        .map(|&(broad, narrow)| (broad.to_owned(), texts(narrow)))
        .collect();
    let parts = ServerParts {
        tools: ToolTable::new(BTreeMap::from([(READ.to_owned(), row)]), &implies, false).unwrap(),
        ..server_parts("crm", &policy, rate, vec![issuer(ISSUER)])
    };
    let server = Arc::new(Server::new(parts).unwrap());
    let limits = stage.gate.snapshot().limits().clone();
    stage
        .gate
        .publish(Snapshot::new(vec![server], limits, [7; 32]).unwrap());
    stage
}

fn scope_of(denial: &Denial) -> Option<&str> {
    denial
        .challenge
        .as_ref()
        .and_then(|challenge| challenge.scope.as_deref())
}

#[test]
fn a_scope_challenge_names_everything_the_client_should_ask_for() {
    let stage = Stage::new();
    for (era, scope) in [
        // A legacy client replaces the scopes it had by those of the challenge.
        (Era::Legacy, "openid repo salesforce:read"),
        (Era::Modern, "salesforce:read"),
    ] {
        let denial = refused(&stage, &with_scopes(era, READ, "repo openid"));
        assert_eq!(denial.reason, DenyReason::ScopeInsufficient);
        assert_eq!(denial.modern, era == Era::Modern);
        assert_eq!(denial.request_id.as_deref(), Some("7"));
        let expected = Challenge {
            error: Some(ChallengeError::InsufficientScope),
            scope: Some(scope.to_owned()),
            resource_metadata: "https://gate.example/.well-known/oauth-protected-resource/crm".to_owned(),
            authentication: None,
            dpop: None,
        };
        assert_eq!(denial.challenge.as_deref(), Some(&expected));
        let record = stage.last();
        assert_eq!(
            (&record["decision"], &record["reason"]),
            (&"deny".into(), &"scope_insufficient".into())
        );
    }
    let unmapped = refused(&stage, &with_scopes(Era::Legacy, "unknown", "repo"));
    assert_eq!((unmapped.reason, unmapped.challenge), (DenyReason::ToolUnmapped, None));
}

#[test]
fn the_same_scopes_in_any_order_make_the_same_challenge() {
    let orders = [
        ["b:read", "a:write", "c"],
        ["c", "b:read", "a:write"],
        ["a:write", "c", "b:read"],
    ];
    for era in [Era::Legacy, Era::Modern] {
        let mut challenges = Vec::new();
        for required in &orders {
            let twice: Vec<&str> = required.iter().chain(required).copied().collect();
            let stage = table(&twice, &[], "");
            for granted in ["c z x", "x c z", "z z x c", "x  z c"] {
                challenges.push(refused(&stage, &with_scopes(era, READ, granted)).challenge);
            }
        }
        let scope = match era {
            Era::Legacy => "a:write b:read c x z",
            Era::Modern => "a:write b:read c",
        };
        assert!(challenges.iter().all(|challenge| *challenge == challenges[0]));
        assert_eq!(challenges[0].as_ref().unwrap().scope.as_deref(), Some(scope));
    }
}

#[test]
fn broad_scopes_count_when_scopes_are_missing() {
    let stage = table(
        &["repo:read", "user"],
        &[("repo", &["repo:read"]), ("admin", &["repo", "user"])],
        "",
    );
    for (granted, missing) in [
        ("repo:read user", None),
        ("repo user", None),
        ("admin", None),
        ("repo", Some("repo:read user")),
        ("user", Some("repo:read user")),
        ("", Some("repo:read user")),
    ] {
        let denial = stage.record(&with_scopes(Era::Modern, READ, granted)).err();
        assert_eq!(denial.as_ref().and_then(scope_of), missing, "{granted}");
        assert_eq!(denial.is_some(), missing.is_some(), "{granted}");
    }
}

/// Whoever may not see a tool learns nothing of it, and least of all by a challenge.
#[test]
fn a_challenge_is_for_those_who_may_see_the_tool() {
    let hidden = Some(DenyReason::ToolHidden);
    let failed = Some(DenyReason::PolicyFailed);
    for (name, visible, expected) in [
        ("no word of it", "", Some(DenyReason::ScopeInsufficient)),
        ("shown", "visible := true", Some(DenyReason::ScopeInsufficient)),
        ("hidden", "visible := false", hidden),
        ("undefined", "visible if input.absent", hidden),
        ("something else than true", "visible := \"true\"", hidden),
        (
            "a conflict",
            "visible := true if input.request\nvisible := false if input.time",
            hidden,
        ),
        (
            "too long",
            "visible if count({[a, b, c] | some a in input.subject.scopes; some b in input.subject.scopes; some c in input.subject.scopes}) > 0",
            failed,
        ),
    ] {
        let stage = table(&["needed"], &[], visible);
        let many: Vec<String> = (0..60).map(|number| format!("s{number}")).collect();
        let denial = refused(&stage, &with_scopes(Era::Modern, READ, &many.join(" ")));
        assert_eq!(Some(denial.reason), expected, "{name}");
        let told = expected == Some(DenyReason::ScopeInsufficient);
        assert_eq!(denial.challenge.is_some(), told, "{name}");
        assert_eq!(stage.last()["reason"], denial.reason.code(), "{name}");
    }
    // The sample policy: Alice has no role for this one, and the other does not exist.
    let stage = Stage::new();
    let told = |tool: &str| {
        let mut denial = refused(&stage, &with_scopes(Era::Modern, tool, "repo"));
        assert!(denial.record_id.take().is_some());
        (denial.challenge, denial.retry_after_s, denial.request_id)
    };
    assert_eq!(told("salesforce.account.delete"), told("salesforce.account.erase"));
}

/// A policy that asks for a login, and the token of that login.
fn logged_in(allow: bool, demand: &str, claims: &[(&str, Value)], era: Era) -> (Stage, Request) {
    let decision = format!(
        r#"decision := {{"allow": {allow}, "rule": "strong", "reason": "so it is", "obligations": {{"authenticate": {demand}}}}}"#
    );
    let mut token = token(&ALICE);
    for (name, claim) in claims {
        token = token.claim(name, claim.clone());
    }
    let request = Request::with_token(&read_call(era), &token.sign(keys::es256()));
    (Stage::deciding(&decision, ALLOW), request)
}

#[test]
fn a_login_must_be_as_strong_and_as_fresh_as_the_policy_asks() {
    let both = r#"{"acr_values": ["loa3", "loa2"], "max_age": 300}"#;
    let acr = r#"{"acr_values": ["loa2"]}"#;
    let age = r#"{"max_age": 300}"#;
    let at = |seconds: u64| value!(seconds);
    // The leeway of a minute is the issuer's clock, not more time.
    for (name, demand, claims, passes) in [
        (
            "both hold",
            both,
            vec![("acr", value!("loa2")), ("auth_time", at(NOW_S))],
            true,
        ),
        (
            "the other value",
            both,
            vec![("acr", value!("loa3")), ("auth_time", at(NOW_S - 300))],
            true,
        ),
        (
            "old within leeway",
            both,
            vec![("acr", value!("loa3")), ("auth_time", at(NOW_S - 360))],
            true,
        ),
        (
            "old",
            both,
            vec![("acr", value!("loa3")), ("auth_time", at(NOW_S - 361))],
            false,
        ),
        (
            "weak",
            both,
            vec![("acr", value!("loa1")), ("auth_time", at(NOW_S))],
            false,
        ),
        ("no strength", both, vec![("auth_time", at(NOW_S))], false),
        ("no time", both, vec![("acr", value!("loa2"))], false),
        ("nothing", both, vec![], false),
        ("strength alone", acr, vec![("acr", value!("loa2"))], true),
        ("a longer name", acr, vec![("acr", value!("loa22"))], false),
        ("two in one", acr, vec![("acr", value!("loa2 loa3"))], false),
        ("another case", acr, vec![("acr", value!("LOA2"))], false),
        ("age alone", age, vec![("auth_time", at(NOW_S - 1))], true),
        ("a clock ahead", age, vec![("auth_time", at(NOW_S + 60))], true),
        ("the future", age, vec![("auth_time", at(NOW_S + 61))], false),
        ("no age", age, vec![("acr", value!("loa3"))], false),
    ] {
        let (stage, request) = logged_in(true, demand, &claims, Era::Modern);
        let denial = stage.record(&request).err();
        let reason = denial.as_ref().map(|denial| denial.reason);
        let expected = (!passes).then_some(DenyReason::AuthenticationInsufficient);
        assert_eq!(reason, expected, "{name}");
        let records = stage.records();
        let record = &records[0];
        let (decision, reason) = if passes {
            ("allow", "so it is")
        } else {
            ("deny", "authentication_insufficient")
        };
        assert_eq!(
            (&record["decision"], &record["rule"], &record["reason"]),
            (&decision.into(), &"strong".into(), &reason.into()),
            "{name}"
        );
    }
}

#[test]
fn a_login_is_asked_for_in_the_words_of_the_policy() {
    let demand = r#"{"acr_values": ["loa3", "loa2"], "max_age": 300}"#;
    for allow in [true, false] {
        for (era, scope) in [(Era::Legacy, "repo salesforce:read"), (Era::Modern, "salesforce:read")] {
            let (stage, request) = logged_in(allow, demand, &[], era);
            let denial = refused(&stage, &request);
            assert_eq!(denial.reason, DenyReason::AuthenticationInsufficient);
            let expected = Challenge {
                error: Some(ChallengeError::InsufficientUserAuthentication),
                scope: Some(scope.to_owned()),
                resource_metadata: "https://gate.example/.well-known/oauth-protected-resource/crm".to_owned(),
                authentication: Some(AuthenticationDemand {
                    acr_values: ["loa3".into(), "loa2".into()].into(),
                    max_age_s: Some(300),
                }),
                dpop: None,
            };
            assert_eq!(denial.challenge.as_deref(), Some(&expected), "{allow} {scope}");
        }
    }
    // A denial that no login changes is what it is: another login would end here again.
    let claims = [("acr", value!("loa2")), ("auth_time", value!(NOW_S))];
    let (stage, request) = logged_in(false, demand, &claims, Era::Modern);
    let denial = refused(&stage, &request);
    assert_eq!((denial.reason, denial.challenge), (DenyReason::PolicyDenied, None));
    assert_eq!(stage.last()["reason"], "so it is");
}

#[test]
fn no_other_proof_stands_in_for_a_login() {
    let (stage, mut request) = logged_in(true, r#"{"max_age": 300}"#, &[], Era::Modern);
    request.certificate = Some(ClientCertificate {
        sha256: [7; 32],
        identity: None,
        refused: None,
    });
    assert_eq!(refused(&stage, &request).reason, DenyReason::AuthenticationInsufficient);
}

#[test]
fn a_demand_that_cannot_be_told_lets_nothing_pass() {
    for (decision, reason) in [
        (r#"{"acr_values": ["a\"b"]}"#, DenyReason::PolicyFailed),
        (r#"{"acr_values": ["loa2"], "amr": ["otp"]}"#, DenyReason::PolicyFailed),
        (r#"{"acr_values": ["loa2"]}"#, DenyReason::AuthenticationInsufficient),
    ] {
        let (stage, request) = logged_in(true, decision, &[], Era::Modern);
        assert_eq!(refused(&stage, &request).reason, reason, "{decision}");
    }
    // An answer has been made: no login can be asked for any more.
    let review = r#"decision := {"allow": true, "rule": "r", "obligations": {"authenticate": {"max_age": 300}}}"#;
    let stage = Stage::deciding(ALLOW, review);
    let mut ticket = stage.ticket();
    let release = stage.review(
        &mut ticket,
        json(200, r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#),
    );
    assert!(matches!(release, crate::gate::Release::Withheld(denial) if denial.reason == DenyReason::PolicyFailed));
}
