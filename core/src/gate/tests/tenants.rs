//! Callers of several tenants, issuers and clients: how each is told, and that nothing of one is another's.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_fixtures::calls::Era;
use portcullis_fixtures::keys::{self, Algorithm};
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::policy as sample;
use portcullis_fixtures::token::{TokenBuilder, compact};
use serde_json::{Value, json};

use super::stage::*;
use crate::config::{Limits, Server, ServerError};
use crate::denial::DenyReason;
use crate::gate::{Snapshot, SnapshotError, Step};
use crate::limit::Rate;
use crate::revocation::{RevocationRequest, RevocationSource};
use crate::token::{Issuer, IssuerParts, RevocationMode, TokenTenant};

/// Whose an issuer's tokens are, whom the server serves, what the claim says, and what comes of it.
type Rule<'a> = (TokenTenant, Option<&'a str>, Value, Result<&'a str, DenyReason>);

const OTHER: &str = "https://other.example";

fn claim() -> TokenTenant {
    TokenTenant::Claim("org_id".to_owned())
}

fn fixed(tenant: &str) -> TokenTenant {
    TokenTenant::Fixed(Arc::from(tenant))
}

fn told(url: &str, tenant: TokenTenant) -> Arc<Issuer> {
    let parts = IssuerParts {
        tenant,
        revocation: RevocationMode::Feed,
        ..IssuerParts::strict(Arc::from(url))
    };
    Arc::new(Issuer::new(parts).unwrap())
}

/// The CRM for callers of these issuers, of this tenant alone or of any.
fn crm(setup: &Setup, tenant: Option<&str>, issuers: Vec<Arc<Issuer>>) -> Result<Server, ServerError> {
    let mut parts = server_parts("crm", &setup.policy, setup.rate, issuers);
    parts.tenant = tenant.map(Arc::from);
    Server::new(parts)
}

fn publish(stage: &Stage, servers: Vec<Server>) {
    let servers = servers.into_iter().map(Arc::new).collect();
    stage
        .gate
        .publish(Snapshot::new(servers, Limits::default(), [8; 32]).unwrap());
    list_all(&stage.gate);
    for url in [ISSUER, OTHER] {
        stage.gate.publish_keys(&issuer(url), &key_set(&[keys::es256()], NOW));
    }
}

/// The CRM of every tenant, whose people two issuers know, by this setup.
fn shared(setup: Setup) -> Stage {
    let server = crm(&setup, None, vec![told(ISSUER, claim()), told(OTHER, claim())]).unwrap();
    let stage = Stage::with(setup);
    publish(&stage, vec![server]);
    stage
}

/// Alice, as this issuer calls her in this tenant, through this client.
fn alice(url: &str, tenant: &str, client: &str) -> TokenBuilder {
    TokenBuilder::for_persona(&ALICE, url, RESOURCE, NOW_S)
        .claim("org_id", tenant)
        .client(client)
}

fn read(token: &TokenBuilder) -> Request {
    Request::with_token(&read_call(Era::Legacy), &token.sign(keys::es256()))
}

/// The tenant of the caller, or why there is none.
fn tenant_of(stage: &Stage, request: &Request) -> Result<String, DenyReason> {
    match stage.arrive(request) {
        Ok(Step::Done(principal)) => Ok(principal.tenant().to_string()),
        Ok(Step::Needs(fetch)) => panic!("needs {fetch:?}"),
        Err(denial) => {
            if denial.reason == DenyReason::TenantForeign {
                assert!(denial.challenge.is_none(), "no token of the caller would do");
            }
            Err(denial.reason)
        }
    }
}

