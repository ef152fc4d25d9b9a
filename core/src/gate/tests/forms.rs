//! One person and one agent in every form in which tokens can name them, as JWTs and by introspection: one principal,
//! one decision, one record.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::{Value, json};

use super::super::*;
use super::stage::{
    NOW, NOW_S, OWN_ACCOUNT, READ, RESOURCE, Request, Stage, TENANT, key_set, message, policy_of, server_parts,
};
use crate::config::{Server, ServerParts};
use crate::head::{CertificateIdentity, ClientCertificate};
use crate::identity::{Grants, MachineIdentities, MachineName, MachineRow, PartyKind, SharedSecret};
use crate::jwks::refresh::Fetched;
use crate::limit::Rate;
use crate::policy::{PolicySource, SourceFile};
use crate::token::{
    IdentityForm, IntrospectedTokens, IntrospectionRules, IssuerParts, MachineMark, MarkTest, RolesFrom,
};

mod page;

const ISSUER: &str = "https://login.example.com";
const AGENTS: &str = "https://agents.example.com";
const SPIFFE_ID: &str = "spiffe://acme.example/crm/batch";
const SECRET: &str = "a-secret-of-many-that-is-long-enough";

/// An analyst may, by herself or by an assistant.
const RULES: &str = r#"
decision := {"allow": true, "rule": "analyst", "reason": "by herself"} if {
	input.subject.kind == "human"
	"analyst" in input.subject.roles
	"sales" in input.subject.groups
	not input.actor
} else := {"allow": true, "rule": "assistant", "reason": "by an assistant"} if {
	input.subject.kind == "human"
	"analyst" in input.subject.roles
	"sales" in input.subject.groups
	input.actor.kind == "agent"
	"assistant" in input.actor.roles
	"assistants" in input.actor.groups
} else := {"allow": false, "rule": "default", "reason": "no rule allows it"}
"#;

/// What a token is like that its issuer speaks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Proven {
    Introspected,
    Signed,
}

const PROVEN: [Proven; 2] = [Proven::Signed, Proven::Introspected];

fn data() -> Value {
    let row = |groups: &[&str], roles: &[&str]| json!({"groups": groups, "roles": roles, "accounts": []});
    json!({
        "subjects": {TENANT: {ISSUER: {
            "alice": row(&["sales"], &["analyst"]),
            "carol": row(&["sales"], &["developer"]),
            "broken": {"groups": ["sales"], "roles": "analyst"},
        }, AGENTS: {"erin": row(&["sales"], &["analyst"])}}, "umbrella": {ISSUER: {"dave": row(&["sales"], &["analyst"])}}},
        "agents": {TENANT: {ISSUER: {
            "agent-1": row(&["assistants"], &["assistant"]),
            "agent-2": row(&[], &[]),
            "agent-3": {"groups": []},
        }}},
    })
}

fn policy(rules: &str, data: &Value) -> PolicySource {
    PolicySource {
        data: vec![SourceFile {
            name: "data.json".to_owned(),
            text: data.to_string(),
        }],
        ..policy_of(rules, super::stage::ALLOW)
    }
}

fn forms() -> [IdentityForm; 3] {
    let agents = ["agent-1", "agent-2", "agent-3", "agent-4"].map(str::to_owned);
    [
        IdentityForm::Act,
        IdentityForm::ListedAgents(BTreeSet::from(agents)),
        IdentityForm::HumanClaim("initiator".to_owned()),
    ]
}

/// The token by which `agent` acts for `person` in a form. Its roles are what the form takes them for.
fn for_person(form: &IdentityForm, agent: &str, person: &str) -> TokenBuilder {
    let token = token().client(agent);
    match form {
        IdentityForm::Act => token.subject(person).act(agent),
        IdentityForm::HumanClaim(claim) => token.subject(agent).claim(claim, person),
        IdentityForm::ListedAgents(_) => token.subject(person),
    }
}

fn token() -> TokenBuilder {
    TokenBuilder::new(ISSUER, RESOURCE, NOW_S).scope("salesforce:read")
}

