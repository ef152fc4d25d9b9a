//! The parts that a bench sets up: one issuer, one server with the sample policy, requests and answers.
//!
//! Owns their fixed inputs. Never reads a clock: time begins at [`NOW`] and ticks by counting, so that two runs do the
//! same.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_core::Rate;
use portcullis_core::catalog::OnChange;
use portcullis_core::config::{Endpoint, Limits, Server, ServerParts, Upstream};
use portcullis_core::head::RequestHead;
use portcullis_core::jwks::{JwksLimits, KeySet};
use portcullis_core::policy::{Policy, PolicySource, SourceFile};
use portcullis_core::scope::{ScopeRow, ToolTable};
use portcullis_core::session::EndpointId;
use portcullis_core::time::{Ticks, UnixTime};
use portcullis_core::token::{Issuer, IssuerParts};
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::policy;
use serde_json::{Value, json};

use crate::material::{Material, row_of};

/// When every bench begins, in seconds since the epoch.
pub const NOW_S: u64 = 1_800_000_000;
/// When every bench begins.
pub const NOW: UnixTime = UnixTime::from_secs(NOW_S);
/// The issuer of all tokens.
pub const ISSUER: &str = "https://login.example";
/// The resource that they are for.
pub const RESOURCE: &str = "https://gate.example/crm";
/// The scope that they carry.
pub const SCOPE: &str = "salesforce:read";
/// The tool that is called; its answers have three redactions, in each of their two forms.
pub const TOOL: &str = "salesforce.opportunity.read";
/// The size of a usual call.
pub const CALL_BYTES: usize = 350;

/// Ticks that advance by one at each look: the clock is the embedder's, and its digits would stand in the records.
#[derive(Debug, Default)]
pub struct Steps(AtomicU64);

impl Ticks for Steps {
    fn now_ns(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The default limits, with a policy deadline that valgrind can keep, and a cache of this many tokens.
pub fn limits(tokens_cached_max: usize) -> Limits {
    Limits {
        policy_deadline: Duration::from_secs(60),
        tokens_cached_max,
        ..Limits::default()
    }
}

/// The issuer, by the strictest rules.
///
/// # Errors
/// None that a fixed issuer could meet.
pub fn issuer() -> Result<Arc<Issuer>, Box<dyn Error>> {
    Ok(Arc::new(Issuer::new(IssuerParts::strict(Arc::from(ISSUER)))?))
}

/// The issuer's keys, fetched just now.
///
/// # Errors
/// When the material's key set is none.
pub fn key_set(material: &Material) -> Result<Arc<KeySet>, Box<dyn Error>> {
    let bounds = JwksLimits {
        bytes_max: 64 * 1024,
        keys_max: 10,
    };
    Ok(Arc::new(KeySet::parse(material.jwks.as_bytes(), &bounds, NOW)?))
}

/// The sample policy over `subjects` subjects, as its author would hand it over.
///
/// # Errors
/// When the tool table is none.
pub fn policy_source(subjects: usize) -> Result<PolicySource, Box<dyn Error>> {
    let file = |name: &str, text: &str| SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    Ok(PolicySource {
        modules: vec![
            file(policy::REQUEST_FILE, policy::REQUEST_REGO),
            file(policy::RESPONSE_FILE, policy::RESPONSE_REGO),
        ],
        data: vec![file(policy::DATA_FILE, &policy::sample_data_of(ISSUER, subjects))],
        tools_json: tool_table()?.to_json(),
        ..PolicySource::default()
    })
}

/// The CRM server with the sample policy over `subjects` subjects, of whose answers `memo_entries` are remembered.
///
/// # Errors
/// When the policy does not compile.
pub fn server(issuer: &Arc<Issuer>, subjects: usize, memo_entries: usize) -> Result<Arc<Server>, Box<dyn Error>> {
    let tools = tool_table()?;
    let policy = Policy::compile(&policy_source(subjects)?, 1)?.with_memo_entries(memo_entries);
    let endpoint = Endpoint {
        id: EndpointId::ONLY,
        authority: Arc::from("localhost"),
        host: Arc::from("localhost"),
        path: Arc::from("/mcp"),
        tls: false,
        addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000))],
        kept: None,
    };
    let parts = ServerParts {
        // One call is worth a nanosecond, and each call comes a microsecond later than the one before it.
        rate: Rate {
            per_second: 1_000_000_000,
            burst: 1_000_000_000,
        },
        tools_on_change: OnChange::Report,
        ..ServerParts::strict(
            "crm",
            "/crm",
            RESOURCE,
            vec![Arc::clone(issuer)],
            tools,
            Arc::new(policy),
            Upstream::of_one("crm", endpoint),
        )
    };
    Ok(Arc::new(Server::new(parts)?))
}

