//! `portcullis token verify`: every check that the gate makes of a token for one server, and what would pass.
//!
//! Owns the form of the answer. The checks are the core's, keys come from a file or as the gate fetches them. Judges the
//! token alone: identity, rate, scopes and policy come after it.

use std::path::Path;
use std::sync::Arc;

use portcullis_core::config::Server;
use portcullis_core::denial::Denial;
use portcullis_core::jwks::{KeyReport, KeySet};
use portcullis_core::time::UnixTime;
use portcullis_core::token::IssuerKeys;
use portcullis_core::token::explain::{Check, Explanation, Outcome, explain};
use serde_json::json;

use super::super::input::{KeyFile, one_token};
use super::super::jwks::{probe, write_out};
use super::super::{Exit, Format, check};
use super::VerifyArguments;
use super::cure::{Cure, would_pass};
use crate::clock;
use crate::config::{self, Config, Names};

/// Where the keys of the judgement come from.
#[derive(Default)]
struct Keys {
    set: Option<Arc<KeySet>>,
    reports: Vec<KeyReport>,
    /// The status when they could not be had.
    failure: Option<Exit>,
}

/// Judges the token on standard input.
pub(super) fn verify(arguments: &VerifyArguments, path: &Path) -> anyhow::Result<Exit> {
    let config = match config::load(path, Names::Skip, 1) {
        Ok(config) => config,
        Err(diagnostics) => {
            eprint!("{}", diagnostics.pretty());
            return Ok(check::exit_of(&diagnostics));
        }
    };
    let Some(server) = server(&config, arguments.server.as_deref())? else {
        return Ok(Exit::Invalid);
    };
    let token = one_token(config.limits.token_bytes_max)?;
    if token.is_empty() {
        eprintln!("portcullis: there is no token on standard input");
        return Ok(Exit::Invalid);
    }
    let limits = config.limits.token_limits();
    let now = arguments.at.unwrap_or_else(clock::now);
    let judge = |keys: Option<&Arc<KeySet>>| explain(&token, &accepted(&server, keys), now, &limits);
    // Without keys first: what fails before them needs none, and what comes to them has named its issuer.
    let mut explanation = judge(None);
    let mut keys = Keys::default();
    if let Some((Check::Keys, _)) = explanation.refusal {
        keys = match &arguments.jwks {
            Some(path) => from_file(path, &config, now),
            None => from_issuer(explanation.issuer.as_deref(), &config, now)?,
        };
        if keys.set.is_some() {
            explanation = judge(keys.set.as_ref());
        }
    }
    let cure = explanation.refusal.as_ref().map(|(check, denial)| {
        let cure = Cure {
            server: &server,
            issuer: explanation.issuer.as_deref(),
            limits: &limits,
            keys: &keys.reports,
            now,
        };
        would_pass(&cure, *check, denial, &token)
    });
    write_out(&match arguments.format {
        Format::Pretty => pretty(&explanation, cure.as_deref()),
        Format::Json => as_json(&explanation, cure.as_deref(), &server),
    })?;
    Ok(match (&explanation.refusal, keys.failure) {
        (None, _) => Exit::Ok,
        (Some((Check::Keys, _)), Some(failure)) => failure,
        (Some(_), _) => Exit::Refused,
    })
}

/// The server of this name, or the only one; `None` after a line that says what there is.
fn server(config: &Config, name: Option<&str>) -> anyhow::Result<Option<Server>> {
    let plan = match (name, config.servers.as_slice()) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(name), plans) => plans.iter().find(|plan| plan.name() == name),
    };
    let Some(plan) = plan else {
        let names: Vec<&str> = config.servers.iter().map(config::ServerPlan::name).collect();
        eprintln!(
            "portcullis: name one of the servers with --server: {}",
            names.join(", ")
        );
        return Ok(None);
    };
    Ok(Some(plan.build()?))
}

/// The server's issuers, each with these keys: only the one that the token names is asked for them.
fn accepted(server: &Server, keys: Option<&Arc<KeySet>>) -> Vec<IssuerKeys> {
    let issuers = server.issuers().iter();
    issuers
        .map(|issuer| IssuerKeys {
            issuer: Arc::clone(issuer),
            keys: keys.cloned(),
            audiences: Arc::clone(server.audiences(issuer)),
        })
        .collect()
}

