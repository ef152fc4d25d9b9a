//! One request on its way in: stages 2 to 9, from the head to the record.
//!
//! Owns [`Visit`], [`Step`] and [`Fetch`]. Never waits: what it needs from outside it names, and it is resumed once.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;
use http::header::ORIGIN;

use super::batch;
use super::case::Case;
use super::judge::{Refusal, judge};
use super::permit::{Recorded, forward_headers};
use super::refusals::Source;
use super::snapshot::Route;
use super::{Gate, Scratch, Snapshot, records, sender, style};
use crate::config::{Limits, Server};
use crate::credential::{self, BearerToken, Credential};
use crate::denial::{Challenge, ChallengeError, Denial, DenyReason};
use crate::head::RequestHead;
use crate::identity::{self, Principal};
use crate::jwks::refresh::{FetchError, Fetched};
use crate::limit::Caller;
use crate::rpc;
use crate::stages::{Laps, Stage};
use crate::time::UnixTime;
use crate::token::{self, Answered, IntrospectionRequest, Terms, Verification};

/// What a visit needs from outside before it can go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fetch {
    /// The issuer's word on the token.
    Introspection(IntrospectionRequest),
    /// The key set of this issuer: the token names a key that is not known, or no key is.
    Jwks(Arc<str>),
}

impl Fetch {
    const fn kind(&self) -> usize {
        match self {
            Self::Introspection(_) => 0,
            Self::Jwks(_) => 1,
        }
    }
}

/// What came of a [`Fetch`].
#[derive(Clone, Debug)]
pub enum Evidence {
    /// Of [`Fetch::Introspection`]: what the issuer answered, or why it gave no answer.
    Introspected(Result<Arc<Fetched>, FetchError>),
    /// Of [`Fetch::Jwks`]: whatever could be had was published by [`Gate::publish_keys`].
    Published,
}

/// The outcome of a stage that may need something from outside.
#[derive(Debug)]
pub enum Step<T> {
    /// The stage is done.
    Done(T),
    /// The stage goes on by [`Visit::resume`] once this was fetched, or could not be.
    Needs(Fetch),
}

/// One request on its way in. Holds one snapshot from its first call to its last.
#[derive(Debug)]
pub struct Visit<'g> {
    pub(super) gate: &'g Gate,
    snapshot: Arc<Snapshot>,
    route: Option<Arc<Route>>,
    /// The caller that this visit has bound for its route.
    bound: Option<Principal>,
    /// What the issuer answered about the token.
    answer: Option<Answered>,
    /// Which kinds of evidence this visit has asked for: each once.
    asked: [bool; 2],
    pub(super) now: UnixTime,
    laps: Laps,
    /// Whether the caller's identity was asked for: what is refused before has not come to that stage.
    identifying: bool,
}

impl<'g> Visit<'g> {
    pub(super) fn new(gate: &'g Gate, now: UnixTime) -> Self {
        let laps = Laps::start(gate.ticks.now_ns());
        Self {
            gate,
            snapshot: gate.snapshot(),
            route: None,
            bound: None,
            answer: None,
            asked: [false; 2],
            now,
            laps,
            identifying: false,
        }
    }

    /// The limits that hold for this request.
    pub fn limits(&self) -> &Limits {
        self.snapshot.limits()
    }

    /// The server that was asked for, once [`Visit::authenticate`] has found it.
    pub fn server(&self) -> Option<&Arc<Server>> {
        self.route.as_ref().map(|route| &route.server)
    }

    /// Stages 2 to 4: finds the server, the credential, verifies it and binds the caller.
    ///
    /// The order of the checks is the order of their refusals: route, host, origin, an untrusted certificate, query,
    /// credential, token, identity, rate, HTTP method. A remembered token costs one SHA-256 and a look-up; a new one a signature.
    ///
    /// # Errors
    /// The refusal, counted; a token's refusal carries the challenge of RFC 6750 section 3.
    pub fn authenticate(&mut self, head: &RequestHead<'_>) -> Result<Step<Principal>, Denial> {
        self.identifying = true;
        let step = self.identify(head);
        self.counted(head, step)
    }

