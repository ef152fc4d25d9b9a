//! A gate over a log in memory, with the sample policy, one issuer and one server: what the tests of the gate act on.
//!
//! Owns [`Stage`] and [`Request`]. The log's writer moves only when a test says so, and time is a constant.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys::{self, Key};
use portcullis_fixtures::persona::{ALICE, Persona};
use portcullis_fixtures::policy as sample;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::Value;

use super::super::*;
use crate::audit::memory::MemoryStorage;
use crate::audit::{self, AuditSettings, Writer};
use crate::catalog::OnChange;
use crate::config::{CredentialKind, Credentials, Endpoint, Server, ServerParts, Upstream, UpstreamCredential};
use crate::head::{ClientCertificate, RequestHead};
use crate::identity::{MachineIdentities, Principal};
use crate::jwks::JwksLimits;
use crate::limit::Rate;
use crate::policy::{Policy, PolicySource, SourceFile};
use crate::scope::{ScopeRow, ToolTable};
use crate::session::{EndpointId, Keeper};
use crate::token::{Issuer, IssuerParts, SenderRules};

pub(super) const NOW_S: u64 = 1_800_000_000;
pub(super) const NOW: UnixTime = UnixTime::from_secs(NOW_S);
pub(super) const ISSUER: &str = "https://issuer.example";
pub(super) const TENANT: &str = "acme";
pub(super) const RESOURCE: &str = "https://gate.example/crm";
pub(super) const READ: &str = "salesforce.opportunity.read";
/// What an upstream answers to `initialize`.
pub(super) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"crm","version":"1"}}}"#;
/// An argument of Alice's that the sample policy allows.
pub(super) const OWN_ACCOUNT: &str = r#"{"account_id": "acc-1001"}"#;

/// Ticks that advance by one microsecond at each look, so that a time tells how often the clock was read.
#[derive(Debug, Default)]
struct Steps(AtomicU64);

impl Ticks for Steps {
    fn now_ns(&self) -> u64 {
        self.0.fetch_add(1_000, Ordering::Relaxed)
    }
}

/// What a stage is set up with.
pub(super) struct Setup {
    pub(super) policy: PolicySource,
    pub(super) limits: Limits,
    pub(super) audit: AuditSettings,
    pub(super) rate: Rate,
    /// Whether the issuer's keys are there from the start.
    pub(super) keys: bool,
    /// What the server asks of senders.
    pub(super) sender: SenderRules,
    /// The machines that the server knows.
    pub(super) machines: MachineIdentities,
    /// What its upstream is shown.
    pub(super) credentials: Credentials,
    /// What a changed definition of a tool means.
    pub(super) tools_on_change: OnChange,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            policy: sample_policy(),
            limits: Limits {
                // Wall time, and the machine that tests is busy; the deadline has its own tests.
                policy_deadline: Duration::from_secs(10),
                ..Limits::default()
            },
            audit: AuditSettings::default(),
            rate: Rate {
                per_second: 1_000,
                burst: 1_000,
            },
            keys: true,
            sender: SenderRules::default(),
            machines: MachineIdentities::default(),
            credentials: Credentials::new(Some(secret("crm-secret", "the-upstream-secret")), Vec::new()).unwrap(),
            tools_on_change: OnChange::Report,
        }
    }
}

/// The sample policy over the tool table of the CRM.
pub(super) fn sample_policy() -> PolicySource {
    let file = |name: &str, text: String| SourceFile {
        name: name.to_owned(),
        text,
    };
    PolicySource {
        modules: vec![
            file(sample::REQUEST_FILE, sample::REQUEST_REGO.to_owned()),
            file(sample::RESPONSE_FILE, sample::RESPONSE_REGO.to_owned()),
        ],
        data: vec![file(sample::DATA_FILE, sample::sample_data_in(TENANT, ISSUER))],
        tools_json: tools().to_json(),
        ..PolicySource::default()
    }
}

/// A policy of these two modules, without data.
pub(super) fn policy_of(request: &str, response: &str) -> PolicySource {
    let module = |package: &str, rules: &str| SourceFile {
        name: format!("{package}.rego"),
        text: format!("package portcullis.{package}\n\n{rules}\n"),
    };
    PolicySource {
        modules: vec![module("request", request), module("response", response)],
        data: Vec::new(),
        tools_json: tools().to_json(),
        ..PolicySource::default()
    }
}