fn from_file(path: &Path, config: &Config, now: UnixTime) -> Keys {
    let read = KeyFile::read(path, &config.limits).and_then(|file| {
        file.complaints()
            .for_each(|complaint| eprintln!("portcullis: {complaint}"));
        let set = file.key_set(path, &config.limits, now)?;
        Ok((set, file.reports))
    });
    match read {
        Ok((set, reports)) => Keys {
            set: Some(Arc::new(set)),
            reports,
            failure: None,
        },
        Err(error) => {
            eprintln!("portcullis: {error}");
            Keys {
                failure: Some(Exit::Invalid),
                ..Keys::default()
            }
        }
    }
}

/// Fetches the keys as the gate would; they count as fetched at the time of the judgement.
fn from_issuer(issuer: Option<&str>, config: &Config, now: UnixTime) -> anyhow::Result<Keys> {
    let Some(plan) = config.issuers.iter().find(|plan| Some(&*plan.url) == issuer) else {
        return Ok(Keys::default());
    };
    let probe = probe::fetch(plan, &config.limits)?;
    let set = probe.keys_at(&config.limits, now);
    if set.is_none() {
        eprint!("portcullis: the issuer's keys could not be had\n{}", probe.steps());
    }
    Ok(Keys {
        failure: set.is_none().then(|| probe.exit()),
        set: set.map(Arc::new),
        reports: probe.reports,
    })
}

fn pretty(explanation: &Explanation, cure: Option<&str>) -> String {
    let mut text = String::new();
    for check in Check::ALL {
        let (mark, told) = match explanation.outcome(check) {
            Outcome::Failed => ("FAILED", refusal(explanation).map_or("", |denial| denial.operator)),
            Outcome::NotReached => ("-", "not reached"),
            Outcome::Passed => ("ok", passed(check)),
        };
        text.push_str(&format!("{mark:6}  {:10}  {told}\n", check.name()));
    }
    match (refusal(explanation), cure) {
        (Some(denial), cure) => {
            text.push_str(&format!("refused: {}\n", denial.reason.code()));
            text.extend(cure.map(|cure| format!("would pass: {cure}\n")));
        }
        (None, _) => text.push_str("verified; identity, rate, scopes and policy are judged per call\n"),
    }
    if explanation.asked {
        text.push_str("note: the gate also asks the issuer whether the token is active; this command does not\n");
    }
    text
}

fn as_json(explanation: &Explanation, cure: Option<&str>, server: &Server) -> String {
    let checks = Check::ALL.map(|check| {
        let outcome = match explanation.outcome(check) {
            Outcome::Failed => "failed",
            Outcome::NotReached => "not_reached",
            Outcome::Passed => "passed",
        };
        json!({"check": check.name(), "outcome": outcome})
    });
    let refusal = refusal(explanation);
    let failed = explanation.refusal.as_ref().map(|(check, _)| check.name());
    let answer = json!({
        "ok": refusal.is_none(), "server": server.name(), "issuer": explanation.issuer,
        "reason": refusal.map(|denial| denial.reason.code()), "detail": refusal.map(|denial| denial.operator),
        "failed": failed, "would_pass": cure, "issuer_is_asked": explanation.asked, "checks": checks,
    });
    format!("{answer}\n")
}

fn refusal(explanation: &Explanation) -> Option<&Denial> {
    explanation.refusal.as_ref().map(|(_, denial)| denial)
}

/// What a check that passed has shown.
const fn passed(check: Check) -> &'static str {
    match check {
        Check::Credential => "it is one bearer token",
        Check::Size => "it is not too long",
        Check::Form => "it is a compact JWS in strict form",
        Check::Header => "the header is strict JSON with a known algorithm",
        Check::Json => "the claims are strict JSON",
        Check::Issuer => "the issuer is one of the server's",
        Check::Algorithm => "the issuer's tokens may have this algorithm",
        Check::Type => "it is an access token",
        Check::Keys => "the issuer's keys are there",
        Check::Key => "one of them is the token's",
        Check::Signature => "the signature stands",
        Check::Claims => "every claim has its type",
        Check::Times => "it is valid at this time, and not for too long",
        Check::Audience => "it is for this server",
    }
}
