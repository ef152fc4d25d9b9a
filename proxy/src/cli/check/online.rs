//! `portcullis check --online`: what the configuration needs, asked whether it is there.
//!
//! Owns the questions to upstreams: whether each endpoint takes the gate's connections, and whether it serves a stranger.
//! Whoever reaches an upstream that serves strangers goes past the gate. The questions carry neither a credential nor a
//! token, and call no tool; each is bounded in time and bytes.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::{HeaderName, HeaderValue};
use portcullis_core::config::Endpoint;
use serde_json::{Value, json};

use super::super::Exit;
use super::super::jwks::probe::{self, Probe};
use crate::config::{Config, Diagnostic, ServerPlan, Warning};
use crate::egress::SESSION;
use crate::upstream::Upstreams;
use crate::upstream::endpoint::EndpointState;
use crate::upstream::probe::{Question, Told};

/// What one question takes at most, connection included.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A question of a client, by the method and the revision that it stands for.
struct Asking {
    method: &'static str,
    version: &'static str,
    body: &'static str,
}

/// Questions that only tell: of both eras, and no tool is called.
const QUESTIONS: [Asking; 3] = [
    Asking {
        method: "server/discover",
        version: MODERN,
        body: r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"portcullis-check","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#,
    },
    Asking {
        method: "tools/list",
        version: MODERN,
        body: r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"portcullis-check","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#,
    },
    Asking {
        method: "initialize",
        version: LEGACY,
        body: r#"{"jsonrpc":"2.0","id":3,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"portcullis-check","version":"1"}}}"#,
    },
];

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

/// What was asked, and what came of it.
pub(super) struct Asked {
    issuers: Vec<Probe>,
    endpoints: Vec<AskedEndpoint>,
}

/// One endpoint of one server.
struct AskedEndpoint {
    server: String,
    url: String,
    took: Duration,
    /// Why it takes no connection of the gate's.
    unreachable: Option<String>,
    /// What a stranger was told, by question.
    strangers: Vec<(&'static Asking, Result<Told, String>)>,
}

/// Asks everything that the configuration names, and adds a warning for each server that serves strangers. Blocks; call it
/// outside any async runtime.
///
/// # Errors
/// When nothing could be asked at all.
pub(super) fn ask(config: &mut Config, path: &Path) -> anyhow::Result<Asked> {
    let mut issuers = Vec::with_capacity(config.issuers.len());
    for plan in &config.issuers {
        issuers.push(probe::fetch(plan, &config.limits)?);
    }
    let upstreams = Upstreams::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut endpoints = Vec::new();
    let mut warnings = Vec::new();
    let source = std::fs::read_to_string(path).context("the configuration cannot be read again")?;
    for plan in &config.servers {
        let asked: Vec<AskedEndpoint> = plan
            .upstream()
            .endpoints
            .iter()
            .map(|endpoint| runtime.block_on(ask_endpoint(&upstreams, plan, endpoint)))
            .collect();
        warnings.extend(warning(plan, &asked, path, &source));
        endpoints.extend(asked);
    }
    config.warnings.extend(warnings);
    Ok(Asked { issuers, endpoints })
}

/// The warning about a server, if one of its endpoints serves strangers.
fn warning(plan: &ServerPlan, asked: &[AskedEndpoint], path: &Path, source: &str) -> Option<Diagnostic> {
    let open = asked.iter().find(|endpoint| endpoint.serves_strangers())?;
    let methods: Vec<&str> = open.served().map(|asking| asking.method).collect();
    let message = format!(
        "`{}` serves `{}` without the gate's credential: whoever reaches the upstream of server `{}` goes past the gate",
        open.url,
        methods.join("`, `"),
        plan.name()
    );
    let warning = Diagnostic::warning(Warning::UpstreamOpen, path, plan.upstream_place(), message);
    let help = "let it ask for a credential or a client certificate of the gate's, or let nobody but the gate reach it";
    Some(warning.excerpt_of(source).help(help))
}

async fn ask_endpoint(upstreams: &Upstreams, plan: &ServerPlan, endpoint: &Endpoint) -> AskedEndpoint {
    let scheme = if endpoint.tls { "https" } else { "http" };
    let started = Instant::now();
    let path = EndpointState::of(endpoint)
        .and_then(|state| state.check.as_ref())
        .and_then(|check| check.path.as_deref());
    let reached = tokio::time::timeout(ANSWER_DEADLINE, upstreams.check(endpoint, path)).await;
    let reached = reached.unwrap_or_else(|_| Err(String::from("it did not answer in time")));
    let mut asked = AskedEndpoint {
        server: plan.name().to_owned(),
        url: format!("{scheme}://{}{}", endpoint.authority, endpoint.path),
        took: started.elapsed(),
        unreachable: reached.err(),
        strangers: Vec::new(),
    };
    if asked.unreachable.is_some() {
        return asked;
    }
    for asking in &QUESTIONS {
        let told = upstreams.ask(endpoint, &asking.question(), ANSWER_DEADLINE).await;
        if let Ok(Told {
            session: Some(session), ..
        }) = &told
        {
            // What was opened is closed again; whether that works is the upstream's matter.
            let _ = upstreams.ask(endpoint, &goodbye(session), ANSWER_DEADLINE).await;
        }
        asked.strangers.push((asking, told));
    }
    asked
}

impl Asking {
    fn question(&self) -> Question<'static> {
        let mut headers = vec![version(self.version)];
        if self.version == MODERN {
            let method = HeaderName::from_static("mcp-method");
            headers.push((method, HeaderValue::from_static(self.method)));
        }
        Question {
            method: "POST",
            headers,
            body: self.body,
        }
    }
}

