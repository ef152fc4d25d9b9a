//! Two tenants, two issuers and two clients before one gate: how each caller is told, and what never crosses.

use std::collections::BTreeSet;
use std::path::Path;

use http::Method;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::{Response, request};
use portcullis_fixtures::issuer::Behaviour;
use portcullis_fixtures::issuer::{Issuer, IssuerSettings, now_s};
use portcullis_fixtures::keys::{self, Algorithm, Key};
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::policy;
use portcullis_fixtures::token::{TokenBuilder, compact};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gate::{Gate, HOST, PATH, RESOURCE, until};
use crate::{revocation, tls};

/// The hosts that share a path, each of the tenant of its first label.
const ACME: &str = "acme.test";
const BETA: &str = "beta.test";
const SHARED_PATH: &str = "/mcp";

/// A gate of two issuers: the first names the tenant in a claim, all people of the other are `beta`'s. The CRM at
/// [`PATH`] serves everybody; at [`SHARED_PATH`] each host has a server of its tenant.
struct World {
    gate: Gate,
    other: Issuer,
    other_key: Key,
}

impl World {
    fn start(folder: TempDir, listener: &str) -> Self {
        let other = Issuer::start(IssuerSettings::default()).unwrap();
        let other_key = Key::new_es256("other-1");
        other.answer_keys(Behaviour::body(keys::jwks(&[&other_key])));
        let path = folder.path().to_owned();
        let gate = Gate::start_changed_in(folder, |issuer, text| {
            write_data(&path, issuer.url(), other.url());
            changed(&text, issuer.url(), other.url(), listener)
        });
        until(|| 2 <= gate.logged("keys fetched").len());
        Self { gate, other, other_key }
    }

    /// Alice of the first issuer in this tenant, for every resource of the gate.
    fn alice(&self, tenant: impl Into<Value>) -> TokenBuilder {
        everywhere(self.gate.issuer.url()).claim("org_id", tenant)
    }

    fn token(&self, tenant: impl Into<Value>) -> String {
        self.gate.issuer.sign(&self.alice(tenant))
    }

    /// Alice of the other issuer.
    fn other_token(&self) -> String {
        everywhere(self.other.url()).sign(&self.other_key)
    }

    fn ask(&self, host: &str, path: &str, call: &Call) -> Response {
        self.gate.connect().exchange(&call.to_http(host, path)).unwrap()
    }

    /// Status and code of the answer to a call with this token.
    fn outcome(&self, host: &str, path: &str, token: &str) -> (u16, i64) {
        outcome(&self.ask(host, path, &read(token)))
    }
}

fn everywhere(issuer: &str) -> TokenBuilder {
    let resources = [RESOURCE, "http://acme.test/mcp", "http://beta.test/mcp"];
    TokenBuilder::for_persona(&ALICE, issuer, RESOURCE, now_s()).audiences(&resources)
}

fn write_data(folder: &Path, first: &str, other: &str) {
    let data = policy::sample_data_among(&[["acme", first], ["beta", other]]);
    std::fs::write(folder.join("data.json"), data).unwrap();
}

/// The usual configuration with the other issuer and the servers of the two hosts.
fn changed(text: &str, first: &str, other: &str, listener: &str) -> String {
    let (head, rest) = text.split_once("servers:\n").unwrap();
    let (crm, limits) = rest.split_once("\nlimits:\n").unwrap();
    let head = head
        .replacen(
            "  - address: 127.0.0.1:0\n",
            &format!("  - address: 127.0.0.1:0{listener}\n"),
            1,
        )
        .replacen(
            "    danger_allow",
            "    tenant_claim: org_id\n    revocation: feed\n    danger_allow",
            1,
        );
    let of_tenant = |tenant: &str, issuers: &str| {
        crm.replacen("name: crm", &format!("name: {tenant}\n    tenant: {tenant}"), 1)
            .replacen(&format!("path: {PATH}"), &format!("path: {SHARED_PATH}"), 1)
            .replacen(RESOURCE, &format!("http://{tenant}.test/mcp"), 1)
            .replacen(&format!("issuers: [{first}]"), &format!("issuers: [{issuers}]"), 1)
    };
    let both = format!("{first}, {other}");
    let (acme, beta) = (of_tenant("acme", first), of_tenant("beta", &both));
    let crm = crm.replacen(&format!("issuers: [{first}]"), &format!("issuers: [{both}]"), 1);
    format!(
        "state_dir: state
admin: {{control: {{unix: control.sock}}}}
{head}  - issuer: {other}
    tenant: beta
    revocation: feed
    danger_allow_private_addresses: true
servers:
{crm}
{acme}
{beta}
limits:
{limits}"
    )
}

fn start() -> World {
    World::start(tempfile::tempdir().unwrap(), "")
}

/// Alice reads one of her accounts.
fn read(token: &str) -> Call {
    let arguments = r#"{"account_id":"acc-1001"}"#;
    Call::tools_call(Era::Modern, 1, "salesforce.opportunity.read", arguments).bearer(token)
}

