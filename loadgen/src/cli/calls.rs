//! Which calls a load makes: protocol, mix, subjects, tokens, sessions.
//!
//! Owns the way from the command line to a [`Workload`] with open sessions and fresh tokens. Tokens come from a file or
//! from the dev issuer, never from the command line, where other users of the machine could read them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use portcullis_fixtures::issuer::{Issuer, now_s};
use tokio::time::timeout;

use super::Fault;
use super::arguments::{TargetArguments, duration, share};
use crate::connect::Endpoint;
use crate::report::WorkloadSummary;
use crate::workload::mix::Mix;
use crate::workload::tokens::{Alg, Keeper, MintSettings, TokenPool, start_issuer};
use crate::workload::{BODY_BYTES, Calls, EraMix, Workload, WorkloadParts};

/// How long sessions may take to be closed.
const CLOSING_MAX: Duration = Duration::from_secs(5);
/// Sessions that are opened or closed at the same time.
const SESSIONS_AT_ONCE: usize = 16;

/// Which calls a load makes.
#[derive(Clone, Debug, Args)]
pub(super) struct CallArguments {
    /// The protocol: modern is 2026-07-28, legacy 2025-11-25 with sessions, mixed half of each.
    #[arg(long, value_name = "ERA", default_value = "modern", help_heading = "Calls")]
    protocol: Protocol,
    /// A JSON document with the calls and their weights; without it opportunities of the demo CRM are read.
    #[arg(long, value_name = "FILE", help_heading = "Calls")]
    mix: Option<PathBuf>,
    /// Share of calls that ask for what the subject may not have; their refusal is no failure.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Calls")]
    refused_share: Option<f64>,
    /// Bytes of each body.
    #[arg(long, value_name = "BYTES", default_value_t = BODY_BYTES, help_heading = "Calls")]
    body_bytes: usize,
    /// Sessions at most, each of another subject; the others do not call. Legacy protocol only.
    #[arg(long, value_name = "COUNT", help_heading = "Calls")]
    sessions: Option<usize>,
    #[command(flatten)]
    tokens: TokenArguments,
}

/// Where tokens come from.
#[derive(Clone, Debug, Args)]
pub(super) struct TokenArguments {
    /// A file of tokens: one a line, or JSON objects with token, subject and accounts.
    #[arg(long, value_name = "FILE", conflicts_with = "dev_issuer", help_heading = "Tokens")]
    tokens: Option<PathBuf>,
    /// Mint the tokens by a dev issuer on this port of 127.0.0.1, which a gate on this machine trusts as
    /// http://127.0.0.1:PORT.
    #[arg(long, value_name = "PORT", requires = "audience", help_heading = "Tokens")]
    dev_issuer: Option<u16>,
    #[command(flatten)]
    mint: MintArguments,
    /// Share of calls with an expired token; their refusal with 401 is no failure.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share, help_heading = "Tokens")]
    expired_share: f64,
}

/// How the dev issuer mints.
#[derive(Clone, Debug, Args)]
pub(super) struct MintArguments {
    /// Subjects of the sample policy that call, each with a token of its own.
    #[arg(long, value_name = "COUNT", default_value_t = 2_000, help_heading = "Tokens")]
    pub(super) subjects: usize,
    /// The resource that minted tokens are for.
    #[arg(long, value_name = "URL", help_heading = "Tokens")]
    pub(super) audience: Option<String>,
    /// The algorithm that signs them.
    #[arg(long, value_name = "ALG", default_value = "es256", help_heading = "Tokens")]
    alg: AlgName,
    /// How long a minted token lives; it is renewed in its last third.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration, help_heading = "Tokens")]
    lifetime: Duration,
    /// How often the signing key changes in mid-run.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Tokens")]
    rotate_keys: Option<Duration>,
}

/// A protocol as it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Protocol {
    /// 2025-11-25.
    Legacy,
    /// Half of each.
    Mixed,
    /// 2026-07-28.
    Modern,
}

/// An algorithm as it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum AlgName {
    /// ECDSA on P-256.
    Es256,
    /// RSA with 2048 bits, PKCS #1.
    Rs256,
}

/// Calls that are ready, with what keeps them so.
pub(super) struct ReadyCalls {
    /// For the engine.
    pub(super) calls: Arc<dyn Calls>,
    workload: Arc<Workload>,
    endpoint: Endpoint,
    /// The issuer answers for its keys as long as calls are made.
    _issuer: Option<Arc<Issuer>>,
    keeper: Option<Keeper>,
}