    /// Goes on after `fetch` was made, failed, or was given up: verifies once more, with the newest keys or with the
    /// issuer's answer. A visit asks for each kind of evidence once at most.
    ///
    /// # Errors
    /// As [`Visit::authenticate`]; what is still missing refuses: 401 for an unknown key, 503 without any key and
    /// without an answer.
    pub fn resume(
        &mut self,
        fetch: Fetch,
        evidence: Evidence,
        head: &RequestHead<'_>,
        now: UnixTime,
    ) -> Result<Step<Principal>, Denial> {
        self.now = now;
        match (fetch, evidence) {
            // Whatever was fetched has been published; the newest snapshot has it.
            (Fetch::Jwks(_), _) => self.snapshot = self.gate.snapshot(),
            (Fetch::Introspection(IntrospectionRequest { issuer, .. }), Evidence::Introspected(result)) => {
                self.answer = Some(Answered { issuer, result });
            }
            (Fetch::Introspection(IntrospectionRequest { issuer, .. }), Evidence::Published) => {
                let result = Err(FetchError::Connection);
                self.answer = Some(Answered { issuer, result });
            }
        }
        let step = self.identify(head);
        self.counted(head, step)
    }

    /// One attempt to know the caller.
    fn identify(&mut self, head: &RequestHead<'_>) -> Result<Step<Principal>, Denial> {
        match self.verify(head)? {
            Bound::Principal(principal) => Ok(Step::Done(principal)),
            Bound::Without { fetch, otherwise } => match self.asked.get_mut(fetch.kind()) {
                Some(asked) if !*asked => {
                    *asked = true;
                    Ok(Step::Needs(fetch))
                }
                _ => Err(*otherwise),
            },
        }
    }

    /// Counts a refusal that the embedder found before [`Visit::authorize`]: over-long bodies, deadlines, draining.
    pub fn refuse(&self, head: &RequestHead<'_>, mut denial: Denial) -> Denial {
        let mut laps = self.laps;
        if self.identifying && laps.of(Stage::Identity).is_none() {
            laps.end(Stage::Identity, self.gate.ticks.now_ns());
        }
        self.gate.stage_times.record_all(&laps);
        denial.stages_ns = laps.total_ns();
        self.gate.refusals.count(Source {
            server: self.server().map(|server| Arc::clone(server.name())),
            reason: denial.reason,
            client_ip: Some(head.client_ip),
        });
        denial
    }

