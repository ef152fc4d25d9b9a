//! The rows A1 to A10 and C8 to C10 of the fault matrix, as far as they are about keys and tokens.
//!
//! Owns a test a row. What needs another clock than the system's (the exact ceiling of A2, the jumps of A8) is tested in
//! the core, under the same numbers; C9 stands with the rebinding faults.

use std::cell::Cell;
use std::time::Duration;

use portcullis_fixtures::calls::Call;
use portcullis_fixtures::driver::{self, Load};
use portcullis_fixtures::http1::request;
use portcullis_fixtures::issuer::{Behaviour, Issuer, IssuerSettings, now_s};
use portcullis_fixtures::keys::{self, Key, base64url};
use serde_json::json;

use super::{RATE, Trial, echo, refusal, token};
use crate::gate::{Gate, HOST, PATH, RESOURCE, until};

const UNUSABLE: super::Refusal = refusal(503, 50_301, "keys_unavailable");

/// Answers in place of a key set, each with what the gate says of it. A redirect leads to `elsewhere`.
pub(super) fn broken_key_sets(elsewhere: &Issuer) -> Vec<(&'static str, Behaviour, &'static str)> {
    let canned = |status, headers: &[(&str, &str)], body: Vec<u8>| Behaviour::Canned {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body,
    };
    let published = keys::jwks(&[keys::es256(), keys::ed25519(), keys::rsa()]);
    let many = |keys: usize| format!("{{\"keys\":[{}]}}", vec!["{\"kty\":\"oct\"}"; keys].join(","));
    let target = elsewhere.jwks_uri();
    vec![
        ("nothing", Behaviour::body(""), "not strict JSON"),
        ("garbage", Behaviour::body(vec![0x9d; 1_000]), "not strict JSON"),
        (
            "a page",
            Behaviour::body("<!doctype html><title>Sign in</title>"),
            "not strict JSON",
        ),
        (
            "half a set",
            Behaviour::body(&published.as_bytes()[..200]),
            "not strict JSON",
        ),
        ("two sets", Behaviour::body(published.repeat(2)), "not strict JSON"),
        (
            "another document",
            Behaviour::body("{\"error\":\"unavailable\"}"),
            "no array `keys`",
        ),
        ("no keys", Behaviour::body("{\"keys\":[]}"), "none of the 0 keys"),
        ("symmetric keys", Behaviour::body(many(3)), "none of the 3 keys"),
        ("101 keys", Behaviour::body(many(101)), "more than 100 keys"),
        ("10,000 keys", Behaviour::body(many(10_000)), "the key set is"),
        ("200 MB", Behaviour::Flood(200_000_000), "too large"),
        ("one byte too many", Behaviour::Flood(256 * 1024 + 1), "too large"),
        (
            "a bomb",
            canned(200, &[("content-encoding", "gzip")], gzip_bomb()),
            "not strict JSON",
        ),
        (
            "500 with a good body",
            canned(500, &[], published.clone().into_bytes()),
            "the status is 500",
        ),
        ("404", canned(404, &[], Vec::new()), "the status is 404"),
        (
            "a redirect",
            canned(302, &[("location", &target)], Vec::new()),
            "the status is 302",
        ),
        (
            "a redirect for ever",
            canned(308, &[("location", &target)], published.into_bytes()),
            "the status is 308",
        ),
        (
            "a late set",
            Behaviour::Late(Duration::from_secs(60)),
            "the deadline passed",
        ),
        (
            "a dripping set",
            Behaviour::Drip(Duration::from_millis(50)),
            "the deadline passed",
        ),
    ]
}

