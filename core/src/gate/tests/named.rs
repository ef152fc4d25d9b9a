//! Prompts, resources, completions and subscriptions: what a call names is judged by its own row and by the policy.

use std::collections::BTreeMap;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::ALICE;
use serde_json::Value;

use super::super::*;
use super::stage::{ISSUER, Request, Setup, Stage, issuer, policy_of, server_parts, token};
use crate::config::{Server, ServerParts};
use crate::scope::{PromptTable, ResourceTable, ScopeRow};

/// Allows what it names, and says which questions it was asked by what it denies.
const REQUEST: &str = r#"
default visible := false

visible if not hidden

hidden if input.request.prompt == "hidden"

hidden if startswith(input.request.resource_uri, "file:///docs/hidden/")

decision := {"allow": false, "rule": "secret", "reason": "it is secret", "obligations": {}} if {
	input.request.resource_uri == "file:///docs/secret.md"
} else := {"allow": false, "rule": "rude", "reason": "it is rude", "obligations": {}} if {
	input.request.arguments.tone == "rude"
} else := {"allow": false, "rule": "completes", "reason": "it completes a secret", "obligations": {}} if {
	input.request.arguments.argument.value == "secret"
} else := {"allow": false, "rule": "answers", "reason": "it answers too much", "obligations": {}} if {
	input.request.input_responses.key.action == "accept"
} else := {"allow": false, "rule": "no-subscription", "reason": "it is not subscribed to", "obligations": {}} if {
	input.request.method == "resources/subscribe"
	input.request.resource_uri == "file:///docs/still.md"
} else := {"allow": false, "rule": "silence", "reason": "no level", "obligations": {}} if {
	input.request.method in {"initialize", "ping", "logging/setLevel", "notifications/initialized"}
} else := {"allow": true, "rule": "all", "reason": "whatever it is", "obligations": {}}
"#;
const RESPONSE: &str = r#"decision := {"allow": true, "rule": "all", "reason": "whatever it is", "obligations": {}}"#;

/// A stage with rows for prompts and resources; Alice's token has `salesforce:read` and not `admin`.
fn stage() -> Stage {
    let setup = Setup {
        policy: policy_of(REQUEST, RESPONSE),
        ..Setup::default()
    };
    let row = |scope: &str| ScopeRow {
        scopes: vec![scope.to_owned()],
        class: None,
    };
    let table = |rows: &[(&str, &str)]| -> BTreeMap<String, ScopeRow> {
        rows.iter()
            .map(|(name, scope)| ((*name).to_owned(), row(scope)))
            .collect()
    };
    let prompts = table(&[
        ("brief", "salesforce:read"),
        ("hidden", "salesforce:read"),
        ("audit", "admin"),
    ]);
    let resources = table(&[
        ("file:///docs/*", "salesforce:read"),
        ("file:///docs/admin/*", "admin"),
        ("file:///docs/hidden/admin/*", "admin"),
    ]);
    let none = BTreeMap::new();
    let stage = Stage::with(setup);
    let parts = server_parts(
        "crm",
        &policy_of(REQUEST, RESPONSE),
        Setup::default().rate,
        vec![issuer(ISSUER)],
    );
    let server = Server::new(ServerParts {
        prompts: PromptTable::new(prompts, &none, false).unwrap(),
        resources: ResourceTable::new(resources, &none, false).unwrap(),
        ..parts
    });
    let snapshot = Snapshot::new(vec![Arc::new(server.unwrap())], Setup::default().limits, [7; 32]).unwrap();
    stage.gate.publish(snapshot);
    stage
}

fn request(call: &Call) -> Request {
    Request::with_token(call, &token(&ALICE).sign(keys::es256()))
}

/// The reason `call` is refused for, and the rule of its record.
#[track_caller]
fn check(stage: &Stage, call: &Call, reason: Option<DenyReason>, rule: Option<&str>) {
    let got = stage
        .forward(&request(call))
        .map(|_| ())
        .map_err(|denial| denial.reason);
    assert_eq!(got.err(), reason, "{}", call.body);
    let record = last(stage);
    assert_eq!(record["rule"].as_str(), rule, "{} {record}", call.body);
}

/// The newest record of a request.
fn last(stage: &Stage) -> Value {
    let records = stage.records().into_iter();
    records.rev().find(|record| record["phase"] == "request").unwrap()
}

