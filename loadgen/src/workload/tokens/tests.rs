//! Token files and the life of minted tokens, with the time as an argument.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_fixtures::http1::{Connection, request};
use portcullis_fixtures::issuer::Issuer;
use serde_json::Value;

use super::{Alg, MintSettings, TokenError, TokenPool, start_issuer};

const NOW_S: u64 = 1_800_000_000;

fn settings() -> MintSettings {
    MintSettings {
        audience: "http://127.0.0.1:1/crm/mcp".to_owned(),
        alg: Alg::Es256,
        lifetime_s: 120,
        rotate_every_s: None,
    }
}

fn pool(subjects: usize, settings: MintSettings) -> (Arc<Issuer>, TokenPool) {
    let issuer = Arc::new(start_issuer(0).unwrap());
    let pool = TokenPool::minted(Arc::clone(&issuer), subjects, settings, NOW_S).unwrap();
    (issuer, pool)
}

/// Header and claims of the token at `place`.
fn read(value: &http::HeaderValue) -> (Value, Value) {
    let token = value.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let mut parts = token.split('.');
    let mut part = || {
        let bytes = URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    (part(), part())
}

fn kid(pool: &TokenPool, place: usize) -> String {
    let (header, _) = read(&pool.bearer(place).unwrap());
    header["kid"].as_str().unwrap().to_owned()
}

/// The key ids that the issuer publishes.
fn published(issuer: &Issuer) -> BTreeSet<String> {
    let uri = issuer.jwks_uri();
    let (authority, path) = uri.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let bytes = request("GET", authority, &format!("/{path}"), [], b"");
    let mut connection = Connection::open(authority.parse().unwrap()).unwrap();
    let set: Value = serde_json::from_slice(&connection.exchange(&bytes).unwrap().body).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn minted_tokens_name_their_subject_and_resource() {
    for (alg, name) in [(Alg::Es256, "ES256"), (Alg::Rs256, "RS256")] {
        let (issuer, pool) = pool(3, MintSettings { alg, ..settings() });
        for (place, subject) in pool.subjects().enumerate() {
            let value = pool.bearer(place).unwrap();
            assert!(value.is_sensitive());
            let (header, claims) = read(&value);
            assert_eq!(header["alg"], name);
            assert_eq!(claims["sub"], subject.name.as_str());
            assert_eq!(claims["aud"], settings().audience);
            assert_eq!(claims["iss"], issuer.url());
            assert_eq!(claims["scope"], "salesforce:read repo");
            assert_eq!(
                (claims["iat"].as_u64(), claims["exp"].as_u64()),
                (Some(NOW_S), Some(NOW_S + 120))
            );
            assert!(published(&issuer).contains(header["kid"].as_str().unwrap()));
            let (_, expired) = read(&pool.expired(place).unwrap());
            assert!(expired["exp"].as_u64().unwrap() + 3_600 <= NOW_S);
        }
        assert!(pool.bearer(3).is_none());
        assert_eq!(pool.expired(5), pool.expired(2));
    }
}

#[test]
fn tokens_are_renewed_in_their_last_third_and_not_all_at_once() {
    let (_issuer, pool) = pool(30, settings());
    let expiry = |place: usize| read(&pool.bearer(place).unwrap()).1["exp"].as_u64().unwrap();
    assert_eq!(pool.renew_due(NOW_S + 79).tokens, 0);
    let mut renewed = 0;
    for now_s in NOW_S + 80..NOW_S + 110 {
        let once = pool.renew_due(now_s).tokens;
        assert_eq!(once, 1, "one of thirty a second over a quarter of the life");
        renewed += once;
        // Whoever calls now has a token that lives.
        assert!((0..30).all(|place| now_s < expiry(place)));
    }
    assert_eq!(renewed, 30);
    assert_eq!(pool.renew_due(NOW_S + 110).tokens, 0);
    // A keeper that was held up renews everything at once rather than send dead tokens.
    assert_eq!(pool.renew_due(NOW_S + 10_000).tokens, 30);
    assert!((0..30).all(|place| expiry(place) == NOW_S + 10_120));
}

#[test]
fn rotation_brings_a_new_key_and_withdraws_the_old_one_when_its_last_token_has_expired() {
    let (issuer, pool) = pool(
        10,
        MintSettings {
            rotate_every_s: Some(40),
            ..settings()
        },
    );
    let first = kid(&pool, 0);
    assert!(published(&issuer).contains(&first));
    assert!(!pool.renew_due(NOW_S + 39).rotated);
    assert_eq!(kid(&pool, 0), first);

    let begun = pool.renew_due(NOW_S + 40);
    assert!(begun.rotated && begun.keys_retired == 0, "{begun:?}");
    let second = kid(&pool, 0);
    assert_ne!(second, first);
    // The others follow within half the time; until then their tokens stand, and so does the key.
    assert_eq!((begun.tokens, kid(&pool, 9)), (1, first.clone()));
    assert_eq!(pool.renew_due(NOW_S + 59).tokens, 9);
    assert!((0..10).all(|place| kid(&pool, place) == second));
    assert!(published(&issuer).is_superset(&BTreeSet::from([first.clone(), second.clone()])));
    let (header, _) = read(&pool.expired(0).unwrap());
    assert_eq!(header["kid"], second.as_str());

    // The last token of the first key could be as young as the rotation: 40 + 120.
    assert_eq!(pool.renew_due(NOW_S + 159).keys_retired, 0);
    assert!(published(&issuer).contains(&first));
    assert_eq!(pool.renew_due(NOW_S + 160).keys_retired, 1);
    assert!(!published(&issuer).contains(&first));
}

#[test]
fn bounds_are_kept() {
    let issuer = Arc::new(start_issuer(0).unwrap());
    let minted = |subjects, lifetime_s, rotate_every_s| {
        let settings = MintSettings {
            lifetime_s,
            rotate_every_s,
            ..settings()
        };
        TokenPool::minted(Arc::clone(&issuer), subjects, settings, NOW_S)
    };
    assert!(minted(1, 10, Some(1)).is_ok());
    assert!(matches!(minted(0, 10, None), Err(TokenError::Count(0))));
    assert!(matches!(minted(100_001, 10, None), Err(TokenError::Count(100_001))));
    assert!(matches!(minted(1, 9, None), Err(TokenError::Lifetime(9))));
    assert!(matches!(minted(1, 10, Some(0)), Err(TokenError::Rotation)));
}

#[test]
fn an_issuer_takes_a_given_port_or_says_that_it_is_taken() {
    let first = start_issuer(0).unwrap();
    let port: u16 = first.url().rsplit(':').next().unwrap().parse().unwrap();
    assert!(start_issuer(port).is_err());
    drop(first);
    let again = start_issuer(port).unwrap();
    assert!(again.url().ends_with(&format!(":{port}")));
}

#[test]
fn a_keeper_ends_when_it_is_dropped() {
    let (_issuer, pool) = pool(1, settings());
    let pool = Arc::new(pool);
    let keeper = Arc::clone(&pool).keep_fresh().unwrap();
    drop(keeper);
    assert_eq!(Arc::strong_count(&pool), 1);
}

#[test]
fn files_hold_tokens_or_objects() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(
        &file,
        "aaa.bbb\n\r\n  {\"token\":\"c-._~+/=\",\"subject\":\"carol\",\"accounts\":[\"a1\",\"a2\"]}\nddd",
    )
    .unwrap();
    let pool = TokenPool::from_file(&file).unwrap();
    let bearers: Vec<_> = (0..pool.len()).map(|place| pool.bearer(place).unwrap()).collect();
    assert_eq!(bearers, ["Bearer aaa.bbb", "Bearer c-._~+/=", "Bearer ddd"]);
    let subjects: Vec<_> = pool.subjects().map(|subject| subject.name.as_str()).collect();
    assert_eq!(subjects, ["token-0", "carol", "token-2"]);
    assert_eq!(pool.subjects().nth(1).unwrap().accounts, ["a1", "a2"]);
    assert_eq!((pool.source(), pool.expired(0), pool.settings()), ("file", None, None));
    assert_eq!(pool.renew_due(u64::MAX / 2).tokens, 0);
    assert!(!format!("{pool:?}").contains("aaa"));
}

#[test]
fn errors_of_files_never_hold_what_stands_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let long = "s".repeat(16 * 1024 + 1);
    let cases = [
        "secret token",
        "Bearer secret",
        "secret\u{7f}",
        "secret\"",
        "sécret",
        "{\"token\":\"secret token\"}",
        "{\"token\":\"\"}",
        "{\"token\":\"secret\",\"secret\":1}",
        "{\"token\":[\"secret\"]}",
        "{\"token\":\"t\",\"accounts\":\"secret\"}",
        "{\"token\":\"t\",\"subject\":\"secret\"",
        "{\"secret\"}",
        &long,
    ];
    for line in cases {
        std::fs::write(&file, format!("fine\n{line}\n")).unwrap();
        let error = TokenPool::from_file(&file).unwrap_err();
        assert!(matches!(error, TokenError::Line { line: 2, .. }), "{line}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("secret") && !text.contains("sss"), "{text}");
    }
    std::fs::write(&file, "\n \n").unwrap();
    assert!(matches!(TokenPool::from_file(&file), Err(TokenError::Count(0))));
    assert!(matches!(
        TokenPool::from_file(&folder.path().join("none")),
        Err(TokenError::Read(..))
    ));
}
