//! Tokens of a real authorization server, npm oidc-provider, at the gate: three algorithms, opaque tokens and their
//! revocation, refresh within a session, key rotation under load, tokens bound to a key, and agents for people.
//!
//! Owns what each kind of token must come to. The provider's script and the installed parts are those of the interop
//! test; without node these tests are skipped, unless `CI=true`.

mod exchange;
mod forms;
mod provider;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::dpop::DpopClient;
use portcullis_fixtures::driver::{self, Load};
use portcullis_fixtures::http1::Response;
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::keys::Key;
use serde_json::Value;
use tempfile::TempDir;

use crate::gate::{CREDENTIAL, Gate, HOST, is_allow, until};
use crate::interop::install::Parts;
use provider::{GATEWAY_SECRET, MACHINE, Provider, SCOPE, granted, part};

/// The servers of the gate: path, and the kind of its tokens.
const SERVERS: [(&str, &str); 4] = [
    ("/es/mcp", "ES256"),
    ("/rs/mcp", "RS256"),
    ("/ed/mcp", "EdDSA"),
    ("/opaque/mcp", "opaque"),
];

/// The keys of a provider that never rotates.
const KEYS: [(&str, &str); 3] = [("es-1", "ES256"), ("rs-1", "RS256"), ("ed-1", "EdDSA")];

/// Whoever has the scope may call.
const POLICY: &str = r#"package portcullis

request.decision := {"allow": true, "rule": "all", "reason": "the scope suffices"}

response.decision := {"allow": true, "rule": "all", "reason": "the scope suffices"}
"#;

/// A provider and a gate that trusts it.
struct Stage {
    gate: Gate,
    provider: Provider,
    keys: TempDir,
}

impl Stage {
    /// Starts both; `limits` are further lines of the gate's.
    fn start(parts: &Parts, keys: &[(&str, &str)], limits: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let provider = start(parts, 0, folder.path(), keys);
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("oidc.rego"), POLICY).unwrap();
        std::fs::write(files.path().join("gateway.txt"), GATEWAY_SECRET).unwrap();
        let gate = Gate::start_changed_in(files, |_, text| {
            let upstream = text.lines().find_map(|line| line.strip_prefix("      url: ")).unwrap();
            config(&provider.url, upstream, limits)
        });
        Self {
            gate,
            provider,
            keys: folder,
        }
    }

    /// Calls the server at `path` with a bearer token.
    fn call(&self, path: &str, token: &str) -> Response {
        self.send(path, &echo().bearer(token))
    }

    fn send(&self, path: &str, call: &Call) -> Response {
        self.gate.connect().exchange(&call.to_http(HOST, path)).unwrap()
    }

    /// Checks that a call is let through, and that the upstream sees the gate's credential alone.
    #[track_caller]
    fn accepted(&self, path: &str, token: &str) {
        let before = self.gate.upstream.capture().count();
        let answer = self.call(path, token);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(self.gate.upstream.capture().count(), before + 1);
        let arrived = self.gate.upstream.capture().last().unwrap();
        assert_eq!(arrived.header("authorization"), Some(CREDENTIAL));
        assert!(!arrived.mentions(token), "the upstream saw the token");
    }

    /// Checks that a call is refused as `reason` says, and that the upstream sees nothing.
    #[track_caller]
    fn refused(&self, path: &str, token: &str, reason: &str) {
        let before = (self.gate.upstream.capture().count(), self.refusals(reason));
        let answer = self.call(path, token);
        assert_eq!(answer.status, 401, "{path}: {}", answer.text());
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        let after = (self.gate.upstream.capture().count(), self.refusals(reason));
        assert_eq!(
            after,
            (before.0, before.1 + 1),
            "{path}: what arrived, and refusals for `{reason}`"
        );
    }

    /// Refusals for this reason in the log.
    fn refusals(&self, reason: &str) -> usize {
        let log = self.gate.log();
        log.lines()
            .filter(|line| line.contains("\"refused: ") && line.contains(&format!("\"{reason}\"")))
            .count()
    }

    /// Ends the gate; gives its records.
    fn finish(mut self) -> Vec<Value> {
        self.gate.terminate();
        assert!(self.gate.wait().success());
        assert!(!self.gate.log().contains("panicked"));
        self.gate.tail()
    }
}

fn start(parts: &Parts, port: u16, folder: &std::path::Path, keys: &[(&str, &str)]) -> Provider {
    let resources = SERVERS.map(|(path, kind)| (resource(path), kind));
    let resources: Vec<(&str, &str)> = resources.iter().map(|(resource, kind)| (&**resource, *kind)).collect();
    Provider::start(parts, port, folder, keys, &resources)
}

