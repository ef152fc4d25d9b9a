//! `portcullis token verify --raw`: vector files line by line, and key files that cannot be used.

use std::fs;

use portcullis_fixtures::keys::{self, Algorithm, Key, base64url};
use portcullis_fixtures::token::compact;
use serde_json::{Value, json};

use super::{ISSUER, folder, good, lines, run, stderr, stdout};

const RAW: [&str; 7] = ["token", "verify", "--jwks", "keys.json", "--raw", "--format", "json"];

#[test]
fn raw_verification_gives_one_verdict_a_line() {
    let folder = folder(ISSUER);
    let mut input = Vec::new();
    let mut expected = Vec::new();
    let mut line = |text: &[u8], end: &str, verdict: &str| {
        input.extend_from_slice(text);
        input.extend_from_slice(end.as_bytes());
        expected.push(verdict.to_owned());
    };
    for algorithm in Algorithm::ALL {
        let token = good().sign_with(algorithm.key(), algorithm);
        line(token.as_bytes(), "\n", algorithm.as_str());
        line(token.as_bytes(), "\r\n", algorithm.as_str());
        let (input, _) = token.rsplit_once('.').unwrap();
        line(
            format!("{input}.{}", base64url(&[7; 64])).as_bytes(),
            "\n",
            "token_signature",
        );
        line(input.as_bytes(), "\n", "token_malformed");
    }
    let header = |alg: &str| format!(r#"{{"alg":"{alg}","kid":"ed-1"}}"#);
    let payload = compact(&header("EdDSA"), "no claims at all", keys::ed25519(), Algorithm::EdDsa);
    line(payload.as_bytes(), "\n", "EdDSA");
    line(b"", "\n", "token_malformed");
    line(b"", "\r\n", "token_malformed");
    line(b" ", "\n", "token_malformed");
    line(b"\xff\xfe", "\n", "token_malformed");
    line("x".repeat(16 * 1024 + 1).as_bytes(), "\n", "token_too_large");
    line("x".repeat(16 * 1024).as_bytes(), "\r\n", "token_malformed");
    line("y".repeat(3_000_000).as_bytes(), "\n", "token_too_large");
    line(
        good().sign(&Key::new_ed25519("unknown")).as_bytes(),
        "\n",
        "token_key_unknown",
    );
    line(good().unsigned().as_bytes(), "\n", "token_malformed");
    for alg in ["none", "HS256", "ES512", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"] {
        let token = compact(&header(alg), "{}", keys::ed25519(), Algorithm::EdDsa);
        line(token.as_bytes(), "\n", "token_algorithm");
    }
    // The last line has no end.
    line(good().sign(keys::es256()).as_bytes(), "", "ES256");

    let output = run(&RAW, folder.path(), &input);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let verdicts = lines(&output);
    let told: Vec<&str> = verdicts
        .iter()
        .map(|verdict| match verdict["ok"].as_bool().unwrap() {
            true => verdict["alg"].as_str().unwrap(),
            false => verdict["reason"].as_str().unwrap(),
        })
        .collect();
    assert_eq!(told, expected);
    for verdict in &verdicts {
        let ok = verdict["ok"] == true;
        assert_eq!(
            (verdict["reason"].is_null(), verdict["detail"].is_null()),
            (ok, ok),
            "{verdict}"
        );
        assert_eq!(verdict["kid"].is_string(), ok, "{verdict}");
    }
    for name in ["ES512", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"] {
        let named = format!("{name} is not supported");
        let by_name = |verdict: &&Value| {
            verdict["detail"]
                .as_str()
                .is_some_and(|detail| detail.starts_with(&named))
        };
        assert_eq!(verdicts.iter().filter(by_name).count(), 1, "{name}");
    }

    let refused = run(&[&RAW[..], &["--exit-code"]].concat(), folder.path(), &input);
    assert_eq!(refused.status.code(), Some(4));
    let all_good = run(
        &[&RAW[..], &["--exit-code"]].concat(),
        folder.path(),
        good().sign(keys::rsa()).as_bytes(),
    );
    assert_eq!(all_good.status.code(), Some(0));
    let none = run(&RAW, folder.path(), b"");
    assert_eq!((none.status.code(), stdout(&none).as_str()), (Some(0), ""));
    let listed = [&RAW[..], &["--algorithms", "RS256,EdDSA"]].concat();
    let judged = run(
        &listed,
        folder.path(),
        format!("{}\n{}", good().sign(keys::es256()), good().sign(keys::rsa())).as_bytes(),
    );
    let reasons: Vec<Value> = lines(&judged).iter().map(|verdict| verdict["reason"].clone()).collect();
    assert_eq!(reasons, [json!("token_algorithm"), Value::Null]);
}

#[test]
fn an_unusable_key_file_is_told_and_ends_everything() {
    let folder = folder(ISSUER);
    let token = good().sign(keys::ed25519());
    let check = |text: &str, status: i32, told: &[&str]| {
        fs::write(folder.path().join("keys.json"), text).unwrap();
        let output = run(&RAW, folder.path(), token.as_bytes());
        assert_eq!(output.status.code(), Some(status), "{text}: {}", stderr(&output));
        for told in told {
            assert!(stderr(&output).contains(told), "{told}: {}", stderr(&output));
        }
        assert_eq!(stdout(&output).is_empty(), status != 0, "{text}");
    };
    let jwk = keys::ed25519().jwk();
    let mut encryption = jwk.clone();
    encryption["use"] = json!("enc");
    check(&json!({"keys": [jwk]}).to_string(), 0, &[]);
    // A single key will do.
    check(&jwk.to_string(), 0, &[]);
    check(
        &json!({"keys": [encryption, jwk]}).to_string(),
        0,
        &["key 1 (kid `ed-1`) is not used: its `use` is not `sig`"],
    );
    check(
        &json!({"keys": [encryption, {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"}]}).to_string(),
        3,
        &[
            "none of the 2 keys",
            "key 1 (kid `ed-1`) is not used",
            "key 2 is not used: it is symmetric",
        ],
    );
    check("{}", 3, &["`keys.json`", "no array `keys`"]);
    check("not JSON", 3, &["`keys.json`", "not strict JSON"]);
    check(&" ".repeat(300_000), 3, &["larger than"]);
    fs::remove_file(folder.path().join("keys.json")).unwrap();
    let output = run(&RAW, folder.path(), b"");
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("cannot be read"));
    for usage in [
        &["token", "verify", "--raw"][..],
        &["token", "verify"],
        &["token", "verify", "--raw", "--jwks", "keys.json", "-c", "gate.yaml"],
        &["token", "verify", "-c", "gate.yaml", "--exit-code"],
        &["token", "verify", "-c", "gate.yaml", "--at", "soon"],
        &[
            "token",
            "verify",
            "--raw",
            "--jwks",
            "keys.json",
            "--algorithms",
            "ES512",
        ],
        &["token", "verify", &token],
    ] {
        assert_eq!(run(usage, folder.path(), b"").status.code(), Some(2), "{usage:?}");
    }
}
