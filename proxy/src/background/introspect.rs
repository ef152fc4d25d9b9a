//! Questions to issuers about tokens: one question a token at a time, whoever waits for it.
//!
//! Owns [`IntrospectionService`], the questions that are out, and the gate's own credentials towards issuers. Never
//! judges an answer and remembers none: both are the core's. Never prints a token.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_core::jwks::refresh::{FetchError, Fetched, introspection_endpoint};
use portcullis_core::token::IntrospectionRequest;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::assertion::ClientAuthentication;
use super::fetch::{Fetcher, Form};
use super::flights::{self, Flights, Joined};
use super::jwks::StartError;
use crate::clock;
use crate::config::IssuerPlan;
use crate::metadata::MetadataStore;

/// What came of a question, for all who wait for it.
type Answer = Result<Arc<Fetched>, FetchError>;

/// How one issuer is asked.
#[derive(Clone, Debug)]
pub(crate) struct IntrospectionPlan {
    /// The words of the core's rules for where and as whom: a question of other rules is not asked here.
    pub(crate) source: Arc<str>,
    /// Where; `None` asks the issuer's metadata.
    pub(crate) url: Option<Arc<str>>,
    /// As whom.
    pub(crate) client_id: Arc<str>,
    /// By what proof.
    pub(crate) authentication: ClientAuthentication,
}

/// Who asks all issuers of the configuration.
pub(crate) struct IntrospectionService {
    runtime: Handle,
    metadata: Arc<MetadataStore>,
    issuers: RwLock<HashMap<Arc<str>, Arc<Asked>>>,
    flights: Arc<Flights<Question, Answer>>,
}

/// One issuer, ready to be asked.
struct Asked {
    issuer: Arc<str>,
    plan: IntrospectionPlan,
    fetcher: Fetcher,
}

/// Issuers that are ready to take over; made before anything changes, so that a reload is whole or nothing.
pub(crate) struct Prepared(HashMap<Arc<str>, Arc<Asked>>);

/// An issuer, the source of its answers, and the digest of a token.
type Question = (Arc<str>, Arc<str>, [u8; 32]);

impl flights::Question for Question {
    fn shares_room(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl IntrospectionService {
    /// A service without issuers, whose questions run on `runtime`.
    pub(crate) fn new(runtime: Handle, metadata: Arc<MetadataStore>) -> Self {
        Self {
            runtime,
            metadata,
            issuers: RwLock::default(),
            flights: Arc::default(),
        }
    }

    /// Builds what the issuers of a configuration need, and changes nothing.
    ///
    /// # Errors
    /// [`StartError::Client`] for an issuer whose certificate authorities cannot be used.
    pub(crate) fn prepare(&self, plans: &[IssuerPlan]) -> Result<Prepared, StartError> {
        let mut asked = HashMap::new();
        for issuer in plans {
            let Some(plan) = &issuer.introspection else {
                continue;
            };
            let fetcher =
                Fetcher::new(issuer, IDLE_MAX).map_err(|error| StartError::Client(Arc::clone(&issuer.url), error))?;
            let ready = Asked {
                issuer: Arc::clone(&issuer.url),
                plan: plan.clone(),
                fetcher,
            };
            asked.insert(Arc::clone(&issuer.url), Arc::new(ready));
        }
        Ok(Prepared(asked))
    }

    /// Puts prepared issuers in the place of all others.
    pub(crate) fn start(&self, prepared: Prepared) {
        *self.issuers.write().unwrap_or_else(PoisonError::into_inner) = prepared.0;
    }

    fn asked(&self, issuer: &str) -> Option<Arc<Asked>> {
        let issuers = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
        issuers.get(issuer).map(Arc::clone)
    }

    /// Where an issuer is asked, as configured or as its metadata says.
    fn endpoint(&self, asked: &Asked) -> Option<Arc<str>> {
        asked.plan.url.clone().or_else(|| {
            let document = self.metadata.document(&asked.issuer)?;
            introspection_endpoint(&asked.issuer, &document)
        })
    }
}

impl IntrospectionService {
    /// Asks, or joins the same question that is out already. Takes the request's own deadline at most.
    pub(crate) async fn introspect(&self, request: &IntrospectionRequest) -> Answer {
        // A reload may stand between the rules of the question and the plan there is.
        let asked = self
            .asked(&request.issuer)
            .filter(|asked| asked.plan.source == request.source)
            .ok_or(FetchError::Connection)?;
        let Some(endpoint) = self.endpoint(&asked) else {
            tracing::warn!(issuer = %request.issuer, "the issuer names no introspection endpoint");
            return Err(FetchError::Connection);
        };
        let (answered, answer) = oneshot::channel();
        let question = (
            Arc::clone(&request.issuer),
            Arc::clone(&request.source),
            request.token_digest,
        );
        match self.flights.join(question.clone(), answered) {
            Joined::First => {
                let (flights, request) = (Arc::clone(&self.flights), request.clone());
                self.runtime.spawn(async move {
                    let answer = ask(&asked, &endpoint, &request).await;
                    flights.land(&question, &answer);
                });
            }
            Joined::Waits => {}
            Joined::Refused => return Err(FetchError::Connection),
        }
        match tokio::time::timeout(request.deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(FetchError::Connection),
            Err(_) => Err(FetchError::TimedOut),
        }
    }
}

/// Sends one question.
async fn ask(asked: &Asked, endpoint: &str, request: &IntrospectionRequest) -> Answer {
    let plan = &asked.plan;
    let proof = plan.authentication.prove(&plan.client_id, &asked.issuer, clock::now());
    let Ok(proof) = proof else {
        tracing::warn!(issuer = %asked.issuer, "the gate cannot prove itself to the issuer");
        return Err(FetchError::Connection);
    };
    let mut body: Zeroizing<String> = request.form();
    if !proof.form.is_empty() {
        body.push('&');
        body.push_str(&proof.form);
    }
    let form = Form {
        url: endpoint,
        accept: if request.signed { SIGNED } else { "application/json" },
        authorization: proof.authorization,
        body: &body,
        deadline: request.deadline,
        bytes_max: request.bytes_max,
    };
    let answer = asked.fetcher.post(form).await;
    match &answer {
        Ok(fetched) if fetched.status == 200 => {}
        Ok(fetched) => {
            tracing::warn!(issuer = %asked.issuer, status = fetched.status, "the issuer does not answer about tokens");
        }
        Err(error) => tracing::warn!(issuer = %asked.issuer, %error, "the issuer does not answer about tokens"),
    }
    answer.map(Arc::new)
}

/// The media type of a signed answer (RFC 9701 section 4).
const SIGNED: &str = "application/token-introspection+jwt";
/// Connections that are kept for the next question.
const IDLE_MAX: usize = 16;

#[cfg(test)]
mod tests;
