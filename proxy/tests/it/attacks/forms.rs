//! The forms of a public key that attackers have used as an HMAC secret.
//!
//! Owns the encodings of keys: PEM and DER (RFC 5280 and RFC 8017 for RSA, RFC 5480 and RFC 8410 for the others) and OpenSSH
//! (RFC 4253 section 6.6). Makes no token.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// Every form of the public key `jwk` that a verifier may hold in memory, by name.
pub(super) fn of(jwk: &Value) -> Vec<(String, Vec<u8>)> {
    let mut forms: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| forms.push((name.to_owned(), bytes));
    add("the JWK", jwk.to_string().into_bytes());
    add("the set", format!("{{\"keys\":[{jwk}]}}").into_bytes());
    for member in ["n", "e", "x", "y"] {
        if let Some(text) = jwk[member].as_str() {
            add(&format!("`{member}` as text"), text.as_bytes().to_vec());
            add(&format!("`{member}` as bytes"), number(jwk, member));
        }
    }
    let spki = spki(jwk);
    let pem = pem("PUBLIC KEY", &spki);
    add("SPKI in DER", spki);
    // Versions of one library looked for the PEM's first line in this place and then in that.
    for (name, form) in pem_spellings(&pem) {
        add(&format!("SPKI in PEM, {name}"), form.into_bytes());
    }
    if jwk["kty"] == "RSA" {
        let pkcs1 = pkcs1(jwk);
        for (name, form) in pem_spellings(&self::pem("RSA PUBLIC KEY", &pkcs1)) {
            add(&format!("PKCS#1 in PEM, {name}"), form.into_bytes());
        }
        add("PKCS#1 in DER", pkcs1);
    }
    let ssh = ssh(jwk);
    add("OpenSSH", ssh.clone().into_bytes());
    add("OpenSSH with a line feed", format!("{ssh}\n").into_bytes());
    forms
}

/// A PEM document as it is, and with white space that some readers overlook.
fn pem_spellings(pem: &str) -> [(&'static str, String); 6] {
    [
        ("as written", pem.to_owned()),
        ("without its last line feed", pem.trim_end().to_owned()),
        ("after a line feed", format!("\n{pem}")),
        ("after blanks", format!("  \t{pem}")),
        ("after a byte order mark", format!("\u{feff}{pem}")),
        ("with CRLF", pem.replace('\n', "\r\n")),
    ]
}

fn number(jwk: &Value, member: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn spki(jwk: &Value) -> Vec<u8> {
    const RSA: &[u8] = &[
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    const P256: &[u8] = &[
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
        0x07,
    ];
    const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
    let (algorithm, key) = match jwk["kty"].as_str() {
        Some("RSA") => (RSA, pkcs1(jwk)),
        Some("EC") => (P256, point(jwk)),
        _ => (ED25519, number(jwk, "x")),
    };
    let bits = [&[0][..], &key].concat();
    der(0x30, &[der(0x30, algorithm), der(0x03, &bits)].concat())
}

fn pkcs1(jwk: &Value) -> Vec<u8> {
    let integer = |member| {
        let number = number(jwk, member);
        // A leading one bit would make it negative.
        let sign: &[u8] = if number[0] & 0x80 == 0 { &[] } else { &[0] };
        der(0x02, &[sign, &number].concat())
    };
    der(0x30, &[integer("n"), integer("e")].concat())
}

/// The uncompressed point.
fn point(jwk: &Value) -> Vec<u8> {
    [&[4][..], &number(jwk, "x"), &number(jwk, "y")].concat()
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        Ok(long) => bytes.extend([0x81, long]),
        Err(_) => {
            bytes.push(0x82);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

fn ssh(jwk: &Value) -> String {
    let (name, parts) = match jwk["kty"].as_str() {
        Some("RSA") => (
            "ssh-rsa",
            vec![number(jwk, "e"), [&[0][..], &number(jwk, "n")].concat()],
        ),
        Some("EC") => ("ecdsa-sha2-nistp256", vec![b"nistp256".to_vec(), point(jwk)]),
        _ => ("ssh-ed25519", vec![number(jwk, "x")]),
    };
    let mut wire = Vec::new();
    for part in std::iter::once(name.as_bytes().to_vec()).chain(parts) {
        wire.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        wire.extend(part);
    }
    format!("{name} {}", STANDARD.encode(wire))
}
