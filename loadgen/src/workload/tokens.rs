//! The tokens of a load: one a subject, from a file or from the dev issuer, renewed in mid-run.
//!
//! Owns [`TokenPool`] and its [`Keeper`]. A call reads its token without a lock; whoever renews publishes whole header
//! values. Never prints a token, not even in the message of an error, and never renews one that came from a file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::HeaderValue;
use portcullis_fixtures::issuer::{Issuer, IssuerSettings, now_s};
use serde::Deserialize;
use thiserror::Error;

use super::subject::{self, Subject};

mod mint;

pub use mint::{Alg, MintSettings, Renewed};

use mint::Mint;

/// Tokens of a pool at most.
pub const TOKENS_MAX: usize = 100_000;
/// Bytes of a token at most; no gate takes more.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The shortest life of a minted token, in seconds: below it, renewal could not keep up.
pub const LIFETIME_S_MIN: u64 = 10;

/// How often the keeper looks for tokens that are due.
const KEEPER_PERIOD: Duration = Duration::from_millis(500);

/// Why there is no pool.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("the tokens in `{0}` cannot be read: {1}")]
    Read(PathBuf, io::Error),
    /// A line is no token.
    #[error("line {line} of `{}` is {wrong}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it is instead. Never what stands there.
        wrong: &'static str,
    },
    /// No token at all, or too many.
    #[error("a pool has 1 to {TOKENS_MAX} tokens, not `{0}`")]
    Count(usize),
    /// Tokens would die before they are renewed.
    #[error("a token must live {LIFETIME_S_MIN} seconds or longer, not `{0}`")]
    Lifetime(u64),
    /// Keys would change faster than tokens can follow.
    #[error("keys cannot change every 0 seconds")]
    Rotation,
}

/// The tokens of a load, shared by all its threads.
pub struct TokenPool {
    rows: Vec<Row>,
    /// Tokens that have expired already.
    expired: ArcSwap<Vec<HeaderValue>>,
    mint: Option<Mint>,
}

/// Without the tokens.
impl fmt::Debug for TokenPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TokenPool({} tokens, {})", self.rows.len(), self.source())
    }
}

struct Row {
    subject: Subject,
    bearer: ArcSwap<Bearer>,
}

/// A token as it is sent, and what its renewal goes by.
struct Bearer {
    value: HeaderValue,
    issued_s: u64,
    /// The key that signed it, by its place in the order of keys.
    generation: u64,
}

impl TokenPool {
    /// The tokens of `file`: a line holds a bearer token, or `{"token": .., "subject": .., "accounts": [..]}`, so that
    /// the placeholders of a mix have values. Blank lines are skipped.
    ///
    /// # Errors
    /// [`TokenError`], which never holds a token.
    pub fn from_file(file: &Path) -> Result<Self, TokenError> {
        let text = fs::read_to_string(file).map_err(|error| TokenError::Read(file.to_owned(), error))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let rows: Vec<Row> = lines
            .enumerate()
            .map(|(place, (index, line))| {
                Row::parse(place, line.trim()).map_err(|wrong| TokenError::Line {
                    file: file.to_owned(),
                    line: index + 1,
                    wrong,
                })
            })
            .collect::<Result<_, _>>()?;
        check_count(rows.len())?;
        Ok(Self {
            rows,
            expired: ArcSwap::default(),
            mint: None,
        })
    }

    /// Tokens of `issuer` for the first `subjects` of [`subject::sample`], each with the scopes of the persona Alice,
    /// issued at `now_s`. Costs one signature a subject.
    ///
    /// # Errors
    /// [`TokenError`] when a count or time is out of bounds.
    pub fn minted(
        issuer: Arc<Issuer>,
        subjects: usize,
        settings: MintSettings,
        now_s: u64,
    ) -> Result<Self, TokenError> {
        check_count(subjects)?;
        let mint = Mint::new(issuer, settings, now_s)?;
        let rows = subject::sample(subjects).into_iter().map(|subject| Row {
            bearer: ArcSwap::from_pointee(mint.bearer(&subject.name, now_s)),
            subject,
        });
        let rows: Vec<Row> = rows.collect();
        let expired = mint.expired(&rows, now_s);
        Ok(Self {
            rows,
            expired: ArcSwap::from_pointee(expired),
            mint: Some(mint),
        })
    }