/// 4 MB of zeros in 26 KB: one block of fixed codes, a literal and 16,384 times "258 bytes like the one before"
/// (RFC 1951 section 3.2.6, RFC 1952).
fn gzip_bomb() -> Vec<u8> {
    const REPEATS: usize = 16 * 1024;
    const LENGTH: u32 = 4_227_073;
    const CRC: u32 = 0x8b28_092a;
    let mut bits = vec![1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0];
    for _ in 0..REPEATS {
        bits.extend([1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    bits.extend([0; 7]);
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    bytes.extend(
        bits.chunks(8)
            .map(|byte| byte.iter().rev().fold(0, |byte, bit| byte << 1 | bit)),
    );
    bytes.extend(CRC.to_le_bytes());
    bytes.extend(LENGTH.to_le_bytes());
    bytes
}

fn health(gate: &Gate, page: &str) -> u16 {
    gate.connect()
        .exchange(&request("GET", HOST, page, [], b""))
        .unwrap()
        .status
}

/// Requests for the key set that the issuer has seen.
fn fetches(trial: &Trial) -> usize {
    trial.gate.issuer.capture().count_of("GET", "/jwks")
}

#[test]
fn a1_no_keys_at_start() {
    let trial = Trial::of(Gate::start_keyless("", |issuer| issuer.set_down(true)));
    let good = trial.good();
    assert_eq!(
        (health(&trial.gate, "/livez"), health(&trial.gate, "/readyz")),
        (200, 503)
    );
    trial.refused("a good token", &echo().bearer(&good), UNUSABLE);
    trial.refused("another one", &echo().bearer(&good), UNUSABLE);
    trial.refused_token("an unsigned one", &trial.alice().unsigned(), "token_malformed");
    trial.refused("none", &echo(), token("credential_missing"));
    trial.gate.issuer.set_down(false);
    until(|| health(&trial.gate, "/readyz") == 200);
    trial.accepted_token("with keys", &good);
    trial.finish();
}

#[test]
fn a2_keys_serve_until_their_ceiling() {
    let limits = "  jwks_age_max: 2s\n  jwks_refresh: 300ms\n  unknown_kid_interval: 100ms";
    let trial = Trial::start(limits);
    let good = trial.good();
    trial.accepted_token("with keys", &good);
    trial.gate.issuer.set_down(true);
    let failed = trial.gate.logged("keys were not fetched").len();
    until(|| failed < trial.gate.logged("keys were not fetched").len());
    trial.accepted_token("with old keys", &good);
    let served = Cell::new(0);
    until(|| {
        let answer = trial.gate.call(&echo().bearer(&good));
        served.set(served.get() + u64::from(answer.status == 200));
        assert!([200, 503].contains(&answer.status), "{}", answer.text());
        answer.status == 503
    });
    trial.note(served.get(), "keys_unavailable", 1);
    trial.refused("past the ceiling", &echo().bearer(&good), UNUSABLE);
    assert_eq!(health(&trial.gate, "/readyz"), 503);
    trial.gate.issuer.set_down(false);
    until(|| health(&trial.gate, "/readyz") == 200);
    trial.accepted_token("with new keys", &good);
    trial.finish();
}

/// Nobody whose key is known waits for a fetch; who waits for one waits no longer than its bound, and is refused.
#[test]
fn a3_slow_keys() {
    let stranger = Key::new_es256("stranger");
    for answer in [
        Behaviour::Late(Duration::from_secs(60)),
        Behaviour::Drip(Duration::from_millis(100)),
    ] {
        let trial = Trial::start("  fetch_deadline: 10s\n  unknown_kid_wait: 2s\n  unknown_kid_interval: 1ms");
        let good = trial.good();
        trial.gate.issuer.answer_keys(answer.clone());
        let mut waiting = trial.gate.connect();
        let unknown = trial.alice().sign(&stranger);
        waiting.send(&echo().bearer(&unknown).to_http(HOST, PATH)).unwrap();
        until(|| trial.gate.issuer.answers_open() == 1);
        for _ in 0..20 {
            trial.accepted_token("a known key", &good);
            trial.accepted_token("a known key in a new token", &trial.good());
        }
        assert_eq!(trial.gate.issuer.answers_open(), 1, "{answer:?}: the fetch is over");
        let refused = waiting.read_response().unwrap();
        assert_eq!(
            trial.gate.issuer.answers_open(),
            1,
            "{answer:?}: it waited for the fetch"
        );
        trial.check_refusal("an unknown key", &refused, token("token_key_unknown"));
        trial.accepted_token("a known key afterwards", &good);
        trial.finish();
    }
    // The fetch itself is given up in time.
    let trial = Trial::start("  fetch_deadline: 300ms\n  unknown_kid_wait: 10s\n  unknown_kid_interval: 1ms");
    trial.gate.issuer.answer_keys(Behaviour::Late(Duration::from_secs(60)));
    trial.refused_token("an unknown key", &trial.alice().sign(&stranger), "token_key_unknown");
    until(|| trial.gate.issuer.answers_open() == 0);
    let failed = trial.gate.logged("keys were not fetched");
    assert_eq!(
        failed[0]["error"], "the fetch failed: the deadline passed",
        "{failed:?}"
    );
    trial.accepted_token("a known key", &trial.good());
    trial.finish();
}

/// Whatever comes in place of a key set, the old keys serve on, nobody's new key counts, and nothing is followed.
#[test]
fn a4_broken_key_sets() {
    let trial = Trial::start("  fetch_deadline: 500ms\n  unknown_kid_wait: 10s\n  unknown_kid_interval: 1ms");
    let elsewhere = Issuer::start(IssuerSettings::default()).unwrap();
    let stranger = Key::new_es256("stranger");
    elsewhere.answer_keys(Behaviour::body(keys::jwks(&[&stranger])));
    let good = trial.good();
    for (name, answer, error) in broken_key_sets(&elsewhere) {
        let failed = trial.gate.logged("keys were not fetched").len();
        trial.gate.issuer.answer_keys(answer);
        trial.refused_token(name, &trial.alice().sign(&stranger), "token_key_unknown");
        let lines = trial.gate.logged("keys were not fetched");
        assert!(failed < lines.len(), "{name}: nothing was fetched");
        let told = lines.last().unwrap()["error"].as_str().unwrap();
        assert!(told.contains(error), "{name}: {told}");
        trial.accepted_token(name, &good);
        trial.accepted_token(name, &trial.good());
    }
    assert_eq!(elsewhere.capture().count(), 0, "a redirect was followed");
    until(|| trial.gate.issuer.answers_open() == 0);
    trial
        .gate
        .issuer
        .answer_keys(Behaviour::body(keys::jwks(&[&stranger, keys::es256()])));
    trial.accepted_token("a right set again", &trial.alice().sign(&stranger));
    trial.finish();
}

#[test]
fn a5_rotation() {
    let trial = Trial::start("  unknown_kid_interval: 1ms\n  unknown_kid_wait: 10s");
    let old = trial.good();
    trial.accepted_token("the old key", &old);
    for kid in ["es-2", "es-3"] {
        let before = fetches(&trial);
        trial.gate.issuer.rotate(kid);
        let new = trial.good();
        trial.accepted_token("the first token of a new key", &new);
        assert_eq!(fetches(&trial), before + 1, "one fetch brings the key");
        trial.accepted_token("the second", &trial.good());
        trial.accepted_token("the old key while it is published", &old);
        assert_eq!(fetches(&trial), before + 1, "known keys fetch nothing");
    }
    trial.finish();
}

#[test]
fn a6_removed_key() {
    let trial = Trial::start("  jwks_refresh: 200ms\n  unknown_kid_interval: 100ms");
    let old = trial.good();
    trial.accepted_token("verified", &old);
    trial.accepted_token("remembered", &old);
    trial.gate.issuer.rotate("es-2");
    trial.gate.issuer.retire("es-1");
    let served = Cell::new(0);
    until(|| {
        let answer = trial.gate.call(&echo().bearer(&old));
        served.set(served.get() + u64::from(answer.status == 200));
        answer.status == 401
    });
    trial.note(served.get(), "token_key_unknown", 1);
    for _ in 0..20 {
        trial.refused_token("remembered no longer", &old, "token_key_unknown");
        trial.accepted_token("the new key", &trial.good());
    }
    trial.finish();
}

/// A flood of tokens with made-up key ids asks the issuer once, and good calls are served meanwhile.
#[test]
fn a7_unknown_kid_flood() {
    const REQUESTS: u64 = 2_000;
    const GOOD_ONE_IN: u64 = 10;
    let trial = Trial::start("");
    let good = trial.good();
    let stranger = Key::new_es256("stranger");
    let before = fetches(&trial);
    let load = Load {
        address: trial.gate.address(),
        connections: 8,
        requests: REQUESTS,
        duration_max: Duration::from_secs(60),
    };
    let alice = trial.alice();
    let report = driver::run(&load, |number| {
        let call = match number % GOOD_ONE_IN {
            0 => echo().bearer(&good),
            _ => echo().bearer(&alice.clone().header("kid", format!("kid-{number}")).sign(&stranger)),
        };
        call.to_http(HOST, PATH)
    });
    let served = REQUESTS / GOOD_ONE_IN;
    assert_eq!(report.errors, 0, "{:?}", report.statuses);
    assert_eq!(report.statuses, [(200, served), (401, REQUESTS - served)].into());
    trial.note(served, "token_key_unknown", REQUESTS - served);
    assert!(fetches(&trial) <= before + 1, "{} fetches", fetches(&trial) - before);
    trial.accepted_token("afterwards", &trial.good());
    trial.finish();
}

/// What differs from a remembered token in one bit is another token.
#[test]
fn a10_a_remembered_token_serves_itself_alone() {
    let trial = Trial::start("");
    let known = trial.good();
    trial.accepted_token("verified", &known);
    let (input, signature) = known.rsplit_once('.').unwrap();
    let genuine: Vec<u8> = {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(signature)
            .unwrap()
    };
    for place in (0..genuine.len()).step_by(3) {
        let mut other = genuine.clone();
        other[place] ^= 1 << (place % 8);
        let forged = format!("{input}.{}", base64url(&other));
        trial.refused_token(
            &format!("bit {} of byte {place}", place % 8),
            &forged,
            "token_signature",
        );
    }
    let (header, _) = input.split_once('.').unwrap();
    for (name, value) in [
        ("sub", json!("bob")),
        ("scope", json!("salesforce:read salesforce:write")),
        ("exp", json!(u32::MAX)),
    ] {
        let claims = trial.alice().claim(name, value).claims_json();
        let forged = format!("{header}.{}.{signature}", base64url(claims.as_bytes()));
        trial.refused_token(&format!("another {name}"), &forged, "token_signature");
    }
    trial.accepted_token("remembered", &known);
    trial.finish();
}

/// A credential in another place or form than RFC 6750 section 2.1 gives it, and keys that never change.
#[test]
fn c8_credentials_elsewhere() {
    const STATIC_KEY: &str = "sk-test-31415926535897932384";
    let trial = Trial::of(Gate::start_with("127.0.0.1:0", RATE, "  token_bytes_max: 2000"));
    let good = trial.good();
    for secret in [STATIC_KEY, "YWxpY2U6b3Blbi1zZXNhbWU="]
        .into_iter()
        .chain(good.split('.').skip(1))
    {
        trial.keep_secret(secret);
    }
    let query = refusal(400, 40_001, "query_present");
    for target in [
        format!("{PATH}?access_token={good}"),
        format!("{PATH}?api_key={STATIC_KEY}"),
        format!("{PATH}?a=b"),
        format!("{PATH}?"),
    ] {
        trial.refused_bytes("a query alone", &echo().to_http(HOST, &target), query);
        trial.refused_bytes(
            "a query beside a token",
            &echo().bearer(&good).to_http(HOST, &target),
            query,
        );
    }
    let twice = refusal(400, 40_001, "credential_repeated");
    trial.refused("two tokens", &echo().bearer(&good).bearer(&good), twice);
    let digest = "Digest username=\"alice\", realm=\"crm\", nonce=\"n\", uri=\"/\", response=\"6629fae49393a053\"";
    trial.refused(
        "a digest",
        &echo().header("authorization", digest),
        token("credential_scheme"),
    );
    let basic = echo().header("authorization", "Basic YWxpY2U6b3Blbi1zZXNhbWU=");
    trial.refused("a token and a password", &basic.clone().bearer(&good), twice);
    trial.refused("a password", &basic, token("credential_scheme"));
    for (name, value) in [
        ("no scheme", good.clone()),
        ("another scheme", format!("Token {good}")),
        ("a scheme alone", "Bearer".to_owned()),
        ("a scheme and a blank", "Bearer ".to_owned()),
        ("two in one field", format!("Bearer {good}, Bearer {good}")),
        ("a parameter", format!("Bearer token={good}")),
        ("quotes", format!("Bearer \"{good}\"")),
    ] {
        trial.refused(
            name,
            &echo().header("authorization", &value),
            token("credential_scheme"),
        );
    }
    let api_key = refusal(400, 40_001, "api_key_present");
    for field in [
        "x-api-key",
        "api-key",
        "APIKEY",
        "x-access-token",
        "X-Auth-Token",
        "x_api_key",
    ] {
        let with = |call: Call| call.header(field, STATIC_KEY);
        trial.refused(field, &with(echo()), api_key);
        trial.refused(&format!("{field} beside a token"), &with(echo().bearer(&good)), api_key);
        trial.refused(&format!("{field} beside a password"), &with(basic.clone()), api_key);
    }
    for field in ["x-authorization", "cookie", "proxy-authorization"] {
        let call = echo()
            .header(field, &format!("Bearer {good}"))
            .header(field, STATIC_KEY);
        trial.refused(field, &call, token("credential_missing"));
    }
    let mut inside = echo();
    inside.body = inside
        .body
        .replacen("\"padding\" :\"a\"", &format!("\"access_token\":\"{good}\""), 1);
    trial.refused("a token in the body", &inside, token("credential_missing"));
    trial.refused_token("a static key", STATIC_KEY, "token_malformed");
    // What never ends is a password, whoever signed it.
    let (endless, now) = (trial.alice().without("exp"), now_s());
    trial.refused_token(
        "a token without an end",
        &trial.gate.issuer.sign(&endless),
        "token_lifetime",
    );
    let decade = trial.alice().expires(now + 315_360_000);
    trial.refused_token(
        "a token for ten years",
        &trial.gate.issuer.sign(&decade),
        "token_lifetime",
    );
    let later = trial.alice().expires(now + 86_400 + 2);
    trial.refused_token(
        "a token for a day and more",
        &trial.gate.issuer.sign(&later),
        "token_lifetime",
    );
    trial.refused_token(
        "no JWT",
        "an-opaque-token-that-nobody-is-asked-about",
        "token_malformed",
    );
    let long = trial.gate.issuer.sign(&trial.alice().claim("x", "x".repeat(1_500)));
    trial.refused_token("a long token", &long, "token_too_large");
    trial.accepted_token("where it belongs", &good);
    trial.accepted(
        "in lower case",
        &echo().header("authorization", &format!("bearer {good}")),
    );
    trial.finish();
}

/// A token for somebody else is no token here, and ours goes to nobody else.
#[test]
fn c10_token_of_another_resource_and_passthrough() {
    let trial = Trial::start("");
    let upstream = trial.gate.upstream.url();
    let sign = |aud: serde_json::Value| trial.gate.issuer.sign(&trial.alice().claim("aud", aud));
    for audience in [
        "http://gate.test/other/mcp",
        "http://gate.test/crm/mcp2",
        "http://gate.test/crm",
        "http://gate.test",
        "http://gate.test/crm/mcp//",
        "http://gate.test/crm/mcp?a=b",
        "http://GATE.test/crm/mcp",
        "https://gate.test/crm/mcp",
        "gate.test",
        "desktop",
        "*",
        &upstream,
    ] {
        trial.refused_token(audience, &sign(json!(audience)), "token_audience");
        let among = json!([audience, "https://elsewhere.example"]);
        trial.refused_token(&format!("{audience} among others"), &sign(among), "token_audience");
    }
    trial.accepted_token("ours", &sign(json!(RESOURCE)));
    trial.accepted_token("ours with a slash", &sign(json!(format!("{RESOURCE}/"))));
    trial.accepted_token(
        "ours among others",
        &sign(json!(["https://elsewhere.example", RESOURCE])),
    );
    trial.finish();
}
