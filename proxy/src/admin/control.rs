//! The control plane: what operators do to a running gate. Off unless it is configured.
//!
//! Owns its two calls, `POST /revocations` and `GET /revocations`, and who may make them: the gate's own user over a Unix
//! socket, a bearer of the configuration, or a client certificate. Every act of somebody who is known is on durable record
//! before it is answered, refused ones too; who is not known is counted. Never judges a request of a client.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::AUTHORIZATION;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use portcullis_core::audit::ActOutcome;
use portcullis_core::config::Limits;
use portcullis_core::denial::DenyReason;
use portcullis_core::gate::AdminAct;
use portcullis_core::revocation::{RevocationEntry, RevocationError, RevocationRequest, RevocationSource};
use ring::hmac;
use ring::rand::SystemRandom;
use serde_json::{Value, json};

use crate::background::revocation::{Applied, RevocationStore};
use crate::clock::now;
use crate::config::ControlToken;
use crate::durable;
use crate::egress::{self, ClientLost, Readers};
use crate::ingress::{self, Head, ReadError, TrustedHops};
use crate::respond::{self, Problem};
use crate::service::{finish, head_came};

const REVOCATIONS: &str = "/revocations";
/// Bytes of a body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Entries of one page, unless fewer are asked for.
const PAGE_ENTRIES_MAX: usize = 1_000;

/// Who the connection is from, as far as that is known without the request.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// Somebody on the network.
    Network,
    /// A process of this user, as the system says.
    User(u32),
}

/// The application of the control plane for one kind of connection.
#[derive(Clone)]
pub(crate) struct Control {
    store: Arc<RevocationStore>,
    bearers: Arc<Bearers>,
    peer: Peer,
}

/// The bearers of the configuration.
struct Bearers {
    /// Made at the start: what is compared with a bearer is no bearer.
    key: hmac::Key,
    tags: Vec<(Arc<str>, hmac::Tag)>,
}

impl Bearers {
    fn new(tokens: &[ControlToken]) -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let tags = tokens
            .iter()
            .map(|token| (Arc::clone(&token.name), hmac::sign(&key, &token.sha256)))
            .collect();
        Some(Self { key, tags })
    }

    /// The name of a bearer, found in the same time whichever it is, and whether it is one at all.
    fn name_of(&self, bearer: &str) -> Option<Arc<str>> {
        let digest = ring::digest::digest(&ring::digest::SHA256, bearer.as_bytes());
        let mut found = None;
        for (name, tag) in &self.tags {
            if hmac::verify(&self.key, digest.as_ref(), tag.as_ref()).is_ok() {
                found = Some(Arc::clone(name));
            }
        }
        found
    }
}

/// The answer to a call.
struct Answered {
    status: u16,
    body: Value,
}

impl Control {
    /// The control plane over `store`; `None` only when the system gives no randomness.
    pub(crate) fn new(store: Arc<RevocationStore>, tokens: &[ControlToken]) -> Option<Self> {
        Some(Self {
            store,
            bearers: Arc::new(Bearers::new(tokens)?),
            peer: Peer::Network,
        })
    }

    /// The same for connections of this user.
    pub(crate) fn of_user(&self, uid: u32) -> Self {
        Self {
            peer: Peer::User(uid),
            ..self.clone()
        }
    }

    async fn answer(&self, session: &mut ServerSession) -> Result<(), ClientLost> {
        // One call a connection: nobody holds the one thread of the control plane.
        session.set_keepalive(None);
        let gate = self.store.gate();
        let limits = Limits {
            body_bytes_max: BODY_BYTES_MAX,
            ..gate.snapshot().limits().clone()
        };
        session.set_write_timeout(Some(limits.body_deadline));
        let head = match ingress::take_head(session, &limits, &TrustedHops::default()) {
            Ok(head) => head,
            Err(denial) => return respond::refuse(session, &denial, &Readers::default()).await,
        };
        let answered = match self.author(&head) {
            Ok(author) => self.act(session, &head, &author, &limits).await?,
            Err(reason) => {
                gate.count_control_refusal(reason, Some(head.view().client_ip));
                Err(Problem::UNAUTHENTICATED)
            }
        };
        match answered {
            Ok(Answered { status, body }) => {
                let body = Bytes::from(body.to_string());
                let header = egress::head(status, "application/json", body.len(), &Readers::default());
                egress::write_whole(session, header.ok_or(ClientLost)?, body).await
            }
            Err(problem) => respond::problem(session, &problem).await,
        }
    }

