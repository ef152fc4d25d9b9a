//! What is known of one request, from its judgement to the end of its exchange.
//!
//! Owns [`Case`] and [`Verdict`]. Keeps the snapshot that judged the request, so that the answer is judged by the same
//! policy, limits and tool table.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::awaited::{Asked, Taken};
use super::batch::BatchPlace;
use super::permit::SESSION;
use super::tasks::TaskFacts;
use super::{Gate, Snapshot, style};
use crate::catalog::Catalog;
use crate::config::{Server, UpstreamCredential};
use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;
use crate::identity::{self, Principal, Proof, RolesOrigin};
use crate::json::Node;
use crate::policy::{self, Decision, Effect, Operation, Party, Redaction, RequestInput, Row, Texts};
use crate::record_id::RecordId;
use crate::rpc::{Call, Expected, Id, IdKind, Method, Named, ProtocolVersion, RequestId, Target};
use crate::scope::Needs;
use crate::session::Keeper;
use crate::stages::{Laps, Stage};
use crate::time::UnixTime;

/// Everything about one request that its records, its review and its refusals need.
pub(super) struct Case<'g> {
    pub(super) gate: &'g Gate,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) server: Arc<Server>,
    pub(super) principal: Principal,
    /// `None` until it was looked for: nothing is judged then.
    standing: Option<Standing>,
    pub(super) record_id: RecordId,
    pub(super) now: UnixTime,
    pub(super) client_ip: IpAddr,
    pub(super) client_cert_sha256: Option<[u8; 32]>,
    /// The tools of the server; `None` while they are not known.
    pub(super) catalog: Option<Arc<Catalog>>,
    pub(super) forward_headers: Vec<(HeaderName, HeaderValue)>,
    /// What the upstream is shown; chosen with the allow, so that a refused request has none.
    pub(super) credential: Option<Arc<UpstreamCredential>>,
    pub(super) body: Bytes,
    pub(super) laps: Laps,
    /// What the body said; `None` when it could not be read.
    pub(super) call: Option<CallFacts>,
    /// The session that the request is of.
    pub(super) session: Option<Session>,
    pub(super) verdict: Option<Verdict>,
    /// The task that it is about.
    pub(super) task: Option<Box<TaskFacts>>,
    /// The place of the client's answer among those that are awaited, until it has gone to the upstream.
    taken: Option<Taken>,
    /// Where it stands in a batch; `None` outside of one.
    pub(super) batch: Option<Box<BatchPlace>>,
}

/// Tells the record only: the body and the session are the client's.
impl std::fmt::Debug for Case<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Case({})", self.record_id)
    }
}

/// What the data of the policy says of the caller.
#[derive(Debug, Default)]
struct Standing {
    /// The subject's row, where its groups and roles come from there.
    subject: Option<Arc<Row>>,
    /// The row of the agent that acts for the subject, where agents have rows.
    agent: Option<Arc<Row>>,
    /// A row is missing.
    unlisted: bool,
}

/// What the body of a request said, detached from the scratch it was parsed in.
#[derive(Debug)]
pub(super) struct CallFacts {
    pub(super) version: ProtocolVersion,
    pub(super) method: Method,
    /// What it names.
    pub(super) named: Named,
    /// Where the arguments stand in the body; empty when there are none.
    pub(super) arguments: Range<usize>,
    pub(super) arguments_digest: Option<[u8; 32]>,
    /// The keyed digest of the URI that it names.
    pub(super) resource_digest: Option<[u8; 32]>,
    /// The keyed digest of the state that the server handed out.
    pub(super) request_state_digest: Option<[u8; 32]>,
    pub(super) trace_parent: Option<Box<str>>,
    pub(super) id_kind: Option<IdKind>,
    /// The id of the server's request that this answers.
    pub(super) answers: Option<Id>,
    pub(super) expected: Expected,
}

/// A session of the legacy era that was sealed for the caller.
pub(super) struct Session {
    /// What the upstream calls it.
    pub(super) upstream: HeaderValue,
    /// Who keeps it; one of the server's.
    pub(super) keeper: Keeper,
    /// What the client calls it.
    pub(super) sealed: HeaderValue,
    /// The keyed digest of the upstream's id, for records: the same whichever key sealed it.
    pub(super) digest: [u8; 32],
}

