//! The times of fetches, the places of metadata, and the answers that are taken.

use std::sync::Arc;
use std::time::Duration;

use super::{
    FetchError, FetchKind, FetchRequest, Fetched, KeySource, Published, RefreshError, RefreshSettings, Refresher,
    SourceError, introspection_endpoint, may_come_from,
};
use crate::crypto::encode_base64url;
use crate::jwks::{JwksLimits, KeySetError};
use crate::time::UnixTime;

const ISSUER: &str = "https://as.example/t";
const PLACES: [&str; 3] = [
    "https://as.example/.well-known/oauth-authorization-server/t",
    "https://as.example/.well-known/openid-configuration/t",
    "https://as.example/t/.well-known/openid-configuration",
];
const KEYS: &str = "https://as.example/keys";

fn settings() -> RefreshSettings {
    RefreshSettings {
        limits: JwksLimits {
            bytes_max: 4_096,
            keys_max: 10,
        },
        fetch_deadline: Duration::from_secs(5),
        refresh: Duration::from_secs(300),
        age_max: Duration::from_secs(3_600),
        unknown_kid_interval: Duration::from_secs(30),
    }
}

fn refresher(source: KeySource) -> Refresher {
    Refresher::new(Arc::from(ISSUER), source, settings()).unwrap()
}

fn fixed() -> Refresher {
    refresher(KeySource::Uri(Arc::from(KEYS)))
}

fn at(secs: u64) -> UnixTime {
    UnixTime::from_secs(1_000).after(Duration::from_secs(secs))
}

fn key_set(fill: u8) -> String {
    let x = encode_base64url(&[fill; 32]);
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k{fill}","x":"{x}"}}]}}"#)
}

fn metadata(issuer: &str, keys: &str) -> String {
    format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}","x":[1]}}"#)
}

fn ok(body: &str) -> Result<Fetched, FetchError> {
    Ok(Fetched {
        status: 200,
        body: body.as_bytes().to_vec(),
        cache_max_age_s: None,
    })
}

/// Expects a fetch of `url` and answers it.
fn answer(
    refresher: &mut Refresher,
    url: &str,
    result: Result<Fetched, FetchError>,
    now: UnixTime,
) -> Option<Published> {
    let request = refresher.poll_fetch(now).expect(url);
    assert_eq!(&*request.url, url);
    assert_eq!(request.bytes_max, 4_096);
    assert!(refresher.poll_fetch(now).is_none(), "two fetches at once");
    refresher.on_fetched(request.id, result, now)
}

fn idle_until(refresher: &mut Refresher, now: UnixTime, wake: UnixTime) {
    assert_eq!(refresher.next_wake(now), wake);
    let before = UnixTime::from_nanos(wake.nanos() - 1);
    assert!(refresher.poll_fetch(now).is_none());
    assert!(refresher.poll_fetch(before).is_none());
}

#[test]
fn discovery_goes_through_the_places_and_stays_where_it_found() {
    let mut refresher = refresher(KeySource::Discover);
    let not_found = Ok(Fetched {
        status: 404,
        body: Vec::new(),
        cache_max_age_s: None,
    });
    assert!(answer(&mut refresher, PLACES[0], not_found, at(0)).is_none());
    assert!(answer(&mut refresher, PLACES[1], Err(FetchError::Connection), at(0)).is_none());
    let text = metadata(ISSUER, KEYS);
    let published = answer(&mut refresher, PLACES[2], ok(&text), at(0)).unwrap();
    assert_eq!(published.metadata.as_deref(), Some(&*text));
    assert!(published.keys.is_none());
    let keys = answer(&mut refresher, KEYS, ok(&key_set(1)), at(1))
        .unwrap()
        .keys
        .unwrap();
    assert_eq!(keys.fetched_at(), at(1));
    assert_eq!((refresher.failures(), refresher.last_error()), (0, None));
    idle_until(&mut refresher, at(1), at(301));
    let again = answer(&mut refresher, PLACES[2], ok(&text), at(301)).unwrap();
    assert!(again.metadata.is_some());
    let again = answer(&mut refresher, KEYS, ok(&key_set(1)), at(301))
        .unwrap()
        .keys
        .unwrap();
    assert_eq!(again.generation(), keys.generation());
    assert_eq!(again.fetched_at(), at(301));
}

