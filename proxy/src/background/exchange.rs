//! Tokens for upstreams in exchange for the clients' (RFC 8693): one question at a time for each of them.
//!
//! Owns [`ExchangeService`]: the gate's own credentials towards issuers, the exchanges that are under way, and the
//! tokens that were got. Never decides what is asked and which answer is taken: that is the core's. Never prints a token.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_core::exchange::{ExchangeError, ExchangeKey, ExchangeRequest, ExchangedToken, ExchangedTokens};
use portcullis_core::jwks::refresh::token_endpoint;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::assertion::ClientAuthentication;
use super::fetch::{Fetcher, Form};
use super::flights::{self, Flights, Joined};
use super::jwks::StartError;
use crate::clock;
use crate::config::Config;
use crate::metadata::MetadataStore;
use crate::signer::Signer;

/// What came of an exchange, for all who wait for it.
type Answer = Result<Arc<ExchangedToken>, ExchangeError>;

/// How one issuer is asked as one client.
#[derive(Clone, Debug)]
pub(crate) struct ExchangePlan {
    /// The words of the core's terms for all this.
    pub(crate) source: Arc<str>,
    /// Who is asked.
    pub(crate) issuer: Arc<str>,
    /// Where; `None` asks the issuer's metadata.
    pub(crate) url: Option<Arc<str>>,
    /// As whom.
    pub(crate) client_id: Arc<str>,
    /// By what proof.
    pub(crate) authentication: ClientAuthentication,
}

/// Who exchanges tokens at all issuers of the configuration.
pub(crate) struct ExchangeService {
    runtime: Handle,
    metadata: Arc<MetadataStore>,
    signer: Arc<Signer>,
    asked: RwLock<HashMap<Arc<str>, Arc<Asked>>>,
    tokens: Arc<ExchangedTokens>,
    flights: Arc<Flights<Question, Answer>>,
}

/// One plan, ready to be used.
struct Asked {
    plan: ExchangePlan,
    fetcher: Fetcher,
}

/// Plans that are ready to take over; made before anything changes, so that a reload is whole or nothing.
pub(crate) struct Prepared(HashMap<Arc<str>, Arc<Asked>>);

/// An exchange, and where it is asked.
#[derive(Clone, Eq, Hash, PartialEq)]
struct Question {
    source: Arc<str>,
    key: ExchangeKey,
}

/// An exchange that is under way; it lands when this is dropped, whatever became of it.
struct Landing {
    flights: Arc<Flights<Question, Answer>>,
    question: Question,
    answer: Answer,
}

impl Landing {
    fn of(flights: &Arc<Flights<Question, Answer>>, question: Question) -> Self {
        Self {
            flights: Arc::clone(flights),
            question,
            answer: Err(ExchangeError::Unavailable),
        }
    }

    fn end(mut self, answer: Answer) {
        self.answer = answer;
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.land(&self.question, &self.answer);
    }
}