/// A rule that allows everything.
pub(super) const ALLOW: &str = r#"decision := {"allow": true, "rule": "all", "reason": "whatever it is"}"#;

fn tools() -> ToolTable {
    let table: Value = serde_json::from_str(sample::CRM_TOOLS).unwrap();
    let row = |row: &Value| ScopeRow {
        scopes: serde_json::from_value(row["scopes"].clone()).unwrap(),
        class: row["class"].as_str().map(str::to_owned),
    };
    let rows = table["rows"].as_object().unwrap();
    let rows = rows.iter().map(|(tool, found)| (tool.clone(), row(found))).collect();
    ToolTable::new(rows, &BTreeMap::new(), false).unwrap()
}

pub(super) fn issuer(url: &str) -> Arc<Issuer> {
    Arc::new(Issuer::new(IssuerParts::strict(Arc::from(url))).unwrap())
}

pub(super) fn server(name: &str, policy: &PolicySource, rate: Rate, issuers: Vec<Arc<Issuer>>) -> Arc<Server> {
    Arc::new(Server::new(server_parts(name, policy, rate, issuers)).unwrap())
}

/// A secret of the gate's own in `x-api-key`.
pub(super) fn secret(label: &str, value: &str) -> UpstreamCredential {
    UpstreamCredential {
        label: Arc::from(label),
        header: HeaderName::from_static("x-api-key"),
        kind: CredentialKind::Static {
            value: String::from(value).into(),
            danger_shared_identity: false,
        },
    }
}

pub(super) fn server_parts(name: &str, policy: &PolicySource, rate: Rate, issuers: Vec<Arc<Issuer>>) -> ServerParts {
    let endpoint = Endpoint {
        id: EndpointId::ONLY,
        authority: Arc::from("upstream.example"),
        host: Arc::from("upstream.example"),
        path: Arc::from("/mcp"),
        tls: true,
        addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 443))],
        kept: None,
    };
    ServerParts {
        tenant: Some(Arc::from(TENANT)),
        origins: vec![Arc::from("https://app.example")],
        rate,
        tools_on_change: OnChange::Report,
        ..ServerParts::strict(
            name,
            &format!("/{name}"),
            &format!("https://gate.example/{name}"),
            issuers,
            tools(),
            Arc::new(Policy::compile(policy, 1).unwrap()),
            Upstream::of_one("crm-upstream", endpoint),
        )
    }
}

/// The only address of the only endpoint.
pub(super) const KEEPER: Keeper = Keeper {
    endpoint: EndpointId::ONLY,
    address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 443),
};

/// A snapshot of one server, `crm`.
pub(super) fn snapshot(setup: &Setup) -> Snapshot {
    let parts = server_parts("crm", &setup.policy, setup.rate, vec![issuer(ISSUER)]);
    let parts = ServerParts {
        sender: setup.sender,
        machines: setup.machines.clone(),
        tools_on_change: setup.tools_on_change,
        upstream: Upstream {
            credentials: setup.credentials.clone(),
            ..parts.upstream
        },
        ..parts
    };
    let server = Arc::new(Server::new(parts).unwrap());
    Snapshot::new(vec![server], setup.limits.clone(), [7; 32]).unwrap()
}

/// The key set of these keys, fetched at `fetched_at`.
pub(super) fn key_set(listed: &[&Key], fetched_at: UnixTime) -> Arc<KeySet> {
    let limits = JwksLimits {
        bytes_max: 64 * 1024,
        keys_max: 10,
    };
    Arc::new(KeySet::parse(keys::jwks(listed).as_bytes(), &limits, fetched_at).unwrap())
}

/// Publishes that every server's upstream was listed, and lists by caller.
pub(super) fn list_all(gate: &Gate) {
    for server in gate.snapshot().servers() {
        gate.publish_catalog(server, &Arc::default());
    }
}