#[test]
fn a_tenant_is_told_by_issuer_claim_or_server() {
    const FOREIGN: Result<&str, DenyReason> = Err(DenyReason::TenantForeign);
    let long = "x".repeat(128);
    let pointer = || TokenTenant::Claim("/org/id".to_owned());
    let cases: Vec<Rule<'_>> = vec![
        (TokenTenant::Untold, None, json!({}), Ok("default")),
        (
            TokenTenant::Untold,
            None,
            json!({"org_id": "acme", "tenant": "acme"}),
            Ok("default"),
        ),
        (TokenTenant::Untold, Some("acme"), json!({}), Ok("acme")),
        (fixed("acme"), None, json!({"org_id": "other"}), Ok("acme")),
        (fixed("acme"), Some("acme"), json!({}), Ok("acme")),
        (claim(), None, json!({"org_id": "acme"}), Ok("acme")),
        (claim(), None, json!({"org_id": long}), Ok(&long)),
        (claim(), Some("acme"), json!({"org_id": "acme"}), Ok("acme")),
        (pointer(), None, json!({"org": {"id": "acme"}}), Ok("acme")),
        (claim(), Some("acme"), json!({"org_id": "other"}), FOREIGN),
        (claim(), Some("acme"), json!({"org_id": "ACME"}), FOREIGN),
        (claim(), Some("acme"), json!({"org_id": "acme "}), FOREIGN),
        (claim(), Some("default"), json!({}), FOREIGN),
        (claim(), None, json!({}), FOREIGN),
        (claim(), None, json!({"org_id": ""}), FOREIGN),
        (claim(), None, json!({"org_id": 7}), FOREIGN),
        (claim(), None, json!({"org_id": null}), FOREIGN),
        (claim(), None, json!({"org_id": true}), FOREIGN),
        (claim(), None, json!({"org_id": ["acme"]}), FOREIGN),
        (claim(), None, json!({"org_id": {"id": "acme"}}), FOREIGN),
        (claim(), None, json!({"org_id": "x".repeat(129)}), FOREIGN),
        (claim(), None, json!({"ORG_ID": "acme"}), FOREIGN),
        (pointer(), None, json!({"org": "acme"}), FOREIGN),
        (pointer(), None, json!({"org": {}}), FOREIGN),
        (pointer(), None, json!({"/org/id": "acme"}), FOREIGN),
    ];
    for (rule, server, claims, expected) in cases {
        let stage = Stage::new();
        let issuers = vec![told(ISSUER, rule.clone())];
        publish(&stage, vec![crm(&Setup::default(), server, issuers).unwrap()]);
        let mut token = token(&ALICE);
        for (name, value) in claims.as_object().unwrap() {
            token = token.claim(name, value.clone());
        }
        // The second time the token is a remembered one.
        for _ in 0..2 {
            let tenant = tenant_of(&stage, &read(&token));
            assert_eq!(
                tenant.as_deref(),
                expected.as_ref().copied(),
                "{rule:?} {server:?} {claims}"
            );
        }
        if expected.is_err() {
            stage.gate.flush_refusals(NOW);
            let refusals = stage.last();
            assert_eq!(
                (&refusals["phase"], &refusals["reason"]),
                (&json!("refusals"), &json!("tenant_foreign"))
            );
            assert_eq!(
                (&refusals["server"], &refusals["count"]),
                (&json!("crm"), &json!(2)),
                "{refusals}"
            );
        }
    }
}

