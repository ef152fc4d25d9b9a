//! `portcullis jwks probe`: an issuer's metadata and keys, fetched by the gate's own parts.
//!
//! Owns [`Probe`], the trace of one round of fetches. Which places are asked, and which answers are taken, is the
//! core's; redirects, addresses and bounds are the fetcher's. Sends no credential and keeps nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use portcullis_core::config::Limits;
use portcullis_core::jwks::refresh::{FetchError, FetchKind, KeySource, RefreshError, Refresher};
use portcullis_core::jwks::{KeyReport, KeySet};
use portcullis_core::time::UnixTime;
use portcullis_core::token::{Issuer, IssuerParts};
use serde_json::{Value, json};

use super::super::input::bounds;
use super::super::{Exit, Format, check};
use super::{as_json, table, usable, write_out};
use crate::background::fetch::Fetcher;
use crate::background::jwks::settings;
use crate::clock;
use crate::config::{self, IssuerPlan, Names};
use crate::telemetry::{self, Level};

#[derive(Debug, Args)]
pub(in crate::cli) struct ProbeArguments {
    /// The issuer's identifier, exactly as tokens name it; with a configuration, one of its issuers, or all when left out.
    #[arg(value_name = "ISSUER", required_unless_present = "config")]
    issuer: Option<String>,
    /// A configuration: its issuers are asked by its rules.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
    /// Log the fetches to stderr, with the cause of a failed connection at `debug`.
    #[arg(long, value_name = "LEVEL")]
    log: Option<Level>,
}

/// One fetch.
#[derive(Debug)]
struct Attempt {
    url: Arc<str>,
    kind: FetchKind,
    took: Duration,
    status: Option<u16>,
    bytes: usize,
    max_age_s: Option<u64>,
    /// Why its answer was not taken.
    error: Option<RefreshError>,
}

/// One round of fetches, and what it brought.
#[derive(Debug)]
pub(in crate::cli) struct Probe {
    issuer: Arc<str>,
    attempts: Vec<Attempt>,
    /// The usable keys.
    keys: Option<Arc<KeySet>>,
    /// The document with the set that was fetched last.
    document: Vec<u8>,
    /// Every key of it.
    pub(in crate::cli) reports: Vec<KeyReport>,
    /// The scopes that the issuer says it grants (RFC 8414 section 2, `scopes_supported`), which it need not say.
    pub(in crate::cli) scopes: Option<BTreeSet<String>>,
}

/// Probes the issuers and shows what came.
pub(super) fn probe(arguments: &ProbeArguments) -> anyhow::Result<Exit> {
    if let Some(level) = arguments.log {
        telemetry::start(level);
    }
    let (plans, limits) = match &arguments.config {
        Some(path) => match config::load(path, Names::Skip, 1) {
            Ok(config) => (config.issuers, config.limits),
            Err(diagnostics) => {
                eprint!("{}", diagnostics.pretty());
                return Ok(check::exit_of(&diagnostics));
            }
        },
        None => match plan(arguments.issuer.as_deref().unwrap_or_default()) {
            Ok(plan) => (vec![plan], Limits::default()),
            Err(error) => {
                eprintln!("portcullis: {error}");
                return Ok(Exit::Invalid);
            }
        },
    };
    let asked = |plan: &&IssuerPlan| arguments.issuer.as_deref().is_none_or(|named| *plan.url == *named);
    let plans: Vec<&IssuerPlan> = plans.iter().filter(asked).collect();
    if plans.is_empty() {
        eprintln!("portcullis: the configuration has no such issuer");
        return Ok(Exit::Invalid);
    }
    let mut exit = Exit::Ok;
    for plan in plans {
        let probe = fetch(plan, &limits)?;
        write_out(&match arguments.format {
            Format::Pretty => probe.pretty(),
            Format::Json => format!("{}\n", probe.json()),
        })?;
        exit = match (exit, probe.exit()) {
            (Exit::Ok, own) => own,
            // What cannot be used is worse than what cannot be reached now.
            (Exit::Unavailable, Exit::Invalid) => Exit::Invalid,
            (worse, _) => worse,
        };
    }
    Ok(exit)
}

/// An issuer without a configuration, by the strictest rules.
fn plan(url: &str) -> Result<IssuerPlan, portcullis_core::token::IssuerError> {
    let url: Arc<str> = Arc::from(url);
    Ok(IssuerPlan {
        issuer: Arc::new(Issuer::new(IssuerParts::strict(Arc::clone(&url)))?),
        url,
        jwks_uri: None,
        ca_pem: None,
        introspection: None,
        danger_allow_private_addresses: false,
    })
}