/// A gate, its log and the scratch of its one thread.
pub(super) struct Stage {
    pub(super) gate: Gate,
    storage: MemoryStorage,
    writer: RefCell<Writer>,
    scratch: RefCell<Scratch>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(Setup::default())
    }

    /// A stage whose policy is of these two modules.
    pub(super) fn deciding(request: &str, response: &str) -> Self {
        Self::with(Setup {
            policy: policy_of(request, response),
            ..Setup::default()
        })
    }

    pub(super) fn with(setup: Setup) -> Self {
        let stage = Self::unlisted_with(setup);
        list_all(&stage.gate);
        stage
    }

    /// A stage whose upstream was not listed yet.
    pub(super) fn unlisted() -> Self {
        Self::unlisted_with(Setup::default())
    }

    fn unlisted_with(setup: Setup) -> Self {
        let storage = MemoryStorage::default();
        let (audit, writer) = AuditLog::open(Box::new(storage.clone()), setup.audit, NOW).unwrap();
        let parts = GateParts {
            snapshot: snapshot(&setup),
            audit,
            node: Arc::from("node-1"),
            keys: GateKeys {
                digests: [3; 32].into(),
                digests_id: Arc::from("0a1b2c3d"),
                nonces: [9; 32].into(),
                sessions: SessionKeys::single([7; 32]),
            },
            seed: [5; 16],
            now: NOW,
        };
        let gate = Gate::new(parts, Box::new(Steps::default()));
        if setup.keys {
            gate.publish_keys(&issuer(ISSUER), &key_set(&[keys::es256()], NOW));
        }
        Self {
            gate,
            storage,
            writer: RefCell::new(writer),
            scratch: RefCell::new(Scratch::new(0)),
        }
    }

    /// Stages 2 to 4.
    pub(super) fn arrive(&self, request: &Request) -> Result<Step<Principal>, Denial> {
        self.gate.begin(NOW).authenticate(&request.head())
    }

    /// Stages 2 to 9, without the writer.
    pub(super) fn record(&self, request: &Request) -> Result<Recorded<'_>, Denial> {
        self.record_at(request, NOW)
    }

    /// The same at another time.
    pub(super) fn record_at(&self, request: &Request, now: UnixTime) -> Result<Recorded<'_>, Denial> {
        let mut visit = self.gate.begin(now);
        let Step::Done(principal) = visit.authenticate(&request.head())? else {
            panic!("the keys are there");
        };
        visit.authorize(
            principal,
            &request.head(),
            request.body.clone(),
            now,
            &mut self.scratch.borrow_mut(),
        )
    }

    /// Stages 2 to 10.
    pub(super) fn forward(&self, request: &Request) -> Result<(Forward, Ticket<'_>), Denial> {
        self.forward_at(request, NOW)
    }

    /// The same at another time.
    pub(super) fn forward_at(&self, request: &Request, now: UnixTime) -> Result<(Forward, Ticket<'_>), Denial> {
        let recorded = self.record_at(request, now)?;
        self.write();
        Ok(recorded.permit(self.gate.durable()).unwrap().spend())
    }

    /// The ticket of Alice's call of [`READ`].
    pub(super) fn ticket(&self) -> Ticket<'_> {
        self.forward(&Request::read()).unwrap().1
    }

    /// Stages 11 to 14 of one answer.
    pub(super) fn review(&self, ticket: &mut Ticket<'_>, answer: Answer) -> Release {
        self.review_at(ticket, answer, NOW)
    }

    /// The same at another time.
    pub(super) fn review_at(&self, ticket: &mut Ticket<'_>, answer: Answer, now: UnixTime) -> Release {
        let reviewed = ticket.review(answer, now, &mut self.scratch.borrow_mut()).unwrap();
        self.released(reviewed)
    }

    /// The session that a persona gets from `initialize` when the upstream names it so.
    pub(super) fn session(&self, persona: &Persona, upstream: &str) -> String {
        let (_, mut ticket) = self.forward(&Request::by(persona, &Call::initialize(1))).unwrap();
        ticket.upstream_session(KEEPER, upstream.as_bytes());
        self.review(&mut ticket, json(200, INITIALIZED));
        ticket.session_for_client().unwrap().to_str().unwrap().to_owned()
    }

    /// What the log refuses of the review of one answer.
    pub(super) fn review_unrecorded(&self, ticket: &mut Ticket<'_>, answer: Answer) -> Denial {
        ticket.review(answer, NOW, &mut self.scratch.borrow_mut()).unwrap_err()
    }

    /// The release of a review, which must wait for the writer.
    pub(super) fn released(&self, reviewed: Reviewed<'_>) -> Release {
        let reviewed = reviewed.release(self.gate.durable()).unwrap_err();
        self.write();
        reviewed.release(self.gate.durable()).unwrap()
    }

    /// Lets the writer write everything.
    pub(super) fn write(&self) {
        while let audit::Step::Wrote(_) = self.writer.borrow_mut().step() {}
    }

    /// Everything in the log, as it stands there.
    pub(super) fn log(&self) -> Vec<String> {
        self.write();
        audit::read(self.storage.clone())
            .map(|stored| String::from_utf8(stored.unwrap().json).unwrap())
            .collect()
    }

    /// Every record.
    pub(super) fn records(&self) -> Vec<Value> {
        self.log()
            .iter()
            .map(|json| serde_json::from_str(json).unwrap())
            .collect()
    }

    /// The newest record.
    pub(super) fn last(&self) -> Value {
        self.records().pop().expect("there is a record")
    }
}

