//! The times of stages: each request counts once in every stage that it reached, with the time it spent there.
//!
//! The ticks of these tests advance by one microsecond at each look, and the policy looks twice a question.

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::{AGENT_FOR_CAROL, ALICE};

use super::stage::*;
use crate::denial::{Denial, DenyReason};
use crate::gate::Outcome;
use crate::stages::Stage as Part;

/// An answer that the sample policy releases.
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;

/// Microseconds spent on each stage from identity on, zero for those that nobody reached; none is counted twice.
#[track_caller]
fn check(stage: &Stage, name: &str, expected: [u64; 7]) {
    let mut spent = [0; 7];
    for (part, us) in Part::ALL.into_iter().skip(1).zip(&mut spent) {
        let histogram = stage.gate.stage_times().snapshot(part);
        *us = histogram.sum_ns() / 1_000;
        assert_eq!(histogram.count(), u64::from(*us != 0), "{name}: {part:?}");
    }
    assert_eq!(spent, expected, "{name}");
    let connection = stage.gate.stage_times().snapshot(Part::Connection);
    assert_eq!(connection.count(), 0, "{name}: the connection is the embedder's");
}

#[test]
fn an_answered_call_counts_in_every_stage() {
    let stage = Stage::new();
    let (_, mut ticket) = stage.forward(&Request::read()).unwrap();
    let reviewed = stage.review(&mut ticket, json(200, ANSWER));
    ticket.review_ended();
    ticket.review_ended();
    assert_eq!(body_of(&reviewed), ANSWER);
    check(&stage, "before its end", [0; 7]);
    assert_eq!(ticket.stages_ns(), 13_000);
    ticket.close(Outcome::Ended, NOW);
    check(&stage, "after its end", [1, 1, 1, 5, 1, 1, 3]);
}

#[test]
fn a_refused_call_counts_as_far_as_it_came() {
    let read = |arguments: &str| Call::tools_call(Era::Legacy, 1, READ, arguments);
    let mut torn = Request::read();
    torn.body = torn.body.slice(..torn.body.len() - 1);
    let mut keyless = Request::read();
    keyless.headers.remove("authorization");
    for (name, request, reason, expected) in [
        (
            "no token",
            keyless,
            DenyReason::CredentialMissing,
            [1, 0, 0, 0, 0, 0, 0],
        ),
        ("half a body", torn, DenyReason::JsonMalformed, [1, 1, 0, 0, 1, 0, 0]),
        (
            "beyond the scopes",
            Request::with_token(
                &read_call(Era::Legacy),
                &token(&ALICE).scope("repo").sign(keys::es256()),
            ),
            DenyReason::ScopeInsufficient,
            [1, 1, 1, 3, 1, 0, 0],
        ),
        (
            "no row",
            Request::by(&ALICE, &Call::tools_call(Era::Legacy, 1, "unknown", "{}")),
            DenyReason::ToolUnmapped,
            // The price of a hidden one, so that nobody can tell them apart.
            [1, 1, 1, 3, 1, 0, 0],
        ),
        (
            "somebody else's account",
            Request::by(&ALICE, &read(r#"{"account_id": "acc-2001"}"#)),
            DenyReason::PolicyDenied,
            [1, 1, 1, 5, 1, 0, 0],
        ),
        (
            "a tool that the policy hides",
            Request::by(&AGENT_FOR_CAROL, &read_call(Era::Legacy)),
            DenyReason::ToolHidden,
            [1, 1, 1, 3, 1, 0, 0],
        ),
    ] {
        let stage = Stage::new();
        let denial = stage.record(&request).unwrap_err();
        assert_eq!(denial.reason, reason, "{name}");
        assert_eq!(denial.stages_ns, expected.iter().sum::<u64>() * 1_000, "{name}");
        check(&stage, name, expected);
    }
}

#[test]
fn what_the_embedder_refuses_counts_only_when_it_was_asked_who_calls() {
    let stage = Stage::new();
    let request = Request::read();
    let mut visit = stage.gate.begin(NOW);
    let draining = Denial::new(DenyReason::Draining, "the gate is shutting down");
    assert_eq!(visit.refuse(&request.head(), draining).stages_ns, 0);
    check(&stage, "draining", [0; 7]);
    visit.authenticate(&request.head()).unwrap();
    let late = Denial::new(DenyReason::BodyTimeout, "the body did not arrive within its deadline");
    assert_eq!(visit.refuse(&request.head(), late).stages_ns, 1_000);
    check(&stage, "a late body", [1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_record_that_is_not_durable_in_time_ends_the_stage_of_records() {
    let stage = Stage::new();
    let recorded = stage.record(&Request::read()).unwrap();
    let recorded = recorded.permit(stage.gate.durable()).unwrap_err();
    let denial = recorded.give_up(NOW);
    assert_eq!(denial.stages_ns, 9_000);
    check(&stage, "given up", [1, 1, 1, 5, 1, 0, 0]);
}

#[test]
fn an_exchange_without_an_answer_counts_as_forwarded() {
    let check_end = |name: &str, end: fn(crate::gate::Ticket<'_>)| {
        let stage = Stage::new();
        end(stage.forward(&Request::read()).unwrap().1);
        check(&stage, name, [1, 1, 1, 5, 1, 1, 0]);
    };
    check_end("the client has gone", |ticket| ticket.close(Outcome::ClientGone, NOW));
    check_end("the task was cancelled", |ticket| drop(ticket));
    check_end("the upstream failed", |mut ticket| {
        let denial = ticket.failed(DenyReason::UpstreamFailed, "no answer");
        assert_eq!(denial.stages_ns, 10_000);
        ticket.close(Outcome::UpstreamFailed, NOW);
    });
    let stage = Stage::new();
    drop(stage.record(&Request::read()).unwrap());
    check(&stage, "a permit that was never taken", [1, 1, 1, 5, 0, 0, 0]);
}

#[test]
fn a_stream_is_one_review_without_the_time_between_its_messages() {
    let notification =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    let stage = Stage::new();
    let mut ticket = stage.ticket();
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    ticket.review_ended();
    // One batch: the second message begins no review of its own.
    stage.review(&mut ticket, message(notification));
    stage.review(&mut ticket, message(ANSWER));
    ticket.review_ended();
    assert!(ticket.answered());
    ticket.close(Outcome::Ended, NOW);
    check(&stage, "a stream", [1, 1, 1, 5, 1, 1, 6]);
}

#[test]
fn a_review_whose_end_nobody_tells_is_not_counted() {
    let stage = Stage::new();
    let mut ticket = stage.ticket();
    stage.review(&mut ticket, json(200, ANSWER));
    drop(ticket);
    check(&stage, "an embedder that does not measure", [1, 1, 1, 5, 1, 1, 0]);
}
