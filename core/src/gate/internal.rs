//! Single stages of the road, for benches and fuzzing: feature `internal`, no part of the API.
//!
//! Owns [`Parse`], [`Tokens`] and [`Known`], which run the very functions that the road is made of. Each call takes
//! plain inputs and gives sizes, digests and reasons. Never gives a verified token, a principal, a grant, a decision, a
//! permit or a release: nothing here leads to an upstream or to a client, and `Gate::begin` stays the only way in.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;

use super::case::Case;
use super::release::{Answer, Release};
use super::review::{self, Place};
use super::{Gate, Scratch, Step, json_limits, judge, records};
use crate::config::Limits;
use crate::credential::BearerToken;
use crate::denial::DenyReason;
use crate::head::RequestHead;
use crate::identity;
use crate::json::{self, Edits};
use crate::jwks::KeySet;
use crate::policy::Worker;
use crate::redact;
use crate::rpc::{self, Call, CallLimits, Reply};
use crate::stages::Laps;
use crate::time::UnixTime;
use crate::token::{self, Failures, Issuer, IssuerKeys, Terms, TokenCache, TokenLimits, Verification};

/// Stage 6 alone: the reading of bodies.
#[derive(Debug)]
pub struct Parse {
    scratch: json::Scratch,
    limits: CallLimits,
}

impl Parse {
    /// A reader within these limits.
    pub fn new(limits: &Limits) -> Self {
        Self {
            scratch: json::Scratch::default(),
            limits: CallLimits {
                json: json_limits(limits),
                tool_name_bytes_max: limits.tool_name_bytes_max,
            },
        }
    }

    /// Reads `body` as strict JSON and gives the members or elements of its outermost value.
    ///
    /// # Errors
    /// The parser's own.
    pub fn json(&mut self, body: &[u8]) -> Result<usize, json::ParseError> {
        json::parse(body, &mut self.scratch, self.limits.json).map(|document| document.root().len())
    }

    /// Reads `body` as the call of a request with `head` and gives the number of its arguments.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn call(&mut self, head: &RequestHead<'_>, body: &[u8]) -> Result<usize, DenyReason> {
        rpc::read_call(head, body, &mut self.scratch, self.limits)
            .map(|call| call.arguments().map_or(0, |arguments| arguments.len()))
            .map_err(|denial| denial.reason)
    }
}

/// Stage 3 alone: one issuer with its keys, one audience, one cache.
#[derive(Debug)]
pub struct Tokens {
    accepted: [IssuerKeys; 1],
    bounds: TokenLimits,
    cache: TokenCache,
    failures: Failures,
}

impl Tokens {
    /// A verifier of `issuer`'s tokens for `audience`, which remembers as many tokens as the limits say.
    pub fn new(issuer: Arc<Issuer>, keys: Arc<KeySet>, audience: Arc<str>, limits: &Limits) -> Self {
        Self {
            accepted: [IssuerKeys {
                issuer,
                keys: Some(keys),
                audiences: Arc::from([audience]),
            }],
            bounds: limits.token_limits(),
            cache: TokenCache::new(limits.tokens_cached_max),
            failures: Failures::default(),
        }
    }

    /// Verifies a token and gives its digest.
    ///
    /// # Errors
    /// The reason of the refusal, also of one that a fetch of keys might cure.
    pub fn verify(&self, token: &str, now: UnixTime) -> Result<[u8; 32], DenyReason> {
        let bearer = BearerToken::parse(token).ok_or(DenyReason::CredentialScheme)?;
        let terms = Terms {
            accepted: &self.accepted,
            limits: &self.bounds,
            cache: &self.cache,
            failures: &self.failures,
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            now,
            answer: None,
        };
        match token::verify(bearer, &terms) {
            Ok(Verification::Verified(token)) => Ok(*token.digest().as_bytes()),
            Ok(Verification::NeedsKeys { otherwise, .. } | Verification::NeedsIntrospection { otherwise, .. }) => {
                Err(otherwise.reason)
            }
            Err(denial) => Err(denial.reason),
        }
    }
}

/// A call whose caller is known, at rest between two stages: each of them can be run again and again.
pub struct Known<'g, 'b> {
    case: Case<'g>,
    call: Call<'b>,
    edits: Edits,
    out: Vec<u8>,
    scratch: Scratch,
}

/// Tells the record only, as the case does.
impl std::fmt::Debug for Known<'_, '_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Known").field(&self.case).finish()
    }
}

impl<'g, 'b> Known<'g, 'b> {
    /// Takes a request through stages 2 to 8; a refusal by the policy is kept as what the decision is.
    ///
    /// # Errors
    /// The reason of any refusal before the policy's.
    pub fn new(
        gate: &'g Gate,
        head: &RequestHead<'b>,
        body: &'b Bytes,
        parse: &'b mut Parse,
        now: UnixTime,
    ) -> Result<Self, DenyReason> {
        let mut visit = gate.begin(now);
        let principal = match visit.authenticate(head) {
            Ok(Step::Done(principal)) => principal,
            Ok(Step::Needs(_)) => return Err(DenyReason::KeysUnavailable),
            Err(denial) => return Err(denial.reason),
        };
        let server = visit.server().map(Arc::clone).ok_or(DenyReason::RouteUnknown)?;
        let mut case = Case::new(
            gate,
            gate.snapshot(),
            server,
            principal,
            head.client_ip,
            Laps::start(0),
            now,
        );
        let call = rpc::read_call(head, body, &mut parse.scratch, parse.limits).map_err(|denial| denial.reason)?;
        case.learn(&call);
        case.body = body.clone();
        case.look_up().map_err(|denial| denial.reason)?;
        let mut scratch = Scratch::new(0);
        case.verdict = match judge::decide(&case, &call, &mut scratch.worker, &mut Laps::start(0)) {
            Ok(verdict) => Some(verdict),
            Err(refusal) if refusal.denial.reason == DenyReason::PolicyDenied => None,
            Err(refusal) => return Err(refusal.denial.reason),
        };
        Ok(Self {
            case,
            call,
            edits: Edits::default(),
            out: Vec::new(),
            scratch,
        })
    }

