//! Four of the five classes of faults that gateways before this one had: N1 to N4; `selection` has N5.
//!
//! Owns a test a class, and one a kind where a class has several.

use portcullis_fixtures::calls::{Call, Era, LEGACY_VERSION};
use portcullis_fixtures::http1::request;
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::keys::{self, Algorithm, Key};
use portcullis_fixtures::mcp::Canned;
use portcullis_fixtures::token::{TokenBuilder, compact};
use serde_json::json;

use super::{Refusal, Trial, echo, refusal, token};
use crate::gate::{HOST, PATH, RESOURCE};

const AMBIGUOUS: Refusal = refusal(400, -32_600, "json_ambiguous");
const NO_JSON: Refusal = refusal(400, -32_700, "json_malformed");
const NO_MESSAGE: Refusal = refusal(400, -32_600, "rpc_invalid");
const MISMATCH: Refusal = refusal(400, -32_020, "header_mismatch");

/// A body that two readers read in two ways.
#[test]
fn n1_parser_differentials() {
    let trial = Trial::start("");
    let good = trial.good();
    let right = echo().body;
    let check = |name: &str, body: &[u8], refusal: Refusal| {
        let bearer = format!("Bearer {good}");
        let mut headers: Vec<(String, String)> = echo().headers;
        headers.push(("authorization".to_owned(), bearer));
        let fields = headers.iter().map(|(name, value)| (&**name, &**value));
        trial.refused_bytes(name, &request("POST", HOST, PATH, fields, body), refusal);
    };
    let changed = |from: &str, to: &str| {
        let body = right.replacen(from, to, 1);
        assert_ne!(body, right, "{from}");
        body
    };
    for (name, from, to) in [
        ("method twice", "\"method\"", "\"method\":\"tools/list\",\"method\""),
        ("params twice", "\"params\"", "\"params\":{\"name\":\"rm\"},\"params\""),
        ("name twice", "\"name\"", "\"name\":\"rm\",\"name\""),
        ("arguments twice", "\"arguments\"", "\"arguments\":{},\"arguments\""),
        ("id twice", "\"id\"", "\"id\":2,\"id\""),
        (
            "an escaped name beside name",
            "\"name\"",
            "\"\\u006eame\":\"rm\",\"name\"",
        ),
        (
            "an escaped method beside method",
            "\"method\"",
            "\"\\u006dethod\":\"tools/list\",\"method\"",
        ),
        (
            "a key twice within the arguments",
            "\"padding\"",
            "\"padding\":\"b\",\"padding\"",
        ),
        (
            "a key twice deep within the arguments",
            "\"a\"",
            "{\"x\":[{\"y\":1,\"y\":2}]}",
        ),
        ("an id that rounds", "\"id\":1", "\"id\":9007199254740993"),
    ] {
        check(name, changed(from, to).as_bytes(), AMBIGUOUS);
    }
    for (name, body) in [
        ("a byte order mark", format!("\u{feff}{right}").into_bytes()),
        ("a NUL behind", format!("{right}\0").into_bytes()),
        ("a second document", format!("{right}{right}").into_bytes()),
        (
            "a second document on its own line",
            format!("{right}\n{{}}").into_bytes(),
        ),
        ("UTF-16", right.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("a lone surrogate", changed("\"a\"", "\"\\ud800\"").into_bytes()),
        (
            "a NUL in a key",
            changed("\"padding\"", "\"padding\\u0000\"").into_bytes(),
        ),
        ("a number beyond a double", changed("\"a\"", "1e400").into_bytes()),
        ("a comment", format!("/* */{right}").into_bytes()),
        ("NaN", changed("\"a\"", "NaN").into_bytes()),
        ("no UTF-8", [right.as_bytes(), b"\xff"].concat()),
    ] {
        check(name, &body, NO_JSON);
    }
    for (name, body) in [
        ("an unknown member", changed("\"id\"", "\"extra\":1,\"id\"")),
        ("a result beside the method", changed("\"id\"", "\"result\":{},\"id\"")),
        ("a null id", changed("\"id\":1", "\"id\":null")),
        ("a fraction as id", changed("\"id\":1", "\"id\":1.0")),
        (
            "params as an array",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":[]}".to_owned(),
        ),
        ("a bare value", "\"tools/call\"".to_owned()),
    ] {
        check(name, body.as_bytes(), NO_MESSAGE);
    }
    trial.accepted_token("the very bytes arrive", &good);
    trial.finish();
}

/// Claims of another type than they must have, and headers that ask for more than is understood.
#[test]
fn n2_claim_types() {
    let trial = Trial::start("");
    let sign = |token: &TokenBuilder| trial.gate.issuer.sign(token);
    let now = now_s();
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!(now as f64 + 0.5),
            json!(-1),
            json!(null),
            json!([now]),
            json!({}),
            json!(true),
        ] {
            let token = sign(&trial.alice().claim(name, value.clone()));
            trial.refused_token(&format!("{name} {value}"), &token, "token_claims");
        }
        for value in [json!(1e30), json!(1_u64 << 53), json!(u64::MAX)] {
            let token = sign(&trial.alice().claim(name, value.clone()));
            trial.refused_token(&format!("{name} {value}"), &token, "token_malformed");
        }
    }
    for value in [
        json!(7),
        json!({}),
        json!([]),
        json!(null),
        json!(""),
        json!([RESOURCE, 7]),
        json!([[RESOURCE]]),
    ] {
        let token = sign(&trial.alice().claim("aud", value.clone()));
        trial.refused_token(&format!("aud {value}"), &token, "token_claims");
    }
    for (name, value) in [
        ("sub", json!(["alice"])),
        ("sub", json!({"id": "alice"})),
        ("client_id", json!(7)),
        ("jti", json!([])),
        ("scope", json!({"salesforce:read": true})),
        ("scope", json!(7)),
        ("act", json!("agent-1")),
        ("act", json!({"sub": ["agent-1"]})),
    ] {
        let token = sign(&trial.alice().claim(name, value.clone()));
        trial.refused_token(&format!("{name} {value}"), &token, "token_claims");
    }
    let lasting = sign(&trial.alice().without("exp"));
    trial.refused_token("no exp", &lasting, "token_lifetime");
    let lasting = sign(&trial.alice().expires(now + 25 * 3_600));
    trial.refused_token("exp in 25 hours", &lasting, "token_lifetime");
    for name in ["iat", "aud", "sub", "client_id"] {
        let token = sign(&trial.alice().without(name));
        trial.refused_token(&format!("no {name}"), &token, "token_claims");
    }
    trial.accepted_token("as it is", &trial.good());
    trial.finish();
}

