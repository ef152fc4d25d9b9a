//! What the libraries beneath the core take for the same inputs, with nothing of ours around them.
//!
//! Owns the comparators of the stages: ring's verification of one signature, simd-json's parse of one call. They stand
//! in the groups of the stages that use them, so that one run gives the ratio. Never a part of the product.

use std::error::Error;
use std::mem;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;
use simd_json::{Buffers, Tape};

use crate::scenario::{Meter, Setting, metered};
use crate::world::{Account, Request};

/// A signature with the bytes it is over.
struct Signed<'t> {
    input: &'t [u8],
    signature: Vec<u8>,
}

fn signed<'t>(setting: &Setting<'t>) -> Result<Vec<Signed<'t>>, Box<dyn Error>> {
    let mut all = Vec::new();
    for token in &setting.material.tokens {
        let (input, signature) = token.rsplit_once('.').ok_or("a token has no signature")?;
        all.push(Signed {
            input: input.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature)?,
        });
    }
    Ok(all)
}

/// A member of the material's one key.
fn member(setting: &Setting<'_>, name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let keys: Value = serde_json::from_str(&setting.material.jwks)?;
    let text = keys.pointer(&format!("/keys/0/{name}")).and_then(Value::as_str);
    Ok(URL_SAFE_NO_PAD.decode(text.ok_or("the key lacks a member")?)?)
}

/// ring's verification of ES256 signatures over tokens.
///
/// # Errors
/// As [`metered`], and when the material is none of ES256.
pub fn ring_es256(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    let point = [vec![4], member(setting, "x")?, member(setting, "y")?].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    let all = signed(setting)?;
    let mut next = all.iter().cycle();
    metered(meter, || {
        next.next()
            .is_some_and(|signed| key.verify(signed.input, &signed.signature).is_ok())
    })
}

/// ring's verification of RS256 signatures over tokens.
///
/// # Errors
/// As [`metered`], and when the material is none of RS256.
pub fn ring_rs256(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    let key = RsaPublicKeyComponents {
        n: member(setting, "n")?,
        e: member(setting, "e")?,
    };
    let all = signed(setting)?;
    let mut next = all.iter().cycle();
    metered(meter, || {
        next.next().is_some_and(|signed| {
            key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.input, &signed.signature)
                .is_ok()
        })
    })
}

/// simd-json's parse of a call of `bytes`, from a copy, since it rewrites what it parses, with all buffers reused.
///
/// # Errors
/// As [`metered`], and when the setting has no token.
pub fn simd_json(bytes: usize, setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    let request = Request::new(0, setting.subjects, setting.first_token()?, Account::Own, bytes)?;
    let mut buffers = Buffers::with_max_depth(0, 64);
    let mut tape: Tape<'static> = Tape(Vec::new());
    let mut copy = Vec::new();
    metered(meter, || {
        copy.clear();
        copy.extend_from_slice(&request.body);
        let mut filled = mem::replace(&mut tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape(&mut copy, &mut buffers, &mut filled).is_ok() && !filled.0.is_empty();
        tape = filled.reset();
        parsed
    })
}
