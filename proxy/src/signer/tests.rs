use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;

use super::*;
use crate::keys;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// Checks a token by the published keys alone, as an upstream does.
fn verified(jwks: &Value, token: &str) -> Option<Value> {
    let (input, signature) = token.rsplit_once('.')?;
    let (header, claims) = input.split_once('.')?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let header: Value = serde_json::from_slice(&decode(header)?).ok()?;
    let key = jwks["keys"]
        .as_array()?
        .iter()
        .find(|key| key["kid"] == header["kid"])?;
    let mut point = vec![4];
    for member in ["x", "y"] {
        point.extend(decode(key[member].as_str()?)?);
    }
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(input.as_bytes(), &decode(signature)?).ok()?;
    assert_eq!((&header["alg"], &header["typ"]), (&"ES256".into(), &"at+jwt".into()));
    serde_json::from_slice(&decode(claims)?).ok()
}

/// A store of new keys.
fn store(folder: &tempfile::TempDir) -> KeyStore {
    let places = keys::KeyPlaces {
        directory: folder.path().to_path_buf(),
        digests: None,
    };
    keys::init(&places, NOW).unwrap();
    KeyStore::open(&places).unwrap()
}

#[test]
fn what_is_signed_verifies_by_the_published_keys() {
    let signer = Signer::default();
    assert!(signer.sign("{}", NOW).is_none(), "without a key nothing is signed");
    assert!(signer.jwks(NOW).is_none());
    let folder = tempfile::tempdir().unwrap();
    signer.renew(&store(&folder));
    let text = signer.jwks(NOW).unwrap();
    let jwks: Value = serde_json::from_str(&text).unwrap();
    for key in jwks["keys"].as_array().unwrap() {
        assert!(key.get("d").is_none(), "{key}");
    }
    let token = signer.sign(r#"{"sub":"alice"}"#, NOW).unwrap();
    assert_eq!(verified(&jwks, &token).unwrap()["sub"], "alice");
    let (input, signature) = token.rsplit_once('.').unwrap();
    let other = signer.sign(r#"{"sub":"mallory"}"#, NOW).unwrap();
    let forged = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    assert!(verified(&jwks, &forged).is_none());
    assert!(verified(&jwks, &format!("{input}.")).is_none());
    let strangers = tempfile::tempdir().unwrap();
    let stranger = Signer::default();
    stranger.renew(&store(&strangers));
    let token = stranger.sign(r#"{"sub":"alice"}"#, NOW).unwrap();
    assert!(verified(&jwks, &token).is_none());
}
