//! Bundles that take turns a thousand times a second while calls are judged (fault B7): each record is of one of the two,
//! whole. `PORTCULLIS_RELOADS` asks for more turns than the thousand of every run.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_core::Rate;
use portcullis_core::audit::{self, AuditLog, AuditSettings, FileSegments, FileStorage};
use portcullis_core::bundle::{self, BundleLimits, Content, Signatures};
use portcullis_core::catalog::{Catalog, OnChange};
use portcullis_core::config::{Credentials, Endpoint, ForwardHeaders, Limits, Server, ServerParts, Upstream};
use portcullis_core::denial::DenyStyle;
use portcullis_core::gate::{Gate, GateKeys, GateParts, Scratch, Snapshot, Step};
use portcullis_core::head::RequestHead;
use portcullis_core::identity::MachineIdentities;
use portcullis_core::jwks::{JwksLimits, KeySet};
use portcullis_core::policy::{Policy, PolicySource};
use portcullis_core::scope::{PromptTable, ResourceTable, ScopeRow, ToolTable};
use portcullis_core::session::{EndpointId, SessionKeys};
use portcullis_core::time::{Ticks, UnixTime};
use portcullis_core::token::{Issuer, IssuerParts, SenderRules};
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::Value;

const ISSUER: &str = "https://login.example";
const RESOURCE: &str = "https://gate.example/crm";
const TOOL: &str = "salesforce.opportunity.read";
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const CALLERS: usize = 2;
const RELOADS: u64 = 1_000;

/// A decision that names the data it was made by, twice: once by the rule, once by what it allows.
const REQUEST: &str = "package portcullis.request

