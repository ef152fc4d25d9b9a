//! Signed bundles and their neighbours: another key, file, scope or algorithm.

use portcullis_fixtures::keys::{self, Key};
use serde_json::{Value, json};

use super::*;
use crate::crypto::{Algorithm, encode_base64url};
use crate::jwks::{JwksLimits, KeySet};
use crate::time::UnixTime;

fn verification(keys: &[&Key], scope: &str) -> Verification {
    let bounds = JwksLimits {
        bytes_max: 1 << 16,
        keys_max: 10,
    };
    Verification {
        keys: KeySet::parse(keys::jwks(keys).as_bytes(), &bounds, UnixTime::default()).unwrap(),
        key_id: None,
        scope: Box::from(scope),
    }
}

fn ours() -> Verification {
    verification(&[keys::es256(), keys::ed25519(), keys::rsa(), keys::es384()], "")
}

fn taken(bytes: &[u8], verification: &Verification) -> Result<BundleDigest, String> {
    match read(bytes, &LIMITS, Signatures::Verified(verification)) {
        Ok(Content::Snapshot(bundle)) => Ok(bundle.digest()),
        Ok(Content::Delta(_)) => panic!("a delta"),
        Err(error) => Err(error.to_string()),
    }
}

fn signed(bytes: &[u8], key: &Key, algorithm: Algorithm, scope: &str) -> Vec<u8> {
    let to_sign = ToSign::new(bytes, &LIMITS, algorithm, key.kid(), scope).unwrap();
    let name = keys::Algorithm::ALL
        .into_iter()
        .find(|known| known.as_str() == algorithm.name())
        .unwrap();
    let signature = key.sign(name, to_sign.input());
    to_sign.signed(&signature).unwrap()
}

/// The files of a bundle, to change some and pack them anew.
fn files(bytes: &[u8]) -> Files {
    archive::unpack(bytes, &LIMITS).unwrap()
}

/// The bundle of `change`d claims and header, signed by the P-256 key.
fn forged(change: impl FnOnce(&mut Value, &mut Value)) -> Vec<u8> {
    let bytes = signed(&packed(&sample()), keys::es256(), Algorithm::Es256, "");
    let mut files = files(&bytes);
    let text: Value = serde_json::from_slice(&files[SIGNATURES]).unwrap();
    let token = text["signatures"][0].as_str().unwrap();
    let parts: Vec<Value> = token
        .split('.')
        .take(2)
        .map(|part| {
            let mut out = Vec::new();
            crypto::decode_base64url(part.as_bytes(), &mut out).unwrap();
            serde_json::from_slice(&out).unwrap()
        })
        .collect();
    let (mut header, mut claims) = (parts[0].clone(), parts[1].clone());
    change(&mut header, &mut claims);
    let input = [header, claims]
        .map(|part| encode_base64url(part.to_string().as_bytes()))
        .join(".");
    let signature = keys::es256().sign(keys::Algorithm::Es256, input.as_bytes());
    let token = format!("{input}.{}", encode_base64url(&signature));
    files.insert(
        SIGNATURES.to_owned(),
        json!({"signatures": [token]}).to_string().into_bytes(),
    );
    archive::pack(&files).unwrap()
}

/// What is done to a header and to claims before they are signed.
type Change = fn(&mut Value, &mut Value);

#[test]
fn each_algorithm_signs_and_verifies() {
    let unsigned = packed(&sample());
    let digest = take(&unsigned).unwrap().digest();
    let cases = [
        (keys::es256(), Algorithm::Es256),
        (keys::es384(), Algorithm::Es384),
        (keys::ed25519(), Algorithm::EdDSA),
        (keys::rsa(), Algorithm::Rs256),
        (keys::rsa(), Algorithm::Rs384),
        (keys::rsa(), Algorithm::Rs512),
        (keys::rsa(), Algorithm::Ps256),
    ];
    for (key, algorithm) in cases {
        let bytes = signed(&unsigned, key, algorithm, "");
        assert_eq!(taken(&bytes, &ours()), Ok(digest), "{algorithm:?}");
        let other = verification(&[keys::ed25519()], "");
        assert_eq!(taken(&bytes, &other).is_ok(), algorithm == Algorithm::EdDSA);
        // Signed anew, it has one signature again.
        assert_eq!(taken(&signed(&bytes, key, algorithm, ""), &ours()), Ok(digest));
    }
}

