use serde_json::{Value, json};

use super::*;
use crate::record_id::RecordIds;

const DIGEST: [u8; 32] = [0xab; 32];
const HEX: &str = "abababababababababababababababababababababababababababababababab";
const GATE: GateNode<'static> = GateNode {
    version: "0.1.0",
    node: "gate-1",
    digest_key: "0a1b2c3d",
};

fn id() -> RecordId {
    RecordIds::new([1; 16]).next(UnixTime::from_secs(1_795_399_848))
}

const ANN: Party<'static> = Party {
    id: "ann",
    issuer: "https://issuer.example",
    kind: "human",
};
const IDENTITIES: Identities<'static> = Identities {
    subject: ANN,
    actor: Party {
        id: "crm-agent",
        kind: "agent",
        ..ANN
    },
    on_behalf_of: Some(ANN),
    client_id: Some("crm-agent"),
    principal_id: &DIGEST,
};

fn prior() -> [Actor; 2] {
    ["planner", "front \"desk\""].map(|id| Actor {
        subject: id.into(),
        issuer: "https://issuer.example".into(),
    })
}

fn request<'a>(scopes: &'a [&'a str], obligations: &'a [RedactObligation<'a>]) -> RequestRecord<'a, &'a str> {
    RequestRecord {
        record_id: id(),
        time: UnixTime::from_nanos(1_795_399_848_123_456_789),
        monotonic_us: 3_600_000_001,
        tenant: "acme",
        server: "crm",
        resource: "https://gate.example/crm",
        session: None,
        identities: IDENTITIES,
        actors_prior: &[],
        roles_from: "token",
        token: TokenEvidence {
            jti: Some("t-1"),
            digest: Some(&DIGEST),
            kind: "jwt",
            evidence_age_s: Some(12),
            revocation: Revocation::NotChecked,
            binding: Binding::Dpop,
            sources: Some(3),
        },
        scopes,
        protocol: Some("2025-06-18"),
        method: Some("tools/call"),
        tool: Some("salesforce.opportunity.read"),
        prompt: None,
        resource_row: None,
        resource_digest: None,
        arguments_digest: Some(&DIGEST),
        request_state_digest: Some(&DIGEST),
        decision: Effect::Allow,
        rule: Some("crm.read"),
        reason: "assigned account",
        obligations,
        policy_revision: Some("r1"),
        config_digest: &DIGEST,
        gate: GATE,
        upstream: UpstreamTarget {
            name: "crm",
            credential: Some(ShownCredential {
                label: "crm-key",
                kind: "static",
            }),
        },
        trace_id: None,
        task_digest: None,
        task_of: None,
        batch: None,
        stage_us: &[
            StageTime {
                stage: "authenticate",
                us: 40,
            },
            StageTime { stage: "decide", us: 7 },
        ],
    }
}

fn response(phase: ResponsePhase) -> ResponseRecord<'static> {
    ResponseRecord {
        record_id: id(),
        phase,
        time: UnixTime::from_secs(1_795_399_849),
        tenant: "acme",
        server: "crm",
        session: None,
        identities: IDENTITIES,
        method: Some("tools/call"),
        tool: None,
        message: None,
        status: Some(200),
        decision: Some(Effect::Allow),
        rule: Some("crm.answer"),
        reason: Some("reviewed"),
        obligations: &[],
        redactions: 2,
        content_digest: Some(&DIGEST),
        request_state_digest: None,
        task_digest: None,
        policy_revision: Some("r1"),
        config_digest: &DIGEST,
        gate: GATE,
        stage_us: &[],
    }
}

fn parse(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut out = Vec::new();
    write(&mut out);
    assert!(!out.contains(&b'\n'), "a record is one line");
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_request_record_has_the_members_of_the_schema() {
    let redact = [RedactObligation {
        at: "/amount",
        action: "mask",
    }];
    let prior = prior();
    let record = RequestRecord {
        actors_prior: &prior,
        ..request(&["crm:read", "repo"], &redact)
    };
    let human = json!({"id": "ann", "issuer": "https://issuer.example", "kind": "human"});
    assert_eq!(
        parse(|out| record.write_json(out)),
        json!({
            "schema": 1, "record_id": id().to_string(), "phase": "request", "part": null,
            "time": "2026-11-23T02:10:48.123456Z", "monotonic_us": 3_600_000_001_u64, "tenant": "acme",
            "server": "crm", "resource": "https://gate.example/crm", "session": null, "subject": human,
            "actor": {"id": "crm-agent", "issuer": "https://issuer.example", "kind": "agent"},
            "on_behalf_of": human, "client_id": "crm-agent", "principal_id": HEX,
            "actors_prior": [{"id": "planner", "issuer": "https://issuer.example"},
                {"id": "front \"desk\"", "issuer": "https://issuer.example"}],
            "roles_from": "token",
            "token": {"jti": "t-1", "digest": HEX, "kind": "jwt", "evidence_age_s": 12, "revocation": "not_checked",
                "binding": "dpop", "sources": 3},
            "scopes": ["crm:read", "repo"], "protocol": "2025-06-18", "method": "tools/call",
            "tool": "salesforce.opportunity.read", "prompt": null, "resource_row": null, "resource_digest": null,
            "arguments_digest": HEX, "request_state_digest": HEX, "decision": "allow", "rule": "crm.read",
            "reason": "assigned account", "obligations": {"redact": [{"at": "/amount", "action": "mask"}]},
            "policy_revision": "r1", "config_digest": HEX, "gate": {"version": "0.1.0", "node": "gate-1", "digest_key": "0a1b2c3d"},
            "upstream": {"name": "crm", "credential": {"label": "crm-key", "kind": "static"}}, "trace_id": null, "task_digest": null, "task_of": null, "batch": null,
            "stage_us": {"authenticate": 40, "decide": 7},
        })
    );
}

#[test]
fn the_schema_comes_first_and_nothing_is_left_out_when_it_is_unknown() {
    let mut full = Vec::new();
    let known = request(&["a"], &[]);
    known.write_json(&mut full);
    assert!(full.starts_with(b"{\"schema\":1,\"record_id\":\""));
    let bare = RequestRecord {
        identities: Identities {
            on_behalf_of: None,
            client_id: None,
            ..IDENTITIES
        },
        protocol: None,
        method: None,
        tool: None,
        arguments_digest: None,
        decision: Effect::Deny,
        rule: None,
        policy_revision: None,
        scopes: &[],
        stage_us: &[],
        ..known
    };
    let bare = parse(|out| bare.write_json(out));
    let full: Value = serde_json::from_slice(&full).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&bare), names(&full));
    assert_eq!(bare["decision"], "deny");
    assert_eq!(bare["obligations"], json!({}));
    assert_eq!((&bare["scopes"], &bare["actors_prior"]), (&json!([]), &json!([])));
    assert_eq!(bare["stage_us"], json!({}));
    assert!(
        ["on_behalf_of", "tool", "rule", "arguments_digest"]
            .iter()
            .all(|name| bare[name].is_null())
    );
}