decision := {\"allow\": data.turn.open, \"rule\": data.turn.name, \"reason\": \"\"}
";
const RESPONSE: &str = "package portcullis.response

decision := {\"allow\": true, \"rule\": \"r\", \"reason\": \"\"}
";

struct NoTicks;

impl Ticks for NoTicks {
    fn now_ns(&self) -> u64 {
        0
    }
}

fn tools() -> ToolTable {
    let row = ScopeRow {
        scopes: vec!["salesforce:read".to_owned()],
        class: None,
    };
    ToolTable::new(BTreeMap::from([(TOOL.to_owned(), row)]), &BTreeMap::new(), false).unwrap()
}

/// The policy of a bundle, as it comes from the network.
fn policy(name: &str, open: bool) -> Arc<Policy> {
    let data = format!(r#"{{"turn": {{"name": "{name}", "open": {open}}}}}"#);
    let files = [
        ("request.rego", REQUEST),
        ("response.rego", RESPONSE),
        ("data.json", data.as_str()),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    let limits = BundleLimits::default();
    let bytes = bundle::build(files, Some(name), &limits).unwrap();
    let Content::Snapshot(bundle) = bundle::read(&bytes, &limits, Signatures::Absent).unwrap() else {
        panic!("a delta");
    };
    let source = PolicySource {
        tools_json: tools().to_json(),
        ..bundle.source()
    };
    Arc::new(Policy::compile(&source, CALLERS).unwrap())
}

fn server(issuer: &Arc<Issuer>, policy: &Arc<Policy>) -> Arc<Server> {
    let parts = ServerParts {
        name: Arc::from("crm"),
        tenant: None,
        path: Arc::from("/crm"),
        resource: Arc::from(RESOURCE),
        audiences: Vec::new(),
        issuer_audiences: BTreeMap::new(),
        hosts: Vec::new(),
        origins: Vec::new(),
        issuers: vec![Arc::clone(issuer)],
        tools: tools(),
        prompts: PromptTable::default(),
        resources: ResourceTable::default(),
        policy: Arc::clone(policy),
        upstream: Upstream {
            name: Arc::from("crm"),
            endpoints: vec![Endpoint {
                id: EndpointId::ONLY,
                authority: Arc::from("localhost"),
                host: Arc::from("localhost"),
                path: Arc::from("/mcp"),
                tls: false,
                addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000))],
                kept: None,
            }],
            credentials: Credentials::default(),
            shares_sessions: false,
            forward_headers: ForwardHeaders::default(),
        },
        rate: Rate {
            per_second: 1_000_000,
            burst: 1_000_000,
        },
        query_names: Vec::new(),
        danger_shared_secret: None,
        sender: SenderRules::default(),
        title: None,
        machines: MachineIdentities::default(),
        deny_style: DenyStyle::Http,
        tools_on_change: OnChange::Report,
    };
    Arc::new(Server::new(parts).unwrap())
}

fn snapshot(server: &Arc<Server>) -> Snapshot {
    let limits = Limits {
        policy_deadline: Duration::from_secs(10),
        ..Limits::default()
    };
    Snapshot::new(vec![Arc::clone(server)], limits, [0; 32]).unwrap()
}

/// One call as it goes, up to its record.
fn call(gate: &Gate, headers: &HeaderMap, body: &Bytes, scratch: &mut Scratch) {
    let head = RequestHead {
        method: &Method::POST,
        path: "/crm",
        query: None,
        host: "gate.example",
        headers,
        client_ip: Ipv4Addr::LOCALHOST.into(),
        certificate: None,
    };
    let mut visit = gate.begin(NOW);
    let Ok(Step::Done(principal)) = visit.authenticate(&head) else {
        panic!("the token was refused");
    };
    // Allowed or refused: both are on record.
    drop(visit.authorize(principal, &head, body.clone(), NOW, scratch));
}

#[expect(clippy::disallowed_methods, reason = "the pace of the reloads is part of the claim")]
fn clock() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the long form is asked for from outside")]
fn reloads() -> u64 {
    let asked = std::env::var("PORTCULLIS_RELOADS").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(RELOADS)
}

#[test]
fn each_record_is_of_one_bundle_while_two_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(folder.path()).unwrap();
    let (audit, writer) = AuditLog::start(Box::new(storage), AuditSettings::default(), NOW).unwrap();
    let issuer = Arc::new(Issuer::new(IssuerParts::strict(Arc::from(ISSUER))).unwrap());
    let policies = [policy("first", true), policy("second", false)];
    let revisions = policies.each_ref().map(|policy| policy.revision().to_owned());
    assert_ne!(revisions[0], revisions[1]);
    let servers = policies.each_ref().map(|policy| server(&issuer, policy));
    let parts = GateParts {
        snapshot: snapshot(&servers[0]),
        audit,
        node: Arc::from("test"),
        keys: GateKeys {
            digests: [1; 32].into(),
            digests_id: Arc::from("test"),
            nonces: [9; 32].into(),
            sessions: SessionKeys::single([7; 32]),
        },
        seed: [2; 16],
        now: NOW,
    };
    let gate = Gate::new(parts, Box::new(NoTicks));
    let bounds = JwksLimits {
        bytes_max: 65_536,
        keys_max: 10,
    };
    let keys = KeySet::parse(keys::jwks(&[keys::es256()]).as_bytes(), &bounds, NOW).unwrap();
    gate.publish_keys(&issuer, &Arc::new(keys));
    gate.publish_catalog(&servers[0], &Arc::new(Catalog::default()));
    let token = TokenBuilder::for_persona(&ALICE, ISSUER, RESOURCE, NOW.secs()).sign(keys::es256());
    let sent = Call::tools_call(Era::Modern, 1, TOOL, r#"{"account_id":"acc-1001"}"#).bearer(&token);
    let mut headers = HeaderMap::new();
    for (name, value) in &sent.headers {
        headers.append(
            HeaderName::try_from(name).unwrap(),
            HeaderValue::try_from(value).unwrap(),
        );
    }
    let body = Bytes::from(sent.body);
    let (ended, calls, reloads) = (AtomicBool::new(false), AtomicU64::new(0), reloads());
    let begun = clock();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|index| {
                let (gate, headers, body, ended, calls) = (&gate, &headers, &body, &ended, &calls);
                scope.spawn(move || {
                    let mut scratch = Scratch::new(index);
                    while !ended.load(Ordering::Relaxed) {
                        call(gate, headers, body, &mut scratch);
                        // The writer keeps up, so that every call has its record.
                        if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(64) {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        for turn in 1..=reloads {
            gate.publish(snapshot(&servers[usize::from(turn % 2 == 1)]));
            while clock() < begun + Duration::from_millis(turn) {
                assert!(callers.iter().all(|caller| !caller.is_finished()), "a caller failed");
                thread::yield_now();
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    let took = begun.elapsed();
    drop(gate);
    writer.seal().unwrap();
    let (mut seen, mut changes, mut last) = ([0_u64; 2], 0_u64, 0);
    for record in audit::read(FileSegments::new(folder.path())) {
        let record: Value = serde_json::from_slice(&record.unwrap().json).unwrap();
        // An allow that nobody spends is closed by a record of its own, which repeats no decision.
        if record["phase"] != "request" {
            continue;
        }
        let revision = record["policy_revision"].as_str().unwrap();
        let which = revisions
            .iter()
            .position(|known| known == revision)
            .expect("a third revision");
        let (rule, decision) = [("first", "allow"), ("second", "deny")][which];
        assert_eq!(
            (&record["rule"], &record["decision"]),
            (&rule.into(), &decision.into()),
            "{record}"
        );
        seen[which] += 1;
        changes += u64::from(which != last);
        last = which;
    }
    let calls = calls.into_inner();
    assert!(
        0 < seen[0] && 0 < seen[1] && reloads / 100 < changes,
        "{seen:?}, {changes} changes"
    );
    println!("{reloads} reloads in {took:?} under {calls} calls; records {seen:?}, {changes} changes of revision seen");
}
