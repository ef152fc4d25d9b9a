//! The calls of a load: which tool, by whom, with which arguments, and what each answer meant.
//!
//! Owns [`Calls`], the one view that the engine has of calls, and [`Workload`], which makes MCP calls of both eras: call
//! number n is the same in every run with the same seed, but for its token. Sends nothing besides the handshakes of
//! `sessions`, and never prints a token.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderValue;
use portcullis_fixtures::calls::Era;
use thiserror::Error;

use crate::connect::Answer;
use crate::report::{CallShare, WorkloadSummary};

mod answer;
mod draw;
mod events;
pub mod mix;
pub mod sessions;
mod shape;
pub mod subject;
mod template;
pub mod tokens;

use draw::{Draw, below};
use mix::Mix;
use shape::{Caller, Shape};
use subject::Subject;
use template::{Gaps, Template};
use tokens::TokenPool;

/// Bytes of a body unless something else is asked for.
pub const BODY_BYTES: usize = 350;
/// Bytes of a body at most: what the gate takes by default.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// One call, ready to be sent.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The fields besides `Host` and the framing.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What a right answer is.
    pub expected: Expected,
}

/// What a right answer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected {
    /// The JSON-RPC id of the call.
    pub id: u64,
    /// What the target should say.
    pub expect: Expect,
}

/// What the target should say to a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expect {
    /// A refusal by policy or scope.
    Refused,
    /// A result.
    Result,
    /// A refusal of the token.
    Unauthenticated,
}

/// What an answer meant; see the members of [`crate::report::Outcomes`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A result, as expected.
    Allowed,
    /// A result where a refusal was expected.
    AllowedUnexpectedly,
    /// A refusal, as expected: of the call, or of the token when that was expected.
    Denied,
    /// A refusal where a result was expected.
    DeniedUnexpectedly,
    /// Any other answer.
    ProtocolError,
    /// 429.
    Throttled,
    /// The tool reported an error.
    ToolError,
    /// 401 where none was expected.
    Unauthenticated,
    /// 5xx.
    Unavailable,
}

/// Where the engine gets its calls from. Shared by all load threads: `prepare` takes no lock and does no I/O.
pub trait Calls: Send + Sync {
    /// Call number `number`, from 0; the same for the same number but for tokens, which are renewed.
    fn prepare(&self, number: u64) -> Prepared;

    /// What `answer` to a call means. Runs after the answer's time was taken.
    fn judge(&self, expected: Expected, answer: &Answer) -> Outcome;
}

/// Which protocol the calls speak.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum EraMix {
    /// 2025-11-25, with sessions.
    Legacy,
    /// 2026-07-28, without.
    #[default]
    Modern,
    /// Both; a call of which only one era knows the method is of that era.
    Mixed {
        /// The share of legacy calls.
        legacy: f64,
    },
}

/// What makes a workload.
#[derive(Clone, Debug)]
pub struct WorkloadParts {
    /// The protocol.
    pub era: EraMix,
    /// The calls.
    pub mix: Mix,
    /// The share of calls that should be refused, whatever their weights in the mix; none leaves the weights.
    pub deny_share: Option<f64>,
    /// Bytes of each body whose call names no size. A call that needs more, while the mix names no size, gets more.
    pub body_bytes: usize,
    /// The seed of all choices.
    pub seed: u64,
    /// The tokens; none sends no `Authorization`.
    pub tokens: Option<Arc<TokenPool>>,
    /// How many subjects of the sample policy call when there are no tokens.
    pub subjects: usize,
    /// Whether the target judges. One that does not is expected to give a result to every call; calls are the same.
    pub judged: bool,
    /// How many subjects call in the legacy era, each with a session of its own; none means all.
    pub sessions_max: Option<usize>,
    /// The share of calls with a token that has expired.
    pub expired_share: f64,
}

impl Default for WorkloadParts {
    /// The sample mix in the modern era with bodies of [`BODY_BYTES`], by one subject without a token.
    fn default() -> Self {
        Self {
            era: EraMix::default(),
            mix: Mix::sample(),
            deny_share: None,
            body_bytes: BODY_BYTES,
            seed: 1,
            tokens: None,
            subjects: 1,
            judged: true,
            sessions_max: None,
            expired_share: 0.0,
        }
    }
}

