use base64::engine::general_purpose::STANDARD;
use portcullis_core::time::UnixTime;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

#[test]
fn a_secret_goes_into_the_authorization_field_encoded() {
    let secret = ClientAuthentication::Secret(Zeroizing::new("s p:c+\u{fc}".to_owned()));
    let proof = secret.prove("gate:1", "https://as.example", NOW).unwrap();
    let value = proof.authorization.unwrap();
    assert!(value.is_sensitive());
    let pair = STANDARD
        .decode(value.to_str().unwrap().strip_prefix("Basic ").unwrap())
        .unwrap();
    assert_eq!(String::from_utf8(pair).unwrap(), "gate%3A1:s%20p%3Ac%2B%C3%BC");
    assert_eq!(*proof.form, "");
    assert!(!format!("{secret:?}").contains("s p"));
}

#[test]
fn a_key_signs_a_fresh_assertion_for_each_question() {
    for (pair, verifier) in [
        (
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
            &ECDSA_P256_SHA256_FIXED as &dyn VerificationAlgorithm,
        ),
        (KeyPair::generate_for(&PKCS_ED25519).unwrap(), &ED25519),
    ] {
        let key = AssertionKey::from_pem(&pair.serialize_pem(), Some("k1".to_owned())).unwrap();
        let key = ClientAuthentication::Key(Arc::new(key));
        let forms = [(); 2].map(|()| {
            key.prove("https://gate.example/c", "https://as.example", NOW)
                .unwrap()
                .form
        });
        assert_ne!(forms[0], forms[1], "an assertion is used once");
        let (head, assertion) = forms[0].split_once("&client_assertion=").unwrap();
        assert_eq!(
            head,
            "client_id=https%3A%2F%2Fgate.example%2Fc&client_assertion_type=\
             urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
        );
        let (input, signature) = assertion.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(verifier, pair.public_key_raw())
            .verify(input.as_bytes(), &signature)
            .unwrap();
        let part = |part: usize| -> Value {
            let text = input.split('.').nth(part).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
        };
        assert_eq!(part(0)["kid"], "k1");
        let claims = part(1);
        assert_eq!(claims["iss"], "https://gate.example/c");
        assert_eq!(claims["sub"], "https://gate.example/c");
        assert_eq!(claims["aud"], "https://as.example");
        assert_eq!(claims["exp"], 1_800_000_060);
    }
}

#[test]
fn other_keys_are_refused_without_a_word_of_their_content() {
    let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
    let cases = [
        (other.as_str(), KeyError::Kind),
        ("", KeyError::Form),
        ("secret", KeyError::Form),
    ];
    for (pem, expected) in cases {
        assert_eq!(AssertionKey::from_pem(pem, None).err(), Some(expected));
    }
}