/// The end of a session.
fn goodbye(session: &HeaderValue) -> Question<'static> {
    Question {
        method: "DELETE",
        headers: vec![version(LEGACY), (SESSION, session.clone())],
        body: "",
    }
}

fn version(version: &'static str) -> (HeaderName, HeaderValue) {
    let name = HeaderName::from_static("mcp-protocol-version");
    (name, HeaderValue::from_static(version))
}

impl AskedEndpoint {
    fn served(&self) -> impl Iterator<Item = &'static Asking> {
        let strangers = self.strangers.iter();
        strangers.filter_map(|(asking, told)| told.as_ref().is_ok_and(|told| told.serves).then_some(*asking))
    }

    fn serves_strangers(&self) -> bool {
        self.served().next().is_some()
    }

    fn pretty(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "upstream {} of server `{}`", self.url, self.server)?;
        let took = self.took.as_millis();
        match &self.unreachable {
            Some(reason) => writeln!(text, "  it cannot be reached: {reason}, {took} ms")?,
            None => writeln!(text, "  it takes connections of the gate, {took} ms")?,
        }
        for (Asking { method, version, .. }, told) in &self.strangers {
            match told {
                Ok(told) => {
                    let verdict = if told.serves { "served" } else { "not served" };
                    let status = told.status;
                    writeln!(
                        text,
                        "  {method} ({version}) without a credential: status {status}; {verdict}"
                    )?;
                }
                Err(reason) => writeln!(
                    text,
                    "  {method} ({version}) without a credential: {reason}; not served"
                )?,
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let strangers = self.strangers.iter().map(|(asking, told)| {
            json!({
                "method": asking.method, "version": asking.version,
                "status": told.as_ref().ok().map(|told| told.status),
                "served": told.as_ref().is_ok_and(|told| told.serves),
                "error": told.as_ref().err(),
            })
        });
        json!({
            "server": self.server, "url": self.url, "reachable": self.unreachable.is_none(),
            "error": self.unreachable, "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "without_credential": strangers.collect::<Vec<_>>(),
        })
    }
}

impl Asked {
    /// The exit status: what can never work is worse than what cannot be reached now.
    pub(super) fn exit(&self) -> Exit {
        let unreachable = self.endpoints.iter().any(|endpoint| endpoint.unreachable.is_some());
        let exits = self.issuers.iter().map(Probe::exit);
        exits.fold(
            if unreachable { Exit::Unavailable } else { Exit::Ok },
            |worst, own| match (worst, own) {
                (Exit::Invalid, _) | (_, Exit::Ok) => worst,
                (_, own) => own,
            },
        )
    }

    /// What was asked, a line each.
    pub(super) fn pretty(&self) -> String {
        let mut text: String = self.issuers.iter().map(Probe::pretty).collect();
        for endpoint in &self.endpoints {
            // A string takes everything.
            let _ = endpoint.pretty(&mut text);
        }
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "issuers": self.issuers.iter().map(Probe::json).collect::<Vec<_>>(),
            "upstreams": self.endpoints.iter().map(AskedEndpoint::json).collect::<Vec<_>>(),
        })
    }
}
