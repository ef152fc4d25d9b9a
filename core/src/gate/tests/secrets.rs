//! Secrets that are many people's: refused, reported, or held to this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::{ALICE, BOB};
use serde_json::Value;

use super::stage::*;
use crate::config::{Limits, Server, ServerError, ServerParts};
use crate::denial::DenyReason;
use crate::gate::{Snapshot, Step};
use crate::head::ClientCertificate;
use crate::identity::{Grants, SharedSecret, SharedSecretError};
use crate::limit::Rate;
use crate::token::SenderRules;

const SECRET: &str = "x1aNfZbC0Qe-7Yh2Kd9Lm4Pt8Rv6Sw3U";
const RATE: Rate = Rate {
    per_second: 1_000,
    burst: 1_000,
};

fn grants() -> Grants {
    Grants {
        scopes: ["salesforce:read".into()].into(),
        groups: ["sales".into()].into(),
        roles: ["analyst".into()].into(),
    }
}

fn secret() -> SharedSecret {
    SharedSecret::new(SECRET, Arc::from("me"), grants()).unwrap()
}

/// A stage whose server takes the secret; its policy allows by what the configuration grants.
fn stage_with_secret() -> Stage {
    let stage = Stage::new();
    let rule = r#"decision := {"allow": true, "rule": "granted", "reason": ""} if {
	"analyst" in input.subject.roles
	"sales" in input.subject.groups
}"#;
    let parts = ServerParts {
        danger_shared_secret: Some(secret()),
        ..server_parts("crm", &policy_of(rule, ALLOW), RATE, vec![issuer(ISSUER)])
    };
    let server = Arc::new(Server::new(parts).unwrap());
    let limits = stage.gate.snapshot().limits().clone();
    stage
        .gate
        .publish(Snapshot::new(vec![server], limits, [7; 32]).unwrap());
    stage
}

fn from(ip: impl Into<IpAddr>, token: &str) -> Request {
    let mut request = Request::with_token(&read_call(Era::Modern), token);
    request.client_ip = ip.into();
    request
}

fn reason(stage: &Stage, request: &Request) -> Option<DenyReason> {
    stage.arrive(request).err().map(|denial| denial.reason)
}

#[test]
fn a_shared_secret_serves_this_machine_alone() {
    let stage = stage_with_secret();
    let mapped: Ipv6Addr = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    for ip in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from([127, 9, 9, 9]),
        Ipv6Addr::LOCALHOST.into(),
        mapped.into(),
    ] {
        assert!(stage.record(&from(ip, SECRET)).is_ok(), "{ip}");
    }
    // Elsewhere it is not even tried as a token, which an issuer might be asked about.
    let elsewhere = Some(DenyReason::CredentialScheme);
    for ip in [
        IpAddr::from([192, 0, 2, 1]),
        IpAddr::from([0, 0, 0, 0]),
        IpAddr::from([126, 255, 255, 255]),
        Ipv6Addr::UNSPECIFIED.into(),
    ] {
        assert_eq!(reason(&stage, &from(ip, SECRET)), elsewhere, "{ip}");
    }
    let malformed = Some(DenyReason::TokenMalformed);
    for other in [
        SECRET.get(1..).unwrap(),
        SECRET.get(..31).unwrap(),
        &format!("{SECRET}="),
        &SECRET.to_lowercase(),
        &format!("y{}", SECRET.get(1..).unwrap()),
    ] {
        assert_eq!(reason(&stage, &from(Ipv4Addr::LOCALHOST, other)), malformed, "{other}");
    }
    for name in ["forwarded", "x-forwarded-for", "x-real-ip", "via"] {
        let mut request = from(Ipv4Addr::LOCALHOST, SECRET);
        request.add(name, "127.0.0.1");
        assert_eq!(reason(&stage, &request), elsewhere, "{name}");
    }
    let mut with_proof = from(Ipv4Addr::LOCALHOST, SECRET);
    with_proof.set("authorization", &format!("DPoP {SECRET}"));
    with_proof.add("dpop", "a.b.c");
    assert_eq!(reason(&stage, &with_proof), malformed);
    let elsewhere = Stage::new();
    assert_eq!(reason(&elsewhere, &from(Ipv4Addr::LOCALHOST, SECRET)), malformed);
    // Others bring their tokens, as ever.
    let token = token(&BOB).sign(keys::es256());
    assert!(matches!(
        stage.arrive(&from(Ipv4Addr::LOCALHOST, &token)),
        Ok(Step::Done(_))
    ));
}

