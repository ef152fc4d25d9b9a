//! The judgement of one request: stages 6 to 8, from the body to the policy's word.
//!
//! Owns [`judge`] and [`Refusal`]. What is learned on the way goes into the case, so that a refusal's record tells it
//! too. Never waits, and records nothing.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::case::{Case, Verdict};
use super::{Scratch, authentication, listed};
use crate::denial::{Challenge, ChallengeError, Denial, DenyReason};
use crate::head::RequestHead;
use crate::json;
use crate::policy::{Decision, RequestInput, Worker};
use crate::rpc::{self, Call, Target};
use crate::scope::{Needs, ScopeGrant, ScopeRefusal};
use crate::stages::{Laps, Stage};

mod subscriptions;

/// A refusal, with the policy's decision when it was the policy that refused.
pub(super) struct Refusal {
    pub(super) denial: Denial,
    pub(super) decision: Option<Box<Decision>>,
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self { denial, decision: None }
    }
}

/// Stages 6 to 8. What is learned on the way goes into `case`, so that a refusal's record tells it too.
pub(super) fn judge(
    case: &mut Case<'_>,
    head: &RequestHead<'_>,
    body: &Bytes,
    scratch: &mut Scratch,
) -> Result<Verdict, Refusal> {
    let parsed = parse(case, head, body, &mut scratch.call);
    case.end(Stage::Parse);
    let call = parsed?;
    let mut laps = case.laps;
    let task = case.enter_task(&call);
    let verdict = match task.and_then(|tool| case.look_up().map(|()| tool)) {
        Ok(None) => decide(case, &call, &mut scratch.worker, &mut laps),
        Ok(Some(tool)) => decide(case, &call.about(&tool), &mut scratch.worker, &mut laps),
        Err(refused) => Err(refused.into()),
    };
    case.laps = laps;
    // After the policy: what the caller may not call is not told to be unknown or changed.
    let verdict = verdict.and_then(|verdict| {
        listed::check_call(case)?;
        listed::compare_headers(case, &call, head)?;
        Ok(verdict)
    });
    // Last: what is refused for another reason may come again.
    let taken = verdict.and_then(|verdict| case.take_awaited().map(|()| verdict).map_err(Refusal::from));
    taken.map_err(|mut refusal| {
        refusal.denial.modern = call.version().is_modern();
        refusal.denial.request_id = call.id().map(|id| id.raw().into());
        refusal
    })
}

/// Stage 6.
fn parse<'b>(
    case: &mut Case<'_>,
    head: &RequestHead<'b>,
    body: &'b Bytes,
    scratch: &'b mut json::Scratch,
) -> Result<Call<'b>, Denial> {
    let limits = case.snapshot.limits();
    // The body may have taken its time: the token must still hold when the call is judged.
    case.check_proof(case.now)?;
    case.check_revocation(case.now)?;
    let call_limits = rpc::CallLimits {
        json: super::json_limits(limits),
        tool_name_bytes_max: limits.tool_name_bytes_max,
    };
    let call = match *head.method == http::Method::POST {
        true => rpc::read_call(head, body, scratch, call_limits)?,
        false => rpc::read_http(head, body)?,
    };
    if call.answers().is_some() {
        // What it answers tells what it is, and that is known in its session alone.
        case.enter_session(&call, head)?;
        let call = case.answering(&call)?;
        case.learn(&call);
        return Ok(call);
    }
    case.learn(&call);
    case.enter_session(&call, head)?;
    Ok(call)
}

/// Stages 7 and 8: what the scope table and the policy say of the call.
pub(super) fn decide(
    case: &Case<'_>,
    call: &Call<'_>,
    worker: &mut Worker,
    laps: &mut Laps,
) -> Result<Verdict, Refusal> {
    if call.method().is_always_allowed() {
        return Ok(Verdict::of_protocol());
    }
    let watched = match call.subscriptions() {
        None => Vec::new(),
        Some(wanted) => subscriptions::decide(case, call, wanted, worker)?,
    };
    let grant = case
        .server
        .grant(call.target(), |scope| case.principal.has_scope(scope));
    laps.end(Stage::Scope, case.gate.ticks.now_ns());
    let verdict = match grant {
        Ok(grant) => ask(case, call, &grant, worker),
        Err(ScopeRefusal::Insufficient(needs)) if case.server.policy().has_visible() => {
            Err(uncovered_if_visible(case, call, needs, worker).into())
        }
        Err(ScopeRefusal::Unmapped) if case.server.policy().has_visible() => {
            Err(unmapped_like_hidden(case, call.target(), worker).into())
        }
        Err(ScopeRefusal::Insufficient(needs)) => return Err(uncovered(case, call, needs.required()).into()),
        Err(ScopeRefusal::Unmapped) => return Err(unmapped(call.target()).into()),
    };
    laps.end(Stage::Policy, case.gate.ticks.now_ns());
    verdict.map(|verdict| verdict.with(watched))
}

/// Stage 8. A tool that is hidden is refused first.
fn ask(case: &Case<'_>, call: &Call<'_>, grant: &ScopeGrant<'_>, worker: &mut Worker) -> Result<Verdict, Refusal> {
    let needs = grant.needs();
    let Some(input) = case.input(call.target(), needs, None, case.now) else {
        return Err(Denial::new(DenyReason::PolicyFailed, "the call was not read").into());
    };
    ask_of(case, call, needs, input, worker)
}