#[test]
fn an_unsigned_bundle_is_refused_where_keys_are_and_a_signed_one_where_none_is() {
    let unsigned = packed(&sample());
    assert_eq!(
        taken(&unsigned, &ours()).unwrap_err(),
        "the bundle is not signed, and keys are configured"
    );
    let bytes = signed(&unsigned, keys::es256(), Algorithm::Es256, "");
    assert_eq!(take(&bytes).unwrap_err(), SignatureError::NoKeys.into());
    let delta = packed(&[("patch.json", r#"{"data": []}"#)]);
    let said = read(&delta, &LIMITS, Signatures::Verified(&ours())).unwrap_err();
    assert_eq!(said, SignatureError::Delta.into());
}

#[test]
fn what_was_signed_is_what_is_there() {
    let bytes = signed(&packed(&sample()), keys::es256(), Algorithm::Es256, "");
    let changed = |name: &str, text: Option<&str>| {
        let mut files = files(&bytes);
        match text {
            Some(text) => files.insert(name.to_owned(), text.as_bytes().to_vec()),
            None => files.remove(name),
        };
        taken(&archive::pack(&files).unwrap(), &ours())
    };
    // White space of a structured file does not count, that of another one does.
    changed("limits/data.json", Some("{\"names\":[\"a\",\"b\"] , \"open\":true}")).unwrap();
    let not_signed = |name: &str| Err(format!("the file `{name}` was not signed"));
    let not_the_one = |name: &str| Err(format!("the file `{name}` is not the one that was signed"));
    let missing = |name: &str| Err(format!("the file `{name}` was signed and is missing"));
    let cases = [
        (
            "limits/data.json",
            Some(r#"{"open": false, "names": ["a", "b"]}"#),
            not_the_one("limits/data.json"),
        ),
        (
            "limits/data.json",
            Some(r#"{"open": true, "names": ["b", "a"]}"#),
            not_the_one("limits/data.json"),
        ),
        ("limits/data.json", Some("{"), not_the_one("limits/data.json")),
        (".manifest", Some("{}"), not_the_one(".manifest")),
        ("README.md", Some("not read "), not_the_one("README.md")),
        (
            "portcullis/request.rego",
            Some(RESPONSE),
            not_the_one("portcullis/request.rego"),
        ),
        (
            "portcullis/more.rego",
            Some("package portcullis.more"),
            not_signed("portcullis/more.rego"),
        ),
        ("more.txt", Some(""), not_signed("more.txt")),
        ("limits/data.json", None, missing("limits/data.json")),
        ("README.md", None, missing("README.md")),
        (".manifest", None, missing(".manifest")),
        (
            SIGNATURES,
            None,
            Err("the bundle is not signed, and keys are configured".to_owned()),
        ),
    ];
    for (name, text, wanted) in cases {
        assert_eq!(changed(name, text), wanted, "{name} {text:?}");
    }
}

#[test]
fn a_signature_of_another_key_scope_or_form_is_refused() {
    let neighbour = Key::new_es256(keys::es256().kid());
    let stranger = Key::new_es256("stranger");
    let unsigned = packed(&sample());
    let by = |key: &Key, scope: &str| signed(&unsigned, key, Algorithm::Es256, scope);
    assert_eq!(
        taken(&by(&neighbour, ""), &ours()).unwrap_err(),
        "the signature does not verify"
    );
    assert_eq!(
        taken(&by(&stranger, ""), &ours()).unwrap_err(),
        "no key for the signature: no key has this `kid`"
    );
    let scope = "the signature has another scope than the configured one";
    let scoped = verification(&[keys::es256()], "write");
    taken(&by(keys::es256(), "write"), &scoped).unwrap();
    for (own, wanted) in [
        ("write", ours()),
        ("read", scoped.clone()),
        ("", scoped),
        ("Write", verification(&[keys::es256()], "write")),
    ] {
        assert_eq!(taken(&by(keys::es256(), own), &wanted).unwrap_err(), scope, "{own}");
    }
    let only = Verification {
        key_id: Some(Box::from(keys::ed25519().kid())),
        ..ours()
    };
    taken(&signed(&unsigned, keys::ed25519(), Algorithm::EdDSA, ""), &only).unwrap();
    assert_eq!(
        taken(&by(keys::es256(), ""), &only).unwrap_err(),
        "the signature names another key than the configured one"
    );
}

#[test]
fn a_forged_header_or_list_is_refused_though_the_key_signed_it() {
    let digest = taken(&forged(|_, _| {}), &ours()).unwrap();
    let es256 = verification(&[keys::es256()], "");
    // A key is found without a name when one alone fits, as the older claim names it too.
    for change in [
        (|header: &mut Value, claims: &mut Value| {
            header.as_object_mut().unwrap().remove("kid");
            claims.as_object_mut().unwrap().remove("keyid");
        }) as fn(&mut Value, &mut Value),
        |header, _| drop(header.as_object_mut().unwrap().remove("kid")),
        |_, claims| drop(claims.as_object_mut().unwrap().remove("keyid")),
        |_, claims| claims["files"][0]["name"] = json!(format!("/{}", claims["files"][0]["name"].as_str().unwrap())),
        |_, claims| claims["iat"] = json!(1),
    ] {
        assert_eq!(taken(&forged(change), &es256), Ok(digest));
    }
    let cases: [(Change, &str); 14] = [
        (|header, _| header["alg"] = json!("none"), "algorithm is not supported"),
        (|header, _| header["alg"] = json!("HS256"), "algorithm is not supported"),
        (|header, _| header["alg"] = json!("es256"), "algorithm is not supported"),
        (
            |header, _| header["alg"] = json!("ES384"),
            "the key is for another algorithm",
        ),
        (|header, _| header["crit"] = json!(["x"]), "critical header parameters"),
        (|header, _| header["kid"] = json!(7), "are not one text"),
        (|_, claims| claims["keyid"] = json!("other"), "are not one text"),
        (|_, claims| claims["scope"] = json!(1), "another scope"),
        (|_, claims| claims["files"] = json!({}), "lists no files"),
        (|_, claims| claims["files"] = json!([]), "was not signed"),
        (
            |_, claims| claims["files"][0]["algorithm"] = json!("MD5"),
            "none of SHA-256, SHA-384 and SHA-512",
        ),
        (
            |_, claims| claims["files"][0]["algorithm"] = json!("SHA-512"),
            "is not the one that was signed",
        ),
        (
            |_, claims| claims["files"][0]["name"] = json!("../x"),
            "is no plain path",
        ),
        (
            |_, claims| claims["files"][1] = claims["files"][0].clone(),
            "listed twice",
        ),
    ];
    for (change, reason) in cases {
        let said = taken(&forged(change), &es256).unwrap_err();
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

#[test]
fn a_changed_byte_of_the_signature_is_refused() {
    let bytes = signed(&packed(&sample()), keys::es256(), Algorithm::Es256, "");
    let mut whole = files(&bytes);
    let text = whole[SIGNATURES].clone();
    for at in (0..text.len()).step_by(7) {
        let mut changed = text.clone();
        changed[at] ^= 1;
        whole.insert(SIGNATURES.to_owned(), changed);
        taken(&archive::pack(&whole).unwrap(), &ours()).unwrap_err();
    }
    for text in [
        "",
        "{}",
        r#"{"signatures": []}"#,
        r#"{"signatures": ["a.b.c", "a.b.c"]}"#,
        r#"{"signatures": ["x"]}"#,
    ] {
        whole.insert(SIGNATURES.to_owned(), text.as_bytes().to_vec());
        taken(&archive::pack(&whole).unwrap(), &ours()).unwrap_err();
    }
    let plugin = json!({"signatures": ["a.b.c"], "plugin": "mine"}).to_string();
    whole.insert(SIGNATURES.to_owned(), plugin.into_bytes());
    let said = taken(&archive::pack(&whole).unwrap(), &ours()).unwrap_err();
    assert!(said.contains("a plugin signed it"), "{said}");
}

#[test]
fn structured_files_are_hashed_as_go_writes_them() {
    // By hand: printf '{"a":[1,2.50,"<\\u2028\\b"],"b":{"x":null}}' | sha256sum, with the escapes spelt out.
    let text = "{ \"b\": {\"x\": null}, \"a\": [1, 2.50, \"<\\u2028\\b\"] }";
    let tree = Tree::of_json(text.as_bytes()).unwrap();
    assert_eq!(tree.to_text(), "{\"a\":[1,2.50,\"<\\u2028\\b\"],\"b\":{\"x\":null}}");
    // The digest that OPA's documentation gives for its example `.manifest` cannot be checked without the file; the
    // empty object is known.
    let empty = crypto::hex(&crypto::sha256(Tree::of_json(b" { } ").unwrap().to_text().as_bytes()));
    assert_eq!(
        empty,
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    );
}