#[test]
fn a_shared_secret_is_told_by_its_record_and_never_there() {
    let stage = stage_with_secret();
    let _recorded = stage.record(&from(Ipv4Addr::LOCALHOST, SECRET)).unwrap();
    let record = stage.last();
    let party = serde_json::json!({"id": "me", "issuer": "urn:portcullis:shared-secret", "kind": "human"});
    assert_eq!((&record["subject"], &record["actor"]), (&party, &party));
    assert_eq!(
        (&record["client_id"], &record["on_behalf_of"], &record["rule"]),
        (&"shared-secret".into(), &Value::Null, &"granted".into())
    );
    let token = &record["token"];
    assert_eq!(
        (
            &token["kind"],
            &token["digest"],
            &token["jti"],
            &token["sources"],
            &token["binding"]
        ),
        (
            &"shared_secret".into(),
            &Value::Null,
            &Value::Null,
            &Value::Null,
            &"none".into()
        )
    );
    let digest = crate::crypto::hex(&crate::crypto::sha256(SECRET.as_bytes()));
    for line in stage.log() {
        assert!(!line.contains(SECRET) && !line.contains(&digest), "{line}");
    }
    let printed = format!("{:?} {:?}", secret(), stage.gate.snapshot());
    assert!(!printed.contains(SECRET) && !printed.contains(&digest), "{printed}");
    // It has the scopes of the configuration and no more.
    let other = Call::tools_call(Era::Modern, 1, "salesforce.account.delete", "{}");
    let mut request = Request::with_token(&other, SECRET);
    request.client_ip = Ipv4Addr::LOCALHOST.into();
    assert_eq!(
        stage.record(&request).unwrap_err().reason,
        DenyReason::ScopeInsufficient
    );
}

#[test]
fn what_is_no_secret_or_stands_for_nobody_is_refused() {
    let check = |secret: &str, subject: &str| SharedSecret::new(secret, Arc::from(subject), grants()).err();
    assert_eq!(check(SECRET, "me"), None);
    assert_eq!(check(SECRET.get(1..).unwrap(), "me"), Some(SharedSecretError::Short));
    assert_eq!(
        check(&format!("{SECRET} {SECRET}"), "me"),
        Some(SharedSecretError::Form)
    );
    assert_eq!(check(&format!("{SECRET}\n"), "me"), Some(SharedSecretError::Form));
    assert_eq!(check(SECRET, ""), Some(SharedSecretError::Subject));
    assert_eq!(check(SECRET, "a\nb"), Some(SharedSecretError::Subject));
    assert_eq!(check(SECRET, &"m".repeat(129)), Some(SharedSecretError::Subject));
    let parts = ServerParts {
        danger_shared_secret: Some(secret()),
        sender: SenderRules {
            dpop_required: true,
            dpop_nonce: false,
        },
        ..server_parts("crm", &sample_policy(), RATE, vec![issuer(ISSUER)])
    };
    assert!(matches!(Server::new(parts), Err(ServerError::SharedSecretBound(_))));
}

#[test]
fn only_harmless_names_can_be_let_in_by_a_query() {
    let named = |name: &str| {
        let parts = ServerParts {
            query_names: vec![Arc::from(name)],
            ..server_parts("crm", &sample_policy(), RATE, vec![issuer(ISSUER)])
        };
        Server::new(parts).map(|_| ())
    };
    for name in ["lang", "v.1", "x-page_2~", &"a".repeat(64)] {
        assert_eq!(named(name), Ok(()), "{name}");
    }
    for name in [
        "",
        "a b",
        "a=b",
        "a&b",
        "a%62",
        "ä",
        "api_key",
        "Access-Token",
        "sig",
        &"a".repeat(65),
    ] {
        let refused = ServerError::QueryName(Arc::from("crm"), Arc::from(name));
        assert_eq!(named(name), Err(refused), "{name}");
    }
}