    /// Stages 6 to 9: reads the body, checks scopes, asks the policy and hands the record over.
    ///
    /// `body` is kept as it is; it is what [`super::Permit::spend`] gives back for the upstream. Never waits: the
    /// record is on its way to the log, and only [`Recorded::permit`] tells whether it has arrived.
    ///
    /// # Errors
    /// The refusal with its own record, handed over and not awaited; a principal that this visit has not bound is only
    /// counted. When even that record cannot be taken, the refusal is [`DenyReason::AuditUnavailable`].
    pub fn authorize(
        self,
        principal: Principal,
        head: &RequestHead<'_>,
        body: Bytes,
        now: UnixTime,
        scratch: &mut Scratch,
    ) -> Result<Recorded<'g>, Denial> {
        let Some(route) = self.route_proven_by(&principal) else {
            let denial = Denial::new(DenyReason::IdentityUnbound, "the visit has not bound this principal");
            return Err(self.refuse(head, denial));
        };
        let mut laps = self.laps;
        // The body was read in between.
        laps.skip(self.gate.ticks.now_ns());
        if rpc::is_batch(head, &body) {
            return batch::authorize(self, &route, &principal, (head, body), (laps, now), scratch);
        }
        let case = self.case(&route, principal, head, laps, now);
        authorize_case(case, head, body, scratch)
    }

    /// What is known of a request before it is judged.
    pub(super) fn case(
        &self,
        route: &Route,
        principal: Principal,
        head: &RequestHead<'_>,
        laps: Laps,
        now: UnixTime,
    ) -> Case<'g> {
        let (snapshot, server) = (Arc::clone(&self.snapshot), Arc::clone(&route.server));
        let mut case = Case::new(self.gate, snapshot, server, principal, head.client_ip, laps, now);
        case.catalog = route.catalog.clone();
        case.client_cert_sha256 = head.certificate.map(|certificate| certificate.sha256);
        case
    }

    /// The route, when `principal` was bound by this very visit: another one's may be for another server.
    fn route_proven_by(&self, principal: &Principal) -> Option<Arc<Route>> {
        let bound = self.bound.as_ref()?;
        let route = self.route.as_ref()?;
        bound.is_same_binding(principal).then(|| Arc::clone(route))
    }

    fn counted<T>(&self, head: &RequestHead<'_>, result: Result<T, Denial>) -> Result<T, Denial> {
        result.map_err(|denial| {
            let told = match self.server() {
                Some(server) => sender::challenged(denial, self.gate, &self.snapshot, server, head, self.now),
                None => denial,
            };
            self.refuse(head, told)
        })
    }

    fn verify(&mut self, head: &RequestHead<'_>) -> Result<Bound, Denial> {
        (self.route, self.bound) = (None, None);
        let route = self.snapshot.route_at(head.path, head.host).map(Arc::clone)?;
        self.route = Some(Arc::clone(&route));
        let (server, limits) = (&route.server, self.snapshot.limits());
        check_addressee(server, head)?;
        let credential = credential_of(head, server).map_err(|denial| challenged(denial, server))?;
        let principal = match self.bind(&route, head, &credential)? {
            Bound::Principal(principal) => principal,
            without @ Bound::Without { .. } => return Ok(without),
        };
        // Nothing after this may ask for a fetch: the proof of a request serves once.
        self.gate
            .revocations
            .check(&principal, self.now, limits.leeway)
            .map_err(|denial| challenged(denial, server))?;
        if let Some(token) = principal.token() {
            let reported = limits.token_sources_reported;
            self.gate.sharing.used(token, head, server, reported);
        }
        self.check_rate(server, &principal)?;
        check_form(head)?;
        let holds = |newer: &Principal| self.gate.revocations.check(newer, self.now, limits.leeway).is_ok();
        self.gate.streams.renew(&principal, server, holds);
        self.bound = Some(principal.clone());
        self.laps.end(Stage::Identity, self.gate.ticks.now_ns());
        Ok(Bound::Principal(principal))
    }

    /// Binds who shows this credential.
    fn bind(&self, route: &Route, head: &RequestHead<'_>, credential: &Credential<'_>) -> Result<Bound, Denial> {
        let server = &route.server;
        match credential {
            Credential::ClientCertificate(certificate) => server
                .machines()
                .bind(certificate, server.tenant_of(None)?, self.now, &self.gate.key)
                .map(Bound::Principal)
                .map_err(|denial| challenged(denial, server)),
            Credential::Bearer(token) => match self.by_shared_secret(server, head, *token)? {
                Some(principal) => Ok(Bound::Principal(principal)),
                None => self.by_token(route, head, credential, *token),
            },
            Credential::Dpop { token, .. } => self.by_token(route, head, credential, *token),
        }
    }

    /// Whom the server's own secret stands for, when it came, and from this machine: a peer that forwards for somebody
    /// else speaks for another machine. Whatever else came is judged as a token.
    fn by_shared_secret(
        &self,
        server: &Server,
        head: &RequestHead<'_>,
        token: BearerToken<'_>,
    ) -> Result<Option<Principal>, Denial> {
        let Some(secret) = server.shared_secret() else {
            return Ok(None);
        };
        let forwarded = FORWARDING.iter().any(|name| head.headers.contains_key(name));
        let local = head.client_ip.to_canonical().is_loopback() && !forwarded;
        if !secret.is(token) {
            return Ok(None);
        }
        if !local {
            // Judged as a token it could be shown to an issuer.
            let operator = "the shared secret came from another machine, or through one that speaks for it";
            return Err(challenged(Denial::new(DenyReason::CredentialScheme, operator), server));
        }
        let tenant = server.tenant_of(None)?;
        let expires = self.now.after(self.snapshot.limits().token_lifetime_max);
        Ok(Some(identity::bind_shared_secret(
            secret,
            tenant,
            expires,
            &self.gate.key,
        )))
    }

    /// Verifies the token of a request, then what its sender proves, and binds it.
    fn by_token(
        &self,
        route: &Route,
        head: &RequestHead<'_>,
        credential: &Credential<'_>,
        token: BearerToken<'_>,
    ) -> Result<Bound, Denial> {
        let (server, limits) = (&route.server, self.snapshot.limits());
        let bounds = limits.token_limits();
        let terms = Terms {
            accepted: &route.issuers,
            limits: &bounds,
            cache: &self.gate.tokens,
            failures: &self.gate.failures,
            source: head.client_ip,
            now: self.now,
            answer: self.answer.as_ref(),
        };
        let without = |fetch, otherwise| {
            let otherwise = Box::new(challenged(otherwise, server));
            Ok(Bound::Without { fetch, otherwise })
        };
        let token = match token::verify(token, &terms) {
            Ok(Verification::Verified(token)) => token,
            Ok(Verification::NeedsKeys { issuer, otherwise }) => return without(Fetch::Jwks(issuer), otherwise),
            Ok(Verification::NeedsIntrospection { request, otherwise }) => {
                return without(Fetch::Introspection(request), otherwise);
            }
            Err(denial) => return Err(challenged(denial, server)),
        };
        sender::check(self, server, head, credential, &token)?;
        let tenant = server.tenant_of(token.tenant()).map(Arc::clone)?;
        identity::bind(token, &tenant, limits.act_depth_max, &self.gate.key)
            .map(|principal| Bound::Principal(server.machines().grant(principal)))
            .map_err(|denial| challenged(denial, server))
    }

    /// Takes one call from the caller's rate.
    pub(super) fn check_rate(&self, server: &Server, principal: &Principal) -> Result<(), Denial> {
        let subject = principal.subject();
        let caller = Caller {
            tenant: principal.tenant(),
            issuer: subject.issuer(),
            subject: subject.id(),
            client: principal.client_id(),
        };
        self.gate.limiter.take(caller, server.rate(), self.now).map_err(|wait| {
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            Denial::new(DenyReason::RateLimited, "the subject's calls exceed its rate").with_retry_after_s(seconds)
        })
    }
}

