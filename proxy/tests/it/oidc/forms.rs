//! One person and one agent in the three forms of a real authorization server's tokens: by token exchange (`act`), by
//! the agent as the person's client, and by the agent's own token with a signed claim.
//!
//! The gate is told the form of its issuer anew by reloads, so that all records stand in one log under one key.

use serde_json::{Value, json};

use super::provider::{AGENT, Provider};
use super::{GATEWAY_SECRET, KEYS, config, echo, resource, start};
use crate::gate::{CONFIG, Gate, HOST, is_allow, until};
use crate::interop::install::Parts;

/// Analysts may call, by themselves or by an assistant.
const RULES: &str = r#"package portcullis

request.decision := {"allow": true, "rule": "analyst", "reason": "an analyst"} if {
	input.subject.kind == "human"
	"analyst" in input.subject.roles
	is_known_actor
} else := {"allow": true, "rule": "machine", "reason": "a machine"} if {
	input.subject.kind == "machine"
	"batch" in input.subject.roles
} else := {"allow": false, "rule": "default", "reason": "no rule allows it"}

is_known_actor if not input.actor

is_known_actor if {
	input.actor.kind == "agent"
	"assistant" in input.actor.roles
}

response.decision := {"allow": true, "rule": "all", "reason": ""}
"#;

/// The forms: their names, and what they need beside the name.
const FORMS: [(&str, &str); 3] = [
    ("act", ""),
    ("listed_agents", ", agents: [assistant-1]"),
    ("human_claim", ", claim: initiator"),
];

fn data(issuer: &str) -> String {
    json!({
        "subjects": {"default": {issuer: {
            "alice": {"groups": [], "roles": ["analyst"]},
            "carol": {"groups": [], "roles": ["developer"]},
            AGENT: {"groups": [], "roles": ["batch"]},
        }}},
        "agents": {"default": {issuer: {AGENT: {"groups": [], "roles": ["assistant"]}}}},
    })
    .to_string()
}

/// The token by which the agent calls for a person.
fn for_person(provider: &Provider, form: &str, person: &str, path: &str) -> String {
    let resource = resource(path);
    match form {
        "listed_agents" => provider.login_through(AGENT, person, &resource).access,
        // What is exchanged is a JWT for another server.
        _ => {
            let own = provider.login(person, &super::resource("/rs/mcp")).access;
            provider.exchange(&own, form, &resource).access
        }
    }
}

#[test]
fn one_person_and_one_agent_are_one_in_three_forms() {
    let Some(parts) = Parts::install() else { return };
    let keys = tempfile::tempdir().unwrap();
    let provider = start(&parts, 0, keys.path(), &KEYS);
    let files = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("oidc.rego", RULES),
        ("gateway.txt", GATEWAY_SECRET),
        ("people.json", &data(&provider.url)),
    ] {
        std::fs::write(files.path().join(name), text).unwrap();
    }
    let mut upstream = String::new();
    let in_form = |upstream: &str, (form, more): (&str, &str)| {
        let identity = format!("    identity: {{form: {form}{more}}}\n    roles_from: policy_data\n");
        config(&provider.url, upstream, "")
            .replacen("    introspection:", &format!("{identity}    introspection:"), 1)
            .replace("files: [oidc.rego]", "files: [oidc.rego], data: [people.json]")
    };
    let mut gate = Gate::start_changed_in(files, |_, text| {
        let url = text.lines().find_map(|line| line.strip_prefix("      url: ")).unwrap();
        upstream = url.to_owned();
        in_form(&upstream, FORMS[0])
    });
    for (number, form) in FORMS.into_iter().enumerate() {
        if 0 < number {
            std::fs::write(gate.path(CONFIG), in_form(&upstream, form)).unwrap();
            gate.signal("HUP");
            until(|| gate.logged("configuration reloaded").len() == number);
        }
        for path in ["/es/mcp", "/opaque/mcp"] {
            let call = |token: &str| {
                let call = echo().bearer(token).to_http(HOST, path);
                gate.connect().exchange(&call).unwrap()
            };
            for (person, status) in [("alice", 200), ("carol", 403), ("dave", 403)] {
                let token = for_person(&provider, form.0, person, path);
                let answer = call(&token);
                assert_eq!(answer.status, status, "{form:?} {path} {person}: {}", answer.text());
            }
            let alone = provider.credentials(AGENT, &resource(path)).access;
            let answer = call(&alone);
            assert_eq!(answer.status, 200, "{form:?} {path}: {}", answer.text());
        }
    }
    gate.terminate();
    assert!(gate.wait().success());
    let records = gate.tail();
    let requests = || records.iter().filter(|record| record["phase"] == "request");
    let party = |id: &str, kind: &str| json!({"id": id, "issuer": provider.url, "kind": kind});
    let mut ids = Vec::new();
    for (person, decision, reason) in [
        ("alice", "allow", "an analyst"),
        ("carol", "deny", "no rule allows it"),
        ("dave", "deny", "subject_unlisted"),
    ] {
        let told: Vec<&Value> = requests().filter(|record| record["subject"]["id"] == person).collect();
        assert_eq!(told.len(), 2 * FORMS.len(), "{person}");
        for record in &told {
            assert_eq!(record["subject"], party(person, "human"), "{record}");
            assert_eq!(record["actor"], party(AGENT, "agent"), "{record}");
            assert_eq!(record["on_behalf_of"], record["subject"], "{record}");
            assert_eq!(record["client_id"], AGENT, "{record}");
            assert_eq!(record["principal_id"], told[0]["principal_id"], "{record}");
            assert_eq!(
                (&record["decision"], &record["reason"]),
                (&json!(decision), &json!(reason)),
                "{record}"
            );
            assert_eq!(record["roles_from"], "policy_data", "{record}");
        }
        let kinds = |kind: &str| told.iter().filter(|record| record["token"]["kind"] == kind).count();
        assert_eq!((kinds("jwt"), kinds("opaque")), (3, 3), "{person}");
        ids.push(told[0]["principal_id"].to_string());
    }
    let alone: Vec<&Value> = requests().filter(|record| record["subject"]["id"] == AGENT).collect();
    assert_eq!(alone.len(), 2 * FORMS.len());
    for record in &alone {
        assert_eq!(record["subject"], party(AGENT, "machine"), "{record}");
        assert_eq!(
            (&record["actor"], &record["on_behalf_of"]),
            (&record["subject"], &Value::Null),
            "{record}"
        );
        assert_eq!(record["principal_id"], alone[0]["principal_id"], "{record}");
        assert!(is_allow(record), "{record}");
    }
    ids.push(alone[0]["principal_id"].to_string());
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "four callers");
}