/// Why parts make no workload.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum WorkloadError {
    /// A share is no share.
    #[error("{what} must lie between 0 and 1, not `{share}`")]
    Share {
        /// Which one.
        what: &'static str,
        /// What was given.
        share: f64,
    },
    /// The mix has no call that a share of refused or other calls could be taken from.
    #[error("the mix has no calls that are {0}, so their share cannot be changed")]
    DenyShare(&'static str),
    /// No era of the load knows the method.
    #[error("the era of this load has no method `{0}`")]
    Method(&'static str),
    /// A body cannot be that short or long.
    #[error("a body of `{call}` has {needed} to {BODY_BYTES_MAX} bytes, not `{asked}`")]
    BodyBytes {
        /// The tool or method.
        call: String,
        /// What it has without padding.
        needed: usize,
        /// What was asked.
        asked: usize,
    },
    /// The mix asks for accounts that a subject does not have.
    #[error("the mix has accounts as placeholders, but subject {0} of the tokens has none")]
    AccountsMissing(usize),
    /// There is nobody to call.
    #[error("a load needs a subject")]
    SubjectsMissing,
    /// Only the dev issuer gives tokens that have expired.
    #[error("calls with expired tokens need tokens of the dev issuer")]
    ExpiredMissing,
    /// Sessions for nobody.
    #[error("calls of the legacy era need at least one session")]
    SessionsMissing,
}

/// MCP calls of one or both eras. One for each target, since sessions are a target's own; tokens may be shared.
pub struct Workload {
    shapes: Vec<Shape>,
    callers: Vec<Caller>,
    era: EraMix,
    seed: u64,
    tokens: Option<Arc<TokenPool>>,
    judged: bool,
    sessions_max: usize,
    expired_share: f64,
    /// The session of each subject, by its place. Empty until sessions are opened.
    sessions: ArcSwap<Vec<Option<HeaderValue>>>,
}

impl Workload {
    /// The workload of `parts`.
    ///
    /// # Errors
    /// [`WorkloadError`] when they do not go together.
    pub fn new(parts: WorkloadParts) -> Result<Self, WorkloadError> {
        check_shares(&parts)?;
        let subjects: Vec<Subject> = match &parts.tokens {
            Some(tokens) => tokens.subjects().cloned().collect(),
            None => subject::sample(parts.subjects),
        };
        if subjects.is_empty() {
            return Err(WorkloadError::SubjectsMissing);
        }
        let has_expired = parts.tokens.as_ref().is_some_and(|tokens| tokens.expired(0).is_some());
        if 0.0 < parts.expired_share && !has_expired {
            return Err(WorkloadError::ExpiredMissing);
        }
        let sessions_max = parts.sessions_max.unwrap_or(usize::MAX);
        if sessions_max == 0 && parts.era != EraMix::Modern {
            return Err(WorkloadError::SessionsMissing);
        }
        let callers = shape::callers(&subjects);
        Ok(Self {
            shapes: shape::shapes(&parts, &callers)?,
            sessions_max: sessions_max.min(callers.len()),
            callers,
            era: parts.era,
            seed: parts.seed,
            tokens: parts.tokens,
            judged: parts.judged,
            expired_share: parts.expired_share,
            sessions: ArcSwap::default(),
        })
    }

    /// What the report says of it. The number of sessions is that of now.
    pub fn summary(&self) -> WorkloadSummary {
        let settings = self.tokens.as_ref().and_then(|tokens| tokens.settings());
        let templates = || {
            self.shapes
                .iter()
                .flat_map(|shape| shape.legacy.iter().chain(&shape.modern))
        };
        let refused: f64 = self
            .shapes
            .iter()
            .filter(|shape| shape.refused)
            .map(|shape| shape.share)
            .sum();
        let calls = self.shapes.iter().map(|shape| CallShare {
            name: match shape.refused {
                true => format!("{} (to be refused)", shape.name),
                false => shape.name.clone(),
            },
            share: shape.share,
        });
        let eras = [
            (Era::Legacy, self.shapes.iter().any(|shape| shape.legacy.is_some())),
            (Era::Modern, self.shapes.iter().any(|shape| shape.modern.is_some())),
        ];
        let used = eras.into_iter().filter(|(_, used)| *used);
        let sizes = || templates().map(Template::body_bytes);
        WorkloadSummary {
            protocol: used.map(|(era, _)| era.version().to_owned()).collect(),
            sessions: self.sessions.load().iter().flatten().count(),
            subjects: self.tokens.as_ref().map_or(0, |tokens| tokens.len()),
            tokens: self.tokens.as_ref().map_or("none", |tokens| tokens.source()).to_owned(),
            token_lifetime_s: settings.map(|settings| settings.lifetime_s),
            rotate_keys_s: settings.and_then(|settings| settings.rotate_every_s),
            calls: calls.collect(),
            deny_share: match self.judged {
                true => refused + (1.0 - refused) * self.expired_share,
                false => 0.0,
            },
            body_bytes: (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0)),
        }
    }

    /// How many subjects call in the legacy era: none when no call does.
    fn legacy_subjects(&self) -> usize {
        match self.shapes.iter().any(|shape| shape.legacy.is_some()) {
            true => self.sessions_max,
            false => 0,
        }
    }

    fn token(&self, place: usize) -> Option<HeaderValue> {
        self.tokens.as_ref()?.bearer(place)
    }

    /// Puts these sessions in place of the former, which it gives back.
    fn set_sessions(&self, sessions: Vec<Option<HeaderValue>>) -> Arc<Vec<Option<HeaderValue>>> {
        self.sessions.swap(Arc::new(sessions))
    }
}