/// Fields by which a proxy says that it speaks for another machine (RFC 7239, RFC 9110 section 7.6.3).
static FORWARDING: [HeaderName; 6] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("via"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// What one attempt to know the caller came to.
enum Bound {
    Principal(Principal),
    /// Evidence is missing, and this is what to answer while it is.
    Without {
        fetch: Fetch,
        otherwise: Box<Denial>,
    },
}

/// Host and origin: a page that was lured to our address asks for another host or comes from another origin.
fn check_addressee(server: &Server, head: &RequestHead<'_>) -> Result<(), Denial> {
    if !server.accepts_host(head.host) {
        return Err(Denial::new(
            DenyReason::HostUnknown,
            "the host is not one of the server's",
        ));
    }
    match head.single(&ORIGIN)? {
        Some(origin) if !server.accepts_origin(origin) => Err(Denial::new(
            DenyReason::OriginForbidden,
            "the origin is not one of the server's",
        )),
        _ => Ok(()),
    }
}

/// The form in which a call comes: a POST with a body, or a GET or DELETE that stands for itself.
fn check_form(head: &RequestHead<'_>) -> Result<(), Denial> {
    match *head.method {
        http::Method::POST => {
            head.json_body()?;
            head.accepts_both()
        }
        http::Method::GET => head.accepts_stream(),
        http::Method::DELETE => Ok(()),
        _ => Err(Denial::new(
            DenyReason::HttpMethod,
            "only GET, POST and DELETE are judged on an endpoint",
        )),
    }
}

/// The credential of a request; a certificate alone is one where the server knows machines by theirs.
///
/// # Errors
/// [`DenyReason::CertificateRefused`] for one that is not trusted, whatever it comes with, and those of
/// [`credential::find`].
fn credential_of<'r>(head: &RequestHead<'r>, server: &Server) -> Result<Credential<'r>, Denial> {
    if let Some(operator) = head.certificate.and_then(|certificate| certificate.refused) {
        return Err(Denial::new(DenyReason::CertificateRefused, operator));
    }
    credential::find(head, server.query_names()).or_else(|missing| match server.machines().knows_certificates() {
        true => credential::certificate_alone(head, missing),
        false => Err(missing),
    })
}