fn tool_table() -> Result<ToolTable, Box<dyn Error>> {
    let table: Value = serde_json::from_str(policy::CRM_TOOLS)?;
    let mut rows = BTreeMap::new();
    for (tool, row) in table.get("rows").and_then(Value::as_object).into_iter().flatten() {
        let member = |name: &str| row.get(name).cloned().unwrap_or_default();
        let row = ScopeRow {
            scopes: serde_json::from_value(member("scopes"))?,
            class: serde_json::from_value(member("class"))?,
        };
        rows.insert(tool.clone(), row);
    }
    Ok(ToolTable::new(rows, &BTreeMap::new(), false)?)
}

/// Whose account a call names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Account {
    /// One that the policy lets nobody but another read.
    Foreign,
    /// The caller's own.
    Own,
}

/// One request as the embedder would show it, and the upstream's answer to it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The fields of the head.
    pub headers: HeaderMap,
    /// The call.
    pub body: Bytes,
    /// What the upstream would answer.
    pub answer: Bytes,
}

impl Request {
    /// The call of [`TOOL`] by caller `number` among `subjects` rows with this token, `bytes` long.
    ///
    /// # Errors
    /// When the call does not fit into so few bytes.
    pub fn new(
        number: usize,
        subjects: usize,
        token: &str,
        account: Account,
        bytes: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let row = row_of(number, subjects);
        let account = match account {
            Account::Foreign => "acc-2001".to_owned(),
            Account::Own => format!("acc-{row}-1"),
        };
        let call = call_of(&account, bytes)?.bearer(token);
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        Ok(Self {
            headers,
            body: Bytes::from(call.body),
            answer: answer_about(&account),
        })
    }

    /// The request's head.
    pub fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &Method::POST,
            path: "/crm",
            query: None,
            host: "gate.example",
            headers: &self.headers,
            client_ip: Ipv4Addr::LOCALHOST.into(),
            certificate: None,
        }
    }
}

/// A call of exactly `bytes`: arguments with as many fields as fit, and a note that fills the rest.
fn call_of(account: &str, bytes: usize) -> Result<Call, Box<dyn Error>> {
    let with = |fields: usize, note: usize| {
        let fields: Vec<Value> = (0..fields)
            .map(|number| json!({ "name": format!("field-{number:02}"), "at_most": number, "exact": number % 2 == 0 }))
            .collect();
        let mut arguments = json!({ "account_id": account, "note": "n".repeat(note) });
        if let Some(members) = arguments.as_object_mut().filter(|_| !fields.is_empty()) {
            members.insert("fields".to_owned(), Value::from(fields));
        }
        Call::tools_call(Era::Modern, 1, TOOL, &arguments.to_string())
    };
    let fields = (1..100)
        .take_while(|fields| with(*fields, 0).body.len() <= bytes)
        .count();
    let bare = with(fields, 0).body.len();
    let note = bytes
        .checked_sub(bare)
        .ok_or("the call does not fit into so few bytes")?;
    Ok(with(fields, note))
}

/// The CRM's answer about `account`: e-mail and phone are masked by the request's decision, the note is dropped by the
/// answer's.
fn answer_about(account: &str) -> Bytes {
    let found = json!({
        "account_id": account,
        "name": "Renewal of the licences of Example Corporation",
        "stage": "negotiation",
        "amount": 48_000,
        "currency": "EUR",
        "contact": { "name": "Jo Example", "email": "jo@corporation.example", "phone": "+49 30 000000" },
        "internal_note": "asked for a discount twice",
    });
    let answer = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "result": {
            "content": [{ "type": "text", "text": found.to_string() }],
            "structuredContent": found,
        },
    });
    Bytes::from(answer.to_string())
}