impl CallArguments {
    /// The calls, with tokens and sessions.
    ///
    /// The issuer answers before the target is asked whether it is ready: a gate needs its keys.
    pub(super) fn prepare(
        &self,
        target: &TargetArguments,
        endpoint: &Endpoint,
        seed: u64,
    ) -> Result<ReadyCalls, Fault> {
        let issuer = match self.tokens.dev_issuer {
            Some(port) => Some(Arc::new(start_issuer(port).map_err(Fault::unavailable)?)),
            None => None,
        };
        let tokens = self.tokens.pool(issuer.as_ref())?.map(Arc::new);
        let keeper = match &tokens {
            Some(pool) if issuer.is_some() => Some(Arc::clone(pool).keep_fresh()?),
            _ => None,
        };
        let workload = Arc::new(Workload::new(self.parts(tokens, seed)?).map_err(Fault::input)?);
        target.await_ready()?;
        self.open_sessions(&workload, endpoint)?;
        Ok(ReadyCalls {
            calls: Arc::<Workload>::clone(&workload),
            workload,
            endpoint: endpoint.clone(),
            _issuer: issuer,
            keeper,
        })
    }

    /// What makes the workload, with these tokens.
    pub(super) fn parts(&self, tokens: Option<Arc<TokenPool>>, seed: u64) -> Result<WorkloadParts, Fault> {
        Ok(WorkloadParts {
            era: match self.protocol {
                Protocol::Legacy => EraMix::Legacy,
                Protocol::Mixed => EraMix::Mixed { legacy: 0.5 },
                Protocol::Modern => EraMix::Modern,
            },
            mix: match &self.mix {
                Some(file) => Mix::from_file(file).map_err(Fault::input)?,
                None => Mix::sample(),
            },
            deny_share: self.refused_share,
            body_bytes: self.body_bytes,
            seed,
            tokens,
            subjects: self.tokens.mint.subjects,
            judged: self.tokens.tokens.is_some() || self.tokens.dev_issuer.is_some(),
            sessions_max: self.sessions,
            expired_share: self.tokens.expired_share,
        })
    }

    /// Opens the sessions that the calls need.
    pub(super) fn open_sessions(&self, workload: &Workload, endpoint: &Endpoint) -> Result<(), Fault> {
        let opened = runtime()?.block_on(workload.open_sessions(endpoint, SESSIONS_AT_ONCE));
        opened.map(|_| ()).map_err(Fault::unavailable)
    }

    /// Whether the mix is the sample's.
    pub(super) fn has_sample_mix(&self) -> bool {
        self.mix.is_none()
    }

    /// Whether tokens are to come from a dev issuer of a given port.
    pub(super) fn has_dev_issuer(&self) -> bool {
        self.tokens.dev_issuer.is_some()
    }

    /// Whether tokens are to come from a file.
    pub(super) fn has_token_file(&self) -> bool {
        self.tokens.tokens.is_some()
    }

    /// The pool of tokens that a file holds.
    pub(super) fn pool_of_file(&self) -> Result<Option<TokenPool>, Fault> {
        self.tokens.pool(None)
    }

    /// How the dev issuer mints.
    pub(super) fn mint(&self) -> &MintArguments {
        &self.tokens.mint
    }
}

impl TokenArguments {
    fn pool(&self, issuer: Option<&Arc<Issuer>>) -> Result<Option<TokenPool>, Fault> {
        match (&self.tokens, issuer) {
            (Some(file), _) => Ok(Some(TokenPool::from_file(file).map_err(Fault::input)?)),
            (None, Some(issuer)) => {
                let audience = self.mint.audience.as_deref().unwrap_or_default();
                Ok(Some(self.mint.pool(issuer, audience)?))
            }
            (None, None) => Ok(None),
        }
    }
}

impl MintArguments {
    /// Tokens of `issuer` for `audience`.
    pub(super) fn pool(&self, issuer: &Arc<Issuer>, audience: &str) -> Result<TokenPool, Fault> {
        let settings = self.settings(audience);
        TokenPool::minted(Arc::clone(issuer), self.subjects, settings, now_s()).map_err(Fault::input)
    }

    /// Whether keys are to change.
    pub(super) fn rotates(&self) -> bool {
        self.rotate_keys.is_some()
    }

    /// How tokens for `audience` are minted.
    pub(super) fn settings(&self, audience: &str) -> MintSettings {
        MintSettings {
            audience: audience.to_owned(),
            alg: match self.alg {
                AlgName::Es256 => Alg::Es256,
                AlgName::Rs256 => Alg::Rs256,
            },
            lifetime_s: self.lifetime.as_secs(),
            rotate_every_s: self.rotate_keys.map(|every| every.as_secs()),
        }
    }
}

impl ReadyCalls {
    /// Ends the sessions and the renewal; what the report says of the calls.
    pub(super) fn finish(self) -> Result<WorkloadSummary, Fault> {
        let summary = self.workload.summary();
        drop(self.keeper);
        // Sessions that the target keeps end by themselves one day; the load has ended well without.
        close_sessions(&self.workload, &self.endpoint)?;
        Ok(summary)
    }
}

/// Closes the sessions of a load, as far as the target lets itself be told.
pub(super) fn close_sessions(workload: &Workload, endpoint: &Endpoint) -> Result<(), Fault> {
    let closing = workload.close_sessions(endpoint, SESSIONS_AT_ONCE);
    // A target that takes no time to answer any more must not cost the report.
    let _ = runtime()?.block_on(async { timeout(CLOSING_MAX, closing).await });
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