/// Fetches once what the gate would fetch when it starts. Blocks until that came or failed; call it outside any async
/// runtime.
///
/// # Errors
/// When the issuer could never be asked.
pub(in crate::cli) fn fetch(plan: &IssuerPlan, limits: &Limits) -> anyhow::Result<Probe> {
    let source = match &plan.jwks_uri {
        Some(uri) => KeySource::Uri(Arc::clone(uri)),
        None => KeySource::Discover,
    };
    let mut refresher = Refresher::new(Arc::clone(&plan.url), source, settings(limits))?;
    let fetcher = Fetcher::new(plan, 0).context("the issuer's certificate authorities cannot be used")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut probe = Probe {
        issuer: Arc::clone(&plan.url),
        attempts: Vec::new(),
        keys: None,
        document: Vec::new(),
        reports: Vec::new(),
        scopes: None,
    };
    // A round ends with keys, or when the refresher would wait before it tries again.
    while let Some(request) = probe
        .keys
        .is_none()
        .then(|| refresher.poll_fetch(clock::now()))
        .flatten()
    {
        let started = Instant::now();
        let result = runtime.block_on(fetcher.get(&request));
        let mut attempt = Attempt {
            url: request.url,
            kind: request.kind,
            took: started.elapsed(),
            status: None,
            bytes: 0,
            max_age_s: None,
            error: None,
        };
        let mut scopes = None;
        if let Ok(fetched) = &result {
            attempt.status = Some(fetched.status);
            attempt.bytes = fetched.body.len();
            attempt.max_age_s = fetched.cache_max_age_s;
            if attempt.kind == FetchKind::KeySet && fetched.status == 200 {
                probe.document.clone_from(&fetched.body);
                probe.reports = KeySet::report(&fetched.body, &bounds(limits)).unwrap_or_default();
            }
            if attempt.kind == FetchKind::Metadata && fetched.status == 200 {
                scopes = scopes_of(&fetched.body);
            }
        }
        match refresher.on_fetched(request.id, result, clock::now()) {
            Some(published) => probe.keys = published.keys,
            None => attempt.error = refresher.last_error(),
        }
        if attempt.error.is_none() && scopes.is_some() {
            probe.scopes = scopes;
        }
        probe.attempts.push(attempt);
    }
    Ok(probe)
}

/// The scopes that metadata lists; `None` unless they are a list of texts.
fn scopes_of(metadata: &[u8]) -> Option<BTreeSet<String>> {
    let metadata: Value = serde_json::from_slice(metadata).ok()?;
    let listed = metadata.get("scopes_supported")?.as_array()?.iter();
    listed.map(|scope| scope.as_str().map(str::to_owned)).collect()
}

impl Probe {
    /// What the round says of the issuer: keys, nothing reached, or nothing usable.
    pub(in crate::cli) fn exit(&self) -> Exit {
        let unreached = |attempt: &Attempt| {
            matches!(
                attempt.error,
                Some(RefreshError::Fetch(FetchError::Connection | FetchError::TimedOut))
            )
        };
        match self.keys {
            Some(_) => Exit::Ok,
            // Places without metadata say nothing; one that could not be reached may have it.
            None if self.attempts.iter().any(unreached) => Exit::Unavailable,
            None => Exit::Invalid,
        }
    }

    /// The keys as if they had been fetched at `at`, for a judgement at another time than now.
    pub(in crate::cli) fn keys_at(&self, limits: &Limits, at: UnixTime) -> Option<KeySet> {
        self.keys.as_ref()?;
        KeySet::parse(&self.document, &bounds(limits), at).ok()
    }

    /// The steps, a line each.
    pub(in crate::cli) fn steps(&self) -> String {
        self.attempts
            .iter()
            .map(|attempt| format!("  {}\n", attempt.line()))
            .collect()
    }

    /// The round for people.
    pub(in crate::cli) fn pretty(&self) -> String {
        let mut text = format!("issuer {}\n{}", self.issuer, self.steps());
        if !self.reports.is_empty() {
            text.push_str(&table(&self.reports));
        }
        text.push_str(match self.exit() {
            Exit::Ok => "the gate can use these keys\n",
            Exit::Unavailable => "the issuer cannot be reached\n",
            _ => "the gate cannot use what the issuer serves\n",
        });
        text
    }

    /// The round for programs.
    pub(in crate::cli) fn json(&self) -> Value {
        json!({
            "issuer": self.issuer, "ok": self.keys.is_some(),
            "attempts": self.attempts.iter().map(Attempt::json).collect::<Vec<_>>(),
            "keys": as_json(&self.reports), "usable": usable(&self.reports),
        })
    }
}

impl Attempt {
    fn what(&self) -> &'static str {
        match self.kind {
            FetchKind::KeySet => "key set",
            FetchKind::Metadata => "metadata",
        }
    }

    fn line(&self) -> String {
        let Self {
            url,
            took,
            status,
            bytes,
            ..
        } = self;
        let verdict = match &self.error {
            Some(error) => format!("not taken: {error}"),
            None if self.kind == FetchKind::Metadata => "taken: it names this issuer and a key set".to_owned(),
            None => "taken".to_owned(),
        };
        let status = status.map_or_else(
            || "no answer".to_owned(),
            |status| format!("status {status}, {bytes} bytes"),
        );
        let age = match (self.kind, self.max_age_s) {
            (FetchKind::KeySet, Some(seconds)) => format!(", may be kept {seconds} s"),
            (FetchKind::KeySet, None) if self.status.is_some() => ", names no time to keep it".to_owned(),
            _ => String::new(),
        };
        format!(
            "{} {url}: {status}{age}, {} ms; {verdict}",
            self.what(),
            took.as_millis()
        )
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what(), "url": self.url, "status": self.status, "bytes": self.bytes,
            "max_age_s": self.max_age_s, "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "taken": self.error.is_none(), "error": self.error.map(|error| error.to_string()),
        })
    }
}