    /// Who makes the call.
    fn author(&self, head: &Head) -> Result<String, DenyReason> {
        if let Peer::User(uid) = self.peer {
            return Ok(format!("uid:{uid}"));
        }
        let view = head.view();
        if view
            .certificate
            .is_some_and(|certificate| certificate.refused.is_some())
        {
            return Err(DenyReason::CertificateRefused);
        }
        let certificate = view
            .certificate
            .map(|certificate| format!("certificate:{}", hex(&certificate.sha256)));
        if self.bearers.tags.is_empty() {
            return certificate.ok_or(DenyReason::CredentialMissing);
        }
        let mut values = head.headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(DenyReason::CredentialMissing);
        };
        let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
        let name = match bearer {
            Some((scheme, bearer)) if scheme.eq_ignore_ascii_case("bearer") => self.bearers.name_of(bearer),
            Some(_) | None => None,
        };
        let name = name.ok_or(DenyReason::CredentialScheme)?;
        Ok(match certificate {
            Some(certificate) => format!("token:{name} {certificate}"),
            None => format!("token:{name}"),
        })
    }

    /// What `author` asks for.
    async fn act(
        &self,
        session: &mut ServerSession,
        head: &Head,
        author: &str,
        limits: &Limits,
    ) -> Result<Result<Answered, Problem>, ClientLost> {
        if head.path != REVOCATIONS {
            return Ok(Err(Problem::NOT_FOUND));
        }
        match head.method {
            Method::GET => {
                let query = session.req_header().uri.query().unwrap_or_default().to_owned();
                Ok(self.list(&query, author, limits).await)
            }
            Method::POST => {
                let body = match ingress::read_body(session, head, limits).await {
                    Ok(body) => body,
                    Err(ReadError::Gone) => return Err(ClientLost),
                    Err(ReadError::Refused(denial)) => {
                        let detail = denial.operator;
                        return Ok(Err(self.refused(None, author, detail, Problem::BODY, limits).await));
                    }
                };
                Ok(self.revoke(body, author, limits).await)
            }
            _ => Ok(Err(Problem::METHOD)),
        }
    }

    async fn revoke(&self, body: Bytes, author: &str, limits: &Limits) -> Result<Answered, Problem> {
        let request = match RevocationRequest::parse(&body) {
            Ok(request) => request,
            Err(error) => {
                return Err(self
                    .refused(None, author, &error.to_string(), Problem::BODY, limits)
                    .await);
            }
        };
        let (store, asked) = (Arc::clone(&self.store), request.clone());
        // On a thread that may wait for the disk; it goes on when the caller does not.
        let revoked = tokio::task::spawn_blocking(move || store.revoke_all(&[asked], RevocationSource::Act).pop());
        let Applied { revoked, durable } = match revoked.await {
            Ok(Some(Ok(applied))) => applied,
            Ok(Some(Err(error))) => {
                let kind = match error {
                    RevocationError::Full(_) => Problem::FULL,
                    _ => Problem::UNACCEPTABLE,
                };
                return Err(self
                    .refused(Some(&request), author, &error.to_string(), kind, limits)
                    .await);
            }
            Ok(None) | Err(_) => return Err(Problem::FAILED),
        };
        let changed = matches!(revoked, portcullis_core::revocation::Revoked::Changed(_));
        let outcome = match (durable, changed) {
            (false, _) => ActOutcome::NotDurable,
            (true, true) => ActOutcome::Applied,
            (true, false) => ActOutcome::Unchanged,
        };
        let act = AdminAct {
            act: "revoke",
            author,
            request: Some(&request),
            entry: Some(revoked.entry()),
            outcome,
            detail: None,
        };
        let recorded = self.record(&act, limits).await;
        if !durable {
            return Err(Problem::NOT_DURABLE);
        }
        recorded?;
        let status = if changed { 201 } else { 200 };
        Ok(Answered {
            status,
            body: entry_json(revoked.entry()),
        })
    }

    /// A page of what is in force, after the id that `after` names.
    async fn list(&self, query: &str, author: &str, limits: &Limits) -> Result<Answered, Problem> {
        let mut after = "";
        let mut limit = PAGE_ENTRIES_MAX;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("after", id)) => after = id,
                Some(("limit", count)) => match count.parse() {
                    Ok(count) if (1..=PAGE_ENTRIES_MAX).contains(&count) => limit = count,
                    Ok(_) | Err(_) => return Err(Problem::QUERY),
                },
                Some(_) | None => return Err(Problem::QUERY),
            }
        }
        let act = AdminAct {
            act: "list",
            author,
            request: None,
            entry: None,
            outcome: ActOutcome::Applied,
            detail: None,
        };
        self.record(&act, limits).await?;
        let entries = self.store.gate().revocations().entries();
        let rest: Vec<_> = entries.iter().filter(|entry| *after < *entry.id.to_string()).collect();
        let page: Vec<Value> = rest.iter().take(limit).map(|entry| entry_json(entry)).collect();
        let next = (limit < rest.len()).then(|| page.last().map(|last| last["id"].clone()));
        Ok(Answered {
            status: 200,
            body: json!({"count": entries.len(), "entries": page, "next": next.flatten()}),
        })
    }

    /// Records an act that was not done; what to answer.
    async fn refused(
        &self,
        request: Option<&RevocationRequest>,
        author: &str,
        detail: &str,
        problem: Problem,
        limits: &Limits,
    ) -> Problem {
        let act = AdminAct {
            act: "revoke",
            author,
            request,
            entry: None,
            outcome: ActOutcome::Refused,
            detail: Some(detail),
        };
        match self.record(&act, limits).await {
            Ok(()) => problem.because(detail),
            Err(unrecorded) => unrecorded,
        }
    }

    /// Puts an act on durable record.
    async fn record(&self, act: &AdminAct<'_>, limits: &Limits) -> Result<(), Problem> {
        if act.act == "revoke" {
            self.store.count(act.outcome);
        }
        let gate = self.store.gate();
        let Ok((_, position)) = gate.record_act(act, now()) else {
            return Err(Problem::UNRECORDED);
        };
        match durable::reached(gate.durable(), position, limits.audit_deadline).await {
            true => Ok(()),
            false => Err(Problem::UNRECORDED),
        }
    }
}

#[async_trait]
impl HttpServerApp for Control {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !head_came(&mut session, None).await {
            return None;
        }
        match self.answer(&mut session).await {
            Ok(()) => finish(session).await,
            Err(ClientLost) => None,
        }
    }
}

fn entry_json(entry: &RevocationEntry) -> Value {
    let mut json = json!({
        "id": entry.id.to_string(),
        "issuer": &*entry.issuer,
        "tenant": entry.tenant.as_deref(),
        "expires": entry.expires.secs(),
        "revoked_at": entry.revoked_at.secs(),
        "reason": entry.reason.as_deref(),
    });
    if let Some(members) = json.as_object_mut() {
        members.insert(entry.kind.code().to_owned(), (&*entry.target).into());
    }
    json
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