#[test]
fn metadata_must_be_this_issuers_and_lead_to_a_safe_place() {
    for (body, expected) in [
        (metadata("https://as.example", KEYS), RefreshError::IssuerMismatch),
        (metadata("https://as.example/t/", KEYS), RefreshError::IssuerMismatch),
        (metadata("https://AS.example/t", KEYS), RefreshError::IssuerMismatch),
        (format!(r#"{{"jwks_uri":"{KEYS}"}}"#), RefreshError::IssuerMismatch),
        (
            format!(r#"{{"issuer":["{ISSUER}"],"jwks_uri":"{KEYS}"}}"#),
            RefreshError::IssuerMismatch,
        ),
        (metadata(ISSUER, "http://as.example/keys"), RefreshError::JwksUri),
        (metadata(ISSUER, "http://127.0.0.1/keys"), RefreshError::JwksUri),
        (metadata(ISSUER, "file:///keys"), RefreshError::JwksUri),
        (metadata(ISSUER, "/keys"), RefreshError::JwksUri),
        (format!(r#"{{"issuer":"{ISSUER}"}}"#), RefreshError::JwksUri),
        ("[]".to_owned(), RefreshError::Metadata),
        ("<html>".to_owned(), RefreshError::Metadata),
        (
            format!(r#"{{"issuer":"https://x.example","issuer":"{ISSUER}","jwks_uri":"{KEYS}"}}"#),
            RefreshError::Metadata,
        ),
        (" ".repeat(4_097), RefreshError::Fetch(FetchError::TooLarge)),
    ] {
        let mut refresher = refresher(KeySource::Discover);
        for place in PLACES {
            assert!(answer(&mut refresher, place, ok(&body), at(0)).is_none(), "{body}");
            assert_eq!(refresher.last_error(), Some(expected), "{body}");
        }
        idle_until(&mut refresher, at(0), at(1));
    }
}

#[test]
fn metadata_that_is_gone_does_not_take_the_keys_along() {
    let mut refresher = refresher(KeySource::Discover);
    answer(&mut refresher, PLACES[0], ok(&metadata(ISSUER, KEYS)), at(0)).unwrap();
    answer(&mut refresher, KEYS, ok(&key_set(1)), at(0)).unwrap();
    for place in PLACES {
        assert!(answer(&mut refresher, place, Err(FetchError::TimedOut), at(300)).is_none());
    }
    assert!(
        answer(&mut refresher, KEYS, ok(&key_set(2)), at(300))
            .unwrap()
            .keys
            .is_some()
    );
}

#[test]
fn failures_wait_longer_and_longer() {
    let mut refresher = fixed();
    let failed = |status: u16| {
        Ok(Fetched {
            status,
            body: key_set(1).into_bytes(),
            cache_max_age_s: None,
        })
    };
    let mut now = 0;
    for (result, expected, wait) in [
        (
            Err(FetchError::Connection),
            RefreshError::Fetch(FetchError::Connection),
            1,
        ),
        (failed(500), RefreshError::Status(500), 2),
        (failed(301), RefreshError::Status(301), 4),
        (failed(304), RefreshError::Status(304), 8),
        (
            ok(r#"{"keys":[]}"#),
            RefreshError::KeySet(KeySetError::NoneUsable(0)),
            16,
        ),
        (
            ok(&" ".repeat(4_097)),
            RefreshError::KeySet(KeySetError::TooLarge(4_096)),
            32,
        ),
        (Err(FetchError::TooLarge), RefreshError::Fetch(FetchError::TooLarge), 64),
        (Err(FetchError::TimedOut), RefreshError::Fetch(FetchError::TimedOut), 64),
    ] {
        assert!(answer(&mut refresher, KEYS, result, at(now)).is_none());
        assert_eq!(refresher.last_error(), Some(expected));
        idle_until(&mut refresher, at(now), at(now + wait));
        now += wait;
    }
    assert_eq!(refresher.failures(), 8);
    assert!(answer(&mut refresher, KEYS, ok(&key_set(1)), at(now)).is_some());
    assert_eq!(refresher.failures(), 0);
}

#[test]
fn the_issuer_names_its_own_interval_within_bounds() {
    for (max_age, wait) in [
        (None, 300),
        (Some(0), 30),
        (Some(29), 30),
        (Some(31), 31),
        (Some(1_799), 1_799),
        (Some(u64::MAX), 1_800),
    ] {
        let mut refresher = fixed();
        let mut fetched = ok(&key_set(1)).unwrap();
        fetched.cache_max_age_s = max_age;
        answer(&mut refresher, KEYS, Ok(fetched), at(0)).unwrap();
        idle_until(&mut refresher, at(0), at(wait));
    }
}

#[test]
fn unknown_kids_start_one_fetch_per_interval() {
    let mut refresher = fixed();
    answer(&mut refresher, KEYS, ok(&key_set(1)), at(0)).unwrap();
    let mut fetches = 0;
    for second in 1..=90 {
        for _ in 0..1_000 {
            let waits = refresher.want(at(second));
            if let Some(FetchRequest { id, kind, .. }) = refresher.poll_fetch(at(second)) {
                assert!(waits);
                assert_eq!(kind, FetchKind::KeySet);
                assert!(refresher.want(at(second)), "a fetch is out: waiting makes sense");
                refresher.on_fetched(id, ok(&key_set(2)), at(second)).unwrap();
                fetches += 1;
            }
        }
    }
    assert_eq!(fetches, 3);
}

#[test]
fn an_answer_is_taken_once_and_only_by_its_own_name() {
    let mut refresher = fixed();
    let first = refresher.poll_fetch(at(0)).unwrap();
    assert!(refresher.poll_fetch(at(9)).is_none());
    assert_eq!(refresher.next_wake(at(9)), at(10));
    // The embedder lost the first fetch: it is given up after twice its deadline.
    assert!(refresher.poll_fetch(at(10)).is_none());
    assert_eq!(refresher.last_error(), Some(RefreshError::Fetch(FetchError::TimedOut)));
    let second = refresher.poll_fetch(at(11)).unwrap();
    assert!(refresher.on_fetched(first.id, ok(&key_set(1)), at(11)).is_none());
    assert!(refresher.on_fetched(second.id, ok(&key_set(2)), at(11)).is_some());
    assert!(refresher.on_fetched(second.id, ok(&key_set(2)), at(11)).is_none());
}

#[test]
fn urls_are_checked_before_anything_is_fetched() {
    let check = |issuer: &str, keys: Option<&str>, expected: Option<SourceError>| {
        let source = keys.map_or(KeySource::Discover, |url| KeySource::Uri(Arc::from(url)));
        let made = Refresher::new(Arc::from(issuer), source, settings());
        assert_eq!(made.err(), expected, "{issuer} {keys:?}");
    };
    let bad_issuer = |issuer: &str| Some(SourceError::Issuer(Arc::from(issuer)));
    let bad_uri = |url: &str| Some(SourceError::Uri(Arc::from(url)));
    check(ISSUER, None, None);
    check(ISSUER, Some("https://keys.example/"), None);
    check("http://127.0.0.1:9", Some("http://127.0.0.1:9/keys"), None);
    check("http://as.example", None, bad_issuer("http://as.example"));
    check("https://as.example?x", None, bad_issuer("https://as.example?x"));
    check(ISSUER, Some("http://keys.example/"), bad_uri("http://keys.example/"));
    check(
        ISSUER,
        Some("http://127.0.0.1:9/keys"),
        bad_uri("http://127.0.0.1:9/keys"),
    );
}

#[test]
fn an_introspection_endpoint_is_taken_only_from_where_evidence_comes() {
    let metadata = |url: &str| format!(r#"{{"issuer":"{ISSUER}","introspection_endpoint":{url}}}"#);
    for (issuer, url, expected) in [
        (ISSUER, r#""https://as.example/ask""#, Some("https://as.example/ask")),
        (ISSUER, r#""http://127.0.0.1/ask""#, None),
        (ISSUER, r#""http://as.example/ask""#, None),
        (ISSUER, "7", None),
        (
            "http://127.0.0.1:9",
            r#""http://127.0.0.1:9/ask""#,
            Some("http://127.0.0.1:9/ask"),
        ),
        ("http://as.example", r#""https://as.example/ask""#, None),
    ] {
        let found = introspection_endpoint(issuer, &metadata(url));
        assert_eq!(found.as_deref(), expected, "{issuer} {url}");
    }
    assert_eq!(introspection_endpoint(ISSUER, "{}"), None);
    assert_eq!(introspection_endpoint(ISSUER, "no JSON"), None);
    assert!(may_come_from(ISSUER, "https://other.example/ask"));
    assert!(!may_come_from(ISSUER, "http://127.0.0.1/ask"));
}
