//! Policies as bundles: fetched, verified, kept, and never a mix; and the commands that make them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::bundle::{self, BundleLimits};
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Connection;
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::policy;
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};

use crate::gate::{Gate, until};

/// A server of one bundle, which forgets nothing that it was asked.
struct BundleServer {
    address: SocketAddr,
    served: Arc<Mutex<Option<Served>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Served {
    etag: String,
    body: Vec<u8>,
}

impl BundleServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            served: Arc::default(),
            asked: Arc::default(),
        };
        let (served, asked) = (Arc::clone(&server.served), Arc::clone(&server.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut head = String::new();
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).is_ok_and(|read| 0 < read) {}
                asked.lock().unwrap().push(head.clone());
                let answer = match &*served.lock().unwrap() {
                    None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
                    Some(Served { etag, .. }) if head.contains(&format!("if-none-match: {etag}\r\n")) => {
                        b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_vec()
                    }
                    Some(Served { etag, body }) => {
                        let head = format!(
                            "HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Type: application/gzip\r\nContent-Length: {}\r\n\
                             Connection: close\r\n\r\n",
                            body.len()
                        );
                        [head.as_bytes(), body].concat()
                    }
                };
                let _ = stream.write_all(&answer);
            }
        });
        server
    }

    fn serve(&self, etag: &str, body: &[u8]) {
        *self.served.lock().unwrap() = Some(Served {
            etag: format!("\"{etag}\""),
            body: body.to_vec(),
        });
    }

    fn gone(&self) {
        *self.served.lock().unwrap() = None;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A gate whose policy is the bundle of `server`, with these further members of `bundle`.
fn start(server: &BundleServer, further: &str) -> Gate {
    let address = server.address;
    Gate::start_changed(|_, text| {
        let (before, rest) = text.split_once("      files: [").unwrap();
        let (_, after) = rest.split_once("      data: [data.json]\n").unwrap();
        format!(
            "admin:\n  address: 127.0.0.1:0\n{before}      bundle:\n        url: http://{address}/crm.tar.gz\n        poll_min: 1s\n        \
             poll_max: 1s\n{further}{after}"
        )
    })
}

fn files(data: &str) -> Vec<(String, Vec<u8>)> {
    [
        ("request.rego", policy::REQUEST_REGO),
        ("response.rego", policy::RESPONSE_REGO),
        ("data.json", data),
    ]
    .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
    .to_vec()
}

fn bundle_of(data: &str, revision: &str) -> Vec<u8> {
    bundle::build(files(data), Some(revision), &BundleLimits::default()).unwrap()
}

/// The status of a call for Alice's account.
fn called(gate: &Gate) -> u16 {
    let arguments = r#"{"account_id":"acc-1001"}"#;
    let call = Call::tools_call(Era::Modern, 1, "salesforce.opportunity.read", arguments);
    gate.call(&call.bearer(&gate.token(&ALICE))).status
}

/// What the gate tells of its one bundle.
fn status(admin: SocketAddr) -> Value {
    let mut connection = Connection::open(admin).unwrap();
    let answer = connection
        .exchange(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    body["bundles"]["crm"].clone()
}

#[test]
fn a_bundle_rules_once_it_came_and_a_broken_or_old_one_never_does() {
    let server = BundleServer::start();
    let mut gate = start(&server, "");
    let admin = gate.admin();
    assert_eq!(called(&gate), 503, "without a policy nothing can be judged");
    until(|| status(admin)["http_code"] == "404");
    let data = policy::sample_data(gate.issuer.url());
    let first = bundle_of(&data, "r1");
    server.serve("1", &first);
    until(|| status(admin)["active_revision"] == "r1");
    assert_eq!(called(&gate), 200);
    assert_eq!(status(admin).get("code"), None, "{}", status(admin));
    until(|| server.asked().iter().any(|head| head.contains("if-none-match: \"1\"")));
    assert!(
        server.asked()[0].contains("prefer: modes=snapshot,delta\r\n"),
        "{}",
        server.asked()[0]
    );

    server.serve("cut", &first[..first.len() / 2]);
    until(|| status(admin)["code"] == "bundle_error");
    assert_eq!(status(admin)["active_revision"], "r1");
    assert_eq!(called(&gate), 200);

    let none_for_alice = data.replace("acc-1001", "acc-0000");
    assert_ne!(none_for_alice, data);
    server.serve("2", &bundle_of(&none_for_alice, "r2"));
    until(|| status(admin)["active_revision"] == "r2");
    assert_eq!(called(&gate), 403);
    server.serve("1", &first);
    until(|| {
        status(admin)["message"]
            .as_str()
            .is_some_and(|said| said.contains("`r1` ruled before"))
    });
    assert_eq!(called(&gate), 403);

    server.gone();
    gate.kill();
    gate.restart();
    let admin = gate.admin();
    assert_eq!(called(&gate), 403, "what was kept rules without the server");
    until(|| status(admin)["active_revision"] == "r2");
    server.serve("1", &first);
    until(|| {
        status(admin)["message"]
            .as_str()
            .is_some_and(|said| said.contains("`r1` ruled before"))
    });

    let acts = || -> Vec<String> {
        let records = gate.tail();
        let bundles = records.iter().filter(|record| record["target"]["kind"] == "bundle");
        bundles
            .map(|record| record["act"].as_str().unwrap().to_owned())
            .collect()
    };
    let (activated, refused) = ("bundle_activated", "bundle_refused");
    until(|| 5 <= acts().len());
    assert_eq!(acts(), [activated, refused, activated, refused, refused]);
}

#[test]
fn a_delta_changes_the_data_that_rules() {
    let server = BundleServer::start();
    let mut gate = start(&server, "");
    let admin = gate.admin();
    let data: Value = serde_json::from_str(&policy::sample_data(gate.issuer.url())).unwrap();
    server.serve("1", &bundle_of(&data.to_string(), "r1"));
    until(|| status(admin)["active_revision"] == "r1");
    assert_eq!(called(&gate), 200);
    let patch = json!({"data": [{"op": "replace", "path": "/subjects", "value": {}}]}).to_string();
    let delta = bundle::build(
        [("patch.json".to_owned(), patch.into_bytes())],
        Some("r2"),
        &BundleLimits::default(),
    );
    server.serve("2", &delta.unwrap());
    until(|| status(admin)["active_revision"] == "r2");
    assert_eq!(status(admin)["type"], "delta");
    assert_eq!(called(&gate), 403);
}

#[test]
fn a_bundle_that_no_configured_key_has_signed_never_rules() {
    let folder = tempfile::tempdir().unwrap();
    let signed = |name: &str, key: &str| {
        let bundle = folder.path().join(format!("{name}.tar.gz"));
        let arguments = ["--algorithm", "ES256", "--key-id", "k1", "--key", key];
        let output = run(&[&["policy", "sign"][..], &arguments, &[bundle.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{output:?}");
        std::fs::read(bundle).unwrap()
    };
    let (key, jwks) = key_pair(folder.path(), "own");
    let (stranger, _) = key_pair(folder.path(), "stranger");
    let server = BundleServer::start();
    let mut gate = start(&server, &format!("        keys: {jwks}\n"));
    let admin = gate.admin();
    let data = policy::sample_data(gate.issuer.url());
    let unsigned = bundle_of(&data, "r1");
    for name in ["own", "stranger"] {
        std::fs::write(folder.path().join(format!("{name}.tar.gz")), &unsigned).unwrap();
    }
    server.serve("1", &unsigned);
    until(|| status(admin)["message"] == "the bundle is not signed, and keys are configured");
    server.serve("2", &signed("stranger", &stranger));
    until(|| status(admin)["message"] == "the signature does not verify");
    assert_eq!(called(&gate), 503);
    server.serve("3", &signed("own", &key));
    until(|| status(admin)["active_revision"] == "r1");
    assert_eq!(called(&gate), 200);
    assert!(
        server.asked()[0].contains("prefer: modes=snapshot\r\n"),
        "deltas cannot be signed"
    );
}

#[test]
fn a_watched_file_is_read_again_without_a_signal() {
    let gate = Gate::start_changed(|_, text| text.replacen("    policy:\n", "    policy:\n      watch: 500ms\n", 1));
    assert_eq!(called(&gate), 200);
    let data = policy::sample_data(gate.issuer.url());
    let none_for_alice = data.replace("acc-1001", "acc-0000");
    std::fs::write(gate.path("data.json"), "{").unwrap();
    until(|| gate.log().contains("reload refused"));
    assert_eq!(called(&gate), 200);
    std::fs::write(gate.path("data.json"), none_for_alice).unwrap();
    until(|| called(&gate) == 403);
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What a command says, and how it ends.
fn said(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// A P-256 key in PEM and the JWK Set of its public half, both with kid `k1`, as files.
fn key_pair(folder: &Path, name: &str) -> (String, String) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let (key, jwks) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.jwks")));
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    let point = pair.der_bytes().to_vec();
    let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
    let jwk = json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "k1", "x": x, "y": y});
    std::fs::write(&jwks, json!({"keys": [jwk]}).to_string()).unwrap();
    [key, jwks].map(|path| path.to_str().unwrap().to_owned()).into()
}

#[test]
fn the_commands_build_sign_verify_and_check() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir_all(at("policy/below")).unwrap();
    for (name, text) in files("{}") {
        std::fs::write(at(&format!("policy/{name}")), text).unwrap();
    }
    std::fs::write(at("policy/below/data.json"), r#"{"x": 1}"#).unwrap();
    std::fs::write(at("policy/secret.txt"), "not for a bundle").unwrap();
    let build = |name: &str, revision: &str| {
        said(&[
            "policy",
            "build",
            &at("policy"),
            "-o",
            &at(name),
            "--revision",
            revision,
        ])
    };
    let (code, text) = build("a.tar.gz", "r1");
    assert_eq!(code, 0, "{text}");
    build("b.tar.gz", "r1");
    let bytes = std::fs::read(at("a.tar.gz")).unwrap();
    assert_eq!(bytes, std::fs::read(at("b.tar.gz")).unwrap(), "the same each time");

    let (key, jwks) = key_pair(folder.path(), "own");
    let (_, other) = key_pair(folder.path(), "other");
    let verify = |bundle: &str, keys: &str| said(&["policy", "verify", "--keys", keys, &at(bundle)]);
    assert_eq!(verify("a.tar.gz", &jwks).0, 3, "it is not signed");
    let sign = |algorithm: &str| {
        said(&[
            "policy",
            "sign",
            "--key",
            &key,
            "--algorithm",
            algorithm,
            "--key-id",
            "k1",
            &at("a.tar.gz"),
        ])
    };
    let (code, text) = sign("EdDSA");
    assert_eq!(code, 3);
    assert!(text.contains("signs with ES256, not with EdDSA"), "{text}");
    assert_eq!(sign("ES256").0, 0);
    let (code, text) = verify("a.tar.gz", &jwks);
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("ok: revision `r1`, digest "), "{text}");
    let (code, text) = verify("a.tar.gz", &other);
    assert_eq!(code, 3);
    assert!(text.contains("the signature does not verify"), "{text}");
    let scoped = said(&["policy", "verify", "--keys", &jwks, "--scope", "write", &at("a.tar.gz")]);
    assert_eq!(scoped.0, 3, "{}", scoped.1);

    for path in ["policy", "a.tar.gz"] {
        let (code, text) = said(&["policy", "check", &at(path)]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("ok: revision "), "{text}");
    }
    std::fs::write(
        at("policy/request.rego"),
        "package portcullis.request\n\ndecision := \n",
    )
    .unwrap();
    let (code, text) = said(&["policy", "check", &at("policy")]);
    assert_eq!(code, 3);
    assert!(text.contains("request.rego:"), "{text}");
    let (code, text) = build("c.tar.gz", "r2");
    assert_eq!(code, 3, "{text}");
    assert!(!folder.path().join("c.tar.gz").exists());
}