fn outcome(answer: &Response) -> (u16, i64) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["error"]["code"].as_i64().unwrap_or_default();
    if code == 40_304 {
        assert_eq!(
            answer.header("www-authenticate"),
            None,
            "no other token of the caller would do"
        );
    }
    (answer.status, code)
}

const PASSED: (u16, i64) = (200, 0);
const FOREIGN: (u16, i64) = (403, 40_304);
const DENIED: (u16, i64) = (403, 40_301);
const HOST_UNKNOWN: (u16, i64) = (403, 40_303);
const TOKEN: (u16, i64) = (401, 40_101);

#[test]
fn a_person_of_one_tenant_or_issuer_is_nobody_in_another() {
    let world = start();
    let crm = |token: &str| world.outcome(HOST, PATH, token);
    assert_eq!(crm(&world.token("acme")), PASSED);
    assert_eq!(crm(&world.other_token()), PASSED);
    // The same name of the same issuer in another tenant, and of the other issuer in the first's tenant.
    assert_eq!(crm(&world.token("beta")), DENIED);
    assert_eq!(crm(&world.token("default")), DENIED);
    let claimed = everywhere(world.other.url())
        .claim("org_id", "acme")
        .sign(&world.other_key);
    assert_eq!(crm(&claimed), PASSED, "its tokens are beta's, whatever they claim");
    for tenant in [
        json!(""),
        json!(7),
        json!(null),
        json!(["acme"]),
        json!("x".repeat(129)),
    ] {
        assert_eq!(crm(&world.token(tenant.clone())), FOREIGN, "{tenant}");
    }
    let issuer = &world.gate.issuer;
    assert_eq!(crm(&issuer.sign(&world.alice("acme").without("org_id"))), FOREIGN);
    let payload = world.alice("acme").claims_json();
    let twice = payload.replacen('{', r#"{"org_id":"beta","#, 1);
    let header = r#"{"alg":"ES256","typ":"at+jwt","kid":"es-1"}"#;
    let sign = |payload: &str| compact(header, payload, keys::es256(), Algorithm::Es256);
    assert_eq!((crm(&sign(&payload)), crm(&sign(&twice))), (PASSED, TOKEN));

    // One person through two clients, too.
    assert_eq!(crm(&issuer.sign(&world.alice("acme").client("mobile"))), PASSED);
    let allowed: Vec<Value> = world.gate.tail().into_iter().filter(crate::gate::is_allow).collect();
    let told: BTreeSet<[String; 4]> = allowed
        .iter()
        .map(|record| {
            let members = ["/tenant", "/subject/issuer", "/client_id", "/principal_id"];
            members.map(|member| record.pointer(member).unwrap().as_str().unwrap().to_owned())
        })
        .collect();
    let ids: BTreeSet<&String> = told.iter().map(|[.., id]| id).collect();
    assert_eq!((allowed.len(), told.len(), ids.len()), (5, 3, 3), "{told:?}");
    assert_eq!(world.gate.upstream.capture().count(), 5);
}

#[test]
fn a_host_of_one_tenant_serves_no_other() {
    let world = start();
    let (acme, beta, other) = (world.token("acme"), world.token("beta"), world.other_token());
    for (host, path, token, expected) in [
        (ACME, SHARED_PATH, &acme, PASSED),
        ("ACME.Test", SHARED_PATH, &acme, PASSED),
        (BETA, SHARED_PATH, &other, PASSED),
        (BETA, SHARED_PATH, &acme, FOREIGN),
        (ACME, SHARED_PATH, &beta, FOREIGN),
        // Nobody but acme's own issuer is trusted there; the first issuer knows no such person in beta.
        (ACME, SHARED_PATH, &other, TOKEN),
        (BETA, SHARED_PATH, &beta, DENIED),
        ("third.test", SHARED_PATH, &acme, HOST_UNKNOWN),
        ("acme.test:80", SHARED_PATH, &acme, HOST_UNKNOWN),
        ("acme.test.", SHARED_PATH, &acme, HOST_UNKNOWN),
        ("", SHARED_PATH, &acme, HOST_UNKNOWN),
        (HOST, SHARED_PATH, &acme, HOST_UNKNOWN),
        (ACME, PATH, &acme, HOST_UNKNOWN),
        (ACME, "/mcp/", &acme, (404, 40_401)),
        (HOST, PATH, &acme, PASSED),
    ] {
        assert_eq!(world.outcome(host, path, token), expected, "{host} {path}");
    }
    // A token for one host's resource alone is none for the other's.
    let narrow = |resource: &str| world.gate.issuer.sign(&world.alice("acme").audiences(&[resource]));
    assert_eq!(
        world.outcome(ACME, SHARED_PATH, &narrow("http://acme.test/mcp")),
        PASSED
    );
    assert_eq!(world.outcome(ACME, SHARED_PATH, &narrow("http://beta.test/mcp")), TOKEN);

    let bytes = read(&acme).to_http(ACME, SHARED_PATH);
    let text = String::from_utf8(bytes).unwrap();
    let doubled = text.replacen("\r\n", "\r\nhost: beta.test\r\n", 1);
    let answer = world.gate.connect().exchange(doubled.as_bytes()).unwrap();
    assert_eq!(answer.status, 400, "two hosts are none: {}", answer.text());

    let names: BTreeSet<String> = world
        .gate
        .tail()
        .iter()
        .filter(|record| crate::gate::is_allow(record))
        .map(|record| {
            format!(
                "{} {}",
                record["server"].as_str().unwrap(),
                record["tenant"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(names, ["acme acme", "beta beta", "crm acme"].map(str::to_owned).into());
}

#[test]
fn metadata_and_challenges_are_those_of_the_host() {
    let world = start();
    let (first, other) = (world.gate.issuer.url(), world.other.url());
    let page = |host: &str, path: &str| {
        let bytes = request("GET", host, path, [], b"");
        let answer = world.gate.connect().exchange(&bytes).unwrap();
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        (
            answer.status,
            document["resource"].clone(),
            document["authorization_servers"].clone(),
        )
    };
    const PAGE: &str = "/.well-known/oauth-protected-resource";
    let acme = (200, json!("http://acme.test/mcp"), json!([first]));
    let beta = (200, json!("http://beta.test/mcp"), json!([first, other]));
    let none = (404, Value::Null, Value::Null);
    for (host, expected) in [
        (ACME, &acme),
        ("Acme.TEST", &acme),
        (BETA, &beta),
        ("third.test", &none),
        ("", &none),
    ] {
        assert_eq!(page(host, &format!("{PAGE}/mcp")), *expected, "{host}");
        assert_eq!(page(host, &format!("/mcp{PAGE}")), *expected, "{host}");
        // Of several servers the only one of the host speaks at the root.
        assert_eq!(page(host, PAGE), *expected, "{host}");
    }
    assert_eq!(page(HOST, &format!("{PAGE}{PATH}")).1, RESOURCE);
    for host in [ACME, BETA] {
        let answer = world.ask(host, SHARED_PATH, &Call::ping(1));
        let challenge = answer.header("www-authenticate").unwrap();
        let own = format!("resource_metadata=\"http://{host}{PAGE}/mcp\"");
        assert!(answer.status == 401 && challenge.contains(&own), "{challenge}");
    }
}

#[test]
fn a_revocation_in_one_tenant_ends_nothing_in_another() {
    let world = start();
    let (acme, other) = (world.token("acme"), world.other_token());
    let crm = |token: &str| world.outcome(HOST, PATH, token);
    let revoke = |issuer: &str, tenant: &str| {
        let body = json!({"issuer": issuer, "subject": "alice", "tenant": tenant});
        let (status, answer) = revocation::control(&world.gate, "POST /revocations", &body.to_string());
        assert_eq!(status, 201, "{answer}");
    };
    assert_eq!((crm(&acme), crm(&other)), (PASSED, PASSED));
    revoke(world.gate.issuer.url(), "beta");
    revoke(world.other.url(), "acme");
    assert_eq!((crm(&acme), crm(&other)), (PASSED, PASSED));
    revoke(world.gate.issuer.url(), "acme");
    assert_eq!((crm(&acme), crm(&other)), (TOKEN, PASSED));
    revoke(world.other.url(), "beta");
    assert_eq!((crm(&acme), crm(&other)), (TOKEN, TOKEN));
}

#[test]
fn http2_tells_the_host_by_its_authority() {
    let authority = tls::Authority::new();
    let listener = "\n    tls: {certificate: gate.pem, key: gate.key}";
    let world = World::start(authority.folder(), listener);
    let (acme, beta) = (world.token("acme"), world.token("beta"));
    let cases = [
        (ACME, None, &acme, PASSED),
        ("ACME.test", None, &acme, PASSED),
        (ACME, Some(ACME), &acme, PASSED),
        (BETA, None, &acme, FOREIGN),
        (ACME, None, &beta, FOREIGN),
        ("third.test", None, &acme, HOST_UNKNOWN),
        // Two readers would read two hosts (RFC 9113 section 8.3.1).
        (ACME, Some(BETA), &acme, (400, 0)),
        (BETA, Some(ACME), &acme, (400, 0)),
    ];
    let calls = cases.map(|(host, field, token, _)| {
        let call = read(token);
        let call = match field {
            Some(field) => call.header("host", field),
            None => call,
        };
        (Method::POST, format!("https://{host}{SHARED_PATH}"), call)
    });
    let answers = tls::http2(&world.gate, &authority, calls.into());
    for ((host, field, _, expected), (status, body)) in cases.into_iter().zip(answers) {
        let code = match status {
            400 => 0,
            _ => body["error"]["code"].as_i64().unwrap_or_default(),
        };
        assert_eq!((status, code), expected, "{host} {field:?} {body}");
    }
    let pages = [ACME, BETA].map(|host| {
        let page = format!("https://{host}/.well-known/oauth-protected-resource/mcp");
        (Method::GET, page, Call::post(String::new()))
    });
    let answers = tls::http2(&world.gate, &authority, pages.into());
    let resources: Vec<&Value> = answers.iter().map(|(_, body)| &body["resource"]).collect();
    assert_eq!(resources, ["http://acme.test/mcp", "http://beta.test/mcp"]);
    assert_eq!(world.gate.upstream.capture().count(), 3);
}