impl Calls for Workload {
    fn prepare(&self, number: u64) -> Prepared {
        // Every call draws the same numbers in the same order, so that one option leaves the choices of others alone.
        let mut draw = Draw::of(self.seed, number);
        let (call_share, era_share, expired_share) = (draw.share(), draw.share(), draw.share());
        let (subject_bits, account_bits) = (draw.bits(), draw.bits());
        let shape = self.shapes.iter().find(|shape| call_share < shape.up_to);
        let Some((shape, (template, era))) = shape
            .or_else(|| self.shapes.last())
            .and_then(|shape| Some((shape, shape.template(self.era, era_share)?)))
        else {
            // INVARIANT: a workload has a shape, and each shape has a template of one era at least.
            return nothing(number);
        };
        let callers = match era {
            Era::Legacy => self.sessions_max,
            Era::Modern => self.callers.len(),
        };
        let place = below(subject_bits, callers);
        let (id, number_text) = (number.wrapping_add(1), number.to_string());
        let body = self.callers.get(place).map(|caller| {
            template.body(&Gaps {
                id: &id.to_string(),
                number: &number_text,
                subject: &caller.name,
                subject_index: &caller.index,
                account: shape::pick(&caller.accounts, account_bits),
                foreign_account: shape::pick(&caller.foreign, account_bits),
            })
        });
        let expired = expired_share < self.expired_share;
        let token = self.tokens.as_ref().and_then(|tokens| match expired {
            true => tokens.expired(place),
            false => tokens.bearer(place),
        });
        let sessions = self.sessions.load();
        let session = match era {
            Era::Legacy => sessions.get(place).and_then(Option::as_ref),
            Era::Modern => None,
        };
        let expect = match (self.judged, expired, shape.refused) {
            (false, ..) | (true, false, false) => Expect::Result,
            (true, true, _) => Expect::Unauthenticated,
            (true, false, true) => Expect::Refused,
        };
        Prepared {
            headers: template.headers(token, session),
            body: body.unwrap_or_default(),
            expected: Expected { id, expect },
        }
    }

    fn judge(&self, expected: Expected, answer: &Answer) -> Outcome {
        answer::judge(expected, answer)
    }
}

/// What cannot be: an empty call, which every target refuses and the report shows.
#[cold]
fn nothing(number: u64) -> Prepared {
    Prepared {
        headers: HeaderMap::new(),
        body: Bytes::new(),
        expected: Expected {
            id: number,
            expect: Expect::Result,
        },
    }
}

fn check_shares(parts: &WorkloadParts) -> Result<(), WorkloadError> {
    let legacy = match parts.era {
        EraMix::Mixed { legacy } => legacy,
        EraMix::Legacy | EraMix::Modern => 0.0,
    };
    let shares = [
        ("the share of legacy calls", legacy),
        ("the share of calls to be refused", parts.deny_share.unwrap_or(0.0)),
        ("the share of expired tokens", parts.expired_share),
    ];
    let wrong = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share));
    wrong.map_or(Ok(()), |(what, share)| Err(WorkloadError::Share { what, share }))
}

#[cfg(test)]
mod tests;