/// An allow of the policy, whose obligations can all be carried out.
#[derive(Debug)]
pub(super) struct Verdict {
    decision: Decision,
}

impl Verdict {
    /// The verdict of a decision.
    ///
    /// # Errors
    /// The decision itself when it is anything but an allow.
    pub(super) fn of(decision: Decision) -> Result<Self, Decision> {
        match decision.effect {
            Effect::Allow => Ok(Self { decision }),
            Effect::Deny => Err(decision),
        }
    }

    /// The verdict on what the protocol allows to any valid token.
    pub(super) fn of_protocol() -> Self {
        Self {
            decision: Decision::of_protocol(),
        }
    }

    /// The same with further demands on the answer.
    pub(super) fn with(mut self, redactions: Vec<Redaction>) -> Self {
        self.decision.obligations.redact.extend(redactions);
        self
    }

    pub(super) fn decision(&self) -> &Decision {
        &self.decision
    }

    pub(super) fn redactions(&self) -> &[Redaction] {
        &self.decision.obligations.redact
    }
}

impl<'g> Case<'g> {
    pub(super) fn new(
        gate: &'g Gate,
        snapshot: Arc<Snapshot>,
        server: Arc<Server>,
        principal: Principal,
        client_ip: IpAddr,
        laps: Laps,
        now: UnixTime,
    ) -> Self {
        Self {
            record_id: gate.record_ids.next(now),
            gate,
            snapshot,
            server,
            principal,
            standing: None,
            now,
            client_ip,
            client_cert_sha256: None,
            catalog: None,
            forward_headers: Vec::new(),
            credential: None,
            body: Bytes::new(),
            laps,
            call: None,
            session: None,
            verdict: None,
            taken: None,
            task: None,
            batch: None,
        }
    }

    /// Ends a lap of the request's stopwatch.
    pub(super) fn end(&mut self, stage: Stage) {
        self.laps.end(stage, self.gate.ticks.now_ns());
    }

    /// Keeps what `call` said: its names, its digests, and where its arguments stand in the body.
    pub(super) fn learn(&mut self, call: &Call<'_>) {
        let key = &self.gate.key;
        self.call = Some(CallFacts {
            version: call.version(),
            method: call.method(),
            named: call.target().to_named(),
            arguments: call.arguments().map(|arguments| arguments.span()).unwrap_or_default(),
            arguments_digest: call.arguments().map(|arguments| key.mac(arguments.raw().as_bytes())),
            resource_digest: call.target().resource().map(|uri| key.mac(uri.as_bytes())),
            request_state_digest: call.request_state().map(|state| key.mac(state.as_bytes())),
            trace_parent: call.trace_parent().map(Box::from),
            id_kind: call.id().map(|id| id.kind()),
            answers: call.answers().map(RequestId::value),
            expected: call.expected(),
        });
    }

    /// Opens the session that a legacy request names.
    ///
    /// # Errors
    /// [`DenyReason::SessionUnknown`] when it was not sealed for this caller at this server, whatever the cause: nobody
    /// is told whether somebody else has it. Also when who keeps it is gone.
    pub(super) fn enter_session(&mut self, call: &Call<'_>, head: &RequestHead<'_>) -> Result<(), Denial> {
        let (Some(text), Some(sealed)) = (call.session(), head.headers.get(&SESSION)) else {
            return Ok(());
        };
        let foreign = || {
            self.denial(
                DenyReason::SessionUnknown,
                "the session was not sealed for this caller, or its key is gone",
            )
        };
        let keys = self.gate.session_keys.current();
        let (keeper, upstream) = keys
            .open(self.server.name(), &self.principal, text, self.now)
            .map_err(|_| foreign())?;
        if self.server.upstream().keeper(keeper).is_none() {
            return Err(self.denial(
                DenyReason::SessionUnknown,
                "the endpoint or the address that keeps the session is gone",
            ));
        }
        let mut sealed = sealed.clone();
        sealed.set_sensitive(true);
        self.session = Some(Session {
            digest: self.gate.key.mac(upstream.as_bytes()),
            upstream,
            keeper,
            sealed,
        });
        Ok(())
    }