/// Adds the challenge that tells a client where a good token comes from (RFC 6750 section 3, RFC 9728 section 5.1).
#[cold]
pub(super) fn challenged(denial: Denial, server: &Server) -> Denial {
    let error = match denial.reason {
        DenyReason::CertificateRefused | DenyReason::CredentialMissing | DenyReason::CredentialScheme => None,
        // The token may be good; the challenge for a proof says what is wrong.
        DenyReason::DpopNonceMissing | DenyReason::DpopProofInvalid => None,
        DenyReason::ApiKeyPresent
        | DenyReason::CredentialRepeated
        | DenyReason::DpopUnavailable
        | DenyReason::IntrospectionUnavailable
        | DenyReason::KeysUnavailable
        | DenyReason::QueryPresent
        | DenyReason::RateLimited
        // No other token of the same caller would do.
        | DenyReason::TenantForeign
        | DenyReason::VerificationLimited => return denial,
        _ => Some(ChallengeError::InvalidToken),
    };
    let scopes: Vec<&str> = server.scopes().into_iter().collect();
    denial.with_challenge(Challenge {
        error,
        scope: (!scopes.is_empty()).then(|| scopes.join(" ")),
        resource_metadata: server.metadata_url().to_owned(),
        authentication: None,
        dpop: None,
    })
}

/// Judges one message and hands its record over.
pub(super) fn authorize_case<'g>(
    mut case: Case<'g>,
    head: &RequestHead<'_>,
    body: Bytes,
    scratch: &mut Scratch,
) -> Result<Recorded<'g>, Denial> {
    match judge(&mut case, head, &body, scratch) {
        Ok(verdict) => {
            let server = Arc::clone(&case.server);
            let upstream = server.upstream();
            let further = &upstream.forward_headers.request;
            let method = case.call.as_ref().map(|call| call.method);
            case.forward_headers = forward_headers(head.headers, method, case.session.as_ref(), further);
            let tool = case.call.as_ref().and_then(|call| call.named.tool());
            let credential = upstream.credentials.of(tool).map(Arc::clone);
            if case
                .batch
                .as_ref()
                .is_some_and(|place| !place.agrees(credential.as_ref()))
            {
                case.await_again();
                let operator = "the calls of the batch are made with different credentials";
                let denial = case.denial(DenyReason::RpcInvalid, operator);
                return Err(refused(case, denial.into()));
            }
            case.credential = credential;
            case.verdict = Some(verdict);
            case.body = body;
            let position = case.gate.submit(|out| records::write_allow(out, &case));
            match position {
                Ok(position) => Ok(Recorded::new(case, position)),
                Err(unrecorded) => {
                    case.await_again();
                    Err(unpermitted(case, &unrecorded))
                }
            }
        }
        Err(mut refusal) => {
            let told = sender::challenged(refusal.denial, case.gate, &case.snapshot, &case.server, head, case.now);
            refusal.denial = told;
            Err(refused(case, refusal))
        }
    }
}

/// Hands the record of a refusal over and counts the stages that came to it.
#[cold]
pub(super) fn refused(mut case: Case<'_>, refusal: Refusal) -> Denial {
    let Refusal { mut denial, decision } = refusal;
    denial.record_id = Some(case.record_id);
    let submitted = case
        .gate
        .submit(|out| records::write_deny(out, &case, &denial, decision.as_deref()));
    if let Err(unrecorded) = submitted {
        return unpermitted(case, &unrecorded);
    }
    // After the record, which tells the true reason.
    style::apply(&case, &mut denial);
    denial.stages_ns = end_of(&mut case);
    denial
}

/// The refusal of a request whose record the log did not take: there is no record to name.
#[cold]
fn unpermitted(mut case: Case<'_>, unrecorded: &Denial) -> Denial {
    let mut denial = case.denial(unrecorded.reason, unrecorded.operator);
    denial.record_id = None;
    denial.stages_ns = end_of(&mut case);
    denial
}

/// Counts the stages of a request that gets no permit, and says how long they took together.
fn end_of(case: &mut Case<'_>) -> u64 {
    case.end(Stage::Record);
    case.gate.stage_times.record_all(&case.laps);
    case.laps.total_ns()
}