/// A request as the embedder would show it.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) query: Option<&'static str>,
    pub(super) host: &'static str,
    pub(super) headers: HeaderMap,
    pub(super) client_ip: IpAddr,
    pub(super) certificate: Option<ClientCertificate>,
    pub(super) body: Bytes,
}

impl Request {
    /// `call` with this bearer token.
    pub(super) fn with_token(call: &Call, token: &str) -> Self {
        let mut request = Self {
            method: Method::POST,
            path: "/crm",
            query: None,
            host: "gate.example",
            headers: HeaderMap::new(),
            client_ip: IpAddr::from([192, 0, 2, 1]),
            certificate: None,
            body: Bytes::from(call.body.clone()),
        };
        for (name, value) in &call.headers {
            request.add(name, value);
        }
        request.add("authorization", &format!("Bearer {token}"));
        request
    }

    /// `call` by a persona.
    pub(super) fn by(persona: &Persona, call: &Call) -> Self {
        Self::with_token(call, &token(persona).sign(keys::es256()))
    }

    /// Alice reads one of her accounts, in the legacy era.
    pub(super) fn read() -> Self {
        Self::by(&ALICE, &read_call(Era::Legacy))
    }

    /// Adds a field, a second one when it is there.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let name = HeaderName::try_from(name).unwrap();
        self.headers.append(name, HeaderValue::try_from(value).unwrap());
    }

    /// Exchanges a field.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.headers.remove(name);
        self.add(name, value);
    }

    pub(super) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            path: self.path,
            query: self.query,
            host: self.host,
            headers: &self.headers,
            client_ip: self.client_ip,
            certificate: self.certificate.as_ref(),
        }
    }
}

/// A persona's token, not yet signed.
pub(super) fn token(persona: &Persona) -> TokenBuilder {
    TokenBuilder::for_persona(persona, ISSUER, RESOURCE, NOW_S)
}

/// The call that Alice may make.
pub(super) fn read_call(era: Era) -> Call {
    Call::tools_call(era, 1, READ, OWN_ACCOUNT)
}

/// A JSON answer with this status.
pub(super) fn json(status: u16, body: &str) -> Answer {
    Answer::Json {
        status,
        body: Bytes::from(body.to_owned()),
    }
}

/// One message of a stream.
pub(super) fn message(data: &str) -> Answer {
    Answer::Message {
        data: Bytes::from(data.to_owned()),
    }
}

/// The bytes that leave.
pub(super) fn body_of(release: &Release) -> &str {
    match release {
        Release::Pass { body, .. } | Release::Redacted { body, .. } => std::str::from_utf8(body).unwrap(),
        other => panic!("{other:?} has no body"),
    }
}

/// The reason for which nothing leaves.
pub(super) fn withheld(release: &Release) -> DenyReason {
    match release {
        Release::Withheld(denial) => denial.reason,
        other => panic!("{other:?} is not withheld"),
    }
}