/// The same of an operation that is the call's, or part of it.
fn ask_of<'c>(
    case: &'c Case<'_>,
    call: &Call<'c>,
    needs: Needs<'_>,
    mut input: RequestInput<'c>,
    worker: &mut Worker,
) -> Result<Verdict, Refusal> {
    let (policy, ticks) = (case.server.policy(), &*case.gate.ticks);
    let limits = super::eval_limits(case.snapshot.limits());
    // Asked as a list asks, without arguments: what is not listed is refused, whatever they are.
    let operation = &input.request;
    let named = operation.tool.or(operation.prompt).or(operation.resource_uri);
    if named.is_some() && !visible(case, &input, worker)? {
        return Err(hidden().into());
    }
    input.request.arguments = call.arguments();
    input.request.input_responses = call.input_responses();
    input.request.answer = call.answer();
    let decision = policy
        .decide(&input, worker, &limits, ticks)
        .map_err(super::policy_failed)?;
    if let Some(demand) = &decision.obligations.authenticate
        && !authentication::satisfies(&case.principal, demand, case.now, case.snapshot.limits().leeway)
    {
        let challenge = challenge(
            case,
            call,
            needs.required(),
            ChallengeError::InsufficientUserAuthentication,
        );
        let denial = Denial::new(
            DenyReason::AuthenticationInsufficient,
            "the policy asks for a fresher or stronger login than the token tells",
        );
        return Err(Refusal {
            denial: denial.with_challenge(Challenge {
                authentication: Some(demand.clone()),
                ..challenge
            }),
            decision: Some(Box::new(decision)),
        });
    }
    Verdict::of(decision).map_err(|decision| Refusal {
        denial: Denial::new(DenyReason::PolicyDenied, "the policy denies the call"),
        decision: Some(Box::new(decision)),
    })
}

/// The refusal of what has no row.
#[cold]
fn unmapped(target: Target<'_>) -> Denial {
    match target {
        Target::Prompt(_) => Denial::new(DenyReason::PromptUnmapped, "the prompt has no row in the scope table"),
        Target::Resource(_) => Denial::new(
            DenyReason::ResourceUnmapped,
            "the resource has no row in the scope table",
        ),
        Target::Nothing | Target::Tool(_) => {
            Denial::new(DenyReason::ToolUnmapped, "the tool has no row in the scope table")
        }
    }
}

/// Whether the policy shows what the call names to the caller.
fn visible(case: &Case<'_>, input: &RequestInput<'_>, worker: &mut Worker) -> Result<bool, Denial> {
    let limits = super::eval_limits(case.snapshot.limits());
    case.server
        .policy()
        .visible(input, worker, &limits, &*case.gate.ticks)
        .map_err(super::policy_failed)
}

/// The refusal of a call whose scopes are not covered. A challenge tells that there is such a tool: whoever may not see
/// it gets the refusal of an unknown one.
#[cold]
fn uncovered_if_visible(case: &Case<'_>, call: &Call<'_>, needs: Needs<'_>, worker: &mut Worker) -> Denial {
    let input = case.input(call.target(), needs, None, case.now);
    match input.map(|input| visible(case, &input, worker)) {
        Some(Ok(true)) => uncovered(case, call, needs.required()),
        Some(Err(failed)) => failed,
        Some(Ok(false)) | None => hidden(),
    }
}

/// The refusal of what has no row. The policy is asked what it is asked of a hidden tool, and its answer is of no
/// account: neither the time that it takes nor its failure tells that there is no row.
#[cold]
fn unmapped_like_hidden(case: &Case<'_>, target: Target<'_>, worker: &mut Worker) -> Denial {
    let nothing = ScopeGrant::of_nothing();
    let input = case.input(target, nothing.needs(), None, case.now);
    match input.map(|input| visible(case, &input, worker)) {
        Some(Err(failed)) => failed,
        Some(Ok(_)) | None => unmapped(target),
    }
}

/// The refusal that names every scope which the call needs.
#[cold]
fn uncovered(case: &Case<'_>, call: &Call<'_>, required: &[Box<str>]) -> Denial {
    let denial = Denial::new(
        DenyReason::ScopeInsufficient,
        "the token's scopes do not cover what the call names",
    );
    denial.with_challenge(challenge(case, call, required, ChallengeError::InsufficientScope))
}

#[cold]
fn hidden() -> Denial {
    Denial::new(
        DenyReason::ToolHidden,
        "the policy hides what the call names from the caller",
    )
}

/// The challenge to come back with a better token, with every scope that this call needs.
#[cold]
fn challenge(case: &Case<'_>, call: &Call<'_>, required: &[Box<str>], error: ChallengeError) -> Challenge {
    let scope = step_up_scope(required, case.principal.scopes(), call.version().is_modern());
    Challenge {
        error: Some(error),
        scope: (!scope.is_empty()).then_some(scope),
        resource_metadata: case.server.metadata_url().to_owned(),
        authentication: None,
        dpop: None,
    }
}

/// The scopes to ask for, sorted and each once, so that the same need always reads the same: the required ones; for
/// clients of the legacy era, which replace what they had, the granted ones too (mcp-duties 1.5 and section 6).
#[cold]
fn step_up_scope(required: &[Box<str>], granted: &[Box<str>], modern: bool) -> String {
    let granted = if modern { &[][..] } else { granted };
    let scopes: BTreeSet<&str> = required.iter().chain(granted).map(|scope| &**scope).collect();
    let scopes: Vec<&str> = scopes.into_iter().collect();
    scopes.join(" ")
}
