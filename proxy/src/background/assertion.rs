//! How the gate proves to an issuer that it is the client that may ask: RFC 6749 section 2.3.1 and RFC 7523.
//!
//! Owns [`ClientAuthentication`]: a secret, or a key that signs a fresh assertion for each question. Never prints
//! either, and never shows the key itself to anybody.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use portcullis_core::time::UnixTime;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use zeroize::Zeroizing;

/// How the client proves itself.
#[derive(Clone)]
pub(crate) enum ClientAuthentication {
    /// By a secret, in the `Authorization` field.
    Secret(Zeroizing<String>),
    /// By a signed assertion, in the form.
    Key(Arc<AssertionKey>),
}

/// Without the secret.
impl std::fmt::Debug for ClientAuthentication {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Secret(_) => "Secret(..)",
            Self::Key(_) => "Key(..)",
        })
    }
}

/// A private key that signs assertions.
pub(crate) struct AssertionKey {
    key: Key,
    key_id: Option<String>,
}

enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// Why a file holds no key that can sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum KeyError {
    /// It is no PKCS #8 in PEM.
    #[error("it holds no private key in PEM as PKCS #8 (`-----BEGIN PRIVATE KEY-----`)")]
    Form,
    /// Its kind is not supported.
    #[error("its key is none of Ed25519, P-256 and RSA of 2048 bits or more")]
    Kind,
}

/// The system gave no randomness, or the key does not sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the client assertion cannot be signed")]
pub(crate) struct SignError;

/// What a question carries to prove the client.
pub(crate) struct Proof {
    /// The `Authorization` field.
    pub(crate) authorization: Option<HeaderValue>,
    /// Further members of the form, encoded, to be appended after a `&`.
    pub(crate) form: Zeroizing<String>,
}

impl AssertionKey {
    /// The key of a PEM file.
    ///
    /// # Errors
    /// [`KeyError`], which says nothing of the file's content.
    pub(crate) fn from_pem(pem: &str, key_id: Option<String>) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Form)?;
        let der = der.secret_pkcs8_der();
        let ecdsa = || {
            let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
            EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new()).map(Key::Ecdsa)
        };
        let rsa = || RsaKeyPair::from_pkcs8(der).map(|pair| Key::Rsa(Box::new(pair)));
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Key::Ed25519);
        let key = key
            .or_else(|_| ecdsa())
            .or_else(|_| rsa())
            .map_err(|_| KeyError::Kind)?;
        Ok(Self { key, key_id })
    }

    /// The `alg` value of its signatures.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Ecdsa(_) => "ES256",
            Key::Ed25519(_) => "EdDSA",
            Key::Rsa(_) => "RS256",
        }
    }

    /// A new assertion of `client_id` for `issuer` (RFC 7523 section 3).
    fn assertion(&self, client_id: &str, issuer: &str, now: UnixTime) -> Result<String, SignError> {
        let random = SystemRandom::new();
        let mut id = [0; 16];
        random.fill(&mut id).map_err(|_| SignError)?;
        let mut header = json!({"alg": self.algorithm(), "typ": "JWT"});
        if let (Some(key_id), Some(members)) = (&self.key_id, header.as_object_mut()) {
            members.insert("kid".to_owned(), key_id.as_str().into());
        }
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": issuer,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now.secs(),
            "exp": now.secs().saturating_add(ASSERTION_LIFETIME_S),
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.sign(input.as_bytes(), &random)?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The signature over `message`, in the form of a JWS (RFC 7515).
    ///
    /// # Errors
    /// [`SignError`].
    pub(crate) fn sign(&self, message: &[u8], random: &SystemRandom) -> Result<Vec<u8>, SignError> {
        match &self.key {
            Key::Ecdsa(pair) => match pair.sign(random, message) {
                Ok(signature) => Ok(signature.as_ref().to_vec()),
                Err(_) => Err(SignError),
            },
            Key::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                match pair.sign(&signature::RSA_PKCS1_SHA256, random, message, &mut signature) {
                    Ok(()) => Ok(signature),
                    Err(_) => Err(SignError),
                }
            }
        }
    }
}

impl ClientAuthentication {
    /// The proof that `client_id` asks `issuer` now.
    ///
    /// # Errors
    /// [`SignError`].
    pub(crate) fn prove(&self, client_id: &str, issuer: &str, now: UnixTime) -> Result<Proof, SignError> {
        match self {
            Self::Secret(secret) => {
                let pair = Zeroizing::new(format!("{}:{}", *form_encoded(client_id), *form_encoded(secret)));
                let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                let mut authorization = HeaderValue::from_str(&value).map_err(|_| SignError)?;
                authorization.set_sensitive(true);
                Ok(Proof {
                    authorization: Some(authorization),
                    form: Zeroizing::default(),
                })
            }
            Self::Key(key) => {
                let assertion = Zeroizing::new(key.assertion(client_id, issuer, now)?);
                let form = format!(
                    "client_id={}&client_assertion_type={ASSERTION_TYPE}&client_assertion={}",
                    *form_encoded(client_id),
                    *assertion,
                );
                Ok(Proof {
                    authorization: None,
                    form: Zeroizing::new(form),
                })
            }
        }
    }
}

/// `text` as a value of a form (RFC 6749 appendix B).
fn form_encoded(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'-' | b'.' | b'_') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(hex_digit(byte >> 4));
            out.push(hex_digit(byte & 0x0f));
        }
    }
    out
}

fn hex_digit(half: u8) -> char {
    char::from_digit(u32::from(half), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

/// The type of assertion (RFC 7523 section 2.2), encoded.
const ASSERTION_TYPE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
/// An assertion is made for one question.
const ASSERTION_LIFETIME_S: u64 = 60;

#[cfg(test)]
mod tests;