#[test]
fn a_query_of_listed_names_is_let_in_and_goes_nowhere() {
    let stage = Stage::new();
    let parts = ServerParts {
        query_names: vec![Arc::from("lang")],
        ..server_parts("crm", &sample_policy(), RATE, vec![issuer(ISSUER)])
    };
    let server = Arc::new(Server::new(parts).unwrap());
    let limits = stage.gate.snapshot().limits().clone();
    stage
        .gate
        .publish(Snapshot::new(vec![server], limits, [7; 32]).unwrap());
    let mut request = Request::read();
    for (query, expected) in [
        (Some("lang=sesame"), None),
        (Some("lang=sesame&lang=sesame"), Some(DenyReason::QueryPresent)),
        (Some("token=sesame"), Some(DenyReason::QueryPresent)),
        (None, None),
    ] {
        request.query = query;
        let denial = stage.record(&request).err();
        assert_eq!(denial.as_ref().map(|denial| denial.reason), expected, "{query:?}");
        assert!(denial.is_none_or(|denial| denial.challenge.is_none()));
    }
    stage.gate.flush_refusals(NOW);
    assert!(!stage.log().concat().contains("sesame"));
}

#[test]
fn an_api_key_is_refused_without_a_challenge() {
    let stage = Stage::new();
    let mut request = Request::read();
    request.add("x-api-key", "sesame");
    for authorized in [true, false] {
        if !authorized {
            request.headers.remove("authorization");
        }
        let denial = stage.arrive(&request).unwrap_err();
        assert_eq!((denial.reason, denial.challenge), (DenyReason::ApiKeyPresent, None));
    }
}

#[test]
fn a_token_in_many_places_is_reported_once() {
    let stage = Stage::with(Setup {
        limits: Limits {
            token_sources_reported: 3,
            ..Setup::default().limits
        },
        ..Setup::default()
    });
    let copied = token(&ALICE).sign(keys::es256());
    let quiet = token(&BOB).sign(keys::es256());
    let used = |ip: IpAddr, token: &str| assert!(stage.arrive(&from(ip, token)).is_ok());
    for last in 0..40_u8 {
        // One address, one host with many addresses.
        used(IpAddr::from([192, 0, 2, 1]), &quiet);
        used(
            Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, u16::from(last)).into(),
            &quiet,
        );
    }
    assert_eq!((stage.gate.shared_tokens(), stage.gate.take_shared_token()), (0, None));
    for last in 0..40_u8 {
        used(IpAddr::from([198, 51, 100, last]), &copied);
    }
    let shared = stage.gate.take_shared_token().expect("it was in many places");
    assert_eq!(&*shared.server, "crm");
    assert!(3 < shared.sources && shared.sources < 8, "{shared:?}");
    assert_eq!((stage.gate.shared_tokens(), stage.gate.take_shared_token()), (1, None));
    let _recorded = stage.record(&from([192, 0, 2, 9], &copied)).unwrap();
    let record = stage.last();
    assert_eq!(record["token"]["digest"], shared.digest.to_string());
    let sources = record["token"]["sources"].as_u64().unwrap();
    assert!((20..80).contains(&sources), "{sources}");
}

#[test]
fn a_certificate_makes_a_place_of_its_own() {
    let stage = Stage::new();
    let token = token(&ALICE).sign(keys::es256());
    for number in 0..40_u8 {
        let mut request = from([192, 0, 2, 1], &token);
        request.certificate = Some(ClientCertificate {
            sha256: [number; 32],
            identity: None,
            refused: None,
        });
        assert!(stage.arrive(&request).is_ok());
    }
    assert_eq!(stage.gate.shared_tokens(), 1);
}

#[test]
fn a_token_that_does_not_hold_leaves_no_trace() {
    let stage = Stage::new();
    let token = token(&ALICE)
        .claim("iat", NOW_S - 400)
        .expires(NOW_S - 60)
        .sign(keys::es256());
    for last in 0..40_u8 {
        let refused = reason(&stage, &from([198, 51, 100, last], &token));
        assert_eq!(refused, Some(DenyReason::TokenExpired));
    }
    assert_eq!(stage.gate.shared_tokens(), 0);
}
