//! The gate's signature under what it says of callers: ES256 (RFC 7518 section 3.4), and the keys to check it by.
//!
//! Owns [`Signer`] and the page of its public keys (RFC 7517). The claims are the core's. Never shows a private key, and
//! signs nothing but access tokens of its own (RFC 9068 section 2.1).

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Method};
use pingora_core::protocols::http::ServerSession;
use portcullis_core::assertion::{AssertionTerms, own_claims};
use portcullis_core::config::{CredentialKind, UpstreamCredential};
use portcullis_core::denial::{Denial, DenyReason};
use portcullis_core::gate::Snapshot;
use portcullis_core::time::UnixTime;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use std::sync::Arc;
use zeroize::Zeroizing;

use crate::egress::{self, ClientLost, Readers};
use crate::ingress::Head;
use crate::keys::{KeyStore, Purpose, public_jwks};
use crate::respond;

/// Where the public keys lie.
pub(crate) const JWKS_PATH: &str = "/.well-known/jwks.json";

/// Signs with the keys of the store; without any it signs nothing.
#[derive(Default)]
pub(crate) struct Signer {
    keys: ArcSwapOption<Signing>,
}

struct Signing {
    store: KeyStore,
    pairs: Vec<(String, EcdsaKeyPair)>,
    random: SystemRandom,
}

impl Signer {
    /// Takes the keys of `store` in the place of those before.
    pub(crate) fn renew(&self, store: &KeyStore) {
        let random = SystemRandom::new();
        let pairs = store.keys(Purpose::Assertion).iter().filter_map(|key| {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.secret, &random).ok()?;
            Some((key.id.clone(), pair))
        });
        let signing = Signing {
            store: store.clone(),
            pairs: pairs.collect(),
            random: SystemRandom::new(),
        };
        self.keys.store(Some(Arc::new(signing)));
    }

    /// The token of these claims, a JSON object; `None` without a key, or without randomness of the system.
    pub(crate) fn sign(&self, claims: &str, now: UnixTime) -> Option<Zeroizing<String>> {
        let keys = self.keys.load();
        let signing = keys.as_ref()?;
        let active = signing.store.active(Purpose::Assertion, now)?;
        let (id, pair) = signing.pairs.iter().find(|(id, _)| *id == active.id)?;
        let header = serde_json::json!({"alg": "ES256", "kid": id, "typ": "at+jwt"}).to_string();
        let mut token = Zeroizing::new(URL_SAFE_NO_PAD.encode(header));
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = pair.sign(&signing.random, token.as_bytes()).ok()?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }

    /// The token of a statement about the gate itself on these terms; `None` as with [`Self::sign`].
    pub(crate) fn sign_own(&self, terms: &AssertionTerms, now: UnixTime) -> Option<Zeroizing<String>> {
        let mut id = [0; 16];
        SystemRandom::new().fill(&mut id).ok()?;
        self.sign(&own_claims(terms, URL_SAFE_NO_PAD.encode(id), now), now)
    }

    fn jwks(&self, now: UnixTime) -> Option<String> {
        let keys = self.keys.load();
        keys.as_ref()
            .map(|signing| public_jwks(&signing.store, now).to_string())
    }
}

/// Whether a credential is made with the gate's key.
fn is_signed(credential: &UpstreamCredential) -> bool {
    match &credential.kind {
        CredentialKind::Assertion(_) => true,
        CredentialKind::Exchange(terms) => terms.actor_token.is_some(),
        CredentialKind::Static { .. } => false,
    }
}

/// Answers a request for the public keys; there are none where nothing is signed.
///
/// # Errors
/// [`ClientLost`] when the client does not take the answer.
pub(crate) async fn answer(
    session: &mut ServerSession,
    snapshot: &Snapshot,
    signer: &Signer,
    head: &Head,
    now: UnixTime,
) -> Result<(), ClientLost> {
    let readers = Readers::default();
    let signs = || {
        let mut credentials = snapshot
            .servers()
            .flat_map(|server| server.upstream().credentials.iter());
        credentials.any(|credential| is_signed(credential))
    };
    let document = match head.method == Method::GET && signs() {
        true => signer.jwks(now),
        false => None,
    };
    let Some(document) = document else {
        let denial = Denial::new(DenyReason::RouteUnknown, "no keys are published here");
        return respond::refuse(session, &denial, &readers).await;
    };
    let body = Bytes::from(document);
    let mut header = egress::head(200, "application/jwk-set+json", body.len(), &readers).ok_or(ClientLost)?;
    header
        .insert_header(CACHE_CONTROL, HeaderValue::from_static(CACHED))
        .or(Err(ClientLost))?;
    egress::write_whole(session, header, body).await
}

/// The next key is published long before it signs; until then the page may be kept.
const CACHED: &str = "public, max-age=300";

#[cfg(test)]
mod tests;