fn parts(form: &IdentityForm, roles_from: Option<RolesFrom>) -> IssuerParts {
    IssuerParts {
        identity: form.clone(),
        roles_from,
        machine_marks: vec![MachineMark {
            claim: "kind".to_owned(),
            test: MarkTest::Is("service".to_owned()),
        }],
        introspection: Some(IntrospectionRules {
            tokens: IntrospectedTokens::Opaque,
            signed_for: None,
            source: Arc::default(),
        }),
        ..IssuerParts::strict(Arc::from(ISSUER))
    }
}

/// A gate whose one issuer has these rules, and whose server knows one certificate and one secret.
fn stage(parts: IssuerParts, policy: &PolicySource) -> Stage {
    let stage = Stage::new();
    let issuer = Arc::new(Issuer::new(parts).unwrap());
    let rate = Rate {
        per_second: 1_000,
        burst: 1_000,
    };
    let grants = || Grants {
        scopes: ["salesforce:read".into()].into(),
        ..Grants::default()
    };
    let machine = MachineRow {
        name: MachineName::Uri(Arc::from(SPIFFE_ID)),
        kind: PartyKind::Machine,
        grants: grants(),
    };
    let server = ServerParts {
        machines: MachineIdentities::new(vec![machine]).unwrap(),
        danger_shared_secret: Some(SharedSecret::new(SECRET, Arc::from("alice"), grants()).unwrap()),
        ..server_parts("crm", policy, rate, vec![Arc::clone(&issuer)])
    };
    let server = Server::new(server).unwrap();
    let limits = Limits {
        policy_deadline: std::time::Duration::from_secs(10),
        ..Limits::default()
    };
    stage
        .gate
        .publish(Snapshot::new(vec![Arc::new(server)], limits, [8; 32]).unwrap());
    stage.gate.publish_keys(&issuer, &key_set(&[keys::es256()], NOW));
    stage
}

/// Makes a call with what this token says and gives its record, or the refusal of who calls.
fn call(stage: &Stage, proven: Proven, token: &TokenBuilder, call: &Call) -> Result<Value, DenyReason> {
    let claims = token.claims_json();
    let text = match proven {
        Proven::Signed => token.sign(keys::es256()),
        // Another token for other claims, for the answer about a token is remembered.
        Proven::Introspected => format!("opaque-{:x}", md(&claims)),
    };
    record(stage, &Request::with_token(call, &text), &claims)
}

/// The record of a request about whose token its issuer says these claims, or the refusal of who calls.
fn record(stage: &Stage, request: &Request, claims: &str) -> Result<Value, DenyReason> {
    let head = request.head();
    let mut visit = stage.gate.begin(NOW);
    let principal = match visit.authenticate(&head).map_err(|denial| denial.reason)? {
        Step::Done(principal) => principal,
        Step::Needs(fetch) => {
            let mut answer: Value = serde_json::from_str(claims).unwrap();
            answer["active"] = json!(true);
            let answer = Fetched {
                status: 200,
                body: answer.to_string().into_bytes(),
                cache_max_age_s: None,
            };
            let evidence = Evidence::Introspected(Ok(Arc::new(answer)));
            match visit
                .resume(fetch, evidence, &head, NOW)
                .map_err(|denial| denial.reason)?
            {
                Step::Done(principal) => principal,
                Step::Needs(fetch) => panic!("{fetch:?} once more"),
            }
        }
    };
    let outcome = visit.authorize(principal, &head, request.body.clone(), NOW, &mut Scratch::new(0));
    let id = match &outcome {
        Ok(recorded) => recorded.record_id(),
        Err(denial) => denial.record_id.expect("a refusal of a known caller has a record"),
    };
    let records = stage.records();
    let record = records
        .into_iter()
        .find(|record| record["record_id"] == id.to_string() && record["phase"] == "request");
    Ok(record.unwrap())
}

