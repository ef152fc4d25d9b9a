//! What the built gate tells a client of scopes and logins, what it hides, and the secrets that it takes from nobody.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::{Connection, Response, request};
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::gate::{Gate, HOST, PATH, REQUEST_REGO, RESOURCE, is_allow, until};

/// A tool of Alice's, and a call of it that the policy allows.
const READ: &str = "salesforce.opportunity.read";
const OWN_ACCOUNT: &str = r#"{"account_id":"acc-1001"}"#;
/// A secret of the test.
const SECRET: &str = "T0kLf3wXc9-Qa7Zr5Vn2Bm8Hy4Jd6Gs1E";

fn alice(gate: &Gate) -> TokenBuilder {
    TokenBuilder::for_persona(&ALICE, gate.issuer.url(), RESOURCE, now_s())
}

fn read(era: Era) -> Call {
    Call::tools_call(era, 1, READ, OWN_ACCOUNT)
}

/// A call whose answer the sample policy passes to whomever the call was allowed.
fn echo() -> Call {
    Call::tools_call(Era::Modern, 1, "demo.echo", r#"{"padding":"a"}"#)
}

/// The head and the body of an answer, without what differs from one request to the next.
fn without_ids(answer: &Response) -> (u16, Vec<(String, String)>, String) {
    let id = answer.header("portcullis-record-id").unwrap_or("-").to_owned();
    let headers = answer.headers.iter();
    let headers = headers
        .filter(|(name, _)| !["date", "portcullis-record-id"].contains(&name.as_str()))
        .cloned()
        .collect();
    (answer.status, headers, answer.text().replace(&id, "ID"))
}

#[test]
fn what_may_not_be_seen_looks_like_what_is_not_there() {
    let gate = Gate::start("");
    let wide = gate.token(&ALICE);
    let narrow = gate.issuer.sign(&alice(&gate).scope("repo"));
    for era in [Era::Legacy, Era::Modern] {
        let told = |tool: &str, arguments: &str, token: &str| {
            let answer = gate.call(&Call::tools_call(era, 7, tool, arguments).bearer(token));
            assert_eq!(answer.header("www-authenticate"), None, "{tool}");
            without_ids(&answer)
        };
        let unknown = told("salesforce.account.erase", "{}", &wide);
        assert_eq!(unknown.0, 403);
        assert!(
            unknown.2.contains("\"code\":40301") && unknown.2.contains("\"id\":7"),
            "{}",
            unknown.2
        );
        for (name, other) in [
            (
                "unknown without scopes",
                told("salesforce.account.erase", "{}", &narrow),
            ),
            (
                "hidden with its scope missing",
                told("salesforce.account.delete", "{}", &narrow),
            ),
            (
                "hidden with another scope",
                told("salesforce.account.delete", "{}", &wide),
            ),
            (
                "denied by the policy",
                told(READ, r#"{"account_id":"acc-2001"}"#, &wide),
            ),
        ] {
            assert_eq!(other, unknown, "{name}");
        }
        let challenged = gate.call(&read(era).bearer(&narrow));
        assert_eq!(challenged.status, 403);
        assert!(challenged.header("www-authenticate").is_some());
    }
    let reasons: Vec<Value> = gate.tail().iter().map(|record| record["reason"].clone()).collect();
    for reason in ["tool_unmapped", "tool_hidden", "scope_insufficient"] {
        assert!(reasons.contains(&reason.into()), "{reason} is not in {reasons:?}");
    }
}

#[test]
fn a_scope_challenge_is_the_same_bytes_for_the_same_need() {
    let gate = Gate::start("");
    for (era, scope) in [
        (Era::Legacy, "openid repo salesforce:read"),
        (Era::Modern, "salesforce:read"),
    ] {
        let expected = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{scope}\", \
             resource_metadata=\"http://gate.test/.well-known/oauth-protected-resource/crm/mcp\", \
             error_description=\"the operation needs further scopes\""
        );
        for scopes in ["repo openid", "openid repo", "openid  repo openid"] {
            let token = gate.issuer.sign(&alice(&gate).scope(scopes));
            for _ in 0..2 {
                let answer = gate.call(&read(era).bearer(&token));
                assert_eq!(answer.header("www-authenticate"), Some(&*expected), "{scopes}");
            }
        }
    }
}

/// The rule of a policy that asks for a login, in place of the sample's decision.
const STEP_UP: &str = r#"package portcullis.request

decision := {
	"allow": true, "rule": "recent-login", "reason": "",
	"obligations": {"authenticate": {"acr_values": ["loa3", "loa2"], "max_age": 300}},
}
"#;

#[test]
fn a_policy_can_ask_for_a_stronger_and_fresher_login() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stepup.rego"), STEP_UP).unwrap();
    let gate = Gate::start_changed_in(folder, |_, text| text.replace(REQUEST_REGO, "stepup.rego"));
    let asked = gate
        .issuer
        .sign(&alice(&gate).claim("acr", "loa1").claim("auth_time", now_s()));
    let answer = gate.call(&read(Era::Modern).bearer(&asked));
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(
        answer.header("www-authenticate"),
        Some(
            "Bearer error=\"insufficient_user_authentication\", scope=\"salesforce:read\", \
             resource_metadata=\"http://gate.test/.well-known/oauth-protected-resource/crm/mcp\", \
             error_description=\"a fresher or stronger login is required\", acr_values=\"loa3 loa2\", max_age=\"300\""
        )
    );
    let again = gate
        .issuer
        .sign(&alice(&gate).claim("acr", "loa2").claim("auth_time", now_s()));
    assert_eq!(gate.call(&read(Era::Modern).bearer(&again)).status, 200);
    let stale = alice(&gate).claim("acr", "loa2").claim("auth_time", now_s() - 400);
    assert_eq!(
        gate.call(&read(Era::Modern).bearer(&gate.issuer.sign(&stale))).status,
        401
    );
    // A refusal does not wait for its record.
    let requests = |records: &[Value]| records.iter().filter(|record| record["phase"] == "request").count();
    until(|| requests(&gate.tail()) == 3);
    let records = gate.tail();
    let decided: Vec<(&Value, &Value, &Value)> = records
        .iter()
        .filter(|record| record["phase"] == "request")
        .map(|record| (&record["decision"], &record["rule"], &record["reason"]))
        .collect();
    let rule = &Value::from("recent-login");
    let denied = (&"deny".into(), rule, &"authentication_insufficient".into());
    assert_eq!(decided[0], denied);
    assert_eq!((decided[1].0, decided[1].1), (&"allow".into(), rule));
    assert_eq!(decided[2], denied);
    assert_eq!(gate.upstream.capture().count(), 1);
}