#[test]
fn a_prompt_needs_its_row_its_scopes_and_the_policy() {
    let stage = stage();
    for era in [Era::Legacy, Era::Modern] {
        let get = |name: &str, arguments: &str| Call::prompts_get(era, 1, name, arguments);
        check(&stage, &get("brief", "{}"), None, Some("all"));
        check(
            &stage,
            &get("brief", r#"{"tone":"rude"}"#),
            Some(DenyReason::PolicyDenied),
            Some("rude"),
        );
        check(&stage, &get("hidden", "{}"), Some(DenyReason::ToolHidden), None);
        check(&stage, &get("other", "{}"), Some(DenyReason::PromptUnmapped), None);
        // A tool's row is no prompt's.
        let tool = super::stage::READ;
        check(&stage, &get(tool, "{}"), Some(DenyReason::PromptUnmapped), None);
        check(&stage, &get("audit", "{}"), Some(DenyReason::ScopeInsufficient), None);
        let denial = stage.forward(&request(&get("audit", "{}"))).unwrap_err();
        let scope = denial.challenge.unwrap().scope.unwrap();
        assert!(scope.split(' ').any(|scope| scope == "admin"), "{scope}");
    }
}

#[test]
fn a_resource_needs_its_row_its_scopes_and_the_policy() {
    let stage = stage();
    for era in [Era::Legacy, Era::Modern] {
        let read = |uri: &str| Call::resources_read(era, 1, uri);
        check(&stage, &read("file:///docs/a.md"), None, Some("all"));
        check(
            &stage,
            &read("file:///docs/secret.md"),
            Some(DenyReason::PolicyDenied),
            Some("secret"),
        );
        check(
            &stage,
            &read("file:///docs/hidden/a"),
            Some(DenyReason::ToolHidden),
            None,
        );
        check(
            &stage,
            &read("file:///docs/hidden/admin/a"),
            Some(DenyReason::ToolHidden),
            None,
        );
        check(
            &stage,
            &read("file:///docs/admin/a"),
            Some(DenyReason::ScopeInsufficient),
            None,
        );
        check(
            &stage,
            &read("file:///etc/passwd"),
            Some(DenyReason::ResourceUnmapped),
            None,
        );
        // Other spellings of what is denied reach neither row nor policy.
        for spelling in [
            "file:///docs/x/../secret.md",
            "file:///docs/%73ecret.md",
            "FILE:///docs/secret.md",
        ] {
            check(&stage, &read(spelling), Some(DenyReason::ParamsInvalid), None);
        }
    }
    check(
        &stage,
        &Call::resources_subscribe(1, "file:///docs/a.md"),
        None,
        Some("all"),
    );
    let still = Call::resources_subscribe(1, "file:///docs/still.md");
    check(&stage, &still, Some(DenyReason::PolicyDenied), Some("no-subscription"));
}

#[test]
fn a_completion_needs_what_its_prompt_or_resource_needs() {
    let stage = stage();
    let prompt = |name: &str| format!(r#"{{"type":"ref/prompt","name":"{name}"}}"#);
    let resource = |uri: &str| format!(r#"{{"type":"ref/resource","uri":"{uri}"}}"#);
    for era in [Era::Legacy, Era::Modern] {
        let complete = |reference: &str, value: &str| Call::complete(era, 1, reference, "a", value);
        check(&stage, &complete(&prompt("brief"), "v"), None, Some("all"));
        check(
            &stage,
            &complete(&resource("file:///docs/{name}"), "v"),
            None,
            Some("all"),
        );
        let secret = complete(&prompt("brief"), "secret");
        check(&stage, &secret, Some(DenyReason::PolicyDenied), Some("completes"));
        check(
            &stage,
            &complete(&prompt("hidden"), "v"),
            Some(DenyReason::ToolHidden),
            None,
        );
        check(
            &stage,
            &complete(&prompt("audit"), "v"),
            Some(DenyReason::ScopeInsufficient),
            None,
        );
        check(
            &stage,
            &complete(&prompt("other"), "v"),
            Some(DenyReason::PromptUnmapped),
            None,
        );
        let outside = complete(&resource("file:///{path}"), "v");
        check(&stage, &outside, Some(DenyReason::ResourceUnmapped), None);
    }
}

#[test]
fn each_part_of_a_subscription_is_judged() {
    let stage = stage();
    let listen = |uris: &[&str]| {
        let uris = serde_json::to_string(uris).unwrap();
        Call::subscriptions_listen(
            1,
            &format!(r#"{{"toolsListChanged":true,"resourceSubscriptions":{uris}}}"#),
        )
    };
    check(&stage, &Call::subscriptions_listen(1, "{}"), None, Some("all"));
    check(
        &stage,
        &listen(&["file:///docs/a.md", "file:///docs/b.md"]),
        None,
        Some("all"),
    );
    let (good, refused) = ("file:///docs/a.md", Some(DenyReason::PolicyDenied));
    check(
        &stage,
        &listen(&[good, "file:///docs/still.md"]),
        refused,
        Some("no-subscription"),
    );
    check(
        &stage,
        &listen(&["file:///docs/secret.md", good]),
        refused,
        Some("secret"),
    );
    check(
        &stage,
        &listen(&[good, "file:///etc/x"]),
        Some(DenyReason::ResourceUnmapped),
        None,
    );
    check(
        &stage,
        &listen(&[good, "file:///docs/hidden/a"]),
        Some(DenyReason::ToolHidden),
        None,
    );
    check(
        &stage,
        &listen(&[good, "file:///docs/hidden/admin/a"]),
        Some(DenyReason::ToolHidden),
        None,
    );
    check(
        &stage,
        &listen(&["file:///docs/admin/a", good]),
        Some(DenyReason::ScopeInsufficient),
        None,
    );
    let many = vec![good; 65];
    check(&stage, &listen(&many[..64]), None, Some("all"));
    check(&stage, &listen(&many), Some(DenyReason::ParamsInvalid), None);
    let task = Call::subscriptions_listen(1, r#"{"taskIds":["somebody-elses"]}"#);
    check(&stage, &task, Some(DenyReason::TaskUnknown), None);
}

#[test]
fn what_the_protocol_needs_is_allowed_without_the_policy() {
    let stage = stage();
    check(&stage, &Call::initialize(1), None, Some("protocol"));
    check(&stage, &Call::ping(1), None, Some("protocol"));
    check(&stage, &Call::initialized(), None, Some("protocol"));
    check(&stage, &Call::discover(1), None, Some("protocol"));
    let level = Call::set_level(1, "info");
    check(&stage, &level, Some(DenyReason::PolicyDenied), Some("silence"));
}

#[test]
fn answers_to_the_server_are_judged_and_its_state_links_the_records() {
    let stage = stage();
    let with = |more: &str| {
        let call = Call::prompts_get(Era::Modern, 1, "brief", "{}");
        let body = call.body.replacen("\"arguments\"", &format!("{more},\"arguments\""), 1);
        Call { body, ..call }
    };
    let declined = r#""inputResponses":{"key":{"action":"decline"}},"requestState":"s\u00741""#;
    check(&stage, &with(declined), None, Some("all"));
    let forwarded = stage.forward(&request(&with(declined))).unwrap().0;
    assert_eq!(&forwarded.body[..], with(declined).body.as_bytes(), "byte for byte");
    let digest = |stage: &Stage| last(stage)["request_state_digest"].clone();
    let linked = digest(&stage);
    check(&stage, &with(r#""requestState":"st1""#), None, Some("all"));
    assert!(linked.is_string() && linked == digest(&stage), "by value");
    check(&stage, &with(r#""requestState":"st2""#), None, Some("all"));
    assert_ne!(linked, digest(&stage));
    let accepted = with(r#""inputResponses":{"key":{"action":"accept"}}"#);
    check(&stage, &accepted, Some(DenyReason::PolicyDenied), Some("answers"));
    assert_eq!(digest(&stage), Value::Null);
}

#[test]
fn records_name_prompts_and_the_rows_of_resources_but_no_uri() {
    let stage = stage();
    check(
        &stage,
        &Call::prompts_get(Era::Legacy, 1, "brief", "{}"),
        None,
        Some("all"),
    );
    let record = last(&stage);
    assert_eq!(
        (&record["prompt"], &record["tool"]),
        (&Value::from("brief"), &Value::Null)
    );
    assert_eq!(
        (&record["resource_row"], &record["resource_digest"]),
        (&Value::Null, &Value::Null)
    );
    check(
        &stage,
        &Call::resources_read(Era::Legacy, 1, "file:///docs/ann/grades.md"),
        None,
        Some("all"),
    );
    let record = last(&stage);
    assert_eq!(record["resource_row"], "file:///docs/*");
    let first = record["resource_digest"].clone();
    assert!(first.is_string());
    check(
        &stage,
        &Call::resources_read(Era::Legacy, 1, "file:///docs/bob/grades.md"),
        None,
        Some("all"),
    );
    assert_ne!(last(&stage)["resource_digest"], first);
    assert!(stage.log().iter().all(|record| !record.contains("grades")));
    let unmapped = Call::resources_read(Era::Legacy, 1, "file:///etc/grades");
    check(&stage, &unmapped, Some(DenyReason::ResourceUnmapped), None);
    assert_eq!(last(&stage)["resource_row"], Value::Null);
    assert!(last(&stage)["resource_digest"].is_string());
}

#[test]
fn sessions_and_resumption_mean_nothing_in_the_modern_era() {
    let stage = stage();
    let call = Call::prompts_get(Era::Modern, 1, "brief", "{}")
        .header("mcp-session-id", "of-nobody")
        .header("last-event-id", "7");
    let (forward, _) = stage.forward(&request(&call)).unwrap();
    for name in ["mcp-session-id", "last-event-id"] {
        assert!(forward.headers.iter().all(|(crossing, _)| crossing != name), "{name}");
    }
    assert_eq!(last(&stage)["session"], Value::Null);
}