#[test]
fn text_of_strangers_stays_inside_its_string() {
    for hostile in [
        "\",\"decision\":\"allow\",\"x\":\"",
        "\\",
        "\n\r\t\u{0}\u{1f}\u{7f}",
        "\u{2028}\u{fffd}😀",
        "{",
        "",
    ] {
        let record = RequestRecord {
            tool: Some(hostile),
            reason: hostile,
            decision: Effect::Deny,
            ..request(&[], &[])
        };
        let value = parse(|out| record.write_json(out));
        assert_eq!(value["tool"], hostile);
        assert_eq!(value["reason"], hostile);
        assert_eq!(value["decision"], "deny");
    }
}

#[test]
fn a_checked_revocation_is_a_time() {
    let mut record = request(&[], &[]);
    record.token.revocation = Revocation::CheckedAt(UnixTime::from_secs(0));
    record.token.jti = None;
    let value = parse(|out| record.write_json(out));
    assert_eq!(value["token"]["revocation"], "1970-01-01T00:00:00.000000Z");
    assert!(value["token"]["jti"].is_null());
}

#[test]
fn each_phase_of_an_answer_names_itself_and_its_outcome() {
    let reviewed = Outcome::Reviewed;
    let totals = Some(Totals {
        messages: 3,
        redactions: 1,
        withheld: 1,
    });
    for (phase, name, part, outcome, sums) in [
        (
            ResponsePhase::Whole {
                outcome: Outcome::Withheld,
            },
            "response",
            json!(null),
            json!("withheld"),
            None,
        ),
        (ResponsePhase::Open, "open", json!(null), json!(null), None),
        (
            ResponsePhase::Part {
                number: 0,
                outcome: reviewed,
            },
            "part",
            json!(0),
            json!("reviewed"),
            None,
        ),
        (
            ResponsePhase::Close {
                outcome: Outcome::ClientGone,
                totals,
            },
            "close",
            json!(null),
            json!("client_gone"),
            Some(json!({"messages": 3, "redactions": 1, "withheld": 1})),
        ),
        (
            ResponsePhase::Close {
                outcome: Outcome::Expired,
                totals: None,
            },
            "close",
            json!(null),
            json!("expired"),
            Some(json!(null)),
        ),
    ] {
        let value = parse(|out| response(phase).write_json(out));
        assert_eq!(
            (&value["phase"], &value["part"], &value["outcome"]),
            (&json!(name), &part, &outcome)
        );
        assert_eq!(value.get("totals"), sums.as_ref(), "{name}");
        assert_eq!(value["record_id"], id().to_string());
        assert_eq!((&value["status"], &value["redactions"]), (&json!(200), &json!(2)));
    }
}

#[test]
fn refusals_of_strangers_are_counted_by_source() {
    let mut record = RefusalSummary {
        record_id: id(),
        time: UnixTime::from_secs(20),
        since: UnixTime::from_secs(10),
        server: Some("crm"),
        reason: DenyReason::TokenExpired,
        client_ip: Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
        count: u64::MAX,
        config_digest: &DIGEST,
        gate: GATE,
    };
    assert_eq!(
        parse(|out| record.write_json(out)),
        json!({
            "schema": 1, "record_id": id().to_string(), "phase": "refusals", "part": null,
            "time": "1970-01-01T00:00:20.000000Z", "since": "1970-01-01T00:00:10.000000Z", "server": "crm",
            "decision": "deny", "reason": "token_expired", "client_ip": "::1", "count": u64::MAX,
            "config_digest": HEX, "gate": {"version": "0.1.0", "node": "gate-1", "digest_key": "0a1b2c3d"},
        })
    );
    record.client_ip = None;
    assert!(parse(|out| record.write_json(out))["client_ip"].is_null());
}