#[test]
fn a_claim_that_stands_twice_names_no_tenant() {
    let stage = shared(Setup::default());
    let payload = alice(ISSUER, "acme", "desktop").claims_json();
    let sign = |payload: &str| {
        let token = compact(
            r#"{"alg":"ES256","typ":"at+jwt","kid":"es-1"}"#,
            payload,
            keys::es256(),
            Algorithm::Es256,
        );
        tenant_of(&stage, &Request::with_token(&read_call(Era::Legacy), &token))
    };
    assert_eq!(sign(&payload).as_deref(), Ok("acme"));
    let twice = payload.replacen('{', r#"{"org_id":"other","#, 1);
    assert_eq!(sign(&twice), Err(DenyReason::TokenMalformed));
    let folded = payload.replacen('{', r#"{"Org_Id":"other","#, 1);
    assert_ne!(sign(&folded).as_deref(), Ok("other"));
}

#[test]
fn new_rules_of_an_issuer_hold_for_remembered_tokens_too() {
    let stage = Stage::new();
    let request = read(&token(&ALICE).claim("org_id", "acme").claim("site", "other"));
    for (rule, expected) in [
        (claim(), "acme"),
        (TokenTenant::Claim("site".to_owned()), "other"),
        (fixed("third"), "third"),
        (TokenTenant::Untold, "default"),
    ] {
        publish(
            &stage,
            vec![crm(&Setup::default(), None, vec![told(ISSUER, rule)]).unwrap()],
        );
        assert_eq!(tenant_of(&stage, &request).as_deref(), Ok(expected));
    }
}

/// Everybody who is called Alice: no two of them are the same caller.
fn alices() -> [(&'static str, &'static str, &'static str); 5] {
    [
        (ISSUER, "acme", "desktop"),
        (ISSUER, "acme", "mobile"),
        (ISSUER, "other", "desktop"),
        (OTHER, "acme", "desktop"),
        (OTHER, "other", "desktop"),
    ]
}

#[test]
fn no_decision_and_no_record_of_one_is_anothers() {
    let mut policy = sample_policy();
    policy.data[0].text = sample::sample_data_in("acme", ISSUER);
    let stage = shared(Setup {
        policy,
        ..Setup::default()
    });
    let mut ids = BTreeSet::new();
    for (url, tenant, client) in alices() {
        let recorded = stage.record(&read(&alice(url, tenant, client)));
        let allowed = recorded.is_ok();
        assert_eq!(allowed, (url, tenant) == (ISSUER, "acme"), "{url} {tenant} {client}");
        let record = stage.last();
        assert_eq!(record["decision"], if allowed { "allow" } else { "deny" }, "{record}");
        assert_eq!(
            (&record["tenant"], &record["client_id"]),
            (&json!(tenant), &json!(client))
        );
        assert_eq!(
            (&record["subject"]["id"], &record["subject"]["issuer"]),
            (&json!("alice"), &json!(url))
        );
        assert!(
            ids.insert(record["principal_id"].to_string()),
            "one principal is another: {record}"
        );
    }
    // The same again is the same again.
    for (url, tenant, client) in alices() {
        let refreshed = alice(url, tenant, client).claim("jti", "another token");
        let recorded = stage.record(&read(&refreshed));
        assert!(!ids.insert(stage.last()["principal_id"].to_string()), "{recorded:?}");
    }
}

#[test]
fn a_policy_sees_tenant_and_client() {
    let seen = r#"decision := {"allow": true, "rule": "acme's desktop", "reason": ""} if {
        input.tenant == "acme"
        input.client.id == "desktop"
    }"#;
    let stage = shared(Setup {
        policy: policy_of(seen, ALLOW),
        ..Setup::default()
    });
    for (url, tenant, client) in alices() {
        let allowed = stage.record(&read(&alice(url, tenant, client))).is_ok();
        assert_eq!(
            allowed,
            (tenant, client) == ("acme", "desktop"),
            "{url} {tenant} {client}"
        );
    }
}

#[test]
fn no_limit_of_one_is_anothers() {
    let stage = shared(Setup {
        rate: Rate {
            per_second: 1,
            burst: 2,
        },
        ..Setup::default()
    });
    for (url, tenant, client) in alices() {
        let request = read(&alice(url, tenant, client));
        for expected in [Ok(tenant), Ok(tenant), Err(DenyReason::RateLimited)] {
            let found = tenant_of(&stage, &request);
            assert_eq!(found.as_deref(), expected.as_ref().copied(), "{url} {tenant} {client}");
        }
    }
}

#[test]
fn no_revocation_of_one_is_anothers() {
    type Revoked = fn(&str, &str, &str) -> bool;
    let cases: [(String, Revoked); 6] = [
        (
            format!(r#""issuer":"{ISSUER}","subject":"alice","tenant":"acme""#),
            |url, tenant, _| url == ISSUER && tenant == "acme",
        ),
        (
            format!(r#""issuer":"{ISSUER}","client_id":"mobile","tenant":"acme""#),
            |url, tenant, client| url == ISSUER && tenant == "acme" && client == "mobile",
        ),
        (
            format!(r#""issuer":"{ISSUER}","client_id":"desktop","tenant":"other""#),
            |url, tenant, client| url == ISSUER && tenant == "other" && client == "desktop",
        ),
        (
            format!(r#""issuer":"{OTHER}","jti":"j-1","tenant":"other""#),
            |url, tenant, _| url == OTHER && tenant == "other",
        ),
        (
            format!(r#""issuer":"{ISSUER}","session":"s-1","tenant":"default""#),
            |_, _, _| false,
        ),
        // Without a tenant it is meant for every tenant, and still for one issuer.
        (format!(r#""issuer":"{OTHER}","subject":"alice""#), |url, _, _| {
            url == OTHER
        }),
    ];
    for (members, revoked) in cases {
        let stage = shared(Setup::default());
        let request = RevocationRequest::parse(format!("{{{members}}}").as_bytes()).unwrap();
        stage
            .gate
            .revoke(&request, RevocationSource::Act, NOW)
            .map(drop)
            .unwrap();
        for (url, tenant, client) in alices() {
            let token = alice(url, tenant, client).claim("jti", "j-1").claim("sid", "s-1");
            let found = tenant_of(&stage, &read(&token)).err();
            let expected = revoked(url, tenant, client).then_some(DenyReason::TokenRevoked);
            assert_eq!(found, expected, "{members}: {url} {tenant} {client}");
        }
    }
}

/// Two servers at one path, of two tenants and with hosts of their own.
fn two_hosts() -> [Server; 2] {
    ["acme", "other"].map(|tenant| {
        let setup = Setup::default();
        let mut parts = server_parts("crm", &setup.policy, setup.rate, vec![told(ISSUER, claim())]);
        parts.name = Arc::from(format!("crm-{tenant}"));
        parts.tenant = Some(Arc::from(tenant));
        parts.resource = Arc::from(format!("https://{tenant}.example/crm"));
        parts.hosts = vec![Arc::from(format!("{tenant}.example:8443"))];
        Server::new(parts).unwrap()
    })
}

#[test]
fn a_host_tells_which_of_several_servers_is_meant() {
    let stage = Stage::new();
    publish(&stage, two_hosts().into());
    let both = ["https://acme.example/crm", "https://other.example/crm"];
    let ask = |path: &'static str, host: &'static str, tenant: &str, audiences: &[&str]| {
        let mut request = read(&alice(ISSUER, tenant, "desktop").audiences(audiences));
        (request.path, request.host) = (path, host);
        tenant_of(&stage, &request)
    };
    for (host, tenant) in [
        ("acme.example", "acme"),
        ("ACME.Example", "acme"),
        ("acme.example:8443", "acme"),
        ("other.example", "other"),
        ("other.EXAMPLE:8443", "other"),
    ] {
        assert_eq!(ask("/crm", host, tenant, &both).as_deref(), Ok(tenant), "{host}");
        let foreign = if tenant == "acme" { "other" } else { "acme" };
        assert_eq!(
            ask("/crm", host, foreign, &both),
            Err(DenyReason::TenantForeign),
            "{host}"
        );
        let audience = format!("https://{foreign}.example/crm");
        for tenant in [tenant, foreign] {
            // The audience is the token's matter, and comes first.
            assert_eq!(
                ask("/crm", host, tenant, &[&audience]),
                Err(DenyReason::TokenAudience),
                "{host}"
            );
        }
        assert_eq!(
            ask("/crm/", host, tenant, &both),
            Err(DenyReason::RouteUnknown),
            "{host}"
        );
        assert_eq!(ask("/", host, tenant, &both), Err(DenyReason::RouteUnknown), "{host}");
    }
    for host in [
        "",
        "third.example",
        "acme.example:443",
        "acme.example.",
        "acme.example:8443:1",
        "x@acme.example",
    ] {
        assert_eq!(ask("/crm", host, "acme", &both), Err(DenyReason::HostUnknown), "{host}");
    }
    let snapshot = stage.gate.snapshot();
    let name = |path: &str, host: &str| snapshot.server_at(path, host).map(|server| server.name().to_string());
    assert_eq!(name("/crm", "acme.example").as_deref(), Some("crm-acme"));
    assert_eq!(name("/crm", "OTHER.example").as_deref(), Some("crm-other"));
    assert_eq!(
        (name("/crm", "third.example"), name("/files", "acme.example")),
        (None, None)
    );
}

#[test]
fn no_host_means_two_servers_at_one_path() {
    let setup = Setup::default();
    let server = |name: &str, resource: &str, hosts: &[&str]| {
        let mut parts = server_parts("crm", &setup.policy, setup.rate, vec![issuer(ISSUER)]);
        parts.name = Arc::from(name);
        parts.resource = Arc::from(resource);
        parts.hosts = hosts.iter().map(|host| Arc::from(*host)).collect();
        Arc::new(Server::new(parts).unwrap())
    };
    let meet = |resource: &str, hosts: &[&str]| {
        let servers = vec![
            server("a", "https://a.example/crm", &["A2.example"]),
            server("b", resource, hosts),
        ];
        Snapshot::new(servers, Limits::default(), [8; 32]).map(drop)
    };
    assert_eq!(meet("https://b.example/crm", &["a.example:1"]), Ok(()));
    for (resource, hosts, host) in [
        ("https://A.example/other", &[][..], "a.example"),
        ("https://b.example/crm", &["a.EXAMPLE"], "a.example"),
        ("https://a2.example/crm", &[], "A2.example"),
    ] {
        let refused = SnapshotError::HostRepeated {
            first: Arc::from("a"),
            second: Arc::from("b"),
            path: Arc::from("/crm"),
            host: Arc::from(host),
        };
        assert_eq!(meet(resource, hosts), Err(refused), "{resource} {hosts:?}");
    }
}

#[test]
fn a_server_of_one_tenant_trusts_no_issuer_that_is_all_anothers() {
    let setup = Setup::default();
    let build = |tenant: Option<&str>, issuers| crm(&setup, tenant, issuers).map(drop);
    for issuers in [
        vec![told(ISSUER, fixed("acme"))],
        vec![told(ISSUER, claim()), told(OTHER, TokenTenant::Untold)],
    ] {
        assert_eq!(build(Some("acme"), issuers.clone()), Ok(()));
        assert_eq!(build(None, issuers), Ok(()));
    }
    let foreign = vec![told(ISSUER, fixed("acme")), told(OTHER, fixed("Acme"))];
    let refused = ServerError::TenantIssuer {
        server: Arc::from("crm"),
        tenant: Arc::from("acme"),
        issuer: Arc::from(OTHER),
    };
    assert_eq!(build(Some("acme"), foreign), Err(refused));
    for name in [String::new(), "x".repeat(129)] {
        let refused = Err(ServerError::Tenant(Arc::from("crm")));
        assert_eq!(build(Some(&name), vec![issuer(ISSUER)]), refused);
    }
}