/// A number for a text.
fn md(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn read() -> Call {
    Call::tools_call(Era::Legacy, 1, READ, OWN_ACCOUNT)
}

/// What must be the same for one person and one agent.
fn judged(record: &Value) -> Vec<Value> {
    const MEMBERS: [&str; 14] = [
        "tenant",
        "server",
        "subject",
        "actor",
        "on_behalf_of",
        "client_id",
        "principal_id",
        "actors_prior",
        "scopes",
        "tool",
        "decision",
        "rule",
        "reason",
        "obligations",
    ];
    MEMBERS.iter().map(|&name| record[name].clone()).collect()
}

/// Each person with each agent in the three forms, signed and introspected: one record of each pair. Where the roles of
/// the human may come from the token, they are the same there, and the record says so.
#[test]
fn the_same_person_and_agent_are_one_in_every_form() {
    let policy = policy(RULES, &data());
    let unlisted = "subject_unlisted";
    let mut ids = BTreeSet::new();
    for (person, roles, agent, decision, why) in [
        ("alice", ["analyst"], "agent-1", "allow", "by an assistant"),
        ("carol", ["developer"], "agent-1", "deny", "no rule allows it"),
        ("alice", ["analyst"], "agent-2", "deny", "no rule allows it"),
        ("alice", ["analyst"], "agent-3", "deny", unlisted),
        ("alice", ["analyst"], "agent-4", "deny", unlisted),
    ] {
        let mut expected: Option<Vec<Value>> = None;
        for form in forms() {
            let human_claim = matches!(form, IdentityForm::HumanClaim(_));
            // What an agent's token says of roles is the agent's, and helps nobody.
            let own = if human_claim { ["analyst"] } else { roles };
            let token = for_person(&form, agent, person).groups(&["sales"]).roles(&own);
            for (roles_from, recorded) in [
                (None, if human_claim { "policy_data" } else { "token" }),
                (Some(RolesFrom::PolicyData), "policy_data"),
            ] {
                let stage = stage(parts(&form, roles_from), &policy);
                for proven in PROVEN {
                    let record = call(&stage, proven, &token, &read()).unwrap();
                    let told = format!("{person} {agent} {form:?} {roles_from:?} {proven:?}: {record}");
                    assert_eq!(
                        (&record["decision"], &record["reason"]),
                        (&json!(decision), &json!(why)),
                        "{told}"
                    );
                    assert_eq!(record["roles_from"], recorded, "{told}");
                    let kind = if proven == Proven::Signed { "jwt" } else { "opaque" };
                    assert_eq!(record["token"]["kind"], kind, "{told}");
                    assert_eq!(
                        &judged(&record),
                        expected.get_or_insert_with(|| judged(&record)),
                        "{told}"
                    );
                    let party = |id: &str, kind: &str| json!({"id": id, "issuer": ISSUER, "kind": kind});
                    assert_eq!(record["subject"], party(person, "human"), "{told}");
                    assert_eq!(record["actor"], party(agent, "agent"), "{told}");
                    assert_eq!(record["on_behalf_of"], record["subject"], "{told}");
                    assert_eq!(record["client_id"], agent, "{told}");
                    ids.insert(record["principal_id"].to_string());
                }
            }
        }
    }
    assert_eq!(ids.len(), 5, "each pair is one principal, and no two are the same");
}

/// A token that a client got for itself is a machine's, whatever the form, and acts for nobody.
#[test]
fn client_credentials_are_a_machines_in_every_form() {
    let policy = policy(
        r#"decision := {"allow": input.subject.kind == "machine", "rule": "machine", "reason": ""}"#,
        &json!({}),
    );
    for form in forms() {
        let human_claim = matches!(form, IdentityForm::HumanClaim(_));
        // Without rows nobody has roles in the policy's data.
        let data = json!({"subjects": {TENANT: {ISSUER: {
            "agent-1": {"groups": [], "roles": []}, "service-9": {"groups": [], "roles": []},
        }}}});
        let policy = match human_claim {
            true => self::policy(
                r#"decision := {"allow": input.subject.kind == "machine", "rule": "machine", "reason": ""}"#,
                &data,
            ),
            false => policy.clone(),
        };
        let stage = stage(parts(&form, None), &policy);
        for proven in PROVEN {
            let machine = token().subject("agent-1").client("agent-1");
            let service = token().subject("service-9").client("agent-1").claim("kind", "service");
            let mut cases = vec![(machine.clone(), "agent-1"), (service, "service-9")];
            if proven == Proven::Introspected {
                cases.push((machine.without("sub"), "agent-1"));
            }
            for (token, id) in cases {
                let record = call(&stage, proven, &token, &read()).unwrap();
                let party = json!({"id": id, "issuer": ISSUER, "kind": "machine"});
                let told = format!("{form:?} {proven:?}: {record}");
                assert_eq!((&record["subject"], &record["actor"]), (&party, &party), "{told}");
                assert_eq!(
                    (&record["on_behalf_of"], &record["client_id"]),
                    (&Value::Null, &json!("agent-1")),
                    "{told}"
                );
                assert_eq!(record["decision"], "allow", "{told}");
            }
        }
    }
}

#[test]
fn who_has_no_row_is_refused_on_record_whatever_it_calls() {
    let stage = stage(
        parts(&IdentityForm::Act, Some(RolesFrom::PolicyData)),
        &policy(RULES, &data()),
    );
    let rich = |person: &str| token().subject(person).groups(&["sales"]).roles(&["analyst"]);
    for (person, expected) in [
        ("alice", "by herself"),
        // Of nobody's, of another tenant's, of another issuer's, and a row that is not whole.
        ("bob", "subject_unlisted"),
        ("dave", "subject_unlisted"),
        ("erin", "subject_unlisted"),
        ("broken", "subject_unlisted"),
        ("agent-1", "subject_unlisted"),
    ] {
        for proven in PROVEN {
            let record = call(&stage, proven, &rich(person), &read()).unwrap();
            assert_eq!(record["reason"], expected, "{person} {record}");
            assert_eq!(
                (&record["subject"]["id"], &record["tool"]),
                (&json!(person), &json!(READ))
            );
            assert_eq!(record["roles_from"], "policy_data");
        }
    }
    for other in [Call::set_level(1, "info"), Call::tools_list(Era::Modern, 1)] {
        let record = call(&stage, Proven::Signed, &rich("bob"), &other).unwrap();
        assert_eq!(
            (&record["decision"], &record["reason"]),
            (&json!("deny"), &json!("subject_unlisted"))
        );
    }
}

#[test]
fn who_has_no_row_finds_out_the_era_and_hears_nothing_else() {
    let stage = stage(
        parts(&IdentityForm::Act, Some(RolesFrom::PolicyData)),
        &policy(RULES, &data()),
    );
    let told = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
    for (person, dropped) in [("alice", false), ("bob", true)] {
        let token = token().subject(person);
        for proven in PROVEN {
            for always in [Call::ping(1), Call::initialize(1), Call::discover(1)] {
                let record = call(&stage, proven, &token, &always).unwrap();
                assert_eq!(
                    (&record["decision"], &record["rule"], &record["subject"]["id"]),
                    (&json!("allow"), &json!("protocol"), &json!(person)),
                );
            }
        }
        let request = Request::with_token(&Call::ping(1), &token.sign(keys::es256()));
        let (_, mut ticket) = stage.forward(&request).unwrap();
        stage.released(ticket.open(200, NOW).unwrap());
        let release = stage.review(&mut ticket, message(told));
        assert_eq!(matches!(release, Release::Dropped), dropped, "{person}");
        let reason = &stage.last()["reason"];
        assert_eq!(*reason == "subject_unlisted", dropped, "{person}: {reason}");
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        let release = stage.review(&mut ticket, message(answer));
        assert!(matches!(release, Release::Pass { .. }), "{person}: {release:?}");
    }
}

/// The policy sees of an agent what its table says, and without a table nothing of the kind.
#[test]
fn an_actor_has_groups_and_roles_from_the_table_of_agents_alone() {
    let rules = |test: &str| {
        format!(
            "decision := {{\"allow\": true, \"rule\": \"r\", \"reason\": \"\"}} if {{ {test} }} else := {{\"allow\": false, \"rule\": \"d\", \"reason\": \"\"}}"
        )
    };
    let bare =
        r#"object.keys(input.actor) == {"id", "issuer", "kind", "scopes"}; input.actor.scopes == ["salesforce:read"]"#;
    let listed = r#"input.actor.roles == ["assistant"]; input.actor.groups == ["assistants"]; input.subject.roles == ["analyst"]"#;
    let mut unlisting = data();
    unlisting.as_object_mut().unwrap().remove("agents");
    for form in forms() {
        // The token's own roles are the human's, or the agent's; never the actor's in the policy's eyes.
        let token = for_person(&form, "agent-1", "alice")
            .roles(&["analyst"])
            .groups(&["sales"]);
        for (data, rules, allowed) in [
            (&unlisting, rules(bare), "allow"),
            (&data(), rules(listed), "allow"),
            (&unlisting, rules(listed), "deny"),
            (&data(), rules(bare), "deny"),
        ] {
            let stage = stage(parts(&form, None), &policy(&rules, data));
            for proven in PROVEN {
                let record = call(&stage, proven, &token, &read()).unwrap();
                assert_eq!(record["decision"], allowed, "{form:?} {rules} {record}");
            }
        }
    }
    // Who acts for nobody needs no row among the agents, and has no actor.
    let policy = policy(&rules("not input.actor"), &data());
    let stage = stage(parts(&IdentityForm::Act, None), &policy);
    let record = call(
        &stage,
        Proven::Signed,
        &token().subject("batch").client("batch"),
        &read(),
    )
    .unwrap();
    assert_eq!(record["decision"], "allow", "{record}");
}

#[test]
fn the_outermost_actor_decides_and_the_inner_ones_are_on_record() {
    let stage = stage(parts(&IdentityForm::Act, None), &policy(RULES, &data()));
    let act = |chain: Value| {
        token()
            .client("agent-1")
            .groups(&["sales"])
            .roles(&["analyst"])
            .claim("act", chain)
    };
    let prior = |ids: &[(&str, &str)]| -> Value {
        ids.iter()
            .map(|(id, issuer)| json!({"id": id, "issuer": issuer}))
            .collect()
    };
    for proven in PROVEN {
        for (chain, reason, history) in [
            (json!({"sub": "agent-1"}), "by an assistant", prior(&[])),
            // An inner actor without a row changes nothing, and one with a row helps nobody.
            (
                json!({"sub": "agent-1", "act": {"sub": "agent-9", "act": {"sub": "agent-2", "iss": AGENTS}}}),
                "by an assistant",
                prior(&[("agent-9", ISSUER), ("agent-2", AGENTS)]),
            ),
            (
                json!({"sub": "agent-9", "act": {"sub": "agent-1"}}),
                "subject_unlisted",
                prior(&[("agent-1", ISSUER)]),
            ),
        ] {
            let record = call(&stage, proven, &act(chain), &read()).unwrap();
            assert_eq!(
                (&record["reason"], &record["actors_prior"]),
                (&json!(reason), &history),
                "{record}"
            );
        }
        let one = |depth: usize| (0..depth).fold(token().client("agent-1"), |token, _| token.act("agent-1"));
        assert!(call(&stage, proven, &one(4), &read()).is_ok());
        assert_eq!(call(&stage, proven, &one(5), &read()), Err(DenyReason::IdentityUnbound));
    }
}

#[test]
fn may_act_holds_in_every_form_and_in_answers() {
    let policy = policy(RULES, &data());
    for form in forms() {
        let stage = stage(parts(&form, Some(RolesFrom::PolicyData)), &policy);
        let token = for_person(&form, "agent-1", "alice");
        for proven in PROVEN {
            for (may_act, expected) in [
                (json!({"sub": "agent-1"}), Ok("allow")),
                (json!({"sub": "agent-1", "iss": ISSUER}), Ok("allow")),
                (json!({"sub": "agent-2"}), Err(DenyReason::IdentityUnbound)),
                (
                    json!({"sub": "agent-1", "iss": AGENTS}),
                    Err(DenyReason::IdentityUnbound),
                ),
                (json!({"sub": "agent-1", "cnf": {}}), Err(DenyReason::IdentityUnbound)),
                (json!("agent-1"), Err(DenyReason::TokenClaims)),
            ] {
                let record = call(
                    &stage,
                    proven,
                    &token.clone().claim("may_act", may_act.clone()),
                    &read(),
                );
                let decision = record.as_ref().map(|record| record["decision"].as_str().unwrap());
                assert_eq!(
                    decision.map_err(|reason| *reason),
                    expected,
                    "{form:?} {proven:?} {may_act}"
                );
            }
        }
    }
}