#[test]
fn a_listed_query_goes_nowhere() {
    let mut gate = Gate::start_with("127.0.0.1:0", "    query_names: [lang]", "");
    let token = gate.token(&ALICE);
    let value = "value-2236067977";
    let send = |target: String| {
        let bytes = read(Era::Modern).bearer(&token).to_http(HOST, &target);
        gate.connect().exchange(&bytes).unwrap()
    };
    assert_eq!(send(format!("{PATH}?lang={value}")).status, 200);
    let arrived = gate.upstream.capture().last().unwrap();
    assert!(
        !arrived.mentions(value) && !arrived.mentions("lang"),
        "the query went upstream"
    );
    for query in [
        format!("lang={value}&lang={value}"),
        format!("lang={value}&a={value}"),
        format!("%6cang={value}"),
    ] {
        let answer = send(format!("{PATH}?{query}"));
        assert_eq!(answer.status, 400);
        assert!(!answer.text().contains(value));
    }
    assert_eq!(gate.upstream.capture().count(), 1);
    gate.terminate();
    assert!(gate.wait().success());
    let outputs = [gate.log(), gate.printed(), format!("{:?}", gate.tail())];
    assert!(
        outputs.iter().all(|output| !output.contains(value)),
        "the query was told"
    );
}

#[test]
fn a_shared_secret_opens_a_server_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("local.txt"), format!("{SECRET}\n")).unwrap();
    std::fs::write(folder.path().join("local.rego"), LOCAL).unwrap();
    let mut gate = Gate::start_changed_in(folder, |_, text| {
        let server = "    danger_shared_secret: {file: local.txt, subject: me, scopes: [\"salesforce:read\"], roles: [owner]}\nlimits:";
        text.replace(REQUEST_REGO, "local.rego").replacen("limits:", server, 1)
    });
    let answer = gate.call(&echo().bearer(SECRET));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let arrived = gate.upstream.capture().last().unwrap();
    assert!(!arrived.mentions(SECRET), "the secret went upstream");
    for (name, call, status) in [
        ("another secret", echo().bearer(&SECRET.replace('T', "t")), 401),
        ("a part of it", echo().bearer(SECRET.get(1..).unwrap()), 401),
        (
            "for another",
            echo().bearer(SECRET).header("x-forwarded-for", "192.0.2.1"),
            401,
        ),
        ("as an API key", echo().header("x-api-key", SECRET), 400),
        (
            "as a password",
            echo().header("authorization", &format!("Basic {SECRET}")),
            401,
        ),
        (
            "beyond its scopes",
            Call::tools_call(Era::Modern, 1, "salesforce.account.delete", "{}").bearer(SECRET),
            403,
        ),
    ] {
        assert_eq!(gate.call(&call).status, status, "{name}");
    }
    assert_eq!(
        gate.call(&echo().bearer(&gate.token(&ALICE))).status,
        403,
        "Alice is no owner"
    );
    gate.terminate();
    assert!(gate.wait().success());
    let records = gate.tail();
    let allowed: Vec<&Value> = records.iter().filter(|record| is_allow(record)).collect();
    assert_eq!(allowed.len(), 1);
    assert_eq!(allowed[0]["subject"]["issuer"], "urn:portcullis:shared-secret");
    assert_eq!(allowed[0]["token"]["kind"], "shared_secret");
    let outputs = [gate.log(), gate.printed(), format!("{records:?}")];
    assert!(
        outputs.iter().all(|output| !output.contains(SECRET)),
        "the secret was told"
    );
}

