//! Look-ups of keys against publications of key sets, with real threads on a whole gate.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use portcullis_core::Algorithm;
use portcullis_core::audit::{AuditLog, AuditSettings, FileStorage};
use portcullis_core::config::{Endpoint, Limits, Server, ServerParts, Upstream};
use portcullis_core::gate::{Gate, GateKeys, GateParts, Snapshot};
use portcullis_core::jwks::{JwksLimits, KeySet};
use portcullis_core::policy::{Policy, PolicySource, SourceFile};
use portcullis_core::scope::{ScopeRow, ToolTable};
use portcullis_core::session::{EndpointId, SessionKeys};
use portcullis_core::time::{Ticks, UnixTime};
use portcullis_core::token::{Issuer, IssuerParts, raw};
use portcullis_fixtures::keys::{self, Algorithm as Signing, Key};
use portcullis_fixtures::policy;
use portcullis_fixtures::token::compact;

const ISSUER: &str = "https://login.example";
/// Look-ups at least, all readers together.
const LOOK_UPS: usize = 1_000_000;
const PUBLISHES: usize = 10_000;
const PER_PUBLISH: usize = LOOK_UPS / PUBLISHES;
const READERS: usize = 3;
/// Key sets that take turns; all have the same two `kid`s.
const SETS: usize = 16;
/// One look-up in so many also verifies signatures.
const VERIFIED_EVERY: usize = 1_000;

struct NoTicks;

impl Ticks for NoTicks {
    fn now_ns(&self) -> u64 {
        0
    }
}

/// A key set, and one token under each of its keys.
struct Set {
    keys: Arc<KeySet>,
    tokens: [String; 2],
}

impl Set {
    /// The set is "fetched" at second `number`, by which it is known again.
    fn new(number: u64) -> Self {
        let pair = [Key::new_ed25519("first"), Key::new_ed25519("second")];
        let limits = JwksLimits {
            bytes_max: 65_536,
            keys_max: 2,
        };
        let jwks = keys::jwks(&[&pair[0], &pair[1]]);
        let token = |key: &Key| {
            let header = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, key.kid());
            compact(&header, "x", key, Signing::EdDsa)
        };
        Self {
            keys: Arc::new(KeySet::parse(jwks.as_bytes(), &limits, UnixTime::from_secs(number)).unwrap()),
            tokens: [token(&pair[0]), token(&pair[1])],
        }
    }
}

fn server(issuer: &Arc<Issuer>) -> Server {
    let row = ScopeRow {
        scopes: vec!["salesforce:read".to_owned()],
        class: None,
    };
    let rows = BTreeMap::from([("crm.read".to_owned(), row)]);
    let tools = ToolTable::new(rows, &BTreeMap::new(), false).unwrap();
    let file = |name: &str, text: &str| SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let source = PolicySource {
        modules: vec![
            file(policy::REQUEST_FILE, policy::REQUEST_REGO),
            file(policy::RESPONSE_FILE, policy::RESPONSE_REGO),
        ],
        data: vec![file(policy::DATA_FILE, &policy::sample_data(ISSUER))],
        tools_json: tools.to_json(),
        ..PolicySource::default()
    };
    let endpoint = Endpoint {
        id: EndpointId::ONLY,
        authority: Arc::from("localhost"),
        host: Arc::from("localhost"),
        path: Arc::from("/mcp"),
        tls: false,
        addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000))],
        kept: None,
    };
    Server::new(ServerParts::strict(
        "crm",
        "/crm",
        "https://gate.example/crm",
        vec![Arc::clone(issuer)],
        tools,
        Arc::new(Policy::compile(&source, 1).unwrap()),
        Upstream::of_one("crm", endpoint),
    ))
    .unwrap()
}

/// Checks one look-up: the set is one of ours, whole; every so often by what its keys verify and what they do not.
fn check(sets: &[Set], seen: &KeySet, thoroughly: bool) -> usize {
    let number = usize::try_from(seen.fetched_at().secs()).unwrap();
    let set = &sets[number];
    assert!(
        seen.generation() == set.keys.generation() && seen.len() == 2,
        "the set is of two publications"
    );
    if thoroughly {
        for token in &set.tokens {
            assert!(raw::verify(token, seen, &Algorithm::ALL).is_ok());
        }
        let other = &sets[(number + 1) % sets.len()].tokens[1];
        assert!(raw::verify(other, seen, &Algorithm::ALL).is_err());
    }
    number
}

#[test]
fn a_million_look_ups_see_whole_key_sets_while_ten_thousand_are_published() {
    let sets: Vec<Set> = (0..SETS).map(|number| Set::new(number as u64)).collect();
    let folder = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(folder.path()).unwrap();
    let start = UnixTime::from_secs(1_800_000_000);
    let (audit, writer) = AuditLog::start(Box::new(storage), AuditSettings::default(), start).unwrap();
    let issuer = Arc::new(Issuer::new(IssuerParts::strict(Arc::from(ISSUER))).unwrap());
    let parts = GateParts {
        snapshot: Snapshot::new(vec![Arc::new(server(&issuer))], Limits::default(), [0; 32]).unwrap(),
        audit,
        node: Arc::from("test"),
        keys: GateKeys {
            digests: [1; 32].into(),
            digests_id: Arc::from("test"),
            nonces: [9; 32].into(),
            sessions: SessionKeys::single([7; 32]),
        },
        seed: [2; 16],
        now: start,
    };
    let gate = Gate::new(parts, Box::new(NoTicks));
    gate.publish_keys(&issuer, &sets[0].keys);
    let (published, looked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let seen: Vec<(usize, usize)> = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                scope.spawn(|| {
                    let (mut last, mut changes, mut looks) = (0, 0, 0);
                    while looked.load(Ordering::Relaxed) < LOOK_UPS {
                        let snapshot = gate.snapshot();
                        let keys = snapshot.keys(&issuer).expect("keys never go away");
                        let number = check(&sets, keys, looks % VERIFIED_EVERY == 0);
                        changes += usize::from(number != last);
                        last = number;
                        looks += 1;
                        let ahead = looked.fetch_add(1, Ordering::Relaxed);
                        // Nor do the look-ups run away from the publications: both sides work at the same time.
                        while published.load(Ordering::Relaxed) < (ahead / PER_PUBLISH).saturating_sub(2) {
                            thread::yield_now();
                        }
                    }
                    (looks, changes)
                })
            })
            .collect();
        for turn in 1..=PUBLISHES {
            gate.publish_keys(&issuer, &sets[turn % SETS].keys);
            published.store(turn, Ordering::Relaxed);
            // The publications spread over all the look-ups, so that most of those meet a set that changes.
            while looked.load(Ordering::Relaxed) < turn * PER_PUBLISH {
                assert!(readers.iter().all(|reader| !reader.is_finished()), "a reader failed");
                thread::yield_now();
            }
        }
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    writer.seal().unwrap();
    let looks: usize = seen.iter().map(|(looks, _)| looks).sum();
    assert!(LOOK_UPS <= looks, "{looks} look-ups");
    let changes: usize = seen.iter().map(|(_, changes)| changes).sum();
    assert!(PUBLISHES / 10 < changes, "the readers saw only {changes} changes");
    println!("{looks} look-ups, {PUBLISHES} publications, {changes} changes seen by {READERS} readers");
}