/// A token that two readers read in two ways, or that asks for what nobody here understands.
#[test]
fn n2_headers_and_spellings() {
    let trial = Trial::start("");
    let key = keys::es256();
    let claims = trial.alice().claims_json();
    let sign = |header: &str, claims: &str| compact(header, claims, key, Algorithm::Es256);
    let right = r#"{"alg":"ES256","kid":"es-1","typ":"at+jwt"}"#;
    let good = sign(right, &claims);
    for crit in [
        json!(["b64"]),
        json!(["exp"]),
        json!(["x-policy"]),
        json!([]),
        json!("b64"),
        json!(null),
    ] {
        let header = json!({"alg": "ES256", "kid": "es-1", "typ": "at+jwt", "b64": true, "x-policy": 1, "crit": crit});
        trial.refused_token(
            &format!("crit {crit}"),
            &sign(&header.to_string(), &claims),
            "token_malformed",
        );
    }
    for header in [
        r#"{"alg":"none","alg":"ES256","kid":"es-1","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","\u0061lg":"none","kid":"es-1","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","kid":"es-1","kid":"es-2","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","kid":["es-1"],"typ":"at+jwt"}"#,
        r#"{"alg":"ES256","kid":"es-1","typ":"at+jwt"}{}"#,
        r#"{"kid":"es-1","typ":"at+jwt"}"#,
        r#"["ES256"]"#,
        "",
    ] {
        trial.refused_token(header, &sign(header, &claims), "token_malformed");
    }
    let members = claims.strip_prefix('{').unwrap();
    for twice in [
        r#""sub":"mallory","#,
        r#""\u0073ub":"mallory","#,
        r#""exp":1,"#,
        r#""x":{"a":1,"a":2},"#,
    ] {
        let claims = format!("{{{twice}{members}");
        trial.refused_token(twice, &sign(right, &claims), "token_malformed");
    }
    for kind in [
        "JWT",
        "ID",
        "logout+jwt",
        "oauth-id-jag+jwt",
        "dpop+jwt",
        "secevent+jwt",
    ] {
        let header = json!({"alg": "ES256", "kid": "es-1", "typ": kind}).to_string();
        trial.refused_token(&format!("typ {kind}"), &sign(&header, &claims), "token_type");
    }
    let (input, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    // 64 bytes leave four unused bits in the last character.
    let (rest, last) = signature.split_at(signature.len() - 1);
    let stray = char::from(last.as_bytes()[0] + 1);
    for (name, spelling) in [
        ("padded", format!("{good}==")),
        ("stray bits", format!("{input}.{rest}{stray}")),
        ("five parts", format!("{good}.{signature}.{signature}")),
        ("an empty header", format!(".{payload}.{signature}")),
        ("an empty payload", format!("{header}..{signature}")),
        (
            "standard base64",
            format!("{input}.{}", signature.replacen(|_: char| true, "+", 1)),
        ),
    ] {
        trial.refused_token(name, &spelling, "token_malformed");
    }
    // The same numbers under another curve's name: the published key says which curve it is.
    let p384 = Key::new_es384("es-1");
    let token = trial.alice().sign(&p384);
    trial.refused_token("another curve", &token, "token_algorithm");
    trial.accepted_token("as it is", &good);
    trial.finish();
}

/// Several messages in one body, of which somebody judged the first.
#[test]
fn n3_batches() {
    let trial = Trial::start("");
    let good = trial.good();
    let (allowed, denied) = (
        echo().body,
        Call::tools_call(Era::Modern, 2, "salesforce.account.delete", "{}").body,
    );
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
    for (name, body) in [
        ("allowed and denied", format!("[{allowed},{denied}]")),
        ("denied and allowed", format!("[{denied},{allowed}]")),
        ("a notification and a call", format!("[{notification},{allowed}]")),
        ("one call", format!("[{allowed}]")),
        ("nothing", "[]".to_owned()),
        ("a batch in a batch", format!("[[{allowed}]]")),
        ("after white space", format!(" \r\n\t[{allowed}]")),
    ] {
        // In 2025-03-26 a batch may come: `batches` holds that each of its messages is judged there.
        let call = Call::post(body.clone()).header("mcp-protocol-version", LEGACY_VERSION);
        trial.refused(&format!("{name} in {LEGACY_VERSION}"), &call.bearer(&good), NO_MESSAGE);
        let mut call = echo().bearer(&good);
        call.body = body;
        trial.refused(name, &call, NO_MESSAGE);
    }
    let result = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    for (canned, status) in [
        (Canned::json(&format!("[{result}]")), 502),
        (Canned::sse(&[&format!("data: [{result},{result}]\n\n")]), 200),
    ] {
        trial.gate.upstream.answer_next(canned);
        let answer = trial.gate.call(&echo().bearer(&good));
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains("\"error\""), "{}", answer.text());
        assert!(!answer.text().contains("\"result\""), "{}", answer.text());
        trial.note(1, "", 0);
    }
    trial.accepted_token("one call by itself", &good);
    trial.finish();
}