    /// Whom and what a request of the server with this id asks.
    pub(super) fn asked<'c>(&'c self, id: &'c Id) -> Asked<'c> {
        Asked {
            principal_id: self.principal.principal_id(),
            server: self.server.name(),
            session: self.session.as_ref().map(|session| &session.digest),
            id,
        }
    }

    /// What an answer of the client is judged as: it must be awaited from this caller, at this server and in this session,
    /// and be what was asked for.
    ///
    /// # Errors
    /// [`DenyReason::RpcInvalid`] for one that is not awaited, or no longer, whatever the cause, and for any other form.
    pub(super) fn answering<'b>(&self, call: &Call<'b>) -> Result<Call<'b>, Denial> {
        let Some(id) = call.answers().map(RequestId::value) else {
            return Ok(*call);
        };
        let asked = self.gate.awaited.find(&self.asked(&id), self.now);
        call.answering(asked.ok_or_else(|| self.unawaited())?)
    }

    /// An awaited answer is awaited no more: it passes once, unless [`Self::await_again`] puts it back.
    ///
    /// # Errors
    /// [`DenyReason::RpcInvalid`] for one that another answer came before.
    pub(super) fn take_awaited(&mut self) -> Result<(), Denial> {
        let Some((call, id)) = self.call.as_ref().and_then(|call| Some((call, call.answers.as_ref()?))) else {
            return Ok(());
        };
        match self.gate.awaited.take(&self.asked(id), self.now) {
            Some(taken) if taken.method() == call.method => {
                self.taken = Some(taken);
                Ok(())
            }
            Some(_) | None => Err(self.unawaited()),
        }
    }

    /// The answer of the client has not gone to the upstream: it may be given again.
    pub(super) fn await_again(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.gate.awaited.put_back(taken, self.now);
        }
    }

    /// Awaits the answer to this request of the server no more.
    pub(super) fn await_no_more(&self, id: &Id, now: UnixTime) {
        let _ = self.gate.awaited.take(&self.asked(id), now);
    }

    #[cold]
    fn unawaited(&self) -> Denial {
        self.denial(
            DenyReason::RpcInvalid,
            "the answer is to no request of the server that still awaits it from this caller in this session",
        )
    }

    /// Looks the caller up in the data of the policy, where its groups and roles come from there.
    ///
    /// What any valid token may do needs no row: whoever has none has no groups and no roles there.
    ///
    /// # Errors
    /// [`DenyReason::SubjectUnlisted`] for whoever needs a row there and has none that is whole.
    pub(super) fn look_up(&mut self) -> Result<(), Denial> {
        let always = |case: &Self| case.call.as_ref().is_some_and(|call| call.method.is_always_allowed());
        let standing = match self.stand() {
            Err(_) if always(self) => Standing {
                unlisted: true,
                ..Standing::default()
            },
            standing => standing?,
        };
        self.standing = Some(standing);
        Ok(())
    }

    /// Whether the caller has no row in the data of the policy and needs one: then it hears the answer to its request,
    /// and nothing that a server says beside it.
    pub(super) fn is_unlisted(&self) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.unlisted)
    }

    fn stand(&self) -> Result<Standing, Denial> {
        let (principal, directory) = (&self.principal, self.server.policy().directory());
        let (tenant, subject, actor) = (principal.tenant(), principal.subject(), principal.actor());
        let subject = match principal.roles_origin() {
            RolesOrigin::Configuration | RolesOrigin::Token => None,
            RolesOrigin::PolicyData => Some(
                directory
                    .subject(tenant, subject.issuer(), subject.id())
                    .ok_or_else(|| unlisted("the policy's data has no whole row for the subject"))?,
            ),
        };
        let agent = match principal.on_behalf_of() {
            Some(_) if directory.lists_agents() => Some(
                directory
                    .agent(tenant, actor.issuer(), actor.id())
                    .ok_or_else(|| unlisted("the policy's data has no whole row for the agent that acts"))?,
            ),
            Some(_) | None => None,
        };
        Ok(Standing {
            subject: subject.map(Arc::clone),
            agent: agent.map(Arc::clone),
            unlisted: false,
        })
    }

    /// A refusal of this request: with its record, its id and its era.
    #[cold]
    pub(super) fn denial(&self, reason: DenyReason, operator: &'static str) -> Denial {
        let mut denial = Denial::new(reason, operator);
        denial.record_id = Some(self.record_id);
        if let Some(call) = &self.call {
            denial.modern = call.version.is_modern();
            denial.request_id = call.expected.id_raw().map(Box::from);
        }
        style::apply(self, &mut denial);
        if matches!(reason, DenyReason::AuditUnavailable) {
            denial.retry_after_s = Some(1);
        }
        denial
    }

    /// Checks that what proves the caller still holds.
    pub(super) fn check_proof(&self, now: UnixTime) -> Result<(), Denial> {
        let leeway = self.snapshot.limits().leeway;
        if now < self.principal.accepted_until(leeway) {
            return Ok(());
        }
        let (reason, operator) = match self.principal.proof() {
            Proof::Certificate { .. } => (
                DenyReason::CertificateRefused,
                "the certificate expired before the call could be made",
            ),
            Proof::SharedSecret { .. } | Proof::Token(_) => (
                DenyReason::TokenExpired,
                "the token expired before the call could be made",
            ),
        };
        Err(super::visit::challenged(Denial::new(reason, operator), &self.server))
    }

    /// Checks that nothing about the caller is revoked.
    pub(super) fn check_revocation(&self, now: UnixTime) -> Result<(), Denial> {
        let leeway = self.snapshot.limits().leeway;
        self.gate
            .revocations
            .check(&self.principal, now, leeway)
            .map_err(|revoked| super::visit::challenged(self.denial(revoked.reason, revoked.operator), &self.server))
    }

    /// What the policy sees of the request; `target` and its row stand for the call's own in the review of a list.
    ///
    /// `None` when the body was never read, or the caller never looked up: nothing is judged then.
    pub(super) fn input<'c>(
        &'c self,
        target: Target<'c>,
        needs: Needs<'c>,
        arguments: Option<Node<'c>>,
        now: UnixTime,
    ) -> Option<RequestInput<'c>> {
        let (call, standing) = (self.call.as_ref()?, self.standing.as_ref()?);
        let (server, principal) = (&*self.server, &self.principal);
        let token = principal.token();
        let (groups, roles) = match &standing.subject {
            Some(row) => (&*row.groups, &*row.roles),
            None => (principal.groups(), principal.roles()),
        };
        let agent = standing.agent.as_deref();
        Some(RequestInput {
            tenant: principal.tenant(),
            request: Operation {
                protocol: call.version.as_str(),
                method: call.method.as_str(),
                tool: target.tool(),
                prompt: target.prompt(),
                resource_uri: target.resource(),
                arguments,
                id_type: call.id_kind.map(IdKind::as_str),
                ..Operation::default()
            },
            tool: target.tool().map(|_| policy::Tool {
                class: needs.class(),
                required_scopes: Texts::Boxes(needs.required()),
            }),
            subject: Party {
                groups: Some(Texts::Boxes(groups)),
                roles: Some(Texts::Boxes(roles)),
                scopes: Texts::Boxes(principal.scopes()),
                claims: token.map(|token| token.claims_json()),
                ..party(principal.subject())
            },
            actor: principal.on_behalf_of().map(|_| Party {
                groups: agent.map(|row| Texts::Boxes(&row.groups)),
                roles: agent.map(|row| Texts::Boxes(&row.roles)),
                scopes: Texts::Boxes(principal.scopes()),
                ..party(principal.actor())
            }),
            client_id: Some(principal.client_id()),
            auth: token.map_or_else(policy::Auth::default, |token| policy::Auth {
                acr: token.acr(),
                amr: Texts::Boxes(token.amr()),
                time: token.auth_time().map(UnixTime::from_secs),
            }),
            server: policy::Server {
                name: server.name(),
                resource: server.resource(),
            },
            connection: policy::Connection {
                ip: self.client_ip,
                client_cert_sha256: self.client_cert_sha256.as_ref(),
            },
            time: now,
        })
    }
}

#[cold]
fn unlisted(operator: &'static str) -> Denial {
    Denial::new(DenyReason::SubjectUnlisted, operator)
}

fn party(party: &identity::Party) -> Party<'_> {
    Party {
        id: party.id(),
        issuer: party.issuer(),
        kind: party.kind().as_str(),
        ..Party::default()
    }
}
