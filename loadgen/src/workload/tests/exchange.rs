//! Workloads against the demo server: both eras, both forms of answers, sessions.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_fixtures::mcp::{Answers, Canned, Kind, McpServer, McpSettings};

use super::super::mix::Mix;
use super::super::sessions::SessionError;
use super::super::{Calls, EraMix, Outcome, Workload, WorkloadParts};
use super::{mix, pool};
use crate::connect::{Connection, Endpoint, EndpointOptions};

fn server(answers: Answers) -> (McpServer, Endpoint) {
    let settings = McpSettings {
        answers,
        ..McpSettings::new(Kind::Crm)
    };
    let server = McpServer::start(settings).unwrap();
    let endpoint = Endpoint::new(&server.url(), &EndpointOptions::default()).unwrap();
    (server, endpoint)
}

fn workload(era: EraMix, mix: Mix) -> Workload {
    let parts = WorkloadParts {
        era,
        mix,
        judged: false,
        tokens: Some(pool(7)),
        ..WorkloadParts::default()
    };
    Workload::new(parts).unwrap()
}

async fn outcomes(workload: &Workload, endpoint: &Endpoint, calls: u64) -> Vec<Outcome> {
    let mut connection = Connection::open(endpoint).await.unwrap();
    let mut outcomes = Vec::new();
    for number in 0..calls {
        let call = workload.prepare(number);
        let answer = connection.post(endpoint, call.headers, call.body).await.unwrap();
        outcomes.push(workload.judge(call.expected, &answer));
    }
    outcomes
}

#[tokio::test]
async fn the_demo_server_takes_every_call_of_both_eras_in_both_forms() {
    let everything = || {
        mix(
            r#"{"tool":"demo.echo","padding":"argument"},{"method":"tools/list"},{"method":"ping"},
            {"tool":"salesforce.opportunity.list","arguments":{"account_id":"{account}"}},{"method":"server/discover"}"#,
        )
    };
    for answers in [Answers::Json, Answers::Sse] {
        for mix in [Mix::sample(), everything()] {
            let (server, endpoint) = server(answers);
            let workload = workload(EraMix::Mixed { legacy: 0.5 }, mix);
            assert_eq!(workload.open_sessions(&endpoint, 3).await.unwrap(), 7);
            let outcomes = outcomes(&workload, &endpoint, 60).await;
            assert_eq!(outcomes, vec![Outcome::Allowed; 60]);
            assert_eq!(server.sessions(), 7);
        }
    }
}

#[tokio::test]
async fn every_subject_has_a_session_and_uses_no_other() {
    let (server, endpoint) = server(Answers::Json);
    let workload = workload(EraMix::Legacy, Mix::sample());
    assert_eq!(workload.open_sessions(&endpoint, 2).await.unwrap(), 7);
    assert_eq!(workload.summary().sessions, 7);
    let handshake = server.capture().count();
    assert_eq!(handshake, 14);
    outcomes(&workload, &endpoint, 100).await;
    let mut pairs = BTreeSet::new();
    for request in server.capture().requests() {
        if let Some(session) = request.header("mcp-session-id") {
            pairs.insert((session.to_owned(), request.header("authorization").unwrap().to_owned()));
        }
    }
    let sessions: BTreeSet<_> = pairs.iter().map(|(session, _)| session).collect();
    assert_eq!((pairs.len(), sessions.len()), (7, 7), "one session a subject");

    assert_eq!(workload.close_sessions(&endpoint, 2).await, 7);
    assert_eq!((server.sessions(), workload.summary().sessions), (0, 0));
    // A session that is gone, or none where one is asked for, is an error of the protocol.
    assert_eq!(outcomes(&workload, &endpoint, 1).await, [Outcome::ProtocolError]);
    assert_eq!(workload.close_sessions(&endpoint, 2).await, 0);
}

#[tokio::test]
async fn sessions_are_bounded_and_modern_calls_need_none() {
    let (server, endpoint) = server(Answers::Json);
    let bounded = Workload::new(WorkloadParts {
        era: EraMix::Legacy,
        judged: false,
        tokens: Some(pool(7)),
        sessions_max: Some(2),
        ..WorkloadParts::default()
    })
    .unwrap();
    assert_eq!(bounded.open_sessions(&endpoint, 8).await.unwrap(), 2);
    assert_eq!(outcomes(&bounded, &endpoint, 50).await, vec![Outcome::Allowed; 50]);
    assert_eq!(server.sessions(), 2);

    let modern = workload(EraMix::Modern, Mix::sample());
    assert_eq!(modern.open_sessions(&endpoint, 8).await.unwrap(), 0);
    assert_eq!(server.sessions(), 2);
}

#[tokio::test]
async fn a_session_that_the_target_forgot_is_a_protocol_error() {
    let (_first, endpoint) = server(Answers::Json);
    let workload = workload(EraMix::Legacy, Mix::sample());
    workload.open_sessions(&endpoint, 1).await.unwrap();
    let (second, elsewhere) = server(Answers::Json);
    assert_eq!(
        outcomes(&workload, &elsewhere, 3).await,
        vec![Outcome::ProtocolError; 3]
    );
    assert!(second.capture().last().unwrap().header("mcp-session-id").is_some());
    // A target may keep its sessions: what it refuses to end is not counted.
    assert_eq!(workload.close_sessions(&elsewhere, 1).await, 0);
}

#[tokio::test]
async fn a_target_without_sessions_names_none() {
    let (server, endpoint) = server(Answers::Json);
    for _ in 0..7 {
        server.answer_next(Canned::json(r#"{"jsonrpc":"2.0","id":0,"result":{}}"#));
        server.answer_next(Canned::json(""));
    }
    let workload = workload(EraMix::Legacy, Mix::sample());
    assert_eq!(workload.open_sessions(&endpoint, 1).await.unwrap(), 0);
    assert!(workload.prepare(0).headers.get("mcp-session-id").is_none());
}

#[tokio::test]
async fn a_handshake_that_fails_says_where() {
    let wrong = [
        (r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":""}}"#, 200),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, 200),
        ("", 401),
        ("", 503),
    ];
    for (body, status) in wrong {
        let (server, endpoint) = server(Answers::Json);
        server.answer_next(Canned {
            status,
            ..Canned::json(body)
        });
        let workload = workload(EraMix::Legacy, Mix::sample());
        match workload.open_sessions(&endpoint, 1).await {
            Err(SessionError::Refused {
                step: "initialize",
                place: 0,
                status: found,
            }) => assert_eq!(found, status),
            other => panic!("{other:?}"),
        }
    }
    let (server, endpoint) = server(Answers::Json);
    drop(server);
    let workload = Arc::new(workload(EraMix::Legacy, Mix::sample()));
    let failed = workload.open_sessions(&endpoint, 4).await;
    assert!(matches!(failed, Err(SessionError::Exchange(_))), "{failed:?}");
}