/// A policy for whoever is the owner.
const LOCAL: &str = r#"package portcullis.request

decision := {"allow": true, "rule": "owner", "reason": ""} if "owner" in input.subject.roles
else := {"allow": false, "rule": "nobody", "reason": ""}
"#;

/// Sends one call from this address of the machine.
fn from(gate: &Gate, address: Ipv4Addr, call: &Call) -> Response {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    let deadline = Duration::from_secs(10);
    socket.connect_timeout(&gate.address().into(), deadline).unwrap();
    let mut connection = Connection::over(socket.into()).unwrap();
    connection.exchange(&call.to_http(HOST, PATH)).unwrap()
}

#[test]
fn a_token_that_many_clients_use_is_reported() {
    let limits = "  token_sources_reported: 3";
    let mut gate = Gate::start_with("127.0.0.1:0\nadmin: {address: \"127.0.0.1:0\"}", "", limits);
    let admin = gate.admin();
    let metric = || {
        let mut connection = Connection::open(admin).unwrap();
        let answer = connection
            .exchange(&request("GET", "localhost", "/metrics", [], b""))
            .unwrap();
        let text = answer.text();
        let line = text
            .lines()
            .find(|line| line.starts_with("portcullis_tokens_shared_total "));
        line.unwrap_or_else(|| panic!("{text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    let (copied, quiet) = (gate.token(&ALICE), gate.token(&ALICE));
    for _ in 0..20 {
        assert_eq!(gate.call(&read(Era::Modern).bearer(&quiet)).status, 200);
    }
    assert_eq!(metric(), "0");
    for last in 1..=20 {
        let answer = from(
            &gate,
            Ipv4Addr::new(127, 0, 1, last),
            &read(Era::Modern).bearer(&copied),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(metric(), "1");
    const WARNING: &str = "one token is used from many places";
    until(|| !gate.logged(WARNING).is_empty());
    let warned = gate.logged(WARNING);
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert_eq!(
        (&warned[0]["level"], &warned[0]["server"]),
        (&"WARN".into(), &"crm".into())
    );
    let records = gate.tail();
    let of_copied: Vec<&Value> = records
        .iter()
        .filter(|record| is_allow(record) && record["token"]["digest"] == warned[0]["token_digest"])
        .collect();
    assert_eq!(of_copied.len(), 20);
    assert_eq!(of_copied[0]["token"]["sources"], 1);
    assert!(8 < of_copied[19]["token"]["sources"].as_u64().unwrap());
    assert!(!gate.log().contains(copied.rsplit('.').next().unwrap()));
}