fn resource(path: &str) -> String {
    format!("http://{HOST}{path}")
}

fn config(issuer: &str, upstream: &str, limits: &str) -> String {
    let servers: String = SERVERS
        .iter()
        .map(|(path, kind)| {
            format!(
                "  - name: {kind}
    path: {path}
    resource: {}
    issuers: [{issuer}]
    upstream:
      url: {upstream}
      credential: {{header: authorization, value_file: credential.txt}}
    tools: {{rows: {{demo.echo: {{scopes: [\"{SCOPE}\"]}}}}}}
    policy: {{files: [oidc.rego]}}
    rate: {{per_second: 1000000, burst: 1000000}}
",
                resource(path)
            )
        })
        .collect();
    format!(
        "listen:
  - address: 127.0.0.1:0
audit:
  directory: audit
issuers:
  - issuer: {issuer}
    introspection: {{client_id: gateway, client_secret_file: gateway.txt}}
    danger_allow_private_addresses: true
servers:
{servers}limits:
  policy_deadline: 2s
  audit_deadline: 5s
  introspection_deadline: 10s
{limits}"
    )
}

fn echo() -> Call {
    Call::tools_call(Era::Modern, 1, "demo.echo", "{}")
}

#[test]
fn tokens_of_three_algorithms_are_for_their_own_resource() {
    let Some(parts) = Parts::install() else { return };
    let stage = Stage::start(&parts, &KEYS, "");
    let signed = &SERVERS[..3];
    for (path, kind) in signed {
        let token = stage.provider.machine(&resource(path)).access;
        assert_eq!(part(&token, 0)["alg"], *kind);
        assert_eq!(part(&token, 0)["typ"], "at+jwt");
        stage.accepted(path, &token);
        stage.accepted(path, &token);
        for (other, _) in SERVERS.iter().filter(|(other, _)| other != path) {
            stage.refused(other, &token, "token_audience");
        }
        let (input, signature) = token.rsplit_once('.').unwrap();
        let reversed: String = signature.chars().rev().collect();
        let forged = format!("{input}.{}A", &reversed.split_at(reversed.len() - 1).0);
        stage.refused(path, &forged, "token_signature");
    }
    let records = stage.finish();
    let allowed: Vec<&Value> = records.iter().filter(|record| is_allow(record)).collect();
    assert_eq!(allowed.len(), 2 * signed.len());
    for record in allowed {
        assert_eq!(
            (&record["subject"]["id"], &record["client_id"]),
            (&MACHINE.into(), &MACHINE.into()),
            "{record}"
        );
    }
}

#[test]
fn an_opaque_token_serves_until_its_revocation_is_heard() {
    let Some(parts) = Parts::install() else { return };
    let stage = Stage::start(
        &parts,
        &KEYS,
        "  introspection_cached_max: 1s\n  introspection_refused_cached: 1ms\n",
    );
    let path = "/opaque/mcp";
    let tokens = [
        stage.provider.machine(&resource(path)).access,
        stage.provider.login("alice", &resource(path)).access,
    ];
    for (token, subject) in tokens.iter().zip([MACHINE, "alice"]) {
        assert!(!token.contains('.'), "it is no JWT");
        let said = stage.provider.introspect(token);
        assert_eq!(said["active"], true, "{said}");
        // A machine's token has no `sub` here.
        let named = said["sub"].as_str().or_else(|| said["client_id"].as_str());
        assert_eq!(named, Some(subject), "{said}");
        stage.accepted(path, token);
        stage.refused("/es/mcp", token, "token_audience");
    }
    let [revoked, kept] = &tokens;
    stage.provider.revoke(revoked);
    assert_eq!(stage.provider.introspect(revoked)["active"], false);
    until(|| stage.call(path, revoked).status == 401);
    for _ in 0..5 {
        stage.refused(path, revoked, "token_inactive");
        stage.accepted(path, kept);
    }
    stage.refused(path, &format!("{kept}x"), "token_inactive");
    let records = stage.finish();
    let subjects: Vec<&str> = records
        .iter()
        .filter(|record| is_allow(record))
        .map(|record| record["subject"]["id"].as_str().unwrap())
        .collect();
    assert!(
        subjects.contains(&MACHINE) && subjects.contains(&"alice"),
        "{subjects:?}"
    );
}

/// A session of the upstream goes on with the refreshed token: the same person, though another token.
#[test]
fn a_session_goes_on_with_the_refreshed_token() {
    let Some(parts) = Parts::install() else { return };
    let stage = Stage::start(&parts, &KEYS, "");
    let path = "/es/mcp";
    let first = stage.provider.login("alice", &resource(path));
    let opened = stage.send(path, &Call::initialize(1).bearer(&first.access));
    assert_eq!(opened.status, 200, "{}", opened.text());
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let in_session = |token: &str| {
        let call = Call::tools_call(Era::Legacy, 2, "demo.echo", "{}").header("mcp-session-id", &session);
        let answer = stage.send(path, &call.bearer(token));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let arrived = stage.gate.upstream.capture().last().unwrap();
        let upstream = arrived.header("mcp-session-id").unwrap().to_owned();
        assert_ne!(upstream, session, "the client knows it sealed");
        upstream
    };
    let upstream = in_session(&first.access);
    let second = granted(&stage.provider.refresh(&first.refresh, &resource(path)));
    assert_ne!((&second.access, &second.refresh), (&first.access, &first.refresh));
    let (old, new) = (part(&first.access, 1), part(&second.access, 1));
    assert_eq!((&old["sub"], &new["sub"]), (&"alice".into(), &"alice".into()));
    assert_ne!(old["jti"], new["jti"]);
    assert_eq!(in_session(&second.access), upstream);
    assert_eq!(in_session(&second.access), upstream);
    assert_eq!(
        stage.gate.upstream.sessions(),
        1,
        "the session is the one that was opened"
    );
    // A refresh token serves once.
    let again = stage.provider.refresh(&first.refresh, &resource(path));
    assert_eq!(again.status, 400, "{}", again.text());
    assert!(again.text().contains("invalid_grant"), "{}", again.text());

    let records = stage.finish();
    let allowed: Vec<&Value> = records.iter().filter(|record| is_allow(record)).collect();
    assert_eq!(allowed.len(), 4);
    for record in &allowed {
        assert_eq!(record["principal_id"], allowed[0]["principal_id"], "{record}");
        assert_eq!(record["subject"]["id"], "alice", "{record}");
    }
    assert_eq!(allowed[1]["session"], allowed[3]["session"]);
    assert_eq!(allowed[0]["token"]["jti"], old["jti"]);
    assert_eq!(allowed[3]["token"]["jti"], new["jti"]);
}

/// A second instance takes over with another key, then a third without the first one, while calls come all the time.
#[test]
fn keys_rotate_under_load() {
    let Some(parts) = Parts::install() else { return };
    let path = "/es/mcp";
    let limits = "  jwks_refresh: 300ms\n  unknown_kid_interval: 100ms\n  unknown_kid_wait: 10s\n";
    let Stage {
        mut gate,
        provider,
        keys,
    } = Stage::start(&parts, &[("old", "ES256"), ("rs-1", "RS256")], limits);
    let port = provider.port();
    let old = provider.machine(&resource(path)).access;
    assert_eq!(part(&old, 0)["kid"], "old");
    let burst = Burst::new(old.clone());
    thread::scope(|scope| {
        let load = scope.spawn(|| burst.run(&gate, path));
        let ends = Ends(&burst);
        burst.await_rounds(2);
        drop(provider);
        let both = [("new", "ES256"), ("old", "ES256"), ("rs-1", "RS256")];
        let provider = start(&parts, port, keys.path(), &both);
        let new = provider.machine(&resource(path)).access;
        assert_eq!(part(&new, 0)["kid"], "new");
        burst.set(vec![old.clone(), new.clone()]);
        burst.await_rounds(2);

        // From here on the old key's tokens are good no longer.
        burst.set(vec![new.clone()]);
        burst.await_rounds(2);
        drop(provider);
        let provider = start(&parts, port, keys.path(), &[("new", "ES256"), ("rs-1", "RS256")]);
        let further = provider.machine(&resource(path)).access;
        burst.set(vec![new.clone(), further]);
        let call = |token: &str| {
            let call = echo().bearer(token).to_http(HOST, path);
            gate.connect().exchange(&call).unwrap().status
        };
        until(|| call(&old) == 401);
        for _ in 0..50 {
            assert_eq!(
                (call(&old), call(&new)),
                (401, 200),
                "the old key's token, and the new one's"
            );
        }
        burst.await_rounds(2);
        drop(ends);
        let statuses = load.join().unwrap();
        assert_eq!(statuses.keys().copied().collect::<Vec<u16>>(), [200], "{statuses:?}");
        assert!(500 < statuses[&200], "{statuses:?}");
    });
    let arrived = gate.upstream.capture().count();
    gate.terminate();
    assert!(gate.wait().success());
    let records = gate.tail();
    let allowed = records.iter().filter(|record| is_allow(record)).count();
    assert_eq!(allowed as u64, arrived, "each call that arrived was recorded first");
    let refused = records.iter().filter(|record| record["reason"] == "token_key_unknown");
    let refused: u64 = refused.map(|record| record["count"].as_u64().unwrap()).sum();
    assert_eq!(refused, 51);
}

/// A load that goes on until it is told to end, with the tokens of the moment.
struct Burst {
    tokens: Mutex<Vec<String>>,
    rounds: AtomicU64,
    ended: AtomicBool,
}

/// Ends a burst when it goes, also when a check fails: the scope of the load waits for it.
struct Ends<'b>(&'b Burst);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

impl Burst {
    fn new(token: String) -> Self {
        Self {
            tokens: Mutex::new(vec![token]),
            rounds: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }
    }

    fn set(&self, tokens: Vec<String>) {
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// Waits until so many rounds have ended that began later.
    fn await_rounds(&self, rounds: u64) {
        let before = self.rounds.load(Ordering::Relaxed);
        until(|| before + rounds < self.rounds.load(Ordering::Relaxed));
    }

    /// Calls in rounds; gives the statuses of all.
    fn run(&self, gate: &Gate, path: &str) -> BTreeMap<u16, u64> {
        let mut statuses = BTreeMap::new();
        let load = Load {
            address: gate.address(),
            connections: 4,
            requests: 100,
            duration_max: Duration::from_secs(60),
        };
        while !self.ended.load(Ordering::Relaxed) {
            let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let report = driver::run(&load, |number| {
                let turn = usize::try_from(number).unwrap() % tokens.len();
                echo().bearer(&tokens[turn]).to_http(HOST, path)
            });
            assert_eq!(report.errors, 0, "connections broke");
            for (status, count) in report.statuses {
                *statuses.entry(status).or_default() += count;
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
        statuses
    }
}

/// A token that is bound to a key passes with a proof of that key, and in no other way.
#[test]
fn a_bound_token_passes_with_its_proof_alone() {
    let Some(parts) = Parts::install() else { return };
    let stage = Stage::start(&parts, &KEYS, "");
    for path in ["/es/mcp", "/opaque/mcp"] {
        let client = DpopClient::new(Key::new_es256("of the client"));
        let bound = stage.provider.bound(&resource(path), &client);
        assert_eq!(bound.kind, "DPoP");
        let confirmation = match path {
            "/es/mcp" => part(&bound.access, 1),
            _ => stage.provider.introspect(&bound.access),
        };
        assert_eq!(confirmation["cnf"], client.confirmation());
        let proof = |client: &DpopClient, to: &str| client.proof("POST", &resource(to), &bound.access, now_s()).sign();
        let before = stage.gate.upstream.capture().count();
        let first = proof(&client, path);
        let answer = stage.send(path, &echo().dpop(&bound.access, &first));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let arrived = stage.gate.upstream.capture().last().unwrap();
        assert_eq!(
            (arrived.header("authorization"), arrived.header("dpop")),
            (Some(CREDENTIAL), None)
        );
        assert!(!arrived.mentions(&bound.access), "the upstream saw the token");

        stage.refused(path, &bound.access, "token_sender_bound");
        let thief = DpopClient::new(Key::new_es256("of a thief"));
        for (proof, reason) in [
            (first, "dpop_proof_invalid"),
            (proof(&client, "/rs/mcp"), "dpop_proof_invalid"),
            (proof(&thief, path), "token_sender_bound"),
        ] {
            let refusals = stage.refusals(reason);
            let answer = stage.send(path, &echo().dpop(&bound.access, &proof));
            assert_eq!(answer.status, 401, "{path}: {}", answer.text());
            assert_eq!(stage.refusals(reason), refusals + 1, "{path}: {reason}");
        }
        let again = stage.send(path, &echo().dpop(&bound.access, &proof(&client, path)));
        assert_eq!(again.status, 200, "{path}: {}", again.text());
        assert_eq!(stage.gate.upstream.capture().count(), before + 2);
        let plain = stage.provider.machine(&resource(path));
        assert_eq!(plain.kind, "Bearer");
        stage.accepted(path, &plain.access);
    }
    let records = stage.finish();
    let bindings: Vec<&Value> = records
        .iter()
        .filter(|record| is_allow(record))
        .map(|record| &record["token"]["binding"])
        .collect();
    assert_eq!(bindings.len(), 6);
    assert_eq!(
        bindings.iter().filter(|binding| **binding == "dpop").count(),
        4,
        "{bindings:?}"
    );
}
