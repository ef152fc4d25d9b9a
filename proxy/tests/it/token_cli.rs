//! `portcullis token` and `portcullis jwks` as an operator meets them: verdicts, exit statuses, what would pass, and that
//! no token and no key stands in what they say.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use portcullis_fixtures::issuer::{Issuer, IssuerSettings, now_s};
use portcullis_fixtures::keys::{self, Key, base64url};
use portcullis_fixtures::token::TokenBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

mod raw;

const ISSUER: &str = "https://login.example.test";
const RESOURCE: &str = "https://gate.example.test/crm/mcp";
const NOW: u64 = 1_800_000_000;

const POLICY: &str = r#"package portcullis

request.decision := {"allow": false, "rule": "none", "reason": "nothing is allowed", "obligations": {}}

response.decision := {"allow": false, "rule": "none", "reason": "nothing is allowed", "obligations": {}}
"#;

/// A folder with a configuration of one server and one issuer, and the issuer's keys.
fn folder(issuer: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "listen: [{{address: \"127.0.0.1:0\"}}]
audit: {{directory: audit}}
issuers:
  - issuer: {issuer}
servers:
  - name: crm
    path: /crm/mcp
    resource: {RESOURCE}
    issuers: [{issuer}]
    upstream: {{url: \"http://127.0.0.1:9/mcp\"}}
    tools: {{rows: {{crm.read: {{scopes: [\"crm:read\"]}}}}}}
    policy: {{files: [policy.rego]}}
"
    );
    let jwks = keys::jwks(&[keys::ed25519(), keys::es256(), keys::es384(), keys::rsa()]);
    for (name, text) in [
        ("gate.yaml", config.as_str()),
        ("policy.rego", POLICY),
        ("keys.json", &jwks),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Runs the binary with this standard input, and checks that nothing of a token comes out of it again.
#[track_caller]
fn run(arguments: &[&str], folder: &Path, input: &[u8]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let owned = input.to_vec();
    // Its end may come before all of this was read.
    let writer = std::thread::spawn(move || stdin.write_all(&owned));
    let output = process.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    for line in String::from_utf8_lossy(input).lines() {
        for part in line
            .split('.')
            .chain([line])
            .filter(|part| 16 <= part.len() && !part.contains(['{', ' ']))
        {
            let found = said.windows(part.len()).any(|window| window == part.as_bytes());
            assert!(
                !found,
                "{arguments:?} said a part of a token: {}",
                String::from_utf8_lossy(&said)
            );
        }
    }
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON object of each line.
fn lines(output: &Output) -> Vec<Value> {
    stdout(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn good() -> TokenBuilder {
    TokenBuilder::new(ISSUER, RESOURCE, NOW)
}

/// Verifies for the server `crm` at `NOW` and gives the answer.
#[track_caller]
fn verify(folder: &Path, token: &str, at: u64) -> (Option<i32>, Value) {
    let at = at.to_string();
    let arguments = [
        "token",
        "verify",
        "-c",
        "gate.yaml",
        "--server",
        "crm",
        "--jwks",
        "keys.json",
        "--at",
        &at,
    ];
    let json = run(
        &[&arguments[..], &["--format", "json"]].concat(),
        folder,
        token.as_bytes(),
    );
    let pretty = run(&arguments, folder, token.as_bytes());
    assert_eq!(json.status, pretty.status);
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap_or_else(|_| panic!("{}", stderr(&json)));
    let text = stdout(&pretty);
    assert_eq!(text.contains("verified; "), answer["ok"] == true, "{text}");
    for name in ["reason", "detail", "would_pass"] {
        let told = answer[name].as_str().unwrap_or_default();
        assert!(text.contains(told), "{text}: {told}");
    }
    (json.status.code(), answer)
}

#[test]
fn verification_tells_which_check_failed_and_what_would_pass() {
    let folder = folder(ISSUER);
    let check = |token: &str, at: u64, failed: &str, reason: &str, cure: &[&str]| {
        let (status, answer) = verify(folder.path(), token, at);
        assert_eq!(status, Some(4), "{answer}");
        assert_eq!(
            (&answer["failed"], &answer["reason"]),
            (&json!(failed), &json!(reason)),
            "{answer}"
        );
        for part in cure {
            assert!(
                answer["would_pass"].as_str().unwrap().contains(part),
                "{part}: {answer}"
            );
        }
        let outcomes: Vec<&str> = answer["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| check["outcome"].as_str().unwrap())
            .collect();
        let place = outcomes.iter().position(|outcome| *outcome == "failed").unwrap();
        assert!(outcomes[..place].iter().all(|outcome| *outcome == "passed"), "{answer}");
        assert!(
            outcomes[place + 1..].iter().all(|outcome| *outcome == "not_reached"),
            "{answer}"
        );
        assert!(!answer.to_string().contains("alice"), "the subject is told: {answer}");
    };
    let key = keys::ed25519();
    let token = good().sign(key);
    let (status, answer) = verify(folder.path(), &token, NOW);
    assert_eq!(
        (status, &answer["ok"], &answer["issuer"]),
        (Some(0), &json!(true), &json!(ISSUER)),
        "{answer}"
    );
    assert_eq!(verify(folder.path(), &format!("  {token}\r\n"), NOW).0, Some(0));

    check(
        &format!("Bearer {token}"),
        NOW,
        "credential",
        "credential_scheme",
        &["without quotes, blanks or `Bearer`"],
    );
    check("2YotnFZFEjr1zCsicMWpAA", NOW, "form", "token_malformed", &["opaque"]);
    check(
        &token.replacen('.', "=.", 1),
        NOW,
        "credential",
        "credential_scheme",
        &["token alone"],
    );
    check(
        &good().header("alg", "ES512").sign(key),
        NOW,
        "header",
        "token_algorithm",
        &["EdDSA, ES256", "PS256"],
    );
    check(
        &good().header("alg", "ML-DSA-65").sign(key),
        NOW,
        "header",
        "token_algorithm",
        &["EdDSA"],
    );
    check(
        &good().claim("big", 1e30).sign(key),
        NOW,
        "json",
        "token_malformed",
        &["2^53"],
    );
    check(
        &good().claim("iss", "https://login.example.test/").sign(key),
        NOW,
        "issuer",
        "token_issuer",
        &[
            "`https://login.example.test`",
            "`https://login.example.test/`",
            "trailing slash",
        ],
    );
    check(
        &good().sign(keys::es384()),
        NOW,
        "algorithm",
        "token_algorithm",
        &["`ES384`", "`algorithms`"],
    );
    check(
        &good().header("typ", "JWT").sign(key),
        NOW,
        "type",
        "token_type",
        &["at+jwt", "`JWT`"],
    );
    check(
        &good().sign(&Key::new_ed25519("new-key")),
        NOW,
        "key",
        "token_key_unknown",
        &["`ed-1`", "`new-key`"],
    );
    check(
        &good().sign(&Key::new_ed25519("ed-1")),
        NOW,
        "signature",
        "token_signature",
        &["`kid`"],
    );
    check(
        &good().without("sub").sign(key),
        NOW,
        "claims",
        "token_claims",
        &["`sub`"],
    );
    check(
        &good().claim("exp", "1800000300").sign(key),
        NOW,
        "claims",
        "token_claims",
        &["whole numbers"],
    );
    check(
        &token,
        NOW + 360,
        "times",
        "token_expired",
        &["2027-01-15T08:06:00Z", "2027-01-15T08:05:00Z"],
    );
    check(
        &token,
        NOW - 61,
        "times",
        "token_not_yet_valid",
        &["compare the clocks"],
    );
    check(
        &good().expires(NOW + 90_000).sign(key),
        NOW,
        "times",
        "token_lifetime",
        &["86400 s", "90000 s"],
    );
    check(
        &good().audiences(&["https://other.example.test", "api"]).sign(key),
        NOW,
        "audience",
        "token_audience",
        &[
            &format!("`{RESOURCE}`"),
            "names 2 audiences: `https://other.example.test`, `api`",
            &format!("resource={RESOURCE}"),
        ],
    );
    let huge = good().claim("groups", vec!["x".repeat(100); 200]).sign(key);
    check(
        &huge,
        NOW,
        "size",
        "token_too_large",
        &["16384 bytes", "token_bytes_max"],
    );

    let mut used = keys::es256().jwk();
    used["use"] = json!("enc");
    fs::write(
        folder.path().join("keys.json"),
        json!({"keys": [used, key.jwk()]}).to_string(),
    )
    .unwrap();
    check(
        &good().sign(keys::es256()),
        NOW,
        "key",
        "token_key_unknown",
        &["`ed-1`", "not used: its `use` is not `sig`"],
    );
    let other = run(
        &["token", "verify", "-c", "gate.yaml", "--server", "erp"],
        folder.path(),
        token.as_bytes(),
    );
    assert_eq!(other.status.code(), Some(3));
    assert!(stderr(&other).contains("--server: crm"), "{}", stderr(&other));
    let nothing = run(&["token", "verify", "-c", "gate.yaml"], folder.path(), b"\n");
    assert_eq!(nothing.status.code(), Some(3));
}

#[test]
fn keys_are_fetched_as_the_gate_would() {
    let issuer = Issuer::start(IssuerSettings::default()).unwrap();
    let url = issuer.url().to_owned();
    let folder = folder(&url);
    let token = TokenBuilder::new(&url, RESOURCE, now_s()).sign(keys::es256());
    let arguments = ["token", "verify", "-c", "gate.yaml", "--format", "json"];
    let answer = |status: i32| -> Value {
        let output = run(&arguments, folder.path(), token.as_bytes());
        assert_eq!(
            output.status.code(),
            Some(status),
            "{}{}",
            stdout(&output),
            stderr(&output)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(answer(0)["ok"], true);
    let probed = run(&["jwks", "probe", &url], folder.path(), b"");
    let text = stdout(&probed);
    assert_eq!(probed.status.code(), Some(0), "{text}");
    for told in [
        "metadata",
        "/.well-known/oauth-authorization-server",
        "taken",
        "es-1",
        "the gate can use these keys",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let probed = run(
        &["jwks", "probe", "-c", "gate.yaml", "--format", "json"],
        folder.path(),
        b"",
    );
    let told = &lines(&probed)[0];
    assert_eq!((&told["ok"], &told["usable"]), (&json!(true), &json!(3)), "{told}");
    // The same server under another name is another issuer: its metadata is not believed.
    let alias = url.replace("127.0.0.1", "localhost");
    let mistaken = run(&["jwks", "probe", &alias], folder.path(), b"");
    assert_eq!(mistaken.status.code(), Some(3), "{}", stdout(&mistaken));
    assert!(stdout(&mistaken).contains("another issuer's"), "{}", stdout(&mistaken));

    drop(issuer);
    let refused = answer(69);
    assert_eq!(
        (&refused["failed"], &refused["reason"]),
        (&json!("keys"), &json!("keys_unavailable"))
    );
    let probed = run(&["jwks", "probe", &url], folder.path(), b"");
    assert_eq!(probed.status.code(), Some(69), "{}", stdout(&probed));
    let unknown = run(
        &["jwks", "probe", "https://a.example", "-c", "gate.yaml"],
        folder.path(),
        b"",
    );
    assert_eq!(unknown.status.code(), Some(3));
    assert_eq!(
        run(&["jwks", "probe", "http://issuer.example"], folder.path(), b"")
            .status
            .code(),
        Some(3)
    );
    // Something that listens and never answers would be waited for, but not for long.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    drop(silent);
    assert_eq!(
        run(&["jwks", "probe", &address], folder.path(), b"").status.code(),
        Some(69)
    );
}

#[test]
fn a_token_is_shown_without_its_signature() {
    let folder = folder(ISSUER);
    let inspect = |token: &str| {
        let pretty = run(&["token", "inspect"], folder.path(), token.as_bytes());
        let json = run(
            &["token", "inspect", "--format", "json"],
            folder.path(),
            token.as_bytes(),
        );
        assert_eq!(pretty.status.code(), Some(0), "{}", stderr(&pretty));
        (stdout(&pretty), serde_json::from_slice::<Value>(&json.stdout).unwrap())
    };
    let check = |token: &str, looks_like: &str, warnings: &[&str]| {
        let (text, answer) = inspect(token);
        assert!(text.starts_with("not verified: "), "{text}");
        assert_eq!(answer["verified"], false);
        assert!(
            answer["looks_like"].as_str().unwrap().starts_with(looks_like),
            "{answer}"
        );
        let told = answer["warnings"].as_array().unwrap();
        for (told, expected) in told.iter().zip(warnings) {
            assert!(told.as_str().unwrap().contains(expected), "{told}: {expected}");
        }
        assert_eq!(told.len(), warnings.len(), "{answer}");
        assert_eq!(text.matches("warning: ").count(), warnings.len());
    };
    let now = now_s();
    let good = || TokenBuilder::new(ISSUER, RESOURCE, now);
    let key = keys::ed25519();
    check(&good().sign(key), "an access token (RFC 9068)", &[]);
    let (text, answer) = inspect(&good().sign(key));
    for told in [
        ISSUER,
        RESOURCE,
        "alice",
        "at+jwt",
        " min)",
        "looks like an access token",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert_eq!(answer["claims"]["iss"], ISSUER);
    assert!(answer["times"]["exp"].as_str().unwrap().ends_with('Z'));
    check(
        &good().header("typ", "JWT").claim("nonce", "n").sign(key),
        "an ID token",
        &[],
    );
    check(&good().header("typ", "oauth-id-jag+jwt").sign(key), "an ID-JAG", &[]);
    check(
        &good().header("typ", "JWT").claim("typ", "Refresh").sign(key),
        "a refresh token",
        &[],
    );
    check(&good().unsigned(), "an access token", &["`alg` is none"]);
    check(&good().without("exp").sign(key), "an access token", &["static secret"]);
    check(&good().expires(now - 10).sign(key), "an access token", &["has expired"]);
    check(
        &good().expires(now + 100_000).sign(key),
        "an access token",
        &["100000 s"],
    );
    check(
        &good().header("alg", "ES512").sign(key),
        "an access token",
        &["does not support"],
    );
    check(
        &good().header("jku", "https://a.example").sign(key),
        "an access token",
        &["`jku`"],
    );
    check(
        &good().claim("cnf", json!({"jkt": "x"})).sign(key),
        "an access token",
        &["bound"],
    );

    for (input, told) in [
        (String::new(), "no token"),
        ("2YotnFZFEjr1zCsicMWpAA".to_owned(), "opaque"),
        ("a.b.c.d.e".to_owned(), "JWE"),
        ("a.b.c".to_owned(), "base64url"),
        ("x".repeat(100_000), "longer than"),
    ] {
        let output = run(&["token", "inspect"], folder.path(), input.as_bytes());
        assert_eq!(output.status.code(), Some(3));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    }
}

#[test]
fn bad_keys_are_told_one_by_one() {
    let folder = folder(ISSUER);
    let with = |key: &Key, changes: Value| {
        let mut jwk = key.jwk();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    let (ed, ec, rsa) = (keys::ed25519(), keys::es256(), keys::rsa());
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ";
    let zoo = [
        (ed.jwk(), None),
        (with(ec, json!({"kid": "1", "use": "enc"})), Some("`use`")),
        (with(ec, json!({"kid": "2", "key_ops": ["sign"]})), Some("`key_ops`")),
        (with(ec, json!({"kid": "3", "alg": "ES384"})), Some("`alg`")),
        (
            with(ec, json!({"kid": "4", "alg": "ES512", "crv": "P-521"})),
            Some("`crv`"),
        ),
        (
            with(ec, json!({"kid": "5", "x": ec.jwk()["y"]})),
            Some("no point of its curve"),
        ),
        (
            with(rsa, json!({"kid": "6", "n": base64url(&[0xaf; 128])})),
            Some("2048 to 8192 bits"),
        ),
        (with(rsa, json!({"kid": "7", "e": "Aw"})), Some("exponent")),
        (with(rsa, json!({"kid": "8", "d": secret})), Some("private half")),
        (json!({"kid": "9", "kty": "oct", "k": secret}), Some("symmetric")),
        (with(&Key::new_ed25519("10"), json!({})), Some("same `kid`")),
        (with(&Key::new_ed25519("10"), json!({})), Some("same `kid`")),
        (
            json!({"kid": "11\u{1b}[2J", "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
            Some("`kty`"),
        ),
        (json!("12"), Some("malformed")),
    ];
    let set: Vec<&Value> = zoo.iter().map(|(key, _)| key).collect();
    let set = json!({ "keys": set }).to_string();
    fs::write(folder.path().join("zoo.json"), &set).unwrap();
    let shown = run(&["jwks", "show", "zoo.json", "--format", "json"], folder.path(), b"");
    assert_eq!(shown.status.code(), Some(0));
    let answer: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(answer["usable"], 1);
    for (told, (key, reason)) in answer["keys"].as_array().unwrap().iter().zip(&zoo) {
        assert_eq!(told["usable"], reason.is_none(), "{key}");
        assert!(
            told["reason"]
                .as_str()
                .unwrap_or_default()
                .contains(reason.unwrap_or_default()),
            "{told}"
        );
    }
    // From standard input, and for people.
    let table = run(&["jwks", "show", "-"], folder.path(), set.as_bytes());
    let text = stdout(&table);
    assert_eq!(text.lines().count(), zoo.len() + 2, "{text}");
    assert!(
        text.contains("1 of 14 keys can be used") && text.contains("OKP Ed25519"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}') && !text.contains(secret), "{text}");
    let none = json!({"keys": [zoo[1].0]}).to_string();
    let output = run(
        &["jwks", "show", "-", "--format", "json"],
        folder.path(),
        none.as_bytes(),
    );
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(lines(&output)[0]["keys"][0]["reason"], "its `use` is not `sig`");
    assert_eq!(run(&["jwks", "show", "-"], folder.path(), b"[]").status.code(), Some(3));
}
