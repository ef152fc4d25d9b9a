//! One request through the core, as another proxy would embed it: `cargo run -p portcullis-core --example embed`.
//!
//! Everything that does I/O stands here: the clock, the randomness, the upstream. The core decides and records.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_core::Rate;
use portcullis_core::audit::{AuditLog, AuditSettings, FileStorage};
use portcullis_core::catalog::Catalog;
use portcullis_core::config::{Credentials, Endpoint, ForwardHeaders, Limits, Server, ServerParts, Upstream};
use portcullis_core::gate::{Answer, Gate, GateKeys, GateParts, Release, Scratch, Snapshot, Step};
use portcullis_core::head::RequestHead;
use portcullis_core::identity::MachineIdentities;
use portcullis_core::jwks::{JwksLimits, KeySet};
use portcullis_core::policy::{Policy, PolicySource, SourceFile};
use portcullis_core::scope::{PromptTable, ResourceTable, ScopeRow, ToolTable};
use portcullis_core::session::{EndpointId, SessionKeys};
use portcullis_core::time::{Ticks, UnixTime};
use portcullis_core::token::{Issuer, IssuerParts, SenderRules};
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::token::TokenBuilder;
use portcullis_fixtures::{keys, policy};

const ISSUER: &str = "https://login.example";
const RESOURCE: &str = "https://gate.example/crm";
const TOOL: &str = "salesforce.opportunity.read";

struct Monotonic(Instant);

impl Ticks for Monotonic {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock is the embedder's")]
fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_secs(since.as_secs())
}

#[expect(clippy::disallowed_methods, reason = "the clock is the embedder's")]
fn ticks() -> Box<dyn Ticks> {
    Box::new(Monotonic(Instant::now()))
}

fn server(issuer: &Arc<Issuer>) -> Result<Server, Box<dyn Error>> {
    let row = ScopeRow {
        scopes: vec!["salesforce:read".to_owned()],
        class: None,
    };
    let tools = ToolTable::new(BTreeMap::from([(TOOL.to_owned(), row)]), &BTreeMap::new(), false)?;
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
    Ok(Server::new(ServerParts {
        name: Arc::from("crm"),
        tenant: None,
        path: Arc::from("/crm"),
        resource: Arc::from(RESOURCE),
        audiences: Vec::new(),
        issuer_audiences: BTreeMap::new(),
        hosts: Vec::new(),
        origins: Vec::new(),
        issuers: vec![Arc::clone(issuer)],
        tools,
        prompts: PromptTable::default(),
        resources: ResourceTable::default(),
        policy: Arc::new(Policy::compile(&source, 1)?),
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
            shares_sessions: false,
            credentials: Credentials::default(),
            forward_headers: ForwardHeaders::default(),
        },
        rate: Rate {
            per_second: 50,
            burst: 100,
        },
        query_names: Vec::new(),
        danger_shared_secret: None,
        sender: SenderRules::default(),
        title: None,
        machines: MachineIdentities::default(),
        deny_style: portcullis_core::denial::DenyStyle::Http,
        tools_on_change: portcullis_core::catalog::OnChange::Report,
    })?)
}

fn main() -> Result<(), Box<dyn Error>> {
    // Cold: configuration, log, keys.
    let folder = tempfile::tempdir()?;
    let storage = FileStorage::open(folder.path())?;
    let issuer = Arc::new(Issuer::new(IssuerParts::strict(Arc::from(ISSUER)))?);
    let (audit, writer) = AuditLog::start(Box::new(storage), AuditSettings::default(), now())?;
    // The first evaluation of a policy is slow in a debug build.
    let limits = Limits {
        policy_deadline: Duration::from_secs(1),
        ..Limits::default()
    };
    let parts = GateParts {
        snapshot: Snapshot::new(vec![Arc::new(server(&issuer)?)], limits, [0; 32])?,
        audit,
        node: Arc::from("example"),
        // Both come from the system's randomness in earnest; the key stays the same over restarts.
        keys: GateKeys {
            digests: [1; 32].into(),
            digests_id: Arc::from("example"),
            nonces: [9; 32].into(),
            sessions: SessionKeys::single([7; 32]),
        },
        seed: [2; 16],
        now: now(),
    };
    let gate = Gate::new(parts, ticks());
    let bounds = JwksLimits {
        bytes_max: 64 * 1024,
        keys_max: 10,
    };
    let keys = KeySet::parse(keys::jwks(&[keys::es256()]).as_bytes(), &bounds, now())?;
    gate.publish_keys(&issuer, &Arc::new(keys));
    // In earnest a `catalog::Listing` gives the upstream's own; without one, tools are judged by their names alone.
    for server in gate.snapshot().servers() {
        gate.publish_catalog(server, &Arc::new(Catalog::default()));
    }

    // Hot: one request, as the HTTP server has read it.
    let token = TokenBuilder::for_persona(&ALICE, ISSUER, RESOURCE, now().secs()).sign(keys::es256());
    let call = Call::tools_call(Era::Modern, 1, TOOL, r#"{"account_id":"acc-1001"}"#).bearer(&token);
    let mut headers = HeaderMap::new();
    for (name, value) in &call.headers {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    let head = RequestHead {
        method: &Method::POST,
        path: "/crm",
        query: None,
        host: "gate.example",
        headers: &headers,
        client_ip: Ipv4Addr::LOCALHOST.into(),
        certificate: None,
    };
    let mut scratch = Scratch::new(0);
    let mut visit = gate.begin(now());
    let Ok(Step::Done(principal)) = visit.authenticate(&head) else {
        return Err("the token was refused, or keys are missing".into());
    };
    let recorded = visit
        .authorize(principal, &head, Bytes::from(call.body), now(), &mut scratch)
        .map_err(|denial| denial.operator)?;
    gate.durable().wait(recorded.position(), Duration::from_secs(1));
    let permit = recorded.permit(gate.durable()).map_err(|_| "not recorded in time")?;
    let (forward, mut ticket) = permit.spend();
    println!(
        "forward {} bytes to one of {} endpoints",
        forward.body.len(),
        forward.upstream().endpoints.len()
    );

    // What the upstream would answer.
    let contact = r#"{\"account_id\":\"acc-1001\",\"contact\":{\"email\":\"jo@example.com\"}}"#;
    let structured = r#"{"account_id":"acc-1001","contact":{"email":"jo@example.com"}}"#;
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":"{contact}"}}],"structuredContent":{structured}}}}}"#
    );
    let answer = Answer::Json {
        status: 200,
        body: Bytes::from(answer),
    };
    let reviewed = ticket
        .review(answer, now(), &mut scratch)
        .map_err(|denial| denial.operator)?;
    gate.durable().wait(reviewed.position(), Duration::from_secs(1));
    match reviewed.release(gate.durable()).map_err(|_| "not recorded in time")? {
        Release::Redacted { body, .. } => println!("release {}", String::from_utf8_lossy(&body)),
        other => return Err(format!("nothing was redacted: {other:?}").into()),
    }
    drop(ticket);
    drop(gate);
    writer.seal()?;
    Ok(())
}
