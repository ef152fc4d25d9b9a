//! The public side of the keys that sign: a JWK Set for upstreams (RFC 7517, RFC 7518 section 6.2).
//!
//! Owns [`public_jwks`]. Never shows anything of a private key, nor of a key that does not sign.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::time::UnixTime;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::Serialize;

use super::{KeyState, KeyStore, Purpose, StoredKey};

/// A public key as a JWK: P-256 for ES256.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct PublicKey {
    kty: &'static str,
    crv: &'static str,
    #[serde(rename = "use")]
    used_for: &'static str,
    alg: &'static str,
    kid: String,
    x: String,
    y: String,
}

impl PublicKey {
    /// The public side of a key that signs; `None` for any other.
    pub(crate) fn of(key: &StoredKey) -> Option<Self> {
        let pair = pair(&key.secret)?;
        // An uncompressed point (SEC 1 section 2.3.3): 4, X, Y.
        let (form, point) = pair.public_key().as_ref().split_first()?;
        let (x, y) = point.split_at_checked(32)?;
        (*form == 4 && y.len() == 32).then(|| Self {
            kty: "EC",
            crv: "P-256",
            used_for: "sig",
            alg: "ES256",
            kid: key.id.clone(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        })
    }
}

/// The JWK Set of the keys for [`Purpose::Assertion`] that have not ended at `now`, with the one that signs next.
pub(crate) fn public_jwks(store: &KeyStore, now: UnixTime) -> serde_json::Value {
    let purpose = Purpose::Assertion;
    let keys = store.keys(purpose).iter();
    let keys = keys.filter(|key| store.state(purpose, key, now) != KeyState::Ended);
    let keys: Vec<PublicKey> = keys.filter_map(PublicKey::of).collect();
    serde_json::json!({ "keys": keys })
}

/// Whether these are the bytes of a key that signs with ES256.
pub(super) fn is_signing_key(secret: &[u8]) -> bool {
    pair(secret).is_some()
}

fn pair(secret: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, secret, &SystemRandom::new()).ok()
}