    /// Tokens in the pool.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never true: a pool has a token.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whom the tokens belong to, in the pool's order.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.rows.iter().map(|row| &row.subject)
    }

    /// The `Authorization` of the token at `place`, as it stands now. Takes no lock.
    pub fn bearer(&self, place: usize) -> Option<HeaderValue> {
        self.rows.get(place).map(|row| row.bearer.load().value.clone())
    }

    /// The `Authorization` of a token that has expired; the same for the same place unless keys changed. None when the
    /// tokens came from a file.
    pub fn expired(&self, place: usize) -> Option<HeaderValue> {
        let expired = self.expired.load();
        expired.get(place.checked_rem(expired.len())?).cloned()
    }

    /// `file` or `dev issuer`.
    pub fn source(&self) -> &'static str {
        match self.mint {
            None => "file",
            Some(_) => "dev issuer",
        }
    }

    /// How its tokens are minted, when they are.
    pub fn settings(&self) -> Option<&MintSettings> {
        self.mint.as_ref().map(Mint::settings)
    }

    /// Renews what is due at `now_s`, and changes keys when their time has come.
    ///
    /// A token is due in the last third of its life, spread over a quarter of it by its place, so that the pool is never
    /// renewed at once. After a change of keys all tokens of older keys follow within half the time to the next change,
    /// spread likewise. A key is withdrawn when the last token that it signed has expired.
    pub fn renew_due(&self, now_s: u64) -> Renewed {
        match &self.mint {
            None => Renewed::default(),
            Some(mint) => mint.renew_due(&self.rows, &self.expired, now_s),
        }
    }

    /// Renews in the background until the keeper is dropped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn keep_fresh(self: Arc<Self>) -> io::Result<Keeper> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("token-keeper".to_owned()).spawn(move || {
            while stopped.recv_timeout(KEEPER_PERIOD) == Err(RecvTimeoutError::Timeout) {
                self.renew_due(now_s());
            }
        })?;
        Ok(Keeper {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// The thread that renews the tokens of a pool; dropping it ends it.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the run goes on with the tokens that it has.
            let _ = thread.join();
        }
    }
}

/// Starts the dev issuer on this port of 127.0.0.1; 0 takes a free one. It publishes its keys for a gate to fetch.
///
/// # Errors
/// When the port cannot be bound or no thread started.
pub fn start_issuer(port: u16) -> io::Result<Issuer> {
    Issuer::start_at(IssuerSettings::default(), port)
}

/// `Bearer` and the token, marked so that no log prints it; none when it is no header value.
fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn check_count(count: usize) -> Result<(), TokenError> {
    match count {
        1..=TOKENS_MAX => Ok(()),
        _ => Err(TokenError::Count(count)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    token: String,
    subject: Option<String>,
    #[serde(default)]
    accounts: Vec<String>,
}

impl Row {
    /// The row of one line, or what the line is instead.
    fn parse(place: usize, line: &str) -> Result<Self, &'static str> {
        let line = match line.starts_with('{') {
            // The reader's own message could quote the token.
            true => serde_json::from_str(line)
                .map_err(|_| "no object with `token` and, if wanted, `subject` and `accounts`")?,
            false => Line {
                token: line.to_owned(),
                subject: None,
                accounts: Vec::new(),
            },
        };
        if TOKEN_BYTES_MAX < line.token.len() {
            return Err("a token that is too long");
        }
        // RFC 6750 section 2.1: b64token.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if line.token.is_empty() || !line.token.bytes().all(allowed) {
            return Err("no bearer token");
        }
        Ok(Self {
            subject: Subject {
                name: line.subject.unwrap_or_else(|| format!("token-{place}")),
                index: place,
                accounts: line.accounts,
            },
            bearer: ArcSwap::from_pointee(Bearer {
                value: bearer(&line.token).ok_or("no bearer token")?,
                issued_s: 0,
                generation: 0,
            }),
        })
    }
}

#[cfg(test)]
mod tests;