/// Fields by which a client says who it is, or that it has been let in already.
#[test]
fn n4_ghsa_g53w_w6mj_hrpp_client_supplied_trust_headers() {
    const FORGED: &str = "forged-2236067977";
    let trial = Trial::start("");
    let good = trial.good();
    let names = [
        "x-portcullis-subject",
        "X-Portcullis-Actor",
        "x_portcullis_subject",
        "portcullis-record-id",
        "portcullis-scopes",
        "x-tenant",
        "x-mcp-router-key",
        "mcp-init-host",
        "x-mcp-authorized",
        "x-forwarded-user",
        "x-forwarded-host",
        "x-forwarded-for",
        "x-forwarded-client-cert",
        "forwarded",
        "x-real-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        "x-auth-request-user",
        "cookie",
        "proxy-authorization",
        "traceparent",
        "baggage",
    ];
    let forged = |call: Call| names.iter().fold(call, |call, name| call.header(name, FORGED));
    trial.refused("no token", &forged(echo()), token("credential_missing"));
    trial.refused(
        "a proxy's credential",
        &echo().header("proxy-authorization", &format!("Bearer {good}")),
        token("credential_missing"),
    );
    let silent = |name: &str, call: &Call| {
        trial.accepted(name, call);
        let arrived = trial.gate.upstream.capture().last().unwrap();
        assert!(!arrived.mentions(FORGED), "{name}: a forged field went upstream");
        for needed in ["mcp-protocol-version", "mcp-method", "mcp-name"] {
            assert!(arrived.header(needed).is_some(), "{name}: `{needed}` was dropped");
        }
    };
    silent("each once", &forged(echo().bearer(&good)));
    for name in names {
        let twice = echo().bearer(&good).header(name, FORGED).header(name, FORGED);
        silent(&format!("{name} twice"), &twice);
    }
    // Hops strip what `Connection` names: it must neither take our credential out nor the fields that were judged.
    let connection = "authorization, mcp-method, mcp-name, mcp-protocol-version, x-portcullis-subject";
    silent(
        "named in Connection",
        &forged(echo().bearer(&good).header("connection", connection)),
    );

    let call = echo().bearer(&good);
    let body = &call.body;
    let mut chunked = format!("POST {PATH} HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n");
    for (name, value) in &call.headers {
        chunked.push_str(&format!("{name}: {value}\r\n"));
    }
    chunked.push_str(&format!(
        "\r\n{:x}\r\n{body}\r\n0\r\nx-portcullis-subject: {FORGED}\r\nauthorization: {FORGED}\r\n\r\n",
        body.len()
    ));
    // Trailers are refused before anybody is asked for, and the connection ends.
    let malformed = refusal(400, 40_001, "head_malformed");
    trial.refused_bytes("trailers", chunked.as_bytes(), malformed);
    assert!(!trial.gate.upstream.capture().last().unwrap().mentions(FORGED));

    for (name, field, value) in [
        ("another tool", "mcp-name", "salesforce.account.delete"),
        ("another method", "mcp-method", "tools/list"),
        ("a tool in broken base64", "mcp-name", "=?base64?ZGVtby5lY2hv"),
        ("a tool in lax base64", "mcp-name", "=?base64?ZGVtby5lY2hv==?="),
        ("another case", "mcp-name", "Demo.Echo"),
    ] {
        let other = echo().without_header(field).header(field, value);
        trial.refused(name, &other.bearer(&good), MISMATCH);
        let both = echo().header(field, value);
        trial.refused(&format!("{name} beside the right one"), &both.bearer(&good), MISMATCH);
    }
    trial.refused(
        "a parameter",
        &Call::tools_list(Era::Modern, 1)
            .header("mcp-param-padding", "a")
            .bearer(&good),
        MISMATCH,
    );
    let encoded = echo()
        .without_header("mcp-name")
        .header("mcp-name", "=?base64?ZGVtby5lY2hv?=");
    trial.accepted("the tool in base64", &encoded.bearer(&good));
    trial.finish();
}