    /// Stage 4: binds the token again and gives the principal's id.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn bind(&self) -> Result<[u8; 32], DenyReason> {
        let case = &self.case;
        let token = case
            .principal
            .token()
            .map(Arc::clone)
            .ok_or(DenyReason::CredentialMissing)?;
        let depth_max = case.snapshot.limits().act_depth_max;
        identity::bind(token, case.principal.tenant(), depth_max, &case.gate.key)
            .map(|principal| *principal.principal_id())
            .map_err(|denial| denial.reason)
    }

    /// Stage 7: checks the scopes again and gives how many the call needed; `None` when they do not cover it.
    pub fn scopes(&self) -> Option<usize> {
        let principal = &self.case.principal;
        let grant = self
            .case
            .server
            .grant(self.call.target(), |scope| principal.has_scope(scope));
        grant.ok().map(|grant| grant.required().len())
    }

    /// Stages 7 and 8: asks the policy again and gives the number of its obligations.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn decide(&mut self) -> Result<usize, DenyReason> {
        let worker: &mut Worker = &mut self.scratch.worker;
        judge::decide(&self.case, &self.call, worker, &mut Laps::start(0))
            .map(|verdict| verdict.redactions().len())
            .map_err(|refusal| refusal.denial.reason)
    }

    /// Stage 9 without the log: writes the request's record again and gives its bytes.
    pub fn record(&mut self) -> usize {
        self.out.clear();
        records::write_allow(&mut self.out, &self.case);
        self.out.len()
    }

    /// Stage 11: reads a message of the upstream and gives the members of what it carries.
    ///
    /// # Errors
    /// [`DenyReason::AnswerInvalid`] for what is no answer to this call.
    pub fn split(&mut self, answer: &[u8]) -> Result<usize, DenyReason> {
        let limits = json_limits(self.case.snapshot.limits());
        let expected = self.call.expected();
        match rpc::read_reply(answer, &mut self.scratch.answer, limits, &expected) {
            Ok(Reply::Result { result: value, .. } | Reply::Error { error: value, .. }) => Ok(value.len()),
            Ok(Reply::Notification { params, .. } | Reply::Request { params, .. }) => {
                Ok(params.map_or(0, |params| params.len()))
            }
            Ok(Reply::InputRequired { requests, .. }) => Ok(requests.map_or(0, |requests| requests.len())),
            Ok(Reply::Unjudged) => Ok(0),
            Err(_) => Err(DenyReason::AnswerInvalid),
        }
    }

    /// Stage 11, and of stage 12 what the request's decision obliges, without asking the policy about the answer. Gives
    /// the number of values that were changed or taken out.
    ///
    /// # Errors
    /// [`DenyReason::AnswerInvalid`] for what is no result of this call, [`DenyReason::AnswerWithheld`] for one that
    /// cannot be redacted.
    pub fn redact(&mut self, answer: &[u8]) -> Result<usize, DenyReason> {
        let limits = json_limits(self.case.snapshot.limits());
        let expected = self.call.expected();
        let redactions = self
            .case
            .verdict
            .as_ref()
            .map_or(&[][..], |verdict| verdict.redactions());
        let Scratch {
            answer: parsed, redact, ..
        } = &mut self.scratch;
        let Ok(Reply::Result { document, result }) = rpc::read_reply(answer, parsed, limits, &expected) else {
            return Err(DenyReason::AnswerInvalid);
        };
        self.edits.clear();
        let applied = redact::apply_result(result, redactions, limits, redact, &mut self.edits)
            .map_err(|_| DenyReason::AnswerWithheld)?;
        self.out.clear();
        self.edits
            .apply(document.text(), &mut self.out)
            .map_err(|_| DenyReason::AnswerWithheld)?;
        Ok(applied.redactions)
    }

    /// Stages 11 and 12: judges a JSON answer, redacts it and gives the bytes that would leave.
    ///
    /// # Errors
    /// The reason why nothing would.
    pub fn review(&mut self, answer: Bytes, now: UnixTime) -> Result<usize, DenyReason> {
        let answer = Answer::Json {
            status: 200,
            body: answer,
        };
        let place = Place {
            streaming: false,
            answered: false,
            refused: None,
        };
        match review::judge(&self.case, answer, place, None, now, &mut self.scratch).release {
            Release::Pass { body, .. } | Release::Redacted { body, .. } => Ok(body.len()),
            Release::Batch { .. } | Release::Empty { .. } | Release::Dropped => Ok(0),
            Release::Withheld(denial) => Err(denial.reason),
        }
    }
}