impl flights::Question for Question {
    fn shares_room(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl ExchangeService {
    /// A service without plans, whose questions run on `runtime`, and which keeps so many tokens.
    pub(crate) fn new(runtime: Handle, metadata: Arc<MetadataStore>, signer: Arc<Signer>, tokens_max: usize) -> Self {
        Self {
            runtime,
            metadata,
            signer,
            asked: RwLock::default(),
            tokens: Arc::new(ExchangedTokens::new(tokens_max)),
            flights: Arc::default(),
        }
    }

    /// Builds what the exchanges of a configuration need, and changes nothing.
    ///
    /// # Errors
    /// [`StartError::Client`] for an issuer whose certificate authorities cannot be used.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Prepared, StartError> {
        let mut asked = HashMap::new();
        for plan in config.servers.iter().flat_map(|server| server.exchanges()) {
            let Some(issuer) = config.issuers.iter().find(|issuer| issuer.url == plan.issuer) else {
                continue;
            };
            let fetcher =
                Fetcher::new(issuer, IDLE_MAX).map_err(|error| StartError::Client(Arc::clone(&issuer.url), error))?;
            let ready = Asked {
                plan: plan.clone(),
                fetcher,
            };
            asked.insert(Arc::clone(&plan.source), Arc::new(ready));
        }
        Ok(Prepared(asked))
    }

    /// Puts prepared plans in the place of all others.
    pub(crate) fn start(&self, prepared: Prepared) {
        *self.asked.write().unwrap_or_else(PoisonError::into_inner) = prepared.0;
    }

    /// The token of this exchange: one that was got before, or a new one. Takes the request's own deadline at most.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub(crate) async fn exchange(&self, request: &ExchangeRequest, token: &str) -> Answer {
        if let Some(known) = self.tokens.find(request.key(), clock::now()) {
            return Ok(known);
        }
        // A reload may stand between the terms and the plan there is.
        let asked = self.asked(request.source()).ok_or(ExchangeError::Unavailable)?;
        let endpoint = self.endpoint(&asked.plan).ok_or(ExchangeError::Unavailable)?;
        request.check(token)?;
        let (answered, answer) = oneshot::channel();
        let question = Question {
            source: Arc::clone(request.source()),
            key: request.key(),
        };
        match self.flights.join(question.clone(), answered) {
            Joined::First => self.lead(
                Landing::of(&self.flights, question),
                (asked, endpoint),
                request.clone(),
                token,
            ),
            Joined::Waits => {}
            Joined::Refused => return Err(ExchangeError::Unavailable),
        }
        match tokio::time::timeout(request.limits().deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ExchangeError::Unavailable),
            Err(_) => Err(ExchangeError::TimedOut),
        }
    }

    /// Sees to it that who waits for this exchange gets an answer.
    fn lead(&self, landing: Landing, (asked, endpoint): (Arc<Asked>, Arc<str>), request: ExchangeRequest, token: &str) {
        // Another exchange may have ended after this one looked for its token and before it began: what it got was kept
        // before it landed.
        if let Some(known) = self.tokens.find(request.key(), clock::now()) {
            return landing.end(Ok(known));
        }
        let form = match self.form(&request, token) {
            Ok(form) => form,
            Err(error) => return landing.end(Err(error)),
        };
        let tokens = Arc::clone(&self.tokens);
        self.runtime.spawn(async move {
            let answer = ask(&asked, &endpoint, form, &request).await.map(Arc::new);
            if let Ok(token) = &answer {
                tokens.insert(request.key(), token);
            }
            landing.end(answer);
        });
    }

    /// What is sent, with who acts for the subject signed where that is told.
    fn form(&self, request: &ExchangeRequest, token: &str) -> Result<Zeroizing<String>, ExchangeError> {
        let sign = |claims| self.signer.sign(claims, clock::now()).ok_or(ExchangeError::Unavailable);
        let actor_token = request.actor_claims().map(sign).transpose()?;
        request.form(token, actor_token.as_ref().map(|token| token.as_str()))
    }

    fn asked(&self, source: &str) -> Option<Arc<Asked>> {
        let asked = self.asked.read().unwrap_or_else(PoisonError::into_inner);
        asked.get(source).map(Arc::clone)
    }

    /// Where tokens are exchanged, as configured or as the issuer's metadata says.
    fn endpoint(&self, plan: &ExchangePlan) -> Option<Arc<str>> {
        plan.url.clone().or_else(|| {
            let document = self.metadata.document(&plan.issuer)?;
            token_endpoint(&plan.issuer, &document)
        })
    }
}

/// Asks once.
async fn ask(
    asked: &Asked,
    endpoint: &str,
    mut body: Zeroizing<String>,
    request: &ExchangeRequest,
) -> Result<ExchangedToken, ExchangeError> {
    let plan = &asked.plan;
    let proof = plan.authentication.prove(&plan.client_id, &plan.issuer, clock::now());
    let proof = proof.map_err(|_| ExchangeError::Unavailable)?;
    if !proof.form.is_empty() {
        body.push('&');
        body.push_str(&proof.form);
    }
    let limits = request.limits();
    let form = Form {
        url: endpoint,
        accept: "application/json",
        authorization: proof.authorization,
        body: &body,
        deadline: limits.deadline,
        bytes_max: limits.bytes_max,
    };
    // The token's life counts from before it was asked for, since that may have taken its time.
    let asked_at = clock::now();
    let answer = asked.fetcher.post(form).await;
    let status = answer.as_ref().ok().map(|fetched| fetched.status);
    let token = request.accept(&answer, asked_at);
    if let Err(error) = &token {
        tracing::warn!(issuer = %plan.issuer, status, %error, "no token was got in exchange");
    }
    token
}

/// Connections that are kept for the next question.
const IDLE_MAX: usize = 16;
